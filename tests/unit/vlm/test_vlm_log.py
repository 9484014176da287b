"""The log of answers: on the disk before anybody sees them, whatever is torn off at its end, and small in memory."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from animetune import fsio
from animetune.errors import DataError
from animetune.vlm import log as log_module
from animetune.vlm.log import ANSWERS, AnswerLog
from animetune.vlm.replies import FAILED, Reply


def digest(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"


def filled(folder: Path, count: int) -> dict[str, Reply]:
    replies = {digest(n): Reply(f"caption {n}\n\u2028é", "stop", n, 2 * n) for n in range(count)}

    async def put() -> None:
        await asyncio.gather(*(log.put(name, reply) for name, reply in replies.items()))

    with AnswerLog(folder) as log:
        asyncio.run(put())
        assert {name: log.get(name) for name in replies} == replies
    return replies


def test_what_was_put_is_there_for_the_next_run(tmp_path: Path):
    replies = filled(tmp_path, 300)
    with AnswerLog(tmp_path) as log:
        assert len(log) == 300
        assert {name: log.get(name) for name in replies} == replies
        assert log.get(digest(301)) is None


def test_it_is_on_the_disk_when_put_returns_and_many_share_a_flush(tmp_path: Path, monkeypatch):
    synced: list[int] = []
    fsync = os.fsync

    def noted(file: int) -> None:
        fsync(file)
        if stat.S_ISREG(os.fstat(file).st_mode):
            synced.append(os.fstat(file).st_size)

    monkeypatch.setattr(fsio.os, "fsync", noted)

    async def put() -> None:
        async def one(number: int) -> None:
            await log.put(digest(number), Reply(f"caption {number}"))
            assert f'caption {number}"' in (tmp_path / ANSWERS).read_text()[: synced[-1]]

        await asyncio.gather(*(one(number) for number in range(100)))

    with AnswerLog(tmp_path) as log:
        asyncio.run(put())
    assert 1 <= len(synced) <= 5


def test_a_full_disk_is_told_to_those_who_wait(tmp_path: Path, monkeypatch):
    def full(*args, **settings):
        raise OSError(28, "No space left on device")

    async def put() -> None:
        found = await asyncio.gather(*(log.put(digest(n), Reply("x")) for n in range(3)), return_exceptions=True)
        assert [type(each) for each in found] == [OSError] * 3

    with AnswerLog(tmp_path) as log:
        monkeypatch.setattr(log_module.fsio, "append_lines", full)
        asyncio.run(put())
        assert log.get(digest(0)) is None


@hypothesis.settings(max_examples=25)
@hypothesis.given(st.integers(min_value=1, max_value=400))
def test_a_torn_last_line_costs_one_answer(tmp_path_factory, cut: int):
    folder = tmp_path_factory.mktemp("log")
    replies = filled(folder, 5)
    file = folder / ANSWERS
    data = file.read_bytes()[:-cut]
    file.write_bytes(data)
    whole = data.count(b"\n")
    with AnswerLog(folder) as log:
        assert len(log) == whole
        known = [name for name in replies if log.get(name) == replies[name]]
        assert known == list(replies)[:whole]
        asyncio.run(log.put(digest(9), Reply("the next")))
        assert log.get(digest(9)) == Reply("the next")
    with AnswerLog(folder) as log:
        assert len(log) == whole + 1


def test_damage_is_named(tmp_path: Path):
    filled(tmp_path, 3)
    file = tmp_path / ANSWERS
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + b"nonsense\n" + lines[2])
    with pytest.raises(DataError, match=r"answers\.jsonl:2: "):
        AnswerLog(tmp_path)
    file.write_bytes(lines[0] + lines[1].replace(b'"text"', b'"text') + lines[2])
    with AnswerLog(tmp_path) as log, pytest.raises(DataError, match=f"byte {len(lines[0])} is damaged"):
        log.get(digest(1))


def test_new_answers_join_the_index_and_the_last_of_equal_ones_counts(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(log_module, "_MOST_NEW", 20)
    replies = filled(tmp_path, 100)
    with AnswerLog(tmp_path) as log:
        asyncio.run(log.put(digest(7), Reply("another")))
    with AnswerLog(tmp_path) as log:
        assert len(log) == 100
        assert {name: log.get(name) for name in replies} == replies | {digest(7): Reply("another")}


def test_answers_that_are_none_are_kept_and_asked_for_again_on_demand(tmp_path: Path):
    failed = Reply("status 500", finish="", code=FAILED)
    with AnswerLog(tmp_path) as log:
        asyncio.run(log.put(digest(1), failed))
    with AnswerLog(tmp_path) as log:
        assert log.get(digest(1)) == failed
    with AnswerLog(tmp_path, ask_again=True) as log:
        assert log.get(digest(1)) is None
        asyncio.run(log.put(digest(1), Reply("good")))
    with AnswerLog(tmp_path) as log:
        assert log.get(digest(1)) == Reply("good")
