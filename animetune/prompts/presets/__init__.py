"""Published ways of writing prompts, as settings: `prompts.preset: <name>` means `<name>.yaml` beside this file.

A preset says how a prompt reads: order, words, prefixes, what is dropped. The first lines of each file tell what its
source states, what it leaves open, and what is ours.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from animetune import yamltree

PresetName = Literal[
    "dashanime-1", "dashanime-2",
    "aidxl-0.1", "aidxl", "aidxl-prompt",
    "animagine-2.0", "animagine-3.1", "animagine-4.0",
    "illustrious", "illustrious-1.0", "illustrious-1.1", "illustrious-2.0",
    "novelai", "noobai", "hakubooru",
]  # fmt: skip
PRESETS: tuple[str, ...] = get_args(PresetName)


def on_preset(given: Any) -> Any:
    """Settings on top of the preset that they name, without its name.

    As with `include:`, maps merge and all else replaces. What names no preset, or one that there is not, comes back as
    it is: to say so is for the model.
    """
    name = given.get("preset") if isinstance(given, Mapping) else None
    if name not in PRESETS:
        return given
    return _merged(settings_of(name), {key: value for key, value in given.items() if key != "preset"})


@functools.cache
def settings_of(name: str) -> dict[str, Any]:
    """The settings of a preset; those of the one that it builds on are among them. Not to be changed."""
    path = Path(__file__).with_name(f"{name}.yaml")
    root, found = yamltree.parse(path.read_text(encoding="utf-8"), str(path))
    if root is None or found:
        raise ValueError(f"{path}: is empty, or gives a key twice; install animetune again")
    settings: dict[str, Any] = on_preset(root.plain())
    return settings


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {**under, **over}
    for key in under.keys() & over.keys():
        if isinstance(under[key], Mapping) and isinstance(over[key], Mapping):
            both[key] = _merged(under[key], over[key])
    return both
