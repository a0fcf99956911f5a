"""X as the estimator takes it: scikit-learn's checks, with every problem located."""

import numpy as np
from sklearn.utils.validation import check_array, validate_data

FLOATS = [np.float64, np.float32]


def checked_rows(estimator, X, *, reset):
    """X as a finite array of two dimensions, checked by scikit-learn's `validate_data`.

    Arrays of floats, integers and bools, `numpy.memmap` among them, are neither copied nor cast.

    Parameters
    ----------
    estimator : BaseEstimator
        Its `n_features_in_` and `feature_names_in_` are set if `reset`, else compared.
    X : array-like of shape (n_samples, n_features)
    reset : bool
        True in `fit`.

    Returns
    -------
    ndarray of shape (n_samples, n_features), of float64, float32, integers or bools

    Raises
    ------
    ValueError
        scikit-learn's, with the row and the column of the first offending value added.
    """
    try:
        checked = validate_data(
            estimator, X, dtype="numeric", reset=reset, ensure_min_samples=2 if reset else 1
        )
        kept = checked.dtype in FLOATS or checked.dtype.kind in "iub"
        return checked if kept else check_array(checked, dtype=np.float64)
    except (ValueError, TypeError) as error:
        place = _first_problem(X)
        if place is None:
            raise
        raise type(error)(f"{error}\n{place}") from error


def float_dtype(X):
    """The dtype in which what is computed from X is returned: float32 for float32, else float64."""
    return np.dtype(np.float32 if X.dtype == np.float32 else np.float64)


def column_namer(estimator):
    """A function from a column's position to how messages call it: its name where X had names."""
    names = getattr(estimator, "feature_names_in_", None)
    return str if names is None else lambda column: repr(str(names[column]))


def _first_problem(X):
    """Where X holds something that is not a finite number, in words; None if nothing is found."""
    names = list(getattr(X, "columns", []))
    try:
        values = np.asarray(X, dtype=object) if hasattr(X, "columns") else np.asarray(X)
    except (ValueError, TypeError):
        return None
    if values.ndim != 2:
        return None
    wrong = np.zeros(values.shape, dtype=bool)
    if values.dtype.kind == "f":
        wrong = ~np.isfinite(values)
    elif values.dtype.kind in "OUSc":
        wrong = ~np.vectorize(_is_finite_number, otypes=[bool])(values)
    if not wrong.any():
        return None
    row, column = np.argwhere(wrong)[0]
    value = values[row, column]
    value = value.item() if isinstance(value, np.generic) else value
    name = repr(names[column]) if names else str(column)
    columns = np.flatnonzero(wrong.any(axis=0))
    listed = ", ".join(repr(names[j]) if names else str(j) for j in columns[:5])
    return (
        f"The first such value is {value!r} at row {row}, column {name}; there are "
        f"{wrong.sum()} in {len(columns)} column(s): {listed}{', ...' if len(columns) > 5 else ''}."
    )


def _is_finite_number(value):
    if isinstance(value, complex | np.complexfloating):
        return False
    try:
        return bool(np.isfinite(float(value)))
    except (TypeError, ValueError):
        return False
