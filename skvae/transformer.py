"""VAETransformer: check, assemble, numpy in and out."""

import math
import warnings
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, check_is_fitted
from skorch.helper import predefined_split
from torch.utils.data import Subset

from ._input import FLOATS, checked_rows, column_namer
from ._random import draw_seed, row_normals, scoped_seed
from .batches import Rows
from .callbacks import BestEpoch, KLWarmup, WarmupStableDecay
from .coordinates import measure_coordinates
from .likelihoods import LIKELIHOODS
from .linear_start import best_gain, linear_start
from .net import VAENet
from .networks import ACTIVATIONS, NETWORKS
from .objective import importance_bound
from .priors import PRIORS
from .vae import VAE

# Defaults that "auto" and the net use; docs/defaults.md has the measurements behind them.
_STEPS = 4000
_BATCHES = 25
_BATCH_SIZES = 32, 256
_EPOCHS = 15, 200
_WEIGHT_DECAY = 0.05
_AFFINE_RATE = 0.1
_NOISE_RATE = 5.0
_GRADIENT_CLIP = 10_000.0
_RANDOM_KL_WARMUP = 0.1
_LEAST_VALIDATION_ROWS = 5
_VALIDATION_ROWS = 50
_VALIDATION_DRAWS = 2000
_GAIN_ROWS = 2000
_COVARIANCE_DRAWS = 4096

_SKORCH_PREFIXES = (
    "optimizer__",
    "iterator_train__",
    "iterator_valid__",
    "callbacks__",
    "criterion__",
)
# Parts of the net that have parameters of the estimator's own.
_OWNED = ("module", "criterion__beta", "train_split__")


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """DOC"""

    _parameter_constraints = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "likelihood": [StrOptions(set(LIKELIHOODS)), callable],
        "prior": [StrOptions(set(PRIORS)), callable],
        "network": [StrOptions(set(NETWORKS)), callable],
        "hidden_layer_sizes": ["array-like"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "init": [StrOptions({"pca", "random"})],
        "whiten": ["boolean"],
        "beta": [Interval(Real, 0, None, closed="left")],
        "kl_warmup": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "max_epochs": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "n_importance_samples": [Interval(Integral, 1, None, closed="left")],
        "batch_transform": [callable, None],
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
        hidden_layer_sizes=(256, 256),
        activation="silu",
        init="pca",
        whiten=False,
        beta=1.0,
        kl_warmup="auto",
        lr=2e-3,
        max_epochs="auto",
        batch_size="auto",
        early_stopping=True,
        validation_fraction="auto",
        n_iter_no_change=20,
        n_importance_samples=100,
        batch_transform=None,
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
        self.kl_warmup = kl_warmup
        self.lr = lr
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.n_importance_samples = n_importance_samples
        self.batch_transform = batch_transform
        self.device = device
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.net_params = net_params
        self.random_state = random_state
        self.verbose = verbose
        # Set only where given: scikit-learn wants no attributes beside the parameters.
        if skorch_params:
            self._skorch_params = skorch_params

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Fit the model to X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : None
            Ignored, present for scikit-learn's convention.

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
        with self._kept_on_failure():
            earlier = (self.net_, self.coordinates_) if self._warm() else None
            X = checked_rows(self, X, reset=earlier is None)
            seed = draw_seed(self.random_state)
            with scoped_seed(seed):
                net, start = self._trained_net(X, seed, earlier and earlier[0])
                self._set_fitted(net, X, seed, start is not None, earlier and earlier[1])
        return self

    @contextmanager
    def _kept_on_failure(self):
        """Put every attribute back if the block raises: a failed refit loses nothing."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _warm(self):
        return self.warm_start and hasattr(self, "net_")

    def _trained_net(self, X, seed, earlier):
        """The net with the accepted weights, and the linear start if these are that start's.

        `earlier` is the net that a warm start goes on from, or None.
        """
        n_samples, n_features = X.shape
        self._check_n_components(n_samples, n_features)
        start_rows = self._start_rows(X, seed)
        vae = self._build(n_samples, n_features) if earlier is None else self._continued(earlier)
        vae.likelihood.check_support(start_rows, column_namer(self))

        rows = Rows(X, transform=self.batch_transform, device=_device(self.device))
        train, valid = self._split(rows, seed)
        net = self._net(vae, n_train=len(train), valid=valid, device=rows.device, seed=seed)
        net.initialize()
        start = None
        if earlier is None:
            start = self._load_start(net, start_rows[_indices(train)], seed)
        if net.max_epochs and (valid is not None or not self._selects):
            for part in (train, valid) if valid is not None else (train,):
                part.dataset.set_units(vae.likelihood.centre, vae.likelihood.scale)
            net.partial_fit(train)
            if dict(net.callbacks_)["best_epoch"].accepted_:
                start = None
            elif start is not None:
                start = self._load_start(net, start_rows, seed)
        if net.device != "mps":
            net.module_.double()
        if start is not None:
            # Again in double precision: exactly the closed form.
            net.module_.load_start(start)
        return net, start

    @property
    def _selects(self):
        """Whether epochs are selected on held-out rows."""
        return self.early_stopping and self.max_epochs != 0

    def _check_n_components(self, n_samples, n_features):
        limit = min(n_samples, n_features)
        if self.init == "pca" and self.n_components > limit:
            raise ValueError(
                f"n_components={self.n_components} must be between 1 and min(n_samples, "
                f"n_features)={limit} with init='pca'; init='random' takes more."
            )

    def _start_rows(self, X, seed):
        """The rows that the support check and the linear start see, in float64.

        With a `batch_transform` they are one draw of it, the same each time in one fit.
        """
        if self.batch_transform is None:
            return np.asarray(X, dtype=np.float64)
        with scoped_seed(seed):
            rows = Rows(X, transform=self.batch_transform).batch(torch.arange(len(X)))
        return rows["x"].double().numpy()

    def _build(self, n_samples, n_features):
        """The model of the parts that the parameters name, called with the sizes of X."""
        # A small sample says little of what lies beyond two standard deviations; a large one does.
        latent_limit = max(2.0, 2.0 * math.log10(n_samples) - 2.0)
        k, sizes = self.n_components, tuple(self.hidden_layer_sizes)
        likelihood = LIKELIHOODS.get(self.likelihood, self.likelihood)(n_features)
        prior = PRIORS.get(self.prior, self.prior)(k)
        make_encoder = make_decoder = self.network
        if isinstance(self.network, str):
            network = partial(NETWORKS[self.network], activation=self.activation)
            make_encoder = partial(network, hidden_layer_sizes=sizes)
            make_decoder = partial(network, hidden_layer_sizes=sizes[::-1])
        encoder, decoder = make_encoder(n_features, 2 * k), make_decoder(k, likelihood.n_outputs)
        return VAE(likelihood, prior, encoder, decoder, k, latent_limit=latent_limit)

    def _continued(self, earlier):
        """A copy of the earlier fit's model, to train on from there."""
        if self.n_components != self.n_components_:
            raise ValueError(
                f"n_components={self.n_components} differs from the {self.n_components_} of the fit "
                "that warm_start=True goes on from; keep it, or set warm_start=False."
            )
        return deepcopy(earlier.module_).float()

    def _split(self, rows, seed):
        """Training and validation part of the rows; no validation part where nothing is selected."""
        if not self._selects:
            return Subset(rows, np.arange(len(rows))), None
        split = (self.net_params or {}).get("train_split")
        if split is not None:
            return _user_split(split, rows)
        if self.validation_fraction == "auto":
            n_valid = max(math.ceil(len(rows) / 10), min(_VALIDATION_ROWS, len(rows) // 4))
        else:
            n_valid = math.ceil(self.validation_fraction * len(rows))
        if n_valid < _LEAST_VALIDATION_ROWS and self.init == "pca":
            n_valid = 0
        order = np.random.RandomState(seed).permutation(len(rows))
        valid = Subset(rows, np.sort(order[:n_valid])) if n_valid else None
        return Subset(rows, np.sort(order[n_valid:])), valid

    def _net(self, vae, *, n_train, valid, device, seed):
        """The skorch net, its parameters in order of precedence: ours, net_params, `__` names."""
        epochs, batch_size = self._resolved_sizes(n_train)
        random_start = self.init == "random" and not self._warm()
        kl_warmup = self.kl_warmup
        if kl_warmup == "auto":
            kl_warmup = _RANDOM_KL_WARMUP if random_start else 0.0
        callbacks = [
            ("best_epoch", BestEpoch(select=valid is not None, accept_any=random_start)),
            ("kl_warmup", KLWarmup(kl_warmup)),
            ("lr_schedule", WarmupStableDecay(patience=self.n_iter_no_change if valid else None)),
            *deepcopy(self.callbacks or []),
        ]
        params = {
            "lr": self.lr,
            "max_epochs": epochs,
            "batch_size": batch_size,
            "device": device,
            "verbose": self.verbose,
            "callbacks": callbacks,
            "train_split": predefined_split(valid) if valid is not None else None,
            "criterion__beta": self.beta,
            "gradient_clip": _GRADIENT_CLIP,
            "iterator_train__shuffle": True,
            "n_valid_draws": int(np.clip(_VALIDATION_DRAWS // max(1, len(valid or [])), 1, 32)),
            "valid_seed": seed,
        }
        given = self._given_skorch_params()
        if "optimizer" not in given:
            params |= {
                "optimizer__fused": device.startswith(("cpu", "cuda")),
                "optimizer__weight_decay": _WEIGHT_DECAY,
                "optimizer__param_groups": self._param_groups(),
            }
        given.pop("train_split", None)
        return VAENet(vae, **(params | given))

    def _param_groups(self):
        """No weight decay on the affine path, the gates and the noise, and their own rates."""
        return [
            ("affine_*", {"weight_decay": 0.0, "lr": self.lr * _AFFINE_RATE}),
            ("likelihood.*", {"weight_decay": 0.0, "lr": self.lr * _NOISE_RATE}),
            ("*.gate", {"weight_decay": 0.0}),
        ]

    def _given_skorch_params(self):
        """The user's own parameters of the skorch net; `__` names win over `net_params`."""
        given = dict(self.net_params or {})
        for name in given:
            if name in self._get_param_names() or name.split("__")[0] in _OWNED:
                raise ValueError(
                    f"net_params has {name!r}, which VAETransformer sets itself: use its own "
                    "parameters (lr, max_epochs, batch_size, device, callbacks, verbose, beta; "
                    "network and likelihood for the module)."
                )
        for name in (skorch := getattr(self, "_skorch_params", {})):
            if not name.startswith(_SKORCH_PREFIXES):
                raise TypeError(
                    f"VAETransformer got an unexpected parameter {name!r}; beside its own it takes "
                    f"those of the skorch net that start with {', '.join(_SKORCH_PREFIXES)}."
                )
        return given | skorch

    def _resolved_sizes(self, n_train):
        """Epochs and rows a batch, "auto" resolved."""
        batch_size = self.batch_size
        if batch_size == "auto":
            batch_size = int(np.clip(2 ** round(math.log2(max(1, n_train / _BATCHES))), *_BATCH_SIZES))
        epochs = self.max_epochs
        if epochs == "auto":
            epochs = int(np.clip(_STEPS / math.ceil(n_train / batch_size), *_EPOCHS))
        return epochs, min(batch_size, n_train)

    def _load_start(self, net, X, seed):
        """Load the linear start fitted on the rows X into the module; None with random weights."""
        vae = net.module_
        vae.likelihood.set_units(X)
        if self.init == "random":
            return None
        start = linear_start(
            X,
            self.n_components,
            model=vae.likelihood.linear_model,
            least_noise=vae.likelihood.least_noise(),
            seed=seed,
        )
        if not vae.likelihood.exact_start:
            some = Rows(X[:_GAIN_ROWS], device=net.device)
            some.set_units(vae.likelihood.centre, vae.likelihood.scale)

            def objective(gain):
                vae.load_start(replace(start, gain=gain))
                return -net.validate(some).mean()

            start = replace(start, gain=best_gain(objective))
        vae.load_start(start)
        return start

    def _set_fitted(self, net, X, seed, closed_form, earlier):
        """The fitted attributes, measured on the rows X."""
        self.net_ = net
        self.history_ = net.history
        self.n_samples_ = len(X)
        self.n_components_ = self.n_components
        self._seed = seed
        if self.batch_transform is not None:
            X = self._start_rows(X, seed)
        mean, variance = self._posterior(np.asarray(X, dtype=np.float64))
        self.coordinates_ = measure_coordinates(
            net, mean, variance, closed_form=closed_form, whiten=self.whiten, keep=earlier
        )
        if self.coordinates_.inactive.any():
            warnings.warn(
                f"{self.coordinates_.inactive.sum()} of {self.n_components} latent components carry "
                "less than 0.01 nats per row and are left as they are; n_components="
                f"{(~self.coordinates_.inactive).sum()} would do.",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.mean_ = X.mean(axis=0, dtype=np.float64)
        self.components_ = self.coordinates_.components
        self.explained_variance_ = self.coordinates_.explained_variance
        self.singular_values_ = np.sqrt(self.explained_variance_ * (len(X) - 1))
        total = X.var(axis=0, ddof=1, dtype=np.float64).sum()
        self.explained_variance_ratio_ = self.explained_variance_ / (total or 1.0)
        self.noise_variance_ = self._noise_variance(mean)

    def _noise_variance(self, mean):
        """Variance of x given z in squared units of X: one number if shared, else one a column."""
        likelihood = self.net_.module_.likelihood
        rows = mean[np.unique(np.linspace(0, len(mean) - 1, 512).astype(int))]
        variance = self.net_.apply(_observation_variance, rows, elements_per_row=likelihood.n_outputs)
        columns = variance.mean(axis=0) * likelihood.scale**2
        return float(columns.mean()) if likelihood.shared_noise else columns

    # ------------------------------------------------------------ numpy in and out

    def _units(self, X):
        """X in working units, float64."""
        likelihood = self.net_.module_.likelihood
        return (np.asarray(X, dtype=np.float64) - likelihood.centre) / likelihood.scale

    def _posterior(self, X):
        """Mean and variance of q(z|x) for each row, each (n_samples, n_components)."""
        return self.net_.apply("encode", X, prepare=self._units, dtype=_torch_dtype(X))

    def _checked(self, X):
        check_is_fitted(self)
        return checked_rows(self, X, reset=False)

    def transform(self, X):
        """The posterior mean of each row in PCA's units: deterministic, never a draw.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        T : ndarray of shape (n_samples, n_components)
            By decreasing explained variance. With `whiten=False` a column has the standard
            deviation of what it explains, in the units of X; with `whiten=True` unit variance on
            the training rows. float32 for float32 rows, else float64.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X does not match what the estimator was fitted on.
        """
        X = self._checked(X)
        return self.coordinates_.to_public(self._posterior(X)[0]).astype(X.dtype, copy=False)

    def inverse_transform(self, X):
        """The mean of p(x|z), in the units of the data, at the latents that the columns stand for.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            As `transform` returns it. A draw of N(0, I) here is not a sample of the model: see
            `sample`.

        Returns
        -------
        X_mean : ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        T = check_array(X, dtype=FLOATS)
        if T.shape[1] != self.n_components_:
            raise ValueError(
                f"X has {T.shape[1]} columns, but inverse_transform expects the "
                f"{self.n_components_} that transform returns."
            )
        likelihood = self.net_.module_.likelihood
        z = self.coordinates_.to_latent(T.astype(np.float64))
        mean = self.net_.apply("decode", z, dtype=_torch_dtype(T), elements_per_row=likelihood.n_outputs)
        return (mean * likelihood.scale + likelihood.centre).astype(T.dtype, copy=False)

    def sample(self, n_samples=1, random_state=None):
        """Rows drawn from the model: z from p(z), then x from p(x|z), noise included.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState instance or None, default=None
            None takes the estimator's own `random_state`; where that is None too, each call draws
            anew.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be an int of at least 1, got {n_samples!r}.")
        likelihood = self.net_.module_.likelihood
        with scoped_seed(draw_seed(self.random_state if random_state is None else random_state)):
            rows = np.empty((n_samples, 0))
            draws = self.net_.apply(_sample, rows, elements_per_row=likelihood.n_outputs)
        return draws.astype(np.float64) * likelihood.scale + likelihood.centre

    def score_samples(self, X):
        """log p(x) of each row in nats, by importance weighting from the posterior.

        log p(x) = log E_q(z|x)[p(x|z) p(z) / q(z|x)], with `n_importance_samples` draws a row: a
        lower bound on average, which rises to log p(x) with the number of draws. All constants are
        included, so that it can be compared with PCA, FactorAnalysis and GaussianMixture. The
        draws depend on the row's own values and on a seed fixed in `fit` alone: scores repeat, in
        any order and batch.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            In nats: of a density in the units of X, or of a probability where the likelihood's
            `measure` is "mass". Only like may be compared with like.

        References
        ----------
        Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016,
        equation 8.
        """
        X = self._checked(X)
        likelihood = self.net_.module_.likelihood
        draws = self.n_importance_samples

        def prepare(rows):
            return self._units(rows), row_normals(rows, draws, self.n_components_, self._seed)

        scores = self.net_.apply(
            _importance_score,
            X,
            prepare=prepare,
            dtype=_torch_dtype(X),
            elements_per_row=draws * max(likelihood.n_outputs, self.n_components_),
        )
        return scores.astype(np.float64)

    def score(self, X, y=None):
        """The mean of `score_samples(X)`, in nats per row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        log_prob : float
        """
        return float(self.score_samples(X).mean())

    def get_covariance(self):
        """Covariance of x under the model, in squared units of X.

        Cov E[x|z] + E Var[x|z], over draws of z whose mean and covariance are exactly those of
        p(z): PCA's or FactorAnalysis's own where the model is linear.

        Returns
        -------
        covariance : ndarray of shape (n_features, n_features)
        """
        check_is_fitted(self)
        likelihood = self.net_.module_.likelihood
        k = self.n_components_
        n_draws = max(_COVARIANCE_DRAWS, 8 * k)
        with scoped_seed(self._seed):
            z = self.net_.module_.prior.law().sample((n_draws,)).double().cpu().numpy()
        if self.net_.module_.prior.closed_form:
            z = z - z.mean(axis=0)
            z = np.linalg.solve(np.linalg.cholesky(z.T @ z / n_draws), z.T).T
        mean, variance = self.net_.apply(_moments, z, elements_per_row=likelihood.n_outputs)
        mean = (mean - mean.mean(axis=0)) * likelihood.scale
        noise = variance.mean(axis=0) * likelihood.scale**2
        return mean.T @ mean / n_draws + np.diag(noise)

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
        skorch = {name: value for name, value in params.items() if name.startswith(_SKORCH_PREFIXES)}
        super().set_params(**{name: params[name] for name in params.keys() - skorch.keys()})
        if skorch:
            self._skorch_params = getattr(self, "_skorch_params", {}) | skorch
        return self


def _importance_score(module, x, noise):
    return importance_bound(module.log_weights(x, noise))


def _sample(module, rows):
    return module.sample(len(rows))


def _observation_variance(module, z):
    return module.likelihood.variance(module.outputs(z))


def _moments(module, z):
    outputs = module.outputs(z)
    variance = module.likelihood.variance(outputs)
    return module.likelihood.mean(outputs), variance.expand(len(z), -1)


def _torch_dtype(X):
    return torch.float32 if X.dtype == np.float32 else torch.float64


def _device(device):
    """The device as skorch takes it, "auto" resolved to CUDA, else MPS, else the CPU."""
    if device != "auto":
        try:
            return str(torch.device(device))
        except RuntimeError as error:
            raise ValueError(
                f"device={device!r} is not a device: use 'auto', 'cpu', 'cuda', 'cuda:1', 'mps' or "
                "a torch.device."
            ) from error
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _indices(subset):
    return np.asarray(subset.indices)


def _user_split(split, rows):
    """A skorch `train_split` of the user's own on the rows."""
    train, valid = split(rows)
    if not isinstance(train, Subset):
        train = Subset(train, np.arange(len(train)))
    if valid is not None and not isinstance(valid, Subset):
        valid = Subset(Rows(np.asarray(valid.X), rows.transform, rows.device), np.arange(len(valid)))
    return train, valid
