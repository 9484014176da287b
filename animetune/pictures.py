"""Reading pictures: one decoder for all that looks at pixels, so that what curation judged is what is trained on.

`open_picture` turns the `image` of a row into an upright sRGB picture without transparency (`read_image` gives its
bytes, `decode` decodes them), `decode_mask` turns bytes into levels; or they raise PictureError with one of
`PICTURE_CODES`. Bytes are never trusted: the format is known by content and must be on a short list, the pixel count is
checked before a pixel is decoded, and a picture must be whole (Pillow alone loads a PNG without its end, and clips
16-bit grey to white).

A codec may still crash or hang: untrusted pictures are decoded in a child (`isolation`). One thread a process: the
warning filters that `decode` sets for its own duration are global to the interpreter before Python 3.14.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import math
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, cast

import numpy as np
from PIL import AvifImagePlugin, ExifTags, GifImagePlugin, Image, ImageCms

from animetune import containers, picture_urls
from animetune.containers import Format
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
    "timeout": "decoding took longer than `seconds`, twice",
    "decoder_crash": "the decoder crashed, twice",
    "bad_region": "the region that `image` names does not lie inside the picture",
}
"""Code -> meaning, for every reason that a picture can be refused for."""

MAX_BYTES = 256 * 1024 * 1024
MAX_PIXELS = 89_478_485
"""The largest useful `max_pixels`: above it Pillow itself warns of a decompression bomb."""

_T = TypeVar("_T")
# One thread a process: its workers share the CPUs, and each thread would claim memory of its own.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
_HDR_TRANSFERS = (16, 18)  # ITU-T H.273: SMPTE ST 2084 (PQ), ARIB STD-B67 (HLG)
_TRANSPARENT, _OPAQUE = 0, 255
_SAID = {"image file is truncated": "truncated", "Out of memory": "out_of_memory"}  # the second by libavif
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the picture upright."""
_DEEP_PNG = {2: "RGB;16", 4: "LA;16", 6: "RGBA;16"}  # by the colour type of the header
_WEBP_BYTES = 12  # a pixel: two canvases of RGBA, and what a frame is decoded into
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
    mode: str = "RGB"
    """Of the pixels in the file, as Pillow names it (L, P, RGBA, CMYK, I;16 ...), with `;16` for 16 bits a channel."""
    rotated: bool = False
    """The file says that it is to be turned or mirrored, and it was."""
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
    mode: str
    rotated: bool


class _Canvas(NamedTuple):
    """Where a frame lies in its animation."""

    size: tuple[int, int]
    box: tuple[int, int, int, int]
    """left, top, right, bottom; Pillow has already put a GIF's frame there, with a colour around it."""

    def place(self, colour: Image.Image, alpha: Image.Image | None) -> tuple[Image.Image, Image.Image]:
        """Colour and alpha of the whole canvas, transparent where the frame does not reach."""
        left, top = self.box[:2]
        if colour.size == self.size:
            colour, alpha = colour.crop(self.box), alpha and alpha.crop(self.box)
        whole = Image.new(colour.mode, self.size)
        whole.paste(colour, (left, top))
        seen = Image.new("L", self.size, _TRANSPARENT)
        seen.paste(Image.new("L", colour.size, _OPAQUE) if alpha is None else alpha, (left, top))
        return whole, seen


def open_picture(
    url: str,
    *,
    background: tuple[int, int, int] = (255, 255, 255),
    max_pixels: int = 64_000_000,
    first_frame: bool = True,
) -> Picture:
    """The picture that `url` names (`picture_urls`), decoded, and cut to the region that it names.

    Of animations the first frame, unlike `decode`: it is for pictures that curation has admitted. Raises PictureError,
    and what `read_image` raises. Costs as much for a region as for the whole.
    """
    picture = decode(read_image(url), background=background, max_pixels=max_pixels, first_frame=first_frame)
    return cut_picture(picture, url)


def cut_picture(picture: Picture, url: str) -> Picture:
    """Of the decoded picture the region that `url` names; all of it for none. Raises PictureError (bad_region)."""
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
            data = stream.read(_at_most(stream, MAX_BYTES + 1 if length is None else length))
    except FileNotFoundError as error:
        raise PictureError("image_missing", path) from error
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise PictureError("image_unreadable", f"{path}: {type(error).__name__}") from error
    if len(data) > MAX_BYTES:
        raise PictureError("too_many_bytes", f"more than {MAX_BYTES} bytes")
    if length is not None and len(data) < length:
        raise PictureError("truncated", f"{len(data)} of {length} bytes in {path}")
    return data


def decode(
    data: bytes,
    *,
    background: tuple[int, int, int] = (255, 255, 255),
    max_pixels: int = 64_000_000,
    first_frame: bool = False,
    longest_side: int | None = None,
) -> Picture:
    """Decode an encoded picture completely: EXIF rotation applied, colours in sRGB, transparency on `background`.

    Animations are refused, or with `first_frame` their first frame is the picture: as it is shown at first, on a canvas
    that is transparent where the frame does not reach. Raises PictureError, whose `code` is a key of PICTURE_CODES, and
    nothing else, whatever the bytes.

    For whoever looks at it with its longest side at `longest_side` pixels, a JPEG is decoded at 1/2, 1/4 or 1/8 of its
    size, as long as it stays that large, in a fraction of the time; its pixels are then not those of the whole picture.
    """
    finish = functools.partial(_to_picture, background=background)
    return _decode(data, finish, max_pixels=max_pixels, first_frame=first_frame, longest_side=longest_side)


def decode_mask(data: bytes, *, max_pixels: int = 64_000_000) -> Image.Image:
    """The levels of an encoded mask, mode L: its alpha if any pixel is transparent, else its luminance.

    EXIF rotation is applied. Luminance is that of ITU-R BT.601, of the numbers as they are: levels are no colours, so
    profiles mean nothing. Raises PictureError as `decode` does, but for `transparent`, which is a mask of zeros.
    """
    return _decode(data, _to_levels, max_pixels=max_pixels, first_frame=False)


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


def _decode(
    data: bytes,
    finish: Callable[[_Loaded], _T],
    *,
    max_pixels: int,
    first_frame: bool,
    longest_side: int | None = None,
) -> _T:
    """What `finish` makes of the picture; all that Pillow raises, there too, comes as PictureError."""
    picture_format = containers.sniff(data)
    containers.check_whole(data, picture_format)
    try:
        with warnings.catch_warnings():
            # The outcome must not depend on the caller's warning filters.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _opened(data, picture_format) as source:
                _check(source, data, picture_format, max_pixels=max_pixels)
                if longest_side is not None:
                    scale = longest_side / max(source.size)
                    source.draft(None, (math.ceil(source.width * scale), math.ceil(source.height * scale)))
                if _frames(source, picture_format) == 1:
                    return finish(_load(source, data, picture_format))
                if not first_frame:
                    raise PictureError("animated", f"{_frames(source, picture_format)} pictures")
                return finish(_load_first(source, data, picture_format))
    except PictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError("too_many_pixels", f"at most {max_pixels} pixels") from error
    except MemoryError as error:
        raise PictureError("out_of_memory", f"{len(data)} bytes encoded") from error
    # Pillow raises OSError, ValueError, SyntaxError, struct.error and more for damaged files; all mean the same here.
    except Exception as error:
        code = next((code for words, code in _SAID.items() if words in str(error)), "corrupt")
        if picture_format == "WEBP" and _lacks_memory(data, max_pixels):
            code = "out_of_memory"
        raise PictureError(code, _said(error)) from error


def _lacks_memory(data: bytes, max_pixels: int) -> bool:
    """Whether there is less memory left than a WebP's decoder needs, which does not say why it fails."""
    width, height = containers.webp_size(data)
    try:
        np.empty(_WEBP_BYTES * min(width * height, max_pixels), np.uint8)
    except MemoryError:
        return True
    return False


def _opened(data: bytes, picture_format: Format) -> Image.Image:
    """Open without decoding. A PNG whose compressed text would fill memory is opened without its text and profile."""
    try:
        return Image.open(io.BytesIO(data), formats=(picture_format,))
    except ValueError:
        if picture_format != "PNG":
            raise
        kept = [
            data[start:end]
            for kind, start, end in containers.png_chunks(data)
            if kind not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
        ]
        return Image.open(io.BytesIO(containers.PNG_SIGNATURE + b"".join(kept)), formats=(picture_format,))


def _check(source: Image.Image, data: bytes, picture_format: Format, *, max_pixels: int) -> None:
    """Refuse by what the header says, before a pixel is decoded."""
    if source.width * source.height > max_pixels:
        raise PictureError("too_many_pixels", f"{source.width}x{source.height}, at most {max_pixels} pixels")
    if containers.transfer_function(data, picture_format) in _HDR_TRANSFERS:
        raise PictureError("hdr")


def _frames(source: Image.Image, picture_format: Format) -> int:
    """How many pictures the file holds. A JPEG's further ones (MPO) are previews and gain maps of the first."""
    return 1 if picture_format == "JPEG" else int(getattr(source, "n_frames", 1))


def _load_first(source: Image.Image, data: bytes, picture_format: Format) -> _Loaded:
    """The first frame of an animation, as it is shown at first."""
    if picture_format != "PNG":
        return _load(source, data, picture_format)
    frame = containers.first_png_frame(data)  # Pillow would paint it over the default picture
    with _opened(frame.data, picture_format) as alone:
        right, bottom = frame.left + alone.width, frame.top + alone.height
        if right > source.width or bottom > source.height:
            raise PictureError("corrupt", "PNG: a frame outside its canvas")
        return _load(alone, frame.data, picture_format, _Canvas(source.size, (frame.left, frame.top, right, bottom)))


def _load(source: Image.Image, data: bytes, picture_format: Format, canvas: _Canvas | None = None) -> _Loaded:
    """Decode the picture; `canvas` says where it lies unless the file is only the picture."""
    mode = _mode(source, data, picture_format)
    if isinstance(source, GifImagePlugin.GifImageFile) and source.tile:
        canvas = _Canvas(source.size, cast(tuple[int, int, int, int], tuple(source.tile[0].extents or ())))
    source.load()
    if picture_format == "PNG":
        _mend_transparent_colour(source, bit_depth=data[24])
    colour, alpha = _split_alpha(source)
    if canvas is not None and canvas.box != (0, 0, *canvas.size):
        colour, alpha = canvas.place(colour, alpha)
    if alpha is not None and _extrema(alpha)[0] == _OPAQUE:
        alpha = None
    turn = _turn(source)
    if turn is not None:
        colour, alpha = colour.transpose(turn), None if alpha is None else alpha.transpose(turn)
    return _Loaded(colour, alpha, source.info.get("icc_profile"), picture_format, mode, turn is not None)


def _mode(source: Image.Image, data: bytes, picture_format: Format) -> str:
    """The mode in the file: Pillow names that of a PNG of 16 bits a channel as what it makes of it."""
    is_deep = picture_format == "PNG" and data[24] == 16
    return _DEEP_PNG.get(data[25], source.mode) if is_deep else source.mode


def _to_picture(loaded: _Loaded, *, background: tuple[int, int, int]) -> Picture:
    colour, profile = _to_srgb(loaded.colour, loaded.icc)
    if loaded.alpha is not None:
        if _extrema(loaded.alpha)[1] == _TRANSPARENT:
            raise PictureError("transparent")
        canvas = Image.new("RGB", colour.size, background)
        canvas.paste(colour, mask=loaded.alpha)
        colour = canvas
    colour.info = {}  # comments and profiles, which Pillow would write into whatever the picture is saved as
    return Picture(
        image=colour,
        format=loaded.format,
        had_alpha=loaded.alpha is not None,
        profile=profile,
        mode=loaded.mode,
        rotated=loaded.rotated,
    )


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


def _turn(image: Image.Image) -> Image.Transpose | None:
    """How EXIF says that the picture is turned; a rotation that cannot be read is none, as in every viewer."""
    with contextlib.suppress(Exception):
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return None


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


def _at_most(stream: io.BufferedIOBase, count: int) -> int:
    """Bytes to ask for: Python claims as much memory before it reads, so for a file no more than it has."""
    if not isinstance(stream, io.BufferedReader):
        return count
    return min(count, max(0, os.fstat(stream.fileno()).st_size - stream.tell()) + 1)


def _open(path: str) -> io.BufferedIOBase:
    if "://" not in path:
        return Path(path).open("rb")
    import fsspec

    try:
        filesystem, name = fsspec.core.url_to_fs(path)
        # Unbuffered: what is read is all of a picture, and a buffer would fetch megabytes of its neighbours in a tar.
        return filesystem.open(name, mode="rb", cache_type="none")
    except (ImportError, ValueError) as error:  # the package for this kind of URL is not installed, or there is none
        raise SetupError(f"{path}: {error}; for s3:// install animetune[s3]") from error


def _said(error: BaseException) -> str:
    """The error in one line, without the memory addresses that would differ between runs."""
    return re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "the data", f"{type(error).__name__}: {error}")[:200]
