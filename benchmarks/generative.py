"""The model on images: Fashion-MNIST, dynamically binarized MNIST, photo patches.

    python benchmarks/generative.py [--full] [--tasks fashion,mnist,patches,published] [--threads 2]

Quick mode trains on fewer rows and epochs, under five minutes on two cores; full mode uses the
protocols below, which are those of the floors that the results are held against.

fashion   Fashion-MNIST / 255, k = 16, 10 epochs, the floor's hidden layers (256-256) and the
          default ones; log-likelihood of 2,000 test rows with 100 draws, reconstruction MSE of
          10,000 test rows, 5-NN accuracy (15,000 training and 3,000 test rows, or all 10,000) in
          the columns of `transform` with whiten=False and whiten=True. Means over three seeds. Not
          dequantized, as the floors are not: compare densities within this table only.
mnist     MNIST, Bernoulli likelihood, dynamic binarization in training (`batch_transform`), k = 50,
          the floor's hidden layers (200-200) and the default ones; log p of test rows binarized
          once, after 10 epochs with 200 draws and after 100 epochs with 1,000 draws (1,000 rows).
patches   8 x 8 grey patches of scikit-learn's two sample photos, dequantized, / 255, k = 16, noise
          variance from the decoder, 40 epochs; 20,000 training rows of 98,000, then all; 2,000
          held out.
published The protocol of the papers: MNIST binarized anew in each batch, 784-200-200-50, the plain
          ELBO, 300 epochs; log p of all 10,000 test images, binarized once, with 5,000 draws. The
          affine path, which the papers' network has not, is stated as extra parameters. A latent
          is active where the variance of E[z|x] over the test rows is above 0.01. About an hour on
          one core, half of it training.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from datasets import load_images
from report import describe, environment, read_json, table, write_json, write_text
from sklearn.base import clone
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier

from skvae import VAETransformer

FLOORS = {
    "fashion": "log p 601.7, MSE .01151, 5-NN .841",
    "mnist": "log p -93.6 after 10 epochs, -86.7 after 100",
    "patches": "log p 172.8",
    "published": "log p -86.76 after 3,280 epochs of batches of 20 (Y. Burda, R. Grosse, "
    "R. Salakhutdinov, ICLR 2016, table 1, VAE with k = 1)",
}


def timed_fit(model, X):
    began = time.perf_counter()
    model.fit(X)
    return time.perf_counter() - began


def reconstruction_error(model, X):
    return float(np.mean((model.inverse_transform(model.transform(X)) - X) ** 2))


def mean(models, measure, digits):
    """The mean over models, and their range where there are several."""
    values = [float(measure(model)) for model in models]
    text = f"{np.mean(values):.{digits}f}"
    return text + (f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if values[1:] else "")


def nearest_neighbours(model, train, test, whiten=False):
    """5-NN accuracy in the model's columns, divided by their deviation if `whiten`."""
    T, S = model.transform(train[0]), model.transform(test[0])
    unit = T.std(axis=0) if whiten else 1.0
    return KNeighborsClassifier(5).fit(T / unit, train[1]).score(S / unit, test[1])


def fashion(full):
    X, y, X_test, y_test = load_images("fashion_mnist")
    X, X_test = (X / 255).astype(np.float32), (X_test / 255).astype(np.float32)
    n, epochs = (len(X), 10) if full else (10_000, 3)
    seeds = range(3 if full else 1)
    models = {
        "PCA": [PCA(16, random_state=0)],
    }
    for name, sizes in {"256-256": (256, 256), "default layers": "auto"}.items():
        models[f"VAE, {name}, {epochs} epochs"] = [
            VAETransformer(16, hidden_layer_sizes=sizes, max_epochs=epochs, random_state=seed)
            for seed in seeds
        ]
    train = X[:n][:15_000], y[:n][:15_000]
    few, all_ = (X_test[:3000], y_test[:3000]), (X_test, y_test)
    for name, fits in models.items():
        seconds = [timed_fit(model, X[:n]) for model in fits]
        yield {
            "model": name,
            "log p (nats)": mean(fits, lambda m: m.score(X_test[:2000]), 1),
            "MSE": mean(fits, lambda m: reconstruction_error(m, X_test), 5),
            "5-NN": mean(fits, lambda m: nearest_neighbours(m, train, few), 3),
            "5-NN, whitened": mean(fits, lambda m: nearest_neighbours(m, train, few, True), 3),
            "5-NN, all test rows": mean(fits, lambda m: nearest_neighbours(m, train, all_), 3),
            "fit (s)": round(float(np.median(seconds)), 1),
        }


def binarized_mnist():
    """Training rows in [0, 1], and test rows binarized once."""
    X, _, X_test, _ = load_images("mnist")
    binary = np.random.RandomState(0).uniform(size=X_test.shape) < X_test / 255
    return (X / 255).astype(np.float32), binary.astype(np.float32)


def binary_vae(hidden_layer_sizes, epochs, draws, **parameters):
    return VAETransformer(
        50,
        likelihood="bernoulli",
        hidden_layer_sizes=hidden_layer_sizes,
        batch_transform=torch.bernoulli,
        max_epochs=epochs,
        batch_size=128,
        n_importance_samples=draws,
        random_state=0,
        **parameters,
    )


def mnist(full):
    X, binary = binarized_mnist()
    n = len(X) if full else 10_000
    small, default = (200, 200), "auto"
    runs = [(3, 200, "pca", small)]
    if full:
        runs = [
            (10, 200, "pca", small),
            (10, 200, "pca", default),
            (10, 200, "random", small),
            (100, 1000, "pca", small),
            (100, 1000, "pca", default),
        ]
    for epochs, draws, init, sizes in runs:
        model = binary_vae(sizes, epochs, draws, init=init)
        name = "default layers" if sizes == default else "200-200"
        seconds = timed_fit(model, X[:n])
        yield {
            "model": f"VAE, {name}, {epochs} epochs, init={init!r}",
            "log p (nats)": round(model.score(binary[:1000]), 1),
            "draws": draws,
            "fit (s)": round(seconds, 1),
        }


def published(full):
    X, binary = binarized_mnist()
    n, n_test, epochs, draws = (len(X), len(binary), 300, 5000) if full else (5000, 500, 10, 500)
    model = binary_vae((200, 200), epochs, draws)
    seconds = timed_fit(model, X[:n])
    sizes = {name: p.numel() for name, p in model.net_.module_.named_parameters()}
    # The columns of `transform` are E[z|x] in other units.
    units = model.coordinates_.scale[model.coordinates_.order]
    means = model.transform(binary[:n_test]) / units
    yield {
        "model": "VAE, 200-200",
        "epochs": epochs,
        "best epoch": model.best_epoch_,
        "log p (nats)": round(model.score(binary[:n_test]), 2),
        "draws": draws,
        "test rows": n_test,
        "active units": int((means.var(axis=0) > 0.01).sum()),
        "parameters": sum(sizes.values()),
        "of the affine path": sum(sizes[name] for name in sizes if name.startswith("affine_")),
        "fit (minutes)": round(seconds / 60, 1),
    }


def patches(full):
    random = np.random.RandomState(0)
    # Grey levels spread over their steps: densities of quantized values are unbounded.
    greys = [image.mean(axis=2) for image in load_sample_images().images]
    photos = [(grey + random.uniform(size=grey.shape)) / 255 for grey in greys]
    X = np.vstack(
        [extract_patches_2d(p, (8, 8), max_patches=50_000, random_state=0) for p in photos]
    )
    X = X.reshape(len(X), 64)[random.permutation(len(X))]
    X_test, X = X[:2000], X[2000:]
    n, epochs = (20_000, 40) if full else (5000, 10)
    vae = VAETransformer(
        16, likelihood="heteroscedastic_gaussian", max_epochs=epochs, random_state=0
    )
    models = {
        "PCA": (PCA(16, random_state=0), n),
        "GaussianMixture, 10 full": (GaussianMixture(10, random_state=0), n),
        # As in the floor's 159.3.
        "GaussianMixture, 10 full, reg_covar=1e-4": (
            GaussianMixture(10, random_state=0, reg_covar=1e-4),
            n,
        ),
        f"VAE, {epochs} epochs": (vae, n),
    }
    if full:
        models["VAE, 40 epochs, all rows"] = clone(vae), len(X)
    for name, (model, n_rows) in models.items():
        seconds = timed_fit(model, X[:n_rows])
        yield {
            "model": name,
            "rows": n_rows,
            "log p (nats)": round(float(model.score(X_test)), 1),
            "fit (s)": round(seconds, 1),
        }


TASKS = {"fashion": fashion, "mnist": mnist, "patches": patches, "published": published}


def markdown(results):
    lines = ["# Images", "", __doc__.split("\n\n", 2)[2].strip().replace("\n\n", "\n\n"), ""]
    for name, result in results.items():
        header = list(result["rows"][0])
        rows = [[row[column] for column in header] for row in result["rows"]]
        lines += [f"## {name}", "", f"Floor: {FLOORS[name]}.", "", table(header, rows), ""]
        lines += [describe(result["environment"]), ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    path = arguments.out / f"generative{'' if arguments.full else '-quick'}.json"
    results = read_json(path) or {}
    for name in arguments.tasks.split(","):
        rows = []
        for row in TASKS[name](arguments.full):
            rows.append(row)
            print(name, json.dumps(row), flush=True)
            results[name] = {"rows": rows, "environment": environment()}
            write_json(path, results)
            write_text(path.with_suffix(".md"), markdown(results))


if __name__ == "__main__":
    main()
