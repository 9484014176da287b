"""Moving windows: bounds by hand, and the wavelet matrix against sorting every window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.classify import windows
from animetune.curate.classify.windows import DAY, Bounds, Window


@pytest.mark.parametrize(
    ("text", "window", "written"),
    [
        ("12 months", Window(12, "months"), "12 months"),
        (" 1 year ", Window(1, "years"), "1 year"),
        ("90 days", Window(90, "days"), "90 days"),
        ("100_000 posts", Window(100_000, "posts"), "100000 posts"),
    ],
)
def test_windows_as_people_write_them(text: str, window: Window, written: str):
    assert Window.parse(text) == window
    assert str(window) == written
    assert Window.parse(written) == window


@pytest.mark.parametrize(
    "text", ["", "12", "0 days", "-1 days", "1.5 years", "12 weeks", "months", None, 12, "12months"]
)
def test_what_is_no_window(text: object):
    with pytest.raises(ValueError, match="should be a number of posts, days, months or years"):
        Window.parse(text)


def ends(found: Bounds) -> list[tuple[int, int]]:
    return list(zip(found.first.tolist(), found.last.tolist(), strict=True))


def test_a_window_of_posts_is_as_full_at_the_ends():
    times = np.zeros(6, np.int64)
    assert ends(windows.bounds(times, Window(3, "posts"), at_least=1)) == [
        (0, 3), (0, 3), (1, 4), (2, 5), (3, 6), (3, 6),
    ]  # fmt: skip
    assert ends(windows.bounds(times, Window(3, "posts"), at_least=50)) == [(0, 6)] * 6


def test_a_window_of_time_holds_both_of_its_ends():
    days = np.array([0, 1, 2, 3, 10]) * DAY
    found = windows.bounds(days, Window(2, "days"), at_least=1)  # a day before and a day behind
    assert ends(found) == [(0, 2), (0, 3), (1, 4), (2, 4), (4, 5)]


def test_a_window_with_few_posts_is_widened_to_the_nearest():
    days = np.array([0, 1, 2, 3, 100]) * DAY
    found = windows.bounds(days, Window(2, "days"), at_least=3)
    assert ends(found) == [(0, 3), (0, 3), (1, 4), (2, 5), (2, 5)]


def test_a_window_with_enough_posts_is_not_widened_over_a_gap():
    """Posts behind a gap of years have nothing in common with those before it."""
    days = np.array([0, 1, 2, *range(2000, 2010)]) * DAY
    found = windows.bounds(days, Window(10, "days"), at_least=6)
    assert ends(found)[3:5] == [(3, 9), (3, 10)]
    assert ends(found)[0] == (0, 6)  # three posts are too few
    assert ends(windows.bounds(days, Window(10, "days"), at_least=8))[3] == (1, 9)  # two more, from before the gap


def test_months_and_years_have_their_mean_length():
    year = round(365.25 * DAY)
    times = np.array([0, year // 2, year], np.int64)
    for window in (Window(12, "months"), Window(1, "years")):
        assert ends(windows.bounds(times, window, at_least=1)) == [(0, 2), (0, 3), (1, 3)]


def test_percentiles_by_hand():
    """Ten posts, of which the later half has ten times the score: each half has its own best."""
    values = np.array([1, 2, 3, 4, 5, 10, 20, 30, 40, 50])
    halves = Bounds(np.repeat([0, 5], 5), np.repeat([5, 10], 5))
    assert windows.percentiles(values, halves).tolist() == [10, 30, 50, 70, 90] * 2
    whole = Bounds(np.zeros(10, int), np.full(10, 10))
    assert windows.percentiles(values, whole).tolist() == [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]


def test_equal_values_have_their_mean_rank():
    values = np.array([7, 7, 7, 9])
    found = windows.percentiles(values, Bounds(np.zeros(4, int), np.full(4, 4)))
    assert found.tolist() == [37.5, 37.5, 37.5, 87.5]


def test_nothing_has_no_ranks():
    empty = np.zeros(0, np.int64)
    assert windows.percentiles(empty, windows.nearest(0, 5)).tolist() == []


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_ranks_are_those_of_sorting_every_window(data: st.DataObject):
    scores = st.one_of(st.integers(-3, 3), st.integers(-(2**40), 2**40))
    values = np.array(data.draw(st.lists(scores, min_size=1, max_size=40)), np.int64)
    if data.draw(st.booleans()):
        values = values / 3  # scores of models are no integers
    count = len(values)
    first = [data.draw(st.integers(0, place)) for place in range(count)]
    last = [data.draw(st.integers(place + 1, count)) for place in range(count)]
    found = windows.rank(values, Bounds(np.array(first), np.array(last)))
    for place in range(count):
        inside = values[first[place] : last[place]]
        assert found.less[place] == np.sum(inside < values[place])
        assert found.equal[place] == np.sum(inside == values[place])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=60),
    st.integers(1, 70),
    st.sampled_from(["posts", "days"]),
    st.integers(1, 70),
)
def test_every_post_is_in_its_window_which_is_full(days: list[int], number: int, unit: str, at_least: int):
    times = np.sort(np.array(days, np.int64)) * DAY
    found = windows.bounds(times, Window(number, unit), at_least=at_least)
    places = np.arange(len(times))
    assert (found.first <= places).all()
    assert (places < found.last).all()
    assert (found.last - found.first >= min(len(times), at_least)).all()
    assert (found.first >= 0).all()
    assert (found.last <= len(times)).all()
    if unit == "days":
        near = np.abs(times[:, None] - times[None, :]) * 2 <= number * DAY
        inside = (places[None, :] >= found.first[:, None]) & (places[None, :] < found.last[:, None])
        assert (inside | ~near).all()
        least = min(len(times), at_least)
        assert (found.last - found.first == np.maximum(near.sum(axis=1), least)).all()  # no more than is needed
