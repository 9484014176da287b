"""Whether this machine has the disk and the memory that the plan of a recipe asks for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from animetune import remote
from animetune.doctor.disks import device_of, existing, look_at_place
from animetune.doctor.findings import Finding, note, ok, problem
from animetune.doctor.gpus import Device
from animetune.doctor.limits import shared_memory_finding
from animetune.plan.gpus import GPU_KINDS
from animetune.progress import bytes_text
from animetune.recipe.config import Recipe
from animetune.recipe.plan_disk import Taken, disk_taken
from animetune.recipe.plan_facts import TrainFacts, training_facts

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where Linux keeps it)
LATENT_BYTES = 4 * 4 / 64
"""Bytes of a picture's latent in a batch, for each of its pixels: float32, 4 channels, an eighth of the sides."""
PIXEL_BYTES = 3.0
ORDER_BYTES = 8
"""Bytes of a sample in an epoch's order."""


def room_findings(recipe: Recipe, devices: Sequence[Device]) -> Iterator[Finding]:
    """Disk by file system, memory of the GPUs, shared memory; what the plan does not know is not checked.

    Memory of a GPU takes half a minute to work out for each training step, and only where there are GPUs.
    """
    try:
        trainings = training_facts(recipe, assume_images=None)
    except Exception as error:  # what is wrong with shards and labels is told by their own findings
        yield note("plan", f"cannot be made yet: {str(error).splitlines()[0]}", "see what is absent above")
        return
    yield from disk_findings(disk_taken(recipe, trainings, assume_images=None))
    for facts in trainings:
        yield from gpu_memory_findings(facts, devices)
    if SHARED_MEMORY.is_dir() and trainings:
        usage = shutil.disk_usage(SHARED_MEMORY)
        needed = max(_shared_bytes(facts) for facts in trainings)
        yield shared_memory_finding(usage.free, usage.total, round(needed))


def gpu_memory_findings(facts: TrainFacts, devices: Sequence[Device]) -> Iterator[Finding]:
    """Whether the micro-batches of a training step fit into the smallest GPU."""
    if not devices or facts.cfg.loop.accelerator == "cpu":
        return
    batch = facts.cfg.data.capacity(facts.largest.tier)
    smallest = min(devices, key=lambda device: device.memory)
    needed, most = facts.costs.memory.needed(batch), facts.costs.memory.largest(smallest.memory)
    text = f"{batch} x {facts.largest.size.name} need {bytes_text(needed)} of {bytes_text(smallest.memory)}"
    if needed <= smallest.memory:
        yield ok(facts.step.name, text)
    elif facts.cfg.loop.strategy == "fsdp":
        yield note(facts.step.name, f"{text} without sharding; fsdp shards them, by how much is not worked out here")
    elif most:
        yield problem(
            facts.step.name, text, f"lower data.micro_batch to {most} or less; the global batch may stay, accumulated"
        )
    else:
        fitting = [kind.name for kind in GPU_KINDS.values() if facts.costs.memory.needed(1) <= kind.memory]
        remedy = "not even one picture fits: take optimizer.rounding: stochastic, optimizer.in_backward: true, "
        remedy += "model.activation_checkpointing: full"
        yield problem(facts.step.name, text, f"{remedy}{f', or a {fitting[0]}' if fitting else ''}")


def disk_findings(taken: Sequence[Taken]) -> Iterator[Finding]:
    """What is still to be written, against what each file system has."""
    by_device: dict[int, list[Taken]] = {}
    for each in taken:
        if not remote.is_remote(each.place):
            by_device.setdefault(device_of(Path(each.place)), []).append(each)
    for group in by_device.values():
        known = [(each, each.bytes) for each in group if each.bytes is not None]
        needed = sum(max(0.0, count - _there(Path(each.place))) for each, count in known)
        # Each is written to; what lies above all of them need not be writable.
        folders = dict.fromkeys(existing(Path(each.place)) for each in group)
        found = [finding for folder in folders for finding in look_at_place("disk", folder, needed=needed)]
        yield from [finding for finding in found if finding.state != "ok"] or found[:1]
        unknown = [each.step for each in group if each.bytes is None]
        if unknown:
            yield note("disk", f"of {', '.join(unknown)} it is not known how many pictures they have, so not counted")


def _there(folder: Path) -> int:
    """Bytes of the files below a folder: what is written already."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:
                continue
    return total


def _shared_bytes(facts: TrainFacts) -> float:
    data, each = facts.cfg.data, PIXEL_BYTES if facts.pixels else LATENT_BYTES
    batch = data.capacity(facts.largest.tier) * facts.largest.size.area * each
    return ORDER_BYTES * (facts.images or 0) + facts.devices * data.workers * (data.prefetch + 1) * batch
