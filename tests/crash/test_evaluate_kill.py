"""SIGKILL while an evaluation looks at pictures: what was said is kept, and the end has an unbroken run's bytes."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from animetune import fsio
from animetune.manifest import has_manifest
from tests.crash.test_sigkill import Jobs, tree
from tests.evaluated import BLUE, GREEN, config, paint, requests, save_colour_tagger

pytestmark = pytest.mark.crash

PROMPTS = [f"a door of {number} planks" for number in range(10)]
ASKED = [prefix + prompt for prompt in PROMPTS for prefix in ("", "anime illustration, ")]
PICTURES = 2 * len(ASKED)
"""Of each model."""


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    server = Jobs(tmp_path / "errors.txt")
    with server.process:
        yield server


def prepare(folder: Path, models: tuple[str, ...], answers: Path | None = None) -> Path:
    """The file of a configuration."""
    folder.mkdir(exist_ok=True)
    (folder / "asked.txt").write_text("\n".join(PROMPTS) + "\n", encoding="utf-8")
    for name in models:
        if not (folder / name).exists():
            paint(folder / name, requests(ASKED), lambda request: BLUE if request["seed"] else GREEN)
    (folder / "tagger").mkdir(exist_ok=True)
    settings: dict[str, Any] = {} if answers is None else {"answers": str(answers)}
    named = {name: {"pictures": str(folder / name)} for name in models}
    config(folder, models=named, tagger=save_colour_tagger(folder / "tagger"), **settings)
    return folder / "evaluate.json.yaml"


def pieces(answers: Path) -> list[Path]:
    return [path for path in answers.glob("tags-*/piece-*") if has_manifest(path)]


def has_pieces(answers: Path, count: int) -> bool:
    return len(pieces(answers)) >= count


def said_of(answers: Path) -> set[str]:
    """Digests of the pictures that something was said of."""
    return {digest for piece in pieces(answers) for digest in (piece / "pictures.txt").read_text().split()}


def looked(answers: Path) -> list[str]:
    """Digests of the pictures that were looked at, however often."""
    log = answers / "looked.jsonl"
    return [digest for line in fsio.read_lines(log) for digest in line["pictures"]] if log.exists() else []


@pytest.mark.parametrize("workers", ["0", "2"])
def test_nothing_is_looked_at_twice(jobs: Jobs, tmp_path: Path, workers: str) -> None:
    cfg = prepare(tmp_path / "made", ("base", "tuned"))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    jobs.run("evaluate", "0", str(whole), str(cfg))
    answers = killed / "answers"
    kills = 0
    for wanted in (1, 4, 9) if workers == "0" else (2, 8):
        before, count = said_of(answers), len(looked(answers))
        are_more = functools.partial(has_pieces, answers, max(wanted, len(pieces(answers)) + 1))
        if jobs.run("evaluate", workers, str(killed), str(cfg), kill_when=are_more) is not None:
            break
        kills += 1
        assert before <= said_of(answers), "a kill took answers away"
        assert not before & set(looked(answers)[count:])
        assert not has_manifest(killed)
    assert kills
    before, count = said_of(answers), len(looked(answers))
    jobs.run("evaluate", workers, str(killed), str(cfg))
    again = looked(answers)[count:]
    assert not before & set(again)
    assert sorted([*before, *again]) == sorted(said_of(answers))
    assert len(said_of(answers)) == 2 * PICTURES
    assert outcome(killed) == outcome(whole)


def test_two_evaluations_share_answers_while_one_is_killed(jobs: Jobs, tmp_path: Path) -> None:
    """Both have the model `tuned`. One is killed while the other is at work, which goes on; nothing is lost."""
    shared = tmp_path / "shared"
    first = prepare(tmp_path / "one", ("base", "tuned"), shared)
    second = prepare(tmp_path / "two", ("tuned", "late"), shared)
    others = Jobs(tmp_path / "other-errors.txt")
    with others.process:
        other = threading.Thread(target=others.run, args=("evaluate", "0", str(tmp_path / "second"), str(second)))
        other.start()
        jobs.run("evaluate", "0", str(tmp_path / "first"), str(first), kill_when=lambda: has_pieces(shared, 6))
        other.join()
        assert has_manifest(tmp_path / "second")
        before, count = said_of(shared), len(looked(shared))
        jobs.run("evaluate", "0", str(tmp_path / "first"), str(first))
    assert not before & set(looked(shared)[count:])
    assert len(said_of(shared)) == 3 * PICTURES
    assert sum(len((piece / "pictures.txt").read_text().split()) for piece in pieces(shared)) == 3 * PICTURES
    for name, models in (("first", ("base", "tuned")), ("second", ("tuned", "late"))):
        folder = {"first": tmp_path / "one", "second": tmp_path / "two"}[name]
        alone = prepare(folder, models)
        jobs.run("evaluate", "0", str(tmp_path / f"{name}-alone"), str(alone))
        assert outcome(tmp_path / name) == outcome(tmp_path / f"{name}-alone")


def outcome(folder: Path) -> dict[str, str]:
    """What the evaluation published, but for the pieces that its answers came in."""
    assert json.loads((folder / "manifest.json").read_bytes())["kind"] == "evaluation"
    return {name: digest for name, digest in tree(folder).items() if name.split("/")[0] != "answers"}
