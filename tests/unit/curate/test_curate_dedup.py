"""Duplicates and the split: one survivor, whole families on one side."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate import dedup, split


def rows(*posts: tuple[int, str, int | None], source: str = "a") -> pl.DataFrame:
    """Rows of (id, pixels, score), each a family of its own."""
    return pl.DataFrame(
        {
            "key": [f"{source}/{post_id}" for post_id, _, _ in posts],
            "source": [source] * len(posts),
            "id": [post_id for post_id, _, _ in posts],
            "pixel_md5": [pixels for _, pixels, _ in posts],
            "score": [score for _, _, score in posts],
            "family": [f"{source}/{post_id}" for post_id, _, _ in posts],
        },
        schema_overrides={"score": pl.Int64, "id": pl.Int64},
    ).sort("source", "id")


@pytest.mark.parametrize(
    ("posts", "kept"),
    [
        ([(1, "x", 5), (2, "x", 9), (3, "x", 7)], ["a/2"]),
        ([(1, "x", 5), (2, "x", 5)], ["a/1"]),
        ([(9, "x", 5), (10, "x", 5)], ["a/9"]),  # the lowest id as a number
        ([(1, "x", None), (2, "x", -5)], ["a/2"]),
        ([(1, "x", None), (2, "x", None)], ["a/1"]),
        ([(1, "x", 1), (2, "y", 1), (3, "x", 2), (4, "z", None)], ["a/2", "a/3", "a/4"]),
        ([], []),
    ],
)
def test_the_best_of_equal_pictures_is_kept(posts, kept):
    outcome = dedup.keep_best(rows(*posts))
    assert outcome.kept["key"].to_list() == kept
    assert "pixel_md5" not in outcome.kept.columns
    assert sorted(outcome.dropped["key"].to_list()) == sorted({f"a/{post[0]}" for post in posts} - set(kept))
    assert set(outcome.dropped["reason"]) <= {"duplicate"}


def test_over_several_sources_the_first_name_is_kept():
    frame = pl.concat([rows((1, "x", 3), source="b"), rows((8, "x", 3), source="a")]).sort("source", "id")
    assert dedup.keep_best(frame).kept["key"].to_list() == ["a/8"]


def test_what_is_related_to_a_duplicate_is_related_to_the_one_kept():
    """2 equals 1 and is dropped; 3 is a child of 2, so 1 and 3 must stay on one side of the split."""
    frame = rows((1, "x", 9), (2, "x", 1), (3, "y", 1), (4, "z", 1))
    frame = frame.with_columns(family=pl.when(pl.col("id") == 3).then(pl.lit("a/2")).otherwise(pl.col("family")))
    kept = dedup.keep_best(frame).kept
    assert dict(kept.select("key", "family").iter_rows()) == {"a/1": "a/1", "a/3": "a/1", "a/4": "a/4"}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("wxyz"), st.none() | st.integers(-3, 3)), max_size=12))
def test_one_survivor_for_each_picture(posts: list):
    numbered = [(number, pixels, score) for number, (pixels, score) in enumerate(posts)]
    outcome = dedup.keep_best(rows(*numbered))
    assert outcome.kept.height == len({pixels for pixels, _ in posts})
    assert outcome.kept.height + outcome.dropped.height == len(posts)
    assert outcome.kept["id"].is_sorted()


def test_the_share_held_out_is_about_right_and_depends_on_the_seed():
    families = [f"a/{n}" for n in range(20_000)]
    val = split.held_out(families, share=0.05, at_most=10**6, seed=1)
    assert len(val) == pytest.approx(1000, abs=4 * (20_000 * 0.05 * 0.95) ** 0.5)
    assert val != split.held_out(families, share=0.05, at_most=10**6, seed=2)
    assert split.held_out(families, share=0.0, at_most=10**6, seed=1) == set()
    assert split.held_out(families, share=1.0, at_most=10**6, seed=1) == set(families)


def test_at_most_so_many_families_and_always_the_same_ones():
    families = [f"a/{n}" for n in range(2000)]
    few = split.held_out(families, share=0.5, at_most=10, seed=1)
    more = split.held_out(families, share=0.5, at_most=20, seed=1)
    assert len(few) == 10
    assert few < more


def test_a_family_keeps_its_side_when_posts_are_added():
    old = [f"a/{n}" for n in range(500)]
    before = split.held_out(old, share=0.1, at_most=10**6, seed=1)
    after = split.held_out([*old, *(f"b/{n}" for n in range(500))], share=0.1, at_most=10**6, seed=1)
    assert after & set(old) == before
