"""LoadingsDisplay: which columns each component moves, and which way."""

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

from .._input import check_count
from .columns import Columns, shortened
from .fitted import Fitted
from .panels import checked_image_shape, draw_images, one_axes

_MOST_COMPONENTS = 32
_MOST_ROWS = 2000
# As many numbers can be read in a picture.
_MOST_NUMBERS = 200


class LoadingsDisplay:
    """How each component moves the columns, on average over rows: standard deviations of a column
    (of its cells that are not missing) for one of the component, half of it below each row and
    half above.

    Where the model is PCA a loading is the correlation of the column and the component. The columns
    are the features that PCA starts from (see `components_` of VAETransformer). It is recommended
    to use `from_estimator` to create it. All parameters are stored as attributes.

    Parameters
    ----------
    loadings : ndarray of shape (n_components, n_features)
    image_shape : tuple of int or None, default=None
        (height, width), which are drawn as images.
    feature_names : list of str or None, default=None
    component_names : list of str or None, default=None
    n_components : int or None, default=None
        How many the model has, where not all are drawn, which is then written;
    n_features : int or None, default=None
        and so of the features.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : AxesImage
    texts_ : list of Text
        The numbers, where there are at most 200.

    See Also
    --------
    TraversalDisplay : The same of rows that go along one component, bends included.
    BiplotDisplay : Columns as arrows among the rows.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.displays import LoadingsDisplay
    >>> X = load_iris(as_frame=True).data
    >>> vae = VAETransformer(2, max_epochs=0).fit(X)
    >>> display = LoadingsDisplay.from_estimator(vae, X)
    >>> display.loadings.round(2)[0]
    array([ 0.9 , -0.4 ,  1.  ,  0.97])
    """

    def __init__(
        self,
        loadings,
        *,
        image_shape=None,
        feature_names=None,
        component_names=None,
        n_components=None,
        n_features=None,
    ):
        self.loadings = loadings
        self.image_shape = image_shape
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
        feature_names=None,
        max_features=30,
        condition=None,
        ax=None,
        **kwargs,
    ):
        """Draw the loadings of a fitted model, over the rows X.

        Parameters
        ----------
        estimator : VAETransformer, PCA, or a Pipeline or search that ends in one
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            Rows over which the effects of a component are averaged; of more than 2,000 a random
            part.
        components : int, sequence of int or None, default=None
            None is the first eight; at most 32.
        image_shape : tuple of int or None, default=None
            (height, width) of rows that are grey images.
        feature_names : list of str or None, default=None
            For the columns of an array.
        max_features : int, default=30
            Of a table with more features, those with the largest loadings.
        condition : array-like, Series, DataFrame or None, default=None
            Of the rows, where the model was fitted with one.
        ax : matplotlib Axes or None, default=None
        **kwargs
            Of `Axes.imshow`.

        Returns
        -------
        display : LoadingsDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        check_count("max_features", max_features)
        fitted = Fitted(estimator, cls.__name__, condition=condition)
        chosen, of = fitted.first_components(components, _MOST_COMPONENTS)
        loadings, names = loadings_of(fitted, X, feature_names)
        loadings, of_features = loadings[chosen], None
        if image_shape is not None:
            image_shape = checked_image_shape(image_shape, loadings.shape[1])
            if len(image_shape) == 3:
                raise ValueError(
                    f"image_shape={image_shape}: loadings of colours are no colours; draw "
                    "TraversalDisplay."
                )
        elif loadings.shape[1] > max_features:
            of_features = loadings.shape[1]
            kept = np.sort(np.argsort(-np.abs(loadings).max(axis=0))[:max_features])
            loadings, names = loadings[:, kept], [names[j] for j in kept]
        display = cls(
            loadings,
            image_shape=image_shape,
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
        ax : matplotlib Axes or None, default=None
        **kwargs
            Of `Axes.imshow`.

        Returns
        -------
        self : LoadingsDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        names = self.component_names
        names = names or [f"component {j}" for j in range(len(self.loadings))]
        largest = float(np.abs(self.loadings).max()) or 1.0
        self.texts_ = []
        if self.image_shape is None:
            largest = max(1.0, largest)
        options = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest} | kwargs
        if self.image_shape is None:
            self._plot_table(names, ax, options)
        else:
            self._plot_images(names, ax, options)
        if self.n_components is not None:
            self.ax_.set_xlabel(f"component ({len(names)} of {self.n_components})")
        self.figure_ = self.ax_.figure
        bar = self.figure_.colorbar(self.image_, ax=self.ax_, shrink=0.8, aspect=30)
        bar.set_label("loading")
        bar.outline.set_visible(False)
        return self

    def _plot_table(self, names, ax, options):
        k, d = self.loadings.shape
        self.ax_ = ax = one_axes(ax, (3.4 + 0.65 * k, 1.2 + 0.26 * d))
        self.image_ = ax.imshow(self.loadings.T, **{"aspect": "auto"} | options)
        labels = [shortened(name) for name in self.feature_names or map("x{}".format, range(d))]
        ax.set_yticks(np.arange(d), labels)
        # The variance that each explains has no room.
        ax.set_xticks(np.arange(k), [name.split(" (")[0].split()[-1] for name in names])
        ax.set_xlabel("component")
        if self.n_features is not None:
            ax.set_ylabel(f"the {d} of {self.n_features} features with the largest loadings")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        if k * d > _MOST_NUMBERS:
            return
        for j in range(k):
            for f in range(d):
                loading = self.loadings[j, f]
                dark = abs(loading) > 0.6 * self.image_.norm.vmax
                text = f"{round(loading, 2) + 0.0:.2f}".replace("-", "−")
                style = {"ha": "center", "va": "center", "fontsize": "small"}
                self.texts_.append(ax.text(j, f, text, color="w" if dark else "k", **style))

    def _plot_images(self, names, ax, options):
        k = len(self.loadings)
        n_columns = min(k, 8)
        n_rows = -(-k // n_columns)
        places = np.full((n_rows * n_columns, self.loadings.shape[1]), np.nan)
        places[:k] = self.loadings
        self.ax_ = ax = one_axes(ax, (1.6 + 1.05 * n_columns, 0.6 + 1.05 * n_rows))
        first = [name.split(" (")[0].split()[-1] for name in names]
        columns = rows = None
        if n_rows == 1:
            columns = first
            ax.set_xlabel("component")
        else:
            rows = [f"components {first[i]}…" for i in range(0, k, n_columns)]
        images = places.reshape(n_rows, n_columns, -1)
        self.image_ = draw_images(
            ax, images, self.image_shape, rows=rows, columns=columns, **options
        )


def loadings_of(fitted, X, feature_names=None):
    """Loadings (n_components, n_features) of a `Fitted` model on rows X, and the names of the
    features, column by column.

    How much the features of reconstructions change, on average over the rows, as a component goes
    from half a standard deviation below a row to half a one above: no derivative, which numbers
    that are rounded do not have.
    """
    X = fitted.some(X, _MOST_ROWS)
    rows = fitted.rows(X)
    T, columns = fitted.transform(X), Columns.in_model(fitted, rows, feature_names)
    effects = []
    for j, deviation in enumerate(T.std(axis=0)):
        step = np.zeros(T.shape[1])
        step[j] = deviation / 2
        effects.append((fitted.features_at(T + step) - fitted.features_at(T - step)).mean(axis=0))
    spread = fitted.feature_deviations(rows)
    kept, _, _, names = columns.features(fitted)
    return (np.array(effects) / np.where(spread > 0, spread, np.inf))[:, kept], names
