"""Intervals, against numbers worked out by hand and properties that hold for all."""

from __future__ import annotations

import itertools
import math
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.evaluate.intervals import bootstrap, mcnemar, mean_ranks, spearman
from animetune.intervals import wilson

NUMBERS = st.lists(st.integers(-50, 50).map(float), min_size=2, max_size=12)


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(0, 10, 0, 0.27753), (5, 10, 0.23659, 0.76341), (10, 10, 0.72247, 1), (1, 29, 0.006113, 0.171755)],
)
def test_wilson_by_hand(count: int, n: int, low: float, high: float) -> None:
    """0 of n is z2 / (n + z2); 1 of 29 is an example of Newcombe 1998 (method 3)."""
    assert wilson(count, n) == pytest.approx((low, high), abs=2e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_solves_its_equation(pair: tuple[int, int]) -> None:
    """Its ends are the shares p from which count / n lies exactly z standard errors away."""
    count, n = pair
    interval = wilson(count, n)
    assert 0 <= interval.low <= count / n <= interval.high <= 1
    for end in interval:
        if 0 < end < 1:
            assert abs(count / n - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / n), rel=1e-5)
    mirrored = wilson(n - count, n)
    assert interval.low == pytest.approx(1 - mirrored.high, abs=1e-12)


def test_wilson_of_nothing() -> None:
    assert wilson(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(0, 0, 1), (1, 5, Fraction(14, 64)), (5, 1, Fraction(14, 64)), (0, 10, Fraction(2, 1024)), (4, 4, 1)],
)
def test_mcnemar_by_hand(first: int, second: int, p: float) -> None:
    assert mcnemar(first, second) == pytest.approx(float(p))


def test_mcnemar_by_counting_coins() -> None:
    """All outcomes of eleven fair coins: how many are as lopsided as 2 to 9."""
    lopsided = sum(abs(2 * sum(coins) - 11) >= 7 for coins in itertools.product((0, 1), repeat=11))
    assert mcnemar(2, 9) == pytest.approx(lopsided / 2**11)


def test_mcnemar_of_many_pairs_is_exact_and_quick() -> None:
    start = time.process_time()
    assert 0 <= mcnemar(10_000, 12_000) < 1e-30
    assert mcnemar(5_000, 5_000) == 1
    assert mcnemar(280, 320) == pytest.approx(2 * sum(math.comb(600, k) for k in range(281)) / 2**600)
    assert time.process_time() - start < 3


def test_bootstrap_of_two_prompts_is_their_span() -> None:
    """A resample has both prompts, or one of them twice (a quarter of all each): the 2.5 % points are the two means."""
    assert bootstrap({"a": [0.0, 0.0], "b": [1.0]}, purpose="x") == (0, 1)
    assert bootstrap({"a": [0.0, 1.0]}, purpose="x") is None
    assert bootstrap({"a": [0.0], "b": []}, purpose="x") is None


def test_bootstrap_against_all_resamples() -> None:
    """Five prompts have 3,125 resamples; the interval from all of them is that of 2,000, but for the draws."""
    values = {"a": [1.0, 2.0], "b": [4.0], "c": [0.0, 0.0, 3.0], "d": [7.0], "e": [2.0]}
    means = [
        sum(sum(values[name]) for name in chosen) / sum(len(values[name]) for name in chosen)
        for chosen in itertools.product(values, repeat=5)
    ]
    low, high = np.quantile(means, (0.025, 0.975))
    assert bootstrap(values, purpose="any") == pytest.approx((low, high), abs=0.25)


def test_bootstrap_takes_the_pictures_of_a_prompt_together() -> None:
    """A hundred equal pictures of a prompt say no more than one."""
    once = {str(place): [float(place % 2)] for place in range(20)}
    often = {name: values * 100 for name, values in once.items()}
    assert bootstrap(often, purpose="x") == pytest.approx(bootstrap(once, purpose="x"))


@given(st.dictionaries(st.text(max_size=3), NUMBERS, min_size=2, max_size=8))
def test_bootstrap_is_repeatable_and_within(values: dict[str, list[float]]) -> None:
    interval = bootstrap(values, purpose="x")
    assert interval == bootstrap(dict(reversed(values.items())), purpose="x")
    assert interval is not None
    means = [sum(numbers) / len(numbers) for numbers in values.values()]
    assert min(means) - 1e-9 <= interval.low <= interval.high <= max(means) + 1e-9


def test_spearman_by_hand() -> None:
    """Ranks 1 2 3 4 5 and 2 1 4 3 5: 1 - 6 * 4 / 120 = 0.8; with a tie the formula of Pearson on mean ranks."""
    assert spearman([10, 20, 30, 40, 50], [0.2, 0.1, 0.4, 0.3, 0.9]) == pytest.approx(0.8)
    assert mean_ranks([3, 1, 3, 2]) == [3.5, 1, 3.5, 2]
    assert spearman([1, 2, 3], [1, 1, 2]) == pytest.approx(math.sqrt(3) / 2)
    assert spearman([1, 2], [5, 5]) is None
    assert spearman([1], [5]) is None


@given(NUMBERS)
def test_spearman_knows_only_order(values: list[float]) -> None:
    places = list(range(len(values)))
    found = spearman(places, values)
    if len(set(values)) == 1:
        assert found is None
        return
    assert found == pytest.approx(spearman(places, [value**3 + 1 for value in values]))
    assert found == pytest.approx(-spearman(places, [-value for value in values]))  # type: ignore[operator]
    assert spearman(values, values) == pytest.approx(1)
