"""A child that crashes, hangs or eats memory costs one call, is replaced, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from animetune.errors import PictureError, SetupError
from animetune.isolation import Isolated

GIB = 1 << 30


def act(what: str, *arguments):
    """What the child does."""
    match what:
        case "pid":
            return os.getpid()
        case "signal":
            os.kill(os.getpid(), arguments[0])
        case "exit":
            os._exit(3)
        case "sleep":
            time.sleep(arguments[0])
        case "hog":
            return len(bytearray(arguments[0]))
        case "numpy":
            return np.ones(arguments[0], np.uint8).nbytes
        case "once":
            path = Path(arguments[0])
            if not path.exists():
                path.touch()
                os.kill(os.getpid(), signal.SIGSEGV)
            return "twice"
        case "picture":
            raise PictureError("markup", "in line 1")
        case "odd":
            raise OddError("one", "two")
        case "os":
            raise OSError(5, "Input/output error", "a.png")
        case "modules":
            return sorted({name.partition(".")[0] for name in sys.modules})
        case "where":
            return os.getcwd()
        case "ignores":
            return signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return what, arguments


class OddError(Exception):
    """An exception that cannot be unpickled."""

    def __init__(self, one: str, two: str):
        super().__init__(f"{one} and {two}")


def isolated(seconds: float = 30, memory_bytes: int = GIB) -> Isolated:
    return Isolated(act, seconds=seconds, memory_bytes=memory_bytes)


def code_of(child: Isolated, *arguments) -> tuple[str, str]:
    with pytest.raises(PictureError) as caught:
        child(*arguments)
    return caught.value.code, caught.value.detail


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline, "the child outlives its parent"
        time.sleep(0.02)


def test_one_child_for_all_calls_where_its_caller_is(tmp_path: Path, monkeypatch):
    child = isolated()
    assert child.pid is None
    pid = child("pid")
    assert (pid != os.getpid(), child("pid"), child.pid) == (True, pid, pid)
    assert child("sum", 1, b"\0" * 300_000) == ("sum", (1, b"\0" * 300_000))
    assert child("ignores")
    monkeypatch.chdir(tmp_path)
    assert child("where") == str(tmp_path)
    child.close()
    assert (child.pid, is_running(pid)) == (None, False)
    assert child("pid") != pid
    child.close()


def test_errors_come_through():
    child = isolated()
    pid = child("pid")
    assert code_of(child, "picture") == ("markup", "in line 1")
    with pytest.raises(OSError, match=r"Input/output error: 'a\.png'") as caught:
        child("os")
    assert caught.value.errno == 5
    assert "in act" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="OddError: one and two"):
        child("odd")
    assert child("pid") == pid
    child.close()


@pytest.mark.parametrize(
    ("call", "code", "detail"),
    [
        (("signal", signal.SIGSEGV), "decoder_crash", "the process was killed by SIGSEGV"),
        (("signal", signal.SIGABRT), "decoder_crash", "the process was killed by SIGABRT"),
        (("exit",), "decoder_crash", "the process ended with exit code 3"),
        (("signal", signal.SIGKILL), "out_of_memory", "killed"),
        (("hog", 2 * GIB), "out_of_memory", "with 1024 MiB"),
        (("numpy", 2 * GIB), "out_of_memory", "with 1024 MiB"),
    ],
)
def test_what_happens_twice_is_believed(call: tuple, code: str, detail: str):
    child = isolated()
    first = child("pid")
    found, said = code_of(child, *call)
    assert found == code
    assert detail in said
    assert child("pid") != first
    child.close()


def test_a_hang_is_ended():
    child = isolated(seconds=0.5)
    pid = child("pid")
    started = time.monotonic()
    assert code_of(child, "sleep", 60) == ("timeout", "more than 0.5 s")
    assert 1.0 <= time.monotonic() - started < 10
    assert not is_running(pid)
    child.close()


def test_what_happens_once_decides_nothing(tmp_path: Path):
    child = isolated()
    assert child("once", str(tmp_path / "seen")) == "twice"
    os.kill(child.pid, signal.SIGKILL)  # from outside, between two calls
    assert child("sum", 1) == ("sum", (1,))
    child.close()


def test_there_is_memory_up_to_the_limit_however_often():
    child = isolated(memory_bytes=512 << 20)
    for _ in range(20):
        assert child("numpy", 300 << 20) == 300 << 20
    assert code_of(child, "numpy", 700 << 20)[0] == "out_of_memory"
    child.close()


def test_the_child_of_the_probe_is_small():
    """Neither Polars nor pydantic nor fsspec: it starts quickly, and an address space is left for pictures."""
    from animetune.curate.probe import look_at

    child = Isolated(look_at, seconds=30, memory_bytes=GIB)
    script = "import sys, animetune.curate.probe, animetune.isolation; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"polars", "pyarrow", "pydantic", "fsspec", "torch", "yaml", "asyncio"} & set(names)
    child.close()


def test_a_child_that_does_not_start_is_no_verdict_on_a_picture(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SetupError, match="could not be started: the process ended with exit code 1"):
        isolated()("pid")


def run_parent(script: str) -> subprocess.Popen[str]:
    lines = ["import os, sys, time", f"sys.path[:] = {sys.path!r}", f"from {__name__} import isolated", script]
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


START = "child = isolated(); child('pid'); print(child.pid, flush=True); "


def test_nothing_is_left_when_the_parent_ends():
    for script in (START, START + "sys.exit(3)", START + "os._exit(1)", START + "1 / 0"):
        parent = run_parent(script)
        out, err = parent.communicate(timeout=60)
        wait_until_gone(int(out))
        assert "ResourceWarning" not in err
        assert err == "" or "1 / 0" in script, err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_child_ends_with_a_parent_that_is_killed_while_it_hangs(number: int):
    with run_parent(START + "child('sleep', 60)") as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.send_signal(number)
        parent.wait(10)
        wait_until_gone(pid)


def test_ctrl_c_is_its_parents_to_handle():
    child = isolated()
    pid = child("pid")
    os.kill(pid, signal.SIGINT)
    assert child("pid") == pid
    child.close()


def test_a_fork_has_a_child_of_its_own():
    child = isolated()
    pid = child("pid")
    fork = os.fork()
    if fork == 0:
        status = 1
        try:
            status = 0 if child("pid") != pid else 2
            child.close()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0
    assert child("pid") == pid
    child.close()
