"""What is known of a picture before anybody looks at it: its tags, sorted, and its names as people write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from animetune.prompts.wording import render_tag

_LISTS = ("tags_count", "tags_character", "tags_copyright", "tags_artist", "tags_general", "tags_special")
_NOT_A_SERIES = frozenset({"original", "original_character"})


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """Tags of one row of a table, raw (underscored), in the row's order."""

    key: str
    tags_count: tuple[str, ...] = ()
    tags_character: tuple[str, ...] = ()
    tags_copyright: tuple[str, ...] = ()
    tags_artist: tuple[str, ...] = ()
    tags_general: tuple[str, ...] = ()
    tags_special: tuple[str, ...] = ()
    rating: str | None = None
    content_bucket: str | None = None

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> PictureFacts:
        """The facts of a row of a table; columns that it lacks, or that are null, are empty."""
        lists = {name: tuple(row.get(name) or ()) for name in _LISTS}
        return cls(key=row["key"], rating=row.get("rating"), content_bucket=row.get("content_bucket"), **lists)

    @property
    def characters(self) -> tuple[str, ...]:
        """Characters as people write them: `ganyu (genshin impact)`, with the series where it is known whose it is.

        Who is only dressed up as, `miku_(cosplay)`, is not in the picture.
        """
        return tuple(character_name(tag, self.tags_copyright) for tag in self._present())

    @property
    def character_names(self) -> tuple[str, ...]:
        """Characters by their bare names, without brackets: `ganyu`."""
        return tuple(bare_name(tag) for tag in self._present())

    @property
    def series(self) -> tuple[str, ...]:
        """Series as people write them; `original` is none."""
        return names(tag for tag in self.tags_copyright if tag not in _NOT_A_SERIES)

    @property
    def all_tags(self) -> frozenset[str]:
        """All tags that say what is seen: counts, general and special ones."""
        return frozenset((*self.tags_count, *self.tags_general, *self.tags_special))

    def _present(self) -> list[str]:
        return [tag for tag in self.tags_character if not tag.endswith("_(cosplay)")]


def names(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags as people write them: spaces for underscores, emoticons as they are."""
    return tuple(render_tag(tag) for tag in tags)


def bare_name(tag: str) -> str:
    """The name without the brackets behind it: `saber` of `saber_(alter)_(fate)`."""
    name = render_tag(tag)
    bare = name
    while bare.endswith(")") and " (" in bare:
        bare = bare[: bare.rindex(" (")]
    return bare or name


def character_name(tag: str, series: Iterable[str]) -> str:
    """`hatsune miku (vocaloid)`: a name that has no brackets of its own gets the series, where there is only one."""
    name = render_tag(tag)
    known = [other for other in series if other not in _NOT_A_SERIES]
    if len(known) != 1 or bare_name(tag) != name:
        return name
    return f"{name} ({bare_name(known[0])})"
