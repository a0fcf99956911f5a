"""The model: q(z|x), p(x|z) and p(z), with an affine path beside every network."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal

from .moments import row_slices
from .objective import log_weights


class Gated(nn.Module):
    """gate * network(x), the gate one factor an output, zero at the start."""

    def __init__(self, network, n_out):
        super().__init__()
        self.network = network
        self.takes_over = getattr(network, "takes_over", False) is True
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
# Log deviations of q(z|x), at least and at most: of rows far outside the rest the squares and their
# inverses would be beyond single precision.
_LOG_DEVIATIONS = -23.0, 23.0
# Standard deviations at which the encoder network's view of a column saturates.
_FEATURE_LIMIT = 2.0


def _limited(features, limit):
    """Features or latents as the networks see them: bounded, so that a row far outside the
    training rows (many standard deviations, in a heavy tail or a nearly constant column) stays in
    the range that the network was trained on. The affine path sees such a row as it is."""
    return features * torch.rsqrt(1 + (features / limit) ** 2)


def _beside(inputs, condition):
    """Features or latents with the conditions behind them, where there are conditions."""
    return inputs if condition is None else torch.cat([inputs, condition], -1)


def _at(posterior, noise):
    """Latents (n, S, k) where standard normal noise (n, S, k) has them under q(z|x)."""
    if posterior.event_shape:
        spread = torch.einsum("nkl,nsl->nsk", posterior.scale_tril, noise)
    else:
        spread = posterior.scale[:, None] * noise
    return posterior.loc[:, None] + spread


def _log_q(posterior, z):
    """log q(z|x), (n, S), of latents (n, S, k)."""
    if posterior.event_shape:
        spread = torch.linalg.solve_triangular(
            posterior.scale_tril, (z - posterior.loc[:, None]).mT, upper=False
        )
        log_unit = Normal(0.0, 1.0, validate_args=False).log_prob(spread).sum(1)
        return log_unit - posterior.scale_tril.diagonal(dim1=1, dim2=2).log().sum(1, keepdim=True)
    latent = Normal(posterior.loc[:, None], posterior.scale[:, None], validate_args=False)
    return latent.log_prob(z).sum(-1)


def _mapped(posterior, function):
    """q(z|x) with a function applied to its tensors."""
    if posterior.event_shape:
        loc, root = function(posterior.loc), function(posterior.scale_tril)
        return MultivariateNormal(loc, scale_tril=root, validate_args=False)
    return Normal(function(posterior.loc), function(posterior.scale), validate_args=False)


def _detached(posterior):
    """q(z|x) without a gradient to the encoder."""
    return _mapped(posterior, torch.Tensor.detach)


def _rows_of(posterior, rows):
    """q(z|x) of some of its rows."""
    return _mapped(posterior, lambda tensor: tensor[rows])


class VAE(nn.Module):
    """A variational autoencoder whose encoder and decoder are an affine path plus a network.

    q(z|x) = N(A x + a + f_e(x), diag exp(b + f_v(x))), decoder outputs W z + w + f_d(z), with x
    the features of the row that the likelihood names. Where rows are conditioned on something, c,
    encoder and decoder are given it beside these: q(z|x, c), p(x|z, c). p(z) is the same for all.

    Parameters
    ----------
    likelihood : Likelihood
    prior : Prior
    encoder : nn.Module
        Maps (n, likelihood.n_inputs + n_conditions) to (n, 2 * n_components): f_e and f_v side by
        side.
    decoder : nn.Module
        Maps (n, n_components + n_conditions) to (n, likelihood.n_outputs): f_d.
    n_components : int
    n_conditions : int, default=0
        Columns of c, of mean 0 and variance 1 over the training rows.
    latent_limit : float, default=inf
        Where the decoder network's view of a latent saturates, in standard deviations of the
        prior.

    References
    ----------
    G. Tucker, D. Lawson, S. Gu, C. Maddison, "Doubly Reparameterized Gradient Estimators for Monte
    Carlo Objectives", ICLR 2019; K. Sohn, H. Lee, X. Yan, "Learning Structured Output
    Representation using Deep Conditional Generative Models", NeurIPS 2015 (conditions).
    """

    # Whether the networks train in bfloat16.
    autocast = False

    def __init__(
        self,
        likelihood,
        prior,
        encoder,
        decoder,
        n_components,
        *,
        n_conditions=0,
        latent_limit=math.inf,
    ):
        super().__init__()
        self.n_components = n_components
        self.latent_limit = latent_limit
        self.n_conditions = n_conditions
        n_inputs, n_outputs = likelihood.n_inputs + n_conditions, likelihood.n_outputs
        self.likelihood = likelihood
        self.prior = prior
        prior.set_inputs(n_inputs)
        self.encoder = silent(encoder, n_inputs, 2 * n_components, "encoder")
        self.decoder = silent(decoder, n_components + n_conditions, n_outputs, "decoder")
        self.affine_encoder = nn.Linear(n_inputs, n_components)
        self.affine_decoder = nn.Linear(n_components + n_conditions, n_outputs)
        self.affine_log_variance = nn.Parameter(torch.zeros(n_components))
        # A `skvae.incomplete.LinearFill`, where rows may have missing cells.
        self.fill = None

    @torch.no_grad()
    def load_start(self, start):
        """Set the affine path to a linear model; the networks are left as they are."""
        likelihood = self.likelihood
        self.load_fill(start)
        weight_of_features = start.projection * likelihood.feature_scale
        if start.effects is not None:
            # To the decoder a condition is a latent that is known.
            weight_of_features = np.hstack([weight_of_features, -start.projection @ start.effects])
            start = replace(start, loadings=np.hstack([start.loadings, start.effects]))
        weight, bias = likelihood.decoder_start(start)
        shift = start.projection @ (likelihood.feature_centre - start.mean)
        self.affine_encoder.weight.copy_(torch.as_tensor(weight_of_features))
        self.affine_encoder.bias.copy_(torch.as_tensor(shift))
        self.affine_log_variance.copy_(torch.as_tensor(start.log_variance))
        self.affine_decoder.weight.copy_(torch.as_tensor(weight))
        self.affine_decoder.bias.copy_(torch.as_tensor(bias))

    def load_fill(self, start):
        """Have missing features filled by a linear model, where rows may have such."""
        if self.fill is not None:
            unit, centre = self.likelihood.feature_scale, self.likelihood.feature_centre
            noise = np.broadcast_to(start.noise_variance, unit.shape) / unit**2
            loadings = start.loadings / unit[:, None]
            effects = None if start.effects is None else start.effects / unit[:, None]
            self.fill.load((start.mean - centre) / unit, loadings, noise, effects)

    def posterior(self, x, mask=None, condition=None):
        """q(z|x) for working-unit rows x (n, n_features), or for their observed cells alone, where
        a `mask` of these is given: a Normal of batch shape (n, k), or of such cells, without which
        the latents are correlated, a MultivariateNormal."""
        return self.inputs_and_posterior(x, mask, condition)[1]

    def inputs_and_posterior(self, x, mask=None, condition=None):
        """What the encoder sees of rows, the features, missing ones filled, and the conditions
        behind them, and q(z|x)."""
        return self.inputs_and_posterior_of_features(self.likelihood.features(x), mask, condition)

    def inputs_and_posterior_of_features(self, features, mask=None, condition=None):
        """The same from features (n, n_inputs), of which those of cells that the `mask` (n,
        n_features) leaves out play no part."""
        if mask is None:
            inputs = _beside(features, condition)
            return inputs, self.posterior_of(inputs)
        feature_mask = self.likelihood.feature_mask(mask)
        features, share, root = self.fill(features, feature_mask, condition)
        inputs = _beside(features, condition)
        posterior = self.posterior_of(inputs, share, mask.any(1, keepdim=True))
        if root is not None:
            root = posterior.scale.unsqueeze(2) * root
            posterior = MultivariateNormal(posterior.loc, scale_tril=root, validate_args=False)
        return inputs, posterior

    def posterior_of(self, inputs, share=None, seen=None):
        """q(z|x) for what the encoder sees (n, n_inputs) of rows.

        Where cells are missing, `share` (n, k) is the part of what the data say of each latent that
        the observed ones have: the affine path's precision, 1 + what the data say, has that part of
        it. A row of which nothing was `seen` has the posterior N(0, I).
        """
        shift, log_ratio = self._through(self.encoder, _limited(inputs, _FEATURE_LIMIT)).chunk(
            2, dim=-1
        )
        location, log_variance = self.affine_encoder(inputs) + shift, self.affine_log_variance
        if share is not None:
            said = torch.expm1(-log_variance).clamp(min=0.0)
            log_variance = torch.where(share == 1, log_variance, -torch.log1p(share * said))
            location, log_ratio = location * seen, log_ratio * seen
        log_deviation = (0.5 * (log_variance + log_ratio)).clamp(*_LOG_DEVIATIONS)
        return Normal(location, log_deviation.exp(), validate_args=False)

    def prior_law(self):
        """p(z), a distribution over latent vectors."""
        return self.prior.law(self.posterior_of) if self.prior.reads_encoder else self.prior.law()

    def outputs(self, z, condition=None):
        """The decoder's outputs for latent vectors z (n, ..., k), shape (n, ..., n_outputs), where
        rows are conditioned on something under these conditions (n, n_conditions)."""
        limited = _limited(z, self.latent_limit)
        if condition is not None:
            ones = [1] * (z.dim() - condition.dim())
            condition = condition.reshape(len(condition), *ones, condition.shape[-1])
            condition = condition.expand(*z.shape[:-1], -1)
            limited = _beside(limited, _limited(condition, _FEATURE_LIMIT))
        # One row a vector, whatever the draws: networks map (n, n_in) to (n, n_out).
        added = self._through(self.decoder, limited.reshape(-1, limited.shape[-1]))
        return self.affine_decoder(_beside(z, condition)) + added.reshape(*z.shape[:-1], -1)

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
        posterior = self.posterior(x, mask, condition)
        z = posterior.rsample((n_draws,)).movedim(0, 1)
        if not doubly_reparameterized:
            terms = self._terms(x, posterior, z, self.outputs(z, condition))
        else:
            terms = self._terms(x, _detached(posterior), z, self.outputs(z, condition))
            shares = log_weights(*terms, mask=mask).detach().softmax(1)
            z.register_hook(lambda gradient: shares.unsqueeze(2) * gradient)
        return (*terms, self.prior.kl(posterior)) if self.prior.closed_form else terms

    def _terms(self, x, posterior, z, outputs):
        log_px = self.likelihood.log_prob(outputs, x[:, None])
        return log_px, self.prior_law().log_prob(z), _log_q(posterior, z)

    def observed(self, x):
        """Rows x in which missing cells are NaN as rows without any, and the mask of the observed
        ones; None where all are."""
        if self.fill is None or not (missing := torch.isnan(x)).any():
            return x, None
        return torch.where(missing, self.likelihood.placeholder.to(x), x), ~missing

    def encode(self, x, condition=None):
        """Mean and variance of q(z|x), each (n, k); missing cells of x are NaN."""
        posterior = self.posterior(*self.observed(x), condition)
        return posterior.mean, posterior.variance

    def latents(self, x, noise, condition=None):
        """Latents (n, S, k) of q(z|x) for standard normal noise (n, S, k)."""
        return _at(self.posterior(*self.observed(x), condition), noise)

    def completed(self, x, condition=None):
        """Rows x, in working units, with missing cells (NaN) as reconstructions have them."""
        mean, _ = self.encode(x, condition)
        return torch.where(torch.isnan(x), self.decode(mean, condition), x)

    def decode(self, z, condition=None):
        """E[x|z] in working units, shape (n, n_features)."""
        return self.likelihood.mean(self.outputs(z, condition))

    def reconstruction_errors(self, x, weight=None, condition=None):
        """What each row x, of which missing cells are NaN, has of the mean squared error in units
        of X, relative to the square of the largest column's, (m + 1, n): the mean over the rows is
        the mean over the columns of theirs, by the rows' weights (n,), if any. Of the
        reconstructions with the shrinkage of the posterior mean undone by each of the m
        `SHRINKAGE_EXPONENTS`, and last of the one at the latent origin."""
        mean, variance = self.encode(x, condition)
        centre, total = torch.zeros_like(mean[0]), torch.ones_like(mean[0])
        if not self.prior.standard:
            # Not of unit variance about the origin: as the encoder has it.
            centre, total = mean.mean(0), mean.var(0) + variance.mean(0)
        reliability = 1 - variance.mean(0) / total
        reliability = torch.where(reliability > LEAST_RELIABILITY, reliability, 1.0)
        undone = ((mean - centre) / reliability**exponent for exponent in SHRINKAGE_EXPONENTS)
        undone = (*undone, torch.zeros_like(mean))
        observed = ~torch.isnan(x)
        weights = observed.to(x.dtype) if weight is None else weight[:, None] * observed
        # Of the columns that have observed cells among these rows.
        columns = weights.sum(0) > 0
        units = (self.likelihood.scale / self.likelihood.scale.max()) ** 2
        units = torch.as_tensor(units, dtype=x.dtype, device=x.device)
        weights = units * weights / torch.where(columns, weights.sum(0), 1.0)
        squares = ((self.decode(centre + z, condition) - x).square() for z in undone)
        parts = [(torch.where(observed, square, 0.0) * weights).sum(1) for square in squares]
        return len(x) / columns.sum() * torch.stack(parts)

    def terms(self, x, noise, condition=None):
        """What `forward` gives, for standard normal noise (n, S, k); missing cells of x are NaN,
        and have a `log_px` of zero."""
        x, mask = self.observed(x)
        posterior = self.posterior(x, mask, condition)
        z = _at(posterior, noise)
        log_px, *rest = self._terms(x, posterior, z, self.outputs(z, condition))
        terms = log_px if mask is None else torch.where(mask[:, None], log_px, 0.0), *rest
        return (*terms, self.prior.kl(posterior)) if self.prior.closed_form else terms

    def log_weights(self, x, noise, condition=None):
        """Log importance weights (n, S) in nats, for standard normal noise (n, S, k)."""
        return log_weights(*self.terms(x, noise, condition))

    def column_scores(self, x, noise, condition=None):
        """log p(x_j | the other observed cells) of each cell, (n, n_features) in nats, for standard
        normal noise (n, S, k), S above n_features; 0 of cells that are missing (NaN).

        That is log p(x) - log p(x without x_j), both by the same draws: at least a fifth of q(z|x),
        if S allows, and the others in equal parts of q(z | the others) for each x_j, weighted as
        draws of the mixture of all of these (the balance heuristic). So what x_j says of the
        latents is there where it is needed, and where it is not counts for nothing.

        References
        ----------
        E. Veach, L. Guibas, "Optimally Combining Sampling Techniques for Monte Carlo Rendering",
        SIGGRAPH 1995; A. Owen, Y. Zhou, "Safe and Effective Importance Sampling", JASA 95, 2000.
        """
        whole, seen = self.observed(x)
        (n, d), n_draws = x.shape, noise.shape[1]
        n_own = max(1, (n_draws - math.ceil(n_draws / 5)) // d)
        sizes = [n_draws - d * n_own] + d * [n_own]
        laws = [self.posterior(whole, seen, condition)]
        for part in row_slices(d, n * d):
            # The rows without the first of these columns, then those without the next, ...
            columns = torch.arange(d, device=x.device)
            left_out = columns[part, None] == columns
            without = torch.where(left_out[:, None], torch.nan, x).flatten(0, 1)
            repeated = None if condition is None else condition.repeat(len(left_out), 1)
            of_others = self.posterior(*self.observed(without), repeated)
            laws += [_rows_of(of_others, rows) for rows in torch.arange(len(without)).split(n)]
        parts = zip(laws, noise.split(sizes, 1), strict=True)
        z = torch.cat([_at(q, part) for q, part in parts], 1)
        log_q = torch.stack([_log_q(q, z) for q in laws], 2)
        log_mixture = (log_q + (torch.tensor(sizes).to(x) / n_draws).log()).logsumexp(2)
        log_px = self.likelihood.log_prob(self.outputs(z, condition), whole[:, None])
        if seen is not None:
            log_px = torch.where(seen[:, None], log_px, 0.0)
        log_w = log_weights(log_px, self.prior_law().log_prob(z), log_mixture)
        log_w_of_others = log_w.unsqueeze(2) - log_px
        scores = torch.logsumexp(log_w, 1, keepdim=True) - torch.logsumexp(log_w_of_others, 1)
        return scores if seen is None else torch.where(seen, scores, 0.0)

    def imputed(self, x, noise, condition=None, gumbel=None):
        """Rows x, in working units, with what the model makes of their missing cells (NaN), from S
        weighted draws of q(z|x), standard normal noise (n, S, k).

        These are E[x_missing | x_observed] by self-normalized importance sampling; or, with
        standard Gumbel noise `gumbel` (n, S), draws from p(x_missing | x_observed), at the one of
        the S latents that the weights choose (sampling importance resampling).

        References
        ----------
        P.-A. Mattei, J. Frellsen, "MIWAE: Deep Generative Modelling and Imputation of Incomplete
        Data Sets", ICML 2019, section 4.
        """
        rows, mask = self.observed(x)
        if mask is None:
            return x
        posterior = self.posterior(rows, mask, condition)
        z = _at(posterior, noise)
        outputs = self.outputs(z, condition)
        log_w = log_weights(*self._terms(rows, posterior, z, outputs), mask=mask)
        if gumbel is None:
            filled = self.likelihood.expected(outputs, log_w.softmax(1))
        else:
            chosen = (log_w + gumbel).argmax(1)
            filled = self.likelihood.sample(outputs[torch.arange(len(x)), chosen])
        return torch.where(mask, x, filled)

    def sample(self, n_samples, noise=True, condition=None):
        """Draws of x from p(z) through p(x|z), in working units, shape (n_samples, n_features);
        without `noise` the means of p(x|z) instead of draws from it."""
        outputs = self.outputs(self.prior_law().sample((n_samples,)), condition)
        return self.likelihood.sample(outputs) if noise else self.likelihood.mean(outputs)

    def latents_given(self, x, condition=None, n_draws=1):
        """Latents (n, n_draws, k) and the log weights (n, n_draws) that make them draws from
        p(z | x_observed) of each row x.

        Half are drawn from q(z|x), half from p(z), so that no weight is above 2 p(x_observed|z),
        however far q(z|x) of a few given cells is from what it should be.

        References
        ----------
        T. Hesterberg, "Weighted Average Importance Sampling and Defensive Mixture Distributions",
        Technometrics 37, 1995.
        """
        n, half = len(x), n_draws // 2
        rows, mask = self.observed(x)
        posterior = self.posterior(rows, mask, condition)
        from_encoder = _at(posterior, torch.randn(n, n_draws - half, self.n_components).to(rows))
        # Not every prior can be asked for no draws.
        from_prior = [self.prior_law().sample((n, half))] if half else []
        z = torch.cat([from_encoder, *from_prior], 1)
        log_px, log_pz, log_qz = self._terms(rows, posterior, z, self.outputs(z, condition))
        parts = torch.tensor([half / n_draws, 1 - half / n_draws]).to(rows).log()
        log_mixture = torch.logaddexp(log_pz + parts[0], log_qz + parts[1])
        return z, log_weights(log_px, log_pz, log_mixture, mask=mask)
