"""Tensors of another type, for files that others read, and what is lost by it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from animetune.errors import DataError
from animetune.models.lazy import LazyTensor
from animetune.tensorfile import Entry

TOO_SMALL = 2.0**-19
"""Magnitude below which float16 keeps fewer than six significant bits, and below 2**-25 none."""
WARNED_SHARE = 1e-3
"""Share of a tensor's numbers that may be below it unmentioned; of SDXL's weights a hundredth of a per cent is."""
WARNED_COUNT = 4
"""Such numbers that are needed for a warning: in a short bias one or two are chance."""
_AT_ONCE = 1 << 20
"""Numbers that are cast at a time: their copies stay in the processor's cache."""


@dataclass
class Lost:
    """Tensors of which a cast loses small numbers."""

    shares: dict[str, float] = field(default_factory=dict)
    """Tensor -> share of its numbers that are not zero and below `TOO_SMALL`."""

    @property
    def warning(self) -> str | None:
        """One sentence that names the worst tensor and the remedy; None when nothing is lost."""
        if not self.shares:
            return None
        worst = max(self.shares, key=lambda name: self.shares[name])
        others = f", and so are those of {len(self.shares) - 1} other tensors" if len(self.shares) > 1 else ""
        return (
            f"{worst}: {100 * self.shares[worst]:.2g} % of its numbers are so small (under {TOO_SMALL:.1e}) that "
            f"float16 rounds them coarsely or to zero{others}; "
            "write bfloat16 or float32 to keep them"
        )


def cast_entry(name: str, lazy: LazyTensor, dtype: torch.dtype, lost: Lost) -> Entry:
    """A tensor to be written as `dtype`; `cast` says what it raises then."""
    return Entry(name, lazy.shape, dtype, lambda: cast(lazy.load().detach().cpu(), dtype, name, lost))


def cast(tensor: Tensor, dtype: torch.dtype, name: str, lost: Lost) -> Tensor:
    """`tensor` as `dtype`; DataError when it holds NaN or infinity or does not fit. What is lost is noted in `lost`."""
    flat = tensor.contiguous().reshape(-1)
    result = torch.empty_like(flat, dtype=dtype)
    is_narrowed = dtype == torch.float16 and tensor.dtype != torch.float16
    small = 0
    for start in range(0, len(flat), _AT_ONCE):
        part = flat[start : start + _AT_ONCE]
        converted = result[start : start + _AT_ONCE].copy_(part)
        if not torch.isfinite(converted).all():
            raise _misfit(flat, dtype, name)
        if is_narrowed:
            magnitude = part.abs()
            small += int(torch.count_nonzero(magnitude < TOO_SMALL)) - int(torch.count_nonzero(part == 0))
    if small >= WARNED_COUNT and small / len(flat) > WARNED_SHARE:
        lost.shares[name] = small / len(flat)
    return result.reshape(tensor.shape)


def _misfit(flat: Tensor, dtype: torch.dtype, name: str) -> DataError:
    if not torch.isfinite(flat.float()).all():
        return DataError(f"{name}: holds NaN or infinity; the weights are damaged, go back to an earlier checkpoint")
    return DataError(
        f"{name}: {flat.abs().max().item():.6g} does not fit {dtype} (largest {torch.finfo(dtype).max:.6g}); export as "
        "bfloat16 or float32"
    )
