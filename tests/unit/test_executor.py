"""Chunks: the same bytes for any number of workers, nothing published by halves, every failure named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from animetune import fsio
from animetune.errors import ChunkError, ConfigError, DataError, SetupError
from animetune.executor import Chunk, ExecutorConfig, LocalExecutor, build_executor
from animetune.manifest import Manifest, read_manifest, verify_files
from animetune.seeding import Purpose, rng_for

ROOT = Path(__file__).resolve().parents[2]
CHUNKS = [Chunk(f"{number:03}", number) for number in range(8)]


def write_draws(payload: Any, folder: Path) -> Manifest:
    """Work: a file of random bytes, a nested one, and a fact."""
    rng = rng_for(7, Purpose.DRAW, payload)
    (folder / "deep").mkdir()
    (folder / "deep" / "draws").write_bytes(rng.bytes(1000))
    (folder / "payload").write_text(str(payload))
    return Manifest(kind="chunk", format_version=1, seen=1, kept=1, facts={"payload": payload})


class OddError(Exception):
    """An exception that cannot be unpickled."""

    def __init__(self, one: str, two: str):
        super().__init__(f"{one} and {two}")


def misbehave(payload: Any, folder: Path) -> Manifest:
    """Work that fails in the way its payload says."""
    (folder / "half").write_text("half")
    match payload:
        case "data":
            raise DataError("posts.jsonl:3: is cut; restore it")
        case "setup":
            raise SetupError("the disk is full")
        case "config":
            raise ConfigError(["a: x", "b: y"])
        case "odd":
            raise OddError("one", "two")
        case "killed":
            wait_for_the_other(folder)
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            wait_for_the_other(folder)
            os._exit(7)
        case "slow":
            time.sleep(60)
    return write_draws(0, folder)


def wait_for_the_other(folder: Path) -> None:
    """Until another chunk is worked on: a signal that comes while its folder is made would leave that behind."""
    while len(list(folder.parent.glob(f"{fsio.TEMP_PREFIX}*/half"))) < 2:
        time.sleep(0.01)


def never(payload: Any, folder: Path) -> Manifest:
    """Work that must not be done."""
    raise AssertionError(f"{payload} was worked on again")


def chunks(*payloads: Any) -> list[Chunk]:
    return [Chunk(f"{number:03}", payload) for number, payload in enumerate(payloads)]


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def failure(workers: int, work: Sequence[Chunk], out: Path) -> ChunkError:
    with pytest.raises(ChunkError) as caught:
        LocalExecutor(workers).run(misbehave, work, out)
    return caught.value


def test_any_number_of_workers_gives_the_same_bytes_in_the_same_order(tmp_path: Path) -> None:
    manifests = {}
    for workers in (0, 1, 3):
        out = tmp_path / str(workers)
        manifests[workers] = LocalExecutor(workers).run(write_draws, CHUNKS, out)
        assert [manifest.facts["payload"] for manifest in manifests[workers]] == list(range(8))
        assert content(out) == content(tmp_path / "0")
        assert all(verify_files(out / c.name, m) == [] for c, m in zip(CHUNKS, manifests[workers], strict=True))
    assert manifests[0] == manifests[1] == manifests[3]
    assert list(manifests[0][0].files) == ["deep/draws", "payload"]
    assert len(content(tmp_path / "0")) == 8 * 3


@pytest.mark.parametrize("workers", [0, 2])
def test_published_chunks_count_as_done_and_are_not_worked_on_again(tmp_path: Path, workers: int) -> None:
    first = LocalExecutor(0).run(write_draws, CHUNKS[3:5], tmp_path)
    calls: list[tuple[int, int]] = []
    new: list[Manifest] = []
    whole = LocalExecutor(workers).run(
        write_draws, CHUNKS, tmp_path, progress=lambda *counts: calls.append(counts), published=new.append
    )
    assert calls == [(done, 8) for done in range(2, 9)]
    assert sorted(manifest.facts["payload"] for manifest in new) == [0, 1, 2, 5, 6, 7]
    assert all(manifest in whole for manifest in new)
    assert whole[3:5] == first
    assert LocalExecutor(workers).run(never, CHUNKS[::-1], tmp_path) == whole[::-1]


@pytest.mark.parametrize(
    ("workers", "payload", "what", "exit_code"),
    [
        (0, "data", "posts.jsonl:3: is cut; restore it", 1),
        (0, "odd", "OddError: one and two", 1),
        (2, "odd", "OddError: one and two", 1),
        (0, "setup", "the disk is full", 3),
    ],
)
def test_a_failure_names_the_chunk_and_keeps_the_message(
    tmp_path: Path, workers: int, payload: str, what: str, exit_code: int
) -> None:
    error = failure(workers, chunks(0, 1, payload, 3), tmp_path)
    assert str(error) == f"{tmp_path}: chunk 002: {what}"
    assert error.exit_code == exit_code
    if workers:
        trace = "".join(getattr(error, "__notes__", []))
        assert ("in misbehave" in trace) == (payload == "odd")  # ours say enough by their message
    else:
        assert error.__cause__ is not None
    left = {path.name: path for path in tmp_path.iterdir()}
    assert set(left) <= {"000", "001", "003"}  # nothing by halves, and nothing of the chunk that failed
    assert all(verify_files(folder, read_manifest(folder)) == [] for folder in left.values())
    assert len(LocalExecutor(0).run(write_draws, chunks(0, 1, 2, 3), tmp_path)) == 4


@pytest.mark.parametrize(
    ("payload", "how"),
    [
        ("killed", "the worker process was killed by SIGKILL; often there is too little memory: use fewer workers"),
        ("exit", "the worker process ended with exit code 7"),
    ],
)
def test_the_death_of_a_worker_names_its_chunk(tmp_path: Path, payload: str, how: str) -> None:
    LocalExecutor(0).run(write_draws, chunks(0), tmp_path)
    error = failure(2, chunks(0, payload, "slow"), tmp_path)
    assert str(error) == f"{tmp_path}: chunk 001: {how}"
    assert [path.name for path in tmp_path.iterdir()] == ["000"]  # what the dead had begun is gone


def test_work_that_cannot_be_sent_is_an_error_and_no_hang(tmp_path: Path) -> None:
    # Python 3.13 says what it cannot find, those before it say who looked
    with pytest.raises(Exception, match=r"pickle|local object"):
        LocalExecutor(2).run(lambda payload, folder: write_draws(payload, folder), CHUNKS, tmp_path)
    with pytest.raises(Exception, match=r"pickle|local object"):
        LocalExecutor(2).run(write_draws, chunks(lambda: 0, lambda: 1), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_in_the_way_is_named(tmp_path: Path) -> None:
    fsio.atomic_write(tmp_path / "000" / "other", "not a chunk")
    with pytest.raises(DataError, match="000: is not finished"):
        LocalExecutor(0).run(write_draws, chunks(0), tmp_path)


def test_names_are_unique(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two chunks have the same name"):
        LocalExecutor(0).run(write_draws, [CHUNKS[0], CHUNKS[0]], tmp_path)


def take_away(name: str, folder: Path) -> None:
    """Deliver: the payload goes to a folder beside the chunk's, under the chunk's name; one chunk is refused."""
    assert sorted(content(folder)) == ["deep/draws", "manifest.json", "payload"], "the chunk is whole"
    if name == "001":
        raise SetupError("the store is full")
    store = folder.parent / "store"
    store.mkdir(exist_ok=True)
    os.replace(folder / "payload", store / name)


@pytest.mark.parametrize("workers", [0, 2])
def test_finished_chunks_are_delivered_by_who_worked_on_them(tmp_path: Path, workers: int) -> None:
    work = [CHUNKS[0], *CHUNKS[2:5]]
    manifests = LocalExecutor(workers).run(write_draws, work, tmp_path, deliver=take_away)
    assert content(tmp_path / "store") == {chunk.name: str(chunk.payload).encode() for chunk in work}
    for chunk, manifest in zip(work, manifests, strict=True):
        assert sorted(content(tmp_path / chunk.name)) == ["deep/draws", "manifest.json"]
        assert verify_files(tmp_path / chunk.name, manifest) == [f"{tmp_path / chunk.name / 'payload'}: is missing"]
    with pytest.raises(ChunkError, match="chunk 001: the store is full") as caught:
        LocalExecutor(workers).run(write_draws, CHUNKS[:3], tmp_path, deliver=take_away)
    assert caught.value.exit_code == SetupError.exit_code
    assert not (tmp_path / "001").exists()
    assert list(tmp_path.glob(f"{fsio.TEMP_PREFIX}*")) == []
    assert len(LocalExecutor(workers).run(never, work, tmp_path, deliver=take_away)) == 4


def test_nothing_to_do(tmp_path: Path) -> None:
    assert LocalExecutor(2).run(write_draws, [], tmp_path / "out") == []


def test_the_configuration() -> None:
    assert build_executor(ExecutorConfig()).workers == os.cpu_count()
    assert build_executor(ExecutorConfig(workers=0)).workers == 0
    assert build_executor(ExecutorConfig(workers=5)).workers == 5


def write_process(payload: Any, folder: Path) -> Manifest:
    """Work that notes who does it, and with how many threads of Polars."""
    if payload == "fails":
        raise DataError("no")
    time.sleep(0.05)  # so that every worker gets some
    return Manifest(
        kind="chunk",
        format_version=1,
        facts={"process": os.getpid(), "threads": os.environ.get("POLARS_MAX_THREADS")},
    )


def processes(executor: LocalExecutor, out: Path) -> set[int]:
    return {manifest.facts["process"] for manifest in executor.run(write_process, chunks(*range(6)), out)}


def test_processes_stay_within_and_end_with_it(tmp_path: Path) -> None:
    executor = LocalExecutor(2)
    with executor:
        first = processes(executor, tmp_path / "1")
        assert len(first) == 2
        assert processes(executor, tmp_path / "2") == first
        whole = executor.run(write_draws, CHUNKS, tmp_path / "3")  # other work, by the same
        assert [manifest.facts["payload"] for manifest in whole] == list(range(8))
        with pytest.raises(ChunkError, match="chunk 001: no"):
            executor.run(write_process, chunks(0, "fails", 2), tmp_path / "4")
        after = processes(executor, tmp_path / "5")
        assert not after & first  # those of a run that failed are ended
    assert not any(Path(f"/proc/{number}").exists() for number in first | after)
    assert not processes(executor, tmp_path / "6") & after  # without `with`, a run has its own


def die_after_publishing(payload: Any, folder: Path) -> Manifest:
    """Work whose process publishes its chunk, and is killed when it is about to say so."""
    from multiprocessing.connection import Connection

    Connection.send = lambda self, message: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
    return write_draws(0, folder)


def test_who_died_after_the_last_chunk_is_replaced_in_the_next_run(tmp_path: Path) -> None:
    with LocalExecutor(2) as executor:
        assert len(executor.run(die_after_publishing, chunks(0, 1), tmp_path / "1")) == 2
        assert len(processes(executor, tmp_path / "2")) == 2


def test_workers_share_the_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLARS_MAX_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    facts = [manifest.facts for manifest in LocalExecutor(2).run(write_process, chunks(0, 1), tmp_path / "1")]
    assert [each["threads"] for each in facts] == ["3", "3"]
    assert "POLARS_MAX_THREADS" not in os.environ
    monkeypatch.setenv("POLARS_MAX_THREADS", "5")
    facts = [manifest.facts for manifest in LocalExecutor(2).run(write_process, chunks(0, 1), tmp_path / "2")]
    assert [each["threads"] for each in facts] == ["5", "5"]


SCRIPT = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from test_executor import CHUNKS, write_draws
from animetune.executor import LocalExecutor

def slowly(payload, folder):
    if payload >= 2:
        os.write(1, f"at {{payload}}\\n".encode())  # at once: two processes write there
        time.sleep(60)
    return write_draws(payload, folder)

if __name__ == "__main__":
    LocalExecutor(2).run(slowly, CHUNKS, Path(sys.argv[1]))
"""


@pytest.fixture
def running(tmp_path: Path) -> Any:
    """A process in a group of its own whose two workers are at a chunk that does not end, and its output folder."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent)))
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        try:
            assert {process.stdout.readline(), process.stdout.readline()} == {"at 2\n", "at 3\n"}
            yield process, tmp_path / "out"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_ctrl_c_stops_all_and_leaves_whole_chunks_only(running: Any) -> None:
    process, out = running
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    stdout, stderr = process.communicate()  # until the last worker has closed its end
    assert time.monotonic() - began < 30  # the work would take 60 s
    assert process.returncode == -signal.SIGINT
    assert stdout == ""
    assert stderr.count("KeyboardInterrupt") == 1  # the parent's; workers stay silent
    assert sorted(path.name for path in out.iterdir()) == ["000", "001"]
    whole = LocalExecutor(0).run(write_draws, CHUNKS, out)
    assert [manifest.facts["payload"] for manifest in whole] == list(range(8))


def test_workers_do_not_outlive_a_killed_parent(running: Any) -> None:
    process, out = running
    process.kill()
    process.communicate(timeout=5)  # returns when the workers, too, have closed their end of the pipe
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == ["000", "001"]
    fsio.sweep(out)
    LocalExecutor(0).run(write_draws, CHUNKS, out)
    assert sorted(path.name for path in out.iterdir()) == [chunk.name for chunk in CHUNKS]


def test_results_are_what_is_on_disk(tmp_path: Path) -> None:
    (manifest,) = LocalExecutor(0).run(write_draws, chunks(4), tmp_path)
    assert manifest == read_manifest(tmp_path / "000", kind="chunk", format_version=1)


def test_a_worker_is_deaf_to_ctrl_c_from_birth_in_a_process_that_started_nothing_before() -> None:
    script = """
from animetune.workers import Worker
worker = Worker(1)
with open(f"/proc/{worker.process.pid}/status") as status:
    masks = dict(line.split(":") for line in status)
worker.end(10)
print(int(masks["SigBlk"], 16) | int(masks["SigIgn"], 16))
"""
    masks = int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)
    assert masks >> (signal.SIGINT - 1) & 1
