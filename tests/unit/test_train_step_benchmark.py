"""The benchmark of the training step: what it needs, and that it notices arms that are not alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
PROBE = """
import json, sys
sys.modules |= dict.fromkeys(("streaming", "polars", "typer"))  # importing them is an error
import train_step as bench

arms = {"A0": bench.Arm(ours=False, batch=2), "A2": bench.Arm(ours=True, batch=2)}
flops = {name: bench.count_flops(arm) for name, arm in arms.items()}
good = {"flops": flops["A0"], "changed": True, "weights": 100.0, "losses": [1.0, 0.9]}
bad = {"flops": 0.9 * flops["A0"], "changed": False, "weights": 101.0, "losses": [1.0, 0.8]}
found = {
    "flops": flops,
    "image": bench.image_flops(nine_sizes=False),
    "recomputing": bench.count_flops(bench.Arm(ours=True, batch=2, activation_checkpointing="full")),
    "equal": bench.check_equal_work(arms, {"A0": [good], "A2": [good]}),
    "unequal": bench.check_equal_work(arms, {"A0": [good], "A2": [bad]}),
}
bench.bench.QUICK = False
bench.torch.cuda.is_available = lambda: False
try:
    bench.main()
except SystemExit as refused:
    print(json.dumps(found | {"refused": refused.code}))
"""


@pytest.fixture(scope="module")
def found() -> dict:
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        env=os.environ | {"QUICK": "1", "PYTHONPATH": str(BENCH)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_both_contenders_do_the_same_work(found: dict) -> None:
    assert found["flops"]["A0"] == found["flops"]["A2"] == 2 * found["image"] > 0
    assert found["recomputing"] > found["flops"]["A2"]


def test_arms_that_are_not_alike_are_noticed(found: dict) -> None:
    assert found["equal"] == []
    about = [
        "TFLOP a step, fewer than",
        "changed no weight",
        "other weights than A0",
        "a loss is 11.1% away from that of A0",
    ]
    assert len(found["unequal"]) == len(about)
    for line, words in zip(found["unequal"], about, strict=True):
        assert line.startswith("A2: ")
        assert words in line


def test_figures_of_a_cpu_are_refused(found: dict) -> None:
    assert "torch sees no GPU" in found["refused"]
