"""One record of a booru -> one row, or RecordError: pure functions of untrusted bytes.

Read: Danbooru's post object of any year (API, JSONL dumps, sidecars), the nested tags of older dumps, and the flat
posts of Gelbooru's engine. A key that is absent or null is unknown; a value of a wrong type is an error that names its
field, because a guess would go unnoticed.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import string
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from animetune.curate.config.sources import ID_MODULUS, ImagesConfig, SourceConfig

RECORD_CODES = {
    "bad_json": "the line is not JSON, or is longer than MAX_LINE",
    "bad_unicode": "the line is not UTF-8, or holds half a surrogate pair",
    "dup_key": "a JSON object names one key twice",
    "bad_record": "a field has a wrong type or an impossible value; the detail names it",
    "bad_path": "the path made from the post would leave the images' root",
    "dup_id": "an earlier post has the same id",
    "bad_caption": "a line of captions cannot be used",
}
"""Code -> meaning, for every reason that a record can be refused for."""

MAX_LINE = 4 * 1024 * 1024
MAX_TAGS = 2000
MAX_TAG_BYTES = 256
MAX_CAPTION_BYTES = 65_536
AMBIGUOUS_S = "s?"
"""The rating letter `s`, which means safe before 2022 and sensitive since; `ingest` decides by source."""

TAG_CLASSES = ("general", "character", "copyright", "artist", "meta")
_TAG_CATEGORIES = {"0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "meta"}
_RATINGS = {
    "g": "g", "s": AMBIGUOUS_S, "q": "q", "e": "e",
    "general": "g", "safe": "g", "sensitive": "s", "questionable": "q", "explicit": "e",
}  # fmt: skip
_INT64 = 2**63
_INT32 = 2**31
_MD5 = re.compile(r"[0-9a-f]{32}")
_EXTENSION = re.compile(r"[a-z0-9]{1,8}")
_INTEGER = re.compile(r"-?[0-9]{1,19}")

Record = Mapping[str, Any]


class RecordError(ValueError):
    """A record that cannot be used; `code` is a key of RECORD_CODES."""

    def __init__(self, code: str, detail: str):
        self.code = code
        self.detail = detail[:300]
        super().__init__(f"{code}: {self.detail}")


def parse_json(line: bytes) -> Any:
    """The JSON value of a line, strictly: no NaN or infinity, no key twice, no half surrogates. Raises RecordError."""
    try:
        text = line.decode("utf-8")
        value = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_object_of_distinct_keys
        )
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecordError:
        raise
    except UnicodeDecodeError as error:
        raise RecordError("bad_unicode", f"byte {error.start} is not UTF-8") from error
    except UnicodeEncodeError as error:
        raise RecordError("bad_unicode", "half a surrogate pair") from error
    # json raises ValueError for syntax and for integers of thousands of digits, RecursionError for deep nesting.
    except (ValueError, RecursionError) as error:
        raise RecordError("bad_json", str(error)) from error
    return value


def parse_post(record: Any, source: SourceConfig) -> dict[str, Any]:
    """The row of a post: the columns of `records.POST_COLUMNS` but captions.

    For `image` and `mask` there are `image_candidates` and `mask_candidates`. Raises RecordError.
    """
    if not isinstance(record, dict):
        raise RecordError("bad_record", f"is {_kind(record)}, not an object")
    post_id = _integer(record, "id")
    if post_id is None or post_id < 0:
        raise RecordError("bad_record", f"id: {_shown(record.get('id'))} is not a number from 0")
    parent = _integer(record, "parent_id")
    row: dict[str, Any] = {
        "key": f"{source.name}/{post_id}",
        "source": source.name,
        "id": post_id,
        "md5": _md5(record),
        "post_width": _side(record, "image_width", "width"),
        "post_height": _side(record, "image_height", "height"),
        "post_bytes": _integer(record, "file_size"),
        "pixel_hash": _pixel_hash(record),
        "file_ext": _extension(record),
        "created_at": _time(record),
        "rating": _rating(record),
        "score": _integer(record, "score"),
        "fav_count": _integer(record, "fav_count"),
        "aesthetic_score": None,
        "is_deleted": _is_deleted(record),
        "is_synthetic": False,
        "parent": f"{source.name}/{parent}" if parent and parent != post_id else None,
    }
    row |= {f"tags_{name}": tags for name, tags in _tags(record).items()}
    fields = _path_fields(record, row)
    for name, places in (("image", source.images), ("mask", source.masks)):
        row[f"{name}_candidates"] = [url for url in (_image_url(images, fields) for images in places) if url]
    return row


def parse_captions(record: Any, source: str) -> dict[str, Any]:
    """`{key, captions_long, captions_short}` of a captions record. Raises RecordError (bad_caption)."""
    try:
        if not isinstance(record, dict):
            raise RecordError("bad_caption", f"is {_kind(record)}, not an object")
        key = record.get("key")
        if key is None:
            post_id = _integer(record, "id")
            key = None if post_id is None else f"{source}/{post_id}"
        if not isinstance(key, str) or not key:
            raise RecordError("bad_caption", "has neither id nor key")
        return {"key": key} | {f"captions_{kind}": _captions(record, kind) for kind in ("long", "short")}
    except RecordError as error:
        raise RecordError("bad_caption", error.detail) from error


def clean(text: str) -> str:
    """NFKC without control and format characters (bidi marks, zero width): what is seen is what is there."""
    if text.isascii() and text.isprintable():
        return text
    normal = unicodedata.normalize("NFKC", text)
    return "".join(" " if char in "\t\n\r" else char for char in normal if _is_text(char))


def _is_text(char: str) -> bool:
    return char in "\t\n\r" or unicodedata.category(char) not in ("Cc", "Cf")


def _refuse_constant(name: str) -> Any:
    raise RecordError("bad_json", f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise RecordError("bad_json", f"{text[:20]} is no finite number")
    return value


def _object_of_distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        raise RecordError("dup_key", next(repr(name) for name in names if names.count(name) > 1))
    return record


def _first(record: Record, *names: str) -> tuple[str, Any]:
    """The first name that has a value, and the value; or the first name and None."""
    return next(((name, record[name]) for name in names if record.get(name) is not None), (names[0], None))


def _integer(record: Record, *names: str) -> int | None:
    """An integer, also written as text or as 12.0, which old dumps do."""
    name, value = _first(record, *names)
    if value is None:
        return None
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -_INT64 <= value < _INT64:
        raise RecordError("bad_record", f"{name}: {_shown(value)} is not an integer of 64 bits")
    return value


def _side(record: Record, *names: str) -> int | None:
    """Pixels; 0 is how sites write an unknown size."""
    value = _integer(record, *names)
    if value is not None and not 0 <= value < _INT32:
        raise RecordError("bad_record", f"{_first(record, *names)[0]}: {value} is not a number of pixels")
    return value or None


def _text(record: Record, *names: str) -> str | None:
    name, value = _first(record, *names)
    if value is not None and not isinstance(value, str):
        raise RecordError("bad_record", f"{name}: {_shown(value)} is not text")
    return value or None


def _flag(record: Record, name: str) -> bool:
    value = record.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    if value in ("true", "false"):
        return value == "true"
    raise RecordError("bad_record", f"{name}: {_shown(value)} is neither true nor false")


def _is_deleted(record: Record) -> bool:
    return any(_flag(record, name) for name in ("is_deleted", "is_banned", "is_pending")) or (
        record.get("status") in ("deleted", "pending")
    )


def _md5(record: Record) -> str | None:
    text = _text(record, "md5", "hash")
    if text is not None and not _MD5.fullmatch(text := text.lower()):
        raise RecordError("bad_record", f"md5: {_shown(text)} is not 32 hexadecimal digits")
    return text


def _pixel_hash(record: Record) -> str | None:
    asset = record.get("media_asset")
    return _text(asset, "pixel_hash") if isinstance(asset, dict) else None


def _extension(record: Record) -> str | None:
    text = _text(record, "file_ext")
    if text is None:
        named = next((name for name in ("file_name", "image", "file_url") if isinstance(record.get(name), str)), None)
        suffix = record[named].rpartition("/")[2].rpartition(".")[2].lower() if named else ""
        return suffix if _EXTENSION.fullmatch(suffix) else None
    if not _EXTENSION.fullmatch(text := text.lower().lstrip(".")):
        raise RecordError("bad_record", f"file_ext: {_shown(text)} is not an extension")
    return text


def _rating(record: Record) -> str | None:
    text = _text(record, "rating")
    if text is not None and text.lower() not in _RATINGS:
        raise RecordError("bad_record", f"rating: {_shown(text)} is none of {', '.join(_RATINGS)}")
    return None if text is None else _RATINGS[text.lower()]


def _time(record: Record) -> datetime.datetime | None:
    """UTC; Danbooru writes US-Eastern time whose offset changes with the season. None when there is no such time."""
    value = record.get("created_at")
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.datetime.fromisoformat(value.removesuffix(" UTC"))
        zoned = parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=datetime.UTC)
        return zoned.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return None


def _tags(record: Record) -> dict[str, list[str]]:
    """Class -> tags. Without classes (Gelbooru, old dumps) all tags are general."""
    tags: dict[str, list[str]] = {name: [] for name in TAG_CLASSES}
    if any(record.get(f"tag_string_{name}") is not None for name in TAG_CLASSES):
        for name in TAG_CLASSES:
            tags[name] = _distinct((_text(record, f"tag_string_{name}") or "").split())
    else:
        name, value = _first(record, "tags", "tag_string")
        if isinstance(value, str):
            tags["general"] = _distinct(value.split())
        elif isinstance(value, list):
            for tag in value:
                text, tag_class = _listed_tag(tag, name)
                tags[tag_class].append(text)
            tags = {tag_class: _distinct(texts) for tag_class, texts in tags.items()}
        elif value is not None:
            raise RecordError("bad_record", f"{name}: {_kind(value)} is neither text nor a list")
    total = sum(map(len, tags.values()))
    if total > MAX_TAGS:
        raise RecordError("bad_record", f"tags: {total}, at most {MAX_TAGS}")
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
    raise RecordError("bad_record", f"{field}: {_shown(tag)} is not a tag")


def _distinct(tags: list[str]) -> list[str]:
    together = "".join(tags)
    if not together.isascii() or not together.isprintable() or " " in together:
        tags = ["_".join(clean(tag).split()) for tag in tags]
    distinct = dict.fromkeys(tags)
    distinct.pop("", None)
    for tag in distinct:
        if len(tag) > MAX_TAG_BYTES // 4 and len(tag.encode()) > MAX_TAG_BYTES:
            raise RecordError("bad_record", f"tags: {_shown(tag)} is longer than {MAX_TAG_BYTES} bytes")
    return list(distinct)


def _captions(record: Record, kind: str) -> list[str]:
    value = record.get(kind)
    texts = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RecordError("bad_caption", f"{kind}: {_shown(value)} is neither text nor a list of texts")
    cleaned = dict.fromkeys(" ".join(clean(text).split()) for text in texts)
    cleaned.pop("", None)
    if any(len(text.encode()) > MAX_CAPTION_BYTES for text in cleaned):
        raise RecordError("bad_caption", f"{kind}: a caption is longer than {MAX_CAPTION_BYTES} bytes")
    return list(cleaned)


def _path_fields(record: Record, row: Mapping[str, Any]) -> Callable[[str], str | int | None]:
    """What the fields of a path pattern stand for."""
    md5 = row["md5"] or ""
    own = {
        "id": row["id"],
        "key": row["key"],
        "source": row["source"],
        "ext": row["file_ext"],
        "md5": row["md5"],
        "md5_ab": md5[0:2] or None,
        "md5_cd": md5[2:4] or None,
    }

    def field(name: str) -> str | int | None:
        if name in own:
            return own[name]
        if modulus := ID_MODULUS.fullmatch(name):
            return row["id"] % int(modulus[1])
        value = record.get(name)
        return value if isinstance(value, str | int) and not isinstance(value, bool) else None

    return field


def _image_url(images: ImagesConfig, field: Callable[[str], str | int | None]) -> str | None:
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
            raise RecordError("bad_record", f"{name}: {_shown(value)} cannot be written as {spec!r}") from error
    if path.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", path) or "\0" in path or "://" in path:
        raise RecordError("bad_path", _shown(path))
    return f"{images.root.rstrip('/')}/{path}"


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "text", type(None): "null", bool: "a truth value"}.get(
        type(value), "a number"
    )


def _shown(value: Any) -> str:
    text = _kind(value) if isinstance(value, dict | list) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
