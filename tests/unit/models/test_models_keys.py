"""Names and shapes of the single file: ComfyUI's detection on the full network, exact round trips on the tiny one."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from animetune.models.keys import Link, unet_links, vae_links
from animetune.models.networks import canonical_state, network_links
from animetune.models.sdxl import COMPONENTS, Architecture, build_network, sdxl_configs
from animetune.models.tiny import build_tiny, tiny_configs

Shapes = dict[str, tuple[int, ...]]
UNET = "model.diffusion_model."


def ldm_shapes(architecture: Architecture) -> dict[str, Shapes]:
    """Component -> the single file's names and shapes."""
    found = {}
    for component in COMPONENTS:
        with torch.device("meta"):
            state = canonical_state(build_network(architecture, component), component)
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        links = network_links(architecture, component)
        found[component] = {link.ldm: link.ldm_shape([shapes[name] for name in link.names]) for link in links}
    return found


@pytest.fixture(scope="module")
def full() -> dict[str, Shapes]:
    return ldm_shapes(sdxl_configs())


def count(shapes: Shapes, prefix: str) -> int:
    """How many of `prefix.format(0)`, `prefix.format(1)`, ... begin the name of a tensor."""
    number = 0
    while any(name.startswith(prefix.format(number)) for name in shapes):
        number += 1
    return number


def test_full_file_has_the_published_number_of_tensors(full: dict[str, Shapes]) -> None:
    assert {component: len(shapes) for component, shapes in full.items()} == {
        "unet": 1680,
        "text_encoder": 196,
        "text_encoder_2": 517 - 32 * 2 * 2,  # of 32 layers: q, k, v are one tensor, and so are their biases
        "vae": 248,
    }


def test_comfyui_detects_sdxl(full: dict[str, Shapes]) -> None:
    """The rules of ComfyUI's model_detection.py and supported_models.py (class SDXL), as read there."""
    unet = full["unet"]
    assert all(name.startswith(UNET) for name in unet)
    model_channels = unet[f"{UNET}input_blocks.0.0.weight"][0]
    transformer_depth = []
    for block in range(count(unet, UNET + "input_blocks.{}.")):
        prefix = f"{UNET}input_blocks.{block}."
        if f"{prefix}0.in_layers.0.weight" in unet:
            assert f"{prefix}0.out_layers.3.weight" in unet
            transformer_depth.append(count(unet, prefix + "1.transformer_blocks.{}."))
        else:
            assert block == 0 or f"{prefix}0.op.weight" in unet
    detected = {
        "in_channels": unet[f"{UNET}input_blocks.0.0.weight"][1],
        "model_channels": model_channels,
        "channel_mult": [
            unet[f"{UNET}input_blocks.{block}.0.out_layers.3.weight"][0] // model_channels
            for block in (1, 2, 4, 5, 7, 8)
        ],
        "transformer_depth": transformer_depth,
        "transformer_depth_middle": count(unet, UNET + "middle_block.1.transformer_blocks.{}."),
        "context_dim": unet[f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"][1],
        "use_linear_in_transformer": len(unet[f"{UNET}input_blocks.4.1.proj_in.weight"]) == 2,
        "adm_in_channels": unet[f"{UNET}label_emb.0.0.weight"][1],
        "out_channels": unet[f"{UNET}out.2.weight"][0],
    }
    assert detected == {
        "in_channels": 4,
        "model_channels": 320,
        "channel_mult": [1, 1, 2, 2, 4, 4],
        "transformer_depth": [0, 0, 2, 2, 10, 10],
        "transformer_depth_middle": 10,
        "context_dim": 2048,
        "use_linear_in_transformer": True,
        "adm_in_channels": 2816,
        "out_channels": 4,
    }
    # What decoding the up path needs: nine blocks, two of them with the upsampler in the third place.
    assert count(unet, UNET + "output_blocks.{}.") == 9
    upsamplers = [name for name in unet if ".2.conv.weight" in name and "output_blocks" in name]
    assert upsamplers == [f"{UNET}output_blocks.2.2.conv.weight", f"{UNET}output_blocks.5.2.conv.weight"]


def test_text_encoders_and_vae_have_their_published_tensors(full: dict[str, Shapes]) -> None:
    """A sample of names and shapes of SDXL's published single file."""
    expected = {
        "conditioner.embedders.0.transformer.text_model.encoder.layers.11.mlp.fc1.weight": (3072, 768),
        "conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_weight": (3840, 1280),
        "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_bias": (3840,),
        "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias": (1280,),
        "conditioner.embedders.1.model.positional_embedding": (77, 1280),
        "conditioner.embedders.1.model.token_embedding.weight": (49408, 1280),
        "conditioner.embedders.1.model.ln_final.bias": (1280,),
        "conditioner.embedders.1.model.text_projection": (1280, 1280),
        "first_stage_model.encoder.down.1.block.0.nin_shortcut.weight": (256, 128, 1, 1),
        "first_stage_model.encoder.down.2.downsample.conv.weight": (512, 512, 3, 3),
        "first_stage_model.encoder.mid.attn_1.proj_out.weight": (512, 512, 1, 1),
        "first_stage_model.decoder.mid.attn_1.norm.weight": (512,),
        "first_stage_model.decoder.up.0.block.2.conv2.weight": (128, 128, 3, 3),
        "first_stage_model.decoder.up.3.upsample.conv.weight": (512, 512, 3, 3),
        "first_stage_model.decoder.norm_out.weight": (128,),
        "first_stage_model.quant_conv.weight": (8, 8, 1, 1),
        "model.diffusion_model.time_embed.2.weight": (1280, 1280),
        "model.diffusion_model.input_blocks.3.0.op.bias": (320,),
        "model.diffusion_model.input_blocks.4.0.skip_connection.weight": (640, 320, 1, 1),
        "model.diffusion_model.middle_block.2.emb_layers.1.weight": (1280, 1280),
        "model.diffusion_model.output_blocks.8.0.in_layers.2.weight": (320, 640, 3, 3),
    }
    every = {name: shape for shapes in full.values() for name, shape in shapes.items()}
    assert {name: every.get(name) for name in expected} == expected


def wider(layers_per_block: int, levels: int) -> Architecture:
    """Tiny networks with another number of layers and VAE levels."""
    tiny = tiny_configs()
    return dataclasses.replace(
        tiny,
        unet=tiny.unet | {"layers_per_block": layers_per_block, "transformer_layers_per_block": [1, 2, 3]},
        vae=tiny.vae
        | {
            "layers_per_block": layers_per_block,
            "block_out_channels": [16, 16, 32, 32, 32][:levels],
            "down_block_types": ["DownEncoderBlock2D"] * levels,
            "up_block_types": ["UpDecoderBlock2D"] * levels,
        },
    )


@pytest.mark.parametrize(
    "architecture", [sdxl_configs(), tiny_configs(), wider(1, 3), wider(3, 5)], ids=["sdxl", "tiny", "thin", "thick"]
)
def test_names_are_one_to_one(architecture: Architecture) -> None:
    for component in COMPONENTS:
        with torch.device("meta"):
            names = list(canonical_state(build_network(architecture, component), component))
        links = network_links(architecture, component)
        assert sorted(name for link in links for name in link.names) == sorted(names), "each of ours exactly once"
        assert len({link.ldm for link in links}) == len(links), "each of theirs exactly once"


def test_tensors_survive_both_ways() -> None:
    models = build_tiny(0)
    for component in COMPONENTS:
        state = canonical_state(getattr(models, component), component)
        back = {}
        for link in network_links(tiny_configs(), component):
            ours = [state[name] for name in link.names]
            theirs = link.to_ldm(ours)
            assert tuple(theirs.shape) == link.ldm_shape([tuple(tensor.shape) for tensor in ours])
            back.update(zip(link.names, link.from_ldm(theirs), strict=True))
        assert back.keys() == state.keys()
        assert all(torch.equal(back[name], state[name]) for name in state)


def test_text_projection_is_transposed_both_ways() -> None:
    """OpenCLIP multiplies `x @ P`, transformers `x @ W.T`: P is the transpose of W."""
    (link,) = [
        link for link in network_links(tiny_configs(), "text_encoder_2") if link.names == ("text_projection.weight",)
    ]
    weight = torch.arange(6.0).reshape(2, 3)
    assert link.to_ldm([weight]).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert torch.equal(link.from_ldm(link.to_ldm([weight]))[0], weight)
    x = torch.tensor([[1.0, -2.0, 0.5]])
    assert torch.equal(x @ link.to_ldm([weight]), torch.nn.functional.linear(x, weight))


def test_attention_is_fused_in_the_order_q_k_v() -> None:
    links = [link for link in network_links(tiny_configs(), "text_encoder_2") if link.form == "fused"]
    assert len(links) == 2 * 2
    assert [name.split(".")[-2] for name in links[0].names] == ["q_proj", "k_proj", "v_proj"]
    q, k, v = (torch.full((2, 2), float(value)) for value in (1, 2, 3))
    fused = links[0].to_ldm([q, k, v])
    assert fused[:, 0].tolist() == [1, 1, 2, 2, 3, 3]
    assert all(torch.equal(a, b) for a, b in zip(links[0].from_ldm(fused), (q, k, v), strict=True))


def test_vae_attention_is_read_as_convolution_and_as_linear() -> None:
    (link, *_) = [link for link in network_links(tiny_configs(), "vae") if link.form == "convolution"]
    weight = torch.arange(4.0).reshape(2, 2)
    assert link.to_ldm([weight]).shape == (2, 2, 1, 1)
    assert torch.equal(link.from_ldm(link.to_ldm([weight]))[0], weight)
    assert torch.equal(link.from_ldm(weight)[0], weight)


def test_foreign_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"controlnet\.weight: is no tensor of SDXL's UNet"):
        unet_links(["controlnet.weight"], layers_per_block=2)
    assert vae_links(["quant_conv.weight"], levels=4) == [
        Link("first_stage_model.quant_conv.weight", ("quant_conv.weight",))
    ]
