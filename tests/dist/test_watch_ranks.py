"""What is measured on several ranks: the same figures as on one."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from animetune import fsio
from tests.builders import tiny_shards

pytestmark = [pytest.mark.dist, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
TRAIN = """
stage: train
run: {run}
seed: 3
model: {{base: "random:tiny"}}
data: {{shards: {shards}, labels: {labels}, global_batch: 8, global_batch_from: {{1: 16}}, micro_batch: 2, workers: 1,
       chunks: 1}}
optimizer: {{name: adamw, unet_lr: 1e-4, eps: 1e-4}}
schedule: {{name: cosine_annealing_warm_restarts, first_cycle: 4 steps, warmup: 1 step, cycle_decay: 0.5, min_lr: 1e-6}}
loop: {{epochs: 2, accelerator: cpu, devices: {ranks}, log_every: 1}}
checkpoints: {{every: 1 epoch}}
validation: {{every: 4, timesteps: 3}}
watch: {{classes: [content_bucket, character]}}
"""


SLOW_RANK = """
import os, time
from animetune.cli import main
from animetune.train.module import TrainModule

original = TrainModule.training_step

def training_step(module, batch, index):
    time.sleep(0.5 * (os.environ.get("RANK") == "1"))
    return original(module, batch, index)

TrainModule.training_step = training_step
main()
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    content = ["1girl_only", "animal", "1girl_only", "object", "animal"] * 8
    return tiny_shards(tmp_path_factory.mktemp("watch"), content_bucket=content)


@pytest.fixture(scope="module")
def runs(data: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Run directories of one rank and of two."""
    folder = tmp_path_factory.mktemp("runs")
    return {ranks: train(data, folder / f"run-{ranks}", "-m", "animetune", ranks=ranks) for ranks in (1, 2)}


def train(data: tuple[Path, Path], run: Path, *program: str, ranks: int, options: tuple[str, ...] = ()) -> Path:
    config = run.with_suffix(".yaml")
    config.write_text(TRAIN.format(run=run, shards=data[0], labels=data[1], ranks=ranks))
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    command = [sys.executable, *torchrun, *program, "train", str(config), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return run


def lines(run: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return fsio.read_lines(run / name)


def test_losses_are_those_of_all_ranks(runs: dict[int, Path]) -> None:
    for one, two in zip(lines(runs[1]), lines(runs[2]), strict=True):
        for name in one:
            if name.startswith(("loss", "grad_norm")):
                assert two[name] == pytest.approx(one[name], rel=1e-4), (one["step"], name)
        assert two["images"] == one["images"]
        assert len(two["rank_seconds"]) == 2


def test_rates_and_lengths_are_counted_in_steps(runs: dict[int, Path]) -> None:
    one, two = lines(runs[1]), lines(runs[2])
    assert [line["lr/unet"] for line in one] == [line["lr/unet"] for line in two]
    assert [line["epoch"] for line in one] == [line["epoch"] for line in two]
    assert one[-1]["epoch"] == 2.0


def test_validation_is_the_same_to_the_bit(runs: dict[int, Path]) -> None:
    """Before the first step the weights are equal; later they differ by the order in which ranks add."""
    one, two = (lines(runs[ranks], "validation.jsonl") for ranks in (1, 2))
    assert one[0] == two[0]
    assert one[0]["samples"] == 15
    for mine, other in zip(one, two, strict=True):
        assert other["loss"] == pytest.approx(mine["loss"], rel=1e-5)


def test_losses_by_class(runs: dict[int, Path]) -> None:
    tables = ((runs[ranks] / "loss-by-class.csv").read_text().splitlines() for ranks in (1, 2))
    one, two = (list(csv.DictReader(table)) for table in tables)
    for mine, other in zip(one, two, strict=True):
        assert [other[name] for name in ("kind", "class", "epoch", "samples")] == [
            mine[name] for name in ("kind", "class", "epoch", "samples")
        ]
        assert float(other["relative_loss"]) == pytest.approx(float(mine["relative_loss"]), abs=2e-4)


def test_every_rank_has_a_heartbeat(runs: dict[int, Path]) -> None:
    assert sorted(path.name for path in (runs[2] / "heartbeat").iterdir()) == ["rank-00000.json", "rank-00001.json"]


def test_a_slow_rank_is_named(data: tuple[Path, Path], tmp_path: Path) -> None:
    program = tmp_path / "slow.py"
    program.write_text(SLOW_RANK)
    options = ("--set", "loop.steps=3", "--set", "loop.epochs=null", "--set", "validation=null")
    run = train(data, tmp_path / "slow", str(program), ranks=2, options=options)
    events = [line for line in lines(run, "ledger.jsonl") if line["event"] == "stragglers"]
    assert [event["ranks"] for event in events][-1] == [1]
    fast, slow = lines(run)[-1]["rank_seconds"]
    assert slow - fast > 0.5  # two micro-batches of half a second, less what the other was slower by


def test_figures_of_sharded_weights(data: tuple[Path, Path], runs: dict[int, Path], tmp_path: Path) -> None:
    options = ("--set", "loop.steps=2", "--set", "loop.epochs=null", "--set", "loop.strategy=fsdp")
    sharded = train(data, tmp_path / "fsdp", "-m", "animetune", ranks=2, options=options)
    for one, two in zip(lines(runs[1]), lines(sharded), strict=False):
        for name in one:
            if name.startswith("grad_norm"):
                assert two[name] == pytest.approx(one[name], rel=1e-4), (one["step"], name)
    first, last = lines(sharded, "validation.jsonl")
    assert first["loss"] == pytest.approx(lines(runs[1], "validation.jsonl")[0]["loss"], rel=1e-6)
    assert last["step"] == 2
