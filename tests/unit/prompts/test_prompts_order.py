"""Orders, separators, captions and shuffles: the recipes' own words as oracle, and shares of 100,000 draws."""

from __future__ import annotations

import collections
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.prompts import CaptionMix, OtherOrder, PromptConfig, render_tag
from animetune.records import Label
from tests.unit.prompts.draws import assert_share, count_prompts, draw

LABEL = Label(
    key="demo/1",
    rating="g",
    quality="best",
    aesthetic="very aesthetic",
    year="newest",
    tags_count=("1girl", "solo"),
    tags_character=("hatsune_miku",),
    tags_copyright=("vocaloid",),
    tags_artist=("some_one",),
    tags_general=("long_hair", "smile", ">_<"),
    tags_special=("monochrome",),
    captions_long=("A girl with long hair smiles.",),
    captions_short=("A smiling girl",),
)


def test_dashanime_order_and_words() -> None:
    """`anime illustration, {long or short caption}. {quality}, {aesthetic}, {rating}[, special tags]`"""
    cfg = PromptConfig(prefix="anime illustration")
    expected = "anime illustration, A girl with long hair smiles. best quality, very aesthetic, safe, monochrome"
    assert draw(LABEL, cfg) == expected


def test_animagine_order_and_words() -> None:
    """`1girl/1boy, character, series, everything else in any order`"""
    cfg = PromptConfig(
        order=("count", "character", "series", "|||", "general", "rating", "quality", "aesthetic", "year"),
        words={"quality": {"best": "best quality"}, "rating": {"g": "safe"}},
    )
    expected = "1girl, solo, hatsune miku, vocaloid, long hair, smile, >_<, safe, best quality, very aesthetic, newest"
    assert draw(LABEL, cfg) == expected


def test_illustrious_order() -> None:
    """`person count ||| character ||| rating ||| general ||| artist ||| quality by score percentile ||| year`"""
    parts = ("count", "character", "rating", "general", "artist", "quality", "year")
    order = tuple(itertools.chain.from_iterable((part, "|||") for part in parts))[:-1]
    cfg = PromptConfig(order=order, words={"rating": {"g": "general"}, "quality": {"best": "best quality"}})
    expected = "1girl, solo, hatsune miku, general, long hair, smile, >_<, some one, best quality, newest"
    assert draw(LABEL, cfg) == expected


def test_aidxl_order_and_prefixes() -> None:
    """`by xxx`, then `1 ` and the character; separator comma + space; aesthetics, then quality, at the end"""
    cfg = PromptConfig(
        order=("artist", "character", "count", "general", "aesthetic", "quality"),
        words={"quality": {"best": "amazing quality"}},
        artist_prefix="by ",
        character_prefix="1 ",
    )
    expected = "by some one, 1 hatsune miku, 1girl, solo, long hair, smile, >_<, very aesthetic, amazing quality"
    assert draw(LABEL, cfg) == expected


def test_a_missing_part_leaves_no_separator() -> None:
    bare = Label(key="demo/2", captions_long=("A tree.",), rating="g")
    assert draw(bare, PromptConfig()) == "A tree. safe"


def test_a_sample_without_captions_gets_its_tags() -> None:
    bare = Label(key="demo/3", tags_count=("1girl",), tags_general=("red_hair",))
    assert draw(bare, PromptConfig(order=("prefix", "caption"), prefix="anime illustration")) == (
        "anime illustration, 1girl, red hair"
    )


def test_words_may_be_empty() -> None:
    cfg = PromptConfig(order=("caption", "rating"), words={"rating": {"g": ""}})
    assert draw(LABEL, cfg) == "A girl with long hair smiles"


def test_words_of_a_class_are_tags_of_their_own() -> None:
    """`explicit, nsfw` is two tags where parts are shuffled or separated by spaces."""
    explicit = Label(key="demo/5", rating="e", tags_general=("standing",))
    cfg = PromptConfig(order=("general", "rating"), shuffle=("general", "rating"))
    assert len(count_prompts(explicit, cfg, 200)) == 6
    assert draw(explicit, PromptConfig(order=("general", "rating"), space_separator=1)) == "standing explicit nsfw"


def test_caption_mix_frequencies() -> None:
    cfg = PromptConfig(order=("caption",), captions=CaptionMix(long=5, short=3, tags=2))
    counts = count_prompts(LABEL, cfg)
    expected = {
        "A girl with long hair smiles": 0.5,
        "A smiling girl": 0.3,
        "1girl, solo, hatsune miku, vocaloid, some one, long hair, smile, >_<": 0.2,
    }
    assert counts.keys() == expected.keys()
    for prompt, share in expected.items():
        assert_share(counts[prompt], share)


def test_several_captions_are_equally_likely() -> None:
    """`several natural-language captions beside the tags for one image`"""
    label = Label(key="demo/6", captions_long=("a", "b", "c"), captions_short=("d", "e"), tags_count=("1girl",))
    cfg = PromptConfig(order=("count", "caption"), captions=CaptionMix(long=3, short=1))
    counts = count_prompts(label, cfg)
    assert counts.keys() == {"1girl, a", "1girl, b", "1girl, c", "1girl, d", "1girl, e"}
    for prompt, count in counts.items():
        assert_share(count, 1 / 4 if prompt[-1] in "abc" else 1 / 8)


def test_kinds_that_a_sample_lacks_leave_the_draw() -> None:
    only_short = Label(key="demo/4", captions_short=("A cat",))
    cfg = PromptConfig(order=("caption",), captions=CaptionMix(long=99, short=1))
    assert {draw(only_short, cfg, n) for n in range(200)} == {"A cat"}


TAGS_ALONE = ("count", "general", "rating")
MIXED = PromptConfig(
    order=("count", "general", "caption", "rating"),
    other_orders=(
        OtherOrder(probability=0.3, order=TAGS_ALONE),
        OtherOrder(probability=0.2, order=("caption", "rating")),
    ),
)


def test_tags_and_captions_together_and_alone_in_their_shares() -> None:
    """Illustrious v1.1 and v2.0: `tags + natural language`."""
    counts = count_prompts(LABEL, MIXED)
    tags = "1girl, solo, long hair, smile, >_<"
    assert counts.keys() == {
        f"{tags}, A girl with long hair smiles. safe",
        f"{tags}, safe",
        "A girl with long hair smiles. safe",
    }
    assert_share(counts[f"{tags}, A girl with long hair smiles. safe"], 0.5)
    assert_share(counts[f"{tags}, safe"], 0.3)
    assert_share(counts["A girl with long hair smiles. safe"], 0.2)


def test_a_sample_without_a_caption_gets_the_orders_that_need_none() -> None:
    bare = Label(key="demo/7", rating="g", tags_count=("1girl",), tags_general=("hat",))
    assert count_prompts(bare, MIXED, 500).keys() == {"1girl, hat, safe"}
    only_captions = PromptConfig(order=("caption",), other_orders=(OtherOrder(probability=0.5, order=("caption",)),))
    assert draw(bare, only_captions) == "1girl, hat"


def test_orders_that_get_all_of_the_probability() -> None:
    cfg = PromptConfig(
        order=("rating",),
        other_orders=(OtherOrder(probability=0.9, order=("count",)), OtherOrder(probability=0.1, order=("year",))),
    )
    counts = count_prompts(LABEL, cfg, 10_000)
    assert counts.keys() == {"1girl, solo", "newest"}
    assert_share(counts["newest"], 0.1, of=10_000)


def test_shuffle_is_uniform_and_stays_inside_its_parts() -> None:
    cfg = PromptConfig(order=("count", "general"), shuffle=("general",))
    counts = count_prompts(LABEL, cfg)
    assert len(counts) == 6
    for prompt, count in counts.items():
        assert prompt.startswith("1girl, solo, ")
        assert_share(count, 1 / 6)


def test_neighbouring_shuffled_parts_are_shuffled_together() -> None:
    cfg = PromptConfig(order=("artist", "general"), shuffle=("artist", "general"))
    first = collections.Counter(prompt.split(", ")[0] for prompt in count_prompts(LABEL, cfg, 2_000).elements())
    assert first.keys() == {"some one", "long hair", "smile", ">_<"}


def test_nothing_is_shuffled_across_a_separator() -> None:
    """`shuffle only what stands behind the keep separator` (`|||`)"""
    apart = PromptConfig(order=("count", "|||", "general"), shuffle=("count", "general"))
    counts = count_prompts(LABEL, apart)
    orders = {
        f"{', '.join(people)}, {', '.join(tags)}"
        for people in itertools.permutations(("1girl", "solo"))
        for tags in itertools.permutations(("long hair", "smile", ">_<"))
    }
    assert counts.keys() == orders
    for count in counts.values():
        assert_share(count, 1 / 12)


def test_everything_else_in_any_order() -> None:
    """Animagine: quality, rating and year stand behind the separator, so they are shuffled, too."""
    order = ("count", "character", "series", "|||", "general", "rating", "quality", "year")
    cfg = PromptConfig(order=order, shuffle=order[4:])
    places = collections.Counter()
    draws = 20_000
    for prompt, times in count_prompts(LABEL, cfg, draws).items():
        tags = prompt.split(", ")
        assert tags[:4] == ["1girl", "solo", "hatsune miku", "vocaloid"]
        places[tags.index("best quality")] += times
    assert places.keys() == set(range(4, 10))
    for count in places.values():
        assert_share(count, 1 / 6, of=draws)


def test_a_space_sometimes_separates() -> None:
    """`Separators: "," sometimes a space`; the choice is the prompt's, and a caption keeps its full stop."""
    cfg = PromptConfig(order=("count", "caption", "rating"), space_separator=0.2)
    counts = count_prompts(LABEL, cfg)
    spaced = "1girl solo A girl with long hair smiles. safe"
    assert counts.keys() == {"1girl, solo, A girl with long hair smiles. safe", spaced}
    assert_share(counts[spaced], 0.2)


def test_prompt_dropout_frequency() -> None:
    counts = count_prompts(LABEL, PromptConfig(prompt_dropout=0.1))
    assert len(counts) == 2
    assert_share(counts[""], 0.1)


def test_style_words_go_and_a_caption_of_nothing_else_gives_way_to_tags() -> None:
    """`prefix and style removal are a PER-STAGE switch`"""
    label = Label(
        key="demo/8",
        captions_long=("A digital illustration of a girl. She is animated, and smiles.",),
        captions_short=("A digital illustration.",),
        tags_count=("1girl",),
    )
    stage_1 = PromptConfig(order=("prefix", "caption"))
    stage_2 = PromptConfig(
        order=("prefix", "caption"), prefix="anime illustration", style_words=("digital illustration", "animated")
    )
    assert draw(label, stage_1) == "A digital illustration of a girl. She is animated, and smiles"
    assert draw(label, stage_2) == "anime illustration, A girl"
    short = stage_2.model_copy(update={"captions": CaptionMix(long=0, short=1)})
    assert draw(label, short) == "anime illustration, 1girl"


@given(st.integers(0, 2**31))
def test_equal_keys_give_equal_prompts_and_invent_no_tag(n: int) -> None:
    cfg = PromptConfig(order=("count", "general"), shuffle=("general",), tag_dropout=0.5)
    assert draw(LABEL, cfg, n) == draw(LABEL, cfg, n)
    allowed = {render_tag(tag) for tag in LABEL.tags_count + LABEL.tags_general}
    assert set(draw(LABEL, cfg, n).split(", ")) <= allowed


@pytest.mark.parametrize("other", [PromptConfig(separator=""), PromptConfig(separator=" | ")])
def test_any_separator(other: PromptConfig) -> None:
    expected = other.separator.join(["best quality", "very aesthetic", "safe", "monochrome"])
    assert draw(LABEL, other) == f"A girl with long hair smiles. {expected}"
