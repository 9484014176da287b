"""Losses by class: numbers by hand, and a table that neither ranks nor a resume change."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from animetune.records import Classes
from animetune.train.class_losses import ClassLosses
from animetune.train.tally import Observed

CAT, DOG, BOTH = Classes(("cat",), ("ann",)), Classes(("dog",)), Classes(("dog",), ("ann", "bob"))


def observed(*samples: tuple[float, int, int, Classes]) -> Observed:
    """Of (loss, timestep, epoch, classes)."""
    losses, timesteps, epochs, classes = zip(*samples, strict=True)
    return Observed(np.array(losses), np.array(timesteps), list(epochs), ["64x64"] * len(losses), list(classes))


def rows(losses: ClassLosses) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(losses.table())))


def test_relative_to_all_at_the_same_timesteps() -> None:
    """Early timesteps average 0.2, late ones 0.8; cats are a tenth above at both, dogs as much below."""
    losses = ClassLosses(["content_bucket"])
    losses.add(observed((0.22, 5, 0, CAT), (0.18, 50, 0, DOG), (0.88, 950, 0, CAT), (0.72, 990, 0, DOG)))
    losses.add(observed((0.72, 990, 0, DOG), (0.88, 910, 0, CAT), (0.5, 0, 1, CAT)))
    table = {(row["class"], row["epoch"]): row for row in rows(losses)}
    assert [row["class"] for row in rows(losses)] == ["cat", "cat", "dog"]
    assert float(table["cat", "0"]["loss"]) == pytest.approx((0.22 + 0.88 + 0.88) / 3, rel=1e-5)
    assert table["cat", "0"]["samples"] == "3"
    assert float(table["cat", "0"]["relative_loss"]) == 1.1
    assert float(table["dog", "0"]["relative_loss"]) == 0.9
    assert float(table["cat", "1"]["relative_loss"]) == 1.0


def test_a_sample_counts_for_each_of_its_tags() -> None:
    losses = ClassLosses(["artist", "content_bucket"])
    losses.add(observed((1.0, 0, 0, CAT), (3.0, 0, 0, BOTH), (2.0, 0, 0, DOG)))
    found = {(row["kind"], row["class"]): (row["samples"], float(row["relative_loss"])) for row in rows(losses)}
    assert found == {
        ("artist", "ann"): ("2", 1.0),
        ("artist", "bob"): ("1", 1.5),
        ("content_bucket", "cat"): ("1", 0.5),
        ("content_bucket", "dog"): ("2", 1.25),
    }


def test_ranks_and_resumes_change_nothing() -> None:
    samples = [(0.1 * index, 37 * index % 1000, index // 20, (CAT, DOG, BOTH)[index % 3]) for index in range(60)]
    whole = ClassLosses(["content_bucket", "artist"])
    whole.add(observed(*samples))
    resumed = ClassLosses(["content_bucket", "artist"])
    for part in (samples[:25], samples[25:]):
        saved = json.loads(json.dumps(resumed.state_dict()))
        resumed = ClassLosses(["content_bucket", "artist"])
        resumed.load_state_dict(saved)
        for rank in (0, 1):
            mine = ClassLosses(["content_bucket", "artist"])
            mine.add(observed(*part[rank::2]))
            resumed.merge(mine.take())
            assert mine.take() == {}
    assert resumed.table() == whole.table()


def test_names_with_commas_and_quotes() -> None:
    losses = ClassLosses(["content_bucket"])
    losses.add(observed((1.0, 0, 0, Classes(('a, "b"',)))))
    assert rows(losses)[0]["class"] == 'a, "b"'
