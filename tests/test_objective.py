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
from skvae.objective import elbo, importance_bound, log_weights
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


def test_free_bits_by_hand():
    kl = torch.tensor([[0.1, 2.0], [0.3, 4.0]], requires_grad=True)
    terms = (torch.zeros(2, 1, 1), torch.zeros(2, 1), torch.zeros(2, 1), kl)
    bound = elbo(*terms, free_bits=0.5)
    # The first latent carries 0.2 nats and counts as 0.5, the second carries 3.
    assert bound.mean().item() == pytest.approx(-3.5)
    bound.mean().backward()
    torch.testing.assert_close(kl.grad, torch.tensor([[0.0, -0.5], [0.0, -0.5]]))


def test_free_bits_are_of_the_mean_over_the_batch():
    """Not of each row: a latent that carries enough in all pays for rows that say little, too."""
    kl = torch.tensor([[0.1], [1.1]], requires_grad=True)
    bound = elbo(torch.zeros(2, 1, 1), torch.zeros(2, 1), torch.zeros(2, 1), kl, free_bits=0.5)
    assert bound.mean().item() == pytest.approx(-0.6)
    bound.mean().backward()
    torch.testing.assert_close(kl.grad, torch.full((2, 1), -0.5))


def test_free_bits_and_importance_weighting_exclude_each_other():
    with pytest.raises(ValueError, match=r"free_bits=0\.5.*n_importance_samples_train=2"):
        VAETransformer(free_bits=0.5, n_importance_samples_train=2).fit(X)


def test_free_bits_keep_latents_that_a_large_beta_switches_off():
    common = {"beta": 20.0, "max_epochs": 60, "early_stopping": False, "random_state": 0}
    with pytest.warns(match="carry less than"):
        off = VAETransformer(K, **common).fit(X)
    kept = VAETransformer(K, free_bits=0.3, **common).fit(X)
    assert off.elbo(X).kl.mean(axis=0).min() < 0.05
    assert kept.elbo(X).kl.mean(axis=0).min() > 0.2


@pytest.mark.parametrize(
    ("max_epochs", "early_stopping", "n_judged"), [(1, True, 50), (1, False, 300), (0, True, 300)]
)
def test_the_more_rows_are_judged_the_fewer_draws_of_each(max_epochs, early_stopping, n_judged):
    """Those that are held out or, where none is, all: the start of counts is searched by these."""
    counts = np.random.RandomState(0).poisson(3.0, size=(300, 4))
    model = VAETransformer(
        1, likelihood="poisson", max_epochs=max_epochs, early_stopping=early_stopping
    )
    assert model.fit(counts).net_.n_valid_draws == 500 // n_judged


def test_training_with_several_draws_maximizes_their_bound():
    vae = VAETransformer(K, n_importance_samples_train=3, max_epochs=2, random_state=0).fit(X)
    net = vae.net_
    assert net.criterion_.importance_weighted
    assert net.n_draws == 3
    assert net.n_valid_draws >= 3


def test_doubly_reparameterized_gradients_have_the_same_mean():
    vae = linear_vae()[0].train()
    with torch.no_grad():
        # A posterior that is not exact, or the weights would all be equal.
        vae.affine_log_variance.add_(0.5)
        vae.affine_encoder.bias.add_(0.3)
    units = vae.likelihood
    x = torch.as_tensor((X[:1] - units.centre) / units.scale).repeat(4000, 1)
    gradients, noise = [], []
    for doubly in (False, True):
        vae.zero_grad()
        torch.manual_seed(0)
        terms = vae(x, n_draws=8, doubly_reparameterized=doubly)
        importance_bound(log_weights(*terms)).mean().backward()
        gradients.append([p.grad.clone() for p in vae.parameters() if p.grad is not None])
        per_row = []
        for row in x[:200].split(1):
            vae.zero_grad()
            terms = vae(row, n_draws=8, doubly_reparameterized=doubly)
            importance_bound(log_weights(*terms)).sum().backward()
            per_row.append(vae.affine_encoder.bias.grad.clone())
        noise.append(torch.stack(per_row).std(0))
    for plain, doubly in zip(*gradients, strict=True):
        torch.testing.assert_close(doubly, plain, atol=0.03, rtol=0.1)
    # That is what they are for.
    assert (noise[1] < noise[0]).all()
