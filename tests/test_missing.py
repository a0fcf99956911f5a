"""Missing cells: the start, the scores and the latents of what was observed."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.utils.estimator_checks import parametrize_with_checks
from suited import suited_rows

from skvae import VAEImputer, VAETransformer
from skvae.incomplete import LinearFill, factor_model, marginally_filled
from skvae.likelihoods import LIKELIHOODS, Poisson

pd = pytest.importorskip("pandas")

SMALL = {"max_epochs": 3, "hidden_layer_sizes": 8, "n_importance_samples": 20, "random_state": 0}
OBSERVED = {"missing_values": "observed", **SMALL}
CELLWISE = [law for law, kind in LIKELIHOODS.items() if not kind(2).needs_whole_rows]


def linear_rows(n=500, d=6, k=2, seed=0):
    random = np.random.RandomState(seed)
    W = np.random.RandomState(7).normal(size=(k, d))
    return random.normal(size=(n, k)) @ W + 0.3 * random.normal(size=(n, d)) + 5


def with_holes(X, part=0.3, seed=0):
    holes = np.random.RandomState(seed).uniform(size=X.shape) < part
    return np.where(holes, np.nan, X)


def marginal_log_prob(X, mean, covariance):
    """log p of each row's observed cells under N(mean, covariance)."""
    log_prob = np.zeros(len(X))
    for i, row in enumerate(X):
        seen = ~np.isnan(row)
        if seen.any():
            part = covariance[np.ix_(seen, seen)]
            log_prob[i] = multivariate_normal.logpdf(row[seen], mean[seen], part)
    return log_prob


class TestFactorModel:
    @pytest.mark.parametrize("shared_noise", [True, False])
    def test_is_a_maximum_of_the_observed_likelihood(self, shared_noise):
        X = with_holes(linear_rows(300))

        def log_prob(mean, loadings, noise):
            return marginal_log_prob(X, mean, loadings @ loadings.T + np.diag(noise)).sum()

        found = factor_model(X, 2, shared_noise=shared_noise, least_noise=1e-9)
        best = log_prob(*found)
        random = np.random.RandomState(0)
        for _ in range(20):
            mean, loadings, noise = (
                part + 0.02 * random.normal(size=part.shape) * np.abs(part).max() for part in found
            )
            if shared_noise:
                noise[:] = noise.mean()
            assert log_prob(mean, loadings, np.maximum(noise, 1e-6)) < best + 0.05

    @pytest.mark.parametrize("shared_noise", [True, False])
    def test_is_a_maximum_of_the_observed_likelihood_under_a_condition(self, shared_noise):
        random = np.random.RandomState(3)
        c = random.normal(size=(300, 3)) @ random.normal(size=(3, 3)) + 1
        X = with_holes(linear_rows(300) + c @ random.normal(size=(3, 6)))

        def log_prob(mean, loadings, noise):
            W, B = loadings[:, :2], loadings[:, 2:]
            return marginal_log_prob(X - c @ B.T, mean, W @ W.T + np.diag(noise)).sum()

        found = factor_model(X, 2, shared_noise=shared_noise, least_noise=1e-9, condition=c)
        best = log_prob(*found)
        for _ in range(20):
            mean, loadings, noise = (
                part + 0.02 * random.normal(size=part.shape) * np.abs(part).max() for part in found
            )
            if shared_noise:
                noise[:] = noise.mean()
            assert log_prob(mean, loadings, np.maximum(noise, 1e-6)) < best + 0.05

    def test_is_ppca_where_nothing_is_missing(self):
        X = linear_rows(400)
        mean, loadings, noise = factor_model(X, 2, shared_noise=True, least_noise=1e-9)
        pca = PCA(2).fit(X)
        np.testing.assert_allclose(mean, X.mean(axis=0), atol=1e-6)
        covariance = loadings @ loadings.T + np.diag(noise)
        scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
        # PCA divides by n - 1.
        expected = pca.get_covariance() * (len(X) - 1) / len(X)
        assert np.abs((covariance - expected) / scale).max() < 5e-3

    def test_units_do_not_matter_to_factor_analysis(self):
        X, unit = with_holes(linear_rows(300)), np.array([1e-3, 1e4, 1, 1, 1e2, 1])
        found = factor_model(X, 2, shared_noise=False, least_noise=1e-9)
        scaled = factor_model(X * unit, 2, shared_noise=False, least_noise=1e-9 * unit**2)
        np.testing.assert_allclose(scaled[0], found[0] * unit, rtol=1e-6)
        np.testing.assert_allclose(scaled[1], found[1] * unit[:, None], rtol=1e-4, atol=1e-9)
        np.testing.assert_allclose(scaled[2], found[2] * unit**2, rtol=1e-4)


def test_marginal_filling_keeps_the_column_as_it_is():
    X = with_holes(np.random.RandomState(0).lognormal(size=(2000, 3)), 0.4)
    filled = marginally_filled(X, np.zeros(3))
    observed = ~np.isnan(X)
    np.testing.assert_array_equal(filled[observed], X[observed])
    for j in range(3):
        column = X[observed[:, j], j]
        assert filled[:, j].mean() == pytest.approx(column.mean(), rel=0.02)
        assert np.isin(filled[:, j], column).all()


def test_the_fill_is_the_conditional_mean():
    import torch

    X = linear_rows(50)
    mean, loadings, noise = factor_model(linear_rows(400), 2, shared_noise=False, least_noise=1e-9)
    fill = LinearFill(6, 2).double()
    fill.load(mean, loadings, noise)
    holes = with_holes(X)
    observed = torch.as_tensor(~np.isnan(holes))
    filled, share, root = fill(torch.as_tensor(np.nan_to_num(holes)), observed)
    covariance = loadings @ loadings.T + np.diag(noise)
    for row, hole in zip(filled.numpy(), holes, strict=True):
        seen = ~np.isnan(hole)
        weights = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[seen][:, ~seen])
        expected = mean[~seen] + weights.T @ (hole[seen] - mean[seen])
        np.testing.assert_allclose(row[~seen], expected, atol=1e-8)
        np.testing.assert_array_equal(row[seen], hole[seen])
    information = loadings**2 / noise[:, None]
    expected = observed.numpy() @ information / information.sum(axis=0)
    np.testing.assert_allclose(share, expected, atol=1e-10)
    for covariance, seen in zip((root @ root.mT).numpy(), observed.numpy(), strict=True):
        precision = np.eye(2) + loadings[seen].T @ (loadings[seen] / noise[seen, None])
        unit = np.sqrt(np.diag(precision))
        found = covariance / np.outer(unit, unit)
        np.testing.assert_allclose(found, np.linalg.inv(precision), atol=1e-9)


class TestObservedCells:
    def test_scores_at_zero_epochs_are_those_of_ppca(self):
        X = with_holes(linear_rows())
        X[3] = np.nan
        # The networks are silent: small ones do.
        vae = VAETransformer(
            2,
            max_epochs=0,
            missing_values="observed",
            hidden_layer_sizes=4,
            n_importance_samples=3000,
        ).fit(X)
        mean = vae.inverse_transform(np.zeros((1, 2)))[0]
        X = X[:120]
        expected = marginal_log_prob(X, mean, vae.get_covariance())
        details = vae.score_details(X, n_repeats=5)
        # Of few observed cells the latents are far from independent, which q(z|x) takes them for.
        assert np.abs(details.log_prob - expected).mean() < 0.03
        allowed = 6 * details.standard_error + 0.02
        assert (np.abs(details.log_prob - expected) < allowed).mean() > 0.99
        assert abs(details.log_prob[3]) < 1e-12

    def test_complete_rows_are_in_pcas_units_however_many_cells_the_fit_missed(self):
        random = np.random.RandomState(3)
        X = random.normal(size=(3000, 2)) @ random.normal(size=(2, 5))
        X += 0.8 * random.normal(size=X.shape)
        holed = np.where(random.uniform(size=X.shape) < 0.4, np.nan, X)
        vae = VAETransformer(2, max_epochs=0, missing_values="observed").fit(holed)
        pca = PCA(2).fit(X)
        T = vae.transform(X)
        np.testing.assert_allclose(T.var(axis=0), pca.explained_variance_, rtol=0.1)
        np.testing.assert_allclose(vae.explained_variance_, pca.explained_variance_, rtol=0.1)
        # A step along a column of T is as long a step of the reconstruction.
        steps = vae.inverse_transform(np.eye(2)) - vae.inverse_transform(np.zeros((1, 2)))
        np.testing.assert_allclose(np.linalg.norm(steps, axis=1), 1, rtol=1e-6)
        error = ((vae.inverse_transform(T) - X) ** 2).mean()
        assert error < 1.02 * ((pca.inverse_transform(pca.transform(X)) - X) ** 2).mean()

    @pytest.mark.parametrize("likelihood", ["gaussian", "diagonal_gaussian"])
    @pytest.mark.parametrize("incomplete", [False, True])
    def test_a_warm_start_that_changes_no_weight_changes_no_units(self, likelihood, incomplete):
        X = linear_rows()
        vae = VAETransformer(
            2, likelihood=likelihood, max_epochs=0, missing_values="observed", warm_start=True
        )
        vae.fit(with_holes(X) if incomplete else X)
        T, variance = vae.transform(X), vae.explained_variance_
        vae.fit(with_holes(X) if incomplete else X)
        np.testing.assert_allclose(vae.transform(X), T, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(vae.explained_variance_, variance, rtol=1e-9)

    def test_latents_at_zero_epochs_are_the_posterior_means(self):
        X = with_holes(linear_rows())
        vae = VAETransformer(2, max_epochs=0, missing_values="observed").fit(X)
        module, law = vae.net_.module_, vae.net_.module_.likelihood
        W = module.affine_decoder.weight.detach().numpy() * law.scale[:, None]
        mean = vae.inverse_transform(np.zeros((1, 2)))[0]
        mu = vae.coordinates_.to_latent(vae.transform(X)) * vae.coordinates_.shrinkage
        for row, z in zip(X, mu, strict=True):
            seen = ~np.isnan(row)
            M = W[seen].T @ W[seen] / vae.noise_variance_ + np.eye(2)
            pull = W[seen].T @ (row[seen] - mean[seen]) / vae.noise_variance_
            np.testing.assert_allclose(z, np.linalg.solve(M, pull), atol=1e-4)

    @pytest.mark.parametrize("told", [False, True])
    def test_explained_variances_at_zero_epochs_are_those_of_the_models_covariance(self, told):
        """Its eigenvalues, as PCA's are; with one noise a column no more than its trace in all."""
        X = with_holes(np.random.RandomState(0).normal(size=(200, 5)), 0.15)
        condition = np.random.RandomState(1).normal(size=200) if told else None
        parameters = {"max_epochs": 0, "missing_values": "observed", "random_state": 0}
        for k in (1, 3, 5):
            vae = VAETransformer(k, **parameters).fit(X, condition=condition)
            covariance = vae.get_covariance()
            eigenvalues = np.linalg.eigvalsh(covariance)[::-1]
            np.testing.assert_allclose(vae.explained_variance_, eigenvalues[:k], rtol=1e-6)
            np.testing.assert_allclose(
                vae.explained_variance_ratio_, eigenvalues[:k] / eigenvalues.sum(), rtol=1e-6
            )
            at_origin, *along = vae.inverse_transform(
                np.vstack([np.zeros(k), np.eye(k)]), None if condition is None else 0.0
            )
            np.testing.assert_allclose(np.linalg.norm(along - at_origin, axis=1), 1, rtol=1e-6)
            vae = VAETransformer(k, likelihood="diagonal_gaussian", **parameters)
            vae.fit(X, condition=condition)
            total = vae.explained_variance_ / vae.explained_variance_ratio_
            np.testing.assert_allclose(total, np.trace(vae.get_covariance()), rtol=1e-6)
            assert vae.explained_variance_ratio_.sum() < 1 + 1e-9

    def test_ratios_are_near_pcas_of_the_rows_without_holes(self):
        X = linear_rows(3000, k=3)
        vae = VAETransformer(4, max_epochs=0, missing_values="observed").fit(with_holes(X))
        expected = PCA(4).fit(X).explained_variance_ratio_
        np.testing.assert_allclose(vae.explained_variance_ratio_, expected, atol=0.02)

    @pytest.mark.parametrize("law", CELLWISE)
    @pytest.mark.parametrize("init", ["pca", "random"])
    def test_every_cellwise_law(self, law, init):
        X = suited_rows(law, n=300)
        vae = VAETransformer(2, likelihood=law, init=init, **OBSERVED).fit(with_holes(X, 0.2))
        rows = with_holes(suited_rows(law, n=100, seed=1), 0.2, seed=1)
        rows[0] = np.nan
        T, scores = vae.transform(rows), vae.score_samples(rows)
        assert np.isfinite(T).all()
        assert np.isfinite(scores).all()
        assert scores[0] == pytest.approx(0, abs=1e-6)
        # What is drawn given the observed cells is in the support.
        drawn = vae.impute(rows, n_draws=20, draw=True, random_state=0)
        np.testing.assert_array_equal(drawn[~np.isnan(rows)], rows[~np.isnan(rows)])
        vae.net_.module_.likelihood.check_support(drawn, str)
        assert not np.isnan(drawn).any()

    @pytest.mark.parametrize("prior", ["mixture", "vamp", "flow", "fitted"])
    def test_every_prior(self, prior):
        if prior == "flow":
            pytest.importorskip("zuko")
        X = with_holes(linear_rows(300))
        vae = VAETransformer(2, prior=prior, **OBSERVED).fit(X)
        assert np.isfinite(vae.score_samples(X)).all()

    @pytest.mark.parametrize("law", ["gaussian", "poisson", "categorical"])
    def test_without_a_missing_cell_nothing_changes(self, law):
        X = suited_rows(law, n=300)
        fits = [VAETransformer(2, likelihood=law, **p).fit(X) for p in (SMALL, OBSERVED)]
        for method in ("transform", "score_samples"):
            a, b = (getattr(fit, method)(X) for fit in fits)
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(*(fit.components_ for fit in fits))

    def test_a_row_does_not_depend_on_the_rows_beside_it(self):
        X = with_holes(linear_rows(300))
        X[::2] = linear_rows(300)[::2]
        vae = VAETransformer(2, **OBSERVED).fit(X)
        alone = vae.transform(X[:1])
        np.testing.assert_allclose(vae.transform(X)[:1], alone, atol=1e-10)
        # The same NaN whatever its bits.
        other = X[1:2].copy()
        holes = np.isnan(other)
        other.view(np.uint64)[holes] = 0xFFF8000000000123
        assert np.isnan(other[holes]).all()
        np.testing.assert_array_equal(vae.score_samples(other), vae.score_samples(X[1:2]))

    def test_training_gains_on_observed_cells(self):
        random = np.random.RandomState(0)
        t = random.uniform(-3, 3, size=(1500, 1))
        X = np.hstack([np.sin(2 * t), np.cos(2 * t), t, t**2]) + 0.1 * random.normal(size=(1500, 4))
        X = with_holes(X, 0.2)
        parameters = {"missing_values": "observed", "random_state": 0}
        start = VAETransformer(1, max_epochs=0, **parameters).fit(X[:1000])
        trained = VAETransformer(1, max_epochs=60, **parameters).fit(X[:1000])
        assert trained.score(X[1000:]) > start.score(X[1000:]) + 0.3

    def test_partial_fit_warm_start_and_transforms(self):
        import torch

        X = with_holes(linear_rows(600))
        stream = VAETransformer(2, **OBSERVED)
        for chunk in np.array_split(X, 2):
            stream.partial_fit(chunk)
        assert np.isfinite(stream.score(X))
        again = VAETransformer(2, warm_start=True, **OBSERVED).fit(X).fit(X)
        assert np.isfinite(again.score(X))
        with pytest.raises(ValueError, match="missing_values='error' differs"):
            again.set_params(missing_values="error").fit(linear_rows(600))
        grey = with_holes(suited_rows("continuous_bernoulli", n=300), 0.2)
        binary = VAETransformer(
            2, likelihood="bernoulli", batch_transform=torch.bernoulli, **OBSERVED
        ).fit(grey)
        assert np.isfinite(binary.transform(grey)).all()

    @pytest.mark.parametrize("n_components", [0.9, "mle", None])
    def test_numbers_of_components(self, n_components):
        X = with_holes(linear_rows(300), 0.2)
        vae = VAETransformer(n_components, max_epochs=0, missing_values="observed").fit(X)
        expected = PCA(n_components, svd_solver="full").fit(linear_rows(300)).n_components_
        assert vae.n_components_ == expected

    def test_what_is_missing_in_frames(self):
        X = with_holes(linear_rows(200), 0.2)
        frame = pd.DataFrame(X, columns=list("abcdef"))
        expected = VAETransformer(2, **OBSERVED).fit(X).transform(X)
        objects = frame.astype(object).where(frame.notna(), None)
        nullable = frame.astype("Float64")
        with_na = frame.astype(object).where(frame.notna(), pd.NA)
        lists = with_na.to_numpy().tolist()
        for rows in (frame, objects, nullable, with_na, with_na.to_numpy(), lists):
            found = VAETransformer(2, **OBSERVED).fit(rows).transform(rows)
            np.testing.assert_array_equal(found, expected)

    def test_errors(self):
        X = with_holes(linear_rows(100))
        with pytest.raises(ValueError, match=r"missing_values='observed'[^$]*Input X contains NaN"):
            VAETransformer(2, **SMALL).fit(X)
        vae = VAETransformer(2, **OBSERVED).fit(X)
        bad = X.copy()
        bad[4, 2] = np.inf
        with pytest.raises(ValueError, match="row 4, column 2; there are 1 in 1 column"):
            vae.transform(bad)
        empty = X.copy()
        empty[:, 3] = np.nan
        with pytest.raises(ValueError, match=r"1 column\(s\) have no observed value: 3"):
            VAETransformer(2, **OBSERVED).fit(empty)
        for law in ("multinomial", partial(Poisson, library_size=True)):
            with pytest.raises(ValueError, match="total of each row"):
                VAETransformer(2, likelihood=law, **OBSERVED).fit(np.ones((30, 3)))
        with pytest.raises(ValueError, match="needs columns of 0 and 1, found 2 at row 1"):
            VAETransformer(1, likelihood="bernoulli", **OBSERVED).fit([[np.nan, 0], [2, 1]])

    @pytest.mark.parametrize("part", [0.4, 0.6])
    def test_as_many_components_as_columns(self, part):
        X = with_holes(linear_rows(300, d=5), part)
        scores = [
            VAETransformer(k, max_epochs=0, missing_values="observed", n_importance_samples=500)
            .fit(X)
            .score(X)
            for k in (4, None)
        ]
        assert scores[1] > scores[0] - 0.1
        column = with_holes(5 + 2 * np.random.RandomState(0).normal(size=(500, 1)), 0.5)
        vae = VAETransformer(1, max_epochs=0, missing_values="observed").fit(column)
        assert vae.get_covariance()[0, 0] == pytest.approx(np.nanvar(column), rel=0.02)

    @pytest.mark.parametrize("law", CELLWISE)
    def test_a_column_that_is_seen_in_held_out_rows_alone(self, law):
        X = suited_rows(law, n=100)
        for row in range(3):
            holes = X.copy()
            holes[np.arange(100) != row, 3] = np.nan
            vae = VAETransformer(2, likelihood=law, **OBSERVED).fit(holes)
            assert np.isfinite(vae.transform(holes)).all()
            assert np.isfinite(vae.score(holes))

    def test_a_column_that_is_not_seen_in_held_out_rows_does_not_stop_training(self):
        random = np.random.RandomState(0)
        t = random.uniform(-2, 2, size=500)
        X = np.column_stack([t, t**2, np.sin(2 * t), np.cos(2 * t), random.normal(size=500)])
        X[:, :4] += 0.1 * random.normal(size=(500, 4))
        X[6:, 4] = np.nan
        vae = VAETransformer(1, missing_values="observed", max_epochs=20, random_state=0).fit(X)
        assert vae.best_epoch_ > 0

    def test_the_parameter_waits_for_the_next_fit(self):
        X = linear_rows(100)
        vae = VAETransformer(2, **SMALL).fit(X).set_params(missing_values="observed")
        with pytest.raises(ValueError, match="NaN"):
            vae.transform(with_holes(X))

    def test_bits_per_dimension_of_sparse_rows(self):
        from scipy import sparse

        X = with_holes(linear_rows(100))
        vae = VAETransformer(2, **OBSERVED).fit(X)
        dense, of_sparse = (
            vae.score_details(rows, n_repeats=2) for rows in (X, sparse.csr_array(X))
        )
        np.testing.assert_array_equal(of_sparse.bits_per_dimension, dense.bits_per_dimension)

    def test_auto_looks_at_observed_cells(self):
        X = with_holes(suited_rows("bernoulli", n=200), 0.2)
        assert VAETransformer(2, likelihood="auto", **OBSERVED).fit(X).likelihood_ == "bernoulli"


def imputer(**parameters):
    return VAEImputer(VAETransformer(1, **SMALL), n_draws=20, random_state=0, **parameters)


CHECKS = parametrize_with_checks([imputer(), VAETransformer(1, **OBSERVED)])


@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


class TestImputer:
    def test_observed_cells_stay_and_missing_ones_are_near(self):
        X = load_iris().data
        holes = with_holes(X, 0.2)
        filled = VAEImputer(random_state=0).fit_transform(holes)
        seen = ~np.isnan(holes)
        np.testing.assert_array_equal(filled[seen], X[seen])
        error = ((filled - X)[~seen] ** 2).mean()
        by_mean = ((np.broadcast_to(np.nanmean(holes, axis=0), X.shape) - X)[~seen] ** 2).mean()
        assert error < 0.3 * by_mean

    def test_the_mean_at_zero_epochs_is_the_conditional_mean(self):
        X = with_holes(linear_rows())
        vae = VAETransformer(2, max_epochs=0, missing_values="observed", hidden_layer_sizes=4).fit(
            X
        )
        mean = vae.inverse_transform(np.zeros((1, 2)))[0]
        covariance = vae.get_covariance()
        filled = vae.impute(X, n_draws=5000)
        errors = []
        for row, found in zip(X, filled, strict=True):
            seen = ~np.isnan(row)
            if seen.all() or not seen.any():
                continue
            part = covariance[np.ix_(seen, seen)]
            weights = np.linalg.solve(part, covariance[seen][:, ~seen])
            expected = mean[~seen] + weights.T @ (row[seen] - mean[seen])
            errors.extend(np.abs(found[~seen] - expected))
        # Where few cells are observed single weights are large.
        assert np.quantile(errors, 0.9) < 0.05

    def test_draws_have_the_conditional_law(self):
        X = linear_rows(2000)
        vae = VAETransformer(2, max_epochs=0, missing_values="observed", hidden_layer_sizes=4).fit(
            with_holes(X)
        )
        row = X[:1].copy()
        row[0, :3] = np.nan
        drawn = vae.impute(np.repeat(row, 4000, axis=0), n_draws=200, draw=True, random_state=0)
        mean, covariance = vae.inverse_transform(np.zeros((1, 2)))[0], vae.get_covariance()
        part = covariance[3:, 3:]
        weights = np.linalg.solve(part, covariance[3:, :3])
        expected = mean[:3] + weights.T @ (row[0, 3:] - mean[3:])
        spread = covariance[:3, :3] - weights.T @ covariance[3:, :3]
        np.testing.assert_allclose(drawn[:, :3].mean(axis=0), expected, atol=0.05)
        # Four standard errors of 4,000 draws.
        np.testing.assert_allclose(np.cov(drawn[:, :3].T), spread, atol=0.1)

    def test_multiple_imputation(self):
        X = with_holes(linear_rows(200))
        model = VAEImputer(VAETransformer(2, **SMALL), sample_posterior=True, n_draws=50).fit(X)
        first, second = model.transform(X), model.transform(X)
        seen = ~np.isnan(X)
        np.testing.assert_array_equal(first[seen], second[seen])
        assert (first[~seen] != second[~seen]).all()
        model.set_params(random_state=0)
        np.testing.assert_array_equal(model.transform(X), model.transform(X))

    def test_frames_indicators_and_empty_columns(self):
        X = with_holes(linear_rows(100), 0.2)
        X[:, 4] = np.nan
        frame = pd.DataFrame(X, columns=list("abcdef"), index=np.arange(100) + 7)
        with pytest.warns(UserWarning, match=r"1 column\(s\) have no observed value .* \['e'\]"):
            model = imputer(add_indicator=True).fit(frame)
        filled = model.transform(frame)
        assert isinstance(filled, pd.DataFrame)
        names = list("abcdf") + [f"missingindicator_{c}" for c in "abcdef"]
        assert list(filled.columns) == list(model.get_feature_names_out()) == names
        assert (filled.index == frame.index).all()
        np.testing.assert_array_equal(filled.iloc[:, 5:], np.isnan(X))
        kept = imputer(keep_empty_features=True).fit_transform(X)
        assert kept.shape == X.shape
        assert (kept[:, 4] == 0).all()
        # What later rows have there stays.
        later = linear_rows(100, seed=1)
        np.testing.assert_array_equal(
            imputer(keep_empty_features=True).fit(X).transform(later), later
        )
        with pytest.warns(UserWarning, match="have no observed value"):
            assert imputer().fit_transform(X).shape == (100, 5)

    def test_polars(self):
        pl = pytest.importorskip("polars")
        X = with_holes(linear_rows(100), 0.2)
        frame = pl.DataFrame({name: X[:, j] for j, name in enumerate("abcdef")})
        filled = imputer().fit_transform(frame)
        assert isinstance(filled, pl.DataFrame)
        np.testing.assert_array_equal(filled.to_numpy(), imputer().fit_transform(X))

    def test_codes_are_filled_by_codes(self):
        X = suited_rows("categorical", n=400)
        holes = with_holes(X, 0.2)
        estimator = VAETransformer(2, likelihood="categorical", max_epochs=20, random_state=0)
        filled = VAEImputer(estimator, n_draws=100).fit_transform(holes)
        missing = np.isnan(holes)
        commonest = np.array([np.bincount(column.astype(int)).argmax() for column in X.T])
        right = (filled == X)[missing].mean()
        assert right > (np.broadcast_to(commonest, X.shape) == X)[missing].mean() + 0.05

    def test_few_rows_and_few_columns(self):
        wide = with_holes(linear_rows(10, d=60), 0.2)
        assert np.isfinite(VAEImputer(random_state=0).fit_transform(wide)).all()
        random = np.random.RandomState(0)
        a = random.normal(size=500)
        X = np.column_stack([a, a + 0.3 * random.normal(size=500)])
        holes = X.copy()
        holes[::2, 1] = np.nan
        filled = VAEImputer(random_state=0).fit_transform(holes)
        # Regression has .09.
        assert ((filled - X)[::2, 1] ** 2).mean() < 0.13

    def test_errors(self):
        with pytest.raises(ValueError, match="'estimator' parameter of VAEImputer must be an inst"):
            VAEImputer(PCA()).fit(linear_rows(50))
        with pytest.raises(ValueError, match="X has no observed cell"):
            VAEImputer().fit(np.full((5, 2), np.nan))
        with pytest.raises(ValueError, match="n_draws"):
            VAEImputer(n_draws=0).fit(linear_rows(50))


@pytest.mark.parametrize("verbose", [0, 1])
def test_the_default_model_of_an_imputer_is_verbose_on_request(verbose, capsys):
    X = linear_rows(30)
    X[0, 0] = np.nan
    VAEImputer(random_state=0, verbose=verbose).fit(X)
    assert ("valid_loss" in capsys.readouterr().out) == verbose


@pytest.mark.parametrize(("part", "k"), [(0.1, 5), (0.5, 4)])
def test_rows_that_say_less_get_fewer_components(part, k):
    random = np.random.RandomState(0)
    X = random.normal(size=(60, 12))
    for row in X:
        row[random.permutation(12)[: round(12 * part)]] = np.nan
    imputer = VAEImputer(random_state=0).fit(X)
    # Half of 11 cells a row; half of 6 is less than a third of the columns.
    assert imputer.estimator_.n_components_ == k
