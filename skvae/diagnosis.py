"""diagnose: what a fitted model's latents, bounds, training and columns say, and what is wrong."""

import warnings
from dataclasses import dataclass, replace
from math import ceil
from numbers import Integral

import numpy as np
import torch
from sklearn.base import clone
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples, check_is_fitted

from ._random import draw_seed
from .aggregate import aggregate, gain_of_fitted_prior, posterior_of_rows
from .findings import Finding, findings_of, law_name
from .marginal_checks import (
    LEAST_DISTANCE,
    LEVEL,
    MarginalCheck,
    compare_marginals,
    replicated,
    sampled,
)
from .moments import some_rows
from .reports import Message, Section, as_html, as_text
from .scores import bounds, importance_scores
from .transformer import VAETransformer

# Rows that are looked at, and values of these, but at least so many rows;
_MOST_ROWS, _MOST_VALUES, _FEW_ROWS = 5000, 2**24, 500
# of them those whose posteriors are compared, each with each.
_AGGREGATED_ROWS = 1000
# Below which no test of a column or a mean says anything.
_LEAST_ROWS = 20
# A latent is active where its posterior mean has more than this part of its variance.
_ACTIVE = 0.01
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
            (
                "  another prior would save",
                _nats(self.prior_gain),
                f"± {self.prior_gain_error:.2g}",
            ),
            ("ELBO", _nats(self.elbo), ""),
            (
                f"log p(x), {self.n_draws} draws",
                _nats(self.log_prob),
                f"± {self.log_prob_error:.2g}",
            ),
            ("gap, q(z|x) from the exact posterior", _nats(self.gap), ""),
            ("effective draws of the median row", f"{self.effective_sample_size:.1f}", ""),
        ]
        return Section("ELBO, nats per row", (), rows)

    def _most_information(self):
        return f"at most {np.log(min(self.n_samples, _AGGREGATED_ROWS)):.2f}"

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
            error = f"± {self.linear_gain_error:.2g}"
            rows.append(("these rows above the linear start", _nats(self.linear_gain), error))
        if self.train_gap is not None:
            error = f"± {self.train_gap_error:.2g}"
            rows.append(("training rows above these", _nats(self.train_gap), error))
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
        return Section("Columns: do their marginals come back?", header, rows, note)


def diagnose(
    estimator,
    X,
    *,
    X_train=None,
    condition=None,
    condition_train=None,
    n_draws=100,
    random_state=None,
):
    """What is wrong with a fitted model, and what to change, in numbers and in words.

    Parameters
    ----------
    estimator : VAETransformer, or a Pipeline or search that ends in one
        Fitted.
    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
        Rows of the kind that the model is for, best ones that it was not fitted to; at least 20. Of
        more than 5,000 a random part is looked at. With a `batch_transform`, rows as it leaves
        them.
    X_train : {array-like, sparse matrix, DataFrame} or None, default=None
        The rows that the model was fitted to, where X are others. Overfitting is then seen exactly;
        without them it is judged by what `history_` says of the training rows.
    condition, condition_train : array-like, Series or DataFrame or None, default=None
        Of the rows of X and of X_train, where the model was fitted with one.
    n_draws : int, default=100
        Draws of q(z|x) for each row, for the ELBO and log p(x).
    random_state : int, RandomState instance or None, default=None
        None takes the estimator's own `random_state`.

    Returns
    -------
    diagnosis : Diagnosis
        Print it; `diagnosis.findings` are what is found. The model is left as it is.

    Raises
    ------
    TypeError
        If `estimator` does not end in a VAETransformer.
    ValueError
        If there are fewer than 20 rows, if `n_draws` is not an int of at least 2, if there is a
        `condition_train` without X_train, or as `VAETransformer.score_samples` raises it.

    Notes
    -----
    A column is called off where its marginal differs by more than a tenth of the rows, and with a
    p-value, multiplied by the number of columns, below 0.01. Means are called different beyond
    three standard errors. In data that follow the model either is rare, whatever the number of
    columns; and a difference that is sure but small is no finding.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer, diagnose
    >>> X = load_iris().data
    >>> vae = VAETransformer(2, init="random", max_epochs=2, random_state=0).fit(X)
    >>> [finding.name for finding in diagnose(vae, X).warnings]
    ['undertrained']
    >>> vae = VAETransformer(2, random_state=0).fit(X)
    >>> diagnose(vae, X).warnings
    ()
    """
    if not isinstance(n_draws, Integral) or n_draws < 2:
        raise ValueError(f"n_draws must be an int of at least 2, got {n_draws!r}.")
    if condition_train is not None and X_train is None:
        raise ValueError("condition_train is that of the rows X_train, and X_train is None.")
    check_is_fitted(estimator)
    before, model = _parts(estimator)
    seed = draw_seed(model.random_state if random_state is None else random_state)
    rows = _Rows(model, before, X, condition, "X")
    train = None
    if X_train is not None:
        train = _Rows(model, before, X_train, condition_train, "X_train")
    measured = {"n_samples": len(rows.X), "n_draws": int(n_draws)}
    of_rows = _bounds_of(model, rows, seed, n_draws)
    measured |= of_rows["means"] | _latents_of(model, rows, seed)
    measured |= _training_of(model)
    of_linear = _linear_scores(model, rows, train, seed, n_draws)
    measured |= _gains_of(model, rows, train, of_rows, of_linear, seed, n_draws)
    measured |= _columns_of(model, rows, before, seed)
    diagnosis = Diagnosis(**measured)
    return replace(diagnosis, findings=findings_of(model, diagnosis))


def _parts(estimator):
    """The steps before the model, or None, and the model."""
    before, model = [], estimator
    while True:
        if hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        elif isinstance(model, Pipeline) and len(model):
            before += [model[:-1]] if len(model) > 1 else []
            model = model[-1]
        else:
            break
    if not isinstance(model, VAETransformer):
        hint = "Of a detector or an imputer it is its `estimator_`."
        if isinstance(model, BaseSearchCV):
            hint = "Of a search with refit=False no model is kept."
        raise TypeError(
            "diagnose needs a fitted VAETransformer, alone or as the last step of a Pipeline; got "
            f"{type(model).__name__}. ({hint})"
        )
    if len(before) > 1:
        before = [Pipeline([(str(i), steps) for i, steps in enumerate(before)])]
    return before[0] if before else None, model


class _Rows:
    """Rows as they were given to the model, and a random part of them as numbers.

    Attributes
    ----------
    given : array-like
        All of them, as they reach the model.
    given_condition : ndarray of shape (n, n_conditions) or None
        Of these, as columns for the model.
    chosen : ndarray
        Positions of the part.
    X : ndarray of shape (n_chosen, n_features)
    C : ndarray of shape (n_chosen, n_conditions) or None
    """

    def __init__(self, model, before, X, condition, name):
        if before is not None:
            X = before.transform(X)
        elif not hasattr(X, "shape"):
            X = np.asarray(X)
        if not X.shape:
            raise ValueError(f"{name} must be rows of columns, got {X.item()!r}.")
        n_rows = _num_samples(X)
        if n_rows < _LEAST_ROWS:
            raise ValueError(
                f"{name} has {n_rows} rows; diagnose needs {_LEAST_ROWS} at least: with fewer "
                "chance explains nearly everything."
            )
        self.given = X.tocsr() if hasattr(X, "tocsr") else X
        self.given_condition = model._conditions_of(condition, n_rows)
        most = min(_MOST_ROWS, max(_FEW_ROWS, _MOST_VALUES // model.n_features_in_))
        self.chosen = some_rows(n_rows, most)
        rows = model._scorable(self.part(self.chosen)[0])
        rows = rows if isinstance(rows, np.ndarray) else rows[:]
        self.X = np.asarray(rows)
        self.C = None if self.given_condition is None else self.given_condition[self.chosen]

    def part(self, positions):
        """Some of the rows as given, and their condition."""
        C = None if self.given_condition is None else self.given_condition[positions]
        return _safe_indexing(self.given, positions), C


def _dtype(X):
    return torch.float32 if X.dtype == np.float32 else torch.float64


def _bounds_of(model, rows, seed, n_draws):
    """The bounds of each row, and their means under the names that a Diagnosis has."""
    log_prob, size, elbo, kl = bounds(model.net_, rows.X, seed, n_draws, _dtype(rows.X), rows.C)
    means = {
        "elbo": float(elbo.mean()),
        "kl": float(kl.sum(axis=1).mean()),
        "reconstruction": float((elbo + kl.sum(axis=1)).mean()),
        "log_prob": float(log_prob.mean()),
        "log_prob_error": _error(log_prob),
        "gap": float((log_prob - elbo).mean()),
        "effective_sample_size": float(np.median(size)),
    }
    return {"means": means, "log_prob": log_prob, "elbo": elbo, "kl": kl}


def _latents_of(model, rows, seed):
    """What the latents carry, in the order of the columns of `transform`."""
    net, order = model.net_, model.coordinates_.order
    few = some_rows(len(rows.X), _AGGREGATED_ROWS)
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


def _training_of(model):
    """What the history of the fit says of its course."""
    streamed = model._stream is not None
    history = [epoch for epoch in model.history_ if "train_loss" in epoch]
    best = dict(model.net_.callbacks_)["best_epoch"]
    selected = bool(history) and best.select and all("valid_loss" in epoch for epoch in history)
    linear = model.init == "pca" and not model.warm_start and model.net_.module_.prior.standard
    measured = {
        "n_epochs": None if streamed else len(history),
        "max_epochs": None if streamed else model.net_.max_epochs,
        "best_epoch": model.best_epoch_,
        "selected": selected and not streamed,
        "is_linear_start": bool(linear and not streamed and model.best_epoch_ == 0),
        "total_gain": None,
        "total_gain_error": None,
        "late_gain": None,
    }
    if streamed or not history:
        return measured
    losses = [epoch["valid_loss" if selected else "train_loss"] for epoch in history]
    if not selected:
        losses = losses[_warmup_epochs(model) :]
        if not losses:
            return measured
    # Losses of training rows are means over epochs, of which the first has the start in it.
    start = best.start_loss() if selected else losses[0]
    half = len(losses) // 2
    at_half = losses[half - 1] if half else start
    return measured | {
        "total_gain": float(start - losses[-1]),
        "total_gain_error": best.gain()[1] if selected else 0.0,
        "late_gain": float(at_half - losses[-1]),
    }


def _warmup_epochs(model):
    """Epochs whose loss, on training rows, had not the whole KL term yet: it says less."""
    warmup = dict(model.net_.callbacks_).get("kl_warmup")
    return 0 if warmup is None else ceil(warmup.fraction * model.net_.max_epochs)


def _linear_scores(model, rows, train, seed, n_draws):
    """log p(x) of the rows, and of those of `train`, under the linear start; or why it has none."""
    if _training_of(model)["is_linear_start"]:
        return None, None, ""
    n_rows = _num_samples(rows.given)
    if train is not None:
        fits = [(train, np.arange(_num_samples(train.given)), np.arange(len(rows.X)))]
    else:
        half = np.random.RandomState(seed).permutation(n_rows) % 2 == 0
        judged = half[rows.chosen]
        fits = [(rows, np.flatnonzero(half == side), judged != side) for side in (True, False)]
    scores, of_train = np.empty(len(rows.X)), None
    try:
        for source, fitted, judged in fits:
            start = _linear_start(model, *source.part(fitted), seed)
            if not model.net_.module_.likelihood.same_measure(start.net_.module_.likelihood):
                return None, None, _OTHER_MEASURE
            scores[judged] = _scores_by(start, rows, judged, seed, n_draws)
            if train is not None:
                of_train = _scores_by(start, train, slice(None), seed, n_draws)
    except ValueError as error:
        note = f"The linear start could not be fitted to compare with: {error}"
        if train is None:
            note += " (To half of these rows. With X_train it is fitted to those.)"
        return None, None, note
    return scores, of_train, ""


_OTHER_MEASURE = (
    "No comparison with the linear start: fitted to half of these rows it takes other values for "
    "repeated ones, whose probabilities are no densities. With X_train there is one."
)


def _linear_start(model, X, C, seed):
    n_rows = _num_samples(X)
    start = clone(model).set_params(
        n_components=min(model.n_components_, n_rows - 1, model.net_.module_.likelihood.n_inputs),
        likelihood=model.likelihood_,
        prior="normal",
        # Networks would be silent.
        network="linear",
        init="pca",
        max_epochs=0,
        warm_start=False,
        free_bits=0.0,
        batch_transform=None,
        callbacks=None,
        random_state=seed % 2**31,
        verbose=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return start.fit(X, condition=C)


def _scores_by(start, rows, chosen, seed, n_draws):
    X, C = rows.part(rows.chosen[chosen])
    X = start._scorable(X)
    C = None if C is None else start._conditions_of(C, len(X))
    return importance_scores(start.net_, X, seed, n_draws, _dtype(rows.X), C)[0]


def _gains_of(model, rows, train, of_rows, of_linear, seed, n_draws):
    """What the model gains over the linear start, and loses beside the rows it was trained on."""
    linear, linear_of_train, note = of_linear
    is_start = _training_of(model)["is_linear_start"]
    measured = {
        "linear_gain": 0.0 if is_start else None,
        "linear_gain_error": 0.0 if is_start else None,
        "linear_gain_note": note,
        "train_gap": None,
        "train_gap_error": None,
        "training_gain": None,
        "excess_gap": None,
        "excess_gap_error": None,
    }
    if linear is not None:
        gain = of_rows["log_prob"] - linear
        measured |= {"linear_gain": float(gain.mean()), "linear_gain_error": _error(gain)}
    if train is not None:
        of_train = importance_scores(model.net_, train.X, seed, n_draws, _dtype(train.X), train.C)[
            0
        ]
        measured["train_gap"] = float(of_train.mean() - of_rows["log_prob"].mean())
        measured["train_gap_error"] = float(np.hypot(_error(of_train), _error(of_rows["log_prob"])))
        if linear_of_train is not None:
            gain_of_train = of_train - linear_of_train
            measured["training_gain"] = float(gain_of_train.mean())
            measured["excess_gap"] = measured["training_gain"] - measured["linear_gain"]
            errors = _error(gain_of_train), measured["linear_gain_error"]
            measured["excess_gap_error"] = float(np.hypot(*errors))
        return measured
    return measured | _gaps_by_history(model, of_rows)


def _gaps_by_history(model, of_rows):
    """How much likelier training rows were, in the epoch that was kept, than these are."""
    history = [epoch for epoch in model.history_ if "train_loss" in epoch]
    criterion = model.net_.criterion_
    kept, n_warmup = model.best_epoch_, _warmup_epochs(model)
    if model._stream is not None or not n_warmup < kept <= len(history):
        return {}
    # Neither is a loss that is the mean of these rows.
    if criterion.importance_weighted or criterion.mean_weight is not None:
        return {}
    # The objective itself, as the loss of that epoch.
    kl = of_rows["kl"]
    objective = of_rows["elbo"] + kl.sum(axis=1) - criterion.beta * kl.sum(axis=1)
    free = np.maximum(criterion.free_bits - kl.mean(axis=0), 0.0).sum()
    losses = [epoch["train_loss"] for epoch in history]
    gap = float(-losses[kept - 1] - (objective.mean() - criterion.beta * free))
    error = float(objective.std(ddof=1) * np.sqrt(1 / len(objective) + 1 / model.n_samples_))
    return {
        "train_gap": gap,
        "train_gap_error": error,
        # What was gained while the KL term was warmed up is not to be seen.
        "training_gain": None if n_warmup else float(losses[0] - losses[kept - 1]),
        "excess_gap": gap,
        "excess_gap_error": error,
    }


def _columns_of(model, rows, before, seed):
    """Whether the marginals of the columns come back, and what the columns are."""
    net, table = model.net_, model._table
    likelihood = net.module_.likelihood
    X = np.asarray(rows.X, dtype=np.float64)
    laws, categories = _laws(likelihood), _categories(likelihood, table)
    replicates, at_floor = replicated(net, X, seed, rows.C)
    samples = sampled(net, len(X), seed, rows.C)
    if table is not None:
        # As `sample` has them: numbers rounded where the column holds integers.
        replicates, samples = (table.encode(table.decode(part)) for part in (replicates, samples))
    replicates = np.where(np.isnan(X), np.nan, replicates)
    drowned = np.zeros(X.shape[1], dtype=bool)
    if likelihood.shared_noise:
        seen = ~np.isnan(X).all(axis=0)
        drowned[seen] = np.nanvar(X[:, seen], axis=0) < model.noise_variance_
    return {
        "feature_names": _names(model, before, X.shape[1]),
        "laws": laws,
        "column_kinds": [_kind(X[:, j], categories[j]) for j in range(X.shape[1])],
        "noise_at_floor": at_floor.mean(axis=0),
        "replicates": compare_marginals(X, replicates, categories),
        "samples": compare_marginals(X, samples, categories),
        "drowned": drowned,
    }


def _laws(likelihood):
    """The name of the law of each column."""
    if not hasattr(likelihood, "laws"):
        return [law_name(likelihood)] * likelihood.n_features
    laws = np.empty(likelihood.n_features, dtype=object)
    for law, columns in zip(likelihood.laws, likelihood.columns, strict=True):
        laws[columns] = law_name(law)
    return laws.tolist()


def _categories(likelihood, table):
    """Which columns are codes, whose order says nothing."""
    if table is not None:
        return table.kinds == "category"
    columns, codes = likelihood.feature_columns()
    return np.isin(np.arange(likelihood.n_features), np.asarray(columns)[np.asarray(codes) >= 0])


def _kind(x, category):
    x = x[~np.isnan(x)]
    if category:
        return "category"
    if not len(x) or x.min() == x.max():
        return "constant"
    if np.isin(x, (0, 1)).all():
        return "binary"
    return "count" if (x >= 0).all() and (x == np.floor(x)).all() else "number"


def _names(model, before, n_columns):
    names = getattr(model, "feature_names_in_", None)
    if model._table is not None and model._table.names is not None:
        names = model._table.names
    if names is None and before is not None:
        try:
            names = before.get_feature_names_out()
        except (AttributeError, ValueError):
            names = None
    names = [f"x{j}" for j in range(n_columns)] if names is None else names
    return [str(name) for name in names]


def _error(values):
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _nats(value):
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.1f}"


def _distance(check, j):
    return f"{check.distance[j]:.3f}" + ("*" if check.off[j] else " ")
