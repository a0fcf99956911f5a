"""Laws of integer-coded columns without an order."""

import numpy as np
import torch
from torch.distributions import Categorical as CategoricalLaw

from .likelihood import LAW_NOISE_FLOOR, Likelihood, fill, refuse

# Codes of a column are below this: an array has a place for each.
MOST_CODES = 10_000


class Categorical(Likelihood):
    """p(x_j = c|z) = softmax(logits_j(z))_c: integer codes 0, 1, ..., one law a column; a mass.

    A column has a decoder output for each code that rows of the fit have; other codes have
    probability zero, and rows with such a code are refused. The features are the one-hot columns
    of these codes, centred, so that n_inputs = n_outputs is the number of codes of all columns.

    It starts from PCA of the features: its posterior, at a noise that is searched, for the encoder,
    the log frequencies of the codes (half a row added to each) as bias, and its loadings times one
    scalar.

    Codes are no numbers, so that E[x|z] says nothing: `mean` is the most probable code of each
    column, and `variance` is that of its one-hot columns in all, 1 - sum_c p_c^2. There is no
    covariance of codes.

    References
    ----------
    C. M. Bishop, "Pattern Recognition and Machine Learning", 2006, section 4.3.4.
    """

    measure = "mass"
    exact_start = False
    searched_noise = True
    features_are_columns = False
    has_moments = False
    _units = (*Likelihood._units, "seen", "_frequency")

    def __init__(self, n_features):
        super().__init__(n_features)
        self._frequency = None
        self.seen = np.zeros((n_features, 1), dtype=bool)
        self._lay_out()

    def _lay_out(self):
        """Give every code of every column its place among the outputs: arrays (d, codes)."""
        places = np.where(self.seen, np.cumsum(self.seen).reshape(self.seen.shape) - 1, 0)
        self._places = places
        device = self.places.device if hasattr(self, "places") else None
        self.register_buffer("places", torch.as_tensor(places, device=device), persistent=False)
        unseen, cells = torch.as_tensor(~self.seen), torch.as_tensor(np.flatnonzero(self.seen))
        self.register_buffer("unseen", unseen.to(self.places.device), persistent=False)
        self.register_buffer("cells", cells.to(self.places.device), persistent=False)
        offset = torch.zeros(len(cells), dtype=torch.float32, device=self.places.device)
        self.register_buffer("offset", offset, persistent=False)
        self.feature_centre, self.feature_scale = np.zeros(len(cells)), np.ones(len(cells))

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
            self.offset = self.offset.to(dtype)
        super().set_extra_state(state)

    def check_support(self, X, name_column, first_row=0):
        needed = f"likelihood='categorical' needs columns of integer codes below {MOST_CODES}"
        advice = "Code X from 0 on by sklearn.preprocessing.OrdinalEncoder."
        outside = ~((X >= 0) & (X < MOST_CODES) & (np.floor(X) == X))
        refuse(outside, X, needed, name_column, first_row, advice)
        if self._frequency is None:
            return
        codes = X.astype(np.int64)
        known = codes < self.seen.shape[1]
        known &= self.seen[np.arange(self.n_features), np.where(known, codes, 0)]
        needed = "likelihood='categorical' needs codes that the rows of the fit had"
        advice = "Code rare values as one, as OrdinalEncoder(min_frequency=...) does."
        refuse(~known, X, needed, name_column, first_row, advice)

    def learn_support(self, X):
        codes = X.astype(np.int64)
        more = max(0, int(codes.max()) + 1 - self.seen.shape[1])
        seen = np.pad(self.seen, ((0, 0), (0, more)))
        seen[np.broadcast_to(np.arange(self.n_features), codes.shape), codes] = True
        if more or not np.array_equal(seen, self.seen):
            self.seen = seen
            self._lay_out()

    def set_units(self, X):
        if not self.n_inputs:
            self.learn_support(X)
        counts = self.start_rows(X).sum(axis=0)
        self.feature_centre = counts / len(X)
        codes_of_column = np.repeat(self.seen.sum(axis=1), self.seen.sum(axis=1))
        self._frequency = (counts + 0.5) / (len(X) + 0.5 * codes_of_column)
        self._fill_buffers()

    def start_rows(self, X):
        places = self._places[np.arange(self.n_features), X.astype(np.int64)]
        rows = np.zeros((len(X), self.n_inputs))
        np.put_along_axis(rows, places, 1.0, axis=1)
        return rows

    def features(self, x):
        places = self.places[torch.arange(self.n_features, device=x.device), x.long()]
        rows = torch.zeros(len(x), self.n_inputs, dtype=x.dtype, device=x.device)
        return rows.scatter_(1, places, 1.0) - self.offset

    def law(self, outputs):
        if self.n_inputs == self.unseen.numel():
            logits = outputs.unflatten(-1, self.unseen.shape)
        else:
            logits = outputs[..., self.places].masked_fill(self.unseen, -torch.inf)
        return CategoricalLaw(logits=logits, validate_args=False)

    def mean(self, outputs):
        return self.law(outputs).logits.argmax(-1).to(outputs.dtype)

    def variance(self, outputs):
        return 1 - self.law(outputs).probs.square().sum(-1)

    def sample(self, outputs):
        return self.law(outputs).sample().to(outputs.dtype)

    def feature_mean(self, outputs):
        return self.law(outputs).probs.flatten(-2)[..., self.cells]

    def least_noise(self):
        return LAW_NOISE_FLOOR * float(np.mean(self._frequency * (1 - self._frequency)))

    def decoder_start(self, start):
        return start.gain * start.loadings, np.log(self._frequency)
