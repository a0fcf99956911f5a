"""What a fitted net is made of: its laws, layers and parameters, and how long it was trained."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """A module that has parameters of its own.

    Attributes
    ----------
    name : str
        Where it is in `net_.module_`; "" is that itself.
    kind : str
        Its class.
    shapes : dict
        From the names of its parameters to their shapes.
    n_parameters : int
        Numbers in them, those that an earlier layer has too left out.
    """

    name: str
    kind: str
    shapes: dict
    n_parameters: int


@dataclass(frozen=True)
class Summary:
    """A fitted net in words and numbers; as a string, a table.

    Attributes
    ----------
    n_features, n_conditions, n_components : int
        Columns of X and of the condition as the model takes them, and latents.
    likelihood, prior : str
        The classes of the laws p(x|z) and p(z).
    layers : tuple of Layer
    n_parameters : int
        Of all layers.
    device, dtype : str
        Where the weights are, and their precision (in training it is single).
    n_epochs : int
        Epochs that were run to their end.
    best_epoch : int
        The one whose weights the model has; 0 is the start.
    seconds : float
        That these epochs took by skorch's timer, without the start and what is measured after the
        last.
    """

    n_features: int
    n_conditions: int
    n_components: int
    likelihood: str
    prior: str
    layers: tuple
    n_parameters: int
    device: str
    dtype: str
    n_epochs: int
    best_epoch: int
    seconds: float

    @classmethod
    def of(cls, net, history, best_epoch):
        """The summary of a trained `VAENet`, of its history and of the epoch that was kept."""
        module = net.module_
        layers = tuple(_layers(module))
        # An epoch that was cut off has no loss.
        whole = [epoch for epoch in history if "train_loss" in epoch]
        return cls(
            n_features=module.likelihood.n_features,
            n_conditions=module.n_conditions,
            n_components=module.n_components,
            likelihood=_law(module.likelihood),
            prior=type(module.prior).__name__,
            layers=layers,
            n_parameters=sum(layer.n_parameters for layer in layers),
            device=str(net.device),
            dtype=str(next(module.parameters()).dtype).removeprefix("torch."),
            n_epochs=len(whole),
            best_epoch=best_epoch,
            seconds=float(sum(epoch.get("dur", 0.0) for epoch in whole)),
        )

    def __str__(self):
        condition = f", given {self.n_conditions} of a condition" if self.n_conditions else ""
        epochs = "none: the model is the start"
        if self.n_epochs:
            kept = f"epoch {self.best_epoch}" if self.best_epoch else "the start"
            epochs = f"{self.n_epochs} in {self.seconds:.3g} s, of which {kept} was kept"
        head = [
            ("columns", f"{self.n_features}{condition}"),
            ("components", str(self.n_components)),
            ("likelihood", self.likelihood),
            ("prior", self.prior),
            ("device", f"{self.device}, {self.dtype}"),
            ("epochs", epochs),
        ]
        rows = [("layer", "kind", "shapes", "parameters")]
        for layer in self.layers:
            shapes = ", ".join(f"{name} {_shape(shape)}" for name, shape in layer.shapes.items())
            rows.append((layer.name or "(itself)", layer.kind, shapes, f"{layer.n_parameters:,}"))
        rows.append(("all", "", "", f"{self.n_parameters:,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = [
            "  ".join(
                [*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)), ""]
            )
            + row[-1].rjust(widths[-1])
            for row in rows
        ]
        return "\n".join([*(f"{name:<12}{value}" for name, value in head), "", *table])

    __repr__ = __str__


def _layers(module):
    """Yield the modules that have parameters of their own, each parameter counted once."""
    counted = set()
    for name, part in module.named_modules():
        own = dict(part.named_parameters(recurse=False))
        if own:
            new = [parameter for parameter in own.values() if id(parameter) not in counted]
            counted |= {id(parameter) for parameter in new}
            shapes = {parameter: tuple(value.shape) for parameter, value in own.items()}
            n_parameters = sum(parameter.numel() for parameter in new)
            yield Layer(name, type(part).__name__, shapes, n_parameters)


def _law(likelihood):
    """The class of a law; of columns with laws of their own, those and their columns."""
    name = type(likelihood).__name__
    if not hasattr(likelihood, "laws"):
        return name
    laws = [f"{type(law).__name__} ({law.n_features})" for law in likelihood.laws]
    return f"{name}: {', '.join(laws)}"


def _shape(shape):
    return " x ".join(map(str, shape)) or "1"
