"""The choice of battles: laws that hold for every arena, and what the choice is worth."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.arena.battles import NothingToShow
from animetune.arena.gallery import Gallery
from animetune.arena.information import PRIOR_SD, Strengths, fit_strengths, teaching
from animetune.arena.pairing import RECENT, Choice, Rules, choose
from animetune.arena.tally import REPEAT_GAP, Field, Shown, Tally
from animetune.seeding import Purpose, rng_for
from tests.arena_galleries import painted

ALL = Rules({"fixed": 1.0, "duel": 1.0, "four": 1.0}, 0.0)
DUELS = Rules({"duel": 1.0}, 0.0)
Answer = Callable[[Choice], Sequence[int] | None]


class Play:
    """An arena that is played: battles are chosen, counted and answered."""

    def __init__(self, gallery: Gallery, rules: Rules, seed: int = 0):
        self.tally = Tally(Field(gallery))
        self.rules = rules
        self.rng = rng_for(seed, Purpose.PAIRING)
        self.made: list[Choice] = []
        self.by_voter: dict[str, list[Choice]] = defaultdict(list)

    def ask(self, voter: str = "v") -> Choice:
        choice = choose(self.tally, voter, self.rules, self.rng)
        self.made.append(choice)
        self.by_voter[voter].append(choice)
        name = str(len(self.made) - 1)
        self.tally.add_battle(voter, Shown(name, choice.mode, choice.subject, choice.models, choice.repeat_of))
        return choice

    def play(self, voter: str = "v", answer: Answer = lambda choice: list(range(len(choice.models)))) -> Choice:
        choice = self.ask(voter)
        self.tally.add_vote(str(len(self.made) - 1), answer(choice))
        return choice


@st.composite
def galleries(draw: st.DrawFn) -> Gallery:
    """Two to six models, one to eight prompts, some pictures absent, but something to show."""
    models, prompts = draw(st.integers(2, 6)), draw(st.integers(1, 8))
    places = [("abcdef"[model], number) for model in range(models) for number in range(prompts)]
    absent = draw(st.sets(st.sampled_from(places), max_size=len(places) // 3))
    gallery = painted("abcdef"[:models], prompts, absent=sorted(absent))
    return gallery if gallery.subjects("duel") else painted("ab", prompts)


@settings(max_examples=150, deadline=None)
@given(galleries(), st.integers(0, 1000), st.integers(1, 40), st.floats(0, 0.5))
def test_every_battle_is_one(gallery: Gallery, seed: int, battles: int, repeats: float) -> None:
    """No model against itself, only pictures that there are, as many as the mode shows, from its prompts."""
    play = Play(gallery, Rules(ALL.shares, repeats), seed)
    for number in range(battles):
        choice = play.play(f"v{number % 3}")
        assert len(choice.models) == len(set(choice.models)) == (4 if choice.mode == "four" else 2)
        subject = play.tally.field.subjects[choice.subject]
        pictures = gallery.subjects(choice.mode)[subject]
        assert {gallery.models[model] for model in choice.models} <= set(pictures)


@settings(max_examples=100, deadline=None)
@given(galleries(), st.integers(0, 1000))
def test_votes_connect_all_models_as_soon_as_they_can(gallery: Gallery, seed: int) -> None:
    """With m models that can all be connected, m - 1 votes on two do it."""
    play = Play(gallery, DUELS, seed)
    possible = play.tally.field.pairs_in["duel"]
    reach = np.linalg.matrix_power(possible.astype(int) + np.eye(len(possible), dtype=int), len(possible)) > 0
    groups = len({tuple(row) for row in reach})
    for _ in range(len(possible) - groups):
        play.play()
    assert len(set(play.tally.groups())) == groups
    played = {model for choice in play.made for model in choice.models}
    assert played == set(np.flatnonzero(possible.any(axis=0)))


@settings(max_examples=60, deadline=None)
@given(galleries(), st.integers(0, 1000), st.integers(2, 60))
def test_the_same_prompt_does_not_come_again_at_once(gallery: Gallery, seed: int, battles: int) -> None:
    play = Play(gallery, DUELS, seed)
    prompt_of = play.tally.field.prompt_of
    for _ in range(battles):
        choice = play.ask()
        before = [int(prompt_of[each.subject]) for each in play.made[:-1][-RECENT:]]
        has = play.tally.field.has
        others = {int(prompt_of[place]) for place in np.flatnonzero(has[:, list(choice.models)].all(axis=1))}
        if others - set(before):
            assert int(prompt_of[choice.subject]) not in before
        elif before and others - {before[-1]}:
            assert int(prompt_of[choice.subject]) != before[-1]


def test_a_voter_sees_everything_before_anything_twice() -> None:
    play = Play(painted("abcd", 5), DUELS)
    rounds = [Counter((each.subject, frozenset(each.models)) for each in (play.play() for _ in range(30)))]
    assert len(rounds[0]) == 6 * 5
    again = Counter((each.subject, frozenset(each.models)) for each in (play.play() for _ in range(30)))
    assert sum(again.values()) == 30
    assert max(again.values()) <= 2  # much the same the second time round, but for what was there just before


def test_prompts_come_alike_often() -> None:
    play = Play(painted("abcdef", 40), ALL)
    for number in range(1000):
        play.play(f"v{number % 16}")
    shown = play.tally.shown_prompts
    assert shown.sum() == 1000
    assert shown.max() - shown.min() <= 4


def test_a_prompt_of_many_seeds_does_not_come_more_often() -> None:
    play = Play(painted("abcd", 10, seeds_of_first=20), DUELS)
    for number in range(300):
        play.play(f"v{number % 16}")
    shown = play.tally.shown_prompts
    assert shown.max() - shown.min() <= 4
    seeds = play.tally.shown_subjects[play.tally.field.prompt_of == play.tally.field.prompt_of[0]]
    assert len(seeds) == 20
    assert seeds.max() - seeds.min() <= 2


def test_models_that_are_equal_are_shown_alike_often() -> None:
    play = Play(painted("abcdef", 40), DUELS)
    coin = rng_for(1, Purpose.PAIRING)
    for number in range(1200):
        play.play(f"v{number % 16}", lambda _: (0, 1) if coin.random() < 0.5 else (1, 0))
    games = play.tally.shown_pairs.diagonal()
    assert games.sum() == 2400
    assert games.min() > 0.75 * games.mean()
    assert play.tally.shown_pairs[np.triu_indices(6, 1)].min() > 20


def test_a_model_that_all_find_bad_does_not_take_the_arena() -> None:
    """Nothing is ever learned of it, which would make it the most interesting for ever."""
    play = Play(painted("abcdef", 40), DUELS)
    for number in range(300):
        play.play(f"v{number % 16}", lambda choice: None if 0 in choice.models else (0, 1))
    shown = play.tally.shown_pairs.diagonal()
    assert 10 < shown[0] < 2 * shown[1:].mean()


def test_both_sides_come_alike_often() -> None:
    play = Play(painted("abcd", 40), ALL)
    left: Counter[tuple[int, ...]] = Counter(play.play(f"v{n % 5}").models[:1] for n in range(800))
    for model in range(4):
        shown = play.tally.shown_pairs[model, model]
        expected = sum(1 / len(each.models) for each in play.made if model in each.models)
        assert abs(left[model,] - expected) < 4 * math.sqrt(shown / 4)


def test_modes_come_by_their_shares() -> None:
    play = Play(painted("abcd", 40), Rules({"fixed": 2.0, "duel": 1.0, "four": 1.0}, 0.0))
    modes = Counter(play.play().mode for _ in range(2000))
    for mode, share in (("fixed", 0.5), ("duel", 0.25), ("four", 0.25)):
        assert abs(modes[mode] / 2000 - share) < 4 * math.sqrt(share * (1 - share) / 2000)
    assert {Play(painted("abcd", 4), DUELS).play().mode for _ in range(9)} == {"duel"}


def test_a_mode_that_cannot_be_played_leaves_the_others() -> None:
    play = Play(painted("abc", 4), ALL)
    assert {play.play().mode for _ in range(50)} == {"fixed", "duel"}
    limited = painted("ab", 4, fixed=frozenset({"prompt 2"}), duel=frozenset({"prompt 1", "prompt 3"}))
    play = Play(limited, ALL)
    for _ in range(40):
        choice = play.play()
        prompt = play.tally.field.subjects[choice.subject].prompt
        assert prompt in (["prompt 2"] if choice.mode == "fixed" else ["prompt 1", "prompt 3"])
    with pytest.raises(NothingToShow):
        Play(painted("ab", 4), Rules({"four": 1.0}, 0.0)).ask()


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_repeats_turn_an_own_battle_round(share: float) -> None:
    play = Play(painted("abcd", 60), Rules(ALL.shares, share))
    voters = [f"v{number}" for number in range(4)]
    owner: dict[str, str] = {}
    for number in range(2400):
        voter = voters[number % 4]
        owner[str(number)] = voter
        play.play(voter)
    repeats = [(number, each) for number, each in enumerate(play.made) if each.repeat_of is not None]
    assert abs(len(repeats) / 2400 - share) < 4 * math.sqrt(share * (1 - share) / 2400) + 0.01
    assert len({each.repeat_of for _, each in repeats}) == len(repeats)
    for number, each in repeats:
        assert each.repeat_of is not None
        first = play.made[int(each.repeat_of)]
        assert owner[each.repeat_of] == owner[str(number)]
        assert first.repeat_of is None
        assert (each.mode, each.subject, each.models) == (first.mode, first.subject, first.models[::-1])
        between = [n for n in range(int(each.repeat_of) + 1, number) if owner[str(n)] == owner[str(number)]]
        assert len(between) >= REPEAT_GAP - 1


def test_only_battles_with_a_vote_are_repeated() -> None:
    play = Play(painted("abcd", 60), Rules(ALL.shares, 0.5))
    for _ in range(200):
        play.ask()
    assert {each.repeat_of for each in play.made} == {None}


def test_votes_that_do_not_count_are_not_asked_for_again() -> None:
    tally = Tally(Field(painted("ab", 2)))
    for name, counts in (("0", True), ("1", False)):
        tally.add_battle("v", Shown(name, "duel", 0, (0, 1)))
        tally.add_vote(name, (0, 1), counts=counts)
    assert set(tally.voters["v"].repeatable) == {"0"}
    assert tally.wins.sum() == 1


def test_the_second_vote_on_a_battle_teaches_nothing() -> None:
    tally = Tally(Field(painted("ab", 2)))
    tally.add_battle("v", Shown("0", "duel", 0, (0, 1)))
    tally.add_vote("0", (0, 1))
    tally.add_battle("v", Shown("1", "duel", 0, (1, 0), repeat_of="0"))
    tally.add_vote("1", (0, 1))
    assert tally.wins.tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize(
    ("mode", "ranks", "wins"),
    [
        ("duel", (0, 1), {(0, 1): 1}),
        ("fixed", (0, 0), {(0, 1): 0.5, (1, 0): 0.5}),
        ("fixed", None, {}),
        ("four", (1, 0, 1, 1), {(1, 0): 1, (1, 2): 1, (1, 3): 1}),
        ("four", (3, 2, 1, 0), {(b, a): 1 for a in range(4) for b in range(a + 1, 4)}),
    ],
)
def test_what_a_vote_says(mode: str, ranks: Sequence[int] | None, wins: dict[tuple[int, int], float]) -> None:
    tally = Tally(Field(painted("abcd", 2)))
    count = 4 if mode == "four" else 2
    tally.add_battle("v", Shown("0", mode, 0, tuple(range(count))))  # type: ignore[arg-type]
    tally.add_vote("0", ranks)
    assert {(int(a), int(b)): float(tally.wins[a, b]) for a, b in zip(*np.nonzero(tally.wins), strict=True)} == wins


@settings(max_examples=100, deadline=None)
@given(
    st.integers(2, 6).flatmap(
        lambda m: st.lists(st.lists(st.integers(0, 10_000), min_size=m, max_size=m), min_size=m, max_size=m)
    )
)
def test_strengths_lie_where_the_slope_is_level(rows: list[list[int]]) -> None:
    """Whatever the votes, also none, one-sided ones, and groups that never met."""
    wins = np.array(rows, dtype=float)
    np.fill_diagonal(wins, 0)
    mean, covariance = fit_strengths(wins)
    chance = 1 / (1 + np.exp(mean[None, :] - mean[:, None]))
    slope = ((wins + wins.T) * chance - wins).sum(axis=1) + mean / PRIOR_SD**2
    assert np.abs(slope).max() < 1e-4 * (1 + wins.sum())
    assert (np.linalg.eigvalsh(covariance) > 0).all()
    worth = teaching(Strengths(mean, covariance))
    assert np.isfinite(worth).all()
    assert (worth == worth.T).all()
    assert (worth >= 0).all()
    assert (worth.diagonal() == 0).all()


def test_two_models_by_hand() -> None:
    """8 of 10: the difference d solves 10 s(d) - 8 + d / (2 sd^2) = 0, as each mean is half of it."""
    mean, _ = fit_strengths(np.array([[0.0, 8.0], [2.0, 0.0]]))
    gap = mean[0] - mean[1]
    assert mean.sum() == pytest.approx(0)
    assert 10 / (1 + math.exp(-gap)) - 8 + gap / (2 * PRIOR_SD**2) == pytest.approx(0, abs=1e-6)


def test_a_vote_between_neighbours_is_worth_more() -> None:
    """Of three models, two alike and one far behind, with equally many votes: the open order is that of the two."""
    wins = np.array([[0.0, 10, 20], [10, 0, 20], [0, 0, 0]])
    worth = teaching(fit_strengths(wins))
    assert worth[0, 1] > 3 * worth[0, 2]
    assert worth[0, 2] == pytest.approx(worth[1, 2])


def test_what_has_not_played_is_worth_more() -> None:
    worth = teaching(fit_strengths(np.array([[0.0, 10, 1], [10, 0, 1], [1, 1, 0]])))
    assert worth[0, 2] > worth[0, 1]


SPREAD = np.arange(8) * 100 * math.log(10) / 400
"""Eight models, 100 points of Elo apart; with smaller steps there is less to be won by the choice."""


def simulated(truth: np.ndarray, votes: int, seed: int, *, is_uniform: bool) -> Iterator[Tally]:
    """The tally after each vote of 16 voters, who are asked by our choice or by chance."""
    play = Play(painted([f"m{place}" for place in range(len(truth))], 30), DUELS, seed)
    coin = rng_for(seed, Purpose.PAIRING, 1)
    for number in range(votes):
        voter = f"v{number % 16}"
        if is_uniform:
            one, two, *_ = map(int, coin.permutation(len(truth)))
            play.tally.add_battle(voter, Shown(str(number), "duel", 0, (one, two)))
        else:
            one, two = play.ask(voter).models
        is_first = coin.random() < 1 / (1 + math.exp(truth[two] - truth[one]))
        play.tally.add_vote(str(number), (0, 1) if is_first else (1, 0))
        yield play.tally


def wrong_orders(truth: np.ndarray, votes: int, seed: int, *, is_uniform: bool) -> float:
    """Share of the pairs whose order is not the true one, over the second half of so many votes."""
    first, second = np.triu_indices(len(truth), 1)
    found = [
        fit_strengths(tally.wins).mean
        for number, tally in enumerate(simulated(truth, votes, seed, is_uniform=is_uniform))
        if number >= votes // 2 and number % 20 == 0
    ]
    return float(np.mean([each[first] > each[second] for each in found]))


def compared(votes: int, seeds: int) -> tuple[float, float]:
    """Wrong orders by our choice, and by chance, over so many arenas."""
    ours, chance = (
        float(np.mean([wrong_orders(SPREAD, votes, seed, is_uniform=is_uniform) for seed in range(seeds)]))
        for is_uniform in (False, True)
    )
    return ours, chance


def test_the_choice_teaches_more_than_chance() -> None:
    ours, chance = compared(votes=400, seeds=24)
    assert ours < 0.75 * chance


@pytest.mark.slow
def test_the_choice_teaches_more_than_chance_over_many_arenas() -> None:
    ours, chance = compared(votes=400, seeds=150)
    assert ours < 0.75 * chance
