"""One contract test for each kind of part, over its registry, against an independent truth."""

import pytest
import torch

from skvae.networks import ACTIVATIONS, MLP, NETWORKS
from skvae.vae import Gated, silent

K = 2


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
