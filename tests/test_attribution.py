"""Attribution: Jacobians against PCA, central differences and transforms of changed rows."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from suited import suited_rows

import skvae.moments
from skvae import VAETransformer, attribution, attributions, decoder_jacobian, encoder_jacobian
from skvae.displays import LoadingsDisplay
from skvae.likelihoods import LIKELIHOODS
from skvae.moments import some_rows

WINE = load_wine().data / load_wine().data.std(axis=0)
DIGITS = load_digits().data
K = 3
TRAINED = {
    "max_epochs": 4,
    "hidden_layer_sizes": 16,
    "early_stopping": False,
    "random_state": 0,
}
NUMBERS = [name for name in LIKELIHOODS if name != "categorical"]


def as_they_are(x):
    """With a `batch_transform` rows need not be in the support of the law to have latents."""
    return x


def differences(function, X, steps):
    """Central differences (n, ..., d) of a function of rows X (n, d), by a step of each column."""
    columns = []
    for j, step in enumerate(steps):
        there, back = X.copy(), X.copy()
        there[:, j] += step
        back[:, j] -= step
        columns.append((function(there) - function(back)) / (2 * step))
    return np.stack(columns, axis=-1)


def table(n=300):
    random = np.random.RandomState(0)
    size = random.normal(size=n)
    X = pd.DataFrame(
        {
            "kind": np.array(["big", "fair", "small"])[np.digitize(-size, [-0.5, 0.7])],
            "length": 10 + 2 * size + 0.5 * random.normal(size=n),
            "eggs": random.poisson(np.exp(1 + 0.5 * size)),
            "wild": size + random.normal(size=n) > 0,
        }
    )
    X.loc[::7, "kind"] = None
    X.loc[3::11, "length"] = np.nan
    return X


LAWS = [("categorical", ["kind", "wild"]), ("gaussian", ["length"]), ("poisson", ["eggs"])]


@pytest.fixture(scope="module")
def mixed():
    return VAETransformer(2, likelihood=LAWS, missing_values="observed", **TRAINED).fit(table())


@pytest.fixture(scope="module")
def trained():
    vae = VAETransformer(4, max_epochs=4, hidden_layer_sizes=32, random_state=0).fit(DIGITS)
    assert vae.best_epoch_ > 0
    return vae


class TestJacobians:
    @pytest.mark.parametrize("whiten", [False, True])
    def test_are_pcas_components_at_zero_epochs(self, whiten):
        vae = VAETransformer(K, max_epochs=0, whiten=whiten).fit(WINE)
        pca = PCA(K, svd_solver="full").fit(WINE)
        unit = np.sqrt(pca.explained_variance_)[:, None] if whiten else 1.0
        listens, moves = encoder_jacobian(vae, WINE), decoder_jacobian(vae, WINE)
        assert listens.shape == moves.shape == (len(WINE), K, WINE.shape[1])
        assert_allclose(listens, np.tile(pca.components_ / unit, (len(WINE), 1, 1)), atol=1e-8)
        assert_allclose(moves, np.tile(pca.components_ * unit, (len(WINE), 1, 1)), atol=1e-8)

    def test_are_the_differences_of_transform_and_inverse_transform(self, trained):
        rows = DIGITS[:20]
        listens = encoder_jacobian(trained, rows)
        # Columns that hardly vary bend within a hundredth of their standard deviation.
        steps = 1e-4 * np.where(DIGITS.std(axis=0) > 0, DIGITS.std(axis=0), 1.0)
        assert_allclose(listens, differences(trained.transform, rows, steps), atol=1e-5)
        T = trained.transform(rows)
        moves = decoder_jacobian(trained, rows)
        expected = differences(trained.inverse_transform, T, 1e-4 * T.std(axis=0))
        assert_allclose(moves, expected.swapaxes(1, 2), atol=1e-6)
        # They differ from row to row.
        assert listens.std(axis=0).max() > 0.01 and moves.std(axis=0).max() > 0.01

    @pytest.mark.parametrize("law", NUMBERS)
    def test_of_every_law_by_the_chain_rule(self, law):
        X = suited_rows(law)
        vae = VAETransformer(2, likelihood=law, batch_transform=as_they_are, **TRAINED).fit(X)
        likelihood, rows = vae.net_.module_.likelihood, X[:15]
        # Within the tolerance of atoms, which have no derivative.
        steps = 1e-6 * likelihood.scale
        by_features = encoder_jacobian(vae, rows)
        # Where the law is given the row's total a column is in all features.
        of_features = differences(likelihood.start_rows, rows, steps)
        by_columns = np.einsum("nkf,nfd->nkd", by_features, of_features) * likelihood.scale
        expected = differences(vae.transform, rows, steps) * likelihood.scale
        assert_allclose(by_columns, expected, atol=1e-5 * np.abs(expected).max())
        # The mean of the decoder's is that of `component_effects`, up to its unit.
        moves = decoder_jacobian(vae, rows)
        lengths = np.sqrt((moves**2).sum(axis=2).mean(axis=0))
        effects = moves.mean(axis=0) / lengths[:, None]
        assert_allclose(vae.component_effects(rows), effects, atol=1e-8)

    @pytest.mark.parametrize(
        ("law", "feature"), [("lognormal", np.log), ("poisson", np.log1p), ("bernoulli", np.array)]
    )
    def test_of_features_are_of_those_of_reconstructions(self, law, feature):
        X = suited_rows(law)
        vae = VAETransformer(2, likelihood=law, **TRAINED).fit(X)
        T = vae.transform(X[:15])

        def features(T):
            return feature(vae.inverse_transform(T))

        expected = differences(features, T, 1e-4 * T.std(axis=0)).swapaxes(1, 2)
        assert_allclose(decoder_jacobian(vae, X[:15]), expected, atol=1e-6 * np.abs(expected).max())

    def test_under_a_condition(self):
        X, y = load_iris(return_X_y=True)
        kinds = np.array(["a", "b", "c"])[y]
        vae = VAETransformer(2, **TRAINED).fit(X, condition=kinds)
        rows, C = X[::10], kinds[::10]
        expected = differences(lambda X: vae.transform(X, C), rows, 1e-4 * X.std(axis=0))
        assert_allclose(encoder_jacobian(vae, rows, condition=C), expected, atol=1e-6)
        T = vae.transform(rows, C)
        expected = differences(lambda T: vae.inverse_transform(T, C), T, 1e-4 * T.std(axis=0))
        moves = decoder_jacobian(vae, rows, condition=C)
        assert_allclose(moves, expected.swapaxes(1, 2), atol=1e-6)

    def test_missing_cells_are_not_listened_to(self):
        X = load_iris().data
        vae = VAETransformer(2, missing_values="observed", **TRAINED).fit(X)
        rows = X[::6].copy()
        rows[::2, 1] = rows[1::3, 3] = np.nan
        rows[4] = np.nan
        listens = encoder_jacobian(vae, rows)
        missing = np.isnan(rows)
        assert (listens.swapaxes(1, 2)[missing] == 0).all()
        expected = differences(vae.transform, rows, 1e-4 * X.std(axis=0))
        assert_allclose(listens, expected, atol=1e-6)
        assert np.abs(listens.swapaxes(1, 2)[~missing]).min() > 0

    def test_of_sparse_and_single_precision_rows(self, trained):
        from scipy.sparse import csr_matrix

        expected = encoder_jacobian(trained, DIGITS[:9])
        assert_allclose(encoder_jacobian(trained, csr_matrix(DIGITS[:9])), expected, atol=1e-12)
        assert_allclose(encoder_jacobian(trained, DIGITS[:9].astype("f4")), expected, atol=1e-12)
        assert encoder_jacobian(trained, DIGITS[:9].astype("f4")).dtype == np.float64


class TestCategories:
    def test_are_what_the_category_makes_of_transform(self, mixed):
        X = table().iloc[:40]
        names = mixed.get_component_feature_names().tolist()
        listens = encoder_jacobian(mixed, X)
        shares = table()["kind"].value_counts(normalize=True)
        of_kinds = {}
        for kind in shares.index:
            changed = X.copy()
            changed["kind"] = kind
            of_kinds[kind] = mixed.transform(changed)
        mean = sum(shares[kind] * T for kind, T in of_kinds.items())
        missing = X["kind"].isna().to_numpy()
        for kind, T in of_kinds.items():
            found = listens[:, :, names.index(f"kind = {kind}")]
            # Shares are those of rows whose missing cells are spread over the others.
            assert_allclose(found[~missing], (T - mean)[~missing], atol=0.02)
            assert (found[missing] == 0).all()
        big, small = (names.index(f"kind = {kind}") for kind in ("big", "small"))
        difference = (of_kinds["big"] - of_kinds["small"])[~missing]
        found = (listens[:, :, big] - listens[:, :, small])[~missing]
        assert_allclose(found, difference, atol=1e-10)
        assert np.abs(difference).mean() > 0.1

    def test_move_by_their_probabilities(self, mixed):
        X = table().iloc[:40]
        names = mixed.get_component_feature_names().tolist()
        moves = decoder_jacobian(mixed, X)
        kinds = [names.index(f"kind = {kind}") for kind in ("big", "fair", "small")]
        assert_allclose(moves[:, :, kinds].sum(axis=2), 0, atol=1e-12)
        assert np.abs(moves[:, :, kinds]).max() > 0.01

        def probabilities(module, z):
            return module.likelihood.probabilities(module.outputs(z))

        def at(T):
            return mixed.net_.apply(probabilities, mixed.coordinates_.to_latent(T))

        T = mixed.transform(X)
        expected = differences(at, T, 1e-4 * T.std(axis=0)).swapaxes(1, 2)
        codes = [i for i, name in enumerate(names) if " = " in name]
        assert_allclose(moves[:, :, codes], expected, atol=1e-6)

    def test_of_one_law_for_all_columns(self):
        X = suited_rows("categorical")
        vae = VAETransformer(2, likelihood="categorical", **TRAINED).fit(X)
        listens = encoder_jacobian(vae, X[:20])
        names = vae.get_component_feature_names().tolist()
        assert names[:5] == ["x0 = 0", "x0 = 1", "x1 = 0", "x1 = 1", "x1 = 2"]
        assert listens.shape == decoder_jacobian(vae, X[:20]).shape == (20, 2, len(names))
        shares = np.bincount(X[:, 1].astype(int)) / len(X)
        of_codes = []
        for code in range(3):
            changed = X[:20].copy()
            changed[:, 1] = code
            of_codes.append(vae.transform(changed))
        expected = np.array(of_codes) - np.tensordot(shares, of_codes, axes=1)
        assert_allclose(listens[:, :, 2:5], np.moveaxis(expected, 0, 2), atol=1e-10)


class TestAttributions:
    def test_of_pca_are_its_correlations_and_its_weights(self):
        vae = VAETransformer(K, max_epochs=0).fit(WINE)
        pca = PCA(K, svd_solver="full").fit(WINE)
        T = pca.transform(WINE)
        correlations = np.abs(np.corrcoef(T.T, WINE.T)[:K, K:])
        assert_allclose(attributions(vae, WINE, kind="moves"), correlations, atol=1e-8)
        weights = np.abs(pca.components_) * WINE.std(axis=0) / T.std(axis=0)[:, None]
        assert_allclose(attributions(vae, WINE), weights, atol=1e-8)
        # Whatever the units, of X and of T.
        other = VAETransformer(K, max_epochs=0, whiten=True).fit(WINE)
        assert_allclose(attributions(other, WINE), weights, atol=1e-8)

    def test_are_root_mean_squares_of_the_jacobians(self, trained):
        T, spread = trained.transform(DIGITS), DIGITS.std(axis=0)
        listens = np.sqrt((encoder_jacobian(trained, DIGITS) ** 2).mean(axis=0))
        expected = listens * spread / T.std(axis=0)[:, None]
        assert_allclose(attributions(trained, DIGITS), expected, rtol=1e-8, atol=1e-10)
        moves = np.sqrt((decoder_jacobian(trained, DIGITS) ** 2).mean(axis=0))
        expected = moves / np.where(spread > 0, spread, np.inf) * T.std(axis=0)[:, None]
        found = attributions(trained, DIGITS, kind="moves")
        assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
        # Constant columns, of which rounding errors are all there is.
        assert (spread == 0).any() and (found[:, spread == 0] == 0).all()

    @pytest.mark.parametrize("kind", ["listens", "moves"])
    def test_of_few_rows_at_a_time_are_the_same(self, kind, mixed, monkeypatch):
        expected = attributions(mixed, table(), kind=kind)
        monkeypatch.setattr(skvae.moments, "_CHUNK_VALUES", 100)
        assert_allclose(attributions(mixed, table(), kind=kind), expected, rtol=1e-9)

    def test_of_a_table_are_of_its_columns(self, mixed):
        X = table()
        found = attributions(mixed, X)
        assert found.shape == (2, 4)
        T, unit = mixed.transform(X), mixed.transform(X).std(axis=0)
        # The standard deviation of T over the categories of a column, as a number has it.
        shares = X["kind"].value_counts(normalize=True)
        of_kinds = []
        for kind in shares.index:
            changed = X.copy()
            changed["kind"] = kind
            of_kinds.append(mixed.transform(changed))
        mean = np.tensordot(shares.to_numpy(), of_kinds, axes=1)
        variance = np.tensordot(shares.to_numpy(), (np.array(of_kinds) - mean) ** 2, axes=1)
        variance[X["kind"].isna()] = 0
        assert_allclose(found[:, 0], np.sqrt(variance.mean(axis=0)) / unit, rtol=1e-8)
        # Two categories are a number that is 0 or 1.
        of_both = [mixed.transform(X.assign(wild=value)) for value in (False, True)]
        step = np.sqrt(((of_both[1] - of_both[0]) ** 2).mean(axis=0))
        assert_allclose(found[:, 3], step * X["wild"].std(ddof=0) / unit, rtol=1e-8)
        longer, shorter = (mixed.transform(X.assign(length=X["length"] + h)) for h in (1e-4, -1e-4))
        slope = np.sqrt((((longer - shorter) / 2e-4) ** 2).mean(axis=0))
        assert_allclose(found[:, 1], slope * X["length"].std(ddof=0) / unit, rtol=1e-5)
        moves = attributions(mixed, X, kind="moves")
        names = mixed.get_component_feature_names().tolist()
        jacobian = decoder_jacobian(mixed, X)[:, :, names.index("wild = True")]
        of_wild = np.sqrt((jacobian**2).mean(axis=0)) * T.std(axis=0) / X["wild"].std(ddof=0)
        assert_allclose(moves[:, 3], of_wild, rtol=1e-8)

    def test_of_many_categories_are_of_some_rows(self, mixed, monkeypatch):
        X = table()
        of_all = attributions(mixed, X)
        # 150 rows with five categories each.
        monkeypatch.setattr(attribution, "_CHANGED_ROWS", 750)
        encoded, posterior = [], VAETransformer._posterior
        monkeypatch.setattr(
            VAETransformer,
            "_posterior",
            lambda vae, X, C=None: encoded.append(len(X)) or posterior(vae, X, C),
        )
        found = attributions(mixed, X)
        assert sum(encoded) == len(X) + 750
        # Numbers are as they were.
        assert_allclose(found[:, 1:3], of_all[:, 1:3], rtol=1e-12)
        rows = X.iloc[some_rows(len(X), 150)]
        of_both = [mixed.transform(rows.assign(wild=value)) for value in (False, True)]
        step = np.sqrt(((of_both[1] - of_both[0]) ** 2).mean(axis=0))
        expected = step * X["wild"].std(ddof=0) / mixed.transform(X).std(axis=0)
        assert_allclose(found[:, 3], expected, rtol=1e-8)
        # However many they are.
        monkeypatch.setattr(attribution, "_CHANGED_ROWS", 1)
        encoded.clear()
        attributions(mixed, X)
        assert sum(encoded) == len(X) + 5 * 50

    def test_a_thousand_categories_are_encoded_together(self, monkeypatch):
        X = np.column_stack([np.arange(1000) % 2, np.arange(1000)]).astype(float)
        vae = VAETransformer(1, likelihood="categorical", max_epochs=0).fit(X)
        calls, posterior = [], VAETransformer._posterior
        monkeypatch.setattr(
            VAETransformer,
            "_posterior",
            lambda vae, X, C=None: calls.append(len(X)) or posterior(vae, X, C),
        )
        assert encoder_jacobian(vae, X[:3]).shape == (3, 1, 1002)
        assert calls == [3 * 2, 3 * 1000]

    def test_a_column_of_noise_is_neither_listened_to_nor_moved(self):
        random = np.random.RandomState(0)
        t = random.uniform(-1.5, 1.5, 1500)
        X = np.column_stack([t, t**3, t**2, random.normal(size=1500)])
        X[:, :3] += 0.05 * random.normal(size=(1500, 3))
        vae = VAETransformer(1, likelihood="diagonal_gaussian", max_epochs=20, random_state=0)
        vae.fit(X)
        listens, moves = attributions(vae, X)[0], attributions(vae, X, kind="moves")[0]
        assert listens[3] < 0.1 < listens[:2].min() and moves[3] < 0.3 < moves[:3].min()
        # The square does not say on which side of the vertex a row is, and is moved all the same:
        # on average over rows the two sides cancel, their squares do not.
        assert listens[2] < 0.1 and abs(vae.component_effects(X)[0, 2]) < 0.3

    def test_units_are_of_the_cells_that_are_there(self):
        X = load_iris().data
        holed = np.where(np.random.RandomState(0).uniform(size=X.shape) < 0.4, np.nan, X)
        vae = VAETransformer(2, max_epochs=0, missing_values="observed").fit(holed)
        T = vae.transform(holed)
        moves = np.sqrt((decoder_jacobian(vae, holed) ** 2).mean(axis=0))
        expected = moves * T.std(axis=0)[:, None] / np.nanstd(holed, axis=0)
        assert_allclose(attributions(vae, holed, kind="moves"), expected, rtol=1e-6)
        holed[:, 2] = np.nan
        for kind in ("listens", "moves"):
            assert (attributions(vae, holed, kind=kind)[:, 2] == 0).all()


class TestNames:
    def test_are_those_of_the_columns(self, trained):
        assert trained.get_component_feature_names().tolist() == [f"x{j}" for j in range(64)]
        iris = load_iris(as_frame=True).data
        vae = VAETransformer(2, max_epochs=0).fit(iris)
        assert vae.get_component_feature_names().tolist() == list(iris.columns)

    def test_of_a_table_are_in_the_order_of_its_features(self, mixed):
        names = mixed.get_component_feature_names()
        assert names.dtype == object and len(names) == mixed.components_.shape[1]
        assert names.tolist() == [
            "kind = big",
            "kind = fair",
            "kind = small",
            "wild = False",
            "wild = True",
            "length",
            "eggs",
        ]
        drawn = LoadingsDisplay.from_estimator(mixed, table()).feature_names
        assert set(drawn) == set(names) - {"wild = False"}

    def test_need_a_fit(self):
        with pytest.raises(NotFittedError):
            VAETransformer().get_component_feature_names()


FUNCTIONS = [encoder_jacobian, decoder_jacobian, attributions]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_what_is_no_fitted_model_is_refused(function):
    X = load_iris().data
    name = function.__name__
    with pytest.raises(TypeError, match=f"{name} needs a fitted VAETransformer.*; got PCA"):
        function(make_pipeline(StandardScaler(), PCA(2)).fit(X), X)
    for unfitted in (VAETransformer(2), make_pipeline(StandardScaler(), VAETransformer(2))):
        with pytest.raises(NotFittedError):
            function(unfitted, X)
    vae = VAETransformer(2, max_epochs=0).fit(X)
    with pytest.raises(ValueError, match="X has 3 features"):
        function(vae, X[:, :3])
    with pytest.raises(ValueError, match="condition is given"):
        function(vae, X, condition="a")


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_pipeline_is_its_last_step_on_the_rows_that_reach_it(function):
    X = load_iris().data
    pipeline = make_pipeline(StandardScaler(), VAETransformer(2, max_epochs=3, random_state=0))
    pipeline.fit(X)
    expected = function(pipeline[-1], pipeline[:-1].transform(X))
    search = GridSearchCV(pipeline, {"vaetransformer__n_components": [2]}, cv=2).fit(X)
    within = Pipeline([("before", pipeline[0]), ("rest", pipeline[1:])])
    for estimator in (pipeline, search, within):
        np.testing.assert_array_equal(function(estimator, X), expected)


def test_kind_goes_by_position_and_conditions_by_name():
    X = load_iris().data
    vae = VAETransformer(2, max_epochs=0).fit(X)
    expected = attributions(vae, X, kind="moves")
    np.testing.assert_array_equal(attributions(vae, X, "moves"), expected)
    for function in (encoder_jacobian, decoder_jacobian):
        with pytest.raises(TypeError, match="positional"):
            function(vae, X, "a")


def test_attributions_refuse():
    X = load_iris().data
    vae = VAETransformer(2, max_epochs=0).fit(X)
    with pytest.raises(ValueError, match="kind must be one of 'listens', 'moves'; got 'both'"):
        attributions(vae, X, kind="both")
    with pytest.raises(ValueError, match=r"got ndarray \(a condition goes by name"):
        attributions(vae, X, X[:, :1])  # what was meant as a condition
    with pytest.raises(ValueError, match="X has 1 row"):
        attributions(vae, X[:1])


@pytest.mark.parametrize("value", [1.0, 0.1, 0.0, 1e5])
def test_a_column_that_is_constant_in_these_rows_alone(value):
    rows = np.random.RandomState(0).normal(size=(300, 4))
    vae = VAETransformer(2, max_epochs=0).fit(rows)
    rows = rows[:100].copy()
    rows[:, 3] = value
    for kind in ("moves", "listens"):
        of_columns = attributions(vae, rows, kind=kind)
        assert (of_columns[:, 3] == 0).all() and (of_columns[:, :3] > 0).all()
    for model in (vae, PCA(2).fit(rows)):
        loadings = LoadingsDisplay.from_estimator(model, rows).loadings
        assert (loadings[:, 3] == 0).all() and np.abs(loadings).max() < 10
