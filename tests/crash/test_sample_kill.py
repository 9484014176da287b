"""Sampling that is killed: what was drawn stays, and the folder has the bytes of an unbroken run's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from animetune.fsio import TEMP_PREFIX
from tests.crash.test_sigkill import Jobs, Tree, survive

pytestmark = [pytest.mark.crash, pytest.mark.timeout(1500)]


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    server = Jobs(tmp_path / "errors.txt")
    with server.process:
        yield server


def test_sample(jobs: Jobs, tmp_path: Path) -> None:
    kept: list[int] = []

    def is_torn(state: Tree) -> bool:
        kept.append(sum(name.startswith(".pictures.parts/") and name.endswith(".png") for name in state))
        return any(TEMP_PREFIX in name for name in state) or kept[-1] > 0

    made = survive(jobs, "sample", tmp_path, kills=3, is_torn=is_torn)
    assert sum(name.endswith(".png") for name in made) == 12 + 1
    assert not any(".parts" in name for name in made)
    assert any(0 < count < 12 for count in kept), "no kill left pictures behind that could be kept"
