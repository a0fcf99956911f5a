"""More rows than comfort: moments by chunks, rows of any dtype, memory that does not grow."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from joblib import Parallel, cpu_count, delayed
from sklearn.decomposition import PCA, FactorAnalysis

from skvae import VAETransformer, batches, moments, net, scores, start
from skvae._random import row_normals
from skvae.moments import Moments

SCALES = np.array([1e-6, 1.0, 30.0, 1e6, 2.0, 0.0])


def rows(n=900, seed=0):
    random = np.random.RandomState(seed)
    mixed = random.normal(size=(n, 6)) @ random.normal(size=(6, 6))
    return mixed * SCALES + random.normal(size=6) * 1e3 * SCALES + 7


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 16 rows, and a start that never sees more than 100 rows themselves."""
    monkeypatch.setattr(moments, "_CHUNK_VALUES", 96)
    monkeypatch.setattr(start, "_START_VALUES", 600)


def test_moments_of_chunks_are_those_of_all_rows(small_chunks):
    X = rows()
    parts = [X[part] for part in moments.row_slices(*X.shape)]
    assert len(parts) == 57
    for full in (False, True):
        taken = Moments(full)
        for part in parts:
            taken.add(part)
        assert taken.count == len(X)
        np.testing.assert_allclose(taken.mean, X.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(taken.variance(), X.var(axis=0, ddof=1), rtol=1e-10)
    unit = np.outer(*2 * [np.where(SCALES > 0, SCALES, 1.0)])
    for ddof in (0, 1):
        stand_in = taken.stand_in(200, ddof=ddof)
        assert len(stand_in) == 192
        expected = np.cov(X.T, ddof=ddof) / unit
        np.testing.assert_allclose(np.cov(stand_in.T, ddof=ddof) / unit, expected, atol=1e-9)
        np.testing.assert_allclose(stand_in.mean(axis=0), X.mean(axis=0), rtol=1e-9)


def test_exact_at_zero_epochs_on_the_moments_alone(small_chunks):
    X = rows()
    vae, pca = VAETransformer(2, max_epochs=0).fit(X), PCA(2, svd_solver="full").fit(X)
    np.testing.assert_allclose(vae.transform(X), pca.transform(X), atol=1e-6 * X.std())
    np.testing.assert_allclose(vae.explained_variance_, pca.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(
        vae.explained_variance_ratio_, pca.explained_variance_ratio_, rtol=1e-9
    )
    np.testing.assert_allclose(vae.mean_, pca.mean_, rtol=1e-9)

    varying = X[:, 1:5] / SCALES[1:5]
    vae, pca = VAETransformer(2, max_epochs=0).fit(varying), PCA(2).fit(varying)
    spread = pca.score_samples(varying).std()
    assert np.abs(vae.score_samples(varying) - pca.score_samples(varying)).max() < 1e-6 * spread
    vae = VAETransformer(1, likelihood="diagonal_gaussian", max_epochs=0).fit(varying)
    fa = FactorAnalysis(1).fit(varying)
    spread = fa.score_samples(varying).std()
    assert np.abs(vae.score_samples(varying) - fa.score_samples(varying)).max() < 1e-3 * spread


def test_of_wide_rows_a_random_part_makes_the_start(monkeypatch):
    monkeypatch.setattr(start, "_START_VALUES", 6 * 300)
    monkeypatch.setattr(start, "_START_COLUMNS", 5)
    X = rows()[:, [1, 1, 2, 2, 4, 4]] / SCALES[[1, 1, 2, 2, 4, 4]]
    vae, pca = VAETransformer(2, max_epochs=0).fit(X), PCA(2).fit(X)
    gap = pca.score(X) - vae.score(X)
    assert 1e-6 < gap < 0.1


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_training_by_chunks(small_chunks, likelihood):
    random = np.random.RandomState(0)
    curve = random.uniform(-2, 2, size=(500, 1))
    X = np.hstack([curve, curve**2, -curve]) + 0.05 * random.normal(size=(500, 3))
    transform = None
    if likelihood == "bernoulli":
        X, transform = 1 / (1 + np.exp(-3 * X)), torch.bernoulli
    vae = VAETransformer(
        1, likelihood=likelihood, batch_transform=transform, max_epochs=40, lr=0.005, random_state=0
    ).fit(X)
    if likelihood == "gaussian":
        assert vae.score(X) > PCA(1).fit(X).score(X) + 0.5
    else:
        assert vae.best_epoch_ > 0
        assert vae.score(random.binomial(1, X)) > -3 * np.log(2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64, np.float16, bool])
def test_the_same_model_whatever_the_dtype(dtype):
    X = np.random.RandomState(0).randint(0, 2 if dtype is bool else 100, size=(120, 5))
    X[:, 2] = X[:, 0] * (X[:, 1] > 0)
    params = {"max_epochs": 3, "hidden_layer_sizes": (8,), "random_state": 0}
    expected = VAETransformer(2, **params).fit(X.astype(np.float64))
    found = VAETransformer(2, **params).fit(X.astype(dtype))
    T = found.transform(X.astype(dtype))
    assert T.dtype == np.float64
    np.testing.assert_array_equal(T, expected.transform(X.astype(np.float64)))
    np.testing.assert_array_equal(
        found.score_samples(X.astype(dtype)), expected.score_samples(X.astype(np.float64))
    )


def test_memory_of_fit_and_transform_does_not_grow_with_a_memmap(tmp_path, monkeypatch):
    n, d = 400_000, 16
    path = tmp_path / "rows.f32"
    file = np.memmap(path, dtype=np.float32, mode="w+", shape=(n, d))
    random = np.random.RandomState(0)
    for first in range(0, n, 50_000):
        z = random.normal(size=(50_000, 2))
        file[first : first + 50_000] = z @ random.normal(size=(2, d)) + random.normal(size=d)
    file.flush()
    X = np.memmap(path, dtype=np.float32, mode="r", shape=(n, d))
    monkeypatch.setattr(batches, "RESIDENT_BYTES", 0)
    monkeypatch.setattr(moments, "_CHUNK_VALUES", 2**17)
    monkeypatch.setattr(start, "_START_VALUES", 2**17)
    vae = VAETransformer(2, hidden_layer_sizes=(8,), max_epochs=1, batch_size=2**14, random_state=0)
    peaks = {}
    for part in (X[: n // 4], X):
        tracemalloc.start()
        vae.fit(part)
        peaks[len(part)] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # Positions of rows, eight bytes each and a few times over, are what grows.
    assert peaks[n] - peaks[n // 4] < 40 * (n - n // 4)
    assert peaks[n] < n * d * 4
    monkeypatch.setitem(net._INFERENCE_ELEMENTS, "cpu", 2**17)
    tracemalloc.start()
    T = vae.transform(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert T.dtype == np.float32
    assert peak < 6 * T.nbytes < n * d * 4


def test_draws_of_the_score_in_pieces(monkeypatch):
    X = rows(60)[:, [1, 2, 4]]
    # A posterior that is not exact, of which every draw says something else.
    vae = VAETransformer(
        2, beta=3.0, early_stopping=False, max_epochs=3, n_importance_samples=50, random_state=0
    ).fit(X)
    assert vae.score_details(X).effective_sample_size.max() < 49.5
    whole = vae.score_samples(X)
    monkeypatch.setattr(scores, "_DRAWS_AT_ONCE", 7)
    np.testing.assert_allclose(vae.score_samples(X), whole, rtol=1e-10)
    together = row_normals(X, 50, 2, 3)
    pieces = [row_normals(X, min(7, 50 - i), 2, 3, first=i) for i in range(0, 50, 7)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), together)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_batches_made_ahead_are_the_same(size, monkeypatch):
    X = rows(100)
    dataset = batches.Rows(X)
    expected = [batch["x"] for batch, _ in batches.Batches(dataset, size)]
    monkeypatch.setattr(batches.Rows, "ahead", True)
    # Page-locked memory needs a GPU.
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    made = [batch["x"] for batch, _ in batches.Batches(dataset, size)]
    assert len(made) == len(expected)
    for a, b in zip(made, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    # What goes wrong in the thread is raised here; a consumer that stops early is no trouble.
    next(iter(batches.Batches(dataset, size)))
    monkeypatch.setattr(batches.Rows, "batch", lambda self, indices: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(batches.Batches(dataset, size))


def test_only_rows_that_are_copied_to_a_gpu_are_made_ahead():
    X = rows(20)
    assert not batches.Rows(X).ahead
    dataset = batches.Rows(X)
    dataset.device = torch.device("cuda")
    assert dataset.ahead
    dataset.transform = torch.nn.Identity()
    assert not dataset.ahead


def test_resident_rows_and_batches_cast_one_by_one_are_the_same(monkeypatch):
    X = rows(100)
    for transform in (None, torch.abs):
        given = []
        for limit in (2**30, 0):
            monkeypatch.setattr(batches, "RESIDENT_BYTES", limit)
            dataset = batches.Rows(X, transform=transform)
            dataset.set_units(np.full(6, 0.5), np.full(6, 3.0))
            assert (dataset.resident is None) == (limit == 0)
            given.append(dataset.batch(torch.arange(10, 30))["x"])
        torch.testing.assert_close(*given, rtol=0, atol=0)
        expected = X[10:30] if transform is None else np.abs(X[10:30].astype(np.float32))
        np.testing.assert_allclose(given[0], (expected - 0.5) / 3, rtol=1e-6, atol=1e-6)


def test_a_transform_in_place_does_not_reach_the_resident_rows():
    X = rows(50)
    dataset = batches.Rows(X, transform=lambda x: x.mul_(2))
    dataset.set_units(np.zeros(6), np.ones(6))
    first, second = (dataset.batch(torch.arange(20))["x"] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def _threads_of_torch(_):
    return torch.get_num_threads()


def test_workers_do_not_share_out_more_threads_than_there_are_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = Parallel(n_jobs=2)(delayed(_threads_of_torch)(i) for i in range(2))
    assert sum(threads) <= max(2, cpu_count())


def test_a_stand_in_keeps_constant_columns_constant():
    random = np.random.RandomState(0)
    X = random.normal(size=(500, 40)) @ random.normal(size=(40, 40))
    X[:, [0, 7, 39]] = 0.0
    stand_in = Moments(full=True).add(X).stand_in(200)
    assert (stand_in[:, [0, 7, 39]] == 0).all()
    assert (stand_in[:, 1:7].std(axis=0) > 0).all()


def test_minkas_choice_knows_how_many_rows_there_are(monkeypatch):
    X = np.random.RandomState(0).normal(size=(60_000, 8)) * [3, 1.02, 1, 1, 1, 1, 1, 1]
    expected = PCA("mle", svd_solver="full").fit(X).n_components_
    # Fewer rows of the same covariance would leave more in doubt.
    assert PCA("mle", svd_solver="full").fit(X[:10_000]).n_components_ != expected
    monkeypatch.setattr(start, "_START_VALUES", 8 * 10_000)
    assert VAETransformer("mle", max_epochs=0).fit(X).n_components_ == expected


MILLION = """
import resource, warnings
import numpy as np, pandas as pd
from skvae import VAETransformer
random = np.random.RandomState(0)
n = 1_000_000
z = random.normal(size=n).astype(np.float32)
columns = {f"real{j}": j % 3 * z + random.normal(size=n).astype(np.float32) for j in range(8)}
columns |= {f"count{j}": random.poisson(np.exp(0.3 * z + j)).astype(np.int32) for j in range(4)}
columns["amount"] = np.where(z < 0.2, 0.0, np.exp(z))
columns["when"] = pd.to_datetime(random.randint(0, 9000, n), unit="D")
for j in range(5):
    codes = np.digitize(z + random.normal(size=n), np.linspace(-1, 1, 3 + 4 * j))
    columns[f"kind{j}"] = pd.Categorical.from_codes(codes, [f"v{i}" for i in range(4 + 4 * j)])
columns["flag"] = z + random.normal(size=n) > 0
frame = pd.DataFrame(columns)
frame.loc[::10, "amount"] = np.nan
assert frame.shape[1] == 20
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
before = peak()
warnings.simplefilter("ignore")
vae = VAETransformer(
    4, likelihood="auto", missing_values="observed", max_epochs=1, random_state=0
).fit(frame)
assert vae.transform(frame[:1000]).shape == (1000, 4)
print(peak() - before)
"""


@pytest.mark.slow
def test_a_million_rows_of_a_table_take_bounded_memory():
    """Beside the frame itself: its numbers (160 MB), they on the device (80), and chunks."""
    pytest.importorskip("pandas")
    found = subprocess.run(
        [sys.executable, "-c", MILLION], check=True, capture_output=True, text=True
    )
    assert float(found.stdout) < 1500
