"""Reading pictures: one decoder for all that looks at pixels, so that what curation judged is what is trained on.

`open_picture` turns the `image` of a row into an upright sRGB picture without transparency (`read_image` gives its
bytes, `decode` decodes them), `decode_mask` turns bytes into levels; or they raise PictureError with one of
`PICTURE_CODES`. Bytes are never
trusted: the format is known by content and must be on a short list, the pixel count is checked before a pixel is
decoded, and a picture must be whole (Pillow alone loads a PNG without its end, and clips 16-bit grey to white).

Decode untrusted pictures in worker processes: a crash of a codec then costs one chunk. One thread a process: the
warning filters that `decode` sets for its own duration are global to the interpreter before Python 3.14.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import re
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, cast

import numpy as np
from PIL import Image, ImageCms, ImageOps

from animetune import picture_urls
from animetune.errors import PictureError, SetupError
from animetune.picture_urls import Region

PICTURE_CODES = {
    "image_missing": "there is no file where the row's `image` points",
    "image_unreadable": "the file is there but may not be read, or is a folder",
    "too_many_bytes": "the file is larger than MAX_BYTES",
    "empty": "the file has no bytes",
    "markup": "HTML, XML or SVG, such as an error page saved under the picture's name",
    "archive": "a zip, gzip, rar or 7z file, such as a ugoira",
    "video": "a video or Flash file",
    "unknown_format": "none of JPEG, PNG, WEBP, GIF, AVIF, BMP",
    "truncated": "the file ends before the picture does",
    "corrupt": "the file is damaged",
    "too_many_pixels": "the header promises more pixels than `max_pixels`",
    "animated": "the file holds more than one picture",
    "cmyk_no_profile": "CMYK without a usable colour profile: its colours are unknown",
    "hdr": "PQ or HLG transfer function: shown as sRGB it would look washed out",
    "unsupported_mode": "a pixel format without an agreed meaning as sRGB, such as 32-bit float",
    "transparent": "every pixel is fully transparent",
    "out_of_memory": "the picture did not fit into memory",
    "bad_region": "the region that `image` names does not lie inside the picture",
}
"""Code -> meaning, for every reason that a picture can be refused for."""

MAX_BYTES = 256 * 1024 * 1024
MAX_PIXELS = 89_478_485
"""The largest useful `max_pixels`: above it Pillow itself warns of a decompression bomb."""

Format = Literal["JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP"]

_T = TypeVar("_T")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The next JPEG marker in entropy-coded data: 0xFF followed by neither a stuffed zero, a restart marker nor fill.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_HDR_TRANSFERS = (16, 18)  # ITU-T H.273: SMPTE ST 2084 (PQ), ARIB STD-B67 (HLG)
_TRANSPARENT, _OPAQUE = 0, 255
_COLOUR_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # ICC signature -> Pillow mode


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: upright, RGB, 8 bits, sRGB, composited on the background colour."""

    image: Image.Image
    format: Format
    """By content, whatever the file is called."""
    had_alpha: bool
    """At least one pixel was not fully opaque."""
    profile: Literal["none", "srgb", "converted", "unusable"]
    """What became of the embedded colour profile; `unusable` means that sRGB was assumed."""
    region: Region | None = None
    """What `image` is of the decoded picture; None for all of it."""
    whole: tuple[int, int] | None = None
    """Width and height of the decoded picture, where `image` is a region of it."""


class _Loaded(NamedTuple):
    """An upright picture in the pixels of its file."""

    colour: Image.Image
    """Mode L, RGB or CMYK."""
    alpha: Image.Image | None
    """Mode L; None when every pixel is opaque."""
    icc: bytes | None
    format: Format


def open_picture(
    url: str, *, background: tuple[int, int, int] = (255, 255, 255), max_pixels: int = 64_000_000
) -> Picture:
    """The picture that `url` names (`picture_urls`), decoded, and cut to the region that it names.

    Raises PictureError, and what `read_image` raises. Costs as much for a region as for the whole.
    """
    picture = decode(read_image(url), background=background, max_pixels=max_pixels)
    region = picture_urls.parse(url).region
    if region is None:
        return picture
    whole = picture.image.size
    if not region.within(*whole):
        raise PictureError("bad_region", f"{tuple(region)} of {whole[0]}x{whole[1]} pixels")
    return dataclasses.replace(picture, image=picture.image.crop(region.corners), region=region, whole=whole)


def read_image(url: str) -> bytes:
    """The bytes of `url`: a path, an fsspec URL, or `URL!member@offset+length` for a member of an uncompressed tar.

    Of a region the bytes of the whole picture.

    Raises PictureError (image_missing, image_unreadable, too_many_bytes). Failures that may pass, such as those of a
    network, are raised as they are, so that they stop the work and never count as a verdict on the picture.
    """
    place = picture_urls.parse(url)
    path, length = place.path, place.length
    if length is not None and length > MAX_BYTES:
        raise PictureError("too_many_bytes", f"{length} bytes")
    try:
        with _open(path) as stream:
            stream.seek(place.offset)
            data = stream.read(MAX_BYTES + 1 if length is None else length)
    except FileNotFoundError as error:
        raise PictureError("image_missing", path) from error
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise PictureError("image_unreadable", f"{path}: {type(error).__name__}") from error
    if len(data) > MAX_BYTES:
        raise PictureError("too_many_bytes", f"more than {MAX_BYTES} bytes")
    if length is not None and len(data) < length:
        raise PictureError("truncated", f"{len(data)} of {length} bytes in {path}")
    return data


def decode(data: bytes, *, background: tuple[int, int, int] = (255, 255, 255), max_pixels: int = 64_000_000) -> Picture:
    """Decode an encoded picture completely: EXIF rotation applied, colours in sRGB, transparency on `background`.

    Raises PictureError, whose `code` is a key of PICTURE_CODES, and nothing else, whatever the bytes.
    """
    return _decode(data, functools.partial(_to_picture, background=background), max_pixels=max_pixels)


def decode_mask(data: bytes, *, max_pixels: int = 64_000_000) -> Image.Image:
    """The levels of an encoded mask, mode L: its alpha if any pixel is transparent, else its luminance.

    EXIF rotation is applied. Luminance is that of ITU-R BT.601, of the numbers as they are: levels are no colours, so
    profiles mean nothing. Raises PictureError as `decode` does, but for `transparent`, which is a mask of zeros.
    """
    return _decode(data, _to_levels, max_pixels=max_pixels)


def cut_mask(mask: Image.Image, picture: Picture) -> Image.Image:
    """Of a mask of the whole picture what belongs to the region that `picture` is, mode L; all of it for no region.

    In the mask's pixels where it has the scale of the picture. Else in those of the picture: each is the mean of what
    it covers of the mask, so that nothing shifts by a fraction of a coarse mask's pixel.
    """
    if picture.region is None or picture.whole is None:
        return mask
    if mask.size == picture.whole:
        return mask.crop(picture.region.corners)
    across, down = mask.width / picture.whole[0], mask.height / picture.whole[1]
    left, top, right, bottom = picture.region.corners
    box = (left * across, top * down, min(right * across, mask.width), min(bottom * down, mask.height))
    return mask.resize((picture.region.width, picture.region.height), Image.Resampling.BOX, box=box)


def _decode(data: bytes, finish: Callable[[_Loaded], _T], *, max_pixels: int) -> _T:
    """What `finish` makes of the picture; all that Pillow raises, there too, comes as PictureError."""
    picture_format = sniff(data)
    _check_whole(data, picture_format)
    try:
        with warnings.catch_warnings():
            # The outcome must not depend on the caller's warning filters.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _opened(data, picture_format) as source:
                return finish(_load(source, data, picture_format, max_pixels=max_pixels))
    except PictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError("too_many_pixels", f"at most {max_pixels} pixels") from error
    except MemoryError as error:
        raise PictureError("out_of_memory", f"{len(data)} bytes encoded") from error
    # Pillow raises OSError, ValueError, SyntaxError, struct.error and more for damaged files; all mean the same here.
    except Exception as error:
        code = "truncated" if str(error).startswith("image file is truncated") else "corrupt"
        raise PictureError(code, _said(error)) from error


def sniff(data: bytes) -> Format:
    """The format by content; PictureError for anything that is not one of the six."""
    known: tuple[tuple[bool, Format], ...] = (
        (data.startswith(b"\xff\xd8\xff"), "JPEG"),
        (data.startswith(_PNG_SIGNATURE), "PNG"),
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


def _check_whole(data: bytes, picture_format: Format) -> None:
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


def _png_chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """(type, start, end) of every complete chunk; ends at IEND or at the first impossible chunk."""
    chunks = []
    at = len(_PNG_SIGNATURE)
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
    chunks = _png_chunks(data)
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


def _opened(data: bytes, picture_format: Format) -> Image.Image:
    """Open without decoding. A PNG whose compressed text would fill memory is opened without its text and profile."""
    try:
        return Image.open(io.BytesIO(data), formats=(picture_format,))
    except ValueError:
        if picture_format != "PNG":
            raise
        kept = [
            data[start:end]
            for kind, start, end in _png_chunks(data)
            if kind not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
        ]
        return Image.open(io.BytesIO(_PNG_SIGNATURE + b"".join(kept)), formats=(picture_format,))


def _load(source: Image.Image, data: bytes, picture_format: Format, *, max_pixels: int) -> _Loaded:
    if source.width * source.height > max_pixels:
        raise PictureError("too_many_pixels", f"{source.width}x{source.height}, at most {max_pixels} pixels")
    # A JPEG's further pictures (MPO) are previews and gain maps of the first.
    frames = 1 if picture_format == "JPEG" else int(getattr(source, "n_frames", 1))
    if frames > 1:
        raise PictureError("animated", f"{frames} pictures")
    if _transfer_function(data, picture_format) in _HDR_TRANSFERS:
        raise PictureError("hdr")
    source.load()
    if picture_format == "PNG":
        _mend_transparent_colour(source, bit_depth=data[24])
    colour, alpha = _split_alpha(_upright(source))
    if alpha is not None and _extrema(alpha)[0] == _OPAQUE:
        alpha = None
    return _Loaded(colour, alpha, source.info.get("icc_profile"), picture_format)


def _to_picture(loaded: _Loaded, *, background: tuple[int, int, int]) -> Picture:
    colour, profile = _to_srgb(loaded.colour, loaded.icc)
    if loaded.alpha is not None:
        if _extrema(loaded.alpha)[1] == _TRANSPARENT:
            raise PictureError("transparent")
        canvas = Image.new("RGB", colour.size, background)
        canvas.paste(colour, mask=loaded.alpha)
        colour = canvas
    colour.info = {}  # comments and profiles, which Pillow would write into whatever the picture is saved as
    return Picture(image=colour, format=loaded.format, had_alpha=loaded.alpha is not None, profile=profile)


def _to_levels(loaded: _Loaded) -> Image.Image:
    levels = loaded.colour.convert("L") if loaded.alpha is None else loaded.alpha
    levels.info = {}
    return levels


def _extrema(alpha: Image.Image) -> tuple[int, int]:
    return cast(tuple[int, int], alpha.getextrema())


def _mend_transparent_colour(image: Image.Image, *, bit_depth: int) -> None:
    """Pillow scales 2- and 4-bit grey to 8 bits and halves 16-bit RGB, but not the colour that means transparent."""
    colour = image.info.get("transparency")
    if image.mode == "L" and bit_depth in (2, 4) and colour is not None:
        image.info["transparency"] = colour * 255 // (2**bit_depth - 1)
    if image.mode == "RGB" and bit_depth == 16 and colour is not None:
        raise PictureError("unsupported_mode", "16-bit RGB with a transparent colour")


def _upright(image: Image.Image) -> Image.Image:
    """EXIF rotation applied; a rotation that cannot be read is none, as in every viewer."""
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)  # otherwise it copies pictures that need no rotation, too
    return image


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """(colour in mode L, RGB or CMYK, alpha in mode L or None); PictureError for a mode without agreed colours."""
    transparent = "transparency" in image.info
    if image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.uint32)
        grey = Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))
        alpha = np.where(levels == image.info["transparency"], 0, 255).astype(np.uint8) if transparent else None
        return grey, None if alpha is None else Image.fromarray(alpha)
    if image.mode in ("RGBA", "LA", "PA") or (transparent and image.mode in ("1", "L", "P", "RGB")):
        full = image.convert("RGBA")
        colour = full.convert("RGB")
        return (colour.convert("L") if image.mode in ("L", "LA") else colour), full.getchannel("A")
    if image.mode in ("L", "RGB", "CMYK"):
        return image, None
    if image.mode in ("1", "P", "RGBX", "YCbCr"):
        return image.convert("L" if image.mode == "1" else "RGB"), None
    raise PictureError("unsupported_mode", image.mode)


def _to_srgb(
    colour: Image.Image, icc: bytes | None
) -> tuple[Image.Image, Literal["none", "srgb", "converted", "unusable"]]:
    """RGB in sRGB, by the embedded profile if there is one that fits the pixels."""
    if icc:
        try:
            embedded = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            if colour.mode == "RGB" and "sRGB" in (embedded.profile.profile_description or ""):
                return colour, "srgb"
            if _COLOUR_SPACES.get(embedded.profile.xcolor_space) == colour.mode:
                srgb = ImageCms.createProfile("sRGB")
                converted = ImageCms.profileToProfile(colour, embedded, srgb, outputMode="RGB")
                if converted is not None:
                    return converted, "converted"
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a broken profile says nothing about the pixels: sRGB is assumed, and `profile` says so
    if colour.mode == "CMYK":
        raise PictureError("cmyk_no_profile", "unusable profile" if icc else "")
    rgb = colour if colour.mode == "RGB" else colour.convert("RGB")
    return rgb, "unusable" if icc else "none"


def _transfer_function(data: bytes, picture_format: Format) -> int | None:
    """Code point of ITU-T H.273 from an AVIF's colour box or a PNG's cICP chunk, which Pillow does not tell."""
    if picture_format == "AVIF" and (box := data.find(b"colrnclx", 0, 65536)) >= 0:
        return struct.unpack_from(">H", data, box + 10)[0]
    if picture_format == "PNG":
        return next((data[start + 9] for kind, start, _ in _png_chunks(data) if kind == b"cICP"), None)
    return None


def _open(path: str) -> io.BufferedIOBase:
    if "://" not in path:
        return Path(path).open("rb")
    import fsspec

    try:
        return fsspec.open(path, "rb").open()
    except (ImportError, ValueError) as error:  # the package for this kind of URL is not installed, or there is none
        raise SetupError(f"{path}: {error}; for s3:// install animetune[s3]") from error


def _said(error: BaseException) -> str:
    """The error in one line, without the memory addresses that would differ between runs."""
    return re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "the data", f"{type(error).__name__}: {error}")[:200]
