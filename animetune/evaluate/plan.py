"""What an evaluation asks of whom, checked as far as that is possible before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animetune import fsio
from animetune.errors import ConfigError, DataError
from animetune.evaluate import pictures
from animetune.evaluate.cases import Case, requests_of
from animetune.evaluate.config import EvaluateConfig
from animetune.evaluate.pictures import Pictures
from animetune.evaluate.probes.registry import PROBES
from animetune.evaluate.probes.shape import Needs, Reference
from animetune.evaluate.said import digest_of
from animetune.evaluate.scorers import ScorerSpec, check_tags, metric_digests, specs
from animetune.records import Request
from animetune.sample.weights import WeightsReader

QUESTIONS = "questions"
"""What the answers of a vision model are filed under."""
_NOT_ASKED = {
    "title", "models", "checkpoints", "baseline", "out", "answers", "batch", "device", "executor", "tagger",
    "aesthetic", "ccip", "features", "vision", "probes",
}  # fmt: skip
"""Settings that say nothing of what is asked, or are in the digest as what they stand for."""
_PATHS = {"prompts", "reference", "references", "questions", "groups", "counts"}
"""Settings of probes that are in the digest as what lies there: their cases and references."""


@dataclass(frozen=True)
class Plan:
    """All that is known before anything is drawn."""

    cases: Mapping[str, Sequence[Case]]
    """By probe, in the order of the configuration."""
    requests: Sequence[Request]
    references: Mapping[str, Sequence[Reference]]
    """The real pictures of each probe."""
    reference_digests: Mapping[Path, str]
    """SHA-256 of their files."""
    scorers: Sequence[ScorerSpec]
    scorer_digests: Mapping[str, str]
    """Name -> digest of all that its answers depend on; of the vision model, too."""
    wanted: Mapping[Request, frozenset[str]]
    """Names of what looks at the picture of a request."""
    found: Mapping[str, Pictures]
    """Of the models whose pictures were given."""
    names: Mapping[str, str]
    """Model -> what it is called on the page."""
    digests: Mapping[str, str]
    """Model -> digest of its weights, or of its pictures."""
    asked: str
    """Digest of all that is asked and how it is scored, whatever the models are."""
    digest: str
    """Of the whole request."""


def make_plan(cfg: EvaluateConfig, reader: WeightsReader) -> Plan:
    """Check all that can be checked before drawing, and say what will be asked of whom."""
    cases: dict[str, Sequence[Case]] = {probe.name: PROBES[probe.name].cases(probe, cfg) for probe in cfg.probes}
    needs: dict[str, Needs] = {probe.name: PROBES[probe.name].needs(probe) for probe in cfg.probes}
    if cfg.tagger is not None:
        check_tags(cfg.tagger, [(name, tags) for name, need in needs.items() for tags in need.tags])
    references: dict[str, Sequence[Reference]] = {
        probe.name: list(PROBES[probe.name].references(probe, cfg)) for probe in cfg.probes
    }
    _check_keys(references)
    reference_digests = {
        file: pictures.digest_of(file)
        for file in dict.fromkeys(each.file for group in references.values() for each in group)
    }
    needed = {scorer for need in needs.values() for scorer in need.scorers}
    scorers = specs(cfg, needed)
    scorer_digests = {spec.name: spec.digest for spec in scorers}
    if cfg.vision is not None and QUESTIONS in needed:
        scorer_digests[QUESTIONS] = digest_of(cfg.vision)
    requests = requests_of([case for asked in cases.values() for case in asked])
    found, names, digests = _models(cfg, requests, reader)
    settings = cfg.model_dump(mode="json", exclude=_NOT_ASKED)
    probes = [probe.model_dump(mode="json", exclude=_PATHS) for probe in cfg.probes]
    compared = [
        [name, each.key, reference_digests[each.file], dict(each.facts)]
        for name, group in references.items()
        for each in group
    ]
    asked = [[each.prompt, each.negative, each.seed, each.size.name] for each in requests]
    told = [[case.key, dict(case.facts)] for group in cases.values() for case in group]
    made = [scorer_digests, metric_digests(cfg, needed)]
    identity = _digest([settings, probes, asked, told, compared, made])
    return Plan(
        cases=cases,
        requests=requests,
        references=references,
        reference_digests=reference_digests,
        scorers=scorers,
        scorer_digests=scorer_digests,
        wanted=_wanted(cases, needs, scorer_digests),
        found=found,
        names=names,
        digests=digests,
        asked=identity,
        digest=_digest([identity, cfg.title, cfg.reference, list(digests.items()), _steps(cfg)]),
    )


def _models(
    cfg: EvaluateConfig, requests: Sequence[Request], reader: WeightsReader
) -> tuple[dict[str, Pictures], dict[str, str], dict[str, str]]:
    """Pictures that were given, what each model is called, and its digest."""
    found, names, digests = {}, {}, {}
    for name, model in cfg.models.items():
        if model.pictures is not None:
            found[name] = pictures.find(name, model, requests)
            names[name] = f"pictures of {model.pictures.name}"
            digests[name] = _digest(list(found[name].digests.values()))
        else:
            weights = reader.look(model.model)
            if problem := cfg.sampler.misfit(weights.diffusion):
                raise ConfigError(f"{problem} (models.{name}: {weights.name})")
            names[name], digests[name] = weights.name, weights.digest
    return found, names, digests


def _wanted(
    cases: Mapping[str, Sequence[Case]], needs: Mapping[str, Needs], scorers: Mapping[str, str]
) -> dict[Request, frozenset[str]]:
    wanted: dict[Request, frozenset[str]] = {}
    for name, asked in cases.items():
        mine = frozenset(needs[name].scorers) & scorers.keys()
        for case in asked:
            wanted[case.request] = wanted.get(case.request, frozenset()) | mine
    return wanted


def _check_keys(references: Mapping[str, Sequence[Reference]]) -> None:
    for name, group in references.items():
        seen: dict[str, Path] = {}
        for each in group:
            first = seen.setdefault(each.key, each.file)
            if first != each.file:
                raise DataError(f"probes ({name}): {first} and {each.file} both have the key {each.key!r}; rename one")


def _steps(cfg: EvaluateConfig) -> list[tuple[str, int]]:
    return [(name, model.step) for name, model in cfg.models.items() if model.step is not None]


def _digest(value: Any) -> str:
    return fsio.short_digest(fsio.canonical_json(value))
