"""Sparse rows: the bits of dense ones, a batch at a time, and every problem located."""

import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

import skvae.start
from skvae import VAETransformer
from skvae._input import SparseRows

FORMATS = ["csr_matrix", "csr_array", "csc_matrix", "csc_array", "coo_array", "lil_matrix"]


def counts(n_samples=120, n_features=7):
    """Counts of two factors, two thirds of them zero."""
    rng = np.random.RandomState(0)
    rates = np.exp(rng.normal(size=(n_samples, 2)) @ rng.normal(size=(2, n_features)) - 1)
    return rng.poisson(rates)


def small(likelihood="negative_binomial", **params):
    defaults = {"hidden_layer_sizes": (16,), "max_epochs": 3, "random_state": 0}
    return VAETransformer(2, likelihood=likelihood, **(defaults | params))


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(kind, np.int64) for kind in FORMATS]
    + [("csr_array", dtype) for dtype in (np.float64, np.float32, np.uint8, bool)],
)
def test_sparse_equals_dense(kind, dtype):
    X = counts().astype(dtype)
    S = getattr(sparse, kind)(X)
    dense, of_sparse = small().fit(X), small().fit(S)
    assert of_sparse.transform(S).dtype == dense.transform(X).dtype
    assert_array_equal(of_sparse.transform(S), dense.transform(X))
    assert_array_equal(of_sparse.transform(X), dense.transform(S))
    assert_array_equal(of_sparse.score_samples(S), dense.score_samples(X))
    assert_array_equal(of_sparse.elbo(S).kl, dense.elbo(X).kl)
    assert_array_equal(of_sparse.components_, dense.components_)
    assert_array_equal(
        of_sparse.sample_posterior(S, 2, random_state=0), dense.sample_posterior(X, 2, 0)
    )


@pytest.mark.parametrize(
    "law", ["gaussian", "diagonal_gaussian", "poisson", "multinomial", "categorical", "auto"]
)
def test_laws(law):
    X = counts() + (law == "multinomial")
    S = sparse.csr_array(X)
    dense, of_sparse = small(law).fit(X), small(law).fit(S)
    assert of_sparse.likelihood_ == dense.likelihood_
    assert_array_equal(of_sparse.score_samples(S), dense.score_samples(X))


def test_is_pca_before_training():
    X = counts().astype(float)
    start = small("gaussian", max_epochs=0).fit(sparse.csc_array(X))
    pca = PCA(2).fit(X)
    np.testing.assert_allclose(start.transform(sparse.csr_array(X)), pca.transform(X), atol=1e-8)
    np.testing.assert_allclose(start.score_samples(X), pca.score_samples(X))


def test_stream():
    X = counts()
    dense, of_sparse = small(), small()
    for rows in np.array_split(X, 3):
        dense.partial_fit(rows)
        of_sparse.partial_fit(sparse.csc_matrix(rows))
    assert_array_equal(of_sparse.transform(X), dense.transform(X))


def test_batch_transform_gets_dense_rows():
    def halved(rows):
        assert not rows.is_sparse
        return rows // 2

    X = counts()
    dense = small(batch_transform=halved).fit(X)
    assert_array_equal(
        small(batch_transform=halved).fit(sparse.csr_array(X)).components_, dense.components_
    )


def test_never_dense_at_once(monkeypatch):
    """No more rows are made dense together than a chunk or the start has."""
    monkeypatch.setattr("skvae.moments._CHUNK_VALUES", 20 * 7)
    monkeypatch.setattr(skvae.start, "_START_VALUES", 50 * 7)
    monkeypatch.setattr(skvae.start, "_GAIN_ROWS", 50)
    monkeypatch.setattr("skvae.net._INFERENCE_ELEMENTS", {"cpu": 50 * 16})
    asked, take = [], SparseRows.__getitem__

    def counted(self, rows):
        dense = take(self, rows)
        asked.append(len(dense))
        return dense

    monkeypatch.setattr(SparseRows, "__getitem__", counted)
    S = sparse.csr_array(counts())
    estimator = small(batch_size=16).fit(S)
    estimator.transform(S)
    estimator.score_samples(S)
    assert max(asked) <= 50
    assert sum(asked) > 10 * 120


def test_pipeline_and_search():
    S = sparse.csr_array(counts())
    pipeline = make_pipeline(MaxAbsScaler(), small("gaussian"))
    assert pipeline.fit(S).transform(S).shape == (120, 2)
    search = GridSearchCV(small(), {"n_components": [1, 2]}, cv=2).fit(S)
    assert np.isfinite(search.best_score_)


@pytest.mark.parametrize("kind", ["csr_array", "csc_matrix", "coo_array"])
def test_problems_are_located(kind):
    X = counts().astype(float)
    X[7, 3], X[9, 5] = np.nan, np.inf
    message = "first such value is nan at row 7, column 3; there are 2 in 2 column(s): 3, 5."
    with pytest.raises(ValueError, match=re.escape(message)):
        small().fit(getattr(sparse, kind)(X))
    X = counts().astype(float)
    X[7, 3] = 0.5
    with pytest.raises(ValueError, match=r"found 0.5 at row 7, column 3"):
        small().fit(getattr(sparse, kind)(X))


def test_refused():
    S = sparse.csr_array(counts())
    fitted = small().fit(S)
    with pytest.raises(ValueError, match="X has 6 features"):
        fitted.transform(S[:, :6])
    with pytest.raises(ValueError, match="Complex data not supported"):
        fitted.transform(S.astype(complex))
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        fitted.inverse_transform(sparse.csr_array(fitted.transform(S)))
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        small().fit(S[:1])


def test_entries_given_twice_are_summed():
    X = counts()
    once = sparse.coo_array(X)
    twice = sparse.coo_array(
        (np.tile(once.data, 2), (np.tile(once.row, 2), np.tile(once.col, 2))), shape=X.shape
    )
    fitted = small().fit(X)
    assert_array_equal(fitted.transform(twice), fitted.transform(2 * X))
