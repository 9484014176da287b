"""The samplers that there are, under their names in configs and their titles in the metadata of other programs."""

from __future__ import annotations

from typing import Literal, NamedTuple

SamplerName = Literal[
    "euler",
    "euler_ancestral",
    "ddim",
    "heun",
    "lms",
    "dpm2",
    "dpm2_ancestral",
    "dpmpp_2s_ancestral",
    "dpmpp_sde",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_3m_sde",
    "unipc",
    "lcm",
]
Sigmas = Literal["normal", "karras", "exponential"]


class SamplerFacts(NamedTuple):
    """What is to know of a sampler."""

    title: str
    """Its name in A1111 and Forge, which PNGs carry."""
    comfyui: str
    """Its name in ComfyUI."""
    eta: float | None = None
    """How much of DDPM's fresh noise it adds at each step if nothing else is said; None: it cannot be chosen."""
    evaluations: int = 1
    """Of the model at each step but the last, which needs one."""


SAMPLERS: dict[SamplerName, SamplerFacts] = {
    "euler": SamplerFacts("Euler", "euler"),
    "euler_ancestral": SamplerFacts("Euler a", "euler_ancestral", eta=1),
    "ddim": SamplerFacts("DDIM", "ddim", eta=0),
    "heun": SamplerFacts("Heun", "heun", evaluations=2),
    "lms": SamplerFacts("LMS", "lms"),
    "dpm2": SamplerFacts("DPM2", "dpm_2", evaluations=2),
    "dpm2_ancestral": SamplerFacts("DPM2 a", "dpm_2_ancestral", eta=1, evaluations=2),
    "dpmpp_2s_ancestral": SamplerFacts("DPM++ 2S a", "dpmpp_2s_ancestral", eta=1, evaluations=2),
    "dpmpp_sde": SamplerFacts("DPM++ SDE", "dpmpp_sde", eta=1, evaluations=2),
    "dpmpp_2m": SamplerFacts("DPM++ 2M", "dpmpp_2m"),
    "dpmpp_2m_sde": SamplerFacts("DPM++ 2M SDE", "dpmpp_2m_sde"),
    "dpmpp_3m_sde": SamplerFacts("DPM++ 3M SDE", "dpmpp_3m_sde"),
    "unipc": SamplerFacts("UniPC", "uni_pc"),
    "lcm": SamplerFacts("LCM", "lcm"),
}
"""Every sampler, in the order of the documentation."""

SIGMAS_TITLES: dict[Sigmas, str] = {"normal": "", "karras": "Karras", "exponential": "Exponential"}
