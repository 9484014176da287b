"""Ratings of votes: the scores, their intervals and everything beside them. A pure function of its arguments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from animetune.arena.ratings import voters
from animetune.arena.ratings.bootstrap import FEWEST, Resamples, resample
from animetune.arena.ratings.elo import shuffled_elo
from animetune.arena.ratings.events import Tally, check, tally
from animetune.arena.ratings.graph import groups_beaten, groups_compared
from animetune.arena.ratings.kinds import by_people
from animetune.arena.ratings.likelihood import Likelihood
from animetune.arena.ratings.matrix import bad_rates, positions, share, win_rates
from animetune.arena.ratings.progress import places, progress
from animetune.arena.ratings.shapes import MIDDLE, POINTS, Ratings, Rules, Score, SkillScore, View, WinRates
from animetune.arena.ratings.skill import openskill_scores
from animetune.arena.votes import Vote
from animetune.errors import SetupError
from animetune.intervals import Interval

BOOTSTRAPS = 1000
DOMINANT = 0.5
"""Share of the votes from which one voter is named."""


def rate(
    votes: Sequence[Vote],
    *,
    seed: int = 0,
    bootstraps: int = BOOTSTRAPS,
    rules: Rules | None = None,
    confidence: float = 0.95,
    models: Sequence[str] = (),
    groups: Mapping[str, str] | None = None,
    online: bool = True,
) -> Ratings:
    """Rate the models of `votes` and those named in `models`, which may have none.

    `groups` maps prompts to the group whose scores are shown apart, prompts that it lacks are in none; None groups them
    by how many people they ask for (`kinds`). `bootstraps` 0 gives no intervals. Pairs are told apart with `confidence`
    over all of them. `online` False leaves out Elo and openskill, which take longest with many votes. Raises DataError
    for a vote that cannot be.
    """
    rules = rules or Rules()
    group_of = by_people({vote.prompt for vote in votes}) if groups is None else groups
    for vote in votes:
        check(vote)
    names = sorted({*models, *(model for vote in votes for model in vote.models)})
    kept = [vote for vote in votes if rules.flagged == "keep" or not vote.flags]
    rated = [vote for vote in kept if rules.repeats == "keep" or vote.repeat_of is None]
    fitted = _Fit(rated, names)
    alpha = round(1 - confidence, 12)
    overall = fitted.view(seed, bootstraps, alpha)
    order = [score.model for score in overall.scores]
    skills, note = _openskill(rated, names) if online else (None, "")
    same = Counter[str]()
    for agreed, n in voters.repeats_kept(kept).values():
        same.update(agreed=agreed, n=n)

    def views(parts: Mapping[str, Sequence[Vote]]) -> dict[str, View]:
        return {name: _Fit(parts[name], names).view(seed, bootstraps, alpha) for name in sorted(parts)}

    return Ratings(
        overall=overall,
        matrix=win_rates(rated, order),
        bad=bad_rates(rated, order),
        positions=positions(kept, {score.model: score.score for score in overall.scores}),
        voters=voters.reports(votes, rated, fitted.likelihood, fitted.tally, fitted.beta.tolist()),
        consistency=share(same["agreed"], same["n"]),
        elo=shuffled_elo(rated, order, seed=seed) if online else {},
        openskill=skills,
        modes=views(_split(rated, lambda vote: vote.mode)),
        groups=views(_split(rated, lambda vote: group_of.get(vote.prompt))),
        counted={
            "votes": len(votes),
            "flagged": len(votes) - len(kept),
            "repeats": len(kept) - len(rated),
            "all_bad": sum(vote.ranks is None for vote in rated),
            "rated": overall.votes,
        },
        rules=rules,
        confidence=confidence,
        bootstraps=bootstraps,
        seed=seed,
        notes=[*_dominant(rated), *([note] if note else [])],
    )


class _Fit:
    """The maximum likelihood of some votes."""

    def __init__(self, votes: Sequence[Vote], models: Sequence[str]):
        self.votes = votes
        self.tally: Tally = tally(votes, models)
        self.likelihood = Likelihood(self.tally.events, len(models))
        self.beta: np.ndarray = self.likelihood.fit(self.tally.counts.sum(axis=0)[None])[0]

    def view(self, seed: int, bootstraps: int, alpha: float) -> View:
        models = self.tally.models
        theta = self.beta[: len(models)]
        total = int(self.tally.counts.sum())
        resamples = resample(self.likelihood, self.tally, self.beta, seed=seed, times=bootstraps)
        compared = groups_compared(self.tally.seen, len(models))
        matrix = win_rates(self.votes, models)
        shown = self._shown()
        found = progress(theta, resamples, matrix, compared, shown, total, alpha=alpha)
        open_places = places(models, found)
        scores = [
            Score(
                model=model,
                score=MIDDLE + POINTS * float(theta[number]),
                interval=self._interval(theta, resamples, number) if shown[number] else None,
                votes=shown[number],
                places=open_places[model],
            )
            for number, model in enumerate(models)
        ]
        scores.sort(key=lambda each: (each.votes == 0, -each.score, each.model))
        return View(
            scores=scores,
            votes=total,
            draw=float(np.exp(self.beta[-1])) if self.likelihood.has_draws else None,
            resampled=resamples.unit,
            progress=found,
            notes=self._notes(compared, resamples, matrix),
        )

    def _shown(self) -> list[int]:
        """Votes with a preference, model by model."""
        shown = [0] * len(self.tally.models)
        for event, count in zip(self.tally.events, self.tally.counts.sum(axis=0), strict=True):
            for group in event.groups:
                for model in group:
                    shown[model] += int(count)
        return shown

    @staticmethod
    def _interval(theta: np.ndarray, resamples: Resamples, number: int) -> Interval | None:
        ends = resamples.interval(float(theta[number]), resamples.thetas[:, number])
        return None if ends is None else Interval(*(MIDDLE + POINTS * end for end in ends))

    def _notes(self, compared: Sequence[Sequence[int]], resamples: Resamples, matrix: WinRates) -> list[str]:
        models, notes = self.tally.models, []
        if not self.tally.seen:
            return ["No vote prefers anything yet."] if models else ["There are no models."]
        alone = [models[group[0]] for group in compared if len(group) == 1]
        if alone:
            notes.append(f"Compared with nothing, so without a place: {', '.join(alone)}.")
        islands = [group for group in compared if len(group) > 1]
        if len(islands) > 1:
            named = "; ".join(", ".join(models[model] for model in group) for group in islands)
            notes.append(f"No votes connect these groups, so scores cannot be compared between them: {named}.")
        beaten = groups_beaten(self.tally.seen, len(models))
        if len(beaten) > len(compared):
            named = "; ".join(", ".join(models[model] for model in group) for group in beaten)
            notes.append(
                "Some models never lost to, or never beat, the others: the votes set no limit to their distance, the "
                f"prior does. Groups within which wins go both ways: {named}."
            )
        if resamples.unit == "votes":
            count = len(self.tally.voters)
            notes.append(
                f"{count} voter{'' if count == 1 else 's'}, fewer than {FEWEST}: intervals are of more votes of the "
                "same, and say nothing of other people's taste."
            )
        return notes


def _split(votes: Sequence[Vote], part_of: Callable[[Vote], str | None]) -> dict[str, list[Vote]]:
    parts: dict[str, list[Vote]] = {}
    for vote in votes:
        name = part_of(vote)
        if name is not None:
            parts.setdefault(name, []).append(vote)
    return parts


def _openskill(votes: Sequence[Vote], models: Sequence[str]) -> tuple[list[SkillScore] | None, str]:
    try:
        return openskill_scores(sorted(votes, key=lambda vote: (vote.at, vote.battle)), models), ""
    except SetupError as error:
        return None, f"{error}."


def _dominant(votes: Sequence[Vote]) -> list[str]:
    cast = Counter(vote.voter for vote in votes)
    if len(cast) < 2:
        return []
    _, most = cast.most_common(1)[0]
    part = most / len(votes)
    return [f"One voter cast {100 * part:.0f} % of the votes."] if part >= DOMINANT else []
