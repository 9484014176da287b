"""Many prompts of one label, and what their shares may be."""

from __future__ import annotations

import collections
import math

from animetune.prompts import PromptConfig, compose
from animetune.records import Label
from animetune.seeding import Purpose, rng_for

DRAWS = 100_000


def draw(label: Label, cfg: PromptConfig, n: int = 0) -> str:
    """The n-th prompt."""
    return compose(label, cfg, rng_for(0, Purpose.CAPTION, 0, n, 0))


def count_prompts(label: Label, cfg: PromptConfig, draws: int = DRAWS) -> collections.Counter[str]:
    """How often each prompt was drawn, all from one generator."""
    rng = rng_for(1, Purpose.CAPTION)
    return collections.Counter(compose(label, cfg, rng) for _ in range(draws))


def assert_share(count: int, expected: float, *, of: int = DRAWS) -> None:
    """Whether `count` of `of` draws may have the probability `expected`: within five standard deviations."""
    deviation = math.sqrt(expected * (1 - expected) / of)
    assert abs(count / of - expected) <= 5 * deviation, f"{count / of:.4f}, not {expected:.4f}"


def tag_counts(prompts: collections.Counter[str], separator: str = ", ") -> collections.Counter[str]:
    """In how many prompts each tag is; none may be twice in one."""
    counts: collections.Counter[str] = collections.Counter()
    for prompt, times in prompts.items():
        tags = prompt.split(separator)
        assert len(set(tags)) == len(tags), prompt
        counts.update(dict.fromkeys(filter(None, tags), times))
    return counts
