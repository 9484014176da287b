"""What the tags of a picture are signs of: many lists of tags looked up at once.

A tag is looked up once, not at each of its uses: it becomes a number with a bit for every list that has it, and a row's
number is the bits of all of its tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from animetune.curate.coded import CodedLists

BITS = 64
"""Of a word of numpy.uint64; more lists than that take more words."""
_WORD = (1 << BITS) - 1


def read_signs(columns: Sequence[CodedLists], lists: Mapping[str, Iterable[str]]) -> dict[str, np.ndarray]:
    """Name of a list -> bool (rows,): whether a row has any of its tags, in whatever column.

    `*` in a tag stands for any text. All columns have as many rows.
    """
    return named_signs(sign_words(columns, lists), lists)


def sign_words(columns: Sequence[CodedLists], lists: Mapping[str, Iterable[str]]) -> np.ndarray:
    """uint64 (words, rows): the bits of all tags of a row, one for each list, in the order of `lists`."""
    listed = [list(tags) for tags in lists.values()]
    words = np.zeros((-(-len(listed) // BITS), len(columns[0])), np.uint64)
    for coded in columns:
        numbers = _numbers(coded.names.tolist(), listed)
        if any(numbers):  # most columns have no tag of any list
            for place, of_rows in enumerate(words):
                of_tag = np.array([number >> place * BITS & _WORD for number in numbers], dtype=np.uint64)
                of_rows |= _any_bits(of_tag.take(coded.codes), coded.offsets)
    return words


def named_signs(words: np.ndarray, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Name of a list -> bool (rows,): whether its bit is in `words`, uint64 (words, rows)."""
    return {name: words[bit // BITS] >> np.uint64(bit % BITS) & np.uint64(1) == 1 for bit, name in enumerate(names)}


def _numbers(tags: Sequence[str], lists: Sequence[Sequence[str]]) -> list[int]:
    """For each tag, the sum of 2 ** place of the lists that have it."""
    exact: dict[str, int] = {}
    patterns: list[tuple[re.Pattern[str], int]] = []
    for bit, listed in enumerate(lists):
        for tag in listed:
            if "*" not in tag:
                exact[tag] = exact.get(tag, 0) | 1 << bit
        texts = [".*".join(map(re.escape, tag.split("*"))) for tag in listed if "*" in tag]
        if texts:
            patterns.append((re.compile("|".join(texts), re.DOTALL), 1 << bit))
    numbers = [exact.get(tag, 0) for tag in tags]
    for pattern, bit_of in patterns:
        numbers = [
            number | bit_of if pattern.fullmatch(tag) else number for tag, number in zip(tags, numbers, strict=True)
        ]
    return numbers


def _any_bits(uses: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """uint64 (rows,): the bits that any use of a row has."""
    of_rows = np.zeros(len(offsets) - 1, np.uint64)
    filled = np.flatnonzero(np.diff(offsets))  # reduceat gives a run of no uses the use behind it
    if len(filled):
        of_rows[filled] = np.bitwise_or.reduceat(uses, offsets[filled])
    return of_rows
