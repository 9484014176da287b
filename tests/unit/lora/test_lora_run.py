"""LoRAs taken out of a tuned model: exact where the difference is of low rank, loaded back by others and by merge."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from animetune.errors import ConfigError, DataError, SetupError
from animetune.lora.config import LoraConfig
from animetune.lora.layers import chosen_layers
from animetune.lora.run import run
from animetune.lora.table import table_lines
from animetune.manifest import Manifest, verify_files
from animetune.merge.config import MergeConfig
from animetune.merge.run import run as merge
from animetune.models.lora import Layer, lora_layers
from animetune.models.sdxl import Sdxl, sdxl_configs
from animetune.models.tiny import build_tiny, tiny_configs
from tests.tiny_weights import noise, tiny_file

ABOUT = {"title": "Tiny LoRA", "license": "openrail++", "trigger_phrase": "tiny"}
RANK = 3


@functools.cache
def layers() -> list[Layer]:
    return lora_layers(tiny_configs())


def is_linear_of_transformers(layer: Layer) -> bool:
    return ".attentions." in layer.tensor if layer.component == "unet" else ".encoder.layers." in layer.tensor


def tuned_by(chosen: Callable[[Layer], bool], rank: int = RANK) -> Callable[[Sdxl], None]:
    """Adds a difference of this rank to the layers."""

    def change(models: Sdxl) -> None:
        for layer in filter(chosen, layers()):
            out, *inputs = layer.shape
            columns = torch.Size(inputs).numel()
            difference = noise(f"{layer.kohya} 1", out, rank) @ noise(f"{layer.kohya} 2", rank, columns) * 0.01
            weight = getattr(models, layer.component).get_parameter(layer.module + ".weight")
            weight += difference.reshape(weight.shape)

    return change


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def tuned(base: Path) -> Path:
    return tiny_file(base.parent.parent / "tuned", changed=tuned_by(is_linear_of_transformers))


@pytest.fixture(scope="module")
def tuned_all(base: Path) -> Path:
    """Convolutions, too; one of its layers, `conv_out`, has but four rows."""
    return tiny_file(base.parent.parent / "tuned-all", changed=tuned_by(lambda layer: layer.component == "unet"))


def config(out: Path | str, tuned: Path | str, base: Path | str, **settings: Any) -> LoraConfig:
    plain = {"stage": "lora", "tuned": str(tuned), "base": str(base), "out": str(out), "about": ABOUT}
    return LoraConfig.model_validate(plain | settings)


ENERGY = {"name": "energy", "keep": 0.999999, "max_rank": 64, "max_conv_rank": 64}


@pytest.fixture(scope="module")
def extracted(tuned: Path, base: Path) -> Path:
    out = base.parent.parent / "lora"
    manifest = run(config(out, tuned, base, rank=ENERGY, dtype="float32"))
    assert verify_files(out, manifest) == []
    return out


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as stream:
        return dict(stream.metadata())


def test_the_rank_of_the_difference_is_found(extracted: Path) -> None:
    stored = load_file(extracted / "lora.safetensors")
    chosen = [layer for layer in layers() if is_linear_of_transformers(layer)]
    assert {name.partition(".")[0] for name in stored} == {layer.kohya for layer in chosen}
    for layer in chosen:
        assert stored[f"{layer.kohya}.lora_down.weight"].shape == (RANK, layer.shape[1])
        assert stored[f"{layer.kohya}.lora_up.weight"].shape == (layer.shape[0], RANK)
        assert stored[f"{layer.kohya}.alpha"].item() == RANK
        assert stored[f"{layer.kohya}.alpha"].shape == ()


def remade(tmp_path: Path, base: Path, lora: Path) -> dict[str, Tensor]:
    """The base with the LoRA merged into it."""
    settings = {"models": {"base": {"base": str(base)}}, "loras": [{"file": str(lora)}], "formats": ["single_file"]}
    plain = {"stage": "merge", "out": str(tmp_path / "remade"), "about": ABOUT, "dtype": "float32"}
    merge(MergeConfig.model_validate(plain | settings))
    return load_file(tmp_path / "remade" / "model.safetensors")


def test_base_and_lora_are_the_tuned_model(tmp_path: Path, extracted: Path, tuned: Path, base: Path) -> None:
    found = remade(tmp_path, base, extracted / "lora.safetensors")
    for name, tensor in load_file(tuned).items():
        assert torch.allclose(found[name], tensor, atol=1e-6), name


@pytest.mark.parametrize("svd", ["exact", "randomized"])
def test_convolutions_too(tmp_path: Path, tuned_all: Path, base: Path, svd: str) -> None:
    manifest = run(config(tmp_path / "lora", tuned_all, base, unet="all", rank=ENERGY, dtype="float32", svd=svd))
    ranks = {name: found["rank"] for name, found in manifest.facts["layers"].items()}
    assert set(ranks) == {layer.kohya for layer in layers() if layer.component == "unet"}
    assert set(ranks.values()) == {RANK}
    found = remade(tmp_path, base, tmp_path / "lora" / "lora.safetensors")
    for name, tensor in load_file(tuned_all).items():
        assert torch.allclose(found[name], tensor, atol=1e-6), name
    stored = load_file(tmp_path / "lora" / "lora.safetensors")
    assert stored["lora_unet_input_blocks_1_0_in_layers_2.lora_down.weight"].shape == (RANK, 32, 3, 3)
    assert stored["lora_unet_input_blocks_1_0_in_layers_2.lora_up.weight"].shape == (32, RANK, 1, 1)
    assert manifest.facts["unchanged"] == sum(is_linear_of_transformers(each) for each in layers()) - sum(
        is_linear_of_transformers(each) and each.component == "unet" for each in layers()
    )


def test_float16_keeps_nearly_all_and_says_how_much(tmp_path: Path, tuned: Path, base: Path) -> None:
    manifest = run(config(tmp_path / "lora", tuned, base, rank={"name": "fixed", "rank": 8}))
    path = tmp_path / "lora" / "lora.safetensors"
    stored = load_file(path)
    assert {each.dtype for name, each in stored.items() if name.endswith(".weight")} == {torch.float16}
    kept = [found["kept"] for found in manifest.facts["layers"].values()]
    assert min(kept) > 0.99999
    assert manifest.facts["held"] == {"unet": pytest.approx(1, abs=1e-5)} | dict.fromkeys(
        ("text_encoder", "text_encoder_2"), pytest.approx(1, abs=1e-5)
    )


def test_a_rank_too_small_keeps_what_the_singular_values_say(tmp_path: Path, tuned: Path, base: Path) -> None:
    manifest = run(config(tmp_path / "lora", tuned, base, rank={"name": "fixed", "rank": 1}, text_encoder=False))
    name = "down_blocks.1.attentions.0.proj_in.weight"
    (layer,) = (layer for layer in layers() if layer.tensor == name)
    ldm = f"model.diffusion_model.{layer.ldm}.weight"
    values = torch.linalg.svdvals((load_file(tuned)[ldm] - load_file(base)[ldm]).double())
    expected = (values[0].square() / values.square().sum()).item()
    assert manifest.facts["layers"][layer.kohya] == {"rank": 1, "kept": pytest.approx(expected, abs=1e-4)}
    assert manifest.facts["held"]["text_encoder"] == 0, "it changed, and was left out"
    lines = table_lines(manifest.facts)
    assert lines[0].split() == ["part", "layers", "rank", "kept"]
    assert any(line.startswith("unet.down_blocks.1 ") for line in lines)
    assert "text_encoder 0.0 %" in lines[-1]


def test_norms_and_embeddings_are_counted_as_lost(tmp_path: Path, base: Path) -> None:
    def change(models: Sdxl) -> None:
        tuned_by(is_linear_of_transformers)(models)
        models.unet.conv_norm_out.bias += 1

    other = tiny_file(tmp_path / "other", changed=change)
    manifest = run(config(tmp_path / "lora", other, base, rank=ENERGY))
    ours, theirs = load_file(other), load_file(base)
    prefix = "model.diffusion_model."
    total = sum((ours[name] - theirs[name]).double().square().sum().item() for name in ours if name.startswith(prefix))
    bias = ours[f"{prefix}out.0.bias"].numel()
    assert manifest.facts["held"]["unet"] == pytest.approx(1 - bias / total, abs=1e-5)


def test_what_the_file_says(extracted: Path, tuned: Path, base: Path, tmp_path: Path) -> None:
    found = metadata(extracted / "lora.safetensors")
    assert found["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert found["modelspec.title"] == "Tiny LoRA"
    assert found["modelspec.trigger_phrase"] == "tiny"
    assert found["modelspec.hash_sha256"].startswith("0x")
    assert found["ss_base_model_version"] == "sdxl_base_v1-0"
    assert found["ss_network_module"] == "networks.lora"
    assert found["ss_network_dim"] == found["ss_network_alpha"] == str(RANK)
    run(config(tmp_path / "lora", tuned, base, rank={"name": "energy", "keep": 0.6}))
    assert metadata(tmp_path / "lora" / "lora.safetensors")["ss_network_dim"] == "Dynamic"


def test_equal_inputs_give_equal_bytes(tmp_path: Path, extracted: Path, tuned: Path, base: Path) -> None:
    run(config(tmp_path / "again", tuned, base, rank=ENERGY, dtype="float32"))
    one, other = (folder / "lora.safetensors" for folder in (extracted, tmp_path / "again"))
    assert one.read_bytes() == other.read_bytes()
    manifest = (tmp_path / "again" / "manifest.json").read_text()
    assert str(tmp_path) not in manifest
    assert str(tuned.parent) not in manifest


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"unet": "attention", "text_encoder": False, "text_encoder_2": False}, 70 * 8),
        ({"unet": "transformer", "text_encoder": False, "text_encoder_2": False}, 722),
        ({"unet": "transformer"}, 722 + 72 + 192),
        ({"unet": "none"}, 72 + 192),
    ],
)
def test_layers_of_sdxl(settings: dict[str, Any], count: int) -> None:
    """70 transformer blocks with two attentions of four projections each; kohya's counts for all of them."""
    assert len(chosen_layers(config("out", "a", "b", **settings), sdxl_configs())) == count


def test_linear_and_all_layers_of_sdxl() -> None:
    linear, everything = (
        chosen_layers(config("out", "a", "b", unet=unet, text_encoder=False, text_encoder_2=False), sdxl_configs())
        for unet in ("linear", "all")
    )
    # 722, a time projection for each of 17 ResNet blocks, and two layers for time and sizes each
    assert len(linear) == 722 + 17 + 4
    assert all(len(layer.shape) == 2 for layer in linear)
    convolutions = {layer.tensor for layer in everything} - {layer.tensor for layer in linear}
    assert {"conv_in.weight", "conv_out.weight", "down_blocks.0.downsamplers.0.conv.weight"} <= convolutions
    assert all(layer.shape[2:] in ((1, 1), (3, 3)) for layer in everything if layer.tensor in convolutions)


def test_diffusers_loads_it(tmp_path: Path, tuned_all: Path, base: Path) -> None:
    """`load_lora_weights` and `fuse_lora` of diffusers, which need PEFT: base and LoRA are the tuned model."""
    from diffusers import StableDiffusionXLPipeline

    from animetune.models.config import ModelConfig
    from animetune.models.sources import open_source

    run(config(tmp_path / "lora", tuned_all, base, unet="all", rank=ENERGY, dtype="float32"))
    settings = {"models": {"a": {"base": str(base)}}, "loras": [{"file": str(tmp_path / "lora" / "lora.safetensors")}]}
    settings["loras"][0]["strength"] = 0
    plain = {"stage": "merge", "out": str(tmp_path / "base"), "about": ABOUT, "dtype": "float32"}
    merge(MergeConfig.model_validate(plain | settings))
    pipeline = StableDiffusionXLPipeline.from_pretrained(tmp_path / "base" / "diffusers")
    pipeline.load_lora_weights(tmp_path / "lora", weight_name="lora.safetensors")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    wanted = open_source(ModelConfig(base=str(tuned_all))).state("unet")
    for name, tensor in pipeline.unet.state_dict().items():
        assert torch.allclose(tensor, wanted[name].load(), atol=2e-6), name


def test_its_thumbnail_is_in_the_file_and_decides_what_it_is(tmp_path: Path, tuned: Path, base: Path) -> None:
    picture = tmp_path / "shown.png"
    Image.new("RGB", (4, 4)).save(picture)
    about = ABOUT | {"thumbnail": picture}
    run(config(tmp_path / "lora", tuned, base, about=about))
    with safe_open(tmp_path / "lora" / "lora.safetensors", framework="pt") as stream:
        assert stream.metadata()["modelspec.thumbnail"].startswith("data:image/png;base64,")
    moved = picture.rename(tmp_path / "moved.png")
    run(config(tmp_path / "lora", tuned, base, about=about | {"thumbnail": moved}))
    Image.new("RGB", (5, 5)).save(moved)
    with pytest.raises(SetupError, match="holds another lora"):
        run(config(tmp_path / "lora", tuned, base, about=about | {"thumbnail": moved}))


# ---- what is refused


def test_models_that_do_not_fit(tmp_path: Path, base: Path) -> None:
    # 11 transformers of 12 layers each, and two text encoders of 2 x 6
    with pytest.raises(DataError, match=r"is equal to .* in all 156 layers chosen"):
        run(config(tmp_path / "lora", base, base))
    assert not (tmp_path / "lora").exists()

    def predict_v(models: Sdxl) -> None:
        from animetune.models.sdxl import Parameterization

        models.parameterization = Parameterization("v")

    other = tiny_file(tmp_path / "v", changed=predict_v)
    with pytest.raises(DataError, match=r"predicts v, .* epsilon"):
        run(config(tmp_path / "lora", other, base))
    bound = tiny_file(tmp_path / "bound", 4, license="faipl-1.0-sd")
    with pytest.raises(ConfigError, match=r"is under faipl-1.0-sd"):
        run(config(tmp_path / "lora", bound, base))
    with pytest.raises(pydantic.ValidationError, match="no layer is named"):
        config("out", "a", "b", unet="none", text_encoder=False, text_encoder_2=False)


def test_again_and_something_else(tmp_path: Path, tuned: Path, base: Path) -> None:
    def take(**settings: Any) -> Manifest:
        return run(config(tmp_path / "lora", tuned, base, unet="attention", **settings))

    first = take()
    assert take() == first
    with pytest.raises(SetupError, match="holds another lora"):
        take(dtype="bfloat16")


def test_another_vae_is_warned_of(tmp_path: Path, tuned: Path, base: Path, caplog: pytest.LogCaptureFixture) -> None:
    def change(models: Sdxl) -> None:
        tuned_by(is_linear_of_transformers)(models)
        assert models.vae is not None
        models.vae.decoder.conv_in.bias += 1

    run(config(tmp_path / "1", tuned, base, unet="attention"))
    assert "another VAE" not in caplog.text
    run(config(tmp_path / "2", tiny_file(tmp_path / "vae", changed=change), base, unet="attention"))
    assert "has another VAE" in caplog.text


def test_a_tiny_model_of_another_width_is_refused(tmp_path: Path, base: Path) -> None:
    with pytest.raises(DataError, match="of different architecture"):
        run(config(tmp_path / "lora", base, _widened(tmp_path)))


def _widened(folder: Path) -> Path:
    import dataclasses

    from animetune import fsio
    from animetune.models.sdxl import build_random
    from animetune.models.source import source_of
    from animetune.weights.config import AboutConfig, WeightsTarget
    from animetune.weights.write import write_weights

    tiny = build_tiny(0).architecture
    wide = dataclasses.replace(tiny, unet=tiny.unet | {"block_out_channels": [32, 48, 96]})
    target = WeightsTarget(formats=("single_file",), dtype="float32")
    with fsio.publish_dir(folder / "wide") as temporary:
        write_weights(temporary, source_of(build_random(wide, seed=0)), target, AboutConfig(title="x", license="x"))
    return folder / "wide" / "model.safetensors"
