"""The view of openskill: an online rating with a mean and a deviation, free of TrueSkill's patents and name.

It goes through the votes once, in the order they came. Ranks that a voter left open are draws to it, so a pick of the
best of four pulls the other three together; the maximum likelihood does not.
"""

from __future__ import annotations

from collections.abc import Sequence

from animetune.arena.ratings.shapes import SkillScore
from animetune.arena.votes import Vote
from animetune.errors import SetupError


def openskill_scores(votes: Sequence[Vote], models: Sequence[str]) -> list[SkillScore]:
    """mu and sigma of each model, the best first; SetupError where the package is missing."""
    try:
        from openskill.models import PlackettLuce
    except ImportError as error:
        raise SetupError("the openskill view needs the package openskill: pip install 'animetune[arena]'") from error
    league = PlackettLuce()
    ratings = {model: league.rating(name=model) for model in models}
    for vote in votes:
        if vote.ranks is None:
            continue
        teams = [[ratings[model]] for model in vote.models]
        for model, (rated,) in zip(vote.models, league.rate(teams, ranks=list(vote.ranks)), strict=True):
            ratings[model] = rated
    found = [SkillScore(model, float(rated.mu), float(rated.sigma)) for model, rated in ratings.items()]
    return sorted(found, key=lambda each: (-each.mu, each.model))
