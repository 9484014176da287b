"""The single file in the layout of Stability AI's own (LDM), with ModelSpec 1.0.1 metadata.

Beside the networks it holds CLIP-G's logit scale and, for a UNet that predicts v, the empty tensors `v_pred` and (with
zero terminal SNR) `ztsnr`, by which ComfyUI and A1111 choose the sampling. Epsilon models hold neither.

For a rectified flow there is no such tensor: ComfyUI looks for none, and published flows of SDXL (bigASP 2.5,
nyaflow-xl) are drawn with a node that says so. None is invented here: the metadata says `flow`, and the usage hint what
has to be set by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from animetune import fsio
from animetune.models import keys
from animetune.models.networks import canonical_state, network_links
from animetune.models.sdxl import COMPONENTS, Parameterization, Sdxl, is_sdxl
from animetune.models.sources import ARCHITECTURE_KEY, FLOW_KEY
from animetune.records import PIXELS_PER_CELL
from animetune.tensorfile import Entry, write_safetensors
from animetune.weights.config import AboutConfig
from animetune.weights.tensors import cast_entry, tensor_entry


def write_single_file(
    path: Path, entries: Sequence[Entry], *, metadata: Mapping[str, str], done: Callable[[], None] = lambda: None
) -> None:
    """Write `single_file_entries` to `path`, which fsio handed out; `done` is called after each.

    Raises DataError naming a tensor that does not fit its dtype.
    """
    write_safetensors(path, entries, metadata=metadata, hash_key="modelspec.hash_sha256", done=done)


def single_file_entries(models: Sdxl, *, dtype: torch.dtype, vae_dtype: torch.dtype) -> list[Entry]:
    """Every tensor of the single file."""
    entries = [tensor_entry(keys.LOGIT_SCALE_KEY, torch.tensor(models.logit_scale), dtype)]
    if models.parameterization.prediction == "v":
        entries.append(tensor_entry(keys.V_PREDICTION_KEY, torch.zeros(0), torch.float32))
        if models.parameterization.zero_terminal_snr:
            entries.append(tensor_entry(keys.ZERO_TERMINAL_SNR_KEY, torch.zeros(0), torch.float32))
    for component in COMPONENTS:
        network = getattr(models, component)
        if network is None:
            continue
        state = canonical_state(network, component)
        kind = vae_dtype if component == "vae" else dtype
        entries += [_linked(link, state, kind) for link in network_links(models.architecture, component)]
    return entries


def model_spec(about: AboutConfig, models: Sdxl, *, dtype: torch.dtype, vae_dtype: torch.dtype) -> dict[str, str]:
    """ModelSpec 1.0.1 (github.com/Stability-AI/ModelSpec) without the hash, which is known once all is written."""
    side = PIXELS_PER_CELL * models.architecture.unet["sample_size"]
    parameterization = models.parameterization
    is_flow = parameterization.prediction == "flow"
    usage_hint = f"{about.usage_hint} {flow_hint(parameterization)}".strip() if is_flow else about.usage_hint
    spec = {
        "sai_model_spec": "1.0.1",
        "architecture": "stable-diffusion-xl-v1-base",
        "implementation": "https://github.com/Stability-AI/generative-models",
        "title": about.title,
        "resolution": f"{side}x{side}",
        "license": about.license,
        "author": about.author,
        "description": about.description,
        "date": about.date,
        "usage_hint": usage_hint,
        "tags": ", ".join(about.tags),
        "prediction_type": parameterization.prediction,
        "predict_key": "" if is_flow else parameterization.prediction,  # the name in ComfyUI's own files
        "unet_dtype": _short(dtype),
        "vae_dtype": _short(vae_dtype),
    }
    metadata = {f"modelspec.{key}": value for key, value in spec.items() if value}
    if not is_sdxl(models.architecture):
        metadata[ARCHITECTURE_KEY] = fsio.canonical_json(asdict(models.architecture))
    if is_flow:
        flow = {"shift": parameterization.shift, "shift_by_area": parameterization.shift_by_area}
        metadata[FLOW_KEY] = fsio.canonical_json(flow)
    return metadata | {"format": "pt"}


def flow_hint(parameterization: Parameterization) -> str:
    """What a user of a flow's single file has to know."""
    return (
        "A rectified flow, which user interfaces take for epsilon prediction and draw as noise unless they are told: "
        f"in ComfyUI put the node ModelSamplingSD3 with shift {parameterization.shift:g} before the sampler."
    )


def _linked(link: keys.Link, state: Mapping[str, Tensor], dtype: torch.dtype) -> Entry:
    ours = [state[name] for name in link.names]
    shape = link.ldm_shape([tuple(tensor.shape) for tensor in ours])
    return cast_entry(link.ldm, shape, dtype, lambda: link.to_ldm(ours))


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
