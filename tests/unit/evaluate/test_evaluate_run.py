"""The stage, end to end: pictures that exist, a tagger of colours, a tiny model; what is refused, and what is kept."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from animetune import fsio
from animetune.errors import AnimetuneError, ConfigError, DataError, SetupError
from animetune.evaluate import asking
from animetune.evaluate.run import run
from animetune.manifest import read_manifest, verify_files
from animetune.models.config import ModelConfig
from animetune.models.sources import open_source
from tests.evaluated import BLUE, GREEN, RED, config, paint, requests, save_colour_tagger

PROMPTS = ["a green door", '<script>alert(1)</script> & "quotes" \u202e']
ASKED = [prefix + prompt for prompt in PROMPTS for prefix in ("", "anime illustration, ")]


def prepare(folder: Path, **settings: Any) -> Any:
    """base: a person for every even seed; tuned: never."""
    (folder / "asked.txt").write_text("\n".join(PROMPTS) + "\n", encoding="utf-8")
    paint(folder / "base", requests(ASKED), lambda request: BLUE if request["seed"] == 0 else GREEN)
    paint(folder / "tuned", requests(ASKED), lambda request: GREEN)
    return config(folder, tagger=save_colour_tagger(folder / "tagger"), **settings)


def test_numbers_of_known_pictures(tmp_path: Path) -> None:
    cfg = prepare(tmp_path)
    manifest = run(cfg)
    assert verify_files(cfg.out, manifest) == []
    assert set(manifest.files) == {"answers.jsonl", "report.html", "request.json", "requests.jsonl", "results.json"}
    results = json.loads((cfg.out / "results.json").read_text(encoding="utf-8"))
    person = results["probes"]["leak"]["measures"]["person"]["groups"]["without the prefix"]
    assert (person["models"]["base"]["count"], person["models"]["base"]["n"]) == (2, 4)
    assert (person["models"]["tuned"]["count"], person["models"]["tuned"]["n"]) == (0, 4)
    change = person["changes"]["tuned"]
    assert (change["value"], change["pairs"], change["p"]) == (-0.5, 4, 0.5)
    assert change["interval"] == [-0.5, -0.5]  # both prompts change alike, so no resample differs
    tagged = results["probes"]["leak"]["measures"]["no_humans"]["groups"]["without the prefix"]["models"]
    assert (tagged["base"]["value"], tagged["tuned"]["value"]) == (0.5, 1)
    lines = [json.loads(line) for line in (cfg.out / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 16
    assert lines[0]["answers"]["tags"]["tags"]["1girl"] > 0.99
    assert str(tmp_path) not in "".join((cfg.out / name).read_text(encoding="utf-8") for name in manifest.files)


def test_the_page_is_offline_and_escapes_what_it_shows(tmp_path: Path) -> None:
    cfg = prepare(tmp_path, title="<b>mine</b>")
    run(cfg)
    html = (cfg.out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "<b>mine" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "\u202e" not in html
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
    assert "1girl 1.00" in html


def test_again_it_returns_at_once_and_another_request_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = prepare(tmp_path)
    first = run(cfg)
    monkeypatch.setattr(asking, "answer_part", None)
    assert run(cfg) == first
    probe = cfg.probes[0].model_copy(update={"threshold": 0.5})
    with pytest.raises(SetupError, match="holds another evaluation"):
        run(cfg.model_copy(update={"probes": (probe,)}))
    assert read_manifest(cfg.out) == first


def test_equal_requests_give_equal_bytes_whoever_looks(tmp_path: Path) -> None:
    cfg = prepare(tmp_path)
    run(cfg)
    again = cfg.model_copy(update={"out": tmp_path / "again", "batch": 3})
    run(again)
    for name in ("results.json", "answers.jsonl", "report.html", "manifest.json"):
        assert (cfg.out / name).read_bytes() == (again.out / name).read_bytes(), name


def test_what_was_answered_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = prepare(tmp_path)
    monkeypatch.setattr(asking, "CHUNK", 4)
    answered: list[int] = []
    real = asking.answer_part

    def failing(part: asking.Part, folder: Path) -> Any:
        if len(answered) == 2:
            raise KeyboardInterrupt
        answered.append(len(part.pictures))
        return real(part, folder)

    monkeypatch.setattr(asking, "answer_part", failing)
    with pytest.raises(KeyboardInterrupt):
        run(cfg)
    assert not (cfg.out / "manifest.json").exists()
    counted: list[int] = []

    def counting(part: asking.Part, folder: Path) -> Any:
        counted.append(len(part.pictures))
        return real(part, folder)

    monkeypatch.setattr(asking, "answer_part", counting)
    run(cfg)
    assert (sum(answered), sum(counted)) == (8, 8)


def test_without_a_tagger_the_page_says_so(tmp_path: Path) -> None:
    cfg = prepare(tmp_path).model_copy(update={"tagger": None})
    run(cfg)
    assert "no tagger is configured" in (cfg.out / "report.html").read_text(encoding="utf-8")
    results = json.loads((cfg.out / "results.json").read_text(encoding="utf-8"))
    assert results["probes"]["leak"]["not_scored"].startswith("Not scored")
    assert results["probes"]["leak"]["measures"]["person"]["groups"]["with the prefix"]["models"] == {}


def test_a_tagger_that_lacks_tags_is_named_before_anything_is_written(tmp_path: Path) -> None:
    cfg = prepare(tmp_path, probes=[{"name": "leak"}, {"name": "prefix"}])
    (tmp_path / "less").mkdir()
    lacking = config(
        tmp_path,
        probes=[{"name": "leak"}, {"name": "prefix"}],
        tagger=save_colour_tagger(tmp_path / "less", without=("1boy", "realistic")),
    )
    with pytest.raises(ConfigError) as raised:
        run(lacking)
    leak, prefix = raised.value.problems
    assert "the probe leak needs tags that this list does not have: 1boy;" in leak
    assert "remove leak from probes" in leak
    assert "realistic or photorealistic" in prefix
    assert not cfg.out.exists()


def test_missing_pictures(tmp_path: Path) -> None:
    cfg = prepare(tmp_path)
    index = tmp_path / "tuned" / "images.jsonl"
    lines = index.read_text(encoding="utf-8").splitlines()
    index.write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"models.tuned.pictures: .* has no picture for 1 of 8 requests: 'a green door'"
    ):
        run(cfg)
    listed = [json.loads(line) for line in (cfg.out / "requests.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(each["prompt"], each["seed"]) for each in listed[:2]] == [("a green door", 0), ("a green door", 1)]
    assert len(listed) == 8
    allowed = config(
        tmp_path,
        models={
            "base": {"pictures": str(tmp_path / "base")},
            "tuned": {"pictures": str(tmp_path / "tuned"), "allow_missing": True},
        },
        tagger=save_colour_tagger(tmp_path / "tagger"),
    )
    run(allowed)
    results = json.loads((cfg.out / "results.json").read_text(encoding="utf-8"))
    group = results["probes"]["leak"]["measures"]["person"]["groups"]["without the prefix"]
    assert (group["models"]["tuned"]["n"], group["changes"]["tuned"]["pairs"]) == (3, 3)
    assert results["notes"] == ["tuned: 1 of 8 pictures are missing, and are in no number."]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1]", r"images.jsonl:1: is no line of a picture"),
        ('{"file": "../x.png", "prompt": "a", "seed": 0, "width": 64, "height": 64}', "leads out of the folder"),
        ('{"file": "x.png", "prompt": "a", "seed": 0, "width": 64, "height": 64}', r"x.png: there is no such file"),
        ('{"file": "x.png", "prompt": "a", "width": 64, "height": 64}', r"KeyError\('seed'\)"),
    ],
)
def test_a_bad_index(tmp_path: Path, line: str, said: str) -> None:
    cfg = prepare(tmp_path)
    (tmp_path / "tuned" / "images.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=said):
        run(cfg)
    assert not cfg.out.exists()


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    cfg = prepare(tmp_path)
    (tmp_path / "tuned" / "0.png").write_bytes(b"no picture")
    with pytest.raises(AnimetuneError, match=r"tuned/0.png: cannot be looked at"):
        run(cfg)


def test_pngs_with_parameters_of_a1111(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    cfg = prepare(tmp_path)
    fsio.remove(tmp_path / "tuned")
    folder = tmp_path / "tuned" / "2026 & <more>"
    folder.mkdir(parents=True)
    for place, request in enumerate(requests(ASKED)):
        info = PngInfo()
        info.add_itxt(
            "parameters",
            f"{request['prompt']}\nNegative prompt: bad\nSteps: 20, Sampler: Euler a, CFG scale: 7, "
            f"Seed: {request['seed']}, Size: 64x64",
        )
        Image.new("RGB", (8, 8), RED).save(folder / f"ComfyUI_{place:05d}_.png", pnginfo=info)
    Image.new("RGB", (8, 8), RED).save(folder / "other.png")
    run(cfg)
    results = json.loads((cfg.out / "results.json").read_text(encoding="utf-8"))
    assert results["pictures"] == {"base": 8, "tuned": 8}
    assert results["notes"] == ["tuned: 8 pictures were drawn with another negative prompt."]
    html = (cfg.out / "report.html").read_text(encoding="utf-8")
    assert "<more>" not in html


def test_two_pictures_of_one_request(tmp_path: Path) -> None:
    cfg = prepare(tmp_path)
    index = tmp_path / "tuned" / "images.jsonl"
    text = index.read_text(encoding="utf-8")
    index.write_text(text + text.splitlines()[0].replace("0.png", "1.png") + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="answer the same prompt, seed and size"):
        run(cfg)


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    cfg = prepare(tmp_path)
    cfg.out.mkdir()
    (cfg.out / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SetupError, match="or other files"):
        run(cfg)
    assert [path.name for path in cfg.out.iterdir()] == ["thesis.txt"]


def test_the_tiny_model_from_prompts_to_the_page(tmp_path: Path) -> None:
    """Drawn, looked at and shown; the same model twice differs in nothing."""
    (tmp_path / "asked.txt").write_text("a green door\n", encoding="utf-8")
    cfg = config(
        tmp_path,
        models={"base": {"base": "builtin:tiny"}, "same": {"base": "builtin:tiny"}},
        probes=[
            {"name": "leak", "prompts": str(tmp_path / "asked.txt"), "replace": True},
            {"name": "quality", "limit": 1, "quality": ["best", "worst"], "aesthetic": []},
            {"name": "black_white", "limit": 2},
        ],
        sampler={"steps": 1},
        seeds=[0],
        tagger=save_colour_tagger(tmp_path / "tagger"),
    )
    manifest = run(cfg)
    assert (manifest.seen, len(list((cfg.out / "pictures" / "base").glob("0*.png")))) == (14, 7)
    assert {"grids/quality-quality-base.png", "grids/quality-quality-same.png"} <= set(manifest.files)
    results = json.loads((cfg.out / "results.json").read_text(encoding="utf-8"))
    assert results["probes"]["quality"]["not_scored"].startswith("Not scored: no aesthetic scorer")
    for group in results["probes"]["black_white"]["measures"]["luminance"]["groups"].values():
        assert group["changes"]["same"]["value"] == 0
        assert group["models"]["base"] == group["models"]["same"]
    assert run(cfg) == manifest
    # What was drawn is scored again without drawing: by its folder.
    reused = config(
        tmp_path,
        models={"base": {"pictures": str(cfg.out / "pictures" / "base")}},
        probes=[{"name": "black_white", "limit": 2}],
        sampler={"steps": 1},
        seeds=[0],
        out=str(tmp_path / "reused"),
    )
    assert run(reused).seen == 2


def test_a_sampler_that_does_not_fit_one_of_the_models_is_said_before_any_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path("vpred")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(open_source(ModelConfig(base="builtin:tiny")).files["unet"][0].parents[1], folder)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    said = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    fsio.write_json(scheduler, json.loads(scheduler.read_text()) | said)
    cfg = config(
        tmp_path,
        models={"base": {"base": "builtin:tiny"}, "tuned": {"base": "vpred"}},
        probes=[{"name": "black_white", "limit": 1}],
        sampler={"sigmas": "karras", "steps": 1},
    )
    with pytest.raises(ConfigError, match=r"sampler.sigmas: karras: zero_terminal_snr .* \(models.tuned: vpred\)"):
        run(cfg)
    assert not cfg.out.exists()


def test_prompts_are_read_as_asked(tmp_path: Path) -> None:
    """The split of long prompts is a part of how a model was trained."""
    prompt = ", ".join(["a very long prompt"] * 20)
    (tmp_path / "asked.jsonl").write_text(json.dumps({"prompt": prompt, "asked": "dark"}) + "\n", encoding="utf-8")
    settings = {
        "models": {"base": {"base": "builtin:tiny"}},
        "probes": [{"name": "black_white", "prompts": str(tmp_path / "asked.jsonl"), "replace": True}],
        "sampler": {"steps": 1},
        "seeds": [0],
    }
    drawn = []
    for split in ("anywhere", "commas"):
        cfg = config(tmp_path, **settings, text={"split": split}, out=str(tmp_path / split))
        run(cfg)
        with Image.open(cfg.out / "pictures" / "base" / "00000.png") as image:
            drawn.append(image.tobytes())
    assert drawn[0] != drawn[1]


def test_configurations_that_cannot_be(tmp_path: Path) -> None:
    for settings, said in (
        ({"baseline": "other"}, "'other' is none of the models: base, tuned"),
        ({"probes": [{"name": "leak"}, {"name": "leak"}]}, "leak is asked twice"),
        ({"sizes": ["100x64"]}, "multiples of 8"),
        ({"sizes": ["large"]}, "832x1216"),
        ({"models": {"a": {"base": "x", "pictures": "y"}}}, "give `base`"),
        ({"models": {"../a": {"base": "x"}}}, "models"),
        ({"probes": [{"name": "quality", "quality": ["best"]}]}, "two different words"),
        ({"probes": [{"name": "rating", "template": "{prompt} {x}"}]}, "no other braces"),
        ({"probes": [{"name": "leak", "replace": True}]}, "needs `prompts`"),
    ):
        with pytest.raises(ConfigError, match=said.replace("`", "`")):
            config(tmp_path, **settings)
    tagger = {"name": "t", "model": {"path": "m"}, "tags": {"path": "t"}, "floor": 0.5}
    with pytest.raises(ConfigError, match="lower the floor"):
        config(tmp_path, tagger=tagger)
