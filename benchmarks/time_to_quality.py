"""Held-out ELBO against seconds of training: ours, hand-written loops, pythae, pyod.

    python benchmarks/time_to_quality.py [--full] [--threads 1] [--sets digits,fashion]

All get the same rows (tables standardized; Fashion-MNIST centred and divided by its overall
deviation; MNIST binarized anew in each batch), and one clock each that is stopped while the test
rows are looked at. Ours counts the linear start, validation and the selection of epochs. The
target is the ELBO that the loop ends with after its 30 epochs, with the best of four learning
rates for it; a method reaches it in the first epoch that ends at or above it.

ours            VAETransformer with defaults, and with fewer epochs (`max_epochs`), since a run
                that ends sooner brings its learning rate down sooner.
random start    the same with init="random".
loop            a textbook VAE trained by hand: two hidden layers of 256 units (200 on MNIST),
                fused Adam, clipping, one cosine after a short warm-up (`loops.plain_loop`),
                batches of 128. The logarithm of its noise variance is a parameter.
calibrated loop the same, the variance in closed form in each batch (Rybkin et al. 2021), with the
                two larger of the four rates: a second, harder target, of Gaussian models.
pythae, pyod    the same layers in their own training, Adam at 1e-3, 30 epochs, batches of 128.
                Their Gaussian has a fixed variance: the ELBO is computed with the variance that is
                best on the test rows. pyod is looked at when it has ended. ctgan's TVAE is not
                here: its density is of columns that it has transformed, not of the rows.

Quick mode: digits, satellite and 10,000 rows of Fashion-MNIST, two learning rates, 10 epochs of
the loops. Full mode: all five sets, one seed for the three large ones, three for the others.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from datasets import load, load_images
from loops import (
    DRAWS,
    Clock,
    installed,
    log_density,
    plain_loop,
    pyod_model,
    pythae_model,
    pythae_train,
    quiet,
)
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


def ours(X, X_test, *, k, law, seed, device, transform=None, **parameters):
    Curve.running = [Clock(), X_test, []]
    VAETransformer(
        k,
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

    def encode(x):
        encoded = model.encoder(x)
        return encoded.embedding, encoded.log_covariance

    def decode(z):
        return model.decoder(z)["reconstruction"]

    class Tested(TrainingCallback):
        def on_epoch_end(self, training_config, **_):
            with clock.stopped(), torch.inference_mode():
                model.eval()
                curve.append((clock.seconds(), peer_elbo(encode, decode, test, law)))
                model.train()

    pythae_train(model, X, epochs, 128, callbacks=[Tested()])
    return curve


def pyod(X, X_test, *, k, hidden, law, seed, epochs, device):
    torch.manual_seed(seed)
    output = "sigmoid" if law == "bernoulli" else "identity"
    clock = Clock()
    detector = pyod_model(
        k, hidden, 128, epochs, device, preprocessing=False, output_activation_name=output
    )
    with quiet():
        detector.fit(X)
    seconds, model = clock.seconds(), detector.model.eval()
    with torch.inference_mode():
        test = torch.from_numpy(X_test).to(device)
        return [(seconds, peer_elbo(model.encode, model.decode, test, law))]


def peer_elbo(encode, decode, x, law):
    """The ELBO of test rows in nats, the Gaussian's variance the best for them."""
    mean, log_variance = encode(x)
    z = mean + torch.exp(0.5 * log_variance) * torch.randn(DRAWS, *mean.shape, device=mean.device)
    outputs = decode(z.flatten(0, 1)).reshape(DRAWS, *x.shape)
    if law == "bernoulli":
        outputs = torch.logit(outputs.clamp(1e-6, 1 - 1e-6))
    noise = ((x - outputs) ** 2).mean().log()
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
    return float((log_density(law, outputs, x, noise).sum(-1).mean(0) - kl).mean())


def reached(curve, target):
    """Seconds to the first epoch at or above the target; None if there is none."""
    return next((seconds for seconds, bound in curve if bound >= target), None)


def measure(name, seed, full, device):
    """The curves of all methods on one set, and the loops' best learning rates."""
    X, X_test = rows_of(name, seed, None if full or name != "fashion" else 10_000)
    case = {"law": "gaussian"} | SETS[name] | {"seed": seed, "device": device}
    case["transform"] = torch.bernoulli if case["law"] == "bernoulli" else None
    epochs, rates = (EPOCHS, RATES) if full else (10, RATES[1:3])
    curves, best = {}, {}

    def loop(method, rates, **options):
        runs = {
            lr: plain_loop(X, X_test, **case, **options, lr=lr, epochs=epochs, batch_size=128)
            for lr in rates
        }
        best[method] = max(rates, key=lambda lr: runs[lr][-1][1])
        curves[method] = runs[best[method]]
        curves.update({f"{method}, lr {lr:g}": curve for lr, curve in runs.items()})

    loop("loop", rates)
    if case["law"] == "gaussian":
        loop("calibrated loop", rates[-2:], calibrated=True)
    hidden = case.pop("hidden")
    curves["ours"] = ours(X, X_test, **case)
    curves["random start"] = ours(X, X_test, **case, init="random")
    for budget in BUDGETS:
        curves[f"ours, {budget} epochs"] = ours(X, X_test, **case, max_epochs=budget)
    del case["transform"]
    for peer in (pythae, pyod):
        if installed(peer.__name__):
            curves[peer.__name__] = peer(X, X_test, **case, hidden=hidden, epochs=epochs)
    return {"best": best, "curves": curves}


def summary(runs):
    """Rows of the table: for each of the loops, medians over the seeds of one set."""
    return [_against(target, runs) for target in LOOPS if target in runs[0]["curves"]]


def _against(target, runs):
    def median(values):
        return float(np.median([np.inf if v is None else v for v in values]))

    def seconds(method):
        return median(reached(r["curves"][method], r["curves"][target][-1][1]) for r in runs)

    def shown(value):
        return f"{value:.{1 if value >= 1 else 2}f}" if np.isfinite(value) else "never"

    def ratio(value):
        return f"{loop / value:.1f}" if np.isfinite(value) else "-"

    def peer(method):
        if method not in runs[0]["curves"]:
            return "-"
        ends = [r["curves"][method][-1] for r in runs]
        reaches = seconds(method)
        end = f"{median(b for _, b in ends):.1f} after {median(s for s, _ in ends):.0f} s"
        return end if np.isinf(reaches) else f"{reaches:.1f}"

    loop = median(r["curves"][target][-1][0] for r in runs)
    least = min(seconds(m) for m in runs[0]["curves"] if m.startswith("ours"))
    rates = ", ".join(f"{lr:g}" for lr in sorted({r["best"][target] for r in runs}))
    return [
        f"{target}, lr {rates}",
        f"{median(r['curves'][target][-1][1] for r in runs):.2f}",
        shown(loop),
        shown(seconds("ours")),
        ratio(seconds("ours")),
        shown(least),
        ratio(least),
        shown(seconds("random start")),
        peer("pythae"),
        peer("pyod"),
    ]


LOOPS = "loop", "calibrated loop"
HEADER = [
    "set", "target", "ELBO, nats", "its time, s", "ours, s", "ratio", "ours, best `max_epochs`, s",
    "ratio", "random start, s", "pythae", "pyod",
]  # fmt: skip


def draw(results, path):
    """The curves of each set, first seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    styles = {
        "ours": ("#0072B2", "-"),
        "ours, 4 epochs": ("#56B4E9", "-"),
        "random start": ("#009E73", "--"),
        "loop": ("#D55E00", "-"),
        "calibrated loop": ("#CC79A7", "-"),
        "pythae": ("#666666", ":"),
    }
    figure, axes = plt.subplots(1, len(results), figsize=(3.6 * len(results), 3.4), squeeze=False)
    for axis, (name, result) in zip(axes[0], results.items(), strict=True):
        curves = result["runs"][0]["curves"]
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


def markdown(results, full):
    note = (
        "Seconds to the held-out ELBO that a hand-written loop ends with after "
        f"{EPOCHS if full else 10} epochs, at the best learning rate for it, and the "
        "loop's time over them; peers that do not reach it: where they end."
    )
    rows = [
        [name.removeprefix("outliers/"), *row]
        for name, result in results.items()
        for row in summary(result["runs"])
    ]
    where = dict.fromkeys(describe(result["environment"]) for result in results.values())
    return "\n".join(["# Time to quality", "", note, "", table(HEADER, rows), "", *where, ""])


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
    results = (read_json(path) or {}) if arguments.sets else {}
    names = arguments.sets.split(",") if arguments.sets else SETS if arguments.full else QUICK
    for name in names:
        large = name in ("fashion", "mnist", "protein")
        seeds = range(3) if arguments.full and not large else range(1)
        runs = [measure(name, seed, arguments.full, arguments.device) for seed in seeds]
        for row in summary(runs):
            print(name, *(f"{h}: {cell};" for h, cell in zip(HEADER[1:], row, strict=True)))
        results[name] = {"runs": runs, "environment": environment()}
        results = {name: results[name] for name in SETS if name in results}
        write_json(path, results)
        write_text(path.with_suffix(".md"), markdown(results, arguments.full))
        draw(results, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
