"""Cases: what every model is asked, each a request with its place in a probe.

Two cases of several models are a pair when their keys are equal, two arms of a probe when their `pair` is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from animetune.evaluate.config import EvaluateConfig, ProbeConfig
from animetune.records import Request, Size

_PLACES = re.compile(r"(\{prefix\}|\{prompt\}|\{words\})")

Answer = Mapping[str, Any]
"""What is known of one picture: scorer -> its answer, JSON; featurizer ("ccip", "features") -> float32 (d,)."""
Answers = Mapping[str, Mapping[str, Answer]]
"""Model -> key of a case -> its answer; a picture that is missing has none."""


class Asked(NamedTuple):
    """One prompt of a probe as it is asked in one of its arms."""

    item: str
    """Key of the prompt; the arms of one prompt share it."""
    arm: str
    """`plain`, `prefix`, a word ..."""
    prompt: str
    facts: Mapping[str, Any] = {}
    """What the probe has to know to score it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One picture asked for; equal in all evaluations that ask for it in the same place."""

    probe: str
    item: str
    arm: str
    request: Request
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pair(self) -> tuple[str, int, str]:
        """Shared by the arms of one prompt, seed and size."""
        return self.item, self.request.seed, self.request.size.name

    @property
    def key(self) -> str:
        """`probe/prompt/arm/seed/size`."""
        return f"{self.probe}/{self.item}/{self.arm}/{self.request.seed}/{self.request.size.name}"


def expand(asked: Iterable[Asked], probe: ProbeConfig, cfg: EvaluateConfig) -> list[Case]:
    """Every prompt at every size with every seed, seeds innermost."""
    sizes = [Size.parse(name) for name in probe.sizes or cfg.sizes]
    return [
        Case(
            probe.name,
            each.item,
            each.arm,
            Request(each.prompt, seed=seed, size=size, negative=cfg.negative),
            each.facts,
        )
        for each in asked
        for size in sizes
        for seed in probe.seeds or cfg.seeds
    ]


def requests_of(cases: Sequence[Case]) -> list[Request]:
    """The pictures to draw, each once, in the order in which they are first asked for."""
    return list(dict.fromkeys(case.request for case in cases))


def filled(template: str, *, prefix: str, prompt: str, words: str) -> str:
    """A template with its places filled; without words, separators at the ends go, too."""
    places = {"{prefix}": prefix, "{prompt}": prompt, "{words}": words}
    text = "".join(places.get(part, part) for part in _PLACES.split(template))
    return text if words else text.strip(" ,.")
