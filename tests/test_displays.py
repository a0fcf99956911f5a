"""Displays: what they draw, against the model's own methods, scikit-learn, scipy and counts."""

import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from scipy.sparse import csr_matrix
from scipy.stats import ks_2samp
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, scale

from skvae import VAETransformer, displays
from skvae.displays import (
    BiplotDisplay,
    LatentSpaceDisplay,
    LoadingsDisplay,
    ReconstructionDisplay,
    SampleDisplay,
    ScreeDisplay,
    TrainingCurveDisplay,
    TraversalDisplay,
)
from skvae.displays.biplot import _apart
from skvae.displays.colours import MISSING, OTHERS, styles, targets_of
from skvae.displays.columns import shortened
from skvae.displays.panels import draw_images

IRIS = load_iris(as_frame=True)
DIGITS = load_digits().data[:300]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def linear():
    """Exactly PCA of iris."""
    return VAETransformer(3, max_epochs=0, random_state=0).fit(IRIS.data)


@pytest.fixture(scope="module")
def bent():
    return VAETransformer(3, max_epochs=4, early_stopping=False, random_state=0).fit(IRIS.data)


@pytest.fixture(scope="module")
def images():
    return VAETransformer(4, max_epochs=3, random_state=0).fit(DIGITS)


def table(n=240):
    random = np.random.RandomState(0)
    wealth, age = random.normal(size=(2, n))
    X = pd.DataFrame(
        {
            "region": np.array(["north", "east", "south"])[np.digitize(wealth, [-0.5, 0.5])],
            "height": 170 + 8 * age + 4 * random.normal(size=n),
            "visits": random.poisson(np.exp(1 + 0.5 * age)),
            "owner": wealth + random.normal(size=n) > 0,
            "since": pd.Timestamp("2001-01-01") + pd.to_timedelta(random.randint(0, 900, n), "D"),
        }
    )
    X.loc[::9, "region"] = None
    return X


@pytest.fixture(scope="module")
def mixed():
    return VAETransformer(
        2, likelihood="auto", missing_values="observed", max_epochs=40, random_state=0
    ).fit(table())


# ------------------------------------------------------------------------- all of them

CALLS = {
    "LatentSpaceDisplay": lambda vae, X, **options: LatentSpaceDisplay.from_estimator(
        vae, X, **options
    ),
    "BiplotDisplay": lambda vae, X, **options: BiplotDisplay.from_estimator(vae, X, **options),
    "LoadingsDisplay": lambda vae, X, **options: LoadingsDisplay.from_estimator(vae, X, **options),
    "ReconstructionDisplay": lambda vae, X, **options: ReconstructionDisplay.from_estimator(
        vae, X, **options
    ),
    "SampleDisplay": lambda vae, X, **options: SampleDisplay.from_estimator(
        vae, X, random_state=0, **options
    ),
    "ScreeDisplay": lambda vae, X, **options: ScreeDisplay.from_estimator(vae, X, **options),
    "TraversalDisplay": lambda vae, X, **options: TraversalDisplay.from_estimator(
        vae, X, **options
    ),
    "TrainingCurveDisplay": lambda vae, X, condition=None, **options: (
        TrainingCurveDisplay.from_estimator(vae, **options)
    ),
}


def test_all_displays_are_here():
    assert set(CALLS) == set(displays.__all__)


@pytest.mark.parametrize("name", CALLS)
def test_a_display_draws_in_the_axes_that_it_is_given_and_returns_itself(name, bent):
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5))
    display = CALLS[name](bent, IRIS.data, ax=right)
    assert type(display).__name__ == name
    assert display.figure_ is figure and display.ax_.figure is figure
    # Nothing beside it, and its panels lie where it was.
    assert not left.has_data()
    assert display.ax_.get_position().x0 > left.get_position().x1
    assert display.plot(ax=left) is display
    figure.canvas.draw()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", ["one component", "sparse", "table", "condition", "pipeline"])
def test_a_display_draws_every_kind_of_model(name, kind, mixed):
    X, options = IRIS.data, {}
    if kind == "one component":
        vae = VAETransformer(1, max_epochs=1, early_stopping=False, random_state=0).fit(X)
    elif kind == "sparse":
        X = csr_matrix(np.where(X.to_numpy() > 3, X.to_numpy(), 0))
        vae = VAETransformer(2, max_epochs=1, early_stopping=False, random_state=0).fit(X)
    elif kind == "table":
        X, vae = table(), mixed
    elif kind == "condition":
        options = {"condition": IRIS.target_names[IRIS.target]}
        vae = VAETransformer(2, max_epochs=1, early_stopping=False, random_state=0)
        vae.fit(X, **options)
    else:
        vae = make_pipeline(
            StandardScaler(), VAETransformer(2, max_epochs=1, early_stopping=False, random_state=0)
        ).fit(X)
    if (name, kind) == ("BiplotDisplay", "one component"):
        with pytest.raises(ValueError, match="BiplotDisplay needs two components; got 1"):
            CALLS[name](vae, X)
        return
    CALLS[name](vae, X, **options).figure_.canvas.draw()


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"TrainingCurveDisplay"}))
def test_a_missing_condition_is_said(name):
    kinds = IRIS.target_names[IRIS.target]
    vae = VAETransformer(2, max_epochs=0).fit(IRIS.data, condition=kinds)
    with pytest.raises(ValueError, match="condition is missing"):
        CALLS[name](vae, IRIS.data)


@pytest.mark.parametrize("name", CALLS)
def test_what_is_not_a_model_is_refused(name):
    with pytest.raises(TypeError, match=f"{name} draws a fitted VAETransformer.*StandardScaler"):
        CALLS[name](StandardScaler().fit(IRIS.data), IRIS.data)


@pytest.mark.parametrize("name", ["SampleDisplay", "ScreeDisplay", "TrainingCurveDisplay"])
def test_pca_is_refused_where_a_vae_is_needed(name):
    with pytest.raises(TypeError, match="got PCA"):
        CALLS[name](PCA(2).fit(IRIS.data), IRIS.data)


def test_matplotlib_is_needed_to_draw_and_not_to_import():
    script = """
import sys
sys.modules["matplotlib"] = None
import numpy as np
from skvae import VAETransformer
from skvae.displays import *
X = np.random.RandomState(0).normal(size=(40, 3))
vae = VAETransformer(2, max_epochs=0).fit(X)
calls = [
    (LatentSpaceDisplay, X), (BiplotDisplay, X), (LoadingsDisplay, X), (ReconstructionDisplay, X),
    (SampleDisplay, X), (ScreeDisplay, X), (TraversalDisplay, X), (TrainingCurveDisplay,),
]
for display, *rows in calls:
    try:
        display.from_estimator(vae, *rows)
    except ImportError as error:
        assert f"{display.__name__}.from_estimator requires matplotlib" in str(error)
    else:
        raise AssertionError(display)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", ["LatentSpaceDisplay", "TraversalDisplay", "LoadingsDisplay"])
@pytest.mark.parametrize(
    ("components", "message"),
    [
        ((0, 3), r"components=\(0, 3\): the model has 3 component"),
        ((1, -2), "names a component twice"),
        ("0", "components must be ints"),
    ],
)
def test_components_that_are_not_there(name, components, message, bent):
    with pytest.raises(ValueError, match=message):
        CALLS[name](bent, IRIS.data, components=components)


def test_a_search_is_drawn_by_its_best_model():
    search = GridSearchCV(VAETransformer(max_epochs=0), {"n_components": [1, 2]}, cv=2)
    search.fit(IRIS.data)
    best = search.best_estimator_
    display = LatentSpaceDisplay.from_estimator(search, IRIS.data)
    chosen = min(2, best.n_components_)
    np.testing.assert_array_equal(display.T, best.transform(IRIS.data)[:, :chosen])


def test_long_labels_keep_both_ends():
    assert shortened("region = south", 26) == "region = south"
    assert shortened("occupation = number 12", 11) == "occup…er 12"


# ------------------------------------------------------------------------- latent space


def test_latent_space_has_the_columns_of_transform_and_the_posterior(bent):
    T, std = bent.transform(IRIS.data, return_std=True)
    display = LatentSpaceDisplay.from_estimator(bent, IRIS.data, IRIS.target, components=(2, 0))
    np.testing.assert_array_equal(display.T, T[:, [2, 0]])
    np.testing.assert_array_equal(display.std, std[:, [2, 0]])
    np.testing.assert_allclose(display.scatter_[0].get_offsets(), T[:, [2, 0]])
    # Of 150 rows all: full axes are two standard deviations.
    np.testing.assert_allclose(display.ellipses_.get_offsets(), T[:, [2, 0]])
    np.testing.assert_allclose(2 * display.ellipses_._widths, 2 * std[:, 2])
    np.testing.assert_allclose(2 * display.ellipses_._heights, 2 * std[:, 0])
    ratio = bent.explained_variance_ratio_
    assert display.ax_.get_xlabel() == f"component 2 ({ratio[2]:.1%} of variance)"
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["0", "1", "2", "1 posterior s.d."]


def test_ellipses_of_some_rows(images):
    display = LatentSpaceDisplay.from_estimator(images, DIGITS)
    assert len(display.ellipses_.get_offsets()) == 60
    display.plot(ellipses=7)
    assert len(display.ellipses_.get_offsets()) == 7
    assert display.plot(ellipses=False).ellipses_ is None
    with pytest.raises(ValueError, match="ellipses must be 'auto', a bool or how many; got -1"):
        display.plot(ellipses=-1)
    of_pca = LatentSpaceDisplay.from_estimator(PCA(2).fit(DIGITS), DIGITS)
    assert of_pca.std is None and of_pca.ellipses_ is None
    with pytest.raises(ValueError, match="ellipses=True needs the posterior's"):
        of_pca.plot(ellipses=True)


def test_one_component_is_drawn_by_class_with_its_deviation():
    vae = VAETransformer(1, max_epochs=0).fit(IRIS.data)
    T, std = vae.transform(IRIS.data, return_std=True)
    display = LatentSpaceDisplay.from_estimator(vae, IRIS.data, IRIS.target_names[IRIS.target])
    x, height = display.scatter_[0].get_offsets().T
    np.testing.assert_allclose(x, T[:, 0])
    np.testing.assert_array_equal(np.rint(height), IRIS.target)
    ends = np.array(display.ellipses_.get_segments())
    np.testing.assert_allclose(ends[:, 1, 0] - ends[:, 0, 0], 2 * std[:, 0])
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert names == ["setosa", "versicolor", "virginica"]
    height = LatentSpaceDisplay.from_estimator(vae, IRIS.data, IRIS.data.iloc[:, 0])
    np.testing.assert_allclose(height.scatter_[0].get_offsets()[:, 1], IRIS.data.iloc[:, 0])


def test_a_quantity_colours_the_rows_by_itself(linear):
    y = IRIS.data["petal length (cm)"].copy()
    y[3] = np.nan
    display = LatentSpaceDisplay.from_estimator(linear, IRIS.data, y)
    np.testing.assert_array_equal(display.scatter_[0].get_array(), y.drop(3))
    assert len(display.scatter_[1].get_offsets()) == 1
    assert display.figure_.axes[-1].get_ylabel() == "petal length (cm)"


def test_rows_of_a_class_have_its_colour_and_marker(linear):
    y = np.arange(150) % 12
    display = LatentSpaceDisplay.from_estimator(linear, IRIS.data, y, ellipses=False)
    first, second = display.scatter_
    assert len(first.get_offsets()) == (y < 10).sum()
    assert len(second.get_offsets()) == (y >= 10).sum()
    expected = [styles(["x"] * 12)[code][0] for code in y[y < 10]]
    assert [to_hex(colour).upper() for colour in first.get_facecolors()] == expected


@pytest.mark.parametrize(
    ("y", "names", "codes"),
    [
        (["b", "a", "b"], ["a", "b"], [1, 0, 1]),
        ([2, 10, 2], ["2", "10"], [0, 1, 0]),
        ([1.0, 0.0, 1.0], ["0", "1"], [1, 0, 1]),
        ([True, False, True], ["False", "True"], [1, 0, 1]),
        (pd.Series(["x", None, "x"]), ["x", MISSING], [0, 1, 0]),
        (pd.Series([1, None, 0], dtype="Int64"), ["0", "1", MISSING], [1, 2, 0]),
        (
            pd.Series(pd.Categorical(["low", "high", "low"], ["low", "mid", "high"])),
            ["low", "high"],
            [0, 1, 0],
        ),
        (pl.Series(["b", "a", "b"]), ["a", "b"], [1, 0, 1]),
    ],
)
def test_what_is_a_class(y, names, codes):
    targets = targets_of(y)
    assert targets.names == names
    assert targets.codes.tolist() == codes and targets.values is None


@pytest.mark.parametrize("y", [[0.5, 1, 2], list(range(21)), [1.5, float("nan"), 2]])
def test_what_is_a_quantity(y):
    targets = targets_of(y)
    assert targets.codes is None
    np.testing.assert_array_equal(targets.values, y)


def test_up_to_twenty_one_classes_are_told_apart_and_the_rest_are_one():
    assert len(set(styles(list("abcdefghijklmnopqrstu")))) == 21
    # Ten, as of digits, by colours alone.
    assert len({colour for colour, _ in styles(list("0123456789"))}) == 10
    # 30 classes, of which the later are more frequent.
    y = np.repeat([f"{c:02}" for c in range(30)], np.arange(1, 31))
    targets = targets_of(y)
    assert targets.names == [f"{c:02}" for c in range(10, 30)] + [OTHERS]
    assert (targets.codes == 20).sum() == sum(range(1, 11))


def test_y_of_another_length(linear):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        LatentSpaceDisplay.from_estimator(linear, IRIS.data, IRIS.target[:-1])


# --------------------------------------------------------------------------- traversals


def test_traversal_of_a_linear_model_is_pcas(linear):
    pca = PCA(3).fit(IRIS.data.to_numpy())
    display = TraversalDisplay.from_estimator(
        linear, IRIS.data, components=[1, 0], reach=3, n_steps=5
    )
    T = pca.transform(IRIS.data.to_numpy())
    for i, j in enumerate([1, 0]):
        places = np.zeros((5, 3))
        places[:, j] = np.linspace(-3, 3, 5) * T[:, j].std()
        np.testing.assert_allclose(display.values[i], pca.inverse_transform(places), atol=1e-8)
    by_pca = TraversalDisplay.from_estimator(
        PCA(3).fit(IRIS.data), IRIS.data, components=[1, 0], reach=3, n_steps=5
    )
    np.testing.assert_allclose(display.values, by_pca.values, atol=1e-8)
    # What is drawn, in the columns' standard deviations.
    path = display.axes_[0].lines[1].get_xdata()
    x = IRIS.data.to_numpy()[:, 0]
    np.testing.assert_allclose(path, (display.values[0, :, 0] - x.mean()) / x.std(), atol=1e-9)
    labels = [label.get_text() for label in display.axes_[0].get_yticklabels()]
    assert labels == list(IRIS.data.columns)


def test_traversal_from_a_row(bent):
    row = IRIS.data.iloc[[60]]
    display = TraversalDisplay.from_estimator(bent, IRIS.data, start=row, n_steps=3)
    T = bent.transform(IRIS.data)
    np.testing.assert_allclose(display.values[2, 1], bent.inverse_transform(T[[60]])[0], rtol=1e-6)
    moved = T[[60]] + [0, 0, 2 * T[:, 2].std()]
    np.testing.assert_allclose(display.values[2, 2], bent.inverse_transform(moved)[0], rtol=1e-6)
    with pytest.raises(ValueError, match="start has 2 rows"):
        TraversalDisplay.from_estimator(bent, IRIS.data, start=IRIS.data[:2])


def test_traversal_of_a_table_moves_probabilities(mixed):
    X = table()
    display = TraversalDisplay.from_estimator(mixed, X)
    assert display.feature_names == [
        *(f"region = {name}" for name in ("east", "north", "south")),
        "height",
        "visits",
        "owner = True",
        "since",
    ]
    regions = display.values[:, :, :3]
    np.testing.assert_allclose(regions.sum(axis=2), 1, atol=1e-6)
    assert regions.min() >= 0 and np.ptp(regions) > 0.2
    # The most probable category and the mean are those of inverse_transform.
    T = mixed.transform(X)
    places = np.tile(T.mean(axis=0), (7, 1))
    places[:, 1] += np.linspace(-2, 2, 7) * T[:, 1].std()
    rows = mixed.inverse_transform(places)
    names = np.array(["east", "north", "south"])
    assert names[regions[1].argmax(axis=1)].tolist() == rows["region"].tolist()
    assert (display.values[1, :, 5] > 0.5).tolist() == rows["owner"].tolist()
    np.testing.assert_allclose(display.values[1, :, 3], rows["height"])
    days = (rows["since"] - pd.Timestamp("1970-01-01")).dt.total_seconds() / 86400
    np.testing.assert_allclose(display.values[1, :, 6], days, atol=0.51)
    share = (X["region"].dropna() == "east").mean()
    assert display.centre[0] == pytest.approx(share)
    assert display.scale[0] == pytest.approx(np.sqrt(share * (1 - share)))


def test_traversal_of_images_is_a_strip_a_component(images):
    display = TraversalDisplay.from_estimator(
        images, DIGITS, image_shape=(8, 8), components=[2, 0], n_steps=3
    )
    mosaic = display.ax_.images[0].get_array()
    assert mosaic.shape == (2 * 8 + 1, 3 * 8 + 2)
    np.testing.assert_array_equal(mosaic[9:, 18:], display.values[1, 2].reshape(8, 8))
    assert display.ax_.images[0].get_clim() == (0, 16)
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["−2", "0", "+2"]


def test_traversal_of_a_pipeline_is_in_the_units_of_x():
    pipeline = make_pipeline(StandardScaler(), VAETransformer(2, max_epochs=0)).fit(IRIS.data)
    display = TraversalDisplay.from_estimator(pipeline, IRIS.data)
    T = pipeline.transform(IRIS.data)
    places = np.zeros((7, 2))
    places[:, 0] = np.linspace(-2, 2, 7) * T[:, 0].std()
    np.testing.assert_allclose(display.values[0], pipeline.inverse_transform(places), atol=1e-6)


def test_a_pipeline_without_an_inverse_is_drawn_in_the_models_columns():
    named = ColumnTransformer([("log", FunctionTransformer(np.log1p), [2, 0])]).set_output(
        transform="pandas"
    )
    pipeline = make_pipeline(named, VAETransformer(2, max_epochs=0)).fit(IRIS.data)
    display = ReconstructionDisplay.from_estimator(pipeline, IRIS.data)
    np.testing.assert_array_equal(display.X, np.log1p(IRIS.data.iloc[:, [2, 0]]))
    assert display.feature_names == ["log__petal length (cm)", "log__sepal length (cm)"]


def test_many_columns_are_those_that_change_most(images):
    display = TraversalDisplay.from_estimator(images, DIGITS, max_features=5)
    assert display.values.shape == (4, 7, 5) and len(display.feature_names) == 5
    whole = TraversalDisplay.from_estimator(images, DIGITS, max_features=64)
    z = (whole.values - whole.centre) / np.where(whole.scale > 0, whole.scale, np.inf)
    most = np.argsort(-np.ptp(z, axis=1).max(axis=0))[:5]
    assert display.feature_names == [f"x{j}" for j in sorted(most)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_shape": (7, 9)}, r"image_shape=\(7, 9\) has 63 pixels; rows have 64 columns"),
        ({"image_shape": 64}, "image_shape must be"),
        ({"n_steps": 1}, "n_steps must be"),
        ({"reach": 0}, "reach must be a finite number above 0"),
        ({"feature_names": ["a"]}, "feature_names has 1 names; X has 64 columns"),
    ],
)
def test_traversal_refuses(options, message, images):
    with pytest.raises(ValueError, match=message):
        TraversalDisplay.from_estimator(images, DIGITS, **options)


# ----------------------------------------------------------------------- reconstructions


def test_reconstruction_has_the_rows_and_r2(bent):
    display = ReconstructionDisplay.from_estimator(bent, IRIS.data)
    X, again = IRIS.data.to_numpy(), bent.inverse_transform(bent.transform(IRIS.data))
    np.testing.assert_array_equal(display.X, X)
    np.testing.assert_allclose(display.X_reconstructed, again, rtol=1e-6)
    r2 = r2_score(X, again, multioutput="raw_values")
    np.testing.assert_allclose(1 - display.error_, r2, rtol=1e-5)
    points = display.axes_[2].collections[0].get_offsets()
    np.testing.assert_allclose(points, np.column_stack([X[:, 2], again[:, 2]]), rtol=1e-6)
    bars = display.plot(kind="error").ax_.patches
    np.testing.assert_array_equal([bar.get_width() for bar in bars], display.error_)
    with pytest.raises(ValueError, match="kind must be one of"):
        display.plot(kind="errors")


def test_reconstruction_of_a_table_counts_wrong_categories(mixed):
    X = table()
    again = mixed.inverse_transform(mixed.transform(X))
    display = ReconstructionDisplay.from_estimator(mixed, X, columns=["owner", "region", "height"])
    wrong = (X["owner"] != again["owner"]).mean()
    assert display.error_[0] == pytest.approx(wrong / (1 - X["owner"].value_counts(True).max()))
    known = X["region"].notna()
    shares = pd.crosstab(again["region"][known], X["region"][known], normalize="columns")
    shares = shares.reindex(["east", "north", "south"], fill_value=0)
    np.testing.assert_allclose(display.axes_[1].images[0].get_array(), shares)
    r2 = r2_score(X["height"], again["height"])
    assert display.error_[2] == pytest.approx(1 - r2)
    from_rows = ReconstructionDisplay.from_predictions(X, again, columns=[3, "region", 1])
    np.testing.assert_allclose(from_rows.error_, display.error_)
    with pytest.raises(ValueError, match="columns has 'age'; there are 'region'"):
        ReconstructionDisplay.from_predictions(X, again, columns="age")


def test_reconstruction_errors_of_a_column_that_hardly_varies_hide_no_others():
    X = IRIS.data.to_numpy()[:30].copy()
    again = X + 0.5 * (X.mean(axis=0) - X)
    X[:, 3] = np.where(np.arange(30) == 0, 0.21, 0.2)
    again[:, 3] = X[:, 3] + 0.1
    display = ReconstructionDisplay.from_predictions(X, again)
    display.plot(kind="error")
    many = 0.1**2 / X[:, 3].var()
    np.testing.assert_allclose(display.error_, [0.25, 0.25, 0.25, many])
    assert display.ax_.get_xlim() == (0, 2)
    texts = ["0.250", "0.250", "0.250", "", f"→ {many:,.1f}"]
    assert [text.get_text() for text in display.ax_.texts] == texts
    again[:, 2] = X[:, 2] + 0.01 * (X[:, 2].mean() - X[:, 2])
    usual = ReconstructionDisplay.from_predictions(X[:, :3], again[:, :3]).plot(kind="error")
    # Bars too short to be seen have their number.
    assert [text.get_text() for text in usual.ax_.texts] == ["0.250", "0.250", "< 0.001"]


def test_reconstruction_errors_have_their_whole_label_in_the_picture(mixed):
    X = table()
    again = mixed.inverse_transform(mixed.transform(X))
    names = {"owner": "whose name is a long one"}
    display = ReconstructionDisplay.from_predictions(
        X.rename(columns=names), again.rename(columns=names), kind="error"
    )
    display.figure_.canvas.draw()
    label = display.ax_.xaxis.label.get_window_extent()
    assert "most frequent category" in display.ax_.get_xlabel()
    width, height = display.figure_.get_size_inches() * display.figure_.dpi
    assert label.x0 >= 0 and label.y0 >= 0 and label.x1 <= width and label.y1 <= height


def test_reconstruction_of_images_stands_below_them(images):
    display = ReconstructionDisplay.from_estimator(images, DIGITS, image_shape=(8, 8), n_images=3)
    mosaic = display.ax_.images[0].get_array()
    assert mosaic.shape == (17, 26)
    np.testing.assert_array_equal(mosaic[:8, 9:17], DIGITS[1].reshape(8, 8))
    again = images.inverse_transform(images.transform(DIGITS))[1].reshape(8, 8)
    np.testing.assert_allclose(mosaic[9:, 9:17], again, rtol=1e-5, atol=1e-5)


def test_reconstructions_of_anything(linear):
    pca = PCA(1).fit(IRIS.data)
    again = pca.inverse_transform(pca.transform(IRIS.data))
    display = ReconstructionDisplay.from_predictions(IRIS.data, again)
    expected = r2_score(IRIS.data, again, multioutput="raw_values")
    np.testing.assert_allclose(1 - display.error_, expected)
    sparse = ReconstructionDisplay.from_predictions(csr_matrix(IRIS.data.to_numpy()), again)
    np.testing.assert_allclose(sparse.error_, display.error_)
    with pytest.raises(ValueError, match="X_reconstructed"):
        ReconstructionDisplay.from_predictions(IRIS.data, again[:-1])


def test_reconstruction_under_a_condition_is_under_the_rows_own():
    kinds = IRIS.target_names[IRIS.target]
    vae = VAETransformer(1, max_epochs=0).fit(IRIS.data, condition=kinds)
    display = ReconstructionDisplay.from_estimator(vae, IRIS.data, condition=kinds)
    again = vae.inverse_transform(vae.transform(IRIS.data, condition=kinds), condition=kinds)
    np.testing.assert_allclose(display.X_reconstructed, again, rtol=1e-6)
    traversal = TraversalDisplay.from_estimator(vae, IRIS.data, condition=kinds, n_steps=3)
    middle = vae.transform(IRIS.data, condition=kinds).mean(axis=0, keepdims=True)
    expected = vae.inverse_transform(middle, condition=kinds[:1])
    np.testing.assert_allclose(traversal.values[0, [1]], expected, rtol=1e-6)


def test_colours_of_images():
    _, ax = plt.subplots()
    pixels = np.random.RandomState(0).uniform(0, 255, size=(1, 2, 12))
    drawn = draw_images(ax, pixels, (2, 2, 3), value_range=(0, 255)).get_array()
    assert drawn.shape == (2, 5, 3)
    np.testing.assert_allclose(drawn[:, 3:], pixels[0, 1].reshape(2, 2, 3) / 255)


# ------------------------------------------------------------------- training, scree, ...


def test_training_curve_has_the_history_and_the_start():
    # Steps of no length: every epoch is the start.
    vae = VAETransformer(2, max_epochs=3, lr=1e-20, random_state=0).fit(IRIS.data)
    display = TrainingCurveDisplay.from_estimator(vae)
    np.testing.assert_array_equal(display.valid_loss, [e["valid_loss"] for e in vae.history_])
    np.testing.assert_array_equal(display.train_loss, [e["train_loss"] for e in vae.history_])
    np.testing.assert_allclose(display.valid_loss, display.start_loss, rtol=1e-6)
    assert display.best_epoch == 0 and display.start_name == "start: PCA"
    _, valid, start = display.lines_
    np.testing.assert_array_equal(valid.get_ydata(), display.valid_loss)
    np.testing.assert_array_equal(start.get_ydata(), [display.start_loss] * 2)
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["training rows", "held-out rows", "start: PCA", "kept: the start"]


def test_training_curve_marks_the_kept_epoch(images):
    assert images.best_epoch_ > 0
    display = TrainingCurveDisplay.from_estimator(images)
    (mark,) = [line for line in display.ax_.lines if line.get_marker() == "D"]
    assert mark.get_xdata() == [images.best_epoch_]
    assert mark.get_ydata() == [display.valid_loss[images.best_epoch_ - 1]]


def test_training_curve_without_held_out_rows_and_without_training(bent, linear):
    display = TrainingCurveDisplay.from_estimator(bent)
    assert display.valid_loss is None and display.start_loss is None and len(display.lines_) == 1
    with pytest.raises(ValueError, match="nothing was trained"):
        TrainingCurveDisplay.from_estimator(linear)


def test_scree_of_a_linear_model_is_pcas(linear):
    display = ScreeDisplay.from_estimator(linear, IRIS.data)
    pca = PCA(3).fit(IRIS.data)
    np.testing.assert_allclose(display.pca_explained_variance_ratio, pca.explained_variance_ratio_)
    np.testing.assert_allclose(display.explained_variance_ratio, pca.explained_variance_ratio_)
    expected = np.log(pca.explained_variance_ / pca.noise_variance_) / 2
    np.testing.assert_allclose(display.pca_kl, expected)
    # PCA divides by n - 1, the mean over the rows by n.
    np.testing.assert_allclose(display.kl, expected, atol=0.5 / 149)
    bars = display.axes_[1].patches
    np.testing.assert_allclose([bar.get_height() for bar in bars], display.kl)


@pytest.mark.parametrize("most", [0.019, 0.105, 0.23, 0.6, 1.0])
def test_scree_has_exact_ticks(most):
    display = ScreeDisplay(np.array([most, most / 3])).plot()
    display.figure_.canvas.draw()
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    ticks = display.ax_.get_yticks()
    assert all(label.endswith("%") for label in labels)
    shown = [float(label.rstrip("%")) / 100 for label in labels]
    np.testing.assert_allclose(shown, ticks, atol=1e-12)


def test_scree_of_a_joint_prior_has_no_kl_and_of_missing_cells_no_pca():
    X = IRIS.data.to_numpy().copy()
    vae = VAETransformer(2, prior="mixture", max_epochs=1, random_state=0).fit(X)
    display = ScreeDisplay.from_estimator(vae, X)
    assert display.kl is None and len(display.axes_) == 1
    X[0, 0] = np.nan
    vae = VAETransformer(2, missing_values="observed", max_epochs=0).fit(X)
    display = ScreeDisplay.from_estimator(vae, X)
    assert display.pca_explained_variance_ratio is None and display.pca_kl is None
    assert display.kl.shape == (2,)


def test_scree_under_a_condition_is_of_what_that_leaves():
    kinds = IRIS.target_names[IRIS.target]
    vae = VAETransformer(2, max_epochs=0).fit(IRIS.data, condition=kinds)
    display = ScreeDisplay.from_estimator(vae, IRIS.data, condition=kinds)
    left = IRIS.data - IRIS.data.groupby(IRIS.target).transform("mean")
    expected = PCA(2).fit(left).explained_variance_ratio_
    np.testing.assert_allclose(display.pca_explained_variance_ratio, expected, rtol=1e-6)


def test_loadings_of_a_linear_model_are_correlations(linear):
    display = LoadingsDisplay.from_estimator(linear, IRIS.data, components=[0, 2])
    T = PCA(3).fit_transform(IRIS.data)
    expected = np.corrcoef(T.T, IRIS.data.T)[:3, 3:][[0, 2]]
    np.testing.assert_allclose(display.loadings, expected, atol=1e-6)
    np.testing.assert_allclose(display.image_.get_array(), expected.T, atol=1e-6)
    assert display.texts_[0].get_text() == f"{expected[0, 0]:.2f}"
    by_pca = LoadingsDisplay.from_estimator(PCA(3).fit(IRIS.data), IRIS.data, components=[0, 2])
    np.testing.assert_allclose(by_pca.loadings, expected, atol=1e-6)
    scaled = make_pipeline(StandardScaler(), VAETransformer(2, max_epochs=0)).fit(IRIS.data)
    display = LoadingsDisplay.from_estimator(scaled, IRIS.data)
    expected = np.corrcoef(scaled.transform(IRIS.data).T, IRIS.data.T)[:2, 2:]
    np.testing.assert_allclose(display.loadings, expected, atol=1e-6)
    assert display.feature_names == list(IRIS.data.columns)


def test_loadings_of_a_table_name_its_categories(mixed):
    display = LoadingsDisplay.from_estimator(mixed, table())
    assert display.feature_names[:4] == [
        "region = east",
        "region = north",
        "region = south",
        "height",
    ]
    # What makes a region likelier makes the others less likely.
    region = table()["region"]
    spread = [(region.dropna() == name).std(ddof=0) for name in ("east", "north", "south")]
    assert np.abs(display.loadings[:, :3]).max() > 0.05
    np.testing.assert_allclose(display.loadings[:, :3] @ spread, 0, atol=0.02)
    # Rounded numbers, which have no derivatives, move too.
    assert np.abs(display.loadings[:, 4]).max() > 0.1


def test_loadings_of_images(images):
    display = LoadingsDisplay.from_estimator(images, DIGITS, image_shape=(8, 8))
    assert display.image_.get_array().shape == (8, 4 * 8 + 3)
    low, high = display.image_.get_clim()
    assert -low == high == np.abs(display.loadings).max()


def test_biplot_draws_loadings_as_arrows(linear):
    display = BiplotDisplay.from_estimator(linear, IRIS.data, components=(1, 0), max_features=3)
    T = linear.transform(IRIS.data)[:, [1, 0]]
    np.testing.assert_array_equal(display.T, T)
    whole = LoadingsDisplay.from_estimator(linear, IRIS.data, components=[1, 0]).loadings
    longest = np.sort(np.argsort(-np.linalg.norm(whole, axis=0))[:3])
    np.testing.assert_allclose(display.loadings, whole[:, longest], atol=1e-8)
    assert display.feature_names == [IRIS.data.columns[j] for j in longest]
    tips = np.array([arrow.xy for arrow in display.arrows_]) - T.mean(axis=0)
    factor = tips / (display.loadings.T * T.std(axis=0))
    np.testing.assert_allclose(factor, factor[0, 0], rtol=1e-6)
    assert (np.abs(tips) <= np.abs(T - T.mean(axis=0)).max(axis=0)).all() and factor[0, 0] > 0


@pytest.mark.parametrize("layout", ["constrained", None])
def test_names_of_a_biplot_stay_within_its_axes(layout):
    wine = load_wine(as_frame=True)
    vae = VAETransformer(2, max_epochs=0).fit(scale(wine.data))
    _, ax = plt.subplots(layout=layout)
    names = [*wine.data.columns]
    display = BiplotDisplay.from_estimator(
        vae, scale(wine.data), y=wine.target, feature_names=names, ax=ax
    )
    display.figure_.canvas.draw()
    within = ax.get_window_extent()
    named = [text for text in ax.texts if text.get_text()]
    assert len(named) == len(display.feature_names) >= 8
    for text in named:
        extent = Text.get_window_extent(text)
        assert within.x0 <= extent.x0 and extent.x1 <= within.x1
    # A layout makes room for the legend; without one another Axes may be there.
    legend = ax.get_legend().get_window_extent()
    assert legend.x0 > within.x1 if layout else within.x0 <= legend.x0 and legend.x1 <= within.x1


def test_biplot_in_a_part_of_a_figure(linear):
    part = plt.figure().subfigures(1, 2)[0]
    ax = part.subplots()
    ax.invert_xaxis()
    display = BiplotDisplay.from_estimator(linear, IRIS.data, ax=ax)
    assert display.figure_ is part and ax.xaxis_inverted()
    names = ["$\\alpha_{sepal\\ length}^2$", "b", "c", "d"]
    ax = part.add_subplot()
    BiplotDisplay.from_estimator(linear, IRIS.data, feature_names=names, ax=ax)
    part.figure.canvas.draw()
    assert names[0] in [text.get_text() for text in ax.texts]


def test_names_are_moved_apart_and_stay_in_order():
    places = _apart([0.0, 0.1, 0.2, 5.0], 1.0, -10, 10)
    np.testing.assert_allclose(places, [-0.9, 0.1, 1.1, 5.0])
    np.testing.assert_allclose(_apart([0.0, 3.0], 1.0, 0.5, 10), [0.5, 3.5])


# ------------------------------------------------------------------------------- samples


def test_sample_has_the_models_rows_and_distances(mixed):
    X = table()
    display = SampleDisplay.from_estimator(mixed, X, random_state=3)
    drawn = mixed.sample(len(X), random_state=3)
    np.testing.assert_allclose(display.X_sampled[:, 1], drawn["height"])
    expected = ks_2samp(X["height"], drawn["height"]).statistic
    assert display.distance_[1] == pytest.approx(expected)
    shares = [column["region"].value_counts(normalize=True) for column in (X, drawn)]
    assert display.distance_[0] == pytest.approx(shares[0].sub(shares[1]).abs().sum() / 2)
    bars = [bar.get_height() for bar in display.axes_[0].patches]
    np.testing.assert_allclose(bars, np.concatenate([part.sort_index() for part in shares]))
    again = SampleDisplay.from_predictions(drawn, X)
    np.testing.assert_allclose(again.distance_, display.distance_)


def test_sample_of_images(images):
    display = SampleDisplay.from_estimator(
        images, DIGITS, image_shape=(8, 8), n_samples=12, random_state=0
    )
    np.testing.assert_array_equal(display.X_sampled, images.sample(12, random_state=0, noise=False))
    mosaic = display.ax_.images[0].get_array()
    assert mosaic.shape == (17, 10 * 8 + 9)
    np.testing.assert_array_equal(mosaic[9:, 9:17], display.X_sampled[11].reshape(8, 8))
    # Two images in a row of ten leave the other places empty.
    assert np.ma.getmaskarray(mosaic)[9:, 18:].all()


def test_sample_of_many_columns_draws_those_that_differ_most(images):
    display = SampleDisplay.from_estimator(images, DIGITS, random_state=0)
    drawn = images.sample(len(DIGITS), random_state=0)
    apart = [ks_2samp(DIGITS[:, j], drawn[:, j]).statistic for j in range(64)]
    assert len(display.axes_) == 16
    np.testing.assert_allclose(np.sort(display.distance_), np.sort(apart)[-16:])
    assert "16 of 64" in display.figure_.legends[0].get_title().get_text()
    chosen = SampleDisplay.from_estimator(images, DIGITS, columns=[20, 21], random_state=0)
    assert not chosen.figure_.legends[0].get_title().get_text()


@pytest.mark.parametrize("value", [np.nan, 0.0, 1e9 + 0.5])
def test_marginals_of_next_to_nothing(value):
    columns = np.c_[IRIS.data.to_numpy()[:, 0], np.full(150, value)]
    nearly = columns * (1 + 2e-16)
    for X in (columns, nearly):
        display = SampleDisplay.from_predictions(X, columns)
        display.figure_.canvas.draw()
        assert len(display.axes_) == 2 and display.distance_[0] < 0.2
    alone = SampleDisplay.from_predictions(np.full((9, 1), np.nan), np.r_[np.ones(8), 2.0][:, None])
    assert not alone.ax_.texts
    heap = np.r_[np.zeros(99), 3.0][:, None]
    (label,) = SampleDisplay.from_predictions(np.full((9, 1), np.nan), heap).ax_.texts
    assert label.get_text() == "real 99%"
    (label,) = SampleDisplay.from_predictions(np.r_[np.zeros(49), 3][:, None], heap).ax_.texts
    assert label.get_text() == "real 99%\nsampled 98%"
    for hidden in (None, "_hidden"):
        drawn = np.r_[np.zeros(49), 3][:, None]
        (label,) = SampleDisplay.from_predictions(drawn, heap, label=hidden).ax_.texts
        assert label.get_text() == "real 99%\n98%"


@pytest.mark.parametrize("draw", [LoadingsDisplay, TraversalDisplay])
def test_features_that_are_not_drawn_are_counted(draw):
    pca = PCA(2).fit(DIGITS)
    for max_features in (5, 64):
        display = draw.from_estimator(pca, DIGITS, max_features=max_features)
        texts = [text.get_text() for text in display.figure_.findobj(Text)]
        assert any("5 of 64 features" in text for text in texts) == (max_features == 5)
        assert any(" of 64" in text for text in texts) == (max_features == 5)


@pytest.mark.parametrize("draw", [LoadingsDisplay, TraversalDisplay])
@pytest.mark.parametrize("image_shape", [None, (8, 8)])
def test_components_that_are_not_drawn_are_counted(draw, image_shape):
    pca = PCA(10).fit(DIGITS)
    written = {"image_shape": image_shape, "max_features": 5}
    for options, said in (({}, True), ({"components": [0, 9]}, False)):
        display = draw.from_estimator(pca, DIGITS, **written, **options)
        texts = [text.get_text() for text in display.figure_.findobj(Text)]
        assert any("8 of 10" in text for text in texts) == said
        assert any(" of 10" in text for text in texts) == said
    few = draw.from_estimator(PCA(8).fit(DIGITS), DIGITS, **written)
    assert not any(" of 8" in text.get_text() for text in few.figure_.findobj(Text))


def test_many_categories_are_counted_where_their_names_have_no_room():
    kinds = np.array([f"kind {i:02d}" for i in range(12)])
    for n, said in ((12, "\n100% right, 12 categories"), (6, "\n100% right")):
        X = pd.DataFrame({"kind": np.tile(kinds[:n], 5)})
        display = ReconstructionDisplay.from_predictions(X, X, kind="values")
        assert display.ax_.get_title() == f"kind{said}"
        assert len(display.ax_.get_xticks()) == (0 if n == 12 else n)


def test_rare_amounts_are_seen_beside_zeros():
    """Few values far apart have no bars of less than a pixel, and the zeros do not hide them."""
    random = np.random.RandomState(0)
    amounts = random.choice([1672, 1740, 1887, 1902, 1977, 2258], size=(2, 500))
    X, drawn = np.where(random.uniform(size=(2, 500)) < 0.96, 0, amounts).astype(float)
    display = SampleDisplay.from_predictions(drawn[:, None], X[:, None])
    low, high = display.ax_.get_ylim()
    zeros = [(part == 0).mean() for part in (X, drawn)]
    assert low == 0 and high < min(zeros) / 10
    (label,) = display.ax_.texts
    assert label.get_text() == f"real {zeros[0]:.0%}\nsampled {zeros[1]:.0%}"
    rare = [bar for bar in display.ax_.patches[:30] if 0 < bar.get_height() < high]
    # But for those beyond the 99.5th percentile.
    assert sum(bar.get_height() for bar in rare) == pytest.approx((X > 0).mean(), abs=0.005)
    assert all(bar.get_window_extent().width > 2 for bar in rare)
    # Nothing is cut where the others can be seen.
    display = SampleDisplay.from_predictions(IRIS.data, IRIS.data)
    assert not any(axes.texts for axes in display.axes_)


@pytest.mark.parametrize(
    "options",
    [{}, {"bins": 7}, {"density": True}, {"cumulative": True}, {"log": True}, {"color": "red"}],
)
def test_options_of_histograms(options):
    display = SampleDisplay.from_predictions(IRIS.data, IRIS.data, **options)
    *filled, outline = display.ax_.patches
    n_bins = options.get("bins", 30)
    assert len(outline.get_xy()) == 2 * (n_bins + 1) and len(filled) == n_bins
    # Of the same rows, so that the two are the same.
    highest = max(bar.get_height() for bar in filled)
    assert outline.get_xy()[:, 1].max() == pytest.approx(highest)
    if "color" in options:
        assert to_hex(outline.get_edgecolor()) == "#ff0000"


@pytest.mark.parametrize(
    "options", [{"bins": 7}, {"range": (0, 9)}, {"density": True}, {"histtype": "step"}]
)
def test_columns_with_bars_have_no_bins(options):
    X = np.column_stack([IRIS.target, np.asarray(IRIS.data)[:, 0]])
    plain, display = (
        SampleDisplay.from_predictions(X, X, **given) for given in ({}, options | {"color": "red"})
    )
    heights = [[bar.get_height() for bar in d.axes_[0].patches] for d in (plain, display)]
    assert heights[0] == heights[1] and len(heights[0]) == 6
    assert to_hex(display.axes_[0].patches[-1].get_facecolor()) == "#ff0000"


def test_sample_of_a_pipeline_is_in_the_units_of_x():
    pipeline = make_pipeline(StandardScaler(), VAETransformer(2, max_epochs=0, random_state=0)).fit(
        IRIS.data
    )
    display = SampleDisplay.from_estimator(pipeline, IRIS.data, columns=[0], random_state=0)
    drawn = pipeline[0].inverse_transform(pipeline[1].sample(150, random_state=0))
    np.testing.assert_allclose(display.X_sampled, drawn[:, :1])


def test_sample_under_conditions():
    kinds = IRIS.target_names[IRIS.target]
    vae = VAETransformer(2, max_epochs=0, random_state=0).fit(IRIS.data, condition=kinds)
    display = SampleDisplay.from_estimator(vae, IRIS.data, condition=kinds, random_state=0)
    np.testing.assert_allclose(display.X_sampled, vae.sample(150, random_state=0, condition=kinds))
    few = SampleDisplay.from_estimator(
        vae, IRIS.data, condition="setosa", n_samples=20, random_state=0
    )
    np.testing.assert_allclose(few.X_sampled, vae.sample(20, random_state=0, condition="setosa"))
    other = SampleDisplay.from_estimator(
        vae, IRIS.data, condition=kinds, n_samples=400, random_state=0
    )
    assert other.X_sampled.shape == (400, 4)


def test_a_table_needs_real_rows():
    with pytest.raises(ValueError, match="real rows are needed"):
        SampleDisplay(np.zeros((3, 2))).plot()


def test_axes_of_another_number(bent):
    _, axes = plt.subplots(1, 2)
    with pytest.raises(ValueError, match="ax has 2 Axes; 3 are needed, or one, or None"):
        TraversalDisplay.from_estimator(bent, IRIS.data, ax=axes)
    _, axes = plt.subplots(1, 3)
    display = TraversalDisplay.from_estimator(bent, IRIS.data, ax=axes)
    assert list(display.axes_) == list(axes)


def test_training_curve_of_a_stream():
    vae = VAETransformer(2, random_state=0)
    for _ in range(3):
        vae.partial_fit(IRIS.data)
    display = TrainingCurveDisplay.from_estimator(vae)
    np.testing.assert_array_equal(display.epochs, [1, 2, 3])
    assert display.valid_loss is None and display.best_epoch == 3


@pytest.mark.parametrize(
    "steps",
    [
        [SimpleImputer(), StandardScaler()],
        ["passthrough"],
        [FunctionTransformer(np.log1p, np.expm1)],
        [FunctionTransformer(np.exp)],
    ],
    ids=["imputer", "passthrough", "function", "one way"],
)
def test_pipelines_whose_steps_do_not_all_go_back(steps):
    X = IRIS.data.to_numpy() / 4
    pipeline = make_pipeline(*steps, VAETransformer(2, max_epochs=0, random_state=0)).fit(X)
    reconstruction = ReconstructionDisplay.from_estimator(pipeline, X)
    # In whichever columns, rows and reconstructions are of the same ones.
    assert reconstruction.error_.max() < 0.5
    loadings = LoadingsDisplay.from_estimator(pipeline, X)
    assert len(loadings.feature_names) == 4
    TraversalDisplay.from_estimator(pipeline, X)


def test_traversal_chooses_the_columns_that_change_most():
    random = np.random.RandomState(0)
    X = random.normal(size=(500, 2)) @ random.normal(size=(2, 8)) + 5.0
    X += 0.1 * random.normal(size=X.shape)
    pca = PCA(2).fit(X)
    # Far out along the other component.
    start = pca.inverse_transform([[0.0, 30.0]])
    display = TraversalDisplay.from_estimator(pca, X, start=start, components=[0], max_features=3)
    change = np.abs(pca.components_[0]) / X.std(axis=0)
    names = [f"x{j}" for j in sorted(np.argsort(-change)[:3])]
    assert list(display.feature_names) == names


# -------------------------------------------------------------- what users get wrong


def test_loadings_are_in_units_of_the_cells_that_are_there():
    holed = IRIS.data.to_numpy().copy()
    holed[np.random.RandomState(0).uniform(size=holed.shape) < 0.5] = np.nan
    vae = VAETransformer(2, max_epochs=0, missing_values="observed", random_state=0).fit(holed)
    display = LoadingsDisplay.from_estimator(vae, holed)
    # Of a linear model a component of so many standard deviations moves x by its direction.
    T = vae.transform(holed)
    expected = vae.components_ * T.std(axis=0)[:, None] / np.nanstd(holed, axis=0)
    np.testing.assert_allclose(display.loadings, expected, atol=1e-6)
    assert np.abs(display.loadings).max() < 1
    arrows = BiplotDisplay.from_estimator(vae, holed).loadings
    np.testing.assert_allclose(arrows, expected, atol=1e-6)


@pytest.mark.parametrize("name", CALLS)
def test_axes_that_are_in_no_grid(name, bent):
    figure = plt.figure(figsize=(8, 6))
    ax = figure.add_axes((0.1, 0.2, 0.8, 0.7))
    display = CALLS[name](bent, IRIS.data, ax=ax)
    assert display.figure_ is figure
    figure.canvas.draw()
    for panel in getattr(display, "axes_", [display.ax_]):
        box = panel.get_position()
        assert min(box.x0 - 0.1, box.y0 - 0.2, 0.9 - box.x1, 0.9 - box.y1) > -1e-9


def test_several_axes_that_are_in_no_grid(bent):
    figure = plt.figure()
    axes = [figure.add_axes((0.3 * i, 0.1, 0.25, 0.8)) for i in range(3)]
    display = TraversalDisplay.from_estimator(bent, IRIS.data, ax=axes)
    assert list(display.axes_) == axes and axes[0].get_xlabel() == "column, in its s.d."


@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_axes_is_refused(name, bent):
    for ax in ("left", np.array([1.0, 2.0]), plt.figure()):
        with pytest.raises(ValueError, match="ax must be a matplotlib Axes"):
            CALLS[name](bent, IRIS.data, ax=ax)


@pytest.mark.parametrize(
    "name", ["LatentSpaceDisplay", "BiplotDisplay", "LoadingsDisplay", "TrainingCurveDisplay"]
)
def test_several_axes_where_one_is_needed(name, bent):
    with pytest.raises(ValueError, match=r"must be a matplotlib Axes or None, got an array of sh"):
        CALLS[name](bent, IRIS.data, ax=plt.subplots(1, 2)[1])


def test_infinite_targets_are_a_quantity():
    y = [1.0] * 59 + [np.inf]
    targets = targets_of(y)
    assert targets.codes is None
    np.testing.assert_array_equal(targets.values, y)
    T = np.random.RandomState(0).normal(size=(60, 2))
    display = LatentSpaceDisplay(T, y=y).plot()
    # The infinite one is grey.
    np.testing.assert_array_equal(display.scatter_[1].get_offsets(), T[59:])
    LatentSpaceDisplay(T[:, :1], y=y).plot().figure_.canvas.draw()


@pytest.mark.parametrize("y", [["a", np.nan, "b"], ["a", None, "b"], ("a", float("nan"), "b")])
def test_missing_targets_of_a_list_are_missing(y):
    targets = targets_of(y)
    assert targets.names == ["a", "b", MISSING]
    np.testing.assert_array_equal(targets.codes, [0, 2, 1])


def test_lists_of_numbers_and_bools_are_what_arrays_of_them_are():
    assert targets_of([2, 1, 2]).names == ["1", "2"]
    assert targets_of([True, False, np.nan]).names == ["False", "True", MISSING]
    np.testing.assert_array_equal(targets_of([0.5, None]).values, [0.5, np.nan])


@pytest.mark.parametrize("draw", [LatentSpaceDisplay, BiplotDisplay])
def test_options_that_say_what_y_says(draw, linear):
    X, y = IRIS.data, IRIS.target
    for option in ({"c": y}, {"color": "red"}, {"marker": "v"}):
        with pytest.raises(
            ValueError, match=rf"{next(iter(option))} is given, .* leave one of them out"
        ):
            draw.from_estimator(linear, X, y, **option)
        # Without y they are matplotlib's.
        draw.from_estimator(linear, X, **option)
    quantity = IRIS.data.iloc[:, 0]
    with pytest.raises(ValueError, match="c is given, but y says what the colours of the rows are"):
        draw.from_estimator(linear, X, quantity, c=y)
    display = draw.from_estimator(linear, X, quantity, marker="v")
    assert len(display.scatter_) == 1


@pytest.mark.parametrize(
    "draw", [LoadingsDisplay, BiplotDisplay, TraversalDisplay], ids=lambda draw: draw.__name__
)
@pytest.mark.parametrize("max_features", [0, -1, 2.5, None, True])
def test_how_many_features(draw, max_features, bent):
    with pytest.raises(ValueError, match=f"max_features must be .* at least 1, got {max_features}"):
        draw.from_estimator(bent, IRIS.data, max_features=max_features)


@pytest.mark.parametrize("draw", [ReconstructionDisplay, SampleDisplay])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "columns is empty; needed are names, positions from 0 to 3, or None"),
        (1.5, "columns has 1.5; needed are names, or positions from 0 to 3"),
        ([True, False], "columns has True"),
    ],
)
def test_columns_that_are_none(draw, columns, message, bent):
    with pytest.raises(ValueError, match=message):
        draw.from_estimator(bent, IRIS.data, columns=columns)


@pytest.mark.parametrize("n_images", [0, -2, 1.5, None])
def test_how_many_images(n_images, images):
    with pytest.raises(ValueError, match="n_images must be an int of at least 1"):
        ReconstructionDisplay.from_estimator(images, DIGITS, image_shape=(8, 8), n_images=n_images)


@pytest.mark.parametrize("n_samples", [0, 1.5, "all"])
def test_how_many_samples(n_samples, bent):
    with pytest.raises(ValueError, match="n_samples must be an int of at least 1"):
        SampleDisplay.from_estimator(bent, IRIS.data, n_samples=n_samples)


@pytest.mark.parametrize("feature_names", [3, "abcd"])
def test_feature_names_that_are_no_list(feature_names, bent):
    message = f"feature_names must be a list of names, got {feature_names!r}"
    for name in set(CALLS) - {"LatentSpaceDisplay", "ScreeDisplay", "TrainingCurveDisplay"}:
        with pytest.raises(ValueError, match=message):
            CALLS[name](bent, IRIS.data, feature_names=feature_names)


@pytest.mark.parametrize("reach", ["a", None, np.inf, np.nan, 0])
def test_how_far_a_traversal_goes(reach, bent):
    with pytest.raises(ValueError, match=f"reach must be a finite number above 0, got {reach!r}"):
        TraversalDisplay.from_estimator(bent, IRIS.data, reach=reach)


def test_predictions_of_one_dimension():
    row = np.arange(4.0)
    with pytest.raises(ValueError, match=r"X must have two dimensions, .* its shape is \(4,\)"):
        ReconstructionDisplay.from_predictions(row, row)
    with pytest.raises(ValueError, match=r"X must have two dimensions, .* its shape is \(4,\)"):
        SampleDisplay.from_predictions(row[None], row)
    with pytest.raises(ValueError, match=r"X_sampled must have two dimensions"):
        SampleDisplay.from_predictions(row, row[None])


def test_images_of_one_colour_and_of_none():
    figure, ax = plt.subplots()
    for shape in ((2, 2), (2, 2, 3)):
        one = np.full((1, 2, np.prod(shape)), 7.0)
        drawn = draw_images(ax, one, shape).get_array()
        assert np.isfinite(drawn[:2, :2]).all()
        none = np.full_like(one, np.nan)
        drawn = draw_images(ax, none, shape).get_array()
        # Each place is empty.
        assert np.ma.getmaskarray(drawn).all() if len(shape) == 2 else (drawn == 0.85).all()
        display = SampleDisplay(one[0], X=none[0], image_shape=shape).plot()
        assert len(display.axes_) == 1
        ReconstructionDisplay(none[0], one[0], image_shape=shape).plot()
    figure.canvas.draw()


def test_a_column_without_a_cell_has_no_units_and_is_not_drawn():
    X = IRIS.data.to_numpy()
    vae = VAETransformer(2, max_epochs=0, missing_values="observed", random_state=0).fit(X)
    holed = X.copy()
    holed[:, 1] = np.nan
    display = TraversalDisplay.from_estimator(vae, holed)
    assert np.isnan(display.scale).tolist() == [False, True, False, False]
    (first,) = (line for line in display.ax_.lines if line.get_label() == "−2")
    assert np.isnan(first.get_xdata()).tolist() == [False, True, False, False]
    few = TraversalDisplay.from_estimator(vae, holed, max_features=3)
    assert few.feature_names == ["x0", "x2", "x3"]
    loadings = LoadingsDisplay.from_estimator(vae, holed).loadings
    assert (loadings[:, 1] == 0).all() and np.abs(loadings).min(axis=0)[0] > 0


def test_scree_of_rows_that_do_not_differ_has_no_pca(linear):
    for rows in (IRIS.data[:1], IRIS.data.iloc[[3, 3, 3]]):
        display = ScreeDisplay.from_estimator(linear, rows)
        assert display.pca_explained_variance_ratio is display.pca_kl is None
        kl = linear.elbo(rows).kl.mean(axis=0)
        np.testing.assert_allclose(display.kl, kl)


@pytest.mark.parametrize("width", ["lw", "linewidth", "linewidths"])
def test_options_go_by_any_of_their_names(width, bent, images):
    for name in set(CALLS) - {"LoadingsDisplay"}:
        if width == "linewidths" and name not in ("LatentSpaceDisplay", "BiplotDisplay"):
            continue
        if name == "ReconstructionDisplay":
            ReconstructionDisplay.from_estimator(bent, IRIS.data, kind="error", **{width: 3})
        display = CALLS[name](bent, IRIS.data, **{width: 3})
        axes = getattr(display, "axes_", [display.ax_])
        drawn = [*axes[0].lines, *axes[0].patches, *axes[0].collections]
        assert 3 in [np.ravel(artist.get_linewidth())[0] for artist in drawn], name
    for name, option in [("TraversalDisplay", "c"), ("TrainingCurveDisplay", "c")]:
        display = CALLS[name](bent, IRIS.data, **{option: "red"})
        assert "red" in [line.get_color() for line in display.ax_.lines]
    display = ReconstructionDisplay.from_estimator(bent, IRIS.data, c="red")
    assert to_hex(display.ax_.collections[0].get_facecolor()[0]) == "#ff0000"
