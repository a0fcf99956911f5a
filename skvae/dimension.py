"""How many components of a linear model make held-out rows likeliest.

Of whole rows that are dealt out to folds, all that is needed are the means and covariances of the
folds: the mean log-likelihood of the rows of one under the model of the others depends on no more.

References
----------
M. E. Tipping, C. M. Bishop, "Probabilistic Principal Component Analysis", JRSS B 61, 1999,
equations 4 and 8; D. Barber, "Bayesian Reasoning and Machine Learning", 2012, section 21.2 (factor
analysis by eigenvectors, as in scikit-learn); T. P. Minka, "Automatic Choice of Dimensionality for
PCA", NIPS 2000.
"""

import numpy as np
from sklearn.decomposition._pca import _assess_dimension

from .incomplete import factor_model, observed_log_prob
from .moments import Moments

# Fewer find weak components less often; but a fold costs an eigendecomposition of the columns, with
# missing cells a fit by EM for each number of components.
_FOLDS, _COSTLY_FOLDS = 10, 4
_MANY_COLUMNS = 500
# EM ends when an iteration gains less than this, in nats an observed cell, or after so many.
_LEAST_GAIN_OF_EM = 1e-4
_MOST_ITERATIONS_OF_EM = 50
# Factor analysis ends when an iteration gains less than this, in nats a row, or after so many.
_LEAST_GAIN = 1e-3
_MOST_ITERATIONS = 100
# Of scores, relative to these.
_ROUNDING = 1e-9
# Of a variance above the noise, in units of that, below which EM has switched a component off.
_LEAST_SIGNAL = 1e-6


def dealt_out(n_rows, n_parts, seed):
    """The number of the part of each row, (n_rows,): parts at random, as even as can be."""
    part_of_row = np.empty(n_rows, dtype=np.int8)
    order = np.random.RandomState(seed).permutation(n_rows)
    part_of_row[order] = np.arange(n_rows) % n_parts
    return part_of_row


class Folds:
    """Means and covariances of the parts that rows are dealt out to, at random.

    Parameters
    ----------
    n_rows, n_columns : int
        There are ten parts, four of many rows of more than 500 columns, and no more than rows.
    seed : int

    Attributes
    ----------
    parts : list of Moments
    """

    def __init__(self, n_rows, n_columns, seed):
        n_parts = _COSTLY_FOLDS if min(n_rows, n_columns) > _MANY_COLUMNS else _FOLDS
        self.parts = [Moments(full=True) for _ in range(min(n_parts, n_rows))]
        self.part_of_row = dealt_out(n_rows, len(self.parts), seed)

    def add(self, positions, rows, weight=None):
        """Take in rows (n, n_columns), which stand at these positions, a slice or an array, each as
        often as its weight (n,) says."""
        place = self.part_of_row[positions]
        for j, part in enumerate(self.parts):
            own = place == j
            if own.any():
                part.add(rows[own], None if weight is None else weight[own])
        return self

    def pairs(self):
        """Yield the moments of all parts but one, and of that one."""
        for held_out in self.parts:
            others = Moments(full=True)
            for part in self.parts:
                if part is not held_out:
                    others.merge(part)
            yield others, held_out

    def most_components(self, n_features):
        """How many components leave something over for the noise, whichever part is held out."""
        fewest = sum(part.rows for part in self.parts) - max(part.rows for part in self.parts)
        return min(fewest - 1, n_features) - 1


def in_own_span(X):
    """Coordinates (n, n) of rows X (n, n_features), less their mean, in which all products of rows
    are the same."""
    X = X - X.mean(axis=0)
    values, vectors = np.linalg.eigh(X @ X.T)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def pca_scores(folds, n_features, least_noise):
    """The mean log-likelihood of held-out rows under probabilistic PCA, for each number of
    components.

    With eigenvectors u_i and eigenvalues l_i of the covariance of the other rows, m their mean and
    s2 the mean of the eigenvalues from k + 1 on,

        -2 log p_k(x) = d log 2 pi + sum_{i <= k} (log l_i + (u_i'(x - m))^2 / l_i)
                        + (d - k) log s2 + sum_{i > k} (u_i'(x - m))^2 / s2,

    so that one eigendecomposition serves all k: the sums over i are cumulative sums. Where rows
    are fewer than columns s2 counts eigenvalues of zero too, as the maximum of the likelihood does
    and PCA does not.

    Parameters
    ----------
    folds : Folds
        Of the rows, or of their coordinates in their own span.
    n_features : int
        d, columns of the rows themselves.
    least_noise : float
        No variance is below this.

    Returns
    -------
    scores : ndarray of shape (n_counts,)
        In nats a row; entry j is of j + 1 components.
    """
    n_counts = folds.most_components(n_features)
    left = n_features - np.arange(1, n_counts + 1)
    scores, count = np.zeros(max(n_counts, 0)), 0.0
    if n_counts < 1:
        return scores
    for others, held_out in folds.pairs():
        values, vectors = np.linalg.eigh(others.products / max(others.count - 1, 1))
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        noise = np.maximum(np.cumsum(values[::-1])[::-1][1 : n_counts + 1] / left, least_noise)
        values = np.maximum(values[:n_counts], least_noise)
        square = (vectors * (_around(others.mean, held_out) @ vectors)).sum(axis=0)
        within = np.cumsum(square[:n_counts])
        twice = n_features * np.log(2 * np.pi) + np.cumsum(np.log(values)) + left * np.log(noise)
        twice += np.cumsum(square[:n_counts] / values) + (square.sum() - within) / noise
        scores -= 0.5 * held_out.count * twice
        count += held_out.count
    return scores / count


def factor_scores(folds, least_noise):
    """A function from a number of components to the mean log-likelihood of held-out rows under
    factor analysis.

    Parameters
    ----------
    folds : Folds
    least_noise : ndarray of shape (n_features,)
        No noise variance of a column is below this.

    Returns
    -------
    score : callable
    """
    pairs = [
        (others.products / others.count, _around(others.mean, part), part.count)
        for others, part in folds.pairs()
    ]

    def score(k):
        total = 0.0
        for covariance, held_out, count in pairs:
            model = _factor_covariance(covariance, k, least_noise)
            distance = np.trace(np.linalg.solve(model, held_out))
            twice = len(model) * np.log(2 * np.pi) + np.linalg.slogdet(model)[1] + distance
            total -= 0.5 * count * twice
        return total / sum(count for _, _, count in pairs)

    return score


def incomplete_scores(X, row, *, shared_noise, least_noise, seed):
    """As `factor_scores`, of the observed cells of rows X, by EM; and the most components that
    there can be.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float64
        Missing cells are NaN.
    row : ndarray of int of shape (n_samples,)
        Which row it is: copies of one row are held out together.
    shared_noise : bool
        Whether the model is probabilistic PCA.
    least_noise : float or ndarray of shape (n_features,)
    seed : int

    Returns
    -------
    score : callable
    most : int
    """
    _, row = np.unique(row, return_inverse=True)
    n_rows = int(row.max()) + 1
    n_parts = min(_COSTLY_FOLDS, n_rows)
    part = dealt_out(n_rows, n_parts, seed)[row]

    def score(k):
        total = 0.0
        for j in range(n_parts):
            model = factor_model(
                X[part != j],
                k,
                shared_noise=shared_noise,
                least_noise=least_noise,
                least_gain=_LEAST_GAIN_OF_EM,
                most_iterations=_MOST_ITERATIONS_OF_EM,
            )
            total += observed_log_prob(X[part == j], *model)
        return total / len(X)

    return score, min(n_rows - -(-n_rows // n_parts) - 1, X.shape[1]) - 1


def incomplete_spectrum(X, least_noise):
    """Eigenvalues of the covariance of rows X, shape (n_samples, n_features), whose missing cells
    are NaN: decreasing, (n_features,); and how many of them are above the noise.

    By EM: probabilistic PCA with a component less than columns has any covariance. Rows whose
    missing cells are filled have not, as what is filled has no noise.
    """
    k = min(X.shape) - 1
    _, loadings, noise = factor_model(
        X,
        k,
        shared_noise=True,
        least_noise=least_noise,
        least_gain=_LEAST_GAIN_OF_EM,
        most_iterations=_MOST_ITERATIONS_OF_EM,
    )
    signal = (loadings**2).sum(axis=0)
    values = np.full(X.shape[1], noise[0])
    values[:k] += signal
    return values, int((signal > _LEAST_SIGNAL * noise[0]).sum())


def rows_in_common(X):
    """How many of rows X have both of two columns, on average over the pairs: what the covariance
    of incomplete rows is known by."""
    observed = (~np.isnan(X)).astype(float)
    both = observed.T @ observed
    n_pairs = len(both) * (len(both) - 1)
    return float(both.sum() - both.trace()) / n_pairs


def minka_count(values, most, n_rows):
    """The number of components from 1 to `most` that has the greatest evidence by eigenvalues
    (n_features,) of the covariance of so many rows; eigenvalues above `most` may be equal."""
    if most < 2:
        return 1
    # scikit-learn takes very small eigenvalues, whatever the units, for none.
    values = values / values.mean()
    return max(range(1, most + 1), key=lambda k: _assess_dimension(values, k, n_rows))


def count_that_explains(values, part):
    """How many of the eigenvalues, decreasing, are more than a part of their sum."""
    parts = np.cumsum(values) / values.sum()
    # As PCA counts.
    return min(int(np.searchsorted(parts, part, side="right")) + 1, len(values))


def _around(mean, moments):
    """The mean of (x - mean)(x - mean)' over the rows of moments."""
    shift = moments.mean - mean
    return moments.products / moments.count + np.outer(shift, shift)


def _factor_covariance(covariance, k, least_noise):
    """W W' + Psi of factor analysis of rows of that covariance."""
    variance = covariance.diagonal()
    noise = np.maximum(variance / 2, least_noise)
    before = -np.inf
    for _ in range(_MOST_ITERATIONS):
        root = np.sqrt(noise)
        values, vectors = np.linalg.eigh(covariance / np.outer(root, root))
        kept = np.maximum(values[-k:], 1.0)
        loadings = root[:, None] * vectors[:, -k:] * np.sqrt(kept - 1)
        log_prob = -0.5 * (np.log(noise).sum() + np.log(kept).sum() + values[:-k].sum() + k)
        if log_prob - before < _LEAST_GAIN:
            break
        before = log_prob
        noise = np.maximum(variance - (loadings**2).sum(axis=1), least_noise)
    return loadings @ loadings.T + np.diag(noise)


def fewest_of_best(scores):
    """The smallest key of a dict with the greatest value, up to rounding: components that are
    switched off, their variances below that of the noise, change nothing."""
    best = max(scores.values())
    return min(k for k, score in scores.items() if score >= best - _ROUNDING * (1 + abs(best)))


def best_count(score, most):
    """The number from 1 to `most` with the greatest score, as far as it is found at powers of two,
    until two are worse than the best, and then around the best by steps that are halved."""
    scores, k, best = {}, 1, 1
    while k <= most and k // 4 <= best:
        scores[k] = score(k)
        best = fewest_of_best(scores)
        k *= 2
    step = max(best // 2, 1)
    while step:
        for k in (best - step, best + step):
            if 1 <= k <= most and k not in scores:
                scores[k] = score(k)
        best = fewest_of_best(scores)
        step //= 2
    return best
