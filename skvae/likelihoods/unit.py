"""Laws of columns between 0 and 1: binary, and grey."""

import numpy as np
import torch
from torch.distributions import Bernoulli as BernoulliLaw
from torch.distributions import ContinuousBernoulli as ContinuousBernoulliLaw

from .likelihood import LAW_NOISE_FLOOR, Likelihood, fill, refuse

# Logits of ContinuousBernoulli stay within this, its parameter within 1e-4 and 1 - 1e-4.
LOGIT_LIMIT = float(np.log(1e4))
# Within these its normalizer is a Taylor series. torch's own limits, a twentieth of these, leave
# the mean in float32 with two digits beside them.
_TAYLOR = 0.48, 0.52


class _UnitColumns(Likelihood):
    """Abstract: columns of [0, 1], whose features are centred and not scaled."""

    exact_start = False
    start_fades = True

    def __init__(self, n_features):
        super().__init__(n_features)
        self.register_buffer("offset", torch.zeros(n_features))

    def set_units(self, X):
        self.feature_centre = X.mean(axis=0)
        # One pseudo-row of a half keeps the logit of a constant column finite.
        self._mean = (X.sum(axis=0) + 0.5) / (len(X) + 1)
        fill(self.offset, self.feature_centre)

    _units = (*Likelihood._units, "_mean")

    def features(self, x):
        return x - self.offset


class Bernoulli(_UnitColumns):
    """p(x_j = 1|z) = sigmoid(logit_j(z)): rows of zeros and ones; a mass.

    It starts from PCA: PCA's posterior for the encoder, the logit of the column means as bias, and
    PCA's loadings times one scalar.
    """

    measure = "mass"

    def check_support(self, X, name_column, first_row=0):
        advice = (
            "Binarize X (sklearn.preprocessing.Binarizer). With values between 0 and 1 "
            "batch_transform=torch.bernoulli draws binary rows anew for every batch of the fit; "
            "rows that are scored have to be binary all the same, drawn once."
        )
        needed = "likelihood='bernoulli' needs columns of 0 and 1"
        refuse(~((X == 0) | (X == 1)), X, needed, name_column, first_row, advice)

    def law(self, outputs):
        return BernoulliLaw(logits=outputs, validate_args=False)

    def least_noise(self):
        return LAW_NOISE_FLOOR * float(np.mean(self._mean * (1 - self._mean)))

    def decoder_start(self, start):
        return start.gain * start.loadings, np.log(self._mean / (1 - self._mean))


class ContinuousBernoulli(_UnitColumns):
    """p(x_j|z) = C(l) l^x (1 - l)^(1 - x) on [0, 1], l = sigmoid(t_j(z)): grey images; a density.

    C(l) = 2 artanh(1 - 2l) / (1 - 2l) makes it integrate to 1. The logit is the decoder's output
    o, bent to stay within c = `LOGIT_LIMIT`: t = c tanh(o / c), so that the density of no value
    exceeds 9.2, 2.2 nats a column, however many values are exactly 0 or 1. `mean` is
    l / (2l - 1) + 1 / (2 artanh(1 - 2l)), not l.

    It starts from PCA: its posterior, at a noise that is searched, for the encoder, the logits that
    give the column means as bias, and its loadings times one scalar.

    References
    ----------
    G. Loaiza-Ganem, J. P. Cunningham, "The continuous Bernoulli: fixing a pervasive error in
    variational autoencoders", NeurIPS 2019, equations 5 to 8.
    """

    searched_noise = True

    def check_support(self, X, name_column, first_row=0):
        needed = "likelihood='continuous_bernoulli' needs columns between 0 and 1"
        advice = "Divide X by its greatest possible value (255 for pixels)."
        refuse(~((X >= 0) & (X <= 1)), X, needed, name_column, first_row, advice)

    def law(self, outputs):
        logits = LOGIT_LIMIT * torch.tanh(outputs / LOGIT_LIMIT)
        return ContinuousBernoulliLaw(logits=logits, lims=_TAYLOR, validate_args=False)

    def _bias(self):
        """Outputs that give the column means, by bisection."""
        low = np.full(self.n_features, -4 * LOGIT_LIMIT)
        high = -low
        for _ in range(60):
            middle = (low + high) / 2
            below = self.mean(torch.as_tensor(middle)).numpy() < self._mean
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2

    def least_noise(self):
        return LAW_NOISE_FLOOR * float(self.variance(torch.as_tensor(self._bias())).mean())

    def decoder_start(self, start):
        return start.gain * start.loadings, self._bias()
