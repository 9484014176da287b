"""Quality words: what each does to the same contents, as a grid of pictures and as the scorer's mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from animetune.evaluate.cases import Answer, Asked, Case, expand, filled
from animetune.evaluate.config import EvaluateConfig, QualityConfig
from animetune.evaluate.intervals import bootstrap, spearman
from animetune.evaluate.measures import Measure, Values, contrast, group, values_of
from animetune.evaluate.probes.shape import Grid, Looked, Needs, Score, Table, no_references
from animetune.evaluate.prompt_files import Prompt, read_prompts

TITLE = "Quality words"
ABOUT = (
    "The same contents without any word and with each word of the quality and of the aesthetic ladder, seeds equal. "
    "The order is Spearman's correlation of a word's place with its mean score, 1 for the intended order. An aesthetic "
    "scorer has a taste of its own, and often the one that the training labels came from: believe the pictures more."
)
FILE = "people.jsonl"
NONE = "no word"
LADDERS = ("quality", "aesthetic")

references = no_references


def cases(probe: QualityConfig, cfg: EvaluateConfig) -> list[Case]:
    """Every prompt without a word and with each."""
    prompts = read_prompts(probe, Prompt, FILE)
    return expand(
        (
            Asked(
                each.key,
                arm,
                filled(probe.template, prefix=cfg.prefix, prompt=each.prompt, words=word),
                {"prompt": each.prompt},
            )
            for arm, word in _arms(probe)
            for each in prompts
        ),
        probe,
        cfg,
    )


def needs(probe: QualityConfig) -> Needs:
    """A scorer; the grids need nothing."""
    return Needs(("aesthetic",))


def score(probe: QualityConfig, looked: Looked) -> Score:
    """Mean score by word, the order of each ladder, and its grid."""
    cases, answers, baseline = looked.cases, looked.answers, looked.baseline
    values = values_of(cases, answers, _score_of)
    arms = {arm: [case for case in cases if case.arm == arm] for arm, _ in _arms(probe)}
    measures = []
    orders: dict[str, Any] = {}
    for ladder in LADDERS:
        words = getattr(probe, ladder)
        if not words:
            continue
        rungs = {word: arms[_arm(ladder, word)] for word in words}
        measures.append(
            Measure(
                ladder,
                f"Score by {ladder} word",
                "mean",
                None,
                [
                    group(title, asked, values, unit="mean", baseline=baseline, name=f"quality/{ladder}")
                    for title, asked in {NONE: arms[NONE], **rungs}.items()
                ],
                [
                    contrast(
                        f"{words[0]}, minus {words[-1]}",
                        rungs[words[-1]],
                        rungs[words[0]],
                        values,
                        unit="mean",
                        name=f"quality/{ladder}",
                    )
                ],
            )
        )
        orders[ladder] = {model: order(ladder, list(rungs.values()), values, model) for model in values}
    return Score(
        measures,
        tables=_tables(orders),
        grids=_grids(probe, cases, arms),
        facts={"order": orders},
        only_contrasts=True,  # a score by itself is the classifier's taste; what a word does to it is the claim
    )


def order(ladder: str, rungs: Sequence[Sequence[Case]], values: Values, model: str) -> dict[str, Any] | None:
    """Spearman's correlation of the intended order with scores: `of_means`, and the mean over each prompt, seed and
    size on its own (`each`, with `interval` and `n`). `rungs` are the cases by word, from the best; None: no scores."""
    numbers = values[model]
    ranks = [-place for place in range(len(rungs))]
    scored = [[numbers[case.key] for case in rung if case.key in numbers] for rung in rungs]
    if not all(scored):
        return None
    of_means = spearman(ranks, [math.fsum(rung) / len(rung) for rung in scored])
    series: dict[tuple[str, int, str], dict[int, float]] = {}
    for place, rung in enumerate(rungs):
        for case in rung:
            if case.key in numbers:
                series.setdefault(case.pair, {})[place] = numbers[case.key]
    each: dict[str, list[float]] = {}
    for pair, by_place in series.items():
        if len(by_place) == len(rungs):
            found = spearman(ranks, [by_place[place] for place in range(len(rungs))])
            each.setdefault(pair[0], []).append(found or 0.0)
    every = [value for found_values in each.values() for value in found_values]
    interval = bootstrap(each, purpose=f"quality/order/{ladder}/{model}")
    return {
        "of_means": of_means,
        "each": math.fsum(every) / len(every) if every else None,
        "interval": None if interval is None else list(interval),
        "n": len(every),
    }


def _tables(orders: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    columns = ("of the means", "of each prompt and seed, mean", "95 % interval", "n")
    return [
        Table(
            f"Order of the {ladder} words: Spearman's correlation with the intended one",
            columns,
            {model: _order_texts(found) for model, found in by_model.items() if found is not None},
        )
        for ladder, by_model in orders.items()
        if any(found is not None for found in by_model.values())
    ]


def _order_texts(found: Mapping[str, Any]) -> list[str]:
    interval = "–" if found["interval"] is None else "{:.2f} to {:.2f}".format(*found["interval"])
    numbers = ["–" if found[name] is None else f"{found[name]:.2f}" for name in ("of_means", "each")]
    return [*numbers, interval, str(found["n"])]


def _score_of(case: Case, answer: Answer) -> float | None:
    return answer["aesthetic"]["score"] if "aesthetic" in answer else None


def _arms(probe: QualityConfig) -> list[tuple[str, str]]:
    """(arm, word) of everything asked; the arm tells a word of one ladder from the same word of the other."""
    return [(NONE, ""), *((_arm(ladder, word), word) for ladder in LADDERS for word in getattr(probe, ladder))]


def _arm(ladder: str, word: str) -> str:
    return f"{ladder}: {word}"


def _grids(probe: QualityConfig, cases: Sequence[Case], arms: Mapping[str, Sequence[Case]]) -> list[Grid]:
    """For each ladder the first prompts, with their first seed and size."""
    if not cases:
        return []
    first = cases[0].request
    found = []
    for ladder in LADDERS:
        words = getattr(probe, ladder)
        columns = {word: arms[_arm(ladder, word)] for word in words} | {NONE: arms[NONE]}
        shown = {
            title: [case for case in asked if case.request.seed == first.seed and case.request.size == first.size][
                : probe.grid_rows
            ]
            for title, asked in columns.items()
        }
        if words:
            rows = [str(case.facts["prompt"]) for case in shown[NONE]]
            keys = [[shown[title][place].key for title in columns] for place in range(len(rows))]
            found.append(Grid(f"quality-{ladder}", f"{ladder.capitalize()} words", rows, list(columns), keys))
    return found
