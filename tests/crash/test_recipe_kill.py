"""SIGKILL at random moments of a whole recipe, then the same command again: everything published is equal, to the byte.

Every second run starts its training by a command of its own, which must not outlive the recipe either.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from animetune.fsio import TEMP_PREFIX
from animetune.manifest import read_manifest, verify_files
from animetune.recipe.supervise import descendants
from animetune.seeding import Purpose, rng_for
from tests.crash.test_sigkill import tree
from tests.tiny_recipe import write_recipe

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(1500)]

ROOT = Path(__file__).resolve().parents[2]
KILLS = 8
LAUNCH = f'launch=["{sys.executable}", -m, animetune]'


def start(recipe: Path, *, launched: bool) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "animetune", "run", str(recipe)]
    return subprocess.Popen(
        [*command, *(["--set", LAUNCH] if launched else [])],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str]) -> float:
    began = time.monotonic()
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]
    return time.monotonic() - began


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_session(process: subprocess.Popen[str], made: Path, number: int) -> None:
    """Until the recipe has begun for the time `number`: what Python imports before is not worth a kill."""
    log = made / "recipe" / "log.jsonl"
    while process.poll() is None and (not log.exists() or log.read_text().count('"event":"start"') < number):
        time.sleep(0.02)


def published(made: Path) -> Mapping[str, str]:
    """Every file of every output, without what says when and how often it was worked on.

    Places are in the configurations that stages keep beside their outputs, so they are the same here.
    """
    apart = ("recipe/", "table/answers/")
    sessions = ("metrics.jsonl", "ledger.jsonl", "env.json", ".lock", "loss-by-class.csv")
    return {
        name: digest
        for name, digest in tree(made).items()
        if digest
        and not name.startswith(apart)
        and not Path(name).name.endswith(sessions)
        and "/heartbeat/" not in name
    }


def test_a_killed_recipe_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe", steps=6)
    made = tmp_path / "recipe" / "made"
    seconds = finish(start(recipe, launched=False))
    whole = published(made)
    made.rename(tmp_path / "whole")

    rng, kills = rng_for(7, Purpose.DRAW), 0
    while True:
        process = start(recipe, launched=kills % 2 == 1)
        if kills == KILLS:
            break
        wait_for_session(process, made, kills + 1)
        try:
            process.wait(seconds * rng.uniform(0.0, 0.4))
            break  # it ended before it could be killed
        except subprocess.TimeoutExpired:
            others = descendants(process.pid)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
        until = time.monotonic() + 20
        while any(map(is_alive, others)):
            assert time.monotonic() < until, "a process outlived the recipe that started it"
            time.sleep(0.05)
    finish(process)
    assert kills >= 5
    assert not list(made.rglob(f"{TEMP_PREFIX}*"))
    assert published(made) == whole
    for step in ("table", "shards", "labels", "samples", "export"):
        assert verify_files(made / step, read_manifest(made / step)) == []

    before = tree(made)
    finish(start(recipe, launched=False))
    assert {name for name, digest in tree(made).items() if before.get(name) != digest} <= {
        "recipe/log.jsonl",
        "recipe/running.json",
        "recipe/index.html",
    }
