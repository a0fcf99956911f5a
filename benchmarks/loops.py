"""What a VAE is usually trained with: hand-written loops, and other packages where installed.

The peers are for benchmarks alone; `pip install pythae pyod ctgan` in an environment of its own.
"""

import contextlib
import importlib.util
import io
import itertools
import logging
import tempfile
import time
import warnings

import numpy as np
import torch
from torch import nn

DRAWS = 8  # of the posterior, of the ELBO on held-out rows


def installed(package):
    """Whether a peer is there to be run."""
    return importlib.util.find_spec(package) is not None


@contextlib.contextmanager
def quiet():
    """Without the peers' own output."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


class PlainVAE(nn.Module):
    """The textbook's VAE on standardized rows: an encoder, a decoder, one noise variance (or
    Bernoulli logits).

    The logarithm of the variance is a parameter, or, if `calibrated`, the best one for each
    training batch, in closed form, so that it is never behind; test rows then get its average over
    recent batches.

    References
    ----------
    O. Rybkin, K. Daniilidis, S. Levine, "Simple and Effective VAE Training with Calibrated
    Decoders", ICML 2021 (the optimal variance).
    """

    def __init__(self, n_features, k, hidden, law, calibrated=False):
        super().__init__()
        self.k, self.law, self.calibrated = k, law, calibrated
        self.encoder = _mlp(n_features, hidden, 2 * k)
        self.decoder = _mlp(k, hidden[::-1], n_features)
        self.log_variance = nn.Parameter(torch.zeros(()), requires_grad=not calibrated)

    def elbo(self, x, draws=1):
        """The ELBO of each row, shape (n,), in nats of the standardized columns."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        deviation = torch.exp(0.5 * log_variance)
        z = mean + deviation * torch.randn(draws, *mean.shape, device=x.device)
        outputs = self.decoder(z)
        noise = self.log_variance
        if self.training and self.calibrated:
            noise = ((x - outputs) ** 2).mean().log()
            with torch.no_grad():
                self.log_variance.lerp_(noise, 0.05)
        log_px = log_density(self.law, outputs, x, noise).sum(-1).mean(0)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
        return log_px - kl


def log_density(law, outputs, x, log_variance):
    """log p(x|z) of each column, from a decoder's outputs."""
    if law == "bernoulli":
        return -nn.functional.binary_cross_entropy_with_logits(
            outputs, x.expand_as(outputs), reduction="none"
        )
    squares = (x - outputs) ** 2
    return -0.5 * (squares / log_variance.exp() + log_variance + np.log(2 * np.pi))


def _mlp(n_in, hidden, n_out):
    sizes = [n_in, *hidden]
    layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.SiLU())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], n_out))


def plain_loop(
    X,
    X_test,
    *,
    k,
    hidden,
    law,
    lr,
    epochs,
    batch_size,
    seed,
    calibrated=False,
    transform=None,
    device="cpu",
):
    """A hand-written loop: fused Adam, clipping, one cosine from `lr` to zero after a short
    warm-up, validation each epoch.

    Parameters
    ----------
    X, X_test : ndarray of shape (n_samples, n_features), float32
        In the units that the model is trained in.
    transform : callable, optional
        Applied to each training batch.

    Returns
    -------
    curve : list of (seconds, ELBO in nats a test row), the clock stopped while testing.
    """
    torch.manual_seed(seed)
    clock = Clock()
    x, test = torch.from_numpy(X).to(device), torch.from_numpy(X_test).to(device)
    n_valid = min(2000, len(x) // 10)
    x, valid = x[n_valid:], x[:n_valid]
    model = PlainVAE(x.shape[1], k, hidden, law, calibrated).to(device)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=lr, fused=True)
    n_batches = -(-len(x) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=epochs * n_batches, pct_start=0.1
    )
    curve = []
    for _ in range(epochs):
        model.train()
        order = torch.randperm(len(x), device=device)
        for first in range(0, len(x), batch_size):
            batch = x[order[first : first + batch_size]]
            if transform is not None:
                batch = transform(batch)
            optimizer.zero_grad()
            loss = -model.elbo(batch).mean()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 10_000.0)
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.inference_mode():
            float(model.elbo(valid if transform is None else transform(valid)).mean())
            with clock.stopped():
                curve.append((clock.seconds(), float(model.elbo(test, DRAWS).mean())))
    return curve


class Clock:
    """Seconds since the start, those stopped not counted."""

    def __init__(self):
        self.began = time.perf_counter()

    def seconds(self):
        return time.perf_counter() - self.began

    @contextlib.contextmanager
    def stopped(self):
        before = time.perf_counter()
        yield
        self.began += time.perf_counter() - before


def pythae_networks(n_features, k, hidden):
    """pythae's encoder and decoder with the same layers as ours."""
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self):
            BaseEncoder.__init__(self)
            self.network = _mlp(n_features, hidden, 2 * k)

        def forward(self, x):
            mean, log_variance = self.network(x.flatten(1)).chunk(2, dim=1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self):
            BaseDecoder.__init__(self)
            self.network = _mlp(k, hidden[::-1], n_features)

        def forward(self, z):
            return ModelOutput(reconstruction=self.network(z))

    return Encoder(), Decoder()


def pythae_model(n_features, k, hidden, loss="mse"):
    """pythae's VAE with the same layers as ours."""
    from pythae.models import VAE, VAEConfig

    encoder, decoder = pythae_networks(n_features, k, hidden)
    config = VAEConfig(input_dim=(n_features,), latent_dim=k, reconstruction_loss=loss)
    return VAE(config, encoder=encoder, decoder=decoder)


def pythae_train(model, X, epochs, batch_size, lr=1e-3, callbacks=None):
    """Train by pythae's own pipeline; a tenth of the rows, at most 2,000, validates."""
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig

    n_valid = min(2000, len(X) // 10)
    with tempfile.TemporaryDirectory() as folder, quiet():
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            learning_rate=lr,
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=batch_size,
            no_cuda=not torch.cuda.is_available(),
        )
        pipeline = TrainingPipeline(model=model, training_config=config)
        pipeline(train_data=X[n_valid:], eval_data=X[:n_valid], callbacks=callbacks)


def pyod_model(k, hidden, batch_size, epochs, device="cpu", **parameters):
    """pyod's VAE with layers as wide as ours."""
    from pyod.models.vae import VAE

    return VAE(
        latent_dim=k,
        encoder_neuron_list=list(hidden),
        decoder_neuron_list=list(hidden[::-1]),
        dropout_rate=0.0,
        batch_size=batch_size,
        epoch_num=epochs,
        device=torch.device(device),
        verbose=0,
        **parameters,
    )
