"""Two pictures of one shape: what encoding and resizing change is nothing, what a hand changed in one place is seen."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from animetune.curate.config.dedup import LookalikesConfig
from animetune.curate.select.likeness import likeness, same_shape
from animetune.pictures import decode

LIMITS = LookalikesConfig()


def alike(one: Image.Image, other: Image.Image) -> bool:
    """By the limits that are the default."""
    found = likeness(one, other)
    return found.structure >= LIMITS.structure and found.luma <= LIMITS.luma and found.chroma <= LIMITS.chroma


def drawing(change: Callable[[ImageDraw.ImageDraw], None] = lambda draw: None) -> Image.Image:
    """A face with hair, eyes and a mouth, lines of three pixels, on a sky."""
    image = Image.linear_gradient("L").resize((480, 640)).convert("RGB")
    draw = ImageDraw.Draw(image)
    draw.ellipse((90, 60, 390, 420), fill=(90, 60, 140))
    draw.ellipse((130, 130, 350, 400), fill=(250, 220, 200), outline=(60, 30, 30), width=3)
    for left in (175, 265):
        draw.ellipse((left, 220, left + 40, 270), fill=(60, 120, 220), outline=(20, 10, 10), width=3)
    draw.arc((210, 310, 270, 350), 0, 180, fill=(120, 30, 40), width=3)
    draw.rectangle((140, 420, 340, 640), fill=(230, 230, 240), outline=(40, 40, 60), width=3)
    change(draw)
    return image


def encoded(image: Image.Image, kind: str, **options) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return decode(stream.getvalue()).image


def copies(image: Image.Image) -> dict[str, Image.Image]:
    """The picture as others would post it again."""
    found = {
        "jpeg 50": encoded(image, "JPEG", quality=50),
        "jpeg 90": encoded(image, "JPEG", quality=90),
        "webp 50": encoded(image, "WEBP", quality=50),
        "webp 90": encoded(image, "WEBP", quality=90),
    }
    for share, (name, how) in itertools.product(
        (0.5, 0.63, 0.75, 0.9), (("lanczos", Image.Resampling.LANCZOS), ("bicubic", Image.Resampling.BICUBIC))
    ):
        small = image.resize((round(image.width * share), round(image.height * share)), how)
        found[f"{name} {share}"] = small
        found[f"{name} {share}, jpeg 75"] = encoded(small, "JPEG", quality=75)
    return found


CHANGES: dict[str, Callable[[ImageDraw.ImageDraw], None]] = {
    "surprise": lambda draw: draw.ellipse((228, 315, 252, 350), fill=(120, 30, 40)),
    "closed eye": lambda draw: draw.rectangle((175, 220, 216, 268), fill=(250, 220, 200)),
    "censor bar": lambda draw: draw.rectangle((180, 500, 300, 530), fill=(0, 0, 0)),
    "colour of eyes": lambda draw: [draw.ellipse((x + 4, 224, x + 36, 266), fill=(200, 60, 60)) for x in (175, 265)],
    "text": lambda draw: draw.text((180, 540), "No, never!", fill=(0, 0, 0), font_size=14),
}


@pytest.mark.parametrize("name", copies(drawing()))
def test_a_copy_is_alike(name: str):
    assert alike(drawing(), copies(drawing())[name])


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("copy", ["jpeg 50", "webp 90", "lanczos 0.5", "lanczos 0.75, jpeg 75"])
def test_a_local_change_is_seen_through_any_copy(name: str, copy: str):
    assert not alike(drawing(), drawing(CHANGES[name]))
    assert not alike(drawing(), copies(drawing(CHANGES[name]))[copy])


def test_another_text_is_seen():
    one = drawing(lambda draw: draw.text((170, 540), "Yes, please", fill=(0, 0, 0), font_size=14))
    assert not alike(one, drawing(CHANGES["text"]))


def test_a_flat_region_of_another_colour_is_seen_by_its_mean():
    one, other = Image.new("RGB", (64, 64), "white"), Image.new("RGB", (64, 64), "white")
    other.paste((255, 255, 200), (20, 20, 40, 40))
    found = likeness(one, other)
    assert found.structure > 0.8
    assert found.chroma > LIMITS.chroma
    assert likeness(one, Image.new("RGB", (64, 64), "black")).luma == 255
    assert likeness(one, one) == (1, 0, 0)


def test_the_order_does_not_matter_and_no_edge_is_left_out():
    one = drawing()
    for box in ((0, 0, 6, 6), (474, 634, 480, 640), (477, 0, 480, 3)):
        other = one.copy()
        other.paste((255, 0, 0), box)
        assert likeness(one, other) == likeness(other, one)
        assert not alike(one, other)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (13, 15), (12, 12)])
def test_pictures_smaller_than_a_window(size: tuple[int, int]):
    one = drawing().resize(size)
    assert likeness(one, one) == (1, 0, 0)
    assert not alike(Image.new("RGB", size), Image.new("RGB", size, "red"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [((1000, 1500), (667, 1000), True), ((1000, 1500), (500, 751), True), ((1000, 1500), (1500, 1000), False),
     ((1000, 1500), (1000, 1480), False), ((10, 10), (3, 3), True), ((832, 1216), (820, 1199), True)],
)  # fmt: skip
def test_shapes(one, other, same):
    assert same_shape(one, other) is same_shape(other, one) is same


# Real pictures.

GROUPS = ("testcases__eileen", "tutorial__eileen", "sylvie_blue", "sylvie_green", "lucy")


@pytest.mark.parametrize("group", GROUPS)
def test_no_two_faces_of_a_sprite_are_alike(shared_data: Path, group: str):
    paths = sorted((shared_data / "images").glob(f"*{group}*.png"))
    faces = [decode(path.read_bytes()).image for path in paths]
    assert len(faces) > 1
    for one, other in itertools.combinations(faces, 2):
        assert not alike(one, other)
        half = other.resize((other.width // 2, other.height // 2), Image.Resampling.LANCZOS)
        assert not alike(one, encoded(half, "JPEG", quality=75))


def test_copies_of_real_pictures_are_alike(shared_data: Path):
    for name in ("renpy__the_question__sylvie_blue_smile.png", "renpy__the_question__bg_uni.jpg"):
        image = decode((shared_data / "images" / name).read_bytes()).image
        assert [kind for kind, copy in copies(image).items() if not alike(image, copy)] == []


def test_encodings_of_one_picture(shared_data: Path):
    """Eighteen files: transparent ones on white, those without alpha on black, grey ones, and wide gamuts."""
    found = {path.name: decode(path.read_bytes()).image for path in (shared_data / "edge_images/dupes").glob("*")}
    named = {name.removeprefix("countergirl"): image for name, image in found.items()}
    on_white = {".png", ".gif", "-no-exif.png", "-whitebg-alpha.png", "-whitebg-noalpha.png", "-whitebg-noalpha.gif"}
    on_black = {
        f"-{name}.jpg" for name in ("baseline", "progressive", "no-exif", "srgb", "rgb-gray", "p3", "adobergb")
    }  # ProPhoto's colours are 36 levels off: what was clipped at the sRGB gamut stays clipped
    for first, expected in (
        (".png", on_white),
        ("-baseline.jpg", on_black),
        ("-grey.png", {"-grey.png", "-grey-srgb.png"}),
    ):
        shapes = {name: image for name, image in named.items() if same_shape(image.size, named[first].size)}
        assert {name for name, image in shapes.items() if alike(named[first], image)} == expected
