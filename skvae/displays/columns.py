"""Columns: the columns of rows as numbers to draw, with their names and categories."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_array

from ..coordinates import names_of_features
from ..tables import Table, is_frame
from ..tables.dates import NANOSECONDS
from .fitted import checked_names, dense


class Columns:
    """What the columns of rows are: numbers, dates or categories.

    Parameters
    ----------
    names : list of str
    table : Table or None
        What the columns of DataFrames are; None for rows that are all numbers.
    levels : list of list of str, optional
        The names of the categories of each column, where there is no table.

    Attributes
    ----------
    names : list of str
    kinds : list of str
        "number", "date" or "category".
    levels : list of list of str
    """

    def __init__(self, names, table=None, levels=None):
        self.table = table
        if table is None:
            self.names = list(names)
            self.levels = levels or [[] for _ in self.names]
            self.kinds = ["category" if of_column else "number" for of_column in self.levels]
            return
        durations = table.durations
        self.names = [
            f"{name} (days)" if duration else name
            for name, duration in zip(names, durations, strict=True)
        ]
        self.kinds = ["number" if durations[j] else kind for j, kind in enumerate(table.kinds)]
        self.levels = [table.category_names(j) for j in range(len(self.names))]

    @classmethod
    def of_fitted(cls, fitted, shown, feature_names=None):
        """The columns of rows that a `Fitted` model shows."""
        names = fitted.names(shown, feature_names)
        if fitted.before is not None and fitted.invertible:
            return cls(names)
        return cls(names, fitted.table, _levels(fitted, len(names)))

    @classmethod
    def in_model(cls, fitted, rows, feature_names=None):
        """The columns of rows as they reach a `Fitted` model."""
        names = fitted.names_in_model(rows, feature_names)
        return cls(names, fitted.table, _levels(fitted, len(names)))

    @classmethod
    def of_rows(cls, X, feature_names=None):
        """The columns of rows, a DataFrame or an array, without a model."""
        if is_frame(X):
            table = Table(X)
            names = table.names
        else:
            table = None
            names = [f"x{j}" for j in range(n_columns_of(X))]
        if feature_names is not None:
            names = checked_names(feature_names, len(names))
        return cls(names, table)

    def numbers(self, X):
        """Rows (n_samples, n_features) as float64: categories by their codes, dates in days since
        1970, missing cells NaN."""
        if self.table is None:
            return check_array(
                dense(X), dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=0
            )
        return self.in_days(self.table.encode(X, handle_unknown="missing"))

    def in_days(self, rows):
        """Rows in numbers of a table, its dates in days."""
        rows = np.array(rows, dtype=np.float64)
        if self.table is not None:
            for j, step in enumerate(self.table.steps):
                if step is not None:
                    rows[:, j] *= NANOSECONDS[step] / NANOSECONDS["D"]
        return rows

    def features(self, fitted):
        """The features of a `Fitted` model by the columns that they are of: their positions, their
        columns, their codes (-1 where they are the column itself) and their names. Of a column of
        two categories the second says it all."""
        if not fitted.is_vae:
            d = len(self.names)
            return np.arange(d), np.arange(d), np.full(d, -1), self.names
        of_feature, codes = (np.asarray(part) for part in fitted.likelihood.feature_columns())
        kept = []
        for j in range(len(self.names)):
            features = np.flatnonzero(of_feature == j)
            pair = len(features) == 2 and (codes[features] >= 0).all()
            kept.extend(features[1:] if pair else features)
        names = names_of_features(fitted.likelihood, self.names, self.levels)
        return np.array(kept), of_feature[kept], codes[kept], [names[i] for i in kept]

    def chosen(self, columns):
        """Positions of columns that are given by names or positions."""
        one = isinstance(columns, str) or not np.iterable(columns)
        given = [columns] if one else list(columns)
        chosen, d = [], len(self.names)
        if not given:
            raise ValueError(
                f"columns is empty; needed are names, positions from 0 to {d - 1}, or None."
            )
        for column in given:
            if isinstance(column, str):
                if column not in self.names:
                    few = ", ".join(map(repr, self.names[:5]))
                    more = ", ..." if d > 5 else ""
                    raise ValueError(f"columns has {column!r}; there are {few}{more}.")
                chosen.append(self.names.index(column))
            elif not _is_position(column, d):
                raise ValueError(
                    f"columns has {column!r}; needed are names, or positions from 0 to {d - 1}."
                )
            else:
                chosen.append(int(column) % d)
        return chosen


def _is_position(column, n_columns):
    whole = isinstance(column, Integral) and not isinstance(column, bool)
    return whole and -n_columns <= column < n_columns


def _levels(fitted, n_columns):
    """The names of the categories of columns that are codes to the model, where no table has them:
    the codes of a column, from 0 to its last."""
    if not fitted.is_vae or fitted.table is not None:
        return None
    levels = [[] for _ in range(n_columns)]
    for column, code in zip(*fitted.likelihood.feature_columns(), strict=True):
        if code >= 0:
            levels[column] = [str(c) for c in range(code + 1)]
    return levels


def n_columns_of(X, name="X"):
    """How many columns rows have, if they are rows."""
    if len(np.shape(X)) != 2:
        raise ValueError(
            f"{name} must have two dimensions, (n_samples, n_features); its shape is {np.shape(X)}."
        )
    return np.shape(X)[1]


def shortened(name, length=26):
    """A label of at most so many characters: what is too long loses its middle; mathematical text
    does not."""
    if len(name) <= length or "$" in name:
        return name
    tail = (length - 1) // 2
    return f"{name[: length - 1 - tail]}…{name[-tail:]}"
