"""Likelihood: what every law p(x|z) is asked for.

Rows reach a likelihood in *working units*, (x - centre) / scale, computed in float64 before any
cast: float32 cannot centre columns whose scales differ by 1e6. Log-probabilities are always those
of X in its own units; the constant log scale is taken off here and nowhere else.
"""

import numpy as np
import torch
from torch import nn

# Least noise variance of one column, relative to that column's variance: a column that is
# reconstructed perfectly gains at most log(1000) = 6.9 nats over one that is not modelled at all.
COLUMN_NOISE_FLOOR = 1e-6
# Least noise variance of the PCA that laws without a closed form start from, relative to the noise
# that the law itself has: with none left over its posterior would be a point, which no binary
# column, count or code allows.
LAW_NOISE_FLOOR = 0.2


class Likelihood(nn.Module):
    """Abstract: the law of a row of `n_features` columns, given `n_outputs` decoder outputs.

    A likelihood sets the class attributes below and implements `law`, `decoder_start` and, where
    the law itself does not have them, `mean`, `variance` and `sample`; one whose columns do not
    live on the real line also implements `set_units` and `check_support`. One whose columns enter
    the networks and the linear start as something else (logarithms, one-hot codes) sets
    `features_are_columns = False` and implements `start_rows`, `features` and `feature_mean`.

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
    start_fades : bool
        Whether the affine path is to fade in training where a network can take over: where columns
        have few values or are bounded, a line is a first guess that holds back. (Of others it says
        how they go on beyond the training rows, where the networks saturate.)
    searched_noise : bool
        Whether a second scalar, a factor on PCA's noise variance, is searched beside that one: the
        variance that PCA leaves over is not the noise of every law.
    shared_noise : bool
        Whether one noise variance, in the units of X, serves all columns.
    features_are_columns : bool
        Whether the features are the columns of X themselves, up to centre and scale.
    has_moments : bool
        Whether the columns are numbers, of which a mean and a variance say something.
    any_number : bool
        Whether every number is in the support, so that rows have latents whatever they are.
    needs_whole_rows : bool
        Whether cells of a row play a part in the law of others, so that none may be missing.
    outputs_per_feature : int
        Decoder outputs for each column.
    n_inputs : int
        Number of features: what the encoder and the linear start see of a row.
    centre, scale : ndarray of shape (n_features,)
        Working units are (x - centre) / scale. float64 whatever the dtype of the module.
    feature_centre, feature_scale : ndarray of shape (n_inputs,)
        `features` is (start_rows - feature_centre) / feature_scale.
    placeholder : tensor of shape (n_features,)
        What stands for missing cells, in working units: some value that the law allows.
    """

    measure = "density"
    linear_model = "pca"
    exact_start = True
    start_fades = False
    searched_noise = False
    shared_noise = False
    features_are_columns = True
    has_moments = True
    any_number = False
    needs_whole_rows = False
    outputs_per_feature = 1
    # Arrays that `get_extra_state` carries.
    _units: tuple[str, ...] = ("centre", "scale", "feature_centre", "feature_scale")

    def __init__(self, n_features):
        super().__init__()
        self.n_features = n_features
        self.centre = np.zeros(n_features)
        self.scale = np.ones(n_features)
        self.feature_centre = np.zeros(n_features)
        self.feature_scale = np.ones(n_features)
        self._log_scale = torch.zeros(n_features)

    @property
    def n_inputs(self):
        return self.n_features

    @property
    def n_outputs(self):
        return self.outputs_per_feature * self.n_features

    def get_extra_state(self):
        # Tensors: a file of weights may hold nothing else (`torch.load(weights_only=True)`).
        return {name: torch.as_tensor(getattr(self, name)) for name in self._units}

    def set_extra_state(self, state):
        for name, value in state.items():
            array = value.cpu().numpy().copy()
            setattr(self, name, array if array.ndim else array.item())
        self._log_scale = torch.as_tensor(np.log(self.scale))
        self._fill_buffers()

    def _fill_buffers(self):
        """Copy the units, float64 arrays, into the buffers that stand for them."""

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        # A cast to float64 and one to float32 before it leave the buffers exact.
        self._fill_buffers()
        return self

    @property
    def placeholder(self):
        return torch.zeros(self.n_features)

    def feature_mask(self, mask):
        """Which features come of observed cells, (n, n_inputs), from which cells are (n,
        n_features)."""
        return mask

    def check_support(self, X, name_column, first_row=0):
        """Raise a ValueError that names value, row and column where X leaves the support. Missing
        cells, NaN, are in it.

        X is a chunk of rows in float64, the first of which is row `first_row` of the whole.
        """

    def check_stream(self, X, name_column):
        """Raise a ValueError where rows X of a stream (float64) are such that the units, which are
        those of its first rows, cannot serve them."""

    def learn_support(self, X):
        """Take in a chunk of the rows (float64) of a first fit, before there are networks: what
        decides `n_inputs`, `n_outputs` and the support."""

    def learn_categories(self, n_categories):
        """Take in how many categories each column has, (n_features,), whether rows of a fit have
        them or not; 0 for numbers. Nothing here."""

    def set_units(self, X):
        """Learn the working units from the training rows X (float64), before the linear start.

        Of very many rows X is a random part, or, where the features are the columns themselves,
        fewer rows of the same mean and covariance.
        """

    def in_units_of_rows(self, x):
        """X from rows in working units (..., n_features), an array; float64."""
        return np.asarray(x, dtype=np.float64) * self.scale + self.centre

    def start_rows(self, X):
        """The features of rows X in the units that the linear start is fitted in: an array
        (n, n_inputs) from X in its own units, both float64."""
        return X

    def features(self, x):
        """What the encoder sees of the working-unit rows x, centred, shape (n, n_inputs)."""
        return x

    def log_scale(self, like):
        """log scale, shape (n_features,), in the dtype and on the device of `like`."""
        kept = self._log_scale
        if kept.dtype != like.dtype or kept.device != like.device:
            # A tensor made in inference mode could take no part in training.
            with torch.inference_mode(False):
                kept = torch.as_tensor(np.log(self.scale), dtype=like.dtype, device=like.device)
            self._log_scale = kept
        return kept

    def law(self, outputs):
        """The distribution of each column in working units; outputs is (..., n_outputs)."""
        raise NotImplementedError

    def log_prob(self, outputs, x):
        """log p(x|z) of each column in nats, for X in its own units, shape of x broadcast; with
        one column where the law does not factorize over the columns of X."""
        return self.law(outputs).log_prob(x)

    def mean(self, outputs):
        """E[x|z] in working units, shape (..., n_features)."""
        return self.law(outputs).mean

    def variance(self, outputs):
        """Var[x|z] in working units, shape (..., n_features)."""
        return self.law(outputs).variance

    def expected(self, outputs, weights):
        """The mean of `mean(outputs)` (n, S, n_features) by weights (n, S) that sum to 1: E[x] over
        latents of which the draws are weighted, shape (n, n_features)."""
        return torch.einsum("ns,nsd->nd", weights, self.mean(outputs))

    def moments(self, outputs):
        """E[x|z] and Var[x|z]; where the law is given the row's total, of totals that are drawn as
        `sample` draws them."""
        return self.mean(outputs), self.variance(outputs)

    def sample(self, outputs):
        """A draw from p(x|z) in working units, shape (..., n_features)."""
        return self.law(outputs).sample()

    def feature_mean(self, outputs):
        """The features of E[x|z], shape (..., n_inputs): in working units where they are the
        columns themselves, else in the units of `start_rows`."""
        return self.mean(outputs)

    def feature_columns(self):
        """Of each feature the column of X that it is of, and the code of that column that it stands
        for, or -1 where it stands for the column itself: two int arrays (n_inputs,)."""
        return np.arange(self.n_features), np.full(self.n_features, -1)

    def frequencies(self):
        """Of each feature that stands for a code the part of the rows of the fit that had it; 0 of
        the others: (n_inputs,)."""
        return np.zeros(self.n_inputs)

    def probabilities(self, outputs):
        """Of each feature that stands for a code the probability of that code, shape (..., number
        of these); none here."""
        return outputs[..., :0]

    def feature_mean_units(self):
        """Centre and scale, such that feature_mean * scale + centre is in units of `start_rows`."""
        return (self.centre, self.scale) if self.features_are_columns else (0.0, 1.0)

    def decoder_start(self, start):
        """Weight (n_outputs, k) and bias (n_outputs,) of the decoder's affine path.

        Also sets the law's own parameters. `start` is a `skvae.linear_start.LinearStart` in the
        units of `start_rows`.
        """
        raise NotImplementedError

    def same_measure(self, other):
        """Whether log-probabilities are those of the same measure as under another fit of this law,
        so that they may be compared."""
        return True

    def at_noise_floor(self, outputs):
        """Whether the noise of each column is about the least that the law has, (..., n_features):
        its variance at most twice that. Of no column of laws without such a floor."""
        shape = *outputs.shape[:-1], self.n_features
        return torch.zeros(shape, dtype=torch.bool, device=outputs.device)

    def least_noise(self):
        """The least noise variance that a linear start can have, in squared units of
        `start_rows`."""
        return COLUMN_NOISE_FLOOR * float(np.mean(self.feature_scale**2))


def fill(tensor, values):
    """Copy an array into a parameter or a buffer, whatever its dtype and device."""
    with torch.no_grad():
        tensor.copy_(torch.as_tensor(values))


def refuse(outside, X, needed, name_column, first_row, advice):
    """Raise a ValueError that names the first value of X that is `outside`, if there is one."""
    outside = outside & ~np.isnan(X)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise ValueError(
            f"{needed}, found {X[row, column]:g} at row {first_row + row}, column "
            f"{name_column(column)} ({outside.sum()} such values in rows {first_row} to "
            f"{first_row + len(X) - 1}). {advice}"
        )
