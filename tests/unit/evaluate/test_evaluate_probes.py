"""Scores of the probes, worked out by hand from a few answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from animetune.evaluate.cases import filled
from animetune.evaluate.probes import black_white, leak, lengths, prefix, quality, rating
from animetune.evaluate.probes.shape import Looked
from animetune.evaluate.scorers import luminance
from tests.evaluated import cases_of, config, tagged

BOTH = {"plain": ["p1", "p2"], "prefix": ["p1", "p2"]}


def test_leak_counts_people(tmp_path: Path) -> None:
    """Four pictures an arm (two prompts, two seeds). Base has a person in 3 plain ones, tuned in 1; with the prefix
    base has 1, tuned none, and one picture of tuned is missing."""
    cfg = config(tmp_path)
    cases = cases_of(cfg, BOTH, kind="animal")
    girl, nobody = tagged(**{"1girl": 0.9}), tagged(no_humans=0.9)
    base = dict(
        zip([case.key for case in cases], [girl, girl, girl, nobody, girl, nobody, nobody, nobody], strict=True)
    )
    tuned = dict(zip([case.key for case in cases], [girl, nobody, nobody, nobody, *[nobody] * 4], strict=True))
    del tuned[cases[-1].key]
    found = leak.score(cfg.probes[0], Looked(cases, {"base": base, "tuned": tuned}, "base"))
    plain, with_prefix, *_ = found.measures[0].groups
    assert [(plain.estimates[m].count, plain.estimates[m].n) for m in ("base", "tuned")] == [(3, 4), (1, 4)]
    assert (with_prefix.estimates["tuned"].count, with_prefix.estimates["tuned"].n) == (0, 3)
    change = plain.changes["tuned"]
    assert (change.value, change.pairs, change.only_first, change.only_second) == (-0.5, 4, 2, 0)
    assert change.p == pytest.approx(0.5)
    assert set(plain.changes) == {"tuned"}
    assert with_prefix.changes["tuned"].pairs == 3
    (effect,) = found.measures[0].contrasts
    assert (effect.differences["base"].value, effect.differences["base"].pairs) == (-0.5, 4)
    assert effect.differences["tuned"].pairs == 3
    assert [shown.note for shown in found.worst["tuned"]] == ["1girl 0.90"]
    assert len(found.worst["base"]) == 4


@pytest.mark.parametrize(
    ("tags", "person"),
    [
        ({"1girl": 0.35}, 1),
        ({"1girl": 0.34}, 0),
        ({"6+boys": 0.9}, 1),
        ({"multiple_others": 0.5}, 1),
        ({"solo": 0.9}, 1),
        ({"solo": 0.9, "no_humans": 0.9}, 0),
        ({"solo": 0.9, "no_humans": 0.2}, 1),
        ({"1girl": 0.5, "no_humans": 0.9}, 1),
        ({"no_humans": 0.9, "cat": 1.0, "girls_und_panzer": 0.9, "1girls_house": 0.9}, 0),
        ({}, 0),
    ],
)
def test_who_is_a_person(tags: dict[str, float], person: int) -> None:
    assert leak.has_person(tagged(**tags), 0.35) == person


def test_nobody_looked() -> None:
    assert leak.has_person({}, 0.35) is None
    assert prefix.is_realistic({}, 0.35) is None
    assert rating.rating_of({}) is None


def test_prefix_counts_what_is_no_drawing(tmp_path: Path) -> None:
    cfg = config(tmp_path, probes=[{"name": "prefix"}])
    cases = cases_of(cfg, BOTH)
    photo, drawing = tagged(realistic=0.8), tagged(**{"1girl": 0.9, "photo_background": 0.9})
    answers = {"base": dict(zip([c.key for c in cases], [photo] * 3 + [drawing] * 5, strict=True))}
    found = prefix.score(cfg.probes[0], Looked(cases, answers, "base")).measures[0]
    assert [group.estimates["base"].value for group in found.groups] == [0.75, 0]
    assert found.contrasts[0].differences["base"].p == pytest.approx(0.25)


def test_lengths_recall_what_all_name(tmp_path: Path) -> None:
    """Two of four tags in the short one, one of four in the long one, for each of two seeds."""
    cfg = config(tmp_path, probes=[{"name": "lengths"}])
    cases = cases_of(cfg, {"short": ["p1"], "long": ["p1"]}, tags=["a", "b", "c", "d"])
    half, quarter = tagged(a=0.4, b=0.9, c=0.1, z=1.0), tagged(d=0.5)
    answers = {"base": {case.key: half if case.arm == "short" else quarter for case in cases}}
    found = lengths.score(cfg.probes[0], Looked(cases, answers, "base"))
    assert [group.estimates["base"].value for group in found.measures[0].groups] == [0.5, 0.25]
    assert found.measures[0].contrasts[0].differences["base"].value == -0.25
    assert found.facts["recall_by_tag"]["base"]["a"] == {"asked": 4, "found": 2}
    assert found.worst["base"][0].note == "missing: a, b, c"


def test_ratings_make_a_matrix(tmp_path: Path) -> None:
    """Asked safe: general, sensitive; asked sensitive: general, sensitive (two prompts, one seed)."""
    cfg = config(tmp_path, probes=[{"name": "rating"}], seeds=[0])
    safe = cases_of(cfg, {"safe": ["p1", "p2"]}, expected="general")
    sensitive = cases_of(cfg, {"sensitive": ["p1", "p2"]}, expected="sensitive")
    cases = [*safe, *sensitive]
    rated = [tagged("general"), tagged("sensitive"), tagged("general"), tagged("sensitive")]
    found = rating.score(
        cfg.probes[0], Looked(cases, {"base": dict(zip([c.key for c in cases], rated, strict=True))}, "base")
    )
    assert found.matrices[0].counts["base"] == [[1, 1, 0, 0], [1, 1, 0, 0]]
    as_asked, beyond = found.measures
    assert [group.estimates["base"].value for group in as_asked.groups] == [0.5, 0.5, 0.5]
    assert [group.estimates["base"].value for group in beyond.groups] == [0.25, 0.5, 0]
    assert found.worst["base"][0].note == "asked safe, is sensitive"


def test_quality_words_have_an_order(tmp_path: Path) -> None:
    """Scores 3, 2, 1 from best to worst for one prompt, 3, 1, 2 for the other: correlations 1 and 0.5."""
    words = ["best", "normal", "worst"]
    cfg = config(tmp_path, probes=[{"name": "quality", "quality": words, "aesthetic": []}], seeds=[0])
    arms = {"no word": ["p1", "p2"], **{f"quality: {word}": ["p1", "p2"] for word in words}}
    cases = cases_of(cfg, arms, prompt="p")
    scores = [2, 2, 3, 3, 2, 1, 1, 2]
    answers = {
        "base": {case.key: {"aesthetic": {"score": float(s)}} for case, s in zip(cases, scores, strict=True)},
        "tuned": {case.key: {} for case in cases},
    }
    found = quality.score(cfg.probes[0], Looked(cases, answers, "base"))
    assert not found.is_headline, "a mean score by itself compares no models at the top of the page"
    order = found.facts["order"]["quality"]
    assert order["base"]["each"] == pytest.approx(0.75)
    assert order["base"]["n"] == 2
    assert order["base"]["of_means"] == pytest.approx(np.sqrt(3) / 2)  # means 3, 1.5, 1.5
    assert order["tuned"] is None
    groups = {group.title: group for group in found.measures[0].groups}
    assert groups["best"].estimates["base"].value == 3
    assert "tuned" not in groups["best"].estimates
    assert found.measures[0].contrasts[0].differences["base"].value == 1.5
    assert found.grids[0].columns == ["best", "normal", "worst", "no word"]
    assert len(found.grids[0].keys) == 2


def test_black_and_white_by_hand(tmp_path: Path) -> None:
    cfg = config(tmp_path, probes=[{"name": "black_white"}], seeds=[0])
    cases = cases_of(cfg, {"dark": ["d1", "d2"], "bright": ["b1", "b2"]})
    levels = [0, 51, 255, 204]
    answers = {
        "base": {
            case.key: {"luminance": luminance(np.full((4, 4, 3), level, np.uint8))}
            for case, level in zip(cases, levels, strict=True)
        }
    }
    found = black_white.score(cfg.probes[0], Looked(cases, answers, "base"))
    dark, bright = found.measures[0].groups
    assert dark.estimates["base"].value == pytest.approx(0.1)
    assert bright.estimates["base"].value == pytest.approx(0.9)
    assert found.facts["extremes"]["base"] == pytest.approx({"darkest": 0, "brightest": 1, "reach": 0.8})
    flat = found.measures[2].groups
    assert [group.estimates["base"].value for group in flat] == [0.5, 0.5]


def test_luminance_by_hand() -> None:
    """Half pure green (0.7152), half black; 16 of 255 is still black, 17 is not."""
    pixels = np.zeros((10, 10, 3), np.uint8)
    pixels[:5, :, 1] = 255
    assert luminance(pixels) == {"mean": 0.3576, "low": 0, "high": 0.7152, "black": 0.5, "white": 0}
    assert luminance(np.full((2, 2, 3), 16, np.uint8))["black"] == 1
    assert luminance(np.full((2, 2, 3), 17, np.uint8))["black"] == 0
    assert luminance(np.full((2, 2, 3), 239, np.uint8))["white"] == 1
    assert luminance(np.full((2, 2, 3), 238, np.uint8))["white"] == 0


def test_templates_leave_braces_of_prompts_alone() -> None:
    template = "{prefix}{prompt}. {words}"
    assert filled(template, prefix="anime, ", prompt="a {words} b", words="best") == "anime, a {words} b. best"
    assert filled(template, prefix="anime, ", prompt="a cat", words="") == "anime, a cat"
    assert filled("{words}, {prompt}", prefix="", prompt="a cat", words="") == "a cat"
