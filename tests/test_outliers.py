"""VAEOutlierDetector, and how strange each cell is given the others."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from scipy.stats import multivariate_normal, norm
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvae import PosteriorCollapseWarning, VAEOutlierDetector, VAETransformer, diagnose
from skvae._random import draw_seed
from skvae.splits import split_rows

WINE = StandardScaler().fit_transform(load_wine().data)
SMALL = {"hidden_layer_sizes": 8, "n_importance_samples": 10, "random_state": 0}
K = 3


def ring(n_samples=300, seed=0):
    random = np.random.RandomState(seed)
    angle = random.uniform(0, 2 * np.pi, size=n_samples)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    return circle + 0.05 * random.normal(size=circle.shape)


RING = ring()


def linear(**parameters):
    """PCA as the model, so that all answers are known."""
    parameters = {"missing_values": "observed", "n_importance_samples": 2000} | parameters
    return VAETransformer(K, max_epochs=0, hidden_layer_sizes=4, random_state=0, **parameters)


@pytest.fixture(scope="module")
def fitted():
    return linear().fit(WINE)


@pytest.fixture(scope="module")
def pca():
    return VAEOutlierDetector(linear(), contamination=0.05).fit(WINE)


def conditional_log_prob(X, mean, precision):
    """log p(x_j | the others) of a Gaussian."""
    deviation = 1 / np.sqrt(np.diag(precision))
    left = ((X - mean) @ precision) * deviation**2
    return norm.logpdf(left, scale=deviation)


class TestScoreColumns:
    def test_is_that_of_a_gaussian_at_zero_epochs(self, fitted):
        vae = fitted
        expected = conditional_log_prob(WINE[:40], vae.mean_, vae.get_precision())
        assert_allclose(vae.score_columns(WINE[:40]), expected, atol=0.03)

    @pytest.mark.parametrize("shift", [5, 50, 5000])
    def test_a_shifted_cell_does_not_choose_its_own_latents(self, fitted, shift):
        vae = fitted
        precision = vae.get_precision()
        shifted = WINE[:40].copy()
        shifted[:, 4] += shift / np.sqrt(precision[4, 4])
        expected = conditional_log_prob(shifted, vae.mean_, precision)
        scores = vae.score_columns(shifted)
        assert_allclose(scores, expected, atol=0.1)
        assert (scores.argmin(axis=1) == 4).mean() == (expected.argmin(axis=1) == 4).mean() == 1

    def test_few_draws_are_unbiased_enough(self, fitted):
        """At least one for each cell and some of all."""
        expected = conditional_log_prob(WINE, fitted.mean_, fitted.get_precision())
        errors = fitted.score_columns(WINE, n_draws=1) - expected
        assert abs(errors.mean()) < 0.05 and np.abs(errors).max() < 2
        assert errors.std() > 2 * (fitted.score_columns(WINE, n_draws=100) - expected).std()

    @pytest.mark.parametrize("n_draws", [1, 3, 4])
    def test_a_row_of_one_cell_has_a_draw_of_all(self, n_draws):
        """Its other draws are of the prior, far from where the cell has its latent."""
        x = np.random.RandomState(0).normal(size=(60, 1))
        vae = VAETransformer(
            1, max_epochs=0, hidden_layer_sizes=4, missing_values="observed", random_state=0
        ).fit(x)
        errors = vae.score_columns(x, n_draws=n_draws)[:, 0] - norm.logpdf(
            x[:, 0], vae.mean_, np.sqrt(vae.get_covariance()[0, 0])
        )
        assert np.abs(errors).max() < 2

    def test_far_rows_in_single_precision(self, fitted):
        far = WINE[:5].astype(np.float32)
        far[1, 4] = 1e20
        scores = fitted.score_columns(far, n_draws=20)
        assert np.isfinite(scores).all() and scores[1].argmin() == 4
        assert_allclose(scores[[0, 2]], fitted.score_columns(far[[0, 2]], n_draws=20), rtol=1e-6)

    def test_under_a_condition(self):
        """What the condition says is no surprise, in a row without a cell either."""
        kind = np.arange(len(WINE)) % 2
        X = WINE[:, :4] + 6 * kind[:, None]
        vae = VAETransformer(
            2, max_epochs=0, hidden_layer_sizes=4, missing_values="observed", random_state=0
        ).fit(X, condition=kind)
        left = X - np.stack([X[kind == c].mean(axis=0) for c in (0, 1)])[kind]
        expected = conditional_log_prob(left, 0, vae.get_precision())
        scores = vae.score_columns(X[:30], condition=kind[:30])
        assert_allclose(scores, expected[:30], atol=0.1)

    def test_of_missing_cells_is_zero_and_they_say_nothing(self, fitted):
        vae = fitted
        holed = WINE[:20].copy()
        holed[:, 6:] = np.nan
        covariance = vae.get_covariance()[:6, :6]
        scores = vae.score_columns(holed)
        expected = conditional_log_prob(WINE[:20, :6], vae.mean_[:6], np.linalg.inv(covariance))
        assert_allclose(scores[:, :6], expected, atol=0.15)
        assert (scores[:, 6:] == 0).all()

    def test_does_not_depend_on_the_rows_beside(self):
        vae = linear(n_importance_samples=20).fit(WINE)
        whole = vae.score_columns(WINE)
        assert_allclose(vae.score_columns(WINE[::-1][:5]), whole[::-1][:5], rtol=1e-9)

    def test_is_in_the_units_of_the_columns(self):
        scale = np.logspace(-3, 3, WINE.shape[1])
        plain = linear(likelihood="diagonal_gaussian").fit(WINE)
        scaled = linear(likelihood="diagonal_gaussian").fit(WINE * scale)
        # The starts differ by FactorAnalysis's iterations, and the draws with the rows' bytes.
        assert_allclose(
            scaled.score_columns(WINE[:9] * scale) + np.log(scale),
            plain.score_columns(WINE[:9]),
            atol=0.15,
        )

    def test_needs_a_model_of_incomplete_rows(self):
        vae = linear(missing_values="error").fit(WINE)
        with pytest.raises(ValueError, match="fitted with missing_values='error'"):
            vae.score_columns(WINE)


class TestDetector:
    def test_scores_are_those_of_pca(self, pca):
        expected = PCA(K, svd_solver="full").fit(WINE).score_samples(WINE)
        assert_allclose(pca.score_samples(WINE), expected, rtol=1e-6)
        assert_allclose(pca.decision_function(WINE), expected - pca.offset_, atol=1e-6)
        assert pca.offset_ == pytest.approx(np.percentile(expected, 5))
        assert np.array_equal(pca.predict(WINE) == -1, expected < pca.offset_)
        assert (pca.predict(WINE) == -1).sum() == pytest.approx(0.05 * len(WINE), abs=1)

    def test_the_default_scores_densities_in_the_units_of_X(self):
        scale = np.logspace(-3, 3, WINE.shape[1])
        plain, scaled = (
            VAEOutlierDetector(contamination=0.1, random_state=0).fit(rows)
            for rows in (WINE, 5 + WINE * scale)
        )
        ours = scaled.score_samples(5 + WINE * scale) + np.log(scale).sum()
        # Equal but for rounding, which training may enlarge, and draws keyed by other bytes.
        assert np.corrcoef(ours, plain.score_samples(WINE))[0, 1] > 0.9
        assert ours.mean() == pytest.approx(plain.score_samples(WINE).mean(), abs=0.5)

    def test_finds_what_no_benign_tumour_looks_like(self):
        X, benign = load_breast_cancer(return_X_y=True)
        rows = X[benign == 1]
        detector = VAEOutlierDetector(contamination=0.1, random_state=0).fit(rows[::2])
        unseen = np.vstack([rows[1::2], X[benign == 0]])
        label = np.r_[np.ones(len(rows[1::2])), np.zeros((benign == 0).sum())]
        assert roc_auc_score(label, detector.score_samples(unseen)) > 0.95

    def test_support_fraction_leaves_outliers_out(self):
        random = np.random.RandomState(0)
        rows = random.normal(size=(300, 2)) @ random.normal(size=(2, 6))
        rows += 0.1 * random.normal(size=rows.shape)
        outliers = 10 + 0.1 * random.normal(size=(30, 6))
        everything = np.vstack([rows, outliers])
        plain = VAEOutlierDetector(linear()).fit(everything)
        robust = VAEOutlierDetector(linear(), support_fraction=0.85).fit(everything)
        for detector, far in ((plain, False), (robust, True)):
            least = detector.score_samples(outliers).max() < detector.score_samples(rows).min()
            assert least == far
        kept = rows.mean(axis=0)
        assert np.abs(robust.estimator_.mean_ - kept).max() < 0.3

    def test_explains_by_the_strangest_column(self, pca):
        precision = pca.estimator_.get_precision()
        for j in (0, 7):
            shifted = WINE[:30].copy()
            shifted[:, j] += 6 / np.sqrt(precision[j, j])
            assert (pca.explain(shifted).argmax(axis=1) == j).all()

    def test_usual_rows_have_contributions_about_zero(self, pca):
        assert np.abs(pca.explain(WINE).mean(axis=0)).max() < 0.5

    def test_of_a_table(self):
        random = np.random.RandomState(0)
        z = random.normal(size=300)
        frame = pd.DataFrame(
            {
                "size": z + 0.1 * random.normal(size=300),
                "kind": np.where(z + 0.1 * random.normal(size=300) > 0, "large", "small"),
                "weight": 2 * z + 0.1 * random.normal(size=300),
            }
        )
        detector = VAEOutlierDetector(contamination=0.1, random_state=0).fit(frame)
        strange = frame.iloc[:40].copy()
        strange["kind"] = np.where(strange["kind"] == "large", "small", "large")
        clear = np.abs(z[:40]) > 0.5
        assert (detector.score_samples(strange) < detector.score_samples(frame[:40]))[clear].all()
        assert (detector.explain(strange).argmax(axis=1) == 1)[clear].mean() > 0.9
        assert list(detector.feature_names_in_) == ["size", "kind", "weight"]
        with pytest.raises(ValueError, match="feature names"):
            detector.predict(frame[["kind", "size", "weight"]])

    def test_a_category_that_no_row_of_the_fit_has(self):
        random = np.random.RandomState(0)
        kinds = random.choice(["a", "b"], size=120)
        frame = pd.DataFrame({"size": random.normal(size=120), "kind": kinds})
        detector = VAEOutlierDetector(random_state=0).fit(frame)
        rows = frame[:4].copy()
        rows.loc[0, "kind"], rows.loc[1, "kind"], rows.loc[1, "size"] = "never", None, np.nan
        rows.loc[2, "size"] = np.nan
        scores = detector.score_samples(rows)
        of_size = detector.score_samples(frame[:1].assign(kind=None))
        assert scores[0] == pytest.approx(of_size[0] - np.log(121))
        assert scores[1] == pytest.approx(0, abs=0.05)  # Nothing of it was seen.
        assert detector.predict(rows).tolist() == [-1, 1, 1, 1]
        assert detector.explain(rows[:1])[0].argmax() == 1
        contributions = detector.explain(rows[:1], n_draws=50)[0]
        usual = detector.estimator_.score_columns(detector._typical, n_draws=50).mean(axis=0)
        assert contributions[1] == pytest.approx(usual[1] + np.log(121))

    def test_sparse_rows_where_the_model_is_given(self):
        rows = np.where(np.abs(WINE) > 1, WINE, 0.0)
        dense = VAEOutlierDetector(linear(n_importance_samples=20)).fit(rows)
        sparse = VAEOutlierDetector(linear(n_importance_samples=20)).fit(csr_array(rows))
        assert_allclose(sparse.score_samples(csr_array(rows)), dense.score_samples(rows))
        with pytest.raises(TypeError, match=r"[Ss]parse"):
            VAEOutlierDetector().fit(csr_array(rows))

    def test_repeats_with_a_seed_and_survives_pickling(self):
        ours, again = (VAEOutlierDetector(random_state=1).fit(WINE[::3]) for _ in range(2))
        scores = ours.score_samples(WINE)
        assert np.array_equal(scores, again.score_samples(WINE))
        assert ours.offset_ == again.offset_
        assert np.array_equal(scores, pickle.loads(pickle.dumps(ours)).score_samples(WINE))

    def test_a_failed_fit_loses_nothing(self, pca):
        before = pca.score_samples(WINE)
        with pytest.raises(ValueError, match="infinity"):
            pca.fit(np.where(WINE > 3, np.inf, WINE))
        assert np.array_equal(pca.score_samples(WINE), before)

    def test_before_a_fit(self):
        for method in ("score_samples", "decision_function", "predict", "explain"):
            with pytest.raises(NotFittedError):
                getattr(VAEOutlierDetector(), method)(WINE)

    def test_missing_cells_count_for_nothing(self):
        """The score is that of the other columns, a marginal density in the units of X."""
        random = np.random.RandomState(0)
        law = multivariate_normal([0, 50], [[1.0, 6.0], [6.0, 100.0]])
        rows, fresh = (law.rvs(size, random_state=random) for size in (500, 200))
        rows[::7, 1] = np.nan
        detector = VAEOutlierDetector(contamination=0.1, random_state=0).fit(rows)
        holed = fresh.copy()
        holed[:, 0] = np.nan
        difference = detector.score_samples(holed) - norm.logpdf(fresh[:, 1], 50, 10)
        assert np.abs(difference).mean() < 0.2
        difference = detector.score_samples(fresh) - law.logpdf(fresh)
        assert np.abs(difference).mean() < 0.3

    def test_infinity_is_an_error(self):
        with pytest.raises(ValueError, match="infinity"):
            VAEOutlierDetector().fit(np.where(WINE > 3, np.inf, WINE))

    @pytest.mark.parametrize("n_samples", [20, 31, 60])
    def test_fewer_rows_than_columns_or_little_more(self, n_samples):
        """So many components that no variance is left over would make all new rows outliers."""
        random = np.random.RandomState(0)
        mixing = random.normal(size=(5, 30))

        def rows(n):
            return random.normal(size=(n, 5)) @ mixing + 0.5 * random.normal(size=(n, 30))

        detector = VAEOutlierDetector(random_state=0).fit(rows(n_samples))
        fresh, strange = rows(300), rows(300)
        strange[random.uniform(size=strange.shape) < 0.3] *= -1
        scores = detector.score_samples(np.vstack([fresh, strange]))
        assert roc_auc_score(np.arange(600) < 300, scores) > 0.8
        truth = multivariate_normal(np.zeros(30), mixing.T @ mixing + 0.25 * np.eye(30))
        assert scores[:300].mean() > truth.logpdf(fresh).mean() - 30
        assert (detector.predict(fresh) == -1).mean() < 0.3

    def test_single_precision_is_enough_for_rows_far_away(self):
        detector = VAEOutlierDetector(linear()).fit(WINE)
        default = VAEOutlierDetector(contamination=0.1, random_state=0).fit(RING.astype(np.float32))
        far = np.array([[1e30, 0.0]], dtype=np.float32)
        assert np.isfinite(default.score_samples(far)).all()
        assert default.explain(far).argmax() == 0
        assert detector.score_samples(WINE.astype(np.float32)).dtype == np.float64

    @pytest.mark.parametrize("n_samples", [40, 120])
    def test_one_in_twenty_of_new_rows_is_called(self, n_samples):
        """With as many components as the default has, few of the training rows are."""
        called, trained = [], []
        for seed in range(3):
            random = np.random.RandomState(seed)
            mixing = random.normal(size=(6, 6))
            rows, fresh = (random.normal(size=(n, 6)) @ mixing for n in (n_samples, 2000))
            detector = VAEOutlierDetector(random_state=seed).fit(rows)
            called.append((detector.predict(fresh) == -1).mean())
            trained.append((detector.predict(rows) == -1).mean())
        # By all rows, each by a fit to others: 40 are still few.
        least, most = {40: (0.005, 0.15), 120: (0.02, 0.09)}[n_samples]
        assert least < np.mean(called) < most and max(called) < 2 * most
        assert np.mean(trained) < np.mean(called)

    def test_what_was_held_out_says_what_is_called(self):
        random = np.random.RandomState(0)
        t = random.normal(size=(1000, 2))
        X = np.column_stack([t, t[:, 0] ** 2, np.sin(2 * t[:, 1]), t[:, 0] * t[:, 1]])
        X += 0.1 * random.normal(size=X.shape)
        model = VAETransformer(2, max_epochs=20, random_state=0)
        detector = VAEOutlierDetector(model).fit(X)
        assert detector.estimator_.best_epoch_ > 0
        held_out = split_rows(model, X, 2, detector.estimator_._seed)[1].indices
        scores = detector.score_samples(X[held_out])
        assert detector.offset_ == np.percentile(scores, 5)
        # Where none was, a fit to four fifths of the rows,
        model = linear(n_importance_samples=50)
        detector = VAEOutlierDetector(model).fit(X)
        scores = self.scores_by_others(model, X, self.parts(X, detector)[0])
        assert detector.offset_ == pytest.approx(np.percentile(scores, 5))
        # and of fewer rows each by such a fit, of as many epochs.
        few = X[:200]
        model = VAETransformer(2, max_epochs=20, random_state=0)
        detector = VAEOutlierDetector(model).fit(few)
        assert detector.estimator_.best_epoch_ > 0
        best = dict(detector.estimator_.net_.callbacks_)["best_epoch"].n_epochs_
        parts = self.parts(few, detector)
        model = VAETransformer(2, max_epochs=best, early_stopping=False, random_state=0)
        scores = [self.scores_by_others(model, few, part) for part in parts]
        assert sum(map(len, scores)) == 200
        assert detector.offset_ == pytest.approx(np.percentile(np.concatenate(scores), 5))

    def test_a_column_that_one_row_knows(self):
        """The part that holds it judges nothing; the others say what one in twenty is."""
        X = np.random.RandomState(0).normal(size=(60, 3))
        X[1:, 2] = np.nan
        model = VAETransformer(1, max_epochs=2, missing_values="observed", random_state=0)
        detector = VAEOutlierDetector(model).fit(X)
        assert np.isfinite(detector.offset_)
        codes = np.random.RandomState(0).randint(3, size=(60, 4))
        codes[0] = 7
        model = VAETransformer(1, likelihood="categorical", max_epochs=2, random_state=0)
        assert np.isfinite(VAEOutlierDetector(model).fit(codes).offset_)
        # With nearly as many components as rows more than four fifths are needed.
        wide = np.random.RandomState(0).normal(size=(50, 48))
        model = VAETransformer(43, max_epochs=0, random_state=0)
        assert np.isfinite(VAEOutlierDetector(model).fit(wide).offset_)

    @staticmethod
    def parts(X, detector):
        order = np.random.RandomState(detector.estimator_._seed).permutation(len(X))
        return np.array_split(order, 5)

    @staticmethod
    def scores_by_others(model, X, part):
        others = np.delete(X, part, axis=0)
        return clone(model).fit(others).score_samples(X[np.sort(part)])

    @pytest.mark.parametrize("contamination", [0.0, 0.6, "few"])
    def test_parameters_are_checked(self, contamination):
        with pytest.raises(ValueError, match="'contamination' parameter of VAEOutlierDetector"):
            VAEOutlierDetector(contamination=contamination).fit(WINE)


GIVEN = [
    VAETransformer(1, max_epochs=2, missing_values="observed", **SMALL),
    VAETransformer(1, max_epochs=0, **SMALL),
]


CHECKS = parametrize_with_checks([VAEOutlierDetector(model) for model in GIVEN])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_components_to_spare_are_no_fault_of_the_default_model(monkeypatch):
    X = np.random.RandomState(0).normal(size=(60, 3))
    words = "1 of 2 latent components carry less than 0.01 nats per row"
    fit = VAETransformer.fit

    def warning_fit(self, *arguments, **keywords):
        warnings.warn(words, PosteriorCollapseWarning, stacklevel=2)
        return fit(self, *arguments, **keywords)

    monkeypatch.setattr(VAETransformer, "fit", warning_fit)
    VAEOutlierDetector(random_state=0).fit(X)  # warnings are errors here
    with pytest.warns(PosteriorCollapseWarning, match=words):
        VAEOutlierDetector(linear()).fit(X)


def test_says_which_fits_there_are_if_it_is_verbose(capsys, monkeypatch):
    X, fits = WINE[:40], []
    fit = VAETransformer.fit

    def counted(self, rows):
        fits.append(len(rows))
        return fit(self, rows)

    monkeypatch.setattr(VAETransformer, "fit", counted)
    VAEOutlierDetector(linear(), verbose=1, support_fraction=0.9).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert [int(line.split()[-2]) for line in lines] == fits
    assert len(fits) == 2 + 1 + 5 and lines[0].startswith("Which rows to fit to, 1 of 2")
    VAEOutlierDetector(linear()).fit(X)
    assert capsys.readouterr().out == ""
    # Above 1 the epochs of the default model, too.
    VAEOutlierDetector(random_state=0, verbose=2, contamination=0.1).fit(X)
    assert "valid_loss" in capsys.readouterr().out


def test_draws_reach_the_rows_and_what_is_usual():
    X = np.random.RandomState(0).normal(size=(60, 3))
    detector = VAEOutlierDetector(linear()).fit(X)
    model = detector.estimator_
    usual = model.score_columns(X, n_draws=7).mean(axis=0)
    expected = usual - model.score_columns(X[:5], n_draws=7)
    np.testing.assert_allclose(detector.explain(X[:5], n_draws=7), expected, rtol=1e-9, atol=1e-9)
    assert np.abs(detector.explain(X[:5], n_draws=8) - expected).max() > 1e-6
    with pytest.raises(ValueError, match="n_draws must be an int of at least 1, got 0"):
        detector.explain(X, n_draws=0)


def test_what_is_usual_is_of_the_last_fit():
    random = np.random.RandomState(0)
    X = random.normal(size=(60, 3))
    detector = VAEOutlierDetector(linear()).fit(X)
    first = detector.explain(X[:5])
    np.testing.assert_array_equal(detector.explain(X[:5]), first)
    others = X + random.normal(size=X.shape)
    again = VAEOutlierDetector(linear()).fit(others).explain(X[:5])
    np.testing.assert_array_equal(detector.fit(others).explain(X[:5]), again)


def test_the_default_model_is_of_all_rows(monkeypatch):
    """Held-out rows say for how many epochs, and a second fit has them too."""
    fits = []
    fit = VAETransformer.fit

    def noted_fit(self, X, **keywords):
        fits.append(self)
        return fit(self, X, **keywords)

    monkeypatch.setattr(VAETransformer, "fit", noted_fit)
    detector = VAEOutlierDetector(random_state=0).fit(RING)
    held_out, of_all, *to_parts = fits
    assert held_out.early_stopping and not of_all.early_stopping
    assert of_all.max_epochs == of_all.best_epoch_ == held_out.best_epoch_ > 0
    assert detector.estimator_ is of_all
    # What one in twenty is, fits to four fifths of the rows say.
    assert [part.max_epochs for part in to_parts] == 5 * [of_all.max_epochs]
    # Where nothing was accepted the first is of all rows already.
    fits.clear()
    VAEOutlierDetector(random_state=0).fit(RING[:15])
    assert len(fits) == 1 and fits[0].best_epoch_ == 0


def test_the_model_is_looked_at_behind_its_scaler():
    """The columns of the default model are standardized: so are rows that diagnose looks at."""
    X = np.random.RandomState(0).normal(size=(200, 4)) @ np.random.RandomState(1).normal(
        size=(4, 4)
    )
    X = X * [1, 10, 100, 1000] + [0, 500, 0, 0]
    detector = VAEOutlierDetector(contamination=0.1, random_state=0).fit(X[:150])
    with pytest.raises(TypeError, match=r"make_pipeline\(model\.scaler_, model\.estimator_"):
        diagnose(detector, X)
    behind = make_pipeline(detector.scaler_, detector.estimator_)
    diagnosis = diagnose(behind, X[150:])
    # That training ended with the last epoch is no wonder of a model whose epochs were counted.
    assert {finding.name for finding in diagnosis.warnings} <= {"undertrained"}
    log_scale = np.log(detector.scaler_.scale_).sum()
    expected = detector.score_samples(X[150:]).mean() + log_scale
    assert diagnosis.log_prob == pytest.approx(expected, abs=0.1)
    given = VAEOutlierDetector(linear()).fit(WINE)
    assert given.scaler_ is None
    with pytest.raises(TypeError, match="Its own is its `estimator_`"):
        diagnose(given, WINE)


@pytest.mark.parametrize(
    ("shape", "n_components", "n_gaussians"),
    [((20, 3), 2, 1), ((65, 30), 13, 2), ((599, 8), 7, 19), ((900, 100), 64, 20), ((4, 1), 1, 1)],
)
def test_the_size_of_the_default_model(shape, n_components, n_gaussians):
    """As documented: one component for 5 rows, one Gaussian for 30."""
    rows, model = VAEOutlierDetector(random_state=0)._start(
        np.random.RandomState(0).normal(size=shape)
    )
    assert model.n_components == n_components
    prior = model.prior(n_components)
    assert prior.loc.shape == (n_gaussians, n_components)
    assert prior.covariance_type == "full"
    # A fifth of a standard deviation.
    noise = model.batch_transform(torch.zeros(20_000)).std().item()
    assert noise == pytest.approx(0.2, rel=0.05)
    assert_allclose(rows.std(axis=0), 1)


def test_the_part_that_supports_is_what_is_fitted_and_usual():
    detector = VAEOutlierDetector(linear(), support_fraction=0.9).fit(WINE[:33])
    assert detector.estimator_.n_samples_ == len(detector._typical) == 30
    # Rows are judged by the half that they are not in.
    seed = draw_seed(linear().random_state)
    scores = np.empty(33)
    for seen, others in KFold(2, shuffle=True, random_state=seed).split(WINE[:33]):
        scores[others] = linear().fit(WINE[:33][seen]).score_samples(WINE[:33][others])
    kept = np.sort(np.argsort(-scores)[:30])
    assert_array_equal(detector._typical, WINE[:33][kept])


def test_support_leaves_out_what_a_fit_with_it_finds_usual():
    # Three outliers of sixty rows in twelve columns, each in a direction of its own.
    random = np.random.RandomState(0)
    rows = random.normal(size=(60, 2)) @ random.normal(size=(2, 12))
    rows += 0.3 * random.normal(size=rows.shape)
    outliers = 2 * random.normal(size=(3, 12))
    everything = np.vstack([rows, outliers])
    detector = VAEOutlierDetector(contamination=0.1, support_fraction=0.9, random_state=0).fit(
        everything
    )
    supporting = detector.scaler_.inverse_transform(detector._typical)
    kept = np.isclose(supporting[:, None], outliers).all(axis=2).any(axis=1)
    assert len(supporting) == 57 and not kept.any()
    by_itself = (
        VAEOutlierDetector(contamination=0.1, random_state=0)
        .fit(everything)
        .score_samples(everything)
    )
    assert (np.argsort(by_itself)[:6] >= 60).sum() < 3


def test_support_where_half_of_the_rows_are_too_few_for_the_components():
    rows = np.random.RandomState(0).normal(size=(24, 20))
    model = VAETransformer(15, max_epochs=0, random_state=0)
    detector = VAEOutlierDetector(model, support_fraction=0.9).fit(rows)
    assert detector.estimator_.n_samples_ == 22
    # Of few rows none are left out to judge others by.
    few = VAEOutlierDetector(model.set_params(n_components=2), support_fraction=0.8).fit(rows[:10])
    by_itself = model.fit(rows[:10]).score_samples(rows[:10])
    assert_array_equal(few._typical, rows[:10][np.sort(np.argsort(-by_itself)[:8])])


def quick(*arguments, **parameters):
    return VAETransformer(*arguments, **{"max_epochs": 0, "random_state": 0} | parameters)


def table_with_rare_categories(n_rows=100, seed=0):
    random = np.random.RandomState(seed)
    frame = pd.DataFrame({"x": random.normal(size=n_rows), "kind": random.choice([*"abc"], n_rows)})
    frame.loc[:2, "kind"] = [*"uvw"]
    return frame


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("missing", [{}, {"missing_values": "observed"}])
def test_rows_with_categories_of_their_own_do_not_support(seed, missing):
    handle = {"handle_unknown": "missing"} if missing else {}
    frame = table_with_rare_categories(seed=seed)
    model = quick(1, likelihood="auto", **missing, **handle)
    for contamination in ("auto", 0.1):
        detector = VAEOutlierDetector(model, support_fraction=0.8, contamination=contamination)
        detector.fit(frame)
        assert set(detector._typical["kind"]) == set("abc")
        assert np.isfinite(detector.offset_)
        called = detector.predict(frame[3:]) == -1
        assert 0 < called.mean() < 0.4


@pytest.mark.parametrize("seed", range(6))
def test_categories_of_single_rows_are_no_failure(seed):
    # Rows are left out to see how unseen ones score, and with them their categories.
    model = quick(1, likelihood="auto", random_state=seed)
    detector = VAEOutlierDetector(model).fit(table_with_rare_categories())
    assert np.isfinite(detector.offset_)


def test_support_of_a_table_with_a_category_that_one_row_has():
    frame = table_with_rare_categories(60)
    detector = VAEOutlierDetector(support_fraction=0.9, random_state=0).fit(frame)
    assert detector.estimator_.n_samples_ == 54
    assert set(detector._typical["kind"]) == set("abc")
    assert (detector.predict(frame[:3]) == -1).all()


def test_support_does_not_depend_on_units():
    random = np.random.RandomState(0)
    X = random.normal(size=(100, 2)) @ random.normal(size=(2, 4))
    X += 0.3 * random.normal(size=X.shape)
    X[:30, 1] = np.nan
    kept = []
    for unit in (1e-3, 1.0, 1e3):
        detector = VAEOutlierDetector(contamination=0.1, support_fraction=0.8, random_state=0)
        detector.fit(unit * X)
        kept.append(np.isnan(detector._typical[:, 1]).sum())
    assert np.ptp(kept) <= 2 and min(kept) > 0


def test_outliers_that_are_left_out_say_nothing_of_the_units():
    random = np.random.RandomState(0)
    rows = random.normal(size=(400, 2)) @ random.normal(size=(2, 5))
    rows += 0.2 * random.normal(size=rows.shape)
    far = 100 * random.normal(size=(10, 5))
    detector = VAEOutlierDetector(contamination=0.1, support_fraction=0.9, random_state=0)
    detector.fit(np.vstack([rows[:200], far]))
    alone = StandardScaler().fit(rows[:200])
    assert_allclose(detector.scaler_.scale_, alone.scale_, rtol=0.1)
    # Rows near the others, but not of their plane.
    strange = rows[300:] + random.normal(size=(100, 5))
    scores = detector.score_samples(np.vstack([rows[200:300], strange]))
    assert roc_auc_score(np.repeat([1, 0], 100), scores) > 0.9


def test_support_asks_no_more_of_a_model_than_its_fit():
    random = np.random.RandomState(0)
    counts = pd.DataFrame(random.poisson(5, (60, 4)), columns=[*"abcd"])
    VAEOutlierDetector(quick(2, likelihood="multinomial"), support_fraction=0.9).fit(counts)
    few = random.normal(size=(30, 20))
    mle = VAEOutlierDetector(quick("mle"), support_fraction=0.9).fit(few)
    assert mle.estimator_.n_samples_ == 27
    with pytest.raises(ValueError, match="contains NaN"):
        counts = counts.astype(float).where(counts != 5)
        VAEOutlierDetector(quick(1), support_fraction=0.9).fit(counts)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        VAEOutlierDetector(quick(25), support_fraction=0.5).fit(np.tile(few, (4, 2)))
    # Of the model itself, and of none that others are judged by.
    assert len({str(warning.message) for warning in said}) == len(said) == 1


def test_rows_that_a_model_of_others_cannot_take_are_named():
    random = np.random.RandomState(0)
    codes = random.randint(3, size=(60, 4)).astype(float)
    codes[5, 0] = 7
    model = quick(1, likelihood="categorical")
    with pytest.raises(ValueError, match=r"a model of 30 others \(support_fraction=0.9.*found 7"):
        VAEOutlierDetector(model, support_fraction=0.9).fit(codes)


@pytest.mark.parametrize(("n_rows", "sizes"), [(19, [19, 17]), (20, [10, 10, 18])])
def test_of_few_rows_none_are_judged_by_others(n_rows, sizes, monkeypatch):
    fits = spied(monkeypatch)
    detector = VAEOutlierDetector(quick(2), support_fraction=0.9, contamination=0.1)
    detector.fit(WINE[:n_rows])
    assert [n for n, _ in fits] == sizes


def test_each_fit_of_the_default_model_has_a_size_by_its_rows(monkeypatch):
    fits = spied(monkeypatch)
    rows = WINE[:100, :13]
    VAEOutlierDetector(support_fraction=0.9, contamination=0.1, random_state=0).fit(rows)
    # Halves are fitted once; what they support is fitted twice if it trains.
    assert [n for n, _ in fits[:3]] == [50, 50, 90] and len(fits) <= 4
    assert [model.n_components for _, model in fits[:3]] == [10, 10, 12]
    gaussians = [model.prior.keywords["n_mixture_components"] for _, model in fits[:3]]
    assert gaussians == [1, 1, 3]
    fits.clear()
    unseen = VAEOutlierDetector(random_state=0)
    model = unseen._start(rows)[1].set_params(max_epochs=0).fit(rows)
    fits.clear()
    unseen._scores_of_unseen(model, rows)
    assert [(n, of.n_components) for n, of in fits] == 5 * [(80, 12)]
    assert fits[0][1].prior.keywords["n_mixture_components"] == 2


def spied(monkeypatch):
    """Rows and model of each fit."""
    fits, fit = [], VAETransformer.fit
    monkeypatch.setattr(
        VAETransformer, "fit", lambda self, X: fits.append((len(X), self)) or fit(self, X)
    )
    return fits
