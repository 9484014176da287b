"""Optimizer state by parameter name, as checkpoints hold it; torch keeps it by position.

torch's own `load_state_dict` casts state to the type of the weights, which would make fp32 statistics of bf16 weights
bf16; here every tensor keeps its type. A sharded parameter's state is gathered whole, and dealt out again on loading,
so that a checkpoint of 8 ranks continues on 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from animetune.errors import ResumeError
from animetune.train.optim.adafactor import Adafactor
from animetune.train.optim.master import Fp32Step
from animetune.train.optim.rounding import StochasticRounding
from animetune.train.optim.sharded import as_sharded, is_sharded, part_of, sharded_like, whole

GROUPS = "groups"
"""`groups.<name of a group>` holds what an optimizer keeps for a group, as Prodigy does; no parameter is called so."""
_SHOWN = 3


def dump_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    """Parameter name -> state: tensors on the CPU, whole, in their types, and JSON numbers.

    Where parameters are sharded, every rank has to call it.
    """
    return {
        name: {key: whole(value).cpu() if isinstance(value, Tensor) else value for key, value in state.items()}
        for name, state in live_state(optimizer).items()
    }


def live_state(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    """What `dump_optimizer` gives, but the tensors themselves, where they are and sharded as they are: no copies."""
    states = {}
    for name, parameter in _named_parameters(optimizer):
        if state := _state_of(optimizer, parameter):
            states[name] = {key: _live(value, parameter) for key, value in state.items()}
    for group in _stepped(optimizer).param_groups:
        if own := _group_state(group, optimizer):
            states[f"{GROUPS}.{group['name']}"] = own
    return states


def forget_state(optimizer: torch.optim.Optimizer) -> None:
    """Make an optimizer as it was before its first step; the state of custom optimizers' groups stays."""
    _stepped(optimizer).state.clear()
    if isinstance(optimizer, StochasticRounding):
        optimizer.forget_steps()


def load_optimizer(optimizer: torch.optim.Optimizer, states: Mapping[str, Mapping[str, Any]]) -> None:
    """The inverse of `dump_optimizer`, for an optimizer that has not stepped yet.

    Raises ResumeError when the state is that of other parameters.
    """
    parameters = dict(_named_parameters(optimizer))
    groups = {f"{GROUPS}.{group['name']}": group for group in _stepped(optimizer).param_groups}
    unknown = sorted(states.keys() - parameters.keys() - groups.keys())
    if unknown:
        raise ResumeError(
            f"the checkpoint has optimizer state of {len(unknown)} parameters that are not trained now: "
            f"{', '.join(unknown[:_SHOWN])}{', ...' if len(unknown) > _SHOWN else ''}"
        )
    for name, state in states.items():
        if name in groups:
            groups[name].update(state)
        elif isinstance(optimizer, Fp32Step):
            optimizer.load_state_of(parameters[name], _placed(optimizer, parameters[name], state))
        else:
            optimizer.state[parameters[name]] = _placed(optimizer, parameters[name], state)


def _named_parameters(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    for group in optimizer.param_groups:
        yield from zip(group["param_names"], group["params"], strict=True)


def _stepped(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    return optimizer.inner if isinstance(optimizer, Fp32Step) else optimizer


def _state_of(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Any]:
    return optimizer.state_of(parameter) if isinstance(optimizer, Fp32Step) else optimizer.state.get(parameter, {})


def _group_state(group: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Numbers of a group that are no longer what the optimizer was made with."""
    made = _stepped(optimizer).defaults
    return {
        key: value
        for key, value in group.items()
        if key not in ("lr", "base_lr") and isinstance(value, int | float) and value != made.get(key)
    }


def _live(value: Any, parameter: Tensor) -> Any:
    return as_sharded(value.detach(), parameter) if isinstance(value, Tensor) else value


def _placed(optimizer: torch.optim.Optimizer, parameter: Tensor, state: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of the state where the optimizer keeps it."""
    stepped = _stepped(optimizer)
    seen = optimizer.copy_of(parameter) if isinstance(optimizer, Fp32Step) else parameter
    if isinstance(stepped, Adafactor):
        return stepped.restored_state(seen, state)
    on_device = any(group.get("fused") or group.get("capturable") for group in stepped.param_groups)
    placed: dict[str, Any] = {}
    for key, value in state.items():
        if not isinstance(value, Tensor) or (key == "step" and not on_device):
            placed[key] = value
        elif is_sharded(parameter) and value.shape == parameter.shape:
            part = part_of(value, parameter).to(parameter.device, copy=True)
            placed[key] = sharded_like(part, parameter, value.shape, by_rows=True) if is_sharded(seen) else part
        else:
            placed[key] = value.to(parameter.device, copy=True)
    return placed
