"""Small and odd input, errors that say what and where, and fits that fail, stop or diverge."""

import functools
import re
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils._param_validation import InvalidParameterError
from skorch.callbacks import Callback, EarlyStopping
from torch import nn

from skvae import VAETransformer
from skvae.likelihoods import Gaussian
from skvae.priors import StandardNormal

GAUSSIANS = ["gaussian", "diagonal_gaussian", "heteroscedastic_gaussian"]


def small(n_components=2, **params):
    """A VAETransformer that trains for a moment."""
    defaults = {"hidden_layer_sizes": (16,), "max_epochs": 2, "random_state": 0}
    return VAETransformer(n_components, **(defaults | params))


def rows(n_samples=80, n_features=5, seed=0):
    """Two factors and noise."""
    rng = np.random.RandomState(seed)
    factors = rng.normal(size=(n_samples, 2)) @ rng.normal(size=(2, n_features))
    return factors + 0.3 * rng.normal(size=(n_samples, n_features))


def curved(n_samples=80):
    """Rows on a bent sheet, on which training finds something."""
    t = rows(n_samples, 2)
    return np.column_stack([t, t[:, 0] ** 2, np.sin(2 * t[:, 1]), t[:, 0] * t[:, 1]])


def accepted(estimator):
    return dict(estimator.net_.callbacks_)["best_epoch"].accepted_


def assert_finite(estimator, X):
    """Everything that the estimator says of X is finite."""
    T = estimator.transform(X)
    assert T.shape == (len(X), estimator.n_components_)
    assert np.isfinite(T).all()
    assert np.isfinite(estimator.inverse_transform(T)).all()
    assert np.isfinite(estimator.score_samples(X)).all()
    assert np.isfinite(estimator.sample(3, random_state=0)).all()
    for name in ("mean_", "components_", "explained_variance_", "noise_variance_"):
        assert np.isfinite(getattr(estimator, name)).all(), name
    assert np.isfinite(estimator.explained_variance_ratio_).all()


# ------------------------------------------------------------------------- few rows or columns


def test_fewer_rows_than_a_batch():
    X = rows(80)
    estimator = small(batch_size=1000, init="random").fit(X)
    assert_finite(estimator, X)
    assert [epoch["train_batch_count"] for epoch in estimator.history_] == [1, 1]
    n_train = 80 - len(estimator.net_.valid_rows_)
    exact = small(batch_size=n_train, init="random").fit(X)
    assert_array_equal(estimator.transform(X), exact.transform(X))


def normalizing(n_in, n_out):
    """A network that cannot take a training batch of a single row."""
    return nn.Sequential(nn.Linear(n_in, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, n_out))


@pytest.mark.parametrize("n_samples", [64, 65, 66])
def test_last_batch_of_one_row(n_samples):
    X = rows(n_samples)
    estimator = small(network=normalizing, early_stopping=False, batch_size=16).fit(X)
    assert_finite(estimator, X)
    # A single row left over joins the batch before it, two make one of their own.
    assert estimator.history_[-1]["train_batch_count"] == {64: 4, 65: 4, 66: 5}[n_samples]


def test_batches_of_one_row():
    X = rows(61)
    estimator = small(batch_size=1, early_stopping=False, max_epochs=1).fit(X)
    assert_finite(estimator, X)
    assert estimator.history_[-1]["train_batch_count"] >= 60


@pytest.mark.parametrize("likelihood", GAUSSIANS)
@pytest.mark.parametrize("max_epochs", [0, 2])
def test_one_column(likelihood, max_epochs):
    X = rows(80, 1)
    estimator = small(1, likelihood=likelihood, max_epochs=max_epochs).fit(X)
    assert_finite(estimator, X)
    if max_epochs == 0 and likelihood == "gaussian":
        # With nothing left over for the noise it sits at its floor, and T is still PCA's.
        assert_allclose(estimator.transform(X), PCA(1).fit_transform(X), rtol=1e-6)
        assert_allclose(estimator.inverse_transform(estimator.transform(X)), X, rtol=1e-6)


@pytest.mark.parametrize("init", ["pca", "random"])
@pytest.mark.parametrize("n_samples", [2, 3, 7])
def test_very_few_rows(n_samples, init):
    X = rows(n_samples)
    estimator = small(1, init=init).fit(X)
    assert_finite(estimator, X)
    if init == "pca":
        # Too few rows to select epochs on: the closed form.
        assert_allclose(estimator.transform(X), PCA(1).fit_transform(X), atol=1e-7)


def test_one_row_at_fit():
    with pytest.raises(ValueError, match=r"1 sample.*minimum of 2 is required"):
        small(1).fit(rows(1))


def test_one_row_after_fit():
    X = rows(80)
    estimator = small(init="random").fit(X)
    T, scores = estimator.transform(X), estimator.score_samples(X)
    for i in (0, 7):
        one = estimator.transform(X[i : i + 1])
        assert one.shape == (1, 2)
        assert_allclose(one[0], T[i], rtol=1e-9)
        assert_allclose(estimator.score_samples(X[i : i + 1]), scores[i], rtol=1e-9)
        assert estimator.score(X[i : i + 1]) == estimator.score_samples(X[i : i + 1])[0]
        assert estimator.inverse_transform(T[i : i + 1]).shape == (1, 5)
    for method in (estimator.transform, estimator.score_samples, estimator.inverse_transform):
        with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
            method(X[0])
        with pytest.raises(ValueError, match="0 sample"):
            method(X[:0])


@pytest.mark.parametrize("n_components", [40, 48, 49])
def test_as_many_components_as_rows_or_columns(n_components):
    # Validation rows must not take away the rows that the linear start needs.
    X = np.random.RandomState(0).normal(size=(50, 60))
    estimator = small(n_components, lr=1e-6).fit(X)
    assert estimator.transform(X).shape == (50, n_components)
    assert_allclose(
        np.abs(estimator.transform(X)[:, :20]),
        np.abs(PCA(n_components).fit_transform(X)[:, :20]),
        rtol=1e-6,
    )


# ------------------------------------------------------------------------ repeats and constants


@pytest.mark.parametrize("likelihood", GAUSSIANS)
def test_duplicated_rows(likelihood):
    X = np.repeat(rows(20), 4, axis=0)
    estimator = small(likelihood=likelihood, early_stopping=False).fit(X)
    assert_finite(estimator, X)
    # Equal rows are told the same, to the last bit that batching leaves.
    assert_allclose(np.ptp(estimator.transform(X).reshape(20, 4, 2), axis=1), 0, atol=1e-12)
    assert_allclose(np.ptp(estimator.score_samples(X).reshape(20, 4), axis=1), 0, atol=1e-9)


@pytest.mark.parametrize("likelihood", [*GAUSSIANS, "bernoulli"])
def test_two_distinct_rows(likelihood):
    X = np.repeat([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]], 30, axis=0)
    estimator = small(1, likelihood=likelihood).fit(X)
    assert_finite(estimator, X)
    T = estimator.transform(X).ravel()
    assert (T[:30] > T[30]).all() or (T[:30] < T[30]).all()


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -1e8, 1e-8])
@pytest.mark.parametrize("likelihood", GAUSSIANS)
def test_one_constant_column(likelihood, value):
    X = np.insert(rows(80), 2, value, axis=1)
    estimator = small(likelihood=likelihood, max_epochs=0).fit(X)
    assert_finite(estimator, X)
    back = estimator.inverse_transform(estimator.transform(X))
    assert_allclose(back[:, 2], value, rtol=1e-9, atol=1e-9)
    # A constant tells nothing of the other columns, whatever it is: 80 times 0.1 has a standard
    # deviation of rounding errors, which is no scale to divide by.
    zero = np.insert(rows(80), 2, 0.0, axis=1)
    expected = small(likelihood=likelihood, max_epochs=0).fit(zero)
    assert_allclose(
        np.abs(estimator.transform(X)), np.abs(expected.transform(zero)), rtol=1e-6, atol=1e-7
    )
    assert_allclose(estimator.score_samples(X), expected.score_samples(zero), rtol=1e-6)
    trained = small(likelihood=likelihood, early_stopping=False).fit(X)
    assert_finite(trained, X)


@pytest.mark.parametrize("likelihood", [*GAUSSIANS, "bernoulli"])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e8])
@pytest.mark.parametrize("max_epochs", [0, 2])
def test_all_columns_constant(likelihood, value, max_epochs):
    X = np.full((80, 3), value)
    estimator = small(likelihood=likelihood, max_epochs=max_epochs)
    if likelihood == "bernoulli" and value not in (0, 1):
        with pytest.raises(ValueError, match="needs columns of 0 and 1"):
            estimator.fit(X)
        return
    # Nothing but this warning: no division by a variance of zero, there or in scikit-learn.
    with pytest.warns(ConvergenceWarning, match="2 of 2 latent components carry less than"):
        estimator.fit(X)
    assert_finite(estimator, X)
    assert np.ptp(estimator.transform(X), axis=0).max() < 1e-9
    if max_epochs == 0:
        assert_allclose(estimator.transform(X), 0, atol=1e-9)
    tolerance = 0.01 if likelihood == "bernoulli" else 1e-9
    back = estimator.inverse_transform(estimator.transform(X))
    assert_allclose(back, X, rtol=tolerance, atol=tolerance)


# ------------------------------------------------------------------------------------- scales


def standardized():
    X = rows(80)
    return (X - X.mean(axis=0)) / X.std(axis=0)


@pytest.mark.parametrize("c", [1e-8, 1e8])
@pytest.mark.parametrize("likelihood", GAUSSIANS)
def test_scale_at_zero_epochs(likelihood, c):
    # Unit columns, so that FactorAnalysis's absolute stopping rule is met alike at each scale.
    X = standardized()
    plain = small(likelihood=likelihood, max_epochs=0).fit(X)
    scaled = small(likelihood=likelihood, max_epochs=0).fit(c * X)
    T = plain.transform(X)
    assert_allclose(scaled.transform(c * X), c * T, rtol=1e-9, atol=1e-9 * c)
    assert_allclose(
        scaled.score_samples(c * X), plain.score_samples(X) - X.shape[1] * np.log(c), rtol=1e-9
    )
    assert_allclose(scaled.score(c * X), plain.score(X) - X.shape[1] * np.log(c), rtol=1e-9)
    assert_allclose(
        scaled.inverse_transform(c * T), c * plain.inverse_transform(T), rtol=1e-6, atol=1e-9 * c
    )
    assert_allclose(scaled.explained_variance_, c**2 * plain.explained_variance_, rtol=1e-9)
    assert_allclose(scaled.noise_variance_, c**2 * np.asarray(plain.noise_variance_), rtol=1e-6)
    assert_allclose(
        scaled.sample(4, random_state=1), c * plain.sample(4, random_state=1), rtol=1e-6
    )


@pytest.mark.parametrize("c", [2.0**-27, 2.0**27], ids=["7e-9", "1e8"])
@pytest.mark.parametrize("likelihood", GAUSSIANS)
def test_scale_with_training(likelihood, c):
    # A power of two leaves the digits as they are: training sees the same working units.
    X = standardized()
    plain = small(likelihood=likelihood, early_stopping=False).fit(X)
    scaled = small(likelihood=likelihood, early_stopping=False).fit(c * X)
    assert_finite(scaled, c * X)
    assert_allclose(scaled.transform(c * X), c * plain.transform(X), rtol=1e-4, atol=1e-6 * c)
    assert_allclose(scaled.history_[:, "train_loss"][-1] - X.shape[1] * np.log(c),
                    plain.history_[:, "train_loss"][-1], rtol=1e-4)  # fmt: skip


@pytest.mark.parametrize("likelihood", GAUSSIANS)
def test_offset_with_training(likelihood):
    # These rows keep their digits under this offset in float64, and lose them all in float32.
    X = standardized().round(4)
    offset = 2.0**26
    plain = small(likelihood=likelihood, early_stopping=False).fit(X)
    far = small(likelihood=likelihood, early_stopping=False).fit(X + offset)
    assert_allclose(far.transform(X + offset), plain.transform(X), rtol=1e-3, atol=1e-4)
    assert_allclose(far.history_[:, "train_loss"], plain.history_[:, "train_loss"], rtol=1e-4)


@pytest.mark.parametrize("likelihood", ["diagonal_gaussian", "heteroscedastic_gaussian"])
def test_columns_of_very_different_scales(likelihood):
    X = rows(80) * np.array([1e-8, 1e-4, 1.0, 1e4, 1e8]) + np.array([1.0, 0, 1e6, 0, -1e9])
    estimator = small(likelihood=likelihood).fit(X)
    assert_finite(estimator, X)
    back = estimator.inverse_transform(estimator.transform(X))
    if likelihood == "diagonal_gaussian":
        # Each column has its own noise, so each is reconstructed, the smallest one too.
        assert (np.square(X - back).mean(axis=0) < 0.9 * X.var(axis=0)).all()


# ---------------------------------------------------------------------- layouts, dtypes, kinds


def strided(X):
    wide = np.zeros((2 * X.shape[0], 3 * X.shape[1]))
    wide[::2, ::3] = X
    return wide[::2, ::3]


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def read_only_fortran(X):
    X = np.asfortranarray(X)
    X.flags.writeable = False
    return X


LAYOUTS = {
    "fortran": np.asfortranarray,
    "strided": strided,
    "reversed": lambda X: X[::-1].copy()[::-1],
    "reversed columns": lambda X: X[:, ::-1].copy()[:, ::-1],
    "read-only": read_only,
    "read-only fortran": read_only_fortran,
    "list": lambda X: X.tolist(),
    "list of arrays": list,
    "objects": lambda X: X.astype(object),
    "big-endian": lambda X: X.astype(">f8"),
    "transposed": lambda X: X.T.copy().T,
}


@pytest.mark.parametrize("init", ["pca", "random"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_give_the_same_bits(layout, init):
    # The same numbers are the same input: a table, whose columns lie one after the other in
    # memory, has to give the model that its array gives.
    X = curved()
    other = LAYOUTS[layout](X)
    params = {"init": init, "lr": 1e-2, "batch_size": 16, "early_stopping": False}
    plain, estimator = small(**params).fit(X), small(**params).fit(other)
    T = plain.transform(X)
    assert_array_equal(estimator.transform(other), T)
    assert_array_equal(estimator.score_samples(other), plain.score_samples(X))
    assert_array_equal(estimator.inverse_transform(LAYOUTS[layout](T)), plain.inverse_transform(T))
    # And it is left as it was.
    assert_array_equal(np.asarray(other, dtype=float), X)


@pytest.mark.parametrize("layout", ["read-only", "fortran", "strided", "reversed"])
def test_layouts_with_a_batch_transform(layout):
    X = LAYOUTS[layout](rows(80)).astype(np.float32)
    X.flags.writeable = False
    assert_finite(small(batch_transform=lambda x: x + 0.01 * torch.randn_like(x)).fit(X), X)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.float16])
def test_integers_and_half_precision(dtype):
    X = np.random.RandomState(0).poisson(5, size=(80, 4)).astype(dtype)
    estimator = small().fit(X)
    expected = small().fit(X.astype(float))
    assert estimator.transform(X).dtype == np.float64
    assert_array_equal(estimator.transform(X), expected.transform(X.astype(float)))
    assert_array_equal(estimator.score_samples(X), expected.score_samples(X.astype(float)))


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_bools(likelihood):
    X = rows(80) > 0
    estimator = small(likelihood=likelihood).fit(X)
    assert_finite(estimator, X)
    expected = small(likelihood=likelihood).fit(X.astype(float))
    assert_array_equal(estimator.transform(X), expected.transform(X.astype(float)))
    assert_array_equal(estimator.score_samples(X), expected.score_samples(X.astype(float)))


def test_float32_and_float64_rows_agree():
    # Far from the origin float32 cannot centre columns: that has to happen in float64.
    X32 = (rows(80) * [1, 10, 1e-3, 1, 1] + [1e3, 0, 1, -1e4, 0]).astype(np.float32)
    X64 = X32.astype(np.float64)
    narrow, wide = small(max_epochs=0).fit(X32), small(max_epochs=0).fit(X64)
    T32, T64 = narrow.transform(X32), wide.transform(X64)
    assert T32.dtype == np.float32
    assert_allclose(T32, T64, atol=1e-5 * np.abs(T64).max())
    assert_allclose(narrow.score_samples(X32), wide.score_samples(X64), rtol=1e-3)
    assert_array_equal(narrow.transform(X64), T64)


# -------------------------------------------------------------------------- errors: what, where


@pytest.fixture(scope="module")
def fitted():
    return small(max_epochs=0).fit(rows(80))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_not_finite(fitted, value, dtype):
    X = rows(80).astype(dtype)
    X[3, 2] = value
    X[7, 4] = value
    place = re.escape(
        f"The first such value is {value} at row 3, column 2; there are 2 in 2 column(s): 2, 4."
    )
    for method in (small().fit, small().fit_transform, fitted.transform, fitted.score_samples):
        with pytest.raises(ValueError, match=place) as caught:
            method(X)
        # What to do comes first, and then scikit-learn's own words.
        words = str(caught.value)
        assert "contains NaN" in words or "contains infinity" in words
        assert words.startswith("X has missing cells; a model") == np.isnan(value)
    with pytest.raises(ValueError, match="Input contains NaN"):
        fitted.inverse_transform(X[:, :2] * np.nan)


def test_not_finite_in_a_table():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(rows(80), columns=["a", "b", "c", "d", "size (cm)"])
    fitted = small(max_epochs=0).fit(frame)
    frame.loc[5, "size (cm)"] = np.nan
    place = re.escape("The first such value is nan at row 5, column 'size (cm)'; there are 1 in")
    for method in (small().fit, fitted.transform, fitted.score_samples, fitted.score):
        with pytest.raises(ValueError, match=place):
            method(frame)
    # Rows are counted, whatever the index calls them.
    frame.index = [f"row{i}" for i in range(80)]
    with pytest.raises(ValueError, match=place):
        fitted.transform(frame)


def test_missing_values_of_tables():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(rows(80), columns=list("abcde")).astype({"b": "Float64"})
    frame.loc[2, "b"] = pd.NA
    with pytest.raises(ValueError, match=r"at row 2, column 'b'"):
        small().fit(frame)
    with pytest.raises(ValueError, match=r"None at row 4, column 1"):
        X = rows(80).astype(object)
        X[4, 1] = None
        small().fit(X)


def test_complex_values(fitted):
    X = rows(80).astype(complex)
    X[6, 1] += 2j
    for method in (small().fit, fitted.transform, fitted.score_samples):
        with pytest.raises(ValueError, match=r"(?s)Complex data not supported.*row 0, column 0"):
            method(X)


def test_strings(fitted):
    X = rows(80).astype(object)
    X[6, 1] = "blue"
    for bad in (X, X.astype(str)):
        for method in (small().fit, fitted.transform):
            with pytest.raises(ValueError, match=r"'blue'.*at row 6, column 1; there are 1 in"):
                method(bad)


def test_strings_in_a_table():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(rows(80), columns=list("abcde"))
    fitted = small(max_epochs=0).fit(frame)
    frame["d"] = ["red", "blue"] * 40
    expected = "'red' at row 0, column 'd'; there are 80 in 1 column"
    for method in (small().fit, fitted.transform, fitted.score_samples):
        with pytest.raises(ValueError, match=expected):
            method(frame)
    frame["d"] = pd.Categorical(frame["d"])
    with pytest.raises(ValueError, match=expected):
        small().fit(frame)
    frame["d"] = pd.date_range("2020-01-01", periods=80)
    with pytest.raises((ValueError, TypeError), match="at row 0, column 'd'"):
        small().fit(frame)


def test_strings_that_are_numbers():
    # scikit-learn converts them, with a warning on its way; so the model is the numbers' model.
    X = rows(80).round(3)
    assert_array_equal(
        small(max_epochs=0).fit(X.astype(str).astype(object)).mean_,
        small(max_epochs=0).fit(X).mean_,
    )


def test_wrong_columns(fitted):
    pd = pytest.importorskip("pandas")
    message = "X has 4 features, but VAETransformer is expecting 5 features as input"
    for method in (fitted.transform, fitted.score_samples, fitted.score):
        with pytest.raises(ValueError, match=message):
            method(rows(80, 4))
    frame = pd.DataFrame(rows(80), columns=list("abcde"))
    named = small(max_epochs=0).fit(frame)
    with pytest.raises(
        ValueError, match=r"(?s)Feature names unseen at fit time:\n- z.*missing:\n- a"
    ):
        named.transform(frame.rename(columns={"a": "z"}))


def test_other_shapes():
    for bad, message in (
        (np.zeros(10), "Expected 2D array, got 1D array"),
        (np.zeros((4, 3, 2)), "dim 3|3 dimensions"),
        (3.0, "Expected 2D array, got scalar"),
        (np.zeros((10, 0)), "0 feature"),
        (np.zeros((0, 3)), "0 sample"),
    ):
        with pytest.raises(ValueError, match=message):
            small().fit(bad)


@pytest.mark.parametrize("value", [-1.0, 0.5, 2.0, 255.0])
def test_bernoulli_needs_zeros_and_ones(value):
    X = (rows(80) > 0).astype(float)
    X[9, 3] = value
    place = re.escape(f"found {value:g} at row 9, column 3 (1 such values in rows 0 to 79)")
    with pytest.raises(ValueError, match=place):
        small(likelihood="bernoulli").fit(X)
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=f"found {value:g} at row 9, column 'd'"):
        small(likelihood="bernoulli").fit(pd.DataFrame(X, columns=list("abcde")))


@pytest.mark.parametrize("value", [-1.0, 0.5, 2.0])
def test_bernoulli_scores_need_zeros_and_ones(value):
    # The logarithm of no probability: a mass has none outside its support.
    X = (rows(80) > 0).astype(float)
    estimator = small(likelihood="bernoulli", max_epochs=0).fit(X)
    X[9, 3] = value
    for method in (estimator.score_samples, estimator.score):
        with pytest.raises(ValueError, match=f"found {value:g} at row 9, column 3"):
            method(X)


@pytest.mark.parametrize("n_components", [None, 0.5, 0.9, 0.999, "mle"])
def test_components_are_counted_as_pca_does(n_components):
    X = rows(80, 5) * [5, 4, 3, 2, 1]
    pca = PCA(n_components, svd_solver="full").fit(X)
    start = small(n_components, max_epochs=0).fit(X)
    assert start.n_components_ == pca.n_components_
    np.testing.assert_allclose(start.transform(X), pca.transform(X), atol=1e-8)
    trained = small(n_components, init="random").fit(X)
    assert trained.transform(X).shape == (80, pca.n_components_)
    assert len(trained.get_feature_names_out()) == pca.n_components_


@pytest.mark.parametrize("X", [np.random.RandomState(0).normal(size=(30, 1)), np.ones((30, 4))])
def test_minkas_choice_of_no_component_is_one(X):
    with pytest.warns(ConvergenceWarning) if X.shape[1] > 1 else nullcontext():
        assert small("mle", max_epochs=0).fit(X).n_components_ == 1


@pytest.mark.parametrize("draws", [0, 1.5, None])
def test_draws_set_after_the_fit_are_checked(draws):
    model = small().fit(rows()).set_params(n_importance_samples=draws)
    with pytest.raises(InvalidParameterError, match="n_importance_samples"):
        model.score(rows())


def test_a_part_of_the_users_own_is_copied():
    own = Gaussian(5)
    X = rows(80, 5)
    first = small(likelihood=lambda n_features: own).fit(X)
    score = first.score(X)
    small(likelihood=lambda n_features: own).fit(X * 100 + 3)
    assert first.score(X) == score


@pytest.mark.parametrize("transform", [lambda x: x > 0.5, lambda x: (x > 0.5).int()])
def test_a_batch_transform_may_change_the_dtype(transform):
    X = rows(80, 5)
    model = small(likelihood="bernoulli", batch_transform=transform).fit(X)
    assert np.isfinite(model.score((X > 0.5).astype(float)))


@pytest.mark.parametrize("value", [1e151, -1e200, 1e308])
def test_values_whose_squares_overflow_are_named(value):
    X = rows()
    X[3, 1] = value
    with pytest.raises(ValueError, match=re.escape(f"{value:g} at row 3, column 1")):
        small().fit(X)
    assert_finite(small().fit(rows() * 1e140), rows() * 1e140)


@pytest.mark.parametrize("shape", [(80, 5), (4, 9)])
def test_too_many_components(shape):
    limit = min(shape)
    message = re.escape(
        f"n_components={limit + 1} must be between 1 and min(n_samples, n_features)={limit}"
    )
    with pytest.raises(ValueError, match=message):
        small(limit + 1).fit(rows(*shape))
    # As many as there can be: a PCA of 80 rows in 5 columns, or of 4 rows and so 3 directions.
    kept = limit if shape == (80, 5) else limit - 1
    assert_finite(small(kept).fit(rows(*shape)), rows(*shape))


# Latents beyond the columns may well stay empty.
@pytest.mark.filterwarnings(
    "ignore:.*latent components carry:sklearn.exceptions.ConvergenceWarning"
)
def test_more_components_than_columns_from_a_random_start():
    X = rows(80, 3)
    assert_finite(small(5, init="random", early_stopping=False).fit(X), X)


@pytest.mark.parametrize("likelihood", GAUSSIANS)
def test_random_weights_without_training(likelihood):
    # Here q(z|x) is as wide as the prior: there is no shrinkage that could be divided out.
    X = rows(80)
    assert_finite(small(init="random", max_epochs=0, likelihood=likelihood).fit(X), X)


def test_inverse_transform_of_the_wrong_width(fitted):
    for width in (1, 3, 5):
        with pytest.raises(ValueError, match=f"X has {width} columns.*the 2 that transform"):
            fitted.inverse_transform(np.zeros((4, width)))


@pytest.mark.parametrize("n_samples", [0, -1, 1.5, "a", None])
def test_sample_needs_a_count(fitted, n_samples):
    with pytest.raises(ValueError, match=f"n_samples.*{re.escape(repr(n_samples))}"):
        fitted.sample(n_samples)


@pytest.mark.parametrize("random_state", ["a", 1.5, -1, [None]])
def test_sample_needs_a_seed(fitted, random_state):
    with pytest.raises(ValueError, match=r"[Ss]eed"):
        fitted.sample(2, random_state=random_state)


def test_not_fitted():
    estimator = small()
    for call in (
        lambda: estimator.transform(rows()),
        lambda: estimator.inverse_transform(np.zeros((2, 2))),
        lambda: estimator.score_samples(rows()),
        lambda: estimator.score(rows()),
        lambda: estimator.sample(2),
        estimator.get_covariance,
        estimator.get_precision,
        estimator.get_feature_names_out,
    ):
        with pytest.raises(NotFittedError, match="VAETransformer instance is not fitted"):
            call()


# ------------------------------------------------------------------------------- parameters


BAD_PARAMETERS = {
    "n_components": [0, -1, 1.5, 1.0, "2", [2]],
    "likelihood": ["gauss", 1, None],
    "prior": ["gamma", None],
    "network": ["cnn", 3],
    "hidden_layer_sizes": [0, 2.5, "mlp", None],
    "activation": ["sigmoidal", None, 1],
    "init": ["zeros", None],
    "whiten": ["yes", None],
    "beta": [-0.1, "1", np.nan, np.inf],
    "free_bits": [-0.1, "1", np.nan],
    "n_importance_samples_train": [0, 1.5, "2", None],
    "kl_warmup": [1.0, -0.1, "long"],
    "lr": [0, -1e-3, "fast", np.nan, np.inf],
    "max_epochs": [-1, 2.5, None, "many"],
    "batch_size": [0, 2.5, None],
    "early_stopping": ["no", None],
    "validation_fraction": [0.0, 1.0, -0.1, 5, None],
    "n_iter_no_change": [0, 1.5],
    "n_importance_samples": [0, 1.5, None],
    "batch_transform": ["blur", 1],
    "missing_values": ["ignore", None, np.nan],
    "categorical_features": ["all", 3],
    "handle_unknown": ["ignore", None],
    "device": [0, None],
    "warm_start": ["no", None],
    "callbacks": ["early", Callback()],
    "net_params": [[], "lr"],
    "random_state": ["a", -1, 1.5],
    "verbose": [-1, "loud"],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in BAD_PARAMETERS.items() for value in values],
)
def test_parameters_of_the_wrong_type_or_range(name, value):
    message = rf"The '{name}' parameter of VAETransformer must be .* Got .* instead\."
    with pytest.raises(InvalidParameterError, match=message):
        small(**{name: value}).fit(rows())


def test_every_parameter_is_tried():
    assert BAD_PARAMETERS.keys() == VAETransformer().get_params().keys()


@pytest.mark.parametrize("sizes", [(0,), (-3,), (1.5,), ("a",), [[3]], (16, None)])
def test_hidden_layer_sizes_are_counts(sizes):
    with pytest.raises((ValueError, TypeError), match="hidden_layer_sizes"):
        small(hidden_layer_sizes=sizes).fit(rows())


@pytest.mark.parametrize("part", ["train", "valid"])
@pytest.mark.parametrize("size", [0, -2, 2.5])
def test_rows_of_a_batch_are_counts(part, size):
    with pytest.raises(ValueError, match=f"iterator_{part}__batch_size .* got {size}"):
        small(**{f"iterator_{part}__batch_size": size}).fit(rows(100))


@pytest.mark.parametrize("sizes", [(), 8, [8], (8, 4), np.array([8, 4])])
def test_hidden_layer_sizes_of_each_kind(sizes):
    estimator = small(hidden_layer_sizes=sizes, init="random").fit(rows())
    widths = [layer.out_features for layer in estimator.net_.module_.encoder.modules()
              if isinstance(layer, nn.Linear)]  # fmt: skip
    assert widths == [*np.atleast_1d(sizes), 2 * 2]


OWNED = [
    "module",
    "criterion",
    "module__n_components",
    "lr",
    "max_epochs",
    "batch_size",
    "device",
    "callbacks",
    "verbose",
    "warm_start",
    "criterion__beta",
    "train_split__cv",
]


@pytest.mark.parametrize("name", OWNED)
def test_net_params_with_names_that_the_estimator_owns(name):
    with pytest.raises(ValueError, match=f"net_params has '{name}', which VAETransformer sets"):
        small(net_params={name: 3}).fit(rows())


def test_beta_has_one_name():
    # As a name of the net it would silently win over the parameter beta.
    with pytest.raises((ValueError, TypeError), match="criterion__beta"):
        small(criterion__beta=4.0).fit(rows())


def test_own_callbacks_cannot_be_switched_off_by_name():
    with pytest.raises((ValueError, TypeError), match="callbacks__best_epoch"):
        small(callbacks__best_epoch=None).fit(rows())


@pytest.mark.parametrize("name", ["n_component", "foo", "module__x", "lr__x"])
def test_unknown_keyword_arguments(name):
    with pytest.raises(TypeError, match=f"unexpected (keyword argument|parameter) '{name}'"):
        small(**{name: 3}).fit(rows())


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("svd_solver", " PCA's has no counterpart here: leave it out"),
        ("n_component", r" Is it 'n_components'\?$"),
        ("foo", "$"),
    ],
)
def test_parameters_that_are_nearly_some(name, hint):
    with pytest.raises(TypeError, match=rf"unexpected keyword argument '{name}'\.{hint}"):
        VAETransformer(2, **{name: 1})


def test_unknown_names_of_the_net():
    with pytest.raises((ValueError, TypeError), match="wait_decay"):
        small(optimizer__wait_decay=0.1).fit(rows())
    with pytest.raises((ValueError, TypeError), match="gradient_clop"):
        small(net_params={"gradient_clop": 1.0}).fit(rows())


CHANGED_PARTS = {
    "n_components": 3,
    "likelihood": "diagonal_gaussian",
    "hidden_layer_sizes": (8,),
    "network": "linear",
    "activation": "relu",
}


@pytest.mark.parametrize("name", CHANGED_PARTS)
def test_a_warm_start_with_other_parts(name):
    # It goes on with the earlier model, so it cannot do what the parameter says.
    X = rows()
    estimator = small(max_epochs=0).fit(X)
    T = estimator.transform(X)
    estimator.set_params(warm_start=True, **{name: CHANGED_PARTS[name]})
    with pytest.raises(ValueError, match=f"{name}=.*warm_start=False"):
        estimator.fit(X)
    assert_array_equal(estimator.transform(X), T)


def test_unknown_device():
    with pytest.raises(ValueError, match="device='gpu' is not a device"):
        small(device="gpu").fit(rows())


@pytest.mark.parametrize("init", ["pca", "random"])
@pytest.mark.parametrize("n_samples", [20, 60])
def test_nearly_all_rows_held_out(init, n_samples):
    # 0.99 of 60 rows is 60 of them, which would leave none to fit on.
    X = rows(n_samples)
    estimator = small(validation_fraction=0.99, init=init).fit(X)
    assert_finite(estimator, X)
    if init == "pca":
        # One row is too few for a linear start; where it cannot be judged it is the model.
        assert_allclose(estimator.transform(X), PCA(2).fit_transform(X), rtol=1e-6)


# ------------------------------------------------------------------- interrupted and failed fits


class Raising(nn.Module):
    """Raises `error` in the training step with this number, counted from 1."""

    def __init__(self, n_in, n_out, error=KeyboardInterrupt, step=2):
        super().__init__()
        self.layer = nn.Linear(n_in, n_out)
        self.error, self.step, self.steps = error, step, 0

    def forward(self, x):
        self.steps += self.training
        if self.training and self.steps == self.step:
            raise self.error("from the network")
        return self.layer(x)


class RaisingCallback(Callback):
    def __init__(self, error=KeyboardInterrupt, hook="on_epoch_end"):
        self.error = error
        self.hook = hook

    def _raise(self, hook):
        if hook == self.hook:
            raise self.error("from the callback")

    def on_train_begin(self, net, **kwargs):
        self._raise("on_train_begin")

    def on_batch_end(self, net, **kwargs):
        self._raise("on_batch_end")

    def on_epoch_end(self, net, **kwargs):
        self._raise("on_epoch_end")

    def on_train_end(self, net, **kwargs):
        self._raise("on_train_end")


class NotFinite(nn.Linear):
    def forward(self, x):
        return super().forward(x) / 0


HOOKS = ["on_train_begin", "on_batch_end", "on_epoch_end", "on_train_end"]

# What makes a fit fail on rows of any width, and the error that the user has to see.
FAILURES = {
    "interrupted network": ({"network": Raising}, KeyboardInterrupt),
    "failing network": ({"network": functools.partial(Raising, error=OSError)}, OSError),
    "late failing network": ({"network": functools.partial(Raising, step=5)}, KeyboardInterrupt),
    "components": ({"n_components": 99}, ValueError),
    "parameter": ({"lr": -1.0}, ValueError),
    "wrong network": ({"network": lambda n_in, n_out: nn.Linear(n_in, n_out + 1)}, ValueError),
    "no network": ({"network": lambda n_in, n_out: None}, TypeError),
    "network of nothing finite": ({"network": NotFinite}, ValueError),
    "network of other widths": ({"network": lambda n_in, n_out: nn.Linear(99, n_out)}, ValueError),
    "size of a likelihood": (
        {"likelihood": lambda n_features: Gaussian(n_features + 1)},
        ValueError,
    ),
    "size of a prior": ({"prior": lambda k: StandardNormal(k + 1)}, ValueError),
    "names of callbacks": ({"callbacks": [(3, EarlyStopping())]}, TypeError),
    "no prior": ({"prior": lambda n_components: torch.distributions.Normal(0, 1)}, TypeError),
    "no likelihood": ({"likelihood": lambda n_features: nn.Linear(2, 2)}, TypeError),
    "no callback": ({"callbacks": [("mine", 3)]}, TypeError),
    "no rows of a transform": ({"batch_transform": lambda x: None}, ValueError),
    "array of a transform": ({"batch_transform": lambda x: x.numpy()}, ValueError),
    "shape of a transform": ({"batch_transform": lambda x: x[:, :1]}, ValueError),
    "values of a transform": ({"batch_transform": lambda x: x / 0}, ValueError),
    "unknown name": ({"net_params": {"foo": 1}}, (TypeError, ValueError)),
} | {
    f"{error.__name__} {hook}": ({"callbacks": [RaisingCallback(error, hook)]}, error)
    for error in (KeyboardInterrupt, OSError)
    for hook in HOOKS
}


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_first_fit_leaves_nothing(failure, early_stopping):
    params, error = FAILURES[failure]
    estimator = small(early_stopping=early_stopping, batch_size=16, **params)
    before = dict(vars(estimator))
    with pytest.raises(error):
        estimator.fit(rows())
    assert vars(estimator) == before
    with pytest.raises(NotFittedError):
        estimator.transform(rows())


@pytest.mark.parametrize(
    ("failure", "warm_start"),
    [(failure, False) for failure in FAILURES]
    # A warm start goes on with the earlier parts.
    + [
        (failure, True)
        for failure in FAILURES
        if not {"network", "prior", "likelihood"} & set(FAILURES[failure][0])
    ],
)
def test_a_failed_refit_leaves_the_earlier_fit(failure, warm_start):
    pd = pytest.importorskip("pandas")
    params, error = FAILURES[failure]
    frame = pd.DataFrame(curved(), columns=list("abcde"))
    estimator = small(init="random", lr=1e-2, batch_size=16).fit(frame)
    assert accepted(estimator)
    before = {name: value for name, value in vars(estimator).items() if name.endswith("_")}
    T, scores = estimator.transform(frame), estimator.score_samples(frame)
    draws = estimator.sample(3)

    # Without a warm start the refit has fewer columns, under other names.
    other = frame + 1 if warm_start else pd.DataFrame(rows(70, 3), columns=list("xyz"))
    estimator.set_params(warm_start=warm_start, **params)
    if failure == "components" and not warm_start:
        estimator.set_params(init="pca")
    with pytest.raises(error):
        estimator.fit(other)
    assert_array_equal(estimator.transform(frame), T)
    assert_array_equal(estimator.score_samples(frame), scores)
    assert_array_equal(estimator.sample(3), draws)
    assert estimator.n_features_in_ == 5
    assert_array_equal(estimator.feature_names_in_, list("abcde"))
    after = {name: value for name, value in vars(estimator).items() if name.endswith("_")}
    assert before.keys() == after.keys()
    assert all(after[name] is value for name, value in before.items())
    with pytest.raises(ValueError, match="feature names"):
        estimator.transform(pd.DataFrame(rows(70, 3), columns=list("xyz")))


@pytest.mark.parametrize(
    "bad",
    [np.full((80, 5), np.nan), rows(80, 3).astype(complex), np.zeros((1, 5)), [["a"] * 3] * 80],
    ids=["nan", "complex", "one row", "strings"],
)
def test_a_refit_on_bad_rows_leaves_the_earlier_fit(bad):
    X = rows()
    estimator = small().fit(X)
    T = estimator.transform(X)
    with pytest.raises(ValueError):
        estimator.fit(bad)
    assert_array_equal(estimator.transform(X), T)
    assert estimator.n_features_in_ == 5


def test_an_interrupt_keeps_its_message():
    with pytest.raises(KeyboardInterrupt, match="from the network"):
        small(network=Raising, batch_size=16).fit(rows())
    with pytest.raises(KeyboardInterrupt, match="from the callback"):
        small(callbacks=[RaisingCallback()]).fit(rows())


def test_a_fit_after_an_interrupted_one_is_as_if_it_were_the_first():
    X = rows()
    estimator = small(network=Raising, batch_size=16)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X)
    estimator.set_params(network="mlp", init="random").fit(X)
    expected = small(batch_size=16, init="random").fit(X)
    assert_array_equal(estimator.transform(X), expected.transform(X))


# ------------------------------------------------------------------------------ early stopping


def stop_after_two(monitor="valid_loss", **params):
    # No epoch improves by 1e9 nats on the first one.
    return EarlyStopping(
        monitor, patience=1, threshold=1e9, threshold_mode="abs", sink=str, **params
    )


@pytest.mark.parametrize(
    ("early_stopping", "monitor"), [(True, "valid_loss"), (False, "train_loss")]
)
def test_the_users_early_stopping_stops(early_stopping, monitor):
    X = curved()
    estimator = small(
        max_epochs=9, early_stopping=early_stopping, callbacks=[stop_after_two(monitor)]
    ).fit(X)
    assert len(estimator.history_) == 2
    assert_finite(estimator, X)
    # The schedule has put the learning rate back.
    rates = [group["lr"] for group in estimator.net_.optimizer_.param_groups]
    assert max(rates) <= 5 * estimator.lr
    assert estimator.lr in rates


def test_callbacks_after_the_one_that_stops_hear_of_the_last_epoch():
    class Listener(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("heard", True)

    estimator = small(max_epochs=9, callbacks=[stop_after_two(), Listener()]).fit(rows())
    assert [epoch["heard"] for epoch in estimator.history_] == [True, True]


def test_early_stopping_that_loads_its_own_best():
    # It puts back the weights of an epoch that was not accepted; the closed form has to stay one.
    X = rows()
    estimator = small(max_epochs=9, lr=1e-2, callbacks=[stop_after_two(load_best=True)]).fit(X)
    assert not accepted(estimator)
    assert_allclose(estimator.transform(X), PCA(2).fit_transform(X), rtol=1e-6)


# ------------------------------------------------------------------------------- divergence


class Diverging(nn.Module):
    """NaN from the given training step on, counted from 1; as it was again outside training."""

    def __init__(self, n_in, n_out, step=1):
        super().__init__()
        self.layer = nn.Linear(n_in, n_out)
        self.step, self.steps = step, 0

    def forward(self, x):
        self.steps += self.training
        outputs = self.layer(x)
        return outputs * np.nan if self.training and self.steps >= self.step else outputs


class DivergingGradient(Diverging):
    """Finite outputs, and a gradient that is not from the given step on."""

    def forward(self, x):
        self.steps += self.training
        outputs = self.layer(x)
        if outputs.requires_grad and self.training and self.steps >= self.step:
            outputs.register_hook(lambda gradient: gradient * np.nan)
        return outputs


def diverging(step, kind=Diverging):
    return functools.partial(kind, step=step)


@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_learning_rate_far_too_high(early_stopping):
    X = rows()
    estimator = small(lr=1e6, max_epochs=5, early_stopping=early_stopping, batch_size=16)
    with pytest.warns(ConvergenceWarning, match=r"diverged.*at lr=1e\+06.*back to epoch 0"):
        estimator.fit(X)
    # Nothing but the start is left, on all rows.
    assert_allclose(estimator.transform(X), PCA(2).fit_transform(X), rtol=1e-6)
    assert_finite(estimator, X)


@pytest.mark.parametrize("lr", [1e8, 1e30])
@pytest.mark.parametrize("max_epochs", [1, 2])
def test_divergence_in_the_last_step(max_epochs, lr):
    # One batch an epoch: the loss of an epoch is measured before its step, so that of the last
    # step is seen by nobody unless it is looked for.
    X = rows()
    estimator = small(lr=lr, max_epochs=max_epochs, early_stopping=False, batch_size=80)
    with pytest.warns(ConvergenceWarning, match="diverged"):
        estimator.fit(X)
    assert_finite(estimator, X)
    assert_allclose(estimator.transform(X), PCA(2).fit_transform(X), rtol=1e-6)


@pytest.mark.parametrize("kind", [Diverging, DivergingGradient])
@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("step", [1, 3, 4, 7, 12])
def test_a_network_that_diverges(step, early_stopping, kind):
    # Three epochs of four steps: from the very first to the very last step.
    X = rows(85)
    estimator = small(
        network=diverging(step, kind), max_epochs=3, early_stopping=early_stopping,
        validation_fraction=0.25, batch_size=16 if early_stopping else 22,
    )  # fmt: skip
    with pytest.warns(ConvergenceWarning, match="diverged") as record:
        estimator.fit(X)
    assert estimator.history_[0]["train_batch_count"] == 4
    assert_finite(estimator, X)
    # It went back to an epoch that was over before the step that diverged.
    back_to = int(re.search(r"back to epoch (\d+)", str(record[0].message))[1])
    assert back_to <= (step - 1) // 4
    if back_to == 0:
        assert_allclose(estimator.transform(X), PCA(2).fit_transform(X), rtol=1e-6)


@pytest.mark.parametrize("early_stopping", [True, False])
def test_divergence_from_a_random_start(early_stopping):
    X = rows(85)
    params = {"init": "random", "early_stopping": early_stopping, "batch_size": 16}
    for changed in ({"lr": 1e8, "max_epochs": 5}, {"network": diverging(2)}):
        estimator = small(**(params | changed))
        with pytest.raises(FloatingPointError, match="No epoch before it was finite"):
            estimator.fit(X)
        assert not hasattr(estimator, "net_")
    # One finite epoch is enough to go back to.
    estimator = small(network=diverging(9), max_epochs=5, **params)
    with pytest.warns(ConvergenceWarning, match=r"back to epoch [12]"):
        estimator.fit(X)
    assert_finite(estimator, X)


def test_divergence_of_a_warm_start_goes_back_to_the_earlier_fit():
    X = curved()
    estimator = small(init="random", early_stopping=False, batch_size=16).fit(X)
    T = estimator.transform(X)
    estimator.set_params(warm_start=True, lr=1e8)
    with pytest.warns(ConvergenceWarning, match="back to epoch 0"):
        estimator.fit(X)
    # The same weights, after a round trip through training's float32.
    assert_allclose(estimator.transform(X), T, rtol=1e-5, atol=1e-6)
