"""Findings: what is wrong with a fitted model, in words, and what to change.

Each rule reads what was measured and the parameters, and names one thing. A "warning" is a fault
of the model; a "note" is worth knowing, and a sound model may have it.
"""

from typing import NamedTuple

import numpy as np

from .collapse import collapse_cure, trained_to_collapse
from .vae import INACTIVE_NATS

# Standard errors beyond which a difference between means over rows is not chance.
ERRORS = 3.0
# A difference of the prior from q(z) below this, in nats per row, is not worth another prior.
_LEAST_MISMATCH = 0.1
# Of all that training gained the part that its second half did: gains that do not get smaller at
# all have a half, and where they have dwindled to a tenth twice the epochs would hardly be seen.
_STILL_STEEP, _STILL_GAINING = 0.5, 0.1
# Draws that a score should rest on at least.
_LEAST_EFFECTIVE = 10
# Part of the rows that have a column's noise at its floor.
_PART_AT_FLOOR = 0.1
# Part of the columns that a law does not fit from which it is a fault of the model.
_PART_OFF = 0.01
_NAMED_COLUMNS = 3


class Finding(NamedTuple):
    """One thing that a diagnosis names.

    Attributes
    ----------
    name : str
        "posterior_collapse", "unused_components", "overfitting", "undertrained",
        "worse_than_linear", "linear_start", "noise_at_floor", "wrong_likelihood",
        "prior_mismatch", "loose_pairs" or "few_effective_draws".
    severity : {"warning", "note"}
    words : str
        What is the matter.
    cure : str
        What to change.
    """

    name: str
    severity: str
    words: str
    cure: str


def findings_of(model, measured):
    """What is to be said of a model.

    Parameters
    ----------
    model : VAETransformer
    measured : Diagnosis
        Without findings.

    Returns
    -------
    findings : tuple of Finding
        Warnings first.
    """
    found = [finding for rule in RULES if (finding := rule(model, measured)) is not None]
    return tuple(sorted(found, key=lambda finding: finding.severity != "warning"))


def _collapse(model, measured):
    silent = ~measured.active | (measured.component_nats < INACTIVE_NATS)
    if not silent.any():
        return None
    n_active = int((~silent).sum())
    words = (
        f"{silent.sum()} of {len(silent)} components say nothing of the rows (less than "
        f"{INACTIVE_NATS:g} nats, or a variance of the posterior mean of less than 0.01 of the "
        f"latent's): {_listed(np.flatnonzero(silent))}."
    )
    cure = collapse_cure(model, model.net_.module_.likelihood, n_active)
    if measured.is_linear_start:
        words += " The model is the linear start: the rows do not vary along them."
    elif trained_to_collapse(model):
        return Finding("posterior_collapse", "warning", words, cure)
    else:
        words += " Training from PCA switched them off, as the ELBO asks: they are not needed."
    return Finding("unused_components", "note", words, cure)


def _is_worse(measured):
    """Whether rows are beyond chance less likely than under the linear start."""
    if measured.linear_gain is None:
        return False
    return measured.linear_gain < -ERRORS * measured.linear_gain_error


def _below_linear(measured):
    """How far rows are below the linear start, in words."""
    return (
        f"{-measured.linear_gain:.3g} ± {measured.linear_gain_error:.2g} nats less likely than "
        "under the linear start"
    )


def _is_overfitted(measured):
    """Whether rows that were not trained on are beyond chance less likely than those that were, and
    training made it so: a gap alone every fit has."""
    if measured.train_gap is None or measured.is_linear_start:
        return False
    gap, error = measured.train_gap, measured.train_gap_error
    if _is_worse(measured):
        return gap > ERRORS * error
    # Held-out rows kept training from going on where only the training rows gain.
    if measured.selected or measured.training_gain is None:
        return False
    # More than half of what training gained is of the training rows alone.
    lost = measured.excess_gap - measured.training_gain / 2
    return lost > ERRORS * measured.excess_gap_error and measured.excess_gap > 0


def _overfitting(model, measured):
    if not _is_overfitted(measured):
        return None
    words = (
        f"The rows that were trained on are {measured.train_gap:.3g} ± "
        f"{measured.train_gap_error:.2g} nats likelier each than these"
    )
    if _is_worse(measured):
        words += f", which are {_below_linear(measured)}"
    words += ". (Or these rows are of another kind.)"
    if not measured.selected:
        cure = (
            "early_stopping=True keeps the epoch that is best on held-out rows; else fewer epochs "
            "or smaller hidden_layer_sizes"
        )
    else:
        cure = "smaller hidden_layer_sizes, fewer n_components, a larger validation_fraction"
    return Finding("overfitting", "warning", words, cure)


def _undertrained(model, measured):
    epochs = measured.n_epochs
    if epochs is None or epochs < measured.max_epochs or measured.is_linear_start:
        return None
    if _is_overfitted(measured):
        return None
    # Training began with the linear start, and led away from what it was to add to.
    if model.init == "pca" and _is_worse(measured):
        return None
    part = _still_gaining(measured)
    # Rows that are trained on gain as long as there are epochs, whether others do or not.
    least = _STILL_GAINING if measured.selected or _is_worse(measured) else _STILL_STEEP
    # With another beta training maximizes something else than likelihood.
    behind = _is_worse(measured) and model.beta == 1
    if epochs == 0 and behind:
        words = "The model has the random weights that training would begin with."
    elif part > least and (behind or measured.best_epoch > 0):
        of_rows = "held-out rows" if measured.selected else "training rows"
        words = (
            f"Training ended with epoch {epochs}, where max_epochs ended it, still gaining: "
            f"{measured.late_gain:.3g} of {measured.total_gain:.3g} nats per row of the {of_rows} "
            f"came in {'the second half' if epochs > 1 else 'that epoch'}."
        )
    else:
        return None
    if behind:
        words += f" Rows are {_below_linear(measured)}, which takes no training."
    severity = "warning" if behind or part > _STILL_STEEP else "note"
    cure = f"max_epochs above {epochs}"
    if not measured.selected:
        # Held-out rows may have said already that so many epochs are enough.
        cure += ", if held-out rows gain by it too: early_stopping=True ends with the best for them"
    if model.init == "random":
        cure += "; init='pca' starts where a linear model ends"
    return Finding("undertrained", severity, words, cure)


def _still_gaining(measured):
    """The part of training's gain that its second half had; 0 where that may be chance."""
    gain, total = measured.late_gain, measured.total_gain
    if gain is None or not gain > 2 * measured.total_gain_error:
        return 0.0
    # The best epoch was over by then: what was gained was lost before.
    if measured.selected and 0 < measured.best_epoch <= measured.n_epochs // 2:
        return 0.0
    # A second half that made good what the first one lost.
    return gain / total if total > gain else 1.0


def _worse_than_linear(model, measured):
    undertrained = _undertrained(model, measured)
    explained = undertrained is not None and undertrained.severity == "warning"
    if not _is_worse(measured) or _is_overfitted(measured) or explained:
        return None
    words = f"Rows are {_below_linear(measured)}, which takes no training."
    cures = []
    if model.init == "random":
        cures.append("init='pca'")
    if model.beta != 1:
        cures.append(f"beta=1 (it is {model.beta:g}), with which training maximizes likelihood")
    if not measured.selected:
        cures.append("early_stopping=True")
    if model.init == "pca" and model.beta == 1:
        cures.append("a lower lr")
    elif measured.n_epochs is not None and 0 < measured.n_epochs == measured.max_epochs:
        cures.append("more max_epochs")
    if not cures or cures == ["a lower lr"]:
        cures = ["a lower lr, or max_epochs=0, which is the linear model"]
    return Finding("worse_than_linear", "warning", words, "; ".join(cures))


def _linear_start(model, measured):
    callbacks = dict(model.net_.callbacks_)
    best, warmup = callbacks["best_epoch"], callbacks.get("kl_warmup")
    if not (measured.is_linear_start and measured.selected) or best.diverged_:
        return None
    refused = " and reconstructed them no worse" if best.refused_ else ""
    words = (
        f"The model is the linear start: no epoch of {measured.n_epochs} was better for held-out "
        f"rows beyond chance{refused}. Either the rows are linear, or training did not get there: "
        "of a surface that folds back over itself no small bend gains anything."
    )
    cure = "none where rows are linear; what is folded may unfold with "
    if warmup is None or not warmup.fraction:
        cure += "kl_warmup=0.5, "
    cure += "hidden_layer_sizes=(128,) * 4, max_epochs=400, optimizer__weight_decay=0"
    return Finding("linear_start", "note", words, cure)


def _noise_at_floor(model, measured):
    at_floor = measured.noise_at_floor > _PART_AT_FLOOR
    if not at_floor.any():
        return None
    words = (
        f"The noise of {at_floor.sum()} of {len(at_floor)} columns is at the least that the law "
        f"allows: {_called(measured, at_floor, measured.noise_at_floor)}. Their reconstruction is "
        "perfect, or nearly, and a density without a bound: the score says more of the floor than "
        "of the rows."
    )
    cure = (
        "fewer n_components; leave out columns that others determine; for columns of few values "
        "a law of those (counts, 'categorical', 'quantile_gaussian')"
    )
    return Finding("noise_at_floor", "warning", words, cure)


def _wrong_likelihood(model, measured):
    off = measured.replicates.off
    if not off.any():
        return None
    worst = measured.replicates.distance[off].max()
    words = (
        f"{off.sum()} of {len(off)} columns do not come back even at the rows' own latents: "
        f"{_called(measured, off, measured.replicates.distance)}. Of the furthest one, {worst:.0%} "
        "of what the model draws is elsewhere: p(x|z) is not its law"
    )
    # What is worse than the linear start may have its noise from there.
    worse = _is_worse(measured)
    words += ", or not yet, as the model is." if worse else ", or these rows are of another kind."
    words += " This spoils samples and scores most."
    cures = _laws_instead(measured, off)
    if measured.max_epochs == 0:
        cures.append("or training (max_epochs=0 leaves the model linear), which bends the means")
    # Any noise at all is too much for a column that does not vary.
    constant = np.array([kind == "constant" for kind in measured.column_kinds])
    few = off.mean() < _PART_OFF
    severity = "note" if worse or few or constant[off].all() else "warning"
    return Finding("wrong_likelihood", severity, words, "; ".join(cures))


def _laws_instead(measured, off):
    """What to take as law of columns that are off, the advice for most of them first."""
    cures = []
    for j in np.flatnonzero(off):
        law, kind = measured.laws[j], measured.column_kinds[j]
        if kind == "constant":
            cure = "leave out columns that are constant in X"
        elif measured.drowned[j]:
            cure = (
                "columns beside which the one noise variance of all is large: scale X, as by "
                "StandardScaler, or likelihood='diagonal_gaussian'"
            )
        elif law in _OF_ANY_SHAPE or (kind == "binary" and law == "bernoulli"):
            cure = (
                "rows of the kind that the model was fitted to, if these are others (its law has "
                "any shape, and comes back there); else more n_components or max_epochs"
            )
        elif law in _INSTEAD_OF_COUNTS and kind in ("binary", "count"):
            cure = _INSTEAD_OF_COUNTS[law]
        elif kind == "binary":
            cure = "likelihood 'bernoulli' for columns of 0 and 1"
        elif kind == "count":
            cure = "likelihood 'negative_binomial' for counts, or 'quantile_gaussian'"
        else:
            cure = "likelihood='quantile_gaussian', which takes columns of any shape"
        cures.append(cure)
    return sorted(set(cures), key=lambda cure: (-cures.count(cure), cure))


_INSTEAD_OF_COUNTS = {
    "poisson": "likelihood 'negative_binomial' for counts that vary more than Poisson's",
    "negative_binomial": "likelihood 'zero_inflated_negative_binomial' where zeros are too many, "
    "else more n_components or max_epochs",
    "zero_inflated_negative_binomial": "more n_components or max_epochs (no law of counts here has "
    "more shapes; 'quantile_gaussian' has, for few columns)",
    "multinomial": "likelihood='negative_binomial', which lets counts vary more (and scores the "
    "rows' totals too)",
}
_OF_ANY_SHAPE = "quantile_gaussian", "categorical"


def _prior_mismatch(model, measured):
    gain, error = measured.prior_gain, measured.prior_gain_error
    large = gain > max(_LEAST_MISMATCH, ERRORS * error)
    only_samples = measured.samples.off & ~measured.replicates.off
    if not (large or only_samples.any()):
        return None
    how_much = f"{gain:.3g} ± {error:.2g}" if gain > 0 else "nothing"
    saved = (
        f"a mixture fitted to it would save {how_much} of the {measured.kl:.3g} nats of KL, on "
        "rows that it has not seen"
    )
    # Beyond chance no more than another prior would be worth.
    no_matter = gain + ERRORS * error < max(_LEAST_MISMATCH, measured.kl / 10)
    apart = (
        f"{only_samples.sum()} of {len(only_samples)} columns of samples are off that come back at "
        f"the rows' own latents ({_called(measured, only_samples, measured.samples.distance)})"
    )
    if large:
        words = f"p(z) is not where the encoder puts the rows: {saved}. "
        words += f"And {apart}. " if only_samples.any() else ""
        words += "This spoils samples and scores; `transform` it leaves as it is."
    else:
        harm = "to scores it is no matter" if no_matter else "of scores these rows do not tell"
        words = (
            f"p(z) is not quite where the encoder puts the rows: {apart}. This spoils samples; "
            f"{harm} ({saved})."
        )
    # More of the KL term is spent on where rows are not than on telling them apart.
    severity = "warning" if large and gain > measured.kl / 2 else "note"
    cures = []
    if model.beta < 1:
        cures.append(f"beta=1 (it is {model.beta:g}, which lets the latents leave the prior)")
    if model.net_.module_.prior.standard:
        cures.append("prior='fitted' takes no more training, prior='flow' learns with it")
    else:
        cures.append("more max_epochs, for the prior to follow; prior='flow'")
    return Finding("prior_mismatch", severity, words, "; ".join(cures))


def _loose_pairs(model, measured):
    pairs = measured.pairs
    off = np.flatnonzero(pairs.off)
    if not len(off):
        return None
    most = off[np.argsort(-np.abs(pairs.rows - pairs.samples)[off], kind="stable")]
    named = ", ".join(
        f"{_legible(measured.feature_names[i])} and {_legible(measured.feature_names[j])} "
        f"({pairs.rows[place]:.2f}, in samples {pairs.samples[place]:.2f})"
        for place, (i, j) in zip(most, pairs.columns[most][:_NAMED_COLUMNS], strict=False)
    )
    words = (
        f"{len(off)} of {len(pairs.rows)} pairs of columns have another rank correlation in "
        f"samples: {named}{', ...' if len(off) > _NAMED_COLUMNS else ''}. What two columns have in "
        "common is in samples as far as the latents say it; the rest is drawn for each by itself."
    )
    cures = []
    if measured.max_epochs == 0:
        cures.append("training (max_epochs=0 leaves the model linear)")
    if len(measured.active) < len(measured.laws):
        cures.append("more n_components")
    if model.net_.module_.prior.standard:
        cures.append("prior='flow'")
    cures.append("leave out one of two columns of which one says what the other is")
    return Finding("loose_pairs", "note", words, "; ".join(cures))


def _few_effective_draws(model, measured):
    size = measured.effective_sample_size
    if size >= min(_LEAST_EFFECTIVE, measured.n_draws / 2):
        return None
    words = (
        f"The score of the median row rests on {size:.1f} of its {measured.n_draws} draws: it is "
        "noisy, and too low. The posterior q(z|x) is "
        f"{measured.gap:.2g} nats or more from the exact one."
    )
    cure = "more n_importance_samples in scores; n_importance_samples_train above 1 in the fit"
    return Finding("few_effective_draws", "note", words, cure)


RULES = (
    _collapse,
    _overfitting,
    _undertrained,
    _worse_than_linear,
    _linear_start,
    _noise_at_floor,
    _wrong_likelihood,
    _prior_mismatch,
    _loose_pairs,
    _few_effective_draws,
)


def _listed(positions):
    few = ", ".join(str(i) for i in positions[:8])
    return few + (", ..." if len(positions) > 8 else "")


def _legible(name):
    """A name, in quotation marks where it would not be seen where it begins and ends."""
    return repr(name) if name != name.strip() or "," in name or not name else name


def _called(measured, chosen, size):
    """The columns that have most of something, by name, with how much."""
    most = np.argsort(np.where(chosen, -size, np.inf), kind="stable")
    most = most[: min(_NAMED_COLUMNS, chosen.sum())]
    named = ", ".join(f"{_legible(measured.feature_names[j])} {size[j]:.2f}" for j in most)
    return named + (", ..." if chosen.sum() > len(most) else "")
