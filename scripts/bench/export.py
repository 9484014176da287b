"""SDXL at full size through the export: random weights to a single file, that to a diffusers folder, that back again.

Weights are made tensor by tensor by a generator that counts, so that neither disk nor memory holds them before. The two
files must have equal bytes, or this fails. Memory is the most that a process had beyond its imports; for scale, the
same file is once read and written as a whole.

    python scripts/bench/export.py           the table, needs 21 GB of disk
    python scripts/bench/export.py --json    one line for tests, no table
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import side_by_side as bench
import xxhash

SEED = 5
ABOUT = {"title": "Random", "license": "openrail++"}


def make(*, folder: str) -> dict[str, Any]:
    """Random float32 weights, written as a single file of float16."""
    import torch

    from animetune.models.lazy import LazyTensor
    from animetune.models.networks import expected_shapes
    from animetune.models.sdxl import COMPONENTS, sdxl_configs
    from animetune.models.source import Source
    from animetune.models.tiny import tiny_configs
    from animetune.seeding import Purpose, rng_for
    from animetune.weights.config import AboutConfig, WeightsTarget
    from animetune.weights.write import write_weights

    architecture = tiny_configs() if bench.QUICK else sdxl_configs()

    def tensor(name: str, shape: tuple[int, ...]) -> LazyTensor:
        def load() -> torch.Tensor:
            rng = rng_for(SEED, Purpose.INIT, xxhash.xxh32_intdigest(name))
            return torch.from_numpy(rng.standard_normal(shape, dtype="float32")).mul_(0.02)

        return LazyTensor(shape, torch.float32, load)

    states = {
        component: {
            name: tensor(f"{component}.{name}", shape)
            for name, shape in expected_shapes(architecture, component).items()
        }
        for component in COMPONENTS
    }
    source = Source("made", architecture, states.__getitem__, files=dict.fromkeys(COMPONENTS, ()))
    target, about = WeightsTarget(formats=("single_file",)), AboutConfig(**ABOUT)
    out = Path(folder, "made")
    out.mkdir()
    with _measured(out) as found:
        files = write_weights(out, source, target, about)
    return found | {"sha256": files["model.safetensors"].sha256}


def export(*, folder: str, base: str, form: str, out: str) -> dict[str, Any]:
    """`animetune export`, in this process."""
    from animetune.export.config import ExportConfig
    from animetune.export.run import run

    settings = {"stage": "export", "base": f"{folder}/{base}", "out": f"{folder}/{out}", "about": ABOUT}
    cfg = ExportConfig.model_validate(settings | {"formats": [form]})
    with _measured(Path(folder, out)) as found:
        manifest = run(cfg)
    return found | {"sha256": getattr(manifest.files.get("model.safetensors"), "sha256", "")}


def whole(*, folder: str) -> dict[str, Any]:
    """The safetensors library: the file is loaded, and saved, as a whole."""
    from safetensors.torch import load_file, save_file

    out = Path(folder, "whole")
    out.mkdir()
    with _measured(out) as found:
        save_file(load_file(f"{folder}/made/model.safetensors"), out / "model.safetensors")
    return found


@contextlib.contextmanager
def _measured(out: Path) -> Iterator[dict[str, Any]]:
    """Seconds, bytes written and memory beyond what was there before the block."""
    found: dict[str, Any] = {}
    with open("/proc/self/status") as stream:
        before = next(1024 * int(line.split()[1]) for line in stream if line.startswith("VmRSS"))
    begun = time.perf_counter()
    with bench.peak_memory() as peaks:
        yield found
    found["seconds"] = time.perf_counter() - begun
    found["memory"] = max(0, peaks["resident"] - before)
    found["bytes"] = sum(path.stat().st_size for path in out.rglob("*.safetensors"))


STEPS = {"make": make, "export": export, "whole": whole}


def measure(folder: str) -> dict[str, dict[str, Any]]:
    """What was done -> what it took; exits when two files that must be equal are not."""
    found = {"random weights, made -> single file": bench.fresh(STEPS, "make", folder=folder)}
    found["the safetensors library, whole file in memory"] = bench.fresh(STEPS, "whole", folder=folder)
    shutil.rmtree(Path(folder, "whole"))
    for what, base, form, out in (
        ("single file -> single file", "made/model.safetensors", "single_file", "again"),
        ("single file -> diffusers folder", "made/model.safetensors", "diffusers", "imported"),
        ("diffusers folder -> single file", "imported/diffusers", "single_file", "back"),
    ):
        found[what] = bench.fresh(STEPS, "export", folder=folder, base=base, form=form, out=out)
        if form == "single_file":
            shutil.rmtree(Path(folder, out))
    digests = {each["sha256"] for each in found.values() if each.get("sha256")}
    if len(digests) > 1:
        sys.exit("export.py: the single files differ")
    return found


if __name__ == "__main__":
    bench.child(STEPS)
    with tempfile.TemporaryDirectory(prefix="bench-export-") as place:
        results = measure(place)
    if sys.argv[1:] == ["--json"]:
        print(json.dumps(results))
        sys.exit(0)
    bench.report(
        "export",
        "SDXL through the export, tensor by tensor",
        [
            {
                "what": what,
                "s": f"{each['seconds']:.0f}",
                "GB written": f"{each['bytes'] / 1e9:.2f}",
                "MB/s": f"{each['bytes'] / 1e6 / each['seconds']:.0f}",
                "memory beyond imports, MB": f"{each['memory'] / 1e6:.0f}",
            }
            for what, each in results.items()
        ],
        notes=[
            "the single files of the three ways have equal bytes",
            "float16, the VAE float32; the largest tensor has 253 MB in float32, 127 MB in float16",
            "an export hashes three times (SHA-256): what it reads, the tensors for the header, the file for the "
            "manifest; the library's row hashes nothing",
        ],
    )
