"""The forms that prompts come in: text with kohya's flags, JSONL, CSV, YAML, and pictures drawn before."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from animetune import yamltree
from animetune.errors import ConfigError
from animetune.samples.parameters import PROGRAM, VERSION, read_parameters, settings_of

MAX_BYTES = 100_000_000
SETTING = "prompts_file"
FLAGS = {
    "n": "negative", "w": "width", "h": "height", "d": "seed", "s": "steps", "l": "cfg_scale", "ss": "sampler",
    "i": "init", "t": "strength",
}  # fmt: skip
"""kohya's flags in files of prompts (sd-scripts) -> our names."""
_FLAG = re.compile(r"\s--([A-Za-z]+)(?=\s|$)")
_NOT_OURS = ("file", "request", "model", "model_hash", "aesthetic_score", "rating")
"""Keys of images.jsonl that say nothing of how a picture is drawn, or not by what."""


class Record(NamedTuple):
    """What a file says of one prompt."""

    place: str
    values: Mapping[str, Any]
    is_drawn: bool = False
    """Whether it is of a picture: the prompt is whole, and an empty negative prompt is one."""
    is_ours: bool = False
    """Whether animetune drew the picture, and wrote all settings down."""


Reader = Callable[[Path, list[str]], Iterator[Record]]
"""Yields the records of a file, and adds to the list of mistakes."""


def split_flags(line: str) -> dict[str, str]:
    """The record of a line of kohya's: a prompt, and behind it flags with values. Raises ValueError."""
    first, *rest = _FLAG.split(line)
    record = {"prompt": first.strip()}
    for flag, value in zip(rest[::2], rest[1::2], strict=True):
        if flag not in FLAGS:
            known = ", ".join(f"--{each}" for each in FLAGS)
            raise ValueError(f"--{flag}: is no flag of a prompt; there are {known}")
        if FLAGS[flag] in record:
            raise ValueError(f"--{flag}: is there twice")
        record[FLAGS[flag]] = value.strip()
    return record


def _text(path: Path, mistakes: list[str]) -> Iterator[Record]:
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if line.strip() and not line.startswith("#"):
            try:
                yield Record(f"{path}:{number}", split_flags(line.rstrip()))
            except ValueError as error:
                mistakes.append(f"{path}:{number}: {error}")


def _jsonl(path: Path, mistakes: list[str]) -> Iterator[Record]:
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            mistakes.append(f"{path}:{number}: is not JSON ({error})")
            continue
        if isinstance(record, str):
            record = {"prompt": record}
        if not isinstance(record, dict):
            mistakes.append(f'{path}:{number}: should be {{"prompt": ..., ...}}, or a text')
            continue
        yield Record(f"{path}:{number}", record)


def _csv(path: Path, mistakes: list[str]) -> Iterator[Record]:
    reader = csv.reader(io.StringIO(_read(path), newline=""), strict=True)
    header: list[str] | None = None
    try:
        start = 1
        for row in reader:
            place, start = f"{path}:{start}", reader.line_num + 1
            if not any(cell.strip() for cell in row) or row[0].startswith("#"):
                continue
            if header is None:
                header = [cell.strip() for cell in row]
                if "prompt" not in header:
                    mistakes.append(f"{place}: the first line names the columns, and none is `prompt`: {header}")
                    return
            elif len(row) != len(header):
                mistakes.append(f"{place}: has {len(row)} cells, the first line {len(header)}; quote cells with commas")
            else:
                yield Record(place, dict(zip(header, row, strict=True)))
    except csv.Error as error:
        mistakes.append(f"{path}:{reader.line_num}: {error}")


def _yaml(path: Path, mistakes: list[str]) -> Iterator[Record]:
    root, found = yamltree.parse(_read(path), str(path))
    if found:
        mistakes += [str(problem) for problem in found]
        return
    if root is None or not isinstance(root.value, list):
        mistakes.append(f"{path}: should be a list of prompts, as text or as {{prompt: ..., ...}}")
        return
    for node in root.value:
        plain = node.plain()
        if not isinstance(plain, str | dict):
            mistakes.append(f"{node.place}: should be a text or {{prompt: ..., ...}}, not {yamltree.shown(plain)}")
        else:
            yield Record(str(node.place), {"prompt": plain} if isinstance(plain, str) else plain)


def drawn(path: Path, mistakes: list[str]) -> Iterator[Record]:
    """The pictures of an images.jsonl."""
    for place, values, *_ in _jsonl(path, mistakes):
        yield Record(place, _drawing_of(values), is_drawn=True, is_ours=True)


def _png(path: Path, mistakes: list[str]) -> Iterator[Record]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            text = getattr(image, "text", {}).get("parameters")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        mistakes.append(f"{path}: is no readable PNG ({error})")
        return
    if text is None:
        mistakes.append(f"{path}: carries no text `parameters`, as A1111 writes it; a copy may have lost it")
        return
    read = read_parameters(text)
    found: dict[str, Any] = settings_of(read)
    if "size" in found:
        width, _, height = found.pop("size").partition("x")
        found |= {"width": width, "height": height}
    values = _drawing_of({"prompt": read.prompt, "negative": read.negative, **found})
    yield Record(str(path), values, is_drawn=True, is_ours=read.fields.get(VERSION) == PROGRAM)


def _drawing_of(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in _NOT_OURS}


def _read(path: Path) -> str:
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{SETTING}: {path}: has more than {MAX_BYTES:,} bytes")
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = path.read_bytes().count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 text; save the file as UTF-8") from error


READERS: dict[str, Reader] = {
    ".txt": _text,
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".png": _png,
}
