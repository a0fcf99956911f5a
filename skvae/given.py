"""Rows of a model that have given cells."""

import reprlib
import warnings
from numbers import Integral

import numpy as np
import torch

from .batches import Rows, working_units
from .support import check_support

# Latents that rows are chosen from: at least, a row, and at most;
_LEAST_DRAWS, _DRAWS_OF_ROW, _MOST_DRAWS = 10_000, 10, 200_000
# so many have to count.
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
    weights, and x from p(x|z) at those.

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
    if condition is None:
        return _drawn(net, x, n_samples, noise, ())
    rows = np.empty((n_samples, row.shape[1]))
    distinct, which = np.unique(condition, axis=0, return_inverse=True)
    for i, c in enumerate(distinct):
        at = np.flatnonzero(which.ravel() == i)
        rows[at] = _drawn(net, x, len(at), noise, (c[None],))
    return rows


def _drawn(net, x, n_samples, noise, condition):
    n_draws = max(_LEAST_DRAWS, min(_DRAWS_OF_ROW * n_samples, _MOST_DRAWS))
    rows = [np.repeat(part, n_draws, axis=0) for part in (x, *condition)]
    z, log_weight = net.apply("latents_given", *rows, dtype=torch.float64)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    effective = 1 / (weight**2).sum()
    if effective < min(_LEAST_EFFECTIVE, n_samples):
        warnings.warn(
            f"what is given is so rare that the rows are drawn from about {effective:.0f} latent "
            "vectors: expect repeated ones.",
            UserWarning,
            stacklevel=5,
        )
    chosen = z[np.random.choice(n_draws, n_samples, p=weight)]

    def completed(module, z, x, condition=None):
        outputs = module.outputs(z, condition)
        drawn = module.likelihood.sample(outputs) if noise else module.likelihood.mean(outputs)
        return torch.where(torch.isnan(x), drawn, x)

    rows = [np.repeat(part, n_samples, axis=0) for part in (x, *condition)]
    return net.apply(completed, chosen, *rows, dtype=torch.float64)
