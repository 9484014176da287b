"""What the probes found as JSON with stable keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from animetune.evaluate.cases import Case
from animetune.evaluate.measures import as_json
from animetune.evaluate.probes.shape import Reference, Score, Shown

RESULTS_FORMAT = 1


@dataclass(frozen=True)
class Found:
    """One probe, scored."""

    name: str
    title: str
    about: str
    cases: Sequence[Case]
    prompts: int
    score: Score
    references: Sequence[Reference] = ()
    """Its real pictures."""
    not_scored: str = ""
    """Why its numbers are missing; empty where they are not."""


@dataclass(frozen=True)
class Evaluation:
    """All that the page shows and results.json holds."""

    title: str
    models: Mapping[str, str]
    """Name -> what it is: the last part of its path, or that pictures were given."""
    baseline: str
    pictures: Mapping[str, int]
    """Model -> how many were scored."""
    probes: Sequence[Found]
    scorers: Mapping[str, str]
    """Name -> digest of all that its answers depend on."""
    setup: Mapping[str, str]
    """Sampler, prefix, seeds ... in words."""
    steps: Mapping[str, int] = field(default_factory=dict)
    """Model -> where in training it stands, where that is known."""
    notes: Sequence[str] = ()


def results_json(evaluation: Evaluation) -> dict[str, Any]:
    """For results.json: everything but pictures."""
    return {
        "format": RESULTS_FORMAT,
        "title": evaluation.title,
        "models": dict(evaluation.models),
        "baseline": evaluation.baseline,
        "steps": dict(evaluation.steps),
        "pictures": dict(evaluation.pictures),
        "scorers": dict(evaluation.scorers),
        "setup": dict(evaluation.setup),
        "notes": list(evaluation.notes),
        "probes": {found.name: _probe_json(found) for found in evaluation.probes},
    }


def _probe_json(found: Found) -> dict[str, Any]:
    score = found.score
    return {
        "title": found.title,
        "prompts": found.prompts,
        "cases": len(found.cases),
        "references": len(found.references),
        "not_scored": found.not_scored,
        "measures": {measure.name: as_json(measure) for measure in score.measures},
        "matrices": {
            matrix.title: {
                "rows": list(matrix.rows),
                "columns": list(matrix.columns),
                "counts": {model: [list(row) for row in rows] for model, rows in matrix.counts.items()},
            }
            for matrix in score.matrices
        },
        "histograms": {
            histogram.title: {
                "edges": [_rounded(float(edge)) for edge in histogram.edges],
                "counts": {model: [int(count) for count in counts] for model, counts in histogram.counts.items()},
            }
            for histogram in score.histograms
        },
        "worst": {model: [_shown_json(shown) for shown in pictures] for model, pictures in score.worst.items()},
        "facts": _rounded(score.facts),
        "notes": list(score.notes),
    }


def _shown_json(shown: Shown) -> dict[str, str]:
    written = {"case": shown.key, "note": shown.note}
    return {**written, "beside": shown.beside} if shown.beside else written


def _rounded(value: Any) -> Any:
    """Floats of six digits, however deep they lie."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
