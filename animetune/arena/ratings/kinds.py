"""Kinds of prompts by how many people they ask for, so that scores can be told apart by them."""

from __future__ import annotations

import re
from collections.abc import Iterable

NOBODY, ONE, SEVERAL, UNSAID = "no people", "one person", "several people", "people not counted"

_WHO = r"(?:girl|boy|other|person|man|woman|guy|lady)"
_MANY = r"(?:girls|boys|others|people|persons|men|women|guys|ladies|friends)"
_NOBODY = re.compile(r"(?<!\w)(?:no[ _](?:humans?|people)|scenery|still life)(?!\w)", re.IGNORECASE)
_COUNTED = re.compile(rf"(?<!\w)(\d+)\+?[ _]?(?:{_WHO}|{_MANY})(?!\w)", re.IGNORECASE)
_SEVERAL = re.compile(
    rf"(?<!\w)(?:multiple|several|two|three|four|five|six|group of)[ _](?:\w+[ _]){{0,3}}{_MANY}(?!\w)", re.IGNORECASE
)
_ONE = re.compile(rf"(?<!\w)(?:a|an|one)[ _](?:\w+[ _]){{0,3}}?{_WHO}(?!\w)", re.IGNORECASE)
_ALONE = re.compile(r"(?<!\w)(?:solo|alone)(?!\w)", re.IGNORECASE)


def kind_of(prompt: str) -> str:
    """`no people`, `one person`, `several people` or `people not counted`, by tags (`2girls`) and plain words."""
    counted = sum(int(count) for count in _COUNTED.findall(prompt)) or len(_ONE.findall(prompt))
    if counted > 1 or _SEVERAL.search(prompt):
        return SEVERAL
    if counted == 1 or _ALONE.search(prompt):
        return ONE
    return NOBODY if _NOBODY.search(prompt) else UNSAID


def by_people(prompts: Iterable[str]) -> dict[str, str]:
    """Prompt -> its kind: `groups` of `rate`."""
    return {prompt: kind_of(prompt) for prompt in prompts}
