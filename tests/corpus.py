"""A corpus of picture files, good and bad, built by code: name -> bytes, and what a careful person expects of them.

Expected is a code of `PICTURE_CODES`, or `Good`: width and height upright, true format, mode in the file, and what was
noticed.
"""

from __future__ import annotations

import functools
import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms


class Good(NamedTuple):
    """A picture that can be used."""

    width: int
    height: int
    format: str
    mode: str = "RGB"
    alpha: bool = False
    profile: str = "none"
    rotated: bool = False


class Case(NamedTuple):
    """A file and its outcome."""

    build: Callable[[], bytes]
    expected: Good | str


def scene(width: int = 48, height: int = 32, mode: str = "RGB") -> Image.Image:
    """Coarse colours with an edge or two in every line: no encoder makes it trivial."""
    rng = np.random.Generator(np.random.Philox(key=width * 1000 + height))
    coarse = rng.integers(20, 236, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(coarse.repeat(4, 0).repeat(4, 1)[:height, :width]).convert(mode)


def encoded(picture_format: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """A scene, or the image, as a file."""
    stream = io.BytesIO()
    (image or scene()).save(stream, picture_format, **options)
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, row: bytes | None, extra: bytes = b"") -> bytes:
    """A PNG of equal rows; none at all for None. `colour` is 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress((b"\0" + row) * height if row is not None else b"", 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def cut(data: bytes, share: float) -> bytes:
    """The beginning of a file."""
    return data[: int(len(data) * share)]


def flipped(data: bytes, share: float) -> bytes:
    """A file with a damaged byte."""
    at = int(len(data) * share)
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


def with_alpha(mode: str = "RGBA", level: int = 90) -> Image.Image:
    """A scene whose left half is seen through."""
    alpha = Image.new("L", (48, 32), 255)
    alpha.paste(level, (0, 0, 24, 32))
    image = scene(mode=mode[:-1] if mode != "PA" else "P")
    if mode == "PA":
        return Image.merge("LA", (image.convert("L"), alpha)).convert("PA")
    image.putalpha(alpha)
    return image


def oriented(value: int, picture_format: str = "JPEG") -> bytes:
    """With an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = value
    return encoded(picture_format, exif=exif)


def frames(picture_format: str, count: int = 3, **options: Any) -> bytes:
    """Several pictures in a file."""
    images = [Image.new("RGB", (48, 32), (90 * number, 0, 99)) for number in range(count)]
    return encoded(picture_format, images[0], save_all=True, append_images=images[1:], **options)


def profile(kind: str) -> bytes:
    """An ICC profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes()


def linear_profile() -> bytes:
    """sRGB's primaries with another gamma: the curves of an sRGB profile are replaced, and so is its name."""
    data = bytearray(profile("sRGB").replace("sRGB".encode("utf-16-be"), "gam1".encode("utf-16-be")))
    data = data.replace(b"sRGB", b"gam1")
    count = struct.unpack_from(">I", data, 128)[0]
    for entry in range(count):
        kind, offset, size = struct.unpack_from(">4sII", data, 132 + 12 * entry)
        if kind in (b"rTRC", b"gTRC", b"bTRC"):
            curve = b"curv" + bytes(4) + struct.pack(">IH", 1, 256)  # gamma 1.0 as u8Fixed8
            data[offset : offset + size] = curve.ljust(size, b"\0")
    return bytes(data)


def cmyk_profile() -> bytes:
    """A printer profile (ICC.1:2001-12) whose table of 16 corners knows white paper and black everything else."""

    def tag(kind: bytes, content: bytes) -> bytes:
        return kind + bytes(4) + content + bytes(-len(content) % 4)

    ramp = bytes(range(256))
    corners = b"".join(bytes([255 if corner == 0 else 0, 128, 128]) for corner in range(16))
    identity = struct.pack(">9i", *(65536 * (place % 4 == 0) for place in range(9)))
    table = tag(b"mft1", bytes([4, 3, 2, 0]) + identity + ramp * 4 + corners + ramp * 3)
    white = tag(b"XYZ ", struct.pack(">3i", 63190, 65536, 54061))
    text = tag(b"text", b"none\0")
    name = tag(b"desc", struct.pack(">I", 5) + b"test\0" + bytes(8) + bytes(70))
    body = b""
    directory = struct.pack(">I", 4)
    for signature, content in ((b"A2B0", table), (b"wtpt", white), (b"cprt", text), (b"desc", name)):
        directory += struct.pack(">4sII", signature, 128 + 4 + 4 * 12 + len(body), len(content))
        body += content
    size = 128 + len(directory) + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x02400000, b"prtr", b"CMYK", b"Lab ") + bytes(12) + b"acsp"
    header += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + directory + body


def jpeg_of_12_bits() -> bytes:
    """The header of a JPEG that says 12 bits a sample (extended sequential), which no browser shows."""
    data = encoded("JPEG")
    at = data.index(b"\xff\xc0")
    return data[:at] + b"\xff\xc1" + data[at + 2 : at + 4] + b"\x0c" + data[at + 5 :]


def zipped() -> bytes:
    """A zip of a picture, as an ugoira is."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("000000.jpg", encoded("JPEG"))
    return stream.getvalue()


def bomb(kind: bytes) -> bytes:
    """A small PNG with a chunk that expands to 80 MB."""
    return png(4, 3, 8, 2, bytes(range(12)), chunk(kind, b"name\0\0" + zlib.compress(bytes(80_000_000), 9)))


def trailing_pixels() -> bytes:
    """A PNG whose data expand to 60 MB more than its pixels need."""
    header = struct.pack(">IIBBBBB", 4, 3, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes(12)) * 3 + bytes(60_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def wide_gif(width: int, height: int) -> bytes:
    """A GIF whose screen is far larger than its picture."""
    data = bytearray(encoded("GIF"))
    struct.pack_into("<HH", data, 6, width, height)
    return bytes(data)


SRGB = functools.partial(profile, "sRGB")
PALETTE = chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0]))
HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"

CASES: dict[str, Case] = {
    # Whole and ordinary.
    "plain.jpg": Case(lambda: encoded("JPEG"), Good(48, 32, "JPEG")),
    "progressive.jpg": Case(lambda: encoded("JPEG", progressive=True), Good(48, 32, "JPEG")),
    "restart-markers.jpg": Case(lambda: encoded("JPEG", restart_marker_blocks=1), Good(48, 32, "JPEG")),
    "grey.jpg": Case(lambda: encoded("JPEG", scene(mode="L")), Good(48, 32, "JPEG", "L")),
    "plain.png": Case(lambda: encoded("PNG"), Good(48, 32, "PNG")),
    "plain.webp": Case(lambda: encoded("WEBP"), Good(48, 32, "WEBP")),
    "lossless.webp": Case(lambda: encoded("WEBP", lossless=True), Good(48, 32, "WEBP")),
    "plain.gif": Case(lambda: encoded("GIF"), Good(48, 32, "GIF", "P")),
    "plain.avif": Case(lambda: encoded("AVIF"), Good(48, 32, "AVIF")),
    "plain.bmp": Case(lambda: encoded("BMP"), Good(48, 32, "BMP")),
    "palette.bmp": Case(lambda: encoded("BMP", scene(mode="P")), Good(48, 32, "BMP", "P")),
    # Names that lie, and things behind the picture.
    "jpeg-called.png": Case(lambda: encoded("JPEG"), Good(48, 32, "JPEG")),
    "webp-called.jpg": Case(lambda: encoded("WEBP"), Good(48, 32, "WEBP")),
    "garbage-behind.jpg": Case(lambda: encoded("JPEG") + b"garbage" * 100, Good(48, 32, "JPEG")),
    "zip-behind.png": Case(lambda: encoded("PNG") + zipped(), Good(48, 32, "PNG")),
    "garbage-behind.webp": Case(lambda: encoded("WEBP") + b"garbage" * 100, Good(48, 32, "WEBP")),
    # Cut and damaged.
    "half.jpg": Case(lambda: cut(encoded("JPEG"), 0.5), "truncated"),
    "one-byte-less.jpg": Case(lambda: encoded("JPEG")[:-1], "truncated"),
    "half-progressive.jpg": Case(lambda: cut(encoded("JPEG", progressive=True), 0.6), "truncated"),
    "header-only.jpg": Case(lambda: encoded("JPEG")[:3], "truncated"),
    "half.png": Case(lambda: cut(encoded("PNG"), 0.5), "truncated"),
    "no-iend.png": Case(lambda: encoded("PNG")[:-12], "truncated"),
    "signature-only.png": Case(lambda: encoded("PNG")[:8], "truncated"),
    "flipped-byte.png": Case(lambda: flipped(encoded("PNG"), 0.6), "corrupt"),
    "no-pixels.png": Case(lambda: png(4, 3, 8, 2, None), "truncated"),
    "zero-width.png": Case(lambda: png(0, 3, 8, 2, b""), "corrupt"),
    "half.webp": Case(lambda: cut(encoded("WEBP"), 0.5), "truncated"),
    "one-byte-less.webp": Case(lambda: encoded("WEBP")[:-1], "truncated"),
    "half.gif": Case(lambda: cut(encoded("GIF"), 0.9), "truncated"),
    "half.avif": Case(lambda: cut(encoded("AVIF"), 0.7), "truncated"),
    "half.bmp": Case(lambda: cut(encoded("BMP"), 0.5), "truncated"),
    "12-bits.jpg": Case(jpeg_of_12_bits, "corrupt"),
    # No pictures.
    "empty.jpg": Case(lambda: b"", "empty"),
    "error-page.jpg": Case(lambda: HTML, "markup"),
    "drawing.svg": Case(lambda: b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "markup"),
    "drawing.svgz": Case(lambda: gzip.compress(b"<svg/>", mtime=0), "archive"),
    "ugoira.zip": Case(zipped, "archive"),
    "archive.rar": Case(lambda: b"Rar!\x1a\x07\x01\x00" + bytes(40), "archive"),
    "archive.7z": Case(lambda: b"7z\xbc\xaf\x27\x1c" + bytes(40), "archive"),
    "video.mp4": Case(lambda: b"\0\0\0\x18ftypmp42" + bytes(40), "video"),
    "video.webm": Case(lambda: b"\x1aE\xdf\xa3" + bytes(40), "video"),
    "film.swf": Case(lambda: b"CWS\x0a" + bytes(40), "video"),
    "photo.heic": Case(lambda: b"\0\0\0\x14ftypheic\0\0\0\0mif1" + bytes(40), "unknown_format"),
    "print.eps": Case(lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unknown_format"),
    "print.pdf": Case(lambda: encoded("PDF"), "unknown_format"),
    "layers.psd": Case(lambda: b"8BPS\0\1" + bytes(40), "unknown_format"),
    "scan.tiff": Case(lambda: encoded("TIFF"), "unknown_format"),
    "icon.ico": Case(lambda: encoded("ICO"), "unknown_format"),
    "plain.jp2": Case(lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "unknown_format"),
    "zeros.bin": Case(lambda: bytes(4096), "unknown_format"),
    "json.png": Case(lambda: b'{"error": "rate limited"}', "unknown_format"),
    # Bombs.
    "pixel-bomb.png": Case(lambda: png(30000, 30000, 1, 0, None), "too_many_pixels"),
    "real-bomb.png": Case(lambda: png(12000, 12000, 1, 0, bytes(1500)), "too_many_pixels"),
    "pixel-bomb.gif": Case(lambda: wide_gif(65535, 65535), "too_many_pixels"),
    "pixel-bomb.bmp": Case(
        lambda: encoded("BMP")[:18] + struct.pack("<ii", 60000, 60000) + encoded("BMP")[26:], "too_many_pixels"
    ),
    "text-bomb.png": Case(lambda: bomb(b"zTXt"), Good(4, 3, "PNG")),
    "profile-bomb.png": Case(lambda: bomb(b"iCCP"), Good(4, 3, "PNG")),
    "deflate-bomb.png": Case(trailing_pixels, Good(4, 3, "PNG")),
    # Modes.
    "1-bit.png": Case(lambda: encoded("PNG", scene(mode="1")), Good(48, 32, "PNG", "1")),
    "2-bit-grey.png": Case(lambda: png(8, 3, 2, 0, bytes([0x1B, 0xE4])), Good(8, 3, "PNG", "L")),
    "16-bit-grey.png": Case(lambda: png(2, 3, 16, 0, struct.pack(">2H", 9, 65535)), Good(2, 3, "PNG", "I;16")),
    "16-bit-rgb.png": Case(lambda: png(1, 3, 16, 2, struct.pack(">3H", 9, 9, 9)), Good(1, 3, "PNG", "RGB;16")),
    "16-bit-rgba.png": Case(
        lambda: png(1, 3, 16, 6, struct.pack(">4H", 9, 9, 9, 30000)), Good(1, 3, "PNG", "RGBA;16", alpha=True)
    ),
    "16-bit-grey-alpha.png": Case(
        lambda: png(1, 3, 16, 4, struct.pack(">2H", 9, 30000)), Good(1, 3, "PNG", "LA;16", alpha=True)
    ),
    "16-bit-key.png": Case(
        lambda: png(1, 3, 16, 2, bytes(6), chunk(b"tRNS", bytes(6))), "unsupported_mode"
    ),
    "palette.png": Case(lambda: encoded("PNG", scene(mode="P")), Good(48, 32, "PNG", "P")),
    "palette-trns.png": Case(
        lambda: png(2, 3, 8, 3, b"\0\1", PALETTE + chunk(b"tRNS", b"\0")), Good(2, 3, "PNG", "P", alpha=True)
    ),
    "grey-alpha.png": Case(lambda: encoded("PNG", with_alpha("LA")), Good(48, 32, "PNG", "LA", alpha=True)),
    "rgba.png": Case(lambda: encoded("PNG", with_alpha()), Good(48, 32, "PNG", "RGBA", alpha=True)),
    "opaque-rgba.png": Case(lambda: encoded("PNG", with_alpha(level=255)), Good(48, 32, "PNG", "RGBA")),
    "rgba.webp": Case(lambda: encoded("WEBP", with_alpha()), Good(48, 32, "WEBP", "RGBA", alpha=True)),
    "rgba.avif": Case(lambda: encoded("AVIF", with_alpha()), Good(48, 32, "AVIF", "RGBA", alpha=True)),
    "transparent.gif": Case(
        lambda: encoded("GIF", with_alpha(level=0)), Good(48, 32, "GIF", "P", alpha=True)
    ),
    "small-frame.gif": Case(lambda: wide_gif(60, 40), Good(60, 40, "GIF", "P", alpha=True)),
    "nothing-to-see.png": Case(lambda: encoded("PNG", Image.new("RGBA", (8, 8), (9, 9, 9, 0))), "transparent"),
    "nothing-to-see.webp": Case(
        lambda: encoded("WEBP", Image.new("RGBA", (8, 8), (9, 9, 9, 0)), lossless=True), "transparent"
    ),
    # Colours.
    "srgb.jpg": Case(lambda: encoded("JPEG", icc_profile=SRGB()), Good(48, 32, "JPEG", profile="srgb")),
    "linear.png": Case(lambda: encoded("PNG", icc_profile=linear_profile()), Good(48, 32, "PNG", profile="converted")),
    "junk-profile.webp": Case(
        lambda: encoded("WEBP", icc_profile=b"junk"), Good(48, 32, "WEBP", profile="unusable")
    ),
    "lab-profile.jpg": Case(
        lambda: encoded("JPEG", icc_profile=profile("LAB")), Good(48, 32, "JPEG", profile="unusable")
    ),
    "cmyk.jpg": Case(lambda: encoded("JPEG", scene(mode="CMYK")), "cmyk_no_profile"),
    "cmyk-profile.jpg": Case(
        lambda: encoded("JPEG", scene(mode="CMYK"), icc_profile=cmyk_profile()),
        Good(48, 32, "JPEG", "CMYK", profile="converted"),
    ),
    "cmyk-srgb.jpg": Case(lambda: encoded("JPEG", scene(mode="CMYK"), icc_profile=SRGB()), "cmyk_no_profile"),
    "pq.png": Case(lambda: png(1, 3, 8, 2, bytes(3), chunk(b"cICP", bytes([9, 16, 0, 1]))), "hdr"),
    "hlg.png": Case(lambda: png(1, 3, 8, 2, bytes(3), chunk(b"cICP", bytes([9, 18, 0, 1]))), "hdr"),
    # Turned.
    **{f"exif-{value}.jpg": Case(
        functools.partial(oriented, value),
        Good(*((48, 32) if value < 5 else (32, 48)), "JPEG", rotated=value > 1),
    ) for value in range(1, 9)},
    "exif-99.jpg": Case(lambda: oriented(99), Good(48, 32, "JPEG")),
    "exif-junk.jpg": Case(lambda: encoded("JPEG", exif=b"Exif\0\0junk"), Good(48, 32, "JPEG")),
    "exif-6.png": Case(lambda: oriented(6, "PNG"), Good(32, 48, "PNG", rotated=True)),
    "exif-6.webp": Case(lambda: oriented(6, "WEBP"), Good(32, 48, "WEBP", rotated=True)),
    "exif-6.avif": Case(lambda: oriented(6, "AVIF"), Good(32, 48, "AVIF", rotated=True)),
    # Several pictures in a file.
    "animated.gif": Case(lambda: frames("GIF"), "animated"),
    "animated.png": Case(lambda: frames("PNG"), "animated"),
    "default-image.png": Case(lambda: frames("PNG", default_image=True), "animated"),
    "animated.webp": Case(lambda: frames("WEBP"), "animated"),
    "animated.avif": Case(lambda: frames("AVIF"), "animated"),
    "gain-map.jpg": Case(lambda: frames("MPO"), Good(48, 32, "JPEG")),
    # Odd sizes.
    "1x1.png": Case(lambda: encoded("PNG", scene(1, 1)), Good(1, 1, "PNG")),
    "1x1.jpg": Case(lambda: encoded("JPEG", scene(1, 1)), Good(1, 1, "JPEG")),
    "1x50000.png": Case(lambda: encoded("PNG", scene(1, 50000)), Good(1, 50000, "PNG")),
    "50000x1.png": Case(lambda: encoded("PNG", scene(50000, 1)), Good(50000, 1, "PNG")),
    "1x1.gif": Case(lambda: encoded("GIF", scene(1, 1)), Good(1, 1, "GIF", "P")),
}  # fmt: skip
"""File name -> what it is and what becomes of it."""

FIRST_FRAMES: dict[str, Good] = {
    "animated.gif": Good(48, 32, "GIF", "P"),
    "animated.png": Good(48, 32, "PNG"),
    "default-image.png": Good(48, 32, "PNG"),
    "animated.webp": Good(48, 32, "WEBP"),
    "animated.avif": Good(48, 32, "AVIF"),
}
"""What becomes of animations where their first frame is taken."""
