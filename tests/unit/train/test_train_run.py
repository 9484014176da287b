"""The training stage over a loader in memory: exact resume, signals, identity, what a run leaves on disk."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from animetune import checkpoint
from animetune.config import load_config
from animetune.data.calendar import Calendar
from animetune.errors import NonFiniteError, Preempted, ResumeError, SetupError
from animetune.manifest import read_manifest
from animetune.records import Batch, Size
from animetune.seeding import Purpose, rng_for
from animetune.tokens import tokenize
from animetune.train import run as train_run
from animetune.train.config import TrainConfig

STEPS_PER_EPOCH = 4
BATCH = 2
SIZE = Size(64, 64)


class MemoryLoader:
    """Batches that are a function of (epoch, step, micro-batch), as the real loader's are."""

    calendar = Calendar.even(STEPS_PER_EPOCH)
    fingerprint: ClassVar = {"shards": "memory"}
    closed = False

    def __init__(self, accumulation: int, poison: int | None = None):
        self.accumulation = accumulation
        self.poison = poison
        self.position = {"epoch": 0, "step": 0}

    def accumulation_in(self, epoch: int) -> int:
        return self.accumulation

    shapes: ClassVar = [(SIZE, BATCH)]
    holds_pixels = False

    def keys_of(self, rows: list[int]) -> list[str]:
        return [f"memory/{row}" for row in rows]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["fingerprint"] == self.fingerprint
        self.position = dict(state)

    def close(self) -> None:
        self.closed = True

    def __iter__(self) -> Iterator[Batch]:
        epoch, first = self.position["epoch"], self.position["step"]
        for step in range(first, STEPS_PER_EPOCH):
            for micro in range(self.accumulation):
                yield self.batch(epoch, step, micro)
        self.position = {"epoch": epoch + 1, "step": 0}

    def batch(self, epoch: int, step: int, micro: int) -> Batch:
        rng = rng_for(5, Purpose.DRAW, epoch, step, micro)
        latents = rng.standard_normal((BATCH, 4, 8, 8), dtype=np.float32)
        if self.poison == epoch * STEPS_PER_EPOCH + step:
            latents[0, 0, 0, 0] = np.nan
        first = (step * self.accumulation + micro) * BATCH
        return Batch(
            size=SIZE,
            epoch=epoch,
            step=step,
            rows=torch.arange(first, first + BATCH),
            copies=torch.zeros(BATCH, dtype=torch.int64),
            slots=torch.arange(micro * BATCH, (micro + 1) * BATCH),
            token_ids=torch.from_numpy(np.stack([tokenize(f"{step} girls", chunks=1)] * BATCH)),
            time_ids=torch.tensor([[64.0, 64, 0, 0, 64, 64]] * BATCH),
            loss_weights=torch.ones(BATCH),
            share=1.0,
            global_batch=BATCH * self.accumulation,
            prompts=[f"{step} girls"] * BATCH,
            latents=torch.from_numpy(latents),
        )


@pytest.fixture
def cfg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    file = tmp_path / "train.yaml"
    file.write_text(
        f"""
stage: train
run: {tmp_path}/run
seed: 3
model: {{base: random:tiny}}
data: {{shards: none, labels: none, global_batch: {BATCH}, micro_batch: {BATCH}}}
optimizer: {{name: adamw, unet_lr: 1e-3}}
schedule: {{name: cosine, warmup: 2}}
loop: {{steps: 6, devices: 1, accelerator: cpu, log_every: 2}}
ema: {{decays: [0.9]}}
checkpoints: {{every: 3 steps}}
"""
    )
    use_loader(monkeypatch, MemoryLoader(1))
    return load_config(file, TrainConfig)


def use_loader(monkeypatch: pytest.MonkeyPatch, loader: MemoryLoader) -> None:
    monkeypatch.setattr(train_run, "build_loader", lambda *_, **__: loader)


def changed(cfg: TrainConfig, *, run: Path | None = None, checkpoint: str | None = None, **loop: object) -> TrainConfig:
    update: dict[str, object] = {"loop": cfg.loop.model_copy(update=loop)}
    if checkpoint:
        update["checkpoints"] = cfg.checkpoints.model_copy(update={"every": checkpoint})
    if run:
        update["run"] = str(run)
    return cfg.model_copy(update=update)


def equal(a: Path, b: Path) -> bool:
    return all(file.read_bytes() == (b / file.name).read_bytes() for file in a.glob("*.safetensors"))


def test_what_a_run_leaves(cfg: TrainConfig) -> None:
    train_run.run(cfg)
    assert train_run.build_loader().closed
    run = Path(cfg.run)
    assert [path.name for path in checkpoint.steps(run / "checkpoints")] == ["step-00000003", "step-00000006"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert lines[-1]["images"] == 12
    assert all(np.isfinite(line["loss"]) for line in lines)
    events = [json.loads(line)["event"] for line in (run / "ledger.jsonl").read_text().splitlines()]
    assert events == ["start", "checkpoint", "checkpoint", "done"]
    manifest = read_manifest(run, kind="run", format_version=train_run.RUN_FORMAT)
    assert manifest.facts["step"] == 6
    assert (run / "config.yaml").is_file()
    assert (run / "env.json").is_file()


def test_resume_is_exact(cfg: TrainConfig, tmp_path: Path) -> None:
    """Weights, moving average and optimizer state, byte by byte, across an epoch border and twice."""
    straight = changed(cfg, run=tmp_path / "straight", checkpoint="10 steps")
    train_run.run(straight)
    for steps in (2, 5):
        stopped = StopAfter(steps)
        with stopped:
            train_run.run(changed(cfg, run=tmp_path / "resumed", checkpoint="10 steps"))
    train_run.run(changed(cfg, run=tmp_path / "resumed", checkpoint="10 steps"))
    final = "checkpoints/step-00000006"
    assert equal(tmp_path / "straight" / final, tmp_path / "resumed" / final)
    assert any((tmp_path / "straight" / final).glob("ema-*"))
    assert any((tmp_path / "straight" / final).glob("optim-*"))


class StopAfter:
    """Sends this process a real SIGTERM during optimizer step `steps`; the run must end as preempted."""

    def __init__(self, steps: int):
        self.steps = steps

    def __enter__(self) -> None:
        steps, original = self.steps, train_run.TrainModule.optimizer_step
        self.original = original

        def step_and_signal(module, *args, **kwargs):
            original(module, *args, **kwargs)
            if module.step == steps:
                os.kill(os.getpid(), signal.SIGTERM)

        train_run.TrainModule.optimizer_step = step_and_signal

    def __exit__(self, kind, error, _) -> bool:
        train_run.TrainModule.optimizer_step = self.original
        assert kind is Preempted, error
        assert f"step {self.steps}" in str(error)
        return True


def test_ctrl_c_saves_and_interrupts(cfg: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    original = train_run.TrainModule.optimizer_step

    def step_and_interrupt(module, *args, **kwargs):
        original(module, *args, **kwargs)
        if module.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(train_run.TrainModule, "optimizer_step", step_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_run.run(cfg)
    assert checkpoint.latest(Path(cfg.run)).name == "step-00000002"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_finished_run_is_left_alone(cfg: TrainConfig) -> None:
    train_run.run(cfg)
    before = checkpoint.load(checkpoint.latest(Path(cfg.run)))
    train_run.run(cfg)
    after = checkpoint.load(checkpoint.latest(Path(cfg.run)))
    assert after.step == before.step
    assert all(torch.equal(before.model[name], after.model[name]) for name in before.model)


def test_accumulation_is_the_larger_batch(cfg: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two micro-batches of 2 make the step of one of 4: same noise, timesteps and weights to rounding."""

    class Joined(MemoryLoader):
        def batch(self, epoch: int, step: int, micro: int) -> Batch:
            parts = [MemoryLoader(2).batch(epoch, step, micro) for micro in (0, 1)]
            joined = {
                field: torch.cat([getattr(part, field) for part in parts])
                for field in ("rows", "copies", "slots", "token_ids", "time_ids", "loss_weights", "latents")
            }
            return Batch(
                size=SIZE, epoch=epoch, step=step, share=1.0, global_batch=4,
                prompts=parts[0].prompts + parts[1].prompts, **joined,
            )  # fmt: skip

    def trained(loader: MemoryLoader, micro_batch: int, name: str) -> dict[str, torch.Tensor]:
        use_loader(monkeypatch, loader)
        data = cfg.data.model_copy(update={"global_batch": 4, "micro_batch": micro_batch})
        run = changed(cfg, run=tmp_path / name).model_copy(update={"data": data})
        train_run.run(run)
        return checkpoint.load(checkpoint.latest(tmp_path / name)).model

    whole, halves = trained(Joined(1), 4, "whole"), trained(MemoryLoader(2), 2, "halves")
    worst = max((whole[name] - halves[name]).abs().max().item() for name in whole)
    assert worst < 2e-4  # Adam divides by tiny second moments, so rounding is visible where gradients are near 0


def test_changed_settings_are_listed(cfg: TrainConfig) -> None:
    train_run.run(changed(cfg, steps=3))
    with pytest.raises(ResumeError, match=r"seed: 3 in the checkpoint, 4 now"):
        train_run.run(cfg.model_copy(update={"seed": 4}))


def test_resume_never_refuses_a_run_with_checkpoints(cfg: TrainConfig) -> None:
    train_run.run(changed(cfg, steps=3))
    with pytest.raises(ResumeError, match="--resume never"):
        train_run.run(cfg, resume="never")


def contents(run: Path) -> dict[Path, bytes]:
    """What is in a run directory, but for who is alive and who holds it."""
    passing = {"heartbeat", "heartbeats", ".lock"}
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and not passing & set(path.parts)}


def test_a_run_that_would_end_before_its_checkpoint(cfg: TrainConfig) -> None:
    train_run.run(changed(cfg, steps=3))
    before = contents(Path(cfg.run))
    with pytest.raises(ResumeError, match=r"run: its checkpoint has 3 steps, .* to end after 2; raise loop\.steps"):
        train_run.run(changed(cfg, steps=2))
    assert contents(Path(cfg.run)) == before
    assert Path(cfg.run, "config.yaml") in before


def test_a_checkpoint_of_another_run(cfg: TrainConfig, tmp_path: Path) -> None:
    """It may begin a run, but not go on in the middle of one."""
    other = changed(cfg, run=tmp_path / "other", steps=3)
    train_run.run(other)
    theirs = str(tmp_path / "other" / "checkpoints" / "step-00000003")
    assert train_run.run(changed(cfg, steps=4), resume=theirs).facts["step"] == 4
    before = contents(Path(cfg.run))
    with pytest.raises(ResumeError, match=r"step-00000003: is none of the checkpoints of .*run,.*model\.base:"):
        train_run.run(cfg, resume=theirs)
    assert contents(Path(cfg.run)) == before
    mine = os.path.relpath(Path(cfg.run, "checkpoints", "step-00000004"))
    assert train_run.run(changed(cfg, steps=5), resume=mine).facts["step"] == 5


@pytest.mark.skipif(torch.accelerator.is_available(), reason="needs a machine without GPUs")
def test_a_gpu_that_is_not_there(cfg: TrainConfig) -> None:
    with pytest.raises(SetupError, match=r"loop\.accelerator: gpu, with loop\.devices: 1: this machine cannot: .*gpu"):
        train_run.run(changed(cfg, accelerator="gpu"))


def test_a_batch_that_does_not_divide(cfg: TrainConfig) -> None:
    data = cfg.data.model_copy(update={"global_batch": 3})
    with pytest.raises(SetupError, match="do not divide"):
        train_run.run(cfg.model_copy(update={"data": data}))


def test_one_poisoned_step_changes_nothing(cfg: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    use_loader(monkeypatch, MemoryLoader(1, poison=1))
    train_run.run(cfg.model_copy(update={"ema": None}))
    model = checkpoint.load(checkpoint.latest(Path(cfg.run))).model
    assert all(torch.isfinite(tensor).all() for tensor in model.values())
    ledger = [json.loads(line) for line in (Path(cfg.run) / "ledger.jsonl").read_text().splitlines()]
    assert [(line["step"], line["rows"]) for line in ledger if line["event"] == "skipped"] == [(2, [2])]


def test_poison_all_along_stops(cfg: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    class Poisoned(MemoryLoader):
        def batch(self, epoch: int, step: int, micro: int) -> Batch:
            self.poison = epoch * STEPS_PER_EPOCH + step
            return super().batch(epoch, step, micro)

    use_loader(monkeypatch, Poisoned(1))
    with pytest.raises(NonFiniteError, match="in a row"):
        train_run.run(changed(cfg, steps=20))
