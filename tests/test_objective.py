"""The ELBO is right: closed forms of the linear model, its gap under a rotation, its optimum."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer
from skvae.likelihoods import Gaussian
from skvae.linear_start import LinearStart
from skvae.networks import Linear
from skvae.objective import elbo
from skvae.priors import StandardNormal
from skvae.vae import VAE

X = StandardScaler().fit_transform(load_wine().data)
K = 3


def linear_vae(rotation=None):
    """The pPCA optimum on X in double precision, its latents rotated, its posterior the best
    diagonal one: variance 1 / M_ii times s2."""
    pca = PCA(K, svd_solver="full").fit(X)
    noise = pca.noise_variance_
    loadings = pca.components_.T * np.sqrt(pca.explained_variance_ - noise)
    if rotation is not None:
        loadings = loadings @ rotation
    M = loadings.T @ loadings + noise * np.eye(K)
    start = LinearStart(
        mean=pca.mean_,
        loadings=loadings,
        projection=np.linalg.solve(M, loadings.T),
        log_variance=np.log(noise / np.diag(M)),
        noise_variance=noise,
    )
    likelihood = Gaussian(X.shape[1])
    likelihood.set_units(X)
    vae = VAE(likelihood, StandardNormal(K), Linear(13, 2 * K), Linear(K, 13), K).double()
    vae.load_start(start)
    return vae, pca, M


def exact_elbo(vae):
    """The mean ELBO with its expectation in closed form: for a quadratic log p(x|z), three points
    each way along every latent integrate it exactly (Gauss-Hermite of degree two)."""
    x = torch.as_tensor((X - vae.likelihood.centre) / vae.likelihood.scale)
    with torch.no_grad():
        q = vae.posterior(x)
        points = torch.cat([torch.eye(K), -torch.eye(K)]).double() * K**0.5
        z = q.loc[:, None] + q.scale[:, None] * points
        log_px = vae.likelihood.log_prob(vae.outputs(z), x[:, None])
        return elbo(log_px, None, None, vae.prior.kl(q)).mean().item()


def test_the_optimum_of_the_linear_vae_is_ppca():
    vae, pca, _ = linear_vae()
    assert exact_elbo(vae) == pytest.approx(pca.score(X), rel=1e-9)


def test_a_rotation_opens_the_known_gap():
    random = np.random.RandomState(0)
    rotation = np.linalg.qr(random.normal(size=(K, K)))[0]
    vae, pca, M = linear_vae(rotation)
    gap = 0.5 * (np.log(np.diag(M)).sum() - np.linalg.slogdet(M)[1])
    assert gap > 0.1
    assert pca.score(X) - exact_elbo(vae) == pytest.approx(gap, rel=1e-9)


def test_importance_weighting_closes_the_gap():
    rotation = np.linalg.qr(np.random.RandomState(0).normal(size=(K, K)))[0]
    vae, pca, _ = linear_vae(rotation)
    x = torch.as_tensor((X - vae.likelihood.centre) / vae.likelihood.scale)
    generator = torch.Generator().manual_seed(0)
    gaps = []
    for draws in (1, 10, 1000):
        noise = torch.randn(len(x), draws, K, generator=generator, dtype=torch.float64)
        log_w = vae.log_weights(x, noise)
        score = (torch.logsumexp(log_w, 1) - np.log(draws)).mean().item()
        gaps.append(pca.score(X) - score)
    # One draw is the ELBO; a thousand leave a twentieth of its gap, which is noise.
    assert gaps[0] > 0.1
    assert abs(gaps[1]) < gaps[0] / 5
    assert abs(gaps[2]) < gaps[0] / 20


def test_a_linear_vae_from_random_weights_reaches_ppca():
    vae = VAETransformer(
        2,
        network="linear",
        init="random",
        early_stopping=False,
        lr=0.02,
        max_epochs=800,
        batch_size=178,
        random_state=0,
    ).fit(X)
    pca = PCA(2, svd_solver="full").fit(X)
    assert vae.score(X) == pytest.approx(pca.score(X), abs=0.02)
    assert vae.noise_variance_ == pytest.approx(pca.noise_variance_, rel=0.02)
    # Up to sign these are PCA's axes: the diagonal posterior undoes the rotation.
    cosines = np.abs(np.sum(vae.components_ * pca.components_, axis=1))
    assert cosines.min() > 0.99
    np.testing.assert_allclose(vae.explained_variance_, pca.explained_variance_, rtol=0.05)


def test_beta_zero_turns_the_divergence_off():
    rows = X[:60]
    autoencoder = VAETransformer(
        2, beta=0.0, early_stopping=False, max_epochs=30, random_state=0
    ).fit(rows)
    plain = VAETransformer(2, early_stopping=False, max_epochs=30, random_state=0).fit(rows)
    kl = [_kl(est, rows) for est in (autoencoder, plain)]
    assert kl[0] > 1.1 * kl[1]


def _kl(estimator, rows):
    mean, variance = estimator._posterior(rows)
    return 0.5 * (mean**2 + variance - 1 - np.log(variance)).sum(1).mean()
