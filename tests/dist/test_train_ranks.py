"""Training on several ranks: real processes under torchrun, gloo on the CPU, over real shards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from animetune import checkpoint
from tests.builders import tiny_shards

pytestmark = [pytest.mark.dist, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
TRAIN = """
stage: train
run: {run}
seed: {seed}
model: {{base: "random:tiny"}}
data: {{shards: {shards}, labels: {labels}, global_batch: 8, micro_batch: 2, workers: 1, chunks: 1}}
prompts: {{prompt_dropout: 0.2, order: [caption, general], shuffle: [general]}}
optimizer: {{name: adamw, unet_lr: 1e-4, eps: 1e-4}}
loop: {{steps: {steps}, devices: {ranks}, accelerator: cpu, checkpoint_every: 100, ema_decay: 0.9}}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("data")
    return tiny_shards(folder, repeats=[0.5, 1.0, 2.0, 1.3, 0.9] * 8)


def train(data: tuple[Path, Path], run: Path, *, ranks: int, steps: int, seed: int = 3) -> dict[str, torch.Tensor]:
    config = run.parent / f"{run.name}-{ranks}-{steps}.yaml"
    config.write_text(TRAIN.format(run=run, shards=data[0], labels=data[1], ranks=ranks, steps=steps, seed=seed))
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    command = [sys.executable, *launcher, "-m", "animetune", "train", str(config)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    newest = checkpoint.latest(run)
    assert newest.name == checkpoint.folder_name(steps)
    loaded = checkpoint.load(newest)
    return {**loaded.model, **{f"ema {name}": tensor for name, tensor in loaded.ema.items()}}


def worst(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max((a[name] - b[name]).abs().max().item() for name in a)


def test_two_ranks_train_as_one_and_either_resumes_the_other(data: tuple[Path, Path], tmp_path: Path) -> None:
    """Ranks add gradients in another order, hence the tolerance; a wrong sample or noise would be 100 times larger."""
    one = train(data, tmp_path / "one", ranks=1, steps=7)
    two = train(data, tmp_path / "two", ranks=2, steps=7)
    assert worst(one, two) < 2e-5

    train(data, tmp_path / "mixed", ranks=2, steps=3)
    mixed = train(data, tmp_path / "mixed", ranks=1, steps=7)
    assert worst(one, mixed) < 2e-5

    other = train(data, tmp_path / "other", ranks=1, steps=7, seed=4)
    assert worst(one, other) > 1e-4  # what a difference in the data would look like
