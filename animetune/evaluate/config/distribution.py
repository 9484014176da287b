"""The probe of the distribution of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.evaluate.config.asked import AskedProbe, Count
from animetune.remote import ON_THIS_MACHINE


class DistributionConfig(AskedProbe):
    """How far all pictures together lie from real ones (KID, CMMD)."""

    name: Literal["distribution"]
    reference: Annotated[Path, ON_THIS_MACHINE]
    """Folder of real pictures, such as those held out for validation: plain ones, with or without a .txt of their
    caption beside them, or one of those that `pictures` of a model may be. Without `prompts` their captions are
    asked."""
    reference_limit: Count | None = None
    """Look at so many of them, taken evenly; their captions, too."""
    subsets: Count = 100
    """KID is given as the mean and deviation over so many random subsets, too, as in the literature."""
    subset_size: Annotated[int, pydantic.Field(ge=2)] = 1000
    """Pictures of each side in a subset; of fewer pictures a subset is all."""
