"""Many pictures of a folder at once: those that have nothing but tags beside them.

Most folders hold thousands of such. They come out exactly as `datasets.sidecar` and `posts.parse_post` would have them,
at half the time; pictures with captions or JSON beside them are for those to decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from animetune.curate.read.fields import RecordError
from animetune.curate.read.formats import columns
from animetune.curate.read.formats.column_values import frame_of
from animetune.curate.read.formats.free_text import read_text
from animetune.curate.read.formats.names import hash_id, places, plain_name
from animetune.curate.read.formats.readers import Raw
from animetune.curate.read.posts import TAG_CLASSES

if TYPE_CHECKING:
    from animetune.curate.read.inputs import InputFile


def plain_rows(found: Sequence[Raw], file: InputFile) -> pl.DataFrame:
    """The rows of those that can be decided together, as `columns.plain_rows` has them."""
    posts, offsets, beside = [], [], {}
    for raw in found:
        if raw.value != {} or raw.name is None:  # there is JSON, or an error
            continue
        tags = _only_tags(raw.texts, file)
        if tags is None:
            continue
        try:
            at = [] if file.source.images else places(str(file.path), raw.name)
        except RecordError:
            continue
        plain = plain_name(raw.name)
        stem, dot, _ = plain.rpartition(".")
        own = {
            "id": hash_id(f"{file.prefix}{plain}"),
            "file_name": raw.name,
            "file_stem": stem if dot and stem else plain,
        }
        posts.append(own | {f"tag_string_{name}": " ".join(tags.get(name, ())) for name in TAG_CLASSES})
        offsets.append(raw.offset)
        beside[raw.offset] = at
    frame, held = frame_of(posts, offsets, columns.keys_read(file.source))
    rows, _ = columns.plain_rows(frame, file.source, "danbooru", held)
    if file.source.images or not rows.height:
        return rows
    candidates = [beside[offset] for offset in rows["offset"]]
    return rows.with_columns(pl.Series("image_candidates", candidates, dtype=pl.List(pl.String)))


def _only_tags(texts: Iterable[str], file: InputFile) -> dict[str, list[str]] | None:
    """Class -> tags; None where a text holds captions."""
    tags: dict[str, Any] = {}
    for text in texts:
        said = read_text(text, file.source.text)
        if said.captions:
            return None
        for name, listed in said.tags.items():
            tags.setdefault(name, []).extend(listed)
    return tags
