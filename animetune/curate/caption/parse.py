"""From the answer of a model to a draft."""

from __future__ import annotations

import json

from animetune.curate.caption.outcomes import Draft, Form, Rejected

__all__ = ["Draft", "Rejected", "parse"]


def parse(text: str, form: Form) -> Draft:
    """The captions that an answer holds. Raises Rejected."""
    text = text.strip()
    if not text:
        raise Rejected("empty")
    if form == "both":
        try:
            found = json.loads(text)
        except ValueError as error:
            raise Rejected("not_json", str(error)) from error
        return Draft((found["long"],), (found["short"],))
    return Draft(short=(text,)) if form in ("short", "compress") else Draft(long=(text,))
