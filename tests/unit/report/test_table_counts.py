"""One pass over a table: every row is counted once, whatever the parts, and the sample is of whole rows."""

from __future__ import annotations

import numpy as np
import pytest

from animetune import tables
from animetune.report.table_counts import NO_CLASS, Count, Tally, column_of, count_table, top_share
from animetune.tables import open_table
from tests.builders import tiny_table

SOURCES = [(64, 48), (48, 64), (64, 48), (32, 32), (64, 64), (40, 40)]
COLUMNS = {
    "repeats": [0.5, 1.0, 2.0, 3.0, 0.0, 1.0],
    "loss_weight": [1.0, 1.0, 2.0, 1.0, 1.0, 1.0],
    "split": ["train", "train", "train", "val", "train", "train"],
    "quality": ["best", "best", "worst", "best", None, "worst"],
    "is_synthetic": [True, None, False, None, None, None],
    "tags_count": [["1girl"], ["1boy"], ["1girl", "1boy"], ["1girl"], [], ["2girls"]],
    "tags_general": [["smile"], ["smile", "hat"], ["hat"], ["smile"], [], ["smile"]],
    "tags_character": [[], [], [], [], [], ["someone"]],
    "captions_long": [["a"], [], ["b", "c"], ["d"], [], []],
    "captions_short": [[], ["x"], ["y"], [], [], []],
}


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "PART_ROWS", 4)
    return open_table(tiny_table(tmp_path / "table", SOURCES, **COLUMNS))


def test_training_pictures_are_counted_and_weighed(table):
    counts = count_table(table, sample=0, seed=0)
    assert (counts.rows, counts.pictures, counts.held_out) == (6, 5, 1)
    assert counts.classes["quality"].most_first() == {
        "best": Count(2, 1.5), "worst": Count(2, 5.0), NO_CLASS: Count(1, 0.0),
    }  # fmt: skip
    assert counts.classes["is_synthetic"].most_first()["yes"] == Count(1, 0.5)
    assert counts.classes["split"].most_first() == {"train": Count(5, 6.5)}
    assert counts.tags["general"].most_first() == {"smile": Count(3, 2.5), "hat": Count(2, 5.0)}
    assert counts.people.most_first() == {
        "girls only": Count(2, 1.5), "boys only": Count(1, 1.0), "girls and boys": Count(1, 4.0),
        "neither": Count(1, 0.0),
    }  # fmt: skip
    assert counts.captions.most_first() == {
        "none": Count(2, 1.0), "long and short": Count(1, 4.0), "long only": Count(1, 0.5), "short only": Count(1, 1.0),
    }  # fmt: skip
    assert counts.sizes.most_first()[64 << 32 | 48] == Count(2, 4.5)
    assert counts.untagged == counts.bare == 1
    np.testing.assert_array_equal(counts.repeats, [0.5, 1, 2, 0, 1])
    np.testing.assert_array_equal(counts.views, [0.5, 1, 4, 0, 1])


def test_order_of_equal_counts_is_that_of_names(table):
    tags = list(count_table(table, sample=0, seed=0).classes["quality"].most_first())
    assert tags == ["best", "worst", NO_CLASS]


def test_a_table_without_training_pictures_is_counted_whole(tmp_path):
    table = open_table(tiny_table(tmp_path / "table", SOURCES, split="val"))
    counts = count_table(table, sample=3, seed=0)
    assert (counts.pictures, counts.held_out) == (6, 0)


def test_an_empty_table_has_zeros(tmp_path):
    counts = count_table(open_table(tiny_table(tmp_path / "table", [])), sample=5, seed=0)
    assert counts.pictures == counts.rows == counts.sample.height == 0
    assert counts.classes["rating"].most_first() == {}


def test_sample_is_whole_rows_by_number(table):
    sample = count_table(table, sample=4, seed=1).sample
    assert sample.height == 4
    whole = table.scan().collect()
    assert sample["row"].is_sorted()
    assert sample.drop("row").equals(whole[sample["row"].to_list()])
    again = count_table(table, sample=4, seed=1).sample
    assert again.equals(sample)
    assert count_table(table, sample=100, seed=1).sample.drop("row").equals(whole)
    assert {tuple(count_table(table, sample=4, seed=seed).sample["row"]) for seed in range(8)} != {tuple(sample["row"])}


def test_progress_reaches_the_number_of_rows(table):
    seen = []
    count_table(table, sample=0, seed=0, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 6), (4, 6), (6, 6)]


def test_tally_adds_up_and_leaves_out_what_is_not_there():
    tally = Tally()
    tally.add(["a", "b"], np.array([2, 0]), np.array([1.0, 0.0]))
    tally.add(["b", "a"], np.array([5, 1]), np.array([2.0, 1.0]))
    assert tally.most_first() == {"b": Count(5, 2.0), "a": Count(3, 2.0)}
    np.testing.assert_array_equal(column_of(tally.most_first().values(), "pictures"), [5, 3])


def test_share_of_the_largest():
    assert top_share(np.array([1, 1, 1, 7]), 0.25) == 0.7
    assert top_share(np.array([1, 3]), 0.01) == 0.75  # one at least
    assert top_share(np.zeros(3), 0.5) == top_share(np.zeros(0), 0.5) == 0
