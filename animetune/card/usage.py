"""How pictures are drawn: code for diffusers that suits what the model predicts, and hints for user interfaces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from animetune import fsio
from animetune.card.config import CardConfig, InferenceConfig
from animetune.card.markdown import block, bullets, code, number, table
from animetune.card.published import Published
from animetune.diffusion.config import DiffusionConfig
from animetune.manifest import Manifest
from animetune.progress import bytes_text
from animetune.sampler_names import SAMPLERS
from animetune.tokens import CHUNK_BODY

_SCHEDULERS: Mapping[str, tuple[str, str]] = {
    "euler": ("EulerDiscreteScheduler", ""),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", ""),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", 'algorithm_type="dpmsolver++"'),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", 'algorithm_type="sde-dpmsolver++"'),
    "dpmpp_sde": ("DPMSolverSDEScheduler", ""),
    "heun": ("HeunDiscreteScheduler", ""),
    "lms": ("LMSDiscreteScheduler", ""),
    "ddim": ("DDIMScheduler", ""),
    "unipc": ("UniPCMultistepScheduler", ""),
}
"""Sampler -> diffusers' class, and an argument."""

_PACKAGES = {"lms": "scipy", "dpmpp_sde": "torchsde"}
"""Sampler -> what its class of diffusers needs beside diffusers."""
_WITHOUT_ZERO_SNR = ("dpmpp_sde", "heun", "lms")
"""Samplers whose classes of diffusers take no notice of zero terminal SNR."""
_WITHOUT_KARRAS = ("EulerAncestralDiscreteScheduler", "DDIMScheduler")


@dataclass(frozen=True)
class Weights:
    """What the finished weights are, as far as their files say."""

    manifest: Manifest | None
    published: Published | None
    """What the manifest says of where they come from."""
    prediction: str
    """`epsilon`, `v` or `flow`."""
    zero_terminal_snr: bool
    dtype: str
    """`float16` ..., in which they are loaded best."""
    single_files: tuple[str, ...]
    has_diffusers: bool
    variant: str | None
    """Of the diffusers files, such as `fp16`; None for none."""


def read_weights(made: Published | None, manifest: Manifest | None, diffusion: DiffusionConfig) -> Weights:
    """From an export or a merge; what no file says is as the run was trained."""
    names = [] if manifest is None else list(manifest.files)
    folder = next((name.removesuffix("model_index.json") for name in names if name.endswith("model_index.json")), None)
    scheduler = _json(made, names, f"{folder}scheduler/scheduler_config.json")
    encoder = _json(made, names, f"{folder}text_encoder/config.json")
    kinds = {"v_prediction": "v", "flow_prediction": "flow", "epsilon": "epsilon"}
    stem = ".safetensors"
    variants = {name.removesuffix(stem).rpartition(".")[2] for name in names if f"{folder}unet/" in name}
    return Weights(
        manifest=manifest,
        published=made,
        prediction=kinds.get(str(scheduler.get("prediction_type")), diffusion.prediction),
        zero_terminal_snr=bool(scheduler.get("rescale_betas_zero_snr", diffusion.zero_terminal_snr)),
        dtype=str(encoder.get("torch_dtype", encoder.get("dtype", "float16"))),
        single_files=tuple(name for name in names if name.endswith(stem) and "/" not in name),
        has_diffusers=folder is not None,
        variant="fp16" if "fp16" in variants else None,
    )


def _json(made: Published | None, names: list[str], name: str) -> dict[str, Any]:
    if made is None or name not in names:
        return {}
    said = json.loads((made.folder / name).read_text(encoding="utf-8"))
    return said if isinstance(said, dict) else {}


def example_prompt(cfg: InferenceConfig, trained: str | None) -> str:
    """The prompt of the example: the configured one, else one of the training, with the words that are recommended."""
    prompt = cfg.prompt or trained or "1girl, solo, upper body, smile, looking at viewer, outdoors"
    parts = [cfg.prefix, prompt, cfg.suffix] if not cfg.prompt else [prompt]
    return ", ".join(part.strip().rstrip(",") for part in parts if part.strip())


def diffusers_code(cfg: CardConfig, weights: Weights, prompt: str) -> str:
    """A program that draws the example. A flow keeps the scheduler that it comes with; others get the recommended one,
    made of the shipped one's settings, so that v prediction and zero terminal SNR stay."""
    inference = cfg.inference
    scheduler, argument = _SCHEDULERS[inference.sampler]
    is_flow = weights.prediction == "flow"
    from_file = weights.manifest is not None and not weights.has_diffusers
    file = weights.single_files[0] if weights.single_files else "model.safetensors"
    if from_file:
        place = f"https://huggingface.co/{cfg.about.hub_id}/blob/main/{file}" if cfg.about.hub_id else file
    else:
        place = cfg.about.hub_id or "path/to/diffusers"
    imported = "StableDiffusionXLPipeline" if is_flow else f"{scheduler}, StableDiffusionXLPipeline"
    arguments = [argument] if argument else []
    arguments += _unmarked(weights) if from_file else []
    arguments += ["use_karras_sigmas=True"] if inference.karras and scheduler not in _WITHOUT_KARRAS else []
    lines = [
        "import torch",
        f"from diffusers import {imported}",
        "",
        f"pipe = StableDiffusionXLPipeline.{'from_single_file' if from_file else 'from_pretrained'}(",
        f"    {_quoted(place)},",
        f"    torch_dtype=torch.{weights.dtype},",
        *([] if from_file else ["    use_safetensors=True,"]),
        *([f'    variant="{weights.variant}",'] if weights.variant else []),
        ")",
    ]
    if not is_flow:
        made = ", ".join(["pipe.scheduler.config", *arguments])
        lines.append(f"pipe.scheduler = {scheduler}.from_config({made})")
    lines += [
        'pipe.to("cuda")',
        "",
        f"prompt = {_quoted(prompt)}",
        f"negative_prompt = {_quoted(inference.negative)}",
        "image = pipe(",
        "    prompt,",
        "    negative_prompt=negative_prompt,",
        f"    width={inference.width},",
        f"    height={inference.height},",
        f"    guidance_scale={number(inference.cfg_scale)},",
        *([f"    guidance_rescale={number(inference.cfg_rescale)},"] if inference.cfg_rescale else []),
        f"    num_inference_steps={inference.steps},",
        ").images[0]",
        'image.save("picture.png")',
    ]
    return "\n".join(lines)


def _unmarked(weights: Weights) -> list[str]:
    """What diffusers does not learn of a single file."""
    if weights.prediction != "v":
        return []
    zero = ["rescale_betas_zero_snr=True", 'timestep_spacing="trailing"'] if weights.zero_terminal_snr else []
    return ['prediction_type="v_prediction"', *zero]


def usage_section(cfg: CardConfig, weights: Weights, prompt: str, *, chunks: int) -> str:
    """Installation, code, and how the single file is used; prompts of the training have `chunks` times 75 tokens."""
    is_flow = weights.prediction == "flow"
    more = "" if is_flow else _PACKAGES.get(cfg.inference.sampler, "")
    packages = " ".join(filter(None, ["diffusers transformers accelerate safetensors", more]))
    parts = ["### diffusers"]
    if is_flow and weights.manifest is not None and not weights.has_diffusers:
        parts.append("A single file does not tell diffusers that the model is a rectified flow: use ComfyUI.")
    else:
        parts += [
            block(f"pip install --upgrade {packages}", "bash"),
            block(diffusers_code(cfg, weights, prompt), "python"),
        ]
    if is_flow:
        parts.append("The model is a rectified flow: keep the scheduler that comes with it.")
    elif weights.zero_terminal_snr and cfg.inference.sampler in _WITHOUT_ZERO_SNR:
        parts.append(
            f"The {SAMPLERS[cfg.inference.sampler].title} of diffusers knows no zero terminal SNR and draws less "
            "contrast: take `EulerAncestralDiscreteScheduler` there."
        )
    if chunks > 1:
        parts.append(
            f"This pipeline reads the first {CHUNK_BODY} tokens of a prompt and leaves out the rest; ComfyUI, A1111 "
            "and Forge read all."
        )
    parts += ["### ComfyUI, A1111, Forge", bullets(interface_hints(weights))]
    return "\n\n".join(parts)


def interface_hints(weights: Weights) -> list[str]:
    """Where the single file goes, and what has to be set by hand."""
    file = code(weights.single_files[0]) if weights.single_files else "the single file"
    hints = [
        f"Put {file} into `models/checkpoints` of ComfyUI, or `models/Stable-diffusion` of A1111 and Forge."
        if weights.single_files
        else "No single file was published with this card."
        if weights.manifest is not None
        else "The finished weights were not given to this card."
    ]
    if weights.prediction == "v":
        zero = " with zero terminal SNR" if weights.zero_terminal_snr else ""
        hints.append(f"It predicts v{zero}. ComfyUI, reForge and recent A1111 and Forge see that by themselves.")
    if weights.prediction == "flow":
        hints.append(
            "It is a rectified flow, which no interface sees by itself: in ComfyUI put the node `ModelSamplingSD3` "
            "behind the checkpoint, with the shift that is named under training; A1111 cannot draw it."
        )
    if weights.single_files:
        hints.append(
            "The VAE is inside the file. Set no clip skip: SDXL takes the last but one layer of its text encoders by "
            "itself."
        )
    return hints


def recommended_section(cfg: InferenceConfig, weights: Weights) -> str:
    """Sampler, steps, guidance, sizes, words."""
    sampler = SAMPLERS[cfg.sampler]
    karras = " Karras" if cfg.karras else ""
    is_flow = weights.prediction == "flow"
    noise = f", scheduler `{'karras' if cfg.karras else 'simple' if is_flow else 'normal'}`"
    lines = [
        f"Sampler: {sampler.title}{karras} (in ComfyUI `{sampler.comfyui}`{noise}).",
        f"Steps: {cfg.steps}. CFG: {number(cfg.cfg_scale)}."
        + (f" CFG rescale: {number(cfg.cfg_rescale)}." if cfg.cfg_rescale else ""),
        *cfg.advice,
    ]
    parts = [bullets(lines)]
    for words, what in ((cfg.prefix, "Put before a prompt:"), (cfg.suffix, "Put behind a prompt:")):
        if words:
            parts += [what, block(words)]
    if cfg.negative:
        parts += ["Negative prompt:", block(cfg.negative)]
    return "\n\n".join(parts)


def files_section(weights: Weights) -> str:
    """Size and hash of what is published."""
    if weights.manifest is None:
        return "The finished weights were not given to this card, so that no file can be named."
    rows = [
        [code(name), bytes_text(record.bytes), code(record.sha256)]
        for name, record in sorted(weights.manifest.files.items())
        if name.endswith(".safetensors")
    ]
    others = sum(not name.endswith(".safetensors") for name in weights.manifest.files)
    parts = [table(["file", "size", "SHA-256"], rows, numbers=[1])]
    if others:
        parts.append(f"And {others} small files of settings and tokenizers.")
    return "\n\n".join(part for part in parts if part)


def _quoted(text: str) -> str:
    """As a string of Python in double quotes, as which JSON's strings can be read."""
    return fsio.canonical_json(text)
