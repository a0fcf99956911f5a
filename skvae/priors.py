"""Priors p(z): each a module that returns a distribution over latent vectors."""

import torch
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence


class Prior(nn.Module):
    """Abstract: a law over latent vectors of `n_components` entries.

    A prior implements `law()`, a distribution with `event_shape == (n_components,)`. Where
    KL(q(z|x) || p(z)) is a sum over latents in closed form, it sets `closed_form = True` and
    implements `kl` too; otherwise the objective estimates the divergence from the draws.
    """

    closed_form = False

    def law(self):
        """The distribution p(z)."""
        raise NotImplementedError

    def kl(self, posterior):
        """KL(q(z|x) || p(z)) of each row and latent in nats, shape (n, n_components)."""
        raise NotImplementedError


class StandardNormal(Prior):
    """p(z) = N(0, I), the prior of PCA's probabilistic model.

    Examples
    --------
    >>> from skvae.priors import StandardNormal
    >>> StandardNormal(3).law().sample().shape
    torch.Size([3])
    """

    closed_form = True

    def __init__(self, n_components):
        super().__init__()
        self.register_buffer("loc", torch.zeros(n_components))
        self.register_buffer("scale", torch.ones(n_components))

    def law(self):
        return Independent(Normal(self.loc, self.scale, validate_args=False), 1)

    def kl(self, posterior):
        return kl_divergence(posterior, Normal(self.loc, self.scale, validate_args=False))


PRIORS = {"normal": StandardNormal}
