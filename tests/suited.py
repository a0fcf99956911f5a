"""Rows that suit each likelihood: drawn from two latents, through a curve, by the law itself."""

import numpy as np


def suited_rows(name, n=400, d=8, seed=0):
    """Rows (n, d), float64, in the support of the likelihood of that name."""
    random = np.random.RandomState(seed)
    z = random.normal(size=(n, 2))
    bent = np.column_stack([z, z[:, 0] ** 2 - 1, np.sin(2 * z[:, 1])])
    # The loadings are those of every seed.
    loadings = np.random.RandomState(7).normal(size=(4, d)) / 2
    return _DRAWS[name](random, bent @ loadings, np.random.RandomState(8).uniform(-1, 2, size=d))


def _softmax(h):
    e = np.exp(h - h.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _real(noise):
    def draw(random, h, offset):
        return (h + 0.5 * noise(random, h.shape)) * np.exp(offset) + 10 * offset

    return draw


def _lognormal(random, h, offset):
    return np.exp(h + 0.4 * random.normal(size=h.shape) + 3 * offset)


def _any_shape(random, h, offset):
    # In turn skewed, whole numbers, of two modes, and with a heap of zeros.
    u = h + 0.5 * random.normal(size=h.shape)
    skewed, whole = np.exp(u + offset), np.round(4 * u + 10 * offset)
    shapes = [skewed, whole, u + 3 * np.tanh(4 * u), np.where(u > 0.3, skewed, 0.0)]
    return np.column_stack([shapes[j % 4][:, j] for j in range(h.shape[1])])


def _bernoulli(random, h, offset):
    return (random.uniform(size=h.shape) < 1 / (1 + np.exp(-2 * h - offset))).astype(float)


def _continuous_bernoulli(random, h, offset):
    # By the inverse of the distribution function.
    odds = np.exp(4 * h + offset)
    return np.log1p(random.uniform(size=h.shape) * (odds - 1)) / np.log(odds)


def _poisson(random, h, offset):
    return random.poisson(np.exp(h + offset)).astype(float)


def _negative_binomial(random, h, offset):
    return random.poisson(np.exp(h + offset) * random.gamma(2.0, 0.5, size=h.shape)).astype(float)


def _zero_inflated(random, h, offset):
    totals = random.lognormal(3.5, 0.5, size=(len(h), 1))
    rates = totals * _softmax(h + offset) * random.gamma(2.0, 0.5, size=h.shape)
    return random.poisson(rates) * (random.uniform(size=h.shape) > 0.2).astype(float)


def _multinomial(random, h, offset):
    totals = random.poisson(30, size=len(h)) + 1
    pairs = zip(totals, _softmax(h + offset), strict=True)
    return np.array([random.multinomial(total, p) for total, p in pairs], dtype=float)


def _categorical(random, h, offset):
    # Columns of two to five codes, each with its own direction.
    codes = np.empty_like(h)
    for j in range(h.shape[1]):
        n_codes = 2 + j % 4
        logits = 2 * h[:, [(j + c) % h.shape[1] for c in range(n_codes)]]
        codes[:, j] = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    return codes


_DRAWS = {
    "gaussian": _real(lambda random, shape: random.normal(size=shape)),
    "diagonal_gaussian": _real(lambda random, shape: random.normal(size=shape)),
    "heteroscedastic_gaussian": _real(lambda random, shape: random.normal(size=shape)),
    "student_t": _real(lambda random, shape: random.standard_t(3, size=shape)),
    "laplace": _real(lambda random, shape: random.laplace(size=shape)),
    "lognormal": _lognormal,
    "quantile_gaussian": _any_shape,
    "bernoulli": _bernoulli,
    "continuous_bernoulli": _continuous_bernoulli,
    "poisson": _poisson,
    "negative_binomial": _negative_binomial,
    "zero_inflated_negative_binomial": _zero_inflated,
    "multinomial": _multinomial,
    "categorical": _categorical,
}
