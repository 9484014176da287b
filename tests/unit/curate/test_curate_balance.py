"""Balance: the formulas by hand, and what they promise."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate import balance
from animetune.curate.config.balance import ContentBucketsBalance, TagGroupsBalance
from animetune.curate.tag_lists import Vocabulary

VOCABULARY = Vocabulary(lists={}, groups={"hair": ("*_hair",), "pose": ("sitting", "standing"), "rare": ("comet",)})


def rows(buckets: list[str], tags: list[list[str]] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {"content_bucket": buckets, "tags_general": tags or [[]] * len(buckets)},
        schema={"content_bucket": pl.String, "tags_general": pl.List(pl.String)},
    )


def repeats(frame: pl.DataFrame, *factors) -> list[float]:
    return balance.weigh(frame, factors, VOCABULARY).kept["repeats"].to_list()


def buckets_toward_median(**settings) -> ContentBucketsBalance:
    return ContentBucketsBalance(**{"name": "content_buckets", "min": 0.001, "max": 1000, **settings})


def test_without_factors_every_picture_is_seen_once():
    outcome = balance.weigh(rows(["a", "b"]), [], VOCABULARY)
    assert outcome.kept["repeats"].to_list() == [1, 1]
    assert outcome.kept["loss_weight"].to_list() == [1, 1]
    assert outcome.kept.schema["repeats"] == pl.Float32
    assert outcome.facts == {"repeats": 2.0}


def test_buckets_of_1_2_and_8_go_to_the_median():
    """The median is 2: factors 2, 1, 1/4, so that all three are seen twice."""
    frame = rows(["a"] + ["b"] * 2 + ["c"] * 8)
    assert repeats(frame, buckets_toward_median()) == [2.0] + [1.0] * 2 + [0.25] * 8


def test_strength_is_an_exponent():
    frame = rows(["a"] + ["b"] * 4 + ["c"] * 16)
    assert repeats(frame, buckets_toward_median(strength=0.5)) == [2.0] + [1.0] * 4 + [0.5] * 16
    assert repeats(frame, buckets_toward_median(strength=0.0)) == [1.0] * 21


def test_limits_clamp_the_factor():
    frame = rows(["a"] + ["b"] * 4 + ["c"] * 16)
    assert repeats(frame, buckets_toward_median(min=0.4, max=3.0)) == pytest.approx([3.0] + [1.0] * 4 + [0.4] * 16)


def test_the_median_of_two_buckets_is_their_mean():
    assert repeats(rows(["a"] + ["b"] * 3), buckets_toward_median()) == pytest.approx([2.0, 2 / 3, 2 / 3, 2 / 3])


def test_groups_by_hand():
    """hair is in 4 pictures, pose in 2, rare in 1, other in 1: median 1.5; a picture has the geometric mean."""
    tags = [
        ["long_hair"],
        ["red_hair", "long_hair"],
        ["red_hair", "sitting"],
        ["red_hair", "standing"],
        ["comet", "?"],
        [],
    ]
    factor = TagGroupsBalance(name="tag_groups", strength=1.0, min=0.01, max=100)
    hair, pose, rare = 1.5 / 4, 1.5 / 2, 1.5
    expected = [hair, hair, math.sqrt(hair * pose), math.sqrt(hair * pose), rare, 1.0]
    assert repeats(rows(["a"] * 6, tags), factor) == pytest.approx(expected)
    facts = balance.weigh(rows(["a"] * 6, tags), [factor], VOCABULARY).facts
    assert facts["tag_groups"] == {"hair": 4, "pose": 2, "rare": 1, "other": 1}


def test_factors_compose_in_the_order_of_the_configuration():
    """The bucket factor counts the repeats that the group factor left."""
    tags = [["long_hair"]] * 4 + [["comet"]]
    frame = rows(["a", "a", "a", "b", "b"], tags)
    group = TagGroupsBalance(name="tag_groups", strength=1.0, min=0.01, max=100)
    bucket = buckets_toward_median()
    groups_first = np.array(repeats(frame, group, bucket))
    assert groups_first[:3].sum() == pytest.approx(groups_first[3:].sum())
    assert repeats(frame, bucket, group) != pytest.approx(list(groups_first))


def test_pieces_change_nothing(monkeypatch):
    tags = [["long_hair"], ["sitting"], [], ["comet", "red_hair"], ["x"]]
    whole, names = balance.group_table(pl.Series(tags, dtype=pl.List(pl.String)), VOCABULARY)
    monkeypatch.setattr(balance, "SLICE_ROWS", 2)
    pieces, _ = balance.group_table(pl.Series(tags, dtype=pl.List(pl.String)), VOCABULARY)
    assert names == ["hair", "pose", "rare", "other"]
    assert np.array_equal(whole, pieces)
    assert whole.astype(int).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]


def test_an_empty_table():
    group = TagGroupsBalance(name="tag_groups")
    assert repeats(rows([]), group, buckets_toward_median()) == []


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=40),
    st.floats(0, 1),
    st.floats(0.05, 1),
    st.floats(1, 20),
)
def test_buckets_keep_their_order_and_the_limits_hold(buckets: list[str], strength: float, low: float, high: float):
    """Larger buckets never get larger factors, and within (0, 1] no bucket overtakes a larger one."""
    factor = buckets_toward_median(strength=strength, min=low, max=high)
    found = repeats(rows(buckets), factor)
    assert all(low - 1e-6 <= value <= high * (1 + 1e-6) for value in found)
    size = {name: buckets.count(name) for name in set(buckets)}
    by_bucket = dict(zip(buckets, found, strict=True))
    assert len({(name, value) for name, value in zip(buckets, found, strict=True)}) == len(size)
    for a in size:
        for b in size:
            if size[a] <= size[b]:
                assert by_bucket[a] >= by_bucket[b] * (1 - 1e-6)
                assert size[a] * by_bucket[a] <= size[b] * by_bucket[b] * (1 + 1e-6)
