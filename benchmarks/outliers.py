"""Outliers: AUROC on ADBench sets, with clean and with contaminated training rows, and how often
the explanation names the column that was changed.

    python benchmarks/outliers.py [--full] [--parts protocol,halves,unlabelled]
        [--methods "VAEOutlierDetector;kNN"] [--sets glass,wine] [--threads 2]

All methods have one configuration for all sets, and learn from normal rows (except where it says
otherwise), standardized by these. AUROC in percent; the higher, the better. Kept is what was there
from earlier runs of other methods.

protocol      The published one (V. Livernoche et al., "On Diffusion Modeling for Anomaly
              Detection", ICLR 2024, after ADBench): of sets with fewer than 1,000 rows 1,000 are
              drawn with replacement, so that training and test part share rows; above 50,000,
              50,000 without. The first half of the normal rows in order trains, the rest is the
              test part. Five seeds for the sets that are drawn, one for the others.
halves        Rows shuffled, none drawn twice; half of the normal rows trains. Five seeds.
contaminated  As "halves", once more with outliers among the training rows, a twentieth of them (but
              no more than half of the outliers there are): what is lost by that, on the same test
              rows, none of which trained. Three seeds.
unlabelled    All rows of a set, outliers included, are the fit's, which judges them (as
              `fit_predict` does). Three seeds of sets with fewer than 1,000 rows, one of the
              others.
alarms        Half of the normal rows of a set trains, with contamination="auto", which is to call
              one in twenty of new rows like them outliers: how many of the other half `predict`
              calls, in percent, the mean, the least and the most of ten seeds (sets with fewer than
              1,000 rows), or of two.
explain       Half of the rows of a table trains. In each of at most 300 others, one random column
              is shifted up or down by 5 residual standard deviations of a regression of it on the
              others (ExtraTreesRegressor, cross-validated on the training rows). "Found": the part
              of rows of which the explanation has that column first. "Gaussian" is the same
              log p(x_j | the others) of a single Gaussian of the training rows. The tables are
              those of which each column has at least a hundred values, and two of fewer.

VAEOutlierDetector has its defaults; "support .9" has support_fraction=0.9; with "by others" rows
are judged by a fit to the half that they are not in (`cross_val_predict` of `decision_function`).
"pPCA" is the likelihood of PCA with the components of 90 % of the variance. GaussianMixture has
full covariances and reg_covar=0.01, of 20 components (at most a tenth of the rows), or of 1, 2, 3,
5, 10 or 20 by the Bayesian information criterion. kNN is the distance to the fifth neighbour (of
the other rows); IsolationForest and LocalOutlierFactor are as they come. ECOD and VAE are PyOD's,
as they come, where it is installed.

Quick mode: four small sets and tables, one seed.
"""

import argparse
import os
import warnings
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from datasets import Unavailable
from report import describe, environment, read_json, table, write_json, write_text
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesRegressor, IsolationForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skvae import VAEOutlierDetector

SETS = [
    "annthyroid",
    "breastw",
    "cardio",
    "glass",
    "hepatitis",
    "ionosphere",
    "letter",
    "mammography",
    "optdigits",
    "pendigits",
    "pima",
    "satellite",
    "shuttle",
    "spambase",
    "stamps",
    "thyroid",
    "vowels",
    "wbc",
    "wine",
    "yeast",
]
QUICK_SETS = "glass", "stamps", "wbc", "wine"
FEW, MANY = 1_000, 50_000
CONTAMINATION = 0.05

# All tables of which each column has at least a hundred values, and two of fewer: a shifted value
# of few is strange by itself. Of sets with outliers the normal rows.
TABLES = {
    "power-plant": "regression",
    "kin8nm": "regression",
    "protein-tertiary-structure": "regression",
    "glass": "outliers",
    "ionosphere": "outliers",
    "mammography": "outliers",
    "pendigits": "outliers",
    "stamps": "outliers",
    "vowels": "outliers",
    "concrete": "regression",
    "wine-quality-red": "regression",
}
SHIFT = 5
SHIFTED_ROWS = 300
MOST_ROWS = 10_000


def load(folder, name):
    path = Path(os.environ.get("SKVAE_DATA", ""), folder, f"{name}.npz")
    if "SKVAE_DATA" not in os.environ or not path.exists():
        raise Unavailable(f"{folder}/{name}.npz is not in the folder that SKVAE_DATA names")
    content = np.load(path)
    return content["X"].astype(float), np.ravel(content["y"])


# ------------------------------------------------------------ the methods: how strange rows are


def detector(train, test, seed, support_fraction=1.0):
    model = VAEOutlierDetector(support_fraction=support_fraction, random_state=seed)
    return -model.fit(train).score_samples(test)


def detector_by_others(train, test, seed):
    model = VAEOutlierDetector(support_fraction=0.9, random_state=seed)
    halves = KFold(2, shuffle=True, random_state=seed)
    return -cross_val_predict(model, train, cv=halves, method="decision_function")


def ppca(train, test, seed):
    return -PCA(0.9, svd_solver="full").fit(train).score_samples(test)


def gaussian_mixture(train, test, seed):
    size = max(1, min(20, len(train) // 10))
    model = GaussianMixture(size, reg_covar=0.01, random_state=seed)
    return -model.fit(train).score_samples(test)


def gaussian_mixture_by_bic(train, test, seed):
    sizes = [size for size in (1, 2, 3, 5, 10, 20) if size == 1 or size <= len(train) // 5]
    fits = [GaussianMixture(k, reg_covar=0.01, random_state=seed).fit(train) for k in sizes]
    return -min(fits, key=lambda fit: fit.bic(train)).score_samples(test)


def neighbours(train, test, seed):
    fit = NearestNeighbors(n_neighbors=5).fit(train)
    # Of the fit's own rows, which are no neighbours of themselves.
    distances = fit.kneighbors() if test is train else fit.kneighbors(test)
    return distances[0][:, -1]


def isolation_forest(train, test, seed):
    return -IsolationForest(random_state=seed).fit(train).score_samples(test)


def local_outlier_factor(train, test, seed):
    if test is train:
        return -LocalOutlierFactor().fit(train).negative_outlier_factor_
    return -LocalOutlierFactor(novelty=True).fit(train).score_samples(test)


def ecod(train, test, seed):
    from pyod.models.ecod import ECOD

    return ECOD().fit(train).decision_function(test)


def pyod_vae(train, test, seed):
    from pyod.models.vae import VAE

    return VAE(random_state=seed, verbose=0).fit(train).decision_function(test)


# What has no other test rows than those of the fit.
OF_OWN_ROWS = ["VAEOutlierDetector, support .9, by others"]
METHODS = {
    "VAEOutlierDetector": detector,
    "VAEOutlierDetector, support .9": partial(detector, support_fraction=0.9),
    "VAEOutlierDetector, support .9, by others": detector_by_others,
    "pPCA": ppca,
    "GaussianMixture, 20": gaussian_mixture,
    "GaussianMixture, BIC": gaussian_mixture_by_bic,
    "kNN": neighbours,
    "IsolationForest": isolation_forest,
    "LocalOutlierFactor": local_outlier_factor,
    "PyOD ECOD": ecod,
    "PyOD VAE": pyod_vae,
}


def auroc(method, train, test, outlier, seed):
    scaler = StandardScaler().fit(train)
    scaled = scaler.transform(train)
    strange = METHODS[method](scaled, scaled if test is train else scaler.transform(test), seed)
    strange = np.nan_to_num(np.asarray(strange, dtype=float), posinf=np.finfo(float).max)
    return 100 * roc_auc_score(outlier, strange)


# ------------------------------------------------------------ training and test rows


def first_half_of_normal(X, outlier):
    normal = np.flatnonzero(outlier == 0)
    train = normal[: int(np.round(len(normal) / 2))]
    test = np.setdiff1d(np.arange(len(X)), train)
    return train, test


def protocol(method, name, seed):
    X, outlier = load("outliers", name)
    random = np.random.RandomState(seed)
    if len(X) < FEW:
        drawn = random.choice(np.arange(len(X)), FEW, replace=True)
    elif len(X) > MANY:
        drawn = random.choice(np.arange(len(X)), MANY, replace=False)
    else:
        drawn = np.arange(len(X))
    X, outlier = X[drawn], outlier[drawn]
    train, test = first_half_of_normal(X, outlier)
    return {"auroc": auroc(method, X[train], X[test], outlier[test], seed)}


def protocol_seeds(name):
    return range(5) if not FEW <= len(load("outliers", name)[0]) <= MANY else range(1)


def halves(method, name, seed):
    X, outlier = load("outliers", name)
    shuffled = np.random.RandomState(seed).permutation(len(X))
    X, outlier = X[shuffled], outlier[shuffled]
    train, test = first_half_of_normal(X, outlier)
    return {"auroc": auroc(method, X[train], X[test], outlier[test], seed)}


def contaminated(method, name, seed):
    X, outlier = load("outliers", name)
    shuffled = np.random.RandomState(seed).permutation(len(X))
    X, outlier = X[shuffled], outlier[shuffled]
    train, test = first_half_of_normal(X, outlier)
    outliers = np.flatnonzero(outlier)
    n_added = int(np.round(len(train) * CONTAMINATION / (1 - CONTAMINATION)))
    added = outliers[: max(1, min(n_added, len(outliers) // 2))]
    test = np.setdiff1d(test, added)
    clean = auroc(method, X[train], X[test], outlier[test], seed)
    train = np.concatenate([train, added])
    return {"clean": clean, "auroc": auroc(method, X[train], X[test], outlier[test], seed)}


def unlabelled(method, name, seed):
    X, outlier = load("outliers", name)
    return {"auroc": auroc(method, X, X, outlier, seed)}


def alarms(method, name, seed):
    X, outlier = load("outliers", name)
    X = X[np.random.RandomState(seed).permutation(np.flatnonzero(outlier == 0))]
    half = len(X) // 2
    detector = VAEOutlierDetector(random_state=seed).fit(X[:half])
    return {"called": 100 * float(np.mean(detector.predict(X[half:]) == -1)), "rows": half}


# ------------------------------------------------------------ the column that was changed


def gaussian_explanation(train, rows):
    """log p(x_j | the others) of a single Gaussian, less its expectation, turned round."""
    precision = np.linalg.pinv(np.cov(train, rowvar=False), hermitian=True)
    variance = 1 / np.diag(precision)
    residual = (rows - train.mean(axis=0)) @ precision * variance
    return -norm.logpdf(residual / np.sqrt(variance))


def explanation(train, rows):
    # A number as contamination spares the fits that only `offset_` needs.
    detector = VAEOutlierDetector(contamination=0.1, random_state=0)
    return detector.fit(train).explain(rows)


EXPLANATIONS = {"VAEOutlierDetector": explanation, "Gaussian": gaussian_explanation}


def shifted(name, seed):
    """Training rows, and others of which one column each was shifted, with that column."""
    X, y = load(TABLES[name], name)
    X = np.column_stack([X, y]) if TABLES[name] == "regression" else X[y == 0]
    random = np.random.RandomState(seed)
    X = X[random.permutation(len(X))[:MOST_ROWS]]
    half = len(X) // 2
    train, rows = X[:half], X[half:][:SHIFTED_ROWS].copy()
    residual = np.empty(X.shape[1])
    for j in range(X.shape[1]):
        others = np.delete(train, j, axis=1)
        trees = ExtraTreesRegressor(random_state=0, min_samples_leaf=2)
        residual[j] = np.std(train[:, j] - cross_val_predict(trees, others, train[:, j], cv=5))
    column = random.randint(X.shape[1], size=len(rows))
    sign = random.choice([-1, 1], size=len(rows))
    rows[np.arange(len(rows)), column] += sign * SHIFT * residual[column]
    return train, rows, column


def explain(method, name, seed):
    train, rows, column = shifted(name, seed)
    first = EXPLANATIONS[method](train, rows).argmax(axis=1)
    return {"found": 100 * float(np.mean(first == column))}


# ------------------------------------------------------------ tables

PARTS = {
    "protocol": protocol,
    "halves": halves,
    "contaminated": contaminated,
    "unlabelled": unlabelled,
    "alarms": alarms,
    "explain": explain,
}


def methods_of(part):
    if part == "explain":
        return EXPLANATIONS
    if part == "alarms":
        return {"VAEOutlierDetector": detector}
    return {m: how for m, how in METHODS.items() if part == "unlabelled" or m not in OF_OWN_ROWS}


def plan(part, full):
    """Sets or tables of a part, with their seeds."""
    if part == "explain":
        return {name: range(3 if full else 1) for name in (TABLES if full else [*TABLES][:1])}
    names = SETS if full else QUICK_SETS
    if not full:
        return dict.fromkeys(names, range(1))
    if part == "protocol":
        return {name: protocol_seeds(name) for name in names}
    if part in ("unlabelled", "alarms"):
        of_few, of_more = (3, 1) if part == "unlabelled" else (10, 2)
        few = {name: len(load("outliers", name)[0]) < FEW for name in names}
        return {name: range(of_few if few[name] else of_more) for name in names}
    return dict.fromkeys(names, range(5 if part == "halves" else 3))


def run(part, method, name, seeds):
    """The measures of a method on a set by seed, and its seconds."""
    began = perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        measured = [PARTS[part](method, name, seed) for seed in seeds]
    row = {key: [float(one[key]) for one in measured] for key in measured[0]}
    row["seconds"] = perf_counter() - began
    print(f"  {part}, {method}, {name}: {row}", flush=True)
    return row


def kept(path, part, method, name, row, facts):
    """Add a result to those in the file, to which another run may have written meanwhile."""
    content = read_json(path) or {"parts": {}, "environments": []}
    parts = {one: content["parts"].get(one, {}) for one in PARTS}
    parts[part].setdefault(method, {})[name] = row
    order = [*METHODS, *EXPLANATIONS]
    names = dict.fromkeys(PARTS, SETS) | {"explain": [*TABLES]}
    content["parts"] = {
        one: {
            method: {name: rows[name] for name in names[one] if name in rows}
            for method, rows in sorted(methods.items(), key=lambda item: order.index(item[0]))
        }
        for one, methods in parts.items()
        if methods
    }
    if facts not in content["environments"]:
        content["environments"].append(facts)
    write_json(path, content)
    write_text(path.with_suffix(".md"), markdown(content))


def mean_over_sets(rows, names, measure):
    """The mean over the sets of the means over seeds; None where one of the sets is lacking."""
    if not set(names) <= set(rows):
        return None
    return float(np.mean([np.mean(rows[name][measure]) for name in names]))


def text_of(number, digits):
    return "-" if number is None else f"{number:.{digits}f}"


def table_of_alarms(rows):
    cells = []
    for name, row in rows.items():
        called = row["called"]
        numbers = [np.mean(called), min(called), max(called)]
        cells += [[name, f"{row['rows'][0]:.0f}", *(f"{number:.1f}" for number in numbers)]]
    mean = np.mean([np.mean(row["called"]) for row in rows.values()])
    cells += [["**mean**", "", f"**{mean:.1f}**", "", ""]]
    return table(["", "rows", "called", "least", "most"], cells)


def markdown(content):
    lines = ["# Outliers", "", __doc__.split("\n\n", 2)[2].strip(), ""]
    for part, methods in content["parts"].items():
        if part == "alarms":
            lines += [f"## {part}", "", table_of_alarms(methods["VAEOutlierDetector"]), ""]
            continue
        measure = "found" if part == "explain" else "auroc"
        names = max((list(rows) for rows in methods.values()), key=len)
        cells = [
            [name, *(text_of(mean_over_sets(r, [name], measure), 1) for r in methods.values())]
            for name in names
        ]
        total = {m: mean_over_sets(rows, names, measure) for m, rows in methods.items()}
        cells += [["**mean**", *(f"**{text_of(number, 2)}**" for number in total.values())]]
        if part == "explain":
            found = [[mean_over_sets(r, [n], measure) for n in r] for r in methods.values()]
            cells += [["90 or more", *(f"{sum(f >= 90 for f in of)} of {len(of)}" for of in found)]]
        if part == "contaminated":
            clean = {m: mean_over_sets(rows, names, "clean") for m, rows in methods.items()}
            lost = [None if total[m] is None else clean[m] - total[m] for m in methods]
            cells += [["**lost**", *(f"**{text_of(number, 2)}**" for number in lost)]]
        seconds = [sum(row["seconds"] for row in rows.values()) for rows in methods.values()]
        cells += [["seconds", *(f"{s:.0f}" for s in seconds)]]
        lines += [f"## {part}", "", table(["", *methods], cells), ""]
    return "\n".join([*lines, *(describe(e) for e in content["environments"]), ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--methods", default="", help="separated by semicolons")
    parser.add_argument("--sets", default="")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    threadpool_limits(arguments.threads)
    path = arguments.out / f"outliers{'' if arguments.full else '-quick'}.json"
    facts = environment()
    try:
        import pyod

        facts["versions"]["pyod"] = pyod.__version__
    except ImportError:
        print("PyOD is not installed: its methods are left out", flush=True)
    for part in arguments.parts.split(","):
        known = methods_of(part)
        methods = [name for name in known if name in (arguments.methods.split(";"))]
        for method in methods or known:
            if method.startswith("PyOD") and "pyod" not in facts["versions"]:
                continue
            try:
                seeds = plan(part, arguments.full)
                for name in arguments.sets.split(",") if arguments.sets else seeds:
                    kept(path, part, method, name, run(part, method, name, seeds[name]), facts)
            except Unavailable as reason:
                print(f"{part}, {method}: left out: {reason}", flush=True)
    print(markdown(read_json(path)))


if __name__ == "__main__":
    main()
