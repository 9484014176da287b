"""What a file of weights is when it is not SDXL, told by the names and shapes of its tensors.

Names and shapes are those of the published files: Stable Diffusion 1.5, 2.1 (context 1024), SDXL's refiner (CLIP-G
alone, 2560 added channels) and inpainting UNet (9 input channels), SSD-1B (4 transformer layers where SDXL has 10),
Flux.1 (double blocks), SD 3 (joint blocks); adapters as kohya, LyCORIS, PEFT and diffusers name them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

Shapes = Mapping[str, tuple[int, ...]]

UNET = "model.diffusion_model."
_FIRST_CONVOLUTION = UNET + "input_blocks.0.0.weight"
_ADDED = UNET + "label_emb.0.0.weight"
_CONTEXT = ".1.transformer_blocks.0.attn2.to_k.weight"
_DEEPEST = UNET + "input_blocks.8.1.transformer_blocks.{}.attn2.to_k.weight"


class Foreign(NamedTuple):
    """What a file is, and what to do about it."""

    what: str
    remedy: str


def foreign_model(shapes: Shapes) -> Foreign | None:
    """What a single file holds instead of SDXL's UNet and both text encoders; None when it is not recognized."""
    return next((kind.says for kind in _KINDS if kind.fits(shapes)), None)


def foreign_unet(in_channels: int, added: int | None) -> Foreign | None:
    """The same for a UNet of SDXL's kind, by its input channels and the width of its added conditions."""
    if in_channels == 9:
        return _INPAINT
    if in_channels != 4:
        return Foreign(f"a UNet with {in_channels} input channels", _BASE)
    return _REFINER if added == 2560 else None


_BASE = "name SDXL base or a model made from it"
_REFINER = Foreign("SDXL's refiner", f"a refiner has another UNet and one text encoder; {_BASE}")
_INPAINT = Foreign("an inpainting model (its UNet takes 9 channels)", _BASE)
_WHOLE = "name the whole checkpoint, which holds UNet, text encoders and VAE"


class _Kind(NamedTuple):
    says: Foreign
    fits: Callable[[Shapes], bool]


def _any(pattern: str) -> Callable[[Shapes], bool]:
    """Whether some tensor's name begins as the pattern says."""
    compiled = re.compile(pattern)
    return lambda shapes: any(compiled.match(name) for name in shapes)


def _only(*prefixes: str) -> Callable[[Shapes], bool]:
    return lambda shapes: bool(shapes) and all(name.startswith(prefixes) for name in shapes)


def _side(shapes: Shapes, name: str, axis: int) -> int:
    shape = shapes.get(name, ())
    return shape[axis] if len(shape) > axis else 0


def _context(shapes: Shapes) -> int:
    """Width of the text states that the UNet attends to; 0 when there is no such UNet."""
    names = (f"{UNET}input_blocks.{block}{_CONTEXT}" for block in (1, 4))
    return max(_side(shapes, name, 1) for name in names)


def _is_reduced(shapes: Shapes) -> bool:
    return _context(shapes) == 2048 and _DEEPEST.format(9) not in shapes


_KINDS = (
    _Kind(
        Foreign("a LoRA (or LyCORIS) and no checkpoint", "merge it into a base with `animetune merge`"),
        _any(
            r".*(\.lora_(down|up|A|B|mid)(\.default)?\.weight|\.lora_linear_layer\.|\.(hada|lokr)_w1"
            r"|\.oft_(blocks|diag)|\.dora_scale|\.diff_b?$)"
        ),
    ),
    _Kind(
        Foreign("a ControlNet", _BASE),
        _any(r"(control_model|controlnet_|.*controlnet_cond_embedding|.*zero_convs)\."),
    ),
    _Kind(Foreign("a textual inversion (an embedding)", _BASE), _only("clip_l", "clip_g", "emb_params", "string_to_")),
    _Kind(Foreign("Flux", _BASE), _any(rf"({UNET})?(double_blocks|single_transformer_blocks)\.")),
    _Kind(Foreign("Stable Diffusion 3", _BASE), _any(rf"({UNET})?joint_blocks\.")),
    _Kind(
        Foreign("a transformer of another family", _BASE),
        _any(rf"({UNET})?(transformer_blocks|blocks|layers)\.0\."),
    ),
    _Kind(
        _REFINER,
        lambda shapes: _side(shapes, _ADDED, 1) == 2560 or _any(r"conditioner\.embedders\.0\.model\.")(shapes),
    ),
    _Kind(
        Foreign("Stable Diffusion 2.x", _BASE),
        lambda shapes: _any(r"cond_stage_model\.model\.")(shapes) or (_context(shapes) == 1024),
    ),
    _Kind(
        Foreign("Stable Diffusion 1.x", _BASE),
        lambda shapes: _any(r"cond_stage_model\.transformer\.")(shapes) or (_context(shapes) == 768),
    ),
    _Kind(_INPAINT, lambda shapes: _side(shapes, _FIRST_CONVOLUTION, 1) == 9),
    _Kind(
        Foreign("an instruction-editing model (its UNet takes 8 channels)", _BASE),
        lambda shapes: _side(shapes, _FIRST_CONVOLUTION, 1) == 8,
    ),
    _Kind(Foreign("a reduced SDXL, such as SSD-1B", _BASE), _is_reduced),
    _Kind(
        Foreign("a VAE alone", "name it with `vae`, beside a base with UNet and text encoders"),
        _only("first_stage_model.", "encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "loss.", "model_ema."),
    ),
    _Kind(
        Foreign("a UNet alone, without text encoders", _WHOLE),
        _only(UNET, "input_blocks.", "middle_block.", "output_blocks.", "time_embed.", "label_emb.", "out."),
    ),
    _Kind(
        Foreign("a UNet alone under diffusers' names, without text encoders", "name its whole diffusers folder"),
        _any(r"(down_blocks\.\d|add_embedding\.)"),
    ),
    _Kind(
        Foreign("a text encoder alone", _WHOLE),
        _only("text_model.", "text_projection", "transformer.resblocks.", "token_embedding", "positional_embedding",
              "ln_final", "logit_scale", "visual.", "conditioner."),
    ),
)  # fmt: skip
"""The first that fits is what the file is."""
