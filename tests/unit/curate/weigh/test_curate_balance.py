"""Balancing as a whole: factors one after the other, repeats or loss weights, and what is noted of it."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.config.balance import (
    AdaptiveBalance,
    Balance,
    ContentBucketsBalance,
    SyntheticBalance,
    TagGroupsBalance,
    TagsBalance,
)
from animetune.curate.config.styles import StylesConfig
from animetune.curate.steps import Outcome
from animetune.curate.tag.tag_lists import Vocabulary
from animetune.curate.weigh import balance, states, weights
from animetune.curate.weigh.styles import Styles
from animetune.errors import ConfigError

VOCABULARY = Vocabulary(lists={}, groups={"hair": ("*_hair",), "pose": ("sitting", "standing"), "rare": ("comet",)})
GROUPS = weights.group_names(VOCABULARY)
STYLES = Styles.load(StylesConfig())
WIDE = {"min": 0.001, "max": 1000}


def rows(buckets: list[str], tags: list[list[str]] | None = None, **columns: list) -> pl.DataFrame:
    """What the step `weights` makes of general tags, and columns of classes."""
    general = tags or [[]] * len(buckets)
    lists = {name: [[]] * len(buckets) for name in weights.READS} | {"tags_general": general}
    frame = pl.DataFrame(lists, schema=dict.fromkeys(lists, pl.List(pl.String))).with_row_index("row")
    outcome = weights.weights(frame, VOCABULARY, STYLES)
    rare = weights.rarity(outcome.kept, TagsBalance(name="tags", min_pictures=1), outcome.tables["tag_counts"]).kept
    given_or = {
        "key": [f"site/{number}" for number in range(len(buckets))],
        "content_bucket": buckets,
        "quality": columns.get("quality", [None] * len(buckets)),
        "style_class": columns.get("style_class", [None] * len(buckets)),
        "is_synthetic": columns.get("is_synthetic", [None] * len(buckets)),
        "is_included": columns.get("is_included", [False] * len(buckets)),
    }
    types = {"is_synthetic": pl.Boolean(), "is_included": pl.Boolean()}
    named = [pl.Series(name, values, dtype=types.get(name, pl.String())) for name, values in given_or.items()]
    return rare.select("row", "tag_groups", "tag_rarity", *named)


def weigh(frame: pl.DataFrame, *factors: Balance) -> Outcome:
    frame = frame.select("row", "key", *balance.reads(factors))  # no more than it says that it reads
    return balance.weigh(frame, factors, GROUPS, states.load_states(factors, STYLES))


def repeats(frame: pl.DataFrame, *factors: Balance) -> list[float]:
    return weigh(frame, *factors).kept["repeats"].to_list()


def buckets_toward_median(**settings) -> ContentBucketsBalance:
    return ContentBucketsBalance(**{"name": "content_buckets", **WIDE, **settings})


TAGS = [["long_hair"], ["red_hair", "long_hair"], ["red_hair", "sitting"], ["red_hair", "standing"], ["comet", "?"], []]
HAIR, POSE, RARE = 1.5 / 4, 1.5 / 2, 1.5
BY_GROUP = [HAIR, HAIR, math.sqrt(HAIR * POSE), math.sqrt(HAIR * POSE), RARE, 1.0]


def test_without_factors_every_picture_is_seen_once():
    outcome = weigh(rows(["a", "b"]))
    assert outcome.kept["repeats"].to_list() == [1, 1]
    assert outcome.kept["loss_weight"].to_list() == [1, 1]
    assert outcome.kept["literal_repeats"].to_list() == [None, None]
    assert {outcome.kept.schema[name] for name in balance.WRITES} == {pl.Float32()}
    assert outcome.facts["repeats"] == 2.0
    assert outcome.facts["epoch"]["samples"] == {"before": 2, "after": 2}


def test_buckets_of_1_2_and_8_go_to_the_median():
    """The median is 2: factors 2, 1, 1/4, so that all three are seen twice."""
    frame = rows(["a"] + ["b"] * 2 + ["c"] * 8)
    assert repeats(frame, buckets_toward_median()) == [2.0] + [1.0] * 2 + [0.25] * 8
    facts = weigh(frame, buckets_toward_median()).facts["epoch"]["content_bucket"]
    assert facts["samples"]["c"] == {"before": 8, "after": 2}
    assert facts["gini"]["after"] == 0
    assert facts["entropy"]["after"] == 1.585


def test_strength_is_an_exponent_and_limits_clamp():
    frame = rows(["a"] + ["b"] * 4 + ["c"] * 16)
    assert repeats(frame, buckets_toward_median(strength=0.5)) == [2.0] + [1.0] * 4 + [0.5] * 16
    assert repeats(frame, buckets_toward_median(strength=0.0)) == [1.0] * 21
    assert repeats(frame, buckets_toward_median(min=0.4, max=3.0)) == pytest.approx([3.0] + [1.0] * 4 + [0.4] * 16)


def test_the_median_of_two_buckets_is_their_mean():
    assert repeats(rows(["a"] + ["b"] * 3), buckets_toward_median()) == pytest.approx([2.0, 2 / 3, 2 / 3, 2 / 3])


def test_groups_by_hand():
    outcome = weigh(rows(["a"] * 6, TAGS), TagGroupsBalance(name="tag_groups", strength=1.0, **WIDE))
    assert outcome.kept["repeats"].to_list() == pytest.approx(BY_GROUP)
    samples = outcome.facts["epoch"]["tag_groups"]["samples"]
    assert {name: sizes["before"] for name, sizes in samples.items()} == {"hair": 4, "pose": 2, "rare": 1, "other": 1}
    assert samples["hair"]["after"] == pytest.approx(sum(BY_GROUP[:4]), abs=1e-3)


def test_tags_inside_their_groups():
    frame = rows(["a"] * 6, TAGS)
    found = repeats(frame, TagsBalance(name="tags", strength=0.5, **WIDE))
    assert found == pytest.approx(np.exp(0.5 * frame["tag_rarity"].to_numpy()).tolist())
    long, red = math.log(3 / 2), 0.0  # long_hair in 2, red_hair in 3, which is typical
    assert found[:2] == pytest.approx([math.exp(long / 2), math.exp((long + red) / 4)])


def test_factors_compose_in_the_order_of_the_configuration():
    """The bucket factor counts the repeats that the group factor left."""
    frame = rows(["a", "a", "a", "b", "b"], [["long_hair"]] * 4 + [["comet"]])
    group = TagGroupsBalance(name="tag_groups", strength=1.0, **WIDE)
    bucket = buckets_toward_median()
    groups_first = np.array(repeats(frame, group, bucket))
    assert groups_first[:3].sum() == pytest.approx(groups_first[3:].sum())
    assert repeats(frame, bucket, group) != pytest.approx(list(groups_first))
    assert [step["name"] for step in weigh(frame, group, bucket).facts["epoch"]["factors"]] == [
        "tag_groups",
        "content_buckets",
    ]


def test_loss_weights_in_place_of_repeats_with_a_mean_of_1():
    frame = rows(["a"] + ["b"] * 2 + ["c"] * 8)
    outcome = weigh(frame, buckets_toward_median(result="loss_weight"))
    assert outcome.kept["repeats"].to_list() == [1.0] * 11
    found = outcome.kept["loss_weight"].to_numpy()
    assert found == pytest.approx(np.array([2.0] + [1.0] * 2 + [0.25] * 8) * 11 / 6)
    assert found.mean() == pytest.approx(1)
    assert outcome.facts["epoch"]["content_bucket"]["gini"]["after"] == 0


def test_a_factor_counts_loss_weights_of_the_ones_before():
    """Half of the way by repeats, the other half by loss weights: a bucket is worth the same in the end."""
    frame = rows(["a"] + ["b"] * 4 + ["c"] * 16)
    kept = weigh(frame, buckets_toward_median(strength=0.5, result="loss_weight"), buckets_toward_median()).kept
    worth = kept.group_by("content_bucket").agg((pl.col("repeats") * pl.col("loss_weight")).sum())
    assert worth["repeats"].to_list() == pytest.approx([worth["repeats"][0]] * 3)
    assert (kept["repeats"] * kept["loss_weight"]).sum() == pytest.approx(kept["repeats"].sum())


def test_adaptive_repeats_drop_low_quality_of_fitted_classes_but_nobody_on_an_include_list():
    frame = rows(
        ["a"] * 5,
        quality=["worst", "best", "worst", "worst", "worst"],
        style_class=["ann", "ann", "bob", None, "ann"],
        is_included=[False, False, False, False, True],
    )
    outcome = weigh(frame, AdaptiveBalance(name="adaptive", fitted=("ann",)))
    assert outcome.dropped.rows() == [("site/0", "fitted")]
    assert outcome.kept["repeats"].to_list() == pytest.approx([1, 10, 1, 1])
    facts = outcome.facts["epoch"]
    assert facts["samples"] == {"before": 5, "after": 13}
    assert facts["factors"][0]["dropped"] == 1
    assert facts["factors"][0]["fitted"] == 1


def test_dropped_pictures_count_for_no_factor_behind():
    frame = rows(["a", "a", "a", "b"], style_class=["ann", "ann", None, None], quality=["low", "low", None, None])
    drop = AdaptiveBalance(name="adaptive", fitted=("ann",))
    assert repeats(frame, drop, buckets_toward_median()) == [1, 1]
    grouped = rows(["a"] * 4, [["comet"], ["comet"], ["comet"], ["long_hair"]], style_class=["ann", "ann", None, None],
                   quality=["low", "low", None, None])  # fmt: skip
    assert repeats(grouped, drop, TagGroupsBalance(name="tag_groups", strength=1.0, **WIDE)) == [1, 1]


def test_synthetic_pictures_are_capped():
    frame = rows(["a"] * 10, is_synthetic=[True] * 6 + [False] * 3 + [None])
    outcome = weigh(frame, SyntheticBalance(name="synthetic", max_share=0.2))
    assert outcome.kept["repeats"].to_list() == pytest.approx([1 / 6] * 6 + [1.0] * 4)
    assert outcome.facts["epoch"]["synthetic"] == {"before": 6, "after": 1}
    assert repeats(frame, SyntheticBalance(name="synthetic", max_share=0.7)) == [1.0] * 10


def test_a_share_that_cannot_be_had():
    frame = rows(["a"], is_synthetic=[True])
    with pytest.raises(ConfigError, match=r"synthetic: max_share 0.2 cannot be had: all pictures are synthetic; leave"):
        weigh(frame, SyntheticBalance(name="synthetic", max_share=0.2))


def test_quality_classes_that_are_not_configured():
    qualities = ["best", "low"]
    balance.check_names([AdaptiveBalance(name="adaptive", quality={"best": 2}), buckets_toward_median()], qualities)
    with pytest.raises(ConfigError, match=r"adaptive: quality: bets: there is no such quality class; .* best, low"):
        balance.check_names([AdaptiveBalance(name="adaptive", quality={"bets": 2})], qualities)
    with pytest.raises(ConfigError, match=r"drop: worst: .*there are none: set `classes.quality`"):
        balance.check_names([AdaptiveBalance(name="adaptive", drop=("worst",))], [])


def test_what_the_pseudo_code_would_have_done_is_set_beside():
    group = TagGroupsBalance(name="tag_groups", strength=1.0)
    outcome = weigh(rows(["a"] * 6, TAGS), group)
    hair, pose, other = 1.5 / 5, 1.5 / 2, 1.5  # uses 5, 2, 1, 1
    literal = [hair, 2 * hair, hair + pose, hair + pose, 2 * other, 0]
    assert outcome.kept["literal_repeats"].to_list() == pytest.approx(literal)
    facts = outcome.facts["epoch"]
    assert facts["samples"]["literal"] == pytest.approx(sum(literal))
    assert facts["never_seen"] == {"before": 0, "after": 0, "literal": 1}
    bucket = weigh(rows(["a", "b", "b", "b", "b", "b"], TAGS), group, buckets_toward_median(strength=1.0))
    assert bucket.facts["epoch"]["content_bucket"]["gini"]["literal"] == 0


def test_an_empty_table():
    every = [
        TagGroupsBalance(name="tag_groups"),
        TagsBalance(name="tags"),
        buckets_toward_median(),
        AdaptiveBalance(name="adaptive"),
        SyntheticBalance(name="synthetic", max_share=0.5),
    ]
    outcome = weigh(rows([]), *every)
    assert outcome.kept.height == 0
    assert set(balance.WRITES) <= set(outcome.kept.columns)
    assert outcome.facts["epoch"]["samples"]["after"] == 0


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


FACTORS = st.sampled_from(
    [
        TagGroupsBalance(name="tag_groups"),
        TagsBalance(name="tags", result="loss_weight"),
        ContentBucketsBalance(name="content_buckets"),
        AdaptiveBalance(name="adaptive", otherwise="fitted", quality={"best": 3}),
        AdaptiveBalance(name="adaptive", class_total=5, result="loss_weight"),
        SyntheticBalance(name="synthetic", max_share=0.5),
    ]
)
PICTURES = st.tuples(
    st.sampled_from("abc"),
    st.lists(st.sampled_from(["long_hair", "red_hair", "sitting", "comet", "?"]), unique=True),
    st.sampled_from([None, "best", "low"]),
    st.sampled_from([None, "ann", "bob"]),
    st.booleans(),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(PICTURES, min_size=1, max_size=20), st.lists(FACTORS, max_size=5))
def test_nothing_is_lost_and_all_of_it_adds_up(pictures, factors):
    tagged = [factor for factor in factors if isinstance(factor, TagsBalance)]
    factors = [factor for factor in factors if factor not in tagged[1:] or factor is tagged[0]]
    buckets, tags, quality, styles, included = (list(each) for each in zip(*pictures, strict=True))
    synthetic = [False] + [index % 3 == 0 for index in range(1, len(pictures))]
    frame = rows(
        buckets, tags, quality=quality, style_class=styles, is_included=[True, *included[1:]], is_synthetic=synthetic
    )
    outcome = weigh(frame, *factors)
    assert sorted([*outcome.kept["key"], *outcome.dropped["key"]]) == sorted(frame["key"])
    assert outcome.kept["row"].is_sorted()
    both = outcome.kept["repeats"].to_numpy().astype(float), outcome.kept["loss_weight"].to_numpy().astype(float)
    assert all(np.isfinite(each).all() and (each > 0).all() for each in both)
    assert (both[0] * both[1]).sum() == pytest.approx(both[0].sum(), rel=1e-5)
    assert outcome.facts["epoch"]["samples"]["after"] == pytest.approx(both[0].sum(), rel=1e-5, abs=1e-3)
    again = weigh(frame, *factors)
    assert again.kept.equals(outcome.kept)
    assert again.facts == outcome.facts
