"""Predicted memory against independent counts: published traces, real steps on the CPU, and real optimizers' states."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from animetune.models.config import ModelConfig
from animetune.models.load import prepare
from animetune.models.rehearsal import meta_models
from animetune.models.sdxl import Sdxl, sdxl_configs
from animetune.models.tiny import build_tiny, tiny_configs
from animetune.plan.memory import LiveBytes, Memory, predict_memory, state_bytes
from animetune.records import Size
from animetune.train.optim import build_optimizer
from animetune.train.optim.config import AdafactorConfig, AdamW8bitConfig, AdamWConfig, AnyOptimizerConfig, LionConfig
from tests.builders import token_ids

GB = 1e9
BUCKET_GB = 0.07
"""The traces freed each gradient at once; we step 67 MB of them together."""
ADAFACTOR = AdafactorConfig(name="adafactor", unet_lr=1e-5)
IN_BACKWARD = AdafactorConfig(name="adafactor", unet_lr=1e-5, rounding="stochastic", in_backward=True, clip=None)
ADAMW = AdamWConfig(name="adamw", unet_lr=1e-5)
FROZEN = {"train_text_encoder": False, "train_text_encoder_2": False}


def predicted(
    optimizer: AnyOptimizerConfig = ADAFACTOR, *, size: int = 1024, batch: int = 1, **settings: Any
) -> Memory:
    """Of the real SDXL, UNet trained, in bf16."""
    cfg = ModelConfig(base="random:sdxl", dtype="bfloat16", **{**FROZEN, **settings})
    return predict_memory(meta_models(sdxl_configs(), cfg), optimizer, Size(size, size), batch=batch, chunks=1)


# ---- the UNet's activations and gradients, traced before by another program (FakeTensor, live storages)


@pytest.mark.parametrize(
    ("optimizer", "mode", "expected"), [(ADAFACTOR, "none", 6.92), (IN_BACKWARD, "full", 0.72)], ids=["kept", "least"]
)
def test_a_step_of_the_real_unet(optimizer: AnyOptimizerConfig, mode: str, expected: float) -> None:
    found = predicted(optimizer, activation_checkpointing=mode).step / GB
    assert found == pytest.approx(expected, rel=0.02, abs=BUCKET_GB)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "mode", "batch", "size", "expected"),
    [
        (ADAFACTOR, "none", 8, 1024, 55.4),
        (IN_BACKWARD, "none", 1, 1024, 6.92),
        (ADAFACTOR, "full", 1, 1024, 5.40),
        (ADAFACTOR, "full", 8, 1024, 7.99),
        (IN_BACKWARD, "full", 4, 1024, 2.90),
        (ADAFACTOR, "none", 1, 1536, 15.5),
        (IN_BACKWARD, "full", 1, 1536, 1.63),
    ],
)
def test_steps_of_the_real_unet(
    optimizer: AnyOptimizerConfig, mode: str, batch: int, size: int, expected: float
) -> None:
    found = predicted(optimizer, batch=batch, size=size, activation_checkpointing=mode)
    assert found.step / GB == pytest.approx(expected, rel=0.02, abs=BUCKET_GB)


@pytest.mark.slow
def test_selective_recomputation_of_the_real_unet() -> None:
    """What the configuration's docstring says."""
    none, selective, full = (
        predicted(IN_BACKWARD, batch=8, activation_checkpointing=mode).step for mode in ("none", "selective", "full")
    )
    assert selective / none == pytest.approx(0.48, abs=0.01)
    assert full / none == pytest.approx(0.10, abs=0.01)


# ---- a real step of the tiny model, watched on the CPU


REGIMES: dict[str, tuple[dict[str, Any], AnyOptimizerConfig]] = {
    "fp32": ({}, ADAMW),
    "fp32, frozen text": (FROZEN, ADAMW),
    "masters": ({"dtype": "bfloat16"}, ADAFACTOR),
    "masters, AdamW": ({"dtype": "bfloat16"}, ADAMW),
    "selective": ({"dtype": "bfloat16", "activation_checkpointing": "selective"}, ADAFACTOR),
    "full": ({"dtype": "bfloat16", "activation_checkpointing": "full"}, ADAFACTOR),
}


@pytest.mark.parametrize("regime", REGIMES)
def test_a_real_step(regime: str) -> None:
    """Everything that the second step makes, beside weights and states."""
    settings, optimizer_config = REGIMES[regime]
    cfg = ModelConfig(base="random:tiny", **settings)
    size, batch = Size(256, 192), 4
    expected = predict_memory(meta_models(tiny_configs(), cfg), optimizer_config, size, batch=batch, chunks=2)

    models = build_tiny(seed=1).to(getattr(torch, cfg.dtype)).train()
    prepare(models, cfg)
    optimizer = build_optimizer(models, optimizer_config)
    backward(models, size, batch=batch)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    gc.collect()
    with LiveBytes() as live:
        backward(models, size, batch=batch)
        assert live.peak == pytest.approx(expected.step, rel=0.05)
        live.peak = 0
        optimizer.step()
    # On a CPU the arithmetic itself is not fused: three tensors as large as the largest, or as a tile of Adafactor's.
    largest = max(parameter.numel() for parameter in models.parameters())
    assert expected.update <= live.peak <= expected.update + 3 * 4 * largest


def backward(models: Sdxl, size: Size, *, batch: int) -> None:
    text = models.encode_text(token_ids(*["a girl"] * batch, chunks=2))
    x_t = torch.linspace(-1, 1, batch * 4 * size.area // 64).reshape(batch, 4, size.height // 8, size.width // 8)
    time_ids = torch.full((batch, 6), 64.0)
    models.predict(x_t, torch.full((batch,), 500), text, time_ids).square().mean().backward()


def test_accumulated_gradients_wait() -> None:
    models = meta_models(tiny_configs(), ModelConfig(base="random:tiny"))
    gradients = sum(4 * parameter.numel() for parameter in models.parameters() if parameter.requires_grad)
    size = {"batch": 8, "chunks": 1}
    once = predict_memory(models, ADAMW, Size(256, 256), **size)
    again = predict_memory(models, ADAMW, Size(256, 256), **size, accumulates=True)
    assert 0.5 * gradients < again.step - once.step <= gradients
    assert all(parameter.grad is None for parameter in models.parameters())


def test_live_bytes_count_what_lives() -> None:
    with LiveBytes() as live:
        kept = torch.zeros(1000)
        view = kept[:10]
        assert live.now == 4000
        temporary = torch.zeros(500)
        kept.add_(1.0)
        del temporary
        assert live.now == 4000
        del kept
        assert live.now == 4000
        del view
        assert live.now == 0
        live.lend(7000)
    assert live.peak == 7000


# ---- what stays


@pytest.mark.parametrize(
    "optimizer",
    [
        ADAMW,
        ADAFACTOR,
        AdafactorConfig(name="adafactor", unet_lr=1e-5, flatten_convolutions=True, beta1=0.9),
        AdafactorConfig(name="adafactor", unet_lr=1e-5, rounding="stochastic"),
        AdamW8bitConfig(name="adamw8bit", unet_lr=1e-5, rounding="stochastic"),
        LionConfig(name="lion", unet_lr=1e-5),
    ],
    ids=lambda config: f"{config.name}-{config.rounding}",
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_state_of_a_real_optimizer(optimizer: AnyOptimizerConfig, dtype: torch.dtype) -> None:
    models = nn.ModuleDict({"unet": nn.Sequential(nn.Conv2d(32, 48, 3), nn.Linear(80, 96), nn.LayerNorm(8000))}).to(
        dtype
    )
    for parameter in models.parameters():
        parameter.grad = torch.ones_like(parameter)
    built = build_optimizer(models, optimizer)
    built.step()
    held = sum(tensor.nbytes for tensor in tensors_of(built.state_dict()["state"]) if tensor.numel() > 256)
    expected = sum(state_bytes(parameter, optimizer) for parameter in models.parameters())
    # Left out on both sides: step counts, and the 256 numbers of bitsandbytes' code.
    small = sum(state_bytes(parameter, optimizer) for parameter in models.parameters() if parameter.numel() < 256)
    assert held == pytest.approx(expected - small, rel=0.05)


def tensors_of(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for child in children for tensor in tensors_of(child)]


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [(ADAMW, 20.54), (ADAFACTOR, 0.98), (AdamW8bitConfig(name="adamw8bit", unet_lr=1e-5), 5.22)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_state_of_the_real_unet(optimizer: AnyOptimizerConfig, expected: float) -> None:
    models = meta_models(sdxl_configs(), ModelConfig(base="random:sdxl", **FROZEN))
    assert sum(parameter.numel() for parameter in models.unet.parameters()) == 2_567_463_684
    total = sum(state_bytes(parameter, optimizer) for parameter in models.unet.parameters())
    assert total / GB == pytest.approx(expected, abs=0.02)


def test_averages_and_what_is_offloaded() -> None:
    models = meta_models(tiny_configs(), ModelConfig(base="random:tiny", **FROZEN))
    shape = {"batch": 1, "chunks": 1}
    plain = predict_memory(models, ADAMW, Size(64, 64), **shape)
    more = predict_memory(models, ADAMW, Size(64, 64), **shape, averages=2, offload_frozen=True)
    assert models.vae is not None
    encoders = [bytes_of(models.text_encoder), bytes_of(models.text_encoder_2), bytes_of(models.vae)]
    assert more.ema == 2 * bytes_of(models.unet)
    assert plain.ema == 0
    assert plain.weights == more.weights + sum(encoders) == bytes_of(models.unet) + sum(encoders)
    assert more.step >= sum(encoders[:2])  # both text encoders are there at a time


def bytes_of(network: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in network.parameters())
