"""How many people the count tags state."""

from __future__ import annotations

import polars as pl
import pytest

from animetune.curate.coded import CodedLists
from animetune.curate.tag.people import least_people


@pytest.mark.parametrize(
    ("tags", "number"),
    [
        (["1girl"], 1),
        (["1girl", "solo"], 1),
        (["solo"], 1),
        (["1girl", "1boy"], 2),
        (["multiple_girls"], 2),
        (["multiple_girls", "3girls"], 3),
        (["3girls", "multiple_girls", "1boy"], 4),
        (["6+girls", "6+boys", "6+others"], 18),
        (["no_humans"], 0),
        (["no_humans", "1girl"], 1),
        ([], None),
        (["1girls"], None),
    ],
)
def test_the_least_number_that_is_stated(tags: list[str], number: int | None):
    counts = pl.Series([["2boys"], tags, []], dtype=pl.List(pl.String))
    assert least_people(CodedLists.of(counts)).to_list() == [2, number, None]


def test_no_pictures():
    assert least_people(CodedLists.of(pl.Series([], dtype=pl.List(pl.String)))).to_list() == []
