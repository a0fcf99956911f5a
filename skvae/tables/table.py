"""Table: what the columns of a table are, from a DataFrame to numbers and back."""

import reprlib
from collections import Counter
from datetime import datetime
from numbers import Integral

import numpy as np

from .cells import (
    BOOLS,
    CALENDAR,
    DURATIONS,
    KINDS,
    NOTHING,
    OTHERS,
    STRINGS,
    ZONED,
    as_numbers,
    shown,
    whole_numbers,
)
from .dates import coarsest_step, counts_of, span_of
from .of_arrays import ArrayColumn
from .of_pandas import PandasColumn
from .of_polars import PolarsColumn

_ADVICE = (
    "Fit on a table that has it, or handle_unknown='missing' takes such cells as missing, with "
    "missing_values='observed'."
)


def is_frame(X):
    """Whether X is a DataFrame of pandas or polars, seen without importing either."""
    return _frame_library(X) is not None


class Table:
    """What the columns of a table are: from a DataFrame, or an array with categories, to numbers
    and back.

    A column is a category (codes 0, 1, ...), a date (counted since 1970 in UTC, a duration since
    0, in the coarsest of days, hours, minutes, seconds, milli-, micro- and nanoseconds of which all
    values are whole multiples) or a number. A missing cell (None, NaN, `pandas.NA`, NaT, null of
    polars) is NaN.

    Parameters
    ----------
    X : pandas or polars DataFrame, or array-like, of shape (n_samples, n_features)
        The training table, of which no reference is kept. In a DataFrame columns of strings, bools
        and categorical dtypes are categories, those of dates and durations are dates, those of
        integers, floats and decimals are numbers. A pandas column of objects is what its values
        are, if they are of one kind.
    categorical_features : "from_dtype", None or array-like of bool, int or str, \
            default="from_dtype"
        Columns that are categories besides those that are by dtype: a mask, positions or, of a
        DataFrame, names. An array has no others.
    dates_of_arrays : bool, default=False
        Whether columns of an array may be dates. Such a table cannot be decoded.

    Attributes
    ----------
    names : list of str, or None for arrays
    kinds : ndarray of str of shape (n_features,)
        "category", "date" or "number".
    bools : ndarray of bool of shape (n_features,)
        Categories that are bools: False has code 0, True code 1, whether seen or not.
    integers : ndarray of bool of shape (n_features,)
        Numbers with an integer dtype.
    untyped : ndarray of bool of shape (n_features,)
        Numbers by name alone: columns without an observed cell whose dtype, objects or polars'
        Null, does not say what they hold. Any cell of such a column is NaN.
    words : ndarray of bool of shape (n_features,)
        Columns that any string can be put into: of strings, or untyped of objects.
    n_categories : ndarray of int of shape (n_features,)
        The categories that X has, of those that its dtype declares; 0 for dates and numbers, and
        for a column of categories without an observed cell. Their codes follow the order of the
        dtype (pandas Categorical, polars Enum), else they are sorted.
    steps : list of str or None
        What a date is counted in: "D", "h", "m", "s", "ms", "us" or "ns".
    durations : ndarray of bool of shape (n_features,)
        Dates that are durations.

    Raises
    ------
    ValueError
        If X has no columns, or two of one name, or `categorical_features` does not fit them.
    TypeError
        If a column is of another kind, or mixes kinds.

    Notes
    -----
    float64 holds integers to 2**53 exactly: larger integers, and dates that are whole multiples of
    no more than a nanosecond (to 256 of these), are rounded. A column of objects that are numbers
    is decoded to floats.

    Examples
    --------
    >>> import pandas as pd
    >>> from skvae.tables import Table
    >>> X = pd.DataFrame({"city": ["Rome", "Bern", None], "floor": [3, 1, 2]})
    >>> table = Table(X)
    >>> table.kinds.tolist()
    ['category', 'number']
    >>> table.encode(X)
    array([[ 1.,  3.],
           [ 0.,  1.],
           [nan,  2.]])
    >>> table.decode([[0.0, 1.7]])
       city  floor
    0  Bern      2
    """

    def __init__(self, X, categorical_features="from_dtype", *, dates_of_arrays=False):
        reader, X = _reader(X)
        n_columns = X.shape[1]
        if not n_columns:
            raise ValueError("X has no columns: a table needs one at least.")
        self.names = reader.names(X)
        self._library, self._labels = reader.library, reader.labels(X)
        _check_distinct(self.names)
        listed = _listed(categorical_features, self.names, n_columns)
        self._columns = [
            _Column(reader(reader.column(X, j), self.called(j)), listed[j], dates_of_arrays)
            for j in range(n_columns)
        ]
        self.kinds = np.array([column.kind for column in self._columns])
        self.bools = np.array([column.bools for column in self._columns])
        self.integers = np.array([column.integers for column in self._columns])
        self.untyped = np.array([column.sort == NOTHING for column in self._columns])
        self.words = np.array([column.words for column in self._columns])
        self.n_categories = np.array([len(column.codes) for column in self._columns])
        self.steps = [column.step for column in self._columns]
        self.durations = np.array([column.durations for column in self._columns])

    def encode(self, X, *, handle_unknown="error", advice=_ADVICE):
        """The table as numbers.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Its columns are taken by position; the other library's DataFrame is fine, and so is an
            array of the values. A column without an observed cell may be of any dtype.
        handle_unknown : {"error", "missing"}, default="error"
            What to do with a category that the training table did not have: "missing" is NaN.
        advice : str, default="... handle_unknown='missing' ..."
            What the message of such an error ends with.

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features), float64
            Dates that are no whole multiples of the step of their column have fractions.

        Raises
        ------
        ValueError
            If a category is unknown.
        TypeError
            If a column holds values of another kind than in the training table.
        """
        reader, X = _reader(X)
        rows = np.empty(X.shape)
        for j, column in enumerate(self._columns):
            given = self._given(reader, X, j, decoded=column.kind != "date")
            rows[:, j] = column.encode(given, handle_unknown, advice)
        return rows

    def encode_cells(self, cells, *, exact=True):
        """One row of which only some cells are known, as numbers.

        Parameters
        ----------
        cells : dict
            From the position of a column to the value there; dates may be strings in ISO 8601.
        exact : bool, default=True
            Whether to refuse what the column could not hold, as 2.5 where it holds integers.

        Returns
        -------
        row : ndarray of shape (n_features,), float64
            NaN where nothing is known.

        Raises
        ------
        ValueError, TypeError
            As by `encode`; also, if `exact`, where the column cannot hold the value.
        """
        row = np.full(len(self._columns), np.nan)
        for j, value in cells.items():
            row[j] = self._columns[j].encode_cell(value, exact)
        return row

    def decode(self, rows):
        """The table that numbers say.

        Parameters
        ----------
        rows : array-like of shape (n_samples, n_features)
            Codes go to the nearest one there is, integers and dates to the nearest whole number
            (of steps) that the dtype has.

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            With the columns, dtypes and categories of the training table. For an array float64, or
            objects where a category is no number.

        Raises
        ------
        ValueError
            If a cell is NaN whose dtype has no missing value.
        """
        rows = np.asarray(rows, dtype=np.float64)
        columns = [column.decode(rows[:, j]) for j, column in enumerate(self._columns)]
        return READERS[self._library].assembled(columns, self._labels)

    def missing(self, X):
        """Which cells of X, as for `encode`, are missing, ndarray of bool (n_samples, n_features).

        Other than by NaN of `encode`, a category that the training table did not have is not.
        """
        reader, X = _reader(X)
        columns = [self._given(reader, X, j).missing() for j in range(len(self._columns))]
        return np.column_stack(columns)

    def filled(self, X, rows, *, columns=None, word=None):
        """X with its missing cells taken from numbers.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            As for `encode`.
        rows : array-like of shape (n_samples, n_features)
        columns : ndarray of bool of shape (n_features,), optional
            Those to fill; by default all.
        word : str, optional
            What fills the others, where they are `words`.

        Returns
        -------
        X_filled : DataFrame or ndarray of shape (n_samples, n_features)
            A copy of X, of its library, dtypes and index; what was observed is untouched. Only a
            column without an observed cell, whose dtype cannot hold what the training table had,
            gets that column's dtype.

        Raises
        ------
        ValueError
            If the dtype of a column does not declare the category to be filled in.
        """
        rows = np.asarray(rows, dtype=np.float64)
        reader, X = _reader(X)
        cells = {}
        for j, column in enumerate(self._columns):
            given = self._given(reader, X, j)
            at = np.flatnonzero(given.missing())
            if not len(at):
                continue
            if columns is not None and not columns[j]:
                if word is not None and self.words[j]:
                    cells[j] = at, reader.levels([word] * len(at), given.form, given.called)
            else:
                cells[j] = at, column.decode_for(given, rows[at, j])
        return reader.put(X, cells)

    def called(self, j):
        """What messages call column j."""
        return f"Column {j if self.names is None else repr(self.names[j])}"

    def category_names(self, j):
        """The categories of column j as strings, by their codes; none of dates and numbers."""
        return self._columns[j].level_names()

    def _given(self, reader, X, j, decoded=True):
        """Column j of another table than the training one; `decoded` says whether more than
        numbers is asked of it."""
        column = reader(reader.column(X, j), self.called(j))
        if decoded and reader is ArrayColumn and self._library != "numpy" and column.has_dates:
            # An array alone would lose time zones.
            library = READERS[self._library]
            cells = column.cells
            cells = library.series(cells.tolist() if cells.dtype == object else cells)
            return library(cells, self.called(j))
        return column


class _Column:
    """What is learned of one column, and its cells to numbers and back.

    Parameters
    ----------
    given : PandasColumn, PolarsColumn or ArrayColumn
        The column of the training table.
    listed : bool
        Whether it is a category whatever its dtype.
    dates : bool
        Whether it may be one of dates where it is one of an array.
    """

    def __init__(self, given, listed, dates):
        self.library, self.form = given.library, given.form
        self.sort, self.dtype, self.called = given.sort, given.dtype, given.called
        self.kind = "category" if listed or given.categorical else KINDS[given.sort]
        if given.library == "numpy" and not listed:
            self.kind = given.checked_number(dates)
        self.bools = self.kind == "category" and self.sort == BOOLS and not given.categorical
        self.integers = self.kind == "number" and given.integers
        objects = given.library != "polars" and given.dtype == object
        of_words = self.sort == STRINGS or (self.sort == NOTHING and objects)
        self.words = of_words and not given.categorical
        # An array is decoded to float64, where nothing asks for whole numbers.
        self._rounded = self.integers and self.library != "numpy"
        self.durations = self.kind == "date" and self.sort == DURATIONS
        self.codes, self.levels, self.step, self.span = {}, None, None, None
        if self.kind == "category":
            self._learn_categories(given)
        elif self.kind == "date":
            ticks = given.ticks()[~given.missing()]
            self.step = coarsest_step(ticks, given.unit)
            self.span = span_of(ticks, given.unit, self.step, self.durations)

    def _learn_categories(self, given):
        """`levels`, a cell of each category in the column's own dtype, in the order of the codes;
        `codes`, from what the libraries agree to call a category to its code."""
        if self.bools:
            self.levels = given.both_bools()
        else:
            _, levels = given.factorized()
            self.levels = given.taken(levels, given.order(levels))
        self.codes = {key: code for code, key in enumerate(given.keys(self.levels))}

    def encode(self, given, handle_unknown="error", advice=""):
        """A column to float64 (n_samples,)."""
        if self.sort == NOTHING and self.kind == "number":
            return np.full(len(given.cells), np.nan)
        if given.sort == NOTHING or not self.takes(given):
            if given.missing().all():
                return np.full(len(given.cells), np.nan)
            raise TypeError(
                f"{self.called} held {self.sort} in fit (dtype {self.dtype}) and holds "
                f"{given.sort} now (dtype {given.dtype}). Give it as it was in fit."
            )
        if self.kind == "category":
            return self._encode_categories(given, handle_unknown, advice)
        if self.kind == "number":
            return given.numbers()
        counts = counts_of(given.ticks(), given.unit, self.step)
        counts[given.missing()] = np.nan
        return counts

    def encode_cell(self, value, exact):
        """One value to a number; if `exact` none that the column could not hold."""
        reader = READERS[self.library]
        if self.kind == "date" and isinstance(value, str):
            value = self._date_of(value)
        given = reader(reader.series([value]), self.called)
        number = self.encode(given)
        if np.isnan(number[0]) or not exact:
            return number[0]
        again = self.encode(reader(self.decode(number), self.called))
        # A column of float32 holds what is nearest.
        real = self.kind == "number" and not self.integers
        if not np.isclose(number, again, rtol=1e-6 if real else 0.0, atol=0)[0]:
            near = shown(reader.listed(self.decode(number))[0])
            raise ValueError(
                f"{self.called} cannot hold {value!r}: it is of dtype {self.dtype}, in steps that "
                f"are those of the fit, and the nearest value is {near}."
            )
        return number[0]

    def _date_of(self, text):
        if self.sort == DURATIONS:
            raise TypeError(f"{self.called} holds durations; {text!r} is none: give a timedelta.")
        try:
            date = datetime.fromisoformat(text)
        except ValueError as error:
            raise ValueError(
                f"{self.called} holds dates; {text!r} is none in ISO 8601 (2020-01-31)."
            ) from error
        if self.sort == ZONED and date.tzinfo is None:
            raise ValueError(
                f"{self.called} holds dates with a time zone; say which {text!r} is in "
                "(2020-01-31T12:00+00:00)."
            )
        return date.date() if self.sort == CALENDAR else date

    def takes(self, given):
        """Whether the values of a column are of the kind of those in fit."""
        alike = as_numbers(given.sort) == as_numbers(self.sort)
        if self.kind != "category":
            return alike and not given.categorical
        # Where the kind says nothing, a look at each category decides.
        return alike or self.sort == NOTHING or OTHERS in (self.sort, given.sort)

    def _encode_categories(self, given, handle_unknown, advice):
        codes, levels = given.factorized()
        known = [self.codes.get(key, -1) for key in given.keys(levels)]
        # The last is for the missing ones, whose code is -1.
        encoded = np.array([*known, -1])[codes]
        unknown = np.flatnonzero((encoded < 0) & (codes >= 0))
        if len(unknown) and handle_unknown != "missing":
            raise ValueError(
                f"{self.called} holds {given.shown(unknown[0])} at row {unknown[0]}, which is no "
                f"category of the training table ({self._few_levels()}); {len(unknown)} cell(s) "
                f"hold such a category.{advice and ' '}{advice}"
            )
        return np.where(encoded < 0, np.nan, encoded)

    def level_names(self):
        """What the categories are called where they are shown to people."""
        if self.levels is None:
            return []
        return [str(level) for level in READERS[self.library].listed(self.levels)]

    def _few_levels(self):
        levels = READERS[self.library].listed(self.levels)
        few = ", ".join(map(shown, levels[:5])) + (", ..." if len(levels) > 5 else "")
        return few or "it had none"

    def decode(self, values):
        """Numbers (n_samples,) to a column as it was in fit."""
        return self._decode(values, READERS[self.library], self.form)

    def decode_for(self, given, values):
        """Numbers (n_samples,) to cells that a given column can hold."""
        reader = READERS[given.library]
        if given.sort != NOTHING and self.takes(given):
            return self._decode(values, reader, given.form)
        # Nothing is observed there, so that the column may have the dtype of the training table.
        cells = self.decode(values)
        if given.library == self.library:
            return cells
        return reader.series(READERS[self.library].listed(cells))

    def _decode(self, values, reader, form):
        if np.isnan(values).any() and not reader.has_missing(form):
            raise ValueError(
                f"{self.called} is to be missing at row {np.flatnonzero(np.isnan(values))[0]}, but "
                f"its dtype {form} has no missing value."
            )
        if self.kind == "number":
            return reader.of_numbers(values, form, self._rounded)
        if self.kind == "date":
            return reader.of_counts(np.clip(values, *self.span), form, self.step)
        codes = np.where(np.isnan(values), -1, whole_numbers(values, 0, len(self.codes) - 1))
        codes, levels = codes.astype(np.int64), self.levels
        if reader.library != self.library or form != self.form:
            # Only those that are needed: another dtype may not have all of them.
            used, codes = np.unique(np.append(-1, codes), return_inverse=True)
            listed = READERS[self.library].listed(levels)
            levels = reader.levels([listed[code] for code in used[1:]], form, self.called)
            codes = codes[1:] - 1
        return reader.of_codes(codes, levels, form)


READERS: dict = {reader.library: reader for reader in (PandasColumn, PolarsColumn, ArrayColumn)}


def _frame_library(X):
    for kind in type(X).__mro__:
        library = kind.__module__.partition(".")[0]
        if kind.__name__ == "DataFrame" and library in ("pandas", "polars"):
            return library
    return None


def _reader(X):
    """The class of the columns of X, and X itself or as an array."""
    if is_frame(X):
        return READERS[_frame_library(X)], X
    # A list of mixed rows would become an array of strings.
    X = np.array(X, dtype=object) if isinstance(X, list | tuple) else np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"X has {X.ndim} dimension(s): a table has two, rows and columns.")
    return ArrayColumn, X


def _check_distinct(names):
    name, times = Counter(names or [None]).most_common(1)[0]
    if times > 1:
        raise ValueError(f"X has {times} columns named {name!r}. Rename them, so that each is one.")


def _listed(categorical_features, names, n_columns):
    """The columns that the user lists as categories, as a mask (n_features,)."""
    mask = np.zeros(n_columns, dtype=bool)
    if isinstance(categorical_features, str) and categorical_features != "from_dtype":
        raise ValueError(
            f"categorical_features={categorical_features!r}: the one string that it may be is "
            f"'from_dtype'. List column names, as [{categorical_features!r}]."
        )
    if categorical_features is None or isinstance(categorical_features, str):
        return mask
    listed = list(categorical_features)
    if all(isinstance(item, bool | np.bool_) for item in listed):
        if len(listed) not in (0, n_columns):
            raise ValueError(
                f"categorical_features is a mask of {len(listed)} columns; X has {n_columns}."
            )
        mask[: len(listed)] = listed
        return mask
    if all(isinstance(item, str) for item in listed):
        listed = _positions(listed, names)
    elif not all(isinstance(item, Integral) for item in listed):
        raise ValueError(
            "categorical_features must hold bools, integers or column names, all of one of these; "
            f"got {categorical_features!r}."
        )
    outside = [j for j in listed if not 0 <= j < n_columns]
    if outside:
        raise ValueError(
            f"categorical_features has column {outside[0]}; those of X are 0 to {n_columns - 1}."
        )
    mask[listed] = True
    return mask


def _positions(listed, names):
    if names is None:
        raise ValueError(
            "categorical_features has column names, but X is an array. Give positions or a mask."
        )
    unknown = [name for name in listed if name not in names]
    if unknown:
        raise ValueError(
            f"categorical_features has {unknown[0]!r}, which is no column of X: it has "
            f"{reprlib.repr(names)}."
        )
    return [names.index(name) for name in listed]
