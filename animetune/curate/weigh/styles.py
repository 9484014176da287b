"""Style classes: what is learned as one style, such as an artist, or what a map makes of several.

AIDXL counts and boosts the pictures of a style class (`adaptive`); `styles` in the configuration says what a class is.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from animetune import fsio
from animetune.curate.coded import CodedLists
from animetune.curate.config.styles import StylesConfig
from animetune.curate.tag.tag_names import normal_tag
from animetune.curate.weigh.csv_rows import read_rows
from animetune.errors import DataError

OTHER_LISTS = ("tags_general", "tags_special", "tags_meta")
"""Where style tags are, beside the artists."""

_UNDECIDED = -1


@dataclass(frozen=True, slots=True)
class Styles:
    """How tags make style classes."""

    cfg: StylesConfig
    by_tag: dict[str, str]
    """Tag -> style class, as the map has it; empty for no style."""

    @classmethod
    def load(cls, cfg: StylesConfig) -> Styles:
        """Read the map. DataError when it cannot be read, or when it has two styles for one tag."""
        by_tag: dict[str, str] = {}
        for line, row in read_rows(cfg.map, "styles: map", ("tag", "style")) if cfg.map else ():
            tag = normal_tag(row["tag"])
            if not tag:
                raise DataError(f"styles: map: {cfg.map}:{line}: names no tag")
            if by_tag.setdefault(tag, row["style"]) != row["style"]:
                raise DataError(
                    f"styles: map: {cfg.map}:{line}: {tag} is {row['style']!r} here and {by_tag[tag]!r} above; keep one"
                )
        return cls(cfg, by_tag)

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides."""
        decides = [self.cfg.model_dump(mode="json", exclude={"map"}), sorted(self.by_tag.items())]
        return hashlib.sha256(fsio.canonical_json(decides).encode()).hexdigest()

    def of_artist(self, artist: str) -> str | None:
        """The style class of pictures of that artist alone; None for none."""
        style = self.by_tag.get(artist)
        return style or None if style is not None or self.cfg.artist == "none" else artist

    def of_lists(self, lists_of: Callable[[str], CodedLists]) -> pl.Series:
        """The style class of each row, `style_class`; null for none.

        `lists_of` gives the column of a name, of `tags_artist` and OTHER_LISTS, and is asked for what has a say.
        """
        artists = lists_of("tags_artist")
        classes: dict[str, int] = {}
        number = functools.partial(_number, classes)
        decided = np.full(len(artists), _UNDECIDED)
        if self.by_tag:
            decided = _first(artists, artists.property(lambda tag: number(self.by_tag.get(tag)), np.int32))
        lists = [lists_of(name) for name in OTHER_LISTS] if self.by_tag or self.cfg.tags else []
        for other in lists:
            _fill(decided, _first(other, other.property(lambda tag: number(self.by_tag.get(tag)), np.int32)))
        for tag in self.cfg.tags:
            for other in lists:
                shown = other.any((other.names == tag)[other.codes])
                _fill(decided, np.where(shown, number(tag), _UNDECIDED))
        _fill(decided, self._by_artist(artists, number))
        names = pl.Series("style_class", [*classes, None], dtype=pl.String)  # _UNDECIDED is the last
        return names.gather(decided)

    def _by_artist(self, artists: CodedLists, number: functools.partial[int]) -> np.ndarray:
        if self.cfg.artist == "none":
            return np.full(len(artists), _UNDECIDED)
        of_artist = artists.property(lambda tag: number(tag) if self.by_tag.get(tag, tag) else _UNDECIDED, np.int32)
        first = _first(artists, of_artist)
        if self.cfg.artist == "only":
            first[artists.count((of_artist >= 0)[artists.codes]) > 1] = _UNDECIDED
        return first


def _number(classes: dict[str, int], style: str | None) -> int:
    """The number of a style class, a new one if need be; _UNDECIDED for none."""
    return classes.setdefault(style, len(classes)) if style else _UNDECIDED


def _first(lists: CodedLists, number: np.ndarray) -> np.ndarray:
    """The first number of a class among the names of each row; _UNDECIDED for none. `number`: int32 (distinct,)."""
    found = np.full(len(lists), _UNDECIDED)
    if (number >= 0).any():
        of_use = number.take(lists.codes)
        held = np.flatnonzero(of_use >= 0)[::-1]
        found[lists.rows[held]] = of_use[held]  # of several, the last that is assigned stays: the first use
    return found


def _fill(decided: np.ndarray, more: np.ndarray) -> None:
    """Decide, in place, the rows that are not decided yet."""
    open_rows = decided == _UNDECIDED
    decided[open_rows] = more[open_rows]
