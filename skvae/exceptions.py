"""Warnings of a kind of their own, so that they can be filtered."""

from sklearn.exceptions import ConvergenceWarning


class PosteriorCollapseWarning(ConvergenceWarning):
    """Training left latents that say nothing of the rows: q(z_i|x) is the prior for every x.

    The message has the number of these latents and what may mend it. Where the closed form has no
    use for a component, because the rows do not vary along it, the warning is a plain
    ConvergenceWarning: nothing collapsed there.

    References
    ----------
    J. Lucas, G. Tucker, R. Grosse, M. Norouzi, "Don't Blame the ELBO! A Linear VAE Perspective on
    Posterior Collapse", NeurIPS 2019.
    """
