"""Training by skorch: schedules, selection, weight decay, what the user gives and gets back."""

import math
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from suited import suited_rows
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import skvae
from skvae import VAETransformer, assembly
from skvae.batches import Batches, Rows
from skvae.callbacks import BestEpoch, KLWarmup, WarmupStableDecay
from skvae.likelihoods import LIKELIHOODS, Gaussian
from skvae.net import VAENet
from skvae.outliers import _for_as_many_epochs

CURVE = np.random.RandomState(0).uniform(-2, 2, size=400)
# A parabola with a little noise: a line misses it, a small network does not.
X = np.column_stack([CURVE, CURVE**2, -CURVE]) + np.random.RandomState(1).normal(size=(400, 3)) / 20
NOISE = np.random.RandomState(2).normal(size=(300, 6))


def fitted(X=X, k=1, **params):
    defaults = {"hidden_layer_sizes": (16,), "max_epochs": 20, "random_state": 0, "lr": 0.01}
    return VAETransformer(k, **(defaults | params)).fit(X)


def callback(estimator, name="best_epoch"):
    return dict(estimator.net_.callbacks_)[name]


def given(estimator):
    """The clone of the last callback that the test gave; ours that selects comes after it."""
    return estimator.net_.callbacks[-2]


class Recorder(Callback):
    """What a schedule does to the optimizer, epoch by epoch."""

    def on_train_begin(self, net, **_):
        self.rates, self.warmups, self.valid = [], [], []

    def on_batch_end(self, net, training, **_):
        self.rates.append(net.optimizer_.param_groups[-1]["lr"])
        self.warmups.append(net.criterion_.warmup)


def test_a_curve_is_learned_that_a_line_misses():
    vae = fitted(max_epochs=60)
    pca = PCA(1).fit(X)
    assert vae.best_epoch_ == callback(vae).best_epoch_ > 0
    assert vae.score(X) > pca.score(X) + 0.5
    error = [np.mean((m.inverse_transform(m.transform(X)) - X) ** 2) for m in (vae, pca)]
    assert error[0] < 0.5 * error[1]


@pytest.mark.parametrize(
    ("likelihood", "init", "n_columns", "rate"),
    [
        ("gaussian", "pca", 9, 1.0),
        ("gaussian", "pca", 16, 0.75),
        ("gaussian", "pca", 100, 0.5),
        ("gaussian", "random", 100, 1.0),
        ("diagonal_gaussian", "pca", 100, 1.0),
    ],
)
def test_one_noise_of_many_columns_leaves_its_optimum_slowly(likelihood, init, n_columns, rate):
    rows = np.random.RandomState(0).normal(size=(150, n_columns))
    vae = fitted(rows, likelihood=likelihood, init=init, max_epochs=1)
    noise = vae.net_.module_.likelihood.log_noise
    groups = vae.net_.optimizer_.param_groups
    rates = [group["lr"] for group in groups if any(p is noise for p in group["params"])]
    assert rates == pytest.approx([0.01 * rate])
    # The networks are the last group.
    assert groups[-1]["lr"] == 0.01


def test_an_optimizer_of_another_rate_has_it_for_the_noise_of_columns():
    vae = fitted(likelihood="diagonal_gaussian", max_epochs=1, optimizer__lr=1e-5)
    noise = vae.net_.module_.likelihood.log_noise
    groups = vae.net_.optimizer_.param_groups
    assert [g["lr"] for g in groups if any(p is noise for p in g["params"])] == [1e-5]


def test_components_explain_what_the_reconstructions_do():
    rows = load_digits().data
    vae = fitted(rows, 4, max_epochs=8, hidden_layer_sizes=(64,))
    assert callback(vae).accepted_
    T = vae.transform(rows)
    residual = ((vae.inverse_transform(T) - rows) ** 2).sum() / (len(rows) - 1)
    total = rows.var(axis=0, ddof=1).sum()
    assert vae.explained_variance_.sum() == pytest.approx(total - residual, rel=1e-6)
    assert vae.explained_variance_ratio_.sum() == pytest.approx(1 - residual / total, rel=1e-6)
    # Columns have the standard deviation of what they explain, in decreasing order.
    np.testing.assert_allclose(T.var(axis=0, ddof=1), vae.explained_variance_, rtol=1e-6)
    assert (np.diff(vae.explained_variance_) < 0).all()
    np.testing.assert_allclose(np.linalg.norm(vae.components_, axis=1), 1)
    assert (vae.components_.max(axis=1) > -vae.components_.min(axis=1)).all()
    # components_ is the Jacobian of inverse_transform at the origin, with unit rows.
    step = 1e-5 * np.eye(4)
    origin = vae.inverse_transform(np.zeros((1, 4)))
    slope = (vae.inverse_transform(step) - origin) / 1e-5
    slope /= np.linalg.norm(slope, axis=1, keepdims=True)
    np.testing.assert_allclose(slope, vae.components_, atol=1e-4)


def test_where_a_line_is_all_there_is_the_model_is_pca_on_all_rows():
    # No epoch at this learning rate comes near the start.
    vae, pca = fitted(NOISE, 2, lr=0.2), PCA(2, svd_solver="full").fit(NOISE)
    best = callback(vae)
    assert not best.accepted_
    assert len(vae.history_) > 0
    np.testing.assert_allclose(vae.score_samples(NOISE), pca.score_samples(NOISE), rtol=1e-8)
    np.testing.assert_allclose(vae.components_, pca.components_, atol=1e-8)
    assert len(best.best_rows_) == 50


def test_on_rows_without_structure_what_is_accepted_does_no_harm():
    gains = []
    for seed in range(5):
        random = np.random.RandomState(seed)
        rows, fresh = random.normal(size=(300, 6)), random.normal(size=(2000, 6))
        vae, pca = fitted(rows, 2, lr=2e-3, random_state=seed), PCA(2).fit(rows)
        gains.append(vae.score_samples(fresh) - pca.score_samples(fresh))
    # One standard error on 50 rows lets a little noise through: a hundredth of a nat of 8.5.
    assert np.mean(gains) > -0.02


def test_the_gain_that_is_accepted_is_above_one_standard_error():
    vae = fitted(max_epochs=30)
    mean, error = callback(vae).gain()
    assert callback(vae).accepted_
    assert mean > error > 0


def test_acceptance_rule_by_hand():
    rule = BestEpoch()
    assert rule.handicap == 0
    rule.best_epoch_, rule.diverged_ = 1, False
    rule.start_rows_ = np.array([1.0, 2.0, 3.0, 4.0])
    for gains, accepted in (([1, 1, 1, 1.1], True), ([3, -2, 2, -2], False), ([0, 0, 0, 0], False)):
        rule.best_rows_ = rule.start_rows_ - np.array(gains)
        mean, error = rule.gain()
        assert mean == pytest.approx(np.mean(gains))
        assert error == pytest.approx(np.std(gains, ddof=1) / 2)
        assert (mean > error) == accepted


def sheet(n_samples, seed):
    """A bent sheet in noise: a small network gains likelihood there before it reconstructs well."""
    random = np.random.RandomState(seed)
    t = random.normal(size=(n_samples, 2))
    rows = np.column_stack([t, t[:, 0] ** 2, np.sin(2 * t[:, 1]), t[:, 0] * t[:, 1]])
    return rows + 0.1 * random.normal(size=rows.shape)


def squared_error(model, rows):
    return np.mean((model.inverse_transform(model.transform(rows)) - rows) ** 2)


def test_a_gain_in_likelihood_at_the_price_of_the_reconstructions_is_not_accepted():
    rows, fresh = sheet(600, 0), sheet(2000, 1)
    pca = PCA(2).fit(rows)
    kept = fitted(rows, 2, max_epochs=5)
    best = callback(kept)
    # On the validation rows likelihood alone would have been reason enough.
    losses = np.array(kept.history_[:, "valid_loss"])
    assert best.reconstruct and losses.min() < best.start_rows_.mean() - 0.05
    assert not best.accepted_
    assert squared_error(kept, fresh) == pytest.approx(squared_error(pca, fresh))
    # Asked for shorter codes, it takes the bargain; with time to learn, it needs none.
    bargain = fitted(rows, 2, max_epochs=5, beta=1.001)
    assert callback(bargain).accepted_ and not callback(bargain).reconstruct
    assert squared_error(bargain, fresh) > squared_error(pca, fresh)
    learned = fitted(rows, 2, max_epochs=60)
    assert callback(learned).accepted_
    assert squared_error(learned, fresh) < 0.95 * squared_error(pca, fresh)


def test_a_hundredth_of_the_variance_is_no_price(monkeypatch):
    """With nearly as many components as columns PCA leaves so little that any epoch leaves more."""
    rows, fresh = sheet(600, 0), sheet(2000, 1)
    scores = []
    for later, accepted in ((0.0404, False), (0.0396, True)):
        errors = iter([(np.full(50, 0.01), 4.0)])
        later = np.full(50, later), 9.0
        monkeypatch.setattr(
            VAENet, "reconstruction_error", lambda *_, e=errors, later=later: next(e, later)
        )
        vae = fitted(rows, 2, max_epochs=5)
        assert callback(vae).start_errors_.mean() == pytest.approx(0.01)
        assert callback(vae).accepted_ == accepted
        scores.append(vae.score(fresh))
    assert scores[0] == pytest.approx(PCA(2).fit(rows).score(fresh))
    assert scores[1] > scores[0] + 0.05


def test_errors_are_no_worse_by_hand():
    rule = BestEpoch(reconstruct=True)
    rule.negligible_error_ = 0.5
    rule.start_errors_ = np.ones(100)
    # Errors of a mean that has grown by `more`, with a standard error of `doubt`.
    unit = np.tile([-1.0, 1.0], 50) * math.sqrt(99)
    for more, doubt, enough in [
        (0, 0, True),
        (0.01, 0, False),  # no worse at all,
        (-0.001, 0.0209, True),
        (-0.001, 0.0211, False),  # and within what may be doubted,
        (-0.1, 0.119, True),
        (-0.1, 0.121, False),
        (-0.6, 5.0, True),  # but so little that it does not matter.
    ]:
        assert rule._reconstructs(1 + more + doubt * unit) == enough, (more, doubt)
        # Relative to the start's, whatever the units.
        rule.start_errors_, rule.negligible_error_ = np.full(100, 7.0), 3.5
        assert rule._reconstructs(7 * (1 + more + doubt * unit)) == enough, (more, doubt)
        rule.start_errors_, rule.negligible_error_ = np.ones(100), 0.5
    # One row leaves all in doubt.
    rule.start_errors_ = np.ones(1)
    assert not rule._reconstructs(np.array([0.7]))


@pytest.mark.parametrize("weighted", [False, True])
def test_what_rows_have_of_the_error_has_the_mean_of_the_columns(weighted):
    random = np.random.RandomState(0)
    rows = sheet(400, 0) * [1.0, 2.0, 3.0, 1.0, 1.0]
    rows[random.uniform(size=rows.shape) < 0.2] = np.nan
    weight = random.uniform(0.5, 2, size=400) if weighted else None
    model = VAETransformer(2, max_epochs=1, missing_values="observed", random_state=0)
    vae = model.fit(rows, sample_weight=weight)
    module = vae.net_.module_
    x = torch.as_tensor((rows - module.likelihood.centre) / module.likelihood.scale)
    x[:, 3] = torch.nan  # a column that none of the rows has
    w = None if weight is None else torch.as_tensor(weight)
    with torch.no_grad():
        errors = module.reconstruction_errors(x, weight=w).numpy()
        # What is no number is no small error.
        broken = [torch.full_like(x, torch.nan)] * 6
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(module, "decode", lambda *_: broken.pop())
            assert torch.isnan(module.reconstruction_errors(x, weight=w)).any(dim=1).all()
        means = module.decode(torch.zeros(400, 2, dtype=x.dtype)).numpy()
    squares = ((means - x.numpy()) * module.likelihood.scale) ** 2
    squares = np.delete(squares, 3, axis=1)
    w = np.ones(400) if weight is None else weight
    seen = w[:, None] * ~np.isnan(squares)
    of_columns = np.nansum(seen * squares, axis=0) / seen.sum(axis=0)
    unit = module.likelihood.scale.max() ** 2
    assert errors.shape == (6, 400)
    assert errors[-1].mean() * unit == pytest.approx(of_columns.mean(), rel=1e-9)
    np.testing.assert_allclose(
        errors[-1] * unit,
        400 * np.nanmean(np.where(seen > 0, seen * squares / seen.sum(axis=0), 0), axis=1),
        rtol=1e-9,
    )


@pytest.mark.parametrize(("prior", "centre"), [("normal", 0.0), ("mixture", 5.0)])
def test_shrinkage_is_towards_the_mean_of_the_prior(prior, centre, monkeypatch):
    module = fitted(sheet(400, 0), 2, prior=prior, max_epochs=1).net_.module_
    mean = centre + torch.randn(50, 2, dtype=torch.float64, generator=torch.manual_seed(0))
    monkeypatch.setattr(module, "encode", lambda *_: (mean, torch.full_like(mean, 0.2)))
    decoded = []
    monkeypatch.setattr(module, "decode", lambda z, *_: decoded.append(z) or z[:, :1].expand(-1, 5))
    module.reconstruction_errors(torch.zeros(50, 5, dtype=torch.float64))
    assert len(decoded) == 6
    # About the mean of the rows, where the prior does not say where its middle is.
    middle = torch.zeros(2) if prior == "normal" else mean.mean(0)
    for further in decoded[:-2]:
        assert ((further - middle).abs() > (decoded[-2] - middle).abs()).all()
    torch.testing.assert_close(decoded[-1], middle.expand(50, 2).double())


@pytest.mark.parametrize(
    "beside", ["nothing", "constant columns", "a row far out", "condition", "light rows"]
)
def test_the_variance_is_that_of_the_validation_rows(beside, monkeypatch):
    """Neither columns that have none nor rows of the training part, nor what a condition says."""
    rows, arguments = sheet(400, 0), {}
    if beside == "constant columns":
        rows = np.hstack([rows, np.ones((400, 40))])
    elif beside == "condition":
        arguments = {"condition": np.arange(400) % 2 == 0}
        rows = rows + 50 * arguments["condition"][:, None]
    elif beside == "light rows":
        arguments = {"sample_weight": np.where(np.arange(400) % 2 == 0, 1.0, 1e-4)}
        rows = np.where(arguments["sample_weight"][:, None] < 1, 3 * rows, rows)
    elif beside == "a row far out":
        # Of the training part.
        seed = fitted(rows, 2, max_epochs=0)._seed
        rows[np.random.RandomState(seed).permutation(400)[-1]] = 60
    found, measure = [], VAENet.reconstruction_error
    monkeypatch.setattr(
        VAENet, "reconstruction_error", lambda *given: found.append(measure(*given)) or found[-1]
    )
    vae = VAETransformer(2, max_epochs=1, lr=1e-9, random_state=0).fit(rows, **arguments)
    order = np.random.RandomState(vae._seed).permutation(400)
    valid = order[: len(callback(vae).start_rows_)]
    valid = sheet(400, 0)[valid[valid % 2 == 0] if beside == "light rows" else valid]
    assert found[0][1] == pytest.approx(valid.var(axis=0).sum() / rows.shape[1], rel=0.1)


def test_the_start_error_is_that_of_pca_on_the_validation_rows():
    vae = fitted(X * [1.0, 10.0, 100.0], max_epochs=1, lr=1e-9)
    order = np.random.RandomState(vae._seed).permutation(len(X))
    n_valid = len(callback(vae).start_rows_)
    rows = X * [1.0, 10.0, 100.0]
    pca = PCA(1, svd_solver="full").fit(rows[np.sort(order[n_valid:])])
    valid = rows[np.sort(order[:n_valid])]
    error = squared_error(pca, valid)
    assert callback(vae).start_errors_.mean() == pytest.approx(error, rel=0.05)
    of_rows = ((pca.inverse_transform(pca.transform(valid)) - valid) ** 2).mean(axis=1)
    np.testing.assert_allclose(callback(vae).start_errors_, of_rows, rtol=0.3, atol=0.05 * error)


def test_the_shrinkage_that_is_undone_reconstructs_best():
    rows = sheet(600, 0)
    vae = fitted(rows, 2, max_epochs=60)
    assert callback(vae).accepted_
    units = vae.net_.module_.likelihood
    mean, variance = vae.net_.apply("encode", (rows - units.centre) / units.scale)
    reliability = 1 - variance.mean(axis=0)

    def error(z):
        return np.mean((vae.net_.apply("decode", z) * units.scale + units.centre - rows) ** 2)

    errors = [error(mean / reliability**a) for a in (0, 0.25, 0.5, 0.75, 1)]
    assert squared_error(vae, rows) == pytest.approx(min(errors))
    dataset = Rows(rows)
    dataset.set_units(units.centre, units.scale)
    net = deepcopy(vae.net_)
    net.module_.float()
    of_rows, _ = net.reconstruction_error(dataset)
    assert of_rows.mean() == pytest.approx(min(errors), rel=1e-4)
    # Neither the first nor the last of them.
    assert of_rows.mean() < 0.999 * min(errors[0], errors[-1])
    assert min(errors) < 0.95 * errors[-1]
    start = fitted(rows, 2, max_epochs=0)
    noise = start.noise_variance_ / start.explained_variance_
    np.testing.assert_allclose(start.coordinates_.shrinkage, 1 - noise)


def test_the_best_weights_come_back_not_the_last():
    states = {}

    class Keep(Callback):
        def on_epoch_end(self, net, **_):
            state = net.module_.state_dict()
            states[len(net.history)] = {
                n: v.clone() for n, v in state.items() if torch.is_tensor(v)
            }

    # A learning rate that is much too high: later epochs are worse than earlier ones.
    vae = fitted(
        lr=0.1,
        batch_size=32,
        max_epochs=40,
        callbacks=[Keep()],
        n_iter_no_change=40,
        callbacks__lr_schedule=None,
    )
    best = callback(vae)
    losses = vae.history_[:, "valid_loss"]
    assert best.accepted_
    assert best.best_epoch_ == int(np.argmin(losses)) + 1 < len(losses)
    module = vae.net_.module_.state_dict()
    for name, value in states[best.best_epoch_].items():
        torch.testing.assert_close(module[name], value.double(), rtol=0, atol=0)
    assert any((states[len(losses)][n] != v).any() for n, v in states[best.best_epoch_].items())


class Weights(Callback):
    """The weights that each epoch began and ended with, and the best epoch before it."""

    def on_train_begin(self, net, **_):
        self.began, self.ended, self.best = [], [], []

    def on_epoch_begin(self, net, **_):
        self.began.append(deepcopy(net.module_.state_dict()))
        self.best.append(dict(net.callbacks_)["best_epoch"].best_epoch_)

    def on_epoch_end(self, net, **_):
        self.ended.append(deepcopy(net.module_.state_dict()))


def same(state, other):
    tensors = [name for name, value in state.items() if torch.is_tensor(value)]
    return all(torch.equal(state[name], other[name]) for name in tensors)


@pytest.mark.parametrize("init", ["pca", "random"])
def test_the_decay_goes_on_from_the_best_weights(init, capsys):
    # Noise on the plateau: the best epoch is some epochs ago when the decay begins.
    params = {"lr": 0.05, "batch_size": 32, "max_epochs": 200, "n_iter_no_change": 6}
    vae = fitted(init=init, callbacks=[Weights()], verbose=1, kl_warmup=0, **params)
    printed = capsys.readouterr().out
    weights, best, n_epochs = given(vae), callback(vae), len(vae.history_)
    steps = zip(weights.ended, weights.began[1:], strict=False)
    jumps = [t for t, (before, after) in enumerate(steps, 1) if not same(before, after)]
    assert len(jumps) == 1 and n_epochs < 200
    at = jumps[0]
    before = weights.best[at]
    assert 0 < before <= at - 6
    assert same(weights.began[at], weights.ended[before - 1])
    assert f"No gain for {at - before} epochs: back to epoch {before}, and" in printed
    # As long a decay as from the weights of that epoch.
    assert n_epochs == at + math.ceil(0.3 * at)
    assert best.best_epoch_ > at
    assert best.n_epochs_ == best.best_epoch_ - (at - before)
    # A model of all rows is trained for as long.
    again = _for_as_many_epochs(vae)
    assert again.max_epochs == best.n_epochs_ and not again.early_stopping


def test_the_decay_goes_on_from_the_start_where_nothing_was_better(capsys):
    params = {"lr": 0.1, "batch_size": 32, "max_epochs": 100, "n_iter_no_change": 3}
    weights = given(fitted(NOISE, callbacks=[Weights()], verbose=1, **params))
    found = re.search("No gain for (.*) epochs: back to the start", capsys.readouterr().out)
    at = int(found[1])
    assert weights.best[at] == 0 and at >= 3
    assert same(weights.began[at], weights.began[0])
    assert not same(weights.began[at], weights.ended[at - 1])


def test_the_epochs_that_led_to_the_best_are_all_where_training_did_not_go_back():
    vae = fitted(max_epochs=10)
    assert callback(vae).n_epochs_ == vae.best_epoch_ > 0


def test_of_many_rows_no_more_variance_is_explained_than_there_is():
    random = np.random.RandomState(0)
    t = random.normal(size=20_000)
    rows = np.column_stack([t, t**2, np.sin(2 * t)]) + 0.05 * random.normal(size=(20_000, 3))
    rows[::2] *= 3  # an order that every other row would alias with
    vae = fitted(rows, 2, max_epochs=1, early_stopping=False)
    part = 1 - squared_error(vae, rows) / rows.var(axis=0).mean()
    assert vae.explained_variance_ratio_.sum() == pytest.approx(part, abs=0.01)
    far = rows.copy()
    far[0] *= 1000
    assert fitted(far, 2, max_epochs=1, early_stopping=False).explained_variance_ratio_.sum() <= 1


def test_a_constant_column_gains_nothing():
    rows = np.column_stack([X, np.ones(len(X))])
    vae = fitted(rows, likelihood="diagonal_gaussian", early_stopping=False)
    assert vae.noise_variance_[-1] == pytest.approx(1e-12, rel=1e-3)
    for likelihood in ("gaussian", "diagonal_gaussian"):
        with pytest.warns(ConvergenceWarning):
            constant = fitted(np.ones((100, 4)), 2, likelihood=likelihood)
        assert constant.best_epoch_ == 0


def test_without_early_stopping_all_rows_train_to_the_last_epoch():
    vae = fitted(early_stopping=False, max_epochs=7)
    assert len(vae.history_) == 7
    assert callback(vae).best_epoch_ == 7
    assert "valid_loss" not in vae.history_[0]
    # 400 rows in the least batches, of 64.
    assert len(X) == 400 and vae.history_[0, "train_batch_count"] == 7


@pytest.mark.parametrize(
    ("n", "held_out"), [(40, 10), (120, 30), (400, 50), (900, 90), (22000, 2000)]
)
def test_rows_held_out(n, held_out):
    rows = np.random.RandomState(0).normal(size=(n, 2))
    assert len(callback(fitted(rows, max_epochs=1, batch_size=1000)).start_rows_) == held_out


def test_too_few_rows_to_judge_stay_pca():
    rows = X[:16]
    vae = fitted(rows)
    assert len(vae.history_) == 0
    expected = PCA(1, svd_solver="full").fit(rows).score_samples(rows)
    np.testing.assert_allclose(vae.score_samples(rows), expected, rtol=1e-8)


@pytest.mark.parametrize("early", [False, True])
def test_the_learning_rate_ends_low(early):
    recorder = Recorder()
    rows = NOISE if early else X
    params = {"callbacks": [recorder], "max_epochs": 30, "lr": 0.01}
    if early:
        vae = fitted(rows, 2, n_iter_no_change=5, **params)
        assert len(vae.history_) < 30
    else:
        vae = fitted(rows, early_stopping=False, **params)
        assert len(vae.history_) == 30
    # Callbacks are cloned: ours was never trained with.
    assert not hasattr(recorder, "rates")
    rates = np.array(given(vae).rates)
    peak = rates.max()
    assert peak == pytest.approx(0.01)
    assert rates[0] < 0.1 * peak
    assert rates[-1] < 0.1 * peak
    falling = rates[rates.argmax() :]
    assert (np.diff(falling) <= 1e-12).all()
    # A short warm-up, one plateau, one decay: no step of the first epoch falls behind.
    warm = min(50, round(0.1 * 30 * vae.history_[0, "train_batch_count"]))
    np.testing.assert_allclose(rates[:warm], peak * np.arange(1, warm + 1) / warm)
    np.testing.assert_allclose(rates[warm : round((0.4 if early else 0.69) * len(rates))], peak)
    # The plateau's rate is back for a fit that goes on.
    assert vae.net_.optimizer_.param_groups[-1]["lr"] == pytest.approx(0.01)


@pytest.mark.parametrize("max_epochs", [1, 2, 3, 8])
@pytest.mark.parametrize("loader", [None, DataLoader])
def test_the_learning_rate_of_a_short_fit(max_epochs, loader):
    params = {} if loader is None else {"net_params": {"iterator_train": loader}}
    vae = fitted(callbacks=[Recorder()], max_epochs=max_epochs, early_stopping=False, **params)
    rates, n_steps = np.array(given(vae).rates), max_epochs * vae.history_[0, "train_batch_count"]
    assert len(rates) == n_steps
    peak, last = rates.argmax(), len(rates) - 1 - rates[::-1].argmax()
    assert rates.max() == pytest.approx(0.01)
    assert peak <= 0.1 * n_steps and abs(last - 0.7 * n_steps) <= 2
    np.testing.assert_allclose(rates[peak : last + 1], 0.01)
    assert (np.diff(rates[last:]) < 0).all()
    # One step from the end of the decay.
    assert rates[-1] <= 0.01 * (0.01 + 1 / (0.3 * n_steps))


def test_warm_up_of_the_divergence_is_off_with_the_pca_start_and_ends_at_beta():
    plain = fitted(callbacks=[Recorder()], max_epochs=4)
    assert set(given(plain).warmups) == {1.0}
    warmed = fitted(callbacks=[Recorder()], max_epochs=10, kl_warmup=0.5, beta=2.0)
    warmups = given(warmed).warmups
    assert warmups[0] == 0
    assert warmups[-1] == 1
    assert warmed.net_.criterion_.warmup == 1
    assert warmed.net_.criterion_.beta == 2.0
    random_start = fitted(callbacks=[Recorder()], max_epochs=20, init="random")
    assert given(random_start).warmups[0] == 0
    assert given(random_start).warmups[-1] == 1


def test_a_warm_up_of_the_divergence_takes_no_part_in_stopping():
    # While the KL term costs little the held-out loss, which has all of it, is behind the start's.
    vae = fitted(max_epochs=40, kl_warmup=0.5, n_iter_no_change=2)
    assert min(vae.history_[:5, "valid_loss"]) > callback(vae).start_loss()
    assert vae.best_epoch_ > 20 and len(vae.history_) > 22
    assert vae.score(X) > PCA(1).fit(X).score(X) + 0.5


def test_training_goes_back_to_the_best_epoch_after_the_warm_up_and_not_to_the_start(capsys):
    # Noise: all that training does is lost on held-out rows.
    law = {"likelihood": "diagonal_gaussian"}
    vae = fitted(NOISE, max_epochs=60, kl_warmup=0.25, n_iter_no_change=2, verbose=1, **law)
    assert re.search("back to epoch (1[6-9]|[2-9][0-9]), ", capsys.readouterr().out)
    assert vae.best_epoch_ == 0
    np.testing.assert_allclose(vae.score(NOISE), fitted(NOISE, max_epochs=0, **law).score(NOISE))


class Worse(Callback):
    """Reconstructions that no epoch is accepted with, or weights that are no longer finite."""

    def __init__(self, epoch, diverge=False):
        self.epoch, self.diverge = epoch, diverge

    def on_epoch_begin(self, net, **_):
        if len(net.history) == self.epoch and self.diverge:
            with torch.no_grad():
                for parameter in net.module_.parameters():
                    parameter.fill_(torch.nan)
        elif len(net.history) == self.epoch:
            dict(net.callbacks_)["best_epoch"].start_errors_ *= 0
            dict(net.callbacks_)["best_epoch"].negligible_error_ = 0


def test_the_search_begins_anew_after_a_warm_up_whatever_its_first_epoch_is(capsys):
    # Epochs of the warm-up are accepted, those after it are refused.
    params = {"max_epochs": 30, "kl_warmup": 0.5, "lr": 0.001, "verbose": 1}
    vae = fitted(callbacks=[Worse(epoch=15)], n_iter_no_change=3, **params)
    assert min(vae.history_[:15, "valid_loss"]) < callback(vae).start_loss() - 0.01
    assert vae.best_epoch_ == callback(vae).n_epochs_ == 0
    assert callback(vae).gain()[0] == 0
    np.testing.assert_allclose(vae.score(X), fitted(max_epochs=0).score(X), rtol=1e-4)
    assert "back to" not in capsys.readouterr().out


def test_a_fit_that_diverges_after_a_warm_up_says_what_is_kept():
    # The epoch after the warm-up is the best since then, and behind the start.
    given = {"callbacks": [Worse(epoch=12, diverge=True)], "likelihood": "diagonal_gaussian"}
    with pytest.warns(ConvergenceWarning, match=r"Went back to epoch 0\."):
        vae = fitted(NOISE, max_epochs=20, kl_warmup=0.5, **given)
    assert callback(vae).best_epoch_ == 11 and vae.best_epoch_ == 0


@pytest.mark.parametrize(("fraction", "epochs"), [(0.99, 1), (0.99, 3), (0.9, 9), (0.5, 2)])
def test_the_last_epoch_has_the_whole_divergence(fraction, epochs):
    vae = fitted(callbacks=[Recorder()], max_epochs=epochs, kl_warmup=fraction)
    assert given(vae).warmups[-1] == 1
    assert given(vae).warmups[0] == (epochs == 1)


def decay_of(vae):
    """Weight decay of the parameters by name."""
    decay = {}
    for group in vae.net_.optimizer_.param_groups:
        for parameter in group["params"]:
            decay[id(parameter)] = group["weight_decay"]
    return {n: decay[id(parameter)] for n, parameter in vae.net_.module_.named_parameters()}


def test_no_weight_decay_on_the_affine_path_the_gates_and_the_noise():
    vae = fitted(network=torch.nn.Linear, max_epochs=1, early_stopping=False)
    decay = decay_of(vae)
    for name in decay:
        free = name.startswith(("affine", "likelihood")) or name.endswith("gate")
        # Weaker the more rows there are.
        assert decay[name] == (0 if free else 200 / len(X)), name
    assert {name.split(".")[-1] for name in decay} >= {"gate"}


FADING = {"bernoulli", "continuous_bernoulli", "categorical"}
BOTH = {"affine_encoder.weight", "affine_decoder.weight"}


def fading_slopes(X, **params):
    """The parts of the affine path whose weights decay, all alike."""
    vae = fitted(X, max_epochs=1, early_stopping=False, **params)
    decay = {n: d for n, d in decay_of(vae).items() if n.startswith("affine") and d}
    # A step of AdamW takes lr times this off; with a small lr the networks learn as slowly.
    root = math.sqrt(vae.net_.module_.likelihood.n_inputs)
    assert list(decay.values()) == len(decay) * [pytest.approx(min(0.2 * root, 0.01 / vae.lr))]
    return set(decay)


@pytest.mark.parametrize("law", LIKELIHOODS)
def test_slopes_that_are_a_first_guess_fade(law):
    found = fading_slopes(suited_rows(law, d=4), likelihood=law, hidden_layer_sizes=(8, 8))
    assert found == (BOTH if law in FADING else set())


@pytest.mark.parametrize("lr", [1e-6, 2e-3, 0.5])
def test_slopes_fade_no_faster_than_networks_learn(lr):
    shape = {"likelihood": "bernoulli", "hidden_layer_sizes": (8, 8)}
    assert fading_slopes(suited_rows("bernoulli"), lr=lr, **shape) == BOTH


@pytest.mark.parametrize(
    ("laws", "fades"), [(["bernoulli", "categorical"], True), (["bernoulli", "poisson"], False)]
)
def test_slopes_of_several_laws_fade_if_all_do(laws, fades):
    X = np.hstack([suited_rows(law, d=2) for law in laws])
    blocks = [(law, [2 * j, 2 * j + 1]) for j, law in enumerate(laws)]
    found = fading_slopes(X, likelihood=blocks, hidden_layer_sizes=(8, 8))
    assert found == (BOTH if fades else set())


@pytest.mark.parametrize(
    "network", [{"network": "linear"}, {"network": nn.Linear}, {"hidden_layer_sizes": (8,)}]
)
def test_slopes_stay_where_no_network_can_take_over(network):
    assert not fading_slopes(suited_rows("bernoulli"), likelihood="bernoulli", **network)


def test_slopes_of_a_condition_stay():
    X = suited_rows("bernoulli")
    shape = {"hidden_layer_sizes": (8, 8), "max_epochs": 1, "early_stopping": False}
    vae = VAETransformer(1, likelihood="bernoulli", random_state=0, **shape)
    vae.fit(X, condition=np.arange(400.0))
    decay = decay_of(vae)
    assert not any(decay[name] for name in BOTH)


def test_each_network_takes_over_from_its_own_slopes():
    class Decoder(nn.Linear):
        takes_over = True

    class Encoder(nn.Linear):
        def takes_over(self):
            """Something else of that name."""

    def network(n_in, n_out):
        return (Decoder if n_in == 1 else Encoder)(n_in, n_out)

    X = suited_rows("bernoulli")
    # Behind its gate the module is still asked.
    assert fading_slopes(X, likelihood="bernoulli", network=network) == {"affine_decoder.weight"}


def test_a_linear_model_of_bits_gains_on_its_start():
    X = suited_rows("bernoulli", n=600, d=30)
    scores = [
        fitted(X, 2, likelihood="bernoulli", network="linear", max_epochs=epochs).score(X)
        for epochs in (0, 20)
    ]
    assert scores[1] > scores[0] + 0.1


def test_gradients_are_clipped_after_backward():
    norms = []

    class Norm(Callback):
        def on_batch_end(self, net, training, **_):
            grads = [p.grad for p in net.module_.parameters() if p.grad is not None]
            norms.append(torch.linalg.vector_norm(torch.cat([g.flatten() for g in grads])).item())

    fitted(callbacks=[Norm()], net_params={"gradient_clip": 0.5}, max_epochs=2)
    assert max(norms) <= 0.5 * (1 + 1e-4)
    assert max(norms) > 0.4


def test_net_is_a_skorch_net_and_takes_its_parameters():
    vae = fitted(
        max_epochs=3,
        net_params={"optimizer": torch.optim.SGD, "optimizer__momentum": 0.5},
        optimizer__momentum=0.25,
    )
    assert isinstance(vae.net_, NeuralNet)
    assert isinstance(vae.net_.optimizer_, torch.optim.SGD)
    # Double-underscore names win over net_params.
    assert vae.net_.optimizer_.param_groups[0]["momentum"] == 0.25
    assert vae.history_ is vae.net_.history
    assert {"train_loss", "valid_loss", "dur"} <= set(vae.history_[0])


def test_a_stock_loader_and_a_hook_on_gradients_work():
    seen = []

    class Gradients(Callback):
        def on_grad_computed(self, net, named_parameters, **_):
            seen.append(len(list(named_parameters)))

    vae = fitted(
        max_epochs=2,
        callbacks=[Gradients()],
        net_params={"iterator_train": DataLoader, "iterator_valid": DataLoader},
    )
    assert len(seen) == sum(row["train_batch_count"] for row in vae.history_)
    assert min(seen) > 5


def test_a_train_split_of_the_users_own():
    vae = fitted(max_epochs=2, net_params={"train_split": ValidSplit(4)})
    assert len(vae.net_.valid_rows_) == 100
    held_out = Dataset(X[:30] + 1)
    other = fitted(max_epochs=2, net_params={"train_split": predefined_split(held_out)})
    assert len(other.net_.valid_rows_) == 30
    # The same rows in working units of the training part, not those rows as they are.
    assert other.net_.valid_rows_.mean() < 100


def test_a_train_split_of_subsets_of_subsets():
    def nested(dataset):
        some = Subset(dataset, np.arange(100, 400))
        return Subset(some, np.arange(200)), Subset(some, np.arange(200, 300))

    def flat(dataset):
        return Subset(dataset, np.arange(100, 300)), Subset(dataset, np.arange(300, 400))

    first, second = (
        fitted(max_epochs=2, net_params={"train_split": split}) for split in (nested, flat)
    )
    np.testing.assert_array_equal(first.net_.valid_rows_, second.net_.valid_rows_)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (predefined_split(TensorDataset(torch.zeros(9, 3))), "validation part of type Tensor"),
        (predefined_split(Dataset(np.zeros((9, 2)))), "rows of 3 columns"),
        (predefined_split(Dataset(np.full((9, 3), np.nan))), "not finite"),
        (lambda d: (Subset(d, np.arange(9)), Subset(d, [])), "empty validation part"),
        (lambda d: (Subset(d, [0]), Subset(d, np.arange(9))), "leaves 1 rows to train on"),
    ],
)
def test_train_splits_that_cannot_be(split, message):
    with pytest.raises(ValueError, match=message):
        fitted(net_params={"train_split": split})


def test_the_start_is_fitted_on_the_training_part_only():
    class Start(Callback):
        def on_train_begin(self, net, X=None, **_):
            self.centre, self.indices = net.module_.likelihood.centre, np.asarray(X.indices)

    vae = fitted(max_epochs=1, callbacks=[Start()])
    start = given(vae)
    assert len(start.indices) == 350
    np.testing.assert_allclose(start.centre, X[start.indices].mean(axis=0))


def test_dynamic_binarization_draws_anew_for_every_batch():
    grey = load_digits().data[:200] / 16
    drawn = []

    def binarize(batch):
        drawn.append(torch.bernoulli(batch))
        return drawn[-1]

    vae = fitted(
        grey, 4, likelihood="bernoulli", batch_transform=binarize, max_epochs=2, batch_size=200
    )
    first, second = [b for b in drawn if len(b) == 150][-2:]
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(first.sort(0).values, second.sort(0).values)
    binary = (grey > 0.5).astype(float)
    assert np.isfinite(vae.score(binary))
    again = fitted(
        grey,
        4,
        likelihood="bernoulli",
        batch_transform=torch.bernoulli,
        max_epochs=2,
        batch_size=200,
    )
    np.testing.assert_array_equal(vae.transform(binary), again.transform(binary))


def test_bernoulli_learns_beyond_its_start():
    binary = (load_digits().data > 7).astype(float)
    start = fitted(binary, 8, likelihood="bernoulli", max_epochs=0)
    vae = fitted(binary, 8, likelihood="bernoulli", max_epochs=15, hidden_layer_sizes=(64,))
    independent = binary.mean(0).clip(1e-3, 1 - 1e-3)
    baseline = (binary * np.log(independent) + (1 - binary) * np.log(1 - independent)).sum(1).mean()
    assert start.score(binary) > baseline + 3
    assert vae.score(binary) > start.score(binary) + 1
    assert set(np.unique(vae.sample(20, random_state=0))) == {0.0, 1.0}
    probabilities = vae.inverse_transform(vae.transform(binary[:5]))
    assert ((probabilities > 0) & (probabilities < 1)).all()


def test_heteroscedastic_noise_is_learned():
    random = np.random.RandomState(0)
    t = random.uniform(-1, 1, size=600)
    width = np.where(t > 0, 1.0, 0.05)
    rows = np.column_stack([5 * t, 5 * t, random.normal(size=600) * width])
    shared = fitted(rows, max_epochs=60)
    free = fitted(rows, likelihood="heteroscedastic_gaussian", max_epochs=60)
    assert free.score(rows) > shared.score(rows) + 0.5


def test_warm_start_goes_on_from_the_last_weights():
    vae = fitted(warm_start=True, max_epochs=5)
    before, order = vae.score(X), vae.coordinates_.order
    losses = vae.history_[:, "valid_loss"]
    vae.fit(X)
    assert vae.history_[0, "valid_loss"] < losses[0]
    assert vae.score(X) >= before - 0.05
    np.testing.assert_array_equal(vae.coordinates_.order, order)
    with pytest.raises(ValueError, match=r"n_components=2 differs from the 1.*warm_start=False"):
        vae.set_params(n_components=2).fit(X)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(8,\) differs from the \(16,\)"):
        vae.set_params(n_components=1, hidden_layer_sizes=[8]).fit(X)


def test_few_rows_for_the_columns_do_not_beat_pca_on_all_rows():
    random = np.random.RandomState(0)
    deviations = np.linspace(1, 3, 200)
    rows, fresh = random.normal(size=(120, 200)) * deviations, random.normal(size=(300, 200))
    vae = fitted(rows, 5, max_epochs=3, lr=2e-3)
    pca = PCA(5, svd_solver="full").fit(rows)
    assert vae.best_epoch_ == 0
    assert vae.score(fresh * deviations) >= pca.score(fresh * deviations) - 1e-6


def test_verbose_prints_a_line_an_epoch(capsys):
    fitted(max_epochs=3, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("Kept epoch 3: held-out rows gained ")
    assert [line.split()[0] for line in lines[-4:-1]] == ["1", "2", "3"]
    fitted(NOISE, max_epochs=3, verbose=1)
    assert capsys.readouterr().out.splitlines()[-1].startswith("Kept the start")
    fitted(max_epochs=3, verbose=1, early_stopping=False)
    assert "Kept epoch 3; nothing was held out" in capsys.readouterr().out
    fitted(max_epochs=3, verbose=0)
    assert capsys.readouterr().out == ""


def test_batches_are_whole_and_never_of_a_single_row():
    rows = Rows(np.arange(66.0).reshape(33, 2))
    rows.set_units(np.zeros(2), np.ones(2))
    asked = []
    original = rows.batch
    rows.batch = lambda indices: asked.append(len(indices)) or original(indices)
    batches = Batches(Subset(rows, np.arange(33)), 16, shuffle=True)
    torch.manual_seed(0)
    first = torch.cat([batch["x"] for batch, _ in batches])
    assert asked == [16, 17] == [16, 17][: len(batches)]
    second = torch.cat([batch["x"] for batch, _ in batches])
    assert not torch.equal(first, second)
    torch.testing.assert_close(first.sort(0).values, second.sort(0).values)


def test_schedules_by_hand():
    class Net:
        max_epochs = 10

        def __init__(self):
            self.optimizer_ = type("", (), {"param_groups": [{"lr": 1.0}]})()
            self.criterion_ = type("", (), {"warmup": None})()
            self.history = [{}]

        def get_iterator(self, dataset, training):
            return [None, None]

    net = Net()
    schedule = WarmupStableDecay(warmup_steps=0, decay=0.4)
    schedule.on_train_begin(net)
    rates = []
    for _ in range(10):
        schedule.on_epoch_begin(net)
        for _ in range(2):
            schedule.on_batch_begin(net, training=True)
            rates.append(net.optimizer_.param_groups[0]["lr"])
        schedule.on_epoch_end(net)
    assert rates[:13] == [1.0] * 13
    np.testing.assert_allclose(rates[13:], 1 - 0.99 * np.arange(1, 8) / 8)
    warmup = KLWarmup(0.5)
    warmup.on_train_begin(net)
    values = []
    for _ in range(10):
        warmup.on_epoch_begin(net)
        values.append(net.criterion_.warmup)
    assert values == [0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1]


def test_networks_see_rows_of_vectors_whatever_the_draws():
    def network(n_in, n_out):
        return torch.nn.Sequential(
            torch.nn.Linear(n_in, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.ReLU(),
            torch.nn.Linear(8, n_out),
        )

    vae = fitted(network=network, max_epochs=3)
    assert np.isfinite(vae.score(X))


def test_a_module_that_the_factory_hands_out_is_not_touched():
    encoder, decoder = torch.nn.Linear(3, 2), torch.nn.Linear(1, 3)
    before = encoder.weight.clone()
    vae = fitted(network=lambda n_in, n_out: encoder if n_in == 3 else decoder, max_epochs=3)
    assert vae.best_epoch_ >= 0
    assert encoder.weight.dtype == torch.float32
    assert torch.equal(encoder.weight, before)
    with pytest.raises(ValueError, match="network is a Linear itself; pass a factory"):
        fitted(network=encoder)


def test_a_pickle_does_not_carry_the_rows():
    vae = fitted(max_epochs=2)
    written = pickle.dumps(vae)
    assert X[17].tobytes() not in written
    assert X[17:19].astype(np.float32).tobytes() not in written
    # The weights twice, as skorch keeps a module instance, and nothing of the optimizer.
    vae = fitted(max_epochs=2, hidden_layer_sizes=(200, 200))
    weights = sum(p.numel() * p.element_size() for p in vae.net_.module_.parameters())
    assert len(pickle.dumps(vae)) < 2.2 * weights


def test_a_schedule_of_the_users_own_replaces_ours():
    vae = fitted(
        max_epochs=3,
        early_stopping=False,
        callbacks=[LRScheduler("StepLR", step_size=1, gamma=0.1), Recorder()],
    )
    rates = given(vae).rates
    assert rates[0] == pytest.approx(0.01)
    assert rates[-1] == pytest.approx(0.0001)


def test_no_train_split_means_no_selection():
    vae = fitted(max_epochs=3, net_params={"train_split": None})
    assert vae.best_epoch_ == 3
    assert "valid_loss" not in vae.history_[0]


@pytest.mark.parametrize("k", [35, 44, 45, 50])
def test_as_many_components_as_training_rows(k):
    random = np.random.RandomState(0)
    deviations = np.linspace(1, 3, 100)
    rows, fresh = random.normal(size=(60, 100)) * deviations, random.normal(size=(200, 100))
    vae = fitted(rows, k, lr=2e-3, max_epochs=4)
    pca = PCA(k, svd_solver="full").fit(rows)
    assert vae.score(fresh * deviations) >= pca.score(fresh * deviations) - 0.5


def test_threads_do_not_share_their_seeds():
    with ThreadPoolExecutor(2) as pool:
        scores = list(pool.map(lambda _: fitted(max_epochs=2).score(X), range(4)))
    assert len(set(scores)) == 1


def test_memory_of_scoring_is_bounded_by_the_widest_layer():
    vae = fitted(k=1, max_epochs=0, hidden_layer_sizes=(512,))
    sizes = []
    log_weights = type(vae.net_.module_).log_weights
    vae.net_.apply(
        lambda module, x, z: sizes.append(len(x)) or log_weights(module, x, z),
        np.tile(X, (50, 1)),
        prepare=lambda rows: (rows, np.zeros((len(rows), 100, 1))),
        vectors_per_row=100,
    )
    assert sum(sizes) == 50 * len(X)
    assert max(sizes) * 100 * 512 <= skvae.net._INFERENCE_ELEMENTS["cpu"]


@pytest.mark.parametrize("limit", [1e-3, 0.5, 1e9])
def test_the_gradient_is_clipped_as_torch_does(limit):
    net = fitted(max_epochs=1, early_stopping=False, net_params={"gradient_clip": limit}).net_
    parameters = [p for group in net.optimizer_.param_groups for p in group["params"]]
    generator = torch.Generator().manual_seed(0)
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
    parameters[0].grad = None
    expected = [torch.nn.Parameter(p.detach().clone()) for p in parameters]
    for p, q in zip(parameters, expected, strict=True):
        q.grad = None if p.grad is None else p.grad.clone()
    torch.nn.utils.clip_grad_norm_(expected, limit)
    net._clip_gradient()
    for p, q in zip(parameters[1:], expected[1:], strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_networks_in_bfloat16_and_all_else_in_single():
    seen = {}

    class Watched(nn.Module):
        def __init__(self, n_in, n_out):
            super().__init__()
            self.layer = nn.Linear(n_in, n_out)

        def forward(self, x):
            y = self.layer(x)
            seen.setdefault((self.training, torch.is_inference_mode_enabled()), set()).add(y.dtype)
            return y

    plain, mixed = (
        fitted(network=Watched, net_params={"autocast": autocast}) for autocast in (False, True)
    )
    assert torch.bfloat16 in seen[True, False]
    assert torch.bfloat16 not in set().union(*(d for (train, _), d in seen.items() if not train))
    assert {p.dtype for p in mixed.net_.module_.parameters()} == {torch.float64}
    assert mixed.score(X) == pytest.approx(plain.score(X), abs=0.1)
    assert mixed.score(X) > PCA(1).fit(X).score(X) - 1e-6
    with pytest.raises(TypeError, match="autocast must be True or False, got 'yes'"):
        fitted(net_params={"autocast": "yes"})


@pytest.mark.slow
# torch's own, of a module that its compiler imports.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_pass_is_the_same_and_can_be_pickled():
    plain, compiled = (fitted(net_params={"compile": on}) for on in (False, True))
    assert list(compiled.net_.module_.state_dict()) == list(plain.net_.module_.state_dict())
    other = pickle.loads(pickle.dumps(compiled))
    np.testing.assert_allclose(other.transform(X), compiled.transform(X), atol=1e-12)
    assert compiled.score(X) == pytest.approx(plain.score(X), abs=0.05)


@pytest.mark.parametrize(
    ("n", "epochs", "batch_size"),
    [(100, 200, 64), (1_500, 200, 128), (58_000, 8, 128), (600_000, 8, 128),
     (2_000_000, 3, 128), (10**8, 1, 128)],
)  # fmt: skip
def test_epochs_and_batches_by_the_number_of_rows(n, epochs, batch_size):
    assert assembly._resolved_sizes(VAETransformer(), n) == (epochs, batch_size)


@pytest.mark.parametrize(
    ("n", "d", "sizes"),
    [(7_999, 2, (256, 256)), (8_000, 2, (128,) * 5), (8_000, 63, (128,) * 5),
     (8_000, 64, (256,) * 5)],
)  # fmt: skip
def test_hidden_layers_by_the_shape_of_the_data(n, d, sizes):
    vae = VAETransformer(1, max_epochs=0).fit(np.random.RandomState(0).randn(n, d))
    for network in (vae.net_.module_.encoder, vae.net_.module_.decoder):
        layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
        assert tuple(m.out_features for m in layers[:-1]) == sizes


def test_a_warm_start_goes_on_with_the_layers_that_it_has():
    rows = np.random.RandomState(0).randn(8_000, 2)
    vae = VAETransformer(1, max_epochs=1, random_state=0, warm_start=True).fit(rows[:100])
    assert len(list(vae.fit(rows).net_.module_.encoder.layers)) == 3


def test_a_callback_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="'callbacks__lr_schdule__patience' names a callback"):
        fitted(callbacks__lr_schdule__patience=3)
    vae = fitted(max_epochs=1, callbacks__lr_schedule__patience=3, callbacks__print_log=None)
    assert callback(vae, "lr_schedule").patience == 3
    fitted(max_epochs=1, callbacks=[Recorder(), Recorder()], callbacks__Recorder_2=None)
    fitted(max_epochs=1, callbacks=[("mine", Recorder())], callbacks__mine=None)


@pytest.mark.parametrize(
    ("rows", "params", "reason"),
    [(X, {"max_epochs": 0}, "max_epochs=0"), (X[:15], {}, "too few rows to hold some out")],
)
def test_verbose_says_why_nothing_was_trained(rows, params, reason, capsys):
    fitted(rows, verbose=1, **params)
    assert f"Nothing was trained: {reason}." in capsys.readouterr().out


def test_the_verdict_names_the_test_that_failed(capsys):
    # Fewer rows than the noise needs: likelier epochs that reconstruct worse.
    iris = load_iris().data[:60]
    vae = VAETransformer(2, random_state=0, verbose=1).fit(iris)
    assert vae.best_epoch_ == 0
    assert "likelier ones reconstructed them worse" in capsys.readouterr().out


def test_a_warm_start_keeps_what_stands_for_a_number_of_components():
    vae = fitted(k=0.9, max_epochs=1, warm_start=True)
    k = vae.n_components_
    assert vae.fit(NOISE[:, :3]).n_components_ == k
    # Nor does it need rows for a start.
    assert fitted(k=3, max_epochs=1, warm_start=True).fit(X[:2]).n_components_ == 3


def test_a_schedule_given_as_a_class_replaces_ours():
    vae = fitted(
        callbacks=[("schedule", LRScheduler)],
        callbacks__schedule__policy="ExponentialLR",
        callbacks__schedule__gamma=0.1,
        max_epochs=2,
    )
    assert "lr_schedule" not in dict(vae.net_.callbacks_)
    assert vae.net_.optimizer_.param_groups[-1]["lr"] == pytest.approx(1e-4)


def test_the_nets_own_forward_takes_rows():
    vae = fitted()
    log_px, log_pz, log_qz, kl = vae.net_.forward(X)
    assert log_px.shape[::2] == X.shape
    assert len(log_pz) == len(log_qz) == len(kl) == len(X)
    bound = (log_px.sum(2).mean(1) - kl.sum(1)).mean().item()
    assert bound == pytest.approx(vae.elbo(X).elbo.mean(), abs=0.3)


@pytest.mark.parametrize("likelihood", ["gaussian", "diagonal_gaussian", "negative_binomial"])
def test_weights_are_saved_and_loaded_by_skorch(likelihood, tmp_path):
    counts = np.random.RandomState(0).poisson(3.0, size=(60, 4)).astype(float)
    vae = fitted(counts, likelihood=likelihood, max_epochs=2)
    before = vae.score_samples(counts)
    vae.net_.save_params(f_params=tmp_path / "weights.pt")
    with torch.no_grad():
        vae.net_.module_.affine_encoder.weight.zero_()
        vae.net_.module_.likelihood.scale = vae.net_.module_.likelihood.scale * 2
    assert (vae.score_samples(counts) != before).all()
    vae.net_.load_params(f_params=tmp_path / "weights.pt")
    np.testing.assert_array_equal(vae.score_samples(counts), before)


def test_a_likelihood_is_made_by_a_factory():
    with pytest.raises(ValueError, match="likelihood is a Gaussian itself; pass its class"):
        fitted(likelihood=Gaussian(3))


class ScaledTwice(Gaussian):
    """Uses the log scale in a product, which training has to differentiate."""

    def log_prob(self, outputs, x):
        log_scale = self.log_scale(outputs)
        return self.law(outputs * (log_scale + 2) / (log_scale + 2)).log_prob(x) - log_scale


def test_a_law_of_the_users_own_may_use_the_log_scale():
    assert np.isfinite(fitted(likelihood=ScaledTwice, max_epochs=2).score(X))
