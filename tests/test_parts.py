"""One contract test for each kind of part, over its registry, against an independent truth."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from skvae.likelihoods import (
    COLUMN_NOISE_FLOOR,
    LIKELIHOODS,
    SHARED_NOISE_FLOOR,
    Bernoulli,
)
from skvae.linear_start import linear_start
from skvae.networks import ACTIVATIONS, MLP, NETWORKS
from skvae.vae import Gated, silent

N, D, K = 40, 4, 2


def rows(name):
    random = np.random.RandomState(0)
    if LIKELIHOODS[name].measure == "mass":
        return (random.uniform(size=(N, D)) < [0.2, 0.5, 0.7, 0.4]).astype(float)
    return random.normal(size=(N, D)) * [0.1, 1.0, 30.0, 4.0] + [5.0, 0.0, -7.0, 1e3]


def fitted(name):
    """The likelihood on its rows in double precision, with parameters off their start."""
    likelihood = LIKELIHOODS[name](D)
    likelihood.set_units(rows(name))
    likelihood.double()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.normal_()
    outputs = torch.randn(3, likelihood.n_outputs, dtype=torch.float64)
    return likelihood, outputs


def scipy_law(name, likelihood, outputs):
    """The same law in the units of X, by scipy."""
    outputs = outputs.numpy()
    if name == "bernoulli":
        return stats.bernoulli(1 / (1 + np.exp(-outputs)))
    location, scale = outputs[:, :D], likelihood.scale
    if name == "gaussian":
        noise = (scale**2).mean() * (SHARED_NOISE_FLOOR + np.exp(likelihood.log_noise.item()))
        deviation = np.full(D, noise**0.5)
    elif name == "diagonal_gaussian":
        raw = likelihood.log_noise.detach().numpy()
        deviation = scale * np.sqrt(COLUMN_NOISE_FLOOR + np.exp(raw))
    elif name == "heteroscedastic_gaussian":
        deviation = scale * np.sqrt(COLUMN_NOISE_FLOOR + np.exp(outputs[:, D:]))
    return stats.norm(location * scale + likelihood.centre, deviation)


@pytest.mark.parametrize("name", LIKELIHOODS)
class TestLikelihood:
    def test_log_probability_is_scipys(self, name):
        likelihood, outputs = fitted(name)
        X = rows(name)[:3]
        x = torch.as_tensor((X - likelihood.centre) / likelihood.scale)
        law = scipy_law(name, likelihood, outputs)
        expected = law.logpmf(X) if likelihood.measure == "mass" else law.logpdf(X)
        ours = likelihood.log_prob(outputs, x).detach().numpy()
        assert ours.shape == (3, D)
        np.testing.assert_allclose(ours, expected, rtol=1e-9)

    def test_probabilities_sum_to_one(self, name):
        likelihood, outputs = fitted(name)

        def probability(value, column=2):
            X = np.tile(rows(name)[:1], (3, 1))
            X[:, column] = value
            x = torch.as_tensor((X - likelihood.centre) / likelihood.scale)
            return likelihood.log_prob(outputs, x)[0, column].exp().item()

        if likelihood.measure == "mass":
            assert probability(0.0) + probability(1.0) == pytest.approx(1, abs=1e-12)
        else:
            law = scipy_law(name, likelihood, outputs)
            centre, width = law.mean()[0, 2], law.std()[0, 2]
            total = integrate.quad(probability, centre - 9 * width, centre + 9 * width)[0]
            assert total == pytest.approx(1, abs=1e-8)

    def test_moments_and_samples(self, name):
        likelihood, outputs = fitted(name)
        law = scipy_law(name, likelihood, outputs)
        with torch.no_grad():
            mean, variance = likelihood.mean(outputs), likelihood.variance(outputs)
            draws = likelihood.law(outputs).sample((20_000,)).numpy()
        to_X = lambda x: x * likelihood.scale + likelihood.centre  # noqa: E731
        np.testing.assert_allclose(to_X(mean.numpy()), law.mean(), rtol=1e-9)
        variance = np.broadcast_to(variance.numpy(), (3, D)) * likelihood.scale**2
        np.testing.assert_allclose(variance, np.broadcast_to(law.var(), (3, D)), rtol=1e-9)
        error = (to_X(draws).mean(0) - law.mean()) / law.std() * 20_000**0.5
        assert np.abs(error).max() < 4
        likelihood.check_support(to_X(draws[0]), str)

    def test_gradients_reach_outputs_and_parameters(self, name):
        likelihood, outputs = fitted(name)
        x = torch.as_tensor((rows(name)[:3] - likelihood.centre) / likelihood.scale)
        outputs.requires_grad_()
        likelihood.log_prob(outputs, x).sum().backward()
        assert outputs.grad.abs().min() > 0
        for parameter in likelihood.parameters():
            assert parameter.grad.abs().min() > 0

    def test_linear_start(self, name):
        likelihood = LIKELIHOODS[name](D)
        X = rows(name)
        likelihood.set_units(X)
        start = linear_start(
            X, K, model=likelihood.linear_model, least_noise=likelihood.least_noise(), seed=0
        )
        weight, bias = likelihood.decoder_start(start)
        assert weight.shape == (likelihood.n_outputs, K)
        assert bias.shape == (likelihood.n_outputs,)
        with torch.no_grad():
            mean = likelihood.mean(torch.as_tensor(bias)[None]).numpy()
        mean = mean * likelihood.scale + likelihood.centre
        # At the latent origin the model gives the mean of the rows.
        np.testing.assert_allclose(mean[0], X.mean(0), atol=0.02 * X.std(0).max(), rtol=1e-5)

    def test_state_dict_carries_the_units(self, name):
        likelihood, outputs = fitted(name)
        # In single precision, in which a fresh likelihood has its log scale at hand already.
        likelihood, outputs = likelihood.float(), outputs.float()
        other = LIKELIHOODS[name](D)
        other.load_state_dict(likelihood.state_dict())
        x = torch.randn(3, D).sign().clamp(min=0)
        torch.testing.assert_close(other.log_prob(outputs, x), likelihood.log_prob(outputs, x))


def test_bernoulli_rejects_other_values_by_row_and_column():
    X = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 1.0]])
    with pytest.raises(ValueError, match=r"found 0\.5 at row 2, column 'a'"):
        Bernoulli(2).check_support(X, lambda j: repr("ab"[j]))


@pytest.mark.parametrize("name", ["gaussian", "diagonal_gaussian", "heteroscedastic_gaussian"])
def test_noise_floor_bounds_the_density_of_a_perfect_column(name):
    likelihood = LIKELIHOODS[name](D)
    likelihood.set_units(rows(name))
    likelihood.double()
    outputs = torch.zeros(1, likelihood.n_outputs, dtype=torch.float64)
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.fill_(-1e3)
        outputs[:, D:] = -1e3
    perfect = likelihood.log_prob(outputs, torch.zeros(1, D).double()).detach().numpy()[0]
    if name == "gaussian":
        floor = np.full(D, SHARED_NOISE_FLOOR * (likelihood.scale**2).mean())
    else:
        floor = COLUMN_NOISE_FLOOR * likelihood.scale**2
    np.testing.assert_allclose(perfect, -0.5 * np.log(2 * np.pi * floor), rtol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_start_silent_and_learn(name):
    network = NETWORKS[name](3, 5)
    x = torch.randn(4, 3)
    assert network(x).shape == (4, 5)
    assert not network(x).any()
    assert silent(network, 3, 5, "encoder") is network
    parameters = list(network.parameters())
    if parameters:
        (network(x) - 1).square().sum().backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlp_layers(activation):
    network = MLP(3, 5, hidden_layer_sizes=(7, 6), activation=activation)
    assert _linear_sizes(network) == [(3, 7), (7, 6), (6, 5)]
    activations = [m for m in network.modules() if isinstance(m, ACTIVATIONS[activation])]
    assert len(activations) == 2


def test_mlp_adds_a_layer_as_wide_as_the_one_before_it():
    network = MLP(4, 5, hidden_layer_sizes=(4, 4, 6), activation="relu")
    assert _linear_sizes(network) == [(4, 4), (4, 4), (4, 6), (6, 5)]
    first, second, third, last = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    torch.nn.init.normal_(last.weight)
    x = torch.randn(7, 4)
    h = first(x).relu()
    h = (h + second(h).relu()) / 2**0.5
    torch.testing.assert_close(network(x), last(third(h).relu()))


def _linear_sizes(network):
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    return [(m.in_features, m.out_features) for m in layers]


def test_a_network_of_the_users_own_is_gated():
    inner = torch.nn.Linear(3, 5)
    network = silent(inner, 3, 5, "encoder")
    x = torch.randn(4, 3)
    assert isinstance(network, Gated)
    assert not network(x).any()
    (network(x) - 1).square().sum().backward()
    # The gate has a gradient where the network has none yet: not both are at zero.
    assert network.gate.grad.abs().min() > 0


def test_a_network_of_the_users_own_that_is_silent_has_no_gate():
    inner = torch.nn.Linear(3, 5)
    torch.nn.init.zeros_(inner.weight)
    torch.nn.init.zeros_(inner.bias)
    assert silent(inner, 3, 5, "encoder") is inner


def test_what_a_network_factory_may_not_return():
    with pytest.raises(TypeError, match="for the decoder it returned int"):
        silent(3, 3, 5, "decoder")
    with pytest.raises(ValueError, match=r"map 3 inputs to 5 outputs for the encoder.*\(24, 6\)"):
        silent(torch.nn.Linear(3, 6), 3, 5, "encoder")
