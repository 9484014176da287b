"""The samplers' steps, from a place on the way to the next.

All are written in the noise level alone, level = sigma / alpha, on x_0 + level * noise (Karras et al. 2022): what the
model's output at x stands for, x_0 and the noise, does not tell epsilon from v or a flow. A state is kept in the
schedule's own coordinates, x = alpha (x_0 + level * noise), which are finite in pure noise as well. From there the
first step of every sampler is Euler's, or Euler ancestral's, exact at an infinite level; the others begin behind it.

Below, here and there are the levels before and behind a step, and a noisy step aims at

    down^2 + up^2 = there^2

with the old noise at the level `down` and fresh noise at `up`; with eta = 1 that is DDPM's posterior.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from animetune.diffusion.library_solvers import follow_scheduler
from animetune.diffusion.stops import Stop
from animetune.sampler_names import SAMPLERS, SamplerName

LMS_ORDER = 4


class Look(NamedTuple):
    """What the model makes of a state: float32 (b, 4, h, w) each."""

    x_0: torch.Tensor
    noise: torch.Tensor


@dataclass(frozen=True)
class Trip:
    """What a solver has to know beside its way."""

    look: Callable[[torch.Tensor, Stop], Look]
    """Evaluates the model, guided."""
    fresh_noise: Callable[[], torch.Tensor]
    """The next noise of each picture's own stream, float32 (b, 4, h, w)."""
    stop_at: Callable[[float], Stop]
    """The place of a level in between."""
    eta: float


Solver = Callable[[torch.Tensor, Sequence[Stop], Trip], torch.Tensor]


def solve(name: SamplerName, x: torch.Tensor, way: Sequence[Stop], trip: Trip) -> torch.Tensor:
    """Bring x, float32 (b, 4, h, w) at the first place of `way`, to its last."""
    if len(way) > 1 and math.isinf(way[0].level) and name not in _FROM_PURE_NOISE:
        x = euler(x, way[:2], trip)
        way = way[1:]
    return _SOLVERS[name](x, way, trip) if len(way) > 1 else x


def split_level(here: float, there: float, eta: float) -> tuple[float, float]:
    """(down, up) of a step between two levels (Song et al. 2021, DDIM, equation 16, in levels)."""
    down = there**2 / here
    up = math.sqrt(there**2 - down**2)
    return (down, up) if eta == 1 else (math.sqrt(there**2 - (eta * up) ** 2), eta * up)


def euler(x: torch.Tensor, way: Sequence[Stop], trip: Trip) -> torch.Tensor:
    """Euler (eta = 0), which is DDIM, and Euler ancestral (eta = 1), which is DDPM."""
    for here, there in itertools.pairwise(way):
        x_0, noise = trip.look(x, here)
        down, up = split_level(here.level, there.level, trip.eta) if trip.eta else (there.level, 0)
        x = there.alpha * (x_0 + down * noise + (up * trip.fresh_noise() if up else 0))
    return x


def lcm(x: torch.Tensor, way: Sequence[Stop], trip: Trip) -> torch.Tensor:
    """All noise new at each step (Luo et al. 2023, 2310.04378, algorithm 3), for models distilled for few steps."""
    for here, there in itertools.pairwise(way):
        x_0, _ = trip.look(x, here)
        x = there.alpha * (x_0 + (there.level * trip.fresh_noise() if there.level else 0))
    return x


def heun(x: torch.Tensor, way: Sequence[Stop], trip: Trip) -> torch.Tensor:
    """Heun's method (Karras et al. 2022, algorithm 1, without churn): the mean slope of both ends."""
    for here, there in itertools.pairwise(way):
        x_0, noise = trip.look(x, here)
        x = there.alpha * (x_0 + there.level * noise)
        if there.level:
            _, noise_there = trip.look(x, there)
            x = x + there.alpha * (here.level - there.level) / 2 * (noise - noise_there)
    return x


def dpm2(x: torch.Tensor, way: Sequence[Stop], trip: Trip) -> torch.Tensor:
    """DPM-Solver-2 (Lu et al. 2022, 2206.00927, algorithm 1), with ancestral noise for eta > 0: the slope in the
    geometric middle."""
    for here, there in itertools.pairwise(way):
        x_0, noise = trip.look(x, here)
        down, up = split_level(here.level, there.level, trip.eta) if trip.eta else (there.level, 0)
        if not down:
            x = there.alpha * x_0
            continue
        middle = trip.stop_at(math.sqrt(here.level * down))
        _, noise_middle = trip.look(middle.alpha * (x_0 + middle.level * noise), middle)
        state = x_0 + here.level * noise + (down - here.level) * noise_middle
        x = there.alpha * (state + (up * trip.fresh_noise() if up else 0))
    return x


def dpmpp_2s(x: torch.Tensor, way: Sequence[Stop], trip: Trip) -> torch.Tensor:
    """DPM-Solver++(2S) (Lu et al. 2022, 2211.01095, algorithm 1, r = 1/2) with ancestral noise: x_0 of the middle."""
    for here, there in itertools.pairwise(way):
        x_0, noise = trip.look(x, here)
        down, up = split_level(here.level, there.level, trip.eta) if trip.eta else (there.level, 0)
        if not down:
            x = there.alpha * x_0
            continue
        middle = trip.stop_at(math.sqrt(here.level * down))
        x_0_middle, _ = trip.look(middle.alpha * (x_0 + middle.level * noise), middle)
        kept = down / here.level
        state = kept * (x_0 + here.level * noise) + (1 - kept) * x_0_middle
        x = there.alpha * (state + (up * trip.fresh_noise() if up else 0))
    return x


def dpmpp_sde(x: torch.Tensor, way: Sequence[Stop], trip: Trip) -> torch.Tensor:
    """k-diffusion's DPM++ SDE, r = 1/2: as `dpmpp_2s`, but its middle is noisy too.

    Both noises belong to one Brownian motion, whose time is the level as in k-diffusion. Its places are known
    beforehand, so two draws for each step make it up and no tree has to be searched.
    """
    for here, there in itertools.pairwise(way):
        x_0, noise = trip.look(x, here)
        if not there.level:
            x = there.alpha * x_0
            continue
        middle = trip.stop_at(math.sqrt(here.level * there.level))
        first, second = (trip.fresh_noise(), trip.fresh_noise()) if trip.eta else (0.0, 0.0)
        down, up = split_level(here.level, middle.level, trip.eta)
        x_0_middle, _ = trip.look(middle.alpha * (x_0 + down * noise + up * first), middle)
        down, up = split_level(here.level, there.level, trip.eta)
        before = (here.level - middle.level) / (here.level - there.level)
        both = math.sqrt(before) * first + math.sqrt(1 - before) * second
        kept = down / here.level
        x = there.alpha * (kept * (x_0 + here.level * noise) + (1 - kept) * x_0_middle + up * both)
    return x


def dpmpp_3m_sde(x: torch.Tensor, way: Sequence[Stop], trip: Trip) -> torch.Tensor:
    """k-diffusion's DPM++ 3M SDE with eta = 1: x_0 extrapolated by the last three, in the logarithm of the level.

    The third order of diffusers' `sde-dpmsolver++` (0.39) has the wrong sign before its constant 1/2.
    """
    past: list[tuple[torch.Tensor, float]] = []  # x_0 and the length of the step made with it, the latest first
    for here, there in itertools.pairwise(way):
        x_0, noise = trip.look(x, here)
        if not there.level:
            x = there.alpha * x_0
            continue
        h = math.log(here.level / there.level)
        state = math.exp(-2 * h) * (x_0 + here.level * noise) - math.expm1(-2 * h) * x_0
        phi_2 = math.expm1(-2 * h) / (2 * h) + 1
        if past:
            slope = (x_0 - past[0][0]) / (past[0][1] / h)
            if len(past) == 2:
                r_0, r_1 = past[0][1] / h, past[1][1] / h
                bend = (slope - (past[0][0] - past[1][0]) / r_1) / (r_0 + r_1)
                state = state + phi_2 * (slope + r_0 * bend) - (phi_2 / (2 * h) - 0.5) * bend
            else:
                state = state + phi_2 * slope
        up = there.level * math.sqrt(-math.expm1(-2 * h))
        x = there.alpha * (state + up * trip.fresh_noise())
        past = [(x_0, h), *past[:1]]
    return x


def lms(x: torch.Tensor, way: Sequence[Stop], trip: Trip) -> torch.Tensor:
    """Linear multistep (Adams-Bashforth in the level): the slope extrapolated by the last four."""
    slopes: list[torch.Tensor] = []
    levels = [stop.level for stop in way]
    for place, (here, there) in enumerate(itertools.pairwise(way)):
        x_0, noise = trip.look(x, here)
        slopes = [noise, *slopes[: LMS_ORDER - 1]]
        visited = levels[place - len(slopes) + 1 : place + 1][::-1]
        weights = lagrange_integrals(visited, here.level, there.level)
        x = x_0 + here.level * noise
        for weight, slope in zip(weights, slopes, strict=True):
            x = x + weight * slope
        x = there.alpha * x
    return x


def lagrange_integrals(nodes: Sequence[float], start: float, end: float) -> list[float]:
    """The integral from start to end of each Lagrange basis polynomial over `nodes`, exact to rounding."""
    weights = []
    for i, node in enumerate(nodes):
        others = [other for j, other in enumerate(nodes) if j != i]
        basis = np.poly1d(others, r=True) / float(np.prod([node - other for other in others]))
        integral = basis.integ()
        weights.append(float(integral(end) - integral(start)))
    return weights


def default_eta(name: SamplerName) -> float:
    """How noisy a sampler's steps are if nothing else is said."""
    if name in ("dpmpp_2m_sde", "dpmpp_3m_sde"):
        return 1.0
    return SAMPLERS[name].eta or 0.0


def _by_scheduler(name: SamplerName) -> Solver:
    def follow(x: torch.Tensor, way: Sequence[Stop], trip: Trip) -> torch.Tensor:
        noise = trip.fresh_noise if trip.eta else None
        return follow_scheduler(name, x, way, lambda state, stop: trip.look(state, stop).x_0, noise)

    return follow


_SOLVERS: dict[SamplerName, Solver] = {
    "euler": euler,
    "euler_ancestral": euler,
    "ddim": euler,
    "heun": heun,
    "lms": lms,
    "dpm2": dpm2,
    "dpm2_ancestral": dpm2,
    "dpmpp_2s_ancestral": dpmpp_2s,
    "dpmpp_sde": dpmpp_sde,
    "dpmpp_2m": _by_scheduler("dpmpp_2m"),
    "dpmpp_2m_sde": _by_scheduler("dpmpp_2m_sde"),
    "dpmpp_3m_sde": dpmpp_3m_sde,
    "unipc": _by_scheduler("unipc"),
    "lcm": lcm,
}
_FROM_PURE_NOISE = ("euler", "euler_ancestral", "ddim", "lcm")
