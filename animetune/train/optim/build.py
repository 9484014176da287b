"""From an optimizer's config to an optimizer over the model's trained parameters."""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
from torch import nn

from animetune.errors import ConfigError
from animetune.train.optim.adafactor import Adafactor
from animetune.train.optim.config import (
    AdafactorConfig,
    AdamW8bitConfig,
    AdamWConfig,
    AnyOptimizerConfig,
    CustomConfig,
    LionConfig,
)
from animetune.train.optim.lion import Lion
from animetune.train.optim.master import Fp32Master, Groups
from animetune.train.optim.rounding import StochasticRounding
from animetune.train.optim.sharded import is_sharded


def trained_parameters(models: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that training changes, by name."""
    return ((name, parameter) for name, parameter in models.named_parameters() if parameter.requires_grad)


def build_optimizer(models: nn.Module, cfg: AnyOptimizerConfig, *, seed: int = 0) -> torch.optim.Optimizer:
    """One parameter group a part (`unet`, `text_encoder`, `text_encoder_2`) and one an entry of `cfg.block_lrs`.

    A group has its `name`, its `param_names`, and beside `lr` its base rate for the schedule, `base_lr`. bf16
    parameters are stepped in fp32 by `cfg.rounding`; `seed` is that of stochastic rounding.

    Raises ConfigError when nothing is trained, an entry of `block_lrs` names nothing, or the optimizer cannot do what
    is asked of it on these parameters.
    """
    groups = _groups(models, cfg)
    parameters = [parameter for group in groups for parameter in group["params"]]
    _refuse_unfit(cfg, parameters)
    if all(parameter.dtype != torch.bfloat16 for parameter in parameters):
        return _create(groups, cfg)
    whole_steps = isinstance(cfg, CustomConfig)
    if cfg.rounding == "master":
        return Fp32Master(groups, lambda masters: _create(masters, cfg), whole_steps=whole_steps)
    if isinstance(cfg, AdafactorConfig):
        return _create(groups, cfg, seed=seed)  # rounds by itself, tile by tile
    return StochasticRounding(groups, lambda copies: _create(copies, cfg), seed=seed, whole_steps=whole_steps)


def _groups(models: nn.Module, cfg: AnyOptimizerConfig) -> Groups:
    """Parts of the model in the order of its parameters, blocks with rates of their own behind them."""
    found: dict[str, list[tuple[str, nn.Parameter]]] = {}
    blocks = {f"unet.{block}": rate for block, rate in cfg.block_lrs.items()}
    for name, parameter in trained_parameters(models):
        fitting = [block for block in blocks if name == block or name.startswith(f"{block}.")]
        found.setdefault(max(fitting, key=len, default=name.split(".")[0]), []).append((name, parameter))
    if not found:
        raise ConfigError(
            "model: nothing is trained: set train_unet, train_text_encoder or train_text_encoder_2 to true"
        )
    _refuse_unknown_blocks(models, [block for block in blocks if block not in found])
    groups = []
    for group in [*(part for part in found if part not in blocks), *(block for block in blocks if block in found)]:
        lr = blocks.get(group) or cfg.lr_of(group)
        names, parameters = zip(*found[group], strict=True)
        groups.append({"params": list(parameters), "param_names": list(names), "name": group, "lr": lr, "base_lr": lr})
    return groups


def _refuse_unknown_blocks(models: nn.Module, unused: list[str]) -> None:
    trained = [name.removeprefix("unet.") for name, _ in trained_parameters(models) if name.startswith("unet.")]
    known = sorted({".".join(name.split(".")[:depth]) for name in trained for depth in range(1, 1 + name.count("."))})
    unused = [block.removeprefix("unet.") for block in unused]
    if unused and not trained:
        raise ConfigError(
            f"optimizer.block_lrs: {', '.join(unused)}: the UNet is not trained; set model.train_unet to true, or "
            "leave block_lrs out"
        )
    problems = []
    for block in unused:
        if block in known:
            raise ConfigError(f"optimizer.block_lrs.{block}: every parameter of it has the rate of a longer entry")
        close = difflib.get_close_matches(block, known, n=3, cutoff=0.5) or [each for each in known if "." not in each]
        problems.append(
            f"optimizer.block_lrs.{block}: names no trained parameter of the UNet; similar: {', '.join(close)}"
        )
    if problems:
        raise ConfigError(problems)


def _refuse_unfit(cfg: AnyOptimizerConfig, parameters: Iterable[nn.Parameter]) -> None:
    """Raise ConfigError for what an optimizer cannot do with these parameters."""
    devices = {parameter.device.type for parameter in parameters} - {"cuda"}
    if isinstance(cfg, AdamW8bitConfig) and cfg.paged and devices:
        raise ConfigError(
            "optimizer.paged: paged state lives in CUDA's unified memory, and the weights are on "
            f"{', '.join(sorted(devices))}; set it to false"
        )
    if not any(is_sharded(parameter) for parameter in parameters):
        return
    if isinstance(cfg, AdamW8bitConfig):
        raise ConfigError(
            "optimizer.name: adamw8bit keeps state in blocks of 256 weights, which sharding would cut; take adafactor, "
            "adamw or lion, or set loop.strategy to ddp"
        )
    if isinstance(cfg, CustomConfig) and cfg.rounding == "stochastic":
        raise ConfigError(
            "optimizer.rounding: a custom optimizer cannot round shards stochastically, since it may need whole "
            "tensors; set it to master, or loop.strategy to ddp"
        )


def _create(groups: Groups, cfg: AnyOptimizerConfig, *, seed: int | None = None) -> torch.optim.Optimizer:
    match cfg:
        case AdafactorConfig():
            return Adafactor(
                groups,
                lr=cfg.unet_lr,
                eps=cfg.eps,
                clip_threshold=cfg.clip_threshold,
                decay_rate=cfg.decay_rate,
                beta1=cfg.beta1,
                weight_decay=cfg.weight_decay,
                scale_parameter=cfg.scale_parameter,
                flatten_convolutions=cfg.flatten_convolutions,
                seed=seed,
            )
        case AdamWConfig():
            fused = all(parameter.is_cuda for group in groups for parameter in group["params"])
            return torch.optim.AdamW(
                groups, lr=cfg.unet_lr, betas=cfg.betas, eps=cfg.eps, weight_decay=cfg.weight_decay, fused=fused
            )
        case AdamW8bitConfig():
            from bitsandbytes.optim.adamw import AdamW8bit

            return AdamW8bit(
                groups,
                lr=cfg.unet_lr,
                betas=cfg.betas,
                eps=cfg.eps,
                weight_decay=cfg.weight_decay,
                is_paged=cfg.paged,
            )
        case LionConfig():
            return Lion(groups, lr=cfg.unet_lr, betas=cfg.betas, weight_decay=cfg.weight_decay)
        case CustomConfig():
            return _create_custom(groups, cfg)


def _create_custom(groups: Groups, cfg: CustomConfig) -> torch.optim.Optimizer:
    module_name, _, name = cfg.place.rpartition(".")
    try:
        made_by = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"optimizer.class: {cfg.place} cannot be imported: {error}") from error
    if not (isinstance(made_by, type) and issubclass(made_by, torch.optim.Optimizer)):
        raise ConfigError(f"optimizer.class: {cfg.place} is no subclass of torch.optim.Optimizer")
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in cfg.arguments.items()}
    try:
        optimizer = cast(Any, made_by)(groups, lr=cfg.unet_lr, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer.arguments: {cfg.place} refuses them: {error}") from error
    optimizer.step = functools.partial(_step_by_name, optimizer.step, cfg.place)
    return cast(torch.optim.Optimizer, optimizer)


def _step_by_name(step: Callable[..., Any], place: str, closure: Callable[[], Any] | None = None) -> Any:
    """A step whose failures name the optimizer; those of the closure, which computes gradients, are not the step's."""
    failed: list[Exception] = []

    def computed() -> Any:
        assert closure is not None
        try:
            return closure()
        except Exception as error:
            failed.append(error)
            raise

    try:
        return step(computed) if closure else step()
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:
        if error in failed:
            raise
        raise ConfigError(f"optimizer.class: {place} cannot step these weights: {error}") from error
