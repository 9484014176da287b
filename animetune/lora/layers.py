"""The layers that a LoRA is taken of, as the configuration chooses them."""

from __future__ import annotations

from animetune.lora.config import LoraConfig
from animetune.models.lora import Layer, lora_layers
from animetune.models.sdxl import Architecture

_ATTENTION = (".attn1.", ".attn2.")
_TEXT = "text_model.encoder.layers."
"""kohya's networks.lora leaves out CLIP-G's projection, the only linear layer beside these."""


def chosen_layers(cfg: LoraConfig, architecture: Architecture) -> list[Layer]:
    """The layers of the chosen parts, in the model's order."""
    return [layer for layer in lora_layers(architecture) if _is_chosen(cfg, layer)]


def _is_chosen(cfg: LoraConfig, layer: Layer) -> bool:
    if layer.component != "unet":
        return bool(getattr(cfg, layer.component)) and layer.tensor.startswith(_TEXT)
    match cfg.unet:
        case "none":
            return False
        case "attention":
            return any(part in layer.tensor for part in _ATTENTION)
        case "transformer":
            return ".attentions." in layer.tensor
        case "linear":
            return len(layer.shape) == 2
        case "all":
            return True
