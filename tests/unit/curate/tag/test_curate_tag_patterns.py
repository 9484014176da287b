"""Which part a tag belongs to: exact entries before patterns, longer patterns before shorter ones."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.curate.tag.tag_patterns import Partition

PARTS = {
    "a": ["*_hair", "holding_*", "cat"],
    "b": ["*_long_hair", "*bow*", "ca*", "x_*_y"],
    "c": ["holding_*_hair", "red*"],
}


@pytest.mark.parametrize(
    ("tag", "part"),
    [
        ("cat", "a"),  # listed as it is, though ca* fits
        ("cat_x", "b"),
        ("red_hair", "a"),  # five characters against three
        ("redhair", "c"),
        ("very_long_hair", "b"),
        ("holding_a_hair", "c"),
        ("holding_hair", "a"),  # the two texts of holding_*_hair must not share characters
        ("rainbow_x", "b"),
        ("bow", "b"),
        ("x_1_y", "b"),
        ("x_y", None),
        ("hair", None),
        ("", None),
    ],
)
def test_the_longest_pattern_decides(tag: str, part: str | None):
    assert Partition(PARTS).part_of(tag) == part


def test_equally_long_patterns_go_by_the_name_of_their_part():
    assert Partition({"b": ["ab*"], "a": ["*cd"]}).part_of("abcd") == "a"
    assert Partition({"b": ["*cd"], "a": ["ab*"]}).part_of("abcd") == "a"


def test_a_star_alone_takes_what_nothing_else_does():
    partition = Partition({"rest": ["*"], "a": ["x*"]})
    assert partition.part_of("xy") == "a"
    assert partition.part_of("y") == partition.part_of("") == "rest"


def test_characters_that_mean_something_to_regular_expressions_mean_themselves():
    partition = Partition({"a": [".+*)?", "(*"]})
    assert partition.part_of(".+x)?") == "a"
    assert partition.part_of("aax)?") is None
    assert partition.part_of("(o)_(o)") == "a"


entries = st.text(alphabet="ab_*", min_size=1, max_size=5)


@given(st.dictionaries(st.sampled_from("pqr"), st.lists(entries, max_size=4)), st.text(alphabet="ab_", max_size=6))
def test_as_one_regular_expression_after_the_other(parts: dict[str, list[str]], tag: str):
    listed = [(part, entry) for part in sorted(parts) for entry in parts[part]]
    expected = next((part for part, entry in listed if entry == tag), None)
    if expected is None:
        fitting = [
            (-len(entry.replace("*", "")), part)
            for part, entry in listed
            if "*" in entry and re.fullmatch(".*".join(map(re.escape, entry.split("*"))), tag)
        ]
        expected = min(fitting)[1] if fitting else None
    assert Partition(parts).part_of(tag) == expected
