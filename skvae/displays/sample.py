"""SampleDisplay: rows that the model draws, beside real ones."""

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

from .._input import check_count
from .columns import Columns, n_columns_of, shortened
from .fitted import Fitted
from .marginals import distance, draw_marginals
from .panels import (
    checked_image_shape,
    draw_images,
    one_axes,
    panel_axes,
    range_of,
)

_MOST_PANELS = 16


class SampleDisplay:
    """Rows that a model draws: a grid of images, or the marginals of a table beside real ones.

    A bar more than 20 times as high as all others is cut off, and what part of the real and of the
    drawn rows it is is written beside it.

    It is recommended to use `from_estimator` or `from_predictions` to create it. All parameters are
    stored as attributes.

    Parameters
    ----------
    X_sampled : ndarray of shape (n_draws, n_features)
        Categories by codes; missing cells NaN.
    X : ndarray of shape (n_samples, n_features) or None, default=None
        Real rows, needed for tables.
    image_shape : tuple of int or None, default=None
        (height, width) or (height, width, channels), channels last; None is a table.
    feature_names : list of str or None, default=None
    kinds : list of {"number", "date", "category"} or None, default=None
        What the columns are; None is all numbers.
    levels : list of list of str or None, default=None
        The names of the categories of each column.
    n_features : int or None, default=None
        How many columns the table has, where these are those that are furthest apart.

    Attributes
    ----------
    distance_ : ndarray of shape (n_features,), or None without real rows
        How far each column's marginals are apart, from 0 to 1: the Kolmogorov-Smirnov statistic, of
        categories the total variation.
    axes_ : ndarray of matplotlib Axes
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvae import VAETransformer
    >>> from skvae.displays import SampleDisplay
    >>> X = load_digits().data
    >>> vae = VAETransformer(8, prior="fitted", max_epochs=5, random_state=0).fit(X)
    >>> display = SampleDisplay.from_estimator(vae, X, image_shape=(8, 8), random_state=0)
    >>> display.X_sampled.shape
    (40, 64)
    """

    def __init__(
        self,
        X_sampled,
        *,
        X=None,
        image_shape=None,
        feature_names=None,
        kinds=None,
        levels=None,
        n_features=None,
    ):
        self.X_sampled = X_sampled
        self.X = X
        self.image_shape = image_shape
        self.feature_names = feature_names
        self.kinds = kinds
        self.levels = levels
        self.n_features = n_features

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        image_shape=None,
        columns=None,
        n_samples=None,
        noise=None,
        feature_names=None,
        condition=None,
        random_state=None,
        ax=None,
        **kwargs,
    ):
        """Draw what a fitted model draws.

        Parameters
        ----------
        estimator : VAETransformer, or a Pipeline or search that ends in one
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            Real rows; of more than 5,000 a random part. Of images they say what is black and white.
        image_shape : tuple of int or None, default=None
            (height, width) or (height, width, channels), channels last.
        columns : list of str or int, or None, default=None
            The columns of a table to draw; None is all, and of more than 16 those whose marginals
            are furthest apart.
        n_samples : int or None, default=None
            How many rows are drawn; None is 40 images, or as many as there are real rows.
        noise : bool or None, default=None
            Whether the observation noise is drawn too; None is only for tables: images are then the
            means of p(x|z).
        feature_names : list of str or None, default=None
            For the columns of an array.
        condition : array-like, Series, DataFrame, dict or None, default=None
            Where the model was fitted with one: of each row of X (the drawn rows are then under
            those of some of these, at random), or one for all.
        random_state : int, RandomState instance or None, default=None
            As in `VAETransformer.sample`.
        ax : matplotlib Axes, array of Axes or None, default=None
        **kwargs
            Of `Axes.imshow`, or of `Axes.hist` and `Axes.bar` for the drawn rows. Of columns of few
            whole numbers and of categories, which have a bar each, `bins` and the like say nothing.

        Returns
        -------
        display : SampleDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        if n_samples is not None:
            check_count("n_samples", n_samples)
        fitted = Fitted(estimator, cls.__name__, generative=True, condition=condition)
        X = fitted.some(X)
        shown = fitted.shown(X)
        of_columns = Columns.of_fitted(fitted, shown, feature_names)
        rows = of_columns.numbers(shown)
        images = image_shape is not None
        if images:
            image_shape = checked_image_shape(image_shape, rows.shape[1])
        if n_samples is None:
            n_samples = 40 if images else len(rows)
        drawn = fitted.model.sample(
            n_samples,
            random_state,
            noise=not images if noise is None else noise,
            **fitted.condition_of_draws(n_samples, len(rows)),
        )
        drawn = of_columns.numbers(fitted.undone(drawn))
        display = cls._of(of_columns, drawn, rows, image_shape, columns)
        return display.plot(ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls, X_sampled, X, *, image_shape=None, columns=None, feature_names=None, ax=None, **kwargs
    ):
        """Draw given rows, whatever these were drawn by.

        Parameters
        ----------
        X_sampled : array-like or DataFrame of shape (n_draws, n_features)
        X : array-like or DataFrame of shape (n_samples, n_features)
            Real rows, of the same columns.
        image_shape, columns, feature_names, ax, **kwargs
            As in `from_estimator`.

        Returns
        -------
        display : SampleDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_predictions")
        d, d_sampled = n_columns_of(X), n_columns_of(X_sampled, "X_sampled")
        if d != d_sampled:
            raise ValueError(f"X has {d} columns and X_sampled {d_sampled}; needed are the same.")
        of_columns = Columns.of_rows(X, feature_names)
        rows, drawn = of_columns.numbers(X), of_columns.numbers(X_sampled)
        if image_shape is not None:
            image_shape = checked_image_shape(image_shape, rows.shape[1])
        return cls._of(of_columns, drawn, rows, image_shape, columns).plot(ax=ax, **kwargs)

    @classmethod
    def _of(cls, of_columns, drawn, rows, image_shape, columns):
        names, kinds, levels = of_columns.names, of_columns.kinds, of_columns.levels
        n_features = None
        if image_shape is None:
            if columns is not None:
                chosen = of_columns.chosen(columns)
            else:
                apart = [distance(kinds[j], rows[:, j], drawn[:, j]) for j in range(len(names))]
                chosen = np.sort(np.argsort(-np.array(apart), kind="stable")[:_MOST_PANELS])
                n_features = len(names) if len(names) > _MOST_PANELS else None
            rows, drawn = rows[:, chosen], drawn[:, chosen]
            names, kinds, levels = ([part[j] for j in chosen] for part in (names, kinds, levels))
        return cls(
            drawn,
            X=rows,
            image_shape=image_shape,
            feature_names=names,
            kinds=kinds,
            levels=levels,
            n_features=n_features,
        )

    def plot(self, ax=None, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, array of Axes or None, default=None
            An Axes for each panel, or one in whose place they are drawn.
        **kwargs
            Of `Axes.imshow`, or of `Axes.hist` and `Axes.bar` for the drawn rows. Of columns of few
            whole numbers and of categories, which have a bar each, `bins` and the like say nothing.

        Returns
        -------
        self : SampleDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        self.distance_ = None
        if self.image_shape is not None:
            self._plot_images(ax, kwargs)
        else:
            self._plot_table(ax, kwargs)
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.figure
        return self

    def _plot_images(self, ax, options):
        n_images, d = self.X_sampled.shape
        n_columns = min(10, n_images)
        n_rows = -(-n_images // n_columns)
        places = np.full((n_rows * n_columns, d), np.nan)
        places[:n_images] = self.X_sampled
        value_range = None if self.X is None else range_of(self.X)
        ax = one_axes(ax, (0.3 + 0.75 * n_columns, 0.3 + 0.75 * n_rows))
        images = places.reshape(n_rows, n_columns, d)
        draw_images(ax, images, self.image_shape, value_range=value_range, **options)
        self.axes_ = np.array([ax], dtype=object)

    def _plot_table(self, ax, options):
        d = self.X_sampled.shape[1]
        if self.X is None:
            raise ValueError("X is None: real rows are needed beside the drawn ones of a table.")
        kinds = self.kinds or ["number"] * d
        levels = self.levels or [[] for _ in range(d)]
        names = self.feature_names or [f"x{j}" for j in range(d)]
        columns = list(zip(kinds, self.X.T, self.X_sampled.T, strict=True))
        self.distance_ = np.array([distance(*column) for column in columns])
        self.axes_ = panel_axes(d, ax, n_columns=4, size=(2.4, 1.7))
        for j, panel in enumerate(self.axes_):
            draw_marginals(
                panel, kinds[j], levels[j], self.X[:, j], self.X_sampled[:, j], **options
            )
            panel.set_title(shortened(names[j]), fontsize="medium")
        if ax is None:
            handles = self.axes_[0].get_legend_handles_labels()
            title = None
            if self.n_features is not None:
                title = f"the {d} of {self.n_features} columns that are furthest apart"
            self.axes_[0].figure.legend(
                *handles, loc="outside lower center", ncols=2, frameon=False, title=title
            )
