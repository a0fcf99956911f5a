"""Laws of real columns: Gaussians, heavier tails, and Gaussians of logarithms."""

import math

import numpy as np
import torch
from torch import nn
from torch.distributions import Laplace as LaplaceLaw
from torch.distributions import LogNormal as LogNormalLaw
from torch.distributions import Normal
from torch.distributions import StudentT as StudentTLaw

from .likelihood import COLUMN_NOISE_FLOOR, Likelihood, fill, refuse

# Least shared noise variance, relative to the variance of the column that varies least. It is
# smaller, because columns in different units have one noise;
SHARED_NOISE_FLOOR = 1e-9
# but at least this part of the largest variance: float32, in which training is, has no smaller
# deviations beside it.
WIDEST_NOISE_FLOOR = 1e-12
# A noise variance at its floor starts so little above it that sliding down gains nothing.
_ABOVE_FLOOR = 1e-4
# Noise variance of a constant column under DiagonalGaussian, in squared units of X: the constant
# SMALL of scikit-learn's FactorAnalysis.
_CONSTANT_COLUMN_NOISE = 1e-12
# Largest magnitude of a real value: sums of squares have to stay finite.
_LARGEST = np.float64(1e150)
# A decoder's log variance, relative to its column's, is cut here, before exp can overflow.
_LOG_VARIANCE_CEILING = 40.0
# Degrees of freedom of StudentT: where they start, and what they stay within.
_START_DEGREES = 10.0
_DEGREES = 2.01, 1000.0
# Where the features of heavy tails turn logarithmic, and the most that they are, in robust standard
# deviations; and the range of the middle eight tenths of a normal law in such.
_STRAIGHT = 3.0
_MOST_BENT = 6.0
_MIDDLE_RANGE = 2.563
# Logarithms of LogNormal, in standard deviations of the column's and in nats, are cut here.
_LOG_CEILING = 30.0


class RealColumns(Likelihood):
    """Abstract: real columns, in working units of zero mean and unit variance."""

    any_number = True
    _units = (*Likelihood._units, "varies")

    def __init__(self, n_features):
        super().__init__(n_features)
        self.varies = np.ones(n_features, dtype=bool)

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
        self.scale, self.varies = _deviations(X, self.centre)
        self.feature_centre, self.feature_scale = self.centre, self.scale
        self._log_scale = torch.as_tensor(np.log(self.scale))

    def _where_varied(self, outputs, at_floor):
        """Which columns are at their floor, (..., n_features): a constant one has nowhere else to
        be."""
        varies = torch.as_tensor(self.varies, device=outputs.device)
        return (varies & at_floor).expand(*outputs.shape[:-1], -1)

    def _set_robust_units(self, X):
        """Working units by the median and the range of the middle eight tenths, which is in that of
        a normal law's; where that is zero, by the column's standard deviation."""
        low, middle, high = np.quantile(X, [0.1, 0.5, 0.9], axis=0)
        unit = (high - low) / _MIDDLE_RANGE
        self.centre = np.where(self.varies, middle, self.centre)
        self.scale = np.where(self.varies & (unit > 0), unit, self.scale)
        self._log_scale = torch.as_tensor(np.log(self.scale))

    def log_prob(self, outputs, x):
        return self.law(outputs).log_prob(x) - self.log_scale(outputs)

    def _location_start(self, start):
        """The mean's affine path in units of `features`: loadings (d, k) and offset (d,)."""
        loadings = start.gain * start.loadings / self.feature_scale[:, None]
        return loadings, (start.mean - self.feature_centre) / self.feature_scale


def _deviations(X, mean):
    """Standard deviation of each column, and whether it varies at all."""
    deviation = X.std(axis=0, ddof=min(1, len(X) - 1))
    # A constant column has a standard deviation of rounding errors; it takes the typical
    # scale of the others, so that it neither divides by zero nor dwarfs them.
    rounding = 10 * np.finfo(np.float64).eps * len(X) ** 0.5 * np.abs(mean)
    varies = deviation > np.maximum(rounding, np.finfo(np.float64).tiny ** 0.5)
    typical = np.sqrt(np.mean(deviation[varies] ** 2)) if varies.any() else 1.0
    return np.where(varies, deviation, typical), varies


def _finite(x):
    """Positive numbers as they are, but that float32 has only those between 1e-38 and 3e38."""
    return x.clamp(torch.finfo(x.dtype).tiny, torch.finfo(x.dtype).max)


class Gaussian(RealColumns):
    """p(x|z) = N(mu(z), s2 I): one noise variance for all columns, learned, as in pPCA.

    The noise variance, in squared units of X, is at least `SHARED_NOISE_FLOOR` times the least
    variance of a column, and `WIDEST_NOISE_FLOOR` times the largest.

    References
    ----------
    M. E. Tipping, C. M. Bishop, "Probabilistic Principal Component Analysis", JRSS B 61, 1999.
    """

    shared_noise = True
    _units = (*RealColumns._units, "_reference", "_log_reference", "_floor")

    def __init__(self, n_features):
        super().__init__(n_features)
        self.log_noise = nn.Parameter(torch.zeros(()))

    def set_units(self, X):
        super().set_units(X)
        self._reference = float(np.mean(self.scale**2))
        self._log_reference = math.log(self._reference)
        variances = self.scale**2 / self._reference
        floors = SHARED_NOISE_FLOOR * variances.min(), WIDEST_NOISE_FLOOR * variances.max()
        self._floor = float(max(floors))

    def law(self, outputs):
        log_variance = torch.log(self._floor + self.log_noise.exp()) + self._log_reference
        deviation = torch.exp(0.5 * log_variance - self.log_scale(outputs))
        return Normal(outputs, deviation, validate_args=False)

    def decoder_start(self, start):
        noise = start.noise_variance / self._reference - self._floor
        fill(self.log_noise, np.log(np.maximum(noise, _ABOVE_FLOOR * self._floor)))
        return self._location_start(start)

    def at_noise_floor(self, outputs):
        return self._where_varied(outputs, bool(self.log_noise.exp() <= self._floor))

    def least_noise(self):
        return (1 + _ABOVE_FLOOR) * self._floor * self._reference


class _NoiseOfColumns(RealColumns):
    """Abstract: one noise variance a column, as in FactorAnalysis, in squared units of
    `features`.

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

    def check_stream(self, X, name_column):
        changed = ~self.varies & (np.abs(X - self.centre) > 1e-9 * (1 + np.abs(self.centre)))
        if changed.any():
            row, column = np.argwhere(changed)[0]
            raise ValueError(
                f"column {name_column(column)} was constant in the first rows of the stream and "
                f"holds {X[row, column]:g} now: its noise variance is 1e-12. Start with rows in "
                "which it varies, or use likelihood='gaussian'."
            )

    def noise_variance(self):
        return COLUMN_NOISE_FLOOR + self.log_noise.exp()

    def at_noise_floor(self, outputs):
        return self._where_varied(outputs, self.log_noise.exp() <= COLUMN_NOISE_FLOOR)

    def decoder_start(self, start):
        noise = start.noise_variance / self.feature_scale**2 - COLUMN_NOISE_FLOOR
        fill(self.log_noise, np.log(np.maximum(noise, _ABOVE_FLOOR * COLUMN_NOISE_FLOOR)))
        return self._location_start(start)

    def least_noise(self):
        return (1 + _ABOVE_FLOOR) * COLUMN_NOISE_FLOOR * self.feature_scale**2


class DiagonalGaussian(_NoiseOfColumns):
    """p(x|z) = N(mu(z), Psi), Psi diagonal: one noise variance a column, as in FactorAnalysis.

    Each is at least `COLUMN_NOISE_FLOOR` times its column's variance; that of a constant column is
    1e-12 in squared units of X, as in scikit-learn's FactorAnalysis.
    """

    def law(self, outputs):
        return Normal(outputs, self.noise_variance().sqrt(), validate_args=False)


class _HeavyTails(_NoiseOfColumns):
    """Abstract: laws under which a few rows may lie very far out, and decide nothing.

    Working units are (x - median) / unit, the unit being the range of the middle eight tenths of
    the column in that of a normal law's, 2.56 standard deviations (where that is zero, the column's
    standard deviation). The features are these, but logarithmic beyond three of them and six
    at most, so that neither PCA nor a posterior follows single rows.

    It starts from PCA of the features and its noise, times one scalar. (FactorAnalysis's is nearer
    before training, but where it gives a column no noise training stays there.)
    """

    linear_model = "pca"
    exact_start = False
    features_are_columns = False

    def __init__(self, n_features):
        super().__init__(n_features)
        for name in ("feature_mid", "feature_unit"):
            self.register_buffer(name, torch.zeros(n_features), persistent=False)

    def _fill_buffers(self):
        fill(self.feature_mid, self.feature_centre)
        fill(self.feature_unit, self.feature_scale)

    def set_units(self, X):
        super().set_units(X)
        self._set_robust_units(X)
        features = self.start_rows(X)
        self.feature_centre = features.mean(axis=0)
        self.feature_scale = np.where(self.varies, features.std(axis=0), 1.0)
        self._fill_buffers()

    def start_rows(self, X):
        t = (X - self.centre) / self.scale
        beyond = np.maximum(np.abs(t) - _STRAIGHT, 0.0)
        bent = np.minimum(np.abs(t), _STRAIGHT) + np.log1p(beyond)
        return np.sign(t) * np.minimum(bent, _MOST_BENT)

    def _bent(self, t):
        beyond = (t.abs() - _STRAIGHT).clamp(min=0.0)
        bent = t.clamp(-_STRAIGHT, _STRAIGHT) + t.sign() * beyond.log1p()
        return bent.clamp(-_MOST_BENT, _MOST_BENT)

    def features(self, x):
        return (self._bent(x) - self.feature_mid) / self.feature_unit

    def feature_mean(self, outputs):
        return self._bent(self.mean(outputs))

    def decoder_start(self, start):
        noise = np.where(self.varies, start.noise_variance - COLUMN_NOISE_FLOOR, 0.0)
        fill(self.log_noise, np.log(np.maximum(noise, _ABOVE_FLOOR * COLUMN_NOISE_FLOOR)))
        return start.gain * start.loadings, start.mean

    def least_noise(self):
        return (1 + _ABOVE_FLOOR) * COLUMN_NOISE_FLOOR


class StudentT(_HeavyTails):
    """p(x_j|z) = t(mu_j(z), s_j, df_j): real columns with heavy tails.

    The density Gamma((df+1)/2) / (Gamma(df/2) sqrt(pi df) s) (1 + ((x-mu)/s)^2 / df)^(-(df+1)/2).
    The scales s_j, in the units of X, and the degrees of freedom df_j are one a column and learned.
    df stays within 2.01 and 1000, so that mean and variance, s^2 df / (df - 2), are finite
    everywhere: it follows the tails of all columns but those that have no variance at all. s_j^2
    is at least `COLUMN_NOISE_FLOOR` times its column's unit squared.

    Units, features and start are those of all laws with heavy tails (columns by their medians and
    quantiles, bent logarithmically far out; PCA of these), with 10 degrees of freedom.

    References
    ----------
    K. L. Lange, R. J. A. Little, J. M. G. Taylor, "Robust Statistical Modeling Using the t
    Distribution", JASA 84, 1989; H. Takahashi et al., "Student-t Variational Autoencoder for
    Robust Density Estimation", IJCAI 2018.
    """

    def __init__(self, n_features):
        super().__init__(n_features)
        log_excess = math.log(_START_DEGREES - _DEGREES[0])
        self.log_degrees = nn.Parameter(torch.full((n_features,), log_excess))

    def law(self, outputs):
        degrees = (_DEGREES[0] + self.log_degrees.exp()).clamp(max=_DEGREES[1])
        return StudentTLaw(degrees, outputs, self.noise_variance().sqrt(), validate_args=False)

    def decoder_start(self, start):
        fill(self.log_degrees, np.full(self.n_features, math.log(_START_DEGREES - _DEGREES[0])))
        weight, bias = super().decoder_start(start)
        with torch.no_grad():
            self.log_noise += math.log(1 - 2 / _START_DEGREES)
        return weight, bias


class Laplace(_HeavyTails):
    """`p(x_j|z) = exp(-|x_j - mu_j(z)| / b_j) / (2 b_j)`: real columns around their medians.

    The scales b_j, in the units of X, are one a column and learned; the noise variance, 2 b_j^2,
    is at least `COLUMN_NOISE_FLOOR` times its column's unit squared. Units, features and start are
    those of `StudentT`.

    References
    ----------
    Q. Ke, T. Kanade, "Robust L1 Norm Factorization in the Presence of Outliers and Missing Data by
    Alternative Convex Programming", CVPR 2005.
    """

    def law(self, outputs):
        return LaplaceLaw(outputs, (0.5 * self.noise_variance()).sqrt(), validate_args=False)


class LogNormal(_NoiseOfColumns):
    """log p(x_j|z) = log N(log x_j; mu_j(z), s2_j) - log x_j: positive columns of many magnitudes.

    The features are log X, and the law of log X is that of `DiagonalGaussian`: one noise variance
    a column, in squared nats, at least `COLUMN_NOISE_FLOOR` times that of the column's logarithms.
    So is the start, FactorAnalysis's, exactly. `mean` is exp(mu + s2/2) and `variance`
    (exp(s2) - 1) exp(2 mu + s2), in units of X; mu is cut at 30 nats above the column's mean
    logarithm, where the mean would lose its meaning before it overflows.

    References
    ----------
    J. Aitchison, J. A. C. Brown, "The Lognormal Distribution", Cambridge 1957, chapter 2.
    """

    any_number = False
    features_are_columns = False

    def __init__(self, n_features):
        super().__init__(n_features)
        self.register_buffer("feature_unit", torch.ones(n_features), persistent=False)
        self.register_buffer("feature_mid", torch.zeros(n_features), persistent=False)

    def _fill_buffers(self):
        fill(self.feature_unit, self.feature_scale)
        fill(self.feature_mid, self.feature_centre)

    def check_support(self, X, name_column, first_row=0):
        needed = "likelihood='lognormal' needs columns of positive numbers"
        advice = (
            "A column with zeros is a count or has two laws; for values of either sign take "
            "'gaussian' or 'student_t'."
        )
        refuse(~(X > 0), X, needed, name_column, first_row, advice)
        super().check_support(X, name_column, first_row)

    def set_units(self, X):
        super().set_units(np.log(X))
        # Rows in units of their columns' geometric means: their logarithms are centred already.
        self.centre, self.scale = np.zeros(self.n_features), np.exp(self.feature_centre)
        self._log_scale = torch.as_tensor(self.feature_centre)
        self._fill_buffers()

    @property
    def placeholder(self):
        return torch.ones(self.n_features)

    def start_rows(self, X):
        return np.log(X)

    def features(self, x):
        return _finite(x).log() / self.feature_unit

    def log_prob(self, outputs, x):
        return super().log_prob(outputs, _finite(x))

    def law(self, outputs):
        location = (outputs * self.feature_unit).clamp(max=_LOG_CEILING)
        deviation = self.noise_variance().sqrt() * self.feature_unit
        return LogNormalLaw(location, deviation, validate_args=False)

    def feature_mean(self, outputs):
        return outputs * self.feature_unit + self.feature_mid


class HeteroscedasticGaussian(RealColumns):
    """p(x|z) = N(mu(z), diag s2(z)): the decoder gives each column's mean and noise variance.

    It starts as the shared noise of pPCA. Each variance is at least `COLUMN_NOISE_FLOOR` times its
    column's variance.
    """

    outputs_per_feature = 2

    def law(self, outputs):
        location, log_variance = outputs.chunk(2, dim=-1)
        variance = COLUMN_NOISE_FLOOR + log_variance.clamp(max=_LOG_VARIANCE_CEILING).exp()
        return Normal(location, variance.sqrt(), validate_args=False)

    def at_noise_floor(self, outputs):
        log_variance = outputs.chunk(2, dim=-1)[1]
        return self._where_varied(outputs, log_variance.exp() <= COLUMN_NOISE_FLOOR)

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
