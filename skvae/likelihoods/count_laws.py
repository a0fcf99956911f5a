"""Distributions of counts, beside those of torch."""

import torch
import torch.nn.functional as F
from torch.distributions import Distribution, NegativeBinomial


class StableNegativeBinomial(NegativeBinomial):
    """torch's, with log-probabilities that single precision hardly changes.

    Near Poisson's law the logarithms of Gamma(r + x) and Gamma(r) are large, 82,000 at r = 1e4, and
    in float32 their difference is off by some thousandths of a nat, by much the same wherever r
    is the same: over the columns of a row that adds up.
    """

    def log_prob(self, value):
        r, logits = self.total_count, self.logits
        arrangements = _log_rising(r, value) - torch.lgamma(value + 1)
        return arrangements + value * F.logsigmoid(logits) + r * F.logsigmoid(-logits)


def _log_rising(r, x):
    """log Gamma(r + x) / Gamma(r), to 3e-10, or what the precision allows.

    By Stirling's series at r + 8, in which the large terms cancel by hand, less the logarithm of
    what the eight factors that lead from r + x to there are times those from r.

    References
    ----------
    NIST Digital Library of Mathematical Functions, equations 5.5.1 and 5.11.1.
    """
    y = r + x
    # y (y + 1) ... (y + 7), by pairs: half of it at a time stays within single precision.
    of_y, of_r = y * (y + 7), r * (r + 7)
    near = torch.log(of_y * (of_y + 6) * (1 / (of_r * (of_r + 6))))
    near = near + torch.log((of_y + 10) * (of_y + 12) * (1 / ((of_r + 10) * (of_r + 12))))

    def series(v):
        inverse = 1 / v
        square = inverse * inverse
        return inverse * (1 / 12 - square * (1 / 360 - square / 1260))

    far = (y + 7.5) * torch.log1p(x / (r + 8)) + x * (torch.log(r + 8) - 1)
    return far + series(y + 8) - series(r + 8) - near


class ZeroInflated(Distribution):
    """Zero with the probability sigmoid(logits), else a draw of `counts`.

    Parameters
    ----------
    counts : torch.distributions.Distribution
        Of non-negative integers.
    logits : tensor of the batch shape
    """

    has_rsample = False

    def __init__(self, counts, logits):
        self.counts, self.logits = counts, logits
        super().__init__(counts.batch_shape, validate_args=False)

    def log_prob(self, value):
        of_counts = F.logsigmoid(-self.logits) + self.counts.log_prob(value)
        of_zero = torch.logaddexp(F.logsigmoid(self.logits), of_counts)
        return torch.where(value == 0, of_zero, of_counts)

    @property
    def mean(self):
        return torch.sigmoid(-self.logits) * self.counts.mean

    @property
    def variance(self):
        inflation = torch.sigmoid(self.logits)
        spread = self.counts.variance + inflation * self.counts.mean**2
        return (1 - inflation) * spread

    @torch.no_grad()
    def sample(self, sample_shape=()):
        draws = self.counts.sample(sample_shape)
        return draws * torch.bernoulli(torch.sigmoid(-self.logits).expand_as(draws))
