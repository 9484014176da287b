"""What can be told of the executor on Ray without a Ray: another one stands in for it, in this process.

The real one is in tests/slow/test_ray.py.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import types
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from animetune import fsio, ray_executor
from animetune.chunks import Chunk, Deaths
from animetune.config import load_config, to_yaml
from animetune.errors import ChunkError, ConfigError, SetupError
from animetune.executor import ExecutorConfig, LocalExecutor, build_executor
from animetune.manifest import Manifest
from animetune.ray_actor import Actor, Greeting, Place, installed
from animetune.ray_cluster import FOLDER, LONGEST, Share, _folder, joined
from animetune.ray_executor import RayExecutor


def write_text(payload: Any, folder: Path) -> Manifest:
    """Work: a file; a payload may ask for something else."""
    if payload == "raise":
        raise ValueError("no such picture")
    (folder / "text").write_text(str(payload))
    return Manifest(kind="chunk", format_version=1, facts={"payload": payload})


def chunks(*payloads: Any) -> list[Chunk]:
    return [Chunk(f"{number:03}", payload) for number, payload in enumerate(payloads)]


class RayError(Exception):
    """What Ray raises for a lost actor."""


class RaySystemError(RayError):
    """For the loss of all."""


class RayTaskError(RayError):
    """For what an actor raised."""

    cause = ModuleNotFoundError("No module named 'theirs'\nand a lot more")


class FakeRay:
    """Runs an actor's call when its answer is waited for. `script` says what becomes of each call, in order: None for
    what it gives, `late` for after the others, an exception for what Ray would raise, `last_word` for the death of one
    that has just published."""

    def __init__(self) -> None:
        self.script: deque[Any] = deque()
        self.exceptions = types.SimpleNamespace(
            RayError=RayError, RaySystemError=RaySystemError, RayTaskError=RayTaskError
        )
        self.made: list[dict[str, Any]] = []
        self.killed = 0
        self.here = [{"Alive": True, "NodeManagerHostname": "one", "Resources": {"CPU": 2.0}}]

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        return self.here

    def available_resources(self) -> dict[str, float]:
        return {"CPU": 0.0}

    def put(self, value: Any) -> Any:
        return value

    def remote(self, kind: type) -> Any:
        def options(**asked: Any) -> Any:
            def make(*arguments: Any) -> Any:
                self.made.append(asked | {"arguments": arguments})
                actor = object.__new__(kind)  # its __init__ would tie this process to its parent
                return types.SimpleNamespace(begin=self._remote(actor.begin), publish=self._remote(actor.publish))

            return types.SimpleNamespace(remote=make)

        return types.SimpleNamespace(options=options)

    def _remote(self, method: Any) -> Any:
        return types.SimpleNamespace(remote=lambda *arguments: Answer(method, arguments))

    def wait(self, answers: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        if self.script and self.script[0] == "late":
            self.script.popleft()
            return [], answers
        return answers[:1], answers[1:]

    def get(self, answer: Any) -> Any:
        word = self.script.popleft() if self.script else None
        if isinstance(word, Exception):
            if answer.method.__name__ == "publish":  # as one that is killed while it writes
                chunk = answer.arguments[0]
                left = answer.method.__self__._job.out / f"{fsio.TEMP_PREFIX}{'0' * 32}-{chunk.name}"
                left.mkdir()
            raise word
        if isinstance(word, Greeting):
            return word
        said = answer.method(*answer.arguments)
        if word == "last_word":
            raise RayError("died after all")
        return said

    def kill(self, actor: Any) -> None:
        self.killed += 1


class Answer:
    """An object of Ray."""

    def __init__(self, method: Any, arguments: tuple[Any, ...]) -> None:
        self.method = method
        self.arguments = arguments


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRay]:
    fake = FakeRay()
    module = types.ModuleType("ray")
    module.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    for name in dir(fake):
        if not name.startswith("_") and callable(getattr(fake, name)):
            setattr(module, name, getattr(fake, name))
    module.exceptions = fake.exceptions  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", module)
    yield fake
    assert not fake.script, "all that was to happen has happened"


def executor(retries: int = 1, **share: Any) -> RayExecutor:
    return RayExecutor(Share(**share), address=None, retries=retries)


def names(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir())


@pytest.mark.parametrize("workers", [None, 1, 2, 5])
def test_chunks_are_published_once_and_in_order(ray: FakeRay, tmp_path: Path, workers: int | None) -> None:
    calls: list[tuple[int, int]] = []
    LocalExecutor(0).run(write_text, chunks("a", "b"), tmp_path)
    new: list[Manifest] = []
    found = executor(workers=workers).run(
        write_text, chunks(*"abcdef"), tmp_path, progress=lambda *counts: calls.append(counts), published=new.append
    )
    assert [manifest.facts["payload"] for manifest in found] == list("abcdef")
    assert calls == [(done, 6) for done in range(2, 7)]
    assert {manifest.facts["payload"] for manifest in new} == set("cdef")
    assert names(tmp_path) == [f"{number:03}" for number in range(6)]
    assert len(ray.made) == min(workers or 2, 4)
    ray.made.clear()
    assert executor().run(write_text, chunks(*"abcdef"), tmp_path) == found
    assert ray.made == []  # nothing to do: no Ray


def test_workers_take_what_they_are_given(ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLARS_MAX_THREADS", raising=False)
    ray.here[0]["Resources"] = {"CPU": 8.0, "GPU": 1.0}
    crew = executor(cpus=3.0, gpus=0.5)
    crew.run(write_text, chunks("a", "b", "c"), tmp_path / "1")
    assert len(ray.made) == 2
    assert (ray.made[0]["num_cpus"], ray.made[0]["num_gpus"], ray.made[0]["max_restarts"]) == (3.0, 0.5, 0)
    environment, path, threads, has_gpu = ray.made[0]["arguments"]
    assert (environment, threads, has_gpu) == ({}, 3, True)
    assert str(Path(__file__).resolve().parents[2]) in path
    monkeypatch.setenv("POLARS_MAX_THREADS", "7")
    executor(cpus=0.5).run(write_text, chunks("a"), tmp_path / "2")
    assert ray.made[-1]["arguments"][0] == {"POLARS_MAX_THREADS": "7"}
    assert ray.made[-1]["arguments"][2:] == (1, False)


def test_the_crew_stays_within_with(ray: FakeRay, tmp_path: Path) -> None:
    with executor(workers=2) as crew:
        crew.run(write_text, chunks("a", "b"), tmp_path / "1")
        crew.run(write_text, chunks("a", "b", "c"), tmp_path / "2")
        assert len(ray.made) == 2
        assert ray.killed == 0
    assert ray.killed == 2


def test_what_a_chunk_raises_is_told_as_elsewhere(ray: FakeRay, tmp_path: Path) -> None:
    with pytest.raises(ChunkError) as caught:
        executor(workers=1).run(write_text, chunks("a", "raise", "c"), tmp_path)
    with pytest.raises(ChunkError) as elsewhere:
        LocalExecutor(0).run(write_text, chunks("a", "raise", "c"), tmp_path)
    assert str(caught.value) == str(elsewhere.value) == f"{tmp_path}: chunk 001: ValueError: no such picture"
    assert "in write_text" in caught.value.__notes__[0]
    assert names(tmp_path) == ["000"]


def test_the_chunk_of_one_that_died_is_tried_again(ray: FakeRay, tmp_path: Path) -> None:
    ray.script += [None, None, RayError("lost"), None, None, RayError("lost"), None, None]
    found = executor(workers=2, retries=2).run(write_text, chunks(*"abc"), tmp_path)
    assert [manifest.facts["payload"] for manifest in found] == list("abc")
    assert names(tmp_path) == ["000", "001", "002"]  # and nothing by halves
    assert len(ray.made) == 4


def test_one_that_died_after_publishing_has_done_its_chunk(ray: FakeRay, tmp_path: Path) -> None:
    ray.script += [None, "last_word"]
    executor(workers=1, retries=0).run(write_text, chunks("a"), tmp_path)
    assert len(ray.made) == 1


@pytest.mark.parametrize(("retries", "tries"), [(0, ""), (2, " (the last of 3 tries)")])
def test_a_chunk_that_kills_is_named_after_its_tries(ray: FakeRay, tmp_path: Path, retries: int, tries: str) -> None:
    ray.script += [None, RayError("exit type: SYSTEM_ERROR")] * (retries + 1)
    with pytest.raises(ChunkError) as caught:
        executor(workers=1, retries=retries).run(write_text, chunks("a"), tmp_path)
    host = socket.gethostname()
    hint = "often there is too little memory: use fewer workers"
    assert str(caught.value) == f"{tmp_path}: chunk 000: the worker on {host} died; {hint}{tries}"
    assert caught.value.__notes__ == ["exit type: SYSTEM_ERROR"]
    assert names(tmp_path) == []


def test_workers_that_cannot_begin_are_no_endless_loop(ray: FakeRay, tmp_path: Path) -> None:
    ray.script += [RayError("died\nNo module named 'animetune'")] * 4
    with pytest.raises(SetupError, match="die before they begin: No module named 'animetune'"):
        executor(workers=1).run(write_text, chunks("a"), tmp_path)


def test_a_work_function_that_a_node_lacks_is_named(ray: FakeRay, tmp_path: Path) -> None:
    ray.script.append(RayTaskError("a long trace"))
    with pytest.raises(SetupError, match=r"cannot begin: No module named 'theirs'$"):
        executor(workers=1).run(write_text, chunks("a"), tmp_path)


def test_a_node_that_lacks_something_is_named(ray: FakeRay, tmp_path: Path) -> None:
    ray.script.append(Greeting("two", 7, "it does not see /there; mount it"))
    with pytest.raises(SetupError, match="node two: it does not see /there; mount it"):
        executor(workers=1).run(write_text, chunks("a"), tmp_path)
    assert names(tmp_path) == []


def test_a_ray_that_is_gone_is_no_chunk_error(ray: FakeRay, tmp_path: Path) -> None:
    ray.script += [None, RaySystemError("raylet")]
    with pytest.raises(SetupError, match="the connection to Ray is lost"):
        executor(workers=1).run(write_text, chunks("a"), tmp_path)


def test_a_cluster_without_room_does_not_hang(ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_executor, "START_SECONDS", 0.0)
    ray.script.append("late")
    with pytest.raises(SetupError, match="no worker of Ray has begun for 0 s; free are 0 CPUs and 0 GPUs"):
        executor(workers=1).run(write_text, chunks("a"), tmp_path)
    ray.script.clear()
    with pytest.raises(SetupError, match=r"takes 1 CPU and 1 GPU, which no node .* has \(one: 2 CPUs, 0 GPUs\)"):
        executor(workers=1, gpus=1.0).run(write_text, chunks("a"), tmp_path)


def test_what_is_not_seen_at_once_is_waited_for(ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NFS does, which remembers what was not there."""
    blind = deque([False] * 5)
    real = ray_executor.has_manifest
    monkeypatch.setattr(ray_executor, "has_manifest", lambda folder: real(folder) if not blind else blind.popleft())
    executor(workers=1).run(write_text, chunks("a"), tmp_path)
    assert not blind
    monkeypatch.setattr(ray_executor, "has_manifest", lambda folder: False)
    monkeypatch.setattr(ray_executor, "SEEN_SECONDS", 0.1)
    with pytest.raises(SetupError, match="001: was published by a worker, and is not seen here after 0 s"):
        executor(workers=1).run(write_text, chunks("a", "b"), tmp_path)


def test_a_place_is_checked_where_it_is(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    witness.touch()
    assert Place("/", witness, installed()).problem() is None
    assert Place(str(tmp_path), Path("witness"), installed()).problem() is None  # meant from where the driver is
    assert "does not see /nowhere, from where" in str(Place("/nowhere", witness, installed()).problem())
    away = Place("/", tmp_path / "away" / "witness", installed()).problem(0.0)
    assert f"does not see {tmp_path / 'away'}; mount" in str(away)
    other = str(Place("/", witness, "animetune 0").problem())
    assert other.startswith("it has animetune 0.")
    assert other.endswith("and the run animetune 0; install the same on all nodes")


def test_an_actor_works_from_the_drivers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    (tmp_path / "out").mkdir()
    actor = object.__new__(Actor)
    job = ray_executor.Job(write_text, None, Path("out"))
    witness = tmp_path / "witness"
    witness.touch()
    greeting = actor.begin(job, Place(str(tmp_path), witness, installed()))
    assert greeting == Greeting(socket.gethostname(), os.getpid(), None)
    assert actor.publish(Chunk("000", "a")) is None
    assert (tmp_path / "out" / "000" / "text").read_text() == "a"


def test_room() -> None:
    nodes = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 3.0}, {"GPU": 4.0}]
    assert Share().room(nodes) == 11
    assert Share(cpus=2).room(nodes) == 4 + 1
    assert Share(cpus=0.1).room([{"CPU": 0.3}]) == 3  # and not 2.9999999999999996
    assert Share(gpus=1).room(nodes) == 2
    assert Share(cpus=4, gpus=0.5).room(nodes) == 2
    assert (Share().text, Share(cpus=2, gpus=0.5).text) == ("1 CPU", "2 CPUs and 0.5 GPUs")


def test_deaths_are_counted_by_chunk(tmp_path: Path) -> None:
    deaths = Deaths(tmp_path, retries=1)
    one, two = chunks("a", "b")
    assert deaths.is_missing_after(one, "gone")
    assert deaths.is_missing_after(two, "gone")
    with pytest.raises(ChunkError, match=r"chunk 000: gone \(the last of 2 tries\)"):
        deaths.is_missing_after(one, "gone")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("gpus: 1", "gpus: is only for `kind: ray`"),
        ("cpus: 2", "cpus: is only for `kind: ray`"),
        ("address: auto", "address: is only for `kind: ray`"),
        ("{kind: ray, workers: 0}", "workers: 0 stands for the main process"),
        ("{kind: ray, address: head}", "address: should be auto, ray://host:port or host:port, not 'head'"),
        ("{kind: ray, address: 'http://head:1'}", "address: should be auto"),
        ("{kind: ray, address: 'ray://head:0'}", "address: should be auto"),
        ("{kind: ray, gpus: 1.5}", "gpus: Ray shares out parts of one, or whole ones: 1.5 should be 2"),
        ("{kind: ray, cpus: 0}", "cpus: should be more than 0|greater than 0"),
        ("retries: -1", "retries"),
    ],
)
def test_settings_that_make_no_sense_are_named(tmp_path: Path, settings: str, problem: str) -> None:
    text = settings if settings.startswith("{") else "{" + settings + "}"
    (tmp_path / "executor.yaml").write_text(text[1:-1].replace(", ", "\n") + "\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "executor.yaml", ExecutorConfig)
    assert any(part in str(caught.value) for part in problem.split("|")), caught.value


@pytest.mark.parametrize("address", ["auto", "ray://head:10001", "10.0.0.1:6379", "ray://[::1]:10001"])
def test_settings_of_ray(tmp_path: Path, address: str) -> None:
    cfg = ExecutorConfig(kind="ray", workers=4, address=address, gpus=0.5, cpus=2, retries=5)
    (tmp_path / "executor.yaml").write_text(to_yaml(cfg))
    assert load_config(tmp_path / "executor.yaml", ExecutorConfig) == cfg
    (tmp_path / "local.yaml").write_text(to_yaml(ExecutorConfig()))
    assert load_config(tmp_path / "local.yaml", ExecutorConfig) == ExecutorConfig()
    built = build_executor(cfg)
    assert isinstance(built, RayExecutor)
    assert (built.share, built.address, built.retries, built.workers) == (Share(4, 2, 0.5), address, 5, 4)
    local = build_executor(ExecutorConfig(workers=3))
    assert isinstance(local, LocalExecutor)
    assert local.retries == 1


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SetupError, match=r"pip install 'animetune\[ray\]'"):
        build_executor(ExecutorConfig(kind="ray"))


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_that_does_not_answer(scheme: str) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SetupError, match=f"{address} does not answer .*ray start --head"), joined(address, Share()):
            raise AssertionError
    assert not any(name.startswith("ray.") for name in sys.modules)  # found out without it


def test_the_folder_is_removed_and_so_are_those_of_the_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path("/tmp") / f"at-{os.getpid()}"
    monkeypatch.setenv("ANIMETUNE_TMPDIR", str(root))
    root.mkdir()
    try:
        dead = root / f"{FOLDER}dead"
        (dead / "session").mkdir(parents=True)
        with _folder() as one, _folder() as two:
            assert one.parent == two.parent == root
            assert one.is_dir(), "held by one that lives"
            assert not dead.exists()
            assert len(str(one)) <= LONGEST
        assert list(root.iterdir()) == []
    finally:
        for left in root.iterdir():
            fsio.remove(left)
        root.rmdir()
    long = tmp_path / ("x" * LONGEST)
    long.mkdir()
    monkeypatch.setenv("ANIMETUNE_TMPDIR", str(long))
    with _folder() as folder:
        assert folder.parent == Path("/tmp")


def kill_first(payload: Any, folder: Path) -> Manifest:
    """Work whose process dies at the first try of chunk `b`, and at each of `c`."""
    (folder / "half").write_text("half")
    mark = folder.parent / "tried"
    if payload == "c" or (payload == "b" and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / "half").unlink()
    return write_text(payload, folder)


def test_local_workers_that_die_are_replaced_too(tmp_path: Path) -> None:
    found = LocalExecutor(2, retries=1).run(kill_first, chunks("a", "b", "d", "e"), tmp_path)
    assert [manifest.facts["payload"] for manifest in found] == list("abde")
    assert names(tmp_path) == ["000", "001", "002", "003", "tried"]
    with pytest.raises(ChunkError, match=r"killed by SIGKILL; .* use fewer workers \(the last of 2 tries\)"):
        LocalExecutor(2, retries=1).run(kill_first, chunks("a", "b", "d", "e", "c", "f"), tmp_path)
    assert not list(tmp_path.glob(f"{fsio.TEMP_PREFIX}*"))
