"""Properties that hold for any table: maps of columns, numbers and back, models, bad input."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from skvae import VAETransformer
from skvae.likelihoods import QuantileGaussian
from skvae.tables import Table

hypothesis = pytest.importorskip("hypothesis")
pd = pytest.importorskip("pandas")
given, st = hypothesis.given, pytest.importorskip("hypothesis.strategies")


def settings(n):
    return hypothesis.settings(max_examples=n, deadline=None, derandomize=True)


NUMBERS = st.one_of(
    st.integers(-1000, 1000).map(float),
    st.floats(-1e9, 1e9, allow_subnormal=False),
    st.sampled_from([0.0, 0.1, 0.25, -3.0, 1e12, 1e-9]),
)


@st.composite
def columns(draw, n, missing=True):
    """A column of n cells of any dtype that a table may have."""
    kind = draw(st.sampled_from(["float", "int", "str", "bool", "category", "date"]))
    cells = {
        "float": NUMBERS,
        "int": st.integers(-(2**40), 2**40) | st.integers(0, 3),
        "str": st.text(max_size=3) | st.sampled_from(["a", "b"]),
        "bool": st.booleans(),
        "category": st.sampled_from(["low", "high"]),
        "date": st.datetimes(pd.Timestamp("1700-01-01"), pd.Timestamp("2200-01-01")),
    }[kind]
    values = draw(st.lists(cells, min_size=n, max_size=n))
    column = pd.Series(values)
    if kind == "category":
        column = column.astype(pd.CategoricalDtype(["low", "never", "high"], ordered=True))
    if missing and draw(st.booleans()):
        holes = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
        holes[0] = False
        nullable = {"int": "Int64", "bool": "boolean"}
        column = column.astype(nullable.get(kind, column.dtype)).mask(holes)
    return column


@st.composite
def frames(draw, least=5, most=30, missing=True):
    n, d = draw(st.integers(least, most)), draw(st.integers(1, 5))
    return pd.DataFrame({f"c{j}": draw(columns(n, missing)) for j in range(d)})


@settings(40)
@given(frames())
def test_numbers_and_back(frame):
    table = Table(frame)
    rows = table.encode(frame)
    pd.testing.assert_frame_equal(table.decode(rows), frame)
    order = np.arange(len(frame))[::-1]
    np.testing.assert_array_equal(table.encode(frame.iloc[order]), rows[order])
    # Wherever there was something it stays, whatever is said of the cell.
    filled = table.filled(frame, np.nan_to_num(rows) + 1 * np.isnan(rows))
    seen = frame.notna()
    pd.testing.assert_frame_equal(filled.where(seen), frame.where(seen), check_dtype=False)
    assert list(filled.dtypes) == list(frame.dtypes)


@settings(80)
@given(st.lists(NUMBERS, min_size=2, max_size=200))
def test_maps_of_columns(values):
    X = np.array(values)[:, None]
    law = QuantileGaussian(1)
    law.set_units(X)
    law.double()
    x = torch.as_tensor((X - law.centre) / law.scale)
    low, high, slope = law.map.interval(x)
    assert torch.isfinite(torch.stack([low, high, slope])).all()
    assert (slope > 0).all()
    assert (low <= high).all()
    # Greater values have greater scores, and a value is what its own score leads to.
    order = x[:, 0].argsort()
    assert (low[order].diff(dim=0) >= -1e-9).all()
    back = law.in_units_of_rows(law.map.value(0.5 * (low + high)).numpy())
    np.testing.assert_allclose(back, X, rtol=1e-6, atol=2e-5 * law.scale[0])
    outputs = torch.zeros(len(X), 2, dtype=torch.float64)
    assert torch.isfinite(law.log_prob(outputs, x)).all()
    drawn = law.in_units_of_rows(law.sample(outputs).numpy())
    slack = 1e-5 * law.scale[0]
    assert X.min() - slack <= drawn.min() <= drawn.max() <= X.max() + slack


def fitted(frame):
    """The start on a frame, or None where it is refused in words that name what is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            return VAETransformer(
                1, likelihood="auto", missing_values="observed", max_epochs=0, random_state=0
            ).fit(frame)
        except (ValueError, TypeError) as error:
            assert any(name in str(error) for name in [*frame.columns, "n_components", "sample"])
            return None


@settings(15)
@given(frames())
def test_models(frame):
    vae = fitted(frame)
    if vae is None:
        return
    assert np.isfinite(vae.transform(frame)).all()
    assert np.isfinite(vae.score_samples(frame)).all()
    drawn = vae.sample(7, random_state=0)
    assert list(drawn.dtypes) == list(frame.dtypes)
    for name in frame.select_dtypes(["object", "string", "category"]):
        assert set(drawn[name]) <= set(frame[name].dropna())
    filled = vae.impute(frame, n_draws=5)
    assert not filled.isna().any(axis=None)
    seen = frame.notna()
    pd.testing.assert_frame_equal(filled.where(seen), frame.where(seen), check_dtype=False)


PERTURBED = {
    "a column less": lambda frame: frame.iloc[:, 1:],
    "a column more": lambda frame: frame.assign(more=1.0),
    "swapped": lambda frame: frame[frame.columns[::-1]],
    "no rows": lambda frame: frame[:0],
    "a list in a cell": lambda frame: frame.assign(c0=[[1]] * len(frame)),
    "another dtype": lambda frame: frame.assign(c0=[2j] * len(frame)),
    "an unknown category": lambda frame: frame.assign(
        c0=["never seen"] * len(frame) if frame["c0"].dtype.kind not in "iufM" else np.inf
    ),
}


@settings(14)
@given(frames(missing=False), st.sampled_from(sorted(PERTURBED)))
def test_what_does_not_fit_is_refused(frame, how):
    frame["last"] = np.arange(len(frame)) * 1.5
    vae = fitted(frame)
    if vae is None:
        return
    before = vae.transform(frame)
    with pytest.raises((ValueError, TypeError)) as error:
        vae.transform(PERTURBED[how](frame))
    assert any(word in str(error.value) for word in ["c0", "more", "order", "sample"])
    np.testing.assert_array_equal(vae.transform(frame), before)


@settings(14)
@given(frames(missing=False), st.data())
def test_given_cells_are_kept(frame, data):
    vae = fitted(frame)
    if vae is None:
        return
    names = data.draw(st.lists(st.sampled_from(list(frame.columns)), min_size=1, unique=True))
    cells = {name: frame[name].iloc[0] for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of rare cells
        drawn = vae.sample(3, random_state=0, given=cells)
    for name, cell in cells.items():
        assert (drawn[name] == cell).all()


def test_a_hundred_thousand_categories():
    frame = pd.DataFrame({"key": np.arange(100_000).astype(str), "x": np.arange(100_000) % 7})
    with pytest.raises(ValueError, match="'key' has 100000 categories, more than 10000"):
        VAETransformer(1, likelihood="auto", max_epochs=0).fit(frame)
