"""Configuration: one pydantic model per YAML file, mirrored one to one, and every mistake named with its place.

    file + include: + --set  --yamltree-->  tree of values and places  --pydantic-->  model
                                                                           |--problems-->  ConfigError

All problems are reported at once, each as `file:line:col: key: what, did you mean '...'?`; a value that came from the
command line is placed at `--set key=value`, one from an included file in that file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic_core import to_jsonable_python

from animetune import problems, yamltree
from animetune.errors import ConfigError, SetupError
from animetune.yamltree import Node, Place, Problem, Refused, shown

MAX_BYTES = 1_000_000
"""Largest configuration file that is read, in bytes."""

RESOLVED_NAME = "config.yaml"
"""Resolved configuration beside what was made by it: a run's, and a table's as far as its rows depend on it."""

_T = TypeVar("_T")
_Model = TypeVar("_Model", bound=pydantic.BaseModel)

Identity = Annotated[_T, pydantic.Field(json_schema_extra={"identity": True})]
"""`seed: Identity[int]` marks a setting that a resumed run must share with its checkpoint; see `identity`."""


class StrictModel(pydantic.BaseModel):
    """Base of every configuration: frozen, unknown keys are errors, attribute docstrings are the help."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def load_config(path: str | os.PathLike[str], model: type[_Model], overrides: Sequence[str] = ()) -> _Model:
    """Read a YAML file into `model`.

    Precedence, from weak to strong: the model's defaults, the files of `include:` in order, the file, `overrides` in
    order (each `a.b=value` or, inside a list, `a.0.b=value`; the value is YAML). Maps merge, all else replaces.

    Raises ConfigError with every problem found.
    """
    tree, found = _read(Path(path))
    if tree is not None:
        for override in overrides:
            found += _override(tree, override)
        try:
            config = model.model_validate(tree.plain())
        except pydantic.ValidationError as error:
            found += problems.explain(error, tree, model)
        else:
            if not found:
                return config
    raise _config_error(found)


def stage_of(path: str | os.PathLike[str]) -> str:
    """The command that a file configures: its `stage:`. ConfigError when it names none."""
    tree, found = _read(Path(path))
    if tree is None:
        raise _config_error(found)
    stage = tree.value.get("stage")
    if stage is None:
        raise ConfigError(f"{tree.place}: stage: is missing; the first line names the command, as in `stage: train`")
    if not isinstance(stage.value, str):
        raise ConfigError(f"{stage.place}: stage: should be the name of a command, not {shown(stage.value)}")
    return stage.value


def place_of(path: str | os.PathLike[str], keys: Sequence[str], overrides: Sequence[str] = ()) -> str:
    """Where a setting of a file has its value: `file:line:column`, the `--set` that gave it, or, where it is a default,
    the line of what it would be in. `keys` lead to it from the outermost; the file is one that can be read."""
    tree, _ = _read(Path(path))
    if tree is None:
        return str(path)
    for override in overrides:
        _override(tree, override)
    node = tree
    for part in keys:
        inner = node.value.get(part) if isinstance(node.value, dict) else None
        if isinstance(node.value, list) and part.isdecimal() and int(part) < len(node.value):
            inner = node.value[int(part)]
        if inner is None:
            break
        node = inner
    return str(node.shown_at)


def digest(model: pydantic.BaseModel) -> str:
    """Hex SHA-256 of the whole configuration, defaults included, as canonical JSON."""
    text = json.dumps(as_json(model), sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def to_yaml(model: pydantic.BaseModel) -> str:
    """The whole configuration, defaults included, as YAML that `load_config` reads back to an equal model."""
    return yamltree.to_text(as_json(model))


def identity(model: pydantic.BaseModel) -> dict[str, Any]:
    """Dotted key -> JSON value of every setting marked `Identity`; a marked group marks all that is in it."""
    return dict(_marked(model, (), marked=False))


def json_schema(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    """JSON schema of the YAML file, for editors; it knows `include:` too."""
    schema = model.model_json_schema()
    schema["properties"]["include"] = {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        "description": "Files to start from, relative to this one. Maps merge, and this file wins.",
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def shipped_configs() -> Path:
    """The folder of configurations that come with animetune: inside the wheel, or that of the checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if folder.is_dir():
            return folder
    raise SetupError(f"{package}: the configs/ folder of animetune is missing; install animetune again")


def _config_error(found: list[Problem]) -> ConfigError:
    return ConfigError([str(problem) for problem in sorted(set(found))])


def as_json(value: Any) -> Any:
    """The value in JSON types. pydantic's own dump keeps the order of a set, which differs between processes."""
    if isinstance(value, pydantic.BaseModel):
        return {name: as_json(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(as_json(item) for item in value)
    return [as_json(item) for item in value] if isinstance(value, list | tuple) else to_jsonable_python(value)


def _marked(value: Any, key: tuple[str, ...], *, marked: bool) -> Iterator[tuple[str, Any]]:
    if isinstance(value, pydantic.BaseModel):
        for name, field in type(value).model_fields.items():
            extra = field.json_schema_extra
            is_marked = marked or (isinstance(extra, dict) and extra.get("identity") is True)
            yield from _marked(getattr(value, name), (*key, name), marked=is_marked)
    elif isinstance(value, list | tuple) and any(isinstance(item, pydantic.BaseModel) for item in value):
        for index, item in enumerate(value):
            yield from _marked(item, (*key, str(index)), marked=marked)
    elif marked:
        yield ".".join(key), as_json(value)


def _read(path: Path, above: tuple[Path, ...] = ()) -> tuple[Node | None, list[Problem]]:
    """The tree of a file on top of its includes, and the problems; None when any of the files cannot be read."""
    try:
        tree, found = _parse_file(path)
    except Refused as refused:
        return None, [refused.problem]
    include = tree.value.pop("include", None)
    listed = [] if include is None else include.value if isinstance(include.value, list) else [include]
    base: Node | None = Node({}, tree.place, tree.key_place)
    for item in listed:
        included, more = _read_included(item, path, (*above, path))
        found += more
        base = base.merged(included) if base and included else None
    return base and base.merged(tree), found


def _read_included(item: Node, path: Path, above: tuple[Path, ...]) -> tuple[Node | None, list[Problem]]:
    if not isinstance(item.value, str):
        return None, [Problem(item.place, "include", f"should be a path or a list of paths, not {shown(item.value)}")]
    target = Path(os.path.normpath(path.parent / item.value))
    if target.resolve() in {file.resolve() for file in above}:
        circle = " -> ".join(str(file) for file in (*above, target))
        return None, [Problem(item.place, "include", f"goes round in a circle: {circle}")]
    if not target.is_file():
        return None, [Problem(item.place, "include", f"{target}: there is no such file{problems.similar_file(target)}")]
    return _read(target, above)


def _parse_file(path: Path) -> tuple[Node, list[Problem]]:
    """Parse one file, a map of settings; Refused otherwise."""
    file = Place(str(path))
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise Refused(file, f"there is no such file{problems.similar_file(path)}") from error
    except OSError as error:
        raise Refused(file, f"cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise Refused(file, f"has {len(raw):,} bytes; a configuration has at most {MAX_BYTES:,}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = raw.count(b"\n", 0, error.start) + 1, error.start - raw.rfind(b"\n", 0, error.start)
        raise Refused(Place(str(path), line, column), "is not UTF-8 text; save the file as UTF-8") from error
    root, found = yamltree.parse(text, str(path))
    if root is None or root.value is None:
        raise Refused(file, "is empty; the first line names the command, as in `stage: train`")
    if not isinstance(root.value, dict):
        raise Refused(root.place, f"should hold settings as `key: value`, not {shown(root.value)}")
    root.place = root.key_place = Place(str(path), 1, 1)
    return root, found


def _override(tree: Node, override: str) -> list[Problem]:
    """Apply `a.b=value` to the tree in place. Whether there is such a setting is for the model to say."""
    place = Place(f"--set {yamltree.shortened(override)}")
    dotted, equals, text = override.partition("=")
    keys = [key.strip() for key in dotted.split(".")]
    if not equals or not all(keys):
        return [Problem(place, "", "should be key=value, as in `--set data.workers=4`")]
    try:
        value, found = yamltree.parse(text, place.origin, lines=False)
        node = tree
        for depth, key in enumerate(keys):
            index = _index(node, key, ".".join(keys[:depth]), place)
            if depth == len(keys) - 1:
                node.value[index] = value or Node(None, place, place)
            elif isinstance(node.value, dict) and (key not in node.value or node.value[key].value is None):
                node.value[key] = Node({}, place, place)
            node = node.value[index]
    except Refused as refused:
        return [refused.problem]
    return found


def _index(node: Node, key: str, above: str, place: Place) -> str | int:
    """`key` as the index into a map or list; Refused where there can be none."""
    if isinstance(node.value, dict):
        return key
    if not isinstance(node.value, list):
        raise Refused(place, f"is {shown(node.value)} and holds no '{key}'", key=above)
    if not (key.isdecimal() and int(key) < len(node.value)):
        raise Refused(place, f"is a list of {len(node.value)} (counted from 0) and holds no '{key}'", key=above)
    return int(key)
