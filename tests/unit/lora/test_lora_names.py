"""Names of LoRA tensors: kohya's, checked against what is known of them and against diffusers' own conversion."""

from __future__ import annotations

import functools
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from animetune.models.lora import Layer, layer_names, lora_layers, split_key, unsupported_kind
from animetune.models.sdxl import sdxl_configs


@functools.cache
def sdxl() -> list[Layer]:
    return lora_layers(sdxl_configs())


def test_the_layers_of_sdxl_are_counted_as_kohya_counts_them() -> None:
    """sd-scripts says at its start: 72 modules of text encoder 1, 192 of text encoder 2, 722 of the U-Net."""
    counts = Counter(
        layer.component
        for layer in sdxl()
        if (layer.component == "unet" and ".attentions." in layer.tensor) or ".encoder.layers." in layer.tensor
    )
    assert counts == {"unet": 722, "text_encoder": 72, "text_encoder_2": 192}


NAMES = {
    "lora_unet_input_blocks_4_1_proj_in": ("unet", "down_blocks.1.attentions.0.proj_in"),
    "lora_unet_input_blocks_8_1_transformer_blocks_9_attn2_to_out_0": (
        "unet",
        "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_out.0",
    ),
    "lora_unet_middle_block_1_transformer_blocks_0_ff_net_0_proj": (
        "unet",
        "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
    ),
    "lora_unet_output_blocks_5_1_transformer_blocks_1_ff_net_2": (
        "unet",
        "up_blocks.1.attentions.2.transformer_blocks.1.ff.net.2",
    ),
    "lora_unet_input_blocks_1_0_in_layers_2": ("unet", "down_blocks.0.resnets.0.conv1"),
    "lora_unet_input_blocks_1_0_emb_layers_1": ("unet", "down_blocks.0.resnets.0.time_emb_proj"),
    "lora_unet_input_blocks_3_0_op": ("unet", "down_blocks.0.downsamplers.0.conv"),
    "lora_unet_output_blocks_2_2_conv": ("unet", "up_blocks.0.upsamplers.0.conv"),
    "lora_unet_output_blocks_0_0_skip_connection": ("unet", "up_blocks.0.resnets.0.conv_shortcut"),
    "lora_te1_text_model_encoder_layers_11_self_attn_q_proj": (
        "text_encoder",
        "text_model.encoder.layers.11.self_attn.q_proj",
    ),
    "lora_te2_text_model_encoder_layers_31_mlp_fc2": ("text_encoder_2", "text_model.encoder.layers.31.mlp.fc2"),
}


@pytest.mark.parametrize("kohya", NAMES)
def test_names_written_out(kohya: str) -> None:
    (layer,) = (layer for layer in sdxl() if layer.kohya == kohya)
    assert (layer.component, layer.module) == NAMES[kohya]


def test_no_name_is_that_of_two_layers() -> None:
    owners: dict[str, Layer] = {}
    for layer in sdxl():
        for name in layer_names(layer):
            assert owners.setdefault(name, layer) == layer


def converted(keys: list[str]) -> dict[str, str]:
    """kohya's key -> diffusers' after its own conversion."""
    from diffusers.loaders.lora_conversion_utils import (
        _convert_non_diffusers_lora_to_diffusers,
        _maybe_map_sgm_blocks_to_diffusers,
    )

    state = {}
    for place, key in enumerate(keys):
        state[f"{key}.lora_down.weight"] = torch.tensor(float(place))
        state[f"{key}.lora_up.weight"] = torch.tensor(float(place))
    state = _maybe_map_sgm_blocks_to_diffusers(state, SimpleNamespace(layers_per_block=2))
    theirs, _ = _convert_non_diffusers_lora_to_diffusers(state)
    return {keys[int(value.item())]: name for name, value in theirs.items() if ".down." in name}


def test_diffusers_takes_every_layer_for_the_same() -> None:
    """All 1,059 at full size, by its conversion and by our reading of what it gives."""
    theirs = converted([layer.kohya for layer in sdxl()])
    owners = {name: layer for layer in sdxl() for name in layer_names(layer)}
    for layer in sdxl():
        name, role = split_key(theirs[layer.kohya]) or ("", "")
        assert owners[name] == layer, theirs[layer.kohya]
        assert role == "down"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("lora_unet_x.lora_down.weight", ("lora_unet_x", "down")),
        ("lora_unet_x.lora_up.weight", ("lora_unet_x", "up")),
        ("lora_unet_x.lora_mid.weight", ("lora_unet_x", "mid")),
        ("lora_unet_x.alpha", ("lora_unet_x", "alpha")),
        ("unet.a.b.lora_A.weight", ("unet.a.b", "down")),
        ("unet.a.b.lora_B.default.weight", ("unet.a.b", "up")),
        ("base_model.model.unet.a.lora_A.weight", ("unet.a", "down")),
        ("unet.a.attn1.processor.to_q_lora.down.weight", ("unet.a.attn1.to_q", "down")),
        ("unet.a.attn1.processor.to_out_lora.up.weight", ("unet.a.attn1.to_out.0", "up")),
        ("text_encoder.x.self_attn.to_out_lora.up.weight", ("text_encoder.x.self_attn.out_proj", "up")),
        ("text_encoder.x.self_attn.q_proj.lora_linear_layer.up.weight", ("text_encoder.x.self_attn.q_proj", "up")),
        ("lora_unet_x.lora_down.bias", None),
        ("model.diffusion_model.out.2.weight", None),
    ],
)
def test_keys_are_taken_apart(key: str, expected: tuple[str, str] | None) -> None:
    assert split_key(key) == expected


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("lora_unet_x.dora_scale", "DoRA"),
        ("unet.a.lora_magnitude_vector", "DoRA"),
        ("lora_unet_x.hada_w1_a", "LoHa"),
        ("lora_unet_x.lokr_w2", "LoKr"),
        ("lora_unet_x.oft_blocks", "OFT"),
        ("lora_unet_x.diff_b", "a difference of whole tensors"),
        ("lora_unet_x.lora_down.weight", None),
        ("anything.weight", None),
    ],
)
def test_other_kinds_have_names(key: str, kind: str | None) -> None:
    assert unsupported_kind(key) == kind
