"""diagnose: what a fitted model's latents, bounds, training and columns say, and what is wrong."""

from dataclasses import replace

from .._input import check_count
from .._random import draw_seed
from ..findings import findings_of
from ..scores import bounds
from ..steps import steps_and_vae
from .columns import columns_of
from .gains import gains_of, means_of_bounds
from .latents import latents_of
from .record import Diagnosis
from .rows import GivenRows
from .training import gaps_by_history, training_of

__all__ = ["Diagnosis", "diagnose"]


def diagnose(
    estimator,
    X,
    *,
    X_train=None,
    condition=None,
    condition_train=None,
    n_draws=100,
    random_state=None,
):
    """What is wrong with a fitted model, and what to change, in numbers and in words.

    Parameters
    ----------
    estimator : VAETransformer, or a Pipeline or search that ends in one
        Fitted.
    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
        Rows of the kind that the model is for, best ones that it was not fitted to; at least 20. Of
        more than 5,000 a random part is looked at. With a `batch_transform`, rows as it leaves
        them.
    X_train : {array-like, sparse matrix, DataFrame} or None, default=None
        The rows that the model was fitted to, where X are others. Overfitting is then seen exactly;
        without them it is judged by what `history_` says of the training rows.
    condition, condition_train : array-like, Series or DataFrame or None, default=None
        Of the rows of X and of X_train, where the model was fitted with one.
    n_draws : int, default=100
        Draws of q(z|x) for each row, for the ELBO and log p(x).
    random_state : int, RandomState instance or None, default=None
        None takes the estimator's own `random_state`.

    Returns
    -------
    diagnosis : Diagnosis
        Print it; `diagnosis.findings` are what is found. The model is left as it is.

    Raises
    ------
    TypeError
        If `estimator` does not end in a VAETransformer.
    ValueError
        If there are fewer than 20 rows, if `n_draws` is not an int of at least 2, if there is a
        `condition_train` without X_train, or as `VAETransformer.score_samples` raises it.

    Notes
    -----
    A column is called off where its marginal differs by more than a tenth of the rows, and with a
    p-value, multiplied by the number of columns, below 0.01. Means are called different beyond
    three standard errors. In data that follow the model either is rare, whatever the number of
    columns; and a difference that is sure but small is no finding.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer, diagnose
    >>> X = load_iris().data
    >>> vae = VAETransformer(2, init="random", max_epochs=2, random_state=0).fit(X)
    >>> [finding.name for finding in diagnose(vae, X).warnings]
    ['undertrained']
    >>> vae = VAETransformer(2, random_state=0).fit(X)
    >>> diagnose(vae, X).warnings
    ()
    """
    check_count("n_draws", n_draws, least=2)
    if condition_train is not None and X_train is None:
        raise ValueError("condition_train is that of the rows X_train, and X_train is None.")
    before, model = steps_and_vae(estimator, "diagnose")
    seed = draw_seed(model.random_state if random_state is None else random_state)
    rows, train = GivenRows(model, before, X, condition, "X"), None
    if X_train is not None:
        train = GivenRows(model, before, X_train, condition_train, "X_train")
    log_prob, size, elbo, kl = bounds(model.net_, rows.X, seed, n_draws, rows.dtype, rows.C)
    measured = {"n_samples": len(rows.X), "n_draws": int(n_draws)}
    measured |= means_of_bounds(log_prob, size, elbo, kl)
    measured |= latents_of(model, rows, seed)
    measured |= training_of(model)
    is_start = measured["is_linear_start"]
    measured |= gains_of(model, rows, train, log_prob, seed, n_draws, is_start=is_start)
    if train is None:
        measured |= gaps_by_history(model, elbo, kl)
    measured |= columns_of(model, rows, before, seed)
    diagnosis = Diagnosis(**measured)
    return replace(diagnosis, findings=findings_of(model, diagnosis))
