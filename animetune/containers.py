"""Containers of encoded pictures, read without decoding: which format it is, whether it is whole, what it says of it.

Bytes are never trusted; PictureError with a code of `pictures.PICTURE_CODES` says what is wrong with them.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import Literal, NamedTuple

from animetune.errors import PictureError

Format = Literal["JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The next JPEG marker in entropy-coded data: 0xFF followed by neither a stuffed zero, a restart marker nor fill.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)


def sniff(data: bytes) -> Format:
    """The format by content; PictureError for anything that is not one of the six."""
    known: tuple[tuple[bool, Format], ...] = (
        (data.startswith(b"\xff\xd8\xff"), "JPEG"),
        (data.startswith(PNG_SIGNATURE), "PNG"),
        (data.startswith(b"RIFF") and data[8:12] == b"WEBP", "WEBP"),
        (data.startswith((b"GIF87a", b"GIF89a")), "GIF"),
        (bool({b"avif", b"avis"} & _brands(data)), "AVIF"),
        (data.startswith(b"BM"), "BMP"),
    )
    for matches, name in known:
        if matches:
            return name
    if not data:
        raise PictureError("empty")
    if data[:256].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise PictureError("markup")
    if data.startswith((b"PK", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf")):
        raise PictureError("archive")
    is_heif = bool({b"mif1", b"msf1", b"heic", b"heix"} & _brands(data))
    if (data[4:8] == b"ftyp" and not is_heif) or data.startswith((b"\x1aE\xdf\xa3", b"FWS", b"CWS", b"ZWS")):
        raise PictureError("video")
    raise PictureError("unknown_format", f"begins with {data[:12].hex()}")


def _brands(data: bytes) -> set[bytes]:
    """The brands that an ISO base media file names in its first box: the major one and those it is compatible with."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(len(data), struct.unpack_from(">I", data)[0], 256)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}


def check_whole(data: bytes, picture_format: Format) -> None:
    """Walk the container to its end; Pillow accepts several formats without theirs."""
    whole = {
        "JPEG": _jpeg_is_whole,
        "PNG": _png_is_whole,
        "WEBP": lambda data: len(data) >= 12 and struct.unpack_from("<I", data, 4)[0] + 8 <= len(data),
        "AVIF": _avif_is_whole,
    }.get(picture_format)
    if whole is not None and not whole(data):
        raise PictureError("truncated", f"{picture_format} without its end")


def _jpeg_is_whole(data: bytes) -> bool:
    """Whether the markers lead to an end-of-image marker (bytes after it are harmless)."""
    at = 2
    while marker := _JPEG_MARKER.search(data, at):
        kind = data[marker.start() + 1]
        if kind == 0xD9:
            return True
        if kind == 0x01 or marker.end() + 2 > len(data):  # TEM has no length
            at = marker.end()
        else:
            at = marker.end() + max(2, struct.unpack_from(">H", data, marker.end())[0])
    return False


def png_chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """(type, start, end) of every complete chunk; ends at IEND or at the first impossible chunk."""
    chunks = []
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if not kind.isalpha():
            raise PictureError("corrupt", f"PNG: no chunk at byte {at}")
        if end > len(data):
            break
        chunks.append((kind, at, end))
        if kind == b"IEND":
            break
        at = end
    return chunks


def _png_is_whole(data: bytes) -> bool:
    chunks = png_chunks(data)
    return bool(chunks) and chunks[-1][0] == b"IEND"


def _avif_is_whole(data: bytes) -> bool:
    """Whether the last top-level box ends inside the data (size 0 means: to the end of the file; 1: 64-bit size)."""
    at = 0
    while at + 8 <= len(data):
        size = struct.unpack_from(">I", data, at)[0]
        if size == 0:
            return True
        if size == 1 and at + 16 <= len(data):
            size = struct.unpack_from(">Q", data, at + 8)[0]
        if size < 8:
            return False
        at += size
    return at <= len(data)


def transfer_function(data: bytes, picture_format: Format) -> int | None:
    """Code point of ITU-T H.273 from an AVIF's colour box or a PNG's cICP chunk, which Pillow does not tell."""
    if picture_format == "AVIF" and (box := data.find(b"colrnclx", 0, 65536)) >= 0:
        return struct.unpack_from(">H", data, box + 10)[0]
    if picture_format == "PNG":
        return next((data[start + 9] for kind, start, _ in png_chunks(data) if kind == b"cICP"), None)
    return None


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels as the first chunk of a WebP states them; (0, 0) where it does not."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return 0, 0
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", body, 6)
    return (width & 0x3FFF, height & 0x3FFF) if kind == b"VP8 " else (0, 0)


class PngFrame(NamedTuple):
    """The first picture of an animated PNG, as a PNG of its own."""

    data: bytes
    left: int
    """Where it lies on the animation's canvas, in pixels."""
    top: int


def first_png_frame(data: bytes) -> PngFrame:
    """The first frame of an animated PNG, by the specification of APNG 1.0.

    That is the default picture (IDAT) only where a frame control chunk stands before it; otherwise the default picture
    is for viewers that know no APNG, and no part of the animation. What lies under the first frame is transparent.
    """
    chunks = png_chunks(data)
    kinds = [kind for kind, _, _ in chunks]
    if b"fcTL" not in kinds or b"IDAT" not in kinds:
        raise PictureError("corrupt", "an animated PNG without a frame")
    control = kinds.index(b"fcTL")
    start = chunks[control][1] + 8
    width, height, left, top = struct.unpack_from(">4I", data, start + 4)
    if control < kinds.index(b"IDAT"):
        pixels = [data[start:end] for kind, start, end in chunks if kind == b"IDAT"]
    else:
        behind = kinds[control + 1 :]
        count = next((number for number, kind in enumerate(behind) if kind != b"fdAT"), len(behind))
        parts = chunks[control + 1 : control + 1 + count]
        pixels = [png_chunk(b"IDAT", data[start + 12 : end - 4]) for _, start, end in parts]
    header = png_chunk(b"IHDR", struct.pack(">II", width, height) + data[24:29])
    dropped = (b"IHDR", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IEND")
    others = [data[start:end] for kind, start, end in chunks if kind not in dropped]
    whole = b"".join([PNG_SIGNATURE, header, *others, *pixels, png_chunk(b"IEND", b"")])
    return PngFrame(whole, left, top)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG with its length and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
