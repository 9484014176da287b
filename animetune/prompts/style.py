"""References to style taken out of captions, by rule: `An anime-style girl` becomes `A girl`.

DashAnime XL had its captions compressed by a language model that was told to omit style. This is what a stage can do
without one, and without new labels. A listed phrase goes where the sentence stands without it: before a noun, behind
`and` or `drawn in`, or before `of` at the beginning. A sentence that is about the style, or in which a phrase is left,
goes whole.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

_SENTENCES = re.compile(r"(?<=[.!?])\s+")
_ABOUT_STYLE = re.compile(
    r"(?:(?:the|its|this|their|his|her)\s+)?(?:(?:overall|art|artistic|drawing|visual|image's|picture's)\s+)*"
    r"(?:style|aesthetic)\b",
    re.IGNORECASE,
)
_DANGLING = re.compile(
    r"\b(?:an?|the|is|are|in|of|and|or|with|as|by|to)\s*[.,;:!?]"
    r"|\b(?:an?|the|is|are)\s+(?:of|and|or)\b|\b(?:an?|the)\s+(?:with|in|by)\b",
    re.IGNORECASE,
)


def without_style(text: str, phrases: tuple[str, ...]) -> str:
    """The caption without the listed phrases; empty when it speaks of nothing else. Capitals do not count."""
    lowered = text.lower()
    if not any(phrase in lowered for phrase in _lowered(phrases)):  # ten times as fast as the expressions
        return text
    patterns = _patterns(phrases)
    return " ".join(filter(None, (_cleaned(sentence, patterns) for sentence in _SENTENCES.split(text))))


class _Patterns(NamedTuple):
    listed: re.Pattern[str]
    """Any phrase."""
    opening: re.Pattern[str]
    """`A digital illustration of `, `The image is a digital illustration depicting ` at the beginning."""
    ending: re.Pattern[str]
    """` and cartoonish`, ` drawn in an anime style` before punctuation."""
    attribute: re.Pattern[str]
    """`an anime-style, stylized ` before a noun, with its article."""


def _cleaned(sentence: str, patterns: _Patterns) -> str:
    if not patterns.listed.search(sentence):
        return sentence
    if _ABOUT_STYLE.match(sentence):
        return ""
    cleaned = patterns.ending.sub("", patterns.opening.sub("", sentence))
    cleaned = patterns.attribute.sub(_article, cleaned)
    in_pieces = _DANGLING.search(f"{cleaned}.") and not _DANGLING.search(f"{sentence}.")
    if in_pieces or patterns.listed.search(cleaned) or not any(map(str.isalnum, cleaned)):
        return ""
    return cleaned[0].upper() + cleaned[1:] if sentence[0].isupper() else cleaned


def _article(match: re.Match[str]) -> str:
    """What is left of `an anime-style `: the article that suits the word behind."""
    article = match["article"]
    if not article:
        return ""
    suited = "an" if match.string[match.end()] in "aeiouAEIOU" else "a"
    return (suited.capitalize() if article[0].isupper() else suited) + " "


@functools.lru_cache(maxsize=8)
def _lowered(phrases: tuple[str, ...]) -> list[str]:
    return [phrase.lower() for phrase in phrases]


@functools.lru_cache(maxsize=8)
def _patterns(phrases: tuple[str, ...]) -> _Patterns:
    longest_first = sorted(phrases, key=len, reverse=True)
    phrase = rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])"
    several = rf"{phrase}(?:(?:\s*,\s*|\s+and\s+|\s+){phrase})*"
    picture = r"(?:(?:(?:the|this)\s+(?:image|picture|scene)|this|it)\s+(?:is|shows|features|depicts)\s+)?"
    verb = r"(?:drawn|rendered|depicted|illustrated|presented|shown)"
    return _Patterns(
        *(
            re.compile(pattern, re.IGNORECASE)
            for pattern in (
                phrase,
                rf"^\s*{picture}(?:(?:an?|the|this)\s+)?{several}\s+(?:of|depicting|showing|featuring|portraying)\s+",
                rf"(?:,?\s+and|,?(?:\s+{verb})?\s+in(?:\s+(?:an?|the))?)\s+{several}(?=\s*[.,;:!?]|\s*$)",
                rf"(?:(?<!\w)(?P<article>an?)\s+)?{several}(?:\s*,\s*(?=[\w-]+\s)|\s+and\s+|\s+)(?=\w)",
            )
        )
    )
