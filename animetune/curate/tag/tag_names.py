"""How tags are written: in one way everywhere, so that what a person writes is found among what sites wrote."""

from __future__ import annotations

from typing import Annotated

import pydantic


def normal_tag(text: str) -> str:
    """Lower case, `_` between words, brackets without backslashes; empty for a tag of blanks."""
    return "_".join(text.lower().split()).replace("\\(", "(").replace("\\)", ")")


def named_tag(text: str) -> str:
    """A tag that a person names, or a pattern in which `*` stands for any text, as tables have it.

    ValueError where nothing, or only `*`, is left: it would fit every tag.
    """
    tag = normal_tag(text)
    if not tag.strip("*"):
        raise ValueError(f"{text!r} is not a tag")
    return tag


NamedTag = Annotated[str, pydantic.AfterValidator(named_tag)]
"""A tag or a pattern in a configuration."""
