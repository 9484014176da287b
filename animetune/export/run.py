"""`animetune export`: finished weights out of a run, published whole or not at all.

out/
    diffusers/            for diffusers' StableDiffusionXLPipeline
    <name>.safetensors    for ComfyUI, A1111 and all who read Stability AI's layout
    manifest.json         what it was made from, SHA-256 of every file
"""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import torch

from animetune import fsio
from animetune.config import digest
from animetune.errors import ConfigError, SetupError
from animetune.export.config import ExportConfig
from animetune.manifest import Manifest, check_place, has_manifest, read_manifest, record_files, write_manifest
from animetune.models.config import ModelConfig
from animetune.models.load import read_models
from animetune.models.sdxl import COMPONENTS, Parameterization
from animetune.models.sources import FACTS_PREFIX, Source, open_source
from animetune.progress import track
from animetune.weights.folder import count_tensors, write_folder
from animetune.weights.single_file import flow_hint, model_spec, single_file_entries, write_single_file

EXPORT_FORMAT = 1
EXPORT_KIND = "export"

_log = logging.getLogger(__name__)


def run(cfg: ExportConfig) -> Manifest:
    """Export `cfg.base` to `cfg.out`; a folder that holds the very same export is left as it is.

    A rectified flow is exported with a warning: nothing in a single file makes a user interface recognize it.

    Raises SetupError when `cfg.out` holds something else, ConfigError when that is the output of another stage or for
    zero terminal SNR without v prediction, DataError naming a tensor that does not fit the dtype.
    """
    out = Path(cfg.out)
    check_place(out, EXPORT_KIND)
    with fsio.claim(out):
        source = open_source(ModelConfig(base=cfg.base, weights=cfg.weights, vae=cfg.vae))
        manifest = Manifest(
            kind=EXPORT_KIND,
            format_version=EXPORT_FORMAT,
            # Places are no part of what is exported; `inputs` says what was read.
            config_digest=digest(cfg.model_copy(update={"out": "", "base": "", "vae": None})),
            inputs=_inputs(source),
            facts=dict(source.facts),
        )
        if out.exists():
            return _same_export(out, manifest)
        _write(out, cfg, source, manifest)
        return read_manifest(out, kind=EXPORT_KIND, format_version=EXPORT_FORMAT)


def _write(out: Path, cfg: ExportConfig, source: Source, manifest: Manifest) -> None:
    dtype: torch.dtype = getattr(torch, cfg.dtype)
    vae_dtype: torch.dtype = getattr(torch, cfg.vae_dtype)
    parameterization = _parameterization(cfg, source)
    if parameterization.prediction == "flow" and "single_file" in cfg.formats:
        _log.warning("%s: %s", cfg.out, flow_hint(parameterization))
    models = read_models(source, dtype=torch.float32)
    models.parameterization = parameterization
    metadata = model_spec(cfg.about, models, dtype=dtype, vae_dtype=vae_dtype)
    metadata |= {f"{FACTS_PREFIX}{name}": value for name, value in source.facts.items()}
    entries = single_file_entries(models, dtype=dtype, vae_dtype=vae_dtype)
    total = len(entries) * ("single_file" in cfg.formats) + count_tensors(models) * ("diffusers" in cfg.formats)
    with fsio.publish_dir(out) as folder, track("export", total) as progress:
        if "single_file" in cfg.formats:
            write_single_file(folder / f"{cfg.name}.safetensors", entries, metadata=metadata, done=progress.advance)
        if "diffusers" in cfg.formats:
            write_folder(folder / "diffusers", models, dtype=dtype, vae_dtype=vae_dtype, done=progress.advance)
        write_manifest(folder, manifest.model_copy(update={"files": record_files(folder)}))


def _parameterization(cfg: ExportConfig, source: Source) -> Parameterization:
    known = source.parameterization
    prediction = known.prediction if cfg.prediction is None else cfg.prediction
    zero_terminal_snr = known.zero_terminal_snr if cfg.zero_terminal_snr is None else cfg.zero_terminal_snr
    if zero_terminal_snr and prediction == "epsilon":
        raise ConfigError(
            "zero_terminal_snr: a UNet that predicts epsilon cannot have it: at the last step its input is the noise "
            "itself. Set prediction: v, or zero_terminal_snr: false"
        )
    if prediction != "flow":
        return Parameterization(prediction, zero_terminal_snr)
    if zero_terminal_snr:
        raise ConfigError("zero_terminal_snr: a flow has no such thing, it ends in pure noise anyway; set it to false")
    return known._replace(prediction=prediction)


def _inputs(source: Source) -> dict[str, str]:
    """Network, and file name where it has several -> SHA-256."""
    sha256 = functools.cache(fsio.sha256_file)
    return {
        component if len(source.files[component]) == 1 else f"{component}/{file.name}": sha256(file)
        for component in COMPONENTS
        for file in source.files[component]
    }


def _same_export(out: Path, manifest: Manifest) -> Manifest:
    if has_manifest(out):
        existing = read_manifest(out, kind=EXPORT_KIND, format_version=EXPORT_FORMAT)
        if (existing.config_digest, existing.inputs) == (manifest.config_digest, manifest.inputs):
            return existing
    raise SetupError(f"out: {out}: holds another export (or something else); choose another folder or remove that one")
