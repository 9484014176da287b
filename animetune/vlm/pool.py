"""A fixed number of workers over a stream of items: bounded memory, and a stop that loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from animetune.errors import RequestLimitError

_T = TypeVar("_T")


async def work_through(items: Iterable[_T], work: Callable[[_T], Awaitable[None]], workers: int) -> None:
    """Call `work` for every item, `workers` at a time; items are drawn one by one, when a worker is free.

    The first error ends it. After RequestLimitError the others finish what they are at, since its answers are paid for;
    after any other they are cancelled.
    """
    stream = iter(items)
    failed: list[Exception] = []

    async def serve() -> None:
        for item in stream:
            if failed:
                return
            try:
                await work(item)
            except Exception as error:
                failed.append(error)
                return

    tasks = [asyncio.create_task(serve()) for _ in range(workers)]
    try:
        pending = set(tasks)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if any(not isinstance(error, RequestLimitError) for error in failed):
                break
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if failed:
        raise next((error for error in failed if not isinstance(error, RequestLimitError)), failed[0])
