"""Answers as they came, one JSON line each, appended and flushed to the disk before anybody may use them.

    <folder>/answers.jsonl      digest, text, finish, prompt_tokens, completion_tokens[, code, tops]
    <folder>/runs.jsonl         what each run asked of the server: requests, retries, tokens

Whole answers that were no good are kept, and so are refusals: nothing that was answered is asked again. Lines are only
ever added. A kill costs those requests that were under way.

The index holds 24 bytes an answer (two halves of the digest, an offset): 170 MB for seven million.
"""

from __future__ import annotations

import array
import asyncio
import json
import mmap
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from animetune import fsio
from animetune.errors import DataError
from animetune.vlm.replies import Reply

ANSWERS = "answers.jsonl"
RUNS = "runs.jsonl"

_DIGEST = re.compile(rb'"digest":"([0-9a-f]{32})"')
_BLOCK = 4096
"""Bytes read at once; an answer has one or two thousand."""
_MOST_NEW = 262_144
"""Answers in a dictionary, which takes six times the room of the index, before they join it."""


class AnswerLog:
    """The answers of one model. Inside `with`; `put` and `flush` belong to one running event loop."""

    def __init__(self, folder: Path, *, ask_again: bool = False):
        self.folder = folder
        self.path = folder / ANSWERS
        self._ask_again = ask_again
        self._index = _read_index(self.path)
        self._new: dict[str, int] = {}
        self._stream: Any = None
        self._waiting: list[tuple[dict[str, Any], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    def __enter__(self) -> AnswerLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
        left, self._waiting = self._waiting, []
        if left:  # Ctrl-C came between an answer and its line
            fsio.append_lines(self.path, [record for record, _ in left], durable=True)

    def __len__(self) -> int:
        return len(self._index) + len(self._new)

    def get(self, digest: str) -> Reply | None:
        """The reply to a request, if one was kept. DataError for a line that is damaged."""
        at = self._new.get(digest)
        if at is None:
            at = self._index.find(digest)
            if at is None:
                return None
            reply = self._read(digest, at)
            return None if reply.code is not None and self._ask_again else reply
        return self._read(digest, at)

    async def put(self, digest: str, reply: Reply) -> None:
        """Keep a reply; it is on the disk when this returns. Many that wait together cost one flush."""
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        self._waiting.append((reply.to_record(digest), written))
        if self._writer is None or self._writer.done():
            self._writer = loop.create_task(self._write())
        await asyncio.shield(written)

    async def flush(self) -> None:
        """Wait until all that was put is on the disk."""
        while self._writer is not None and not self._writer.done():
            await asyncio.shield(self._writer)

    def note_run(self, record: dict[str, Any]) -> None:
        """Keep what a run asked for."""
        fsio.append_lines(self.folder / RUNS, [record], durable=True)

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            records = [record for record, _ in batch]
            try:
                at = await asyncio.to_thread(fsio.append_lines, self.path, records, durable=True)
            except BaseException as error:
                for _, written in batch:
                    if not written.done():
                        written.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                return
            for record, written in batch:
                self._new[record["digest"]] = at
                at += len(fsio.canonical_json(record).encode()) + 1
                if not written.done():
                    written.set_result(None)
            if len(self._new) > _MOST_NEW:
                self._index, self._new = self._index.with_new(self._new), {}

    def _read(self, digest: str, at: int) -> Reply:
        if self._stream is None:
            # without a buffer, which would show what stood behind the end before lines were added
            self._stream = open(self.path, "rb", buffering=0)  # noqa: SIM115
        line = b""
        while not line.endswith(b"\n") and (more := os.pread(self._stream.fileno(), _BLOCK, at + len(line))):
            line += more[: end + 1] if (end := more.find(b"\n")) >= 0 else more
        try:
            record = json.loads(line)
            if record["digest"] == digest:
                return Reply.of_record(record)
        except (ValueError, TypeError, KeyError):
            pass
        raise DataError(f"{self.path}: the line at byte {at} is damaged; remove it, and its request is asked again")


class _Index:
    """Digest -> offset, sorted by digest; of equal ones the greatest offset. Three arrays of 8 bytes an answer."""

    def __init__(self, high: np.ndarray, low: np.ndarray, at: np.ndarray):
        order = np.lexsort((at, low, high))
        self.high, self.low, self.at = high[order], low[order], at[order]
        is_last = np.ones(len(at), bool)
        is_last[:-1] = (self.high[1:] != self.high[:-1]) | (self.low[1:] != self.low[:-1])
        if not is_last.all():
            self.high, self.low, self.at = self.high[is_last], self.low[is_last], self.at[is_last]

    def __len__(self) -> int:
        return len(self.at)

    def find(self, digest: str) -> int | None:
        """Offset of the line; by bisection."""
        high, low = _halves(digest)
        place = int(np.searchsorted(self.high, np.uint64(high)))
        while place < len(self) and self.high[place] == high:
            if self.low[place] == low:
                return int(self.at[place])
            place += 1
        return None

    def with_new(self, found: Mapping[str, int]) -> _Index:
        """With further answers."""
        halves = np.array([_halves(digest) for digest in found], np.uint64).reshape(-1, 2)
        at = np.fromiter(found.values(), np.int64, len(found))
        joined = zip((self.high, self.low, self.at), (halves[:, 0], halves[:, 1], at), strict=True)
        return _Index(*(np.concatenate(pair) for pair in joined))


def _read_index(path: Path) -> _Index:
    """Of all lines with a newline. DataError for one that is no answer."""
    high, low, at = array.array("Q"), array.array("Q"), array.array("q")
    if path.exists() and path.stat().st_size:
        with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for upper, lower, start in _lines(data, path):
                high.append(upper)
                low.append(lower)
                at.append(start)
    return _Index(np.array(high, np.uint64), np.array(low, np.uint64), np.array(at, np.int64))


def _lines(data: mmap.mmap, path: Path) -> Iterator[tuple[int, int, int]]:
    """High and low half of the digest, and offset, of each line with a newline."""
    start, number = 0, 0
    while (end := data.find(b"\n", start)) >= 0:
        number += 1
        # keys are sorted, and only `code` and `completion_tokens` come before it: no need to read the text
        found = _DIGEST.search(data, start, min(end, start + 200))
        if found is None:
            raise DataError(f"{path}:{number}: is no answer of a model; restore or remove that line")
        yield *_halves(found[1].decode()), start
        start = end + 1


def _halves(digest: str) -> tuple[int, int]:
    return int(digest[:16], 16), int(digest[16:], 16)
