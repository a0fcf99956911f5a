"""Training and validation part of the rows."""

import math

import numpy as np
from torch.utils.data import Subset

from .batches import Rows

_VALIDATION_ROWS = 50, 2000  # held out at least, up to a quarter of the rows, and at most
_LEAST_VALIDATION_ROWS = 5  # below which nothing can be judged


def selects(params):
    """Whether epochs are selected on held-out rows."""
    splits = (params.net_params or {}).get("train_split", True)
    return bool(params.early_stopping and params.max_epochs != 0 and splits)


def split_rows(params, rows, k, seed):
    """Training and validation part of the rows; no validation part where nothing is selected."""
    n_samples = len(rows)
    if not selects(params):
        return Subset(rows, np.arange(n_samples)), None
    split = (params.net_params or {}).get("train_split")
    if split is not None:
        return _user_split(split, rows, k)
    if params.validation_fraction == "auto":
        least, most = _VALIDATION_ROWS
        n_valid = max(min(math.ceil(n_samples / 10), most), min(least, n_samples // 4))
    else:
        n_valid = min(math.ceil(params.validation_fraction * n_samples), n_samples - 1)
    # Too few rows to judge an epoch by, or left too few for the start.
    too_few = n_valid < _LEAST_VALIDATION_ROWS or n_samples - n_valid < k
    if params.init == "pca" and too_few:
        n_valid = 0
    order = np.random.RandomState(seed).permutation(n_samples)
    valid = Subset(rows, np.sort(order[:n_valid])) if n_valid else None
    return Subset(rows, np.sort(order[n_valid:])), valid


def held_out_by(model):
    """Places of the rows that the epochs of a fitted model were selected by, or None: where all
    rows trained, or a split of the user's own chose."""
    own_split = "train_split" in (model.net_params or {})
    if own_split or not (model.best_epoch_ and selects(model)):
        return None
    rows = range(model.n_samples_)
    held_out = split_rows(model, rows, model.n_components_, model._seed)[1]
    return None if held_out is None else held_out.indices


def _user_split(split, rows, k):
    """A skorch `train_split` of the user's own on the rows."""
    train, valid = split(rows)
    train = _part(train, rows, "training")
    valid = None if valid is None else _part(valid, rows, "validation")
    if len(train) < max(k, 2):
        raise ValueError(
            f"train_split leaves {len(train)} rows to train on; {max(k, 2)} are needed at least."
        )
    return train, valid


def _part(part, rows, name):
    """A part of a split as a Subset of Rows, flat."""
    if not isinstance(part, Subset):
        if part is not rows:
            X = getattr(part, "X", None)
            if X is None or np.ndim(X) != 2 or np.shape(X)[1] != rows.X.shape[1]:
                raise ValueError(
                    f"train_split gave a {name} part of type {type(part).__name__}; it must be a "
                    "Subset of the dataset that it was given, or a skorch Dataset of rows of "
                    f"{rows.X.shape[1]} columns."
                )
            if rows.condition is not None:
                raise ValueError(
                    f"train_split gave a {name} part of rows of its own, whose condition is not "
                    "known; with a condition it must be a Subset of the dataset that it was given."
                )
            X = np.asarray(X)
            if not (np.isfinite(X) | (np.isnan(X) & rows.incomplete)).all():
                raise ValueError(f"train_split gave a {name} part with values that are not finite.")
            part = Rows(X, rows.transform, rows.device, rows.incomplete)
            part.first_observed = rows.first_observed
        part = Subset(part, np.arange(len(part)))
    indices = np.asarray(part.indices)
    while isinstance(part.dataset, Subset):
        part = part.dataset
        indices = np.asarray(part.indices)[indices]
    if not len(indices):
        raise ValueError(f"train_split gave an empty {name} part.")
    return Subset(part.dataset, indices)
