"""`animetune export`: finished weights out of a run, published whole or not at all.

out/
    diffusers/            for diffusers' StableDiffusionXLPipeline
    <name>.safetensors    for ComfyUI, A1111 and all who read Stability AI's layout
    manifest.json         what it was made from, SHA-256 of every file
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from animetune import fsio
from animetune.config import digest
from animetune.errors import ConfigError
from animetune.export.config import ExportConfig
from animetune.licences import check_licence
from animetune.manifest import Manifest, check_place, read_manifest, same_output, write_manifest
from animetune.models.config import ModelConfig
from animetune.models.sdxl import Parameterization
from animetune.models.sources import Source, open_source
from animetune.weights.metadata import flow_hint
from animetune.weights.write import write_weights

EXPORT_FORMAT = 2
EXPORT_KIND = "export"

_log = logging.getLogger(__name__)


def run(cfg: ExportConfig) -> Manifest:
    """Export `cfg.base` to `cfg.out`; a folder that holds the very same export is left as it is.

    A rectified flow is exported with a warning: nothing in a single file makes a user interface recognize it.

    Raises SetupError when `cfg.out` holds something else, ConfigError when that is the output of another stage, for
    zero terminal SNR without v prediction and for a licence that the base forbids, DataError naming what is wrong with
    the weights.
    """
    out = Path(cfg.out)
    check_place(out, EXPORT_KIND)
    with fsio.claim(out):
        source = open_source(ModelConfig(base=cfg.base, weights=cfg.weights, vae=cfg.vae))
        source = dataclasses.replace(source, parameterization=_parameterization(cfg, source))
        if source.licence is not None:
            check_licence(cfg.about.license, {source.name: source.licence})
        manifest = Manifest(
            kind=EXPORT_KIND,
            format_version=EXPORT_FORMAT,
            # Places are no part of what is exported; `inputs` says what was read.
            config_digest=digest(_without_places(cfg)),
            inputs=source.digests() | cfg.about.digests(),
            facts=dict(source.facts),
        )
        if out.exists():
            return same_output(out, manifest)
        if source.parameterization.prediction == "flow" and "single_file" in cfg.formats:
            _log.warning("%s: %s", cfg.out, flow_hint(source.parameterization))
        with fsio.publish_dir(out) as folder:
            files = write_weights(folder, source, cfg, cfg.about)
            write_manifest(folder, manifest.model_copy(update={"files": files}))
        return read_manifest(out, kind=EXPORT_KIND, format_version=EXPORT_FORMAT)


def _without_places(cfg: ExportConfig) -> ExportConfig:
    return cfg.model_copy(update={"out": "", "base": "", "vae": None, "about": cfg.about.without_places()})


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
