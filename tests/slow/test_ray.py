"""A real Ray on this machine: the same bytes as local workers, whoever is killed, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from animetune import fsio, tables
from animetune.curate import run as curate
from animetune.errors import ChunkError, SetupError
from animetune.executor import Chunk, ExecutorConfig, LocalExecutor, build_executor
from animetune.manifest import Manifest
from animetune.ray_cluster import FOLDER, _folder
from animetune.shards import run as shard
from tests.builders import curate_config, shard_config, write_posts
from tests.crash.test_sigkill import tree

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RAY = {"kind": "ray", "workers": 2}


def processes() -> dict[int, tuple[int, str]]:
    """PID -> that of its parent, and its command line, of all that live."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if state != "Z":
                found[int(folder.name)] = int(parent), command
    return found


def below(root: int) -> dict[int, str]:
    """PID -> command line of all that descend from a process."""
    alive = processes()

    def is_below(pid: int) -> bool:
        while pid in alive and pid != root:
            pid = alive[pid][0]
        return pid == root

    return {pid: command for pid, (_, command) in alive.items() if pid != root and is_below(pid)}


def actors(root: int) -> list[int]:
    """The actors of Ray that are at a chunk."""
    return [pid for pid, command in below(root).items() if command.startswith("ray::Actor.publish")]


def folders() -> set[str]:
    """Those of Rays that animetune started."""
    return {name for name in os.listdir(tempfile.gettempdir()) if name.startswith(FOLDER)}


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No process of Ray, no folder, no token in the home folder, and signals and environment as they were."""

    def state() -> tuple[Any, ...]:
        settings = {name for name in os.environ if name.startswith(("RAY_AUTH", "RAY_USAGE"))}
        return folders(), (Path.home() / ".ray").exists(), signal.getsignal(signal.SIGTERM), settings

    before = state()
    yield
    assert [command for command in below(os.getpid()).values() if "ray" in command.split(" -")[0].lower()] == []
    assert state() == before


class Killer(threading.Thread):
    """Kills the first actor that is at work when there is a folder, which is when its chunks are worked on."""

    def __init__(self, parent: Path, pattern: str) -> None:
        super().__init__(daemon=True)
        self.parent = parent
        self.pattern = pattern
        self.killed: list[int] = []
        self.is_over = False

    def __enter__(self) -> Killer:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.is_over = True
        self.join()

    def run(self) -> None:
        while not self.killed and not self.is_over:
            for pid in actors(os.getpid())[:1] if list(self.parent.glob(self.pattern)) else []:
                os.kill(pid, signal.SIGKILL)
                self.killed.append(pid)
            time.sleep(0.002)


def make(out: Path, posts: Path, executor: dict[str, Any], watched: Callable[[Path, str], Any]) -> None:
    """A table of two parts and its shards."""
    filters = [{"name": "exclude_tags", "tags": ["cat"]}]
    with watched(out / "table", "answers/pictures-*/.tmp-*"):
        curate.run(curate_config(posts, out=out / "table", filters=filters, executor=executor))
    with watched(out / "shards", "**/.tmp-*"):
        shard.run(shard_config(out / "table", out / "shards", shard_bytes=30_000, executor=executor))


def test_pictures_and_shards_have_the_same_bytes_whoever_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PART_ROWS", 128)
    posts = write_posts(tmp_path / "posts", 300)
    (posts / "images" / "17.png").unlink()
    make(tmp_path / "local", posts, {"workers": 0}, lambda *_: contextlib.nullcontext())
    killers: list[Killer] = []

    def killer(parent: Path, pattern: str) -> Killer:
        killers.append(Killer(parent, pattern))
        return killers[-1]

    make(tmp_path / "killed", posts, RAY, killer)
    assert [len(each.killed) for each in killers] == [1, 1]
    assert tree(tmp_path / "killed") == tree(tmp_path / "local")


def misbehave(payload: Any, folder: Path) -> Manifest:
    """Work that fails as its payload says, or tells who does it."""
    (folder / "half").write_text("half")
    if payload == "raises":
        raise KeyError("no such picture")
    if payload == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    # Until another is at work, or through with it, so that both get some.
    while payload == "meets" and len(list(folder.parent.glob("*/half"))) < 2:
        time.sleep(0.01)
    facts = {name: os.environ.get(name) for name in ("POLARS_MAX_THREADS", "CUDA_VISIBLE_DEVICES")}
    facts |= {"process": os.getpid(), "thread": threading.current_thread() is threading.main_thread()}
    return Manifest(kind="chunk", format_version=1, facts={**facts, "cwd": os.getcwd()})


def chunks(*payloads: Any) -> list[Chunk]:
    return [Chunk(f"{number:03}", payload) for number, payload in enumerate(payloads)]


def test_one_ray_for_several_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLARS_MAX_THREADS", raising=False)
    monkeypatch.chdir(tmp_path)
    with build_executor(ExecutorConfig(**RAY, cpus=2, retries=1)) as executor:
        facts = [manifest.facts for manifest in executor.run(misbehave, chunks("meets", "meets", *range(4)), Path("1"))]
        who = {each.pop("process") for each in facts}
        assert len(who) == 2
        wanted = {"POLARS_MAX_THREADS": "2", "CUDA_VISIBLE_DEVICES": "", "thread": True, "cwd": str(tmp_path)}
        assert facts == [wanted] * 6
        again = executor.run(misbehave, chunks("meets", "meets"), Path("2"))
        assert {manifest.facts["process"] for manifest in again} == who  # with the models that they hold
        assert sum("ray::Actor" in command for command in below(os.getpid()).values()) == 2

        with pytest.raises(ChunkError) as caught:
            executor.run(misbehave, chunks(0, "raises", 2), Path("raised"))
        assert str(caught.value) == "raised: chunk 001: KeyError: 'no such picture'"
        assert "in misbehave" in caught.value.__notes__[0]
        assert not list(Path("raised").glob(f"{fsio.TEMP_PREFIX}*"))

        began = time.monotonic()
        with pytest.raises(ChunkError, match=r"died: chunk 000: the worker on .* died; .* \(the last of 2 tries\)"):
            executor.run(misbehave, chunks("dies"), Path("died"))
        assert time.monotonic() - began < 30
        assert list(Path("died").iterdir()) == []

        after = executor.run(misbehave, chunks(*range(6)), Path("3"))
        assert not {manifest.facts["process"] for manifest in after} & who
    assert len(LocalExecutor(0).run(misbehave, chunks(0, 1, 2), Path("raised"))) == 3


SCRIPT = """
import sys, time
from pathlib import Path
from animetune.executor import Chunk, ExecutorConfig, build_executor
from animetune.manifest import Manifest

def slowly(payload, folder):
    (folder / "half").write_text("half")
    if payload >= 2:
        for _ in range(600):
            time.sleep(0.1)
            (folder / "half").write_text("half")
    return Manifest(kind="chunk", format_version=1)

if __name__ == "__main__":
    address = sys.argv[2] if len(sys.argv) > 2 else None
    cfg = ExecutorConfig(kind="ray", workers=2, address=address)
    build_executor(cfg).run(slowly, [Chunk(f"{n:03}", n) for n in range(6)], Path(sys.argv[1]))
"""


@contextlib.contextmanager
def running(tmp_path: Path, out: Path, *address: str) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own whose two workers are at chunks that do not end."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script), str(out), *address],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            wait_until(lambda: len(list(out.glob(f"{fsio.TEMP_PREFIX}*-00[23]/half"))) == 2, 60, process)
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def wait_until(is_so: Callable[[], bool], seconds: float, process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        ended = process is not None and process.poll() is not None
        assert not ended, process.communicate() if process else None
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_within_seconds(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out"
    with running(tmp_path, out) as process:
        started = set(below(process.pid))
        assert len(started) > 4
        began = time.monotonic()
        if number == signal.SIGINT:  # as a terminal does: to every process of the group
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
        assert time.monotonic() - began < 15
        assert not started & set(processes())
        assert process.returncode == (-signal.SIGINT if number == signal.SIGINT else 128 + signal.SIGTERM)
        assert (stdout, stderr.count("KeyboardInterrupt")) == ("", int(number == signal.SIGINT))
        assert "(raylet)" not in stderr  # nothing that Ray prints
    assert sorted(path.name for path in out.iterdir()) == ["000", "001"]  # nothing by halves


def test_nobody_outlives_a_killed_driver(tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = folders()
    with running(tmp_path, out) as process:
        # Its agents look for another head for a minute; they have nothing to do with the chunks.
        started = {pid for pid, command in below(process.pid).items() if "Agent" not in command}
        assert len(started) > 4
        process.kill()
        wait_until(lambda: not started & set(processes()), 10)
    assert len(folders() - before) == 1
    fsio.sweep(out)
    assert sorted(path.name for path in out.iterdir()) == ["000", "001"]
    with _folder():  # the next Ray of ours removes that of the dead
        assert len(folders() - before) == 1
    assert folders() == before


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A cluster of one node, started elsewhere: its address, and that for clients."""
    ports = free_ports(2)
    folder = tempfile.mkdtemp(prefix="at-test-")
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=3", "--num-gpus=0",
        "--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=80000000",
        f"--temp-dir={folder}", f"--port={ports[0]}", f"--ray-client-server-port={ports[1]}",
    ]  # fmt: skip
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
        cwd=tmp_path,
    ) as head:
        try:
            wait_until(lambda: all(answers(port) for port in ports), 60, head)
            yield f"127.0.0.1:{ports[0]}", f"ray://127.0.0.1:{ports[1]}"
        finally:
            started = set(below(head.pid))
            head.terminate()
            head.wait(20)
            wait_until(lambda: not started & set(processes()), 30)
            fsio.remove(folder)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1.0).close()
        return True
    return False


ON_A_CLUSTER = """
import sys
from pathlib import Path
from animetune.executor import ExecutorConfig, build_executor
from tests.slow.test_ray import chunks, misbehave

executor = build_executor(ExecutorConfig(kind="ray", address=sys.argv[1], retries=0))
with executor:
    facts = [manifest.facts for manifest in executor.run(misbehave, chunks(*range(6)), Path("done"))]
    print(executor.workers, {each["cwd"] for each in facts})
    for payload in ("raises", "dies"):
        try:
            executor.run(misbehave, chunks(payload), Path(payload))
        except Exception as error:
            print(error)
"""


def test_a_cluster_is_joined_and_left(tmp_path: Path, cluster: tuple[str, str]) -> None:
    """From a working folder that is not the cluster's."""
    for name, address in zip(("node", "client"), cluster, strict=True):
        folder = tmp_path / name
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", ON_A_CLUSTER, address],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            f"3 {{{str(folder)!r}}}",
            "raises: chunk 000: KeyError: 'no such picture'",
            f"dies: chunk 000: the worker on {socket.gethostname()} died; often there is too little memory: use fewer "
            "workers",
        ]
        assert sorted(path.name for path in folder.glob("*/*")) == [f"{number:03}" for number in range(6)]
        wait_until(lambda: not [each for each in below(os.getpid()).values() if each.startswith("ray::Actor")], 10)


def test_an_address_where_nobody_answers(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    began = time.monotonic()
    with pytest.raises(SetupError, match="does not answer"):
        build_executor(ExecutorConfig(**RAY, address=f"ray://127.0.0.1:{port}")).run(misbehave, chunks(0), tmp_path)
    assert time.monotonic() - began < 10
