"""The probe of how well prompts are followed."""

from __future__ import annotations

from typing import Literal

from animetune.evaluate.config.asked import AskedProbe


class AdherenceConfig(AskedProbe):
    """How much of a prompt a picture follows, by questions to a vision model (DPG-Bench)."""

    name: Literal["adherence"]
