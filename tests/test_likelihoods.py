"""One contract test for all likelihoods, over the registry, against scipy, sums and integrals."""

import math
import pickle
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from sklearn.decomposition import PCA, FactorAnalysis
from suited import suited_rows

from skvae import VAETransformer, moments
from skvae import start as start_of_fit
from skvae.batches import Rows
from skvae.likelihoods import (
    COLUMN_NOISE_FLOOR,
    LIKELIHOODS,
    LOGIT_LIMIT,
    SHARED_NOISE_FLOOR,
    WIDEST_NOISE_FLOOR,
    Bernoulli,
    Categorical,
    Gaussian,
)
from skvae.likelihoods.count_laws import StableNegativeBinomial
from skvae.linear_start import linear_start

N, D, K = 60, 4, 2
# Laws with an option, beside those of the registry.
LAWS = LIKELIHOODS | {
    "poisson of a total": partial(LIKELIHOODS["poisson"], library_size=True),
    "negative_binomial of a total": partial(LIKELIHOODS["negative_binomial"], library_size=True),
    "zero_inflated_negative_binomial of no total": partial(
        LIKELIHOODS["zero_inflated_negative_binomial"], library_size=False
    ),
}
SUPPORTS = {
    "lognormal": (0, np.inf),
    "continuous_bernoulli": (0, 1),
}


def rows(name, n=N, d=D, seed=0):
    return suited_rows(name.split(" ")[0], n, d, seed)


def unfitted(name):
    """The likelihood on its rows, and what it has learnt of them."""
    X = rows(name)
    likelihood = LAWS[name](D)
    likelihood.check_support(X, str)
    likelihood.learn_support(X)
    likelihood.set_units(X)
    return likelihood, X


def fitted(name):
    """The likelihood in double precision, with parameters off their start, and three rows."""
    likelihood, X = unfitted(name)
    likelihood.double()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter += 0.5 * torch.randn_like(parameter)
    return likelihood, torch.randn(3, likelihood.n_outputs, dtype=torch.float64), X[:3]


def working(likelihood, X):
    return torch.as_tensor((X - likelihood.centre) / likelihood.scale)


class GreyLaw:
    """The continuous Bernoulli law from its definition, by numerical integration."""

    def __init__(self, outputs):
        part = 1 / (1 + np.exp(-LOGIT_LIMIT * np.tanh(outputs / LOGIT_LIMIT)))

        def moment(p, power):
            return integrate.quad(lambda x: x**power * p**x * (1 - p) ** (1 - x), 0, 1)[0]

        self.part = part
        self.norm, first, second = (np.vectorize(moment)(part, power) for power in (0, 1, 2))
        self.first, self.second = first / self.norm, second / self.norm

    def logpdf(self, X):
        return X * np.log(self.part) + (1 - X) * np.log(1 - self.part) - np.log(self.norm)

    def mean(self):
        return self.first

    def var(self):
        return self.second - self.first**2


class InflatedLaw:
    """scipy's negative binomial with more zeros."""

    def __init__(self, counts, part):
        self.counts, self.part = counts, part

    def logpmf(self, X):
        return np.log(self.part * (X == 0) + (1 - self.part) * self.counts.pmf(X))

    def mean(self):
        return (1 - self.part) * self.counts.mean()

    def var(self):
        second = (1 - self.part) * (self.counts.var() + self.counts.mean() ** 2)
        return second - self.mean() ** 2


class ScoresLaw:
    """Gaussian normal scores through the likelihood's maps, which tests of their own look at."""

    def __init__(self, likelihood, outputs):
        self.likelihood = likelihood
        deviation = np.sqrt(COLUMN_NOISE_FLOOR + np.exp(outputs[:, D:]))
        self.scores = stats.norm(outputs[:, :D], deviation)
        nodes = stats.cauchy.ppf((np.arange(72) + 0.5) / 72)[4:-4]
        self.weights = stats.norm.pdf(nodes) / stats.cauchy.pdf(nodes)
        maps = likelihood.exact_map
        scores = torch.as_tensor(outputs[:, :D] + nodes[:, None, None] * deviation)
        values = maps.value(scores.reshape(-1, D)).reshape(scores.shape).numpy()
        self.values = values * likelihood.scale + likelihood.centre

    def logpdf(self, X):
        begin, end, slope = (
            part.numpy() for part in self.likelihood.exact_map.interval(working(self.likelihood, X))
        )
        steps = self.likelihood.steps
        step = np.where(steps > 0, steps, 1.0)
        with np.errstate(divide="ignore"):
            inside = np.log(self.scores.cdf(end) - self.scores.cdf(begin)) - np.log(step)
        density = self.scores.logpdf(begin) + np.log(slope / self.likelihood.scale)
        return np.where(end > begin, inside, density)

    def mean(self):
        return np.average(self.values, axis=0, weights=self.weights)

    def var(self):
        return np.average((self.values - self.mean()) ** 2, axis=0, weights=self.weights)


def scipy_law(name, likelihood, outputs, total=None):
    """The same law in the units of X, by scipy; `total` (n, 1) is that of each row."""
    outputs = outputs.numpy()
    noise = {n: p.detach().numpy() for n, p in likelihood.named_parameters()}
    law, scale = name.split(" ")[0], likelihood.feature_scale
    if law == "quantile_gaussian":
        return ScoresLaw(likelihood, outputs)
    if law == "bernoulli":
        return stats.bernoulli(1 / (1 + np.exp(-outputs)))
    if law == "continuous_bernoulli":
        return GreyLaw(outputs)
    if law in ("poisson", "negative_binomial", "zero_inflated_negative_binomial"):
        means = rows(name).mean(axis=0)
        if likelihood.library_size:
            total = likelihood.median_total if total is None else total
            rates = total * special.softmax(np.log(means) + outputs[:, :D], axis=1)
        else:
            rates = means * np.exp(outputs[:, :D])
        if law == "poisson":
            return stats.poisson(rates)
        r = np.exp(noise["log_dispersion"])
        counts = stats.nbinom(r, r / (r + rates))
        if law == "negative_binomial":
            return counts
        return InflatedLaw(counts, special.expit(outputs[:, D:] + likelihood.inflation.numpy()))
    location = outputs[:, :D] * scale + likelihood.feature_centre
    if law == "gaussian":
        floor = max(SHARED_NOISE_FLOOR * scale.min() ** 2, WIDEST_NOISE_FLOOR * scale.max() ** 2)
        variance = floor + (scale**2).mean() * np.exp(noise["log_noise"])
        return stats.norm(location, np.full(D, variance**0.5))
    if law == "heteroscedastic_gaussian":
        return stats.norm(location, scale * np.sqrt(COLUMN_NOISE_FLOOR + np.exp(outputs[:, D:])))
    if law in ("student_t", "laplace"):
        # In units of medians and of the range of the middle eight tenths.
        location = outputs[:, :D] * likelihood.scale + likelihood.centre
        scale = likelihood.scale
    deviation = scale * np.sqrt(COLUMN_NOISE_FLOOR + np.exp(noise["log_noise"]))
    if law == "student_t":
        return stats.t(2.01 + np.exp(noise["log_degrees"]), location, deviation)
    if law == "laplace":
        return stats.laplace(location, deviation / 2**0.5)
    if law == "lognormal":
        return stats.lognorm(deviation, scale=np.exp(location))
    return stats.norm(location, deviation)


def codes_law(likelihood, outputs):
    """Log-probabilities of the codes of each column, by column, from the outputs in order."""
    n_codes = [len(np.unique(column)) for column in rows("categorical").T]
    pieces = np.split(outputs.numpy(), np.cumsum(n_codes)[:-1], axis=-1)
    return [special.log_softmax(piece, axis=-1) for piece in pieces]


def expected_log_prob(name, likelihood, outputs, X):
    if name == "categorical":
        laws = codes_law(likelihood, outputs)
        return np.column_stack(
            [law[range(len(X)), X[:, j].astype(int)] for j, law in enumerate(laws)]
        )
    if name == "multinomial":
        parts = special.softmax(np.log(rows(name).mean(axis=0)) + outputs.numpy(), axis=1)
        pairs = zip(X, parts, strict=True)
        return np.array([[stats.multinomial.logpmf(x, x.sum(), p)] for x, p in pairs])
    law = scipy_law(name, likelihood, outputs, X.sum(axis=1, keepdims=True))
    return law.logpmf(X) if likelihood.measure == "mass" else law.logpdf(X)


@pytest.mark.parametrize("name", LAWS)
class TestLikelihood:
    def test_log_probability_is_scipys(self, name):
        likelihood, outputs, X = fitted(name)
        expected = expected_log_prob(name, likelihood, outputs, X)
        ours = likelihood.log_prob(outputs, working(likelihood, X)).detach().numpy()
        assert ours.shape == (3, 1 if name == "multinomial" else D)
        np.testing.assert_allclose(ours, expected, rtol=1e-7, atol=1e-9)
        # The posterior's draws are a dimension of their own.
        drawn = likelihood.log_prob(outputs[:, None], working(likelihood, X)[:, None])
        np.testing.assert_allclose(drawn.detach().numpy()[:, 0], ours)

    def test_probabilities_sum_to_one(self, name):
        likelihood, outputs, X = fitted(name)
        if name == "multinomial":
            total = 5
            every = [x for x in product(range(total + 1), repeat=D) if sum(x) == total]
            log_p = likelihood.log_prob(outputs[:1], torch.tensor(every).double())
            assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)
            return
        if likelihood.measure == "mass":
            values = np.arange(100_000.0)
            if name in ("bernoulli", "categorical"):
                values = np.unique(rows(name)[:, 2])
            log_p = likelihood.law(outputs[0]).log_prob(torch.as_tensor(values)[:, None])
            # Of one row's total in the laws that are given it.
            assert log_p[:, 2].exp().sum().item() == pytest.approx(1, abs=1e-6)
            return

        if name == "quantile_gaussian":
            # Piece by piece in test_quantile.py.
            return

        def probability(value, column=2):
            row = np.tile(X[:1], (3, 1))
            row[:, column] = value
            log_p = likelihood.log_prob(outputs, working(likelihood, row))
            return log_p[0, column].exp().item()

        law = scipy_law(name, likelihood, outputs)
        low, high = SUPPORTS.get(name, (-np.inf, np.inf))
        centre, width = law.mean()[0, 2], law.var()[0, 2] ** 0.5
        inner = max(low, centre - 9 * width), min(high, centre + 9 * width)
        points = [centre, centre / 10, centre / 100] if name == "lognormal" else [centre]
        total = integrate.quad(probability, *inner, points=points, limit=500)[0]
        for tail in ((low, inner[0]), (inner[1], high)):
            total += integrate.quad(probability, *tail)[0] if tail[0] < tail[1] else 0
        assert total == pytest.approx(1, abs=1e-6)

    def test_moments_and_samples(self, name):
        likelihood, outputs, _ = fitted(name)
        if name == "student_t":
            # So that four standard errors of 20,000 draws are what they are for other laws.
            torch.nn.init.constant_(likelihood.log_degrees, 2.0)
        n = 20_000
        to_X = lambda x: x * likelihood.scale + likelihood.centre  # noqa: E731
        with torch.no_grad():
            mean = np.broadcast_to(to_X(likelihood.mean(outputs).numpy()), (3, D))
            variance = likelihood.variance(outputs).numpy() * likelihood.scale**2
            draws = to_X(likelihood.sample(outputs.expand(n, -1, -1)).numpy())
        assert draws.shape == (n, 3, D)
        likelihood.check_support(draws.reshape(-1, D), str)
        if name == "categorical":
            laws = codes_law(likelihood, outputs)
            np.testing.assert_array_equal(mean, np.column_stack([law.argmax(1) for law in laws]))
            gini = np.column_stack([1 - (np.exp(law) ** 2).sum(axis=1) for law in laws])
            np.testing.assert_allclose(variance, gini)
            for j, law in enumerate(laws):
                found = (draws[:, :, j, None] == np.arange(law.shape[1])).mean(axis=0)
                np.testing.assert_allclose(found, np.exp(law), atol=4 * 0.5 / n**0.5)
            return
        if name == "multinomial":
            expected_mean = likelihood.median_total * likelihood.law(outputs).probs.numpy()
            expected_variance = expected_mean * (1 - expected_mean / likelihood.median_total)
        else:
            law = scipy_law(name, likelihood, outputs)
            expected_mean, expected_variance = law.mean(), np.broadcast_to(law.var(), (3, D))
        np.testing.assert_allclose(mean, expected_mean, rtol=1e-7)
        variance = np.broadcast_to(variance, (3, D))
        np.testing.assert_allclose(variance, expected_variance, rtol=1e-6)
        if getattr(likelihood, "library_size", False):
            # Draws have totals of training rows, whose mean is another than their median.
            totals = rows(name).sum(axis=1)
            expected_mean = expected_mean * totals.mean() / np.median(totals)
        error = (draws.mean(0) - expected_mean) / draws.std(0) * n**0.5
        # Quantiles of few totals stand for all.
        allowed = 4 + 0.01 * n**0.5 * getattr(likelihood, "library_size", 0)
        if name == "quantile_gaussian":
            # And of 64 values for all.
            allowed += 0.02 * n**0.5
        assert np.abs(error).max() < allowed

    def test_gradients_reach_outputs_and_parameters(self, name):
        likelihood, outputs, X = fitted(name)
        outputs.requires_grad_()
        likelihood.log_prob(outputs, working(likelihood, X)).sum().backward()
        assert torch.isfinite(outputs.grad).all()
        assert outputs.grad.abs().min() > 0
        for parameter in likelihood.parameters():
            assert parameter.grad.abs().min() > 0

    def test_gradients_are_finite_far_out(self, name):
        likelihood, outputs, X = fitted(name)
        likelihood = likelihood.float()
        for far in (-1e4, -50.0, 50.0, 1e4):
            outputs = torch.full_like(outputs, far).float().requires_grad_()
            log_p = likelihood.log_prob(outputs, working(likelihood, X).float())
            log_p.sum().backward()
            assert torch.isfinite(log_p).all()
            assert torch.isfinite(outputs.grad).all()

    def test_features(self, name):
        likelihood, _ = unfitted(name)
        likelihood.double()
        X = rows(name)
        features = likelihood.features(working(likelihood, X)).numpy()
        assert features.shape == (N, likelihood.n_inputs)
        expected = likelihood.start_rows(X) - likelihood.feature_centre
        np.testing.assert_allclose(features, expected / likelihood.feature_scale, atol=1e-6)
        np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-6)

    def test_linear_start(self, name):
        likelihood, X = unfitted(name)
        F = likelihood.start_rows(X)
        start = linear_start(
            F, K, model=likelihood.linear_model, least_noise=likelihood.least_noise(), seed=0
        )
        weight, bias = likelihood.decoder_start(start)
        assert weight.shape == (likelihood.n_outputs, K)
        assert bias.shape == (likelihood.n_outputs,)
        likelihood.double()
        counts = name.startswith(("poisson", "negative", "zero"))
        # The model gives the mean of the rows: at the latent origin, or over the prior where the
        # rates are exponentials, or the scores of rows cut into steps.
        averaged = counts or name == "quantile_gaussian"
        z = np.random.RandomState(0).normal(size=(50_000 if averaged else 1, K)) * averaged
        outputs = torch.as_tensor(z @ weight.T + bias)
        with torch.no_grad():
            mean = likelihood.feature_mean(outputs).numpy()
            if counts or not likelihood.features_are_columns:
                mean = mean.mean(axis=0)
            else:
                centre, scale = likelihood.feature_mean_units()
                mean = (mean * scale + centre)[0]
            if counts or name == "multinomial":
                mean = likelihood.mean(outputs).numpy().mean(axis=0)
        if name == "multinomial" or getattr(likelihood, "library_size", False):
            shares = X.sum(axis=0) / X.sum()
            np.testing.assert_allclose(mean / mean.sum(), shares, atol=0.1)
        elif counts:
            np.testing.assert_allclose(mean, X.mean(axis=0), rtol=0.1)
        else:
            atol = 0.02 * F.std(axis=0).max()
            np.testing.assert_allclose(mean, F.mean(axis=0), atol=atol, rtol=1e-5)

    def test_state_dict_carries_the_units(self, name):
        likelihood, outputs, X = fitted(name)
        # In single precision, in which a fresh likelihood has its log scale at hand already.
        likelihood, outputs = likelihood.float(), outputs.float()
        other = LAWS[name](D)
        other.load_state_dict(likelihood.state_dict())
        x = working(likelihood, X).float()
        torch.testing.assert_close(other.log_prob(outputs, x), likelihood.log_prob(outputs, x))
        torch.testing.assert_close(other.features(x), likelihood.features(x))

    def test_single_precision(self, name):
        likelihood, outputs, X = fitted(name)
        x = working(likelihood, X)
        expected = likelihood.log_prob(outputs, x).detach()
        features = likelihood.features(x)
        likelihood.float()
        found = likelihood.log_prob(outputs.float(), x.float()).detach()
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=2e-4)
        # Back in double precision nothing is lost.
        torch.testing.assert_close(likelihood.double().features(x), features, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("log_dispersion", [-9.2, -0.7, 3.4, 9.2])
def test_negative_binomials_in_single_precision(log_dispersion):
    """Not off by what the logarithms of Gamma(r + x) and Gamma(r) lose, above all not on average: a
    thousandth of a nat a cell is a nat a row of a thousand."""
    r = float(np.float32(np.exp(np.float32(log_dispersion))))
    means = torch.logspace(-2, 2, 41)
    x = torch.arange(200.0)[:, None]
    logits = means.log() - math.log(r)
    law = StableNegativeBinomial(torch.tensor(r), logits=logits)
    exact = stats.nbinom(r, special.expit(-logits.double().numpy()))
    expected = exact.logpmf(x.double().numpy())
    error = law.log_prob(x).double().numpy() - expected
    likely = expected > -20
    assert np.abs(error[likely]).max() < 2e-4
    assert abs(error[likely].mean()) < 1e-5
    # In double precision the series itself is all that is missing.
    law = StableNegativeBinomial(torch.tensor(r).double(), logits=logits.double())
    np.testing.assert_allclose(law.log_prob(x.double()).numpy(), expected, rtol=1e-9, atol=2e-9)


@pytest.mark.parametrize("name", ["negative_binomial", "zero_inflated_negative_binomial"])
def test_scores_of_many_counts_do_not_depend_on_the_precision(name):
    X = np.random.RandomState(0).poisson(5.0, size=(200, 400)).astype(np.float32)
    law = partial(LIKELIHOODS[name], library_size=False)
    vae = VAETransformer(2, likelihood=law, max_epochs=0, random_state=0).fit(X)
    difference = vae.score_samples(X) - vae.score_samples(X.astype(float))
    assert np.abs(difference).max() < 0.01


@pytest.mark.parametrize("name", ["poisson", "negative_binomial", "multinomial"])
def test_large_counts_in_single_precision(name):
    """A logarithm of a factorial of a million is right to a nat there."""
    X = np.random.RandomState(0).poisson(1e6, size=(100, 4)).astype(np.float32)
    likelihood = LIKELIHOODS[name](4)
    likelihood.set_units(X.astype(float))
    outputs, x = torch.zeros(100, likelihood.n_outputs), torch.as_tensor(X)
    with torch.no_grad():
        single = likelihood.log_prob(outputs, x).double()
        double = likelihood.double().log_prob(outputs.double(), x.double())
    torch.testing.assert_close(single, double, rtol=0, atol=0.01)


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_rates_stay_in_reach_of_the_columns_largest_count(name):
    X = rows(name, 500) * [1, 1, 1, 50]
    likelihood = LIKELIHOODS[name](D)
    likelihood.set_units(X)
    with torch.no_grad():
        mean = likelihood.mean(torch.full((3, D), 60.0)).numpy()
    np.testing.assert_allclose(mean, np.tile(math.e * (1 + X.max(axis=0)), (3, 1)), rtol=1e-4)
    # What a total is shared out by needs no other bound.
    likelihood = LIKELIHOODS[name](D, library_size=True)
    likelihood.set_units(X)
    outputs = torch.tensor([[60.0, 0, 0, 0]])
    with torch.no_grad():
        mean = likelihood.law(outputs, total=torch.tensor([[1e4]])).mean.numpy()
    assert X[:, 0].max() < 2000
    assert mean[0, 0] == pytest.approx(1e4, rel=1e-4)


def test_latents_far_out_expect_no_thousands():
    X = rows("poisson", 400, 6)
    vae = small(likelihood="poisson", max_epochs=0).fit(X)
    # Latents a hundred times as far out as those of the rows.
    rates = vae.inverse_transform(100 * vae.transform(X))
    most = math.e * (1 + X.max(axis=0))
    assert (rates <= most * (1 + 1e-6)).all()
    assert (rates.max(axis=0) > 0.99 * most).any()


def test_counts_too_large_are_not_called_scaled():
    X = rows("poisson")
    X[3, 1] = 2.0**24 + 2
    with pytest.raises(ValueError, match=r"row 3, column 1 .*logarithms of larger ones"):
        small(likelihood="poisson").fit(X)
    X[3, 0] = 0.5
    with pytest.raises(ValueError, match=r"row 3, column 0 .*may not be scaled"):
        small(likelihood="poisson").fit(X)


def test_heavy_tails_start_with_the_variance_that_pca_leaves():
    likelihood, X = unfitted("student_t")
    F = likelihood.start_rows(X)
    start = linear_start(
        F, K, model=likelihood.linear_model, least_noise=likelihood.least_noise(), seed=0
    )
    found = {}
    for name in ("student_t", "laplace"):
        likelihood = LIKELIHOODS[name](D)
        likelihood.set_units(X)
        likelihood.decoder_start(start)
        found[name] = likelihood.variance(torch.zeros(1, likelihood.n_outputs)).detach().numpy()
    np.testing.assert_allclose(found["student_t"], found["laplace"], rtol=1e-5)


def test_the_largest_logarithms_are_cut_before_exp_overflows():
    likelihood, _, _ = fitted("lognormal")
    far = torch.full((1, likelihood.n_outputs), 1e4, dtype=torch.float64)
    assert torch.isfinite(likelihood.float().mean(far.float())).all()


def test_a_start_under_more_noise_is_the_posterior_under_it():
    F = np.random.RandomState(0).normal(size=(200, 5)) * [5, 4, 1, 1, 1]
    start = linear_start(F, 2, model="pca", least_noise=1e-9, seed=0)
    assert start.with_noise(1.0) is start
    for wider in (start.with_noise(3.0), start.with_noise(2.0).with_noise(1.5)):
        noise = 3.0 * start.noise_variance
        precision = np.eye(2) + start.loadings.T @ start.loadings / noise
        np.testing.assert_allclose(
            wider.projection, np.linalg.solve(precision, start.loadings.T) / noise, atol=1e-12
        )
        np.testing.assert_allclose(wider.log_variance, -np.log(np.diag(precision)))


OUTSIDE = {
    "gaussian": 1e200,
    "diagonal_gaussian": 1e200,
    "heteroscedastic_gaussian": 1e200,
    "student_t": -1e200,
    "laplace": 1e200,
    "lognormal": 0.0,
    "quantile_gaussian": 1e200,
    "bernoulli": 0.5,
    "continuous_bernoulli": 1.5,
    "poisson": -1.0,
    "negative_binomial": 0.5,
    "zero_inflated_negative_binomial": 2.0**25,
    "multinomial": -1.0,
    "categorical": 1.5,
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_values_outside_the_support_are_named(name):
    X = rows(name)
    X[7, 2] = OUTSIDE[name]
    with pytest.raises(
        ValueError, match=f"{OUTSIDE[name]:g} at row 107, column 'c'".replace("+", ".")
    ):
        LIKELIHOODS[name](D).check_support(X, lambda j: repr("abcd"[j]), first_row=100)
    vae = VAETransformer(1, likelihood=name)
    with pytest.raises(ValueError, match=f"{OUTSIDE[name]:g} at row 7, column 2".replace("+", ".")):
        vae.fit(X)


@pytest.mark.parametrize("code", [1.0, 7.0])
def test_codes_that_no_row_of_the_fit_had_are_named(code):
    X = np.array([[0.0, 2.0], [1.0, 0.0]] * 10)
    vae = VAETransformer(1, likelihood="categorical", max_epochs=0).fit(X)
    assert vae.net_.module_.likelihood.n_outputs == 4
    assert set(vae.sample(200, random_state=0)[:, 1]) == {0, 2}
    X[3, 1] = code
    with pytest.raises(ValueError, match=rf"fit had, found {code:g} at row 3, column 1"):
        vae.score(X)


def test_bernoulli_rejects_other_values_by_row_and_column():
    X = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 1.0]])
    with pytest.raises(ValueError, match=r"found 0\.5 at row 2, column 'a'"):
        Bernoulli(2).check_support(X, lambda j: repr("ab"[j]))


@pytest.mark.parametrize("name", ["gaussian", "diagonal_gaussian", "heteroscedastic_gaussian"])
def test_noise_floor_bounds_the_density_of_a_perfect_column(name):
    likelihood, _ = unfitted(name)
    likelihood.double()
    outputs = torch.zeros(1, likelihood.n_outputs, dtype=torch.float64)
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.fill_(-1e3)
        outputs[:, D:] = -1e3
    perfect = likelihood.log_prob(outputs, torch.zeros(1, D).double()).detach().numpy()[0]
    if name == "gaussian":
        variances = likelihood.scale**2
        floor = np.full(
            D, max(SHARED_NOISE_FLOOR * variances.min(), WIDEST_NOISE_FLOOR * variances.max())
        )
    else:
        floor = COLUMN_NOISE_FLOOR * likelihood.scale**2
    np.testing.assert_allclose(perfect, -0.5 * np.log(2 * np.pi * floor), rtol=1e-9)


# ------------------------------------------------------------------ laws inside the estimator


def small(**params):
    defaults = {"hidden_layer_sizes": (16,), "random_state": 0, "early_stopping": False}
    return VAETransformer(2, **(defaults | {"max_epochs": 3} | params))


def held_out_bound(vae, X):
    """The mean ELBO of rows, in nats."""
    net = vae.net_
    rows = Rows(X)
    net.module_.float()
    rows.set_units(net.module_.likelihood.centre, net.module_.likelihood.scale)
    bound = -net.set_params(n_valid_draws=10).validate(rows).mean()
    net.module_.double()
    return bound


# A law's rows may leave a latent of the small model unused.
@pytest.mark.filterwarnings("ignore:.*latent components carry")
@pytest.mark.parametrize("name", LAWS)
def test_a_fit(name):
    X, new = rows(name, 300, 6), rows(name, 100, 6, seed=1)
    # The same rows in single precision: the noise of the score is keyed by the values.
    new = new.astype(np.float32).astype(np.float64)
    law = name if name in LIKELIHOODS else LAWS[name]
    vae = small(likelihood=law).fit(X)
    assert vae.likelihood_ is law
    scores, T = vae.score_samples(new), vae.transform(new)
    assert scores.shape == (100,)
    assert np.isfinite(scores).all()
    likelihood = vae.net_.module_.likelihood
    if likelihood.measure == "mass":
        assert (scores < 0).all()
    np.testing.assert_array_equal(T, vae.transform(new))
    assert np.isfinite(T).all()
    assert vae.components_.shape == (2, likelihood.n_inputs)
    assert vae.mean_.shape == (likelihood.n_inputs,)
    assert 0 < vae.explained_variance_ratio_.sum() < 1
    assert np.isfinite(vae.noise_variance_).all()
    likelihood.check_support(vae.sample(50, random_state=0), str)
    back = vae.inverse_transform(T)
    assert back.shape == new.shape
    assert np.isfinite(back).all()
    copy = pickle.loads(pickle.dumps(vae))
    np.testing.assert_array_equal(copy.score_samples(new), scores)
    single = vae.score_samples(new.astype(np.float32))
    np.testing.assert_allclose(single, scores, rtol=1e-3, atol=0.01)
    assert vae.transform(new.astype(np.float32)).dtype == np.float32


@pytest.mark.filterwarnings("ignore:.*latent components carry")
@pytest.mark.parametrize("name", LAWS)
def test_the_start_beats_random_weights_and_independent_columns(name):
    X, new = rows(name, 300, 6), rows(name, 300, 6, seed=1)
    law = LAWS[name]
    start = small(likelihood=law, max_epochs=0).fit(X)
    random = small(likelihood=law, max_epochs=0, init="random").fit(X)
    assert held_out_bound(start, new) > held_out_bound(random, new)
    # Of the same law with the loadings at nothing, and the posterior at the prior.
    vae = start.net_.module_
    with torch.no_grad():
        for parameter in (vae.affine_decoder.weight, vae.affine_encoder.weight):
            parameter.zero_()
        vae.affine_encoder.bias.zero_()
        vae.affine_log_variance.zero_()
    columns = held_out_bound(start, new)
    start = small(likelihood=law, max_epochs=0).fit(X)
    assert held_out_bound(start, new) > columns


def test_the_lognormal_start_is_factor_analysis_of_the_logarithms():
    X = rows("lognormal", 300, 6)
    vae = VAETransformer(2, likelihood="lognormal", max_epochs=0).fit(X)
    fa = FactorAnalysis(2).fit(np.log(X))
    expected = fa.score_samples(np.log(X)) - np.log(X).sum(axis=1)
    np.testing.assert_allclose(vae.score_samples(X), expected, atol=1e-6)
    assert vae.explained_variance_.sum() < np.log(X).var(axis=0, ddof=1).sum()


@pytest.mark.parametrize("name", ["lognormal", "negative_binomial", "multinomial", "categorical"])
def test_a_start_by_chunks(name, monkeypatch):
    X = rows(name, 900, 6)
    whole = small(likelihood=name, max_epochs=0).fit(X)
    monkeypatch.setattr(moments, "_CHUNK_VALUES", 96)
    monkeypatch.setattr(start_of_fit, "_START_VALUES", 3000)
    chunks = small(likelihood=name, max_epochs=0).fit(X)
    assert chunks.score(X) == pytest.approx(whole.score(X), rel=0.02)
    np.testing.assert_allclose(chunks.mean_, whole.mean_, rtol=0.1)


def test_components_of_codes_are_counted_among_one_hot_columns():
    X = rows("categorical", 300, 6)
    one_hot = np.column_stack([X[:, j] == c for j in range(6) for c in np.unique(X[:, j])])
    vae = VAETransformer(0.9, likelihood="categorical", max_epochs=0).fit(X)
    assert vae.n_components_ == PCA(0.9, svd_solver="full").fit(one_hot).n_components_ > 6
    np.testing.assert_allclose(vae.mean_, one_hot.mean(axis=0))
    with pytest.raises(ValueError, match="no covariance"):
        vae.get_covariance()


@pytest.mark.parametrize("name", ["negative_binomial", "categorical", "lognormal"])
def test_streams_and_warm_starts(name):
    X = rows(name, 300, 6)
    vae = small(likelihood=name).partial_fit(X).partial_fit(X)
    assert vae.likelihood_ == name
    assert np.isfinite(vae.score(X))
    warm = small(likelihood=name, warm_start=True).fit(X).fit(X)
    assert np.isfinite(warm.score(X))


@pytest.mark.filterwarnings("ignore:.*latent components carry")
@pytest.mark.parametrize(
    ("X", "law"),
    [
        (rows("bernoulli"), "bernoulli"),
        (rows("poisson"), "negative_binomial"),
        (rows("categorical"), "negative_binomial"),
        (rows("continuous_bernoulli"), "gaussian"),
        (rows("lognormal"), "gaussian"),
        (-rows("poisson"), "gaussian"),
        (rows("bernoulli") > 0, "bernoulli"),
        (rows("poisson") + 2.0**24, "gaussian"),
    ],
)
def test_auto_picks_a_law_that_new_rows_do_not_leave(X, law):
    vae = VAETransformer(1, likelihood="auto", max_epochs=0).fit(X)
    assert vae.likelihood_ == law
    assert vae.get_params()["likelihood"] == "auto"
    assert isinstance(vae.net_.module_.likelihood, LIKELIHOODS[law])


def test_auto_looks_at_all_rows_once(capsys):
    X = np.vstack([rows("bernoulli"), [[3.0] * D]])
    vae = VAETransformer(1, likelihood="auto", max_epochs=0, warm_start=True, verbose=1).fit(X)
    assert "likelihood='auto' is 'negative_binomial'" in capsys.readouterr().out
    # A warm start and a stream go on with the law that was picked.
    assert vae.fit(X[:-1]).likelihood_ == "negative_binomial"
    assert vae.partial_fit(X[:-1]).likelihood_ == "negative_binomial"


def test_a_factory_is_what_likelihood_says():
    vae = VAETransformer(1, likelihood=Gaussian, max_epochs=0).fit(rows("gaussian"))
    assert vae.likelihood_ is Gaussian


def test_grey_images_transformed_to_binary_ones_are_binary_to_auto():
    X = rows("continuous_bernoulli")
    vae = VAETransformer(1, likelihood="auto", batch_transform=torch.bernoulli, max_epochs=0).fit(X)
    assert vae.likelihood_ == "bernoulli"


def test_constant_columns_and_empty_rows_of_counts():
    X = rows("poisson", 80, 5)
    X[:, 1], X[4] = 0, 0
    for name in ("poisson", "negative_binomial", "zero_inflated_negative_binomial", "multinomial"):
        vae = small(likelihood=name, max_epochs=2).fit(X)
        assert np.isfinite(vae.score_samples(X)).all()
        assert np.isfinite(vae.transform(X)).all()


def test_a_column_of_one_code():
    X = rows("categorical", 80, 5)
    X[:, 1] = 0
    likelihood = Categorical(5)
    likelihood.learn_support(X)
    assert likelihood.n_outputs == sum(len(np.unique(column)) for column in X.T)
    assert np.isfinite(small(likelihood="categorical").fit(X).score(X))
