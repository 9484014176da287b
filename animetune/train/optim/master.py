"""Steps of bf16 weights in fp32, by any optimizer: a bf16 weight has 8 bits, so updates of 1e-5 of it would vanish.

The model holds bf16 weights and gradients and computes without autocast. The optimizer sees fp32 copies: kept between
steps (`Fp32Master`, "O2"), or made for the moment of the step and rounded back at random (`rounding`).
Either way its arithmetic, weight decay included, is fp32. Copies and gradients are cast `AT_ONCE` elements at a time.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from animetune.train.optim.closure import computed_by
from animetune.train.optim.sharded import is_sharded, local, part_of

Groups = list[dict[str, Any]]
Create = Callable[[Groups], torch.optim.Optimizer]

AT_ONCE = 2**26
"""Elements that are cast at a time: 256 MB of fp32 gradients, of which one step then costs 40 for SDXL's UNet."""


class Places:
    """Where each parameter stands in an optimizer's groups, so that it can be told to step some of them alone."""

    def __init__(self, optimizer: torch.optim.Optimizer):
        self._optimizer = optimizer
        self._places = {
            id(parameter): (number, name)
            for number, group in enumerate(optimizer.param_groups)
            for name, parameter in zip(group["param_names"], group["params"], strict=True)
        }

    @contextlib.contextmanager
    def only(self, parameters: Iterable[Tensor]) -> Iterator[None]:
        """Within the block, the optimizer has these parameters only."""
        groups = self._optimizer.param_groups
        before = [(group["params"], group["param_names"]) for group in groups]
        for group in groups:
            group["params"], group["param_names"] = [], []
        for parameter in parameters:
            number, name = self._places[id(parameter)]
            groups[number]["params"].append(parameter)
            groups[number]["param_names"].append(name)
        try:
            yield
        finally:
            for group, (params, names) in zip(groups, before, strict=True):
                group["params"], group["param_names"] = params, names


class Fp32Step(torch.optim.Optimizer):
    """Wraps the optimizer that `create` makes over fp32 copies of `groups`' parameters.

    `param_groups` are the model's own, so schedules, clipping and Lightning see an ordinary optimizer; their learning
    rates are handed on at each step. `whole_steps`: the wrapped optimizer must see all parameters in one step.
    """

    def __init__(self, groups: Groups, create: Create, *, whole_steps: bool = False):
        super().__init__(groups, {})
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        self._copies = {id(parameter): self._copy(parameter) for parameter in parameters}
        self.inner = create([self._inner_group(group) for group in self.param_groups])
        self._inner_places = None if whole_steps else Places(self.inner)
        self._takes_any_gradient = getattr(self.inner, "takes_any_gradient", False)
        if self._takes_any_gradient:
            for each in self._copies.values():
                each.grad_dtype = None

    def copy_of(self, parameter: Tensor) -> Tensor:
        """What the wrapped optimizer has in place of a parameter of the model."""
        return self._copies[id(parameter)]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the parameters that have gradients."""
        loss = computed_by(closure)
        for group, inner in zip(self.param_groups, self.inner.param_groups, strict=True):
            inner["lr"] = group["lr"]
        for parameters in self._portions():
            for parameter in parameters:
                self._lend(parameter, self.copy_of(parameter))
                self.copy_of(parameter).grad = self._gradient(parameter)
            copies = [self.copy_of(parameter) for parameter in parameters]
            with self._inner_places.only(copies) if self._inner_places else contextlib.nullcontext():
                self.inner.step()
            for parameter in parameters:
                self.copy_of(parameter).grad = None
                self._take_back(parameter, self.copy_of(parameter))
        return loss

    def state_of(self, parameter: Tensor) -> dict[str, Any]:
        """The wrapped optimizer's state of a parameter of the model."""
        return dict(self.inner.state.get(self.copy_of(parameter), {}))

    def load_state_of(self, parameter: Tensor, state: dict[str, Any]) -> None:
        """The inverse of `state_of`; the model's own weights are not touched."""
        self.inner.state[self.copy_of(parameter)] = state

    def state_dict(self) -> dict[str, Any]:
        """As torch's, by position, with the state of the wrapped optimizer."""
        packed = super().state_dict()
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        packed["state"] = {index: state for index, each in enumerate(parameters) if (state := self.state_of(each))}
        return packed

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`; tensors keep their types."""
        super().load_state_dict({**state_dict, "state": {}})
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, state in state_dict["state"].items():
            self.load_state_of(parameters[index], copy.deepcopy(dict(state)))

    def _inner_group(self, group: dict[str, Any]) -> dict[str, Any]:
        return {**group, "params": [self.copy_of(parameter) for parameter in group["params"]]}

    def _portions(self) -> Iterator[list[nn.Parameter]]:
        """Parameters with gradients, up to `AT_ONCE` elements of them at a time, or all."""
        portion: list[nn.Parameter] = []
        elements = 0
        for parameter in (parameter for group in self.param_groups for parameter in group["params"]):
            if parameter.grad is None:
                continue
            if portion and self._inner_places and elements + local(parameter).numel() > AT_ONCE:
                yield portion
                portion, elements = [], 0
            portion.append(parameter)
            elements += local(parameter).numel()
        if portion:
            yield portion

    def _copy(self, parameter: nn.Parameter) -> nn.Parameter:
        raise NotImplementedError

    def _gradient(self, parameter: nn.Parameter) -> Tensor:
        assert parameter.grad is not None
        return parameter.grad if self._takes_any_gradient else parameter.grad.float()

    def _lend(self, parameter: nn.Parameter, copy: Tensor) -> None:
        raise NotImplementedError

    def _take_back(self, parameter: nn.Parameter, copy: Tensor) -> None:
        raise NotImplementedError


class Fp32Master(Fp32Step):
    """fp32 master weights, rounded to nearest into the model after each step; 4 bytes a parameter.

    The state of a parameter holds its `master`.
    """

    def master_of(self, parameter: nn.Parameter) -> Tensor:
        """The fp32 master of one of the model's parameters."""
        return self.copy_of(parameter)

    def state_of(self, parameter: Tensor) -> dict[str, Any]:
        """With the master."""
        return {**super().state_of(parameter), "master": self.copy_of(parameter).detach()}

    @torch.no_grad()
    def load_state_of(self, parameter: Tensor, state: dict[str, Any]) -> None:
        """With the master."""
        master, saved = self.copy_of(parameter), state["master"]
        local(master).copy_(local(saved) if is_sharded(saved) else part_of(saved, master))
        if rest := {key: value for key, value in state.items() if key != "master"}:
            super().load_state_of(parameter, rest)

    def _copy(self, parameter: nn.Parameter) -> nn.Parameter:
        return nn.Parameter(parameter.detach().to(torch.float32, copy=True))

    def _lend(self, parameter: nn.Parameter, copy: Tensor) -> None:
        """The master is there already."""

    def _take_back(self, parameter: nn.Parameter, copy: Tensor) -> None:
        parameter.copy_(copy)
