"""What is counted of asked tags, by hand and as laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.evaluate.fidelity.counting import (
    NONE,
    Found,
    Implications,
    asked_in,
    instead,
    missing,
    precision,
    recall,
)
from animetune.evaluate.fidelity.groups import load_groups

LENGTH = {"short_hair": [], "medium_hair": [], "long_hair": [], "very_long_hair": [], "absurdly_long_hair": []}
HAIR = load_groups(None).facts_of("Hair colour") or {}
OUTFIT = load_groups(None).facts_of("Outfit") or {}
LONG = Implications.among(LENGTH)


def found(implications: Implications = LONG, threshold: float = 0.35, **tags: float) -> Found:
    return Found.of(tags, implications, threshold=threshold)


def test_what_implies_what() -> None:
    """By curation's rules, all the way, and only between the tags that are named."""
    assert LONG.of["absurdly_long_hair"] == {"very_long_hair", "long_hair"}
    assert LONG.of["very_long_hair"] == {"long_hair"}
    assert "long_hair" not in LONG.of
    assert Implications.among(["absurdly_long_hair", "long_hair"]).of == {"absurdly_long_hair": {"long_hair"}}
    clothes = Implications.among(["white_shirt", "shirt", "holding_sword", "sword", "elbow", "bow"])
    assert clothes.of == {"white_shirt": {"shirt"}, "holding_sword": {"sword"}}


def test_a_tag_is_found_by_what_implies_it() -> None:
    """A tagger that says very_long_hair alone has found long_hair, as likely; the likelier of two counts."""
    assert found(very_long_hair=0.6).tags == {"very_long_hair": 0.6, "long_hair": 0.6}
    assert found(very_long_hair=0.6, long_hair=0.9).tags["long_hair"] == 0.9
    assert found(very_long_hair=0.34).tags == {}
    assert recall(["long_hair"], found(absurdly_long_hair=0.5)) == 1
    assert recall(["very_long_hair"], found(long_hair=0.99)) == 0


def test_characters_have_a_threshold_of_their_own() -> None:
    seen = Found.of(
        {"ganyu_(genshin_impact)": 0.74, "hatsune_miku": 0.75, "smile": 0.35},
        Implications(),
        threshold=0.35,
        characters={"ganyu_(genshin_impact)", "hatsune_miku"},
        character_threshold=0.75,
    )
    assert set(seen.tags) == {"hatsune_miku", "smile"}


def test_emoticons_are_tags_like_others() -> None:
    seen = Found.of({"^_^": 0.9, ">_<": 0.1}, Implications.among(["^_^", ">_<", "closed_eyes"]), threshold=0.35)
    assert recall(["^_^", ">_<", "closed_eyes"], seen) == pytest.approx(2 / 3)
    assert missing(["^_^", ">_<", "closed_eyes"], seen) == [">_<"]


@pytest.mark.parametrize(
    ("asked", "tags", "expected"),
    [
        (["blue_hair"], {"blue_hair": 0.9}, 1),
        (["blue_hair"], {"blue_hair": 0.9, "pink_hair": 0.5}, 0.5),
        (["blue_hair"], {"pink_hair": 0.5, "red_hair": 0.4}, 0),
        (["blue_hair"], {}, None),  # nothing of the group is there: recall says that, precision cannot
        (["blue_hair"], {"smile": 0.9, "hat": 0.9}, None),  # what else is there is no error
        (["smile"], {"blue_hair": 0.9}, None),  # nothing of the group was asked
        (["blue_hair", "blonde_hair"], {"blue_hair": 0.9, "blonde_hair": 0.9}, 1),
        (["blue_hair", "blonde_hair"], {"blue_hair": 0.9, "green_hair": 0.9}, 0.5),
        (["blue_hair"], {"light_blue_hair": 0.9}, 1),  # more exact than asked
        (["light_blue_hair"], {"blue_hair": 0.9}, 1),  # less exact, and recall is 0
        (["two-tone_hair"], {"red_hair": 0.9, "two-tone_hair": 0.9, "blue_hair": 0.4}, 1),
        (["red_hair"], {"red_hair": 0.9, "two-tone_hair": 0.9, "multicolored_hair": 0.9}, 0.5),  # two-tone alone counts
    ],
)
def test_precision_within_a_group(asked: list[str], tags: dict[str, float], expected: float | None) -> None:
    implications = Implications.among(HAIR)
    seen = Found.of(tags, implications, threshold=0.35)
    assert precision(asked, HAIR, seen, implications) == expected


def test_what_may_stand_beside() -> None:
    """A maid's dress is no error; where a dress was asked for, a maid is."""
    implications = Implications.among(OUTFIT)
    seen = Found.of({"maid": 0.9, "dress": 0.8}, implications, threshold=0.35)
    assert precision(["maid"], OUTFIT, seen, implications) == 1
    assert precision(["dress"], OUTFIT, seen, implications) == 0.5


def test_what_implies_a_tag_of_a_group_asks_for_it() -> None:
    """Red thighhighs where black ones were asked for: right of the legwear, and missing of the colours."""
    legs = load_groups(None).facts_of("Legwear") or {}
    implications = Implications.among([*legs, "black_thighhighs", "red_thighhighs", "black_socks"])
    assert asked_in(legs, ["black_thighhighs"], implications) == {"thighhighs"}
    assert asked_in(legs, ["smile"], implications) == set()
    for tags, right in (({"red_thighhighs": 0.9}, 1), ({"black_socks": 0.9}, 0)):
        seen = Found.of(tags, implications, threshold=0.35)
        assert precision(["black_thighhighs"], legs, seen, implications) == right
        assert recall(["black_thighhighs"], seen) == 0


@pytest.mark.parametrize(
    ("asked", "tag", "tags", "expected"),
    [
        (["blue_hair"], "blue_hair", {"blue_hair": 0.4, "red_hair": 0.99}, "blue_hair"),
        (["blue_hair"], "blue_hair", {"red_hair": 0.7, "pink_hair": 0.8}, "pink_hair"),
        (["blue_hair"], "blue_hair", {"smile": 0.9}, NONE),
        (["blue_hair", "pink_hair"], "blue_hair", {"red_hair": 0.4, "pink_hair": 0.8}, "red_hair"),
        (["blue_hair", "pink_hair"], "blue_hair", {"pink_hair": 0.8}, NONE),
        (["blue_hair"], "blue_hair", {"streaked_hair": 0.5, "multicolored_hair": 0.9}, "streaked_hair"),
    ],
)
def test_what_came_in_place(asked: list[str], tag: str, tags: dict[str, float], expected: str) -> None:
    implications = Implications.among(HAIR)
    assert instead(asked, tag, HAIR, Found.of(tags, implications, threshold=0.35), implications) == expected


COLOURS = sorted(HAIR)
likely = st.dictionaries(st.sampled_from(COLOURS), st.floats(0, 1), max_size=8)
some = st.lists(st.sampled_from(COLOURS), min_size=1, max_size=4, unique=True)


@given(likely, some, st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_a_higher_threshold_finds_no_more(tags: dict[str, float], asked: list[str], a: float, b: float) -> None:
    implications = Implications.among(HAIR)
    low, high = (Found.of(tags, implications, threshold=each) for each in sorted((a, b)))
    assert set(high.tags) <= set(low.tags)
    assert (recall(asked, high) or 0) <= (recall(asked, low) or 0)


@given(likely, some)
def test_laws_of_one_picture(tags: dict[str, float], asked: list[str]) -> None:
    """Shares are shares; found is closed under what it implies; recall 1 and nothing else found means precision 1."""
    implications = Implications.among(HAIR)
    seen = Found.of(tags, implications, threshold=0.35)
    assert implications.following(seen.tags) == set(seen.tags)
    rate, right = recall(asked, seen), precision(asked, HAIR, seen, implications)
    assert rate is not None
    assert rate * len(asked) == pytest.approx(len(asked) - len(missing(asked, seen)))
    assert right is None or 0 <= right <= 1
    exactly = Found.of(dict.fromkeys(asked, 1.0), implications, threshold=0.35)
    assert recall(asked, exactly) == 1
    assert precision(asked, HAIR, exactly, implications) == 1
    for tag in asked:
        came = instead(asked, tag, HAIR, seen, implications)
        assert (came == tag) == (tag in seen.tags)
        assert came == tag or came not in asked
