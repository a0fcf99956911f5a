"""n_components="auto": the number of components that makes held-out rows likeliest."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from suited import suited_rows

from skvae import VAETransformer, dimension, start
from skvae._random import draw_seed
from skvae.dimension import (
    Folds,
    best_count,
    count_that_explains,
    dealt_out,
    factor_scores,
    in_own_span,
    incomplete_scores,
    incomplete_spectrum,
    minka_count,
    pca_scores,
    rows_in_common,
)
from skvae.incomplete import factor_model, observed_log_prob
from skvae.likelihoods import LIKELIHOODS

WINE = StandardScaler().fit_transform(load_wine().data)


def drawn(n, d, k, seed=0, weakest=5.0):
    """Rows of a linear model of k components, which stand out clearly from unit noise."""
    random = np.random.RandomState(seed)
    directions = np.linalg.qr(random.normal(size=(d, k)))[0]
    signal = random.normal(size=(n, k)) * np.sqrt(weakest * np.geomspace(4, 1, k))
    return signal @ directions.T + random.normal(size=(n, d)) + 3


def auto(**parameters):
    return VAETransformer("auto", **({"max_epochs": 0, "random_state": 0} | parameters))


def with_holes(X, share, seed=0):
    return np.where(np.random.RandomState(seed).uniform(size=X.shape) < share, np.nan, X)


def folds_of(X, seed=0, weight=None):
    return Folds(*X.shape, seed).add(slice(None), X, weight)


def brute(X, seed, least_noise=0.0, n_folds=10):
    """The mean held-out log-likelihood of each number of components, by dense covariances."""
    n, d = X.shape
    fold = dealt_out(n, min(n_folds, n), seed)
    fewest = n - np.bincount(fold).max()
    scores = []
    for k in range(1, min(fewest - 1, d)):
        total = 0.0
        for j in range(fold.max() + 1):
            others = X[fold != j]
            values, vectors = np.linalg.eigh(np.cov(others.T))
            noise = max(values[:-k].mean(), least_noise)
            values[:-k] = noise
            covariance = (vectors * np.maximum(values, least_noise)) @ vectors.T
            law = multivariate_normal(others.mean(axis=0), covariance)
            total += np.sum(law.logpdf(X[fold == j]))
        scores.append(total / n)
    return np.array(scores)


@pytest.mark.parametrize(("n", "d", "k"), [(200, 10, 1), (150, 12, 3), (400, 30, 6), (60, 150, 2)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_number_that_stands_out_is_found(n, d, k, seed):
    X = drawn(n, d, k, seed, weakest=5.0 if n > d else 40.0)
    assert auto(random_state=seed).fit(X).n_components_ == k
    # At any scale and place.
    assert auto(random_state=seed).fit(X * 1e-3 + 1).n_components_ == k


def test_the_scores_are_those_of_pca():
    fold = dealt_out(len(WINE), 10, 3)
    expected = [
        sum(PCA(k).fit(WINE[fold != j]).score_samples(WINE[fold == j]).sum() for j in range(10))
        for k in range(1, 13)
    ]
    found = pca_scores(folds_of(WINE, 3), 13, 1e-12)
    np.testing.assert_allclose(found, np.array(expected) / len(WINE), rtol=1e-10)


@pytest.mark.parametrize("X", [drawn(30, 80, 2), drawn(40, 38, 2)])
def test_with_few_rows_for_the_columns_the_noise_is_the_likeliest(X):
    span = in_own_span(X)
    np.testing.assert_allclose(
        span @ span.T, (X - X.mean(axis=0)) @ (X - X.mean(axis=0)).T, atol=1e-9 * X.size
    )
    expected = brute(X, 5)
    assert len(expected) == min(len(X) - -(-len(X) // 10) - 1, X.shape[1]) - 1
    for rows in [X] if len(X) > X.shape[1] else [X, span]:
        found = pca_scores(folds_of(rows, 5), X.shape[1], 1e-12)
        np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("law", LIKELIHOODS)
def test_every_law_has_that_of_its_own_features(law):
    X = suited_rows(law, n=300)
    vae = auto(likelihood=law).fit(X)
    likelihood = vae.net_.module_.likelihood
    if likelihood.linear_model == "factor_analysis":
        score = factor_scores(
            folds_of(likelihood.start_rows(X), draw_seed(0)), likelihood.least_noise()
        )
        scores = np.array([score(k) for k in range(1, X.shape[1])])
    else:
        scores = brute(likelihood.start_rows(X), draw_seed(0), likelihood.least_noise())
    # The first of the best: where the noise is at its floor further components change nothing.
    assert vae.n_components_ == 1 + np.flatnonzero(scores > scores.max() - 1e-6)[0]


def test_factor_analysis_has_its_own(monkeypatch):
    random = np.random.RandomState(0)
    noise = np.exp(random.uniform(-1.5, 1.5, 12))
    X = random.normal(size=(300, 3)) @ random.normal(size=(3, 12))
    X += random.normal(size=X.shape) * np.sqrt(noise)
    assert auto(likelihood="diagonal_gaussian").fit(X).n_components_ == 3
    assert auto(likelihood="diagonal_gaussian").fit(X * np.geomspace(1, 1e4, 12)).n_components_ == 3
    # One noise for all columns is wrong here.
    assert auto().fit(X).n_components_ > 3

    monkeypatch.setattr(dimension, "_LEAST_GAIN", 1e-9)
    monkeypatch.setattr(dimension, "_MOST_ITERATIONS", 10_000)
    score, fold = factor_scores(folds_of(X, 1), np.full(12, 1e-9)), dealt_out(300, 10, 1)
    for k in (1, 3):
        total = 0.0
        for j in range(10):
            model = FactorAnalysis(k, tol=1e-7, max_iter=10_000, svd_method="lapack")
            total += model.fit(X[fold != j]).score_samples(X[fold == j]).sum()
        assert score(k) == pytest.approx(total / 300, abs=1e-4)


def test_with_many_columns_factor_analysis_is_pca_of_unit_columns(monkeypatch):
    monkeypatch.setattr(start, "_FACTOR_COLUMNS", 5)
    X = WINE * np.geomspace(1, 1e3, 13)
    k = auto(likelihood="diagonal_gaussian").fit(X).n_components_
    scores = brute(WINE, draw_seed(0))
    assert scores[k - 1] == pytest.approx(scores.max(), abs=1e-9)


def test_the_search_finds_every_single_peak():
    for most in range(1, 70):
        for peak in range(1, most + 1):
            for slope in (0.1, 1.0, 10.0):
                looked_at = []

                def score(k, peak=peak, slope=slope, looked_at=looked_at):
                    looked_at.append(k)
                    return k - peak if k < peak else slope * (peak - k)

                assert best_count(score, most) == peak
                assert len(set(looked_at)) == len(looked_at) <= 3 * np.log2(most) + 2
                assert max(looked_at) <= most


def test_of_equals_the_search_finds_the_fewest():
    for most in range(1, 40):
        for peak in range(1, most + 1):
            # Flat from the peak on, but for rounding.
            assert best_count(lambda k, peak=peak: min(k, peak) + 1e-14 * (k % 3), most) == peak


class TestMissing:
    def test_the_likelihood_of_the_observed_cells(self):
        X = with_holes(drawn(60, 7, 2), 0.4)
        mean, loadings, noise = factor_model(X, 2, shared_noise=False, least_noise=1e-6)
        covariance = loadings @ loadings.T + np.diag(noise)
        expected = 0.0
        for x in X:
            seen = ~np.isnan(x)
            if seen.any():
                law = multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)])
                expected += law.logpdf(x[seen])
        assert observed_log_prob(X, mean, loadings, noise) == pytest.approx(expected, rel=1e-10)

    @pytest.mark.parametrize("share", [0.1, 0.3])
    def test_a_number_that_stands_out_is_found(self, share):
        X = with_holes(drawn(250, 12, 3), share)
        assert auto(missing_values="observed").fit(X).n_components_ == 3
        factors = auto(missing_values="observed", likelihood="diagonal_gaussian")
        assert factors.fit(X * np.geomspace(1, 100, 12)).n_components_ == 3

    def test_rows_of_whole_weights_are_as_many_rows(self):
        X = with_holes(drawn(80, 6, 2), 0.2)
        once, most = incomplete_scores(
            X, np.arange(80), shared_noise=True, least_noise=1e-9, seed=0
        )
        rows = np.repeat(np.arange(80), 3)
        thrice, _ = incomplete_scores(X[rows], rows, shared_noise=True, least_noise=1e-9, seed=0)
        assert most == 5
        for k in (1, 2, 4):
            # The ridge of EM is the same for any number of rows.
            assert thrice(k) == pytest.approx(once(k), rel=1e-6)

    def test_whole_rows_are_counted_as_ever(self):
        X = drawn(100, 8, 2)
        assert auto(missing_values="observed").fit(X).n_components_ == 2
        with pytest.raises(ValueError, match="NaN"):
            auto().fit(with_holes(X, 0.1))


class TestWeights:
    def test_a_weight_is_a_number_of_copies(self):
        X = drawn(50, 6, 2)
        weight = np.random.RandomState(0).randint(1, 4, size=50)
        rows = np.repeat(np.arange(50), weight)
        copies = Folds(50, 6, 0)
        copies.add(rows, X[rows])
        weighted = folds_of(X, 0, weight.astype(float))
        # The rows are those of other numbers, the scores are not.
        np.testing.assert_allclose(
            pca_scores(weighted, 6, 1e-12), pca_scores(copies, 6, 1e-12), rtol=1e-10
        )
        assert not np.allclose(pca_scores(weighted, 6, 1e-12), pca_scores(folds_of(X), 6, 1e-12))

    def test_rows_that_hardly_count_are_not_counted(self):
        # A third component, which only rows of little weight have.
        X = drawn(300, 10, 2)
        X[200:] += 9 * np.random.RandomState(1).normal(size=(100, 1)) * np.eye(10)[0]
        weight = np.r_[np.ones(200), np.full(100, 1e-6)]
        assert auto().fit(X).n_components_ == 3
        for law in ("gaussian", "diagonal_gaussian"):
            assert auto(likelihood=law).fit(X, sample_weight=weight).n_components_ == 2

    def test_ones_change_nothing(self):
        ones = np.ones(len(WINE))
        plain = auto().fit(WINE).n_components_
        assert auto().fit(WINE, sample_weight=ones).n_components_ == plain
        holes = with_holes(drawn(150, 6, 2), 0.2)
        observed = auto(missing_values="observed")
        assert observed.fit(holes, sample_weight=np.full(150, 0.5)).n_components_ == 2


def test_what_a_condition_says_is_not_counted():
    random = np.random.RandomState(0)
    condition = random.normal(size=(200, 2))
    X = drawn(200, 10, 2) + 5 * condition @ random.normal(size=(2, 10))
    assert auto().fit(X).n_components_ == 4
    vae = auto().fit(X, condition=condition)
    assert vae.n_components_ == 2
    left = X - LinearRegression().fit(condition, X).predict(condition)
    assert brute(left, draw_seed(0)).argmax() == 1
    weight = random.uniform(0.5, 2, size=200)
    assert auto().fit(X, condition=condition, sample_weight=weight).n_components_ == 2
    observed = auto(missing_values="observed")
    assert observed.fit(with_holes(X, 0.2), condition=condition).n_components_ == 2


def test_any_kind_of_rows():
    X = drawn(300, 12, 3)
    sparse = np.where(np.quantile(X, 0.7) < X, X, 0.0)
    assert auto().fit(csr_array(sparse)).n_components_ == auto().fit(sparse).n_components_
    assert auto().fit(X.astype(np.float32)).n_components_ == 3
    assert auto().fit(pd.DataFrame(X)).n_components_ == 3
    assert auto(batch_transform=lambda x: 2 * x).fit(X).n_components_ == 3


@pytest.mark.parametrize("missing", [False, True])
def test_a_table_of_numbers_and_categories(missing):
    # One latent says all three columns; five one-hot columns and two numbers are its features.
    random = np.random.RandomState(0)
    z = random.normal(size=400)
    frame = pd.DataFrame(
        {
            "number": z + 0.1 * random.normal(size=400),
            "skewed": np.exp(z + 0.1 * random.normal(size=400)),
            "half": np.where(z > 0, "over", "under"),
        }
    )
    if missing:
        frame.loc[::7, "number"] = np.nan
        frame.loc[::5, "half"] = None
    vae = auto(likelihood="auto", missing_values="observed" if missing else "error").fit(frame)
    assert 1 <= vae.n_components_ <= 2
    if not missing:
        likelihood = vae.net_.module_.likelihood
        rows = np.column_stack([frame["number"], frame["skewed"], frame["half"] == "under"])
        features = likelihood.start_rows(rows.astype(float))
        scores = brute(features, draw_seed(0), likelihood.least_noise())
        assert vae.n_components_ == 1 + np.flatnonzero(scores > scores.max() - 1e-6)[0]


@pytest.mark.parametrize("n", [2, 3, 4, 7])
@pytest.mark.parametrize("d", [1, 2, 3, 20])
def test_few_rows_have_one_at_least(n, d):
    X = np.random.RandomState(0).normal(size=(n, d))
    k = VAETransformer("auto", init="random", max_epochs=1, random_state=0).fit(X).n_components_
    assert 1 <= k <= max(1, min(n - 2, d - 1))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("law", ["gaussian", "diagonal_gaussian"])
def test_constant_rows_have_one(law):
    assert auto(likelihood=law).fit(np.ones((30, 4))).n_components_ == 1


def test_rows_by_chunks_are_all_rows(monkeypatch):
    X = drawn(200, 9, 2)
    whole = pca_scores(folds_of(X), 9, 1e-12)
    chunked = Folds(200, 9, 0)
    for first in range(0, 200, 7):
        chunked.add(slice(first, first + 7), X[first : first + 7])
    np.testing.assert_allclose(pca_scores(chunked, 9, 1e-12), whole, rtol=1e-10)
    monkeypatch.setattr(dimension, "_MANY_COLUMNS", 8)
    fewer = pca_scores(folds_of(X), 9, 1e-12)
    np.testing.assert_allclose(fewer, brute(X, 0, n_folds=4), rtol=1e-10)
    # Beyond so many columns random rows serve, and no more of them.
    seen = []
    spans = lambda X: seen.append(X.shape) or in_own_span(X)  # noqa: E731
    monkeypatch.setattr(start, "in_own_span", spans)
    monkeypatch.setattr(start, "_START_COLUMNS", 50)
    assert auto().fit(drawn(400, 60, 2, weakest=20)).n_components_ == 2
    assert seen == [(50, 60)]


def test_one_seed_gives_one_number_and_leaves_the_callers_alone():
    # Where none stands out, the folds decide.
    X = suited_rows("diagonal_gaussian", n=150)
    model = auto(likelihood="diagonal_gaussian")
    before = np.random.get_state()[1].copy()
    found = {seed: model.set_params(random_state=seed).fit(X).n_components_ for seed in range(6)}
    assert (np.random.get_state()[1] == before).all()
    assert len(set(found.values())) > 1
    for seed, k in found.items():
        assert model.set_params(random_state=seed).fit(X).n_components_ == k
    np.random.RandomState(0).shuffle(X.T)
    X_wine = WINE[:, np.random.RandomState(1).permutation(13)]
    assert auto().fit(X_wine).n_components_ == auto().fit(WINE).n_components_


def test_untrained_it_is_pca_of_so_many():
    X = drawn(150, 12, 3)
    vae = auto().fit(X)
    pca = PCA(3).fit(X)
    np.testing.assert_allclose(vae.transform(X), pca.transform(X), atol=1e-8)
    np.testing.assert_allclose(vae.score_samples(X), pca.score_samples(X))
    assert auto(init="random", max_epochs=2).fit(X).transform(X).shape == (150, 3)


def test_the_first_fit_decides_where_training_goes_on():
    X, other = drawn(200, 8, 3), drawn(200, 8, 1)
    assert auto().fit(other).n_components_ == 1
    stream = auto().partial_fit(X)
    assert stream.n_components_ == 3
    assert stream.partial_fit(other).n_components_ == 3
    warm = auto(warm_start=True, max_epochs=2).fit(X)
    assert warm.fit(other).n_components_ == 3
    with pytest.raises(ValueError, match="n_components=2 differs from the 3"):
        warm.set_params(n_components=2).fit(other)


def test_it_can_be_searched_and_cloned(capsys):
    X = drawn(150, 6, 3)
    search = GridSearchCV(auto(), {"n_components": [1, "auto"]}, cv=3).fit(X)
    assert search.best_params_ == {"n_components": "auto"}
    assert search.best_estimator_.n_components_ == 3
    assert clone(search.best_estimator_).n_components == "auto"
    auto(verbose=1).fit(X)
    assert "n_components='auto' is 3 on these rows." in capsys.readouterr().out
    with pytest.raises(ValueError, match="'n_components' parameter of VAETransformer must be"):
        VAETransformer("most").fit(X)


def test_iris_as_brute_force_has_it():
    X = load_iris().data
    k = auto(random_state=4).fit(X).n_components_
    assert k == 1 + brute(X, draw_seed(4)).argmax()


def counted(n_components, X, **parameters):
    parameters = {"max_epochs": 0, "missing_values": "observed", "random_state": 0} | parameters
    return VAETransformer(n_components, **parameters).fit(X).n_components_


@pytest.mark.parametrize(("n", "d", "k"), [(200, 10, 3), (500, 20, 5), (300, 30, 4)])
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_minkas_choice_with_missing_cells_is_that_of_whole_rows(n, d, k, share):
    for seed in range(2):
        X = drawn(n, d, k, seed)
        assert PCA("mle").fit(X).n_components_ == k
        assert counted("mle", with_holes(X, share, seed)) == k
        # At any scale and place.
        assert counted("mle", with_holes(X * 1e-3 + 1, share, seed)) == k
        assert counted("mle", with_holes(X * 1e-12, share, seed)) == k


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_a_part_of_the_variance_with_missing_cells_is_that_of_the_model(share):
    # Noise has more than half of the variance, which cells that are filled in have not.
    X = drawn(1000, 20, 4, weakest=3.0)
    for part in (0.3, 0.55, 0.8, 0.9, 0.999):
        expected = PCA(part, svd_solver="full").fit(X).n_components_
        assert abs(counted(part, with_holes(X, share)) - expected) <= 1


def test_what_is_counted_by_is_scikit_learns_and_the_covariances():
    values = PCA().fit(WINE).explained_variance_
    for part in (0.1, 0.5, 0.9, 0.999):
        expected = PCA(part, svd_solver="full").fit(WINE).n_components_
        assert count_that_explains(values, part) == expected
    assert minka_count(values, 12, len(WINE)) == PCA("mle").fit(WINE).n_components_
    # A covariance has as many eigenvalues above the least as there are columns, less one.
    found, most = incomplete_spectrum(WINE, 1e-9)
    assert most == 12
    np.testing.assert_allclose(found, values * (177 / 178), rtol=0.02)
    # What is switched off is not chosen.
    assert minka_count(np.r_[5.0, 4.0, np.ones(8)], 2, 50) == 2
    assert minka_count(np.ones(3), 0, 50) == 1
    rows = np.array([[1.0, np.nan, 2], [1, 1, np.nan], [1, 1, 1], [np.nan] * 3])
    assert rows_in_common(rows) == pytest.approx((2 + 2 + 1) / 3)


def test_minkas_choice_with_missing_cells_asks_for_rows():
    X = with_holes(drawn(30, 20, 2), 0.3)
    with pytest.raises(ValueError, match=r"'mle' needs as many rows.* 20\..* 30 rows.*'auto'"):
        counted("mle", X)
    assert 1 <= counted("auto", X) < 20
    # Rows with weights count as often as these say, and no more often.
    with pytest.raises(ValueError, match="'mle' needs as many rows"):
        VAETransformer("mle", max_epochs=0, missing_values="observed").fit(
            X, sample_weight=np.full(30, 1.01)
        )
    weighted = VAETransformer("mle", max_epochs=0, missing_values="observed")
    X = drawn(200, 10, 3)
    weighted.fit(with_holes(X, 0.2), sample_weight=np.full(200, 1.01))
    assert weighted.n_components_ == 3


@pytest.mark.parametrize("n_components", ["mle", 0.9])
def test_a_single_incomplete_column_has_one_component(n_components):
    one = np.where(np.arange(50) < 5, np.nan, np.random.RandomState(0).normal(size=50))
    assert counted(n_components, one[:, None]) == 1


def test_columns_without_cells_in_the_rows_that_are_looked_at_count_for_nothing(monkeypatch):
    X = with_holes(drawn(300, 8, 2), 0.1)
    expected = {wanted: counted(wanted, X) for wanted in ("mle", 0.9)}
    # Its only cell is in a row that is not looked at.
    rare = np.r_[X, np.full((1, 8), 3.0)]
    rare = np.c_[rare, np.where(np.arange(301) == 300, 1.0, np.nan)]
    monkeypatch.setattr(start, "_some_indices", lambda part, at_most: np.arange(300))
    for wanted, k in expected.items():
        assert counted(wanted, rare) == k


@pytest.mark.parametrize("n_components", ["mle", 0.9, "auto"])
def test_incomplete_rows_that_do_not_vary_have_one_component(n_components):
    with pytest.warns(ConvergenceWarning, match="1 of 1 latent"):
        assert counted(n_components, with_holes(np.ones((50, 4)), 0.2)) == 1
