"""Prompts exactly as they will be trained: the same labels, the same `compose`, the same keys of randomness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import pyarrow.compute as pc

from animetune.data.config import DataConfig
from animetune.data.source import open_data, source_of
from animetune.errors import ConfigError, DataError
from animetune.prompts import PromptConfig, compose
from animetune.records import Label
from animetune.seeding import Purpose, rng_for
from animetune.tokens import Split, count_fitting, count_tokens

EMPTY = "(an empty prompt)"
"""Stands for a prompt that was dropped as a whole, or has no parts."""


class Labelled(Protocol):
    """Samples whose prompts can be looked at: those of shards, or the rows of a curated table."""

    def trained(self) -> np.ndarray:
        """int64: the rows that are drawn at all, ascending."""

    def labels(self, rows: Sequence[int]) -> list[Label]:
        """The labels of some rows, which ascend."""

    def sources(self) -> set[str]:
        """Names of the curated sources that the samples are from."""


class TrainedSamples:
    """The samples of a training configuration, by their rows in its epoch plan.

    Raises what `open_data` raises.
    """

    def __init__(self, cfg: DataConfig):
        self._sources = open_data(cfg)

    def trained(self) -> np.ndarray:
        """int64: the rows whose repeats are above 0."""
        return np.concatenate([each.rows.start + np.flatnonzero(each.repeats > 0) for each in self._sources])

    def labels(self, rows: Sequence[int]) -> list[Label]:
        """The labels of some rows of the plan."""
        return [source_of(self._sources, row).label(row) for row in rows]

    def sources(self) -> set[str]:
        """The first parts of all keys."""
        keys = [each.labels.column("key") for each in self._sources]
        return {
            name for column in keys for name in pc.unique(pc.replace_substring_regex(column, "/.*", "")).to_pylist()
        }


def preview_prompts(
    samples: Labelled, prompts: PromptConfig, *, seed: int, count: int, draws: int
) -> Iterator[tuple[Label, list[str]]]:
    """`count` samples, spread over those that are trained, each with its prompts in the first `draws` epochs.

    Raises ConfigError when `prompts` names a source that no sample is from, DataError when none is trained.
    """
    if prompts.add_by_source:
        known = samples.sources()
        if unknown := sorted(prompts.add_by_source.keys() - known):
            names = ", ".join(sorted(known))
            raise ConfigError(f"prompts.add_by_source: no sample is from the source {unknown[0]}; there are {names}")
    trained = samples.trained()
    if not len(trained):
        raise DataError("no sample is trained: repeats are 0 for all of the split train; look at balance and filters")
    chosen = trained[np.linspace(0, len(trained) - 1, min(count, len(trained)), dtype=np.int64)].tolist()
    for row, label in zip(chosen, samples.labels(chosen), strict=True):
        rngs = (rng_for(seed, Purpose.CAPTION, epoch, row, 0) for epoch in range(draws))
        yield label, [compose(label, prompts, rng) for rng in rngs]


def preview_lines(label: Label, prompts: Sequence[str], *, chunks: int, split: Split) -> Iterator[str]:
    """A sample and its prompts as lines of text, with what does not fit into `chunks` of tokens."""
    yield f"{_visible(label.key)}  [{label.content_bucket}]"
    for prompt in prompts:
        tokens, trained = count_tokens(prompt), count_fitting(prompt, chunks=chunks, split=split)
        cut = f"  [cut: {tokens} tokens, {trained} are trained]" if tokens > trained else ""
        yield f"    {_visible(prompt) or EMPTY}{cut}"


def _visible(text: str) -> str:
    """The text, with control characters written out, which would command the terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
