"""Attribution: which columns a component listens to, and which it moves."""

import numpy as np
import torch

from .coordinates import decoder_derivatives, features_of_condition
from .moments import row_slices, some_rows
from .steps import steps_and_vae

_KINDS = ("listens", "moves")
# Rows that are encoded with other categories than their own, for the mean over rows of what these
# do: about as many as a fit takes steps with. But those of so many rows are, however many
# categories there are.
_CHANGED_ROWS, _LEAST_ROWS = 2**18, 50


def encoder_jacobian(estimator, X, *, condition=None):
    """What each component listens to in each row: how `transform` changes with the features.

    The derivative dT/dx at the row, by the encoder's gradient. With the Gaussian likelihoods x are
    the columns of X themselves, in their units; with the others they are the features that
    `components_` has (`vae.get_component_feature_names()` names them): log x for "lognormal",
    log(1 + x) for counts, normal scores for "quantile_gaussian".

    Of a feature that stands for a category there is no derivative: it is the difference that the
    category makes, T of the row with this category less the mean of T of the row with each, by
    their frequencies in the fit. A missing cell is not listened to: its derivatives are 0.

    Parameters
    ----------
    estimator : VAETransformer, Pipeline or search
        A fitted VAETransformer, alone or as the last step of a Pipeline or of a search's best
        estimator. X is then what goes into the first step, and the columns that are spoken of are
        those that reach the model.
    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
    condition : array-like, Series or DataFrame or None, default=None
        As in `transform`.

    Returns
    -------
    jacobian : ndarray of shape (n_samples, n_components, n_features)
        float64. Without training it is the same for all rows, and with the defaults PCA's
        `components_`.

    Raises
    ------
    TypeError
        If `estimator` does not end in a VAETransformer.
    NotFittedError
        Before `fit`.
    ValueError
        As `transform` raises it.

    See Also
    --------
    decoder_jacobian : The way back.
    attributions : The mean over rows, by column.

    References
    ----------
    K. Simonyan, A. Vedaldi, A. Zisserman, "Deep Inside Convolutional Networks: Visualising Image
    Classification Models and Saliency Maps", ICLR 2014 workshop (gradients as attribution).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer, encoder_jacobian
    >>> X = load_iris().data
    >>> vae = VAETransformer(2, max_epochs=0).fit(X)
    >>> jacobian = encoder_jacobian(vae, X[:3])
    >>> jacobian.shape
    (3, 2, 4)
    >>> bool(np.allclose(jacobian, vae.components_))
    True
    """
    vae, X, C = _checked(estimator, X, condition, "encoder_jacobian")
    return _listened(vae, X, C)


def decoder_jacobian(estimator, X, *, condition=None):
    """What each component moves in each row: how `inverse_transform` changes with T.

    The derivative of the reconstruction along each component, at the T of the row: what
    `component_effects` is the mean of, without its unit. It is of the features that `components_`
    has, as in `encoder_jacobian`; of a feature that stands for a category it is that of its
    probability.

    Parameters
    ----------
    estimator : VAETransformer, Pipeline or search
        A fitted VAETransformer, alone or as the last step of a Pipeline or of a search's best
        estimator. X is then what goes into the first step, and the columns that are spoken of are
        those that reach the model.
    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
    condition : array-like, Series or DataFrame or None, default=None
        As in `transform`.

    Returns
    -------
    jacobian : ndarray of shape (n_samples, n_components, n_features)
        float64. Without training it is the same for all rows with a Gaussian likelihood, and with
        the defaults PCA's `components_`.

    Raises
    ------
    TypeError
        If `estimator` does not end in a VAETransformer.
    NotFittedError
        Before `fit`.
    ValueError
        As `transform` raises it.

    See Also
    --------
    encoder_jacobian : The way there.
    attributions : The mean over rows, by column.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer, decoder_jacobian
    >>> X = load_iris().data
    >>> vae = VAETransformer(2, max_epochs=0).fit(X)
    >>> bool(np.allclose(decoder_jacobian(vae, X[:3]), vae.components_))
    True
    """
    vae, X, C = _checked(estimator, X, condition, "decoder_jacobian")
    return _moved(vae, X, C)


def attributions(estimator, X, kind="listens", *, condition=None):
    """How much each component listens to each column of X, or moves it, on average over rows.

    Both are free of units. With J the Jacobian of a row and s the standard deviations over the
    rows X, of T and of the features (of the cells that are not missing),

    - "listens" is the root mean square of J_encoder s_feature / s_T: the standard deviations of the
      component for one of the column, all other columns as they are;
    - "moves" is that of J_decoder s_T / s_feature: the standard deviations of the column for one of
      the component. Without training and with the defaults it is the absolute correlation of the
      two, `LoadingsDisplay`'s numbers.

    The features of a column of categories are put together: "listens" has the standard deviation
    of T over its categories, by their frequencies in X, and "moves" the roots of the sums of
    squares over them. A column of two categories has what it would have as a number.

    They differ where columns are correlated: of two columns that say the same the encoder may
    listen to one alone, while the component moves both.

    Parameters
    ----------
    estimator : VAETransformer, Pipeline or search
        A fitted VAETransformer, alone or as the last step of a Pipeline or of a search's best
        estimator. X is then what goes into the first step, and the columns that are spoken of are
        those that reach the model.
    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
        At least two rows. They are gone through in chunks: memory does not grow with their number.
        What categories do is looked at on a random part of them where rows times categories are
        more than 262,144, but on 50 rows at least.
    kind : {"listens", "moves"}, default="listens"
    condition : array-like, Series or DataFrame or None, default=None
        As in `transform`.

    Returns
    -------
    attributions : ndarray of shape (n_components, n_features)
        Of the columns of X, not negative; 0 of those that are constant in X, or have no observed
        cell there.

    Raises
    ------
    TypeError
        If `estimator` does not end in a VAETransformer.
    NotFittedError
        Before `fit`.
    ValueError
        If `kind` is another, if X has a single row, or as `transform` raises it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer, attributions
    >>> X = load_iris().data
    >>> vae = VAETransformer(2, max_epochs=0).fit(X)
    >>> attributions(vae, X, kind="moves").round(2)
    array([[0.9 , 0.4 , 1.  , 0.97],
           [0.39, 0.83, 0.05, 0.05]])
    """
    if not isinstance(kind, str) or kind not in _KINDS:
        found = repr(kind)
        if not isinstance(kind, str):
            found = f"{type(kind).__name__} (a condition goes by name: condition=...)"
        raise ValueError(f"kind must be one of {', '.join(map(repr, _KINDS))}; got {found}.")
    vae, X, C = _checked(estimator, X, condition, "attributions")
    if len(X) < 2:
        raise ValueError(
            "X has 1 row: attributions are in standard deviations over the rows of X. Of a single "
            "row take encoder_jacobian or decoder_jacobian."
        )
    likelihood = vae.net_.module_.likelihood
    spread = feature_deviations(vae, X, C)
    spread_of_T = vae.coordinates_.to_public(vae._posterior(X, C)[0]).std(axis=0)
    columns, codes = likelihood.feature_columns()
    of_column = np.arange(likelihood.n_features)[:, None] == columns
    if kind == "moves":
        squares = _mean_squares(_moved, vae, X, C) @ of_column.T
        # Of the features of a column together; a number is one.
        variance = of_column @ spread**2
        return np.sqrt(squares / np.where(variance > 0, variance, np.inf)) * spread_of_T[:, None]
    squares = _mean_squares(_listened_to_numbers, vae, X, C) * spread**2
    at = codes >= 0
    if at.any():
        # The variance of T over the categories is that of their differences from any of them.
        shares = _shares(X, columns, codes)
        weights = of_column * shares
        few = some_rows(len(X), max(_LEAST_ROWS, _CHANGED_ROWS // at.sum()))

        def centred(vae, X, C):
            made = _made_by_categories(vae, X, C)
            return made - (made @ weights.T) @ of_column

        X, C = _dense(X[few]), None if C is None else C[few]
        squares[:, at] = (_mean_squares(centred, vae, X, C) * shares)[:, at]
    squares = squares @ of_column.T
    return np.sqrt(squares) / np.where(spread_of_T > 0, spread_of_T, np.inf)[:, None]


def feature_deviations(vae, X, C):
    """Standard deviations of the features, (n_inputs,), over the cells of checked rows X that are
    not missing, less what their condition (or None) says; 0 of what is constant but for rounding.
    """
    likelihood, count, sums, squares, largest = vae.net_.module_.likelihood, 0, 0.0, 0.0, 0.0
    centre = None
    for part in row_slices(len(X), likelihood.n_inputs):
        rows, c = _dense(X[part]), None if C is None else C[part]
        features = likelihood.start_rows(vae._completed(rows, c))
        observed = likelihood.feature_mask(torch.from_numpy(~np.isnan(rows))).numpy()
        largest = np.maximum(largest, np.where(observed, np.abs(features), 0.0).max(axis=0))
        features = np.where(observed, features - features_of_condition(vae.net_, c), 0.0)
        if centre is None:
            # Of these very rows: about any other place a constant column has squares.
            centre = features.sum(axis=0) / np.maximum(observed.sum(axis=0), 1)
        deviations = np.where(observed, features - centre, 0.0)
        count = count + observed.sum(axis=0)
        sums = sums + deviations.sum(axis=0)
        squares = squares + (deviations**2).sum(axis=0)
    n = np.maximum(count, 1)
    spread = np.sqrt(np.maximum(squares / n - (sums / n) ** 2, 0.0))
    return but_for_rounding(spread, largest, n)


def but_for_rounding(spread, largest, n):
    """Standard deviations of n values each, and 0 of values that differ by rounding alone."""
    rounding = 10 * np.finfo(np.float64).eps * np.sqrt(n) * largest
    return np.where(spread > rounding, spread, 0.0)


def _shares(X, columns, codes):
    """Of each feature that stands for a code the part of the observed cells of its column that have
    it; 0 of the others."""
    at, having, observed = codes >= 0, 0, 0
    for part in row_slices(len(X), max(1, at.sum())):
        cells = _dense(X[part])[:, columns[at]]
        having = having + (cells == codes[at]).sum(axis=0)
        observed = observed + (~np.isnan(cells)).sum(axis=0)
    shares = np.zeros(len(codes))
    shares[at] = having / np.maximum(observed, 1)
    return shares


def _mean_squares(jacobian, vae, X, C):
    """The mean over rows of the squares (k, n_inputs) of a function's Jacobians."""
    shape = vae.n_components_, vae.net_.module_.likelihood.n_inputs
    total = np.zeros(shape)
    for part in row_slices(len(X), shape[0] * shape[1]):
        total += (jacobian(vae, X[part], None if C is None else C[part]) ** 2).sum(axis=0)
    return total / len(X)


def _checked(estimator, X, condition, who):
    """The model, and rows and conditions as it takes them."""
    before, vae = steps_and_vae(estimator, who)
    X = vae._encodable(X if before is None else before.transform(X))
    return vae, X, vae._conditions_of(condition, len(X))


def _dense(X):
    return np.asarray(X if isinstance(X, np.ndarray) else X[:], dtype=np.float64)


def _moved(vae, X, C):
    """`decoder_jacobian` of checked rows."""
    mean = vae._posterior(X, C)[0]
    derivatives = decoder_derivatives(vae.net_, vae.coordinates_, mean, C)
    return np.stack(list(derivatives), axis=1)


def _listened(vae, X, C):
    """`encoder_jacobian` of checked rows."""
    X = _dense(X)
    return _listened_to_numbers(vae, X, C) + _made_by_categories(vae, X, C)


def _listened_to_numbers(vae, X, C):
    """`encoder_jacobian` of checked rows, 0 of the features that stand for categories."""
    likelihood, coordinates = vae.net_.module_.likelihood, vae.coordinates_
    jacobian = vae._apply(
        _encoder_derivatives,
        _dense(X),
        condition=C,
        prepare=vae._units,
        vectors_per_row=vae.n_components_,
    )
    jacobian = jacobian.astype(np.float64) * coordinates.scale[:, None] / likelihood.feature_scale
    return np.where(likelihood.feature_columns()[1] >= 0, 0.0, jacobian[:, coordinates.order])


def _made_by_categories(vae, X, C):
    """The difference that each category makes to T of rows X (n, n_features), (n, k, n_inputs); 0
    of all other features."""
    likelihood = vae.net_.module_.likelihood
    made = np.zeros((len(X), vae.n_components_, likelihood.n_inputs))
    columns, codes = likelihood.feature_columns()
    frequencies = likelihood.frequencies()
    for column in np.unique(columns[codes >= 0]):
        features = np.flatnonzero(columns == column)
        # Many rows of all columns at once: a call for each category would take most of the time.
        for part in row_slices(len(features), X.size):
            changed = np.tile(X, (len(features[part]), 1))
            changed[:, column] = np.repeat(codes[features[part]], len(X))
            c = None if C is None else np.tile(C, (len(features[part]), 1))
            T = vae.coordinates_.to_public(vae._posterior(changed, c)[0])
            T = T.reshape(-1, len(X), vae.n_components_)
            made[:, :, features[part]] = np.moveaxis(T, 0, 2)
        of_codes = made[:, :, features]
        of_codes = of_codes - (of_codes @ frequencies[features])[:, :, None]
        of_codes[np.isnan(X[:, column])] = 0.0
        made[:, :, features] = of_codes
    return made


def _encoder_derivatives(module, x, condition=None):
    """Derivatives (n, k, n_inputs) of the posterior means by the features of working-unit rows."""
    with torch.inference_mode(False), torch.enable_grad():
        # What inference mode made takes no part in gradients.
        x, mask = module.observed(x.clone())
        condition = None if condition is None else condition.clone()
        features = module.likelihood.features(x).detach().requires_grad_()
        mean = module.inputs_and_posterior_of_features(features, mask, condition)[1].mean
        # Rows do not see each other, so that a sum over them has the derivatives of each.
        gradients = [
            torch.autograd.grad(latent.sum(), features, retain_graph=True)[0] for latent in mean.T
        ]
        return torch.stack(gradients, dim=1)
