"""Columns of polars DataFrames. polars is imported only where one has come in."""

import numpy as np

from .cells import (
    BOOLS,
    DATES,
    DURATIONS,
    NOTHING,
    NUMBERS,
    STRINGS,
    ZONED,
    order_of,
    shown,
    undeclared_error,
    whole_numbers,
)
from .dates import in_nanoseconds, ticks_of


class PolarsColumn:
    """A column of a polars DataFrame; its methods are those of `PandasColumn`."""

    library = "polars"

    def __init__(self, cells, called):
        import polars as pl

        self.cells, self.called = cells, called
        self.dtype = self.form = dtype = cells.dtype
        self.categorical = isinstance(dtype, pl.Categorical | pl.Enum)
        self.integers = dtype.is_integer()
        self.sort = self._sort(dtype)
        self.unit = None
        if self.sort in (DATES, ZONED, DURATIONS):
            self.unit = "D" if dtype == pl.Date else dtype.time_unit

    def _sort(self, dtype):
        import polars as pl

        if self.categorical or dtype == pl.String:
            return STRINGS
        if dtype.is_numeric():
            return NUMBERS
        if dtype == pl.Datetime:
            return ZONED if dtype.time_zone else DATES
        sorts = {pl.Boolean: BOOLS, pl.Date: DATES, pl.Duration: DURATIONS, pl.Null: NOTHING}
        if dtype.base_type() not in sorts:
            raise TypeError(
                f"{self.called} has dtype {dtype}, which is none of numbers, String, Boolean, "
                "Categorical, Enum, Date, Datetime and Duration. Cast it to one of these, or drop "
                "it."
            )
        return sorts[dtype.base_type()]

    def missing(self):
        return _polars_missing(self.cells).to_numpy()

    def numbers(self):
        import polars as pl

        return self.cells.cast(pl.Float64).fill_null(np.nan).to_numpy()

    def ticks(self):
        import polars as pl

        return self.cells.to_physical().cast(pl.Int64).fill_null(0).to_numpy()

    def factorized(self):
        import polars as pl

        levels = self.cells.filter(~_polars_missing(self.cells)).unique()
        positions = pl.Series(range(len(levels)), dtype=pl.Int64)
        # Categorical and Enum by their numbers, which `replace_strict` finds fastest.
        codes = self.cells.to_physical().replace_strict(
            levels.to_physical(), positions, default=-1, return_dtype=pl.Int64
        )
        return codes.to_numpy(), levels

    def keys(self, levels):
        if self.sort in (DATES, ZONED, DURATIONS):
            return in_nanoseconds(PolarsColumn(levels, self.called))
        return levels.to_list()

    def order(self, levels):
        import polars as pl

        # The numbers of a Categorical depend on what else the process has read: those of an Enum
        # are the user's.
        enum = isinstance(self.dtype, pl.Enum)
        return np.argsort(levels.to_physical().to_numpy()) if enum else order_of(self.keys(levels))

    def shown(self, row):
        return shown(self.cells[int(row)])

    def both_bools(self):
        import polars as pl

        return pl.Series([False, True])

    @staticmethod
    def taken(levels, order):
        return levels.gather(order)

    @staticmethod
    def listed(cells):
        return cells.to_list()

    @staticmethod
    def has_missing(form):
        return True

    @staticmethod
    def of_numbers(values, form, integers):
        import polars as pl

        if form.is_integer() or form == pl.Boolean:
            least, most = _polars_bounds(form)
            values = whole_numbers(values, least, most)
        elif form.is_decimal():
            bound = 10.0 ** (form.precision - form.scale)
            most = min(bound - 10.0**-form.scale, np.nextafter(bound, 0))
            values = np.clip(values, -most, most)
        elif integers:
            values = np.rint(values)
        return pl.Series(values).fill_nan(None).cast(form)

    @staticmethod
    def of_counts(counts, form, step):
        import polars as pl

        unit, most = ("D", 2**31 - 1) if form == pl.Date else (form.time_unit, 2**63 - 1)
        ticks = pl.Series(ticks_of(counts, step, unit, most))
        if form == pl.Date:
            ticks = ticks.cast(pl.Int32)
        return ticks.cast(form).set(pl.Series(np.isnan(counts)), None)

    @staticmethod
    def of_codes(codes, levels, form):
        import polars as pl

        positions = pl.Series(codes)
        return levels.gather(positions.set(positions < 0, None))

    @staticmethod
    def levels(values, form, called):
        import polars as pl

        levels = pl.Series(values, strict=False).cast(form, strict=False)
        if levels.null_count():
            raise undeclared_error(called, form, [values[levels.is_null().arg_max()]])
        return levels

    @staticmethod
    def series(values):
        import polars as pl

        return pl.Series(values)

    @staticmethod
    def names(X):
        return list(X.columns)

    labels = names

    @staticmethod
    def column(X, j):
        return X.to_series(j)

    @staticmethod
    def assembled(columns, labels):
        import polars as pl

        return pl.DataFrame(
            [column.alias(label) for column, label in zip(columns, labels, strict=True)]
        )

    @staticmethod
    def put(X, cells):
        changed = []
        for j, (rows, series) in cells.items():
            if len(rows) < len(X):
                # `scatter` changes the Series it is called on, which is not the one inside X.
                series = X.to_series(j).scatter(rows, series)
            changed.append(series.alias(X.columns[j]))
        return X.with_columns(changed)


def _polars_missing(cells):
    return cells.is_null() | cells.is_nan() if cells.dtype.is_float() else cells.is_null()


def _polars_bounds(dtype):
    """The least and the most of an integer dtype or Boolean; of 128 bits those of 64 will do."""
    if not dtype.is_integer():
        return 0, 1
    info = np.iinfo(str(dtype).lower().replace("128", "64"))
    return info.min, info.max
