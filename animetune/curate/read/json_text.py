"""JSON of untrusted bytes, strictly: no NaN or infinity, no key twice, no half surrogates."""

from __future__ import annotations

import json
import math
from typing import Any

from animetune.curate.read.fields import RecordError, check_unicode


def parse_json(line: bytes) -> Any:
    """The JSON value of a line. Raises RecordError."""
    value = _decoded(line, _raise)
    if b"\\ud" in line or b"\\uD" in line:
        try:
            check_unicode(value)
        except RecursionError as error:
            raise RecordError("bad_json", "is nested too deeply") from error
    return value


def parse_items(data: bytes) -> Any:
    """The JSON value of a file; what is wrong with one item of a list or object stands there as a RecordError.

    Raises RecordError when the file as a whole is no JSON.
    """
    value = _decoded(data, lambda error: error)
    if isinstance(value, dict):
        return {_printable(name): _checked_item(name, item) for name, item in value.items()}
    if isinstance(value, list):
        return [_checked(item) for item in value]
    return _checked(value)


def _checked(item: Any) -> Any:
    """The item, or the first error anywhere in it."""
    try:
        if (error := _error_in(item)) is not None:
            return error
        check_unicode(item)
    except RecursionError:
        return RecordError("bad_json", "is nested too deeply")
    except RecordError as error:
        return error
    return item


def _checked_item(name: str, item: Any) -> Any:
    error = _checked(name)
    return error if isinstance(error, RecordError) else _checked(item)


def _printable(name: str) -> str:
    """A key that UTF-8 can hold; its item is an error where it could not."""
    return name.encode(errors="replace").decode()


def _error_in(item: Any) -> RecordError | None:
    if isinstance(item, RecordError):
        return item
    if isinstance(item, list | dict):
        inner = item if isinstance(item, list) else item.values()
        return next((found for found in map(_error_in, inner) if found is not None), None)
    return None


def _decoded(data: bytes, refuse: Any) -> Any:
    """The value; `refuse` is given the RecordError of each part that is JSON but not strict."""

    def constant(name: str) -> Any:
        return refuse(RecordError("bad_json", f"{name} is not JSON"))

    def finite(text: str) -> Any:
        value = float(text)
        return value if math.isfinite(value) else refuse(RecordError("bad_json", f"{text[:20]} is no finite number"))

    def distinct(pairs: list[tuple[str, Any]]) -> Any:
        record = dict(pairs)
        if len(record) < len(pairs):
            names = [name for name, _ in pairs]
            return refuse(RecordError("dup_key", next(repr(name) for name in names if names.count(name) > 1)))
        return record

    try:
        text = data.decode("utf-8")
        return json.loads(text, parse_constant=constant, parse_float=finite, object_pairs_hook=distinct)
    except RecordError:
        raise
    except UnicodeDecodeError as error:
        raise RecordError("bad_unicode", f"byte {error.start} is not UTF-8") from error
    # json raises ValueError for syntax and for integers of thousands of digits, RecursionError for deep nesting.
    except (ValueError, RecursionError) as error:
        raise RecordError("bad_json", str(error)) from error


def _raise(error: RecordError) -> Any:
    raise error
