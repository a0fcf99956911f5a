"""
Digits in two dimensions: PCA, a VAE and t-SNE
==============================================

Three maps of the 1,797 handwritten digits of scikit-learn, 64 pixels each, into the plane. PCA and
:class:`~skvae.VAETransformer` are models: they are fitted to three quarters of the digits and
place the others, which they have not seen. t-SNE is a picture of the rows it was given: it can
place no others.
"""

# %%
# The grey levels are integers. A density of integers is unbounded, so they are spread out over
# their steps, once, for all three.

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neighbors import KNeighborsClassifier

from skvae import VAETransformer

X, y = load_digits(return_X_y=True)
X = X + np.random.RandomState(0).uniform(-0.5, 0.5, size=X.shape)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

planes, seconds = {}, {}
for name, model in {
    "PCA": PCA(2),
    "VAE": VAETransformer(2, random_state=0),
    "t-SNE": TSNE(2, random_state=0),
}.items():
    began = time.perf_counter()
    planes[name] = model.fit_transform(X) if name == "t-SNE" else model.fit(X_train).transform(X)
    seconds[name] = time.perf_counter() - began
    if name == "PCA":
        pca = model
    elif name == "VAE":
        vae = model


def scatter(ax, plane, title):
    """The digits in a plane, each class with its number at its median."""
    for digit, colour in enumerate(plt.get_cmap("tab10").colors):
        points = plane[y == digit]
        ax.scatter(*points.T, s=6, color=colour, alpha=0.6, linewidths=0)
        ax.annotate(
            str(digit),
            np.median(points, axis=0),
            color=colour,
            weight="bold",
            size=14,
            ha="center",
            va="center",
            bbox={"boxstyle": "round,pad=0.05", "fc": "white", "ec": "none", "alpha": 0.7},
        )
    ax.set_title(title)


figure, axes = plt.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
for ax, (name, plane) in zip(axes, planes.items(), strict=True):
    scatter(ax, plane, name)
    ax.set_xlabel("component 1" if name != "t-SNE" else "")
    ax.set_ylabel("component 2" if name != "t-SNE" else "")
axes[2].set_xticks([])
axes[2].set_yticks([])

# %%
# PCA's plane mixes most of the digits. The VAE's has the same axes, in the same units, but bends:
# it keeps classes apart that PCA lays on top of each other, though not all of them. t-SNE separates
# them best by far. Two numbers say so: how well five nearest neighbours in the plane tell the
# digits (cross-validated over the plane's points), and the trustworthiness, which is 1 where all
# neighbours in the plane are neighbours among the 64 pixels too. No plane has seen the labels.

print(f"{'':8}{'5-NN in the plane':>20}{'trustworthiness':>18}{'seconds':>10}")
for name, plane in planes.items():
    accuracy = cross_val_score(KNeighborsClassifier(), plane, y, cv=5).mean()
    trust = trustworthiness(X, plane, n_neighbors=5)
    print(f"{name:8}{accuracy:20.2f}{trust:18.2f}{seconds[name]:10.1f}")

# %%
# To look at these rows, take t-SNE. What it lacks is the model. Only the other two can place rows
# that they were not fitted to, say how likely these are (in nats), and reconstruct them:

print(f"{'held out':8}{'5-NN accuracy':>20}{'log p(x), nats':>18}{'MSE':>10}")
for name, model in {"PCA": pca, "VAE": vae}.items():
    nearest = KNeighborsClassifier().fit(model.transform(X_train), y_train)
    T = model.transform(X_test)
    accuracy = nearest.score(T, y_test)
    error = np.mean((model.inverse_transform(T) - X_test) ** 2)
    print(f"{name:8}{accuracy:20.2f}{model.score(X_test):18.1f}{error:10.1f}")

# %%
# And every point of their planes is an image. A grid over each plane, put through
# `inverse_transform`, shows what the axes mean: PCA adds two fixed pictures to the mean digit, and
# most of its images are blends of several; the VAE's plane holds digits, and between them the
# transitions from one to the next. Some classes have a place of their own in neither, as 5 and 7.
# Where no training digit lies the VAE extrapolates, and its images there are nothing to believe.

steps = 9
figure, axes = plt.subplots(1, 2, figsize=(11, 5.8), layout="constrained")
for ax, (name, model) in zip(axes, {"PCA": pca, "VAE": vae}.items(), strict=True):
    # The middle 96 % of the training digits, the second component upwards.
    low, high = np.quantile(model.transform(X_train), [0.02, 0.98], axis=0)
    first, second = np.meshgrid(
        np.linspace(low[0], high[0], steps), np.linspace(high[1], low[1], steps)
    )
    images = model.inverse_transform(np.column_stack([first.ravel(), second.ravel()]))
    framed = np.pad(images.reshape(steps, steps, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1)))
    tiles = framed.transpose(0, 2, 1, 3).reshape(steps * 10, steps * 10)
    ax.imshow(tiles, cmap="gray_r", vmin=0, vmax=16)
    at = np.arange(steps) * 10 + 4.5
    ax.set_xticks(at[::2], [f"{value:.0f}" for value in first[0, ::2]])
    ax.set_yticks(at[::2], [f"{value:.0f}" for value in second[::2, 0]])
    ax.set_title(f"{name}: images over the plane")
    ax.set_xlabel("component 1")
    ax.set_ylabel("component 2")

plt.show()
