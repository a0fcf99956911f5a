"""What the columns of rows are, and whether a model gives their marginals and pairs back."""

import numpy as np

from ..likelihoods import LIKELIHOODS
from ..marginal_checks import compare_marginals, replicated, sampled
from ..pair_checks import compare_pairs


def columns_of(model, rows, before, seed):
    """Whether the marginals of the columns and their pairs come back, and what the columns are.

    Parameters
    ----------
    model : VAETransformer
    rows : GivenRows
    before : Pipeline or None
        What made the rows of others, and may know how their columns are called.
    seed : int
        Of the draws.

    Returns
    -------
    measured : dict
    """
    net, table = model.net_, model._table
    likelihood = net.module_.likelihood
    X = np.asarray(rows.X, dtype=np.float64)
    laws, categories = _laws(likelihood), _categories(likelihood, table)
    replicates, at_floor = replicated(net, X, seed, rows.C)
    samples = sampled(net, len(X), seed, rows.C)
    if table is not None:
        # As `sample` has them: numbers rounded where the column holds integers.
        replicates, samples = (table.encode(table.decode(part)) for part in (replicates, samples))
    replicates = np.where(np.isnan(X), np.nan, replicates)
    drowned = np.zeros(X.shape[1], dtype=bool)
    if likelihood.shared_noise:
        seen = ~np.isnan(X).all(axis=0)
        drowned[seen] = np.nanvar(X[:, seen], axis=0) < model.noise_variance_
    return {
        "feature_names": _names(model, before, X.shape[1]),
        "laws": laws,
        "column_kinds": [_kind(X[:, j], categories[j]) for j in range(X.shape[1])],
        "noise_at_floor": at_floor.mean(axis=0),
        "replicates": compare_marginals(X, replicates, categories),
        "samples": compare_marginals(X, samples, categories),
        "pairs": compare_pairs(X, samples, categories),
        "drowned": drowned,
    }


def _laws(likelihood):
    """The name of the law of each column."""
    if not hasattr(likelihood, "laws"):
        return [_law_name(likelihood)] * likelihood.n_features
    laws = np.empty(likelihood.n_features, dtype=object)
    for law, columns in zip(likelihood.laws, likelihood.columns, strict=True):
        laws[columns] = _law_name(law)
    return laws.tolist()


def _law_name(law):
    """The name under which a law is known, or that of its class."""
    names = {kind: name for name, kind in LIKELIHOODS.items()}
    return names.get(type(law), type(law).__name__)


def _categories(likelihood, table):
    """Which columns are codes, whose order says nothing."""
    if table is not None:
        return table.kinds == "category"
    columns, codes = likelihood.feature_columns()
    return np.isin(np.arange(likelihood.n_features), np.asarray(columns)[np.asarray(codes) >= 0])


def _kind(x, category):
    x = x[~np.isnan(x)]
    if category:
        return "category"
    if not len(x) or x.min() == x.max():
        return "constant"
    if np.isin(x, (0, 1)).all():
        return "binary"
    return "count" if (x >= 0).all() and (x == np.floor(x)).all() else "number"


def _names(model, before, n_columns):
    names = getattr(model, "feature_names_in_", None)
    if model._table is not None and model._table.names is not None:
        names = model._table.names
    if names is None and before is not None:
        try:
            names = before.get_feature_names_out()
        except (AttributeError, ValueError):
            names = None
    names = [f"x{j}" for j in range(n_columns)] if names is None else names
    return [str(name) for name in names]
