"""X as the estimator takes it: scikit-learn's checks, with every problem located."""

from numbers import Integral

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.utils._missing import is_pandas_na, is_scalar_nan
from sklearn.utils.validation import check_array, validate_data

FLOATS = [np.float64, np.float32]


def checked_rows(
    estimator,
    X,
    *,
    reset,
    allow_missing=False,
    accept_sparse="csr",
    table=None,
    handle_unknown="error",
):
    """X as finite rows of two dimensions, checked by scikit-learn's `validate_data`.

    Arrays of floats, integers and bools, `numpy.memmap` among them, are neither copied nor cast,
    and neither is a CSR matrix; of another sparse format a CSR copy is made.

    Parameters
    ----------
    estimator : BaseEstimator
        Its `n_features_in_` and `feature_names_in_` are set if `reset`, else compared.
    X : {array-like, sparse matrix or array} of shape (n_samples, n_features)
    reset : bool
        True in `fit`.
    allow_missing : bool, default=False
        Whether cells may be missing: NaN, None or `pandas.NA`, all of them NaN in what is returned.
    accept_sparse : "csr" or False, default="csr"
    table : Table, optional
        What makes numbers of the columns of X.
    handle_unknown : {"error", "missing"}, default="error"
        What a category is that `table` does not know.

    Returns
    -------
    ndarray or SparseRows of shape (n_samples, n_features), of float64, float32, integers or bools

    Raises
    ------
    ValueError
        scikit-learn's, with the row and the column of the first offending value added.
    """
    if table is not None:
        return _rows_of_table(estimator, X, table, reset, allow_missing, handle_unknown)
    try:
        if allow_missing:
            X = _with_nan(X)
        checked = validate_data(
            estimator,
            X,
            accept_sparse=accept_sparse,
            dtype="numeric",
            reset=reset,
            ensure_min_samples=2 if reset else 1,
            ensure_all_finite="allow-nan" if allow_missing else True,
        )
        if checked.dtype not in FLOATS and checked.dtype.kind not in "iub":
            checked = check_array(
                checked,
                accept_sparse=accept_sparse,
                dtype=np.float64,
                ensure_all_finite="allow-nan" if allow_missing else True,
            )
        return SparseRows(checked) if issparse(checked) else checked
    except (ValueError, TypeError) as error:
        place = _first_problem(X, allow_missing, getattr(X, "columns", None))
        if place is None:
            raise
        if reset and any(words in str(error) for words in _OF_OTHER_COLUMNS):
            place += " likelihood='auto' takes tables of numbers, categories and dates"
            place += (
                "." if hasattr(X, "columns") else ", as a DataFrame or with categorical_features."
            )
        raise type(error)(_with_place(error, place, allow_missing)) from error


def _rows_of_table(estimator, X, table, reset, allow_missing, handle_unknown):
    if not hasattr(X, "columns"):
        X = np.asarray(X, dtype=None if isinstance(X, np.ndarray) else object)
        check_array(X, dtype=None, ensure_all_finite=False, ensure_min_samples=0)
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    rows = table.encode(X, handle_unknown=handle_unknown)
    try:
        return check_array(
            rows,
            ensure_min_samples=2 if reset else 1,
            ensure_all_finite="allow-nan" if allow_missing else True,
        )
    except ValueError as error:
        place = _first_problem(rows, allow_missing, table.names)
        if place is None:
            raise
        raise ValueError(_with_place(error, place, allow_missing)) from error


class SparseRows:
    """The rows of a CSR matrix, indexed like those of an array: what is asked for is made dense,
    and nothing else is.

    Parameters
    ----------
    matrix : sparse matrix or array in CSR format, of shape (n_samples, n_features)
    """

    def __init__(self, matrix):
        # Of an array a slice has two dimensions, whatever is asked for; its parts are shared.
        self._matrix = csr_array(matrix)
        self.shape, self.dtype = matrix.shape, matrix.dtype

    def __len__(self):
        return self.shape[0]

    def n_missing(self):
        """How many cells of each row are NaN, shape (n_samples,)."""
        entries = np.repeat(np.arange(len(self)), np.diff(self._matrix.indptr))
        return np.bincount(entries[np.isnan(self._matrix.data)], minlength=len(self))

    def kept(self, mask):
        """The rows where a mask (n_samples,) is True, sparse as these are."""
        return SparseRows(self._matrix[mask])

    def __getitem__(self, rows):
        """The rows of a slice or of an array of indices, as an ndarray."""
        return self._matrix[rows].toarray()


def check_count(name, count, least=1):
    """Raise a ValueError where what is called `name` is no int of at least so many."""
    if not isinstance(count, Integral) or isinstance(count, bool) or count < least:
        raise ValueError(f"{name} must be an int of at least {least}, got {count!r}.")


def float_dtype(X):
    """The dtype in which what is computed from X is returned: float32 for float32, else float64."""
    return np.dtype(np.float32 if X.dtype == np.float32 else np.float64)


def column_namer(estimator):
    """A function from a column's position to how messages call it: its name where X had names."""
    names = getattr(estimator, "feature_names_in_", None)
    return str if names is None else lambda column: repr(str(names[column]))


# What scikit-learn and numpy say of columns that are no numbers.
_OF_OTHER_COLUMNS = "could not convert string", "bytes/strings", "could not be promoted"


def _with_place(error, place, allow_missing):
    """scikit-learn's words, which are many and of other estimators where cells are missing, and the
    place."""
    cure = ""
    if not allow_missing and "NaN" in str(error):
        cure = (
            "X has missing cells; a model fitted with missing_values='observed' takes them as not "
            "seen.\n"
        )
    return f"{cure}{error}\n{place}"


def _first_problem(X, allow_missing, names):
    """Where X holds something that is not a finite number, or a missing one where these are
    allowed, in words; None if nothing is found."""
    if issparse(X):
        X = X.tocoo()
        wrong = np.flatnonzero(~np.isfinite(X.data)) if X.dtype.kind == "f" else []
        if not len(wrong):
            return None
        order = np.lexsort((X.col[wrong], X.row[wrong]))
        first = wrong[order[0]]
        return _located(X.data[first], X.row[first], X.col[wrong], X.col[first], [])
    names = [] if names is None else list(names)
    try:
        values = np.asarray(X, dtype=object) if hasattr(X, "columns") else np.asarray(X)
    except (ValueError, TypeError):
        return None
    if values.ndim != 2:
        return None
    wrong = np.zeros(values.shape, dtype=bool)
    if values.dtype.kind == "f":
        wrong = np.isinf(values) if allow_missing else ~np.isfinite(values)
    elif values.dtype.kind in "OUSc":
        fine = np.vectorize(_is_finite_number, otypes=[bool])(values)
        if allow_missing:
            fine |= np.vectorize(_is_missing, otypes=[bool])(values)
        wrong = ~fine
    if not wrong.any():
        return None
    row, column = np.argwhere(wrong)[0]
    return _located(values[row, column], row, np.argwhere(wrong)[:, 1], column, names)


def _located(value, row, columns, column, names):
    """A sentence on the first wrong value; `columns` are those of all of them, with repeats."""
    value = value.item() if isinstance(value, np.generic) else value

    def name(j):
        return repr(names[j]) if names else str(j)

    count, columns = len(columns), np.unique(columns)
    listed = ", ".join(map(name, columns[:5])) + (", ..." if len(columns) > 5 else "")
    return (
        f"The first such value is {value!r} at row {row}, column {name(column)}; there are "
        f"{count} in {len(columns)} column(s): {listed}."
    )


def _is_missing(value):
    """Whether a cell is None, NaN or `pandas.NA`."""
    return value is None or is_pandas_na(value) or is_scalar_nan(value)


def _with_nan(X):
    """X with NaN for what pandas calls missing in columns of objects, which numpy cannot cast."""
    if hasattr(X, "dtypes") and hasattr(X, "mask"):
        objects = any(str(dtype) == "object" for dtype in X.dtypes)
        return X.mask(X.isna(), np.nan) if objects else X
    if isinstance(X, list):
        cells = np.array(X, dtype=object) if all(isinstance(row, list) for row in X) else None
        missing = cells is not None and cells.ndim == 2 and any(map(_is_missing, cells.flat))
        X = cells if missing else X
    if isinstance(X, np.ndarray) and X.dtype == object:
        return np.where(np.vectorize(_is_missing, otypes=[bool])(X), np.nan, X)
    return X


def _is_finite_number(value):
    if isinstance(value, complex | np.complexfloating):
        return False
    try:
        return bool(np.isfinite(float(value)))
    except (TypeError, ValueError):
        return False
