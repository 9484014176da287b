"""From tags to words: underscores, introductions of characters, random strings."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

KAOMOJI = frozenset({"0_0", "3_3", "6_9", "d_d", "o_o", "u_u", "x_x", ">_o", "o_<", "o_x", "x_o", "n_n", "t_t"})
"""Emoticons whose underscore has a letter or digit beside it; others are recognised by their form."""

_ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyz0123456789"


@functools.lru_cache(maxsize=1 << 16)  # few tags make up most of a data set, and this is half the cost of a prompt
def render_tag(tag: str) -> str:
    """A tag as it is written in a prompt: underscores become spaces, except in emoticons (`>_<`, `0_0`, `(o)_(o)`)."""
    return tag if _is_emoticon(tag) else tag.replace("_", " ")


def _is_emoticon(tag: str) -> bool:
    """Whether the tag is a face: a listed one, one without letters (`>_<`), or one of two equal eyes (`(o)_(o)`).

    An underscore between brackets alone makes no face: 3,600 tags of Danbooru are like `saber_(alter)_(fate)`.
    """
    left, underscore, right = tag.partition("_")
    if not underscore:
        return False
    letters = sum(char.isalnum() for char in left)
    return tag in KAOMOJI or not any(map(str.isalnum, tag)) or (left == right and letters == 1 < len(left))


def introduction(template: str, character: str, *, counts: Sequence[str], series: Sequence[str]) -> str | None:
    """`a girl named ganyu from genshin impact series`, from raw tags; None where girl or boy or the series is unknown.

    The series that the character's own tag names in brackets, without the brackets; else the first one.
    """
    people = [tag for tag in counts if "girl" in tag or "boy" in tag or "other" in tag]
    if people not in (["1girl"], ["1boy"]) or not series:
        return None
    name, bracket, qualifier = character.removesuffix(")").rpartition("_(")
    named = [tag for tag in series if bracket and qualifier in (tag, tag.partition("_(")[0])]
    parts = {
        "{who}": people[0][1:],
        "{character}": render_tag(name if named else character),
        "{series}": render_tag((named or series)[0]),
    }
    for field, text in parts.items():
        template = template.replace(field, text)
    return template


def random_string(length: int, rng: np.random.Generator) -> str:
    """Lower-case letters and digits, all equally likely."""
    return "".join([_ALPHANUMERIC[index] for index in rng.integers(len(_ALPHANUMERIC), size=length).tolist()])
