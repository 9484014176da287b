"""A caption from tags alone: the last resort where no model gave one."""

from __future__ import annotations

from animetune.curate.caption.facts import PictureFacts, names


def describe(facts: PictureFacts) -> str:
    """A sentence about the picture, from its tags; the same for the same tags."""
    return f"A picture of {', '.join((*facts.characters, *names(facts.tags_count), *names(facts.tags_general)))}."
