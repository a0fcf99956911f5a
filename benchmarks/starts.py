"""Does the linear start help, for every law? Held-out ELBO from PCA's start and from a random one.

    python benchmarks/starts.py [--full] [--threads 2] [--laws poisson,laplace] [--seeds 9]

For each likelihood, on sets whose columns it is made for: the ELBO of held-out rows (a quarter, in
nats a row) before training, after one epoch, and of the fitted model, with `init="pca"` and with
`init="random"`, everything else by default and equal: the same rows, networks, rates, epochs at
most, and held-out rows to stop by (the random start keeps its default KL warm-up; its ELBO is
measured at full weight). *Difference* is the start's gain at the end: the mean over the seeds and
its standard error, paired by seed. At most 4,000 rows and 300 columns.

Quick mode: one set a law, one seed, 20 epochs at most; full mode: all sets, nine seeds.
"""

import argparse
import os
from pathlib import Path

import datasets
import numpy as np
import torch
from report import describe, environment, read_json, table, write_json, write_text
from scipy.sparse import load_npz
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from skvae import VAETransformer

MOST_ROWS, MOST_COLUMNS = 4000, 300


def reals(name):
    return StandardScaler().fit_transform(datasets.load(name).X)


def positives(name):
    X = datasets.load(name).X
    return X[:, (X > 0).all(axis=0)]


def data_file(name):
    folder = os.environ.get("SKVAE_DATA")
    if folder is None:
        raise datasets.Unavailable("SKVAE_DATA is not set")
    return Path(folder, name)


def binary(name):
    with np.load(data_file(f"binary/{name}.npz")) as arrays:
        return arrays["train"].astype(float)


def digits():
    """Dequantized, so that they have a density."""
    X = load_digits().data
    return X + np.random.RandomState(0).uniform(size=X.shape)


def faces():
    """Frey's faces in [0, 1], dequantized, every second pixel of every second row."""
    X = np.load(data_file("frey_faces.npz"))["X"].reshape(-1, 28, 20)[:, ::2, ::2]
    X = X.reshape(len(X), -1)
    return (X + np.random.RandomState(0).uniform(size=X.shape)) / 256


def counts(name):
    """The commonest columns, and the rows that have something there."""
    X = load_npz(data_file(f"counts/{name}.npz")).tocsr()
    X = X[:, np.argsort(-np.asarray(X.sum(axis=0)).ravel(), kind="stable")[:MOST_COLUMNS]]
    X = X[np.random.RandomState(0).permutation(X.shape[0])[: 2 * MOST_ROWS]].toarray()
    return X[X.sum(axis=1) > 0].astype(float)


def letters():
    """16 columns of codes, the rare ones at both ends joined."""
    codes = np.genfromtxt(data_file("missing/letter/data.csv.gz"), delimiter=",")[:, 1:]
    return np.clip(codes, *np.quantile(codes, [0.01, 0.99], axis=0, method="nearest"))


REAL = {name: lambda name=name: reals(name) for name in ("concrete", "wine-quality", "naval")}
REAL["digits"] = digits
COUNTS = {
    "mouse_brain_cells": lambda: counts("mouse_brain_cells"),
    "20news": lambda: counts("20news_train"),
    "digits": lambda: load_digits().data,
}
SETS = {
    "gaussian": REAL,
    "diagonal_gaussian": REAL,
    "heteroscedastic_gaussian": REAL,
    "student_t": REAL,
    "laplace": REAL,
    "quantile_gaussian": REAL,
    "lognormal": {
        name: lambda name=name: positives(name) for name in ("wine", "power-plant", "concrete")
    },
    "bernoulli": {name: lambda name=name: binary(name) for name in ("nltcs", "plants", "dna")},
    "continuous_bernoulli": {"digits": lambda: digits() / 17, "frey_faces": faces},
    "poisson": COUNTS,
    "negative_binomial": COUNTS,
    "zero_inflated_negative_binomial": COUNTS,
    "multinomial": COUNTS,
    "categorical": {
        "letter": letters,
        "nltcs": lambda: binary("nltcs"),
    },
}


class HeldOut(Callback):
    """The ELBO of rows that take no part in training, before it and after its first epoch."""

    def __init__(self, X):
        self.X = X

    def on_train_begin(self, net, **_):
        self.elbo_ = [self.elbo(net)]

    def on_epoch_end(self, net, **_):
        if len(net.history) == 1:
            self.elbo_.append(self.elbo(net))

    def elbo(self, net):
        warmup, net.criterion_.warmup = net.criterion_.warmup, 1.0
        bound = -net.validate(net.get_dataset(self.X)).mean()
        net.criterion_.warmup = warmup
        return float(bound)


def run(law, X, seed, full):
    """{start: [held-out ELBO before training, after an epoch, at the end]}, k, and epochs."""
    X = X[np.random.RandomState(seed).permutation(len(X))[:MOST_ROWS]]
    X, X_test = train_test_split(X, test_size=0.25, random_state=seed)
    k = min(10, max(2, X.shape[1] // 3))
    result = {"k": k, "epochs": {}}
    for init in ("pca", "random"):
        model = VAETransformer(
            k,
            likelihood=law,
            init=init,
            max_epochs="auto" if full else 20,
            callbacks=[("held_out", HeldOut(X_test))],
            random_state=seed,
        ).fit(X)
        held_out = dict(model.net_.callbacks_)["held_out"].elbo_
        result[init] = [*held_out, float(model.elbo(X_test).elbo.mean())]
        result["epochs"][init] = len(model.history_)
    return result


def markdown(content):
    header = ["law", "set", "k", "seeds"]
    header += [f"{start}, {when}" for when in ("0", "1", "end") for start in ("PCA", "random")]
    rows, behind, clearly = [], [], []
    for law, sets in content["laws"].items():
        for name, runs in sets.items():
            values = {i: np.array([run[i] for run in runs]) for i in ("pca", "random")}
            gains = values["pca"][:, 2] - values["random"][:, 2]
            error = gains.std(ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else np.nan
            cells = [
                f"{values[init][:, j].mean():.2f}" for j in range(3) for init in ("pca", "random")
            ]
            gain = f"{gains.mean():+.3f} ± {error:.3f}"
            rows.append([law, name, runs[0]["k"], len(runs), *cells, gain])
            if gains.mean() < 0:
                behind.append(f"{law} on {name} ({gain})")
            if gains.mean() < -2 * error:
                clearly.append(behind[-1])
    lines = ["# The linear start, law by law", "", __doc__.split("\n\n", 2)[2].strip(), ""]
    lines += [table([*header, "difference"], rows), ""]
    lines += [f"Behind the random start at the end, {len(behind)} of {len(rows)}:"]
    lines += [", ".join(behind) + "." if behind else "none.", ""]
    lines += ["By more than two standard errors: " + (", ".join(clearly) or "none") + ".", ""]
    return "\n".join([*lines, *(describe(e) for e in content["environments"]), ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--laws", default="")
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    path = arguments.out / f"starts{'' if arguments.full else '-quick'}.json"
    content = read_json(path) if arguments.laws else None
    content = content or {"laws": {}, "environments": []}
    content["environments"].append(environment())
    for law in arguments.laws.split(",") if arguments.laws else SETS:
        content["laws"][law] = {}
        for name, load in list(SETS[law].items())[: None if arguments.full else 1]:
            try:
                X = load()
            except datasets.Unavailable as reason:
                print(f"{law} on {name}: left out, {reason}")
                continue
            seeds = range(arguments.seeds if arguments.full else 1)
            runs = [run(law, X, seed, arguments.full) for seed in seeds]
            content["laws"][law][name] = runs
            content["laws"] = {n: content["laws"][n] for n in SETS if n in content["laws"]}
            print(law, name, X.shape, runs, flush=True)
            write_json(path, content)
            write_text(path.with_suffix(".md"), markdown(content))


if __name__ == "__main__":
    main()
