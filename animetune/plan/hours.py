"""How long training takes: from measured pictures a second where a run has some, else from FLOPs and an assumed share.

    seconds of a picture = executed FLOPs / (peak of the GPU * share of it)

MFU counts the model's FLOPs alone (Chowdhery et al. 2022, PaLM, appendix B); the share is of all that are executed, so
that recomputation takes time and no credit.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from animetune import fsio
from animetune.plan.gpus import GpuKind
from animetune.train.config import LoopConfig

WARM_UP_LINES = 1
"""First lines of metrics.jsonl that are left out: compilation and the filling of caches are in them."""
LIKELY_MFU = 0.40
"""Above this a reading is called unlikely: the best published of such a network is 31 % (NVIDIA, MLPerf 4.0)."""


@dataclass(frozen=True)
class MeasuredRate:
    """What a run did."""

    per_gpu: float
    """Pictures a second of one device: the median of the lines of metrics.jsonl."""
    devices: int
    device_name: str
    """As CUDA names it; `CPU` where there was no GPU."""


@dataclass(frozen=True)
class Reading:
    """One way to read the published hours."""

    gpu_hours: float
    mfu: float
    share: float
    """With what is recomputed."""

    @property
    def is_likely(self) -> bool:
        """Whether others have done as well."""
        return self.mfu <= LIKELY_MFU


def assumed_rate(executed: float, kind: GpuKind, dtype: str, *, share: float | None = None) -> float:
    """Pictures a second of one GPU, for `executed` FLOPs a picture."""
    return kind.tflops(dtype) * 1e12 * (kind.share if share is None else share) / executed


def measured_rate(run: Path) -> MeasuredRate | None:
    """Of a run directory; None when nothing was measured there yet. DataError when its lines are damaged."""
    lines = fsio.read_lines(run / "metrics.jsonl")[WARM_UP_LINES:]
    try:
        names = json.loads((run / "env.json").read_text(encoding="utf-8")).get("gpus") or ["CPU"]
    except (OSError, ValueError, AttributeError):
        return None
    rates = [(line["images_per_second"], len(line.get("rank_seconds", [0]))) for line in lines if _has_rate(line)]
    if not rates:
        return None
    devices = rates[-1][1]
    per_gpu = statistics.median(rate / count for rate, count in rates)
    return MeasuredRate(per_gpu, devices, str(names[0]))


def launched_devices(launch: Sequence[str] | None, loop: LoopConfig) -> int | None:
    """GPUs of all machines that a train step is started on; None where neither the launch nor `loop` says it."""
    per_node, nodes = _option(launch or (), "nproc.per.node"), _option(launch or (), "nnodes")
    if loop.devices != "auto":
        return loop.devices * loop.nodes
    return None if per_node is None else per_node * (nodes or 1)


def reading(gpu_hours: float, flops: float, kind: GpuKind, *, recomputed: float) -> Reading:
    """What `gpu_hours` mean for a training of `flops` of the model, `recomputed` times as many executed."""
    mfu = flops / (gpu_hours * 3600 * kind.bf16_tflops * 1e12)
    return Reading(gpu_hours, mfu, mfu * recomputed)


def _option(words: Sequence[str], name: str) -> int | None:
    """The number behind `--name`, in either way of writing it; of `1:4` the larger."""
    text = " ".join(words)
    found = re.search(rf"(?:^|\s)--?{name}[ =](\d+:)?(\d+)(?=\s|$)", text)
    return int(found[2]) if found else None


def _has_rate(line: dict[str, object]) -> bool:
    rate = line.get("images_per_second")
    return isinstance(rate, int | float) and math.isfinite(rate) and rate > 0
