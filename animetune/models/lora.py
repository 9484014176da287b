"""The layers of SDXL that a LoRA can change, and what the tensors of a LoRA are called.

    kohya, ComfyUI, A1111   lora_unet_input_blocks_4_1_proj_in.lora_down.weight      (r, in) or (r, in, k, k)
                            lora_unet_input_blocks_4_1_proj_in.lora_up.weight        (out, r) or (out, r, 1, 1)
                            lora_unet_input_blocks_4_1_proj_in.alpha                 scalar
                            lora_te1_text_model_encoder_layers_0_mlp_fc1...          CLIP-L; lora_te2_...: CLIP-G
    diffusers, PEFT         unet.down_blocks.1.attentions.0.proj_in.lora_A.weight    down
                            unet.down_blocks.1.attentions.0.proj_in.lora_B.weight    up

kohya's name of a layer is that in the single file (for text encoders: transformers'), with `_` for each `.`. Some
programs write diffusers' names in kohya's manner, or the single file's in PEFT's; all are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from animetune.models import keys
from animetune.models.networks import canonical_name, network_links
from animetune.models.sdxl import Architecture, Component, build_network

LORA_COMPONENTS: tuple[Component, ...] = ("unet", "text_encoder", "text_encoder_2")
KOHYA_PREFIXES = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}

Role = Literal["down", "up", "mid", "alpha"]
"""`up @ mid @ down * alpha / rank`; `mid` (LoCon in Tucker form) only for convolutions, and rarely."""


@dataclass(frozen=True)
class Layer:
    """A linear layer or a convolution."""

    component: Component
    tensor: str
    """Our name of its weight."""
    shape: tuple[int, ...]
    """Of its weight: (out, in), or (out, in, k, k)."""
    kohya: str
    """Its name in a file of kohya."""
    ldm: str
    """Its name in the single file, without the prefix of the network."""

    @property
    def module(self) -> str:
        """Our name of the layer."""
        return self.tensor.removesuffix(".weight")

    @property
    def is_wide(self) -> bool:
        """Whether it is a convolution that sees neighbours."""
        return len(self.shape) == 4 and self.shape[2:] != (1, 1)


def lora_layers(architecture: Architecture) -> list[Layer]:
    """Every linear layer and convolution of the UNet and both text encoders."""
    return [layer for component in LORA_COMPONENTS for layer in _layers(architecture, component)]


def layer_names(layer: Layer) -> Iterator[str]:
    """All that files call a layer, as `split_key` gives it."""
    prefix = KOHYA_PREFIXES[layer.component]
    yield layer.kohya
    yield prefix + _flat(layer.module)
    yield f"{layer.component}.{layer.module}"
    if layer.component == "unet":
        yield f"diffusion_model.{layer.ldm}"
    else:
        # transformers 5 leaves it out
        yield f"{layer.component}.{layer.module.removeprefix('text_model.')}"


def split_key(key: str) -> tuple[str, Role] | None:
    """The layer that a key of a LoRA belongs to, as `layer_names` has it, and what the tensor is in it; None for keys
    of no LoRA."""
    for pattern, role in _KEYS:
        found = pattern.fullmatch(key)
        if found:
            layer = found[1].removeprefix("base_model.model.").replace(".processor.", ".")
            for theirs, ours in _OLD_ATTENTION.items():
                if layer.endswith(theirs):
                    into_text = layer.startswith("text_encoder")
                    layer = layer.removesuffix(theirs) + (_TEXT_ATTENTION[ours] if into_text else ours)
            return layer, role
    return None


def unsupported_kind(key: str) -> str | None:
    """What a tensor belongs to that is no LoRA, by the name that its inventors gave it; None if it is unknown."""
    return next((kind for pattern, kind in _OTHER_KINDS if pattern.search(key)), None)


_PATTERNS: tuple[tuple[str, Role], ...] = (
    (r"(.+)\.lora_down\.weight", "down"),
    (r"(.+)\.lora_up\.weight", "up"),
    (r"(.+)\.lora_mid\.weight", "mid"),
    (r"(.+)\.alpha", "alpha"),
    (r"(.+)\.lora_A(?:\.\w+)?\.weight", "down"),
    (r"(.+)\.lora_B(?:\.\w+)?\.weight", "up"),
    # diffusers before PEFT
    (r"(.+)(?:\.lora|\.lora_linear_layer|_lora)\.down\.weight", "down"),
    (r"(.+)(?:\.lora|\.lora_linear_layer|_lora)\.up\.weight", "up"),
)
_KEYS = [(re.compile(pattern), role) for pattern, role in _PATTERNS]

_OLD_ATTENTION = {".to_q": ".to_q", ".to_k": ".to_k", ".to_v": ".to_v", ".to_out": ".to_out.0"}
_TEXT_ATTENTION = {".to_q": ".q_proj", ".to_k": ".k_proj", ".to_v": ".v_proj", ".to_out.0": ".out_proj"}

_OTHER_KINDS = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"\.(dora_scale|lora_magnitude_vector)\b", "DoRA"),
        (r"\.hada_[wt]\d", "LoHa"),
        (r"\.lokr_[wt]\d", "LoKr"),
        (r"\.(oft_|boft_)", "OFT"),
        (r"\.[ab][12]\.weight$", "GLoRA"),
        (r"\.on_input$", "IA3"),
        (r"\.(diff|diff_b|set_weight|w_norm|b_norm)$", "a difference of whole tensors"),
        (r"^bundle_emb\.|\.emb_params$|string_to_param", "an embedding (textual inversion)"),
    )
)


def _layers(architecture: Architecture, component: Component) -> Iterator[Layer]:
    prefix = keys.PREFIXES[component]
    ldm = {
        name: link.ldm.removeprefix(prefix) for link in network_links(architecture, component) for name in link.names
    }
    with torch.device("meta"):
        network: nn.Module = build_network(architecture, component)
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            tensor = canonical_name(f"{name}.weight", component)
            stored = (ldm[tensor] if component == "unet" else tensor).removesuffix(".weight")
            shape = tuple(module.weight.shape)
            yield Layer(component, tensor, shape, kohya=KOHYA_PREFIXES[component] + _flat(stored), ldm=stored)


def _flat(name: str) -> str:
    return name.replace(".", "_")
