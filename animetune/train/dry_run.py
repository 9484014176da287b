"""One micro-batch of every size before the first step, so that what does not fit into memory shows now.

Forward and backward pass, a step of the optimizer, and then every size once more beside the state that this made, the
largest first. Learning rates are 0 and the state is forgotten afterwards, so that no weight, counter or random number
of the run depends on whether there was a dry run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from animetune import fsio
from animetune.diffusion.loss import diffusion_loss
from animetune.errors import NonFiniteError, SetupError
from animetune.progress import track
from animetune.records import LATENT_CHANNELS, Batch, Size
from animetune.tokens import tokenize
from animetune.train.config import TrainConfig
from animetune.train.optim.clip import clip_gradients
from animetune.train.optim.state import forget_state
from animetune.train.parallel import together

if TYPE_CHECKING:
    from animetune.train.module import TrainModule


def run(module: TrainModule) -> None:
    """Compute all shapes of the module's data if its configuration asks for it; every rank does the same.

    Raises SetupError, on all ranks, when one does not fit into the device's memory, and NonFiniteError when gradients
    are NaN or infinite.
    """
    wanted = module.cfg.loop.dry_run
    if wanted == "never" or (wanted == "auto" and module.device.type != "cuda"):
        return
    on_gpu = module.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(module.device)
    shapes = sorted(module.stream.loader.shapes, key=lambda shape: (shape[0].area * shape[1], shape), reverse=True)
    with together(module.trainer), _without_a_trace(module.optimizer), track("dry run", len(shapes) + 1) as progress:
        for place, (size, samples) in enumerate((shapes[0], *shapes)):
            with memory_named(module.cfg, size, samples):
                _compute(module, size, samples, steps=place == 0)
            peak = torch.cuda.max_memory_allocated(module.device) / 1e9 if on_gpu else 0.0
            progress.advance(1, **({"peak": f"{peak:.1f} GB"} if on_gpu else {}))
    if module.trainer.is_global_zero:
        event = {"event": "dry run", "shapes": len(shapes), "largest": f"{shapes[0][0].name} x {shapes[0][1]}"}
        fsio.append_line(
            Path(module.cfg.run, "ledger.jsonl"), {**event, **({"peak_gb": round(peak, 3)} if on_gpu else {})}
        )


@contextmanager
def memory_named(cfg: TrainConfig, size: Size, samples: int) -> Iterator[None]:
    """Turn running out of GPU memory within the block into a SetupError that says at what, and what to change."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        remedies = [f"lower data.micro_batch ({cfg.data.micro_batch})"]
        if cfg.model.activation_checkpointing != "full":
            remedies.append("set model.activation_checkpointing: full")
        if cfg.model.dtype == "bfloat16" and cfg.optimizer.rounding == "master":
            remedies.append("optimizer.rounding: stochastic")
        if cfg.ema and cfg.ema.device == "model":
            remedies.append("ema.device: cpu")
        if cfg.loop.strategy != "fsdp":
            remedies.append("on several GPUs loop.strategy: fsdp")
        raise SetupError(
            f"{size.name}, {samples} at once: out of GPU memory ({str(error).partition('. ')[0]}); "
            + ", ".join(remedies)
        ) from error


@contextmanager
def _without_a_trace(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Within the block steps change no weight, and after it there were none."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    try:
        yield
    finally:
        optimizer.zero_grad(set_to_none=True)
        forget_state(optimizer)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def _compute(module: TrainModule, size: Size, samples: int, *, steps: bool) -> None:
    batch = blank(size, samples, chunks=module.cfg.data.chunks, pixels=module.stream.loader.holds_pixels)
    with torch.enable_grad():
        loss = diffusion_loss(module.models, batch.to(module.device), module.cfg.diffusion, seed=module.cfg.seed).loss
        loss.backward()
    if steps and module.cfg.optimizer.name != "custom":  # which may do more at a rate of 0 than nothing
        _check_gradients(module.optimizer, size, samples)
        module.optimizer.step()
    if _most_accumulated(module) == 1:  # else gradients lie there while the next micro-batch computes
        module.optimizer.zero_grad(set_to_none=True)


def _most_accumulated(module: TrainModule) -> int:
    """Micro-batches of the run's largest step: the batch may grow between epochs."""
    stream = module.stream
    begun = [each.first_epoch for each in stream.calendar.phases]
    reached = [epoch for epoch in begun if stream.calendar.step_of(epoch) < stream.total_steps]
    return max(stream.loader.accumulation_in(epoch) for epoch in reached)


def _check_gradients(optimizer: torch.optim.Optimizer, size: Size, samples: int) -> None:
    """Raise NonFiniteError if a step would change weights: a rate of 0 times NaN is NaN."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not math.isfinite(clip_gradients(parameters, None)):
        raise NonFiniteError(
            f"dry run, {size.name}, {samples} at once: gradients are NaN or infinite, even for empty pictures; look at "
            "the settings under diffusion, or try another model.base"
        )


def blank(size: Size, samples: int, *, chunks: int, pixels: bool) -> Batch:
    """A micro-batch of empty pictures without prompts, on the CPU."""
    height, width = size.height, size.width
    return Batch(
        size=size,
        epoch=0,
        step=0,
        rows=torch.arange(samples),
        copies=torch.zeros(samples, dtype=torch.int64),
        slots=torch.arange(samples),
        token_ids=torch.from_numpy(np.stack([tokenize("", chunks=chunks)] * samples)),
        time_ids=torch.tensor([[height, width, 0, 0, height, width]] * samples, dtype=torch.float32),
        loss_weights=torch.ones(samples),
        share=1.0,
        global_batch=samples,
        prompts=[""] * samples,
        latents=None if pixels else torch.zeros(samples, LATENT_CHANNELS, *size.cells),
        pixels=torch.zeros(samples, 3, height, width, dtype=torch.uint8) if pixels else None,
    )
