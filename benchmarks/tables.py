"""Synthetic tables of mixed columns: what a model learns from them, how alike and how new they are.

    python benchmarks/tables.py [--full] [--sets adult,shoppers] [--methods skvae,TVAE]
        [--peers PYTHON] [--peer-epochs 300] [--threads 1]

A method is fitted to the training rows of a real table and draws as many rows of its own. Adult has
training and test rows of its own; of the other tables a fifth is held out, at random.

quality   Gradient boosting (scikit-learn's, with default settings) is trained on the synthetic rows
          and predicts the real test rows: area under the curve (adult: income, shoppers: Revenue)
          or R2 (california: median_house_value). More is better.
shape     Over the columns, the mean of the Kolmogorov-Smirnov statistic (numbers) or the total
          variation distance (categories) between the training rows and the synthetic ones.
pairs     Over the pairs of columns, the mean of half the difference of Pearson's correlations (two
          numbers) or of the total variation distance between the tables of counts (two categories,
          or a category and a number in ten equal bins of the real column): the two measures of
          SDMetrics' Column Pair Trends. All pairs count; the package's quality report, which leaves
          out what is weakly associated in the real table, gives other numbers.
copies    The share of rows that equal a training row, rounded to the training column's decimals.
distance  The median distance of a row to its nearest training row, of standardized numbers and
          one-hot categories. Both of at most 5,000 rows, at random.

Shape, pairs and copies are in percent. A missing category is one more category; a missing number is
left out (of distances: it is the mean). Seconds are of the processor, so that they depend less on
what else the machine does; TVAE's on adult grow with denormal numbers (0.6 an epoch at first, 3.4
by epoch 180).

"real" are the training rows themselves, and their quality is what the others can hope for. "held
out" are the test rows: what rows of the same law that nobody copied look like by the same measures.
"skvae" is `VAETransformer(likelihood="auto", missing_values="observed")` with the settings that the
table names, chosen among seven by the figures of adult and kept for the others (california, of ten
columns, has fewer components). It draws no missing cells, which costs shape and pairs where
categories are missing. "interpolation" is in the manner of SMOTE: a random training row and one of
its five nearest neighbours (of its class, where the target is one), numbers at a random point
between the two, categories from either. "independent" permutes each column by itself. TVAE and
CTGAN are those of the package `ctgan`, with default settings but for the epochs that the table
names, run by the interpreter of an environment of its own (`--peers`), and left out where it lacks
the package. They get missing categories as a category and missing numbers as the median. All but
"real" and the peers have three seeds: means, with the standard deviation after the sign; the peers
have one seed.

Results are kept by set and method, so that methods can be run at different times. Quick mode: one
set, 3,000 training rows, one seed, few epochs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pandas as pd
from datasets import Unavailable
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors

# This file also runs in the peers' environment, which has neither skvae nor skorch: what needs
# them is imported where it is used.

SETTINGS = {"n_components": 16, "prior": "flow", "max_epochs": 60}
OWN_SETTINGS = {"california": {"n_components": 8}}
SEEDS = 0, 1, 2
PEERS = "TVAE", "CTGAN"
TARGETS = {"adult": "income", "shoppers": "Revenue", "california": "median_house_value"}
# Of shoppers: numbers that are names.
CODES = "OperatingSystems", "Browser", "Region", "TrafficType"
MISSING = "(missing)"
MOST_QUERIES = 5000
N_BINS = 10
QUICK_ROWS, QUICK_EPOCHS = 3000, 10


def read_frame(name):
    folder = os.environ.get("SKVAE_DATA")
    path = Path(folder or "", f"tables/{name}.csv.gz")
    if folder is None or not path.exists():
        raise Unavailable(f"tables/{name}.csv.gz is not in the folder that SKVAE_DATA names")
    frame = pd.read_csv(path)
    for column in frame.select_dtypes("float"):
        values = frame[column]
        if (values == values.round()).all():
            frame[column] = values.astype(np.int64)
    for column in frame.columns.intersection(CODES):
        frame[column] = frame[column].astype("category")
    return frame


def load_table(name):
    """The training and the test rows."""
    if name == "adult":
        return read_frame("adult_train"), read_frame("adult_test")
    frame = read_frame("california_housing" if name == "california" else name)
    parts = train_test_split(frame, test_size=0.2, random_state=0)
    return tuple(part.reset_index(drop=True) for part in parts)


def numbers(frame):
    """The columns that are numbers; all others are categories."""
    return [
        name
        for name, column in frame.items()
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    ]


def categories(frame):
    return list(frame.columns.difference(numbers(frame), sort=False))


def words(column):
    """A column of categories as strings, the missing ones as one more."""
    return column.astype(object).where(column.notna(), MISSING).astype(str)


def encoded(frame, like):
    """Numbers standardized by the rows of `like`, missing ones zero, and one-hot categories."""
    of_numbers, parts = numbers(like), []
    if of_numbers:
        real = like[of_numbers].astype(float)
        values = (frame[of_numbers].astype(float) - real.mean()) / real.std(ddof=0)
        parts.append(values.fillna(0.0).to_numpy())
    for name in categories(like):
        levels = np.unique(words(like[name]))
        parts.append(words(frame[name]).to_numpy()[:, None] == levels)
    return np.hstack(parts).astype(float)


def quality(train, test, target, is_class):
    """AUC or R2 on the rows of `test` of gradient boosting that is trained on those of `train`."""
    X, X_test = train.drop(columns=target), test.drop(columns=target)
    for name in categories(test):
        if name != target:
            both = np.unique(np.concatenate([words(X[name]), words(X_test[name])]))
            for part in (X, X_test):
                part[name] = pd.Categorical(words(part[name]), categories=both)
    if not is_class:
        model = HistGradientBoostingRegressor(categorical_features="from_dtype", random_state=0)
        return float(r2_score(test[target], model.fit(X, train[target]).predict(X_test)))
    positive = words(test[target]).max()
    y, y_test = (words(part[target]) == positive for part in (train, test))
    if y.nunique() == 1:
        return 0.5
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
    return float(roc_auc_score(y_test, model.fit(X, y).predict_proba(X_test)[:, 1]))


def kolmogorov_smirnov(real, synthetic):
    a, b = (np.sort(column.dropna().to_numpy(float)) for column in (real, synthetic))
    every = np.concatenate([a, b])
    shares = (np.searchsorted(part, every, side="right") / len(part) for part in (a, b))
    return float(np.abs(np.subtract(*shares)).max())


def total_variation(real, synthetic):
    """Between two columns of codes from zero on."""
    size = max(real.max(), synthetic.max()) + 1
    shares = (np.bincount(part, minlength=size) / len(part) for part in (real, synthetic))
    return float(np.abs(np.subtract(*shares)).sum() / 2)


def codes_of(real, synthetic):
    """Two columns as codes that mean the same in both: categories, or equal bins of the real
    numbers, the outer ones open, with -1 for what is missing."""
    if not numbers(real.to_frame()):
        codes, _ = pd.factorize(np.concatenate([words(real), words(synthetic)]))
        return codes[: len(real)], codes[len(real) :]
    edges = np.histogram_bin_edges(real.dropna(), bins=N_BINS)[1:-1]
    return tuple(
        np.where(column.isna(), -1, np.digitize(column, edges)) for column in (real, synthetic)
    )


def shape_error(real, synthetic):
    errors = [kolmogorov_smirnov(real[name], synthetic[name]) for name in numbers(real)]
    errors += [total_variation(*codes_of(real[name], synthetic[name])) for name in categories(real)]
    return 100 * float(np.mean(errors))


def pair_error(real, synthetic):
    codes = {name: codes_of(real[name], synthetic[name]) for name in real}
    of_numbers = set(numbers(real))
    errors = []
    for first, second in combinations(real.columns, 2):
        if of_numbers.issuperset((first, second)):
            errors.append(correlation_difference(real, synthetic, first, second))
            continue
        size = max(part.max() for part in codes[second]) + 1
        joint = [
            (a * size + b)[(a >= 0) & (b >= 0)]
            for a, b in zip(codes[first], codes[second], strict=True)
        ]
        errors.append(total_variation(*joint))
    return 100 * float(np.mean(errors))


def correlation_difference(real, synthetic, first, second):
    """Half the difference of two correlations; that of a constant column is taken to be zero."""
    values = [frame[first].corr(frame[second]) for frame in (real, synthetic)]
    return float(np.abs(np.subtract(*np.nan_to_num(values))) / 2)


def decimals(column):
    """The least number of decimals that tells the values of a column."""
    values = column.dropna().to_numpy(float)
    return next((d for d in range(15) if np.array_equal(values, values.round(d))), 15)


def copies(frame, train):
    """The share of rows that equal a row of `train`, in percent."""
    known, asked = [], []
    for name in train:
        if name in numbers(train):
            digits = decimals(train[name])
            # Zero has one sign, and a missing number equals a missing number.
            pair = [
                part[name].astype(float).round(digits).fillna(np.inf).to_numpy() + 0.0
                for part in (train, frame)
            ]
        else:
            pair = codes_of(train[name], frame[name])
        known.append(pair[0])
        asked.append(pair[1])
    known, asked = ([row.tobytes() for row in np.column_stack(part)] for part in (known, asked))
    known = set(known)
    return 100 * float(np.mean([row in known for row in asked]))


def novelty(frame, train):
    """Copies and the median distance to the closest training row."""
    frame = frame.sample(min(len(frame), MOST_QUERIES), random_state=0)
    nearest = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(encoded(train, train))
    distance, _ = nearest.kneighbors(encoded(frame, train))
    return {"copies": copies(frame, train), "distance": float(np.median(distance))}


def measures(synthetic, train):
    return {
        "shape": shape_error(train, synthetic),
        "pairs": pair_error(train, synthetic),
        **novelty(synthetic, train),
    }


class Ours:
    """VAETransformer, with the cells that are missing as they are."""

    def __init__(self, name, target, seed, full):
        from skvae import VAETransformer

        settings = SETTINGS | OWN_SETTINGS.get(name, {})
        if not full:
            settings = settings | {"max_epochs": QUICK_EPOCHS}
        self.note = ", ".join(f"{key} {value}" for key, value in settings.items())
        self.model = VAETransformer(
            likelihood="auto", missing_values="observed", random_state=seed, **settings
        )

    def fit(self, train):
        self.model.fit(train)

    def sample(self, n):
        return self.model.sample(n)


class Interpolation:
    """Rows between a training row and one of its nearest neighbours.

    A number that is missing in either of the two is taken from one of them, as categories are.
    """

    note, n_neighbors = "", 5

    def __init__(self, name, target, seed, full):
        self.target, self.random = target, np.random.RandomState(seed)

    def fit(self, train):
        self.train = train
        rows = encoded(train, train)
        labels = words(train[self.target]) if self.target in categories(train) else None
        groups = (
            [np.arange(len(train))]
            if labels is None
            else [np.flatnonzero(labels == label) for label in labels.unique()]
        )
        self.neighbors = np.empty((len(train), self.n_neighbors), dtype=int)
        for group in groups:
            nearest = NearestNeighbors(n_neighbors=self.n_neighbors, algorithm="brute")
            # Without rows to look for, a row is no neighbour of its own.
            _, found = nearest.fit(rows[group]).kneighbors()
            self.neighbors[group] = group[found]

    def sample(self, n):
        first = self.random.randint(len(self.train), size=n)
        second = self.neighbors[first, self.random.randint(self.n_neighbors, size=n)]
        way = self.random.uniform(size=n)
        columns = {}
        for name, column in self.train.items():
            a, b = (column.iloc[rows].reset_index(drop=True) for rows in (first, second))
            either = a.where(self.random.uniform(size=n) < 0.5, b)
            if name in numbers(self.train):
                between = a + way * (b - a)
                between = between.where(between.notna(), either)
                either = between.round() if pd.api.types.is_integer_dtype(column) else between
            columns[name] = either.astype(column.dtype)
        return pd.DataFrame(columns)


class Independent:
    """Each column in an order of its own."""

    note = ""

    def __init__(self, name, target, seed, full):
        self.random = np.random.RandomState(seed)

    def fit(self, train):
        self.train = train

    def sample(self, n):
        orders = (self.random.permutation(len(self.train))[:n] for _ in self.train)
        return pd.DataFrame(
            {
                name: column.iloc[order].reset_index(drop=True)
                for (name, column), order in zip(self.train.items(), orders, strict=True)
            }
        )


OURS = {"skvae": Ours, "interpolation": Interpolation, "independent": Independent}
METHODS = "real", "skvae", *PEERS, "interpolation", "independent"
ROWS = "real", "held out", *METHODS[1:]


def fit_and_sample(model, train, *more):
    """As many rows as there are to train on; seconds of the processor, and of the clock in all."""
    began, at_fit = perf_counter(), process_time()
    model.fit(train, *more)
    at_sample = process_time()
    synthetic = model.sample(len(train))
    facts = {"fit": at_sample - at_fit, "sample": process_time() - at_sample}
    return synthetic, facts | {"clock": perf_counter() - began}


def filled(train):
    """The rows as the peers get them: no cell missing, categories as strings."""
    frame = train.copy()
    for name in numbers(train):
        if frame[name].isna().any():
            frame[name] = frame[name].fillna(frame[name].median())
    for name in categories(train):
        frame[name] = words(frame[name])
    return frame


def unfilled(frame, train):
    """The rows of a peer with the types of the training rows."""
    columns = {}
    for name, column in train.items():
        values = frame[name]
        if name in categories(train):
            known = {str(value): value for value in column.dropna().unique()}
            values = values.map(known)
        columns[name] = values.astype(column.dtype)
    return pd.DataFrame(columns)


def peer_rows(python, method, train, epochs, threads):
    """Rows that a peer draws, in a process of its own, with its seconds and versions."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, f"{part}.csv")) for part in ("train", "synthetic")]
        filled(train).to_csv(paths[0], index=False)
        task = [method, str(epochs), ",".join(categories(train)), *paths]
        command = [python, "-W", "ignore", __file__, "--one", *task, "--threads", str(threads)]
        limits = {key: str(threads) for key in ("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT")}
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | limits
        )
        return unfilled(read_filled(paths[1], categories(train)), train), json.loads(done.stdout)


def read_filled(path, of_words):
    return pd.read_csv(path, dtype=dict.fromkeys(of_words, str), keep_default_na=False)


def one_peer(method, epochs, of_words, path, path_out, threads):
    """Fit a peer to the rows of a file and write as many; print seconds and versions as JSON."""
    import ctgan
    import torch

    torch.set_num_threads(threads)
    of_words = of_words.split(",")
    train = read_filled(path, of_words)
    model = getattr(ctgan, method)(epochs=int(epochs))
    model.set_random_state(0)
    synthetic, facts = fit_and_sample(model, train, of_words)
    synthetic.to_csv(path_out, index=False)
    facts["versions"] = {name: version(name) for name in ("ctgan", "torch", "pandas")}
    print(json.dumps(facts))


def has_peers(python):
    command = [python, "-c", "import ctgan"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run(name, method, arguments):
    """The results of one method on one set: for each seed a dict of its measures."""
    train, test = load_table(name)
    if not arguments.full:
        train = train.sample(QUICK_ROWS, random_state=0).reset_index(drop=True)
    target = TARGETS[name]
    learn = {"test": test, "target": target, "is_class": target in categories(train)}
    if method == "real":
        # Copies of themselves at no distance: what says something are the test rows.
        yield {"method": method, "seeds": [{"quality": quality(train, **learn)}]}
        yield {"method": "held out", "seeds": [measures(test, train)]}
        return
    row = {"method": method, "note": "", "seeds": []}
    if method in PEERS:
        epochs = arguments.peer_epochs or (300 if arguments.full else QUICK_EPOCHS)
        row["note"] = f"{epochs} epochs"
        synthetic, facts = peer_rows(arguments.peers, method, train, epochs, arguments.threads)
        row["versions"] = facts.pop("versions")
        measured = measures(synthetic, train)
        row["seeds"].append({"quality": quality(synthetic, **learn), **measured, **facts})
        yield row
        return
    for seed in SEEDS if arguments.full else SEEDS[:1]:
        model = OURS[method](name, target, seed, arguments.full)
        row["note"] = model.note
        synthetic, facts = fit_and_sample(model, train)
        measured = measures(synthetic, train)
        row["seeds"].append({"quality": quality(synthetic, **learn), **measured, **facts})
        print(f"  {name}, {method}, {seed}: {json.dumps(row['seeds'][-1])}", flush=True)
    yield row


def entry(row, measure, digits):
    values = [seed[measure] for seed in row["seeds"] if measure in seed]
    if not values:
        return "-"
    text = f"{np.mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {np.std(values, ddof=1):.{digits}f}"


def markdown(sets, describe, table):
    lines = ["# Synthetic tables", "", __doc__.split("\n\n", 2)[2].strip(), ""]
    environments = []
    for name, rows in sets.items():
        score = "R2" if name == "california" else "AUC"
        digits = {
            "quality": 3, "shape": 2, "pairs": 2, "copies": 2, "distance": 2, "fit": 1, "sample": 1,
        }  # fmt: skip
        header = ["method", score, "shape, %", "pairs, %", "copies, %", "distance"]
        header += ["fit, s", "sample, s", "seeds", "settings"]
        cells = [
            [
                row["method"],
                *(entry(row, measure, n) for measure, n in digits.items()),
                len(row["seeds"]),
                row.get("note") or "-",
            ]
            for row in rows.values()
        ]
        lines += [f"## {name}", "", table(header, cells), ""]
        for row in rows.values():
            text = describe(row["environment"])
            if versions := row.get("versions"):
                text += "; peers: " + ", ".join(f"{key} {value}" for key, value in versions.items())
            environments.append(text)
    return "\n".join([*lines, *dict.fromkeys(environments), ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--sets", default="")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--peers", default=sys.executable, help="interpreter that has ctgan")
    parser.add_argument("--peer-epochs", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one_peer(*arguments.one, arguments.threads)
        return

    import torch
    from report import describe, environment, read_json, table, write_json, write_text
    from threadpoolctl import threadpool_limits

    sets = arguments.sets.split(",") if arguments.sets else list(TARGETS)
    sets = sets if arguments.full or arguments.sets else ["shoppers"]
    methods = arguments.methods.split(",")
    if unknown := (set(sets) - set(TARGETS)) | (set(methods) - set(METHODS)):
        parser.error(f"neither set nor method: {', '.join(sorted(unknown))}")
    if set(methods) & set(PEERS) and not has_peers(arguments.peers):
        print("peers: left out: the interpreter of --peers has no ctgan", flush=True)
        methods = [method for method in methods if method not in PEERS]
    torch.set_num_threads(arguments.threads)
    threadpool_limits(arguments.threads)
    path = arguments.out / f"tables{'' if arguments.full else '-quick'}.json"
    facts = environment()
    facts["command"] = facts["command"].replace(arguments.peers, "PYTHON")
    for method in methods:
        for name in sets:
            try:
                rows = list(run(name, method, arguments))
            except (Unavailable, TypeError, ValueError, subprocess.CalledProcessError) as reason:
                print(f"{name}, {method}: left out: {reason}", flush=True)
                continue
            # Read anew: other methods may be running beside this one.
            found = (read_json(path) or {"sets": {}})["sets"]
            for row in rows:
                print(name, json.dumps(row), flush=True)
                found.setdefault(name, {})[row["method"]] = row | {"environment": facts}
            found = {
                n: {m: found[n][m] for m in ROWS if m in found[n]} for n in TARGETS if n in found
            }
            write_json(path, {"sets": found})
            write_text(path.with_suffix(".md"), markdown(found, describe, table))


if __name__ == "__main__":
    main()
