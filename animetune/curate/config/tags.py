"""Which tags mean what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

import pydantic

from animetune.config import StrictModel
from animetune.curate.tag.tag_names import normal_tag

OrderName = Literal["site", "aidxl-caption", "aidxl-prompt", "animagine", "illustrious", "novelai"]
ORDER_NAMES: tuple[str, ...] = get_args(OrderName)
TABLE_FILES = ("aliases", "categories", "implications")
"""Settings that name files: what these say counts, and not their names."""
Class = Annotated[str, pydantic.Field(min_length=1)]
Place = Class | tuple[Class, ...]
Tag = Annotated[str, pydantic.Field(min_length=1)]


class TagsConfig(StrictModel):
    """Which tags mean what, how they are written, which are left out, and in which order they stand."""

    vocabulary: Path | None = None
    """Folder of `<name>.txt` files (and `groups/<name>.txt`, `classes/<name>.txt`), each in place of the built-in list
    of that name. The built-in folder is `animetune/curate/vocabulary`."""
    size_tags: Literal["site", "picture"] = "site"
    """lowres, highres, absurdres, incredibly_absurdres: as the site says, or recomputed from the decoded picture (for
    copies that are smaller than the original)."""
    aliases: tuple[Path, ...] = ()
    """CSV files of old and other names: alias,name; or Danbooru's antecedent_name,consequent_name; or the tag lists of
    prompt completion, name,category,count,"alias,alias"."""
    categories: tuple[Path, ...] = ()
    """CSV files name,category[,...]: general tags that are listed as of another category move there, for sources that
    do not tell artists and characters from the rest. Categories are Danbooru's numbers or words."""
    rename: dict[Tag, Tag] = pydantic.Field(default={})
    """Tag -> the name that it gets, in every list, or in one: `general:doctor: doctor_(profession)`."""
    special: Literal["take", "leave"] = "take"
    """Tags of the list `special` (comic, monochrome, highres): taken into a list of their own, the part `special` of
    prompts; or left among the general and meta tags, for prompts that have no such part."""
    noise: Literal["drop", "keep"] = "drop"
    """Tags of the list `noise`, which nobody can see in the picture (commentary_request, name_connection)."""
    overlap: Literal["keep", "drop"] = "keep"
    """Tags that say no more than another tag of the picture, as long_hair beside very_long_hair. What describes a
    person is dropped only where one person is seen."""
    implications: tuple[Path, ...] = ()
    """CSV files of tag implications, more,less or Danbooru's antecedent_name,consequent_name, beside the built-in rules
    of `overlap: drop`."""
    order: OrderName | tuple[Place, ...] = "site"
    """Order of the general tags: the source's, one that is built in, or a list of semantic classes (the files of
    `vocabulary/classes`; a list in the list shares a place; `*` stands for the others, which else stand last)."""

    @pydantic.field_validator("rename")
    @classmethod
    def _normal_names(cls, rename: dict[str, str]) -> dict[str, str]:
        normal = {normal_tag(old): normal_tag(new) for old, new in rename.items()}
        if len(normal) < len(rename):
            raise ValueError("lists a tag twice: upper case, and spaces for `_`, make no other tag")
        if not all(normal) or not all(normal.values()):
            raise ValueError("has a tag without any character")
        return normal

    @pydantic.model_validator(mode="after")
    def _implications_are_used(self) -> TagsConfig:
        if self.implications and self.overlap == "keep":
            raise ValueError("implications does nothing with overlap: keep; set overlap: drop")
        return self
