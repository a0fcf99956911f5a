"""From arrays to device batches: a batch at a time and never a row at a time."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

from .moments import row_slices

# Arrays whose float32 copy is at most this many bytes are cast once and stay on the device, which
# is faster than casting every batch in every epoch;
RESIDENT_BYTES = 2**30
# on a GPU, at most this part of its free memory.
_RESIDENT_PART = 0.5
# Batches made ahead of the one in use, where they have to be copied to a GPU.
_AHEAD = 2


def working_units(rows, centre, scale):
    """(rows - centre) / scale as a float64 tensor (n, n_features) on the CPU, from rows of any
    real dtype."""
    floating = rows.dtype == np.float64 or rows.dtype == np.float32
    # Copied: torch warns of an array that it might write to and must not.
    rows = torch.from_numpy(np.array(rows, dtype=None if floating else np.float64, order="C"))
    return (rows - torch.tensor(centre)) / torch.tensor(scale)


def _resident_bytes(device):
    if device.type != "cuda":
        return RESIDENT_BYTES
    return _RESIDENT_PART * torch.cuda.mem_get_info(device)[0]


class Rows(Dataset):
    """The rows of X, given out in working units, (x - centre) / scale, as float32 batches.

    Centring happens in float64, before the cast. A single index gives a single row, so that a
    plain `torch.utils.data.DataLoader` works too, at the speed such a loader has.

    Parameters
    ----------
    X : ndarray or SparseRows of shape (n_samples, n_features)
        Of any real dtype, a `numpy.memmap` too: only what is asked for is read and cast. Sparse
        rows never become dense all at once.
    transform : callable, optional
        Applied to every batch of rows, a tensor (n, n_features) in the units of X, before the
        working units, each time that the batch is asked for.
    device : str or torch.device, default="cpu"
        Where batches go.
    incomplete : bool, default=False
        Whether X may have missing cells, NaN: then batches have the `mask` of the observed ones,
        and something else, a `placeholder`, in the others.
    weight : ndarray of shape (n_samples,), float64, optional
        How often each row counts; then batches have the `weight` of their rows, relative to the
        mean.
    condition : ndarray of shape (n_samples, n_conditions), float64, optional
        What the rows are conditioned on, as the model takes it: the `condition` of batches.

    Attributes
    ----------
    first_observed : ndarray of shape (n_features,) or None
        Of incomplete rows that a model is fitted to: an observed value of each column.
    """

    def __init__(
        self, X, transform=None, device="cpu", incomplete=False, weight=None, condition=None
    ):
        self.X = X
        self.transform = transform
        self.device = torch.device(device)
        self.incomplete = incomplete
        self.first_observed = None
        self.weight = weight
        # In single precision only their proportions are safe.
        relative = None if weight is None else torch.as_tensor(weight / weight.mean())
        self._relative_weight = relative if relative is None else relative.float().to(self.device)
        self.condition = condition
        if condition is not None:
            self._condition = torch.as_tensor(condition).float().to(self.device)
        self.centre = self.scale = self.resident = None

    def set_units(self, centre, scale, placeholder=None):
        """Set the working units, float64 arrays of shape (n_features,); until then X is given out
        as it is. The `placeholder` (n_features,), zeros by default, is in these."""
        self.centre, self.scale = centre, scale
        self._placeholder = torch.zeros(len(centre)) if placeholder is None else placeholder
        self.resident = None
        if isinstance(self.X, np.ndarray) and self.X.size * 4 <= _resident_bytes(self.device):
            resident = torch.empty(self.X.shape, dtype=torch.float32, device=self.device)
            for part in row_slices(*self.X.shape):
                resident[part] = self._rows(self.X[part])
            self.resident = resident

    def mean_weight(self, indices):
        """The mean of the weights in batches of the rows at `indices`; None without weights."""
        if self.weight is None:
            return None
        return float(self.weight[np.asarray(indices)].mean() / self.weight.mean())

    @property
    def n_conditions(self):
        """Columns of the condition."""
        return 0 if self.condition is None else self.condition.shape[1]

    @property
    def plain(self):
        """Whether each row counts once and has all of its cells."""
        return self.weight is None and not self.incomplete

    def any_missing(self):
        """Whether X has cells that are NaN."""
        if self.X.dtype.kind != "f":
            return False
        if not isinstance(self.X, np.ndarray):
            return bool(self.X.n_missing().any())
        parts = row_slices(len(self.X), self.X.shape[1])
        return any(bool(np.isnan(self.X[part]).any()) for part in parts)

    def release(self):
        """Free the memory of the device that the rows took."""
        self.resident = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def ahead(self):
        """Whether batches are worth making ahead: copied to a GPU, and without random draws, whose
        order would be lost."""
        return self.device.type == "cuda" and self.resident is None and self.transform is None

    def chunks(self, indices=None):
        """Yield the rows, or those at `indices`, as float64 arrays in the units of X, transformed
        where there is a `transform`."""
        for _, chunk in self.numbered_chunks(indices):
            yield chunk

    def numbered_chunks(self, indices=None):
        """Yield what `chunks` does, each with the positions of its rows in X, a slice or an
        array."""
        n_rows = len(self.X) if indices is None else len(indices)
        for part in row_slices(n_rows, self.X.shape[1]):
            positions = part if indices is None else indices[part]
            yield positions, self._chunk(self.X[positions])

    def _chunk(self, rows):
        if self.transform is None:
            return np.asarray(rows, dtype=np.float64, order="C")
        rows = self._transformed(self._rows(rows)).double().cpu().numpy()
        if not (np.isfinite(rows) | (np.isnan(rows) & self.incomplete)).all():
            raise ValueError(
                "batch_transform returned values that are not finite (NaN or infinity). It is "
                "given X in float32, which goes up to 3.4e38."
            )
        return rows

    def _transformed(self, rows):
        # As random as the caller's generator is: the fit's own, seeded by the fit.
        given = rows
        missing = torch.isnan(given) if self.incomplete else None
        rows = self.transform(given if missing is None else given.nan_to_num(0.0))
        found = tuple(rows.shape) if torch.is_tensor(rows) else type(rows).__name__
        dense = torch.is_tensor(rows) and rows.layout == torch.strided
        if found != tuple(given.shape) or not dense or rows.is_complex():
            raise ValueError(
                "batch_transform must return a dense tensor of real numbers, of the shape that "
                f"it was given, {tuple(given.shape)}; got {found}, "
                f"{getattr(rows, 'layout', None)}, {getattr(rows, 'dtype', None)}."
            )
        rows = rows.detach().to(given.dtype)
        return rows if missing is None else torch.where(missing, torch.nan, rows)

    def _rows(self, rows):
        """Rows of X as float32 on the device: in working units, or as a transform takes them."""
        if self.transform is None and self.centre is not None:
            rows = working_units(rows, self.centre, self.scale).float()
        else:
            # Copied: a transform in place must not reach the caller's own rows.
            rows = torch.from_numpy(np.array(rows, dtype=np.float32, order="C"))
        if self.ahead:
            return rows.pin_memory().to(self.device, non_blocking=True)
        return rows.to(self.device)

    def __len__(self):
        return len(self.X)

    def batch(self, indices):
        """The batch dict of the rows at `indices`, an integer tensor; on the CPU, unless the rows
        are resident."""
        if self.resident is not None:
            x = self.resident[indices.to(self.device).long()]
        else:
            x = self._rows(self.X[indices.numpy()])
        if self.transform is not None:
            x = self._transformed(x)
            if self.centre is not None:
                # In float64, but on Apple's GPUs, which have none.
                units = np.float32 if self.device.type == "mps" else np.float64
                centre, scale = (
                    torch.as_tensor(unit.astype(units), device=self.device)
                    for unit in (self.centre, self.scale)
                )
                x = ((x - centre) / scale).float()
        batch = {"x": x}
        if self.incomplete:
            mask = ~torch.isnan(x)
            batch = {"x": torch.where(mask, x, self._placeholder.to(x)), "mask": mask}
        if self.weight is not None:
            batch["weight"] = self._relative_weight[indices.to(self.device).long()]
        if self.condition is not None:
            batch["condition"] = self._condition[indices.to(self.device).long()]
        return batch

    def __getitem__(self, index):
        # skorch loaders expect (X, y); the target of an autoencoder is its input.
        row = self.batch(torch.tensor([index]))
        return {name: value[0] for name, value in row.items()}, 0


class Batches:
    """An iterator over whole batches of a `Rows` dataset or a `Subset` of one, for skorch.

    Parameters
    ----------
    dataset : Rows or Subset of Rows
    batch_size : int
    shuffle : bool, default=False
        A new order in each pass, from torch's global generator.

    Raises
    ------
    ValueError
        If `batch_size` is not an int of at least 1.
    """

    def __init__(self, dataset, batch_size, shuffle=False):
        if not isinstance(batch_size, Integral) or batch_size < 1:
            raise ValueError(
                "iterator_train__batch_size and iterator_valid__batch_size must be ints of at "
                f"least 1 (or -1 for all rows), got {batch_size!r}."
            )
        # Four bytes a row: the indices are what grows with the rows of a `numpy.memmap`.
        kind = torch.int32 if len(dataset) < 2**31 else torch.int64
        indices = torch.arange(len(dataset), dtype=kind)
        while isinstance(dataset, Subset):
            of_set = torch.as_tensor(np.asarray(dataset.indices))
            indices = of_set[indices].to(kind if len(dataset.dataset) < 2**31 else torch.int64)
            dataset = dataset.dataset
        self.dataset = dataset
        self.indices = indices
        self.batch_size = batch_size
        self.shuffle = shuffle

    def __len__(self):
        full, rest = divmod(len(self.indices), self.batch_size)
        # A last batch of a single row joins the one before it: its gradient is noise, and layers
        # that normalize over the batch cannot take it.
        return max(1, full + (rest > 1))

    def __iter__(self):
        batches = self._batches()
        return _made_ahead(batches) if self.dataset.ahead else batches

    def _batches(self):
        indices = self.indices
        if self.shuffle:
            order = torch.randperm(len(indices), dtype=indices.dtype)
            indices = torch.index_select(indices, 0, order)
        if self.dataset.resident is not None:
            # Once, instead of a copy that a GPU waits for in every step.
            indices = indices.to(self.dataset.device)
        last = len(self) - 1
        for i in range(len(self)):
            stop = None if i == last else (i + 1) * self.batch_size
            yield self.dataset.batch(indices[i * self.batch_size : stop]), 0


def _made_ahead(batches):
    """The batches in order, the next ones made by a thread while one is in use."""
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, batches, None) for _ in range(_AHEAD))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(next, batches, None))
            yield batch
