"""Draws are pure functions of their key: never a different stream for the same key, never the same for another."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.seeding import Purpose, key_for, rng_for, text_counter

counters = st.integers(-(2**63), 2**63 - 1)


def test_streams_never_change() -> None:
    """A run that was begun with an older version resumes with the same draws, or this fails."""
    assert key_for(0, Purpose.NOISE, 0, 0, 0) == 0xE08B16FA948824509C572AF7B30496EB
    assert key_for(7, Purpose.CAPTION, -1, 2**63 - 1) == 0x1DD9292DC1B84F38DB4F43EB4981A7F9
    assert key_for(7, Purpose.PLAN) == 0x0DF50D4119A7EDF769AEF0CD6B7BF362
    assert text_counter("danbooru/1") == 8208493241254023431
    assert text_counter("é") == 8919947510432695897
    rng = rng_for(7, Purpose.NOISE, 3, 41, 1)
    assert rng.random() == 0.6496495478463526
    assert rng.integers(1000, size=4).tolist() == [921, 146, 830, 966]
    assert rng.standard_normal(3, dtype=np.float32).tolist() == [
        1.3434648513793945,
        -0.10318437218666077,
        -2.7056081295013428,
    ]
    assert rng.permutation(6).tolist() == [2, 4, 5, 1, 0, 3]


def test_purposes_are_never_renumbered() -> None:
    assert [purpose.name for purpose in Purpose][:15] == [
        "REPEATS", "PLAN", "CAPTION", "CROP", "FLIP", "VAE", "NOISE", "TIMESTEP", "OFFSET", "DROPOUT", "SPLIT",
        "SAMPLE", "INIT", "DRAW", "CONTACT_SHEET",
    ]  # fmt: skip
    assert [int(purpose) for purpose in Purpose] == list(range(1, len(Purpose) + 1))


@given(st.lists(counters, max_size=5), counters, st.sampled_from(Purpose))
def test_equal_keys_equal_draws_whatever_else_is_drawn(key: list[int], seed: int, purpose: Purpose) -> None:
    expected = rng_for(seed, purpose, *key).random(4).tolist()
    rng_for(seed, purpose, *key, 0).random(100)
    assert rng_for(seed, purpose, *key).random(4).tolist() == expected


def test_the_global_generators_are_not_touched() -> None:
    before = (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    rng_for(1, Purpose.DRAW, 2).random(10)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


@given(st.lists(st.tuples(counters, st.sampled_from(Purpose), st.lists(counters, max_size=4)), min_size=2, max_size=2))
def test_different_keys_differ(two: list[tuple[int, Purpose, list[int]]]) -> None:
    (seed, purpose, key), (other_seed, other_purpose, other_key) = two
    is_same = (seed, purpose, key) == (other_seed, other_purpose, other_key)
    assert (key_for(seed, purpose, *key) == key_for(other_seed, other_purpose, *other_key)) == is_same


def test_neighbouring_keys_are_independent_streams() -> None:
    """First draws over 100,000 samples: uniform (chi-squared, 99 degrees of freedom), no correlation along any counter.

    The bounds are five standard deviations; the draws are fixed, so this passes or fails for ever.
    """
    count = 100_000
    keys = [key_for(7, Purpose.NOISE, 0, row, 0) for row in range(count)]
    assert len(set(keys)) == count
    draws = np.array([np.random.Generator(np.random.Philox(key=key)).random() for key in keys])
    observed = np.bincount((draws * 100).astype(int), minlength=100)
    chi_squared = float(((observed - count / 100) ** 2 / (count / 100)).sum())
    assert abs(chi_squared - 99) < 5 * (2 * 99) ** 0.5
    for lag in (1, 2, 1000):
        assert abs(np.corrcoef(draws[:-lag], draws[lag:])[0, 1]) < 5 / count**0.5
    part = 20_000
    n, t = Purpose.NOISE, Purpose.TIMESTEP
    for seed, purpose, epoch, copy in ((8, n, 0, 0), (7, t, 0, 0), (7, n, 1, 0), (7, n, 0, 1)):
        others = np.array([rng_for(seed, purpose, epoch, row, copy).random() for row in range(part)])
        assert abs(np.corrcoef(draws[:part], others)[0, 1]) < 5 / part**0.5


def test_noise_of_a_sample_is_normal_within_and_across_samples() -> None:
    noise = np.stack([rng_for(7, Purpose.NOISE, 0, row, 0).standard_normal((4, 16, 16)) for row in range(1000)])
    flat = noise.reshape(1000, -1)
    assert abs(flat.mean()) < 5 / flat.size**0.5
    assert abs(flat.std() - 1) < 5 / (2 * flat.size) ** 0.5
    across = np.corrcoef(flat[:200])  # 19,900 pairs of samples, each with standard deviation 1 / 32
    assert np.abs(across - np.eye(200)).max() < 5.5 / 32


@pytest.mark.parametrize("counter", [2**63, -(2**63) - 1, 1.5, "a"])
def test_a_counter_that_does_not_fit_is_an_error(counter: object) -> None:
    with pytest.raises(Exception, match=r"argument|format|integer"):
        key_for(0, Purpose.NOISE, counter)  # type: ignore[arg-type]


@given(st.text(st.characters(codec="utf-8")))
def test_a_text_is_a_counter(text: str) -> None:
    assert 0 <= text_counter(text) < 2**63
    key_for(0, Purpose.SPLIT, text_counter(text))
