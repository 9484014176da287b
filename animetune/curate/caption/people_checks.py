"""How many people a caption tells of, and of which sex, against people-count tags. Only contradictions count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from animetune.curate.caption.facts import PictureFacts
from animetune.curate.caption.sentences import word_set
from animetune.curate.tag.people import ALONE, COUNTS, NOBODY

_NUMBERS = {
    "two": 2, "2": 2, "both": 2, "a pair of": 2, "pair of": 2, "twin": 2, "three": 3, "3": 3, "a trio of": 3,
    "trio of": 3,
    "four": 4, "4": 4, "five": 5, "5": 5, "six": 6, "6": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "a dozen": 12,
    "several": 3, "multiple": 2, "many": 3, "a group of": 3, "group of": 3, "a crowd of": 3, "a couple of": 2,
}  # fmt: skip
_GIRL, _BOY = (
    r"(?:girls?|wom[ae]n|lad(?:y|ies)|schoolgirls?|females?|maids?|sisters?|princess(?:es)?|witch(?:es)?|mothers?"
    r"|daughters?|miko|heroines?|catgirls?)",
    r"(?:boys?|m[ae]n|gentlem[ae]n|guys?|schoolboys?|males?|brothers?|princes?|fathers?|sons?|knights?|butlers?)",
)
_GIRL_SURE = re.compile(
    r"(?:girl|wom[ae]n|lad(?:y|ies)|schoolgirl|female|sister|princess|mother|daughter|heroine|catgirl|maid)", re.I
)
_BOY_SURE = re.compile(
    r"(?:boys?|m[ae]n|gentlem[ae]n|guys?|schoolboys?|males?|brothers?|princes?|fathers?|sons?)$", re.I
)
_ANYBODY = (
    r"(?:people|persons?|characters?|figures?|individuals?|children|kids|friends|students|teenagers|siblings|twins"
    r"|lovers|adults|humans)"
)
_ADJ = r"(?:(?!(?:and|or|of|with|in|on|at|by|for|a|an|the|is|are|whose|who|like|from)\b)[\w'-]+,?\s+){0,4}?"
_COUNTED = re.compile(
    rf"\b(?P<number>{'|'.join(sorted(_NUMBERS, key=len, reverse=True))})\s+(?P<adj>{_ADJ})(?P<noun>{_GIRL}|{_BOY}"
    rf"|{_ANYBODY})\b(?!['’-]|\s+(?:figurine|doll|statue))",
    re.I,
)
_SINGLE = re.compile(
    rf"\b(?P<det>an?|one|another|the\s+other|single|lone)\s+(?P<adj>{_ADJ})(?P<noun>{_GIRL}|{_BOY})\b(?!['’-]"
    r"|\s+(?:hat|statue|outfit|uniform|doll|costume))",
    re.I,
)
_LONELY = re.compile(
    rf"\b(?:a\s+single|a\s+lone|a\s+solitary|only\s+one)\s+{_ADJ}(?:{_GIRL}|{_BOY}|{_ANYBODY})\b", re.I
)
_MORE = re.compile(
    r"\b(?:another|third|fourth|other|others|one more|joined|additional|also|behind them|rest|one\s+(?:with|in|on"
    r"|who|is))\b",
    re.I,
)
# Nobody is there who is only drawn, spoken of, mirrored, or denied.
_UNREAL = re.compile(
    r"(?:\b(?:no|not|without|never|nor|neither|lacks?|absence\s+of|free\s+of|devoid\s+of|isn['’]t"
    r"|aren['’]t)\s+(?:[\w-]+\s+){0,3}"
    r"|\b(?:statues?|pictures?|posters?|photos?|photographs?|paintings?|drawings?|portraits?|dolls?|figurines?|image"
    r"|silhouettes?|shadows?|reflections?|mural|print|logo|keychain"
    r"|costume|dressed|disguised|billboard|screen|sign|cutout|mannequins?|bust|sculpture|symbol|illustration)\s+(?:of"
    r"|as|showing|with)\s+(?:[\w-]+\s+){0,3}|\blike\s+(?:an?\s+)?(?:[\w-]+\s+){0,2})$",
    re.I,
)
_HE, _SHE = re.compile(r"\b(?:he|him|his|himself)\b", re.I), re.compile(r"\b(?:she|her|hers|herself)\b", re.I)

VAGUE = word_set(
    "solo_focus multiple_views crowd people reflection mirror clone dual_persona comic 4koma 2koma 3koma everyone "
    "multiple_persona poster_(object) photo_(object) "
    "doll statue character_doll figure mannequin sequential variations split_screen silhouette shadow faceless_male "
    "faceless_female pov_hands mini_person minigirl "
    "chibi_inset stuffed_toy robot android picture_frame television portrait_(object) clothes_writing character_print "
    "imagining thought_bubble symmetry"
)
"""Tags of pictures in which people are counted one way or another."""
AMBIGUOUS = word_set(
    "otoko_no_ko crossdressing genderswap genderswap_(mtf) genderswap_(ftm) androgynous ambiguous_gender reverse_trap "
    "futanari male-to-female tomboy 1other "
    "2others 3others multiple_others bishounen hetero pov"
)
"""Tags of pictures in which sex is seen one way or another."""


class Counts(NamedTuple):
    """The least and the most people that tags state; `most` is None where it is open."""

    least: int
    most: int | None


def counted(facts: PictureFacts, kind: str) -> Counts:
    """How many of a kind of person (`girl`, `boy`, `other`) tags state; none where other kinds alone are stated."""
    stated = [(tag, number) for tag, number in COUNTS[kind].items() if tag in facts.tags_count]
    if not stated:
        return Counts(0, 0)
    least = max(number for _, number in stated)
    exact = [number for tag, number in stated if not tag.startswith(("multiple", "6+"))]
    return Counts(least, max(exact) if exact and max(exact) == least else None)


def people(text: str, facts: PictureFacts) -> str | None:
    """The words that count people otherwise than the tags; None where they agree, or where tags state nothing."""
    held = facts.all_tags
    counts = {kind: counted(facts, kind) for kind in COUNTS}
    stated = any(count.least for count in counts.values())
    if NOBODY in facts.tags_count and not stated:
        return next((match.group() for match in _mentions(_SINGLE, text)), None) or next(
            (match.group() for match in _mentions(_COUNTED, text) if _kind(match["noun"]) != "any"), None
        )
    if VAGUE & held or not (stated or ALONE in facts.tags_count):
        return None
    most = (
        None
        if any(count.most is None for count in counts.values())
        else sum(count.most or 0 for count in counts.values())
    )
    if not stated:
        most = 1
    least = sum(count.least for count in counts.values())
    if least > 1 and (match := _LONELY.search(text)) and not _MORE.search(text):
        return match.group()
    for match in _mentions(_COUNTED, text):
        number, kind = _NUMBERS[" ".join(match["number"].lower().split())], _kind(match["noun"])
        limit = most if kind == "any" or not stated or counts["other"].least or AMBIGUOUS & held else counts[kind].most
        if limit is not None and number > max(limit, 0) and not (kind != "any" and limit == 0 and most is None):
            return match.group()
        if (
            match.start() == 0
            and most is not None
            and number < least
            and number not in (count.least for count in counts.values())
            and not _MORE.search(text[match.end() :])
        ):
            return match.group()
    if stated and not counts["other"].least and not AMBIGUOUS & held:
        singles = {_kind(match["noun"]): match.group() for match in _mentions(_SINGLE, text)}
        if len(singles) == 2 and sum(bool(counts[kind].least) for kind in singles) < 2:
            return " and ".join(singles.values())
    return None


def gender(text: str, facts: PictureFacts) -> str | None:
    """The words that give people another sex than the tags do, where these state one sex alone."""
    held = facts.all_tags
    girls, boys = counted(facts, "girl").least, counted(facts, "boy").least
    if AMBIGUOUS & held or counted(facts, "other").least or bool(girls) == bool(boys):
        return None
    right, wrong = (_GIRL_SURE, _BOY_SURE) if girls else (_BOY_SURE, _GIRL_SURE)
    nouns = [match["noun"] for pattern in (_SINGLE, _COUNTED) for match in _mentions(pattern, text)]
    mistaken = [noun for noun in nouns if wrong.match(noun)]
    if mistaken and not any(right.match(noun) for noun in nouns):
        return mistaken[0]
    right_word, wrong_word = (_SHE, _HE) if girls else (_HE, _SHE)
    pronouns = wrong_word.findall(text)
    if (
        len(pronouns) > 1
        and not right_word.search(text)
        and not any(right.match(noun) for noun in nouns)
        and not VAGUE & held
    ):
        return ", ".join(pronouns[:3])
    return None


def _kind(noun: str) -> str:
    if re.fullmatch(_ANYBODY, noun, re.I):
        return "any"
    return "girl" if re.fullmatch(_GIRL, noun, re.I) else "boy"


def _mentions(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Where the text speaks of people who are there."""
    return (
        match
        for match in pattern.finditer(text)
        if not _UNREAL.search(text[max(0, match.start() - 60) : match.start()])
    )
