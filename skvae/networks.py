"""Networks: vector -> vector. A network is any factory `(n_in, n_out) -> nn.Module`.

The model adds a network to its affine path and needs it silent (zero) at the start. A network that
starts at zero by itself, as these do, is used as it is; any other is multiplied by a gate that
starts at zero (see `skvae.vae.silent`).
"""

from itertools import pairwise

import torch
from torch import nn

ACTIVATIONS = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "tanh": nn.Tanh,
}


class MLP(nn.Module):
    """A multilayer perceptron whose last layer starts at zero.

    Parameters
    ----------
    n_in, n_out : int
        Sizes of the input and the output vector.
    hidden_layer_sizes : sequence of int, default=(256, 256)
        Units of each hidden layer; empty for a single linear layer.
    activation : {"silu", "relu", "gelu", "elu", "tanh"}, default="silu"
        The function between the layers.
    """

    def __init__(self, n_in, n_out, *, hidden_layer_sizes=(256, 256), activation="silu"):
        super().__init__()
        sizes = [n_in, *hidden_layer_sizes]
        layers = []
        for size, next_size in pairwise(sizes):
            layers += [nn.Linear(size, next_size), ACTIVATIONS[activation]()]
        last = nn.Linear(sizes[-1], n_out)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, x):
        return self.layers(x)


class Linear(nn.Module):
    """No network: zero for every input, so that the model stays on its affine path.

    With it the model is a linear VAE: probabilistic PCA and factor analysis for Gaussian laws,
    logistic PCA for the Bernoulli law.
    """

    def __init__(self, n_in, n_out, **_):
        super().__init__()
        self.n_out = n_out

    def forward(self, x):
        return torch.zeros(*x.shape[:-1], self.n_out, dtype=x.dtype, device=x.device)


NETWORKS = {"mlp": MLP, "linear": Linear}
