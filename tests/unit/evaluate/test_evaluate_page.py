"""The page of an evaluation: what stands in which section, and what numbers say when they have no interval."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from animetune.evaluate import page
from animetune.evaluate.measures import Contrast, Difference, Estimate, Group, Measure
from animetune.evaluate.probes.shape import Matrix, Score
from animetune.evaluate.results import Evaluation, Found
from animetune.intervals import Interval

STEPS = {"step-1": 1, "step-2": 2}


def scored(name: str, *, in_summary: bool = True, matrices: int = 0, groups: int = 1) -> Found:
    """A probe with one measure of both steps, called after it."""
    estimates = {model: Estimate(0.1 * step, 9, Interval(0.0, 0.5)) for model, step in STEPS.items()}
    titles = ["all", *map(str, range(1, groups))]
    measure = Measure("measure", f"measure of {name}", "mean", None, [Group(each, estimates, {}) for each in titles])
    tables = [
        Matrix(f"matrix {place}", ["red", "blue"], ["red", "blue"], {model: [[3, 1], [0, 2]] for model in STEPS})
        for place in range(matrices)
    ]
    return Found(name, name, "", [], 0, Score([measure], tables, in_summary=in_summary))


def sections(path: Path, *found: Found) -> dict[str, str]:
    """Id -> HTML of the page's sections."""
    evaluation = Evaluation(
        "Page", dict.fromkeys(STEPS, "here"), "step-1", dict.fromkeys(STEPS, 9), found, {}, {}, STEPS
    )
    page.write(path, evaluation, {}, {})
    parts = path.read_text(encoding="utf-8").split('<section id="')[1:]
    return {part.partition('"')[0]: part for part in parts}


def test_what_is_no_headline_is_shown_over_time_in_its_own_section(tmp_path: Path) -> None:
    shown = sections(tmp_path / "report.html", scored("leak"), scored("aesthetic", in_summary=False))
    assert "measure of leak" in shown["time"]
    assert "measure of leak" in shown["summary"]
    assert "aesthetic" not in shown["time"] + shown["summary"]
    assert "Over training time" in shown["aesthetic"]
    assert "all, step 2: 0.200" in shown["aesthetic"]
    assert "Over training time" not in shown["leak"]


def test_what_only_words_change_is_summed_up_by_its_contrasts(tmp_path: Path) -> None:
    found = scored("quality")
    changed = Difference(0.25, 9, Interval(0.1, 0.4))
    contrast = Contrast("best, minus worst", dict.fromkeys(STEPS, changed))
    measure = dataclasses.replace(found.score.measures[0], contrasts=[contrast])
    score = dataclasses.replace(found.score, measures=[measure], only_contrasts=True)
    shown = sections(tmp_path / "report.html", dataclasses.replace(found, score=score))
    assert "+0.250" in shown["summary"]
    assert "0.200" not in shown["summary"]
    assert "measure of quality" not in shown["time"]
    assert "0.200" in shown["quality"]


def test_many_matrices_are_folded_and_a_single_one_is_not(tmp_path: Path) -> None:
    shown = sections(tmp_path / "report.html", scored("fidelity", matrices=3), scored("characters", matrices=1))
    for place in range(3):
        assert f"<details><summary>matrix {place}</summary>" in shown["fidelity"]
    assert "<details open><summary>matrix 0</summary>" in shown["characters"]


def test_long_tables_are_folded_below_their_chart(tmp_path: Path) -> None:
    shown = sections(tmp_path / "report.html", scored("fidelity", groups=13), scored("rating", groups=12))
    folded = shown["fidelity"].partition("<details><summary>The numbers of all 13 groups")[2]
    assert folded.partition("</details>")[0].count("n 9") == 2 * 13
    assert "The numbers of all" not in shown["rating"]


def test_numbers_are_written_with_as_many_digits_as_they_need() -> None:
    assert page.number(0.5, "share") == "50.0 %"
    assert page.number(999.5, "mean") == "999.500"
    assert page.number(12345.67, "mean") == "12,345.7"
    assert page.difference_text(Difference(0.1, 1, None), "mean") == ("+0.100", "1 pair")


@pytest.mark.parametrize(
    ("estimate", "beside"),
    [
        (Estimate(0.5, 8, Interval(0.25, 0.75), 4), "25.0 % to 75.0 %; 4 of 8"),
        (Estimate(0.5, 8, None), "n 8; too few for an interval"),
    ],
)
def test_every_number_has_its_n_and_its_interval_or_why_not(estimate: Estimate, beside: str) -> None:
    assert page.estimate_text(estimate, "share") == ("50.0 %", beside)
