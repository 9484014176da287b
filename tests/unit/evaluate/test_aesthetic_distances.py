"""Distances between distributions of scores: by hand, against plain definitions, and as laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.evaluate.score_distances import Compared, Scores, chance, wasserstein

numbers = st.lists(st.floats(-10, 10, allow_subnormal=False), min_size=1, max_size=12).map(np.array)


def scores(values: list[float], *, of_one_prompt: int = 1) -> Scores:
    return Scores.of([(f"p{place // of_one_prompt:04d}", value) for place, value in enumerate(values)])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0.0], [3.0], 3),
        ([0.0, 1.0], [0.0, 1.0], 0),
        ([0.0, 1.0, 3.0], [5.0, 6.0, 8.0], 5),  # of scipy's documentation
        ([0.0, 1.0], [0.0], 0.5),
        ([0.0, 0.0, 0.0, 4.0], [0.0], 1),
        ([0.0, 1.0], [0.5], 0.5),
    ],
)
def test_wasserstein_by_hand(first: list[float], second: list[float], expected: float) -> None:
    assert wasserstein(np.array(first), np.array(second)) == pytest.approx(expected)


@given(numbers, st.integers(1, 5), st.integers(0, 2**31))
def test_equally_many_are_matched_in_order(first: np.ndarray, repeats: int, seed: int) -> None:
    """For samples of one size it is the mean distance of the sorted values; repeating a sample changes nothing."""
    second = np.random.default_rng(seed).normal(size=len(first))
    expected = np.abs(np.sort(first) - np.sort(second)).mean()
    assert wasserstein(first, second) == pytest.approx(expected, abs=1e-9)
    assert wasserstein(np.repeat(first, repeats), second) == pytest.approx(expected, abs=1e-9)


@given(numbers, numbers, numbers, st.floats(-5, 5))
def test_it_is_a_distance(a: np.ndarray, b: np.ndarray, c: np.ndarray, shift: float) -> None:
    near = 1e-9
    assert wasserstein(a, a) == pytest.approx(0, abs=near)
    assert wasserstein(a, b) == pytest.approx(wasserstein(b, a), abs=near)
    assert wasserstein(a, c) <= wasserstein(a, b) + wasserstein(b, c) + near
    assert wasserstein(a, a + shift) == pytest.approx(abs(shift), abs=near)
    assert wasserstein(a, b) >= abs(a.mean() - b.mean()) - near


def test_drawn_against_real() -> None:
    found = Compared.of(scores([1, 2, 3, 4]), scores([0, 1, 2, 3]), purpose="t")
    assert (found.shift, found.distance) == (1, 1)
    assert found.shift_interval is not None
    assert found.shift_interval.low < 1 < found.shift_interval.high
    again = Compared.of(scores([1, 2, 3, 4]), scores([0, 1, 2, 3]), purpose="t")
    assert (again.distance_interval, again.shift_interval) == (found.distance_interval, found.shift_interval)
    assert Compared.of(scores([1, 2], of_one_prompt=2), scores([0, 1]), purpose="t").shift_interval is None
    with pytest.raises(ValueError, match="no scores"):
        Compared.of(scores([]), scores([1]), purpose="t")


def test_intervals_agree_with_a_plain_bootstrap_over_prompts() -> None:
    """Three pictures a prompt that resemble each other: loops that resample prompts whole give the same ends."""
    rng = np.random.default_rng(0)
    by_prompt = [list(rng.normal(rng.normal(), 0.2, size=3)) for _ in range(30)]
    real = rng.normal(0.5, 1, size=60)
    found = Compared.of(
        scores([value for each in by_prompt for value in each], of_one_prompt=3), scores(list(real)), purpose="t"
    )
    shifts, distances = [], []
    for _ in range(2000):
        drawn = np.concatenate([by_prompt[n] for n in rng.integers(0, 30, 30)])
        theirs = real[rng.integers(0, 60, 60)]
        shifts.append(drawn.mean() - theirs.mean())
        distances.append(wasserstein(drawn, theirs))
    np.testing.assert_allclose(found.shift_interval, np.quantile(shifts, (0.025, 0.975)), atol=0.05)
    np.testing.assert_allclose(found.distance_interval, np.quantile(distances, (0.025, 0.975)), atol=0.05)


def test_chance_falls_with_more_pictures() -> None:
    """Real pictures against themselves: about 1 / sqrt(n), never 0."""
    real = scores(list(np.random.default_rng(0).normal(size=400)))
    few, many = (chance(real, count, purpose="t")[0] for count in (20, 320))
    assert 0 < many < few
    assert few / many == pytest.approx(4, rel=0.3)
