"""The vocabulary of a label set, a table or a run: every word that its prompts have, with how often.

labels or table, in blocks --> counts of tags, of classes, of characters with series --> Word, Word ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from animetune.prompts import PromptConfig, render_tag
from animetune.prompts.config import CAPTION_TAGS, TAG_FIELDS, WORD_PARTS

BLOCK = 1 << 18
"""Rows that are counted at a time."""
KINDS = (
    "character", "series", "artist", "general", "count", "special", "extra", "quality", "aesthetic", "rating", "year",
)  # fmt: skip
"""Parts of prompts that words belong to, in the order of the page."""
COLUMNS = tuple(TAG_FIELDS.values()) + WORD_PARTS
"""What is read of labels and tables."""
SERIES_SHARE = 0.5
"""A character belongs to the series that so much of its pictures have."""


@dataclass(frozen=True)
class Word:
    """One word of the vocabulary."""

    kind: str
    """One of `KINDS`."""
    tag: str
    """As labels have it: a raw tag, or a class."""
    text: str
    """As prompts have it, with the prefix of its kind; brackets are not escaped."""
    pictures: int
    seen: int | None = None
    """How often training showed it; None where no run says it."""
    series: str = ""
    """Of a character: the text of its series; empty where none is known."""


@dataclass
class Counts:
    """What was counted of rows that are drawn at all."""

    rows: int = 0
    tags: dict[str, dict[str, int]] = field(default_factory=lambda: {part: {} for part in TAG_FIELDS})
    """Part -> tag -> rows."""
    classes: dict[str, dict[str, int]] = field(default_factory=lambda: {part: {} for part in WORD_PARTS})
    """Part -> class -> rows."""
    series: dict[str, dict[str, int]] = field(default_factory=dict)
    """Character -> series -> rows."""


def count(blocks: Iterator[pl.DataFrame]) -> Counts:
    """Count rows in `COLUMNS`, block by block."""
    found = Counts()
    for rows in blocks:
        found.rows += rows.height
        for part, column in TAG_FIELDS.items():
            _add(found.tags[part], rows.select(pl.col(column).list.unique()).explode(column).to_series())
        for part in WORD_PARTS:
            _add(found.classes[part], rows[part])
        pairs = (
            rows.select("tags_character", "tags_copyright").explode("tags_character").explode("tags_copyright")
        ).drop_nulls()
        for character, series, number in pairs.group_by(pl.all()).len().iter_rows():
            own = found.series.setdefault(character, {})
            own[series] = own.get(series, 0) + number
    return found


def words(
    counts: Counts, cfg: PromptConfig, *, at_least: int, seen: Mapping[tuple[str, str], int] | None = None
) -> list[Word]:
    """The words that prompts by `cfg` have, of at least so many pictures; most pictures first in each kind.

    `seen`: (column without `tags_`, or class; tag) -> how often training showed it.
    """
    parts = used_parts(cfg)
    found: list[Word] = []
    for kind in KINDS:
        if kind not in parts:
            continue
        counted = counts.tags.get(kind) or counts.classes.get(kind) or {}
        if kind == "extra":
            counted = dict.fromkeys(cfg.add, counts.rows)
        for tag, pictures in sorted(counted.items(), key=lambda item: (-item[1], item[0])):
            text = text_of(kind, tag, cfg)
            if pictures >= at_least and text:
                series = series_of(tag, counts, pictures) if kind == "character" else ""
                shown = None if seen is None else seen.get((_name_of(kind), tag))
                found.append(Word(kind, tag, text, pictures, shown, series))
    return found


def text_of(kind: str, tag: str, cfg: PromptConfig) -> str:
    """A tag or class as prompts have it: spaces for underscores, the prefix of artists, the words of classes."""
    if kind in WORD_PARTS:
        own: Mapping[str, Mapping[str, str]] = cfg.words  # type: ignore[assignment]
        return own.get(kind, {}).get(tag, tag)
    prefix = {"artist": cfg.artist_prefix, "character": cfg.character_prefix}.get(kind, "")
    return prefix + render_tag(tag)


def series_of(character: str, counts: Counts, pictures: int) -> str:
    """The series that most of a character's pictures have; empty where fewer than half of them share one."""
    own = counts.series.get(character, {})
    if not own:
        return ""
    series = min(own, key=lambda name: (-own[name], name))
    return render_tag(series) if own[series] >= SERIES_SHARE * pictures else ""


def used_parts(cfg: PromptConfig) -> set[str]:
    """The parts that prompts show: those of the orders, and those whose tags may stand in for a caption."""
    parts: set[str] = set()
    for weight, order in cfg.weighted_orders:
        if weight > 0:
            parts |= {*order}
            parts |= {*CAPTION_TAGS} if "caption" in order and cfg.captions.tags else set()
    return parts


def left_out(counts: Counts, cfg: PromptConfig) -> list[str]:
    """Kinds that pictures have and prompts do not show."""
    parts = used_parts(cfg)
    have: Sequence[Mapping[str, Any]] = (counts.tags, counts.classes)
    return [kind for kind in KINDS if kind not in parts and any(each.get(kind) for each in have)]


def _name_of(kind: str) -> str:
    """A kind as `exposure` calls it."""
    return TAG_FIELDS[kind].removeprefix("tags_") if kind in TAG_FIELDS else kind


def _add(total: dict[str, int], values: pl.Series) -> None:
    name = values.name
    counted = values.drop_nulls().value_counts(name="_rows")
    for value, number in counted.select(name, "_rows").iter_rows():
        total[value] = total.get(value, 0) + number
