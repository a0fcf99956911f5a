"""The model: q(z|x), p(x|z) and p(z), with an affine path beside every network."""

import math

import torch
from torch import nn
from torch.distributions import Normal

from .objective import log_weights


class Gated(nn.Module):
    """gate * network(x), the gate one factor an output, zero at the start."""

    def __init__(self, network, n_out):
        super().__init__()
        self.network = network
        self.gate = nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        return self.gate * self.network(x)


# Multiples of a few points, at which a network is asked whether it is silent.
_PROBE_SCALES = 1.0, -1.0, 0.01, -0.01, 100.0, -100.0


def silent(network, n_in, n_out, role):
    """The network, silent at the start: as it is if it already is zero, else behind a gate.

    A gate on a network whose last layer is zero would have no gradient, so the network is asked.

    Raises
    ------
    TypeError, ValueError
        If the factory did not return a module, or one that does not map (n, n_in) to (n, n_out).
    """
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"network must be a factory (n_in, n_out) -> torch.nn.Module; for the {role} it "
            f"returned {type(network).__name__}."
        )
    was_training = network.float().training
    # Small and large inputs and their opposites: a network can be silent on some.
    points = torch.randn(4, n_in).float()
    inputs = torch.cat([scale * points for scale in _PROBE_SCALES])
    needed = f"network must map {n_in} inputs to {n_out} outputs for the {role}"
    try:
        with torch.no_grad():
            outputs = network.eval()(inputs)
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"{needed}; on {len(inputs)} rows it failed: {error}") from error
    network.train(was_training)
    if not torch.is_tensor(outputs) or outputs.shape != (len(inputs), n_out):
        found = tuple(outputs.shape) if torch.is_tensor(outputs) else type(outputs).__name__
        raise ValueError(f"{needed}; it mapped shape {tuple(inputs.shape)} to {found}.")
    if not torch.isfinite(outputs).all():
        raise ValueError(f"{needed}; some of its outputs are not finite before training.")
    return network if not outputs.any() else Gated(network, n_out)


# A latent whose mean KL is below this, in nats, carries nothing that could be rescaled;
INACTIVE_NATS = 0.01
# its reliability, 1 - mean posterior variance, is then about this or less.
LEAST_RELIABILITY = -math.expm1(-2 * INACTIVE_NATS)
# Powers of the reliability that a posterior mean may be divided by: 1 undoes all of its shrinkage.
SHRINKAGE_EXPONENTS = 1.0, 0.75, 0.5, 0.25, 0.0
# Standard deviations at which the encoder network's view of a column saturates.
_FEATURE_LIMIT = 2.0


def _limited(features, limit):
    """Features or latents as the networks see them: bounded, so that a row far outside the
    training rows (many standard deviations, in a heavy tail or a nearly constant column) stays in
    the range that the network was trained on. The affine path sees such a row as it is."""
    return features * torch.rsqrt(1 + (features / limit) ** 2)


class VAE(nn.Module):
    """A variational autoencoder whose encoder and decoder are an affine path plus a network.

    q(z|x) = N(A x + a + f_e(x), diag exp(b + f_v(x))), decoder outputs W z + w + f_d(z), with x
    the features of the row that the likelihood names.

    Parameters
    ----------
    likelihood : Likelihood
    prior : Prior
    encoder : nn.Module
        Maps (n, likelihood.n_inputs) to (n, 2 * n_components): f_e and f_v side by side.
    decoder : nn.Module
        Maps (n, n_components) to (n, likelihood.n_outputs): f_d.
    n_components : int
    latent_limit : float, default=inf
        Where the decoder network's view of a latent saturates, in standard deviations of the
        prior.

    References
    ----------
    G. Tucker, D. Lawson, S. Gu, C. Maddison, "Doubly Reparameterized Gradient Estimators for Monte
    Carlo Objectives", ICLR 2019.
    """

    # Whether the networks train in bfloat16.
    autocast = False

    def __init__(self, likelihood, prior, encoder, decoder, n_components, *, latent_limit=math.inf):
        super().__init__()
        self.n_components = n_components
        self.latent_limit = latent_limit
        n_inputs, n_outputs = likelihood.n_inputs, likelihood.n_outputs
        self.likelihood = likelihood
        self.prior = prior
        prior.set_inputs(likelihood.n_inputs)
        self.encoder = silent(encoder, n_inputs, 2 * n_components, "encoder")
        self.decoder = silent(decoder, n_components, n_outputs, "decoder")
        self.affine_encoder = nn.Linear(n_inputs, n_components)
        self.affine_decoder = nn.Linear(n_components, n_outputs)
        self.affine_log_variance = nn.Parameter(torch.zeros(n_components))

    @torch.no_grad()
    def load_start(self, start):
        """Set the affine path to a linear model; the networks are left as they are."""
        likelihood = self.likelihood
        weight, bias = likelihood.decoder_start(start)
        shift = start.projection @ (likelihood.feature_centre - start.mean)
        weight_of_features = start.projection * likelihood.feature_scale
        self.affine_encoder.weight.copy_(torch.as_tensor(weight_of_features))
        self.affine_encoder.bias.copy_(torch.as_tensor(shift))
        self.affine_log_variance.copy_(torch.as_tensor(start.log_variance))
        self.affine_decoder.weight.copy_(torch.as_tensor(weight))
        self.affine_decoder.bias.copy_(torch.as_tensor(bias))

    def posterior(self, x):
        """q(z|x) for working-unit rows x (n, n_features): a Normal of batch shape (n, k)."""
        return self.posterior_of(self.likelihood.features(x))

    def posterior_of(self, features):
        """q(z|x) for the features (n, n_inputs) of rows."""
        shift, log_ratio = self._through(self.encoder, _limited(features, _FEATURE_LIMIT)).chunk(
            2, dim=-1
        )
        location = self.affine_encoder(features) + shift
        deviation = torch.exp(0.5 * (self.affine_log_variance + log_ratio))
        return Normal(location, deviation, validate_args=False)

    def prior_law(self):
        """p(z), a distribution over latent vectors."""
        return self.prior.law(self.posterior_of) if self.prior.reads_encoder else self.prior.law()

    def outputs(self, z):
        """The decoder's outputs for latent vectors z (..., k), shape (..., n_outputs)."""
        # One row a vector, whatever the draws: networks map (n, n_in) to (n, n_out).
        flat = _limited(z, self.latent_limit).reshape(-1, z.shape[-1])
        return self.affine_decoder(z) + self._through(self.decoder, flat).reshape(*z.shape[:-1], -1)

    def _through(self, network, rows):
        if not (self.autocast and self.training):
            return network(rows)
        with torch.autocast(rows.device.type, dtype=torch.bfloat16):
            return network(rows).to(rows.dtype)

    def forward(
        self,
        x,
        mask=None,
        weight=None,
        condition=None,
        n_draws=1,
        doubly_reparameterized=False,
    ):
        """The terms of every bound for a batch: log_px (n, S, d), log_pz (n, S), log_qz (n, S)
        and, where the prior has it in closed form, kl (n, k).

        `doubly_reparameterized` gives the encoder the gradient of the importance-weighted bound
        whose noise does not outgrow it as the draws become more (Tucker et al. 2019, equation 8):
        through z alone, and weighted once more.
        """
        posterior = self.posterior(x)
        z = posterior.rsample((n_draws,)).movedim(0, 1)
        if not doubly_reparameterized:
            terms = self._terms(x, posterior, z)
        else:
            fixed = Normal(posterior.loc.detach(), posterior.scale.detach(), validate_args=False)
            terms = self._terms(x, fixed, z)
            shares = log_weights(*terms, mask=mask).detach().softmax(1)
            z.register_hook(lambda gradient: shares.unsqueeze(2) * gradient)
        return (*terms, self.prior.kl(posterior)) if self.prior.closed_form else terms

    def _terms(self, x, posterior, z):
        latent = Normal(posterior.loc[:, None], posterior.scale[:, None], validate_args=False)
        log_px = self.likelihood.log_prob(self.outputs(z), x[:, None])
        return log_px, self.prior_law().log_prob(z), latent.log_prob(z).sum(-1)

    def encode(self, x):
        """Mean and variance of q(z|x), each (n, k)."""
        posterior = self.posterior(x)
        return posterior.mean, posterior.variance

    def decode(self, z):
        """E[x|z] in working units, shape (n, n_features)."""
        return self.likelihood.mean(self.outputs(z))

    def reconstruction_errors(self, x):
        """Mean squared errors of each column in working units, (m, n_features), of the
        reconstructions of rows x, the shrinkage of the posterior mean undone by each of the m
        `SHRINKAGE_EXPONENTS`."""
        mean, variance = self.encode(x)
        centre, total = torch.zeros_like(mean[0]), torch.ones_like(mean[0])
        if not self.prior.standard:
            # Not of unit variance about the origin: as the encoder has it.
            centre, total = mean.mean(0), mean.var(0) + variance.mean(0)
        reliability = 1 - variance.mean(0) / total
        reliability = torch.where(reliability > LEAST_RELIABILITY, reliability, 1.0)
        undone = ((mean - centre) / reliability**exponent for exponent in SHRINKAGE_EXPONENTS)
        return torch.stack([(self.decode(centre + z) - x).square().mean(0) for z in undone])

    def terms(self, x, noise):
        """What `forward` gives, for standard normal noise (n, S, k)."""
        posterior = self.posterior(x)
        z = posterior.loc[:, None] + posterior.scale[:, None] * noise
        terms = self._terms(x, posterior, z)
        return (*terms, self.prior.kl(posterior)) if self.prior.closed_form else terms

    def log_weights(self, x, noise):
        """Log importance weights (n, S) in nats, for standard normal noise (n, S, k)."""
        return log_weights(*self.terms(x, noise))

    def sample(self, n_samples, noise=True):
        """Draws of x from p(z) through p(x|z), in working units, shape (n_samples, n_features);
        without `noise` the means of p(x|z) instead of draws from it."""
        z = self.prior_law().sample((n_samples,))
        return self.likelihood.sample(self.outputs(z)) if noise else self.decode(z)
