"""How records lie in a file: JSON lines, JSON, CSV, parquet. No reader knows what keys mean.

Each yields `Raw`: one record, or the error that stands in its place. A file that is damaged as a whole raises
DataError; nothing that is wrong with one record does.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from animetune.curate.read.fields import MAX_LINE, RecordError
from animetune.curate.read.json_text import parse_items, parse_json
from animetune.errors import DataError

BOM = b"\xef\xbb\xbf"
WRAPPERS = ("posts", "post", "items")
"""Keys under which the APIs of boorus answer with their list."""
_BATCH_ROWS = 4096
_LOOKED_AT_LINES = 100


class Raw(NamedTuple):
    """A record as it was found."""

    offset: int
    """Where: first byte of its line, or its number."""
    where: str
    """The same in words."""
    value: Any
    """The record, or a RecordError."""
    name: str | None = None
    """What it is filed under: a key of a JSON object, a file's path relative to its folder, a key of a tar."""
    place: str | None = None
    """URL of its picture, where that is part of the same file."""
    texts: tuple[str, ...] = ()
    """What stands beside it as text."""


def is_lines(path: Path) -> bool:
    """Whether the records are lines that can be found from any byte on."""
    return layout(path) == "lines" and not _is_gzip(path)


def layout(path: Path) -> str:
    """How the records lie in a file, by its name: folder, tar, parquet, csv, json or lines."""
    if path.is_dir():
        return "folder"
    suffixes = [suffix for suffix in map(str.lower, path.suffixes) if suffix != ".gz"]
    last = suffixes[-1] if suffixes else ""
    if last in (".csv", ".tsv"):
        return "csv"
    if last in (".tar", ".parquet"):
        return last[1:]
    return "json" if ".json" in suffixes and last != ".jsonl" else "lines"


def read_lines(path: Path, start: int, stop: int | None) -> Iterator[Raw]:
    """JSON lines that begin in [start, stop)."""
    with _stream(path) as stream:
        yield from map(_parsed, lines(stream, start, stop))


def lines(stream: io.BufferedIOBase, start: int, stop: int | None) -> Iterator[Raw]:
    """Every line that begins in [start, stop) and is not blank, as bytes without its end; too long ones are errors."""
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
            yield Raw(offset, f"byte {offset}", content)


def read_json(path: Path, *, keyed: bool) -> Iterator[Raw]:
    """The items of a `.json` file: those of its array, its one object, or JSON lines after all.

    `keyed` takes an object for names and their records.
    """
    with _stream(path) as stream:
        data = stream.read().removeprefix(BOM)
        try:
            value = parse_items(data)
        except RecordError as error:
            if not _is_lines_after_all(data):
                raise DataError(f"{path}: is not JSON: {error.detail}") from error
            yield from map(_parsed, lines(io.BytesIO(data), 0, None))
            return
    if keyed and isinstance(value, dict):
        for index, (name, item) in enumerate(value.items()):
            yield Raw(index, f"item {index}", item, name)
        return
    if keyed and isinstance(value, RecordError):
        raise DataError(f"{path}: {value.detail}: two records have one name")
    for index, item in enumerate(listed(value)):
        yield Raw(index, f"item {index}", item)


def begins_with_object(path: Path) -> bool:
    """Whether the first thing in a `.json` file is an object; false for a file that cannot be read."""
    with contextlib.suppress(DataError), _stream(path) as stream:
        return bool(stream.read(MAX_LINE).removeprefix(BOM).lstrip()[:1] == b"{")
    return False


def json_object(path: Path) -> Any:
    """The object that a `.json` file is; None for anything else, and for a file that cannot be read."""
    try:
        with _stream(path) as stream:
            value = parse_items(stream.read().removeprefix(BOM))
    except (DataError, RecordError):
        return None
    return value if isinstance(value, dict) else None


def read_csv(path: Path) -> Iterator[Raw]:
    """The rows of a CSV with a header; empty cells are unknown. Raises DataError without a header."""
    with _stream(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
        sniffed = "\t" if ".tsv" in map(str.lower, path.suffixes) else ","
        rows = csv.reader(_without_nul(text), delimiter=sniffed, strict=False)
        csv.field_size_limit(MAX_LINE)
        header = next(_csv_rows(rows), None)
        if header is None:
            return
        if isinstance(header, RecordError) or len(set(header)) < len(header):
            raise DataError(f"{path}: the header names a column twice, or cannot be read")
        for index, row in enumerate(_csv_rows(rows)):
            value = row if isinstance(row, RecordError) else _csv_record(header, row)
            yield Raw(index, f"row {index}", value)


def read_parquet(path: Path, start: int, stop: int | None) -> Iterator[Raw]:
    """The rows numbered [start, stop); NaN is unknown, as pandas writes it."""
    with parquet_file(path) as file:
        number = start
        end = file.metadata.num_rows if stop is None else stop
        for table in rows_between(file, start, end, _BATCH_ROWS, _without_pictures(file.schema_arrow)):
            bad = bad_text(table)
            good = as_frame(table.filter(pa.array([row not in bad for row in range(len(table))])) if bad else table)
            values = iter(good.to_dicts())
            for row in range(table.num_rows):
                yield Raw(number + row, f"row {number + row}", bad[row] if row in bad else next(values))
            number += table.num_rows


def rows_between(
    file: pq.ParquetFile, start: int, stop: int, batch: int, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """The rows numbered [start, stop), some at a time: a row group may have a million, which are not held at once."""
    sizes = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    ends = list(itertools.accumulate(sizes))
    groups = [index for index, end in enumerate(ends) if end > start and end - sizes[index] < stop]
    number = ends[groups[0]] - sizes[groups[0]] if groups else stop
    found = file.iter_batches(batch, row_groups=groups, columns=columns, use_threads=False) if groups else iter(())
    for rows in found:
        table = pa.Table.from_batches([rows])[max(0, start - number) : max(0, stop - number)]
        number += rows.num_rows
        if table.num_rows:
            yield table
        if number >= stop:
            return


def _without_pictures(schema: pa.Schema) -> list[str]:
    """The columns but for `bytes` in an object: pictures, where Hugging Face's `datasets` put these into the file."""
    paths: list[str] = []
    for column in schema:
        inner = [field.name for field in column.type] if pa.types.is_struct(column.type) else []
        holds = "bytes" in inner and pa.types.is_binary(column.type.field("bytes").type)
        paths += [f"{column.name}.{name}" for name in inner if name != "bytes"] if holds else [column.name]
    return paths


def as_frame(table: pa.Table) -> pl.DataFrame:
    """A table of Arrow with text for categories and null for NaN."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    dtypes = frame.schema
    return frame.with_columns(
        *(pl.col(name).cast(pl.String) for name, dtype in dtypes.items() if dtype in (pl.Categorical, pl.Enum)),
        *(pl.col(name).fill_nan(None) for name, dtype in dtypes.items() if dtype.is_float()),
    )


def bad_text(table: pa.Table) -> dict[int, RecordError]:
    """Number -> error, of the rows that hold text that is not UTF-8: Arrow does not look at it, Polars relies on it."""
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:
        return _bad_rows(table, 0, len(table))
    return {}


def parquet_columns(path: Path) -> list[str]:
    """Names of a parquet file's columns."""
    with parquet_file(path) as file:
        return list(file.schema_arrow.names)


@contextlib.contextmanager
def parquet_file(path: Path) -> Iterator[pq.ParquetFile]:
    """An open parquet file; DataError for one that is none, or is damaged."""
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise DataError(f"{path}: has two columns {twice!r}; write it with one of each name")
            yield file
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DataError(f"{path}: is no parquet file, or is damaged: {error}; download or copy it again") from error


def first_record(path: Path) -> Any:
    """The first record of a file that can be read; None where there is none. Raises DataError for a damaged file."""
    how = layout(path)
    with contextlib.suppress(DataError):  # told when the file is read
        if how == "parquet":
            found: Iterator[Raw] = read_parquet(path, 0, 1)
        elif how == "csv":
            found = read_csv(path)
        else:
            found = _begin_of_json(path) if how == "json" else read_lines(path, 0, None)
        return next((raw.value for raw in itertools.islice(found, 100) if isinstance(raw.value, dict)), None)
    return None


@contextlib.contextmanager
def _stream(path: Path) -> Iterator[Any]:
    try:
        with gzip.open(path, "rb") if _is_gzip(path) else path.open("rb") as stream:
            yield stream
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: is damaged: {error}; download or copy it again") from error


def _is_gzip(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _parsed(raw: Raw) -> Raw:
    if isinstance(raw.value, RecordError):
        return raw
    try:
        return raw._replace(value=parse_json(raw.value))
    except RecordError as error:
        return raw._replace(value=error)


def _begin_of_json(path: Path) -> Iterator[Raw]:
    """The first item of an array, which may be large; of other files all."""
    with _stream(path) as stream:
        begin = stream.read(MAX_LINE).removeprefix(BOM).lstrip()
    if begin.startswith(b"["):
        text = begin[1:].decode(errors="replace").lstrip()
        with contextlib.suppress(ValueError, RecursionError):
            yield Raw(0, "item 0", json.JSONDecoder().raw_decode(text)[0])
    yield from read_json(path, keyed=False)


def listed(value: Any) -> list[Any]:
    """The records of a JSON value."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        for name in WRAPPERS:
            if isinstance(value.get(name), list) and "id" not in value:
                return list(value[name])
        error = next((item for item in value.values() if isinstance(item, RecordError)), None)
        return [value if error is None else error]
    return [value]


def _is_lines_after_all(data: bytes) -> bool:
    """Whether half of the first lines or more are objects, which those of a damaged array or object are not."""
    found = itertools.islice(lines(io.BytesIO(data), 0, None), _LOOKED_AT_LINES)
    texts = [raw.value.decode(errors="replace") for raw in found if isinstance(raw.value, bytes)]
    return len(texts) > 1 and not texts[0].startswith("[") and 2 * sum(map(_is_object, texts)) >= len(texts)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _without_nul(stream: io.TextIOBase) -> Iterator[str]:
    """Lines for the csv module, which stops at NUL before Python 3.11; here they are as other control characters."""
    return (line.replace("\0", "\x01") for line in stream)


def _csv_rows(rows: Any) -> Iterator[list[str] | RecordError]:
    """Rows that are not blank; one that cannot be read is an error, and those after it are read."""
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield RecordError("bad_record", f"not CSV: {error}")
            continue
        if row:
            yield row


def _csv_record(header: list[str], row: list[str]) -> Any:
    if len(row) != len(header):
        return RecordError("bad_record", f"{len(row)} cells, but the header has {len(header)}")
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        return RecordError("bad_unicode", "a cell is not UTF-8")
    return {name: cell or None for name, cell in zip(header, row, strict=True)}


def _bad_rows(table: pa.Table, start: int, stop: int) -> dict[int, RecordError]:
    """Those of [start, stop), by halves. Copies, because what lies in objects is looked at beyond a slice."""
    part = table.take(pa.array(range(start, stop), pa.int64()))
    if (name := _column_of_bad_text(part)) is None:
        return {}
    if stop - start == 1:
        return {start: RecordError("bad_unicode", f"{name}: is not UTF-8")}
    half = (start + stop) // 2
    return _bad_rows(table, start, half) | _bad_rows(table, half, stop)


def _column_of_bad_text(table: pa.Table) -> str | None:
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            return str(name)
    return None


def _skip_line(stream: io.BufferedIOBase) -> None:
    while (rest := stream.readline(MAX_LINE)) and not rest.endswith(b"\n"):
        pass
