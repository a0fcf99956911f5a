"""From parameters to a trained net: the linear start, the split, the schedule, training.

The functions take the estimator as `params` and read its parameters, nothing else.
"""

import math
from copy import deepcopy
from functools import partial
from numbers import Integral

import numpy as np
from skorch.callbacks import Callback, LRScheduler
from skorch.helper import predefined_split
from torch.utils.data import Subset

from ._random import scoped_seed
from .callbacks import BestEpoch, KLWarmup, WarmupStableDecay
from .devices import chosen_device
from .net import VAENet
from .parts import build, continued, parts_of
from .splits import selects, split_rows
from .start import gain_of_more_rows, load_start, n_components_of, some_posterior
from .support import check_support, fresh_likelihood, rows_of

# Defaults of training; docs/defaults.md has the measurements behind them.
_STEPS = 4000  # that "auto" epochs aim at,
_EPOCHS = 8, 200  # within these,
_MOST_STEPS = 60_000  # but for fewer passes over very many rows;
_BATCHES = 10  # an epoch that an "auto" batch size aims at,
_BATCH_SIZES = 64, 128  # within these
_VALIDATION_DRAWS = 500  # of the posterior, shared out among the held-out rows, or else all
_WEIGHT_DECAY = 200, 5.0  # of the networks, towards silence: over the rows, at most
_AFFINE_RATE = 3.0  # of lr, over the root of the columns, for an affine path at its optimum
_LEAST_NOISE_RATE = 0.5  # of lr, for the one noise variance of all columns, else at that rate
# Weight decay of the slopes of a first guess, times the root of the inputs that a latent is a sum
# over; at most this at a step.
_AFFINE_FADE = 0.2, 0.01
_GRADIENT_CLIP = 10_000.0  # against single rows far outside the rest
_RANDOM_KL_WARMUP = 0.1

# Parameters of a skorch net that are not the user's to set.
_OURS = {"module", "criterion"}
SKORCH_PREFIXES = (
    "optimizer__",
    "iterator_train__",
    "iterator_valid__",
    "callbacks__",
    "criterion__",
)


def trained_net(
    params, X, seed, *, name_column, earlier=None, weight=None, table=None, condition=None
):
    """Build the model on the rows X and train it, to the epoch that is accepted.

    Parameters
    ----------
    params : VAETransformer
    X : ndarray or SparseRows of shape (n_samples, n_features)
    seed : int
        The global generators have to be seeded with it by the caller.
    name_column : callable
        From a column's position to its name in error messages.
    earlier : VAENet, optional
        The net that a warm start goes on from.
    weight : ndarray of shape (n_samples,), optional
        How often each row counts, above zero.
    table : Table, optional
        What the columns are, where they have laws by that.
    condition : ndarray of shape (n_samples, n_conditions), optional
        What the rows are conditioned on, as columns for the model.

    Returns
    -------
    net : VAENet
        Its module in double precision (single on MPS, which has no other).
    start : LinearStart or None
        The closed form on all rows, if the model is that and nothing was accepted beyond it; at a
        warm start the earlier fit's.
    """
    rows = rows_of(params, X, chosen_device(params.device), weight, condition)
    if earlier is None:
        law, likelihood = fresh_likelihood(params, rows, name_column, seed, table)
        k = n_components_of(params, likelihood, rows, seed)
        vae = build(params, likelihood, k, X.shape, rows.n_conditions)
    else:
        law = earlier.parts_["likelihood_"]
        k = _earlier_k(params, earlier)
        vae = continued(params, k, earlier, otherwise="set warm_start=False")
        with scoped_seed(seed):
            check_support(vae.likelihood, rows, name_column)

    train, valid = split_rows(params, rows, k, seed)
    random_start = params.init == "random" and earlier is None
    schedule = _schedule(params, vae, valid, random_start)
    at_optimum = _at_optimum(params, vae.likelihood, earlier)
    net = _net(params, vae, train, valid, rows.device, seed, schedule, at_optimum)
    net.at_optimum_ = at_optimum
    net.initialize()
    net.parts_ = parts_of(params, k) | {"likelihood_": law}
    start = load_start(params, net, train, seed) if earlier is None else earlier.start_
    if not net.max_epochs or (valid is None and selects(params)):
        if params.verbose:
            reason = "max_epochs=0" if not net.max_epochs else "too few rows to hold some out"
            print(f"Nothing was trained: {reason}.")
    else:
        net.module_.float()
        for part in (train, valid) if valid is not None else (train,):
            part.dataset.set_units(
                vae.likelihood.centre, vae.likelihood.scale, vae.likelihood.placeholder
            )
        if earlier is None and start is not None and valid is not None:
            handicap = gain_of_more_rows(net, train, valid, start, seed)
            dict(net.callbacks_)["best_epoch"].handicap = handicap
        net.partial_fit(train)
        # A pickle of the model should hold neither the rows nor what the optimizer remembers.
        net.train_split = None
        net.optimizer_.state.clear()
        if dict(net.callbacks_)["best_epoch"].accepted_:
            start = None
        elif earlier is None and start is not None:
            start = load_start(params, net, Subset(rows, np.arange(len(rows))), seed)
    rows.release()
    _to_double(net)
    if start is not None:
        # Again in double precision: exactly the closed form.
        net.module_.load_start(start)
    net.start_ = start
    finish(net, rows, seed)
    return net, start


def streamed_net(
    params,
    X,
    seed,
    *,
    name_column,
    earlier=None,
    n_earlier=0,
    weight=None,
    table=None,
    condition=None,
):
    """Train on the rows X as the next ones of a stream: one pass, nothing held out.

    Learning rate and `beta` are constant, and the optimizer goes on from what it remembers. The
    rows of the first call give the linear start.

    Parameters
    ----------
    params : VAETransformer
    X : ndarray or SparseRows of shape (n_samples, n_features)
    seed : int
        The global generators have to be seeded with it by the caller.
    name_column : callable
        From a column's position to its name in error messages.
    earlier : VAENet, optional
        The net of the rows before these; it is left as it is.
    n_earlier : int, default=0
        How many those were.
    weight : ndarray of shape (n_samples,), optional
        How often each row counts, above zero.
    table : Table, optional
        What the columns are, where they have laws by that.
    condition : ndarray of shape (n_samples, n_conditions), optional
        What the rows are conditioned on, as columns for the model.

    Returns
    -------
    net : VAENet
        As `trained_net` returns it, but that `finish` is still to be called.
    """
    rows = rows_of(params, X, chosen_device(params.device), weight, condition)
    part = Subset(rows, np.arange(len(rows)))
    if earlier is None:
        law, likelihood = fresh_likelihood(params, rows, name_column, seed, table)
        k = n_components_of(params, likelihood, rows, seed)
        vae = build(params, likelihood, k, X.shape, rows.n_conditions)
    else:
        law = earlier.parts_["likelihood_"]
        k = _earlier_k(params, earlier)
        vae = continued(params, k, earlier, otherwise="start anew with fit").float()
        with scoped_seed(seed):
            check_support(vae.likelihood, rows, name_column)
            for chunk in rows.chunks():
                vae.likelihood.check_stream(chunk, name_column)
    random_start = params.init == "random" and earlier is None
    last = [("best_epoch", BestEpoch(select=False, accept_any=random_start))]
    schedule = [*_given_callbacks(params), *last]
    at_optimum = _at_optimum(params, vae.likelihood, earlier)
    net = _net(params, vae, part, None, rows.device, seed, schedule, at_optimum, n_earlier)
    net.at_optimum_ = at_optimum
    net.set_params(max_epochs=1)
    net.initialize()
    net.parts_ = parts_of(params, k) | {"likelihood_": law}
    if earlier is None:
        load_start(params, net, part, seed)
    else:
        net.history = deepcopy(earlier.history)
        _remember(net.optimizer_, earlier.optimizer_)
    net.module_.float()
    rows.set_units(vae.likelihood.centre, vae.likelihood.scale, vae.likelihood.placeholder)
    net.partial_fit(part)
    if dict(net.callbacks_)["best_epoch"].diverged_:
        # What the optimizer remembers of such rows would spoil every later step.
        net.optimizer_.state.clear()
        if earlier is not None and _alike(net.optimizer_, earlier.optimizer_):
            _recall(net.optimizer_, earlier.optimizer_)
    rows.release()
    _to_double(net)
    net.start_ = None
    return net


def finish(net, rows, seed):
    """What the prior does when training on a `Rows` is over; with None on rows that are no more."""
    part = None if rows is None else Subset(rows, np.arange(len(rows)))
    net.module_.prior.after_training(part and partial(some_posterior, net, part, seed))


def _earlier_k(params, earlier):
    """The components to go on with: a number is compared with the earlier one, and what stands for
    a number is not counted anew."""
    given = isinstance(params.n_components, Integral)
    return int(params.n_components) if given else earlier.module_.n_components


def _to_double(net):
    if not net.device.startswith("mps"):
        net.module_.double()


def _remember(optimizer, earlier):
    """Give an optimizer the memory of an earlier one of the same kind, and the factor that a
    schedule of the user's has brought its rates down by; the rates themselves may have changed."""
    before = earlier.state_dict()["param_groups"]
    if not _alike(optimizer, earlier):
        return
    for group, old in zip(optimizer.param_groups, before, strict=True):
        group["initial_lr"] = group["lr"]
        group["lr"] *= old["lr"] / old.get("initial_lr", old["lr"])
    _recall(optimizer, earlier)


def _alike(optimizer, earlier):
    same_groups = len(optimizer.param_groups) == len(earlier.param_groups)
    return type(optimizer) is type(earlier) and same_groups


def _recall(optimizer, earlier):
    # Copied: the earlier one is left as it is, should this call fail.
    state = deepcopy(earlier.state_dict()["state"])
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def _given_callbacks(params):
    """Copies of the user's callbacks, checked."""
    given_callbacks = deepcopy(list(params.callbacks or []))
    for given in given_callbacks:
        named = isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str)
        callback = given[1] if named else given
        if not (isinstance(callback, Callback) or _is_class_of(callback, Callback)):
            raise TypeError(
                "callbacks must hold skorch callbacks, each by itself or as a pair (name, "
                f"callback); got {given!r}."
            )
    return given_callbacks


def _schedule(params, vae, valid, random_start):
    """The callbacks of a fit, the user's among them."""
    kl_warmup = params.kl_warmup
    if kl_warmup == "auto":
        kl_warmup = _RANDOM_KL_WARMUP if random_start else 0.0
    given_callbacks = _given_callbacks(params)
    callbacks = [("kl_warmup", KLWarmup(kl_warmup))]
    kinds = [c if isinstance(c, type) else type(c) for c in map(_callback, given_callbacks)]
    if not any(issubclass(kind, LRScheduler) for kind in kinds):
        patience = params.n_iter_no_change if valid else None
        callbacks.append(("lr_schedule", WarmupStableDecay(patience=patience)))
    best_epoch = BestEpoch(
        select=valid is not None,
        accept_any=random_start,
        # A larger beta asks for shorter codes at the price of the reconstructions, and a learned
        # prior for codes that it knows.
        reconstruct=vae.likelihood.shared_noise
        and vae.prior.closed_form
        and params.beta <= 1
        and not random_start,
    )
    # Last: what a callback of the user loads at the end of training does not outlive it.
    return [*callbacks, *given_callbacks, ("best_epoch", best_epoch)]


def _at_optimum(params, likelihood, earlier):
    """Whether the affine path began, in this fit or in an earlier one, at its optimum."""
    if earlier is not None:
        return earlier.at_optimum_
    return likelihood.exact_start and params.init == "pca"


def _net(params, vae, train, valid, device, seed, callbacks, at_optimum, n_earlier=0):
    """The skorch net, its parameters in order of precedence: ours, net_params, `__` names."""
    n_train = len(train)
    epochs, batch_size = _resolved_sizes(params, n_train)
    mean_weight = train.dataset.mean_weight(train.indices)
    n_draws = params.n_importance_samples_train
    defaults = {
        "lr": params.lr,
        "max_epochs": epochs,
        "batch_size": batch_size,
        "device": str(device),
        "verbose": params.verbose,
        "callbacks": callbacks,
        "criterion__beta": params.beta,
        "criterion__free_bits": params.free_bits,
        "criterion__importance_weighted": n_draws > 1,
        "criterion__mean_weight": mean_weight,
        "n_draws": n_draws,
        "gradient_clip": _GRADIENT_CLIP,
        "iterator_train__shuffle": True,
        # Of the importance-weighted bound no fewer than in training: a looser one is another.
        "n_valid_draws": max(
            n_draws, int(np.clip(_VALIDATION_DRAWS // len(valid or train), 1, 32))
        ),
        "valid_seed": seed,
    }
    given = _given_skorch_params(params)
    if "optimizer" not in given:
        defaults |= {
            "optimizer__fused": device.type in ("cpu", "cuda"),
            # The strength of a prior on the weights, which more rows outweigh.
            "optimizer__weight_decay": min(
                _WEIGHT_DECAY[0] / (n_earlier + n_train), _WEIGHT_DECAY[1]
            ),
            "optimizer__param_groups": _param_groups(params.lr, vae, at_optimum),
        }
    split = predefined_split(valid) if valid is not None else None
    _check_callback_names(given, callbacks)
    return VAENet(vae, **(defaults | given | {"train_split": split}))


def _check_callback_names(given, callbacks):
    """skorch ignores parameters of a callback that is not there."""
    names = {"epoch_timer", "print_log", "kl_warmup", "lr_schedule"}
    for callback in callbacks:
        kind = _callback(callback)
        unnamed = kind.__name__ if isinstance(kind, type) else type(kind).__name__
        names.add(callback[0] if isinstance(callback, tuple) else unnamed)
    for parameter in given:
        prefix, _, rest = parameter.partition("__")
        # Of several unnamed callbacks of one class skorch numbers the names.
        name = rest.partition("__")[0].rpartition("_")
        found = {rest.partition("__")[0], name[0] if name[2].isdecimal() else None}
        if prefix == "callbacks" and not found & names:
            raise ValueError(
                f"{parameter!r} names a callback that is not there; there are "
                f"{', '.join(sorted(names))}."
            )


def _is_class_of(thing, kind):
    return isinstance(thing, type) and issubclass(thing, kind)


def _callback(given):
    """A callback, given by itself or with its name."""
    return given[1] if isinstance(given, tuple) else given


def _param_groups(lr, vae, at_optimum):
    """No weight decay on the affine path, unless it is to fade, the gates, the noise and a prior
    whose simplest law is not that of zeros; and rates for the first and for a shared noise."""
    # A step of AdamW moves every weight as far, so a latent by a sum over the columns.
    affine_rate = 1.0
    if at_optimum:
        affine_rate = min(1.0, _AFFINE_RATE / math.sqrt(vae.likelihood.n_features))
    of_law = {"weight_decay": 0.0}
    if vae.likelihood.shared_noise and affine_rate < 1:
        # Noise that follows the training rows' errors slowly is nearer to those of other rows.
        of_law["lr"] = lr * max(_LEAST_NOISE_RATE, affine_rate)
    priors = [] if vae.prior.decayed else [("prior.*", {"weight_decay": 0.0})]
    fade = min(_AFFINE_FADE[0] * math.sqrt(vae.likelihood.n_inputs), _AFFINE_FADE[1] / lr)
    fading = [
        (f"affine_{part}.weight", {"weight_decay": fade, "lr": lr})
        for part in ("encoder", "decoder")
        if vae.likelihood.start_fades
        # What a condition does goes on beyond the training rows, too.
        and not vae.n_conditions
        and getattr(getattr(vae, part), "takes_over", False) is True
    ]
    return [
        *priors,
        *fading,
        ("affine_*", {"weight_decay": 0.0, "lr": lr * affine_rate}),
        ("likelihood.*", of_law),
        ("*.gate", {"weight_decay": 0.0}),
    ]


def _given_skorch_params(params):
    """The user's own parameters of the skorch net; `__` names win over `net_params`."""
    net_params = params.net_params or {}
    criterion = {
        "criterion__beta",
        "criterion__free_bits",
        "criterion__importance_weighted",
        "criterion__mean_weight",
    }
    own = set(type(params)._get_param_names()) | criterion
    for name in net_params:
        ours = name in own | _OURS or name.startswith(("module__", "train_split__"))
        if ours or name.startswith("callbacks__best_epoch"):
            raise ValueError(
                f"net_params has {name!r}, which VAETransformer sets itself: use its own "
                "parameters (lr, max_epochs, batch_size, device, callbacks, verbose, beta; "
                "network, likelihood and prior for the module)."
            )
    searched = getattr(params, "_skorch_params", {})
    for name in searched:
        if name in criterion | {"callbacks__best_epoch"}:
            raise ValueError(
                f"{name!r} is set by VAETransformer itself: use beta, free_bits, "
                "n_importance_samples_train, early_stopping."
            )
        if not name.startswith(SKORCH_PREFIXES):
            raise TypeError(
                f"VAETransformer got an unexpected parameter {name!r}; beside its own it takes "
                f"those of the skorch net that start with {', '.join(SKORCH_PREFIXES)}."
            )
    return net_params | searched


def _resolved_sizes(params, n_train):
    """Epochs and rows a batch, "auto" resolved."""
    batch_size, epochs = params.batch_size, params.max_epochs
    if batch_size == "auto":
        batch_size = int(np.clip(2 ** round(math.log2(max(1, n_train / _BATCHES))), *_BATCH_SIZES))
    if epochs == "auto":
        steps = math.ceil(n_train / batch_size)
        epochs = int(np.clip(_STEPS // steps, *_EPOCHS))
        epochs = max(1, min(epochs, _MOST_STEPS // steps))
    return epochs, min(batch_size, n_train)
