"""How often tags are used, and the tenth of all tags that a tag is in by that: what models know of the long tail."""

from __future__ import annotations

import bisect
import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from animetune.curate.tag.tag_names import normal_tag
from animetune.errors import DataError

PARTS = 10
GENERAL = ("0", "general")
"""The category whose tags make the deciles, where a table has categories."""
_NO_HEADER = {"name": 0, "category": 1, "count": 2}
"""Columns of the lists of prompt completion (a1111-tagcomplete), which have no header."""


@dataclass(frozen=True)
class Deciles:
    """The uses of the most used tag of each tenth, from the rarest."""

    ends: tuple[int, ...]
    counts: Mapping[str, int]

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Deciles:
        """Ten parts of as many tags each, by use; fewer where there are fewer tags than ten. Equally used tags are in
        one part, the rarer one."""
        ordered = sorted(counts.values())
        parts = min(PARTS, len(ordered))
        ends = [ordered[(part + 1) * len(ordered) // parts - 1] for part in range(parts)]
        return cls(tuple(dict.fromkeys(ends)), dict(counts))

    def part(self, tag: str) -> int | None:
        """From 1 for the rarest; None for a tag that the table does not have."""
        count = self.counts.get(tag)
        return None if count is None else bisect.bisect_left(self.ends, count) + 1

    def title(self, part: int) -> str:
        """`3: 1,086 to 1,439`; of the most used `10: from 34,088 uses`."""
        first = 0 if part == 1 else self.ends[part - 2] + 1
        start = min((count for count in self.counts.values() if count >= first), default=first)
        return (
            f"{part}: from {start:,} uses"
            if part == len(self.ends)
            else f"{part}: {start:,} to {self.ends[part - 1]:,}"
        )


def read_counts(path: Path, *, must: bool = True) -> dict[str, int]:
    """Tag -> uses, of a CSV file with the columns name and count, or without a header name, category, count.

    Where there is a category, only general tags. Lines without a count are left out, as WD's lists have some. Raises
    DataError for a file that is none, naming the line; unless it `must` have counts, one without gives none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"counts: {path}: there is no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"counts: {path}: cannot be read as UTF-8 text ({error})") from error
    lines = csv.reader(io.StringIO(text, newline=""))
    found: dict[str, int] = {}
    columns: Mapping[str, int] | None = None
    try:
        for cells in lines:
            if columns is None:
                columns = _columns(cells)
                if columns is None:
                    if must:
                        raise DataError(f"counts: {path}: has the columns {cells}, not name and count")
                    return {}
                if columns is not _NO_HEADER:
                    continue
            if cells:
                _add(found, cells, columns, f"counts: {path}:{lines.line_num}")
    except csv.Error as error:
        raise DataError(f"counts: {path}:{lines.line_num}: is no CSV ({error})") from error
    if must and not found:
        raise DataError(f"counts: {path}: has no general tag with a count; it should have the columns name and count")
    return found


def _columns(header: list[str]) -> Mapping[str, int] | None:
    """Where name, category and count stand; None for a header without them."""
    names = [cell.strip().lower() for cell in header]
    if "name" in names and "count" in names:
        return {name: names.index(name) for name in _NO_HEADER if name in names}
    return None if "name" in names else _NO_HEADER


def _add(found: dict[str, int], cells: list[str], columns: Mapping[str, int], place: str) -> None:
    if max(columns.values()) >= len(cells):
        raise DataError(f"{place}: has {len(cells)} columns; name, category and count are expected, or a header")
    if "category" in columns and cells[columns["category"]] not in GENERAL:
        return
    text = cells[columns["count"]].strip()
    if not text:
        return
    if not text.isdecimal():
        raise DataError(f"{place}: the count {text!r} is no whole number")
    found[normal_tag(cells[columns["name"]])] = int(text)
