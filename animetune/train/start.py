"""What is looked at once before a run begins from a base: whether its weights are what they have to be."""

from __future__ import annotations

import logging

import torch

from animetune.errors import ConfigError, DataError
from animetune.models.sdxl import Sdxl
from animetune.train.config import TrainConfig

_log = logging.getLogger(__name__)


def check_base(models: Sdxl, cfg: TrainConfig, *, warns: bool = True) -> None:
    """Check weights that were just loaded; their names and shapes were when they were.

    Raises DataError when a weight is NaN or infinite, ConfigError when the base says that it predicts something else
    than `diffusion.prediction` trains. Bases that say nothing, as SDXL's own, count as epsilon; training them to
    predict something else is slow at first, but right, and only warned of, if this process `warns`.
    """
    for name, tensor in models.state_dict().items():
        if not torch.isfinite(tensor.sum(dtype=torch.float32)):  # a sum needs no copy, and keeps every NaN
            raise DataError(f"model.base: {cfg.model.base}: {name} holds NaN or infinity; take another copy")
    base, wanted = models.parameterization, cfg.diffusion
    if base.prediction != "epsilon" and wanted.prediction not in (base.prediction, "flow"):
        raise ConfigError(
            f"diffusion.prediction: {wanted.prediction}, but {cfg.model.base} is marked as predicting "
            f"{base.prediction}; set it to {base.prediction}"
        )
    if not warns:
        return
    if base.prediction != wanted.prediction:
        _log.warning(
            "%s is not marked as predicting %s: its first thousands of steps learn to; if it does so already, but does "
            "not say so, all is well",
            cfg.model.base,
            wanted.prediction,
        )
    elif base.zero_terminal_snr != wanted.zero_terminal_snr:
        said = "zero terminal SNR" if base.zero_terminal_snr else "no zero terminal SNR"
        _log.warning("%s was trained with %s, diffusion.zero_terminal_snr says otherwise", cfg.model.base, said)
