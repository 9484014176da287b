"""What balancing needs of tags: groups, styles, counts and log-ratios, by hand and against plain Python."""

from __future__ import annotations

import math
import statistics

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.config.balance import TagsBalance
from animetune.curate.config.styles import StylesConfig
from animetune.curate.tag.tag_lists import Vocabulary
from animetune.curate.weigh import weights
from animetune.curate.weigh.styles import Styles

VOCABULARY = Vocabulary(lists={}, groups={"hair": ("*_hair",), "pose": ("sitting", "standing"), "rare": ("comet",)})
STYLES = Styles.load(StylesConfig())


def rows(general: list[list[str]], **lists: list[list[str]]) -> pl.DataFrame:
    data = {name: lists.get(name, [[]] * len(general)) for name in weights.READS} | {"tags_general": general}
    frame = pl.DataFrame(data, schema=dict.fromkeys(data, pl.List(pl.String)))
    return frame.with_row_index("row")


def counted(frame: pl.DataFrame) -> pl.DataFrame:
    return weights.weights(frame, VOCABULARY, STYLES).tables["tag_counts"]


def test_tags_of_each_group():
    frame = rows([["long_hair"], ["red_hair", "long_hair", "sitting"], [], ["comet", "?"]])
    kept = weights.weights(frame, VOCABULARY, STYLES).kept
    assert weights.group_names(VOCABULARY) == ["hair", "pose", "rare", "other"]
    assert kept["tag_groups"].to_list() == [[1, 0, 0, 0], [2, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]
    assert kept["tag_groups"].dtype == pl.List(pl.UInt8)
    assert set(weights.WRITES) <= set(kept.columns)


def test_more_tags_than_a_byte_counts():
    frame = rows([[f"{number}_hair" for number in range(300)]])
    assert weights.weights(frame, VOCABULARY, STYLES).kept["tag_groups"].to_list() == [[255, 0, 0, 0]]


def test_counts_are_of_pictures_by_kind():
    frame = rows([["a_hair"], ["a_hair", "x"]], tags_artist=[["ann"], ["ann"]], tags_character=[[], ["x"]])
    table = counted(frame).sort("kind", "tag")
    assert table.rows() == [
        ("artist", "artist", "ann", 2),
        ("character", "character", "x", 1),
        ("general", "hair", "a_hair", 2),
        ("general", "other", "x", 1),
    ]
    assert weights.weights(frame, VOCABULARY, STYLES).kept["style_class"].to_list() == ["ann", "ann"]


def test_no_rows():
    outcome = weights.weights(rows([]), VOCABULARY, STYLES)
    assert outcome.kept.height == 0
    assert outcome.kept["tag_groups"].dtype == pl.List(pl.UInt8)
    assert outcome.tables["tag_counts"].schema == pl.Schema(weights.COUNTS_SCHEMA)
    cfg = TagsBalance(name="tags")
    assert weights.rarity(rows([]), cfg, outcome.tables["tag_counts"]).kept["tag_rarity"].to_list() == []


def test_the_typical_tag_is_where_half_of_the_uses_are_reached():
    """Hair tags in 1, 2, 3 and 10 pictures: 16 uses, and counted from the rarest, 8 are reached with the last."""
    counts = {"a_hair": 1, "b_hair": 2, "c_hair": 3, "d_hair": 10, "sitting": 4}
    frame = rows([[tag for tag, count in counts.items() if index < count] for index in range(10)])
    found = weights.log_ratios(counted(frame), TagsBalance(name="tags", min_pictures=2))
    ratios = dict(zip(found["tag"].to_list(), found["log_ratio"].to_list(), strict=True))
    assert ratios == pytest.approx({"b_hair": math.log(5), "c_hair": math.log(10 / 3), "d_hair": 0.0, "sitting": 0.0})


def test_a_picture_has_the_mean_of_its_groups_whatever_their_number_of_tags():
    frame = rows([["a_hair", "b_hair", "sitting"], ["b_hair"], ["b_hair", "sitting", "standing"], ["comet"], ["?"]])
    cfg = TagsBalance(name="tags", min_pictures=1)
    rarity = weights.rarity(frame, cfg, counted(frame)).kept["tag_rarity"]
    # hair: a in 1, b in 3, typical 3; pose: standing in 1, sitting in 2, typical 2
    a, standing = math.log(3), math.log(2)
    assert rarity.to_list() == pytest.approx([a / 4, 0, standing / 4, 0, 0])
    assert rarity.dtype == pl.Float32


def test_characters_are_a_group():
    frame = rows([[]] * 4, tags_character=[["x"], ["x"], ["x", "y"], []])
    cfg = TagsBalance(name="tags", min_pictures=1, kinds=("character",))
    rarity = weights.rarity(frame, cfg, counted(frame)).kept["tag_rarity"].to_list()
    assert rarity == pytest.approx([0, 0, math.log(3) / 2, 0])
    general = weights.rarity(frame, TagsBalance(name="tags", min_pictures=1), counted(frame))
    assert general.kept["tag_rarity"].to_list() == [0, 0, 0, 0]


TAG = st.sampled_from(["a_hair", "b_hair", "c_hair", "sitting", "standing", "comet", "x", "y"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(TAG, unique=True, max_size=6), max_size=12), st.integers(1, 3), st.integers(0, 12))
def test_as_said_in_plain_python_and_by_parts(general, min_pictures, cut):
    frame = rows(general)
    cfg = TagsBalance(name="tags", min_pictures=min_pictures)
    found = weights.rarity(frame, cfg, counted(frame)).kept["tag_rarity"].to_list()

    counts = {tag: sum(tag in tags for tags in general) for tags in general for tag in tags}
    group = VOCABULARY.group_of(counts)
    said = {tag: count for tag, count in counts.items() if count >= min_pictures}
    typical = {}
    for name in set(group.values()):
        uses = sorted(count for tag, count in said.items() if group[tag] == name for _ in range(count))
        if uses:
            typical[name] = uses[(len(uses) - 1) // 2]
    for value, tags in zip(found, general, strict=True):
        means = []
        for name in {group[tag] for tag in tags if tag in said}:
            held = [math.log(typical[name] / said[tag]) for tag in tags if tag in said and group[tag] == name]
            means.append(statistics.fmean(held))
        assert value == pytest.approx(statistics.fmean(means) if means else 0.0, abs=1e-6)

    parts = [frame[:cut], frame[cut:]]
    tables = pl.concat([counted(part) for part in parts])
    summed = tables.group_by("kind", "group", "tag").agg(pl.col("count").sum())
    again = [weights.rarity(part, cfg, summed).kept["tag_rarity"].to_list() for part in parts]
    assert [value for part in again for value in part] == found
    whole = weights.weights(frame, VOCABULARY, STYLES).kept
    pieces = pl.concat([weights.weights(part, VOCABULARY, STYLES).kept for part in parts])
    assert whole.equals(pieces)


def test_groups_of_one_vocabulary_are_not_taken_for_those_of_another():
    other = Vocabulary(lists={}, groups={"all": ("*",)})
    tags = np.array(["long_hair", "comet"], dtype=object)
    assert weights.tag_groups(tags, "general", VOCABULARY).tolist() == ["hair", "rare"]
    assert weights.tag_groups(tags, "general", other).tolist() == ["all", "all"]
    assert weights.tag_groups(tags, "artist", other).tolist() == ["artist", "artist"]
