"""The closed-form start: the linear VAE's optimum, from scikit-learn's own PCA and FactorAnalysis.

A linear VAE with standard normal prior has probabilistic PCA (one shared noise variance) or factor
analysis (one a column) as its optimum, and its diagonal posterior is exact there, because the
columns of W are orthogonal in the metric of the noise.

References
----------
M. E. Tipping, C. M. Bishop, "Probabilistic Principal Component Analysis", JRSS B 61, 1999,
equations 6 to 8; J. Lucas et al., "Don't Blame the ELBO!", NeurIPS 2019, section 4.
"""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.decomposition import PCA, FactorAnalysis

from .incomplete import factor_model
from .moments import Moments


@dataclass(frozen=True)
class LinearStart:
    """The linear VAE q(z|x) = N(A (x - w - B c), diag exp b), E[x|z] = W z + w + B c, in the units
    of X.

    X are here the features of the rows, c what they are conditioned on, if anything.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
        w, the mean of the training rows where c is 0.
    loadings : ndarray of shape (n_features, n_components)
        W.
    projection : ndarray of shape (n_components, n_features)
        A.
    log_variance : ndarray of shape (n_components,)
        b, the log variance of the posterior.
    noise_variance : float or ndarray of shape (n_features,)
        s2 or the diagonal of Psi.
    effects : ndarray of shape (n_features, n_conditions) or None
        B.
    explained_variance : ndarray of shape (n_components,) or None
        Of a model by EM, of the covariance W W' + noise what each component explains: |w_i|^2 and
        the noise variance along it, the model's eigenvalues where the noise is s2. None where the
        rows themselves can say.
    total_variance : float or None
        The trace of that covariance, EM's estimate of the variances of the columns in all.
    gain : float
        A factor on the loadings and on the effects, for laws that have no closed form.
    noise_factor : float
        What PCA's own noise variance was multiplied by, for such laws.
    """

    mean: np.ndarray
    loadings: np.ndarray
    projection: np.ndarray
    log_variance: np.ndarray
    noise_variance: float | np.ndarray
    effects: np.ndarray | None = None
    explained_variance: np.ndarray | None = None
    total_variance: float | None = None
    gain: float = 1.0
    noise_factor: float = 1.0

    def with_noise(self, factor):
        """PCA's start with the posterior that its loadings have under a noise variance times a
        factor of at least one: wider, and nearer to the prior."""
        if factor == 1.0:
            return self
        # W'W / s2, the precision that the data add to the prior's.
        precision = np.expm1(-self.log_variance) / factor
        factor = factor * self.noise_factor
        return replace(
            self,
            projection=self.loadings.T / (factor * self.noise_variance * (1 + precision[:, None])),
            log_variance=-np.log1p(precision),
            noise_factor=factor,
        )


def linear_start(X, n_components, *, model, least_noise, seed, n_samples=None, condition=None):
    """The closed form of a linear model on the rows X.

    With a condition c it is a regression on c, and the linear model of what that leaves: the
    maximum likelihood of x = W z + w + B c + noise, as B does not depend on the covariance of what
    is left where all columns have the same regressors.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float64
        Of missing cells, NaN, the model is that of the observed ones: by EM, of which scikit-learn
        has none, and with a noise variance divided by n.
    n_components : int
        At most min(n_samples, n_features); PCA raises its own error above that.
    model : {"pca", "factor_analysis"}
    least_noise : float or ndarray of shape (n_features,)
        No noise variance starts below this. A component whose variance is below it starts
        switched off.
    seed : int
        For scikit-learn's randomized solvers, used on wide data.
    n_samples : int, optional
        How many rows X stands for, where it is fewer rows of the same mean and covariance.
    condition : ndarray of shape (n_samples, n_conditions), optional

    Returns
    -------
    LinearStart
    """
    if np.isnan(X).any():
        return _incomplete_start(X, n_components, model, least_noise, condition)
    residual, effects, shift = residuals(X, condition)
    start = _MODELS[model](residual, n_components, least_noise, seed, n_samples or len(X))
    return start if condition is None else replace(start, mean=start.mean + shift, effects=effects)


def residuals(X, condition):
    """Rows X, of which missing cells are NaN, less what a regression on their condition says; B;
    and w. Without a condition nothing is taken off."""
    if condition is None:
        return X, None, 0.0
    effects, shift = np.zeros((X.shape[1], condition.shape[1])), np.zeros(X.shape[1])
    missing = np.isnan(X)
    for columns in np.arange(X.shape[1])[:, None] if missing.any() else [slice(None)]:
        observed = ~missing[:, columns].any(axis=1)
        x, c = X[observed][:, columns], condition[observed]
        middle, mean = c.mean(axis=0), x.mean(axis=0)
        effects[columns] = np.linalg.lstsq(c - middle, x - mean, rcond=None)[0].T
        shift[columns] = mean - effects[columns] @ middle
    return X - (condition @ effects.T + shift), effects, shift


def _pca_start(X, n_components, least_noise, seed, n_samples):
    # Centred first: PCA's covariance_eigh solver loses digits to a mean far from zero.
    mean = X.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        pca = PCA(n_components, random_state=seed).fit(X - mean)
    noise = max(pca.noise_variance_, least_noise)
    variance = np.maximum(pca.explained_variance_, noise)
    signal = np.sqrt(variance - noise)
    return LinearStart(
        mean=mean + pca.mean_,
        loadings=pca.components_.T * signal,
        projection=pca.components_ * (signal / variance)[:, None],
        log_variance=np.log(noise / variance),
        noise_variance=noise,
    )


def _factor_analysis_start(X, n_components, least_noise, seed, n_samples):
    mean, deviation = X.mean(axis=0), X.std(axis=0)
    # FactorAnalysis starts from unit noise and stops at absolute constants: columns far from unit
    # scale are brought there first.
    # As in the likelihood's units: a constant column's deviation is rounding errors.
    varies = deviation > 10 * np.finfo(np.float64).eps * len(X) ** 0.5 * np.abs(mean)
    if not varies.any():
        none = np.zeros((n_components, X.shape[1]))
        noise = np.broadcast_to(least_noise, mean.shape).copy()
        return LinearStart(mean, none.T, none, none[:, 0], noise)
    far = varies & ((deviation < 1e-3) | (deviation > 1e3))
    unit = np.where(varies, deviation, 1.0) if far.any() else np.ones_like(deviation)
    fewer = _same_covariance(X / unit)
    # It stops by the gain in the log-likelihood of all its rows: here as it would on all rows.
    fa = FactorAnalysis(n_components, tol=1e-2 * len(fewer) / n_samples).fit(fewer)
    noise = np.maximum(fa.noise_variance_ * unit**2, least_noise)
    # FactorAnalysis leaves G = W' Psi^-1 W diagonal, but a floor on Psi tilts it: rotate W back.
    loadings = fa.components_.T * unit[:, None]
    precision, rotation = np.linalg.eigh((loadings / noise[:, None]).T @ loadings)
    precision, rotation = np.maximum(precision[::-1], 0), rotation[:, ::-1]
    loadings = loadings @ rotation
    return LinearStart(
        mean=mean,
        loadings=loadings,
        projection=(loadings / noise[:, None]).T / (1 + precision)[:, None],
        log_variance=-np.log1p(precision),
        noise_variance=noise,
    )


def _incomplete_start(X, n_components, model, least_noise, condition):
    shared = model == "pca"
    mean, loadings, noise = factor_model(
        X, n_components, shared_noise=shared, least_noise=least_noise, condition=condition
    )
    loadings, effects = np.hsplit(loadings, [n_components])
    precision = np.sum(loadings**2 / noise[:, None], axis=0)
    # The posterior variance of a row without missing cells is 1 / (1 + precision), and with it
    # undone a component explains |w_i|^2 (1 + precision) / precision, as in PCA.
    signal = np.sum(loadings**2, axis=0)
    along = np.divide(signal, precision, out=np.zeros_like(signal), where=precision > 0)
    return LinearStart(
        mean=mean,
        loadings=loadings,
        projection=(loadings / noise[:, None]).T / (1 + precision)[:, None],
        log_variance=-np.log1p(precision),
        noise_variance=float(noise[0]) if shared else noise,
        effects=effects,
        explained_variance=signal + along,
        total_variance=float(signal.sum() + noise.sum()),
    )


def _same_covariance(X):
    """Fewer rows with the mean and covariance of X, which are all that factor analysis looks at.

    Its EM passes over the rows up to a thousand times; 2 d rows serve as well as n. Few rows are
    returned as they are, so that the fit is scikit-learn's to the last bit.
    """
    n_samples, n_features = X.shape
    if n_samples <= max(10_000, 4 * n_features):
        return X
    return Moments(full=True).add(X).stand_in(2 * n_features, ddof=0)


def best_gain(objective):
    """The gain with the greatest objective: over powers of two from 1/2 to 32, then between the
    best one's neighbours in steps of a quarter of an octave."""
    scores = {gain: objective(gain) for gain in 2.0 ** np.arange(-1, 6)}
    best = max(scores, key=scores.__getitem__)
    finer = best * 2.0 ** (np.array([-3, -2, -1, 1, 2, 3]) / 4)
    scores |= {gain: objective(gain) for gain in finer}
    return float(max(scores, key=scores.__getitem__))


def best_noise_and_gain(objective):
    """The factor on the noise, a power of two from 1 to 64, and the gain with the greatest
    objective(noise, gain): the gain, then the noise from 1 upwards as long as that is better, then
    the gain again."""
    noise, gain = 1.0, best_gain(lambda gain: objective(1.0, gain))
    best = objective(noise, gain)
    while noise < 64 and (score := objective(2 * noise, gain)) > best:
        noise, best = 2 * noise, score
    return noise, best_gain(lambda gain: objective(noise, gain)) if noise > 1 else gain


_MODELS = {"pca": _pca_start, "factor_analysis": _factor_analysis_start}
