"""The loader on two ranks: real processes with a gloo group, shared memory and data workers."""

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
PROGRAM = """
import json, sys
import torch.distributed as dist
from animetune.data.config import DataConfig
from animetune.data.loader import build_loader
from animetune.prompts import PromptConfig

shards, labels, workers, start, states = json.loads(sys.argv[1])
cfg = DataConfig(shards=shards, labels=labels, global_batch=8, micro_batch=2, workers=workers, chunks=1, flip=0.5)
prompts = PromptConfig(order=("general",), shuffle=("general",))
if len(states) > 1:
    dist.init_process_group("gloo")
loader = build_loader(cfg, prompts, seed=5)
if start:
    loader.load_state_dict(start)

def seen(batch):
    return [batch.epoch, batch.step, batch.slots.tolist(), batch.rows.tolist(), batch.copies.tolist(), batch.prompts,
            batch.share, batch.time_ids.tolist(), int(batch.pixels.long().sum())]

order, saved = [], []
while loader.state_dict()["epoch"] < 2:
    for batch in loader:
        order.append(seen(batch))
        if len(order) % loader.accumulation == 0:
            saved.append(loader.state_dict())
loader.close()
print(json.dumps({"order": order, "states": saved}))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return tiny_shards(tmp_path_factory.mktemp("ranks"), repeats=[0.5, 1.0, 2.0, 1.3, 0.9] * 8)


def run_ranks(data, *, ranks: int, workers: int, start=None) -> tuple[list, list]:
    """The order of the whole job, step by step and slot by slot, and rank 0's position after each step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = json.dumps([str(data[0]), str(data[1]), workers, start, [None] * ranks])
    processes = []
    for rank in range(ranks):
        world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = os.environ | {name: str(value) for name, value in (world | address).items()}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
            )
        )
    outputs = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * ranks
    results = [json.loads(output.splitlines()[-1]) for output in outputs]
    assert len({len(result["order"]) for result in results}) == 1
    assert all(result["states"] == results[0]["states"] for result in results)
    merged = sorted((batch for result in results for batch in result["order"]), key=lambda batch: batch[:3])
    return merged, results[0]["states"]


def test_two_ranks_see_what_one_sees_and_each_continues_the_other(data):
    one, states = run_ranks(data, ranks=1, workers=0)
    two, states_of_two = run_ranks(data, ranks=2, workers=2)
    assert two == one
    assert states == states_of_two
    steps_per_epoch = len(states) // 2
    for ranks, workers, after in ((2, 1, 2), (1, 2, 3), (2, 0, steps_per_epoch), (1, 0, 2 * steps_per_epoch - 1)):
        start = states_of_two[after - 1]
        rest, _ = run_ranks(data, ranks=ranks, workers=workers, start=start)
        assert rest == [batch for batch in one if (batch[0], batch[1]) >= (start["epoch"], start["step"])]
