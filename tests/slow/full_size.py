"""One training step of the true SDXL on the CPU, run by test_full_size in a process of its own.

Prints one line of JSON: seconds, bytes and what became of the weights. Memory is the resident set, in bytes: `imports`
before any weight is there, `held` when all are, `loading` and `step` at most.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
import xxhash

from animetune.diffusion.config import DiffusionConfig
from animetune.diffusion.loss import diffusion_loss
from animetune.models.config import ModelConfig
from animetune.models.load import load_models
from animetune.records import Batch, Size
from animetune.train.optim import build_optimizer
from animetune.train.optim.config import AdafactorConfig
from animetune.train.optim.in_backward import InBackward
from tests.builders import token_ids

MODEL = ModelConfig(base="random:sdxl", dtype="bfloat16")
# At the rate of a recipe most bf16 vectors would stay as they are in one step: it is drawn who moves.
OPTIMIZER = AdafactorConfig(name="adafactor", unet_lr=1e-2, rounding="stochastic", in_backward=True, clip=None)
SIZE = Size(256, 256)


def resident(field: str) -> int:
    """`VmRSS`, or `VmHWM`, the most since `forget_peak`."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[field].split()[0])


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def digests(models: torch.nn.Module) -> dict[str, str]:
    return {
        name: xxhash.xxh3_64_hexdigest(weights.detach().contiguous().view(torch.uint8).numpy())
        for name, weights in models.named_parameters()
    }


def main() -> None:
    found: dict[str, object] = {"imports": resident("VmRSS")}
    begun = time.perf_counter()
    models = load_models(MODEL).train()
    found |= {"loading": resident("VmHWM"), "loading_seconds": time.perf_counter() - begun}
    before = digests(models)
    one = torch.zeros(1, dtype=torch.int64)
    batch = Batch(
        size=SIZE,
        epoch=0,
        step=0,
        rows=one,
        copies=one,
        slots=one,
        token_ids=token_ids("a girl with long silver hair sits by a rainy window and reads"),
        time_ids=torch.tensor([[256.0, 256, 0, 0, 256, 256]]),
        loss_weights=torch.ones(1),
        share=1.0,
        global_batch=1,
        prompts=[""],
        latents=torch.linspace(-8, 8, 4 * 32 * 32).reshape(1, 4, 32, 32),
    )
    optimizer = build_optimizer(models, OPTIMIZER)
    stepping = InBackward(optimizer, clip=None)
    forget_peak()
    found["held"] = resident("VmRSS")
    begun = time.perf_counter()
    output = diffusion_loss(models, batch, DiffusionConfig(), seed=0)
    output.loss.backward()
    found |= {"step_seconds": time.perf_counter() - begun, "step": resident("VmHWM")}
    after = digests(models)
    trained = {name for name, weights in models.named_parameters() if weights.requires_grad}
    found |= {
        "loss": float(output.loss.detach()),
        "grad_norm": stepping.grad_norm,
        "skipped": len(stepping.skipped),
        "parameters": sum(parameter.numel() for parameter in models.parameters()),
        "trained": len(trained),
        "unchanged": sorted(name for name in trained if after[name] == before[name]),
        "changed_though_frozen": sorted(name for name in after if name not in trained and after[name] != before[name]),
        "gradients_left": sum(parameter.grad is not None for parameter in models.parameters()),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
