"""The rows of a file of questions, in the columns of DPG-Bench's dpg_bench.csv, each mistake named by file and line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from animetune.errors import ConfigError
from animetune.text_files import read_text

COLUMNS = (
    "item_id",
    "text",
    "keywords",
    "proposition_id",
    "dependency",
    "category_broad",
    "category_detailed",
    "tuple",
    "question_natural_language",
)
MOST_NAMED = 50
"""Mistakes of one file that a message names."""
_NUMBER = re.compile(r"[0-9]{1,6}")
_ITEM = re.compile(r"[^\s/\\.\x00-\x1f][^/\\\x00-\x1f]{0,99}")


class Row(NamedTuple):
    """One question as the file has it."""

    line: int
    """Where it begins, counted from 1."""
    item: str
    """Names the prompt."""
    text: str
    """The prompt."""
    keywords: str
    id: int
    """Of the question, from 1, within its prompt."""
    parents: tuple[int, ...]
    """Questions without whose yes this one is not met; 0, for none, is left out."""
    broad: str
    detailed: str
    proposition: str
    """What is asserted, as `attribute - color (barn, red)`."""
    question: str


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file (UTF-8, with or without a byte order mark; lines end as they like).

    Raises ConfigError with every mistake in a row, as `file:line: what`.
    """
    return parse_rows(read_text(path, "questions"), str(path))


def parse_rows(text: str, name: str) -> list[Row]:
    """As `read_rows`, of a text."""
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ConfigError(f"{name}:{line}: holds a zero byte; save the file as CSV in UTF-8")
    records = _records(text, name)
    try:
        line, header = next(records)
    except StopIteration:
        raise ConfigError(f"{name}: is empty; it should begin with the columns {', '.join(COLUMNS)}") from None
    places = _places(header, f"{name}:{line}")
    rows, problems = [], []
    for line, record in records:
        if len(record) != len(header):
            problems.append(f"{name}:{line}: has {len(record)} fields where the header has {len(header)}")
            continue
        fields = {column: record[place].strip() for column, place in places.items()}
        found = _problems(fields)
        problems += [f"{name}:{line}: {problem}" for problem in found]
        if not found:
            rows.append(_row(line, fields))
    if problems:
        raise ConfigError(shortened(problems))
    if not rows:
        raise ConfigError(f"{name}: holds no question")
    return rows


def shortened(problems: Sequence[str]) -> list[str]:
    """The first MOST_NAMED of them, and how many more there are."""
    more = len(problems) - MOST_NAMED
    return [*problems[:MOST_NAMED], *([f"... and {more} more"] if more > 0 else [])]


def _records(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    try:
        for record in reader:
            if any(field.strip() for field in record):
                yield start, record
            start = reader.line_num + 1
    except csv.Error as error:
        raise ConfigError(
            f"{name}:{start}: is not CSV ({error}); look for a quotation mark that is not closed"
        ) from error


def _places(header: Sequence[str], place: str) -> dict[str, int]:
    names = [column.strip() for column in header]
    absent = [column for column in COLUMNS if column not in names]
    if absent:
        raise ConfigError(
            f"{place}: lacks the column{'s' if len(absent) > 1 else ''} {', '.join(absent)}; the first line should be "
            f"{','.join(COLUMNS)}"
        )
    twice = [column for column in COLUMNS if names.count(column) > 1]
    if twice:
        raise ConfigError(f"{place}: has the column {twice[0]} twice")
    return {column: names.index(column) for column in COLUMNS}


def _problems(fields: dict[str, str]) -> list[str]:
    found = [
        f"{column}: is empty" for column in ("item_id", "tuple", "question_natural_language") if not fields[column]
    ]
    if fields["item_id"] and not _ITEM.fullmatch(fields["item_id"]):
        found.append(f"item_id: {fields['item_id']!r} names no file; leave out slashes and a leading full stop")
    if not _NUMBER.fullmatch(fields["proposition_id"]) or int(fields["proposition_id"]) == 0:
        found.append(f"proposition_id: {fields['proposition_id']!r} should be a whole number from 1")
    if not all(_NUMBER.fullmatch(part.strip()) for part in fields["dependency"].split(",")):
        found.append(
            f"dependency: {fields['dependency']!r} should be numbers of questions with commas between, or 0 for none"
        )
    return found


def _row(line: int, fields: dict[str, str]) -> Row:
    parents = [int(part) for part in fields["dependency"].split(",")]
    return Row(
        line,
        fields["item_id"],
        fields["text"],
        fields["keywords"],
        int(fields["proposition_id"]),
        tuple(parent for parent in parents if parent != 0),
        fields["category_broad"],
        fields["category_detailed"],
        fields["tuple"],
        fields["question_natural_language"],
    )
