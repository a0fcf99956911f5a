"""TraversalDisplay: what each component does to a reconstruction."""

from numbers import Real

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

from .._input import check_count
from .colours import OKABE_ITO
from .columns import Columns, shortened
from .fitted import Fitted
from .panels import (
    checked_image_shape,
    draw_images,
    is_last_row,
    one_axes,
    panel_axes,
    range_of,
    styled,
    without_top,
)

_MOST_COMPONENTS = 16


class TraversalDisplay:
    """How a reconstruction changes as one component goes from low to high and the others stay.

    Of images a strip for each component. Of tables a panel for each component, in which each column
    goes from an open to a filled mark, in its own standard deviations; of a category it is the
    probability, in the standard deviations of the column that is 1 where a row has the category.

    It is recommended to use `from_estimator` to create it. All parameters are stored as attributes.

    Parameters
    ----------
    values : ndarray of shape (n_components, n_steps, n_features)
        Reconstructions in the units of X; of categories probabilities, a feature for each.
    steps : ndarray of shape (n_steps,)
        Places along the component, in its standard deviations from where it starts.
    image_shape : tuple of int or None, default=None
        (height, width) or (height, width, channels), channels last; None is a table.
    centre, scale : ndarray of shape (n_features,) or None, default=None
        Mean and standard deviation of the features over the rows. Needed for tables; a feature of
        which both are NaN, as of a column without an observed cell, has no units and is not drawn.
    value_range : tuple of two floats or None, default=None
        What is white and what is black in images; None is the least and the largest of `values`.
    feature_names : list of str or None, default=None
    component_names : list of str or None, default=None
    n_components : int or None, default=None
        How many the model has, where not all are drawn, which is then written (of tables in a
        figure of its own);
    n_features : int or None, default=None
        and so of the features of a table.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        A single one of images, one for each component of tables.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvae import VAETransformer
    >>> from skvae.displays import TraversalDisplay
    >>> X = load_digits().data
    >>> vae = VAETransformer(4, max_epochs=5, random_state=0).fit(X)
    >>> display = TraversalDisplay.from_estimator(vae, X, image_shape=(8, 8))
    >>> display.values.shape
    (4, 7, 64)
    """

    def __init__(
        self,
        values,
        *,
        steps,
        image_shape=None,
        centre=None,
        scale=None,
        value_range=None,
        feature_names=None,
        component_names=None,
        n_components=None,
        n_features=None,
    ):
        self.values = values
        self.steps = steps
        self.image_shape = image_shape
        self.centre = centre
        self.scale = scale
        self.value_range = value_range
        self.feature_names = feature_names
        self.component_names = component_names
        self.n_components = n_components
        self.n_features = n_features

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        components=None,
        image_shape=None,
        start=None,
        reach=2.0,
        n_steps=7,
        feature_names=None,
        max_features=30,
        condition=None,
        ax=None,
        **kwargs,
    ):
        """Draw what the components of a fitted model do.

        Parameters
        ----------
        estimator : VAETransformer, PCA, or a Pipeline or search that ends in one
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            Rows that say what a standard deviation is, of a component and of a column; of more than
            5,000 a random part.
        components : int, sequence of int or None, default=None
            None is the first eight; at most 16.
        image_shape : tuple of int or None, default=None
            (height, width) or (height, width, channels), channels last.
        start : array-like or DataFrame of shape (1, n_features), or None, default=None
            The row that the others are changed from. None is the mean of the rows' components.
        reach : float, default=2.0
            How far a component goes to either side, in its standard deviations over the rows.
        n_steps : int, default=7
        feature_names : list of str or None, default=None
            For the columns of an array.
        max_features : int, default=30
            Of a table with more features, those that change most.
        condition : array-like, Series, DataFrame or None, default=None
            Where the model was fitted with one: of each row, and the reconstructions are then under
            that of `start`'s place, the first; or one for all.
        ax : matplotlib Axes, array of Axes or None, default=None
        **kwargs
            Of `Axes.imshow` or, of tables, `Axes.plot`.

        Returns
        -------
        display : TraversalDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        check_count("n_steps", n_steps, least=2)
        if not isinstance(reach, Real) or not 0 < reach < np.inf:
            raise ValueError(f"reach must be a finite number above 0, got {reach!r}.")
        check_count("max_features", max_features)
        fitted = Fitted(estimator, cls.__name__, condition=condition)
        chosen, of = fitted.first_components(components, _MOST_COMPONENTS)
        X = fitted.some(X)
        T = fitted.transform(X)
        origin = T.mean(axis=0)
        fitted.one_condition()
        if start is not None:
            origin = fitted.transform(start)
            if len(origin) != 1:
                raise ValueError(f"start has {len(origin)} rows; needed is one, of shape (1, d).")
            origin = origin[0]
        steps = np.linspace(-reach, reach, n_steps)
        places = np.tile(origin, (len(chosen), n_steps, 1))
        for i, j in enumerate(chosen):
            places[i, :, j] += steps * T[:, j].std()
        flat = places.reshape(-1, T.shape[1])
        shown = fitted.shown(X)
        columns = Columns.of_fitted(fitted, shown, feature_names)
        rows, names = columns.numbers(shown), columns.names
        values = columns.in_days(fitted.decoded(flat))
        if image_shape is not None:
            image_shape = checked_image_shape(image_shape, values.shape[1])
            centre = scale = names = None
            value_range = range_of(rows)
        else:
            value_range = None
            rows, values, names = _spread_codes(fitted, columns, rows, values, flat)
            centre, scale = _units(rows)
        values, of_features = values.reshape(len(chosen), n_steps, -1), None
        if image_shape is None and values.shape[2] > max_features:
            of_features = values.shape[2]
            change = (values - centre) / np.where(scale > 0, scale, np.inf)
            most = np.sort(np.argsort(-np.ptp(change, axis=1).max(axis=0))[:max_features])
            values, centre, scale = values[:, :, most], centre[most], scale[most]
            names = [names[j] for j in most]
        display = cls(
            values,
            steps=steps,
            image_shape=image_shape,
            centre=centre,
            scale=scale,
            value_range=value_range,
            feature_names=names,
            component_names=fitted.component_names(chosen),
            n_components=of,
            n_features=of_features,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, array of Axes or None, default=None
            Of a table an Axes for each component, or one in whose place they are drawn.
        **kwargs
            Of `Axes.imshow` or, of tables, `Axes.plot`.

        Returns
        -------
        self : TraversalDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        names = self.component_names
        names = names or [f"component {j}" for j in range(len(self.values))]
        if self.image_shape is None:
            self._plot_table(names, ax, kwargs)
        else:
            self._plot_images(names, ax, kwargs)
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.figure
        return self

    def _plot_images(self, names, ax, options):
        k, n_steps = self.values.shape[:2]
        ax = one_axes(ax, (2.2 + 0.75 * n_steps, 0.7 + 0.75 * k))
        steps = [f"{step:+.2g}".replace("-", "−") if step else "0" for step in self.steps]
        draw_images(
            ax,
            self.values,
            self.image_shape,
            rows=[name.replace(" (", "\n(") for name in names],
            columns=steps,
            value_range=self.value_range,
            **options,
        )
        label = "standard deviations of the component"
        if self.n_components is not None:
            label += f" ({k} of {self.n_components} components)"
        ax.set_xlabel(label)
        self.axes_ = np.array([ax], dtype=object)

    def _plot_table(self, names, ax, options):
        from matplotlib.lines import Line2D

        k, _, d = self.values.shape
        z = (self.values - self.centre) / np.where(self.scale > 0, self.scale, 1.0)
        size = (max(2.3, 0.5 + 2.0), 1.1 + 0.24 * d)
        self.axes_ = panel_axes(k, ax, n_columns=4, size=size, sharey=True, sharex=True)
        heights = np.arange(d)
        labels = [shortened(name) for name in self.feature_names or map("x{}".format, range(d))]
        options = styled({}, options, Line2D)
        colour = options.pop("color", OKABE_ITO[0])
        for i, (panel, name) in enumerate(zip(self.axes_, names, strict=True)):
            panel.axvline(0, color="0.8", lw=0.8, zorder=0)
            panel.hlines(heights, 0, 1, transform=panel.get_yaxis_transform(), **_FAINT)
            for j in heights:
                path = z[i, :, j]
                line = {"color": colour, "linewidth": 1.4, "zorder": 2} | options
                panel.plot(path, np.full(len(path), j), **line)
                inner = {"ls": "", "marker": "|", "ms": 5, "color": colour, "zorder": 2}
                panel.plot(path[1:-1], np.full(len(path) - 2, j), **inner)
            low = {"ls": "", "marker": "o", "ms": 5, "color": colour, "mfc": "white", "zorder": 3}
            panel.plot(z[i, 0], heights, label=_signed(self.steps[0]), **low)
            panel.plot(z[i, -1], heights, label=_signed(self.steps[-1]), **low | {"mfc": colour})
            panel.set_title(name.replace(" (", "\n("), fontsize="medium")
            panel.set_yticks(heights, labels)
            left = panel.get_subplotspec() is None or panel.get_subplotspec().is_first_col()
            panel.tick_params(axis="y", length=0, labelleft=left)
            without_top(panel)
            panel.spines["left"].set_visible(False)
        self.axes_[0].set_ylim(d - 0.4, -0.6)
        figure = self.axes_[0].figure
        bottom = [
            panel for i, panel in enumerate(self.axes_) if i + min(4, k) >= k or is_last_row(panel)
        ]
        for panel in self.axes_:
            panel.tick_params(axis="x", labelbottom=panel in bottom)
        for panel in bottom:
            panel.set_xlabel("column, in its s.d.")
        if ax is None:
            titles = []
            if self.n_components is not None:
                titles.append(f"{k} of {self.n_components} components")
            if self.n_features is not None:
                titles.append(f"the {d} of {self.n_features} features that change most")
            if titles:
                figure.suptitle(", ".join(titles), fontsize="medium", color="0.4")
            handles, found = self.axes_[0].get_legend_handles_labels()
            figure.legend(
                handles,
                [f"component at {label} s.d." for label in found],
                loc="outside lower center",
                ncols=2,
                frameon=False,
            )


_FAINT = {"color": "0.93", "lw": 0.8, "zorder": 0}


def _units(rows):
    """Means and standard deviations of columns, of the cells that are there; NaN where none is."""
    centre, scale = np.full((2, rows.shape[1]), np.nan)
    seen = ~np.isnan(rows).all(axis=0)
    centre[seen] = np.nanmean(rows[:, seen], axis=0)
    scale[seen] = np.nanstd(rows[:, seen], axis=0)
    return centre, scale


def _signed(step):
    return f"{step:+.2g}".replace("-", "−")


def _spread_codes(fitted, columns, rows, values, T):
    """Rows (n, d) and reconstructions with a feature for each category instead of each column of
    codes, and their names."""
    if not any(columns.levels) or not fitted.is_vae:
        return rows, values, columns.names
    features, of_feature, codes, names = columns.features(fitted)
    probabilities = fitted.probabilities(T)
    # Probabilities are of the features with codes alone.
    places = np.cumsum(np.asarray(fitted.likelihood.feature_columns()[1]) >= 0) - 1
    parts, changed = [], []
    for feature, j, code in zip(features, of_feature, codes, strict=True):
        if code < 0:
            parts.append(rows[:, j])
            changed.append(values[:, j])
        else:
            parts.append(np.where(np.isnan(rows[:, j]), np.nan, rows[:, j] == code))
            changed.append(probabilities[:, places[feature]])
    return np.column_stack(parts), np.column_stack(changed), names
