"""What stands beside the scores: Elo, openskill, matrices, positions, voters, progress, modes, groups and notes."""

from __future__ import annotations

import dataclasses
import sys

import arena_votes as made_up
import pytest
from openskill.models import PlackettLuce

from animetune.arena.ratings import Rules, rate
from animetune.arena.ratings.elo import elo, shuffled_elo
from animetune.arena.ratings.events import tally
from animetune.arena.ratings.graph import groups_beaten, groups_compared
from animetune.arena.ratings.kinds import kind_of
from animetune.arena.ratings.skill import openskill_scores
from animetune.errors import SetupError

NAMES = "abcdef"


def changed(vote, **changes):
    return dataclasses.replace(vote, **changes)


def test_elo_by_hand():
    votes = [made_up.vote(), made_up.vote(ranks=(0, 0)), made_up.vote("ac", (1, 0), mode="duel")]
    found = elo(votes, "abc")
    a, b = 1016, 984
    fall = 32 * (0.5 - 1 / (1 + 10 ** ((b - a) / 400)))
    a, b = a + fall, b - fall
    lost = 32 / (1 + 10 ** ((1000 - a) / 400))
    assert found == {"a": pytest.approx(a - lost), "b": pytest.approx(b), "c": pytest.approx(1000 + lost)}


def test_elo_of_a_pick_is_three_wins_at_once():
    assert elo([made_up.vote("abcd", (1, 0, 1, 1))], "abcd") == {"a": 984, "b": 1048, "c": 984, "d": 984}


def test_elo_wanders_with_the_order_and_its_shuffled_mean_does_not():
    votes = made_up.simulate(200, seed=0)
    assert elo(votes, NAMES) != pytest.approx(elo(votes[::-1], NAMES))
    assert shuffled_elo(votes, NAMES, seed=0) == shuffled_elo(votes[::-1], NAMES, seed=0)
    assert sum(shuffled_elo(votes, NAMES, seed=0).values()) == pytest.approx(6000)
    assert shuffled_elo([], NAMES, seed=0) == dict.fromkeys(NAMES, 1000.0)


def test_openskill_says_what_openskill_says():
    votes = [made_up.vote(), made_up.vote("abcd", (1, 0, 1, 2)), made_up.vote(ranks=None)]
    league = PlackettLuce()
    a, b, c, d = (league.rating() for _ in range(4))
    [[a], [b]] = league.rate([[a], [b]], ranks=[0, 1])
    [[a], [b], [c], [d]] = league.rate([[a], [b], [c], [d]], ranks=[1, 0, 1, 2])
    found = {each.model: (each.mu, each.sigma) for each in openskill_scores(votes, "abcd")}
    assert found == {name: (each.mu, each.sigma) for name, each in zip("abcd", (a, b, c, d), strict=True)}


def test_without_openskill_the_headline_stays(monkeypatch):
    monkeypatch.setitem(sys.modules, "openskill", None)
    monkeypatch.setitem(sys.modules, "openskill.models", None)
    votes = made_up.simulate(50, seed=0)
    with pytest.raises(SetupError, match=r"pip install 'animetune\[arena\]'"):
        openskill_scores(votes, NAMES)
    found = rate(votes, bootstraps=20)
    assert found.openskill is None
    assert len(found.models) == 6
    assert any("animetune[arena]" in note for note in found.notes)


def test_the_matrix_counts_what_was_compared():
    votes = [
        made_up.vote(), made_up.vote(ranks=(0, 0)), made_up.vote("ba", (0, 1), mode="duel"),
        made_up.vote("abcd", (0, 1, 1, 1)), made_up.vote(ranks=None),
    ]  # fmt: skip
    found = rate(made_up.numbered(votes), bootstraps=0, online=False).matrix
    at = {name: place for place, name in enumerate(found.models)}
    assert found.n[at["a"]][at["b"]] == found.n[at["b"]][at["a"]] == 4
    assert found.wins[at["a"]][at["b"]] == 2.5
    assert found.wins[at["b"]][at["a"]] == 1.5
    assert found.n[at["c"]][at["d"]] == 0
    assert found.n[at["a"]][at["a"]] == 0


def test_bad_rates():
    votes = [made_up.vote(), made_up.vote(ranks=None), made_up.vote("abcd", None), made_up.vote("cd")]
    found = rate(made_up.numbered(votes), bootstraps=0, online=False)
    assert (found.bad["a"].count, found.bad["a"].n, found.bad["a"].value) == (2, 3, pytest.approx(2 / 3))
    assert (found.bad["d"].count, found.bad["d"].n) == (1, 2)
    assert found.counted == {"votes": 4, "flagged": 0, "repeats": 0, "all_bad": 2, "rated": 2}


@pytest.mark.parametrize("left", [0.0, 0.5])
def test_the_place_on_the_screen_is_found_out(left):
    votes = made_up.simulate(6000, seed=1, left=left, modes=("fixed", "duel"))
    (found,) = rate(votes, bootstraps=0, online=False).positions
    assert found.slots == 2
    assert found.interval.low <= 173.7178 * left <= found.interval.high
    assert found.interval.high - found.interval.low < 50
    assert (found.picked[0].interval.low > 0.5) == (left > 0)


def test_positions_of_four():
    votes = made_up.numbered(
        [made_up.vote("abcd", (1, 0, 1, 1))] * 3
        + [made_up.vote("abcd", (0, 0, 1, 1)), made_up.vote("abcd", (3, 2, 1, 0))]
    )
    (found,) = rate(votes, bootstraps=0, online=False).positions
    assert [each.count for each in found.picked] == [0, 3, 0, 1]
    assert found.left_advantage is None


def test_repeats_measure_the_voter():
    first = made_up.vote(battle="t1")
    votes = [
        first,
        made_up.vote("ba", (1, 0), battle="t2", repeat_of="t1"),  # the same, turned round
        made_up.vote("abcd", (0, 1, 1, 1), battle="t3"),
        made_up.vote("dcba", (1, 1, 0, 1), battle="t4", repeat_of="t3"),  # now b
        made_up.vote(ranks=None, battle="t5"),
        made_up.vote(ranks=None, battle="t6", repeat_of="t5"),
        made_up.vote(battle="t7", repeat_of="nowhere"),
        made_up.vote(battle="t8", repeat_of="t1", voter="w"),  # not w's battle
    ]
    found = rate(votes, bootstraps=0, online=False)
    v, w = found.voters
    assert (v.voter, v.votes, v.all_bad, v.seconds) == ("v", 7, 2, 3.0)
    assert (v.repeats.count, v.repeats.n) == (2, 3)
    assert w.repeats.n == 0
    assert (found.consistency.count, found.consistency.n) == (2, 3)


def test_repeats_count_for_scores_only_if_asked():
    votes = [made_up.vote(battle="t1"), made_up.vote("ba", (1, 0), battle="t2", repeat_of="t1")]
    dropped, kept = (rate(votes, bootstraps=0, online=False, rules=Rules(repeats=what)) for what in ("drop", "keep"))
    assert dropped.models == rate(votes[:1], bootstraps=0, online=False).models
    assert kept.models[0].score > dropped.models[0].score
    assert (dropped.counted["repeats"], kept.counted["repeats"]) == (1, 0)


def test_flagged_votes_count_only_if_asked():
    votes = made_up.simulate(100, seed=0)
    fast = [changed(vote, flags=("fast",), ranks=(1, 1)) for vote in made_up.simulate(30, seed=1)]
    every = made_up.numbered(votes + fast)
    assert rate(every, bootstraps=0, online=False).models == rate(votes, bootstraps=0, online=False).models
    kept = rate(every, bootstraps=0, online=False, rules=Rules(flagged="keep"))
    assert kept.overall.draw > rate(votes, bootstraps=0, online=False).overall.draw
    assert rate(every, bootstraps=0, online=False).voters[0].flagged == 30


def test_who_clicks_at_random_agrees_with_half():
    votes = made_up.simulate(3000, seed=1, voters=10, modes=("duel",))
    votes = [
        changed(vote, ranks=(0, 1) if int(vote.battle[1:]) // 10 % 2 else (1, 0)) if vote.voter == "v3" else vote
        for vote in votes
    ]
    found = {each.voter: each.with_others for each in rate(votes, bootstraps=0, online=False).voters}
    assert found["v3"].interval.low < 0.5 < found["v3"].interval.high
    assert all(each.interval.low > 0.5 for voter, each in found.items() if voter != "v3")


def test_progress_counts_down():
    votes = made_up.simulate(3000, seed=1)
    early, late = (rate(votes[:n], bootstraps=300, online=False).overall for n in (300, 3000))
    assert early.progress.separated < late.progress.separated
    assert len(early.progress.pairs) == 15
    for pair in late.progress.pairs:
        assert pair.is_separated == (pair.p_holm <= 0.05) == (pair.votes_needed == 0)
        assert pair.p_holm >= pair.p
        assert made_up.SIX[pair.better] > made_up.SIX[pair.worse] or not pair.is_separated
    best, worst = late.scores[0], late.scores[-1]
    assert best.places == (1, 1) or any("a" in (p.better, p.worse) and not p.is_separated for p in late.progress.pairs)
    assert worst.places[1] == 6


@pytest.mark.parametrize("confidence", [0.6, 0.95, 0.999])
def test_pairs_are_told_apart_with_the_confidence_that_is_asked_for(confidence):
    votes = made_up.simulate(300, seed=1)
    found = rate(votes, bootstraps=300, confidence=confidence, online=False)
    ordinary = rate(votes, bootstraps=300, online=False)
    assert found.confidence == confidence
    for pair, same in zip(found.overall.progress.pairs, ordinary.overall.progress.pairs, strict=True):
        assert pair.is_separated == (pair.p_holm <= 1 - confidence)
        assert (pair.interval, pair.p_holm) == (same.interval, same.p_holm)  # 95 % whatever it is
    needed = [
        [(pair.better, pair.votes_needed) for pair in each.overall.progress.pairs if pair.votes_needed]
        for each in (found, ordinary)
    ]
    assert (needed[0] == needed[1]) == (confidence == 0.95)
    assert [found.overall.progress.separated, ordinary.overall.progress.separated] == sorted(
        [found.overall.progress.separated, ordinary.overall.progress.separated], reverse=confidence < 0.95
    )


def test_the_votes_needed_are_about_those_it_takes():
    theta = {"a": 0.5, "b": 0.0}
    needed = []
    for seed in range(12):
        found = rate(made_up.simulate(60, seed=seed, theta=theta, modes=("duel",)), bootstraps=200, online=False)
        (pair,) = found.overall.progress.pairs
        needed += [] if pair.is_separated or pair.votes_needed is None else [60 + pair.votes_needed]
    # 4 p (1 - p) of a vote's information: (1.96 + 0.84)^2 / (0.25 * 0.94 * 0.5^2) = 134
    assert 80 < sorted(needed)[len(needed) // 2] < 500


def test_places_follow_from_separated_pairs_alone():
    votes = made_up.numbered([made_up.vote("ab")] * 40 + [made_up.vote("bc", (0, 0))] * 6 + [made_up.vote("ac")] * 40)
    places = {score.model: score.places for score in rate(votes, online=False).models}
    assert places == {"a": (1, 1), "b": (2, 3), "c": (2, 3)}


def test_modes_and_groups_are_rated_apart():
    votes = made_up.simulate(300, seed=2, modes=("fixed", "duel", "four"))
    groups = {f"p{number}": "odd" if number % 2 else "even" for number in range(39)}
    found = rate(votes, bootstraps=10, online=False, groups=groups)
    assert set(found.modes) == {"fixed", "duel", "four"}
    assert [found.modes[mode].draw is not None for mode in ("fixed", "duel", "four")] == [True, False, False]
    only = [vote for vote in votes if vote.mode == "four"]
    assert found.modes["four"].scores == rate(only, bootstraps=10, online=False).models
    in_groups = sum(view.votes for view in found.groups.values())
    assert set(found.groups) == {"odd", "even"}
    assert in_groups == sum(vote.prompt != "p39" for vote in votes)


def test_models_without_votes_are_named_and_last():
    found = rate([made_up.vote()], models=["0 first by name"], online=False)
    last = found.models[-1]
    assert (last.model, last.score, last.interval) == ("0 first by name", 1000, None)
    assert (last.votes, last.places) == (0, (1, 3))
    assert any("without a place: 0 first by name" in note for note in found.overall.notes)
    assert all(
        pair.p is None for pair in found.overall.progress.pairs if "0 first by name" in (pair.better, pair.worse)
    )


@pytest.mark.parametrize("models", [[], ["a", "b"]])
def test_no_votes_at_all(models):
    found = rate([], models=models)
    assert [score.model for score in found.models] == models
    assert found.overall.notes
    assert found.overall.progress.separated == 0
    assert rate([made_up.vote(ranks=None)]).overall.votes == 0


def test_groups_of_models():
    events = tally([made_up.vote("ab"), made_up.vote("bc"), made_up.vote("ca"), made_up.vote("de")], "abcdef").seen
    assert groups_compared(events, 6) == [[0, 1, 2], [3, 4], [5]]
    assert groups_beaten(events, 6) == [[0, 1, 2], [3], [4], [5]]
    drawn = tally([made_up.vote("ab", (0, 0)), made_up.vote("abcd", (1, 1, 0, 0))], "abcd").seen
    assert groups_beaten(drawn, 4) == [[0, 1], [2], [3]]


def test_islands_and_sweeps_are_told():
    votes = made_up.numbered([made_up.vote("ab"), made_up.vote("ba"), made_up.vote("cd"), made_up.vote("dc")])
    notes = rate(votes, online=False).overall.notes
    assert any(note.endswith("between them: a, b; c, d.") for note in notes)
    sweep = rate(made_up.numbered([made_up.vote()] * 3), online=False).overall
    assert any(note.endswith("both ways: a; b.") for note in sweep.notes)


def test_a_voter_with_most_votes_is_told():
    votes = [made_up.vote(voter="busy")] * 6 + [made_up.vote(voter="other")] * 4
    assert rate(made_up.numbered(votes), bootstraps=0, online=False).notes == ["One voter cast 60 % of the votes."]


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("1girl, solo, red hair", "one person"),
        ("1girl, 1boy, holding hands", "several people"),
        ("6+girls, stage", "several people"),
        ("multiple girls, school", "several people"),
        ("A tall old man reads.", "one person"),
        ("a girl and a boy at the sea", "several people"),
        ("two young women dance", "several people"),
        ("scenery, no humans, 4k", "no people"),
        ("a red bicycle, 1girlfriend", "people not counted"),
        ("", "people not counted"),
    ],
)
def test_kinds_of_prompts(prompt, kind):
    assert kind_of(prompt) == kind


def test_prompts_are_grouped_by_people_unless_told_otherwise():
    votes = made_up.numbered(
        [made_up.vote(prompt="1girl"), made_up.vote(prompt="2girls"), made_up.vote(prompt="1girl")]
    )
    found = rate(votes, bootstraps=0, online=False)
    assert {name: view.votes for name, view in found.groups.items()} == {"one person": 2, "several people": 1}
    assert rate(votes, bootstraps=0, online=False, groups={}).groups == {}
