"""The module: micro-conditioning in float32, dtypes, the frozen VAE, published sizes of the full networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from animetune.models.sdxl import (
    COMPONENTS,
    Parameterization,
    Sdxl,
    build_network,
    build_seeded,
    is_sdxl,
    sdxl_configs,
)
from animetune.models.tiny import build_tiny, tiny_configs
from animetune.models.vae import vae_digest
from tests.builders import token_ids

POOLED = tiny_configs().text_encoder_2["projection_dim"]
WIDTH = tiny_configs().unet["addition_time_embed_dim"]
"""Numbers that each of the six time_ids becomes."""


@pytest.fixture(scope="module")
def models() -> Sdxl:
    return build_tiny(0).requires_grad_(False)


@pytest.fixture(scope="module")
def bf16_models() -> Sdxl:
    return build_tiny(0).requires_grad_(False).to(torch.bfloat16)


def predict(models: Sdxl, time_ids: list[float], x_t: Tensor | None = None) -> Tensor:
    text = models.encode_text(token_ids("1girl, blue hair"))
    if x_t is None:
        x_t = torch.linspace(-2, 2, 4 * 8 * 12).reshape(1, 4, 8, 12)
    return models.predict(x_t, torch.tensor([500]), text, torch.tensor([time_ids]))


def added_embedding_input(models: Sdxl, time_ids: list[float]) -> Tensor:
    """What the UNet's `add_embedding` is given: pooled text, then the six sinusoids."""
    seen: list[Tensor] = []
    hook = models.unet.add_embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    predict(models, time_ids)
    hook.remove()
    return seen[0][0]


def sinusoid(position: float, width: int) -> list[float]:
    """Cosines, then sines (Vaswani et al. 2017 in SDXL's order), of frequencies from 1 down to nearly 1 / 10000."""
    angles = [position * 10000 ** (-i / (width // 2)) for i in range(width // 2)]
    return [math.cos(angle) for angle in angles] + [math.sin(angle) for angle in angles]


@pytest.mark.parametrize("name", ["models", "bf16_models"])
def test_time_ids_are_embedded_exactly(name: str, request: pytest.FixtureRequest) -> None:
    """bfloat16 knows no 1333 (it becomes 1336), nor 1023 (1024): the sinusoids must come from the exact numbers."""
    models = request.getfixturevalue(name)
    time_ids = [1333.0, 1023.0, 17.0, 0.0, 2305.0, 3507.0]
    expected = torch.tensor([value for number in time_ids for value in sinusoid(number, WIDTH)], dtype=torch.float64)
    given = added_embedding_input(models, time_ids)
    assert given.shape == (POOLED + 6 * WIDTH,)
    torch.testing.assert_close(given[POOLED:].double(), expected, rtol=0, atol=2e-3 if name == "models" else 4e-3)

    rounded = [float(torch.tensor(number).bfloat16()) for number in time_ids]
    wrong = torch.tensor([value for number in rounded for value in sinusoid(number, WIDTH)], dtype=torch.float64)
    assert (expected - wrong).abs().max() > 0.5


def test_time_ids_keep_their_order(models: Sdxl) -> None:
    """(original h, w, top, left, target h, w): each in its own places."""
    given = added_embedding_input(models, [11.0, 22.0, 33.0, 44.0, 55.0, 66.0])[POOLED:].reshape(6, WIDTH)
    for row, number in zip(given, [11, 22, 33, 44, 55, 66], strict=True):
        torch.testing.assert_close(row.double(), torch.tensor(sinusoid(number, WIDTH)).double(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["models", "bf16_models"])
def test_times_of_a_flow_are_embedded_exactly(name: str, request: pytest.FixtureRequest) -> None:
    """A fraction of a timestep is a radian of the highest frequency; bfloat16 would make 999.5 of it 1000."""
    models = request.getfixturevalue(name)
    seen: list[Tensor] = []
    hook = models.unet.time_embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    text, x_t = models.encode_text(token_ids("1girl, blue hair")), torch.zeros(1, 4, 8, 12)
    models.predict(x_t, torch.tensor([999.5]), text, torch.tensor([[64.0, 96, 0, 0, 64, 96]]))
    hook.remove()
    expected = torch.tensor([sinusoid(999.5, seen[0].shape[1])], dtype=torch.float64)
    torch.testing.assert_close(seen[0].double(), expected, rtol=0, atol=2e-3 if name == "models" else 4e-3)


def test_pooled_text_is_dropped_where_it_is_marked(models: Sdxl) -> None:
    text = models.encode_text(token_ids("1girl, blue hair", "a cat"))
    dropped = models.drop_pooled(text, torch.tensor([True, False]))
    assert (dropped.pooled[0] == 0).all()
    assert torch.equal(dropped.pooled[1], text.pooled[1])
    assert torch.equal(dropped.hidden, text.hidden)


def test_prediction_equals_the_unet_called_by_hand(models: Sdxl) -> None:
    text = models.encode_text(token_ids("1girl, blue hair"))
    x_t = torch.linspace(-2, 2, 4 * 8 * 12).reshape(1, 4, 8, 12)
    time_ids = torch.tensor([[64.0, 96, 0, 5, 64, 96]])
    expected = models.unet(
        x_t,
        torch.tensor([500]),
        encoder_hidden_states=text.hidden,
        added_cond_kwargs={"text_embeds": text.pooled, "time_ids": time_ids},
    ).sample
    assert torch.equal(models.predict(x_t, torch.tensor([500]), text, time_ids), expected)


def test_bfloat16_takes_and_gives_float32(models: Sdxl, bf16_models: Sdxl) -> None:
    x_t = torch.linspace(-2, 2, 4 * 8 * 12).reshape(1, 4, 8, 12)
    kept = x_t.clone()
    prediction = predict(bf16_models, [64.0, 96, 0, 0, 64, 96], x_t)
    assert prediction.dtype == torch.float32
    assert torch.equal(x_t, kept)
    torch.testing.assert_close(prediction, predict(models, [64.0, 96, 0, 0, 64, 96], x_t), rtol=0.1, atol=0.05)


def test_every_input_of_the_unet_matters(models: Sdxl) -> None:
    base = predict(models, [64.0, 96, 0, 0, 64, 96])
    assert not torch.allclose(base, predict(models, [64.0, 96, 0, 40, 64, 96]))
    text = models.encode_text(token_ids("1girl, red hair"))
    x_t = torch.linspace(-2, 2, 4 * 8 * 12).reshape(1, 4, 8, 12)
    time_ids = torch.tensor([[64.0, 96, 0, 0, 64, 96]])
    assert not torch.allclose(base, models.predict(x_t, torch.tensor([500]), text, time_ids))
    same_text = models.encode_text(token_ids("1girl, blue hair"))
    assert not torch.allclose(base, models.predict(x_t, torch.tensor([501]), same_text, time_ids))
    other_pooled = same_text._replace(pooled=text.pooled)
    assert not torch.allclose(base, models.predict(x_t, torch.tensor([500]), other_pooled, time_ids))


def test_vae_is_neither_trained_nor_saved_nor_cast() -> None:
    models = build_tiny(0)
    assert models.vae is not None
    before = vae_digest(models.vae)
    names = [*models.state_dict(), *(name for name, _ in models.named_parameters())]
    assert all(name.startswith(("unet.", "text_encoder.", "text_encoder_2.")) for name in names)
    models.train().to(torch.bfloat16)
    assert models.vae.dtype == torch.float32
    assert not models.vae.training
    assert not any(parameter.requires_grad for parameter in models.vae.parameters())
    assert vae_digest(models.vae) == before
    models.to("meta")
    assert vae_digest(models.vae) == before


def test_pixels_become_the_unscaled_posterior_mean(models: Sdxl) -> None:
    from diffusers.image_processor import VaeImageProcessor

    pixels = (torch.arange(2 * 3 * 64 * 32) * 7919 % 256).reshape(2, 3, 64, 32).to(torch.uint8)
    pixels[0, :, 0, 0], pixels[0, :, 0, 1] = 0, 255
    latents = models.encode_pixels(pixels)
    assert latents.shape == (2, 4, 8, 4)
    assert latents.dtype == torch.float32
    normalised = VaeImageProcessor().normalize(pixels.double() / 255).float()
    assert normalised.min() == -1
    assert normalised.max() == 1
    torch.testing.assert_close(latents, models.vae.encode(normalised).latent_dist.mean, rtol=0, atol=1e-5)
    assert torch.equal(latents, models.encode_pixels(pixels)), "a mean draws nothing"


def test_scale_is_sdxls(models: Sdxl) -> None:
    latents = torch.tensor([-3.0, 0.0, 8.0]).reshape(1, 1, 1, 3)
    torch.testing.assert_close(models.scale(latents).flatten(), torch.tensor([-0.39075, 0, 1.042]))
    torch.testing.assert_close(models.unscale(models.scale(latents)), latents)


def test_decoding_equals_diffusers(models: Sdxl) -> None:
    from diffusers.image_processor import VaeImageProcessor

    scaled = torch.linspace(-3, 3, 4 * 8 * 4).reshape(1, 4, 8, 4)
    images = models.decode(scaled)
    assert images.shape == (1, 3, 64, 32)
    assert images.dtype == torch.uint8
    (expected,) = VaeImageProcessor().postprocess(models.vae.decode(scaled / 0.13025).sample, output_type="pil")
    assert images[0].permute(1, 2, 0).numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("component", "parameters"),
    [("unet", 2_567_463_684), ("vae", 83_653_863), ("text_encoder", 123_060_480), ("text_encoder_2", 694_659_840)],
)
def test_full_networks_have_the_published_sizes(component: str, parameters: int) -> None:
    with torch.device("meta"):
        network = build_network(sdxl_configs(), component)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_full_configurations_state_what_shapes_do_not() -> None:
    """Settings that no tensor's shape betrays when they are wrong."""
    configs = sdxl_configs()
    assert configs.vae["scaling_factor"] == 0.13025
    assert configs.vae["force_upcast"] is True
    assert configs.text_encoder["hidden_act"] == "quick_gelu"
    assert configs.text_encoder_2["hidden_act"] == "gelu"
    # transformers guesses the EOS by the largest id when the configuration says 2, as SDXL's own does.
    assert configs.text_encoder["eos_token_id"] == configs.text_encoder_2["eos_token_id"] == 49407
    with torch.device("meta"):
        unet = build_network(configs, "unet")
    blocks = [unet.down_blocks[1].attentions[0], unet.down_blocks[2].attentions[0], unet.mid_block.attentions[0]]
    assert [block.transformer_blocks[0].attn1.heads for block in blocks] == [10, 20, 20]
    assert [len(block.transformer_blocks) for block in blocks] == [2, 10, 10]


def test_tiny_has_the_wiring_of_the_full_networks() -> None:
    tiny, full = tiny_configs(), sdxl_configs()
    for component in COMPONENTS:
        assert getattr(tiny, component).keys() == getattr(full, component).keys()
    for key in ("down_block_types", "up_block_types", "mid_block_type", "layers_per_block", "addition_embed_type"):
        assert tiny.unet[key] == full.unet[key]
    assert is_sdxl(full)
    assert not is_sdxl(tiny)


def test_tiny_is_a_pure_function_of_its_seed() -> None:
    state = torch.random.get_rng_state()
    first, again, other = build_tiny(3), build_tiny(3), build_tiny(4)
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator was touched"
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert vae_digest(first.vae) == vae_digest(again.vae)
    assert vae_digest(first.vae) != vae_digest(other.vae)
    assert not torch.equal(first.unet.conv_in.weight, other.unet.conv_in.weight)
    assert sum(parameter.numel() for parameter in first.unet.parameters()) < 3_000_000, "small enough for a CPU"
    assert first.parameterization == Parameterization("epsilon", False)


def test_random_weights_in_bf16_are_those_in_fp32_rounded() -> None:
    for component in COMPONENTS[:3]:
        full = build_seeded(tiny_configs(), component, seed=4).state_dict()
        half = build_seeded(tiny_configs(), component, seed=4, dtype=torch.bfloat16).state_dict()
        assert full.keys() == half.keys()
        for name, tensor in half.items():
            assert torch.equal(tensor, full[name].to(tensor.dtype)), name
            assert tensor.dtype == (torch.bfloat16 if full[name].is_floating_point() else full[name].dtype)
