"""Which content bucket a picture is in."""

from __future__ import annotations

from typing import Literal

import pydantic

from animetune.config import StrictModel
from animetune.records import CONTENT_BUCKETS

ContentBucket = Literal[
    "1girl_with_emotion", "1girl_only", "1boy_with_emotion", "1boy_only", "multiple_girls", "multiple_boys",
    "animal", "object", "no_human",
]  # fmt: skip


class ContentConfig(StrictModel):
    """Which content bucket a picture is in: the first of `priority` whose rule holds."""

    priority: tuple[ContentBucket, ...] = (
        "animal", "object", "no_human",
        "1girl_with_emotion", "1girl_only", "1boy_with_emotion", "1boy_only", "multiple_girls", "multiple_boys",
    )  # fmt: skip
    """Content buckets, first to last. A picture for which none of them holds is dropped as `unassigned`."""
    emotion: Literal["strong", "any"] = "strong"
    """Which tags show an emotion: `strong` (smile, crying ...), or `any`, with weak ones (blush, parted_lips ...)."""
    mixed: Literal["focus", "majority", "girls", "drop"] = "focus"
    """Where pictures of girls and boys go. `focus`: by solo_focus and male_focus, then by majority; `majority`: by the
    larger number, girls when equal; `girls`: multiple_girls; `drop`: nowhere."""

    @pydantic.field_validator("priority")
    @classmethod
    def _once_each(cls, priority: tuple[str, ...]) -> tuple[str, ...]:
        if not priority or len(set(priority)) != len(priority):
            raise ValueError(f"should name each content bucket at most once, of {', '.join(CONTENT_BUCKETS)}")
        return priority
