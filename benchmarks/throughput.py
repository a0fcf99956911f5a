"""Seconds an epoch: VAETransformer beside hand-written loops, stock skorch and other packages.

    python benchmarks/throughput.py [--full] [--threads 1] [--device cpu]

All train the same layers on the same rows with the same batch size, interleaved in one process
(A B C ... A B C ...); the table has medians, and medians of the ratios of each round to the loop
with fused Adam. Ours is timed from the first epoch's begin to the last one's end: schedule,
validation, selection of the best epoch and all bookkeeping included. The loops, ours and stock
skorch train the same module (`skvae.vae.VAE`), clip the gradient and validate on the same held-out
rows; the other packages do what they do, pythae with the same layers, pyod and ctgan with layers
of the same widths. A package that is not installed is left out.

A second table has rows per second of `transform`, beside `PCA.transform` and beside the bare
forward pass of the encoder, in one batch and in the batches that `transform` uses.

Quick mode: three rounds, without the largest set; full mode: seven rounds.
"""

import argparse
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from loops import installed, pyod_model, pythae_model, pythae_train, quiet
from report import describe, environment, table, write_json, write_text
from sklearn.decomposition import PCA
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import nn

from skvae import VAETransformer
from skvae.objective import NegativeBound

# Rows, columns, components, hidden layers, batch size.
CASES = {
    "1,000 x 10": (1_000, 10, 2, (64, 64), 64),
    "5,000 x 32": (5_000, 32, 4, (64, 64), 128),
    "20,000 x 64": (20_000, 64, 8, (64, 64), 128),
    "60,000 x 784": (60_000, 784, 16, (256, 256), 256),
}
EPOCHS = {"1,000 x 10": 10, "5,000 x 32": 5, "20,000 x 64": 2, "60,000 x 784": 1}
CLIP = 10_000.0
N_VALID = 500


def rows_of(n, d):
    """Rows on a curved surface with noise, float32."""
    random = np.random.RandomState(0)
    z = random.normal(size=(n, 4))
    X = np.tanh(z @ random.normal(size=(4, d))) + 0.3 * random.normal(size=(n, d))
    return X.astype(np.float32)


class Stopwatch(Callback):
    """Seconds from the first epoch's begin to the end of training."""

    seconds: list = []  # noqa: RUF012

    def on_train_begin(self, net, **_):
        self.began = None

    def on_epoch_begin(self, net, **_):
        if self.began is None:
            self.began = now(net.device)

    def on_train_end(self, net, **_):
        self.seconds.append(now(net.device) - self.began)


def now(device):
    if str(device).startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


class Contenders:
    """What is timed on one set: methods from a number of epochs to seconds an epoch."""

    def __init__(self, case, device):
        n, d, self.k, self.hidden, self.batch_size = CASES[case]
        self.X, self.epochs, self.device = rows_of(n, d), EPOCHS[case], device
        start = self._ours(max_epochs=0, early_stopping=False)
        self.module = start.net_.module_.float()
        likelihood = self.module.likelihood
        rows = ((self.X - likelihood.centre) / likelihood.scale).astype(np.float32)
        self.rows = torch.from_numpy(rows).to(device)

    def _ours(self, **parameters):
        return VAETransformer(
            self.k,
            hidden_layer_sizes=self.hidden,
            batch_size=self.batch_size,
            device=self.device,
            random_state=0,
            **parameters,
        ).fit(self.X)

    def ours(self, **net_params):
        Stopwatch.seconds = []
        self._ours(
            max_epochs=self.epochs,
            validation_fraction=N_VALID / len(self.X),
            callbacks=[Stopwatch()],
            net_params=net_params,
        )
        return Stopwatch.seconds[0] / self.epochs

    def ours_bf16(self):
        return self.ours(autocast=True)

    def ours_compiled(self):
        return self.ours(compile=True, compile__mode="reduce-overhead")

    def loop(self, fused=True):
        module, criterion = deepcopy(self.module), NegativeBound()
        kind = {"fused": True} if fused else {}
        optimizer = torch.optim.Adam(module.parameters(), lr=2e-3, **kind)
        x, valid = self.rows[N_VALID:], self.rows[:N_VALID]
        began = now(self.device)
        for _ in range(self.epochs):
            module.train()
            total = torch.zeros((), device=self.device)
            order = torch.randperm(len(x), device=self.device)
            for first in range(0, len(x), self.batch_size):
                batch = {"x": x[order[first : first + self.batch_size]]}
                optimizer.zero_grad()
                loss = criterion(module(**batch), batch)
                loss.backward()
                nn.utils.clip_grad_norm_(module.parameters(), CLIP)
                optimizer.step()
                total += loss.detach() * len(batch["x"])
            float(total) / len(x)
            module.eval()
            with torch.no_grad():
                float(criterion(module(valid), {"x": valid}))
        return (now(self.device) - began) / self.epochs

    def ordinary_loop(self):
        return self.loop(fused=False)

    def stock_skorch(self):
        class Net(NeuralNet):
            def get_loss(self, y_pred, y_true, X=None, training=False):
                return self.criterion_(y_pred, {"x": X})

            def train_step_single(self, batch, **fit_params):
                step = super().train_step_single(batch, **fit_params)
                nn.utils.clip_grad_norm_(self.module_.parameters(), CLIP)
                return step

        rows = self.rows.cpu().numpy()
        x, valid = rows[N_VALID:], rows[:N_VALID]
        net = Net(
            deepcopy(self.module),
            criterion=NegativeBound,
            optimizer=torch.optim.Adam,
            optimizer__fused=True,
            lr=2e-3,
            max_epochs=self.epochs,
            batch_size=self.batch_size,
            iterator_train__shuffle=True,
            train_split=predefined_split(Dataset(valid, valid)),
            device=self.device,
            verbose=0,
        ).initialize()
        began = now(self.device)
        net.partial_fit(x, x)
        return (now(self.device) - began) / self.epochs

    def pythae(self):
        model = pythae_model(self.X.shape[1], self.k, self.hidden)
        began = now(self.device)
        pythae_train(model, self.X, self.epochs, self.batch_size, lr=2e-3)
        return (now(self.device) - began) / self.epochs

    def pyod(self):
        def fit(epochs):
            model = pyod_model(self.k, self.hidden, self.batch_size, epochs, self.device)
            with quiet():
                model.fit(self.X)

        return self._by_difference(fit)

    def tvae(self):
        import pandas as pd
        from ctgan import TVAE

        frame = pd.DataFrame(self.X, columns=[f"x{j}" for j in range(self.X.shape[1])])

        def fit(epochs):
            model = TVAE(
                embedding_dim=self.k,
                compress_dims=self.hidden,
                decompress_dims=self.hidden[::-1],
                batch_size=self.batch_size,
                epochs=epochs,
                enable_gpu=self.device != "cpu",
            )
            with quiet():
                model.fit(frame)

        return self._by_difference(fit)

    def _by_difference(self, fit):
        """Seconds an epoch of what also works before and after training."""
        seconds = []
        for epochs in (1, 1 + 2 * self.epochs):
            began = now(self.device)
            fit(epochs)
            seconds.append(now(self.device) - began)
        return (seconds[1] - seconds[0]) / (2 * self.epochs)


METHODS = {
    "loop, fused Adam": "loop",
    "skvae": "ours",
    "skvae, bfloat16": "ours_bf16",
    "loop, Adam": "ordinary_loop",
    "stock skorch": "stock_skorch",
    "pythae": "pythae",
    "pyod": "pyod",
    "ctgan TVAE": "tvae",
}
# ctgan fits a mixture to every column before it trains: a narrow table is its shape.
NARROW = {"ctgan TVAE": "1,000 x 10"}
PACKAGES = {"pythae": "pythae", "pyod": "pyod", "ctgan TVAE": "ctgan"}


def epochs_of(case, rounds, device):
    """Seconds an epoch of each method, a list of one a round."""
    contenders = Contenders(case, device)
    methods = {
        name: getattr(contenders, method)
        for name, method in METHODS.items()
        if installed(PACKAGES.get(name, "torch")) and NARROW.get(name, case) == case
    }
    if device.startswith("cuda"):
        methods["skvae, CUDA graphs"] = contenders.ours_compiled
    # The first call of each pays for what is done once: it warms up, uncounted.
    for method in methods.values():
        method()
    seconds = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            seconds[name].append(method())
    return seconds


def transforms(rounds, device):
    """Seconds of one pass over 100,000 x 64 rows, by dtype, a list of one a round."""
    X = rows_of(100_000, 64)
    vae = VAETransformer(
        8, hidden_layer_sizes=(64, 64), max_epochs=1, early_stopping=False, device=device
    ).fit(X[:5000])
    pca = PCA(8).fit(X[:5000])
    seconds = {}
    for dtype in (np.float32, np.float64):
        rows = X.astype(dtype)
        module = deepcopy(vae.net_.module_).to(getattr(torch, rows.dtype.name))
        tensor = torch.from_numpy(rows).to(device)
        size = 2**19 // 64

        def bare(module=module, tensor=tensor):
            with torch.inference_mode():
                module.encode(tensor)

        def batches(module=module, tensor=tensor, size=size):
            with torch.inference_mode():
                for first in range(0, len(tensor), size):
                    module.encode(tensor[first : first + size])

        passes = {
            "skvae": lambda rows=rows: vae.transform(rows),
            "PCA": lambda rows=rows: pca.transform(rows),
            "bare forward pass": bare,
            "the same in batches": batches,
        }
        taken = {name: [] for name in passes}
        for _ in range(3 * rounds):
            for name, once in passes.items():
                began = now(device)
                once()
                taken[name].append(now(device) - began)
        seconds[rows.dtype.name] = taken
    return seconds


def ratio(seconds, base):
    """The median of the ratios of each round."""
    return float(np.median(np.array(seconds) / np.array(base)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rounds = 7 if arguments.full else 3
    name = f"throughput{'' if arguments.full else '-quick'}"
    name += "" if arguments.device == "cpu" else "-gpu"
    path = arguments.out / f"{name}.json"
    results, rows = {}, []
    for case in CASES if arguments.full else list(CASES)[:-1]:
        results[case] = seconds = epochs_of(case, rounds, arguments.device)
        loop = seconds["loop, fused Adam"]
        cells = [
            f"{np.median(seconds[m]):.3g} ({ratio(seconds[m], loop):.2f})" if m in seconds else "-"
            for m in [*METHODS, "skvae, CUDA graphs"]
        ]
        *_, hidden, batch = CASES[case]
        rows.append([f"{case}, {'-'.join(map(str, hidden))}, batch {batch}", *cells])
        print(rows[-1], flush=True)
    passes = transforms(rounds, arguments.device)
    names = list(passes["float32"])
    speeds = [
        [
            f"{1e5 / np.median(taken[m]):.3g}"
            + ("" if m == "skvae" else f" ({ratio(taken['skvae'], taken[m]):.2f})")
            for m in names
        ]
        for taken in passes.values()
    ]
    where = environment()
    write_json(path, {"epochs": results, "transform": passes, "environment": where})
    lines = [
        "# Throughput",
        "",
        "Seconds an epoch, and in brackets the ratio to the loop with fused Adam.",
        "",
        table(["rows", *METHODS, "skvae, CUDA graphs"], rows),
        "",
        "Rows per second of one pass over 100,000 x 64 (hidden layers 64-64, k = 8), and in "
        "brackets how many times as long `transform` takes.",
        "",
        table(["dtype", *names], [[d, *s] for d, s in zip(passes, speeds, strict=True)]),
        "",
        describe(where),
        "",
    ]
    write_text(path.with_suffix(".md"), "\n".join(lines))


if __name__ == "__main__":
    main()
