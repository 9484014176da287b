"""The probe: what it asks, what its numbers are, and all of it with a vision model behind a real server."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from animetune.config import load_config
from animetune.errors import ConfigError, DataError, SetupError
from animetune.evaluate.cases import Case
from animetune.evaluate.config import AdherenceConfig, EvaluateConfig
from animetune.evaluate.probes import adherence
from animetune.evaluate.probes.shape import Looked
from animetune.evaluate.quarters import QUARTERS, region_of
from animetune.evaluate.run import run
from animetune.fsio import read_lines
from animetune.manifest import read_manifest, verify_files
from animetune.picture_urls import Region
from tests.caption_server import by_colour, caption_server, questions_of
from tests.captioned import FAST
from tests.evaluated import config

QUESTIONS = """\
item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,question_natural_language
p0,a door,,1,0,entity,whole,entity - whole (door),Is there a door?
p1,a girl with a red hat,,1,0,gender,girl,gender - girl (girl),Is there a girl?
p1,a girl with a red hat,,2,1,clothes,hat,clothes - hat (hat),Is she wearing a hat?
p1,a girl with a red hat,,3,2,clothes,colour,"clothes - colour (hat, red)",Is the hat red?
p1,a girl with a red hat,,4,0,background,place,background - place (street),Is there a street?
p2,a boy in the rain,,1,0,gender,boy,gender - boy (boy),Is there a boy?
p2,a boy in the rain,,2,0,background,weather,background - weather (rain),Is it raining?
"""
CAST = """\
item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,question_natural_language
a1,Ann reads,,1,0,gender,girl,gender - girl (girl),Is there a girl?
a1,Ann reads,,2,1,character_consistency,hair,"character_consistency - hair (ann, red)",Is her hair red?
a1,Ann reads,,3,1,character_consistency,eyes,"character_consistency - eyes (ann, blue)",Are her eyes blue?
a2,Ann runs,,1,0,gender,girl,gender - girl (girl),Is there a girl?
a2,Ann runs,,2,1,character_consistency,hair,"character_consistency - hair (ann, red)",Is her hair red?
a2,Ann runs,,3,1,character_consistency,eyes,"character_consistency - eyes (ann, blue)",Are her eyes blue?
b1,Bob eats,,1,0,character_consistency,hair,"character_consistency - hair (bob, bald)",Is he bald?
"""


def probe_of(folder: Path, text: str = QUESTIONS, **settings: Any) -> tuple[AdherenceConfig, EvaluateConfig]:
    (folder / "q.csv").write_text(text, encoding="utf-8")
    asked = {"name": "adherence", "set": "dpg", "questions": str(folder / "q.csv"), **settings}
    cfg = config(folder, probes=[asked])
    (probe,) = cfg.probes
    assert isinstance(probe, AdherenceConfig)
    return probe, cfg


def said(case: Case, letters: str, part: str = "") -> dict[str, Any]:
    """Answers in the order of the file's questions: y, n, or ? for neither."""
    words = {"y": "yes", "n": "no", "?": None}
    ids = sorted(question["id"] for question in case.facts["graph"] or case.facts["published"])
    assert len(ids) == len(letters)
    return {
        f"{part}:{number}" if part else str(number): {"answer": words[letter], "said": letter}
        for number, letter in zip(ids, letters, strict=True)
    }


def looked(cases: list[Case], **models: Mapping[str, str]) -> Looked:
    """Model -> `<item>/<seed>` -> letters."""
    answers = {
        model: {
            case.key: {"questions": said(case, letters[name])}
            for case in cases
            if (name := f"{case.facts['item']}/{case.request.seed}") in letters
        }
        for model, letters in models.items()
    }
    return Looked(cases, answers, next(iter(models)))


BASE = {"p0/0": "y", "p0/1": "n", "p1/0": "yyny", "p1/1": "nyyy", "p2/0": "y?", "p2/1": "??"}
TUNED = {"p0/0": "y", "p0/1": "y", "p1/0": "yyyy", "p1/1": "yynn", "p2/0": "yn", "p2/1": "ny"}


def test_numbers_by_hand(tmp_path: Path) -> None:
    probe, cfg = probe_of(tmp_path)
    cases = adherence.cases(probe, cfg)
    assert [case.request.prompt for case in cases[::2]] == [
        "anime illustration, a door",
        "anime illustration, a girl with a red hat",
        "anime illustration, a boy in the rain",
    ]
    found = adherence.score(probe, looked(cases, base=BASE, tuned=TUNED))
    groups = {group.title: group for group in found.measures[0].groups}
    assert list(groups) == ["all questions", "Gender", "Clothes", "Background", "entity"]
    # base: door 1, 0; girl 3/4, 1/4 (no girl, so no hat and no red one); boy 1 (rain unknown), none
    assert groups["all questions"].estimates["base"].value == pytest.approx((1 + 0 + 3 / 4 + 1 / 4 + 1) / 5)
    assert groups["all questions"].estimates["base"].n == 5
    assert groups["all questions"].estimates["tuned"].value == pytest.approx((1 + 1 + 1 + 2 / 4 + 1 / 2 + 1 / 2) / 6)
    assert groups["Clothes"].estimates["base"].value == pytest.approx((1 / 2 + 0) / 2)
    assert groups["Clothes"].changes["tuned"].value == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert groups["all questions"].changes["tuned"].pairs == 5
    assert groups["all questions"].estimates["base"].interval is not None
    totals = found.facts["totals"]["base"]
    assert totals["score"] == pytest.approx(((1 + 0) / 2 + (3 / 4 + 1 / 4) / 2 + 1) / 3), "prompts are equals"
    assert {name: totals[name] for name in ("prompts", "pictures", "questions", "unanswered", "zeroed")} == {
        "prompts": 3,
        "pictures": 5,
        "questions": 14,
        "unanswered": 3,
        "zeroed": 2,
    }
    assert found.facts["by_kind"]["base"]["clothes/colour"] == {"asked": 2, "yes": 1, "met": 0}
    assert found.notes == [
        "base: 3 of 14 questions have neither yes nor no for an answer, and are in no number.",
        "base: 1 picture was without any answer, and without a score.",
    ]
    notes = {shown.key: shown.note for shown in found.worst["base"]}
    assert notes[cases[1].key] == "no: Is there a door?"
    assert notes[cases[3].key] == "no: Is there a girl?; 2 that depend on these"
    assert found.worst["base"][0].key == cases[1].key
    strict = adherence.score(probe.model_copy(update={"unanswered": "no"}), looked(cases, base=BASE))
    assert strict.measures[0].groups[0].estimates["base"].value == pytest.approx((1 + 3 / 4 + 1 / 4 + 1 / 2) / 6)
    assert "count as no" in strict.notes[0]


def test_a_line_for_every_question(tmp_path: Path) -> None:
    probe, cfg = probe_of(tmp_path)
    cases = adherence.cases(probe, cfg)
    lines = adherence.score(probe, looked(cases, base=BASE)).lines["adherence"]
    assert len(lines) == 14
    (red,) = [line for line in lines if line["item"] == "p1" and line["id"] == 3 and line["seed"] == 1]
    assert red == {
        "model": "base",
        "item": "p1",
        "seed": 1,
        "size": "64x64",
        "id": 3,
        "parents": [2],
        "category": "clothes",
        "subcategory": "colour",
        "question": "Is the hat red?",
        "answer": "yes",
        "score": 0.0,
        "zeroed": True,
    }
    (rain,) = [line for line in lines if line["question"] == "Is it raining?" and line["seed"] == 0]
    assert (rain["answer"], rain["score"], rain["zeroed"]) == (None, None, False)


def test_without_answers_nothing_is_said(tmp_path: Path) -> None:
    probe, cfg = probe_of(tmp_path)
    cases = adherence.cases(probe, cfg)
    found = adherence.score(probe, Looked(cases, {"base": {case.key: {} for case in cases}, "tuned": {}}, "base"))
    assert all(not group.estimates for measure in found.measures for group in measure.groups)
    silent = adherence.score(probe, looked(cases, base={name: "?" * len(BASE[name]) for name in BASE}))
    assert not silent.measures[0].groups[0].estimates
    assert silent.facts["totals"]["base"]["score"] is None
    assert silent.notes[-1] == "base: 6 pictures were without any answer, and without a score."


def test_the_same_character_in_all_its_prompts(tmp_path: Path) -> None:
    probe, cfg = probe_of(tmp_path, CAST)
    cases = adherence.cases(probe, cfg)
    answers = {"a1/0": "yyy", "a1/1": "yyn", "a2/0": "yny", "a2/1": "nyy", "b1/0": "y", "b1/1": "y"}
    found = adherence.score(probe, looked(cases, base=answers))
    ann = found.facts["characters"]["base"]["ann"]
    assert list(found.facts["characters"]["base"]) == ["ann"], "one prompt says nothing of consistency"
    # hair: y y n - (no girl, so not hers): 2 of 4; eyes: y n y -: 2 of 4; of 6 pairs 2 agree, in each
    assert (ann["pictures"], ann["shown"], ann["complete"]) == (4, 0.5, 0.25)
    assert ann["agreement"] == pytest.approx(1 / 3)
    assert ann["traits"]["Is her hair red?"] == {"shown": 2, "known": 4}
    complete, traits = found.measures[1:]
    assert (complete.groups[0].estimates["base"].count, complete.groups[0].estimates["base"].n) == (1, 4)
    assert traits.groups[0].title == "ann"
    assert traits.groups[0].estimates["base"].value == 0.5
    (table,) = found.tables
    assert table.rows["base"][:4] == ["1", "50.0 %", "25.0 %", "33.3 %"]


def test_the_published_totals_beside_ours(tmp_path: Path) -> None:
    """The first row is dropped there, and with it all of p0; seeds stand for crops."""
    probe, cfg = probe_of(tmp_path, compat=True)
    cases = adherence.cases(probe, cfg)
    assert cases[0].facts["published"] is None
    found = adherence.score(probe, looked(cases, base=BASE)).facts["published"]["base"]
    # p1: 3/4, 1/4; p2: 1/2, 0; categories by the last crop, before zeroing
    assert found["score"] == 100 * ((3 / 4 + 1 / 4) / 2 + (1 / 2 + 0) / 2) / 2 == 37.5
    assert found["categories"] == {"gender": 0.0, "clothes": 100.0, "background": 50.0}
    assert found["printed"][-1] == "DPG-Bench score: 37.5"
    assert "\tclothes - hat: 100.0" in found["printed"]
    assert (found["scored"], found["failed"]) == (2, [])


def test_the_published_rules_take_what_ours_leave_out(tmp_path: Path) -> None:
    text = QUESTIONS.replace("p1,a girl with a red hat,,1,0", "p1,a girl with a red hat,,1,3")
    probe, cfg = probe_of(tmp_path, text, compat=True)
    with pytest.raises(ConfigError, match=r"q.csv:3: p1: questions depend on each other in a circle: 1 on 3 on 2 on 1"):
        adherence.cases(probe, cfg)
    lenient = probe.model_copy(update={"mistakes": "leave_out"})
    cases = adherence.cases(lenient, cfg)
    found = adherence.score(lenient, looked(cases, base=TUNED))
    assert found.facts["totals"]["base"]["prompts"] == 2
    assert found.facts["published"]["base"]["scored"] == 2
    # p1 with seed 1: the red of the hat is missing, so the girl is, so the hat is: 0
    assert found.facts["published"]["base"]["score"] == 100 * ((1 + 0) / 2 + (1 / 2 + 1 / 2) / 2) / 2
    assert found.notes[0] == "1 prompt was left out for mistakes in their questions."
    alone = adherence.cases(lenient.model_copy(update={"compat": False}), cfg)
    assert {case.facts["item"] for case in alone} == {"p0", "p2"}
    assert math.isclose(found.facts["totals"]["base"]["score"], (1 + 1 / 2) / 2)


def test_limits_prefixes_and_grids(tmp_path: Path) -> None:
    probe, cfg = probe_of(tmp_path)
    few = adherence.cases(probe.model_copy(update={"limit": 2}), cfg)
    assert [case.facts["item"] for case in few] == ["p0", "p0", "p1", "p1"]
    plain = adherence.cases(probe.model_copy(update={"prefixed": False}), cfg)
    assert (plain[0].arm, plain[0].request.prompt) == ("plain", "a door")
    grid = adherence.cases(probe.model_copy(update={"crop": "2x2"}), cfg)
    assert len(grid[0].facts["questions"]) == 4
    assert grid[0].facts["questions"][1] == {"id": "1,0:1", "text": "Is there a door?", "quarter": "1,0"}
    draws = cfg.model_copy(
        update={
            "models": {
                **cfg.models,
                "mine": cfg.models["base"].model_copy(update={"pictures": None, "base": "builtin:tiny"}),
            }
        }
    )
    with pytest.raises(ConfigError, match="crop: 2x2 is for `pictures` that are grids, and mine would draw"):
        adherence.cases(probe.model_copy(update={"crop": "2x2"}), draws)


def test_the_shipped_set_is_the_default(tmp_path: Path) -> None:
    cfg = config(tmp_path, probes=[{"name": "adherence", "limit": 7}])
    cases = adherence.cases(cfg.probes[0], cfg)  # type: ignore[arg-type]
    assert len(cases) == 14
    assert cases[0].request.prompt.startswith("anime illustration, Suzu, a girl with chin-length silver hair")
    assert len({case.item for case in cases}) == 7
    assert set(cases[0].facts["questions"][0]) == {"id", "text"}


def test_controls_ask_for_what_nobody_asked_for(tmp_path: Path) -> None:
    probe, cfg = probe_of(tmp_path, controls=2)
    cases = adherence.cases(probe, cfg)
    by_item = {case.facts["item"]: [each["text"] for each in case.facts["controls"]] for case in cases}
    assert by_item == {"p0": ["Is there a street?"], "p1": ["Is there a door?"], "p2": by_item["p2"]}
    assert sorted(by_item["p2"]) == ["Is there a door?", "Is there a street?"], "neither boys nor girls"
    assert cases[0].facts["questions"][-1] == {"id": "control-1", "text": "Is there a street?"}
    answers = {case.key: {"questions": said(case, BASE[f"{case.facts['item']}/{case.request.seed}"])} for case in cases}
    for case in cases:
        for each in case.facts["controls"]:
            answers[case.key]["questions"][each["id"]] = {"answer": "yes" if case.request.seed else "no", "said": ""}
    found = adherence.score(probe, Looked(cases, {"base": answers}, "base"))
    assert found.facts["controls"] == {"base": {"answered": 8, "yes": 4}}
    assert found.notes[-1].startswith("base: 4 of 8 questions about things of other prompts were answered yes, 50.0 %")
    without = adherence.score(probe, looked(cases, base=BASE))
    assert without.measures == found.measures, "controls are in no score"
    shipped = config(tmp_path, probes=[{"name": "adherence", "controls": 3}])
    asked = adherence.cases(shipped.probes[0], shipped)  # type: ignore[arg-type]
    assert {len(case.facts["controls"]) for case in asked} == {3}
    assert len({each["text"] for case in asked for each in case.facts["controls"]}) > 60


def test_quarters_share_the_pixels_between_them(tmp_path: Path) -> None:
    for width, height in ((8, 6), (9, 7), (2, 2)):
        Image.new("RGB", (width, height)).save(tmp_path / "grid.png")
        regions = [region_of(tmp_path / "grid.png", quarter) for quarter in QUARTERS]
        pixels = [
            (x, y)
            for region in regions
            for x in range(region.left, region.left + region.width)
            for y in range(region.top, region.top + region.height)
        ]
        assert sorted(pixels) == [(x, y) for x in range(width) for y in range(height)]
    turned = Image.new("RGB", (8, 4))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert region_of(tmp_path / "turned.jpg", "1,1") == Region(2, 4, 2, 4)
    Image.new("RGB", (1, 6)).save(tmp_path / "line.png")
    with pytest.raises(DataError, match="cannot be cut into quarters"):
        region_of(tmp_path / "line.png", "0,0")
    (tmp_path / "none.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"none.png: cannot be looked at"):
        region_of(tmp_path / "none.png", "0,0")


COLOURS = {"0,0": (240, 0, 0), "1,0": (0, 240, 0), "0,1": (0, 0, 240), "1,1": (240, 240, 240)}
SEEN = {"15,0,0": "girl", "0,15,0": "girl hat", "0,0,15": "girl hat red street", "15,15,15": ""}
"""What is to be seen in a picture of each colour."""


def test_a_grid_with_a_vision_model(tmp_path: Path) -> None:
    """Four quarters of other colours; the model sees a girl in one, with a hat in another, all in the third."""
    (tmp_path / "q.csv").write_text(QUESTIONS, encoding="utf-8")
    for model in ("base", "tuned"):
        (tmp_path / model).mkdir()
        lines = []
        for number, prompt in enumerate(("a door", "a girl with a red hat", "a boy in the rain")):
            grid = Image.new("RGB", (64, 64))
            for quarter, colour in COLOURS.items():
                column, row = map(int, quarter.split(","))
                grid.paste(
                    colour if model == "base" else COLOURS["0,1"],
                    (32 * column, 32 * row, 32 * column + 32, 32 * row + 32),
                )
            grid.putpixel((0, 0), (number, number, number))
            grid.save(tmp_path / model / f"p{number}.png")
            lines.append({"file": f"p{number}.png", "prompt": prompt, "seed": 0, "width": 64, "height": 64})
        (tmp_path / model / "images.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def answer(about: str, body: dict[str, Any]) -> str:
        things = {"Is there a girl?": "girl", "Is she wearing a hat?": "hat", "Is the hat red?": "red"}
        (question,) = questions_of(body)
        return "Yes." if things.get(question, "street") in SEEN[about].split() else "No."

    with caption_server(answer=answer, about=by_colour) as server:
        cfg = config(
            tmp_path,
            prefix="",
            seeds=[0],
            probes=[
                {"name": "adherence", "set": "dpg", "questions": str(tmp_path / "q.csv"), "crop": "2x2", "compat": True}
            ],
            vision={"base_url": server.base_url, "model": "eyes", "client": FAST, "picture": {"format": "PNG"}},
        )
        manifest = run(cfg)
        assert verify_files(cfg.out, manifest) == []
        asked = len(server.asked)
        again = load_config(tmp_path / "evaluate.json.yaml", EvaluateConfig)
        assert run(again) == manifest
        assert len(server.asked) == asked
    assert asked == 2 * 4 * 7
    lines = read_lines(cfg.out / "adherence.jsonl")
    assert len(lines) == asked
    hat = {
        line["quarter"]: (line["answer"], line["score"])
        for line in lines
        if line["model"] == "base" and line["question"] == "Is she wearing a hat?"
    }
    assert hat == {"0,0": ("no", 0), "1,0": ("yes", 1), "0,1": ("yes", 1), "1,1": ("no", 0)}
    results = json.loads((cfg.out / "results.json").read_text(encoding="utf-8"))["probes"]["adherence"]
    facts = results["facts"]
    # a door, and a boy in the rain: what is none of the three things is there where a street is, in one quarter of four
    assert facts["totals"]["base"]["score"] == pytest.approx((1 / 4 + (1 + 2 + 4 + 0) / 16 + 1 / 4) / 3, abs=1e-6)
    assert facts["totals"]["tuned"]["score"] == 1
    assert facts["published"]["base"]["score"] == pytest.approx(100 * (7 / 16 + 1 / 4) / 2, abs=1e-4)
    assert facts["published"]["base"]["printed"][-1] == f"DPG-Bench score: {100 * (7 / 16 + 1 / 4) / 2}"
    assert "How well prompts are followed" in (cfg.out / "report.html").read_text(encoding="utf-8")


def test_compat_on_the_command_line(tmp_path: Path) -> None:
    """`--compat` is the setting of the probe, wherever it stands among the others."""
    (tmp_path / "q.csv").write_text(QUESTIONS, encoding="utf-8")
    asked = [
        {"name": "black_white", "limit": 1},
        {"name": "adherence", "set": "dpg", "questions": str(tmp_path / "q.csv"), "limit": 1},
    ]
    plain = config(tmp_path, probes=asked, models={"tiny": {"base": "builtin:tiny"}}, sampler={"steps": 1}, seeds=[0])
    file = tmp_path / "evaluate.json.yaml"
    command = [sys.executable, "-m", "animetune", "evaluate", str(file), "--compat"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(SetupError, match="holds another evaluation"):
        run(plain)
    assert run(load_config(file, EvaluateConfig, ["probes.1.compat=true"])) == read_manifest(plain.out)

    done = subprocess.run([*command, "--set", "probes=[{name: leak}]"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "does not ask the probe adherence" in done.stderr
