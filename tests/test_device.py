"""Devices: names, moving a model fitted on one to a machine without it."""

import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.datasets import load_digits

from skvae import VAETransformer, batches, devices

X = load_digits().data[:300]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def fitted(**params):
    return VAETransformer(4, max_epochs=3, random_state=0, **params).fit(X)


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_cpu_by_name_or_by_torch(device):
    vae = fitted(device=device)
    assert next(vae.net_.module_.parameters()).device.type == "cpu"


def test_auto_takes_what_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert str(devices.chosen_device("auto")) == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert str(devices.chosen_device("auto")) == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert str(devices.chosen_device("auto")) == "cuda"
    assert str(devices.chosen_device("cuda:1")) == "cuda:1"
    assert str(devices.chosen_device(torch.device("cuda", 1))) == "cuda:1"


@pytest.mark.parametrize(
    ("name", "device"),
    [("LokyProcess-1", "cuda:0"), ("LokyProcess-4", "cuda:1"), ("ForkPoolWorker-2", "cuda:1"),
     ("mine", "cuda")],
)  # fmt: skip
def test_workers_take_the_gpus_in_turn(name, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.chosen_device("auto") == torch.device("cuda")
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object())
    monkeypatch.setattr(multiprocessing.current_process(), "_name", name)
    assert devices.chosen_device("auto") == torch.device(device)
    assert devices.chosen_device("cuda:0") == torch.device("cuda:0")


def _device_in_a_worker(_):
    return str(devices.chosen_device("auto")), devices.worker_number()


def test_workers_have_numbers():
    answers = Parallel(n_jobs=2)(delayed(_device_in_a_worker)(i) for i in range(4))
    assert all(number is not None and number >= 0 for _, number in answers)
    assert devices.worker_number() is None or multiprocessing.parent_process() is not None


def test_an_unknown_device_is_named():
    with pytest.raises(ValueError, match=r"device='gpu' is not a device: use 'auto', 'cpu'"):
        fitted(device="gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_a_device_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"device='cuda:1' is not on this machine.* 0 cuda"):
        fitted(device="cuda:1")


def test_a_model_of_another_device_is_unpickled_here(monkeypatch):
    vae = fitted()
    expected = vae.transform(X)
    # What a machine with CUDA would have written: the net's device is "cuda".
    vae.net_.device = "cuda"
    with (
        pytest.warns(UserWarning, match="CUDA|cuda")
        if not torch.cuda.is_available()
        else _nothing()
    ):
        other = pickle.loads(pickle.dumps(vae))
    np.testing.assert_allclose(other.transform(X), expected, atol=1e-9)


class _nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


@pytest.mark.gpu
@needs_cuda
def test_cuda_equals_the_cpu_at_zero_epochs():
    on_gpu, on_cpu = (
        VAETransformer(4, max_epochs=0, device=device).fit(X) for device in ("cuda", "cpu")
    )
    np.testing.assert_allclose(on_gpu.transform(X), on_cpu.transform(X), atol=1e-8)
    np.testing.assert_allclose(on_gpu.score_samples(X), on_cpu.score_samples(X), rtol=1e-8)


@pytest.mark.gpu
@needs_cuda
def test_cuda_trains_and_repeats():
    first, second = fitted(device="cuda"), fitted(device="cuda")
    assert next(first.net_.module_.parameters()).is_cuda
    np.testing.assert_array_equal(first.transform(X), second.transform(X))
    state = torch.cuda.get_rng_state()
    first.sample(3, random_state=0)
    assert torch.equal(state, torch.cuda.get_rng_state())


@pytest.mark.gpu
@needs_cuda
def test_a_model_fitted_on_cuda_is_used_on_the_cpu(monkeypatch):
    vae = fitted(device="cuda")
    written = pickle.dumps(vae)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning):
        other = pickle.loads(written)
    assert not next(other.net_.module_.parameters()).is_cuda
    np.testing.assert_allclose(other.transform(X), vae.transform(X), atol=1e-8)


@pytest.mark.gpu
@needs_cuda
def test_rows_copied_to_the_gpu_ahead_train_the_same(monkeypatch):
    resident = fitted(device="cuda")
    monkeypatch.setattr(batches, "_RESIDENT_PART", 0.0)
    copied = fitted(device="cuda")
    np.testing.assert_array_equal(copied.transform(X), resident.transform(X))


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize(
    "net_params", [{"autocast": True}, {"compile": True, "compile__mode": "reduce-overhead"}]
)
def test_options_for_gpus(net_params):
    plain, other = fitted(device="cuda"), fitted(device="cuda", net_params=net_params)
    assert other.score(X) == pytest.approx(plain.score(X), abs=0.5)
    assert next(pickle.loads(pickle.dumps(other)).net_.module_.parameters()).dtype == torch.float64


@pytest.mark.gpu
@needs_cuda
def test_a_stream_on_the_gpu():
    vae = VAETransformer(4, random_state=0, device="cuda")
    for chunk in np.array_split(X, 3):
        vae.partial_fit(chunk)
    assert np.isfinite(vae.transform(X)).all() and vae.n_samples_ == len(X)


@pytest.mark.gpu
@needs_cuda
def test_the_rows_leave_the_gpu_after_fit():
    rows = np.random.RandomState(0).normal(size=(200_000, 64))
    before = torch.cuda.memory_allocated()
    vae = VAETransformer(2, max_epochs=1, batch_size=20_000, device="cuda").fit(rows)
    assert vae.n_samples_ == len(rows)
    assert torch.cuda.memory_allocated() - before < rows.size
