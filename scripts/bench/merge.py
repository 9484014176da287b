"""Merging SDXL at full size: time and memory of `animetune merge` against loading both models and adding them.

Two (for a difference three) single files of random float16 weights, 6.9 GB each, are made first. What only the stage
does: it hashes inputs and output for the manifest, checks every tensor for NaN, and writes the file whole or not at
all. The plain way is that of a script of ten lines: `load_file`, a dictionary of sums in float32, `save_file`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import side_by_side as bench

ROUNDS = 1
"""A merge takes minutes and its memory is the same every time."""
METHODS = {
    "weighted_sum": {"name": "weighted_sum", "weights": {"a": 0.5, "b": 0.5}},
    "add_difference": {"name": "add_difference", "model": "a", "plus": "b", "minus": "c"},
    "slerp": {"name": "slerp", "first": "a", "second": "b", "t": 0.5},
}
NUMBERS = 1 << 24
"""Random numbers that all tensors are cut from, each at a place of its own: drawing 3.5 billion would take longer than
merging them."""


def build(*, folder: str) -> dict[str, Any]:
    """The models, in Stability AI's layout."""
    import torch

    from animetune.models.keys import LOGIT_SCALE_KEY
    from animetune.models.networks import expected_shapes, network_links
    from animetune.models.sdxl import COMPONENTS, sdxl_configs
    from animetune.models.tiny import tiny_configs
    from animetune.seeding import Purpose, rng_for
    from animetune.tensorfile import Entry, write_safetensors

    architecture = tiny_configs() if bench.QUICK else sdxl_configs()
    metadata = {}
    if bench.QUICK:
        import json
        from dataclasses import asdict

        metadata["animetune.architecture"] = json.dumps(asdict(architecture))
    for seed, name in enumerate("abc"):
        drawn = rng_for(seed, Purpose.INIT).standard_normal(NUMBERS // (64 if bench.QUICK else 1), dtype="float32")
        numbers = torch.from_numpy(drawn * 0.02).half()

        def make(shape: tuple[int, ...], offset: int, numbers: torch.Tensor = numbers) -> torch.Tensor:
            count = torch.Size(shape).numel()
            start = offset * 7919 % len(numbers)
            repeats = 2 + count // len(numbers)
            return numbers.repeat(repeats)[start : start + count].reshape(shape)

        entries = [Entry(LOGIT_SCALE_KEY, (), torch.float16, lambda: torch.tensor(4.6).half())]
        for component in COMPONENTS:
            shapes = expected_shapes(architecture, component)
            for link in network_links(architecture, component):
                shape = link.ldm_shape([shapes[each] for each in link.names])
                place = len(entries)
                entries.append(
                    Entry(link.ldm, shape, torch.float16, lambda shape=shape, place=place: make(shape, place))
                )
        write_safetensors(Path(folder, f"{name}.safetensors"), entries, metadata=metadata)
    return {"bytes": Path(folder, "a.safetensors").stat().st_size}


def stage(*, folder: str, method: str) -> dict[str, float]:
    """`animetune merge`, in this process."""
    from animetune.merge.config import MergeConfig
    from animetune.merge.run import run

    names = "abc" if method == "add_difference" else "ab"
    with tempfile.TemporaryDirectory(dir=folder) as out:
        settings = {
            "stage": "merge",
            "models": {name: {"base": f"{folder}/{name}.safetensors"} for name in names},
            "method": METHODS[method],
            "formats": ["single_file"],
            "vae_dtype": "float16",
            "about": {"title": "bench", "license": "openrail++"},
            "out": f"{out}/merged",
        }
        return _timed(lambda: run(MergeConfig.model_validate(settings)))


def plain(*, folder: str, method: str) -> dict[str, float]:
    """Both models in memory, as a short script would have it."""
    import torch
    from safetensors.torch import load_file, save_file

    def merge() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            one, other = (load_file(f"{folder}/{name}.safetensors") for name in "ab")
            merged = {name: torch.lerp(one[name].float(), other[name].float(), 0.5).half() for name in one}
            save_file(merged, f"{out}/merged.safetensors")

    assert method == "weighted_sum"
    return _timed(merge)


def _timed(work: Any) -> dict[str, float]:
    begun, begun_cpu = time.perf_counter(), time.process_time()
    with bench.peak_memory() as peaks:
        work()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    return {"seconds": seconds, "cpu": cpu, **peaks}


CONTENDERS = {"animetune merge": stage, "load, add, save": plain}

if __name__ == "__main__":
    builder = {"build": build}
    bench.child(CONTENDERS | builder)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-merge-") as folder:
        if shutil.disk_usage(folder).free < 35e9 and not bench.QUICK:
            raise SystemExit(f"{folder}: needs 35 GB; set TMPDIR to a larger disk")
        size = bench.fresh(builder, "build", folder=folder)["bytes"]
        for method in METHODS:
            contenders = CONTENDERS if method == "weighted_sum" else {"animetune merge": stage}
            found = bench.alternate(contenders, rounds=ROUNDS, folder=folder, method=method)
            for name in found:
                row = {
                    "method": method,
                    "how": name,
                    "seconds": f"{bench.middle(found[name], 'seconds'):.0f}",
                    "processor seconds": f"{bench.middle(found[name], 'cpu'):.0f}",
                    "peak of own memory, MB": f"{bench.middle(found[name], 'private') / 1e6:,.0f}",
                    "with mapped files, MB": f"{bench.middle(found[name], 'resident') / 1e6:,.0f}",
                }
                rows.append(row)
    notes = [
        f"models of {size / 1e9:.2f} GB in float16, one thread; the stage also hashes its inputs "
        "and the result, and checks every number",
        "own memory: what a process cannot give back; PyTorch itself takes about 400 MB of it",
    ]
    bench.report("merge", "Merging SDXL, tensor by tensor and at once", rows, notes=notes)
