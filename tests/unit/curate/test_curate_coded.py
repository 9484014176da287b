"""Lists of text as numbers: what goes in comes out, with nulls anywhere."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.coded import PIECE_ROWS, CodedLists, codes

WORD = st.sampled_from(["a", "b", "c", "", "☃", "long_hair"])
LISTS = st.lists(st.none() | st.lists(st.none() | WORD, max_size=5), max_size=8)


@pytest.mark.parametrize("kind", [pl.String, pl.Categorical])
@settings(max_examples=100, deadline=None)
@given(LISTS, st.integers(0, 8))
def test_lists_come_back_without_nulls(kind, lists, start):
    column = pl.Series("tags", lists, dtype=pl.List(pl.String)).cast(pl.List(kind))[start:]
    coded = CodedLists.of(column)
    plain = [[word for word in row or [] if word is not None] for row in lists[start:]]
    back = coded.to_series("tags")
    assert back.to_list() == plain
    assert back.dtype == pl.List(pl.String)
    assert len(coded) == len(plain)
    assert coded.names.tolist() == list(dict.fromkeys(word for row in plain for word in row))
    assert coded.rows.tolist() == [index for index, row in enumerate(plain) for _ in row]

    is_a = coded.property(lambda name: name == "a")
    assert coded.count(is_a[coded.codes]).tolist() == [row.count("a") for row in plain]
    assert coded.any(is_a[coded.codes]).tolist() == ["a" in row for row in plain]
    without = [[word for word in row if word != "a"] for row in plain]
    assert coded.keep(~is_a[coded.codes]).to_series().to_list() == without


@pytest.mark.parametrize("rows", [0, 1, PIECE_ROWS, PIECE_ROWS + 1])
def test_pieces_are_all_rows_in_order(rows):
    lists = [["a", "b"][: row % 3] for row in range(rows)]
    coded = CodedLists.of(pl.Series(lists, dtype=pl.List(pl.String)))
    pieces = [(place, piece.to_series().to_list()) for place, piece in coded.pieces()]
    assert [each for _, piece in pieces for each in piece] == lists
    assert all(lists[place] == piece for place, piece in pieces)
    assert len(pieces) == -(-rows // PIECE_ROWS)


@given(st.lists(st.none() | WORD, max_size=10), st.integers(0, 10))
def test_columns_come_back(words, start):
    numbers, names = codes(pl.Series("word", words, dtype=pl.String)[start:])
    assert [None if number < 0 else names[number] for number in numbers] == words[start:]
    assert names.tolist() == list(dict.fromkeys(word for word in words[start:] if word is not None))
    assert numbers.dtype == np.int32


def test_a_column_of_several_chunks():
    column = pl.concat([pl.Series("word", ["a", "b"]), pl.Series("word", ["b", "c"])], rechunk=False)
    assert codes(column)[0].tolist() == [0, 1, 1, 2]
    assert codes(column)[1].tolist() == ["a", "b", "c"]
    lists = pl.concat([pl.Series("tags", [["a"], ["b"]]), pl.Series("tags", [["b", "c"]])], rechunk=False)
    assert CodedLists.of(lists).codes.tolist() == [0, 1, 1, 2]


def test_a_column_of_nulls():
    assert codes(pl.Series("word", [None, None], dtype=pl.String))[0].tolist() == [-1, -1]
    assert codes(pl.Series("word", [None, None], dtype=pl.Null))[0].tolist() == [-1, -1]
