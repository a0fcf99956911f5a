"""Rows with missing cells: units and a linear model from the cells that were observed, and what
that model makes of the others.

References
----------
R. J. A. Little, D. B. Rubin, "Statistical Analysis with Missing Data", 3rd edition, 2019, chapter
8; A. Ilin, T. Raiko, "Practical Approaches to Principal Component Analysis in the Presence of
Missing Values", JMLR 11, 2010, section 4 (EM for pPCA); C. Liu, D. B. Rubin, Y. N. Wu, "Parameter
Expansion to Accelerate EM: the PX-EM Algorithm", Biometrika 85, 1998.
"""

import numpy as np
import torch
from torch import nn

# Of EM, by default.
_LEAST_GAIN = 1e-6
_MOST_ITERATIONS = 500
# Values that the solutions of a chunk of rows take, at most.
_CHUNK_VALUES = 2**22


def has_missing(X):
    """Whether an array has cells that are NaN."""
    return X.dtype.kind == "f" and bool(np.isnan(X).any())


def marginally_filled(X, otherwise):
    """X with each missing cell replaced by a value of its column, spread over those observed so
    that means, variances and quantiles stay what they are; in a column without such by what
    `otherwise` (n_features,) has.

    For units alone: such rows say nothing of how columns go together.
    """
    missing = np.isnan(X)
    if not missing.any():
        return X
    X = X.copy()
    for j in np.flatnonzero(missing.any(axis=0)):
        observed, n_missing = X[~missing[:, j], j], missing[:, j].sum()
        parts = (np.arange(n_missing) + 0.5) / n_missing
        if len(observed):
            X[missing[:, j], j] = np.quantile(observed, parts, method="inverted_cdf")
        else:
            X[:, j] = otherwise[j]
    return X


def factor_model(
    X,
    n_components,
    *,
    shared_noise,
    least_noise,
    condition=None,
    least_gain=_LEAST_GAIN,
    most_iterations=_MOST_ITERATIONS,
):
    """x = W z + w + B c + noise from the observed cells of X, by EM.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float64
        Missing cells are NaN. A column without an observed one is of mean 0 and without loadings.
    n_components : int
    shared_noise : bool
        One noise variance for all columns (pPCA) or one a column (factor analysis).
    least_noise : float or ndarray of shape (n_features,)
        No noise variance is below this.
    condition : ndarray of shape (n_samples, n_conditions), optional
        c of each row; without it B c is left out.
    least_gain : float
        EM ends when an iteration gains less than this, in nats an observed cell,
    most_iterations : int
        or after so many.

    Returns
    -------
    mean : ndarray of shape (n_features,)
    loadings : ndarray of shape (n_features, n_components + n_conditions)
        W, with W' noise^-1 W diagonal, by decreasing entries, and behind it B.
    noise : ndarray of shape (n_features,)
    """
    if condition is None:
        condition = np.empty((len(X), 0))
    # What stands beside the latents: the constant, and the conditions.
    known = np.column_stack([np.ones(len(X)), condition])
    observed = ~np.isnan(X)
    counts = np.maximum(observed.sum(axis=0), 1)
    mean = np.where(observed, X, 0.0).sum(axis=0) / counts
    # Unit columns, or with one noise for all one unit: EM's rate depends on it, its end does not.
    unit = np.sqrt((np.where(observed, X - mean, 0.0) ** 2).sum(axis=0) / counts)
    unit = np.where(unit > 0, unit, 1.0)
    if shared_noise:
        unit = np.full_like(unit, np.sqrt(np.mean(unit**2)))
    X = np.where(observed, (X - mean) / unit, 0.0)
    least = np.broadcast_to(least_noise, unit.shape) / unit**2
    of_known = _products(known, observed)
    effects = np.zeros((X.shape[1], known.shape[1]))
    if condition.shape[1]:
        no_loadings, unit_noise = np.zeros((X.shape[1], 0)), np.ones(X.shape[1])
        effects = _iteration(
            X, observed, no_loadings, effects, unit_noise, shared_noise, known, of_known
        )[2]
    # The start: pPCA of rows filled by their columns' means.
    residual = np.where(observed, X - known @ effects.T, 0.0)
    _, singular, axes = np.linalg.svd(residual, full_matrices=False)
    k = min(n_components, len(singular))
    variances = singular**2 / len(X)
    # With a component for every column nothing is left over, and EM would stay at no noise.
    rest = max(variances[k:].sum() / max(1, X.shape[1] - k), 0.05 * variances.mean())
    loadings = np.zeros((X.shape[1], n_components))
    loadings[:, :k] = axes[:k].T * np.sqrt(np.maximum(variances[:k] - rest, 0.0))
    noise = np.maximum(np.full(X.shape[1], rest), least)
    before = -np.inf
    for _ in range(most_iterations):
        total, loadings_new, effects_new, noise_new = _iteration(
            X, observed, loadings, effects, noise, shared_noise, known, of_known
        )
        if total / observed.sum() < before + least_gain:
            break
        before = total / observed.sum()
        loadings, effects, noise = loadings_new, effects_new, np.maximum(noise_new, least)
    rotated, values, _ = np.linalg.svd(loadings / np.sqrt(noise)[:, None], full_matrices=False)
    loadings = rotated * values * (np.sqrt(noise) * unit)[:, None]
    # The sign of scikit-learn's PCA: the largest entry of a component is positive.
    largest = np.abs(loadings).argmax(axis=0)
    loadings *= np.where(loadings[largest, np.arange(n_components)] < 0, -1.0, 1.0)
    effects = effects * unit[:, None]
    return mean + effects[:, 0], np.hstack([loadings, effects[:, 1:]]), noise * unit**2


def observed_log_prob(X, mean, loadings, noise):
    """The log-likelihood in nats of the observed cells of all rows X under x = W z + w + noise, as
    `factor_model` gives w, W and the noise variances."""
    observed = ~np.isnan(X)
    rows, known = np.where(observed, X - mean, 0.0), np.ones((len(X), 1))
    no_effects = np.zeros((X.shape[1], 1))
    of_known = _products(known, observed)
    return _iteration(rows, observed, loadings, no_effects, noise, False, known, of_known)[0]


def _products(known, observed):
    """Of each column the sum over its observed rows of c c', (n_features, m, m), of c (n, m)."""
    return np.stack([(known * seen[:, None]).T @ known for seen in observed.T])


def _iteration(X, observed, loadings, effects, noise, shared_noise, known, of_known):
    """The log-likelihood of the observed cells before an iteration of EM, and the model after."""
    n_features, k = loadings.shape
    width = k + known.shape[1]
    # Of each column: sums over its observed rows of E[v v'] and E[v] x, v = (z, 1, c). Of the first
    # the part without z, which may be nearly all of it, is the same in each iteration.
    second = np.zeros((n_features, width, width))
    first = np.zeros((n_features, width))
    of_latents = np.zeros((k, width))
    square, log_prob = np.zeros(n_features), 0.0
    pairs = loadings[:, :, None] * loadings[:, None, :] / noise[:, None, None]
    pairs = pairs.reshape(n_features, k * k)
    step = max(1, _CHUNK_VALUES // (n_features + (k + 1) * width))
    for start in range(0, len(X), step):
        x, seen = X[start : start + step], observed[start : start + step].astype(float)
        beside = known[start : start + step]
        residual = (x - beside @ effects.T) * seen
        precision = np.eye(k) + (seen @ pairs).reshape(len(x), k, k)
        pull = (residual / noise) @ loadings
        covariance = np.linalg.inv(precision)
        z = np.einsum("nkl,nl->nk", covariance, pull)
        v = np.column_stack([z, beside])
        moments = z[:, :, None] * v[:, None, :]
        moments[:, :, :k] += covariance
        second[:, :k] += (seen.T @ moments.reshape(len(x), -1)).reshape(n_features, k, width)
        of_latents += moments.sum(axis=0)
        first += (x * seen).T @ v
        square += (x**2 * seen).sum(axis=0)
        log_prob += -0.5 * (
            (residual**2 / noise).sum()
            - (pull * z).sum()
            + np.linalg.slogdet(precision)[1].sum()
            + (seen * np.log(2 * np.pi * noise)).sum()
        )
    second[:, k:, :k] = second[:, :k, k:].transpose(0, 2, 1)
    second[:, k:, k:] = of_known
    # Columns with few observed cells need a little of a ridge to be solved for.
    second += 1e-9 * np.eye(width)
    weights = np.linalg.solve(second, first[:, :, None])[:, :, 0]
    left = square - (weights * first).sum(axis=1)
    counts = np.maximum(observed.sum(axis=0), 1)
    noise = np.full(n_features, left.sum() / counts.sum()) if shared_noise else left / counts
    loadings, effects = weights[:, :k], weights[:, k:]
    # With a mean and a covariance of the latents as parameters too, put into the loadings at once,
    # EM is many times as fast (PX-EM).
    middle = of_latents[:, k] / len(X)
    spread = of_latents[:, :k] / len(X) - np.outer(middle, middle)
    effects[:, 0] += loadings @ middle
    loadings = loadings @ np.linalg.cholesky(spread + 1e-12 * np.eye(k))
    return log_prob, loadings, effects, np.maximum(noise, np.finfo(float).tiny)


class LinearFill(nn.Module):
    """What a linear model makes of missing features, and how it knows the latents without them.

    With x = W z + w + B c + noise missing features are filled by their means given the observed
    ones. The affine posterior mean A (x - w - B c) of a row that is so filled is
    E[z | the observed cells], exactly, whatever is missing. The precision of z is then
    M = I + W_o' noise_o^-1 W_o, of the observed rows of W alone: its diagonal has a share of what
    all cells would say, W_i' noise^-1 W_i, and off it the latents are correlated.

    Parameters
    ----------
    n_inputs : int
    n_components : int
    aligned : bool, default=True
        Whether the latents of the model that the share is for begin as those of this one. Where
        they do not, all have the mean share.
    n_conditions : int, default=0
    """

    def __init__(self, n_inputs, n_components, aligned=True, n_conditions=0):
        super().__init__()
        self.aligned = aligned
        for name, shape in (
            ("mean", (n_inputs,)),
            ("loadings", (n_inputs, n_components)),
            ("precision", (n_inputs,)),
            ("effects", (n_inputs, n_conditions)),
        ):
            self.register_buffer(name, torch.zeros(shape))

    @torch.no_grad()
    def load(self, mean, loadings, noise, effects=None):
        """Set the model, of features in working units: (n_inputs,), (n_inputs, k), (n_inputs,) and
        (n_inputs, n_conditions)."""
        if effects is not None:
            self.effects.copy_(torch.as_tensor(effects))
        for buffer, values in (
            (self.mean, mean),
            (self.loadings, loadings),
            (self.precision, 1 / noise),
        ):
            buffer.copy_(torch.as_tensor(values))

    def forward(self, features, mask, condition=None):
        """The features (n, n_inputs) filled where the mask is False; of each latent the share of
        what the data say that the observed ones have, (n, k) or, not aligned, (n, 1); and a root
        (n, k, k) of the covariance of the latents in units of M_ii^(-1/2), None if not aligned."""
        # In double precision, where the device has it: without noise to speak of, what is missing
        # leaves M nearly singular.
        own = features.dtype
        if features.device.type != "mps":
            features = features.double()
        mean, loadings = self.mean.to(features), self.loadings.to(features)
        if condition is not None:
            mean = mean + condition.to(features) @ self.effects.to(features).T
        missing = (~mask).to(features)
        weighted = loadings * self.precision.to(features)[:, None]
        information = loadings.T @ weighted
        lost = torch.einsum("nd,dk,dl->nkl", missing, weighted, loadings)
        precision = torch.eye(len(information)).to(information) + information - lost
        pull = torch.where(mask, features - mean, 0.0) @ weighted
        z = torch.linalg.solve(precision, pull)
        filled = torch.where(mask, features, mean + z @ loadings.T)
        known, lost = information.diagonal(), lost.diagonal(dim1=1, dim2=2)
        root = None
        if self.aligned:
            deviation = precision.diagonal(dim1=1, dim2=2).rsqrt()
            root = _root_of_inverse(precision * deviation[:, :, None] * deviation[:, None, :])
            root = root.to(own)
        else:
            known, lost = known.sum(0, keepdim=True), lost.sum(1, keepdim=True)
        share = 1 - lost / known.clamp(min=torch.finfo(own).tiny)
        # Exactly nothing where no cell was observed, and exactly all where all were.
        share = torch.where(missing.all(1, keepdim=True), 0.0, share.clamp(0, 1))
        return filled.to(own), torch.where(known > 0, share, 1.0).to(own), root


def _root_of_inverse(matrix):
    """The lower triangular root of the inverse of symmetric matrices (n, k, k), by that of the
    matrices turned round, which needs no inverse itself."""
    turned = torch.linalg.cholesky(matrix.flip(-2, -1)).flip(-2, -1).mT
    identity = torch.eye(matrix.shape[-1]).to(matrix)
    return torch.linalg.solve_triangular(turned, identity, upper=False)
