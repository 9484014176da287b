"""Sampling that is killed: what was drawn stays, and the folder has the bytes of an unbroken run's."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.test_sigkill import Jobs, tree

pytestmark = pytest.mark.crash

PICTURES = 12


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    server = Jobs(tmp_path / "errors.txt")
    with server.process:
        yield server


def kept(folder: Path) -> int:
    """Pictures of a run that has not published yet."""
    return len([*folder.glob(".pictures.parts/**/*.png")])


def has_kept(folder: Path, pictures: int) -> bool:
    return kept(folder) >= pictures


@pytest.mark.parametrize("workers", ["0", "2"])
def test_pictures_outlive_kills(jobs: Jobs, tmp_path: Path, workers: str) -> None:
    """Killed as soon as some more pictures are there, again and again; the last run draws what is left."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    jobs.run("sample", "0", str(whole))
    made = tree(whole)
    assert sum(name.endswith(".png") for name in made) == PICTURES + 1
    kills = 0
    for wanted in (1, 5, 8) if workers == "0" else (3,):
        before = kept(killed)
        are_more = functools.partial(has_kept, killed, max(wanted, before + 1))
        ended = jobs.run("sample", workers, str(killed), kill_when=are_more)
        if ended is not None:
            break
        kills += 1
        assert before < kept(killed) < PICTURES, "a kill took pictures away, or came when all were drawn"
        assert not (killed / "pictures").exists()
    assert kills
    jobs.run("sample", workers, str(killed))
    assert tree(killed) == made
