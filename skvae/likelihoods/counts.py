"""Columns of counts."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Binomial
from torch.distributions import Categorical as CategoricalLaw
from torch.distributions import Poisson as PoissonLaw

from .count_laws import StableNegativeBinomial, ZeroInflated
from .likelihood import LAW_NOISE_FLOOR, Likelihood, fill, refuse

# float32 has no larger odd numbers, and log-factorials of larger ones lose whole nats in it.
_LARGEST_COUNT = 2.0**24
# With counts up to this a log-factorial in float32 is right to a thousandth of a nat.
_SMALL_COUNTS = 1000.0
# Log rates stay within this of zero downwards, and this above the log of the largest count of
# their column: for a row unlike all others exp would make thousands where tens were the most.
_LEAST_LOG_RATE = -20.0
_ABOVE_LARGEST = 1.0
# Dispersions r stay within these: nearly all zeros, and Poisson's law to a hair.
_DISPERSIONS = 1e-4, 1e4
# The part of zeros that inflation starts with.
_INFLATIONS = 0.01, 0.9
# Totals of training rows that are kept: quantiles of them.
_TOTALS = 1000


def is_count(X):
    """Where an array holds counts: 0, 1, 2, ..., up to 2^24."""
    return (X >= 0) & (X <= _LARGEST_COUNT) & (np.floor(X) == X)


class _Counts(Likelihood):
    """Abstract: columns of counts, of a row whose total is modelled or given.

    The features are log(1 + x), or where the law is given the row's total log(1 + m x / total)
    with m the median total of the training rows, centred, and divided by the column's standard
    deviation or the typical one, whichever is larger. Without a row `mean` and `variance` are at
    the median total, and `sample` draws totals among (quantiles of) those of the training rows.
    A row of zeros counts as one of total 1.
    """

    measure = "mass"
    exact_start = False
    searched_noise = True
    features_are_columns = False
    library_size = False
    name = "poisson"
    _units = (
        *Likelihood._units,
        "median_total",
        "totals",
        "_mean",
        "_offset",
        "_ceiling",
        "_largest",
    )

    def __init__(self, n_features):
        super().__init__(n_features)
        for name in ("offset", "feature_mid"):
            self.register_buffer(name, torch.zeros(n_features), persistent=False)
        # The least and the largest log rates.
        self.register_buffer("reach", torch.zeros(2, n_features), persistent=False)
        self.register_buffer("feature_unit", torch.ones(n_features), persistent=False)
        self.median_total, self.totals = 1.0, np.ones(1)
        self._largest = 0.0
        self._offset = self._mean = self._ceiling = np.zeros(n_features)

    @property
    def needs_whole_rows(self):
        return self.library_size

    def _fill_buffers(self):
        fill(self.offset, self._offset)
        fill(self.reach[0], _LEAST_LOG_RATE)
        fill(self.reach[1], self._ceiling)
        fill(self.feature_mid, self.feature_centre)
        fill(self.feature_unit, self.feature_scale)

    def check_support(self, X, name_column, first_row=0):
        needed = f"likelihood={self.name!r} needs columns of counts (0, 1, 2, ..., up to 2^24)"
        advice = "Counts may not be scaled, normalized or centred before."
        if (np.isnan(X) | (X >= 0) & (np.floor(X) == X)).all():
            advice = "Take the logarithms of larger ones, and a law of reals."
        refuse(~is_count(X), X, needed, name_column, first_row, advice)

    def set_units(self, X):
        totals = X.sum(axis=1)
        self.median_total = max(1.0, float(np.median(totals)))
        parts = (np.arange(_TOTALS) + 0.5) / _TOTALS
        self.totals = np.quantile(totals, parts, method="inverted_cdf")
        # Half a count in a column that has none keeps its logarithm finite.
        self._mean = np.maximum(X.sum(axis=0), 0.5) / len(X)
        self._offset = np.log(self._mean)
        if self.library_size:
            self._offset -= math.log(self._mean.sum())
            self._mean = self.median_total * np.exp(self._offset)
        self._largest = float(X.max())
        # A share of the row's total is bounded by itself.
        unbounded = np.full(X.shape[1], np.inf)
        largest = np.log1p(X.max(axis=0)) + _ABOVE_LARGEST
        self._ceiling = unbounded if self.library_size else largest
        features = self.start_rows(X)
        self.feature_centre = features.mean(axis=0)
        deviation = features.std(axis=0)
        typical = math.sqrt(np.mean(deviation**2))
        self.feature_scale = np.maximum(deviation, typical) if typical else np.ones_like(deviation)
        self._fill_buffers()

    def start_rows(self, X):
        if self.library_size:
            X = X * (self.median_total / np.maximum(X.sum(axis=1, keepdims=True), 1.0))
        return np.log1p(X)

    def features(self, x):
        if self.library_size:
            x = x * (self.median_total / x.sum(-1, keepdim=True).clamp(min=1.0))
        return (x.log1p() - self.feature_mid) / self.feature_unit

    def law(self, outputs, total=None):
        """The distribution of the columns; `total` (..., 1) is that of their row, the training
        rows' median by default, and plays no part where the law is not given it."""
        raise NotImplementedError

    def log_prob(self, outputs, x):
        own = outputs.dtype
        if self._largest > _SMALL_COUNTS and outputs.device.type != "mps":
            # Log-factorials, and the terms that they cancel with, are far larger than what is left.
            outputs, x = outputs.double(), x.double()
        return self._log_prob(outputs, x).to(own)

    def _log_prob(self, outputs, x):
        total = x.sum(-1, keepdim=True) if self.library_size else None
        return self.law(outputs, total).log_prob(x)

    def sample(self, outputs):
        return self.law(outputs, self._drawn_totals(outputs)).sample()

    def moments(self, outputs):
        law = self.law(outputs, self._drawn_totals(outputs))
        return law.mean, law.variance

    def _drawn_totals(self, outputs):
        if not self.library_size:
            return None
        totals = torch.as_tensor(self.totals, dtype=outputs.dtype, device=outputs.device)
        places = torch.randint(len(totals), outputs.shape[:-1], device=outputs.device)
        return totals[places].unsqueeze(-1)

    def feature_mean(self, outputs):
        return self.mean(outputs).log1p()

    def _log_rates(self, outputs, total):
        """log E[x_j|z] of Poisson's law, in nats: the outputs are relative to the column means."""
        logits = outputs + self.offset
        if self.library_size:
            total = torch.as_tensor(self.median_total if total is None else total).to(logits)
            logits = F.log_softmax(logits, -1) + total.clamp(min=1.0).log()
        return logits.clamp(*self.reach)

    def least_noise(self):
        # The variance of log(1 + x) under Poisson's law, to first order.
        return LAW_NOISE_FLOOR * float(np.mean(self._mean / (1 + self._mean) ** 2))

    def _weight(self, start):
        """Loadings of log rates from those of log(1 + x), which are mean / (1 + mean) of them to
        first order: by the root of that, for by all of it rare columns would be mostly noise."""
        rarity = np.sqrt((1 + self._mean) / self._mean)
        return start.gain * start.loadings * rarity[:, None]

    def decoder_start(self, start):
        weight = self._weight(start)
        # So that E[exp(w.z + bias)] over the prior is one: the column means stay what they are.
        return weight, -0.5 * np.sum(weight**2, axis=1)


class Poisson(_Counts):
    """p(x_j|z) = Poisson(rate_j(z)): counts whose variance is their mean; a mass.

    log rate_j = log(column mean) + output_j, cut at -20 below, and at 1 above the logarithm of one
    more than the column's largest training count: exp would make thousands of the latents of a row
    unlike all others. With `library_size=True` rate_j = total * softmax(log(column share) +
    output)_j with the row's own total as exposure, which is bound enough: a row's expected total is
    that, and its score, which pays for the total too, may be ranked only with other laws of this
    kind. The default is False: a law of x itself, which may be ranked with others.

    It starts from PCA of log(1 + x): its posterior, at a noise that is searched, for the encoder,
    the log means as bias, and its loadings, times the root of (1 + mean) / mean and one scalar.

    Parameters
    ----------
    n_features : int
    library_size : bool, default=False

    References
    ----------
    P. Gopalan, J. M. Hofman, D. M. Blei, "Scalable Recommendation with Hierarchical Poisson
    Factorization", UAI 2015.
    """

    def __init__(self, n_features, library_size=False):
        super().__init__(n_features)
        self.library_size = library_size

    def law(self, outputs, total=None):
        return PoissonLaw(self._log_rates(outputs, total).exp(), validate_args=False)


class _DispersedCounts(_Counts):
    """Abstract: counts that vary more than Poisson's, by a dispersion r a column: the variance is
    mu + mu^2 / r.

    The dispersions are learned, within 1e-4 and 1e4. They start by the method of moments, as what
    the start's loadings leave of the column's variance.
    """

    _units = (*_Counts._units, "_excess")

    def __init__(self, n_features, library_size):
        super().__init__(n_features)
        self.library_size = library_size
        self._excess = np.ones(n_features)
        self.log_dispersion = nn.Parameter(torch.zeros(n_features))

    def set_units(self, X):
        super().set_units(X)
        self._excess = _excess(X, self._mean, self.median_total if self.library_size else None)
        fill(self.log_dispersion, _log_dispersion(self._excess))

    def _negative_binomial(self, outputs, total):
        log_dispersion = self.log_dispersion.clamp(*np.log(_DISPERSIONS))
        return StableNegativeBinomial(
            log_dispersion.exp(),
            logits=self._log_rates(outputs, total) - log_dispersion,
            validate_args=False,
        )

    def decoder_start(self, start):
        weight, bias = super().decoder_start(start)
        fill(self.log_dispersion, _log_dispersion(_left_over(self._excess, weight)))
        return weight, bias


class NegativeBinomial(_DispersedCounts):
    """p(x_j|z) = NB(mean mu_j(z), dispersion r_j), variance mu + mu^2 / r: counts that vary more
    than Poisson's; a mass.

    Gamma(x + r) / (Gamma(r) x!) (r / (r + mu))^r (mu / (r + mu))^x. Means and start are those of
    `Poisson`, with `library_size` as there, False by default for the same reason. The dispersions
    are one a column, learned, within 1e-4 and 1e4.

    Parameters
    ----------
    n_features : int
    library_size : bool, default=False

    References
    ----------
    R. Lopez, J. Regier, M. B. Cole, M. I. Jordan, N. Yosef, "Deep generative modeling for
    single-cell transcriptomics", Nature Methods 15, 2018.
    """

    name = "negative_binomial"

    def __init__(self, n_features, library_size=False):
        super().__init__(n_features, library_size)

    def law(self, outputs, total=None):
        return self._negative_binomial(outputs, total)


class ZeroInflatedNegativeBinomial(_DispersedCounts):
    """p(x_j|z) = pi_j(z) [x_j = 0] + (1 - pi_j(z)) NB(x_j; mu_j(z), r_j): sparse counts; a mass.

    As in the single-cell field, the decoder gives each column's log share and the logit of the
    part pi_j of zeros that its mean does not explain; mu_j is the row's own total times the share
    (`library_size=True`, the default: in such data the total of a row says how much of it was
    sequenced). Scores are then those of a row given its exposure: rank them only with other laws
    with `library_size=True`. With `library_size=False` log mu_j is the output, as in `Poisson`.
    Dispersions r_j and limits are those of `NegativeBinomial`.

    It starts as `NegativeBinomial` does, with the part of zeros that this leaves unexplained, but
    at least a hundredth.

    Parameters
    ----------
    n_features : int
    library_size : bool, default=True

    References
    ----------
    R. Lopez, J. Regier, M. B. Cole, M. I. Jordan, N. Yosef, "Deep generative modeling for
    single-cell transcriptomics", Nature Methods 15, 2018.
    """

    name = "zero_inflated_negative_binomial"
    outputs_per_feature = 2
    _units = (*_DispersedCounts._units, "_inflation")

    def __init__(self, n_features, library_size=True):
        super().__init__(n_features, library_size)
        self._inflation = np.zeros(n_features)
        self.register_buffer("inflation", torch.zeros(n_features), persistent=False)

    def _fill_buffers(self):
        super()._fill_buffers()
        fill(self.inflation, self._inflation)

    def set_units(self, X):
        super().set_units(X)
        dispersion = np.exp(_log_dispersion(self._excess))
        explained = (1 + self._mean / dispersion) ** -dispersion
        part = ((X == 0).mean(axis=0) - explained) / np.maximum(1 - explained, 1e-9)
        part = np.clip(part, *_INFLATIONS)
        self._inflation = np.log(part / (1 - part))
        self._fill_buffers()

    def law(self, outputs, total=None):
        outputs, logits = outputs.chunk(2, dim=-1)
        return ZeroInflated(self._negative_binomial(outputs, total), logits + self.inflation)

    def decoder_start(self, start):
        weight, bias = super().decoder_start(start)
        if not self.library_size:
            # Inflation takes from the mean what the counts have to give back.
            bias += np.logaddexp(0, self._inflation)
        return np.vstack([weight, np.zeros_like(weight)]), np.append(bias, np.zeros_like(bias))


class Multinomial(_Counts):
    """p(x|z) = Multinomial(x; total, softmax(logits(z))): words of a text, given how many; a mass.

    total! / prod_j x_j! prod_j p_j^x_j with the row's own total, the coefficient included: scores
    are log p(x | total), to be ranked with nothing else (a law with `library_size=True` pays for
    the total, which this one is given). It does not factorize over columns, so that `log_prob` has
    one. Given z the columns are correlated, by -p_i p_j total; `variance` is the diagonal,
    total p (1 - p).

    It starts as `Poisson` does, from PCA of log(1 + m x / total), m the median total.

    References
    ----------
    D. Liang, R. G. Krishnan, M. D. Hoffman, T. Jebara, "Variational Autoencoders for Collaborative
    Filtering", WWW 2018.
    """

    name = "multinomial"
    library_size = True

    def law(self, outputs, total=None):
        """The distribution of one word, a column's number. torch's Multinomial knows rows of one
        total only, and checks its probabilities anew in every batch."""
        return CategoricalLaw(logits=outputs + self.offset, validate_args=False)

    def _log_prob(self, outputs, x):
        coefficient = torch.lgamma(x.sum(-1) + 1) - torch.lgamma(x + 1).sum(-1)
        words = torch.linalg.vecdot(x, self.law(outputs).logits)
        return (coefficient + words).unsqueeze(-1)

    def mean(self, outputs):
        return self.median_total * self.law(outputs).probs

    def variance(self, outputs):
        probs = self.law(outputs).probs
        return self.median_total * probs * (1 - probs)

    def moments(self, outputs):
        probs, total = self.law(outputs).probs, self._drawn_totals(outputs)
        return total * probs, total * probs * (1 - probs)

    def sample(self, outputs):
        # A column at a time, of what the columns before it left over.
        probs = self.law(outputs).probs
        left = self._drawn_totals(outputs).squeeze(-1)
        tails = probs.flip(-1).cumsum(-1).flip(-1)
        parts = (probs / tails).nan_to_num(0.0).clamp(0, 1)
        parts[..., -1] = 1.0
        columns = torch.zeros_like(probs)
        for j in range(self.n_features):
            columns[..., j] = Binomial(left, parts[..., j], validate_args=False).sample()
            left = left - columns[..., j]
        return columns

    def decoder_start(self, start):
        return self._weight(start), np.zeros(self.n_features)


def _excess(X, mean, median_total):
    """1 / r of each column by the method of moments: the squared deviations from the mean, or
    from the share of the row's total, are mu + mu^2 / r."""
    size = np.ones(len(X)) if median_total is None else X.sum(axis=1) / median_total
    if not size.any():
        # Rows without a count say nothing.
        return np.zeros(X.shape[1])
    squares = np.einsum("ij,ij->j", X, X) - 2 * mean * (size @ X) + mean**2 * (size @ size)
    return (squares - mean * size.sum()) / (mean**2 * (size @ size))


def _left_over(excess, weight):
    """1 / r of each column where the rates have log variances of their own: what these leave.

    Of a rate with log variance v the second moment is exp(v) times the squared mean, so that
    1 + excess = (1 + left) exp(v).
    """
    return (1 + excess) * np.exp(-np.sum(weight**2, axis=1)) - 1


def _log_dispersion(excess):
    least, most = _DISPERSIONS
    return -np.log(np.clip(excess, 1 / most, 1 / least))
