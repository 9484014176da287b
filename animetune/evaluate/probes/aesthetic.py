"""Aesthetic: how a classifier's scores are distributed, and how far from those of real pictures. Never a headline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from animetune.evaluate.cases import Answer, Asked, Case, expand, filled
from animetune.evaluate.config import REFERENCE, AestheticConfig, EvaluateConfig
from animetune.evaluate.measures import Difference, Estimate, Group, Measure, group, values_of
from animetune.evaluate.probes.shape import Histogram, Looked, Needs, Reference, Score, Table, worst
from animetune.evaluate.prompt_files import Prompt, evenly, read_prompts
from animetune.evaluate.real_pictures import read_real
from animetune.evaluate.score_distances import Compared, Scores, chance, interval_of
from animetune.vision.aesthetics import GRADES

TITLE = "Aesthetic scores"
ABOUT = (
    "What an aesthetic classifier says of the pictures, as a distribution. Such a classifier has a taste of its own, "
    "often the one that the training labels came from, and a higher mean is no better model: a model that draws one "
    "kind of picture well scores above its training set. Near the real pictures is what a faithful model is. The "
    "distance is Wasserstein's, the area between the two distributions, in units of the score."
)
FILE = "contents.jsonl"
EVERYTHING = "all"
QUANTILES = (5, 25, 50, 75, 95)
TEMPLATE = "{prefix}{prompt}. {words}"


def cases(probe: AestheticConfig, cfg: EvaluateConfig) -> list[Case]:
    """Every prompt, with the prefix, and with the words that are set."""
    prompts = read_prompts(probe, Prompt, FILE)
    return expand(
        (
            Asked(
                each.key,
                probe.words or "plain",
                filled(TEMPLATE, prefix=cfg.prefix, prompt=each.prompt, words=probe.words)
                if probe.words
                else cfg.prefix + each.prompt,
                {"kind": each.kind},
            )
            for each in prompts
        ),
        probe,
        cfg,
    )


def needs(probe: AestheticConfig) -> Needs:
    """A scorer."""
    return Needs(("aesthetic",))


def references(probe: AestheticConfig, cfg: EvaluateConfig) -> list[Reference]:
    """Pictures of the folder, evenly from all of them in order of name."""
    if probe.reference is None:
        return []
    found = read_real(probe.reference, "probes (aesthetic): reference")
    return [Reference(each.name, each.file) for each in evenly(found, probe.reference_limit)]


def score(probe: AestheticConfig, looked: Looked) -> Score:
    """Shift and distance to the real pictures, means, shares by grade, quantiles and histograms."""
    values = values_of(looked.cases, looked.answers, lambda case, answer: score_of(answer))
    real = {key: number for key, answer in looked.reference_answers.items() if (number := score_of(answer)) is not None}
    if not any(values.values()):
        return Score(in_summary=False)
    kinds = dict.fromkeys(str(case.facts["kind"]) for case in looked.cases)
    parts = {EVERYTHING: list(looked.cases)}
    if len(kinds) > 1:
        parts |= {kind: [case for case in looked.cases if case.facts["kind"] == kind] for kind in kinds}
    found = _comparisons(looked, values, real)
    means = Measure(
        "score",
        "Mean score",
        "mean",
        None,
        [
            group(title, asked, values, unit="mean", baseline=looked.baseline, name="aesthetic/score")
            for title, asked in parts.items()
        ],
    )
    shown = {model: list(numbers.values()) for model, numbers in values.items() if numbers}
    everything = {**shown, **({REFERENCE: list(real.values())} if real else {})}
    return Score(
        [*_against(looked, values, found), means, *_grades(looked)],
        tables=[_quantiles(everything), *_chances(values, real)],
        histograms=[_histogram(everything, probe.bins)],
        worst_title="Pictures with the lowest scores",
        worst=worst(
            looked.cases,
            looked.answers,
            {
                model: {key: (-number, f"score {number:.3f}") for key, number in numbers.items()}
                for model, numbers in values.items()
            },
        ),
        facts=_facts(looked, everything, found),
        notes=[]
        if real
        else ["No real pictures were given (`reference`), so there is nothing to say how high scores should be."],
        in_summary=False,
    )


def score_of(answer: Answer) -> float | None:
    """The score; None where no scorer looked."""
    return answer["aesthetic"]["score"] if "aesthetic" in answer else None


def grade_of(answer: Answer) -> str | None:
    """The likeliest grade, the first by name of those alike; None where no scorer looked, or it said none."""
    grades = answer.get("aesthetic", {}).get("grades")
    return min(grades, key=lambda grade: (-grades[grade], grade)) if grades else None


def _scores(looked: Looked, numbers: Mapping[str, float]) -> Scores:
    return Scores.of([(case.item, numbers[case.key]) for case in looked.cases if case.key in numbers])


def _comparisons(
    looked: Looked, values: Mapping[str, Mapping[str, float]], real: Mapping[str, float]
) -> dict[str, Compared]:
    if not real:
        return {}
    theirs = Scores.of(list(real.items()))
    return {
        model: Compared.of(_scores(looked, numbers), theirs, purpose="aesthetic")
        for model, numbers in values.items()
        if numbers
    }


def _against(looked: Looked, values: Mapping[str, Mapping[str, float]], found: Mapping[str, Compared]) -> list[Measure]:
    """Distance and shift of each model, and their change from the baseline where both have the same pictures."""
    if not found:
        return []
    base = found.get(looked.baseline)
    paired = {
        model: each
        for model, each in found.items()
        if base is not None and model != looked.baseline and values[model].keys() == values[looked.baseline].keys()
    }
    measures = []
    for name, title in (("distance", "Distance to the real pictures"), ("shift", "Mean score minus that of real ones")):
        estimates = {
            model: Estimate(getattr(each, name), len(values[model]), getattr(each, f"{name}_interval"))
            for model, each in found.items()
        }
        changes = {
            model: Difference(
                getattr(each, name) - getattr(base, name),
                len(values[model]),
                None
                if getattr(each, f"{name}_interval") is None
                else interval_of(getattr(each, f"{name}_draws") - getattr(base, f"{name}_draws")),
            )
            for model, each in paired.items()
        }
        better: Any = "lower" if name == "distance" else None
        measures.append(Measure(name, title, "mean", better, [Group(EVERYTHING, estimates, changes)]))
    return measures


def _grades(looked: Looked) -> list[Measure]:
    """Shares of pictures by their likeliest grade, the least first."""
    every = [
        *looked.reference_answers.values(),
        *(a for answered in looked.answers.values() for a in answered.values()),
    ]
    seen = {grade for answer in every for grade in answer.get("aesthetic", {}).get("grades", {})}
    if not seen:
        return []
    ordered = [grade for grade in GRADES if grade in seen] + sorted(seen - set(GRADES))

    def holds(grade: str) -> Callable[[Case, Answer], float | None]:
        return lambda case, answer: None if (mine := grade_of(answer)) is None else float(mine == grade)

    groups = [
        group(
            grade,
            looked.cases,
            values_of(looked.cases, looked.answers, holds(grade)),
            unit="share",
            baseline=looked.baseline,
            name="aesthetic/grade",
        )
        for grade in ordered
    ]
    return [Measure("grade", "Pictures by their likeliest grade", "share", None, groups)]


def _quantiles(everything: Mapping[str, Sequence[float]]) -> Table:
    columns = ("pictures", "mean", "deviation", *(f"{each} %" for each in QUANTILES))
    return Table(
        "Scores: the mean, and what so many per cent of the pictures lie below",
        columns,
        {
            name: [f"{len(numbers):,}", *(f"{each:.3f}" for each in _described(numbers).values())]
            for name, numbers in everything.items()
        },
    )


def _described(numbers: Sequence[float]) -> dict[str, float]:
    quantiles = np.quantile(numbers, [each / 100 for each in QUANTILES])
    return {
        "mean": float(np.mean(numbers)),
        "deviation": float(np.std(numbers)),
        **{f"q{each}": float(value) for each, value in zip(QUANTILES, quantiles, strict=True)},
    }


def _chances(values: Mapping[str, Mapping[str, float]], real: Mapping[str, float]) -> list[Table]:
    """What the distance would be if the model's pictures were real ones."""
    if len(real) < 2:
        return []
    theirs = Scores.of(list(real.items()))
    rows = {}
    for count in sorted({len(numbers) for numbers in values.values() if numbers}):
        mean, interval = chance(theirs, count, purpose=f"aesthetic/chance/{count}")
        rows[f"{count:,} real pictures"] = [f"{mean:.3f}", f"{interval.low:.3f} to {interval.high:.3f}"]
    return [Table("Distance by chance alone, against all real pictures", ("mean", "95 % range"), rows)]


def _histogram(everything: Mapping[str, Sequence[float]], bins: int) -> Histogram:
    every = [number for numbers in everything.values() for number in numbers]
    low, high = min(every), max(every)
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    counts = {name: np.histogram(numbers, edges)[0].tolist() for name, numbers in everything.items()}
    return Histogram("Scores", [float(f"{edge:.6g}") for edge in edges], counts)


def _facts(looked: Looked, everything: Mapping[str, Sequence[float]], found: Mapping[str, Compared]) -> dict[str, Any]:
    grades = [grade for answer in looked.reference_answers.values() if (grade := grade_of(answer)) is not None]
    return {
        "scores": {name: {"pictures": len(numbers), **_described(numbers)} for name, numbers in everything.items()},
        "reference_grades": {grade: grades.count(grade) for grade in sorted(set(grades))},
        "against_reference": {model: {"shift": each.shift, "distance": each.distance} for model, each in found.items()},
    }
