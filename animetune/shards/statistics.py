"""Mean and standard deviation of stored latents by channel: a wrong VAE, scaling or channel order shows in them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

CHANNELS = 4


def channel_statistics(parts: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """`channel_mean` and `channel_std` from `values_per_channel`, `sums` and `sums_of_squares` of the parts."""
    count = max(1, sum(part["values_per_channel"] for part in parts))
    means = [math.fsum(part["sums"][channel] for part in parts) / count for channel in range(CHANNELS)]
    squares = [math.fsum(part["sums_of_squares"][channel] for part in parts) / count for channel in range(CHANNELS)]
    deviations = [math.sqrt(max(0.0, square - mean**2)) for mean, square in zip(means, squares, strict=True)]
    return {"channel_mean": means, "channel_std": deviations}


def statistics_lines(latents: dict[str, Any]) -> Iterator[str]:
    """The statistics of a root's `latents` facts as lines of text; the UNet sees them multiplied by the last one."""
    factor = latents["scaling_factor"]
    yield f"stored latents by channel (VAE {latents['vae'][:12]}):"
    for name in ("mean", "std"):
        stored = latents[f"channel_{name}"]
        numbers = "  ".join(f"{value:8.3f}" for value in stored)
        scaled = "  ".join(f"{value * factor:8.3f}" for value in stored)
        yield f"    {name:<4} {numbers}    scaled: {scaled}"
    yield f"    scaled (by {factor:g}) is what the UNet takes: each std should be near 1"
