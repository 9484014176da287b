"""One node of a job: imports once, then forks the ranks of one job after another, as told by lines of JSON on stdin.

Starting eight interpreters that each import mosaicml-streaming takes a minute on two cores; forking takes none.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import torch.distributed as dist

from animetune.data.config import DataConfig
from animetune.data.loader import build_loader
from animetune.prompts import PromptConfig

PROMPTS = PromptConfig(order=("general",), shuffle=("general",), tag_dropout=0.2)


def seen(batch) -> list:
    """All of a batch that training sees, but small."""
    return [
        batch.epoch, batch.step, batch.slots.tolist(), batch.rows.tolist(), batch.copies.tolist(), batch.prompts,
        batch.share, batch.time_ids.tolist(), int(batch.pixels.long().sum()),
    ]  # fmt: skip


def run_rank(job: dict, rank: int) -> None:
    """Iterate from `start` for `steps` optimizer steps; write what was seen and the position after every step."""
    if job["world"] > 1:
        dist.init_process_group("gloo")
    loader = build_loader(DataConfig.model_validate(job["data"]), PROMPTS, seed=5)
    if job["start"] is not None:
        loader.load_state_dict(job["start"])
    order, states = [], []
    while len(states) < job["steps"]:
        for batch in loader:
            order.append(seen(batch))
            if len(order) % loader.accumulation == 0:
                states.append(loader.state_dict())
                if len(states) == job["steps"]:
                    break
    Path(f"{job['out']}-{rank}").write_text(json.dumps([order, states]))
    if job["kill"]:
        os.kill(os.getpid(), signal.SIGKILL)
    loader.close()
    if job["world"] > 1:
        dist.destroy_process_group()


def main() -> None:
    """Serve jobs; a line with the exit status of each rank answers each."""
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        children = []
        for local in range(job["local"]):
            rank = job["first"] + local
            child = os.fork()
            if child == 0:
                names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
                values = (rank, local, job["world"], job["local"], "127.0.0.1", job["port"])
                os.environ.update({name: str(value) for name, value in zip(names, values, strict=True)})
                try:
                    run_rank(job, rank)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            children.append(child)
        print(json.dumps([os.waitpid(child, 0)[1] for child in children]), flush=True)


if __name__ == "__main__":
    main()
