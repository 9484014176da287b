"""Charts over training time and of distributions, read back from their SVG."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from animetune.evaluate.curves import histogram_charts, step_chart
from animetune.evaluate.measures import Estimate, Group
from animetune.evaluate.probes.shape import Histogram
from animetune.intervals import Interval

STEPS = {"late": 3000, "early": 1000, "middle": 2000}
VALUES = {"base": 0.5, "early": 0.2, "middle": 0.4, "late": 0.8}


def group(**changes: float) -> Group:
    values = {**VALUES, **changes}
    estimates = {name: Estimate(value, 9, Interval(value - 0.1, value + 0.1)) for name, value in values.items()}
    return Group("asked dark", estimates, {})


def chart(*groups: Group, level: str = "base") -> ElementTree.Element | None:
    found = step_chart(groups, STEPS, level, title="Luminance", shown=lambda value: f"{value:.2f}")
    return None if found is None else ElementTree.fromstring(str(found))


def test_points_lie_in_the_order_of_steps_and_as_high_as_their_values() -> None:
    root = chart(group())
    assert root is not None
    (line,) = root.iter("polyline")
    points = [tuple(map(float, each.split(","))) for each in line.attrib["points"].split()]
    assert points == sorted(points)
    assert points[1][0] - points[0][0] == pytest.approx(points[2][0] - points[1][0], abs=0.11)
    # 0.2, 0.4, 0.8: the second rise is twice the first
    assert points[1][1] - points[2][1] == pytest.approx(2 * (points[0][1] - points[1][1]), abs=0.2)
    titles = [each.text for each in root.iter("title")]
    assert "asked dark, step 2,000: 0.40 (0.30 to 0.50), n 9" in titles
    assert "asked dark, base: 0.50" in titles
    (level,) = (each for each in root.iter("path") if "stroke-dasharray" in each.attrib.get("style", ""))
    height = float(re.findall(r"M[\d.]+ ([\d.]+)H", level.attrib["d"])[0])
    assert points[1][1] > height > points[2][1]


def test_the_axis_has_round_numbers_around_all_values() -> None:
    root = chart(group(early=-0.3))
    assert root is not None
    written = [each.text for each in root.iter("text") if each.get("class") == "label"]
    assert written == ["-0.50", "0.00", "0.50", "1.00"]


def test_fewer_than_two_steps_are_no_chart() -> None:
    assert chart(Group("none", {"base": Estimate(1, 1, None), "early": Estimate(1, 1, None)}, {})) is None
    assert chart() is None


def test_a_baseline_among_the_steps_is_no_dashed_line() -> None:
    root = chart(group(), level="early")
    assert root is not None
    assert not [each for each in root.iter("path") if "stroke-dasharray" in each.attrib.get("style", "")]


def test_histograms_are_shares_with_the_real_pictures_in_each() -> None:
    counts = {"reference": [1, 1], **{f"m{place}": [3, 1] for place in range(4)}, "none": [0, 0]}
    charts = histogram_charts(Histogram("Scores", [0, 1, 2], counts), [*counts][1:])
    assert len(charts) == 2
    for each, models in zip(charts, (["m0", "m1", "m2"], ["m3"]), strict=True):
        root = ElementTree.fromstring(str(each))
        written = [text.text for text in root.iter("text")]
        assert [name for name in ["reference", *models] if name in written] == ["reference", *models]
        assert "none" not in written
    hovers = "".join(each.text or "" for each in ElementTree.fromstring(str(charts[1])).iter("title"))
    assert "m3: 0.75" in hovers
    assert "reference: 0.5" in hovers
    assert histogram_charts(Histogram("Scores", [0, 1], {"m": [0]}), ["m"]) == []
