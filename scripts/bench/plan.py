"""The order of an epoch for 64 ranks: seconds and memory, beside the orders of StreamingDataset for the same index.

python scripts/bench/plan.py [rows ...]             7,000,000 and 20,000,000 if not given
"""

from __future__ import annotations

import itertools
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import side_by_side as bench

ROWS = (200_000,) if bench.QUICK else (7_000_000, 20_000_000)
SIZES = 40
"""With 1, 1/2, 1/3 ... of the rows."""
SHARD_SAMPLES = 220
"""Pictures of 300 KB in 64 MB."""
NODES, RANKS_PER_NODE, WORKERS, MICRO_BATCH = 8, 8, 8, 8


def groups(rows: int) -> np.ndarray:
    """Samples of each size, at least a batch of all ranks: StreamingDataset fails for less."""
    weights = 1 / np.arange(1, SIZES + 1)
    return np.maximum(rows * weights / weights.sum(), NODES * RANKS_PER_NODE * MICRO_BATCH).astype(np.int64)


def ours(*, rows: int, repeats: str) -> dict[str, float]:
    """`plan_epoch`, then ids, then what each worker gets; `plan_units` is what every worker computes."""
    from animetune.data.epoch_plan import PlanSpec, for_world, plan_epoch, plan_units

    starts = np.concatenate([[0], np.cumsum(groups(rows))])
    shards = [np.arange(first, stop, SHARD_SAMPLES) for first, stop in itertools.pairwise(starts)]
    drawn = np.random.default_rng(0).random(starts[-1], np.float32)
    drawn = np.full_like(drawn, 1) if repeats == "one" else np.float32(0.3) + drawn * np.float32(2.2)
    spec = PlanSpec(
        repeats=drawn,
        group_starts=starts,
        group_classes=np.arange(SIZES),
        shard_starts=np.concatenate([*shards, starts[-1:]]),
        capacities=np.full(SIZES, MICRO_BATCH),
        columns=NODES * RANKS_PER_NODE,
        seed=0,
    )
    units = _measured(lambda: plan_units(spec, 0))["seconds"]

    def whole() -> np.ndarray:
        ids = plan_epoch(spec, 0).ids(len(spec.repeats))
        return for_world(ids, nodes=NODES, ranks_per_node=RANKS_PER_NODE, workers=WORKERS)

    return _measured(lambda: plan_epoch(spec, 0)) | {"units": units, "dealt": _measured(whole)["seconds"]}


def stock(*, rows: int, method: str) -> dict[str, float]:
    """The function of StreamingDataset for this batching method, on an index without shards."""
    from streaming import Stream, StreamingDataset
    from streaming.base.batching import batching_methods
    from streaming.base.world import World

    with tempfile.TemporaryDirectory(prefix="bench-plan-") as folder:
        streams = []
        for size, samples in enumerate(groups(rows).tolist()):
            local = Path(folder, str(size))
            local.mkdir()
            (local / "index.json").write_text(json.dumps(_index(samples)), encoding="utf-8")
            streams.append(Stream(local=str(local)))
        world = World(NODES, RANKS_PER_NODE, WORKERS, worker=0)
        dataset = StreamingDataset(
            streams=streams,
            batch_size=MICRO_BATCH,
            shuffle=True,
            shuffle_block_size=1 << 18,
            num_canonical_nodes=NODES,
            batching_method=method,
        )
        dealt = _measured(lambda: batching_methods[method](dataset, world, 0, 0))
    return dealt | {"dealt": dealt["seconds"]}


def _index(samples: int) -> dict[str, Any]:
    shards = []
    for first in range(0, samples, SHARD_SAMPLES):
        raw = {"basename": f"shard.{first:08d}.mds", "bytes": 1 << 26, "hashes": {}}
        shard = {"column_names": ["key"], "column_encodings": ["str"], "column_sizes": [None], "compression": None}
        shard |= {"format": "mds", "hashes": [], "raw_data": raw, "size_limit": None, "version": 2, "zip_data": None}
        shards.append(shard | {"samples": min(SHARD_SAMPLES, samples - first)})
    return {"version": 2, "shards": shards}


def _measured(work: Callable[[], Any]) -> dict[str, float]:
    """Seconds, and how far the peak of resident memory rose above what was there before."""
    with open("/proc/self/statm") as stream:
        before = int(stream.read().split()[1]) * resource.getpagesize()
    begun = time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before}


def main(counts: list[int]) -> None:
    """One table row for each number of rows and each order."""
    contenders = {"ours": ours, "stock": stock}
    orders = [
        ("animetune, repeats 1", "ours", {"repeats": "one"}),
        ("animetune, repeats 0.3 to 2.5", "ours", {"repeats": "random"}),
        ("StreamingDataset random", "stock", {"method": "random"}),
        ("StreamingDataset per_stream", "stock", {"method": "per_stream"}),
    ]
    table = []
    for rows in counts:
        for name, contender, settings in orders:
            found = [bench.fresh(contenders, contender, rows=rows, **settings) for _ in range(1 if bench.QUICK else 3)]
            units = f"{bench.middle(found, 'units'):.2f}" if contender == "ours" else ""
            table.append(
                {
                    "rows": f"{rows:,}",
                    "order": name,
                    "plan, s": f"{bench.middle(found, 'seconds'):.2f}",
                    "peak above start, MB": f"{bench.middle(found, 'peak') / 1e6:,.0f}",
                    "plan and dealing, s": f"{bench.middle(found, 'dealt'):.2f}",
                    "each worker, s": units,
                }
            )
    notes = [
        f"{SIZES} sizes, {NODES} nodes x {RANKS_PER_NODE} ranks x {WORKERS} workers, micro-batches of {MICRO_BATCH}; "
        "median of three processes",
        "StreamingDataset has no repeats of a single sample, and drops what does not fill a batch of all ranks",
    ]
    bench.report("plan", "The order of an epoch", table, notes=notes)


if __name__ == "__main__":
    bench.child({"ours": ours, "stock": stock})
    main([int(count) for count in sys.argv[1:]] or list(ROWS))
