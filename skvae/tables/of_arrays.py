"""Columns of arrays, of numbers or of objects."""

import numpy as np

from .cells import (
    BOOLS,
    CALENDAR,
    DATES,
    DURATIONS,
    NUMBERS,
    STRINGS,
    order_of,
    shown,
    sort_of_objects,
    sort_of_type,
)


class ArrayColumn:
    """A column of an array; its methods are those of `PandasColumn`."""

    library = "numpy"
    categorical = False

    def __init__(self, cells, called):
        self.cells, self.called = cells, called
        self.dtype = self.form = cells.dtype
        self.integers = cells.dtype.kind in "iu"
        self.unit, self._missing = None, None
        sorts = {"b": BOOLS, "M": DATES, "m": DURATIONS}
        if cells.dtype == object:
            self.sort, self._missing = sort_of_objects(cells, called)
        elif cells.dtype.kind == "U":
            self.sort = STRINGS
        elif cells.dtype.kind in "iuf":
            self.sort = NUMBERS
        elif cells.dtype.kind in sorts:
            self.sort = sorts[cells.dtype.kind]
        else:
            raise TypeError(
                f"X is an array of dtype {cells.dtype}, which holds neither numbers nor strings. "
                "Give it as numbers, or as an array of objects."
            )
        self.has_dates = self.sort in (DATES, CALENDAR, DURATIONS)

    def checked_number(self):
        """The kind of a column that is not listed as a category."""
        if self.sort == STRINGS:
            raise TypeError(
                f"{self.called} of the array holds strings (first {self.shown(self._first())}, "
                f"row {self._first()}). List it in categorical_features, or give a DataFrame."
            )
        self._refuse_dates()
        return "number"

    def _refuse_dates(self):
        if self.has_dates:
            raise TypeError(
                f"{self.called} of the array holds {self.sort}, which are taken from a DataFrame "
                "only. Give one."
            )

    def _first(self):
        return np.argmin(self.missing())

    def missing(self):
        if self._missing is not None:
            return self._missing
        kind = self.cells.dtype.kind
        return np.isnan(self.cells) if kind == "f" else np.zeros(len(self.cells), dtype=bool)

    def numbers(self):
        if self.cells.dtype == object:
            return np.where(self.missing(), np.nan, self.cells).astype(np.float64)
        return self.cells.astype(np.float64)

    def factorized(self):
        self._refuse_dates()
        codes = np.full(len(self.cells), -1)
        present = ~self.missing()
        if self.cells.dtype != object:
            levels, codes[present] = np.unique(self.cells[present], return_inverse=True)
            return codes, levels
        positions = {}
        codes[present] = [
            positions.setdefault(value, len(positions)) for value in self.cells[present]
        ]
        return codes, ArrayColumn.series(list(positions))

    def keys(self, levels):
        return levels.tolist()

    def order(self, levels):
        return order_of(self.keys(levels))

    def shown(self, row):
        return shown(self.cells[row])

    def both_bools(self):
        return np.array([False, True], dtype=self.cells.dtype)

    @staticmethod
    def taken(levels, order):
        return levels[order]

    @staticmethod
    def listed(cells):
        return cells.tolist()

    @staticmethod
    def has_missing(form):
        return True

    @staticmethod
    def of_numbers(values, form, integers):
        return np.rint(values) if integers else values

    @staticmethod
    def of_codes(codes, levels, form):
        if levels.dtype.kind in "biuf" or all(
            sort_of_type(type(level)) == NUMBERS for level in levels
        ):
            return np.append(levels.astype(np.float64), np.nan)[codes]
        return np.array([*levels.tolist(), np.nan], dtype=object)[codes]

    @staticmethod
    def levels(values, form, called):
        return ArrayColumn.series(values)

    @staticmethod
    def series(values):
        cells = np.empty(len(values), dtype=object)
        cells[:] = values
        return cells

    @staticmethod
    def names(X):
        return None

    labels = names

    @staticmethod
    def column(X, j):
        return X[:, j]

    @staticmethod
    def assembled(columns, labels):
        objects = any(column.dtype == object for column in columns)
        X = np.empty((len(columns[0]), len(columns)), dtype=object if objects else np.float64)
        for j, column in enumerate(columns):
            X[:, j] = column
        return X

    @staticmethod
    def put(X, cells):
        dates = X.dtype.kind in "mM"
        X = X.copy()
        for j, (rows, column) in cells.items():
            if not (dates or isinstance(column, np.ndarray)):
                # A Series of dates, as the objects that pandas and polars make of them.
                column = ArrayColumn.series(list(column))
            if column.dtype == object and not dates:
                X = X.astype(object, copy=False)
            X[rows, j] = column
        return X
