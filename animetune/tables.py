"""Curated tables: parquet parts listed by a manifest, so that a table is published by one atomic write.

    <out>/manifest.json                 kind `table`; `files` names the parts, its digest is the table's identity
          steps/*/part-*.parquet        the rows, sorted by source, then id; close-ups behind
          dropped.parquet               key, reason: every row that a filter dropped
          quarantined.parquet           key, code, detail: every row that could not be used

Equal frames give equal files: row groups and parts are cut by row number, never by memory or threads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from animetune.errors import DataError
from animetune.manifest import Manifest, read_manifest
from animetune.records import TABLE_COLUMNS, Column

TABLE_FORMAT = 4
TABLE_KIND = "table"
PART_ROWS = 262_144
ROW_GROUP_ROWS = 32_768
"""Small enough for streaming readers: pola-rs issue 25307 is about large ones."""

DROPPED_SCHEMA: dict[str, pl.DataType] = {"key": pl.String(), "reason": pl.String()}
QUARANTINED_SCHEMA: dict[str, pl.DataType] = {"key": pl.String(), "code": pl.String(), "detail": pl.String()}

_DTYPES: dict[str, pl.DataType] = {
    "str": pl.String(),
    "i64": pl.Int64(),
    "i32": pl.Int32(),
    "f32": pl.Float32(),
    "bool": pl.Boolean(),
    "datetime": pl.Datetime("us", "UTC"),
    "list[str]": pl.List(pl.String()),
}


@dataclass(frozen=True, slots=True)
class Table:
    """A published table."""

    folder: Path
    manifest: Manifest

    @property
    def digest(self) -> str:
        """Identity of the rows and of all that was decided about them."""
        return self.manifest.digest

    @property
    def parts(self) -> list[Path]:
        """The parquet files of the rows, in order."""
        return [self.folder / name for name in self.manifest.files if _is_part(name)]

    def scan(self) -> pl.LazyFrame:
        """Every row, in the columns of `records.TABLE_COLUMNS`."""
        return scan_parts(self.parts, schema())


def schema(columns: tuple[Column, ...] = TABLE_COLUMNS) -> dict[str, pl.DataType]:
    """Name -> Polars type of the columns of a table (or of another list of columns)."""
    return {column.name: _DTYPES[column.dtype] for column in columns}


def open_table(folder: str | os.PathLike[str]) -> Table:
    """Open what `curate` published.

    Raises DataError when it is not there, not finished or not a table, FormatVersionError for another version.
    """
    root = Path(folder)
    table = Table(root, read_manifest(root, kind=TABLE_KIND, format_version=TABLE_FORMAT))
    for part in table.parts:
        if not part.is_file():
            raise DataError(f"{part}: is missing, though {root} lists it; run curate again")
    return table


def frame(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """A frame of rows given as mappings. By way of Arrow, which is several times faster for lists of text."""
    empty = pl.DataFrame(schema=dict(columns)).to_arrow(compat_level=pl.CompatLevel.oldest())
    found = pl.from_arrow(pa.Table.from_pylist(rows, schema=empty.schema))
    assert isinstance(found, pl.DataFrame)
    return found


def write_parts(rows: pl.DataFrame, folder: Path, name: str) -> list[Path]:
    """Write `rows` as `folder/<name>-00000.parquet` and so on; an empty frame is one empty part."""
    paths = []
    for index, start in enumerate(range(0, max(1, rows.height), PART_ROWS)):
        paths.append(folder / f"{name}-{index:05d}.parquet")
        write_parquet(rows.slice(start, PART_ROWS), paths[-1])
    return paths


def write_parquet(rows: pl.DataFrame, path: Path) -> None:
    """Write one file; `path` lies in a folder that `fsio` handed out."""
    # By pyarrow from one chunk: the bytes that Polars writes depend on how the frame lies in memory.
    table = rows.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
    pq.write_table(
        table, path, row_group_size=ROW_GROUP_ROWS, compression="zstd", compression_level=3, store_schema=False
    )


def scan_parts(parts: list[Path], columns: dict[str, pl.DataType]) -> pl.LazyFrame:
    """Rows of several files as one lazy frame, in the order given."""
    return pl.scan_parquet(parts, glob=False).select(list(columns)) if parts else pl.LazyFrame(schema=columns)


def _is_part(name: str) -> bool:
    return name.startswith("steps/") and name.endswith(".parquet")
