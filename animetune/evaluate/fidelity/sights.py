"""What was looked at, picture by picture: what was asked, and what the tagger found of all tags that matter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from animetune.evaluate.cases import Answer
from animetune.evaluate.config import FidelityConfig
from animetune.evaluate.fidelity.counting import Closed, Found, Implications, asked_in, precision, recall
from animetune.evaluate.probes.shape import Looked


@dataclass(frozen=True)
class Sight:
    """One picture."""

    key: str
    prompt: str
    """Its prompt's key; a real picture's own."""
    asked: tuple[str, ...]
    facts: Mapping[str, Any]
    found: Found

    def closed(self, title: str) -> Closed | None:
        """What a closed group consists of; None for an open one, and where nothing of it was asked."""
        return self.facts["closed"].get(title)


@dataclass(frozen=True)
class Sights:
    """All pictures that the tagger looked at."""

    models: Mapping[str, Mapping[str, Sight]]
    """Model -> key of a case."""
    real: Mapping[str, Sight]
    """By key of the reference."""
    implications: Implications

    @classmethod
    def of(cls, looked: Looked, probe: FidelityConfig) -> Sights:
        """By the thresholds of a probe, with all that tags imply."""
        facts = {case.key: (case.item, case.facts) for case in looked.cases}
        facts_of_real = {each.key: (each.key, each.facts) for each in looked.references}
        characters = {tag for _, each in facts.values() for tag in each["characters"]}
        least = min(probe.threshold, probe.character_threshold)
        every = [*looked.answers.values(), looked.reference_answers]
        implications = Implications.among(_names([each for _, each in facts.values()], every, least))

        def seen(known: Mapping[str, tuple[str, Mapping[str, Any]]], answers: Mapping[str, Answer]) -> dict[str, Sight]:
            return {
                key: Sight(
                    key,
                    prompt,
                    tuple(each["tags"]),
                    each,
                    Found.of(
                        answers[key]["tags"]["tags"],
                        implications,
                        threshold=probe.threshold,
                        characters=characters,
                        character_threshold=probe.character_threshold,
                    ),
                )
                for key, (prompt, each) in known.items()
                if "tags" in answers.get(key, {})
            }

        return cls(
            {model: seen(facts, answers) for model, answers in looked.answers.items()},
            seen(facts_of_real, looked.reference_answers),
            implications,
        )

    def asked_in(self, title: str, sight: Sight) -> set[str]:
        """What a picture was asked for of a closed group; nothing of an open one."""
        closed = sight.closed(title)
        return set() if closed is None else asked_in(closed, sight.asked, self.implications)

    def values(self, of: Callable[[Sight], float | None]) -> dict[str, dict[str, float]]:
        """Model -> key -> a number, of the pictures that have one."""
        return {
            model: {key: number for key, sight in sights.items() if (number := of(sight)) is not None}
            for model, sights in self.models.items()
        }

    def recall_of(self, tags: Callable[[Sight], Sequence[str]]) -> dict[str, dict[str, float]]:
        """The recall of some of the asked tags."""
        return self.values(lambda sight: recall(tags(sight), sight.found))

    def precision_in(self, title: str) -> Callable[[Sight], float | None]:
        """Of a picture, the precision within one group."""

        def of(sight: Sight) -> float | None:
            closed = sight.closed(title)
            return None if closed is None else precision(sight.asked, closed, sight.found, self.implications)

        return of

    def precision_overall(self, titles: Sequence[str]) -> Callable[[Sight], float | None]:
        """Of a picture, the mean over the groups that have one."""

        def of(sight: Sight) -> float | None:
            numbers = [number for title in titles if (number := self.precision_in(title)(sight)) is not None]
            return sum(numbers) / len(numbers) if numbers else None

        return of


def _names(facts: Iterable[Mapping[str, Any]], answers: Iterable[Mapping[str, Answer]], least: float) -> set[str]:
    """Every tag that is asked, may come in its place, or is found."""
    named: set[str] = set()
    for each in facts:
        named.update(each["tags"])
        for closed in each["closed"].values():
            named.update(closed)
    for answered in answers:
        for answer in answered.values():
            named.update(tag for tag, value in answer.get("tags", {}).get("tags", {}).items() if value >= least)
    return named
