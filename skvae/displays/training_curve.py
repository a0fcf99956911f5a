"""TrainingCurveDisplay: the losses of each epoch, the start and the epoch that was kept."""

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

from .colours import GREY, OKABE_ITO
from .fitted import Fitted
from .panels import one_axes, styled, without_top


class TrainingCurveDisplay:
    """The losses of each epoch, in nats per row, beside the start's and the epoch that was kept.

    Where held-out rows stopped gaining before `max_epochs` the curves jump: training went back to
    the best epoch and from there to its end.

    It is recommended to use `from_estimator` to create it. All parameters are stored as attributes.

    Parameters
    ----------
    epochs : ndarray of shape (n_epochs,)
        From 1.
    train_loss : ndarray of shape (n_epochs,)
        Means over each epoch, in which the weights moved.
    valid_loss : ndarray of shape (n_epochs,) or None, default=None
        Of held-out rows at the end of each epoch; None where none were held out.
    start_loss : float or None, default=None
        Of the held-out rows before the first epoch.
    best_epoch : int or None, default=None
        The epoch that was kept, 0 the start.
    start_name : str, default="start"

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of Line2D
        Of the training rows, of the held-out rows and of the start, those that there are.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvae import VAETransformer
    >>> from skvae.displays import TrainingCurveDisplay
    >>> vae = VAETransformer(4, max_epochs=5, random_state=0).fit(load_digits().data)
    >>> display = TrainingCurveDisplay.from_estimator(vae)
    >>> display.epochs
    array([1, 2, 3, 4, 5])
    """

    def __init__(
        self,
        epochs,
        train_loss,
        *,
        valid_loss=None,
        start_loss=None,
        best_epoch=None,
        start_name="start",
    ):
        self.epochs = epochs
        self.train_loss = train_loss
        self.valid_loss = valid_loss
        self.start_loss = start_loss
        self.best_epoch = best_epoch
        self.start_name = start_name

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, **kwargs):
        """Draw how a fitted model was trained.

        Parameters
        ----------
        estimator : VAETransformer, or a Pipeline or search that ends in one
        ax : matplotlib Axes or None, default=None
        **kwargs
            Of `Axes.plot`.

        Returns
        -------
        display : TrainingCurveDisplay

        Raises
        ------
        ValueError
            If nothing was trained.
        ImportError
            Without matplotlib.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        model = Fitted(estimator, cls.__name__, generative=True).model
        # An epoch that was cut off has no loss.
        history = [epoch for epoch in model.history_ if "train_loss" in epoch]
        if not history:
            raise ValueError(
                "history_ is empty: nothing was trained (max_epochs=0, or too few rows to hold some"
                " out), so that there is no curve to draw."
            )
        valid_loss = None
        if all("valid_loss" in epoch for epoch in history):
            valid_loss = np.array([epoch["valid_loss"] for epoch in history])
        best = dict(model.net_.callbacks_)["best_epoch"]
        start_name = "start"
        if not model.warm_start and valid_loss is not None:
            start_name = "start: PCA" if model.init == "pca" else "start: random weights"
        display = cls(
            np.arange(1, len(history) + 1),
            np.array([epoch["train_loss"] for epoch in history]),
            valid_loss=valid_loss,
            start_loss=None if valid_loss is None else best.start_loss(),
            best_epoch=model.best_epoch_,
            start_name=start_name,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        **kwargs
            Of `Axes.plot`.

        Returns
        -------
        self : TrainingCurveDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        from matplotlib.lines import Line2D
        from matplotlib.ticker import MaxNLocator

        self.ax_ = ax = one_axes(ax, (6.4, 4.0))
        self.figure_ = ax.figure
        one = {"marker": "o", "ms": 4} if len(self.epochs) == 1 else {}
        style = styled(one | {"lw": 1.6}, kwargs, Line2D)
        self.lines_ = ax.plot(
            self.epochs, self.train_loss, **{"color": GREY, "label": "training rows"} | style
        )
        curve = self.train_loss
        if self.valid_loss is not None:
            curve = self.valid_loss
            held_out = {"color": OKABE_ITO[0], "label": "held-out rows"} | style
            self.lines_ += ax.plot(self.epochs, self.valid_loss, **held_out)
        if self.start_loss is not None:
            level = {"color": "black", "ls": "--", "lw": 1.2, "zorder": 1.5}
            self.lines_.append(ax.axhline(self.start_loss, label=self.start_name, **level))
        if self.best_epoch is not None and (self.best_epoch or self.start_loss is not None):
            at = curve[self.best_epoch - 1] if self.best_epoch else self.start_loss
            label = f"kept: epoch {self.best_epoch}" if self.best_epoch else "kept: the start"
            mark = {"ls": "", "marker": "D", "ms": 7, "mfc": "white", "mew": 1.6}
            ax.plot(self.best_epoch, at, color=OKABE_ITO[5], label=label, zorder=3, **mark)
        self._limit(curve)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("epoch")
        ax.set_ylabel("loss: −ELBO, nats per row")
        # Above the line of the start, which runs through all of the width.
        ax.legend(framealpha=0.9, edgecolor="none")
        without_top(ax)
        return self

    def _limit(self, curve):
        """Leave out what the first epochs alone have, far above all others."""
        losses = np.concatenate(
            [self.train_loss, curve, [] if self.start_loss is None else [self.start_loss]]
        )
        losses = losses[np.isfinite(losses)]
        if len(losses) < 10:
            return
        low, high = losses.min(), np.percentile(losses, 95)
        if self.start_loss is not None and np.isfinite(self.start_loss):
            high = max(high, self.start_loss)
        if losses.max() - low > 2.5 * (high - low) > 0:
            self.ax_.set_ylim(low - 0.05 * (high - low), high + 0.2 * (high - low))
