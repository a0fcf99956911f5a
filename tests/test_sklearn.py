"""VAETransformer among scikit-learn's tools: its checks, copies, searches and compositions."""

import inspect
import pickle
from copy import deepcopy

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    cross_val_predict,
    cross_val_score,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks, estimator_html_repr, get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch.callbacks import Callback, EarlyStopping

from skvae import VAETransformer


def small(n_components=2, **params):
    """A VAETransformer that trains for a moment."""
    defaults = {"hidden_layer_sizes": (16,), "max_epochs": 2, "random_state": 0}
    return VAETransformer(n_components, **(defaults | params))


def curved(n_samples, seed=0):
    """Rows on a bent sheet: a random start accepts its first epochs on them."""
    rng = np.random.RandomState(seed)
    t = rng.normal(size=(n_samples, 2))
    X = np.column_stack([t, t[:, 0] ** 2, np.sin(2 * t[:, 1]), t[:, 0] * t[:, 1]])
    return X + 0.1 * rng.normal(size=X.shape)


def trained(X, **params):
    """A fit that did accept an epoch: a random start has nothing to go back to."""
    params = {"init": "random", "lr": 1e-2, "batch_size": 16} | params
    estimator = small(**params).fit(X)
    assert dict(estimator.net_.callbacks_)["best_epoch"].accepted_
    return estimator


# ------------------------------------------------------------------ scikit-learn's own checks


# Checks as a list: scikit-learn 1.6 gives pytest a generator, of which pytest 9 warns.
# They compare results of training, to 1e-7, on rows with weights and on repeated ones; batches of
# some of the rows are others in each. What can be the same is: see test_weights.py.
UNEQUAL_BATCHES = {
    f"check_sample_weight_equivalence_on_{kind}_data": "rows with weights are shuffled into other "
    "batches than repeated rows are"
    for kind in ("dense", "sparse")
}


def expected_failures(estimator):
    return UNEQUAL_BATCHES


CHECKS = parametrize_with_checks([VAETransformer()], expected_failed_checks=expected_failures)


@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
def test_check_estimator(estimator, check):
    check(estimator)


def test_tags():
    tags = get_tags(VAETransformer())
    # With this tag scikit-learn would skip the checks that catch random draws in transform.
    assert tags.non_deterministic is False
    assert tags._skip_test is False
    assert not tags.input_tags.allow_nan
    assert tags.input_tags.sparse
    assert not tags.target_tags.required
    assert tags.transformer_tags.preserves_dtype == ["float64", "float32"]


# Not yielded by check_estimator; scikit-learn runs them on its own estimators one by one.
EXTRA_CHECKS = [
    "check_dataframe_column_names_consistency",
    "check_get_feature_names_out_error",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_inplace_ensure_writeable",
    "check_param_validation",
    "check_requires_y_none",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_transformer_preserve_dtypes",
]


# The checks of set_output give arrays to what was fitted on tables, and tables to what was not.
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names:UserWarning")
@pytest.mark.parametrize("check", EXTRA_CHECKS)
def test_checks_that_check_estimator_leaves_out(check):
    # That on read-only rows gives a missing cell to what has a parameter of this name.
    missing = "observed" if check == "check_inplace_ensure_writeable" else "error"
    getattr(estimator_checks, check)("VAETransformer", small(missing_values=missing))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_dtype_is_preserved(dtype):
    # By a trained model: check_transformer_preserve_dtypes has too few rows for training.
    X = curved(80).astype(dtype)
    estimator = trained(X)
    T = estimator.transform(X)
    assert T.dtype == dtype
    assert estimator.fit_transform(X).dtype == dtype
    assert estimator.inverse_transform(T).dtype == dtype
    assert estimator.score_samples(X).dtype == np.float64
    # float32 rows are computed in float32, and agree to its precision.
    wide = estimator.transform(X.astype(np.float64))
    assert_allclose(T, wide, atol=1e-5 * np.ptp(wide))


# --------------------------------------------------------------------------- names of columns


def test_dataframe_column_order():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(curved(80), columns=list("abcde"))
    estimator = small(max_epochs=0).fit(frame)
    T = estimator.transform(frame)
    for method in (estimator.transform, estimator.score_samples, estimator.score):
        with pytest.raises(ValueError, match="must be in the same order as they were in fit"):
            method(frame[list("bacde")])
        with pytest.raises(ValueError, match=r"unseen at fit time:\n- z"):
            method(frame.rename(columns={"a": "z"}))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        assert_array_equal(estimator.transform(frame.to_numpy()), T)


def test_feature_names_in_and_out():
    pd = pytest.importorskip("pandas")
    X = curved(80)
    frame = pd.DataFrame(X, columns=list("abcde"), index=np.arange(100, 180))
    estimator = small(max_epochs=0).fit(frame)
    assert_array_equal(estimator.feature_names_in_, list("abcde"))
    names = ["vaetransformer0", "vaetransformer1"]
    assert_array_equal(estimator.get_feature_names_out(), names)

    T = estimator.set_output(transform="pandas").transform(frame)
    assert_array_equal(T.columns, names)
    assert_array_equal(T.index, frame.index)
    assert_array_equal(T.to_numpy(), small(max_epochs=0).fit(X).transform(X))
    # inverse_transform takes back what transform returned, whatever its kind.
    with config_context(transform_output="default"):
        assert_array_equal(
            estimator.inverse_transform(T), estimator.inverse_transform(T.to_numpy())
        )
    # A refit on an array forgets the names.
    assert not hasattr(estimator.fit(X), "feature_names_in_")


def test_polars_in_and_out():
    pl = pytest.importorskip("polars")
    X = curved(80)
    frame = pl.DataFrame(X, schema=list("abcde"))
    estimator = small().set_output(transform="polars").fit(frame)
    T = estimator.transform(frame)
    assert isinstance(T, pl.DataFrame)
    assert T.columns == ["vaetransformer0", "vaetransformer1"]
    assert_array_equal(T.to_numpy(), small().fit(X).transform(X))


# ------------------------------------------------------------------------------- parameters


class Recorder(Callback):
    """Counts epochs in itself, and in the history, which is seen where the instance is a copy."""

    def __init__(self, label="epochs"):
        self.label = label

    def on_epoch_end(self, net, **kwargs):
        self.count_ = getattr(self, "count_", 0) + 1
        net.history.record(self.label, self.count_)


def rich_estimator():
    return small(
        n_components=3,
        likelihood="diagonal_gaussian",
        callbacks=[Recorder(), ("again", Recorder("again"))],
        net_params={"gradient_clip": 5.0},
        optimizer__weight_decay=0.25,
        iterator_train__shuffle=False,
    )


def test_clone_copies_every_parameter():
    original = rich_estimator()
    copy = clone(original.fit(curved(80)))
    assert not hasattr(copy, "net_")
    before, after = original.get_params(), copy.get_params()
    assert before.keys() == after.keys()
    assert after["optimizer__weight_decay"] == 0.25
    assert after["iterator_train__shuffle"] is False
    assert after["net_params"] == {"gradient_clip": 5.0}
    assert after["net_params"] is not before["net_params"]
    assert [type(c) for c in after["callbacks"]] == [Recorder, tuple]
    assert after["callbacks"][0] is not before["callbacks"][0]
    plain = before.keys() - {"callbacks"}
    assert {name: before[name] for name in plain} == {name: after[name] for name in plain}

    # Parameters set on the copy are its own.
    copy.set_params(optimizer__weight_decay=0.5, optimizer__eps=1e-6)
    assert original.get_params()["optimizer__weight_decay"] == 0.25
    assert "optimizer__eps" not in original.get_params()
    assert clone(copy).get_params()["optimizer__eps"] == 1e-6


def test_the_clone_fits_to_the_same_bits():
    X = curved(80)
    original = rich_estimator().fit(X)
    assert_array_equal(clone(original).fit(X).transform(X), original.transform(X))


def test_what_the_user_gave_is_not_mutated():
    callback, net_params = Recorder(), {"gradient_clip": 5.0}
    callbacks, sizes = [callback], [16]
    estimator = small(callbacks=callbacks, net_params=net_params, hidden_layer_sizes=sizes)
    params = dict(estimator.get_params())
    estimator.fit(curved(80))
    assert callbacks == [callback]
    assert vars(callback) == {"label": "epochs"}
    assert net_params == {"gradient_clip": 5.0}
    assert sizes == [16]
    assert all(value is params[name] for name, value in estimator.get_params().items())
    # The callback did run, as a copy.
    assert estimator.history_[-1]["epochs"] == len(estimator.history_)


def test_parameters_of_the_net_reach_it():
    estimator = rich_estimator().fit(curved(80))
    decays = {group["weight_decay"] for group in estimator.net_.optimizer_.param_groups}
    # No decay on the affine path and the noise, the user's on the rest.
    assert decays == {0.0, 0.25}
    assert estimator.net_.gradient_clip == 5.0
    assert estimator.net_.iterator_train__shuffle is False
    assert {"epochs", "again"} <= set(estimator.history_[-1])


def test_double_underscore_names_win_over_net_params():
    estimator = small(net_params={"optimizer__eps": 1e-3}, optimizer__eps=1e-5)
    optimizer = estimator.fit(curved(80)).net_.optimizer_
    assert {group["eps"] for group in optimizer.param_groups} == {1e-5}


def test_get_and_set_params():
    estimator = VAETransformer()
    signature = list(inspect.signature(VAETransformer).parameters.values())[:-1]
    assert estimator.get_params() == {p.name: p.default for p in signature}
    assert estimator.set_params(lr=0.5, optimizer__weight_decay=0.1) is estimator
    assert (estimator.lr, estimator.get_params()["optimizer__weight_decay"]) == (0.5, 0.1)
    assert estimator.get_params(deep=False)["optimizer__weight_decay"] == 0.1
    params = estimator.get_params()
    assert VAETransformer(**params).get_params() == params
    for name in ("learning_rate", "optimiser__weight_decay"):
        with pytest.raises(ValueError, match=f"Invalid parameter '{name.split('__')[0]}'"):
            estimator.set_params(**{name: 1})
    # A refused set_params sets nothing.
    assert estimator.get_params() == params
    with pytest.raises(ValueError, match="learning_rate"):
        estimator.set_params(optimizer__eps=1e-3, learning_rate=1)
    assert estimator.get_params() == params


@pytest.mark.parametrize(
    "estimator",
    [VAETransformer(), small(3, likelihood="bernoulli", optimizer__weight_decay=0.5)],
    ids=["defaults", "changed"],
)
def test_repr(estimator):
    text = repr(estimator)
    again = eval(text, {"VAETransformer": VAETransformer})
    assert again.get_params() == estimator.get_params()
    assert len(text) < 200  # only what was changed
    with config_context(print_changed_only=False):
        assert "n_importance_samples=100" in repr(estimator).replace("\n", "")


def test_html_repr():
    estimator = small(3, optimizer__weight_decay=0.5)
    for shown in (estimator, Pipeline([("scale", StandardScaler()), ("vae", estimator)])):
        shown = clone(shown)
        html = estimator_html_repr(shown)
        assert "VAETransformer" in html
        assert "optimizer__weight_decay" in html
        assert "Not fitted" in html
        fitted = estimator_html_repr(shown.fit(curved(80)))
        assert "VAETransformer" in fitted
        assert "Not fitted" not in fitted
    assert shown._repr_html_()


# ----------------------------------------------------------------------------------- copies


def through_joblib(tmp_path, **options):
    def copy(estimator):
        joblib.dump(estimator, tmp_path / "model.joblib")
        return joblib.load(tmp_path / "model.joblib", **options)

    return copy


@pytest.fixture(params=["pickle", "oldest pickle", "joblib", "memory-mapped joblib", "deepcopy"])
def round_trip(request, tmp_path):
    return {
        "pickle": lambda estimator: pickle.loads(pickle.dumps(estimator)),
        "oldest pickle": lambda estimator: pickle.loads(pickle.dumps(estimator, protocol=2)),
        "joblib": through_joblib(tmp_path),
        "memory-mapped joblib": through_joblib(tmp_path, mmap_mode="r"),
        "deepcopy": deepcopy,
    }[request.param]


@pytest.mark.parametrize("likelihood", ["gaussian", "diagonal_gaussian", "bernoulli"])
def test_a_copy_of_a_trained_model_gives_the_same_bits(round_trip, likelihood):
    X = curved(80)
    if likelihood == "bernoulli":
        X = (X > 0).astype(float)
    estimator = trained(X, likelihood=likelihood)
    expected = [estimator.transform(X), estimator.score_samples(X), estimator.sample(3)]
    copy = round_trip(estimator)
    for model in (copy, estimator):
        assert_array_equal(model.transform(X), expected[0])
        assert_array_equal(model.score_samples(X), expected[1])
        assert_array_equal(model.sample(3), expected[2])
    X32 = X.astype(np.float32)
    assert_array_equal(copy.transform(X32), estimator.transform(X32))
    assert copy.history_ == estimator.history_
    # The copy is a whole estimator: it fits, and what it fits leaves the original as it was.
    assert_array_equal(copy.fit(X).transform(X), expected[0])
    copy.set_params(warm_start=True, early_stopping=False).fit(X)
    assert not np.array_equal(copy.transform(X), expected[0])
    assert_array_equal(estimator.transform(X), expected[0])


@pytest.mark.parametrize("max_epochs", [0, 2])
def test_a_copy_of_the_closed_form_gives_the_same_bits(round_trip, max_epochs):
    X = curved(80)
    estimator = small(max_epochs=max_epochs).fit(X)
    copy = round_trip(estimator)
    assert_array_equal(copy.transform(X), estimator.transform(X))
    assert_array_equal(copy.score_samples(X), estimator.score_samples(X))
    assert_array_equal(copy.get_covariance(), estimator.get_covariance())


def test_an_unfitted_copy(round_trip):
    estimator = rich_estimator().set_params(callbacks=None)
    assert round_trip(estimator).get_params() == estimator.get_params()


@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_pickle_carries_no_training_rows(early_stopping):
    # Models are shared where their training rows may not be, and should not grow with them.
    sizes, rows = [], (400, 4000)
    for n_samples in rows:
        X = curved(n_samples)
        model = pickle.dumps(small(early_stopping=early_stopping, batch_size=400).fit(X))
        assert not any(row.tobytes() in model for row in X)
        sizes.append(len(model))
    # A few numbers for each validation row (a tenth of the rows) are allowed.
    assert sizes[1] - sizes[0] < 8 * (rows[1] - rows[0])


# ------------------------------------------------------------------------------ compositions


def test_pipeline_equals_pca_at_zero_epochs():
    X, y = load_iris(return_X_y=True)
    scores = {
        name: cross_val_predict(
            make_pipeline(StandardScaler(), reduce, KNeighborsClassifier()), X, y
        )
        for name, reduce in {"vae": small(max_epochs=0), "pca": PCA(2)}.items()
    }
    assert_array_equal(scores["vae"], scores["pca"])


def test_classifier_behind_a_trained_model():
    X, y = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), small(), KNeighborsClassifier()).fit(X, y)
    assert model.score(X, y) > 0.85
    assert len(model["vaetransformer"].history_) == 2
    # y takes no part in the fit of the transformer.
    alone = small().fit(StandardScaler().fit_transform(X))
    assert_array_equal(model["vaetransformer"].transform(X), alone.transform(X))


def test_clusterings_behind_it():
    X = StandardScaler().fit_transform(load_iris().data)
    for cluster in (KMeans(3, n_init=2, random_state=0), DBSCAN(eps=0.4)):
        labels = make_pipeline(small(max_epochs=0), cluster).fit_predict(X)
        assert len(np.unique(labels)) > 1
        assert_array_equal(labels, make_pipeline(PCA(2), clone(cluster)).fit_predict(X))


def test_the_pipeline_goes_back():
    X = curved(80)
    model = make_pipeline(StandardScaler(), small(max_epochs=0)).fit(X)
    pca = make_pipeline(StandardScaler(), PCA(2)).fit(X)
    assert_allclose(
        model.inverse_transform(model.transform(X)),
        pca.inverse_transform(pca.transform(X)),
        atol=1e-9,
    )
    # score and score_samples of a Pipeline are its last step's.
    assert_allclose(model.score(X), pca.score(X), rtol=1e-9)
    assert_allclose(model.score_samples(X), pca.score_samples(X), rtol=1e-9)


def test_feature_union():
    X = curved(80)
    union = FeatureUnion([("pca", PCA(2)), ("vae", small(max_epochs=0))]).fit(X)
    names = ["pca__pca0", "pca__pca1", "vae__vaetransformer0", "vae__vaetransformer1"]
    assert_array_equal(union.get_feature_names_out(), names)
    T = union.transform(X)
    assert_allclose(T[:, 2:], T[:, :2], atol=1e-9)


def test_column_transformer():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(curved(80), columns=list("abcde"))
    frame["kind"] = ["x", "y"] * 40
    model = ColumnTransformer(
        [("vae", small(max_epochs=0), list("edcb")), ("keep", "passthrough", ["a"])]
    ).set_output(transform="pandas")
    T = model.fit_transform(frame)
    assert list(T) == ["vae__vaetransformer0", "vae__vaetransformer1", "keep__a"]
    # Columns are taken by name: their order in the table does not matter.
    shuffled = model.transform(frame[["kind", *"cadbe"]])
    assert_array_equal(shuffled.to_numpy(), T.to_numpy())
    expected = PCA(2).fit_transform(frame[list("edcb")])
    assert_allclose(T.to_numpy()[:, :2], expected, atol=1e-9)


# ---------------------------------------------------------------------------------- searches


def noisy_factors(n_samples):
    """Two factors under noise that differs from column to column."""
    rng = np.random.RandomState(0)
    noise = np.array([0.05, 0.1, 0.5, 1.0, 2.0, 0.2])
    return rng.normal(size=(n_samples, 2)) @ rng.normal(size=(2, 6)) + noise * rng.normal(
        size=(n_samples, 6)
    )


def test_grid_search_in_parallel_without_scoring():
    X = noisy_factors(150)
    grid = {"n_components": [1, 2], "likelihood": ["gaussian", "diagonal_gaussian"]}
    search = GridSearchCV(small(max_epochs=1), grid, cv=3, n_jobs=2).fit(X)
    # The law and the width that the rows were made with have the best held-out likelihood.
    assert search.best_params_ == {"n_components": 2, "likelihood": "diagonal_gaussian"}
    # Other processes give the same bits as this one.
    best = small(max_epochs=1, **search.best_params_)
    assert search.best_score_ == cross_val_score(best, X, cv=3).mean()
    assert_array_equal(search.transform(X), best.fit(X).transform(X))


def test_grid_search_over_names_of_the_net():
    pipeline = Pipeline([("scale", StandardScaler()), ("vae", small())])
    grid = {"vae__optimizer__weight_decay": [0.0, 0.5], "vae__lr": [1e-3]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(curved(120))
    chosen = search.best_params_["vae__optimizer__weight_decay"]
    vae = search.best_estimator_["vae"]
    assert vae.get_params()["optimizer__weight_decay"] == chosen
    groups = vae.net_.optimizer_.param_groups
    assert {group["weight_decay"] for group in groups} == {0.0, chosen}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert pipeline.get_params()["vae"].get_params() == small().get_params()


def test_halving_grid_search_over_epochs():
    search = HalvingGridSearchCV(
        small(init="random"),
        {"lr": [1e-4, 1e-3, 3e-2, 1e-2]},
        resource="max_epochs",
        max_resources=8,
        factor=2,
        cv=2,
        error_score="raise",
        random_state=0,
    ).fit(curved(120))
    assert search.n_resources_[-1] == 8
    assert search.best_estimator_.max_epochs == 8
    assert len(search.best_estimator_.history_) == 8
    # More epochs did reach the fits: the same candidate scores otherwise with more of them.
    results = search.cv_results_
    first = results["mean_test_score"][results["iter"] == 0]
    last = results["mean_test_score"][results["iter"] == search.n_iterations_ - 1]
    assert np.isfinite(first).all()
    assert last.max() > first.max()


def test_cross_val_score_without_scoring_is_comparable_with_pca():
    X = noisy_factors(90)
    ours, theirs = cross_val_score(small(max_epochs=0), X), cross_val_score(PCA(2), X)
    assert_allclose(ours, theirs, rtol=1e-9)


def test_users_early_stopping_survives_a_search():
    # callbacks are cloned with the estimator, for each candidate and fold.
    stop = EarlyStopping(patience=1, threshold=1e9, threshold_mode="abs", sink=str)
    before = dict(vars(stop))
    search = GridSearchCV(
        small(max_epochs=9, callbacks=[stop]), {"lr": [1e-3]}, cv=2, error_score="raise"
    ).fit(curved(160))
    assert len(search.best_estimator_.history_) < 9
    assert vars(stop) == before
