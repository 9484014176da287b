"""Text encoding: SDXL reads both CLIPs' penultimate hidden states side by side, and CLIP-G's pooled projection.

SDXL (Podell et al. 2023, arXiv:2307.01952, section 2.1) takes the output of the last layer but one, without the final
layer norm. So CLIP-L's last layer and final norm never receive a gradient (`freeze_unused`), and CLIP-G's receive
theirs through the pooled vector only.

Padding is a part of what the UNet attends to, as SDXL was trained and as ComfyUI, A1111 and diffusers draw; a model may
learn to keep composition there, and to fail where prompt and negative differ in length (Illustrious, arXiv:2409.19946,
appendix A.6). `padding_mask` takes it out of cross-attention. The text encoders need no mask: they are causal, so that
padding, which comes last in each chunk, changes no other state, and with its states unread it gets no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from animetune.tokens import CHUNK, EOS


class TextStates(NamedTuple):
    """What the UNet is told about the prompt."""

    hidden: Tensor
    """(b, 77 * chunks, 2048): CLIP-L's 768 channels, then CLIP-G's 1280."""
    pooled: Tensor
    """(b, 1280): CLIP-G's projection at the first EOS of the first chunk."""
    mask: Tensor | None = None
    """bool (b, 77 * chunks): the states that cross-attention sees; None for all of them."""


def encode_text(
    text_encoder: CLIPTextModel,
    text_encoder_2: CLIPTextModelWithProjection,
    token_ids: Tensor,
    *,
    mask_padding: bool = False,
) -> TextStates:
    """Encode int64 (b, 2, 77 * chunks) from `tokens.tokenize`: row 0 for CLIP-L, row 1 for CLIP-G.

    CLIP has 77 positions, so every chunk is encoded by itself and the states are laid end to end, BOS and EOS of
    every chunk included, as ComfyUI and A1111 do (kohya's scripts drop the inner ones). With `mask_padding` the UNet
    sees no padding.
    """
    samples, _, length = token_ids.shape
    chunks = length // CHUNK
    ids_l, ids_g = token_ids.reshape(samples, 2, chunks, CHUNK).transpose(0, 1).reshape(2, samples * chunks, CHUNK)
    states_l = text_encoder(ids_l, output_hidden_states=True)
    states_g = text_encoder_2(ids_g, output_hidden_states=True)
    hidden = torch.cat([states_l.hidden_states[-2], states_g.hidden_states[-2]], dim=-1)
    return TextStates(
        hidden=hidden.reshape(samples, length, -1),
        pooled=states_g.text_embeds.reshape(samples, chunks, -1)[:, 0],
        mask=padding_mask(token_ids) if mask_padding else None,
    )


def weigh_states(states: Tensor, empty: Tensor, weights: Tensor, emphasis: Literal["comfyui", "a1111"]) -> Tensor:
    """Hidden states of one text encoder, (b, 77 * chunks, c), by the weight of each place, (b, 77 * chunks).

    `comfyui` puts each state on the line from that of the empty prompt, (1, 77, c), at its place in the chunk:
    empty + weight (state - empty). `a1111` multiplies it, and brings each chunk's mean over all its places and channels
    back to what it was; of an encoder's chunks, where A1111 takes all those of a batch together. Where all weights of a
    chunk are 1, the states stay to the bit.
    """
    chunks, empty = states.float().unflatten(1, (-1, CHUNK)), empty.float()
    factors = weights.float().unflatten(1, (-1, CHUNK))[..., None]
    if emphasis == "comfyui":
        weighted = torch.where(factors == 1, chunks, empty[:, None] + factors * (chunks - empty[:, None]))
    else:
        scaled = chunks * factors
        restored = scaled * (chunks.mean((2, 3), keepdim=True) / scaled.mean((2, 3), keepdim=True))
        weighted = torch.where((factors == 1).all(2, keepdim=True), chunks, restored)
    return weighted.flatten(1, 2).to(states.dtype)


def weigh_text(
    text: TextStates, empty: TextStates, weights: Tensor, *, width_l: int, emphasis: Literal["comfyui", "a1111"]
) -> TextStates:
    """The text with weighted hidden states, those of CLIP-L (`width_l` channels) and CLIP-G each by themselves.

    The pooled vector has no places, and stays, as in A1111 and ComfyUI.
    """
    halves = zip(text.hidden.tensor_split([width_l], -1), empty.hidden.tensor_split([width_l], -1), strict=True)
    hidden = torch.cat([weigh_states(half, nothing, weights, emphasis) for half, nothing in halves], dim=-1)
    return text._replace(hidden=hidden)


def join_texts(texts: Sequence[TextStates]) -> TextStates:
    """The samples of several texts of one number of chunks, in their order."""
    masks = [text.mask for text in texts if text.mask is not None]
    return TextStates(
        hidden=torch.cat([text.hidden for text in texts]),
        pooled=torch.cat([text.pooled for text in texts]),
        mask=torch.cat(masks) if masks else None,
    )


def padding_mask(token_ids: Tensor) -> Tensor:
    """Which states hold a prompt, bool (b, 77 * chunks), for int64 (b, 2, 77 * chunks).

    Of each chunk BOS, the tokens and the FIRST EOS, for CLIP-L pads with more of them. Of a chunk that the prompt does
    not reach nothing, but for the first: attention over nothing is not defined, and an empty prompt is BOS and EOS.
    """
    ids = token_ids[:, 0].unflatten(-1, (-1, CHUNK))
    is_eos = ids == EOS
    is_padding = is_eos.cumsum(-1) - is_eos.long() > 0
    is_unreached = is_eos[:, :, 1:2].clone()
    is_unreached[:, 0] = False
    return ~(is_padding | is_unreached).flatten(1)


def freeze_unused(text_encoder: CLIPTextModel) -> None:
    """Freeze CLIP-L's last layer and final norm: they get no gradient, which DDP would wait for in vain."""
    core = _core(text_encoder)
    core.encoder.layers[-1].requires_grad_(False)
    core.final_layer_norm.requires_grad_(False)


def _core(encoder: nn.Module) -> Any:
    """The transformer inside: transformers 4 wraps that of CLIPTextModel in `text_model`, transformers 5 does not."""
    return getattr(encoder, "text_model", encoder)
