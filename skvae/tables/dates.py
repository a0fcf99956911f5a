"""Dates as numbers of a step: days, hours, ... nanoseconds."""

import numpy as np

from .cells import whole_numbers

# Coarsest first: a column of dates is counted in the first of which all its values are multiples.
NANOSECONDS = {
    "D": 86_400 * 10**9,
    "h": 3_600 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    "us": 10**3,
    "ns": 1,
}

# In nanoseconds, as Python's integers.
YEARS_1_TO_9999 = (-719_162 * NANOSECONDS["D"], 2_932_897 * NANOSECONDS["D"])

LONGEST = 10**9 * NANOSECONDS["D"]


def in_nanoseconds(column):
    """The dates of a column as Python's integers, which have no bounds."""
    return [tick * NANOSECONDS[column.unit] for tick in column.ticks().tolist()]


def coarsest_step(ticks, unit):
    """The coarsest step of which all ticks of a unit are whole multiples."""
    coarser = {step: size // NANOSECONDS[unit] for step, size in NANOSECONDS.items()}
    return next(step for step, ratio in coarser.items() if not (ticks % ratio).any())


def counts_of(ticks, unit, step):
    """Whole numbers of a unit as float64 numbers of a step, exact where they are whole."""
    size, tick = NANOSECONDS[step], NANOSECONDS[unit]
    if size < tick:
        return ticks * float(tick // size)
    whole, rest = np.divmod(ticks, size // tick)
    return whole + rest / (size // tick)


def span_of(ticks, unit, step, durations):
    """The least and the most count that is decoded: what `datetime` and int64 hold, but for a day
    on either side for time zones, and the range of the training table."""
    low, high = (-LONGEST, LONGEST) if durations else YEARS_1_TO_9999
    bound = min(2**63 * NANOSECONDS[unit], high) - NANOSECONDS["D"]
    least = float(max(low + NANOSECONDS["D"], -bound) // NANOSECONDS[step])
    most = float(bound // NANOSECONDS[step])
    seen = counts_of(ticks, unit, step)
    return seen.min(initial=least), seen.max(initial=most)


def ticks_of(counts, step, unit, most):
    """The inverse of `counts_of`, to whole steps, within -most and most; of NaN it is 0."""
    size, tick = NANOSECONDS[step], NANOSECONDS[unit]
    counts = np.where(np.isnan(counts), 0.0, np.rint(counts))
    if size < tick:
        counts, size = counts / (tick // size), tick
    bound = most // (size // tick)
    return whole_numbers(counts, -bound, bound).astype(np.int64) * (size // tick)
