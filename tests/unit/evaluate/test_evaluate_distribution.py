"""The probe of the distribution: numbers against the kernels' own, real pictures by their captions, an evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from animetune.errors import ConfigError, DataError, SetupError
from animetune.evaluate import kernels
from animetune.evaluate import run as evaluation
from animetune.evaluate.distribution.nearest import nearest
from animetune.evaluate.probes import distribution
from animetune.evaluate.probes.shape import Looked, Reference
from animetune.evaluate.real_pictures import read_real
from tests.evaluated import config, paint, requests
from tests.onnx_models import save_colour_model

PROMPTS = [f"prompt {place}" for place in range(12)]


def probe_of(folder: Path, prompts: list[str] = PROMPTS, **settings: Any) -> dict[str, Any]:
    (folder / "asked.txt").write_text("\n".join(prompts))
    return {"name": "distribution", "prompts": str(folder / "asked.txt"), "reference": str(folder / "real"), **settings}


def real(folder: Path, count: int = 15, *, captions: bool = False) -> Path:
    folder.mkdir(parents=True)
    for place in range(count):
        Image.new("RGB", (12, 16), (10 * place, 100, 50)).save(folder / f"{place:02}.png")
        if captions and place:
            (folder / f"{place:02}.txt").write_text(f"a  picture,\n number {place % 10}\n")
    return folder


def looked_at(cfg, drawn: dict[str, np.ndarray], y: np.ndarray) -> Looked:
    """`drawn`: model -> a vector for each case, NaN where its picture is missing."""
    cases = distribution.cases(cfg.probes[0], cfg)
    return Looked(
        cases,
        {
            model: {case.key: {"features": row} for case, row in zip(cases, x, strict=True) if np.isfinite(row).all()}
            for model, x in drawn.items()
        },
        "base",
        [Reference(str(place), Path(f"{place}.png")) for place in range(len(y))],
        {str(place): {"features": row} for place, row in enumerate(y)},
    )


def draw(n: int, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n, 5)) + shift).astype(np.float32)


def test_numbers_are_those_of_the_kernels(tmp_path: Path) -> None:
    cfg = config(tmp_path, probes=[probe_of(tmp_path, subset_size=10, subsets=7)])
    x, near, y = draw(24, 1.0), draw(24, 0.3, 1), draw(40, 0.0, 2)
    near[[3, 8]] = np.nan
    found = distribution.score(cfg.probes[0], looked_at(cfg, {"base": x, "tuned": near}, y))
    kid, cmmd = (measure.groups[0] for measure in found.measures)
    there = np.isfinite(near[:, 0])
    assert kid.estimates["base"].value == pytest.approx(1000 * kernels.kid(x, y))
    assert kid.estimates["tuned"].value == pytest.approx(1000 * kernels.kid(near[there], y))
    assert cmmd.estimates["base"].value == pytest.approx(kernels.cmmd(x, y))
    assert cmmd.estimates["tuned"].value == pytest.approx(kernels.cmmd(near[there], y))
    assert (kid.estimates["base"].n, kid.estimates["tuned"].n) == (24, 22)
    for group, distance in ((kid, lambda a: 1000 * kernels.kid(a, y)), (cmmd, lambda a: kernels.cmmd(a, y))):
        estimate, change = group.estimates["base"], group.changes["tuned"]
        assert estimate.interval.low < estimate.value < estimate.interval.high
        assert change.value == pytest.approx(distance(near[there]) - distance(x[there]))
        assert change.pairs == 22
        assert change.interval.low < change.value < change.interval.high < 0
    assert (found.facts["subsets"]["base"]["subsets"], found.facts["subsets"]["base"]["size"]) == (7, 10)
    of_subsets = found.facts["subsets"]["base"]
    assert of_subsets["kid"] == pytest.approx(kernels.kid(x, y), abs=4 * of_subsets["deviation"] / 7**0.5)
    low, middle, high = found.facts["kid"]["halves"]
    assert low < 0 < high
    assert low < middle < high < kid.estimates["base"].value


def test_pairs_of_one_prompt_are_left_out_by_hand(tmp_path: Path) -> None:
    cfg = config(tmp_path, probes=[probe_of(tmp_path)])
    x, y = draw(24, 0.2), draw(9, 0.0, 2)
    found = distribution.score(cfg.probes[0], looked_at(cfg, {"base": x}, y))
    k = kernels.polynomial(x.astype(np.float64), x.astype(np.float64))
    others = ~np.kron(np.eye(12, dtype=bool), np.ones((2, 2), dtype=bool))  # two seeds of each prompt
    ky = kernels.polynomial(y.astype(np.float64), y.astype(np.float64))
    kxy = kernels.polynomial(x.astype(np.float64), y.astype(np.float64))
    expected = k[others].mean() + (ky.sum() - np.trace(ky)) / 72 - 2 * kxy.mean()
    assert found.facts["kid"]["across_prompts"]["base"] == pytest.approx(1000 * expected, rel=1e-5)
    assert found.facts["kid"]["halves"] is None
    assert any("several pictures of a prompt" in note for note in found.notes)
    assert "Few pictures (base 24, real 9)" in found.notes[0]


def test_copies_and_strays_are_found(tmp_path: Path) -> None:
    cfg = config(tmp_path, probes=[probe_of(tmp_path)], seeds=[0])
    y = draw(20, 0.0, 2)
    x = draw(12, 0.0, 3)
    x[4], x[7] = 3 * y[11], -y.mean(axis=0) * 100
    looked = looked_at(cfg, {"base": x}, y)
    found = distribution.score(cfg.probes[0], looked)
    assert found.facts["nearest"]["base"]["highest"] == 1
    units = kernels.unit_rows(x) @ kernels.unit_rows(y).T
    assert found.facts["nearest"]["base"]["median"] == pytest.approx(np.median(units.max(axis=1)), rel=1e-5)
    stray = int(units.max(axis=1).argmin())
    first = found.worst["base"][0]
    assert first.key == looked.cases[stray].key
    assert first.beside == str(units[stray].argmax())
    among = kernels.unit_rows(y) @ kernels.unit_rows(y).T - 2 * np.eye(20)
    assert found.facts["nearest"]["reference"]["lowest"] == pytest.approx(among.max(axis=1).min(), rel=1e-5)
    (histogram,) = found.histograms
    assert {name: sum(counts) for name, counts in histogram.counts.items()} == {"base": 12, "reference": 20}


def test_nearest_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = draw(30), draw(11, seed=1)
    whole = nearest(x, y), nearest(y)
    monkeypatch.setattr("animetune.evaluate.distribution.nearest._ROWS", 4)
    for one, other in zip(whole, (nearest(x, y), nearest(y)), strict=True):
        assert one[0].tolist() == other[0].tolist()
        assert one[1] == pytest.approx(other[1])


def test_models_and_real_pictures_of_which_there_are_too_few(tmp_path: Path) -> None:
    cfg = config(tmp_path, probes=[probe_of(tmp_path)], seeds=[0])
    few = np.full((12, 5), np.nan, np.float32)
    few[0] = 1
    found = distribution.score(cfg.probes[0], looked_at(cfg, {"base": draw(12), "tuned": few}, draw(8, 0, 1)))
    assert list(found.measures[0].groups[0].estimates) == ["base"]
    assert found.notes[-1] == "Fewer than two pictures, so not compared: tuned."
    assert distribution.score(cfg.probes[0], looked_at(cfg, {"base": draw(12)}, draw(1, 0, 1))).measures == ()
    assert distribution.score(cfg.probes[0], looked_at(cfg, {"base": few}, draw(8, 0, 1))).measures == ()


def test_captions_are_asked(tmp_path: Path) -> None:
    real(tmp_path / "real", captions=True)
    cfg = config(tmp_path, probes=[{"name": "distribution", "reference": str(tmp_path / "real")}], seeds=[0])
    assert [case.request.prompt for case in distribution.cases(cfg.probes[0], cfg)] == [
        f"a picture, number {place}" for place in [*range(1, 10), 0]
    ]
    assert [each.key for each in distribution.references(cfg.probes[0], cfg)] == [f"{n:02}.png" for n in range(15)]
    cfg = config(
        tmp_path,
        probes=[{"name": "distribution", "reference": str(tmp_path / "real"), "reference_limit": 5, "limit": 2}],
        seeds=[0],
    )
    assert [each.key for each in distribution.references(cfg.probes[0], cfg)] == [
        f"{n:02}.png" for n in (0, 3, 6, 9, 12)
    ]
    assert len(distribution.cases(cfg.probes[0], cfg)) == 2
    real(tmp_path / "plain")
    cfg = config(tmp_path, probes=[{"name": "distribution", "reference": str(tmp_path / "plain")}])
    with pytest.raises(ConfigError, match="no picture has a caption, so there is nothing to ask; give `prompts`"):
        distribution.cases(cfg.probes[0], cfg)


def test_real_pictures_by_an_index(tmp_path: Path) -> None:
    folder = real(tmp_path / "real", 3)
    index = folder / "images.jsonl"
    index.write_text('{"file": "02.png", "prompt": "b"}\n\n{"file": "00.png"}\n')
    assert [(each.name, each.caption) for each in read_real(folder, "reference")] == [("00.png", ""), ("02.png", "b")]
    for line, message in (
        ('{"file": "../real/00.png/../../x"}', "leads out of the folder"),
        ('{"file": "09.png"}', "there is no such file"),
        ('{"prompt": "a"}', "it needs `file`"),
        ('{"file": 1}', "should be texts"),
        ("[1]", "is no line of a picture"),
        ("{", "is no line of a picture"),
    ):
        index.write_text(line)
        with pytest.raises(DataError, match=f"reference: .*images.jsonl:1: .*{message}"):
            read_real(folder, "reference")
    index.write_text("\n")
    with pytest.raises(DataError, match="has no pictures"):
        read_real(folder, "reference")
    with pytest.raises(SetupError, match=r"reference: .*: there is no such folder"):
        read_real(tmp_path / "none", "reference")


def test_an_evaluation(tmp_path: Path) -> None:
    """The vector is the mean colour. Tuned paints the colours of the real pictures, base others."""
    real(tmp_path / "real", 12)
    asked = requests(PROMPTS, seeds=(0,))
    numbers = {each["prompt"]: place for place, each in enumerate(asked)}
    paint(tmp_path / "base", asked, lambda request: (0, 0, 20 * numbers[request["prompt"]]))
    paint(tmp_path / "tuned", asked, lambda request: (10 * numbers[request["prompt"]], 100, 50))
    slopes = np.eye(3) / 255
    model = save_colour_model(tmp_path / "m.onnx", slopes, [0, 0, 0], shape=("b", 3, 8, 8), last="Identity")
    features = {"kind": "onnx", "name": "colours", "model": {"path": str(model)}, "mean": [0, 0, 0]}
    settings = {
        "probes": [probe_of(tmp_path)],
        "prefix": "",
        "seeds": [0],
        "features": {**features, "std": [1 / 255] * 3},
    }
    evaluation.run(config(tmp_path, **settings))
    found = json.loads((tmp_path / "out" / "results.json").read_text())["probes"]["distribution"]
    kid = found["measures"]["kid"]["groups"]["all pictures"]
    cmmd = found["measures"]["cmmd"]["groups"]["all pictures"]
    assert cmmd["models"]["tuned"]["value"] == pytest.approx(0, abs=1e-4)
    assert kid["models"]["tuned"]["value"] < 0 < kid["models"]["base"]["value"]
    assert cmmd["changes"]["tuned"]["value"] == pytest.approx(-cmmd["models"]["base"]["value"], abs=1e-4)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Cosine to the nearest real picture" in page
    evaluation.run(config(tmp_path, **{**settings, "out": str(tmp_path / "again")}))
    assert (tmp_path / "again" / "results.json").read_bytes() == (tmp_path / "out" / "results.json").read_bytes()
