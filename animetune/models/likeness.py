"""Whether two models have the same networks, so that their tensors may be added and subtracted."""

from __future__ import annotations

from typing import Any

from animetune.models.lazy import State
from animetune.models.sdxl import Component
from animetune.models.source import Source

_OF_NO_EFFECT = {
    "attention_dropout",
    "dropout",
    "force_upcast",
    "initializer_factor",
    "initializer_range",
    "sample_size",
}
"""Settings that change no picture, or only how a library computes it."""


def network_difference(first: Source, other: Source, component: Component) -> str | None:
    """What keeps a network of two models from being of the same architecture, in words; None if nothing does.

    Tensors are compared by name and shape, settings (heads, activations ...) where both state them.
    Raises DataError as of `Source.state`.
    """
    ours, theirs = first.state(component), other.state(component)
    different = sorted(name for name in {*ours, *theirs} if _shape(ours, name) != _shape(theirs, name))
    if different:
        name = different[0]
        return (
            f"{len(different):,} tensors of the {component} differ, as {name}: {_shape(ours, name)} here, "
            f"{_shape(theirs, name)} there"
        )
    here, there = (getattr(source.architecture, component) for source in (first, other))
    for key in sorted((here.keys() & there.keys()) - _OF_NO_EFFECT):
        if _plain(here[key]) != _plain(there[key]):
            return f"{component}.{key} is {here[key]} here, {there[key]} there"
    return None


def _shape(state: State, name: str) -> str:
    return str(list(state[name].shape)) if name in state else "missing"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
