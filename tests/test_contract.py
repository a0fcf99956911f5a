"""The contract between the floors: dict batches in, plain batch-first terms out."""

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal
from torch.utils.data import DataLoader

from skvae.batches import Batches, Rows
from skvae.likelihoods import Gaussian
from skvae.net import VAENet
from skvae.networks import MLP
from skvae.objective import NegativeBound, elbo, importance_bound, log_weights
from skvae.priors import Prior, StandardNormal
from skvae.vae import VAE

N, D, K, S = 7, 5, 2, 3


class JointPrior(Prior):
    """Correlated latents: no closed form of the KL as a sum over latents is declared."""

    def __init__(self, n_components):
        super().__init__()
        self.register_buffer("loc", torch.full((n_components,), 0.5))
        self.register_buffer("root", torch.tensor([[1.0, 0.0], [0.8, 0.6]]))

    def law(self):
        return MultivariateNormal(self.loc, scale_tril=self.root, validate_args=False)


def make_vae(prior):
    torch.manual_seed(0)
    likelihood = Gaussian(D)
    likelihood.set_units(np.random.RandomState(0).normal(size=(20, D)) * 3)
    return VAE(likelihood, prior, MLP(D, 2 * K), MLP(K, D), K)


@pytest.fixture
def x():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(1))


def test_shapes_with_a_closed_form(x):
    log_px, log_pz, log_qz, kl = make_vae(StandardNormal(K))(x=x, n_draws=S)
    assert log_px.shape == (N, S, D)
    assert log_pz.shape == log_qz.shape == (N, S)
    assert kl.shape == (N, K)


@pytest.mark.parametrize("log_variance", [-200.0, 200.0])
def test_terms_and_gradients_stay_finite_in_single_precision(x, log_variance):
    """Of a row far outside the rest an encoder can be as sure, or as unsure, as that."""
    vae = make_vae(StandardNormal(K)).float()
    with torch.no_grad():
        vae.affine_log_variance.fill_(log_variance)
    terms = vae(x=x, n_draws=S)
    assert all(torch.isfinite(term).all() for term in terms)
    elbo(*terms).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in vae.parameters() if p.grad is not None)


def test_a_joint_prior_without_closed_form(x):
    vae = make_vae(JointPrior(K))
    terms = vae(x=x, n_draws=S)
    assert [tuple(t.shape) for t in terms] == [(N, S, D), (N, S), (N, S)]
    bound = elbo(*terms)
    assert bound.shape == (N,)
    # The Monte-Carlo KL meets the closed form between two Gaussians.
    _, log_pz, log_qz = vae(x=x, n_draws=20_000)
    q = vae.posterior(x)
    joint = MultivariateNormal(q.mean, covariance_matrix=torch.diag_embed(q.variance))
    exact = torch.distributions.kl_divergence(joint, vae.prior.law())
    torch.testing.assert_close((log_qz - log_pz).mean(1), exact, atol=0.05, rtol=0.02)


def test_the_joint_prior_trains_through_skorch():
    X = np.random.RandomState(0).normal(size=(40, D))
    vae = make_vae(JointPrior(K))
    rows = Rows(X)
    rows.set_units(vae.likelihood.centre, vae.likelihood.scale)
    net = VAENet(vae, n_draws=S, lr=1e-2, max_epochs=30, batch_size=16, train_split=None)
    torch.manual_seed(0)
    net.fit(rows)
    losses = net.history[:, "train_loss"]
    assert losses[-1] < losses[0] - 0.5


def test_a_stock_data_loader_gives_the_same_batches():
    X = np.random.RandomState(0).normal(size=(10, D))
    rows = Rows(X)
    rows.set_units(X.mean(0), X.std(0))
    ours = [batch["x"] for batch, _ in Batches(rows, 4)]
    stock = [batch["x"] for batch, _ in DataLoader(rows, 4)]
    assert [len(b) for b in ours] == [4, 4, 2]
    torch.testing.assert_close(torch.cat(ours), torch.cat(stock))


def test_objective_by_hand():
    log_px = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    log_pz, log_qz = torch.tensor([[-1.0, -2.0]]), torch.tensor([[-0.5, -0.25]])
    # Reconstruction (3 + 7) / 2, divergence (0.5 + 1.75) / 2.
    assert elbo(log_px, log_pz, log_qz).item() == 5 - 1.125
    assert elbo(log_px, log_pz, log_qz, beta=2.0).item() == 5 - 2.25
    assert elbo(log_px, log_pz, log_qz, torch.tensor([[0.25, 0.5]])).item() == 5 - 0.75
    mask = torch.tensor([[True, False]])
    assert elbo(log_px, log_pz, log_qz, mask=mask).item() == 2 - 1.125
    weights = log_weights(log_px, log_pz, log_qz)
    assert weights.tolist() == [[2.5, 5.25]]
    expected = np.log((np.exp(2.5) + np.exp(5.25)) / 2)
    assert importance_bound(weights).item() == pytest.approx(expected, rel=1e-6)


def test_a_column_that_does_not_factorize_is_summed_as_one():
    log_px = torch.tensor([[[3.0], [7.0]]])
    assert elbo(log_px, torch.zeros(1, 2), torch.zeros(1, 2)).item() == 5


def test_row_weights_are_frequencies():
    terms = (torch.tensor([[[1.0]], [[4.0]]]), torch.zeros(2, 1), torch.zeros(2, 1))
    loss = NegativeBound()
    assert loss(terms, {}).item() == -2.5
    assert loss(terms, {"weight": torch.tensor([3.0, 1.0])}).item() == -(3 * 1 + 4) / 4


def test_warm_up_moves_beta_in_training_only():
    terms = (torch.tensor([[[1.0]]]), torch.tensor([[0.0]]), torch.tensor([[2.0]]))
    loss = NegativeBound(beta=3.0)
    loss.warmup = 0.5
    assert loss.train()(terms, {}).item() == -(1 - 1.5 * 2)
    assert loss.eval()(terms, {}).item() == -(1 - 3 * 2)
