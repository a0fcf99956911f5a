"""Colours and markers that tell up to twenty-one classes apart, and what is a class."""

from numbers import Real
from typing import NamedTuple

import numpy as np
from sklearn.utils import column_or_1d

# M. Okabe, K. Ito, "Color Universal Design", 2008, without the yellow, which is too faint on white.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
# Of more classes: P. Tol, "Colour Schemes", SRON, 2021, "muted", with black for its grey.
MUTED = (
    *("#332288", "#DDCC77", "#117733", "#CC6677", "#88CCEE"),
    *("#AA4499", "#000000", "#44AA99", "#999933", "#882255"),
)
MARKERS = ("o", "^", "s")
GREY = "#8C8C8C"
MOST_CLASSES = 21
# Integers of more values than this are quantities and no names.
_MOST_INTEGERS = 20
OTHERS, MISSING = "(others)", "(missing)"


class Targets(NamedTuple):
    """What colours the rows.

    Attributes
    ----------
    codes : ndarray of int of shape (n_samples,), or None
        The class of each row; None where y is a quantity.
    names : list of str
        Of the classes.
    values : ndarray of shape (n_samples,), or None
        The quantity; NaN is missing.
    called : str or None
        The name of y.
    """

    codes: np.ndarray | None
    names: list
    values: np.ndarray | None
    called: str | None


def targets_of(y):
    """Classes or a quantity from y (n_samples,).

    Strings, bools and categories are classes, and so are whole numbers of at most 20 values; other
    numbers, and those of which one is infinite, are a quantity. Beyond 21 classes all but the 20
    most frequent are one, "(others)".
    """
    dtype = getattr(y, "dtype", None)
    called = getattr(y, "name", None)
    called = None if called is None else str(called)
    declared = getattr(dtype, "categories", None)
    values = np.asarray(y)
    if isinstance(y, list | tuple) and values.ndim == 1:
        # Of strings and a NaN numpy makes strings.
        values = np.asarray(y, dtype=object)
    values = column_or_1d(values)
    missing = np.array([value is None or value != value for value in _without_na(values)], bool)
    if declared is None and _are_numbers(values[~missing]):
        numbers = np.full(len(values), np.nan)
        numbers[~missing] = values[~missing].astype(np.float64)
        distinct = np.unique(numbers[~missing])
        whole = np.isfinite(distinct).all() and (distinct == np.floor(distinct)).all()
        if len(distinct) > _MOST_INTEGERS or not whole:
            return Targets(None, [], numbers, called)
        levels, keys = distinct.tolist(), numbers.tolist()
        names = [str(int(level)) for level in levels]
    else:
        keys = values.tolist()
        present = set(np.array(keys, dtype=object)[~missing].tolist())
        if declared is not None and hasattr(declared, "__iter__"):
            levels = [level for level in declared if level in present]
        else:
            levels = sorted(present, key=lambda level: (str(type(level)), level))
        names = [str(level) for level in levels]
    code_of = {level: code for code, level in enumerate(levels)}
    codes = np.array([-1 if m else code_of[key] for key, m in zip(keys, missing, strict=True)])
    codes, names = _most_frequent(codes, names)
    if missing.any():
        codes[missing] = len(names)
        names = [*names, MISSING]
    return Targets(codes, names, None, called)


def _without_na(values):
    """Values of which the missing ones are None or NaN: `pandas.NA` compares to nothing."""
    return [None if type(value).__name__ in ("NAType", "NaTType") else value for value in values]


def _are_numbers(values):
    if values.dtype != object:
        return values.dtype.kind in "iuf"
    return all(isinstance(value, Real) and not isinstance(value, bool) for value in values)


def _most_frequent(codes, names):
    if len(names) <= MOST_CLASSES:
        return codes, names
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    kept = np.sort(np.argsort(-counts, kind="stable")[: MOST_CLASSES - 1])
    places = np.full(len(names), len(kept))
    places[kept] = np.arange(len(kept))
    return np.where(codes < 0, -1, places[codes]), [*(names[j] for j in kept), OTHERS]


def styles(names):
    """A colour and a marker for each class."""
    colours = OKABE_ITO if len(names) <= len(OKABE_ITO) else MUTED
    of_classes = [
        (colours[j % len(colours)], MARKERS[j // len(colours) % len(MARKERS)])
        for j in range(len(names))
    ]
    return [
        (GREY, "x") if name in (OTHERS, MISSING) else style
        for name, style in zip(names, of_classes, strict=True)
    ]
