"""Which tags mean what."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from animetune.config import StrictModel


class TagsConfig(StrictModel):
    """Which tags mean what."""

    vocabulary: Path | None = None
    """Folder of `<name>.txt` files (and `groups/<name>.txt`), each in place of the built-in list of that name. The
    built-in folder is `animetune/curate/vocabulary`."""
    size_tags: Literal["site", "picture"] = "site"
    """lowres, highres, absurdres, incredibly_absurdres: as the site says, or recomputed from the decoded picture (for
    copies that are smaller than the original)."""
