"""The difference of two models, layer by layer, in factors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from animetune.errors import DataError
from animetune.lora.config import EnergyRank, LoraConfig
from animetune.lora.factors import (
    ChooseRank,
    LowRank,
    energy_kept,
    exact_factors,
    keep_energy,
    randomized_factors,
    relative_error,
)
from animetune.models.lazy import State
from animetune.models.lora import Layer
from animetune.models.sdxl import Component
from animetune.models.source import Source


@dataclass(frozen=True)
class Extracted:
    """One layer of a LoRA."""

    layer: Layer
    up: Tensor
    """(out, r) or (out, r, 1, 1), in the type that is written, on the CPU."""
    down: Tensor
    """(r, in) or (r, in, k, k), likewise."""
    kept: float
    """Share of the squared difference that the factors hold, after they were rounded to that type."""
    squared: float
    """Squared difference of the layer, summed."""

    @property
    def rank(self) -> int:
        """r, and alpha."""
        return self.down.shape[0]


def extract(
    cfg: LoraConfig,
    layers: Iterable[Layer],
    tuned: Source,
    base: Source,
    *,
    device: torch.device,
    done: Callable[[], None] = lambda: None,
) -> list[Extracted]:
    """The layers in which `tuned` differs from `base`, in factors; `done` is called after each that was looked at.

    Memory holds one layer of both and the factors so far. Raises DataError naming a tensor that is not finite.
    """
    found = []
    states: dict[Component, tuple[State, State]] = {}
    for layer in layers:
        if layer.component not in states:
            states[layer.component] = (tuned.state(layer.component), base.state(layer.component))
        difference = _difference(layer, *states[layer.component]).to(device)
        extracted = _extract(cfg, layer, difference)
        if extracted is not None:
            found.append(extracted)
        done()
    return found


def left_out(tuned: Source, base: Source, component: Component, layers: Iterable[Layer]) -> float:
    """Squared difference, summed, of a network's tensors that are no weight of these layers: what no LoRA of them can
    hold."""
    held = {layer.tensor for layer in layers if layer.component == component}
    ours, theirs = tuned.state(component), base.state(component)
    return sum(
        (ours[name].load().double() - theirs[name].load().double()).square().sum().item()
        for name in ours
        if name not in held
    )


def _difference(layer: Layer, tuned: State, base: State) -> Tensor:
    difference = tuned[layer.tensor].load().float() - base[layer.tensor].load().float()
    if not torch.isfinite(difference).all():
        raise DataError(
            f"{layer.component}.{layer.tensor}: holds NaN or infinity in one of the models; the weights are damaged, "
            "take another copy"
        )
    return difference


def _extract(cfg: LoraConfig, layer: Layer, difference: Tensor) -> Extracted | None:
    """None where there is no difference."""
    matrix = difference.flatten(1)
    choose, most = _rank_rule(cfg, layer)
    if cfg.svd == "exact":
        factors = exact_factors(matrix, choose)
    else:
        factors = randomized_factors(matrix, choose, most=most, name=layer.kohya)
    if not factors.rank:
        return None
    dtype: torch.dtype = getattr(torch, cfg.dtype)
    rounded = LowRank(factors.up.to(dtype), factors.down.to(dtype))
    up, down = rounded.up.cpu(), rounded.down.cpu()
    if len(layer.shape) == 4:
        up, down = up[:, :, None, None], down.unflatten(1, layer.shape[1:])
    return Extracted(
        layer,
        up,
        down,
        kept=energy_kept(relative_error(matrix, rounded)),
        squared=matrix.double().square().sum().item(),
    )


def _rank_rule(cfg: LoraConfig, layer: Layer) -> tuple[ChooseRank, int]:
    """How many directions of a layer are kept, and how many at most."""
    if isinstance(cfg.rank, EnergyRank):
        linear, wide = cfg.rank.max_rank, cfg.rank.max_conv_rank
    else:
        linear, wide = cfg.rank.rank, cfg.rank.conv_rank
    most = (wide or max(1, linear // 2)) if layer.is_wide else linear
    keep = cfg.rank.keep if isinstance(cfg.rank, EnergyRank) else 1.0
    return keep_energy(keep, most), most
