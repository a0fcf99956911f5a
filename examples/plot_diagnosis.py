"""
Reading a diagnosis
===================

A model that fits badly still transforms, scores and samples. :func:`~skvae.diagnose` looks at what
its latents, its bounds, its training and its columns say, and names what is wrong. Here it reads a
model that is made bad on purpose, and then the same model mended, a cure at a time.
"""

# %%
# Four columns of two latents that bend: one real, one positive and skewed, one of counts, one of
# zeros and ones.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from skvae import PosteriorCollapseWarning, VAETransformer, diagnose

random = np.random.RandomState(0)
z = random.normal(size=(1200, 2))
table = pd.DataFrame(
    {
        "size": 3 * z[:, 0] + z[:, 1] ** 2 + 0.5 * random.normal(size=1200),
        "price": np.exp(1.5 * z[:, 0] + 0.3 * random.normal(size=1200)),
        "visits": random.poisson(np.exp(1.2 * z[:, 1])),
        "member": (z[:, 0] + z[:, 1] + 0.5 * random.normal(size=1200) > 0).astype(int),
    }
)
train, test = train_test_split(table, random_state=0)

# %%
# Made bad
# --------
#
# Random weights at the start, twenty times the KL term, few epochs, and normal laws for columns
# that have others. `fit` says itself what it sees: latents that say nothing.

bad = VAETransformer(
    2,
    likelihood="diagonal_gaussian",
    init="random",
    beta=20,
    max_epochs=30,
    random_state=0,
)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", PosteriorCollapseWarning)
    bad.fit(train)
for warning in caught:
    print(warning.category.__name__, warning.message, sep=": ")

diagnosis = diagnose(bad, test, X_train=train)
print(diagnosis)

# %%
# The findings come first, each with a cure, the faults before the notes. Beneath are the numbers
# that they rest on: the ELBO and its terms; how training went, and whether the model is likelier
# than the linear one that takes no training; what each component says of the rows; and whether each
# column's marginal comes back, at the rows' own latents (if not, its law is wrong) and in samples
# (if only there not, the prior is). In a notebook a diagnosis shows itself, as a table that folds,
# and all numbers are its attributes.

# %%
# Mended
# ------
#
# The default start, the ELBO itself and as many epochs as the rows need:

start = VAETransformer(2, likelihood="diagonal_gaussian", random_state=0).fit(train)
print(*(f"{finding.name}: {finding.cure}" for finding in diagnose(start, test).warnings), sep="\n")

# %%
# What is left is the law. `"quantile_gaussian"` takes columns of any shape, and a law for each kind
# of column does too:

laws = [
    ("gaussian", ["size"]),
    ("lognormal", ["price"]),
    ("negative_binomial", ["visits"]),
    ("bernoulli", ["member"]),
]
mended = VAETransformer(2, likelihood=laws, random_state=0).fit(train)
good = diagnose(mended, test, X_train=train)
print(good)

# %%
# The columns of the three models, at the rows' own latents, and what their components say:

models = {"made bad": diagnosis, "default": diagnose(start, test), "mended": good}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
width = 0.25
for i, (name, each) in enumerate(models.items()):
    places = np.arange(4) + (i - 1) * width
    left.bar(places, each.replicates.distance, width, label=name)
    right.bar(np.arange(2) + (i - 1) * width, each.component_nats, width)
left.axhline(0.1, color="black", linestyle="--", linewidth=1)
left.set_xticks(range(4), list(table))
left.set_ylabel("distance from the column's marginal")
right.set_xticks(range(2), ["component 0", "component 1"])
right.set_ylabel("nats per row")
left.legend(frameon=False, loc="upper left")
plt.show()

# %%
# A diagnosis without warnings is no proof: it has looked at margins of columns and means over rows.
# It is the least that should hold before samples, scores or components are believed.
