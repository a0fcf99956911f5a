"""VAEImputer: missing cells by what the model says of them given the others."""

import warnings
from numbers import Integral
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.impute import MissingIndicator
from sklearn.utils._param_validation import Interval
from sklearn.utils._set_output import ADAPTERS_MANAGER, _get_output_config
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from ._input import checked_rows, float_dtype
from ._keeping import kept_on_failure
from ._random import draw_seed
from .tables import Table, is_frame
from .transformer import VAETransformer

# Of the default model: q(z|x) of incomplete rows is far from exact, which fewer draws train for.
_TRAINING_DRAWS = 5


class VAEImputer(TransformerMixin, BaseEstimator):
    """Fill missing cells by a VAE that learns from the cells that are there.

    A missing cell becomes E[x_missing | x_observed], by self-normalized importance sampling, or a
    draw from that law. Observed cells are returned as they came, to the bit.

    Parameters
    ----------
    estimator : VAETransformer or None, default=None
        The model, cloned, with `missing_values="observed"`. None is a VAETransformer of
        `likelihood="diagonal_gaussian"` (columns of any scale), or "auto" for a DataFrame of which
        not all columns are numbers, with as many components as half of the cells that a row has on
        average, but at least a third of the columns, 2 to 16, and no more than half of the rows,
        trained by the bound of 5 draws; categories that the fit did not see say nothing to it, and
        are left as they are.
        One of your own for tables needs `handle_unknown="missing"` for that: folds of a
        cross-validation may lack a category.
    n_draws : int, default=1000
        Weighted draws of the latents that a row is filled by. The time of `transform` grows with
        them and with the rows that have missing cells; a hundred fill nearly as well in a tenth of
        it (of breast_cancer, half of it hidden, with an error of .241 instead of .239).
    sample_posterior : bool, default=False
        Whether cells are drawn from their law given the observed ones instead of filled by its
        mean: for multiple imputation, a call of `transform` each, and where a mean is no value of
        the column, as of one that is mostly exactly 0.
    add_indicator : bool, default=False
        Whether to append columns that say where cells were missing, as
        `sklearn.impute.MissingIndicator` makes them.
    keep_empty_features : bool, default=False
        Whether columns without an observed cell in `fit` are kept, filled as SimpleImputer does:
        by 0 where they are numbers, by "missing_value" where they are strings or objects. Those of
        other kinds (categorical dtypes, bools, dates), which have no such value, are kept as they
        come. Else they are dropped.
    random_state : int, RandomState instance or None, default=None
        Of the draws with `sample_posterior`, and of an `estimator` of None. With an int each call
        of `transform` draws the same; None draws anew.
    verbose : int, default=0
        Of an `estimator` of None, as it was in `fit` (one of your own has its own): 1 prints a line
        an epoch and shows a bar where `transform` lasts.

    Attributes
    ----------
    estimator_ : VAETransformer
        The fitted model, of the columns that have an observed cell.
    indicator_ : MissingIndicator or None
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Where X had string column names.

    See Also
    --------
    sklearn.impute.IterativeImputer : Each column by a regression on the others: with
        BayesianRidge, its default, 20 to 500 times as fast.

    References
    ----------
    P.-A. Mattei, J. Frellsen, "MIWAE: Deep Generative Modelling and Imputation of Incomplete Data
    Sets", ICML 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAEImputer
    >>> X = load_iris().data
    >>> X[::3, 2] = np.nan
    >>> filled = VAEImputer(random_state=0).fit_transform(X)
    >>> bool(abs(filled[::3, 2] - load_iris().data[::3, 2]).mean() < 0.3)
    True
    """

    _parameter_constraints: ClassVar = {
        "estimator": [VAETransformer, None],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "sample_posterior": ["boolean"],
        "add_indicator": ["boolean"],
        "keep_empty_features": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        n_draws=1000,
        sample_posterior=False,
        add_indicator=False,
        keep_empty_features=False,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.n_draws = n_draws
        self.sample_posterior = sample_posterior
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Fit the model to the observed cells of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN, None or `pandas.NA`.
        y : None
            Ignored.

        Returns
        -------
        self : VAEImputer

        Raises
        ------
        ValueError
            If `estimator` is no VAETransformer, if no column has an observed cell, or as
            `VAETransformer.fit` raises it.
        """
        with kept_on_failure(self):
            return self._fitted(X)

    def _fitted(self, X):
        self._table = self._table_of(X)
        rows = self._numbers(X, reset=True)
        kept = ~np.isnan(rows).all(axis=0)
        if not kept.any():
            raise ValueError(
                f"X has no observed cell: all of its {rows.size} are missing. VAEImputer needs one "
                "at least to learn from."
            )
        if not (kept.all() or self.keep_empty_features):
            names = getattr(self, "feature_names_in_", np.arange(len(kept)))[~kept]
            warnings.warn(
                f"{len(names)} column(s) have no observed value and are dropped: "
                f"{names[:5].tolist()}. keep_empty_features=True keeps them.",
                UserWarning,
                stacklevel=4,
            )
        if not kept.all() and self._by_position():
            raise ValueError(
                f"column(s) {np.flatnonzero(~kept)[:5].tolist()} have no observed value, and the "
                "estimator says by position what columns are: drop such columns first."
            )
        # What a column without an observed cell would have been does not choose the model.
        numbers = self._table is None or (self._table.kinds[kept] == "number").all()
        estimator = self._estimator(~np.isnan(rows[:, kept]), numbers)
        estimator.fit(_columns(X, rows, kept, self._table))
        self.indicator_ = None
        if self.add_indicator:
            self.indicator_ = MissingIndicator(error_on_new=False).fit(rows)
        self._kept, self.estimator_ = kept, estimator
        return self

    def _estimator(self, observed, numbers):
        if self.estimator is None:
            n_rows, n_columns = observed.shape
            # Rows that say less place fewer latents.
            sought = max(n_columns // 3, int(observed.sum() / n_rows) // 2)
            most = min(n_columns, n_rows // 2)
            return VAETransformer(
                max(1, min(most, int(np.clip(sought, 2, 16)))),
                likelihood="diagonal_gaussian" if numbers else "auto",
                missing_values="observed",
                handle_unknown="missing",
                n_importance_samples_train=_TRAINING_DRAWS,
                random_state=draw_seed(self.random_state),
                verbose=self.verbose,
            )
        return clone(self.estimator).set_params(missing_values="observed")

    def _by_position(self):
        """Whether the estimator has parameters that dropped columns would shift."""
        if self.estimator is None:
            return False
        features = self.estimator.categorical_features
        by_position = features is not None and not isinstance(features, str)
        return by_position or isinstance(self.estimator.likelihood, list | dict)

    def _table_of(self, X):
        """What the columns of a DataFrame are, where the model gives them laws of their own, or
        where they are not all numbers and the model is ours to choose."""
        if self.estimator is not None:
            return self.estimator._new_table(X)
        table = Table(X) if is_frame(X) else None
        if table is None or not ((table.kinds != "number") | table.untyped).any():
            return None
        return table

    def _numbers(self, X, reset, handle_unknown="error"):
        return checked_rows(
            self,
            X,
            reset=reset,
            allow_missing=True,
            accept_sparse=False,
            table=self._table,
            handle_unknown=handle_unknown,
        )

    def transform(self, X):
        """X with its missing cells filled.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        X_filled : ndarray or DataFrame of shape (n_samples, n_features_out)
            A DataFrame, with the index of X, where X is one. Without columns that had no observed
            cell in `fit`, unless `keep_empty_features`; with those of the indicator behind, where
            `add_indicator`. Where columns have laws of their own, whole numbers of
            dtype "Int64" stay that; those that NaN has made float64 are filled by means with
            fractions.
        """
        check_is_fitted(self)
        filled = self._filled(X)
        # Of a polars DataFrame scikit-learn makes a pandas one by its cells, without their dtypes.
        asked = _get_output_config("transform", self)["dense"]
        return filled.to_pandas() if asked == "pandas" and hasattr(filled, "to_pandas") else filled

    def _filled(self, X):
        # What is in columns that the model does not have is no error; of the others it says so.
        rows = self._numbers(X, reset=False, handle_unknown="missing")
        filled = np.zeros(rows.shape, dtype=float_dtype(rows))
        of_model = self.estimator_.impute(
            _columns(X, rows, self._kept, self._table),
            n_draws=self.n_draws,
            draw=self.sample_posterior,
            random_state=draw_seed(self.random_state),
        )
        if self.estimator_._table is not None:
            of_model = self.estimator_._table.encode(of_model, handle_unknown="missing")
        filled[:, self._kept] = of_model
        empty = rows[:, ~self._kept]
        filled[:, ~self._kept] = np.where(np.isnan(empty), 0.0, empty)
        if self._table is not None:
            numbers = (self._table.kinds == "number") & ~self._table.untyped
            filled = self._table.filled(
                X, filled, columns=self._kept | numbers, word="missing_value"
            )
        if not self.keep_empty_features:
            filled = _columns(filled, filled, self._kept)
        names = self.get_feature_names_out()
        if self.indicator_ is None:
            return _like(X, filled, names)
        if self._table is not None:
            rows = np.where(self._table.missing(X), np.nan, 0.0)
        was_missing = self.indicator_.transform(rows)
        if not hasattr(filled, "columns"):
            return _like(X, np.hstack([filled, was_missing]), names)
        return _beside(filled, _like(X, was_missing, names[-was_missing.shape[1] :]))

    def get_feature_names_out(self, input_features=None):
        """Names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str or None, default=None

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        if input_features is None and self._table is not None:
            input_features = self._table.names
        names = _check_feature_names_in(self, input_features)
        out = names if self.keep_empty_features else names[self._kept]
        if self.indicator_ is not None:
            out = np.concatenate([out, self.indicator_.get_feature_names_out(names)])
        return out

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _columns(X, rows, kept, table=None):
    """The columns to keep, of X itself where it is a DataFrame: they have names."""
    if hasattr(X, "iloc"):
        # By position: labels may be anything, bools too.
        return X.iloc[:, np.flatnonzero(kept)]
    if hasattr(X, "columns"):
        return X[[name for name, keep in zip(X.columns, kept, strict=True) if keep]]
    return (rows if table is None else np.asarray(X, dtype=object))[:, kept]


def _like(X, filled, names):
    """An array as a DataFrame of the kind of X, where X is one that scikit-learn makes too."""
    adapter = _adapter(X)
    if adapter is None or hasattr(filled, "columns"):
        return filled
    return adapter.create_container(filled, X, columns=names)


def _beside(X, others):
    """Two DataFrames of one kind side by side."""
    return _adapter(X).hstack([X, others])


def _adapter(X):
    """What scikit-learn makes DataFrames like X by, if X is one."""
    for adapter in ADAPTERS_MANAGER.adapters.values():
        if hasattr(X, "columns") and adapter.is_supported_container(X):
            return adapter
    return None
