"""The step `ingest`: files of posts and captions -> one table of rows, sorted by source and id.

A chunk is a range of bytes of one file (a whole file where it is compressed or a JSON array), so large dumps are parsed
by all workers. What needs all posts at once comes after the chunks: which of two posts with one id is taken, what the
rating `s` means at a source, which posts are a family, whose captions are whose.
"""

from __future__ import annotations

import glob
import gzip
import io
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from animetune import fsio, tables
from animetune.curate import families
from animetune.curate.config.sources import SourceConfig
from animetune.curate.posts import AMBIGUOUS_S, MAX_LINE, RecordError, parse_captions, parse_json, parse_post
from animetune.curate.steps import Outcome, Workplace
from animetune.errors import DataError
from animetune.executor import Chunk
from animetune.manifest import Manifest
from animetune.records import POST_COLUMNS

CHUNK_BYTES = 32 * 1024 * 1024
BOM = b"\xef\xbb\xbf"

_CAPTION_COLUMNS = ("captions_long", "captions_short")
_POSITION = {"file": pl.Int64(), "offset": pl.Int64()}  # where a record was read: number of the file, byte or item
_LATER_COLUMNS = ("image", "mask", *_CAPTION_COLUMNS)
_ROW_SCHEMA: dict[str, pl.DataType] = {
    **{name: dtype for name, dtype in tables.schema(POST_COLUMNS).items() if name not in _LATER_COLUMNS},
    "image_candidates": pl.List(pl.String()),
    "mask_candidates": pl.List(pl.String()),
    **_POSITION,
}
_CAPTION_SCHEMA: dict[str, pl.DataType] = {
    "key": pl.String(),
    **{name: pl.List(pl.String()) for name in _CAPTION_COLUMNS},
    **_POSITION,
}


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of posts or captions."""

    kind: Literal["posts", "captions"]
    source: SourceConfig
    path: Path
    number: int
    """Place in the order of the configuration, over all sources."""
    digest: str
    """SHA-256 of its bytes."""

    @property
    def label(self) -> str:
        """Its name in manifests and details: no folder, which may differ between machines."""
        return f"{self.source.name}:{self.path.name}"


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A chunk: the lines of `file` that begin in [start, stop), or all its records where `stop` is None."""

    file: InputFile
    start: int
    stop: int | None


def find_files(sources: Sequence[SourceConfig]) -> list[InputFile]:
    """Every file that the sources name, hashed. Raises DataError, naming the setting, when there is none."""
    found: list[InputFile] = []
    for source in sources:
        for kind, patterns in (("posts", source.posts), ("captions", source.captions)):
            for pattern in patterns:
                paths = [Path(pattern)] if os.path.isfile(pattern) else sorted(map(Path, glob.glob(pattern)))
                if not paths:
                    raise DataError(f"sources: {source.name}: {kind}: {pattern}: there is no such file")
                for path in paths:
                    digest = fsio.sha256_file(path)
                    found.append(InputFile(kind, source, path, len(found), digest))  # type: ignore[arg-type]
    return found


def ingest(files: Sequence[InputFile], at: Workplace) -> Outcome:
    """Parse all files and put their records together."""
    ranges = [part for file in files for part in split(file)]
    chunks = [Chunk(f"{index:05d}", part) for index, part in enumerate(ranges)]
    manifests = at.executor.run(parse_chunk, chunks, at.chunks, progress=at.progress)

    def gather(kind: str, name: str, schema: dict[str, pl.DataType]) -> pl.DataFrame:
        folders = [at.chunks / chunk.name for chunk in chunks if chunk.payload.file.kind == kind]
        return tables.scan_parts([folder / name for folder in folders], schema).collect()

    rows = gather("posts", "rows.parquet", _ROW_SCHEMA)
    captions = gather("captions", "rows.parquet", _CAPTION_SCHEMA)
    refused = pl.concat(
        [gather(kind, "quarantined.parquet", tables.QUARANTINED_SCHEMA) for kind in ("posts", "captions")]
    )
    rows, schemes = resolve_ratings(rows, [file.source for file in files])
    rows, duplicates = first_of_each_key(rows, {file.number: file.label for file in files})
    rows = rows.drop(*_POSITION)
    rows = families.with_family(rows)
    rows, matched = join_captions(rows, captions)
    facts = {
        "records": {file.label: 0 for file in files},
        "rating_scheme": schemes,
        "captions": {"lines": captions.height, "rows": matched},
        "times_not_read": sum(manifest.facts["times_not_read"] for manifest in manifests),
    }
    for part, manifest in zip(ranges, manifests, strict=True):
        facts["records"][part.file.label] += manifest.seen
    seen = sum(
        manifest.seen if part.file.kind == "posts" else sum(manifest.quarantined.values())
        for part, manifest in zip(ranges, manifests, strict=True)
    )
    return Outcome(kept=rows, quarantined=pl.concat([refused, duplicates]), facts=facts, seen=seen)


def split(file: InputFile) -> list[ByteRange]:
    """The ranges of a file: one, unless its lines can be found from any byte on."""
    size = file.path.stat().st_size
    if file.path.suffix == ".gz" or ".json" in file.path.suffixes or size <= CHUNK_BYTES:
        return [ByteRange(file, 0, None)]
    return [ByteRange(file, start, min(start + CHUNK_BYTES, size)) for start in range(0, size, CHUNK_BYTES)]


def parse_chunk(part: ByteRange, folder: Path) -> Manifest:
    """Parse the records of a range into `rows.parquet` and `quarantined.parquet`; every record has one outcome."""
    file = part.file
    rows: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    times_not_read = 0
    for offset, where, line in records(part):
        record: Any = None
        try:
            record = parse_json(line) if isinstance(line, bytes) else line
            if isinstance(record, RecordError):
                raise record
            if file.kind == "posts":
                row = parse_post(record, file.source)
                times_not_read += record.get("created_at") is not None and row["created_at"] is None
            else:
                row = parse_captions(record, file.source.name)
        except RecordError as error:
            code = error.code if file.kind == "posts" else "bad_caption"
            detail = f"{file.label}, {where}: {error.detail}"
            refused.append({"key": _key_of(record, file.source), "code": code, "detail": detail})
        else:
            rows.append(row | {"file": file.number, "offset": offset})
    schema = _ROW_SCHEMA if file.kind == "posts" else _CAPTION_SCHEMA
    tables.write_parquet(tables.frame(rows, schema), folder / "rows.parquet")
    tables.write_parquet(tables.frame(refused, tables.QUARANTINED_SCHEMA), folder / "quarantined.parquet")
    return Manifest(
        kind="chunk",
        format_version=1,
        seen=len(rows) + len(refused),
        kept=len(rows),
        quarantined=dict(Counter(item["code"] for item in refused)),
        facts={"times_not_read": times_not_read},
    )


def records(part: ByteRange) -> Iterator[tuple[int, str, Any]]:
    """(offset, where it is in words, line or parsed item) of every record of a range.

    Raises DataError when the file itself, not a record, is damaged.
    """
    path = part.file.path
    try:
        with _opened(path) as stream:
            items = _json_items(stream) if ".json" in path.suffixes else None
            if items is not None:
                yield from ((index, f"item {index}", item) for index, item in enumerate(items))
            else:
                yield from lines(stream, part.start, part.stop)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: is damaged: {error}; download or copy it again") from error


def lines(stream: io.BufferedIOBase, start: int, stop: int | None) -> Iterator[tuple[int, str, bytes | RecordError]]:
    """Every line that begins in [start, stop) and is not blank, without its end; one that is too long is an error."""
    stream.seek(max(0, start - 1))
    if start:
        _skip_line(stream)  # it begins before `start`, or is the end of the line before
    while stop is None or stream.tell() < stop:
        offset = stream.tell()
        line = stream.readline(MAX_LINE + 1)
        if not line:
            return
        content: bytes | RecordError = line.removeprefix(BOM).strip() if offset == 0 else line.strip()
        if len(line) > MAX_LINE and not line.endswith(b"\n"):
            _skip_line(stream)
            content = RecordError("bad_json", f"the line is longer than {MAX_LINE} bytes")
        if content:
            yield offset, f"byte {offset}", content


def resolve_ratings(rows: pl.DataFrame, sources: Sequence[SourceConfig]) -> tuple[pl.DataFrame, dict[str, str]]:
    """Decide what `s` means at each source; returns the rows and source -> scheme."""
    with_g = set(rows.filter(pl.col("rating") == "g")["source"].unique().to_list())
    schemes = {
        source.name: source.rating_scheme
        if source.rating_scheme != "auto"
        else ("current" if source.name in with_g else "legacy")
        for source in sources
    }
    legacy = [name for name, scheme in schemes.items() if scheme == "legacy"]
    meaning = pl.when(pl.col("source").is_in(legacy)).then(pl.lit("g")).otherwise(pl.lit("s"))
    rating = pl.when(pl.col("rating") == AMBIGUOUS_S).then(meaning).otherwise(pl.col("rating"))
    return rows.with_columns(rating=rating), dict(sorted(schemes.items()))


def first_of_each_key(rows: pl.DataFrame, labels: dict[int, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows sorted by source and id, without the later ones of a key; and those, as quarantine."""
    rows = rows.sort("source", "id", "file", "offset")
    is_first = pl.col("key").is_first_distinct()
    again = rows.filter(~is_first).select(
        "key",
        code=pl.lit("dup_id"),
        detail=pl.format(
            "{}, {}: an earlier post has this id",
            pl.col("file").replace_strict(labels, return_dtype=pl.String),
            pl.col("offset"),
        ),
    )
    return rows.filter(is_first), again


def join_captions(rows: pl.DataFrame, captions: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Rows with their captions (empty lists where there are none), and how many have any.

    Several lines for one key add up, in order, without repeating a text.
    """
    joined = (
        captions.sort("file", "offset")
        .group_by("key", maintain_order=True)
        .agg(pl.col(name).explode().drop_nulls().unique(maintain_order=True) for name in _CAPTION_COLUMNS)
    )
    matched = rows.join(joined, on="key", how="semi").height
    empty = pl.lit([], dtype=pl.List(pl.String))
    rows = rows.join(joined, on="key", how="left", maintain_order="left")
    return rows.with_columns(pl.col(name).fill_null(empty) for name in _CAPTION_COLUMNS), matched


def _opened(path: Path) -> io.BufferedIOBase:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _skip_line(stream: io.BufferedIOBase) -> None:
    while (rest := stream.readline(MAX_LINE)) and not rest.endswith(b"\n"):
        pass


def _json_items(stream: io.BufferedIOBase) -> list[Any] | None:
    """The items of a `.json` file: those of its array, or its one object; None when it holds JSON lines after all."""
    data = stream.read().removeprefix(BOM)
    try:
        value = parse_json(data)
    except RecordError as error:
        try:
            json.loads(data)
        except json.JSONDecodeError as syntax:
            if syntax.msg == "Extra data":
                stream.seek(0)
                return None
        except (ValueError, RecursionError):
            pass
        raise DataError(f"{getattr(stream, 'name', 'a .json file')}: is not JSON: {error.detail}") from error
    return value if isinstance(value, list) else [value]


def _key_of(record: Any, source: SourceConfig) -> str | None:
    """The key of a refused record, where it has an id."""
    post_id = record.get("id") if isinstance(record, dict) else None
    is_id = isinstance(post_id, int) and not isinstance(post_id, bool) and 0 <= post_id < 2**63
    return f"{source.name}/{post_id}" if is_id else None
