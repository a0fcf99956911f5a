"""Do the marginals of columns come back: two samples of each, and how far they are apart."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2_contingency, ks_2samp

from ._random import scoped_seed

# A part of the rows so large has to be elsewhere before a column counts as off, however many rows
# there are: with many, laws that are near enough for any use differ beyond chance.
LEAST_DISTANCE = 0.1
# The chance that any of the columns of a model that is right is called off.
LEVEL = 0.01


@dataclass(frozen=True)
class MarginalCheck:
    """How far the marginals of two samples of some columns are apart.

    Attributes
    ----------
    distance : ndarray of shape (n_features,)
        From 0 to 1: the Kolmogorov-Smirnov statistic of numbers, the total variation of categories.
    p_value : ndarray of shape (n_features,)
        Of the two-sample Kolmogorov-Smirnov test, of categories the chi-squared test of
        homogeneity, each times the number of columns (Bonferroni), at most 1.
    """

    distance: np.ndarray
    p_value: np.ndarray

    @property
    def off(self):
        """Which columns are apart by more than chance, and by more than a tenth of the rows,
        ndarray of bool (n_features,)."""
        return (self.distance > LEAST_DISTANCE) & (self.p_value < LEVEL)


def compare_marginals(X, Y, categories):
    """Compare the columns of two samples; missing cells (NaN) play no part.

    Parameters
    ----------
    X, Y : ndarray of shape (n, n_features) and (m, n_features)
    categories : ndarray of bool of shape (n_features,)
        Which columns are codes, of which the order says nothing.

    Returns
    -------
    MarginalCheck

    References
    ----------
    J. L. Hodges, "The Significance Probability of the Smirnov Two-Sample Test", Arkiv för Matematik
    3, 1958.
    """
    d = X.shape[1]
    distance, p_value = np.zeros(d), np.ones(d)
    for j in range(d):
        x, y = (column[~np.isnan(column)] for column in (X[:, j], Y[:, j]))
        if not len(x) or not len(y):
            continue
        compared = _of_categories if categories[j] else _of_numbers
        distance[j], p_value[j] = compared(x, y)
    return MarginalCheck(distance, np.minimum(d * p_value, 1.0))


def _of_numbers(x, y):
    result = ks_2samp(x, y, method="asymp")
    return result.statistic, result.pvalue


def _of_categories(x, y):
    values = np.unique(np.concatenate([x, y]))
    counts = np.array([[(column == value).sum() for value in values] for column in (x, y)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    distance = np.abs(shares[0] - shares[1]).sum() / 2
    p_value = chi2_contingency(counts, correction=False).pvalue if len(values) > 1 else 1.0
    return distance, p_value


def replicated(net, X, seed, condition=None):
    """For each row of X one drawn from p(x|z) at a draw z from the row's own q(z|x), in the units
    of X; and where the noise of its columns was at its floor.

    Where the marginals of these are not those of X the law p(x|z) is to blame, whatever p(z) is: to
    a z that is drawn from p(z) it is added that rows are elsewhere.

    Returns
    -------
    rows : ndarray of shape (n, n_features), float64
        No cell is missing.
    at_floor : ndarray of bool of shape (n, n_features)

    References
    ----------
    A. Gelman, X.-L. Meng, H. Stern, "Posterior Predictive Assessment of Model Fitness via Realized
    Discrepancies", Statistica Sinica 6, 1996.
    """

    def drawn(module, x, noise, condition=None):
        z = module.latents(x, noise, condition)[:, 0]
        outputs = module.outputs(z, condition)
        return module.likelihood.sample(outputs), module.likelihood.at_noise_floor(outputs)

    with scoped_seed(seed):
        rows, at_floor = net.apply(drawn, X, condition, prepare=net.with_noise(1, seed))
    return net.module_.likelihood.in_units_of_rows(rows), at_floor.astype(bool)


def sampled(net, n_samples, seed, condition=None):
    """Rows (n_samples, n_features) drawn from the model, in the units of X."""

    def drawn(module, rows, condition=None):
        return module.sample(len(rows), condition=condition)

    with scoped_seed(seed):
        rows = net.apply(drawn, np.empty((n_samples, 0)), condition)
    return net.module_.likelihood.in_units_of_rows(rows)
