"""Asking with a memory: a request is looked up in the log of answers, and sent only when it was never answered."""

from __future__ import annotations

import asyncio

from animetune.vlm.log import AnswerLog
from animetune.vlm.replies import Backend, Reply
from animetune.vlm.requests import Request
from animetune.vlm.usage import Usage


class Asker:
    """One model and the log of its answers."""

    def __init__(self, backend: Backend, log: AnswerLog, usage: Usage):
        self._backend = backend
        self._log = log
        self._usage = usage
        self._under_way: dict[str, asyncio.Event] = {}

    async def ask(self, request: Request, *, is_last: bool = True) -> Reply:
        """The reply that was kept, or that of the model, which is on the disk before anybody sees it.

        Of equal requests at the same time, one is sent. Raises as `Backend.complete` does.
        """
        digest = request.digest
        while digest in self._under_way:
            await self._under_way[digest].wait()
        known = self._log.get(digest)
        if known is not None:
            self._usage.cached += 1
            return known
        answered = self._under_way[digest] = asyncio.Event()
        try:
            reply = await self._backend.complete(request, is_last=is_last)
            await self._log.put(digest, reply)
        finally:
            del self._under_way[digest]
            answered.set()
        return reply

    async def close(self) -> None:
        """Wait for the log, and end the backend."""
        try:
            await self._log.flush()
        finally:
            await self._backend.close()
