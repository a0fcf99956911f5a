"""The benchmarks' data sets, dequantized once for all methods.

scikit-learn's bundled sets need nothing. The others are read from the folder that the environment
variable SKVAE_DATA names; MNIST and Fashion-MNIST fall back to OpenML.
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.datasets import (
    fetch_openml,
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
)

_SEED = 0


class Unavailable(Exception):
    """The data set is neither in SKVAE_DATA nor to be had otherwise."""


@dataclass(frozen=True)
class Dataset:
    """Rows without constant columns, dequantized, in their own units.

    Attributes
    ----------
    name : str
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,), or None where there is nothing to predict
    task : {"classification", "regression", None}
    quanta : ndarray of shape (n_features,)
        Width of the uniform noise that was added to each column, 0 where none was.
    n_dropped : int
        Constant columns that were dropped.
    n_train : int or None
        Where the set has a test part of its own: the number of leading rows that train.
    """

    name: str
    X: np.ndarray
    y: np.ndarray | None
    task: str | None
    quanta: np.ndarray
    n_dropped: int
    n_train: int | None = None

    @property
    def is_image(self):
        """Whether the columns are pixels in [0, 1], which are not standardized."""
        return self.n_train is not None


def load(name):
    """The data set of that name.

    Raises
    ------
    KeyError
        If there is no such name in `LOADERS`.
    Unavailable
        If its file is missing.
    """
    return LOADERS[name](name)


def column_quantum(column):
    """The width of the uniform noise that a column of values gets; 0 if it needs none.

    A column is quantized where values repeat: at least one row in 256, and at least three rows,
    hold its commonest value. That finds columns of at most 256 values, and continuous ones with an
    atom (a word frequency that is mostly zero). The quantum is the median spacing of the distinct
    values: the unit of an integer column, and, unlike the smallest spacing, neither the rounding
    error of a column that its authors rescaled nor a rare half step.
    """
    values, counts = np.unique(column, return_counts=True)
    if len(values) < 2 or counts.max() < max(3, len(column) / 256):
        return 0.0
    return float(np.median(np.diff(values)))


def dequantize(X, quantum=None):
    """X without its constant columns and with uniform noise in [0, quantum) on quantized ones.

    A density on values that repeat is unbounded: a model that puts a spike on each of them gains
    any number of nats and has learned nothing. With the noise, the mean log density in units of the
    quantum is a lower bound of the mean log probability of the values, so that no spike narrower
    than a quantum pays. The seed is fixed: every method sees the same rows.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    quantum : float, optional
        The known quantum of all columns, as of pixels; by default `column_quantum` of each.

    Returns
    -------
    X : ndarray of shape (n_samples, n_kept)
    quanta : ndarray of shape (n_kept,)
    """
    X = X[:, X.min(axis=0) != X.max(axis=0)]
    if quantum is None:
        quanta = np.array([column_quantum(column) for column in X.T])
    else:
        quanta = np.full(X.shape[1], quantum)
    # float32 is enough for pixels, and halves the memory.
    dtype = np.float32 if X.dtype == np.uint8 else np.float64
    noise = np.random.default_rng(_SEED).random(X.shape, dtype=dtype)
    noise *= quanta.astype(dtype)
    noise += X
    return noise, quanta


def _dataset(name, X, y=None, task=None, *, quantum=None):
    dequantized, quanta = dequantize(np.asarray(X, dtype=np.float64), quantum)
    return Dataset(name, dequantized, y, task, quanta, X.shape[1] - len(quanta))


def _bundled(name, load, task, quantum=None):
    X, y = load(return_X_y=True)
    return _dataset(name, X, y, task, quantum=quantum)


def _regression(name):
    X, y = _arrays(f"regression/{_REGRESSION[name]}.npz", "X", "y")
    return _dataset(name, X, y.ravel(), "regression")


def _outliers(name, quantum=None):
    """The normal rows of a set for outlier detection."""
    X, y = _arrays(f"{name}.npz", "X", "y")
    return _dataset(name, X[y.ravel() == 0], quantum=quantum)


def load_images(name):
    """Images as they are: X, y, X_test, y_test, with X of shape (n, 784) in grey levels, uint8.

    Parameters
    ----------
    name : {"mnist", "fashion_mnist"}

    Raises
    ------
    Unavailable
        If SKVAE_DATA does not hold them and OpenML does not answer.
    """
    try:
        X, y, X_test, y_test = _arrays(f"{name}.npz", "X_train", "y_train", "X_test", "y_test")
    except Unavailable as reason:
        try:
            X, y = fetch_openml(_OPENML[name], version=1, return_X_y=True, as_frame=False)
        except OSError as error:
            raise Unavailable(f"{reason}, and OpenML does not answer: {error}") from error
        X, X_test, y, y_test = X[:_TRAIN], X[_TRAIN:], y[:_TRAIN], y[_TRAIN:]
    X, X_test = (images.reshape(len(images), -1).astype(np.uint8) for images in (X, X_test))
    return X, y.astype(int), X_test, y_test.astype(int)


def _images(name, images):
    """All 70,000 images, the 60,000 that train first, of pixels in [0, 1]."""
    X, y, X_test, y_test = load_images(images)
    pixels, labels = np.concatenate([X, X_test]), np.concatenate([y, y_test])
    X, quanta = dequantize(pixels, quantum=1.0)
    X /= 255
    n_dropped = pixels.shape[1] - len(quanta)
    return Dataset(name, X, labels, "classification", quanta / 255, n_dropped, n_train=_TRAIN)


def _arrays(file, *keys):
    folder = os.environ.get("SKVAE_DATA")
    if folder is None:
        raise Unavailable("SKVAE_DATA is not set")
    path = Path(folder, file)
    if not path.exists():
        raise Unavailable(f"SKVAE_DATA has no {file}")
    with np.load(path) as arrays:
        return [arrays[key] for key in keys]


_OPENML = {"mnist": "mnist_784", "fashion_mnist": "Fashion-MNIST"}
_TRAIN = 60_000
_REGRESSION = {
    "concrete": "concrete",
    "energy": "energy",
    "kin8nm": "kin8nm",
    "naval": "naval-propulsion-plant",
    "power-plant": "power-plant",
    "protein": "protein-tertiary-structure",
    "wine-quality": "wine-quality-red",
    "yacht": "yacht",
}
_OUTLIERS = (
    "annthyroid",
    "breastw",
    "cardio",
    "glass",
    "hepatitis",
    "ionosphere",
    "letter",
    "mammography",
    "pendigits",
    "pima",
    "satellite",
    "shuttle",
    "spambase",
    "stamps",
    "thyroid",
    "vowels",
    "wbc",
    "wine",
    "yeast",
)

LOADERS = {
    "iris": partial(_bundled, load=load_iris, task="classification"),
    "wine": partial(_bundled, load=load_wine, task="classification"),
    "breast_cancer": partial(_bundled, load=load_breast_cancer, task="classification"),
    "digits": partial(_bundled, load=load_digits, task="classification", quantum=1.0),
    "diabetes": partial(_bundled, load=load_diabetes, task="regression"),
    **dict.fromkeys(_REGRESSION, _regression),
    **{f"outliers/{name}": _outliers for name in _OUTLIERS},
    # Pixels of 0 to 16, as in scikit-learn's digits.
    "outliers/optdigits": partial(_outliers, quantum=1.0),
    "mnist": partial(_images, images="mnist"),
    "fashion": partial(_images, images="fashion_mnist"),
}
