"""What the crash tests of the arena kill, and the server that forks one for each line.

    python -m tests.crash.arena_servers     lines in: JSON [job, config, ...]; lines out: `started PID`, `ended STATUS`

Everything is imported once, so that a job is at work within milliseconds; each leads a process group of its own.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path

from animetune.arena import app, guard, run, visitors
from animetune.arena.config import ArenaConfig
from animetune.arena.gallery import read_gallery
from animetune.arena.security import Rate
from animetune.arena.store import open_store
from animetune.config import load_config

VOTERS = 16


def serve(config: Path) -> None:
    """`animetune arena`, for voters who do not sleep."""
    assert app.make_app, guard.Guard  # imported before the fork
    visitors.ASKING = visitors.ARRIVING = Rate(per_second=1e6, burst=10**6)
    run.serve(load_config(config, ArenaConfig), lambda line: None)


def vote(config: Path, thanked: Path) -> None:
    """Sixteen voters in as many threads; a line in `thanked` for every vote, once `Store.vote` has returned."""
    cfg = load_config(config, ArenaConfig)
    acknowledged = os.open(thanked, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with open_store(cfg, read_gallery(cfg)) as store:

        def without_end(voter: str) -> None:
            while True:
                battle = store.new_battle(voter)
                ranks = tuple(range(len(battle.models)))
                store.vote(battle.token, voter, ranks, 1000)
                os.write(acknowledged, f"{battle.token} {voter}\n".encode())

        threads = [threading.Thread(target=without_end, args=(f"v{number}",)) for number in range(VOTERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


JOBS = {"serve": serve, "vote": vote}


def main() -> None:
    """Fork a child for every line of stdin, and say when it ends."""
    for line in sys.stdin:
        job, *files = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                os.setpgid(0, 0)
                JOBS[job](*map(Path, files))
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(1)
        os.setpgid(child, child)
        print("started", child, flush=True)
        threading.Thread(target=_wait_for, args=(child,), daemon=True).start()


def _wait_for(child: int) -> None:
    _, status = os.waitpid(child, 0)
    print("ended", status, flush=True)


if __name__ == "__main__":
    main()
