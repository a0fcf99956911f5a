"""How likely rows are under a model, beside the linear start and beside those of its training."""

import warnings

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import _num_samples

from ..scores import importance_scores
from ..splits import held_out_by

_OTHER_MEASURE = (
    "No comparison with the linear start: fitted to other rows than the model it has other values "
    "for repeated ones, whose probabilities are no densities. With X_train, all rows of the fit, "
    "there is one."
)


def means_of_bounds(log_prob, effective_sample_size, elbo, kl):
    """Means of what `skvae.scores.bounds` says of rows, under the names that a Diagnosis has."""
    kl = kl.sum(axis=1)
    return {
        "elbo": float(elbo.mean()),
        "kl": float(kl.mean()),
        "reconstruction": float((elbo + kl).mean()),
        "log_prob": float(log_prob.mean()),
        "log_prob_error": _error(log_prob),
        "gap": float((log_prob - elbo).mean()),
        "effective_sample_size": float(np.median(effective_sample_size)),
    }


def gains_of(model, rows, train, log_prob, seed, n_draws, *, is_start):
    """What the model gains over the linear start, and loses beside the rows it was trained on.

    Parameters
    ----------
    model : VAETransformer
    rows : GivenRows
    train : GivenRows or None
        Those of the training.
    log_prob : ndarray of shape (n,)
        Of `rows`, by the model, in nats.
    seed, n_draws : int
        Of the scores.
    is_start : bool
        Whether the model is the linear start.

    Returns
    -------
    measured : dict
        None for what there is nothing to compare with.
    """
    linear, linear_of_train, note = None, None, ""
    if not is_start:
        linear, linear_of_train, note = _linear_scores(model, rows, train, seed, n_draws)
    measured = {
        "linear_gain": 0.0 if is_start else None,
        "linear_gain_error": 0.0 if is_start else None,
        "linear_gain_note": note,
        "train_gap": None,
        "train_gap_error": None,
        "training_gain": None,
        "excess_gap": None,
        "excess_gap_error": None,
    }
    if linear is not None:
        gain = log_prob - linear
        measured |= {"linear_gain": float(gain.mean()), "linear_gain_error": _error(gain)}
    if train is None:
        return measured
    of_train, _ = importance_scores(model.net_, train.X, seed, n_draws, train.dtype, train.C)
    measured["train_gap"] = float(of_train.mean() - log_prob.mean())
    measured["train_gap_error"] = float(np.hypot(_error(of_train), _error(log_prob)))
    if linear_of_train is not None:
        gain_of_train = of_train - linear_of_train
        measured["training_gain"] = float(gain_of_train.mean())
        measured["excess_gap"] = measured["training_gain"] - measured["linear_gain"]
        errors = _error(gain_of_train), measured["linear_gain_error"]
        measured["excess_gap_error"] = float(np.hypot(*errors))
    return measured


def _linear_scores(model, rows, train, seed, n_draws):
    """log p(x) of the rows, and of those of `train`, under the linear start; or why it has none."""
    n_rows = _num_samples(rows.given)
    if train is not None:
        fits = [(train, _trained(model, _num_samples(train.given)), np.arange(len(rows.X)))]
    else:
        half = np.random.RandomState(seed).permutation(n_rows) % 2 == 0
        judged = half[rows.chosen]
        fits = [(rows, np.flatnonzero(half == side), judged != side) for side in (True, False)]
    scores, of_train = np.empty(len(rows.X)), None
    try:
        for source, fitted, judged in fits:
            start = _linear_start(model, *source.part(fitted), seed)
            if not model.net_.module_.likelihood.same_measure(start.net_.module_.likelihood):
                return None, None, _OTHER_MEASURE
            scores[judged] = _scores_by(start, rows, judged, seed, n_draws)
            if train is not None:
                of_train = _scores_by(start, train, slice(None), seed, n_draws)
    except ValueError as error:
        note = f"The linear start could not be fitted to compare with: {error}"
        if train is None:
            note += " (To half of these rows. With X_train it is fitted to those.)"
        return None, None, note
    return scores, of_train, ""


def _trained(model, n_rows):
    """Places of the rows that trained, of all rows of the fit if there are so many: the atoms of a
    column, values that repeat, are those of these alone."""
    held_out = held_out_by(model) if n_rows == model.n_samples_ else None
    return np.arange(n_rows) if held_out is None else np.delete(np.arange(n_rows), held_out)


def _linear_start(model, X, C, seed):
    n_rows = _num_samples(X)
    start = clone(model).set_params(
        n_components=min(model.n_components_, n_rows - 1, model.net_.module_.likelihood.n_inputs),
        likelihood=model.likelihood_,
        prior="normal",
        # Networks would be silent.
        network="linear",
        init="pca",
        max_epochs=0,
        warm_start=False,
        free_bits=0.0,
        batch_transform=None,
        callbacks=None,
        random_state=seed % 2**31,
        verbose=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return start.fit(X, condition=C)


def _scores_by(start, rows, chosen, seed, n_draws):
    X, C = rows.part(rows.chosen[chosen])
    C = start._conditions_of(C, _num_samples(X))
    return importance_scores(start.net_, start._scorable(X), seed, n_draws, rows.dtype, C)[0]


def _error(values):
    """The standard error of their mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))
