"""Votes of made-up voters, drawn from the model that the ratings assume, with tastes of their own if wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from animetune.arena.votes import Vote
from animetune.seeding import Purpose, rng_for

NU = 2 * 0.35 / 0.65
"""Davidson's draw parameter at which 35 % of the duels between equals are draws."""
SIX = {name: 0.3 * place for place, name in enumerate("fedcba")}
"""Six models in steps of 52 points of Elo, `a` the best."""


def vote(models: Sequence[str] = ("a", "b"), ranks: Sequence[int] | None = (0, 1), **changes: Any) -> Vote:
    """One vote; whatever is not named is of no account."""
    told: dict[str, Any] = {
        "battle": "t0", "mode": "four" if len(models) > 2 else "fixed", "voter": "v", "prompt": "p", "seed": 1,
        "milliseconds": 3000, "at": "2026-11-21T12:00:00Z", "repeat_of": None, "flags": (),
    }  # fmt: skip
    return Vote(models=tuple(models), ranks=None if ranks is None else tuple(ranks), **(told | changes))


def numbered(votes: Sequence[Vote]) -> list[Vote]:
    """The votes with battles and times of their own."""
    return [
        Vote(**({name: getattr(each, name) for name in Vote.__slots__} | {"battle": f"t{n}", "at": stamp(n)}))
        for n, each in enumerate(votes)
    ]


def stamp(n: int) -> str:
    """A time `n` seconds after noon."""
    return f"2026-11-21T{12 + n // 3600 % 12:02d}:{n // 60 % 60:02d}:{n % 60:02d}Z"


def simulate(
    n: int,
    *,
    seed: int,
    theta: Mapping[str, float] = SIX,
    modes: Sequence[str] = ("fixed",),
    voters: int = 1,
    taste: float = 0.0,
    nu: float = NU,
    full: bool = False,
    left: float = 0.0,
) -> list[Vote]:
    """`n` votes on random battles; each voter's thetas deviate by `taste`, and `left` is added to the left picture's.

    Of four, the best is picked, or all are ranked (`full`).
    """
    rng = rng_for(seed, Purpose.DRAW, 1)
    names = list(theta)
    base = np.array([theta[name] for name in names])
    own = base + taste * rng.standard_normal((voters, len(names)))
    votes = []
    for number in range(n):
        mode, voter = modes[number % len(modes)], int(rng.integers(voters))
        shown = rng.choice(len(names), 4 if mode == "four" else 2, replace=False)
        strengths = own[voter, shown].copy()
        if mode == "four":
            noisy = strengths + rng.gumbel(size=4)
            order = np.argsort(np.argsort(-noisy)).tolist()
            ranks = tuple(order) if full else tuple(int(rank > 0) for rank in order)
        else:
            strengths[0] += left
            weights = [*np.exp(strengths), nu * math.exp(strengths.mean()) if mode == "fixed" else 0.0]
            outcome = int(rng.choice(3, p=np.array(weights) / sum(weights)))
            ranks = ((0, 1), (1, 0), (0, 0))[outcome]
        votes.append(
            vote(
                [names[model] for model in shown],
                ranks,
                mode=mode,
                voter=f"v{voter}",
                prompt=f"p{number % 40}",
                battle=f"t{number}",
                at=stamp(number),
            )
        )
    return votes


def kendall(scores: Mapping[str, float], truth: Mapping[str, float]) -> float:
    """Kendall's tau of two orders without ties."""
    names = sorted(truth)
    signs = [
        math.copysign(1, scores[one] - scores[other]) * math.copysign(1, truth[one] - truth[other])
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    ]
    return math.fsum(signs) / len(signs)
