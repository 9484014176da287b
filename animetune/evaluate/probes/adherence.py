"""Adherence: how much of a prompt its picture follows, by questions to a vision model that depend on each other."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from animetune.errors import ConfigError
from animetune.evaluate.adherence import summary
from animetune.evaluate.adherence.asked import asked_items
from animetune.evaluate.adherence.consistency import characters, has_all, is_trait, kept
from animetune.evaluate.adherence.marks import SCORER, Asked, Mark, Marks, lines, marks_of, value
from animetune.evaluate.cases import Asked as AskedPrompt
from animetune.evaluate.cases import Case, expand
from animetune.evaluate.config import AdherenceConfig, EvaluateConfig
from animetune.evaluate.measures import Group, Measure, Values, group
from animetune.evaluate.probes.shape import Looked, Needs, Reference, Score, worst

TITLE = "How well prompts are followed"
ABOUT = (
    "Each prompt has questions that a picture which follows it answers with yes: is there a girl, is her hair silver, "
    "does she hold the umbrella over the boy. A vision model answers them. A question scores 0 where one that it "
    "depends on does: no girl, no silver hair. A picture scores the mean of its questions, a model the mean over "
    "pictures. Intervals resample prompts."
)
AXES = {
    "character_consistency": "Character consistency",
    "interaction_characters": "Interaction of characters",
    "interaction_scene": "Interaction with the scene",
    "overall": "Overall consistency",
    "count": "Count",
    "gender": "Gender",
    "hair": "Hair",
    "eyes": "Eyes",
    "clothes": "Clothes",
    "pose": "Pose",
    "background": "Background",
}
"""Titles of the axes of `comics`, the first four as DashAnime XL names them; other sets have their own."""
MOST_NAMED = 4
"""Questions that the note of a picture names."""


def cases(probe: AdherenceConfig, cfg: EvaluateConfig) -> list[Case]:
    """Every prompt of the set. ConfigError for mistakes in its files, and where grids are asked of models that draw."""
    draws = [name for name, model in cfg.models.items() if model.pictures is None]
    if probe.crop is not None and draws:
        raise ConfigError(
            f"probes: adherence: crop: {probe.crop} is for `pictures` that are grids, and {', '.join(draws)} would "
            "draw single ones; leave out `crop`"
        )
    arm, prefix = ("prefix", cfg.prefix) if probe.prefixed and cfg.prefix else ("plain", "")
    return expand(
        (AskedPrompt(each.key, arm, prefix + each.prompt, each.facts) for each in asked_items(probe)), probe, cfg
    )


def needs(probe: AdherenceConfig) -> Needs:
    """A vision model."""
    return Needs((SCORER,))


def references(probe: AdherenceConfig, cfg: EvaluateConfig) -> Sequence[Reference]:
    """None."""
    return ()


def score(probe: AdherenceConfig, looked: Looked) -> Score:
    """Shares of questions answered yes: of all, by axis, and of each character in all its prompts."""
    cases = looked.cases
    marks = marks_of(cases, looked.answers, probe.unanswered)
    published = summary.published(cases, looked.answers) if probe.compat else {}
    controls = summary.controls_of(cases, looked.answers)
    cast = characters(cases)
    by_character = {
        model: {name: each for name, mine in cast.items() if (each := kept(name, mine, found)) is not None}
        for model, found in marks.items()
    }
    return Score(
        measures=_measures(looked, marks, cast),
        tables=[*summary.cast_tables(by_character), *summary.published_tables(published)],
        worst_title="Pictures that follow their prompts the least",
        worst=worst(cases, looked.answers, {model: _severity(found) for model, found in marks.items()}),
        facts={
            "totals": {model: summary.totals_of(cases, found) for model, found in marks.items()},
            "by_kind": {model: summary.by_kind(found) for model, found in marks.items()},
            "characters": {
                model: {name: summary.kept_json(each) for name, each in found.items()}
                for model, found in by_character.items()
            },
            "published": published,
            "controls": controls,
        },
        notes=summary.notes(probe, cases, marks, controls),
        lines={"adherence": [line for model, found in marks.items() for line in lines(model, cases, found)]},
    )


def _measures(looked: Looked, marks: Marks, cast: Mapping[str, Sequence[Case]]) -> list[Measure]:
    axes = dict.fromkeys(question["category"] for case in looked.cases for question in case.facts["graph"])
    ordered = [*(axis for axis in AXES if axis in axes), *(axis for axis in axes if axis not in AXES)]
    wanted_by: dict[str, Callable[[Asked], bool]] = {"all questions": _any}
    wanted_by |= {AXES.get(axis, axis): functools.partial(_is_of, axis) for axis in ordered}
    groups = [
        _mean_group(title, looked.cases, _values(marks, wanted), looked.baseline, "adherence/score")
        for title, wanted in wanted_by.items()
    ]
    measures = [Measure("score", "Share of questions that are met, of a picture", "mean", "higher", groups)]
    if cast:
        measures += _cast_measures(looked.baseline, marks, cast)
    return measures


def _cast_measures(baseline: str, marks: Marks, cast: Mapping[str, Sequence[Case]]) -> list[Measure]:
    """Of characters that several prompts share: pictures with all of their traits, and traits by character."""
    pictures = list({case.key: case for mine in cast.values() for case in mine}.values())
    complete = {model: _complete(cast, found) for model, found in marks.items()}
    title, name = "all characters", "adherence/complete"
    every = group(title, pictures, complete, unit="share", baseline=baseline, name=name)
    by_character = [
        _mean_group(subject, mine, _values(marks, functools.partial(is_trait, subject)), baseline, "adherence/traits")
        for subject, mine in cast.items()
    ]
    return [
        Measure("complete", "Pictures that show all traits of their character", "share", "higher", [every]),
        Measure("traits", "Share of a character's traits that are there", "mean", "higher", by_character),
    ]


def _mean_group(title: str, cases: Sequence[Case], values: Values, baseline: str, name: str) -> Group:
    return group(title, cases, values, unit="mean", baseline=baseline, name=name)


def _any(question: Asked) -> bool:
    return True


def _is_of(axis: str, question: Asked) -> bool:
    return question.category == axis


def _values(marks: Marks, wanted: Callable[[Asked], bool]) -> Values:
    found = {model: {key: value(parts, wanted) for key, parts in by_key.items()} for model, by_key in marks.items()}
    return {
        model: {key: number for key, number in by_key.items() if number is not None} for model, by_key in found.items()
    }


def _complete(cast: Mapping[str, Sequence[Case]], marks: Mapping[str, Sequence[Mark]]) -> dict[str, float]:
    """1 for pictures that show all traits of all their characters, in all their parts."""
    found: dict[str, list[bool]] = {}
    for subject, mine in cast.items():
        for case in mine:
            known = [each for mark in marks.get(case.key, ()) if (each := has_all(subject, mark)) is not None]
            found.setdefault(case.key, []).extend(known)
    return {key: float(all(known)) for key, known in found.items() if known}


def _severity(marks: Mapping[str, Sequence[Mark]]) -> dict[str, tuple[float, str]]:
    found = {}
    for key, parts in marks.items():
        number = value(parts)
        if number is not None and number < 1:
            found[key] = (1 - number, _note(parts))
    return found


def _note(parts: Sequence[Mark]) -> str:
    """The questions that were answered no themselves, and how many fail with them."""
    failed = dict.fromkeys(
        question.text
        for mark in parts
        for question in mark.questions
        if mark.scores[question.id] == 0 and not mark.is_zeroed(question)
    )
    with_them = sum(mark.is_zeroed(question) for mark in parts for question in mark.questions)
    more = len(failed) - MOST_NAMED
    text = "no: " + " ".join(list(failed)[:MOST_NAMED]) + (f" (and {more} more)" if more > 0 else "")
    return f"{text}; {with_them} that depend{'' if with_them > 1 else 's'} on these" if with_them else text
