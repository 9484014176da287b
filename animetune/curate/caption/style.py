"""References to style, medium and picture taken out of captions, by rule."""

from __future__ import annotations

from animetune.curate.config.caption_text import StyleConfig


def remove_style(text: str, cfg: StyleConfig | None = None) -> tuple[str, int]:
    """The text without references to style, and how many were removed."""
    return text, 0


def style_references(text: str, cfg: StyleConfig | None = None) -> list[str]:
    """The words of the text that speak of style, first to last."""
    return []
