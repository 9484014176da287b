"""What one look at a picture finds: the difference hash against hand numbers, borders, and how much it costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animetune.curate.probe import Question, difference_hash, look_at
from animetune.errors import PictureError
from animetune.pictures import decode
from tests.corpus import encoded, scene


def bits(image: Image.Image) -> np.ndarray:
    """bool (16, 16)"""
    hashed = difference_hash(image)
    assert len(hashed) == 32
    return np.unpackbits(np.frombuffer(hashed, np.uint8)).astype(bool).reshape(16, 16)


def distance(one: Image.Image, other: Image.Image) -> int:
    return int((bits(one) != bits(other)).sum())


def cells(levels: np.ndarray, scale: int = 20) -> Image.Image:
    """Grey cells as a picture."""
    return Image.fromarray(levels.astype(np.uint8).repeat(scale, 0).repeat(scale, 1)).convert("RGB")


def test_the_bits_by_hand():
    rising = np.tile(np.arange(17) * 10, (16, 1))
    assert bits(cells(rising)).all()
    assert not bits(cells(rising[:, ::-1])).any()
    assert not bits(cells(np.full((16, 17), 99))).any()  # equal is not brighter
    one = np.full((16, 17), 50)
    one[2, 5] = 60  # brighter than its left, its right is darker
    expected = np.zeros((16, 16), bool)
    expected[2, 4] = True
    assert (bits(cells(one)) == expected).all()
    byte, bit = 2 * 2 + 4 // 8, 7 - 4 % 8  # as documented
    assert difference_hash(cells(one))[byte] == 1 << bit


@pytest.mark.parametrize("size", [(34, 32), (170, 160), (1700, 1600), (850, 2400)])
def test_the_bits_against_plain_means(size: tuple[int, int]):
    rng = np.random.Generator(np.random.Philox(key=5))
    levels = rng.integers(0, 256, (16, 17), dtype=np.uint8)
    image = Image.fromarray(levels).convert("RGB").resize(size, Image.Resampling.NEAREST)
    steps = np.diff(levels.astype(int), axis=1)
    clear = np.abs(steps) > 16  # a sixteenth of the largest step, which may have come in from the other neighbours
    assert clear.mean() > 0.8
    assert (bits(image) == (steps > 0))[clear].all()
    if size[0] <= 17 * 16:
        assert (bits(image) == (steps > 0)).all()


def test_luminance_decides_and_not_one_channel():
    pixels = np.zeros((16, 17, 3), np.uint8)
    pixels[:, ::2] = (255, 0, 0)  # luminance 76
    pixels[:, 1::2] = (0, 200, 0)  # 117
    expected = np.tile(np.arange(16) % 2 == 0, (16, 1))
    assert (bits(Image.fromarray(pixels).resize((340, 320), Image.Resampling.NEAREST)) == expected).all()


def test_similar_pictures_are_near_and_others_far(shared_data: Path):
    folder = shared_data / "edge_images"
    pictures = [
        decode((folder / name).read_bytes()).image for name in ("png/test.png", "jpg/test-large.jpg", "webp/fjord.webp")
    ]
    for image in pictures:
        smaller = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
        noisy = decode(encoded("JPEG", image, quality=50)).image
        assert distance(image, smaller) <= 6
        assert distance(image, noisy) <= 12
    first, second, third = pictures
    assert min(distance(first, second), distance(first, third), distance(second, third)) > 70


def question(url: str, **changes) -> Question:
    plain = Question([url], None, (255, 255, 255), 64_000_000, False, False)
    return plain._replace(**changes)


def test_what_is_found(tmp_path: Path):
    canvas = Image.new("RGB", (96, 120))
    canvas.paste(scene(96, 80), (0, 20))
    path = tmp_path / "a.png"
    canvas.save(path)
    found = look_at(question(str(path)))
    assert (found["image"], found["width"], found["height"]) == (str(path), 96, 120)
    assert found["image_bytes"] == path.stat().st_size
    box = [found[f"content_{name}"] for name in ("left", "top", "width", "height")]
    assert box == [0, 20, 96, 80]
    region = look_at(question(f"{path}#xywh=0,20,96,80"))
    assert (region["width"], region["height"], region["content_left"]) == (96, 80, None)
    assert region["pixel_digest"] == look_at(question("x"), ("x", encoded("BMP", scene(96, 80))))["pixel_digest"]
    with pytest.raises(PictureError, match="bad_region"):
        look_at(question(f"{path}#xywh=0,20,97,80"))


def test_the_first_of_the_candidates_that_is_there(tmp_path: Path):
    (tmp_path / "b.png").write_bytes(encoded("PNG"))
    (tmp_path / "c.png").write_bytes(b"")
    places = [str(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    assert look_at(question("")._replace(candidates=places))["image"] == places[1]
    with pytest.raises(PictureError, match=r"empty: .*c\.png"):
        look_at(question("")._replace(candidates=places[::-1]))
    with pytest.raises(PictureError, match="image_missing: the post lacks"):
        look_at(question("")._replace(candidates=[]))
