"""Networks: vector -> vector. A network is any factory `(n_in, n_out) -> nn.Module`.

The model adds a network to its affine path and needs it silent (zero) at the start. A network that
starts at zero by itself, as these do, is used as it is; any other is multiplied by a gate that
starts at zero (see `skvae.vae.silent`).
"""

import math
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

    A hidden layer as wide as the one before it is a residual layer (He et al. 2016): what it
    computes is added to what it is given. So deep networks train as readily as shallow ones.

    Parameters
    ----------
    n_in, n_out : int
        Sizes of the input and the output vector.
    hidden_layer_sizes : sequence of int, default=(256, 256)
        Units of each hidden layer; empty for a single linear layer.
    activation : {"silu", "relu", "gelu", "elu", "tanh"}, default="silu"
        The function between the layers.

    Attributes
    ----------
    takes_over : bool
        Whether the affine path beside it may fade (see `Likelihood.start_fades`): with two hidden
        layers or more it can say what that says.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
    """

    def __init__(self, n_in, n_out, *, hidden_layer_sizes=(256, 256), activation="silu"):
        super().__init__()
        self.takes_over = len(hidden_layer_sizes) > 1
        sizes = [n_in, *hidden_layer_sizes]
        layers = []
        for i, (size, next_size) in enumerate(pairwise(sizes)):
            layer = nn.Sequential(nn.Linear(size, next_size), ACTIVATIONS[activation]())
            layers.append(Residual(layer) if i and size == next_size else layer)
        last = nn.Linear(sizes[-1], n_out)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, x):
        return self.layers(x)


class Residual(nn.Module):
    """A layer added to its input, (x + layer(x)) / sqrt(2): the scale stays with the depth."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return math.sqrt(0.5) * (x + self.layer(x))


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
