"""`partial_fit`: a stream of rows, a chunk at a time."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback, LRScheduler

from skvae import VAETransformer, transformer
from skvae.moments import RowSample


def curved(n=300, seed=0):
    random = np.random.RandomState(seed)
    t = random.uniform(-2, 2, size=n)
    return np.column_stack([t, t**2, -t, 3 * t]) + random.normal(size=(n, 4)) / 20


CHUNKS = [curved(seed=seed) for seed in range(8)]
FRESH = curved(1000, seed=99)


def small(k=2, **params):
    return VAETransformer(k, **({"hidden_layer_sizes": (16,), "random_state": 0} | params))


def streamed(estimator, chunks=CHUNKS):
    for chunk in chunks:
        assert estimator.partial_fit(chunk) is estimator
    return estimator


class Watch(Callback):
    """Rates, weights of the KL term and rows of each step, kept by the class: callbacks are
    cloned."""

    seen: list = []  # noqa: RUF012

    def on_batch_end(self, net, batch, training, **_):
        rates = [group["lr"] for group in net.optimizer_.param_groups]
        self.seen.append((rates, net.criterion_.warmup, batch[0]["x"]))


def test_the_first_chunk_gives_the_linear_start():
    vae = small(lr=1e-12).partial_fit(CHUNKS[0])
    pca = PCA(2, svd_solver="full").fit(CHUNKS[0])
    np.testing.assert_allclose(vae.transform(FRESH), pca.transform(FRESH), atol=1e-4)
    np.testing.assert_allclose(vae.score_samples(FRESH), pca.score_samples(FRESH), atol=1e-3)


def test_a_stream_learns_what_a_line_misses():
    vae = streamed(small(1, lr=0.01), 4 * CHUNKS)
    pca = PCA(1).fit(np.vstack(CHUNKS))
    assert vae.score(FRESH) > pca.score(FRESH) + 0.5
    assert vae.explained_variance_ratio_.sum() <= 1


def test_one_pass_a_call_at_a_constant_rate_and_full_beta():
    Watch.seen = []
    vae = streamed(small(callbacks=[Watch()], batch_size=100, beta=0.5, kl_warmup=0.5), CHUNKS[:3])
    assert [row["train_batch_count"] for row in vae.history_] == [3, 3, 3]
    assert all("valid_loss" not in row for row in vae.history_)
    rates, warmups, batches = zip(*Watch.seen, strict=True)
    assert all(rate == rates[0] for rate in rates)
    assert max(rates[0]) == vae.lr
    assert set(warmups) == {1.0} and vae.net_.criterion_.beta == 0.5
    assert sum(map(len, batches)) == sum(map(len, CHUNKS[:3]))
    steps = {int(state["step"]) for state in vae.net_.optimizer_.state.values()}
    assert steps == {9}


def test_each_call_has_an_order_of_its_own_and_the_whole_repeats():
    Watch.seen = []
    streamed(small(callbacks=[Watch()], batch_size=300), [CHUNKS[0]] * 2)
    (*_, first), (*_, second) = Watch.seen
    assert not torch.equal(first, second)
    assert torch.equal(first.sort(dim=0).values, second.sort(dim=0).values)
    first, second = streamed(small()), streamed(small())
    np.testing.assert_array_equal(first.transform(FRESH), second.transform(FRESH))
    np.testing.assert_array_equal(first.score_samples(FRESH), second.score_samples(FRESH))


def test_the_callers_generators_are_left_alone():
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    streamed(small(random_state=None), CHUNKS[:2])
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_fitted_attributes_are_those_of_all_rows():
    vae, rows = streamed(small()), np.vstack(CHUNKS)
    assert vae.n_samples_ == len(rows)
    np.testing.assert_allclose(vae.mean_, rows.mean(axis=0), rtol=1e-9)
    total = vae.explained_variance_[0] / vae.explained_variance_ratio_[0]
    assert total == pytest.approx(rows.var(axis=0, ddof=1).sum())
    # PCA's units: the spread of a column is what it explains, on all rows.
    spread = vae.transform(rows).std(axis=0) ** 2
    np.testing.assert_allclose(spread, vae.explained_variance_, rtol=0.05)


def test_order_and_signs_of_the_columns_stay():
    vae = small().partial_fit(CHUNKS[0])
    order, before = vae.coordinates_.order, vae.transform(FRESH)
    # Rows that vary along the second direction above all.
    for chunk in CHUNKS[1:]:
        vae.partial_fit(chunk * [0.1, 5.0, 0.1, 0.1])
    np.testing.assert_array_equal(vae.coordinates_.order, order)
    after = vae.transform(FRESH)
    for column in range(2):
        assert np.corrcoef(before[:, column], after[:, column])[0, 1] > 0.3


def test_a_pickle_goes_on_as_the_estimator_itself():
    vae = streamed(small(), CHUNKS[:3])
    other = pickle.loads(pickle.dumps(vae))
    copied = deepcopy(vae)
    for estimator in (vae, other, copied):
        streamed(estimator, CHUNKS[3:])
    np.testing.assert_array_equal(other.transform(FRESH), vae.transform(FRESH))
    np.testing.assert_array_equal(copied.transform(FRESH), vae.transform(FRESH))


class Interrupt(Callback):
    def on_batch_end(self, net, **_):
        raise KeyboardInterrupt


BAD = {
    "nan": (lambda vae: vae.partial_fit(np.full((5, 4), np.nan)), ValueError),
    "columns": (lambda vae: vae.partial_fit(CHUNKS[0][:, :3]), ValueError),
    "interrupt": (
        lambda vae: vae.set_params(callbacks=[Interrupt()]).partial_fit(CHUNKS[1]),
        KeyboardInterrupt,
    ),
    "sizes": (
        lambda vae: vae.set_params(hidden_layer_sizes=(8,)).partial_fit(CHUNKS[1]),
        ValueError,
    ),
    "components": (lambda vae: vae.set_params(n_components=1).partial_fit(CHUNKS[1]), ValueError),
}


@pytest.mark.parametrize("case", BAD)
def test_a_failed_call_leaves_everything_as_it_was(case):
    call, error = BAD[case]
    vae = streamed(small(), CHUNKS[:2])
    untouched = deepcopy(vae)
    message = "start anew with fit" if case in ("sizes", "components") else None
    with pytest.raises(error, match=message):
        call(vae)
    vae.set_params(**untouched.get_params())
    np.testing.assert_array_equal(vae.transform(FRESH), untouched.transform(FRESH))
    assert vae.n_samples_ == untouched.n_samples_ and len(vae.history_) == 2
    # Going on, too.
    streamed(vae, CHUNKS[2:4]), streamed(untouched, CHUNKS[2:4])
    np.testing.assert_array_equal(vae.transform(FRESH), untouched.transform(FRESH))


def test_too_few_rows_for_the_start():
    with pytest.raises(ValueError, match="n_components=3 must be between 1 and"):
        small(3).partial_fit(CHUNKS[0][:2])
    vae = small(3).partial_fit(CHUNKS[0])
    vae.partial_fit(CHUNKS[1][:1])
    assert vae.n_samples_ == 301 and np.isfinite(vae.transform(FRESH)).all()


def test_a_part_of_the_variance_is_counted_on_the_first_chunk():
    vae = streamed(small(0.9))
    assert vae.n_components_ == PCA(0.9, svd_solver="full").fit(CHUNKS[0]).n_components_


def test_fit_starts_anew_and_partial_fit_goes_on_from_it():
    vae = streamed(small(max_epochs=3))
    again = small(max_epochs=3).fit(CHUNKS[0])
    vae.fit(CHUNKS[0])
    np.testing.assert_array_equal(vae.transform(FRESH), again.transform(FRESH))
    assert vae.n_samples_ == 300
    before = vae.score(FRESH)
    streamed(vae, CHUNKS[1:])
    assert vae.n_samples_ == 8 * 300
    assert vae.score(FRESH) > before
    np.testing.assert_allclose(vae.mean_, np.vstack(CHUNKS).mean(axis=0), rtol=1e-9)


def test_rates_may_change_between_calls_and_the_optimizer_remembers():
    Watch.seen = []
    vae = small(callbacks=[Watch()], batch_size=300).partial_fit(CHUNKS[0])
    vae.set_params(lr=1e-4).partial_fit(CHUNKS[1])
    assert [max(rates) for rates, *_ in Watch.seen] == pytest.approx([2e-3, 1e-4])
    assert {int(state["step"]) for state in vae.net_.optimizer_.state.values()} == {2}
    # Another kind of optimizer has a memory of its own.
    vae.set_params(net_params={"optimizer": torch.optim.SGD}).partial_fit(CHUNKS[2])
    assert np.isfinite(vae.transform(FRESH)).all()


def test_a_schedule_of_the_users_own_goes_on():
    Watch.seen = []
    halving = LRScheduler("StepLR", step_size=1, gamma=0.5)
    vae = small(callbacks=[Watch(), halving], batch_size=300)
    streamed(vae, CHUNKS[:3])
    # At every call skorch makes the schedule anew for the next epoch, which steps once more.
    assert [max(rates) for rates, *_ in Watch.seen] == pytest.approx([2e-3, 5e-4, 1.25e-4])


def test_a_chunk_that_diverges_is_taken_back_with_a_warning():
    vae = streamed(small(), CHUNKS[:2])
    before = vae.net_.module_.state_dict()["affine_encoder.weight"].clone()
    with pytest.warns(ConvergenceWarning, match="Training diverged"):
        vae.set_params(lr=1e30).partial_fit(CHUNKS[2])
    after = vae.net_.module_.state_dict()["affine_encoder.weight"]
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint8])
def test_chunks_of_any_dtype(dtype):
    chunks = [np.clip(40 * chunk + 120, 0, 255).astype(dtype) for chunk in CHUNKS[:3]]
    vae, wide = streamed(small(), chunks), streamed(small(), [c.astype(float) for c in chunks])
    np.testing.assert_allclose(vae.transform(chunks[0]), wide.transform(chunks[0]), atol=0.05)


def test_bernoulli_streams():
    chunks = [(chunk > 0.5).astype(float) for chunk in CHUNKS]
    vae = streamed(small(1, likelihood="bernoulli", lr=0.01), 3 * chunks)
    start = small(1, likelihood="bernoulli", max_epochs=0).fit(chunks[0])
    assert vae.score(np.vstack(chunks)) > start.score(np.vstack(chunks))
    with pytest.raises(ValueError, match="likelihood"):
        vae.partial_fit(np.full((3, 4), 0.5))


def test_kept_rows_are_a_fair_part_of_the_stream(monkeypatch):
    counts = np.zeros(40)
    for seed in range(2000):
        sample = RowSample(8, seed)
        for first in range(0, 40, 7):
            sample.add(np.arange(first, min(first + 7, 40), dtype=float)[:, None])
        assert sample.count == 40 and len(np.unique(sample.rows)) == 8
        counts[sample.rows[:, 0].astype(int)] += 1
    # Each of the 40 as likely as the others: five standard errors.
    np.testing.assert_allclose(counts / 2000, 0.2, atol=5 * (0.2 * 0.8 / 2000) ** 0.5)
    monkeypatch.setattr(transformer, "_STREAM_ROWS", 100)
    vae = streamed(small())
    assert len(vae._stream[1].rows) == 100


def test_a_few_rows_after_a_fit_do_not_decide_the_units():
    vae = small(max_epochs=3).fit(CHUNKS[0])
    before = vae.coordinates_
    vae.partial_fit(CHUNKS[1][:1])
    assert vae.coordinates_ is before
    assert vae.n_samples_ == 301
    # Once there are rows enough they do.
    streamed(vae, CHUNKS[1:4])
    assert vae.coordinates_ is not before
    assert vae.transform(FRESH).std(axis=0) == pytest.approx(
        np.sqrt(vae.explained_variance_), rel=0.2
    )


def test_a_chunk_that_diverges_does_not_spoil_the_next_ones():
    vae = small().partial_fit(CHUNKS[0])
    bad = CHUNKS[1].copy()
    bad[3] = 1e25
    with pytest.warns(ConvergenceWarning, match="Training diverged"):
        vae.partial_fit(bad)
    before = vae.score(FRESH)
    streamed(vae, CHUNKS[2:])
    assert np.isfinite(vae.history_[-1]["train_loss"])
    assert vae.score(FRESH) != before


@pytest.mark.parametrize("init", ["pca", "random"])
def test_rates_are_those_of_the_first_chunk(init):
    wide = np.hstack(8 * [CHUNKS[0]]) + np.random.RandomState(0).normal(size=(300, 32))
    vae = small(init=init)
    rates = []
    for _ in range(3):
        vae.partial_fit(wide)
        rates.append([group["lr"] for group in vae.net_.optimizer_.param_groups])
    assert rates[0] == rates[1] == rates[2]
    # The affine path has less only where it began at its optimum.
    assert (min(rates[0]) < max(rates[0])) == (init == "pca")


def test_a_column_that_was_constant_and_varies():
    still = CHUNKS[0].copy()
    still[:, 2] = 0.0
    vae = small(likelihood="diagonal_gaussian").partial_fit(still)
    before = vae.transform(FRESH)
    with pytest.raises(ValueError, match="column 2 was constant in the first rows of the stream"):
        vae.partial_fit(CHUNKS[1])
    np.testing.assert_array_equal(vae.transform(FRESH), before)
    # One noise for all columns has no such trouble.
    streamed(small(), [still, CHUNKS[1]])


def test_the_epoch_that_is_kept_is_the_last_one_of_the_stream():
    vae = streamed(small(), CHUNKS[:3])
    assert vae.best_epoch_ == len(vae.history_) == 3
    # After a fit that kept the start; few rows change no units, but the weights.
    after_fit = small(max_epochs=2, lr=1e-9).fit(CHUNKS[0])
    assert (after_fit.best_epoch_, len(after_fit.history_)) == (0, 2)
    after_fit.set_params(lr=2e-3).partial_fit(CHUNKS[1])
    assert after_fit.best_epoch_ == len(after_fit.history_) == 3
    assert "epoch 3 was kept" in str(after_fit.summary())
    after_fit.partial_fit(np.vstack(CHUNKS[2:]))
    assert after_fit.best_epoch_ == len(after_fit.history_) == 4
    assert after_fit.fit(CHUNKS[0]).best_epoch_ <= 2
