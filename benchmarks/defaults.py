"""The measurements behind the defaults of training: one change at a time.

    python benchmarks/defaults.py [--full] [--threads 2] [--changes "defaults,relu"]

For each data set and each change: the gain in held-out log-likelihood over PCA (nats/row, mean over
splits), the reconstruction MSE as a ratio to PCA's, and the seconds of a fit. Quick mode takes the
small tables and two splits; full mode adds digits, kin8nm and 20,000 rows of Fashion-MNIST
(5 epochs) and takes three splits (one for Fashion-MNIST).
"""

import argparse
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter

import datasets
import numpy as np
import torch
from report import describe, environment, read_json, table, write_json, write_text
from schedule_free import AverageAfterEpochs, ScheduleFreeAdamW
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import LRScheduler

from skvae import VAETransformer, assembly, coordinates, vae
from skvae.net import VAENet


class Cosine(LRScheduler):
    """One cosine over all epochs."""

    def __init__(self):
        super().__init__(policy="CosineAnnealingLR")

    def on_train_begin(self, net, **kwargs):
        self.T_max = net.max_epochs  # what skorch hands to the schedule
        super().on_train_begin(net, **kwargs)


# In place of AdamW and its schedule, with the same groups of parameters.
SCHEDULE_FREE = {
    (assembly, "VAENet"): partial(VAENet, optimizer=ScheduleFreeAdamW),
    "callbacks": [AverageAfterEpochs()],
    "callbacks__lr_schedule": None,
}
# A change is a dict of parameters, or of private constants by module.
CHANGES = {
    "defaults": {},
    "lr 0.001": {"lr": 1e-3},
    "lr 0.004": {"lr": 4e-3},
    "weight decay 0": {"optimizer__weight_decay": 0.0},
    "weight decay 50 / n": {(assembly, "_WEIGHT_DECAY"): (50, 5.0)},
    "weight decay 800 / n": {(assembly, "_WEIGHT_DECAY"): (800, 5.0)},
    "patience 10": {"n_iter_no_change": 10},
    "one cosine": {"callbacks": [Cosine()]},
    "schedule-free": SCHEDULE_FREE,
    "schedule-free, lr 0.004": SCHEDULE_FREE | {"lr": 4e-3},
    "2 layers of 64": {"hidden_layer_sizes": (64,) * 2},
    "2 layers of 256": {"hidden_layer_sizes": (256,) * 2},
    "2 layers of 512": {"hidden_layer_sizes": (512,) * 2},
    "3 layers of 256": {"hidden_layer_sizes": (256,) * 3},
    "5 layers of 256": {"hidden_layer_sizes": (256,) * 5},
    "5 layers of 128": {"hidden_layer_sizes": (128,) * 5},
    "relu": {"activation": "relu"},
    "25 batches an epoch": {(assembly, "_BATCHES"): 25},
    "batches of 32 at least": {(assembly, "_BATCH_SIZES"): (32, 128)},
    "batches of 256 at most": {(assembly, "_BATCH_SIZES"): (64, 256)},
    "at most 100 epochs": {(assembly, "_EPOCHS"): (10, 100)},
    "validation rows: a tenth": {"validation_fraction": 0.1},
    # The test is off where beta is above 1.
    "reconstructions not tested": {"beta": 1.0001},
    "all shrinkage undone": {(coordinates, "SHRINKAGE_EXPONENTS"): (1.0,)},
    "affine path at lr": {(assembly, "_AFFINE_RATE"): np.inf},
    "affine path at 1 / root of columns": {(assembly, "_AFFINE_RATE"): 1.0},
    "noise at lr": {(assembly, "_LEAST_NOISE_RATE"): 1.0},
    "gradient clip 100": {(assembly, "_GRADIENT_CLIP"): 100.0},
    "features unlimited": {(vae, "_FEATURE_LIMIT"): 1e9},
    "random start": {"init": "random"},
}
QUICK = {"iris": 2, "outliers/breastw": 3, "breast_cancer": 5, "energy": 2}
FULL = QUICK | {"kin8nm": 2, "digits": 16, "fashion": 16}


@contextmanager
def constants(change):
    """Set private constants for a block, then put them back."""
    private = {key: value for key, value in change.items() if isinstance(key, tuple)}
    before = {key: getattr(*key) for key in private}
    try:
        for (module, name), value in private.items():
            setattr(module, name, value)
        yield {key: value for key, value in change.items() if key not in private}
    finally:
        for (module, name), value in before.items():
            setattr(module, name, value)


def parts(data, split):
    if data.n_train is not None:
        return data.X[:20_000], data.X[data.n_train : data.n_train + 1000]
    train, test = train_test_split(data.X, test_size=0.2, random_state=split)
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test)[:1000]


def measure(data, k, n_splits, change):
    gains, ratios, seconds = [], [], []
    for split in range(1 if data.n_train is not None else n_splits):
        train, test = parts(data, split)
        pca = PCA(k, random_state=0).fit(train)
        epochs = {"max_epochs": 5} if data.n_train is not None else {}
        with constants(change) as parameters:
            began = perf_counter()
            model = VAETransformer(k, random_state=split, **(epochs | parameters)).fit(train)
            seconds.append(perf_counter() - began)
        errors = [
            np.mean((m.inverse_transform(m.transform(test)) - test) ** 2) for m in (model, pca)
        ]
        gains.append(model.score(test) - pca.score(test))
        ratios.append(errors[0] / errors[1])
    return float(np.mean(gains)), float(np.mean(ratios)), float(np.mean(seconds))


def cell(measured):
    gain, ratio, seconds = measured
    # Adding zero turns a rounded -0 into 0.
    return f"{round(gain, 2) + 0.0:+.2f} / {ratio:.3f} / {seconds:.1f}"


def markdown(content):
    results = content["results"]
    note = """Gain over PCA in nats per held-out row / reconstruction MSE as a ratio to PCA's /
seconds of a fit (the machine was shared: times that differ little do not differ)."""
    rows = [[change, *map(cell, row.values())] for change, row in results.items()]
    columns = ["", *results["defaults"]]
    where = describe(content["environment"])
    return "\n".join(
        ["# Defaults, one change at a time", "", note, "", table(columns, rows), "", where, ""]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--changes", help="comma-separated; the others stay as they were measured")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sets = FULL if arguments.full else QUICK
    data = {name: datasets.load(name) for name in sets}
    path = arguments.out / f"defaults{'' if arguments.full else '-quick'}.json"
    chosen = arguments.changes.split(",") if arguments.changes else list(CHANGES)
    if unknown := set(chosen) - set(CHANGES):
        parser.error(f"unknown changes {sorted(unknown)}; known: {', '.join(CHANGES)}")
    results = (read_json(path) or {"results": {}})["results"] if arguments.changes else {}
    for change in chosen:
        what = CHANGES[change]
        results[change] = {
            name: measure(data[name], k, 3 if arguments.full else 2, what)
            for name, k in sets.items()
        }
        print(change, {n: [round(v, 3) for v in r] for n, r in results[change].items()}, flush=True)
        results = {name: results[name] for name in CHANGES if name in results}
        content = {"results": results, "environment": environment()}
        write_json(path, content)
        write_text(path.with_suffix(".md"), markdown(content))


if __name__ == "__main__":
    main()
