"""Columns of pandas DataFrames. pandas is imported only where one has come in."""

from typing import NamedTuple

import numpy as np

from .cells import (
    BOOLS,
    CALENDAR,
    DATES,
    DURATIONS,
    NUMBERS,
    OTHERS,
    STRINGS,
    ZONED,
    order_of,
    shown,
    sort_of_objects,
    undeclared_error,
    whole_numbers,
)
from .dates import in_nanoseconds, ticks_of


class _DatesAsObjects(NamedTuple):
    """The form of a pandas column of objects that are dates."""

    dtype: object  # in which pandas reads them
    calendar: bool  # whether they are `datetime.date`


class PandasColumn:
    """A column of a pandas DataFrame.

    Parameters
    ----------
    cells : Series
    called : str
        How messages call it.
    """

    library = "pandas"

    def __init__(self, cells, called):
        self.called, self.dtype, self.form = called, cells.dtype, cells.dtype
        self.categorical, self.integers, self._missing = False, False, None
        if cells.dtype == object:
            self.sort, cells = self._of_objects(cells)
        else:
            self.sort = self._sort(cells.dtype)
        self.cells = cells
        dated = self.sort in (DATES, ZONED, DURATIONS) and not self.categorical
        self.unit = _unit(cells.dtype) if dated else None

    def _sort(self, dtype):
        import pandas as pd

        if isinstance(dtype, pd.CategoricalDtype):
            self.categorical = True
            return _sort_of_categories(dtype.categories)
        if isinstance(dtype, pd.StringDtype) or dtype.kind == "U":
            return STRINGS
        if isinstance(dtype, pd.DatetimeTZDtype):
            return ZONED
        if dtype.kind in "iufb":
            self.integers = dtype.kind in "iu"
            return BOOLS if dtype.kind == "b" else NUMBERS
        if isinstance(dtype, np.dtype) and dtype.kind in "mM":
            return DATES if dtype.kind == "M" else DURATIONS
        raise TypeError(
            f"{self.called} has dtype {dtype}, which is none of numbers, strings, bools, "
            "categories, datetime64 and timedelta64. Cast it to one of these, or drop it."
        )

    def _of_objects(self, cells):
        import pandas as pd

        values = cells.to_numpy()
        sort, self._missing = sort_of_objects(values, self.called)
        if sort not in (DATES, CALENDAR, DURATIONS):
            return sort, cells
        present = pd.Series(values, dtype=object).mask(self._missing, None)
        try:
            read = pd.to_datetime(present) if sort == CALENDAR else present.infer_objects()
        except (ValueError, TypeError):
            read = present
        if read.dtype.kind not in "mM":
            raise TypeError(
                f"{self.called} holds objects that pandas cannot take as dates of its range and of "
                "one time zone. Cast it by pandas.to_datetime(..., utc=True), or drop it."
            )
        self.form = _DatesAsObjects(read.dtype, sort == CALENDAR)
        return self._sort(read.dtype), read

    def missing(self):
        """Which cells are missing, shape (n_samples,)."""
        if self._missing is None:
            self._missing = self.cells.isna().to_numpy()
        return self._missing

    def numbers(self):
        """The cells as float64."""
        if self.cells.dtype == object:
            return np.where(self.missing(), np.nan, self.cells.to_numpy()).astype(np.float64)
        return self.cells.to_numpy(dtype=np.float64, na_value=np.nan)

    def ticks(self):
        """The cells as whole numbers of `unit` in UTC; missing ones are anything."""
        cells = self.cells.dt.tz_convert(None) if self.sort == ZONED else self.cells
        return cells.to_numpy().astype(np.int64)

    def factorized(self):
        """For each cell a number, -1 if it is missing, and a Series of which it is a position."""
        import pandas as pd

        codes, levels = self.cells.factorize()
        return codes, pd.Series(levels, dtype=self.cells.dtype)

    def keys(self, levels):
        """What each of some cells is called, alike in all libraries and dtypes."""
        if self.sort in (DATES, ZONED, DURATIONS):
            if self.categorical:
                levels = levels.astype(levels.cat.categories.dtype)
            return in_nanoseconds(PandasColumn(levels, self.called))
        return levels.tolist()

    def order(self, levels):
        """Positions that sort some cells, as their dtype orders them."""
        if self.categorical:
            return np.argsort(levels.cat.codes.to_numpy())
        return order_of(self.keys(levels))

    def shown(self, row):
        return shown(self.cells.iloc[row])

    def both_bools(self):
        import pandas as pd

        return pd.Series([False, True], dtype=self.cells.dtype)

    @staticmethod
    def taken(levels, order):
        return levels.iloc[order].reset_index(drop=True)

    @staticmethod
    def listed(cells):
        return cells.tolist()

    @staticmethod
    def has_missing(form):
        return not (isinstance(form, np.dtype) and form.kind in "biu")

    @staticmethod
    def of_numbers(values, form, integers):
        """float64 (n_samples,) to a Series."""
        import pandas as pd

        dtype = getattr(form, "numpy_dtype", None) or getattr(form, "subtype", form)
        if dtype.kind in "fO":
            with np.errstate(over="ignore"):
                return pd.Series(np.rint(values) if integers else values).astype(form)
        missing = np.isnan(values)
        least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        whole = whole_numbers(np.where(missing, 0.0, values), least, most)
        series = pd.Series(whole.astype(dtype)).astype(form)
        return series.mask(missing) if missing.any() else series

    @staticmethod
    def of_counts(counts, form, step):
        """Counts of a step to a Series of dates."""
        import pandas as pd

        dtype = form.dtype if isinstance(form, _DatesAsObjects) else form
        ticks = ticks_of(counts, step, _unit(dtype), 2**63 - 1)
        zone = getattr(dtype, "tz", None)
        kind = "M" if zone is not None else dtype.kind
        ticks[np.isnan(counts)] = np.iinfo(np.int64).min  # NaT
        series = pd.Series(ticks.view(f"{kind}8[{_unit(dtype)}]"))
        if zone is not None:
            series = series.dt.tz_localize("UTC").dt.tz_convert(zone)
        return PandasColumn._as_objects(series, form)

    @staticmethod
    def of_codes(codes, levels, form):
        """Positions in some cells, or -1, to a Series."""
        import pandas as pd

        cells = levels.array.take(codes, allow_fill=True)
        series = pd.Series(cells, dtype=levels.dtype)  # or pandas 3 makes `str` of objects
        return PandasColumn._as_objects(series, form)

    @staticmethod
    def _as_objects(series, form):
        if not isinstance(form, _DatesAsObjects):
            return series
        return series.dt.date if form.calendar else series.astype(object)

    @staticmethod
    def levels(values, form, called):
        """Categories of another column in this one's dtype."""
        import pandas as pd

        if isinstance(form, pd.CategoricalDtype):
            undeclared = [value for value in values if value not in form.categories]
            if undeclared:
                raise undeclared_error(called, form, undeclared)
        try:
            dtype = form.dtype if isinstance(form, _DatesAsObjects) else form
            return pd.Series(values, dtype=object).astype(dtype)
        except (ValueError, TypeError) as error:
            raise undeclared_error(called, form, values) from error

    @staticmethod
    def series(values):
        import pandas as pd

        return pd.Series(values).infer_objects()

    @staticmethod
    def names(X):
        return [str(name) for name in X.columns]

    @staticmethod
    def labels(X):
        return X.columns

    @staticmethod
    def column(X, j):
        return X.iloc[:, j]

    @staticmethod
    def assembled(columns, labels):
        import pandas as pd

        frame = pd.DataFrame(dict(enumerate(columns)))
        frame.columns = labels
        return frame

    @staticmethod
    def put(X, cells):
        """A copy of X with other cells: for some columns their rows and a Series of as many."""
        import pandas as pd

        X = X.copy()
        for j, (rows, series) in cells.items():
            dtype = series.dtype
            if len(rows) < len(X):
                column, dtype = X.iloc[:, j].copy(), X.dtypes.iloc[j]
                if isinstance(dtype, pd.SparseDtype):
                    column, series = column.sparse.to_dense(), series.sparse.to_dense()
                column.iloc[rows] = series.array
                series = column
            # Without its dtype said, a column of objects would become one of dates.
            X.isetitem(j, pd.Series(series.array, index=X.index, dtype=dtype))
        return X


def _sort_of_categories(categories):
    """What the categories of a pandas Categorical are."""
    try:
        return PandasColumn(categories.to_series(), "").sort
    except TypeError:
        return OTHERS


def _unit(dtype):
    """The unit of a date dtype of pandas."""
    return dtype.unit if hasattr(dtype, "tz") else np.datetime_data(dtype)[0]
