"""A batch that grows between epochs, and schedules that count steps, not micro-batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from animetune import checkpoint, fsio
from animetune.config import load_config
from animetune.data.calendar import Calendar, Phase
from animetune.errors import SetupError
from animetune.records import Batch
from animetune.train import dry_run
from animetune.train import run as train_run
from animetune.train.config import TrainConfig
from tests.unit.train.test_train_run import BATCH, SIZE, MemoryLoader, StopAfter, equal


class GrowingLoader(MemoryLoader):
    """12 micro-batches an epoch, in steps of 4, from epoch 2 on of 2, from epoch 3 on of 6."""

    calendar = Calendar((Phase(0, 3), Phase(2, 6), Phase(3, 2)))

    def __init__(self) -> None:
        super().__init__(accumulation=0)

    def accumulation_in(self, epoch: int) -> int:
        return 12 // self.calendar.steps_in(epoch)

    def __iter__(self) -> Iterator[Batch]:
        epoch, first = self.position["epoch"], self.position["step"]
        accumulation = self.accumulation_in(epoch)
        for micro in range(first * accumulation, 12):
            batch = self.batch(epoch, micro // accumulation, micro % accumulation)
            yield dataclasses.replace(batch, global_batch=BATCH * accumulation)
        self.position = {"epoch": epoch + 1, "step": 0}


CONFIG = """
stage: train
run: {run}
seed: 3
model: {{base: random:tiny}}
data: {{shards: none, labels: none, global_batch: {batch}, global_batch_from: {later}, micro_batch: 2}}
optimizer: {{name: adamw, unet_lr: 1e-3}}
schedule: {{name: cosine, warmup: 1 epoch{stop}}}
loop: {{{length}, devices: 1, accelerator: cpu, log_every: 1}}
checkpoints: {{every: 100 steps}}
"""


@pytest.fixture
def build(tmp_path: Path):
    def build_one(
        name: str, *, batch: int = 8, later: Any = "{2: 4, 3: 12}", length: str = "epochs: 4", stop: str = ""
    ) -> TrainConfig:
        file = tmp_path / f"{name}.yaml"
        run = tmp_path / name
        file.write_text(CONFIG.format(run=run, batch=batch, later=later, length=length, stop=stop))
        return load_config(file, TrainConfig)

    return build_one


def lines(cfg: TrainConfig) -> list[dict[str, Any]]:
    return fsio.read_lines(Path(cfg.run) / "metrics.jsonl")


@pytest.mark.slow
def test_steps_grow_and_any_of_them_is_one_to_go_on_from(build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_run, "build_loader", lambda *_, **__: GrowingLoader())
    straight, resumed = build("straight"), build("resumed")
    train_run.run(straight)
    images = [line["images"] for line in lines(straight)]
    assert [after - before for before, after in zip([0, *images], images, strict=False)] == [8] * 6 + [4] * 6 + [12] * 2
    assert [line["epoch"] for line in lines(straight)][5::6] == [2.0, 3.0]

    for steps in (4, 9, 13):  # inside an epoch of each batch
        with StopAfter(steps):
            train_run.run(resumed)
    train_run.run(resumed)
    final = "checkpoints/step-00000014"
    assert equal(Path(straight.run, final), Path(resumed.run, final))


def test_the_rate_is_counted_in_steps_whatever_is_accumulated(build, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    for accumulation in (1, 4):
        monkeypatch.setattr(train_run, "build_loader", lambda *_, n=accumulation, **__: MemoryLoader(n))
        cfg = build(f"accumulation-{accumulation}", batch=2 * accumulation, later="{}", length="steps: 6")
        train_run.run(cfg)
        rates.append([line["lr/unet"] for line in lines(cfg)])
    assert rates[0] == rates[1]
    assert rates[0] == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3, 0.5e-3])


def test_a_run_ends_where_its_rate_falls_below(build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2 epochs with one of warm-up, cosine to 0: steps 4 to 7 train at 1, 0.854, 0.5, 0.146 of the rate."""
    monkeypatch.setattr(train_run, "build_loader", lambda *_, **__: MemoryLoader(1))
    cfg = build("stopped", batch=2, later="{}", length="epochs: 2", stop=", stop_below_lr: 4e-4")
    manifest = train_run.run(cfg)
    assert manifest.facts["step"] == 7
    assert lines(cfg)[-1]["lr/unet"] == pytest.approx(5e-4)
    assert checkpoint.latest(Path(cfg.run)).name == "step-00000007"
    assert train_run.run(cfg).facts["step"] == 7


def test_a_batch_that_the_ranks_do_not_fit(build) -> None:
    cfg = build("ranks", later="{2: 6}")
    cfg = cfg.model_copy(update={"data": cfg.data.model_copy(update={"global_batch_from": {2: 5}})})
    with pytest.raises(SetupError, match=r"data\.global_batch_from\.2: 5 samples do not divide"):
        train_run.build_trainer(cfg, [])


@pytest.mark.parametrize(("epochs", "kept"), [(1, False), (2, True)])
def test_a_dry_run_computes_beside_gradients_if_ever_a_step_accumulates(
    build, monkeypatch: pytest.MonkeyPatch, epochs: int, kept: bool
) -> None:
    """From epoch 1 on, if the run gets there; its first step does not."""

    class Late(MemoryLoader):
        calendar = Calendar((Phase(0, 4), Phase(1, 2)))
        shapes: ClassVar = [(SIZE, BATCH)] * 2

        def accumulation_in(self, epoch: int) -> int:
            return 1 + (epoch > 0)

    class Computed(Exception):
        pass

    found: list[bool] = []
    original = dry_run.diffusion_loss

    def looking(models: Any, *args: Any, **kwargs: Any) -> Any:
        found.append(any(parameter.grad is not None for parameter in models.parameters()))
        if len(found) == 3:
            raise Computed
        return original(models, *args, **kwargs)

    monkeypatch.setattr(dry_run, "diffusion_loss", looking)
    monkeypatch.setattr(train_run, "build_loader", lambda *_, **__: Late(1))
    cfg = build("late", batch=2, later="{1: 4}", length=f"epochs: {epochs}, dry_run: always")
    with pytest.raises(Computed):
        train_run.run(cfg)
    assert found == [False, kept, kept]


def test_gradients_are_the_mean_over_a_grown_step(build, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step of epoch 2 accumulates 2 micro-batches: its gradient is that of a run with so many all along."""
    norms = {}
    for name, loader, batch, later in (("grown", GrowingLoader, 8, "{2: 4, 3: 12}"), ("even", EvenLoader, 4, "{}")):
        monkeypatch.setattr(train_run, "build_loader", lambda *_, kind=loader, **__: kind())
        monkeypatch.setattr(train_run.TrainModule, "optimizer_step", without_step(train_run.TrainModule.optimizer_step))
        cfg = build(name, batch=batch, later=later, length="epochs: 3")
        train_run.run(cfg)
        norms[name] = [line["grad_norm"] for line in lines(cfg)]
        monkeypatch.undo()
    assert norms["grown"][6:] == norms["even"][12:]
    assert all(norm > 0 for norm in norms["even"])


class EvenLoader(GrowingLoader):
    """Two micro-batches a step all along."""

    calendar = Calendar.even(6)


def without_step(original):
    """Lets the optimizer step at a rate of 0, so that weights stay what they are."""

    def step(module, *args, **kwargs):
        monkeyed = module.schedule
        module.schedule = Still()
        original(module, *args, **kwargs)
        module.schedule = monkeyed

    return step


class Still:
    def learning_rate(self, base_lr: float, step: int) -> float:
        return 0.0
