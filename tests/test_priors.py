"""One contract test for each prior, over the registry, and what each of them is for."""

import pickle
import sys
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import integrate
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from torch.distributions import Normal

from skvae import VAETransformer
from skvae.priors import PRIORS, FittedMixture, Flow, Mixture, VampPrior

K = 2
# The registry, and what has a law of its own by an option.
FACTORIES = PRIORS | {"mixture, full": partial(Mixture, covariance_type="full")}
SMALL = {"max_epochs": 3, "hidden_layer_sizes": 16, "n_importance_samples": 10, "random_state": 0}


def rows(n=300, seed=0):
    """Two clusters in five columns: an aggregated posterior that is not normal."""
    random = np.random.RandomState(seed)
    side = random.choice([-3.0, 3.0], size=(n, 1))
    z = np.hstack([side + 0.3 * random.normal(size=(n, 1)), random.normal(size=(n, 1))])
    W = np.random.RandomState(7).normal(size=(K, 5))
    return z @ W + 0.3 * random.normal(size=(n, 5))


def encoder(x):
    """A q(z|x) that depends on x."""
    return Normal(x[:, :K].tanh(), 0.3 + 0.1 * x[:, :K] ** 2)


def some_posterior():
    x = torch.as_tensor(np.random.RandomState(1).normal(size=(200, 5))).float()
    return x, encoder(x)


def started(name):
    """The prior at its start, and its law."""
    torch.manual_seed(0)
    prior = FACTORIES[name](K)
    prior.set_inputs(5)
    prior.load_start(some_posterior)
    prior.after_training(some_posterior)
    return prior, law_of(prior)


def given(name):
    """As the estimator is given it."""
    return name if name in PRIORS else FACTORIES[name]


def law_of(prior):
    return prior.law(encoder) if prior.reads_encoder else prior.law()


@pytest.mark.parametrize("name", FACTORIES)
class TestPrior:
    def test_law(self, name):
        _, law = started(name)
        assert law.event_shape == (K,)
        assert law.sample((7,)).shape == (7, K)
        assert law.log_prob(torch.zeros(4, 3, K)).shape == (4, 3)

    def test_probabilities_integrate_to_one(self, name):
        _, law = started(name)
        grid = torch.linspace(-9, 9, 721)
        points = torch.cartesian_prod(grid, grid)
        density = law.log_prob(points).exp().detach().numpy().reshape(721, 721)
        total = integrate.simpson(integrate.simpson(density, x=grid), x=grid)
        assert total == pytest.approx(1, abs=2e-3)

    def test_samples_have_the_density(self, name):
        _, law = started(name)
        torch.manual_seed(0)
        z = law.sample((40_000,)).numpy()
        # The probability of a box by counting and by the density.
        low, high = np.array([-0.5, -0.2]), np.array([0.4, 0.7])
        inside = ((z > low) & (z < high)).all(axis=1).mean()
        axes = [torch.linspace(a, b, 101) for a, b in zip(low, high, strict=True)]
        density = law.log_prob(torch.cartesian_prod(*axes)).exp().detach().numpy()
        density = density.reshape(101, 101)
        expected = integrate.simpson(integrate.simpson(density, x=axes[1]), x=axes[0])
        assert inside == pytest.approx(expected, abs=4 * (0.25 / 40_000) ** 0.5)

    def test_kl_is_monte_carlo(self, name):
        prior, law = started(name)
        if not prior.closed_form:
            pytest.skip("estimated from the draws")
        q = Normal(torch.tensor([[0.3, -1.0]]), torch.tensor([[0.5, 1.7]]))
        z = q.sample((400_000,))
        ratio = q.log_prob(z).sum(-1) - law.log_prob(z)
        error = 4 * ratio.std().item() / 400_000**0.5
        assert prior.kl(q).shape == (1, K)
        assert prior.kl(q).sum().item() == pytest.approx(ratio.mean().item(), abs=error)

    def test_gradients_reach_every_parameter(self, name):
        prior, _ = started(name)
        if not list(prior.parameters()):
            pytest.skip("nothing to learn")
        # A flow is silent at its start: only its last layers have a gradient there.
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in prior.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        law_of(prior).log_prob(torch.randn(50, K)).sum().backward()
        for parameter_name, parameter in prior.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.abs().sum() > 0, parameter_name

    def test_in_the_estimator(self, name):
        X, X_test = rows(), rows(seed=1)
        vae = VAETransformer(K, prior=given(name), **SMALL).fit(X)
        scores = vae.score_samples(X_test)
        assert np.isfinite(scores).all()
        again = clone(vae).fit(X)
        assert np.array_equal(again.score_samples(X_test), scores)
        copy = pickle.loads(pickle.dumps(vae))
        assert np.array_equal(copy.score_samples(X_test), scores)
        assert np.array_equal(copy.sample(5, 0), vae.sample(5, 0))
        # The columns stand for latents whatever their centre is.
        T = vae.transform(X_test)
        assert T.shape == (300, K)
        assert np.mean((vae.inverse_transform(T) - X_test) ** 2) < 0.5 * X_test.var()
        kl = vae.elbo(X_test).kl
        assert kl.shape == (300, K if vae.net_.module_.prior.closed_form else 1)

    def test_transform_is_pcas_at_zero_epochs(self, name):
        X = rows()
        vae = VAETransformer(K, prior=given(name), **(SMALL | {"max_epochs": 0})).fit(X)
        pca = PCA(K, svd_solver="full").fit(X)
        assert_allclose(vae.transform(X), pca.transform(X), atol=1e-9)
        assert_allclose(
            vae.inverse_transform(vae.transform(X)),
            pca.inverse_transform(pca.transform(X)),
            atol=1e-9,
        )

    def test_in_a_stream(self, name):
        X = rows()
        stream = VAETransformer(K, prior=given(name), **SMALL)
        for chunk in np.array_split(X, 3):
            stream.partial_fit(chunk)
        assert np.isfinite(stream.score(X))

    def test_warm_start(self, name):
        X = rows()
        vae = VAETransformer(K, prior=given(name), warm_start=True, **SMALL).fit(X)
        assert np.isfinite(vae.fit(X).score(X))


def test_a_flow_starts_as_the_standard_normal():
    z = torch.randn(20, K)
    expected = Normal(0, 1).log_prob(z).sum(-1)
    torch.testing.assert_close(Flow(K).law().log_prob(z), expected)


def test_a_flow_at_zero_epochs_is_pca():
    X = rows()
    vae = VAETransformer(K, prior="flow", max_epochs=0, random_state=0).fit(X)
    pca = PCA(K, svd_solver="full").fit(X)
    assert_allclose(vae.score_samples(X), pca.score_samples(X), atol=1e-5)


def test_a_flow_without_zuko(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko.flows", None)
    with pytest.raises(ImportError, match=r"prior='flow' needs the package zuko.*pip install zuko"):
        VAETransformer(K, prior="flow").fit(rows())


@pytest.mark.parametrize(("covariance_type", "n_draws"), [("diag", 1), ("full", 10)])
def test_a_mixture_starts_as_scikit_learns(covariance_type, n_draws):
    prior = Mixture(K, n_mixture_components=3, covariance_type=covariance_type)
    torch.manual_seed(0)
    q = Normal(torch.randn(500, K), torch.full((500, K), 0.2))
    prior.load_start(lambda: (None, q))
    torch.manual_seed(0)
    torch.randn(500, K)  # The same draws of the generator.
    z = q.sample((n_draws,)).flatten(0, 1).double().numpy()
    expected = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(z)
    with torch.no_grad():
        ours = prior.law().log_prob(torch.as_tensor(z).float()).numpy()
    assert_allclose(ours, expected.score_samples(z), atol=1e-4)


def test_full_covariances_of_a_mixture_are_learned():
    """Two clusters, in each of which the latents are correlated: two Gaussians do."""
    random = np.random.RandomState(0)
    side = random.choice([-1.0, 1.0], size=(3000, 1))
    z = random.multivariate_normal([0, 0], [[1, 0.95], [0.95, 1]], size=3000)
    X = np.hstack([z * [1.0, 1.0] * np.hstack([side, np.ones_like(side)]) + 4 * side, z[:, :1]])
    X += 0.1 * random.normal(size=X.shape)
    scores = {
        kind: VAETransformer(
            2,
            prior=partial(Mixture, n_mixture_components=2, covariance_type=kind),
            network="linear",
            max_epochs=20,
            random_state=0,
        )
        .fit(X[:1500])
        .score_samples(X[1500:])
        for kind in ("diag", "full")
    }
    gain = scores["full"] - scores["diag"]
    assert gain.mean() > 5 * gain.std() / 1500**0.5


def test_a_mixture_of_unknown_covariances():
    with pytest.raises(ValueError, match=r"covariance_type of a Mixture.*got 'tied'"):
        Mixture(K, covariance_type="tied")


@pytest.mark.parametrize("count", [0, -1, 2.5, True, None, "3"])
@pytest.mark.parametrize(
    ("prior", "option"),
    [(Mixture, "n_mixture_components"), (VampPrior, "n_pseudo_inputs"), (Flow, "transforms")],
)
def test_options_that_count_something(prior, option, count):
    message = f"{option} of a {prior.__name__} must be an int of at least 1, got {count!r}"
    with pytest.raises(ValueError, match=message):
        VAETransformer(K, prior=partial(prior, **{option: count})).fit(rows())


def test_units_of_a_flow_that_has_none():
    with pytest.raises(ValueError, match=r"each of hidden_features of a Flow .*, got 0"):
        Flow(K, hidden_features=(8, 0))


def test_options_that_a_prior_does_not_have():
    for prior in (partial(Mixture, n_components=3), partial(VampPrior, n_inputs=3), lambda: None):
        with pytest.raises(
            TypeError, match=f"prior could not be made by .* one number, {K} here: "
        ):
            VAETransformer(K, prior=prior).fit(rows())


def test_a_prior_is_made_by_a_factory():
    with pytest.raises(ValueError, match="prior is a Mixture itself; pass its class"):
        VAETransformer(K, prior=Mixture(K)).fit(rows())


def test_pseudo_inputs_are_spread_over_the_rows():
    x, _ = some_posterior()
    prior = started("vamp")[0]
    chosen = [int((x == u).all(1).nonzero()) for u in prior.pseudo_inputs]
    assert chosen[0] == 0 and chosen[-1] == len(x) - 1
    assert set(np.diff(chosen)) <= {1, 2, 3} and len(chosen) == prior.n_pseudo_inputs


def test_a_fitted_mixture_finds_the_clusters():
    X, X_test = rows(600), rows(seed=1)
    normal, fitted = (
        VAETransformer(K, prior=prior, max_epochs=0, random_state=0).fit(X)
        for prior in ("normal", "fitted")
    )
    # Two clusters of six standard deviations: about log 2 nats of a normal law are to be had.
    assert fitted.score(X_test) > normal.score(X_test) + 0.5
    along = PCA(1).fit(X)
    near_middle = [np.mean(np.abs(along.transform(vae.sample(2000, 0))) < 3) for vae in
                   (normal, fitted)]  # fmt: skip
    real = np.mean(np.abs(along.transform(X_test)) < 3)
    assert abs(near_middle[1] - real) < 0.5 * abs(near_middle[0] - real)


def test_a_fitted_mixture_trains_with_the_normal_prior():
    prior = FittedMixture(K)
    assert prior.closed_form
    prior.after_training(some_posterior)
    assert not prior.closed_form
    prior.before_training()
    assert prior.closed_form


def test_a_vamp_prior_starts_at_training_rows_and_near_the_normal():
    prior = VampPrior(K, n_pseudo_inputs=4)
    prior.set_inputs(5)
    prior.load_start(some_posterior)
    features, _ = some_posterior()
    for pseudo_input in prior.pseudo_inputs.detach():
        assert (features == pseudo_input).all(dim=1).any()
    z = torch.randn(200, K)
    normal = Normal(0, 1).log_prob(z).sum(-1)
    # N(0, I) has nine tenths of the weight.
    assert (prior.law(encoder).log_prob(z) - normal).min() > np.log(0.9) - 1e-4


def test_learned_priors_beat_the_normal_one_where_there_are_clusters():
    X, X_test = rows(1000), rows(seed=1)
    scores = {
        prior: VAETransformer(
            K, prior=prior, max_epochs=15, hidden_layer_sizes=32, random_state=0
        ).fit(X).score(X_test)
        for prior in PRIORS
    }  # fmt: skip
    assert all(scores[prior] > scores["normal"] + 0.1 for prior in ("mixture", "flow", "fitted"))


def test_a_prior_with_options():
    vae = VAETransformer(K, prior=partial(Mixture, n_mixture_components=4), **SMALL).fit(rows())
    assert vae.net_.module_.prior.loc.shape == (4, K)


@pytest.mark.parametrize("prior", ["mixture", "vamp", "flow"])
def test_free_bits_need_a_kl_of_each_latent(prior):
    with pytest.raises(ValueError, match=r"free_bits=0\.5.*joint prior='" + prior):
        VAETransformer(K, prior=prior, free_bits=0.5).fit(rows())


def test_a_flow_of_a_single_latent():
    X = rows()
    vae = VAETransformer(1, prior="flow", **SMALL).fit(X)
    assert np.isfinite(vae.score(X))
    law = PRIORS["flow"](1).law()
    z = torch.linspace(-4, 4, 9)[:, None]
    assert torch.allclose(law.log_prob(z), Normal(0, 1).log_prob(z)[:, 0], atol=1e-4)


class TestFittedOfAStream:
    def test_a_last_chunk_of_few_rows_changes_little(self):
        X = rows(400)
        vae = VAETransformer(K, prior="fitted", **SMALL).partial_fit(X)
        before = vae.score(X)
        vae.partial_fit(X[:2])
        assert vae.score(X) == pytest.approx(before, abs=0.3)

    def test_chunks_of_one_cluster_each(self):
        X = rows(1000)
        X = X[np.argsort(X @ np.random.RandomState(7).normal(size=(K, 5))[0])]
        vae = VAETransformer(K, prior="fitted", random_state=0)
        for chunk in np.array_split(X, 4):
            vae.partial_fit(chunk)
        # The encoder forgets, but the mixture is of rows of all chunks: of the last alone it would
        # have a tenth of the variance.
        spread = vae.sample(4000, random_state=0).var(axis=0).sum()
        assert spread > 0.4 * X.var(axis=0).sum()

    def test_after_a_fit_the_mixture_stays_until_there_are_rows(self):
        X = rows(400)
        vae = VAETransformer(K, prior="fitted", **SMALL).fit(X)
        mixture = vae.net_.module_.prior.mixture
        vae.partial_fit(X[:3])
        for part, before in zip(vae.net_.module_.prior.mixture, mixture, strict=True):
            assert torch.equal(part, before)
