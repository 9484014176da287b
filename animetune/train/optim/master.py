"""fp32 master weights inside the optimizer, for models that compute in bf16 (the "O2" way, without autocast).

The model holds bf16 weights and gradients; the optimizer updates fp32 copies and rounds them into the model after each
step. Costs 4 bytes a parameter for the masters and 4 while a gradient is cast; saves autocast's casts in every layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Groups = list[dict[str, Any]]


class Fp32Master(torch.optim.Optimizer):
    """Wraps the optimizer that `create` makes over fp32 copies of `groups`' parameters.

    `param_groups` is shared with the wrapped optimizer except for `params`, which are the model's, so that schedules,
    clipping and Lightning see an ordinary optimizer. `state_dict` is in the order of the model's parameters and holds
    the wrapped optimizer's state plus `master`.
    """

    def __init__(self, groups: Groups, create: Callable[[Groups], torch.optim.Optimizer]):
        super().__init__(groups, {})
        self._masters = [[p.detach().float().clone() for p in group["params"]] for group in self.param_groups]
        inner_groups = [{**group, "params": masters} for group, masters in zip(groups, self._masters, strict=True)]
        self._inner = create(inner_groups)
        self._by_parameter = {
            id(parameter): master
            for group, masters in zip(self.param_groups, self._masters, strict=True)
            for parameter, master in zip(group["params"], masters, strict=True)
        }

    def master_of(self, parameter: torch.nn.Parameter) -> torch.Tensor:
        """The fp32 master of one of the model's parameters."""
        return self._by_parameter[id(parameter)]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step on the masters, then masters -> parameters, rounded to nearest."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group, inner in zip(self.param_groups, self._inner.param_groups, strict=True):
            inner["lr"] = group["lr"]
            for parameter, master in zip(group["params"], inner["params"], strict=True):
                master.grad = None if parameter.grad is None else parameter.grad.float()
        self._inner.step()
        for group, inner in zip(self.param_groups, self._inner.param_groups, strict=True):
            for parameter, master in zip(group["params"], inner["params"], strict=True):
                if master.grad is not None:
                    parameter.copy_(master)
                master.grad = None
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The wrapped optimizer's state, each parameter's with its `master` added."""
        inner = self._inner.state_dict()
        masters = [master for group in self._masters for master in group]
        state = {index: {**inner["state"].get(index, {}), "master": master} for index, master in enumerate(masters)}
        return {"state": state, "param_groups": inner["param_groups"]}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over masters and state; the model's own weights are not touched."""
        masters = [master for group in self._masters for master in group]
        for index, master in enumerate(masters):
            master.copy_(state_dict["state"][index]["master"])
        inner_state = {
            index: {key: value for key, value in state.items() if key != "master"}
            for index, state in state_dict["state"].items()
        }
        self._inner.load_state_dict(
            {
                "state": {index: state for index, state in inner_state.items() if state},
                "param_groups": state_dict["param_groups"],
            }
        )
