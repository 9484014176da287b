"""How much arithmetic a training step is, counted on the meta device: no weights, no GPU, no formula to maintain."""

from __future__ import annotations

from torch.utils.flop_counter import FlopCounterMode

from animetune.models.config import ModelConfig
from animetune.models.rehearsal import meta_models, rehearse
from animetune.models.sdxl import Architecture
from animetune.records import Size

RECOMPUTED_NOTHING = {"activation_checkpointing": "none"}


def training_flops(
    architecture: Architecture, size: Size, *, batch: int, chunks: int, cfg: ModelConfig, pixels: bool = False
) -> int:
    """FLOPs (one multiplication and one addition are 2) of one forward and backward pass of a micro-batch.

    Matrix products, convolutions and attention are counted. Text encoders are forward only where `cfg` freezes them,
    and the UNet's gradient ends at their states. With `pixels` the VAE's encoder is in it.

    These are the model's FLOPs: what `cfg` recomputes is not counted twice, so that FLOPs a second over the device's
    peak is the model FLOPs utilisation (MFU; Chowdhery et al. 2022, PaLM, appendix B). About 4 seconds for SDXL.
    """
    return _count(architecture, size, batch, chunks, cfg.model_copy(update=RECOMPUTED_NOTHING), pixels)


def executed_flops(
    architecture: Architecture, size: Size, *, batch: int, chunks: int, cfg: ModelConfig, pixels: bool = False
) -> int:
    """`training_flops` and what is recomputed: what the device really does."""
    return _count(architecture, size, batch, chunks, cfg, pixels)


def _count(architecture: Architecture, size: Size, batch: int, chunks: int, cfg: ModelConfig, pixels: bool) -> int:
    models = meta_models(architecture, cfg)
    with FlopCounterMode(display=False) as counter:
        rehearse(models, size, batch=batch, chunks=chunks, pixels=pixels)
    return counter.get_total_flops()
