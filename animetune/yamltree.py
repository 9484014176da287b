"""Strict YAML, read into a tree in which every value knows its place.

The grammar is YAML's; the meaning of scalars is the core schema of YAML 1.2, so `1e-5` is a number while `no`, `16:9`,
`12:30:00` and `2024-01-31` are text and `010` is ten. Whatever could change meaning unseen is refused: a key given
twice, anchors, aliases, merge keys, tags, a second document, infinity and NaN. Keys are always text.

PyYAML only splits the text into events here; its resolvers and constructors (YAML 1.1) are not used.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml


class Place(NamedTuple):
    """`file:line:column`, counted from 1; with line 0 just `origin`, such as the text of a `--set`."""

    origin: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.origin}:{self.line}:{self.column}" if self.line else self.origin


class Problem(NamedTuple):
    """One thing that is wrong; as text `place: key: what`. Problems sort by place."""

    place: Place
    key: str
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.place), self.key, self.what) if part)


class Refused(Exception):
    """Text that is not read any further, and the problem that is why."""

    def __init__(self, place: Place, what: str, *, key: str = ""):
        self.problem = Problem(place, key, what)
        super().__init__(str(self.problem))


@dataclasses.dataclass(slots=True)
class Node:
    """A value, its place and that of its key; maps are dicts of nodes, lists are lists of nodes."""

    value: Any
    place: Place
    key_place: Place

    @property
    def shown_at(self) -> Place:
        """Where a reader looks for it: the key of a map or list, the value of anything else."""
        return self.key_place if isinstance(self.value, dict | list) else self.place

    def plain(self) -> Any:
        """The value as Python's own dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        return [child.plain() for child in self.value] if isinstance(self.value, list) else self.value

    def merged(self, over: Node) -> Node:
        """`over` on top of this: maps merge key by key, everything else is replaced."""
        if not (isinstance(self.value, dict) and isinstance(over.value, dict)):
            return over
        children = dict(self.value)
        for key, child in over.value.items():
            children[key] = children[key].merged(child) if key in children else child
        return Node(children, over.place, over.key_place)


def parse(text: str, origin: str, *, lines: bool = True) -> tuple[Node | None, list[Problem]]:
    """The tree of a YAML text (None if it holds nothing), and the keys that are given twice.

    `lines=False` places everything at `origin` itself. Raises Refused for anything that cannot be read.
    """
    builder = _Builder(text, origin, lines)
    return builder.root, builder.problems


def to_text(value: Any) -> str:
    """YAML that `parse` reads back to an equal value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def shown(value: Any) -> str:
    """A value as an error message quotes it: one short line."""
    if isinstance(value, dict | list):
        return "a map" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return shortened(repr(value))


def shortened(text: str, limit: int = 60) -> str:
    """The text, cut to `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def _scalar(text: str) -> Any:
    """The value of an unquoted scalar (YAML 1.2, core schema); ValueError for a number that cannot be held."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > 40:
            raise ValueError("is too long for a number; text goes in quotes")
        return int(text)
    if _OTHER_BASE.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text):
        raise ValueError("is not a finite number; for no limit write null, or a large number where one is needed")
    return text


class _Builder:
    def __init__(self, text: str, origin: str, lines: bool):
        self.origin, self.lines = origin, lines
        self.problems: list[Problem] = []
        try:
            self.events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
            self.root = self.document()
        except yaml.MarkedYAMLError as error:
            what = ", ".join(part for part in (error.context, error.problem) if part)
            raise Refused(self.place(error.problem_mark or error.context_mark), f"is not YAML: {what}") from error
        except yaml.reader.ReaderError as error:
            what = f"is not YAML: the character U+{error.character:04X} is not allowed"
            before = text[: error.position]
            place = Place(origin, before.count("\n") + 1, len(before) - before.rfind("\n")) if lines else Place(origin)
            raise Refused(place, what) from error
        except RecursionError as error:
            raise Refused(Place(origin), "is nested too deeply") from error

    def place(self, mark: Any) -> Place:
        return Place(self.origin, mark.line + 1, mark.column + 1) if self.lines and mark else Place(self.origin)

    def document(self) -> Node | None:
        _, first = next(self.events), next(self.events)
        if isinstance(first, yaml.StreamEndEvent):
            return None
        root = self.node(next(self.events))
        _, after = next(self.events), next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise Refused(self.place(after.start_mark), "a second document begins here; only one is allowed")
        return root

    def node(self, event: Any, key_place: Place | None = None) -> Node:
        place = self.place(event.start_mark)
        self.refuse_extras(event, place)
        node = Node(None, place, key_place or place)
        if isinstance(event, yaml.MappingStartEvent):
            node.value = self.map()
        elif isinstance(event, yaml.SequenceStartEvent):
            node.value = []
            while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
                node.value.append(self.node(item))
        elif event.style is not None:  # quoted or a block
            node.value = event.value
        else:
            try:
                node.value = _scalar(event.value)
            except ValueError as error:
                raise Refused(place, f"{shortened(event.value)} {error}") from error
        return node

    def map(self) -> dict[str, Node]:
        children: dict[str, Node] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            place = self.place(event.start_mark)
            self.refuse_extras(event, place)
            if not isinstance(event, yaml.ScalarEvent) or (not event.value and event.style is None):
                raise Refused(place, "a key should be text")
            key = event.value  # as it was typed, whatever it looks like: `no:` and `1:` are the keys "no" and "1"
            if key == "<<" and event.style is None:
                raise Refused(place, "<<: merge keys are not allowed; use `include:`")
            child = self.node(next(self.events), place)
            if key in children:
                first = f", first in line {children[key].key_place.line}" if self.lines else ""
                self.problems.append(Problem(place, key, f"is given twice{first}; keep one"))
            children[key] = child
        return children

    def refuse_extras(self, event: Any, place: Place) -> None:
        if event.anchor is not None:
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            what = "anchors and aliases are not allowed; write the value again, or use `include:`"
            raise Refused(place, f"{sign}{event.anchor}: {what}")
        if getattr(event, "tag", None) not in (None, "!"):
            raise Refused(place, f"{event.tag}: tags are not allowed")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    try:
        is_text = isinstance(_scalar(text), str)
    except ValueError:
        is_text = False
    # PyYAML itself quotes what YAML 1.1 reads as something else; `1e-5` it does not.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_text else "'")


_Dumper.add_representer(str, _represent_text)
