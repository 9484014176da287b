"""Lion (Chen et al. 2023, "Symbolic discovery of optimization algorithms", arXiv:2302.06675, algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from animetune.train.optim.closure import computed_by


class Lion(torch.optim.Optimizer):
    """The sign of a momentum that the gradient is mixed into; state is one fp32 tensor a parameter, `exp_avg`.

    theta <- theta - lr * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * theta)
    m <- beta2 * m + (1 - beta2) * g
    """

    takes_any_gradient = True

    def __init__(self, params: Any, lr: float, *, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the parameters that have gradients."""
        loss = computed_by(closure)
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = parameter.grad.to(parameter.dtype)
                state = self.state[parameter]
                if not state:
                    state["exp_avg"] = torch.zeros_like(parameter)
                update = state["exp_avg"].lerp(gradient, 1 - beta1).sign_()
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])
                state["exp_avg"].lerp_(gradient, 1 - beta2)
        return loss
