"""Where posts, their pictures, masks and captions come from."""

from __future__ import annotations

import re
import string
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel

ID_MODULUS = re.compile(r"id_mod_([1-9][0-9]{0,8})")
PATH_FIELDS = "id, id_mod_<n>, md5, md5_ab, md5_cd, ext, key, source, basename"
"""What `ImagesConfig.path` may name of any post, beside the post's own keys."""
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ImagesConfig(StrictModel):
    """Where a source's pictures or masks are. Several places are tried in order."""

    root: str
    """Folder or fsspec URL."""
    path: str = "{id}.{ext}"
    """Path below `root`. Fields: id, id_mod_<n> (as in `{id_mod_1000:04}`), md5, md5_ab and md5_cd (its first two pairs
    of digits), ext, key, source, basename (last part of `file_name`), and any text or integer of the post, such as
    `{file_name}`, or `{file_stem}` (without its extension) of formats whose records are files."""

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


FormatName = Literal[
    "danbooru", "gelbooru", "e621", "zerochan", "hakubooru", "gallery-dl", "metadata", "kohya", "waifuset", "samples",
    "folder", "webdataset",
]  # fmt: skip

COLUMNS = {
    "id": "id", "file_name": "file_name", "md5": "md5", "post_width": "image_width", "post_height": "image_height",
    "post_bytes": "file_size", "pixel_hash": "pixel_hash", "file_ext": "file_ext", "created_at": "created_at",
    "rating": "rating", "score": "score", "fav_count": "fav_count", "aesthetic_score": "aesthetic_score",
    "is_deleted": "is_deleted", "is_synthetic": "is_synthetic", "parent": "parent_id", "tags": "tags",
    "tags_general": "tag_string_general", "tags_character": "tag_string_character",
    "tags_copyright": "tag_string_copyright", "tags_artist": "tag_string_artist", "tags_meta": "tag_string_meta",
    "captions_long": "captions_long", "captions_short": "captions_short",
}  # fmt: skip
"""What `SourceConfig.columns` may fill -> key of Danbooru's post object, into which all formats are put."""


class SourceConfig(StrictModel):
    """A collection of posts with its pictures and captions."""

    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """First part of every key: `<name>/<id>`."""
    posts: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    """Files of posts, `*` and `**` allowed: JSON lines, a JSON array or object in a `.json`, `.csv`, `.tsv` (each also
    `.gz`), `.parquet`, `.tar`; or folders of pictures with files beside them. Of two posts with one id the first is
    taken, in the order of this list."""
    format: Literal["auto"] | FormatName = "auto"
    """What their keys mean; `auto` tells by suffix and first record, and the table's manifest says what it found."""
    columns: Annotated[dict[str, str], pydantic.Field(default_factory=dict)]
    """Ours -> theirs, for keys with other names: `{aesthetic_score: my_score}`. `file.width` is a key in a key."""
    text: Literal["auto", "tags", "caption"] = "auto"
    """What free text beside a picture is: `tags` between commas, a `caption`, or what each line looks like (`auto`)."""
    images: tuple[ImagesConfig, ...] = ()
    """Where the pictures are. Never fetched from a URL that a post names. Records that are of files need none: their
    pictures are looked for beside the file of records, in the folder or in the tar."""
    masks: tuple[ImagesConfig, ...] = ()
    """Where the masks of their loss are; a picture without one counts as a whole. See docs/data.md."""
    captions: tuple[str, ...] = ()
    """Files of captions, `*` allowed: JSON lines of `{"id": 1, "long": [...], "short": [...]}` (or `key` for `id`)."""
    rating_scheme: Literal["auto", "current", "legacy"] = "auto"
    """What the rating `s` means: sensitive (`current`), or safe, as before 2022 (`legacy`). `auto`: legacy when no post
    of the source is rated `g`."""
    is_synthetic: bool | None = None
    """Whether a model drew the pictures; null as each record says, which is yes for `samples` and else mostly no."""

    @pydantic.field_validator("columns")
    @classmethod
    def _are_ours(cls, columns: dict[str, str]) -> dict[str, str]:
        for ours, theirs in columns.items():
            if ours not in COLUMNS:
                raise ValueError(f"{ours} is no column that can be filled; there are {', '.join(COLUMNS)}")
            if not theirs:
                raise ValueError(f"{ours}: the name of their column is empty")
        return columns
