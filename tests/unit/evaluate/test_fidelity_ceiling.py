"""Recall against the tagger's ceiling, by hand and against a plain simulation."""

from __future__ import annotations

import numpy as np
import pytest

from animetune.evaluate.fidelity.ceiling import LEAST_REAL, Ceiling, Tally, against, by_tag, change

TAGS = ["a", "b", "c"]
REAL = [
    *((f"r{n}", ["a"], ["a"] if n < 8 else []) for n in range(10)),  # a: found in 8 of 10
    *((f"s{n}", ["b"], ["b"] if n < 2 else []) for n in range(8)),  # b: in 2 of 8
    *((f"t{n}", ["c"], ["c"]) for n in range(LEAST_REAL - 1)),  # c: too few
]
DRAWN = [
    ("p1", ["a", "b"], ["a"]),
    ("p1", ["a", "b"], ["a", "b"]),
    ("p2", ["a", "c"], []),
    ("p2", ["a", "c"], ["a", "c"]),
]


def test_a_tally_by_hand() -> None:
    tally = Tally.of(DRAWN, TAGS)
    assert tally.prompts == ("p1", "p2")
    np.testing.assert_array_equal(tally.asked, [[2, 2, 0], [2, 0, 2]])
    np.testing.assert_array_equal(tally.found, [[2, 1, 0], [1, 0, 1]])
    np.testing.assert_allclose(tally.recall(), [0.75, 0.5, 0.5])
    assert np.isnan(Tally.of(DRAWN[:2], TAGS).recall()[2])
    assert by_tag({"base": tally}, TAGS)["base"]["b"] == {"asked": 2, "found": 1}
    assert "c" not in by_tag({"base": Tally.of(DRAWN[:2], TAGS)}, TAGS)["base"]


def test_the_ratio_by_hand() -> None:
    """a is asked 4 times and found 3 times, b twice and once; real pictures give 0.8 and 0.25: the tagger would find
    4 * 0.8 + 2 * 0.25 = 3.7, and 4 are found. c has too few real pictures and is in neither."""
    ceiling = Ceiling.of(Tally.of(REAL, TAGS))
    np.testing.assert_allclose(ceiling.shares, [0.8, 0.25, np.nan])
    assert ceiling.has.tolist() == [True, True, False]
    whole, only_a, only_c = against(Tally.of(DRAWN, TAGS), ceiling, [[0, 1, 2], [0], [2]], purpose="t")
    assert whole is not None
    assert only_a is not None
    assert (whole.value, whole.n) == (pytest.approx(4 / 3.7), 6)
    assert only_a.value == pytest.approx(3 / 3.2)
    assert only_c is None
    assert whole.interval is not None
    assert whole.interval.low < whole.value < whole.interval.high


def test_a_ceiling_of_nothing_gives_no_ratio() -> None:
    blind = [(f"r{n}", ["a"], []) for n in range(10)]
    assert against(Tally.of(DRAWN, TAGS), Ceiling.of(Tally.of(blind, TAGS)), [[0]], purpose="t") == [None]


def test_one_prompt_has_no_interval() -> None:
    (found,) = against(Tally.of(DRAWN[:2], TAGS), Ceiling.of(Tally.of(REAL, TAGS)), [[0]], purpose="t")
    assert found is not None
    assert found.interval is None


def test_changes_are_of_the_same_pictures() -> None:
    ceiling = Ceiling.of(Tally.of(REAL, TAGS))
    first = Tally.of(DRAWN, TAGS)
    better = Tally.of([(prompt, asked, asked) for prompt, asked, _ in DRAWN], TAGS)
    (same,) = change(first, first, ceiling, [[0, 1]], purpose="t")
    assert same is not None
    assert (same.value, same.interval) == (0, (0, 0))
    (found,) = change(first, better, ceiling, [[0, 1]], purpose="t")
    assert found is not None
    assert found.value == pytest.approx((6 - 4) / 3.7)
    with pytest.raises(ValueError, match="not of the same pictures"):
        change(first, Tally.of(DRAWN[:2], TAGS), ceiling, [[0]], purpose="t")


def test_intervals_agree_with_a_plain_bootstrap() -> None:
    """Against loops over resampled prompts and real pictures; their ends differ by the noise of resampling alone."""
    rng = np.random.default_rng(0)
    drawn = [
        (f"p{prompt}", ["a", "b"], [tag for tag in "ab" if rng.random() < 0.5 + 0.3 * (prompt % 2)])
        for prompt in range(40)
        for _ in range(2)
    ]
    real = [(f"r{n}", [tag], [tag] if rng.random() < 0.7 else []) for n in range(80) for tag in "ab"[n % 2]]
    (found,) = against(Tally.of(drawn, TAGS), Ceiling.of(Tally.of(real, TAGS)), [[0, 1]], purpose="t")
    assert found is not None
    assert found.interval is not None
    draws = []
    by_prompt = [[each for each in drawn if each[0] == f"p{n}"] for n in range(40)]
    for _ in range(2000):
        pictures = [each for n in rng.integers(0, 40, 40) for each in by_prompt[n]]
        seen = [real[n] for n in rng.integers(0, len(real), len(real))]
        shares = {tag: np.mean([tag in found_tags for _, asked, found_tags in seen if tag in asked]) for tag in "ab"}
        above = sum(tag in found_tags for _, asked, found_tags in pictures for tag in asked)
        draws.append(above / sum(shares[tag] for _, asked, _ in pictures for tag in asked))
    np.testing.assert_allclose(found.interval, np.quantile(draws, (0.025, 0.975)), atol=0.02)


def test_a_model_as_good_as_real_pictures_is_covered() -> None:
    """Drawn and real pictures from one distribution: 1 lies in most intervals of 95 %."""
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(40):
        drawn = [(f"p{n}", ["a"], ["a"] if rng.random() < 0.6 else []) for n in range(100)]
        real = [(f"r{n}", ["a"], ["a"] if rng.random() < 0.6 else []) for n in range(100)]
        (found,) = against(Tally.of(drawn, ["a"]), Ceiling.of(Tally.of(real, ["a"])), [[0]], purpose=f"t{trial}")
        assert found is not None
        assert found.interval is not None
        inside += found.interval.low <= 1 <= found.interval.high
    assert inside >= 34
