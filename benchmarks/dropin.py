"""Does VAETransformer, with default settings, hold where PCA stood?

On each data set both reduce the same training rows to the same number of components, and are
compared on the same held-out rows: log-likelihood, reconstruction, nearest neighbours and a linear
model behind `make_pipeline(StandardScaler(), reducer, model)`, and time. The report ends with
every set that breaks a promise.

    python benchmarks/dropin.py                      # quick: some sets, two splits
    python benchmarks/dropin.py --full
    python benchmarks/dropin.py --sets iris,digits --threads 1 --out /tmp/results

Results are written after each set, and merged into those that the output folder already holds.
On a machine that others use too, set OMP_WAIT_POLICY=passive or take one thread: threads that spin
while they wait for each other make the small networks here many times slower.
"""

import argparse
import traceback
import warnings
from pathlib import Path
from time import perf_counter

import datasets
import numpy as np
import report
import torch
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skvae import VAETransformer

QUICK_SETS = (
    "iris",
    "wine",
    "breast_cancer",
    "digits",
    "diabetes",
    "concrete",
    "yacht",
    "outliers/cardio",
    "outliers/ionosphere",
    "mnist",
    "fashion",
)
N_COMPONENTS = {"digits": (8, 32), "mnist": (16,), "fashion": (16,)}
QUICK_IMAGE_ROWS = (10_000, 2_000)
MOST_TRAIN_ROWS = 20_000
MOST_SCORED_ROWS = 2_000
# Of so few rows a test part says little: more splits.
FEW_ROWS = 1_000
N_SPLITS, N_SPLITS_OF_FEW = 5, 25

MOST_MSE_RATIO = 1.02
# Differences below this are rounding: where a fit stayed the closed form, it is PCA.
ROUNDING = 1e-6

# Metrics that are means over test rows, and how tables call them.
DOWNSTREAM = {"knn": "5-NN", "knn_whitened": "5-NN, whitened", "linear": "linear model"}
MODELS = {
    "classification": (KNeighborsClassifier, LogisticRegression),
    "regression": (KNeighborsRegressor, Ridge),
}


# ----------------------------------------------------------------------- one split


def components(data):
    """The numbers of components that a set is reduced to."""
    return N_COMPONENTS.get(data.name, (max(2, data.X.shape[1] // 3),))


def splits(data, full):
    """Yield seed, training rows and test rows (indices in random order)."""
    if data.is_image:
        n_train, n_test = (None, None) if full else QUICK_IMAGE_ROWS
        for seed in range(2 if full else 1):
            rng = np.random.default_rng(seed)
            train = rng.permutation(data.n_train)[:n_train]
            test = rng.permutation(np.arange(data.n_train, len(data.X)))[:n_test]
            yield seed, train, test
    else:
        n_splits = N_SPLITS_OF_FEW if len(data.X) < FEW_ROWS else N_SPLITS
        for seed in range(n_splits if full else 2):
            rows = np.arange(len(data.X))
            train, test = train_test_split(rows, test_size=0.2, random_state=seed)
            yield seed, train[:MOST_TRAIN_ROWS], test


def evaluate(data, n_components, seed, train, test):
    """Measure PCA and VAETransformer on one split: a pair of what `measure` returns."""
    # float64 for both: images are kept in float32 to save memory only.
    X_train, X_test = data.X[train].astype(float), data.X[test].astype(float)
    quanta = data.quanta
    if not data.is_image:
        # One scaler for both reducers, so that their scores are densities in the same units.
        scaler = StandardScaler().fit(X_train)
        X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
        quanta = quanta / scaler.scale_
    labels = None if data.task is None else (data.y[train], data.y[test])
    return tuple(
        measure(reducer, X_train, X_test, quanta, data.task, labels)
        for reducer in (
            PCA(n_components, random_state=seed),
            VAETransformer(n_components, random_state=seed),
        )
    )


def measure(reducer, X_train, X_test, quanta, task, labels):
    """Fit the reducer and measure it on the test rows.

    Returns
    -------
    rows : dict of metric to ndarray of shape (n_test,)
        What each test row contributes: the metric is the mean.
    numbers : dict of name to number
        What is measured on all test rows at once.
    """
    _, fit_seconds = timed(reducer.fit, X_train)
    T_test, transform_seconds = timed(reducer.transform, X_test)
    rows = {"score": reducer.score_samples(X_test[:MOST_SCORED_ROWS])}
    errors = np.mean((reducer.inverse_transform(T_test) - X_test) ** 2, axis=0)
    numbers = {
        "mse": float(errors.mean()),
        # Dequantized columns that are rebuilt down to, nearly, the noise that was added.
        "at_floor": int(np.sum((quanta > 0) & (errors < 2 * quanta**2 / 12))),
        "fit_seconds": fit_seconds,
        "transform_seconds": transform_seconds,
        "epochs": len(getattr(reducer, "history_", ())),
    }
    if task is not None:
        # One fitted scaler and reducer for all models: the pipelines differ in the last step.
        reduced = reducer.transform(X_train), T_test
        neighbours, linear = MODELS[task]
        rows["knn"] = row_scores(neighbours(n_neighbors=5), *reduced, *labels, task)
        whitened = whiten(reducer, *reduced)
        rows["knn_whitened"] = row_scores(neighbours(n_neighbors=5), *whitened, *labels, task)
        model = linear() if task == "regression" else linear(max_iter=1000)
        rows["linear"] = row_scores(model, *reduced, *labels, task)
    return rows, numbers


def timed(function, *args):
    """What the function returns, and the seconds that it took."""
    begin = perf_counter()
    result = function(*args)
    return result, perf_counter() - begin


def whiten(reducer, T_train, T_test):
    """What `transform` would return with `whiten=True`, without another fit.

    `whiten` scales the columns to unit variance on the training rows and changes nothing else. A
    latent that carries nothing is not rescaled by VAETransformer, nor here.
    """
    deviation = T_train.std(axis=0, ddof=1)
    if isinstance(reducer, VAETransformer):
        coordinates = reducer.coordinates_
        deviation[coordinates.inactive[coordinates.order]] = 1.0
    return T_train / deviation, T_test / deviation


def row_scores(model, T_train, T_test, y_train, y_test, task):
    """What each test row contributes to the accuracy, or to R2; the metric is the mean."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        predicted = model.fit(T_train, y_train).predict(T_test)
    if task == "classification":
        return (predicted == y_test).astype(float)
    return 1 - (y_test - predicted) ** 2 / y_test.var()


# ---------------------------------------------------------------------- one data set


def run_case(data, n_components, full):
    """Compare both reducers on all splits of a set.

    Returns
    -------
    dict
        What JSON and the tables hold of the set with this number of components.
    """
    tests, pca_rows, vae_rows, measured = [], [], [], []
    for seed, train, test in splits(data, full):
        (pca, pca_numbers), (vae, vae_numbers) = evaluate(data, n_components, seed, train, test)
        tests.append(test)
        pca_rows.append(pca)
        vae_rows.append(vae)
        stayed = bool(np.allclose(pca["score"], vae["score"], rtol=0, atol=ROUNDING))
        numbers = {"pca": pca_numbers, "vae": vae_numbers}
        measured.append({"seed": seed, "stayed_pca": stayed} | numbers)

    metrics = {
        metric: paired(tests, column(pca_rows, metric), column(vae_rows, metric))
        for metric in pca_rows[0]
    }
    if data.task is not None:
        for name, rows in (("pca", pca_rows), ("vae", vae_rows)):
            metrics[f"whitening_{name}"] = paired(
                tests, column(rows, "knn"), column(rows, "knn_whitened")
            )
    return {
        "set": data.name,
        "n_components": n_components,
        "task": data.task,
        "n_train": len(train),
        "n_test": len(test),
        "n_features": data.X.shape[1],
        "n_dropped": data.n_dropped,
        "dequantized": np.flatnonzero(data.quanta).tolist(),
        "quanta": data.quanta[data.quanta > 0].tolist(),
        "metrics": metrics,
        "mse_ratio": float(np.mean([m["vae"]["mse"] / m["pca"]["mse"] for m in measured])),
        "splits": measured,
    }


def column(dicts, key):
    """The values under a key of several dicts."""
    return [d[key] for d in dicts]


def paired(tests, first, second):
    """The paired difference second - first, of arrays of test rows, one array a split.

    Returns
    -------
    dict
        The means over splits of both, of the difference, and its standard error: the larger
        of that of the mean over splits and that of the mean over rows, in which a row that several
        splits tested counts once, with its mean difference.
    """
    differences = [b - a for a, b in zip(first, second, strict=True)]
    means = np.array([difference.mean() for difference in differences])
    tested = [test[: len(difference)] for test, difference in zip(tests, differences, strict=True)]
    _, row = np.unique(np.concatenate(tested), return_inverse=True)
    by_row = np.bincount(row, np.concatenate(differences)) / np.bincount(row)
    return {
        "first": float(np.mean([a.mean() for a in first])),
        "second": float(np.mean([b.mean() for b in second])),
        "difference": float(means.mean()),
        "standard_error": max(standard_error(means), standard_error(by_row)),
        "splits": [
            {"difference": float(d.mean()), "standard_error": standard_error(d)}
            for d in differences
        ],
    }


def standard_error(values):
    """Standard error of the mean; 0 for a single value, of which it cannot be known."""
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


# -------------------------------------------------------------------------- verdict


def is_below(metric):
    """Whether a paired difference is below zero by more than two standard errors."""
    return metric["difference"] < -max(2 * metric["standard_error"], ROUNDING)


def is_above(metric):
    """Whether a paired difference is above zero by more than two standard errors."""
    return metric["difference"] > max(2 * metric["standard_error"], ROUNDING)


def verdict(cases):
    """The promises as Markdown, each with every set that breaks it."""
    downstream = [case for case in cases if case["task"] is not None]
    below = [case for case in cases if is_below(case["metrics"]["score"])]
    worse = [case for case in cases if case["mse_ratio"] > MOST_MSE_RATIO]
    lines = [
        promise(
            "Log-likelihood: on no set below PCA's by more than two standard errors",
            [f"{label(case)} ({effect(case, 'score')})" for case in below],
            cases,
        ),
        average("Log-likelihood: above PCA's on average", cases, "score"),
        promise(
            f"Reconstruction: MSE at most {MOST_MSE_RATIO} times PCA's on each set",
            [f"{label(case)} ({case['mse_ratio']:.3f})" for case in worse],
            cases,
        ),
    ]
    for metric, name in DOWNSTREAM.items():
        below = [case for case in downstream if is_below(case["metrics"][metric])]
        lines += [
            promise(
                f"Downstream, {name}: on no set below PCA's by more than two standard errors",
                [f"{label(case)} ({effect(case, metric)})" for case in below],
                downstream,
            ),
            average(f"Downstream, {name}: above PCA's on average", downstream, metric),
        ]
    return "\n".join(lines)


def promise(text, broken, cases):
    """A promise about each set, and the sets that break it."""
    if broken:
        return f"- {text}: **broken by {len(broken)} of {len(cases)}: {', '.join(broken)}**."
    return f"- {text}: kept on all {len(cases)}."


def average(text, cases, metric):
    """The promise that the mean difference over sets is positive."""
    if not cases:
        return f"- {text}: no set to tell."
    values = [case["metrics"][metric]["difference"] for case in cases]
    mean, median = np.mean(values), np.median(values)
    kept = "kept" if mean > 0 else "**broken**"
    return f"- {text}: {kept} (mean over sets {mean:+.4f}, median {median:+.4f})."


# --------------------------------------------------------------------------- report


def label(case):
    return f"{case['set']} k={case['n_components']}"


def effect(case, metric, digits=3):
    m = case["metrics"][metric]
    # Adding zero turns a rounded -0 into 0.
    difference = round(m["difference"], digits) + 0.0
    return f"{difference:+.{digits}f} ± {m['standard_error']:.{digits}f}"


def marked(case, metric):
    """A difference with its standard error; bold beyond two of them, and named where worse."""
    m, text = case["metrics"][metric], effect(case, metric)
    return f"**{text}** (worse)" if is_below(m) else f"**{text}**" if is_above(m) else text


def mean_of(case, reducer, name):
    return float(np.mean([split[reducer][name] for split in case["splits"]]))


def render(content, mode):
    """The whole report as Markdown."""
    cases = content["cases"]
    downstream = [case for case in cases if case["task"] is not None]
    runs = {report.describe(case["environment"]): None for case in cases}
    whitening = [
        [
            case["set"],
            case["n_components"],
            *(marked(case, f"whitening_{r}") for r in ("pca", "vae")),
        ]
        for case in downstream
    ]
    metric_columns = [
        f"{m}: {what}" for m in DOWNSTREAM.values() for what in ("PCA", "VAE", "diff.")
    ]
    time_columns = [f"{what} {who}" for what in ("fit", "transform") for who in ("PCA", "VAE")]
    parts = [
        f"# VAETransformer in the place of PCA ({mode})",
        _ABOUT,
        "## Log-likelihood and reconstruction",
        _ABOUT_SCORE,
        report.table(
            ["set", "k", "PCA", "VAE", "diff.", "MSE: PCA", "VAE", "ratio", "stayed PCA"],
            [likelihood_row(case) for case in cases],
        ),
        "## Downstream",
        _ABOUT_DOWNSTREAM,
        report.table(["set", "k", "of", *metric_columns], map(downstream_row, downstream)),
        "### What whitening does to nearest neighbours",
        "Whitened minus plain; the last row counts sets beyond two standard errors.",
        report.table(["set", "k", "PCA", "VAE"], [*whitening, whitening_totals(downstream)]),
        "## Time",
        "Seconds: `fit` on the training rows and `transform` of all test rows, means over splits.",
        report.table(
            ["set", "k", "rows", "columns", "epochs", *time_columns], map(time_row, cases)
        ),
        "## Data",
        _ABOUT_DATA,
        report.table(
            [*_DATA_COLUMNS, "at floor: PCA", "VAE"],
            map(data_row, cases),
        ),
        f"Columns that were dequantized: {dequantized_columns(cases)}",
        "## Verdict",
        verdict(cases),
    ]
    if content["failed"]:
        failed = [f"- {name}: `{error}`" for name, error in content["failed"].items()]
        parts += ["### Sets that failed with an error", "\n".join(failed)]
    parts += ["## Measured on", "\n".join(runs)]
    return "\n\n".join(parts) + "\n"


def likelihood_row(case):
    score = case["metrics"]["score"]
    stayed = [split["stayed_pca"] for split in case["splits"]]
    ratio = f"{case['mse_ratio']:.3f}"
    return [
        case["set"],
        case["n_components"],
        f"{score['first']:.2f}",
        f"{score['second']:.2f}",
        marked(case, "score"),
        f"{mean_of(case, 'pca', 'mse'):.4g}",
        f"{mean_of(case, 'vae', 'mse'):.4g}",
        f"**{ratio}** (worse)" if case["mse_ratio"] > MOST_MSE_RATIO else ratio,
        f"{sum(stayed)}/{len(stayed)}",
    ]


def downstream_row(case):
    row = [case["set"], case["n_components"], "R²" if case["task"] == "regression" else "acc."]
    for metric in DOWNSTREAM:
        m = case["metrics"][metric]
        row += [f"{m['first']:.3f}", f"{m['second']:.3f}", marked(case, metric)]
    return row


def whitening_totals(cases):
    row = ["better / worse, mean", ""]
    for reducer in ("pca", "vae"):
        effects = [case["metrics"][f"whitening_{reducer}"] for case in cases]
        better, worse = sum(map(is_above, effects)), sum(map(is_below, effects))
        mean = sum(effect["difference"] for effect in effects) / max(1, len(effects))
        row.append(f"{better} / {worse}, {mean:+.3f}")
    return row


def time_row(case):
    seconds = [
        f"{mean_of(case, reducer, f'{what}_seconds'):.3g}"
        for what in ("fit", "transform")
        for reducer in ("pca", "vae")
    ]
    first = [case[name] for name in ("set", "n_components", "n_train", "n_features")]
    return [*first, f"{mean_of(case, 'vae', 'epochs'):.0f}", *seconds]


def data_row(case):
    names = ("set", "n_components", "n_train", "n_test")
    return [case[name] for name in names] + [
        len(case["splits"]),
        case["n_features"],
        case["n_dropped"],
        len(case["dequantized"]),
        *(f"{mean_of(case, reducer, 'at_floor'):.4g}" for reducer in ("pca", "vae")),
    ]


def dequantized_columns(cases):
    """The positions of the dequantized columns of each set, in words."""
    texts = {}
    for case in cases:
        positions = [int(position) for position in case["dequantized"]]
        every = len(positions) == case["n_features"]
        if positions:
            texts[case["set"]] = "all" if every else ", ".join(map(str, positions))
    return "; ".join(f"{name} ({text})" for name, text in texts.items()) + "."


_DATA_COLUMNS = ("set", "k", "train", "test", "splits", "columns", "dropped", "dequantized")

_ABOUT = """\
`benchmarks/dropin.py`: both with default settings and the same number of components k, on the same
splits. A difference is VAETransformer minus PCA, paired over test rows: the mean of the means of
the splits ± a standard error, the larger of that of the mean over splits and that of the mean over
rows (in which a row that several splits tested counts once; random splits share rows, so neither is
exact). Bold: beyond two standard errors. Five splits in full mode, 25 of sets of under 1,000 rows,
two of images."""

_ABOUT_SCORE = f"""\
Mean `score_samples` of at most {MOST_SCORED_ROWS:,} test rows a split, in nats a row, and mean
squared error of `inverse_transform(transform(X))` on all test rows; both of standardized columns,
of pixels in [0, 1] for images. The ratio is the mean over splits. *Stayed PCA*: splits in which no
epoch was accepted, so that the scores are PCA's."""

_ABOUT_DOWNSTREAM = """\
Accuracy, or R² where the target is a number, of 5 nearest neighbours (on the columns as
`whiten=False` and as `whiten=True` gives them) and of LogisticRegression or Ridge."""

_ABOUT_DATA = """\
A density on values that repeat is unbounded, so uniform noise of one quantum was added to quantized
columns once, for all methods and metrics: those in which at least one row in 256, and at least
three, hold the commonest value. The quantum is the median spacing of the distinct values (one grey
level for pixels). Constant columns were dropped. *At floor*: dequantized columns rebuilt with a
mean squared error below twice the variance of that noise (mean over splits)."""


# ------------------------------------------------------------------------------ run


def progress(case):
    """One line on a finished case."""
    parts = [f"log-likelihood {effect(case, 'score')}", f"MSE ratio {case['mse_ratio']:.3f}"]
    for metric, name in DOWNSTREAM.items():
        if metric in case["metrics"]:
            parts.append(f"{name} {effect(case, metric)}")
    parts.append(f"fit {mean_of(case, 'vae', 'fit_seconds'):.1f} s")
    return f"{label(case)}: {', '.join(parts)}"


def merge(content, name, cases):
    """Put the cases of a set in the place of those that an earlier run left, in the sets' order."""
    kept = [case for case in content["cases"] if case["set"] != name] + cases
    order = list(datasets.LOADERS)
    content["cases"] = sorted(kept, key=lambda case: order.index(case["set"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--full", action="store_true", help="all sets, 5 or 25 splits, 60,000 images"
    )
    parser.add_argument("--sets", help="comma-separated names, see LOADERS in datasets.py")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    names = tuple(datasets.LOADERS) if args.full else QUICK_SETS
    if args.sets:
        names = tuple(args.sets.split(","))
        if unknown := set(names) - set(datasets.LOADERS):
            parser.error(f"unknown sets {sorted(unknown)}; known: {', '.join(datasets.LOADERS)}")

    torch.set_num_threads(args.threads)
    with threadpool_limits(args.threads):
        # Imports that torch puts off until a first fit would count as its time.
        VAETransformer(1, max_epochs=1).fit(np.random.default_rng(0).normal(size=(64, 2)))
        run(names, args.full, args.out / ("dropin.json" if args.full else "dropin-quick.json"))


def run(names, full, path):
    """Run the named sets; write JSON and Markdown after each."""
    content = report.read_json(path) or {"cases": [], "failed": {}}
    environment = report.environment()
    for name in names:
        try:
            data = datasets.load(name)
            cases = [
                run_case(data, k, full) | {"environment": environment} for k in components(data)
            ]
        except datasets.Unavailable as reason:
            print(f"{name}: skipped, {reason}", flush=True)
            continue
        except Exception as error:  # One set must not end a long run; the report lists it.
            traceback.print_exc()
            cases = []
            content["failed"][name] = f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            content["failed"].pop(name, None)
        merge(content, name, cases)
        report.write_json(path, content)
        report.write_text(path.with_suffix(".md"), render(content, "full" if full else "quick"))
        print("\n".join(map(progress, cases)), flush=True)
    if content["cases"]:
        print(f"\n{verdict(content['cases'])}\n\nIn {path} and {path.with_suffix('.md')}")


if __name__ == "__main__":
    main()
