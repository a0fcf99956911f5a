"""sample_weight: how often each row counts."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator
from suited import suited_rows
from torch.utils.data import Subset

from skvae import VAETransformer
from skvae.batches import Batches, Rows
from skvae.callbacks import BestEpoch
from skvae.likelihoods import LIKELIHOODS
from skvae.moments import Moments, repeated

SMALL = {"hidden_layer_sizes": 8, "n_importance_samples": 20, "random_state": 0}


def weights(n, seed=0):
    """Whole numbers from 0 to 3."""
    return np.random.RandomState(seed).randint(0, 4, size=n)


class TestStart:
    @pytest.mark.parametrize("law", LIKELIHOODS)
    def test_is_that_of_repeated_rows(self, law):
        X = suited_rows(law, n=200)
        weight = weights(200)
        X_repeated = np.repeat(X, weight, axis=0)
        vae = VAETransformer(2, likelihood=law, max_epochs=0, **SMALL)
        weighted = vae.fit(X, sample_weight=weight).__dict__.copy()
        T, scores, mean = vae.transform(X), vae.score_samples(X), vae.mean_
        vae.fit(X_repeated)
        # The line search of laws without a closed form looks at the first rows of either.
        atol = 1e-6 * np.abs(T).max() if law.endswith("gaussian") or law == "lognormal" else 0.05
        np.testing.assert_allclose(vae.mean_, mean, atol=1e-10)
        if vae.net_.module_.likelihood.exact_start:
            np.testing.assert_allclose(vae.transform(X), T, atol=atol)
            np.testing.assert_allclose(vae.score_samples(X), scores, atol=1e-6)
            np.testing.assert_allclose(
                vae.explained_variance_, weighted["explained_variance_"], rtol=1e-8
            )
        else:
            # The same but for the factor that the line search finds.
            assert vae.score(X) == pytest.approx(scores.mean(), abs=0.3)

    def test_is_pca_of_repeated_rows(self):
        X = np.random.RandomState(0).normal(size=(100, 5)) @ np.diag([5, 3, 1, 1, 1])
        weight = weights(100)
        pca = PCA(2).fit(np.repeat(X, weight, axis=0))
        vae = VAETransformer(2, max_epochs=0).fit(X, sample_weight=weight)
        np.testing.assert_allclose(vae.transform(X), pca.transform(X), atol=1e-8)
        np.testing.assert_allclose(vae.score_samples(X), pca.score_samples(X), atol=1e-8)
        np.testing.assert_allclose(vae.singular_values_, pca.singular_values_)
        np.testing.assert_allclose(vae.get_covariance(), pca.get_covariance(), atol=1e-8)
        assert vae.n_samples_ == (weight > 0).sum()

    def test_is_factor_analysis_of_repeated_rows(self):
        X = suited_rows("diagonal_gaussian", n=200)
        weight = weights(200)
        fa = FactorAnalysis(2).fit(np.repeat(X, weight, axis=0))
        vae = VAETransformer(2, likelihood="diagonal_gaussian", max_epochs=0)
        vae.fit(X, sample_weight=weight)
        np.testing.assert_allclose(vae.score_samples(X), fa.score_samples(X), atol=1e-3)

    def test_of_missing_cells(self):
        X = suited_rows("gaussian", n=200)
        X[np.random.RandomState(1).uniform(size=X.shape) < 0.2] = np.nan
        weight = weights(200)
        vae = VAETransformer(2, max_epochs=0, missing_values="observed")
        T = vae.fit(X, sample_weight=weight).transform(X)
        np.testing.assert_allclose(vae.fit(np.repeat(X, weight, axis=0)).transform(X), T, atol=1e-6)


@pytest.mark.parametrize("law", ["gaussian", "poisson"])
def test_the_full_batch_loss_and_its_gradient_are_those_of_repeated_rows(law):
    X = suited_rows(law, n=60)
    weight = weights(60).astype(float)
    X, weight = X[weight > 0], weight[weight > 0]
    vae = VAETransformer(2, likelihood=law, max_epochs=0, **SMALL).fit(X)
    net = vae.net_
    module = net.module_
    # Away from the start, where the networks are silent.
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    noise = torch.randn(len(X), 1, 2, dtype=torch.float64)

    def loss_and_gradient(rows, noise, batch_weight):
        units = module.likelihood
        x = torch.as_tensor((rows - units.centre) / units.scale)
        batch = {} if batch_weight is None else {"weight": torch.as_tensor(batch_weight)}
        module.zero_grad()
        loss = net.criterion_.train()(module.terms(x, noise), batch)
        loss.backward()
        return loss.item(), [p.grad.clone() for p in module.parameters() if p.grad is not None]

    loss, gradient = loss_and_gradient(X, noise, weight)
    times = weight.astype(int)
    copied = noise.repeat_interleave(torch.as_tensor(times), dim=0)
    expected, expected_gradient = loss_and_gradient(np.repeat(X, times, axis=0), copied, None)
    assert loss == pytest.approx(expected, rel=1e-10)
    for found, wanted in zip(gradient, expected_gradient, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-10)


def test_moments_of_weighted_rows():
    X, weight = np.random.RandomState(0).normal(size=(50, 3)) + 2, weights(50).astype(float)
    for full in (False, True):
        moments, expected = Moments(full), Moments(full)
        for part in np.array_split(np.arange(50), 3):
            moments.add(X[part], weight[part])
            expected.add(np.repeat(X[part], weight[part].astype(int), axis=0))
        assert moments.count == expected.count
        np.testing.assert_allclose(moments.mean, expected.mean)
        np.testing.assert_allclose(moments.products, expected.products)


def test_rows_that_stand_for_weights():
    assert repeated(np.array([2.0, 0.0, 1.0]), 10).tolist() == [0, 0, 2]
    equal = np.bincount(repeated(np.full(7, 0.3), 1000, least=10))
    assert (equal == 10).all()
    weight = np.random.RandomState(0).uniform(size=100)
    times = np.bincount(repeated(weight, 10_000, least=10), minlength=100)
    assert np.abs(times - 1000 * weight / weight.sum()).max() <= 1
    # As many as the weights say, where no more are asked for.
    assert len(repeated(np.full(100, 0.3), 10_000)) == 30


def test_batches_carry_the_weights_of_their_rows():
    X, weight = np.arange(10.0)[:, None], np.arange(10.0) + 1
    rows = Rows(X, weight=weight)
    for batch, _ in Batches(rows, 4, shuffle=True):
        # Relative to their mean.
        np.testing.assert_allclose(5.5 * batch["weight"], batch["x"][:, 0] + 1, rtol=1e-6)


class TestTraining:
    def test_weights_move_the_model_as_repetition_does(self):
        random = np.random.RandomState(0)
        t = random.uniform(-2, 2, size=(1500, 1))
        X = np.hstack([t, t**2, np.sin(3 * t)]) + 0.1 * random.normal(size=(1500, 3))
        X, X_test = X[:1000], X[1000:]
        left = X[:, 0] < 0
        weight = np.where(left, 4, 1)
        fits = {
            "weighted": VAETransformer(1, max_epochs=60, **SMALL).fit(X, sample_weight=weight),
            "repeated": VAETransformer(1, max_epochs=60, **SMALL).fit(np.repeat(X, weight, axis=0)),
            "plain": VAETransformer(1, max_epochs=60, **SMALL).fit(X),
        }
        test_left = X_test[:, 0] < 0
        scores = {name: vae.score(X_test[test_left]) for name, vae in fits.items()}
        assert scores["weighted"] > scores["plain"]
        assert scores["weighted"] == pytest.approx(scores["repeated"], abs=0.3)

    def test_weights_of_one_change_nothing(self):
        X = suited_rows("gaussian", n=300)
        # The start goes by moments instead of rows, so the two are equal but for rounding: no
        # epoch is selected, which rounding might choose otherwise.
        plain = VAETransformer(2, max_epochs=5, early_stopping=False, **SMALL)
        ones = clone(plain).fit(X, sample_weight=np.ones(300))
        start = VAETransformer(2, max_epochs=0, **SMALL).fit(X)
        plain.fit(X)
        assert np.abs(plain.transform(X) - start.transform(X)).max() > 0.01
        np.testing.assert_allclose(ones.transform(X), plain.transform(X), atol=1e-3)
        np.testing.assert_allclose(
            ones.history_[:, "train_loss"], plain.history_[:, "train_loss"], rtol=1e-4
        )

    def test_the_scale_of_weights_changes_the_standard_error_of_no_gain(self):
        # By the callback alone: two trainings are equal but for rounding, which may choose
        # another epoch.
        generator = np.random.RandomState(0)
        best = BestEpoch()
        best.start_rows_ = generator.normal(size=300)
        best.best_rows_ = best.start_rows_ - generator.normal(0.1, 1.0, size=300)
        weight = weights(300) + 1.0
        gains = []
        for factor in (1.0, 7.0):
            best.weight_ = factor * weight
            gains.append(best.gain())
        np.testing.assert_allclose(gains[0], gains[1], rtol=1e-12)
        assert gains[0][1] > 0

    def test_rows_of_weight_zero_are_not_there(self):
        X = suited_rows("gaussian", n=300)
        weight = np.ones(300)
        weight[:50] = 0
        spoilt = X.copy()
        spoilt[:50] = 1e6
        found = VAETransformer(2, max_epochs=3, **SMALL).fit(spoilt, sample_weight=weight)
        expected = VAETransformer(2, max_epochs=3, **SMALL).fit(X[50:], sample_weight=weight[50:])
        np.testing.assert_array_equal(found.transform(X), expected.transform(X))

    def test_sparse_rows_and_streams(self):
        X, weight = suited_rows("poisson", n=300), weights(300)
        vae = VAETransformer(2, likelihood="poisson", max_epochs=2, **SMALL)
        dense = vae.fit(X, sample_weight=weight).transform(X)
        of_sparse = vae.fit(sparse.csr_array(X), sample_weight=weight).transform(X)
        np.testing.assert_array_equal(of_sparse, dense)
        stream = VAETransformer(2, likelihood="poisson", **SMALL)
        for part in np.array_split(np.arange(300), 3):
            stream.partial_fit(X[part], sample_weight=weight[part])
        assert np.isfinite(stream.score(X, sample_weight=weight))
        assert stream.n_samples_ == (weight > 0).sum()

    def test_light_rows_do_not_outweigh_heavy_ones(self):
        random = np.random.RandomState(0)
        t = random.uniform(-2, 2, size=(1000, 1))
        heavy = np.arange(1000) < 40
        bend = np.where(heavy[:, None], t**2, -(t**2))
        X = np.hstack([t, bend]) + 0.1 * random.normal(size=(1000, 2))
        weight = np.where(heavy, 50.0, 1e-3)
        parameters = {"early_stopping": False, "max_epochs": 40, "batch_size": 32, **SMALL}
        start = VAETransformer(1, max_epochs=0).fit(X, sample_weight=weight)
        vae = VAETransformer(1, **parameters).fit(X, sample_weight=weight)
        # Normalized batch by batch the light rows, which bend the other way, cost a tenth of a nat.
        assert vae.score(X, sample_weight=weight) > start.score(X, sample_weight=weight) - 0.03

    @pytest.mark.parametrize(
        "weight", [np.full(200, 1e40), np.r_[np.full(190, 1e-50), np.ones(10)]]
    )
    def test_weights_beyond_single_precision(self, weight):
        X = suited_rows("gaussian", n=200)
        vae = VAETransformer(2, max_epochs=3, batch_size=16, early_stopping=False, **SMALL)
        assert np.isfinite(vae.fit(X, sample_weight=weight).score(X))

    def test_reconstructions_of_rows_that_weigh_nothing_count_once(self):
        X = suited_rows("gaussian", n=200)
        net = deepcopy(VAETransformer(2, max_epochs=0).fit(X).net_)
        net.module_.float()
        light, plain = Rows(X, weight=np.r_[np.full(199, 1e-50), 1.0]), Rows(X)
        found = []
        for rows in (light, plain):
            rows.set_units(net.module_.likelihood.centre, net.module_.likelihood.scale)
            found.append(net.reconstruction_error(Subset(rows, np.arange(100))))
        assert np.isfinite(found[1][0]).all() and found[0][1] == found[1][1]
        np.testing.assert_array_equal(found[0][0], found[1][0])

    def test_minkas_choice_knows_the_number_of_rows(self):
        X = np.random.RandomState(0).normal(size=(40, 10))
        X[:, :2] *= 5
        plain = VAETransformer("mle", max_epochs=0).fit(X)
        ones = VAETransformer("mle", max_epochs=0).fit(X, sample_weight=np.ones(40))
        assert ones.n_components_ == plain.n_components_ < 5

    def test_a_stream_of_fractional_weights_is_measured_by_their_sums(self):
        random = np.random.RandomState(0)
        chunks = random.normal(size=(2, 400, 3)) * np.array([[[5, 1, 1]], [[1, 5, 1]]])
        found = []
        for second in (1.0, 1.001):
            stream = VAETransformer(2, **SMALL)
            stream.partial_fit(chunks[0], sample_weight=np.ones(400))
            stream.partial_fit(chunks[1], sample_weight=np.full(400, second))
            found.append(stream.explained_variance_)
        np.testing.assert_allclose(found[0], found[1], rtol=0.1)


@pytest.mark.parametrize("law", ["gaussian", "diagonal_gaussian", "negative_binomial"])
def test_weights_of_one_say_nothing(law):
    X = suited_rows(law, n=200)
    vae = VAETransformer(2, likelihood=law, max_epochs=3, early_stopping=False, **SMALL)
    plain = clone(vae).fit(X)
    weighted = clone(vae).fit(X, sample_weight=np.ones(200))
    np.testing.assert_array_equal(weighted.score_samples(X), plain.score_samples(X))
    assert weighted.n_samples_ == plain.n_samples_ == 200


def test_a_later_chunk_may_be_a_single_row():
    X = suited_rows("gaussian", n=200)
    stream = VAETransformer(2, **SMALL)
    with pytest.raises(ValueError, match="at least two rows are needed"):
        stream.partial_fit(X[:5], sample_weight=[0, 3, 0, 0, 0])
    stream.partial_fit(X)
    stream.partial_fit(X[:1], sample_weight=[2.0])
    stream.partial_fit(X[:3], sample_weight=[0, 0.5, 0])
    assert np.isfinite(stream.score(X))
    with pytest.raises(ValueError, match=r"non-zero|no row is left"):
        stream.partial_fit(X[:2], sample_weight=[0, 0])


def test_score_is_the_weighted_mean():
    X, weight = suited_rows("gaussian", n=100), weights(100)
    vae = VAETransformer(2, max_epochs=0).fit(X)
    expected = vae.score(np.repeat(X, weight, axis=0))
    assert vae.score(X, sample_weight=weight) == pytest.approx(expected)


def test_metadata_is_routed():
    X, weight = suited_rows("gaussian", n=120), weights(120) + 1.0
    with config_context(enable_metadata_routing=True):
        vae = VAETransformer(2, max_epochs=0)
        vae.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=True), vae)
        pipeline.fit(X, sample_weight=weight)
        scaled = StandardScaler().fit(X, sample_weight=weight).transform(X)
        expected = VAETransformer(2, max_epochs=0).fit(scaled, sample_weight=weight)
        np.testing.assert_allclose(pipeline[-1].transform(scaled), expected.transform(scaled))
        search = GridSearchCV(vae, {"n_components": [1, 2]}, cv=2).fit(X, sample_weight=weight)
        assert np.isfinite(search.best_score_)
        scores = cross_val_score(vae, X, cv=2, params={"sample_weight": weight})
        assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.full(100, 0.01), "sums to 1: at least two rows are needed"),
        (np.eye(100)[0], "1 entries above zero"),
        (np.zeros(100), "at least one non-zero|0 entries above zero"),
        (-np.ones(100), "Negative values"),
        (np.ones(99), "sample_weight.shape"),
        (np.full(100, np.nan), "NaN"),
        (["a"] * 100, "string 'a'.*condition=...$"),
        (np.array(["1"] * 100, dtype=object), "string '1'.*condition=...$"),
    ],
)
def test_weights_that_cannot_be(weight, message):
    with pytest.raises(ValueError, match=message):
        VAETransformer(2, max_epochs=0).fit(suited_rows("gaussian", n=100), sample_weight=weight)


def test_scikit_learns_checks_of_weights():
    names = []
    vae = VAETransformer(1, max_epochs=2, **SMALL)
    for estimator, check in estimator_checks_generator(vae):
        name = getattr(check, "func", check).__name__
        if "weight" in name and "equivalence" not in name:
            names.append(name)
            check(estimator)
    assert names
