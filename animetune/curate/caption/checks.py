"""What is wrong with a caption, by itself and against the tags."""

from __future__ import annotations

from animetune.curate.caption.facts import PictureFacts
from animetune.curate.caption.outcomes import CODES, Problem
from animetune.curate.config.caption_text import ChecksConfig

__all__ = ["CODES", "Problem", "problems"]


def problems(text: str, facts: PictureFacts, cfg: ChecksConfig) -> list[Problem]:
    """All that is wrong with a caption; empty for a good one."""
    return [] if text.strip() else [Problem("empty", "")]
