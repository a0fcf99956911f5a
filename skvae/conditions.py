"""What rows are conditioned on, numbers and categories, as columns for the model."""

import warnings
from contextlib import contextmanager

import numpy as np
from scipy.sparse import issparse

from .moments import Moments, row_slices
from .tables import Table, is_frame

# Columns that a condition becomes, at most: their covariance is decomposed.
_MOST_COLUMNS = 2000
# A regression on fewer rows than this a column is told.
_ROWS_OF_COLUMN = 5
# A column of so few different integers, but more than two, looks like labels.
_MOST_LABELS = 20
_OF_UNKNOWN = "The model cannot know its effect: fit on rows that have it, or make rare ones one."
# Directions of less variance than this, of unit columns, are rounding errors.
_LEAST_VARIANCE = 1e-12


class Conditions:
    """The columns that a condition becomes.

    Numbers and dates stay a column each, categories become one column a category; then all of it
    is rotated and scaled to uncorrelated columns of mean 0 and variance 1, as many as there are
    independent ones: the effect of a condition on a row is then its covariance with these, however
    the columns that were given depend on one another.

    Parameters
    ----------
    condition : array-like, Series or DataFrame of shape (n_samples,) or (n_samples, n_given)
        Strings, bools and columns of a categorical dtype are categories.
    n_samples : int
    weight : ndarray of shape (n_samples,), optional
        How often each row counts.

    Attributes
    ----------
    n_columns : int
        None are left of a condition that is the same for all rows.
    names : ndarray of shape (n_given,) or None
        Of what was given, where all of it has names that are strings.

    Raises
    ------
    ValueError, TypeError
        If it has another number of rows, or holds something that is missing, no finite number and
        no category.

    Examples
    --------
    >>> from skvae.conditions import Conditions
    >>> columns = Conditions(list("abba" * 3), 12).encode(["b", "a"], 2)
    >>> bool(abs(columns[0] + columns[1]).max() < 1e-9), abs(columns).round(3).tolist()
    (True, [[1.0], [1.0]])
    """

    def __init__(self, condition, n_samples, weight=None):
        given = _two_dimensional(condition)
        with _said_of_conditions():
            self._table = Table(given, _categories(given), dates_of_arrays=True)
        self.names = None
        if is_frame(given) and all(isinstance(name, str) and name for name in given.columns):
            self.names = np.array(list(given.columns), dtype=object)
        self._widths = np.where(self._table.kinds == "category", self._table.n_categories, 1)
        rows, width = self._rows(given, n_samples), self._widths.sum()
        if width > _MOST_COLUMNS:
            raise ValueError(
                f"condition becomes {width} columns, one for each category, more than "
                f"{_MOST_COLUMNS}. Make rare categories one."
            )
        moments = Moments(full=True)
        with np.errstate(over="ignore", invalid="ignore"):
            for part in row_slices(len(rows), width):
                of_part = None if weight is None else weight[part]
                if of_part is None or of_part.any():
                    moments.add(self._spread(rows[part]), of_part)
            self._centre = moments.mean
            scale = np.sqrt(moments.products.diagonal() / moments.count)
        if not np.isfinite(scale).all():
            raise ValueError("condition holds numbers whose squares are too large; scale it.")
        # Of a constant column rounding errors.
        varies = scale > 1e-12 * np.abs(self._centre)
        self._constant = np.flatnonzero(~varies)
        scale = scale[varies]
        covariance = moments.products[np.ix_(varies, varies)] / moments.count
        covariance = covariance / scale / scale[:, None]
        variances, directions = np.linalg.eigh(covariance)
        kept = variances > _LEAST_VARIANCE
        self._whitening = np.zeros((width, kept.sum()))
        self._whitening[varies] = directions[:, kept] / np.sqrt(variances[kept]) / scale[:, None]
        self.n_columns = self._whitening.shape[1]
        self._check_sizes(n_samples if weight is None else int((weight > 0).sum()))
        self._warn_of_labels(given)

    def _check_sizes(self, n_rows):
        """Whether there are rows enough for a regression."""
        found = f"condition becomes {self.n_columns} independent column(s), and {n_rows} rows"
        if self.n_columns and self.n_columns >= n_rows - 1:
            raise ValueError(
                f"{found} can be told by these exactly: nothing is left to model. Give fewer "
                "columns, or make rare categories one."
            )
        if self.n_columns * _ROWS_OF_COLUMN > n_rows:
            warnings.warn(
                f"{found} are few to learn their effects from, fewer than {_ROWS_OF_COLUMN} a "
                "column: new rows will be less likely than these.",
                UserWarning,
                stacklevel=6,
            )

    def _warn_of_labels(self, given):
        """Of integers that look like labels: as numbers they say something else."""
        for j in np.flatnonzero(self._table.integers):
            column = given.iloc[:, j] if hasattr(given, "iloc") else given[:, int(j)]
            n_values = len(np.unique(np.asarray(column, dtype=float)))
            if 2 < n_values <= _MOST_LABELS:
                warnings.warn(
                    f"condition: {self._table.called(j)} holds {n_values} different integers, "
                    "taken as a number. If they are labels give them as strings or as a "
                    "categorical dtype, if they are numbers as floats.",
                    UserWarning,
                    stacklevel=6,
                )

    @staticmethod
    def n_rows(condition):
        """How many rows a condition has; the cells of a dict are one."""
        return 1 if isinstance(condition, dict) else len(_two_dimensional(condition))

    def encode(self, condition, n_samples, *, one_for_all=False, counted=None):
        """A condition as columns.

        Parameters
        ----------
        condition : array-like, Series or DataFrame of shape (n_samples,) or (n_samples, n_given)
        n_samples : int
        one_for_all : bool, default=False
            Whether it may be a single row for all samples, or a dict of such a row's cells.
        counted : ndarray of bool of shape (n_samples,), optional
            Which rows must be of values that the model can know; by default all.

        Returns
        -------
        columns : ndarray of shape (n_samples, n_columns), float64

        Raises
        ------
        ValueError, TypeError
            As by the class; also if something varies that was the same for all rows of the fit.
        """
        if one_for_all and isinstance(condition, dict):
            rows = self._row_of_cells(condition)
        else:
            given = _two_dimensional(condition)
            once = one_for_all and len(given) == 1
            rows = self._rows(given, 1 if once else n_samples)
        columns = np.empty((len(rows), self.n_columns))
        # A chunk at a time: there may be many categories.
        for part in row_slices(len(rows), len(self._centre)):
            of_part = self._spread(rows[part])
            self._check_constant(of_part, part.start, None if counted is None else counted[part])
            columns[part] = (of_part - self._centre) @ self._whitening
        return columns if len(columns) == n_samples else np.repeat(columns, n_samples, axis=0)

    def _check_constant(self, columns, first, counted):
        """Raise where a column that said nothing in the fit has another value than there, in rows,
        from the number `first` on, that count."""
        was, now = self._centre[self._constant], columns[:, self._constant]
        other = np.abs(now - was) > 1e-6 * (1 + np.abs(was))
        other = np.argwhere(other if counted is None else other & counted[:, None])
        if len(other):
            row, place = other[0]
            given = np.searchsorted(np.cumsum(self._widths), self._constant[place], side="right")
            raise ValueError(
                f"condition: {self._table.called(given)} has a value at row {first + row} that the "
                "model cannot know the effect of: the rows of the fit that count had all the same, "
                "or none of this category."
            )

    def _rows(self, given, n_samples):
        """What was given, of two dimensions, as codes and numbers."""
        n_given = len(self._table.kinds)
        if given.shape[1] != n_given:
            raise ValueError(
                f"condition has {given.shape[1]} column(s); in fit it had {n_given}{self._named()}."
            )
        if len(given) != n_samples:
            raise ValueError(
                f"condition has {len(given)} row(s), one is needed for each of {n_samples}."
            )
        # A single column, as that of a Series, may be called anything.
        if is_frame(given) and self._table.names is not None and n_given > 1:
            names = [str(name) for name in given.columns]
            if sorted(names) != sorted(self._table.names):
                raise ValueError(
                    f"condition has the columns {names}; in fit they were "
                    f"{list(self._table.names)}."
                )
            order = [names.index(name) for name in self._table.names]
            given = given[[list(given.columns)[place] for place in order]]
        with _said_of_conditions():
            return self._known(self._table.encode(given, advice=_OF_UNKNOWN))

    def _row_of_cells(self, cells):
        names = self._table.names
        names = [str(j) for j in range(len(self._table.kinds))] if names is None else list(names)
        cells = {str(name): value for name, value in cells.items()}
        if set(cells) != set(names):
            raise ValueError(f"condition has cells {list(cells)}; it needs {names}, one each.")
        with _said_of_conditions():
            cells = {names.index(name): value for name, value in cells.items()}
            row = self._table.encode_cells(cells, exact=False)
            return self._known(row[None])

    def _known(self, rows):
        """Codes and numbers, if none is missing or infinite."""
        if not np.isfinite(rows).all():
            row, column = np.argwhere(~np.isfinite(rows))[0]
            found = "missing" if np.isnan(rows[row, column]) else "infinite"
            raise ValueError(
                f"{self._table.called(column)} is {found} at row {row}; a condition has to be "
                "known. Fill it, a category by one of its own."
            )
        return rows

    def _spread(self, rows):
        """Numbers and one-hot columns from codes and numbers."""
        parts = []
        for j, kind in enumerate(self._table.kinds):
            if kind == "category":
                parts.append(np.eye(self._table.n_categories[j])[rows[:, j].astype(int)])
            else:
                parts.append(rows[:, j : j + 1])
        return np.hstack(parts)

    def _named(self):
        names = self._table.names
        return "" if names is None else f", {list(names)}"


@contextmanager
def _said_of_conditions():
    """Errors of tables say that they are about the condition."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise type(error)(f"condition: {error}") from error


def _two_dimensional(condition):
    """A condition as a DataFrame or an array of two dimensions."""
    if is_frame(condition):
        return condition
    if hasattr(condition, "to_frame"):
        return condition.to_frame()
    if issparse(condition):
        raise TypeError("condition is a sparse matrix; give it dense, by .toarray().")
    if not isinstance(condition, np.ndarray):
        # A list of mixed rows would become an array of strings.
        condition = np.array(condition, dtype=object)
    if condition.ndim > 2:
        raise ValueError(
            f"condition has {condition.ndim} dimensions; it needs one, or two: rows and columns."
        )
    return condition[:, None] if condition.ndim == 1 else np.atleast_2d(condition)


def _categories(given):
    """Which columns of an array are categories."""
    if is_frame(given):
        return "from_dtype"
    if given.dtype != object:
        return np.full(given.shape[1], given.dtype.kind in "USb")
    return np.array([any(isinstance(c, str | bool | np.bool_) for c in col) for col in given.T])
