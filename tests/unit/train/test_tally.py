"""Losses by what samples are: every number by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from animetune.records import Batch, Classes, Size
from animetune.train.tally import COMPACT, Mean, Observed, Tally, means_by, merged


def batch(size: str = "64x64", *, epoch: int = 0, classes: Sequence[Classes] = (), count: int = 2) -> Batch:
    return Batch(
        size=Size.parse(size), epoch=epoch, step=0, rows=torch.arange(count), copies=torch.zeros(count),
        slots=torch.arange(count), token_ids=torch.zeros(count), time_ids=torch.zeros(count),
        loss_weights=torch.ones(count), share=1.0, global_batch=count, prompts=[""] * count, classes=list(classes),
    )  # fmt: skip


def girl(*artists: str) -> Classes:
    return Classes(("girl",), artists)


def test_means_by_everything() -> None:
    tally = Tally()
    tally.add(batch("64x64", classes=[girl(), Classes(("cat",))]), torch.tensor([1.0, 2.0]), torch.tensor([0, 99]))
    tally.add(batch("64x96", classes=[girl(), girl()]), torch.tensor([4.0, 8.0]), torch.tensor([100, 999]))
    means = {name: mean.value for name, mean in means_by(tally.take()).items()}
    assert means == {
        "loss": 3.75,
        "loss_by_timestep/000-099": 1.5,
        "loss_by_timestep/100-199": 4.0,
        "loss_by_timestep/900-999": 8.0,
        "loss_by_size/64x64": 1.5,
        "loss_by_size/64x96": 6.0,
        "loss_by_content/girl": pytest.approx(13 / 3),
        "loss_by_content/cat": 2.0,
    }
    assert means_by(tally.take()) == {}


def test_losses_that_are_not_finite_are_left_out() -> None:
    tally = Tally()
    tally.add(batch(classes=[girl(), Classes(("cat",))]), torch.tensor([math.nan, 2.0]), torch.tensor([0, 500]))
    tally.add(batch(classes=[girl(), girl()]), torch.tensor([math.inf, 1.0]), torch.tensor([0, 10]))
    found = tally.take()
    assert found.losses.tolist() == [2.0, 1.0]
    assert means_by(found)["loss_by_content/girl"] == Mean(1, 1.0)
    assert means_by(found)["loss_by_content/cat"] == Mean(1, 2.0)


def test_batches_without_classes() -> None:
    tally = Tally()
    tally.add(batch(), torch.tensor([1.0, 3.0]), torch.tensor([0, 0]))
    assert set(means_by(tally.take())) == {"loss", "loss_by_timestep/000-099", "loss_by_size/64x64"}


def test_more_micro_batches_than_are_kept_apart() -> None:
    tally = Tally()
    for index in range(COMPACT * 2 + 3):
        tally.add(batch(epoch=index), torch.tensor([1.0, 0.0]) * index, torch.tensor([0, 0]))
    found = tally.take()
    assert found.losses.tolist()[::2] == list(range(COMPACT * 2 + 3))
    assert found.epochs[::2] == list(range(COMPACT * 2 + 3))


def test_merged_means() -> None:
    parts = [{"a": Mean(1, 2.0), "b": Mean(2, 3.0)}, {"b": Mean(1, 0.0)}]
    assert merged(parts) == {"a": Mean(1, 2.0), "b": Mean(3, 3.0)}
    assert math.isnan(Mean().value)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30), st.integers(1, 4), st.randoms(use_true_random=False))
def test_the_order_of_samples_changes_no_bit(losses: list[float], parts: int, random) -> None:
    def observed(values: list[float]) -> Observed:
        tally = Tally()
        tally.add(batch(count=len(values)), torch.tensor(values, dtype=torch.float64), torch.zeros(len(values)))
        return tally.take()

    shuffled = random.sample(losses, len(losses))
    dealt = [observed(shuffled[part::parts]) for part in range(parts) if shuffled[part::parts]]
    assert means_by(Observed.joined(dealt)) == means_by(observed(losses))
