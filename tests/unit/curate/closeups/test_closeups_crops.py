"""Geometry of close-ups: by hand, and whatever the boxes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.curate.closeups.crops import crop_of, cut, shared
from animetune.curate.config.closeups import CloseupsConfig
from animetune.picture_urls import Region
from animetune.vision.detectors import Box

WHOLE = Region(0, 0, 1000, 800)


def config(**settings):
    return CloseupsConfig.model_validate({"saliency": True, "margin": 0, "min_side": 16, **settings})


def box(left, top, right, bottom, score=1.0, label="face"):
    return Box(left, top, right, bottom, score, label)


@pytest.mark.parametrize(
    ("found", "margin", "ratio", "expected"),
    [
        (box(100, 100, 200, 300), 0, 2, (100, 100, 100, 200)),
        (box(100.4, 100.6, 199.2, 200.1), 0, 2, (100, 100, 100, 101)),  # whole pixels, none of the box lost
        (box(100, 100, 200, 200), 0.5, 2, (50, 50, 200, 200)),
        (box(0, 0, 100, 100), 0.5, 2, (0, 0, 150, 150)),  # no margin where there is no picture
        (box(100, 100, 500, 200), 0, 2, (100, 50, 400, 200)),  # the short side grows
        (box(100, 0, 500, 100), 0, 2, (100, 0, 400, 200)),  # where there is room
        (box(0, 0, 1000, 100), 0, 1, (100, 0, 800, 800)),  # then the long side is cut, around the box
        (box(900, 700, 1200, 900), 0, 2, (900, 700, 100, 100)),
        (box(1000, 100, 1100, 200), 0, 2, None),
    ],
)
def test_by_hand(found, margin, ratio, expected):
    assert crop_of(found, WHOLE, margin=margin, max_ratio=ratio) == (None if expected is None else Region(*expected))


def test_within_the_content_and_not_beyond():
    content = Region(0, 100, 1000, 600)
    assert crop_of(box(400, 50, 600, 250), content, margin=0.5, max_ratio=2) == Region(300, 100, 400, 225)


sides = st.floats(-50, 1100, allow_nan=False)


@given(sides, sides, sides, sides, st.floats(0, 2), st.floats(1, 4))
def test_every_crop_lies_inside_has_its_ratio_and_the_centre_of_what_is_seen(left, top, right, bottom, margin, ratio):
    content = Region(10, 20, 900, 700)
    region = crop_of(box(left, top, right, bottom), content, margin=margin, max_ratio=ratio)
    inner = (max(left, 10), max(top, 20), min(right, 910), min(bottom, 720))
    if inner[0] >= inner[2] or inner[1] >= inner[3]:
        assert region is None
        return
    assert region is not None
    assert region.width > 0 < region.height
    assert region.left >= 10 <= region.corners[2] <= 910
    assert region.top >= 20 <= region.corners[3] <= 720
    assert max(region.width, region.height) <= max(1, ratio * min(region.width, region.height))
    x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
    assert region.left - 1 <= x <= region.corners[2] + 1
    assert region.top - 1 <= y <= region.corners[3] + 1


def test_the_best_come_first_whatever_the_order_of_the_boxes():
    boxes = [
        box(0, 0, 100, 100, 0.5),
        box(10, 0, 110, 100, 0.9),  # shares 9/11 with the first
        box(500, 500, 600, 600, 0.9),
        box(300, 300, 310, 310, 1.0),
        box(200, 0, 300, 100, 0.1),
        box(0, 0, 990, 790, 0.7),
        box(2000, 0, 2100, 100, 0.7),
    ]
    found = cut(boxes, WHOLE, config(per_picture=2))
    assert [each.region for each in found.closeups] == [Region(10, 0, 100, 100), Region(500, 500, 100, 100)]
    assert found.refused == {"outside": 1, "too_small": 1, "too_large": 1, "overlapping": 1, "surplus": 1}
    assert cut(boxes[::-1], WHOLE, config(per_picture=2)) == found


def test_labels_have_margins_of_their_own():
    cfg = config(labels={"eye": {"margin": 1}})
    found = cut([box(100, 100, 200, 200, label="eye"), box(600, 600, 700, 700)], WHOLE, cfg)
    assert [each.region for each in found.closeups] == [Region(0, 0, 300, 300), Region(600, 600, 100, 100)]
    assert found.closeups[0].focus == (0.5, 0.5)


def test_overlap_by_hand():
    assert shared(Region(0, 0, 10, 10), Region(5, 0, 10, 10)) == pytest.approx(50 / 150)
    assert shared(Region(0, 0, 10, 10), Region(10, 0, 10, 10)) == 0
