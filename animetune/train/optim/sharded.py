"""What a rank holds of a tensor that FSDP2 sharded: some of its rows, those of the other ranks being elsewhere.

DTensor's own operations would be right as well, but each costs a collective of its own. `hasattr(.., "to_local")` finds
them without importing torch.distributed.tensor, which takes two seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a DTensor."""
    return hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """The rows that this rank holds, as an ordinary tensor on the same memory; all of them if it is not sharded."""
    return cast(Tensor, tensor.to_local()) if hasattr(tensor, "to_local") else tensor


def shard_group(tensor: Any) -> Any:
    """The process group whose ranks hold the other rows."""
    return tensor.device_mesh.get_group(_shard_dimension(tensor))


def first_row(tensor: Any) -> int:
    """Which row of the whole tensor is this rank's first: FSDP2 cuts as torch.chunk does."""
    dimension = _shard_dimension(tensor)
    ranks, rank = tensor.device_mesh.size(dimension), tensor.device_mesh.get_local_rank(dimension)
    return min(rank * -(-tensor.shape[0] // ranks), tensor.shape[0])


def sharded_like(part: Tensor, tensor: Any, shape: Sequence[int], *, by_rows: bool) -> Tensor:
    """This rank's part of something that belongs to a sharded tensor: rows like its rows, or the same on all ranks."""
    from torch.distributed.tensor import DTensor, Replicate

    placements = tensor.placements if by_rows else [Replicate() for _ in tensor.placements]
    stride = torch.empty(tuple(shape), device="meta").stride()
    return DTensor.from_local(
        part, tensor.device_mesh, placements, run_check=False, shape=torch.Size(shape), stride=stride
    )


def as_sharded(tensor: Tensor, owner: Tensor) -> Tensor:
    """`tensor`, which says that it is sharded where it is this rank's part of what belongs to a sharded `owner`."""
    if not is_sharded(tensor) and is_sharded(owner) and tensor.shape == local(owner).shape and tensor.dim():
        return sharded_like(tensor, owner, owner.shape, by_rows=True)
    return tensor


def whole(tensor: Tensor) -> Tensor:
    """All rows, on every rank, which all have to ask."""
    return cast(Tensor, tensor.full_tensor()) if hasattr(tensor, "full_tensor") else tensor


def part_of(tensor: Tensor, like: Tensor) -> Tensor:
    """The rows of a whole tensor that this rank holds of `like`."""
    if not is_sharded(like) or tensor.dim() == 0 or not any(each.is_shard() for each in cast(Any, like).placements):
        return tensor
    start = first_row(like)
    return tensor[start : start + local(like).shape[0]]


def _shard_dimension(tensor: Any) -> int:
    """The dimension of the device mesh along which rows are dealt out; a second one may hold copies."""
    sharded = [index for index, placement in enumerate(tensor.placements) if placement.is_shard()]
    assert len(sharded) == 1, f"rows are dealt out once, not as {tensor.placements}"
    assert tensor.placements[sharded[0]].is_shard(0), f"rows are sharded, not {tensor.placements}"
    return sharded[0]
