"""Schedules at their corners, by numbers that can be checked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.train.lr import ConstantSchedule, CosineSchedule, lr_factor


def test_constant_with_warmup() -> None:
    cfg = ConstantSchedule(warmup_steps=4)
    assert [lr_factor(step, 10, cfg) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine_corners() -> None:
    cfg = CosineSchedule(name="cosine", warmup_steps=2, floor=0.1)
    assert lr_factor(0, 12, cfg) == 0.5
    assert lr_factor(2, 12, cfg) == 1.0
    assert lr_factor(7, 12, cfg) == pytest.approx(0.55)
    assert lr_factor(12, 12, cfg) == pytest.approx(0.1)


@given(
    st.integers(0, 50),
    st.integers(1, 200),
    st.integers(0, 300),
    st.floats(0, 1),
    st.sampled_from(["constant", "cosine"]),
)
def test_factor_is_a_share(warmup: int, total: int, step: int, floor: float, name: str) -> None:
    cfg = ConstantSchedule(warmup_steps=warmup)
    if name == "cosine":
        cfg = CosineSchedule(name="cosine", warmup_steps=warmup, floor=floor)
    assert 0 <= lr_factor(step, total, cfg) <= 1
