"""Micro-conditioning (SDXL, arXiv:2307.01952, section 2.2): the UNet is told the source size, the crop and the size.

time_ids = (original height, width, crop top, left, target height, width), in pixels; `buckets.time_ids` computes them.
Each number becomes a 256-dim sinusoid, and the six are laid behind the pooled text: 1280 + 6 * 256 = 2816.
"""

from __future__ import annotations

import torch
from torch import Tensor


def added_conditions(pooled: Tensor, time_ids: Tensor) -> dict[str, Tensor]:
    """diffusers' `added_cond_kwargs` of pooled text (b, 1280) and float32 time_ids (b, 6).

    The sinusoids must be computed from exact pixel counts: bfloat16 turns 1333 into 1336, three radians at the highest
    frequency. diffusers embeds in float32 whatever integers it is given, and neither autocast nor FSDP's mixed
    precision casts integers, so integers are passed on.
    """
    return {"text_embeds": pooled, "time_ids": time_ids.round().to(torch.int64)}
