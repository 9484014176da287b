"""Checkpoints of other models, told apart by real names and shapes of a few of their tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from animetune.errors import DataError
from animetune.models import recognize
from animetune.models.config import ModelConfig
from animetune.models.keys import PREFIXES
from animetune.models.networks import expected_shapes, network_links
from animetune.models.sdxl import COMPONENTS, sdxl_configs
from animetune.models.sources import open_source
from animetune.models.tiny import tiny_configs
from animetune.tensorfile import Entry, write_safetensors

UNET = "model.diffusion_model."
L, G, VAE = PREFIXES["text_encoder"], PREFIXES["text_encoder_2"], PREFIXES["vae"]
Shapes = dict[str, tuple[int, ...]]

VAE_TENSORS: Shapes = {
    f"{VAE}encoder.conv_in.weight": (128, 3, 3, 3),
    f"{VAE}decoder.conv_out.weight": (3, 128, 3, 3),
    f"{VAE}quant_conv.weight": (8, 8, 1, 1),
}


def unet(
    channels: int = 4, context: int = 2048, *, block: int = 4, added: int | None = 2816, deepest: int = 10
) -> Shapes:
    shapes: Shapes = {
        f"{UNET}input_blocks.0.0.weight": (320, channels, 3, 3),
        f"{UNET}time_embed.0.weight": (1280, 320),
        f"{UNET}out.2.weight": (4, 320, 3, 3),
        f"{UNET}input_blocks.{block}.1.transformer_blocks.0.attn2.to_k.weight": (640, context),
    }
    if added:
        shapes[f"{UNET}label_emb.0.0.weight"] = (1280, added)
    if context == 2048:
        deep = f"{UNET}input_blocks.8.1.transformer_blocks."
        shapes |= {f"{deep}{layer}.attn2.to_k.weight": (1280, 2048) for layer in range(deepest)}
    return shapes


TEXT: Shapes = {
    f"{L}text_model.embeddings.token_embedding.weight": (49408, 8),
    f"{G}token_embedding.weight": (49408, 8),
    f"{G}text_projection": (8, 8),
}

FOREIGN: dict[str, tuple[Shapes, str]] = {
    "sd15": (
        unet(context=768, block=1, added=None)
        | VAE_TENSORS
        | {"cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": (77, 768)},
        r"Stable Diffusion 1\.x",
    ),
    "sd15 without text encoder": (unet(context=768, block=1, added=None) | VAE_TENSORS, r"Stable Diffusion 1\.x"),
    "sd15 inpaint": (
        unet(9, context=768, block=1, added=None)
        | {"cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": (77, 768)},
        r"Stable Diffusion 1\.x",
    ),
    "sd21": (
        unet(context=1024, block=1, added=None)
        | VAE_TENSORS
        | {"cond_stage_model.model.positional_embedding": (77, 1024), "cond_stage_model.model.ln_final.bias": (1024,)},
        r"Stable Diffusion 2\.x",
    ),
    "refiner": (
        {
            f"{UNET}input_blocks.0.0.weight": (384, 4, 3, 3),
            f"{UNET}label_emb.0.0.weight": (1536, 2560),
            f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (768, 1280),
            "conditioner.embedders.0.model.text_projection": (8, 8),
        }
        | VAE_TENSORS,
        "SDXL's refiner",
    ),
    "sdxl inpaint": (unet(9) | TEXT | VAE_TENSORS, r"an inpainting model \(its UNet takes 9 channels\)"),
    "sdxl pix2pix": (unet(8) | TEXT | VAE_TENSORS, "an instruction-editing model"),
    "ssd-1b": (unet(deepest=4) | TEXT | VAE_TENSORS, "a reduced SDXL, such as SSD-1B"),
    "flux": (
        {
            "double_blocks.0.img_attn.qkv.weight": (9216, 8),
            "single_blocks.0.linear1.weight": (21504, 8),
            "img_in.weight": (8, 64),
        },
        "Flux",
    ),
    "flux with prefix": ({f"{UNET}double_blocks.0.img_attn.qkv.weight": (9216, 8)} | VAE_TENSORS, "Flux"),
    "sd3": (
        {
            f"{UNET}joint_blocks.0.context_block.attn.qkv.weight": (4608, 8),
            f"{UNET}x_embedder.proj.weight": (1536, 16, 2, 2),
            "text_encoders.clip_l.transformer.text_model.final_layer_norm.weight": (768,),
        }
        | VAE_TENSORS,
        "Stable Diffusion 3",
    ),
    "lora of kohya": (
        {
            "lora_unet_input_blocks_4_1_proj_in.lora_down.weight": (8, 640),
            "lora_unet_input_blocks_4_1_proj_in.lora_up.weight": (640, 8),
            "lora_unet_input_blocks_4_1_proj_in.alpha": (),
        },
        "a LoRA",
    ),
    "lora of diffusers": ({"unet.down_blocks.1.attentions.0.proj_in.lora_A.weight": (8, 640)}, "a LoRA"),
    "lokr": ({"lora_unet_output_blocks_0_1_proj_in.lokr_w1": (4, 4)}, "a LoRA"),
    "embedding": ({"clip_l": (4, 768), "clip_g": (4, 1280)}, "a textual inversion"),
    "controlnet": ({"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3)}, "a ControlNet"),
    "vae": ({name.removeprefix(VAE): shape for name, shape in VAE_TENSORS.items()}, "a VAE alone"),
    "vae with prefix": (VAE_TENSORS, "a VAE alone"),
    "bare unet": (unet(), "a UNet alone, without text encoders"),
    "bare unet without prefix": ({name.removeprefix(UNET): shape for name, shape in unet().items()}, "a UNet alone"),
    "bare unet of diffusers": (
        {"conv_in.weight": (320, 4, 3, 3), "down_blocks.0.resnets.0.conv1.weight": (320, 8, 3, 3)},
        "a UNet alone under diffusers' names",
    ),
    "text encoder": ({"text_model.embeddings.token_embedding.weight": (49408, 8)}, "a text encoder alone"),
}


def write(path: Path, shapes: Shapes) -> Path:
    """A file with these tensors; bytes, since only names and shapes count."""
    entries = [
        Entry(name, shape, torch.float16, lambda shape=shape: torch.zeros(shape, dtype=torch.float16))
        for name, shape in shapes.items()
    ]
    write_safetensors(path, entries, metadata={})
    return path


@pytest.mark.parametrize("kind", FOREIGN)
def test_another_model_is_named(kind: str, tmp_path: Path) -> None:
    shapes, what = FOREIGN[kind]
    path = write(tmp_path / "model.safetensors", shapes)
    with pytest.raises(DataError, match=rf"model\.safetensors: is {what}.*, where SDXL is needed; \w+"):
        open_source(ModelConfig(base=str(path)))


@pytest.mark.parametrize("architecture", [sdxl_configs(), tiny_configs()], ids=["sdxl", "tiny"])
def test_sdxl_is_not_taken_for_another(architecture) -> None:
    shapes: Shapes = {}
    for component in COMPONENTS:
        ours = expected_shapes(architecture, component)
        for link in network_links(architecture, component):
            shapes[link.ldm] = link.ldm_shape([ours[name] for name in link.names])
    assert recognize.foreign_model(shapes) is None
    without_vae = {name: shape for name, shape in shapes.items() if not name.startswith(VAE)}
    assert recognize.foreign_model(without_vae) is None, "another VAE may be named"
    config = architecture.unet
    assert recognize.foreign_unet(config["in_channels"], config["projection_class_embeddings_input_dim"]) is None


def test_folders_of_other_models_are_named(tmp_path: Path) -> None:
    def folder(name: str, **files: str) -> str:
        for place, text in files.items():
            path = tmp_path / name / place.replace("__", "/")
            path.with_suffix(".json").parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".json").write_text(text)
        return str(tmp_path / name)

    inpaint = folder("inpaint", unet__config='{"in_channels": 9}')
    refiner = folder("refiner", unet__config='{"in_channels": 4, "projection_class_embeddings_input_dim": 2560}')
    sd15 = folder(
        "sd15",
        unet__config='{"in_channels": 4, "cross_attention_dim": 768}',
        model_index='{"_class_name": "StableDiffusionPipeline"}',
    )
    broken = folder("broken", unet__config="{")
    for base, what in (
        (inpaint, "is an inpainting model"),
        (refiner, "is SDXL's refiner, where SDXL is needed"),
        (sd15, r"is no diffusers folder of SDXL \(it is one for StableDiffusionPipeline\): vae/config\.json|missing"),
        (broken, "config.json: is not JSON"),
    ):
        with pytest.raises(DataError, match=what):
            open_source(ModelConfig(base=base))
