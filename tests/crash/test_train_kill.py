"""SIGKILL at random moments of training, then the same command again: the last checkpoint is equal to the last byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from animetune import checkpoint
from animetune.fsio import TEMP_PREFIX
from animetune.seeding import Purpose, rng_for
from tests.builders import tiny_shards

pytestmark = [pytest.mark.crash, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
KILLS = 6
TRAIN = """
stage: train
run: {run}
seed: 3
model: {{base: "random:tiny"}}
data: {{shards: {shards}, labels: {labels}, global_batch: 4, micro_batch: 2, workers: 1, chunks: 1}}
optimizer: {{name: adafactor, unet_lr: 1e-4}}
loop: {{steps: 24, devices: 1, accelerator: cpu, log_every: 1}}
ema: {{decays: [0.9]}}
checkpoints: {{every: 2 steps}}
"""


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run's processes keep their locks: of a short name, since there are sockets in it."""
    return tmp_path_factory.mktemp("s")


def start(run: Path, data: tuple[Path, Path], scratch: Path) -> subprocess.Popen[bytes]:
    config = run.parent / f"{run.name}.yaml"
    config.write_text(TRAIN.format(run=run, shards=data[0], labels=data[1]))
    return subprocess.Popen(
        [sys.executable, "-m", "animetune", "train", str(config)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "ANIMETUNE_TMPDIR": str(scratch)},
    )


def sessions(run: Path) -> int:
    ledger = run / "ledger.jsonl"
    return sum(b'"event":"start"' in line or b'"event":"resume"' in line for line in ledger.read_bytes().splitlines()) \
        if ledger.exists() else 0  # fmt: skip


def wait_for_session(process: subprocess.Popen[bytes], run: Path, number: int) -> None:
    while sessions(run) < number:
        assert process.poll() is None, process.communicate()[1].decode()[-2000:]
        time.sleep(0.02)


def test_killed_training_ends_as_if_it_had_not_been(tmp_path: Path, scratch: Path) -> None:
    data = tiny_shards(tmp_path / "data")
    whole = tmp_path / "whole"
    process = start(whole, data, scratch)
    wait_for_session(process, whole, 1)
    began = time.monotonic()
    _, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors.decode()[-2000:]
    seconds = time.monotonic() - began

    killed, rng, kills = tmp_path / "killed", rng_for(11, Purpose.DRAW), 0
    while not (killed / "manifest.json").exists():
        before = sessions(killed)
        process = start(killed, data, scratch)
        wait_for_session(process, killed, before + 1)
        if kills < KILLS:
            time.sleep(seconds * rng.uniform(0.3, 0.9))
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
        else:
            _, errors = process.communicate(timeout=280)
            assert process.returncode == 0, errors.decode()[-2000:]
    assert kills >= 2, "training ended before it could be killed"
    assert not list(killed.rglob(f"{TEMP_PREFIX}*"))
    assert not list(scratch.iterdir())

    final = checkpoint.folder_name(24)
    files = sorted((whole / "checkpoints" / final).glob("*"))
    assert any(file.name.startswith("optim-") for file in files)
    for file in files:
        assert file.read_bytes() == (killed / "checkpoints" / final / file.name).read_bytes(), file.name


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)], ids=["ctrl-c", "sigterm"])
def test_a_signal_to_the_whole_group_saves_first(number: int, code: int, tmp_path: Path, scratch: Path) -> None:
    """As a terminal and a scheduler send it: the data workers get it too."""
    data = tiny_shards(tmp_path / "data")
    run = tmp_path / "run"
    process = start(run, data, scratch)
    while not (run / "metrics.jsonl").exists():
        assert process.poll() is None, process.communicate()[1].decode()[-2000:]
        time.sleep(0.02)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors.decode()[-2000:]
    assert b"Traceback" not in errors
    assert checkpoint.latest(run) is not None
