"""Text encoding: SDXL reads both CLIPs' penultimate hidden states side by side, and CLIP-G's pooled projection.

SDXL (Podell et al. 2023, arXiv:2307.01952, section 2.1) takes the output of the last layer but one, without the final
layer norm. So CLIP-L's last layer and final norm never receive a gradient (`freeze_unused`), and CLIP-G's receive
theirs through the pooled vector only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from animetune.tokens import CHUNK


class TextStates(NamedTuple):
    """What the UNet is told about the prompt."""

    hidden: Tensor
    """(b, 77 * chunks, 2048): CLIP-L's 768 channels, then CLIP-G's 1280."""
    pooled: Tensor
    """(b, 1280): CLIP-G's projection at the first EOS of the first chunk."""


def encode_text(
    text_encoder: CLIPTextModel, text_encoder_2: CLIPTextModelWithProjection, token_ids: Tensor
) -> TextStates:
    """Encode int64 (b, 2, 77 * chunks) from `tokens.tokenize`: row 0 for CLIP-L, row 1 for CLIP-G.

    CLIP has 77 positions, so every chunk is encoded by itself and the states are laid end to end, BOS and EOS of
    every chunk included, as ComfyUI and A1111 do (kohya's scripts drop the inner ones).
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
    )


def freeze_unused(text_encoder: CLIPTextModel) -> None:
    """Freeze CLIP-L's last layer and final norm: they get no gradient, which DDP would wait for in vain."""
    core = _core(text_encoder)
    core.encoder.layers[-1].requires_grad_(False)
    core.final_layer_norm.requires_grad_(False)


def _core(encoder: nn.Module) -> Any:
    """The transformer inside: transformers 4 wraps that of CLIPTextModel in `text_model`, transformers 5 does not."""
    return getattr(encoder, "text_model", encoder)
