"""The probe of characters: numbers worked out by hand from vectors of one dimension, and a whole evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animetune.errors import ConfigError, SetupError
from animetune.evaluate import run as evaluation
from animetune.evaluate.probes import characters
from animetune.evaluate.probes.shape import Looked, Reference
from tests.evaluated import config, paint, requests
from tests.onnx_models import save_ccip

REAL = {"miku": [0.0, 0.2], "rin": [1.0, 1.2], "luka": [5.0]}
"""Vectors of the references; a difference is the distance."""
PROMPTS = [("miku sings", "miku"), ("miku runs", "miku"), ("rin sings", "rin")]


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a[:, None, 0] - b[None, :, 0])


def save_references(folder: Path, colours: Mapping[str, list[tuple[int, int, int]]]) -> Path:
    for character, shown in colours.items():
        (folder / character).mkdir(parents=True)
        for place, colour in enumerate(shown):
            Image.new("RGB", (12, 16), colour).save(folder / character / f"{place}.png")
    return folder


def ask(folder: Path, prompts=PROMPTS, **settings):
    lines = [json.dumps({"prompt": prompt, "character": character}) + "\n" for prompt, character in prompts]
    (folder / "asked.jsonl").write_text("".join(lines))
    probe = {"name": "characters", "prompts": str(folder / "asked.jsonl"), "references": str(folder / "references")}
    files = save_ccip(folder / "ccip")
    return config(folder, probes=[probe], ccip={"name": "tiny", **files, "threshold": 0.3}, prefix="", **settings)


def looked_at(cfg, tmp_path: Path, drawn: Mapping[str, list[float]], real: Mapping[str, list[float]] = REAL) -> Looked:
    """`drawn`: model -> the vector of each case, in order; None for a picture that is missing."""
    save_references(tmp_path / "references", {name: [(9, 9, 9 + n) for n in range(1)] for name in real})
    cases = characters.cases(cfg.probes[0], cfg)
    references = [
        Reference(f"{name}/{place}", Path(f"{name}{place}.png"), {"character": name})
        for name, own in real.items()
        for place in range(len(own))
    ]
    return Looked(
        cases,
        {
            model: {
                case.key: {"ccip": np.array([value], np.float32)}
                for case, value in zip(cases, values, strict=True)
                if value is not None
            }
            for model, values in drawn.items()
        },
        "base",
        references,
        {f"{n}/{p}": {"ccip": np.array([v], np.float32)} for n, own in real.items() for p, v in enumerate(own)},
        {"ccip": distance},
    )


def test_shares_that_no_character_differs_in_have_the_interval_of_so_many_characters(tmp_path: Path) -> None:
    """Base draws all as themselves and tuned none: two of two characters, and none of two."""
    cfg = ask(tmp_path, seeds=[0])
    found = characters.score(cfg.probes[0], looked_at(cfg, tmp_path, {"base": [0.1, 0.1, 1.1], "tuned": [9.0] * 3}))
    (same,) = (measure for measure in found.measures if measure.name == "same")
    every = same.groups[0].estimates
    assert (every["base"].value, every["tuned"].value) == (1, 0)
    assert every["base"].interval == pytest.approx((0.342380, 1), abs=1e-6)  # 2 / (2 + 1.959964²)
    assert every["tuned"].interval == pytest.approx((0, 0.657620), abs=1e-6)


def test_numbers_by_hand(tmp_path: Path) -> None:
    """Base draws miku at 0.1 (0.1 from its own: 0.1 and 0.1) and at 1.1 (1.0: 1.1 and 0.9), and rin at 1.1 (0.1)."""
    cfg = ask(tmp_path, seeds=[0])
    looked = looked_at(cfg, tmp_path, {"base": [0.1, 1.1, 1.1], "tuned": [0.1, 0.1, None]})
    found = characters.score(cfg.probes[0], looked)
    measures = {measure.name: {group.title: group for group in measure.groups} for measure in found.measures}
    assert list(measures) == ["difference", "same", "recognised", "nearer"]

    difference = measures["difference"]
    assert list(difference) == ["all characters", "miku", "rin"]
    assert difference["miku"].estimates["base"].value == pytest.approx((0.1 + 1.0) / 2)
    assert difference["rin"].estimates["base"].value == pytest.approx(0.1)
    every = difference["all characters"].estimates["base"]
    assert (every.value, every.n) == (pytest.approx((0.55 + 0.1) / 2), 3)
    assert every.interval.low == pytest.approx(0.1)
    assert every.interval.high == pytest.approx(0.55)
    assert difference["all characters"].estimates["tuned"].value == pytest.approx(0.1)
    change = difference["all characters"].changes["tuned"]
    assert (change.value, change.pairs) == (pytest.approx(0.1 - 0.55), 2)
    assert difference["miku"].changes["tuned"].value == pytest.approx(-0.45)
    assert "tuned" not in difference["rin"].changes

    assert measures["same"]["miku"].estimates["base"].count == 1
    assert measures["same"]["all characters"].estimates["base"].value == pytest.approx((0.5 + 1) / 2)
    assert measures["same"]["all characters"].estimates["base"].count is None
    assert measures["recognised"]["miku"].estimates["base"].count == 1
    assert measures["recognised"]["rin"].estimates["base"].count == 1
    # Of three others' references 1.0 and 1.2 are nearer to 1.1 than 1.0; of 0.1 and rin's 1.1 none is.
    assert measures["nearer"]["miku"].estimates["base"].value == pytest.approx((0 + 2 / 3) / 2)
    assert measures["nearer"]["rin"].estimates["base"].value == 0

    (matrix,) = found.matrices
    assert (list(matrix.rows), list(matrix.columns)) == (["miku", "rin"], ["miku", "rin", "luka"])
    assert matrix.counts["base"] == [[1, 1, 0], [0, 1, 0]]
    assert matrix.counts["tuned"] == [[2, 0, 0], [0, 0, 0]]
    assert found.facts["confusions"]["base"] == [{"asked": "miku", "nearest": "rin", "count": 1}]
    worst = found.worst["base"][0]
    assert worst.note == "1.000 from miku, 0.100 from rin"
    assert worst.beside == "miku/1"


def test_the_floor_by_hand(tmp_path: Path) -> None:
    """miku's 0.0 and 0.2 are 0.2 apart, and so are rin's; luka's one has no other."""
    cfg = ask(tmp_path, seeds=[0])
    found = characters.score(cfg.probes[0], looked_at(cfg, tmp_path, {"base": [0.1, 0.1, 1.1]}))
    (table,) = found.tables
    assert table.rows == {
        "all characters": ["4", "0.200", "100 %", "100 %"],
        "miku": ["2", "0.200", "100 %", "100 %"],
        "rin": ["2", "0.200", "100 %", "100 %"],
    }
    assert found.facts["references"]["luka"] == {"pictures": 1}
    assert found.facts["references"]["rin"]["difference"] == pytest.approx(0.2)
    (histogram,) = found.histograms
    assert {name: sum(counts) for name, counts in histogram.counts.items()} == {"base": 3, "reference": 4}
    assert histogram.edges[0] == 0
    assert histogram.edges[-1] >= 0.3
    assert found.notes == [
        "Fewer than 5 references: miku, rin. Their numbers rest on few pictures.",
        "Compared with, but not asked for: luka.",
    ]


def test_one_character_alone(tmp_path: Path) -> None:
    cfg = ask(tmp_path, PROMPTS[:2], seeds=[0])
    found = characters.score(cfg.probes[0], looked_at(cfg, tmp_path, {"base": [0.1, 0.4]}, {"miku": [0.0, 0.2]}))
    assert [measure.name for measure in found.measures] == ["difference", "same"]
    assert found.matrices == []
    assert found.tables[0].columns == ["references", "mean difference", "the same"]
    assert any("others would be as near" in note for note in found.notes)


def test_order_changes_nothing(tmp_path: Path) -> None:
    cfg = ask(tmp_path)
    drawn = np.random.default_rng(0).uniform(0, 2, size=6).tolist()
    looked = looked_at(cfg, tmp_path, {"base": drawn})
    turned = Looked(
        looked.cases[::-1],
        {"base": dict(reversed(looked.answers["base"].items()))},
        "base",
        looked.references,
        looked.reference_answers,
        looked.metrics,
    )
    by_name = []
    for each in (looked, turned):
        measures = characters.score(cfg.probes[0], each).measures
        by_name.append({(m.name, g.title): g.estimates["base"].value for m in measures for g in m.groups})
    assert by_name[0] == pytest.approx(by_name[1])


def test_without_ccip_there_are_pictures(tmp_path: Path) -> None:
    cfg = ask(tmp_path)
    looked = looked_at(cfg, tmp_path, {"base": [0.1] * 6})
    found = characters.score(cfg.probes[0], Looked(looked.cases, {"base": {c.key: {} for c in looked.cases}}, "base"))
    assert found.measures == ()
    assert found.grids[0].rows == ["miku", "rin"]
    assert [len(row) for row in found.grids[0].keys] == [2, 2]


def test_mistakes_in_what_is_given(tmp_path: Path) -> None:
    cfg = ask(tmp_path, [*PROMPTS, ("len sings", "len")])
    with pytest.raises(SetupError, match=r"references: .*references: there is no such folder"):
        characters.cases(cfg.probes[0], cfg)
    save_references(tmp_path / "references", {"miku": [(0, 0, 9)], "rin": [(9, 9, 0), (0, 0, 9)], "luka": []})
    with pytest.raises(ConfigError, match=r"asked.jsonl: no pictures of len in .*; add a folder of that name"):
        characters.cases(cfg.probes[0], cfg)
    with pytest.raises(ConfigError) as raised:
        characters.references(cfg.probes[0], cfg)
    twice, empty = sorted(raised.value.problems, key=lambda text: "has no pictures" in text)
    assert "1.png: is " in twice
    assert "miku/0.png once more; remove one of them" in twice
    assert "luka: has no pictures" in empty
    (tmp_path / "asked.jsonl").write_text('{"prompt": "a"}\n')
    with pytest.raises(ConfigError, match=r"asked.jsonl:1: character: is missing"):
        characters.cases(cfg.probes[0], cfg)
    with pytest.raises(ConfigError, match="name a file of JSON lines"):
        config(tmp_path, probes=[{"name": "characters", "references": "x"}])


def test_an_evaluation(tmp_path: Path) -> None:
    """CCIP of two networks of our own: a feature is the mean colour. Tuned paints miku teal as her references are, base
    paints all rin's yellow."""
    teal, yellow = (0, 180, 180), (240, 220, 0)
    save_references(tmp_path / "references", {
        "miku": [(0, 170 + 5 * n, 180) for n in range(4)], "rin": [(240, 210 + 5 * n, 0) for n in range(4)]
    })  # fmt: skip
    asked = requests([prompt for prompt, _ in PROMPTS])
    paint(tmp_path / "base", asked, lambda request: yellow)
    paint(tmp_path / "tuned", asked, lambda request: teal if "miku" in request["prompt"] else yellow)
    cfg = ask(tmp_path)
    evaluation.run(cfg)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    groups = {name: each["groups"] for name, each in results["probes"]["characters"]["measures"].items()}
    assert groups["recognised"]["all characters"]["models"]["base"]["value"] == 0.5
    assert groups["recognised"]["all characters"]["models"]["tuned"]["value"] == 1
    assert groups["same"]["miku"]["models"]["base"]["count"] == 0
    assert groups["same"]["miku"]["models"]["tuned"]["count"] == 4
    assert groups["difference"]["rin"]["changes"]["tuned"]["value"] == pytest.approx(0, abs=0.02)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Asked (rows) and nearest (columns)" in page
    assert (tmp_path / "out" / "features" / "ccip-tuned.safetensors").is_file()
    before = (tmp_path / "out" / "results.json").read_bytes()
    again = ask(tmp_path, out=str(tmp_path / "again"))
    evaluation.run(again)
    assert (tmp_path / "again" / "results.json").read_bytes() == before
