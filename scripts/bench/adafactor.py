"""The Adafactor step beside that of transformers, on tensors shaped like those of SDXL's UNet.

python scripts/bench/adafactor.py [millions of parameters]      300 if not given
"""

from __future__ import annotations

import importlib.metadata
import math
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import side_by_side as bench

MILLIONS = 30 if bench.QUICK else 300
STEPS = 2 if bench.QUICK else 5
CASES = {
    "fp32 weights": {"dtype": "float32"},
    "bf16 weights, transformers rounds to nearest, ours stochastically": {"dtype": "bfloat16"},
    "fp32 weights, flattened convolutions": {"dtype": "float32", "flatten": True},
}


def shapes(elements: int) -> list[tuple[int, ...]]:
    """Every n-th matrix, vector and convolution of the UNet, so that about so many elements are left."""
    import torch

    from animetune.models.sdxl import build_network, sdxl_configs

    with torch.device("meta"):
        unet = build_network(sdxl_configs(), "unet")
    every = sum(parameter.numel() for parameter in unet.parameters()) / elements
    chosen: list[tuple[int, ...]] = []
    owed: dict[tuple[int, ...], float] = {}
    for parameter in unet.parameters():
        kind = (parameter.dim(), *parameter.shape[2:])
        owed[kind] = owed.get(kind, every / 2) + 1
        if owed[kind] >= every:
            owed[kind] -= every
            chosen.append(tuple(parameter.shape))
    return chosen


def steps(*, name: str, millions: int, count: int, dtype: str, flatten: bool = False) -> Iterator[float]:
    """Processor seconds of each step, of which the first makes the state."""
    import torch

    parameters = [
        torch.nn.Parameter(torch.randn(shape).to(getattr(torch, dtype)) * 0.02) for shape in shapes(millions * 10**6)
    ]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizer: Any
    if name == "ours":
        from animetune.train.optim.adafactor import Adafactor

        seed = 0 if dtype == "bfloat16" else None
        optimizer = Adafactor(parameters, 1e-5, flatten_convolutions=flatten, seed=seed)
    else:
        from transformers.optimization import Adafactor as Theirs

        optimizer = Theirs(parameters, 1e-5, scale_parameter=False, relative_step=False, warmup_init=False)
    for _ in range(count):
        begun = time.process_time()
        optimizer.step()
        yield time.process_time() - begun


def contender(name: str, **settings: Any) -> dict[str, float]:
    """The median step but the first, the elements, and the peak of memory."""
    first, *seconds = steps(name=name, **settings)
    elements = sum(math.prod(shape) for shape in shapes(settings["millions"] * 10**6))
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": statistics.median(seconds), "first": first, "elements": elements, "peak": peak}


def ours(**settings: Any) -> dict[str, float]:
    """`animetune.train.optim.adafactor.Adafactor`."""
    return contender("ours", **settings)


def theirs(**settings: Any) -> dict[str, float]:
    """`transformers.optimization.Adafactor`."""
    return contender("theirs", **settings)


def main(millions: int) -> None:
    """One table row a case."""
    table = []
    for title, settings in CASES.items():
        found = bench.alternate(CONTENDERS, rounds=3, millions=millions, count=STEPS + 1, **settings)
        elements = found["ours"][0]["elements"]
        row = {"case": title, "parameters": f"{elements / 1e6:,.0f} M"}
        for name, label in (("ours", "animetune"), ("theirs", "transformers")):
            seconds = bench.middle(found[name], "seconds")
            row[f"{label}, s"] = f"{seconds:.3f}"
            row[f"{label}, ns each"] = f"{seconds / elements * 1e9:.2f}"
            row[f"{label}, peak GB"] = f"{bench.middle(found[name], 'peak') / 1e9:.2f}"
        row["transformers / animetune"] = bench.ratio_text(bench.paired(found, "seconds", of="theirs", to="ours"))
        table.append(row)
    notes = [
        "every n-th matrix, vector and convolution of SDXL's UNet; one thread, its processor seconds; median of "
        f"{STEPS} steps after the first in each of three processes a side, which alternate; the ratio is by pairs",
        "no relative step, no scaling, no first moment, clip threshold 1.0, random gradients; peaks hold weights, "
        "gradients, state and PyTorch itself",
        "transformers has no flattened convolutions: in that row it does what it does in the first; it is version "
        + importlib.metadata.version("transformers"),
    ]
    bench.report("adafactor", "The Adafactor step on a CPU", table, notes=notes)


CONTENDERS = {"ours": ours, "theirs": theirs}

if __name__ == "__main__":
    bench.child(CONTENDERS)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else MILLIONS)
