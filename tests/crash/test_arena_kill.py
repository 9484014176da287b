"""The arena is killed while people vote: no vote that somebody was thanked for is lost, none is counted twice.

Sixteen voters at once, and SIGKILL at random moments, once on the server that they ask over HTTP, once on two processes
that share the file, each with all voters in threads.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from animetune.arena.ledger import STORE_NAME, open_votes
from animetune.seeding import Purpose, rng_for
from tests.arena_galleries import arena
from tests.crash.arena_servers import VOTERS

pytestmark = pytest.mark.crash

ROOT = Path(__file__).resolve().parents[2]
KILLS = 30


class Servers:
    """The process that forks what is killed."""

    def __init__(self, errors: Path):
        self.errors = errors
        with open(errors, "w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.arena_servers"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def start(self, *line: str) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        return int(self._answer("started"))

    def kill(self, child: int) -> None:
        """Kill it at once, and see that it had not ended by itself."""
        os.killpg(child, signal.SIGKILL)
        assert int(self._answer("ended")) == signal.SIGKILL, self.errors.read_text()[-4000:]

    def _answer(self, word: str) -> str:
        assert self.process.stdout is not None
        said, _, value = self.process.stdout.readline().partition(" ")
        assert said == word, self.errors.read_text()[-4000:]
        return value


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    started = Servers(tmp_path / "errors.txt")
    with started.process:
        yield started


def written(folder: Path, **settings: object) -> Path:
    """The file of an arena's configuration."""
    cfg = arena(folder, "abcd", prompts=20, **settings)
    file = folder / "arena.yaml"
    file.write_text(cfg.model_dump_json())
    return file


def counted(file: Path) -> Counter[str]:
    """Token -> votes, as they stand in the file."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT token FROM vote JOIN battle ON battle.number = vote.battle").fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return Counter(token for (token,) in rows)


def test_votes_outlive_the_processes_that_take_them(servers: Servers, tmp_path: Path) -> None:
    config, thanked = written(tmp_path), tmp_path / "thanked"
    rng = rng_for(3, Purpose.DRAW)
    votes = []
    for _ in range(KILLS):
        children = [servers.start("vote", str(config), str(thanked)) for _ in range(2)]
        wait_for_more(functools.partial(size, thanked))
        time.sleep(0.3 * rng.random())
        for child in children:
            servers.kill(child)
        acknowledged = [line.split()[0] for line in thanked.read_text().splitlines()] if thanked.exists() else []
        assert len(set(acknowledged)) == len(acknowledged)
        found = counted(tmp_path / "arena" / STORE_NAME)
        assert set(acknowledged) <= set(found)
        assert set(found.values()) <= {1}
        votes.append(len(found))
    assert len(set(votes)) == KILLS  # every kill fell into the work
    # of every kill, a thread may have been between its vote and the line that says so
    assert votes[-1] - len(acknowledged) <= 2 * VOTERS * KILLS
    with open_votes(arena(tmp_path, "abcd", prompts=20)) as ledger:
        assert len(list(ledger.votes())) == votes[-1]


class Voter(threading.Thread):
    """A browser that votes as fast as it can, and sends a vote again until it knows what became of it."""

    def __init__(self, url: str, seed: int):
        super().__init__()
        self.url = url
        self.rng = rng_for(seed, Purpose.DRAW)
        self.sent: dict[str, list[int]] = {}
        self.settled: Counter[str] = Counter()
        """Tokens whose vote is kept, as the server said: `thanked`, or refused as the second of its battle."""
        self.again = 0
        self.stopping = threading.Event()
        self.problem: BaseException | None = None

    def run(self) -> None:
        try:
            with httpx.Client(base_url=self.url, headers={"origin": self.url}, timeout=20) as client:
                self._ask(client, "/api/arena", {})
                while not self.stopping.is_set():
                    self._play(client)
        except BaseException as problem:
            self.problem = problem

    def _play(self, client: httpx.Client) -> None:
        answer = self._ask(client, "/api/battle", {})
        if answer is None:
            return
        battle = answer.json()["battle"]
        ranks = [int(rank) for rank in self.rng.permutation(4 if battle["mode"] == "four" else 2)]
        self.sent[battle["token"]] = ranks
        ballot = {"token": battle["token"], "ranks": ranks, "ms": 1000}
        kept = self._ask(client, "/api/vote", ballot)
        if kept is not None:
            self.settled["thanked" if kept.status_code == 200 else "known already"] += 1
            self.sent[battle["token"]] = [*ranks, -1]

    def _ask(self, client: httpx.Client, path: str, body: dict[str, object]) -> httpx.Response | None:
        """The answer, however often it takes to get one; None when the test ends before."""
        first = True
        while True:
            try:
                answer = client.post(path, json=body)
            except httpx.TransportError:
                self.again += 1
                first = False
                if self.stopping.wait(0.01):
                    return None
                continue
            may_be_known = path == "/api/vote" and not first
            assert answer.status_code == 200 or (may_be_known and answer.status_code == 409), answer.text
            return answer


def settled_by(voters: list[Voter]) -> int:
    return sum(voter.settled.total() for voter in voters)


def size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def wait_for_more(count: Callable[[], int], more: int = 1) -> None:
    """Until the count has grown by so many."""
    enough, deadline = count() + more, time.monotonic() + 60
    while count() < enough:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def free_port() -> int:
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_votes_outlive_the_server(servers: Servers, tmp_path: Path) -> None:
    port = free_port()
    config = written(tmp_path, port=port)
    rng = rng_for(4, Purpose.DRAW)
    child = servers.start("serve", str(config))
    voters = [Voter(f"http://127.0.0.1:{port}", number) for number in range(VOTERS)]
    for voter in voters:
        voter.start()
    try:
        for kills in range(KILLS):
            if kills % 6 != 5:  # mostly while people vote; now and then before the server is up
                wait_for_more(functools.partial(settled_by, voters))
            time.sleep(0.3 * rng.random())
            servers.kill(child)
            child = servers.start("serve", str(config))
        wait_for_more(functools.partial(settled_by, voters), VOTERS)
    finally:
        for voter in voters:
            voter.stopping.set()
        for voter in voters:
            voter.join()
        servers.kill(child)
    assert [voter.problem for voter in voters] == [None] * VOTERS
    found = counted(tmp_path / "arena" / STORE_NAME)
    assert set(found.values()) == {1}
    sent = {token: ranks for voter in voters for token, ranks in voter.sent.items()}
    settled = {token for token, ranks in sent.items() if ranks[-1] == -1}
    assert settled <= set(found) <= set(sent)
    assert sum((voter.settled for voter in voters), Counter()).total() == len(settled) > 10 * KILLS
    assert sum(voter.settled["known already"] for voter in voters) > 0  # killed between a vote and its thanks
    assert sum(voter.again for voter in voters) > KILLS
    with open_votes(arena(tmp_path, "abcd", prompts=20, port=port)) as ledger:
        assert len(list(ledger.votes())) == len(found)
    kept = dict(ranks_by_token(tmp_path))
    for token in settled:
        assert kept[token] == [rank for rank in sent[token] if rank >= 0]


def ranks_by_token(folder: Path) -> list[tuple[str, list[int]]]:
    with contextlib.closing(sqlite3.connect(folder / "arena" / STORE_NAME)) as connection:
        rows = connection.execute("SELECT token, ranks FROM vote JOIN battle ON battle.number = vote.battle").fetchall()
    return [(token, json.loads(ranks)) for token, ranks in rows]
