"""Orders of general tags: those that are built in, a user's own, and what they refuse."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.curate.coded import CodedLists
from animetune.curate.config.tags import ORDER_NAMES
from animetune.curate.tag.orders import REST, arranged, places, ranks
from animetune.curate.tag.tag_lists import OTHER, Vocabulary
from animetune.errors import ConfigError

BUILT_IN = Vocabulary.load()


def in_order(tags: str, order) -> str:
    """The tags of one picture in an order."""
    coded = CodedLists.of(pl.Series([tags.split()], dtype=pl.List(pl.String)))
    rank, classes = ranks(order, BUILT_IN.classes), BUILT_IN.class_of(coded.names)
    return " ".join(arranged(coded, coded.property(lambda tag: rank[classes[tag]], np.int64)).to_series().to_list()[0])


def test_the_example_of_aidxl():
    """`"gun, 1boy, holding, short hair" -> "1boy, short hair, holding, gun"`; 1boy is in a part of its own."""
    assert in_order("gun holding short_hair", "aidxl-caption") == "short_hair holding gun"
    assert in_order("gun male_focus holding short_hair", "aidxl-caption") == "male_focus short_hair holding gun"


def test_the_places_of_aidxls_user_guide():
    """One tag for each place that general tags can take, as in the guide's examples, in reverse."""
    guide = (
        "elf cowboy_shot impasto fantasy forest gradient_background sitting expressionless white_hair twintails "
        "white_dress frills wand grass bird"
    )
    assert in_order(" ".join(reversed(guide.split())), "aidxl-prompt") == guide


def test_of_one_place_tags_stay_as_they_were():
    assert in_order("twintails parted_lips green_eyes ahoge blue_sclera", "aidxl-prompt").startswith("parted_lips twin")
    assert in_order("blue_eyes ahoge red_sclera", "aidxl-caption") == "blue_eyes ahoge red_sclera"


@pytest.mark.parametrize("order", ["site", "animagine"])
def test_any_order_is_the_sites(order: str):
    assert in_order("smile gun male_focus elf", order) == "smile gun male_focus elf"


@pytest.mark.parametrize("order", ["illustrious", "novelai"])
def test_people_next_to_the_counts(order: str):
    assert in_order("smile gun male_focus elf solo_focus", order) == "male_focus solo_focus smile gun elf"


def test_an_order_of_ones_own():
    assert in_order("smile unknown gun blue_eyes red_hair", ["weapons", ["eyes", "hair"]]) == (
        "gun blue_eyes red_hair smile unknown"
    )
    assert in_order("smile unknown gun blue_eyes", ["weapons", REST, "eyes"]) == "gun smile unknown blue_eyes"
    assert in_order("smile unknown gun", [OTHER, "weapons"]) == "unknown gun smile"


@pytest.mark.parametrize("name", ORDER_NAMES)
def test_built_in_orders_name_classes_once(name: str):
    found = ranks(name, BUILT_IN.classes)
    assert set(found) == {*BUILT_IN.classes, OTHER}
    named = [each for place in places(name) for each in place]
    assert REST in named
    if name.startswith("aidxl"):
        assert {*named} == {*BUILT_IN.classes, REST}


def test_aidxl_prompt_has_the_places_that_general_tags_can_take():
    assert len(places("aidxl-prompt")) == 15  # 19, less style, character, aesthetics and quality


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (["hairs"], "tags.order: 'hairs' is no semantic class of tags; did you mean 'hair'"),
        (["zzz"], r"'zzz' is no semantic class of tags; there are accessories, .*other"),
        (["hair", ["eyes", "hair"]], "'hair' is there twice"),
        ([REST, REST], "'\\*' is there twice"),
    ],
)
def test_orders_that_are_refused(order, words: str):
    with pytest.raises(ConfigError, match=words):
        ranks(order, BUILT_IN.classes)


@given(st.lists(st.lists(st.sampled_from("abcdef"))), st.permutations(range(6)))
def test_as_sorting_each_list(lists: list[list[str]], rank: list[int]):
    coded = CodedLists.of(pl.Series(lists, dtype=pl.List(pl.String)))
    of = dict(zip("abcdef", (place // 2 for place in rank), strict=True))
    sorted_lists = arranged(coded, coded.property(of.__getitem__, np.int64)).to_series().to_list()
    assert sorted_lists == [sorted(tags, key=of.__getitem__) for tags in lists]
