"""The two names of every tensor: diffusers' and transformers' on one side, the single file's (LDM) on the other.

    unet            model.diffusion_model.                   renamed only
    text_encoder    conditioner.embedders.0.transformer.     names as they are
    text_encoder_2  conditioner.embedders.1.model.           OpenCLIP: q, k, v fused; text_projection transposed
    vae             first_stage_model.                       attention's linear layers are 1x1 convolutions

One table of `Link`s describes both directions, so that reading and writing cannot disagree. It is built from the
networks' own names, for any number of blocks, layers and transformer layers.

OpenCLIP keeps the projection P of `x @ P`; transformers' Linear keeps its transpose. Both are 1280 x 1280, so a
forgotten transpose raises nothing and gives a wrong pooled vector.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

PREFIXES = {
    "unet": "model.diffusion_model.",
    "text_encoder": "conditioner.embedders.0.transformer.",
    "text_encoder_2": "conditioner.embedders.1.model.",
    "vae": "first_stage_model.",
}
"""Component -> what its names begin with in a single file."""

LOGIT_SCALE_KEY = PREFIXES["text_encoder_2"] + "logit_scale"
V_PREDICTION_KEY = "v_pred"
"""An empty tensor of this name tells ComfyUI and A1111 that the UNet predicts v."""
ZERO_TERMINAL_SNR_KEY = "ztsnr"
"""Likewise for a zero terminal SNR; read only beside `v_pred`."""

Form = Literal["same", "fused", "transposed", "convolution"]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Link:
    """One tensor of the single file and the tensors of ours that it holds."""

    ldm: str
    """Name in the single file, with its prefix."""
    names: tuple[str, ...]
    """Names in our network; three for a fused attention projection, else one."""
    form: Form = "same"

    def to_ldm(self, tensors: list[Tensor]) -> Tensor:
        """The single file's tensor, made of ours (in the order of `names`)."""
        match self.form:
            case "same":
                return tensors[0]
            case "fused":
                return torch.cat(tensors)
            case "transposed":
                return tensors[0].T.contiguous()
            case "convolution":
                return tensors[0][:, :, None, None]

    def from_ldm(self, tensor: Tensor) -> list[Tensor]:
        """Our tensors (in the order of `names`), made of the single file's."""
        match self.form:
            case "same":
                return [tensor]
            case "fused":
                return list(tensor.chunk(3))
            case "transposed":
                return [tensor.T.contiguous()]
            case "convolution":
                # Some files hold the linear layer itself.
                return [tensor[:, :, 0, 0] if tensor.ndim == 4 else tensor]

    def ldm_shape(self, shapes: list[Shape]) -> Shape:
        """The shape of the single file's tensor, from the shapes of ours."""
        first = shapes[0]
        match self.form:
            case "same":
                return first
            case "fused":
                return (3 * first[0], *first[1:])
            case "transposed":
                return (first[1], first[0])
            case "convolution":
                return (*first, 1, 1)

    def our_shape(self, shape: Shape) -> Shape:
        """The shape of our only tensor, from that of the single file's."""
        match self.form:
            case "transposed":
                return shape[::-1]
            case "convolution" if shape[2:] == (1, 1):
                return shape[:2]
        return shape


def unet_links(names: Iterable[str], *, layers_per_block: int) -> list[Link]:
    """Links of a UNet's state dict names. LDM counts all blocks of all levels in one row, with a gap for resampling."""
    stride = layers_per_block + 1

    def rename(name: str) -> str:
        for ours, theirs in _UNET_TOP.items():
            if name.startswith(ours):
                return theirs + name.removeprefix(ours)
        match name.split(".", 4):
            case ["down_blocks", level, "resnets", index, rest]:
                return f"input_blocks.{stride * int(level) + int(index) + 1}.0.{_resnet(rest)}"
            case ["down_blocks", level, "attentions", index, rest]:
                return f"input_blocks.{stride * int(level) + int(index) + 1}.1.{rest}"
            case ["down_blocks", level, "downsamplers", "0", rest]:
                return f"input_blocks.{stride * (int(level) + 1)}.0.{rest.replace('conv', 'op')}"
            case ["mid_block", "resnets", index, *rest]:
                return f"middle_block.{2 * int(index)}.{_resnet('.'.join(rest))}"
            case ["mid_block", "attentions", "0", *rest]:
                return f"middle_block.1.{'.'.join(rest)}"
            case ["up_blocks", level, "resnets", index, rest]:
                return f"output_blocks.{stride * int(level) + int(index)}.0.{_resnet(rest)}"
            case ["up_blocks", level, "attentions", index, rest]:
                return f"output_blocks.{stride * int(level) + int(index)}.1.{rest}"
            case ["up_blocks", level, "upsamplers", "0", rest]:
                # Position 2, after the attention that every level with an upsampler has in SDXL.
                return f"output_blocks.{stride * int(level) + layers_per_block}.2.{rest}"
        raise ValueError(f"{name}: is no tensor of SDXL's UNet")

    return [Link(PREFIXES["unet"] + rename(name), (name,)) for name in names]


def text_encoder_links(names: Iterable[str]) -> list[Link]:
    """Links of CLIP-L's names: the single file keeps transformers' own."""
    return [Link(PREFIXES["text_encoder"] + name, (name,)) for name in names]


def text_encoder_2_links(names: Iterable[str]) -> list[Link]:
    """Links of CLIP-G's names, in OpenCLIP's naming; q, k and v of each layer are one tensor, in this order."""
    links = []
    for name in names:
        if name == "text_projection.weight":
            links.append(Link("text_projection", (name,), "transposed"))
        elif projection := re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(\w+)", name):
            layer, letter, kind = projection.groups()
            if letter == "q":
                fused = tuple(name.replace("q_proj", f"{each}_proj") for each in "qkv")
                links.append(Link(f"transformer.resblocks.{layer}.attn.in_proj_{kind}", fused, "fused"))
        else:
            links.append(Link(_open_clip(name), (name,)))
    return [Link(PREFIXES["text_encoder_2"] + link.ldm, link.names, link.form) for link in links]


def vae_links(names: Iterable[str], *, levels: int) -> list[Link]:
    """Links of a VAE's names. LDM counts the decoder's levels from the bottom, and its attention is convolutions."""
    links = []
    for name in names:
        match name.split(".", 5):
            case [side, "down_blocks" | "up_blocks" as way, level, "resnets", index, rest]:
                where = f"down.{level}" if way == "down_blocks" else f"up.{levels - 1 - int(level)}"
                ldm = f"{side}.{where}.block.{index}.{rest.replace('conv_shortcut', 'nin_shortcut')}"
            case ["encoder", "down_blocks", level, "downsamplers", "0", rest]:
                ldm = f"encoder.down.{level}.downsample.{rest}"
            case ["decoder", "up_blocks", level, "upsamplers", "0", rest]:
                ldm = f"decoder.up.{levels - 1 - int(level)}.upsample.{rest}"
            case [side, "mid_block", "resnets", index, *rest]:
                ldm = f"{side}.mid.block_{int(index) + 1}.{'.'.join(rest)}"
            case [side, "mid_block", "attentions", "0", *rest]:
                inner = ".".join(rest)
                layer, _, kind = inner.rpartition(".")
                ldm = f"{side}.mid.attn_1.{_VAE_ATTENTION[layer]}.{kind}"
            case _:
                ldm = name.replace("conv_norm_out", "norm_out")
        linear = "mid_block.attentions.0.to_" in name and name.endswith(".weight")
        links.append(Link(PREFIXES["vae"] + ldm, (name,), "convolution" if linear else "same"))
    return links


_UNET_TOP = {
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_in.": "input_blocks.0.0.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
}

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}

_OPEN_CLIP_TOP = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
}

_OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}

_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def _resnet(rest: str) -> str:
    layer, _, kind = rest.partition(".")
    return f"{_RESNET[layer]}.{kind}"


def _open_clip(name: str) -> str:
    if name in _OPEN_CLIP_TOP:
        return _OPEN_CLIP_TOP[name]
    _, _, _, layer, rest = name.split(".", 4)
    part, _, kind = rest.rpartition(".")
    return f"transformer.resblocks.{layer}.{_OPEN_CLIP_LAYER[part]}.{kind}"
