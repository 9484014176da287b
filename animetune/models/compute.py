"""How the networks compute: what is recomputed, what is compiled, in which layout, by which attention kernel.

None of it changes a name, a shape or a weight, and all of it is set before training begins, in this order:
recomputation, then compilation, so that the compiler sees what is recomputed (and FSDP, if used, after both).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention import BasicTransformerBlock, FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from animetune.errors import SetupError
from animetune.models.config import ModelConfig
from animetune.models.sdxl import Sdxl

COMPILED = (BasicTransformerBlock, ResnetBlock2D)
"""What `compile: blocks` compiles: 70 transformer blocks of two widths (75 % of the FLOPs) and 17 resnets."""

RECOMPILE_LIMIT = 64
"""Graphs that one block's code may be compiled to before it is run uncompiled; torch allows 8. With dynamic shapes a
width needs one for a batch of 1, for larger ones and for square pictures, each with and without gradients."""

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def configure(models: Sdxl, cfg: ModelConfig) -> None:
    """Set up `models` to compute as `cfg` says. Call it once, after the weights are loaded."""
    models.offload_frozen = cfg.offload_frozen
    models.unet.set_attn_processor(FusedAttention(cfg.attention))  # type: ignore[arg-type]  # a list of its own classes
    for module in recomputed_modules(models, cfg.activation_checkpointing):
        recompute(module)
    if cfg.channels_last:
        keep_channels_last(models.unet)
    if cfg.compile == "blocks":
        compile_blocks(models.unet)


def recomputed_modules(models: Sdxl, mode: str) -> Iterator[nn.Module]:
    """The modules whose activations the backward pass computes again.

    `full` takes all transformer blocks and resnets, and the layers of text encoders that train. `selective` takes what
    frees at least 1.5 GB for every 10^12 FLOPs: the feed-forward layers, whose activations are 8 times as wide as
    their input, and the resnets of the highest resolution.
    """
    if mode == "full":
        for module in models.unet.modules():
            if isinstance(module, BasicTransformerBlock | ResnetBlock2D):
                yield module
        for text_encoder in (models.text_encoder, models.text_encoder_2):
            if any(parameter.requires_grad for parameter in text_encoder.parameters()):
                yield from (module for module in text_encoder.modules() if isinstance(module, CLIPEncoderLayer))
    elif mode == "selective":
        highest = models.architecture.unet["block_out_channels"][0]
        for module in models.unet.modules():
            is_highest = isinstance(module, ResnetBlock2D) and module.out_channels == highest
            if is_highest or isinstance(module, FeedForward):
                yield module


def recompute(module: nn.Module) -> None:
    """Keep only the module's inputs for the backward pass, which then runs it again as far as it needs to."""
    forward: Callable[..., Any] = module.forward

    def recomputed(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        # The reentrant kind loses the gradient when no input requires one, and token ids never do. Nothing inside
        # draws random numbers, so no generator has to be wound back.
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    module.forward = recomputed


def compile_blocks(network: nn.Module) -> None:
    """Compile the repeated blocks of a UNet, or of a part of it, in place; names of parameters do not change.

    Shapes are dynamic: a set of sizes has a dozen token counts and as many shapes of each convolution, and a graph for
    each would be minutes of compilation. Raises torch's own error at the first call where there is no compiler.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILE_LIMIT)
    for module in network.modules():
        if isinstance(module, COMPILED):
            module.compile(dynamic=True)


def keep_channels_last(unet: nn.Module) -> None:
    """Let activations be (b, h, w, c) in memory throughout.

    The weights stay as they are, so that files, optimizer states and their order in memory do not depend on this; a
    convolution turns them itself, 0.3 % of a step's traffic. diffusers' attention and some of its resnets return
    (b, c, h, w), which would make every later layer turn its input.
    """

    def turn(tensor: Tensor) -> Tensor:
        return tensor.contiguous(memory_format=torch.channels_last)

    def turn_output(module: nn.Module, args: Any, output: Any) -> Any:
        return (turn(output[0]),) if isinstance(output, tuple) else turn(output)

    conv_in: Any = unet.conv_in
    conv_in.register_forward_pre_hook(lambda module, args: (turn(args[0]),))
    for module in unet.modules():
        if isinstance(module, Transformer2DModel | ResnetBlock2D):
            module.register_forward_hook(turn_output)


class FusedAttention:
    """diffusers' attention of SDXL's UNet with a chosen kernel, and without its division by 1 (280 kernels a step).

    The kernel is chosen here rather than around the UNet because recomputation calls it in the backward pass.
    """

    def __init__(self, kernel: str):
        self.kernel = kernel
        """`auto`, or one of `KERNELS`."""

    def __call__(
        self,
        layer: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Attention of (b, n, c) to itself or to the text (b, m, d); `attention_mask` is added to the scores.

        Raises SetupError when the kernel takes no such tensors.
        """
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states

        def heads(states: Tensor) -> Tensor:
            return states.unflatten(-1, (layer.heads, -1)).transpose(1, 2)

        # diffusers makes the mask (b, 1, m); all heads and queries share it.
        mask = None if attention_mask is None else attention_mask[:, None]
        query, key, value = heads(layer.to_q(hidden_states)), heads(layer.to_k(context)), heads(layer.to_v(context))
        try:
            with sdpa_kernel(KERNELS[self.kernel]) if self.kernel in KERNELS else contextlib.nullcontext():
                attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        except RuntimeError as error:
            if not any(words in str(error) for words in ("No available kernel", "No viable backend")):
                raise
            kind = f"{query.dtype} on {query.device.type}".removeprefix("torch.")
            masked = "" if mask is None else ", with the mask of model.mask_padding"
            raise SetupError(f"model.attention: {self.kernel} has no kernel for {kind}{masked}; use auto") from error
        return layer.to_out[0](attended.transpose(1, 2).flatten(2))
