"""Signals that come again while the first is heeded."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from animetune.errors import Preempted
from animetune.train import signals
from animetune.train.signals import Stop

SIGINT, SIGTERM, SIGUSR1 = signal.SIGINT, signal.SIGTERM, signal.SIGUSR1


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass."""
    clock = [1000.0]

    def pass_by(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(signals.time, "monotonic", lambda: clock[0])
    return pass_by


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("first", [SIGUSR1, SIGTERM, SIGINT])
def test_what_schedulers_and_launchers_send_again_does_not_end_the_save(
    first: int, wait: Callable[[float], None]
) -> None:
    with Stop() as stop:
        stop.is_stepping = True
        send(first)
        wait(300)
        send(SIGTERM, SIGUSR1, SIGTERM)
        assert stop.received == first


def test_a_ctrl_c_that_arrives_twice_is_one_and_another_ends_at_once(wait: Callable[[float], None]) -> None:
    with Stop() as stop:
        stop.is_stepping = True
        send(SIGINT)
        wait(1.9)
        send(SIGINT)
        wait(0.2)
        with pytest.raises(SystemExit) as ended:
            send(SIGINT)
        assert ended.value.code == 130


def test_a_person_can_end_a_save_that_a_scheduler_asked_for(wait: Callable[[float], None]) -> None:
    with Stop() as stop:
        stop.is_stepping = True
        send(SIGTERM, SIGINT)
        assert stop.received == SIGTERM
        wait(3)
        with pytest.raises(SystemExit):
            send(SIGINT)


def test_a_run_that_ends_outside_of_training_is_not_interrupted_again() -> None:
    def run() -> None:
        with Stop():
            try:
                send(SIGTERM)
            finally:
                send(SIGTERM, SIGUSR1)

    with pytest.raises(Preempted, match="SIGTERM"):
        run()
