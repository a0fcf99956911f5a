"""Rows outside the law, degenerate rows, and laws at the ends of their ranges."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from suited import suited_rows

from skvae import VAETransformer
from skvae.likelihoods import Categorical, NegativeBinomial, Poisson
from skvae.objective import elbo

SMALL = {"max_epochs": 2, "hidden_layer_sizes": 8, "n_importance_samples": 10, "random_state": 0}
OUTSIDE = {
    "bernoulli": 2.0,
    "continuous_bernoulli": 1.5,
    "lognormal": -5.0,
    "poisson": -1.0,
    "negative_binomial": 0.5,
    "zero_inflated_negative_binomial": -1.0,
    "multinomial": -1.0,
    "categorical": 99.0,
}


@pytest.mark.parametrize("law", OUTSIDE)
@pytest.mark.parametrize(
    "method", ["transform", "sample_posterior", "interpolate", "score_samples"]
)
def test_rows_that_the_law_does_not_allow_are_refused_everywhere(law, method):
    X = suited_rows(law, n=100)
    vae = VAETransformer(2, likelihood=law, **SMALL).fit(X)
    bad = X[:4].copy()
    bad[2, 3] = OUTSIDE[law]
    rest = (X[:4],) if method == "interpolate" else ()
    with pytest.raises(ValueError, match=f"found {OUTSIDE[law]:g} at row 2, column 3"):
        getattr(vae, method)(bad, *rest)


def test_grey_rows_have_latents_where_a_transform_makes_them_binary():
    X = suited_rows("continuous_bernoulli", n=100)
    vae = VAETransformer(2, likelihood="bernoulli", batch_transform=torch.bernoulli, **SMALL).fit(X)
    assert np.isfinite(vae.transform(X)).all()
    with pytest.raises(ValueError, match="columns of 0 and 1"):
        vae.score_samples(X)


class TestCategories:
    X = np.column_stack(
        [
            np.random.RandomState(0).choice([0, 2, 5], 200),
            np.random.RandomState(1).choice([0, 1], 200),
            np.random.RandomState(2).choice([0, 9999], 200),
        ]
    ).astype(float)

    @pytest.mark.parametrize("code", [1, 3, 4, 6, 100, 5000])
    def test_codes_that_a_column_has_not(self, code):
        vae = VAETransformer(2, likelihood="categorical", **SMALL).fit(self.X)
        bad = self.X[:3].copy()
        bad[1, 0] = code
        with pytest.raises(ValueError, match=f"found {code} at row 1, column 0.*n_codes"):
            vae.transform(bad)

    def test_large_codes_cost_no_more_than_small_ones(self):
        vae = VAETransformer(2, likelihood="categorical", **SMALL).fit(self.X)
        law = vae.net_.module_.likelihood
        assert law.n_outputs == 7
        outputs = torch.zeros(4, 7, dtype=torch.float64)
        # Three codes at most, and one place for those that there are not.
        assert law.law(outputs).logits.shape == (4, 3, 4)
        small = self.X.copy()
        small[:, 2] /= 9999
        small[:, 0] = np.searchsorted([0, 2, 5], self.X[:, 0])
        other = VAETransformer(2, likelihood="categorical", **SMALL).fit(small)
        # The latents are the same model; the draws of the score are keyed by the rows themselves.
        np.testing.assert_array_equal(vae.transform(self.X), other.transform(small))
        assert set(np.unique(vae.sample(300)[:, 2])) == {0, 9999}

    def test_codes_that_only_other_rows_have(self):
        law = partial(Categorical, n_codes=[6, 2, 2_000])
        X = self.X[self.X[:, 0] != 5]
        vae = VAETransformer(2, likelihood=law, **SMALL).fit(X)
        scores = vae.score_samples(self.X)
        assert np.isfinite(scores).all()
        assert scores[self.X[:, 0] == 5].mean() < scores[self.X[:, 0] != 5].mean() - 2

    @pytest.mark.parametrize("n_codes", [[6, 2], [6, 2, -1], 2.5, [6, 2, 20_000]])
    def test_numbers_of_codes_have_to_fit(self, n_codes):
        law = partial(Categorical, n_codes=n_codes)
        with pytest.raises(ValueError, match="n_codes must be an int, or one for each of the 3"):
            VAETransformer(2, likelihood=law, **SMALL).fit(self.X)

    @pytest.mark.parametrize("prior", ["normal", "mixture", "vamp", "fitted"])
    def test_columns_of_one_code_are_certain(self, prior):
        vae = VAETransformer(2, likelihood="categorical", prior=prior, **SMALL)
        with pytest.warns(UserWarning):
            vae.fit(np.ones((60, 3)))
        assert vae.score(np.ones((4, 3))) == pytest.approx(0, abs=0.3)

    def test_a_transform_that_leaves_the_codes_diverges_and_says_so(self):
        X = np.random.RandomState(0).uniform(size=(300, 5))
        vae = VAETransformer(
            2,
            likelihood="categorical",
            batch_transform=lambda x: torch.poisson(3 * x),
            **(SMALL | {"max_epochs": 5}),
        )
        with pytest.warns(UserWarning, match="diverged"):
            vae.fit(X)
        assert np.isfinite(vae.transform(np.ones((2, 5)))).all()


@pytest.mark.parametrize(
    "law",
    ["poisson", "negative_binomial", "zero_inflated_negative_binomial", "multinomial"],
)
@pytest.mark.filterwarnings("ignore:.*latent components carry less")
def test_rows_without_a_count(law):
    vae = VAETransformer(2, likelihood=law, **SMALL).fit(np.zeros((60, 3)))
    assert vae.score(np.zeros((4, 3))) > -0.2
    assert np.isfinite(vae.sample(5)).all()


@pytest.mark.parametrize("law", [Poisson, NegativeBinomial])
def test_large_counts_in_single_precision(law):
    random = np.random.RandomState(0)
    X = np.minimum(random.gamma(0.5, 8e6, size=(200, 3)).round(), 2**24)
    likelihood = law(3)
    likelihood.set_units(X)
    x = torch.as_tensor(X).float()
    # The rates nearest to the rows, so that the terms cancel most.
    outputs = (x + 1).log() - likelihood.offset.float()
    single = likelihood.float().log_prob(outputs, x).detach().numpy()
    rates = np.exp(outputs.double().numpy() + likelihood._offset)
    if law is Poisson:
        exact = stats.poisson.logpmf(X, rates)
    else:
        r = np.exp(likelihood.log_dispersion.detach().double().numpy())
        exact = stats.nbinom.logpmf(X, r, r / (r + rates))
    # A float32 offset moves a rate of 1e7 by a part in 1e7.
    np.testing.assert_allclose(single, exact, atol=0.02)


@pytest.mark.parametrize("law", ["poisson", "zero_inflated_negative_binomial", "multinomial"])
def test_the_covariance_has_the_totals_in_it(law):
    X = suited_rows("zero_inflated_negative_binomial", n=600, d=5)
    if law == "poisson":
        law = partial(Poisson, library_size=True)
    vae = VAETransformer(2, likelihood=law, **SMALL).fit(X)
    drawn = np.cov(vae.sample(40_000, random_state=1).T)
    np.testing.assert_allclose(np.diag(vae.get_covariance()), np.diag(drawn), rtol=0.1)


def test_free_bits_where_a_latent_carries_nothing():
    kl = torch.zeros(5, 2, requires_grad=True)
    terms = torch.zeros(5, 1, 1), torch.zeros(5, 1), torch.zeros(5, 1), kl
    bound = elbo(*terms, free_bits=5.0)
    bound.mean().backward()
    assert bound.tolist() == [-10.0] * 5
    assert kl.grad.abs().max() == 0


@pytest.mark.parametrize("law", ["multinomial", "zero_inflated_negative_binomial", "lognormal"])
def test_pseudo_inputs_are_not_bound_to_the_support(law):
    X = suited_rows(law, n=300)
    vae = VAETransformer(
        2, likelihood=law, prior="vamp", lr=0.1, early_stopping=False, **SMALL
    ).fit(X)
    assert np.isfinite(vae.score(X))


def test_pseudo_inputs_of_codes_are_learned():
    X = suited_rows("categorical", n=300)
    vae = VAETransformer(
        2, likelihood="categorical", prior="vamp", early_stopping=False, **SMALL
    ).fit(X)
    pseudo_inputs = vae.net_.module_.prior.pseudo_inputs
    likelihood = vae.net_.module_.likelihood
    rows = likelihood.features(torch.as_tensor(X))
    nearest = torch.cdist(pseudo_inputs, rows).min(dim=1).values
    assert nearest.max() > 1e-4


class TestHeavyTails:
    @pytest.mark.parametrize("law", ["student_t", "laplace"])
    def test_far_rows_do_not_decide_the_start(self, law):
        random = np.random.RandomState(0)
        X = random.standard_normal((500, 2)) @ random.standard_normal((2, 6))
        X += 0.2 * random.standard_normal(X.shape)
        vae = VAETransformer(2, likelihood=law, max_epochs=0, random_state=0)
        clean = vae.fit(X).score(X)
        spoilt = X.copy()
        spoilt[:10] *= 1e6
        with_far_rows = vae.fit(spoilt).score(X[10:])
        assert with_far_rows > clean - 1.5

    @pytest.mark.filterwarnings("ignore:.*latent components carry less")
    def test_rows_of_cauchy_are_nearly_as_likely_as_under_independent_laws(self):
        random = np.random.RandomState(0)
        X = random.standard_cauchy((800, 4))
        X, X_test = X[:500], X[500:]
        independent = sum(
            stats.t.logpdf(X_test[:, j], 2.01, 0, scale).mean()
            for j, scale in enumerate(np.median(np.abs(X), axis=0))
        )
        vae = VAETransformer(
            1, likelihood="student_t", hidden_layer_sizes=8, max_epochs=150, random_state=0
        ).fit(X)
        assert vae.score(X_test) > independent - 1

    def test_features_bend_beyond_three(self):
        X = np.random.RandomState(0).standard_normal((1000, 1)) * 5 + 2
        vae = VAETransformer(1, likelihood="laplace", max_epochs=0, random_state=0).fit(X)
        law = vae.net_.module_.likelihood
        t = np.array([[-10.0], [0.0], [3.0], [4.0], [1e9]])
        expected = [[-3 - np.log(8)], [0.0], [3.0], [3 + np.log(2)], [6.0]]
        np.testing.assert_allclose(law.start_rows(t * law.scale + law.centre), expected)
        bent = law.features(torch.as_tensor(t)).detach().numpy()
        np.testing.assert_allclose(bent, (expected - law.feature_centre) / law.feature_scale)
        assert abs(law.centre[0] - np.median(X)) < 1e-12
