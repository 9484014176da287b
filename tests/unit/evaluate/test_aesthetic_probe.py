"""The probe of aesthetic scores, worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from animetune.errors import SetupError
from animetune.evaluate.probes import aesthetic, prefix
from animetune.evaluate.probes.shape import Looked, Reference
from tests.evaluated import cases_of, config

GRADES = ("worst", "normal", "masterpiece")


def said(score: float, grade: str | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = {"score": score}
    if grade is not None:
        answer["grades"] = {each: 0.8 if each == grade else 0.1 for each in GRADES}
    return {"aesthetic": answer}


def looked(tmp_path: Path, base: list[Any], tuned: list[Any], real: list[Any]) -> tuple[Any, Looked]:
    cfg = config(tmp_path, probes=[{"name": "aesthetic", "bins": 4}], seeds=[0])
    cases = [
        *cases_of(cfg, {"plain": ["p1", "p2"]}, kind="person"),
        *cases_of(cfg, {"plain": ["p3", "p4"]}, kind="scenery"),
    ]
    answers = {
        model: {case.key: answer for case, answer in zip(cases, each, strict=True) if answer is not None}
        for model, each in (("base", base), ("tuned", tuned))
    }
    references = [Reference(f"r{n}", Path("r.png")) for n in range(len(real))]
    return cfg, Looked(cases, answers, "base", references, {f"r{n}": answer for n, answer in enumerate(real)})


def test_a_score_by_hand(tmp_path: Path) -> None:
    """Base 0, 1, 2, 3 and tuned 2, 3, 4, 5 against real pictures of 1, 2, 3, 4: each lies 1 away, on either side."""
    grades = ["worst", "worst", "normal", "masterpiece"]
    base = [said(score, grade) for score, grade in enumerate(grades)]
    tuned = [said(score + 2, "masterpiece") for score in range(4)]
    cfg, seen = looked(tmp_path, base, tuned, [said(score + 1, "normal") for score in range(4)])
    found = aesthetic.score(cfg.probes[0], seen)
    distance, shift, mean, grade = found.measures
    (group,) = distance.groups
    assert (group.estimates["base"].value, group.estimates["tuned"].value) == (1, 1)
    assert (group.changes["tuned"].value, group.changes["tuned"].pairs) == (0, 4)
    assert distance.better == "lower"
    assert (shift.groups[0].estimates["base"].value, shift.groups[0].estimates["tuned"].value) == (-1, 1)
    assert shift.groups[0].changes["tuned"].value == 2
    assert shift.groups[0].changes["tuned"].interval == pytest.approx((2, 2))  # tuned is base and 2 in every resample
    assert (mean.better, shift.better, grade.better) == (None, None, None)
    assert [each.title for each in mean.groups] == ["all", "person", "scenery"]
    assert mean.groups[2].estimates["base"].value == 2.5
    assert {each.title: each.estimates["base"].count for each in grade.groups} == {
        "worst": 2,
        "normal": 1,
        "masterpiece": 1,
    }
    (histogram,) = found.histograms
    assert (histogram.edges[0], histogram.edges[-1], len(histogram.edges)) == (0, 5, 5)
    assert histogram.counts == {"base": [2, 1, 1, 0], "tuned": [0, 1, 1, 2], "reference": [1, 1, 1, 1]}
    assert found.tables[0].rows["reference"][:2] == ["4", "2.500"]
    assert found.facts["reference_grades"] == {"normal": 4}
    assert found.worst["tuned"][0].note == "score 2.000"
    assert not found.in_summary


def test_it_never_stands_in_the_summary(tmp_path: Path) -> None:
    """Nor does it where there is nothing to compare with, which a note says."""
    cfg, seen = looked(tmp_path, [said(1)] * 4, [said(1)] * 4, [])
    found = aesthetic.score(cfg.probes[0], seen)
    assert [measure.name for measure in found.measures] == ["score"]
    assert not found.in_summary
    assert "No real pictures" in found.notes[0]
    nothing = aesthetic.score(cfg.probes[0], looked(tmp_path, [None] * 4, [{}] * 4, [])[1])
    assert (nothing.measures, nothing.in_summary) == ((), False)


def test_a_change_needs_the_same_pictures(tmp_path: Path) -> None:
    """A model without some of the pictures has a distance, and no change of it."""
    cfg, seen = looked(tmp_path, [said(1)] * 4, [said(1), said(2), None, None], [said(1), said(2)])
    distance = aesthetic.score(cfg.probes[0], seen).measures[0].groups[0]
    assert set(distance.estimates) == {"base", "tuned"}
    assert distance.changes == {}
    assert aesthetic.score(cfg.probes[0], seen).measures[2].groups[0].changes["tuned"].pairs == 2


def test_what_it_asks(tmp_path: Path) -> None:
    """The prompts of the probe `prefix`, so that their pictures are drawn once; with words, behind them."""
    cfg = config(tmp_path, probes=[{"name": "aesthetic"}, {"name": "prefix"}], seeds=[0])
    plain = aesthetic.cases(cfg.probes[0], cfg)
    assert {case.request for case in plain} <= {case.request for case in prefix.cases(cfg.probes[1], cfg)}
    worded = cfg.probes[0].model_copy(update={"words": "best quality"})
    assert aesthetic.cases(worded, cfg)[0].request.prompt == f"{plain[0].request.prompt}. best quality"


def test_real_pictures_are_taken_evenly(tmp_path: Path) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    for n in range(10):
        Image.new("RGB", (8, 8)).save(folder / f"{n}.png")
    settings = {"name": "aesthetic", "reference": str(folder), "reference_limit": 5}
    cfg = config(tmp_path, probes=[settings])
    assert [each.key for each in aesthetic.references(cfg.probes[0], cfg)] == [f"{n}.png" for n in range(0, 10, 2)]
    absent = config(tmp_path, probes=[{**settings, "reference": str(tmp_path / "absent")}])
    with pytest.raises(SetupError, match="there is no such folder"):
        aesthetic.references(absent.probes[0], absent)
