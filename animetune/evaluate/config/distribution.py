"""The probe of the distribution of pictures."""

from __future__ import annotations

from typing import Literal

from animetune.evaluate.config.asked import AskedProbe


class DistributionConfig(AskedProbe):
    """How far all pictures together lie from real ones (KID, CMMD)."""

    name: Literal["distribution"]
