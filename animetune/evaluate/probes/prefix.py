"""Prefix: how often a picture is a photo, realistic or 3D in place of a drawing, with and without the prefix."""

from __future__ import annotations

from animetune.evaluate.cases import Answer, Asked, Case, expand
from animetune.evaluate.config import EvaluateConfig, PrefixConfig
from animetune.evaluate.measures import Measure, contrast, group, values_of
from animetune.evaluate.probes.leak import ARMS
from animetune.evaluate.probes.shape import Looked, Needs, Score, no_references, worst
from animetune.evaluate.prompt_files import Prompt, read_prompts

TITLE = "Photos in place of drawings"
ABOUT = (
    "The same prompts with and without the prefix. A picture is realistic when the tagger finds realistic, "
    "photorealistic, photo_(medium), 3d or another tag of that kind. Taggers learned from drawings and call many "
    "photos nothing of the kind, so the share is a lower bound: read the difference, and look at the pictures."
)
FILE = "contents.jsonl"
REALISTIC = (
    "realistic",
    "photorealistic",
    "photo_(medium)",
    "3d",
    "cosplay_photo",
    "real_life",
    "real_life_insert",
    "blender_(medium)",
    "unreal_engine",
)
"""Which of them a tagger knows differs: WD's lists have the general ones alone."""

references = no_references


def cases(probe: PrefixConfig, cfg: EvaluateConfig) -> list[Case]:
    """Every prompt plain and with the prefix."""
    prompts = read_prompts(probe, Prompt, FILE)
    return expand(
        (
            Asked(each.key, arm, (cfg.prefix if arm == "prefix" else "") + each.prompt, {"kind": each.kind})
            for arm in ARMS
            for each in prompts
        ),
        probe,
        cfg,
    )


def needs(probe: PrefixConfig) -> Needs:
    """One of the tags of what is no drawing."""
    return Needs(("tags",), (REALISTIC,))


def score(probe: PrefixConfig, looked: Looked) -> Score:
    """Share of realistic pictures in both arms, and what the prefix changes."""
    cases, answers, baseline = looked.cases, looked.answers, looked.baseline
    values = values_of(cases, answers, lambda case, answer: is_realistic(answer, probe.threshold))
    arms = {arm: [case for case in cases if case.arm == arm] for arm in ARMS}
    measure = Measure(
        "realistic",
        "Realistic, a photo or 3D",
        "share",
        "lower",
        [
            group(ARMS[arm], asked, values, unit="share", baseline=baseline, name="prefix/realistic")
            for arm, asked in arms.items()
        ],
        [
            contrast(
                "what the prefix changes",
                arms["plain"],
                arms["prefix"],
                values,
                unit="share",
                name="prefix/realistic",
            )
        ],
    )
    severity = {
        model: {
            case.key: _severity(answered[case.key], probe.threshold)
            for case in cases
            if values[model].get(case.key) == 1
        }
        for model, answered in answers.items()
    }
    return Score(
        [measure],
        worst_title="Pictures that are no drawings, the surest first",
        worst=worst(cases, answers, severity),
    )


def is_realistic(answer: Answer, threshold: float) -> float | None:
    """1 for a picture with one of the tags, 0 without; None where no tagger looked."""
    if "tags" not in answer:
        return None
    return float(any(answer["tags"]["tags"].get(tag, 0) >= threshold for tag in REALISTIC))


def _severity(answer: Answer, threshold: float) -> tuple[float, str]:
    tags = answer["tags"]["tags"]
    tag = max(REALISTIC, key=lambda name: tags.get(name, 0))
    return tags[tag], f"{tag} {tags[tag]:.2f}"
