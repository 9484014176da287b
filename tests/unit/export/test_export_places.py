"""What can be exported and what comes of it: chains of runs, exports of exports, licences, files for other programs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from animetune import checkpoint
from animetune.checkpoint import Checkpoint
from animetune.errors import ConfigError, DataError
from animetune.export.config import ExportConfig
from animetune.export.run import run
from animetune.manifest import Manifest
from animetune.models.config import ModelConfig
from animetune.models.load import load_models, vae_digest
from animetune.models.sources import open_source
from animetune.models.tiny import build_tiny
from tests.builders import token_ids

ABOUT = {"title": "Tiny", "license": "openrail++"}


def export(out: Path, base: Path | str = "random:tiny", about: dict[str, object] | None = None, **settings) -> Manifest:
    return run(
        ExportConfig.model_validate(
            {"stage": "export", "base": str(base), "out": str(out), "about": ABOUT | (about or {}), **settings}
        )
    )


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as stream:
        return dict(stream.metadata())


def train_run(folder: Path, base: Path | str, *, seed: int, average: bool = True, **settings: object) -> Path:
    """A run directory that started from `base`, with a checkpoint of other weights."""
    folder.mkdir()
    config = {"stage": "train", "model": {"base": str(base)}, **settings}
    (folder / "config.yaml").write_text(json.dumps(config))
    raw = {name: tensor.bfloat16() for name, tensor in build_tiny(seed).state_dict().items()}
    ema = {"0.999": {name: tensor.float() * 0.5 for name, tensor in raw.items()}} if average else {}
    state = {"config_digest": f"c{seed}", "data": {"shards": "aa bb", "labels": "cc dd", "repeats": "00"}}
    checkpoint.save(Checkpoint(step=seed, model=raw, ema=ema, state=state), folder / "checkpoints")
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of random:tiny, float16 with a VAE in float32."""
    out = tmp_path_factory.mktemp("published") / "out"
    export(out)
    return out


# ---- for diffusers


@pytest.mark.parametrize(
    ("dtype", "vae_dtype", "variant", "names"),
    [
        ("float16", "float32", "fp16", (".fp16", "")),
        ("float16", "float16", "fp16", (".fp16", ".fp16")),
        ("bfloat16", "float32", None, ("", "")),
    ],
)
def test_diffusers_finds_the_variant(
    tmp_path: Path, dtype: str, vae_dtype: str, variant: str | None, names: tuple[str, str]
) -> None:
    from diffusers import StableDiffusionXLPipeline
    from diffusers.utils import logging

    logging.disable_progress_bar()
    export(tmp_path / "out", dtype=dtype, vae_dtype=vae_dtype, formats=("diffusers",))
    folder = tmp_path / "out" / "diffusers"
    stems = {"unet": "diffusion_pytorch_model", "text_encoder": "model", "text_encoder_2": "model"}
    for component, stem in stems.items():
        assert [path.name for path in (folder / component).glob("*.safetensors")] == [f"{stem}{names[0]}.safetensors"]
    assert (folder / "vae" / f"diffusion_pytorch_model{names[1]}.safetensors").is_file()
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        folder, variant=variant, use_safetensors=True, torch_dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    kind = getattr(torch, dtype)
    models = build_tiny(0)
    weight = models.unet.conv_in.weight.to(kind).float()
    assert torch.equal(pipeline.unet.conv_in.weight, weight)
    projection = models.text_encoder_2.text_projection.weight.to(kind).float()
    assert torch.equal(pipeline.text_encoder_2.text_projection.weight, projection)
    assert type(pipeline.scheduler).__name__ == "EulerAncestralDiscreteScheduler"
    (picture,) = pipeline("1girl", num_inference_steps=2, height=64, width=64).images
    assert picture.size == (64, 64)
    assert load_models(ModelConfig(base=str(folder))).unet.conv_in.weight.equal(weight)


@pytest.mark.parametrize(
    ("scheduler", "name"), [("euler", "EulerDiscrete"), ("euler_ancestral", "EulerAncestralDiscrete")]
)
@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_the_scheduler_visits_what_the_unet_was_trained_on(
    tmp_path: Path, scheduler: str, name: str, zero_terminal_snr: bool
) -> None:
    import diffusers

    from animetune.models.sdxl import Parameterization
    from animetune.weights.folder import scheduler_config

    config = scheduler_config(Parameterization("v", zero_terminal_snr), scheduler)
    (tmp_path / "scheduler_config.json").write_text(json.dumps(config))
    loaded = getattr(diffusers, f"{name}Scheduler").from_pretrained(tmp_path)
    assert config["_class_name"] == f"{name}Scheduler"
    assert not set(config) - set(loaded.config), "a key that diffusers does not know"
    assert loaded.config.prediction_type == "v_prediction"
    loaded.set_timesteps(4)
    assert loaded.timesteps[0] == (999 if zero_terminal_snr else 751)


def test_from_single_file_gives_the_same_pooled_vector(published: Path) -> None:
    from diffusers import StableDiffusionXLPipeline
    from diffusers.utils import logging

    logging.disable_progress_bar()
    pipeline = StableDiffusionXLPipeline.from_single_file(
        published / "model.safetensors",
        config=str(published / "diffusers"),
        local_files_only=True,
        torch_dtype=torch.float32,
    )
    models = load_models(ModelConfig(base=str(published)))
    prompts = ["1girl, blue hair", "a photo of a cat"]
    with torch.no_grad():
        _, _, pooled, _ = pipeline.encode_prompt(prompts, device="cpu")
        torch.testing.assert_close(pooled, models.encode_text(token_ids(*prompts)).pooled)


# ---- bases


@pytest.mark.parametrize("formats", [("single_file",), ("diffusers",), ("diffusers", "single_file")])
def test_an_exports_folder_is_a_base(published: Path, tmp_path: Path, formats: tuple[str, ...]) -> None:
    base = train_run(tmp_path / "run", "random:tiny", seed=3, diffusion={"prediction": "v"})
    first = export(tmp_path / "first", base, formats=formats)
    source = open_source(ModelConfig(base=str(tmp_path / "first")))
    assert source.parameterization.prediction == "v"
    assert source.licence == "openrail++"
    assert source.facts == first.facts
    again = export(tmp_path / "again", tmp_path / "first", formats=formats)
    assert again.files == first.files
    assert again.facts == first.facts


def test_an_exports_folder_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(out, formats=("single_file",))
    os.truncate(out / "model.safetensors", 1000)
    with pytest.raises(DataError, match=r"model\.safetensors is missing or cut off; make the export again"):
        open_source(ModelConfig(base=str(out)))


def test_a_folder_of_another_stage_is_no_base(tmp_path: Path) -> None:
    from animetune.manifest import write_manifest

    write_manifest(tmp_path, Manifest(kind="table", format_version=1))
    with pytest.raises(DataError, match=r"holds no weights but the output of another stage \(table\); name a run"):
        open_source(ModelConfig(base=str(tmp_path)))


@pytest.mark.parametrize("form", ["model.safetensors", "diffusers", "."])
def test_runs_in_a_row(published: Path, tmp_path: Path, form: str) -> None:
    """The weights of the last run, VAE and architecture of what the first one started from."""
    first = train_run(tmp_path / "one", published / form, seed=3)
    second = train_run(tmp_path / "two", first, seed=4, diffusion={"timesteps": {"range": [0, 200]}})
    manifest = export(tmp_path / "out", second, dtype="float32", formats=("single_file",))
    stored = load_file(tmp_path / "out" / "model.safetensors")
    ours = build_tiny(4).unet.conv_in.weight.bfloat16().float() * 0.5
    assert torch.equal(stored["model.diffusion_model.input_blocks.0.0.weight"], ours), "the average of the last run"
    loaded = load_models(ModelConfig(base=str(tmp_path / "out" / "model.safetensors")))
    assert vae_digest(loaded.vae) == vae_digest(build_tiny(0).vae)
    said = {"step": "4", "config_sha256": "c4", "weights": "ema-0.999", "shards": "aa bb", "labels": "cc dd",
            "timestep_range": "0,200"}  # fmt: skip
    assert manifest.facts == said
    found = header(tmp_path / "out" / "model.safetensors")
    ours_said = {key.removeprefix("animetune."): value for key, value in found.items() if key.startswith("animetune.")}
    assert ours_said.pop("architecture")
    assert ours_said == said
    assert found["modelspec.timestep_range"] == "0,200"
    assert str(tmp_path) not in json.dumps(found)

    export(tmp_path / "raw", second, weights="raw", dtype="bfloat16", formats=("single_file",))
    raw = load_file(tmp_path / "raw" / "model.safetensors")["model.diffusion_model.input_blocks.0.0.weight"]
    assert torch.equal(raw, build_tiny(4).unet.conv_in.weight.bfloat16())
    assert header(tmp_path / "raw" / "model.safetensors")["animetune.weights"] == "raw"


def test_a_base_without_vae_gets_another(published: Path, tmp_path: Path) -> None:
    state = load_file(published / "model.safetensors")
    bare = {name: tensor for name, tensor in state.items() if not name.startswith("first_stage_model.")}
    save_file(bare, tmp_path / "bare.safetensors", header(published / "model.safetensors"))
    with pytest.raises(DataError, match=r"bare\.safetensors: holds no tensor of the vae; name one with `vae`"):
        export(tmp_path / "out", tmp_path / "bare.safetensors")
    assert not list(tmp_path.glob("out*"))
    export(tmp_path / "out", tmp_path / "bare.safetensors", vae="random:tiny", formats=("single_file",))
    again = load_file(tmp_path / "out" / "model.safetensors")
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.bin", "model.safetensors"])
def test_pickles_are_refused_whatever_they_are_called(tmp_path: Path, name: str) -> None:
    torch.save({"state_dict": {"model.diffusion_model.out.2.bias": torch.zeros(4)}}, tmp_path / name)
    with pytest.raises(DataError, match=r"which can run code|they can run code"):
        export(tmp_path / "out", tmp_path / name)
    assert not [path for path in tmp_path.iterdir() if path.name not in (name, ".out.lock")]


def test_damage_deep_in_a_file_leaves_nothing(published: Path, tmp_path: Path) -> None:
    state = load_file(published / "model.safetensors")
    name = "model.diffusion_model.output_blocks.8.0.out_layers.3.weight"
    state[name][0, 0, 0, 0] = torch.nan
    save_file(state, tmp_path / "bad.safetensors", header(published / "model.safetensors"))
    with pytest.raises(DataError, match=rf"{name}: holds NaN or infinity"):
        export(tmp_path / "out", tmp_path / "bad.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.lock", "bad.safetensors"]


# ---- licences


def test_a_licence_that_the_base_forbids_is_refused(tmp_path: Path) -> None:
    export(tmp_path / "fair", about={"license": "faipl-1.0-sd"})
    train_run(tmp_path / "run", tmp_path / "fair" / "model.safetensors", seed=2, average=False)
    for base in ("fair", "fair/model.safetensors", "fair/diffusers", "run"):
        assert open_source(ModelConfig(base=str(tmp_path / base))).licence == "faipl-1.0-sd"
        with pytest.raises(ConfigError, match=r"about\.license: mit: .* is under faipl-1\.0-sd.*choose faipl-1\.0-sd"):
            export(tmp_path / "out", tmp_path / base, about={"license": "mit"})
    assert not (tmp_path / "out").exists()
    export(tmp_path / "out", tmp_path / "run", about={"license": "faipl-1.0-sd"}, formats=("single_file",))


@pytest.mark.parametrize(
    ("front", "licence"),
    [
        ("license: openrail++\ntags: [anime]", "openrail++"),
        ("license: other\nlicense_name: faipl-1.0-sd # see below", "faipl-1.0-sd"),
        ("license: 'cc-by-nc-4.0'", "cc-by-nc-4.0"),
        ("tags: [anime]", None),
        ("license: other", "other"),
    ],
)
def test_the_licence_of_a_folder_is_on_its_card(
    published: Path, tmp_path: Path, front: str, licence: str | None
) -> None:
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        (tmp_path / part).symlink_to(published / "diffusers" / part)
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n\n# A model\nlicense: mit\n")
    assert open_source(ModelConfig(base=str(tmp_path))).licence == licence


# ---- the run


def test_it_shows_how_far_it_is(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ANIMETUNE_PROGRESS", raising=False)
    export(tmp_path / "out", published)
    tensors = sum(len(load_file(path)) for path in (tmp_path / "out").rglob("*.safetensors"))
    assert f"export: {tensors}/{tensors} (100 %)" in capsys.readouterr().err


def test_a_thumbnail_counts_by_its_bytes_not_its_place(tmp_path: Path) -> None:
    from PIL import Image

    for name, colour in (("a.png", "red"), ("b.png", "red"), ("c.png", "blue")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / name)
    first = export(tmp_path / "out", about={"thumbnail": tmp_path / "a.png"}, formats=("single_file",))
    assert export(tmp_path / "out", about={"thumbnail": tmp_path / "b.png"}, formats=("single_file",)) == first
    from animetune.errors import SetupError

    with pytest.raises(SetupError, match="holds another export"):
        export(tmp_path / "out", about={"thumbnail": tmp_path / "c.png"}, formats=("single_file",))
