"""Weighted states: by hand, and to the bit where all weights are 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from animetune.models.text import weigh_states
from animetune.models.tiny import build_tiny
from animetune.tokens import CHUNK, tokenize, tokenize_weighted


@pytest.fixture(scope="module")
def models():
    return build_tiny(0).eval()


def encoded(models, parts, emphasis, chunks=1):
    ids, weights = tokenize_weighted(parts, chunks=chunks)
    with torch.no_grad():
        return models.encode_weighted(torch.from_numpy(ids)[None], torch.from_numpy(weights)[None], emphasis=emphasis)


@torch.no_grad()
def plainly(models, prompt, chunks=1):
    return models.encode_text(torch.from_numpy(tokenize(prompt, chunks=chunks))[None])


@pytest.mark.parametrize("emphasis", ["comfyui", "a1111"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weight_one_is_the_plain_encoding(emphasis, dtype):
    models = build_tiny(0).eval().to(dtype)
    weighted = encoded(models, [[("1girl, ", 1.0), ("red hat", 1.0)]], emphasis, chunks=2)
    plain = plainly(models, "1girl, red hat", chunks=2)
    assert torch.equal(weighted.hidden, plain.hidden)
    assert torch.equal(weighted.pooled, plain.pooled)


def test_comfyui_goes_along_the_line_from_the_empty_prompt(models):
    weighted = encoded(models, [[("a ", 1.0), ("red", 1.5), (" hat", 0.0)]], "comfyui", chunks=2).hidden[0]
    plain, empty = plainly(models, "a red hat", chunks=2).hidden[0], plainly(models, "").hidden[0]
    torch.testing.assert_close(weighted[2], empty[2] + 1.5 * (plain[2] - empty[2]))
    torch.testing.assert_close(weighted[3], empty[3])
    others = [i for i in range(2 * CHUNK) if i not in (2, 3)]
    assert torch.equal(weighted[others], plain[others])


def test_a1111_scales_and_restores_the_mean_of_each_encoder(models):
    weighted = encoded(models, [[("a ", 1.0), ("red", 1.5), (" hat", 1.0)]], "a1111", chunks=2).hidden[0]
    plain = plainly(models, "a red hat", chunks=2).hidden[0]
    for half, before in zip(weighted.split([24, 40], -1), plain.split([24, 40], -1), strict=True):
        scaled = before[:CHUNK].clone()
        scaled[2] *= 1.5
        torch.testing.assert_close(half[:CHUNK], scaled * before[:CHUNK].mean() / scaled.mean(), rtol=1e-4, atol=1e-5)
        assert half[:CHUNK].mean().item() == pytest.approx(before[:CHUNK].mean().item(), abs=1e-5)
        # a chunk without weights is left alone
        assert torch.equal(half[CHUNK:], before[CHUNK:])


def test_the_pooled_vector_and_the_mask_stay(models):
    models.mask_padding = True
    try:
        weighted, plain = encoded(models, [[("red", 1.5), (" hat", 1.0)]], "comfyui"), plainly(models, "red hat")
    finally:
        models.mask_padding = False
    assert torch.equal(weighted.pooled, plain.pooled)
    assert torch.equal(weighted.mask, plain.mask)


@pytest.mark.parametrize("emphasis", ["comfyui", "a1111"])
def test_a_text_does_not_depend_on_its_batch(emphasis):
    rng = np.random.default_rng(0)
    states = torch.from_numpy(rng.standard_normal((3, 2 * CHUNK, 8), dtype=np.float32) + 1)
    empty = torch.from_numpy(rng.standard_normal((1, CHUNK, 8), dtype=np.float32))
    weights = torch.from_numpy(rng.uniform(0.5, 1.5, (3, 2 * CHUNK)).astype(np.float32))
    together = weigh_states(states, empty, weights, emphasis)
    for i in range(3):
        torch.testing.assert_close(together[i], weigh_states(states[i : i + 1], empty, weights[i : i + 1], emphasis)[0])


def test_joined_texts_are_those_of_one_batch(models):
    texts = [plainly(models, prompt) for prompt in ("a", "b")]
    joined = models.join_texts(texts)
    assert joined.mask is None
    assert torch.equal(joined.hidden[1:], texts[1].hidden)
    assert torch.equal(joined.pooled[:1], texts[0].pooled)
