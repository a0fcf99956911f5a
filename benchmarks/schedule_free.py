"""Schedule-free AdamW, to compare the default schedule with.

References
----------
A. Defazio et al., "The Road Less Scheduled", NeurIPS 2024 (Algorithm 1, and Appendix A for AdamW).
"""

import torch
from skorch.callbacks import Callback


class ScheduleFreeAdamW(torch.optim.Optimizer):
    """AdamW on z; gradients are taken at y = (1 - beta1) z + beta1 x, where x, the average of all
    z, is the solution.

    The parameters hold y in training and x after `use_average`.
    """

    def __init__(
        self,
        params,
        lr=2e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        warmup_steps=50,
        fused=None,  # as AdamW takes it; there is no fused version
    ):
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)
        self.warmup_steps, self.steps, self.weights = warmup_steps, 0, 0.0

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.steps += 1
        warmup = min(1.0, self.steps / self.warmup_steps)
        self.weights += warmup**2
        part = warmup**2 / self.weights
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            rate = warmup * group["lr"]
            for y in group["params"]:
                if y.grad is None:
                    continue
                state = self.state[y]
                if not state:
                    state["x"], state["z"] = y.clone(), y.clone()
                    state["squares"] = torch.zeros_like(y)
                squares = state["squares"].mul_(beta2).addcmul_(y.grad, y.grad, value=1 - beta2)
                scale = (squares / (1 - beta2**self.steps)).sqrt_().add_(group["eps"])
                step = (y.grad / scale).add_(y, alpha=group["weight_decay"])
                state["z"].sub_(step, alpha=rate)
                state["x"].lerp_(state["z"], part)
                y.copy_(state["z"]).lerp_(state["x"], beta1)
        return loss

    @torch.no_grad()
    def use_average(self):
        """Put x into the parameters, until the next `resume`."""
        for parameter, state in self.state.items():
            parameter.copy_(state["x"])

    @torch.no_grad()
    def resume(self):
        """Put y into the parameters again."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if state := self.state.get(parameter):
                    parameter.copy_(state["z"]).lerp_(state["x"], group["betas"][0])


class AverageAfterEpochs(Callback):
    """Validation, and all that comes after training, sees the average."""

    def on_epoch_begin(self, net, dataset_train=None, **_):
        self.left_ = len(net.get_iterator(dataset_train, training=True))
        net.optimizer_.resume()

    def on_batch_end(self, net, training, **_):
        self.left_ -= 1
        if training and not self.left_:
            net.optimizer_.use_average()
