"""BiplotDisplay: rows in the plane of two components, and columns as arrows among them."""

import numpy as np
from sklearn.isotonic import isotonic_regression
from sklearn.utils._optional_dependencies import check_matplotlib_support

from .._input import check_count
from .columns import shortened
from .fitted import Fitted
from .latent_space import LatentSpaceDisplay
from .loadings import loadings_of

# Characters of a name, and the part of the Axes that limits leave to it.
_LONGEST, _WIDEST = 18, 0.3


class BiplotDisplay:
    """Rows in the plane of two components, and columns as arrows among them.

    An arrow has the loadings of its column (see `LoadingsDisplay`) in units of each component's
    standard deviation, all arrows by one factor: of PCA, the correlation biplot. It is recommended
    to use `from_estimator` to create it. All parameters are stored as attributes.

    Parameters
    ----------
    T : ndarray of shape (n_samples, 2)
        The chosen columns of `transform`.
    loadings : ndarray of shape (2, n_features)
    feature_names : list of str
    y : array-like of shape (n_samples,) or None, default=None
        As in `LatentSpaceDisplay`.
    component_names : list of str or None, default=None

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    arrows_ : list of Annotation
    scatter_ : list of PathCollection

    References
    ----------
    K. R. Gabriel, "The Biplot Graphic Display of Matrices with Application to Principal Component
    Analysis", Biometrika 58, 1971.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.displays import BiplotDisplay
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> vae = VAETransformer(2, max_epochs=5, random_state=0).fit(X)
    >>> display = BiplotDisplay.from_estimator(vae, X, y)
    >>> display.loadings.shape
    (2, 4)
    """

    def __init__(self, T, loadings, *, feature_names, y=None, component_names=None):
        self.T = T
        self.loadings = loadings
        self.feature_names = feature_names
        self.y = y
        self.component_names = component_names

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        components=None,
        feature_names=None,
        max_features=10,
        condition=None,
        ax=None,
        **kwargs,
    ):
        """Draw the rows X and their columns by a fitted model.

        Parameters
        ----------
        estimator : VAETransformer, PCA, or a Pipeline or search that ends in one
            With at least two components.
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or None, default=None
            What colours the rows.
        components : pair of int, or None, default=None
            None is the first two.
        feature_names : list of str or None, default=None
            For the columns of an array.
        max_features : int, default=10
            Of more features, those with the longest arrows.
        condition : array-like, Series, DataFrame or None, default=None
            Of the rows, where the model was fitted with one.
        ax : matplotlib Axes or None, default=None
        **kwargs
            Of `Axes.scatter`.

        Returns
        -------
        display : BiplotDisplay

        Raises
        ------
        ValueError
            If there are not two components, or as `LatentSpaceDisplay` raises it.
        ImportError
            Without matplotlib.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        check_count("max_features", max_features)
        fitted = Fitted(estimator, cls.__name__, condition=condition)
        chosen = fitted.components(components, 2)
        if len(chosen) != 2:
            raise ValueError(
                f"{cls.__name__} needs two components; got {len(chosen)}. LatentSpaceDisplay and "
                "LoadingsDisplay draw one too."
            )
        T = fitted.transform(X)[:, chosen]
        loadings, names = loadings_of(fitted, X, feature_names)
        loadings = loadings[chosen]
        longest = np.sort(np.argsort(-np.linalg.norm(loadings, axis=0))[:max_features])
        display = cls(
            T,
            loadings[:, longest],
            feature_names=[names[j] for j in longest],
            y=y,
            component_names=fitted.component_names(chosen),
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        **kwargs
            Of `Axes.scatter`.

        Returns
        -------
        self : BiplotDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        rows = LatentSpaceDisplay(self.T, y=self.y, component_names=self.component_names)
        rows.plot(ax=ax, **{"alpha": 0.35} | kwargs)
        self.ax_, self.figure_, self.scatter_ = rows.ax_, rows.figure_, rows.scatter_
        centre, spread = self.T.mean(axis=0), self.T.std(axis=0)
        directions = self.loadings.T * spread
        reach = np.abs(self.T - centre).max(axis=0)
        # The longest arrow ends where the rows do, along one of the axes.
        longest = (np.abs(directions) / np.where(reach > 0, reach, np.inf)).max()
        tips = centre + directions * (0.85 / longest if longest > 0 else 0.0)
        self.arrows_ = [
            self.ax_.annotate(
                "",
                tip,
                centre,
                arrowprops={"arrowstyle": "->", "color": "black", "lw": 1.2, "shrinkA": 0},
                zorder=4,
            )
            for tip in tips
        ]
        self.ax_.update_datalim(tips)
        self.ax_.autoscale_view()
        self._name(tips, centre)
        return self

    def _name(self, tips, centre):
        """Names beside the tips, moved apart where they would lie upon each other."""
        (left, right), (low, high) = self.ax_.get_xlim(), self.ax_.get_ylim()
        width, gap = right - left, 0.055 * (high - low)
        self.ax_.set_ylim(low, high)
        names = []
        for sign in (1, -1):
            side = np.flatnonzero((tips[:, 0] >= centre[0]) == (sign > 0))
            side = side[np.argsort(tips[side, 1])]
            if not len(side):
                continue
            places = _apart(tips[side, 1], gap, low + gap / 2, high - gap / 2)
            # Where one is moved all stand in a column.
            away = (np.abs(places - tips[side, 1]) > gap / 3).any()
            beyond = sign * (sign * tips[side, 0]).max() + sign * 0.06 * width
            for feature, place in zip(side, places, strict=True):
                at = beyond if away else tips[feature, 0] + sign * 0.015 * width
                name = self.ax_.annotate(
                    shortened(self.feature_names[feature], _LONGEST),
                    tips[feature],
                    (at, place),
                    ha="left" if sign > 0 else "right",
                    va="center",
                    fontsize="small",
                    bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
                    arrowprops={"arrowstyle": "-", "color": "0.5", "lw": 0.6} if away else None,
                    zorder=5,
                )
                name.set_in_layout(False)
                names.append((name, sign, at))
        self._make_room(names)

    def _make_room(self, names):
        """Limits of the Axes that its names, each from a place to its right (1) or left (-1), do
        not cross, as far as the Axes is not too narrow for them."""
        from matplotlib.text import Text

        if self.ax_.xaxis_inverted():
            return
        left, right = self.ax_.get_xlim()
        # The layout first, which says how wide the Axes is.
        self.figure_.figure.draw_without_rendering()
        width = self.ax_.get_window_extent().width
        parts = [Text.get_window_extent(name).width / width for name, _, _ in names]
        parts = np.minimum(parts, _WIDEST)
        for _ in range(10):
            # The wider the limits, the more of the data a name is as long as.
            ends = [
                at + sign * (part + 0.01) * (right - left)
                for (_, sign, at), part in zip(names, parts, strict=True)
            ]
            left, right = min([left, *ends]), max([right, *ends])
        self.ax_.set_xlim(left, right)


def _apart(places, gap, low, high):
    """Increasing places moved as little as keeps them `gap` apart, within two ends if there is
    room."""
    steps = gap * np.arange(len(places))
    apart = isotonic_regression(np.asarray(places) - steps) + steps
    return apart + max(0.0, low - apart[0]) - max(0.0, apart[-1] - high)
