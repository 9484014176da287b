"""One of two gloo ranks that train a small model in every way that optimizers know; writes its weights to a file.

Usage: optimizer_ranks.py RANK PORT OUT
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from animetune.train.optim import build_optimizer
from animetune.train.optim.clip import clip_gradients
from animetune.train.optim.config import AdafactorConfig, AdamW8bitConfig, AdamWConfig, ClipConfig, LionConfig
from animetune.train.optim.in_backward import InBackward
from animetune.train.optim.sharded import whole
from animetune.train.optim.state import dump_optimizer, load_optimizer

STEPS = 8
RANKS = 2
CLIP = ClipConfig(by="tensor_norm", at=0.05)
CONFIGS = {
    "adafactor": AdafactorConfig(name="adafactor", unet_lr=1e-2, weight_decay=0.01, scale_parameter=True, beta1=0.5),
    "adafactor-flat": AdafactorConfig(name="adafactor", unet_lr=1e-2, flatten_convolutions=True),
    "adamw": AdamWConfig(name="adamw", unet_lr=1e-3, eps=1e-4),
    "adamw8bit": AdamW8bitConfig(name="adamw8bit", unet_lr=1e-3, eps=1e-4),
    "lion": LionConfig(name="lion", unet_lr=1e-4),
}
ROUNDINGS = ("fp32", "master", "stochastic")
SHARDED = [name for name in CONFIGS if name != "adamw8bit"]


class Forked(nn.Module):
    """Two branches, computed in either order, so that autograd finishes their gradients in another order too.

    Some tensors have fewer rows than there are ranks, and some rows do not divide.
    """

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        torch.manual_seed(0)
        self.unet = nn.ModuleDict(
            {
                "conv": nn.Conv2d(3, 7, 3),
                "left": nn.Linear(7 * 4 * 4, 33),
                "right": nn.Linear(7 * 4 * 4, 33),
                "out": nn.Linear(33, 1),
            }
        ).to(dtype)

    def forward(self, pictures: torch.Tensor, right_first: bool) -> torch.Tensor:
        states = torch.tanh(self.unet["conv"](pictures.to(self.unet["out"].weight.dtype))).flatten(1)
        order = ("right", "left") if right_first else ("left", "right")
        branches = {name: torch.tanh(self.unet[name](states)) for name in order}
        return self.unet["out"](branches["left"] * branches["right"]).float().square().mean()


def batch(step: int, rank: int) -> torch.Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(10 * step + rank))


def start(name: str, rounding: str) -> tuple[Forked, Any]:
    model = Forked(torch.float32 if rounding == "fp32" else torch.bfloat16)
    return model, CONFIGS[name].model_copy(update={"rounding": "stochastic" if rounding == "stochastic" else "master"})


def within_backward(name: str, rounding: str, rank: int) -> Forked:
    """Not wrapped; rank 1 computes the branches the other way round."""
    model, cfg = start(name, rounding)
    stepping = InBackward(build_optimizer(model, cfg, seed=1), clip=CLIP, bucket=1000)
    for step in range(STEPS):
        model(batch(step, rank), right_first=rank == 1).backward()
        assert all(parameter.grad is None for parameter in model.parameters())
        assert not stepping.skipped
    return model


def alone(name: str, rounding: str) -> Forked:
    """Both ranks' batches in one process, the ordinary way."""
    model, cfg = start(name, rounding)
    optimizer = build_optimizer(model, cfg, seed=1)
    for step in range(STEPS):
        sum(model(batch(step, rank), right_first=False) / RANKS for rank in range(RANKS)).backward()
        clip_gradients(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
    return model


def poisoned(rank: int) -> tuple[Forked, list[str]]:
    """Rank 1 alone computes a gradient that is not finite."""
    model, cfg = start("adamw", "fp32")
    stepping = InBackward(build_optimizer(model, cfg), clip=None)
    if rank == 1:
        model.unet["left"].weight.register_hook(lambda gradient: gradient * float("nan"))
    model(batch(0, rank), right_first=False).backward()
    return model, stepping.skipped


def naive(rank: int) -> Forked:
    """What must not be done: a model wrapped by DDP, stepped by hooks of autograd."""
    model, _ = start("adamw", "fp32")
    wrapped = DistributedDataParallel(model)
    for parameter in model.parameters():
        optimizer = torch.optim.SGD([parameter], lr=1e-2)

        def step(parameter: torch.Tensor, optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.step()
            parameter.grad = None

        parameter.register_post_accumulate_grad_hook(step)
    for step in range(3):
        wrapped(batch(step, rank), right_first=False).backward()
    return model


def sharded(name: str, rounding: str, rank: int, *, within: bool, stop_at: int | None = None) -> Forked:
    """FSDP2; with `stop_at`, weights and state are gathered there, and go on in a new model and optimizer."""
    model, cfg = start(name, rounding)
    mesh = init_device_mesh("cpu", (RANKS,))

    def shard(model: Forked) -> Any:
        for module in (*model.unet.values(), model):
            fully_shard(module, mesh=mesh, mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.float32))
        optimizer = build_optimizer(model, cfg, seed=1)
        if within:
            InBackward(optimizer, clip=CLIP, bucket=1000)
        return optimizer

    optimizer = shard(model)
    for step in range(STEPS):
        if step == stop_at:
            state = dump_optimizer(optimizer)
            weights = gathered(model)
            model, _ = start(name, rounding)
            model.load_state_dict(weights)
            optimizer = shard(model)
            load_optimizer(optimizer, state)
        model(batch(step, rank), right_first=False).backward()
        if not within:
            clip_gradients(model.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()
    return model


def gathered(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: whole(each.detach()).clone() for name, each in model.named_parameters()}


def main() -> None:
    rank, port, out = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port})
    dist.init_process_group("gloo", rank=rank, world_size=RANKS)
    found: dict[str, torch.Tensor] = {}

    def keep(case: str, model: nn.Module) -> None:
        found.update({f"{case}/{name}": tensor for name, tensor in gathered(model).items()})

    for name in CONFIGS:
        for rounding in ROUNDINGS:
            keep(f"within {name} {rounding}", within_backward(name, rounding, rank))
            keep(f"alone {name} {rounding}", alone(name, rounding))
            if name in SHARDED:
                keep(f"sharded {name} {rounding}", sharded(name, rounding, rank, within=False))
                keep(f"resumed {name} {rounding}", sharded(name, rounding, rank, within=False, stop_at=3))
                keep(f"sharded-within {name} {rounding}", sharded(name, rounding, rank, within=True))
    model, skipped = poisoned(rank)
    keep(f"poisoned {' '.join(skipped)}", model)
    keep("naive", naive(rank))
    save_file({key: tensor.contiguous() for key, tensor in found.items()}, out)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
