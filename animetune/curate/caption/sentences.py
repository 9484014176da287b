"""English text in pieces: sentences apart and together, articles, capitals, and the marks that cuts leave behind."""

from __future__ import annotations

import re

_ABBREVIATIONS = frozenset({"e.g.", "i.e.", "etc.", "vs.", "mr.", "mrs.", "ms.", "dr.", "st.", "no.", "approx.", "cf."})
_END = re.compile(r"[.!?…]+[\"'”’)\]]*\s+|\s*\n\s*")
_LAST_WORD = re.compile(r"\S+$")

_SPACE = re.compile(r"\s+")
_BEFORE_MARK = re.compile(r"\s+([,;:!?](?=\s|$)|\.(?=\s|$))")
_COMMAS = re.compile(r",(?:\s*,)+")
_COMMA_THEN_END = re.compile(r"[,;:]+\s*([.!?])")
_FIRST = re.compile(r"^[\s,;:.!?)\]–—-]+(?=\w|[\"'“(\[])")
_LEADING = re.compile(r"^(?:and|but|while|with)\s+(?=(?:it|he|she|they|the|an?)\s)", re.IGNORECASE)

# `an hour`, `an 8`, but `a unicorn`, `a one-piece`, `a European`, `a U-turn`.
_AN = re.compile(
    r"(?:[aeio]|u(?!ni(?!n|m)|s[aeiu]|k|t[aeiou]|r[aeiou]|[-_])|hou?r(?!s?e)|heir|honest|honou?r|8|11\b|18\b)",
    re.IGNORECASE,
)
_NOT_AN = re.compile(r"(?:one\b|once|ones\b|eu|ew|ouija|u\b)", re.IGNORECASE)


def sentences(text: str) -> list[str]:
    """The sentences of a text, each with its mark at the end, without the space between them.

    A sentence may begin in lower case, as models write them; `e.g.`, initials and `...` inside one end none.
    """
    found, start = [], 0
    for match in _END.finditer(text):
        if match.group().strip() and not _ends(text, start, match):
            continue
        if piece := text[start : match.end()].strip():
            found.append(piece)
        start = match.end()
    if rest := text[start:].strip():
        found.append(rest)
    return found


def _ends(text: str, start: int, match: re.Match[str]) -> bool:
    mark = match.group().strip()
    following = text[match.end() : match.end() + 1]
    if mark in ("...", "…"):
        return not following.islower()
    if mark != ".":
        return True
    word = _LAST_WORD.search(text, start, match.start() + 1)
    last = word.group().lower().lstrip("(\"'") if word else ""
    if last in _ABBREVIATIONS:
        return last == "etc." and following.isupper()
    # `J. Smith`: an initial at the beginning
    return not (len(last) == 2 and last[0].isalpha() and following.isupper() and match.start() - start < 3)


def article(word: str) -> str:
    """`a` or `an`, by the sound that a word begins with."""
    return "an" if _AN.match(word) and not _NOT_AN.match(word) else "a"


def capitalised(text: str) -> str:
    """The text with its first letter in upper case; of `iPhone` and the like nothing is known."""
    for index, char in enumerate(text):
        if char.isalnum():
            return text[:index] + char.upper() + text[index + 1 :]
    return text


def begins_upper(text: str) -> bool:
    """Whether the first letter or digit is no lower-case letter."""
    return not next((char for char in text if char.isalnum()), "A").islower()


def tidy(text: str) -> str:
    """The text without what a cut leaves behind: double spaces and commas, marks at the beginning."""
    text = _SPACE.sub(" ", text).strip()
    text = _BEFORE_MARK.sub(r"\1", text)
    text = _COMMAS.sub(",", text)
    text = _COMMA_THEN_END.sub(r"\1", text)
    text = _FIRST.sub("", text)
    text = _LEADING.sub("", text)
    return text.rstrip(" ,;:–—-") if text and text[-1] not in ".!?" else text


def closed(text: str) -> str:
    """The text with a mark at its end."""
    text = text.rstrip(" ,;:–—-")
    return text if not text or text.rstrip("\"'”’)]")[-1:] in (".", "!", "?", "…") else text + "."


def listed(items: list[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}" if items else ""


def word_set(text: str) -> frozenset[str]:
    """The words of a list that is written as text."""
    return frozenset(text.split())
