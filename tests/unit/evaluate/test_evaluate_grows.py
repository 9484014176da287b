"""An evaluation with other models goes on in its folder; answers are shared; the checkpoints of a run are models."""

from __future__ import annotations

import json
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from animetune import checkpoint, fsio
from animetune.checkpoint import Checkpoint
from animetune.errors import ConfigError, DataError, SetupError
from animetune.evaluate import asking
from animetune.evaluate.config import EvaluateConfig
from animetune.evaluate.run import run
from animetune.evaluate.scorers import LuminanceScorer, specs
from animetune.evaluate.store import FEATURES, PICTURES, Shelf, read_piece, write_features
from animetune.executor import LocalExecutor
from animetune.manifest import Manifest, read_manifest, verify_files, write_manifest
from animetune.models.config import ModelConfig
from animetune.models.load import load_models
from tests.evaluated import BLUE, GREEN, RED, config, paint, requests, save_colour_tagger
from tests.onnx_models import save_ccip, save_colour_model

PROMPTS = ["a green door", "a blue door"]
ASKED = [prefix + prompt for prompt in PROMPTS for prefix in ("", "anime illustration, ")]
COLOURS = {"base": BLUE, "tuned": GREEN, "late": RED}


def prepare(folder: Path, *models: str, out: str = "out", **settings: Any) -> EvaluateConfig:
    """An evaluation of pictures that exist, of models that have one colour each."""
    folder.mkdir(exist_ok=True)
    (folder / "asked.txt").write_text("\n".join(PROMPTS) + "\n", encoding="utf-8")
    for name, colour in COLOURS.items():
        if not (folder / name).exists():
            paint(folder / name, requests(ASKED), lambda request, colour=colour: colour)  # type: ignore[misc]
    if not (folder / "tagger").exists():
        (folder / "tagger").mkdir()
        save_colour_tagger(folder / "tagger")
    tagger = {
        "name": "colours",
        "model": {"path": str(folder / "tagger" / "model.onnx")},
        "tags": {"path": str(folder / "tagger" / "selected_tags.csv")},
    }
    named = {name: {"pictures": str(folder / name)} for name in models}
    return config(folder, models=named, out=str(folder / out), tagger=tagger, **settings)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Digests of the pictures that are looked at from now on."""
    looked: list[str] = []
    real = asking.answer_part

    def counting(part: asking.Part, folder: Path) -> Manifest:
        looked.extend(digest for digest, _ in part.pictures)
        return real(part, folder)

    monkeypatch.setattr(asking, "answer_part", counting)
    return looked


def same_output(first: Path, second: Path) -> None:
    """Both manifests, and every file that they name, have equal bytes."""
    manifest = read_manifest(first)
    assert (first / "manifest.json").read_bytes() == (second / "manifest.json").read_bytes()
    for name in manifest.files:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert verify_files(first, manifest) == []


def test_it_grows_and_shrinks_to_what_it_would_be_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = counted(monkeypatch)
    first = run(prepare(tmp_path, "base", "tuned"))
    assert len(looked) == 16
    grown = run(prepare(tmp_path, "base", "tuned", "late"))
    assert len(looked) == 24, "the pictures of the first two were looked at again"
    assert grown.digest != first.digest
    run(prepare(tmp_path, "base", "tuned", "late", out="at-once"))
    same_output(tmp_path / "out", tmp_path / "at-once")
    del looked[:]
    run(prepare(tmp_path, "base", "late"))
    assert looked == []
    run(prepare(tmp_path, "base", "late", out="two"))
    same_output(tmp_path / "out", tmp_path / "two")
    assert run(prepare(tmp_path, "base", "tuned")).digest == first.digest


@pytest.mark.slow
def test_drawn_models_grow(tmp_path: Path) -> None:
    """What was drawn stays, also of a model that is left out for a while, and grids of it go."""
    (tmp_path / "asked.txt").write_text("a green door\n", encoding="utf-8")
    settings: dict[str, Any] = {
        "probes": [
            {"name": "black_white", "limit": 1},
            {"name": "quality", "limit": 1, "quality": ["best", "worst"], "aesthetic": []},
        ],
        "sampler": {"steps": 1},
        "seeds": [0],
    }
    base, raw = {"base": "builtin:tiny"}, {"base": "random:tiny"}
    run(config(tmp_path, models={"base": base}, **settings))
    drawn = (tmp_path / "out" / "pictures" / "base" / "00000.png").stat().st_mtime_ns
    both = {"base": base, "raw": raw}
    run(config(tmp_path, models=both, **settings))
    run(config(tmp_path, models=both, **settings, out=str(tmp_path / "at-once")))
    same_output(tmp_path / "out", tmp_path / "at-once")
    assert (tmp_path / "out" / "pictures" / "base" / "00000.png").stat().st_mtime_ns == drawn
    run(config(tmp_path, models={"base": base}, **settings))
    assert [path.name for path in (tmp_path / "out" / "grids").iterdir()] == ["quality-quality-base.png"]
    assert (tmp_path / "out" / "pictures" / "raw" / "00000.png").is_file()
    with pytest.raises(SetupError, match=r"models.base: .* has pictures of other weights under this name"):
        run(config(tmp_path, models={"base": raw}, **settings))


def test_another_question_is_another_evaluation(tmp_path: Path) -> None:
    run(prepare(tmp_path, "base"))
    made = (tmp_path / "out" / "manifest.json").read_bytes()
    for changed in ({"seeds": [0]}, {"negative": "bad"}, {"sampler": {"steps": 3}}):
        with pytest.raises(SetupError, match="holds another evaluation"):
            run(prepare(tmp_path, "base", **changed).model_copy(update={"models": prepare(tmp_path, "base").models}))
    assert (tmp_path / "out" / "manifest.json").read_bytes() == made
    titled = run(prepare(tmp_path, "base", title="Mine"))
    assert "<title>Mine" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert titled.facts["baseline"] == "base"


def test_shared_answers_are_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new evaluation with one more model looks at its pictures alone; another tagger looks at all."""
    looked = counted(monkeypatch)
    shared = {"answers": str(tmp_path / "answers")}
    run(prepare(tmp_path, "base", **shared))
    assert len(looked) == 8
    run(prepare(tmp_path, "base", "tuned", out="second", **shared))
    assert len(looked) == 16
    assert not (tmp_path / "second" / "answers").exists()
    run(prepare(tmp_path, "base", "tuned", out="alone"))
    same_output(tmp_path / "second", tmp_path / "alone")
    fsio.remove(tmp_path / "tagger")
    (tmp_path / "tagger").mkdir()
    save_colour_tagger(tmp_path / "tagger", without=("solo",))
    del looked[:]
    run(prepare(tmp_path, "base", out="other", **shared))
    assert len(looked) == 8


def test_two_that_ask_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One wants the pictures 0 to 39, the other 20 to 59: each picture is looked at once, by whichever."""
    looked: list[str] = []
    real = asking.answer_part

    def slow(part: asking.Part, folder: Path) -> Manifest:
        time.sleep(0.01)
        looked.extend(digest for digest, _ in part.pictures)
        return real(part, folder)

    monkeypatch.setattr(asking, "answer_part", slow)
    monkeypatch.setattr(asking, "CHUNK", 3)
    monkeypatch.setattr(asking, "ROUND", 1)
    paint(tmp_path / "pictures", requests([str(number) for number in range(60)], seeds=(0,)), lambda _: BLUE)
    files = [tmp_path / "pictures" / f"{number}.png" for number in range(60)]
    pictures = {fsio.sha256_file(file): file for file in files}
    (spec,) = specs(prepare(tmp_path, "base"), {"luminance"})

    def ask(wanted: slice) -> dict[str, Any]:
        mine = dict(list(pictures.items())[wanted])
        return asking.ask(spec, mine, tmp_path / "answers", LocalExecutor(0))

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(ask, (slice(0, 40), slice(20, 60)))
    assert sorted(looked) == sorted(pictures)
    assert (list(first), list(second)) == (list(pictures)[:40], list(pictures)[20:])
    assert {fsio.canonical_json(said) for said in [*first.values(), *second.values()]} == {
        fsio.canonical_json(LuminanceScorer().answers([Image.new("RGB", (16, 16), BLUE)])[0])
    }


@pytest.mark.parametrize("needed", ["luminance", "ccip"])
def test_no_more_than_a_batch_is_decoded_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needed: str) -> None:
    """Seven pictures in batches of three: each answer is that of its picture, and no more than three are held."""
    cfg = config(tmp_path, batch=3, ccip={"name": "ccip", "threshold": 0.2, **save_ccip(tmp_path / "ccip")})
    (spec,) = specs(cfg, {needed})
    files = []
    for place in range(7):
        files.append(tmp_path / f"{place}.png")
        Image.new("RGB", (8, 8), (30 * place, 0, 0)).save(files[-1])
    held: list[weakref.ref[Image.Image]] = []
    most = 0

    def noting(file: Path, read: Any = asking._read) -> Image.Image:
        nonlocal most
        image: Image.Image = read(file)
        held.append(weakref.ref(image))
        most = max(most, sum(each() is not None for each in held))
        return image

    monkeypatch.setattr(asking, "_read", noting)
    piece = tmp_path / "piece-a"
    piece.mkdir()
    asking.answer_part(asking.Part(spec, tuple((file.name, file) for file in files)), piece)
    said = read_piece(piece)
    assert list(said) == [file.name for file in files]
    values = [each["mean"] if needed == "luminance" else float(each[0]) for each in said.values()]
    assert len(set(values)) == 7
    assert values == sorted(values)
    assert most <= 2 * 3, "the batch before is let go when the next one is whole"


def test_damaged_answers_are_named(tmp_path: Path) -> None:
    run(prepare(tmp_path, "base"))
    (piece,) = (tmp_path / "out" / "answers").glob("tags-*/piece-*")
    text = (piece / "answers.jsonl").read_text(encoding="utf-8")
    (piece / "answers.jsonl").write_text(text.split("\n")[0] + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"piece-\w+: has 1 answers for 8 pictures; remove it"):
        run(prepare(tmp_path, "base", "tuned"))
    fsio.remove(piece)
    run(prepare(tmp_path, "base", "tuned"))


def test_vectors_are_kept_to_the_last_bit(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    piece = tmp_path / "piece-a"
    piece.mkdir()
    write_features(piece, ["aa", "bb", "cc"], vectors)
    shelf = Shelf(tmp_path)
    assert shelf.take(["bb"]) == {}, "it is not published yet"
    write_manifest(piece, Manifest(kind="answers-piece", format_version=1))
    found = shelf.take(["cc", "zz", "aa"])
    assert list(found) == ["cc", "aa"]
    assert found["cc"].tobytes() == vectors[2].tobytes()
    (piece / FEATURES).write_bytes(b"x")
    with pytest.raises(DataError, match="cannot be read"):
        Shelf(tmp_path).take(["aa"])
    (piece / PICTURES).unlink()
    with pytest.raises(DataError, match="cannot be read"):
        Shelf(tmp_path).take(["aa"])


# ---- checkpoints of a run


def save_run(folder: Path, steps: tuple[int, ...]) -> Path:
    """A run of the tiny model with a checkpoint at each step, whose weights move a little."""
    (folder / "config.yaml").parent.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("stage: train\nmodel: {base: 'builtin:tiny'}\n", encoding="utf-8")
    state = load_models(ModelConfig(base="builtin:tiny")).state_dict()
    for step in steps:
        moved = {
            name: tensor + 0.02 * step if name == "unet.conv_out.bias" else tensor for name, tensor in state.items()
        }
        checkpoint.save(Checkpoint(step=step, model=moved), folder / "checkpoints")
    return folder


def checkpoints_config(folder: Path, out: str = "out", **settings: Any) -> EvaluateConfig:
    values: dict[str, Any] = {
        "models": {},
        "checkpoints": {"run": str(folder / "run")},
        "probes": [{"name": "black_white", "limit": 1}],
        "sampler": {"steps": 1},
        "seeds": [0],
        "out": str(folder / out),
    }
    return config(folder, **(values | settings))


@pytest.mark.slow
def test_checkpoints_of_a_run_over_time(tmp_path: Path) -> None:
    save_run(tmp_path / "run", (1, 2))
    base = {"base": {"base": "builtin:tiny"}}
    run(checkpoints_config(tmp_path, models=base))
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert (results["steps"], results["baseline"]) == ({"step-1": 1, "step-2": 2}, "base")
    luminance = results["probes"]["black_white"]["measures"]["luminance"]["groups"]["asked dark"]["models"]
    assert luminance["base"] != luminance["step-1"] != luminance["step-2"]
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Over training time" in html
    assert "asked dark, step 2:" in html
    assert "asked dark, base:" in html
    assert str(tmp_path) not in html
    # A later look at the run: step 1 is no longer kept, step 3 is new.
    save_run(tmp_path / "run", (3,))
    fsio.remove(tmp_path / "run" / "checkpoints" / "step-00000001")
    run(checkpoints_config(tmp_path, models=base))
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert results["steps"] == {"step-1": 1, "step-2": 2, "step-3": 3}
    assert (
        luminance["step-1"]
        == (results["probes"]["black_white"]["measures"]["luminance"]["groups"]["asked dark"]["models"]["step-1"])
    )


@pytest.mark.slow
def test_which_checkpoints(tmp_path: Path) -> None:
    save_run(tmp_path / "run", (1, 2, 3, 5))
    for asked, steps in (
        ({"steps": "newest"}, {"step-5": 5}),
        ({"steps": [3, 1]}, {"step-1": 1, "step-3": 3}),
        ({"every": 2}, {"step-2": 2, "step-5": 5}),
    ):
        out = f"out-{len(steps)}-{min(steps)}"
        run(checkpoints_config(tmp_path, out, checkpoints={"run": str(tmp_path / "run"), **asked}))
        assert json.loads((tmp_path / out / "results.json").read_text(encoding="utf-8"))["steps"] == steps


def test_checkpoints_that_are_gone_are_of_this_run(tmp_path: Path) -> None:
    """What was drawn of step 1 stays when only the newest was looked at meanwhile, and is never another run's."""
    save_run(tmp_path / "run", (1, 2))
    run(checkpoints_config(tmp_path))
    fsio.remove(tmp_path / "run" / "checkpoints" / "step-00000001")
    run(checkpoints_config(tmp_path, checkpoints={"run": str(tmp_path / "run"), "steps": "newest"}))
    results = tmp_path / "out" / "results.json"
    assert json.loads(results.read_text(encoding="utf-8"))["steps"] == {"step-2": 2}
    run(checkpoints_config(tmp_path))
    before = results.read_bytes()
    assert json.loads(before)["steps"] == {"step-1": 1, "step-2": 2}
    other = str(save_run(tmp_path / "other", (5,)))
    with pytest.raises(SetupError, match=r"does not keep step 1, and .*step-1 was drawn from a run called run; choose"):
        run(checkpoints_config(tmp_path, checkpoints={"run": other}))
    assert results.read_bytes() == before


def test_a_checkpoint_that_was_drawn_by_halves_is_not_taken_for_one(tmp_path: Path) -> None:
    save_run(tmp_path / "run", (1,))
    run(checkpoints_config(tmp_path))
    (tmp_path / "out" / "pictures" / "step-9").mkdir()
    (tmp_path / "out" / "pictures" / "step-9" / "00000.png").write_bytes(b"")
    run(checkpoints_config(tmp_path))
    assert json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["steps"] == {"step-1": 1}


def test_checkpoints_that_cannot_be(tmp_path: Path) -> None:
    run_folder = str(save_run(tmp_path / "run", (1,)))
    for settings, kind, said in (
        ({"checkpoints": {"run": run_folder, "steps": [4]}}, SetupError, "has no checkpoint of step 4; it has 1"),
        ({"checkpoints": {"run": str(tmp_path / "no")}}, SetupError, "no: has no checkpoint; name the directory"),
        ({"baseline": "base"}, ConfigError, "'base' is none of the models: step-1"),
        ({"models": {"step-1": {"base": "builtin:tiny"}}}, ConfigError, "models.step-1: a checkpoint of .* has this"),
    ):
        with pytest.raises(kind, match=said):
            run(checkpoints_config(tmp_path, **settings))
    with pytest.raises(ConfigError, match="every: goes with `steps: all`"):
        checkpoints_config(tmp_path, checkpoints={"run": run_folder, "steps": "newest", "every": 2})
    with pytest.raises(ConfigError, match="models: name what is compared"):
        checkpoints_config(tmp_path, checkpoints=None)
    with pytest.raises(ConfigError, match="stands for the real pictures"):
        checkpoints_config(tmp_path, models={"reference": {"base": "builtin:tiny"}})


# ---- real pictures


def test_real_pictures_are_looked_at_by_the_same_scorers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the tuned model one picture is a copy of a real one: it has the same bytes, and is looked at once."""
    folder = tmp_path / "real"
    paint(folder, requests(["x", "y", "z"], seeds=(0,)), lambda _: RED)
    (folder / "images.jsonl").unlink()
    cfg = prepare(tmp_path, "base", "tuned")
    (tmp_path / "tuned" / "3.png").write_bytes((folder / "1.png").read_bytes())
    save_colour_model(tmp_path / "grades.onnx", [[1 / 64] * 2] * 3, [0, -1], shape=("b", 3, 8, 8), last="Softmax")
    probe = {
        "name": "aesthetic",
        "prompts": str(tmp_path / "asked.txt"),
        "replace": True,
        "reference": str(folder),
    }
    scorer = {
        "kind": "onnx",
        "name": "grades",
        "model": {"path": str(tmp_path / "grades.onnx")},
        "labels": ["low", "high"],
    }
    ccip = {"name": "ccip", "threshold": 0.2, **save_ccip(tmp_path / "ccip")}
    (tmp_path / "characters" / "mine").mkdir(parents=True)
    for file in folder.glob("*.png"):
        (tmp_path / "characters" / "mine" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "known.jsonl").write_text(
        "".join(json.dumps({"prompt": prompt, "character": "mine"}) + "\n" for prompt in PROMPTS), encoding="utf-8"
    )
    known = {"name": "characters", "prompts": str(tmp_path / "known.jsonl"), "references": str(tmp_path / "characters")}
    looked = counted(monkeypatch)
    weights = {"low": 0.0, "high": 1.0}
    models = {name: {"pictures": str(tmp_path / name)} for name in ("base", "tuned")}
    cfg = config(tmp_path, models=models, probes=[probe, known], aesthetic={**scorer, "weights": weights}, ccip=ccip)
    manifest = run(cfg)
    lines = fsio.read_lines(cfg.out / "answers.jsonl")
    real = [line for line in lines if line["model"] == "reference"]
    assert [line["cases"][0].split("/")[0] for line in real] == ["aesthetic"] * 3 + ["characters"] * 3
    assert len({line["sha256"] for line in real}) == 3
    copied = next(line for line in lines if line["file"] == "3.png" and line["model"] == "tuned")
    twin = next(line for line in real if line["sha256"] == copied["sha256"] and "aesthetic" in line["answers"])
    assert copied["answers"]["aesthetic"] == twin["answers"]["aesthetic"]
    assert len(looked) == 2 * len(set(looked)), "once by each of two scorers"
    assert {name for name in manifest.inputs if name.startswith("real")} == {
        "real pictures of aesthetic",
        "real pictures of characters",
    }
    names = {name for name in manifest.files if name.startswith("features/")}
    assert names == {f"features/ccip-{model}.safetensors" for model in ("base", "tuned", "reference")}
    vectors = safetensors.numpy.load((cfg.out / "features" / "ccip-reference.safetensors").read_bytes())["features"]
    assert vectors.dtype == np.float32
    assert len(vectors) == 3
    results = json.loads((cfg.out / "results.json").read_text(encoding="utf-8"))
    (histogram,) = results["probes"]["aesthetic"]["histograms"].values()
    assert {name: sum(counts) for name, counts in histogram["counts"].items()} == {
        "base": 4,
        "tuned": 4,
        "reference": 3,
    }
    assert str(tmp_path) not in "".join(
        (cfg.out / name).read_text("utf-8") for name in manifest.files if "/" not in name
    )
    (folder / "0.png").unlink()
    with pytest.raises(SetupError, match="holds another evaluation"):
        run(cfg)
