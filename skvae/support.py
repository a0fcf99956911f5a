"""The rows of a fit and the law that they follow: whether cells are missing, and whether the law
allows the others."""

import warnings

import numpy as np

from ._random import scoped_seed
from .batches import Rows
from .likelihoods import MOST_CODES, suited_likelihood
from .parts import made_likelihood

# A column of more categories than this, and than half of the rows, looks like a key.
_FEW_CATEGORIES = 100


def rows_of(params, X, device="cpu", weight=None, condition=None):
    """The rows of X as a `Rows`, which knows whether cells are missing."""
    transform = params.batch_transform
    rows = Rows(X, transform=transform, device=device, weight=weight, condition=condition)
    rows.incomplete = params.missing_values == "observed" and rows.any_missing()
    return rows


def fresh_likelihood(params, rows, name_column, seed, table=None):
    """The name or factory of the law, "auto" resolved, and what it makes, which has looked at all
    rows of a `Rows`; `table` says what the columns are, where they have laws by that."""
    law = params.likelihood
    with scoped_seed(seed):
        names = getattr(params, "feature_names_in_", None)
        if law == "auto":
            law = suited_likelihood(rows.chunks()) if table is None else _laws_of(table, names)
            if params.verbose:
                print(f"likelihood='auto' is {law!r} on these rows.")
        likelihood = made_likelihood(law, rows.X.shape[1], names)
    if table is not None:
        _check_categories(table, likelihood, name_column, len(rows))
    if params.missing_values == "observed" and likelihood.needs_whole_rows:
        raise ValueError(
            f"missing_values='observed' does not go with likelihood={law!r}: it is given the "
            "total of each row, which is unknown where cells are missing. Take 'poisson' or "
            "'negative_binomial', or missing_values='error'."
        )
    if rows.incomplete:
        rows.first_observed = _first_observed(rows, name_column, seed)
    with scoped_seed(seed):
        check_support(likelihood, rows, name_column, learn=True)
    if table is not None:
        # Also those of rows without weight, and both values of a bool.
        likelihood.learn_categories(table.n_categories)
    return law, likelihood


def _laws_of(table, names):
    """The laws of the columns of a table by what they are, columns by name where they have names
    that are strings."""
    categories = table.kinds == "category"
    pairs = [("quantile_gaussian", ~categories), ("categorical", categories)]
    names = np.arange(len(categories)) if names is None else names
    return [(law, names[columns].tolist()) for law, columns in pairs if columns.any()]


def _check_categories(table, likelihood, name_column, n_rows):
    """Raise a ValueError where a column of a table has too many categories, or a law of numbers."""
    for column in np.flatnonzero(table.n_categories > MOST_CODES):
        raise ValueError(
            f"column {name_column(column)} has {table.n_categories[column]} categories, more than "
            f"{MOST_CODES}: each has a law of its own. Drop the column if it is a name or a key, "
            "or make the rare ones one."
        )
    keys = table.n_categories > np.maximum(_FEW_CATEGORIES, n_rows / 2)
    for column in np.flatnonzero(keys):
        warnings.warn(
            f"column {name_column(column)} has {table.n_categories[column]} categories in {n_rows} "
            "rows: if it is a name or a key, drop it, for each of them has an output of the "
            "decoder, which takes time and tells nothing.",
            UserWarning,
            stacklevel=5,
        )
    for law, columns in zip(likelihood.laws, likelihood.columns, strict=True):
        # A bool is a number too.
        codes = columns[(table.kinds[columns] == "category") & ~table.bools[columns]]
        if law.has_moments and len(codes):
            raise ValueError(
                f"likelihood gives column {name_column(codes[0])}, which holds categories, to "
                f"{type(law).__name__}, a law of numbers; give it to 'categorical', or take "
                "likelihood='auto'."
            )


def _first_observed(rows, name_column, seed):
    """An observed value of each column; a column without any is refused."""
    first = np.full(rows.X.shape[1], np.nan)
    with scoped_seed(seed):
        for chunk in rows.chunks():
            row = (~np.isnan(chunk)).argmax(axis=0)
            first = np.where(np.isnan(first), chunk[row, np.arange(len(row))], first)
    if np.isnan(first).any():
        empty = np.flatnonzero(np.isnan(first))
        raise ValueError(
            f"{len(empty)} column(s) have no observed value: "
            f"{', '.join(map(name_column, empty[:5]))}{', ...' if len(empty) > 5 else ''}. Drop "
            "them: nothing can be learnt of them."
        )
    return first


def check_support(likelihood, rows, name_column, *, learn=False):
    """Have the likelihood look at all rows of a `Rows`, a chunk at a time; in a first fit it
    learns its support from them."""
    first = 0
    for chunk in rows.chunks():
        likelihood.check_support(chunk, name_column, first)
        if learn:
            likelihood.learn_support(chunk)
        first += len(chunk)
