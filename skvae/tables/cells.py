"""What cells of tables are: numbers, bools, strings, dates; and how messages show them."""

import datetime
import reprlib
from decimal import Decimal
from numbers import Real

import numpy as np

# What the cells of a column are, in the words of the messages.
NUMBERS, BOOLS, STRINGS = "numbers", "bools", "strings"

DATES, ZONED, DURATIONS = "dates", "dates with a time zone", "durations"

CALENDAR = "calendar dates"  # `datetime.date` in columns of objects: read as DATES

NOTHING = "missing cells only"

OTHERS = "values of other kinds"  # categories of a pandas Categorical that are none of the above

KINDS = {
    NUMBERS: "number",
    NOTHING: "number",
    BOOLS: "category",
    STRINGS: "category",
    DATES: "date",
    ZONED: "date",
    DURATIONS: "date",
}


def sort_of_type(kind):
    """What values of a Python type are, None for missing ones, else the name of the type."""
    if kind.__name__ in ("NoneType", "NAType", "NaTType"):
        return None
    # In this order: a timedelta64 is an Integral to Python, a bool a Real, a datetime a date.
    sorts = {
        (bool, np.bool_): BOOLS,
        (str,): STRINGS,
        (datetime.timedelta, np.timedelta64): DURATIONS,
        (datetime.datetime, np.datetime64): DATES,
        (datetime.date,): CALENDAR,
        (Real, Decimal): NUMBERS,
    }
    found = (sort for kinds, sort in sorts.items() if issubclass(kind, kinds))
    return next(found, f"values of type {kind.__name__}")


def sort_of_objects(values, called):
    """What the cells (n_samples,) of a column of objects are, and which of them are missing."""
    kinds = list(set(map(type, values)))
    sorts, position = (
        [sort_of_type(kind) for kind in kinds],
        {kind: i for i, kind in enumerate(kinds)},
    )
    which = np.fromiter((position[type(value)] for value in values), np.intp, len(values))
    missing = np.isin(which, [i for i, sort in enumerate(sorts) if sort is None])
    for i, sort in enumerate(sorts):
        if sort in (NUMBERS, DATES, DURATIONS):
            rows = np.flatnonzero(which == i)
            missing[rows] = [value != value for value in values[rows]]  # NaN and NaT
    first = {}
    for row, i in zip(*_first_of_each(which, ~missing), strict=True):
        first.setdefault(sorts[i], row)
    if len(first) > 1:
        found = [f"{sort} (first {shown(values[row])}, row {row})" for sort, row in first.items()]
        raise TypeError(
            f"{called} mixes {' and '.join(found)}. Make it of one kind, as astype('string') and "
            "pandas.to_numeric do."
        )
    sort, row = next(iter(first.items()), (NOTHING, None))
    if sort not in KINDS and sort != CALENDAR:
        raise TypeError(
            f"{called} holds {sort} (first {shown(values[row])}, row {row}), which are none of "
            "numbers, strings, bools and dates. Turn them into these, or drop the column."
        )
    return sort, missing


def _first_of_each(which, mask):
    """Rows where an integer occurs for the first time within a mask, ascending, and it."""
    rows = np.flatnonzero(mask)
    found, first = np.unique(which[rows], return_index=True)
    order = np.argsort(first)
    return rows[first[order]], found[order]


def as_numbers(sort):
    """Bools are numbers to columns of numbers, as 0 and 1 are bools to those of bools."""
    return NUMBERS if sort in (BOOLS, NOTHING) else sort


def order_of(keys):
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def shown(value):
    """A cell in a message: NumPy's scalars as Python's, long ones cut short."""
    return reprlib.repr(value.item() if isinstance(value, np.generic) else value)


def undeclared_error(called, form, values):
    return ValueError(
        f"{called} would be filled by {shown(values[0])}, which its dtype {form} cannot hold. "
        "Give it with the dtype of the training table."
    )


def whole_numbers(values, least, most):
    """The nearest whole numbers within bounds, as float64, which may not hold the bounds."""
    low, high = float(least), float(most)
    low = np.nextafter(low, 0) if low < least else low
    high = np.nextafter(high, 0) if high > most else high
    return np.clip(np.rint(values), low, high)
