"""What the probe says beside its measures: totals, counts by kind of question, characters, notes, and DPG-Bench's own
totals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from animetune.evaluate.adherence.consistency import Kept, mean_agreement
from animetune.evaluate.adherence.marks import SCORER, Mark, Marks, said_yes
from animetune.evaluate.adherence.printed import printed, published_totals
from animetune.evaluate.adherence.scoring import mean, total
from animetune.evaluate.cases import Answers, Case
from animetune.evaluate.config.adherence import AdherenceConfig
from animetune.evaluate.probes.shape import Table


def totals_of(cases: Sequence[Case], marks: Mapping[str, Sequence[Mark]]) -> dict[str, Any]:
    """Mean over prompts of the mean over their pictures, and of how much it is."""
    every = [mark for parts in marks.values() for mark in parts]
    scored = [(case.item, mark.mean()) for case in cases for mark in marks.get(case.key, ())]
    return {
        "score": total(scored),
        "prompts": len({item for item, number in scored if number is not None}),
        "pictures": sum(number is not None for _, number in scored),
        "questions": sum(len(mark.questions) for mark in every),
        "unanswered": sum(answer is None for mark in every for answer in mark.answers.values()),
        "zeroed": sum(mark.is_zeroed(question) for mark in every for question in mark.questions),
    }


def by_kind(marks: Mapping[str, Sequence[Mark]]) -> dict[str, dict[str, int]]:
    """`category/subcategory` -> how many questions were asked, answered yes, and met."""
    counts: dict[str, dict[str, int]] = {}
    for parts in marks.values():
        for mark in parts:
            for question in mark.questions:
                name = f"{question.category}/{question.subcategory}"
                count = counts.setdefault(name, {"asked": 0, "yes": 0, "met": 0})
                count["asked"] += 1
                count["yes"] += mark.answers[question.id] is True
                count["met"] += mark.scores[question.id] == 1
    return dict(sorted(counts.items()))


def kept_json(each: Kept) -> dict[str, Any]:
    """For results.json."""
    traits = {text: {"shown": shown, "known": known} for text, (shown, known) in each.traits.items()}
    numbers = {"shown": each.shown, "complete": each.complete, "agreement": each.agreement}
    return {"pictures": each.pictures, **numbers, "traits": traits}


def cast_tables(by_character: Mapping[str, Mapping[str, Kept]]) -> list[Table]:
    """The same characters in several prompts, by model; none where no character is shared."""
    rows = {}
    for model, found in by_character.items():
        agreed, interval = mean_agreement(found, f"adherence/agreement/{model}")
        spread = "–" if interval is None else f"{_percent(interval.low)} to {_percent(interval.high)}"
        numbers = [mean(each.shown for each in found.values()), mean(each.complete for each in found.values()), agreed]
        if found:
            rows[model] = [str(len(found)), *map(_percent, numbers), spread]
    columns = ["characters", "traits shown", "pictures with all traits", "pairs of pictures that agree", "95 %"]
    return [Table("The same character in all its prompts, mean over characters", columns, rows)] if rows else []


def published(cases: Sequence[Case], answers: Answers) -> dict[str, dict[str, Any]]:
    """Model -> the totals by the published script's rules; `printed` has all their digits."""
    found = {}
    for model, answered in answers.items():
        if any(SCORER in answer for answer in answered.values()):
            each = published_totals(cases, answered)
            found[model] = {
                "score": each.total if each.scored else None,
                "scored": each.scored,
                "failed": each.failed,
                "categories": each.broad,
                "printed": printed(each),
            }
    return found


def published_tables(by_model: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """The published script's total and its first level of categories, in per cent."""
    axes = list(dict.fromkeys(axis for found in by_model.values() for axis in found["categories"]))
    rows = {
        model: [
            "–" if found["score"] is None else f"{found['score']:.2f}",
            str(found["scored"]),
            str(len(found["failed"])),
            *(f"{found['categories'][axis]:.2f}" if axis in found["categories"] else "–" for axis in axes),
        ]
        for model, found in by_model.items()
    }
    return [Table("By DPG-Bench's published script", ["score", "pictures", "failed", *axes], rows)] if rows else []


def controls_of(cases: Sequence[Case], answers: Answers) -> dict[str, dict[str, int]]:
    """Model -> how many questions about things of other prompts were answered yes or no, and how many yes."""
    found = {}
    for model, answered in answers.items():
        said = [
            yes
            for case in cases
            if SCORER in answered.get(case.key, {})
            for part in case.facts["parts"]
            for each in case.facts["controls"]
            if (yes := said_yes(answered[case.key], part, each["id"])) is not None
        ]
        if said:
            found[model] = {"answered": len(said), "yes": sum(said)}
    return found


def notes(
    probe: AdherenceConfig, cases: Sequence[Case], marks: Marks, controls: Mapping[str, Mapping[str, int]]
) -> list[str]:
    """What is in no number, or counts as something else, and how readily the vision model says yes."""
    found = []
    left_out = max((case.facts["left_out"] for case in cases), default=0)
    if left_out:
        found.append(f"{_counted(left_out, 'prompt')} left out for mistakes in their questions.")
    for model, by_key in marks.items():
        numbers = totals_of(cases, by_key)
        if numbers["unanswered"]:
            meaning = "count as no" if probe.unanswered == "no" else "are in no number"
            found.append(
                f"{model}: {numbers['unanswered']} of {numbers['questions']} questions have neither yes nor no for an "
                f"answer, and {meaning}."
            )
        silent = sum(mark.mean() is None for parts in by_key.values() for mark in parts)
        if silent:
            found.append(f"{model}: {_counted(silent, 'picture')} without any answer, and without a score.")
    found += [
        f"{model}: {each['yes']} of {each['answered']} questions about things of other prompts were answered yes, "
        f"{_percent(each['yes'] / each['answered'])}; near 0 where the vision model can be relied on."
        for model, each in controls.items()
    ]
    return found


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _counted(count: int, noun: str) -> str:
    return f"1 {noun} was" if count == 1 else f"{count:,} {noun}s were"
