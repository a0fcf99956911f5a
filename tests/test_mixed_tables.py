"""Tables of mixed columns through the estimators: DataFrames in, DataFrames out."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skvae import VAEImputer, VAETransformer
from skvae.likelihoods import Categorical, Gaussian, QuantileGaussian

pd = pytest.importorskip("pandas")

NAMES = ["city", "size", "sold", "price", "rooms", "built", "grade"]
OBSERVED = {"missing_values": "observed"}


def table(n=300, seed=0):
    """Flats: price grows with size, size with the city's rank."""
    random = np.random.RandomState(seed)
    z = random.normal(size=n)
    city = np.array(["Bern", "Rome", "Oslo"])[
        np.digitize(z + 0.3 * random.normal(size=n), [-0.5, 0.5])
    ]
    rooms = np.clip(np.round(3 + z + 0.3 * random.normal(size=n)), 1, 8).astype("int32")
    days = np.round(9000 + 2000 * z + 500 * random.normal(size=n)).astype(int)
    return pd.DataFrame(
        {
            "city": city,
            "size": np.exp(4 + 0.4 * z + 0.1 * random.normal(size=n)).astype("float32"),
            "sold": z + 0.5 * random.normal(size=n) > 0,
            "price": np.where(z < -0.3, 0.0, np.exp(z + 0.2 * random.normal(size=n))),
            "rooms": rooms,
            "built": pd.to_datetime(days, unit="D").astype("datetime64[us]"),
            "grade": pd.Categorical.from_codes(
                np.digitize(z, [-0.4, 0.6]), ["low", "middle", "high", "never"], ordered=True
            ),
        }
    )


def model(k=2, **parameters):
    settings = {"likelihood": "auto", "max_epochs": 3, "random_state": 0} | parameters
    return VAETransformer(k, **settings)


def with_holes(frame, part=0.15, seed=1):
    """The frame with missing cells in all columns, ints and bools nullable."""
    holes = np.random.RandomState(seed).uniform(size=frame.shape) < part
    frame = frame.astype({"rooms": "Int32", "sold": "boolean"})
    for j, name in enumerate(frame.columns):
        frame[name] = frame[name].mask(holes[:, j])
    return frame


def both(frame):
    """The frame as pandas and as polars have it."""
    pl = pytest.importorskip("polars")
    grades = pl.Enum(["low", "middle", "high", "never"])
    dtypes = [pl.String, pl.Float32, pl.Boolean, pl.Float64, pl.Int32, pl.Datetime("us"), grades]
    columns = {
        name: pl.Series([None if pd.isna(cell) else cell for cell in frame[name]], dtype=dtype)
        for name, dtype in zip(NAMES, dtypes, strict=True)
    }
    return {"pandas": frame, "polars": pl.DataFrame(columns)}


@pytest.mark.parametrize("library", ["pandas", "polars"])
class TestFrames:
    def test_rows_come_back_as_they_were(self, library):
        frame = both(table())[library]
        vae = model().fit(frame)
        T = vae.transform(frame)
        assert T.shape == (300, 2)
        for rows in (vae.sample(50, random_state=0), vae.inverse_transform(T)):
            assert type(rows) is type(frame)
            assert list(rows.columns) == NAMES
            assert list(rows.dtypes) == list(frame.dtypes)
        assert np.isfinite(vae.score_samples(frame)).all()

    def test_draws_are_like_the_rows(self, library):
        frame = both(table(2000))[library]
        draws = model(max_epochs=0).fit(frame).sample(4000, random_state=0)
        rows, draws = (pd.DataFrame({c: f[c].to_numpy() for c in NAMES}) for f in (frame, draws))
        # Atoms, whole numbers, bounds and shares.
        assert (draws["price"] == 0).mean() == pytest.approx((rows["price"] == 0).mean(), abs=0.05)
        assert draws["price"].between(0, rows["price"].max()).all()
        assert draws["rooms"].between(1, 8).all()
        for name in ("city", "sold", "grade"):
            shares = (f[name].value_counts(normalize=True) for f in (rows, draws))
            assert next(shares).sub(next(shares), fill_value=0).abs().max() < 0.06
        assert abs(rows["built"].median() - draws["built"].median()) < pd.Timedelta(days=200)
        assert (draws["built"].dt.normalize() == draws["built"]).all()

    def test_missing_cells_are_filled_by_their_kind(self, library):
        whole = table()
        holed = with_holes(whole)
        frame = both(holed)[library]
        vae = model(**OBSERVED).fit(frame)
        assert np.isfinite(vae.score_samples(frame)).all()
        filled = vae.impute(frame)
        assert list(filled.dtypes) == list(frame.dtypes)
        for name in NAMES:
            was, now = (pd.Series(f[name].to_list()) for f in (frame, filled))
            seen = holed[name].notna().to_numpy()
            assert not now.isna().any()
            pd.testing.assert_series_equal(was[seen], now[seen], check_dtype=False)
        # Better than the most frequent category.
        lost = holed["grade"].isna().to_numpy()
        right = np.array(filled["grade"].to_list())[lost] == whole["grade"].to_numpy()[lost]
        assert right.mean() > 0.6

    def test_rows_given_some_cells(self, library):
        frame = both(table(1000))[library]
        vae = model(**OBSERVED).fit(frame)
        given = vae.sample(400, random_state=0, given={"city": "Oslo", "rooms": 5})
        assert set(given["city"].to_list()) == {"Oslo"}
        assert set(given["rooms"].to_list()) == {5}
        high = np.mean(np.array(given["grade"].to_list()) == "high")
        overall = np.mean(np.array(frame["grade"].to_list()) == "high")
        assert high > overall + 0.4

    def test_imputer(self, library):
        holed = with_holes(table())
        frame = both(holed)[library]
        filled = VAEImputer(random_state=0, n_draws=50, add_indicator=True).fit_transform(frame)
        assert type(filled) is type(frame)
        assert list(filled.columns[:7]) == NAMES
        assert list(filled.columns[7:]) == [f"missingindicator_{name}" for name in NAMES]
        assert list(filled.dtypes[:7]) == list(frame.dtypes)
        assert sum(pd.Series(filled[name].to_list()).isna().sum() for name in NAMES) == 0
        seen = holed["price"].notna().to_numpy()
        np.testing.assert_array_equal(
            filled["price"].to_numpy()[seen], frame["price"].to_numpy()[seen]
        )


class TestLaws:
    def test_auto_goes_by_what_columns_are(self):
        vae = model(max_epochs=0).fit(table())
        assert vae.likelihood_ == [
            ("quantile_gaussian", ["size", "price", "rooms", "built"]),
            ("categorical", ["city", "sold", "grade"]),
        ]
        assert [type(law) for law in vae.net_.module_.likelihood.laws] == [
            QuantileGaussian,
            Categorical,
        ]

    def test_auto_of_an_array_is_one_law_as_before(self):
        X = table()[["size", "price"]].to_numpy()
        assert model(max_epochs=0).fit(X).likelihood_ == "gaussian"

    def test_given_laws(self):
        numbers = ["size", "price", "rooms", "built"]
        laws = [("gaussian", numbers), ("bernoulli", "sold"), ("categorical", ["city", "grade"])]
        vae = model(likelihood=laws).fit(table())
        assert type(vae.net_.module_.likelihood.laws[0]) is Gaussian
        assert list(vae.sample(5).dtypes) == list(table().dtypes)

    def test_a_law_of_numbers_for_categories_is_refused(self):
        laws = [("gaussian", ["size", "city"]), ("categorical", ["sold", "grade"])]
        rest = table().drop(columns=["price", "rooms", "built"])
        with pytest.raises(ValueError, match="column 'city', which holds categories, to Gaussian"):
            model(likelihood=laws).fit(rest)

    def test_one_law_stays_pcas(self):
        frame = table()[["size", "price"]].astype(float)
        vae = model(1, likelihood="gaussian").fit(frame)
        assert type(vae.inverse_transform(vae.transform(frame))) is np.ndarray
        with pytest.raises(
            ValueError, match=r"could not convert[\s\S]*likelihood='auto' takes tables"
        ):
            model(likelihood="gaussian").fit(table())
        with pytest.raises(ValueError, match=r"of 7 columns that make [0-9]+ features. None takes"):
            model(40).fit(table())
        for cells in (np.array([["a", "b"]] * 9), np.array([["a", "b"]] * 9, dtype=object)):
            with pytest.raises(ValueError, match=r"'auto' takes.*DataFrame or with categorical_f"):
                model().fit(cells)

    @pytest.mark.parametrize("listed", [["rooms"], [4], [False] * 4 + [True, False, False]])
    def test_categorical_features(self, listed):
        vae = model(categorical_features=listed, max_epochs=0).fit(table())
        assert ("categorical", ["city", "sold", "rooms", "grade"]) in vae.likelihood_
        assert list(vae.sample(5).dtypes) == list(table().dtypes)

    def test_an_array_with_categories(self):
        X = table()[["city", "size", "rooms"]].to_numpy(dtype=object)
        vae = model(categorical_features=[0]).fit(X)
        draws = vae.sample(20, random_state=0)
        assert draws.dtype == object
        assert set(draws[:, 0]) <= {"Bern", "Rome", "Oslo"}
        assert vae.transform(X).shape == (300, 2)
        with pytest.raises(ValueError, match="categorical_features need likelihood='auto'"):
            model(likelihood="gaussian", categorical_features=[0]).fit(X)

    def test_same_bits_and_pickles(self):
        frame = table()
        first, second = (model().fit(frame) for _ in range(2))
        np.testing.assert_array_equal(first.transform(frame), second.transform(frame))
        other = pickle.loads(pickle.dumps(first))
        pd.testing.assert_frame_equal(
            other.sample(9, random_state=1), first.sample(9, random_state=1)
        )
        assert clone(first).get_params()["likelihood"] == "auto"

    def test_rows_below_one_another(self):
        frame = table()
        vae = model().fit(frame)
        path = vae.interpolate(frame[:2], frame[2:4], n_steps=3)
        ends = vae.inverse_transform(vae.transform(frame[:4]))
        pd.testing.assert_frame_equal(
            path.iloc[[0, 3, 2, 5]].reset_index(drop=True), ends, check_exact=False, rtol=1e-5
        )
        draws = vae.sample_posterior(frame[:2], n_draws=3, random_state=0, decode=True)
        assert draws.shape == (6, 7)
        assert list(draws.dtypes) == list(frame.dtypes)

    def test_index_and_names_that_are_no_strings(self):
        frame = table().set_axis(range(7), axis=1).set_axis([5] * 300)
        vae = model(max_epochs=1, **OBSERVED).fit(frame)
        assert vae.sample(3).columns.tolist() == list(range(7))
        assert (vae.impute(frame).index == 5).all()
        T = pd.DataFrame(vae.transform(frame), index=frame.index)
        assert (vae.inverse_transform(T).index == 5).all()

    def test_pipeline_and_grid(self):
        frame = table(200)
        y = frame.pop("sold")
        pipeline = make_pipeline(model(1, max_epochs=1), LogisticRegression())
        search = GridSearchCV(pipeline, {"vaetransformer__n_components": [1, 2]}, cv=2).fit(
            frame, y
        )
        assert search.best_score_ > 0.7

    def test_streams(self):
        frame = table(400)
        vae = model().partial_fit(frame[:200])
        vae.partial_fit(frame[200:])
        assert vae.n_samples_ == 400
        odd = frame.assign(city="Paris")
        with pytest.raises(ValueError, match="'Paris' at row 0"):
            vae.partial_fit(odd)
        assert vae.n_samples_ == 400


@pytest.fixture(scope="module")
def fitted():
    return model(**OBSERVED).fit(table())


class TestBadTables:
    """Every one of these is refused in words, and nothing fitted is lost."""

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            (lambda f: f.drop(columns="city"), ValueError, "missing.*\n.*city"),
            (lambda f: f[NAMES[::-1]], ValueError, "same order"),
            (lambda f: f.assign(more=1), ValueError, "unseen.*\n.*more"),
            (lambda f: f.assign(price="dear"), TypeError, "'price' held numbers.*strings now"),
            (lambda f: f.assign(city=1.0), TypeError, "'city' held strings.*numbers now"),
            (lambda f: f.assign(built="1999"), TypeError, "'built' held dates"),
            (lambda f: f.assign(city="Paris"), ValueError, "'city' holds 'Paris' at row 0"),
            (lambda f: f.assign(grade="never"), ValueError, "'grade' holds 'never' at row 0"),
            (lambda f: f.assign(price=np.inf), ValueError, "inf at row 0, column 'price'"),
            (lambda f: f.assign(city=[1, *["Bern"] * 299]), TypeError, "'city' mixes numbers"),
            (lambda f: f[:0], ValueError, "0 sample"),
            (lambda f: f.to_numpy()[:, :3], ValueError, "3 features"),
        ],
    )
    def test_at_transform(self, fitted, change, error, message):
        before = fitted.transform(table())
        with pytest.raises(error, match=message), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that an array lacks
            fitted.transform(change(table()))
        np.testing.assert_array_equal(fitted.transform(table()), before)

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            (lambda f: f.assign(city=[1, *["Bern"] * 299]), TypeError, "'city' mixes numbers"),
            (
                lambda f: f.assign(city=[("a",)] * 300),
                TypeError,
                "'city' holds values of type tuple",
            ),
            (lambda f: f.assign(price=1j), TypeError, "'price' has dtype complex128"),
            (lambda f: f.assign(price=None), ValueError, "no observed value: 'price'"),
            (lambda f: f[:0], ValueError, "0 sample"),
            (lambda f: f[:1], ValueError, "1 sample"),
            (lambda f: f[[]], ValueError, "no columns"),
            (
                lambda f: f.set_axis([*NAMES[:-1], "city"], axis=1),
                ValueError,
                "2 columns named 'city'",
            ),
        ],
    )
    def test_in_fit(self, change, error, message):
        with pytest.raises(error, match=message):
            model(**OBSERVED).fit(change(table()))

    def test_missing_cells_need_to_be_asked_for(self):
        with pytest.raises(ValueError, match=r"missing_values='observed'[^$]*'city'"):
            model().fit(with_holes(table()))

    def test_too_many_categories(self):
        frame = pd.DataFrame({"id": np.arange(20_000).astype(str), "x": np.arange(20_000.0)})
        with pytest.raises(ValueError, match="'id' has 20000 categories, more than 10000"):
            model(1, max_epochs=0).fit(frame)

    def test_unknown_categories_as_missing(self):
        vae = model(handle_unknown="missing", **OBSERVED).fit(table())
        odd, holed = table(), table()
        odd.loc[3, "city"], holed.loc[3, "city"] = "Paris", None
        np.testing.assert_array_equal(vae.score_samples(odd), vae.score_samples(holed))
        with pytest.raises(ValueError, match="needs missing_values='observed'"):
            model(handle_unknown="missing").fit(table())

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"town": "Bern"}, "given has column 'town'"),
            ({"city": "Paris"}, "'Paris'"),
            ({7: "Bern"}, "given has column 7"),
            ({"price": "dear"}, "'price' held numbers"),
            (
                {"rooms": 2.5},
                "'rooms' cannot hold 2.5: it is of dtype int32, .* the nearest value is 2",
            ),
            ({"rooms": 10**20}, "'rooms' cannot hold 1000"),
            ({"rooms": None}, "given has None for column 'rooms'"),
            ({"price": np.inf}, "given has inf for column 'price'"),
            ({"rooms": 2, 4: 2}, "'rooms' twice"),
            ({"built": pd.Timestamp("2001-02-03 04:05")}, "'built' cannot hold Timestamp"),
            ({"built": "long ago"}, "'long ago' is none in ISO 8601"),
            ({"city": 5}, "'city' held strings"),
            ({"built": "2001-02-03T00:00:59"}, "'built' cannot hold"),
            ({True: "Bern"}, "given has column True"),
            (["city"], "given must be a dict"),
        ],
    )
    def test_given_cells_of_no_sense(self, fitted, given, message):
        with pytest.raises((ValueError, TypeError), match=message):
            fitted.sample(3, given=given)

    def test_given_cells_come_back_to_the_bit(self, fitted):
        # Next to an atom, and a date as a string.
        rows = fitted.sample(20, random_state=0, given={"price": 2e-7, "built": "2001-02-03"})
        assert (rows["price"] == 2e-7).all()
        assert (rows["built"] == pd.Timestamp("2001-02-03")).all()

    def test_what_an_unknown_given_category_is_to_be_told(self, fitted):
        with pytest.raises(ValueError, match="'Paris'") as error:
            fitted.sample(3, given={"city": "Paris"})
        assert "handle_unknown" not in str(error.value)

    def test_many_rows_of_given_cells_are_drawn_from_as_many_latents_as_few(self, fitted):
        calls, original = [], type(fitted.net_.module_).latents_given

        def counted(module, x, *c, n_draws):
            calls.append(len(x) * n_draws)
            return original(module, x, *c, n_draws=n_draws)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(fitted.net_.module_), "latents_given", counted)
            rows = fitted.sample(30_000, random_state=0, given={"city": "Bern"})
        assert len(rows) == 30_000 and sum(calls) == 200_000

    def test_given_cells_need_a_model_of_missing_ones(self):
        with pytest.raises(ValueError, match="missing_values='observed' in fit"):
            model(max_epochs=0).fit(table()).sample(3, given={"city": "Bern"})


def test_imputers_take_the_values_as_an_array():
    """Codes are made of them once."""
    random = np.random.RandomState(0)
    kind = random.randint(1, 4, 400)
    x = 3.0 * kind + 0.3 * random.normal(size=400)
    frame = pd.DataFrame({"kind": pd.Categorical(kind), "x": x})
    imputer = VAEImputer(model(1, max_epochs=0, **OBSERVED), n_draws=50).fit(frame)
    holed = frame[kind != 1].assign(x=np.nan)
    expected = imputer.transform(holed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that an array lacks
        found = imputer.transform(holed.to_numpy())
    np.testing.assert_allclose(found[:, 1].astype(float), expected["x"])


def test_both_values_of_a_bool_and_weightless_categories_are_known():
    frame = table()
    frame["sold"] = True
    weight = np.where(frame["city"] == "Bern", 0.0, 1.0)
    vae = model(max_epochs=0).fit(frame, sample_weight=weight)
    other = frame.assign(sold=False)
    assert np.isfinite(vae.score_samples(other)).all()
    assert vae.score(other) < vae.score(frame)
    seen = vae.sample(500, random_state=0)
    assert seen["sold"].mean() > 0.95 and (seen["city"] == "Bern").mean() < 0.05


def test_a_warm_start_keeps_what_columns_are():
    X = np.column_stack([np.arange(60) % 3, np.random.RandomState(0).normal(size=60)])
    vae = VAETransformer(
        1, likelihood="auto", categorical_features=[0], max_epochs=1, warm_start=True
    ).fit(X)
    vae.fit(X)
    with pytest.raises(ValueError, match=r"categorical_features=\[True, False\] differs from"):
        vae.set_params(categorical_features=[True, False]).fit(X)
    with pytest.raises(ValueError, match=r"categorical_features=None differs from"):
        vae.set_params(categorical_features=None).fit(X)
    assert vae.set_params(warm_start=False, likelihood="gaussian").fit(X).n_features_in_ == 2


def test_a_column_of_keys_is_told():
    frame = table().assign(key=np.arange(300).astype(str))
    with pytest.warns(UserWarning, match="'key' has 300 categories in 300 rows: .* drop it"):
        model(max_epochs=0).fit(frame)


def test_columns_may_be_called_true_and_false():
    frame = with_holes(table())[["city", "price"]]
    expected = VAEImputer(n_draws=20, random_state=0).fit_transform(frame)
    renamed = frame.set_axis([False, True], axis=1)
    found = VAEImputer(n_draws=20, random_state=0).fit_transform(renamed)
    np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())


def test_the_imputers_own_model_takes_categories_that_it_does_not_know():
    frame = with_holes(table())
    imputer = VAEImputer(n_draws=20, random_state=0).fit(frame)
    odd = frame.copy()
    odd.loc[3, ["city", "price"]] = "Paris", np.nan
    filled = imputer.transform(odd)
    assert filled.loc[3, "city"] == "Paris" and np.isfinite(filled.loc[3, "price"])


def test_imputers_keep_what_they_have():
    frame = with_holes(table())
    imputer = VAEImputer(model(handle_unknown="missing", **OBSERVED), n_draws=20).fit(frame)
    odd = frame.copy()
    odd.loc[3, "city"] = "Paris"
    assert imputer.transform(odd).loc[3, "city"] == "Paris"
    before = imputer.transform(frame)
    with pytest.raises(ValueError, match="no observed cell"):
        imputer.fit(pd.DataFrame({"a": [np.nan, np.nan]}))
    pd.testing.assert_frame_equal(imputer.transform(frame), before)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("beside", ["words", "numbers"])
def test_columns_that_were_empty_in_the_fit(library, beside):
    """Kept they are filled as by SimpleImputer, in the dtype that they have, whatever later rows
    have there; else they are dropped, whatever that is."""
    z = np.random.RandomState(0).normal(size=40)
    cells = {"a": np.where(np.arange(40) % 7 == 0, np.nan, z)}
    if beside == "words":
        cells["c"] = np.where(z > 0, "x", "y")
    seen = np.arange(40) % 2 == 0
    if library == "pandas":
        rows, nothing = pd.DataFrame(cells), np.full(40, None)
        kinds = {
            "words": ("string", "u", "missing_value"),
            "objects": (object, "u", "missing_value"),
            "reals": (np.float64, 2.0, 0.0),
            "whole": ("Int64", 2, 0),
            "levels": (pd.CategoricalDtype(["u", "w"]), "u", None),
            "days": ("datetime64[ns]", pd.Timestamp("2020-01-01"), None),
            "bools": ("boolean", True, None),
        }
        for name, (dtype, _, _) in kinds.items():
            rows[name] = pd.Series(nothing, dtype=dtype)
        later = rows.copy()
        for name, (dtype, value, _) in kinds.items():
            later[name] = pd.Series(np.where(seen, value, None), dtype=dtype)
    else:
        pl = pytest.importorskip("polars")
        kinds = {
            "words": (pl.String, "u", "missing_value"),
            "reals": (pl.Float64, 2.0, 0.0),
            "whole": (pl.Int64, 2, 0),
            "levels": (pl.Categorical, "u", None),
            "bools": (pl.Boolean, True, None),
        }
        rows = pl.DataFrame(cells).with_columns(
            pl.Series(name, [None] * 40, dtype=dtype) for name, (dtype, _, _) in kinds.items()
        )
        rows = rows.with_columns(pl.Series("null", [None] * 40, dtype=pl.Null))
        later = rows.with_columns(
            pl.Series(name, [value if at else None for at in seen], dtype=dtype)
            for name, (dtype, value, _) in kinds.items()
        )
    for estimator in (None, model(1, max_epochs=0)):
        dropping = VAEImputer(estimator, n_draws=10, random_state=0, add_indicator=True)
        with pytest.warns(UserWarning, match="have no observed value"):
            dropping.fit(rows)
        keeping = VAEImputer(estimator, n_draws=10, random_state=0, keep_empty_features=True)
        keeping.fit(rows)
        for given, is_later in ((rows, False), (later, True)):
            dropped, kept = dropping.transform(given), keeping.transform(given)
            assert list(dropped.columns) == dropping.get_feature_names_out().tolist()
            assert list(kept.columns) == keeping.get_feature_names_out().tolist()
            assert list(kept.columns) == list(rows.columns)
            for name, (dtype, value, otherwise) in kinds.items():
                assert kept[name].dtype == dtype
                was = [is_later and at for at in seen]
                found = [None if pd.isna(cell) else cell for cell in kept[name].to_list()]
                assert found == [value if at else otherwise for at in was]
                assert dropped[f"missingindicator_{name}"].to_list() == [not at for at in was]


@pytest.mark.parametrize("add_indicator", [False, True])
def test_polars_rows_filled_as_a_pandas_frame_keep_their_dtypes(add_indicator):
    pl = pytest.importorskip("polars")
    # One that fits the numpy there is.
    pytest.importorskip("pyarrow", exc_type=ImportError)
    random = np.random.RandomState(0)
    z = random.normal(size=80)
    rows = pl.DataFrame(
        {
            "real": [None if i % 7 == 0 else value for i, value in enumerate(z)],
            "whole": random.randint(0, 5, 80),
            "word": [None if i % 5 == 0 else "xy"[int(value > 0)] for i, value in enumerate(z)],
            "bool": z > 0,
            "level": pl.Series(random.choice(["low", "high"], 80), dtype=pl.Enum(["low", "high"])),
            "day": np.datetime64("2020-01-01") + random.randint(0, 100, 80),
        }
    )
    imputer = VAEImputer(
        model(max_epochs=0), n_draws=10, random_state=0, add_indicator=add_indicator
    ).fit(rows)
    expected = imputer.transform(rows)
    found = imputer.set_output(transform="pandas").transform(rows)
    kinds = {"real": "f", "whole": "i", "bool": "b", "day": "M"}
    kinds |= {name: "b" for name in found.columns[6:]}
    assert {name: found[name].dtype.kind for name in kinds} == kinds
    assert isinstance(found["level"].dtype, pd.CategoricalDtype)
    for name in found.columns:
        cells = found[name].dt.date if name == "day" else found[name]
        assert cells.tolist() == expected[name].to_list()
    assert found.columns.tolist() == imputer.get_feature_names_out().tolist()
    assert isinstance(imputer.set_output(transform="polars").transform(rows), pl.DataFrame)


def test_given_cells_of_an_array():
    """Of a Gaussian the rows given a cell are those of the conditional law."""
    random = np.random.RandomState(0)
    z = random.normal(size=(3000, 1))
    X = z * [1.0, 2.0, -1.0] + 0.3 * random.normal(size=(3000, 3))
    vae = VAETransformer(1, max_epochs=0, random_state=0, **OBSERVED).fit(X)
    draws = vae.sample(4000, random_state=0, given={0: 1.5})
    S, mean = vae.get_covariance(), X.mean(axis=0)
    expected = mean[1:] + S[1:, 0] / S[0, 0] * (1.5 - mean[0])
    covariance = S[1:, 1:] - np.outer(S[1:, 0], S[0, 1:]) / S[0, 0]
    assert (draws[:, 0] == 1.5).all()
    np.testing.assert_allclose(draws[:, 1:].mean(axis=0), expected, atol=0.05)
    np.testing.assert_allclose(np.cov(draws[:, 1:].T), covariance, atol=0.03)


@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp", "fitted"])
def test_given_cells_by_one_draw_at_a_time(prior, monkeypatch):
    """A single draw has no half from the prior."""
    X = np.random.RandomState(0).normal(size=(100, 2))
    vae = VAETransformer(1, prior=prior, max_epochs=1, random_state=0, **OBSERVED).fit(X)
    monkeypatch.setattr("skvae.given._DRAWS", 1)
    assert (vae.sample(3, random_state=0, given={0: 1.0})[:, 0] == 1.0).all()


def test_the_weight_of_a_single_draw_is_that_of_its_own_law():
    """q(z|x) of a linear model is exact: the weight of any draw from it is p(x)."""
    X = np.random.RandomState(0).normal(size=(100, 3)) @ np.array([[1, 2, 0], [0, 1, 1], [1, 0, 3]])
    vae = VAETransformer(2, max_epochs=0, random_state=0, **OBSERVED).fit(X)
    row = np.array([[1.0, np.nan, 2.0]])
    _, log_weight = vae.net_.apply("latents_given", row, prepare=vae._units)
    np.testing.assert_allclose(log_weight[0], vae.score_samples(row), rtol=1e-6)


def test_labels_that_are_numbers_are_labels():
    random = np.random.RandomState(0)
    frame = pd.DataFrame(random.normal(size=(100, 2)), columns=[1, 0])
    frame[2] = random.choice(list("xy"), 100)
    vae = VAETransformer(1, likelihood="auto", max_epochs=0, random_state=0, **OBSERVED).fit(frame)
    assert (vae.sample(3, random_state=0, given={0: 1.5})[0] == 1.5).all()


def test_rare_given_cells_are_told():
    """Cells that contradict each other are what few of the draws lead to."""
    vae = model(2, **OBSERVED).fit(table())
    with pytest.warns(UserWarning, match="latent vectors"):
        vae.sample(200, random_state=0, given={"rooms": 8, "grade": "low", "size": 15.0})


def test_a_column_without_cells_does_not_choose_the_imputers_model():
    rows = np.random.RandomState(0).normal(size=(120, 3))
    frame = pd.DataFrame(np.where(rows > 1, np.nan, rows), columns=list("abc"))
    plain = VAEImputer(random_state=0).fit(frame)
    empty = frame.assign(d=pd.Series([None] * 120, dtype=object))
    with pytest.warns(UserWarning, match="no observed value"):
        beside = VAEImputer(random_state=0).fit(empty)
    assert beside.estimator_.likelihood == plain.estimator_.likelihood == "diagonal_gaussian"
    pd.testing.assert_frame_equal(beside.transform(empty), plain.transform(frame))
