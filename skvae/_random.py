"""Randomness that stays inside: scoped seeding, and noise keyed by the rows it is for."""

import os
import random
import threading
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch.quasirandom import SobolEngine

_UINT64_GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)
_GENERATORS = threading.RLock()


def _renew_lock():
    # A forked child has the lock as it was, without the thread that would release it.
    global _GENERATORS
    _GENERATORS = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def scoped_seed(seed):
    """Seed numpy, torch and `random` for a block of code, then put their global states back.

    Code that the user gives (a network factory, a callback) draws from the global generators, so
    these are what has to be seeded for a fit to repeat; restoring them, after errors too, is what
    keeps the caller's own draws as they were. They belong to the process, so one thread at a time
    has them.
    """
    devices = list(range(torch.cuda.device_count()))
    with _GENERATORS, torch.random.fork_rng(devices=devices):
        numpy_state, python_state = np.random.get_state(), random.getstate()
        try:
            np.random.seed(seed)
            random.seed(seed)
            _seed_torch(seed, accelerated=bool(devices) or torch.backends.mps.is_available())
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def _seed_torch(seed, accelerated):
    if accelerated:
        torch.manual_seed(seed)
    else:
        # torch.manual_seed would also keep the call, with its stack, for a device never to come.
        torch.default_generator.manual_seed(seed)


def draw_seed(random_state):
    """One integer seed from scikit-learn's kinds of `random_state`.

    `None` takes fresh entropy from the operating system and leaves numpy's global state alone; a
    `RandomState` is advanced by one draw, as scikit-learn does.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0] >> 1)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(np.iinfo(np.int32).max))
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def _mix(h):
    """The finalizer of splitmix64: a bijection of 64-bit words in which every bit moves every bit.

    G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators",
    OOPSLA 2014.
    """
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


def row_keys(X):
    """A 64-bit key for each row of X, shape (n,), from the row's values alone.

    Equal rows have equal keys whatever their dtype (float32 values are exact in float64), memory
    layout or place in X; -0.0 counts as 0.0, and one NaN as the other.
    """
    X = np.ascontiguousarray(X, dtype=np.float64) + 0.0
    X[np.isnan(X)] = np.nan
    words = X.view(np.uint64)
    with np.errstate(over="ignore"):
        salts = _mix(np.arange(1, words.shape[1] + 1, dtype=np.uint64) * _UINT64_GOLDEN_RATIO)
        return _mix(_mix(words ^ salts).sum(axis=1, dtype=np.uint64))


def row_normals(X, n_draws, n_components, seed, *, first=0):
    """Standard normal draws for each row of X, shape (n, n_draws, n_components), float64.

    They are the draws from number `first` on, so that many can be taken a piece at a time.

    One scrambled Sobol set serves all rows, and each row shifts it (modulo 1) by uniforms that
    depend on `seed` and on the row's own values: the draws of a row do not depend on the order or
    the batching of the rows, and those of distinct rows are independent of each other.

    References
    ----------
    P. Cranley, T. N. L. Patterson, "Randomization of number theoretic methods for multiple
    integration", SIAM Journal on Numerical Analysis 13, 1976 (the random shift).
    """
    dimension = min(n_components, SobolEngine.MAXDIM)
    engine = SobolEngine(dimension, scramble=True, seed=0)
    if first:
        engine.fast_forward(first)
    points = engine.draw(n_draws, dtype=torch.float64)
    points = points[:, torch.arange(n_components) % dimension]
    with np.errstate(over="ignore"):
        steps = np.arange(1, n_components + 1, dtype=np.uint64) * _UINT64_GOLDEN_RATIO
        words = _mix(
            _mix(row_keys(X) ^ _mix(np.uint64(seed) + _UINT64_GOLDEN_RATIO))[:, None] + steps
        )
    shifts = torch.from_numpy((words >> np.uint64(11)).astype(np.float64) * 2.0**-53)
    uniforms = (points + shifts[:, None, :]) % 1.0
    # The open interval: the normal quantile of 0 or 1 is infinite.
    return torch.special.ndtri(uniforms.clamp(2.0**-54, 1 - 2.0**-53))
