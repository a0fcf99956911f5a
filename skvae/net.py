"""VAENet: the skorch net under the estimator; one loss hook, batched inference."""

from copy import deepcopy

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, EpochTimer
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.utils.data import Subset
from tqdm import tqdm

from ._random import row_normals, scoped_seed
from .batches import Batches, Rows, working_units
from .callbacks import EpochLog, StopTraining
from .incomplete import has_missing
from .objective import NegativeBound

# Elements of the widest layer's output in an inference batch, which should stay in a CPU's cache,
# and keep a GPU busy.
_INFERENCE_ELEMENTS = {"cpu": 2**19, "cuda": 2**24, "mps": 2**22}
# Validation rows whose reconstructions are looked at.
_RECONSTRUCTED_ROWS = 10_000


class VAENet(NeuralNet):
    """A skorch net that trains a `skvae.vae.VAE` on whole batches.

    What differs from `skorch.NeuralNet`: losses are summed on the device and read once an epoch;
    the gradient is clipped after `backward`; validation uses the same noise in every epoch, so
    that epochs are compared row by row; a KeyboardInterrupt of the user is raised again instead of
    being swallowed.

    Parameters
    ----------
    gradient_clip : float or None, default=None
        Greatest norm of the gradient of a step, in nats per row and unit of a weight.
    n_draws : int, default=1
        Posterior draws per row in training.
    n_valid_draws : int, default=1
        Posterior draws per row in validation.
    valid_seed : int, default=0
        Seed of the validation noise.
    autocast : bool, default=False
        Whether the networks train in bfloat16, under `torch.autocast`; the affine path, the
        likelihood and the weights stay in float32, and so does everything after training. Faster
        for wide networks on hardware that has bfloat16.
    compile : bool, default=False
        Whether to compile the module's forward pass, with options `compile__...` of
        `torch.compile`; `compile__mode="reduce-overhead"` uses CUDA graphs.
    """

    def __init__(
        self,
        module,
        *args,
        criterion=NegativeBound,
        optimizer=torch.optim.AdamW,
        iterator_train=Batches,
        iterator_valid=Batches,
        gradient_clip=None,
        n_draws=1,
        n_valid_draws=1,
        valid_seed=0,
        autocast=False,
        **kwargs,
    ):
        self.gradient_clip = gradient_clip
        self.n_draws = n_draws
        self.n_valid_draws = n_valid_draws
        self.valid_seed = valid_seed
        self.autocast = autocast
        super().__init__(
            module,
            *args,
            criterion=criterion,
            optimizer=optimizer,
            iterator_train=iterator_train,
            iterator_valid=iterator_valid,
            **kwargs,
        )

    @property
    def _default_callbacks(self):
        # The losses are recorded by run_single_epoch; skorch's scoring of them is not needed.
        return [("epoch_timer", EpochTimer()), ("print_log", EpochLog())]

    def initialize_module(self):
        """skorch's own; the module is told whether to train in bfloat16."""
        super().initialize_module()
        if not isinstance(self.autocast, bool):
            raise TypeError(f"autocast must be True or False, got {self.autocast!r}.")
        self.module_.autocast = self.autocast
        return self

    def torch_compile(self, module, name):
        """Compile the forward pass in place: a wrapper, as skorch's own has, would rename the
        weights and could not be pickled."""
        if self.compile and name == "module":
            module.compile(**self.get_params_for("compile"))
        return module

    def get_dataset(self, X, y=None):
        """skorch's own; an array of rows, in the units of X, becomes `Rows`."""
        if not isinstance(X, np.ndarray):
            return super().get_dataset(X, y)
        incomplete = self.module_.fill is not None and has_missing(X)
        rows = Rows(X, device=self.device, incomplete=incomplete)
        likelihood = self.module_.likelihood
        rows.set_units(likelihood.centre, likelihood.scale, likelihood.placeholder)
        return rows

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Minus the ELBO of the batch X, from the terms `y_pred` that the module returned."""
        return self.criterion_(y_pred, X)

    def infer(self, x, **fit_params):
        if not self.module_.training:
            # After the fit the module is in double precision.
            own = next(self.module_.parameters()).dtype
            x = {
                name: part if part.dtype == torch.bool else part.to(own) for name, part in x.items()
            }
            return super().infer(x, n_draws=self.n_valid_draws, **fit_params)
        doubly = self.criterion_.importance_weighted and self.criterion_.beta_now == 1
        return super().infer(x, n_draws=self.n_draws, doubly_reparameterized=doubly, **fit_params)

    def _set_training(self, training=True):
        # Walking the modules to set what is set already would cost as much as a small step.
        if self.module_.training != training or self.criterion_.training != training:
            super()._set_training(training)

    def train_step_single(self, batch, **fit_params):
        step = super().train_step_single(batch, **fit_params)
        if self.gradient_clip is not None:
            self._clip_gradient()
        return step

    def _clip_gradient(self):
        groups = self.optimizer_.param_groups
        parameters = [p for group in groups for p in group["params"] if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters])
        # Reading the norm would make a GPU wait; on the CPU it saves the multiplication by one.
        if norm.device.type != "cpu" or not norm <= self.gradient_clip:
            clip_grads_with_norm_(parameters, self.gradient_clip, norm)

    def train_step(self, batch, **fit_params):
        """One optimizer step; skorch's own, with a closure, only for what has a use for it."""
        if self._hooks()["on_grad_computed"] or isinstance(self.optimizer_, torch.optim.LBFGS):
            return super().train_step(batch, **fit_params)
        self.optimizer_.zero_grad()
        step = self.train_step_single(batch, **fit_params)
        self.optimizer_.step()
        return step

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """One pass over the batches, with no host synchronization until its end."""
        if iterator is None:
            return
        if not training:
            self.valid_rows_, weight = self._bounds(iterator)
            self._record_loss("valid_loss", float(np.average(self.valid_rows_, weights=weight)))
            return
        total, n_rows, n_batches = 0.0, 0, 0
        for batch in self._progress(iterator, f"epoch {len(self.history)}"):
            self.notify("on_batch_begin", batch=batch, training=True)
            step = step_fn(batch, **fit_params)
            size = batch[0]["weight"].sum() if "weight" in batch[0] else len(batch[0]["x"])
            total, n_rows, n_batches = (
                total + size * step["loss"].detach(),
                n_rows + size,
                n_batches + 1,
            )
            self.notify("on_batch_end", batch=batch, training=True, **step)
            # Their memory serves the next step, while it is still in the cache.
            del batch, step
        self._record_loss("train_loss", float(total) / float(n_rows))
        self.history.record("train_batch_count", n_batches)

    def _record_loss(self, name, loss):
        earlier = min((row[name] for row in self.history[:-1] if name in row), default=np.inf)
        self.history.record(name, loss)
        self.history.record(f"{name}_best", loss < earlier)

    def _progress(self, iterable, description):
        """tqdm's bar at verbose > 0, shown only where the work lasts more than two seconds."""
        if not self.verbose:
            return iterable
        return tqdm(iterable, desc=description, delay=2, leave=False)

    def _inference_batch_size(self, vectors_per_row):
        """Rows at a time without gradients, by the width of the widest layer."""
        widest = max(max(p.shape, default=1) for p in self.module_.parameters())
        elements = _INFERENCE_ELEMENTS.get(torch.device(self.device).type, 2**22)
        return max(1, elements // (vectors_per_row * widest))

    def get_iterator(self, dataset, training=False):
        """skorch's own; validation takes larger batches, unless the user says how many rows."""
        given = self.get_params_for("iterator_valid")
        if training or "batch_size" in given:
            return super().get_iterator(dataset, training=training)
        size = self._inference_batch_size(self.n_valid_draws)
        return self.iterator_valid(dataset, **(given | {"batch_size": size}))

    def validate(self, dataset):
        """The loss of each row of a validation dataset, shape (n,), under the fixed noise."""
        return self.validate_weighted(dataset)[0]

    def validate_weighted(self, dataset):
        """What `validate` gives, and the weight of each row, or None where all count once."""
        return self._bounds(self.get_iterator(dataset, training=False))

    def validation_loss(self, dataset):
        """The mean of `validate`, by the weights that the rows may have."""
        rows, weight = self.validate_weighted(dataset)
        return np.average(rows, weights=weight)

    def _bounds(self, iterator):
        """The loss and the weight of each row of the batches."""
        self._set_training(False)
        # A compiled pass cannot be traced in inference mode.
        without_gradients = torch.no_grad if self.compile else torch.inference_mode
        with scoped_seed(self.valid_seed), without_gradients():
            bounds, weights = [], []
            for batch, _ in iterator:
                bounds.append(self.criterion_.bound(self.infer(batch), batch))
                weights.append(batch.get("weight"))
        rows = -torch.cat(bounds).cpu().double().numpy()
        if weights[0] is None:
            return rows, None
        weight = torch.cat(weights).cpu().double().numpy()
        # All beyond the reach of single precision, beside much heavier rows.
        return rows, weight if weight.any() else None

    def reconstruction_error(self, dataset):
        """What each row of a validation dataset has of the squared error of its reconstruction, in
        squared units of X, the mean over rows being that over columns; and the mean for the
        reconstruction at the latent origin, which is the variance of the rows at the start.

        Of the ways to undo the shrinkage of the posterior mean, the best; at most the first
        10,000 rows.
        """
        self._set_training(False)
        some = Subset(dataset, range(min(len(dataset), _RECONSTRUCTED_ROWS)))
        with scoped_seed(self.valid_seed), torch.inference_mode():
            batches = [batch for batch, _ in self.get_iterator(some, training=False)]
            x = torch.cat([_with_nan(batch) for batch in batches])
            beside = {
                name: torch.cat([batch[name] for batch in batches])
                for name in ("weight", "condition")
                if name in batches[0]
            }
            if "weight" in beside and not beside["weight"].any():
                # As where the loss of such rows is averaged.
                del beside["weight"]
            errors = self.module_.reconstruction_errors(x, **beside).cpu().double().numpy()
        *of_ways, of_origin = errors * self.module_.likelihood.scale.max() ** 2
        return min(of_ways, key=np.mean), float(of_origin.mean())

    def notify(self, method_name, **cb_kwargs):
        """Call a hook of the callbacks that have it; the others cost nothing."""
        getattr(self, method_name)(self, **cb_kwargs)
        stop = False
        for callback in self._hooks()[method_name]:
            try:
                getattr(callback, method_name)(self, **cb_kwargs)
            except StopTraining:
                stop = True
            except KeyboardInterrupt:
                # skorch's EarlyStopping asks for the end of training by this exception.
                if not isinstance(callback, EarlyStopping):
                    raise
                stop = True
        # The other callbacks hear of the last epoch too.
        if stop:
            raise StopTraining

    def _hooks(self):
        kept = vars(self).get("_kept_hooks")
        if kept is None or kept[0] is not self.callbacks_:
            hooks = {}
            for name in _HOOKS:
                hooks[name] = [
                    callback
                    for _, callback in self.callbacks_
                    if getattr(type(callback), name, None) is not getattr(Callback, name)
                ]
            self._kept_hooks = kept = (self.callbacks_, hooks)
        return kept[1]

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        self._interrupt = None
        try:
            return super().fit_loop(X, y, epochs, **fit_params)
        except StopTraining:
            return self
        except KeyboardInterrupt as interrupt:
            self._interrupt = interrupt
            raise

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        super().partial_fit(X, y, classes, **fit_params)
        if self._interrupt is not None:
            interrupt, self._interrupt = self._interrupt, None
            raise interrupt
        return self

    def apply(self, function, *arrays, prepare=None, dtype=None, vectors_per_row=1):
        """Apply a method of the module to rows of arrays, a batch at a time, without gradients.

        Parameters
        ----------
        function : str or callable
            The name of a method of the module, or a function of the module and the tensors.
        *arrays : ndarray or SparseRows, each of shape (n_samples, ...), or None
            Sliced along their first axis and given as tensors of `dtype` on the net's device. None,
            as of a condition that there is not, is left out; the first is never None.
        prepare : callable, optional
            Maps the slices to the array, or tuple of arrays, that the function takes.
        dtype : torch.dtype, optional
            Precision of the computation; by default that of the module.
        vectors_per_row : int, default=1
            Latent vectors that a row takes through the networks. With the width of the widest
            layer this sets the batch size, so that memory does not grow with the rows.

        Returns
        -------
        ndarray of shape (n_samples, ...), or a tuple of them, on the CPU.
        """
        module = self.module_.eval()
        own = next(module.parameters()).dtype
        dtype = dtype or own
        if dtype != own:
            module = deepcopy(module).to(dtype)
        if isinstance(function, str):
            function = getattr(type(module), function)
        arrays = [array for array in arrays if array is not None]
        n_rows = len(arrays[0])
        size = min(self._inference_batch_size(vectors_per_row), max(1, n_rows))
        results = None
        with torch.inference_mode():
            for start in self._progress(range(0, n_rows, size), "rows"):
                pieces = [array[start : start + size] for array in arrays]
                if prepare is not None:
                    pieces = prepare(*pieces)
                    pieces = pieces if isinstance(pieces, tuple) else (pieces,)
                tensors = [torch.as_tensor(p).to(device=self.device, dtype=dtype) for p in pieces]
                result = function(module, *tensors)
                result = result if isinstance(result, tuple) else (result,)
                if results is None:
                    results = tuple(_empty(n_rows, column) for column in result)
                for rows, column in zip(results, result, strict=True):
                    rows[start : start + size] = column.cpu().numpy()
        return results if len(results) > 1 else results[0]

    def with_noise(self, n_draws, seed, first=0):
        """What `apply` takes as `prepare` where latents are drawn: rows X become rows in working
        units and the noise (n, n_draws, k) of their draws, keyed by the rows; what is beside them
        stays.

        Parameters
        ----------
        n_draws : int
        seed : int
        first : int, default=0
            Number of the first of the draws.
        """
        likelihood, k = self.module_.likelihood, self.module_.n_components

        def prepare(rows, *beside):
            noise = row_normals(rows, n_draws, k, seed, first=first)
            return working_units(rows, likelihood.centre, likelihood.scale), noise, *beside

        return prepare

    def __getstate__(self):
        state = super().__getstate__()
        state.pop("_kept_hooks", None)
        return state


def _with_nan(batch):
    """The rows of a batch, NaN where cells are missing."""
    x, mask = batch["x"], batch.get("mask")
    return x if mask is None else torch.where(mask, x, torch.nan)


def _empty(n_rows, like):
    """An array of n_rows for what comes of them in pieces such as `like`."""
    return np.empty((n_rows, *like.shape[1:]), dtype=like.cpu().numpy().dtype)


_HOOKS = (
    "on_train_begin",
    "on_train_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_batch_begin",
    "on_batch_end",
    "on_grad_computed",
)
