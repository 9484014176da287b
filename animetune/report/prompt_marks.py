"""What a prompt lacks: the tags that this draw left out, and the end that does not fit into the tokens trained."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from animetune.prompts import PromptConfig, render_tag
from animetune.prompts.config import CAPTION_TAGS, TAG_FIELDS
from animetune.records import Label
from animetune.tokens import count_tokens

_TELLING = 40
"""Characters of a caption by which it is known in a prompt."""


def split_at_limit(prompt: str, tokens: int) -> tuple[str, str]:
    """The words of the prompt that lie within the first `tokens`, and the rest.

    No token reaches over a space; a word that is torn in two counts to the rest.
    """
    used = end = 0
    for word in re.finditer(r"[^ ]+", prompt):
        used += count_tokens(word[0])
        if used > tokens:
            return prompt[:end].rstrip(), prompt[end:].lstrip()
        end = word.end()
    return prompt, ""


def dropped_tags(label: Label, prompt: str, cfg: PromptConfig) -> list[str]:
    """Tags of the sample that its prompt may show but does not, as they would be written.

    A prompt made of a caption lacks no tags: its rules would not show them. Neither is a tag missing that is said in
    other words, by paraphrase, register token or introduction. An empty prompt lacks nothing: it is meant to be empty.
    """
    if not prompt:
        return []
    return [render_tag(tag) for part, tag in _may_show(label, prompt, cfg) if not _is_said(part, tag, prompt, cfg)]


def _may_show(label: Label, prompt: str, cfg: PromptConfig) -> Iterator[tuple[str, str]]:
    """(part, raw tag) of all that a prompt of this kind has a place for."""
    orders = [cfg.order, *(other.order for other in cfg.other_orders if other.probability)]
    captions = (text.strip()[:_TELLING].removesuffix(".") for text in (*label.captions_long, *label.captions_short))
    if any(caption and caption in prompt for caption in captions):
        parts: set[str] = {part for order in orders if "caption" in order for part in order}
    else:
        parts = {part for order in orders for part in order}
        if "caption" in parts:
            parts.update(CAPTION_TAGS)
    for part, name in TAG_FIELDS.items():
        if part in parts:
            yield from ((part, tag) for tag in getattr(label, name))


def _is_said(part: str, tag: str, prompt: str, cfg: PromptConfig) -> bool:
    ways = {render_tag(tag), cfg.artist_prefix + render_tag(tag), cfg.character_prefix + render_tag(tag)}
    if cfg.paraphrase is not None:
        ways.update(cfg.paraphrase.variants.get(tag, ()))
    if cfg.registers is not None and tag in cfg.registers.concepts:
        ways.add(cfg.registers.concepts[tag])
    if not ways.isdisjoint(_pieces(prompt, cfg.separator, cfg.caption_end)):
        return True
    if part == "character" and cfg.naming is not None:
        ways.add(render_tag(tag.partition("_(")[0]))
    elif not cfg.space_separator and cfg.separator.strip():
        return False
    return any(re.search(rf"(?<!\w){re.escape(way)}(?!\w)", prompt) for way in ways)


@functools.lru_cache(maxsize=64)
def _pieces(prompt: str, separator: str, caption_end: str) -> frozenset[str]:
    """What stands between separators."""
    ends = "|".join(re.escape(end) for end in (separator, caption_end) if end.strip())
    return frozenset(re.split(ends, prompt) if ends else [prompt])
