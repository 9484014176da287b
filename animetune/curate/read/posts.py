"""One post object -> one row, or RecordError: pure functions of untrusted values.

Read: Danbooru's post object of any year (API, JSONL dumps, sidecars), the nested tags of older dumps, the flat posts of
Gelbooru's engine. Other formats are put into this form by `formats`. A key that is absent or null is unknown; a value
of a wrong type is an error that names its field, because a guess would go unnoticed.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from animetune.curate.config.sources import ID_MODULUS, Place, SourceConfig
from animetune.curate.read import fields
from animetune.curate.read.fields import (
    AMBIGUOUS_S,
    MAX_LINE,
    MAX_TAGS,
    RECORD_CODES,
    Record,
    RecordError,
    clean,
)
from animetune.curate.read.json_text import parse_json

__all__ = [
    "AMBIGUOUS_S", "MAX_LINE", "RECORD_CODES", "TAG_CLASSES", "RecordError", "clean", "join_path", "parse_captions",
    "parse_json", "parse_post",
]  # fmt: skip

TAG_CLASSES = ("general", "character", "copyright", "artist", "meta")
_TAG_CATEGORIES = {"0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "meta"}
_E621_CLASSES = {
    "species": "general", "lore": "meta", "invalid": "meta", "contributor": "meta",
    "director": "artist", "franchise": "copyright",  # of e6ai
}  # fmt: skip


def parse_post(record: Any, source: SourceConfig, places: Sequence[str] = ()) -> dict[str, Any]:
    """The row of a post: the columns of `records.POST_COLUMNS`, and `parent_id`.

    For `image` and `mask` there are `image_candidates` and `mask_candidates`. `places` are where the picture may be
    besides those that the source names, as the reader of the record knows them. Raises RecordError.
    """
    if not isinstance(record, dict):
        raise RecordError("bad_record", f"is {fields.kind(record)}, not an object")
    post_id = fields.integer(record, "id")
    if post_id is None or post_id < 0:
        raise RecordError("bad_record", f"id: {fields.shown(record.get('id'))} is not a number from 0")
    parent = fields.integer(record, "parent_id")
    parent = parent if parent and parent != post_id else None
    rating = fields.text(record, "rating")
    row: dict[str, Any] = {
        "key": f"{source.name}/{post_id}",
        "source": source.name,
        "id": post_id,
        "md5": fields.md5(record, "md5", "hash"),
        "post_width": fields.side(record, "image_width", "width"),
        "post_height": fields.side(record, "image_height", "height"),
        "post_bytes": fields.integer(record, "file_size"),
        "pixel_hash": _pixel_hash(record),
        "file_ext": _extension(record),
        "created_at": fields.time(record.get("created_at")),
        "rating": None if rating is None else fields.rating(rating),
        "score": fields.integer(record, "score"),
        "fav_count": fields.integer(record, "fav_count"),
        "aesthetic_score": fields.number(record, "aesthetic_score"),
        "is_deleted": _is_deleted(record),
        "is_synthetic": fields.flag(record, "is_synthetic") if source.is_synthetic is None else source.is_synthetic,
        "parent": f"{source.name}/{parent}" if parent else None,
        "parent_id": parent,
    }
    row |= {f"tags_{name}": tags for name, tags in _tags(record).items()}
    row |= {name: fields.captions(record, name) for name in ("captions_long", "captions_short")}
    field = _path_fields(record, row)
    for name, images in (("image", source.images), ("mask", source.masks)):
        row[f"{name}_candidates"] = [url for url in (_image_url(each, field) for each in images) if url]
    row["image_candidates"] += [place for place in places if place not in row["image_candidates"]]
    return row


def parse_captions(record: Any, source: str) -> dict[str, Any]:
    """`{key, captions_long, captions_short}` of a captions record. Raises RecordError (bad_caption)."""
    try:
        if not isinstance(record, dict):
            raise RecordError("bad_caption", f"is {fields.kind(record)}, not an object")
        key = record.get("key")
        if key is None:
            post_id = fields.integer(record, "id")
            key = None if post_id is None else f"{source}/{post_id}"
        if not isinstance(key, str) or not key:
            raise RecordError("bad_caption", "has neither id nor key")
        return {"key": key} | {f"captions_{kind}": fields.captions(record, kind) for kind in ("long", "short")}
    except RecordError as error:
        raise RecordError("bad_caption", error.detail) from error


def join_path(root: str, path: str) -> str:
    """A path below a root, which may be a URL. Raises RecordError (bad_path) for one that would leave it."""
    if path.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", path) or "\0" in path or "://" in path:
        raise RecordError("bad_path", fields.shown(path))
    return f"{root.rstrip('/')}/{path}"


def _is_deleted(record: Record) -> bool:
    return any(fields.flag(record, name) for name in ("is_deleted", "is_banned", "is_pending")) or (
        record.get("status") in ("deleted", "pending")
    )


def _pixel_hash(record: Record) -> str | None:
    asset = record.get("media_asset")
    return fields.text(asset if isinstance(asset, dict) else record, "pixel_hash")


def _extension(record: Record) -> str | None:
    stated = fields.text(record, "file_ext")
    if stated is not None:
        return fields.extension(stated)
    named = next((name for name in ("file_name", "image", "file_url") if isinstance(record.get(name), str)), None)
    return fields.extension_of(record[named]) if named else None


def _tags(record: Record) -> dict[str, list[str]]:
    """Class -> tags. Without classes (Gelbooru, old dumps) all tags are general.

    Where a post has classes but no `tag_string_general`, those in no class are taken from its other tags.
    """
    classed = {name: record.get(f"tag_string_{name}") for name in TAG_CLASSES}
    tags = {name: fields.distinct_tags(_words(value, f"tag_string_{name}")) for name, value in classed.items()}
    if classed["general"] is None:
        known = {tag for listed in tags.values() for tag in listed}
        for name, texts in _unclassed(record).items():
            found = fields.distinct_tags(texts)
            tags[name] = [*tags[name], *(tag for tag in found if tag not in known)]
    total = sum(map(len, tags.values()))
    if total > MAX_TAGS:
        raise RecordError("bad_record", f"tags: {total}, at most {MAX_TAGS}")
    return tags


def _unclassed(record: Record) -> dict[str, list[str]]:
    """Class -> tags, of `tags` or `tag_string`."""
    tags: dict[str, list[str]] = {name: [] for name in TAG_CLASSES}
    name, value = fields.first(record, "tags", "tag_string")
    if isinstance(value, str):
        tags["general"] = value.split()
    elif isinstance(value, list):
        for tag in value:
            text, tag_class = _listed_tag(tag, name)
            tags[tag_class].append(text)
    elif isinstance(value, dict):
        for tag_class, listed in value.items():
            tags[_class_named(tag_class, name)] += _words(listed, f"{name}.{tag_class}")
    elif value is not None:
        raise RecordError("bad_record", f"{name}: {fields.kind(value)} is neither text nor a list")
    return tags


def _listed_tag(tag: Any, field: str) -> tuple[str, str]:
    """(text, class) of an item of a list of tags: text, or `{name, category}` with Danbooru's numbers or names."""
    if isinstance(tag, str):
        return tag, "general"
    if isinstance(tag, dict) and isinstance(tag.get("name"), str):
        category = str(tag.get("category", "0"))
        tag_class = _TAG_CATEGORIES.get(category, category)
        if tag_class in TAG_CLASSES:
            return tag["name"], tag_class
    raise RecordError("bad_record", f"{field}: {fields.shown(tag)} is not a tag")


def _class_named(name: str, field: str) -> str:
    """The class of e621's name for one."""
    tag_class = _E621_CLASSES.get(name, name)
    if tag_class not in TAG_CLASSES:
        raise RecordError("bad_record", f"{field}: {fields.shown(name)} is not a class of tags")
    return tag_class


def _words(value: Any, field: str) -> list[str]:
    """Tags of one class: text with spaces between them, or a list of texts."""
    if value is None:
        return []
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise RecordError("bad_record", f"{field}: {fields.shown(value)} is neither text nor a list of texts")
    return words


def _path_fields(record: Record, row: Mapping[str, Any]) -> Callable[[str], str | int | None]:
    """What the fields of a path pattern stand for."""
    md5 = row["md5"] or ""
    named = record.get("file_name")
    name = named.replace("\\", "/") if isinstance(named, str) else ""
    own = {
        "id": row["id"],
        "key": row["key"],
        "source": row["source"],
        "ext": row["file_ext"],
        "md5": row["md5"],
        "md5_ab": md5[0:2] or None,
        "md5_cd": md5[2:4] or None,
        "basename": name.rpartition("/")[2] or None,
    }

    def field(name: str) -> str | int | None:
        if name in own:
            return own[name]
        if modulus := ID_MODULUS.fullmatch(name):
            return row["id"] % int(modulus[1])
        value = record.get(name)
        return value if isinstance(value, str | int) and not isinstance(value, bool) else None

    return field


def _image_url(images: Place, field: Callable[[str], str | int | None]) -> str | None:
    """Where the post's picture or mask is, by this place's pattern; None when the post lacks a field of it."""
    path = ""
    for text, name, spec, _ in string.Formatter().parse(images.path):
        path += text
        if name is None:
            continue
        value = field(name)
        if value is None or value == "":
            return None
        try:
            path += format(value, spec or "")
        except ValueError as error:
            raise RecordError("bad_record", f"{name}: {fields.shown(value)} cannot be written as {spec!r}") from error
    return join_path(images.root, path)
