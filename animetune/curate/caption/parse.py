"""From the answer of a model to a draft: JSON or plain text, in code fences or not, with chatter around it or not.

An answer is data. It is measured before it is read, never run, and of a form that was not asked for nothing is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pydantic

from animetune.curate.caption.characters import Scene, to_text
from animetune.curate.caption.outcomes import Draft, Form, Rejected
from animetune.vlm.refusals import refusal
from animetune.vlm.texts import FENCE, is_open, is_thinking, json_objects, without_thoughts

__all__ = ["Draft", "Rejected", "parse"]

MOST_ANSWER = 64 * 1024
"""Longest answer in characters; no model is asked for a tenth of it."""
MOST_CAPTION = 8000
"""Longest caption in characters."""
MOST_CAPTIONS = 8
"""Most captions of a kind in one answer."""

_LABEL = re.compile(
    r"^\s*(?:#+\s*)?[*_]{0,3}(?:(?:short|long|detailed|final|compressed|shortened|image|picture)\s+)*(?:caption"
    r"|description|answer|output|summary"
    r"|response)\s*[*_]{0,3}\s*:\s*[*_]{0,3}\s*",
    re.IGNORECASE,
)
_BEFORE = re.compile(
    r"^\s*(?:(?:sure(?:\s+thing)?|certainly|of\s+course|okay|ok|absolutely|great(?:\s+question)?|alright|understood"
    r"|no\s+problem)\s*[!:.,]\s+"
    r"(?:i(?:['’]d|\s+would|['’]ll|\s+will)\s+[^.:!\n]{0,80}[.:!]\s+)?)?"
    r"(?:(?:here(?:['’]s|\s+is|\s+are)|this\s+is|below\s+is|the\s+following\s+is)\s+(?:an?|the|my"
    r"|your)\s+[^.:\n]{0,120}?"
    r"(?:caption|description|paragraph|version|summary|sentences?|json|answer|object|response)\b[^.:\n]{0,120}:\s*)?",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"\s*(?:(?:i\s+hope\s+(?:this|that|it)|let\s+me\s+know|feel\s+free|please\s+let\s+me|if\s+you\s+(?:need|want"
    r"|would|['’]d|have)"
    r"|would\s+you\s+like|is\s+there\s+anything)\b[^\n]*|\(?(?:word|token)\s+count\s*:?\s*\d+\)?\.?|\(\d+\s+(?:words"
    r"|tokens)\)\.?)\s*$",
    re.IGNORECASE,
)
_QUOTED = re.compile(r'^(?:"([^"]*)"|“([^”]*)”|\'([^\']*)\')$', re.DOTALL)
_TEXT_KEYS = {
    "long": ("long", "caption", "description", "text"),
    "short": ("short", "caption", "description", "text"),
    "compress": ("short", "caption", "description", "text"),
}


def parse(text: str, form: Form) -> Draft:
    """The captions that an answer holds.

    Raises Rejected: `empty`, `too_big`, `cut_off` (JSON that ends in the middle),
    `refusal` and `not_json` (no JSON where
    it was asked for), `wrong_schema`.
    """
    if len(text) > MOST_ANSWER:
        raise Rejected("too_big", f"{len(text)} characters, at most {MOST_ANSWER}")
    text = without_thoughts(text)
    if is_thinking(text):
        raise Rejected("cut_off", "the answer ends before the thought does")
    if not text:
        raise Rejected("empty")
    if form == "characters":
        return Draft(long=_sized(to_text(_scene(_object(text, ("characters",))))))
    if form == "both":
        found = _object(text, ("long", "short"))
        return Draft(_captions(found, "long"), _captions(found, "short"))
    captions = _plain(text, form)
    return Draft(long=captions) if form == "long" else Draft(short=captions)


def _plain(text: str, form: Form) -> tuple[str, ...]:
    """Captions of an answer that was to be plain text; a JSON object with one fitting key is one, too."""
    bare = FENCE.sub("", text).strip()
    if bare.startswith("{"):
        found = _object(bare, ())
        key = next((key for key in _TEXT_KEYS[form] if key in found), None)
        if key is None:
            raise Rejected("wrong_schema", f"plain text was asked for, and the object has {_keys(found)}")
        return _captions(found, key)
    bare = _LABEL.sub("", _BEFORE.sub("", bare, count=1), count=1)
    bare = FENCE.sub("", bare).strip()
    while (shorter := _AFTER.sub("", bare)) != bare:
        bare = shorter
    if quoted := _QUOTED.match(bare.strip()):
        bare = next(group for group in quoted.groups() if group is not None)
    return _sized(bare)


def _sized(caption: str) -> tuple[str, ...]:
    caption = " ".join(caption.split()) if "\n" not in caption.strip() else caption.strip()
    if not caption:
        raise Rejected("empty")
    if len(caption) > MOST_CAPTION:
        raise Rejected("too_big", f"a caption of {len(caption)} characters, at most {MOST_CAPTION}")
    return (caption,)


def _captions(found: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = found[key]
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list) or not all(isinstance(item, str) for item in several):
        raise Rejected("wrong_schema", f"{key!r} is {type(value).__name__}, not text")
    if len(several) > MOST_CAPTIONS:
        raise Rejected("too_big", f"{len(several)} captions, at most {MOST_CAPTIONS}")
    if not several:
        raise Rejected("empty", f"{key!r} lists no caption")
    try:
        return tuple(caption for item in several for caption in _sized(item))
    except Rejected as error:
        raise Rejected(error.code, f"{key!r} {error.detail}".strip()) from error


def _scene(found: Mapping[str, Any]) -> Scene:
    try:
        return Scene.model_validate(found)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Rejected("wrong_schema", f"{place}: {first['msg']}") from error


def _object(text: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """The first JSON object in a text that has the keys."""
    bare = FENCE.sub("", text).lstrip()
    if bare.startswith("{") and is_open(bare):  # what stands in its strings is no answer
        raise Rejected("cut_off", "the JSON object does not end")
    seen: dict[str, Any] | None = None
    for found in json_objects(text):
        if all(key in found for key in keys):
            return found
        seen = seen or found
    if seen is not None:
        raise Rejected("wrong_schema", f"asked for {', '.join(keys)}, and the object has {_keys(seen)}")
    if said := refusal(text):
        raise Rejected("refusal", said)
    if "{" in text:
        raise Rejected("cut_off" if is_open(text) else "not_json", "the JSON object cannot be read")
    raise Rejected("not_json", text[:80])


def _keys(found: Mapping[str, Any]) -> str:
    return ", ".join(repr(key)[:40] for key in list(found)[:8]) or "no key"
