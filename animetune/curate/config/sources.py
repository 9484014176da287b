"""Where posts, their pictures, masks and captions come from."""

from __future__ import annotations

import hashlib
import re
import string
from typing import Annotated, Any, Literal

import pydantic

from animetune.config import StrictModel

ID_MODULUS = re.compile(r"id_mod_([1-9][0-9]{0,8})")
PATH_FIELDS = "id, id_mod_<n>, md5, md5_ab, md5_cd, ext, key, source, basename"
"""What the path of a picture may name of any post, beside the post's own keys."""
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


UNRESOLVED = "\0tars:"
"""What the place of a picture in tars begins with until their members are known; no path can hold it."""


def _is_a_pattern(path: str) -> str:
    """A path of which fields of the post make that of its picture. Raises ValueError."""
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


Pattern = Annotated[str, pydantic.AfterValidator(_is_a_pattern)]
"""Fields: id, id_mod_<n> (as in `{id_mod_1000:04}`), md5, md5_ab and md5_cd (its first two pairs of digits), ext, key,
source, basename (last part of `file_name`), and any text or integer of the post, such as `{file_name}`, or
`{file_stem}` (without its extension) of formats whose records are files."""


class ImagesConfig(StrictModel):
    """Where a source's pictures or masks are, as files. Several places are tried in order."""

    root: str
    """Folder or fsspec URL."""
    path: Pattern = "{id}.{ext}"
    """Path below `root`, with fields of the post, as in `{id_mod_1000:04}/{id}.{ext}`."""

    @property
    def shown(self) -> str:
        """For messages."""
        return f"{self.root.rstrip('/')}/{self.path}"


class TarsConfig(StrictModel):
    """Where they are, as members of uncompressed tars. Tars are never unpacked, and pictures read at their offset."""

    tars: Annotated[str, pydantic.Field(min_length=1)]
    """Path or fsspec URL of tars, `*` and `**` allowed, as in `s3://bucket/danbooru/data-*.tar`. Of members of one name
    in several tars, that of the first is taken, by the tars' names."""
    member: Pattern = "{id}.{ext}"
    """Name of the member, with fields of the post. Without a slash it is found in whatever folder of the tar, unless
    there are some of one name; with one it is the whole name."""
    index: str | None = None
    """Files that say what is where, so that no header is read: `{stem}.json` lies beside each tar (`{stem}` is its path
    or URL without .tar, `{name}` the last part of that). `.json` as hfutils and deepghs write them, or `.parquet` with
    the columns member, offset, length."""

    @pydantic.field_validator("index")
    @classmethod
    def _is_an_index(cls, index: str | None) -> str | None:
        if index is None:
            return None
        try:
            names = {name for _, name, _, _ in string.Formatter().parse(index) if name is not None}
        except ValueError as error:
            raise ValueError(f"is not a pattern: {error}") from error
        if not names or names - {"stem", "name"}:
            raise ValueError("each tar has an index of its own: write {stem} or {name} for it, as in '{stem}.json'")
        if not index.lower().endswith((".json", ".parquet")):
            raise ValueError("should end in .json or .parquet")
        return index

    @property
    def root(self) -> str:
        """What stands before a member's name until it is known in which tar it is."""
        said = [self.tars, self.index or "", str("/" in self.member)]
        return UNRESOLVED + hashlib.sha256("\0".join(said).encode()).hexdigest()[:16]

    @property
    def path(self) -> str:
        """The pattern, as of a folder of files."""
        return self.member

    @property
    def shown(self) -> str:
        """For messages."""
        return f"{self.tars}!{self.member}"


def keys_of_posts(place: ImagesConfig | TarsConfig) -> list[str]:
    """The names in its pattern that are no fields of ours, so that each post has to have them."""
    names = [name for _, name, _, _ in string.Formatter().parse(place.path) if name is not None]
    return [name for name in names if name not in PATH_FIELDS.split(", ") and not ID_MODULUS.fullmatch(name)]


def _kind_of_place(value: Any) -> str:
    is_of_tars = isinstance(value, TarsConfig) or (isinstance(value, dict) and "tars" in value)
    return TarsConfig.__name__ if is_of_tars else ImagesConfig.__name__


Place = Annotated[
    Annotated[ImagesConfig, pydantic.Tag("ImagesConfig")] | Annotated[TarsConfig, pydantic.Tag("TarsConfig")],
    pydantic.Discriminator(_kind_of_place),
]
"""`{root: ..., path: ...}` of files, or `{tars: ..., member: ...}`."""


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
    images: tuple[Place, ...] = ()
    """Where the pictures are. Never fetched from a URL that a post names. Records that are of files need none: their
    pictures are looked for beside the file of records, in the folder or in the tar."""
    masks: tuple[Place, ...] = ()
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
