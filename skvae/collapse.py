"""Latents that say nothing of the rows: why, and what to change."""


def collapse_cure(params, likelihood, n_active):
    """What to change where only `n_active` latents of a fitted model say something of the rows.

    Parameters
    ----------
    params : VAETransformer
        Of which the parameters are read.
    likelihood : Likelihood
    n_active : int

    Returns
    -------
    cure : str
    """
    scale = likelihood.scale
    ratio = scale.max() / scale.min()
    if likelihood.shared_noise and ratio > 1e5:
        return (
            f"the scales of the columns of X differ by a factor of {ratio:.0e}, and the "
            "least noise there can be hides the smaller ones: scale X, as by StandardScaler"
        )
    fewer = f"n_components={n_active} would do" if n_active else "X is noise to the model"
    causes = []
    if params.init == "random":
        causes.append("init='pca' starts with latents that say something")
    if params.beta > 1:
        causes.append(f"beta={params.beta:g} makes them dear: lower it, or set free_bits")
    return "; ".join([*causes, f"otherwise {fewer}" if causes else fewer])


def trained_to_collapse(params):
    """Whether the parameters are such that training switches off latents that have a use: random
    weights at the start, or a KL term that weighs more than in the ELBO.

    From the closed form and with the ELBO itself, a latent is switched off where that makes rows
    likelier: it was not needed.
    """
    return params.init == "random" or params.beta > 1
