"""Text beside a picture: a list of tags as taggers write it, natural language, or both.

    1girl, solo, long hair, hatsune miku \\(cosplay\\) ||| smile, :d
    A girl with long hair stands in the rain. She holds an umbrella.

Taggers join tags by commas, most write spaces for underscores, some escape brackets for prompts; `|||` ends the tags
that kohya's trainer keeps in place. What kind a line is decided by its looks, unless the source says (`text`).
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from animetune.curate.read.fields import clean

TextKind = Literal["auto", "tags", "caption"]

WORDS_IN_A_TAG = 4.0
"""Lines whose items between commas have more words on average are natural language."""

# A backslash before a bracket; \m/, \o/, \n/ and \||/ are tags.
_ESCAPED = re.compile(r"\\([()\[\]{}<>:])")
_SEPARATOR = re.compile(r",|\|\|\|")
# Behind a word of three letters or more: `dr. stone` and `st. gloriana's` are tags.
_END_OF_SENTENCE = re.compile(r"[a-z]{3}[.!?]['\")]*(?:\s|$)", re.IGNORECASE)
_PREFIXES = {"artist": "artist", "character": "character", "copyright": "copyright", "series": "copyright",
             "meta": "meta", "general": "general", "style": "general"}  # fmt: skip


class FreeText(NamedTuple):
    """What a text says."""

    tags: dict[str, list[str]]
    """Class -> tags with underscores."""
    captions: list[str]


def read_text(text: str, kind: TextKind = "auto") -> FreeText:
    """Tags and captions of a text; each line is one or the other."""
    tags: dict[str, list[str]] = {}
    captions: list[str] = []
    for raw in text.removeprefix("\ufeff").splitlines():
        line = " ".join(clean(raw).split())
        if not line:
            continue
        if kind == "tags" or (kind == "auto" and looks_like_tags(line)):
            for tag_class, tag in map(_classed, split_tags(line)):
                tags.setdefault(tag_class, []).append(tag)
        else:
            captions.append(line)
    return FreeText(tags, captions)


def looks_like_tags(line: str) -> bool:
    """Whether a line is a list of tags: no sentence ends in it, and what stands between its commas is short."""
    items = [item for item in _SEPARATOR.split(line) if item.strip()]
    words = sum(len(item.split()) for item in items)
    return bool(items) and words <= WORDS_IN_A_TAG * len(items) and not _END_OF_SENTENCE.search(line)


def split_tags(line: str) -> list[str]:
    """The tags of a line, with underscores and without escapes."""
    if "\\" in line:
        items = [_ESCAPED.sub(r"\1", item).split() for item in _SEPARATOR.split(line)]
    else:
        items = [item.split() for item in _SEPARATOR.split(line)]
    return ["_".join(words) for words in items if words]


def _classed(tag: str) -> tuple[str, str]:
    """(class, tag): `artist:somebody` is an artist; `:3` and `honkai:_star_rail` are tags."""
    prefix, colon, rest = tag.partition(":")
    rest = rest.lstrip("_")
    if colon and rest and prefix in _PREFIXES:
        return _PREFIXES[prefix], rest
    return "general", tag
