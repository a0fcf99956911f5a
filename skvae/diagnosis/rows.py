"""Rows as they reach the model."""

import numpy as np
import torch
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from ..moments import some_rows

# Rows that are looked at, and values of these, but at least so many rows.
_MOST_ROWS, _MOST_VALUES, _FEW_ROWS = 5000, 2**24, 500
# Below which no test of a column or a mean says anything.
_LEAST_ROWS = 20


class GivenRows:
    """Rows as they were given to the model, and a random part of them as numbers.

    Attributes
    ----------
    given : array-like
        All of them, as they reach the model.
    given_condition : ndarray of shape (n, n_conditions) or None
        Of these, as columns for the model.
    chosen : ndarray
        Positions of the part.
    X : ndarray of shape (n_chosen, n_features)
    C : ndarray of shape (n_chosen, n_conditions) or None
    dtype : torch.dtype
        Precision in which they are scored.

    Raises
    ------
    ValueError
        If there are fewer than 20, or as `VAETransformer.score_samples` raises it.
    """

    def __init__(self, model, before, X, condition, name):
        if before is not None:
            X = before.transform(X)
        elif not hasattr(X, "shape"):
            X = np.asarray(X)
        if not X.shape:
            raise ValueError(f"{name} must be rows of columns, got {X.item()!r}.")
        n_rows = _num_samples(X)
        if n_rows < _LEAST_ROWS:
            raise ValueError(
                f"{name} has {n_rows} rows; diagnose needs {_LEAST_ROWS} at least: with fewer "
                "chance explains nearly everything."
            )
        self.given = X.tocsr() if hasattr(X, "tocsr") else X
        self.given_condition = model._conditions_of(condition, n_rows)
        most = min(_MOST_ROWS, max(_FEW_ROWS, _MOST_VALUES // model.n_features_in_))
        self.chosen = some_rows(n_rows, most)
        self.X = np.asarray(model._scorable(self.part(self.chosen)[0])[:])
        self.C = None if self.given_condition is None else self.given_condition[self.chosen]
        self.dtype = torch.float32 if self.X.dtype == np.float32 else torch.float64

    def part(self, positions):
        """Some of the rows as given, and their condition."""
        C = None if self.given_condition is None else self.given_condition[positions]
        return _safe_indexing(self.given, positions), C
