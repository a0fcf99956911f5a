"""What the latents of a fitted model carry of rows."""

import numpy as np

from ..aggregate import AGGREGATED_ROWS, aggregate, gain_of_fitted_prior, posterior_of_rows
from ..moments import some_rows

# A latent is active where its posterior mean has more than this part of its variance.
_ACTIVE = 0.01


def latents_of(model, rows, seed):
    """What the latents carry in nats, in the order of the columns of `transform`.

    Parameters
    ----------
    model : VAETransformer
    rows : GivenRows
    seed : int
        Of the draws.

    Returns
    -------
    measured : dict
    """
    net, order = model.net_, model.coordinates_.order
    few = some_rows(len(rows.X), AGGREGATED_ROWS)
    X = np.asarray(rows.X[few], dtype=np.float64)
    loc, root, z = posterior_of_rows(net, X, seed, None if rows.C is None else rows.C[few])
    variance = root**2 if root.ndim == 2 else (root**2).sum(axis=2)
    spread = loc.var(axis=0)
    of_latent = spread + variance.mean(axis=0)
    # With the rows' own moments all other terms of the KL cancel.
    nats = 0.5 * (np.log(of_latent) - np.log(variance).mean(axis=0))
    component_kl, unit = None, of_latent
    if net.module_.prior.standard:
        component_kl = 0.5 * (variance + loc**2 - 1 - np.log(variance)).mean(axis=0)[order]
        unit = np.ones_like(of_latent)
    of_rows = aggregate(net, loc, root, z)
    gain, error = gain_of_fitted_prior(net, loc, root, seed)
    mismatch = of_rows.component_mismatch
    return {
        "component_kl": component_kl,
        "component_nats": nats[order],
        "component_information": of_rows.component_information[order],
        "component_mismatch": None if mismatch is None else mismatch[order],
        "mean_variance": spread[order],
        "active": (spread > _ACTIVE * unit)[order],
        "information": of_rows.information,
        "mismatch": of_rows.mismatch,
        "total_correlation": of_rows.total_correlation,
        "prior_gain": gain,
        "prior_gain_error": error,
    }
