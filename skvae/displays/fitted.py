"""Fitted: what displays ask of a fitted estimator, a model itself or a Pipeline around it."""

from inspect import signature

import numpy as np
from scipy.sparse import issparse
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import _safe_indexing

from ..attribution import but_for_rounding, feature_deviations
from ..coordinates import features_of_condition
from ..moments import some_rows
from ..steps import steps_and_model
from ..tables import is_frame
from ..transformer import VAETransformer

# Rows that displays look at where they look at all.
_MOST_ROWS = 5000
# Components that are drawn where nobody says which.
_FIRST = 8


class Fitted:
    """A fitted VAETransformer, alone or as the last step of a Pipeline or of a search's best one.

    Pictures of what it says of rows are in the columns that went into the Pipeline, if its other
    steps have an `inverse_transform`, and else in those that reach the model.

    Parameters
    ----------
    estimator : VAETransformer, PCA, Pipeline or search
        scikit-learn's PCA, and what else has `transform`, `inverse_transform` and `components_`,
        is welcome where nothing is asked that it does not have.
    display : str
        How messages call who asks.
    generative : bool, default=False
        Whether only a VAETransformer will do.
    condition : array-like, Series, DataFrame or None, default=None
        What the rows are conditioned on.

    Attributes
    ----------
    model : VAETransformer, or what stands in its place
    before : Pipeline or None
        The steps before it.
    is_vae : bool
    invertible : bool
        Whether rows that the model decodes can be brought back into the columns that went in.
    """

    def __init__(self, estimator, display, *, generative=False, condition=None):
        self.before, model = steps_and_model(estimator)
        self.model, self.is_vae = model, isinstance(model, VAETransformer)
        needed = ("transform", "inverse_transform", "components_")
        if not self.is_vae and (generative or not all(hasattr(model, name) for name in needed)):
            others = "" if generative else ", or another transformer such as PCA,"
            raise TypeError(
                f"{display} draws a fitted VAETransformer{others} alone or as the last step of a "
                f"Pipeline; got {type(model).__name__}."
            )
        if condition is not None and not self.is_vae:
            raise ValueError(
                f"condition is given, but {type(model).__name__} knows of none: leave it out."
            )
        self.condition = condition
        self.table = model._table if self.is_vae else None
        self.likelihood = model.net_.module_.likelihood if self.is_vae else None
        self.invertible = self.before is None or (self.table is None and _inverts(self.before))
        self.n_components = model.components_.shape[0]

    def some(self, X, most=_MOST_ROWS):
        """X, or a random part of many rows; the condition, where each row has one, goes along."""
        n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
        if n_rows <= most:
            return X
        kept = some_rows(n_rows, most)
        self.condition = part_of_condition(self.condition, n_rows, kept)
        return _safe_indexing(X, kept)

    def rows(self, X):
        """X as it reaches the model."""
        return X if self.before is None else self.before.transform(X)

    def shown(self, X):
        """X in the columns that are drawn."""
        return X if self.invertible else self.rows(X)

    def transform(self, X):
        """The columns T (n_samples, n_components) of X."""
        return np.asarray(self.model.transform(self.rows(X), **self.conditioned()))

    def transform_with_std(self, X):
        """T and the standard deviation of the posterior in its units, which is None where the model
        does not have one."""
        if "return_std" not in signature(self.model.transform).parameters:
            return self.transform(X), None
        T, std = self.model.transform(self.rows(X), return_std=True, **self.conditioned())
        return np.asarray(T), np.asarray(std)

    def decoded(self, T):
        """Rows at T, in the columns that are drawn: numbers not rounded, categories by codes."""
        if not self.is_vae:
            rows = self.model.inverse_transform(T)
        else:
            rows = self.likelihood.in_units_of_rows(self._apply("decode", T))
        return self.undone(rows)

    def undone(self, rows):
        """Rows that the model gave, brought back through the steps before it."""
        if self.before is None or not self.invertible:
            return rows
        return np.asarray(self.before.inverse_transform(rows))

    def probabilities(self, T):
        """Of each feature of the model that stands for a code its probability, (n, n_codes)."""
        return self._apply(_probabilities, T)

    def features(self, rows):
        """The features of rows that reach the model, (n, n_inputs): those of `components_`, less
        what a condition says; missing cells as reconstructed."""
        if not self.is_vae:
            return np.asarray(dense(rows), dtype=np.float64)
        model = self.model
        X = model._checked(rows)
        X = np.asarray(X if isinstance(X, np.ndarray) else X[:], dtype=np.float64)
        C = model._conditions_of(self.condition, len(X))
        features = self.likelihood.start_rows(model._completed(X, C))
        return features - features_of_condition(model.net_, C)

    def feature_deviations(self, rows):
        """Standard deviations of `features`, (n_inputs,), over the cells that are not missing."""
        if not self.is_vae:
            X = self.features(rows)
            return but_for_rounding(X.std(axis=0), np.abs(X).max(axis=0), len(X))
        X = self.model._checked(rows)
        return feature_deviations(self.model, X, self.model._conditions_of(self.condition, len(X)))

    def features_at(self, T):
        """The features of reconstructions at T, (n, n_inputs), a column of PCA being one."""
        if not self.is_vae:
            return np.asarray(self.model.inverse_transform(T))
        centre, scale = self.likelihood.feature_mean_units()
        return self._apply(_feature_mean, T) * scale + centre

    def _apply(self, function, T):
        z = self.model.coordinates_.to_latent(np.asarray(T, dtype=np.float64))
        C = self.model._conditions_of(self.condition, len(z))
        return self.model.net_.apply(function, z, C)

    def one_condition(self):
        """From now on the condition is that of the first row."""
        if not _is_for_all(self.condition):
            self.condition = _safe_indexing(self.condition, [0])

    def condition_of_draws(self, n_draws, n_rows):
        """The condition of draws as an argument: where each of the rows has one, those of some."""
        if _is_for_all(self.condition) or len(self.condition) != n_rows or n_draws == n_rows:
            return self.conditioned()
        few = some_rows(n_rows, n_draws)
        # In turn, where more are drawn than there are rows.
        return {"condition": _safe_indexing(self.condition, np.resize(few, n_draws))}

    def conditioned(self):
        """The condition as an argument of the model's methods, where there is one."""
        return {} if self.condition is None else {"condition": self.condition}

    def names(self, shown, feature_names=None):
        """What the columns of the rows that `shown` gave are called."""
        if feature_names is not None:
            return checked_names(feature_names, np.shape(shown)[1])
        if is_frame(shown):
            return [str(name) for name in shown.columns]
        if not self.invertible:
            return _names_out(self.before, np.shape(shown)[1])
        first = self.model if self.before is None else self.before
        names = getattr(first, "feature_names_in_", None)
        if names is None:
            return [f"x{j}" for j in range(np.shape(shown)[1])]
        return [str(name) for name in names]

    def names_in_model(self, rows, feature_names=None):
        """What the columns that reach the model are called."""
        if self.before is None or feature_names is not None or is_frame(rows):
            return self.names(rows, feature_names)
        return _names_out(self.before, np.shape(rows)[1])

    def components(self, components, most, default=None):
        """Positions of the components to draw: as given, checked, or the first of them."""
        k = self.n_components
        if components is None:
            return list(range(min(k, most))) if default is None else default
        given = np.atleast_1d(np.asarray(components))
        if given.dtype.kind not in "iu" or given.ndim != 1 or not len(given):
            raise ValueError(f"components must be ints, got {components!r}.")
        if len(given) > most:
            raise ValueError(f"components has {len(given)} entries; at most {most} can be drawn.")
        if given.min() < -k or given.max() >= k:
            raise ValueError(
                f"components={components!r}: the model has {k} component(s), 0 to {k - 1}."
            )
        if len(np.unique(given % k)) < len(given):
            raise ValueError(f"components={components!r} names a component twice.")
        return [int(j) for j in given % k]

    def first_components(self, components, most):
        """Positions of the components to draw, the first eight if none are given; and how many
        there are, where these are not all and nobody chose them."""
        k = self.n_components
        chosen = self.components(components, most, list(range(min(k, _FIRST))))
        return chosen, k if components is None and k > len(chosen) else None

    def component_names(self, components):
        """Labels of components, with the variance that each explains where the model says it."""
        ratio = getattr(self.model, "explained_variance_ratio_", None)
        if ratio is None:
            return [f"component {j}" for j in components]
        return [f"component {j} ({ratio[j]:.1%} of variance)" for j in components]


def _inverts(pipeline):
    """Whether all steps bring rows back: some have an `inverse_transform` that refuses, or does
    nothing."""
    for _, step in pipeline.steps:
        if step is None or isinstance(step, str):
            continue
        one_way = isinstance(step, FunctionTransformer) and not (
            step.func is None or step.inverse_func is not None
        )
        refuses = isinstance(step, SimpleImputer) and not step.add_indicator
        if one_way or refuses or not hasattr(step, "inverse_transform"):
            return False
    return True


def _names_out(pipeline, n_columns):
    """Names of the columns that steps give, or x0, x1, ... where one of them cannot say."""
    try:
        names = pipeline.get_feature_names_out()
    except (AttributeError, ValueError):
        names = None
    names = [f"x{j}" for j in range(n_columns)] if names is None else names
    return [str(name) for name in names]


def part_of_condition(condition, n_rows, kept):
    """The condition of some of the rows; one for all stays what it is."""
    if _is_for_all(condition) or len(condition) != n_rows:
        return condition
    return _safe_indexing(condition, kept)


def _is_for_all(condition):
    return condition is None or isinstance(condition, str | dict) or np.ndim(condition) == 0


def checked_names(feature_names, n_columns):
    """Names of columns as strings, as many as there are columns."""
    if isinstance(feature_names, str) or not np.iterable(feature_names):
        raise ValueError(f"feature_names must be a list of names, got {feature_names!r}.")
    names = [str(name) for name in feature_names]
    if len(names) != n_columns:
        raise ValueError(
            f"feature_names has {len(names)} names; X has {n_columns} columns, one is needed for "
            "each."
        )
    return names


def dense(X):
    """Rows as a dense array, DataFrames as they are."""
    return X.toarray() if issparse(X) else X


def _feature_mean(module, z, condition=None):
    return module.likelihood.feature_mean(module.outputs(z, condition))


def _probabilities(module, z, condition=None):
    return module.likelihood.probabilities(module.outputs(z, condition))
