"""The recipes that come with animetune: listing them, and copying one to be edited."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path

from animetune import fsio, yamltree
from animetune.config import load_config, shipped_configs
from animetune.errors import ConfigError, SetupError
from animetune.recipe.config import FILE_NAME, RecipeConfig
from animetune.recipe.text import wrapped
from animetune.yamltree import Node

INCLUDED = "included"
"""Folder of a copy for files that its own include and that lie elsewhere."""


def shipped() -> dict[str, Path]:
    """Name -> folder of every recipe, by name."""
    root = shipped_configs()
    folders = [path.parent for path in [*root.glob(f"*/{FILE_NAME}"), *root.glob(f"recipes/*/{FILE_NAME}")]]
    return {folder.name: folder for folder in sorted(folders, key=lambda folder: folder.name)}


def list_recipes() -> str:
    """A paragraph for each: name, title, what it is, from whom, on what hardware, its steps."""
    lines = []
    for name, folder in shipped().items():
        cfg = load_config(folder / FILE_NAME, RecipeConfig)
        lines += [f"{name}: {cfg.title}", *wrapped(cfg.about, "    ")]
        steps = ", ".join(Path(step).stem for step in cfg.steps)
        for label, text in (("source", cfg.source), ("hardware", cfg.hardware), ("steps", steps)):
            first, *more = wrapped(text, " " * 14)
            lines += [f"    {label:10}{first.strip()}", *more]
        lines.append("")
    return "\n".join([*lines, "animetune init NAME --out FOLDER copies the files of one, to be edited."])


def copy_recipe(name: str, out: Path) -> list[Path]:
    """Copy a recipe into the folder `out`, which must not exist, or be empty; returns the new files.

    Files that it includes and that lie outside of its folder go to `out/included`, and each `include:` is made to name
    its file in the new place; all else, comments too, stays as it is.
    Raises ConfigError for a name that no recipe has, with a suggestion, SetupError for a folder that holds something.
    """
    folder = _folder_of(name)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SetupError(f"--out {out}: is not empty; nothing was copied. Choose another folder, as {out / name}")
    targets = _targets(folder)
    with fsio.publish_dir(out) as temporary:
        for source, target in targets.items():
            (temporary / target).parent.mkdir(parents=True, exist_ok=True)
            (temporary / target).write_bytes(_moved(source, targets))
    return [out / target for target in targets.values()]


def _folder_of(name: str) -> Path:
    found = shipped()
    if name not in found:
        close = difflib.get_close_matches(name.lower(), found, n=1)
        guess = f", did you mean '{close[0]}'?" if close else f"; there are {', '.join(found)}"
        raise ConfigError(f"{name}: no recipe is named so{guess}")
    return found[name]


def _targets(folder: Path) -> dict[Path, Path]:
    """File to copy -> its place in the copy: all of a recipe's folder, and what these include from elsewhere."""
    own = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    targets = {path: path.relative_to(folder) for path in own}
    left = [path for path in own if path.suffix == ".yaml"]
    root = shipped_configs()
    while left:
        for included in _includes(left.pop(0)):
            if included not in targets:
                targets[included] = Path(INCLUDED, os.path.relpath(included, root))
                left.append(included)
    return targets


def _includes(file: Path) -> list[Path]:
    return [Path(os.path.normpath(file.parent / node.value)) for node in _include_nodes(file)]


def _include_nodes(file: Path) -> list[Node]:
    root, _ = yamltree.parse(file.read_text(encoding="utf-8-sig"), str(file))
    include = root.value.get("include") if root is not None else None
    if include is None:
        return []
    return include.value if isinstance(include.value, list) else [include]


def _moved(file: Path, targets: Mapping[Path, Path]) -> bytes:
    """The bytes of a file, its includes named as they are to be found from the new place."""
    if file.suffix != ".yaml":
        return file.read_bytes()
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    for node in _include_nodes(file):
        included = Path(os.path.normpath(file.parent / node.value))
        new = Path(os.path.relpath(targets[included], targets[file].parent)).as_posix()
        row, column = node.place.line - 1, node.place.column - 1
        lines[row] = lines[row][:column] + lines[row][column:].replace(node.value, new, 1)
    return "".join(lines).encode()
