"""Where posts, their pictures, masks and captions come from."""

from __future__ import annotations

import re
import string
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel

ID_MODULUS = re.compile(r"id_mod_([1-9][0-9]{0,8})")
PATH_FIELDS = "id, id_mod_<n>, md5, md5_ab, md5_cd, ext, key, source"
"""What `ImagesConfig.path` may name of any post, beside the post's own keys."""
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ImagesConfig(StrictModel):
    """Where a source's pictures or masks are. Several places are tried in order."""

    root: str
    """Folder or fsspec URL."""
    path: str = "{id}.{ext}"
    """Path below `root`. Fields: id, id_mod_<n> (as in `{id_mod_1000:04}`), md5, md5_ab and md5_cd (its first two pairs
    of digits), ext, key, source, and any text or integer of the post, such as `{file_name}`."""

    @pydantic.field_validator("path")
    @classmethod
    def _is_a_pattern(cls, path: str) -> str:
        try:
            fields = list(string.Formatter().parse(path))
        except ValueError as error:
            raise ValueError(f"is not a pattern: {error}") from error
        names = [name for _, name, _, _ in fields if name is not None]
        for _, name, spec, conversion in fields:
            if name is not None and (not _FIELD_NAME.fullmatch(name) or conversion or "{" in (spec or "")):
                written = "".join(["{", name, f"!{conversion}" if conversion else "", f":{spec}" if spec else "", "}"])
                raise ValueError(f"{written} is not a field; there are {PATH_FIELDS}, and the keys of the posts")
        if not names:
            raise ValueError("names no field, so every post would have the same picture; write e.g. '{id}.{ext}'")
        return path

    @property
    def keys_of_posts(self) -> list[str]:
        """The names in `path` that are no fields of ours, so that each post has to have them."""
        names = [name for _, name, _, _ in string.Formatter().parse(self.path) if name is not None]
        return [name for name in names if name not in PATH_FIELDS.split(", ") and not ID_MODULUS.fullmatch(name)]


class SourceConfig(StrictModel):
    """A collection of posts with its pictures and captions."""

    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """First part of every key: `<name>/<id>`."""
    posts: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    """Files of posts, `*` allowed: JSON lines, or a JSON array in a `.json`; either may be `.gz`. Of two posts with one
    id the first is taken, in the order of this list."""
    images: tuple[ImagesConfig, ...] = ()
    """Where the pictures are. Never fetched from a URL that a post names."""
    masks: tuple[ImagesConfig, ...] = ()
    """Where the masks of their loss are; a picture without one counts as a whole. See docs/data.md."""
    captions: tuple[str, ...] = ()
    """Files of captions, `*` allowed: JSON lines of `{"id": 1, "long": [...], "short": [...]}` (or `key` for `id`)."""
    rating_scheme: Literal["auto", "current", "legacy"] = "auto"
    """What the rating `s` means: sensitive (`current`), or safe, as before 2022 (`legacy`). `auto`: legacy when no post
    of the source is rated `g`."""
