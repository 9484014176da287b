"""The probe of tags."""

from __future__ import annotations

from typing import Literal

from animetune.evaluate.config.asked import AskedProbe


class FidelityConfig(AskedProbe):
    """How many of the tags of a prompt a tagger finds in the picture."""

    name: Literal["fidelity"]
