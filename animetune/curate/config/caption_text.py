"""What captions may say: style references, and the checks that a caption has to pass."""

from __future__ import annotations

from typing import Annotated

import pydantic

from animetune.config import StrictModel

Phrase = Annotated[str, pydantic.StringConstraints(strip_whitespace=True, to_lower=True, min_length=2, max_length=80)]
Limit = Annotated[int, pydantic.Field(ge=1)]


class StyleConfig(StrictModel):
    """References to style, medium and the picture itself, which are taken out of captions."""

    remove: bool = True
    """Take references to style out; without, captions stay as the model wrote them."""
    extra: tuple[Phrase, ...] = ()
    """Words or phrases that are removed, too, like `anime-style` is."""
    keep: tuple[Phrase, ...] = ()
    """Words that stay although they are of style: `chibi` for pictures where the tag is wanted."""


class ChecksConfig(StrictModel):
    """What a caption has to pass. A switch that is off skips its check."""

    refusal: bool = True
    """Refusals and apologies of the model."""
    loop: bool = True
    """Text that repeats itself."""
    language: bool = True
    """Text that is not English."""
    text: bool = True
    """Control characters, HTML, Markdown, remains of JSON, special tokens, the instruction repeated, lists of tags."""
    ending: bool = True
    """Text that does not end a sentence."""
    other_scripts: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.15
    """Share of letters that need not be Latin, for names."""
    style: bool = True
    """No reference to style may be left."""
    people: bool = True
    """How many people, and of which sex, against the tags."""
    hair: bool = True
    """Colour of the hair against the tags."""
    eyes: bool = True
    """Colour of the eyes against the tags."""
    clothes: bool = True
    """Colours of garments against the tags."""
    min_words: Limit = 4
    """Fewest words."""
    max_words: Limit = 400
    """Most words."""
    max_tokens: Limit = 600
    """Most CLIP tokens; a caption longer than the chunks that training reads is cut there."""
