r"""Weights in prompts, read as A1111 reads them.

    a (red:1.3) hat     red counts 1.3 times        (red)  1.1 times        ((red))  1.21 times
    a [red] hat         red counts 1 / 1.1 times    [[red]]  1 / 1.21 times
    \( \) \[ \] \\      the characters themselves, as in hatsune miku \(vocaloid\)
    a BREAK b           b begins a new chunk of tokens

Weights of nested brackets multiply. A bracket that is never closed reaches to the end; one that was never opened is
text, and so is a colon without a number. Tokens outside brackets have the weight 1.

ComfyUI reads `[` and `]` and BREAK as text (`square_brackets=False` does the first), and an unclosed `(` too. Nothing
else of A1111's grammar is read here: `[a:b:0.5]` is `[...]` around text, and so is `[a|b]`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

ROUND = 1.1
"""Factor of `(...)` without a number."""

_TOKEN = re.compile(
    r"""
    \\(?P<escaped>[\\()\[\]])
    | :\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)
    | (?P<bracket>[()\[\]])
    | \s*\b(?P<break>BREAK)\b\s*
    | (?P<text>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class Piece(NamedTuple):
    """Text of one weight."""

    text: str
    weight: float


def plain(prompt: str) -> list[list[Piece]]:
    """A prompt as it stands, in the form of `parse`."""
    return [[Piece(prompt, 1.0)]]


def parse(prompt: str, *, square_brackets: bool = True) -> list[list[Piece]]:
    """The pieces of a prompt, neighbours of equal weight joined, in a list for each part between BREAKs.

    At least one part with a piece, which is empty for an empty prompt. A weight may be 0 or negative.
    """
    letters: list[str | None] = []  # None: BREAK
    weights: list[float] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def weigh(start: int, factor: float) -> None:
        weights[start:] = [weight * factor for weight in weights[start:]]

    for match in _TOKEN.finditer(prompt):
        bracket = match["bracket"]
        if match["break"]:
            letters.append(None)
        elif match["weight"] and opened["("]:
            weigh(opened["("].pop(), float(match["weight"]))
            continue
        elif bracket in ("(", "[") and (bracket == "(" or square_brackets):
            opened[bracket].append(len(letters))
            continue
        elif bracket == ")" and opened["("]:
            weigh(opened["("].pop(), ROUND)
            continue
        elif bracket == "]" and opened["["]:
            weigh(opened["["].pop(), 1 / ROUND)
            continue
        else:
            letters.append(match["escaped"] or match[0])
        weights.append(1.0)
    for bracket, factor in (("(", ROUND), ("[", 1 / ROUND)):
        for start in opened[bracket]:
            weigh(start, factor)
    return _joined(letters, weights)


def escape(text: str) -> str:
    """The text, such as a trigger word or a tag, so that `parse` reads it as it stands.

    The word BREAK is written in lower case, which is the same to CLIP.
    """
    return re.sub(r"\bBREAK\b", "break", re.sub(r"([\\()\[\]])", r"\\\1", text))


def _joined(letters: list[str | None], weights: list[float]) -> list[list[Piece]]:
    parts: list[list[Piece]] = [[]]
    for letter, weight in zip(letters, weights, strict=True):
        if letter is None:
            parts.append([])
        elif parts[-1] and parts[-1][-1].weight == weight:
            parts[-1][-1] = Piece(parts[-1][-1].text + letter, weight)
        else:
            parts[-1].append(Piece(letter, weight))
    return [part for part in parts if part] or [[Piece("", 1.0)]]
