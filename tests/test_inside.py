"""What a fitted model says of its components: posterior deviations, effects, Jacobians."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer

WINE = StandardScaler().fit_transform(load_wine().data)
DIGITS = load_digits().data
K = 3


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "whiten"])
def linear(request):
    return VAETransformer(K, max_epochs=0, whiten=request.param, random_state=0).fit(WINE)


@pytest.fixture(scope="module")
def trained():
    vae = VAETransformer(4, max_epochs=4, hidden_layer_sizes=32, random_state=0).fit(DIGITS)
    assert vae.best_epoch_ > 0
    return vae


class TestReturnStd:
    def test_is_that_of_the_exact_posterior(self, linear):
        pca = PCA(K, svd_solver="full").fit(WINE)
        T, T_std = linear.transform(WINE, return_std=True)
        # The posterior of a latent has variance s2 / l, and T = mu / r in PCA's units.
        share = pca.noise_variance_ / pca.explained_variance_
        expected = np.sqrt(share / (1 - share))
        if not linear.whiten:
            expected = expected * np.sqrt(pca.explained_variance_)
        assert_allclose(T_std, np.tile(expected, (len(WINE), 1)), rtol=1e-6)
        assert np.array_equal(T, linear.transform(WINE))

    def test_differs_between_rows_and_is_that_of_draws(self, trained):
        _, T_std = trained.transform(DIGITS[:5], return_std=True)
        draws = trained.sample_posterior(DIGITS[:5], 4000, 0)
        assert_allclose(draws.std(axis=1), T_std, rtol=0.06)
        assert T_std.std(axis=0).max() > 0
        assert trained.transform(DIGITS[:5].astype("f4"), return_std=True)[1].dtype == np.float32

    def test_cells_that_were_not_seen_widen_it(self):
        vae = VAETransformer(K, max_epochs=0, missing_values="observed", random_state=0).fit(WINE)
        holed = WINE[:20].copy()
        holed[:, ::2] = np.nan
        _, of_whole = vae.transform(WINE[:20], return_std=True)
        _, of_holed = vae.transform(holed, return_std=True)
        assert (of_holed > of_whole).all()

    def test_the_first_is_a_frame_where_asked_for(self, linear):
        named = linear.set_output(transform="pandas").transform(WINE, return_std=True)
        linear.set_output(transform="default")
        assert list(named[0].columns) == [f"vaetransformer{i}" for i in range(K)]
        assert named[1].shape == (len(WINE), K)

    @pytest.mark.parametrize("given", ["yes", 1, None])
    def test_is_asked_for_by_a_bool(self, linear, given):
        with pytest.raises(ValueError, match=f"return_std must be True or False, got {given!r}"):
            linear.transform(WINE, return_std=given)
        with pytest.raises(ValueError, match=f"noise must be True or False, got {given!r}"):
            linear.sample(2, noise=given)
        with pytest.raises(ValueError, match=f"decode must be True or False, got {given!r}"):
            linear.sample_posterior(WINE, decode=given)
        with pytest.raises(ValueError, match=f"draw must be True or False, got {given!r}"):
            linear.impute(WINE, draw=given)
        assert len(linear.transform(WINE, return_std=np.True_)) == 2


def test_counts_are_no_bools(linear):
    with pytest.raises(ValueError, match="n_samples must be an int of at least 1, got True"):
        linear.sample(True)
    with pytest.raises(ValueError, match="n_draws must be an int of at least 1, got True"):
        linear.sample_posterior(WINE, True)


class TestComponentEffects:
    def test_are_pcas_components_at_zero_epochs(self, linear):
        pca = PCA(K, svd_solver="full").fit(WINE)
        assert_allclose(linear.component_effects(WINE), pca.components_, atol=1e-5)
        assert_allclose(linear.component_effects(WINE), linear.components_, atol=1e-6)

    @pytest.mark.parametrize("whiten", [False, True])
    def test_are_mean_derivatives_of_inverse_transform(self, whiten):
        vae = VAETransformer(
            4, max_epochs=4, hidden_layer_sizes=32, whiten=whiten, random_state=0
        ).fit(DIGITS)
        assert vae.best_epoch_ > 0
        rows = DIGITS[:50]
        T = vae.transform(rows)
        effects = vae.component_effects(rows)
        for j in range(4):
            step = np.zeros(4)
            step[j] = 1e-3 * T[:, j].std()
            up, down = vae.inverse_transform(T + step), vae.inverse_transform(T - step)
            slopes = up - down
            length = np.sqrt((slopes**2).sum(axis=1).mean())
            assert_allclose(effects[j], slopes.mean(axis=0) / length, atol=1e-3)
        assert np.linalg.norm(effects, axis=1).max() < 1

    def test_are_shorter_where_directions_differ_from_row_to_row(self):
        # Along a parabola the tangent at the vertex is the first column's direction; over all rows
        # what it does to the second cancels.
        t = np.random.RandomState(0).uniform(-1.5, 1.5, 2000)
        X = np.column_stack([t, t**2]) + 0.05 * np.random.RandomState(1).normal(size=(2000, 2))
        vae = VAETransformer(1, max_epochs=20, random_state=0).fit(X)
        assert abs(vae.components_[0, 0]) > 0.95
        effect = vae.component_effects(X)[0]
        assert np.linalg.norm(effect) < 0.9
        assert abs(effect[1]) < 0.2 < abs(effect[0])
