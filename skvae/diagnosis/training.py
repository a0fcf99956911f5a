"""What the history of a fit says of its course, and of the rows that it was on."""

from math import ceil

import numpy as np


def training_of(model):
    """What the history of the fit says of its course; gains are in nats per row.

    Parameters
    ----------
    model : VAETransformer

    Returns
    -------
    measured : dict
        None for what a stream has no history of.
    """
    streamed = model._stream is not None
    history = _epochs(model)
    best = dict(model.net_.callbacks_)["best_epoch"]
    selected = bool(history) and best.select and all("valid_loss" in epoch for epoch in history)
    linear = model.init == "pca" and not model.warm_start and model.net_.module_.prior.standard
    measured = {
        "n_epochs": None if streamed else len(history),
        "max_epochs": None if streamed else model.net_.max_epochs,
        "best_epoch": model.best_epoch_,
        "selected": selected and not streamed,
        "is_linear_start": bool(linear and not streamed and model.best_epoch_ == 0),
        "total_gain": None,
        "total_gain_error": None,
        "late_gain": None,
    }
    if streamed or not history:
        return measured
    losses = [epoch["valid_loss" if selected else "train_loss"] for epoch in history]
    # What training took back after a KL warm-up was no gain.
    losses = losses[_warmup_epochs(model) :]
    if not losses:
        return measured
    # Losses of training rows are means over epochs, of which the first has the start in it.
    start = best.start_loss() if selected else losses[0]
    half = len(losses) // 2
    at_half = losses[half - 1] if half else start
    return measured | {
        "total_gain": float(start - losses[-1]),
        "total_gain_error": best.gain()[1] if selected else 0.0,
        "late_gain": float(at_half - losses[-1]),
    }


def gaps_by_history(model, elbo, kl):
    """How much likelier training rows were, in the epoch that was kept, than these are; nothing
    where the history does not say.

    Parameters
    ----------
    model : VAETransformer
    elbo : ndarray of shape (n,)
        Of these rows, in nats.
    kl : ndarray of shape (n, n_components) or (n, 1)
        Its second term.

    Returns
    -------
    measured : dict
    """
    history = _epochs(model)
    criterion = model.net_.criterion_
    kept, n_warmup = model.best_epoch_, _warmup_epochs(model)
    if model._stream is not None or not n_warmup < kept <= len(history):
        return {}
    # Neither is a loss that is the mean of these rows.
    if criterion.importance_weighted or criterion.mean_weight is not None:
        return {}
    # The objective itself, as the loss of that epoch.
    objective = elbo + kl.sum(axis=1) - criterion.beta * kl.sum(axis=1)
    free = np.maximum(criterion.free_bits - kl.mean(axis=0), 0.0).sum()
    losses = [epoch["train_loss"] for epoch in history]
    gap = float(-losses[kept - 1] - (objective.mean() - criterion.beta * free))
    error = float(objective.std(ddof=1) * np.sqrt(1 / len(objective) + 1 / model.n_samples_))
    return {
        "train_gap": gap,
        "train_gap_error": error,
        # What was gained while the KL term was warmed up is not to be seen.
        "training_gain": None if n_warmup else float(losses[0] - losses[kept - 1]),
        "excess_gap": gap,
        "excess_gap_error": error,
    }


def _epochs(model):
    return [epoch for epoch in model.history_ if "train_loss" in epoch]


def _warmup_epochs(model):
    """Epochs whose loss, on training rows, had not the whole KL term yet: it says less."""
    warmup = dict(model.net_.callbacks_).get("kl_warmup")
    return 0 if warmup is None else ceil(warmup.length(model.net_.max_epochs))
