"""The folder of drawn pictures: the same for any workers and batches, continued, drawn again from what it says."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from animetune import samples
from animetune.config import load_config
from animetune.diffusion.config import DiffusionConfig, SamplerConfig
from animetune.diffusion.draw import draw
from animetune.errors import ChunkError, ConfigError, DataError, SetupError
from animetune.manifest import read_manifest, verify_files
from animetune.models.config import ModelConfig
from animetune.models.load import load_models
from animetune.records import Request, Size
from animetune.sample import parts
from animetune.sample.config import SampleConfig
from animetune.sample.requests import build
from animetune.sample.run import Drawing, WeightsReader, Where, draw_folder, run
from animetune.sample.worker import Part, Piece, draw_part
from tests.tiny_weights import tiny_file, write_tensors

TINY = ModelConfig(base="builtin:tiny")
SAMPLER = SamplerConfig(name="euler_ancestral", steps=2, cfg_scale=3.0)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawings(count: int = 5) -> list[Drawing]:
    words = ["a girl", "a boy with blue hair", "1girl, " * 40]
    return [
        Drawing(Request(words[i % 3], i, Size(64, 64 + 8 * (i % 2)), negative="bad"), TINY, SAMPLER)
        for i in range(count)
    ]


def tree(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def config(out: Path, **settings: Any) -> SampleConfig:
    given: dict[str, Any] = {"width": 64, "height": 64, "sampler": {"name": "euler", "steps": 2}, "prompts": ["a cat"]}
    base = {"stage": "sample", "model": {"base": "builtin:tiny"}, "out": str(out)}
    return SampleConfig.model_validate({**base, **given, **settings})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "out"
    draw_folder(out, drawings(), where=Where(batch=4))
    torch.set_num_threads(before)
    return out


def test_the_folder_holds_what_the_engine_draws(whole: Path) -> None:
    manifest = read_manifest(whole, kind="samples", format_version=samples.SAMPLES_FORMAT)
    assert verify_files(whole, manifest) == []
    assert set(manifest.files) == {*(f"{i:05d}.png" for i in range(5)), "images.jsonl", "grid.png", "index.html"}
    assert manifest.facts["model"] == "builtin:tiny"
    models = load_models(TINY).eval()
    requests = [drawing.request for drawing in drawings()]
    diffusion = DiffusionConfig(**models.parameterization._asdict())
    found = samples.read(whole)
    assert [each.request for each in found] == requests
    for place, pixels in draw(models, requests, diffusion=diffusion, sampler=SAMPLER, batch_size=1):
        with Image.open(found[place].file) as image:
            # a batch rounds its sums otherwise than a single picture, in the last bit
            assert np.abs(np.asarray(image).astype(int) - pixels).max() <= 1, place
    assert not list(whole.parent.glob(".out.parts*"))


def test_parts_are_drawn_alike_by_who_gets_them_by_wire(whole: Path, tmp_path: Path) -> None:
    """Real workers draw in tests/crash/test_sample_kill.py; here what they are sent is drawn."""
    file = tmp_path / "a.png"
    Image.new("RGB", (64, 64), "red").save(file)
    one = build(config(tmp_path, prompts=[{"prompt": "a", "init": file}], upscale={"factor": 1.5})).drawings
    pieces = [Piece("init", one[0], samples.Entry(one[0].request, {}))]
    part = pickle.loads(pickle.dumps(Part(tuple(pieces), "cpu")))
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
    draw_part(part, tmp_path / "a")
    draw_part(Part(tuple(pieces), "cpu"), tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert list(tree(tmp_path / "a")) == ["init.png"]


def near(folder: Path, other: Path) -> bool:
    """Whether the pictures of two folders are the same, but for single grey levels, and the indexes equal."""
    pairs = zip(samples.read(folder), samples.read(other), strict=True)
    return all(one.request == two.request and difference(one.file, two.file) <= 1 for one, two in pairs)


def difference(one: Path, two: Path) -> int:
    return int(np.abs(pixels(one).astype(int) - pixels(two)).max())


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


def test_batches_change_a_grey_level_at_most(whole: Path, tmp_path: Path) -> None:
    draw_folder(tmp_path / "out", drawings(), where=Where(batch=1))
    assert near(tmp_path / "out", whole)


@pytest.mark.parametrize(("count", "batch"), [(5, 4), (4, 1)])
def test_what_was_drawn_before_a_stop_is_kept(
    count: int, batch: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same request, or with fewer prompts and another batch."""
    drawn: list[int] = []
    original = parts.draw_part

    def counting(part: Part, folder: Path) -> Any:
        if len(drawn) == 2:
            raise OSError("the machine fell into the sea")
        manifest = original(part, folder)
        drawn.append(len(part.pieces))
        return manifest

    monkeypatch.setattr(parts, "draw_part", counting)
    with pytest.raises(ChunkError, match="fell into the sea"):
        draw_folder(tmp_path / "out", drawings(count), where=Where(batch=batch))
    assert not (tmp_path / "out").exists()
    before = sum(drawn)
    drawn[:] = [0, 0, 0]
    draw_folder(tmp_path / "out", drawings(), where=Where(batch=4))
    assert before + sum(drawn) == 5
    assert near(tmp_path / "out", whole)
    if batch == 4:
        assert tree(tmp_path / "out") == tree(whole)
    assert not list(tmp_path.glob(".out.parts*"))


def test_a_part_that_is_not_whole_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_publish", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw_folder(tmp_path / "out", drawings(1))
    (file,) = tmp_path.glob(".out.parts/*/*.png")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(SetupError, match="is not whole any more"):
        draw_folder(tmp_path / "out", drawings(1))


def test_equal_pictures_are_drawn_once(tmp_path: Path) -> None:
    one, *_ = drawings()
    pieces = [Piece(key, one, samples.Entry(one.request, {})) for key in ("a", "b", "a")]
    assert [[piece.key for piece in part] for part in parts.cut(pieces, 4)] == [["a", "b"]]
    draw_folder(tmp_path / "out", [one, one])
    assert len(samples.read(tmp_path / "out")) == 2


def test_parts_are_of_one_kind_and_models_follow_one_another() -> None:
    other = ModelConfig(base="random:tiny")
    mixed = [Drawing(each.request, model, SAMPLER) for each in drawings(6) for model in (TINY, other)]
    pieces = [Piece(str(i), each, samples.Entry(each.request, {})) for i, each in enumerate(mixed)]
    cuts = parts.cut(pieces, 2)
    assert sorted(piece.key for part in cuts for piece in part) == sorted(str(i) for i in range(12))
    models = [part[0].drawing.model.base for part in cuts]
    assert models == sorted(models)
    assert all(len({(p.drawing.model, p.drawing.request.size) for p in part}) == 1 and len(part) <= 2 for part in cuts)


def test_several_models_in_one_folder(tmp_path: Path) -> None:
    grid = {"x": {"key": "model", "values": ["builtin:tiny", "random:tiny"]}, "y": {"key": "seed", "values": [1, 2]}}
    run(config(tmp_path / "out", grid=grid))
    found = samples.read(tmp_path / "out")
    assert [each.settings["model"] for each in found] == ["builtin:tiny", "random:tiny"] * 2
    assert len({each.file.read_bytes() for each in found}) == 4


def test_the_same_request_is_left_as_it_is_and_another_refused(tmp_path: Path) -> None:
    cfg = config(tmp_path / "out", seeds=[0, 1])
    first = run(cfg)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert run(cfg.model_copy(update={"batch": 1})) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == times
    with pytest.raises(SetupError, match="another request"):
        run(config(tmp_path / "out", seeds=[0, 2]))
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "manifest.json").write_text(json.dumps({"kind": "table"}))
    with pytest.raises(ConfigError, match="is a table"):
        run(config(tmp_path / "table"))


@pytest.fixture(scope="module")
def drawn_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("before") / "a"
    settings = {"sampler": {"name": "dpmpp_2m", "steps": 2, "sigmas": "karras", "cfg_rescale": 0.5}}
    prompts = [
        {"prompt": 'a "cat"\nNegative prompt: no', "negative": "bad, worse"},
        {"prompt": "(a dog:1.3), hat", "seed": 4, "height": 72, "width": 64},
    ]
    run(config(out, prompts=prompts, text={"syntax": "weighted"}, **settings))
    return out


@pytest.mark.parametrize("source", ["", "images.jsonl", "00001.png"])
def test_pictures_are_drawn_again_from_what_is_written_of_them(source: str, drawn_before: Path, tmp_path: Path) -> None:
    """Whatever the configuration of the second run says of sampler, size, seeds, template, negative and syntax."""
    other = {"width": 128, "seeds": [7, 8], "template": "{prompt}, best", "negative": "n", "sampler": {"eta": 0.5}}
    run(config(tmp_path / "b", prompts=[], prompts_file=drawn_before / source, **other))
    first, second = samples.read(drawn_before), samples.read(tmp_path / "b")
    expected = first[1:] if source.endswith(".png") else first
    assert [each.request for each in second] == [each.request for each in expected]
    assert [each.file.read_bytes() for each in second] == [each.file.read_bytes() for each in expected]


def test_a_sampler_that_does_not_fit_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shift"):
        run(config(tmp_path / "out", sampler={"shift": 3.0}))
    assert not (tmp_path / "out").exists()


def test_weights_name_what_is_drawn_with_not_where_it_lies(tmp_path: Path) -> None:
    from animetune.models.sources import _packaged

    for place in ("x", "y"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "base").symlink_to(_packaged("demo/base"))
    reader = WeightsReader()
    one, two = (reader.look(ModelConfig(base=str(tmp_path / place / "base"))) for place in "xy")
    assert one == two
    assert reader.look(ModelConfig(base=str(tmp_path / "x" / "base"), compile="blocks")).digest == one.digest
    assert reader.look(ModelConfig(base=str(tmp_path / "x" / "base"), dtype="bfloat16")).digest != one.digest


def test_a_model_that_lacks_a_tensor_is_named_before_any_draws(tmp_path: Path) -> None:
    whole = tiny_file(tmp_path / "whole")
    tensors = load_file(whole)
    lacking = "model.diffusion_model.out.2.bias"
    with safe_open(whole, framework="pt") as stream:
        said = stream.metadata()
    torn = write_tensors(tmp_path / "torn.safetensors", {k: v for k, v in tensors.items() if k != lacking}, **said)
    reader = WeightsReader()
    reader.look(ModelConfig(base=str(whole)))
    with pytest.raises(DataError, match=r"torn\.safetensors.*unet.*missing 1: conv_out\.bias"):
        reader.look(ModelConfig(base=str(torn)))


def test_a_configuration_file(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "stage: sample\nmodel: {base: 'builtin:tiny'}\nout: x\nprompts:\n  - a\n  - {prompt: b, seeds: 3}\n"
    )
    with pytest.raises(ConfigError, match=r"a.yaml:6.*seeds"):
        load_config(file, SampleConfig)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures that begin from ramp.png beside them, weakly and wholly; and one of two passes."""
    folder = tmp_path_factory.mktemp("begun")
    ramp = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    Image.fromarray(ramp).save(folder / "ramp.png")
    prompts = [{"prompt": "a", "init": folder / "ramp.png", "strength": strength} for strength in (0.0, 1.0)]
    run(config(folder / "out", prompts=prompts, negative="n"))
    run(config(folder / "large", upscale={"factor": 1.5, "strength": 0.5, "sampler": {"name": "euler", "steps": 2}}))
    return folder


def test_a_picture_to_start_from_stays_as_far_as_the_strength_says(begun: Path) -> None:
    ramp = pixels(begun / "ramp.png").astype(float)
    weak, strong = (pixels(each.file) for each in samples.read(begun / "out"))
    assert np.corrcoef(weak.ravel(), ramp.ravel())[0, 1] > 0.9 > np.corrcoef(strong.ravel(), ramp.ravel())[0, 1]
    assert [each.settings["strength"] for each in samples.read(begun / "out")] == [0.0, 1.0]


@pytest.mark.parametrize("source", ["", "00000.png"])
def test_pictures_that_began_with_a_picture_are_drawn_again_where_it_lies_beside(
    source: str, begun: Path, tmp_path: Path
) -> None:
    shutil.copytree(begun / "out", tmp_path / "old")
    again = {"prompts": [], "prompts_file": tmp_path / "old" / source, "negative": "x"}
    with pytest.raises(ConfigError, match=r"init: .*ramp.png: there is no such picture"):
        run(config(tmp_path / "new", **again))
    Image.new("RGB", (64, 64)).save(tmp_path / "old" / "ramp.png")
    with pytest.raises(ConfigError, match=r"ramp.png: is not the picture that was drawn from"):
        run(config(tmp_path / "new", **again))
    shutil.copy(begun / "ramp.png", tmp_path / "old" / "ramp.png")
    run(config(tmp_path / "new", **again))
    old, new = samples.read(begun / "out"), samples.read(tmp_path / "new")
    assert [each.file.read_bytes() for each in new] == [each.file.read_bytes() for each in old][: len(new)]


def test_a_second_pass_makes_larger_pictures_that_are_drawn_again_alike(begun: Path, tmp_path: Path) -> None:
    run(config(tmp_path / "new", prompts=[], prompts_file=begun / "large" / "00000.png"))
    (old,), (new,) = samples.read(begun / "large"), samples.read(tmp_path / "new")
    assert pixels(old.file).shape == (96, 96, 3)
    assert old.request.size == Size(64, 64)
    assert new.file.read_bytes() == old.file.read_bytes()
