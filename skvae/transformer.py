"""VAETransformer: check, assemble, numpy in and out."""

import warnings
from copy import deepcopy
from difflib import get_close_matches
from functools import partial
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch
from sklearn.utils._param_validation import (
    Interval,
    RealNotInt,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import (
    _check_feature_names_in,
    _check_sample_weight,
    check_array,
    check_is_fitted,
)

from ._input import FLOATS, check_count, checked_rows, column_namer, float_dtype
from ._keeping import kept_on_failure
from ._random import draw_seed, scoped_seed
from .assembly import SKORCH_PREFIXES, finish, streamed_net, trained_net
from .batches import Rows, working_units
from .collapse import collapse_cure
from .conditions import Conditions
from .coordinates import (
    JACOBIAN_ROWS,
    STREAM_JACOBIAN_ROWS,
    PosteriorMoments,
    features_of_condition,
    mean_effects,
    measure_coordinates,
    names_of_features,
)
from .exceptions import PosteriorCollapseWarning
from .given import drawn_given, row_given
from .incomplete import has_missing
from .likelihoods import LIKELIHOODS
from .moments import Moments, RowSample, repeated, some_rows
from .networks import ACTIVATIONS, NETWORKS
from .priors import PRIORS
from .scores import column_scores, elbo_terms, importance_scores, imputed
from .summary import Summary
from .support import check_support, rows_of
from .tables import Table, is_frame

_COVARIANCE_DRAWS = 4096
# Rows whose reconstructions are looked at, and over which the noise variance is averaged;
_MEASURED_ROWS = 10_000
_NOISE_ROWS = 512
# of a stream, which is measured after every chunk, fewer, which are kept.
_STREAM_ROWS = 2000
# After a `fit`, as few as these change no units yet.
_LEAST_STREAM_ROWS = 500
# Of a chunk with weights at most so many, with repeats.
_MEASURED_REPEATS = 2**20
# Values of such rows, at most.
_MEASURED_VALUES = 2**24


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A variational autoencoder in the place of PCA.

    The model is p(x|z) p(z) with a neural encoder q(z|x). With `init="pca"` it starts as
    probabilistic PCA, in closed form, and learns only what a line cannot say: an epoch is accepted
    only where held-out rows are more likely than under the start, beyond one standard error, and,
    with the default likelihood and no learned prior, reconstructed no worse, or to 99 % of the
    variance. Where none is, the fitted model is PCA, refitted on all rows.

    Parameters
    ----------
    n_components : int, float in (0, 1), "auto", "mle" or None, default=2
        Number of latent components. As in PCA with its full solver, a float is the part of the
        variance that so many of PCA's components explain, "mle" is Minka's choice for PCA, and
        None is min(n_samples, n_features). With missing cells both go by the covariance that EM has
        of rows with 131,072 values at most, and "mle" takes as their number that of those that have
        both of two columns, on average. "auto" is the number, at least 1, with which the linear
        model that training starts from makes held-out rows likeliest, in four to ten folds: pPCA of
        the features, or where each column has its noise factor analysis (above 100 columns pPCA of
        unit ones). Of more than 2,000 columns it looks at 2,000 rows at most, of rows with missing
        cells at 131,072 values; `partial_fit` goes by its first rows. Measured
        (`benchmarks/n_components.py`), it finds the number that rows were drawn with as often as
        "mle" (72 of 100 times, "mle" 70), and also where that does not: columns of unlike noises,
        missing cells, fewer rows than columns. It is a density's choice and no reduction: of most
        real tables both take nearly as many as there are columns, with which training often adds
        nothing that is accepted: trained, the model is likelier than with 0.95 on 8 of 19 tables,
        and less likely on 8. Where numbers are nearly as good as each other it varies with
        `random_state` (of wine, 7 to 12 of 13).
    likelihood : str, callable, list of pairs or dict, default="gaussian"
        The law p(x|z) of the columns. Real: "gaussian" (one noise variance, pPCA's),
        "diagonal_gaussian" (one a column, FactorAnalysis's), "heteroscedastic_gaussian" (one a
        column, given by the decoder), "student_t", "laplace" (heavy tails), "lognormal" (positive),
        "quantile_gaussian" (any shape: skewed, several modes, bounds, heaps, many exact zeros).
        Between 0 and 1: "bernoulli" (binary), "continuous_bernoulli" (grey). Counts: "poisson",
        "negative_binomial", "zero_inflated_negative_binomial" (as a share of the row's total),
        "multinomial" (given the row's total). Integer codes: "categorical". The classes are in
        `skvae.likelihoods`. Or a factory `n_features -> Likelihood`, such as
        `partial(skvae.likelihoods.Poisson, library_size=True)`.
        A list of pairs (likelihood, columns), or a dict from one to the other, gives columns laws
        of their own: `[("gaussian", ["height", "weight"]), ("categorical", ["sex"])]`. Columns are
        names or numbers, one or several, a slice or a mask, as in ColumnTransformer; each column
        needs exactly one law (see `skvae.likelihoods.Mixed`).
        "auto" looks at the rows of the fit. Of an array it is one law: "bernoulli" where all are 0
        or 1, "negative_binomial" where all are counts, else "gaussian". It may pick another law in
        another fold of a cross-validation, whose scores cannot be compared: name the law there. Of
        a table (a pandas or polars DataFrame, or an array with `categorical_features`) it is a law
        for each column: "categorical" for strings, categories and bools, "quantile_gaussian" for
        numbers and dates.
    prior : {"normal", "mixture", "vamp", "flow", "fitted"} or callable, default="normal"
        The law p(z): N(0, I); a mixture of Gaussians, a VampPrior or a neural spline flow (of the
        package zuko), learned jointly; or a mixture of Gaussians fitted to the encoder when
        training, with N(0, I), is over. In `skvae.priors` they are StandardNormal, Mixture,
        VampPrior, Flow and FittedMixture. Or a factory `n_components -> Prior`, with which options
        are set: `functools.partial(skvae.priors.Mixture, n_mixture_components=50)`. The promise
        to start as PCA exactly is for "normal".
    network : {"mlp", "linear"} or callable, default="mlp"
        What the encoder and the decoder add to their affine paths, or a factory
        `(n_in, n_out) -> torch.nn.Module`, called once for each. "linear" adds nothing.
    hidden_layer_sizes : "auto", int or sequence of int, default="auto"
        Units of the encoder's hidden layers; the decoder has them in reverse. A layer as wide as
        the one before it is a residual layer. An int is one layer; "auto" is two of 256 units,
        and from 8,000 rows on (with `partial_fit`, of the first call) five, of 128 units below 64
        columns. For `network="mlp"`.
    activation : {"silu", "relu", "gelu", "elu", "tanh"}, default="silu"
        For `network="mlp"`.
    init : {"pca", "random"}, default="pca"
        Where training starts: the closed form of the linear model, or random weights.
    whiten : bool, default=False
        Whether `transform` gives columns of unit variance. By default a column has the standard
        deviation of what it explains, as PCA's have. Leave it off before nearest neighbours.
        Changed after a fit it waits for the next one.
    beta : float, default=1.0
        Weight of the KL term in the training objective.
    free_bits : float, default=0.0
        Nats of each latent's KL term, averaged over a batch, that cost nothing: latents are not
        switched off to save less than that. Not with a joint prior ("mixture", "vamp", "flow").
    n_importance_samples_train : int, default=1
        Draws a row in training. With more than one, training maximizes the importance-weighted
        bound of so many draws (an IWAE), with doubly reparameterized gradients, instead of the
        ELBO; an epoch takes that many times as long in the decoder.
    kl_warmup : "auto" or float in [0, 1), default="auto"
        Fraction of training over which the KL term's weight rises to `beta`. "auto" is 0 with
        `init="pca"`, which a warm-up leads away from its optimum, and 0.1 with random weights. Rows
        on a surface that folds back over itself need one: no small bend gains there. Its epochs do
        not count for `n_iter_no_change` (above 0.7, where the learning rate begins to fall, none
        does), and those after it are compared with each other, and the best of them with the start.
    lr : float, default=2e-3
        Learning rate of AdamW: warmed up, kept, and brought down at the end of training, whether
        it ends by `max_epochs` or early. Above 9 columns an affine path that
        starts at its optimum has 3 / sqrt(n_features) of it, and the one noise variance of
        `"gaussian"` beside it as much, but no less than half. A skorch LRScheduler among the
        callbacks replaces this schedule.
    max_epochs : "auto" or int, default="auto"
        Most passes over the training rows; 0 gives exactly PCA (with `"diagonal_gaussian"`
        FactorAnalysis's model, in columns of PCA's units), but that no noise variance is below
        1e-12 of the largest column's. "auto" aims at 4000 optimizer steps, within 8 and 200 epochs,
        and at most 60,000 steps.
    batch_size : "auto" or int, default="auto"
        Rows of an optimizer step. "auto" is about a tenth of the rows, a power of two within 64
        and 128.
    early_stopping : bool, default=True
        Whether epochs are judged on held-out rows: training ends when they no longer gain, and
        the best epoch's weights are put back. Off, all rows train, for `max_epochs`, and the
        promise never to be worse than PCA is off too.
    validation_fraction : "auto" or float in (0, 1), default="auto"
        Part of the rows held out. "auto" is a tenth, but 50 rows or a quarter of them where there
        are few, and 2,000 where there are many. With fewer than 5 such rows nothing can be
        judged: the model stays PCA.
    n_iter_no_change : int, default=20
        Epochs without gain after which training goes back to the best one and ends from there, the
        learning rate brought down.
    n_importance_samples : int, default=100
        Draws a row of `score_samples`. More draws give a higher, tighter bound.
    batch_transform : callable or None, default=None
        Applied to each batch of training and of validation, a tensor (n, n_features) in the units
        of X, anew in every epoch, and once to all rows for the start and the fitted attributes:
        a law of X itself, not an augmentation. `torch.bernoulli` binarizes grey images dynamically.
    missing_values : {"error", "observed"}, default="error"
        What missing cells (NaN, None, `pandas.NA`) are: an error, as to PCA, or nothing that was
        seen. With "observed" the model learns from the cells that are there, `transform` and the
        scores are those of a row's observed cells, and the start is pPCA's of the observed cells,
        by EM. Without a missing cell all is the same, bit for bit. Not for laws that are given the
        row's total.
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Which columns of a table are categories, with `likelihood` "auto" or laws by column: as in
        HistGradientBoostingClassifier a mask, positions or names, of columns beside those whose
        dtype says so (strings, categories, bools).
    handle_unknown : {"error", "missing"}, default="error"
        What a category is that no row of the fit had: an error, or a cell that was not seen, which
        needs `missing_values="observed"`; it may be set after the fit too. Folds of a
        cross-validation in which rare categories are missing need the second.
    device : str or torch.device, default="auto"
        "auto" is CUDA, else MPS, else the CPU.
    warm_start : bool, default=False
        Whether `fit` goes on from the last fit's weights instead of a new start. The test of what
        is accepted is then against those weights, so that gains too small to be told from noise
        in one fit do not add up over many short ones.
    callbacks : list of skorch callbacks or None, default=None
        Cloned before use. Ours are named "best_epoch", "kl_warmup" and "lr_schedule".
    net_params : dict or None, default=None
        Further parameters of the skorch net, such as {"optimizer": torch.optim.NAdam}. With
        `train_split=None` nothing is held out, as with `early_stopping=False`.
    random_state : int, RandomState instance or None, default=None
        One seed gives the same bits on the same machine, device and thread count. None differs
        between fits, and leaves numpy's global state alone.
    verbose : int, default=0
        1 prints a line an epoch, which epoch is kept and what it gains, and a progress bar where
        work takes more than two seconds.
    **skorch_params
        Parameters of the skorch net by its double-underscore names, which can be searched:
        `optimizer__weight_decay`, `iterator_train__...` (options of `skvae.batches.Batches`, or
        of an `iterator_train` in `net_params`), `callbacks__...`. They win over `net_params`,
        which win over our defaults.

    Attributes
    ----------
    net_ : VAENet
        The skorch net; `net_.module_` is the VAE.
    likelihood_ : str, callable, list or dict
        The law that was fitted: `likelihood`, or what "auto" picked.
    best_epoch_ : int
        The epoch whose weights the model has; 0 is the start: PCA with `init="pca"`, or the
        earlier fit at a warm start.
    history_ : skorch.history.History
        An entry an epoch of the last fit: losses in nats per row.
    n_components_ : int
    components_ : ndarray of shape (n_components, n_features)
        Unit directions in which the components move a reconstruction, at the latent origin: the
        Jacobian of `inverse_transform`, scaled to unit rows. By decreasing explained variance.
        These, the variances and `mean_` are those of the features that PCA starts from: the columns
        of X, but log x for "lognormal", log(1 + x) for counts (of a row brought to the median
        total where the law is given the total), columns less their medians in units of their
        quantiles, bent beyond three of these, for "student_t" and "laplace", and for "categorical"
        one-hot columns, one for each code of each column. With laws for each column these are the
        features of the laws, one law's behind the other's, standardized. Then, and with codes, they
        are not as many as the columns of X: `get_component_feature_names` says what each is.
    explained_variance_, explained_variance_ratio_, singular_values_ : ndarray of shape \
            (n_components,)
        Variance of the data that each component explains: PCA's where the model is linear, and
        in all the variance of the rows less that of their reconstructions' errors. The ratios sum
        to at most 1. With missing cells the linear model's are those of its own covariance, EM's
        estimate, the ratios to its trace; after training the rows are taken as reconstructions
        fill them.
    mean_ : ndarray of shape (n_features,)
        Of the features.
    noise_variance_ : float or ndarray of shape (n_features,)
        Variance of x given z, in squared units of X, averaged over rows; one number where the
        likelihood shares it. Of a "categorical" column that of its one-hot columns in all.
    n_features_in_, n_samples_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Where X had string column names.
    condition_names_ : ndarray of shape (n_conditions,)
        Where the condition had string column names, or as a Series a name.
    coordinates_ : Coordinates
        The map between posterior means and the columns of `transform`.

    See Also
    --------
    sklearn.decomposition.PCA : What this is at `max_epochs=0`.
    sklearn.decomposition.FactorAnalysis : The same with `likelihood="diagonal_gaussian"`.

    References
    ----------
    D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014.
    J. Lucas, G. Tucker, R. Grosse, M. Norouzi, "Don't Blame the ELBO! A Linear VAE Perspective on
    Posterior Collapse", NeurIPS 2019.
    Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from skvae import VAETransformer
    >>> X = load_digits().data
    >>> vae = VAETransformer(8, max_epochs=5, random_state=0).fit(X)
    >>> vae.transform(X).shape
    (1797, 8)
    >>> vae.score(X) > PCA(8).fit(X).score(X)
    True
    """

    _parameter_constraints: ClassVar = {
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
            StrOptions({"auto", "mle"}),
            None,
        ],
        "likelihood": [StrOptions({"auto", *LIKELIHOODS}), callable, dict, list],
        "prior": [StrOptions(set(PRIORS)), callable],
        "network": [StrOptions(set(NETWORKS)), callable],
        "hidden_layer_sizes": [
            StrOptions({"auto"}),
            "array-like",
            Interval(Integral, 1, None, closed="left"),
        ],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "init": [StrOptions({"pca", "random"})],
        "whiten": ["boolean"],
        "beta": [Interval(Real, 0, None, closed="left")],
        "free_bits": [Interval(Real, 0, None, closed="left")],
        "n_importance_samples_train": [Interval(Integral, 1, None, closed="left")],
        "kl_warmup": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "max_epochs": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "n_importance_samples": [Interval(Integral, 1, None, closed="left")],
        "batch_transform": [callable, None],
        "missing_values": [StrOptions({"error", "observed"})],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "handle_unknown": [StrOptions({"error", "missing"})],
        "device": [str, torch.device],
        "warm_start": ["boolean"],
        "callbacks": [list, tuple, None],
        "net_params": [dict, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components=2,
        *,
        likelihood="gaussian",
        prior="normal",
        network="mlp",
        hidden_layer_sizes="auto",
        activation="silu",
        init="pca",
        whiten=False,
        beta=1.0,
        free_bits=0.0,
        n_importance_samples_train=1,
        kl_warmup="auto",
        lr=2e-3,
        max_epochs="auto",
        batch_size="auto",
        early_stopping=True,
        validation_fraction="auto",
        n_iter_no_change=20,
        n_importance_samples=100,
        batch_transform=None,
        missing_values="error",
        categorical_features="from_dtype",
        handle_unknown="error",
        device="auto",
        warm_start=False,
        callbacks=None,
        net_params=None,
        random_state=None,
        verbose=0,
        **skorch_params,
    ):
        self.n_components = n_components
        self.likelihood = likelihood
        self.prior = prior
        self.network = network
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.init = init
        self.whiten = whiten
        self.beta = beta
        self.free_bits = free_bits
        self.n_importance_samples_train = n_importance_samples_train
        self.kl_warmup = kl_warmup
        self.lr = lr
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.n_importance_samples = n_importance_samples
        self.batch_transform = batch_transform
        self.missing_values = missing_values
        self.categorical_features = categorical_features
        self.handle_unknown = handle_unknown
        self.device = device
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.net_params = net_params
        self.random_state = random_state
        self.verbose = verbose
        for name in skorch_params:
            if "__" not in name and name != "skorch_params":
                raise TypeError(_unexpected(name, self._get_param_names()))
        # Set only where given: scikit-learn wants no attributes beside the parameters.
        if skorch_params:
            self._skorch_params = skorch_params

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None, condition=None):
        """Fit the model to X: to p(x), or with a condition to p(x | condition).

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            Training rows; with `likelihood="auto"` or laws by column a pandas or polars DataFrame
            of numbers, categories, bools and dates, for this and all methods. Of sparse rows a
            batch, or a chunk of 32 MiB, is made dense at a time; the start and the units look at
            random rows of at most 256 MiB.
        y : None
            Ignored, present for scikit-learn's convention.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How often each row counts: rows of weight 2 stand for two, in the start, the loss and
            all that is measured (but the split, the batches and the weight decay go by rows).
        condition : array-like, Series or DataFrame of shape (n_samples,) or \
                (n_samples, n_conditions) or None, default=None
            What is known of each row beside X, numbers (ints too), dates and categories (strings,
            bools, categorical dtypes): encoder and decoder are given it, so that the latents need
            not say it. The start is a regression of X on it, and PCA of what that leaves. All
            methods that see rows then need it.

        Returns
        -------
        self : VAETransformer
            The fitted estimator. If fitting fails or is interrupted, it is as it was before.

        Raises
        ------
        ValueError
            If X holds values that are not finite numbers or that the likelihood does not allow; if
            `n_components` exceeds min(n_samples, n_features) with `init="pca"`; if parameters
            contradict each other, or, at a warm start, the earlier fit.
        FloatingPointError
            If training from random weights diverges before its first epoch ends.
        KeyboardInterrupt
            If the user interrupts training.
        """
        with kept_on_failure(self):
            warm = self.warm_start and hasattr(self, "net_")
            X = self._rows(X, reset=not warm)
            X, weight, C = self._counted(X, sample_weight, condition, reset=not warm)
            seed = draw_seed(self.random_state)
            with scoped_seed(seed), torch.inference_mode(False), torch.enable_grad():
                net, start = trained_net(
                    self,
                    X,
                    seed,
                    name_column=column_namer(self),
                    earlier=self.net_ if warm else None,
                    weight=weight,
                    table=self._table,
                    condition=C,
                )
                kept = self.coordinates_ if warm else None
                columns, some = Moments(), _row_sample(_MEASURED_ROWS, X.shape[1])
                posterior = self._measured(net, X, seed, columns, some, weight, C)
                self._set_history(net)
                self._set_fitted(net, seed, columns, posterior, some, start, kept)
                self._stream = None
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None, condition=None):
        """Train on the next rows of a stream: one pass over them, then they may be forgotten.

        The first call fits the linear start to its rows, so these should be typical and many more
        than the components; after a `fit`, training goes on from there. Learning rate and `beta`
        are constant and the optimizer keeps its memory. No rows are held out: nothing is selected
        or taken back, and the promise never to be worse than PCA is off. `max_epochs`,
        `early_stopping`, `kl_warmup` and `warm_start` play no part.

        The fitted attributes and the units of `transform` are measured anew, on all rows so far
        (mean and variances) and on a random part of them that is kept for this; the order and the
        signs of the columns stay. After a `fit`, whose rows are not kept, they stay as they are
        until there are 500 new rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : None
            Ignored, present for scikit-learn's convention.
        sample_weight : array-like of shape (n_samples,) or None, default=None
        condition : array-like, Series or DataFrame or None, default=None
            Both as in `fit`. Categories and units of a condition are those of the first call.

        Returns
        -------
        self : VAETransformer
            If the call fails or is interrupted, it is as it was before.

        Raises
        ------
        ValueError
            As by `fit`; at a later call also if the parameters that decide the model's weights
            have changed.
        """
        with kept_on_failure(self):
            fitted = self.__sklearn_is_fitted__()
            X = self._rows(X, reset=not fitted)
            X, weight, C = self._counted(X, sample_weight, condition, reset=not fitted)
            stream = deepcopy(self._stream) if fitted else None
            if stream is None:
                columns = deepcopy(self._columns) if fitted else Moments()
                stream = columns, _row_sample(_STREAM_ROWS, X.shape[1])
            columns, some = stream
            seed = draw_seed(self.random_state)
            # Another order in each call, and one seed for the score.
            fit_seed = draw_seed(np.random.RandomState([seed, int(columns.count) % 2**32]))
            with scoped_seed(fit_seed), torch.inference_mode(False), torch.enable_grad():
                net = streamed_net(
                    self,
                    X,
                    fit_seed,
                    name_column=column_namer(self),
                    earlier=self.net_ if fitted else None,
                    n_earlier=columns.count,
                    weight=weight,
                    table=self._table,
                    condition=C,
                )
                self._measured(net, X, fit_seed, columns, some, weight, C)
                self._stream = columns, some
                # Rows that training diverged on leave the earlier weights.
                self._set_history(net, kept=self.best_epoch_ if fitted else 0)
                if len(some.rows) < min(columns.count, _LEAST_STREAM_ROWS):
                    # After a `fit`, whose rows are not kept: too few to measure anything on.
                    finish(net, None, fit_seed)
                    self.n_samples_ = columns.rows
                    return self
                kept_rows, of_kept = self._kept_rows(some)
                rows = Rows(
                    kept_rows,
                    device=net.device,
                    incomplete=has_missing(kept_rows),
                    condition=of_kept,
                )
                finish(net, rows, fit_seed)
                posterior = PosteriorMoments()
                posterior.add(*self._posterior(kept_rows, of_kept))
                kept = self.coordinates_ if fitted else None
                self._set_fitted(
                    net,
                    self._seed if fitted else seed,
                    columns,
                    posterior,
                    some,
                    None,
                    kept,
                    STREAM_JACOBIAN_ROWS,
                )
        return self

    def _measured(self, net, X, seed, columns, some, weight, C):
        """Take the rows X in, a chunk at a time: into the moments of the columns, into the kept
        part of the rows, and into the moments of the posterior, which are returned."""
        self.net_ = net
        posterior = PosteriorMoments()
        with scoped_seed(seed):
            for part, chunk in rows_of(self, X).numbered_chunks():
                of_chunk = None if weight is None else weight[part]
                c = None if C is None else C[part]
                features = net.module_.likelihood.start_rows(self._completed(chunk, c))
                columns.add(features - features_of_condition(net, c), of_chunk)
                posterior.add(*self._posterior(chunk, c), of_chunk)
                kept = chunk if c is None else np.hstack([chunk, c])
                some.add(kept if weight is None else kept[repeated(of_chunk, _MEASURED_REPEATS)])
        return posterior

    def _kept_rows(self, some):
        """The rows of X that a `RowSample` kept, and what they are conditioned on, or None."""
        if self._conditions is None:
            return some.rows, None
        return some.rows[:, : self.n_features_in_], some.rows[:, self.n_features_in_ :]

    def _set_history(self, net, kept=0):
        """The history, and the epoch whose weights the net has; `kept` where none was accepted."""
        self.history_ = net.history
        best = dict(net.callbacks_)["best_epoch"]
        self.best_epoch_ = best.best_epoch_ if getattr(best, "accepted_", False) else kept

    def _set_fitted(
        self,
        net,
        seed,
        columns,
        posterior,
        some,
        start,
        keep,
        jacobian_rows=JACOBIAN_ROWS,
    ):
        """The fitted attributes, from what was measured on the rows."""
        self.n_samples_ = columns.rows
        self.n_components_ = net.module_.n_components
        self.likelihood_ = net.parts_["likelihood_"]
        self._seed = seed
        self._columns = columns
        rows, C = self._kept_rows(some)
        mean = self._posterior(rows, C)[0]
        self.coordinates_ = measure_coordinates(
            net,
            columns,
            posterior,
            net.module_.likelihood.start_rows(self._completed(rows, C)),
            mean,
            condition=C,
            start=start if net.module_.likelihood.exact_start else None,
            oriented=self.init == "pca" and net.module_.likelihood.linear_model == "pca",
            whiten=self.whiten,
            keep=keep,
            jacobian_rows=jacobian_rows,
        )
        n_inactive = int(self.coordinates_.inactive.sum())
        if n_inactive:
            n_active = self.n_components_ - n_inactive
            cure = collapse_cure(self, net.module_.likelihood, n_active)
            warnings.warn(
                f"{n_inactive} of {self.n_components_} latent components carry less than 0.01 nats "
                f"per row and are left as they are; {cure}.",
                # The closed form leaves off what the rows do not vary along: nothing collapsed.
                PosteriorCollapseWarning if start is None else ConvergenceWarning,
                stacklevel=4,
            )
        at_mean = None if C is None else np.zeros((1, C.shape[1]))
        self.mean_ = columns.mean + np.ravel(features_of_condition(net, at_mean))
        self.components_ = self.coordinates_.components
        self.explained_variance_ = self.coordinates_.explained_variance
        self.singular_values_ = np.sqrt(self.explained_variance_ * (columns.count - 1))
        total = self.coordinates_.total_variance
        self.explained_variance_ratio_ = self.explained_variance_ / (total or 1.0)
        self.noise_variance_ = self._noise_variance(mean, C)

    def _noise_variance(self, mean, C):
        """Variance of x given z in squared units of X: one number if shared, else one a column."""
        likelihood = self.net_.module_.likelihood
        few = some_rows(len(mean), _NOISE_ROWS)
        C = None if C is None else C[few]
        variance = self._apply(_observation_variance, mean[few], condition=C)
        columns = variance.mean(axis=0) * likelihood.scale**2
        return float(columns.mean()) if likelihood.shared_noise else columns

    # ------------------------------------------------------------ numpy in and out

    def _apply(self, function, *arrays, condition=None, **options):
        """`net_.apply` of a function whose last argument is the condition, if there is one."""
        arrays = arrays if condition is None else (*arrays, condition)
        return self.net_.apply(function, *arrays, **options)

    def _units(self, X, *others):
        """X in working units, a float64 tensor, with the others, if any, as they are beside it."""
        likelihood = self.net_.module_.likelihood
        x = working_units(X, likelihood.centre, likelihood.scale)
        return (x, *others) if others else x

    def _completed(self, X, C):
        """Rows X (float64) with missing cells as reconstructions have them."""
        if not has_missing(X):
            return X
        holed, filled = np.isnan(X).any(axis=1), X.copy()
        rows = self._apply(
            "completed",
            X[holed],
            condition=None if C is None else C[holed],
            prepare=self._units,
            dtype=_torch_dtype(X),
        )
        rows = self.net_.module_.likelihood.in_units_of_rows(rows)
        filled[holed] = np.where(np.isnan(X[holed]), rows, X[holed])
        return filled

    def _posterior(self, X, C=None):
        """Mean and variance of q(z|x) for each row, each (n_samples, n_components)."""
        dtype = _torch_dtype(X)
        return self._apply("encode", X, condition=C, prepare=self._units, dtype=dtype)

    def _conditions_of(self, condition, n_samples, *, one_for_all=True, counted=None):
        """The condition of rows as columns for the model; None for a model without one."""
        if self._conditions is None:
            if condition is None:
                return None
            raise ValueError(
                "condition is given, but the model was fitted without. (It is the second argument "
                "of methods that see rows; y, which they do not take, is left out. With "
                "warm_start=True, or by partial_fit, training goes on from that model.)"
            )
        if condition is None:
            raise ValueError(
                "condition is missing: the model was fitted with one, and is p(x | condition). "
                "Pass it to this method too. A Pipeline or a search passes it on where it is asked "
                "for: sklearn.set_config(enable_metadata_routing=True), then "
                "set_transform_request(condition=True), set_score_request(condition=True), ..."
            )
        return self._conditions.encode(
            condition, n_samples, one_for_all=one_for_all, counted=counted
        )

    def _counted(self, X, sample_weight, condition, reset):
        """The rows of a fit that count, their weights, None where all count once, and their
        condition as columns, None without; of a fit that starts anew what these are is learnt."""
        weight = None
        if sample_weight is not None:
            weight = _checked_weight(sample_weight, X, starts=reset)
        if reset:
            self._conditions = None
            if condition is not None:
                self._conditions = Conditions(condition, len(X), weight)
            vars(self).pop("condition_names_", None)
            if self._conditions is not None and self._conditions.names is not None:
                self.condition_names_ = self._conditions.names
        kept = None if weight is None else weight > 0
        C = self._conditions_of(condition, len(X), one_for_all=False, counted=kept)
        if kept is None or kept.all():
            return X, weight, C
        X = X[kept] if isinstance(X, np.ndarray) else X.kept(kept)
        return X, _unless_ones(weight[kept]), None if C is None else C[kept]

    def _checked(self, X):
        check_is_fitted(self)
        # The parameter may have been set after the fit, and waits for the next.
        missing = self.net_.parts_["missing_values"]
        return self._numbers(X, reset=False, allow_missing=missing == "observed")

    def _rows(self, X, reset):
        """X of a fit as numbers; of a fit that starts anew what its columns are is learnt."""
        allow_missing = self.missing_values == "observed"
        if self.handle_unknown == "missing" and not allow_missing:
            raise ValueError(
                "handle_unknown='missing' takes unknown categories as cells that were not seen, "
                f"which needs missing_values='observed'; it is {self.missing_values!r}."
            )
        if reset:
            self._table = self._new_table(X)
            self._features_given = deepcopy(self.categorical_features)
        elif not _alike(self.categorical_features, self._features_given):
            raise ValueError(
                f"categorical_features={self.categorical_features!r} differs from the "
                f"{self._features_given!r} of the model that training would go on from; keep it, "
                "or start anew."
            )
        return self._numbers(X, reset=reset, allow_missing=allow_missing)

    def _new_table(self, X):
        """What the columns of X are, where they have laws of their own by what they are."""
        by_column = isinstance(self.likelihood, list | dict) or self.likelihood == "auto"
        from_dtype = self.categorical_features is None or isinstance(self.categorical_features, str)
        if not (by_column or from_dtype):
            raise ValueError(
                f"categorical_features need likelihood='auto' or laws by column; likelihood is "
                f"{self.likelihood!r}, one law for all columns."
            )
        if by_column and (is_frame(X) or not from_dtype):
            return Table(X, self.categorical_features)
        return None

    def _numbers(self, X, reset, allow_missing):
        return checked_rows(
            self,
            X,
            reset=reset,
            allow_missing=allow_missing,
            table=self._table,
            handle_unknown=self.handle_unknown,
        )

    def _as_given(self, rows):
        """Rows in the form of those of the fit: a DataFrame where its columns had laws of their
        own, else an array."""
        return rows if self._table is None else self._table.decode(rows)

    def _encodable(self, X):
        """X checked, against the support of the likelihood too; where a `batch_transform` leads
        there, rows need not be in it themselves to have latents."""
        X, likelihood = self._checked(X), self.net_.module_.likelihood
        if self.batch_transform is None and not likelihood.any_number:
            check_support(likelihood, Rows(X), column_namer(self))
        return X

    def fit_transform(self, X, y=None, sample_weight=None, condition=None):
        """`fit`, then `transform` of the same rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,) or None, default=None
        condition : array-like, Series or DataFrame or None, default=None
            Both as in `fit`.

        Returns
        -------
        T : ndarray of shape (n_samples, n_components)
        """
        return self.fit(X, y, sample_weight, condition).transform(X, condition)

    def transform(self, X, condition=None, *, return_std=False):
        """The posterior mean of each row in PCA's units: deterministic, never a draw.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        condition : array-like, Series or DataFrame or None, default=None
            Of each row, or one for all, as in `fit`; needed where `fit` had one. A row's columns
            then say what the condition does not.
        return_std : bool, default=False
            Whether to return the standard deviations of q(z|x) too: how far a row's latents are
            from known.

        Returns
        -------
        T : ndarray of shape (n_samples, n_components)
            By decreasing explained variance. With `whiten=False` a column has the standard
            deviation of what it explains, in the units of the features (see `components_`); with
            `whiten=True` unit variance on the training rows (of a linear model by EM: on rows
            without missing cells, of which incomplete ones are nearer to zero). float32 for float32
            rows, else float64.
        T_std : ndarray of shape (n_samples, n_components)
            In the units of T, with `return_std`: of the draws of `sample_posterior`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X does not match what the estimator was fitted on, or holds values that the
            likelihood does not allow (with a `batch_transform` they may be), or categories that
            the fit did not see (see `handle_unknown`).
        TypeError
            If a column of a table holds values of another kind than in the fit.
        """
        _check_bool("return_std", return_std)
        X = self._encodable(X)
        C = self._conditions_of(condition, len(X))
        if not return_std:
            # What is not asked for takes no memory beside T.
            T = self.coordinates_.to_public(self._posterior(X, C)[0])
            return T.astype(float_dtype(X), copy=False)
        posterior = self._posterior(X, C)
        T = self.coordinates_.to_public(posterior[0])
        T_std = self.coordinates_.deviations(posterior[1])
        return tuple(part.astype(float_dtype(X), copy=False) for part in (T, T_std))

    def inverse_transform(self, X, condition=None):
        """The mean of p(x|z), in the units of the data, at the latents that the columns stand for.

        With `likelihood="categorical"` it is the most probable code of each column; where the law
        is given the row's total, the mean of a row of the median total of the training rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            As `transform` returns it. A draw of N(0, I) here is not a sample of the model: see
            `sample`.
        condition : array-like, Series or DataFrame or None, default=None
            Of each row, or one for all, where `fit` had one: another than the row's own gives what
            it would be under that one.

        Returns
        -------
        X_mean : ndarray or DataFrame of shape (n_samples, n_features)
            A DataFrame, as that of the fit, where columns have laws of their own: with their most
            probable categories, and numbers rounded where the column holds integers.
        """
        check_is_fitted(self)
        T = check_array(X, dtype=FLOATS)
        if T.shape[1] != self.n_components_:
            raise ValueError(
                f"X has {T.shape[1]} columns, but inverse_transform expects the "
                f"{self.n_components_} that transform returns."
            )
        C = self._conditions_of(condition, len(T))
        mean = self._decoded(self.coordinates_.to_latent(T.astype(np.float64)), T, C)
        if self._table is None:
            return mean.astype(T.dtype, copy=False)
        rows = self._table.decode(mean)
        if hasattr(X, "iloc") and hasattr(rows, "iloc"):
            rows.index = X.index
        return rows

    def _decoded(self, z, like, C):
        """The mean of p(x|z) in the units of X, for latents in the precision of `like`."""
        likelihood = self.net_.module_.likelihood
        mean = self._apply("decode", z, condition=C, dtype=_torch_dtype(like))
        return likelihood.in_units_of_rows(mean)

    def sample(self, n_samples=1, random_state=None, *, noise=True, given=None, condition=None):
        """Rows drawn from the model: z from p(z), then x from p(x|z).

        Where the law is given the row's total ("multinomial", "zero_inflated_negative_binomial",
        `library_size=True`), which the model does not explain, the total is drawn from those of the
        training rows, whatever z. A multinomial row has it exactly; of the others it is the
        exposure, and the sum of the row varies around it.

        Parameters
        ----------
        n_samples : int, default=1
            At 1 it is one row for each row of `condition`.
        random_state : int, RandomState instance or None, default=None
            None takes the estimator's own `random_state`; where that is None too, each call draws
            anew.
        noise : bool, default=True
            False gives the mean of p(x|z) instead of a draw from it: smooth images, but no rows of
            the model. Where the law is given the row's total, that is at the median of the totals.
        given : dict or None, default=None
            Cells that all rows have, by the name or the position of their column: z is then drawn
            from p(z | given), by sampling importance resampling. Needs a fit with
            `missing_values="observed"`. (For rows that are given different cells there is
            `impute(X, draw=True)`.)
        condition : array-like, Series, DataFrame or dict or None, default=None
            Of each row, or one for all, where `fit` had one: rows are drawn from
            p(x | condition). A dict has the cells of one by their names.

        Returns
        -------
        X : ndarray or DataFrame of shape (n_samples, n_features)
            A DataFrame, as that of the fit, where columns have laws of their own.

        Raises
        ------
        ValueError, TypeError
            If `given` names columns or holds values that the model does not know; if `condition`
            has another number of rows than one and an `n_samples` above 1.
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples)
        _check_bool("noise", noise)
        n_samples = self._n_samples_under(condition, n_samples)
        likelihood = self.net_.module_.likelihood
        C = self._conditions_of(condition, n_samples)
        row = self._row_given(given) if given else None
        with scoped_seed(self._draw_seed(random_state)):
            if row is None:
                empty = np.empty((n_samples, 0))
                draws = self._apply(partial(_sample, noise=noise), empty, condition=C)
            else:
                name = column_namer(self)
                draws = drawn_given(self.net_, row, n_samples, name, noise=noise, condition=C)
        rows = likelihood.in_units_of_rows(draws)
        # To the bit.
        return self._as_given(rows if row is None else np.where(np.isnan(row), rows, row))

    def _n_samples_under(self, condition, n_samples):
        """How many rows to draw under a condition where `n_samples` are asked for."""
        if self._conditions is None or condition is None:
            return n_samples
        n_given = self._conditions.n_rows(condition)
        if n_samples == 1:
            return max(n_given, 1)
        if n_given not in (1, n_samples):
            raise ValueError(
                f"n_samples={n_samples}, but condition has {n_given} row(s): give one for all, one "
                "for each, or leave n_samples out."
            )
        return n_samples

    def _row_given(self, given):
        """One row (1, n_features), float64, of given cells and missing ones."""
        if not isinstance(given, dict):
            raise ValueError(
                "given must be a dict from columns to the values that all rows have there, got "
                f"{given!r}."
            )
        if self.net_.parts_["missing_values"] != "observed":
            raise ValueError(
                "sample(given=...) takes the other cells as missing, which needs "
                "missing_values='observed' in fit."
            )
        names = getattr(self, "feature_names_in_", None)
        if self._table is not None:
            # Whatever scikit-learn makes of the labels.
            names = self._table.names
        return row_given(given, self.n_features_in_, names, self._table, column_namer(self))

    def _draw_seed(self, random_state):
        return draw_seed(self.random_state if random_state is None else random_state)

    def sample_posterior(self, X, n_draws=1, random_state=None, *, decode=False, condition=None):
        """Latent vectors drawn from q(z|x) of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        n_draws : int, default=1
        random_state : int, RandomState instance or None, default=None
            As in `sample`.
        decode : bool, default=False
            Whether to return the mean of p(x|z) at each draw, in the units of X, instead of the
            draw. (`inverse_transform` is for the columns of `transform`: it undoes the shrinkage of
            a posterior mean, which a draw does not have.)
        condition : array-like, Series or DataFrame or None, default=None
            As in `transform`.

        Returns
        -------
        draws : ndarray of shape (n_samples, n_draws, n_components)
            In the units of `transform(X)`, which is their mean; or, with `decode`, of shape
            (n_samples, n_draws, n_features), and of a table a DataFrame of (n_samples * n_draws,
            n_features), a row's draws one below the other.
        """
        X = self._encodable(X)
        check_count("n_draws", n_draws)
        _check_bool("decode", decode)
        random = np.random.RandomState(self._draw_seed(random_state))
        noise = random.normal(size=(len(X), n_draws, self.n_components_))
        C = self._conditions_of(condition, len(X))
        z = self._apply(
            "latents", X, noise, condition=C, prepare=self._units, dtype=_torch_dtype(X)
        )
        flat = z.astype(np.float64).reshape(-1, self.n_components_)
        if not decode:
            rows = self.coordinates_.to_public(flat)
        else:
            rows = self._decoded(flat, X, None if C is None else np.repeat(C, n_draws, axis=0))
        if decode and self._table is not None:
            return self._table.decode(rows)
        return rows.reshape(len(X), n_draws, -1).astype(float_dtype(X), copy=False)

    def interpolate(self, X, X_end, n_steps=10, *, condition=None):
        """Rows between given rows: along the straight line between their columns of `transform`.

        Parameters
        ----------
        X, X_end : {array-like, sparse matrix} of shape (n_samples, n_features)
            Row i of the result goes from row i of X to row i of X_end.
        n_steps : int, default=10
            Steps, both ends included, which are the reconstructions of the two rows.
        condition : array-like, Series or DataFrame or None, default=None
            Of both rows and all between, where `fit` had one.

        Returns
        -------
        rows : ndarray of shape (n_samples, n_steps, n_features)
            Of a table a DataFrame of (n_samples * n_steps, n_features), a row's steps one below the
            other.
        """
        T, T_end = (self.transform(rows, condition) for rows in (X, X_end))
        T, T_end = (np.asarray(rows) for rows in (T, T_end))
        if len(T) != len(T_end):
            raise ValueError(
                f"X has {len(T)} rows and X_end has {len(T_end)}; interpolate needs as many, each "
                "row of X the beginning and that of X_end the end."
            )
        check_count("n_steps", n_steps)
        part = np.linspace(0, 1, n_steps, dtype=T.dtype)[:, None]
        between = (1 - part) * T[:, None] + part * T_end[:, None]
        latents = self.coordinates_.to_latent(between.reshape(-1, T.shape[1]).astype(np.float64))
        C = self._conditions_of(condition, len(T))
        rows = self._decoded(latents, T, None if C is None else np.repeat(C, n_steps, axis=0))
        if self._table is not None:
            return self._table.decode(rows)
        return rows.reshape(len(T), n_steps, -1).astype(T.dtype, copy=False)

    def impute(self, X, *, n_draws=1000, draw=False, random_state=None, condition=None):
        """X with its missing cells filled by what the model says of them given the others.

        Needs `missing_values="observed"`. `VAEImputer` is this as scikit-learn's imputers are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN, None or `pandas.NA`.
        n_draws : int, default=1000
            Weighted draws of q(z|x) that a row is filled by; time grows with them.
        draw : bool, default=False
            False fills by E[x_missing | x_observed], self-normalized importance sampling (for
            "categorical" by the most probable code); True by a draw from that law: what is wanted
            where a mean is no value of the column, as of one that is mostly exactly 0.
        random_state : int, RandomState instance or None, default=None
            As in `sample`, for `draw=True`; the mean is the same in each call.
        condition : array-like, Series or DataFrame or None, default=None
            As in `transform`.

        Returns
        -------
        X_filled : ndarray or DataFrame of shape (n_samples, n_features)
            float32 for float32 rows, else float64; observed cells as they came. A DataFrame, with
            the dtypes and the index of X, where columns have laws of their own and X is one: a
            column of whole numbers is filled by whole numbers if its dtype is "Int64", and by
            means with fractions if NaN has made it float64.

        References
        ----------
        P.-A. Mattei, J. Frellsen, "MIWAE", ICML 2019, section 4.
        """
        given, X = X, self._encodable(X)
        check_count("n_draws", n_draws)
        _check_bool("draw", draw)
        if not isinstance(X, np.ndarray):
            X = X[:]
        filled = np.array(X, dtype=float_dtype(X))
        incomplete = np.isnan(filled).any(axis=1)
        C = self._conditions_of(condition, len(X))
        if incomplete.any():
            with scoped_seed(self._draw_seed(random_state)):
                filled[incomplete] = imputed(
                    self.net_,
                    filled[incomplete],
                    self._seed,
                    n_draws,
                    _torch_dtype(X),
                    draw,
                    None if C is None else C[incomplete],
                )
        return filled if self._table is None else self._table.filled(given, filled)

    def score_samples(self, X, condition=None):
        """log p(x) of each row in nats, by importance weighting from the posterior.

        log p(x) = log E_q(z|x)[p(x|z) p(z) / q(z|x)], with `n_importance_samples` draws a row: a
        lower bound on average, which rises to log p(x) with the number of draws. All constants are
        included, so that it can be compared with PCA, FactorAnalysis and GaussianMixture. The
        draws depend on the row's own values and on a seed fixed in `fit` alone: scores repeat, in
        any order and batch.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        condition : array-like, Series or DataFrame or None, default=None
            As in `transform`; the score is then log p(x | condition).

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            In nats: of a density in the units of X, or of a probability where the likelihood's
            `measure` is "mass". Only like may be compared with like: "multinomial", whose scores
            are log p(x | total), with nothing else, and laws that take the row's total as their
            exposure ("zero_inflated_negative_binomial", `library_size=True`), which pay for the
            total that they expect, with one another. Laws by column add both kinds up, and rows
            with missing cells pay for fewer cells: scores of two rows can be compared only where
            the same cells are observed.

        References
        ----------
        Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016,
        equation 8.
        """
        X = self._scorable(X)
        return self._importance_scores(X, self._seed, self._conditions_of(condition, len(X)))[0]

    def _scorable(self, X):
        """X checked, against the support of the likelihood too, and the number of draws."""
        X = self._checked(X)
        check_support(self.net_.module_.likelihood, Rows(X), column_namer(self))
        # The number may have been set after the fit.
        name = "n_importance_samples"
        validate_parameter_constraints(
            {name: self._parameter_constraints[name]},
            {name: self.n_importance_samples},
            caller_name=type(self).__name__,
        )
        return X

    def _importance_scores(self, X, seed, C):
        draws = self.n_importance_samples
        return importance_scores(self.net_, X, seed, draws, _torch_dtype(X), C)

    def score_columns(self, X, *, n_draws=1000, condition=None):
        """log p(x_j | the other cells of the row) of each cell in nats: how strange it is there.

        Needs `missing_values="observed"` in the fit. Each cell is left out in turn, and judged by
        what the others say: p(x) / p(x without x_j), by weighted draws of q(z | the others) for
        each j and of q(z|x) that all cells of a row share.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        n_draws : int, default=1000
            How many for a row, and at least five for four columns. Time grows with them, as in
            `score_samples`. At 1,000 usual cells are right to some hundredths of a nat, those
            hundreds of nats off to some per cent.
        condition : array-like, Series or DataFrame or None, default=None
            As in `score_samples`.

        Returns
        -------
        log_prob : ndarray of shape (n_samples, n_features)
            In nats, of densities in the units of X or of probabilities; 0 of missing cells. Columns
            differ by their units and by how well they are known from the others: compare a cell
            with its column in other rows.

        Raises
        ------
        ValueError
            If the model was not fitted with `missing_values="observed"`, or if `n_draws` is
            no whole number of at least 1.

        References
        ----------
        J. Besag, "Statistical Analysis of Non-Lattice Data", The Statistician 24, 1975 (the
        conditional laws of single variables); A. Owen, Y. Zhou, "Safe and Effective Importance
        Sampling", JASA 95, 2000 (draws of all of these laws, weighted by their mixture).
        """
        X = self._scorable(X)
        if self.net_.module_.fill is None:
            raise ValueError(
                "score_columns leaves each cell out in turn, which needs a model of incomplete "
                "rows; this one was fitted with missing_values='error'. Fit it with "
                "missing_values='observed': where no cell is missing the fit is the same."
            )
        C = self._conditions_of(condition, len(X))
        check_count("n_draws", n_draws)
        return column_scores(self.net_, X, self._seed, n_draws, C)

    def score_details(self, X, n_repeats=10, *, condition=None):
        """`score_samples(X)`, and how far it can be trusted.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        n_repeats : int, default=10
            How often the score is computed anew, with other draws, for its standard error; at
            least 2.
        condition : array-like, Series or DataFrame or None, default=None
            As in `score_samples`.

        Returns
        -------
        details : Bunch
            Of arrays of shape (n_samples,):

            - `log_prob`, what `score_samples` gives, in nats;
            - `standard_error` of it in nats: the standard deviation over `n_repeats` scores by
              independent draws. Where it is above about 0.5 the score is also too low, by about
              half its square: more draws are needed;
            - `effective_sample_size`, as many draws from the exact posterior as the
              `n_importance_samples` ones of q(z|x) are worth. Near 1 a single draw decides;
            - `elbo` in nats, and `gap`, which is `log_prob - elbo`: an estimate, from below, of
              KL(q(z|x) || p(z|x)), how far q(z|x) is from the exact posterior, in nats;
            - `bits_per_dimension`: minus `log_prob` in bits, for each column (that was observed).

        Raises
        ------
        ValueError
            If `n_repeats` is not an int of at least 2.

        References
        ----------
        A. Kong, J. Liu, W. Wong, "Sequential Imputations and Bayesian Missing Data Problems", JASA
        89, 1994 (effective sample size); Y. Burda, R. Grosse, R. Salakhutdinov, ICLR 2016.
        """
        check_count("n_repeats", n_repeats, least=2)
        X = self._scorable(X)
        C = self._conditions_of(condition, len(X))
        log_prob, size = self._importance_scores(X, self._seed, C)
        seeds = np.random.SeedSequence(self._seed).generate_state(n_repeats)
        repeats = [self._importance_scores(X, int(seed), C)[0] for seed in seeds]
        elbo = self._elbo(X, C).elbo
        return Bunch(
            log_prob=log_prob,
            standard_error=np.std(repeats, axis=0, ddof=1),
            effective_sample_size=size,
            elbo=elbo,
            gap=log_prob - elbo,
            bits_per_dimension=-log_prob / (_n_observed(X) * np.log(2)),
        )

    def elbo(self, X, *, condition=None):
        """The evidence lower bound of each row in nats, and the terms that it is made of.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        condition : array-like, Series or DataFrame or None, default=None
            As in `score_samples`.

        Returns
        -------
        terms : Bunch
            - `elbo`, shape (n_samples,): `reconstruction - kl.sum(axis=1)`, whatever `beta` is, by
              `n_importance_samples` draws of q(z|x), the same in each call;
            - `reconstruction`, shape (n_samples,): the mean of log p(x|z) over q(z|x);
            - `kl`, shape (n_samples, n_components): KL(q(z_i|x) || p(z_i)), in the order of the
              columns of `transform`; with a joint prior ("mixture", "vamp", "flow", "fitted"),
              which has no KL of a single latent, (n_samples, 1), by the draws.

        References
        ----------
        D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014, equation 3.
        """
        X = self._scorable(X)
        return self._elbo(X, self._conditions_of(condition, len(X)))

    def _elbo(self, X, C):
        draws = self.n_importance_samples
        elbo, kl = elbo_terms(self.net_, X, self._seed, draws, _torch_dtype(X), C)
        if kl.shape[1] == self.n_components_:
            kl = kl[:, self.coordinates_.order]
        return Bunch(elbo=elbo, reconstruction=elbo + kl.sum(axis=1), kl=kl)

    def score(self, X, y=None, sample_weight=None, condition=None):
        """The mean of `score_samples(X)`, in nats per row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How often each row counts in the mean.
        condition : array-like, Series or DataFrame or None, default=None
            As in `score_samples`.

        Returns
        -------
        log_prob : float
        """
        log_prob = self.score_samples(X, condition)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, log_prob, dtype=np.float64, ensure_non_negative=True
            )
        return float(np.average(log_prob, weights=sample_weight))

    def component_effects(self, X, *, condition=None):
        """How the components move a reconstruction, on average over rows: `components_` is that at
        the latent origin alone.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        condition : array-like, Series or DataFrame or None, default=None
            As in `transform`.

        Returns
        -------
        effects : ndarray of shape (n_components, n_features)
            Of the features that `components_` has: the mean over the rows of the derivative of
            `inverse_transform` along each component (an average marginal effect), in units of the
            root of its mean squared length. A row has length 1 where its component moves all rows
            in one direction, as PCA's do, and less the more that direction depends on where a row
            is; 0 where effects cancel, or the component has none.
        """
        X = self._encodable(X)
        C = self._conditions_of(condition, len(X))
        return mean_effects(self.net_, self.coordinates_, self._posterior(X, C)[0], C)

    def get_component_feature_names(self):
        """Names of the columns of `components_`, of `component_effects` and of the other arrays of
        features, which are more than the columns of X where one of these holds categories.

        Returns
        -------
        names : ndarray of shape (n_component_features,), of str
            That of the column, or "x0", "x1", ... where X had no names; "column = category" of a
            feature that is 1 where a row has that category. Features of columns with laws of their
            own are in the order of the laws, one law's behind the other's.
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self) if self._table is None else self._table.names
        if names is None:
            names = [f"x{j}" for j in range(self.n_features_in_)]
        levels = None
        if self._table is not None:
            levels = [self._table.category_names(j) for j in range(self.n_features_in_)]
        names = names_of_features(self.net_.module_.likelihood, names, levels)
        return np.array(names, dtype=object)

    def get_covariance(self):
        """Covariance of x under the model, in squared units of X.

        Cov E[x|z] + E Var[x|z], over draws of z whose mean and covariance are, with
        `prior="normal"`, exactly those of p(z): PCA's or FactorAnalysis's own where the model is
        linear. Var[x|z] is taken as diagonal, which leaves something out for "multinomial" alone.
        Of a model with a condition it is the covariance under the mean condition.

        Returns
        -------
        covariance : ndarray of shape (n_features, n_features)

        Raises
        ------
        ValueError
            With `likelihood="categorical"`: codes have no covariance.
        """
        check_is_fitted(self)
        likelihood = self.net_.module_.likelihood
        if not likelihood.has_moments:
            raise ValueError(
                f"likelihood={self.likelihood_!r} is a law of codes, which have no covariance."
            )
        k = self.n_components_
        n_draws = max(_COVARIANCE_DRAWS, 8 * k)
        with scoped_seed(self._seed), torch.no_grad():
            law = self.net_.module_.prior_law()
            z = law.sample((n_draws,)).double().cpu().numpy()
            if self.net_.module_.prior.standard:
                z = z - z.mean(axis=0)
                z = np.linalg.solve(np.linalg.cholesky(z.T @ z / n_draws), z.T).T
            C = None
            if self._conditions is not None:
                C = np.zeros((n_draws, self._conditions.n_columns))
            mean, variance = self._apply(_moments, z, condition=C)
        mean = (mean - mean.mean(axis=0)) * likelihood.scale
        noise = variance.mean(axis=0) * likelihood.scale**2
        return mean.T @ mean / n_draws + np.diag(noise)

    def summary(self):
        """What the fitted net is made of: laws, layers and their parameters, device, epochs.

        Returns
        -------
        summary : Summary
            Printed it is a table; its attributes are `n_features`, `n_conditions`, `n_components`,
            `likelihood`, `prior`, `layers`, `n_parameters`, `device`, `dtype`, `n_epochs`,
            `best_epoch` and `seconds`.
        """
        check_is_fitted(self)
        return Summary.of(self.net_, self.history_, self.best_epoch_)

    def get_precision(self):
        """Inverse of `get_covariance`.

        Returns
        -------
        precision : ndarray of shape (n_features, n_features)
        """
        return np.linalg.inv(self.get_covariance())

    @property
    def _n_features_out(self):
        return self.n_components_

    def __sklearn_is_fitted__(self):
        return hasattr(self, "coordinates_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self.missing_values == "observed"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # --------------------------------------------------- skorch's names as parameters

    def get_params(self, deep=True):
        """Parameters of the estimator, skorch's double-underscore names included.

        Parameters
        ----------
        deep : bool, default=True

        Returns
        -------
        params : dict
        """
        return super().get_params(deep=deep) | getattr(self, "_skorch_params", {})

    def set_params(self, **params):
        """Set parameters, skorch's double-underscore names included.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        self : VAETransformer
        """
        skorch = {name: value for name, value in params.items() if name.startswith(SKORCH_PREFIXES)}
        super().set_params(**{name: params[name] for name in params.keys() - skorch.keys()})
        if skorch:
            self._skorch_params = getattr(self, "_skorch_params", {}) | skorch
        return self


def _unexpected(name, names):
    """What to say of a parameter that there is not."""
    if name in PCA._parameter_constraints:
        hint = " PCA's has no counterpart here: leave it out."
    else:
        hint = "".join(f" Is it {near!r}?" for near in get_close_matches(name, names, 1))
    return f"VAETransformer got an unexpected keyword argument {name!r}.{hint}"


def _row_sample(n_rows, n_columns):
    return RowSample(min(n_rows, max(_NOISE_ROWS, _MEASURED_VALUES // n_columns)))


def _checked_weight(sample_weight, X, starts):
    given = np.asarray(sample_weight)
    words = [] if given.dtype.kind not in "OUS" else [w for w in given.flat if isinstance(w, str)]
    if words:
        # scikit-learn would make numbers of "1" and "2".
        raise ValueError(
            "sample_weight is how often each row counts, a number; it holds the string "
            f"{str(words[0])!r}. What is known of the rows beside X, such as classes, is given by "
            "name: condition=..."
        )
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    n_kept, total = (weight > 0).sum(), weight.sum()
    message = (
        f"sample_weight says how often each row counts; it has {n_kept} entries above zero and "
        f"sums to {total:g}"
    )
    if n_kept == 0:
        raise ValueError(f"{message}: no row is left. Give rows that count a weight above zero.")
    if starts and (n_kept < 2 or total < 2):
        raise ValueError(
            f"{message}: at least two rows are needed. Weights that sum to one are to be "
            "multiplied by the number of rows."
        )
    return _unless_ones(weight)


def _unless_ones(weight):
    """The weights; None where all are one, which says nothing."""
    return None if (weight == 1).all() else weight


def _alike(a, b):
    return np.array_equal(np.asarray(a, dtype=object), np.asarray(b, dtype=object))


def _check_bool(name, value):
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}.")


def _sample(module, rows, condition=None, *, noise):
    return module.sample(len(rows), noise, condition)


def _observation_variance(module, z, condition=None):
    return module.likelihood.variance(module.outputs(z, condition))


def _moments(module, z, condition=None):
    outputs = module.outputs(z, condition)
    mean, variance = module.likelihood.moments(outputs)
    return mean, variance.expand(len(z), -1)


def _n_observed(X):
    """Cells of each row that are not missing; at least one."""
    if isinstance(X, np.ndarray):
        missing = np.isnan(X).sum(axis=1) if has_missing(X) else 0
    else:
        missing = X.n_missing()
    return np.maximum(X.shape[1] - missing, 1)


def _torch_dtype(X):
    return getattr(torch, float_dtype(X).name)
