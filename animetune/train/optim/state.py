"""Optimizer state by parameter name, as checkpoints hold it; torch keeps it by position."""

from __future__ import annotations

from typing import Any

import torch


def load_optimizer(optimizer: torch.optim.Optimizer, names: list[str], states: dict[str, dict[str, Any]]) -> None:
    """Put state by parameter name into an optimizer whose parameters have these names in order."""
    current = optimizer.state_dict()
    state = {index: states[name] for index, name in enumerate(names) if name in states}
    optimizer.load_state_dict({"state": state, "param_groups": current["param_groups"]})


def dump_optimizer(optimizer: torch.optim.Optimizer, names: list[str]) -> dict[str, dict[str, Any]]:
    """The inverse of `load_optimizer`."""
    state = optimizer.state_dict()["state"]
    return {names[index]: _flat(values) for index, values in state.items()}


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """One level of state: bitsandbytes nests what it quantised, and loads it flat as well."""
    return {
        inner: each
        for key, value in values.items()
        for inner, each in (value.items() if isinstance(value, dict) else [(key, value)])
    }
