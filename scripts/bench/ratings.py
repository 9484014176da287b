"""Ratings of made-up votes: how well each method finds the order of six models, keeps to it, and how long it takes.

The votes are drawn from known strengths, so the true order is known. Quality is Kendall's tau to it, the mean over
`SEEDS` arenas; 1 is the order itself, 0 is chance. `same order` is tau between the ranking of the votes as they came
and that of the same votes shuffled: how far the method agrees with itself.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import side_by_side as bench

NAMES = "abcdef"
STEP = 0.3
"""Between neighbours, in natural logarithms: 52 points of Elo."""
NU = 2 * 0.35 / 0.65
"""35 % of the duels between equals are draws."""
SEEDS = 2 if bench.QUICK else 20
SIZES = (40, 80) if bench.QUICK else (150, 600, 2400)
LARGE = 300 if bench.QUICK else 10_000
ORDERS = 15
ROUNDS = 3
Rater = Callable[[Sequence[Any]], Mapping[str, float]]


def votes_of(n: int, seed: int, mode: str = "fixed") -> list[Any]:
    """Random duels with draws, or picks of the best of four, by 20 voters."""
    import numpy as np

    from animetune.arena.votes import Vote
    from animetune.seeding import Purpose, rng_for

    rng = rng_for(seed, Purpose.DRAW, n)
    found = []
    for number in range(n):
        shown = rng.choice(len(NAMES), 4 if mode == "four" else 2, replace=False)
        theta = -STEP * shown
        if mode == "four":
            best = int(np.argmax(theta + rng.gumbel(size=4)))
            ranks = tuple(int(place != best) for place in range(4))
        else:
            weights = np.array([*np.exp(theta), NU * math.exp(theta.mean())])
            ranks = ((0, 1), (1, 0), (0, 0))[int(rng.choice(3, p=weights / weights.sum()))]
        models = tuple(NAMES[model] for model in shown)
        at = f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
        found.append(Vote(f"{number:06}", mode, f"v{number % 20}", "p", 0, models, ranks, 3000, at, None, ()))
    return found


def shuffled(votes: Sequence[Any], seed: int) -> list[Any]:
    from animetune.seeding import Purpose, rng_for

    return [votes[place] for place in rng_for(seed, Purpose.DRAW, 0).permutation(len(votes))]


def tau(scores: Mapping[str, float], other: Mapping[str, float]) -> float:
    pairs = list(itertools.combinations(NAMES, 2))
    return sum(math.copysign(1, (scores[a] - scores[b]) * (other[a] - other[b])) for a, b in pairs) / len(pairs)


def measure(rater: Rater) -> dict[str, Any]:
    """What the table shows of one method."""
    truth = {name: float(-place) for place, name in enumerate(NAMES)}
    found: dict[str, Any] = {}
    for n in SIZES:
        arenas = [votes_of(n, seed) for seed in range(SEEDS)]
        found[f"tau {n}"] = statistics.fmean(tau(rater(votes), truth) for votes in arenas)
    found["same"] = statistics.fmean(
        tau(rater(votes), rater(shuffled(votes, seed)))
        for seed, votes in enumerate([votes_of(SIZES[1], seed) for seed in range(SEEDS)])
    )
    picks = [votes_of(SIZES[1] // 2, seed, "four") for seed in range(SEEDS)]
    found["four"] = statistics.fmean(tau(rater(votes), truth) for votes in picks)
    for name, n in (("seconds", SIZES[1]), ("seconds large", LARGE)):
        votes = votes_of(n, 0)
        started = time.perf_counter()
        rater(votes)
        found[name] = time.perf_counter() - started
    return found


def likelihood(**_: Any) -> dict[str, Any]:
    from animetune.arena.ratings import rate

    return measure(lambda votes: {each.model: each.score for each in rate(votes, bootstraps=0, online=False).models})


def elo_once(**_: Any) -> dict[str, Any]:
    from animetune.arena.ratings.elo import elo

    return measure(lambda votes: elo(votes, NAMES))


def elo_small_k(**_: Any) -> dict[str, Any]:
    from animetune.arena.ratings.elo import elo

    return measure(lambda votes: elo(votes, NAMES, k=8))


def elo_shuffled(**_: Any) -> dict[str, Any]:
    from animetune.arena.ratings.elo import shuffled_elo

    return measure(lambda votes: shuffled_elo(votes, NAMES, seed=0))


def openskill_once(**_: Any) -> dict[str, Any]:
    from animetune.arena.ratings.skill import openskill_scores

    return measure(lambda votes: {each.model: each.mu for each in openskill_scores(votes, NAMES)})


def openskill_shuffled(**_: Any) -> dict[str, Any]:
    from animetune.arena.ratings.skill import openskill_scores

    def rater(votes: Sequence[Any]) -> dict[str, float]:
        rounds = [openskill_scores(shuffled(votes, seed), NAMES) for seed in range(1 if bench.QUICK else ORDERS)]
        found = [{each.model: each.mu for each in scores} for scores in rounds]
        return {name: statistics.fmean(each[name] for each in found) for name in NAMES}

    return measure(rater)


def whole(**_: Any) -> dict[str, Any]:
    """Everything that the page shows, 1,000 bootstraps among it."""
    from animetune.arena.ratings import rate

    found = {}
    for name, n in (("seconds", SIZES[1]), ("seconds large", LARGE)):
        votes = votes_of(n, 0)
        started = time.perf_counter()
        rate(votes)
        found[name] = time.perf_counter() - started
    return found


CONTENDERS = {
    "maximum likelihood": likelihood,
    "Elo, K 32": elo_once,
    "Elo, K 8": elo_small_k,
    "Elo, K 32, mean of 20 orders": elo_shuffled,
    "openskill Plackett-Luce": openskill_once,
    f"openskill, mean of {ORDERS} orders": openskill_shuffled,
    "all that the page shows": whole,
}


def main() -> None:
    found = bench.alternate(CONTENDERS, rounds=ROUNDS)
    rows = []
    for name, rounds in found.items():
        first = rounds[0]

        def shown(key: str, first: Mapping[str, Any] = first) -> str:
            return f"{first[key]:.2f}" if key in first else "–"

        rows.append({
            "method": name,
            **{f"tau, {n:,} votes": shown(f"tau {n}") for n in SIZES},
            "same order": shown("same"),
            f"tau, {SIZES[1] // 2} picks of four": shown("four"),
            f"ms, {SIZES[1]:,} votes": f"{1000 * bench.middle(rounds, 'seconds'):.0f}",
            f"ms, {LARGE:,} votes": f"{1000 * bench.middle(rounds, 'seconds large'):.0f}",
        })  # fmt: skip
    notes = [
        f"six models in steps of 52 points of Elo, 35 % draws between equals; mean of {SEEDS} arenas, the same for all",
        "the last row adds 1,000 bootstraps of the scores, again for the mode, Elo, openskill, voters and matrices",
        f"openskill {importlib.metadata.version('openskill')}",
    ]
    bench.report("ratings", "Ratings of made-up votes, side by side", rows, notes=notes)


if __name__ == "__main__":
    bench.child(CONTENDERS)
    main()
