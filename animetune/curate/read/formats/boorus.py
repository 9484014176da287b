"""Posts of image boards other than Danbooru -> Danbooru's post object, which `posts.parse_post` reads.

Each function is given a record and what is known beside it (`Context`), and touches only what it knows: a value of a
wrong type stays as it is, for `parse_post` to refuse by name.
"""

from __future__ import annotations

import datetime
import html
from typing import Any, NamedTuple

from animetune.curate.read.formats.free_text import TextKind


class Context(NamedTuple):
    """What is known of a record beside its keys."""

    name: str | None = None
    """The name that it stands under: a key of a JSON object, a file's relative path, a key of a tar."""
    text: TextKind = "auto"
    """What free text holds."""
    prefix: str = ""
    """What stands before the name in the path that an id is made from: folders, each with its slash."""
    texts: tuple[str, ...] = ()
    """Free text that stands beside the record."""


Post = dict[str, Any]

GELBOORU_CLASSES = {
    "general": "general", "artist": "artist", "circle": "artist", "character": "character", "copyright": "copyright",
    "metadata": "meta", "meta": "meta", "faults": "meta",
}  # fmt: skip
"""What stands after `tags_` where gallery-dl has asked Gelbooru's engine or Moebooru for classes -> class."""

_HAKUBOORU_RATINGS = ("general", "sensitive", "questionable", "explicit")
_ZEROCHAN_CLASSES = {
    "mangaka": "artist", "studio": "artist", "character": "character", "group": "character", "series": "copyright",
    "game": "copyright", "source": "meta", "theme": "general", "outfit": "general", "meta": "meta",
}  # fmt: skip


def danbooru(record: Post, context: Context) -> Post:
    """Danbooru's own posts, of any year."""
    return record


def gelbooru(record: Post, context: Context) -> Post:
    """Gelbooru's engine and Moebooru (yande.re, konachan): all tags in one text, HTML entities in it, Unix times."""
    post = dict(record)
    flat = _unescaped(record.get("tags"))
    classed = {name: _unescaped(record[f"tags_{name}"]) for name in GELBOORU_CLASSES
               if isinstance(record.get(f"tags_{name}"), str | list)}  # fmt: skip
    if classed:
        post["tags"] = _by_class(classed, flat)
    elif "tags" in post:
        post["tags"] = flat
    created = record.get("created_at")
    if isinstance(created, str) and created.isascii() and created.removesuffix(".0").isdigit():
        created = float(created)  # of a CSV
    if isinstance(created, int | float) and not isinstance(created, bool):
        post["created_at"] = _unix_time(created)
    return post


def e621(record: Post, context: Context) -> Post:
    """e621: the nested post of its API, or a line of its database export. Its `s` has always meant safe."""
    post = dict(record)
    if record.get("rating") == "s":
        post["rating"] = "safe"
    file = _object(record, "file")
    for ours, theirs in (("image_width", "width"), ("image_height", "height"), ("file_ext", "ext"),
                         ("file_size", "size"), ("md5", "md5"), ("file_url", "url")):  # fmt: skip
        if theirs in file:
            post[ours] = file[theirs]
    if isinstance(record.get("score"), dict):
        post["score"] = record["score"].get("total")
    flags = _object(record, "flags")
    for name in ("deleted", "pending"):
        if name in flags:
            post[f"is_{name}"] = flags[name]
    if "parent_id" in (relations := _object(record, "relationships")):
        post["parent_id"] = relations["parent_id"]
    return post


def zerochan(record: Post, context: Context) -> Post:
    """Zerochan: tags in title case with spaces, sometimes after `Mangaka:` and the like; no ratings, no scores."""
    post = dict(record)
    tags = record.get("tags")
    if isinstance(tags, str):
        tags = tags.split(",")
    if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags):
        main = record.get("primary", record.get("tag"))
        if isinstance(main, str):
            tags = [*tags, main]
        post["tags"] = [dict(zip(("category", "name"), _zerochan_tag(tag), strict=True)) for tag in tags]
    for ours, theirs in (("file_size", "size"), ("file_url", "full")):
        if ours not in record and theirs in record:
            post[ours] = record[theirs]
    return post


def hakubooru(record: Post, context: Context) -> Post:
    """HakuBooru's database: ratings as numbers 0 to 3, truth values as 0 and 1."""
    rating = record.get("rating")
    if isinstance(rating, int) and not isinstance(rating, bool) and 0 <= rating < len(_HAKUBOORU_RATINGS):
        return {**record, "rating": _HAKUBOORU_RATINGS[rating]}
    return record


def _zerochan_tag(tag: str) -> tuple[str, str]:
    prefix, colon, name = tag.partition(":")
    tag_class = _ZEROCHAN_CLASSES.get(prefix.strip().lower())
    return (tag_class, name.strip().lower()) if colon and tag_class and name.strip() else ("general", tag.lower())


def _object(record: Post, name: str) -> Post:
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def _unescaped(tags: Any) -> Any:
    if isinstance(tags, list):
        return [_unescaped(tag) for tag in tags]
    return html.unescape(tags) if isinstance(tags, str) and "&" in tags else tags


def _by_class(classed: dict[str, Any], flat: Any) -> dict[str, list[Any]]:
    """Class -> tags; of those that stand in `flat` alone, which is all tags in one text, no class is known."""
    tags: dict[str, list[Any]] = {}
    for name, listed in classed.items():
        words = listed.split() if isinstance(listed, str) else listed
        tags[GELBOORU_CLASSES[name]] = [*tags.get(GELBOORU_CLASSES[name], []), *words]
    if isinstance(flat, str):
        known = {tag for listed in tags.values() for tag in listed if isinstance(tag, str)}
        tags["general"] = [*tags.get("general", []), *(tag for tag in flat.split() if tag not in known)]
    return tags


def _unix_time(seconds: float) -> str | None:
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return None
