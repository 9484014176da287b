"""The decoder: pixel values by hand for every way a picture can be stored, and one code for every way it can be bad."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from animetune.errors import DataError, PictureError, SetupError
from animetune.pictures import PICTURE_CODES, decode, decode_mask, read_image
from tests.corpus import cmyk_profile

RED, GREEN, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (255, 255, 255), (0, 0, 0)


def encoded(image: Image.Image, picture_format: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, picture_format, **options)
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(rows: list[bytes], *, width: int, depth: int, colour_type: int, extra: bytes = b"") -> bytes:
    """A PNG written by hand, since Pillow cannot write every kind."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def pixels(data: bytes, **options) -> list:
    return np.asarray(decode(data, **options).image).tolist()


def code_of(data: bytes, **options) -> str:
    with pytest.raises(PictureError) as caught:
        decode(data, **options)
    assert caught.value.code in PICTURE_CODES
    return caught.value.code


# What a careful person expects of every file of danbooru's own test set: a code, or width and height after EXIF
# rotation, the true format, the mode of the pixels in the file, and what was noticed: that some of them were
# transparent, what became of a colour profile, that the picture was turned or mirrored.
EDGE_PICTURES = {
    "apng/actl_wronglen.png": "corrupt",
    "apng/actl_zero_frames.png": "corrupt",
    "apng/broken.png": "truncated",
    "apng/ezgif-apng.png": "animated",
    "apng/iend_missing.png": "truncated",
    "apng/infinite-fps.png": "animated",
    "apng/misaligned_chunks.png": "corrupt",
    "apng/normal-256x256.png": "animated",
    "apng/normal.png": "animated",
    "apng/not_apng.png": (16, 16, "PNG", "RGBA", "alpha"),
    # One frame, but its default picture is another one ("your browser does not support ..."): two pictures in a file.
    "apng/single_frame.png": "animated",
    "avif/Exif0.avif": (640, 427, "AVIF", "RGB"),
    "avif/Exif6.avif": (427, 640, "AVIF", "RGB"),
    "avif/Image grid example.avif": (512, 512, "AVIF", "RGB"),
    "avif/fox.profile0.8bpc.yuv420.monochrome.avif": (1204, 800, "AVIF", "L"),
    "avif/hdr_cosmos01000_cicp9-16-9_yuv420_limited_qp40.avif": "hdr",
    "avif/hdr_cosmos01000_cicp9-16-9_yuv444_full_qp40.avif": "hdr",
    "avif/kimono.crop.avif": (722, 1024, "AVIF", "RGB"),
    "avif/kimono.mirror-horizontal.avif": (722, 1024, "AVIF", "RGB", "rotated"),
    "avif/kimono.rotate90.avif": (722, 1024, "AVIF", "RGB", "rotated"),
    "avif/paris_icc_exif_xmp.avif": (403, 302, "AVIF", "RGB", "srgb"),
    "avif/sequence-without-pitm.avif": "animated",
    "avif/star-8bpc.avif": "animated",
    "avif/tiger_3layer_1res.avif": (1216, 832, "AVIF", "RGB"),
    "bin/test-empty.bin": "empty",
    "dupes/black-100x200.png": (100, 200, "PNG", "L"),
    "dupes/black-200x100.png": (200, 100, "PNG", "L"),
    "dupes/countergirl-adobergb.jpg": (45, 100, "JPEG", "RGB", "converted"),
    "dupes/countergirl-baseline.jpg": (45, 100, "JPEG", "RGB"),
    "dupes/countergirl-grey-srgb.png": (45, 100, "PNG", "RGBA", "alpha"),
    "dupes/countergirl-grey.png": (45, 100, "PNG", "LA", "alpha"),
    "dupes/countergirl-no-exif.jpg": (45, 100, "JPEG", "RGB"),
    "dupes/countergirl-no-exif.png": (45, 100, "PNG", "RGBA", "alpha"),
    "dupes/countergirl-p3.jpg": (45, 100, "JPEG", "RGB", "converted"),
    "dupes/countergirl-progressive.jpg": (45, 100, "JPEG", "RGB"),
    "dupes/countergirl-prophoto.jpg": (45, 100, "JPEG", "RGB", "converted"),
    "dupes/countergirl-rgb-gray.jpg": (45, 100, "JPEG", "RGB", "unusable"),  # a grey profile on RGB
    "dupes/countergirl-srgb.jpg": (45, 100, "JPEG", "RGB", "srgb"),
    "dupes/countergirl-whitebg-alpha.png": (45, 100, "PNG", "RGBA"),  # an alpha channel, all opaque
    "dupes/countergirl-whitebg-noalpha.gif": (45, 100, "GIF", "P"),
    "dupes/countergirl-whitebg-noalpha.png": (45, 100, "PNG", "RGB"),
    "dupes/countergirl.gif": (45, 100, "GIF", "P", "alpha"),
    "dupes/countergirl.png": (45, 100, "PNG", "RGBA", "alpha"),
    "gif/corrupt-static.gif": "truncated",
    "gif/test-animated-1.2s.gif": "animated",
    "gif/test-animated-3.35s.gif": "animated",
    "gif/test-animated-400x281.gif": "animated",
    "gif/test-animated-86x52-loop-1.gif": "animated",
    "gif/test-animated-86x52-loop-2.gif": "animated",
    "gif/test-animated-86x52.gif": "animated",
    "gif/test-corrupt.gif": "truncated",
    "gif/test-static-32x32.gif": (32, 32, "GIF", "P", "alpha"),
    "gif/test.gif": (400, 400, "GIF", "P"),
    "jpg/test-blank.jpg": "truncated",
    "jpg/test-cmyk-no-profile.jpg": "cmyk_no_profile",
    "jpg/test-corrupt.jpg": "truncated",
    "jpg/test-grey-no-profile.jpg": (535, 290, "JPEG", "L"),
    "jpg/test-grey-rgb-profile-2.jpg": (826, 2193, "JPEG", "L", "unusable"),  # an RGB profile on grey
    "jpg/test-grey-rgb-profile.jpg": (538, 577, "JPEG", "L", "unusable"),
    "jpg/test-large.jpg": (1356, 911, "JPEG", "RGB"),
    "jpg/test-rotation-180.jpg": (66, 100, "JPEG", "RGB", "rotated"),
    "jpg/test-rotation-270cw-large.jpg": (1104, 736, "JPEG", "RGB", "rotated"),
    "jpg/test-rotation-270cw.jpg": (100, 66, "JPEG", "RGB", "rotated"),
    "jpg/test-rotation-90cw.jpg": (96, 128, "JPEG", "RGB", "rotated"),
    "jpg/test-weird-profile.jpg": (154, 192, "JPEG", "RGB", "unusable"),
    "jpg/test.jpg": (500, 335, "JPEG", "RGB", "srgb"),
    "png/alpha.png": (85, 62, "PNG", "P", "alpha"),
    "png/empty.png": "empty",
    "png/jpg.png": (16, 16, "JPEG", "RGB"),
    "png/test-corrupt.png": "corrupt",
    "png/test-rotation-90cw.png": (96, 128, "PNG", "RGB", "rotated"),
    "png/test.png": (768, 1024, "PNG", "RGB"),
    "ugoira/animation.json": "unknown_format",
    "ugoira/invalid_ugoira.zip": "archive",
    "ugoira/ugoira-100260240-png-danbooru.zip": "archive",
    "ugoira/ugoira-108469527-gif-danbooru.zip": "archive",
    "ugoira/ugoira-95239241-danbooru.zip": "archive",
    "ugoira/ugoira-95239241-gallery-dl.zip": "archive",
    "ugoira/ugoira-95239241-pixiv.zip": "archive",
    "ugoira/ugoira-95239241-pixivtoolkit.zip": "archive",
    "ugoira/ugoira-95239241-pixivutil2.zip": "archive",
    "ugoira/ugoira.zip": "archive",
    "webp/2_webp_a.webp": (386, 395, "WEBP", "RGBA", "alpha"),
    "webp/2_webp_ll.webp": (386, 395, "WEBP", "RGBA", "alpha"),
    "webp/Exif2.webp": (640, 427, "WEBP", "RGB", "rotated"),
    "webp/Exif6.webp": (640, 427, "WEBP", "RGB", "rotated"),
    "webp/fjord.webp": (550, 368, "WEBP", "RGB"),
    "webp/lossless1.webp": (1000, 307, "WEBP", "RGBA", "alpha"),
    "webp/lossy_alpha1.webp": (1000, 307, "WEBP", "RGBA", "alpha"),
    "webp/nyancat.webp": "animated",
    "webp/test.webp": (128, 128, "WEBP", "RGB"),
    "webp/truncated.webp": "truncated",
}


def outcome(data: bytes, **options) -> str | tuple:
    try:
        picture = decode(data, **options)
    except PictureError as error:
        return error.code
    facts = ("alpha",) if picture.had_alpha else ()
    facts += () if picture.profile == "none" else (picture.profile,)
    facts += ("rotated",) if picture.rotated else ()
    return (*picture.image.size, picture.format, picture.mode, *facts)


def test_every_edge_picture_has_the_outcome_a_careful_person_expects(shared_data: Path):
    folder = shared_data / "edge_images"
    files = sorted(path for path in folder.glob("*/*") if path.is_file() and path.name != "README.md")
    found = {path.relative_to(folder).as_posix(): outcome(path.read_bytes()) for path in files}
    assert found == EDGE_PICTURES


# Of animations: size and mode of the first frame, and pixels of it that tell it from what Pillow alone would show.
FIRST_FRAMES = {
    "apng/ezgif-apng.png": (720, 720, "PNG", "P"),
    "apng/infinite-fps.png": (640, 480, "PNG", "RGB"),
    "apng/normal-256x256.png": (256, 256, "PNG", "RGBA"),
    "apng/normal.png": (150, 150, "PNG", "RGBA", "alpha"),
    "apng/single_frame.png": (192, 110, "PNG", "RGBA", "alpha"),  # "does", where the default picture says "does not"
    "avif/sequence-without-pitm.avif": (480, 270, "AVIF", "RGB"),
    "avif/star-8bpc.avif": (159, 159, "AVIF", "RGB"),
    "gif/test-animated-1.2s.gif": (241, 286, "GIF", "P"),
    "gif/test-animated-3.35s.gif": (241, 178, "GIF", "P", "alpha"),
    "gif/test-animated-400x281.gif": (400, 281, "GIF", "P", "alpha"),
    "gif/test-animated-86x52-loop-1.gif": (86, 52, "GIF", "P", "alpha"),
    "gif/test-animated-86x52-loop-2.gif": (86, 52, "GIF", "P", "alpha"),
    "gif/test-animated-86x52.gif": (86, 52, "GIF", "P", "alpha"),
    "webp/nyancat.webp": (400, 400, "WEBP", "RGBA"),
}


def test_every_animation_has_a_first_frame(shared_data: Path):
    folder = shared_data / "edge_images"
    assert {name for name, expected in EDGE_PICTURES.items() if expected == "animated"} == set(FIRST_FRAMES)
    assert {name: outcome((folder / name).read_bytes(), first_frame=True) for name in FIRST_FRAMES} == FIRST_FRAMES
    text = np.asarray(decode((folder / "apng" / "single_frame.png").read_bytes(), first_frame=True).image).astype(int)
    green = (text[..., 1] - text[..., 0] > 100) & (text[..., 2] < 60)
    red = (text[..., 0] - text[..., 1] > 100) & (text[..., 2] < 60)
    assert (green.sum() > 100, red.sum()) == (True, 0)  # a green "does"; the default picture has a red "not"


@pytest.mark.parametrize(("name", "gamma"), [("prophoto", 1.8), ("adobergb", 563 / 256)])
def test_an_embedded_profile_is_honoured(shared_data: Path, name: str, gamma: float):
    """Mid grey by hand: decode by the profile's gamma, encode by sRGB's transfer function (IEC 61966-2-1)."""
    with Image.open(shared_data / "edge_images" / "dupes" / f"countergirl-{name}.jpg") as image:
        profile = image.info["icc_profile"]
    linear = (128 / 255) ** gamma
    srgb = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
    data = encoded(Image.new("RGB", (4, 4), (128, 128, 128)), icc_profile=profile)
    picture = decode(data)
    assert picture.profile == "converted"
    assert picture.image.getpixel((0, 0)) == pytest.approx((srgb, srgb, srgb), abs=1.5)


@pytest.mark.parametrize("picture_format", ["PNG", "WEBP", "BMP", "GIF", "AVIF", "JPEG"])
def test_formats_are_known_by_content(picture_format: str):
    image = Image.new("RGB", (16, 24), RED)
    picture = decode(encoded(image, picture_format))
    assert (picture.format, picture.image.size, picture.image.mode) == (picture_format, (16, 24), "RGB")
    assert np.abs(np.asarray(picture.image).astype(int) - RED).max() <= 4
    assert (picture.had_alpha, picture.profile) == (False, "none")


def test_16_bit_grey_is_scaled_and_not_clipped():
    data = png([struct.pack(">HHHH", 0, 128, 32768, 65535)], width=4, depth=16, colour_type=0)
    assert pixels(data) == [[[level] * 3 for level in (0, 0, 128, 255)]]


def test_16_bit_colour_keeps_its_high_byte():
    data = png([struct.pack(">HHH", 0x1234, 0x8000, 0xFFFF)], width=1, depth=16, colour_type=2)
    assert pixels(data) == [[[0x12, 0x80, 0xFF]]]


@pytest.mark.parametrize(
    ("depth", "row", "colour", "shown"),
    [
        (1, bytes([0b10000000]), 1, 0),
        (2, bytes([0b01110000]), 1, 255),
        (4, bytes([0x3F]), 3, 255),
        (8, bytes([3, 200]), 3, 200),
        (16, struct.pack(">HH", 3000, 65535), 3000, 255),
    ],
)
def test_the_transparent_colour_of_grey_pictures(depth: int, row: bytes, colour: int, shown: int):
    """Left pixel transparent, right pixel shown, at every bit depth."""
    transparency = chunk(b"tRNS", struct.pack(">H", colour))
    data = png([row], width=2, depth=depth, colour_type=0, extra=transparency)
    assert pixels(data, background=(9, 8, 7)) == [[[9, 8, 7], [shown] * 3]]
    assert decode(data).had_alpha


def test_transparency_shows_the_background_and_never_the_hidden_colour():
    image = Image.new("RGBA", (3, 1))
    image.putpixel((0, 0), (0, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    image.putpixel((2, 0), (0, 0, 0, 128))
    assert pixels(encoded(image)) == [[[255] * 3, [255, 0, 0], [127] * 3]]
    assert pixels(encoded(image), background=BLACK) == [[[0] * 3, [255, 0, 0], [0] * 3]]
    assert pixels(encoded(image, "WEBP", lossless=True, exact=True)) == [[[255] * 3, [255, 0, 0], [127] * 3]]


def test_palette_with_partial_transparency():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    assert pixels(encoded(image, transparency=bytes([0, 255]))) == [[[255] * 3, [0, 255, 0]]]
    assert pixels(encoded(image)) == [[[255, 0, 0], [0, 255, 0]]]


def test_grey_with_alpha():
    image = Image.new("LA", (2, 1))
    image.putpixel((0, 0), (10, 255))
    image.putpixel((1, 0), (10, 0))
    assert pixels(encoded(image)) == [[[10] * 3, [255] * 3]]


def test_an_alpha_channel_without_transparent_pixels_is_none():
    assert decode(encoded(Image.new("RGBA", (2, 2), (1, 2, 3, 255)))).had_alpha is False


def test_a_fully_transparent_picture_is_refused():
    assert code_of(encoded(Image.new("RGBA", (4, 4), (200, 10, 10, 0)))) == "transparent"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(orientation: int):
    """A picture stored by each of the eight orientations shows the same: its first row is red, then green."""
    upright = Image.new("RGB", (2, 3), BLACK)
    upright.putpixel((0, 0), RED)
    upright.putpixel((1, 0), GREEN)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> the Transpose that stores it
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(encoded(stored, exif=exif))
    assert np.asarray(picture.image).tolist() == np.asarray(upright).tolist()


@pytest.mark.parametrize("exif", [b"Exif\0\0junk", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b""])
def test_exif_that_cannot_be_read_rotates_nothing(exif: bytes):
    image = Image.new("RGB", (8, 4), RED)
    assert decode(encoded(image, "JPEG", exif=exif)).image.size == (8, 4)


def test_cmyk_needs_a_profile():
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert code_of(encoded(cmyk, "JPEG")) == "cmyk_no_profile"
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert code_of(encoded(cmyk, "JPEG", icc_profile=srgb)) == "cmyk_no_profile"
    assert code_of(encoded(cmyk, "JPEG", icc_profile=b"junk")) == "cmyk_no_profile"


def test_cmyk_is_converted_by_its_profile():
    for ink, grey in ((0, 255), (255, 0)):
        cmyk = Image.new("CMYK", (8, 8), (0, 0, 0, ink))
        picture = decode(encoded(cmyk, "JPEG", icc_profile=cmyk_profile()))
        assert picture.profile == "converted"
        assert picture.image.getpixel((4, 4)) == pytest.approx((grey, grey, grey), abs=2)


def test_a_grey_profile_is_for_grey_pictures(shared_data: Path):
    with Image.open(shared_data / "edge_images" / "dupes" / "countergirl-rgb-gray.jpg") as image:
        profile = image.info["icc_profile"]
    assert decode(encoded(Image.new("L", (4, 4), 128), icc_profile=profile)).profile == "converted"
    assert decode(encoded(Image.new("LA", (4, 4), (128, 9)), icc_profile=profile)).profile == "converted"
    assert decode(encoded(Image.new("RGB", (4, 4)), icc_profile=profile)).profile == "unusable"


def test_a_junk_profile_is_named_and_sRGB_assumed():
    picture = decode(encoded(Image.new("RGB", (4, 4), RED), icc_profile=b"junk"))
    assert picture.profile == "unusable"
    assert picture.image.getpixel((0, 0)) == RED


@pytest.mark.parametrize("picture_format", ["PNG", "WEBP", "JPEG", "AVIF", "BMP", "GIF"])
def test_a_picture_cut_anywhere_is_refused(picture_format: str):
    noise = np.random.Generator(np.random.Philox(key=1)).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), picture_format)
    # A GIF's last two bytes are an empty block and the trailer: every pixel is there without them.
    spare = 2 if picture_format == "GIF" else 0
    lengths = [*range(0, len(data) - spare, max(1, len(data) // 60)), len(data) - spare - 1]
    for length in lengths:
        with pytest.raises(PictureError) as caught:
            decode(data[:length])
        if length > 64:
            assert caught.value.code in ("truncated", "corrupt"), length


def test_bytes_after_the_end_are_harmless():
    for picture_format in ("PNG", "JPEG", "WEBP"):
        data = encoded(Image.new("RGB", (8, 8), RED), picture_format)
        assert decode(data + b"\xff\xda trailing junk \xff").image.size == (8, 8)


def test_a_flipped_byte_in_a_png_is_found():
    noise = np.random.Generator(np.random.Philox(key=2)).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    data = bytearray(encoded(Image.fromarray(noise)))
    data[len(data) // 2] ^= 0x40
    assert code_of(bytes(data)) == "corrupt"


def test_the_pixel_cap_is_checked_before_a_pixel_is_decoded():
    bomb = png([b""], width=20000, depth=8, colour_type=2)  # the header promises what the data does not hold
    wide = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    bomb = bomb.replace(bomb[12:29], b"IHDR" + wide)
    bomb = bomb[:29] + struct.pack(">I", zlib.crc32(b"IHDR" + wide)) + bomb[33:]
    assert code_of(bomb) == "too_many_pixels"
    assert code_of(encoded(Image.new("RGB", (101, 100))), max_pixels=10_000) == "too_many_pixels"
    assert decode(encoded(Image.new("RGB", (100, 100))), max_pixels=10_000).image.size == (100, 100)


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_a_text_chunk_that_expands_without_bound_does_not_cost_the_picture(kind: bytes):
    expanding = chunk(kind, b"name\0\0" + zlib.compress(bytes(80_000_000), 9))
    data = png([bytes([1, 2, 3])], width=1, depth=8, colour_type=2, extra=expanding)
    assert pixels(data) == [[[1, 2, 3]]]


@pytest.mark.parametrize("picture_format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_more_than_one_picture_in_a_file_is_refused(picture_format: str):
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN)]
    assert code_of(encoded(frames[0], picture_format, save_all=True, append_images=frames[1:])) == "animated"


@pytest.mark.parametrize("picture_format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_the_first_of_several_pictures(picture_format: str):
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN, WHITE)]
    data = encoded(frames[0], picture_format, save_all=True, append_images=frames[1:])
    picture = decode(data, first_frame=True)
    assert np.abs(np.asarray(picture.image).astype(int) - RED).max() <= 4
    assert (picture.had_alpha, picture.image.size, picture.format) == (False, (16, 16), picture_format)
    assert np.asarray(decode(encoded(frames[0]), first_frame=True).image).tolist() == np.asarray(frames[0]).tolist()


@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
def test_the_first_frame_of_a_gif_shows_nothing_of_others(disposal: int):
    """Transparent pixels of the first frame show the background, whatever becomes of the frame later."""
    frames = []
    for colour in (RED, GREEN):
        frame = Image.new("RGBA", (4, 4), (*colour, 255))
        frame.putpixel((0, 0), (0, 0, 0, 0))
        frames.append(frame)
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], disposal=disposal)
    shown = pixels(data, first_frame=True, background=(9, 8, 7))
    assert shown[0] == [[9, 8, 7], [255, 0, 0], [255, 0, 0], [255, 0, 0]]


def gif(width: int, height: int, left: int, top: int, frame: Image.Image, *, transparent: bool = False) -> bytes:
    """A GIF whose only frame lies somewhere on a larger screen: the image descriptor is rewritten."""
    data = bytearray(encoded(frame, "GIF"))
    struct.pack_into("<HH", data, 6, width, height)
    descriptor = data.rindex(struct.pack("<BHHHH", 0x2C, 0, 0, *frame.size))
    struct.pack_into("<HH", data, descriptor + 1, left, top)
    return bytes(data)


def test_a_gif_is_transparent_where_its_frame_does_not_reach():
    picture = decode(gif(5, 4, 2, 1, Image.new("RGB", (2, 2), RED)), background=(9, 8, 7))
    expected = np.full((4, 5, 3), (9, 8, 7))
    expected[1:3, 2:4] = RED
    assert np.asarray(picture.image).tolist() == expected.tolist()
    assert picture.had_alpha
    assert not decode(gif(2, 2, 0, 0, Image.new("RGB", (2, 2), RED))).had_alpha


def apng(*, default_is_a_frame: bool, box: tuple[int, int, int, int] = (1, 2, 2, 1)) -> bytes:
    """4x4 pixels: the default picture is black, the first frame red, or that; `box` is left, top, width, height."""
    left, top, width, height = box

    def frame(number: int, *place: int) -> bytes:
        return chunk(b"fcTL", struct.pack(">5I2H2B", number, *place, 1, 10, 0, 1))  # "over" what was there

    def rows(colour: tuple[int, ...], across: int, down: int) -> bytes:
        return zlib.compress((b"\0" + bytes(colour) * across) * down)

    default = chunk(b"IDAT", rows((*BLACK, 255), 4, 4))
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 6, 0, 0, 0))]
    parts += [chunk(b"acTL", struct.pack(">II", 2, 0))]
    parts += [frame(0, 4, 4, 0, 0), default] if default_is_a_frame else [default]
    number = 1 if default_is_a_frame else 0
    for colour in (RED, GREEN)[: 1 if default_is_a_frame else 2]:
        data = rows((*colour, 128), width, height)
        parts += [frame(number, width, height, left, top)]
        parts += [chunk(b"fdAT", struct.pack(">I", number + 1) + data[:5])]  # in two chunks, as encoders may
        parts += [chunk(b"fdAT", struct.pack(">I", number + 2) + data[5:])]
        number += 3
    return b"".join([*parts, chunk(b"IEND", b"")])


def test_the_first_frame_of_an_apng():
    assert pixels(apng(default_is_a_frame=True), first_frame=True) == [[list(BLACK)] * 4] * 4
    # Half transparent red on white, at its place; nothing of the default picture.
    shown = pixels(apng(default_is_a_frame=False), first_frame=True)
    expected = np.full((4, 4, 3), 255)
    expected[2, 1:3] = (255, 127, 127)
    assert shown == expected.tolist()
    assert code_of(apng(default_is_a_frame=False, box=(3, 0, 2, 1)), first_frame=True) == "corrupt"
    assert code_of(apng(default_is_a_frame=False)) == "animated"


def test_the_preview_inside_a_camera_jpeg_is_no_animation():
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN)]
    picture = decode(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]))
    assert picture.format == "JPEG"
    assert picture.image.getpixel((8, 8))[0] > 200


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>404", "markup"),
        (b"\xef\xbb\xbf  <svg xmlns=''/>", "markup"),
        (b"PK\x03\x04....", "archive"),
        (b"\x1f\x8b\x08....", "archive"),
        (b"\x00\x00\x00\x18ftypmp42....", "video"),
        (b"\x00\x00\x00\x14ftypheic\x00\x00\x00\x00mif1", "unknown_format"),
        (b"\x00\x00\x00\x14ftypmif1\x00\x00\x00\x00avif", "corrupt"),  # an AVIF by its compatible brand
        (b"\x1aE\xdf\xa3....", "video"),
        (b"CWS\x0a....", "video"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "unknown_format"),
        (b"II*\x00\x08\x00\x00\x00", "unknown_format"),
        (b"\x00" * 64, "unknown_format"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, code: str):
    assert code_of(data) == code


def test_unsupported_modes_are_refused():
    transparent = chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))
    data = png([struct.pack(">HHH", 1, 2, 3)], width=1, depth=16, colour_type=2, extra=transparent)
    assert code_of(data) == "unsupported_mode"


def test_hdr_is_refused():
    pq = chunk(b"cICP", bytes([9, 16, 0, 1]))
    srgb = chunk(b"cICP", bytes([1, 13, 0, 1]))
    assert code_of(png([bytes(3)], width=1, depth=8, colour_type=2, extra=pq)) == "hdr"
    assert pixels(png([bytes(3)], width=1, depth=8, colour_type=2, extra=srgb)) == [[[0, 0, 0]]]


def test_the_error_names_no_memory_address():
    with pytest.raises(PictureError) as caught:
        decode(b"BM" + bytes(64))
    assert " at 0x" not in str(caught.value)
    assert isinstance(caught.value, DataError)


SEEDS = [encoded(Image.new("RGB", (9, 7), (10, 200, 60)), name) for name in ("PNG", "WEBP", "JPEG", "GIF", "BMP")]


@settings(max_examples=150, deadline=None)
@given(
    data=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 400),
)
def test_mutated_pictures_decode_or_are_refused_and_nothing_else(data: bytes, edits: list, cut: int):
    mutated = bytearray(data)
    for at, value in edits:
        mutated[at % len(mutated)] = value
    mutated = mutated[: max(1, len(mutated) - cut)]
    assert isinstance(outcome(bytes(mutated)), str | tuple)


def test_read_image_finds_files_members_and_urls(tmp_path: Path):
    picture = tmp_path / "a b.png"
    picture.write_bytes(b"0123456789")
    assert read_image(str(picture)) == b"0123456789"
    assert read_image(f"{picture}!7.png@2+3") == b"234"
    assert read_image(f"file://{picture}") == b"0123456789"

    import fsspec

    with fsspec.open("memory://bucket/1.png", "wb") as stream:
        stream.write(b"abcdef")
    assert read_image("memory://bucket/1.png") == b"abcdef"
    assert read_image("memory://bucket/1.png!x@1+2") == b"bc"


def test_a_kind_of_url_that_is_not_installed():
    with pytest.raises(SetupError, match="nosuch"):
        read_image("nosuch://bucket/1.png")


def test_read_image_names_what_is_not_there(tmp_path: Path):
    (tmp_path / "short.tar").write_bytes(b"0123")
    for url, code in [
        (str(tmp_path / "absent.png"), "image_missing"),
        ("memory://bucket/absent.png", "image_missing"),
        (str(tmp_path), "image_unreadable"),
        (f"{tmp_path}/short.tar/x.png", "image_unreadable"),
        (f"{tmp_path}/short.tar!x@2+3", "truncated"),
        (f"{tmp_path}/short.tar!x@0+999999999999", "too_many_bytes"),
    ]:
        with pytest.raises(PictureError) as caught:
            read_image(url)
        assert caught.value.code == code, url


# Masks.


def levels(data: bytes) -> list:
    mask = decode_mask(data)
    assert mask.mode == "L"
    assert mask.info == {}
    return np.asarray(mask).tolist()


def test_a_mask_is_its_luminance_or_where_it_is_transparent_its_alpha():
    assert levels(encoded(Image.fromarray(np.array([[0, 7, 255]], np.uint8)))) == [[0, 7, 255]]
    assert levels(encoded(Image.new("RGB", (1, 1), RED))) == [[76]]  # 0.299 * 255
    assert levels(encoded(Image.new("RGBA", (1, 1), (*RED, 255)))) == [[76]]
    seen = Image.new("RGBA", (2, 1), (*BLACK, 255))
    seen.putpixel((0, 0), (*WHITE, 30))
    assert levels(encoded(seen)) == [[30, 255]]
    assert levels(encoded(Image.new("RGBA", (2, 1), (0, 0, 0, 0)))) == [[0, 0]]
    assert levels(encoded(Image.new("1", (2, 1), 1))) == [[255, 255]]
    deep = np.array([[0, 32896, 65535]], np.uint16)
    assert levels(encoded(Image.fromarray(deep))) == [[0, 128, 255]]


def test_a_mask_is_upright_and_has_no_colours():
    image = Image.fromarray(np.array([[10, 200]], np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    assert levels(encoded(image, exif=exif)) == [[10], [200]]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert levels(encoded(image, icc_profile=profile)) == [[10, 200]]


@pytest.mark.parametrize("data", [b"", b"<html>", encoded(Image.new("L", (8, 8)))[:-9]])
def test_a_bad_mask_has_the_code_of_a_bad_picture(data: bytes):
    with pytest.raises(PictureError) as caught:
        decode_mask(data)
    assert caught.value.code == code_of(data)


def test_a_mask_of_too_many_pixels_is_refused():
    with pytest.raises(PictureError, match="too_many_pixels"):
        decode_mask(encoded(Image.new("L", (8, 8))), max_pixels=63)
