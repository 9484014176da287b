"""Lengths: prompts of one content in three lengths, and how much of what all of them name is to be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from animetune.evaluate.cases import Answer, Asked, Case, expand
from animetune.evaluate.config import EvaluateConfig, LengthsConfig
from animetune.evaluate.measures import Measure, contrast, group, values_of
from animetune.evaluate.probes.shape import Looked, Needs, Score, no_references, worst
from animetune.evaluate.prompt_files import Content, read_prompts

TITLE = "Short prompts against long ones"
ABOUT = (
    "One content as a sentence, in more than 75 tokens and in more than 150. Counted is what all three name: the share "
    "of those tags that the tagger finds in the picture (recall), averaged over pictures. What a longer prompt adds is "
    "not counted."
)
FILE = "lengths.jsonl"
ARMS = {"short": "short", "long": "over 75 tokens", "longer": "over 150 tokens"}

references = no_references


def cases(probe: LengthsConfig, cfg: EvaluateConfig) -> list[Case]:
    """Every content in every length that it has, with the prefix."""
    contents = read_prompts(probe, Content, FILE)
    return expand(
        (
            Asked(each.key, arm, cfg.prefix + text, {"tags": list(each.tags)})
            for arm in ARMS
            for each in contents
            if (text := getattr(each, arm)) is not None
        ),
        probe,
        cfg,
    )


def needs(probe: LengthsConfig) -> Needs:
    """Every tag that the prompts name."""
    named = [tag for content in read_prompts(probe, Content, FILE) for tag in content.tags]
    return Needs(("tags",), tuple((tag,) for tag in dict.fromkeys(named)))


def score(probe: LengthsConfig, looked: Looked) -> Score:
    """Mean recall by length, and what more length changes."""
    cases, answers, baseline = looked.cases, looked.answers, looked.baseline
    values = values_of(cases, answers, lambda case, answer: recall(case, answer, probe.threshold))
    arms = {arm: [case for case in cases if case.arm == arm] for arm in ARMS}
    measure = Measure(
        "recall",
        "Share of the named things that are there",
        "mean",
        "higher",
        [
            group(ARMS[arm], asked, values, unit="mean", baseline=baseline, name="lengths/recall")
            for arm, asked in arms.items()
            if asked
        ],
        [
            contrast(f"{ARMS[arm]}, minus short", arms["short"], arms[arm], values, unit="mean", name="lengths/recall")
            for arm in ("long", "longer")
            if arms[arm]
        ],
    )
    severity = {
        model: {
            case.key: (1 - found[case.key], "missing: " + ", ".join(missing(case, answers[model][case.key], probe)))
            for case in cases
            if found.get(case.key, 1) < 1
        }
        for model, found in values.items()
    }
    by_tag = {model: _recall_by_tag(cases, answers[model], probe.threshold) for model in answers}
    return Score(
        [measure],
        worst_title="Pictures that lack the most",
        worst=worst(cases, answers, severity),
        facts={"recall_by_tag": by_tag},
    )


def recall(case: Case, answer: Answer, threshold: float) -> float | None:
    """Share of the named tags that the tagger finds; None where no tagger looked."""
    if "tags" not in answer:
        return None
    named = case.facts["tags"]
    return sum(answer["tags"]["tags"].get(tag, 0) >= threshold for tag in named) / len(named)


def missing(case: Case, answer: Answer, probe: LengthsConfig) -> list[str]:
    """The named tags that the tagger does not find."""
    found = answer["tags"]["tags"]
    return [tag for tag in case.facts["tags"] if found.get(tag, 0) < probe.threshold]


def _recall_by_tag(cases: Sequence[Case], answers: Mapping[str, Answer], threshold: float) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for case in cases:
        if "tags" not in answers.get(case.key, {}):
            continue
        for tag in case.facts["tags"]:
            count = counts.setdefault(tag, {"asked": 0, "found": 0})
            count["asked"] += 1
            count["found"] += answers[case.key]["tags"]["tags"].get(tag, 0) >= threshold
    return counts
