"""
Outliers, and what makes them strange
=====================================

A model that says how likely a row is finds unlikely rows; one that knows how the columns go
together also says which cell of such a row does not fit. Here the measurements of benign tumours
teach a :class:`~skvae.VAEOutlierDetector` what is usual.
"""

# %%
# Which rows
# ----------
#
# Half of the benign tumours trains; the other half and the malignant ones are new to the detector.
# Beside it the distance of a row from the mean, by the covariance of the training rows (what a
# single Gaussian says), and random trees. Malignant nuclei are larger than benign ones in most
# columns at once, which all three see, and the trees best: they look at one column at a time.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.covariance import EmpiricalCovariance
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import RocCurveDisplay, roc_auc_score

from skvae import VAEOutlierDetector

frame, kind = load_breast_cancer(as_frame=True, return_X_y=True)
# Means of the cell nuclei, without their standard errors and extremes.
frame = frame.filter(regex="^mean")
benign, malignant = frame[kind == 1], frame[kind == 0]
train, unseen = benign[::2], benign[1::2]
X_test = np.vstack([unseen, malignant])
strange = np.r_[np.zeros(len(unseen)), np.ones(len(malignant))]

detector = VAEOutlierDetector(random_state=0).fit(train.to_numpy())
scores = {
    "VAEOutlierDetector": detector.score_samples(X_test),
    "one Gaussian": -EmpiricalCovariance().fit(train.to_numpy()).mahalanobis(X_test),
    "IsolationForest": IsolationForest(random_state=0).fit(train.to_numpy()).score_samples(X_test),
}
_, ax = plt.subplots(layout="constrained")
for name, score in scores.items():
    RocCurveDisplay.from_predictions(strange, -score, name=name, ax=ax)
ax.set(xlabel="benign rows called outliers", ylabel="malignant rows called outliers")
plt.show()

# %%
# ``predict`` calls rows below ``offset_`` outliers: one in twenty of new rows that are like those
# of the fit, as far as the rows say that were held out of it.

called = detector.predict(X_test) == -1
for name, rows in {"benign": strange == 0, "malignant": strange == 1}.items():
    print(f"{name:9} {called[rows].mean():.0%} called outliers")
print(f"area under the curve: {roc_auc_score(strange, -scores['VAEOutlierDetector']):.3f}")

# %%
# Which cells
# -----------
#
# One cell of each of three usual rows is changed: to a value that is usual in its column, but not
# beside the others of its row. Column by column nothing is to be seen.

rows = unseen.iloc[[3, 40, 77]].to_numpy().copy()
changed = ["mean radius", "mean compactness", "mean concave points"]
for row, column in zip(rows, changed, strict=True):
    place = frame.columns.get_loc(column)
    low, high = np.percentile(train[column], [5, 95])
    row[place] = low if row[place] > train[column].median() else high

effects = detector.explain(rows)
for row, effect, column in zip(rows, effects, changed, strict=True):
    place = frame.columns.get_loc(column)
    deviations = (row[place] - train[column].mean()) / train[column].std()
    print(
        f"changed: {column}, {deviations:+.1f} standard deviations from its mean; "
        f"strangest: {frame.columns[effect.argmax()]}"
    )

# %%
# :meth:`~skvae.VAEOutlierDetector.explain` gives how much less likely each cell is, given the
# others, than cells of its column usually are, in nats. Where two columns contradict each other,
# as radius, perimeter and area of a circle do, each is strange given the other; the one that
# contradicts more of the others is the strangest.

_, ax = plt.subplots(figsize=(8, 4), layout="constrained")
width = 0.27
places = np.arange(len(frame.columns))
for i, (effect, column) in enumerate(zip(effects, changed, strict=True)):
    ax.barh(places + (i - 1) * width, effect, height=width, label=f"{column} was changed")
ax.set_yticks(places, frame.columns)
ax.invert_yaxis()
ax.axvline(0, color="black", linewidth=0.8)
ax.set_xlabel("nats less likely than usual, given the other columns")
ax.legend()
plt.show()
