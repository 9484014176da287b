"""DPG-Bench's totals by its published rules, from a vision model's answers, and the lines that its script prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from animetune.evaluate.adherence.compat import Answered, CompatQuestion, Totals, totals
from animetune.evaluate.adherence.marks import SCORER, said_yes
from animetune.evaluate.cases import Answer, Case


def published_totals(cases: Sequence[Case], answered: Mapping[str, Answer]) -> Totals:
    """Of one model's pictures, in the order of the cases.

    The quarters of a grid are the crops of one picture there; without a grid, the seeds of a prompt stand for them.
    What was answered with neither yes nor no is a no.
    """
    return totals(_pictures(cases, answered))


def printed(found: Totals) -> list[str]:
    """What the script writes last into its file of results, but for paths."""
    return [
        "L1 category scores:",
        *(f"\t{name}: {value}" for name, value in found.broad.items()),
        "L2 category scores:",
        *(f"\t{name}: {value}" for name, value in found.detailed.items()),
        f"DPG-Bench score: {found.total}",
    ]


def _pictures(
    cases: Sequence[Case], answered: Mapping[str, Answer]
) -> Iterator[tuple[str, tuple[CompatQuestion, ...], list[Answered]]]:
    by_picture: dict[tuple[str, ...], list[Case]] = {}
    for case in cases:
        if case.facts["published"] is not None and SCORER in answered.get(case.key, {}):
            is_grid = len(case.facts["parts"]) > 1
            apart = (str(case.request.seed),) if is_grid else ()
            by_picture.setdefault((case.item, case.request.size.name, *apart), []).append(case)
    for group in by_picture.values():
        facts = group[0].facts
        questions = tuple(
            CompatQuestion(each["id"], each["text"], tuple(each["parents"]), each["proposition"])
            for each in facts["published"]
        )
        crops: list[Answered] = [
            {question.id: said_yes(answered[case.key], part, question.id) is True for question in questions}
            for case in group
            for part in facts["parts"]
        ]
        yield facts["item"], questions, crops
