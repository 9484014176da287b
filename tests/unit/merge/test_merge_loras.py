"""LoRAs merged into a model: against layers that are run, against diffusers' own loader, and what is refused."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from animetune.errors import DataError
from animetune.merge.config import MergeConfig
from animetune.merge.run import run
from animetune.merge.source import merged_source
from animetune.models.lora import Layer, layer_names, lora_layers
from animetune.models.lora_file import open_lora
from animetune.models.source import Source, source_of
from animetune.models.tiny import build_tiny, tiny_configs
from tests.tiny_weights import lora_tensors, noise, write_tensors

ABOUT = {"title": "With a LoRA", "license": "openrail++"}


@functools.cache
def layers() -> list[Layer]:
    return lora_layers(tiny_configs())


@functools.cache
def tiny() -> Source:
    return source_of(build_tiny(0).requires_grad_(False))


def layer_of(tensor: str) -> Layer:
    (layer,) = (layer for layer in layers() if layer.tensor == tensor and layer.component == "unet")
    return layer


def with_loras(*loras: dict[str, Any]) -> Source:
    cfg = MergeConfig.model_validate(
        {"stage": "merge", "models": {"a": {"base": "random:tiny"}}, "loras": loras, "out": "out", "about": ABOUT}
    )
    opened = [open_lora(Path(each.file), tiny().architecture) for each in cfg.loras]
    return merged_source(cfg, {"a": tiny()}, opened)


def changed(source: Source, layer: Layer) -> Tensor:
    """What was added to a layer."""
    return source.state(layer.component)[layer.tensor].load() - tiny().state(layer.component)[layer.tensor].load()


LINEAR = "down_blocks.1.attentions.0.proj_in.weight"
WIDE = "down_blocks.0.resnets.0.conv1.weight"
POINT = "up_blocks.0.resnets.0.conv_shortcut.weight"


@pytest.mark.parametrize("tensor", [LINEAR, WIDE, POINT])
def test_a_layer_changes_as_if_both_factors_were_run_after_one_another(tmp_path: Path, tensor: str) -> None:
    """LoRA by its definition: layer(x) + strength * alpha / rank * up(down(x))."""
    layer = layer_of(tensor)
    tensors = lora_tensors([layer], rank=3, alpha=2)
    file = write_tensors(tmp_path / "lora.safetensors", tensors)
    delta = changed(with_loras({"file": str(file), "strength": 0.7}), layer)
    down, up = tensors[f"{layer.kohya}.lora_down.weight"], tensors[f"{layer.kohya}.lora_up.weight"]
    if len(layer.shape) == 2:
        x = noise("x", 5, layer.shape[1])
        expected = nn.functional.linear(nn.functional.linear(x, down), up)
        ours = nn.functional.linear(x, delta)
    else:
        x = noise("x", 2, layer.shape[1], 8, 8)
        expected = nn.functional.conv2d(nn.functional.conv2d(x, down, padding="same"), up)
        ours = nn.functional.conv2d(x, delta, padding="same")
    assert torch.allclose(ours, 0.7 * 2 / 3 * expected, atol=1e-5)
    assert ours.abs().max() > 1e-2


def test_tucker_form(tmp_path: Path) -> None:
    """LoCon with `lora_mid`: a 1x1, a 3x3 and a 1x1 convolution after one another."""
    layer = layer_of(WIDE)
    out, inputs, *kernel = layer.shape
    down, up = 0.3 * noise("down", 4, inputs, 1, 1), 0.3 * noise("up", out, 3, 1, 1)
    mid = 0.3 * noise("mid", 3, 4, *kernel)
    tensors = {
        f"{layer.kohya}.lora_down.weight": down,
        f"{layer.kohya}.lora_up.weight": up,
        f"{layer.kohya}.lora_mid.weight": mid,
        f"{layer.kohya}.alpha": torch.tensor(2.0),
    }
    file = write_tensors(tmp_path / "lora.safetensors", tensors)
    x = noise("x", 2, inputs, 8, 8)
    run_through = nn.functional.conv2d(nn.functional.conv2d(x, down), mid, padding="same")
    expected = 2 / 4 * nn.functional.conv2d(run_through, up)
    ours = nn.functional.conv2d(x, changed(with_loras({"file": str(file)}), layer), padding="same")
    assert torch.allclose(ours, expected, atol=1e-5)


def test_without_alpha_it_is_the_rank(tmp_path: Path) -> None:
    layer = layer_of(LINEAR)
    tensors = lora_tensors([layer], rank=3, alpha=None)
    file = write_tensors(tmp_path / "lora.safetensors", tensors)
    product = tensors[f"{layer.kohya}.lora_up.weight"] @ tensors[f"{layer.kohya}.lora_down.weight"]
    assert torch.allclose(changed(with_loras({"file": str(file)}), layer), product, atol=1e-6)


def test_alpha_of_pefts_metadata(tmp_path: Path) -> None:
    layer, other = layer_of(LINEAR), layer_of("mid_block.attentions.0.proj_in.weight")
    tensors = {}
    for each in (layer, other):
        factors = lora_tensors([each], rank=4, alpha=None)
        tensors[f"unet.{each.module}.lora_A.weight"] = factors[f"{each.kohya}.lora_down.weight"]
        tensors[f"unet.{each.module}.lora_B.weight"] = factors[f"{each.kohya}.lora_up.weight"]
    settings = {"unet.r": 4, "unet.lora_alpha": 8, "unet.alpha_pattern": {other.module: 2}, "unet.use_dora": False}
    file = write_tensors(tmp_path / "lora.safetensors", tensors, lora_adapter_metadata=json.dumps(settings))
    source = with_loras({"file": str(file)})
    for each, scale in ((layer, 2.0), (other, 0.5)):
        product = tensors[f"unet.{each.module}.lora_B.weight"] @ tensors[f"unet.{each.module}.lora_A.weight"]
        assert torch.allclose(changed(source, each), scale * product, atol=1e-6)
    settings["unet.use_dora"] = True
    file = write_tensors(tmp_path / "dora.safetensors", tensors, lora_adapter_metadata=json.dumps(settings))
    with pytest.raises(DataError, match=r"is DoRA by its metadata \(unet.use_dora\)"):
        with_loras({"file": str(file)})


def test_all_spellings_mean_the_same(tmp_path: Path) -> None:
    spellings = {
        "kohya": lambda layer: (layer.kohya, "lora_down", "lora_up"),
        "diffusers' names by kohya": lambda layer: (list(layer_names(layer))[1], "lora_down", "lora_up"),
        "PEFT": lambda layer: (f"{layer.component}.{layer.module}", "lora_A", "lora_B"),
        "old diffusers": lambda layer: (f"{layer.component}.{layer.module}", "lora.down", "lora.up"),
        "the single file's by PEFT": lambda layer: (list(layer_names(layer))[3], "lora_A", "lora_B"),
    }
    factors = lora_tensors(layers(), rank=2, alpha=None)
    for place, spell in enumerate(spellings.values()):
        tensors = {}
        for layer in layers():
            name, down, up = spell(layer)
            tensors[f"{name}.{down}.weight"] = factors[f"{layer.kohya}.lora_down.weight"]
            tensors[f"{name}.{up}.weight"] = factors[f"{layer.kohya}.lora_up.weight"]
        lora = open_lora(write_tensors(tmp_path / f"{place}.safetensors", tensors), tiny().architecture)
        assert lora.factors.keys() == {(layer.component, layer.tensor) for layer in layers()}


def test_strength_by_part_and_several_loras(tmp_path: Path) -> None:
    one = write_tensors(tmp_path / "one.safetensors", lora_tensors(layers(), rank=2))
    two = write_tensors(tmp_path / "two.safetensors", lora_tensors([layer_of(LINEAR)], rank=5))
    text = next(layer for layer in layers() if layer.component == "text_encoder")
    source = with_loras({"file": str(one), "strength": 0.5, "parts": {"text_encoder": 0, "M00": 2}})
    assert changed(source, text).abs().max() == 0
    whole = with_loras({"file": str(one)})
    assert torch.allclose(2 * changed(source, layer_of(LINEAR)), changed(whole, layer_of(LINEAR)), atol=1e-6)
    middle = layer_of("mid_block.attentions.0.proj_in.weight")
    assert torch.allclose(changed(source, middle), 2 * changed(whole, middle), atol=1e-6)
    both = with_loras({"file": str(one)}, {"file": str(two), "strength": -1})
    alone = with_loras({"file": str(two), "strength": -1})
    expected = changed(whole, layer_of(LINEAR)) + changed(alone, layer_of(LINEAR))
    assert torch.allclose(changed(both, layer_of(LINEAR)), expected, atol=1e-6)


def test_what_a_lora_does_not_name_stays_bit_for_bit(tmp_path: Path) -> None:
    file = write_tensors(tmp_path / "one.safetensors", lora_tensors([layer_of(LINEAR)]))
    out = tmp_path / "out"
    settings = {"stage": "merge", "models": {"a": {"base": "random:tiny"}}, "about": ABOUT, "dtype": "float32"}
    manifest = run(MergeConfig.model_validate(settings | {"loras": [{"file": str(file)}], "out": str(out)}))
    assert "loras/0" in manifest.inputs
    assert manifest.facts["loras"] == [{"file": "one.safetensors", "strength": 1.0, "parts": {}}]
    stored = load_file(out / "model.safetensors")
    state = tiny().state("unet")
    from animetune.models.networks import network_links

    for link in network_links(tiny().architecture, "unet"):
        same = torch.equal(stored[link.ldm], state[link.names[0]].load())
        assert same is (link.names[0] != LINEAR), link.ldm


def test_diffusers_fuses_the_same(tmp_path: Path) -> None:
    """`load_lora_weights` and `fuse_lora` of diffusers, which need PEFT."""
    from diffusers import StableDiffusionXLPipeline

    chosen = [
        layer for layer in layers() if ".attentions." in layer.tensor or ".layers." in layer.tensor or layer.is_wide
    ]
    file = write_tensors(tmp_path / "lora.safetensors", lora_tensors(chosen, rank=3, alpha=2))
    settings = {"stage": "merge", "models": {"a": {"base": "random:tiny"}}, "about": ABOUT, "dtype": "float32"}
    plain = {"loras": [{"file": str(file), "strength": 0}], "out": str(tmp_path / "plain")}
    run(MergeConfig.model_validate(settings | plain))
    source = with_loras({"file": str(file), "strength": 0.8})
    pipeline = StableDiffusionXLPipeline.from_pretrained(tmp_path / "plain" / "diffusers")
    pipeline.load_lora_weights(tmp_path, weight_name="lora.safetensors")
    pipeline.fuse_lora(lora_scale=0.8)
    pipeline.unload_lora_weights()
    seen = 0
    for component in ("unet", "text_encoder", "text_encoder_2"):
        theirs = getattr(pipeline, component).state_dict()
        for name, tensor in source.state(component).items():
            assert torch.allclose(theirs[name], tensor.load(), atol=1e-6), name
            seen += not torch.equal(theirs[name], tiny().state(component)[name].load())
    assert seen == len(chosen)


# ---- what is refused


def refused(tmp_path: Path, tensors: dict[str, Tensor], problem: str, **metadata: str) -> None:
    file = write_tensors(tmp_path / "lora.safetensors", tensors, **metadata)
    with pytest.raises(DataError, match=problem):
        open_lora(file, tiny().architecture)


def test_keys_of_no_layer_are_listed(tmp_path: Path) -> None:
    good = lora_tensors([layer_of(LINEAR)])
    foreign = {f"lora_unet_nowhere_{place}.lora_down.weight": torch.zeros(2, 2) for place in range(7)}
    refused(tmp_path, good | foreign, "7 of its keys are of no layer: lora_unet_nowhere_0.lora_down.weight, .* 2 more")
    refused(tmp_path, {"model.weight": torch.zeros(1)}, "is no LoRA for this model: 1 of its keys")


def test_a_lora_of_another_model_is_named(tmp_path: Path) -> None:
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    old = {f"{name}.lora_down.weight": torch.zeros(2, 768), f"{name}.lora_up.weight": torch.zeros(3072, 2)}
    refused(tmp_path, old, "made for sd_v1", ss_base_model_version="sd_v1")
    refused(tmp_path, old, "made for Stable Diffusion 1 or 2, by its keys")


def test_other_shapes_are_refused(tmp_path: Path) -> None:
    layer = layer_of(LINEAR)
    other = Layer(layer.component, layer.tensor, (64, 64), layer.kohya, layer.ldm)
    told = (
        r"does not fit the model in 1 of 1 layers: lora_unet_.* is \[48, 48\] in the model, the LoRA has down \[3, 64\]"
    )
    refused(tmp_path, lora_tensors([other]), told)
    wide = layer_of(WIDE)
    pointed = Layer(wide.component, wide.tensor, (*wide.shape[:2], 1, 1), wide.kohya, wide.ldm)
    refused(tmp_path, lora_tensors([pointed]), "does not fit")


def test_half_a_lora_is_refused(tmp_path: Path) -> None:
    tensors = lora_tensors([layer_of(LINEAR)])
    up = next(name for name in tensors if "lora_up" in name)
    refused(tmp_path, {name: each for name, each in tensors.items() if name != up}, "has no up")
    refused(tmp_path, {}, "holds no tensors of a LoRA")


@pytest.mark.parametrize(
    ("suffix", "kind"), [("dora_scale", "DoRA"), ("hada_w1_a", "LoHa"), ("lokr_w1", "LoKr"), ("diff", "a difference")]
)
def test_what_is_no_plain_lora_is_refused_by_name(tmp_path: Path, suffix: str, kind: str) -> None:
    layer = layer_of(LINEAR)
    tensors = lora_tensors([layer]) | {f"{layer.kohya}.{suffix}": torch.zeros(2, 2)}
    refused(tmp_path, tensors, f"holds {kind}.*, which is not supported")


def test_no_file_and_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such LoRA"):
        open_lora(tmp_path / "none.safetensors", tiny().architecture)
    layer = layer_of(LINEAR)
    tensors = lora_tensors([layer])
    tensors[f"{layer.kohya}.lora_up.weight"][0, 0] = float("nan")
    file = write_tensors(tmp_path / "nan.safetensors", tensors)
    with pytest.raises(DataError, match=r"nan.safetensors: unet.down_blocks.1.* holds NaN or infinity"):
        changed(with_loras({"file": str(file)}), layer)
