"""The epoch to expect: hand numbers, other formulas for the same thing, and sums that no cutting changes."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.weigh import expected
from animetune.curate.weigh.weights import COUNTS_SCHEMA, TAG_COLUMNS

SIZES = st.lists(st.integers(0, 1000), min_size=1, max_size=12).map(lambda sizes: np.array(sizes, float))


def test_entropy_by_hand():
    assert expected.entropy(np.array([1, 1, 1, 1.0])) == 2
    assert expected.entropy(np.array([2, 1, 1, 0.0])) == 1.5
    assert expected.entropy(np.array([7.0])) == 0
    assert expected.entropy(np.zeros(3)) == 0


def test_gini_by_hand():
    assert expected.gini(np.array([3.0, 3, 3])) == pytest.approx(0)
    assert expected.gini(np.array([0.0, 0, 0, 8])) == pytest.approx(3 / 4)
    assert expected.gini(np.array([1.0, 3])) == pytest.approx(1 / 4)
    assert expected.gini(np.zeros(3)) == 0
    assert expected.gini(np.zeros(0)) == 0


@given(SIZES)
def test_gini_is_half_the_relative_mean_difference(sizes: np.ndarray):
    difference = np.abs(sizes[:, None] - sizes[None, :]).mean()
    by_pairs = difference / (2 * sizes.mean()) if sizes.any() else 0.0
    assert expected.gini(sizes) == pytest.approx(by_pairs, abs=1e-9)


@given(SIZES)
def test_entropy_is_largest_for_equal_classes(sizes: np.ndarray):
    assert -1e-12 <= expected.entropy(sizes) <= math.log2(len(sizes)) + 1e-9


def test_effective_number():
    assert expected.effective(np.array([2.0, 2, 2])) == pytest.approx(3)
    assert expected.effective(np.array([1.0, 0, 0])) == 1
    assert expected.effective(np.array([3.0, 1])) == pytest.approx(16 / 10)
    assert expected.effective(np.zeros(2)) == 0
    assert expected.effective(np.zeros(0)) == 0


def test_pictures_by_their_number_of_tags():
    weights = {"before": np.ones(8), "after": np.array([1.0, 1, 0, 2, 3, 3, 5, 7])}
    facts = expected.of_pictures(weights, np.array([0, 1, 2, 3, 4, 5, 6, 7]))
    assert facts["samples"] == {"before": 8.0, "after": 22.0}
    assert facts["per_picture_by_tags"] == {"before": [1, 1, 1, 1], "after": [1, 1, 3, 6]}
    assert facts["never_seen"] == {"before": 0, "after": 1}
    assert facts["largest"] == {"before": 1, "after": 7}
    same = expected.of_pictures(weights, np.full(8, 30))
    assert same["per_picture_by_tags"]["after"] == [0, 0, 2.75, 0]


def test_classes_by_name_without_those_of_none():
    names = np.array(["b", "a"], dtype=object)
    facts = expected.of_classes(
        np.array([0, 0, 1, -1]), names, {"before": np.ones(4), "after": np.array([1, 1, 2, 9.0])}
    )
    assert facts["samples"] == {"a": {"before": 1, "after": 2}, "b": {"before": 2, "after": 2}}
    assert list(facts["samples"]) == ["a", "b"]
    assert facts["entropy"] == {"before": 0.9183, "after": 1.0}


def test_nothing_at_all():
    facts = expected.of_pictures({"before": np.ones(0)}, np.zeros(0, np.int64))
    assert facts["samples"] == {"before": 0}
    none = expected.of_classes(np.zeros(0, np.int32), np.array([], dtype=object), {"before": np.ones(0)})
    assert none == {"samples": {}, "entropy": {"before": 0}, "gini": {"before": 0}}


def rows(general: list[list[str]], repeats: list[float], literal: list[float] | None = None) -> pl.DataFrame:
    lists = {name: [[]] * len(general) for name in TAG_COLUMNS} | {"tags_general": general}
    frame = pl.DataFrame(lists, schema=dict.fromkeys(lists, pl.List(pl.String)))
    return frame.with_columns(
        repeats=pl.Series(repeats, dtype=pl.Float32),
        loss_weight=pl.lit(1.0, dtype=pl.Float32),
        literal_repeats=pl.Series(literal or [None] * len(general), dtype=pl.Float32),
    ).with_row_index("row")


def counts(frame: pl.DataFrame) -> pl.DataFrame:
    tags = frame["tags_general"].explode().drop_nulls().value_counts(name="count")
    return tags.select(
        pl.lit("general").alias("kind"), pl.lit("g").alias("group"), pl.col("tags_general").alias("tag"),
        pl.col("count").cast(pl.Int64),
    ).cast(COUNTS_SCHEMA)  # type: ignore[arg-type]  # fmt: skip


def facts_of(frame: pl.DataFrame) -> dict:
    views = expected.count_tags(frame).tables["tag_views"]
    return expected.tag_facts(frame, counts(frame), views).facts["tag_epoch"]


def test_tags_are_counted_in_thousandths():
    frame = rows([["a", "b"], ["a"], []], [0.5, 2.25, 9], [1, 2, 3])
    frame = frame.with_columns(loss_weight=pl.Series([1.0, 2.0, 1.0], dtype=pl.Float32))
    table = expected.count_tags(frame).tables["tag_views"].sort("weighed", "tag")
    assert table.rows() == [
        ("general", "a", "after", 5000),
        ("general", "b", "after", 500),
        ("general", "a", "literal", 3000),
        ("general", "b", "literal", 1000),
    ]
    assert expected.count_tags(rows([], [])).tables["tag_views"].height == 0


def test_head_and_tail_by_hand():
    """Uses: a 5, b 3, c 1, d 1. The head, half of the ten, is a; the tail, a tenth, is d."""
    frame = rows([["a", "b", "c"], ["a", "b", "d"], ["a", "b"], ["a"], ["a"]], [1, 5, 1, 0.5, 0.5])
    facts = facts_of(frame)["general"]
    assert facts["tags"] == 4
    assert facts["head"] == {"tags": 1, "share": {"before": 0.5, "after": 0.3810}}  # 8 of 21
    assert facts["tail"] == {"tags": 1, "share": {"before": 0.1, "after": 0.2381}}  # 5 of 21
    assert facts["most"]["a"] == {"before": 5, "after": 8}
    assert facts["gini"]["after"] < facts["gini"]["before"]
    assert facts_of(frame)["artist"]["tags"] == 0


def test_a_tag_of_dropped_pictures_only_is_seen_no_more():
    frame = rows([["a"], ["b"]], [1, 1])
    views = expected.count_tags(frame[:1]).tables["tag_views"]
    facts = expected.of_tags("general", counts(frame), views)
    assert facts["most"] == {"a": {"before": 1, "after": 1}, "b": {"before": 1, "after": 0}}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.sampled_from("abcde"), unique=True), st.floats(0, 10)), max_size=12),
    st.integers(0, 12),
)
def test_parts_add_up(pictures, cut):
    frame = rows([tags for tags, _ in pictures], [value for _, value in pictures])
    tables = pl.concat([expected.count_tags(part).tables["tag_views"] for part in (frame[:cut], frame[cut:])])
    summed = tables.group_by("kind", "tag", "weighed").agg(pl.col("count").sum()).sort("tag", "weighed")
    assert summed.equals(expected.count_tags(frame).tables["tag_views"].sort("tag", "weighed"))
    assert expected.tag_facts(frame, counts(frame), summed).facts["tag_epoch"] == facts_of(frame)
