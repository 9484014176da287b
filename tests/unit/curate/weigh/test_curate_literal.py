"""The pseudo-code at its word: what it does to a small set, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from animetune.curate.weigh.literal import literal_repeats

TAGS = np.array([[3, 1], [1, 0], [0, 0], [0, 2]], np.uint8)
"""4 uses of the first group, 3 of the second: median 3.5."""


def test_a_picture_comes_in_once_for_every_tag_drawn():
    first, second = 3.5 / 4, 3.5 / 3
    repeats = literal_repeats(TAGS, np.zeros(4, int), groups=1.0, content=0.0)
    assert repeats == pytest.approx([3 * first + second, first, 0.0, 2 * second])
    plain = literal_repeats(TAGS, np.zeros(4, int), groups=0.0, content=0.0)
    assert plain.tolist() == [4, 1, 0, 2]


def test_buckets_go_all_the_way_to_the_median():
    repeats = literal_repeats(TAGS, np.array([0, 1, 1, 2]), groups=0.0, content=1.0)
    assert repeats.tolist() == [2, 2, 0, 2]


def test_no_tags_at_all():
    assert literal_repeats(np.zeros((2, 3), np.uint8), np.array([0, 1]), groups=1.0, content=1.0).tolist() == [0, 0]
