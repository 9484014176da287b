"""Write and read a folder of drawn pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from animetune import fsio
from animetune.errors import DataError
from animetune.manifest import FileRecord, Manifest, read_manifest, record_files, write_manifest
from animetune.records import Request, Size
from animetune.samples.page import PAGE_NAME, write_page
from animetune.samples.parameters import Setting, parameters_text
from animetune.samples.sheets import GRID_NAME, Layout, write_grid, write_sheets

__all__ = ["GRID_NAME", "INDEX_NAME", "PAGE_NAME", "DrawnPicture", "Entry", "finish", "publish", "read", "save_png"]

SAMPLES_FORMAT = 1
SAMPLES_KIND = "samples"
INDEX_NAME = "images.jsonl"
_OF_THE_REQUEST = ("prompt", "negative", "seed", "width", "height")


@dataclass(frozen=True)
class Entry:
    """A picture of a folder: what was asked for, and how it was drawn."""

    request: Request
    settings: Mapping[str, Setting]
    """sampler, steps, cfg_scale, model ...: go into its line of the index and into its PNG."""


@dataclass(frozen=True)
class DrawnPicture:
    """One line of images.jsonl."""

    file: Path
    request: Request
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the line says: sampler, steps, cfg_scale, model ..."""


def publish(
    folder: Path,
    requests: Sequence[Request],
    pictures: Iterable[tuple[int, np.ndarray]],
    *,
    settings: Mapping[str, Setting],
    columns: int,
) -> Manifest:
    """Write the pictures, uint8 RGB (h, w, 3) by place in `requests`, as they come, and publish the folder at once.

    `settings` (sampler, steps, cfg, model digest) go into every line of the index.
    """
    entries = [Entry(request, settings) for request in requests]
    with fsio.publish_dir(folder) as temporary:
        for place, pixels in pictures:
            save_png(temporary / file_name(place), pixels, entries[place])
        return finish(temporary, entries, facts=settings, columns=columns, with_page=False)


def save_png(path: Path, pixels: np.ndarray, entry: Entry) -> None:
    """Write a picture, uint8 RGB (h, w, 3), with its settings in the text chunk `parameters`."""
    info = PngInfo()
    info.add_text("parameters", parameters_text(entry.request, entry.settings))
    Image.fromarray(pixels).save(path, format="PNG", pnginfo=info)


def finish(
    temporary: Path,
    entries: Sequence[Entry],
    *,
    facts: Mapping[str, Any],
    columns: int,
    layout: Layout | None = None,
    records: Mapping[str, FileRecord] | None = None,
    with_page: bool = True,
) -> Manifest:
    """Write all but the pictures, which are in `temporary`, a folder that `fsio.publish_dir` handed out.

    Pictures of a `layout` are shown on sheets with titles, in `columns` otherwise. `records` are what is known of files
    already, which are not hashed again.
    """
    lines = [_line(place, entry) for place, entry in enumerate(entries)]
    fsio.atomic_write(temporary / INDEX_NAME, "".join(fsio.canonical_json(line) + "\n" for line in lines))
    files = [temporary / file_name(place) for place in range(len(entries))]
    if layout is not None:
        write_sheets(temporary, files, layout)
    else:
        write_grid(temporary, files, captions=[entry.request.prompt for entry in entries], columns=columns)
    if with_page:
        write_page(temporary, lines, layout)
    known = dict(records or {})
    names = [path.name for path in temporary.iterdir() if path.name not in known]
    manifest = Manifest(
        kind=SAMPLES_KIND,
        format_version=SAMPLES_FORMAT,
        seen=len(lines),
        kept=len(lines),
        facts=dict(facts),
        files={**known, **record_files(temporary, names)},
    )
    return write_manifest(temporary, manifest)


def read(folder: Path) -> list[DrawnPicture]:
    """The pictures of a published folder, in order."""
    read_manifest(folder, kind=SAMPLES_KIND, format_version=SAMPLES_FORMAT)
    drawn = []
    for number, text in enumerate((folder / INDEX_NAME).read_text(encoding="utf-8").split("\n"), start=1):
        if not text:
            continue
        try:
            line = json.loads(text)
            request = Request(
                prompt=line["prompt"],
                negative=line["negative"],
                seed=line["seed"],
                size=Size(line["width"], line["height"]),
            )
            settings = {name: value for name, value in line.items() if name not in (*_OF_THE_REQUEST, "file")}
            drawn.append(DrawnPicture(file=folder / line["file"], request=request, settings=settings))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder / INDEX_NAME}:{number}: is no line of a drawn picture ({error!r})") from error
    return drawn


def file_name(place: int) -> str:
    """Of the picture at this place: `00000.png`."""
    return f"{place:05d}.png"


def _line(place: int, entry: Entry) -> dict[str, Any]:
    request = entry.request
    return {
        "file": file_name(place),
        "prompt": request.prompt,
        "negative": request.negative,
        "seed": request.seed,
        "width": request.size.width,
        "height": request.size.height,
        **{name: value for name, value in entry.settings.items() if value is not None},
    }
