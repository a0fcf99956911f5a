"""Laws of integer-coded columns without an order."""

import numpy as np
import torch
import torch.nn.functional as F
from torch.distributions import Categorical as CategoricalLaw

from ..moments import row_slices
from .likelihood import LAW_NOISE_FLOOR, Likelihood, fill, refuse

# Codes of a column are below this: an array has a place for each.
MOST_CODES = 10_000


class Categorical(Likelihood):
    """p(x_j = c|z) = softmax(logits_j(z))_c: integer codes 0, 1, ..., one law a column; a mass.

    A column has a decoder output for each code that rows of the fit have, or that `n_codes` says
    there are; other codes have probability zero, and rows with such a code are refused. The
    features are the one-hot columns of these codes, centred, so that n_inputs = n_outputs is the
    number of codes of all columns.

    It starts from PCA of the features: its posterior, at a noise that is searched, for the encoder,
    the log frequencies of the codes (half a row added to each) as bias, and its loadings times one
    scalar.

    Codes are no numbers, so that E[x|z] says nothing: `mean` is the most probable code of each
    column, and `variance` is that of its one-hot columns in all, 1 - sum_c p_c^2. There is no
    covariance of codes.

    Parameters
    ----------
    n_features : int
    n_codes : int or sequence of int, optional
        How many codes, from 0 on, each column has, whether rows of the fit have them or not: what a
        cross-validation needs whose folds lack one.

    References
    ----------
    C. M. Bishop, "Pattern Recognition and Machine Learning", 2006, section 4.3.4.
    """

    measure = "mass"
    exact_start = False
    start_fades = True
    searched_noise = True
    features_are_columns = False
    has_moments = False
    _units = (*Likelihood._units, "seen", "_frequency")

    def __init__(self, n_features, n_codes=None):
        super().__init__(n_features)
        self._frequency = None
        n_codes = np.zeros(1, int) if n_codes is None else np.asarray(n_codes)
        numbers = n_codes.dtype.kind in "iu" and n_codes.shape in ((), (1,), (n_features,))
        if not numbers or n_codes.min() < 0 or n_codes.max() > MOST_CODES:
            raise ValueError(
                f"n_codes must be an int, or one for each of the {n_features} columns, from 0 to "
                f"{MOST_CODES}; got {n_codes.tolist()}."
            )
        n_codes = np.broadcast_to(n_codes, n_features)
        self.seen = np.arange(max(1, n_codes.max())) < n_codes[:, None]
        self._lay_out()

    def _lay_out(self):
        """Give every code of every column its rank in the column, and every rank its place among
        the outputs. The rank of a code that a column has not is one beyond its last."""
        sizes = self.seen.sum(axis=1)
        width = int(sizes.max(initial=0)) + 1
        ranks = np.where(self.seen, np.cumsum(self.seen, axis=1) - 1, width - 1)
        # One more code, for all beyond.
        ranks = np.pad(ranks, ((0, 0), (0, 1)), constant_values=width - 1)
        has = np.arange(width) < sizes[:, None]
        codes = np.zeros(has.shape)
        codes[has] = np.nonzero(self.seen)[1]
        n_cells = int(sizes.sum())
        places = np.full(has.shape, n_cells)
        places[has] = np.arange(n_cells)
        self._ranks, self._places, device = ranks, places, self.device
        layout = {"ranks": ranks, "places": places, "codes": codes, "absent": ~has}
        layout |= {"cells": np.flatnonzero(has), "offset": np.zeros(n_cells)}
        # Columns with as many codes stand together where their logits are summed.
        by_size = np.argsort(sizes, kind="stable")
        layout["cells_by_size"] = np.argsort(np.repeat(np.argsort(by_size), sizes), kind="stable")
        layout["rank_by_size"] = np.argsort(by_size)
        self._groups = list(zip(*np.unique(sizes, return_counts=True), strict=True))
        for name, array in layout.items():
            tensor = torch.as_tensor(array, device=device)
            tensor = tensor.float() if tensor.is_floating_point() else tensor
            self.register_buffer(name, tensor, persistent=False)
        self.feature_centre, self.feature_scale = np.zeros(n_cells), np.ones(n_cells)

    @property
    def device(self):
        return self.offset.device if hasattr(self, "offset") else torch.device("cpu")

    def _fill_buffers(self):
        fill(self.offset, self.feature_centre)

    @property
    def n_inputs(self):
        return len(self.feature_centre)

    @property
    def n_outputs(self):
        return self.n_inputs

    def set_extra_state(self, state):
        seen = state["seen"].cpu().numpy()
        if not np.array_equal(self.seen, seen):
            dtype = self.offset.dtype
            self.seen = seen.copy()
            self._lay_out()
            self.to(dtype)
        super().set_extra_state(state)

    def check_support(self, X, name_column, first_row=0):
        needed = f"likelihood='categorical' needs columns of integer codes below {MOST_CODES}"
        advice = "Code X from 0 on by sklearn.preprocessing.OrdinalEncoder."
        outside = ~((X >= 0) & (X < MOST_CODES) & (np.floor(X) == X))
        refuse(outside, X, needed, name_column, first_row, advice)
        if self._frequency is None:
            return
        known = self._places_of(X) < self.n_inputs
        needed = "likelihood='categorical' needs codes that the rows of the fit had"
        advice = (
            "Code rare values as one, as OrdinalEncoder(min_frequency=...) does, or give all codes "
            "a place: likelihood=functools.partial(skvae.likelihoods.Categorical, n_codes=...)."
        )
        refuse(~known, X, needed, name_column, first_row, advice)

    @property
    def placeholder(self):
        # The first code of each column.
        return self.codes[:, 0]

    def feature_mask(self, mask):
        sizes = torch.as_tensor(self.seen.sum(axis=1), device=mask.device)
        return mask.repeat_interleave(sizes, dim=1)

    def learn_support(self, X):
        observed = ~np.isnan(X)
        self._learn_codes(np.nonzero(observed)[1], X[observed].astype(np.int64))

    def learn_categories(self, n_categories):
        columns = np.repeat(np.arange(self.n_features), n_categories)
        self._learn_codes(columns, np.concatenate([np.arange(n) for n in n_categories]))

    def _learn_codes(self, columns, codes):
        more = max(0, int(codes.max(initial=0)) + 1 - self.seen.shape[1])
        seen = np.pad(self.seen, ((0, 0), (0, more)))
        seen[columns, codes] = True
        if more or not np.array_equal(seen, self.seen):
            self.seen = seen
            self._lay_out()

    def set_units(self, X):
        if not self.n_inputs:
            self.learn_support(X)
        counts = np.zeros(self.n_inputs + 1)
        # Places of codes are made by way of a few arrays as large as the rows.
        for part in row_slices(len(X), 4 * self.n_features):
            counts += np.bincount(self._places_of(X[part]).ravel(), minlength=len(counts))
        counts = counts[:-1]
        self.feature_centre = counts / len(X)
        codes_of_column = np.repeat(self.seen.sum(axis=1), self.seen.sum(axis=1))
        self._frequency = (counts + 0.5) / (len(X) + 0.5 * codes_of_column)
        self._fill_buffers()

    def _places_of(self, X):
        """The place of each code of rows X (float64); `n_inputs` for one that a column has not."""
        columns = np.arange(self.n_features)
        beyond = self._ranks.shape[1] - 1
        codes = np.clip(np.nan_to_num(X, nan=beyond), 0, beyond).astype(np.int64)
        return self._places[columns, self._ranks[columns, codes]]

    def start_rows(self, X):
        rows = np.zeros((len(X), self.n_inputs + 1))
        np.put_along_axis(rows, self._places_of(X), 1.0, axis=1)
        return rows[:, :-1]

    def _ranks_of(self, x):
        """The rank of each code of rows x."""
        columns = torch.arange(self.n_features, device=x.device)
        return self.ranks[columns, x.clamp(0, self.ranks.shape[1] - 1).long()]

    def features(self, x):
        places = self.places[torch.arange(self.n_features, device=x.device), self._ranks_of(x)]
        rows = torch.zeros(len(x), self.n_inputs + 1, dtype=x.dtype, device=x.device)
        return rows.scatter_(1, places, 1.0)[:, :-1] - self.offset

    def law(self, outputs):
        """The distribution of the rank of each column's code."""
        width = self.places.shape[1] - 1
        if self.n_inputs == self.n_features * width:
            # As many codes in each column: nothing to look up.
            logits = F.pad(outputs.unflatten(-1, (-1, width)), (0, 1), value=-torch.inf)
        else:
            places = self.places.clamp(max=self.n_inputs - 1)
            logits = outputs[..., places].masked_fill(self.absent, -torch.inf)
        return CategoricalLaw(logits=logits, validate_args=False)

    def log_prob(self, outputs, x):
        # Not by the law, whose columns all have as many logits as the widest.
        places = self.places[torch.arange(self.n_features, device=x.device), self._ranks_of(x)]
        known = places < self.n_inputs
        places = places.clamp(max=self.n_inputs - 1).expand(*outputs.shape[:-1], -1)
        logits = torch.where(known, outputs.gather(-1, places), -torch.inf)
        return logits - self._log_totals(outputs)

    def _log_totals(self, outputs):
        """log sum_c exp(logit_c) of each column."""
        if len(self._groups) == 1:
            return outputs.unflatten(-1, (self.n_features, -1)).logsumexp(-1)
        pieces = outputs.index_select(-1, self.cells_by_size).split(
            [int(size * count) for size, count in self._groups], -1
        )
        totals = [
            piece.unflatten(-1, (int(count), int(size))).logsumexp(-1)
            for piece, (size, count) in zip(pieces, self._groups, strict=True)
        ]
        return torch.cat(totals, -1).index_select(-1, self.rank_by_size)

    def _codes_of(self, ranks):
        columns = torch.arange(self.n_features, device=ranks.device)
        return self.codes[columns, ranks]

    def mean(self, outputs):
        return self._codes_of(self.law(outputs).logits.argmax(-1)).to(outputs.dtype)

    def expected(self, outputs, weights):
        """The code of each column that is the most probable over all draws."""
        probs = torch.einsum("ns,nsdc->ndc", weights, self.law(outputs).probs)
        return self._codes_of(probs.argmax(-1)).to(outputs.dtype)

    def variance(self, outputs):
        return 1 - self.law(outputs).probs.square().sum(-1)

    def sample(self, outputs):
        return self._codes_of(self.law(outputs).sample()).to(outputs.dtype)

    def feature_mean(self, outputs):
        return self.law(outputs).probs.flatten(-2)[..., self.cells]

    def feature_columns(self):
        return np.nonzero(self.seen)

    def frequencies(self):
        return self.feature_centre

    def probabilities(self, outputs):
        return self.feature_mean(outputs)

    def least_noise(self):
        noise = float(np.mean(self._frequency * (1 - self._frequency)))
        # With a single code in each column there is none.
        return LAW_NOISE_FLOOR * (noise or 1.0)

    def decoder_start(self, start):
        return start.gain * start.loadings, np.log(self._frequency)
