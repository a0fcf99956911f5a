"""Schedules and early stopping as skorch callbacks."""

import math
import warnings
from copy import deepcopy

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback, PrintLog
from torch.utils.data import Subset


class StopTraining(Exception):
    """Raised by a callback of this module to end training after the present epoch."""


class EpochLog(PrintLog):
    """skorch's line an epoch, laid out only where it is printed."""

    def on_epoch_end(self, net, **kwargs):
        if net.verbose:
            super().on_epoch_end(net, **kwargs)


class WarmupStableDecay(Callback):
    """Learning rate: a linear warm-up, a plateau, and a linear decay to near zero at the end.

    The decay begins when the epochs left are just enough for it, or as soon as the validation loss
    has not improved for `patience` epochs, and then from the weights that were best: a training
    that stops early ends low too, and what it lost since then is not brought to its end. While the
    weight of the KL term rises, which takes from the loss what it is to give back, none counts.

    Parameters
    ----------
    warmup_steps : int, default=50
        Optimizer steps of the warm-up,
    most_warmup : float, default=0.1
        but at most this fraction of all steps.
    decay : float, default=0.3
        Epochs of the decay, as a fraction of the epochs before it (and at most that fraction of
        `max_epochs`).
    patience : int or None, default=None
        Epochs without a new best validation loss after which the decay begins.
    final : float, default=0.01
        The learning rate at the end, as a fraction of the plateau's.

    References
    ----------
    S. Hu et al., "MiniCPM", 2024 (the schedule).
    """

    def __init__(self, warmup_steps=50, most_warmup=0.1, decay=0.3, patience=None, final=0.01):
        self.warmup_steps = warmup_steps
        self.most_warmup = most_warmup
        self.decay = decay
        self.patience = patience
        self.final = final

    def on_train_begin(self, net, **_):
        self.rates_ = [group["lr"] for group in net.optimizer_.param_groups]
        self.epoch_, self.step_ = 0, 0
        self.stale_, self.lowest_ = 0, math.inf
        self.batches_, self.goes_back_ = None, False
        self.begin_, self.end_ = (1 - self.decay) * net.max_epochs, net.max_epochs

    def on_train_end(self, net, **_):
        self._set(net, 1.0)

    def _set(self, net, factor):
        for group, rate in zip(net.optimizer_.param_groups, self.rates_, strict=True):
            group["lr"] = rate * factor

    def on_epoch_begin(self, net, dataset_train=None, **_):
        if self.batches_ is None:
            self.batches_ = self._count_batches(net, dataset_train)
            steps = self.batches_ * net.max_epochs
            self.warmup_ = max(1, min(self.warmup_steps, round(self.most_warmup * steps)))
        self.place_ = float(self.epoch_)
        if self.goes_back_:
            # Here, where `BestEpoch` has seen to the epoch before.
            dict(net.callbacks_)["best_epoch"].go_back(net)
            self.goes_back_ = False

    @staticmethod
    def _count_batches(net, dataset):
        """Batches in an epoch; where the iterator does not say, those of `batch_size` rows."""
        try:
            return len(net.get_iterator(dataset, training=True))
        except TypeError:
            return math.ceil(len(dataset) / net.batch_size)

    def on_batch_begin(self, net, training, **_):
        if not training:
            return
        self.step_ += 1
        length = self.end_ - self.begin_
        decay = (self.place_ - self.begin_) / length if length else 0.0
        factor = 1.0 - (1.0 - self.final) * min(1.0, max(0.0, decay))
        self._set(net, factor * min(1.0, self.step_ / self.warmup_))
        self.place_ = min(self.place_ + 1 / self.batches_, self.epoch_ + 1)

    def on_epoch_end(self, net, **_):
        self.epoch_ += 1
        self._count_stale(net)
        if self.epoch_ >= self.end_ and self.epoch_ < net.max_epochs:
            raise StopTraining
        if self.patience is not None and self.stale_ >= self.patience and self.epoch_ < self.begin_:
            self.begin_, self.goes_back_ = self.epoch_, True
            self.end_ = self.epoch_ + min(
                math.ceil(self.decay * self.epoch_), net.max_epochs - self.epoch_
            )

    def _count_stale(self, net):
        loss = net.history[-1].get("valid_loss")
        if loss is None or is_rising(net):
            return
        better = loss < self.lowest_
        self.lowest_ = loss if better else self.lowest_
        self.stale_ = 0 if better else self.stale_ + 1


class KLWarmup(Callback):
    """The weight of the KL term rises linearly over the first part of training and ends at `beta`.

    Parameters
    ----------
    fraction : float
        Length of the rise, as a fraction of `max_epochs`; the last epoch has `beta` at any rate.
    """

    def __init__(self, fraction):
        self.fraction = fraction

    def on_train_begin(self, net, **_):
        self.epoch_ = 0

    def length(self, max_epochs):
        """Epochs of the rise: all but the last at most, however few there are."""
        return max(0.0, min(self.fraction * max_epochs, max_epochs - 1))

    def on_epoch_begin(self, net, **_):
        length = self.length(net.max_epochs)
        net.criterion_.warmup = min(1.0, self.epoch_ / length) if length else 1.0
        self.epoch_ += 1

    def on_train_end(self, net, **_):
        net.criterion_.warmup = 1.0


def is_rising(net):
    """Whether the epoch that ends has been trained with less than the whole KL term."""
    return net.criterion_.warmup < 1.0


# A gain below this, in nats per row, is not worth leaving the closed form for.
_LEAST_GAIN = 1e-3
# Reconstructions that leave less of the variance than this are as good as need be: of nearly as
# many components as columns PCA leaves so little that any gain in likelihood would have to pass it.
_NEGLIGIBLE_ERROR = 0.01
# What the squared error may be above the start's, relative to it, within a standard error: few rows
# do not say that an error has not grown.
_DOUBTFUL_ERROR = 0.02


class BestEpoch(Callback):
    """Keep the weights of the epoch with the best validation loss and put them back at the end.

    The weights from before the first epoch take part. A later epoch is accepted only where its
    paired gain on the validation rows exceeds one standard error of that gain, and a thousandth
    of a nat; `accepted_` says whether one was. Where training went back to the best epoch and on
    from there, `n_epochs_` are the epochs that led to the kept weights, without those given up.

    A loss that is not finite ends training; the best weights so far are put back, with a
    warning.

    Parameters
    ----------
    select : bool, default=True
        False keeps the last epoch, and only guards against a loss that is not finite.
    accept_any : bool, default=False
        Accept the best epoch without the test, for a start that means nothing (random weights).
    handicap : float, default=0.0
        Nats per row that the gain has to exceed beside its standard error: what the start would
        gain otherwise.
    reconstruct : bool, default=False
        Keep only epochs that also reconstruct the validation rows no worse, in squared error,
        than the start, and by at most two hundredths worse within one standard error of the
        difference; or to a hundredth of the variance.
    """

    # Of the validation rows; None where all count once.
    weight_ = None

    def __init__(self, select=True, accept_any=False, handicap=0.0, reconstruct=False):
        self.select = select
        self.accept_any = accept_any
        self.handicap = handicap
        self.reconstruct = reconstruct

    def on_train_begin(self, net, X=None, **_):
        self.start_state_ = self.best_state_ = self._copy(net)
        self.start_rows_ = self.best_rows_ = None
        self.refused_ = self.given_up_ = 0
        self.best_epoch_, self.accepted_, self.diverged_ = 0, False, False
        self.n_epochs_, self.was_rising_ = 0, False

    @staticmethod
    def _copy(net):
        state = net.module_.state_dict()
        for name, value in state.items():
            # deepcopy of tensors would take a tenth of a training on few rows.
            state[name] = value.clone() if torch.is_tensor(value) else deepcopy(value)
        return state

    def on_epoch_begin(self, net, dataset_valid=None, **_):
        if self.start_rows_ is None and dataset_valid is not None and len(dataset_valid):
            self.start_rows_, self.weight_ = net.validate_weighted(dataset_valid)
            self.best_rows_ = self.start_rows_
            if self.reconstruct:
                self.start_errors_, variance = net.reconstruction_error(dataset_valid)
                self.negligible_error_ = _NEGLIGIBLE_ERROR * variance

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **_):
        losses = [net.history[-1]["train_loss"]]
        if "valid_loss" in net.history[-1]:
            losses.append(net.history[-1]["valid_loss"])
        elif dataset_train is not None:
            # The training loss was measured before the last step.
            some = range(min(len(dataset_train), net.batch_size))
            losses.append(net.validation_loss(Subset(dataset_train, some)))
        if not np.all(np.isfinite(losses)):
            self.diverged_ = True
            raise StopTraining
        risen, self.was_rising_ = self.was_rising_ and not is_rising(net), is_rising(net)
        if risen:
            self.best_state_, self.best_rows_ = self.start_state_, None
            self.best_epoch_ = self.n_epochs_ = 0
        if self.start_rows_ is None or not self.select:
            better = True
        else:
            first = self.best_rows_ is None
            better = first or self._mean(net.valid_rows_) < self._mean(self.best_rows_)
            if better and self.reconstruct:
                better = self._reconstructs(net.reconstruction_error(dataset_valid)[0])
                self.refused_ += not better
            self.best_rows_ = net.valid_rows_ if better else self.best_rows_
        if better:
            self.best_state_, self.best_epoch_ = self._copy(net), len(net.history)
            self.n_epochs_ = self.best_epoch_ - self.given_up_

    def _reconstructs(self, errors):
        """Whether these errors, one a validation row, are as small as the start's."""
        if errors.mean() <= self.negligible_error_:
            return True
        more = errors - self.start_errors_
        standard_error = more.std(ddof=1) / math.sqrt(len(more)) if len(more) > 1 else math.inf
        most = _DOUBTFUL_ERROR * self.start_errors_.mean()
        return bool(more.mean() <= 0 and more.mean() + standard_error <= most)

    def go_back(self, net):
        """Put the best weights back before an epoch, for training to go on from them."""
        if self.best_rows_ is None:
            # None since the warm-up: the start would have to do without what has bent in it.
            return
        # The history has a line for that epoch already.
        self.given_up_ = len(net.history) - 1 - self.n_epochs_
        if net.verbose:
            found = f"epoch {self.best_epoch_}" if self.best_epoch_ else "the start"
            print(f"No gain for {self.given_up_} epochs: back to {found}, and on from there.")
        with torch.no_grad():
            net.module_.load_state_dict(self.best_state_)

    def start_loss(self):
        """Mean validation loss before the first epoch, in nats; None where nothing is held out."""
        return None if self.start_rows_ is None else float(self._mean(self.start_rows_))

    def gain(self):
        """Mean validation gain of the best epoch over the start and its standard error, in nats."""
        gain = self.start_rows_ - self.best_rows_
        mean, n_rows = self._mean(gain), len(gain)
        if n_rows < 2:
            return mean, math.inf
        # However the weights are scaled.
        relative = 1.0 if self.weight_ is None else self.weight_ / self.weight_.mean()
        squares = ((relative * (gain - mean)) ** 2).sum()
        return mean, math.sqrt(squares / (n_rows - 1) / n_rows)

    def _mean(self, rows):
        return np.average(rows, weights=self.weight_)

    def _verdict(self):
        if not self.accepted_ and self.refused_:
            return (
                "Kept the start: no epoch gained more than one standard error on held-out rows and "
                f"reconstructed them no worse ({self.refused_} likelier ones reconstructed them "
                "worse)."
            )
        if not self.accepted_:
            return "Kept the start: no epoch gained more than one standard error on held-out rows."
        if self.start_rows_ is None or not self.select:
            return f"Kept epoch {self.best_epoch_}; nothing was held out to select by."
        mean, error = self.gain()
        return (
            f"Kept epoch {self.best_epoch_}: held-out rows gained {mean:.4g} nats each over the "
            f"start, with a standard error of {error:.2g}."
        )

    def on_train_end(self, net, **_):
        if self.best_rows_ is None:
            self.best_rows_ = self.start_rows_
        if self.diverged_ and self.best_epoch_ == 0 and self.accept_any:
            raise FloatingPointError(
                _DIVERGED.format(lr=net.lr) + " No epoch before it was finite."
            )
        self.accepted_ = self.best_epoch_ > 0
        if self.accepted_ and self.select and not self.accept_any and self.start_rows_ is not None:
            mean, error = self.gain()
            self.accepted_ = bool(mean - self.handicap > max(error, _LEAST_GAIN))
        if self.diverged_:
            epoch = self.best_epoch_ if self.accepted_ else 0
            message = _DIVERGED.format(lr=net.lr) + f" Went back to epoch {epoch}."
            warnings.warn(message, ConvergenceWarning, stacklevel=2)
        if net.verbose and len(net.history):
            print(self._verdict())
        state = self.best_state_ if self.accepted_ else self.start_state_
        with torch.no_grad():
            net.module_.load_state_dict(state)
        self.start_state_ = self.best_state_ = None


_DIVERGED = (
    "Training diverged: the loss is no longer finite at lr={lr:g}. Lower lr, or look for rows of X "
    "far outside the rest."
)
