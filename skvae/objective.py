"""The bounds on log p(x), each written once, from the terms that the model returns.

For S draws z_s ~ q(z|x) the model gives `log_px` (n, S, d), one column for each feature (or
(n, S, 1) where p(x|z) does not factorize), `log_pz` (n, S), `log_qz` (n, S) and, where the prior
has a closed form, `kl` (n, k). All are in nats.
"""

import math

import torch
from torch import nn


def sum_columns(log_px, mask=None):
    """log p(x|z), shape (n, S): the columns of `log_px` summed, the observed ones under a mask."""
    if mask is not None:
        log_px = torch.where(mask.unsqueeze(1), log_px, 0.0)
    return log_px.sum(-1)


def elbo(log_px, log_pz, log_qz, kl=None, *, beta=1.0, free_bits=0.0, mask=None):
    """The evidence lower bound of each row, shape (n,), in nats.

    E_q(z|x)[log p(x|z)] - beta KL(q(z|x) || p(z)), the KL in closed form where it is given and by
    the same draws as the first term where it is not. With `free_bits` the mean over the rows of a
    latent's KL counts as that many nats where it is less, and has no gradient there.

    References
    ----------
    D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014, equations 3 and 7;
    I. Higgins et al., "beta-VAE", ICLR 2017, equation 4; D. P. Kingma et al., "Improved
    Variational Inference with Inverse Autoregressive Flow", NeurIPS 2016, equation 15 (free bits).
    """
    if free_bits:
        carried = kl.mean(0)
        kl = kl + (carried.clamp(min=free_bits) - carried)
    divergence = (log_qz - log_pz).mean(1) if kl is None else kl.sum(1)
    return sum_columns(log_px, mask).mean(1) - beta * divergence


def log_weights(log_px, log_pz, log_qz, kl=None, *, beta=1.0, mask=None):
    """log [p(x|z_s) (p(z_s) / q(z_s|x))^beta] for each row and draw, shape (n, S), in nats."""
    return sum_columns(log_px, mask) + beta * (log_pz - log_qz)


def importance_bound(log_w):
    """log (1/S) sum_s w_s for each row, shape (n,): at S = 1 the ELBO, and log p(x) as S grows.

    References
    ----------
    Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016,
    equation 8.
    """
    return torch.logsumexp(log_w, dim=1) - math.log(log_w.shape[1])


class NegativeBound(nn.Module):
    """The training loss: minus the mean over a batch of a bound on log p(x), in nats per row.

    Parameters
    ----------
    beta : float, default=1.0
        Weight of the KL term.
    free_bits : float, default=0.0
        Nats of each latent's KL that cost nothing.
    importance_weighted : bool, default=False
        Whether the bound is the importance-weighted one, of all draws together, and not the ELBO.
    mean_weight : float, optional
        The mean weight of all training rows, where rows have weights; by default that of the batch.

    Attributes
    ----------
    warmup : float
        A factor on `beta` while training, moved from 0 to 1 by the KL warm-up. Evaluation always
        uses `beta` itself, so that validation losses of different epochs can be compared.
    """

    def __init__(self, beta=1.0, free_bits=0.0, importance_weighted=False, mean_weight=None):
        super().__init__()
        self.mean_weight = mean_weight
        self.beta = beta
        self.free_bits = free_bits
        self.importance_weighted = importance_weighted
        self.warmup = 1.0

    @property
    def beta_now(self):
        """`beta`, with the factor of the warm-up while training."""
        return self.beta * self.warmup if self.training else self.beta

    def bound(self, terms, batch):
        """The bound of each row of the batch, shape (n,), in nats."""
        beta = self.beta_now
        if self.importance_weighted:
            return importance_bound(log_weights(*terms, beta=beta, mask=batch.get("mask")))
        return elbo(*terms, beta=beta, free_bits=self.free_bits, mask=batch.get("mask"))

    def forward(self, terms, batch):
        bound, weight = self.bound(terms, batch), batch.get("weight")
        if weight is None:
            return -bound.mean()
        # By the sum of a batch's own weights a batch of light rows would count as much as others.
        mean = weight.mean() if self.mean_weight is None else self.mean_weight
        return -(weight * bound).mean() / mean
