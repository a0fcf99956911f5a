"""Tables: every dtype there and back, what is missing, what is unknown, and what is refused."""

import copy
import datetime
import gc
import pickle
import tracemalloc
import weakref
from decimal import Decimal

import numpy as np
import pytest

from skvae.tables import Table, is_frame

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

DAY = datetime.date(2024, 2, 29)
NOON = datetime.datetime(2024, 2, 29, 12, 30)
STAMP = pd.Timestamp(NOON)
# The same hour of the clock, before and after it is set back.
TWICE = ["2024-11-03T05:30Z", "2024-11-03T06:30Z"]
STRINGS, FLOATS = ["b", None, "a"], [0.1, None, -np.inf]
UNUSED, ORDERED = pd.CategoricalDtype(["z", "b", "a"]), pd.CategoricalDtype([5, 3, 1], ordered=True)

# With a missing cell wherever the dtype has one. The names are the ids of the tests.
PANDAS = {
    "bool": ("bool", [True, False, True], "category"),
    "boolean": ("boolean", [True, None, True], "category"),
    "uint8": ("uint8", [0, 255, 3], "number"),
    "int64": ("int64", [-5, 2**52, 3], "number"),
    "Int64": ("Int64", [1, None, -3], "number"),
    "UInt16": ("UInt16", [1, None, 65535], "number"),
    "float32": ("float32", FLOATS, "number"),
    "float64": ("float64", FLOATS, "number"),
    "Float64": ("Float64", FLOATS, "number"),
    "sparse": ("Sparse[float]", [0.0, np.nan, 7.0], "number"),
    "str": (None, STRINGS, "category"),
    "string": ("string", STRINGS, "category"),
    "objects: str": ("object", ["b", np.nan, "a"], "category"),
    "objects: bool": ("object", [True, np.nan, False], "category"),
    "objects: float": ("object", [1.5, np.nan, -2.0], "number"),
    "objects: none": ("object", [np.nan, np.nan], "number"),
    "objects: date": ("object", [DAY, pd.NaT, DAY], "date"),
    "objects: datetime": ("object", [STAMP, pd.NaT], "date"),
    "objects: zoned": ("object", [STAMP.tz_localize("Asia/Tokyo"), pd.NaT], "date"),
    "objects: timedelta": ("object", [pd.Timedelta(3, "h"), pd.NaT], "date"),
    "category": (UNUSED, STRINGS, "category"),
    "ordered": (ORDERED, [3, None, 1], "category"),
    "intervals": (None, pd.cut([1.0, 9.0, np.nan], 3), "category"),
    "datetime64[s]": ("datetime64[s]", ["2024-01-01", None, "1960-01-01"], "date"),
    "datetime64[us]": ("datetime64[us]", [NOON, None, "0001-01-01", "9999-12-31"], "date"),
    "datetime64[ns]": ("datetime64[ns]", ["2024-01-01 00:00:00.000001", None], "date"),
    "zoned": ("datetime64[us, America/New_York]", [*TWICE, None], "date"),
    "timedelta64": ("timedelta64[ms]", [datetime.timedelta(1, 5), None], "date"),
}
POLARS = {
    "Boolean": (pl.Boolean, [True, None, False], "category"),
    "Int8": (pl.Int8, [-128, None, 127], "number"),
    "UInt64": (pl.UInt64, [1, None, 3], "number"),
    "Float32": (pl.Float32, [0.5, None, -3.0], "number"),
    "Float64": (pl.Float64, FLOATS, "number"),
    "Decimal": (pl.Decimal(6, 2), [Decimal("1.29"), None, Decimal("-0.07")], "number"),
    "Null": (pl.Null, [None, None, None], "number"),
    "String": (pl.String, STRINGS, "category"),
    "Categorical": (pl.Categorical, STRINGS, "category"),
    "Enum": (pl.Enum(["z", "b", "a"]), STRINGS, "category"),
    "Date": (pl.Date, [DAY, None, datetime.date(1, 1, 1), datetime.date(9999, 12, 31)], "date"),
    "Datetime": (pl.Datetime("ns"), [NOON, None, NOON], "date"),
    "zoned": (pl.Datetime("ms", "UTC"), [STAMP.tz_localize("UTC"), None], "date"),
    "Duration": (pl.Duration("us"), [datetime.timedelta(1, 5), None], "date"),
}
LIBRARIES = pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])


CASES = {f"pandas {name}": case for name, case in PANDAS.items()}
CASES |= {f"polars {name}": case for name, case in POLARS.items()}


def _frame(case):
    dtype, values, _ = CASES[case]
    if case.startswith("pandas"):
        return pd.DataFrame({"x": pd.Series(values, dtype=dtype).set_axis([7] * len(values))})
    X = pl.DataFrame({"x": values}, schema={"x": dtype})
    return X.with_columns(X["x"].dt.convert_time_zone("Europe/Rome")) if "zoned" in case else X


def _assert_same(X, Y):
    if isinstance(X, pd.DataFrame):
        pd.testing.assert_frame_equal(X, Y, check_exact=True)
    else:
        assert X.schema == Y.schema and X.equals(Y)


def _objects(*rows):
    return np.array(rows, dtype=object)


@pytest.mark.parametrize("case", CASES)
def test_there_and_back(case):
    X = _frame(case)
    table = Table(X)
    rows = table.encode(X)
    assert table.kinds.tolist() == [CASES[case][2]] and rows.dtype == np.float64
    np.testing.assert_array_equal(np.isnan(rows[:, 0]), [pd.isna(v) for v in X["x"].to_list()])
    for twin in (table, pickle.loads(pickle.dumps(table)), copy.deepcopy(table)):
        np.testing.assert_array_equal(twin.encode(X), rows)
        _assert_same(twin.decode(rows), X.reset_index(drop=True) if "pandas" in case else X)


@pytest.mark.parametrize("case", CASES)
def test_filled(case):
    """Each missing cell gets what row 0 has; the others stay, and so do index and dtype."""
    X = _frame(case)
    filled = Table(X).filled(X, np.full(X.shape, Table(X).encode(X)[0, 0]))
    _assert_same(X, _frame(case))
    cells = [X["x"].to_list()[0] if pd.isna(v) else v for v in X["x"].to_list()]
    if "pandas" in case:
        expected = pd.DataFrame({"x": pd.Series(cells, dtype=X["x"].dtype, index=X.index)})
    else:
        expected = pl.DataFrame({"x": cells}, schema=X.schema)
    _assert_same(filled, expected)


@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame, np.asarray])
def test_observed_floats_are_untouched_to_the_bit(container):
    X = container(np.array([[0.1], [np.nan], [1e-310], [-0.0]]))
    filled = np.asarray(Table(X).filled(X, np.full((4, 1), 7.0)))
    assert filled.tobytes() == np.array([0.1, 7.0, 1e-310, -0.0]).tobytes()
    assert np.isnan(np.asarray(X)[1, 0])


def test_codes_follow_the_dtype_and_count_what_is_there():
    declared = pd.DataFrame({"x": pd.Series(["b", "a"], dtype=UNUSED)})
    enum = pl.DataFrame({"x": ["b", "a"]}, schema={"x": pl.Enum(["z", "b", "a"])})
    for X in (declared, enum):
        assert Table(X).n_categories.tolist() == [2]
        assert Table(X).encode(X).tolist() == [[0], [1]]
        assert list(Table(X).decode([[-3], [0.6], [9]])["x"]) == ["b", "a", "a"]
    for X in (pd.DataFrame({"x": ["b", "a"]}), pl.DataFrame({"x": ["b", "a"]})):
        assert Table(X).encode(X).tolist() == [[1], [0]]
    unseen = pd.DataFrame({"x": pd.Series(["a", "z"], dtype=UNUSED)})
    with pytest.raises(ValueError, match="'z' at row 1"):
        Table(declared).encode(unseen)


@pytest.mark.parametrize(
    "container", [pd.DataFrame, pl.DataFrame, _objects], ids=["pandas", "polars", "objects"]
)
def test_unknown_categories(container):
    train, new = ["a", "b", "a"], ["b", "c", None, "d", "c"]
    array = container is _objects
    X, Y = (_objects(*([v] for v in x)) if array else container({"x": x}) for x in (train, new))
    table = Table(X, [0])
    name = "0" if array else "'x'"
    message = rf"Column {name} holds 'c' at row 1.*'a', 'b'.*3 cell.*'missing'"
    with pytest.raises(ValueError, match=message):
        table.encode(Y)
    rows = table.encode(Y, handle_unknown="missing")
    np.testing.assert_array_equal(rows.ravel(), [1.0, np.nan, np.nan, np.nan, np.nan])
    # An unknown category is observed all the same.
    filled = np.asarray(table.filled(Y, np.zeros((5, 1))))
    assert filled.ravel().tolist() == ["b", "c", "a", "d", "c"]


@LIBRARIES
@pytest.mark.parametrize("values", [[True, True], [None, True]])
def test_bools_have_both_categories(library, values):
    X = library.DataFrame({"x": values})
    table = Table(X)
    assert table.bools.tolist() == [True] and table.n_categories.tolist() == [2]
    assert table.encode(X)[-1] == 1.0 and table.decode([[0.2]])["x"].to_list() == [False]
    assert table.encode(np.array([[0], [1]])).tolist() == [[0], [1]]


@LIBRARIES
def test_whole_numbers_are_rounded_and_clipped(library):
    table = Table(library.DataFrame({"x": np.array([1, 2], np.uint8), "y": [1, 2], "z": [1.0, 2]}))
    assert table.integers.tolist() == [True, True, False]
    back = table.decode([[-7.2, 1e30, 0.3], [300, -1e30, 0.3], [4.6, 2.6, 0.3]])
    assert back["x"].to_list() == [0, 255, 5] and back["z"].to_list() == [0.3] * 3
    assert back["y"][0] > 2**62 and back["y"].to_list()[1:] == [-(2**63), 3]
    if library is pd:
        with pytest.raises(ValueError, match=r"Column 'x' is to be missing at row 1.*uint8"):
            table.decode([[1, 1, 1], [np.nan, 1, 1]])


@LIBRARIES
@pytest.mark.parametrize(
    ("n", "step", "unit"),
    [
        (1, "D", "ms"),
        (1, "h", "ns"),
        (15, "m", "ms"),
        (1, "s", "us"),
        (250, "ms", "us"),
        (7, "us", "ns"),
    ],
)
def test_dates_count_the_coarsest_step(library, n, step, unit):
    """The counts are those of NumPy in the unit of the step."""
    dates = np.datetime64("1969-12-31", step) + np.timedelta64(n, step) * np.array([0, 1, 5])
    counts, stored = dates.astype(np.int64)[:, None], dates.astype(f"M8[{unit}]")
    table = Table(library.DataFrame({"x": stored}))
    np.testing.assert_array_equal(table.encode(library.DataFrame({"x": stored})), counts)
    np.testing.assert_array_equal(table.decode(counts + 0.3)["x"].to_numpy(), stored)
    later = pd.DataFrame({"x": stored.astype("M8[ns]") + np.timedelta64(500, "ns")})
    fraction = np.timedelta64(500, "ns") / np.timedelta64(1, step)
    np.testing.assert_allclose(table.encode(later), counts + fraction, rtol=1e-15)


@LIBRARIES
@pytest.mark.parametrize("values", [[NOON], [NOON - datetime.datetime(1970, 1, 1)]])
def test_dates_out_of_range_are_clipped(library, values):
    table = Table(library.DataFrame({"x": values}))
    first, last = table.decode([[-1e300], [1e300]])["x"].to_list()
    assert first < values[0] < last


@LIBRARIES
def test_zones_count_in_utc(library):
    X = pd.DataFrame({"x": pd.Series(TWICE, dtype="datetime64[us, America/New_York]")})
    rows = Table(X).encode(library.DataFrame({"x": X["x"].dt.tz_convert("UTC").to_list()}))
    assert np.diff(rows[:, 0]).tolist() == [60]  # minutes
    with pytest.raises(TypeError, match=r"dates with a time zone in fit.*holds dates .*now"):
        Table(X).encode(library.DataFrame({"x": [NOON]}))


def test_what_is_missing():
    cells = [Decimal("1.5")], [2], [np.float32(0.5)], [np.inf], [None], [pd.NA], [np.nan]
    expected = [[1.5], [2], [0.5], [np.inf], [np.nan], [np.nan], [np.nan]]
    for X in (_objects(*cells), pd.DataFrame({"x": _objects(*cells)[:, 0]})):
        np.testing.assert_array_equal(Table(X).encode(X), expected)
    X = pl.DataFrame({"x": [1.0, np.nan, None]})
    np.testing.assert_array_equal(Table(X).encode(X), [[1.0], [np.nan], [np.nan]])
    assert Table(X).filled(X, np.full((3, 1), 5.0))["x"].to_list() == [1.0, 5.0, 5.0]


CHANGES = [
    ([1.0, 2.0], ["1", "2"]),
    (["a", "b"], [1, 2]),
    ([NOON, NOON], ["2024", "2025"]),
    ([NOON, NOON], [1, 2]),
    ([1, 2], [NOON, NOON]),
    ([True, False], ["True", "False"]),
]


@LIBRARIES
@pytest.mark.parametrize("fitted_in", [pd, pl], ids=["fitted in pandas", "fitted in polars"])
@pytest.mark.parametrize(("fitted", "now"), CHANGES)
def test_columns_that_change_kind_are_refused(library, fitted_in, fitted, now):
    table = Table(fitted_in.DataFrame({"x": fitted}))
    with pytest.raises(TypeError, match=r"Column 'x' held .*dtype.* and holds .*dtype"):
        table.encode(library.DataFrame({"x": now}))


MIXED = {"n": [1, 2], "s": ["a", "b"], "b": [True, False], "d": [NOON, NOON]}


@LIBRARIES
def test_tables_of_other_dtypes_and_libraries(library):
    table = Table(library.DataFrame(MIXED))
    rows = table.encode(library.DataFrame(MIXED))
    X = pd.DataFrame(MIXED)
    others = [
        X.astype({"n": "float32", "s": "category", "b": "int8", "d": "datetime64[s]"}),
        X.astype({"n": "Int16", "s": "object", "b": "object", "d": "object"}),
        pl.DataFrame(MIXED, schema_overrides={"n": pl.Float32, "s": pl.Categorical}),
        X.astype(object).to_numpy(),
    ]
    for other in others:
        np.testing.assert_array_equal(table.encode(other), rows)
    # What has no observed cell may be of any dtype, and is filled all the same.
    for empty in (pd.DataFrame({name: [np.nan] for name in MIXED}), pl.DataFrame([[None]] * 4)):
        assert np.isnan(table.encode(empty)).all()
        filled = table.filled(empty, rows[:1])
        assert type(filled) is type(empty)
        assert [filled[name][0] for name in filled.columns] == [1, "a", True, NOON]
    partly = _objects([1, "a", True, NOON], [None] * 4)
    assert table.filled(partly, rows).tolist() == X.astype(object).to_numpy().tolist()


@pytest.mark.parametrize(
    "given",
    [
        pd.DataFrame({"x": pd.Series(["a", None], dtype="category")}),
        pl.DataFrame({"x": ["a", None]}, schema={"x": pl.Enum(["a"])}),
    ],
    ids=["pandas", "polars"],
)
def test_filled_by_what_the_dtype_does_not_declare(given):
    table = Table(pd.DataFrame({"x": ["a", "b"]}))
    assert table.filled(given, [[0], [0]])["x"].to_list() == ["a", "a"]
    with pytest.raises(ValueError, match="Column 'x' would be filled by 'b', which its dtype"):
        table.filled(given, [[0], [1]])


@LIBRARIES
@pytest.mark.parametrize("listed", [["n", "f"], [0, 1], [True, True, False], np.array([0, 1])])
def test_listed_columns_are_categories(library, listed):
    X = library.DataFrame({"n": [30, 10, 30], "f": [0.5, None, -1.5], "s": ["b", "a", "b"]})
    table = Table(X, listed)
    assert table.kinds.tolist() == ["category"] * 3 and not table.integers.any()
    assert table.n_categories.tolist() == [2, 2, 2]
    rows = table.encode(X)
    np.testing.assert_array_equal(rows, [[1, 1, 1], [0, np.nan, 0], [1, 0, 1]])
    assert table.decode(rows).equals(X)
    assert Table(X, None).kinds.tolist() == ["number", "number", "category"]


@LIBRARIES
def test_listed_dates(library):
    X = library.DataFrame({"x": [NOON, None, NOON - datetime.timedelta(1)]})
    table = Table(X, ["x"])
    np.testing.assert_array_equal(table.encode(X).ravel(), [1.0, np.nan, 0.0])
    assert table.decode(table.encode(X)).equals(X)
    for other in (pd.DataFrame({"x": [STAMP]}), pl.DataFrame({"x": [NOON]})):
        assert table.encode(other).tolist() == [[1.0]]


def test_arrays_of_objects():
    X = _objects(["b", 1.5, 3], [None, np.nan, 7], ["a", 2, 3])
    table = Table(X, [0, 2])
    rows = table.encode(X)
    assert table.names is None and table.kinds.tolist() == ["category", "number", "category"]
    np.testing.assert_array_equal(rows, [[1, 1.5, 0], [np.nan, np.nan, 1], [0, 2, 0]])
    back = table.decode(rows)
    assert back.dtype == object and back[[0, 2]].tolist() == X[[0, 2]].tolist()
    filled = table.filled(X.tolist(), np.zeros((3, 3)))
    assert filled.tolist() == [["b", 1.5, 3], ["a", 0.0, 7], ["a", 2, 3]]


@pytest.mark.parametrize("dtype", [np.int16, np.float32, bool, object])
def test_arrays_of_numbers(dtype):
    X = np.array([[5, 1], [0, 2], [5, 0]]).astype(dtype)
    table = Table(X, [0])
    rows = table.encode(X)
    assert rows.tolist() == [[1, X[0, 1]], [0, X[1, 1]], [1, X[2, 1]]]
    back = table.decode(rows)
    assert back.dtype == np.float64 and back.tolist() == X.tolist()
    assert Table(X).kinds.tolist() == ["number", "number"]


MIXTURES = [
    (["a", None, 3], r"'x' mixes strings \(first 'a', row 0\) and numbers \(first 3, row 2\)"),
    ([None, 2.5, True], r"mixes numbers \(first 2.5, row 1\) and bools \(first True, row 2\)"),
    ([NOON, "2024"], r"mixes dates .* and strings \(first '2024', row 1\)"),
    ([None, [1, 2]], r"'x' holds values of type list \(first \[1, 2\], row 1\)"),
    ([STAMP.tz_localize("UTC"), STAMP.tz_localize("Asia/Tokyo")], r"'x' .*one time zone"),
]
OTHERS = [[1j], pd.period_range("2020", periods=1, freq="D"), pd.interval_range(0, 1)]
POLARS_OTHERS = [[[1]], [{"a": 1}], [datetime.time(1)]]
NO_COLUMNS = [
    (np.array([["a"], ["b"]]), r"Column 0 .*'a', row 0.*categorical_features"),
    (_objects([1], ["b"]), "Column 0 mixes numbers"),
    (_objects([NOON]), r"Column 0 .*DataFrame"),
    (np.array([[1j]]), "complex128"),
]
NO_TABLES = [
    (np.zeros((3, 0)), "no columns"),
    (np.zeros(3), "1 dimension"),
    (pd.DataFrame(np.zeros((1, 2)), columns=["a", "a"]), r"2 columns .*'a'"),
]
NO_LISTS = [
    ([True], "mask of 1 columns; X has 2"),
    ([2], "has column 2; those of X are 0 to 1"),
    ([-1], "has column -1"),
    (["c"], "has 'c', which is no column"),
    ("a", "List column names"),
    (["a", 0], "all of one of these"),
    ([0.0], "all of one of these"),
]


def test_columns_that_are_refused():
    no_columns = [(pd.DataFrame({"x": pd.Series(v, dtype=object)}), text) for v, text in MIXTURES]
    no_columns += [(pd.DataFrame({"x": v}), r"Column 'x' has dtype .*Cast it") for v in OTHERS]
    no_columns += [(pl.DataFrame({"x": v}), r"'x' has dtype .*Cast it") for v in POLARS_OTHERS]
    for X, message in no_columns + NO_COLUMNS:
        with pytest.raises(TypeError, match=message):
            Table(X)


def test_tables_and_lists_that_are_refused():
    for X, message in NO_TABLES:
        with pytest.raises(ValueError, match=message):
            Table(X)
    for listed, message in NO_LISTS:
        with pytest.raises(ValueError, match=message):
            Table(pd.DataFrame({"a": [1, 2], "b": [3, 4]}), listed)
    with pytest.raises(ValueError, match="X is an array"):
        Table(np.ones((2, 2)), ["a"])


def test_is_frame():
    subclass = type("GeoDataFrame", (pd.DataFrame,), {})
    assert is_frame(pd.DataFrame()) and is_frame(pl.DataFrame()) and is_frame(subclass())
    for other in (np.zeros((2, 2)), [[1]], pd.Series([1]), pl.LazyFrame({"a": [1]}), None):
        assert not is_frame(other)


def test_the_training_table_is_let_go():
    X = pd.DataFrame({"s": ["a", "b"], 3: [1.0, 2.0]}).rename_axis(columns="what")
    table, gone = Table(X), weakref.ref(X)
    columns = X.columns
    del X
    gc.collect()
    assert gone() is None and table.names == ["s", "3"]
    pd.testing.assert_index_equal(table.decode([[0, 1]]).columns, columns)


@LIBRARIES
def test_a_frame_without_rows(library):
    X = library.DataFrame(MIXED)[:0]
    assert Table(X).encode(X).shape == (0, 4)
    assert list(Table(X).decode(np.empty((0, 4))).dtypes) == list(X.dtypes)


@LIBRARIES
def test_large_tables_take_the_memory_of_the_result(library):
    n, rng = 300_000, np.random.default_rng(0)
    columns = {f"n{i}": rng.normal(size=n) for i in range(7)}
    words = np.array([f"k{i:02d}" for i in range(40)], dtype=object)
    X = library.DataFrame(columns | {"s": words[rng.integers(40, size=n)]})
    table = Table(X)
    tracemalloc.start()
    try:
        rows = table.encode(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(rows[:, 0], columns["n0"])
    assert [f"k{code:02.0f}" for code in rows[:9, 7]] == list(X["s"][:9])
    assert peak < 2 * rows.nbytes
