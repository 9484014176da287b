"""The measurement must be right on drawings, before it may judge a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from animetune.demo.colours import measure, nearest
from animetune.demo.drawing import BACKGROUNDS, HAIR, Scene, draw, imagine
from animetune.models.load import load_vae
from animetune.models.vae import decode_latents, encode_pixels
from animetune.seeding import Purpose, rng_for

SIZES = ((128, 128), (96, 160), (160, 96), (256, 176))
ONE_CHARACTER = ("1girl_with_emotion", "1girl_only", "1boy_with_emotion", "1boy_only")


def drawn(index: int, size: tuple[int, int]) -> tuple[Scene, Image.Image]:
    rng = rng_for(9, Purpose.DRAW, index)
    scene = imagine(ONE_CHARACTER[index % 4], rng)
    return scene, draw(scene, *size, rng)


def test_drawings_show_their_own_colours() -> None:
    seen = set()
    for index in range(240):
        scene, picture = drawn(index, SIZES[index // 4 % 4])
        found = measure(picture)
        assert found == (scene.people[0].hair, scene.background), f"picture {index}"
        seen.add(found)
    assert len(seen) == len(HAIR) * len(BACKGROUNDS)


@pytest.mark.parametrize("size", SIZES[:3])
def test_they_survive_the_tiny_vae(size: tuple[int, int]) -> None:
    vae = load_vae("builtin:tiny")
    scenes, pictures = zip(*(drawn(index, size) for index in range(32)), strict=True)
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2)
    decoded = decode_latents(vae, encode_pixels(vae, pixels)).permute(0, 2, 3, 1).numpy()
    found = [measure(Image.fromarray(picture)) for picture in decoded]
    assert found == [(scene.people[0].hair, scene.background) for scene in scenes]


def test_other_hair_and_another_background_are_told_apart() -> None:
    scene, picture = drawn(0, (128, 128))
    swapped = {name: colour for name, colour in HAIR.items() if name != scene.people[0].hair}
    pixels = np.asarray(picture).copy()
    near = np.abs(pixels.astype(int) - HAIR[scene.people[0].hair]).sum(-1) < 60
    name, colour = next(iter(swapped.items()))
    pixels[near] = colour
    assert measure(Image.fromarray(pixels)) == (name, scene.background)


def test_nearest() -> None:
    assert nearest(np.array([[250, 0, 10], [0, 5, 250.0]]), {"red": (255, 0, 0), "blue": (0, 0, 255)}) == [
        "red",
        "blue",
    ]
