"""Samples judged against held-out rows, by prior, beside GaussianMixture and PCA.

    python benchmarks/sampling.py [--full] [--threads 2] [--sets digits,fashion]

As many rows are sampled as are held out, at most 2,000, and compared with these:

two-sample   accuracy of a random forest that tells samples from rows (five folds), by the first k
             principal components of the rows: .5 is best, 1 is worst (D. Lopez-Paz, M. Oquab,
             "Revisiting Classifier Two-Sample Tests", ICLR 2017). In all columns every method is at
             1: the uniform noise of white pixels is not Gaussian.
energy       energy distance in the units of X, 0 is best (G. Szekely, M. Rizzo, JSPI 143, 2013);
             "held-out rows" has that of other rows.
precision,   part of the samples that lie among the rows, and of the rows that lie among the
recall       samples: within the distance of the third neighbour of one of them (T. Kynkaanniemi et
             al., "Improved Precision and Recall Metric", NeurIPS 2019).
log p        mean log-likelihood of the held-out rows, in nats.

All of ours have default settings but for the prior. Means over the seeds. Quick mode: digits and
10,000 rows of Fashion-MNIST, one seed; full mode adds MNIST (binarized anew in each batch), all
rows, three seeds of digits.
"""

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from datasets import load_images
from report import describe, environment, read_json, table, write_json, write_text
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_score

from skvae import VAETransformer
from skvae.priors import PRIORS

SETS = {"digits": 16, "fashion": 16, "mnist": 32}
QUICK = "digits", "fashion"
MOST_ROWS = 2000


def rows_of(name, seed, full):
    """Training rows, held-out rows, and other held-out rows to compare these with."""
    if name == "digits":
        X = load_digits().data
        # Grey levels spread over their steps, once for all.
        X = X + np.random.RandomState(0).uniform(size=X.shape)
        order = np.random.RandomState(seed).permutation(len(X))
        return X[order[600:]], X[order[:300]], X[order[300:600]]
    X, _, X_test, _ = load_images("fashion_mnist" if name == "fashion" else "mnist")
    X = X if full else X[:10_000]
    random = np.random.RandomState(seed)
    if name == "mnist":
        X_test = (random.uniform(size=X_test.shape) < X_test / 255).astype(np.float32)
        X = (X / 255).astype(np.float32)
    else:
        X, X_test = (
            ((part + random.uniform(size=part.shape)) / 256).astype(np.float32)
            for part in (X, X_test)
        )
    return X, X_test[:MOST_ROWS], X_test[MOST_ROWS : 2 * MOST_ROWS]


class PPCA(PCA):
    """PCA with samples of its own probabilistic model."""

    def sample(self, n_samples):
        z = self.random_state.normal(size=(n_samples, self.n_components))
        W = self.components_.T * np.sqrt(self.explained_variance_ - self.noise_variance_)
        noise = self.random_state.normal(size=(n_samples, len(self.mean_)))
        return self.mean_ + z @ W.T + noise * self.noise_variance_**0.5


class MixtureOfPCs(GaussianMixture):
    """GaussianMixture, its samples in random order."""

    def sample(self, n_samples):
        rows = super().sample(n_samples)[0]
        return rows[np.random.RandomState(0).permutation(n_samples)]


def models(name, k, seed):
    binary = name == "mnist"
    law = {"likelihood": "bernoulli", "batch_transform": torch.bernoulli} if binary else {}
    for prior in PRIORS:
        yield f"ours, {prior}", VAETransformer(k, prior=prior, random_state=seed, **law)
    if not binary:
        yield "PCA", PPCA(k, random_state=np.random.RandomState(seed))
        yield (
            "GaussianMixture, 10 full",
            MixtureOfPCs(10, reg_covar=1e-3 if name == "digits" else 1e-4, random_state=seed),
        )


def two_sample(samples, rows, k):
    X = PCA(k, random_state=0).fit(rows).transform(np.vstack([samples, rows]))
    y = np.repeat([0, 1], [len(samples), len(rows)])
    forest = RandomForestClassifier(100, random_state=0)
    order = np.random.RandomState(0).permutation(len(y))
    return cross_val_score(forest, X[order], y[order], cv=5).mean()


def energy_distance(samples, rows):
    n, m = len(samples), len(rows)
    within = cdist(samples, samples).sum() / (n * (n - 1)) + cdist(rows, rows).sum() / (m * (m - 1))
    return 2 * cdist(samples, rows).mean() - within


def part_within(points, of):
    """The part of the points that lie no farther from one of the others than its third
    neighbour among them does."""
    radius = np.sort(cdist(of, of), axis=1)[:, 3]
    return (cdist(points, of) <= radius).any(axis=1).mean()


def judge(samples, rows, k):
    samples, rows = (np.asarray(part, dtype=np.float64) for part in (samples, rows))
    return {
        "two-sample": two_sample(samples, rows, k),
        "energy": energy_distance(samples, rows),
        "precision": part_within(samples, rows),
        "recall": part_within(rows, samples),
    }


def measure(name, seed, full, pictures):
    X, rows, others = rows_of(name, seed, full)
    k = SETS[name]
    results = {"held-out rows": judge(others, rows, k)}
    pictures["held-out rows"] = others[:12]
    for label, model in models(name, k, seed):
        began = perf_counter()
        model.fit(X)
        seconds = perf_counter() - began
        samples = model.sample(len(rows))
        results[label] = judge(samples, rows, k) | {"log p": model.score(rows), "fit, s": seconds}
        means = isinstance(model, VAETransformer)
        pictures[label] = model.sample(12, 0, noise=False) if means else samples[:12]
        print(
            name,
            seed,
            label,
            {n: round(float(v), 3) for n, v in results[label].items()},
            flush=True,
        )
    return results


def draw(pictures, path):
    """Twelve samples a model; the means of p(x|z) of ours, since their noise is independent."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(pictures), 12, figsize=(10, 0.85 * len(pictures)))
    figure.subplots_adjust(left=0.22, right=0.99, top=0.99, bottom=0.01, wspace=0.05, hspace=0.05)
    most = np.percentile(pictures["held-out rows"], 99.5)
    for row, (label, images) in zip(axes, pictures.items(), strict=True):
        row[0].set_ylabel(label, rotation=0, ha="right", va="center")
        for ax, image in zip(row, images, strict=True):
            side = round(len(image) ** 0.5)
            ax.imshow(image.reshape(side, side), cmap="gray_r", vmin=0, vmax=most)
            ax.set_xticks([])
            ax.set_yticks([])
    figure.savefig(path, dpi=110)
    plt.close(figure)


DIGITS = {"two-sample": 3, "energy": 4, "precision": 3, "recall": 3, "log p": 2, "fit, s": 1}


def markdown(content):
    lines = ["# Samples, by prior", "", __doc__.split("\n\n", 2)[2].strip(), ""]
    for name, result in content.items():
        runs = result["runs"]
        rows = [
            [label]
            + [
                f"{np.mean([run[label][column] for run in runs]):.{digits}f}"
                if column in runs[0][label]
                else "-"
                for column, digits in DIGITS.items()
            ]
            for label in runs[0]
        ]
        lines += [f"## {name}, k = {SETS[name]}", "", table(["", *DIGITS], rows), ""]
        lines += [describe(result["environment"]), ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sets", default="")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    path = arguments.out / f"sampling{'' if arguments.full else '-quick'}.json"
    content = (read_json(path) or {}) if arguments.sets else {}
    names = arguments.sets.split(",") if arguments.sets else SETS if arguments.full else QUICK
    for name in names:
        seeds = range(3) if arguments.full and name == "digits" else range(1)
        pictures = {}
        runs = [measure(name, seed, arguments.full, pictures) for seed in seeds]
        content[name] = {"runs": runs, "environment": environment()}
        content = {name: content[name] for name in SETS if name in content}
        write_json(path, content)
        write_text(path.with_suffix(".md"), markdown(content))
        draw(pictures, path.with_name(f"{path.stem}-{name}.png"))


if __name__ == "__main__":
    main()
