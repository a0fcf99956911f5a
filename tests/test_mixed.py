"""Columns with laws of their own."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skvae import VAEImputer, VAETransformer
from skvae.likelihoods import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    Gaussian,
    LogNormal,
    Mixed,
    NegativeBinomial,
    StudentT,
)

pd = pytest.importorskip("pandas")

SMALL = {"hidden_layer_sizes": 16, "n_importance_samples": 50, "random_state": 0}
NAMES = ["height", "visits", "member", "region", "income", "balance"]
PAIRS = [
    ("diagonal_gaussian", ["height", "balance"]),
    ("negative_binomial", "visits"),
    ("bernoulli", ["member"]),
    ("categorical", ["region"]),
    ("lognormal", ["income"]),
]
BLOCKS = [
    (DiagonalGaussian, [0, 5]),
    (NegativeBinomial, [1]),
    (Bernoulli, [2]),
    (Categorical, [3]),
    (LogNormal, [4]),
]


def rows(n=600, seed=0):
    """Six columns of five kinds that two latents move."""
    random = np.random.RandomState(seed)
    z = random.normal(size=(n, 2))
    return np.column_stack(
        [
            170 + 10 * z[:, 0] + 3 * random.normal(size=n),
            random.poisson(np.exp(1 + 0.7 * z[:, 1])),
            random.uniform(size=n) < 1 / (1 + np.exp(-3 * z[:, 0])),
            np.digitize(z[:, 1] + 0.3 * random.normal(size=n), [-1, 0, 1]),
            np.exp(8 + z[:, 0] + z[:, 1] + 0.2 * random.normal(size=n)),
            1e4 * (z[:, 1] + 0.1 * random.normal(size=n)),
        ]
    ).astype(float)


def mixed():
    law = Mixed(6, BLOCKS)
    X = rows()
    law.check_support(X, str)
    law.learn_support(X)
    law.set_units(X)
    return law.double(), X


class TestLaw:
    def test_log_prob_is_that_of_each_law_on_its_columns(self):
        law, X = mixed()
        torch.manual_seed(0)
        outputs = torch.randn(7, 3, law.n_outputs, dtype=torch.float64)
        x = torch.as_tensor((X[:7] - law.centre) / law.scale)[:, None]
        found = law.log_prob(outputs, x).detach()
        assert found.shape == (7, 3, 6)
        first = 0
        for (factory, columns), part in zip(BLOCKS, law.laws, strict=True):
            alone = factory(len(columns))
            alone.learn_support(X[:, columns])
            alone.set_units(X[:, columns])
            alone.double().load_state_dict(part.state_dict())
            of_law = outputs[..., first : first + alone.n_outputs]
            first += alone.n_outputs
            own = torch.as_tensor((X[:7, columns] - alone.centre) / alone.scale)[:, None]
            expected = alone.log_prob(of_law, own).detach()
            torch.testing.assert_close(found[..., columns], expected)

    def test_features_and_columns_keep_their_order(self):
        law, X = mixed()
        x = torch.as_tensor((X - law.centre) / law.scale)
        expected = law.start_rows(X)
        assert expected.shape == (len(X), law.n_inputs) == (len(X), 9)
        np.testing.assert_allclose(law.features(x).detach(), expected, atol=1e-6)
        np.testing.assert_allclose(expected.mean(axis=0), 0, atol=1e-6)
        outputs = torch.zeros(5, law.n_outputs, dtype=torch.float64)
        torch.manual_seed(0)
        with torch.no_grad():
            draws = law.sample(outputs).numpy() * law.scale + law.centre
            mean = law.mean(outputs).numpy() * law.scale + law.centre
        law.check_support(draws, str)
        assert np.abs(mean[0, 0] - 170) < 2
        assert np.abs(np.log(mean[0, 4]) - 8) < 1
        mask = torch.tensor([[True, False, True, False, True, True]])
        assert law.feature_mask(mask).tolist() == [[True, True, False, True, *[False] * 4, True]]

    def test_measures(self):
        assert Mixed(2, [(Gaussian, [0]), (StudentT, [1])]).measure == "density"
        assert Mixed(2, [(Bernoulli, [1]), (Categorical, [0])]).measure == "mass"
        assert mixed()[0].measure == "mixed"

    def test_columns_without_a_law(self):
        with pytest.raises(ValueError, match=r"gives 1 column\(s\) no law: 1\. Each of the 3"):
            Mixed(3, [(Gaussian, [0, 2])])
        with pytest.raises(ValueError, match=r"gives 1 column\(s\) more than one law: 0\."):
            Mixed(2, [(Gaussian, [0, 1]), (Bernoulli, [0])])
        with pytest.raises(ValueError, match="has columns 0 to 5, of which X has 2"):
            Mixed(2, [(Gaussian, [0, 5])])


class TestFit:
    X = rows()
    frame = pd.DataFrame(X, columns=NAMES)

    def test_the_start_is_ahead_of_a_random_one_and_training_gains(self):
        X_test = rows(seed=1)
        law = partial(Mixed, blocks=BLOCKS)
        scores = {
            (init, epochs): VAETransformer(2, likelihood=law, init=init, max_epochs=epochs, **SMALL)
            .fit(self.X)
            .score(X_test)
            for init, epochs in (("pca", 0), ("random", 1), ("pca", 40), ("random", 40))
        }
        assert scores["pca", 0] > scores["random", 1] + 0.5
        assert scores["pca", 40] > scores["pca", 0] + 0.3
        assert scores["pca", 40] > scores["random", 40]

    def test_one_block_is_the_law_itself(self):
        real = np.log(self.X[:, [0, 4]])
        alone = VAETransformer(1, likelihood="student_t", max_epochs=3, **SMALL).fit(real)
        block = VAETransformer(1, likelihood=[("student_t", [0, 1])], max_epochs=3, **SMALL)
        assert block.fit(real).score(real) == pytest.approx(alone.score(real), abs=0.1)

    @pytest.mark.parametrize(
        "likelihood",
        [
            PAIRS,
            dict((law, columns) for law, columns in PAIRS),
            [
                ("diagonal_gaussian", slice(0, 6, 5)),
                ("negative_binomial", 1),
                ("bernoulli", [False, False, True, False, False, False]),
                ("categorical", [-3]),
                (LogNormal, "income"),
            ],
        ],
    )
    def test_ways_to_name_columns(self, likelihood):
        expected = VAETransformer(
            2, likelihood=partial(Mixed, blocks=BLOCKS), max_epochs=2, **SMALL
        ).fit(self.X)
        vae = VAETransformer(2, likelihood=likelihood, max_epochs=2, **SMALL)
        if isinstance(likelihood, list) and isinstance(likelihood[0][1], slice):
            # Another order of blocks' columns is another model, but for its start.
            vae.set_params(max_epochs=0)
            expected.set_params(max_epochs=0).fit(self.X)
        vae.fit(self.frame)
        np.testing.assert_allclose(vae.transform(self.frame), expected.transform(self.X), atol=1e-8)
        assert vae.likelihood_ == likelihood

    def test_what_comes_out_is_in_the_support(self):
        vae = VAETransformer(2, likelihood=PAIRS, max_epochs=10, **SMALL).fit(self.frame)
        drawn = vae.sample(500, random_state=0).to_numpy()
        vae.net_.module_.likelihood.check_support(drawn, str)
        for j in (0, 1, 4, 5):
            assert 0.5 < drawn[:, j].std() / self.X[:, j].std() < 2
        back = vae.inverse_transform(vae.transform(self.frame)).to_numpy()
        assert np.corrcoef(back[:, 0], self.X[:, 0])[0, 1] > 0.8
        assert (back[:, 3] == self.X[:, 3]).mean() > 0.6
        with pytest.raises(ValueError, match="law of codes"):
            vae.get_covariance()

    def test_missing_cells_weights_streams_and_pickles(self):
        holes = np.where(np.random.RandomState(0).uniform(size=self.X.shape) < 0.2, np.nan, self.X)
        frame = pd.DataFrame(holes, columns=NAMES)
        vae = VAETransformer(
            2, likelihood=PAIRS, missing_values="observed", max_epochs=20, **SMALL
        ).fit(frame, sample_weight=np.ones(len(frame)))
        missing = np.isnan(holes)
        filled = vae.impute(frame, n_draws=200).to_numpy()
        for j in (0, 1, 4, 5):
            hidden = missing[:, j]
            assert np.corrcoef(filled[hidden, j], self.X[hidden, j])[0, 1] > 0.5
        assert (filled[:, 3] == self.X[:, 3])[missing[:, 3]].mean() > 0.5
        again = pickle.loads(pickle.dumps(vae))
        np.testing.assert_array_equal(again.score_samples(frame), vae.score_samples(frame))
        stream = clone(vae)
        for part in np.array_split(np.arange(len(frame)), 2):
            stream.partial_fit(frame.iloc[part])
        assert np.isfinite(stream.score(frame))
        imputer = VAEImputer(clone(vae), n_draws=50, random_state=0).fit(frame)
        assert list(imputer.transform(frame).columns) == NAMES

    @pytest.mark.parametrize(
        ("likelihood", "message"),
        [
            (PAIRS[1:], r"gives 2 column\(s\) no law: 'height', 'balance'"),
            ([*PAIRS, ("gaussian", [0])], r"gives 1 column\(s\) more than one law: 'height'"),
            ([("gauss", slice(None))], "likelihood has 'gauss' for columns .* the names are"),
            (
                [(["height"], "gaussian")],
                r"likelihood has \['height'\] for columns 'gaussian'; the",
            ),
            ([("gaussian", ["size"])], "likelihood names column 'size'; X has"),
            ([("gaussian", [9])], r"likelihood has \[9\] for columns, of which X has 6: "),
            ([("gaussian", [True])], r"likelihood has \[True\] for columns, of which X has 6"),
            ([("gaussian", [1.5])], r"likelihood has \[1\.5\] for columns, of which X has 6"),
            ([("gaussian", [])], r"gives 6 column\(s\) no law: 'height', .*, \.\.\.\. Each"),
            (["gaussian"], "one entry is 'gaussian'"),
            ([("multinomial", slice(None))], "Multinomial is given the row's total"),
        ],
    )
    def test_errors(self, likelihood, message):
        with pytest.raises(ValueError, match=message):
            VAETransformer(2, likelihood=likelihood, max_epochs=0).fit(self.frame)

    def test_values_outside_a_law_are_named_by_their_column(self):
        bad = self.frame.copy()
        bad.loc[7, "income"] = -1
        with pytest.raises(ValueError, match="found -1 at row 7, column 'income'"):
            VAETransformer(2, likelihood=PAIRS, max_epochs=0).fit(bad)
