"""Exact at zero epochs: with `max_epochs=0` the estimator is PCA (or FactorAnalysis)."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer


def uneven(n=2000, seed=0):
    """Correlated columns with standard deviations from 0.5 to 1e4, as raw tables have."""
    random = np.random.RandomState(seed)
    X = random.gamma(2.0, size=(n, 8)) @ random.normal(size=(8, 8))
    return (X - X.mean(0)) / X.std(0) * np.logspace(-0.3, 4, 8) + np.linspace(-1e3, 1e5, 8)


DATA = {
    "digits": load_digits().data,
    "breast_cancer": StandardScaler().fit_transform(load_breast_cancer().data),
    "wine": StandardScaler().fit_transform(load_wine().data),
    "raw_wine": load_wine().data,
    "uneven": uneven(),
}


if "SKVAE_DATA" in os.environ:
    path = Path(os.environ["SKVAE_DATA"], "tables", "california_housing.csv.gz")
    table = np.genfromtxt(path, delimiter=",", skip_header=1, usecols=range(8))
    DATA["raw_california"] = table[np.isfinite(table).all(axis=1)]


def differs_by(ours, theirs, spread):
    """Greatest difference, in units of the spread that the quantity itself has."""
    return np.max(np.abs(ours - theirs) / spread)


def at_zero_epochs(X, k, **params):
    return VAETransformer(k, max_epochs=0, random_state=0, **params).fit(X)


def spread(X):
    deviation = X.std(axis=0)
    return np.where(deviation > 0, deviation, 1.0)


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("name", DATA)
def test_equals_pca(name, k):
    X = DATA[name]
    pca, vae = PCA(k, svd_solver="full").fit(X), at_zero_epochs(X, k)
    T, scores, covariance = pca.transform(X), pca.score_samples(X), pca.get_covariance()
    assert differs_by(vae.transform(X), T, T.std(axis=0)) < 1e-4
    back = pca.inverse_transform(T)
    assert differs_by(vae.inverse_transform(vae.transform(X)), back, spread(X)) < 1e-4
    assert differs_by(vae.score_samples(X), scores, scores.std()) < 1e-4
    assert vae.score(X) == pytest.approx(pca.score(X), rel=1e-6)
    assert differs_by(vae.components_, pca.components_, 1) < 1e-4
    assert (
        differs_by(vae.explained_variance_, pca.explained_variance_, pca.explained_variance_) < 1e-4
    )
    assert differs_by(vae.explained_variance_ratio_, pca.explained_variance_ratio_, 1) < 1e-4
    assert differs_by(vae.singular_values_, pca.singular_values_, pca.singular_values_) < 1e-4
    assert isinstance(vae.noise_variance_, float)
    assert vae.noise_variance_ == pytest.approx(pca.noise_variance_, rel=1e-4)
    assert differs_by(vae.mean_, pca.mean_, spread(X)) < 1e-4
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert differs_by(vae.get_covariance(), covariance, scale) < 1e-4
    assert vae.n_samples_ == pca.n_samples_
    assert vae.n_components_ == k
    assert vae.n_features_in_ == X.shape[1]


@pytest.mark.parametrize("name", ["breast_cancer", "raw_wine"])
def test_the_precision_is_the_inverse(name):
    X = DATA[name]
    vae = at_zero_epochs(X, 3)
    np.testing.assert_allclose(
        vae.get_precision() @ vae.get_covariance(), np.eye(X.shape[1]), atol=1e-6
    )
    expected = PCA(3, svd_solver="full").fit(X).get_precision()
    np.testing.assert_allclose(vae.get_precision(), expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["digits", "wine", "raw_wine"])
def test_whitened(name):
    X = DATA[name]
    pca = PCA(3, svd_solver="full", whiten=True).fit(X)
    vae = at_zero_epochs(X, 3, whiten=True)
    assert differs_by(vae.transform(X), pca.transform(X), 1) < 1e-4
    back = pca.inverse_transform(pca.transform(X))
    assert differs_by(vae.inverse_transform(vae.transform(X)), back, spread(X)) < 1e-4
    assert differs_by(vae.components_, pca.components_, 1) < 1e-4
    # scikit-learn's PCA takes other densities with whiten=True than without; a density cannot
    # depend on the scale of the latents, and ours does not.
    unwhitened = PCA(3, svd_solver="full").fit(X).score_samples(X)
    assert differs_by(vae.score_samples(X), unwhitened, unwhitened.std()) < 1e-4


@pytest.mark.parametrize("name", ["breast_cancer", "wine", "raw_wine"])
def test_all_components(name):
    X = DATA[name]
    k = X.shape[1]
    pca, vae = PCA(k, svd_solver="full").fit(X), at_zero_epochs(X, k)
    T, scores = pca.transform(X), pca.score_samples(X)
    assert differs_by(vae.transform(X), T, T.std(axis=0)) < 1e-4
    assert differs_by(vae.score_samples(X), scores, scores.std()) < 1e-4
    assert differs_by(vae.inverse_transform(T), X, spread(X)) < 1e-4
    assert vae.noise_variance_ < 1e-8 * np.var(X, axis=0).mean()


@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine", "raw_wine"])
def test_diagonal_gaussian_equals_factor_analysis(name, k):
    X = DATA[name]
    fa = FactorAnalysis(k).fit(X)
    vae = at_zero_epochs(X, k, likelihood="diagonal_gaussian")
    scores = fa.score_samples(X)
    assert differs_by(vae.score_samples(X), scores, scores.std()) < 1e-3
    np.testing.assert_allclose(vae.noise_variance_, fa.noise_variance_, rtol=1e-6)
    scale = np.sqrt(np.outer(np.diag(fa.get_covariance()), np.diag(fa.get_covariance())))
    assert differs_by(vae.get_covariance(), fa.get_covariance(), scale) < 1e-3


def test_factor_analysis_of_many_rows_and_of_odd_units():
    random = np.random.RandomState(0)
    deviations = random.uniform(0.3, 1, size=8)
    X = random.normal(size=(12_000, 2)) @ random.normal(size=(2, 8))
    X += random.normal(size=X.shape) * deviations
    some = X[::5]
    scores = FactorAnalysis(2).fit(X).score_samples(some)
    ours = at_zero_epochs(X, 2, likelihood="diagonal_gaussian")
    assert differs_by(ours.score_samples(some), scores, scores.std()) < 1e-3
    np.testing.assert_allclose(ours.noise_variance_, deviations**2, rtol=0.1)
    tiny = at_zero_epochs(X * 1e-8, 2, likelihood="diagonal_gaussian").score_samples(some * 1e-8)
    assert differs_by(tiny + X.shape[1] * np.log(1e-8), scores, scores.std()) < 1e-2


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine"])
def test_heteroscedastic_gaussian_starts_as_the_shared_noise(name):
    X = DATA[name]
    scores = PCA(3, svd_solver="full").fit(X).score_samples(X)
    ours = at_zero_epochs(X, 3, likelihood="heteroscedastic_gaussian")
    assert differs_by(ours.score_samples(X), scores, scores.std()) < 1e-4
    assert ours.noise_variance_.shape == (X.shape[1],)


def test_any_number_of_draws_gives_the_exact_score():
    X = DATA["wine"]
    expected = PCA(2, svd_solver="full").fit(X).score_samples(X)
    for draws in (1, 7):
        vae = at_zero_epochs(X, 2, n_importance_samples=draws)
        np.testing.assert_allclose(vae.score_samples(X), expected, rtol=1e-9)


def test_the_kl_of_a_component_is_half_its_log_signal_to_noise():
    X = DATA["breast_cancer"]
    vae, pca = at_zero_epochs(X, 4), PCA(4, svd_solver="full").fit(X)
    mean, variance = vae._posterior(X)
    # With the divisor n - 1 of the variances, the mean over rows uses it as well.
    kl = 0.5 * ((mean**2).sum(0) / (len(X) - 1) + (variance - 1 - np.log(variance)).mean(0))
    expected = 0.5 * np.log(pca.explained_variance_ / pca.noise_variance_)
    np.testing.assert_allclose(kl, expected, rtol=1e-9)


def test_more_components_than_the_data_has_raises_as_pca_does():
    X = load_iris().data
    with pytest.raises(
        ValueError, match=r"n_components=5 must be between .* min\(n_samples, n_features\)=4"
    ):
        VAETransformer(5).fit(X)
    with pytest.raises(
        ValueError, match=r"n_components=5 must be between .* min\(n_samples, n_features\)=4"
    ):
        PCA(5).fit(X)


def test_a_large_offset_costs_no_digits():
    random = np.random.RandomState(0)
    X = random.normal(size=(400, 5)) @ random.normal(size=(5, 5))
    expected = PCA(2, svd_solver="full").fit(X).score_samples(X)
    ours = at_zero_epochs(X + 1.7e9, 2)
    assert differs_by(ours.score_samples(X + 1.7e9), expected, expected.std()) < 1e-4


def test_rank_deficient_rows_switch_components_off():
    random = np.random.RandomState(0)
    X = random.normal(size=(50, 2)) @ random.normal(size=(2, 5))
    with pytest.warns(UserWarning, match="2 of 4 latent components carry"):
        vae = at_zero_epochs(X, 4)
    assert np.isfinite(vae.score_samples(X)).all()
    np.testing.assert_allclose(vae.inverse_transform(vae.transform(X)), X, atol=1e-4)
    np.testing.assert_array_equal(vae.transform(X)[:, 2:], 0)


def test_float32_rows_score_as_float64_rows_do():
    X = DATA["breast_cancer"].astype(np.float32)
    vae = at_zero_epochs(X, 3)
    expected = vae.score_samples(X.astype(np.float64))
    assert differs_by(vae.score_samples(X), expected, expected.std()) < 1e-4


def independent(X):
    """Log-likelihood of rows of zeros and ones with independent columns."""
    mean = (X.sum(axis=0) + 0.5) / (len(X) + 1)
    return (X * np.log(mean) + (1 - X) * np.log(1 - mean)).sum(axis=1).mean()


@pytest.mark.parametrize("n", [18, 300])
@pytest.mark.parametrize("kind", ["one-hot", "one column", "all components"])
def test_the_bernoulli_start_is_not_far_below_independent_columns(kind, n):
    random = np.random.RandomState(0)
    X = {
        "one-hot": np.eye(3)[random.randint(0, 3, n)],
        "one column": (random.uniform(size=(n, 1)) < 0.5).astype(float),
        "all components": (random.uniform(size=(n, 6)) < 0.4).astype(float),
    }[kind]
    k = {"one-hot": 2, "one column": 1, "all components": None}[kind]
    vae = at_zero_epochs(X, k, likelihood="bernoulli")
    assert vae.score(X) > independent(X) - 0.3
    # Its columns have the variance of what they explain, as a trained model's have.
    T = vae.transform(X)
    left = ((vae.inverse_transform(T) - X) ** 2).sum() / (n - 1)
    explained = X.var(axis=0, ddof=1).sum() - left
    assert T.var(axis=0, ddof=1).sum() == pytest.approx(explained, rel=1e-6)
    assert vae.explained_variance_.sum() == pytest.approx(explained, rel=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_a_network_that_is_silent_at_some_points_only_starts_silent_too(seed):
    X = np.random.RandomState(seed).normal(size=(50, 2)) * [2, 1]
    vae = VAETransformer(1, max_epochs=0, random_state=seed, network=relu_ended).fit(X)
    pca = PCA(1).fit(X)
    np.testing.assert_allclose(
        vae.inverse_transform(vae.transform(X)), pca.inverse_transform(pca.transform(X)), atol=1e-6
    )


def relu_ended(n_in, n_out):
    return torch.nn.Sequential(torch.nn.Linear(n_in, n_out), torch.nn.ReLU())


@pytest.mark.parametrize("ratio", [1e3, 1e5, 3e5])
def test_a_column_far_larger_than_the_others_hides_none(ratio):
    X = np.random.RandomState(0).normal(size=(1000, 4)) * [ratio, 1, 0.5, 0.3]
    vae, pca = VAETransformer(2, max_epochs=0).fit(X), PCA(2, svd_solver="full").fit(X)
    spread = pca.transform(X).std(axis=0)
    assert np.abs((vae.transform(X) - pca.transform(X)) / spread).max() < 1e-6
    # scikit-learn's own score goes by a matrix whose condition number is the ratio's square.
    np.testing.assert_allclose(vae.score_samples(X), pca.score_samples(X), atol=1e-3)


def test_columns_that_the_noise_floor_hides_are_said_to_be():
    X = np.random.RandomState(0).normal(size=(1000, 4)) * [1e8, 1, 0.5, 0.3]
    with pytest.warns(ConvergenceWarning, match=r"scales of the columns.*StandardScaler"):
        VAETransformer(2, max_epochs=0).fit(X)
