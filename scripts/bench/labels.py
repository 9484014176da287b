"""The `labels` stage on a table of millions of rows: seconds, memory, bytes.

python scripts/bench/labels.py [rows]               5,000,000 if not given
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import side_by_side as bench
import synthetic

ROWS = 20_000 if bench.QUICK else 5_000_000


def build(*, folder: str, rows: int) -> dict[str, float]:
    """Table and root, in a process of their own: what they allocate is not the stage's."""
    synthetic.write_table(Path(folder, "table"), rows)
    return {"samples": synthetic.write_bare_root(Path(folder, "shards"), rows)}


def project(*, folder: str) -> dict[str, float]:
    """The stage with its imports."""
    begun = time.perf_counter()
    with bench.peak_memory() as peak:
        from animetune.shards import labels
        from animetune.shards.config import LabelsConfig

        here = Path(folder)
        labels.run(LabelsConfig(stage="labels", table=here / "table", shards=here / "shards", out=here / "labels"))
    seconds = time.perf_counter() - begun
    (written,) = (here / "labels").rglob("labels.arrow")
    return {"seconds": seconds, **peak, "bytes": written.stat().st_size}


if __name__ == "__main__":
    steps = {"build": build, "project": project}
    bench.child(steps)
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory(prefix="bench-labels-") as folder:
        built = bench.fresh(steps, "build", folder=folder, rows=rows)
        found = bench.fresh(steps, "project", threads=2, folder=folder)
    row = {
        "rows": f"{rows:,}",
        "samples": f"{built['samples']:,}",
        "seconds": f"{found['seconds']:.1f}",
        "labels.arrow": f"{found['bytes'] / 2**30:.2f} GiB",
        "peak memory": f"{found['private'] / 2**30:.2f} GiB",
        "with mapped files": f"{found['resident'] / 2**30:.2f} GiB",
    }
    notes = ["two threads; mapped files are counted by the system, which takes their pages back when it needs them"]
    bench.report("labels", "A table projected onto a shard root (`animetune labels`)", [row], notes=notes)
