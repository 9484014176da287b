"""Which device computes."""

from __future__ import annotations

import torch

from animetune.errors import SetupError


def pick_device(name: str, *, setting: str = "device") -> torch.device:
    """`auto` is the first GPU, or the CPU where there is none; `cpu` and `cuda` are themselves.

    Raises SetupError, naming the setting, for `cuda` where torch sees no GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise SetupError(f"{setting}: cuda was asked for, but torch sees no GPU; use cpu, or look at the driver")
    return torch.device(name)
