"""What is held out for validation: by whole families, always the same ones."""

from __future__ import annotations

import polars as pl
import pytest

from animetune.curate import split
from animetune.curate.config.split import SplitConfig


def sides(families: list[str], *, seed: int = 1, share: float = 0.05, at_most: int = 10**6) -> dict[str, str]:
    """Family -> train or val."""
    rows = split.add_places(pl.DataFrame({"family": families}), seed).kept
    outcome = split.hold_out(rows, SplitConfig(val_share=share, val_families=at_most))
    found = dict(outcome.kept.select("family", "split").iter_rows())
    of_val = [family for family, side in found.items() if side == "val"]
    assert outcome.facts == {"families": len(set(families)), "val_families": len(of_val)}
    return found


def val(families: list[str], **settings) -> set[str]:
    return {family for family, side in sides(families, **settings).items() if side == "val"}


def names(count: int, source: str = "a") -> list[str]:
    return [f"{source}/{n}" for n in range(count)]


def test_the_share_held_out_is_about_right_and_depends_on_the_seed():
    held = val(names(20_000))
    assert len(held) == pytest.approx(1000, abs=4 * (20_000 * 0.05 * 0.95) ** 0.5)
    assert held != val(names(20_000), seed=2)
    assert val(names(50), share=0.0) == set()
    assert val(names(50), share=1.0) == set(names(50))
    assert val(names(50), share=1.0, at_most=0) == set()
    assert val([]) == set()


def test_at_most_so_many_families_and_always_the_same_ones():
    few = val(names(2000), share=0.5, at_most=10)
    more = val(names(2000), share=0.5, at_most=20)
    assert len(few) == 10
    assert few < more


def test_a_family_keeps_its_side_when_posts_are_added():
    old = names(500)
    before = val(old, share=0.1)
    after = val(old + names(500, "b"), share=0.1)
    assert after & set(old) == before
    assert before


def test_all_of_a_family_are_on_one_side():
    rows = split.add_places(pl.DataFrame({"family": names(40) * 3}), 7).kept
    kept = split.hold_out(rows, SplitConfig(val_share=0.5, val_families=9)).kept
    assert kept.group_by("family").agg(pl.col("split").n_unique())["split"].unique().to_list() == [1]
    assert kept.filter(pl.col("split") == "val").height == 27


def test_the_lowest_place_is_held_out():
    lowest = min(names(300), key=lambda name: split.place(name, 3))
    assert val(names(300), seed=3, share=1.0, at_most=1) == {lowest}
    assert val(names(300), seed=3, share=0.5 * split.place(lowest, 3) / split.PLACES) == set()
