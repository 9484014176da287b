"""Many pictures looked at, one after the other, in a child process of the worker; files from afar are read ahead.

A picture on this machine is read by the child. Others are read by threads of the worker, READ_AHEAD at a time, so that
the waiting times of a network overlap with one another and with decoding; its failures stop the work and are no verdict
on a picture; and the child needs no network.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from animetune.curate.probe import Question, read_first
from animetune.errors import PictureError
from animetune.isolation import Isolated

READ_AHEAD = 16
"""Files from afar that are read at once, and held until it is their turn."""

Found = Mapping[str, Any] | PictureError
"""What is found in a picture, or why it is refused."""
Probe = Callable[[Question, tuple[str, bytes] | None], Mapping[str, Any]]
"""`probe.look_at`."""


def look_at_each(questions: Iterable[Question], probe: Probe, *, seconds: float, memory_bytes: int) -> Iterator[Found]:
    """What `probe` finds in each of the pictures, in order; within the limits of `Isolated`, whose child stays.

    Raises what reading raises, but for PictureError.
    """
    isolated = _isolated(probe, seconds, memory_bytes)
    for question, data in _read(questions):
        try:
            yield isolated(question, None if data is None else data.result())
        except PictureError as error:
            yield error


@functools.lru_cache(maxsize=1)
def _isolated(probe: Probe, seconds: float, memory_bytes: int) -> Probe:
    return Isolated(probe, seconds=seconds, memory_bytes=memory_bytes)


def _read(questions: Iterable[Question]) -> Iterator[tuple[Question, Future[tuple[str, bytes]] | None]]:
    """Each question with its file, if that comes from afar; the next ones are on their way already."""
    threads = ThreadPoolExecutor(READ_AHEAD)  # starts none before there is work for it
    try:
        coming = iter(questions)
        ahead = deque(_begin(question, threads) for question in islice(coming, READ_AHEAD))
        while ahead:
            yield ahead.popleft()
            ahead.extend(_begin(question, threads) for question in islice(coming, 1))
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _begin(question: Question, threads: ThreadPoolExecutor) -> tuple[Question, Future[tuple[str, bytes]] | None]:
    is_far = any("://" in url for url in question.candidates)
    return question, threads.submit(read_first, question.candidates) if is_far else None
