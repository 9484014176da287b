"""Homonyms: which tags of different kinds are one text in a prompt."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from animetune.curate.tag.homonyms import SCHEMA, homonyms, texts
from animetune.prompts import render_tag


def uses(*rows: tuple[str, str, int]) -> pl.DataFrame:
    """kind, tag, count"""
    return pl.DataFrame(rows, schema={"kind": pl.String(), "tag": pl.String(), "count": pl.Int64()}, orient="row")


def test_one_text_of_two_kinds():
    found = homonyms(
        uses(("general", "doctor", 50), ("character", "doctor", 9), ("general", "smile", 99), ("artist", "ask", 1))
    )
    assert found.rows() == [
        ("doctor", "same_text", "general", "doctor", 50),
        ("doctor", "same_text", "character", "doctor", 9),
    ]
    assert found.schema == SCHEMA
    assert texts(found) == 1


def test_alike_but_for_the_series():
    found = homonyms(
        uses(
            ("general", "rose", 900),
            ("character", "rose_(pokemon)", 20),
            ("character", "rose_(tales)", 3),
            ("general", "rose_(gem)", 5),  # general tags need their brackets
            ("copyright", "rose_(swimsuit)_(x)", 5),  # one pair of brackets is the series
        )
    )
    assert [(row[0], row[1], row[3]) for row in found.rows()] == [
        ("rose", "same_name", "rose"),
        ("rose", "same_name", "rose_(pokemon)"),
        ("rose", "same_name", "rose_(tales)"),
    ]
    assert texts(found) == 0


def test_brackets_alone_are_a_name():
    assert homonyms(uses(("character", "(x)", 1), ("general", "", 5))).height == 0


def test_emoticons_are_texts_of_their_own():
    assert homonyms(uses(("general", ">_<", 1), ("artist", ">_<", 1))).height == 2
    assert homonyms(uses(("general", "o_o", 1), ("artist", "o o", 1))).height == 0


def test_the_most_confusing_first():
    found = homonyms(
        uses(
            ("general", "a", 1000), ("artist", "a", 1),
            ("general", "b", 60), ("artist", "b", 50), ("character", "b", 55),
            ("copyright", "c", 55), ("artist", "c", 55),
        )
    )  # fmt: skip
    assert found["text"].to_list() == ["b", "b", "b", "c", "c", "a", "a"]
    assert found["kind"].to_list()[:5] == ["general", "character", "artist", "artist", "copyright"]


def test_none():
    assert homonyms(uses()).rows() == []
    assert homonyms(uses(("artist", "a", 1), ("artist", "b", 1))).rows() == []


kinds = st.sampled_from(["general", "artist", "character", "copyright"])
names = st.sampled_from(["a", "b", "a_b", "a_(x)", "a_(x)_(y)", "(x)", "a b"])


@given(st.dictionaries(st.tuples(kinds, names), st.integers(1, 9)), st.randoms())
def test_as_the_definition_says_in_any_order_of_rows(counts: dict[tuple[str, str], int], random):
    rows = [(kind, tag, count) for (kind, tag), count in counts.items()]
    found = homonyms(uses(*rows))
    random.shuffle(rows)
    assert homonyms(uses(*rows)).equals(found)
    texts = {}
    for kind, tag, _ in rows:
        texts.setdefault(render_tag(tag), set()).add(kind)
    expected = {text for text, kinds in texts.items() if len(kinds) > 1}
    assert set(found.filter(match="same_text")["text"]) == expected
    assert not set(found.filter(match="same_name")["text"]) & expected
