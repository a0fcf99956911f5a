"""ScreeDisplay: what each component explains and carries, beside PCA's."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils._optional_dependencies import check_matplotlib_support

from .colours import OKABE_ITO
from .fitted import Fitted
from .panels import panel_axes, styled, without_top


class ScreeDisplay:
    """The variance that each component explains, beside PCA's, and the nats that it carries.

    It is recommended to use `from_estimator` to create it. All parameters are stored as attributes.

    Parameters
    ----------
    explained_variance_ratio : ndarray of shape (n_components,)
        Of the model.
    pca_explained_variance_ratio : ndarray of shape (n_components,) or None, default=None
        Of scikit-learn's PCA of the same rows.
    kl : ndarray of shape (n_components,) or None, default=None
        Mean over the rows of KL(q(z_i|x) || p(z_i)) in nats; None where the prior has no KL of a
        single component.
    pca_kl : ndarray of shape (n_components,) or None, default=None
        The same of probabilistic PCA, in closed form.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        Of the variances and, where there is `kl`, of the nats.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure

    Notes
    -----
    Both ratios are of the features that PCA starts from (see `components_` of VAETransformer): the
    columns of X with the Gaussian likelihoods, and less what a condition says where there is one.
    PCA explains the most that straight lines can; components that bend may explain more.

    Of rows with missing cells scikit-learn has no PCA, and none is drawn: to compare, draw a second
    model with `max_epochs=0`, which is pPCA of the observed cells, by EM.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.displays import ScreeDisplay
    >>> X = load_iris().data
    >>> vae = VAETransformer(2, max_epochs=0).fit(X)
    >>> display = ScreeDisplay.from_estimator(vae, X)
    >>> display.explained_variance_ratio.round(3)
    array([0.925, 0.053])
    >>> display.pca_explained_variance_ratio.round(3)
    array([0.925, 0.053])
    """

    def __init__(
        self,
        explained_variance_ratio,
        *,
        pca_explained_variance_ratio=None,
        kl=None,
        pca_kl=None,
    ):
        self.explained_variance_ratio = explained_variance_ratio
        self.pca_explained_variance_ratio = pca_explained_variance_ratio
        self.kl = kl
        self.pca_kl = pca_kl

    @classmethod
    def from_estimator(cls, estimator, X, *, condition=None, ax=None, **kwargs):
        """Draw the components of a fitted model.

        Parameters
        ----------
        estimator : VAETransformer, or a Pipeline or search that ends in one
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            The rows that PCA is fitted on and KL is averaged over: those of the fit, if the ratios
            are to be compared. Of more than 5,000 a random part. Where cells are missing, or rows
            do not differ, there is no PCA, and none is drawn.
        condition : array-like, Series, DataFrame or None, default=None
            Of the rows, where the model was fitted with one.
        ax : matplotlib Axes, array of two Axes or None, default=None
        **kwargs
            Of `Axes.bar`, for the model's bars.

        Returns
        -------
        display : ScreeDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        fitted = Fitted(estimator, cls.__name__, generative=True, condition=condition)
        model = fitted.model
        rows = fitted.rows(fitted.some(X))
        kl = model.elbo(rows, condition=fitted.condition).kl
        ratio, pca_kl = _of_pca(fitted, rows)
        display = cls(
            model.explained_variance_ratio_,
            pca_explained_variance_ratio=ratio,
            kl=kl.mean(axis=0) if model.net_.module_.prior.closed_form else None,
            pca_kl=pca_kl,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, array of Axes or None, default=None
            One for each panel, or one in whose place they are drawn.
        **kwargs
            Of `Axes.bar`, for the model's bars.

        Returns
        -------
        self : ScreeDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        from matplotlib.patches import Patch
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        k = len(self.explained_variance_ratio)
        panels = [(self.explained_variance_ratio, self.pca_explained_variance_ratio)]
        if self.kl is not None:
            panels.append((self.kl, self.pca_kl))
        size = (min(9.0, max(4.5, 1.5 + 0.3 * k)), 2.6)
        self.axes_ = panel_axes(len(panels), ax, n_columns=1, size=size, sharex=True)
        places = np.arange(k)
        bars = styled({"color": OKABE_ITO[0], "width": 0.7, "label": "VAE"}, kwargs, Patch)
        of_lines = "PCA (straight lines)"
        marks = {"ls": "", "marker": "D", "ms": 6, "mfc": "white", "mew": 1.5}
        for panel, (of_model, of_pca) in zip(self.axes_, panels, strict=True):
            panel.bar(places, of_model, **bars)
            if of_pca is not None:
                shown = of_pca[:k]
                panel.plot(places[: len(shown)], shown, color=OKABE_ITO[5], label=of_lines, **marks)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.set_ylim(bottom=min(0, np.min(of_model)))
            without_top(panel)
        self.axes_[0].set_xlim(-0.7, k - 0.3)
        self.axes_[0].yaxis.set_major_formatter(FuncFormatter(_percent))
        self.axes_[0].set_ylabel("variance explained")
        if self.pca_explained_variance_ratio is not None:
            self.axes_[0].legend(frameon=False)
        if self.kl is not None:
            self.axes_[0].tick_params(axis="x", labelbottom=False)
            self.axes_[1].set_ylabel("KL, nats per row")
        self.axes_[-1].set_xlabel("component")
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.figure
        return self


def _percent(ratio, position=None):
    """A tick as it is, "2.5%" too; a function of the module, for figures are pickled."""
    return f"{100 * ratio:.4g}%".replace("-", "−")


def _of_pca(fitted, rows):
    """Ratios of explained variance, and mean KLs in nats, of PCA of the features of rows; None
    where cells are missing or all rows are the same, and of KLs where nothing is left over for
    noise."""
    if _has_missing(fitted.model._checked(rows)):
        return None, None
    features = fitted.features(rows)
    if not (features != features[0]).any():
        return None, None
    pca = PCA(min(fitted.n_components, *features.shape)).fit(features)
    if not pca.noise_variance_ > 0:
        return pca.explained_variance_ratio_, None
    return (
        pca.explained_variance_ratio_,
        np.log(pca.explained_variance_ / pca.noise_variance_) / 2,
    )


def _has_missing(X):
    return np.isnan(X).any() if isinstance(X, np.ndarray) else bool(np.sum(X.n_missing()))
