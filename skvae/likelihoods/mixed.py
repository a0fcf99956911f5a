"""Columns of different kinds, each with a law of its own."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from .likelihood import Likelihood


class Mixed(Likelihood):
    """p(x|z) = prod_b p_b(x_b|z): each block of columns b has a law of its own.

    A column with a wide law weighs little beside one with a narrow law: what balances columns of
    different kinds is the noise that each law learns, as between the columns of one law. The score
    is the sum of the laws' own, a density over the columns that have one and a probability over
    the others: compare it with that of another model only where each column has the same measure.

    The features are those of the laws, centred, and with unit variances but for one-hot columns.
    It starts from PCA of them: its posterior, at a noise that is searched, for the encoder, and for
    the decoder what each law makes of its part of the loadings, times one scalar where it has no
    closed form itself.

    Parameters
    ----------
    n_features : int
    blocks : sequence of pairs (factory, columns)
        Of a factory `n_columns -> Likelihood` and the positions of its columns; each column in
        exactly one. Not of laws that are given the row's total.
    names : sequence of str, optional
        What messages call the columns.

    Raises
    ------
    ValueError
        If a column has no law or two, or a law needs whole rows.

    References
    ----------
    A. Nazabal, P. M. Olmos, Z. Ghahramani, I. Valera, "Handling Incomplete Heterogeneous Data using
    VAEs", Pattern Recognition 107, 2020.
    """

    exact_start = False
    searched_noise = True
    features_are_columns = False

    def __init__(self, n_features, blocks, names=None):
        super().__init__(n_features)
        blocks = [(factory, columns) for factory, columns in blocks if len(columns)]
        self.columns = [np.asarray(columns, dtype=int) for _, columns in blocks]
        taken = np.concatenate([np.empty(0, int), *self.columns])
        if len(taken) and not 0 <= taken.min() <= taken.max() < n_features:
            raise ValueError(
                f"likelihood has columns {taken.min()} to {taken.max()}, of which X has "
                f"{n_features}."
            )
        times = np.bincount(taken, minlength=n_features)
        names = range(n_features) if names is None else names
        for wrong, trouble in (
            (times == 0, "no law"),
            (times > 1, "more than one law"),
        ):
            if wrong.any():
                called = [repr(names[j]) for j in np.flatnonzero(wrong)]
                raise ValueError(
                    f"likelihood gives {len(called)} column(s) {trouble}: "
                    f"{', '.join(called[:5])}{', ...' if len(called) > 5 else ''}. Each of the "
                    f"{n_features} needs exactly one."
                )
        self.laws = nn.ModuleList(
            factory(len(columns))
            for (factory, _), columns in zip(blocks, self.columns, strict=True)
        )
        for law in self.laws:
            if law.needs_whole_rows:
                raise ValueError(
                    f"{type(law).__name__} is given the row's total and cannot stand beside other "
                    "laws."
                )
        # Where the columns of the blocks, one behind the other, are in X.
        self.register_buffer("places", torch.as_tensor(np.argsort(taken)), persistent=False)

    @property
    def measure(self):
        measures = {law.measure for law in self.laws}
        return measures.pop() if len(measures) == 1 else "mixed"

    @property
    def start_fades(self):
        return all(law.start_fades for law in self.laws)

    @property
    def any_number(self):
        return all(law.any_number for law in self.laws)

    @property
    def has_moments(self):
        return all(law.has_moments for law in self.laws)

    @property
    def n_inputs(self):
        return sum(law.n_inputs for law in self.laws)

    @property
    def n_outputs(self):
        return sum(law.n_outputs for law in self.laws)

    @property
    def placeholder(self):
        parts = torch.cat([law.placeholder.to(self.places.device) for law in self.laws])
        return parts[self.places]

    def _blocks(self, x):
        """Each law and its columns of rows x, an array or a tensor."""
        return [
            (law, x[..., columns]) for law, columns in zip(self.laws, self.columns, strict=True)
        ]

    def _of_outputs(self, outputs):
        """Each law and its part of the decoder's outputs."""
        return zip(self.laws, outputs.split([law.n_outputs for law in self.laws], -1), strict=True)

    def _joined(self, parts):
        """The columns of X from those of the blocks."""
        return torch.cat(list(parts), dim=-1)[..., self.places]

    def feature_mask(self, mask):
        return torch.cat([law.feature_mask(part) for law, part in self._blocks(mask)], dim=-1)

    def check_support(self, X, name_column, first_row=0):
        for (law, part), columns in zip(self._blocks(X), self.columns, strict=True):
            law.check_support(part, lambda j, columns=columns: name_column(columns[j]), first_row)

    def check_stream(self, X, name_column):
        for (law, part), columns in zip(self._blocks(X), self.columns, strict=True):
            law.check_stream(part, lambda j, columns=columns: name_column(columns[j]))

    def learn_support(self, X):
        for law, part in self._blocks(X):
            law.learn_support(part)
        self._lay_out()

    def learn_categories(self, n_categories):
        for law, part in self._blocks(n_categories):
            law.learn_categories(part)
        self._lay_out()

    def _lay_out(self):
        self.feature_centre, self.feature_scale = np.zeros(self.n_inputs), np.ones(self.n_inputs)

    def set_units(self, X):
        for (law, part), columns in zip(self._blocks(X), self.columns, strict=True):
            law.set_units(part)
            self.centre[columns], self.scale[columns] = law.centre, law.scale
        self._log_scale = torch.as_tensor(np.log(self.scale))
        self.feature_centre, self.feature_scale = np.zeros(self.n_inputs), np.ones(self.n_inputs)

    def in_units_of_rows(self, x):
        parts = [law.in_units_of_rows(part) for law, part in self._blocks(x)]
        return np.concatenate(parts, axis=-1)[..., self.places.cpu().numpy()]

    def start_rows(self, X):
        parts = [
            (law.start_rows(part) - law.feature_centre) / law.feature_scale
            for law, part in self._blocks(X)
        ]
        return np.hstack(parts)

    def features(self, x):
        return torch.cat([law.features(part) for law, part in self._blocks(x)], dim=-1)

    def log_prob(self, outputs, x):
        pairs = zip(self._of_outputs(outputs), self.columns, strict=True)
        return self._joined(law.log_prob(part, x[..., columns]) for (law, part), columns in pairs)

    def mean(self, outputs):
        return self._joined(law.mean(part) for law, part in self._of_outputs(outputs))

    def variance(self, outputs):
        return self._joined(
            law.variance(part).expand(*outputs.shape[:-1], -1)
            for law, part in self._of_outputs(outputs)
        )

    def same_measure(self, other):
        return all(a.same_measure(b) for a, b in zip(self.laws, other.laws, strict=True))

    def at_noise_floor(self, outputs):
        return self._joined(law.at_noise_floor(part) for law, part in self._of_outputs(outputs))

    def sample(self, outputs):
        return self._joined(law.sample(part) for law, part in self._of_outputs(outputs))

    def expected(self, outputs, weights):
        return self._joined(law.expected(part, weights) for law, part in self._of_outputs(outputs))

    def feature_mean(self, outputs):
        parts = []
        for law, part in self._of_outputs(outputs):
            centre, scale = law.feature_mean_units()
            mean = law.feature_mean(part)
            shift = torch.as_tensor((centre - law.feature_centre) / law.feature_scale).to(mean)
            parts.append(mean * torch.as_tensor(scale / law.feature_scale).to(mean) + shift)
        return torch.cat(parts, dim=-1)

    def feature_columns(self):
        columns, codes = [], []
        for law, of_block in zip(self.laws, self.columns, strict=True):
            places, codes_of_block = law.feature_columns()
            columns.append(of_block[places])
            codes.append(codes_of_block)
        return np.concatenate(columns), np.concatenate(codes)

    def frequencies(self):
        return np.concatenate([law.frequencies() for law in self.laws])

    def probabilities(self, outputs):
        return torch.cat(
            [law.probabilities(part) for law, part in self._of_outputs(outputs)], dim=-1
        )

    def least_noise(self):
        return float(
            np.mean(
                np.concatenate(
                    [
                        np.broadcast_to(law.least_noise(), law.n_inputs) / law.feature_scale**2
                        for law in self.laws
                    ]
                )
            )
        )

    def decoder_start(self, start):
        weights, biases, first = [], [], 0
        for law in self.laws:
            part = slice(first, first + law.n_inputs)
            first += law.n_inputs
            unit = law.feature_scale
            noise = start.noise_variance * unit**2
            of_law = replace(
                start,
                mean=start.mean[part] * unit + law.feature_centre,
                loadings=start.loadings[part] * unit[:, None],
                noise_variance=float(noise.mean()) if law.linear_model == "pca" else noise,
                # A law with a closed form needs no factor.
                gain=1.0 if law.exact_start else start.gain,
            )
            weight, bias = law.decoder_start(of_law)
            weights.append(weight)
            biases.append(bias)
        return np.vstack(weights), np.concatenate(biases)
