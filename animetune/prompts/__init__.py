"""Prompts are composed at training time, from a sample's classes, tags and captions by the recipe's rules.

    Label --order, caption, dropout, shuffle (draft)--> tags --words (wording)--> prompt

`compose` is the one function that makes a prompt: the data workers call it for every sample seen, `preview` and the
reports call it to show what is trained. Labels store classes (`best`), this package renders words (`best quality`).

    DashAnime XL      order: [prefix, caption, quality, aesthetic, rating, special]
    Animagine XL 3.1  order: [count, character, series, "|||", general, rating, quality, aesthetic, year]
    Illustrious       order: [count, "|||", character, "|||", rating, "|||", general, artist, quality, year]
"""

from animetune.prompts.config import (
    CaptionMix,
    DropoutLevel,
    Naming,
    OtherOrder,
    Paraphrase,
    PromptConfig,
    Protection,
    Registers,
)
from animetune.prompts.draft import compose
from animetune.prompts.wording import KAOMOJI, render_tag

__all__ = [
    "KAOMOJI",
    "CaptionMix",
    "DropoutLevel",
    "Naming",
    "OtherOrder",
    "Paraphrase",
    "PromptConfig",
    "Protection",
    "Registers",
    "compose",
    "render_tag",
]
