"""Steps and epochs against counting them one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.data.calendar import Calendar, Phase


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    firsts = sorted(draw(st.sets(st.integers(1, 8), max_size=3)))
    return Calendar(tuple(Phase(first, draw(st.integers(1, 5))) for first in (0, *firsts)))


@given(calendars())
def test_every_step_of_ten_epochs(calendar: Calendar) -> None:
    step = 0
    for epoch in range(10):
        assert calendar.step_of(epoch) == step
        for within in range(calendar.steps_in(epoch)):
            assert calendar.position(step) == (epoch, within)
            assert calendar.epochs_at(step) == epoch + within / calendar.steps_in(epoch)
            assert calendar.step_of(calendar.epochs_at(step)) == step
            step += 1


def test_parts_of_epochs_are_rounded_up() -> None:
    calendar = Calendar((Phase(0, 10), Phase(2, 4)))
    assert [calendar.step_of(epoch) for epoch in (0.1, 0.11, 1.5, 2.0, 2.5, 3.1)] == [1, 2, 15, 20, 22, 25]
    assert Calendar.even(30).step_of(0.1) == 3  # 0.1 * 30 is a little more than 3 in floats
    assert calendar.epochs_at(22) == pytest.approx(2.5)
