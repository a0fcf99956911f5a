"""Time and memory of `fit` against rows, columns and components.

    python benchmarks/scaling.py [--full] [--threads 1]

Each fit runs in a process of its own, one epoch with the default batch size and network. The rows
of the n series (32 columns) are float32 in a `numpy.memmap`; memory is the growth of anonymous
memory (RssAnon: mapped pages of the file do not count) from after the imports to its peak. The
slope is that of a line through log seconds against log size, over the larger sizes, where the
fixed costs no longer count. The last rows of the n series are a file of 4 GB.

Quick mode: up to 1e5 rows, 2,000 columns; full mode: 1e7 rows, 10,000 columns, and the 4 GB file.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

SERIES = {
    "rows": [(n, 32, 4) for n in (1_000, 10_000, 100_000, 1_000_000, 10_000_000)],
    "columns": [(5_000, d, 4) for d in (10, 100, 1_000, 2_000, 5_000, 10_000)],
    "components": [(20_000, 512, k) for k in (1, 4, 16, 64, 256)],
    "4 GB": [(10_000_000, 100, 4)],
}
VARYING = {"rows": 0, "columns": 1, "components": 2, "4 GB": 0}


def write_rows(path, n, d):
    """A file of rows on a curved surface with noise, written in pieces."""
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    random = np.random.default_rng(0)
    mixing = random.normal(size=(4, d)).astype(np.float32)
    piece = max(1, 2**22 // d)
    for first in range(0, n, piece):
        size = min(piece, n - first)
        z = random.standard_normal(size=(size, 4), dtype=np.float32)
        noise = random.standard_normal(size=(size, d), dtype=np.float32)
        rows[first : first + size] = np.tanh(z @ mixing) + 0.3 * noise
    rows.flush()


def anonymous_bytes():
    """Anonymous memory of this process, in bytes (Linux)."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


class Peak(threading.Thread):
    """The greatest anonymous memory, looked at a hundred times a second."""

    def __init__(self):
        super().__init__(daemon=True)
        self.greatest, self.running = 0, True

    def run(self):
        while self.running:
            self.greatest = max(self.greatest, anonymous_bytes())
            time.sleep(0.01)


def one_fit(path, k, threads):
    """Fit the rows of a file; print seconds and peak memory as JSON."""
    import torch

    from skvae import VAETransformer

    torch.set_num_threads(threads)
    VAETransformer(1, max_epochs=1).fit(np.random.RandomState(0).normal(size=(200, 3)))
    X = np.load(path, mmap_mode="r")
    before, peak = anonymous_bytes(), Peak()
    peak.start()
    began = time.perf_counter()
    vae = VAETransformer(k, max_epochs=1, random_state=0).fit(X)
    seconds = time.perf_counter() - began
    fitted = peak.greatest - before
    began = time.perf_counter()
    vae.transform(X)
    print(json.dumps({"fit": seconds, "memory": fitted, "transform": time.perf_counter() - began}))


def measured(size, threads, repeats):
    n, d, k = size
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.npy")
        write_rows(path, n, d)
        command = [sys.executable, __file__, "--one", str(path), str(k), "--threads", str(threads)]
        runs = [
            json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            for _ in range(repeats)
        ]
    return {key: float(np.median([run[key] for run in runs])) for key in runs[0]}


def slope(sizes, seconds):
    """Of log seconds against log size."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--series", default="")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--one", nargs=2, metavar=("FILE", "K"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one_fit(arguments.one[0], int(arguments.one[1]), arguments.threads)
        return

    import torch
    from report import describe, environment, read_json, table, write_json, write_text

    torch.set_num_threads(arguments.threads)
    path = arguments.out / f"scaling{'' if arguments.full else '-quick'}.json"
    results = (read_json(path) or {}).get("results", {}) if arguments.series else {}
    names = arguments.series.split(",") if arguments.series else list(SERIES)
    for name in names:
        sizes = SERIES[name]
        if not arguments.full:
            sizes = [s for s in sizes if s[0] * s[1] <= 11_000_000]
        results[name] = []
        for size in sizes:
            repeats = 3 if size[0] * size[1] <= 2e7 else 1
            results[name].append({"size": size, **measured(size, arguments.threads, repeats)})
            print(name, results[name][-1], flush=True)
        where = environment()
        write_json(path, {"results": results, "environment": where})
        lines = ["# Scaling", "", "Seconds of one epoch, start and all; anonymous memory.", ""]
        for series, runs in results.items():
            if not runs:
                continue
            rows = [
                [
                    f"{run['size'][0]:,} x {run['size'][1]:,}, k = {run['size'][2]}",
                    f"{run['fit']:.2f}",
                    f"{run['memory'] / 2**20:.0f}",
                    f"{run['transform']:.2f}",
                ]
                for run in runs
            ]
            lines += [f"## {series}", ""]
            lines += [table(["rows x columns", "fit, s", "memory, MiB", "transform, s"], rows), ""]
            if len(runs) > 2:
                varied = [run["size"][VARYING[series]] for run in runs]
                seconds = [run["fit"] for run in runs]
                steepest = max(
                    slope(varied[i : i + 2], seconds[i : i + 2]) for i in range(len(runs) - 1)
                )
                whole = slope(varied[-3:], seconds[-3:])
                lines += [
                    f"Slope over the last three: {whole:.2f}; the steepest step: {steepest:.2f}.",
                    "",
                ]
        write_text(path.with_suffix(".md"), "\n".join([*lines, describe(where), ""]))


if __name__ == "__main__":
    main()
