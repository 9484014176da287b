"""The formulas of balancing, by hand, and what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.curate.weigh.formulas import bucket_factors, group_factors, synthetic_factor


def test_groups_by_hand():
    """Hair is in 4 pictures, pose in 2, rare in 1, other in 1: median 1.5; a picture has the geometric mean."""
    groups = [[1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]
    hair, pose, rare = 1.5 / 4, 1.5 / 2, 1.5
    expected = [hair, hair, math.sqrt(hair * pose), math.sqrt(hair * pose), rare, 1.0]
    assert group_factors(np.array(groups, bool), strength=1.0) == pytest.approx(expected)
    assert group_factors(np.array(groups, bool), strength=0.5) == pytest.approx(np.sqrt(expected))


def test_no_groups_at_all():
    assert group_factors(np.zeros((3, 2), bool), strength=1.0).tolist() == [1, 1, 1]
    assert group_factors(np.zeros((0, 0), bool), strength=1.0).tolist() == []


def test_buckets_of_1_2_and_8_go_to_the_median():
    buckets = np.array([0] + [1] * 2 + [2] * 8)
    factors = bucket_factors(buckets, np.ones(11), strength=1.0)
    assert factors.tolist() == [2.0] + [1.0] * 2 + [0.25] * 8
    assert bucket_factors(buckets, np.full(11, 3.0), strength=1.0) == pytest.approx(factors)
    assert bucket_factors(buckets, np.ones(11), strength=0.0).tolist() == [1.0] * 11


def test_a_bucket_is_as_large_as_it_is_seen():
    factors = bucket_factors(np.array([0, 1, 1]), np.array([6.0, 1.0, 1.0]), strength=1.0)
    assert factors == pytest.approx([4 / 6, 2, 2])


def test_a_bucket_that_is_never_seen_moves_nobody():
    factors = bucket_factors(np.array([0, 1, 2]), np.array([0.0, 4.0, 1.0]), strength=1.0)
    assert factors == pytest.approx([1.0, 2.5 / 4, 2.5])
    assert bucket_factors(np.array([0, 1]), np.zeros(2), strength=1.0).tolist() == [1, 1]


@given(st.lists(st.booleans(), min_size=2, max_size=30), st.floats(0.01, 0.99))
def test_synthetic_pictures_have_the_share_or_less(synthetic: list[bool], share: float):
    is_synthetic = np.array([*synthetic, False])
    seen = np.linspace(0.5, 2.0, len(is_synthetic))
    factor = synthetic_factor(is_synthetic, seen, max_share=share)
    after = np.where(is_synthetic, seen * factor, seen)
    before = seen[is_synthetic].sum() / seen.sum()
    assert after[is_synthetic].sum() / after.sum() == pytest.approx(min(before, share))
    assert factor <= 1


def test_all_synthetic_cannot_be_a_tenth():
    with pytest.raises(ValueError, match="all pictures are synthetic"):
        synthetic_factor(np.array([True]), np.ones(1), max_share=0.1)
    assert synthetic_factor(np.zeros(0, bool), np.zeros(0), max_share=0.1) == 1.0
