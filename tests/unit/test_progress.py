"""Progress: lines where there is no terminal, a bar where there is one, silence when asked for."""

from __future__ import annotations

import io
import sys

import pytest

from animetune import progress
from animetune.progress import track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.delenv("ANIMETUNE_PROGRESS")
    return now


def lines(captured: pytest.CaptureFixture[str]) -> list[str]:
    out, err = captured.readouterr()
    assert out == ""
    return err.splitlines()


def test_lines_are_few_and_say_how_long_it_will_take(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with track("shard", total=400) as tracked:
        for _ in range(400):
            clock[0] += 0.125
            tracked.advance(1, images=12345.678, loss=0.1)
    assert lines(capsys) == [
        "shard: 80/400 (20 %), 8/s, 40 s left, images 1.235e+04, loss 0.1",
        "shard: 160/400 (40 %), 8/s, 30 s left, images 1.235e+04, loss 0.1",
        "shard: 240/400 (60 %), 8/s, 20 s left, images 1.235e+04, loss 0.1",
        "shard: 320/400 (80 %), 8/s, 10 s left, images 1.235e+04, loss 0.1",
        "shard: 400/400 (100 %), 8/s, took 50 s, images 1.235e+04, loss 0.1",
    ]


def test_slow_work_of_unknown_length(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with track("tag") as tracked:
        clock[0] += 30
        tracked.advance(2)
    assert lines(capsys)[-1] == "tag: 2, 15 s each"


def test_what_was_done_before_does_not_count_for_the_pace(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with track("train", total=1000, done=900) as tracked:
        clock[0] += 10
        tracked.advance(10)
    assert lines(capsys)[0] == "train: 910/1000 (91 %), 1/s, 2 min left"
    with track("curate") as tracked:
        tracked.reach(900, 1000)
        clock[0] += 20
        tracked.reach(910, 1000)
    assert lines(capsys)[0] == "curate: 910/1000 (91 %), 2 s each, 3 min left"


DURATIONS = [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3540, "59 min"), (3600, "1 h 00 min"), (90000, "25 h 00 min")]


@pytest.mark.parametrize(("seconds", "text"), DURATIONS)
def test_durations(seconds: float, text: str) -> None:
    assert progress.duration_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 KB"),
        (999_499, "999 KB"),
        (999_500, "1 MB"),
        (1_234_567_890, "1.23 GB"),
        (12_345_678_901_234, "12.35 TB"),
    ],
)
def test_bytes(count: float, text: str) -> None:
    assert progress.bytes_text(count) == text


def test_words_are_shown_as_they_are(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with track("shard", total=2) as tracked:
        clock[0] += 20
        tracked.advance(1, written="1.5 GB")
    assert lines(capsys)[-1] == "shard: 1/2 (50 %), 20 s each, 20 s left, written 1.5 GB"


def test_is_silent_when_asked_and_on_other_ranks(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANIMETUNE_PROGRESS", "0")
    with track("x", 1) as tracked:
        tracked.advance(1)
        assert tracked.done == 1
    monkeypatch.delenv("ANIMETUNE_PROGRESS")
    monkeypatch.setenv("RANK", "1")
    with track("x", 1) as tracked:
        tracked.advance(1)
    assert lines(capsys) == []
    monkeypatch.setenv("RANK", "0")
    with track("x", 1) as tracked:
        tracked.advance(1)
    assert len(lines(capsys)) == 1


def test_a_terminal_gets_a_bar(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    with track("shard [x]", total=4) as tracked:
        for _ in range(4):
            clock[0] += 1
            tracked.advance(1, loss=0.5)
    text = terminal.getvalue()
    assert "━" in text
    assert "\x1b[" in text
    assert "shard [x]: 2/4 (50 %), 1/s, 2 s left, loss 0.5" in text
    assert "shard [x]: 4/4 (100 %), 1/s, took 4 s, loss 0.5" in text


def test_an_exception_passes_and_the_last_state_is_shown(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        with track("x", 4) as tracked:
            clock[0] += 1
            tracked.advance(3)
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert lines(capsys) == ["x: 3/4 (75 %), 3/s, 0 s left"]
