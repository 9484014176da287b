"""Uniform borders: found to the pixel, through the noise of JPEG, and never where a drawing merely has a background."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from animetune.borders import ContentBox, content_box


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 (height, width, 3): coarse colours, none of which is near black or white."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    coarse = rng.integers(60, 196, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]


def framed(
    *, height: int = 200, width: int = 300, top=0, bottom=0, left=0, right=0, rows=(0, 0, 0), columns=(0, 0, 0)
) -> np.ndarray:
    """A picture with borders of the given depths, inside the given size: above and below over its whole width."""
    pixels = noise(height, width)
    pixels[:, :left] = columns
    pixels[:, width - right :] = columns
    pixels[:top] = rows
    pixels[height - bottom :] = rows
    return pixels


def as_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def test_each_side_by_itself():
    assert content_box(framed()) is None
    assert content_box(framed(top=20)) == (0, 20, 300, 180)
    assert content_box(framed(bottom=20)) == (0, 0, 300, 180)
    assert content_box(framed(left=30)) == (30, 0, 270, 200)
    assert content_box(framed(right=30)) == (0, 0, 270, 200)
    assert content_box(framed(top=20, bottom=31, left=7, right=44)) == (7, 20, 249, 149)


def test_borders_of_any_colour_and_of_two():
    assert content_box(framed(top=20, bottom=20, rows=(255, 255, 255))) == (0, 20, 300, 160)
    assert content_box(framed(top=20, bottom=20, rows=(250, 20, 90))) == (0, 20, 300, 160)
    both = framed(top=20, bottom=24, left=30, right=28, rows=(0, 0, 0), columns=(255, 255, 255))
    assert content_box(both) == (30, 20, 242, 156)
    turned = both.swapaxes(0, 1)  # now the outer borders stand at the left and right
    assert content_box(turned) == (20, 30, 156, 242)


@settings(max_examples=40, deadline=None)
@given(depths=st.tuples(*[st.one_of(st.just(0), st.integers(8, 40))] * 4), shade=st.sampled_from([0, 255]))
def test_any_borders_are_found_to_the_pixel(depths: tuple[int, int, int, int], shade: int):
    top, bottom, left, right = depths
    colour = (shade, shade, shade)
    pixels = framed(top=top, bottom=bottom, left=left, right=right, rows=colour, columns=colour)
    box = ContentBox(left, top, 300 - left - right, 200 - top - bottom)
    assert content_box(pixels) == (box if any(depths) else None)


@pytest.mark.parametrize("quality", [95, 75, 40])
def test_through_the_noise_of_jpeg(quality: int):
    size = {"height": 800, "width": 900}
    box = content_box(as_jpeg(framed(top=107, bottom=107, left=33, **size), quality))
    assert box is not None
    found = np.array([box.left, box.top, box.left + box.width, box.top + box.height])
    assert np.abs(found - (33, 107, 900, 693)).max() <= 8  # a block of JPEG
    assert content_box(as_jpeg(framed(**size), quality)) is None


def test_a_drawing_on_a_plain_background_has_no_borders():
    for shade in (255, 0, 128):
        image = Image.new("RGB", (300, 400), (shade,) * 3)
        draw = ImageDraw.Draw(image)
        draw.ellipse((90, 60, 210, 180), fill=(200, 150, 120))
        draw.polygon([(150, 170), (60, 399), (240, 399)], fill=(40, 60, 120))
        assert content_box(np.asarray(image)) is None, shade


def test_a_drawing_inside_a_letterbox_loses_the_letterbox_only():
    image = Image.new("RGB", (300, 400), (255, 255, 255))
    ImageDraw.Draw(image).ellipse((90, 100, 210, 300), fill=(200, 150, 120))
    pixels = np.array(image)
    pixels[:40] = pixels[-50:] = 0
    assert content_box(pixels) == (0, 40, 300, 310)


def test_what_is_too_thin_or_too_much_is_none():
    assert content_box(framed(top=3)) is None  # of 200 rows, 2 % are 4
    assert content_box(framed(top=4)) == (0, 4, 300, 196)
    assert content_box(framed(top=60, bottom=60)) == (0, 60, 300, 80)  # 60 % of the area
    assert content_box(framed(top=61, bottom=60)) is None


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 50, 3), (50, 1, 3), (2, 2, 3), (40, 60, 3)])
def test_a_picture_of_one_colour_has_none(shape: tuple[int, int, int]):
    assert content_box(np.full(shape, 255, np.uint8)) is None
    assert content_box(np.zeros(shape, np.uint8)) is None


@pytest.mark.parametrize("span", [10, 30, 60, 120, 255])
@pytest.mark.parametrize("height", [50, 200, 1500])
def test_a_sky_that_changes_slowly_is_no_border(span: int, height: int):
    levels = np.linspace(0, span, height).astype(np.uint8)
    rows = np.repeat(levels[:, None, None], 90, axis=1).repeat(3, axis=2)
    assert content_box(rows) is None
    assert content_box(255 - rows) is None
    rows[height // 2 :] = noise(height - height // 2, 90)
    assert (box := content_box(rows)) is None or box.top >= 0.4 * height  # a flat one above a landscape may be one


def test_real_pictures_have_none_and_have_those_that_are_put_around_them(shared_data: Path):
    from animetune.errors import PictureError
    from animetune.pictures import decode

    files = sorted((shared_data / "edge_images").glob("*/*"))
    seen = 0
    for path in files:
        try:
            image = decode(path.read_bytes(), first_frame=True).image
        except PictureError:
            continue
        if min(image.size) < 60 or content_box(np.asarray(image)) is not None:
            continue
        colours = len(image.resize((8, 8)).getcolors(64) or [])
        if colours < 32:  # plain ones could be taken for a border themselves
            continue
        seen += 1
        depth = max(8, image.height // 8)
        canvas = Image.new("RGB", (image.width, image.height + 2 * depth))
        canvas.paste(image, (0, depth))
        box = content_box(np.asarray(canvas))
        if box is None:  # its own first line is as dark as the border
            assert np.asarray(image)[:8].mean() < 60 or np.asarray(image)[-8:].mean() < 60, path
            continue
        assert abs(box.top - depth) <= 8 or np.asarray(image)[0].mean() < 40, path
    assert seen >= 20
