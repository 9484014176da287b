"""From an optimizer's config to an optimizer over the model's trained parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from animetune.errors import ConfigError
from animetune.train.optim.config import AdafactorConfig, AdamW8bitConfig, AdamWConfig
from animetune.train.optim.master import Fp32Master

Parts = dict[str, list[tuple[str, torch.nn.Parameter]]]


def trained_parameters(models: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The parameters that training changes, by name, in the order of the optimizer's groups."""
    for part in _parts(models).values():
        yield from part


def build_optimizer(
    models: torch.nn.Module, cfg: AdafactorConfig | AdamWConfig | AdamW8bitConfig
) -> torch.optim.Optimizer:
    """One parameter group a part (`unet`, `text_encoder`, `text_encoder_2`), each with its own learning rate.

    Each group keeps its base rate as `base_lr` for the schedule. bf16 parameters get fp32 masters (`Fp32Master`): a
    bf16 weight has 8 bits of precision, so updates of 1e-5 of a weight would be rounded away.
    """
    parts = _parts(models)
    if not parts:
        raise ConfigError("model: nothing is trained: set train_unet, train_text_encoder or train_text_encoder_2")
    groups: list[dict[str, Any]] = [
        {
            "params": [parameter for _, parameter in part],
            "name": name,
            "lr": cfg.lr_of(name),
            "base_lr": cfg.lr_of(name),
        }
        for name, part in parts.items()
    ]
    low_precision = any(parameter.dtype == torch.bfloat16 for group in groups for parameter in group["params"])
    if not low_precision:
        return _create(groups, cfg)
    return Fp32Master(groups, lambda masters: _create(masters, cfg))


def _create(
    groups: list[dict[str, Any]], cfg: AdafactorConfig | AdamWConfig | AdamW8bitConfig
) -> torch.optim.Optimizer:
    match cfg:
        case AdafactorConfig():
            from transformers.optimization import Adafactor

            return Adafactor(
                groups,
                lr=cfg.unet_lr,
                clip_threshold=cfg.clip_threshold,
                decay_rate=cfg.decay_rate,
                weight_decay=cfg.weight_decay,
                scale_parameter=False,
                relative_step=False,
                warmup_init=False,
            )
        case AdamWConfig():
            fused = all(parameter.is_cuda for group in groups for parameter in group["params"])
            return torch.optim.AdamW(
                groups, lr=cfg.unet_lr, betas=cfg.betas, eps=cfg.eps, weight_decay=cfg.weight_decay, fused=fused
            )
        case AdamW8bitConfig():
            from bitsandbytes.optim.adamw import AdamW8bit

            return AdamW8bit(groups, lr=cfg.unet_lr, betas=cfg.betas, eps=cfg.eps, weight_decay=cfg.weight_decay)


def _parts(models: torch.nn.Module) -> Parts:
    parts: Parts = {}
    for name, parameter in models.named_parameters():
        if parameter.requires_grad:
            parts.setdefault(name.split(".")[0], []).append((name, parameter))
    return parts
