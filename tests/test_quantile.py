"""The maps of QuantileGaussian, and columns of every shape that go through them."""

import tracemalloc

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from skvae import VAETransformer
from skvae.likelihoods import Categorical, QuantileGaussian
from skvae.likelihoods.quantile_map import QuantileMap

random = np.random.RandomState(0)
N = 3000
COLUMNS = {
    "normal": random.normal(size=N),
    "far from zero": 1e6 + random.normal(size=N),
    "skewed": np.exp(2 * random.normal(size=N)),
    "of two modes": np.r_[random.normal(-5, 1, N // 2), random.normal(5, 0.1, N // 2)],
    "heavy tails": random.standard_cauchy(N),
    "bounded": random.uniform(size=N),
    "whole": random.poisson(3, N).astype(float),
    "heaped": np.where(random.uniform(size=N) < 0.5, 40.0, random.randint(1, 99, N)),
    "wide and whole": np.round(np.exp(random.normal(10, 1, N))),
    "one decimal": np.round(random.normal(size=N), 1),
    "two values": random.choice([-0.123456789, 2.987654321], N),
    "zeros": np.where(random.uniform(size=N) < 0.7, 0.0, random.gamma(2, 100, N)),
    "zeros far from the middle": np.where(
        random.uniform(size=N) < 0.4, 0.0, 7 + random.gamma(0.5, 300, N)
    ),
    "zeros and a cap": np.clip(random.normal(0.123456789, 1, N), 0, 1.987654321),
    "constant": np.full(N, 3.25),
    "constant, not rounded": np.full(N, 1 / 3),
    "few rows": random.normal(size=7),
    "float32": random.normal(size=N).astype(np.float32).astype(float),
    "hundreds": np.round(random.gamma(4, 1000, N), -2),
    "wide and in thousands": np.round(random.lognormal(14, 1, N), -3),
    "float32, two decimals": np.round(random.normal(size=N), 2).astype(np.float32).astype(float),
    "fives": 5.0 * random.randint(3, 17, N),
    "quarters": np.round(random.normal(3, 2, N) * 4) / 4,
    "twentieths": np.round(0.05 * np.round(random.normal(3, 20, N)), 2),
    "quarters, wide": np.round(random.normal(3, 400, N) * 4) / 4,
    "constant, large": np.full(N, 1234567.0),
    "two values, large": random.choice([1000.0, 2000.0], N),
    "hundreds of 25": 2500.0 * random.randint(-9, 10, N),
}
ATOMS = {
    "zeros": [0.0],
    "zeros far from the middle": [0.0],
    "zeros and a cap": [0.0, 1.987654321],
    "two values": [-0.123456789, 2.987654321],
    "constant, not rounded": [1 / 3],
}
# Whole numbers of which float32 could not tell the halves apart are not seen as rounded.
DECIMALS = {"whole": 0, "heaped": 0, "wide and whole": np.nan, "one decimal": 1, "constant": 2}
DECIMALS |= {"float32, two decimals": 2, "hundreds": -2, "wide and in thousands": -3}
DECIMALS |= {"constant, large": 0, "two values, large": 0}
DECIMALS |= {"fives": 0, "quarters": 2, "quarters, wide": 2, "twentieths": 2, "hundreds of 25": -2}
MULTIPLES = {
    "fives": 5,
    "quarters": 25,
    "quarters, wide": 25,
    "twentieths": 5,
    "hundreds of 25": 25,
}


def law_of(name):
    likelihood = QuantileGaussian(1)
    likelihood.set_units(COLUMNS[name][:, None])
    return likelihood.double()


def working(likelihood, x):
    return torch.as_tensor((np.reshape(x, (-1, 1)) - likelihood.centre) / likelihood.scale)


@pytest.mark.parametrize("name", COLUMNS)
class TestMap:
    def test_decimals_and_atoms(self, name):
        likelihood = law_of(name)
        decimals = DECIMALS.get(name, np.nan)
        np.testing.assert_array_equal(likelihood.decimals, decimals)
        step = np.nan_to_num(10.0**-decimals) * MULTIPLES.get(name, 1)
        np.testing.assert_allclose(likelihood.steps, step, rtol=1e-12)
        atoms = likelihood.exact_map.atoms[0].numpy() * likelihood.scale + likelihood.centre
        np.testing.assert_allclose(atoms, ATOMS.get(name, []), atol=1e-12)

    def test_scores_are_those_of_the_rows_below(self, name):
        likelihood, x = law_of(name), COLUMNS[name]
        begin, end, _ = (
            part.numpy()[:, 0] for part in likelihood.map.interval(working(likelihood, x))
        )
        below = (x[:, None] < x).mean(axis=0)
        up_to = (x[:, None] <= x).mean(axis=0)
        # Knots are a tenth of a standard deviation, or ten rows and what is around, apart.
        allowed = 0.03 + 2 * 10 / len(x)
        middle = 0.5 * (stats.norm.cdf(begin) + stats.norm.cdf(end))
        assert np.abs(middle - 0.5 * (below + up_to)).max() < allowed

    def test_strictly_monotone_and_its_own_inverse(self, name):
        likelihood = law_of(name)
        maps, low_high = likelihood.exact_map, likelihood.exact_map.limits[0]
        scores = torch.linspace(*low_high.tolist(), 5001, dtype=torch.float64)[:, None]
        x = maps.value(scores)
        assert (x.diff(dim=0) >= 0).all()
        begin, end, slope = maps.interval(x)
        assert (slope > 0).all()
        # A value's interval holds the scores that lead to it.
        assert (begin <= scores + 1e-9).all()
        assert (end >= scores - 1e-9).all()
        beyond = (
            torch.tensor([[-50.0], [-9.0], [9.0], [50.0]], dtype=torch.float64) + 0 * scores[:4]
        )
        found = maps.value(beyond)[:, 0].numpy() * likelihood.scale + likelihood.centre
        x = COLUMNS[name]
        np.testing.assert_allclose(found, [x.min(), x.min(), x.max(), x.max()], rtol=1e-7)

    def test_slope_is_the_derivative(self, name):
        maps = law_of(name).exact_map
        x = torch.linspace(-6, 6, 4001, dtype=torch.float64)[:, None]
        _, slope = maps.score(x)
        ahead, behind = maps.score(x + 1e-7)[0], maps.score(x - 1e-7)[0]
        found = (ahead - behind) / 2e-7
        # But where there is a knot between, and the slope another on its other side.
        knots = maps.knots[0]
        away = ((x - knots).abs() > 1e-6).all(dim=1)
        assert away.sum() > 3000
        np.testing.assert_allclose(found[away], slope[away], rtol=1e-4, atol=1e-6)

    def test_integrates_to_one(self, name):
        likelihood = law_of(name)
        outputs = torch.tensor([[0.3, -0.7]], dtype=torch.float64)

        def density(x):
            rows = working(likelihood, x)
            return likelihood.log_prob(outputs, rows)[:, 0].exp().numpy()

        maps = likelihood.exact_map
        step = likelihood.steps[0] or None
        knots = maps.knots[0].numpy() * likelihood.scale + likelihood.centre
        if step is not None:
            low, high = knots[[0, -1]] + 40 * np.diff(knots)[[0, -1]] * [-1, 1]
            values = np.arange(np.round(low / step), np.round(high / step) + 1) * step
            # Whole numbers by the million only where the density is narrow.
            total = density(values).sum() * step
        else:
            total = density(maps.atoms[0].numpy() * likelihood.scale + likelihood.centre).sum()
            inner = np.unique(knots)
            outer = [
                inner[0] - 60 * (inner[1] - inner[0]),
                inner[-1] + 60 * (inner[-1] - inner[-2]),
            ]
            for begin, end in zip(np.r_[outer[0], inner], np.r_[inner, outer[1]], strict=True):
                # Inside of the pieces: their ends can be atoms.
                inside = np.linspace(begin, end, 402)[1:-1]
                total += density(0.5 * (inside[1:] + inside[:-1])).mean() * (end - begin)
        assert total == pytest.approx(1, abs=0.01)

    def test_draws_have_the_distribution_of_the_rows(self, name):
        likelihood, x = law_of(name), COLUMNS[name]
        torch.manual_seed(0)
        outputs = torch.zeros(20_000, 2, dtype=torch.float64)
        draws = likelihood.in_units_of_rows(likelihood.sample(outputs).numpy())[:, 0]
        # The 0.1 % quantile of the distance of two samples, and what knots leave.
        allowed = 1.95 * (1 / 20_000 + 1 / len(x)) ** 0.5
        assert stats.ks_2samp(draws, x).statistic < allowed
        assert x.min() - 1e-6 <= draws.min() <= draws.max() <= x.max() + 1e-6
        if name in DECIMALS and name != "wide and whole":
            np.testing.assert_array_equal(draws, np.round(draws, DECIMALS[name]))
        for atom in ATOMS.get(name, []):
            share = (x == atom).mean()
            assert (draws == atom).mean() == pytest.approx(share, abs=4 * 0.5 / 20_000**0.5)

    def test_finite_in_single_precision_and_far_out(self, name):
        likelihood = law_of(name).float()
        far = np.r_[COLUMNS[name][:100], -1e9, 1e9, 0.123]
        rows = working(likelihood, far).float()
        for location, log_variance in [(0.0, 0.0), (-30.0, -20.0), (30.0, 40.0)]:
            outputs = torch.tensor([[location, log_variance]]).repeat(len(far), 1).requires_grad_()
            log_p = likelihood.log_prob(outputs, rows)
            log_p.sum().backward()
            assert torch.isfinite(log_p).all()
            assert torch.isfinite(outputs.grad).all()
        assert torch.isfinite(likelihood.features(rows)).all()


def test_the_start_is_the_rows_own_distribution():
    """At the start a model's draws have the columns' own distributions and their correlations."""
    rng = np.random.RandomState(1)
    z = rng.normal(size=(2000, 1))
    u = 0.8 * z + 0.6 * rng.normal(size=(2000, 3))
    X = np.column_stack(
        [np.exp(2 * u[:, 0]), np.round(5 * u[:, 1]), np.maximum(u[:, 2], 0.1234567)]
    )
    vae = VAETransformer(1, likelihood="quantile_gaussian", max_epochs=0, random_state=0).fit(X)
    draws = vae.sample(20_000, random_state=0)
    for j in range(3):
        assert stats.ks_2samp(draws[:, j], X[:, j]).statistic < 0.045
    found, expected = (stats.spearmanr(rows).statistic for rows in (draws, X))
    # Half of the third column is one value: the start is not the optimum there.
    np.testing.assert_allclose(found, expected, atol=0.08)


def test_a_column_of_small_spread_is_not_rounded():
    x = 1e7 + 1e-4 * np.random.RandomState(0).normal(size=(1000, 1))
    law = QuantileGaussian(1)
    law.set_units(x)
    assert np.isnan(law.decimals[0])
    draws = law.in_units_of_rows(law.double().sample(torch.zeros(1000, 2).double()).numpy())
    assert draws.std() == pytest.approx(x.std(), rel=0.1)


def test_a_far_value_of_many_rows_keeps_its_part():
    x = np.random.RandomState(0).normal(50, 10, size=2000)
    x[:600] = -1e9
    law = QuantileGaussian(1)
    law.set_units(x[:, None])
    draws = law.in_units_of_rows(law.double().sample(torch.zeros(20_000, 2).double()).numpy())
    assert (draws == -1e9).mean() == pytest.approx(0.3, abs=0.03)


def test_steps_without_digits_far_out():
    law = law_of("one decimal").float()
    x = working(law, 3e8).float()
    low, high, slope = law.map.interval(x)
    assert low == high
    outputs = torch.tensor([[low.item(), 0.0]])
    expected = stats.norm.logpdf(0) + np.log(slope.item() / law.scale[0])
    assert law.log_prob(outputs, x).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("pair", [[0.0, 1.4e-299], [1 / 3, 1 / 3 + 1e-16], [-1e-310, 0.0]])
def test_values_that_working_units_cannot_tell_apart(pair):
    law = QuantileGaussian(1)
    law.set_units(np.repeat(pair, 20)[:, None])
    law.double()
    log_p = law.log_prob(torch.zeros(2, 2).double(), working(law, pair))
    assert torch.isfinite(log_p).all()
    drawn = law.in_units_of_rows(law.sample(torch.zeros(50, 2).double()).numpy())
    assert (drawn == pair[0]).all()


def test_a_stepwise_density_is_comparable_with_a_density():
    """Of a normal column, rounded finely, the score is the normal law's."""
    x = np.random.RandomState(0).normal(size=(4000, 1)) * 3
    for decimals in (1, 2, 9):
        law = QuantileGaussian(1)
        law.set_units(np.round(x, decimals))
        rows = np.round(x, decimals)[:1000]
        log_p = law.double().log_prob(torch.zeros(1, 2).double(), working(law, rows)).mean().item()
        assert log_p == pytest.approx(stats.norm(0, 3).logpdf(rows).mean(), abs=0.03)


def test_exp_of_the_score_integrates_to_one():
    """Over a column of two modes and one of whole numbers, z integrated out by the model."""
    rng = np.random.RandomState(0)
    whole = rng.randint(0, 3, 600).astype(float)
    x = np.where(whole > 0, 3.0, -3.0) + rng.normal(size=600)
    vae = VAETransformer(
        1,
        likelihood="quantile_gaussian",
        hidden_layer_sizes=32,
        max_epochs=6,
        n_importance_samples=500,
        random_state=0,
    ).fit(np.column_stack([x, whole]))
    grid = np.linspace(-14, 14, 401)
    total = 0
    for value in range(-3, 7):
        rows = np.column_stack([grid, np.full(401, value)])
        total += integrate.trapezoid(np.exp(vae.score_samples(rows)), grid)
    assert total == pytest.approx(1, abs=0.03)


def test_few_multiples_of_ten_may_be_so_by_chance():
    for n_values, decimals in ((4, 0), (8, -1)):
        law = QuantileGaussian(1)
        law.set_units(10.0 * np.random.RandomState(0).randint(0, n_values, 300)[:, None])
        assert law.decimals[0] == decimals


@pytest.mark.parametrize("name", MULTIPLES)
def test_multiples_are_drawn_as_the_rows_have_them(name):
    x = COLUMNS[name]
    step = 10.0 ** -DECIMALS[name] * MULTIPLES[name]
    draws = drawn(x)
    # To the bit, those between them too.
    grid = np.round(step * np.arange(np.round(x.min() / step), np.round(x.max() / step) + 1), 2)
    assert set(x) <= set(grid) >= set(draws)
    shares = [np.mean(draws == value) - np.mean(x == value) for value in np.unique(x)]
    assert np.abs(shares).max() < 0.01


def test_heavy_tails_are_drawn_rounded():
    z = np.random.RandomState(0).normal(size=2000)
    draws = drawn(5 * np.round(20 * np.exp(2 * z)), (0.0, 1.0))
    assert draws.max() > 10_000
    assert (draws % 5 == 0).all()


def test_few_even_numbers_may_be_so_by_chance():
    for n_values, step in ((12, 1), (24, 2)):
        law = QuantileGaussian(1)
        law.set_units(2.0 * np.random.RandomState(0).randint(1, n_values, 900)[:, None])
        assert law.steps[0] == step


@pytest.mark.parametrize("seed", [2, 3])
def test_zeros_are_drawn_without_a_sign(seed):
    """Where single precision has them a little below."""
    x = np.random.RandomState(seed).poisson(3, 500) * np.random.RandomState(9).randint(1, 4, 500)
    draws = drawn(x, n=3000)
    assert (draws == 0).any() and not np.signbit(draws).any()


def drawn(x, outputs=(0.0, 0.0), n=100_000):
    """Draws of the law of a column, in single precision, as models have it."""
    law = QuantileGaussian(1)
    law.set_units(np.reshape(x, (-1, 1)))
    torch.manual_seed(0)
    return law.in_units_of_rows(law.sample(torch.tensor([outputs]).repeat(n, 1)).numpy())[:, 0]


@pytest.mark.parametrize("n", [1000, 20_000])
@pytest.mark.parametrize("share", [0.5, 0.3, 0.01])
@pytest.mark.parametrize("distance", [100.0, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("atom", [False, True])
def test_few_draws_are_between_clusters(n, share, distance, atom):
    x = np.random.RandomState(0).normal(size=n)
    upper = np.arange(n) < share * n
    x[upper] = distance + (1 / 3 if atom else x[upper])
    draws = drawn(x)
    # What float32 cannot tell apart is near its place.
    slack = 0.01 * distance + 4
    low = draws < x[~upper].max() + slack
    high = draws > x[upper].min() - slack
    assert 1 - low.mean() - high.mean() < 2e-3
    assert high.mean() == pytest.approx(upper.mean(), abs=0.006)


@pytest.mark.parametrize("n", [1000, 20_000])
@pytest.mark.parametrize("outliers", [[30.0], [-1e3], [1e6], [1e6, 1e6 + 1], [1e6, 3e6], [1e6] * 5])
@pytest.mark.parametrize("decimals", [1, 12])
def test_far_outliers_are_as_many_draws_as_rows(n, outliers, decimals):
    x = np.r_[np.random.RandomState(0).normal(size=n), outliers].round(decimals)
    draws = drawn(x)
    share = (np.abs(x) > 6).mean()
    # Up to a row more, and what a hundred thousand draws are off.
    assert (np.abs(draws) > 6).mean() == pytest.approx(share, abs=1 / n + 3e-4)
    assert draws[np.abs(draws) < 6].std() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("share", [0.03, 0.08])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_least_amount_is_far_from_none(share, sign):
    """Of rare amounts, in whole numbers, next to nothing but exactly nothing is drawn."""
    random = np.random.RandomState(0)
    x = np.zeros(5000)
    n = int(share * len(x))
    x[:n] = np.round(400 + 1600 * random.beta(3, 3, size=n))
    draws = sign * drawn(sign * x)
    amounts = draws[draws > 0]
    assert (amounts < 200).mean() < 0.02
    assert stats.ks_2samp(amounts, x[:n]).statistic < 0.05
    assert len(amounts) / len(draws) == pytest.approx(share, abs=0.003)


def test_gaps_on_both_sides_of_rows_between_heaps():
    random = np.random.RandomState(0)
    x = np.r_[np.zeros(400), np.full(400, 3000), np.round(random.normal(1500, 40, size=40))]
    between = (draws := drawn(x))[(draws > 0) & (draws < 3000)]
    assert len(between) / len(draws) == pytest.approx(40 / 840, abs=0.005)
    assert ((between < 1000) | (between > 2000)).mean() < 0.06


def test_few_counts_crowd_beside_a_heap():
    x = np.r_[np.zeros(12), [1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 10], [31, 40, 60, 75, 90, 93, 100]]
    for sign in (1, -1):
        draws = sign * drawn(sign * x)
        low = (draws > 0) & (draws <= 10)
        assert low.mean() == pytest.approx(11 / 30, abs=0.08)


@pytest.mark.parametrize("name", ["lognormal", "t", "expon"])
def test_heavy_tails_have_no_gaps(name):
    """Held-out rows are as probable as the family's own law has them, but for what 81 quantiles
    cost."""
    family = {"lognormal": stats.lognorm(1), "t": stats.t(3), "expon": stats.expon()}[name]
    rows, others = (family.rvs(20_000, random_state=seed)[:, None] for seed in (0, 1))
    law = QuantileGaussian(1)
    law.set_units(rows)
    log_p = law.double().log_prob(torch.zeros(1, 2).double(), working(law, others))
    assert log_p.mean().item() == pytest.approx(family.logpdf(others).mean(), abs=0.02)


def test_a_value_beside_an_atom_is_the_atoms():
    """One that float32 cannot tell from it, at the end of the rows: its score was without bound."""
    x = np.r_[np.random.RandomState(0).normal(size=1000), [5.0] * 100, 5 + 1e-9]
    law = QuantileGaussian(1)
    law.set_units(x[:, None])
    assert law.double().log_prob(torch.zeros(1, 2).double(), working(law, 10.0)) > -100


SHAPES = {
    "lognormal": lambda random, n: np.exp(random.normal(size=n)),
    "exponential": lambda random, n: random.exponential(size=n),
    "hurdle": lambda random, n: np.where(random.uniform(size=n) < 0.7, 0, random.gamma(2, 100, n)),
    "digits": lambda random, n: random.randint(0, 10, n).astype(float),
    "of two modes": lambda random, n: random.choice([-5, 5], n) + 0.3 * random.normal(size=n),
}


def law_of_shape(name):
    law = QuantileGaussian(1)
    law.set_units(SHAPES[name](np.random.RandomState(0), 5000)[:, None])
    return law.double()


@pytest.mark.parametrize("name", SHAPES)
def test_moments_are_those_of_draws(name):
    law = law_of_shape(name)
    torch.manual_seed(0)
    for location, log_variance, slack in [(0.0, 0.0, 0.03), (0.5, -1.0, 0.05)]:
        outputs = torch.tensor([[location, log_variance]], dtype=torch.float64)
        draws = law.sample(outputs.expand(1_000_000, 2))
        mean, variance = law.moments(outputs)
        torch.testing.assert_close(law.mean(outputs), mean)
        torch.testing.assert_close(law.variance(outputs), variance)
        assert abs(mean - draws.mean()) < 0.015 * draws.std()
        assert variance.item() == pytest.approx(draws.var().item(), rel=slack)


def test_the_mean_of_a_skewed_column_at_the_start():
    law, x = law_of_shape("lognormal"), SHAPES["lognormal"](np.random.RandomState(0), 5000)
    mean, variance = law.moments(torch.zeros(1, 2, dtype=torch.float64))
    assert mean.item() * law.scale[0] + law.centre[0] == pytest.approx(x.mean(), rel=0.01)
    assert variance.item() * law.scale[0] ** 2 == pytest.approx(x.var(), rel=0.05)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("n_draws", [1, 5, 30, 100, 1000])
@pytest.mark.parametrize("concentration", [0.0, 2.0, 8.0])
def test_expected_is_the_weighted_mean_of_means(name, n_draws, concentration):
    """However few draws there are, or have a weight."""
    law = law_of_shape(name)
    random = np.random.RandomState(n_draws)
    outputs = torch.as_tensor(random.normal([0, -1], 0.5, size=(30, n_draws, 2)))
    weights = torch.as_tensor(concentration * random.normal(size=(30, n_draws))).softmax(1)
    expected = torch.einsum("ns,nsd->nd", weights, law.mean(outputs))
    error = law.expected(outputs, weights) - expected
    spread = law.variance(torch.zeros(1, 2, dtype=torch.float64)).sqrt().item()
    assert error.abs().max() < (1e-6 if n_draws <= 5 else 0.06) * spread
    assert error.mean().abs() < 0.01 * spread


def test_features_of_many_rows_are_made_of_few_at_a_time(monkeypatch):
    law = QuantileGaussian(2)
    X = np.random.RandomState(0).normal(size=(300_000, 2))
    law.set_units(X[:1000])
    sizes, original = [], QuantileMap.feature
    monkeypatch.setattr(
        QuantileMap, "feature", lambda maps, x: sizes.append(x.numel()) or original(maps, x)
    )
    features = law.start_rows(X)
    assert max(sizes) <= 2**18 and sum(sizes) == X.size
    np.testing.assert_array_equal(features[-5:], law.start_rows(X[-5:]))


def test_codes_are_counted_in_little_memory():
    X = np.random.RandomState(0).randint(0, 20, size=(500_000, 4)).astype(float)
    law = Categorical(4)
    law.learn_support(X)
    tracemalloc.start()
    law.set_units(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Less than three times the rows; one-hot codes would be twenty times as much.
    assert peak < 48e6
    counts = [np.bincount(column.astype(int)) for column in X.T]
    np.testing.assert_array_equal(law.feature_centre, np.concatenate(counts) / len(X))


@pytest.mark.parametrize(("step", "atol"), [(0.1, 0.05), (0.5, 0.1)])
def test_components_of_rounded_columns_are_those_of_the_columns(step, atol):
    generator = np.random.RandomState(0)
    X = generator.normal(size=(800, 2)) @ generator.normal(size=(2, 5))
    X += 0.3 * generator.normal(size=X.shape)
    exact, rounded = (
        VAETransformer(2, likelihood="quantile_gaussian", max_epochs=0, random_state=0).fit(rows)
        for rows in (X, np.round(X / step) * step)
    )
    # Of steps of half a deviation the columns have so few values that each is an atom.
    np.testing.assert_allclose(rounded.components_, exact.components_, atol=atol)
    # Normal scores of values that rows share vary less, by what their middle ranks say.
    ranks = stats.rankdata(np.round(X / step) * step, axis=0)
    scores = stats.norm.ppf((ranks - 0.5) / len(X))
    features = rounded.net_.module_.likelihood.start_rows(np.round(X / step) * step)
    assert np.sqrt(((features - scores) ** 2).mean()) < 0.03
    expected = scores.var(axis=0).mean() * exact.explained_variance_
    np.testing.assert_allclose(rounded.explained_variance_, expected, rtol=0.03)
