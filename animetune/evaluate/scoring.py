"""From what was said of pictures to what the probes say of models."""

from __future__ import annotations

from collections.abc import Mapping

from animetune.evaluate.cases import Answers
from animetune.evaluate.config import EvaluateConfig, ProbeConfig
from animetune.evaluate.looking import Seen
from animetune.evaluate.pictures import Pictures
from animetune.evaluate.plan import Plan
from animetune.evaluate.probes.registry import PROBES
from animetune.evaluate.probes.shape import Looked
from animetune.evaluate.results import Evaluation, Found
from animetune.evaluate.scorers import metrics_of
from animetune.progress import track

_ABSENT = {
    "tags": "no tagger is configured; give `tagger`",
    "aesthetic": "no aesthetic scorer is configured; give `aesthetic`",
    "ccip": "CCIP is not configured; give `ccip`",
    "features": "no features are configured; give `features`",
    "questions": "no vision model is configured; give `vision`",
}


def evaluate(cfg: EvaluateConfig, plan: Plan, drawn: Mapping[str, Pictures], seen: Seen) -> Evaluation:
    """All that the page and results.json say."""
    with track("evaluate: score", len(cfg.probes)) as progress:
        probes = []
        for probe in cfg.probes:
            probes.append(_score(probe, cfg, plan, drawn, seen))
            progress.advance(probe=probe.name)
    return Evaluation(
        title=cfg.title,
        models=plan.names,
        baseline=cfg.reference,
        pictures={model: len(found.files) for model, found in drawn.items()},
        probes=probes,
        scorers=plan.scorer_digests,
        setup=_setup(cfg),
        steps={name: model.step for name, model in cfg.models.items() if model.step is not None},
        notes=[note for found in drawn.values() for note in found.notes],
    )


def answers_of(cases: str, plan: Plan, drawn: Mapping[str, Pictures], seen: Seen) -> Answers:
    """Of a probe's cases: model -> key -> answer, for pictures that are there."""
    return {
        model: {case.key: seen.of(model, case) for case in plan.cases[cases] if case.request in found.files}
        for model, found in drawn.items()
    }


def _score(probe: ProbeConfig, cfg: EvaluateConfig, plan: Plan, drawn: Mapping[str, Pictures], seen: Seen) -> Found:
    asker = PROBES[probe.name]
    absent = [_ABSENT[scorer] for scorer in asker.needs(probe).scorers if scorer not in plan.scorer_digests]
    cases = plan.cases[probe.name]
    looked = Looked(
        cases=cases,
        answers=answers_of(probe.name, plan, drawn, seen),
        baseline=cfg.reference,
        references=plan.references[probe.name],
        reference_answers=seen.references[probe.name],
        metrics=metrics_of(cfg),
    )
    return Found(
        name=probe.name,
        title=asker.TITLE,
        about=asker.ABOUT,
        cases=cases,
        prompts=len({case.item for case in cases}),
        references=plan.references[probe.name],
        score=asker.score(probe, looked),
        not_scored=f"Not scored: {'; '.join(absent)}." if absent else "",
    )


def _setup(cfg: EvaluateConfig) -> dict[str, str]:
    sampler = ", ".join(
        f"{name} {value}" for name, value in cfg.sampler.model_dump(mode="json", exclude_none=True).items()
    )
    thresholds = {
        probe.name if setting == "threshold" else f"{probe.name} {setting}": value
        for probe in cfg.probes
        for setting, value in probe.tag_thresholds.items()
    }
    told = {
        "prefix": cfg.prefix or "(none)",
        "negative prompt": cfg.negative or "(none)",
        "seeds": ", ".join(map(str, cfg.seeds)),
        "sizes": ", ".join(cfg.sizes),
        "sampler": sampler,
        "prompts": ", ".join(f"{name} {value}" for name, value in cfg.text),
        "tagger": "none" if cfg.tagger is None else cfg.tagger.name,
        "thresholds": ", ".join(f"{name} {value:g}" for name, value in thresholds.items()) or "(none)",
        "aesthetic scorer": "none" if cfg.aesthetic is None else cfg.aesthetic.name,
    }
    named = {"character model": cfg.ccip, "features": cfg.features}
    told |= {what: settings.name for what, settings in named.items() if settings is not None}
    return told if cfg.vision is None else {**told, "vision model": cfg.vision.model}
