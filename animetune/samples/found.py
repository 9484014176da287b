"""Pictures of a folder whose requests are known, whoever drew them.

a folder of `animetune sample`      its index
one with an `images.jsonl`          file, prompt, seed, width, height, and negative if it is known
PNGs anywhere below                 A1111's text (`parameters`), else ComfyUI's graph (`graphs`)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from animetune.errors import DataError
from animetune.manifest import has_manifest
from animetune.records import Request, Size
from animetune.samples.folder import INDEX_NAME, read
from animetune.samples.graphs import CHUNKS, read_graph
from animetune.samples.parameters import read_parameters


class FoundPicture(NamedTuple):
    """A picture, and what it was drawn from."""

    file: Path
    request: Request
    knows_negative: bool
    """Whether the negative prompt is known, and not just taken to be empty."""


def find_pictures(folder: Path) -> Iterator[FoundPicture]:
    """All pictures of a folder whose requests are known, in the order of its index, else of their names.

    Raises DataError for an index that cannot be read or names files that are not there, for a file that is no PNG, and
    for a manifest of another stage.
    """
    if has_manifest(folder):
        for drawn in read(folder):
            yield FoundPicture(drawn.file, drawn.request, knows_negative=True)
    elif (folder / INDEX_NAME).is_file():
        yield from _indexed(folder)
    else:
        for file in sorted(folder.rglob("*.png")):
            request = _described(_text_chunks(file))
            if request is not None:
                yield FoundPicture(file, request, knows_negative=True)


def _indexed(folder: Path) -> Iterator[FoundPicture]:
    index = folder / INDEX_NAME
    for number, line in enumerate(index.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            file = folder / _string(values["file"])
            size = Size(int(values["width"]), int(values["height"]))
            negative = values.get("negative")
            request = Request(_string(values["prompt"]), int(values["seed"]), size, negative or "")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{index}:{number}: is no line of a picture ({error!r}); it needs file, prompt, seed, width and height"
            ) from error
        if not file.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{index}:{number}: file: {values['file']!r} leads out of the folder")
        if not file.is_file():
            raise DataError(f"{index}:{number}: {file}: there is no such file; restore it, or remove the line")
        yield FoundPicture(file, request, knows_negative=negative is not None)


def _text_chunks(file: Path) -> Mapping[str, Any]:
    """Of a PNG, those before its pixels."""
    try:
        with Image.open(file) as image:
            return {str(name): value for name, value in image.info.items()}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: cannot be opened as a PNG ({error}); remove it, or get it again") from error


def _described(chunks: Mapping[str, Any]) -> Request | None:
    """What a PNG's text says was asked for; None where it says nothing that can be read."""
    text = chunks.get("parameters")
    if isinstance(text, str):
        read = read_parameters(text)
        try:
            return Request(read.prompt, int(read.fields["Seed"]), Size.parse(read.fields["Size"]), read.negative)
        except (KeyError, ValueError):
            pass
    graphs = [(chunk, chunks[chunk]) for chunk in CHUNKS if isinstance(chunks.get(chunk), str)]
    found = (read_graph(chunk, text) for chunk, text in graphs)
    return next((request for request in found if request is not None), None)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
