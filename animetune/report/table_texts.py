"""What captions say again and again: their first words, references to style, and runs of words that many share.

A model learns the habits of whoever wrote its captions. DashAnime XL's captions began with `A digital illustration of`
and spoke of animated characters, and its style became inconsistent: hence a look at the texts before training.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

STYLE_PHRASES = (
    "anime-style", "anime style", "animated character", "animated characters", "animated", "stylized", "cartoonish",
    "cartoon-style", "cartoon style", "digital illustration", "digital artwork", "digital art", "digital painting",
    "illustration of", "an illustration", "the illustration", "artwork", "art style", "style of the image",
    "in the style of", "typical of anime", "anime and manga", "manga-style", "manga style", "comic-style",
    "comic style", "chibi-style", "cel-shaded", "cel shaded", "hand-drawn", "rendered in", "3d render", "watercolor",
    "painting of", "sketch of", "drawing of", "reminiscent of", "photograph of", "photorealistic",
    "anime girl", "anime boy", "anime woman", "anime character", "this image", "the image is", "the image shows",
    "the image depicts", "the image features", "the overall impression", "the overall mood",
)  # fmt: skip
"""References to style, and to there being a picture at all, that captioning models are known to write."""

OPENING_WORDS = 5
RUN_WORDS = 6
"""Words of a run that is counted."""
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


class Phrase(NamedTuple):
    """A phrase, and how many of the texts have it."""

    text: str
    times: int


def openings(texts: Iterable[str], *, most: int) -> list[Phrase]:
    """The most frequent first five words (all of a shorter text), in lower case and without punctuation."""
    first = Counter(" ".join(itertools.islice(_words(text), OPENING_WORDS)) for text in texts)
    del first[""]
    return _most_common(first, most)


def style_phrases(texts: Sequence[str], phrases: Sequence[str] = STYLE_PHRASES) -> list[Phrase]:
    """How many of the texts hold each phrase as whole words; those that none holds are left out, most first."""
    patterns = {phrase: re.compile(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])") for phrase in phrases}
    found: Counter[str] = Counter()
    for text in texts:
        lowered = text.lower()
        found.update(phrase for phrase in phrases if phrase in lowered and patterns[phrase].search(lowered))
    return _most_common(found, len(phrases))


def with_any(texts: Iterable[str], phrases: Sequence[str]) -> int:
    """How many of the texts hold at least one of the phrases as whole words."""
    if not phrases:
        return 0
    pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, phrases))})(?![\w-])")
    return sum(pattern.search(text.lower()) is not None for text in texts)


def repeated_runs(texts: Sequence[str], *, most: int, at_least: int) -> list[Phrase]:
    """Runs of six words that at least so many of the texts hold, most first.

    Of runs that overlap by more than half, as neighbours in one sentence do, the first is taken.
    """
    held: Counter[str] = Counter()
    for text in texts:
        words = list(_words(text))
        held.update({" ".join(words[at : at + RUN_WORDS]) for at in range(len(words) - RUN_WORDS + 1)})
    chosen: list[Phrase] = []
    for run in _most_common(held, 50 * most):
        if run.times < at_least or len(chosen) == most:
            break
        if not any(_overlap(run.text, other.text) for other in chosen):
            chosen.append(run)
    return chosen


def repeated_texts(texts: Iterable[str], *, most: int) -> list[Phrase]:
    """Texts that occur more than once, most first."""
    return [phrase for phrase in _most_common(Counter(texts), most) if phrase.times > 1]


def _words(text: str) -> Iterable[str]:
    return (word[0] for word in _WORD.finditer(text.lower()))


def _most_common(counts: Counter[str], most: int) -> list[Phrase]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Phrase(*item) for item in ordered[:most]]


def _overlap(left: str, right: str) -> bool:
    """Whether more than half of the words of one run are a run of the other."""
    a, b = left.split(" "), right.split(" ")
    half = RUN_WORDS // 2 + 1
    runs = {tuple(a[at : at + half]) for at in range(len(a) - half + 1)}
    return any(tuple(b[at : at + half]) in runs for at in range(len(b) - half + 1))
