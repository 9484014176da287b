"""The data module under Lightning's own DDP: two gloo ranks, stock checkpoints, resumed on other ranks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import tiny_shards

pytestmark = [pytest.mark.dist, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, os, sys
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from animetune.data.config import DataConfig
from animetune.data.datamodule import AnimeDataModule
from animetune.prompts import PromptConfig

folder, shards, labels, steps, resume, workers = json.loads(sys.argv[1])
ranks = int(os.environ.get("WORLD_SIZE", "1"))

class Recorder(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen = []

    def training_step(self, batch, index):
        self.seen.append([batch.epoch, batch.step, batch.slots.tolist(), batch.rows.tolist(), batch.prompts])
        return self.layer(torch.ones(1, 1)).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)

cfg = DataConfig(shards=shards, labels=labels, micro_batch=2, global_batch=8, chunks=1, workers=workers)
data = AnimeDataModule(cfg, PromptConfig(order=("general",), shuffle=("general",)), seed=5)
trainer = pl.Trainer(
    max_steps=steps, accumulate_grad_batches=data.accumulation(ranks), accelerator="cpu", devices=ranks,
    strategy="ddp" if ranks > 1 else "auto", logger=False, enable_progress_bar=False, enable_model_summary=False,
    callbacks=[ModelCheckpoint(folder, "step-{step}", every_n_train_steps=1, save_top_k=-1)],
)
module = Recorder()
trainer.fit(module, datamodule=data, ckpt_path=resume)
print(json.dumps(module.seen), file=open(f"{folder}/seen-{trainer.global_rank}", "w"))
"""


def fit(folder: Path, data: tuple[Path, Path], *, ranks: int, steps: int, workers: int, resume: Path | None = None):
    """What all ranks saw, by step and slot."""
    folder.mkdir(exist_ok=True)
    arguments = [str(folder), *map(str, data), steps, resume and str(resume), workers]
    program = folder / "program.py"
    program.write_text(PROGRAM)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    command = [sys.executable, *launcher, str(program), json.dumps(arguments)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    seen = [json.loads((folder / f"seen-{rank}").read_text()) for rank in range(ranks)]
    assert len({len(each) for each in seen}) == 1
    return sorted((batch for each in seen for batch in each), key=lambda batch: batch[:3])


def test_two_ranks_see_what_one_sees_and_each_continues_the_other(tmp_path: Path) -> None:
    data = tiny_shards(tmp_path / "data")
    one = fit(tmp_path / "one", data, ranks=1, steps=12, workers=0)
    two = fit(tmp_path / "two", data, ranks=2, steps=12, workers=1)
    assert one == two
    last_of_epoch = 1 + max(step for epoch, step, *_ in one if epoch == 0)
    for ranks, after in ((2, 2), (1, last_of_epoch), (2, last_of_epoch + 1)):
        saved = tmp_path / ("one" if ranks == 2 else "two") / f"step-step={after}.ckpt"
        rest = fit(tmp_path / f"rest-{after}", data, ranks=ranks, steps=12, workers=ranks, resume=saved)
        assert rest == one[4 * after :]
