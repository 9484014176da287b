"""The diffusers folder: what `StableDiffusionXLPipeline.from_pretrained` loads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from animetune import fsio, tokens
from animetune.models.networks import canonical_state
from animetune.models.sdxl import COMPONENTS, Component, Parameterization, Sdxl
from animetune.tensorfile import write_safetensors
from animetune.weights.tensors import tensor_entry

_CLASSES = {
    "unet": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
    "text_encoder": "CLIPTextModel",
    "text_encoder_2": "CLIPTextModelWithProjection",
}
_DIFFUSERS = ("unet", "vae")


def write_folder(
    folder: Path,
    models: Sdxl,
    *,
    dtype: torch.dtype,
    vae_dtype: torch.dtype,
    tokenizers: bool = True,
    done: Callable[[], None] = lambda: None,
) -> None:
    """Write `models` into `folder`, which fsio handed out; `done` is called after each tensor.

    Without `tokenizers` animetune still loads it, diffusers' pipelines do not.
    Raises DataError naming a tensor that does not fit the dtype.
    """
    assert models.vae is not None, "a diffusers folder needs a VAE"
    scheduler = scheduler_config(models.parameterization)
    fsio.write_json(folder / "model_index.json", _model_index(scheduler["_class_name"]))
    fsio.write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    for component in COMPONENTS:
        part = folder / component
        part.mkdir()
        stem = "diffusion_pytorch_model" if component in _DIFFUSERS else "model"
        kind = vae_dtype if component == "vae" else dtype
        entries = [
            tensor_entry(name, tensor, kind)
            for name, tensor in canonical_state(getattr(models, component), component).items()
        ]
        fsio.write_json(part / "config.json", _network_config(getattr(models.architecture, component), component, kind))
        write_safetensors(part / f"{stem}.safetensors", entries, metadata={"format": "pt"}, done=done)
    if tokenizers:
        tokens.write_tokenizer(folder / "tokenizer", pad="eos")
        tokens.write_tokenizer(folder / "tokenizer_2", pad="zero")


def count_tensors(models: Sdxl) -> int:
    """Tensors that `write_folder` writes."""
    return sum(len(getattr(models, component).state_dict()) for component in COMPONENTS)


def scheduler_config(parameterization: Parameterization) -> dict[str, Any]:
    """diffusers' EulerDiscreteScheduler with SDXL's noise schedule, as the UNet was trained.

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
    return {
        "_class_name": "EulerDiscreteScheduler",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "interpolation_type": "linear",
        "num_train_timesteps": 1000,
        "prediction_type": "v_prediction" if parameterization.prediction == "v" else "epsilon",
        "rescale_betas_zero_snr": zero_terminal,
        "steps_offset": 0 if zero_terminal else 1,
        "timestep_spacing": "trailing" if zero_terminal else "leading",
        "use_karras_sigmas": False,
    }


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
