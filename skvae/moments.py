"""Means, variances and covariances of many rows, taken in a chunk at a time."""

import numpy as np

# Values in a chunk: 32 MiB in float64.
_CHUNK_VALUES = 2**22


def row_slices(n_rows, n_columns):
    """Yield the consecutive slices of the rows that chunks are made of."""
    size = max(1, _CHUNK_VALUES // max(1, n_columns))
    for first in range(0, n_rows, size):
        yield slice(first, min(first + size, n_rows))


def some_rows(n_rows, at_most):
    """Positions of a random part of the rows, the same each time; all of them where there are
    few."""
    if n_rows <= at_most:
        return np.arange(n_rows)
    return np.sort(np.random.RandomState(0).choice(n_rows, at_most, replace=False))


def repeated(weight, at_most, least=0):
    """Positions of rows, each as often as its weight (n,) says: exactly so for whole weights whose
    sum is at most `at_most`, else in proportion, by systematic sampling; `least` times as many as
    the rows, if there may be so many."""
    total = weight.sum()
    if total <= at_most and (weight == np.floor(weight)).all():
        return np.repeat(np.arange(len(weight)), weight.astype(int))
    # Equal weights give each row as often as every other.
    count = min(at_most, max(1, round(total), least * len(weight)))
    marks = (np.arange(count) + 0.5) * (total / count)
    return np.searchsorted(np.cumsum(weight), marks).clip(max=len(weight) - 1)


class Moments:
    """Mean and second moments of rows, in float64.

    Parameters
    ----------
    full : bool, default=False
        Whether to keep products of columns too: the covariance and not the variances alone.

    Attributes
    ----------
    count : int or float
        Rows so far, each as often as its weight says.
    rows : int
        Rows so far, each once.
    mean : ndarray of shape (n_columns,)
    products : ndarray of shape (n_columns,), or (n_columns, n_columns) if `full`
        Sums over the rows of the products of deviations from the mean.

    References
    ----------
    T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating Formulae and a Pairwise Algorithm for
    Computing Sample Variances", COMPSTAT 1982 (the merging of two parts).
    """

    def __init__(self, full=False):
        self.full = full
        self.count = self.rows = 0
        self.mean = self.products = 0.0

    def add(self, rows, weight=None):
        """Take in rows, shape (n, n_columns), each as often as its weight (n,) says, and return the
        moments."""
        count = len(rows) if weight is None else float(weight.sum())
        mean = rows.mean(axis=0) if weight is None else np.average(rows, axis=0, weights=weight)
        centred = rows - mean
        times = centred if weight is None else centred * weight[:, None]
        products = times.T @ centred if self.full else (times * centred).sum(axis=0)
        return self._joined(count, len(rows), mean, products)

    def merge(self, other):
        """Take in the rows of other moments, and return the moments."""
        return self._joined(other.count, other.rows, other.mean, other.products)

    def _joined(self, count, n_rows, mean, products):
        if self.count:
            total = self.count + count
            shift = mean - self.mean
            between = np.outer(shift, shift) if self.full else shift**2
            products = products + self.products + between * (self.count * count / total)
            mean = self.mean + shift * (count / total)
        self.count += count
        self.rows += n_rows
        self.mean, self.products = mean, products
        return self

    def variance(self):
        """Variance of each column, shape (n_columns,), the sum divided by count - 1."""
        squares = self.products.diagonal() if self.full else self.products
        return squares / max(self.count - 1, 1)

    def stand_in(self, n_rows, ddof=1):
        """About `n_rows` rows with these means and this covariance, for methods that look at no
        more; at least two a column. `ddof` is that of the method's covariance."""
        n_columns = len(self.mean)
        copies = max(1, n_rows // (2 * n_columns))
        # Of unit columns, so that no column is lost to rounding beside a much larger one.
        deviations = np.sqrt(self.products.diagonal())
        unit = np.where(deviations > 0, deviations, 1.0)
        values, vectors = np.linalg.eigh(self.products / np.outer(unit, unit))
        root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T * unit
        n_made = 2 * n_columns * copies
        # The eigenvectors are exact to rounding alone, and a column is constant exactly.
        root[:, deviations == 0] = 0.0
        root *= np.sqrt((n_made - ddof) / (2 * copies * (self.count - ddof)))
        return self.mean + np.tile(np.vstack([root, -root]), (copies, 1))


class RowSample:
    """A random part of the rows of a stream, each as likely to be in it as any other.

    Parameters
    ----------
    at_most : int
        Rows to keep.
    seed : int, default=0

    Attributes
    ----------
    rows : ndarray of shape (n, n_columns), float64
    count : int
        Rows so far.

    References
    ----------
    J. S. Vitter, "Random Sampling with a Reservoir", ACM Transactions on Mathematical Software
    11, 1985, algorithm R.
    """

    def __init__(self, at_most, seed=0):
        self.at_most = at_most
        self.seed = seed
        self.rows = None
        self.count = 0

    def add(self, rows):
        """Take in rows, shape (n, n_columns)."""
        first = self.at_most - self.count
        if first > 0:
            kept = np.array(rows[:first])
            self.rows = kept if self.rows is None else np.vstack([self.rows, kept])
        later = np.arange(max(first, 0), len(rows))
        # The number of the row in the stream, and a place in the sample, if it gets one.
        numbers = self.count + later + 1
        random = np.random.RandomState([self.seed, self.count % 2**32])
        places = (random.uniform(size=len(later)) * numbers).astype(int)
        taken = places < self.at_most
        # Assignment in order: of two rows with one place the later one gets it.
        self.rows[places[taken]] = rows[later[taken]]
        self.count += len(rows)
