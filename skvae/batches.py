"""From arrays to device batches: a batch at a time and never a row at a time."""

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

from .moments import row_slices

# Arrays whose float32 copy is at most this many bytes are cast once and stay on the device, which
# is faster than casting every batch in every epoch.
RESIDENT_BYTES = 2**30


class Rows(Dataset):
    """The rows of X, given out in working units, (x - centre) / scale, as float32 batches.

    Centring happens in float64, before the cast. A single index gives a single row, so that a
    plain `torch.utils.data.DataLoader` works too, at the speed such a loader has.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Of any real dtype, a `numpy.memmap` too: only what is asked for is read and cast.
    transform : callable, optional
        Applied to every batch of rows, a tensor (n, n_features) in the units of X, before the
        working units, each time that the batch is asked for.
    device : str or torch.device, default="cpu"
        Where batches go.
    """

    def __init__(self, X, transform=None, device="cpu"):
        self.X = X
        self.transform = transform
        self.device = device
        self.centre = self.scale = self.resident = None

    def set_units(self, centre, scale):
        """Set the working units, float64 arrays of shape (n_features,); until then X is given out
        as it is."""
        self.centre, self.scale = centre, scale
        self.resident = None
        if self.X.size * 4 <= RESIDENT_BYTES and self.transform is None:
            resident = torch.empty(self.X.shape, dtype=torch.float32, device=self.device)
            for part in row_slices(*self.X.shape):
                resident[part] = self._cast(self.X[part])
            self.resident = resident

    def chunks(self, indices=None):
        """Yield the rows, or those at `indices`, as float64 arrays in the units of X, transformed
        where there is a `transform`."""
        n_rows = len(self.X) if indices is None else len(indices)
        for part in row_slices(n_rows, self.X.shape[1]):
            yield self._chunk(self.X[part if indices is None else indices[part]])

    def _chunk(self, rows):
        if self.transform is None:
            return np.asarray(rows, dtype=np.float64, order="C")
        # Copied: a transform in place must not reach the caller's own rows.
        rows = self._transformed(np.array(rows, dtype=np.float32)).double().cpu().numpy()
        if not np.isfinite(rows).all():
            raise ValueError(
                "batch_transform returned values that are not finite (NaN or infinity). It is "
                "given X in float32, which goes up to 3.4e38."
            )
        return rows

    def _transformed(self, rows):
        # As random as the caller's generator is: the fit's own, seeded by the fit.
        tensor = torch.as_tensor(np.asarray(rows, dtype=np.float32), device=self.device)
        rows = self.transform(tensor)
        found = tuple(rows.shape) if torch.is_tensor(rows) else type(rows).__name__
        dense = torch.is_tensor(rows) and rows.layout == torch.strided
        if found != tuple(tensor.shape) or not dense or rows.is_complex():
            raise ValueError(
                "batch_transform must return a dense tensor of real numbers, of the shape that "
                f"it was given, {tuple(tensor.shape)}; got {found}, "
                f"{getattr(rows, 'layout', None)}, {getattr(rows, 'dtype', None)}."
            )
        return rows.detach().to(tensor.dtype)

    def _cast(self, rows):
        if self.transform is not None:
            rows = self._transformed(rows)
            if self.centre is None:
                return rows
            centre, scale = (
                torch.as_tensor(u, device=rows.device) for u in (self.centre, self.scale)
            )
            return ((rows - centre) / scale).float()
        rows = np.asarray(rows, dtype=np.float64, order="C")
        if self.centre is not None:
            rows = (rows - self.centre) / self.scale
        return torch.from_numpy(rows.astype(np.float32)).to(self.device)

    def __len__(self):
        return len(self.X)

    def batch(self, indices):
        """The batch dict of the rows at `indices`, an integer tensor on the CPU."""
        if self.resident is not None:
            return {"x": self.resident[indices.to(self.resident.device)]}
        return {"x": self._cast(self.X[indices.numpy()])}

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
    """

    def __init__(self, dataset, batch_size, shuffle=False):
        indices = torch.arange(len(dataset))
        while isinstance(dataset, Subset):
            indices = torch.as_tensor(np.asarray(dataset.indices))[indices]
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
        indices = self.indices
        if self.shuffle:
            indices = indices[torch.randperm(len(indices))]
        last = len(self) - 1
        for i in range(len(self)):
            stop = None if i == last else (i + 1) * self.batch_size
            yield self.dataset.batch(indices[i * self.batch_size : stop]), 0
