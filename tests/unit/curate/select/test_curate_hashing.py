"""Pairs of near hashes: all that comparing every pair finds, once each, and no more work than that is worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.select.hashing import BITS, CROWD, FLAT, is_flat, near_pairs


def hashes(seed: int, items: int, *, centres: int, flips: int) -> np.ndarray:
    """uint8 (items, 32): hashes around a few centres, some of them equal, some nearly flat."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.02, 0.6, (centres, 1))
    bits = (rng.random((centres, BITS)) < share)[rng.integers(0, centres, items)]
    for row in bits:
        row[rng.integers(0, BITS, rng.integers(0, flips + 1))] ^= True
    return np.packbits(bits, axis=1)


def by_comparing_all(found: np.ndarray, distance: int, kinds: np.ndarray) -> set[tuple[int, int]]:
    """Pairs within the distance: of equal items all, of others those of the first item of each hash and kind."""
    bits = np.unpackbits(found, axis=1).astype(int)
    flat, first, firsts = is_flat(found), {}, []
    for place, (row, kind) in enumerate(zip(found, kinds, strict=True)):
        firsts.append(first.setdefault((row.tobytes(), int(kind)), place))
    pairs = set()
    for one in range(len(bits)):
        for other in range(one + 1, len(bits)):
            is_first = firsts[one] == one and firsts[other] == other
            near = np.abs(bits[one] - bits[other]).sum() <= distance and not flat[one] and not flat[other]
            if firsts[one] == firsts[other] or (is_first and near):
                pairs.add((one, other))
    return pairs


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(0, 15), st.integers(1, 25), st.integers(0, 12), st.integers(1, 3))
def test_all_near_pairs_are_found_once(seed, distance, centres, flips, kinds):
    found = hashes(seed, 28, centres=centres, flips=flips)
    kind = np.random.default_rng(seed).integers(0, kinds, len(found)).astype(np.uint64)
    pairs = near_pairs(found, distance, kind)
    listed = list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
    assert listed == sorted(by_comparing_all(found, distance, kind))
    bits = np.unpackbits(found, axis=1)
    assert pairs.distance.tolist() == [int((bits[one] != bits[other]).sum()) for one, other in listed]


def test_bands_that_many_share_are_cut_again():
    """More than CROWD hashes agree in every bit but those of one band, and all near pairs are found yet."""
    rng = np.random.default_rng(0)
    bits = np.repeat(rng.random((1, BITS)) < 0.4, 40 * CROWD, axis=0)
    bits[:, ::8] = rng.random((len(bits), BITS // 8)) < 0.5
    found = np.packbits(bits, axis=1)
    apart = np.bitwise_count(found[:, None] ^ found[None]).sum(axis=2)
    expected = int((np.triu(apart <= 7, 1) & (np.triu(apart, 1) > 0)).sum())
    pairs = near_pairs(found, 7)
    assert len(np.unique(found, axis=0)) == len(found)
    assert len(pairs.left) == expected > 0


def test_the_nearest_bit_pattern_is_no_pair_beyond_the_distance():
    rng = np.random.default_rng(1)
    one = rng.random(BITS) < 0.5
    others = np.stack([one] * 4)
    for row, flips in zip(others[1:], (7, 8, 9), strict=True):
        row[rng.choice(BITS, flips, replace=False)] ^= True
    pairs = near_pairs(np.packbits(others, axis=1), 8)
    assert [pair for pair in zip(pairs.left, pairs.right, strict=True) if pair[0] == 0] == [(0, 1), (0, 2)]


def test_flat_hashes_pair_with_equal_ones_alone_and_not_all_with_all():
    flat = np.zeros((5000, 32), np.uint8)
    pairs = near_pairs(flat, 7)
    assert len(pairs.left) == sum(min(CROWD, 4999 - place) for place in range(5000))
    assert (pairs.right - pairs.left).max() == CROWD
    few = np.zeros((2, 32), np.uint8)
    few[1, 0] = 1
    assert len(near_pairs(few, 7).left) == 0
    assert is_flat(few).all()
    bits = np.zeros((3, BITS), bool)
    bits[0, :FLAT], bits[1, : FLAT - 1], bits[2, : BITS - FLAT + 1] = True, True, True
    assert is_flat(np.packbits(bits, axis=1)).tolist() == [False, True, True]


def test_work_does_not_grow_with_the_square():
    """A hundred thousand hashes around one: comparing all would be five billion pairs."""
    rng = np.random.default_rng(2)
    bits = np.repeat(rng.random((1, BITS)) < 0.4, 20_000, axis=0)
    for column in rng.integers(0, BITS, (10, len(bits))):
        bits[np.arange(len(bits)), column] ^= True
    pairs = near_pairs(np.packbits(bits, axis=1), 7)
    assert len(pairs.left) < 40 * len(bits) * 8


def test_none_and_one():
    for items in (0, 1):
        assert len(near_pairs(np.zeros((items, 32), np.uint8), 7).left) == 0


@pytest.mark.parametrize("wrong", [np.zeros((2, 8), np.uint8), np.zeros(32, np.uint8), np.zeros((2, 32), np.int64)])
def test_other_shapes_are_refused(wrong):
    with pytest.raises(ValueError, match="need uint8"):
        near_pairs(wrong, 7)
