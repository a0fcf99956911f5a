"""The summary of a fitted net against torch's own counts, and scikit-learn's HTML of it."""

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer

X, Y = load_iris(return_X_y=True)
FAST = {"hidden_layer_sizes": (6, 6), "max_epochs": 3, "early_stopping": False, "random_state": 0}


def n_parameters(vae):
    return sum(parameter.numel() for parameter in vae.net_.module_.parameters())


@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp", "fitted"])
def test_parameters_are_those_of_the_module(prior):
    vae = VAETransformer(2, prior=prior, likelihood="diagonal_gaussian", **FAST).fit(X)
    summary = vae.summary()
    assert summary.n_parameters == n_parameters(vae)
    assert summary.prior == type(vae.net_.module_.prior).__name__
    of_layers = {
        f"{layer.name}.{name}".removeprefix("."): shape
        for layer in summary.layers
        for name, shape in layer.shapes.items()
    }
    expected = {name: tuple(p.shape) for name, p in vae.net_.module_.named_parameters()}
    assert of_layers == expected
    for layer in summary.layers:
        assert layer.n_parameters == sum(int(np.prod(shape)) for shape in layer.shapes.values())
        assert type(vae.net_.module_.get_submodule(layer.name)).__name__ == layer.kind


def shared(n_in, n_out):
    """A network with one layer in two places."""
    layer = torch.nn.Linear(5, 5)
    ends = torch.nn.Linear(n_in, 5), torch.nn.Linear(5, n_out)
    second = torch.nn.Linear(5, 5)
    second.weight = layer.weight
    return torch.nn.Sequential(ends[0], layer, layer, torch.nn.Tanh(), second, ends[1])


def test_a_shared_parameter_is_counted_once():
    vae = VAETransformer(2, network=shared, max_epochs=0).fit(X)
    summary = vae.summary()
    assert summary.n_parameters == n_parameters(vae)
    counts = {layer.name: layer.n_parameters for layer in summary.layers}
    assert counts["encoder.network.1"] == 30 and counts["encoder.network.4"] == 5
    # Behind a gate, which is a parameter too.
    assert counts["encoder"] == 4


def test_epochs_and_time_are_those_of_the_history():
    vae = VAETransformer(2, **FAST).fit(X)
    summary = vae.summary()
    assert summary.n_epochs == 3 == summary.best_epoch == vae.best_epoch_
    assert summary.seconds == pytest.approx(sum(vae.history_[:, "dur"])) and summary.seconds > 0
    assert (summary.device, summary.dtype) == (vae.net_.device, "float64")
    start = VAETransformer(2, max_epochs=0).fit(X).summary()
    assert (start.n_epochs, start.best_epoch, start.seconds) == (0, 0, 0.0)
    assert "none: the model is the start" in str(start)
    stream = VAETransformer(2, random_state=0).partial_fit(X).partial_fit(X)
    assert stream.summary().n_epochs == 2


def test_it_is_printed_as_a_table():
    vae = VAETransformer(2, **FAST).fit(X, condition=Y.astype(str))
    summary = vae.summary()
    lines = str(summary).splitlines()
    assert lines[0].split(maxsplit=1) == ["columns", "4, given 2 of a condition"]
    assert lines[1].split() == ["components", "2"]
    assert "3 in " in lines[5] and lines[5].endswith("of which epoch 3 was kept")
    table = lines[7:]
    assert table[0].split() == ["layer", "kind", "shapes", "parameters"]
    assert len({len(line) for line in table}) == 1
    affine = next(line for line in table if line.startswith("affine_encoder"))
    assert affine.split("  ")[-1].strip() == "14" and "weight 2 x 6, bias 2" in affine
    assert table[-1].split() == ["all", f"{n_parameters(vae):,}"]
    assert repr(summary) == str(summary)


def test_laws_by_column():
    laws = [("gaussian", [0, 1]), ("student_t", [2, 3])]
    vae = VAETransformer(2, likelihood=laws, max_epochs=0).fit(X)
    assert vae.summary().likelihood == "Mixed: Gaussian (2), StudentT (2)"


def test_needs_a_fit():
    with pytest.raises(NotFittedError):
        VAETransformer().summary()


@pytest.mark.parametrize("estimator", ["alone", "in a Pipeline"])
def test_html_is_scikit_learns(estimator):
    vae = VAETransformer(2, network=shared, optimizer__weight_decay=0.1, max_epochs=0)
    model = vae if estimator == "alone" else make_pipeline(StandardScaler(), vae)
    with config_context(display="diagram"):
        before = model._repr_html_()
        after = model.fit(X)._repr_html_()
    assert "VAETransformer" in before and "<span>Not fitted</span>" in before
    assert "VAETransformer" in after and "<span>Fitted</span>" in after
    assert "Not fitted" not in after
    # Of parameters that are not the default ones every version tells.
    assert "max_epochs" in after and "optimizer__weight_decay" in after
