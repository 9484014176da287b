"""Lists of single posts in text files: what must never be used (takedown), and what was picked by hand (include).

A line names a post by its key, its id or its MD5, or (`artist:<tag>`) all posts of an artist.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from animetune import fsio
from animetune.curate.read.posts import TAG_CLASSES
from animetune.curate.tag.tag_matching import holds, lower
from animetune.curate.tag.tag_names import named_tag
from animetune.errors import DataError

INCLUDED = "is_included"
"""Column: the post is on an include list, and on no takedown list."""
TAKEN_DOWN = "is_taken_down"
"""Column: the post is on a takedown list."""

_KEY = re.compile(r"(?P<source>[^/\s]+)/(?P<id>[0-9]{1,19})(?P<part>#[0-9]+)?")
_ID = re.compile(r"[0-9]{1,19}")
_MD5 = re.compile(r"[0-9a-f]{32}")
_ARTIST = "artist:"
_TAG_LISTS = tuple(f"tags_{name}" for name in TAG_CLASSES)


@dataclass(frozen=True, slots=True)
class PostList:
    """What the lines of some files name; each sorted."""

    keys: tuple[str, ...] = ()
    md5s: tuple[str, ...] = ()
    artists: tuple[str, ...] = ()

    @classmethod
    def read(cls, paths: Sequence[Path], setting: str, sources: Sequence[str], *, artists: bool) -> PostList:
        """Read files for a setting; ids are those of the only source.

        Raises DataError, naming file and line, for a line that names no post, a source that is not in the
        configuration, an id where there are several sources, and `artist:` unless `artists` are allowed.
        """
        found: dict[str, set[str]] = {"keys": set(), "md5s": set(), "artists": set()}
        for path in paths:
            for number, line in _lines(path, setting):
                try:
                    kind, name = _named(line, sources, artists=artists)
                except ValueError as error:
                    raise DataError(f"{path}, line {number}: {line[:80]!r} {error}") from error
                found[kind].add(name)
        return cls(**{kind: tuple(sorted(names)) for kind, names in found.items()})

    @property
    def digest(self) -> str:
        """SHA-256 of all that is named."""
        return hashlib.sha256(fsio.canonical_json([self.keys, self.md5s, self.artists]).encode()).hexdigest()

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns, beside `key`, by which posts are found."""
        return (*(["md5"] if self.md5s else []), *(_TAG_LISTS if self.artists else []))

    def names(self, rows: pl.DataFrame) -> pl.Series:
        """bool (rows,): whether the list names the post.

        An artist is looked for among the tags of every class: sources without classes have artists among the general
        tags, and on a booru a tag has one class.
        """
        named = rows["key"].is_in(self.keys)
        if self.md5s:
            named |= rows["md5"].is_in(self.md5s).fill_null(value=False)
        if self.artists:
            tags = rows.select(lower(_TAG_LISTS))
            named |= tags.select(held=holds(_TAG_LISTS, self.artists))["held"]
        return named


def tag_lines(path: Path, setting: str) -> list[str]:
    """The tags of a file, a line each, as filters compare them. Raises DataError for a file without any."""
    tags = []
    for number, line in _lines(path, setting):
        try:
            tags.append(named_tag(line))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
    if not tags:
        raise DataError(f"{setting}: {path}: names no tag; a tag a line is expected")
    return tags


def _lines(path: Path, setting: str) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that are neither blank nor a comment."""
    if not path.is_file():
        raise DataError(f"{setting}: {path}: there is no such file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{setting}: {path}: byte {error.start} is not UTF-8; save it as UTF-8 text") from error
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line and line != "#" and not line.startswith("# "):
            yield number, line


def _named(line: str, sources: Sequence[str], *, artists: bool) -> tuple[str, str]:
    """(`keys`, `md5s` or `artists`; what is named). Raises ValueError."""
    if line.lower().startswith(_ARTIST):
        if not artists:
            raise ValueError("names an artist; only posts can be listed here")
        return "artists", named_tag(line[len(_ARTIST) :])
    if _MD5.fullmatch(line.lower()):
        return "md5s", line.lower()
    if _ID.fullmatch(line):
        if len(sources) > 1:
            raise ValueError(f"is an id, but of which source? Write it as a key, such as {sources[0]}/{line}")
        return "keys", f"{sources[0]}/{int(line)}"
    if match := _KEY.fullmatch(line):
        if match["source"] not in sources:
            close = difflib.get_close_matches(match["source"], sources, n=1)
            meant = f", did you mean {close[0]!r}?" if close else f"; there are {', '.join(sources)}"
            raise ValueError(f"is of no source of this configuration{meant}")
        return "keys", f"{match['source']}/{int(match['id'])}{match['part'] or ''}"
    kinds = "a key (source/123), an id, an MD5" + (" or artist:<tag>" if artists else "")
    raise ValueError(f"is not {kinds}")
