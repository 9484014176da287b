"""What comes back from a model: a whole answer, a refusal of this one request, or nothing that can be used."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from animetune.vlm.requests import Request

REFUSED = "refused"
"""Code: the server takes no such request about this picture (status 400 and the like)."""
FAILED = "failed"
"""Code: the server did not manage to answer, however often it was asked."""
UNREADABLE = "unreadable"
"""Code: the picture cannot be opened any more."""
HANDLING_CODES = {
    REFUSED: "the server refuses the request about this picture",
    FAILED: "the server failed to answer, however often it was asked",
    UNREADABLE: "the picture cannot be opened any more",
}
"""Code -> meaning, of what stands in place of an answer; `outcomes.CODES` are of what is wrong with answers."""


TOPS = 16
"""Tokens of an answer whose likelihood is kept."""
Top = tuple[str, Mapping[str, float]]
"""A token, and token -> log probability of what could have stood there."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, or `code` (REFUSED, FAILED) and `text` why there is none. Kept, either way."""

    text: str
    finish: str = "stop"
    """Why it ends: `stop`, `length`, `content_filter` ..."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    code: str | None = None
    tops: tuple[Top, ...] = ()
    """Of the first TOPS tokens, where the request asked for `logprobs`: the token, and what was likeliest there."""

    def to_record(self, digest: str) -> dict[str, Any]:
        """The line of a log."""
        kept = {name: getattr(self, name) for name in ("text", "finish", "prompt_tokens", "completion_tokens")}
        if self.code is not None:
            kept["code"] = self.code
        if self.tops:
            kept["tops"] = [list(top) for top in self.tops]
        return {"digest": digest, **kept}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Reply:
        """From the line of a log."""
        values = {name: value for name, value in record.items() if name != "digest"}
        if "tops" in values:
            values["tops"] = tuple((token, likeliest) for token, likeliest in values["tops"])
        return cls(**values)


class BadReplyError(Exception):
    """A body that is no answer of the protocol: cut, junk, of another schema."""


class Backend(Protocol):
    """Whoever answers requests."""

    async def complete(self, request: Request, *, is_last: bool = True) -> Reply:
        """The reply to a request.

        Raises SetupError when it makes no sense to ask anything, RequestLimitError when no more may be asked,
        PictureError for a picture that cannot be opened, and, unless `is_last`, UnansweredError where it had better be
        asked once more when others were.
        """

    async def close(self) -> None:
        """End connections, free memory."""


class UnansweredError(Exception):
    """The server did not manage to answer, and perhaps nobody would have been answered."""


def read_reply(body: bytes) -> Reply:
    """The answer in the body of a response. BadReplyError where there is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadReplyError(f"not JSON: {body[:60]!r}") from error
    match found:
        case {"choices": [{"message": {"content": str() | None as text}, **choice}, *_], **rest}:
            usage = rest.get("usage")
            finish = choice.get("finish_reason")
            return Reply(
                text=_clean(text or ""),
                finish=finish if isinstance(finish, str) else "stop",
                prompt_tokens=_count(usage, "prompt_tokens"),
                completion_tokens=_count(usage, "completion_tokens"),
                tops=_tops(choice.get("logprobs")),
            )
    raise BadReplyError(f"not of the schema of chat completions: {body[:60]!r}")


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which JSON may name and no file can hold."""
    return text.encode("utf-8", "replace").decode()


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else 0


def _tops(logprobs: Any) -> tuple[Top, ...]:
    """Of the field `logprobs` of a choice; none where it is not as the protocol has it."""
    found: list[Top] = []
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    for each in content[:TOPS] if isinstance(content, list) else ():
        match each:
            case {"token": str() as token, "top_logprobs": list() as listed}:
                found.append((_clean(token), _likeliest(listed)))
    return tuple(found)


def _likeliest(listed: list[Any]) -> dict[str, float]:
    """Token -> log probability, of those that have a finite one."""
    found = {}
    for each in listed:
        match each:
            case {"token": str() as token, "logprob": int() | float() as logprob} if math.isfinite(logprob):
                found[_clean(token)] = float(logprob)
    return found
