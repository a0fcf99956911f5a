"""Are pairs of columns related in samples as they are in rows, by rank correlations."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from .marginal_checks import LEVEL
from .moments import some_rows

# Rank correlations have to be so far apart before a pair counts as off, however many rows there
# are.
LEAST_DIFFERENCE = 0.2
# Of two columns that did not depend on each other so many rows have to be expected to be in the
# rarer halves of both (beside the commonest value, where most rows have that): of fewer a
# correlation is not nearly normal.
_LEAST_EXPECTED = 10
# Columns at most that are looked at, and categories.
_MOST_FEATURES = 1000
# Of nearly equal ranks the transform of Fisher is without bound.
_LARGEST = 0.999
# The variance of Fisher's transform of a rank correlation, beside that of Pearson's.
_OF_RANKS = 1.06


@dataclass(frozen=True)
class PairCheck:
    """The rank correlations of pairs of columns in two samples.

    A category has a correlation as the column that is 1 where a row has it; of two columns the one
    counts that differs most.

    Attributes
    ----------
    columns : ndarray of int of shape (n_pairs, 2)
    rows, samples : ndarray of shape (n_pairs,)
        The rank correlations in both.
    p_value : ndarray of shape (n_pairs,)
        That they are the same, by Fisher's transform, times the number of all that were compared
        (Bonferroni), at most 1.
    """

    columns: np.ndarray
    rows: np.ndarray
    samples: np.ndarray
    p_value: np.ndarray

    @property
    def off(self):
        """Which pairs are related otherwise by more than chance, and by more than .2, ndarray of
        bool (n_pairs,)."""
        return (np.abs(self.rows - self.samples) > LEAST_DIFFERENCE) & (self.p_value < LEVEL)


def compare_pairs(X, Y, categories):
    """Compare the rank correlations of the columns of two samples.

    Parameters
    ----------
    X, Y : ndarray of shape (n, n_features)
        As many rows of both; cells that are missing (NaN) in X play no part in either.
    categories : ndarray of bool of shape (n_features,)
        Which columns are codes, of which the order says nothing.

    Returns
    -------
    PairCheck

    References
    ----------
    E. C. Fieller, H. O. Hartley, E. S. Pearson, "Tests for Rank Correlation Coefficients",
    Biometrika 44, 1957.
    """
    of_column, in_X, in_Y = _features(X, np.where(np.isnan(X), np.nan, Y), categories)
    first, second = np.triu_indices(len(of_column), 1)
    apart = of_column[first] != of_column[second]
    first, second = first[apart], second[apart]
    correlations = [_correlations(ranks, seen)[first, second] for ranks, seen, _ in (in_X, in_Y)]
    counts = [(seen.T @ seen)[first, second] for _, seen, _ in (in_X, in_Y)]
    variance = sum(_OF_RANKS / np.maximum(count - 3, 1) for count in counts)
    rarer = in_X[2][first] * in_X[2][second]
    variance[counts[0] * rarer < _LEAST_EXPECTED] = np.inf
    rows, samples = (np.clip(part, -_LARGEST, _LARGEST) for part in correlations)
    z = np.abs(np.arctanh(rows) - np.arctanh(samples)) / np.sqrt(variance)
    p_value = np.minimum(2 * norm.sf(z) * max(1, len(z)), 1.0)
    # Of two columns the features that are furthest apart, of those that can be compared.
    columns = np.column_stack([of_column[first], of_column[second]])
    order = np.argsort(np.where(np.isinf(variance), 1, -np.abs(rows - samples)), kind="stable")
    _, place = np.unique(columns[order], axis=0, return_index=True)
    kept = order[place]
    return PairCheck(columns[kept], rows[kept], samples[kept], p_value[kept])


def _correlations(ranks, seen):
    """Of centred ranks (n, p), 0 where a cell is missing, over the rows that have both."""
    squares = (ranks**2).T @ seen
    return ranks.T @ ranks / np.maximum(np.sqrt(squares * squares.T), np.finfo(np.float64).tiny)


def _features(X, Y, categories):
    """Of which column each feature is, and of both samples the centred ranks, 0 where a cell is
    missing, which cells are there, and what part of them is rarer than half."""
    features = []
    for j in range(X.shape[1]):
        values = [None]
        if categories[j]:
            values = np.unique(X[~np.isnan(X[:, j]), j])
        features.extend((j, value) for value in values)
    features = [features[i] for i in some_rows(len(features), _MOST_FEATURES)]
    columns = np.array([j for j, _ in features], dtype=int)
    return columns, *(_ranks(part, features, columns) for part in (X, Y))


def _ranks(rows, features, columns):
    ranks, rarer = np.zeros((len(rows), len(features))), np.zeros(len(features))
    seen = ~np.isnan(rows[:, columns])
    for i, (j, value) in enumerate(features):
        x = rows[seen[:, i], j]
        x = x if value is None else x == value
        if not len(x) or (x == x[0]).all():
            continue
        of_cells = rankdata(x) / len(x)
        ranks[seen[:, i], i] = of_cells - of_cells.mean()
        rarer[i] = min(0.5, 1 - np.unique(x, return_counts=True)[1].max() / len(x))
    return ranks, seen.astype(np.float64), rarer
