"""Exports reloaded by diffusers itself, offline; metadata, markers, precision, and equal bytes every time."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import animetune
from animetune import checkpoint
from animetune.checkpoint import Checkpoint
from animetune.errors import ConfigError, DataError, SetupError
from animetune.export.config import ExportConfig
from animetune.export.run import run
from animetune.manifest import Manifest, verify_files
from animetune.models.config import ModelConfig
from animetune.models.load import load_models
from animetune.models.sdxl import COMPONENTS, Parameterization, Sdxl, sdxl_configs
from animetune.models.source import Source
from animetune.models.tiny import build_tiny, tiny_configs
from animetune.weights.config import AboutConfig
from animetune.weights.metadata import model_spec
from tests.builders import token_ids

ABOUT = AboutConfig(title="Tiny", license="openrail++", author="someone", tags=("anime", "tiny"), usage_hint="tags")
PROMPTS = ("1girl, blue hair", "a photo of a cat")


def export(out: Path, base: Path | str = "random:tiny", **settings: object) -> Manifest:
    return run(ExportConfig(stage="export", base=str(base), out=str(out), about=ABOUT, **settings))


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as stream:
        return dict(stream.metadata())


def marked(path: Path) -> set[str]:
    with safe_open(path, framework="pt") as stream:
        return {name for name in stream.keys() if "." not in name}  # noqa: SIM118


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of `random:tiny` in float32."""
    out = tmp_path_factory.mktemp("export") / "out"
    manifest = export(out, dtype="float32")
    assert verify_files(out, manifest) == []
    return out


@pytest.fixture(scope="module")
def models() -> Sdxl:
    return build_tiny(0).requires_grad_(False)


def reloaded(exported: Path, how: str):
    from diffusers import StableDiffusionXLPipeline
    from diffusers.utils import logging

    logging.disable_progress_bar()
    if how == "folder":
        return StableDiffusionXLPipeline.from_pretrained(exported / "diffusers", use_safetensors=True)
    return StableDiffusionXLPipeline.from_single_file(
        exported / "model.safetensors", config=str(exported / "diffusers"), local_files_only=True
    )


@pytest.mark.parametrize("how", ["folder", "single file"])
def test_diffusers_reloads_equal_networks(exported: Path, models: Sdxl, how: str) -> None:
    pipeline = reloaded(exported, how)
    for component in COMPONENTS:
        theirs, ours = getattr(pipeline, component).state_dict(), getattr(models, component).state_dict()
        assert theirs.keys() == ours.keys()
        for name in ours:
            assert torch.equal(theirs[name], ours[name]), f"{component}.{name}"
    assert pipeline.vae.config.scaling_factor == 0.13025
    assert pipeline.vae.config.force_upcast is True
    assert pipeline.scheduler.config.prediction_type == "epsilon"


@pytest.mark.parametrize("how", ["folder", "single file"])
def test_diffusers_computes_the_same(exported: Path, models: Sdxl, how: str) -> None:
    """Tokenizers, text states, pooled vector and UNet of the pipeline against ours: one wrong transpose would show."""
    pipeline = reloaded(exported, how)
    with torch.no_grad():
        hidden, negative, pooled, negative_pooled = pipeline.encode_prompt(list(PROMPTS), device="cpu")
        text, empty = models.encode_text(token_ids(*PROMPTS)), models.encode_text(token_ids("", ""))
        torch.testing.assert_close(hidden, text.hidden)
        torch.testing.assert_close(pooled, text.pooled)
        torch.testing.assert_close(negative, empty.hidden)
        torch.testing.assert_close(negative_pooled, empty.pooled)

        x_t, t = torch.linspace(-2, 2, 2 * 4 * 8 * 8).reshape(2, 4, 8, 8), torch.tensor([30, 800])
        time_ids = torch.tensor([[96.0, 64, 0, 8, 64, 64]] * 2)
        theirs = pipeline.unet(
            x_t, t, encoder_hidden_states=hidden, added_cond_kwargs={"text_embeds": pooled, "time_ids": time_ids}
        ).sample
        torch.testing.assert_close(theirs, models.predict(x_t, t, text, time_ids))


def test_pipeline_draws_a_picture(exported: Path) -> None:
    pipeline = reloaded(exported, "folder")
    pipeline.set_progress_bar_config(disable=True)
    (picture,) = pipeline("1girl", num_inference_steps=2, height=64, width=64).images
    assert picture.size == (64, 64)


def test_tensors_of_the_single_file(exported: Path, models: Sdxl) -> None:
    stored = load_file(exported / "model.safetensors")
    weight = models.text_encoder_2.text_projection.weight
    assert torch.equal(stored["conditioner.embedders.1.model.text_projection"], weight.T)
    assert not torch.equal(weight, weight.T)
    assert stored["conditioner.embedders.1.model.logit_scale"].item() == pytest.approx(4.6052, abs=1e-4)
    assert stored["first_stage_model.decoder.mid.attn_1.q.weight"].ndim == 4, "a convolution"
    prefixes = ("model.diffusion_model.", "conditioner.embedders.", "first_stage_model.")
    assert all(name.startswith(prefixes) for name in stored), "an epsilon model has no marker"


def test_metadata_is_modelspec(exported: Path) -> None:
    path = exported / "model.safetensors"
    metadata = header(path)
    side = 8 * tiny_configs().unet["sample_size"]
    expected = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-xl-v1-base",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.implementation_version": f"animetune/{animetune.__version__}",
        "modelspec.encoder_layer": "2",
        "modelspec.title": "Tiny",
        "modelspec.resolution": f"{side}x{side}",
        "modelspec.license": "openrail++",
        "modelspec.author": "someone",
        "modelspec.usage_hint": "tags",
        "modelspec.tags": "anime, tiny",
        "modelspec.prediction_type": "epsilon",
        "modelspec.predict_key": "epsilon",
        "modelspec.unet_dtype": "float32",
        "modelspec.vae_dtype": "float32",
        "format": "pt",
    }
    data = path.read_bytes()
    tensors = data[8 + int.from_bytes(data[:8], "little") :]
    assert metadata.pop("modelspec.hash_sha256") == "0x" + hashlib.sha256(tensors).hexdigest()
    assert json.loads(metadata.pop("animetune.architecture")) == dataclasses.asdict(tiny_configs())
    assert metadata == expected


def test_full_sdxl_needs_no_architecture_in_its_metadata() -> None:
    full = Source("full", sdxl_configs(), stored=lambda _: {}, files={})
    metadata = model_spec(ABOUT, full, dtype=torch.float16, vae_dtype=torch.float32)
    assert metadata["modelspec.resolution"] == "1024x1024"
    assert metadata["modelspec.unet_dtype"] == "float16"
    assert not any(key.startswith("animetune.") for key in metadata)


@pytest.mark.parametrize(
    ("zero_terminal_snr", "markers"), [(False, {"v_pred"}), (True, {"v_pred", "ztsnr"})], ids=["v", "v ztsnr"]
)
def test_v_prediction_is_marked_everywhere(tmp_path: Path, zero_terminal_snr: bool, markers: set[str]) -> None:
    export(tmp_path / "out", prediction="v", zero_terminal_snr=zero_terminal_snr)
    path = tmp_path / "out" / "model.safetensors"
    assert marked(path) == markers
    stored = load_file(path)
    assert all(stored[name].shape == (0,) for name in markers)
    assert header(path)["modelspec.prediction_type"] == header(path)["modelspec.predict_key"] == "v"

    from diffusers import EulerAncestralDiscreteScheduler

    scheduler = EulerAncestralDiscreteScheduler.from_pretrained(tmp_path / "out" / "diffusers" / "scheduler")
    assert scheduler.config.prediction_type == "v_prediction"
    assert scheduler.config.rescale_betas_zero_snr is zero_terminal_snr
    scheduler.set_timesteps(4)
    if zero_terminal_snr:
        assert scheduler.config.timestep_spacing == "trailing"
        assert scheduler.timesteps[0] == 999, "the step of pure noise is visited"
    # Both forms say it to our own loader, too.
    for base in (path, tmp_path / "out" / "diffusers"):
        assert load_models(ModelConfig(base=str(base))).parameterization == Parameterization("v", zero_terminal_snr)


def flow_run(folder: Path, **diffusion: object) -> Path:
    """A run directory whose UNet predicts a flow."""
    folder.mkdir()
    settings = json.dumps({"prediction": "flow", **diffusion})
    (folder / "config.yaml").write_text(f"stage: train\nmodel: {{base: 'random:tiny'}}\ndiffusion: {settings}\n")
    checkpoint.save(Checkpoint(step=1, model=build_tiny(3).state_dict()), folder / "checkpoints")
    return folder


def test_a_flow_is_named_and_its_user_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No tensor makes a user interface recognize a flow; what can be said is said, and our own loader reads it."""
    base = flow_run(tmp_path / "run", shift=3, shift_by_area=True)
    export(tmp_path / "out", base)
    assert "ModelSamplingSD3 with shift 3" in caplog.text
    path = tmp_path / "out" / "model.safetensors"
    assert marked(path) == set()
    metadata = header(path)
    assert metadata["modelspec.prediction_type"] == "flow"
    assert "modelspec.predict_key" not in metadata
    assert metadata["modelspec.usage_hint"].startswith("tags A rectified flow")
    assert load_models(ModelConfig(base=str(path))).parameterization == Parameterization("flow", False, 3, True)
    folder = tmp_path / "out" / "diffusers"
    assert load_models(ModelConfig(base=str(folder))).parameterization == Parameterization("flow", False, 3, True)
    again = export(tmp_path / "again", path)
    assert again.files["model.safetensors"].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_flow_that_does_not_say_so_and_one_that_is_none(tmp_path: Path) -> None:
    export(tmp_path / "out", prediction="flow", formats=("single_file",))
    path = tmp_path / "out" / "model.safetensors"
    assert load_models(ModelConfig(base=str(path))).parameterization == Parameterization("flow")
    with pytest.raises(ConfigError, match="a flow has no such thing"):
        export(tmp_path / "zero", prediction="flow", zero_terminal_snr=True)
    export(tmp_path / "v", flow_run(tmp_path / "run", shift=3), prediction="v", formats=("single_file",))
    plain = load_models(ModelConfig(base=str(tmp_path / "v" / "model.safetensors"))).parameterization
    assert plain == Parameterization("v")


def test_diffusers_draws_the_flow_that_we_draw(tmp_path: Path) -> None:
    from diffusers import StableDiffusionXLPipeline
    from diffusers.utils import logging

    from animetune.diffusion.config import DiffusionConfig, SamplerConfig
    from animetune.diffusion.sampler import sample
    from animetune.records import Size
    from animetune.seeding import Purpose, rng_for

    logging.disable_progress_bar()
    export(tmp_path / "out", flow_run(tmp_path / "run", shift=3), dtype="float32", formats=("diffusers",))
    folder = tmp_path / "out" / "diffusers"
    steps, size = 40, Size(64, 64)
    noise = torch.from_numpy(rng_for(1, Purpose.SAMPLE).standard_normal((1, 4, 8, 8), dtype="float32"))
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        PROMPTS[0],
        height=64,
        width=64,
        num_inference_steps=steps,
        guidance_scale=1.0,
        latents=noise,
        output_type="latent",
    ).images
    models = load_models(ModelConfig(base=str(folder))).eval()

    def distance(shift: float | None) -> float:
        ours = sample(
            models,
            token_ids(PROMPTS[0]),
            negative_ids=token_ids(""),
            seeds=[1],
            size=size,
            diffusion=DiffusionConfig(**models.parameterization._asdict()),
            sampler=SamplerConfig(name="euler", steps=steps, cfg_scale=1.0, shift=shift),
        )
        return float((ours - theirs).norm() / theirs.norm())

    # diffusers begins at t = 0.999, goes by other places and rounds times down: alike, not equal
    assert distance(None) < 0.003
    assert distance(1.0) > 2 * distance(None), "another shift goes by other places"


def test_epsilon_has_sdxls_schedule(exported: Path) -> None:
    from diffusers import EulerAncestralDiscreteScheduler

    scheduler = EulerAncestralDiscreteScheduler.from_pretrained(exported / "diffusers" / "scheduler")
    assert scheduler.alphas_cumprod[0].item() == pytest.approx(1 - 0.00085, abs=1e-6)
    assert scheduler.alphas_cumprod[-1].item() == pytest.approx(0.0047, abs=2e-4)
    assert scheduler.config.timestep_spacing == "leading"


def test_epsilon_with_zero_terminal_snr_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a UNet that predicts epsilon cannot have it"):
        export(tmp_path / "out", zero_terminal_snr=True)
    assert not (tmp_path / "out").exists()


def test_two_exports_have_equal_bytes(exported: Path, tmp_path: Path) -> None:
    export(tmp_path / "again", dtype="float32")
    first, second = (sorted(root.rglob("*")) for root in (exported, tmp_path / "again"))
    assert [path.relative_to(exported) for path in first] == [path.relative_to(tmp_path / "again") for path in second]
    for ours, theirs in zip(first, second, strict=True):
        assert ours.is_dir() or ours.read_bytes() == theirs.read_bytes(), ours


@pytest.mark.parametrize(("form", "dtype"), [("model.safetensors", "float16"), ("diffusers", "bfloat16")])
def test_export_of_an_export_has_equal_bytes(tmp_path: Path, form: str, dtype: str) -> None:
    first = export(tmp_path / "first", dtype=dtype, prediction="v")
    second = export(tmp_path / "second", tmp_path / "first" / form, dtype=dtype)
    assert second.files == first.files
    assert second.inputs != first.inputs


def test_precision_is_as_asked(tmp_path: Path, models: Sdxl) -> None:
    export(tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {str(tensor.dtype) for name, tensor in stored.items() if not name.startswith("first_stage")} == {
        "torch.float16"
    }
    assert stored["first_stage_model.decoder.conv_in.weight"].dtype == torch.float32
    folder = tmp_path / "out" / "diffusers"
    assert (
        load_file(folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")["conv_in.weight"].dtype == torch.float16
    )
    assert load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")["quant_conv.bias"].dtype == torch.float32
    loaded = load_models(ModelConfig(base=str(tmp_path / "out" / "model.safetensors")))
    assert torch.equal(loaded.unet.conv_in.weight, models.unet.conv_in.weight.half().float())


def test_one_format_alone(tmp_path: Path) -> None:
    single = export(tmp_path / "single", formats=("single_file",), name="my-anime_xl.v2")
    assert set(single.files) == {"my-anime_xl.v2.safetensors"}
    folder = export(tmp_path / "folder", formats=("diffusers",))
    assert all(name.startswith("diffusers/") for name in folder.files)


def test_run_directory_is_exported_with_its_facts(tmp_path: Path) -> None:
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    (run_folder / "config.yaml").write_text(
        "stage: train\nmodel: {base: 'random:tiny'}\ndiffusion: {prediction: v, zero_terminal_snr: true}\n"
    )
    raw = build_tiny(9).state_dict()
    average = {"unet.conv_in.weight": raw["unet.conv_in.weight"] + 1}
    checkpoint.save(
        Checkpoint(step=12, model=raw, ema={"0.99": average}, state={"config_digest": "ab"}), run_folder / "checkpoints"
    )
    manifest = export(tmp_path / "out", run_folder, dtype="float32")
    assert manifest.facts == {"step": "12", "config_sha256": "ab", "weights": "ema-0.99"}
    path = tmp_path / "out" / "model.safetensors"
    metadata = header(path)
    assert metadata["animetune.step"] == "12"
    assert metadata["animetune.config_sha256"] == "ab"
    assert metadata["animetune.weights"] == "ema-0.99"
    assert str(tmp_path) not in json.dumps(metadata)
    assert marked(path) == {"v_pred", "ztsnr"}
    stored = load_file(path)["model.diffusion_model.input_blocks.0.0.weight"]
    assert torch.equal(stored, average["unet.conv_in.weight"])
    # A second export keeps what the first one knew of the training.
    export(tmp_path / "again", path, dtype="float32")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == path.read_bytes()


def test_a_finished_export_is_left_alone_and_another_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = export(out, formats=("single_file",))
    stamp = (out / "model.safetensors").stat().st_mtime_ns
    assert export(out, formats=("single_file",)) == first
    assert (out / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(SetupError, match="holds another export"):
        export(out, formats=("single_file",), dtype="bfloat16")
    (tmp_path / "foreign").mkdir()
    with pytest.raises(SetupError, match="holds another export"):
        export(tmp_path / "foreign", formats=("single_file",))


def test_what_a_base_says_beside_its_weights_is_part_of_the_request(exported: Path, tmp_path: Path) -> None:
    """A folder's scheduler decides what the UNet is said to predict, and its bytes are in none of the networks'."""
    base, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(exported / "diffusers", base)
    first = export(out, base, formats=("single_file",))
    assert export(out, base, formats=("single_file",)) == first
    scheduler = base / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace('"epsilon"', '"v_prediction"'))
    with pytest.raises(SetupError, match="holds another export"):
        export(out, base, formats=("single_file",))


def test_weights_that_are_made_are_told_apart_by_their_name(tmp_path: Path) -> None:
    export(tmp_path / "out", "random:tiny", formats=("single_file",))
    with pytest.raises(SetupError, match="holds another export"):
        export(tmp_path / "out", "random:sdxl", formats=("single_file",))


def test_an_overflow_names_the_tensor_and_leaves_nothing(tmp_path: Path) -> None:
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    (run_folder / "config.yaml").write_text("stage: train\nmodel: {base: 'random:tiny'}\n")
    raw = dict(build_tiny(0).state_dict())
    raw["unet.conv_in.bias"] = raw["unet.conv_in.bias"].clone().fill_(1e5)
    checkpoint.save(Checkpoint(step=1, model=raw), run_folder / "checkpoints")
    with pytest.raises(DataError, match=r"input_blocks\.0\.0\.bias: 100000 does not fit torch\.float16"):
        export(tmp_path / "out", run_folder)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["run"]
    assert not list(tmp_path.glob(".tmp-*"))
    export(tmp_path / "out", run_folder, dtype="bfloat16", formats=("single_file",))


def test_shipped_config_loads() -> None:
    from animetune.config import load_config, shipped_configs

    cfg = load_config(shipped_configs() / "export.yaml", ExportConfig)
    assert cfg.about.license == "openrail++"


@pytest.mark.parametrize(
    "change", ["name: ../escape", "formats: []", "about: {title: x}", "about: {title: x, license: y, date: soon}"]
)
def test_config_refuses(tmp_path: Path, change: str) -> None:
    from animetune.config import load_config

    path = tmp_path / "export.yaml"
    settings = {"stage": "export", "base": "b", "out": "o", "about": "{title: x, license: y}"}
    key, _, value = change.partition(": ")
    path.write_text("".join(f"{name}: {text}\n" for name, text in {**settings, key: value}.items()))
    with pytest.raises(ConfigError, match=key):
        load_config(path, ExportConfig)
