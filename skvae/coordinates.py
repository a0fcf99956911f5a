"""The public coordinates: from posterior means to columns in PCA's units, and back."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.autograd.functional import jvp

from .moments import Moments, some_rows
from .vae import INACTIVE_NATS, LEAST_RELIABILITY, SHRINKAGE_EXPONENTS

# Rows over which the Jacobian of the decoder is averaged;
JACOBIAN_ROWS = 512
# in a stream, which is measured after every chunk, fewer.
STREAM_JACOBIAN_ROWS = 64


@dataclass(frozen=True)
class Coordinates:
    """The map between posterior means mu and public columns T, for k latents.

    T_j = (mu_i - centre_i) scale_i and z_i = centre_i + (T_j / scale_i) / shrinkage_i with
    i = order_j. The shrinkage of the posterior mean is undone by dividing by r_i^a, where r_i is 1
    less the part of the latent's variance that is the posterior's own: of 1, with p(z) = N(0, I),
    and else of the variance that the latent has over the rows.
    In a linear model a = 1; where the decoder bends, the mean of x over the posterior is not x at
    the posterior's mean, and a is the one in `SHRINKAGE_EXPONENTS` that reconstructs the training
    rows best. An inactive latent is left alone.

    Attributes
    ----------
    centre : ndarray of shape (k,)
        By latent: 0 with p(z) = N(0, I), else the mean over the rows.
    scale, shrinkage : ndarray of shape (k,)
        By latent. The sign of `scale` fixes the sign of the column.
    order : ndarray of shape (k,)
        Latents by decreasing explained variance.
    inactive : ndarray of shape (k,), bool
        By latent.
    components : ndarray of shape (k, n_inputs)
        By column of T: the direction, a unit row, in which the column moves the features of a
        reconstruction at the latent origin.
    explained_variance : ndarray of shape (k,)
        By column of T: variance of the features, in the squared units of `start_rows` (of X where
        they are its columns), along what the latent moves.
    total_variance : float
        What these are a part of.
    """

    centre: np.ndarray
    scale: np.ndarray
    shrinkage: np.ndarray
    order: np.ndarray
    inactive: np.ndarray
    components: np.ndarray
    explained_variance: np.ndarray
    total_variance: float

    def to_public(self, mu):
        """Public columns (n, k) from posterior means (n, k)."""
        return ((mu - self.centre) * self.scale)[:, self.order]

    def deviations(self, variance):
        """Standard deviations (n, k) of public columns from posterior variances (n, k)."""
        return (np.sqrt(variance) * np.abs(self.scale))[:, self.order]

    def to_latent(self, T):
        """Latent vectors (n, k) that the public columns T (n, k) stand for."""
        z = np.empty_like(T)
        z[:, self.order] = T / (self.scale * self.shrinkage)[self.order]
        return self.centre + z


class PosteriorMoments:
    """What the coordinates need to know of q(z|x) over all rows, taken in a chunk at a time.

    Attributes
    ----------
    means, variances : Moments
        Of the posterior means and of the posterior variances.
    log_variances : Moments
        Of the logarithms of the posterior variances.
    """

    def __init__(self):
        self.means, self.variances, self.log_variances = Moments(), Moments(), Moments()

    def add(self, mean, variance, weight=None):
        """Take in the posteriors of some rows: means and variances, each (n, k), and how often each
        row counts, (n,)."""
        self.means.add(mean, weight)
        self.variances.add(variance, weight)
        self.log_variances.add(np.log(variance), weight)

    def kl(self, centre, total):
        """Mean over the rows of KL(q(z_i|x) || N(centre_i, total_i)) in nats, shape (k,)."""
        squares = self.means.products / self.means.count + (self.means.mean - centre) ** 2
        ratio = (squares + self.variances.mean) / total
        return 0.5 * (ratio - 1 - self.log_variances.mean + np.log(total))


def measure_coordinates(
    net,
    columns,
    posterior,
    X,
    mean,
    *,
    condition=None,
    start=None,
    oriented,
    whiten,
    keep=None,
    jacobian_rows=JACOBIAN_ROWS,
):
    """Measure the coordinates on the posterior of the rows that the model was fitted on.

    The variance that the reconstructions explain, total less residual, is shared out among the
    latents in proportion to Var[mu_i / shrinkage_i] times the mean squared norm of the decoder's
    derivative along latent i. In a linear model these are PCA's eigenvalues themselves.
    All of this is measured on the features that enter the linear start: the columns of X, the
    logarithms of positive columns and of counts, the one-hot columns of codes.

    Where rows are conditioned on something, all of this is of what that leaves: the variance of the
    features less those of the reconstruction at the latent origin under the row's condition.

    Of rows with missing cells, which reconstructions fill without the variance that is left there,
    neither the rows nor their posteriors have the variances of a linear model by EM: there total,
    shares and the units of T are the model's own, of rows without missing cells.

    Parameters
    ----------
    net : VAENet
    columns : Moments
        Of the features of X, less `features_of_condition` of the rows, over all rows.
    posterior : PosteriorMoments
        Over all rows.
    X : ndarray of shape (n, n_inputs), float64
        The features of the rows, or of a random part of many.
    mean : ndarray of shape (n, k)
        The posterior means of these.
    condition : ndarray of shape (n, n_conditions), optional
        What these are conditioned on.
    start : LinearStart, optional
        The linear model itself, where the model is that, of a Gaussian law. Its posterior is exact,
        so every component that is not switched off is rescaled, however little it carries.
    oriented : bool
        Whether the latents began as PCA's and so have signs worth keeping: training bends them, but
        seldom turns them round.
    whiten : bool
    keep : Coordinates, optional
        Earlier coordinates whose order and signs stay.
    jacobian_rows : int, default=512
        Rows over which the decoder's derivatives are averaged, at most.
    """
    closed_form = start is not None
    spread = posterior.means.variance()
    centre, latent_variance = np.zeros_like(spread), np.ones_like(spread)
    if not (closed_form or net.module_.prior.standard):
        centre, latent_variance = posterior.means.mean, spread + posterior.variances.mean
    reliability = 1 - posterior.variances.mean / latent_variance
    by_em = closed_form and start.explained_variance is not None
    if by_em:
        # The means of a row without missing cells, by the model's own covariance.
        spread = reliability = -np.expm1(start.log_variance)
    switched_off = reliability < 1e-9
    carried = posterior.kl(centre, latent_variance)
    inactive = switched_off if closed_form else carried < INACTIVE_NATS
    # A posterior as wide as the prior, or wider, has no shrinkage that could be undone.
    least = 1e-9 if closed_form else LEAST_RELIABILITY
    reliability = np.where(inactive | (reliability < least), 1.0, reliability)
    shrinkage = reliability
    total = columns.variance().sum()
    if not closed_form:
        reconstructed = -np.inf
        left = X - features_of_condition(net, condition)
        deviations = ((left - left.mean(axis=0)) ** 2).sum()
        for exponent in SHRINKAGE_EXPONENTS:
            z = centre + (mean - centre) / reliability**exponent
            errors = ((X - _features_at(net, z, condition)) ** 2).sum()
            by_these = total * (1 - errors / deviations if deviations > 0 else 0.0)
            if by_these > reconstructed:
                shrinkage, reconstructed = reliability**exponent, by_these

    # The origin is the last row.
    rows = some_rows(len(mean), jacobian_rows)
    points = np.vstack([centre + (mean[rows] - centre) / shrinkage, centre[None]])
    if condition is not None:
        # There at the mean condition.
        condition = np.vstack([condition[rows], np.zeros_like(condition[:1])])
    derivatives = [
        (np.sum(derivative[:-1] ** 2, axis=1).mean(), derivative[-1])
        for derivative in _derivatives(net, points, condition)
    ]
    lengths, at_origin = (np.array(part) for part in zip(*derivatives, strict=True))

    explained = spread / shrinkage**2 * lengths
    if by_em:
        explained, total = start.explained_variance, start.total_variance
    if not closed_form and explained.any():
        # Reconstructions that are worse than the mean explain nothing, and cannot be shared out:
        # then the shares keep their own units, within the variance that there is.
        target = reconstructed if reconstructed > 0 else min(total, explained.sum())
        explained *= target / explained.sum()
    norms = np.linalg.norm(at_origin, axis=1, keepdims=True)
    components = at_origin / np.where(norms > 0, norms, 1.0)

    target = 1.0 if whiten else np.sqrt(explained)
    usable = ~inactive & (spread > 0) & (explained > 0)
    scale = np.where(usable, target / np.sqrt(np.where(usable, spread, 1.0)), 1.0)
    if keep is None:
        # Equal variances keep their order, and a sign (PCA's: the largest entry positive) is turned
        # only where another is clearly larger, so that rounding cannot reorder or flip components.
        rounded = np.round(explained / max(explained.max(), np.finfo(float).tiny), 9)
        order = np.argsort(-rounded, kind="stable")
        turned = -components.min(axis=1) > components.max(axis=1) * (1 + 1e-6)
        sign = np.where(turned & (not oriented), -1.0, 1.0)
    else:
        order, sign = keep.order, np.sign(keep.scale)
    return Coordinates(
        centre=centre,
        scale=scale * sign,
        shrinkage=shrinkage,
        order=order,
        inactive=inactive,
        components=(components * sign[:, None])[order],
        explained_variance=explained[order],
        total_variance=total,
    )


def features_of_condition(net, condition):
    """What a condition (n, n_conditions) alone says of the features, in the units of `start_rows`:
    the reconstructions at the latent origin, (n, n_inputs); 0 without a condition."""
    if condition is None:
        return 0.0
    return _features_at(net, np.zeros((len(condition), net.module_.n_components)), condition)


def _features_at(net, z, condition):
    """The features of the reconstructions at latents z, in the units of `start_rows`."""
    centre, scale = net.module_.likelihood.feature_mean_units()
    return net.apply(_feature_mean, z, condition) * scale + centre


def _feature_mean(module, z, condition=None):
    return module.likelihood.feature_mean(module.outputs(z, condition))


def mean_effects(net, coordinates, mean, condition=None):
    """How each column of T moves the features of a reconstruction, on average over rows.

    Parameters
    ----------
    net : VAENet
    coordinates : Coordinates
    mean : ndarray of shape (n, k)
        Posterior means of the rows.
    condition : ndarray of shape (n, n_conditions), optional

    Returns
    -------
    ndarray of shape (k, n_inputs)
        The mean derivative along each column, in units of the root of its mean squared length.
    """
    effects = np.empty((mean.shape[1], net.module_.likelihood.n_inputs))
    for j, derivative in enumerate(decoder_derivatives(net, coordinates, mean, condition)):
        length = np.sqrt(np.sum(derivative**2, axis=1).mean())
        effects[j] = derivative.mean(axis=0) / (length or 1.0)
    return effects


def decoder_derivatives(net, coordinates, mean, condition=None):
    """Yield for each column of T the derivatives (n, n_inputs) along it of the features of the
    reconstructions of rows, in the units of `start_rows`; the arguments are those of
    `mean_effects`."""
    points = coordinates.to_latent(coordinates.to_public(mean))
    unit = coordinates.scale * coordinates.shrinkage
    for i, derivative in zip(
        coordinates.order,
        _derivatives(net, points, condition, coordinates.order),
        strict=True,
    ):
        yield derivative / unit[i]


def _derivatives(net, points, condition, latents=None):
    """Yield for each latent, in their own order or in that of `latents`, the derivatives
    (n, n_inputs) along it of the features of the reconstructions at points (n, k), in their
    units."""
    scale = net.module_.likelihood.feature_mean_units()[1]
    for i in range(points.shape[1]) if latents is None else latents:

        def along(module, z, *condition, i=i):
            with torch.inference_mode(False):
                z, condition = z.clone(), [part.clone() for part in condition]
                direction = torch.zeros_like(z)
                direction[:, i] = 1.0
                return jvp(lambda z: _feature_mean(module, z, *condition), z, direction)[1]

        yield net.apply(along, points, condition) * scale


def names_of_features(likelihood, names, levels=None):
    """What the features of columns that have names are called: as the column, or where a feature
    stands for one of its codes "column = category", by the names of the categories (`levels`, a
    list for each column) or by the codes themselves."""
    return [
        names[j] if code < 0 else f"{names[j]} = {levels[j][code] if levels else code}"
        for j, code in zip(*likelihood.feature_columns(), strict=True)
    ]
