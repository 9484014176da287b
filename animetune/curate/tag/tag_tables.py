"""Tables about tags that a user gives as CSV files: other names, categories, implications.

All take the forms that are in use, with a first line of names or without:

    aliases         alias,name          Danbooru's dump: antecedent_name,consequent_name,...,status
                    name,category,count,"alias,alias"        the tag list of prompt completion (a1111-tagcomplete)
    categories      name,category[,...]                      the same tag list
    implications    more,less           Danbooru's dump: antecedent_name,consequent_name,...,status

Of Danbooru's dumps only rows whose status is `active` count. In a tag list, a name is never another's alias, and of two
tags with one alias the first has it: such lists are sorted by use.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from animetune import fsio
from animetune.curate.config.tags import TagsConfig
from animetune.curate.tag.tag_names import normal_tag
from animetune.errors import DataError

CATEGORIES = {
    "0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "meta",
    "general": "general", "artist": "artist", "copyright": "copyright", "series": "copyright",
    "character": "character", "meta": "meta",
}  # fmt: skip
"""Category as it is written -> class of tags. Numbers are Danbooru's."""
MORE, LESS = "antecedent_name", "consequent_name"
HEADERS = {"antecedent_name", "alias", "name", "tag", "more", "child", "antecedent"}
"""First cells that make the first line one of names."""


@dataclass(frozen=True)
class TagTables:
    """What the files say, as plain dictionaries: they go to every worker process."""

    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other name -> name; never a name that is an alias itself."""
    categories: Mapping[str, str] = field(default_factory=dict)
    """Name -> class of tags (`general`, `artist`, `copyright`, `character`, `meta`)."""
    implications: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Tag -> tags that it implies directly."""

    @classmethod
    def load(cls, cfg: TagsConfig) -> TagTables:
        """Read the files of a configuration.

        Raises DataError, with file and line, for a file that is not there or is none of the forms, an unknown category,
        an alias with two names, and aliases or implications that go round in a circle.
        """
        return cls(
            aliases=read_aliases(cfg.aliases),
            categories=read_categories(cfg.categories),
            implications=read_implications(cfg.implications),
        )

    @property
    def digest(self) -> str:
        """SHA-256 of all tables."""
        everything = [dict(self.aliases), dict(self.categories), {tag: [*of] for tag, of in self.implications.items()}]
        return hashlib.sha256(fsio.canonical_json(everything).encode()).hexdigest()


def read_aliases(paths: Sequence[Path]) -> dict[str, str]:
    """Other name -> name, chains followed to their end."""
    pairs: dict[str, tuple[str, str]] = {}
    listed: dict[str, str] = {}
    names: set[str] = set()
    for path in paths:
        header, rows = _rows(path, "tags.aliases")
        name_at, aliases_at = _column(header, ("name", "tag"), 0), _column(header, ("aliases",), 3)
        for place, cells in rows:
            if "aliases" in header if header else len(cells) >= 4:
                name = normal_tag(_cell(cells, name_at, place))
                names.add(name)
                for alias in filter(None, map(normal_tag, _cell(cells, aliases_at, place).split(","))):
                    listed.setdefault(alias, name)
            elif header or len(cells) == 2:
                for old, new in _pair(header, cells, place):
                    if pairs.get(old, (new,))[0] != new:
                        raise DataError(f"{place}: {old!r} is {new!r} here, and {pairs[old][0]!r} at {pairs[old][1]}")
                    pairs[old] = (new, place)
            else:
                raise DataError(
                    f"tags.aliases: {place}: has {len(cells)} cells; write alias,name in a line, or "
                    'name,category,count,"alias,..."'
                )
    found = {old: name for old, name in listed.items() if old not in names}
    found |= {old: new for old, (new, _) in pairs.items()}
    return {old: _end_of(old, found, "tags.aliases") for old in found if found[old] != old}


def read_categories(paths: Sequence[Path]) -> dict[str, str]:
    """Name -> class of tags; of two lines about one name, the first counts."""
    found: dict[str, str] = {}
    for path in paths:
        header, rows = _rows(path, "tags.categories")
        name_at, category_at = (_column(header, ("name", "tag"), 0), _column(header, ("category", "type"), 1))
        for place, cells in rows:
            written = _cell(cells, category_at, f"tags.categories: {place}").strip()
            category = CATEGORIES.get(written.lower())
            if category is None:
                raise DataError(
                    f"tags.categories: {place}: category {written!r} is unknown; there are {', '.join(CATEGORIES)}"
                )
            if name := normal_tag(_cell(cells, name_at, f"tags.categories: {place}")):
                found.setdefault(name, category)
    return found


def read_implications(paths: Sequence[Path]) -> dict[str, tuple[str, ...]]:
    """Tag -> tags that it implies directly."""
    found: dict[str, dict[str, None]] = {}
    for path in paths:
        header, rows = _rows(path, "tags.implications")
        for place, cells in rows:
            for more, less in _pair(header, cells, place):
                if more != less:
                    found.setdefault(more, {})[less] = None
    _check_no_circle(found)
    return {more: tuple(less) for more, less in found.items()}


def _rows(path: Path, setting: str) -> tuple[list[str], Iterator[tuple[str, list[str]]]]:
    """The names in the first line, none where it has none; (`file:line`, cells) of every line that is not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{setting}: {path}: there is no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{setting}: {path}: cannot be read as UTF-8 text: {error}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines = _checked(reader, f"{setting}: {path}")
    rows = ((f"{path}:{reader.line_num}", cells) for cells in lines if any(map(str.strip, cells)))
    first = next(rows, None)
    if first is None:
        raise DataError(f"{setting}: {path}: is empty")
    header = [cell.strip().lower() for cell in first[1]]
    if len(header) > 1 and HEADERS & {header[0], header[1]}:
        return header, rows
    return [], _chained(first, rows)


def _checked(reader: Iterator[list[str]], where: str) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise DataError(f"{where}:{reader.line_num}: is no CSV: {error}") from error  # type: ignore[attr-defined]


def _chained(first: tuple[str, list[str]], rows: Iterable[tuple[str, list[str]]]) -> Iterator[tuple[str, list[str]]]:
    yield first
    yield from rows


def _pair(header: Sequence[str], cells: Sequence[str], place: str) -> Iterator[tuple[str, str]]:
    """The two tags of a line; none of one that is not active."""
    status = _column(header, ("status",), -1)
    if status >= 0 and _cell(cells, status, place).strip().lower() != "active":
        return
    first, second = _column(header, (MORE, "alias", "more", "child"), 0), _column(header, (LESS, "name", "less"), 1)
    one, other = normal_tag(_cell(cells, first, place)), normal_tag(_cell(cells, second, place))
    if not one or not other:
        raise DataError(f"{place}: has an empty name")
    yield one, other


def _cell(cells: Sequence[str], index: int, place: str) -> str:
    if index >= len(cells):
        raise DataError(f"{place}: has {len(cells)} of the columns; number {index + 1} is missing: add it to the line")
    return cells[index]


def _column(header: Sequence[str], names: Sequence[str], default: int) -> int:
    return next((header.index(name) for name in names if name in header), default)


def _end_of(alias: str, aliases: Mapping[str, str], setting: str) -> str:
    seen = [alias]
    while seen[-1] in aliases and aliases[seen[-1]] != seen[-1]:
        seen.append(aliases[seen[-1]])
        if seen[-1] in seen[:-1]:
            raise DataError(f"{setting}: aliases go round in a circle: {' -> '.join(seen)}")
    return seen[-1]


def _check_no_circle(implications: Mapping[str, Iterable[str]]) -> None:
    """DataError for a tag that implies itself by way of others."""
    done: set[str] = set()
    for root in implications:
        path: list[str] = []
        waiting: list[tuple[str, bool]] = [(root, False)]
        while waiting:
            tag, is_left = waiting.pop()
            if is_left:
                done.add(path.pop())
            elif tag in path:
                circle = [*path[path.index(tag) :], tag]
                raise DataError(f"tags.implications: implications go round in a circle: {' -> '.join(circle)}")
            elif tag not in done:
                path.append(tag)
                waiting.append((tag, True))
                waiting += [(less, False) for less in implications.get(tag, ())]
