"""Drawing: each picture depends on its own request only, whatever shares its batch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pydantic
import pytest
import torch
from PIL import Image

from animetune.diffusion.config import DiffusionConfig, SamplerConfig
from animetune.diffusion.draw import draw
from animetune.diffusion.draw_config import TextConfig, UpscaleConfig
from animetune.diffusion.readings import KEPT, Reader
from animetune.errors import ConfigError, DataError
from animetune.models.tiny import build_tiny
from animetune.records import Init, Request, Size
from animetune.sampler_names import SAMPLERS

SAMPLER = SamplerConfig(steps=2, cfg_scale=3.0)
WIDE, TALL, SMALL = Size(96, 64), Size(64, 96), Size(64, 64)
REQUESTS = [
    Request("1girl, red hair", 1, WIDE),
    Request("a cat", 2, TALL),
    Request("1girl, red hair", 3, WIDE, negative="worst quality"),
    Request(", ".join(["a very long prompt"] * 40), 1, WIDE),
]


@pytest.fixture(scope="module")
def models() -> torch.nn.Module:
    return build_tiny(0).eval()


def drawn(models, requests: list[Request], batch_size: int = 4, sampler=SAMPLER, **settings) -> dict[int, np.ndarray]:
    diffusion = settings.pop("diffusion", DiffusionConfig())
    return dict(draw(models, requests, diffusion=diffusion, sampler=sampler, batch_size=batch_size, **settings))


def farthest(one: np.ndarray, other: np.ndarray) -> int:
    """Levels: 1 is what sums in another order may do."""
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_every_request_once_in_its_size(models) -> None:
    pictures = drawn(models, REQUESTS, 2)
    assert sorted(pictures) == [0, 1, 2, 3]
    assert [pictures[i].shape for i in range(4)] == [(64, 96, 3), (96, 64, 3), (64, 96, 3), (64, 96, 3)]


def test_a_picture_does_not_depend_on_its_batch(models) -> None:
    together = drawn(models, REQUESTS, 4)
    for place, request in enumerate(REQUESTS):
        alone = drawn(models, [request], 1)[0]
        assert np.abs(together[place].astype(int) - alone.astype(int)).max() <= 1  # sums in another order round so


def test_prompt_seed_and_negative_matter(models) -> None:
    base = Request("1girl, red hair", 1, WIDE)
    others = [
        Request("1girl, blue hair", 1, WIDE),
        Request("1girl, red hair", 2, WIDE),
        Request("1girl, red hair", 1, WIDE, negative="worst"),
    ]
    first, *rest = (drawn(models, [base, *others], 4)[i] for i in range(4))
    assert all((picture != first).any() for picture in rest)


# ---- every sampler


@pytest.mark.parametrize("name", SAMPLERS)
def test_order_and_batch_change_nothing_with_any_sampler(models, name) -> None:
    sampler = SamplerConfig(name=name, steps=3, cfg_scale=3.0, cfg_rescale=0.3)
    requests = [Request(f"{colour} hair", seed, SMALL) for seed, colour in enumerate(["red", "blue", "green", "white"])]
    together = drawn(models, requests, 4, sampler)
    backwards = drawn(models, requests[::-1], 3, sampler)
    assert farthest(together[2], drawn(models, [requests[2]], 1, sampler)[0]) <= 1
    assert all(farthest(together[place], backwards[3 - place]) <= 1 for place in range(4))
    assert farthest(together[0], together[1]) > 1


@pytest.mark.parametrize("size", [Size(72, 104), Size(104, 64), Size(64, 136)])
def test_any_number_of_whole_cells_is_drawn(models, size) -> None:
    assert drawn(models, [Request("a", 1, size)])[0].shape == (size.height, size.width, 3)


def test_other_sizes_are_refused_before_anything_is_drawn(models) -> None:
    requests = [Request("a", 1, WIDE), Request("b", 1, Size(100, 64))]
    with pytest.raises(ConfigError, match="'b': size 100x64: both sides have to be multiples of 8 pixels"):
        next(draw(models, requests, diffusion=DiffusionConfig(), sampler=SAMPLER))


# ---- text


def test_weights_are_read_only_where_they_are_asked_for(models) -> None:
    def one(prompt: str, **text) -> np.ndarray:
        return drawn(models, [Request(prompt, 1, WIDE)], text=TextConfig(**text))[0]

    plain = one("a red hat")
    assert farthest(one("a (red:1.0) hat", syntax="weighted"), plain) == 0
    assert farthest(one("a (red:8) hat", syntax="weighted"), plain) > 1
    assert farthest(one("a (red:8) hat", syntax="weighted", emphasis="a1111"), plain) > 1
    assert farthest(one("a (red:8) hat"), plain) > 1  # brackets and number are tokens
    assert farthest(one(r"miku \(vocaloid\)", syntax="weighted"), one("miku (vocaloid)")) == 0
    assert farthest(one("[a] hat", syntax="weighted", square_brackets=False), one("[a] hat")) == 0


def test_equal_prompts_are_encoded_once(models, monkeypatch) -> None:
    encoded = []
    encode = type(models).encode_text
    monkeypatch.setattr(type(models), "encode_text", lambda self, ids: encoded.append(ids) or encode(self, ids))
    drawn(models, [Request("a cat", seed, WIDE) for seed in range(6)], 2)
    assert [ids.shape for ids in encoded] == [(1, 2, 77)] * 2  # the prompt, and the empty negative


def test_the_memory_of_texts_is_bounded(models) -> None:
    reader = Reader(models, TextConfig(), "cpu")
    for number in range(KEPT + 5):
        reader.read([str(number)], 1)
    assert len(reader._known) == KEPT


def test_a_long_negative_is_as_long_as_its_prompt(models) -> None:
    long = ", ".join(["bad hands"] * 40)
    request = Request("a cat", 1, WIDE, negative=long)
    for split in ("anywhere", "commas"):
        assert drawn(models, [request], text=TextConfig(split=split))[0].shape == (64, 96, 3)


# ---- from a picture


def init_of(pixels: np.ndarray, strength: float) -> Init:
    return Init("a.png", strength, lambda: pixels)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    gradient = np.linspace(0, 255, 64 * 96 * 3).reshape(64, 96, 3)
    return gradient.astype(np.uint8)


@pytest.mark.parametrize("name", SAMPLERS)
def test_strength_0_is_the_picture_as_the_vae_gives_it_back(models, photo, name) -> None:
    request = Request("a cat", 1, WIDE, init=init_of(photo, 0.0))
    with torch.no_grad():
        latents = models.scale(models.encode_pixels(torch.from_numpy(photo).permute(2, 0, 1)[None]))
        expected = models.decode(latents)[0].permute(1, 2, 0).numpy()
    assert farthest(drawn(models, [request], sampler=SamplerConfig(name=name, steps=4))[0], expected) == 0


@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_2m_sde", "unipc"])
def test_pictures_to_begin_from_do_not_meet(models, photo, name) -> None:
    sampler = SamplerConfig(name=name, steps=4, cfg_scale=2.0)
    requests = [
        Request("a cat", 1, WIDE, init=init_of(photo, 0.5)),
        Request("a cat", 2, WIDE, init=init_of(photo[::-1], 0.6)),
        Request("a cat", 3, WIDE),
        Request("a cat", 4, WIDE, init=init_of(photo, 1.0)),
    ]
    together = drawn(models, requests, 4, sampler)
    for place in (1, 2, 3):
        assert farthest(together[place], drawn(models, [requests[place]], 1, sampler)[0]) <= 1


def test_from_pure_noise_no_picture_is_left(models, photo) -> None:
    flow = DiffusionConfig(prediction="flow")
    begun = Request("a cat", 1, WIDE, init=init_of(photo, 1.0))
    fresh = dataclasses.replace(begun, init=None)
    pictures = drawn(models, [begun, fresh], 1, diffusion=flow)
    assert farthest(pictures[0], pictures[1]) == 0


def test_a_picture_of_another_size_is_refused(models, photo) -> None:
    request = Request("a cat", 1, TALL, init=init_of(photo, 0.5))
    with pytest.raises(DataError, match=r"a\.png: the picture to begin from is uint8 \(64, 96, 3\), not RGB of 64x96"):
        drawn(models, [request])
    with pytest.raises(ConfigError, match=r"a\.png: strength 1\.5 is not between 0 and 1"):
        drawn(models, [Request("a cat", 1, WIDE, init=init_of(photo, 1.5))])


# ---- the second pass


@pytest.mark.parametrize(
    ("space", "method"),
    [("latent", "nearest-exact"), ("latent", "bicubic"), ("pixel", "lanczos"), ("pixel", "bilinear")],
)
def test_the_second_pass_enlarges(models, space, method) -> None:
    upscale = UpscaleConfig(space=space, method=method)
    assert upscale.size_of(Size(832, 1216)) == Size(1248, 1824)
    picture = drawn(models, [Request("a", 1, WIDE)], upscale=upscale)[0]
    assert picture.shape == (96, 144, 3)
    assert farthest(picture, drawn(models, [Request("a", 2, WIDE)], upscale=upscale)[0]) > 1


def test_without_steps_the_second_pass_only_enlarges(models) -> None:
    upscale = UpscaleConfig(space="pixel", method="lanczos", strength=0.0, factor=2)
    first = drawn(models, [Request("a", 1, WIDE)])[0]
    large = np.asarray(Image.fromarray(first).resize((192, 128), Image.Resampling.LANCZOS)).copy()
    with torch.no_grad():
        latents = models.scale(models.encode_pixels(torch.from_numpy(large).permute(2, 0, 1)[None]))
        expected = models.decode(latents)[0].permute(1, 2, 0).numpy()
    assert farthest(drawn(models, [Request("a", 1, WIDE)], upscale=upscale)[0], expected) == 0


def test_the_second_pass_has_its_own_sampler_and_noise(models, monkeypatch) -> None:
    calls = []
    predict = type(models).predict

    def watched(self, x_t, timesteps, text, time_ids):
        calls.append((len(x_t), tuple(x_t.shape[2:]), int(timesteps[0]), time_ids[0].tolist()))
        return predict(self, x_t, timesteps, text, time_ids)

    monkeypatch.setattr(type(models), "predict", watched)
    upscale = UpscaleConfig(strength=0.5, sampler=SamplerConfig(name="euler", steps=6, cfg_scale=1.0))
    drawn(models, [Request("a", 1, WIDE)], sampler=SamplerConfig(name="dpmpp_2m", steps=2), upscale=upscale)
    assert calls == [
        (2, (8, 12), 999, [64, 96, 0, 0, 64, 96]),
        (2, (8, 12), 499, [64, 96, 0, 0, 64, 96]),
        (1, (12, 18), 499, [96, 144, 0, 0, 96, 144]),
        (1, (12, 18), 332, [96, 144, 0, 0, 96, 144]),
        (1, (12, 18), 166, [96, 144, 0, 0, 96, 144]),
    ]


def test_the_second_pass_does_not_depend_on_its_batch(models) -> None:
    upscale = UpscaleConfig(sampler=SamplerConfig(name="dpmpp_2m_sde", steps=4))
    requests = [Request("a", seed, WIDE) for seed in range(3)]
    together = drawn(models, requests, 3, upscale=upscale)
    assert all(farthest(together[i], drawn(models, [requests[i]], 1, upscale=upscale)[0]) <= 1 for i in range(3))


def test_a_second_sampler_that_does_not_fit_is_refused_at_once(models) -> None:
    upscale = UpscaleConfig(sampler=SamplerConfig(sigmas="karras"))
    zero = DiffusionConfig(prediction="v", zero_terminal_snr=True)
    with pytest.raises(ConfigError, match=r"^upscale\.sampler\.sigmas: karras: zero_terminal_snr begins in pure noise"):
        drawn(models, [Request("a", 1, WIDE)], upscale=upscale, diffusion=zero)
    with pytest.raises(pydantic.ValidationError, match="method: lanczos needs space: pixel"):
        UpscaleConfig(method="lanczos")


def test_large_pictures_pass_the_vae_in_tiles(models, photo) -> None:
    size = Size(256, 192)  # the tiny VAE's tiles have 128 pixels
    request = Request("a", 1, size, init=init_of(np.asarray(Image.fromarray(photo).resize(size)), 0.0))
    whole = drawn(models, [request])[0]
    tiled = drawn(models, [request], tile_above=128 * 128)[0]
    assert not models.vae.use_tiling
    assert farthest(drawn(models, [request], tile_above=size.area)[0], whole) == 0
    models.vae.enable_tiling()
    try:
        theirs = drawn(models, [request], tile_above=0)[0]
        with torch.no_grad():
            pixels = torch.from_numpy(request.init.read().transpose(2, 0, 1).copy())[None].float() / 127.5 - 1
            image = models.vae.decode(models.vae.encode(pixels).latent_dist.mean).sample[0]
    finally:
        models.vae.disable_tiling()
    by_hand = ((image / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    assert farthest(tiled, by_hand) <= 1
    assert farthest(tiled, theirs) == 0
    assert farthest(tiled, whole) > 1
