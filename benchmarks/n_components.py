"""How many components? `n_components="auto"` beside Minka's "mle" and other rules.

    python benchmarks/n_components.py [--full] [--tasks drawn,sets] [--threads 2]

The rules: "auto" is VAETransformer's, the number with which the linear start makes held-out rows
likeliest in ten folds; "one error" takes the smallest number whose held-out log-likelihood is
within one standard error of the best one's, paired by rows; "mle" is Minka's of scikit-learn's PCA,
and "BIC" pPCA's (both need as many rows as columns: else -); "parallel" is Horn's parallel
analysis, the components before the first whose variance is below the .95 quantile of that of 20
copies with shuffled columns.

drawn   Rows drawn from a linear model of k components, of which the strongest has 8 times the
        variance of the weakest. "weakest" is that of the weakest along its direction, in variances
        of the noise; 0 is noise alone, and 1 the right answer. In a cell: how often the rule finds
        k, and the mean of what it finds. "noises": columns have noise variances of their own,
        spread over e^-1.5 to e^1.5, and then "auto" is that of `likelihood="diagonal_gaussian"`,
        and "standardized" that of "gaussian" on unit columns, as are the other rules. "missing":
        three cells in ten are missing; the other rules have no answer there.
sets    Tables, dequantized and standardized on the training rows (at most 2,000; the test rows are
        a quarter, at most 2,000). In a cell: the number of a rule, the held-out log-likelihood of
        pPCA of so many components, and that of VAETransformer with default settings, in nats a
        row, means over the seeds, of which each has its own split. 0.95 is PCA's share of variance,
        2 the default. Below the table the sets are counted on which "auto" is more or less likely
        by more than .005 nats; the standard error is that of the mean over the sets.

Quick mode: few settings, sets, seeds and epochs, to see that it runs.
"""

import argparse
import json
import warnings
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from datasets import Unavailable, load
from report import describe, environment, read_json, table, write_json, write_text
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer
from skvae.dimension import dealt_out

# n, d, k, variance of the weakest component, and what is special.
SETTINGS = (
    (100, 10, 1, 0, ""),
    (500, 20, 1, 0, ""),
    (50, 10, 2, 1, ""),
    (50, 10, 2, 3, ""),
    (100, 20, 5, 1, ""),
    (100, 20, 5, 3, ""),
    (500, 20, 5, 0.3, ""),
    (500, 20, 5, 1, ""),
    (2000, 50, 10, 0.3, ""),
    (2000, 50, 10, 1, ""),
    (100, 100, 5, 3, ""),
    (50, 200, 3, 5, ""),
    (50, 200, 3, 20, ""),
    (200, 10, 2, 1, "noises"),
    (500, 20, 4, 1, "noises"),
    (2000, 20, 4, 1, "noises"),
    (100, 40, 3, 3, "noises"),
    (200, 12, 3, 2, "missing"),
    (500, 20, 5, 1, "missing"),
)
SETS = (
    "iris", "wine", "breast_cancer", "digits", "diabetes", "concrete", "energy", "kin8nm", "naval",
    "power-plant", "protein", "wine-quality", "yacht", "outliers/cardio", "outliers/ionosphere",
    "outliers/letter", "outliers/satellite", "outliers/spambase", "outliers/wbc",
)  # fmt: skip
MOST_ROWS = 2000
RULES = "auto", "one error", "mle", "0.95", "2"


def drawn_rows(n, d, k, weakest, special, seed):
    random = np.random.RandomState(seed)
    directions = np.linalg.qr(random.normal(size=(d, k)))[0]
    noise = np.exp(random.uniform(-1.5, 1.5, d)) if special == "noises" else np.ones(d)
    signal = random.normal(size=(n, k)) * np.sqrt(weakest * np.geomspace(8, 1, k))
    # Of columns with noises of their own in units of these.
    X = (signal @ directions.T + random.normal(size=(n, d))) * np.sqrt(noise)
    if special == "missing":
        X[random.uniform(size=X.shape) < 0.3] = np.nan
    return X


def auto(X, seed, **parameters):
    model = VAETransformer("auto", max_epochs=0, random_state=seed, **parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X).n_components_


def linear(X, k):
    """pPCA, with the least noise of "gaussian": PCA's own, of collinear columns, is none."""
    return VAETransformer(k, max_epochs=0, random_state=0).fit(X)


def held_out_log_prob(X, seed, n_folds=10):
    """log p of each row under pPCA of the other folds' rows, (n, counts)."""
    n, d = X.shape
    least_noise = linear(X, 1).net_.module_.likelihood.least_noise()
    fold = dealt_out(n, n_folds, seed)
    counts = np.arange(1, min(n - -(-n // n_folds) - 1, d))
    log_prob = np.empty((n, len(counts)))
    for j in range(n_folds):
        others = X[fold != j]
        mean = others.mean(axis=0)
        _, singular, axes = np.linalg.svd(others - mean, full_matrices=False)
        variances = singular**2 / (len(others) - 1)
        noise = (variances.sum() - np.cumsum(variances)[: len(counts)]) / (d - counts)
        noise = np.maximum(noise, least_noise)
        rows = X[fold == j] - mean
        squares = (rows @ axes.T[:, : len(counts)]) ** 2
        beside = (rows**2).sum(axis=1)[:, None] - np.cumsum(squares, axis=1)
        variances = np.maximum(variances[: len(counts)], least_noise)
        log_prob[fold == j] = -0.5 * (
            d * np.log(2 * np.pi)
            + np.cumsum(np.log(variances) + squares / variances, axis=1)
            + (d - counts) * np.log(noise)
            + beside / noise
        )
    return log_prob


def one_error(X, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        log_prob = held_out_log_prob(X, seed)
    mean = log_prob.mean(axis=0)
    behind = log_prob[:, [mean.argmax()]] - log_prob
    error = behind.std(axis=0, ddof=1) / len(X) ** 0.5
    return 1 + int((behind.mean(axis=0) <= error + 1e-9).argmax())


def minka(X):
    if X.shape[0] < X.shape[1]:
        return None
    return max(1, int(PCA("mle", svd_solver="full").fit(X).n_components_))


def bic(X):
    n, d = X.shape
    if n < d:
        return None
    variances = np.linalg.svd(X - X.mean(axis=0), compute_uv=False) ** 2 / n
    k = np.arange(1, min(n - 1, d))
    kept = np.cumsum(variances)[: len(k)]
    noise = (variances.sum() - kept) / (d - k)
    log_prob = np.cumsum(np.log(variances[: len(k)])) + (d - k) * np.log(noise)
    n_parameters = d + d * k - k * (k - 1) / 2 + 1
    return 1 + int((n * log_prob + np.log(n) * n_parameters).argmin())


def parallel(X, seed):
    random = np.random.RandomState(seed)

    def spectrum(X):
        return np.linalg.svd(X - X.mean(axis=0), compute_uv=False)

    shuffled = [spectrum(np.column_stack([random.permutation(x) for x in X.T])) for _ in range(20)]
    above = spectrum(X) > np.quantile(shuffled, 0.95, axis=0)
    return max(1, int(above.cumprod().sum()))


def drawn(full):
    for n, d, k, weakest, special in SETTINGS if full else SETTINGS[::6]:
        found = {}
        for seed in range(20 if full else 3):
            X = drawn_rows(n, d, k, weakest, special, seed)
            if special == "missing":
                picks = {"auto": auto(X, seed, missing_values="observed")}
            else:
                picks = {}
                if special == "noises":
                    picks["auto"] = auto(X, seed, likelihood="diagonal_gaussian")
                    X = X / X.std(axis=0)
                picks["standardized" if special else "auto"] = auto(X, seed)
                picks |= {
                    "one error": one_error(X, seed),
                    "mle": minka(X),
                    "BIC": bic(X),
                    "parallel": parallel(X, seed),
                }
            for rule, pick in picks.items():
                found.setdefault(rule, []).append(pick)
        row = {"n": n, "d": d, "k": k, "weakest": weakest, "special": special}
        for rule, picks in found.items():
            if None not in picks:
                row[rule] = f"{np.mean(np.array(picks) == k):.2f} ({np.mean(picks):.1f})"
        yield row


def sets(full):
    for name in SETS if full else ("iris", "diabetes"):
        try:
            X_all = load(name).X
        except Unavailable as reason:
            print(f"{name}: left out, {reason}", flush=True)
            continue
        results, began = {}, perf_counter()
        n_seeds = 2 if full and len(X_all) < 800 else 1
        for seed in range(n_seeds):
            X, X_test = train_test_split(X_all, test_size=0.25, random_state=seed)
            scaler = StandardScaler().fit(X)
            X, X_test = scaler.transform(X)[:MOST_ROWS], scaler.transform(X_test)[:MOST_ROWS]
            picks = {
                "auto": auto(X, seed),
                "one error": one_error(X, seed),
                "mle": minka(X),
                "0.95": int(PCA(0.95, svd_solver="full").fit(X).n_components_),
                "2": min(2, X.shape[1]),
            }
            scores = {k: scored(X, X_test, k, seed, full) for k in set(picks.values())}
            for rule, k in picks.items():
                results.setdefault(rule, []).append([k, *scores[k]])
        row = {"set": name, "n": len(X), "d": X.shape[1], "seeds": n_seeds}
        row |= {rule: np.mean(values, axis=0).tolist() for rule, values in results.items()}
        yield row | {"seconds": round(perf_counter() - began, 1)}


def scored(X, X_test, k, seed, full):
    """Held-out log-likelihood of pPCA and of VAETransformer."""
    vae = VAETransformer(k, max_epochs="auto" if full else 3, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(linear(X, k).score(X_test)), float(vae.fit(X).score(X_test))


TASKS = {"drawn": drawn, "sets": sets}


def entry(row, column):
    value = row.get(column, "-")
    if isinstance(value, list):
        return f"{value[0]:.3g}: {value[1]:.2f}, {value[2]:.2f}"
    return value


def summary(rows):
    """How the likelihoods by "auto" compare with those by the other rules."""
    lines = []
    for place, model in ((1, "pPCA"), (2, "VAETransformer")):
        for rule in RULES[1:]:
            gains = np.array([row["auto"][place] - row[rule][place] for row in rows])
            error = gains.std(ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else np.nan
            more, less = (gains > 0.005).sum(), (gains < -0.005).sum()
            lines.append(
                f'- {model}, "auto" less "{rule}": more likely on {more} sets, less on {less}; '
                f"median {np.median(gains):+.2f}, mean {gains.mean():+.2f} ± {error:.2f} nats."
            )
    return lines


def markdown(results):
    lines = ["# How many components", "", __doc__.split("\n\n", 2)[2].strip(), ""]
    for name, result in results.items():
        rows = result["rows"]
        header = list(dict.fromkeys(column for row in rows for column in row))
        lines += [f"## {name}", ""]
        lines += [table(header, [[entry(row, column) for column in header] for row in rows]), ""]
        if name == "sets":
            lines += [*summary(rows), ""]
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
    path = arguments.out / f"n_components{'' if arguments.full else '-quick'}.json"
    results = read_json(path) or {}
    for name in arguments.tasks.split(","):
        rows = []
        for row in TASKS[name](arguments.full):
            rows.append(row)
            print(name, json.dumps(row), flush=True)
            results[name] = {"rows": rows, "environment": environment()}
            results = {task: results[task] for task in TASKS if task in results}
            write_json(path, results)
            write_text(path.with_suffix(".md"), markdown(results))


if __name__ == "__main__":
    main()
