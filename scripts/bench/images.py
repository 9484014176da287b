"""What curation and the shard stage do to a picture, beside plain Pillow: probe, resize, hash, and file to shard.

One process, one thread, files in the page cache; pictures a second of processor time, round by round. What only the
probe does: it knows the format by content, walks the container to its end, checks pixel counts before it decodes,
applies profiles and transparency, and looks for borders; plain Pillow opens, turns upright, makes RGB and hashes.
Lanczos is PyTorch's, which tables of 10,000 pictures and more get; its import, 2 s a worker, is not counted.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import side_by_side as bench
import synthetic
from PIL import Image, ImageOps

PICTURES = 2 if bench.QUICK else 6
REPEATS = 1 if bench.QUICK else 3
ROUNDS = 5
TARGET = (832, 1248)
SIZES = {"1 MP": (840, 1260), "3 MP": (1448, 2172), "6 MP": (2000, 3000)}
FORMATS: dict[str, dict[str, Any]] = {
    "jpeg": {"quality": 90},
    "webp": {"quality": 90, "method": 4},
    "png": {"compress_level": 6},
}
BACKGROUND = (255, 255, 255)
MAX_PIXELS = 64_000_000


def build(*, folder: str) -> dict[str, Any]:
    """`<format> <size>-<n>`, the same pictures in every format."""
    rng = np.random.default_rng(5)
    for size, (width, height) in SIZES.items():
        for number in range(PICTURES):
            image = synthetic.draw_picture(rng, height).crop((0, 0, width, height))
            for kind, options in FORMATS.items():
                image.save(Path(folder, f"{kind} {size}-{number}"), kind, **options)
    return {}


def ours(*, folder: str) -> dict[str, float]:
    """The functions that the stages call."""
    import functools

    from animetune.buckets import fit
    from animetune.curate.probe import Question, difference_hash, look_at
    from animetune.pictures import open_picture
    from animetune.records import Size
    from animetune.resizing import resize
    from animetune.shards.write import resize_and_crop

    by_torch = functools.partial(resize, by="torch")

    def probe(path: Path) -> None:
        look_at(Question([str(path)], None, BACKGROUND, MAX_PIXELS, first_frame=False, check_md5=False))

    def whole(path: Path) -> None:
        image = open_picture(str(path), background=BACKGROUND, max_pixels=MAX_PIXELS).image
        _encode(resize_and_crop(image, fit(Size(*image.size), Size(*TARGET)), resize=by_torch))

    return _timed(folder, probe, whole, resize=lambda image: by_torch(image, TARGET), find_hash=difference_hash)


def plain(*, folder: str) -> dict[str, float]:
    """Pillow, as most scripts use it."""

    def opened(path: Path) -> Image.Image:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            return ImageOps.exif_transpose(image).convert("RGB")

    def difference_hash(image: Image.Image) -> bytes:
        levels = np.asarray(image.convert("L").resize((17, 16), Image.Resampling.LANCZOS))
        return np.packbits(levels[:, 1:] > levels[:, :-1]).tobytes()

    def probe(path: Path) -> None:
        image = opened(path)
        hashlib.md5(image.tobytes(), usedforsecurity=False).hexdigest()
        difference_hash(image)

    def whole(path: Path) -> None:
        image = opened(path)
        scale = max(TARGET[0] / image.width, TARGET[1] / image.height)
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
        left, top = (size[0] - TARGET[0]) // 2, (size[1] - TARGET[1]) // 2
        _encode(image.crop((left, top, left + TARGET[0], top + TARGET[1])))

    def resize(image: Image.Image) -> Image.Image:
        return image.resize(TARGET, Image.Resampling.LANCZOS)

    return _timed(folder, probe, whole, resize=resize, find_hash=difference_hash)


def _encode(image: Image.Image) -> None:
    image.save(io.BytesIO(), "JPEG", quality=95, subsampling=0)


def _timed(
    folder: str,
    probe: Callable[[Path], Any],
    whole: Callable[[Path], Any],
    *,
    resize: Callable[[Image.Image], Any],
    find_hash: Callable[[Image.Image], Any],
) -> dict[str, float]:
    """Seconds of processor time a picture, by what is done to which kind of file."""
    found = {}
    for size in SIZES:
        for kind in FORMATS:
            paths = [Path(folder, f"{kind} {size}-{number}") for number in range(PICTURES)]
            found[f"probe, {kind}, {size}"] = _seconds(probe, paths)
            found[f"decode, resize, encode, {kind}, {size}"] = _seconds(whole, paths)
        images = [Image.open(Path(folder, f"png {size}-{number}")).convert("RGB") for number in range(PICTURES)]
        found[f"resize, pixels, {size}"] = _seconds(resize, images)
        found[f"hash, pixels, {size}"] = _seconds(find_hash, images)
    return found


def _seconds(work: Callable[[Any], Any], things: list[Any]) -> float:
    work(things[0])
    begun = time.process_time()
    for _ in range(REPEATS):
        for thing in things:
            work(thing)
    return (time.process_time() - begun) / (REPEATS * len(things))


def rows_of(found: bench.Rounds) -> list[Mapping[str, str]]:
    """A row for each thing that was done; the ratio is of speeds, above 1 where ours is faster."""
    rows = []
    for name in sorted(found["ours"][0], key=lambda name: name.split(", ")[:-1]):
        *what, kind, size = name.split(", ")
        row = {
            "what": ", ".join(what),
            "of": kind,
            "size": size,
            "pictures/s per core": f"{1 / bench.middle(found['ours'], name):.0f}",
            "plain Pillow": f"{1 / bench.middle(found['plain'], name):.0f}",
            "times as fast": bench.ratio_text(bench.paired(found, name, of="plain", to="ours")),
        }
        rows.append(row)
    return rows


CONTENDERS = {"ours": ours, "plain": plain}

if __name__ == "__main__":
    builder = {"build": build}
    bench.child(CONTENDERS | builder)
    with tempfile.TemporaryDirectory(prefix="bench-images-") as folder:
        bench.fresh(builder, "build", folder=folder)
        rounds = bench.alternate(CONTENDERS, rounds=ROUNDS, folder=folder)
    notes = [
        f"{PICTURES} drawn pictures of each kind, {REPEATS} times a round; resized to {TARGET[0]}x{TARGET[1]}, encoded "
        "as JPEG of quality 95 without subsampling by both; the ratio is of neighbouring rounds, median and range",
        "probe: plain Pillow opens, turns upright, makes RGB, and hashes the pixels twice; what else the probe does is "
        "said in scripts/bench/images.py",
    ]
    title = "Pictures: probe, resize, hash and file to shard, beside plain Pillow"
    bench.report("images", title, rows_of(rounds), notes=notes)
