"""SIGKILL at random moments of saving checkpoints: there is always a newest whole one, and nothing is left behind.

A process is forked for each kill, which goes on from what it finds, as a run does: it takes the lock, sweeps, loads the
newest checkpoint and saves the following ones until it is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from pathlib import Path

import pytest
import torch

from animetune import checkpoint, fsio
from animetune.checkpoint import Checkpoint
from animetune.fsio import TEMP_PREFIX
from animetune.seeding import Purpose, rng_for

pytestmark = pytest.mark.crash

KILLS = 100
TENSORS, ELEMENTS = 12, 50_000
KEEP, KEEP_EVERY = 2, 10


def content(step: int) -> Checkpoint:
    """3 MB of numbers that tell the step that they belong to."""
    tensors = {f"unet.block_{number}.weight": torch.full((ELEMENTS,), step + number / 100) for number in range(TENSORS)}
    return Checkpoint(
        step=step,
        model={**tensors, "text_encoder.bias": torch.full((ELEMENTS,), float(step))},
        ema={"0.9": {name: tensor + 1000 for name, tensor in tensors.items()}},
        optimizer={name: {"step": step, "exp_avg": tensor[:100] - 1000} for name, tensor in tensors.items()},
        state={"images": 2 * step},
    )


def go_on(run: Path) -> None:
    """What a run does with its checkpoints, without training, until it is killed."""
    folder = run / "checkpoints"
    with fsio.lock(run):
        fsio.sweep(folder)
        found = checkpoint.latest(folder)
        step = checkpoint.load(found).step if found else 0
        while True:
            step += 1
            checkpoint.save(content(step), folder)
            checkpoint.prune(folder, KEEP, also_every=KEEP_EVERY)


def forked(run: Path) -> int:
    child = os.fork()
    if child == 0:
        try:
            go_on(run)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(1)
    return child


def test_killed_while_saving(tmp_path: Path) -> None:
    rng = rng_for(17, Purpose.DRAW)
    run = tmp_path / "run"
    torn, newest = 0, 0
    for kill in range(KILLS):
        child = forked(run)
        time.sleep(rng.uniform(0.0, 0.25))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "it failed before it was killed"
        torn += bool(list(run.glob(f"checkpoints/{TEMP_PREFIX}*")))

        checkpoint._verified.clear()  # as in a new process: every byte is hashed
        found = checkpoint.latest(run)
        if found is None:
            assert newest == 0, f"kill {kill}: the checkpoint of step {newest} is lost"
            continue
        saved = checkpoint.load(found)
        assert saved.step >= newest, f"kill {kill}: went back from step {newest} to {saved.step}"
        newest = saved.step
        expected = content(newest)
        assert saved.state["images"] == 2 * newest
        for name, tensor in expected.model.items():
            assert torch.equal(saved.model[name], tensor), name
        for name, tensor in expected.ema["0.9"].items():
            assert torch.equal(saved.ema["0.9"][name], tensor), name
        for name, state in expected.optimizer.items():
            assert saved.optimizer[name]["step"] == newest
            assert torch.equal(saved.optimizer[name]["exp_avg"], state["exp_avg"]), name
        for path in checkpoint.steps(run / "checkpoints"):
            checkpoint.load(path)
    assert torn > KILLS / 5, f"only {torn} of {KILLS} kills hit a save: this shows little"
    assert newest > KEEP_EVERY

    with fsio.lock(run):
        fsio.sweep(run / "checkpoints")
        checkpoint.prune(run / "checkpoints", KEEP, also_every=KEEP_EVERY)
    assert not list(run.rglob(f"{TEMP_PREFIX}*"))
    left = [int(path.name.removeprefix("step-")) for path in (run / "checkpoints").iterdir()]
    assert all(step % KEEP_EVERY == 0 or step > newest - KEEP for step in left), left
    assert set(range(KEEP_EVERY, newest, KEEP_EVERY)) <= set(left)
    print(f"{KILLS} kills, {torn} of them inside a save, {newest} checkpoints")
