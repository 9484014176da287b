"""The probe of characters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.evaluate.config.asked import AskedProbe
from animetune.remote import ON_THIS_MACHINE


class CharactersConfig(AskedProbe):
    """Whether known characters look like themselves (CCIP, Illustrious XL)."""

    name: Literal["characters"]
    references: Annotated[Path, ON_THIS_MACHINE]
    """Folder with a folder for each character, named as the prompts name it, of pictures of it alone: about five to ten
    real ones, of which none is a copy of another."""

    @pydantic.model_validator(mode="after")
    def _asks_something(self) -> CharactersConfig:
        if self.prompts is None:
            raise ValueError(
                "prompts: name a file of JSON lines with `prompt` and `character`; none come with this probe"
            )
        return self
