"""The arena under 16 voters: votes a second, and how long the next battle takes.

Each voter asks for a battle, votes, and asks again, without a pause: some hundred times what people do. At the level of
the store the voters are threads of one process, or of two that share the file. Over HTTP the server is
`animetune arena` in a process of its own, its limit of requests per voter lifted, and the voters are a second process
on the same cores, which takes a good part of them; then one voter alone takes the pictures of every battle, too.
Afterwards every battle that a voter was thanked for is looked up: it must have exactly one vote.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import multiprocessing
import os
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import side_by_side as bench

VOTERS = 16
SECONDS = 0.5 if bench.QUICK else 5.0
MODELS, PROMPTS, SEEDS = 6, 10 if bench.QUICK else 250, (0, 1, 2, 3)
PAINTED = (832, 1216)
"""Size of the pictures that are sent over HTTP."""

PAUSE = 0.1
"""Seconds that the one voter who takes pictures looks at them."""

Times = dict[str, list[float]]
"""What was waited for -> seconds of each time."""


def store(*, folder: str, processes: int, durable: bool) -> dict[str, Any]:
    """Threads that call the store; `durable` waits for the disk at every commit."""
    cfg = _drawn(Path(folder), PROMPTS, (16, 16))
    fork = multiprocessing.get_context("fork")
    results: Any = fork.Queue()
    workers = [fork.Process(target=_store_worker, args=(cfg, n, processes, durable, results)) for n in range(processes)]
    for worker in workers:
        worker.start()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return _counted(cfg, found)


def _store_worker(cfg: Any, number: int, processes: int, durable: bool, results: Any) -> None:
    from animetune.arena.gallery import read_gallery
    from animetune.arena.store import open_store

    with open_store(cfg, read_gallery(cfg)) as opened:

        def voter(name: str) -> Callable[[Times], str]:
            if durable:
                opened._connection().execute("PRAGMA synchronous = FULL")

            def vote(times: Times) -> str:
                with _timed(times, "next"):
                    battle = opened.new_battle(name)
                with _timed(times, "vote"):
                    opened.vote(battle.token, name, tuple(range(len(battle.models))), 1000)
                return battle.token

            return vote

        results.put(_play(voter, [f"v{number}-{n}" for n in range(VOTERS // processes)]))


def http_voters(*, folder: str) -> dict[str, Any]:
    """Voters that ask the server, and take the pictures of every battle."""
    cfg = _drawn(Path(folder), 2 if bench.QUICK else 10, PAINTED)
    fork = multiprocessing.get_context("fork")
    ports: Any = fork.Queue()
    server = fork.Process(target=_serve, args=(cfg, ports))
    server.start()
    port = ports.get(timeout=60)
    try:
        before = _cpu_seconds(server.pid)
        found = _play(lambda name: _browser(port), [str(n) for n in range(VOTERS)])
        found["cpu_ms"] = 1000 * (_cpu_seconds(server.pid) - before) / len(found["tokens"])
        whole = _play(lambda name: _browser(port, pause=PAUSE), ["one"])
    finally:
        server.terminate()
        server.join()
    return {
        **_counted(cfg, [dict(found), dict(whole)]),
        **{name: found[name] for name in ("votes_per_s", "cpu_ms", "next_p50", "next_p99", "vote_p50", "vote_p99")},
        **{name: value for name, value in whole.items() if name.startswith("pair")},
    }


def _cpu_seconds(pid: int | None) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _serve(cfg: Any, ports: Any) -> None:
    from animetune.arena import run, visitors
    from animetune.arena.security import Rate

    visitors.ASKING = visitors.ARRIVING = Rate(per_second=1e6, burst=10**6)
    listen = run.listen

    def listen_and_tell(host: str, port: int) -> Any:
        listener = listen(host, port)
        ports.put(listener.getsockname()[1])
        return listener

    run.listen = listen_and_tell
    run.serve(cfg, lambda line: None)


def _browser(port: int, *, pause: float | None = None) -> Callable[[Times], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"content-type": "application/json", "origin": f"http://127.0.0.1:{port}"}

    def ask(method: str, path: str, body: Any = None) -> tuple[bytes, str | None]:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}: {data[:200]!r}")
        return data, answer.getheader("set-cookie")

    headers["cookie"] = str(ask("POST", "/api/arena", {})[1]).partition(";")[0]

    def vote(times: Times) -> str:
        with _timed(times, "pair"):
            with _timed(times, "next"):
                battle = json.loads(ask("POST", "/api/battle", {})[0])["battle"]
            for slot in battle["slots"] if pause is not None else ():
                ask("GET", slot["url"])
        time.sleep(pause or 0)
        with _timed(times, "vote"):
            ranks = list(range(len(battle["slots"])))
            ask("POST", "/api/vote", {"token": battle["token"], "ranks": ranks, "ms": 1000})
        return str(battle["token"])

    return vote


def _play(voter: Callable[[str], Callable[[Times], str]], names: list[str]) -> dict[str, Any]:
    """Voters in threads for some seconds: votes a second, milliseconds of what they waited for, tokens."""
    times: list[Times] = [{} for _ in names]
    tokens: list[list[str]] = [[] for _ in names]
    ready, ending = threading.Barrier(len(names) + 1), threading.Event()

    def play(place: int) -> None:
        vote = voter(names[place])
        vote({})
        ready.wait()
        while not ending.is_set():
            tokens[place].append(vote(times[place]))

    threads = [threading.Thread(target=play, args=(place,)) for place in range(len(names))]
    for thread in threads:
        thread.start()
    ready.wait()
    begun, begun_cpu = time.perf_counter(), time.process_time()
    ending.wait(SECONDS)
    ending.set()
    for thread in threads:
        thread.join()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    count = sum(map(len, tokens))
    found: dict[str, Any] = {
        "votes_per_s": count / seconds,
        "cpu_ms": 1000 * cpu / count,
        "tokens": [*itertools.chain(*tokens)],
    }
    for name in times[0]:
        waited = sorted(second for each in times for second in each.get(name, ()))
        for percent in (50, 99):
            found[f"{name}_p{percent}"] = 1000 * waited[len(waited) * percent // 100]
    return found


@contextlib.contextmanager
def _timed(times: Times, name: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    times.setdefault(name, []).append(time.perf_counter() - begun)


def _counted(cfg: Any, found: list[dict[str, Any]]) -> dict[str, Any]:
    """All that the voters found, together, and how many of their votes are missing or there twice."""
    from animetune.arena.ledger import STORE_NAME

    with contextlib.closing(sqlite3.connect(cfg.out / STORE_NAME)) as connection:
        rows = connection.execute("SELECT token FROM vote JOIN battle ON battle.number = vote.battle").fetchall()
    votes = Counter(token for (token,) in rows)
    tokens = [token for each in found for token in each.pop("tokens")]
    numbers = {name: max(each[name] for each in found) for name in found[0]}
    return numbers | {
        "votes_per_s": sum(each["votes_per_s"] for each in found),
        "votes": len(tokens),
        "wrong": sum(votes[token] != 1 for token in tokens) + sum(count > 1 for count in votes.values()),
    }


def _drawn(folder: Path, prompts: int, size: tuple[int, int]) -> Any:
    """An arena of pictures of noise, which compress like none; drawn once."""
    import numpy as np
    from PIL import Image

    from animetune.arena.config import ArenaConfig
    from animetune.seeding import Purpose, rng_for

    width, height = size
    models = {}
    for model in range(MODELS):
        place = folder / f"{width}-{model}"
        models[f"model-{model}"] = {"pictures": str(place)}
        if place.exists():
            continue
        place.mkdir()
        lines = []
        for number in range(prompts):
            for seed in SEEDS:
                rng = rng_for(seed, Purpose.DRAW, model, number)
                low = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
                name = f"{number}-{seed}.png"
                low.resize(size, Image.Resampling.BICUBIC).save(place / name, compress_level=1)
                line = {"file": name, "prompt": f"prompt {number}", "seed": seed, "width": width, "height": height}
                lines.append(json.dumps(line))
        (place / "images.jsonl").write_text("\n".join(lines))
    out = tempfile.mkdtemp(dir=folder)
    return ArenaConfig.model_validate({"stage": "arena", "models": models, "out": out, "port": 0})


CONTENDERS = {"store": store, "http": http_voters}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "store, 16 threads": ("store", {"processes": 1, "durable": False}),
    "store, 2 processes of 8 threads": ("store", {"processes": 2, "durable": False}),
    "store, 16 threads, each waiting for the disk": ("store", {"processes": 1, "durable": True}),
    "server and 16 voters over HTTP": ("http", {}),
}

if __name__ == "__main__":
    bench.child(CONTENDERS)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-arena-") as folder:
        for case, (name, settings) in CASES.items():
            found = [bench.fresh(CONTENDERS, name, folder=folder, **settings) for _ in range(1 if bench.QUICK else 3)]
            row = {"case": case, "votes/s": f"{bench.middle(found, 'votes_per_s'):,.0f}"}
            row["processor ms a vote"] = f"{bench.middle(found, 'cpu_ms'):.2f}"
            for what, title in (("next", "next battle"), ("pair", "with its pictures"), ("vote", "vote")):
                known = f"{what}_p50" in found[0]
                row[f"{title}, ms"] = (
                    f"{bench.middle(found, f'{what}_p50'):.1f} / {bench.middle(found, f'{what}_p99'):.1f}"
                    if known
                    else ""
                )
            row["votes"] = f"{sum(each['votes'] for each in found):,}"
            row["lost or twice"] = str(sum(each["wrong"] for each in found))
            rows.append(row)
    load = os.getloadavg()[0]
    notes = [
        f"{MODELS} models, {PROMPTS * len(SEEDS):,} prompts and seeds (over HTTP {40 if not bench.QUICK else 8}, of "
        f"832x1216 pixels); {SECONDS:g} s each, the median of three; times are p50 / p99 of 16 voters that never pause",
        f"with its pictures: of one voter alone, who looks for {PAUSE:g} s; pictures of noise, which take the server "
        "longer than drawings, each encoded when it is first asked for; the page asks for them ahead, so that people "
        "do not wait for them",
        "processor ms: of the store's processes, over HTTP of the server alone; does not depend on what else runs",
        f"the load of the machine was {load:.1f} at the end, the voters' own included",
    ]
    bench.report("arena", "The arena under 16 voters", rows, notes=notes)
