"""A law of real columns of any shape: a Gaussian through each column's own quantiles."""

import math

import numpy as np
import torch
from torch.distributions import Normal

from ..moments import row_slices
from .likelihood import COLUMN_NOISE_FLOOR
from .quantile_map import QuantileMap, quantile_map
from .real import RealColumns

# Least noise variance of a factor analysis of normal scores, and of the law that starts from it.
_START_FLOOR = 0.05
_LEAST_START_NOISE = 0.01
# A decoder's log variance of normal scores, which vary by about one, is cut here.
_LOG_VARIANCE_CEILING = 6.0
# An interval narrower than this, in standard deviations, has its middle's density times its width.
_NARROW = 1e-2
# Quantiles of a Cauchy law that a mean is taken over, but those beyond a score that no draw has,
_NODES = 72
_MOST_EXTREME_NODE = 5.5
# and equally probable values that the mean of features is.
_FEATURE_NODES = 16
# that at the start of more of them.
_START_NODES = 1024
# A mean over so few draws of the latents is that of their means, one over more of this many values.
_FEW_DRAWS = 8
_LEAST_VALUES = 512
# Multiples of it, less whole numbers, are evenly spread.
_GOLDEN = 0.6180339887498949
# Arrays as large as the rows that a map makes on its way.
_TEMPORARIES = 16
# Of the scale of a column: rounding errors of float32.
_ROUNDING = 2e-6


class QuantileGaussian(RealColumns):
    r"""x_j = Q_j(Phi(u_j)), u_j|z ~ N(mu_j(z), s2_j(z)): real columns of any shape.

    Q_j is the quantile function of the column, Phi the normal distribution function, so that u_j =
    g_j(x_j) is the normal score of x_j. A column that is skewed, has several modes or ends at a
    bound is as easy as a Gaussian one: where u_j is N(0, 1) over all rows, as at the start, x_j has
    the distribution of the training rows. The decoder gives mu and log s2.

    g_j is learnt from the training rows and then fixed: strictly monotone, a rational quadratic
    spline, linear beyond the training rows. log p(x_j|z) is

    - of a column that is not rounded, log N(g(x); mu, s2) + log g'(x);
    - of a column rounded to whole numbers, to tens, hundreds, ..., to at most six decimals, or to
      multiples of these (of 5, of .25), the log of the probability of what is rounded to x, over
      the step h: log P(x - h/2 < X < x + h/2 | z) - log h, which counts values that many rows share
      (40 hours a week) in full, is a density still, and for whole numbers their probability;
    - of an atom of a column that is not rounded, a value that many rows share while its neighbours
      have few (exact zeros among amounts), the log of the probability of g's jump there: a hurdle.
      This is a mass among densities, so that scores can be compared only with those of models that
      have the same atoms.

    It starts from FactorAnalysis of the normal scores, a Gaussian copula, its loadings times one
    scalar, with such s2_j that u_j has unit variance.

    `mean` and `variance` are sums over 64 weighted values, close together in the middle and far
    out in the tails. Draws stay within the range of the training rows, and so do these.

    References
    ----------
    P. D. Hoff, "Extending the Rank Likelihood for Semiparametric Copula Estimation", Annals of
    Applied Statistics 1, 2007; J. S. Murray, D. B. Dunson, L. Carin, J. E. Lucas, "Bayesian
    Gaussian Copula Factor Models for Mixed Data", JASA 108, 2013.
    """

    linear_model = "factor_analysis"
    exact_start = False
    features_are_columns = False
    outputs_per_feature = 2
    _units = (*RealColumns._units, "decimals", "steps", "atom_values", "_standard_mean")

    def __init__(self, n_features):
        super().__init__(n_features)
        # What the maps are to be like.
        self.register_buffer("like", torch.zeros(()), persistent=False)
        self.set_units(np.tile([[-1.0], [0.0], [1.0]], n_features))

    def get_extra_state(self):
        return super().get_extra_state() | {"map": self.exact_map.tensors()}

    def set_extra_state(self, state):
        state = dict(state)
        tensors = {name: tensor.cpu().clone() for name, tensor in state.pop("map").items()}
        self.exact_map = QuantileMap(**tensors)
        super().set_extra_state(state)

    def _fill_buffers(self):
        self.map = self.exact_map.to(self.like)
        units = np.stack([self.feature_centre, self.feature_scale])
        self.feature_units = torch.as_tensor(units).to(self.like)

    def set_units(self, X):
        super().set_units(X)
        self._set_robust_units(X)
        of_rows = quantile_map(X, self.centre, self.scale)
        self.exact_map, self.decimals, self.steps, self.atom_values = of_rows
        features = self.start_rows(X)
        self.feature_centre = features.mean(axis=0)
        # Of one column at a time, so that there is no second array as large.
        deviation = np.array([column.std() for column in features.T])
        self.feature_scale = np.where(deviation > 0, deviation, 1.0)
        self._fill_buffers()
        self._standard_mean = self._mean_at_start()

    def _mean_at_start(self):
        """The mean of the features of scores that are N(0, 1), which the smooth map and ties bring
        to another one than 0; by many nodes, since features jump where rows share a value."""
        parts = (torch.arange(_START_NODES, dtype=torch.float64) + 0.5) / _START_NODES
        scores, total = torch.special.ndtri(parts), 0.0
        for part in row_slices(_START_NODES, _TEMPORARIES * self.n_features):
            x = self.exact_map.value(scores[part, None].expand(-1, self.n_features))
            total = total + self.exact_map.feature(x).sum(0)
        return (total / _START_NODES).numpy()

    def in_units_of_rows(self, x):
        X = super().in_units_of_rows(x)
        # To the bit as the training rows have them: whole numbers, decimals, atoms.
        for j, (decimals, step) in enumerate(zip(self.decimals, self.steps, strict=True)):
            column, exact = X[..., j], None
            atoms = self.atom_values[j][~np.isnan(self.atom_values[j])]
            if step:
                # Without a minus before 0.
                exact = np.round(np.round(column / step) * step, int(decimals)) + 0.0
            elif len(atoms):
                exact = atoms[np.searchsorted(0.5 * (atoms[1:] + atoms[:-1]), column)]
            if exact is not None:
                # As near as single precision is there.
                within = _ROUNDING * (self.scale[j] + np.abs(column - self.centre[j]))
                near = np.abs(exact - column) <= within
                X[..., j] = np.where(near, exact, column)
        return X

    def start_rows(self, X):
        features = np.empty(X.shape)
        # The maps take many times as much memory as their rows.
        for part in row_slices(len(X), _TEMPORARIES * self.n_features):
            x = torch.from_numpy((X[part] - self.centre) / self.scale)
            features[part] = self.exact_map.feature(x).numpy()
        return features

    def features(self, x):
        return (self.map.feature(x) - self.feature_units[0]) / self.feature_units[1]

    def law(self, outputs):
        """The distribution of the normal score of each column."""
        location, log_variance = outputs.chunk(2, dim=-1)
        variance = COLUMN_NOISE_FLOOR + log_variance.clamp(max=_LOG_VARIANCE_CEILING).exp()
        return Normal(location, variance.sqrt(), validate_args=False)

    def same_measure(self, other):
        # Values that repeat have probabilities, the others densities.
        same_atoms = np.array_equal(self.atom_values, other.atom_values, equal_nan=True)
        return same_atoms and np.array_equal(self.steps, other.steps)

    def at_noise_floor(self, outputs):
        log_variance = outputs.chunk(2, dim=-1)[1]
        return self._where_varied(outputs, log_variance.exp() <= COLUMN_NOISE_FLOOR)

    def log_prob(self, outputs, x):
        law = self.law(outputs)
        low, high, slope = (
            part.reshape(x.shape) for part in self.map.interval(x.reshape(-1, self.n_features))
        )
        width = high - low
        at_middle = law.log_prob(0.5 * (low + high))
        step = torch.where(self.map.step > 0, self.map.step, 1.0)
        # Of a value without a width, or far out without digits for it, by the slope of the map.
        narrow = at_middle + torch.where(width > 0, width, slope * step).log()
        log_prob = narrow
        wide = width > _NARROW * law.scale
        if wide.any():
            begin, end = ((edge - law.loc) / law.scale for edge in (low, high))
            # Phi(end) - Phi(begin), on the side where both have digits.
            turned = begin + end > 0
            begin, end = torch.where(turned, -end, begin), torch.where(turned, -begin, end)
            # Where the other way is taken, numbers that are finite in the gradient too.
            begin, end = torch.where(wide, begin, -1.0), torch.where(wide, end, 1.0)
            below = _log_ndtr(end)
            # Of an interval that is not narrow at most -0.008, but for rounding errors far out.
            ratio = (_log_ndtr(begin) - below).clamp(max=-1e-3)
            log_prob = torch.where(wide, below + torch.log(-torch.expm1(ratio)), narrow)
        # Over the step, in the units of X; of an atom it is a probability.
        atom = (width > 0) & (self.map.step == 0)
        return log_prob - torch.where(atom, 0.0, step.log() + self.log_scale(outputs))

    def _values(self, law):
        """Values in working units, their weights, and these as parts of all so far; one after the
        other, so that they take little memory."""
        total = 0.0
        for score, weight in zip(*_weighted_scores(), strict=True):
            total += weight
            yield self._at(law, score), weight, weight / total

    def _at(self, law, score):
        """The values of which the score is so many deviations from the law's location."""
        return self._by_columns(self.map.value, law.loc + score * law.scale)

    def _by_columns(self, function, x):
        """A function of rows (n, n_features) of a tensor of any other dimensions."""
        return function(x.reshape(-1, self.n_features)).reshape(x.shape)

    def mean(self, outputs):
        law = self.law(outputs)
        mean = torch.zeros_like(law.loc)
        for value, _, part in self._values(law):
            mean = mean.lerp(value, part)
        return mean

    def variance(self, outputs):
        return self.moments(outputs)[1]

    def moments(self, outputs):
        law = self.law(outputs)
        mean = variance = torch.zeros_like(law.loc)
        for value, weight, part in self._values(law):
            shift = value - mean
            variance = variance.addcmul(shift, shift, value=weight * (1 - part))
            mean = mean.lerp(value, part)
        return mean, variance

    def sample(self, outputs):
        return self._by_columns(self.map.value, self.law(outputs).sample())

    def expected(self, outputs, weights):
        n_draws = outputs.shape[1]
        if n_draws <= _FEW_DRAWS:
            return super().expected(outputs, weights)
        times = math.ceil(_LEAST_VALUES / n_draws)
        ends, total = weights.cumsum(1), 0.0
        draws = torch.arange(n_draws, device=outputs.device)
        # A value for each mark along the weights: many of a draw of much weight. Marks are evenly
        # spaced, and at parts of draws of the same weight that the golden ratio spreads.
        offsets = torch.frac((draws + 0.5) * _GOLDEN)
        for time in range(times):
            marks = (draws + (offsets + time) / times).to(weights) / n_draws * ends[:, -1:]
            draw = torch.searchsorted(ends, marks).clamp(max=n_draws - 1)
            left = (ends.gather(1, draw) - marks) / weights.gather(1, draw)
            score = torch.special.ndtri(1 - left.clamp(0, 1))[..., None]
            law = self.law(outputs.take_along_dim(draw[..., None], 1))
            total = total + self._at(law, score).mean(1)
        return total / times

    def feature_mean(self, outputs):
        """The mean of the features, with derivatives to the law's location m and scale s by Stein's
        identity, dE[f(m + s e)]/dm = E[e f(m + s e)]/s: those of f itself say nothing where values
        are rounded, or atoms.

        References
        ----------
        C. Stein, "Estimation of the Mean of a Multivariate Normal Distribution", Annals of
        Statistics 9, 1981, lemma 1.
        """
        law = self.law(outputs)
        parts = (torch.arange(_FEATURE_NODES, dtype=torch.float64) + 0.5) / _FEATURE_NODES
        nodes = torch.special.ndtri(parts)
        bends = nodes**2 - (nodes**2).mean()
        # Exact for lines and for parabolas.
        of_location, of_scale = nodes / (nodes**2).sum(), 2 * bends / (bends**2).sum()
        mean = by_location = by_scale = torch.zeros_like(law.loc)
        for node, for_location, for_scale in torch.stack([nodes, of_location, of_scale]).T.tolist():
            value = self._by_columns(self.map.feature, self._at(law, node)).detach()
            mean = mean + value / _FEATURE_NODES
            by_location = by_location + for_location * value
            by_scale = by_scale + for_scale * value
        # Moved by what is zero but to a derivative.
        location, scale = law.loc - law.loc.detach(), law.scale - law.scale.detach()
        return mean + (by_location * location + by_scale * scale) / law.scale.detach()

    def decoder_start(self, start):
        # Of columns whose rows share values the scores vary by less than one: loadings are those of
        # correlations, and the noise is what they leave.
        loadings = start.gain * start.loadings / self.feature_scale[:, None]
        noise = np.maximum(1 - (loadings**2).sum(axis=1), _LEAST_START_NOISE)
        weight = np.vstack([loadings, np.zeros_like(loadings)])
        return weight, np.concatenate([start.mean - self._standard_mean, np.log(noise)])

    def least_noise(self):
        return _START_FLOOR * self.feature_scale**2


def _weighted_scores():
    """Values of N(0, 1), and weights of a mean over it. Quantiles of a Cauchy law are as close in
    the middle as its own, where atoms and gaps need it, and reach the tails, where the greatest
    values of a skewed column have a large part in its variance."""
    parts = (np.arange(_NODES) + 0.5) / _NODES
    scores = np.tan(np.pi * (parts - 0.5))
    scores = scores[np.abs(scores) < _MOST_EXTREME_NODE]
    # The ratio of the densities.
    weights = np.exp(-0.5 * scores**2) * (1 + scores**2)
    return scores.tolist(), (weights / weights.sum()).tolist()


def _log_ndtr(x):
    """log Phi(x); torch's own has no digits left in its gradient below -100."""
    below, above = x.clamp(max=0.0), x.clamp(min=0.0)
    tail = torch.log(0.5 * torch.special.erfcx(-below * math.sqrt(0.5))) - 0.5 * below**2
    return torch.where(x < 0, tail, torch.special.ndtr(above).log())
