"""Does a fit unfold what is folded? Moons, the S-curve and the Swiss roll, in as many components as
their surfaces have.

    python benchmarks/folds.py [--full] [--threads 1]

From PCA's start training finds what a small bend gains already; a surface that folds back over
itself gains next to nothing until it is nearly unfolded: PCA is kept, or nearly. A fit can be told:

default         nothing
warm-up         kl_warmup=0.5: the networks reconstruct first, and pay for the latents later
unfolding       the same with four layers of 128 units, no weight decay and 400 epochs at most
random          that from random weights (init="random")

1,000 rows, or 2,000 in full mode, standardized, and as many held out of the fit. In a table: the
held-out log-likelihood in nats a row, the reconstruction's mean squared error, and scikit-learn's
trustworthiness of the columns of `transform` (10 neighbours; 1 where all neighbours there are
neighbours among the rows); means over the seeds, three in full mode, and the median of seconds.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from report import describe, environment, table, write_json, write_text
from sklearn.datasets import make_moons, make_s_curve, make_swiss_roll
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.manifold import trustworthiness
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer

# Makers of rows and of a colour for each, and components.
SETS = {
    "moons": (lambda n, seed: make_moons(n, noise=0.05, random_state=seed), 1),
    "s_curve": (lambda n, seed: make_s_curve(n, noise=0.02, random_state=seed), 2),
    "swiss_roll": (lambda n, seed: make_swiss_roll(n, noise=0.1, random_state=seed), 2),
}
UNFOLDING = {
    "kl_warmup": 0.5,
    "hidden_layer_sizes": (128,) * 4,
    "optimizer__weight_decay": 0,
    "max_epochs": 400,
}
METHODS = {
    "default": {},
    "warm-up": {"kl_warmup": 0.5},
    "unfolding": UNFOLDING,
    "random": UNFOLDING | {"init": "random"},
}
DRAWN = "PCA", "default", "unfolding"
KEYS = "score", "mse", "trustworthiness"


def rows_of(name, n, seed):
    """Training rows, test rows, and the place of a test row along the surface."""
    make, _ = SETS[name]
    (X, _), (X_test, place) = make(n, 2 * seed), make(n, 2 * seed + 1)
    scaler = StandardScaler().fit(X)
    return scaler.transform(X), scaler.transform(X_test), place


def reducer(method, k, seed):
    return PCA(k) if method == "PCA" else VAETransformer(k, random_state=seed, **METHODS[method])


def measure(name, n, seed):
    """{method: numbers}, {method: columns and reconstructions of the test rows}."""
    X, X_test, place = rows_of(name, n, seed)
    numbers, drawn = {}, {}
    for method in ("PCA", *METHODS):
        begin = time.perf_counter()
        model = reducer(method, SETS[name][1], seed).fit(X)
        seconds = time.perf_counter() - begin
        T = model.transform(X_test)
        rebuilt = model.inverse_transform(T)
        numbers[method] = {
            "score": float(model.score(X_test)),
            "mse": float(np.mean((rebuilt - X_test) ** 2)),
            "trustworthiness": float(trustworthiness(X_test, T, n_neighbors=10)),
            "seconds": seconds,
            "kept epoch": getattr(model, "best_epoch_", 0),
        }
        drawn[method] = T, rebuilt
        print(name, seed, method, numbers[method], flush=True)
    return numbers, (X_test, place, drawn)


def draw(pictures, path):
    """Each set by three methods: rows and reconstructions of moons, the columns of the others."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(pictures), len(DRAWN), figsize=(10, 3.2 * len(pictures)))
    for row, (name, (X, place, drawn)) in zip(axes, pictures.items(), strict=True):
        for axis, method in zip(row, DRAWN, strict=True):
            T, rebuilt = drawn[method]
            if T.shape[1] == 1:
                axis.scatter(*X.T, s=3, c="#bbbbbb", label="rows")
                axis.scatter(*rebuilt.T, s=3, c="#D55E00", label="reconstructions")
            else:
                axis.scatter(*T.T, s=3, c=place, cmap="viridis")
            axis.set(title=f"{name}, {method}", xticks=[], yticks=[])
    axes[0][0].legend(fontsize=8, markerscale=3)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def markdown(results, facts):
    header = ["set", "method", "log p, nats", "MSE", "trustworthiness", "kept epochs", "s"]
    rows = []
    for name, runs in results.items():
        for method in runs[0]:
            values = [run[method] for run in runs]
            means = [np.mean([v[key] for v in values]) for key in KEYS]
            kept = ", ".join(str(v["kept epoch"]) for v in values)
            seconds = np.median([v["seconds"] for v in values])
            cells = [f"{means[0]:.3f}", f"{means[1]:.4f}", f"{means[2]:.3f}"]
            rows.append([name, method, *cells, kept, f"{seconds:.1f}"])
    about = __doc__.split("\n\n", 2)[2].strip()
    return "\n".join(["# Folds", "", about, "", table(header, rows), "", describe(facts), ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore", ConvergenceWarning)
    n, seeds = (2000, range(3)) if arguments.full else (1000, range(1))
    path = arguments.out / f"folds{'' if arguments.full else '-quick'}.json"
    results, pictures = {}, {}
    for name in SETS:
        runs = [measure(name, n, seed) for seed in seeds]
        results[name], pictures[name] = [numbers for numbers, _ in runs], runs[0][1]
    facts = environment()
    write_json(path, {"sets": results, "environment": facts})
    write_text(path.with_suffix(".md"), markdown(results, facts))
    draw(pictures, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
