"""A launched command: its exit code is handed on, signals reach it once, and nothing of it outlives who wanted it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from animetune.errors import AnimetuneError, ConfigError, Preempted, SetupError
from animetune.recipe import launch
from animetune.recipe.launch import Stops

ROOT = Path(__file__).resolve().parents[3]

LAUNCHER = """
import os, signal, subprocess, sys, time
from pathlib import Path

out = Path(sys.argv[1])
def note(number, _):
    with open(out / "signals", "a") as file:
        file.write(f"{signal.Signals(number).name}\\n")
    sys.exit(75 if number != signal.SIGINT else 130)
for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(each, note)
# As torchrun does it: in a session of its own, and deaf to what ends its parent.
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
(out / "pids.new").write_text(f"{os.getpid()} {worker.pid}")
os.rename(out / "pids.new", out / "pids")
while True:
    time.sleep(0.05)
"""

STARTER = """
import sys
from pathlib import Path
from animetune.recipe import launch

with launch.Stops() as stops:
    launch.train([sys.executable, sys.argv[1], sys.argv[2]], Path("x.yaml"), stops)
"""


def wait_for(path: Path) -> None:
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until, f"{path} does not appear"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def all_end(pids: list[int]) -> bool:
    until = time.monotonic() + 15
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def started(tmp_path: Path) -> subprocess.Popen[bytes]:
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    command = [sys.executable, "-c", STARTER, str(tmp_path / "launcher.py"), str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    wait_for(tmp_path / "pids")
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signals_reach_the_launcher_once(started: subprocess.Popen[bytes], tmp_path: Path, number: int) -> None:
    pids = [int(each) for each in (tmp_path / "pids").read_text().split()]
    started.send_signal(number)
    _, errors = started.communicate(timeout=60)
    said = "KeyboardInterrupt" if number == signal.SIGINT else "Preempted: stopped by"
    assert said in errors.decode()
    assert (tmp_path / "signals").read_text() == f"{signal.Signals(number).name}\n"
    assert all_end(pids), "the worker in another session outlived its launcher"


def test_nothing_outlives_a_killed_recipe(started: subprocess.Popen[bytes], tmp_path: Path) -> None:
    pids = [int(each) for each in (tmp_path / "pids").read_text().split()]
    assert all(is_alive(pid) for pid in pids)
    started.kill()
    started.communicate(timeout=60)
    assert all_end(pids)
    assert not (tmp_path / "signals").exists()


def test_nor_a_killed_launcher(started: subprocess.Popen[bytes], tmp_path: Path) -> None:
    pids = [int(each) for each in (tmp_path / "pids").read_text().split()]
    os.kill(pids[0], signal.SIGKILL)
    _, errors = started.communicate(timeout=60)
    assert "was ended by SIGKILL (out of memory?)" in errors.decode()
    assert all_end(pids)


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (75, Preempted, "the checkpoint is saved, the same command continues"),
        (130, KeyboardInterrupt, ""),
        (2, ConfigError, "ended with exit code 2; what it said stands above"),
        (3, SetupError, "ended with exit code 3"),
        (7, AnimetuneError, "train x.yaml` ended with exit code 7"),
    ],
)
def test_exit_codes(code: int, kind: type[BaseException], said: str) -> None:
    with pytest.raises(kind) as caught, Stops() as stops:
        launch.train([sys.executable, "-c", f"raise SystemExit({code})"], Path("x.yaml"), stops)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["/opt/bin/torchrun", "-m", "animetune"], signal.SIGTERM),
        (["python", "-m", "torch.distributed.run", "-m", "animetune"], signal.SIGTERM),
        (["srun", "animetune"], signal.SIGUSR1),
    ],
)
def test_torchrun_would_die_of_sigusr1(command: list[str], expected: int) -> None:
    assert launch.handed_on(signal.SIGUSR1, command) == expected
    assert launch.handed_on(signal.SIGINT, command) == signal.SIGINT


def test_a_command_that_ends_well(tmp_path: Path) -> None:
    note = f"import sys; from pathlib import Path; Path({str(tmp_path / 'said')!r}).write_text(' '.join(sys.argv[1:]))"
    before = signal.getsignal(signal.SIGTERM)
    with Stops() as stops:
        launch.train([sys.executable, "-c", note], Path("a b.yaml"), stops)
    assert (tmp_path / "said").read_text() == "train a b.yaml"
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_command_that_there_is_not() -> None:
    with pytest.raises(AnimetuneError, match="exit code 127"), Stops() as stops:
        launch.train(["no-such-launcher"], Path("x.yaml"), stops)
