"""The probe of characters."""

from __future__ import annotations

from typing import Literal

from animetune.evaluate.config.asked import AskedProbe


class CharactersConfig(AskedProbe):
    """Whether known characters look like themselves (CCIP, Illustrious XL)."""

    name: Literal["characters"]
