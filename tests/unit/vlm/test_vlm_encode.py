"""Pictures as they are sent: small plain JPEGs as they are, all others opened, scaled and encoded."""

from __future__ import annotations

import asyncio
import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from animetune.curate.config.pictures import PicturesConfig
from animetune.errors import PictureError
from animetune.vlm.config import SentPictureConfig
from animetune.vlm.encode import PictureEncoder, as_it_is, decoding_in_threads
from animetune.vlm.requests import PictureRef
from tests.builders import picture

FORM = SentPictureConfig()


def jpeg(image: Image.Image | None = None, **settings: object) -> bytes:
    stream = io.BytesIO()
    (image or picture(1, 300, 200)).save(stream, "JPEG", **{"quality": 90, **settings})
    return stream.getvalue()


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def exif(**tags: object) -> bytes:
    found = Image.Exif()
    found.update({0x0112: tags.get("orientation", 1), 0x013B: "somebody", 0x010E: "taken in secret street 7"})
    return found.tobytes()


def sent(url: str, form: SentPictureConfig = FORM) -> bytes:
    encoder = PictureEncoder(PicturesConfig(), threads=1)
    try:
        with decoding_in_threads():
            return asyncio.run(encoder(PictureRef.of(url, None, form)))
    finally:
        encoder.close()


@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"subsampling": 0, "optimize": True}])
def test_a_small_plain_jpeg_is_sent_as_it_is_without_what_its_file_tells(tmp_path: Path, settings) -> None:
    plain = jpeg(**settings)
    told = jpeg(exif=exif(), comment=b"secret prompt", xmp=b"<x:secret/>", **settings) + b"secret behind the end"
    file = tmp_path / "1.jpg"
    file.write_bytes(told)
    assert sent(str(file)) == plain == as_it_is(plain, FORM)
    assert b"secret" in told
    grey = jpeg(picture(1, 300, 200).convert("L"))
    assert as_it_is(grey, FORM) == grey


def not_as_they_are() -> dict[str, bytes]:
    image = picture(2, 300, 200)
    several = io.BytesIO()
    image.save(several, "MPO", save_all=True, append_images=[picture(3, 300, 200)])
    rng = np.random.Generator(np.random.Philox(key=1))
    noise = Image.fromarray(rng.integers(0, 256, (200, 300, 3), np.uint8))
    whole = jpeg(image)
    return {
        "turned": jpeg(image, exif=exif(orientation=6)),
        "profile": jpeg(image, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
        "cmyk": jpeg(image.convert("CMYK")),
        "too large": jpeg(picture(2, 1030, 20)),
        "too many bytes": jpeg(noise, quality=100),
        "several": several.getvalue(),
        "cut": whole[: len(whole) // 2],
        "header alone": whole[:100],
        "a segment of no length": whole[:4] + b"\0\0" + whole[6:],
        "arithmetic coding": whole.replace(b"\xff\xc0", b"\xff\xc9", 1),
        "png": b"\x89PNG\r\n\x1a\n",
        "nothing": b"",
    }


@pytest.mark.parametrize(("what", "data"), not_as_they_are().items())
def test_others_are_not(what: str, data: bytes) -> None:
    assert as_it_is(data, FORM) is None


def test_nor_where_another_form_is_asked_for() -> None:
    assert as_it_is(jpeg(), SentPictureConfig(format="WEBP")) is None
    assert as_it_is(jpeg(), SentPictureConfig(side=256)) is None


def test_a_turned_one_is_sent_upright_and_a_region_alone(tmp_path: Path) -> None:
    file = tmp_path / "1.jpg"
    file.write_bytes(jpeg(exif=exif(orientation=6)))
    assert pixels(sent(str(file))).shape == (300, 200, 3)
    file.write_bytes(jpeg())
    region = pixels(sent(f"{file}#xywh=10,20,100,50", SentPictureConfig(format="PNG")))
    assert np.array_equal(region, pixels(jpeg())[20:70, 10:110])


def test_a_damaged_one_is_told_by_its_code(tmp_path: Path) -> None:
    file = tmp_path / "1.jpg"
    file.write_bytes(jpeg()[:-500])
    with pytest.raises(PictureError) as caught:
        sent(str(file))
    assert caught.value.code == "truncated"


@pytest.mark.parametrize("size", [(2048, 1536), (2049, 1537), (3000, 1000), (700, 4100), (1023, 1025)])
def test_a_large_jpeg_is_decoded_small_and_looks_the_same(tmp_path: Path, size: tuple[int, int]) -> None:
    small = picture(4, 64, 48).resize(size, Image.Resampling.BICUBIC)
    file = tmp_path / "1.jpg"
    file.write_bytes(jpeg(small, quality=95))
    got = pixels(sent(str(file), SentPictureConfig(format="PNG"))).astype(np.float64)
    height, width = got.shape[:2]
    assert max(width, height) == 1024
    assert abs(width / height - size[0] / size[1]) < 0.01 * size[0] / size[1]
    with Image.open(file) as image:
        expected = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS), np.float64)
    error = np.mean((got - expected) ** 2)
    assert error == 0 or 10 * math.log10(255**2 / error) > 35
