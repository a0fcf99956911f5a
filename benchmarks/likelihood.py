"""Held-out log p(x), by likelihood and prior, beside the models that a scikit-learn user has.

    python benchmarks/likelihood.py [--full] [--tasks binary,news] [--sets iris,wine] [--threads 2]

Rows of one table are comparable: log densities of the same test rows in the same units, or log
probabilities of them, in nats a row. Ours are scored by importance weighting, which is a lower
bound on average. All of ours have default settings but for what the row names, and `max_epochs`
where a number of epochs is named. Nothing is fitted to, or chosen on, test rows.

binary    Six sets of binary rows with their fixed splits; k = min(16, d // 2), 200 draws.
          "Bernoullis" are independent, of smoothed means; the mixture of Bernoullis has 10 or 50
          components, chosen on the validation rows, as is the prior of "ours, chosen". The
          difference is that to the mixture, paired, with its standard error over test rows.
mnist     Binarized anew in each batch ("dynamic") or once ("fixed"); k = 32, 10 epochs; 2,000 test
          rows binarized once, 200 draws, of pythae's VAE too (where pythae is installed; two
          hidden layers of 256; its pipeline cannot binarize anew).
fashion   Fashion-MNIST, dequantized, / 256; k = 16, 10 epochs; 2,000 test rows, 100 draws. The
          mixtures are fitted to the first 20,000 rows. 50 full covariances would have 15 million
          parameters: left out.
frey      1,965 Frey faces, dequantized, / 256, a fifth at random held out (in file order they are a
          film); k = 16, 500 draws. "continuous_bernoulli" is a density on [0, 1], where the pixels
          lie, so that it may be ranked with the others.
tables    Tables, dequantized and standardized on the training rows (at most 20,000; at most 2,000
          test rows). A quarter of at most 5,000 training rows chooses among the candidates, each
          fitted to the rest of these; the chosen one is fitted anew to all training rows with three
          seeds, for all methods alike. GaussianMixture: 3, 10 or 50 components, full or diagonal.
          PCA and FactorAnalysis: k of d // 3, d // 2, d - 1 (at most 16). Ours: k of the last two,
          gaussian, heteroscedastic or quantile gaussian, the priors normal, fitted or flow, and
          once more the last two with flow, trained with five draws ("iwae"); 50 draws to choose and
          500 in the end. The difference is that to GaussianMixture, paired, with its standard error
          over the test rows.
patches   8 x 8 grey patches of two photos, dequantized, / 255, as in generative.py; 20,000 training
          rows, k = 16, 40 epochs, 100 draws.
news      Word counts of 20 Newsgroups; perplexities, exp(-log p / words), less is better. "bound"
          is by the evidence lower bound of a document given the fitted weights, "weighted" by 100
          importance-weighted draws; both are of the sequence of words, without the multinomial
          coefficient. LatentDirichletAllocation's own `perplexity` also charges the test documents
          with the divergence of the topics from their prior, which no other number here has; the
          other two take the topics' means. "completion": half of each document's words tells what
          it is about, and the probabilities by 50 draws of that (LDA: in closed form) predict the
          other half. In full mode all have all documents, and LDA 20 iterations.
cells     Counts of RNA molecules in mouse brain cells, a fifth held out; k = 10, 500 draws. With
          `library_size=True` a law is that of the row given its exposure, its total: another
          question, in a column of its own. PCA and FactorAnalysis of log(1 + x) are made laws of
          counts by integrating their density over the bins around each count, the lowest from minus
          infinity, by importance weighting with 200 draws of the factors.

Quick mode: fewer sets, rows, epochs, draws and candidates, to see that it runs.
"""

import argparse
import json
import os
import warnings
from functools import partial
from itertools import product
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from datasets import Unavailable, load, load_images
from loops import installed, pythae_model, pythae_train
from report import describe, environment, read_json, table, write_json, write_text
from scipy.sparse import load_npz
from scipy.special import digamma, gammaln, log_ndtr, logsumexp, xlogy
from sklearn.base import clone
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA, FactorAnalysis, LatentDirichletAllocation
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn

from skvae import VAETransformer
from skvae.likelihoods import NegativeBinomial, Poisson
from skvae.priors import PRIORS

BINARY = "nltcs", "plants", "baudio", "jester", "mushrooms", "dna"
BINARY_PRIORS = "normal", "flow", "fitted"
TABLES = (
    "iris", "wine", "breast_cancer", "digits", "diabetes", "concrete", "energy", "kin8nm", "naval",
    "power-plant", "protein", "wine-quality", "yacht",
)  # fmt: skip
TABLE_LIKELIHOODS = "gaussian", "heteroscedastic_gaussian", "quantile_gaussian"
TABLE_SEEDS = 3
MOST_TRAIN, MOST_TEST, MOST_CHOOSING = 20_000, 2000, 5000


def ours(k, **parameters):
    return VAETransformer(k, random_state=0, **parameters)


def factor_models(k):
    return {
        f"PCA({k})": PCA(k, random_state=0),
        f"FactorAnalysis({k})": FactorAnalysis(k, random_state=0),
    }


def mixtures(sizes, kinds, reg_covar=1e-6):
    note = "" if reg_covar == 1e-6 else f", reg_covar={reg_covar:g}"
    return {
        f"GaussianMixture, {size} {kind}{note}": GaussianMixture(
            size, covariance_type=kind, reg_covar=reg_covar, random_state=0
        )
        for size, kind in product(sizes, kinds)
    }


def timed_fit(model, X):
    """Seconds of a fit. Mixtures of many components and latents that are not needed warn."""
    began = perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X)
    return round(perf_counter() - began, 1)


def scored(models, X, X_test):
    """A row of a table for each of the models. One that cannot be fitted has none."""
    for label, model in models.items():
        try:
            seconds = timed_fit(model, X)
        except ValueError as error:
            print(f"{label}: not fitted: {error}", flush=True)
            continue
        yield {"model": label, "log p": float(model.score(X_test)), "fit, s": seconds}


def data_file(name):
    folder = os.environ.get("SKVAE_DATA")
    if folder is None or not Path(folder, name).exists():
        raise Unavailable(f"{name} is not in the folder that SKVAE_DATA names")
    return Path(folder, name)


class BernoulliMixture:
    """p(x) = sum_m w_m prod_j Bernoulli(x_j; p_mj), by EM from random rows; one pseudo-row of each
    value smooths the probabilities. With one component: independent Bernoullis."""

    def __init__(self, size, most_iterations=200, tolerance=1e-4):
        self.size, self.most_iterations, self.tolerance = size, most_iterations, tolerance

    def fit(self, X):
        seeds = X[np.random.RandomState(0).choice(len(X), self.size, replace=False)]
        # Between the rows and a half, so that no row is impossible in any component.
        self._set(np.full(self.size, 1 / self.size), 0.25 + 0.5 * seeds)
        before = -np.inf
        for _ in range(self.most_iterations):
            joint = self._joint(X)
            log_prob = logsumexp(joint, axis=1)
            parts = np.exp(joint - log_prob[:, None])
            sizes = parts.sum(axis=0)
            self._set((sizes + 1) / (len(X) + self.size), (parts.T @ X + 1) / (sizes + 2)[:, None])
            if log_prob.mean() - before < self.tolerance:
                break
            before = log_prob.mean()
        return self

    def _set(self, weights, means):
        self.logits = (np.log(means) - np.log1p(-means)).T
        self.offset = np.log(weights) + np.log1p(-means).sum(axis=1)

    def _joint(self, X):
        return X @ self.logits + self.offset

    def score_samples(self, X):
        return logsumexp(self._joint(X), axis=1)

    def score(self, X):
        return float(self.score_samples(X).mean())


def difference(ours, theirs):
    """Columns of a paired difference: its mean and the standard error of that."""
    differences = ours - theirs
    return {
        "difference": float(differences.mean()),
        "standard error": float(differences.std(ddof=1) / len(differences) ** 0.5),
    }


def binary(full):
    for name in BINARY if full else ("nltcs", "dna"):
        with np.load(data_file(f"binary/{name}.npz")) as arrays:
            parts = (arrays[part].astype(np.float32) for part in ("train", "valid", "test"))
            train, valid, test = parts
        epochs = {}
        if not full:
            train, epochs = train[:2000], {"max_epochs": 10}
        d = train.shape[1]
        k = min(16, d // 2)
        row = {"set": name, "d": d, "k": k}
        row["Bernoullis"] = BernoulliMixture(1).fit(train).score(test)
        fits = [BernoulliMixture(size).fit(train) for size in (10, 50)]
        mixture = max(fits, key=lambda fit: fit.score(valid))
        row |= {"mixture": mixture.score(test), "of": mixture.size}
        fits = {}
        for prior in BINARY_PRIORS if full else ("normal", "fitted"):
            model = ours(k, likelihood="bernoulli", prior=prior, n_importance_samples=200, **epochs)
            seconds = timed_fit(model, train)
            fits[prior] = model
            row[prior] = model.score(test)
            print(name, prior, round(row[prior], 2), seconds, "s", flush=True)
        chosen = max(fits, key=lambda prior: fits[prior].score(valid))
        row |= {"ours, chosen": row[chosen], "chosen": chosen}
        yield row | difference(fits[chosen].score_samples(test), mixture.score_samples(test))


def mnist(full):
    X, _, X_test, _ = load_images("mnist")
    n, n_test, draws, epochs = (len(X), 2000, 200, 10) if full else (5000, 500, 100, 2)
    grey, grey_test = (X[:n] / 255).astype(np.float32), X_test[:n_test] / 255
    test = (np.random.RandomState(0).uniform(size=grey_test.shape) < grey_test).astype(np.float32)
    fixed = (np.random.RandomState(1).uniform(size=grey.shape) < grey).astype(np.float32)
    vae = ours(32, likelihood="bernoulli", max_epochs=epochs, n_importance_samples=draws)
    models = {f"mixture of {size} Bernoullis, fixed": BernoulliMixture(size) for size in (50, 200)}
    models |= {
        f"ours, {prior}, fixed": clone(vae).set_params(prior=prior)
        for prior in ("normal", "fitted")
    }
    yield from scored({"Bernoullis, fixed": BernoulliMixture(1)} | models, fixed, test)
    for prior in PRIORS:
        model = clone(vae).set_params(prior=prior, batch_transform=torch.bernoulli)
        yield from scored({f"ours, {prior}, dynamic": model}, grey, test)
    if installed("pythae"):
        torch.manual_seed(0)
        model = pythae_model(X.shape[1], 32, (256, 256), loss="bce")
        # Its loss is of probabilities.
        model.decoder.network.append(nn.Sigmoid())
        began = perf_counter()
        pythae_train(model, fixed, epochs, batch_size=128)
        row = {"model": "pythae's VAE, fixed", "fit, s": round(perf_counter() - began, 1)}
        yield row | {"log p": pythae_score(model.cpu().eval(), test, draws)}


@torch.inference_mode()
def pythae_score(model, X, draws):
    """The mean importance-weighted log p(x), as `VAETransformer.score` estimates it."""
    logits_of = model.decoder.network[:-1]
    log_prob = []
    for x in torch.from_numpy(X).split(50):
        encoded = model.encoder(x)
        q = torch.distributions.Normal(encoded.embedding, (0.5 * encoded.log_covariance).exp())
        z = q.sample((draws,))
        logits = logits_of(z)
        log_px = -nn.functional.binary_cross_entropy_with_logits(
            logits, x.expand_as(logits), reduction="none"
        ).sum(-1)
        log_pz = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
        log_w = log_px + log_pz - q.log_prob(z).sum(-1)
        log_prob.append(log_w.logsumexp(0) - np.log(draws))
    return float(torch.cat(log_prob).mean())


def fashion(full):
    X, _, X_test, _ = load_images("fashion_mnist")
    n, n_mixture, n_test, epochs = (len(X), 20_000, 2000, 10) if full else (3000, 3000, 500, 2)
    random = np.random.default_rng(0)
    X, X_test = (
        (part + random.random(part.shape, dtype=np.float32)) / np.float32(256)
        for part in (X[:n], X_test[:n_test])
    )
    sizes = (10, 50) if full else (10,)
    yield from scored(factor_models(16) | {"PCA(64)": PCA(64, random_state=0)}, X, X_test)
    few = X[:n_mixture].astype(np.float64)
    wide = mixtures([10], ["full"]) if full else {}
    yield from scored(mixtures(sizes, ["diag"]) | wide, few, X_test)
    priors = tuple(PRIORS) if full else ("normal", "fitted")
    cases = [("gaussian", prior) for prior in priors]
    cases += [("heteroscedastic_gaussian", prior) for prior in ("normal", "fitted")]
    for law, prior in cases:
        model = ours(16, likelihood=law, prior=prior, max_epochs=epochs)
        yield from scored({f"ours, {law}, {prior}": model}, X, X_test)


def frey(full):
    with np.load(data_file("frey_faces.npz")) as arrays:
        X = arrays["X"].reshape(-1, 560)
    random = np.random.RandomState(0)
    X = (X + random.uniform(size=X.shape)) / 256
    X = X[random.permutation(len(X))]
    X, X_test = X[: len(X) * 4 // 5], X[len(X) * 4 // 5 :]
    some = {"n_importance_samples": 500} if full else {"max_epochs": 10}
    yield from scored(factor_models(16), X, X_test)
    for reg_covar in (1e-6, 1e-4):
        kinds = ("full", "diag") if full else ("diag",)
        yield from scored(mixtures((10, 50), kinds, reg_covar), X, X_test)
    laws = "gaussian", "diagonal_gaussian", "heteroscedastic_gaussian", "continuous_bernoulli"
    for law, prior in product(laws, ("normal", "fitted")):
        model = ours(16, likelihood=law, prior=prior, **some)
        yield from scored({f"ours, {law}, {prior}": model}, X, X_test)


def chosen(candidates, fit, valid):
    """The label of the candidate that is best on `valid` when fitted to `fit`. Those that cannot be
    fitted are skipped."""
    scores = {}
    for label, model in candidates.items():
        try:
            seconds = timed_fit(model, fit)
        except ValueError:
            continue
        scores[label] = model.score(valid)
        print(f"  {label}: {scores[label]:.2f}, {seconds} s", flush=True)
    return max(scores, key=scores.get)


def table_candidates(d, full):
    components = sorted({max(2, d // 3), max(2, d // 2), min(d - 1, 16)})
    epochs = {} if full else {"max_epochs": 10}
    priors = ("normal", "fitted", "flow") if full else ("normal", "fitted")
    vae = partial(ours, n_importance_samples=50, **epochs)
    vaes = {
        f"{law.removesuffix('_gaussian')} {prior} {k}": vae(k, likelihood=law, prior=prior)
        for law, prior, k in product(TABLE_LIKELIHOODS, priors, components[-2:])
    }
    for law, k in product(TABLE_LIKELIHOODS[1:], components[-2:]) if full else ():
        vaes[f"{law.removesuffix('_gaussian')} flow iwae {k}"] = vae(
            k, likelihood=law, prior="flow", n_importance_samples_train=5
        )
    return {
        "PCA": {str(k): PCA(k, random_state=0) for k in components},
        "FactorAnalysis": {str(k): FactorAnalysis(k, random_state=0) for k in components},
        "GaussianMixture": {
            label.split(", ")[1]: model
            for label, model in mixtures((3, 10, 50), ("full", "diag")).items()
        },
        "ours": vaes,
    }


def tables(full, sets=None):
    for name in sets or (TABLES if full else ("iris", "wine", "energy")):
        X, X_test = train_test_split(load(name).X, test_size=0.2, random_state=0)
        X, X_test = X[:MOST_TRAIN], X_test[:MOST_TEST]
        scaler = StandardScaler().fit(X)
        X, X_test = scaler.transform(X), scaler.transform(X_test)
        some = X[:MOST_CHOOSING]
        valid, fit = some[: len(some) // 4], some[len(some) // 4 :]
        row, scores = {"set": name, "training rows": len(X), "d": X.shape[1]}, {}
        for method, candidates in table_candidates(X.shape[1], full).items():
            print(name, method, flush=True)
            label = chosen(candidates, fit, valid)
            seeds = []
            for seed in range(TABLE_SEEDS if full else 1):
                model = clone(candidates[label]).set_params(random_state=seed)
                if method == "ours":
                    model.set_params(n_importance_samples=500)
                timed_fit(model, X)
                seeds.append(model.score_samples(X_test))
            scores[method] = np.mean(seeds, axis=0)
            row[method] = float(scores[method].mean())
            if method in ("GaussianMixture", "ours"):
                row[f"{method}: chosen"] = label
        yield row | difference(scores["ours"], scores["GaussianMixture"])


def patches(full):
    random = np.random.RandomState(0)
    greys = [image.mean(axis=2) for image in load_sample_images().images]
    photos = [(grey + random.uniform(size=grey.shape)) / 255 for grey in greys]
    X = np.vstack(
        [extract_patches_2d(p, (8, 8), max_patches=50_000, random_state=0) for p in photos]
    )
    X = X.reshape(len(X), 64)[random.permutation(len(X))]
    n, n_test, epochs = (20_000, 2000, 40) if full else (3000, 500, 5)
    X_test, X = X[:n_test], X[2000 : 2000 + n]
    yield from scored(factor_models(16), X, X_test)
    for reg_covar in (1e-6, 1e-4):
        sizes = (10, 50) if full else (10,)
        yield from scored(mixtures(sizes, ("full", "diag"), reg_covar), X, X_test)
    priors = "normal", "fitted", "flow"
    for law, prior in product(("gaussian", "heteroscedastic_gaussian"), priors):
        model = ours(16, likelihood=law, prior=prior, max_epochs=epochs)
        yield from scored({f"ours, {law}, {prior}": model}, X, X_test)


def news(full):
    random = np.random.RandomState(0)
    X, test = (
        load_npz(data_file(f"counts/20news_{part}.npz")).toarray().astype(np.float64)
        for part in ("train", "test")
    )
    X, test = (part[part.sum(axis=1) > 0] for part in (X, test))
    if not full:
        X, test = X[random.permutation(len(X))[:2000]], test[random.permutation(len(test))[:500]]
    first, second = halves(test, random)
    n_words = test.sum()
    unigram = (X.sum(axis=0) + 1) / (X.sum() + X.shape[1])
    whole = perplexity(xlogy(test, unigram), n_words)
    yield {
        "model": "unigram",
        "bound": whole,
        "weighted": whole,
        "completion": perplexity(xlogy(second, unigram), second.sum()),
    }
    # What a multinomial law says of counts beyond what it says of a sequence of words.
    coefficient = gammaln(test.sum(axis=1) + 1) - gammaln(test + 1).sum(axis=1)
    for k in (20, 50) if full else (20,):
        for method in ("batch", "online"):
            lda = LatentDirichletAllocation(
                k, learning_method=method, max_iter=20 if full else 5, random_state=0
            )
            seconds = timed_fit(lda, X)
            bound, weighted = lda_scores(lda, test, 100)
            yield {
                "model": f"LDA, {k} topics, {method}",
                "bound": perplexity(bound, n_words),
                "weighted": perplexity(weighted, n_words),
                "`perplexity`": lda.perplexity(test),
                "completion": completion(partial(topic_probabilities, lda), first, second),
                "fit, s": seconds,
            }
        for prior in ("normal", "fitted") if k == 20 else ("normal",):
            epochs = {} if full else {"max_epochs": 5}
            model = ours(k, likelihood="multinomial", prior=prior, **epochs)
            seconds = timed_fit(model, X.astype(np.float32))
            few = test.astype(np.float32)
            yield {
                "model": f"ours, k = {k}, {prior}",
                "bound": perplexity(model.elbo(few).elbo - coefficient, n_words),
                "weighted": perplexity(model.score_samples(few) - coefficient, n_words),
                "completion": completion(partial(word_probabilities, model), first, second),
                "fit, s": seconds,
            }


def halves(X, random):
    """The words of each document in two halves, at random."""
    first = np.zeros_like(X)
    for row, counts in zip(first, X, strict=True):
        words = random.permutation(np.repeat(np.arange(len(counts)), counts.astype(int)))
        row += np.bincount(words[: len(words) // 2], minlength=len(counts))
    return first, X - first


def perplexity(log_prob, n_words):
    return float(np.exp(-log_prob.sum() / n_words))


def completion(probabilities, first, second):
    """The perplexity of the second halves by the probabilities that the first ones lead to."""
    log_prob = [
        xlogy(second[at : at + 100], probabilities(first[at : at + 100])).sum()
        for at in range(0, len(first), 100)
    ]
    return perplexity(np.array(log_prob), second.sum())


def mean_topics(lda):
    return lda.components_ / lda.components_.sum(axis=1, keepdims=True)


def topic_probabilities(lda, rows):
    return lda.transform(rows) @ mean_topics(lda)


def word_probabilities(model, rows):
    """E[softmax(logits(z))] over q(z|x): the decoder's mean is these times one total."""
    draws = model.sample_posterior(rows.astype(np.float32), 50, random_state=0, decode=True)
    means = draws.mean(axis=1, dtype=np.float64)
    return means / means.sum(axis=1, keepdims=True)


def lda_scores(lda, X, draws):
    """Lower bounds of log p of each document's words, the topics taken as their means: the evidence
    lower bound, and the importance-weighted one with draws of the same q(theta|x)."""
    alpha, k = lda.doc_topic_prior_, lda.n_components
    topics = mean_topics(lda)
    # `transform` divides the parameters of q by their sum, which is the words' and the prior's.
    gamma = lda.transform(X) * (k * alpha + X.sum(axis=1, keepdims=True))
    log_theta = digamma(gamma) - digamma(gamma.sum(axis=1, keepdims=True))
    constant = gammaln(k * alpha) - k * gammaln(alpha)
    constant += gammaln(gamma).sum(axis=1) - gammaln(gamma.sum(axis=1))
    bound = xlogy(X, np.exp(log_theta) @ topics).sum(axis=1)
    bound += constant + ((alpha - gamma) * log_theta).sum(axis=1)
    random = np.random.RandomState(0)
    weighted = np.empty(len(X))
    for i, row in enumerate(X):
        theta = np.maximum(random.standard_gamma(gamma[i], (draws, k)), 1e-300)
        theta /= theta.sum(axis=1, keepdims=True)
        words = row.nonzero()[0]
        log_w = np.log(theta @ topics[:, words]) @ row[words]
        log_w += np.log(theta) @ (alpha - gamma[i])
        weighted[i] = logsumexp(log_w) - np.log(draws) + constant[i]
    return bound, weighted


def cells(full):
    X = load_npz(data_file("counts/mouse_brain_cells.npz")).toarray().astype(np.float32)
    X = X[np.random.RandomState(0).permutation(len(X))]
    X = X if full else X[:2000]
    X, test = X[: len(X) * 4 // 5], X[len(X) * 4 // 5 :]
    kept = X.any(axis=0)
    X, test = (part[:, kept][part[:, kept].any(axis=1)] for part in (X, test))
    epochs = {} if full else {"max_epochs": 5}
    laws = {
        "poisson": "poisson",
        "negative_binomial": "negative_binomial",
        "poisson, library_size": partial(Poisson, library_size=True),
        "negative_binomial, library_size": partial(NegativeBinomial, library_size=True),
        "zero_inflated_negative_binomial": "zero_inflated_negative_binomial",
    }
    logs = np.log1p(X.astype(np.float64))
    k = 10
    for label, model in factor_models(k).items():
        row = {"model": f"{label} of log(1 + x)", "fit, s": timed_fit(model, logs)}
        yield row | {"log p(x)": float(binned_scores(model, test.astype(np.float64)).mean())}
    for (label, law), prior in product(laws.items(), ("normal", "fitted")):
        model = ours(k, likelihood=law, prior=prior, n_importance_samples=500, **epochs)
        row = {"model": f"ours, {label}, {prior}", "fit, s": timed_fit(model, X)}
        given = label not in ("poisson", "negative_binomial")
        column = "log p(x given exposure)" if given else "log p(x)"
        yield row | {column: float(model.score(test))}


def binned_scores(model, X, draws=200):
    """log of the probability that PCA's or FactorAnalysis's law of log(1 + x) gives to the bins
    between x - 1/2 and x + 1/2, by importance weighting: given the factors z the columns are
    independent. Drawn from is p(z | log(1 + x))."""
    weight = model.components_.T
    if isinstance(model, PCA):
        weight = weight * np.sqrt(model.explained_variance_ - model.noise_variance_)
    noise = np.broadcast_to(model.noise_variance_, len(weight))
    covariance = np.linalg.inv(np.eye(weight.shape[1]) + (weight.T / noise) @ weight)
    root = np.linalg.cholesky(covariance)
    random = np.random.RandomState(0)
    scores = []
    for rows in np.array_split(X, -(-len(X) // 20)):
        e = random.normal(size=(draws, len(rows), weight.shape[1]))
        z = (np.log1p(rows) - model.mean_) / noise @ weight @ covariance + e @ root.T
        mean = model.mean_ + z @ weight.T
        low = np.where(rows > 0, np.log(rows + 0.5), -np.inf)
        parts = [(edge - mean) / np.sqrt(noise) for edge in (low, np.log(rows + 1.5))]
        log_w = log_interval(*parts).sum(axis=2)
        log_w += 0.5 * (e**2 - z**2).sum(axis=2) + np.log(np.diag(root)).sum()
        scores.append(logsumexp(log_w, axis=0) - np.log(draws))
    return np.concatenate(scores)


def log_interval(low, high):
    """log(Phi(high) - Phi(low)); above zero by the other tail, where the difference is not lost."""
    flip = low > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    of_high = log_ndtr(high)
    return of_high + np.log(-np.expm1(log_ndtr(low) - of_high))


TASKS = {
    task.__name__: task for task in (binary, mnist, fashion, frey, tables, patches, news, cells)
}


def verdict(rows):
    """In how many sets ours is no worse, and the others."""
    losses = [row for row in rows if row["difference"] < 0]
    text = f"Ours is at least as good in {len(rows) - len(losses)} of {len(rows)} sets"
    worse = [
        f"{row['set']} ({row['difference']:.2f} ± {row['standard error']:.2f})" for row in losses
    ]
    return text + (f"; worse on {', '.join(worse)}." if worse else ".")


def entry(row, column):
    value = row.get(column, "-")
    digits = 1 if column == "fit, s" else 2
    return f"{value:.{digits}f}" if isinstance(value, float) else value


def markdown(results):
    lines = ["# Log-likelihoods of held-out rows", "", __doc__.split("\n\n", 2)[2].strip(), ""]
    for name, result in results.items():
        rows = result["rows"]
        header = dict.fromkeys(column for row in rows for column in row)
        header = sorted(header, key=lambda column: column == "fit, s")
        lines += [f"## {name}", ""]
        lines += [table(header, [[entry(row, column) for column in header] for row in rows]), ""]
        if "difference" in header:
            lines += [verdict(rows), ""]
        lines += [describe(each) for each in result["environments"]] + [""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--sets", default="", help="of the task tables: only these; others stay")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    path = arguments.out / f"likelihood{'' if arguments.full else '-quick'}.json"
    results = read_json(path) or {}
    sets = arguments.sets.split(",") if arguments.sets else None
    if unknown := set(sets or ()) - set(TABLES):
        parser.error(f"no such sets: {', '.join(sorted(unknown))}")
    for name in arguments.tasks.split(","):
        rows, environments = [], []
        if name == "tables" and sets and name in results:
            rows = [row for row in results[name]["rows"] if row["set"] not in sets]
            environments = results[name]["environments"]
        task = partial(tables, sets=sets) if name == "tables" else TASKS[name]
        try:
            for row in task(arguments.full):
                rows.append(row)
                print(name, json.dumps(row, ensure_ascii=False), flush=True)
                if name == "tables":
                    rows.sort(key=lambda row: TABLES.index(row["set"]))
                results[name] = {"rows": rows, "environments": [*environments, environment()]}
                results = {name: results[name] for name in TASKS if name in results}
                write_json(path, results)
                write_text(path.with_suffix(".md"), markdown(results))
        except Unavailable as reason:
            print(f"{name}: left out: {reason}", flush=True)


if __name__ == "__main__":
    main()
