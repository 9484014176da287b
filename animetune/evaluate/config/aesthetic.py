"""The probe of aesthetic scores."""

from __future__ import annotations

from typing import Literal

from animetune.evaluate.config.asked import AskedProbe


class AestheticConfig(AskedProbe):
    """How the scores of an aesthetic classifier are distributed."""

    name: Literal["aesthetic"]
