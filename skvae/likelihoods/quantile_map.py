"""Strictly monotone maps between columns and their normal scores, learnt from rows."""

from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np
import torch
from scipy.special import ndtr, ndtri

# Two knots of a map are at quantiles at least so far apart, in normal scores,
_GRID = np.linspace(-4.0, 4.0, 81)
# with so many rows or this part of them between.
_LEAST_ROWS = 10
_LEAST_PART = 1e-3
# Where a gap between two values is this part of a piece, it is a piece itself;
_GAP_PART = 2 / 3
# beside a heap or an atom where, would they be spread evenly, no row of the piece is there by
# such a chance;
_EMPTY_CHANCE = 1e-3
# in the outermost pieces where it is so many times as wide as all from the median to there, and at
# most this part of the rows is beyond.
_TAIL_TIMES = 3.0
_OUTER_PART = 0.25
# A value of a rounded column that has so many rows has a knot on both sides, of at most so many.
_MOST_HEAPS = 500
# Pieces beside such a value have a knot at the median of their rows, of at least so many.
_LEAST_HALVED = 4
# A column is rounded if so few decimals write it, or to tens, hundreds or more;
_MOST_DECIMALS = 6
# to these, or to multiples (of 5, of .25), if its values are that by such a chance only;
_MULTIPLES_CHANCE = 1e-6
# if float32, in working units, can tell its values apart; knots are as far apart at least.
_LEAST_WIDTH = 4e-6
# Edges of a gap so many times as wide stay, whatever is near them.
_WIDE_GAP = 4.0
# A value of another column is an atom that has this part of the rows, and so many times as many as
# its nearest values, on each side so many, usually have.
_ATOM_PART = 0.01
_ATOM_TIMES = 10.0
_NEIGHBOURS = 5
# Of a column of so few values each of this part of the rows is one.
_FEW_VALUES = 20
# Rows that a piece of a map has at least, where none is in it, and all such pieces at most.
_LEAST_OF_PIECE = 0.5
_EMPTY_PART = 0.01
# Features are cut at such scores.
_MOST_EXTREME = 6.0


@dataclass(frozen=True)
class QuantileMap:
    """Maps of d columns, each a rational quadratic spline through knots; linear beyond them.

    All are tensors of a row for each column.

    Attributes
    ----------
    knots : (d, m)
        Values x, rising; an atom has two equal ones.
    scores : (d, m)
        Their normal scores, strictly rising.
    left, right : (d, m - 1)
        Slopes at the beginning and at the end of each piece.
    step : (d,)
        What the column is rounded to; 0 where it is not rounded.
    atoms : (d, a)
        Values of atoms, rising; infinity behind the last.
    atom_scores : (d, a, 2)
        Between which scores an atom is.
    limits : (d, 2)
        Scores of the least and of the greatest value of the rows.

    References
    ----------
    J. A. Gregory, R. Delbourgo, "Piecewise Rational Quadratic Interpolation to Monotonic Data",
    IMA Journal of Numerical Analysis 2, 1982, equations 2.3 to 2.5.
    """

    knots: torch.Tensor
    scores: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    step: torch.Tensor
    atoms: torch.Tensor
    atom_scores: torch.Tensor
    limits: torch.Tensor

    def tensors(self):
        """All of it by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self, like):
        """The same in the dtype and on the device of a tensor."""
        return QuantileMap(**{name: tensor.to(like) for name, tensor in self.tensors().items()})

    def score(self, x):
        """Normal scores of rows x (n, d), and the slope of the maps there."""
        piece = torch.searchsorted(self.knots, x.T.contiguous(), right=True) - 1
        piece = piece.clamp(0, self.knots.shape[1] - 2)
        start, end, low, high, left, right = self._pieces(piece)
        slope = (high - low) / (end - start)
        inside = torch.maximum(torch.minimum(x, end), start)
        part = (inside - start) / (end - start)
        both = part * (1 - part)
        bend = slope + (left + right - 2 * slope) * both
        score = low + (high - low) * (slope * part**2 + left * both) / bend
        turned = right * part**2 + 2 * slope * both + left * (1 - part) ** 2
        slope = (slope / bend) ** 2 * turned
        # Beyond the outermost knots straight on.
        return score + slope * (x - inside), slope

    def value(self, score):
        """Values of which rows (n, d) are the normal scores: of an atom's interval the atom, of
        rounded columns rounded ones, and beyond the limits the values there."""
        score = torch.maximum(torch.minimum(score, self.limits[:, 1]), self.limits[:, 0])
        piece = torch.searchsorted(self.scores, score.T.contiguous(), right=True) - 1
        piece = piece.clamp(0, self.knots.shape[1] - 2)
        start, end, low, high, left, right = self._pieces(piece)
        # An atom's piece is flat, any slope does.
        slope = (high - low) / torch.where(end > start, end - start, 1.0)
        rise, excess = score - low, left + right - 2 * slope
        square = (high - low) * (slope - left) + rise * excess
        linear = (high - low) * left - rise * excess
        root = (linear**2 + 4 * square * slope * rise).clamp(min=0).sqrt()
        x = start + 2 * slope * rise / (linear + root) * (end - start)
        step = torch.where(self.step > 0, self.step, 1.0)
        offset = self.knots[:, 1] + 0.5 * step
        return torch.where(self.step > 0, offset + step * ((x - offset) / step).round(), x)

    def _pieces(self, piece):
        """Of each cell what its piece (d, n) is made of: ends, scores and slopes, all (n, d)."""
        next_ = piece + 1
        of_knots = [(self.knots, piece), (self.knots, next_)]
        of_scores = [(self.scores, piece), (self.scores, next_)]
        of_slopes = [(self.left, piece), (self.right, piece)]
        return [a.gather(1, at).T for a, at in (*of_knots, *of_scores, *of_slopes)]

    def interval(self, x):
        """Between which normal scores rows x (n, d) are, the same two but for atoms and values of
        rounded columns, and the slope of the map."""
        low, slope = self.score(x - 0.5 * self.step)
        high = low
        if (self.step > 0).any():
            high = torch.where(self.step > 0, self.score(x + 0.5 * self.step)[0], low)
        if self.atoms.shape[1]:
            atom, place = self._nearest_atoms(x)
            scores = self.atom_scores
            ends = [scores[..., end].contiguous().gather(1, place).T for end in (0, 1)]
            low, high = (
                torch.where(atom, of_atom, of_map)
                for of_atom, of_map in zip(ends, (low, high), strict=True)
            )
        return low, high, slope

    def _nearest_atoms(self, x):
        """Whether rows x (n, d) are at atoms, and at which (d, n)."""
        x = x.T.contiguous()
        above = torch.searchsorted(self.atoms, x).clamp(max=self.atoms.shape[1] - 1)
        below = (above - 1).clamp(min=0)
        far_above, far_below = ((self.atoms.gather(1, at) - x).abs() for at in (above, below))
        place = torch.where(far_below < far_above, below, above)
        # Near enough, should x have come in another precision.
        near = torch.minimum(far_above, far_below) <= _LEAST_WIDTH * (1 + x.abs())
        return near.T, place

    def feature(self, x):
        """The normal score of the middle of the probability of each value, (n, d)."""
        low, high, _ = self.interval(x)
        middle = 0.5 * (torch.special.ndtr(low) + torch.special.ndtr(high))
        middle = torch.special.ndtri(middle.clamp(1e-7, 1 - 1e-7))
        # Of a value without a width its own, to where a distribution function has no digits.
        return torch.where(high > low, middle, low).clamp(-_MOST_EXTREME, _MOST_EXTREME)


def quantile_map(X, centre, scale):
    """The maps of the columns of rows X (n, d) between values in working units,
    (X - centre) / scale, and normal scores.

    Returns
    -------
    QuantileMap
        In float64.
    decimals : ndarray of shape (d,)
        How many decimals write each column, -2 for hundreds; NaN where it is not rounded.
    steps : ndarray of shape (d,)
        What its values are multiples of; 0 where it is not rounded.
    atom_values : ndarray of shape (d, a)
        Atoms as X has them; NaN behind the last.
    """
    columns = [_column(*column) for column in zip(X.T, centre, scale, strict=True)]
    n_knots = max(len(knots) for knots, *_ in columns)
    padded = [_padded(knots, scores, n_knots) for knots, scores, *_ in columns]
    knots, scores = (np.stack(arrays) for arrays in zip(*padded, strict=True))
    decimals, steps = np.array([rounding for _, _, rounding, _ in columns]).T
    step = steps / scale
    slopes = map(_slopes, knots, scores, step)
    left, right = (np.stack(arrays) for arrays in zip(*slopes, strict=True))
    places = [np.flatnonzero(np.diff(x) == 0) for x in knots]
    atoms = np.full((len(columns), max(map(len, places))), np.inf)
    atom_values, atom_scores = np.full(atoms.shape, np.nan), np.zeros((*atoms.shape, 2))
    for j, at in enumerate(places):
        atom_values[j, : len(at)] = columns[j][3]
        atoms[j, : len(at)] = knots[j, at]
        atom_scores[j, : len(at)] = scores[j, at[:, None] + [0, 1]]
    tensors = map(torch.from_numpy, (knots, scores, left, right, step, atoms, atom_scores))
    ends = torch.from_numpy((np.stack([X.min(axis=0), X.max(axis=0)]) - centre) / scale)
    maps = QuantileMap(*tensors, limits=torch.empty(0))
    maps = replace(maps, limits=maps.score(ends)[0].T.contiguous())
    return maps, decimals, steps, atom_values


def _column(X, centre, scale):
    """Knots, in working units, and scores of a column, its decimals and step, and its atoms."""
    values, counts = np.unique(X, return_counts=True)
    ends = (values[[0, -1]] - centre) / scale
    if np.ptp(ends) < _least_width(np.abs(ends).max()):
        # As good as constant.
        values, counts = values[:1], np.array([len(X)])
    decimals, step = _rounding(values, centre, scale)
    rows = np.concatenate([[0], np.cumsum(counts)])
    # Where the cells of values begin and end.
    low = high = values
    rounded = step > 0
    if rounded:
        # In steps: halves between whole numbers are exact.
        whole = np.round(values / step)
        edges = np.unique(np.concatenate([whole - 0.5, whole + 0.5]))
        below = rows[np.searchsorted(whole, edges)]
        heaps = whole[counts >= max(_LEAST_ROWS, np.sort(counts)[-_MOST_HEAPS:][0])]
        wanted = np.isin(edges, np.concatenate([heaps - 0.5, heaps + 0.5]))
        wanted[[0, -1]] = True
        low, high, edges = (x * step for x in (whole - 0.5, whole + 0.5, edges))
        at = []
    else:
        atom = _are_atoms(counts)
        at = np.flatnonzero(atom)
        ordinary = ~(atom[1:] | atom[:-1])
        outer = ~atom[[0, -1]]
        middles = 0.5 * (values[1:] + values[:-1])
        edges = [middles[ordinary], values[[0, -1]][outer], np.repeat(values[at], 2)]
        below = [rows[1:-1][ordinary], rows[[0, -1]][outer], rows[at[:, None] + [0, 1]].ravel()]
        edges, below = np.concatenate(edges), np.concatenate(below)
        wanted = np.arange(len(edges)) >= ordinary.sum()
        order = np.lexsort((below, edges))
        edges, below, wanted = edges[order], below[order], wanted[order]
    wanted |= _at_quantiles(below, len(X))
    if rounded:
        wanted |= _at_medians(below, wanted)
    edges, below = edges[wanted], below[wanted]
    gaps, tails = _gaps(edges, below, low, high, rows)
    edges, below = _with_gaps(edges, below, low, high, rows, gaps)
    if tails[1] and edges[-2] == edges[-1]:
        # A single value beyond the gap: half of its first row is in the gap, all others at it.
        edges, below = np.delete(edges, -1), np.r_[below[:-2], below[-2] + _LEAST_OF_PIECE]
    if tails[0] and edges[0] == edges[1]:
        edges, below = np.delete(edges, 0), np.r_[below[1] - _LEAST_OF_PIECE, below[2:]]
    begin, end = (high[gaps] - centre) / scale, (low[gaps + 1] - centre) / scale
    wide = gaps[end - begin > _WIDE_GAP * _least_width(np.maximum(np.abs(begin), np.abs(end)))]
    firm = np.isin(edges, [high[wide], low[wide + 1]])
    # Below the last are all rows.
    firm[[0, -1]] = True
    pair = (np.diff(edges) == 0) & np.isin(edges[1:], values[at])
    knots, below = _apart((edges - centre) / scale, below, pair, firm)
    return *_with_tails(knots, _normal_scores(below, len(X)), tails), (decimals, step), values[at]


def _least_width(x):
    """How far apart knots near x are at least."""
    return _LEAST_WIDTH * (1 + np.abs(x))


def _rounding(values, centre, scale):
    """How many decimals write all values, below zero where they are rounded to tens, hundreds, ...;
    and what they are multiples of. NaN and 0 if they are not rounded, or float32 cannot tell."""
    n_values = np.count_nonzero(values)
    fewest = -_MOST_DECIMALS if _chance(10, n_values) <= _MULTIPLES_CHANCE else 0
    for decimals in range(fewest, _MOST_DECIMALS + 1):
        step = 10.0**-decimals
        # As float32 has them, too, but no number by chance.
        allowed = np.minimum(1.5e-7 * np.abs(values), 1e-3 * min(step, scale))
        if (np.abs(values - np.round(values, decimals)) <= allowed).all():
            whole = np.round(values / step)
            # Beyond, not all whole numbers are in float64.
            if np.abs(whole).max() < 2**53:
                divisor = int(np.gcd.reduce(whole.astype(np.int64)))
                if _chance(divisor, n_values) <= _MULTIPLES_CHANCE:
                    step *= divisor
            farthest = np.abs((values - centre) / scale).max()
            if step / scale >= 2 * _LEAST_WIDTH * (1 + farthest):
                return float(decimals), step
            break
    return np.nan, 0.0


def _chance(divisor, n_values):
    """How probable such a common divisor of whole numbers is, and greater ones, about."""
    return float(divisor) ** (1 - n_values) if divisor > 1 else 1.0


def _are_atoms(counts):
    """Which values are atoms, from how many rows have each, by value."""
    atom = counts >= max(_LEAST_ROWS, _ATOM_PART * counts.sum())
    if len(counts) > _FEW_VALUES:
        for i in np.flatnonzero(atom):
            around = np.r_[counts[max(0, i - _NEIGHBOURS) : i], counts[i + 1 : i + 1 + _NEIGHBOURS]]
            atom[i] = counts[i] >= _ATOM_TIMES * np.median(around)
    return atom | (len(counts) == 1)


def _at_quantiles(below, n_rows):
    """Which edges of cells are at about evenly spaced normal scores, from the rows below each."""
    wanted = np.zeros(len(below), dtype=bool)
    least, last = max(_LEAST_ROWS, _LEAST_PART * n_rows), 0
    for place in np.searchsorted(below, n_rows * ndtr(_GRID)):
        if place < len(below) and last + least <= below[place] <= n_rows - least:
            wanted[place], last = True, below[place]
    return wanted


def _at_medians(below, wanted):
    """Which edges halve the rows of the pieces beside those of one value: how many rows are at it
    says nothing of where in such a piece the others are."""
    halves, at = np.zeros(len(below), dtype=bool), np.flatnonzero(wanted)
    rows = np.diff(below[at])
    single = (np.diff(at) == 1) & (rows > 0)
    beside = np.r_[False, single[:-1]] | np.r_[single[1:], False]
    for i in np.flatnonzero(beside & (rows >= _LEAST_HALVED)):
        begin, end = at[i : i + 2]
        middle = begin + np.searchsorted(below[begin:end], 0.5 * (below[begin] + below[end]))
        halves[middle] = below[begin] < below[middle] < below[end]
    return halves


def _gaps(edges, below, low, high, rows):
    """After which values, whose cells are from `low` to `high` and of which `rows` are below, there
    are gaps that are pieces themselves; and whether there is one in the first and the last piece.
    """
    gaps, n_rows = low[1:] - high[:-1], rows[-1]
    # The outermost pieces are tails, where most gaps are wide.
    middle = np.searchsorted(rows[1:], 0.5 * n_rows)
    lower = (high[:-1] < edges[1]) & (rows[1:-1] <= _OUTER_PART * n_rows)
    lower = np.flatnonzero(lower & (gaps > _TAIL_TIMES * (high[middle] - low[1:])))[-1:]
    upper = (low[1:] > edges[-2]) & (rows[1:-1] >= (1 - _OUTER_PART) * n_rows)
    upper = np.flatnonzero(upper & (gaps > _TAIL_TIMES * (high[:-1] - low[middle])))[:1]
    found = [*lower, *upper]
    # Pieces of one value.
    place = np.minimum(np.searchsorted(low, edges[:-1]), len(low) - 1)
    single = (low[place] == edges[:-1]) & (high[place] == edges[1:])
    for i, (begin, end) in enumerate(pairwise(edges[1:-1]), start=1):
        # Of all that have a part in the piece: an edge may be within a gap.
        first = max(0, np.searchsorted(low, begin, side="right") - 1)
        last = min(len(gaps), np.searchsorted(high, end))
        parts = np.minimum(low[first + 1 : last + 1], end) - np.maximum(high[first:last], begin)
        if not len(parts) or begin == end:
            continue
        parts = parts / (end - begin)
        wide = parts > _GAP_PART
        empty = (1 - parts) ** (below[i + 1] - below[i]) < _EMPTY_CHANCE
        wide[0] |= single[i - 1] & empty[0]
        wide[-1] |= single[i + 1] & empty[-1]
        found.extend(first + np.flatnonzero(wide))
    return np.unique(np.array(found, dtype=int)), (len(lower) > 0, len(upper) > 0)


def _with_gaps(edges, below, low, high, rows, gaps):
    """Edges and the rows below them, where there are gaps with their ends and none within."""
    place = np.searchsorted(high, edges) - 1
    within = np.isin(place, gaps) & (edges < low[np.minimum(place + 1, len(low) - 1)])
    edges = np.concatenate([edges[~within], high[gaps], low[gaps + 1]])
    below = np.concatenate([below[~within], rows[gaps + 1], rows[gaps + 1]])
    order = np.lexsort((below, edges))
    edges, below = edges[order], below[order]
    # Edges of atoms and of steps are there already.
    new = np.r_[True, (np.diff(edges) > 0) | (np.diff(below) > 0)]
    return edges[new], below[new]


def _apart(knots, below, pair, firm):
    """Knots without those that are too near to others, but the two of an atom, where there is a
    `pair` of a knot and the next. `firm` ones stay: an atom takes in the rows between it and one
    that is too near, and two of them, what float32 knows of a narrow heap of rows, are moved."""
    knots, below = knots.copy(), below.copy()
    atom = np.r_[pair, False] | np.r_[False, pair]
    kept = [0]
    for i in range(1, len(knots)):
        last, width = kept[-1], _least_width(knots[i])
        if knots[i] - knots[last] >= width or (atom[i] and atom[last]):
            kept.append(i)
        elif atom[last] and firm[i]:
            below[last] = below[i]
        elif atom[i]:
            below[i] = below[last] if firm[last] else below[i]
            kept[-1] = i
        elif firm[i] and firm[last]:
            knots[[last, i]] = knots[[last, i]].mean() + 0.5 * width * np.array([-1, 1])
            kept.append(i)
        elif firm[i]:
            kept[-1] = i
    return knots[kept], below[kept]


def _normal_scores(below, n_rows):
    """Normal scores of knots, of which so many of the rows are below each."""
    rows = np.diff(below).astype(float)
    empty = rows < _LEAST_OF_PIECE
    rows[empty] = min(_LEAST_OF_PIECE, _EMPTY_PART * n_rows / max(1, empty.sum()))
    more = rows.sum() - (below[-1] - below[0])
    below = below[0] + np.concatenate([[0.0], np.cumsum(rows)])
    return ndtri((below + 0.5) / (n_rows + more + 1))


def _with_tails(knots, scores, gaps):
    """Knots and scores with one more at each end, along the outermost pieces; where there is one of
    the two `gaps` before, along that."""
    steps = np.diff(knots)
    slopes = np.diff(scores) / np.where(steps > 0, steps, 1.0)
    slopes = [slopes[: 1 + gaps[0]].min(), slopes[-1 - gaps[1] :].min()]
    widths = np.maximum(1 / np.array(slopes), 1e-3 * (1 + np.abs(knots[[0, -1]])))
    outer = knots[[0, -1]] + [-widths[0], widths[1]]
    rise = slopes * widths
    return (
        np.concatenate([outer[:1], knots, outer[1:]]),
        np.concatenate([scores[:1] - rise[0], scores, scores[-1:] + rise[1]]),
    )


def _padded(knots, scores, n_knots):
    """As many knots, those behind the last along its piece."""
    more = np.arange(1, n_knots - len(knots) + 1)
    return (
        np.concatenate([knots, knots[-1] + more * (knots[-1] - knots[-2])]),
        np.concatenate([scores, scores[-1] + more * (scores[-1] - scores[-2])]),
    )


def _slopes(knots, scores, step):
    """Slopes at the beginning and the end of each piece: the geometric mean of two pieces' where
    they meet, but a piece's own beside atoms, beside single values of columns that are rounded to
    `step`, and in the tails."""
    widths = np.diff(knots)
    slopes = np.diff(scores) / np.where(widths == 0, 1.0, widths)
    # Many rows at one value say nothing of how many are near it.
    single = widths < 1.5 * step if step > 0 else widths == 0
    joined = ~(single[1:] | single[:-1])
    joined[0] = False
    mean = np.sqrt(slopes[1:] * slopes[:-1])
    left, right = slopes.copy(), slopes.copy()
    left[1:] = np.where(joined, mean, slopes[1:])
    right[:-1] = np.where(joined, mean, slopes[:-1])
    # The last piece of the training rows meets a tail, which is straight.
    return left, right
