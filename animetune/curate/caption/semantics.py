"""Semantic classes of tags, for words that are told to models or made into sentences."""

from __future__ import annotations

import functools

from animetune.curate.tag.tag_lists import OTHER, Vocabulary
from animetune.curate.tag.tag_patterns import Partition

UNSEEN = frozenset({"style", "flaws", "theme"})
"""Classes of tags that say nothing about what is seen."""

_FLAWED = ("bad_", "wrong_", "poorly_drawn_")  # `bad_hands` is listed with poses, by its end


@functools.lru_cache(maxsize=1 << 16)
def class_of(tag: str) -> str:
    """The semantic class of a general tag by the built-in vocabulary."""
    return _partition().part_of(tag) or OTHER


def is_style(tag: str) -> bool:
    """Whether a tag says how the picture is drawn, or how well."""
    return class_of(tag) in UNSEEN or tag.startswith(_FLAWED)


@functools.cache
def _partition() -> Partition:
    return Partition(Vocabulary.load().classes)
