"""Tags and patterns against lists of tags."""

from __future__ import annotations

import fnmatch

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.tag.tag_matching import counts, holds, lower

TAG = st.text("ab.(|", min_size=1, max_size=4)
LISTS = st.lists(st.none() | st.lists(TAG, max_size=4), min_size=1, max_size=5)
PATTERN = st.text("ab.(|*", min_size=1, max_size=4).filter(lambda text: text.strip("*"))


def frame(**columns: list) -> pl.DataFrame:
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.List(pl.String)))


@pytest.mark.parametrize(
    ("tags", "match", "expected"),
    [
        (["x"], "any", [True, False, True, False]),
        (["x", "y"], "all", [True, False, False, False]),
        (["*"], "all", [True, True, True, False]),
        ([], "any", [False] * 4),
    ],
)
def test_the_lists_of_a_row_are_looked_at_together(tags, match, expected):
    rows = frame(a=[["x"], ["z"], ["x"], []], b=[["y"], ["xx"], None, None])
    assert rows.select(held=holds(["a", "b"], tags, match))["held"].to_list() == expected


@settings(max_examples=60, deadline=None)
@given(LISTS, st.lists(PATTERN, min_size=1, max_size=3), st.sampled_from(["any", "all"]))
def test_against_the_patterns_of_shells(lists, tags, match):
    def fits(words: list[str], tag: str) -> bool:
        return any(fnmatch.fnmatchcase(word, tag.replace("[", "[[]")) for word in words)

    found = frame(a=lists).select(held=holds(["a"], tags, match))["held"].to_list()
    decide = any if match == "any" else all
    assert found == [decide(fits(words or [], tag) for tag in tags) for words in lists]


def test_lower_case():
    rows = frame(a=[["Ab", "É"], None, []])
    assert rows.select(lower(["a"]))["a"].to_list() == [["ab", "é"], None, []]


def test_counts():
    rows = frame(a=[["x", "y"], ["x"], None], b=[["x"], [], ["z"]])
    assert counts(rows, ["a", "b"], ["x", "z", "w"]) == {"x": 3, "z": 1, "w": 0}
    assert counts(rows.clear(), ["a"], ["x"]) == {"x": 0}
