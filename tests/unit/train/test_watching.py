"""What a run measures, against figures taken another way, and what ends one that hangs."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from animetune import fsio
from animetune.config import load_config
from animetune.diffusion.loss import validation_loss
from animetune.models.load import load_models
from animetune.records import Batch, Classes
from animetune.train import module as train_module
from animetune.train import run as train_run
from animetune.train.callbacks import heartbeat, metrics
from animetune.train.callbacks.heartbeat import Watchdog
from animetune.train.callbacks.metrics import group_norms, stragglers
from animetune.train.callbacks.step import aside
from animetune.train.callbacks.validation import fixed_timesteps
from animetune.train.config import EmaConfig, TrainConfig
from animetune.train.stopwatch import Stopwatch
from tests.unit.train.test_journal import curves
from tests.unit.train.test_train_run import BATCH, MemoryLoader, StopAfter

KINDS = (Classes(("girl",), ("ann",)), Classes(("cat",), ("bob", "ann")), Classes(("cat",)))


class LabelledLoader(MemoryLoader):
    """Samples of three kinds, in turn."""

    def batch(self, epoch: int, step: int, micro: int) -> Batch:
        batch = super().batch(epoch, step, micro)
        return dataclasses.replace(batch, classes=[KINDS[row % 3] for row in batch.rows.tolist()])


class ValidationBatches:
    """Two micro-batches of two samples, and one that only keeps the ranks equally long."""

    def __iter__(self) -> Iterator[Batch]:
        for place, share in ((0, 1.0), (1, 1.0), (1, 0.0)):
            batch = LabelledLoader(1).batch(0, place, 0)
            slots = torch.arange(2 * place, 2 * place + 2)
            yield dataclasses.replace(batch, slots=slots, share=share, classes=[KINDS[place]] * BATCH)


@pytest.fixture
def cfg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    monkeypatch.setattr(train_run, "build_loader", lambda *_, **__: LabelledLoader(2))
    monkeypatch.setattr(train_run, "build_val_loader", lambda *_, **__: ValidationBatches())
    file = tmp_path / "train.yaml"
    file.write_text(
        f"""
stage: train
run: {tmp_path}/run
seed: 3
model: {{base: random:tiny}}
data: {{shards: none, labels: none, global_batch: {2 * BATCH}, micro_batch: {BATCH}}}
optimizer: {{name: adamw, unet_lr: 1e-3, text_encoder_lr: 1e-4}}
schedule: {{name: cosine, warmup: 2}}
loop: {{steps: 5, devices: 1, accelerator: cpu, log_every: 2}}
checkpoints: {{every: 3 steps}}
validation: {{every: 4, timesteps: 3}}
watch: {{classes: [content_bucket, artist], peak_tflops: 0.002}}
"""
    )
    return load_config(file, TrainConfig)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Batch, Any]]:
    """Every micro-batch that was trained, with its loss."""
    found: list[tuple[Batch, Any]] = []
    original = train_module.diffusion_loss

    def watched(models: Any, batch: Batch, *args: Any, **named: Any) -> Any:
        found.append((batch, original(models, batch, *args, **named)))
        return found[-1][1]

    monkeypatch.setattr(train_module, "diffusion_loss", watched)
    return found


def test_norms_of_groups_are_summed_in_fp32() -> None:
    """As clipping does; bf16 would be wrong by 1e-4."""
    weights = [torch.nn.Parameter(torch.zeros(50, dtype=torch.bfloat16)) for _ in range(3)]
    for place, weight in enumerate(weights):
        weight.grad = torch.linspace(0.1, 1.7 + place, 50).to(torch.bfloat16)
    optimizer = torch.optim.SGD([{"params": weights[:2], "name": "unet"}, {"params": weights[2:], "name": "text"}])
    exact = {"unet": weights[:2], "text": weights[2:]}
    for name, norm in group_norms(optimizer).items():
        expected = torch.cat([weight.grad for weight in exact.pop(name)]).double().norm()
        assert float(norm) == pytest.approx(float(expected), rel=1e-6)
    assert not exact


def means_of(seen: list[tuple[Batch, Any]], name: str, key) -> dict[str, float]:
    """`name/key(sample)` -> mean loss."""
    losses: dict[str, list[float]] = {}
    for batch, output in seen:
        for place in range(BATCH):
            loss, t = output.per_sample[place].item(), output.timesteps[place].item()
            losses.setdefault(f"{name}/{key(batch, place, t)}", []).append(loss)
    return {key: pytest.approx(np.mean(each), rel=1e-12) for key, each in losses.items()}


def test_every_figure_of_a_line(cfg: TrainConfig, seen: list[tuple[Batch, Any]]) -> None:
    train_run.run(cfg)
    lines = fsio.read_lines(Path(cfg.run) / "metrics.jsonl")
    assert [line["step"] for line in lines] == [2, 4, 5]
    for line, part in zip(lines, (seen[:4], seen[4:8], seen[8:]), strict=True):
        expected = {
            **means_of(part, "loss_by_timestep", lambda _, __, t: f"{t // 100}00-{t // 100}99"),
            **means_of(part, "loss_by_size", lambda *_: "64x64"),
            **means_of(part, "loss_by_content", lambda batch, place, _: batch.classes[place].content_bucket[0]),
        }
        assert {name: value for name, value in line.items() if name.startswith("loss_by")} == expected
        assert line["loss"] == line["loss_by_size/64x64"]
        squares = [line[f"grad_norm_of/{name}"] ** 2 for name in ("unet", "text_encoder", "text_encoder_2")]
        assert line["grad_norm"] == pytest.approx(sum(squares) ** 0.5, rel=1e-5)
        assert line["lr/text_encoder"] == pytest.approx(line["lr/unet"] / 10)
        assert 0 <= line["data_wait"] < 1
        assert line["host_memory_gb"] > 0.1
        assert 0 < line["mfu"] < 10
        assert "device_memory_gb" not in line
        assert "rank_seconds" not in line
    assert [line["images"] for line in lines] == [8, 16, 20]

    shown = curves(Path(cfg.run) / "tb")
    assert shown["train/loss"] == [(line["step"], pytest.approx(line["loss"])) for line in lines]
    assert shown["loss_by_content/cat"][0] == (2, pytest.approx(lines[0]["loss_by_content/cat"]))
    assert [step for step, _ in shown["validation/raw/loss"]] == [0, 4, 5]


def validated(cfg: TrainConfig, **model: str) -> dict[str, Any]:
    """What validation should find of weights, computed without the trainer, picture by picture."""
    models = load_models(cfg.model.model_copy(update=model)).eval()
    losses: dict[str, list[float]] = {}
    for batch in list(ValidationBatches())[:2]:
        for timesteps in fixed_timesteps(batch.slots, 3):
            found = validation_loss(models, batch, cfg.diffusion, timesteps, seed=3).tolist()
            for loss, timestep, classes in zip(found, timesteps.tolist(), batch.classes, strict=True):
                decile = f"loss_by_timestep/{timestep // 100}00-{timestep // 100}99"
                for name in ("loss", decile, f"loss_by_content/{classes.content_bucket[0]}", "loss_by_size/64x64"):
                    losses.setdefault(name, []).append(loss)
    return {name: pytest.approx(np.mean(each), rel=1e-6) for name, each in losses.items()}


def test_validation_is_that_of_the_weights(cfg: TrainConfig) -> None:
    """Of the base before the first step; of the weights and of each average as the last checkpoint has them."""
    cfg = cfg.model_copy(update={"ema": EmaConfig(decays=(0.1, 0.9))})
    train_run.run(cfg)
    lines = fsio.read_lines(Path(cfg.run) / "validation.jsonl")
    kinds = ("raw", "ema-0.1", "ema-0.9")
    assert [(line["step"], line["weights"]) for line in lines] == [
        (0, "raw"), *((4, kind) for kind in kinds), *((5, kind) for kind in kinds)
    ]  # fmt: skip
    assert {line["samples"] for line in lines} == {12}
    figures = [{name: value for name, value in line.items() if name.startswith("loss")} for line in lines]
    assert figures[0] == validated(cfg)
    for kind, found in zip(kinds, figures[4:], strict=True):
        assert found == validated(cfg, base=cfg.run, weights=kind)
    assert len({found["loss"] for found in figures}) == len(figures)


@pytest.mark.slow
def test_losses_by_class_go_on_after_a_stop(cfg: TrainConfig, tmp_path: Path, seen: list[tuple[Batch, Any]]) -> None:
    other = cfg.model_copy(update={"run": str(tmp_path / "stopped")})
    train_run.run(cfg)
    with StopAfter(3):  # between two lines, inside the first epoch
        train_run.run(other)
    train_run.run(other)
    table = (tmp_path / "run" / "loss-by-class.csv").read_text()
    assert (tmp_path / "stopped" / "loss-by-class.csv").read_text() == table
    rows = {(row["kind"], row["class"], row["epoch"]): row for row in csv.DictReader(table.splitlines())}
    anns = [
        output.per_sample[place].item()
        for batch, output in seen[:8]  # the first epoch
        for place in range(BATCH)
        if "ann" in batch.classes[place].artist
    ]
    assert int(rows["artist", "ann", "0"]["samples"]) == len(anns)
    assert float(rows["artist", "ann", "0"]["loss"]) == pytest.approx(np.mean(anns), rel=1e-5)


def test_time_beside_training_does_not_count() -> None:
    module: Any = SimpleNamespace(seconds_aside=0.0, step=0, images=0, stream=SimpleNamespace(waited=0.0))
    begun, clock = time.perf_counter(), metrics._Clock.of(module)
    with aside(module):
        time.sleep(0.3)
    trained = metrics._Clock.of(module).training - clock.training
    assert trained <= time.perf_counter() - begun - 0.3


def test_fixed_timesteps_cover_all_noise_levels() -> None:
    found = torch.stack(fixed_timesteps(torch.arange(250), 4))
    assert ((found >= torch.arange(0, 1000, 250)[:, None]) & (found < torch.arange(250, 1001, 250)[:, None])).all()
    counts = torch.bincount(found.flatten() // 100, minlength=10)
    assert counts.min() >= 98
    assert counts.max() <= 102
    again = fixed_timesteps(torch.tensor([17, 3]), 4)
    assert torch.equal(torch.stack(again), found[:, [17, 3]])


def test_norms_of_groups() -> None:
    a, b, c = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    optimizer = torch.optim.SGD([{"params": [a, b], "name": "unet"}, {"params": [c], "name": "text_encoder"}], lr=1.0)
    assert {name: norm.item() for name, norm in group_norms(optimizer).items()} == {"unet": 5.0}


@pytest.mark.parametrize(
    ("seconds", "slow"),
    [([1.0], []), ([1.0, 1.29], []), ([1.0, 1.31], [1]), ([1.0, 1.0, 9.0, 1.1], [2]), ([2.0, 1.0, 1.0, 2.0], [0, 3])],
)
def test_stragglers(seconds: list[float], slow: list[int]) -> None:
    assert stragglers(seconds) == slow


def test_stopwatch_adds_up_what_was_stopped() -> None:
    watch = Stopwatch(torch.device("cpu"))
    for _ in range(2):
        watch.start()
        time.sleep(0.02)
        watch.stop()
    watch.stop()
    watch.start()
    assert 0.04 <= watch.take() < 1.0
    assert watch.take() == 0.0


def test_a_watchdog_barks_only_while_armed() -> None:
    barks: list[float] = []
    dog = Watchdog(0.2, lambda: barks.append(time.monotonic()))
    dog.arm()
    dog.disarm()
    time.sleep(0.5)
    assert barks == []
    dog.arm()
    time.sleep(0.6)
    assert len(barks) == 1
    dog.close()


@pytest.mark.slow
def test_heartbeats_and_the_end_of_a_hanging_step(cfg: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[tuple[Path, int, int, float]] = []
    monkeypatch.setattr(heartbeat, "_end", lambda *args: ended.append(args))
    original = train_run.TrainModule.training_step

    def hang(module: Any, batch: Batch, index: int) -> torch.Tensor:
        if module.step == 3 and not ended:
            deadline = time.monotonic() + 20
            while not ended and time.monotonic() < deadline:
                time.sleep(0.05)
        return original(module, batch, index)

    monkeypatch.setattr(train_run.TrainModule, "training_step", hang)
    watch = cfg.watch.model_copy(update={"step_timeout": 5.0})
    train_run.run(cfg.model_copy(update={"watch": watch, "validation": None}))
    assert ended == [(Path(cfg.run), 0, 3, 5.0)]
    beat = json.loads((Path(cfg.run) / "heartbeat" / "rank-00000.json").read_text())
    assert (beat["rank"], beat["step"]) == (0, 5)


def test_the_end_of_a_process_that_hangs(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(tmp_path / "stderr", os.O_CREAT | os.O_WRONLY), 2)
        sys.stderr = os.fdopen(2, "w")
        heartbeat._end(tmp_path, 3, 17, 60.0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    said = (tmp_path / "stderr").read_text()
    assert "rank 3: a micro-batch after step 17 took more than watch.step_timeout, 60 s" in said
    assert "in test_the_end_of_a_process_that_hangs" in said
    event = {"event": "hung", "rank": 3, "seconds": 60.0, "step": 17}
    assert fsio.read_lines(tmp_path / "ledger.jsonl") == [event]


def test_stragglers_are_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from animetune.train.class_losses import ClassLosses
    from animetune.train.config import WatchConfig
    from animetune.train.journal import Journal

    journal = Journal(tmp_path, WatchConfig(tensorboard=False), config={})
    journal.open(first_step=0)
    callback = metrics.MetricsCallback(tmp_path, journal=journal, classes=ClassLosses([]))
    callback._shown = True  # as on the first rank
    with caplog.at_level(logging.WARNING):
        for step in (10, 20):
            callback._warn_of_stragglers([1.0, 1.0, 2.0], step)
        callback._warn_of_stragglers([1.0, 1.0, 1.0], 30)
    assert [record.getMessage() for record in caplog.records] == [
        "rank 2 is slow: its part of a step takes 2.0 times the median rank's"
    ]
    assert [(line["step"], line["ranks"]) for line in fsio.read_lines(tmp_path / "ledger.jsonl")] == [
        (10, [2]),
        (30, []),
    ]
