"""Tensors of another type, for files that others read."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from animetune.errors import DataError
from animetune.tensorfile import Entry


def cast_entry(name: str, shape: tuple[int, ...], dtype: torch.dtype, make: Callable[[], Tensor]) -> Entry:
    """What `make` will give, written as `dtype`; `cast` says what it raises then."""
    return Entry(name, shape, dtype, lambda: cast(make().detach().cpu(), dtype, name))


def tensor_entry(name: str, tensor: Tensor, dtype: torch.dtype) -> Entry:
    """The same for a tensor that is at hand."""
    return cast_entry(name, tuple(tensor.shape), dtype, lambda: tensor)


def cast(tensor: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """`tensor` as `dtype`; DataError when it holds NaN or infinity or does not fit."""
    converted = tensor.to(dtype)
    if not torch.isfinite(converted).all():
        if not torch.isfinite(tensor).all():
            raise DataError(f"{name}: holds NaN or infinity; the weights are damaged, go back to an earlier checkpoint")
        raise DataError(
            f"{name}: {tensor.abs().max().item():.6g} does not fit {dtype} (largest "
            f"{torch.finfo(dtype).max:.6g}); export as bfloat16 or float32"
        )
    return converted
