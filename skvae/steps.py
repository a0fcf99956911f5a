"""The steps of an estimator: those before the model, and the model."""

from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .transformer import VAETransformer


def steps_and_model(estimator):
    """The last step of a fitted estimator, and those before it.

    A search stands for its `best_estimator_`, and a Pipeline may end in another one.

    Returns
    -------
    before : Pipeline or None
        None where the model stands alone.
    model : estimator

    Raises
    ------
    NotFittedError
    """
    check_is_fitted(estimator)
    before, model = [], estimator
    while True:
        if hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        elif isinstance(model, Pipeline) and len(model):
            before += [model[:-1]] if len(model) > 1 else []
            model = model[-1]
        else:
            break
    if len(before) > 1:
        before = [Pipeline([(str(i), steps) for i, steps in enumerate(before)])]
    return before[0] if before else None, model


def steps_and_vae(estimator, who):
    """`steps_and_model` for `who` needs a VAETransformer.

    Raises
    ------
    NotFittedError
    TypeError
        If the model is another.
    """
    before, model = steps_and_model(estimator)
    if not isinstance(model, VAETransformer):
        found = type(model).__name__ if not isinstance(model, str) else repr(model)
        raise TypeError(
            f"{who} needs a fitted VAETransformer, alone or as the last step of a Pipeline; got "
            f"{found}.{_hint(model)}"
        )
    return before, model


def _hint(model):
    """Where the VAETransformer of such a model is, if it has one."""
    if isinstance(model, BaseSearchCV):
        return " (A search with refit=False keeps no model.)"
    if not isinstance(getattr(model, "estimator_", None), VAETransformer):
        return ""
    if getattr(model, "scaler_", None) is not None:
        return " (Its own is make_pipeline(model.scaler_, model.estimator_).)"
    return " (Its own is its `estimator_`.)"
