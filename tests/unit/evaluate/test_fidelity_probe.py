"""The probe of tags: a score worked out by hand, its cases and references, and a whole run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from animetune.errors import ConfigError
from animetune.evaluate.config import EvaluateConfig
from animetune.evaluate.fidelity.tables import ALL, without_ending
from animetune.evaluate.probes import fidelity
from animetune.evaluate.probes.shape import Looked, Reference
from animetune.evaluate.run import run
from tests.evaluated import BLUE, GREEN, RED, config, paint, tagged
from tests.onnx_models import RATINGS, save_colour_model, save_tag_list

TAGS = [*RATINGS, ("1girl", 0), ("blue_hair", 0), ("red_hair", 0), ("green_hair", 0), ("smile", 0), ("miku", 4)]
TAGS += [("1boy", 0), ("long_hair", 0), ("blue_eyes", 0)]


def made(folder: Path, prompts: list[dict[str, Any]], **settings: Any) -> EvaluateConfig:
    """A configuration that asks these prompts, with a list of 9 tags whose counts are 10, 20 ..."""
    (folder / "asked.jsonl").write_text("".join(json.dumps(each) + "\n" for each in prompts), encoding="utf-8")
    save_tag_list(folder / "selected_tags.csv", TAGS)
    lines = (folder / "selected_tags.csv").read_text().splitlines()
    header, *rows = [line.split(",") for line in lines]
    count = header.index("count")
    for place, row in enumerate(rows):
        row[count] = str(10 * (place + 1))
    (folder / "selected_tags.csv").write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    tagger = {
        "name": "colours",
        "model": {"path": str(folder / "model.onnx")},
        "tags": {"path": str(folder / "selected_tags.csv")},
    }
    probe = {"name": "fidelity", "prompts": str(folder / "asked.jsonl"), "replace": True, **settings}
    return config(folder, probes=[probe], seeds=[0], prefix="", tagger=tagger)


PROMPTS = [
    {"tags": ["1girl", "blue_hair", "smile"]},
    {"tags": ["1girl", "red_hair"]},
    {"tags": ["miku", "1girl"]},
]


def looked_at(cfg: EvaluateConfig, answers: dict[str, list[Any]], real: list[tuple[list[str], Any]] = []) -> Looked:  # noqa: B006
    """What the models' answers are, in order of the cases; and real pictures of these tags."""
    cases = fidelity.cases(cfg.probes[0], cfg)
    facts = fidelity._Facts.of([tag for tag, _ in TAGS], fidelity.load_groups(None), {}, characters=[])
    references = [Reference(f"r{n}", Path("r.png"), facts(tags)) for n, (tags, _) in enumerate(real)]
    return Looked(
        cases,
        {
            model: {case.key: answer for case, answer in zip(cases, each, strict=True) if answer is not None}
            for model, each in answers.items()
        },
        "base",
        references,
        {f"r{n}": answer for n, (_, answer) in enumerate(real)},
    )


def test_a_score_by_hand(tmp_path: Path) -> None:
    """Base: all three of the first, 1girl and blue_hair of the second (asked red), miku at 0.74 (too low) and 1girl.
    Recalls 1, 1/2, 1/2. Tuned: nothing of the first, all of the second, the third is missing."""
    cfg = made(tmp_path, PROMPTS)
    base = [
        tagged(**{"1girl": 0.9, "blue_hair": 0.5, "smile": 0.4}),
        tagged(**{"1girl": 0.9, "blue_hair": 0.6}),
        tagged(**{"1girl": 0.9, "miku": 0.74}),
    ]
    tuned = [tagged(), tagged(**{"1girl": 0.9, "red_hair": 0.9, "green_hair": 0.4}), None]
    found = fidelity.score(cfg.probes[0], looked_at(cfg, {"base": base, "tuned": tuned}))
    measures = {measure.name: {group.title: group for group in measure.groups} for measure in found.measures}
    whole = measures["recall"][ALL]
    assert whole.estimates["base"].value == pytest.approx(2 / 3)
    assert (whole.estimates["tuned"].value, whole.estimates["tuned"].n) == (0.5, 2)
    assert (whole.changes["tuned"].value, whole.changes["tuned"].pairs) == (pytest.approx((-1 + 0.5) / 2), 2)
    assert measures["recall"]["Hair colour"].estimates["base"].value == 0.5
    assert measures["recall"]["Characters"].estimates["base"].value == 0
    right = measures["precision"]
    assert right["Hair colour"].estimates["base"].value == 0.5  # of the two that asked for one
    assert (
        right["Hair colour"].estimates["tuned"].value == 0.5
    )  # red asked, red and green there; nothing there: left out
    assert right["Hair colour"].estimates["tuned"].n == 1
    assert right["People"].estimates["base"].value == 1
    hair = next(matrix for matrix in found.matrices if matrix.title.startswith("Hair colour"))
    assert hair.rows == ["blue_hair", "red_hair"]
    assert hair.columns == ["blue", "red", "none"]
    assert hair.counts == {"base": [[1, 0, 0], [1, 0, 0]], "tuned": [[0, 0, 1], [0, 1, 0]]}
    assert found.facts["by_tag"]["base"]["1girl"] == {"asked": 3, "found": 3}
    assert found.facts["macro"][ALL]["base"] == pytest.approx((1 + 1 + 1 + 0 + 0) / 5)
    assert found.worst["base"][0].note == "missing: red_hair (is blue_hair)"
    assert [shown.note for shown in found.worst["tuned"]] == ["missing: 1girl, blue_hair, smile"]
    assert "of_ceiling" not in measures
    assert "no ceiling" in found.notes[0]


def test_a_score_against_the_ceiling_by_hand(tmp_path: Path) -> None:
    """In ten real pictures of girls with blue hair the tagger finds 1girl in all and blue_hair in four: base, which has
    both tags in one of the two pictures that ask for each ... 1girl 3 of 3, blue_hair 1 of 1, is 4 / (3 * 1 + 0.4)."""
    cfg = made(tmp_path, PROMPTS, reference=str(tmp_path))
    both, one = tagged(**{"1girl": 0.9, "blue_hair": 0.9}), tagged(**{"1girl": 0.9, "red_hair": 0.8})
    real = [(["1girl", "blue_hair"], both if n < 4 else one) for n in range(10)]
    base = [both, one, one]
    found = fidelity.score(cfg.probes[0], looked_at(cfg, {"base": base, "tuned": base[:1] + [tagged()] * 2}, real))
    measures = {measure.name: {group.title: group for group in measure.groups} for measure in found.measures}
    whole = measures["of_ceiling"][ALL]
    assert (whole.estimates["base"].value, whole.estimates["base"].n) == (pytest.approx(4 / 3.4), 4)
    assert whole.changes["tuned"].value == pytest.approx((2 - 4) / 3.4)
    assert measures["of_ceiling"]["Hair colour"].estimates["base"].value == pytest.approx(2.5)
    assert "Characters" not in measures["of_ceiling"]
    assert found.facts["ceiling"]["blue_hair"] == {"pictures": 10, "share": 0.4}
    assert found.facts["ceiling"]["miku"] == {"pictures": 0, "share": None}
    hair = next(matrix for matrix in found.matrices if matrix.title.startswith("Hair colour"))
    assert hair.counts["reference"] == [[4, 6, 0], [0, 0, 0]]
    ceiling = next(table for table in found.tables if table.title.startswith("What the tagger finds in 10"))
    assert ceiling.rows["Hair colour"] == ["1 of 2", "40.0 %", "40.0 %", "10"]
    assert any(note.startswith("3 of the 5 tags have fewer than 5 real pictures") for note in found.notes)


def test_recall_by_use(tmp_path: Path) -> None:
    """Eight general tags: a part each; the rarest that is asked first."""
    cfg = made(tmp_path, PROMPTS)
    answers = [tagged(**{"1girl": 0.9})] * 3
    found = fidelity.score(cfg.probes[0], looked_at(cfg, {"base": answers}))
    use = next(measure for measure in found.measures if measure.name == "by_use")
    values = {group.title: group.estimates["base"].value for group in use.groups}
    assert list(values.values()) == [1, 0, 0, 0]  # 1girl, blue_hair, red_hair, smile: 50, 60, 70, 90 uses
    assert next(iter(values)) == "1: 50 to 50"


def test_nothing_was_looked_at(tmp_path: Path) -> None:
    cfg = made(tmp_path, PROMPTS)
    found = fidelity.score(cfg.probes[0], looked_at(cfg, {"base": [{}] * 3}))
    assert all(not group.estimates for measure in found.measures for group in measure.groups)
    assert (found.matrices, found.tables) == ([], [])


def test_tags_that_the_list_lacks(tmp_path: Path) -> None:
    """The user's must be there; those that come with the probe are asked for, and not looked for."""
    cfg = made(tmp_path, [{"tags": ["1girl", "spaceship"]}])
    assert ("spaceship",) in fidelity.needs(cfg.probes[0]).tags
    (case,) = fidelity.cases(cfg.probes[0], cfg)
    assert case.request.prompt == "1girl, spaceship"
    assert (case.facts["tags"], case.facts["unknown"]) == (["1girl"], ["spaceship"])
    shipped = cfg.probes[0].model_copy(update={"prompts": None, "replace": False})
    assert {("1girl",), ("blue_eyes",)} <= set(fidelity.needs(shipped).tags)
    assert len(fidelity.needs(shipped).tags) < 10
    with pytest.raises(ConfigError, match="needs tags that this list does not have: spaceship"):
        run(cfg)


def test_real_pictures_are_chosen_by_what_is_asked(tmp_path: Path) -> None:
    cfg = made(tmp_path, PROMPTS, reference=str(tmp_path / "real"), reference_per_tag=2)
    (tmp_path / "real").mkdir()
    for n in range(6):
        Image.new("RGB", (8, 8)).save(tmp_path / "real" / f"{n}.png")
        (tmp_path / "real" / f"{n}.txt").write_text("1girl, blue hair, hat" if n else "dog", encoding="utf-8")
    found = fidelity.references(cfg.probes[0], cfg)
    assert len(found) == 2
    assert found[0].facts["tags"] == ["1girl", "blue_hair", "hat"]
    assert "Hair colour" in found[0].facts["closed"]
    assert fidelity.references(made(tmp_path, PROMPTS).probes[0], cfg) == []


def test_thresholds_below_what_the_tagger_keeps(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"character_threshold 0.04 lies below tagger.floor 0.05"):
        made(tmp_path, PROMPTS, character_threshold=0.04)


def test_short_names_of_columns() -> None:
    assert without_ending(["blue_hair", "red_hair", "none"]) == ["blue", "red", "none"]
    assert without_ending(["1girl", "2girls", "^_^"]) == ["1girl", "2girls", "^_^"]
    assert without_ending(["open_mouth", "closed_mouth", "parted_lips"]) == ["open", "closed", "parted_lips"]


def test_a_whole_run(tmp_path: Path) -> None:
    """Pictures of one colour and a tagger that reads it: base is blue whatever was asked for, tuned as asked for."""
    prompts = [{"tags": ["1girl", f"{colour}_hair"]} for colour in ("blue", "red")]
    cfg = made(tmp_path, prompts, reference=str(tmp_path / "real"))
    slopes, offsets = np.zeros((3, len(TAGS))), np.full(len(TAGS), -9.0)
    names = [name for name, _ in TAGS]
    offsets[names.index("1girl")] = 9
    for name, channel in (("blue_hair", 0), ("green_hair", 1), ("red_hair", 2)):  # blue, green, red
        slopes[channel, names.index(name)], offsets[names.index(name)] = 1 / 8, -16
    save_colour_model(tmp_path / "model.onnx", slopes, offsets)
    asked = [{"prompt": f"1girl, {c} hair", "seed": 0, "width": 64, "height": 64} for c in ("blue", "red")]
    paint(tmp_path / "base", asked, lambda request: BLUE)
    paint(tmp_path / "tuned", asked, lambda request: RED if "red" in request["prompt"] else BLUE)
    real = paint(tmp_path / "real", asked * 6, lambda request: GREEN if "red" in request["prompt"] else BLUE)
    lines = [json.loads(line) for line in (real / "images.jsonl").read_text().splitlines()]
    (real / "images.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    run(cfg)
    results = json.loads((cfg.out / "results.json").read_text())["probes"]["fidelity"]
    recall = results["measures"]["recall"]["groups"]
    assert recall["all tags"]["models"]["base"]["value"] == 0.75
    assert recall["all tags"]["models"]["tuned"]["value"] == 1
    assert recall["Hair colour"]["changes"]["tuned"]["value"] == 0.5
    assert results["facts"]["ceiling"]["red_hair"] == {"pictures": 6, "share": 0}
    matrix = results["matrices"]["Hair colour: asked (rows), and what is found (columns)"]
    assert matrix["columns"] == ["blue", "red", "another"]
    assert matrix["counts"] == {
        "base": [[1, 0, 0], [1, 0, 0]],
        "tuned": [[1, 0, 0], [0, 1, 0]],
        "reference": [[6, 0, 0], [0, 0, 6]],
    }
    page = (cfg.out / "report.html").read_text(encoding="utf-8")
    assert "Hair colour: asked (rows)" in page
    assert "What the tagger finds in 12 real pictures" in page
