"""The probe of tags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from animetune.evaluate.config.asked import Count, TaggedProbe, Threshold
from animetune.remote import ON_THIS_MACHINE


class FidelityConfig(TaggedProbe):
    """How many of the tags of a prompt a tagger finds in the picture, and how many it finds in real ones."""

    name: Literal["fidelity"]
    character_threshold: Threshold = 0.75
    """As `threshold`, of tags that the tagger's list calls characters."""
    groups: Path | None = None
    """YAML file of groups of tags that exclude each other, in place of the built-in ones; docs/evaluate-tags.md has its
    fields."""
    counts: Path | None = None
    """Table of how often tags are used, for recall by frequency: CSV with the columns name and count, or without a
    header name, category, count; null: the tagger's selected_tags.csv."""
    reference: Annotated[Path, ON_THIS_MACHINE] | None = None
    """Real pictures and their tags, for what the tagger can find at all: a folder of pictures with .txt files beside
    them or with an images.jsonl, or a file of JSON lines (`file`, `tags`)."""
    reference_per_tag: Count = 30
    """Real pictures looked at of every tag, where there are so many."""
    reference_limit: Count = 3000
    """Real pictures looked at in all."""

    @property
    def tag_thresholds(self) -> dict[str, float]:
        """See `AskedProbe`."""
        return {**super().tag_thresholds, "character_threshold": self.character_threshold}
