"""What a fitted model says of rows: log p(x) by importance weighting, that of each cell given the
others, and the ELBO's terms.

All noise is keyed by the rows themselves (`skvae._random.row_normals`), so that what is said of a
row does not depend on the rows beside it.
"""

import math

import numpy as np
import torch

from .objective import log_weights

# Draws that are in memory together.
_DRAWS_AT_ONCE = 1000


def importance_scores(net, X, seed, n_draws, dtype, condition=None):
    """log p(x) of each row in nats and the effective sample size of its draws.

    Parameters
    ----------
    net : VAENet
    X : ndarray or SparseRows of shape (n, n_features)
    seed : int
    n_draws : int
    dtype : torch.dtype
        Precision of the computation.
    condition : ndarray of shape (n, n_conditions), optional

    Returns
    -------
    log_prob : ndarray of shape (n,), float64
        log (1/S) sum_s w_s.
    effective_sample_size : ndarray of shape (n,), float64
        (sum_s w_s)^2 / sum_s w_s^2, from 1 to `n_draws` (A. Kong, J. Liu, W. Wong, JASA 89, 1994).
    """
    # The sums of the weights and of their squares, a piece of the draws at a time: memory does not
    # grow with them.
    log_sum = log_squares = -np.inf
    for _, sums in _by_pieces(_log_sums, net, X, seed, n_draws, dtype, condition):
        log_sum = np.logaddexp(log_sum, sums[0])
        log_squares = np.logaddexp(log_squares, sums[1])
    return log_sum - np.log(n_draws), np.exp(2 * log_sum - log_squares)


def elbo_terms(net, X, seed, n_draws, dtype, condition=None):
    """Each row's ELBO in nats, and its second term.

    Returns
    -------
    elbo : ndarray of shape (n,), float64
        The mean of the log importance weights. With all of it by the same draws it has no noise
        where q(z|x) is exact, and is never above the score by these draws.
    kl : ndarray of shape (n, k), float64
        KL(q(z_i|x) || p(z_i)) of each latent; (n, 1), of all together and by the same draws, where
        the prior has no closed form of it.
    """
    elbo = kl = 0.0
    for part, terms in _by_pieces(_elbo_terms, net, X, seed, n_draws, dtype, condition):
        elbo = elbo + part * terms[0]
        kl = kl + part * terms[1]
    return elbo, kl


def bounds(net, X, seed, n_draws, dtype, condition=None):
    """What `importance_scores` and `elbo_terms` return, of the same draws at the price of one.

    Returns
    -------
    log_prob, effective_sample_size, elbo : ndarray of shape (n,), float64
    kl : ndarray of shape (n, k) or (n, 1), float64
    """
    log_sum, log_squares, elbo, kl = -np.inf, -np.inf, 0.0, 0.0
    for part, terms in _by_pieces(_all_terms, net, X, seed, n_draws, dtype, condition):
        log_sum, log_squares = np.logaddexp(log_sum, terms[0]), np.logaddexp(log_squares, terms[1])
        elbo, kl = elbo + part * terms[2], kl + part * terms[3]
    return log_sum - np.log(n_draws), np.exp(2 * log_sum - log_squares), elbo, kl


def column_scores(net, X, seed, n_draws, condition=None):
    """log p(x_j | the other observed cells) of each cell in nats, by `n_draws` of the latent for a
    row, or by as many as its cells need to have one each.

    Returns
    -------
    ndarray of shape (n, n_features), float64
        0 of missing cells.
    """
    n_draws = max(n_draws, math.ceil(1.25 * X.shape[1]))
    # In double precision, where there is one, whatever X is: large numbers may differ by little.
    scores = net.apply(
        "column_scores",
        X,
        condition,
        prepare=net.with_noise(n_draws, seed),
        vectors_per_row=n_draws,
    )
    return scores.astype(np.float64)


def imputed(net, X, seed, n_draws, dtype, draw, condition=None):
    """Rows X, an ndarray, with their missing cells (NaN) filled, in the units of X: by the mean of
    what is missing given what is not, or by draws from that, with torch's own generator.

    Returns
    -------
    ndarray of shape (n, n_features), float64
        Observed cells are those of X, to the bit.
    """
    likelihood = net.module_.likelihood

    def filled(module, x, noise, condition=None):
        if not draw:
            return module.imputed(x, noise, condition)
        # Equal rows are to have draws of their own.
        noise = torch.randn_like(noise)
        gumbel = -torch.empty_like(noise[..., 0]).exponential_().log()
        return module.imputed(x, noise, condition, gumbel)

    prepare = net.with_noise(n_draws, seed)
    rows = net.apply(filled, X, condition, prepare=prepare, dtype=dtype, vectors_per_row=n_draws)
    return np.where(np.isnan(X), likelihood.in_units_of_rows(rows), X)


def _by_pieces(function, net, X, seed, n_draws, dtype, condition):
    """Yield what part of the draws a piece of them is, and what the function says of the rows by
    these, float64 arrays."""
    for first in range(0, n_draws, _DRAWS_AT_ONCE):
        piece = min(_DRAWS_AT_ONCE, n_draws - first)
        of_piece = net.apply(
            function,
            X,
            condition,
            prepare=net.with_noise(piece, seed, first),
            dtype=dtype,
            vectors_per_row=piece,
        )
        yield piece / n_draws, [column.astype(np.float64) for column in of_piece]


def _log_sums(module, x, noise, *condition):
    return _sums(module.log_weights(x, noise, *condition))


def _sums(log_w):
    return torch.logsumexp(log_w, 1), torch.logsumexp(2 * log_w, 1)


def _elbo_terms(module, x, noise, *condition):
    return _all_terms(module, x, noise, *condition)[2:]


def _all_terms(module, x, noise, *condition):
    terms = module.terms(x, noise, *condition)
    _, log_pz, log_qz, *kl = terms
    kl = kl[0] if kl else (log_qz - log_pz).mean(1, keepdim=True)
    log_w = log_weights(*terms)
    return *_sums(log_w), log_w.mean(1), kl
