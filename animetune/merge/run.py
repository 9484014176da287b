"""`animetune merge`: one model of several, and of LoRAs, published whole or not at all.

    models --open_source--> sources --check_fit--> merged_source --write_weights--> out/

out/
    diffusers/            for diffusers' StableDiffusionXLPipeline
    <name>.safetensors    for ComfyUI, A1111 and all who read Stability AI's layout
    manifest.json         the rule, SHA-256 of every input and of every file

Tensors are read, merged and written one after another, so that a merge of any number of models needs the memory of a
few tensors.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from animetune import fsio
from animetune.assets import sha256_of
from animetune.config import digest
from animetune.licences import check_licence
from animetune.manifest import Manifest, check_place, read_manifest, same_output, write_manifest
from animetune.merge.config import MergeConfig
from animetune.merge.fitting import check_fit
from animetune.merge.source import merged_source
from animetune.models.config import ModelConfig
from animetune.models.lora_file import Lora, open_lora
from animetune.models.source import Source
from animetune.models.sources import open_source
from animetune.weights.config import AboutConfig
from animetune.weights.metadata import flow_hint
from animetune.weights.write import write_weights

MERGE_FORMAT = 1
MERGE_KIND = "merge"
_OWN = ("builtin:", "random:")

_log = logging.getLogger(__name__)


def run(cfg: MergeConfig) -> Manifest:
    """Merge `cfg.models` and `cfg.loras` into `cfg.out`; a folder that holds the very same merge is left as it is.

    Raises SetupError when `cfg.out` holds something else or a model cannot be had; ConfigError when `cfg.out` is the
    output of another stage, for parts that the model does not have and for a licence that an input forbids; DataError
    for models or LoRAs that do not fit each other, and naming a tensor that is not finite or does not fit the dtype.
    """
    out = Path(cfg.out)
    check_place(out, MERGE_KIND)
    with fsio.claim(out):
        sources = {
            name: open_source(ModelConfig(base=each.base, weights=each.weights, vae=each.vae))
            for name, each in cfg.models.items()
        }
        check_fit(cfg, sources)
        loras = [open_lora(Path(each.file), sources[cfg.leading].architecture) for each in cfg.loras]
        licences = _licences(sources, loras)
        check_licence(cfg.about.license, licences)
        source = merged_source(cfg, sources, loras)
        rule = _rule(cfg)
        manifest = Manifest(
            kind=MERGE_KIND,
            format_version=MERGE_FORMAT,
            config_digest=digest(_without_places(cfg)),
            inputs=_inputs(cfg, sources, loras),
            facts={
                **rule,
                "trained": {name: dict(each.facts) for name, each in sources.items() if each.facts},
                "licences": {name: licence for name, licence in licences.items() if licence},
                "hub": _hub_ids(cfg),
            },
        )
        if out.exists():
            return same_output(out, manifest)
        if source.parameterization.prediction == "flow" and "single_file" in cfg.formats:
            _log.warning("%s: %s", cfg.out, flow_hint(source.parameterization))
        with fsio.publish_dir(out) as folder:
            facts = {"merge": fsio.canonical_json(rule)}
            files = write_weights(folder, source, cfg, _about(cfg), facts=facts, job="merge")
            write_manifest(folder, manifest.model_copy(update={"files": files}))
        return read_manifest(out, kind=MERGE_KIND, format_version=MERGE_FORMAT)


def _rule(cfg: MergeConfig) -> dict[str, Any]:
    """What was done, by the names of the models; no places."""
    return {
        "method": cfg.method.model_dump() if cfg.method else None,
        "models": sorted(cfg.merged),
        "vae": None if cfg.merges_vae and cfg.vae is None else cfg.vae_from,
        "loras": [{**each.model_dump(), "file": Path(each.file).name} for each in cfg.loras],
    }


def _about(cfg: MergeConfig) -> AboutConfig:
    """With the names of what was merged, unless the configuration states titles."""
    merged_from = cfg.about.merged_from or (*cfg.merged, *(Path(each.file).stem for each in cfg.loras))
    return cfg.about.model_copy(update={"merged_from": merged_from})


def _licences(sources: Mapping[str, Source], loras: list[Lora]) -> dict[str, str]:
    """Those that inputs state, empty where one states none; nobody's terms bind weights that animetune makes."""
    stated = {name: source.licence for name, source in sources.items() if not source.name.startswith(_OWN)}
    stated |= {lora.path.name: lora.licence for lora in loras}
    return {name: licence or "" for name, licence in stated.items()}


def _hub_ids(cfg: MergeConfig) -> dict[str, str]:
    """Model -> its id, of those that are from the hub: no place of this machine."""
    return {
        name: each.base
        for name, each in cfg.models.items()
        if re.fullmatch(r"[\w.-]+/[\w.-]+", each.base)
        and not each.base.startswith(".")
        and not Path(each.base).exists()
    }


def _inputs(cfg: MergeConfig, sources: Mapping[str, Source], loras: list[Lora]) -> dict[str, str]:
    """`model/unet` ..., `loras/0` ... -> SHA-256."""
    found = {f"{name}/{part}": sha for name, source in sources.items() for part, sha in source.digests().items()}
    return found | {f"loras/{place}": sha256_of(lora.path) for place, lora in enumerate(loras)} | cfg.about.digests()


def _without_places(cfg: MergeConfig) -> MergeConfig:
    """The configuration without places, which are no part of what is merged (`inputs` says what was read), and with
    the VAE named."""
    models = {name: each.model_copy(update={"base": "", "vae": None}) for name, each in cfg.models.items()}
    loras = tuple(each.model_copy(update={"file": Path(each.file).name}) for each in cfg.loras)
    changes = {"out": "", "vae": cfg.vae_from, "models": models, "loras": loras, "about": cfg.about.without_places()}
    return cfg.model_copy(update=changes)
