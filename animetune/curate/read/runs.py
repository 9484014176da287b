"""Runs: rows that a chunk of ingest has parsed, on disk, sorted by id, in row groups so small that some can be read.

    <chunk>/rows-00000.parquet       ROW_SCHEMA, sorted by id, then by place
    <chunk>/captions-00000.parquet   CAPTION_SCHEMA, sorted by source and id of the post

Tags are one text with a space between them: half the size of lists, and several times as fast to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from animetune import tables
from animetune.records import POST_COLUMNS

RUN_ROWS = 65_536
"""Rows of a run, at most: what a worker holds at once."""
GROUP_ROWS = 2048
TAG_COLUMNS = tuple(column.name for column in POST_COLUMNS if column.name.startswith("tags_"))
CAPTION_COLUMNS = ("captions_long", "captions_short")
CANDIDATES = ("image_candidates", "mask_candidates")

_OF_THE_FILE = ("key", "source", "parent", "image", "mask")
_TEXTS = pl.List(pl.String())
ROW_SCHEMA: dict[str, pl.DataType] = {
    "offset": pl.Int64(),
    **{name: dtype for name, dtype in tables.schema(POST_COLUMNS).items() if name not in _OF_THE_FILE},
    **dict.fromkeys(TAG_COLUMNS, pl.String()),
    "parent_id": pl.Int64(),
    **dict.fromkeys(CANDIDATES, _TEXTS),
}
CAPTION_SCHEMA: dict[str, pl.DataType] = {
    "offset": pl.Int64(),
    "source": pl.String(),
    "id": pl.Int64(),
    **dict.fromkeys(CAPTION_COLUMNS, _TEXTS),
}


def row_frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows of `posts.parse_post`, with `offset`, as a frame of ROW_SCHEMA."""
    joined = [{**row, **{name: " ".join(row[name]) for name in TAG_COLUMNS}} for row in rows]
    return tables.frame([{name: row[name] for name in ROW_SCHEMA} for row in joined], ROW_SCHEMA)


def write_run(rows: pl.DataFrame, path: Path) -> None:
    """Write a run, sorted; `path` lies in a folder that `fsio` handed out."""
    by = ["source", "id", "offset"] if "source" in rows.columns else ["id", "offset"]
    table = rows.sort(by).rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
    few = [name for name in ("rating", "file_ext", "source") if name in rows.columns]
    pq.write_table(
        table, path, row_group_size=GROUP_ROWS, compression="lz4", use_dictionary=few,
        write_statistics=False, store_schema=False,
    )  # fmt: skip


def read_columns(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """Some columns of a whole run."""
    with pq.ParquetFile(path) as file:
        return _frame(file.read(list(columns), use_threads=False))


def read_rows(path: Path, places: np.ndarray, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The rows at these places, which rise, of a run; only row groups that hold any are read."""
    groups = np.unique(places // GROUP_ROWS)
    with pq.ParquetFile(path) as file:
        rows = _frame(file.read_row_groups(groups.tolist(), list(schema), use_threads=False))
    starts = np.searchsorted(groups, places // GROUP_ROWS) * GROUP_ROWS
    return rows.select(list(schema))[starts + places % GROUP_ROWS]


def gather(
    runs: Iterable[Path], run_of: np.ndarray, place_of: np.ndarray, schema: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """Rows of several runs in the order asked for: row i is the one at `place_of[i]` of run `run_of[i]`."""
    by_run = np.lexsort((place_of, run_of))
    paths = list(runs)
    numbers, starts = np.unique(run_of[by_run], return_index=True)
    bounds = [*starts.tolist(), len(by_run)]
    pieces = [
        read_rows(paths[number], place_of[by_run[start:stop]], schema)
        for number, start, stop in zip(numbers.tolist(), bounds[:-1], bounds[1:], strict=True)
    ]
    if not pieces:
        return pl.DataFrame(schema=dict(schema))
    rows = pl.concat(pieces)
    if (by_run[1:] > by_run[:-1]).all():
        return rows
    order = np.empty_like(by_run)
    order[by_run] = np.arange(len(by_run))
    return rows[order]


def _frame(table: Any) -> pl.DataFrame:
    found = pl.from_arrow(table)
    assert isinstance(found, pl.DataFrame)
    return found
