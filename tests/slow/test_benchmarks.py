"""Every benchmark still runs and ends in its table; what the figures are is for a quiet machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
SHARED = {"posts", "side_by_side", "synthetic"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({path.stem for path in BENCH.glob("*.py")} - SHARED))
def test_a_benchmark_ends_in_its_table(name, tmp_path):
    before = sorted((BENCH / "results").glob("*"))
    done = subprocess.run(
        [sys.executable, BENCH / f"{name}.py"],
        env=os.environ | {"QUICK": "1", "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    title, _, header, rule, *rows = done.stdout.splitlines()
    columns = header.count("|")
    assert title.startswith("# ")
    assert set(rule) <= set("| -")
    assert [row.count("|") for row in rows[: rows.index("")]] == [columns] * rows.index("")
    assert rows.index("") >= 1
    assert not list(tmp_path.glob("bench-*"))
    assert sorted((BENCH / "results").glob("*")) == before  # a quick run is no result
