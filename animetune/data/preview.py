"""Prompts exactly as they will be trained: the same labels, the same `compose`, the same keys of randomness."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from animetune.data.config import DataConfig
from animetune.data.source import open_data, source_of
from animetune.prompts import PromptConfig, compose
from animetune.records import Label
from animetune.seeding import Purpose, rng_for


def preview_prompts(
    cfg: DataConfig, prompts: PromptConfig, *, seed: int, count: int, draws: int
) -> Iterator[tuple[Label, list[str]]]:
    """`count` samples, spread over those that are trained, each with its prompts in the first `draws` epochs."""
    sources = open_data(cfg)
    trained = np.concatenate([source.rows.start + np.flatnonzero(source.repeats > 0) for source in sources])
    chosen = trained[np.linspace(0, len(trained) - 1, min(count, len(trained)), dtype=np.int64)]
    for row in chosen.tolist():
        label = source_of(sources, row).label(row)
        rngs = (rng_for(seed, Purpose.CAPTION, epoch, row, 0) for epoch in range(draws))
        yield label, [compose(label, prompts, rng) for rng in rngs]
