"""Lists of text as numbers, whichever way they come."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.coded import CodedLists, codes

LISTS = st.lists(st.none() | st.lists(st.none() | st.sampled_from(["a", "b", "", "é", "a b"]), max_size=4), max_size=6)


@settings(max_examples=80, deadline=None)
@given(lists=LISTS)
@pytest.mark.parametrize("inner", [pl.String, pl.Categorical])
def test_lists_come_back_without_nulls(inner, lists):
    coded = CodedLists.of(pl.Series(lists, dtype=pl.List(pl.String)).cast(pl.List(inner)))
    expected = [[name for name in names or [] if name is not None] for names in lists]
    assert coded.to_series().to_list() == expected
    assert len(coded) == len(lists)
    flat = [name for names in expected for name in names]
    assert coded.names.tolist() == list(dict.fromkeys(flat))  # in the order of their first use
    assert coded.names[coded.codes].tolist() == flat


def test_what_is_decided_for_a_name_holds_for_its_uses():
    coded = CodedLists.of(pl.Series([["cat", "dog"], [], ["dog", "dog"], ["owl"]]))
    is_dog = coded.property(lambda name: name == "dog")
    assert coded.any(is_dog[coded.codes]).tolist() == [True, False, True, False]
    assert coded.count(is_dog[coded.codes]).tolist() == [1, 0, 2, 0]
    assert coded.keep(~is_dog[coded.codes]).to_series().to_list() == [["cat"], [], [], ["owl"]]
    assert coded.rows.tolist() == [0, 0, 2, 2, 3]


def test_a_column_as_numbers():
    numbers, names = codes(pl.Series(["b", None, "a", "b"]))
    assert numbers.tolist() == [0, -1, 1, 0]
    assert numbers.dtype == np.int32
    assert names.tolist() == ["b", "a"]
