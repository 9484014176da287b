"""The probes by the name that a configuration gives them."""

from __future__ import annotations

from collections.abc import Mapping

from animetune.evaluate.probes import (
    adherence,
    aesthetic,
    black_white,
    characters,
    distribution,
    fidelity,
    leak,
    lengths,
    prefix,
    quality,
    rating,
)
from animetune.evaluate.probes.shape import Probe

PROBES: Mapping[str, Probe] = {
    "leak": leak,
    "prefix": prefix,
    "lengths": lengths,
    "rating": rating,
    "quality": quality,
    "black_white": black_white,
    "characters": characters,
    "adherence": adherence,
    "distribution": distribution,
    "fidelity": fidelity,
    "aesthetic": aesthetic,
}
