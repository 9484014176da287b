"""Leak: prompts without a person, and how often one appears (DashAnime XL's own probe)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from animetune.evaluate.cases import Answer, Asked, Case, expand
from animetune.evaluate.config import EvaluateConfig, LeakConfig
from animetune.evaluate.measures import Measure, contrast, group, values_of
from animetune.evaluate.probes.shape import Looked, Needs, Score, no_references, worst
from animetune.evaluate.prompt_files import Prompt, read_prompts

TITLE = "People where none was asked for"
ABOUT = (
    "Prompts that name no person: objects, animals, food, vehicles, textures, scenery. A person is there when the "
    "tagger finds a tag that counts people (1girl, 2boys, multiple_girls, crowd ...), or one that is used of people "
    "alone (solo, male_focus ...) without no_humans."
)
FILE = "leak.jsonl"

_COUNTS = re.compile(r"(\d+|6\+)(girl|boy|other)s?|multiple_(girls|boys|others)")
SURE = frozenset({"crowd", "couple", "people", "everyone"})
"""Tags of people that are no counts."""
WITHOUT_NO_HUMANS = frozenset({"solo", "solo_focus", "male_focus", "female_focus"})
"""Also said of an animal that is alone."""
NO_HUMANS = "no_humans"
ARMS = {"plain": "without the prefix", "prefix": "with the prefix"}

references = no_references


def cases(probe: LeakConfig, cfg: EvaluateConfig) -> list[Case]:
    """Every prompt in every arm."""
    prompts = read_prompts(probe, Prompt, FILE)
    return expand(
        (
            Asked(each.key, arm, (cfg.prefix if arm == "prefix" else "") + each.prompt, {"kind": each.kind})
            for arm in probe.arms
            for each in prompts
        ),
        probe,
        cfg,
    )


def needs(probe: LeakConfig) -> Needs:
    """The tags of one person of either sex; all others are taken where the list has them."""
    return Needs(("tags",), (("1girl",), ("1boy",)))


def score(probe: LeakConfig, looked: Looked) -> Score:
    """Share of pictures with a person, by arm and by kind of prompt."""
    cases, answers, baseline = looked.cases, looked.answers, looked.baseline
    values = values_of(cases, answers, lambda case, answer: has_person(answer, probe.threshold))
    arms = {arm: [case for case in cases if case.arm == arm] for arm in probe.arms}
    kinds = list(dict.fromkeys(str(case.facts["kind"]) for case in cases))
    groups = [(ARMS[arm], asked) for arm, asked in arms.items()]
    for arm, asked in arms.items():
        groups += [(f"{kind}, {arm}", [case for case in asked if case.facts["kind"] == kind]) for kind in kinds]
    measure = Measure(
        "person",
        "A person appears",
        "share",
        "lower",
        [group(title, asked, values, unit="share", baseline=baseline, name="leak/person") for title, asked in groups],
        [contrast("what the prefix changes", arms["plain"], arms["prefix"], values, unit="share", name="leak/person")]
        if len(arms) == 2
        else [],
    )
    unpeopled = values_of(
        cases,
        answers,
        lambda case, answer: float(_tags(answer).get(NO_HUMANS, 0) >= probe.threshold) if "tags" in answer else None,
    )
    tagged = Measure(
        NO_HUMANS,
        "Tagged no_humans",
        "share",
        "higher",
        [
            group(ARMS[arm], asked, unpeopled, unit="share", baseline=baseline, name="leak/no_humans")
            for arm, asked in arms.items()
        ],
    )
    severity = {
        model: {
            case.key: person_tag(answered[case.key], probe.threshold)
            for case in cases
            if values[model].get(case.key) == 1
        }
        for model, answered in answers.items()
    }
    shown = {
        model: {key: (value, f"{tag} {value:.2f}") for key, (tag, value) in found.items()}
        for model, found in severity.items()
    }
    contradicted = {
        model: sum(
            values[model].get(case.key) == 1 and _tags(answered[case.key]).get(NO_HUMANS, 0) >= probe.threshold
            for case in cases
        )
        for model, answered in answers.items()
    }
    notes = [
        f"{model}: {count} of the pictures with a person are tagged {NO_HUMANS}, too; look at them."
        for model, count in contradicted.items()
        if count
    ]
    return Score(
        [measure, tagged],
        worst_title="Pictures with a person, the surest first",
        worst=worst(cases, answers, shown),
        facts={"tagged_no_humans_too": contradicted},
        notes=notes,
    )


def has_person(answer: Answer, threshold: float) -> float | None:
    """1 for a picture with a person, 0 without; None where no tagger looked."""
    if "tags" not in answer:
        return None
    return float(bool(person_tag(answer, threshold)[0]))


def person_tag(answer: Answer, threshold: float) -> tuple[str, float]:
    """The likeliest tag by which a person is there, and how likely it is; ("", 0) without."""
    tags = {tag: value for tag, value in _tags(answer).items() if value >= threshold}
    found = {tag: value for tag, value in tags.items() if tag in SURE or _COUNTS.fullmatch(tag)}
    if NO_HUMANS not in tags:
        found |= {tag: value for tag, value in tags.items() if tag in WITHOUT_NO_HUMANS}
    if not found:
        return "", 0.0
    return max(found.items(), key=lambda item: (item[1], item[0]))


def _tags(answer: Answer) -> Mapping[str, float]:
    return dict(answer["tags"]["tags"]) if "tags" in answer else {}
