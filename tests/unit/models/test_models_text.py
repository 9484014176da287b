"""Text states against CLIP written out in float64, and the traps: pads, first EOS, penultimate layer, chunks, masks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from animetune.models.config import ModelConfig
from animetune.models.load import load_models
from animetune.models.networks import canonical_state
from animetune.models.sdxl import Sdxl
from animetune.models.text import TextStates, encode_text, padding_mask
from animetune.models.tiny import build_tiny, tiny_configs
from tests.builders import token_ids

EOS = 49407
L, G = tiny_configs().text_encoder, tiny_configs().text_encoder_2


@pytest.fixture(scope="module")
def models() -> Sdxl:
    return build_tiny(0).requires_grad_(False)


def clip_layers(state: dict[str, Tensor], ids: Tensor, config: dict[str, Any], activation) -> list[Tensor]:
    """Hidden states before the first layer and after each, by the equations of Radford et al. 2021, in float64."""
    state = {name: tensor.double() for name, tensor in state.items()}

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    x = state["text_model.embeddings.token_embedding.weight"][ids]
    x = x + state["text_model.embeddings.position_embedding.weight"]
    heads, width = config["num_attention_heads"], x.shape[-1] // config["num_attention_heads"]
    future = torch.ones(77, 77, dtype=torch.bool).triu(1)
    states = [x]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"text_model.encoder.layers.{layer}"
        y = norm(x, f"{prefix}.layer_norm1")
        q, k, v = (
            linear(y, f"{prefix}.self_attn.{name}_proj").unflatten(-1, (heads, width)).transpose(1, 2) for name in "qkv"
        )
        weights = (q @ k.mT / width**0.5).masked_fill(future, -torch.inf).softmax(-1)
        x = x + linear((weights @ v).transpose(1, 2).flatten(2), f"{prefix}.self_attn.out_proj")
        y = norm(x, f"{prefix}.layer_norm2")
        x = x + linear(activation(linear(y, f"{prefix}.mlp.fc1")), f"{prefix}.mlp.fc2")
        states.append(x)
    return [*states, norm(x, "text_model.final_layer_norm")]


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def test_states_equal_clip_written_out(models: Sdxl) -> None:
    ids = token_ids("1girl, blue hair", "", "a photo of a cat, wow!")
    text = models.encode_text(ids)
    assert text.hidden.shape == (3, 77, L["hidden_size"] + G["hidden_size"])
    assert text.pooled.shape == (3, G["projection_dim"])

    states_l = clip_layers(canonical_state(models.text_encoder, "text_encoder"), ids[:, 0], L, quick_gelu)
    states_g = clip_layers(canonical_state(models.text_encoder_2, "text_encoder_2"), ids[:, 1], G, F.gelu)
    # The embeddings, the output of each layer, the last one normed: third from the end is the last layer's input.
    penultimate = torch.cat([states_l[-3], states_g[-3]], dim=-1)
    torch.testing.assert_close(text.hidden.double(), penultimate, rtol=1e-5, atol=1e-5)

    first_eos = [row.tolist().index(EOS) for row in ids[:, 1]]
    at_eos = states_g[-1][torch.arange(3), first_eos]
    projected = at_eos @ models.text_encoder_2.text_projection.weight.double().T
    torch.testing.assert_close(text.pooled.double(), projected, rtol=1e-5, atol=1e-5)


def test_pooled_is_taken_at_the_first_eos(models: Sdxl) -> None:
    """Some tokenizers pad CLIP-G with EOS too; the pooled vector must not move to the last of them."""
    ids = token_ids("a photo of a cat")
    padded_with_eos = ids.clone()
    padded_with_eos[0, 1, 7:] = EOS
    assert torch.equal(models.encode_text(ids).pooled, models.encode_text(padded_with_eos).pooled)


def test_padding_changes_the_states_of_padding_only(models: Sdxl) -> None:
    """CLIP-G pads with 0 and CLIP-L with EOS: exchanging them would be seen by the UNet's cross-attention."""
    ids = token_ids("a photo of a cat")
    text, swapped = models.encode_text(ids), models.encode_text(ids.flip(1))
    assert torch.equal(text.hidden[:, :7], swapped.hidden[:, :7])
    assert not torch.allclose(text.hidden[:, 7:, : L["hidden_size"]], swapped.hidden[:, 7:, : L["hidden_size"]])
    assert not torch.allclose(text.hidden[:, 7:, L["hidden_size"] :], swapped.hidden[:, 7:, L["hidden_size"] :])
    assert torch.equal(text.pooled, swapped.pooled)


@pytest.mark.parametrize("chunks", [2, 3])
def test_chunks_are_encoded_by_themselves_and_laid_end_to_end(models: Sdxl, chunks: int) -> None:
    ids = token_ids(" ".join(["red hair, smile"] * 40), "1girl", chunks=chunks)
    text = models.encode_text(ids)
    alone = [models.encode_text(part) for part in ids.split(77, dim=2)]
    torch.testing.assert_close(text.hidden, torch.cat([part.hidden for part in alone], dim=1))
    torch.testing.assert_close(text.pooled, alone[0].pooled)
    assert not torch.allclose(text.pooled, alone[1].pooled)


def test_exactly_the_parameters_without_gradient_are_frozen() -> None:
    """DDP waits for every trained parameter's gradient; CLIP-L's last layer and final norm would never send one."""
    models = build_tiny(1)
    text = models.encode_text(token_ids("1girl", "blue hair"))
    x_t = torch.linspace(-1, 1, 2 * 4 * 8 * 8).reshape(2, 4, 8, 8)
    time_ids = torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2)
    models.predict(x_t, torch.tensor([10, 900]), text, time_ids).square().mean().backward()

    frozen = {name for name, parameter in models.named_parameters() if not parameter.requires_grad}
    without = {name for name, parameter in models.named_parameters() if parameter.grad is None}
    assert frozen == without
    unused = (f"encoder.layers.{L['num_hidden_layers'] - 1}.", "final_layer_norm.")
    of_clip_l = {name for name, _ in models.named_parameters() if name.startswith("text_encoder.")}
    assert frozen == {name for name in of_clip_l if any(part in name for part in unused)}
    assert len(frozen) == 16 + 2
    # A parameter may have an all-zero gradient only where SDXL's own structure makes it so: tokens not in the prompt.
    for name, parameter in models.named_parameters():
        assert parameter.grad is None or parameter.grad.abs().sum() > 0, name


def test_padding_mask_by_hand() -> None:
    ids = token_ids("", "a photo of a cat", " ".join(["cat"] * 75), " ".join(["cat"] * 80), chunks=3)
    mask = padding_mask(ids)
    assert mask.shape == (4, 231)
    assert mask.dtype == torch.bool
    visible = [row.nonzero().flatten().tolist() for row in mask]
    assert visible == [
        [0, 1],  # BOS and EOS: attention is never over nothing
        [*range(7)],
        [*range(77)],
        [*range(77), *range(77, 77 + 7)],
    ]
    # CLIP-G pads with 0: its row says the same.
    assert torch.equal(padding_mask(ids.flip(1)), mask)


def predict(models: Sdxl, text: TextStates) -> Tensor:
    samples = len(text.hidden)
    x_t = torch.linspace(-1, 1, 4 * 8 * 8).reshape(1, 4, 8, 8).expand(samples, 4, 8, 8)
    time_ids = torch.tensor([[64.0, 64, 0, 0, 64, 64]]).expand(samples, 6)
    return models.predict(x_t, torch.full((samples,), 500), text, time_ids)


def test_masked_attention_is_attention_over_the_prompt_alone(models: Sdxl) -> None:
    """The oracle: the UNet on the visible states only, cut out by hand, sample by sample."""
    ids = token_ids("1girl, blue hair", "", "red hair, " * 30, chunks=3)
    masked = encode_text(models.text_encoder, models.text_encoder_2, ids, mask_padding=True)
    alone = [
        predict(models, TextStates(masked.hidden[i : i + 1, row], masked.pooled[i : i + 1]))
        for i, row in enumerate(padding_mask(ids))
    ]
    together = predict(models, masked)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together, predict(models, masked._replace(mask=None)), rtol=1e-3, atol=1e-4)


def test_text_encoders_with_a_mask_of_their_own_give_the_same(models: Sdxl) -> None:
    """They are causal, so no state of the prompt ever saw the padding behind it: why they are given no mask."""
    ids = token_ids("1girl, blue hair", "", "a photo of a cat, wow!")
    mask = padding_mask(ids)
    for encoder, row in ((models.text_encoder, ids[:, 0]), (models.text_encoder_2, ids[:, 1])):
        plain = encoder(row, output_hidden_states=True).hidden_states[-2]
        masked = encoder(row, attention_mask=mask.long(), output_hidden_states=True).hidden_states[-2]
        torch.testing.assert_close(plain[mask], masked[mask], rtol=1e-5, atol=1e-6)
        assert not torch.allclose(plain[~mask], masked[~mask])


@pytest.mark.parametrize("mask_padding", [False, True])
def test_masked_padding_gets_no_gradient(mask_padding: bool) -> None:
    models = build_tiny(1)
    models.mask_padding = mask_padding
    text = models.encode_text(token_ids("1girl", "blue hair"))  # [BOS, 1, girl, EOS], and two tokens in the other
    predict(models, text).square().mean().backward()
    for encoder in (models.text_encoder, models.text_encoder_2):
        gradient = encoder.text_model.embeddings.position_embedding.weight.grad.abs().sum(-1)
        assert (gradient[:4] > 0).all()
        assert (gradient[4:] > 0).any() == (not mask_padding)


def test_the_mask_follows_the_configuration() -> None:
    for mask_padding in (False, True):
        models = load_models(ModelConfig(base="random:tiny", mask_padding=mask_padding))
        assert (models.encode_text(token_ids("1girl")).mask is not None) == mask_padding
