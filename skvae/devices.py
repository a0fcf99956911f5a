"""The device that a fit runs on."""

import multiprocessing

import torch


def chosen_device(device):
    """A torch.device, "auto" resolved to CUDA, else MPS, else the CPU.

    Of several GPUs, the workers of a `GridSearchCV(n_jobs=...)` take one each, in turn.
    """
    there = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if device == "auto":
        kind = next(kind for kind, count in there.items() if count)
        number = worker_number()
        return torch.device(kind if number is None else f"{kind}:{number % there[kind]}")
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device={device!r} is not a device: use 'auto', 'cpu', 'cuda', 'cuda:1', 'mps' or a "
            "torch.device."
        ) from error
    if (wanted.index or 0) >= there.get(wanted.type, 1):
        raise ValueError(
            f"device={str(device)!r} is not on this machine, where torch sees "
            f"{there[wanted.type]} {wanted.type} device(s): use device='auto'."
        )
    return wanted


def worker_number():
    """The number of this process among the workers of its parent, None in a main process."""
    if multiprocessing.parent_process() is None:
        return None
    number = multiprocessing.current_process().name.rpartition("-")[2]
    return int(number) - 1 if number.isdecimal() else None
