"""Prompts are composed at training time, from a sample's classes, tags and captions by the recipe's rules.

`compose` is the one function that makes a prompt: the data workers call it for every sample seen, `preview` and the
reports call it to show what is trained. Labels store classes (`best`), this module renders words (`best quality`).

    DashAnime XL      order: [prefix, caption, quality, aesthetic, rating, special]
    Animagine XL 3.1  order: [count, character, series, general, rating, quality, aesthetic, year], shuffle: [general]
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import pydantic

from animetune.config import StrictModel
from animetune.records import Label

Part = Literal[
    "prefix", "caption", "count", "character", "series", "artist", "general", "special",
    "rating", "quality", "aesthetic", "year",
]  # fmt: skip
WordPart = Literal["quality", "aesthetic", "rating", "year"]
Probability = Annotated[float, pydantic.Field(ge=0, le=1)]
Weight = Annotated[float, pydantic.Field(ge=0)]

TAG_FIELDS: dict[str, str] = {
    "count": "tags_count",
    "character": "tags_character",
    "series": "tags_copyright",
    "artist": "tags_artist",
    "general": "tags_general",
    "special": "tags_special",
}
CAPTION_TAGS = ("count", "character", "series", "artist", "general")
"""The tags that stand in for a caption, in this order."""

KAOMOJI = frozenset({"0_0", "3_3", "6_9", "d_d", "o_o", "u_u", "x_x", ">_o", "o_<", "o_x", "x_o", "n_n", "t_t"})
"""Emoticons whose underscore has a letter or digit beside it; the others are recognised by having none."""

DASHANIME_WORDS: dict[WordPart, dict[str, str]] = {
    "quality": {
        "masterpiece": "masterpiece quality",
        "best": "best quality",
        "high": "high quality",
        "medium": "medium quality",
        "normal": "normal quality",
        "low": "low quality",
        "worst": "worst quality",
    },
    "rating": {"g": "safe", "s": "sensitive", "q": "nsfw", "e": "explicit, nsfw"},
}


class CaptionMix(StrictModel):
    """Relative frequency of each kind of caption; a kind that a sample lacks is left out of its draw."""

    long: Weight = 1.0
    """Long natural-language captions."""
    short: Weight = 0.0
    """Short natural-language captions."""
    tags: Weight = 0.0
    """The sample's tags in place of a caption. A sample without any caption always gets its tags."""


class PromptConfig(StrictModel):
    """How a sample's prompt is composed."""

    order: tuple[Part, ...] = ("prefix", "caption", "quality", "aesthetic", "rating", "special")
    """The parts of the prompt, first to last. Empty parts leave no separator behind."""
    prefix: str = ""
    """Constant words of the part `prefix`, e.g. `anime illustration`."""
    captions: CaptionMix = CaptionMix()
    """Which kind of caption the part `caption` is."""
    words: dict[WordPart, dict[str, str]] = DASHANIME_WORDS
    """Class -> words, by part. A class that is not listed is rendered as it is; the words `""` leave it out."""
    separator: str = ", "
    """Between parts and between tags."""
    caption_end: str = ". "
    """Between a natural-language caption and what follows; a full stop that the caption has is not doubled."""
    artist_prefix: str = ""
    """Before each artist tag, e.g. `by `."""
    shuffle: tuple[Part, ...] = ()
    """Tag parts whose tags are shuffled; neighbours in `order` that are both listed are shuffled together."""
    tag_dropout: Probability = 0.0
    """Probability of leaving out each tag of the shuffled parts and of a caption made of tags."""
    keep_tags: frozenset[str] = frozenset()
    """Tags that `tag_dropout` never leaves out, written as on the site."""
    prompt_dropout: Probability = 0.0
    """Probability of training a sample with an empty prompt, for classifier-free guidance (Ho and Salimans 2022)."""

    @pydantic.model_validator(mode="after")
    def _parts_make_sense(self) -> PromptConfig:
        if len(set(self.order)) != len(self.order):
            raise ValueError(f"order names a part twice: {', '.join(self.order)}")
        untagged = [part for part in self.shuffle if part not in TAG_FIELDS]
        if untagged:
            raise ValueError(f"shuffle lists {', '.join(untagged)}, but only these can be: {', '.join(TAG_FIELDS)}")
        if "caption" in self.order and not (self.captions.long or self.captions.short or self.captions.tags):
            raise ValueError("captions gives every kind the weight 0, but order has the part caption")
        return self


def compose(label: Label, cfg: PromptConfig, rng: np.random.Generator) -> str:
    """The prompt of one occurrence of a sample; equal `rng` states give equal prompts."""
    if cfg.prompt_dropout and rng.random() < cfg.prompt_dropout:
        return ""
    prompt = ""
    glue = ""
    for texts, next_glue in _parts(label, cfg, rng):
        text = cfg.separator.join(text for text in texts if text)
        if text:
            prompt += glue + text
            glue = next_glue
    return prompt


@functools.lru_cache(maxsize=1 << 16)  # few tags make up most of a data set, and this is half the cost of a prompt
def render_tag(tag: str) -> str:
    """A tag as it is written in a prompt: underscores become spaces, except in emoticons (`>_<`, `0_0`, `(o)_(o)`)."""
    if tag in KAOMOJI:
        return tag
    padded = f" {tag} "
    return "".join(
        " " if char == "_" and (padded[place].isalnum() or padded[place + 2].isalnum()) else char
        for place, char in enumerate(tag)
    )


def _parts(label: Label, cfg: PromptConfig, rng: np.random.Generator) -> list[tuple[list[str], str]]:
    """Each part's texts, with what separates it from the next one."""
    parts: list[tuple[list[str], str]] = []
    pool: list[str] = []
    for place, part in enumerate(cfg.order):
        if part in cfg.shuffle:
            pool += _tags(label, part, cfg, rng, dropout=True)
            following = cfg.order[place + 1] if place + 1 < len(cfg.order) else None
            if following not in cfg.shuffle:
                parts.append(([pool[i] for i in rng.permutation(len(pool))], cfg.separator))
                pool = []
        elif part == "caption":
            parts.append(_caption(label, cfg, rng))
        elif part == "prefix":
            parts.append(([cfg.prefix], cfg.separator))
        elif part in TAG_FIELDS:
            parts.append((_tags(label, part, cfg, rng, dropout=False), cfg.separator))
        else:
            parts.append(([_class_words(label, part, cfg)], cfg.separator))
    return parts


def _caption(label: Label, cfg: PromptConfig, rng: np.random.Generator) -> tuple[list[str], str]:
    mix = cfg.captions
    written = [
        (weight, texts)
        for weight, texts in ((mix.long, label.captions_long), (mix.short, label.captions_short))
        if weight and texts
    ]
    draw = rng.random() * (sum(weight for weight, _ in written) + mix.tags)
    for weight, texts in written:
        draw -= weight
        if draw < 0:
            chosen = texts[int(rng.integers(len(texts)))].strip()
            return [chosen.removesuffix(".")], cfg.caption_end
    missing = [part for part in CAPTION_TAGS if part not in cfg.order]  # the others have a place of their own
    tags = [tag for part in missing for tag in _tags(label, part, cfg, rng, dropout=True)]
    return tags, cfg.separator


def _tags(label: Label, part: str, cfg: PromptConfig, rng: np.random.Generator, *, dropout: bool) -> list[str]:
    tags: Sequence[str] = getattr(label, TAG_FIELDS[part])
    if dropout and cfg.tag_dropout and tags:
        kept = rng.random(len(tags)) >= cfg.tag_dropout
        tags = [tag for tag, keep in zip(tags, kept, strict=True) if keep or tag in cfg.keep_tags]
    prefix = cfg.artist_prefix if part == "artist" else ""
    return [prefix + render_tag(tag) for tag in tags]


def _class_words(label: Label, part: str, cfg: PromptConfig) -> str:
    value = getattr(label, part)
    if value is None:
        return ""
    return cfg.words.get(part, {}).get(value, value)  # type: ignore[call-overload]
