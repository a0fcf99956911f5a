"""The marginal distributions of columns: how far two are apart, and both in one Axes."""

import numpy as np

from .colours import GREY, OKABE_ITO
from .columns import shortened
from .panels import styled

# Whole numbers of so few values, and not much further apart, are drawn by bars of their own.
_MOST_VALUES, _WIDEST = 20, 40
_MOST_LEVELS = 12
_BINS = 30
# A bar so many times as high as all others is cut off, and its part of the rows is written there.
_HEAP_TIMES = 20
# Options of histograms that are for the real rows, too.
_OF_COUNTING = "bins", "range", "density", "cumulative", "log"
# Those that bars, one for each value, have no use for.
_OF_BINS = "bins", "range", "density", "cumulative", "histtype"


def distance(kind, real, drawn):
    """How far two samples of a column are apart, from 0 to 1: the Kolmogorov-Smirnov statistic of
    numbers, the total variation of categories; missing cells play no part."""
    real, drawn = real[np.isfinite(real)], drawn[np.isfinite(drawn)]
    if not len(real) or not len(drawn):
        return float(len(real) != len(drawn))
    values = np.unique(np.concatenate([real, drawn]))
    if kind == "category":
        return float(np.abs(_shares(real, values) - _shares(drawn, values)).sum() / 2)
    places = [np.searchsorted(np.sort(part), values, side="right") for part in (real, drawn)]
    return float(np.abs(places[0] / len(real) - places[1] / len(drawn)).max())


def draw_marginals(ax, kind, levels, real, drawn, **kwargs):
    """The real marginal filled, that of the drawn rows, if there is one, as an outline or bars."""
    from matplotlib.patches import Patch

    real = real[np.isfinite(real)]
    drawn = drawn[np.isfinite(drawn)]
    both = np.concatenate([real, drawn])
    values = np.unique(both)
    few = 0 < len(values) <= _MOST_VALUES and np.ptp(values) <= _WIDEST
    whole = few and (values == np.floor(values)).all()
    filled = {"color": GREY, "alpha": 0.6, "label": "real"}
    outline = styled({"color": OKABE_ITO[0], "label": "sampled"}, kwargs, Patch)
    ax.set_yticks([])
    ax.spines[["left", "top", "right"]].set_visible(False)
    if not len(values):
        return
    if kind == "category" or (kind == "number" and whole):
        _draw_bars(ax, kind, levels, values, real, drawn, filled, outline)
        return
    # A few values far outside would leave the others in one bin.
    low, high = np.percentile(real if len(real) else both, [0.5, 99.5])
    if not high > low:
        low, high = both.min(), both.max()
    # As good as one value.
    least = 1e-6 * max(1.0, abs(low))
    if high - low < least:
        low, high = low - least, high + least
    edges = np.linspace(low, high, _BINS + 1)
    # What says how rows are counted says it of both.
    counted = {key: outline.pop(key) for key in _OF_COUNTING if key in outline}
    line = {"histtype": "step", "linewidth": 1.6}
    heights = []
    for part, look in ((real, filled), (drawn, line | outline)):
        if len(part):
            # Parts of all rows, those outside too, so that heights can be compared.
            weights = None if counted.get("density") else np.full(len(part), 1 / len(part))
            options = {"bins": edges, "weights": weights} | counted | look
            heights.append((look["label"], ax.hist(part, **options)[0]))
    if not counted:
        _cut_heap(ax, 0.5 * (edges[1:] + edges[:-1]), heights)
    label_values(ax, kind, "x")


def _cut_heap(ax, places, heights):
    """Cut the bar beside which no other would be seen, and write there what part it is of the rows
    that each label, with their heights, is for."""
    tallest = np.max([height for _, height in heights], axis=0)
    heap = tallest.argmax()
    others = np.delete(tallest, heap).max(initial=0.0)
    if not 0 < _HEAP_TIMES * others < tallest[heap]:
        return
    ax.set_ylim(0, 1.35 * others)
    # matplotlib shows no labels that are None or begin so.
    names = ["" if str(label or "_").startswith("_") else f"{label} " for label, _ in heights]
    parts = zip(names, heights, strict=True)
    shares = "\n".join(f"{name}{height[heap]:.0%}" for name, (_, height) in parts)
    side, place = ("left", 4) if heap < len(places) / 2 else ("right", -4)
    ax.annotate(
        shares,
        (places[heap], 1),
        (place, -2),
        xycoords=ax.get_xaxis_transform(),
        textcoords="offset points",
        ha=side,
        va="top",
        fontsize="x-small",
    )


def _draw_bars(ax, kind, levels, values, real, drawn, filled, outline):
    shares = _shares(real, values), _shares(drawn, values)
    outline = {key: option for key, option in outline.items() if key not in _OF_BINS}
    if kind == "category":
        if len(values) > _MOST_LEVELS:
            kept = np.sort(np.argsort(-(shares[0] + shares[1]), kind="stable")[:_MOST_LEVELS])
            values, shares = values[kept], [part[kept] for part in shares]
        places = np.arange(len(values))
        names = [
            levels[int(v)] if int(v) < len(levels) else str(int(v)) for v in values.astype(int)
        ]
        names = [shortened(name, 10) for name in names]
        turned = {"rotation": 45, "ha": "right"} if sum(map(len, names)) > 18 else {}
        ax.set_xticks(places, names, fontsize="small", **turned)
        ax.tick_params(axis="x", length=0)
    else:
        places = values
        from matplotlib.ticker import MaxNLocator

        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_xlim(values.min() - 1, values.max() + 1)
    if not outline.get("log"):
        looks = zip((filled, outline), (real, drawn), shares, strict=True)
        _cut_heap(
            ax, places, [(look["label"], height) for look, part, height in looks if len(part)]
        )
    ax.bar(places - 0.2, shares[0], width=0.4, **filled)
    ax.bar(places + 0.2, shares[1], **{"width": 0.4} | outline)


def _shares(column, values):
    """The part of a column that each of the values has."""
    return np.array([(column == value).mean() if len(column) else 0.0 for value in values])


def label_values(ax, kind, which):
    """Few ticks, of dates as dates."""
    from matplotlib import dates
    from matplotlib.ticker import MaxNLocator

    axes = {"x": [ax.xaxis], "both": [ax.xaxis, ax.yaxis]}[which]
    for axis in axes:
        if kind == "date":
            locator = dates.AutoDateLocator(minticks=2, maxticks=4)
            axis.set_major_locator(locator)
            axis.set_major_formatter(dates.ConciseDateFormatter(locator))
        else:
            axis.set_major_locator(MaxNLocator(4))
    ax.tick_params(labelsize="small")
