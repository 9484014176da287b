"""The probe of aesthetic scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.evaluate.config.asked import AskedProbe, Count
from animetune.remote import ON_THIS_MACHINE


class AestheticConfig(AskedProbe):
    """How the scores of an aesthetic classifier are distributed, and how far from those of real pictures."""

    name: Literal["aesthetic"]
    words: str = ""
    """What stands behind every prompt, such as the quality words that the model is used with."""
    reference: Annotated[Path, ON_THIS_MACHINE] | None = None
    """Folder of pictures to compare with, such as the training set's."""
    reference_limit: Count = 1000
    """Pictures of it that are looked at, taken evenly."""
    bins: Annotated[int, pydantic.Field(ge=2, le=200)] = 24
    """Bars of the histogram."""
