"""Single values of untrusted records: each comes out as its type, or RecordError names the field.

A key that is absent or null is unknown (None); a value of a wrong type is an error, because a guess would go unnoticed.
"""

from __future__ import annotations

import calendar
import datetime
import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

RECORD_CODES = {
    "bad_json": "the line is not JSON, or is longer than MAX_LINE",
    "bad_unicode": "the text is not UTF-8, or holds half a surrogate pair",
    "dup_key": "a JSON object names one key twice",
    "bad_record": "a field has a wrong type or an impossible value; the detail names it",
    "bad_path": "the path made from the post would leave the images' root",
    "dup_id": "an earlier post has the same id",
    "bad_caption": "a line of captions cannot be used",
    "no_picture": "a sample of a tar has no picture, or a text beside pictures belongs to none",
}
"""Code -> meaning, for every reason that a record can be refused for."""

MAX_LINE = 4 * 1024 * 1024
MAX_TAGS = 2000
MAX_TAG_BYTES = 256
MAX_CAPTION_BYTES = 65_536
AMBIGUOUS_S = "s?"
"""The rating letter `s`, which means safe before 2022 and sensitive since; `ingest` decides by source."""

RATINGS = {
    "g": "g", "s": AMBIGUOUS_S, "q": "q", "e": "e",
    "general": "g", "safe": "g", "sensitive": "s", "questionable": "q", "explicit": "e",
}  # fmt: skip
"""What sites write -> letter."""
_FLAGS = {
    "true": True, "t": True, "1": True, "1.0": True, "false": False, "f": False, "0": False, "0.0": False,
}  # fmt: skip
_INT64 = 2**63
_INT32 = 2**31
_MD5 = re.compile(r"[0-9a-f]{32}")
_EXTENSION = re.compile(r"[a-z0-9]{1,8}")
# With `.0`, as pandas writes a column that has gaps.
_INTEGER = re.compile(r"(-?[0-9]{1,19})(?:\.0)?")
# Ruby's way to write a time, which Gelbooru's engine uses: Sat Sep 13 06:00:00 -0500 2025
_RUBY_TIME = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) (\d\d) (\d\d:\d\d:\d\d) ([+-]\d\d)(\d\d) (\d{4})")
_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}

Record = Mapping[str, Any]


class RecordError(ValueError):
    """A record that cannot be used; `code` is a key of RECORD_CODES."""

    def __init__(self, code: str, detail: str):
        self.code = code
        self.detail = detail[:300]
        super().__init__(f"{code}: {self.detail}")


def first(record: Record, *names: str) -> tuple[str, Any]:
    """The first name that has a value, and the value; or the first name and None."""
    return next(((name, record[name]) for name in names if record.get(name) is not None), (names[0], None))


def integer(record: Record, *names: str) -> int | None:
    """An integer of 64 bits, also written as text or as 12.0, which old dumps and pandas do."""
    name, value = first(record, *names)
    if value is None:
        return None
    if isinstance(value, str) and (written := _INTEGER.fullmatch(value)):
        value = int(written[1])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -_INT64 <= value < _INT64:
        raise RecordError("bad_record", f"{name}: {shown(value)} is not an integer of 64 bits")
    return value


def number(record: Record, *names: str) -> float | None:
    """A finite number that a float of 32 bits can hold, also written as text."""
    name, value = first(record, *names)
    if value is None:
        return None
    try:
        found = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not abs(found) < 3.4e38:
        raise RecordError("bad_record", f"{name}: {shown(value)} is not a finite number")
    return found


def side(record: Record, *names: str) -> int | None:
    """Pixels; 0 is how sites write an unknown size."""
    value = integer(record, *names)
    if value is not None and not 0 <= value < _INT32:
        raise RecordError("bad_record", f"{first(record, *names)[0]}: {value} is not a number of pixels")
    return value or None


def text(record: Record, *names: str) -> str | None:
    """Text that is not empty."""
    name, value = first(record, *names)
    if value is not None and not isinstance(value, str):
        raise RecordError("bad_record", f"{name}: {shown(value)} is not text")
    return value or None


def flag(record: Record, name: str) -> bool:
    """True or false, also as 0 and 1 or as the words and letters that databases export; unknown is false."""
    value = record.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, str | int | float) and (found := _FLAGS.get(str(value).lower())) is not None:
        return found
    raise RecordError("bad_record", f"{name}: {shown(value)} is neither true nor false")


def md5(record: Record, *names: str) -> str | None:
    """32 hexadecimal digits, in lower case."""
    value = text(record, *names)
    if value is not None and not _MD5.fullmatch(value := value.lower()):
        raise RecordError("bad_record", f"md5: {shown(value)} is not 32 hexadecimal digits")
    return value


def extension(value: str) -> str:
    """A stated extension in lower case without its dot."""
    if not _EXTENSION.fullmatch(found := value.lower().lstrip(".")):
        raise RecordError("bad_record", f"file_ext: {shown(found)} is not an extension")
    return found


def extension_of(name: str) -> str | None:
    """The extension of a file's name or URL in lower case; None where it has none."""
    _, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return suffix.lower() if dot and suffix.isascii() and _EXTENSION.fullmatch(suffix.lower()) else None


def rating(value: str) -> str:
    """g, s, q or e, or AMBIGUOUS_S."""
    if value.lower() not in RATINGS:
        raise RecordError("bad_record", f"rating: {shown(value)} is none of {', '.join(RATINGS)}")
    return RATINGS[value.lower()]


def time(value: Any) -> datetime.datetime | None:
    """UTC, of ISO 8601 or Ruby's form; None when there is no such time.

    Danbooru writes US-Eastern time whose offset changes with the season.
    """
    try:
        if isinstance(value, str):
            if ruby := _RUBY_TIME.fullmatch(value):
                month, day, clock, hours, minutes, year = ruby.groups()
                value = f"{year}-{_MONTHS.get(month, 0):02}-{day}T{clock}{hours}:{minutes}"
            value = datetime.datetime.fromisoformat(value.removesuffix(" UTC"))
        if not isinstance(value, datetime.datetime):
            return None
        zoned = value if value.tzinfo is not None else value.replace(tzinfo=datetime.UTC)
        return zoned.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return None


def distinct_tags(tags: Sequence[str]) -> list[str]:
    """Tags as they are kept: cleaned, with underscores for spaces, without empty ones, each once, in their order."""
    together = "".join(tags)
    if not together.isascii() or not together.isprintable() or " " in together:
        tags = ["_".join(clean(tag).split()) for tag in tags]
    distinct = dict.fromkeys(tags)
    distinct.pop("", None)
    for tag in distinct:
        if len(tag) > MAX_TAG_BYTES // 4 and len(tag.encode()) > MAX_TAG_BYTES:
            raise RecordError("bad_record", f"tags: {shown(tag)} is longer than {MAX_TAG_BYTES} bytes")
    return list(distinct)


def captions(record: Record, name: str) -> list[str]:
    """Natural-language texts, cleaned, each once: a text or a list of texts. Raises RecordError (bad_caption)."""
    value = record.get(name)
    texts = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise RecordError("bad_caption", f"{name}: {shown(value)} is neither text nor a list of texts")
    cleaned = dict.fromkeys(" ".join(clean(each).split()) for each in texts)
    cleaned.pop("", None)
    if any(len(each.encode()) > MAX_CAPTION_BYTES for each in cleaned):
        raise RecordError("bad_caption", f"{name}: a caption is longer than {MAX_CAPTION_BYTES} bytes")
    return list(cleaned)


def clean(value: str) -> str:
    """NFKC without control and format characters (bidi marks, zero width): what is seen is what is there."""
    if value.isascii() and value.isprintable():
        return value
    normal = unicodedata.normalize("NFKC", value)
    return "".join(" " if char in "\t\n\r" else char for char in normal if _is_text(char))


def check_unicode(value: Any) -> None:
    """Raise RecordError (bad_unicode) for text that UTF-8 cannot hold, at any depth."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise RecordError("bad_unicode", "half a surrogate pair") from error


def kind(value: Any) -> str:
    """What a value is, in words."""
    return {dict: "an object", list: "a list", str: "text", type(None): "null", bool: "a truth value"}.get(
        type(value), "a number"
    )


def shown(value: Any) -> str:
    """A value for a message, shortened."""
    found = kind(value) if isinstance(value, dict | list) else repr(value)
    return found if len(found) <= 80 else f"{found[:77]}..."


def _is_text(char: str) -> bool:
    return char in "\t\n\r" or unicodedata.category(char) not in ("Cc", "Cf")
