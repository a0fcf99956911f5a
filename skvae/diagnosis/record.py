"""Diagnosis: what was measured of a model and found, and how it reads."""

from dataclasses import dataclass

import numpy as np

from ..aggregate import AGGREGATED_ROWS
from ..findings import Finding
from ..marginal_checks import LEAST_DISTANCE, LEVEL, MarginalCheck
from ..pair_checks import LEAST_DIFFERENCE, PairCheck
from ..reports import Message, Section, as_html, as_text

# Columns that a report shows.
_SHOWN = 20


@dataclass(frozen=True, repr=False, eq=False)
class Diagnosis:
    """What `diagnose` measured of a fitted model on some rows, and what it found.

    `str` of it, or `print`, is a report; in a notebook it shows itself. Nats are per row, and
    components in the order of the columns of `transform`.

    Attributes
    ----------
    findings : tuple of Finding
        What is wrong (`severity` "warning") or worth knowing ("note"): each with a `name`, `words`
        and a `cure`.
    n_samples : int
        Rows that were looked at, of more than 5,000 a random part.
    n_draws : int
    reconstruction, kl, elbo : float
        The ELBO and its two terms: the mean of log p(x|z) over q(z|x), and KL(q(z|x) || p(z)).
    log_prob, log_prob_error : float
        The mean of log p(x) by `n_draws` importance-weighted draws, and its standard error over
        rows.
    gap : float
        `log_prob - elbo`: an estimate, from below, of KL(q(z|x) || p(z|x)).
    effective_sample_size : float
        Of the draws of a row that the score rests on, the median over rows.
    component_kl : ndarray of shape (n_components,) or None
        Mean KL(q(z_i|x) || p(z_i)); None with a joint prior ("mixture", "vamp", "flow", "fitted"),
        of which a single latent has no KL in closed form. Of incomplete rows, whose latents are
        correlated, these do not add up to `kl`.
    component_nats : ndarray of shape (n_components,)
        What each component says of the rows, with any prior: mean KL(q(z_i|x) || N), N with the
        mean and variance that z_i has over the rows.
    component_information : ndarray of shape (n_components,)
        I(row; z_i), the mutual information of the row's index and the latent under q; at most
        log n.
    component_mismatch : ndarray of shape (n_components,) or None
        KL(q(z_i) || p(z_i)), q(z) being the mean of q(z|x) over the rows; None as `component_kl`,
        which is the sum of this and `component_information`, but for the noise of the draws.
    mean_variance : ndarray of shape (n_components,)
        Variance over the rows of the posterior mean of each latent.
    active : ndarray of bool of shape (n_components,)
        Where that is more than 0.01 of the latent's variance, which with p(z) = N(0, I) is 1.
    n_active : int
    information, mismatch : float
        I(row; z), at most log n, and KL(q(z) || p(z)), of all latents together: `kl` is their sum,
        but for the noise of the draws. Both are of the rows at hand, of which at most 1,000 are
        taken: where `information` is near log n the second is mostly what is left of `kl`, and
        `prior_gain` is what can be trusted.
    total_correlation : float or None
        KL(q(z) || prod q(z_i)), the part of `mismatch` that is not the components' own; None with a
        joint prior.
    prior_gain, prior_gain_error : float
        What `prior="fitted"` would save of `kl`, and its standard error: on average a lower bound
        of KL(q(z) || p(z)) for new rows, by mixtures of Gaussians fitted to half the rows and
        judged by the others.
    is_linear_start : bool
        Whether the model is the closed form itself: nothing was trained, or no epoch accepted.
        False with another prior than N(0, I), which is no part of that.
    linear_gain, linear_gain_error : float or None
        Mean log p(x) above that of the linear start (`init="pca", max_epochs=0`, the same law) and
        its standard error, by pairs. That is fitted to X_train or, without these, to one half of X
        and judged by the other, and the other way round. 0 where the model is it; None where it
        could not be fitted, and `linear_gain_note` says why.
    train_gap, train_gap_error : float or None
        How much likelier the rows are that were trained on: log p(x) of `X_train` less that of X,
        or, without these, the training objective in the epoch that was kept less that on X (about 0
        where X is what was trained on). None where neither is there to compare: that
        objective is not after a fit with weights, or in an epoch of the KL warm-up.
    training_gain, excess_gap, excess_gap_error : float or None
        What training gained on the training rows, above the start, and how much less than that it
        gained on X, with its standard error: with `X_train` by the linear start, row by row,
        without by the first epoch, and `train_gap` itself. (What is gained during a KL warm-up
        is only seen with `X_train`.)
    n_epochs, max_epochs : int or None
        Epochs that were trained and that would have been; None after `partial_fit`.
    best_epoch : int
        The epoch that was kept.
    selected : bool
        Whether epochs were judged on held-out rows.
    total_gain, total_gain_error, late_gain : float or None
        What training gained in all, its standard error (0 where it is not known), and in the second
        half of its epochs: of held-out rows, or, without these, of the rows that it was on, after
        the KL warm-up.
    feature_names : list of str
    laws : list of str
        The likelihood of each column.
    column_kinds : list of {"number", "count", "binary", "category", "constant"}
        What the columns of X hold.
    noise_at_floor : ndarray of shape (n_features,)
        Part of the rows at which the noise of a column has at most twice the least variance that
        its law allows.
    replicates : MarginalCheck
        Each column of X beside one of rows drawn from p(x|z) at the rows' own q(z|x): a posterior
        predictive check. Arrays `distance` (Kolmogorov-Smirnov, or total variation of categories),
        `p_value` (two-sample, times the number of columns) and `off` (a distance above 0.1 with a
        p-value below 0.01).
    samples : MarginalCheck
        The same beside rows that are sampled from the model, z from p(z). Where cells of X are
        missing, and not at random, these differ for that too.
    pairs : PairCheck
        Each pair of columns of X beside that of such samples: arrays `columns` (n_pairs, 2), their
        rank correlations `rows` and `samples` (of categories that of the one which differs most),
        `p_value`, times what was compared, and `off` (a difference above .2 with a p-value below
        0.01).
    drowned : ndarray of bool of shape (n_features,)
        Columns beside which a noise variance that all share is larger than all of their own.

    References
    ----------
    Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016 (active
    units); M. D. Hoffman, M. J. Johnson, "ELBO Surgery: Yet Another Way to Carve Up the Variational
    Evidence Lower Bound", NIPS workshop 2016; A. Gelman, X.-L. Meng, H. Stern, "Posterior
    Predictive Assessment of Model Fitness via Realized Discrepancies", Statistica Sinica 6, 1996.
    """

    n_samples: int
    n_draws: int
    reconstruction: float
    kl: float
    elbo: float
    log_prob: float
    log_prob_error: float
    gap: float
    effective_sample_size: float
    component_kl: np.ndarray | None
    component_nats: np.ndarray
    component_information: np.ndarray
    component_mismatch: np.ndarray | None
    mean_variance: np.ndarray
    active: np.ndarray
    information: float
    mismatch: float
    total_correlation: float | None
    prior_gain: float
    prior_gain_error: float
    is_linear_start: bool
    linear_gain: float | None
    linear_gain_error: float | None
    linear_gain_note: str
    train_gap: float | None
    train_gap_error: float | None
    training_gain: float | None
    excess_gap: float | None
    excess_gap_error: float | None
    n_epochs: int | None
    max_epochs: int | None
    best_epoch: int
    selected: bool
    total_gain: float | None
    total_gain_error: float | None
    late_gain: float | None
    feature_names: list
    laws: list
    column_kinds: list
    noise_at_floor: np.ndarray
    replicates: MarginalCheck
    samples: MarginalCheck
    pairs: PairCheck
    drowned: np.ndarray
    findings: tuple[Finding, ...] = ()

    @property
    def n_active(self):
        return int(self.active.sum())

    @property
    def warnings(self):
        """The findings that are faults of the model, a tuple of Finding."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def __repr__(self):
        named = ", ".join(f"{finding.severity}: {finding.name}" for finding in self.findings)
        return f"<Diagnosis of {self.n_samples} rows; {named or 'no findings'}>"

    def __str__(self):
        return as_text(*self._report())

    def _repr_html_(self):
        return as_html(*self._report())

    def _report(self):
        title = (
            f"Diagnosis: {self.n_samples} rows, {len(self.laws)} columns, {len(self.active)} "
            "components"
        )
        n_notes = len(self.findings) - len(self.warnings)
        verdict = f"Warnings: {len(self.warnings) or 'none'}. Notes: {n_notes or 'none'}."
        messages = [
            Message(finding.severity, finding.name, finding.words, finding.cure)
            for finding in self.findings
        ]
        sections = [self._bounds(), self._training(), self._components(), self._columns()]
        return title, verdict, messages, sections

    def _bounds(self):
        rows = [
            ("reconstruction, log p(x|z)", _nats(self.reconstruction), ""),
            ("KL of q(z|x) from p(z)", _nats(self.kl), ""),
            ("  information, tells rows apart", _nats(self.information), self._most_information()),
            ("  mismatch of q(z) and p(z)", _nats(self.mismatch), ""),
            _estimate("  a fitted prior saves of the KL", self.prior_gain, self.prior_gain_error),
            ("ELBO", _nats(self.elbo), ""),
            _estimate(f"log p(x), {self.n_draws} draws", self.log_prob, self.log_prob_error),
            ("gap, q(z|x) from the exact posterior", _nats(self.gap), ""),
            ("effective draws of the median row", f"{self.effective_sample_size:.1f}", ""),
        ]
        return Section("ELBO, nats per row", (), rows)

    def _most_information(self):
        return f"at most {np.log(min(self.n_samples, AGGREGATED_ROWS)):.2f}"

    def _training(self):
        rows = []
        if self.n_epochs is None:
            rows.append(("epochs", "a stream", ""))
        else:
            kept = f"epoch {self.best_epoch}" if self.best_epoch else "the start"
            rows.append(("epochs", f"{self.n_epochs} of {self.max_epochs}", f"kept: {kept}"))
        if self.total_gain is not None:
            of_rows = "held-out rows" if self.selected else "training rows"
            late = f"{_nats(self.late_gain)} in the second half"
            rows.append((f"gain of {of_rows}", _nats(self.total_gain), late))
        if self.linear_gain is not None:
            named = "these rows above the linear start"
            rows.append(_estimate(named, self.linear_gain, self.linear_gain_error))
        if self.train_gap is not None:
            named = "training rows above these"
            rows.append(_estimate(named, self.train_gap, self.train_gap_error))
        return Section("Training, nats per row", (), rows, self.linear_gain_note)

    def _components(self):
        header = ("", "KL", "information", "mismatch", "Var(mean)", "")
        rows = [
            (
                str(i),
                "" if self.component_kl is None else f"{self.component_kl[i]:.3f}",
                f"{self.component_information[i]:.3f}",
                "" if self.component_mismatch is None else f"{self.component_mismatch[i]:.3f}",
                f"{self.mean_variance[i]:.3f}",
                "" if self.active[i] else "inactive",
            )
            for i in range(min(len(self.active), _SHOWN))
        ]
        notes = []
        if self.component_kl is None:
            notes.append("With a joint prior a single latent has no KL.")
        if len(self.active) > _SHOWN:
            notes.append(f"The first {_SHOWN} of {len(self.active)}.")
        title = f"Components, nats per row: {self.n_active} of {len(self.active)} active"
        return Section(title, header, rows, " ".join(notes))

    def _columns(self):
        header = ("", "likelihood", "replicates", "p", "samples", "p", "noise at floor")
        far = np.maximum(self.replicates.distance, self.samples.distance)
        shown = np.argsort(-far, kind="stable")[:_SHOWN]
        rows = [
            (
                self.feature_names[j],
                self.laws[j],
                _distance(self.replicates, j),
                f"{self.replicates.p_value[j]:.2g}",
                _distance(self.samples, j),
                f"{self.samples.p_value[j]:.2g}",
                f"{self.noise_at_floor[j]:.0%}" if self.noise_at_floor[j] else "",
            )
            for j in shown
        ]
        note = (
            "How far marginals are from those of X, from 0 to 1: of rows drawn at the rows' own "
            "latents, and of samples. * is off: above "
            f"{LEAST_DISTANCE:g}, with a p-value (times the columns) below {LEVEL:g}."
        )
        if len(far) > _SHOWN:
            note += f" The {_SHOWN} furthest of {len(far)} columns."
        if len(self.pairs.rows):
            note += (
                f" Of {len(self.pairs.rows)} pairs {self.pairs.off.sum()} have another rank "
                f"correlation in samples, by more than {LEAST_DIFFERENCE:g}."
            )
        return Section("Columns: do their marginals come back?", header, rows, note)


def _nats(value):
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.1f}"


def _estimate(name, value, error):
    """A row of a report, of nats that have a standard error."""
    return name, _nats(value), f"± {error:.2g}"


def _distance(check, j):
    return f"{check.distance[j]:.3f}" + ("*" if check.off[j] else " ")
