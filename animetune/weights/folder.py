"""The diffusers folder: what `StableDiffusionXLPipeline.from_pretrained` loads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from animetune import fsio, tokens
from animetune.models.folder_source import BESIDE_NAME, Beside
from animetune.models.networks import expected_shapes
from animetune.models.sdxl import COMPONENTS, Architecture, Component, Parameterization
from animetune.models.source import Source
from animetune.tensorfile import write_safetensors
from animetune.weights.tensors import Lost, cast_entry

_CLASSES = {
    "unet": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
    "text_encoder": "CLIPTextModel",
    "text_encoder_2": "CLIPTextModelWithProjection",
}
_DIFFUSERS = ("unet", "vae")
_VARIANTS = {torch.float16: ".fp16"}
"""Type of a network -> what the hub's folders put into the names of its files."""
_SCHEDULERS = {"euler": "EulerDiscreteScheduler", "euler_ancestral": "EulerAncestralDiscreteScheduler"}


def write_folder(
    folder: Path,
    source: Source,
    *,
    dtype: torch.dtype,
    vae_dtype: torch.dtype,
    scheduler: str = "euler",
    variants: bool = True,
    tokenizers: bool = True,
    lost: Lost | None = None,
    done: Callable[[], None] = lambda: None,
) -> None:
    """Write `source` into `folder`, inside one that fsio handed out; `done` is called after each tensor.

    Files of float16 are named `*.fp16.safetensors`, as `variant="fp16"` finds them, unless `variants` is off. Without
    `tokenizers` animetune still loads it, diffusers' pipelines do not.
    Raises DataError naming a tensor that does not fit the dtype, and as of `Source.state`.
    """
    folder.mkdir(exist_ok=True)
    config = scheduler_config(source.parameterization, scheduler)
    fsio.write_json(folder / "model_index.json", _model_index(config["_class_name"]))
    fsio.write_json(folder / "scheduler" / "scheduler_config.json", config)
    beside = Beside(dict(source.facts), source.licence, source.logit_scale, source.parameterization.shift_by_area)
    fsio.write_json(folder / BESIDE_NAME, asdict(beside))
    for component in COMPONENTS:
        part = folder / component
        part.mkdir()
        kind = vae_dtype if component == "vae" else dtype
        entries = [
            cast_entry(name, lazy, kind, lost if lost is not None else Lost())
            for name, lazy in source.state(component).items()
        ]
        fsio.write_json(part / "config.json", _network_config(getattr(source.architecture, component), component, kind))
        stem = "diffusion_pytorch_model" if component in _DIFFUSERS else "model"
        name = f"{stem}{_VARIANTS.get(kind, '') if variants else ''}.safetensors"
        write_safetensors(part / name, entries, metadata={"format": "pt"}, done=done)
    if tokenizers:
        tokens.write_tokenizer(folder / "tokenizer", pad="eos")
        tokens.write_tokenizer(folder / "tokenizer_2", pad="zero")


def count_tensors(architecture: Architecture) -> int:
    """Tensors that `write_folder` writes."""
    return sum(len(expected_shapes(architecture, component)) for component in COMPONENTS)


def scheduler_config(parameterization: Parameterization, sampler: str = "euler") -> dict[str, Any]:
    """diffusers' scheduler of Euler's steps, plain or ancestral, with SDXL's noise schedule, as the UNet was trained.

    With zero terminal SNR the last step is pure noise and must be visited: `trailing` spacing (Lin et al. 2023,
    arXiv:2305.08891).

    A flow gets DPMSolverMultistepScheduler of first order, which is Euler on the flow: diffusers' own scheduler of
    flows lacks what its SDXL pipeline calls. It knows one shift for all sizes, that of 1024x1024.
    """
    if parameterization.prediction == "flow":
        return {
            "_class_name": "DPMSolverMultistepScheduler",
            "flow_shift": parameterization.shift,
            "num_train_timesteps": 1000,
            "prediction_type": "flow_prediction",
            "solver_order": 1,
            "use_flow_sigmas": True,
        }
    zero_terminal = parameterization.zero_terminal_snr
    config = {
        "_class_name": _SCHEDULERS[sampler],
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "num_train_timesteps": 1000,
        "prediction_type": "v_prediction" if parameterization.prediction == "v" else "epsilon",
        "rescale_betas_zero_snr": zero_terminal,
        "steps_offset": 0 if zero_terminal else 1,
        "timestep_spacing": "trailing" if zero_terminal else "leading",
    }
    return config | ({"interpolation_type": "linear", "use_karras_sigmas": False} if sampler == "euler" else {})


def _model_index(scheduler: str) -> dict[str, Any]:
    networks: dict[str, Any] = {
        component: ["diffusers" if component in _DIFFUSERS else "transformers", _CLASSES[component]]
        for component in COMPONENTS
    }
    return {
        "_class_name": "StableDiffusionXLPipeline",
        # An empty negative prompt is encoded, as in training and in ComfyUI, not replaced by zeros.
        "force_zeros_for_empty_prompt": False,
        "scheduler": ["diffusers", scheduler],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        **networks,
    }


def _network_config(config: dict[str, Any], component: Component, dtype: torch.dtype) -> dict[str, Any]:
    if component in _DIFFUSERS:
        return {"_class_name": _CLASSES[component], **config}
    return {
        "architectures": [_CLASSES[component]],
        "model_type": "clip_text_model",
        "torch_dtype": str(dtype).removeprefix("torch."),
        **config,
    }
