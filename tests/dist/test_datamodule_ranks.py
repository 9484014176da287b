"""The data module under Lightning's own DDP: two gloo ranks, stock checkpoints, resumed on other ranks.

Once under torchrun, which sets the variables that the loaders read, and once as Slurm starts ranks, which does not.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import tiny_shards

pytestmark = [pytest.mark.dist, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    PORT = str(free.getsockname()[1])
PROGRAM = """
import json, os, sys
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from animetune.data.config import DataConfig
from animetune.data.datamodule import AnimeDataModule
from animetune.prompts import PromptConfig

folder, shards, labels, steps, resume, workers = json.loads(sys.argv[1])
ranks = int(os.environ.get("SLURM_NTASKS") or os.environ.get("WORLD_SIZE", "1"))

class Recorder(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen = []
        self.validated = []

    def validation_step(self, batch, index):
        if batch.share:
            self.validated += batch.rows.tolist()

    def training_step(self, batch, index):
        self.seen.append([batch.epoch, batch.step, batch.slots.tolist(), batch.rows.tolist(), batch.prompts])
        return self.layer(torch.ones(1, 1)).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)

cfg = DataConfig(shards=shards, labels=labels, micro_batch=2, global_batch=8, chunks=1, workers=workers)
data = AnimeDataModule(cfg, PromptConfig(order=("general",), shuffle=("general",)), seed=5)
trainer = pl.Trainer(
    max_steps=steps, num_sanity_val_steps=0, limit_val_batches=1.0 if resume is None else 0, accumulate_grad_batches=data.accumulation(ranks), accelerator="cpu", devices=ranks,
    strategy="ddp" if ranks > 1 else "auto", logger=False, enable_progress_bar=False, enable_model_summary=False,
    callbacks=[ModelCheckpoint(folder, "step-{step}", every_n_train_steps=1, save_top_k=-1)],
)
module = Recorder()
trainer.fit(module, datamodule=data, ckpt_path=resume)
print(json.dumps([module.seen, module.validated]), file=open(f"{folder}/seen-{trainer.global_rank}", "w"))
"""


def fit(
    folder: Path,
    data: tuple[Path, Path],
    *,
    ranks: int,
    steps: int,
    workers: int,
    resume: Path | None = None,
    slurm: bool = False,
) -> tuple[list, list]:
    """What all ranks saw, by step and slot, and the rows that they validated on."""
    folder.mkdir(exist_ok=True)
    arguments = [str(folder), *map(str, data), steps, resume and str(resume), workers]
    program = folder / "program.py"
    program.write_text(PROGRAM)
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command = [sys.executable, *(torchrun if ranks > 1 and not slurm else []), str(program), json.dumps(arguments)]
    environments = [slurm_environment(rank, ranks) for rank in range(ranks)] if slurm else [{}]
    processes = [
        subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)} | each, stderr=subprocess.PIPE, text=True
        )
        for each in environments
    ]
    for process in processes:
        _, errors = process.communicate(timeout=280)
        assert process.returncode == 0, errors[-3000:]
    results = [json.loads((folder / f"seen-{rank}").read_text()) for rank in range(ranks)]
    assert len({len(seen) for seen, _ in results}) == 1
    seen = sorted((batch for each, _ in results for batch in each), key=lambda batch: batch[:3])
    return seen, sorted(row for _, rows in results for row in rows)


def slurm_environment(rank: int, ranks: int) -> dict[str, str]:
    """As srun starts a task; the port is the tests' own, since Lightning derives it from the job's number."""
    values = {"JOB_ID": 1, "JOB_NAME": "test", "NTASKS": ranks, "NTASKS_PER_NODE": ranks, "NNODES": 1, "NODEID": 0}
    values |= {"PROCID": rank, "LOCALID": rank}
    environment = {f"SLURM_{name}": str(value) for name, value in values.items()}
    return environment | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": PORT}


def test_two_ranks_see_what_one_sees_and_each_continues_the_other(tmp_path: Path) -> None:
    data = tiny_shards(tmp_path / "data")
    one, validated = fit(tmp_path / "one", data, ranks=1, steps=12, workers=0)
    assert fit(tmp_path / "two", data, ranks=2, steps=12, workers=1) == (one, validated)
    assert validated == sorted([35, 36, 37, 38, 39] * 2)  # after each of two epochs
    assert fit(tmp_path / "slurm", data, ranks=2, steps=12, workers=0, slurm=True) == (one, validated)
    last_of_epoch = 1 + max(step for epoch, step, *_ in one if epoch == 0)
    for ranks, after in ((2, 2), (1, last_of_epoch), (2, last_of_epoch + 1)):
        saved = tmp_path / ("one" if ranks == 2 else "two") / f"step-step={after}.ckpt"
        rest, _ = fit(tmp_path / f"rest-{after}", data, ranks=ranks, steps=12, workers=ranks, resume=saved)
        assert rest == one[4 * after :]
