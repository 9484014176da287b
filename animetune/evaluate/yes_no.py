"""Yes or no out of what a model says: one word, a sentence, JSON, a list, in English, Japanese, Chinese or Korean.

What is neither is no answer: nothing is guessed from the rest of a sentence, and a text that says both says nothing.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from animetune.vlm.refusals import refusal
from animetune.vlm.replies import Top
from animetune.vlm.texts import FENCE, is_open, is_thinking, json_objects, without_thoughts

YesNo = Literal["yes", "no"]
PROBLEMS = {
    "empty": "there is no text",
    "refusal": "the model says that it will not or cannot answer",
    "cut_off": "the answer ends before it says yes or no",
    "unclear": "the answer says neither yes nor no, or both",
}
"""Code -> why there is no answer in a text."""

_YES = ("yes", "yeah", "yep", "yup", "true", "correct", "はい", "ええ", "是的", "是", "有的", "对", "예", "네")
_NO = ("no", "nope", "false", "incorrect", "いいえ", "いえ", "不是", "没有", "否", "不", "아니요", "아니오")
_WORDS: Mapping[str, YesNo] = {**dict.fromkeys(_YES, "yes"), **dict.fromkeys(_NO, "no")}
_WORD = f"(?P<word>{'|'.join(sorted(_WORDS, key=len, reverse=True))})"
_END = r"(?=$|[\s.,;:!?。、,…)\]}\"'’”」/|-])"
_FILLER = (
    r"(?:i\s+(?:think|believe|would\s+say)|it\s+(?:seems|appears)|definitely|certainly|clearly|probably|most\s+likely"
    r"|sure|okay|ok|hmm|well)[\s,.:!-]+(?:that\s+)?"
)
_LEAD = re.compile(rf"(?:\d+\s*[.):]\s*|[-•>]\s*)?(?:{_FILLER})?{_WORD}{_END}(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_MARKED = re.compile(
    rf"(?:\banswer(?:\s+(?:to\s+(?:this|the|your)\s+question\s+)?is\b\s*:?|\s*[:=])|^\s*a\s*:|答え\s*[は:]|答案\s*[是:]+)"
    rf"\s*{_WORD}{_END}",
    re.IGNORECASE | re.MULTILINE,
)
_ALONE = re.compile(rf"[^\w]*{_WORD}[^\w]*", re.IGNORECASE)
_BOTH = re.compile(r"\s*(?:/|\||\bor\b|\band\b|,\s*and\b)\s*(?:yes|no)\b", re.IGNORECASE)
_GOES_ON = re.compile(
    r"\s*(?:[^\w\s]|\n|(?:there|it|she|he|they|the|this|that|these|those|i|we|you|not|because|but|as|since)\b)"
    r"|\s*$",
    re.IGNORECASE,
)
"""What follows a `no` that is an answer; in `no people are visible` it belongs to its noun."""
_NUMBER_SIGN = re.compile(r"\.?\s*\d")
_WILL_NOT = re.compile(
    r"\bi\s*(?:can(?:['’]t|\s?not)|am\s+(?:unable|not\s+able)\s+to|won['’]t|will\s+not)\s+(?:assist|help|comply|fulfil"
    r"|discuss|engage|answer|respond|provide)|\bpolic(?:y|ies)\b|\bguidelines\b",
    re.IGNORECASE,
)
_SPECIAL = re.compile(r"<\|[^<>|]{1,40}\|>|</?s>|\[/?INST\]", re.IGNORECASE)
_MARKS = re.compile(r"[*`#_~\"“”「」『』\[\](){}]+")
_KEYS = ("answer", "final_answer", "response", "result", "value", "yes_no", "verdict")
_NUMBER_KEYS = ("id", "number", "no", "index", "question", "q", "question_number", "question_id")
_NUMBER = re.compile(r"(?:q|question)?[\s_#.-]*0*(\d{1,3})\.?", re.IGNORECASE)
_NUMBERED = re.compile(r"^\W*(?:q(?:uestion)?\s*)?(\d{1,3})\s*[^\w\s]+\s*(\S.*)$", re.IGNORECASE | re.MULTILINE)


class Found(NamedTuple):
    """What one question got."""

    text: str
    """As it was said."""
    answer: YesNo | None
    problem: str = ""
    """Key of PROBLEMS where there is no answer."""


def read(text: str, finish: str = "stop") -> Found:
    """The answer in the text of a reply to one question; `finish` is why the text ends (`length`: it was cut)."""
    if finish == "content_filter":
        return Found(text, None, "refusal")
    said = without_thoughts(text)
    if is_thinking(said):
        return Found(text, None, "cut_off")
    answer, problem = _of_object(said) or _of_words(said)
    if answer is None and problem == "unclear" and finish == "length":
        problem = "cut_off"
    return Found(text, answer, problem)


def read_several(text: str, finish: str, count: int) -> list[Found]:
    """The answers to `count` numbered questions, in a JSON object, a list or numbered lines; one each.

    A question with none, or with two that differ, gets a problem: `cut_off` where the text was, else that of the text.
    """
    whole = read(text, finish)
    if finish == "content_filter" or whole.problem in ("empty", "refusal"):
        return [Found(text, None, whole.problem)] * count
    said = without_thoughts(text)
    is_cut = finish == "length" or is_thinking(said) or ("{" in said and is_open(said))
    missing = Found(text, None, "cut_off" if is_cut else "unclear")
    found: dict[int, Found] = {}
    for number, piece in _numbered(said, count):
        this = read(piece)
        first = found.setdefault(number, this)
        if first.answer != this.answer:
            found[number] = Found(text, None, "unclear")
    return [found.get(number, missing) for number in range(1, count + 1)]


def likelihood(tops: Iterable[Top]) -> float | None:
    """P(yes) / (P(yes) + P(no)) at the token that says it, or None (VQAScore, Lin et al. 2024, takes P(yes) alone)."""
    for token, likeliest in tops:
        if _word_of(token) is not None:
            mass = {"yes": 0.0, "no": 0.0}
            for candidate, logprob in likeliest.items():
                if (word := _word_of(candidate)) is not None:
                    mass[word] += math.exp(min(logprob, 0.0))
            total = sum(mass.values())
            return round(mass["yes"] / total, 6) if total else None
    return None


def _of_words(text: str) -> tuple[YesNo | None, str]:
    plain = _plain(text)
    if not plain:
        return None, "empty"
    marked = [_word(found) for found in _MARKED.finditer(plain)]
    lead = _lead(plain)
    if lead is not None and _WILL_NOT.search(plain):
        return None, "refusal"
    if len({each for each in (lead, *marked[-1:]) if each is not None}) == 1:
        return lead or marked[-1], ""
    if lead is None and not marked:
        last = _ALONE.fullmatch(plain.splitlines()[-1])
        if last is not None:
            return _word(last), ""
        if refusal(plain):
            return None, "refusal"
    return None, "unclear"


def _lead(plain: str) -> YesNo | None:
    """The word that a text begins with, where it is an answer."""
    found = _LEAD.match(plain)
    if found is None or _BOTH.match(found["rest"]):
        return None
    word, rest = found["word"].lower(), found["rest"]
    if word == "no" and (_NUMBER_SIGN.match(rest) or not _GOES_ON.match(rest)):
        return None
    if word not in ("yes", "no") and re.match(r"\s*\w", rest):
        return None
    return _WORDS[word]


def _of_object(text: str) -> tuple[YesNo | None, str] | None:
    """Of a JSON object with one answer; None where there is none."""
    for found in json_objects(text):
        values = [found[key] for key in found if key.lower() in _KEYS] or list(found.values())
        if len(values) == 1 and (piece := _piece(values[0])) is not None:
            return _of_words(piece)
    return None


def _numbered(text: str, count: int) -> list[tuple[int, str]]:
    """Number of a question and what is said to it, as often as it is; numbers from 1 to `count` only."""
    pairs = [pair for found in json_objects(text) for pair in _pairs(found)]
    if not pairs:
        pairs = list(enumerate(_listed(text, count), start=1))
    if not pairs and "{" not in text:
        pairs = [(int(found[1]), found[2]) for found in _NUMBERED.finditer(text)]
    return [(number, piece) for number, value in pairs if 1 <= number <= count and (piece := _piece(value)) is not None]


def _pairs(found: Mapping[str, Any]) -> list[tuple[int, Any]]:
    """Of one JSON object: of `{"1": "yes"}`, `{"answers": ...}` or `{"id": 1, "answer": "yes"}`."""
    lower = {key.lower(): value for key, value in found.items()}
    number = next((lower[key] for key in _NUMBER_KEYS if _number(lower.get(key)) is not None), None)
    answer = next((lower[key] for key in _KEYS if key in lower), None)
    if number is not None and answer is not None:
        return [(_number(number) or 0, answer)]
    pairs: list[tuple[int, Any]] = []
    for key, value in found.items():
        if isinstance(value, dict) and _number(key) is None:
            pairs += _pairs(value)
        elif isinstance(value, list) and _number(key) is None:
            each = [_pairs(item) if isinstance(item, dict) else [(at, item)] for at, item in enumerate(value, start=1)]
            pairs += [pair for found_here in each for pair in found_here]
        elif (at := _number(key)) is not None:
            pairs.append((at, _inner(value)))
    return pairs


def _listed(text: str, count: int) -> list[Any]:
    """Of a JSON list with one answer a question; empty where there is none."""
    bare = FENCE.sub("", text).strip()
    try:
        found = json.loads(bare)
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) and len(found) == count else []


def _inner(value: Any) -> Any:
    """The answer inside `{"answer": "yes", "reason": ...}`."""
    if isinstance(value, dict):
        return next((each for key, each in value.items() if key.lower() in _KEYS), None)
    return value


def _piece(value: Any) -> str | None:
    """What JSON says to one question, as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    """Of `1`, `"1"`, `"q1"`, `"question 1"`; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    found = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    return int(found[1]) if found else None


def _plain(text: str) -> str:
    """Without marks of Markdown, quotes, brackets and special tokens, wide letters made narrow."""
    text = _SPECIAL.sub(" ", unicodedata.normalize("NFKC", text))
    return _MARKS.sub("", text).strip()


def _word(found: re.Match[str]) -> YesNo:
    return _WORDS[found["word"].lower()]


def _word_of(token: str) -> YesNo | None:
    """What a token of an answer says; tokenizers put a sign for the space before it."""
    return _WORDS.get(token.strip(" \t\n▁Ġ\"'*.,!").lower())
