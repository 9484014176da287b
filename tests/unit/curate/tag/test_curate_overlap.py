"""Overlap by meaning: what implies what, and what is left of a picture's tags."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.curate.coded import CodedLists
from animetune.curate.read.fields import MAX_TAG_BYTES
from animetune.curate.tag import overlap
from animetune.curate.tag.overlap import Rules, implied_tags, redundant
from animetune.curate.tag.tag_lists import Vocabulary
from animetune.errors import DataError

BUILT_IN = Vocabulary.load()
RULES = Rules.parse(BUILT_IN.overlap)


def left(*tags: str, several: bool = False, rules: Rules = RULES) -> list[str]:
    """What is left of one picture's tags."""
    coded = CodedLists.of(pl.Series([list(tags)], dtype=pl.List(pl.String)))
    said = redundant(coded, rules, BUILT_IN.class_of(tags), np.array([several]))
    return coded.keep(~said).to_series().to_list()[0]


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        ("long_hair very_long_hair", "very_long_hair"),
        ("long_hair absurdly_long_hair", "absurdly_long_hair"),  # by way of a tag that is not there
        ("long_hair short_hair", "long_hair short_hair"),
        ("shirt white_shirt", "white_shirt"),
        ("hair_ornament x_hair_ornament hair_flower", "x_hair_ornament hair_flower"),
        ("smile grin", "grin"),
        ("smile light_smile :d open_mouth", "light_smile :d"),
        ("animal_ears cat_ears tail cat_tail", "cat_ears cat_tail"),
        ("holding sword holding_sword weapon", "holding_sword"),
        ("breasts large_breasts", "large_breasts"),
        ("2girls multiple_girls", "2girls"),
        ("sky cloud cloudy_sky", "cloudy_sky"),
        ("simple_background white_background", "white_background"),
        ("thighhighs white_thighhighs striped_thighhighs", "white_thighhighs striped_thighhighs"),
        # whole words of one class only: all of these are tags, and none says the other
        ("bow elbow_gloves", "bow elbow_gloves"),
        ("ass glasses", "ass glasses"),
        ("bra bracelet", "bra bracelet"),
        ("car card", "car card"),
        ("cat cat_ears", "cat cat_ears"),
        ("bear beard", "bear beard"),
        ("ring earrings", "ring earrings"),
        ("tan standing", "tan standing"),
        ("dog hot_dog", "dog hot_dog"),
        ("flower hair_flower", "flower hair_flower"),
        ("cream ice_cream", "cream ice_cream"),
        # a first word that takes it back
        ("shoes no_shoes", "shoes no_shoes"),
        ("hat unworn_hat", "hat unworn_hat"),
        ("navel covered_navel", "navel covered_navel"),
        ("sex after_sex", "sex after_sex"),
        ("fellatio implied_fellatio", "fellatio implied_fellatio"),
        ("", ""),
    ],
)
def test_one_person(tags: str, kept: str):
    assert left(*tags.split()) == kept.split()


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        ("long_hair very_long_hair", "long_hair very_long_hair"),
        ("shirt white_shirt", "shirt white_shirt"),
        ("smile grin", "smile grin"),
        ("holding holding_sword", "holding holding_sword"),
        ("cat_ears animal_ears", "cat_ears animal_ears"),
        # what does not describe a person
        ("2girls multiple_girls", "2girls"),
        ("sky blue_sky", "blue_sky"),
        ("weapon katana", "katana"),
        ("flower red_rose rose", "red_rose"),
        ("blurry blurry_background", "blurry_background"),
    ],
)
def test_several_people(tags: str, kept: str):
    assert left(*tags.split(), several=True) == kept.split()


def test_each_picture_by_itself():
    lists = [["shirt", "white_shirt"], ["shirt"], [], ["white_shirt", "shirt", "smile"], ["shirt", "white_shirt"]]
    coded = CodedLists.of(pl.Series(lists))
    classes = BUILT_IN.class_of(coded.names)
    said = redundant(coded, RULES, classes, np.array([False, False, False, False, True]))
    left_of = coded.keep(~said).to_series().to_list()
    assert left_of == [["white_shirt"], ["shirt"], [], ["white_shirt", "smile"], ["shirt", "white_shirt"]]


def test_a_user_adds_implications():
    rules = RULES.with_implications({"odachi": ("katana",), "very_long_hair": ("hair_down",)})
    assert left("odachi", "weapon", rules=rules) == ["odachi"]
    assert left("very_long_hair", "long_hair", "hair_down", rules=rules) == ["very_long_hair"]


def test_tags_that_imply_each_other_both_stay():
    rules = Rules().with_implications({"a": ("b",), "b": ("c",), "c": ("a", "d")})
    assert left("a", "b", "c", "d", rules=rules) == ["a", "b", "c"]
    reversed_rules = RULES.with_implications({"shirt": ("white_shirt",)})
    assert left("shirt", "white_shirt", rules=reversed_rules) == ["shirt", "white_shirt"]


def test_what_follows_is_followed_to_the_end():
    rules = Rules.parse(["a > b", "b > c e", "x_* > * y", "not no"])
    classes = {"a": "k", "z_a": "k", "no_a": "k"}
    assert implied_tags(["a", "x_a", "z_a", "no_a"], rules, classes) == {
        "a": {"b", "c", "e"},
        "x_a": {"a", "y", "b", "c", "e"},
        "z_a": {"a", "b", "c", "e"},
        "no_a": set(),
    }


def test_a_rule_that_makes_ever_longer_tags_comes_to_an_end():
    found = implied_tags(["xa"], Rules.parse(["x* > xx*"]), {})["xa"]
    assert {"xxa", "xxxa"} <= found
    assert len(max(found, key=len)) == MAX_TAG_BYTES


@pytest.mark.parametrize("line", ["a", "a b", "a >", "a > ", "a b > c", "a*b* > c", "> b", "not "])
def test_lines_that_are_no_rule(line: str):
    with pytest.raises(DataError, match=r"overlap.txt: .* should be `more > less`"):
        Rules.parse([line])


def test_every_rule_is_about_tags_of_danbooru_and_none_goes_round(shared_data: Path):
    with (shared_data / "tags" / "danbooru.csv").open(encoding="utf-8") as stream:
        known = {row[0] for row in csv.reader(stream)}
    named = {tag for more, less in RULES.exact.items() for tag in (more, *less)}
    named |= {tag for _, _, less in RULES.patterns for tag in less if "*" not in tag}
    named |= {tag for pair in RULES.not_pairs for tag in pair}
    assert named - known == set()
    implied = implied_tags(sorted(named), RULES, BUILT_IN.class_of(named))
    assert all(set(less) <= implied[more] for more, less in RULES.exact.items())


tags = st.lists(st.sampled_from(["a", "b", "c", "x_a", "y_x_a", "no_a", "x_b"]), unique=True)


@given(st.lists(st.tuples(tags, st.booleans())), st.integers(1, 40))
def test_as_one_picture_after_the_other(pictures: list[tuple[list[str], bool]], most: int):
    """Every way of cutting the table of hits gives what the definition says."""
    rules = Rules.parse(["c > b", "not no"])
    classes = dict.fromkeys(["a", "x_a", "y_x_a", "no_a"], "hair") | dict.fromkeys(["b", "c", "x_b"], "sky")
    classes |= dict.fromkeys(["b", "c", "x_b"], "items")
    coded = CodedLists.of(pl.Series([tags for tags, _ in pictures], dtype=pl.List(pl.String)))
    several = np.array([flag for _, flag in pictures], dtype=bool)
    before = overlap.MOST_HITS
    try:
        overlap.MOST_HITS = most
        said = redundant(coded, rules, classes, several)
    finally:
        overlap.MOST_HITS = before
    less = {"x_a": {"a"}, "y_x_a": {"x_a", "a"}, "c": {"b"}, "x_b": {"b"}}
    expected = [
        [
            tag
            for tag in tags
            if not any(tag in less.get(other, ()) and not (flag and classes[tag] == "hair") for other in tags)
        ]
        for tags, flag in pictures
    ]
    assert coded.keep(~said).to_series().to_list() == expected
