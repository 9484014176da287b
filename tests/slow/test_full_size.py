"""The true SDXL, random weights, both text encoders trained: one step on the CPU in the memory that `plan` predicts."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from animetune.models.rehearsal import meta_models
from animetune.models.sdxl import sdxl_configs
from animetune.plan.memory import predict_memory
from tests.slow import full_size

LIMIT = 12e9


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_step_of_the_true_sdxl(capsys: pytest.CaptureFixture[str]) -> None:
    models = meta_models(sdxl_configs(), full_size.MODEL)
    predicted = predict_memory(models, full_size.OPTIMIZER, full_size.SIZE, batch=1, chunks=1).total
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, full_size.__file__],
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    with capsys.disabled():
        print(f"\n{found['step_seconds']:.0f} s, {found['step'] / 1e9:.2f} GB of which {found['imports'] / 1e9:.2f} GB")
        print(f"are imports; {predicted / 1e9:.2f} GB predicted; loading {found['loading'] / 1e9:.2f} GB")
    assert max(found["loading"], found["step"]) < LIMIT
    # A device holds no interpreter and no libraries.
    assert found["step"] - found["imports"] == pytest.approx(predicted, rel=0.15)
    assert found["parameters"] == 2_567_463_684 + 123_060_480 + 694_659_840
    assert math.isfinite(found["loss"])
    assert math.isfinite(found["grad_norm"])
    assert found["skipped"] == found["gradients_left"] == 0
    assert found["trained"] > 2300
    assert found["unchanged"] == []
    assert found["changed_though_frozen"] == []
