"""Merges of whole models: what comes out tensor by tensor, what is refused, and what is published."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pydantic
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from animetune import checkpoint
from animetune.checkpoint import Checkpoint
from animetune.errors import ConfigError, DataError, SetupError
from animetune.manifest import Manifest, verify_files
from animetune.merge.arithmetic import slerp
from animetune.merge.config import InputConfig, MergeConfig
from animetune.merge.fitting import check_fit
from animetune.merge.run import run
from animetune.merge.source import merged_source
from animetune.models.config import ModelConfig
from animetune.models.lazy import LazyTensor
from animetune.models.sdxl import COMPONENTS, Parameterization, Sdxl
from animetune.models.source import Source, source_of
from animetune.models.sources import open_source
from animetune.models.tiny import build_tiny
from tests.tiny_weights import tiny_file, write_tensors

ABOUT = {"title": "Merged", "license": "openrail++"}
HALVES = {"name": "weighted_sum", "weights": {"a": 0.5, "b": 0.5}}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three models of different weights, in float16."""
    folder = tmp_path_factory.mktemp("models")
    return {name: tiny_file(folder / name, seed, dtype="float16") for seed, name in enumerate("abc")}


def config(out: Path | str, models: dict[str, Any], method: Any = None, **settings: Any) -> MergeConfig:
    named = {name: {"base": str(base)} for name, base in models.items()}
    base = {"stage": "merge", "models": named, "method": method, "out": str(out), "about": ABOUT}
    return MergeConfig.model_validate(base | {"formats": ["single_file"], "dtype": "float32"} | settings)


def merged(tmp_path: Path, models: dict[str, Any], method: Any = None, **settings: Any) -> dict[str, Tensor]:
    run(config(tmp_path / "out", models, method, **settings))
    return load_file(tmp_path / "out" / "model.safetensors")


def only(files: dict[str, Path], names: str) -> dict[str, Path]:
    return {name: files[name] for name in names}


def differing(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> list[str]:
    assert ours.keys() == theirs.keys()
    return [name for name in ours if not torch.equal(ours[name].double(), theirs[name].double())]


@pytest.mark.parametrize(
    "method",
    [
        {"name": "weighted_sum", "weights": {"a": 1, "b": 0}},
        {"name": "weighted_sum", "weights": {"a": 3, "b": 0}, "normalize": True},
        {"name": "add_difference", "model": "a", "plus": "b", "minus": "c", "alpha": 0},
        {"name": "add_difference", "model": "a", "plus": "b", "minus": "b"},
        {"name": "slerp", "first": "a", "second": "b", "t": 0},
        {"name": "slerp", "first": "b", "second": "a", "t": 1},
    ],
    ids=lambda method: method["name"],
)
def test_an_input_comes_back_bit_for_bit(tmp_path: Path, files: dict[str, Path], method: dict[str, Any]) -> None:
    used = {"a", "b"} | ({"c"} if method.get("minus") == "c" else set())
    found = merged(tmp_path, only(files, "".join(sorted(used))), method, dtype="float16")
    assert differing(found, load_file(files["a"])) == []
    assert found["model.diffusion_model.out.2.weight"].dtype == torch.float16


def test_a_sum_is_that_of_float64(tmp_path: Path, files: dict[str, Path]) -> None:
    method = {"name": "weighted_sum", "weights": {"a": 0.5, "b": 0.3, "c": 0.2}}
    found = merged(tmp_path, files, method)
    states = [load_file(files[name]) for name in "abc"]
    for name, tensor in found.items():
        if name.startswith("first_stage_model."):
            assert torch.equal(tensor, states[0][name]), "the VAE is the first model's"
        elif name != "conditioner.embedders.1.model.logit_scale":
            oracle = sum(w * state[name].double() for w, state in zip((0.5, 0.3, 0.2), states, strict=True))
            assert torch.allclose(tensor.double(), oracle, rtol=1e-6, atol=1e-8), name


def test_the_order_of_the_models_changes_no_byte(tmp_path: Path, files: dict[str, Path]) -> None:
    weights = {"a": 0.5, "b": 0.3, "c": 0.2}
    for place, order in enumerate(("abc", "cab")):
        method = {"name": "weighted_sum", "weights": {name: weights[name] for name in order}}
        run(config(tmp_path / str(place), only(files, order), method, vae="b"))
    one, other = (tmp_path / str(place) / "model.safetensors" for place in range(2))
    stored = [load_file(path) for path in (one, other)]
    assert differing(*stored) == []


def test_add_difference_and_slerp_of_files(tmp_path: Path, files: dict[str, Path]) -> None:
    a, b, c = (load_file(files[name]) for name in "abc")
    name = "model.diffusion_model.middle_block.1.proj_in.weight"
    method = {"name": "add_difference", "model": "a", "plus": "b", "minus": "c", "alpha": 0.7}
    found = merged(tmp_path / "1", files, method)[name]
    assert torch.allclose(found, a[name].float() + 0.7 * (b[name].float() - c[name].float()), atol=1e-6)
    method = {"name": "slerp", "first": "a", "second": "b", "t": 0.3}
    found = merged(tmp_path / "2", only(files, "ab"), method)[name]
    assert torch.equal(found, slerp(a[name], b[name], 0.3))


def test_parts_have_weights_of_their_own(tmp_path: Path, files: dict[str, Path]) -> None:
    parts = {
        "text_encoder": {"a": 1, "b": 0},
        "text_encoder_2": {"a": 0, "b": 1},
        "unet.mid_block": {"a": 0.25, "b": 0.75},
        "IN00": {"a": 0, "b": 1},
    }
    found = merged(tmp_path, only(files, "ab"), HALVES | {"parts": parts})
    a, b = (load_file(files[name]) for name in "ab")
    shares = {
        "conditioner.embedders.0.": 0.0,
        "conditioner.embedders.1.model.tr": 1.0,
        "model.diffusion_model.middle_block.": 0.75,
        "model.diffusion_model.input_blocks.0.": 1.0,
        "model.diffusion_model.input_blocks.1.": 0.5,
        "model.diffusion_model.out.": 0.5,
        "first_stage_model.": 0.0,
    }
    for prefix, share in shares.items():
        names = [name for name in found if name.startswith(prefix)]
        assert names
        for name in names:
            expected = (1 - share) * a[name].double() + share * b[name].double()
            assert torch.allclose(found[name].double(), expected, atol=1e-7), name


@pytest.mark.parametrize(
    ("vae", "parts", "expected"),
    [(None, {}, "a"), ("b", {}, "b"), (None, {"vae": {"a": 0.5, "b": 0.5}}, "mean")],
    ids=["of the first", "of the named", "merged by a part"],
)
def test_the_vae(tmp_path: Path, files: dict[str, Path], vae: str | None, parts: Any, expected: str) -> None:
    found = merged(tmp_path, only(files, "ab"), HALVES | {"parts": parts}, vae=vae)
    a, b = (load_file(files[name]) for name in "ab")
    states = {"a": a, "b": b, "mean": {name: (a[name] + b[name]) / 2 for name in a}}
    for name in (name for name in found if name.startswith("first_stage_model.")):
        assert torch.allclose(found[name], states[expected][name], atol=1e-7), name


def test_a_third_model_may_give_its_vae_alone(tmp_path: Path, files: dict[str, Path]) -> None:
    found = merged(tmp_path, files, HALVES, vae="c")
    a, b, c = (load_file(files[name]) for name in "abc")
    assert torch.equal(found["first_stage_model.decoder.conv_in.weight"], c["first_stage_model.decoder.conv_in.weight"])
    name = "model.diffusion_model.out.2.weight"
    assert torch.allclose(found[name], (a[name].float() + b[name].float()) / 2)


def test_part_of_a_vae_may_be_merged(tmp_path: Path, files: dict[str, Path]) -> None:
    found = merged(tmp_path, only(files, "ab"), HALVES | {"parts": {"vae.decoder": {"a": 0, "b": 1}}})
    a, b = (load_file(files[name]) for name in "ab")
    for name in (name for name in found if name.startswith("first_stage_model.")):
        assert torch.equal(found[name], (b if ".decoder." in name else a)[name]), name


def test_nothing_is_loaded_before_its_turn() -> None:
    loaded: list[str] = []

    def counted(source: Source, model: str) -> Source:
        def stored(component: Any) -> Any:
            def lazy(name: str, tensor: LazyTensor) -> LazyTensor:
                def load() -> Tensor:
                    loaded.append(f"{model}.{name}")
                    return tensor.load()

                return LazyTensor(tensor.shape, tensor.dtype, load)

            return {name: lazy(name, tensor) for name, tensor in source.stored(component).items()}

        return dataclasses.replace(source, stored=stored)

    sources = {name: counted(source_of(build_tiny(seed)), name) for seed, name in enumerate("ab")}
    cfg = config("out", {"a": "", "b": ""}, HALVES | {"parts": {"unet.conv_out": {"a": 1, "b": 0}}})
    check_fit(cfg, sources)
    state = merged_source(cfg, sources, []).state("unet")
    assert loaded == []
    state["conv_in.weight"].load()
    assert sorted(loaded) == ["a.conv_in.weight", "b.conv_in.weight"]
    loaded.clear()
    state["conv_out.weight"].load()
    assert loaded == ["a.conv_out.weight"], "what has no weight is not read"


# ---- inputs


def test_a_run_an_export_and_a_merge_are_models_too(tmp_path: Path, files: dict[str, Path]) -> None:
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    (run_folder / "config.yaml").write_text("stage: train\nmodel: {base: 'random:tiny'}\n")
    trained = build_tiny(3)
    average = {name: 2 * tensor for name, tensor in trained.state_dict().items()}
    saved = Checkpoint(step=7, model=trained.state_dict(), ema={"0.999": average})
    checkpoint.save(saved, run_folder / "checkpoints")
    first = run(config(tmp_path / "first", {"a": run_folder, "b": files["b"]}, HALVES, formats=["diffusers"]))
    assert list(first.facts["trained"]) == ["a"], "nothing is known of the other"
    assert first.facts["trained"]["a"]["step"] == "7"
    assert first.facts["trained"]["a"]["weights"] == "ema-0.999"
    source = open_source(ModelConfig(base=str(tmp_path / "first")))
    ours = source.state("unet")["conv_in.weight"].load()
    b = load_file(files["b"])["model.diffusion_model.input_blocks.0.0.weight"].float()
    assert torch.allclose(ours, (average["unet.conv_in.weight"] + b) / 2, atol=1e-7)
    models = {"a": run_folder, "m": tmp_path / "first"}
    raw = config(tmp_path / "2", models, {"name": "weighted_sum", "weights": {"a": 0.5, "m": 0.5}})
    raw.models["a"] = InputConfig(base=str(run_folder), weights="raw")
    run(raw)
    found = load_file(tmp_path / "2" / "model.safetensors")
    expected = (trained.state_dict()["unet.conv_in.weight"] + ours) / 2
    assert torch.allclose(found["model.diffusion_model.input_blocks.0.0.weight"], expected, atol=1e-7)


# ---- what is refused


def in_memory(seed: int, **changes: Any) -> Source:
    return dataclasses.replace(source_of(build_tiny(seed), "memory"), **changes)


def fit(**sources: Source) -> None:
    check_fit(config("out", dict.fromkeys(sources, ""), HALVES), sources)


def test_other_architectures_are_refused(files: dict[str, Path]) -> None:
    models = build_tiny(0)
    wider = dataclasses.replace(
        models.architecture, unet=models.architecture.unet | {"block_out_channels": [32, 48, 96]}
    )
    from animetune.models.sdxl import build_random

    with pytest.raises(DataError, match=r"a and b are of different architecture: \d+ tensors of the unet differ"):
        fit(a=in_memory(0), b=source_of(build_random(wider, seed=0)))
    heads = dataclasses.replace(models.architecture, unet=models.architecture.unet | {"attention_head_dim": [2, 2, 2]})
    with pytest.raises(DataError, match=r"unet.attention_head_dim is \[4, 4, 4\] here, \[2, 2, 2\] there"):
        fit(a=in_memory(0), b=in_memory(1, architecture=heads))
    scaled = dataclasses.replace(models.architecture, vae=models.architecture.vae | {"scaling_factor": 0.18215})
    with pytest.raises(DataError, match="VAEs scale latents differently"):
        fit(a=in_memory(0), b=in_memory(1, architecture=scaled))
    larger = dataclasses.replace(models.architecture, unet=models.architecture.unet | {"sample_size": 128})
    fit(a=in_memory(0), b=in_memory(1, architecture=larger))


@pytest.mark.parametrize(
    "other",
    [Parameterization("v"), Parameterization("v", True), Parameterization("flow", shift=3)],
    ids=["v", "v with zero terminal SNR", "flow"],
)
def test_other_predictions_are_refused(other: Parameterization) -> None:
    with pytest.raises(DataError, match=r"a predicts epsilon, b (v|a flow).*, and their sum neither"):
        fit(a=in_memory(0), b=in_memory(1, parameterization=other))


def test_a_prediction_that_a_file_does_not_say_can_be_stated(tmp_path: Path, files: dict[str, Path]) -> None:
    cfg = config(tmp_path / "out", only(files, "ab"), HALVES, prediction="v")
    run(cfg)
    source = open_source(ModelConfig(base=str(tmp_path / "out")))
    assert source.parameterization == Parameterization("v")
    with pytest.raises(ConfigError, match="only v prediction has it"):
        run(config(tmp_path / "zero", only(files, "ab"), HALVES, zero_terminal_snr=True))


def test_damaged_weights_are_named_and_nothing_is_left(tmp_path: Path, files: dict[str, Path]) -> None:
    def damage(models: Sdxl) -> None:
        models.unet.conv_out.bias[1] = 1e30

    broken = tiny_file(tmp_path / "broken", 5, changed=damage)
    data = bytearray(broken.read_bytes())
    place = data.find(torch.tensor([1e30]).numpy().tobytes())
    data[place : place + 4] = torch.tensor([float("nan")]).numpy().tobytes()
    broken.write_bytes(data)
    with pytest.raises(DataError, match=r"b: unet.conv_out.bias: holds NaN or infinity"):
        run(config(tmp_path / "out", {"a": files["a"], "b": broken}, HALVES))
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp-")] == []


def test_licences_bind_the_merge(tmp_path: Path, files: dict[str, Path]) -> None:
    bound = tiny_file(tmp_path / "bound", 4, license="faipl-1.0-sd")
    with pytest.raises(ConfigError, match=r"about.license: openrail\+\+: b is under faipl-1.0-sd"):
        run(config(tmp_path / "out", {"a": files["a"], "b": bound}, HALVES))
    assert not (tmp_path / "out").exists()


def test_licences_of_the_models_are_kept_and_a_missing_one_is_told(
    tmp_path: Path, files: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    silent = tmp_path / "silent.safetensors"
    with safe_open(files["b"], "pt") as opened:
        metadata = {key: value for key, value in opened.metadata().items() if key != "modelspec.license"}
    write_tensors(silent, load_file(files["b"]), **metadata)
    manifest = run(config(tmp_path / "out", {"a": files["a"], "b": silent}, HALVES))
    assert manifest.facts["licences"] == {"a": "openrail++"}
    assert manifest.facts["hub"] == {}
    assert "b: its licence (none stated) is not known here" in caplog.text


@pytest.mark.parametrize(
    ("models", "method", "problem"),
    [
        ("ab", {"name": "weighted_sum", "weights": {"a": 0.5, "b": 0.4}}, "sum to 0.9, not to 1"),
        ("ab", {"name": "weighted_sum", "weights": {"a": 1, "b": -1}, "normalize": True}, "cannot be normalized"),
        ("ab", HALVES | {"parts": {"unet": {"a": 0.9, "b": 0.2}}}, "parts.unet: they sum to 1.1"),
        ("ab", HALVES | {"parts": {"unet": {"a": 1}}}, "should give a weight to each of a, b"),
        ("a", {"name": "weighted_sum", "weights": {"a": 1}}, "one model alone"),
        ("a", None, "one model alone"),
        ("ab", None, "method: is needed"),
        ("abc", HALVES, "the method uses no c"),
        ("ab", {"name": "slerp", "first": "a", "second": "d"}, "d: models has only a, b"),
        ("ab", {"name": "slerp", "first": "a", "second": "b", "t": 1.5}, "less than or equal to 1"),
        ("ab", {"name": "weighted_sum", "weights": {"a": float("nan"), "b": 1}}, "finite"),
    ],
)
def test_configurations_that_make_no_sense(models: str, method: Any, problem: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=problem):
        config("out", dict.fromkeys(models, "random:tiny"), method)


def test_a_vae_is_either_taken_or_merged() -> None:
    method = HALVES | {"parts": {"vae": {"a": 0.5, "b": 0.5}}}
    with pytest.raises(pydantic.ValidationError, match="merges the VAEs already"):
        config("out", {"a": "", "b": ""}, method, vae="a")


# ---- what is published


def published(tmp_path: Path, files: dict[str, Path], **settings: Any) -> Manifest:
    return run(config(tmp_path / "out", only(files, "ab"), HALVES, **settings))


def test_a_merge_is_laid_out_as_an_export(tmp_path: Path, files: dict[str, Path]) -> None:
    manifest = published(tmp_path, files, formats=["diffusers", "single_file"], dtype="float16", name="mine")
    out = tmp_path / "out"
    assert manifest.kind == "merge"
    assert verify_files(out, manifest) == []
    assert manifest.inputs.keys() == {f"{model}/{network}" for model in "ab" for network in ("settings", *COMPONENTS)}
    with safe_open(out / "mine.safetensors", framework="pt") as stream:
        metadata = stream.metadata()
    assert metadata["modelspec.merged_from"] == "a, b"
    assert json.loads(metadata["animetune.merge"])["method"]["weights"] == {"a": 0.5, "b": 0.5}
    for file in [out / "manifest.json", out / "mine.safetensors", *out.rglob("*.json")]:
        assert str(tmp_path).encode() not in file.read_bytes(), "no place is published"

    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline.from_pretrained(out / "diffusers", variant="fp16")
    single = open_source(ModelConfig(base=str(out / "mine.safetensors"))).state("unet")
    for name, tensor in pipeline.unet.state_dict().items():
        assert torch.equal(tensor, single[name].load().float()), name


def test_again_and_something_else(tmp_path: Path, files: dict[str, Path]) -> None:
    first = published(tmp_path, files)
    changed = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    assert published(tmp_path, files) == first
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == changed
    with pytest.raises(SetupError, match="holds another merge"):
        run(config(tmp_path / "out", only(files, "ab"), HALVES, vae="b"))
    with pytest.raises(SetupError, match="holds another merge"):
        run(config(tmp_path / "out", {"a": files["a"], "b": files["c"]}, HALVES))
    from animetune.export.config import ExportConfig
    from animetune.export.run import run as export

    with pytest.raises(ConfigError, match="is a merge"):
        export(ExportConfig(stage="export", base="random:tiny", out=str(tmp_path / "out"), about=ABOUT))
