"""The aggregated posterior q(z) = mean over the rows of q(z|x): what it says of the latents, and
how far it is from p(z).

Averaged over the rows, KL(q(z|x) || p(z)) is the mutual information of the row's index and z, which
tells rows apart, plus KL(q(z) || p(z)), which only a better p(z) could save (Hoffman and Johnson).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.distributions import MultivariateNormal, Normal

from ._random import scoped_seed
from .priors import FittedMixture

# Rows of which q(z) is measured at most, where there are more: each is compared with each.
AGGREGATED_ROWS = 1000
# Pairs of a draw and a row whose densities are in memory together.
_PAIRS = 2**21
# Draws of each held-out row that a fitted mixture is judged by.
_JUDGED_DRAWS = 10


@dataclass(frozen=True)
class Aggregate:
    """What q(z) of some rows says, in nats, by one draw from q(z|x) of each row.

    Attributes
    ----------
    information : float
        I(row; z) under q: at most log n, near which it says no more than that all rows differ.
    mismatch : float
        KL(q(z) || p(z)).
    component_information : ndarray of shape (k,)
        I(row; z_i) of each latent.
    component_mismatch : ndarray of shape (k,) or None
        KL(q(z_i) || p(z_i)); None where p(z) is joint, and has no law of a latent of its own in
        closed form.
    """

    information: float
    mismatch: float
    component_information: np.ndarray
    component_mismatch: np.ndarray | None

    @property
    def total_correlation(self):
        """KL(q(z) || prod_i q(z_i)) in nats, how far the latents are from independent; None where
        `component_mismatch` is."""
        if self.component_mismatch is None:
            return None
        return self.mismatch - float(self.component_mismatch.sum())


def aggregate(net, loc, root, z):
    """Measure q(z) of rows.

    Parameters
    ----------
    net : VAENet
    loc : ndarray of shape (n, k)
        Means of q(z|x).
    root : ndarray of shape (n, k) or (n, k, k)
        Its standard deviations, or, of correlated latents, the Cholesky root of its covariance.
    z : ndarray of shape (n, k)
        A draw from each.

    Returns
    -------
    Aggregate

    References
    ----------
    M. D. Hoffman, M. J. Johnson, "ELBO Surgery: Yet Another Way to Carve Up the Variational
    Evidence Lower Bound", NIPS workshop 2016; R. T. Q. Chen, X. Li, R. Grosse, D. Duvenaud,
    "Isolating Sources of Disentanglement in Variational Autoencoders", NeurIPS 2018 (total
    correlation).
    """
    loc, root, z = (torch.as_tensor(part, dtype=torch.float64) for part in (loc, root, z))
    n, k = loc.shape
    correlated = root.dim() == 3
    deviation = root.square().sum(2).sqrt() if correlated else root
    own = Normal(loc, deviation, validate_args=False).log_prob(z)
    size = max(1, _PAIRS // n)
    log_q, of_components = loc.new_empty(n), loc.new_empty(n, k)
    for first in range(0, n, size):
        part = slice(first, first + size)
        joint = _posterior(loc, root).log_prob(z[part, None]) if correlated else 0.0
        for i in range(k):
            law = Normal(loc[:, i], deviation[:, i], validate_args=False)
            of_latent = law.log_prob(z[part, i, None])
            of_components[part, i] = of_latent.logsumexp(1) - math.log(n)
            if not correlated:
                joint = joint + of_latent
        log_q[part] = joint.logsumexp(1) - math.log(n)
    log_own = _posterior(loc, root).log_prob(z) if correlated else own.sum(1)
    mismatch = None
    if net.module_.prior.standard:
        mismatch = (of_components - Normal(0.0, 1.0).log_prob(z)).mean(0).numpy()
    return Aggregate(
        information=float((log_own - log_q).mean()),
        mismatch=float((log_q.numpy() - log_prior(net, z.numpy())).mean()),
        component_information=(own - of_components).mean(0).numpy(),
        component_mismatch=mismatch,
    )


def gain_of_fitted_prior(net, loc, root, seed):
    """What `prior="fitted"` would save of the KL term on rows that it is not fitted to.

    A mixture of Gaussians m(z) is fitted to draws from q(z|x) of half the rows, and judged by those
    of the others, then the other way round. The mean of log m(z) - log p(z) is KL(q(z) || p(z))
    less KL(q(z) || m(z)): on average a lower bound of the first for rows that m has not seen, which
    `Aggregate.mismatch` is not.

    Returns
    -------
    gain, error : float
        In nats per row, and its standard error.
    """
    loc, root = (torch.as_tensor(part, dtype=torch.float64) for part in (loc, root))
    gains = np.empty(len(loc))
    with scoped_seed(seed):
        order = torch.randperm(len(loc))
        halves = order[::2], order[1::2]
        for fitted, judged in (halves, halves[::-1]):
            prior = FittedMixture(loc.shape[1]).double()
            law, rows = (_posterior(loc[part], root[part]) for part in (fitted, judged))
            prior.after_training(lambda law=law: (None, law))
            z = rows.sample((_JUDGED_DRAWS,))
            flat = z.flatten(0, 1)
            gain = prior.law().log_prob(flat).numpy() - log_prior(net, flat.numpy())
            gains[judged] = gain.reshape(_JUDGED_DRAWS, -1).mean(0)
    return float(gains.mean()), float(gains.std(ddof=1) / math.sqrt(len(gains)))


def posterior_of_rows(net, X, seed, condition=None):
    """q(z|x) of rows X (float64, missing cells NaN), and a draw from each.

    Returns
    -------
    loc : ndarray of shape (n, k)
    root : ndarray of shape (n, k), or (n, k, k) where cells are missing
    z : ndarray of shape (n, k)
    """
    incomplete = bool(np.isnan(X).any())

    def parts(module, x, noise, condition=None):
        law = module.posterior(*module.observed(x), condition)
        root = law.scale_tril if law.event_shape else law.scale
        if incomplete and not law.event_shape:
            root = torch.diag_embed(root)
        return law.loc, root, module.latents(x, noise, condition)[:, 0]

    return net.apply(parts, X, condition, prepare=net.with_noise(1, seed))


def log_prior(net, z):
    """log p(z) of latents z (n, k), in nats."""
    return net.apply(lambda module, z: module.prior_law().log_prob(z), z).astype(np.float64)


def _posterior(loc, root):
    if root.dim() == 2:
        return Normal(loc, root, validate_args=False)
    return MultivariateNormal(loc, scale_tril=root, validate_args=False)
