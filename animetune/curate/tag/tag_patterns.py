"""Tags sorted into parts by their names: some listed as they are, the others by patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping


class Partition:
    """Tag -> part. A tag that a part lists belongs there; else the pattern with the most text decides.

    In a pattern `*` stands for any text. Of equally long patterns the one whose part comes first by name decides. Most
    patterns are `*_hair` or `holding_*`: those are looked up by the ends of the tag, since a hundred thousand tags and
    a thousand patterns would take minutes as regular expressions.
    """

    def __init__(self, parts: Mapping[str, Iterable[str]]):
        self._exact: dict[str, str] = {}
        self._prefixes: dict[str, str] = {}
        self._suffixes: dict[str, str] = {}
        self._others: list[tuple[int, re.Pattern[str], str]] = []
        for part, entries in sorted(parts.items()):
            for entry in entries:
                self._add(entry, part)
        self._prefix_lengths = sorted({len(text) for text in self._prefixes})
        self._suffix_lengths = sorted({len(text) for text in self._suffixes})

    def _add(self, entry: str, part: str) -> None:
        texts = entry.split("*")
        if len(texts) == 1:
            self._exact.setdefault(entry, part)
        elif len(texts) == 2 and not texts[1]:
            self._prefixes.setdefault(texts[0], part)
        elif len(texts) == 2 and not texts[0]:
            self._suffixes.setdefault(texts[1], part)
        else:
            length = sum(map(len, texts))
            self._others.append((length, re.compile(".*".join(map(re.escape, texts)), re.DOTALL), part))

    def part_of(self, tag: str) -> str | None:
        """The part of a tag; None where nothing fits."""
        if tag in self._exact:
            return self._exact[tag]
        fitting = [(-length, part) for length, pattern, part in self._others if pattern.fullmatch(tag)]
        fitting += [(-n, self._prefixes[tag[:n]]) for n in self._prefix_lengths if tag[:n] in self._prefixes]
        ends = [(n, tag[len(tag) - n :]) for n in self._suffix_lengths if n <= len(tag)]
        fitting += [(-n, self._suffixes[end]) for n, end in ends if end in self._suffixes]
        return min(fitting)[1] if fitting else None
