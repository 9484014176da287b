"""Columns of untrusted values, as `fields` reads single ones: what holds nothing unusual, and which rows that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from animetune.curate.read.fields import MAX_TAG_BYTES, RecordError

OFFSET = "\0offset"
"""The column of where posts were read; no key of a post."""

_TIME = r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9]\.[0-9]{3}[+-](0[0-9]|1[0-2]):[0-5][0-9]$"
_INT64 = 2.0**63
_DTYPES: dict[type, Any] = {
    int: pl.Int64, float: pl.Float64, str: pl.String, bool: pl.Boolean, list: pl.List(pl.String),
}  # fmt: skip


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


def _is_printable_ascii(text: pl.Series) -> bool:
    """Whether all bytes of a column without nulls are from the space to the tilde."""
    array = text.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return True
    first, last = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1][[0, -1]]
    used = np.frombuffer(data, np.uint8)[first:last]
    return not len(used) or bool(used.min() >= ord(" ") and used.max() <= ord("~"))


@dataclass
class Columns:
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
        for column in self.present(names):
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
        for column in self.present(names):
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

    def words(self, text: pl.Series) -> tuple[pl.Series, pl.Series]:
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

    def present(self, names: Iterable[str]) -> list[pl.Series]:
        """Those of these columns that hold anything."""
        return [column for name in names if (column := self.get(name)) is not None]
