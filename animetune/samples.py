"""A folder of drawn pictures: numbered PNGs, `images.jsonl` with what each was drawn from, a grid, a manifest.

The `sample` stage and the previews of training write the same folder, and evaluation reads it. Each PNG also carries
its settings in the text chunk `parameters`, which A1111, Forge and ComfyUI's extensions read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from animetune import fsio
from animetune.figures import image_grid
from animetune.manifest import Manifest, read_manifest, record_files, write_manifest
from animetune.records import Request, Size

SAMPLES_FORMAT = 1
SAMPLES_KIND = "samples"
INDEX_NAME = "images.jsonl"
GRID_NAME = "grid.png"
SAMPLER_TITLES = {"euler": "Euler", "euler_ancestral": "Euler a"}


@dataclass(frozen=True)
class DrawnPicture:
    """One line of images.jsonl."""

    file: Path
    request: Request


def publish(
    folder: Path,
    requests: Sequence[Request],
    pictures: Iterable[tuple[int, np.ndarray]],
    *,
    settings: Mapping[str, str | int | float],
    columns: int,
) -> Manifest:
    """Write the pictures, uint8 RGB (h, w, 3) by place in `requests`, as they come, and publish the folder at once.

    `settings` (sampler, steps, cfg, model digest) go into every line of the index.
    """
    with fsio.publish_dir(folder) as temporary:
        images: dict[int, Image.Image] = {}
        for place, pixels in pictures:
            images[place] = Image.fromarray(pixels)
            info = PngInfo()
            info.add_text("parameters", parameters_text(requests[place], settings))
            images[place].save(temporary / _file_name(place), pnginfo=info)
        lines = [
            {
                "file": _file_name(place),
                "prompt": request.prompt,
                "negative": request.negative,
                "seed": request.seed,
                "width": request.size.width,
                "height": request.size.height,
                **settings,
            }
            for place, request in enumerate(requests)
        ]
        fsio.atomic_write(temporary / INDEX_NAME, "".join(fsio.canonical_json(line) + "\n" for line in lines))
        ordered = [images[place] for place in range(len(requests))]
        grid = image_grid(ordered, captions=[request.prompt for request in requests], columns=columns)
        grid.save(temporary / GRID_NAME)
        manifest = Manifest(
            kind=SAMPLES_KIND, format_version=SAMPLES_FORMAT, seen=len(lines), kept=len(lines), facts=dict(settings)
        )
        return write_manifest(temporary, manifest.model_copy(update={"files": record_files(temporary)}))


def read(folder: Path) -> list[DrawnPicture]:
    """The pictures of a published folder, in order."""
    read_manifest(folder, kind=SAMPLES_KIND, format_version=SAMPLES_FORMAT)
    lines = [json.loads(line) for line in (folder / INDEX_NAME).read_text(encoding="utf-8").splitlines()]
    return [
        DrawnPicture(
            file=folder / line["file"],
            request=Request(
                prompt=line["prompt"],
                negative=line["negative"],
                seed=line["seed"],
                size=Size(line["width"], line["height"]),
            ),
        )
        for line in lines
    ]


def parameters_text(request: Request, settings: Mapping[str, str | int | float]) -> str:
    """The settings as A1111 writes them."""
    sampler = str(settings.get("sampler", ""))
    values = {
        "Steps": settings.get("steps"),
        "Sampler": SAMPLER_TITLES.get(sampler, sampler),
        "CFG scale": settings.get("cfg_scale"),
        "Seed": request.seed,
        "Size": request.size.name,
    }
    last = ", ".join(f"{name}: {value}" for name, value in values.items() if value not in (None, ""))
    negative = f"\nNegative prompt: {request.negative}" if request.negative else ""
    return f"{request.prompt}{negative}\n{last}"


def _file_name(place: int) -> str:
    return f"{place:05d}.png"
