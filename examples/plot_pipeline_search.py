"""
A VAE in a pipeline, and its search
===================================

:class:`~skvae.VAETransformer` goes where PCA stood in a pipeline, and is searched by the tools that
search PCA's: by the score of the model that follows, or by its own log-likelihood. Three searches
on the digits: a grid, successive halving with epochs as its resource, and Optuna's through its
scikit-learn interface.
"""

# %%
# By the model that follows
# -------------------------
#
# The same grid over `n_components` for both, scored by the accuracy of nearest neighbours. In a
# search many models are fitted, so each is given few epochs.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from skvae import VAETransformer

X, y = load_digits(return_X_y=True)
# Grey levels are integers: a density needs them spread out over their steps.
X = X + np.random.RandomState(0).uniform(-0.5, 0.5, size=X.shape)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

sizes = [2, 4, 8, 16, 32]
searches = {}
for reducer in (PCA(random_state=0), VAETransformer(max_epochs=8, random_state=0)):
    pipeline = Pipeline([("reduce", reducer), ("classify", KNeighborsClassifier())])
    search = GridSearchCV(pipeline, {"reduce__n_components": sizes}, cv=3)
    searches[type(reducer).__name__] = search.fit(X_train, y_train)

figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
for name, search in searches.items():
    mean, spread = (search.cv_results_[f"{part}_test_score"] for part in ("mean", "std"))
    ax.errorbar(sizes, mean, spread, marker="o", capsize=3, label=name)
    chosen, accuracy = search.best_params_, search.score(X_test, y_test)
    print(
        f"{name}: {chosen}, held-out accuracy {accuracy:.3f}, {search.refit_time_:.1f} s to refit"
    )
ax.set_xscale("log", base=2)
ax.set_xticks(sizes, [str(size) for size in sizes])
ax.set_xlabel("n_components")
ax.set_ylabel("accuracy (5-NN, cross-validated)")
ax.legend()

# %%
# With two and four components the VAE keeps more of what tells digits apart, though eight epochs
# are few (:ref:`sphx_glr_auto_examples_plot_digits_2d.py` shows what more of them do in the plane).
# From eight components on there is nothing left to gain for this classifier, and PCA, which is
# instant, does as well. The search says so, and there is no need to believe in either.

# %%
# Successive halving, by likelihood
# ---------------------------------
#
# `score` is the mean log-likelihood of held-out rows, so a search needs neither labels nor
# `scoring`. Epochs are a natural resource: all candidates get four, the better half of them eight.
# Ten draws a row are enough to rank by (`n_importance_samples`; the default is 100).

candidates = {
    "hidden_layer_sizes": [(64,), (256, 256)],
    "lr": [1e-3, 4e-3],
}
halving = HalvingGridSearchCV(
    VAETransformer(8, n_importance_samples=10, random_state=0),
    candidates,
    resource="max_epochs",
    min_resources=4,
    max_resources=8,
    factor=2,
    cv=3,
    random_state=0,
).fit(X_train)

results = halving.cv_results_
print(f"{'epochs':>6}  {'hidden layers':14}{'lr':>6}{'nats':>9}")
for epochs, params, score in zip(
    results["n_resources"], results["params"], results["mean_test_score"], strict=True
):
    layers = "-".join(str(units) for units in params["hidden_layer_sizes"])
    print(f"{epochs:6}  {layers:14}{params['lr']:6}{score:9.1f}")

# %%
# Optuna
# ------
#
# `OptunaSearchCV`, of the package optuna-integration, is a scikit-learn search whose candidates are
# proposed by what was seen so far. Parameters of the skorch net, such as the weight decay, are
# searched by skorch's double-underscore names.

try:
    import optuna
    from optuna_integration import OptunaSearchCV
except ImportError:
    print("Optuna is not installed: pip install optuna-integration")
else:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    from optuna.distributions import FloatDistribution, IntDistribution

    with warnings.catch_warnings():
        # "OptunaSearchCV is experimental", and an older part of Optuna that it still uses.
        warnings.simplefilter("ignore")
        study = OptunaSearchCV(
            VAETransformer(max_epochs=6, n_importance_samples=10, random_state=0),
            {
                "n_components": IntDistribution(2, 32, log=True),
                "lr": FloatDistribution(5e-4, 8e-3, log=True),
                "optimizer__weight_decay": FloatDistribution(1e-3, 5.0, log=True),
            },
            cv=3,
            n_trials=6,
            random_state=0,
        ).fit(X_train)
    for name, value in study.best_params_.items():
        print(f"{name}: {value:.3g}")
    print(f"held-out log-likelihood {study.score(X_test):.1f} nats")

# %%
# The searches ask different questions, and need not agree: the likelihood is that of all that is in
# the rows, whether or not it tells one digit from another. Search by the likelihood for a model of
# the rows, by the next step's score for features.

plt.show()
