"""Names into parts: likelihood, prior and networks of a model, called with the sizes of X."""

import math
from copy import deepcopy
from functools import partial
from numbers import Integral

import numpy as np
import torch
from sklearn.utils._indexing import _get_column_indices

from .incomplete import LinearFill
from .likelihoods import LIKELIHOODS, Likelihood, Mixed
from .networks import NETWORKS
from .priors import PRIORS, Prior
from .vae import VAE

_HIDDEN_LAYERS = 2, 5  # of "auto" networks: with few rows, with many,
_HIDDEN_UNITS = 256, 128  # and their units: in general, with many rows of few columns
_MANY_ROWS = 8000
_MANY_COLUMNS = 64


def made_likelihood(law, n_features, names=None):
    """The likelihood that a name, a factory or pairs (name or factory, columns) stand for, before
    it has seen rows. `names` are those of the columns, where they have names."""
    if isinstance(law, dict | list | tuple):
        return Mixed(n_features, _blocks(law, n_features, names), names)
    if isinstance(law, Likelihood):
        raise ValueError(
            f"likelihood is a {type(law).__name__} itself; pass its class, or another factory "
            "n_features -> Likelihood, which is called once in fit."
        )
    return _made(LIKELIHOODS.get(law, law), Likelihood, "likelihood", n_features)


def _blocks(pairs, n_features, names):
    """Pairs (factory, positions of columns) from what the user gave as `likelihood`."""
    given = list(pairs.items()) if isinstance(pairs, dict) else list(pairs)
    blocks = []
    for pair in given:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(
                "likelihood must be a name, a factory, a dict {likelihood: columns} or a list of "
                f"pairs (likelihood, columns); one entry is {pair!r}."
            )
        law, columns = pair
        if not callable(law) and not (isinstance(law, str) and law in LIKELIHOODS):
            raise ValueError(
                f"likelihood has {law!r} for columns {columns!r}; the names are "
                f"{', '.join(LIKELIHOODS)}."
            )
        blocks.append((LIKELIHOODS.get(law, law), _positions(columns, n_features, names)))
    return blocks


def _positions(columns, n_features, names):
    """Positions of columns given by name or number, one or several, by a slice or a mask."""
    if isinstance(columns, slice) and columns == slice(None):
        # For scikit-learn a slice of names.
        return np.arange(n_features)
    if isinstance(columns, list | tuple | np.ndarray) and len(columns) == 0:
        return []
    several = columns if isinstance(columns, list | tuple | np.ndarray) else [columns]
    if all(isinstance(column, str) for column in several):
        if unknown := [column for column in several if names is None or column not in names]:
            having = "X has no column names" if names is None else f"X has {list(names)}"
            raise ValueError(f"likelihood names column {unknown[0]!r}; {having}.")
        return [list(names).index(column) for column in several]
    try:
        return _get_column_indices(np.empty((0, n_features)), columns)
    except (ValueError, IndexError, TypeError) as error:
        raise ValueError(
            f"likelihood has {columns!r} for columns, of which X has {n_features}: {error}"
        ) from error


def build(params, likelihood, k, shape, n_conditions=0):
    """The model of the parts that the parameters name, called with the sizes of X and of what its
    rows are conditioned on, around a likelihood that has learnt its support."""
    n_samples, sizes = shape[0], _hidden_layer_sizes(params, shape)
    if not all(
        type(size) is not bool and isinstance(size, Integral) and size > 0 for size in sizes
    ):
        raise ValueError(f"hidden_layer_sizes must hold ints of at least 1, got {sizes}.")
    if isinstance(params.network, torch.nn.Module):
        raise ValueError(
            f"network is a {type(params.network).__name__} itself; pass a factory (n_in, n_out) -> "
            "torch.nn.Module, which is called once for the encoder and once for the decoder."
        )
    if isinstance(params.prior, Prior):
        raise ValueError(
            f"prior is a {type(params.prior).__name__} itself; pass its class, or another factory "
            "n_components -> Prior, which is called once in fit."
        )
    prior = _made(PRIORS.get(params.prior, params.prior), Prior, "prior", k)
    if params.free_bits and not prior.closed_form:
        raise ValueError(
            f"free_bits={params.free_bits:g} are nats of each latent's own KL, which the joint "
            f"prior={params.prior!r} does not have: use prior='normal' or 'fitted', or "
            "free_bits=0."
        )
    if params.free_bits and params.n_importance_samples_train > 1:
        raise ValueError(
            f"free_bits={params.free_bits:g} are a change to the ELBO; with "
            f"n_importance_samples_train={params.n_importance_samples_train} training maximizes "
            "another bound, in which no KL stands: leave one of them at its default."
        )
    make_encoder = make_decoder = params.network
    if isinstance(params.network, str):
        network = partial(NETWORKS[params.network], activation=params.activation)
        make_encoder = partial(network, hidden_layer_sizes=sizes)
        make_decoder = partial(network, hidden_layer_sizes=sizes[::-1])
    # Copied, should a factory hand out a module of the user's own: it would be trained and cast.
    encoder = deepcopy(make_encoder(likelihood.n_inputs + n_conditions, 2 * k))
    decoder = deepcopy(make_decoder(k + n_conditions, likelihood.n_outputs))
    # A small sample says little of what lies beyond two standard deviations, a large one does.
    limit = max(2.0, 2.0 * math.log10(n_samples) - 2.0)
    vae = VAE(likelihood, prior, encoder, decoder, k, n_conditions=n_conditions, latent_limit=limit)
    if params.missing_values == "observed":
        aligned, of_fill = params.init == "pca", min(k, n_samples, likelihood.n_inputs)
        vae.fill = LinearFill(likelihood.n_inputs, of_fill, aligned, n_conditions)
    return vae.float()


def _made(factory, kind, name, size):
    """What a factory makes of a size, checked to be of the kind and the size that it has to be."""
    try:
        # Copied, should it be the user's own: it would be trained and cast.
        part = deepcopy(factory(size))
    except TypeError as error:
        raise TypeError(
            f"{name} could not be made by {factory!r}, which is called with one number, {size} "
            f"here: {error}"
        ) from error
    if not isinstance(part, kind):
        raise TypeError(
            f"{name} must be a factory that returns a skvae.{kind.__module__.split('.')[1]}."
            f"{kind.__name__}; it returned {type(part).__name__}."
        )
    if kind is Likelihood:
        found = part.n_features
    else:
        # A law that needs the encoder cannot be had yet.
        found = size if part.reads_encoder else part.law().event_shape.numel()
    if found != size:
        raise ValueError(f"{name} was asked for {size} columns and returned a part for {found}.")
    return part


def _hidden_layer_sizes(params, shape):
    """Those given, or deeper networks where there are rows enough to train them, narrower ones
    where so many rows have few columns."""
    sizes = _given_sizes(params)
    if sizes != "auto":
        return sizes
    n_samples, n_features = shape
    many = n_samples >= _MANY_ROWS
    return (_HIDDEN_UNITS[many and n_features < _MANY_COLUMNS],) * _HIDDEN_LAYERS[many]


def _given_sizes(params):
    """`hidden_layer_sizes` in one form: "auto" or a tuple."""
    sizes = params.hidden_layer_sizes
    if isinstance(sizes, str):
        return sizes
    return (sizes,) if isinstance(sizes, Integral) else tuple(sizes)


def parts_of(params, k):
    """The parameters that decide which weights the model has."""
    names = "likelihood", "prior", "network", "activation", "missing_values"
    sizes = {"n_components": k, "hidden_layer_sizes": _given_sizes(params)}
    return sizes | {name: getattr(params, name) for name in names}


def continued(params, k, earlier, *, otherwise):
    """A copy of the earlier fit's model, to train on from there; `otherwise` is what the user can
    do where that model is not the one that the parameters describe."""
    for name, value in parts_of(params, k).items():
        if value != earlier.parts_[name]:
            raise ValueError(
                f"{name}={value!r} differs from the {earlier.parts_[name]!r} of the model that "
                f"training would go on from; keep it, or {otherwise}."
            )
    model = deepcopy(earlier.module_)
    model.prior.before_training()
    return model
