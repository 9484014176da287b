"""Pairs of near-equal hashes: all within a Hamming distance, without comparing every pair.

Of two hashes that differ in at most d bits, cut into d + 1 bands, one band is equal (pigeonhole principle; Manku, Jain
and Das Sarma, "Detecting near-duplicates for web crawling", WWW 2007). So only hashes that share a band are compared.
A band takes every (d + 1)-th bit: bands of neighbouring bits would be all zero for every picture with a plain margin.
A band that many share all the same is cut again, by bands of the other bits, among which d + 1 bands hold the same.

What is not complete, on purpose, since millions of pictures can have nearly one hash:

- a hash with fewer than FLAT bits set, or unset, is of a picture that is nearly one colour or one slope, and says too
  little: it is only paired with equal ones;
- of more than CROWD hashes that agree in a band of three levels, each is compared with the next CROWD in order, those
  of its own kind first;
- of items with one hash and one kind, each is paired with the next CROWD, and only the first with other hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

BITS = 256
BYTES = BITS // 8
FLAT = 16
"""Bits that must be set, and unset."""
CROWD = 32
"""Items that agree in a band and are compared one with each other."""
LEVELS = 3
"""How often a band that many share is cut again."""
_WORDS = BITS // 64


class Pairs(NamedTuple):
    """Pairs of items, each once, in order of `left`, then `right`."""

    left: np.ndarray
    """int64 (pairs,): places of items."""
    right: np.ndarray
    """int64 (pairs,): greater than `left`."""
    distance: np.ndarray
    """uint8 (pairs,): bits that differ."""


def near_pairs(hashes: np.ndarray, distance: int, kinds: np.ndarray | None = None) -> Pairs:
    """The pairs of `hashes`, uint8 (items, BYTES), that differ in at most `distance` bits, but for those named above.

    `kinds`, uint64 (items,), tells apart items that the caller would not take for one another: their pairs are found,
    too, but each kind has its own first. Memory: about 100 bytes an item beside the hashes.
    """
    if hashes.ndim != 2 or hashes.shape[1] != BYTES or hashes.dtype != np.uint8:
        raise ValueError(f"hashes: {hashes.dtype} {hashes.shape}; need uint8 (items, {BYTES})")
    words = np.ascontiguousarray(hashes).view("<u8")
    kinds = np.zeros(len(words), np.uint64) if kinds is None else kinds
    order = np.lexsort((*words.T, kinds))
    first = np.ones(len(order), bool)
    first[1:] = (words[order[1:]] != words[order[:-1]]).any(axis=1) | (kinds[order[1:]] != kinds[order[:-1]])
    of_one_hash = _joined(_steps(order, np.cumsum(first), np.arange(len(order)), CROWD))
    of_others = _different(words, order[first], distance)
    left, right = (np.concatenate(side) for side in zip(of_one_hash, of_others, strict=True))
    left, right = np.minimum(left, right), np.maximum(left, right)
    by_place = np.lexsort((right, left))
    left, right = left[by_place], right[by_place]
    is_new = np.ones(len(left), bool)  # what shares a run by chance is found twice
    is_new[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    left, right = left[is_new], right[is_new]
    return Pairs(left, right, _distances(words, left, right))


def is_flat(hashes: np.ndarray) -> np.ndarray:
    """bool (items,): whether a hash, uint8 (items, BYTES), has too few bits set, or unset, to be told from others."""
    ones = np.bitwise_count(hashes).sum(axis=1, dtype=np.int64)
    return (ones < FLAT) | (ones > BITS - FLAT)


def _different(words: np.ndarray, items: np.ndarray, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Of items that differ in hash or kind, in order of kind: the pairs within the distance."""
    items = items[~is_flat(words[items].view(np.uint8))]
    return _joined(_within(words, items, np.arange(BITS), distance, (), LEVELS) if len(items) else ())


def _within(
    words: np.ndarray,
    items: np.ndarray,
    bits: np.ndarray,
    distance: int,
    before: Sequence[np.ndarray],
    levels: int,
    group: np.ndarray | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of `items` of one group that agree in a band of `bits` and differ in each of the bands `before`, which
    have found the others already."""
    bands = [_mask(bits[start :: distance + 1]) for start in range(distance + 1)]
    for number, band in enumerate(bands):
        earlier = [*before, *bands[:number]]
        order, starts = _sorted_runs(_keys(words[items], band, group))
        sizes = np.diff(starts, append=len(order))
        runs = np.repeat(np.arange(len(starts)), sizes)
        sizes = sizes[runs]
        rest = np.setdiff1d(bits, bits[number :: distance + 1], assume_unique=True)
        deeper = levels > 1 and len(rest) > distance
        direct = np.flatnonzero((sizes > 1) & (sizes <= CROWD)) if deeper else np.flatnonzero(sizes > 1)
        for left, right in _steps(items[order], runs, direct, CROWD):
            keep = _distances(words, left, right) <= distance
            left, right = left[keep], right[keep]
            if not len(left):
                continue
            differing = words[left] ^ words[right]
            keep = ~(differing & band).any(axis=1)
            for each in earlier:
                keep &= (differing & each).any(axis=1)
            yield left[keep], right[keep]
        crowded = np.flatnonzero(sizes > CROWD)
        if deeper and len(crowded):
            yield from _within(words, items[order[crowded]], rest, distance, earlier, levels - 1, runs[crowded])


def _joined(found: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for some_left, some_right in found:
        left.append(some_left)
        right.append(some_right)
    return np.concatenate(left), np.concatenate(right)


def _steps(
    items: np.ndarray, runs: np.ndarray, places: np.ndarray, reach: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The item at each of the places with the next, the one after it ... of its run, at most `reach` further on."""
    for step in range(1, reach + 1):
        places = places[places + step < len(items)]
        places = places[runs[places] == runs[places + step]]
        if not len(places):
            return
        yield items[places], items[places + step]


def _mask(bits: np.ndarray) -> np.ndarray:
    """uint64 (_WORDS,): these bits set."""
    mask = np.zeros(_WORDS, np.uint64)
    for bit in bits.tolist():
        mask[bit // 64] |= np.uint64(1) << np.uint64(bit % 64)
    return mask


def _keys(words: np.ndarray, mask: np.ndarray, group: np.ndarray | None) -> np.ndarray:
    """uint64 (items,): equal where the masked bits and the group are. Where they are not, seldom: who pairs checks."""
    keys = np.zeros(len(words), np.uint64) if group is None else group.astype(np.uint64)
    for column in range(_WORDS):
        keys ^= words[:, column] & mask[column]
        keys *= np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


def _sorted_runs(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of `keys` in an order that brings equal ones together, and where their runs begin in it.

    Places go into the low bits, since NumPy sorts numbers ten times as fast as it finds their order. Of the keys the
    high bits are left: seldom, two of them share a run.
    """
    low = np.uint64(len(keys).bit_length())
    keys = keys >> low << low | np.arange(len(keys), dtype=np.uint64)
    keys.sort()
    order = (keys & ((np.uint64(1) << low) - np.uint64(1))).astype(np.int64)
    keys >>= low
    return order, np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))


def _distances(words: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """uint8 (pairs,): of hashes that are near; at most 255."""
    return np.bitwise_count(words[left] ^ words[right]).sum(axis=1, dtype=np.int64).clip(max=255).astype(np.uint8)
