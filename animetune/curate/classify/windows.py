"""Percentiles in a window that moves over time: every post is ranked among those uploaded around it.

What counts as many votes changes over the years of a site, and every post has a window of its own, so ranking each in
turn would sort each window anew. `rank` asks all windows at once, of a wavelet matrix (Claude, Navarro and Ordonez
2015): one pass over all posts for each binary digit of the number of distinct values, in a few arrays of their length.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

DAY = 86_400_000_000
"""Microseconds."""
_DAYS = {"days": 1.0, "months": 365.25 / 12, "years": 365.25}
"""Mean lengths, so that a window has the same length wherever it is."""


class Window(NamedTuple):
    """How wide a window is."""

    number: int
    unit: str
    """posts, days, months or years"""

    def __str__(self) -> str:
        return f"{self.number} {self.unit if self.number > 1 else self.unit[:-1]}"

    @classmethod
    def parse(cls, text: object) -> Window:
        """`12 months`, `100000 posts`. ValueError for anything else."""
        match = re.fullmatch(r"([1-9][0-9_]{0,11})\s+(post|day|month|year)s?", str(text).strip())
        if match is None:
            raise ValueError(f"should be a number of posts, days, months or years, as in '12 months', not {text!r}")
        return cls(int(match[1]), f"{match[2]}s")

    @property
    def is_of_posts(self) -> bool:
        """Whether it has a number of posts; else a length of time."""
        return self.unit == "posts"


class Bounds(NamedTuple):
    """The window of each post: the places from `first` to `last`, the latter not included."""

    first: np.ndarray
    """int64 (posts,)"""
    last: np.ndarray
    """int64 (posts,)"""


def bounds(times: np.ndarray, window: Window, *, at_least: int) -> Bounds:
    """The window around each of so many posts, whose `times`, int64 (posts,) in microseconds, do not fall.

    A window of time reaches half its length before and behind a post, both ends included, and so is half as long for
    the first and the last post; one with fewer than `at_least` posts is widened to so many (`widened`). A window of
    posts has as many before as behind, and is moved inwards where it would reach beyond the first or the last post.
    """
    if window.is_of_posts:
        return nearest(len(times), max(window.number, at_least))
    half = round(window.number * _DAYS[window.unit] * DAY / 2)
    of_time = Bounds(
        first=np.searchsorted(times, times - half, side="left"),
        last=np.searchsorted(times, times + half, side="right"),
    )
    return widened(of_time, at_least)


def widened(windows: Bounds, number: int) -> Bounds:
    """Windows, one around each post, with at least so many: all that one held, and as many before as behind its post.

    What has enough stays as it is, even where all of it lies on one side of a long gap.
    """
    posts = len(windows.first)
    number = min(number, posts)
    centred = np.arange(posts, dtype=np.int64) - number // 2
    first = np.clip(np.minimum(np.maximum(centred, windows.last - number), windows.first), 0, posts - number)
    is_short = windows.last - windows.first < number
    return Bounds(first=np.where(is_short, first, windows.first), last=np.where(is_short, first + number, windows.last))


def nearest(posts: int, number: int) -> Bounds:
    """The `number` places around each of so many; all of them, where there are fewer."""
    first = np.clip(np.arange(posts, dtype=np.int64) - number // 2, 0, max(0, posts - number))
    return Bounds(first, np.minimum(first + number, posts))


class Rank(NamedTuple):
    """What is in a window, beside the value of its own post."""

    less: np.ndarray
    """int (posts,): how many values are less."""
    equal: np.ndarray
    """int (posts,): how many are equal, its own included."""


def rank(values: np.ndarray, windows: Bounds) -> Rank:
    """Where each value, (posts,) of numbers without NaN, stands among those of its window."""
    dtype: Any = np.int32 if len(values) < 2**31 else np.int64
    codes = np.unique(values, return_inverse=True)[1].astype(dtype)
    first, last = windows.first.astype(dtype), windows.last.astype(dtype)
    less = np.zeros(len(codes), dtype)
    sorted_by_digits = codes
    for digit in reversed(range(int(codes.max(initial=0)).bit_length())):
        # A stable partition by the digit: zeros first. A window becomes one of the zeros or of the ones in it.
        is_one = (sorted_by_digits >> digit) & 1 == 1
        zeros_before = np.zeros(len(codes) + 1, dtype)
        np.cumsum(~is_one, out=zeros_before[1:])
        zeros = zeros_before[-1]
        first_zero, last_zero = zeros_before[first], zeros_before[last]
        own = (codes >> digit) & 1 == 1
        less += np.where(own, last_zero - first_zero, 0).astype(dtype)
        first = np.where(own, first - first_zero + zeros, first_zero)
        last = np.where(own, last - last_zero + zeros, last_zero)
        sorted_by_digits = np.concatenate([sorted_by_digits[~is_one], sorted_by_digits[is_one]])
    return Rank(less, last - first)


def percentiles(values: np.ndarray, windows: Bounds) -> np.ndarray:
    """float64 (posts,): 100 (r - 1/2) / n of each value in its window of n, where r is its mean rank (Hazen 1914)."""
    less, equal = rank(values, windows)
    return 100 * (less + equal / 2) / (windows.last - windows.first)
