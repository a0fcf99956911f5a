"""Held-out ELBO against seconds of training: ours, a hand-written loop, pythae.

    python benchmarks/time_to_quality.py [--full] [--threads 1] [--sets digits,fashion]

All get the same rows (tables standardized; Fashion-MNIST centred and divided by its overall
deviation; MNIST binarized anew in each batch), the same layers, and one clock each that is stopped
while the test rows are looked at. Ours counts the linear start, validation and the selection of
epochs. The target is the ELBO that the loop ends with after its 30 epochs, with the best of four
learning rates for it; a method reaches it in the first epoch that ends at or above it.

ours          VAETransformer with defaults, and with fewer epochs (`max_epochs`), since a run that
              ends sooner brings its learning rate down sooner: the least time of these counts in
              the last column.
random start  the same with init="random".
loop          a textbook VAE trained by hand: fused Adam, clipping, one cosine after a short
              warm-up (`loops.plain_loop`), batches of 128.
pythae        its own pipeline, Adam at 1e-3, 30 epochs. Its Gaussian has a fixed variance: its
              ELBO is computed with the variance that is best on the test rows.

Quick mode: digits, satellite and 10,000 rows of Fashion-MNIST, two learning rates, 10 epochs of
the loop. Full mode: all five sets, one seed for the two of 60,000 rows, three for the others.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from datasets import load, load_images
from loops import DRAWS, Clock, installed, log_density, plain_loop, pythae_model, pythae_train
from report import describe, environment, read_json, table, write_json, write_text
from skorch.callbacks import Callback
from torch import nn

from skvae import VAETransformer
from skvae._random import scoped_seed
from skvae.batches import Rows

RATES = 5e-4, 1e-3, 2e-3, 4e-3
BUDGETS = 1, 2, 4, 8
EPOCHS = 30
TEST_ROWS = 2000
SETS = {
    "fashion": {"k": 16, "hidden": (256, 256)},
    "mnist": {"k": 50, "hidden": (200, 200), "law": "bernoulli"},
    "protein": {"k": 3, "hidden": (256, 256)},
    "outliers/satellite": {"k": 8, "hidden": (256, 256)},
    "digits": {"k": 8, "hidden": (256, 256)},
}
QUICK = "fashion", "outliers/satellite", "digits"


def rows_of(name, seed, n_train=None):
    """Training and test rows, float32, as every method gets them."""
    if name == "mnist":
        X, _, X_test, _ = load_images("mnist")
        test = (
            np.random.RandomState(0).uniform(size=X_test[:TEST_ROWS].shape)
            < X_test[:TEST_ROWS] / 255
        )
        return (X[:n_train] / 255).astype(np.float32), test.astype(np.float32)
    data = load(name)
    if data.is_image:
        X, X_test = data.X[: n_train or data.n_train], data.X[data.n_train :][:TEST_ROWS]
        scale = X.std()
    else:
        order = np.random.RandomState(seed).permutation(len(data.X))
        n_test = min(TEST_ROWS, len(order) // 5)
        X, X_test = data.X[order[n_test:]], data.X[order[:n_test]]
        scale = X.std(axis=0)
    centre = X.mean(axis=0)
    return tuple(((part - centre) / scale).astype(np.float32) for part in (X, X_test))


class Curve(Callback):
    """(seconds, ELBO in nats a test row) after each epoch, of the net in training."""

    running: list = []  # noqa: RUF012

    def on_train_begin(self, net, **_):
        self.test(net)

    def on_epoch_end(self, net, **_):
        self.test(net)

    def test(self, net):
        clock, X_test, curve = self.running
        with clock.stopped(), torch.inference_mode(), scoped_seed(0):
            module = net.module_.eval()
            rows = Rows(X_test, device=net.device)
            rows.set_units(module.likelihood.centre, module.likelihood.scale)
            net.criterion_.eval()
            bound = net.criterion_.bound(module(rows.resident, n_draws=DRAWS), {"x": rows.resident})
            curve.append((clock.seconds(), float(bound.mean())))


def ours(X, X_test, *, k, hidden, law, seed, device, transform=None, **parameters):
    Curve.running = [Clock(), X_test, []]
    VAETransformer(
        k,
        hidden_layer_sizes=hidden,
        likelihood=law,
        batch_transform=transform,
        callbacks=[Curve()],
        device=device,
        random_state=seed,
        **parameters,
    ).fit(X)
    return Curve.running[2]


def pythae(X, X_test, *, k, hidden, law, seed, epochs, device):
    from pythae.trainers.training_callbacks import TrainingCallback

    torch.manual_seed(seed)
    loss = "bce" if law == "bernoulli" else "mse"
    model, clock, curve = pythae_model(X.shape[1], k, hidden, loss), Clock(), []
    if law == "bernoulli":
        model.decoder.network.append(nn.Sigmoid())
    test = torch.from_numpy(X_test).to(device)

    class Tested(TrainingCallback):
        def on_epoch_end(self, training_config, **_):
            with clock.stopped(), torch.inference_mode():
                curve.append((clock.seconds(), pythae_elbo(model, test, law)))

    pythae_train(model, X, epochs, 128, callbacks=[Tested()])
    return curve


def pythae_elbo(model, x, law):
    """The ELBO of test rows in nats, the Gaussian's variance the best for them."""
    was_training = model.training
    model.eval()
    encoded = model.encoder(x)
    mean, log_variance = encoded.embedding, encoded.log_covariance
    z = mean + torch.exp(0.5 * log_variance) * torch.randn(DRAWS, *mean.shape, device=mean.device)
    outputs = model.decoder(z.flatten(0, 1))["reconstruction"].reshape(DRAWS, *x.shape)
    if law == "bernoulli":
        outputs = torch.logit(outputs.clamp(1e-6, 1 - 1e-6))
    noise = ((x - outputs) ** 2).mean().log()
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
    bound = log_density(law, outputs, x, noise).sum(-1).mean(0) - kl
    model.train(was_training)
    return float(bound.mean())


def reached(curve, target):
    """Seconds to the first epoch at or above the target; None if there is none."""
    return next((seconds for seconds, bound in curve if bound >= target), None)


def measure(name, seed, full, device):
    """The curves of all methods on one set."""
    X, X_test = rows_of(name, seed, None if full or name != "fashion" else 10_000)
    case = {"law": "gaussian"} | SETS[name] | {"seed": seed, "device": device}
    transform = torch.bernoulli if case["law"] == "bernoulli" else None
    common = case | {"transform": transform}
    epochs, rates = (EPOCHS, RATES) if full else (10, RATES[1:3])
    curves = {
        f"loop, lr {lr:g}": plain_loop(X, X_test, **common, lr=lr, epochs=epochs, batch_size=128)
        for lr in rates
    }
    best = max(curves, key=lambda loop: curves[loop][-1][1])
    curves["loop"] = curves[best]
    curves["ours"] = ours(X, X_test, **common)
    curves["ours, random start"] = ours(X, X_test, **common, init="random")
    for budget in BUDGETS:
        curves[f"ours, {budget} epochs"] = ours(X, X_test, **common, max_epochs=budget)
    if installed("pythae"):
        curves["pythae"] = pythae(X, X_test, **case, epochs=epochs)
    return {"best": best, "curves": curves}


def summary(runs):
    """A row of the table: medians over the seeds of one set."""

    def seconds(method):
        times = [reached(run["curves"][method], run["curves"]["loop"][-1][1]) for run in runs]
        return float(np.median([np.inf if t is None else t for t in times]))

    def shown(value, digits=1):
        return f"{value:.{digits}f}" if np.isfinite(value) else "never"

    loop = float(np.median([run["curves"]["loop"][-1][0] for run in runs]))
    target = np.median([run["curves"]["loop"][-1][1] for run in runs])
    least = min(seconds(m) for m in runs[0]["curves"] if m.startswith("ours") and "random" not in m)
    methods = "ours", "ours, random start", "pythae"
    cells = [shown(seconds(m)) if m in runs[0]["curves"] else "-" for m in methods]
    rates = ", ".join(sorted({run["best"].removeprefix("loop, lr ") for run in runs}))
    return [
        f"{target:.2f}",
        rates,
        shown(loop),
        *cells,
        shown(least),
        shown(loop / seconds("ours")),
        shown(loop / least),
    ]


HEADER = [
    "set", "target, nats", "loop's lr", "loop, s", "ours, s", "random start, s", "pythae, s",
    "ours, best `max_epochs`, s", "loop / ours", "loop / best",
]  # fmt: skip


def draw(results, path):
    """The curves of each set, first seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    styles = {
        "ours": ("#0072B2", "-"),
        "ours, 4 epochs": ("#56B4E9", "-"),
        "ours, random start": ("#009E73", "--"),
        "loop": ("#D55E00", "-"),
        "pythae": ("#666666", ":"),
    }
    figure, axes = plt.subplots(1, len(results), figsize=(3.6 * len(results), 3.4), squeeze=False)
    for axis, (name, runs) in zip(axes[0], results.items(), strict=True):
        curves = runs[0]["curves"]
        target = curves["loop"][-1][1]
        for method, (colour, line) in styles.items():
            if method in curves:
                seconds, bounds = zip(*curves[method], strict=True)
                axis.plot(seconds, bounds, color=colour, linestyle=line, label=method)
        axis.axhline(target, color="#D55E00", linewidth=0.6)
        best = max(bound for curve in curves.values() for _, bound in curve)
        first = curves["loop"][0][1]
        axis.set_ylim(min(first, target - 2 * (best - target)), best + 0.05 * (best - first))
        axis.set_xscale("log")
        axis.set_title(name.removeprefix("outliers/"))
        axis.set_xlabel("seconds of training")
    axes[0][0].set_ylabel("held-out ELBO, nats per row")
    axes[0][-1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sets", default="")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    name = f"time_to_quality{'' if arguments.full else '-quick'}"
    path = arguments.out / f"{name}{'' if arguments.device == 'cpu' else '-gpu'}.json"
    results = (read_json(path) or {}).get("results", {}) if arguments.sets else {}
    names = arguments.sets.split(",") if arguments.sets else SETS if arguments.full else QUICK
    for name in names:
        large = name in ("fashion", "mnist", "protein")
        seeds = range(3) if arguments.full and not large else range(1)
        results[name] = [measure(name, seed, arguments.full, arguments.device) for seed in seeds]
        print(dict(zip(HEADER, [name, *summary(results[name])], strict=True)), flush=True)
        where = environment()
        write_json(path, {"results": results, "environment": where})
        rows = [[n.removeprefix("outliers/"), *summary(results[n])] for n in SETS if n in results]
        note = (
            "Seconds to the held-out ELBO that the hand-written loop ends with after "
            f"{EPOCHS if arguments.full else 10} epochs, at the best of "
            f"{len(RATES) if arguments.full else 2} learning rates for it."
        )
        lines = ["# Time to quality", "", note, "", table(HEADER, rows), "", describe(where), ""]
        write_text(path.with_suffix(".md"), "\n".join(lines))
        draw({n: results[n] for n in SETS if n in results}, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
