"""Prompts from files: text with kohya's flags, records of JSONL, CSV and YAML, and pictures drawn before.

    .txt                        a prompt a line; `--n worst quality --w 832 --h 1216 --d 7 --s 28 --l 6.5` behind it
    .jsonl .csv .yaml           `prompt`, `negative`, `seed`, `width`, `height`, `steps`, `sampler` ... of each
    .png, images.jsonl, folder  what was drawn before, by us or (PNG) by whoever writes A1111's parameters

Every mistake is named as `file:line: key: what`, all of a file at once. Empty lines, and those that begin with #, are
left out. Paths of pictures to start from are relative to the file.
"""

from __future__ import annotations

import csv
import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pydantic

from animetune import problems, samples, yamltree
from animetune.errors import ConfigError
from animetune.sample.config import PromptConfig
from animetune.sample.drawing import in_words, is_setting
from animetune.samples.parameters import read_parameters, sampler_of, settings_of

MAX_BYTES = 100_000_000
SETTING = "prompts_file"
FLAGS = {
    "n": "negative", "w": "width", "h": "height", "d": "seed", "s": "steps", "l": "cfg_scale", "ss": "sampler",
    "i": "init", "t": "strength",
}  # fmt: skip
"""kohya's flags in files of prompts (sd-scripts) -> our names."""
_FLAG = re.compile(r"\s--([A-Za-z]+)(?=\s|$)")
_OWN = tuple(PromptConfig.model_fields)
_NOT_OURS = ("file", "request", "model", "model_hash", "aesthetic_score", "rating")
"""Keys of images.jsonl that say nothing of how a picture is drawn, or not by what."""

Record = tuple[str, Mapping[str, Any]]
"""Where it stands, and what it says."""
Reader = Callable[[Path, list[str]], Iterator[Record]]
"""Yields the records of a file, and adds to the list of mistakes."""


@dataclass(frozen=True)
class Wanted:
    """A prompt of a file or of the configuration, with what it sets itself."""

    own: PromptConfig
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of drawing, by their flat names (`sample.drawing`), not yet checked."""
    place: str = ""
    """Where it stands, for errors."""
    is_drawn: bool = False
    """Whether it was drawn before: the prompt is whole, and so may be the settings."""


def read_prompts(path: Path) -> list[Wanted]:
    """The prompts of a file, in order. ConfigError with every mistake, or when the file cannot be read."""
    reader: Reader
    if path.is_dir() or path.name == samples.INDEX_NAME:
        path = path / samples.INDEX_NAME if path.is_dir() else path
        reader = _drawn
    elif path.suffix.lower() in READERS:
        reader = READERS[path.suffix.lower()]
    else:
        raise ConfigError(f"{SETTING}: {path}: should be one of {', '.join(READERS)}, or a folder of drawn pictures")
    if not path.is_file():
        raise ConfigError(f"{SETTING}: {path}: does not exist{problems.similar_file(path)}")
    found: list[Wanted] = []
    mistakes: list[str] = []
    for place, record in reader(path, mistakes):
        try:
            found.append(replace(wanted(record, place, path.parent), is_drawn=reader in (_drawn, _png)))
        except ValueError as error:
            mistakes += [f"{place}: {line}" for line in str(error).split("\n")]
    if mistakes:
        raise ConfigError(mistakes)
    if not found:
        raise ConfigError(f"{SETTING}: {path}: holds no prompt")
    return found


def wanted(record: Mapping[str, Any], place: str, folder: Path) -> Wanted:
    """What a record asks for; empty values (null, an empty cell) set nothing. Raises ValueError, a line a mistake."""
    given = {key: value for key, value in record.items() if value is not None and value != ""}
    own = {key: given.pop(key) for key in _OWN if key in given}
    own.setdefault("prompt", record.get("prompt", ""))
    if "prompt" not in record:
        raise ValueError(f"prompt: is missing; there are {', '.join(record) or 'no keys'}")
    if unknown := [key for key in given if not is_setting(key)]:
        near = [difflib.get_close_matches(key, _OWN, 1, 0.6) for key in unknown]
        hints = [f" - did you mean {names[0]!r}?" if names else "" for names in near]
        raise ValueError(
            "\n".join(f"{key}: is no setting of a prompt{hint}" for key, hint in zip(unknown, hints, strict=True))
        )
    for key in ("prompt", "negative"):
        if (text := own.get(key)) is not None and (not isinstance(text, str) or not is_writable(text)):
            raise ValueError(f"{key}: {text!r} is no text that can be written down")
    try:
        config = PromptConfig.model_validate(own)
    except pydantic.ValidationError as error:
        raise ValueError("\n".join(in_words(error))) from error
    if config.init is not None:
        init = folder / re.sub(r"@[0-9a-f]{10}$", "", str(config.init))
        if not init.is_file():
            raise ValueError(f"init: {init}: there is no such picture; paths are relative to the file of prompts")
        config = config.model_copy(update={"init": init})
    return Wanted(config, {**given, **_own_settings(config)}, place)


def of_config(prompt: str | PromptConfig, place: str) -> Wanted:
    """What a prompt of the configuration asks for."""
    own = PromptConfig(prompt=prompt) if isinstance(prompt, str) else prompt
    return Wanted(own, _own_settings(own), place)


def is_writable(text: str) -> bool:
    """Whether a prompt can be written into files: no half surrogates and no NUL."""
    return not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text)


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


def _own_settings(own: PromptConfig) -> dict[str, Any]:
    found: dict[str, Any] = {"steps": own.steps, "cfg_scale": own.cfg_scale}
    if own.sampler is not None:
        found["sampler"], found["sigmas"] = sampler_of(own.sampler)
    return {name: value for name, value in found.items() if value is not None}


# ---- readers


def _text(path: Path, mistakes: list[str]) -> Iterator[Record]:
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if line.strip() and not line.startswith("#"):
            try:
                yield f"{path}:{number}", split_flags(line.rstrip())
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
        yield f"{path}:{number}", record


def _csv(path: Path, mistakes: list[str]) -> Iterator[Record]:
    reader = csv.reader(_read(path).splitlines(keepends=True), strict=True)
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
                yield place, dict(zip(header, row, strict=True))
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
            yield str(node.place), {"prompt": plain} if isinstance(plain, str) else plain


def _drawn(path: Path, mistakes: list[str]) -> Iterator[Record]:
    for place, record in _jsonl(path, mistakes):
        yield place, {key: value for key, value in record.items() if key not in _NOT_OURS}


def _png(path: Path, mistakes: list[str]) -> Iterator[Record]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            text = getattr(image, "text", {}).get("parameters")
    except (OSError, SyntaxError, ValueError) as error:
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
    yield (
        str(path),
        {"prompt": read.prompt, "negative": read.negative, **{k: v for k, v in found.items() if k not in _NOT_OURS}},
    )


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
