"""Curations that ask a server for captions: their configuration, in small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.builders import curate_config
from tests.caption_server import CaptionServer

UNCHECKED = {"people": False, "hair": False, "eyes": False, "clothes": False}
"""The fake server knows no tags."""
FAST = {
    "concurrency": 8,
    "connect": 1.0,
    "read": 0.4,
    "attempts": 3,
    "backoff": 0.01,
    "longest_wait": 0.02,
    "breaker_failures": 40,
    "breaker_pause": 0.05,
    "breaker_pauses": 1,
}
"""How the server is asked, with waits of milliseconds."""


def captions(server: CaptionServer, **changes: Any) -> dict[str, Any]:
    """The group `captions` with one model; `client` and `long` add to what is here, others replace it."""
    long = {"base_url": server.base_url, "model": "eyes", **changes.pop("long", {})}
    client = {**FAST, **changes.pop("client", {})}
    checks = {**UNCHECKED, **changes.pop("checks", {})}
    return {
        "long": long,
        "client": client,
        "checks": checks,
        "existing": "replace",
        "picture": {"format": "PNG"},
        **changes,
    }


def captioned_config(posts: Path, out: Path, server: CaptionServer, **changes: Any) -> Any:
    """A curation of what `write_posts` wrote; `changes` are of its captions, but for those of `CURATE`."""
    of_curate = {name: changes.pop(name) for name in CURATE if name in changes}
    return curate_config(posts, out=out, captions=captions(server, **changes), **of_curate)


CURATE = ("answers", "balance", "filters", "executor", "pictures")
