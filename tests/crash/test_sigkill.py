"""SIGKILL at random moments: the same command, run again until it ends, gives byte for byte what an unbroken run gives.

`survive` is the harness: it runs a job in a process group of its own (the job and its workers), kills the whole group,
as Slurm or a memory limit does, and runs it again on the same folder. Each kill falls at a random share of the time
that the unbroken run takes, so that one folder survives several.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from animetune import remote
from animetune.fsio import TEMP_PREFIX
from animetune.seeding import Purpose, rng_for
from tests.builders import tiny_table, write_posts
from tests.s3_server import s3_server

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.crash

Tree = dict[str, str]


def tree(folder: Path) -> Tree:
    """Relative path -> SHA-256 of every file (folders: empty), without the lock file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }


class Jobs:
    """The server of `tests.crash.jobs`."""

    def __init__(self, errors: Path) -> None:
        self.errors = errors
        with open(errors, "w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.jobs"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def run(
        self, *command: str, kill_after: float | None = None, kill_when: Callable[[], bool] | None = None
    ) -> float | None:
        """Run a job; returns the seconds that it took, or None if its whole group was killed after so many, or as soon
        as `kill_when` said so."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        group = int(self._answer("started"))
        began = time.monotonic()
        killer = threading.Timer(kill_after or 0.0, kill, [group])
        if kill_after is not None:
            killer.start()
        ended = threading.Event()
        if kill_when is not None:
            threading.Thread(target=_kill_when, args=(group, kill_when, ended)).start()
        status = int(self._answer("ended"))
        seconds = time.monotonic() - began
        killer.cancel()
        ended.set()
        if os.WIFSIGNALED(status) and (kill_after is not None or kill_when is not None):
            return None
        assert status == 0, self.errors.read_text()[-4000:]
        return seconds

    def _answer(self, word: str) -> str:
        assert self.process.stdout is not None
        said, _, value = self.process.stdout.readline().partition(" ")
        assert said == word, self.errors.read_text()[-4000:]
        return value


def _kill_when(group: int, said: Callable[[], bool], ended: threading.Event) -> None:
    while not ended.wait(0.002):
        if said():
            kill(group)
            return


def kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.killpg(group, signal.SIGKILL)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Jobs]]:
    """Start a server, which ends with the test; it inherits the environment of that moment."""
    with contextlib.ExitStack() as stack:

        def start_one() -> Jobs:
            jobs = Jobs(tmp_path / "errors.txt")
            stack.enter_context(jobs.process)  # closes its stdin and waits
            return jobs

        yield start_one


def survive(
    jobs: Jobs,
    job: str,
    tmp_path: Path,
    *arguments: str,
    kills: int,
    look: Callable[[Path], Tree] = tree,
    is_torn: Callable[[Tree], bool] = lambda state: any(TEMP_PREFIX in name for name in state),
) -> Tree:
    """Kill a job `kills` times in all, over as many folders as that takes; each must equal an unbroken run's.

    `look` says what a run left, `is_torn` whether a kill fell into a write. One start in six has two workers (spawning
    them takes longest), the others work in the process itself. Returns what each run left.
    """
    seconds, trees = {}, {}
    for workers in ("0", "2"):
        folder = tmp_path / f"unbroken-{workers}"
        seconds[workers] = jobs.run(job, workers, str(folder), *arguments) or 0.0
        trees[workers] = look(folder)
    assert trees["0"] == trees["2"] != {}
    rng = rng_for(7, Purpose.DRAW, kills)
    left, folders, torn = kills, 0, 0
    while left:
        folder = tmp_path / f"killed-{folders}"
        is_done = False
        while not is_done:
            workers = "02"[int(rng.integers(6) == 0)]
            after = seconds[workers] * rng.random() if left else None
            is_done = jobs.run(job, workers, str(folder), *arguments, kill_after=after) is not None
            if not is_done:
                left -= 1
                torn += folder.exists() and is_torn(look(folder))
        assert look(folder) == trees["0"]
        folders += 1
    assert torn, f"none of {kills} kills hit a write: this shows nothing"
    took = " or ".join(f"{value:.1f}" for value in seconds.values())
    print(f"{job}: {kills} kills over {folders} folders, {torn} while writing; a run takes {took} s")
    return trees["0"]


def test_executor(start: Callable[[], Jobs], tmp_path: Path) -> None:
    survive(start(), "chunks", tmp_path, kills=10)


def test_curate_shard_labels(start: Callable[[], Jobs], tmp_path: Path) -> None:
    """600 posts, some of them bad: three chunks of pictures, a dozen parts of shards, all steps in between."""
    posts = write_posts(tmp_path / "posts", 600)
    (posts / "images" / "17.png").unlink()
    cut = posts / "images" / "18.png"
    cut.write_bytes(cut.read_bytes()[:-20])
    with open(posts / "posts.jsonl", "ab") as stream:
        stream.write(b'{"id": 601, "tag_str\n')
    survive(start(), "pipeline", tmp_path, str(posts), kills=30)


SOURCES = ((70, 70), (100, 70), (70, 100), (64, 64), (90, 60))


def test_shards(start: Callable[[], Jobs], tmp_path: Path) -> None:
    """120 pictures in two dozen parts."""
    table = tiny_table(tmp_path / "table", SOURCES * 24, split=["train"] * 100 + ["val"] * 20)
    survive(start(), "shard", tmp_path, str(table), kills=200)


def test_shards_on_an_object_store(start: Callable[[], Jobs], tmp_path: Path) -> None:
    """Kills fall between uploads and into them; what is in the store in the end has the bytes of a local root."""
    table = tiny_table(tmp_path / "table", SOURCES * 12, split=["train"] * 50 + ["val"] * 10)
    with s3_server() as bucket:
        jobs = start()

        def look(work: Path) -> Tree:
            url = f"{bucket}/{work.name}"
            return {name: remote.hash_file(f"{url}/{name}")[1] for name in remote.list_files(url)}

        def is_torn(state: Tree) -> bool:
            parts = {name.rpartition("/")[0] for name in state if "/part-" in name}
            return any(f"{part}/manifest.json" not in state for part in parts)

        made = survive(jobs, "shard_s3", tmp_path, str(table), kills=60, look=look, is_torn=is_torn)
        jobs.run("shard", "0", str(tmp_path / "local"), str(table))
        assert made == {name: digest for name, digest in tree(tmp_path / "local").items() if digest}
        assert not list(tmp_path.glob("killed-*/**/*.mds"))
        assert not list(tmp_path.glob(f"killed-*/**/{TEMP_PREFIX}*"))
