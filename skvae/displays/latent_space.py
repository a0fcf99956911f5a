"""LatentSpaceDisplay: rows in the plane of two components."""

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils._optional_dependencies import check_matplotlib_support

from ..moments import some_rows
from .colours import GREY, OKABE_ITO, styles, targets_of
from .fitted import Fitted
from .panels import one_axes, styled, without_top

# Ellipses of all rows where there are few, else of some.
_ALL_ELLIPSES, _SOME_ELLIPSES = 200, 60
# More classes are named in the picture beside the legend, if their names have so few characters.
_FEW_CLASSES, _SHORT = 5, 2


class LatentSpaceDisplay:
    """Rows in the plane of two components, with how sure the model is of where they are.

    It is recommended to use `from_estimator` to create it. All parameters are stored as attributes.

    Parameters
    ----------
    T : ndarray of shape (n_samples, 1) or (n_samples, 2)
        The chosen columns of `transform`. Of one column the height says the class, or y itself.
    y : array-like of shape (n_samples,) or None, default=None
        Strings, bools, categories and whole numbers of at most 20 values are classes, other numbers
        a quantity.
    std : ndarray of the shape of T, or None, default=None
        Standard deviation of the posterior of each row, in the units of T.
    component_names : list of str or None, default=None

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    scatter_ : list of PathCollection
        One for each kind of marker; up to ten classes share one.
    ellipses_ : EllipseCollection, LineCollection or None
        One posterior standard deviation in each direction around some rows; lines where there is
        one component.

    See Also
    --------
    BiplotDisplay : The same with the directions of the columns of X.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.displays import LatentSpaceDisplay
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> vae = VAETransformer(2, max_epochs=5, random_state=0).fit(X)
    >>> display = LatentSpaceDisplay.from_estimator(vae, X, y)
    >>> display.T.shape
    (150, 2)
    """

    def __init__(self, T, *, y=None, std=None, component_names=None):
        self.T = T
        self.y = y
        self.std = std
        self.component_names = component_names

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        components=None,
        ellipses="auto",
        condition=None,
        ax=None,
        **kwargs,
    ):
        """Draw the rows X by a fitted model.

        Parameters
        ----------
        estimator : VAETransformer, PCA, or a Pipeline or search that ends in one
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or None, default=None
            What colours the rows.
        components : int, or pair of int, or None, default=None
            Columns of `transform`; None is the first two.
        ellipses : "auto", bool or int, default="auto"
            Around how many rows, picked at random, the posterior is drawn: one standard deviation
            in each direction. "auto" is all of at most 200 rows, or 60 of more, where the model has
            a posterior.
        condition : array-like, Series, DataFrame or None, default=None
            Of the rows, where the model was fitted with one.
        ax : matplotlib Axes or None, default=None
        **kwargs
            Of `Axes.scatter`.

        Returns
        -------
        display : LatentSpaceDisplay

        Raises
        ------
        ValueError
            If `y` and options of `Axes.scatter` ask for different colours or markers.
        ImportError
            Without matplotlib.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        fitted = Fitted(estimator, cls.__name__, condition=condition)
        chosen = fitted.components(components, 2)
        T, std = fitted.transform_with_std(X)
        display = cls(
            T[:, chosen],
            y=y,
            std=None if std is None else std[:, chosen],
            component_names=fitted.component_names(chosen),
        )
        return display.plot(ax=ax, ellipses=ellipses, **kwargs)

    def plot(self, ax=None, *, ellipses="auto", **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        ellipses : "auto", bool or int, default="auto"
            As in `from_estimator`.
        **kwargs
            Of `Axes.scatter`.

        Returns
        -------
        self : LatentSpaceDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        from matplotlib.collections import PathCollection

        n_rows, n_axes = self.T.shape
        n_ellipses = self._n_ellipses(ellipses)
        targets = None
        if self.y is not None:
            check_consistent_length(self.T, self.y)
            targets = targets_of(self.y)
        names = self.component_names or [f"component {j}" for j in range(n_axes)]
        self.ax_ = ax = one_axes(ax, (6.4, 4.8))
        self.figure_ = ax.figure
        points = self.T if n_axes == 2 else np.column_stack([self.T, self._heights(targets)])
        options = {"s": np.clip(6000 / n_rows, 8, 26), "alpha": 0.75, "linewidth": 0}
        options = styled(options, kwargs, PathCollection)
        if targets is not None:
            _check_free(options, targets)
        colours = self._draw_points(points, targets, options)
        self.ellipses_ = None
        if n_ellipses:
            self._draw_ellipses(points, some_rows(n_rows, n_ellipses), colours)
        self._legend(targets)
        if n_axes == 2 and targets is not None:
            self._name_classes(targets)
        ax.set_xlabel(names[0])
        if n_axes == 2:
            ax.set_ylabel(names[1])
        without_top(ax)
        return self

    def _n_ellipses(self, ellipses):
        n_rows = len(self.T)
        if ellipses == "auto":
            few = n_rows <= _ALL_ELLIPSES
            return 0 if self.std is None else (n_rows if few else _SOME_ELLIPSES)
        if not isinstance(ellipses, bool | int | np.integer) or ellipses < 0:
            raise ValueError(f"ellipses must be 'auto', a bool or how many; got {ellipses!r}.")
        if ellipses and self.std is None:
            raise ValueError(
                f"ellipses={ellipses!r} needs the posterior's standard deviations, which this model"
                " does not have: leave ellipses out."
            )
        return n_rows if ellipses is True else int(ellipses)

    def _heights(self, targets):
        """Where the rows of a single component are drawn: by class or by quantity."""
        if targets is not None and targets.codes is None:
            return targets.values
        spread = np.random.RandomState(0).uniform(-0.3, 0.3, size=len(self.T))
        return spread if targets is None else targets.codes + spread

    def _draw_points(self, points, targets, options):
        """Scatter the rows and return the colour of each."""
        from matplotlib.collections import PathCollection

        ax = self.ax_
        if targets is None:
            options = styled({"color": OKABE_ITO[0]}, options, PathCollection)
            self.scatter_ = [ax.scatter(*points.T, **options)]
            return [OKABE_ITO[0]] * len(points)
        if targets.codes is None:
            return self._draw_quantity(points, targets.values, options)
        of_classes = styles(targets.names)
        colours = np.array([of_classes[code][0] for code in targets.codes])
        markers = np.array([of_classes[code][1] for code in targets.codes])
        self.scatter_ = []
        # Rows in their order, and not class upon class.
        for marker in dict.fromkeys(markers.tolist()):
            at = markers == marker
            own = options | ({"linewidth": 1} if marker == "x" else {})
            self.scatter_.append(ax.scatter(*points[at].T, c=colours[at], marker=marker, **own))
        if self.T.shape[1] == 1:
            ax.set_yticks(range(len(targets.names)), targets.names)
            ax.set_ylabel(targets.called or "")
            ax.invert_yaxis()
        return colours

    def _draw_quantity(self, points, values, options):
        known = np.isfinite(values)
        self.scatter_ = []
        if not known.all() and self.T.shape[1] == 2:
            self.scatter_.append(self.ax_.scatter(*points[~known].T, color=GREY, **options))
        # Few values far outside would leave the others in one colour.
        low, high = np.percentile(values[known], [1, 99]) if known.any() else (0, 1)
        options = {"cmap": "viridis", "vmin": low, "vmax": high} | options
        scatter = self.ax_.scatter(*points[known].T, c=values[known], **options)
        self.scatter_.insert(0, scatter)
        return scatter.cmap(scatter.norm(np.where(known, values, np.nan)))

    def _draw_ellipses(self, points, rows, colours):
        from matplotlib.collections import EllipseCollection, LineCollection

        points, std = points[rows], self.std[rows]
        colours = [colours[row] for row in rows]
        if std.shape[1] == 1:
            ends = np.stack([points - [1, 0] * std, points + [1, 0] * std], axis=1)
            self.ellipses_ = LineCollection(ends, colors=colours, alpha=0.45, linewidths=0.8)
        else:
            self.ellipses_ = EllipseCollection(
                2 * std[:, 0],
                2 * std[:, 1],
                np.zeros(len(std)),
                units="xy",
                offsets=points,
                offset_transform=self.ax_.transData,
                facecolors="none",
                edgecolors=colours,
                linewidths=0.8,
                alpha=0.45,
            )
        self.ax_.add_collection(self.ellipses_)
        reach = std * [1, 0] if std.shape[1] == 1 else std
        finite = np.isfinite(points).all(axis=1)
        self.ax_.update_datalim(np.vstack([points - reach, points + reach])[np.tile(finite, 2)])
        self.ax_.autoscale_view()

    def _name_classes(self, targets):
        """Short names of many classes stand in the middle of them too."""
        if not len(targets.names) > _FEW_CLASSES or max(map(len, targets.names)) > _SHORT:
            return
        for code, name in enumerate(targets.names):
            middle = np.median(self.T[targets.codes == code], axis=0)
            box = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.7}
            middle_of = {"ha": "center", "va": "center", "weight": "bold", "bbox": box}
            self.ax_.annotate(name, middle, size=12, **middle_of)

    def _legend(self, targets):
        from matplotlib.lines import Line2D

        handles, title = [], None
        if targets is not None and targets.codes is None:
            if self.T.shape[1] == 2:
                bar = self.figure_.colorbar(self.scatter_[0], ax=self.ax_, extend="both")
                bar.set_label(targets.called or "y")
                bar.solids.set_alpha(1)
            else:
                self.ax_.set_ylabel(targets.called or "y")
        elif targets is not None and self.T.shape[1] == 2:
            title = targets.called
            handles = [
                Line2D([], [], ls="", marker=marker, color=colour, markersize=6, label=name)
                for name, (colour, marker) in zip(targets.names, styles(targets.names), strict=True)
            ]
        if self.ellipses_ is not None:
            line = self.T.shape[1] == 1
            shape = {"ls": "-"} if line else {"ls": "", "marker": "o", "markersize": 10}
            handles.append(
                Line2D(
                    [], [], color=GREY, markerfacecolor="none", label="1 posterior s.d.", **shape
                )
            )
        if handles:
            named_alone = len(handles) == (self.ellipses_ is not None)
            place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
            # Beside the Axes a layout makes room for it; without one another Axes may be there.
            if named_alone or self.figure_.get_layout_engine() is None:
                place = {"loc": "best", "framealpha": 0.8, "edgecolor": "none"}
            else:
                place |= {"frameon": False}
            self.ax_.legend(handles=handles, title=title, **place)


def _check_free(options, targets):
    """Raise a ValueError where options of `scatter` say what y says."""
    taken = {"c", "color", "facecolor"} | (set() if targets.codes is None else {"marker"})
    for name in options:
        if name in taken:
            of_rows = "markers" if name == "marker" else "colours"
            raise ValueError(
                f"{name} is given, but y says what the {of_rows} of the rows are: leave one of "
                "them out."
            )
