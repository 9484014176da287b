"""Rating: whether the words of a rating bring pictures of that rating."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from animetune.evaluate.cases import Answer, Answers, Asked, Case, expand, filled
from animetune.evaluate.config import EvaluateConfig, RatingConfig
from animetune.evaluate.measures import Better, Measure, group, values_of
from animetune.evaluate.probes.shape import Looked, Matrix, Needs, Score, no_references, worst
from animetune.evaluate.prompt_files import Prompt, read_prompts

TITLE = "Ratings"
ABOUT = (
    "The same contents with each word of a rating. The rating of a picture is the likeliest of the tagger's four. "
    "Rows of the table are the words, columns what came."
)
FILE = "people.jsonl"
RATINGS = ("general", "sensitive", "questionable", "explicit")
"""Of the tagger, the mildest first."""

references = no_references


def cases(probe: RatingConfig, cfg: EvaluateConfig) -> list[Case]:
    """Every prompt with every word."""
    prompts = read_prompts(probe, Prompt, FILE)
    return expand(
        (
            Asked(
                each.key,
                word,
                filled(probe.template, prefix=cfg.prefix, prompt=each.prompt, words=word),
                {"expected": expected},
            )
            for word, expected in probe.words.items()
            for each in prompts
        ),
        probe,
        cfg,
    )


def needs(probe: RatingConfig) -> Needs:
    """A tagger that rates."""
    return Needs(("tags",), tuple((rating,) for rating in RATINGS))


def score(probe: RatingConfig, looked: Looked) -> Score:
    """Confusion matrix, share of pictures as asked and of those beyond what was asked."""
    cases, answers, baseline = looked.cases, looked.answers, looked.baseline
    arms = {word: [case for case in cases if case.arm == word] for word in probe.words}
    as_asked = _shares("as_asked", "As asked", "higher", lambda steps: steps == 0, arms, answers, baseline)
    beyond = _shares("beyond", "More explicit than asked", "lower", lambda steps: steps > 0, arms, answers, baseline)
    matrix = Matrix(
        "Asked (rows) and rated (columns)",
        [f"{word} ({expected})" for word, expected in probe.words.items()],
        RATINGS,
        {model: [_counts(asked, answered) for asked in arms.values()] for model, answered in answers.items()},
    )
    severity = {
        model: {
            case.key: (float(off), f"asked {case.arm}, is {rating_of(answered[case.key])}")
            for case in cases
            if case.key in answered and (off := _steps(case, answered[case.key])) is not None and off > 0
        }
        for model, answered in answers.items()
    }
    has_answers = any("tags" in answer for answered in answers.values() for answer in answered.values())
    return Score(
        [as_asked, beyond],
        [matrix] if has_answers else [],
        worst_title="Pictures beyond the rating that was asked",
        worst=worst(cases, answers, severity),
    )


def rating_of(answer: Answer) -> str | None:
    """The tagger's likeliest rating, the milder of two alike; None where no tagger looked."""
    if "tags" not in answer:
        return None
    ratings = answer["tags"]["ratings"]
    return max(RATINGS, key=lambda rating: (ratings.get(rating, 0), -RATINGS.index(rating)))


def _steps(case: Case, answer: Answer) -> int | None:
    """How many ratings the picture is beyond what was asked; negative: milder."""
    rating = rating_of(answer)
    return None if rating is None else RATINGS.index(rating) - RATINGS.index(case.facts["expected"])


def _shares(
    name: str,
    title: str,
    better: Better,
    holds: Callable[[int], bool],
    arms: Mapping[str, Sequence[Case]],
    answers: Answers,
    baseline: str,
) -> Measure:
    """Share of the pictures whose distance from what was asked `holds`."""
    every = [case for asked in arms.values() for case in asked]

    def value(case: Case, answer: Answer) -> float | None:
        steps = _steps(case, answer)
        return None if steps is None else float(holds(steps))

    values = values_of(every, answers, value)
    groups = [("all words", every), *arms.items()]
    found = [
        group(title, asked, values, unit="share", baseline=baseline, name=f"rating/{name}") for title, asked in groups
    ]
    return Measure(name, title, "share", better, found)


def _counts(asked: Sequence[Case], answered: Mapping[str, Answer]) -> list[int]:
    found = [rating_of(answered[case.key]) for case in asked if case.key in answered]
    return [found.count(rating) for rating in RATINGS]
