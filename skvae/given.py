"""Rows of a model that have given cells."""

import math
import reprlib
import warnings
from functools import partial
from numbers import Integral

import numpy as np
import torch

from .batches import Rows, working_units
from .support import check_support

# Latents that the rows of a condition are chosen from, as long as they are no more in all than the
# second, and how many for each of its rows; beyond that as few as the last.
_DRAWS, _MOST_DRAWS, _DRAWS_OF_ROW, _LEAST_DRAWS = 10_000, 200_000, 10, 500
# Draws of a condition that go through the networks together.
_DRAWS_AT_ONCE = 1000
# So many have to count.
_LEAST_EFFECTIVE = 50


def row_given(given, n_features, names, table, name_column):
    """One row (1, n_features), float64, of given cells and missing ones.

    Parameters
    ----------
    given : dict
        From the name or the position of a column to the value there.
    n_features : int
    names : sequence or None
        Of the columns, where they have names.
    table : Table or None
        What makes numbers of cells, where they are not numbers.
    name_column : callable

    Raises
    ------
    ValueError, TypeError
        If a column is not there, or a value is none that its column can have.
    """
    names = list(range(n_features)) if names is None else list(names)
    cells = {}
    for column, value in given.items():
        number = isinstance(column, Integral) and not isinstance(column, bool)
        if column in names and not isinstance(column, bool):
            position = names.index(column)
        elif number and str(column) in names:
            # A label that is a number, not a position.
            position = names.index(str(column))
        elif number and 0 <= column < n_features:
            position = int(column)
        else:
            raise ValueError(f"given has column {column!r}; X had {reprlib.repr(names)}.")
        if position in cells:
            raise ValueError(f"given has column {names[position]!r} twice, by name and by number.")
        cells[position] = value
    if table is not None:
        row = table.encode_cells(cells)
    else:
        row = np.full(n_features, np.nan)
        for column, value in cells.items():
            try:
                row[column] = value
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"given has {value!r} for column {name_column(column)}, which holds numbers."
                ) from error
    for column, value in cells.items():
        if not np.isfinite(row[column]):
            raise ValueError(
                f"given has {value!r} for column {name_column(column)}: give a value, or leave the "
                "column out."
            )
    return row[None]


def drawn_given(net, row, n_samples, name_column, *, noise, condition=None):
    """Rows drawn from p(x | the cells of a row that are not NaN), in working units, with torch's
    and numpy's own generators.

    By sampling importance resampling: latents are drawn from q(z|x) and from p(z), chosen by their
    weights, and x from p(x|z) at those. Each condition has latents of its own, 10,000 or more of
    few conditions and 500 of very many, and so has each part of the rows of a condition that has
    many.

    Parameters
    ----------
    net : VAENet
    row : ndarray of shape (1, n_features), float64
    n_samples : int
    name_column : callable
    noise : bool
        Whether to draw x, or to take the mean of p(x|z).
    condition : ndarray of shape (n_samples, n_conditions), optional

    Returns
    -------
    rows : ndarray of shape (n_samples, n_features)
    """
    likelihood = net.module_.likelihood
    check_support(likelihood, Rows(row), name_column)
    x = working_units(row, likelihood.centre, likelihood.scale).numpy()
    distinct, which = np.empty((1, 0)), np.zeros(n_samples, dtype=np.intp)
    if condition is not None:
        # Equal ones may differ by rounding.
        _, first, which = np.unique(
            condition.round(9), axis=0, return_index=True, return_inverse=True
        )
        distinct, which = condition[first], which.ravel()
    z = _latents(net, x, distinct, which, conditioned=condition is not None)

    def completed(module, z, x, condition=None):
        outputs = module.outputs(z, condition)
        drawn = module.likelihood.sample(outputs) if noise else module.likelihood.mean(outputs)
        return torch.where(torch.isnan(x), drawn, x)

    given = np.repeat(x, n_samples, axis=0)
    return net.apply(completed, z, given, condition, dtype=torch.float64)


def _latents(net, x, distinct, which, conditioned):
    """Draws (n_samples, k) from p(z | x_observed, c), c of each the row of `distinct` that `which`
    (n_samples,) says."""
    n_samples, n_distinct = len(which), len(distinct)
    n_draws = min(_DRAWS, max(_LEAST_DRAWS, _MOST_DRAWS // n_distinct))
    # As many rows are chosen from the same draws, at most.
    at_most = max(n_draws // _DRAWS_OF_ROW, math.ceil(n_samples * n_draws / _MOST_DRAWS))
    order, counts = np.argsort(which, kind="stable"), np.bincount(which, minlength=n_distinct)
    parts = [
        (i, part)
        for i, rows in enumerate(np.split(order, np.cumsum(counts)[:-1]))
        for part in np.split(rows, range(at_most, len(rows), at_most))
    ]
    z, effective = np.empty((n_samples, net.module_.n_components)), np.zeros(n_distinct)
    step = max(1, _MOST_DRAWS // n_draws)
    for some in (parts[first : first + step] for first in range(0, len(parts), step)):
        arrays = [np.repeat(x, len(some), axis=0)]
        if conditioned:
            arrays.append(distinct[[i for i, _ in some]])
        draws, log_weight = _weighted(net, arrays, n_draws)
        weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        for (i, rows), of_part, p in zip(some, draws, weight, strict=True):
            z[rows] = of_part[np.random.choice(n_draws, len(rows), p=p)]
            effective[i] += 1 / (p**2).sum()
    few = effective < np.minimum(_LEAST_EFFECTIVE, counts)
    if few.any():
        under = f" under {few.sum()} of {n_distinct} conditions" if n_distinct > 1 else ""
        warnings.warn(
            f"what is given is so rare{under} that the rows are drawn from about "
            f"{effective[few].min():.0f} latent vectors: expect repeated ones.",
            UserWarning,
            stacklevel=4,
        )
    return z


def _weighted(net, arrays, n_draws):
    """Latents (n, n_draws, k) and their log weights (n, n_draws) for each row of the arrays."""
    pieces = []
    for first in range(0, n_draws, _DRAWS_AT_ONCE):
        piece = min(_DRAWS_AT_ONCE, n_draws - first)
        function = partial(type(net.module_).latents_given, n_draws=piece)
        of_piece = net.apply(function, *arrays, dtype=torch.float64, vectors_per_row=piece)
        pieces.append(of_piece)
    return tuple(np.concatenate(part, axis=1) for part in zip(*pieces, strict=True))
