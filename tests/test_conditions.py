"""p(x | condition): what rows are conditioned on, in all methods that see rows."""

import pickle
import tracemalloc
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from scipy.stats import multivariate_normal
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer
from skvae.conditions import Conditions
from skvae.likelihoods import LIKELIHOODS
from skvae.priors import PRIORS
from skvae.tables import Table
from tests.suited import suited_rows

WINE, KINDS = load_wine(return_X_y=True)
WINE = StandardScaler().fit_transform(WINE)
NAMES = np.array(["barolo", "grignolino", "barbera"])[KINDS]


def residuals_of(X, kinds):
    one_hot = np.eye(kinds.max() + 1)[kinds]
    return X - LinearRegression().fit(one_hot, X).predict(one_hot)


def linear(n_components=3, **parameters):
    return VAETransformer(n_components, max_epochs=0, random_state=0, **parameters)


def test_untrained_it_is_pca_of_what_a_regression_on_the_condition_leaves():
    left = residuals_of(WINE, KINDS)
    pca, vae = PCA(3).fit(left), linear().fit(WINE, condition=NAMES)
    T = vae.transform(WINE, NAMES)
    np.testing.assert_allclose(vae.score_samples(WINE, NAMES), pca.score_samples(left), rtol=1e-9)
    np.testing.assert_allclose(T, pca.transform(left), atol=1e-9)
    np.testing.assert_allclose(
        vae.inverse_transform(T, NAMES), pca.inverse_transform(T) + WINE - left, atol=1e-9
    )
    np.testing.assert_allclose(vae.components_, pca.components_, atol=1e-9)
    np.testing.assert_allclose(vae.explained_variance_, pca.explained_variance_)
    np.testing.assert_allclose(vae.explained_variance_ratio_, pca.explained_variance_ratio_)
    np.testing.assert_allclose(vae.singular_values_, pca.singular_values_)
    np.testing.assert_allclose(vae.mean_, WINE.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(vae.noise_variance_, pca.noise_variance_)
    np.testing.assert_allclose(vae.get_covariance(), pca.get_covariance(), atol=1e-9)


def test_untrained_one_noise_a_column_is_factor_analysis_of_the_same():
    left = residuals_of(WINE, KINDS)
    vae = linear(likelihood="diagonal_gaussian").fit(WINE, condition=NAMES)
    expected = FactorAnalysis(3).fit(left).score_samples(left)
    np.testing.assert_allclose(vae.score_samples(WINE, NAMES), expected, rtol=1e-9)


def test_any_number_of_components_that_pca_would_count():
    left = residuals_of(WINE, KINDS)
    for n_components in (0.6, "mle", None):
        expected = PCA(n_components, svd_solver="full").fit(left).n_components_
        assert linear(n_components).fit(WINE, condition=NAMES).n_components_ == expected


def test_latents_say_nothing_of_the_condition_that_a_line_could():
    T = linear().fit(WINE, condition=NAMES).transform(WINE, NAMES)
    means = [T[kind == NAMES].mean(axis=0) for kind in np.unique(NAMES)]
    assert abs(np.array(means)).max() < 1e-10
    # Without a condition they say little else.
    T = linear().fit_transform(WINE)
    assert abs(np.mean(T[NAMES == "barolo"], axis=0)).max() > 1


def test_another_condition_moves_a_row_as_the_regression_says():
    vae = linear().fit(WINE, condition=NAMES)
    T = vae.transform(WINE, NAMES)
    moved = vae.inverse_transform(T, "barolo") - vae.inverse_transform(T, "barbera")
    expected = WINE[NAMES == "barolo"].mean(axis=0) - WINE[NAMES == "barbera"].mean(axis=0)
    np.testing.assert_allclose(moved, np.tile(expected, (len(WINE), 1)), atol=1e-9)


def test_cells_that_are_missing_are_known_by_the_condition_too():
    """The score is the Gaussian marginal of the observed cells, at the mean that the condition
    gives, and the effects are those that the rows were made with."""
    random = np.random.RandomState(0)
    c = random.normal(size=(3000, 2)) @ [[1.0, 0.4], [0.0, 2.0]] + [5.0, -1.0]
    effects = random.normal(size=(6, 2))
    X = random.normal(size=(3000, 2)) @ random.normal(size=(2, 6)) + c @ effects.T
    X += 0.5 * random.normal(size=X.shape)
    X[random.uniform(size=X.shape) < 0.3] = np.nan
    vae = linear(2, missing_values="observed", n_importance_samples=10).fit(X, condition=c)
    covariance = vae.get_covariance()
    few = X[:50]
    means = vae.inverse_transform(np.zeros((50, 2)), c[:50])
    expected = [
        multivariate_normal(m[o], covariance[np.ix_(o, o)]).logpdf(x[o])
        for x, m, o in zip(few, means, ~np.isnan(few), strict=True)
        if o.any()
    ]
    found = vae.score_samples(few, c[:50])[(~np.isnan(few)).any(axis=1)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    slopes = np.linalg.lstsq(np.column_stack([np.ones(50), c[:50]]), means, rcond=None)[0][1:].T
    np.testing.assert_allclose(slopes, effects, atol=0.1)


def test_no_missing_cell_changes_nothing():
    parameters = {"max_epochs": 3, "random_state": 0}
    a = VAETransformer(2, **parameters).fit(WINE, condition=NAMES)
    b = VAETransformer(2, missing_values="observed", **parameters).fit(WINE, condition=NAMES)
    assert (a.score_samples(WINE, NAMES) == b.score_samples(WINE, NAMES)).all()


def test_the_trained_score_is_a_density_of_x_under_each_condition():
    """Two rings, of radius 1 and 3: over a grid the density integrates to one, and lies where the
    condition says."""
    random = np.random.RandomState(0)
    ring = random.randint(2, size=2000)
    angle = random.uniform(0, 2 * np.pi, size=2000)
    X = np.column_stack([np.cos(angle), np.sin(angle)]) * (1 + 2 * ring)[:, None]
    X += 0.2 * random.normal(size=X.shape)
    vae = VAETransformer(
        2, likelihood="diagonal_gaussian", prior="mixture", max_epochs=60, random_state=0
    ).fit(X, condition=ring.astype(bool))
    assert vae.best_epoch_ > 0
    side = np.linspace(-5, 5, 51)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    for condition in (False, True):
        density = np.exp(vae.score_samples(grid, np.full(len(grid), condition)))
        assert abs(density.sum() * 0.2**2 - 1) < 0.03
        radius = (density * np.linalg.norm(grid, axis=1)).sum() / density.sum()
        assert abs(radius - (1 + 2 * condition)) < 0.2
        drawn = np.linalg.norm(vae.sample(500, 0, condition=condition), axis=1)
        assert abs(np.median(drawn) - (1 + 2 * condition)) < 0.2


def test_generated_digits_are_what_they_are_to_be():
    X, y = load_digits(return_X_y=True)
    vae = VAETransformer(8, max_epochs=25, random_state=0).fit(X, condition=y.astype(str))
    wanted = np.repeat(np.arange(10), 50)
    drawn = vae.sample(500, random_state=0, condition=wanted.astype(str), noise=False)
    classifier = LogisticRegression(max_iter=2000).fit(X, y)
    assert np.mean(classifier.predict(drawn) == wanted) > 0.9


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_law_takes_a_condition(name):
    X = suited_rows(name, 150)
    c = np.arange(150.0)
    vae = VAETransformer(2, likelihood=name, max_epochs=1, random_state=0).fit(X, condition=c)
    assert np.isfinite(vae.score_samples(X, c)).all()
    assert vae.transform(X, c).shape == (150, 2)
    assert vae.sample(4, 0, condition=c[:4]).shape == (4, X.shape[1])
    assert vae.elbo(X, condition=c).elbo.shape == (150,)
    assert np.isfinite(vae.explained_variance_).all()


@pytest.mark.parametrize("name", PRIORS)
def test_every_prior_takes_a_condition(name):
    vae = VAETransformer(2, prior=name, max_epochs=2, random_state=0).fit(WINE, condition=NAMES)
    assert np.isfinite(vae.score(WINE, condition=NAMES))
    assert vae.sample(3, 0, condition="barolo").shape == (3, WINE.shape[1])


def test_a_condition_helps_where_it_says_something():
    train, test = np.arange(178) % 2 == 0, np.arange(178) % 2 == 1
    told = linear().fit(WINE[train], condition=NAMES[train])
    untold = linear().fit(WINE[train])
    assert told.score(WINE[test], condition=NAMES[test]) > untold.score(WINE[test]) + 1


def test_one_that_is_the_same_for_all_rows_says_nothing():
    vae = VAETransformer(2, max_epochs=3, random_state=0)
    score = clone(vae).fit(WINE, condition=["a"] * 178).score(WINE, condition=["a"] * 178)
    # To rounding, which a column more of none can change.
    assert score == pytest.approx(clone(vae).fit(WINE).score(WINE), rel=1e-9)


def test_what_did_not_vary_in_the_fit_has_no_known_effect():
    vae = linear().fit(WINE, condition=np.full(178, 3.0))
    assert vae.transform(WINE, np.full(178, 3.0)).shape == (178, 3)
    with pytest.raises(ValueError, match="condition: Column 0 has a value at row 5 that the model"):
        vae.transform(WINE, np.where(np.arange(178) == 5, 4.0, 3.0))
    # A category that only rows of no weight had.
    weight = (NAMES != "barolo").astype(float)
    vae = linear().fit(WINE, sample_weight=weight, condition=NAMES)
    kept = weight > 0
    expected = linear().fit(WINE[kept], condition=NAMES[kept])
    np.testing.assert_allclose(
        vae.transform(WINE[kept], NAMES[kept]),
        expected.transform(WINE[kept], NAMES[kept]),
        atol=1e-9,
    )
    with pytest.raises(ValueError, match="cannot know the effect of"):
        vae.sample(condition="barolo")


def test_labels_that_are_ints_are_told():
    with pytest.warns(UserWarning, match="holds 3 different integers, taken as a number"):
        linear().fit(WINE, condition=KINDS)
    # Two are the same by either, and floats are meant.
    linear().fit(WINE, condition=KINDS > 0)
    linear().fit(WINE, condition=(KINDS > 0).astype(int))
    linear().fit(WINE, condition=KINDS.astype(float))


def test_rows_have_to_be_many_more_than_what_they_are_conditioned_on():
    noise = np.random.RandomState(0).normal(size=(178, 176))
    with pytest.warns(UserWarning, match=r"40 independent column.s., and 178 rows are few"):
        linear().fit(WINE, condition=noise[:, :40])
    with pytest.raises(ValueError, match="177 rows can be told by these exactly"):
        linear().fit(WINE[:177], condition=noise[:177])


def test_what_nearly_depends_on_another_is_not_lost():
    """Begin and end of a time, in nanoseconds, say how long it was."""
    pd = pytest.importorskip("pandas")
    random = np.random.RandomState(0)
    seconds = random.randint(60, 3600, 500)
    begin = pd.Timestamp("2012-01-01") + pd.to_timedelta(
        random.randint(0, 3 * 10**8, 500), unit="s"
    )
    end = begin + pd.to_timedelta(seconds, unit="s")
    X = random.normal(size=(500, 3))
    X[:, 0] += 3 * (seconds - seconds.mean()) / seconds.std()
    scores = []
    for condition in (
        pd.DataFrame({"begin": begin, "end": end}),
        pd.DataFrame({"begin": begin, "lasted": seconds}),
    ):
        scores.append(linear(1).fit(X, condition=condition).score(X, condition=condition))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-6)


def test_a_dict_may_have_values_between_those_of_the_fit():
    pd = pytest.importorskip("pandas")
    days = pd.date_range("2020-01-01", periods=178)
    vae = linear().fit(WINE, condition=pd.DataFrame({"age": np.arange(178), "when": days}))
    drawn = vae.sample(2, 0, condition={"age": 41.5, "when": "2020-02-03T12:00"})
    one = pd.DataFrame({"age": [41.5], "when": [pd.Timestamp("2020-02-03T12:00")]})
    np.testing.assert_allclose(drawn, vae.sample(2, 0, condition=one))


def test_one_condition_serves_all_rows_but_those_of_a_fit():
    vae = linear().fit(WINE, condition=NAMES)
    for method in (vae.transform, vae.score_samples):
        np.testing.assert_array_equal(
            method(WINE, condition="barbera"), method(WINE, condition=["barbera"] * 178)
        )
    with pytest.raises(ValueError, match=r"1 row.s., one is needed for each of 178"):
        linear().fit(WINE, condition="barbera")


def test_a_row_is_drawn_for_each_condition():
    pd = pytest.importorskip("pandas")
    vae = linear(missing_values="observed").fit(WINE, condition=NAMES)
    for given in (None, {0: 1.0}):
        drawn = vae.sample(random_state=0, given=given, condition=NAMES)
        np.testing.assert_array_equal(drawn, vae.sample(178, 0, given=given, condition=NAMES))
    for condition in (list(NAMES[:7]), pd.Series(NAMES[:7]), pd.DataFrame({"kind": NAMES[:7]})):
        assert vae.sample(condition=condition).shape == (7, 13)
    for one in ("barolo", ["barolo"], {"0": "barolo"}):
        assert vae.sample(condition=one).shape == (1, 13)
        assert vae.sample(5, condition=one).shape == (5, 13)
    for n_samples in (2, 5):
        with pytest.raises(ValueError, match=rf"n_samples={n_samples}, but condition has 7 row"):
            vae.sample(n_samples, condition=NAMES[:7])
    with pytest.raises(ValueError, match=r"condition has 0 row.s."):
        vae.sample(condition=[])
    with pytest.raises(ValueError, match="n_samples must be an int of at least 1, got 0"):
        vae.sample(0, condition=NAMES)
    with pytest.raises(ValueError, match="fitted with one"):
        vae.sample()
    untold = linear().fit(WINE)
    assert untold.sample().shape == (1, 13)
    with pytest.raises(ValueError, match="fitted without"):
        untold.sample(condition=NAMES)
    with pytest.raises(ValueError, match=r"second argument.*; y, which they do not take"):
        untold.transform(WINE, KINDS)


def test_columns_are_uncorrelated_whatever_depends_on_what():
    random = np.random.RandomState(0)
    x = random.normal(size=200)
    kinds = random.choice(["a", "b", "c"], 200)
    given = np.column_stack([x, 2 * x + 1, kinds]).astype(object)
    given[:, :2] = given[:, :2].astype(float)
    weight = random.randint(1, 4, size=200).astype(float)
    for weights in (None, weight):
        columns = Conditions(given, 200, weights).encode(given, 200)
        assert columns.shape == (200, 3)
        np.testing.assert_allclose(np.average(columns, axis=0, weights=weights), 0, atol=1e-12)
        np.testing.assert_allclose(
            np.cov(columns.T, aweights=weights, ddof=0), np.eye(3), atol=1e-9
        )


def test_many_rows_of_many_categories_take_little_beside_the_columns():
    random = np.random.RandomState(0)
    kinds = np.array([f"kind {i}" for i in range(400)])[random.randint(400, size=30_000)]
    given = np.empty((30_000, 3), dtype=object)
    given[:, 0], given[:, 1], given[:, 2] = kinds, 5 + random.normal(size=30_000), 3.0
    weight = random.randint(0, 3, size=30_000).astype(float)
    weight[:20_000] *= np.arange(20_000) > 15_000
    tracemalloc.start()
    try:
        conditions = Conditions(given, 30_000, weight)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * 8 * 30_000 * 400
        tracemalloc.reset_peak()
        columns = conditions.encode(given, 30_000)
        assert tracemalloc.get_traced_memory()[1] < 2.2 * columns.nbytes
    finally:
        tracemalloc.stop()
    assert columns.shape == (30_000, 400)
    np.testing.assert_allclose(np.average(columns, axis=0, weights=weight), 0, atol=1e-9)
    covariance = np.cov(columns.T, aweights=weight, ddof=0)
    np.testing.assert_allclose(covariance, np.eye(400), atol=1e-9)
    # A row is named by its place among all, and only if it counts.
    given[[7, 29_998], 2] = 4.0
    with pytest.raises(ValueError, match="value at row 29998 that the model"):
        conditions.encode(given, 30_000, counted=np.arange(30_000) > 7)


def test_weights_are_repetition():
    weight = np.arange(178) % 3
    repeated = np.repeat(np.arange(178), weight)
    a = linear().fit(WINE, sample_weight=weight, condition=NAMES)
    b = linear().fit(WINE[repeated], condition=NAMES[repeated])
    np.testing.assert_allclose(
        a.score_samples(WINE, NAMES), b.score_samples(WINE, NAMES), rtol=1e-9
    )
    np.testing.assert_allclose(a.transform(WINE, NAMES), b.transform(WINE, NAMES), atol=1e-8)
    a = linear(likelihood="student_t").fit(WINE, sample_weight=weight, condition=NAMES)
    assert np.isfinite(a.score(WINE, condition=NAMES))


def test_all_forms_of_one_condition_are_one():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    expected = linear().fit(WINE, condition=NAMES).score_samples(WINE, NAMES)
    for condition in (
        list(NAMES),
        NAMES[:, None],
        pd.Series(NAMES, name="kind"),
        pd.Series(pd.Categorical(NAMES)),
        pd.DataFrame({"kind": NAMES}),
        pl.Series("kind", NAMES),
        pl.DataFrame({"kind": NAMES}),
    ):
        found = linear().fit(WINE, condition=condition).score_samples(WINE, condition)
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_all_forms_of_one_date_are_one():
    """A column of dates says what the days since some day say as numbers."""
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    days = np.random.RandomState(0).randint(0, 9000, size=178)
    vae = linear().fit(WINE, condition=days.astype(float))
    expected = vae.score_samples(WINE, days.astype(float))
    dates = np.datetime64("2001-01-01") + days
    stamps = pd.Series(dates.astype("datetime64[ns]"))
    zoned = stamps.dt.tz_localize("UTC")
    forms = {
        "array": dates,
        "column": dates[:, None],
        "seconds": dates.astype("datetime64[s]"),
        "tens of seconds": dates.astype("datetime64[10s]"),
        "list": list(dates),
        "calendar": dates.tolist(),
        "datetimes": dates.astype("datetime64[s]").tolist(),
        "stamps": list(stamps),
        "zoned": list(zoned),
        "another zone": list(zoned.dt.tz_convert("Asia/Tokyo")),
        "index": pd.DatetimeIndex(stamps),
        "series": stamps,
        "polars": pl.Series("day", dates),
        "durations": dates - dates.min(),
        "list of durations": (dates - dates.min()).tolist(),
    }
    for form, condition in forms.items():
        vae = linear().fit(WINE, condition=condition)
        found = vae.score_samples(WINE, condition)
        np.testing.assert_allclose(found, expected, rtol=1e-7, err_msg=form)
    # Whatever the form in the fit, and one for all rows too.
    for fitted in ("array", "calendar", "series", "polars"):
        vae = linear().fit(WINE, condition=forms[fitted])
        for form in ("array", "seconds", "calendar", "stamps", "series", "polars"):
            found = vae.score_samples(WINE, forms[form])
            np.testing.assert_allclose(found, expected, rtol=1e-7, err_msg=f"{fitted}, {form}")
        one = vae.transform(WINE, dates[0])
        np.testing.assert_allclose(one, vae.transform(WINE, np.repeat(dates[:1], 178)), atol=1e-9)
    # Beside what is no date.
    mixed = np.empty((178, 2), dtype=object)
    mixed[:, 0], mixed[:, 1] = dates.tolist(), NAMES
    vae = linear().fit(WINE, condition=mixed)
    frame = pd.DataFrame({"day": stamps, "kind": NAMES})
    other = linear().fit(WINE, condition=frame).score_samples(WINE, frame)
    np.testing.assert_allclose(vae.score_samples(WINE, mixed), other, rtol=1e-7)


def test_dates_of_no_sense_are_told():
    dates = np.datetime64("2001-01-01") + np.arange(178)
    vae = linear().fit(WINE, condition=dates)
    missing = dates.copy()
    missing[7] = np.datetime64("NaT")
    naive, zoned = datetime(2001, 1, 1), datetime(2001, 1, 1, tzinfo=UTC)
    for condition, message in (
        (missing, "Column 0 is missing at row 7"),
        (list(missing), "Column 0 is missing at row 7"),
        (np.arange(178.0), "Column 0 held dates in fit .* and holds numbers now"),
        (dates - dates[0], "held dates in fit .* and holds durations now"),
        ([naive] * 100 + [zoned] * 78, "mixes dates with a time zone and without"),
        ([zoned] * 178, "and holds dates with a time zone now"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            vae.transform(WINE, condition)


def test_the_names_of_conditions_are_kept():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    frame = pd.DataFrame({"kind": NAMES, "alcohol": WINE[:, 0]})
    vae = linear().fit(WINE, condition=frame)
    for condition in (frame, pl.DataFrame(frame)):
        assert linear().fit(WINE, condition=condition).condition_names_.tolist() == list(frame)
    assert linear().fit(WINE, condition=frame["kind"]).condition_names_.tolist() == ["kind"]
    # Of a refit without names, or without a condition, those of the first are gone.
    for condition in (NAMES, pd.Series(NAMES), pl.Series(NAMES), pd.DataFrame(WINE[:, :2]), None):
        again = linear().fit(WINE, condition=frame).fit(WINE, condition=condition)
        assert not hasattr(again, "condition_names_")
    with pytest.raises(ValueError, match="one is needed for each"):
        vae.fit(WINE, condition=frame[:5])
    assert vae.condition_names_.tolist() == list(frame)


def test_a_dict_names_the_cells_of_a_condition_for_all():
    pd = pytest.importorskip("pandas")
    condition = pd.DataFrame({"kind": NAMES, "alcohol": WINE[:, 0]})
    vae = linear().fit(WINE[:, 1:], condition=condition)
    drawn = vae.sample(5, 0, condition={"alcohol": 1.5, "kind": "barolo"})
    one = pd.DataFrame({"kind": ["barolo"], "alcohol": [1.5]})
    assert (drawn == vae.sample(5, 0, condition=one)).all()
    with pytest.raises(ValueError, match=r"needs .'kind', 'alcohol'.*one each"):
        vae.sample(5, condition={"kind": "barolo"})
    turned = vae.transform(WINE[:, 1:], condition[["alcohol", "kind"]])
    np.testing.assert_array_equal(turned, vae.transform(WINE[:, 1:], condition))
    with pytest.raises(ValueError, match=r"in fit they were .'kind', 'alcohol'"):
        vae.transform(WINE[:, 1:], condition.rename(columns={"kind": "sort"}))


def test_messages_name_what_is_wrong():
    vae = linear().fit(WINE, condition=NAMES)
    for condition, message in (
        (None, "fitted with one"),
        (NAMES[:3], "3 row.s., one is needed for each of 178"),
        (["rose"] * 178, "condition: Column 0 holds 'rose' at row 0"),
        ([None] * 178, "condition: Column 0 is missing at row 0"),
        (np.column_stack([NAMES, NAMES]), "2 column.s.; in fit it had 1"),
        (np.ones(178), "condition: Column 0 held strings in fit"),
        (np.zeros((2, 2, 2)), "3 dimensions"),
        ([], "0 row.s., one is needed for each of 178"),
        (csr_array(np.eye(178)), "sparse matrix; give it dense"),
    ):
        for method in (vae.transform, vae.score_samples, vae.fit_transform):
            if method == vae.fit_transform and condition is None:
                continue
            if method == vae.fit_transform and message.startswith(("condition: Column 0 h", "2")):
                continue
            with pytest.raises((ValueError, TypeError), match=message):
                method(WINE, condition=condition)
    with pytest.raises(ValueError, match="fitted without"):
        linear().fit(WINE).transform(WINE, NAMES)
    with pytest.raises(ValueError, match="infinite at row 1"):
        linear().fit(WINE, condition=np.where(np.arange(178) == 1, np.inf, 0.0))
    with pytest.raises(ValueError, match="becomes 5000 columns"):
        linear().fit(np.ones((5000, 2)), condition=np.arange(5000).astype(str))
    # None of these lost the fit.
    assert vae.transform(WINE, NAMES).shape == (178, 3)


def test_components_are_directions_at_the_mean_condition():
    """Of a trained model: the Jacobian of `inverse_transform` at the latent origin."""
    c = WINE[:, 12]
    vae = VAETransformer(2, max_epochs=40, random_state=0).fit(WINE[:, :12], condition=c)
    assert vae.best_epoch_ > 0
    step = 1e-4 * np.eye(2)
    mean = np.full(2, c.mean())
    moved = vae.inverse_transform(step, mean) - vae.inverse_transform(-step, mean)
    expected = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    np.testing.assert_allclose(vae.components_, expected, atol=1e-5)


def test_it_is_routed_through_pipelines_and_searches():
    with config_context(enable_metadata_routing=True):
        vae = linear().set_fit_request(condition=True).set_transform_request(condition=True)
        vae = vae.set_score_request(condition=True).set_inverse_transform_request(condition=True)
        pipeline = make_pipeline(StandardScaler(), vae).fit(WINE, condition=NAMES)
        T = pipeline.transform(WINE, condition=NAMES)
        np.testing.assert_allclose(T, linear().fit_transform(WINE, condition=NAMES), atol=1e-8)
        rows = pipeline.inverse_transform(T, condition=NAMES)
        assert np.mean((rows - WINE) ** 2) < np.mean((residuals_of(WINE, KINDS)) ** 2)
        classifier = make_pipeline(vae, LogisticRegression()).fit(WINE, KINDS, condition=NAMES)
        assert classifier.predict(WINE, condition=NAMES).shape == (178,)
        folds = KFold(3, shuffle=True, random_state=0)
        search = GridSearchCV(vae, {"n_components": [1, 3]}, cv=folds).fit(WINE, condition=NAMES)
        assert search.best_params_ == {"n_components": 3}


def test_a_stream_goes_on_under_the_conditions_of_its_first_call():
    random = np.random.RandomState(0)
    vae = VAETransformer(2, random_state=0)
    parts = np.array_split(random.permutation(178), 3)
    for part in parts:
        vae.partial_fit(WINE[part], condition=NAMES[part])
    assert np.isfinite(vae.score(WINE, condition=NAMES))
    total = residuals_of(WINE, KINDS).var(axis=0, ddof=1).sum()
    assert 0.3 * total < vae.explained_variance_.sum() < total
    with pytest.raises(ValueError, match="'rose'"):
        vae.partial_fit(WINE, condition=["rose"] * 178)
    with pytest.raises(ValueError, match="fitted with one"):
        vae.partial_fit(WINE)


def test_a_warm_start_goes_on_and_a_copy_is_the_same():
    vae = VAETransformer(2, max_epochs=2, warm_start=True, random_state=0)
    vae.fit(WINE, condition=NAMES).fit(WINE, condition=NAMES)
    copy = pickle.loads(pickle.dumps(vae))
    assert (copy.transform(WINE, NAMES) == vae.transform(WINE, NAMES)).all()


def test_rows_do_not_depend_on_those_beside_them():
    vae = VAETransformer(2, max_epochs=2, random_state=0).fit(WINE, condition=NAMES)
    order = np.random.RandomState(0).permutation(178)
    scores = vae.score_samples(WINE, NAMES)
    np.testing.assert_allclose(vae.score_samples(WINE[order], NAMES[order]), scores[order])
    np.testing.assert_allclose(vae.score_samples(WINE[:1], NAMES[:1]), scores[:1])
    details = vae.score_details(WINE[:5], condition=NAMES[:5])
    np.testing.assert_allclose(details.log_prob, scores[:5])


def test_between_rows_and_draws_of_their_posterior():
    vae = VAETransformer(2, max_epochs=2, random_state=0).fit(WINE, condition=NAMES)
    T = vae.transform(WINE, NAMES)
    between = vae.interpolate(WINE[:3], WINE[3:6], 4, condition=NAMES[:3])
    np.testing.assert_allclose(between[:, 0], vae.inverse_transform(T[:3], NAMES[:3]))
    decoded = vae.sample_posterior(WINE[:3], 2000, 0, decode=True, condition=NAMES[:3])
    assert decoded.shape == (3, 2000, WINE.shape[1])
    drawn = vae.sample_posterior(WINE[:3], 2000, 0, condition=NAMES[:3])
    np.testing.assert_allclose(drawn.mean(axis=1), T[:3], atol=0.1)


def test_given_cells_and_a_condition():
    """Against the Gaussian conditional of the linear model."""
    vae = linear(4, missing_values="observed").fit(WINE, condition=NAMES)
    drawn = vae.sample(4000, 0, given={0: 2.0}, condition="barolo")
    assert (drawn[:, 0] == 2.0).all()
    covariance = vae.get_covariance()
    mean = WINE[NAMES == "barolo"].mean(axis=0)
    expected = mean + covariance[:, 0] / covariance[0, 0] * (2.0 - mean[0])
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=0.08)
    both = vae.sample(200, 0, given={0: 2.0}, condition=np.repeat(["barolo", "barbera"], 100))
    assert both[:100].mean() != both[100:].mean()
    holes = WINE[:5].copy()
    holes[:, 3] = np.nan
    filled = vae.impute(holes, condition=NAMES[:5])
    other = vae.impute(holes, condition=["barbera"] * 5)
    assert (abs(filled - other)[:, 3] > 0.01).all()


def test_given_cells_under_a_condition_for_each_row(monkeypatch):
    """Of many conditions each has fewer latents to choose from, and its row still is a draw of the
    Gaussian conditional."""
    random = np.random.RandomState(0)
    c = random.normal(size=3000)
    X = random.normal(size=(3000, 2)) @ [[1, 1, -1], [0, 1, 1]] + np.outer(c, [1.0, -2.0, 0.5])
    X += 0.5 * random.normal(size=X.shape)
    vae = linear(2, missing_values="observed").fit(X, condition=c)
    covariance, means = vae.get_covariance(), vae.inverse_transform(np.zeros((3000, 2)), c)
    weights = covariance[1:, 0] / covariance[0, 0]
    left = covariance[1:, 1:] - np.outer(weights, covariance[0, 1:])
    drawn, original = [], type(vae.net_.module_).latents_given

    def counted(module, x, *c, n_draws):
        drawn.append(len(x) * n_draws)
        return original(module, x, *c, n_draws=n_draws)

    monkeypatch.setattr(type(vae.net_.module_), "latents_given", counted)
    for n_rows, n_distinct in ((1200, 1200), (1200, 7)):
        told = c[np.arange(n_rows) % n_distinct]
        rows = vae.sample(n_rows, 0, given={0: 1.5}, condition=told)
        assert (rows[:, 0] == 1.5).all()
        at = means[np.arange(n_rows) % n_distinct]
        errors = rows[:, 1:] - at[:, 1:] - np.outer(1.5 - at[:, 0], weights)
        unit = np.linalg.solve(np.linalg.cholesky(left), errors.T)
        np.testing.assert_allclose(unit.mean(axis=1), 0, atol=4 / n_rows**0.5)
        np.testing.assert_allclose(np.cov(unit), np.eye(2), atol=6 / n_rows**0.5)
        # Whatever the condition.
        assert abs(np.corrcoef(told, unit)[0, 1:]).max() < 4 / n_rows**0.5
    assert drawn and sum(drawn) == 1200 * 500 + 7 * 10_000


def test_a_network_of_the_users_own_is_called_with_the_conditions():
    sizes = []

    def network(n_in, n_out):
        sizes.append((n_in, n_out))
        return torch.nn.Sequential(torch.nn.Linear(n_in, 8), torch.nn.Linear(8, n_out))

    VAETransformer(2, network=network, max_epochs=1).fit(WINE, condition=NAMES)
    assert sizes == [(13 + 2, 4), (2 + 2, 13)]


@pytest.mark.parametrize("last", ["9999-01-01", "1600-01-01"])
def test_dates_beyond_nanoseconds_do_not_wrap(last):
    days = np.datetime64("2020-01-01", "ns") + np.arange(59) * np.timedelta64(1, "D")
    given = np.empty(60, dtype=object)
    given[:] = [*days, np.datetime64(last, "D")]
    ticks = Table(given[:, None], dates_of_arrays=True).encode(given[:, None])[:, 0]
    # In whatever unit: the last is as many days off as it is.
    days_off = (np.datetime64(last) - np.datetime64("2020-01-01")) / np.timedelta64(1, "D")
    assert (ticks[-1] - ticks[0]) / (ticks[1] - ticks[0]) == pytest.approx(days_off)


def test_integers_of_polars_are_told_to_look_like_labels():
    pl = pytest.importorskip("polars")
    given = pl.Series([1, 2, 3, 4] * 44 + [1, 2])
    with pytest.warns(UserWarning, match="4 different integers"):
        vae = linear().fit(WINE, condition=given)
    np.testing.assert_allclose(
        vae.transform(WINE, condition=given),
        linear()
        .fit(WINE, condition=given.to_numpy().astype(float))
        .transform(WINE, condition=given.to_numpy().astype(float)),
    )
