"""SDXL at full size: single file, diffusers folder and back with equal bytes, in the memory of a few tensors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench" / "export.py"
LARGEST = 49408 * 1280 * 4
"""Bytes of the largest tensor in float32."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_sdxl_goes_both_ways_in_little_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--json"],
        env={name: value for name, value in os.environ.items() if name != "QUICK"} | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,  # it fails when the files differ
    )
    found = json.loads(done.stdout.splitlines()[-1])
    with capsys.disabled():
        for what, each in found.items():
            print(f"\n{what}: {each['seconds']:.0f} s, {each['memory'] / 1e6:.0f} MB beyond imports", end="")
    ways = {what: each for what, each in found.items() if each.get("sha256")}
    assert len(ways) == 3
    assert len({each["sha256"] for each in ways.values()}) == 1
    assert all(each["bytes"] == pytest.approx(7.105e9, rel=1e-3) for each in found.values())
    exports = [each["memory"] for what, each in found.items() if "->" in what]
    assert len(exports) == 4
    assert max(exports) < 3 * LARGEST
