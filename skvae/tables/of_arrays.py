"""Columns of arrays, of numbers or of objects."""

from datetime import UTC

import numpy as np

from .cells import (
    BOOLS,
    CALENDAR,
    DATES,
    DURATIONS,
    NUMBERS,
    STRINGS,
    ZONED,
    order_of,
    shown,
    sort_of_objects,
    sort_of_type,
)
from .dates import NANOSECONDS


class ArrayColumn:
    """A column of an array; its methods are those of `PandasColumn`."""

    library = "numpy"
    categorical = False

    def __init__(self, cells, called):
        self.cells, self.called = cells, called
        self.dtype = self.form = cells.dtype
        self.integers = cells.dtype.kind in "iu"
        self.unit, self._missing, self._dates = None, None, None
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
        if self.has_dates:
            self.sort, self._dates = self._as_dates()
            self.unit = np.datetime_data(self._dates.dtype)[0]

    def _as_dates(self):
        """What kind of dates the cells are, and they as datetime64 or timedelta64 of a unit, NaT
        where they are missing."""
        sort, dates = self.sort, self.cells
        if dates.dtype == object:
            present = dates[~self._missing]
            zoned = [getattr(value, "tzinfo", None) is not None for value in present]
            if any(zoned):
                if not all(zoned):
                    raise TypeError(
                        f"{self.called} mixes dates with a time zone and without (first "
                        f"{shown(present[np.argmin(zoned)])}). Give all of them with one, or none."
                    )
                sort, present = ZONED, [value.astimezone(UTC) for value in present]
                present = [value.replace(tzinfo=None) for value in present]
            elif sort == CALENDAR:
                sort = DATES
            kind = "m8" if sort == DURATIONS else "M8"
            # In the finest unit of any; pandas' own are datetimes of microseconds to numpy.
            present = [_as_numpys(value) for value in present]
            read = np.array(present, dtype=kind)
            if read.dtype == f"{kind}[ns]":
                # Nanoseconds go from 1678 to 2262, and wrap without a word beyond.
                wide = np.array([np.array(v, dtype=kind).astype(f"{kind}[us]") for v in present])
                read = read if (read.astype(wide.dtype) == wide).all() else wide
            dates = np.full(len(dates), "NaT", dtype=read.dtype)
            dates[~self._missing] = read
        unit, multiple = np.datetime_data(dates.dtype)
        if unit not in NANOSECONDS or multiple != 1:
            coarser = {"Y": "D", "M": "D", "W": "D"}
            unit = unit if unit in NANOSECONDS else coarser.get(unit, "ns")
            dates = dates.astype(f"{dates.dtype.kind}8[{unit}]")
        return sort, dates

    def ticks(self):
        """The cells as whole numbers of `unit` in UTC; missing ones are anything."""
        return self._dates.astype(np.int64)

    def checked_number(self, dates):
        """The kind of a column that is not listed as a category; `dates` says whether it may be
        one of dates."""
        if self.sort == STRINGS:
            raise TypeError(
                f"{self.called} of the array holds strings (first {self.shown(self._first())}, "
                f"row {self._first()}). List it in categorical_features, or give a DataFrame."
            )
        if dates and self.has_dates:
            return "date"
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
        if kind in "mM":
            return np.isnat(self.cells)
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


def _as_numpys(date):
    """A date or a duration, of pandas too, as one that numpy takes without loss."""
    for method in ("to_datetime64", "to_timedelta64"):
        if hasattr(date, method):
            return getattr(date, method)()
    return date
