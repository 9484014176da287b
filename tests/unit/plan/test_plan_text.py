"""Bars and curves by hand."""

from __future__ import annotations

from animetune.plan.text import curve


def test_a_curve_goes_from_nothing_to_the_greatest() -> None:
    assert curve([0.0, 1.0, 2.0, 3.0, 4.0]) == "▁▃▅▇█"
    assert curve([0.0, 0.0]) == "▁▁"
    assert curve([]) == ""
