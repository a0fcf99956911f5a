"""Missing cells of mixed tables, by the masks of the HI-VAE paper, filled by VAEImputer and by what
scikit-learn has.

    python benchmarks/imputation_tables.py [--full] [--sets breast,wine]
        [--methods "VAEImputer;kNN"] [--masks 10,50] [--threads 2]

The tables and the masks are those that come with A. Nazabal, P. M. Olmos, Z. Ghahramani, I. Valera,
"Handling Incomplete Heterogeneous Data using VAEs", Pattern Recognition 107, 2020: cells missing
completely at random, a tenth of each column or a half. Of the hidden cells, over the columns of a
kind,

numbers      the mean of the root mean squared errors, each over the range of its column (real,
             positive, counts, and ordinal columns by their levels);
categories   the mean of the error rates.

VAEImputer gets a DataFrame, in which categories are categories; it has default settings, and
"VAEImputer, chosen" has the number of components and the law of numbers that fill best a tenth of
the *observed* cells, hidden beside the others for this, trained as the default is by the bound of 5
draws. scikit-learn's imputers get codes for categories, which are rounded to the nearest one
afterwards; "mean" is the most frequent category there. kNN goes by at most 10,000 rows.
IterativeImputers have `max_iter=10`. Seconds are of one fit and its filling. A third of wine's rows
and a tenth of letter's have exact copies, which trees and neighbours find again: "singles" is the
error of numbers in rows without one.

Quick mode: breast with a tenth missing. With --sets what was there of other sets stays, and with
--methods that of other methods and masks.
"""

import argparse
import json
import os
import warnings
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import torch
from datasets import Unavailable
from report import describe, environment, read_json, table, write_json, write_text
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.preprocessing import StandardScaler

from skvae import VAEImputer, VAETransformer

SETS = "breast", "wine", "letter", "adult"
MASKS = 10, 50
CHOSEN = "VAEImputer, chosen"
NEIGHBOUR_ROWS = 10_000
# Draws that a row is filled by, of tables with more rows than this fewer.
MANY_ROWS, FEWER_DRAWS = 10_000, 100


def load(name, mask):
    """Rows as codes and numbers, the hidden cells, and which columns are categories."""
    folder = Path(os.environ.get("SKVAE_DATA", ""), "missing", name)
    if "SKVAE_DATA" not in os.environ or not folder.exists():
        raise Unavailable(f"missing/{name} is not in the folder that SKVAE_DATA names")
    X = pd.read_csv(folder / "data.csv.gz", header=None).to_numpy(float)
    kinds = pd.read_csv(folder / "data_types.csv.gz")["type"].to_numpy()
    cells = pd.read_csv(folder / f"missing{mask}_1.csv.gz", header=None).to_numpy() - 1
    hidden = np.zeros(X.shape, dtype=bool)
    hidden[cells[:, 0], cells[:, 1]] = True
    return X, hidden, kinds == "cat"


class Coded:
    """One of scikit-learn's imputers, on standardized columns, whose categories are rounded."""

    def __init__(self, imputer, n_rows=None):
        self.imputer, self.n_rows = imputer, n_rows

    def filled(self, X, categories):
        scaler = StandardScaler().fit(X)
        rows = scaler.transform(X)
        few = rows
        if self.n_rows is not None and len(rows) > self.n_rows:
            few = rows[np.random.RandomState(0).permutation(len(rows))[: self.n_rows]]
        found = scaler.inverse_transform(self.imputer.fit(few).transform(rows))
        codes = X[:, categories]
        low, high = np.nanmin(codes, axis=0), np.nanmax(codes, axis=0)
        found[:, categories] = np.clip(np.round(found[:, categories]), low, high)
        return found


class MeanAndMode:
    def filled(self, X, categories):
        found = SimpleImputer().fit_transform(X)
        if categories.any():
            mode = SimpleImputer(strategy="most_frequent")
            found[:, categories] = mode.fit_transform(X[:, categories])
        return found


class Ours:
    def __init__(self, n_components=None, numbers="quantile_gaussian"):
        self.n_components, self.numbers = n_components, numbers

    def filled(self, X, categories):
        names = [f"x{j}" for j in range(X.shape[1])]
        frame = pd.DataFrame(X, columns=names)
        for name in np.array(names)[categories]:
            frame[name] = frame[name].astype("category")
        model = None
        if self.n_components is not None:
            laws = [(self.numbers, ~categories), ("categorical", categories)]
            laws = [(law, list(np.array(names)[columns])) for law, columns in laws if columns.any()]
            model = VAETransformer(
                self.n_components, likelihood=laws, n_importance_samples_train=5, random_state=0
            )
        n_draws = 1000 if len(X) <= MANY_ROWS else FEWER_DRAWS
        imputer = VAEImputer(model, n_draws=n_draws, random_state=0)
        return imputer.fit_transform(frame).astype(float).to_numpy()


def spans_of(X):
    return np.nanmax(X, axis=0) - np.nanmin(X, axis=0)


def errors_of(method, X, hidden, categories):
    """The error of numbers, also in rows without a copy, that of categories, and seconds."""
    holes = np.where(hidden, np.nan, X)
    began = perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = method.filled(holes, categories)
    seconds = perf_counter() - began
    # Some cells of the tables themselves are missing.
    hidden = hidden & ~np.isnan(X)
    squares = np.where(hidden, (found - X) ** 2, np.nan)
    _, which, times = np.unique(X, axis=0, return_inverse=True, return_counts=True)
    singles = times[which.ravel()] == 1
    of_numbers, of_singles = (
        np.sqrt(np.nanmean(some[:, ~categories], axis=0)) / spans_of(X)[~categories]
        for some in (squares, squares[singles])
    )
    wrong = np.where(hidden, found != X, np.nan)[:, categories]
    of_categories = np.nanmean(wrong, axis=0).mean() if categories.any() else np.nan
    return float(of_numbers.mean()), float(of_singles.mean()), float(of_categories), seconds


def chosen(X, hidden, categories, full):
    """The options that fill other hidden cells best: a tenth of those that are observed."""
    more = ~(hidden | np.isnan(X)) & (np.random.RandomState(0).uniform(size=X.shape) < 0.1)
    known = np.where(hidden, np.nan, X)
    d, scores = X.shape[1], {}
    sizes = sorted({max(2, d // 2), max(2, 2 * d // 3)})
    for k in sizes if full else sizes[:1]:
        for law in ("quantile_gaussian", "diagonal_gaussian"):
            found = Ours(k, law).filled(np.where(more, np.nan, known), categories)
            numbers, cats = more.copy(), more.copy()
            numbers[:, categories], cats[:, ~categories] = False, False
            error = np.sqrt(np.mean(((found - X) / spans_of(known))[numbers] ** 2))
            wrong = np.mean((found != X)[cats]) if categories.any() else 0.0
            scores[k, law] = error + wrong
            print(f"  chosen among: {k} {law}: {error:.4f} {wrong:.4f}", flush=True)
    return min(scores, key=scores.get)


def run(name, mask, full, only):
    X, hidden, categories = load(name, mask)
    trees = ExtraTreesRegressor(n_estimators=10, random_state=0)
    methods = {
        "mean": MeanAndMode(),
        "kNN": Coded(KNNImputer(), NEIGHBOUR_ROWS),
        "IterativeImputer, BayesianRidge": Coded(IterativeImputer(random_state=0)),
        "IterativeImputer, ExtraTrees": Coded(IterativeImputer(trees, random_state=0)),
        "VAEImputer": Ours(),
    }
    if only:
        methods = {name: method for name, method in methods.items() if name in only}
    if not only or CHOSEN in only:
        options = chosen(X, hidden, categories, full)
        methods[CHOSEN] = Ours(*options)
    for method, imputer in methods.items():
        numbers, singles, of_categories, seconds = errors_of(imputer, X, hidden, categories)
        note = " ".join(map(str, options)) if method == CHOSEN else ""
        yield {
            "mask": mask,
            "method": method,
            "chosen": note,
            "numbers": numbers,
            "singles": singles,
            "categories": of_categories,
            "seconds": seconds,
        }


def markdown(content):
    lines = ["# Imputation of mixed tables", "", __doc__.split("\n\n", 2)[2].strip(), ""]
    for name, rows in content["sets"].items():
        cells = [
            [
                f"{row['mask']} %",
                row["method"],
                row["chosen"] or "-",
                f"{row['numbers']:.4f}",
                # Rows of earlier runs have none.
                f"{row['singles']:.4f}" if "singles" in row else "-",
                f"{row['categories']:.4f}" if row["categories"] == row["categories"] else "-",
                f"{row['seconds']:.1f}",
            ]
            for row in rows
        ]
        header = ["missing", "method", "chosen", "numbers", "singles", "categories", "s"]
        lines += [f"## {name}", "", table(header, cells), ""]
    return "\n".join([*lines, *(describe(e) for e in content["environments"]), ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--sets", default="")
    parser.add_argument("--methods", default="", help="separated by semicolons")
    parser.add_argument("--masks", default="")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    suffix = "" if arguments.full else "-quick"
    path = arguments.out / f"imputation_tables{suffix}.json"
    content = (read_json(path) if arguments.sets or arguments.methods else None) or {
        "sets": {},
        "environments": [],
    }
    content["environments"].append(environment())
    sets = arguments.sets.split(",") if arguments.sets else SETS[: None if arguments.full else 1]
    masks = [int(mask) for mask in arguments.masks.split(",") if mask]
    masks = masks or MASKS[: None if arguments.full else 1]
    only = [method for method in arguments.methods.split(";") if method]
    for name in sets:
        rows = {}
        if only:
            rows = {(row["mask"], row["method"]): row for row in content["sets"].get(name, [])}
        try:
            for mask in masks:
                for row in run(name, mask, arguments.full, only):
                    rows[row["mask"], row["method"]] = row
                    print(name, json.dumps(row), flush=True)
        except Unavailable as reason:
            print(f"{name}: left out: {reason}", flush=True)
            continue
        content["sets"][name] = list(rows.values())
        content["sets"] = {n: content["sets"][n] for n in SETS if n in content["sets"]}
        write_json(path, content)
        write_text(path.with_suffix(".md"), markdown(content))


if __name__ == "__main__":
    main()
