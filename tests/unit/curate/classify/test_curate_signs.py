"""Signs: the bits of tags against asking every list of every row."""

from __future__ import annotations

import fnmatch

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.classify.signs import BITS, read_signs
from animetune.curate.coded import CodedLists


def signs(rows: list, lists: dict[str, list[str]]) -> dict[str, list[bool]]:
    return {name: found.tolist() for name, found in read_signs([coded(rows)], lists).items()}


def coded(rows: list) -> CodedLists:
    return CodedLists.of(pl.Series(rows, dtype=pl.List(pl.String)))


def test_by_hand():
    rows = [["cat", "sky"], [], ["dog"], None, ["catgirl"]]
    lists = {"pets": ["cat", "dog"], "sky": ["sky"], "cat*": ["cat*"], "nothing": []}
    assert signs(rows, lists) == {
        "pets": [True, False, True, False, False],
        "sky": [True, False, False, False, False],
        "cat*": [True, False, False, False, True],
        "nothing": [False] * 5,
    }


def test_patterns_are_of_whole_tags_and_nothing_else_is_special():
    rows = [["hair.x"], ["hairxx"], ["long_hair"], ["long_hair_ribbon"], ["a\nb"]]
    assert signs(rows, {"dot": ["hair.*"], "end": ["*_hair"], "any": ["*"], "line": ["a*b"]}) == {
        "dot": [True, False, False, False, False],
        "end": [False, False, True, False, False],
        "any": [True] * 5,
        "line": [False, False, False, False, True],
    }


def test_more_lists_than_a_word_has_bits():
    count = 2 * BITS + 3
    lists = {f"list {number}": [f"tag {number}", "all"] for number in range(count)}
    rows = [[f"tag {number}"] for number in range(count)] + [["all"], []]
    found = signs(rows, lists)
    for number in range(count):
        assert found[f"list {number}"] == [place == number for place in range(count)] + [True, False]


def test_any_column_counts():
    columns = [coded([["cat"], [], ["x"]]), coded([["y"], ["y"], ["y"]]), coded([[], ["dog"], None])]
    lists = {"pets": ["cat", "dog"], "both": ["x", "dog"], "none": ["bird"]}
    found = {name: each.tolist() for name, each in read_signs(columns, lists).items()}
    assert found == {"pets": [True, True, False], "both": [False, True, True], "none": [False] * 3}


def test_no_rows_and_no_tags():
    assert signs([], {"a": ["x"]}) == {"a": []}
    assert signs([[], None], {"a": ["x"]}) == {"a": [False, False]}


WORDS = st.sampled_from(["a", "b", "ab", "ba", "aab", "x"])


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(WORDS, max_size=4), max_size=6),
    st.lists(st.lists(st.one_of(WORDS, st.sampled_from(["a*", "*b", "a*b", "*"])), max_size=3), max_size=5),
)
def test_as_asking_each_list(rows: list[list[str]], lists: list[list[str]]):
    found = signs(rows, {str(number): tags for number, tags in enumerate(lists)})
    for number, tags in enumerate(lists):
        expected = [any(fnmatch.fnmatchcase(each, tag) for each in row for tag in tags) for row in rows]
        assert found[str(number)] == expected
