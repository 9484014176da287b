"""The pages of settings, and that docs/reference/ holds what the code says."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest

from animetune import problems
from animetune.cli import CONFIGS
from animetune.config import StrictModel
from animetune.reference import markdown

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference"
TARGETS = CONFIGS


class Inner(StrictModel):
    """Three settings."""

    rate: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.5
    """How fast."""
    kinds: tuple[Literal["a", "b"], ...] = ()
    """Which."""


class Left(StrictModel):
    """One way."""

    name: Literal["left"]
    far: int | None = None
    """How far; null: for ever."""


class Right(StrictModel):
    """The other."""

    name: Literal["right"]
    inner: Inner = Inner()
    """Once more."""


class Whole(StrictModel):
    """Everything."""

    stage: Literal["whole"]
    out: str
    """Where to."""
    inner: Inner = Inner()
    """A group."""
    way: Annotated[Left | Right, pydantic.Field(discriminator="name")] = Left(name="left")
    """A choice."""
    sizes: Mapping[str, int] = {}
    """By name."""


def test_a_page_says_type_bounds_default_and_help() -> None:
    assert (
        markdown("whole", Whole)
        == """\
# `stage: whole`

Everything.

- **`out`** (text; needed) — Where to.
- **`inner`** (a group, see `inner`) — A group.
- **`way`** (a group by `name`, see `way`) — A choice.
- **`sizes`** (map of whole number; default `{}`) — By name.

## `inner`

Three settings.

- **`rate`** (number above 0 at most 1; default `0.5`) — How fast.
- **`kinds`** (list of `a`, `b`; default `[]`) — Which.

## `way`

One of:

### `name: left`

One way.

- **`far`** (whole number or null; default `null`) — How far; null: for ever.

### `name: right`

The other.

- **`inner`** (a group, see `inner`) — Once more.
"""
    )


def model_of(stage: str) -> Any:
    module, _, name = TARGETS[stage].partition(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("stage", TARGETS)
def test_every_setting_is_on_its_page(stage: str) -> None:
    page = markdown(stage, model_of(stage))
    names = {path[-1] for path, owner in problems._fields(model_of(stage))}
    silent = {name for name in names if f"**`{name}`**" not in page and f"`{name}: " not in page}
    assert silent <= {"stage"}


@pytest.mark.parametrize("stage", TARGETS)
def test_the_documentation_is_what_the_code_says(stage: str) -> None:
    stored = DOCS / f"{stage}.md"
    assert stored.read_text(encoding="utf-8") == markdown(stage, model_of(stage)), "run `make docs`"
