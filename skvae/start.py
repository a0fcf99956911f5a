"""The start of a model: how many components, on which rows it is fitted, what is searched."""

import math
from copy import deepcopy
from dataclasses import replace
from functools import partial
from numbers import Integral

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.decomposition._pca import _infer_dimension
from torch.utils.data import Subset

from ._random import scoped_seed
from .batches import Rows, working_units
from .dimension import (
    Folds,
    best_count,
    count_that_explains,
    factor_scores,
    fewest_of_best,
    in_own_span,
    incomplete_scores,
    incomplete_spectrum,
    minka_count,
    pca_scores,
    rows_in_common,
)
from .incomplete import marginally_filled
from .linear_start import best_gain, best_noise_and_gain, linear_start, residuals
from .moments import Moments, repeated, some_rows

_PLENTY_OF_ROWS = 5  # a column, from which a few rows more say nothing new to the start
_PRIOR_ROWS = 10_000  # whose q(z|x) a prior is started from or fitted to
_GAIN_ROWS = 2000  # that the line search on the loadings' gain looks at,
_GAIN_VALUES = 2**21  # and values of these
_START_VALUES = 2**25  # of the rows, up to which the start is fitted on the rows themselves,
_START_COLUMNS = 2000  # and beyond which not on their covariance either
_REPEATS = 10  # rows, for each given one, that stand for rows with weights that are not whole
_INCOMPLETE_VALUES = 2**21  # of rows with missing cells, which the start takes many passes over
_COUNTED_INCOMPLETE_VALUES = 2**17  # of such rows, by which components are counted
_FACTOR_COLUMNS = 100  # up to which components are counted by factor analysis itself


def n_components_of(params, likelihood, rows, seed):
    """The number of components, as PCA of the features takes `n_components` with its full solver;
    "auto" by held-out rows."""
    wanted, limit = params.n_components, min(len(rows), likelihood.n_inputs)
    if wanted is None:
        return limit
    if wanted == "auto":
        with scoped_seed(seed):
            k = _likeliest(likelihood, rows, seed)
        if params.verbose:
            print(f"n_components='auto' is {k} on these rows.")
        return k
    if not isinstance(wanted, Integral):
        part = Subset(rows, np.arange(len(rows)))
        if not likelihood.features_are_columns:
            likelihood = deepcopy(likelihood)
            likelihood.set_units(_units_rows(part, seed))
        if rows.incomplete:
            return _count_of_incomplete(wanted, likelihood, part, seed)
        X = residuals(*_split(likelihood, _start_rows(likelihood, part, seed), rows))[0]
        # Minka's evidence depends on the number of rows, which X can stand in for.
        count = int(count_of(part))
        solved = PCA(None if wanted == "mle" and len(X) != count else wanted, svd_solver="full")
        with np.errstate(divide="ignore", invalid="ignore"):
            solved.fit(X)
            counted = solved.n_components_
            if solved.n_components is None:
                counted = _infer_dimension(solved.explained_variance_, count)
        # Minka's choice can be none at all.
        return max(1, int(counted))
    if params.init == "pca" and wanted > limit:
        n_columns, made = rows.X.shape[1], ""
        if likelihood.n_inputs != n_columns:
            made = f", of {n_columns} columns that make {likelihood.n_inputs} features"
        raise ValueError(
            f"n_components={wanted} must be between 1 and min(n_samples, "
            f"n_features)={limit} with init='pca'{made}. None takes {limit}; init='random' takes "
            "more."
        )
    return int(wanted)


def _count_of_incomplete(wanted, likelihood, part, seed):
    """The number of components by the covariance of rows with missing cells: a part of the
    variance, or "mle"."""
    rows = part.dataset
    indices = _some_indices(part, max(3, _COUNTED_INCOMPLETE_VALUES // likelihood.n_inputs))
    with scoped_seed(seed):
        X = np.vstack(list(rows.chunks(indices)))
    X = _incomplete_features(likelihood, X, rows.first_observed)
    X = residuals(X, None if rows.condition is None else rows.condition[indices])[0]
    X = X[:, ~np.isnan(X).all(axis=0)]
    if min(X.shape) < 2:
        return 1
    least_noise = 1e-9 * float(np.nanmean(np.nanvar(X, axis=0))) or 1e-9
    if wanted != "mle":
        values, most = incomplete_spectrum(X, least_noise)
        return count_that_explains(values, wanted) if most else 1
    # Rows with weights stand there as often as these say, or more often.
    n_rows = rows_in_common(X) * min(1.0, count_of(part) / len(X))
    if n_rows < X.shape[1]:
        raise ValueError(
            "n_components='mle' needs as many rows as there are features, "
            f"{X.shape[1]}. Cells are missing: of the {min(len(X), int(count_of(part)))} rows that "
            f"are looked at {n_rows:.0f} have both of two features, on average. Take "
            "n_components='auto', which needs fewer, or a number."
        )
    return minka_count(*incomplete_spectrum(X, least_noise), n_rows)


def _likeliest(likelihood, rows, seed):
    """The number of components with which the linear start makes held-out rows likeliest; the
    global generators have to be seeded by the caller."""
    part = Subset(rows, np.arange(len(rows)))
    likelihood = deepcopy(likelihood)
    likelihood.set_units(_units_rows(part, seed))
    n_columns, least_noise = likelihood.n_inputs, likelihood.least_noise()
    factors = likelihood.linear_model == "factor_analysis"
    effects = shift = None
    if rows.condition is not None:
        of_start = _split(likelihood, _start_rows(likelihood, part, seed), rows)
        _, effects, shift = residuals(*of_start)
    if rows.incomplete:
        indices = _some_indices(part, max(3, _COUNTED_INCOMPLETE_VALUES // n_columns))
        X = np.vstack(list(_features(likelihood, rows, indices, effects, shift)))
        score, most = incomplete_scores(
            X, indices, shared_noise=not factors, least_noise=least_noise, seed=seed
        )
        return best_count(score, most) if most > 1 else 1

    indices = part.indices
    if n_columns > _START_COLUMNS:
        indices = some_rows(len(rows), max(3, min(_START_COLUMNS, _START_VALUES // n_columns)))
    by_factors = factors and n_columns <= _FACTOR_COLUMNS
    unit = 1.0
    if factors and not by_factors:
        # So many fits would take too long. PCA of unit columns may count more: its components have
        # to say where the noises differ too.
        unit = likelihood.feature_scale
        least_noise = float(np.mean(least_noise / unit**2))
    weight = None if rows.weight is None else rows.weight[indices]
    chunks = _features(likelihood, rows, indices, effects, shift)
    if len(indices) < n_columns and not by_factors:
        chunks = [in_own_span(np.vstack(list(chunks)) / unit)]
        unit = 1.0
    folds, first = Folds(len(indices), n_columns, seed), 0
    for X in chunks:
        places = slice(first, first + len(X))
        folds.add(places, X / unit, None if weight is None else weight[places])
        first += len(X)
    most = folds.most_components(n_columns)
    if most < 2:
        return 1
    if by_factors:
        return best_count(factor_scores(folds, least_noise), most)
    return fewest_of_best(dict(enumerate(pca_scores(folds, n_columns, least_noise), start=1)))


def _features(likelihood, rows, indices, effects, shift):
    """Yield the features of the rows at indices, as the linear start sees them, a chunk at a time:
    NaN where they come of missing cells, and less what their condition, if any, says."""
    for positions, chunk in rows.numbered_chunks(indices):
        if rows.incomplete:
            X = _incomplete_features(likelihood, chunk, rows.first_observed)
        else:
            X = likelihood.start_rows(chunk)
        yield X if effects is None else X - (rows.condition[positions] @ effects.T + shift)


def load_start(params, net, part, seed):
    """Load the linear start fitted on a part of the rows into the module; None with random
    weights."""
    vae = net.module_
    # Other features than the columns need the units before them.
    needs_units = not (vae.likelihood.features_are_columns and part.dataset.plain)
    if needs_units:
        vae.likelihood.set_units(_units_rows(part, seed))
    X = _start_rows(vae.likelihood, part, seed, ddof=int(vae.likelihood.linear_model == "pca"))
    if not needs_units:
        vae.likelihood.set_units(_split(vae.likelihood, X, part.dataset)[0])
    start = None
    if params.init == "pca":
        start = _linear_start(vae, X, part.dataset, count_of(part), seed)
        vae.load_start(start)
    elif vae.fill is not None:
        k = vae.fill.loadings.shape[1]
        vae.load_fill(_linear_start(vae, X, part.dataset, count_of(part), seed, k))
    vae.prior.load_start(partial(some_posterior, net, part, seed))
    if start is not None and not vae.likelihood.exact_start:
        start = _searched(start, net, part, seed)
        vae.load_start(start)
        if start.noise_factor != 1:
            # The posterior that the prior has seen was another.
            vae.prior.load_start(partial(some_posterior, net, part, seed))
    return start


def _searched(start, net, part, seed):
    """The start with the factors on its loadings, and where the law asks for it on its noise, that
    give some rows of a part the greatest ELBO."""
    vae = net.module_
    n_few = max(1, min(_GAIN_ROWS, _GAIN_VALUES // vae.likelihood.n_inputs))
    few = Subset(part.dataset, np.asarray(part.indices)[:n_few])
    # With weights as often as these say, which are more rows.
    X, condition = _some_rows(few, seed, None if part.dataset.weight is not None else n_few)
    few = Rows(X, device=net.device, incomplete=part.dataset.incomplete, condition=condition)
    few.set_units(vae.likelihood.centre, vae.likelihood.scale, vae.likelihood.placeholder)

    def objective(noise, gain):
        vae.load_start(replace(start.with_noise(noise), gain=gain))
        return -net.validation_loss(few)

    if vae.likelihood.searched_noise:
        noise, gain = best_noise_and_gain(objective)
    else:
        noise, gain = 1.0, best_gain(lambda gain: objective(1.0, gain))
    return replace(start.with_noise(noise), gain=gain)


def some_posterior(net, part, seed):
    """What the encoder sees of some rows of a part, and q(z|x) of these."""
    vae = net.module_
    at_most = max(1, min(_PRIOR_ROWS, _START_VALUES // part.dataset.X.shape[1]))
    X, condition = _some_rows(part, seed, at_most)
    like = next(vae.parameters())
    x = working_units(X, vae.likelihood.centre, vae.likelihood.scale).to(like)
    if condition is not None:
        condition = torch.as_tensor(condition).to(like)
    with torch.no_grad():
        return vae.eval().inputs_and_posterior(*vae.observed(x), condition)


def gain_of_more_rows(net, train, valid, start, seed):
    """What the start would gain from the held-out rows, in nats per row, estimated.

    Where no epoch is accepted the start is refitted on all rows; with few rows for the columns
    that is a gain, and an epoch has to beat it too. The start is fitted on as much less than the
    training part as that is less than all rows, and its loss on the held-out rows measured.
    """
    vae, n_train = net.module_, len(train)
    n_features = vae.likelihood.n_inputs + vae.n_conditions
    n_fewer = n_train * n_train // (n_train + len(valid))
    if n_train > _PLENTY_OF_ROWS * n_features:
        return 0.0
    if n_fewer <= vae.n_components + vae.n_conditions + 1:
        return math.inf
    fewer = np.asarray(train.indices)[np.random.RandomState(seed).permutation(n_train)[:n_fewer]]
    X = _start_rows(vae.likelihood, Subset(train.dataset, fewer), seed)
    loss = net.validation_loss(valid)
    of_fewer = _linear_start(vae, X, train.dataset, n_fewer, seed).with_noise(start.noise_factor)
    vae.load_start(replace(of_fewer, gain=start.gain))
    gain = net.validation_loss(valid) - loss
    vae.load_start(start)
    return max(0.0, float(gain))


def _linear_start(vae, X, rows, n_samples, seed, n_components=None):
    """The closed form on what `_start_rows` gave of `rows`."""
    likelihood = vae.likelihood
    X, condition = _split(likelihood, X, rows)
    return linear_start(
        X,
        n_components or vae.n_components,
        condition=condition,
        n_samples=n_samples,
        model=likelihood.linear_model,
        least_noise=likelihood.least_noise(),
        seed=seed,
    )


def _start_rows(likelihood, part, seed, *, ddof=1):
    """The features of a part's rows in float64, as the linear start sees them, and behind them what
    the rows are conditioned on, if anything.

    More of them than `_START_VALUES` are replaced by fewer rows of the same mean and covariance,
    which are all that a linear model looks at; with too many columns for that, by a random part.
    Of rows with missing cells, whose features are NaN there, these are a random part always.
    `ddof` is that of the model's covariance. With a `batch_transform` they are one draw of it,
    the same each time in one fit.
    """
    rows, indices = part.dataset, np.asarray(part.indices)
    condition = np.empty((len(rows), 0)) if rows.condition is None else rows.condition
    n_columns = likelihood.n_inputs + condition.shape[1]
    if rows.incomplete:
        indices = _some_indices(part, max(1, _INCOMPLETE_VALUES // n_columns))
        with scoped_seed(seed):
            X = np.vstack(list(rows.chunks(indices)))
        features = _incomplete_features(likelihood, X, rows.first_observed)
        return np.hstack([features, condition[indices]])
    if rows.weight is not None or len(indices) * n_columns > _START_VALUES:
        if n_columns > _START_COLUMNS:
            indices = _some_indices(part, _START_VALUES // n_columns)
        else:
            moments, weight = Moments(full=True), rows.weight
            with scoped_seed(seed):
                for positions, chunk in rows.numbered_chunks(indices):
                    of_chunk = None if weight is None else weight[positions]
                    features = likelihood.start_rows(chunk)
                    moments.add(np.hstack([features, condition[positions]]), of_chunk)
            return moments.stand_in(max(10_000, 10 * n_columns), ddof)
    with scoped_seed(seed):
        X = np.vstack([likelihood.start_rows(chunk) for chunk in rows.chunks(indices)])
    return X if rows.condition is None else np.hstack([X, condition[indices]])


def _split(likelihood, X, rows):
    """What `_start_rows` gave: the features, and the conditions or None."""
    if rows.condition is None:
        return X, None
    return X[:, : likelihood.n_inputs], X[:, likelihood.n_inputs :]


def _incomplete_features(likelihood, X, otherwise):
    """The features of rows X in the units of `start_rows`, NaN where they come of missing cells."""
    features = likelihood.start_rows(marginally_filled(X, otherwise))
    mask = likelihood.feature_mask(torch.from_numpy(~np.isnan(X))).numpy()
    return np.where(mask, features, np.nan)


def _some_rows(part, seed, at_most=None):
    """The rows of a part in float64, or a random part of very many; with weights each as often as
    its weight says. And what they are conditioned on, or None."""
    rows = part.dataset
    indices = _some_indices(part, at_most or max(1, _START_VALUES // rows.X.shape[1]))
    with scoped_seed(seed):
        X = np.vstack(list(rows.chunks(indices)))
    return X, None if rows.condition is None else rows.condition[indices]


def _some_indices(part, at_most):
    """Indices of the rows of a part: of all, or of a random part of more than `at_most`; with
    weights each as often as its weight says."""
    indices, weight = np.asarray(part.indices), part.dataset.weight
    if weight is None:
        return indices[some_rows(len(indices), at_most)]
    return indices[repeated(weight[indices], at_most, least=_REPEATS)]


def _units_rows(part, seed):
    """The rows of a part that the units of a law are learnt from, without missing cells."""
    return marginally_filled(_some_rows(part, seed)[0], part.dataset.first_observed)


def count_of(part):
    """How many rows a part has, each as often as its weight says."""
    weight = part.dataset.weight
    return len(part) if weight is None else float(weight[np.asarray(part.indices)].sum())
