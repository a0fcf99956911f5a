"""Likelihoods p(x|z): each a law over the columns of X, made from the outputs of the decoder.

Rows reach a likelihood in *working units*, (x - centre) / scale, computed in float64 before any
cast: float32 cannot centre columns whose scales differ by 1e6. Log-probabilities are always those
of X in its own units; the constant log scale is taken off here and nowhere else.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.distributions import Bernoulli as BernoulliLaw
from torch.distributions import Normal

# Least noise variance of one column, relative to that column's variance: a column that is
# reconstructed perfectly gains at most log(1000) = 6.9 nats over one that is not modelled at all.
COLUMN_NOISE_FLOOR = 1e-6
# Least shared noise variance, relative to the mean variance of the columns. It is smaller, because
# columns in different units make the leftover variance small beside the mean.
SHARED_NOISE_FLOOR = 1e-9
# Least noise variance of the PCA that Bernoulli starts from, relative to the mean variance of the
# columns: with none left over its posterior would be a point, which no binary column allows.
BERNOULLI_NOISE_FLOOR = 0.2
# A noise variance at its floor starts so little above it that sliding down gains nothing.
_ABOVE_FLOOR = 1e-4
# Noise variance of a constant column under DiagonalGaussian, in squared units of X: the constant
# SMALL of scikit-learn's FactorAnalysis.
_CONSTANT_COLUMN_NOISE = 1e-12
# Largest magnitude of a real value: sums of squares have to stay finite.
_LARGEST = np.float64(1e150)
# A decoder's log variance, relative to its column's, is cut here, before exp can overflow.
_LOG_VARIANCE_CEILING = 40.0


class Likelihood(nn.Module):
    """Abstract: the law of a row of `n_features` columns, given `n_outputs` decoder outputs.

    A likelihood sets the class attributes below and implements `law`, `mean` and `decoder_start`;
    one whose columns do not live on the real line also implements `set_units`, `check_support`
    and `features`.

    Parameters
    ----------
    n_features : int
        Number of columns of X.

    Attributes
    ----------
    measure : {"density", "mass"}
        What exp(log-probability) is. Only like may be ranked with like.
    linear_model : {"pca", "factor_analysis"}
        Whose closed form the model starts from.
    exact_start : bool
        Whether that start is the optimum of the linear model. Where it is not, the loadings are
        multiplied by one scalar, found by a line search on the training ELBO.
    shared_noise : bool
        Whether one noise variance, in the units of X, serves all columns.
    outputs_per_feature : int
        Decoder outputs for each column.
    centre, scale : ndarray of shape (n_features,)
        Working units are (x - centre) / scale. float64 whatever the dtype of the module.
    feature_centre : ndarray of shape (n_features,)
        What `features` takes off, in the units of X.
    """

    measure = "density"
    linear_model = "pca"
    exact_start = True
    shared_noise = False
    outputs_per_feature = 1

    def __init__(self, n_features):
        super().__init__()
        self.n_features = n_features
        self.centre = np.zeros(n_features)
        self.scale = np.ones(n_features)
        self.feature_centre = np.zeros(n_features)
        self._log_scale = torch.zeros(n_features)

    @property
    def n_outputs(self):
        return self.outputs_per_feature * self.n_features

    def get_extra_state(self):
        return {"centre": self.centre, "scale": self.scale, "feature_centre": self.feature_centre}

    def set_extra_state(self, state):
        vars(self).update(state)
        self._log_scale = torch.as_tensor(np.log(self.scale))

    def check_support(self, X, name_column, first_row=0):
        """Raise a ValueError that names value, row and column where X leaves the support.

        X is a chunk of rows in float64, the first of which is row `first_row` of the whole.
        """

    def set_units(self, X):
        """Learn the working units from the training rows X (float64), before the linear start."""

    def features(self, x):
        """What the encoder sees of the working-unit rows x, centred, shape (n, n_features)."""
        return x

    def log_scale(self, like):
        """log scale, shape (n_features,), in the dtype and on the device of `like`."""
        kept = self._log_scale
        if kept.dtype != like.dtype or kept.device != like.device:
            kept = torch.as_tensor(np.log(self.scale), dtype=like.dtype, device=like.device)
            self._log_scale = kept
        return kept

    def law(self, outputs):
        """The distribution of each column in working units; outputs is (..., n_outputs)."""
        raise NotImplementedError

    def log_prob(self, outputs, x):
        """log p(x|z) of each column in nats, for X in its own units, shape of x broadcast."""
        return self.law(outputs).log_prob(x)

    def mean(self, outputs):
        """E[x|z] in working units, shape (..., n_features)."""
        return self.law(outputs).mean

    def variance(self, outputs):
        """Var[x|z] in working units, shape (..., n_features)."""
        return self.law(outputs).variance

    def decoder_start(self, start):
        """Weight (n_outputs, k) and bias (n_outputs,) of the decoder's affine path.

        Also sets the law's own parameters. `start` is a `skvae.linear_start.LinearStart`.
        """
        raise NotImplementedError

    def least_noise(self):
        """The least noise variance that a linear start can have, in squared units of X."""
        return COLUMN_NOISE_FLOOR * float(np.mean(self.scale**2))


class _RealColumns(Likelihood):
    """Abstract: Gaussian columns, in working units of zero mean and unit variance."""

    def check_support(self, X, name_column, first_row=0):
        too_large = np.argwhere(np.abs(X) > _LARGEST)
        if len(too_large):
            row, column = too_large[0]
            raise ValueError(
                f"X holds {X[row, column]:g} at row {first_row + row}, column "
                f"{name_column(column)}: the square of values beyond {_LARGEST:g} is not a finite "
                "number; rescale the column."
            )

    def set_units(self, X):
        self.centre = X.mean(axis=0)
        deviation = X.std(axis=0, ddof=min(1, len(X) - 1))
        # A constant column has a standard deviation of rounding errors; it takes the typical
        # scale of the others, so that it neither divides by zero nor dwarfs them.
        rounding = 10 * np.finfo(np.float64).eps * len(X) ** 0.5 * np.abs(self.centre)
        varies = deviation > np.maximum(rounding, np.finfo(np.float64).tiny ** 0.5)
        typical = np.sqrt(np.mean(deviation[varies] ** 2)) if varies.any() else 1.0
        self.varies = varies
        self.scale = np.where(varies, deviation, typical)
        self.feature_centre = self.centre
        self._log_scale = torch.as_tensor(np.log(self.scale))

    def log_prob(self, outputs, x):
        return self.law(outputs).log_prob(x) - self.log_scale(outputs)

    def _location_start(self, start):
        """The mean's affine path in working units: loadings (d, k) and offset (d,)."""
        return start.loadings / self.scale[:, None], (start.mean - self.centre) / self.scale


def _fill(parameter, values):
    with torch.no_grad():
        parameter.copy_(torch.as_tensor(values))


class Gaussian(_RealColumns):
    """p(x|z) = N(mu(z), s2 I): one noise variance for all columns, learned, as in pPCA.

    The noise variance, in squared units of X, is at least `SHARED_NOISE_FLOOR` times the mean
    variance of the columns.

    References
    ----------
    M. E. Tipping, C. M. Bishop, "Probabilistic Principal Component Analysis", JRSS B 61, 1999.
    """

    shared_noise = True

    def __init__(self, n_features):
        super().__init__(n_features)
        self.log_noise = nn.Parameter(torch.zeros(()))

    def set_units(self, X):
        super().set_units(X)
        self._reference = float(np.mean(self.scale**2))
        self._log_reference = math.log(self._reference)

    def get_extra_state(self):
        reference = {"_reference": self._reference, "_log_reference": self._log_reference}
        return super().get_extra_state() | reference

    def law(self, outputs):
        log_variance = torch.log(SHARED_NOISE_FLOOR + self.log_noise.exp()) + self._log_reference
        deviation = torch.exp(0.5 * log_variance - self.log_scale(outputs))
        return Normal(outputs, deviation, validate_args=False)

    def decoder_start(self, start):
        noise = start.noise_variance / self._reference - SHARED_NOISE_FLOOR
        _fill(self.log_noise, np.log(np.maximum(noise, _ABOVE_FLOOR * SHARED_NOISE_FLOOR)))
        return self._location_start(start)

    def least_noise(self):
        return (1 + _ABOVE_FLOOR) * SHARED_NOISE_FLOOR * self._reference


class DiagonalGaussian(_RealColumns):
    """p(x|z) = N(mu(z), Psi), Psi diagonal: one noise variance a column, as in FactorAnalysis.

    Each is at least `COLUMN_NOISE_FLOOR` times its column's variance; that of a constant column is
    1e-12 in squared units of X, as in scikit-learn's FactorAnalysis.
    """

    linear_model = "factor_analysis"

    def __init__(self, n_features):
        super().__init__(n_features)
        self.log_noise = nn.Parameter(torch.zeros(n_features))

    def set_units(self, X):
        super().set_units(X)
        # The noise of a constant column is FactorAnalysis's own.
        least = (1 + _ABOVE_FLOOR) * COLUMN_NOISE_FLOOR
        self.scale[~self.varies] = math.sqrt(_CONSTANT_COLUMN_NOISE / least)
        self._log_scale = torch.as_tensor(np.log(self.scale))

    def law(self, outputs):
        variance = COLUMN_NOISE_FLOOR + self.log_noise.exp()
        return Normal(outputs, variance.sqrt(), validate_args=False)

    def decoder_start(self, start):
        noise = start.noise_variance / self.scale**2 - COLUMN_NOISE_FLOOR
        _fill(self.log_noise, np.log(np.maximum(noise, _ABOVE_FLOOR * COLUMN_NOISE_FLOOR)))
        return self._location_start(start)

    def least_noise(self):
        return (1 + _ABOVE_FLOOR) * COLUMN_NOISE_FLOOR * self.scale**2


class HeteroscedasticGaussian(_RealColumns):
    """p(x|z) = N(mu(z), diag s2(z)): the decoder gives each column's mean and noise variance.

    It starts as the shared noise of pPCA. Each variance is at least `COLUMN_NOISE_FLOOR` times its
    column's variance.
    """

    outputs_per_feature = 2

    def law(self, outputs):
        location, log_variance = outputs.chunk(2, dim=-1)
        variance = COLUMN_NOISE_FLOOR + log_variance.clamp(max=_LOG_VARIANCE_CEILING).exp()
        return Normal(location, variance.sqrt(), validate_args=False)

    def decoder_start(self, start):
        weight, bias = self._location_start(start)
        noise = np.broadcast_to(start.noise_variance, self.scale.shape) / self.scale**2
        least = _ABOVE_FLOOR * COLUMN_NOISE_FLOOR
        log_noise = np.log(np.maximum(noise - COLUMN_NOISE_FLOOR, least))
        return np.vstack([weight, np.zeros_like(weight)]), np.concatenate([bias, log_noise])

    def least_noise(self):
        return (1 + _ABOVE_FLOOR) * COLUMN_NOISE_FLOOR * float(np.min(self.scale**2))

    def log_prob(self, outputs, x):
        return self.law(outputs).log_prob(x) - self.log_scale(x)


class Bernoulli(Likelihood):
    """p(x_j = 1|z) = sigmoid(logit_j(z)): rows of zeros and ones; a mass.

    It starts from PCA: PCA's posterior for the encoder, the logit of the column means as bias, and
    PCA's loadings times one scalar.
    """

    measure = "mass"
    exact_start = False

    def __init__(self, n_features):
        super().__init__(n_features)
        self.register_buffer("offset", torch.zeros(n_features))

    def check_support(self, X, name_column, first_row=0):
        outside = ~((X == 0) | (X == 1))
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise ValueError(
                f"likelihood='bernoulli' needs columns of 0 and 1, found {X[row, column]:g} at row "
                f"{first_row + row}, column {name_column(column)} ({outside.sum()} such values in "
                f"rows {first_row} to {first_row + len(X) - 1}). "
                "Binarize X (sklearn.preprocessing.Binarizer), or for values between 0 and 1 pass "
                "batch_transform=torch.bernoulli to draw binary rows anew for every batch."
            )

    def set_units(self, X):
        self.feature_centre = X.mean(axis=0)
        # One pseudo-row of a half keeps the logit of a constant column finite.
        self._mean = (X.sum(axis=0) + 0.5) / (len(X) + 1)
        _fill(self.offset, self.feature_centre)

    def get_extra_state(self):
        return super().get_extra_state() | {"_mean": self._mean}

    def features(self, x):
        return x - self.offset

    def law(self, outputs):
        return BernoulliLaw(logits=outputs, validate_args=False)

    def least_noise(self):
        return BERNOULLI_NOISE_FLOOR * float(np.mean(self._mean * (1 - self._mean)))

    def decoder_start(self, start):
        return start.gain * start.loadings, np.log(self._mean / (1 - self._mean))


LIKELIHOODS = {
    "gaussian": Gaussian,
    "diagonal_gaussian": DiagonalGaussian,
    "heteroscedastic_gaussian": HeteroscedasticGaussian,
    "bernoulli": Bernoulli,
}
