"""Let every scorer look at every picture of the probes that need it, drawn ones and real ones, each once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from animetune.evaluate.asking import ask
from animetune.evaluate.cases import Answer, Case
from animetune.evaluate.config import EvaluateConfig
from animetune.evaluate.pictures import Pictures
from animetune.evaluate.plan import QUESTIONS, Plan
from animetune.evaluate.probes.registry import PROBES
from animetune.evaluate.questions import CaseAnswers, answer_cases
from animetune.executor import build_executor
from animetune.records import Request

ANSWERS = "answers"
"""Folder in `out` of what scorers said, unless the configuration names one that is shared."""


class Seen(NamedTuple):
    """What was said of all pictures."""

    pictures: Mapping[str, Mapping[Request, Answer]]
    """Model -> request -> scorer -> its answer."""
    references: Mapping[str, Mapping[str, Answer]]
    """Probe -> key of a real picture -> scorer -> its answer."""
    questions: Mapping[tuple[str, str], Any]
    """Model and key of a case -> the vision model's answers to its questions."""
    questions_facts: Mapping[str, Any]
    """Counts, tokens and cost of those answers; empty where nothing was asked."""

    def of(self, model: str, case: Case) -> Answer:
        """All that is known of a case's picture."""
        said = self.pictures[model].get(case.request, {})
        asked = self.questions.get((model, case.key))
        return said if asked is None else {**said, QUESTIONS: asked}


def look(cfg: EvaluateConfig, plan: Plan, drawn: Mapping[str, Pictures]) -> Seen:
    """Ask what was never asked of these pictures; the rest is known. Raises as `ask` and `answer_cases`."""
    folder = cfg.answers or cfg.out / ANSWERS
    needs: dict[str, frozenset[str]] = {
        probe.name: frozenset(PROBES[probe.name].needs(probe).scorers) for probe in cfg.probes
    }
    said: dict[str, dict[str, Any]] = {}
    with build_executor(cfg.executor) as workers:
        for spec in plan.scorers:
            wanted: dict[str, Path] = {}
            for found in drawn.values():
                for request, file in found.files.items():
                    if spec.name in plan.wanted.get(request, ()):
                        wanted.setdefault(found.digests[request], file)
            for name, group in plan.references.items():
                for each in group if spec.name in needs[name] else ():
                    wanted.setdefault(plan.reference_digests[each.file], each.file)
            said[spec.name] = ask(spec, wanted, folder, workers)

    def of(digest: str, scorers: frozenset[str]) -> Answer:
        return {name: answers[digest] for name, answers in said.items() if name in scorers}

    return Seen(
        {
            model: {
                request: of(found.digests[request], plan.wanted[request])
                for request in plan.requests
                if request in found.files
            }
            for model, found in drawn.items()
        },
        {
            name: {each.key: of(plan.reference_digests[each.file], needs[name]) for each in group}
            for name, group in plan.references.items()
        },
        *_questions(cfg, plan, drawn, folder),
    )


def _questions(cfg: EvaluateConfig, plan: Plan, drawn: Mapping[str, Pictures], folder: Path) -> CaseAnswers:
    if cfg.vision is None or QUESTIONS not in plan.scorer_digests:
        return CaseAnswers({}, {})
    asking = [probe.name for probe in cfg.probes if QUESTIONS in PROBES[probe.name].needs(probe).scorers]
    asked = [
        (model, case, found.files[case.request])
        for model, found in drawn.items()
        for name in asking
        for case in plan.cases[name]
        if case.request in found.files
    ]
    return answer_cases(cfg.vision, asked, folder)
