"""Chunks of ingest: a piece of a file -> runs of rows and what was refused; every record has one outcome."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from animetune import tables
from animetune.curate.config.sources import COLUMNS, SourceConfig
from animetune.curate.read import runs
from animetune.curate.read.fields import RecordError, integer
from animetune.curate.read.formats import FORMATS, Context, beside, columns, hakubooru, names, readers
from animetune.curate.read.formats.beside_columns import plain_rows as plain_pictures
from animetune.curate.read.formats.column_values import OFFSET, frame_of
from animetune.curate.read.formats.readers import Raw
from animetune.curate.read.inputs import InputFile
from animetune.curate.read.posts import parse_captions, parse_post
from animetune.manifest import Manifest

CHUNK_BYTES = 32 * 1024 * 1024
CHUNK_ROWS = 262_144
"""Of a parquet file. Cut between row groups where they are no larger."""
CHUNK_FILES = 4096
"""Pictures of a folder."""
_SLICE_ROWS = 4096
_BATCH_RECORDS = 32_768


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk: lines of `file` that begin in [start, stop), rows or records with these numbers, or all (stop: None)."""

    file: InputFile
    start: int
    stop: int | None
    records: tuple[tuple[str, ...], ...] = ()
    """Of a folder: names of pictures and what stands beside them."""


def split(file: InputFile) -> list[Piece]:
    """The pieces of a file: one, unless its records can be found from anywhere on."""
    how = readers.layout(file.path)
    if how == "folder":
        records = beside.folder_records(file.path)
        starts = range(0, max(1, len(records)), CHUNK_FILES)
        cuts = [(start, tuple(records[start : start + CHUNK_FILES])) for start in starts]
        return [Piece(file, start, start + len(part), part) for start, part in cuts]
    if how == "parquet":
        return [Piece(file, start, stop) for start, stop in row_ranges(file.path)]
    size = file.path.stat().st_size
    if not readers.is_lines(file.path) or size <= CHUNK_BYTES:
        return [Piece(file, 0, None)]
    return [Piece(file, start, min(start + CHUNK_BYTES, size)) for start in range(0, size, CHUNK_BYTES)]


def row_ranges(path: Path) -> list[tuple[int, int]]:
    """[start, stop) of ranges of at most CHUNK_ROWS rows of a parquet file, of whole row groups where that goes."""
    with readers.parquet_file(path) as file:
        sizes = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    ranges: list[tuple[int, int]] = []
    start = stop = 0
    for size in sizes:
        if stop > start and stop - start + size > CHUNK_ROWS:
            ranges.append((start, stop))
            start = stop
        stop += size
        while stop - start > CHUNK_ROWS:
            ranges.append((start, start + CHUNK_ROWS))
            start += CHUNK_ROWS
    return [*ranges, (start, stop)] if stop > start or not ranges else ranges


def parse_chunk(piece: Piece, folder: Path) -> Manifest:
    """Parse the records of a piece into runs and `quarantined.parquet`."""
    chunk = _Chunk(piece.file, folder)
    by_column = piece.file.kind == "posts" and piece.file.format in columns.FORMATS
    if by_column and readers.layout(piece.file.path) == "parquet":
        _parse_table(piece, chunk)
    elif by_column:
        found = records(piece)
        while batch := list(itertools.islice(found, _BATCH_RECORDS)):
            _parse_batch(batch, chunk)
    elif piece.file.format == "folder" and not piece.file.source.columns:
        _parse_folder(list(records(piece)), chunk)
    else:
        for raw in records(piece):
            chunk.add(raw)
    return chunk.finish()


def records(piece: Piece) -> Iterator[Raw]:
    """Every record of a piece. Raises DataError when the file itself, not a record, is damaged."""
    path = piece.file.path
    match readers.layout(path):
        case "folder":
            return beside.read_folder(path, piece.records, piece.start)
        case "tar":
            return beside.read_tar(path)
        case "parquet":
            return readers.read_parquet(path, piece.start, piece.stop)
        case "csv":
            return readers.read_csv(path)
        case "json":
            found = readers.read_json(path, keyed=piece.file.format in ("kohya", "waifuset"))
            if piece.file.format == "gallery-dl":  # the post of the picture that it lies beside
                return (raw._replace(name=path.name.removesuffix(".json")) for raw in found)
            return found
    return readers.read_lines(path, piece.start, piece.stop)


class _Chunk:
    """What has become of the records of a chunk so far."""

    def __init__(self, file: InputFile, folder: Path):
        self.file = file
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        self.refused: list[dict[str, Any]] = []
        self.kept = 0
        self.runs = 0
        self.times_not_read = 0
        self.ratings: Counter[str] = Counter()
        self.found: Counter[str] = Counter(dict.fromkeys(file.source.columns.values(), 0))

    def add(self, raw: Raw) -> None:
        """Parse one record."""
        record: Any = raw.value
        try:
            if isinstance(record, RecordError):
                raise record
            if self.file.kind == "captions":
                row = parse_captions(record, self.file.source.name)
            else:
                record, row = parsed(raw, self.file)
                self.times_not_read += record.get("created_at") is not None and row["created_at"] is None
                self.count_columns(raw.value)
        except RecordError as error:
            code = error.code if self.file.kind == "posts" else "bad_caption"
            detail = f"{self.file.label}, {raw.where}: {error.detail}"
            self.refused.append({"key": _key_of(record, self.file.source), "code": code, "detail": detail})
            return
        self.rows.append({**row, "offset": raw.offset})
        if len(self.rows) == runs.RUN_ROWS:
            self.flush()

    def count_columns(self, record: Any) -> None:
        """Note which of the names in `columns` a record has."""
        self.found.update(theirs for theirs in list(self.found) if _looked_up(record, theirs) is not None)

    def add_rows(self, rows: pl.DataFrame) -> None:
        """Take rows that need no parsing."""
        self.runs += 1
        self.kept += rows.height
        if self.file.kind == "posts":
            counts = rows["rating"].drop_nulls().value_counts()
            self.ratings.update(dict(counts.iter_rows()))
        kind = "rows" if self.file.kind == "posts" else "captions"
        runs.write_run(rows, self.folder / f"{kind}-{self.runs - 1:05d}.parquet")

    def flush(self) -> None:
        """Write what was parsed as a run."""
        if self.rows:
            self.add_rows(runs.row_frame(self.rows) if self.file.kind == "posts" else _caption_frame(self.rows))
            self.rows = []

    def finish(self) -> Manifest:
        """Write the rest."""
        self.flush()
        tables.write_parquet(tables.frame(self.refused, tables.QUARANTINED_SCHEMA), self.folder / "quarantined.parquet")
        return Manifest(
            kind="chunk",
            format_version=1,
            seen=self.kept + len(self.refused),
            kept=self.kept,
            quarantined=dict(Counter(item["code"] for item in self.refused)),
            facts={
                "times_not_read": self.times_not_read,
                "ratings": dict(sorted(self.ratings.items())),
                "columns": dict(sorted(self.found.items())),
            },
        )


def parsed(raw: Raw, file: InputFile) -> tuple[dict[str, Any], dict[str, Any]]:
    """(post object, row) of a record of posts. Raises RecordError."""
    source, how = file.source, FORMATS[file.format]
    record = raw.value
    if isinstance(record, dict):
        record = how.adapt(_renamed(record, source), Context(raw.name, source.text, file.prefix, raw.texts))
    places = [] if raw.place is None else [raw.place]
    if how.of_files and not source.images and isinstance(record, dict) and isinstance(record.get("file_name"), str):
        root = file.path if readers.layout(file.path) == "folder" else file.path.parent
        places = names.places(str(root), record["file_name"])
    return record, parse_post(record, source, places)


def _parse_folder(found: list[Raw], chunk: _Chunk) -> None:
    """Pictures with tags beside them by column, others one by one: captions, JSON, what cannot be used."""
    plain = plain_pictures(found, chunk.file)
    if plain.height:
        chunk.add_rows(plain)
    done = set(plain["offset"])
    for raw in found:
        if raw.offset not in done:
            chunk.add(raw)


def _parse_batch(batch: list[Raw], chunk: _Chunk) -> None:
    """Some records: plain ones by column, the others one by one."""
    source = chunk.file.source
    objects = [raw for raw in batch if isinstance(raw.value, dict) and all(type(key) is str for key in raw.value)]
    posts = [_renamed(raw.value, source) for raw in objects]
    frame, held = frame_of(posts, [raw.offset for raw in objects], columns.keys_read(source))
    plain, is_plain = columns.plain_rows(frame, source, chunk.file.format, held)
    if plain.height:
        chunk.add_rows(plain)
    done = set(frame[OFFSET].filter(is_plain))
    for raw in batch:
        if raw.offset in done:
            chunk.count_columns(raw.value)
        else:
            chunk.add(raw)


def _renamed(record: dict[str, Any], source: SourceConfig) -> dict[str, Any]:
    """The record with what `columns` names under the keys of Danbooru's post object."""
    if not source.columns:
        return record
    return record | {COLUMNS[ours]: _looked_up(record, theirs) for ours, theirs in source.columns.items()}


def _parse_table(piece: Piece, chunk: _Chunk) -> None:
    """The rows of a parquet file: plain ones by column, the others one by one."""
    source = piece.file.source
    table, bad_text = _read_table(piece)
    for raw in bad_text:
        chunk.add(raw)
    if not table.height:
        return
    if piece.file.format == "hakubooru":
        table = hakubooru.with_tags(table, _column(table, source.columns.get("id", "id")), piece.file.path)
    filled = table.with_columns(_column(table, theirs).alias(COLUMNS[ours]) for ours, theirs in source.columns.items())
    for theirs in chunk.found:
        chunk.found[theirs] += int(_column(table, theirs).is_not_null().sum())
    plain, is_plain = columns.plain_rows(filled, source, piece.file.format)
    if plain.height:
        chunk.add_rows(plain)
    before = chunk.found.copy()
    for part in table.filter(~is_plain).iter_slices(_SLICE_ROWS):
        for row in part.to_dicts():
            index = row.pop(OFFSET)
            chunk.add(Raw(index, f"row {index}", row))
    chunk.found = before


def _read_table(piece: Piece) -> tuple[pl.DataFrame, list[Raw]]:
    """The rows of a piece with OFFSET, and those that hold text that is not UTF-8."""
    assert piece.stop is not None
    asked = columns.keys_read(piece.file.source)
    with readers.parquet_file(piece.file.path) as file:
        wanted = [name for name in file.schema_arrow.names if name in asked]
        paths = [f"{name}.pixel_hash" if name == "media_asset" and _has_hash(file) else name for name in wanted]
        found = list(readers.rows_between(file, piece.start, piece.stop, _BATCH_RECORDS, paths))
    if not found:
        return pl.DataFrame(), []
    table = pa.concat_tables(found)
    offset = pa.array(range(piece.start, piece.start + table.num_rows), pa.int64())
    table = table.append_column(OFFSET, offset)
    bad = readers.bad_text(table)
    bad_text = [Raw(piece.start + row, f"row {piece.start + row}", error) for row, error in bad.items()]
    if bad:
        table = table.filter(pa.array([row not in bad for row in range(table.num_rows)]))
    return readers.as_frame(table), bad_text


def _has_hash(file: Any) -> bool:
    asset = file.schema_arrow.field("media_asset").type
    return bool(pa.types.is_struct(asset) and asset.get_field_index("pixel_hash") >= 0)


def _column(table: pl.DataFrame, name: str) -> pl.Series:
    """A column by name, or by a path into objects; null where there is none."""
    head, _, rest = name.partition(".")
    if name in table.columns:
        return table[name]
    column = table[head] if head in table.columns else None
    while column is not None and rest and isinstance(column.dtype, pl.Struct):
        head, _, rest = rest.partition(".")
        column = column.struct.field(head) if head in column.struct.fields else None
    return pl.repeat(None, table.height, eager=True) if column is None or rest else column


def _looked_up(record: Any, name: str) -> Any:
    """The value of a key, or of a path of keys; None where there is none."""
    if isinstance(record, Mapping) and name in record:
        return record[name]
    for key in name.split("."):
        record = record.get(key) if isinstance(record, Mapping) else None
    return record


def _caption_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return tables.frame([{**row, **_post_of(row["key"])} for row in rows], runs.CAPTION_SCHEMA)


def _post_of(key: str) -> dict[str, Any]:
    """Source and id of a key; null for one that no post can have."""
    source, _, number = key.rpartition("/")
    is_id = number.isascii() and number.isdigit() and len(number) < 20 and str(int(number)) == number
    if is_id and source and int(number) < 2**63:
        return {"source": source, "id": int(number)}
    return {"source": None, "id": None}


def _key_of(record: Any, source: SourceConfig) -> str | None:
    """The key of a refused record, where it has an id."""
    try:
        post_id = integer(_renamed(record, source), "id") if isinstance(record, dict) else None
    except RecordError:
        return None
    return f"{source.name}/{post_id}" if post_id is not None and post_id >= 0 else None
