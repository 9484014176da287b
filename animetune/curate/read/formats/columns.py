"""Many posts at once: those of a parquet file, or of lines that were parsed, that hold nothing unusual.

A row is *plain* where every value that is read has the shape that its site writes. Plain rows come out exactly as
`posts.parse_post` would have them; the others are for it to decide, one by one, so that there is one place that says
what is refused. Seven million posts take about 20 seconds on a core this way, and 7 minutes the other.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from typing import Any

import polars as pl

from animetune.curate.config.sources import ID_MODULUS, Place, SourceConfig, keys_of_posts
from animetune.curate.read import fields
from animetune.curate.read.fields import MAX_TAGS
from animetune.curate.read.formats.boorus import GELBOORU_CLASSES
from animetune.curate.read.formats.column_values import OFFSET, Columns
from animetune.curate.read.posts import TAG_CLASSES
from animetune.curate.read.runs import ROW_SCHEMA

FORMATS = ("danbooru", "gelbooru", "hakubooru")
"""Those that are read by column."""

_KEYS = (
    "id", "md5", "hash", "image_width", "width", "image_height", "height", "file_size", "pixel_hash", "media_asset",
    "file_ext", "file_name", "image", "file_url", "created_at", "rating", "score", "fav_count", "aesthetic_score",
    "is_deleted", "is_banned", "is_pending", "status", "is_synthetic", "parent_id", "tags", "tag_string",
    *(f"tag_string_{name}" for name in TAG_CLASSES), *(f"tags_{name}" for name in (*GELBOORU_CLASSES, *TAG_CLASSES)),
    "captions_long", "captions_short", "category",
)  # fmt: skip


def keys_read(source: SourceConfig) -> set[str]:
    """The columns of a file of posts that can make a difference."""
    patterns = (name for place in (*source.images, *source.masks) for name in keys_of_posts(place))
    theirs = source.columns.values()
    return {*_KEYS, *patterns, *theirs, *(name.partition(".")[0] for name in theirs)}


def plain_rows(
    posts: pl.DataFrame, source: SourceConfig, format_name: str, held: pl.Series | None = None
) -> tuple[pl.DataFrame, pl.Series]:
    """The plain rows, with `offset` and the columns of `runs.ROW_SCHEMA`, and bool (posts,): which those are.

    `posts` has OFFSET and the columns of a file, under the names of Danbooru's post object; only those `held` can be
    plain.
    """
    found = _Posts(posts)
    if held is not None:
        found.narrow(held)
    rows = {
        "id": found.integer("id", lowest=0, required=True),
        "md5": found.matching(r"^[0-9a-f]{32}$", "md5", "hash", lower=True),
        "post_width": _positive(found.integer("image_width", "width", lowest=0, highest=2**31 - 1)),
        "post_height": _positive(found.integer("image_height", "height", lowest=0, highest=2**31 - 1)),
        "post_bytes": found.integer("file_size"),
        "pixel_hash": found.pixel_hash(),
        "file_ext": found.file_ext(),
        "created_at": found.time("created_at", of_unix=format_name == "gelbooru"),
        "rating": found.rating(format_name),
        "score": found.integer("score"),
        "fav_count": found.integer("fav_count"),
        "aesthetic_score": found.number("aesthetic_score"),
        "is_deleted": found.is_deleted(),
        "is_synthetic": found.flag("is_synthetic")
        if source.is_synthetic is None
        else pl.repeat(source.is_synthetic, posts.height, eager=True),
    }
    parent = found.integer("parent_id")
    rows["parent_id"] = parent.set(((parent == 0) | (parent == rows["id"])).fill_null(False), None)
    rows |= found.tags(format_name)
    for name in ("captions_long", "captions_short"):
        found.only_null(name)
        rows[name] = pl.repeat(None, posts.height, dtype=pl.List(pl.String), eager=True).fill_null([])
    for name, places in (("image", source.images), ("mask", source.masks)):
        rows[f"{name}_candidates"] = found.candidates(places, rows, source)
    frame = pl.DataFrame({"offset": posts[OFFSET]} | rows).cast(dict(ROW_SCHEMA), strict=False)  # type: ignore[arg-type]
    return frame.filter(found.plain), found.plain


def _positive(pixels: pl.Series) -> pl.Series:
    return pixels.set((pixels == 0).fill_null(False), None)


class _Posts(Columns):
    """The columns of posts under the keys of Danbooru's post object."""

    def is_deleted(self) -> pl.Series:
        found = self.flag("is_deleted") | self.flag("is_banned") | self.flag("is_pending")
        status = self.get("status")
        if status is not None and status.dtype == pl.String:
            found = found | status.is_in(["deleted", "pending"]).fill_null(False)
        return found

    def pixel_hash(self) -> pl.Series:
        asset = self.get("media_asset")
        if asset is None:
            return self.text("pixel_hash")
        if not isinstance(asset.dtype, pl.Struct):
            self.narrow(asset.is_null())
            return self.text("pixel_hash")
        inner = Columns(asset.struct.unnest())
        value = inner.text("pixel_hash")
        self.narrow(inner.plain)
        if "pixel_hash" in self.posts.columns:  # read where the object is absent
            self.only_null("pixel_hash")
        return value

    def file_ext(self) -> pl.Series:
        stated = self.decided(self.text("file_ext"), fields.extension)
        named = self.nothing(pl.String)
        for column in self.present(("file_name", "image", "file_url")):
            if column.dtype == pl.String:
                named = named.zip_with(named.is_not_null(), column)
        found = named.str.extract(r"\.([A-Za-z0-9]{1,8})$").str.to_lowercase()
        return stated.zip_with(stated.is_not_null(), found)

    def rating(self, format_name: str) -> pl.Series:
        column = self.get("rating")
        if column is not None and column.dtype.is_integer() and format_name == "hakubooru":
            self.narrow(column.is_null() | column.is_between(0, 3))
            return column.replace_strict([0, 1, 2, 3], ["g", "s", "q", "e"], default=None, return_dtype=pl.String)
        return self.decided(self.text("rating"), fields.rating)

    def tags(self, format_name: str) -> dict[str, pl.Series]:
        """`tags_<class>`, each with a space between tags; plain where all are printable ASCII, each once."""
        flat = self.nothing(pl.String)
        for column in self.present(("tags", "tag_string")):
            if column.dtype == pl.List(pl.String):
                joined = column.list.join(" ", ignore_nulls=False)
                spaces = joined.str.count_matches(" ", literal=True).cast(pl.Int64)
                self.narrow(column.is_null() | (column.list.len() == 0) | (spaces + 1 == column.list.len()))
                column = joined
            elif column.dtype != pl.String:
                self.narrow(column.is_null())
                continue
            flat = flat.zip_with(flat.is_not_null(), column)
        if format_name == "gelbooru":
            for name in (f"tags_{tag_class}" for tag_class in {*GELBOORU_CLASSES, *TAG_CLASSES}):
                self.only_null(name)
            self.narrow(flat.is_null() | ~flat.str.contains("&", literal=True))
        classed = {name: self.get(f"tag_string_{name}") for name in TAG_CLASSES}
        of_classes = pl.repeat(False, self.posts.height, eager=True)
        for listed in classed.values():
            if listed is not None:
                of_classes = of_classes | listed.is_not_null()
        general = classed["general"]
        has_general = self.nothing().is_not_null() if general is None else general.is_not_null()
        self.narrow(~of_classes | has_general | flat.is_null())  # else the flat ones have to be told apart
        found = {}
        total = pl.repeat(0, self.posts.height, dtype=pl.Int64, eager=True)
        for name, listed in classed.items():
            value = self.nothing(pl.String)
            if listed is not None and listed.dtype == pl.String:
                value = listed
            elif listed is not None:
                self.narrow(listed.is_null())
            if name == "general":
                value = value.zip_with(of_classes, flat)
            found[f"tags_{name}"], count = self.words(value.fill_null(""))
            total = total + count
        self.narrow(total <= MAX_TAGS)
        return found

    def candidates(self, places: Iterable[Place], rows: dict[str, Any], source: SourceConfig) -> pl.Series:
        """The URLs that the patterns give; null where a post lacks what one needs."""
        columns = [self._url(place, rows, source) for place in places]
        if not columns:
            return self.nothing(pl.List(pl.String)).fill_null([])
        frame = pl.DataFrame([column.alias(str(number)) for number, column in enumerate(columns)])
        return frame.select(pl.concat_list(pl.all()).list.drop_nulls()).to_series()

    def _url(self, place: Place, rows: dict[str, Any], source: SourceConfig) -> pl.Series:
        pieces: list[Any] = []
        for literal, name, spec, _ in string.Formatter().parse(place.path):
            if literal:
                pieces.append(pl.lit(literal))
            if name is not None:
                pieces.append(self._written(self._path_field(name, rows, source), spec or ""))
        path = pl.select(pl.concat_str(pieces)).to_series()
        if len(path) == 1 < self.posts.height:
            path = path.new_from_index(0, self.posts.height)
        outside = path.str.contains(r"(^[/\\])|((^|[/\\])\.\.([/\\]|$))|\x00|://")
        self.narrow(path.is_null() | ~outside)
        root = place.root.rstrip("/")
        return pl.select(pl.concat_str([pl.lit(f"{root}/"), path])).to_series()

    def _path_field(self, name: str, rows: dict[str, Any], source: SourceConfig) -> pl.Series:
        nothing = self.nothing(pl.String)
        if name in ("id", "md5"):
            return rows[name]
        if name == "ext":
            return rows["file_ext"]
        if name in ("md5_ab", "md5_cd"):
            return rows["md5"].str.slice(0 if name == "md5_ab" else 2, 2)
        if name == "key":
            return pl.select(pl.concat_str([pl.lit(f"{source.name}/"), rows["id"]])).to_series()
        if name == "source":
            return pl.repeat(source.name, self.posts.height, eager=True)
        if modulus := ID_MODULUS.fullmatch(name):
            return rows["id"] % int(modulus[1])
        if name == "basename":
            column = self.get("file_name")
            return nothing if column is None or column.dtype != pl.String else column.str.extract(r"([^/\\]*)$")
        column = self.get(name)
        if column is None or not (column.dtype == pl.String or column.dtype.is_integer()):
            return nothing
        return column

    def _written(self, value: pl.Series, spec: str) -> pl.Series:
        """The value as `format` writes it; where it cannot, the row is not plain."""
        if spec == "":
            text = value.cast(pl.String)
        else:
            written: list[str | None] = []
            refused: list[bool] = []
            for each in value:
                try:
                    written.append(None if each is None else format(each, spec))
                    refused.append(False)
                except ValueError:
                    written.append(None)
                    refused.append(True)
            self.narrow(~pl.Series(refused, dtype=pl.Boolean))
            text = pl.Series(written, dtype=pl.String)
            value = value if value.dtype == pl.String else text
        empty = value == "" if value.dtype == pl.String else None
        return text if empty is None else text.set(empty.fill_null(False), None)
