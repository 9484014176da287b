"""The order of the samples on every layout: real processes, gloo, shared memory and data workers, one node and two.

Two nodes are two processes with mount namespaces of their own, so that each has its own /dev/shm and TMPDIR, as on two
machines; they see the same shards and talk over loopback.
"""

from __future__ import annotations

import contextlib
import json
import select
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import tiny_shards

pytestmark = [pytest.mark.dist, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 180.0
"""Seconds for one job."""


def namespaces_allowed() -> bool:
    unshare = shutil.which("unshare")
    return unshare is not None and subprocess.run([unshare, "-m", "true"], capture_output=True).returncode == 0


class Node:
    """A process that forks ranks (node.py); with `private`, it has a /dev/shm and a TMPDIR of its own."""

    def __init__(self, *, private: bool):
        serve = [sys.executable, "-m", "tests.dist.node"]
        mounts = "mount -t tmpfs tmpfs /dev/shm && export TMPDIR=/dev/shm/tmp && mkdir $TMPDIR && exec"
        command = ["unshare", "-m", "sh", "-c", f'{mounts} "$@"', "sh", *serve] if private else serve
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self.process.stdout.readline() == "ready\n"

    def give(self, job: dict) -> None:
        self.process.stdin.write(json.dumps(job) + "\n")

    def take(self) -> list[int]:
        """Exit statuses of the ranks."""
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        assert ready, "the ranks hang"
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Cluster:
    """Runs jobs on one node or two."""

    def __init__(self, folder: Path, data: tuple[Path, Path]):
        self.folder = folder
        self.data = {"shards": str(data[0]), "labels": str(data[1])}
        self.nodes: dict[str, Node] = {}

    def run(
        self, ranks: int, *, steps: int, nodes: int = 1, workers: int = 0, start=None, kill: bool = False, **data
    ) -> tuple[list, list]:
        """What the whole job sees, by step and slot, and the position after every step (the same on all ranks)."""
        settings = {"global_batch": 16, "micro_batch": 2, "chunks": 1, "flip": 0.5, "workers": workers}
        names = ["here"] if nodes == 1 else ["left", "right"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        out = self.folder / "out"
        for index, name in enumerate(names):
            if name not in self.nodes:
                self.nodes[name] = Node(private=name != "here")
            local = ranks // nodes
            self.nodes[name].give(
                {
                    "local": local,
                    "first": index * local,
                    "world": ranks,
                    "port": port,
                    "out": str(out),
                    "data": settings | self.data | data,
                    "start": start,
                    "steps": steps,
                    "kill": kill,
                }
            )
        statuses = [status for name in names for status in self.nodes[name].take()]
        assert statuses == [9 if kill else 0] * ranks
        results = [json.loads(Path(f"{out}-{rank}").read_text()) for rank in range(ranks)]
        assert all(states == results[0][1] for _, states in results)
        merged = sorted((batch for order, _ in results for batch in order), key=lambda batch: batch[:3])
        return merged, results[0][1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("ranks")
    cluster = Cluster(folder, tiny_shards(folder, repeats=[0.5, 1.0, 2.0, 1.3, 0.9] * 8))
    yield cluster
    for node in cluster.nodes.values():
        node.end()


@pytest.fixture(scope="module")
def alone(cluster):
    """Two epochs and two steps of one rank without workers: what every other layout is compared with."""
    steps = 2 * steps_of(cluster) + 2
    return cluster.run(1, steps=steps)


def steps_of(cluster: Cluster) -> int:
    """Steps of an epoch."""
    _, states = cluster.run(1, steps=6)
    return next(index + 1 for index, state in enumerate(states) if state["epoch"] == 1)


LAYOUTS = [(1, 1), (2, 1), (4, 1), (8, 1), (2, 2), (4, 2), (8, 2)]
"""(ranks, nodes)"""


ON_EVERY_LAYOUT = pytest.mark.parametrize(
    ("ranks", "nodes"),
    [
        pytest.param(
            ranks,
            nodes,
            marks=pytest.mark.skipif(nodes > 1 and not namespaces_allowed(), reason="needs mount namespaces"),
            id=f"{ranks} ranks on {nodes} nodes",
        )
        for ranks, nodes in LAYOUTS
    ],
)


@pytest.mark.parametrize("workers", [0, 2])
@ON_EVERY_LAYOUT
def test_every_layout_sees_the_same(cluster, alone, ranks, nodes, workers):
    order, states = cluster.run(ranks, nodes=nodes, workers=workers, steps=len(alone[1]))
    assert order == alone[0]
    assert states == alone[1]


@ON_EVERY_LAYOUT
def test_every_layout_goes_on_where_another_stopped(cluster, alone, ranks, nodes):
    """At the first, a middle and the last step of an epoch; each layout stops, the next one in the list resumes it."""
    order, states = alone
    per_epoch = steps_of(cluster)
    following, nodes_after = LAYOUTS[(LAYOUTS.index((ranks, nodes)) + 3) % len(LAYOUTS)]
    if nodes_after == 2 and not namespaces_allowed():
        following, nodes_after = 1, 1
    for index, after in enumerate((1, per_epoch // 2 + 1, per_epoch, per_epoch + 1)):
        head, reached = cluster.run(ranks, nodes=nodes, workers=index % 3, steps=after)
        tail, end = cluster.run(
            following, nodes=nodes_after, workers=(index + 1) % 3, start=reached[-1], steps=len(states) - after
        )
        assert head + tail == order
        assert end[-1] == states[-1]


@pytest.mark.skipif(not namespaces_allowed(), reason="needs mount namespaces")
def test_killed_on_two_nodes_continued_on_one(cluster, alone):
    """SIGKILL of every rank leaves shared memory, locks and workers behind; the next job neither hangs nor differs."""
    order, states = alone
    for workers in (0, 2):
        head, reached = cluster.run(4, nodes=2, workers=workers, steps=2, kill=True)
        tail, _ = cluster.run(2, nodes=1, workers=workers, start=reached[-1], steps=len(states) - 2)
        assert head + tail == order
        again, _ = cluster.run(4, nodes=2, workers=workers, start=reached[-1], steps=len(states) - 2)
        assert again == tail


def test_copies_with_a_limit_are_shared_by_the_ranks_of_a_node(cluster, alone, tmp_path):
    """Eviction while four ranks with two workers each download, read and evict the same copies."""
    root = Path(cluster.data["shards"])
    largest = max(path.stat().st_size for path in root.rglob("*.mds"))
    limit = sum(path.stat().st_size for path in (root / "train").rglob("index.json")) + 4 * largest
    data = {"shards": f"file://{root}", "cache": str(tmp_path / "cache"), "cache_bytes": limit}
    for _ in range(2):  # empty first, then with what the first left
        order, _ = cluster.run(4, workers=2, steps=len(alone[1]), **data)
        assert order == alone[0]
    held = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.mds"))
    assert 0 < held <= limit
    assert not list((tmp_path / "cache").rglob(".tmp-*"))
