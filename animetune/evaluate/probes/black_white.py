"""Black and white: how dark and how bright pictures become (what zero terminal SNR is for, Lin et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from animetune.evaluate.cases import Answer, Asked, Case, expand
from animetune.evaluate.config import BlackWhiteConfig, EvaluateConfig
from animetune.evaluate.measures import Measure, group, values_of
from animetune.evaluate.probes.shape import Looked, Needs, Score, Table, no_references, worst
from animetune.evaluate.prompt_files import Shade, read_prompts

TITLE = "Black and white"
ABOUT = (
    "Prompts for a black or a white picture. A model that was trained without zero terminal SNR cannot leave medium "
    "brightness: both become grey. Luminance is the mean of the picture, 0 black to 1 white (luma of BT.709); the "
    "range is what lies between its darkest and brightest hundredth. No model is needed to measure it."
)
FILE = "black_white.jsonl"
ASKED = {"dark": "asked dark", "bright": "asked bright"}

references = no_references


def cases(probe: BlackWhiteConfig, cfg: EvaluateConfig) -> list[Case]:
    """Every prompt, with the prefix."""
    prompts = read_prompts(probe, Shade, FILE)
    return expand(
        (Asked(each.key, each.asked, cfg.prefix + each.prompt, {"asked": each.asked}) for each in prompts), probe, cfg
    )


def needs(probe: BlackWhiteConfig) -> Needs:
    """Pixels."""
    return Needs(("luminance",))


def score(probe: BlackWhiteConfig, looked: Looked) -> Score:
    """Mean luminance and range by what was asked, and the share of pixels that are black or white."""
    cases, answers, baseline = looked.cases, looked.answers, looked.baseline
    arms = {arm: [case for case in cases if case.arm == arm] for arm in ASKED}
    arms = {arm: asked for arm, asked in arms.items() if asked}
    means = values_of(cases, answers, lambda case, answer: _number(answer, "mean"))
    ranges = values_of(cases, answers, lambda case, answer: _range(answer))
    flat = values_of(cases, answers, lambda case, answer: _number(answer, "black" if case.arm == "dark" else "white"))
    measures = [
        Measure(
            name,
            title,
            "mean",
            None if name != "flat" else "higher",
            [
                group(ASKED[arm], asked, values, unit="mean", baseline=baseline, name=f"black_white/{name}")
                for arm, asked in arms.items()
            ],
        )
        for name, title, values in (
            ("luminance", "Mean luminance", means),
            ("range", "Range within a picture", ranges),
            ("flat", "Share of pixels that are black where asked dark, white where asked bright", flat),
        )
    ]
    severity = {
        model: {
            case.key: (1 - number if case.arm == "bright" else number, f"luminance {number:.2f}")
            for case in cases
            if (number := found.get(case.key)) is not None
        }
        for model, found in means.items()
    }
    extremes = {model: _extremes(arms, found) for model, found in means.items() if found}
    columns = ("darkest", "brightest", "reach")
    table = Table(
        "Extremes of mean luminance; reach is the mean of what was asked bright minus that of what was asked dark",
        columns,
        {
            model: ["–" if found[name] is None else f"{found[name]:.3f}" for name in columns]
            for model, found in extremes.items()
        },
    )
    return Score(
        measures,
        tables=[table] if extremes else [],
        worst_title="Pictures farthest from what was asked",
        worst=worst(cases, answers, severity),
        facts={"extremes": extremes},
    )


def _number(answer: Answer, name: str) -> float | None:
    return answer["luminance"][name] if "luminance" in answer else None


def _range(answer: Answer) -> float | None:
    return answer["luminance"]["high"] - answer["luminance"]["low"] if "luminance" in answer else None


def _extremes(arms: Mapping[str, Sequence[Case]], means: Mapping[str, float]) -> dict[str, float | None]:
    """The darkest and the brightest picture, and how far the two kinds lie apart on average."""
    averages = {}
    for arm, asked in arms.items():
        numbers = [means[case.key] for case in asked if case.key in means]
        if numbers:
            averages[arm] = math.fsum(numbers) / len(numbers)
    reach = averages["bright"] - averages["dark"] if len(averages) == len(ASKED) else None
    return {"darkest": min(means.values()), "brightest": max(means.values()), "reach": reach}
