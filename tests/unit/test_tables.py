"""Curated tables: the same rows give the same bytes however they lie in memory, and come back as they were."""

from __future__ import annotations

import datetime
from pathlib import Path

import polars as pl
import pytest

from animetune import tables
from animetune.errors import DataError, FormatVersionError
from animetune.manifest import Manifest, record_files, write_manifest
from animetune.records import TABLE_COLUMNS


def example(rows: int) -> pl.DataFrame:
    """A frame with a value, a null and an empty list in every column."""
    values: dict[str, list] = {
        "str": ["a", None, "日本"],
        "i64": [1, None, -(2**60)],
        "i32": [1, None, 7],
        "f32": [0.5, None, 3.25],
        "bool": [True, None, False],
        "datetime": [datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC), None, None],
        "list[str]": [["x", "y"], [], ["z"]],
    }
    columns = {c.name: [values[c.dtype][row % 3] for row in range(rows)] for c in TABLE_COLUMNS}
    return pl.DataFrame(columns, schema=tables.schema())


def publish(frame: pl.DataFrame, out: Path, **changes) -> None:
    steps = out / "steps" / "09-split-0000"
    steps.mkdir(parents=True)
    tables.write_parts(frame, steps, "kept")
    files = record_files(out)
    write_manifest(out, Manifest(**{"kind": "table", "format_version": tables.TABLE_FORMAT, "files": files} | changes))


def test_a_table_comes_back_as_it_was(tmp_path: Path):
    frame = example(9)
    publish(frame, tmp_path)
    table = tables.open_table(tmp_path)
    assert table.scan().collect().equals(frame)
    assert dict(table.scan().collect_schema()) == tables.schema()
    assert table.digest == table.manifest.digest


def test_many_parts_keep_their_order(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tables, "PART_ROWS", 4)
    frame = example(11)
    publish(frame, tmp_path)
    table = tables.open_table(tmp_path)
    assert [part.name for part in table.parts] == [f"kept-{index:05d}.parquet" for index in range(3)]
    assert table.scan().collect().equals(frame)


def test_an_empty_table_is_a_table(tmp_path: Path):
    publish(example(0), tmp_path)
    assert tables.open_table(tmp_path).scan().collect().equals(example(0))


def test_bytes_do_not_depend_on_the_layout_in_memory(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tables, "PART_ROWS", 500)
    frame = example(1200)
    layouts = {
        "whole": frame,
        "two chunks": pl.concat([frame.slice(0, 77), frame.slice(77)], rechunk=False),
        "a slice of more": pl.concat([frame.head(30), frame]).slice(30),
        "filtered": pl.concat([frame.with_columns(key=pl.lit("drop me")), frame]).filter(
            pl.col("key").ne_missing(pl.lit("drop me"))
        ),
    }
    written = {}
    for name, layout in layouts.items():
        assert layout.equals(frame), name
        folder = tmp_path / name
        folder.mkdir()
        written[name] = [path.read_bytes() for path in tables.write_parts(layout, folder, "kept")]
    assert all(parts == written["whole"] for parts in written.values())


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"kind": "shard-root"}, DataError, "is a shard-root, but a table is needed"),
        ({"format_version": 99}, FormatVersionError, "format version 99"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, changes: dict, error: type, words: str):
    publish(example(3), tmp_path, **changes)
    with pytest.raises(error, match=words):
        tables.open_table(tmp_path)


def test_a_missing_part_is_named(tmp_path: Path):
    publish(example(3), tmp_path)
    part = tables.open_table(tmp_path).parts[0]
    part.unlink()
    with pytest.raises(DataError, match=part.name):
        tables.open_table(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        tables.open_table(tmp_path / "nowhere")
