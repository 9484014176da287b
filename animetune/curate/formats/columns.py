"""Many posts at once: those of a parquet file, or of lines that were parsed, that hold nothing unusual.

A row is *plain* where every value that is read has the shape that its site writes. Plain rows come out exactly as
`posts.parse_post` would have them; the others are for it to decide, one by one, so that there is one place that says
what is refused. Seven million posts take about a quarter of a minute on a core this way, and an hour the other.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from animetune.curate import fields
from animetune.curate.config.sources import ID_MODULUS, ImagesConfig, SourceConfig
from animetune.curate.fields import MAX_TAG_BYTES, MAX_TAGS, RecordError
from animetune.curate.posts import TAG_CLASSES
from animetune.curate.runs import ROW_SCHEMA

FORMATS = ("danbooru", "gelbooru", "hakubooru")
"""Those that are read by column."""
OFFSET = "\0offset"
"""The column of where posts were read; no key of a post."""

_KEYS = (
    "id", "md5", "hash", "image_width", "width", "image_height", "height", "file_size", "pixel_hash", "media_asset",
    "file_ext", "file_name", "image", "file_url", "created_at", "rating", "score", "fav_count", "aesthetic_score",
    "is_deleted", "is_banned", "is_pending", "status", "is_synthetic", "parent_id", "tags", "tag_string",
    *(f"tag_string_{name}" for name in TAG_CLASSES), *(f"tags_{name}" for name in ("metadata", *TAG_CLASSES)),
    "captions_long", "captions_short", "category",
)  # fmt: skip
_TIME = r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9]\.[0-9]{3}[+-](0[0-9]|1[0-2]):[0-5][0-9]$"
_INT64 = 2.0**63
_DTYPES: dict[type, Any] = {
    int: pl.Int64, float: pl.Float64, str: pl.String, bool: pl.Boolean, list: pl.List(pl.String),
}  # fmt: skip


def keys_read(source: SourceConfig) -> set[str]:
    """The columns of a file of posts that can make a difference."""
    patterns = (name for images in (*source.images, *source.masks) for name in images.keys_of_posts)
    return {*_KEYS, *patterns, *(theirs.partition(".")[0] for theirs in source.columns.values())}


def frame_of(
    records: Sequence[Mapping[str, Any]], offsets: Sequence[int], keys: Iterable[str]
) -> tuple[pl.DataFrame, pl.Series]:
    """OFFSET and some keys of JSON records as columns, and bool (records,): which of them these columns hold.

    A column has the type that most records have there; of the others nothing is in it. In place of `media_asset`, which
    is an object, there is its `pixel_hash`.
    """
    held = np.ones(len(records), dtype=bool)
    columns = {OFFSET: pl.Series(offsets, dtype=pl.Int64)}
    for key in sorted(keys):
        values: list[Any] = [record.get(key) for record in records]
        if key == "media_asset":
            continue
        if key == "pixel_hash":
            assets = (record.get("media_asset") for record in records)
            values = [
                asset.get(key) if isinstance(asset, dict) else value
                for asset, value in zip(assets, values, strict=True)
            ]
        column, fits = _typed(values)
        held &= fits
        if column is not None:
            columns[key] = column
    return pl.DataFrame(columns), pl.Series(held, dtype=pl.Boolean)


def _typed(values: list[Any]) -> tuple[pl.Series | None, np.ndarray]:
    """The values as a column of the commonest type, and which of them are in it; no column where all are null."""
    fits = np.ones(len(values), dtype=bool)
    kinds = Counter(map(type, values))
    kinds.pop(type(None), None)
    if not kinds:
        return None, fits
    kind = max(kinds, key=lambda each: (kinds[each], each.__name__))
    if len(kinds) > 1:
        fits = np.array([type(value) in (kind, type(None)) for value in values])
    if kind is list:
        of_text = [type(value) is not list or all(type(each) is str for each in value) for value in values]
        fits &= np.array(of_text, dtype=bool)
    dtype = _DTYPES.get(kind)
    if dtype is None:
        return None, np.array([value is None for value in values])
    if kind is int:
        fits &= np.array([type(value) is not int or -(2**63) <= value < 2**63 for value in values])
    kept = values if fits.all() else [value if ok else None for value, ok in zip(values, fits.tolist(), strict=True)]
    return pl.Series(kept, dtype=dtype), fits


def plain_rows(
    posts: pl.DataFrame, source: SourceConfig, format_name: str, held: pl.Series | None = None
) -> tuple[pl.DataFrame, pl.Series]:
    """The plain rows, with `offset` and the columns of `runs.ROW_SCHEMA`, and bool (posts,): which those are.

    `posts` has OFFSET and the columns of a file, under the names of Danbooru's post object; only those `held` can be
    plain.
    """
    found = _Columns(posts)
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


def _is_printable_ascii(text: pl.Series) -> bool:
    """Whether all bytes of a column without nulls are from the space to the tilde."""
    array = text.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return True
    first, last = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1][[0, -1]]
    used = np.frombuffer(data, np.uint8)[first:last]
    return not len(used) or bool(used.min() >= ord(" ") and used.max() <= ord("~"))


def _positive(pixels: pl.Series) -> pl.Series:
    return pixels.set((pixels == 0).fill_null(False), None)


@dataclass
class _Columns:
    """The columns of posts as they are read; `plain` is narrowed by every reading."""

    posts: pl.DataFrame
    plain: pl.Series = field(init=False)

    def __post_init__(self) -> None:
        self.plain = pl.repeat(True, self.posts.height, eager=True)

    def narrow(self, holds: pl.Series) -> None:
        """Only rows where this holds are plain."""
        self.plain = self.plain & holds.fill_null(False)

    def get(self, name: str) -> pl.Series | None:
        """A column, without NaN; None where the file has none or nothing is in it."""
        if name not in self.posts.columns:
            return None
        column = self.posts[name]
        if column.dtype.is_float():
            column = column.fill_nan(None)
        return None if column.null_count() == len(column) else column

    def only_null(self, name: str) -> None:
        """Rows where this column says anything are not plain."""
        if (column := self.get(name)) is not None:
            self.narrow(column.is_null())

    def nothing(self, dtype: Any = pl.Null) -> pl.Series:
        """Null for every row."""
        return pl.repeat(None, self.posts.height, dtype=dtype, eager=True)

    def integer(
        self, *names: str, lowest: int | None = None, highest: int | None = None, required: bool = False
    ) -> pl.Series:
        """The first of these columns that has a value."""
        value = self.nothing(pl.Int64)
        for column in self._present(names):
            if column.dtype.is_integer():
                found = column.cast(pl.Int64, strict=False)
                holds = found.is_not_null()
            elif column.dtype.is_float():
                found = column.cast(pl.Float64)
                holds = (found == found.floor()) & (found.abs() < _INT64)
                found = found.cast(pl.Int64, strict=False)
            elif column.dtype == pl.String:
                holds = column.str.contains(r"^-?[0-9]{1,18}$")
                found = column.cast(pl.Int64, strict=False)
            else:
                self.narrow(column.is_null())
                continue
            self.narrow(column.is_null() | holds)
            value = value.zip_with(value.is_not_null(), found)
        if lowest is not None:
            self.narrow(value.is_null() | (value >= lowest))
        if highest is not None:
            self.narrow(value.is_null() | (value <= highest))
        if required:
            self.narrow(value.is_not_null())
        return value

    def number(self, name: str) -> pl.Series:
        """A finite number."""
        column = self.get(name)
        if column is None:
            return self.nothing(pl.Float32)
        if not (column.dtype.is_float() or column.dtype.is_integer()):
            self.narrow(column.is_null())
            return self.nothing(pl.Float32)
        value = column.cast(pl.Float64)
        self.narrow(column.is_null() | (value.abs() < 3.4e38))
        return value.cast(pl.Float32)

    def text(self, *names: str) -> pl.Series:
        """The first of these columns that has a value; empty text is null."""
        value = self.nothing(pl.String)
        for column in self._present(names):
            if column.dtype != pl.String:
                self.narrow(column.is_null())
                continue
            value = value.zip_with(value.is_not_null(), column)
        return value.set((value == "").fill_null(False), None)

    def matching(self, pattern: str, *names: str, lower: bool = False) -> pl.Series:
        """Text of a form."""
        value = self.text(*names)
        value = value.str.to_lowercase() if lower else value
        self.narrow(value.is_null() | value.str.contains(pattern))
        return value

    def decided(self, value: pl.Series, decide: Callable[[Any], str | None]) -> pl.Series:
        """What `decide` says of each distinct value; those that it refuses are not plain."""
        known: dict[Any, str | None] = {}
        for each in value.drop_nulls().unique():
            try:
                known[each] = decide(each)
            except RecordError:
                continue
        if not known:
            self.narrow(value.is_null())
            return self.nothing(pl.String)
        names = pl.Series(list(known), dtype=value.dtype)
        self.narrow(value.is_null() | value.is_in(names.implode()))
        return value.replace_strict(names, pl.Series(list(known.values()), dtype=pl.String), default=None)

    def flag(self, name: str) -> pl.Series:
        """True or false; unknown is false."""
        column = self.get(name)
        if column is None:
            return pl.repeat(False, self.posts.height, eager=True)
        if column.dtype.is_integer():
            self.narrow(column.is_null() | column.is_in([0, 1]))
            return (column == 1).fill_null(False)
        if column.dtype == pl.String:
            self.narrow(column.is_null() | column.is_in(["true", "false"]))
            return (column == "true").fill_null(False)
        if column.dtype != pl.Boolean:
            self.narrow(column.is_null())
            return pl.repeat(False, self.posts.height, eager=True)
        return column.fill_null(False)

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
        inner = _Columns(asset.struct.unnest())
        value = inner.text("pixel_hash")
        self.narrow(inner.plain)
        if "pixel_hash" in self.posts.columns:  # read where the object is absent
            self.only_null("pixel_hash")
        return value

    def file_ext(self) -> pl.Series:
        stated = self.decided(self.text("file_ext"), fields.extension)
        named = self.nothing(pl.String)
        for column in self._present(("file_name", "image", "file_url")):
            if column.dtype == pl.String:
                named = named.zip_with(named.is_not_null(), column)
        found = named.str.extract(r"\.([A-Za-z0-9]{1,8})$").str.to_lowercase()
        return stated.zip_with(stated.is_not_null(), found)

    def time(self, name: str, *, of_unix: bool) -> pl.Series:
        """UTC, of the form that Danbooru writes, or `of_unix` seconds."""
        column = self.get(name)
        dtype = pl.Datetime("us", "UTC")
        if column is None:
            return self.nothing(dtype)
        if isinstance(column.dtype, pl.Datetime):
            if column.dtype.time_zone is None:
                column = column.dt.replace_time_zone("UTC")
            return column.dt.convert_time_zone("UTC").cast(dtype)
        if column.dtype.is_integer() and of_unix:
            self.narrow(column.is_null() | column.is_between(0, 2**32))
            return pl.select(pl.from_epoch(column.cast(pl.Int64), "s")).to_series().cast(dtype)
        if column.dtype != pl.String:
            self.narrow(column.is_null())
            return self.nothing(dtype)
        column = column.set(~column.str.contains(_TIME), None)
        value = column.str.to_datetime("%Y-%m-%dT%H:%M:%S%.3f%:z", time_unit="us", strict=False)
        self.narrow(self.posts[name].is_null() | value.is_not_null())
        return value.dt.convert_time_zone("UTC")

    def rating(self, format_name: str) -> pl.Series:
        column = self.get("rating")
        if column is not None and column.dtype.is_integer() and format_name == "hakubooru":
            self.narrow(column.is_null() | column.is_between(0, 3))
            return column.replace_strict([0, 1, 2, 3], ["g", "s", "q", "e"], default=None, return_dtype=pl.String)
        return self.decided(self.text("rating"), fields.rating)

    def tags(self, format_name: str) -> dict[str, pl.Series]:
        """`tags_<class>`, each with a space between tags; plain where all are printable ASCII, each once."""
        flat = self.nothing(pl.String)
        for column in self._present(("tags", "tag_string")):
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
            for name in (f"tags_{tag_class}" for tag_class in ("metadata", *TAG_CLASSES)):
                self.only_null(name)
            self.narrow(flat.is_null() | ~flat.str.contains("&", literal=True))
        classed = {name: self.get(f"tag_string_{name}") for name in TAG_CLASSES}
        of_classes = pl.repeat(False, self.posts.height, eager=True)
        for listed in classed.values():
            if listed is not None:
                of_classes = of_classes | listed.is_not_null()
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
            found[f"tags_{name}"], count = self._words(value.fill_null(""))
            total = total + count
        self.narrow(total <= MAX_TAGS)
        return found

    def _words(self, text: pl.Series) -> tuple[pl.Series, pl.Series]:
        """Words with one space between them, and how many."""
        if not _is_printable_ascii(text):
            self.narrow(~text.str.contains("[^ -~]"))
        untidy = text.str.contains("  ", literal=True) | text.str.starts_with(" ") | text.str.ends_with(" ")
        if untidy.any():
            text = text.str.replace_all(" +", " ").str.strip_chars(" ")
        words = text.str.split(" ")
        self.narrow(words.list.n_unique() == words.list.len())
        longest = words.explode().str.len_bytes().max()
        if isinstance(longest, int) and longest > MAX_TAG_BYTES:
            self.narrow(~text.str.contains(rf"[^ ]{{{MAX_TAG_BYTES + 1}}}"))
        return text, words.list.len().cast(pl.Int64) - (text == "")

    def candidates(self, places: Iterable[ImagesConfig], rows: dict[str, Any], source: SourceConfig) -> pl.Series:
        """The URLs that the patterns give; null where a post lacks what one needs."""
        columns = [self._url(place, rows, source) for place in places]
        if not columns:
            return self.nothing(pl.List(pl.String)).fill_null([])
        frame = pl.DataFrame([column.alias(str(number)) for number, column in enumerate(columns)])
        return frame.select(pl.concat_list(pl.all()).list.drop_nulls()).to_series()

    def _url(self, place: ImagesConfig, rows: dict[str, Any], source: SourceConfig) -> pl.Series:
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

    def _present(self, names: Iterable[str]) -> list[pl.Series]:
        return [column for name in names if (column := self.get(name)) is not None]
