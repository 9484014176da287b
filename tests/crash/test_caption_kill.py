"""SIGKILL while captions are asked for: the same command asks only for what is missing, and ends with the same bytes.

The server lives in the test's process and outlives the runs, so it knows what was asked, by whichever of them.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from animetune.config import to_yaml
from animetune.seeding import Purpose, rng_for
from tests.builders import write_posts
from tests.caption_server import CaptionServer, Mode, by_colour, caption_server, faults, plain_answer
from tests.captioned import captioned_config
from tests.crash.test_sigkill import Jobs, kill, start, tree  # noqa: F401
from tests.unit.curate.caption.test_caption_faults import colour_of

pytestmark = pytest.mark.crash

PICTURES, AT_ONCE, FOLDERS = 60, 4, 5
FOR_EVER: dict[str, list[Mode] | Mode] = {colour_of(3): "refusal", colour_of(8): "http400", colour_of(21): "length"}
"""Pictures that never get an answer, so that refusals and rewrites are under way as well."""


def outcome(folder: Path) -> dict[str, str]:
    """What a run left, but for the order in which answers came, and what each run asked."""
    return {name: digest for name, digest in tree(folder).items() if not name.endswith(".jsonl")}


def answers(folder: Path) -> list[str]:
    """Whole lines of the log."""
    logs = list((folder / "answers").glob("captions-*/answers.jsonl"))
    return sorted(logs[0].read_text().split("\n")[:-1]) if logs else []


def killed_when_asked(jobs: Jobs, server: CaptionServer, count: int, *command: str) -> bool:
    """Run a job, and kill its group when the server was asked so often; whether that came before its end."""
    assert jobs.process.stdin is not None
    jobs.process.stdin.write(json.dumps(command) + "\n")
    jobs.process.stdin.flush()
    group = int(jobs._answer("started"))
    ended = threading.Event()

    def watch() -> None:
        while len(server.asked) < count and not ended.wait(0.001):
            pass
        if not ended.is_set():
            kill(group)

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = int(jobs._answer("ended"))
    ended.set()
    watcher.join()
    return os.WIFSIGNALED(status)


def test_a_kill_costs_at_most_what_was_under_way(start: Callable[[], Jobs], tmp_path: Path) -> None:  # noqa: F811
    posts = write_posts(tmp_path / "posts", PICTURES)
    config = tmp_path / "curate.yaml"
    jobs = start()
    rng = rng_for(7, Purpose.DRAW, FOLDERS)
    with caption_server(faults(FOR_EVER), about=by_colour, answer=plain_answer, latency=0.03) as server:
        client = {"concurrency": AT_ONCE, "read": 10.0}
        config.write_text(to_yaml(captioned_config(posts, tmp_path / "table", server, client=client)))

        unbroken = tmp_path / "unbroken"
        jobs.run("curate", "0", str(unbroken), str(config))
        jobs.run("curate", "0", str(tmp_path / "again"), str(config))
        expected, all_answers = outcome(unbroken), answers(unbroken)
        bodies = {each.digest for each in server.asked}
        assert outcome(tmp_path / "again") == expected
        assert answers(tmp_path / "again") == all_answers

        within = again = kills = 0
        for number in range(FOLDERS):
            folder = tmp_path / f"killed-{number}"
            server.asked.clear()
            for share in sorted(rng.uniform(0.05, 0.95, 2)):
                if killed_when_asked(jobs, server, round(share * len(bodies)), "curate", "0", str(folder), str(config)):
                    kills += 1
                    within += 0 < len(answers(folder)) < len(all_answers)
            asked = len(server.asked)
            held = len(answers(folder))
            jobs.run("curate", "0", str(folder), str(config))
            assert len(server.asked) - asked == len(bodies) - held, "an answer that was kept was asked for again"
            assert {each.digest for each in server.asked} == bodies
            assert len(server.asked) - len(bodies) <= 2 * AT_ONCE
            again += len(server.asked) - len(bodies)
            assert outcome(folder) == expected
            assert answers(folder) == all_answers
        assert within >= FOLDERS // 2, f"only {within} of {kills} kills fell between the first answer and the last"
        print(f"{kills} kills, {within} between the first answer and the last; {again} requests sent again")
