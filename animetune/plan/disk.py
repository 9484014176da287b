"""How much disk each stage of a recipe takes, from its settings and a number of pictures.

Latents and weights are exact. What pictures, labels and tables take depends on the pictures: the figures here are
averages, generous ones, of what Danbooru has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from animetune.plan.memory import FP32, state_bytes
from animetune.records import Size
from animetune.shards.config import ShardConfig
from animetune.shards.write import bytes_per_sample
from animetune.train.config import TrainConfig
from animetune.train.lengths import Length

ORIGINAL = 1_200_000
"""Bytes of a post's file: JPEG of 6 megapixels has 1.25 MB, of 3 megapixels 0.7 MB; PNG has seven times as much."""
TABLE_ROW = 3_000
"""Bytes of a picture in a curated table with its steps and answers: tags, scores, hashes, in parquet."""
LABEL_ROW = 1_000
"""Bytes of a picture in a label set without captions."""
CAPTIONS = 1_500
"""Bytes of a picture's long and short caption; the table has them and the label set, too."""

VAE_PARAMETERS = 83_653_863
"""Of SDXL's VAE."""
BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}


def table_bytes(images: int, *, captions: bool) -> float:
    """Of a curated table with all of its steps."""
    return images * (TABLE_ROW + (2 * CAPTIONS if captions else 0))


def label_bytes(images: int, *, captions: bool) -> float:
    """Of a label set."""
    return images * (LABEL_ROW + (CAPTIONS if captions else 0))


def shard_bytes(cfg: ShardConfig, sizes: Sequence[Size], images: int) -> float:
    """Of the samples of `images` pictures that take turns among `sizes`; once each."""
    each = [bytes_per_sample(size, cfg.store, margin=cfg.crop.margin) for size in sizes]
    return images * sum(each) / len(each)


def checkpoint_parts(cfg: TrainConfig, networks: nn.Module) -> dict[str, int]:
    """What one checkpoint holds, in bytes; `networks` are those of `cfg`, on the meta device for all that matters."""
    trained = [parameter for parameter in networks.parameters() if parameter.requires_grad]
    count = sum(parameter.numel() for parameter in trained)
    return {
        "weights": _bytes_of(networks.state_dict().values()),
        "optimizer": sum(state_bytes(parameter, cfg.optimizer) for parameter in trained),
        "EMA": FP32 * count * (len(cfg.ema.decays) if cfg.ema else 0),
    }


def checkpoints_kept(cfg: TrainConfig, *, steps: int, epochs: float) -> int:
    """How many checkpoints of a run are on disk at most: those kept, those kept for good, and the one being written."""
    every = Length.parse(cfg.checkpoints.every)
    places = {"steps": float(steps), "epochs": epochs, "images": float(steps * cfg.data.global_batch)}
    made = math.ceil(round(places.get(every.unit, math.inf) / every.number, 6)) if every.unit in places else math.inf
    for_good = steps // cfg.checkpoints.keep_every if cfg.checkpoints.keep_every else 0
    return int(min(made, cfg.checkpoints.keep + 1 + for_good))


def weights_bytes(parameters: int, *, formats: int, dtype: str, vae_dtype: str) -> float:
    """Of finished weights in so many formats: UNet and text encoders in one type, the VAE in another."""
    return formats * (parameters * BYTES[dtype] + VAE_PARAMETERS * BYTES[vae_dtype])


def _bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
