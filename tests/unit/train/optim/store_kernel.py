"""A kernel that does nothing but store fp32 numbers as bf16, as the optimizer's do."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from animetune.train.optim.adafactor_triton import _store_rounded


@triton.jit
def _store(values, drawn, stored, COUNT: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.arange(0, COUNT)
    _store_rounded(stored + place, tl.load(values + place), tl.load(drawn + place), place >= 0, tl.bfloat16, True)


def store(values: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """`values` (fp32) as bf16, rounded by `drawn` (int32)."""
    stored = torch.empty_like(values, dtype=torch.bfloat16)
    _store[(1,)](values, drawn, stored, COUNT=len(values))
    return stored
