"""Structured captions of several characters, and the text that they become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def to_text(scene: Mapping[str, Any]) -> str:
    """Fluent text of a structured caption."""
    return str(scene)
