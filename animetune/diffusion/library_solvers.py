"""Samplers of diffusers, driven by our places, our x_0 and our noise.

A scheduler is told noise levels in place of its own sigmas, and the model's x_0 (`prediction_type: sample`). Then it
needs no betas of its own: epsilon, v and flows are alike to it, and none of its approximations apply (2^-24 for the
alpha_bar of zero terminal SNR, 0.999 for the first time of a flow). The samplers that diffusers has and that are
missing here take no noise from outside or need scipy or torchsde; `solvers` has them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

from animetune.diffusion.stops import Stop
from animetune.sampler_names import SamplerName


def follow_scheduler(
    name: SamplerName,
    x: torch.Tensor,
    way: Sequence[Stop],
    x_0_of: Callable[[torch.Tensor, Stop], torch.Tensor],
    fresh_noise: Callable[[], torch.Tensor] | None,
) -> torch.Tensor:
    """Bring x, float32 (b, 4, h, w) at the first place of `way`, to its last; all levels are finite.

    `x_0_of` evaluates the model; `fresh_noise` is for `dpmpp_2m_sde`.
    """
    scheduler = _scheduler(name)
    scheduler.set_timesteps(len(way) - 1)
    scheduler.timesteps = torch.arange(len(way) - 1, 0, -1)
    scheduler.sigmas = torch.tensor([stop.level for stop in way])
    scheduler.set_begin_index(0)
    x = x / _length(way[0])
    for here, there in itertools.pairwise(way):
        x_0 = x_0_of(x * _length(here), here)
        noise = {"variance_noise": fresh_noise() if there.level else torch.zeros_like(x)} if fresh_noise else {}
        (x,) = scheduler.step(x_0, here.timestep, x, return_dict=False, **noise)
    return x * _length(way[-1])


def _scheduler(name: SamplerName) -> Any:
    match name:
        case "dpmpp_2m" | "dpmpp_2m_sde":
            return DPMSolverMultistepScheduler(
                algorithm_type="dpmsolver++" if name == "dpmpp_2m" else "sde-dpmsolver++",
                solver_type="midpoint",
                solver_order=2,
                prediction_type="sample",
                lower_order_final=False,  # but for the very last step, to level 0, as in k-diffusion
                final_sigmas_type="zero",
            )
        case "unipc":
            return UniPCMultistepScheduler(solver_order=2, solver_type="bh2", prediction_type="sample")
    raise AssertionError(name)


def _length(stop: Stop) -> float:
    """By how much a state is longer than in a variance-preserving process; 1 but for a flow."""
    return math.hypot(stop.alpha, stop.sigma)
