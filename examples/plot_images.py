"""
Images: generation and interpolation
====================================

New digits drawn from a model of the old ones, and paths from one digit to another. A model of the
rows has to say two things: what an image looks like given its latents, p(x|z), and which latents
there are, p(z). PCA and a VAE with the default prior, N(0, I), share the second; how much hangs on
it is what this example shows.
"""

# %%
# Three models of twelve components: PCA, a VAE with PCA's prior, and one whose prior is fitted to
# where the encoder puts the training rows, once training is over. That costs seconds. (With
# `max_epochs=0` the estimator is PCA, which thereby gets a `sample` and an `interpolate`.)

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neighbors import NearestNeighbors

from skvae import VAETransformer

X, y = load_digits(return_X_y=True)
# Grey levels are integers: a density needs them spread out over their steps.
X = X + np.random.RandomState(0).uniform(-0.5, 0.5, size=X.shape)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

models = {
    "PCA": VAETransformer(12, max_epochs=0),
    "VAE": VAETransformer(12, max_epochs=60, random_state=0),
    "VAE, fitted prior": VAETransformer(12, prior="fitted", max_epochs=60, random_state=0),
}
for model in models.values():
    model.fit(X_train)

# %%
# Generation
# ----------
#
# `sample(noise=False)` draws z from p(z) and gives the mean of p(x|z): a smooth image. Above the
# samples stand held-out digits, and below those of the last model the training digits nearest to
# them: are they copies?

n = len(X_test)
samples = {name: model.sample(n, random_state=0, noise=False) for name, model in models.items()}
nearest = NearestNeighbors(n_neighbors=1).fit(X_train)


def strips(rows, title):
    """Rows of images, each row with its name."""
    length = len(next(iter(rows.values())))
    height = 0.66 * len(rows) + 0.4
    figure, axes = plt.subplots(len(rows), length, figsize=(0.62 * length + 1.9, height))
    figure.subplots_adjust(0.2, 0.02, 0.99, 1 - 0.4 / height, wspace=0.08, hspace=0.08)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(line, images, strict=True):
            ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
            ax.set_xticks([])
            ax.set_yticks([])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.suptitle(title, y=1 - 0.08 / height, va="top", size="medium")


last = samples["VAE, fitted prior"][:14]
rows = {"held-out digits": X_test[:14]} | {name: images[:14] for name, images in samples.items()}
rows["nearest in training"] = X_train[nearest.kneighbors(last)[1][:, 0]]
strips(rows, "Sampled digits")

reconstructed = {
    name: model.inverse_transform(model.transform(X_test)) for name, model in models.items()
}
print("Mean distance to the nearest training digit, VAE with a fitted prior:")
for name, images in {"samples": samples, "reconstructions": reconstructed}.items():
    distance = nearest.kneighbors(images["VAE, fitted prior"])[0].mean()
    print(f"  {name} {distance:.1f}")

# %%
# They are not: samples are farther from the training digits than reconstructions of digits that the
# model has never seen.

# %%
# Which model is the better one? How likely held-out digits are says p(x), and how well a random
# forest tells samples from the model's own reconstructions of held-out digits (.5 is not at all, 1
# always) says it of the prior alone, since both are means of the same p(x|z).

print(f"{'':20}{'log p(x), nats':>16}{'told apart':>12}")
for name, model in models.items():
    both = np.vstack([samples[name], reconstructed[name]])
    forest = RandomForestClassifier(random_state=0)
    told = cross_val_score(forest, both, np.repeat([0, 1], n), cv=3).mean()
    print(f"{name:20}{model.score(X_test):16.1f}{told:12.2f}")

# %%
# The VAE with N(0, I) is a far likelier model than PCA, and yet its samples are told apart as
# easily as PCA's: most of a normal law in twelve dimensions is where no digit is. The fitted prior
# goes where the digits are, and gains likelihood with it. This is the first thing to try for
# generation; `"flow"`, `"vamp"` and `"mixture"` learn the prior together with the networks.
#
# These are means. `sample` itself adds the noise of p(x|z), as a draw from a model of the rows has
# to: and since the default likelihood has one noise variance for all pixels, it speckles corners
# that are white in all digits.

draws = models["VAE, fitted prior"].sample(14, random_state=0)
strips({"means": last, "draws (of other z)": draws}, "The same model, without and with its noise")

# %%
# Interpolation
# -------------
#
# `interpolate` goes from one row to another along the straight line between their columns of
# `transform`. For PCA, which is linear, that is the blend of the two reconstructions. The VAE's
# paths bend.

first = [np.flatnonzero(y_test == digit)[0] for digit in (0, 3, 4, 1)]
second = [np.flatnonzero(y_test == digit)[0] for digit in (6, 8, 9, 7)]
paths = {
    name: models[name].interpolate(X_test[first], X_test[second], n_steps=11)
    for name in ("PCA", "VAE, fitted prior")
}
rows = {}
for i, (a, b) in enumerate(zip(first, second, strict=True)):
    rows[f"{y_test[a]} to {y_test[b]}, PCA"] = paths["PCA"][i]
    rows[f"{y_test[a]} to {y_test[b]}, VAE"] = paths["VAE, fitted prior"][i]
strips(rows, "From one digit to another")

# %%
# Halfway a blend is two digits on top of each other. The VAE's images halfway are somewhat nearer
# to real digits, here over 225 random pairs, but not as near as reconstructions are: a straight
# line in the latent space crosses regions where no digit is, too.

half = n // 2
print("Mean distance to the nearest training digit:")
for name in paths:
    between = models[name].interpolate(X_test[:half], X_test[half : 2 * half], n_steps=3)
    for what, images in {"halfway": between[:, 1], "reconstructed": reconstructed[name]}.items():
        print(f"  {name}, {what} {nearest.kneighbors(images)[0].mean():.1f}")

plt.show()
