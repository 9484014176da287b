"""Questions to which the answer should be no: about things of other prompts, to see how readily a model says yes.

All questions of a prompt are to be answered yes, so a vision model that says yes to everything would find every picture
perfect. Asked about things that nobody asked for, it shows itself. Some of them are there by chance, so a little more
than nothing is to be expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from animetune import fsio
from animetune.evaluate.adherence.graph import Item, Question

_THING = re.compile(r"(Is|Are) there \w")
_PEOPLE = re.compile(r"\b(girl|boy|wom[ae]n|m[ae]n|person|people|child|children|crowd|character|figure|face)s?\b", re.I)
_WORD = re.compile(r"[a-z]{3,}")
_SAY_NOTHING = frozenset({"are", "ther", "the", "pict", "and", "any", "with", "imag", "seen", "visi", "for", "from"})


class Controls:
    """Chooses for a prompt questions about things of others."""

    def __init__(self, items: Iterable[Item]):
        found: dict[str, frozenset[str]] = {}
        for item in items:
            for question in item.questions:
                if _is_of_a_thing(question):
                    found.setdefault(question.text, _words(question.text))
        self._words_of: Mapping[str, frozenset[str]] = {text: words for text, words in found.items() if words}

    def of(self, key: str, texts: Iterable[str], count: int) -> list[str]:
        """Up to `count` questions that share no word with `texts`, a prompt and its own questions.

        Equal for equal keys, texts and sets.
        """
        mine = frozenset[str]().union(*(_words(text) for text in texts))
        fit = [text for text, words in self._words_of.items() if not words & mine]
        return sorted(fit, key=lambda text: fsio.short_digest(f"{key}/{text}"))[:count]


def facts_of(texts: Sequence[str]) -> list[dict[str, Any]]:
    """What a case carries of them."""
    return [{"id": f"control-{number}", "text": text} for number, text in enumerate(texts, start=1)]


def _is_of_a_thing(question: Question) -> bool:
    return bool(not question.parents and _THING.match(question.text) and not _PEOPLE.search(question.text))


def _words(text: str) -> frozenset[str]:
    """Cut to four letters, so that forms of one word are one."""
    return frozenset(word[:4] for word in _WORD.findall(text.lower())) - _SAY_NOTHING
