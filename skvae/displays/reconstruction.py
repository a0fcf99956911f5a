"""ReconstructionDisplay: rows and what is left of them behind the components."""

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils._optional_dependencies import check_matplotlib_support

from .._input import check_count
from ..moments import some_rows
from ..tables import is_frame
from .colours import OKABE_ITO
from .columns import Columns, n_columns_of, shortened
from .fitted import Fitted, dense
from .marginals import label_values
from .panels import (
    checked_image_shape,
    draw_images,
    one_axes,
    panel_axes,
    range_of,
    styled,
    without_top,
)

_MOST_PANELS = 16
# Of bars of errors, 1 saying nothing: those that go on would leave nothing to see of the others.
_LONGEST_BAR = 2.0
# Of categories that are drawn one beside the other.
_MOST_LEVELS = 10
_KINDS = ("auto", "values", "error")


class ReconstructionDisplay:
    """Rows beside their reconstructions.

    Of images originals above reconstructions. Of tables a panel for each column, actual values
    against reconstructed ones, with R2 or the accuracy; or one panel with each column's error. It
    is recommended to use `from_estimator` or `from_predictions` to create it. All parameters are
    stored as attributes.

    Parameters
    ----------
    X, X_reconstructed : ndarray of shape (n_samples, n_features)
        Categories by codes; missing cells NaN.
    image_shape : tuple of int or None, default=None
        (height, width) or (height, width, channels), channels last; None is a table.
    feature_names : list of str or None, default=None
    kinds : list of {"number", "date", "category"} or None, default=None
        What the columns are; None is all numbers.
    levels : list of list of str or None, default=None
        The names of the categories of each column.

    Attributes
    ----------
    error_ : ndarray of shape (n_features,)
        1 - R2 of numbers and dates, over the rows where the column is not missing: the mean squared
        error over that of the column's mean. Of categories the share of wrong ones over that of the
        most frequent one. 0 is perfect; 1 says nothing of the row; NaN is a constant column. In few
        rows a column may hardly vary, and its error be many: bars end at 2, with the number beside.
    axes_ : ndarray of matplotlib Axes
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.displays import ReconstructionDisplay
    >>> X = load_iris(as_frame=True).data
    >>> vae = VAETransformer(2, max_epochs=0).fit(X)
    >>> display = ReconstructionDisplay.from_estimator(vae, X)
    >>> display.error_.round(2)
    array([0.04, 0.16, 0.  , 0.06])
    """

    def __init__(
        self,
        X,
        X_reconstructed,
        *,
        image_shape=None,
        feature_names=None,
        kinds=None,
        levels=None,
    ):
        self.X = X
        self.X_reconstructed = X_reconstructed
        self.image_shape = image_shape
        self.feature_names = feature_names
        self.kinds = kinds
        self.levels = levels

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        image_shape=None,
        columns=None,
        kind="auto",
        n_images=10,
        feature_names=None,
        condition=None,
        ax=None,
        **kwargs,
    ):
        """Draw rows X and what `inverse_transform` makes of `transform(X)`.

        Parameters
        ----------
        estimator : VAETransformer, PCA, or a Pipeline or search that ends in one
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            Of more than 5,000 rows a random part. Of images the first `n_images` are drawn.
        image_shape : tuple of int or None, default=None
            (height, width) or (height, width, channels), channels last.
        columns : list of str or int, or None, default=None
            The columns of a table to draw; None is all.
        kind : {"auto", "values", "error"}, default="auto"
            Of a table: a panel for each column, or the error of each. "auto" is the first for at
            most 16 columns.
        n_images : int, default=10
        feature_names : list of str or None, default=None
            For the columns of an array.
        condition : array-like, Series, DataFrame or None, default=None
            Of the rows, where the model was fitted with one.
        ax : matplotlib Axes, array of Axes or None, default=None
        **kwargs
            Of `Axes.imshow`, `Axes.scatter` or `Axes.barh`.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        fitted = Fitted(estimator, cls.__name__, condition=condition)
        X = fitted.some(X)
        shown = fitted.shown(X)
        of_columns = Columns.of_fitted(fitted, shown, feature_names)
        decoded = of_columns.in_days(fitted.decoded(fitted.transform(X)))
        display = cls._of(of_columns, of_columns.numbers(shown), decoded, image_shape, columns)
        return display.plot(ax=ax, kind=kind, n_images=n_images, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        X,
        X_reconstructed,
        *,
        image_shape=None,
        columns=None,
        kind="auto",
        n_images=10,
        feature_names=None,
        ax=None,
        **kwargs,
    ):
        """Draw rows and given reconstructions of them, whatever these were made by.

        Parameters
        ----------
        X, X_reconstructed : array-like, sparse matrix or DataFrame of shape \
                (n_samples, n_features)
            Of the same columns.
        image_shape, columns, kind, n_images, feature_names, ax, **kwargs
            As in `from_estimator`.

        Returns
        -------
        display : ReconstructionDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_predictions")
        if np.shape(X) != np.shape(X_reconstructed):
            raise ValueError(
                f"X has shape {np.shape(X)} and X_reconstructed {np.shape(X_reconstructed)}; "
                "needed is a reconstruction of each row."
            )
        n_columns_of(X)
        kept = some_rows(np.shape(X)[0], 5000)
        X, X_reconstructed = _safe_indexing(X, kept), _safe_indexing(X_reconstructed, kept)
        of_columns = Columns.of_rows(X, feature_names)
        numbers = of_columns.numbers(X)
        if is_frame(X) and not is_frame(X_reconstructed) and "category" not in of_columns.kinds:
            decoded = of_columns.in_days(np.asarray(dense(X_reconstructed), dtype=np.float64))
        else:
            decoded = of_columns.numbers(X_reconstructed)
        display = cls._of(of_columns, numbers, decoded, image_shape, columns)
        return display.plot(ax=ax, kind=kind, n_images=n_images, **kwargs)

    @classmethod
    def _of(cls, of_columns, X, decoded, image_shape, columns):
        names, kinds, levels = of_columns.names, of_columns.kinds, of_columns.levels
        if image_shape is not None:
            image_shape = checked_image_shape(image_shape, X.shape[1])
        elif columns is not None:
            chosen = of_columns.chosen(columns)
            X, decoded = X[:, chosen], decoded[:, chosen]
            names, kinds, levels = ([part[j] for j in chosen] for part in (names, kinds, levels))
        return cls(
            X, decoded, image_shape=image_shape, feature_names=names, kinds=kinds, levels=levels
        )

    def plot(self, ax=None, *, kind="auto", n_images=10, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, array of Axes or None, default=None
            An Axes for each panel, or one in whose place they are drawn.
        kind, n_images, **kwargs
            As in `from_estimator`.

        Returns
        -------
        self : ReconstructionDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        if kind not in _KINDS:
            raise ValueError(f"kind must be one of {', '.join(map(repr, _KINDS))}; got {kind!r}.")
        d = self.X.shape[1]
        self._names = [
            shortened(name) for name in self.feature_names or map("x{}".format, range(d))
        ]
        self._kinds = self.kinds or ["number"] * d
        self.error_ = np.array([self._error(j) for j in range(d)])
        if self.image_shape is not None:
            self._plot_images(ax, n_images, kwargs)
        elif kind == "error" or (kind == "auto" and d > _MOST_PANELS):
            self._plot_errors(ax, kwargs)
        else:
            self._plot_values(ax, kwargs)
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.figure
        return self

    def _pair(self, j):
        """Column j and its reconstruction, where it is not missing."""
        known = np.isfinite(self.X[:, j]) & np.isfinite(self.X_reconstructed[:, j])
        return self.X[known, j], self.X_reconstructed[known, j]

    def _error(self, j):
        x, again = self._pair(j)
        if not len(x):
            return np.nan
        if self._kinds[j] == "category":
            wrong = (x != np.rint(again)).mean()
            _, counts = np.unique(x, return_counts=True)
            by_guess = 1 - counts.max() / len(x)
        else:
            wrong, by_guess = ((x - again) ** 2).mean(), x.var()
        return wrong / by_guess if by_guess > 0 else np.nan

    def _plot_images(self, ax, n_images, options):
        check_count("n_images", n_images)
        pairs = np.stack([self.X[:n_images], self.X_reconstructed[:n_images]])
        n_images = pairs.shape[1]
        ax = one_axes(ax, (1.4 + 0.75 * n_images, 1.8))
        rows = ["rows", "reconstructed"]
        draw_images(ax, pairs, self.image_shape, rows=rows, value_range=range_of(self.X), **options)
        self.axes_ = np.array([ax], dtype=object)

    def _plot_errors(self, ax, options):
        from matplotlib.patches import Patch

        d = len(self.error_)
        ax = one_axes(ax, (6.0, 1.0 + 0.2 * d))
        places = np.arange(d)
        bars = styled({"color": OKABE_ITO[0], "height": 0.7}, options, Patch)
        drawn = ax.barh(places, self.error_, **bars)
        # Numbers too: a good reconstruction has bars too short to be seen.
        numbers = [_in_short(error) if error <= _LONGEST_BAR else "" for error in self.error_]
        ax.bar_label(drawn, numbers, padding=3, fontsize="x-small", color="0.3")
        ax.axvline(1, color="black", ls="--", lw=1)
        beyond = np.flatnonzero(self.error_ > _LONGEST_BAR)
        if len(beyond):
            ax.set_xlim(0, _LONGEST_BAR)
        for j in beyond:
            text, at = f"→ {self.error_[j]:,.1f}", ax.get_yaxis_transform()
            ax.text(1.01, j, text, transform=at, va="center", fontsize="small")
        small = {} if d <= 60 else {"fontsize": "x-small"}
        ax.set_yticks(places, self._names, **small)
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(d - 0.4, -0.6)
        categories = "category" in self._kinds
        guess = "the mean or most frequent category" if categories else "the column's mean"
        # In two lines: the layout makes no room for a label that is wider than its Axes.
        ax.set_xlabel(f"error, relative to that of\n{guess}")
        without_top(ax)
        self.axes_ = np.array([ax], dtype=object)

    def _plot_values(self, ax, options):
        d = self.X.shape[1]
        self.axes_ = panel_axes(d, ax, n_columns=4, size=(2.4, 2.3))
        for j, panel in enumerate(self.axes_):
            panel.set_title(self._names[j], fontsize="medium")
            if self._kinds[j] == "category":
                self._plot_category(panel, j)
            else:
                self._plot_number(panel, j, options)
            without_top(panel)
            spec = panel.get_subplotspec()
            if spec is None or spec.is_first_col():
                panel.set_ylabel("reconstructed")
            if spec is None or j + min(4, d) >= d:
                panel.set_xlabel("actual")

    def _plot_number(self, panel, j, options):
        from matplotlib.collections import PathCollection

        x, again = self._pair(j)
        if not len(x):
            return
        ends = [x.min(), x.max()]
        panel.plot(ends, ends, color="0.6", lw=1, zorder=1)
        size = np.clip(2500 / len(x), 4, 14)
        style = {"s": size, "color": OKABE_ITO[0], "alpha": 0.6, "linewidth": 0}
        style = styled(style, options, PathCollection)
        panel.scatter(x, again, **style)
        if np.isfinite(self.error_[j]):
            self._note(panel, rf"$R^2$ = {1 - self.error_[j]:.2f}".replace("-", "−"))
        label_values(panel, self._kinds[j], "both")

    def _plot_category(self, panel, j):
        x, again = self._pair(j)
        levels = self.levels[j] if self.levels else []
        codes = np.unique(np.concatenate([x, np.rint(again)])).astype(int)
        names = [levels[code] if code < len(levels) else str(code) for code in codes]
        x, again = np.searchsorted(codes, x), np.searchsorted(codes, np.rint(again))
        counts = np.zeros((len(codes), len(codes)))
        np.add.at(counts, (again, x), 1)
        # Of the rows of each category.
        shares = counts / np.maximum(counts.sum(axis=0), 1)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        if len(codes) <= 4:
            for (row, column), share in np.ndenumerate(shares):
                style = {"ha": "center", "va": "center", "fontsize": "small"}
                panel.text(column, row, f"{share:.0%}", color="w" if share > 0.6 else "k", **style)
        of_how_many = ""
        if len(codes) <= _MOST_LEVELS:
            short = [shortened(name, 9) for name in names]
            turned = {"rotation": 45, "ha": "right"} if sum(map(len, short)) > 16 else {}
            panel.set_xticks(range(len(codes)), short, fontsize="small", **turned)
            panel.set_yticks(range(len(codes)), short, fontsize="small")
        else:
            # In the order of their names, which have no room.
            panel.set_xticks([])
            panel.set_yticks([])
            of_how_many = f", {len(codes)} categories"
        panel.tick_params(length=0)
        right = (x == again).mean() if len(x) else np.nan
        panel.set_title(f"{self._names[j]}\n{right:.0%} right{of_how_many}", fontsize="medium")

    @staticmethod
    def _note(panel, text):
        box = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75}
        panel.text(
            0.04, 0.96, text, transform=panel.transAxes, va="top", fontsize="small", bbox=box
        )


def _in_short(error):
    return f"{error:.3f}" if error >= 0.001 or error == 0 else "< 0.001"
