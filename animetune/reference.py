"""Every setting of a configuration as a page of Markdown, made from its JSON schema: the reference in docs/reference/.

    ## `optimizer`
    One of:
    ### `name: adafactor`
    - **`unet_lr`** (number above 0, needed)  Learning rate of the UNet.

A group has a section of its own where it is first met; a group that several settings share is described once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from animetune.config import json_schema

Schema = Mapping[str, Any]

_WORDS = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text", "null": "null"}
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}


def markdown(stage: str, model: Any) -> str:
    """The page of one stage's configuration, a pydantic model."""
    schema = json_schema(model)
    pages = _Pages(schema.get("$defs", {}))
    lines = [f"# `stage: {stage}`", "", _text(schema.get("description", "")), ""]
    lines += pages.settings(schema, above="", skipped=("stage", "include"))
    while pages.waiting:
        path, group = pages.waiting.pop(0)
        lines += ["", f"## `{path}`", "", *pages.group(group, path)]
    return "\n".join(lines).rstrip() + "\n"


class _Pages:
    """What is still to be described, and where each group was."""

    def __init__(self, definitions: Mapping[str, Schema]):
        self._definitions = definitions
        self._described: dict[str, str] = {}
        self.waiting: list[tuple[str, Schema]] = []

    def settings(self, schema: Schema, above: str, skipped: tuple[str, ...] = ()) -> Iterator[str]:
        """A line for each setting of an object; its groups are put on the waiting list."""
        needed = schema.get("required", ())
        for name, field in schema.get("properties", {}).items():
            if name in skipped:
                continue
            path = f"{above}.{name}" if above else name
            default = "needed" if name in needed else _default(field)
            facts = "; ".join(part for part in (self._kind(field, path), default) if part)
            yield f"- **`{name}`** ({facts})" + (f" — {_text(field['description'])}" if "description" in field else "")

    def group(self, schema: Schema, path: str) -> Iterator[str]:
        """The settings of a group, or of each of its kinds."""
        kinds = schema.get("oneOf")
        if kinds is None:
            yield _text(schema.get("description", ""))
            yield ""
            yield from self.settings(schema, path)
            return
        key = _discriminator(schema)
        yield "One of:"
        for kind in (self._definitions[_name(each)] for each in kinds):
            yield from ("", f"### `{_heading(kind, key)}`", "", _text(kind.get("description", "")), "")
            yield from self.settings(kind, path, skipped=(key,) if key else ())

    def _kind(self, field: Schema, path: str) -> str:
        """What values a setting takes, in words."""
        if "$ref" in field:
            return self._of(_name(field), path)
        if "oneOf" in field:
            return self._one_of(field, path)
        if "anyOf" in field:
            return " or ".join(dict.fromkeys(self._kind(each, path) for each in field["anyOf"]))
        if "const" in field:
            return f"`{_value(field['const'])}`"
        if "enum" in field:
            return ", ".join(f"`{_value(each)}`" for each in field["enum"])
        match field.get("type"):
            case "array":
                return self._list(field, path)
            case "object":
                inner = field.get("additionalProperties", True)
                return "map of " + (self._kind(inner, f"{path}.KEY") if isinstance(inner, dict) else "anything")
            case kind:
                bounds = [words.format(_value(field[key])) for key, words in _BOUNDS.items() if key in field]
                return " ".join([_WORDS.get(str(kind), "any value"), *bounds])

    def _list(self, field: Schema, path: str) -> str:
        if "prefixItems" in field:
            return "list of " + " and ".join(self._kind(each, f"{path}.N") for each in field["prefixItems"])
        items = field.get("items", {})
        return f"list of {self._kind(items, f'{path}.N')}" if items else "list"

    def _of(self, name: str, path: str) -> str:
        schema = self._definitions[name]
        if "properties" not in schema and "oneOf" not in schema:
            return self._kind(schema, path)
        if name not in self._described:
            self._described[name] = path
            self.waiting.append((path, schema))
        return f"a group, see `{self._described[name]}`"

    def _one_of(self, field: Schema, path: str) -> str:
        name = " ".join(sorted(map(_name, field["oneOf"])))
        if name not in self._described:
            self._described[name] = path
            self.waiting.append((path, field))
        key = _discriminator(field)
        return f"a group{f' by `{key}`' if key else ''}, see `{self._described[name]}`"


def _discriminator(union: Schema) -> str:
    """The setting that tells the kinds of a group from each other; empty where their other settings do."""
    return str(union.get("discriminator", {}).get("propertyName", ""))


def _heading(kind: Schema, key: str) -> str:
    """`name: adafactor`, or `root, path`: what has to be written for this kind."""
    if not key:
        return ", ".join(kind.get("required", ()))
    chosen = kind["properties"][key]
    return f"{key}: " + " | ".join(_value(each) for each in chosen.get("enum", [chosen.get("const")]))


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _default(field: Schema) -> str:
    if "default" not in field:
        return ""
    default = field["default"]
    if isinstance(default, dict) and default:
        return ""  # a group's own defaults stand in its section
    return f"default `{_value(default)}`"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _text(description: str) -> str:
    return " ".join(description.split())
