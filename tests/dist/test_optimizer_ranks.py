"""Optimizers on two ranks: replicas stay equal, and the ranks together do what one process does."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.dist import optimizer_ranks
from tests.dist.optimizer_ranks import CONFIGS, RANKS, ROUNDINGS, SHARDED, Forked

pytestmark = pytest.mark.dist
Found = list[dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What each rank ended with."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    outs = [folder / f"{rank}.safetensors" for rank in range(RANKS)]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", optimizer_ranks.__name__, str(rank), port, str(out)],
            cwd=Path(__file__).resolve().parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, out in enumerate(outs)
    ]
    errors = [rank.communicate(timeout=240)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * RANKS, errors[0][-3000:]
    return [load_file(out) for out in outs]


def of(tensors: dict[str, torch.Tensor], case: str) -> dict[str, torch.Tensor]:
    chosen = {key.partition("/")[2]: tensor for key, tensor in tensors.items() if key.partition("/")[0] == case}
    assert chosen
    return chosen


def worst(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name].float() - b[name].float()).abs().max()) for name in a)


CASES = [(name, rounding) for name in CONFIGS for rounding in ROUNDINGS]


@pytest.mark.parametrize(("name", "rounding"), CASES)
def test_replicas_that_step_within_the_backward_pass_stay_equal(found: Found, name: str, rounding: str) -> None:
    """Stochastic rounding and another order of autograd included; and they have moved."""
    case = f"within {name} {rounding}"
    assert worst(of(found[0], case), of(found[1], case)) == 0
    begun = dict(Forked(torch.float32).named_parameters())
    assert worst(of(found[0], case), {key: each.detach() for key, each in begun.items()}) > 5e-4


@pytest.mark.parametrize(
    ("case", "name"),
    [
        *(("within", name) for name in CONFIGS),
        *((case, name) for case in ("sharded", "sharded-within", "resumed") for name in SHARDED),
    ],
)
def test_two_ranks_train_as_one(found: Found, name: str, case: str) -> None:
    tolerance = 1e-3 if name == "adamw8bit" else 1e-6  # 8 bits of state: a rounding falls to the other side
    one = of(found[0], f"alone {name} fp32")
    assert worst(of(found[0], f"{case} {name} fp32"), one) < tolerance
    assert worst(of(found[1], f"{case} {name} fp32"), one) < tolerance


@pytest.mark.parametrize("rounding", ["master", "stochastic"])
@pytest.mark.parametrize("name", SHARDED)
def test_shards_of_bf16_weights(found: Found, name: str, rounding: str) -> None:
    """Within the backward pass bit by bit as after it, and after a stop; and near one process, whose gradients are
    added up in bf16.
    """
    after = of(found[0], f"sharded {name} {rounding}")
    assert worst(after, of(found[0], f"sharded-within {name} {rounding}")) == 0
    assert worst(after, of(found[0], f"resumed {name} {rounding}")) == 0
    assert worst(after, of(found[1], f"sharded {name} {rounding}")) == 0
    assert worst(after, of(found[0], f"alone {name} {rounding}")) < 2e-2


def test_what_is_not_finite_on_one_rank_is_skipped_on_both(found: Found) -> None:
    case = "poisoned unet.left.weight"
    assert worst(of(found[0], case), of(found[1], case)) == 0
    assert all(tensor.isfinite().all() for tensor in of(found[0], case).values())


def test_hooks_under_ddp_drift_apart(found: Found) -> None:
    """The trap that this is built against, and what these tests would show if we fell into it."""
    assert worst(of(found[0], "naive"), of(found[1], "naive")) > 1e-4
