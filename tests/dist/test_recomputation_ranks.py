"""Recomputation under FSDP2: a block's weights are gathered again when its forward pass is run in the backward pass."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from animetune.models.config import ModelConfig
from animetune.models.load import prepare
from animetune.models.sdxl import Sdxl
from animetune.models.tiny import build_tiny
from tests.builders import token_ids

RANKS = 2


def gradients(models: Sdxl) -> dict[str, Tensor]:
    text = models.encode_text(token_ids("a girl", "a cat"))
    x_t = torch.linspace(-1, 1, 2 * 4 * 8 * 8).reshape(2, 4, 8, 8)
    models.predict(x_t, torch.tensor([100, 900]), text, torch.full((2, 6), 64.0)).square().mean().backward()
    return {name: parameter.grad for name, parameter in models.named_parameters() if parameter.grad is not None}


def models_with(mode: str) -> Sdxl:
    models = build_tiny(seed=3).train()
    prepare(models, ModelConfig(base="random:tiny", activation_checkpointing=mode))
    return models


def compare(rank: int, store: str) -> None:
    """On one rank: gradients of the sharded model, gathered, and those of a whole one."""
    from torch.distributed.device_mesh import init_device_mesh

    from animetune.train.parallel import shard

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS)
    try:
        expected = gradients(models_with("none"))
        for mode in ("selective", "full"):
            models = models_with(mode)
            shard(models, init_device_mesh("cpu", (RANKS,)))
            found = gradients(models)
            assert found.keys() == expected.keys()
            for name, gradient in found.items():
                whole = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
                torch.testing.assert_close(whole, expected[name], rtol=1e-4, atol=1e-7, msg=f"{mode} {name}")
    finally:
        dist.destroy_process_group()


@pytest.mark.dist
def test_sharded_recomputation_changes_no_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    torch.multiprocessing.spawn(compare, (str(tmp_path / "store"),), nprocs=RANKS)
