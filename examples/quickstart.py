"""PCA's place in a pipeline, taken by a VAE: digits, in numbers and in one picture."""

import os
import sys
import time
from pathlib import Path

# Threads that spin while they wait make small networks many times slower on a busy machine. Read
# when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer


def evaluate(reducer, X_train, X_test, y_train, y_test):
    """Held-out log-likelihood, reconstruction error, accuracy of two models behind the reducer,
    and the seconds that the first pipeline took to fit."""
    pipeline = make_pipeline(reducer, KNeighborsClassifier(5))
    began = time.perf_counter()
    pipeline.fit(X_train, y_train)
    seconds = time.perf_counter() - began
    reducer = pipeline[0]
    error = np.mean((reducer.inverse_transform(reducer.transform(X_test)) - X_test) ** 2)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    linear.fit(reducer.transform(X_train), y_train)
    accuracies = pipeline.score(X_test, y_test), linear.score(reducer.transform(X_test), y_test)
    return reducer.score(X_test), error, *accuracies, seconds


def draw(path, X, plane, y, models):
    """Rows, their reconstructions, samples, and the two latent planes."""
    figure = plt.figure(figsize=(11, 9.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[5, 6])
    pca, vae = models
    strips = {
        "held-out digits": X[:12],
        f"PCA, k={pca.n_components_}": pca.inverse_transform(pca.transform(X[:12])),
        f"VAE, k={vae.n_components_}": vae.inverse_transform(vae.transform(X[:12])),
        "VAE, sampled\n(means)": vae.sample(12, random_state=1, noise=False),
    }
    axes = top.subplots(len(strips), 12)
    for row, (name, images) in zip(axes, strips.items(), strict=True):
        for ax, image in zip(row, images, strict=True):
            ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
            ax.set_xticks([])
            ax.set_yticks([])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11)
    for ax, (name, T) in zip(bottom.subplots(1, 2), plane.items(), strict=True):
        for digit, colour in enumerate(plt.get_cmap("tab10").colors):
            points = T[y == digit]
            ax.scatter(*points.T, s=9, color=colour, alpha=0.6, linewidths=0)
            ax.annotate(
                str(digit),
                np.median(points, axis=0),
                color=colour,
                weight="bold",
                size=15,
                ha="center",
                va="center",
                bbox={"boxstyle": "round,pad=0.05", "fc": "white", "ec": "none", "alpha": 0.6},
            )
        ax.set_title(f"{name}: all {len(T):,} digits", fontsize=12)
        ax.set_xlabel("component 1")
        ax.set_ylabel("component 2")
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main(picture="quickstart.png"):
    X, y = load_digits(return_X_y=True)
    # Grey levels 0..16 are integers: a density needs them spread out over their steps.
    X = X + np.random.RandomState(0).uniform(-0.5, 0.5, size=X.shape)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

    print("digits: 1347 training rows, 450 held out, 64 columns; nats are per held-out row\n")
    columns = ("log-likelihood", "MSE", "5-NN", "logistic", "fit, s")
    print(f"{'':14}" + "".join(f"{column:>16}" for column in columns))
    models = []
    for reducer in (PCA(8), VAETransformer(8, random_state=0)):
        score, error, *accuracies, seconds = evaluate(reducer, X_train, X_test, y_train, y_test)
        name = type(reducer).__name__.removesuffix("Transformer")
        figures = (
            f"{score:.1f}",
            f"{error:.3f}",
            *(f"{a:.3f}" for a in accuracies),
            f"{seconds:.1f}",
        )
        print(f"{name + ', k=8':14}" + "".join(f"{figure:>16}" for figure in figures))
        models.append(reducer)

    print("\nGridSearchCV over n_components, scored by held-out log-likelihood (no scoring=):")
    for reducer in (PCA(), VAETransformer(random_state=0, max_epochs=15)):
        search = GridSearchCV(reducer, {"n_components": [4, 8, 16]}, cv=3).fit(X_train)
        name = type(reducer).__name__.removesuffix("Transformer")
        scores = ", ".join(
            f"{params['n_components']}: {score:.1f}"
            for params, score in zip(
                search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
            )
        )
        print(f"  {name}  {scores}  -> k={search.best_params_['n_components']}")

    plane = {
        "PCA, k=2": PCA(2).fit(X_train).transform(X),
        "VAE, k=2": VAETransformer(2, random_state=0).fit(X_train).transform(X),
    }
    draw(picture, X_test, plane, y, models)
    print(f"\nThe picture is in {Path(picture).resolve()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
