"""Which rank of how many this process is: one answer for Lightning, torch.distributed, streaming and the loaders.

Lightning knows it from torchrun, Slurm or its own launcher; mosaicml-streaming and the loaders read the environment
variables of torchrun. If they disagreed, every rank would train the same samples, without any error.
"""

from __future__ import annotations

import os
from typing import Any

import torch.distributed as dist

from animetune.errors import SetupError


def export_ranks(trainer: Any) -> None:
    """Set RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE and NODE_RANK from a Lightning trainer that has started."""
    os.environ.update(
        RANK=str(trainer.global_rank),
        WORLD_SIZE=str(trainer.world_size),
        LOCAL_RANK=str(trainer.local_rank),
        LOCAL_WORLD_SIZE=str(trainer.num_devices),
        NODE_RANK=str(trainer.node_rank),
    )


def rank_and_size() -> tuple[int, int]:
    """(rank, number of ranks) from the environment; SetupError when torch.distributed says otherwise."""
    told = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if dist.is_available() and dist.is_initialized() and (dist.get_rank(), dist.get_world_size()) != told:
        raise SetupError(
            f"the environment says rank {told[0]} of {told[1]} (RANK, WORLD_SIZE), torch.distributed rank "
            f"{dist.get_rank()} of {dist.get_world_size()}: every rank would train the same samples. Start the program "
            "with torchrun, use AnimeDataModule, or set RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE"
        )
    return told
