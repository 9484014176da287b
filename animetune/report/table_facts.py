"""All that the report of a curated table knows, as plain data: `table_reading` makes it, `table_page` shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from animetune.manifest import Manifest
from animetune.prompts import PromptConfig
from animetune.report.image_facts import ImageFacts
from animetune.report.table_counts import Count
from animetune.report.table_sizes import Sizes
from animetune.report.table_steps import Loss, StepCount
from animetune.report.table_texts import Phrase
from animetune.tokens import CHUNK_BODY, Split


@dataclass(frozen=True)
class Training:
    """What a training configuration says of prompts, or the defaults."""

    prompts: PromptConfig = field(default_factory=PromptConfig)
    seed: int = 0
    chunks: int = 3
    """Chunks of 75 tokens that are trained."""
    split: Split = "anywhere"
    global_batch: int | None = None
    file: Path | None = None
    """Where it was read from; None for the defaults."""

    @property
    def limit(self) -> int:
        """Tokens that are trained at most."""
        return self.chunks * CHUNK_BODY


@dataclass(frozen=True)
class PhraseCount:
    """A phrase in the captions, and in the prompts that are made of them."""

    text: str
    captions: int
    prompts: int


@dataclass(frozen=True)
class Texts:
    """Captions and prompts of sampled pictures; every number is of the sample."""

    pictures: int = 0
    """Pictures in the sample."""
    captions: int = 0
    """Their captions, long and short."""
    long_tokens: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64: tokens of each long caption."""
    short_tokens: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    prompt_tokens: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64: tokens of a prompt of each picture that is trained."""
    prompts_cut: int = 0
    """Prompts of which a part is not trained."""
    prompts_empty: int = 0
    openings: Sequence[Phrase] = ()
    phrases: Sequence[PhraseCount] = ()
    """References to style."""
    captions_with_style: int = 0
    """Captions with any of them."""
    prompts_with_style: int = 0
    runs: Sequence[Phrase] = ()
    """Runs of words that many captions share."""
    repeated: Sequence[Phrase] = ()
    """Captions that several pictures share, word for word."""
    hidden: int = 0
    """Captions with characters that have no glyph, or that turn the direction of text."""


@dataclass(frozen=True)
class Crop:
    """The part of a picture that is trained, in percent of its sides."""

    left: float
    top: float
    width: float
    height: float
    size: str


@dataclass(frozen=True)
class Draw:
    """One prompt of a picture."""

    trained: str
    cut: str
    """The end that does not fit."""
    dropped: Sequence[str]
    """Tags that this draw left out."""
    tokens: int


@dataclass(frozen=True)
class SheetPicture:
    """A picture of the contact sheet."""

    key: str
    image: str
    """`data:` URI; empty for none."""
    is_veiled: bool
    """Blurred until the reader asks for it."""
    notes: Sequence[str]
    """Content bucket, classes, repeats."""
    crop: Crop | None
    draws: Sequence[Draw]
    taken_out: Sequence[str]
    """Tags that the post had and that curation removed."""


@dataclass(frozen=True)
class LossExample:
    """A post that was refused."""

    key: str
    image: str
    is_veiled: bool
    detail: str


@dataclass(frozen=True)
class ShownLoss:
    """A reason for which posts were refused, with some of them."""

    loss: Loss
    examples: Sequence[LossExample]


@dataclass(frozen=True)
class TagCounts:
    """The tags of one category."""

    tags: Mapping[str, Count]
    """Most pictures first."""

    @property
    def uses(self) -> int:
        """Pictures, added up over tags."""
        return sum(count.pictures for count in self.tags.values())


@dataclass(frozen=True)
class TableFacts:
    """What a report shows of a table. Every part may be empty: its section then says so."""

    title: str
    manifest: Manifest
    posts: int
    """Posts read; close-ups that curation added are not among them, but are among `manifest.seen`."""
    pictures: int
    """Training pictures, which all `Count`s are of."""
    held_out: int
    classes: Mapping[str, Mapping[str, Count]]
    """Column -> value -> count, most pictures first."""
    years: Mapping[str, Count]
    people: Mapping[str, Count]
    captions: Mapping[str, Count]
    tags: Mapping[str, TagCounts]
    """Category -> tags."""
    hidden_tags: Sequence[str]
    """Tags with characters that have no glyph, or that turn the direction of text."""
    repeats: np.ndarray
    """float32 (pictures,)"""
    views: np.ndarray
    """float32 (pictures,): repeats times loss weight, what a picture is worth in an epoch."""
    loss_weights: np.ndarray
    """float32 (pictures,)"""
    untagged: int
    bare: int
    sizes: Sizes
    sizes_are_given: bool
    """Whether the sizes are those of a shard configuration, or SDXL's for want of one."""
    max_upscale: float
    texts: Texts
    training: Training
    images: ImageFacts = field(default_factory=ImageFacts)
    steps: Sequence[StepCount] = ()
    losses: Sequence[ShownLoss] = ()
    sheet: Sequence[SheetPicture] = ()
    has_thumbnails: bool = True
    commands: Sequence[tuple[str, str]] = ()
    """Purpose and command line."""
    versions: Sequence[tuple[str, str]] = ()
    """Package and version."""
