"""What stands in the text of an answer: thoughts, fences, JSON. It is data, measured and never run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

FENCE = re.compile(r"^\s*```[\w-]*[ \t]*\n?|\n?```\s*$")
"""The lines around a block of code."""
_MOST_OBJECTS = 40
_THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>|^.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")


def without_thoughts(text: str) -> str:
    """The text without what a model thought aloud before it, and without spaces around."""
    return _THOUGHT.sub("", text.lstrip("\ufeff")).strip()


def is_thinking(text: str) -> bool:
    """Whether a text `without_thoughts` is a thought that does not end."""
    return text.lower().startswith("<think")


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    """JSON objects that stand anywhere in a text, none inside another; with a comma too many, too."""
    decoder = json.JSONDecoder(strict=False)  # models write line breaks into strings
    for candidate in dict.fromkeys((text, _TRAILING_COMMA.sub(r"\1", text))):
        place, tried = candidate.find("{"), 0
        while place >= 0 and tried < _MOST_OBJECTS:
            tried += 1
            try:
                found, end = decoder.raw_decode(candidate, place)
            except (ValueError, RecursionError):
                end = place + 1
            else:
                if isinstance(found, dict):
                    yield found
            place = candidate.find("{", end)


def is_open(text: str) -> bool:
    """Whether a JSON object begins and does not end."""
    depth, quoted, escaped = 0, False, False
    for char in text[text.find("{") :]:
        if quoted:
            quoted, escaped = char != '"' or escaped, char == "\\" and not escaped
        elif char == '"':
            quoted = True
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
            if depth == 0:
                return False
    return True
