"""Sizes: what pictures are cropped to, and where they lie in the plots."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from animetune.buckets import SizesConfig
from animetune.records import Size
from animetune.report.table_counts import Count
from animetune.report.table_sizes import measure, ratio_chart, size_chart

SQUARE = SizesConfig(area=64 * 64, step=8, min_side=32, max_side=128)


def packed(width: int, height: int) -> int:
    return width << 32 | height


def hovers(svg):
    return [element.text for element in ElementTree.fromstring(str(svg)).iter("title")]


def test_each_size_has_its_pictures_and_what_becomes_of_them():
    found = {
        packed(128, 128): Count(3, 1.5),
        packed(128, 130): Count(1, 2.0),
        packed(60, 60): Count(2, 2.0),
        packed(20, 20): Count(5, 5.0),
    }
    sizes = measure(found, SQUARE, max_upscale=1.25)
    (row,) = sizes.rows
    assert row.size == Size(64, 64)
    assert (row.pictures, row.seen, row.enlarged) == (6, 5.5, 2)
    assert row.cropped == pytest.approx((2 / 130) / 6)
    assert sizes.too_small == 5
    assert sum(sizes.pictures.values()) == 11


def test_several_tiers_and_an_open_one():
    tiers = SizesConfig(tiers=[{"area": 64 * 64, "step": 8}, {"area": 128 * 128, "step": 8}])
    found = {packed(70, 70): Count(1, 1.0), packed(200, 200): Count(2, 2.0)}
    assert [(row.tier, row.pictures) for row in measure(found, tiers, max_upscale=1).rows] == [("64", 1), ("128", 2)]
    opened = measure(found, SizesConfig(open=True, area=64 * 64, step=8, max_side=256), max_upscale=1)
    assert opened.lines == []
    assert [row.size for row in opened.rows] == [Size(64, 64)]


def test_plots_count_every_picture():
    found = {packed(64, 64): Count(3, 3.0), packed(128, 32): Count(2, 2.0), packed(1000, 10): Count(1, 1.0)}
    sizes = measure(found, SQUARE, max_upscale=4)
    cells = [int(text.rpartition(": ")[2]) for text in hovers(size_chart(sizes)) if ": " in text]
    assert sorted(cells) == [1, 2, 3]
    assert "64x64" in hovers(size_chart(sizes))
    bars = [int(text) for text in hovers(ratio_chart(sizes))]
    assert sum(bars) == 6  # 100:1 is in the last bar
    assert bars[-1] == 1


def test_nothing_is_shown_as_nothing():
    sizes = measure({packed(0, 5): Count(4, 4.0)}, SQUARE, max_upscale=1)
    assert sizes.rows == []
    for chart in (size_chart(sizes), ratio_chart(sizes)):
        assert "nothing to show" in [element.text for element in ElementTree.fromstring(str(chart)).iter("text")]
