"""SIGKILL while questions are asked: the same command asks only for what is missing, and ends with the same answers.

The server lives in the test's process and outlives the runs, so it knows what was asked, by whichever of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from animetune.fsio import read_lines
from animetune.seeding import Purpose, rng_for
from tests.caption_server import Mode, answers_from, by_colour, caption_server, faults
from tests.crash.test_caption_kill import killed_when_asked
from tests.crash.test_sigkill import Jobs, start  # noqa: F401
from tests.questioned import colour, picture_of_colour, vision

pytestmark = pytest.mark.crash

PICTURES, AT_ONCE, FOLDERS = 20, 4, 5
QUESTIONS = ("Is there a girl?", "Is there a boy?", "Is the sky blue?", "Is there a sword?")
KNOWN = {"Is there a girl?": "Yes.", "Is the sky blue?": '{"answer": "yes"}'}
FOR_EVER: dict[str, list[Mode] | Mode] = {colour(3): "refusal", colour(8): "http400", colour(11): "length"}
"""Pictures whose questions never get an answer."""


@pytest.mark.parametrize("per_request", [1, 2])
def test_a_kill_costs_at_most_what_was_under_way(
    start: Callable[[], Jobs],  # noqa: F811
    tmp_path: Path,
    per_request: int,
) -> None:
    jobs = start()
    rng = rng_for(11, Purpose.DRAW, FOLDERS, per_request)
    pictures = [str(picture_of_colour(tmp_path, number)) for number in range(PICTURES)]
    with caption_server(faults(FOR_EVER), about=by_colour, answer=answers_from(KNOWN), latency=0.02) as server:
        cfg = vision(server, per_request=per_request, client={"concurrency": AT_ONCE, "read": 10.0})
        asked = tmp_path / "asked.json"
        listed = [[file, QUESTIONS] for file in pictures]
        asked.write_text(json.dumps({"vision": cfg.model_dump(mode="json"), "asked": listed}))

        jobs.run("questions", "0", str(tmp_path / "unbroken"), str(asked))
        expected = (tmp_path / "unbroken" / "said.json").read_bytes()
        answers = kept(tmp_path / "unbroken")
        bodies = {each.digest for each in server.asked}
        assert len(server.asked) == len(bodies) == len(answers)

        within = again = kills = 0
        for number in range(FOLDERS):
            folder = tmp_path / f"killed-{number}"
            server.asked.clear()
            for share in sorted(rng.uniform(0.05, 0.95, 2)):
                if killed_when_asked(
                    jobs, server, round(share * len(bodies)), "questions", "0", str(folder), str(asked)
                ):
                    kills += 1
                    within += 0 < len(kept(folder)) < len(answers)
                    assert not (folder / "said.json").exists()
            sent, held = len(server.asked), len(kept(folder))
            jobs.run("questions", "0", str(folder), str(asked))
            assert len(server.asked) - sent == len(bodies) - held, "an answer that was kept was asked for again"
            assert {each.digest for each in server.asked} == bodies
            assert len(server.asked) - len(bodies) <= 2 * AT_ONCE
            again += len(server.asked) - len(bodies)
            assert (folder / "said.json").read_bytes() == expected
            assert kept(folder) == answers
        assert within >= FOLDERS // 2, f"only {within} of {kills} kills fell between the first answer and the last"
        print(f"{kills} kills, {within} between the first answer and the last; {again} requests sent again")


def kept(folder: Path) -> list[str]:
    """The answers that a run left, whatever the order in which they came."""
    logs = list((folder / "answers").glob("questions-*/answers.jsonl"))
    return sorted(json.dumps(each) for each in read_lines(logs[0])) if logs else []
