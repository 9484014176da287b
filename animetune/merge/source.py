"""A merge as a source of weights: each tensor is computed when it is asked for, from those of the inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from animetune.errors import DataError
from animetune.merge import arithmetic
from animetune.merge.config import AddDifference, MergeConfig, Slerp, WeightedSum, normalized
from animetune.merge.fitting import parameterization
from animetune.merge.parts import part_setting
from animetune.models.lazy import LazyTensor, State
from animetune.models.lora_file import Lora
from animetune.models.sdxl import COMPONENTS, Component
from animetune.models.source import Source

Read = Callable[[str], Tensor]
"""Name of a model -> its tensor of the name that is being merged."""
Rule = Callable[[Component, str], Callable[[Read], Tensor] | None]
"""Network and name of a tensor -> how it is made; None: as it is in the model that the VAE is taken from."""


@dataclass(frozen=True)
class Added:
    """A LoRA, and how strongly it counts."""

    lora: Lora
    strength: Callable[[Component, str], float]


def merged_source(cfg: MergeConfig, sources: Mapping[str, Source], loras: Sequence[Lora]) -> Source:
    """The merge of `sources` (by the names of `cfg.models`) with `loras` (those of `cfg.loras`) added.

    The sources must have been found to fit each other (`fitting.check_fit`). Raises ConfigError for a part that the
    model does not have; loading a tensor raises DataError naming the model that holds NaN or infinity.
    """
    first = sources[cfg.leading]
    vae = sources[cfg.vae_from]
    architecture = dataclasses.replace(first.architecture, vae=vae.architecture.vae)
    rule = _rule(cfg, first)
    added = [
        Added(lora, part_setting(architecture, each.parts, otherwise=each.strength, setting=f"loras.{place}.parts"))
        for place, (each, lora) in enumerate(zip(cfg.loras, loras, strict=True))
    ]

    def stored(component: Component) -> State:
        if component == "vae" and not cfg.merges_vae:
            return vae.state("vae")
        states = {name: sources[name].state(component) for name in cfg.merged}
        kept = vae.state(component)
        makers = {name: rule(component, name) for name in kept}
        return {
            name: kept[name] if make is None else _merged(states, component, name, make=make, added=added)
            for name, make in makers.items()
        }

    return dataclasses.replace(
        first,
        name=cfg.name,
        architecture=architecture,
        parameterization=parameterization(cfg, first),
        stored=stored,
        files=dict.fromkeys(COMPONENTS, ()),
        facts={},
        licence=cfg.about.license,
    )


def _merged(
    states: Mapping[str, State],
    component: Component,
    name: str,
    *,
    make: Callable[[Read], Tensor],
    added: Sequence[Added],
) -> LazyTensor:
    strengths = [(each, each.strength(component, name)) for each in added if (component, name) in each.lora.factors]

    def read(model: str) -> Tensor:
        return _finite(states[model][name].load(), f"{model}: {component}.{name}")

    def load() -> Tensor:
        total = make(read)
        for each, strength in strengths:
            if strength:
                origin = f"{each.lora.path}: {component}.{name}"
                difference = _finite(each.lora.factors[component, name].difference(), origin)
                total = torch.add(total.float(), difference, alpha=strength)
        return total.float()

    shape = next(iter(states.values()))[name].shape
    return LazyTensor(shape, torch.float32, load)


def _rule(cfg: MergeConfig, model: Source) -> Rule:
    """How each tensor is made; the VAE only where a part names it."""
    if cfg.method is None:
        name = next(iter(cfg.models))
        return lambda component, _: None if component == "vae" else lambda read: read(name)
    parts, makers = _makers(cfg.method)
    return part_setting(model.architecture, {"vae": None, **parts}, otherwise=makers, setting="method.parts")


def _makers(
    method: WeightedSum | AddDifference | Slerp,
) -> tuple[dict[str, Callable[[Read], Tensor] | None], Callable[[Read], Tensor] | None]:
    """What makes a tensor: of each part, and of all else."""
    match method:
        case WeightedSum():
            weights = normalized if method.normalize else dict
            return {part: _sum(weights(each)) for part, each in method.parts.items()}, _sum(weights(method.weights))
        case AddDifference():
            return {part: _difference(method, alpha) for part, alpha in method.parts.items()}, _difference(
                method, method.alpha
            )
        case Slerp():
            return {part: _slerp(method, t) for part, t in method.parts.items()}, _slerp(method, method.t)


def _sum(weights: Mapping[str, float]) -> Callable[[Read], Tensor]:
    # By name, so that the order in the file does not show in the last bit.
    used = sorted((name, weight) for name, weight in weights.items() if weight)
    return lambda read: arithmetic.weighted_sum((weight, read(name)) for name, weight in used)


def _difference(method: AddDifference, alpha: float) -> Callable[[Read], Tensor]:
    if alpha == 0:
        return lambda read: read(method.model)
    return lambda read: arithmetic.add_difference(
        read(method.model), read(method.plus), read(method.minus), alpha=alpha
    )


def _slerp(method: Slerp, t: float) -> Callable[[Read], Tensor]:
    if t in (0, 1):
        return lambda read: read(method.second if t else method.first)
    return lambda read: arithmetic.slerp(read(method.first), read(method.second), t)


def _finite(tensor: Tensor, origin: str) -> Tensor:
    if not torch.isfinite(tensor).all():
        raise DataError(f"{origin}: holds NaN or infinity; the weights are damaged, take another copy of this model")
    return tensor
