"""Training on several ranks: real processes under torchrun, gloo on the CPU, over real shards."""

from __future__ import annotations

import socket
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
loop: {{steps: {steps}, accelerator: cpu, {devices}}}
ema: {{decays: [0.9]}}
checkpoints: {{every: 100 steps}}
"""

OWN_NODE = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs /dev/shm && export TMPDIR=/dev/shm && exec "$@"', "sh"]
"""Runs a command with a /dev/shm and a TMPDIR of its own, as on another machine."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("data")
    return tiny_shards(folder, repeats=[0.5, 1.0, 2.0, 1.3, 0.9] * 8)


def train(
    data: tuple[Path, Path], run: Path, *, ranks: int, steps: int, nodes: int = 1, seed: int = 3
) -> dict[str, torch.Tensor]:
    """Weights and moving average after `steps`, on so many ranks in all."""
    config = run.parent / f"{run.name}-{ranks}-{steps}.yaml"
    devices = f"devices: {ranks // nodes}, nodes: {nodes}"
    config.write_text(TRAIN.format(run=run, shards=data[0], labels=data[1], steps=steps, seed=seed, devices=devices))
    command = ["-m", "animetune", "train", str(config)]
    if nodes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        launches = [
            [*OWN_NODE, sys.executable, "-m", "torch.distributed.run", f"--nnodes={nodes}", f"--node-rank={node}",
             "--master-addr=127.0.0.1", f"--master-port={port}", f"--nproc-per-node={ranks // nodes}", *command]
            for node in range(nodes)
        ]  # fmt: skip
    elif ranks > 1:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        launches = [[sys.executable, *torchrun, *command]]
    else:
        launches = [[sys.executable, *command]]
    processes = [
        subprocess.Popen(launch, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for launch in launches
    ]
    for process in processes:
        _, errors = process.communicate(timeout=280)
        assert process.returncode == 0, errors[-3000:]
    newest = checkpoint.latest(run)
    assert newest.name == checkpoint.folder_name(steps)
    loaded = checkpoint.load(newest)
    return {**loaded.model, **{f"ema {name}": tensor for name, tensor in loaded.ema["0.9"].items()}}


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


def test_two_nodes_train_as_one_and_one_node_goes_on(data: tuple[Path, Path], tmp_path: Path) -> None:
    if subprocess.run([*OWN_NODE, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("mount namespaces are not allowed here")
    whole = train(data, tmp_path / "whole", ranks=1, steps=6)
    two = train(data, tmp_path / "run", ranks=2, nodes=2, steps=4)
    first = train(data, tmp_path / "first", ranks=1, steps=4)
    assert worst(two, first) < 2e-5
    assert worst(train(data, tmp_path / "run", ranks=1, steps=6), whole) < 2e-5
