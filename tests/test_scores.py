"""What a fitted model says of rows, and draws: scores with their errors, the ELBO, samples."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer

K = 3
WINE = StandardScaler().fit_transform(load_wine().data)
DIGITS = load_digits().data[:600] + np.random.RandomState(0).uniform(size=(600, 64))


@pytest.fixture(scope="module")
def linear():
    return VAETransformer(K, max_epochs=0, n_importance_samples=20, random_state=0).fit(WINE)


@pytest.fixture(scope="module")
def trained():
    """A model whose posterior is not exact: beta pulls it away from the likelihood's own."""
    vae = VAETransformer(
        4,
        beta=3.0,
        max_epochs=10,
        early_stopping=False,
        hidden_layer_sizes=32,
        n_importance_samples=30,
        random_state=0,
    )
    return vae.fit(DIGITS)


def test_details_of_an_exact_posterior(linear):
    pca = PCA(K, svd_solver="full").fit(WINE)
    details = linear.score_details(WINE)
    assert_allclose(details.log_prob, pca.score_samples(WINE))
    assert_allclose(details.elbo, details.log_prob)
    assert_allclose(details.effective_sample_size, 20)
    assert np.abs(details.gap).max() < 1e-8
    assert details.standard_error.max() < 1e-8
    assert_allclose(details.bits_per_dimension, -details.log_prob / 13 / np.log(2))


def test_the_elbo_at_the_start_is_in_closed_form(linear):
    terms = linear.elbo(WINE)
    assert terms.kl.shape == (178, K)
    assert_allclose(terms.elbo, terms.reconstruction - terms.kl.sum(axis=1))
    pca = PCA(K, svd_solver="full").fit(WINE)
    expected = 0.5 * np.log(pca.explained_variance_ / pca.noise_variance_)
    # Over n rows the variances of the means are (n - 1) / n of those with divisor n - 1.
    shrunk = 1 - pca.noise_variance_ / pca.explained_variance_
    assert_allclose(terms.kl.mean(axis=0), expected - 0.5 * shrunk / 178, rtol=1e-9)


def test_the_elbos_kl_is_in_the_order_of_the_columns(trained):
    mean, variance = trained.net_.apply(
        "encode", DIGITS, prepare=trained._units, dtype=__import__("torch").float64
    )
    kl = 0.5 * (mean**2 + variance - 1 - np.log(variance))
    assert_allclose(trained.elbo(DIGITS).kl, kl[:, trained.coordinates_.order])


def test_details_agree_with_what_they_are_details_of(trained):
    details = trained.score_details(DIGITS[:50], n_repeats=2)
    assert_allclose(details.log_prob, trained.score_samples(DIGITS[:50]))
    assert_allclose(details.elbo, trained.elbo(DIGITS[:50]).elbo)
    assert_allclose(details.gap, details.log_prob - details.elbo)
    assert details.gap.mean() > 0.1
    assert (details.effective_sample_size >= 1 - 1e-9).all()
    assert (details.effective_sample_size <= 30).all()


def test_the_standard_error_of_a_score_is_honest(trained):
    rows = DIGITS[:60]
    details = trained.score_details(rows, n_repeats=20)
    seed = trained._seed
    try:
        scores = []
        for other in range(40):
            trained._seed = 10_000 + other
            scores.append(trained.score_samples(rows))
    finally:
        trained._seed = seed
    seen = np.std(scores, axis=0, ddof=1)
    ratio = np.sqrt(np.mean(details.standard_error**2) / np.mean(seen**2))
    assert 0.8 < ratio < 1.25


def test_an_effective_sample_size_by_hand(trained):
    import torch

    from skvae._random import row_normals

    rows = DIGITS[:5]
    noise = row_normals(rows, 30, 4, trained._seed)
    x = trained._units(rows)
    with torch.no_grad():
        log_w = trained.net_.module_.log_weights(x, noise).numpy()
    w = np.exp(log_w - log_w.max(axis=1, keepdims=True))
    expected = w.sum(axis=1) ** 2 / (w**2).sum(axis=1)
    assert_allclose(trained.score_details(rows).effective_sample_size, expected)


def test_n_repeats_is_checked(linear):
    with pytest.raises(ValueError, match="n_repeats must be an int of at least 2, got 1"):
        linear.score_details(WINE, n_repeats=1)


def test_samples_without_noise_are_means(linear):
    noisy, smooth = (linear.sample(20_000, 0, noise=noise) for noise in (True, False))
    # The linear model's two covariances are WW' + s2 I and WW'.
    assert_allclose(np.cov(noisy.T), linear.get_covariance(), atol=0.05)
    less = linear.get_covariance() - linear.noise_variance_ * np.eye(13)
    assert_allclose(np.cov(smooth.T), less, atol=0.05)


def test_posterior_draws_scatter_about_transform(trained):
    rows = DIGITS[:7]
    draws = trained.sample_posterior(rows, n_draws=4000, random_state=0)
    assert draws.shape == (7, 4000, 4)
    T = trained.transform(rows)
    error = draws.std(axis=1) / 4000**0.5
    assert np.abs((draws.mean(axis=1) - T) / error).max() < 4.5
    _, variance = trained._posterior(rows)
    scale = np.abs(trained.coordinates_.scale)
    expected = (np.sqrt(variance) * scale)[:, trained.coordinates_.order]
    assert_allclose(draws.std(axis=1), expected, rtol=0.06)
    assert np.array_equal(draws, trained.sample_posterior(rows, 4000, 0))
    assert not np.array_equal(draws, trained.sample_posterior(rows, 4000, 1))


def test_posterior_draws_decoded(linear):
    # In the linear model E[x|z] = W z + w, and the draws' mean is PCA's shrunk reconstruction.
    draws = linear.sample_posterior(WINE[:4], n_draws=20_000, random_state=0, decode=True)
    assert draws.shape == (4, 20_000, 13)
    pca = PCA(K, svd_solver="full").fit(WINE)
    kept = 1 - pca.noise_variance_ / pca.explained_variance_
    shrunk = pca.inverse_transform(pca.transform(WINE[:4]) * kept)
    assert_allclose(draws.mean(axis=1), shrunk, atol=0.03)


def test_interpolation_goes_from_reconstruction_to_reconstruction(trained):
    path = trained.interpolate(DIGITS[:3], DIGITS[3:6], n_steps=5)
    assert path.shape == (3, 5, 64)
    ends = trained.inverse_transform(trained.transform(DIGITS[:6]))
    assert_allclose(path[:, 0], ends[:3])
    assert_allclose(path[:, -1], ends[3:])
    middle = (trained.transform(DIGITS[:3]) + trained.transform(DIGITS[3:6])) / 2
    assert_allclose(path[:, 2], trained.inverse_transform(middle))


def test_interpolation_needs_as_many_rows(trained):
    with pytest.raises(ValueError, match="X has 3 rows and X_end has 2"):
        trained.interpolate(DIGITS[:3], DIGITS[:2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_are_kept(trained, dtype):
    rows = DIGITS[:4].astype(dtype)
    assert trained.sample_posterior(rows, 2, 0).dtype == dtype
    assert trained.sample_posterior(rows, 2, 0, decode=True).dtype == dtype
    assert trained.interpolate(rows, rows, 2).dtype == dtype


@pytest.mark.parametrize(
    ("method", "name"), [("sample_posterior", "n_draws"), ("interpolate", "n_steps")]
)
def test_counts_are_checked(trained, method, name):
    rows = (DIGITS[:2],) * (2 if method == "interpolate" else 1)
    with pytest.raises(ValueError, match=f"{name} must be an int of at least 1, got 0"):
        getattr(trained, method)(*rows, **{name: 0})
