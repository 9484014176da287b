"""Prompts from files: text with kohya's flags, records of JSONL, CSV and YAML, and pictures drawn before.

    .txt                        a prompt a line; `--n worst quality --w 832 --h 1216 --d 7 --s 28 --l 6.5` behind it
    .jsonl .csv .yaml           `prompt`, `negative`, `seed`, `width`, `height`, `steps`, `sampler` ... of each
    .png, images.jsonl, folder  what was drawn before, by us or (PNG) by whoever writes A1111's parameters

Every mistake is named as `file:line: key: what`, all of a file at once. Empty lines, and those that begin with #, are
left out. Paths of pictures to start from are relative to the file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from animetune import problems, samples
from animetune.errors import ConfigError
from animetune.sample.config import PromptConfig
from animetune.sample.drawing import in_words, is_setting
from animetune.sample.prompt_readers import READERS, SETTING, Reader, Record, drawn
from animetune.samples.parameters import sampler_of

_OWN = tuple(PromptConfig.model_fields)


@dataclass(frozen=True)
class Wanted:
    """A prompt of a file or of the configuration, with what it sets itself."""

    own: PromptConfig
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of drawing, by their flat names (`sample.drawing`), not yet checked."""
    place: str = ""
    """Where it stands, for errors."""
    is_drawn: bool = False
    """Whether it was drawn before: the prompt is whole."""
    is_ours: bool = False
    """Whether we drew it: the settings are whole, too."""
    init_digest: str = ""
    """What the digest of the picture to start from begins with, where that is known."""


def read_prompts(path: Path) -> list[Wanted]:
    """The prompts of a file, in order. ConfigError with every mistake, or when the file cannot be read."""
    reader: Reader
    if path.is_dir() or path.name == samples.INDEX_NAME:
        path = path / samples.INDEX_NAME if path.is_dir() else path
        reader = drawn
    elif path.suffix.lower() in READERS:
        reader = READERS[path.suffix.lower()]
    else:
        raise ConfigError(f"{SETTING}: {path}: should be one of {', '.join(READERS)}, or a folder of drawn pictures")
    if not path.is_file():
        raise ConfigError(f"{SETTING}: {path}: does not exist{problems.similar_file(path)}")
    found: list[Wanted] = []
    mistakes: list[str] = []
    for record in reader(path, mistakes):
        try:
            found.append(wanted(record, path.parent))
        except ValueError as error:
            mistakes += [f"{record.place}: {line}" for line in str(error).split("\n")]
    if mistakes:
        raise ConfigError(mistakes)
    if not found:
        raise ConfigError(f"{SETTING}: {path}: holds no prompt")
    return found


def wanted(record: Record, folder: Path) -> Wanted:
    """What a record asks for; empty values (null, an empty cell) set nothing. Raises ValueError, a line a mistake."""
    values = record.values
    given = {key: value for key, value in values.items() if value is not None and value != ""}
    own = {key: given.pop(key) for key in _OWN if key in given}
    if "prompt" not in values:
        raise ValueError(f"prompt: is missing; there are {', '.join(values) or 'no keys'}")
    own.setdefault("prompt", values["prompt"])
    if record.is_drawn:
        own.setdefault("negative", "")
        if "strength" in own and "init" not in own:
            raise ValueError(
                "strength: was drawn from a picture that is not in the file; write its prompt into a file of prompts, "
                "with that picture as init"
            )
    if unknown := [key for key in given if not is_setting(key)]:
        near = [difflib.get_close_matches(key, _OWN, 1, 0.6) for key in unknown]
        hints = [f" - did you mean {names[0]!r}?" if names else "" for names in near]
        raise ValueError(
            "\n".join(f"{key}: is no setting of a prompt{hint}" for key, hint in zip(unknown, hints, strict=True))
        )
    for key in ("prompt", "negative"):
        if (text := own.get(key)) is not None and (not isinstance(text, str) or not is_writable(text)):
            raise ValueError(f"{key}: {text!r} is no text that can be written down")
    digest = ""
    if record.is_drawn and (named := re.fullmatch(r"(.+)@([0-9a-f]{10})", str(own.get("init", "")))):
        own["init"], digest = named.groups()
    try:
        config = PromptConfig.model_validate(own)
    except pydantic.ValidationError as error:
        raise ValueError("\n".join(in_words(error))) from error
    if config.init is not None:
        init = folder / config.init
        if not init.is_file():
            raise ValueError(f"init: {init}: there is no such picture; paths are relative to the file of prompts")
        config = config.model_copy(update={"init": init})
    settings = {**given, **_own_settings(config)}
    return Wanted(config, settings, record.place, record.is_drawn, record.is_ours, digest)


def of_config(prompt: str | PromptConfig, place: str) -> Wanted:
    """What a prompt of the configuration asks for."""
    own = PromptConfig(prompt=prompt) if isinstance(prompt, str) else prompt
    return Wanted(own, _own_settings(own), place)


def is_writable(text: str) -> bool:
    """Whether a prompt can be written into files: no half surrogates and no NUL."""
    return not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text)


def _own_settings(own: PromptConfig) -> dict[str, Any]:
    found: dict[str, Any] = {"steps": own.steps, "cfg_scale": own.cfg_scale}
    if own.sampler is not None:
        found["sampler"], found["sigmas"] = sampler_of(own.sampler)
    return {name: value for name, value in found.items() if value is not None}
