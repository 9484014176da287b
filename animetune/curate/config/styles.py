"""Which style class a picture is of."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from animetune.config import StrictModel
from animetune.curate.tag.tag_names import NamedTag


class StylesConfig(StrictModel):
    """Which style class a picture is of: by the map, else by its style tags, else by its artist."""

    map: Path | None = None
    """CSV with the columns `tag` and `style`: artist tags or others, and the style class of their pictures. Artists
    come first. A tag without a style is none, so that its pictures are of the next one."""
    tags: tuple[NamedTag, ...] = ()
    """Tags that are a style class each, such as flat_color; of several, the first in this order."""
    artist: Literal["first", "only", "none"] = "first"
    """Pictures that neither decides are of the style of their `first` artist; of their `only` artist, and none when
    there are several; or of `none`."""
