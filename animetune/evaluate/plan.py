"""What an evaluation asks of whom, checked as far as that is possible before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from animetune import fsio
from animetune.errors import ConfigError
from animetune.evaluate import pictures
from animetune.evaluate.cases import Case, requests_of
from animetune.evaluate.config import EvaluateConfig
from animetune.evaluate.pictures import Pictures
from animetune.evaluate.probes.registry import PROBES
from animetune.evaluate.scorers import ScorerSpec, check_tags, specs
from animetune.records import Request
from animetune.sample.weights import WeightsReader

_NOT_ASKED = {"models", "baseline", "out", "batch", "device", "executor", "tagger", "aesthetic", "probes"}
"""Settings that say nothing of what is asked, or are in the request's digest as what they stand for."""


@dataclass(frozen=True)
class Plan:
    """All that is known before anything is drawn."""

    cases: Mapping[str, Sequence[Case]]
    """By probe, in the order of the configuration."""
    requests: Sequence[Request]
    scorers: Sequence[ScorerSpec]
    found: Mapping[str, Pictures]
    """Of the models whose pictures were given."""
    names: Mapping[str, str]
    """Model -> what it is called on the page."""
    digests: Mapping[str, str]
    """Model -> digest of its weights, or of its pictures."""
    digest: str
    """Of the whole request."""


def make_plan(cfg: EvaluateConfig, reader: WeightsReader) -> Plan:
    """Check all that can be checked before drawing, and say what will be asked of whom."""
    cases: dict[str, Sequence[Case]] = {probe.name: PROBES[probe.name].cases(probe, cfg) for probe in cfg.probes}
    needs = {probe.name: PROBES[probe.name].needs(probe) for probe in cfg.probes}
    if cfg.tagger is not None:
        check_tags(cfg.tagger, [(name, tags) for name, need in needs.items() for tags in need.tags])
    scorers = specs(cfg, {scorer for need in needs.values() for scorer in need.scorers})
    requests = requests_of([case for asked in cases.values() for case in asked])
    found, names, digests = {}, {}, {}
    for name, model in cfg.models.items():
        if model.pictures is not None:
            found[name] = pictures.find(name, model, requests)
            names[name] = f"pictures of {model.pictures.name}"
            digests[name] = _digest([fsio.sha256_file(file) for file in found[name].files.values()])
        else:
            weights = reader.look(model.model)
            if problem := cfg.sampler.misfit(weights.diffusion):
                raise ConfigError(f"{problem} (models.{name}: {weights.name})")
            names[name], digests[name] = weights.name, weights.digest
    asked = [[each.prompt, each.negative, each.seed, each.size.name] for each in requests]
    keys = [case.key for group in cases.values() for case in group]
    settings = cfg.model_dump(mode="json", exclude=_NOT_ASKED)
    probes = [probe.model_dump(mode="json", exclude={"prompts"}) for probe in cfg.probes]
    made = [[spec.name, spec.digest] for spec in scorers]
    identity = [settings, probes, cfg.reference, list(digests.items()), asked, keys, made]
    return Plan(cases, requests, scorers, found, names, digests, _digest(identity))


def _digest(value: Any) -> str:
    return fsio.short_digest(fsio.canonical_json(value))
