"""Rows in parts, of which every step wrote only what it changed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.parts import newest_parts, next_number, part_name, split_by_part, write_part, write_parts


def step(folder: Path, *pieces: dict[str, list]) -> list[Path]:
    """A step's folder of parts, each with all its columns."""
    folder.mkdir(parents=True)
    frames = [pl.DataFrame(piece) for piece in pieces]
    write_parts(frames, frames[0].columns, folder)
    return [folder / part_name(index) for index in range(len(pieces))]


def test_a_column_is_read_from_the_newest_file_at_the_newest_rows(tmp_path: Path):
    steps = [
        step(
            tmp_path / "0",
            {"row": [0, 1, 2, 3], "a": ["a", "b", "c", "d"], "b": [0, 1, 2, 3]},
            {"row": [4, 5], "a": ["e", "f"], "b": [4, 5]},
        ),
        step(
            tmp_path / "1",
            {"row": [0, 2, 3], "b": [10, 12, 13], "c": [["x"], [], ["y", "z"]]},
            {"row": [5], "b": [15], "c": [["w"]]},
        ),
        step(tmp_path / "2", {"row": [2, 3]}, {"row": [5]}),
    ]
    first, second = newest_parts(steps)
    assert first.columns == {"a", "b", "c"}
    assert first.read(["c", "a", "b"]).rows() == [(2, [], "c", 12), (3, ["y", "z"], "d", 13)]
    assert second.read(["b", "row", "b"]).rows() == [(5, 15)]
    assert first.numbers().tolist() == [2, 3]
    assert first.read(["a"], between=(3, 9)).rows() == [(3, "d")]
    assert newest_parts(steps[:1])[0].read(["b"]).rows() == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_a_column_that_nobody_wrote(tmp_path: Path):
    (part,) = newest_parts([step(tmp_path / "0", {"row": [0], "a": [1]})])
    with pytest.raises(KeyError, match=r"nothing, gone: no step before this one writes that"):
        part.read(["a", "nothing", "gone"])


def test_a_part_may_be_empty(tmp_path: Path):
    steps = [step(tmp_path / "0", {"row": [0, 1], "a": [1, 2]}), step(tmp_path / "1", {"row": []})]
    (part,) = newest_parts(steps)
    assert part.read(["a"]).rows() == []
    assert part.numbers().tolist() == []


def test_rows_are_written_in_order_of_their_numbers(tmp_path: Path):
    rows = pl.DataFrame({"a": ["x", "y", "z"], "row": [7, 2, 5], "b": [1, 2, 3]})
    write_part(rows, ["b", "a"], tmp_path / "numbered")
    write_part(rows, ["b"], tmp_path / "plain", numbered=False)
    assert pq.read_table(tmp_path / "numbered").to_pylist()[0] == {"row": 2, "b": 2, "a": "y"}
    assert pq.read_table(tmp_path / "plain").to_pydict() == {"b": [2, 3, 1]}


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    drops=st.lists(st.sets(st.integers(0, 19)), max_size=3),
    order=st.randoms(use_true_random=False),
)
def test_steps_that_drop_and_rewrite_read_as_if_all_rows_were_held(sizes, drops, order):
    """A chain over parts on disk, and over one frame."""
    total = sum(sizes)
    held = pl.DataFrame(
        {"row": range(total), "a": [f"a{n}" for n in range(total)], "b": list(range(total))},
        schema={"row": pl.UInt32, "a": pl.String, "b": pl.Int64},
    )
    ends = np.cumsum(sizes)
    pieces = [held.slice(end - size, size) for end, size in zip(ends, sizes, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        files = []

        def publish(pieces, columns):
            place = Path(folder, str(len(files)))
            place.mkdir()
            write_parts(pieces, columns, place)
            files.append([place / part_name(index) for index in range(len(sizes))])

        publish(pieces, ["a", "b"])
        for number, gone in enumerate(drops):
            parts = newest_parts(files)
            held = held.filter(~pl.col("row").is_in(sorted(gone))).with_columns(b=pl.col("b") + 100)
            shuffled = list(range(held.height))
            order.shuffle(shuffled)
            rows = held.select("row", "b", **{f"c{number}": pl.col("a")})[shuffled]
            publish(split_by_part(rows, [part.numbers() for part in parts]), rows.columns)
        found = [part.read(held.columns) for part in newest_parts(files)]
    assert pl.concat(found).equals(held)
    assert [piece.height for piece in found] == [
        held.filter(pl.col("row").is_between(end - size, end - 1)).height
        for end, size in zip(ends.tolist(), sizes, strict=True)
    ]


def test_lists_of_text_may_come_as_categories(tmp_path: Path):
    first = {"row": [0, 1, 2], "a": ["x", None, "y"], "tags": [["p", "q"], [], ["r"]], "n": [[1], [2], []]}
    second = {"row": [0, 2], "more": [["q"], None]}
    (part,) = newest_parts([step(tmp_path / "0", first), step(tmp_path / "1", second)])
    plain, coded = part.read(["a", "tags", "n", "more"]), part.read(["a", "tags", "n", "more"], coded=True)
    assert [coded.schema[name] for name in ("tags", "more")] == [pl.List(pl.Categorical)] * 2
    assert coded.cast({"tags": pl.List(pl.String), "more": pl.List(pl.String)}).equals(plain)
    assert plain.rows() == [(0, "x", ["p", "q"], [1], ["q"]), (2, "y", ["r"], [], None)]


def test_a_step_may_add_parts_with_all_columns(tmp_path: Path):
    steps = [
        step(
            tmp_path / "0", {"row": [0, 1], "a": ["a", "b"], "b": [0, 1]}, {"row": [2, 3], "a": ["c", "d"], "b": [2, 3]}
        ),
        step(tmp_path / "1", {"row": [0, 1], "b": [10, 11]}, {"row": [2], "b": [12]}),
    ]
    assert next_number(newest_parts(steps)) == 4  # 3 was dropped, and had its number for life
    adding = step(tmp_path / "2", {"row": [0]}, {"row": [2]})
    write_part(pl.DataFrame({"row": [4, 5], "a": ["x", "y"], "b": [20, 21]}), ["a", "b"], tmp_path / "2" / part_name(2))
    after = [
        *steps,
        [*adding, tmp_path / "2" / part_name(2)],
        step(tmp_path / "3", {"row": [0], "b": [5]}, {"row": [2], "b": [6]}, {"row": [5], "b": [7]}),
    ]
    parts = newest_parts(after)
    assert [part.read(["a", "b"]).rows() for part in parts] == [[(0, "a", 5)], [(2, "c", 6)], [(5, "y", 7)]]
    assert [part.columns for part in parts] == [{"a", "b"}] * 3
    assert next_number(parts) == 6
    with pytest.raises(ValueError, match="fewer parts than the one before"):
        newest_parts([*after, after[0]])


def test_the_first_number_where_nothing_is_left(tmp_path: Path):
    steps = [step(tmp_path / "0", {"row": [0, 1], "a": [1, 2]}, {"row": [], "a": []})]
    assert next_number(newest_parts(steps)) == 2
    assert next_number([]) == 0
