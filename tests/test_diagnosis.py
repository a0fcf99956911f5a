"""diagnose: its numbers against closed forms and brute force, faults that it has to name, and sound
models that it must not accuse."""

import math
import pickle
import warnings
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from scipy.stats import chi2, ks_2samp, multivariate_normal, norm, spearmanr
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from suited import suited_rows

from skvae import PosteriorCollapseWarning, VAEOutlierDetector, VAETransformer, diagnose
from skvae.aggregate import aggregate, gain_of_fitted_prior
from skvae.findings import findings_of
from skvae.likelihoods import COLUMN_NOISE_FLOOR, LIKELIHOODS
from skvae.marginal_checks import LEAST_DISTANCE, MarginalCheck, compare_marginals
from skvae.pair_checks import compare_pairs
from skvae.reports import Message, Section, as_html, as_text
from skvae.scores import bounds, elbo_terms, importance_scores

IRIS = load_iris().data
WINE = StandardScaler().fit_transform(load_wine().data)


def linear_rows(n, k, d, seed=0):
    random = np.random.RandomState(seed)
    return random.normal(size=(n, k)) @ random.normal(size=(k, d)) + random.normal(size=(n, d))


def counts(n=400, seed=0):
    random = np.random.RandomState(seed)
    rates = np.exp(0.5 * random.normal(size=(n, 2)) @ random.normal(size=(2, 5)) + 0.5)
    return random.poisson(rates).astype(float)


def mixed_table(n=400, seed=0):
    random = np.random.RandomState(seed)
    height, kind = random.normal(170, 8, n), random.choice(["a", "b", "c"], n)
    weight = np.exp(random.normal(height / 100, 0.2))
    visits = random.poisson(2, n) + 3 * (kind == "a")
    return pd.DataFrame({"height": height, "weight": weight, "kind": kind, "visits": visits})


def names(findings):
    return [finding.name for finding in findings]


def zero_epochs(k=2, **parameters):
    return VAETransformer(k, max_epochs=0, random_state=0, **parameters)


class TestBounds:
    def test_at_zero_epochs_are_pcas(self):
        X_train, X = train_test_split(WINE, random_state=0)
        diagnosis = diagnose(zero_epochs(3).fit(X_train), X, X_train=X_train)
        pca = PCA(3).fit(X_train)
        assert diagnosis.log_prob == pytest.approx(pca.score(X), rel=1e-6)
        # The posterior is exact: any draw has the same weight.
        assert diagnosis.elbo == pytest.approx(pca.score(X), rel=1e-6)
        assert diagnosis.gap == pytest.approx(0, abs=1e-6)
        assert diagnosis.effective_sample_size == pytest.approx(100, rel=1e-6)
        gap = pca.score(X_train) - pca.score(X)
        assert diagnosis.train_gap == pytest.approx(gap, rel=1e-6)
        errors = [pca.score_samples(rows).std(ddof=1) / len(rows) ** 0.5 for rows in (X, X_train)]
        assert diagnosis.train_gap_error == pytest.approx(np.hypot(*errors), rel=1e-6)
        assert diagnosis.is_linear_start and diagnosis.linear_gain == 0

    def test_after_training_are_those_of_the_estimator(self, iris_model):
        diagnosis = diagnose(iris_model, IRIS)
        terms = iris_model.elbo(IRIS)
        # By other draws of q(z|x), 100 a row.
        assert diagnosis.elbo == pytest.approx(terms.elbo.mean(), abs=0.02)
        assert diagnosis.kl == pytest.approx(terms.kl.sum(axis=1).mean(), rel=1e-6)
        assert diagnosis.log_prob == pytest.approx(iris_model.score(IRIS), abs=0.02)
        assert diagnosis.elbo == pytest.approx(diagnosis.reconstruction - diagnosis.kl)
        assert diagnosis.gap == pytest.approx(diagnosis.log_prob - diagnosis.elbo) and (
            diagnosis.gap > 0
        )
        assert_allclose(diagnosis.component_kl, terms.kl.mean(axis=0), rtol=1e-6)

    def test_the_gain_over_the_linear_start_is_that_over_pca(self):
        X_train, X = train_test_split(WINE, random_state=0)
        vae = VAETransformer(2, max_epochs=15, early_stopping=False, random_state=0).fit(X_train)
        diagnosis = diagnose(vae, X, X_train=X_train)
        pca = PCA(2).fit(X_train)
        gain = vae.score_samples(X) - pca.score_samples(X)
        assert diagnosis.linear_gain == pytest.approx(gain.mean(), abs=0.03)
        error = gain.std(ddof=1) / math.sqrt(len(X))
        assert diagnosis.linear_gain_error == pytest.approx(error, rel=0.1)
        of_train = (vae.score_samples(X_train) - pca.score_samples(X_train)).mean()
        assert diagnosis.training_gain == pytest.approx(of_train, abs=0.03)
        assert diagnosis.excess_gap == pytest.approx(of_train - gain.mean(), abs=0.05)

    def test_without_training_rows_pca_is_fitted_to_the_other_half(self):
        X = linear_rows(3000, 2, 6)
        vae = VAETransformer(2, max_epochs=1, early_stopping=False, random_state=0).fit(X)
        diagnosis = diagnose(vae, X, random_state=0)
        halves = X[::2], X[1::2]
        crossed = np.mean([PCA(2).fit(a).score(b) for a, b in (halves, halves[::-1])])
        # Other halves, of the same law: by (parameters / rows) of each other.
        expected = vae.score(X) - crossed
        assert diagnosis.linear_gain == pytest.approx(expected, abs=0.02)

    def test_the_gap_by_the_history_is_that_of_the_objective(self):
        vae = VAETransformer(2, max_epochs=5, early_stopping=False, random_state=0).fit(IRIS)
        diagnosis = diagnose(vae, IRIS[::2])
        terms = vae.elbo(IRIS[::2])
        expected = -vae.history_[-1]["train_loss"] - terms.elbo.mean()
        assert diagnosis.train_gap == pytest.approx(expected, abs=0.02)
        losses = vae.history_[:, "train_loss"]
        assert diagnosis.training_gain == pytest.approx(losses[0] - losses[-1])
        assert diagnosis.late_gain == pytest.approx(losses[1] - losses[4])

    def test_losses_of_a_warm_up_are_not_compared(self):
        # They rise with the weight of the KL term: no loss, and no overfitting of held-out rows.
        X, X_train = linear_rows(600, 3, 8)[:300], linear_rows(600, 3, 8)[300:]
        vae = VAETransformer(
            3, kl_warmup=0.85, max_epochs=10, early_stopping=False, random_state=0
        ).fit(X_train)
        losses = vae.history_[:, "train_loss"]
        assert losses[-1] > losses[0] + 1
        diagnosis = diagnose(vae, X)
        # Only the last epoch has the whole term.
        assert diagnosis.total_gain == diagnosis.late_gain == 0
        expected = -losses[-1] - vae.elbo(X).elbo.mean()
        assert diagnosis.train_gap == pytest.approx(expected, abs=0.02)
        assert diagnosis.training_gain is None
        assert not {"overfitting", "undertrained"} & set(names(diagnosis.findings))
        # An epoch of the warm-up itself.
        vae.best_epoch_ = 9
        assert diagnose(vae, X).train_gap is None

    def test_what_training_takes_back_after_a_warm_up_is_no_gain(self):
        X = linear_rows(600, 3, 8)
        vae = VAETransformer(3, kl_warmup=0.6, max_epochs=10, lr=0.01, random_state=0).fit(X)
        losses = vae.history_[6:, "valid_loss"]
        diagnosis = diagnose(vae, X)
        start = dict(vae.net_.callbacks_)["best_epoch"].start_loss()
        assert diagnosis.total_gain == pytest.approx(start - losses[-1])
        assert diagnosis.late_gain == pytest.approx(losses[1] - losses[-1])

    def test_losses_by_weights_are_not_compared(self):
        weight = np.random.RandomState(0).uniform(size=150)
        vae = VAETransformer(2, max_epochs=3, early_stopping=False, random_state=0)
        diagnosis = diagnose(vae.fit(IRIS, sample_weight=weight), IRIS)
        assert diagnosis.train_gap is None and diagnosis.total_gain is not None

    def test_the_course_of_training_is_that_of_the_history(self, iris_model):
        diagnosis = diagnose(iris_model, IRIS)
        losses = iris_model.history_[:, "valid_loss"]
        best = dict(iris_model.net_.callbacks_)["best_epoch"]
        assert diagnosis.n_epochs == len(losses) and diagnosis.selected
        assert diagnosis.best_epoch == iris_model.best_epoch_
        assert diagnosis.total_gain == pytest.approx(best.start_loss() - losses[-1])
        assert diagnosis.late_gain == pytest.approx(losses[len(losses) // 2 - 1] - losses[-1])

    @pytest.mark.parametrize("prior", ["normal", "mixture"])
    def test_all_bounds_at_once_are_each_by_itself(self, monkeypatch, prior):
        vae = VAETransformer(2, prior=prior, max_epochs=3, random_state=0).fit(IRIS)
        arguments = vae.net_, IRIS, 5, 37, torch.float64
        # By pieces of the draws too.
        for at_once in (1000, 10):
            monkeypatch.setattr("skvae.scores._DRAWS_AT_ONCE", at_once)
            expected = *importance_scores(*arguments), *elbo_terms(*arguments)
            for found, wanted in zip(bounds(*arguments), expected, strict=True):
                assert_allclose(found, wanted, rtol=1e-9)


class TestLatents:
    def test_kl_of_components_at_zero_epochs(self):
        diagnosis = diagnose(zero_epochs(4).fit(WINE), WINE)
        pca, n = PCA(4).fit(WINE), len(WINE)
        ratio = pca.explained_variance_ / pca.noise_variance_
        # (1/2) log(l / s2), but that means over n rows stand for n - 1.
        assert_allclose(diagnosis.component_kl, 0.5 * np.log(ratio) - 0.5 * (1 - 1 / ratio) / n)
        assert_allclose(diagnosis.mean_variance, (1 - 1 / ratio) * (n - 1) / n)
        assert diagnosis.active.all() and diagnosis.n_active == 4

    def test_information_in_the_gaussian_case(self):
        # There q(z) is p(z), and each latent's mutual information with the rows its KL.
        X = linear_rows(2000, 2, 6)
        diagnosis = diagnose(zero_epochs(2).fit(X), X, random_state=0)
        pca = PCA(2).fit(X)
        expected = 0.5 * np.log(pca.explained_variance_ / pca.noise_variance_)
        assert_allclose(diagnosis.component_information, expected, atol=0.1)
        assert diagnosis.information == pytest.approx(expected.sum(), abs=0.15)
        assert_allclose(diagnosis.component_mismatch, 0, atol=0.03)
        assert abs(diagnosis.mismatch) < 0.05 and abs(diagnosis.total_correlation) < 0.05
        assert abs(diagnosis.prior_gain) < 0.03

    @pytest.mark.parametrize("correlated", [False, True])
    def test_aggregate_is_what_scipy_sums(self, correlated):
        random, n, k = np.random.RandomState(0), 30, 3
        loc, root = random.normal(size=(n, k)), random.uniform(0.2, 1, size=(n, k))
        roots = np.array([np.diag(row) for row in root])
        if correlated:
            root = roots = roots + np.tril(random.normal(size=(n, k, k)), -1)
        z = loc + np.einsum("nij,nj->ni", roots, random.normal(size=(n, k)))
        laws = [multivariate_normal(m, r @ r.T) for m, r in zip(loc, roots, strict=True)]
        own = np.array([law.logpdf(row) for law, row in zip(laws, z, strict=True)])
        mean = np.log(np.mean([law.pdf(z) for law in laws], axis=0))
        deviation = np.sqrt((roots**2).sum(axis=2))
        of_latents = norm.pdf(z[:, None], loc, deviation).mean(axis=1)
        net = zero_epochs(k).fit(WINE).net_
        found = aggregate(net, loc, root, z)
        assert found.information == pytest.approx((own - mean).mean())
        prior = norm.logpdf(z)
        assert found.mismatch == pytest.approx((mean - prior.sum(axis=1)).mean())
        of_components = norm.logpdf(z, loc, deviation) - np.log(of_latents)
        assert_allclose(found.component_information, of_components.mean(axis=0))
        mismatches = (np.log(of_latents) - prior).mean(axis=0)
        assert_allclose(found.component_mismatch, mismatches)
        assert found.total_correlation == pytest.approx(found.mismatch - mismatches.sum())

    def test_mismatch_of_a_gaussian_that_is_not_the_prior(self):
        random, n = np.random.RandomState(0), 2000
        net = zero_epochs(2).fit(WINE).net_
        shift, spread, own = np.array([0.5, 0.0]), np.array([1.0, 1.5]), 0.4
        loc, root = shift + spread * random.normal(size=(n, 2)), np.full((n, 2), own)
        z = loc + own * random.normal(size=(n, 2))
        variance = spread**2 + own**2
        expected = 0.5 * (variance + shift**2 - 1 - np.log(variance))
        found = aggregate(net, loc, root, z)
        assert_allclose(found.component_mismatch, expected, atol=0.1)
        assert found.mismatch == pytest.approx(expected.sum(), abs=0.15)
        information = 0.5 * np.log(variance / own**2)
        assert_allclose(found.component_information, information, atol=0.1)
        gain, error = gain_of_fitted_prior(net, loc, root, 0)
        assert abs(gain - expected.sum()) < 4 * error + 0.01 and error < 0.06

    def test_latents_apart_say_log_n_and_no_more(self):
        net, n = zero_epochs(2).fit(WINE).net_, 50
        loc = np.column_stack([np.arange(n), np.zeros(n)])
        found = aggregate(net, loc, np.full((n, 2), 1e-3), loc)
        assert found.information == pytest.approx(math.log(n))
        assert found.component_information[0] == pytest.approx(math.log(n))
        assert found.component_information[1] == pytest.approx(0, abs=1e-12)

    @pytest.mark.parametrize("prior", ["mixture", "vamp", "flow", "fitted"])
    def test_with_a_joint_prior(self, prior):
        vae = VAETransformer(2, prior=prior, max_epochs=3, random_state=0).fit(IRIS)
        diagnosis = diagnose(vae, IRIS, n_draws=20)
        assert diagnosis.component_kl is diagnosis.component_mismatch is None
        assert diagnosis.total_correlation is None
        # What the latents say of the rows needs no prior.
        assert diagnosis.active.all() and (diagnosis.component_information > 0.1).all()
        # By the draws, one a row and twenty.
        total = diagnosis.information + diagnosis.mismatch
        assert total == pytest.approx(diagnosis.kl, abs=0.4)
        assert "joint prior" in str(diagnosis)


class TestMarginals:
    def test_distance_of_numbers(self):
        random = np.random.RandomState(0)
        X, Y = random.normal(size=(80, 3)), random.normal(size=(60, 3)) * [1, 2, 1] + [0, 0, 1]
        X[::7, 0] = np.nan
        check = compare_marginals(X, Y, np.zeros(3, bool))
        for j in range(3):
            x, y = X[:, j][~np.isnan(X[:, j])], Y[:, j]
            at = np.concatenate([x, y])
            apart = np.abs((x <= at[:, None]).mean(axis=1) - (y <= at[:, None]).mean(axis=1))
            assert check.distance[j] == pytest.approx(apart.max())
            # scipy's own choice of method is exact here.
            exact = ks_2samp(x, y).pvalue
            assert check.p_value[j] == pytest.approx(min(3 * exact, 1), rel=0.35, abs=1e-4)
        assert check.off.tolist() == [False, False, True] or check.off[2]

    def test_distance_of_categories(self):
        X, Y = np.repeat([0, 1, 2], [50, 30, 20])[:, None], np.repeat([2, 0], [60, 40])[:, None]
        check = compare_marginals(X.astype(float), Y.astype(float), np.array([True]))
        assert check.distance[0] == pytest.approx((0.1 + 0.3 + 0.4) / 2)
        # By hand: cells (observed - expected)^2 / expected, expected being the mean of both.
        statistic = 2 * (25 / 45 + 225 / 15 + 400 / 40)
        assert check.p_value[0] == pytest.approx(chi2.sf(statistic, 2))
        assert check.off.all()

    def test_one_category_is_not_off(self):
        ones = np.ones((30, 1))
        check = compare_marginals(ones, ones, np.array([True]))
        assert check.distance[0] == 0 and check.p_value[0] == 1

    def test_the_same_law_is_hardly_ever_off(self):
        random, d = np.random.RandomState(0), 20
        times_off = 0
        for _ in range(200):
            X, Y = random.normal(size=(2, 100, d))
            times_off += compare_marginals(X, Y, np.zeros(d, bool)).off.any()
        # 2 on average, if the level is 0.01; above 8 once in ten thousand.
        assert times_off <= 8

    def test_small_differences_of_many_rows_are_not_off(self):
        random = np.random.RandomState(0)
        X, Y = random.normal(size=(50_000, 1)), random.normal(0.1, 1, size=(50_000, 1))
        check = compare_marginals(X, Y, np.array([False]))
        assert check.p_value[0] < 1e-10 and check.distance[0] < LEAST_DISTANCE
        assert not check.off[0]

    def test_columns_of_a_linear_model_are_the_gaussian_ones(self):
        # One column of two modes, which one component of nine cannot have: what comes back is a
        # normal law of its mean and variance, whose distance is known.
        random = np.random.RandomState(0)
        X = random.normal(size=(5000, 9))
        X[:, 4] = np.sign(X[:, 4])
        diagnosis = diagnose(zero_epochs(1).fit(X), X, n_draws=5)
        share = np.abs(zero_epochs(1).fit(X).components_[0, 4])
        assert share < 0.5
        for check in (diagnosis.replicates, diagnosis.samples):
            assert check.off.tolist() == [j == 4 for j in range(9)]
        # At -1 half of the rows are, and a sixth of the normal law.
        expected = 0.5 - norm.cdf(-1)
        assert diagnosis.samples.distance[4] == pytest.approx(expected, abs=0.03)


class TestPairs:
    NUMBERS = np.zeros(3, bool)

    def test_rank_correlations(self):
        random = np.random.RandomState(0)
        X, Y = np.exp(random.normal(size=(2, 300, 3)) @ random.normal(size=(3, 3)))
        check = compare_pairs(X, Y, self.NUMBERS)
        assert check.columns.tolist() == [[0, 1], [0, 2], [1, 2]]
        for (i, j), of_rows, of_samples in zip(
            check.columns, check.rows, check.samples, strict=True
        ):
            assert of_rows == pytest.approx(spearmanr(X[:, i], X[:, j])[0])
            assert of_samples == pytest.approx(spearmanr(Y[:, i], Y[:, j])[0])

    def test_p_value_is_fishers(self):
        """Of two independent columns the p-values are uniform."""
        random, p_values = np.random.RandomState(0), []
        for _ in range(400):
            X, Y = random.normal(size=(2, 100, 2))
            p_values.append(compare_pairs(X, Y, np.zeros(2, bool)).p_value[0])
        assert ks_2samp(p_values, np.linspace(0, 1, 1000)).pvalue > 0.01

    def test_the_same_law_is_hardly_ever_off(self):
        """Whatever the columns are: skewed, counts, rare ones, codes of which one is rare."""
        times_off = 0
        for seed in range(200):
            random = np.random.RandomState(seed)
            n = random.choice([20, 50, 200, 1000])

            def drawn(random=random, n=n):
                z = random.normal(size=n)
                numbers = [np.exp(2 * z + random.normal(size=n)), random.poisson(np.exp(z))]
                codes = [random.randint(0, 4, n), np.where(z > 0.5, random.randint(0, 3, n), 3)]
                return np.column_stack([*numbers, z > 1.2, random.standard_cauchy(n), *codes])

            check = compare_pairs(drawn(), drawn(), np.array([0, 0, 0, 0, 1, 1], bool))
            times_off += check.off.any()
        # 2 on average, if the level is 0.01; above 8 once in ten thousand.
        assert times_off <= 8

    def test_categories_and_missing_cells(self):
        """A sum that only one department has, and half of the cells not seen."""
        random = np.random.RandomState(0)
        department = random.randint(0, 4, 800).astype(float)
        bonus = np.where(department == 2, np.exp(random.normal(size=800)), 0.0)
        X = np.column_stack([department, bonus, random.normal(size=800)])
        Y = np.column_stack([department[::-1], bonus, random.normal(size=800)])
        X[::2, 0] = np.nan
        categories = np.array([1, 0, 0], bool)
        assert not compare_pairs(X, X, categories).off.any()
        check = compare_pairs(X, Y, categories)
        assert check.off.tolist() == [True, False, False]
        # Cells that X has not play no part in Y either.
        others = compare_pairs(X, np.where(np.isnan(X), 1.0, Y), categories)
        assert_array_equal(check.samples, others.samples)
        # Of the category that differs most, over the rows that have both cells.
        seen = ~np.isnan(X[:, 0])
        expected = spearmanr(X[seen, 0] == 2, bonus[seen])[0]
        assert check.rows[0] == pytest.approx(expected, abs=0.01) and expected > 0.9

    def test_columns_of_next_to_nothing(self):
        for X in (np.ones((30, 2)), np.full((30, 2), np.nan), np.ones((30, 1))):
            check = compare_pairs(X, X, np.zeros(X.shape[1], bool))
            assert not check.off.any() and len(check.rows) == X.shape[1] - 1

    def test_few_components_do_not_keep_them(self):
        random = np.random.RandomState(0)
        X = np.repeat(random.normal(size=(500, 3)), 2, axis=1) + 0.3 * random.normal(size=(500, 6))
        options = {"likelihood": "diagonal_gaussian", "max_epochs": 0}
        few, enough = (VAETransformer(k, **options).fit(X) for k in (1, 3))
        finding = next(f for f in diagnose(few, X).findings if f.name == "loose_pairs")
        assert finding.severity == "note" and "(0.9" in finding.words
        assert finding.words.startswith("2 of 15 pairs") and "more n_components" in finding.cure
        diagnosis = diagnose(enough, X)
        assert "loose_pairs" not in names(diagnosis.findings)
        assert "Of 15 pairs 0 have another rank correlation" in " ".join(str(diagnosis).split())


@pytest.fixture(scope="module")
def iris_model():
    vae = VAETransformer(2, random_state=1).fit(IRIS)
    assert vae.best_epoch_ > 0
    return vae


SOUND = {
    "iris": (lambda: IRIS, {}),
    "wine": (lambda: WINE, {}),
    "breast_cancer": (
        lambda: load_breast_cancer().data,
        {"n_components": 5, "likelihood": "quantile_gaussian"},
    ),
    "counts": (counts, {"likelihood": "negative_binomial"}),
    "table": (mixed_table, {"likelihood": "auto"}),
    "linear": (lambda: linear_rows(300, 2, 8), {}),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_models_are_not_accused(name):
    make, parameters = SOUND[name]
    X = make()
    vae = VAETransformer(random_state=0, **parameters).fit(X)
    assert diagnose(vae, X, random_state=0).warnings == ()


def test_sound_models_are_not_accused_on_rows_that_they_have_not_seen():
    X_train, X = train_test_split(linear_rows(400, 2, 8), random_state=0)
    vae = VAETransformer(2, random_state=0).fit(X_train)
    for given in ({}, {"X_train": X_train}):
        assert diagnose(vae, X, **given).warnings == ()


class TestFaults:
    @pytest.mark.parametrize("init", ["pca", "random"])
    def test_collapse(self, init):
        vae = VAETransformer(3, beta=20, init=init, max_epochs=60, early_stopping=False)
        with pytest.warns(PosteriorCollapseWarning):
            vae.set_params(random_state=0).fit(WINE)
        diagnosis = diagnose(vae, WINE)
        assert "posterior_collapse" in names(diagnosis.warnings)
        finding = diagnosis.findings[names(diagnosis.findings).index("posterior_collapse")]
        assert finding.words.startswith("3 of 3 components") and "beta=20" in finding.cure
        assert ("init='pca'" in finding.cure) == (init == "random")
        assert diagnosis.n_active == 0 and diagnosis.kl < 0.05

    def test_rows_of_another_kind_are_not_told_to_take_the_law_that_they_have(self):
        random = np.random.RandomState(0)
        latent = random.normal(size=(600, 1))
        X = np.hstack([latent, -latent, random.poisson(np.exp(latent))])
        X[:, :2] += 0.5 * random.normal(size=(600, 2))
        vae = VAETransformer(1, likelihood="quantile_gaussian", max_epochs=0).fit(X[:400])
        others = X[400:].copy()
        others[:, 2] = 30
        others[::2, 2] = 31
        finding = diagnose(vae, others).findings[0]
        assert finding.name == "wrong_likelihood" and "of another kind" in finding.words
        assert "rows of the kind that the model was fitted to" in finding.cure
        assert "likelihood" not in finding.cure

    @pytest.mark.parametrize("given", [False, True], ids=["by the history", "X_train"])
    def test_overfitting(self, given):
        X_train, X = train_test_split(WINE, train_size=60, random_state=0)
        vae = VAETransformer(
            3,
            max_epochs=200,
            early_stopping=False,
            optimizer__weight_decay=0.0,
            random_state=0,
        ).fit(X_train)
        diagnosis = diagnose(vae, X, X_train=X_train if given else None)
        assert names(diagnosis.warnings)[0] == "overfitting"
        assert "early_stopping=True" in diagnosis.warnings[0].cure
        assert "undertrained" not in names(diagnosis.findings)
        # The cure helps.
        vae.set_params(early_stopping=True, optimizer__weight_decay=0.01).fit(X_train)
        assert "overfitting" not in names(diagnose(vae, X, X_train=X_train).findings)

    @pytest.mark.parametrize("max_epochs", [0, 1, 2])
    def test_undertrained_from_random_weights(self, max_epochs):
        vae = VAETransformer(2, init="random", max_epochs=max_epochs, random_state=0).fit(IRIS)
        diagnosis = diagnose(vae, IRIS)
        assert names(diagnosis.warnings) == ["undertrained"]
        assert "init='pca'" in diagnosis.warnings[0].cure
        assert diagnosis.linear_gain < -1

    def test_undertrained_from_pca(self):
        X = load_digits().data
        vae = VAETransformer(8, max_epochs=2, hidden_layer_sizes=64, random_state=0).fit(X)
        diagnosis = diagnose(vae, X, n_draws=10)
        assert vae.best_epoch_ == 2 and diagnosis.linear_gain > 0
        assert "undertrained" in names(diagnosis.warnings)

    def test_a_small_beta_is_worse_than_linear(self):
        vae = VAETransformer(2, beta=0.01, max_epochs=60, early_stopping=False, random_state=0)
        diagnosis = diagnose(vae.fit(IRIS), IRIS)
        assert diagnosis.linear_gain < -3 * diagnosis.linear_gain_error
        assert names(diagnosis.warnings) == ["worse_than_linear"]
        assert "beta=1 (it is 0.01)" in diagnosis.warnings[0].cure

    @pytest.mark.parametrize("init", ["pca", "random"])
    def test_training_that_led_away_from_pca_is_not_said_to_be_short(self, init):
        # As by a learning rate of 0.5: far worse than the start, and on the way back.
        vae = VAETransformer(2, init=init, max_epochs=2, early_stopping=False, random_state=0)
        course = {"n_epochs": 20, "max_epochs": 20, "best_epoch": 20, "is_linear_start": False}
        course |= {"total_gain": 10.0, "total_gain_error": 0.0, "late_gain": 6.0}
        course |= {"linear_gain": -7.0, "linear_gain_error": 0.5, "train_gap": None}
        diagnosis = replace(diagnose(vae.fit(IRIS), IRIS, n_draws=10), **course)
        found = {finding.name: finding for finding in findings_of(vae, diagnosis)}
        if init == "random":
            assert "worse_than_linear" not in found
            assert "max_epochs above 20" in found["undertrained"].cure
            return
        assert "undertrained" not in found
        cure = found["worse_than_linear"].cure
        assert "early_stopping=True" in cure and "a lower lr" in cure and "max_epochs" not in cure

    @pytest.mark.parametrize("max_epochs", [0, 10])
    def test_wrong_likelihood_of_counts(self, max_epochs):
        X = counts()
        vae = VAETransformer(2, max_epochs=max_epochs, random_state=0).fit(X)
        diagnosis = diagnose(vae, X)
        assert "wrong_likelihood" in names(diagnosis.warnings)
        cure = diagnosis.findings[names(diagnosis.findings).index("wrong_likelihood")].cure
        assert "negative_binomial" in cure
        # It is right; so is that of the counts' own model.
        right = VAETransformer(2, likelihood="poisson", max_epochs=max_epochs, random_state=0)
        assert not diagnose(right.fit(X), X).replicates.off.any()

    def test_wrong_likelihood_of_single_columns(self):
        random = np.random.RandomState(0)
        table = pd.DataFrame(random.normal(size=(500, 5)), columns=list("abcde"))
        table["c"] = np.where(random.uniform(size=500) < 0.5, -3, 3) + 0.3 * table["c"]
        table["d"] = np.exp(table["d"])
        table["e"] = (table["e"] > 0).astype(float)
        diagnosis = diagnose(zero_epochs(1, likelihood="diagonal_gaussian").fit(table), table)
        off = diagnosis.replicates.off
        assert [c for c, wrong in zip(table, off, strict=True) if wrong][-2:] == ["d", "e"]
        assert not off[:2].any()
        (finding,) = diagnosis.warnings
        assert finding.name == "wrong_likelihood"
        assert "quantile_gaussian" in finding.cure and "bernoulli" in finding.cure

    @pytest.mark.parametrize("kind", ["binary", "count"])
    @pytest.mark.parametrize(
        ("law", "cure"),
        [
            ("poisson", "'negative_binomial'"),
            ("negative_binomial", "'zero_inflated_negative_binomial'"),
            ("zero_inflated_negative_binomial", "n_components"),
            ("multinomial", "'negative_binomial'"),
        ],
    )
    def test_a_law_of_counts_is_replaced_by_one_of_counts(self, iris_model, kind, law, cure):
        """And a column in a hundred is no fault of the model."""
        diagnosis = diagnose(iris_model, IRIS, n_draws=10)
        for n_columns, severity in ((200, "note"), (50, "warning")):
            off = np.arange(n_columns) == 7
            part = MarginalCheck(np.where(off, 0.4, 0.0), np.where(off, 0.0, 1.0))
            columns = {"laws": [law] * n_columns, "column_kinds": [kind] * n_columns}
            columns |= {"drowned": np.zeros(n_columns, dtype=bool), "replicates": part}
            columns |= {"feature_names": [f"x{j}" for j in range(n_columns)], "samples": part}
            columns |= {"noise_at_floor": np.zeros(n_columns), "linear_gain": 0.0}
            found = findings_of(iris_model, replace(diagnosis, **columns))
            (finding,) = (finding for finding in found if finding.name == "wrong_likelihood")
            assert finding.severity == severity
            assert finding.cure.startswith(("likelihood", "more")) and cure in finding.cure
            assert "bernoulli" not in finding.cure

    def test_columns_beside_which_the_shared_noise_is_large(self):
        X = linear_rows(300, 2, 6) * [1, 1, 1, 1, 1, 0.01]
        (finding,) = diagnose(zero_epochs(2).fit(X), X).warnings
        assert finding.name == "wrong_likelihood" and finding.words.startswith("1 of 6")
        assert "x5" in finding.words and "StandardScaler" in finding.cure
        X = StandardScaler().fit_transform(X)
        assert diagnose(zero_epochs(2).fit(X), X).warnings == ()

    def test_noise_at_its_floor(self):
        # As many components as columns: PCA leaves no noise.
        diagnosis = diagnose(zero_epochs(4).fit(IRIS), IRIS)
        assert names(diagnosis.warnings) == ["noise_at_floor"]
        assert_array_equal(diagnosis.noise_at_floor, 1.0)
        assert not diagnose(zero_epochs(3).fit(IRIS), IRIS).noise_at_floor.any()

    def test_columns_whose_noise_is_at_its_floor_are_named(self):
        X = linear_rows(200, 2, 4)
        table = pd.DataFrame(np.column_stack([X, X[:, 1]]), columns=["a", "b", "c", "d", "b2"])
        vae = zero_epochs(2, likelihood="diagonal_gaussian").fit(table)
        diagnosis = diagnose(vae, table)
        assert_array_equal(diagnosis.noise_at_floor, [0, 1, 0, 0, 1])
        (finding,) = diagnosis.warnings
        assert "b 1.00, b2 1.00" in finding.words

    @pytest.mark.parametrize(("name", "said"), [("", "''"), ("a, b", "'a, b'"), ("a b", "a b")])
    def test_names_can_be_told_from_the_words(self, iris_model, name, said):
        diagnosis = diagnose(iris_model, IRIS, n_draws=10)
        at_floor = np.array([0, 0.5, 0, 0])
        measured = {"noise_at_floor": at_floor, "feature_names": ["x0", name, "x2", "x3"]}
        found = findings_of(iris_model, replace(diagnosis, **measured))
        (finding,) = (finding for finding in found if finding.name == "noise_at_floor")
        assert f": {said} 0.50." in finding.words

    def test_a_constant_column_is_no_fault(self):
        X = linear_rows(200, 2, 5)
        X[:, 3] = 7.0
        for likelihood in ("gaussian", "diagonal_gaussian", "quantile_gaussian"):
            vae = zero_epochs(2, likelihood=likelihood).fit(X)
            assert diagnose(vae, X).noise_at_floor[3] == 0

    @pytest.mark.parametrize("likelihood", ["gaussian", "diagonal_gaussian"])
    def test_a_constant_column_is_named_and_no_warning(self, likelihood):
        X = np.column_stack([IRIS, np.ones(150)])
        diagnosis = diagnose(zero_epochs(2, likelihood=likelihood).fit(X), X)
        assert diagnosis.column_kinds == [*["number"] * 4, "constant"]
        assert diagnosis.warnings == ()
        # Any noise at all puts all rows beside it.
        assert diagnosis.replicates.off.tolist() == [False] * 4 + [True]
        found = dict(zip(names(diagnosis.findings), diagnosis.findings, strict=True))
        assert found["wrong_likelihood"].severity == "note"
        assert "constant" in found["wrong_likelihood"].cure

    @pytest.mark.parametrize(("best_epoch", "accused"), [(8, False), (15, False), (16, True)])
    def test_undertrained_is_no_model_whose_best_epoch_was_early(
        self, iris_model, best_epoch, accused
    ):
        # Losses that rise after the best epoch, and fall again.
        course = {"n_epochs": 30, "max_epochs": 30, "best_epoch": best_epoch, "selected": True}
        gains = {"total_gain": 0.3, "total_gain_error": 0.01, "late_gain": 0.2}
        course |= gains | {"is_linear_start": False}
        diagnosis = replace(diagnose(iris_model, IRIS, n_draws=10), **course)
        assert ("undertrained" in names(findings_of(iris_model, diagnosis))) == accused

    @pytest.mark.parametrize(
        ("name", "measured", "severity"),
        [
            ("worse_than_linear", {"linear_gain": -2.9}, None),
            ("worse_than_linear", {"linear_gain": -3.1}, "warning"),
            # More than half of what training gained, beyond three standard errors.
            ("overfitting", {"excess_gap": 7.9}, None),
            ("overfitting", {"excess_gap": 8.1}, "warning"),
            ("undertrained", {"late_gain": 4.9}, None),
            ("undertrained", {"late_gain": 5.1}, "warning"),
            ("undertrained", {"late_gain": 0.9, "selected": True}, None),
            ("undertrained", {"late_gain": 1.1, "selected": True}, "note"),
            ("undertrained", {"late_gain": 4.9, "selected": True}, "note"),
            ("undertrained", {"late_gain": 5.1, "selected": True}, "warning"),
            ("noise_at_floor", {"noise_at_floor": np.full(4, 0.1)}, None),
            ("noise_at_floor", {"noise_at_floor": np.array([0, 0.11, 0, 0])}, "warning"),
            ("prior_mismatch", {"prior_gain": 0.09}, None),
            ("prior_mismatch", {"prior_gain": 0.11}, "note"),
            ("prior_mismatch", {"prior_gain": 0.11, "prior_gain_error": 0.04}, None),
            ("prior_mismatch", {"prior_gain": 1.1}, "warning"),
        ],
    )
    def test_differences_are_named_from_where_they_count(
        self, iris_model, name, measured, severity
    ):
        plain = {"n_epochs": 30, "max_epochs": 30, "best_epoch": 30, "selected": False}
        plain |= {"total_gain": 10.0, "total_gain_error": 0.0, "late_gain": 0.0}
        plain |= {"linear_gain": 0.0, "linear_gain_error": 1.0, "is_linear_start": False}
        plain |= {"train_gap": 0.0, "train_gap_error": 1.0, "training_gain": 10.0}
        plain |= {"excess_gap": 0.0, "excess_gap_error": 1.0, "noise_at_floor": np.zeros(4)}
        plain |= {"prior_gain": 0.0, "prior_gain_error": 0.0, "kl": 2.0}
        diagnosis = diagnose(iris_model, IRIS, n_draws=10)
        plain["samples"] = diagnosis.replicates
        diagnosis = replace(diagnosis, **plain | measured)
        found = {finding.name: finding for finding in findings_of(iris_model, diagnosis)}
        assert (found[name].severity if name in found else None) == severity
        if name == "undertrained" and severity is not None:
            # What training rows gain says nothing of others.
            assert ("held-out rows gain" in found[name].cure) == (not diagnosis.selected)

    def test_prior_mismatch(self):
        random = np.random.RandomState(0)
        group = random.randint(3, size=600)
        X = 10 * np.eye(3)[group] @ random.normal(size=(3, 6)) + random.normal(size=(600, 6))
        diagnosis = diagnose(zero_epochs(2).fit(X), X)
        found = dict(zip(names(diagnosis.findings), diagnosis.findings, strict=True))
        assert "prior='fitted'" in found["prior_mismatch"].cure
        assert diagnosis.prior_gain > 0.5
        mended = diagnose(zero_epochs(2, prior="fitted").fit(X), X)
        assert "prior_mismatch" not in names(mended.findings)
        assert mended.elbo - diagnosis.elbo == pytest.approx(diagnosis.prior_gain, abs=0.15)

    def test_samples_that_are_off_where_kl_does_not_show_it(self, iris_model):
        diagnosis = diagnose(iris_model, IRIS, n_draws=10)
        samples = MarginalCheck(np.array([0.3, 0, 0, 0]), np.array([0.0, 1, 1, 1]))
        kept = MarginalCheck(np.zeros(4), np.ones(4))
        plain = {"replicates": kept, "samples": samples, "kl": 2.0}
        for gain, error, severity, said, saved in (
            (-0.2, 0.01, "note", "no matter", "nothing"),
            (0.05, 0.01, "note", "no matter", "0.05 ± 0.01"),
            (1.5, 0.1, "warning", "scores; `", "1.5 ± 0.1"),
            (1.5, 0.7, "note", "do not tell", "1.5 ± 0.7"),
        ):
            measured = replace(diagnosis, **plain, prior_gain=gain, prior_gain_error=error)
            found = {finding.name: finding for finding in findings_of(iris_model, measured)}
            finding = found["prior_mismatch"]
            assert finding.severity == severity
            assert said in finding.words and "1 of 4 columns of samples" in finding.words
            assert f"save {saved} of the 2 nats" in finding.words

    def test_components_that_rows_do_not_vary_along_are_no_fault(self):
        X = np.random.RandomState(0).normal(size=(100, 6))
        X[:, 3:] = X[:, :3]
        with pytest.warns(ConvergenceWarning, match="2 of 5 latent components carry"):
            vae = zero_epochs(5).fit(X)
        diagnosis = diagnose(vae, X)
        assert "posterior_collapse" not in names(diagnosis.findings)
        finding = diagnosis.findings[names(diagnosis.findings).index("unused_components")]
        assert finding.severity == "note" and "n_components=3 would do" in finding.cure
        assert diagnosis.n_active == 3


def test_a_fit_that_stayed_linear_is_noted():
    X = linear_rows(600, 2, 6)

    def noted(**parameters):
        parameters = {"max_epochs": 4, "hidden_layer_sizes": 8, "random_state": 0} | parameters
        vae = VAETransformer(2, **parameters).fit(X[:300])
        findings = diagnose(vae, X[300:], X_train=X[:300]).findings
        return vae, [finding for finding in findings if finding.name == "linear_start"]

    vae, [note] = noted()
    assert vae.best_epoch_ == 0 and note.severity == "note"
    assert "no epoch of 4 was" in note.words and "kl_warmup=0.5" in note.cure
    # That was tried.
    vae, [note] = noted(kl_warmup=0.5)
    assert vae.best_epoch_ == 0 and "kl_warmup" not in note.cure
    # Nothing was to be trained, or it failed.
    assert noted(max_epochs=0)[1] == []
    with pytest.warns(ConvergenceWarning, match="diverged"):
        assert noted(lr=1e6)[1] == []


class TestCollapseWarning:
    def test_is_a_convergence_warning(self):
        assert issubclass(PosteriorCollapseWarning, ConvergenceWarning)

    def test_says_what_to_change(self):
        vae = VAETransformer(2, init="random", beta=50, max_epochs=40, random_state=0)
        with pytest.warns(PosteriorCollapseWarning, match="beta=50 makes") as record:
            vae.fit(WINE)
        (message,) = [str(warning.message) for warning in record]
        assert message.startswith("2 of 2 latent components carry less than 0.01 nats per row")
        assert "init='pca'" in message

    def test_the_closed_form_has_not_collapsed(self):
        X = np.random.RandomState(0).normal(size=(50, 2)) @ np.ones((2, 5))
        with pytest.warns(ConvergenceWarning, match="n_components=1 would do") as record:
            zero_epochs(2).fit(X)
        assert [warning.category for warning in record] == [ConvergenceWarning]

    def test_latents_that_training_has_switched_off(self):
        random = np.random.RandomState(0)
        X = 5 * random.normal(size=(300, 1)) + random.normal(size=(300, 4))
        vae = VAETransformer(
            3, beta=3, max_epochs=60, early_stopping=False, lr=0.02, random_state=0
        )
        with pytest.warns(PosteriorCollapseWarning, match="n_components=1 would do"):
            vae.fit(X)


class TestInputs:
    def test_missing_cells(self):
        X = np.where(np.random.RandomState(0).uniform(size=WINE.shape) < 0.3, np.nan, WINE)
        vae = VAETransformer(2, missing_values="observed", max_epochs=3, random_state=0).fit(X)
        diagnosis = diagnose(vae, X, n_draws=20)
        assert diagnosis.warnings == ()
        kl = vae.elbo(X).kl.sum(axis=1).mean()
        assert diagnosis.kl == pytest.approx(kl, rel=1e-6)
        # Correlated latents say more together than each by itself.
        assert diagnosis.component_kl.sum() < kl
        total = diagnosis.information + diagnosis.mismatch
        assert total == pytest.approx(kl, abs=0.4)

    def test_a_table(self):
        table = mixed_table(200)
        vae = VAETransformer(likelihood="auto", max_epochs=2, random_state=0).fit(table)
        diagnosis = diagnose(vae, table, n_draws=10)
        assert diagnosis.feature_names == list(table)
        laws = ["quantile_gaussian", "quantile_gaussian", "categorical", "quantile_gaussian"]
        assert diagnosis.laws == laws
        assert diagnosis.column_kinds == ["number", "number", "category", "count"]
        assert not diagnosis.replicates.off.any()

    def test_a_table_with_missing_cells_of_every_kind(self):
        table = mixed_table(200).astype({"visits": "Int64"})
        table.loc[::5, "kind"] = None
        table.loc[1::5, "visits"] = pd.NA
        table["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(200), unit="D")
        table.loc[2::5, "day"] = pd.NaT
        vae = VAETransformer(
            likelihood="auto", missing_values="observed", max_epochs=1, random_state=0
        ).fit(table)
        diagnosis = diagnose(vae, table, n_draws=10)
        assert diagnosis.feature_names[-1] == "day" and diagnosis.n_samples == 200
        assert not diagnosis.replicates.off.any()

    def test_a_table_beside_the_linear_start_of_its_training_rows(self):
        """Values that repeat are atoms of the rows that trained, without those held out."""
        table = mixed_table(400)
        random = np.random.RandomState(0)
        # Ten rows make an atom, and each value has about eleven.
        repeated = random.choice(random.uniform(size=8), 400)
        table["amount"] = np.where(np.arange(400) < 90, repeated, random.uniform(size=400))
        table = table.sample(frac=1, random_state=0)
        vae = VAETransformer(2, likelihood="auto", max_epochs=12, random_state=0).fit(table)
        assert vae.best_epoch_ > 0
        diagnosis = diagnose(vae, table[:100], X_train=table, n_draws=20)
        assert diagnosis.linear_gain is not None and not diagnosis.linear_gain_note
        note = diagnose(vae, table[:100], n_draws=20).linear_gain_note
        assert "X_train, all rows of the fit" in note

    def test_a_condition(self):
        kind = load_wine().target.astype(str)
        vae = VAETransformer(2, max_epochs=3, random_state=0).fit(WINE, condition=kind)
        diagnosis = diagnose(vae, WINE, condition=kind)
        assert diagnosis.log_prob == pytest.approx(vae.score(WINE, condition=kind), abs=0.02)
        # Among columns that the condition tells apart a model of one normal law is off.
        assert diagnosis.samples.distance.max() < 0.2 and diagnosis.warnings == ()
        with pytest.raises(ValueError, match="condition is missing"):
            diagnose(vae, WINE)
        X_train, X, c_train, c = train_test_split(WINE, kind, random_state=0)
        vae.set_params(max_epochs=2, early_stopping=False).fit(X_train, condition=c_train)
        both = diagnose(vae, X, X_train=X_train, condition=c, condition_train=c_train)
        assert both.linear_gain is not None and both.train_gap is not None

    def test_a_pipeline_and_a_search(self):
        X = load_wine(as_frame=True).data
        model = VAETransformer(2, max_epochs=0, random_state=0)
        pipeline = make_pipeline(StandardScaler(), model).fit(X)
        diagnosis = diagnose(pipeline, X)
        assert diagnosis.feature_names == list(X)
        alone = diagnose(model, WINE)
        assert diagnosis.log_prob == pytest.approx(alone.log_prob)
        search = GridSearchCV(pipeline, {"vaetransformer__n_components": [2]}, cv=2).fit(X)
        assert diagnose(search, X).log_prob == pytest.approx(alone.log_prob)

    def test_sparse_and_single_precision_rows(self):
        X = counts(200)
        vae = VAETransformer(2, likelihood="poisson", max_epochs=1, random_state=0)
        dense = diagnose(vae.fit(X), X, n_draws=10)
        sparse = diagnose(vae.fit(csr_matrix(X)), csr_matrix(X), n_draws=10)
        assert sparse.log_prob == pytest.approx(dense.log_prob, abs=1e-3)
        single = diagnose(vae.fit(X.astype("f4")), X.astype("f4"), n_draws=10)
        assert single.log_prob == pytest.approx(dense.log_prob, abs=1e-3)

    def test_a_stream(self):
        vae = VAETransformer(2, random_state=0).partial_fit(WINE).partial_fit(WINE)
        diagnosis = diagnose(vae, WINE)
        assert diagnosis.n_epochs is diagnosis.late_gain is diagnosis.train_gap is None
        assert not diagnosis.is_linear_start and diagnosis.linear_gain is not None
        assert "a stream" in str(diagnosis)

    def test_of_many_rows_a_part(self):
        X = linear_rows(7000, 2, 3)
        diagnosis = diagnose(zero_epochs(1).fit(X), X, n_draws=2)
        assert diagnosis.n_samples == 5000 and diagnosis.warnings == ()

    def test_a_linear_start_that_cannot_be_compared(self):
        # Each half finds other values that repeat.
        random = np.random.RandomState(0)
        X = random.normal(size=(200, 3))
        X[:12, 0] = 0.123456789
        vae = VAETransformer(1, likelihood="quantile_gaussian", max_epochs=1, random_state=0)
        vae.set_params(early_stopping=False).fit(X)
        law = vae.net_.module_.likelihood
        other = zero_epochs(1, likelihood="quantile_gaussian").fit(X[12:]).net_.module_.likelihood
        assert law.same_measure(law) and not law.same_measure(other)
        with_rows = diagnose(vae, X[::2], X_train=X, n_draws=10)
        assert with_rows.linear_gain is not None and with_rows.linear_gain_note == ""

    @pytest.mark.parametrize("name", LIKELIHOODS)
    def test_every_law_says_where_its_noise_is(self, name):
        law, X = LIKELIHOODS[name](3), suited_rows(name, n=100, d=3)
        law.learn_support(X)
        law.set_units(X)
        outputs = torch.zeros(5, law.n_outputs)
        at_floor = law.at_noise_floor(outputs)
        assert at_floor.shape == (5, 3) and at_floor.dtype == torch.bool and not at_floor.any()

    @pytest.mark.parametrize("name", ["heteroscedastic_gaussian", "quantile_gaussian"])
    def test_noise_of_the_decoders_own(self, name):
        law = LIKELIHOODS[name](2)
        law.set_units(suited_rows(name, n=100, d=2))
        # One row with the log variance a little below the floor's own, one with it above.
        log_floor = math.log(COLUMN_NOISE_FLOOR)
        outputs = torch.tensor([[0.0, 0.0, log_floor - 0.1, 0.0], [0.0, 0.0, log_floor + 0.1, 0.0]])
        assert law.at_noise_floor(outputs).tolist() == [[True, False], [False, False]]

    @pytest.mark.parametrize("name", LIKELIHOODS)
    def test_rows_of_a_law_are_not_called_another(self, name):
        X = suited_rows(name, n=300, d=4)
        vae = VAETransformer(
            2, likelihood=name, max_epochs=50, hidden_layer_sizes=64, random_state=0
        ).fit(X)
        diagnosis = diagnose(vae, X, n_draws=10)
        assert "wrong_likelihood" not in names(diagnosis.warnings)
        assert diagnosis.laws == [name] * 4


class TestReport:
    def test_text(self, iris_model):
        diagnosis = diagnose(iris_model, IRIS)
        text = str(diagnosis)
        for words in (
            "150 rows, 4 columns, 2 components",
            "Warnings: none.",
            f"{diagnosis.kl:.3f}",
        ):
            assert words in text
        assert all(len(line) <= 100 for line in text.splitlines())
        assert repr(diagnosis).startswith("<Diagnosis of 150 rows; ")

    def test_findings_are_in_both(self):
        diagnosis = diagnose(zero_epochs(4).fit(IRIS), IRIS)
        (finding,) = diagnosis.warnings
        for report in (str(diagnosis), diagnosis._repr_html_()):
            assert "warning: noise_at_floor" in report and "Cure: fewer n_components" in report
        assert finding.severity == "warning"

    def test_names_are_escaped(self):
        table = pd.DataFrame(IRIS, columns=["<script>", "a & b", "c", "d"])
        html = diagnose(zero_epochs(2).fit(table), table)._repr_html_()
        assert "<script>" not in html and "&lt;script&gt;" in html and "a &amp; b" in html
        message = Message("note", "<i>", "<b>", "<u>")
        html = as_html("<p>", "", [message], [Section("<q>", ("<h>",), [("<td2>",)], "<n>")])
        assert not any(tag in html for tag in ("<p>", "<u>", "<q>", "<h>", "<td2>", "<n>"))

    def test_names_with_line_breaks_stay_on_their_line(self):
        section = Section("numbers", ("", "a"), [("x\ny", "1.00")])
        assert as_text("t", "", [], [section]).splitlines()[-1] == "x y  1.00"

    def test_tables_are_aligned(self):
        section = Section("numbers", ("", "a"), [("x", "1.00"), ("longer", "22.00")])
        lines = as_text("t", "", [], [section]).splitlines()
        assert lines[-3:] == ["            a", "x        1.00", "longer  22.00"]


class TestContract:
    def test_the_same_again_and_nothing_touched(self, iris_model):
        before, score = deepcopy(iris_model.net_.module_.state_dict()), iris_model.score(IRIS)
        np.random.seed(3)
        torch.manual_seed(3)
        first = diagnose(iris_model, IRIS, random_state=1)
        drawn = np.random.uniform(), torch.rand(1)
        second = diagnose(iris_model, IRIS, random_state=1)
        assert str(first) == str(second)
        np.random.seed(3)
        torch.manual_seed(3)
        assert drawn == (np.random.uniform(), torch.rand(1))
        assert score == iris_model.score(IRIS)
        for name, value in iris_model.net_.module_.state_dict().items():
            if torch.is_tensor(value):
                assert torch.equal(value, before[name])
        assert str(pickle.loads(pickle.dumps(first))) == str(first)

    def test_no_warning_leaves_it(self, iris_model):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            diagnose(iris_model, IRIS)

    def test_errors(self, iris_model):
        with pytest.raises(NotFittedError):
            diagnose(VAETransformer(), IRIS)
        with pytest.raises(TypeError, match=r"of a Pipeline; got PCA\.$"):
            diagnose(PCA(2).fit(IRIS), IRIS)
        with pytest.raises(TypeError, match=r"of a Pipeline; got 'passthrough'\.$"):
            diagnose(make_pipeline(StandardScaler(), "passthrough").fit(IRIS), IRIS)
        detector = VAEOutlierDetector(zero_epochs(1)).fit(IRIS)
        with pytest.raises(TypeError, match="estimator_"):
            diagnose(detector, IRIS)
        assert diagnose(detector.estimator_, IRIS).warnings == ()
        with pytest.raises(ValueError, match="X has 19 rows; diagnose needs 20"):
            diagnose(iris_model, IRIS[:19])
        with pytest.raises(ValueError, match="X_train has 3 rows"):
            diagnose(iris_model, IRIS, X_train=IRIS[:3])
        with pytest.raises(ValueError, match="n_draws must be an int of at least 2, got 1"):
            diagnose(iris_model, IRIS, n_draws=1)
        with pytest.raises(ValueError, match="features"):
            diagnose(iris_model, WINE)


def test_a_model_is_found_in_pipelines_and_searches_of_each_other():
    vae = VAETransformer(2, max_epochs=2, random_state=0)
    expected = diagnose(make_pipeline(StandardScaler(), vae).fit(IRIS), IRIS, n_draws=10)
    scaled = StandardScaler().fit_transform(IRIS)
    for steps in (
        [StandardScaler(), GridSearchCV(vae, {"n_components": [2]}, cv=2)],
        [StandardScaler(), make_pipeline(vae)],
        [make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), vae))],
    ):
        found = diagnose(make_pipeline(*steps).fit(IRIS), IRIS, n_draws=10)
        # Columns that are scaled twice are scaled once, but for rounding.
        assert found.log_prob == pytest.approx(expected.log_prob, abs=0.01)
        assert found.feature_names == expected.feature_names
    assert diagnose(vae.fit(scaled), scaled, n_draws=10).log_prob == pytest.approx(
        expected.log_prob, abs=0.01
    )
    search = GridSearchCV(vae, {"n_components": [2]}, cv=2, refit=False).fit(IRIS)
    with pytest.raises(TypeError, match=r"GridSearchCV.*refit=False"):
        diagnose(search, IRIS)


def test_what_is_not_used_or_no_table_is_an_error(iris_model):
    with pytest.raises(ValueError, match=r"condition_train .* X_train is None"):
        diagnose(iris_model, IRIS, condition_train=IRIS[:, 0])
    for X in ("rows", None, 3):
        with pytest.raises(ValueError, match=f"X must be rows of columns, got {X!r}"):
            diagnose(iris_model, X)
    with pytest.raises(ValueError, match="X_train must be rows"):
        diagnose(iris_model, IRIS, X_train=1.5)


def test_diagnoses_are_compared_by_identity(iris_model):
    one, other = (diagnose(iris_model, IRIS, n_draws=2) for _ in range(2))
    assert one == one and one != other and len({one, other}) == 2


def test_a_fitted_prior_is_judged_by_rows_that_it_is_not_fitted_to():
    """Of few rows of a normal law a mixture has more on its own rows, and less on others."""
    random = np.random.RandomState(0)
    X = random.normal(size=(120, 8)) @ random.normal(size=(8, 10))
    X += 0.1 * random.normal(size=X.shape)
    diagnosis = diagnose(VAETransformer(8, max_epochs=0, random_state=0).fit(X), X, n_draws=10)
    assert diagnosis.prior_gain < -2 * diagnosis.prior_gain_error < 0
