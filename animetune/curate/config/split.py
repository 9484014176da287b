"""What is held out for validation."""

from __future__ import annotations

from typing import Annotated

import pydantic

from animetune.config import StrictModel

Share = Annotated[float, pydantic.Field(ge=0, le=1)]


class SplitConfig(StrictModel):
    """What is held out for validation: whole families of parents, children and duplicates."""

    val_share: Share = 0.005
    """Share of the families."""
    val_families: Annotated[int, pydantic.Field(ge=0)] = 1024
    """At most this many families."""
