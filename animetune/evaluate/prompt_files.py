"""Files of prompts: those that come with the probes, and the user's, each mistake named by file and line."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import pydantic

from animetune import fsio
from animetune.config import StrictModel
from animetune.errors import ConfigError
from animetune.evaluate.config import ProbeConfig
from animetune.text_files import read_text
from animetune.tokens import CHUNK_BODY, count_tokens

Text = Annotated[str, pydantic.StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
SHORTEST = {"long": CHUNK_BODY, "longer": 2 * CHUNK_BODY}
"""Tokens that such a prompt has to exceed."""


class Listed(StrictModel):
    """What a line of a file of prompts asks."""

    line_field: ClassVar[str | None] = None
    """The field that a line of plain text gives; None where more than a text is needed."""

    @property
    def key(self) -> str:
        """Names it in the keys of its pictures, whatever else is asked."""
        raise NotImplementedError


class Prompt(Listed):
    """A prompt, without prefix and words."""

    line_field: ClassVar[str | None] = "prompt"

    prompt: Text
    """What is asked."""
    kind: str = "other"
    """What it is about, for shares by kind."""
    source: str = ""
    """Who published it; empty for ours."""

    @property
    def key(self) -> str:
        """See `Listed`."""
        return fsio.short_digest(self.prompt)


class Shade(Prompt):
    """A prompt for a black or a white picture."""

    line_field: ClassVar[str | None] = None

    asked: Literal["dark", "bright"]
    """What it should become."""


class Content(Listed):
    """One content as prompts of several lengths."""

    short: Text
    """One sentence."""
    long: Text
    """The same in more than 75 tokens."""
    longer: Text | None = None
    """The same in more than 150 tokens."""
    tags: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    """What all of them name, as the tagger's list calls it."""
    source: str = ""
    """Who published it; empty for ours."""

    @pydantic.model_validator(mode="after")
    def _is_long(self) -> Content:
        for name, tokens in SHORTEST.items():
            text = getattr(self, name)
            if text is not None and count_tokens(text) <= tokens:
                raise ValueError(f"{name}: has {count_tokens(text)} tokens; it should have more than {tokens}")
        if count_tokens(self.short) > CHUNK_BODY:
            raise ValueError(f"short: has {count_tokens(self.short)} tokens; it should have at most {CHUNK_BODY}")
        return self

    @property
    def key(self) -> str:
        """See `Listed`."""
        return fsio.short_digest(self.short)


Item = TypeVar("Item", bound=Listed)
Each = TypeVar("Each")


def read_prompts(probe: ProbeConfig, item: type[Item], shipped: str | None) -> list[Item]:
    """The prompts of a probe: the file `shipped` of this package, if any, and the user's; `limit` takes some, evenly.

    Raises ConfigError with every mistake in the user's file.
    """
    items: list[Item] = []
    if shipped is not None and not probe.replace:
        items += parse(_shipped(shipped), item, shipped)
    if probe.prompts is not None:
        known = {each.key for each in items}
        items += parse(read_text(probe.prompts, "prompts"), item, str(probe.prompts), known=known)
    return evenly(items, probe.limit)


def evenly(items: Sequence[Each], limit: int | None) -> list[Each]:
    """`limit` of them from the whole list; all for None, and where there are no more."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[place * len(items) // limit] for place in range(limit)]


def parse(text: str, item: type[Item], name: str, *, known: set[str] | None = None) -> list[Item]:
    """The items of a file of JSON lines (a name ending in .jsonl), or of text with a prompt a line.

    Empty lines are left out, and in text those that begin with `#`. `known` are keys that are asked already.
    Raises ConfigError with every mistake, as `file:line: what`.
    """
    is_json = name.endswith(".jsonl")
    if not is_json and item.line_field is None:
        raise ConfigError(f"{name}: these prompts need more than their text; write JSON lines, in a file named .jsonl")
    items: list[Item] = []
    problems: list[str] = []
    lines_of: dict[str, str] = dict.fromkeys(known or (), "by the prompts that come with this probe")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or (not is_json and line.startswith("#")):
            continue
        try:
            made = item.model_validate(json.loads(line) if is_json else {item.line_field: line})
        except json.JSONDecodeError as error:
            problems.append(f"{name}:{number}: is not JSON ({error.msg} at column {error.colno})")
        except pydantic.ValidationError as error:
            problems += [f"{name}:{number}: {_said(each)}" for each in error.errors()]
        else:
            if made.key in lines_of:
                problems.append(f"{name}:{number}: this prompt is asked already, {lines_of[made.key]}; remove the line")
            lines_of.setdefault(made.key, f"in line {number}")
            items.append(made)
    if problems:
        raise ConfigError(problems)
    if not items:
        raise ConfigError(f"{name}: holds no prompt")
    return items


def _said(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    what = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if error["type"] == "extra_forbidden":
        what = "is no field of these prompts"
    if error["type"] == "missing":
        what = "is missing"
    return f"{key}: {what}" if key else what


def _shipped(name: str) -> str:
    return (importlib.resources.files("animetune.evaluate") / "prompts" / name).read_text(encoding="utf-8")
