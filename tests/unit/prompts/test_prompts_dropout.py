"""Dropout of tags, in levels, with tags that stay and names that are protected: shares of 100,000 draws."""

from __future__ import annotations

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.prompts import (
    CaptionMix,
    DropoutLevel,
    Naming,
    OtherOrder,
    Paraphrase,
    PromptConfig,
    Protection,
    Registers,
    compose,
    render_tag,
)
from animetune.records import Label
from animetune.seeding import Purpose, rng_for
from tests.unit.prompts.draws import DRAWS, assert_share, count_prompts, draw, tag_counts

ILLUSTRIOUS_LEVELS = (
    DropoutLevel(probability=0.30, share=0.30, at_least=10),
    DropoutLevel(probability=0.20, share=0.40, at_least=15),
    DropoutLevel(probability=0.10, at_most=6),
    DropoutLevel(probability=0.04, at_most=4),
)
"""`30 % of samples keep min(all, max(30 % of tags, 10)), 20 % keep max(40 %, 15), 10 % keep min(6, all), 4 % keep
min(4, all); the rest keep all`"""


def tagged(count: int, **fields) -> Label:
    return Label(key="demo/1", tags_general=tuple(f"tag{i}" for i in range(count)), **fields)


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        (0, (0, 0, 0, 0)),
        (3, (3, 3, 3, 3)),
        (5, (5, 5, 5, 4)),
        (12, (10, 12, 6, 4)),
        (20, (10, 15, 6, 4)),
        (33, (10, 15, 6, 4)),
        (40, (12, 16, 6, 4)),
        (100, (30, 40, 6, 4)),
    ],
)
def test_levels_keep_as_many_as_the_paper_says(tags: int, kept: tuple[int, ...]) -> None:
    assert tuple(level.kept(tags) for level in ILLUSTRIOUS_LEVELS) == kept


@pytest.mark.parametrize(("share", "tags", "kept"), [(0.29, 100, 29), (0.3, 35, 11), (0.1, 4, 0), (0.1, 5, 1)])
def test_shares_are_rounded_to_the_nearest_tag(share: float, tags: int, kept: int) -> None:
    assert DropoutLevel(probability=1, share=share).kept(tags) == kept


@given(st.integers(0, 300), st.floats(0, 1), st.integers(0, 20), st.integers(0, 30))
def test_a_level_never_keeps_more_than_there_is(tags: int, share: float, at_least: int, more: int) -> None:
    level = DropoutLevel(probability=1, share=share, at_least=at_least, at_most=at_least + more)
    assert min(tags, at_least) <= level.kept(tags) <= min(tags, at_least + more)


def test_levels_fall_in_their_shares_and_on_any_tag() -> None:
    cfg = PromptConfig(order=("general",), drop=("general",), dropout_levels=ILLUSTRIOUS_LEVELS)
    label = tagged(20)
    order = [render_tag(tag) for tag in label.tags_general]
    prompts = count_prompts(label, cfg)
    lengths: collections.Counter[int] = collections.Counter()
    for prompt, times in prompts.items():
        tags = prompt.split(", ")
        lengths[len(tags)] += times
        assert tags == sorted(tags, key=order.index)
    expected = {10: 0.30, 15: 0.20, 6: 0.10, 4: 0.04, 20: 0.36}
    assert lengths.keys() == expected.keys()
    for length, share in expected.items():
        assert_share(lengths[length], share)
    kept = sum(length * share for length, share in expected.items()) / 20
    counts = tag_counts(prompts)
    assert counts.keys() == set(order)
    for count in counts.values():
        assert_share(count, kept)


def test_a_level_counts_the_tags_of_all_parts_together() -> None:
    label = tagged(5, tags_count=("1girl", "solo"), tags_character=("a", "b", "c"), tags_artist=("d",))
    level = DropoutLevel(probability=1, at_most=4)
    placed = PromptConfig(
        order=("count", "character", "general", "artist"), drop=("character", "general"), dropout_levels=(level,)
    )
    standing_in = PromptConfig(order=("count", "caption"), drop=("count", "general"), dropout_levels=(level,))
    for n in range(200):
        tags = draw(label, placed, n).split(", ")
        assert len(tags) == 2 + 4 + 1
        assert tags[:2] == ["1girl", "solo"]
        tags = draw(label, standing_in, n).split(", ")
        assert len(tags) == 4 + 3 + 1
        assert {"a", "b", "c", "d"} <= set(tags)


def test_a_level_takes_the_place_of_tag_dropout() -> None:
    level = DropoutLevel(probability=0.5, at_most=4)
    cfg = PromptConfig(order=("general",), drop=("general",), tag_dropout=0.9, dropout_levels=(level,))
    prompts = count_prompts(tagged(6), cfg, 20_000)
    lengths: collections.Counter[int] = collections.Counter()
    for prompt, times in prompts.items():
        lengths[len(prompt.split(", ")) if prompt else 0] += times
    at_random_four = 15 * 0.1**4 * 0.9**2  # binomial
    assert_share(lengths[4], 0.5 + 0.5 * at_random_four, of=20_000)
    assert_share(lengths[0], 0.5 * 0.9**6, of=20_000)
    assert count_prompts(tagged(3), cfg, 20_000)["tag0, tag1, tag2"] > 9_000  # a level that keeps all of them, too


def test_tag_dropout_hits_each_tag_alike_and_not_the_kept_ones() -> None:
    label = Label(key="demo/2", tags_count=("1girl",), tags_general=("smile", "hat", "sky"))
    cfg = PromptConfig(
        order=("count", "general"), shuffle=("general",), tag_dropout=0.3, keep_tags=frozenset({"smile"})
    )
    counts = tag_counts(count_prompts(label, cfg))
    assert counts["smile"] == counts["1girl"] == DRAWS
    assert_share(counts["hat"], 0.7)
    assert_share(counts["sky"], 0.7)


def test_drop_names_the_parts_that_dropout_hits() -> None:
    label = Label(key="demo/3", rating="e", tags_count=("1girl",), tags_artist=("someone",), tags_general=("hat",))
    order = ("count", "rating", "general", "artist")
    cfg = PromptConfig(order=order, shuffle=("count", "general"), drop=("rating", "artist"), tag_dropout=0.25)
    counts = tag_counts(count_prompts(label, cfg))
    assert counts["1girl"] == counts["hat"] == DRAWS
    for tag in ("explicit", "nsfw", "someone"):
        assert_share(counts[tag], 0.75)


NAMES = ("hatsune_miku", "wokada")
NAMED = Label(
    key="demo/4", tags_character=("hatsune_miku", "unlisted"), tags_artist=("wokada",), tags_general=("hat", "sky")
)


@pytest.mark.parametrize("probability", [0.0, 0.6, 1.0])
def test_protected_names_drop_less_by_the_factor(probability: float) -> None:
    """`effective drop = (1 - p) x usual; the other tokens as usual`"""
    cfg = PromptConfig(
        order=("character", "general", "artist"),
        drop=("character", "general", "artist"),
        tag_dropout=0.4,
        protect=Protection(tags=frozenset(NAMES), probability=probability),
    )
    draws = DRAWS if probability == 0.6 else 10_000
    counts = tag_counts(count_prompts(NAMED, cfg, draws))
    for tag in ("hatsune miku", "wokada"):
        assert_share(counts[tag], 1 - (1 - probability) * 0.4, of=draws)
    for tag in ("unlisted", "hat", "sky"):
        assert_share(counts[tag], 0.6, of=draws)


def test_a_sample_is_protected_as_a_whole() -> None:
    """With a dropout of 1 a name stays only where it is protected, so both stay or none does."""
    cfg = PromptConfig(
        order=("character", "general", "artist"),
        drop=("character", "general", "artist"),
        tag_dropout=1.0,
        protect=Protection(tags=frozenset(NAMES), probability=0.6),
    )
    counts = count_prompts(NAMED, cfg)
    assert counts.keys() == {"hatsune miku, wokada", ""}
    assert_share(counts["hatsune miku, wokada"], 0.6)


def test_tags_that_stay_stay_where_names_are_protected() -> None:
    cfg = PromptConfig(
        order=("artist", "general"),
        drop=("artist", "general"),
        tag_dropout=1.0,
        keep_tags=frozenset({"hat"}),
        protect=Protection(tags=frozenset(NAMES), probability=0.5),
    )
    assert count_prompts(NAMED, cfg, 100).keys() == {"wokada, hat", "hat"}


def test_protected_names_drop_less_by_the_factor_in_levels_too() -> None:
    cfg = PromptConfig(
        order=("character", "general"),
        drop=("character", "general"),
        dropout_levels=(DropoutLevel(probability=0.5, at_most=2),),
        protect=Protection(tags=frozenset({"miku"}), probability=0.75),
    )
    label = Label(key="demo/5", tags_character=("miku",), tags_general=("a", "b", "c"))
    counts = tag_counts(count_prompts(label, cfg))
    usual = 0.5 * 2 / 4  # a level that falls keeps two of four
    assert_share(counts["miku"], 1 - 0.25 * usual)
    others = 0.5 * (0.25 * 2 / 4 + 0.75 * 1 / 3)  # where miku does not count, one of the other three is dropped
    assert_share(counts["a"], 1 - others)


PROVOCATIVE = ("nude", "blood", "monochrome")
PROVOKING = Label(
    key="demo/6",
    rating="e",
    tags_count=("1girl",),
    tags_character=("hatsune_miku",),
    tags_copyright=("vocaloid",),
    tags_artist=("wokada",),
    tags_general=("hat", "nude", "blood_on_face", "blood"),
    tags_special=("monochrome", "lowres"),
    captions_long=("A digital illustration of a girl.",),
)


def test_no_dropout_tags_are_left_in_empty_prompts_and_captions() -> None:
    """`never dropped, in any augmentation`; the others are as they would be."""
    cfg = PromptConfig(no_dropout=frozenset(PROVOCATIVE), prompt_dropout=0.25)
    counts = count_prompts(PROVOKING, cfg)
    caption = "A digital illustration of a girl. explicit, nsfw, monochrome, lowres, nude, blood"
    assert counts.keys() == {caption, "nude, blood, monochrome"}
    assert_share(counts["nude, blood, monochrome"], 0.25)
    harmless = Label(key="demo/7", captions_long=("A wall.",))
    assert count_prompts(harmless, cfg, 200).keys() == {"A wall", ""}


PARTS = ("prefix", "caption", "count", "character", "series", "artist", "general", "special", "rating", "year", "|||")


@given(
    st.lists(st.sampled_from(PARTS), unique=True, min_size=1),
    st.lists(st.sampled_from(PARTS), unique=True),
    st.sets(st.sampled_from([tag for tag in PARTS if tag not in ("prefix", "caption", "|||")])),
    st.sets(st.sampled_from(["nude", "1girl", "hatsune_miku", "wokada", "monochrome"]), min_size=1),
    st.integers(0, 2**31),
)
def test_no_rule_drops_a_no_dropout_tag(order, other, shuffle, listed, n) -> None:
    """Everything that takes something away, or says it otherwise, at once."""
    drop = tuple(part for part in order if part not in ("prefix", "caption", "|||"))
    cfg = PromptConfig(
        order=tuple(order),
        other_orders=(OtherOrder(probability=0.5, order=tuple(other)),),
        captions=CaptionMix(long=1, short=1, tags=1),
        style_words=("digital illustration",),
        shuffle=tuple(shuffle),
        drop=drop,
        tag_dropout=0.9,
        dropout_levels=(DropoutLevel(probability=0.6, at_most=0),) if drop else (),
        no_dropout=frozenset(listed),
        naming=Naming(probability=1),
        paraphrase=Paraphrase(probability=1),
        registers=Registers(random=0.5),
        prompt_dropout=0.3,
    )
    rng, again = rng_for(n, Purpose.CAPTION), rng_for(n, Purpose.CAPTION)
    for _ in range(5):
        prompt = compose(PROVOKING, cfg, rng)
        assert prompt == compose(PROVOKING, cfg, again)
        shown = prompt.replace(". ", ", ").split(", ")
        assert [shown.count(render_tag(tag)) for tag in listed] == [1] * len(listed)
