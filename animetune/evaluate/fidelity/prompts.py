"""Prompts made of tags, each with the tags that are looked for in its pictures."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic

from animetune import fsio
from animetune.curate.read.formats.free_text import split_tags
from animetune.curate.tag.tag_names import NamedTag
from animetune.evaluate.prompt_files import Listed, Text
from animetune.prompts import render_tag


def _split(value: Any) -> Any:
    return split_tags(value) if isinstance(value, str) else value


def _distinct(tags: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tags))


class TagPrompt(Listed):
    """Tags, and how they are asked for."""

    line_field = "tags"

    tags: Annotated[
        tuple[NamedTag, ...],
        pydantic.Field(min_length=1, max_length=100),
        pydantic.BeforeValidator(_split),
        pydantic.AfterValidator(_distinct),
    ]
    """What should be in the picture, as the tagger's list calls it; a list, or a text with commas."""
    prompt: Text | None = None
    """What is asked, without the prefix; null: the tags themselves, with spaces for `_` but in emoticons."""
    source: str = ""
    """Who published it; empty for ours."""

    @property
    def text(self) -> str:
        """The prompt."""
        return self.prompt or ", ".join(render_tag(tag) for tag in self.tags)

    @property
    def key(self) -> str:
        """See `Listed`."""
        return fsio.short_digest(fsio.canonical_json([self.text, list(self.tags)]))
