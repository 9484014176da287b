"""What stands out: a patch on noise, whatever its place, size and colour; nothing, where nothing does."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from animetune.vision.saliency import LABEL, saliency, salient_boxes


def noise(width, height, levels=12):
    rng = np.random.default_rng(7)
    return Image.fromarray(rng.integers(120, 120 + levels, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("colour", [(220, 40, 40), (255, 255, 255), (0, 0, 0), (125, 125, 220)])
@pytest.mark.parametrize(
    ("size", "patch"),
    [((600, 600), (60, 60, 240, 240)), ((900, 600), (600, 300, 840, 540)), ((500, 1000), (300, 40, 460, 200))],
)
def test_the_window_is_about_the_patch(size, patch, colour):
    image = noise(*size)
    ImageDraw.Draw(image).ellipse(patch, fill=colour)
    best = salient_boxes(image)[0]
    inside = max(0, min(best.right, patch[2]) - max(best.left, patch[0])) * max(
        0, min(best.bottom, patch[3]) - max(best.top, patch[1])
    )
    area = (patch[2] - patch[0]) * (patch[3] - patch[1])
    assert inside > 0.8 * area
    assert (best.right - best.left) * (best.bottom - best.top) < 4 * area
    assert best.label == LABEL
    assert 0.3 < best.score < 1
    assert 0 <= best.left < best.right <= size[0]
    assert 0 <= best.top < best.bottom <= size[1]


def test_two_patches_are_two_windows_the_stronger_first():
    image = noise(800, 400)
    draw = ImageDraw.Draw(image)
    draw.rectangle((80, 100, 200, 220), fill=(250, 30, 30))
    draw.rectangle((600, 100, 720, 220), fill=(200, 60, 60))
    first, *others = salient_boxes(image)
    assert first.left < 200 < 600 > first.right
    assert any(box.left < 660 < box.right for box in others)


def test_the_picture_counts_and_not_its_brightness_or_scale():
    image = noise(400, 300)
    ImageDraw.Draw(image).ellipse((250, 50, 350, 150), fill=(10, 10, 10))
    best = salient_boxes(image)[0]
    twice = salient_boxes(image.resize((800, 600), Image.Resampling.NEAREST))[0]
    assert np.allclose(np.array(best[:4]) * 2, twice[:4], atol=40)


@pytest.mark.parametrize("size", [(600, 400), (1, 1), (3, 900), (64, 64), (5000, 10)])
def test_a_plain_picture_has_nothing_that_stands_out(size):
    image = Image.new("RGB", size, (40, 90, 200))
    found = saliency(image)
    assert found.sum() == pytest.approx(1)
    assert np.ptp(found) == 0
    assert salient_boxes(image) == []


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 900), (5000, 10)])
def test_pictures_of_odd_shapes(size):
    image = noise(*size, levels=100)
    assert saliency(image).min() >= 0
    for box in salient_boxes(image):
        assert 0 <= box.left < box.right <= size[0]
        assert 0 <= box.top < box.bottom <= size[1]


def test_the_colours_of_jpeg_noise_on_grey_say_nothing():
    """Red and green that differ by a level are no salience: else noise would be blown up to the whole range."""
    grey = np.full((200, 300, 3), 128, np.uint8)
    grey[..., 0] += (np.random.default_rng(1).random((200, 300)) < 0.5).astype(np.uint8)
    assert salient_boxes(Image.fromarray(grey)) == []


def test_the_same_picture_gives_the_same_boxes():
    image = noise(300, 300)
    assert salient_boxes(image) == salient_boxes(image.copy())
