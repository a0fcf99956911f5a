"""Likelihoods p(x|z): each a law over the columns of X, made from the outputs of the decoder."""

import numpy as np

from .categories import MOST_CODES, Categorical
from .counts import (
    Multinomial,
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
    is_count,
)
from .likelihood import COLUMN_NOISE_FLOOR, LAW_NOISE_FLOOR, Likelihood
from .mixed import Mixed
from .quantile import QuantileGaussian
from .real import (
    SHARED_NOISE_FLOOR,
    WIDEST_NOISE_FLOOR,
    DiagonalGaussian,
    Gaussian,
    HeteroscedasticGaussian,
    Laplace,
    LogNormal,
    StudentT,
)
from .unit import LOGIT_LIMIT, Bernoulli, ContinuousBernoulli

__all__ = [
    "COLUMN_NOISE_FLOOR",
    "LAW_NOISE_FLOOR",
    "LIKELIHOODS",
    "LOGIT_LIMIT",
    "MOST_CODES",
    "SHARED_NOISE_FLOOR",
    "WIDEST_NOISE_FLOOR",
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiagonalGaussian",
    "Gaussian",
    "HeteroscedasticGaussian",
    "Laplace",
    "Likelihood",
    "LogNormal",
    "Mixed",
    "Multinomial",
    "NegativeBinomial",
    "Poisson",
    "QuantileGaussian",
    "StudentT",
    "ZeroInflatedNegativeBinomial",
    "suited_likelihood",
]


def suited_likelihood(chunks):
    """The name of the law that `likelihood="auto"` stands for on rows, given a chunk at a time.

    Only laws that ordinary new rows cannot leave: "bernoulli" where all values are 0 or 1,
    "negative_binomial" where all are counts (integers from 0 on), else "gaussian".
    """
    found = "bernoulli"
    for X in chunks:
        X = X[~np.isnan(X)]
        if found == "bernoulli" and not ((X == 0) | (X == 1)).all():
            found = "negative_binomial"
        if found == "negative_binomial" and not is_count(X).all():
            return "gaussian"
    return found


LIKELIHOODS = {
    "gaussian": Gaussian,
    "diagonal_gaussian": DiagonalGaussian,
    "heteroscedastic_gaussian": HeteroscedasticGaussian,
    "student_t": StudentT,
    "laplace": Laplace,
    "lognormal": LogNormal,
    "quantile_gaussian": QuantileGaussian,
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
    "zero_inflated_negative_binomial": ZeroInflatedNegativeBinomial,
    "multinomial": Multinomial,
    "categorical": Categorical,
}
