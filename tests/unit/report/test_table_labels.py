"""Labels from a curated table: the same as those of a label set that is made of it."""

from __future__ import annotations

from animetune import tables
from animetune.records import LABEL_COLUMNS, Label
from animetune.report.table_labels import TableLabels, label_of
from animetune.shardset import open_labels, open_root
from tests.builders import tiny_shards, tiny_table


def test_they_are_those_of_the_label_set(tmp_path):
    columns = {"tags_special": [["absurdres"], None, []] * 2, "quality": ["best", None, "low"] * 2, "year": "newest"}
    shards, labels = tiny_shards(tmp_path, [(64, 64), (100, 70)] * 3, **columns)
    made = open_labels(labels, open_root(shards))
    expected = {made.label(row).key: made.label(row) for row in range(len(made))}
    found = TableLabels(tmp_path / "table").labels(range(6))
    assert [label.key for label in found] == [f"tiny/{row}" for row in range(6)]
    assert {label.key: label for label in found} == expected


def test_rows_are_found_in_every_part_and_row_group(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "PART_ROWS", 4)
    monkeypatch.setattr(tables, "ROW_GROUP_ROWS", 3)
    table = TableLabels(tiny_table(tmp_path / "table", [(8, 8)] * 10, split=["train", "val"] * 5, source="a"))
    assert table.trained().tolist() == [0, 2, 4, 6, 8]
    for rows in ([0, 9], [2, 3, 4], [7], [], list(range(10))):
        assert [label.key for label in table.labels(rows)] == [f"tiny/{row}" for row in rows]
    assert table.sources() == {"a"}


def test_nulls_are_empty_lists_and_other_columns_are_ignored():
    row = {column.name: None for column in LABEL_COLUMNS} | {"key": "a/1", "tags_general": ["b"], "repeats": 2.0}
    assert label_of(row) == Label(key="a/1", tags_general=("b",))
