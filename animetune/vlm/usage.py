"""How much a run asks: requests against its limit, what came of them, and tokens."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import Any

from animetune.errors import RequestLimitError
from animetune.vlm.config import ModelConfig
from animetune.vlm.errand import Errand
from animetune.vlm.replies import Reply


def cost(model: ModelConfig, prompt_tokens: int, completion_tokens: int) -> float | None:
    """Price of so many tokens, in the currency of the model's prices; None where it has none."""
    if model.prompt_price is None and model.completion_price is None:
        return None
    paid = prompt_tokens * (model.prompt_price or 0.0) + completion_tokens * (model.completion_price or 0.0)
    return round(paid / 1e6, 6)


class Usage:
    """Counts of one run, for its progress, its end, and the log of runs. Not for manifests: a run that was killed has
    others than one that was not."""

    def __init__(self, max_requests: int | None = None, errand: Errand | None = None):
        self.errand = errand or Errand()
        self.max_requests = max_requests
        self.requests = 0
        self.cached = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.failures: Counter[str] = Counter()
        self._trouble: str | None = None
        self._began = time.monotonic()
        self._spent = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Wait before a request is sent again; RequestLimitError at once when no more may be sent."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._spent.wait()
        if self._spent.is_set():
            raise self._limit_reached()

    def sending(self) -> None:
        """A request is about to be sent. RequestLimitError when no more may be."""
        if self.max_requests is not None and self.requests >= self.max_requests:
            self._spent.set()
            raise self._limit_reached()
        self.requests += 1

    def answered(self, reply: Reply) -> None:
        """An answer came."""
        self._trouble = None
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens

    def failed(self, kind: str) -> None:
        """Nothing came, and why."""
        self._trouble = kind
        self.failures[kind] += 1

    def refused(self) -> None:
        """The server would not take the request."""
        self.failures["refused"] += 1

    def _limit_reached(self) -> RequestLimitError:
        return RequestLimitError(
            f"{self.errand.name}: all {self.max_requests} requests that this run may send (max_requests) were sent, "
            "and pictures are left; all answers are kept: run the same command again to go on"
        )

    @property
    def retries(self) -> int:
        """Requests that were sent in vain."""
        return sum(self.failures.values()) - self.failures["refused"]

    def shown(self) -> dict[str, float | str]:
        """Beside the progress."""
        pace = self.requests / max(time.monotonic() - self._began, 1e-9)
        shown: dict[str, float | str] = {"requests": f"{self.requests:,}", "requests/s": pace}
        if self.retries:
            shown |= {
                "retries": f"{self.retries:,}",
                "server": f"fails ({self._trouble})" if self._trouble else "answers",
            }
        if self.failures["refused"]:
            shown["refused"] = f"{self.failures['refused']:,}"
        return shown

    def to_record(self) -> dict[str, Any]:
        """A line of the log of runs."""
        return {
            "requests": self.requests,
            "cached": self.cached,
            "retries": self.retries,
            "failures": dict(sorted(self.failures.items())),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
        }
