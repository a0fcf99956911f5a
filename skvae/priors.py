"""Priors p(z): each a module that returns a distribution over latent vectors.

A prior other than the standard normal is trained jointly with the networks, or, as `FittedMixture`,
fitted to what the encoder has learned when training is over.
"""

import math

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import nn
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from ._input import check_count

# Numbers of components that a fitted mixture is chosen from, by the Bayesian criterion.
_FITTED_SIZES = 1, 2, 5, 10, 20, 40
# Latent vectors that a mixture is fitted to, at least for each of its components and at most.
_LEAST_DRAWS, _MOST_DRAWS = 20, 20_000
# Draws of each row for the start of full covariances: those of few single ones are of their noise.
_FULL_DRAWS = 10
# The standard normal's share of a VampPrior at its start.
_NORMAL_SHARE = 0.9


class Prior(nn.Module):
    """Abstract: a law over latent vectors of `n_components` entries.

    A prior implements `law()`, a distribution with `event_shape == (n_components,)`. Where
    KL(q(z|x) || p(z)) is a sum over latents in closed form, it sets `closed_form = True` and
    implements `kl` too; otherwise the objective estimates the divergence from the draws.

    Attributes
    ----------
    closed_form : bool
        Whether `kl` is implemented.
    standard : bool
        Whether p(z) is N(0, I). The units of `transform` rest on that: for any other prior they
        are measured.
    reads_encoder : bool
        Whether `law` is given the encoder: a function from the features of rows to q(z|x).
    decayed : bool
        Whether weight decay, towards zero, brings the prior's parameters to a simpler law.
    """

    closed_form = False
    standard = False
    reads_encoder = False
    decayed = False

    def law(self):
        """The distribution p(z)."""
        raise NotImplementedError

    def kl(self, posterior):
        """KL(q(z|x) || p(z)) of each row and latent in nats, shape (n, n_components)."""
        raise NotImplementedError

    def set_inputs(self, n_inputs):
        """Called once, by the model, with the number of features of a row; nothing here."""

    def load_start(self, some_posterior):
        """Set the parameters for the model at its start; nothing here.

        Parameters
        ----------
        some_posterior : callable
            Gives the features of some training rows, a tensor (n, n_inputs), and their q(z|x), a
            Normal of batch shape (n, n_components) or, of incomplete rows, a MultivariateNormal.
        """

    def before_training(self):
        """Called before each fit that trains; nothing here."""

    def after_training(self, some_posterior):
        """Called at the end of each fit, as `load_start` is at its beginning; with None where there
        are too few rows to look at, and what was before is to stay. Nothing here."""


class StandardNormal(Prior):
    """p(z) = N(0, I), the prior of PCA's probabilistic model.

    Examples
    --------
    >>> from skvae.priors import StandardNormal
    >>> StandardNormal(3).law().sample().shape
    torch.Size([3])
    """

    closed_form = True
    standard = True

    def __init__(self, n_components):
        super().__init__()
        self.register_buffer("loc", torch.zeros(n_components))
        self.register_buffer("scale", torch.ones(n_components))

    def law(self):
        return Independent(Normal(self.loc, self.scale, validate_args=False), 1)

    def kl(self, posterior):
        if posterior.event_shape:
            # Of correlated latents: their sum is the divergence, and each is that of the latent
            # given those before it.
            roots = posterior.scale_tril.diagonal(dim1=1, dim2=2)
            return 0.5 * (posterior.variance + posterior.mean**2 - 1) - roots.log()
        return kl_divergence(posterior, Normal(self.loc, self.scale, validate_args=False))


class Mixture(Prior):
    """p(z) = sum_m w_m N(mu_m, C_m): a mixture of Gaussians, all of it learned.

    It starts as scikit-learn's GaussianMixture of latent vectors drawn from the start's q(z|x).

    Parameters
    ----------
    n_components : int
        Latent entries.
    n_mixture_components : int, default=20
    covariance_type : {"diag", "full"}, default="diag"
        Of the covariances C_m. Full ones, of which the Cholesky factors are learned, need far
        fewer Gaussians where latents are correlated within a cluster, and more rows each.

    Raises
    ------
    ValueError
        If `covariance_type` is another, or `n_mixture_components` no int of at least 1.

    References
    ----------
    N. Dilokthanakul et al., "Deep Unsupervised Clustering with Gaussian Mixture Variational
    Autoencoders", 2016 (mixtures as priors).
    """

    def __init__(self, n_components, *, n_mixture_components=20, covariance_type="diag"):
        super().__init__()
        if covariance_type not in ("diag", "full"):
            raise ValueError(
                f"covariance_type of a Mixture must be 'diag' or 'full', got {covariance_type!r}."
            )
        check_count("n_mixture_components of a Mixture", n_mixture_components)
        size = n_mixture_components, n_components
        self.covariance_type = covariance_type
        self.logits = nn.Parameter(torch.zeros(n_mixture_components))
        self.loc = nn.Parameter(torch.randn(size))
        self.log_scale = nn.Parameter(torch.zeros(size))
        if covariance_type == "full":
            # The Cholesky factors, but for their diagonals, whose logarithms are `log_scale`.
            self.below = nn.Parameter(torch.zeros(*size, n_components))

    def law(self):
        scale = self.log_scale.exp()
        if self.covariance_type == "diag":
            components = Independent(Normal(self.loc, scale, validate_args=False), 1)
        else:
            root = self.below.tril(-1) + torch.diag_embed(scale)
            components = MultivariateNormal(self.loc, scale_tril=root, validate_args=False)
        weights = Categorical(logits=self.logits, validate_args=False)
        return MixtureSameFamily(weights, components, validate_args=False)

    @torch.no_grad()
    def load_start(self, some_posterior):
        full = self.covariance_type == "full"
        z = _draws(some_posterior()[1], len(self.logits), _FULL_DRAWS if full else 1)
        mixture = GaussianMixture(
            len(self.logits), covariance_type=self.covariance_type, random_state=0
        ).fit(z)
        covariances = mixture.covariances_
        self.logits.copy_(torch.as_tensor(np.log(mixture.weights_)))
        self.loc.copy_(torch.as_tensor(mixture.means_))
        if full:
            root = np.linalg.cholesky(covariances)
            self.below.copy_(torch.as_tensor(root))
            covariances = np.diagonal(root, axis1=1, axis2=2) ** 2
        self.log_scale.copy_(torch.as_tensor(0.5 * np.log(covariances)))


class VampPrior(Prior):
    """p(z) = w_0 N(0, I) + sum_m w_m q(z|u_m): the encoder's own view of learned pseudo-inputs u_m.

    The pseudo-inputs are features of rows, so that they can be anywhere whatever the law of the
    rows allows, and start as those of training rows. The standard normal beside them, which the
    original has not, holds most of the weight at the start: q(z|u) is so narrow there that a few of
    them leave nearly all of the latent space without any probability.

    Parameters
    ----------
    n_components : int
    n_pseudo_inputs : int, default=100

    Raises
    ------
    ValueError
        If `n_pseudo_inputs` is no int of at least 1.

    References
    ----------
    J. Tomczak, M. Welling, "VAE with a VampPrior", AISTATS 2018, equation 9.
    """

    reads_encoder = True

    def __init__(self, n_components, *, n_pseudo_inputs=100):
        super().__init__()
        check_count("n_pseudo_inputs of a VampPrior", n_pseudo_inputs)
        self.register_buffer("loc", torch.zeros(1, n_components))
        self.register_buffer("scale", torch.ones(1, n_components))
        shares = torch.full((1 + n_pseudo_inputs,), (1 - _NORMAL_SHARE) / n_pseudo_inputs)
        shares[0] = _NORMAL_SHARE
        self.logits = nn.Parameter(shares.log())
        self.n_pseudo_inputs = n_pseudo_inputs

    def set_inputs(self, n_inputs):
        self.pseudo_inputs = nn.Parameter(torch.zeros(self.n_pseudo_inputs, n_inputs))

    @torch.no_grad()
    def load_start(self, some_posterior):
        features, _ = some_posterior()
        # Spread over the rows; some are taken twice where there are fewer.
        chosen = torch.linspace(0, len(features) - 1, self.n_pseudo_inputs).round().long()
        self.pseudo_inputs.copy_(features[chosen])

    def law(self, encoder):
        q = encoder(self.pseudo_inputs)
        components = Normal(
            torch.cat([self.loc, q.loc]), torch.cat([self.scale, q.scale]), validate_args=False
        )
        return MixtureSameFamily(
            Categorical(logits=self.logits, validate_args=False),
            Independent(components, 1),
            validate_args=False,
        )


class Flow(Prior):
    """p(z) by a neural spline flow, from the zuko package; it starts as N(0, I).

    Parameters
    ----------
    n_components : int
    transforms : int, default=3
        Autoregressive layers of the flow.
    hidden_features : sequence of int, default=(64, 64)
        Hidden units of the network of each.

    Raises
    ------
    ImportError
        If zuko is not installed.
    ValueError
        If `transforms` or one of `hidden_features` is no int of at least 1.

    References
    ----------
    C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, "Neural Spline Flows", NeurIPS 2019;
    X. Chen et al., "Variational Lossy Autoencoder", ICLR 2017 (flows as priors).
    """

    decayed = True

    def __init__(self, n_components, *, transforms=3, hidden_features=(64, 64)):
        super().__init__()
        check_count("transforms of a Flow", transforms)
        for size in hidden_features:
            check_count("each of hidden_features of a Flow", size)
        try:
            from zuko.flows import NSF
        except ImportError as error:
            raise ImportError(
                "prior='flow' needs the package zuko, which is not installed: pip install zuko."
            ) from error
        self.flow = NSF(n_components, transforms=transforms, hidden_features=hidden_features)
        # A spline whose parameters are all zero is the identity.
        for transform in self.flow.transform.transforms:
            # Of a single latent it has no network.
            last = transform.phi if n_components == 1 else transform.hyper[-1].parameters()
            for parameter in last:
                nn.init.zeros_(parameter)

    def law(self):
        return self.flow()


class FittedMixture(StandardNormal):
    """p(z) = N(0, I) in training, and after it a mixture of Gaussians fitted to the encoder.

    The mixture is scikit-learn's GaussianMixture of latent vectors drawn from q(z|x) of the
    training rows, one a row (their aggregated posterior), with as many components of full
    covariance as the Bayesian information criterion asks for, at most 40.

    References
    ----------
    P. Ghosh et al., "From Variational to Deterministic Autoencoders", ICLR 2020, section 4
    (density estimation after training).
    """

    def __init__(self, n_components):
        super().__init__(n_components)
        self.mixture = self._earlier = None

    def before_training(self):
        self._earlier, self.mixture = self.mixture, None

    @property
    def closed_form(self):
        return self.mixture is None

    @property
    def standard(self):
        return self.mixture is None

    def law(self):
        if self.mixture is None:
            return super().law()
        weights, loc, root = (part.to(self.loc) for part in self.mixture)
        return MixtureSameFamily(
            Categorical(probs=weights, validate_args=False),
            MultivariateNormal(loc, scale_tril=root, validate_args=False),
            validate_args=False,
        )

    @torch.no_grad()
    def after_training(self, some_posterior):
        if some_posterior is None:
            self.mixture = self._earlier
            return
        z = _draws(some_posterior()[1])
        sizes = [size for size in _FITTED_SIZES if size * _LEAST_DRAWS <= len(z)]
        fits = [GaussianMixture(size, random_state=0).fit(z) for size in sizes or [1]]
        best = min(fits, key=lambda fit: fit.bic(z))
        root = np.linalg.cholesky(best.covariances_)
        self.mixture = [torch.as_tensor(part) for part in (best.weights_, best.means_, root)]

    def get_extra_state(self):
        return self.mixture

    def set_extra_state(self, state):
        self.mixture = state


def _draws(posterior, n_mixture_components=1, each=1):
    """Latent vectors drawn from q(z|x), float64 on the CPU: `each` a row, or more for a mixture of
    many components."""
    each = max(each, math.ceil(_LEAST_DRAWS * n_mixture_components / len(posterior.loc)))
    return posterior.sample((each,)).flatten(0, 1).double().cpu().numpy()[:_MOST_DRAWS]


PRIORS = {
    "normal": StandardNormal,
    "mixture": Mixture,
    "vamp": VampPrior,
    "flow": Flow,
    "fitted": FittedMixture,
}
