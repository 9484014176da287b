"""Skipped steps: what is written down, and when they are too many."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from animetune import fsio
from animetune.errors import NonFiniteError
from animetune.train.finite import IN_A_ROW, RECENT, WINDOW, SkippedSteps


def keys_of(rows: list[int]) -> list[str]:
    return [f"set/{row}" for row in rows]


def finish(skipped: SkippedSteps, step: int, *, is_finite: bool) -> None:
    skipped.finish(step, is_finite=is_finite, keys_of=keys_of)


def test_the_samples_that_caused_it_are_named_over_all_micro_batches(tmp_path: Path) -> None:
    skipped = SkippedSteps(tmp_path / "ledger.jsonl", rank=3)
    skipped.saw(torch.tensor([1, 2]), torch.tensor([0.5, torch.nan]))
    skipped.saw(torch.tensor([8, 9]), torch.tensor([-torch.inf, 0.5]))
    finish(skipped, 5, is_finite=False)
    skipped.saw(torch.tensor([4]), torch.tensor([0.1]))
    finish(skipped, 6, is_finite=True)
    expected = {"event": "skipped", "step": 5, "rank": 3, "rows": [2, 8], "keys": ["set/2", "set/8"]}
    assert fsio.read_lines(tmp_path / "ledger.jsonl") == [expected]
    assert skipped.steps == [5]


def test_gradients_alone_are_told_once_by_rank_0(tmp_path: Path) -> None:
    for rank in range(3):
        skipped = SkippedSteps(tmp_path / "ledger.jsonl", rank=rank)
        skipped.saw(torch.tensor([1]), torch.tensor([0.5]))
        finish(skipped, 5, is_finite=False)
    assert [(line["rank"], line["keys"]) for line in fsio.read_lines(tmp_path / "ledger.jsonl")] == [(0, [])]


def test_ten_in_a_row_are_too_many_across_a_restart_too(tmp_path: Path) -> None:
    first = SkippedSteps(tmp_path / "ledger.jsonl", rank=0)
    for step in range(1, 5):
        finish(first, step, is_finite=False)
    skipped = SkippedSteps(tmp_path / "ledger.jsonl", rank=0, skipped=first.steps)
    for step in range(5, IN_A_ROW):
        finish(skipped, step, is_finite=False)
    with pytest.raises(NonFiniteError, match=f"step {IN_A_ROW}: .* in 10 steps in a row"):
        finish(skipped, IN_A_ROW, is_finite=False)


def test_a_finite_step_between_them_is_enough(tmp_path: Path) -> None:
    skipped = SkippedSteps(tmp_path / "ledger.jsonl", rank=0)
    for step in range(1, 90):
        finish(skipped, step, is_finite=step % IN_A_ROW == 0)
    assert len(skipped.steps) == 89 - 89 // IN_A_ROW


def test_a_hundred_of_the_last_ten_thousand_are_too_many(tmp_path: Path) -> None:
    skipped = SkippedSteps(tmp_path / "ledger.jsonl", rank=0)
    apart = WINDOW // RECENT
    for step in range(1, 3 * WINDOW, apart + 2):  # a little too seldom
        finish(skipped, step, is_finite=False)
    assert len(skipped.steps) == -(-WINDOW // (apart + 2))
    skipped = SkippedSteps(tmp_path / "ledger.jsonl", rank=0)
    steps = list(range(1, WINDOW + 1, apart))
    for step in steps[:-1]:
        finish(skipped, step, is_finite=False)
    with pytest.raises(NonFiniteError, match="in 100 of the last 10,000 steps"):
        finish(skipped, steps[-1], is_finite=False)
    assert skipped.steps == steps
