"""Duplicates, takedowns and families: one survivor, and whose relations it takes over."""

from __future__ import annotations

import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.config.dedup import DedupConfig
from animetune.curate.select import dedup
from animetune.curate.steps import Outcome, total

SCHEMA = {
    "row": pl.UInt32, "key": pl.String, "source": pl.String, "id": pl.Int64, "score": pl.Int64, "fav_count": pl.Int64,
    "created_at": pl.Datetime("us", "UTC"), "family": pl.String, "is_included": pl.Boolean, "is_taken_down": pl.Boolean,
    "md5": pl.String, "pixel_hash": pl.String, "pixel_digest": pl.String, "post_width": pl.Int32,
    "post_height": pl.Int32, "post_bytes": pl.Int64, "width": pl.Int32, "height": pl.Int32, "image_bytes": pl.Int64,
}  # fmt: skip


def rows(*posts: dict[str, Any]) -> pl.DataFrame:
    """Rows of the source `a` with ids from 1, each a family of its own and on no list; the rest is unknown."""
    filled = []
    for number, post in enumerate(posts, start=1):
        key = f"{post.get('source', 'a')}/{post.get('id', number)}"
        named = {"source": "a", "id": number, "key": key, "family": key, "is_included": False, "is_taken_down": False}
        filled.append({**dict.fromkeys(SCHEMA), **named, **post})
    frame = pl.DataFrame(filled, schema=SCHEMA).sort("source", "id")
    return frame.with_columns(row=pl.int_range(pl.len(), dtype=pl.UInt32))


def after(frame: pl.DataFrame, **settings: Any) -> Outcome:
    return checked(frame, dedup.after_decoding(frame.select("row", "key", *dedup.READS_AFTER), DedupConfig(**settings)))


def before(frame: pl.DataFrame, **settings: Any) -> Outcome:
    narrow = frame.select("row", "key", *dedup.READS_BEFORE)
    return checked(frame, dedup.before_decoding(narrow, DedupConfig(**settings)))


def checked(frame: pl.DataFrame, outcome: Outcome) -> Outcome:
    """Every row has one outcome, and those kept are in order."""
    assert sorted([*outcome.kept["key"], *outcome.dropped["key"]]) == sorted(frame["key"])
    assert outcome.kept["row"].is_sorted()
    return outcome


def kept(outcome: Outcome) -> list[str]:
    return outcome.kept["key"].to_list()


@pytest.mark.parametrize(
    ("posts", "expected"),
    [
        ([("x", 5), ("x", 9), ("x", 7)], ["a/2"]),
        ([("x", 5), ("x", 5)], ["a/1"]),
        ([("x", None), ("x", -5)], ["a/2"]),
        ([("x", None), ("x", None)], ["a/1"]),
        ([("x", 1), ("y", 1), ("x", 2), ("z", None)], ["a/2", "a/3", "a/4"]),
        ([(None, 1), (None, 1)], ["a/1", "a/2"]),  # not decoded: unknown is equal to nothing
        ([], []),
    ],
)
def test_the_best_of_equal_pictures_is_kept(posts, expected):
    outcome = after(rows(*({"pixel_digest": pixels, "score": score} for pixels, score in posts)))
    assert kept(outcome) == expected
    assert set(outcome.dropped["reason"]) <= {"duplicate"}


def test_the_lowest_id_as_a_number():
    assert kept(after(rows({"pixel_digest": "x", "id": 10}, {"pixel_digest": "x", "id": 9}))) == ["a/9"]


def test_over_several_sources_the_first_name_is_kept():
    frame = rows({"pixel_digest": "x", "source": "b"}, {"pixel_digest": "x", "id": 8})
    assert kept(after(frame)) == ["a/8"]


@pytest.mark.parametrize(
    ("best", "expected"),
    [
        (["area", "score"], "a/3"),
        (["bytes"], "a/2"),
        (["score"], "a/1"),
        (["favourites", "bytes"], "a/2"),
        (["newest"], "a/3"),
        (["oldest"], "a/2"),
        ([], "a/1"),
    ],
)
def test_what_is_best(best: list[str], expected: str):
    old, new = (datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (2020, 2021))
    frame = rows(
        {"score": 9, "fav_count": None, "image_bytes": 5, "width": None, "height": 9999, "created_at": None},
        {"score": 1, "fav_count": 7, "image_bytes": 9, "width": 10, "height": 10, "created_at": old},
        {"score": 1, "fav_count": 7, "image_bytes": 1, "width": 40_000, "height": 60_000, "created_at": new},
    ).with_columns(pixel_digest=pl.lit("x"))
    assert kept(after(frame, best=best)) == [expected]


def test_a_picture_picked_by_hand_is_the_one_kept():
    frame = rows({"pixel_digest": "x", "score": 9}, {"pixel_digest": "x", "is_included": True})
    assert kept(after(frame)) == ["a/2"]
    assert kept(before(frame.with_columns(md5="pixel_digest"))) == ["a/2"]


def test_what_posts_state_is_compared_before_decoding_and_not_again():
    sized = {"md5": "x", "post_width": 2, "post_height": 2}
    frame = rows({"md5": "x"}, sized, {"pixel_hash": "p"}, {"pixel_hash": "p"})
    outcome = before(frame)
    assert kept(outcome) == ["a/2", "a/3"]
    assert outcome.facts == {"duplicates_stated": {"sets": 2, "md5": 2, "pixel_hash": 2}}
    assert kept(before(frame, by=["pixel_hash"])) == ["a/1", "a/2", "a/3"]
    assert kept(before(frame, by=[])) == kept(after(frame)) == ["a/1", "a/2", "a/3", "a/4"]


def test_equality_goes_on_over_both():
    """1 and 2 share a file, 2 and 3 the pixels: one picture, although 1 and 3 state nothing in common."""
    frame = rows({"md5": "x"}, {"md5": "x", "pixel_hash": "p"}, {"md5": "y", "pixel_hash": "p", "score": 1})
    outcome = before(frame)
    assert kept(outcome) == ["a/3"]
    assert outcome.facts["duplicates_stated"]["sets"] == 1


def test_what_is_related_to_a_duplicate_is_related_to_the_one_kept():
    """2 equals 1 and is dropped; 3 is a child of 2, so 1 and 3 must stay on one side of the split."""
    x = {"pixel_digest": "x"}
    frame = rows(x | {"score": 9}, x, {"pixel_digest": "y", "family": "a/2"}, {"id": 4})
    outcome = after(frame)
    assert dict(outcome.kept.select("key", "family").iter_rows()) == {"a/1": "a/1", "a/3": "a/1", "a/4": "a/4"}


@pytest.mark.parametrize("settings_", [{}, {"by": []}, {"union_tags": True}])
def test_a_takedown_holds_in_every_source_that_has_the_file(settings_: dict):
    frame = rows(
        {"source": "a", "id": 1, "md5": "x", "pixel_hash": "p", "is_taken_down": True},
        {"source": "b", "id": 1, "md5": "x", "is_included": True},
        {"source": "b", "id": 2, "pixel_hash": "p"},
        {"source": "b", "id": 3, "md5": "y"},
        {"source": "b", "id": 4},
    )
    outcome = before(frame, **settings_)
    assert kept(outcome) == ["b/3", "b/4"]
    assert set(outcome.dropped["reason"]) == {"takedown"}


def test_a_takedown_of_a_post_that_states_nothing_is_of_that_post():
    assert kept(before(rows({"is_taken_down": True}, {"md5": "x"}, {}))) == ["a/2", "a/3"]


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, [1, 2, 3, 4, 5, 6]), (3, [1, 2, 3, 4, 5, 6]), (2, [2, 3, 4, 5, 6]), (1, [3, 4, 6])]
)
def test_at_most_so_many_of_a_family(limit: int | None, expected: list[int]):
    scores, members = [1, 2, 3, 1, 1, 1], ["f", "f", "f", "g", "h", "h"]
    frame = rows(*({"score": score, "family": family} for score, family in zip(scores, members, strict=True)))
    outcome = after(frame.with_columns(is_included=pl.col("id") == 6), family_limit=limit)
    assert outcome.kept["id"].to_list() == expected
    assert set(outcome.dropped["reason"]) <= {"family_limit"}


def test_pictures_picked_by_hand_count_but_stay():
    frame = rows({"score": 9}, {"is_included": True}, {"is_included": True}).with_columns(family=pl.lit("f"))
    assert kept(after(frame, family_limit=1)) == ["a/2", "a/3"]


def test_a_duplicate_takes_no_place_in_its_family():
    frame = rows({"pixel_digest": "x"}, {"pixel_digest": "x"}, {"pixel_digest": "y"}).with_columns(family=pl.lit("f"))
    outcome = after(frame, family_limit=2)
    assert kept(outcome) == ["a/1", "a/3"]
    assert outcome.dropped.rows() == [("a/2", "duplicate")]


def united(frame: pl.DataFrame, parts: int, **settings: Any) -> tuple[pl.DataFrame, list[Outcome]]:
    """The three steps, with the rows cut in so many parts; and the outcomes."""
    found = after(frame, union_tags=True, **settings)
    assert set(dedup.WRITES_WITH_UNION) <= set(found.kept.columns)
    rest = found.kept.join(frame.select("row", *dedup.TAGS), on="row", how="left", maintain_order="left")
    size = -(-rest.height // parts)
    pieces = [rest.slice(start, size) for start in range(0, rest.height, size)]
    collected = [dedup.collect_tags(piece) for piece in pieces]
    table = total([each.tables[dedup.TWIN_TAGS] for each in collected])
    done = [dedup.unite_tags(each.kept.select("row", "key", *dedup.TAGS), table) for each in collected]
    return pl.concat([each.kept for each in done]), [found, *collected, *done]


def tagged(frame: pl.DataFrame, **lists: list) -> pl.DataFrame:
    filled = {name: lists.get(name, [[] for _ in range(frame.height)]) for name in dedup.TAGS}
    return frame.with_columns(pl.Series(name, tags, pl.List(pl.String)) for name, tags in filled.items())


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_the_tags_of_duplicates_are_put_together(parts: int):
    x, y = {"pixel_digest": "x"}, {"pixel_digest": "y"}
    posts = (x, y, x | {"score": 1}, x, {"md5": "z"})
    general = [["c", "a"], ["own"], ["b", "a"], ["d"], None]
    frame = tagged(rows(*posts), tags_general=general, tags_artist=[["someone"], [], [], [], []])
    found, outcomes = united(frame, parts)
    assert found.select("key", "tags_general", "tags_artist").rows() == [
        ("a/2", ["own"], []),
        ("a/3", ["b", "a", "c", "d"], ["someone"]),
        ("a/5", [], []),
    ]
    dropped = pl.concat([each.dropped for each in outcomes])
    assert sorted(dropped.rows()) == [("a/1", "duplicate"), ("a/4", "duplicate")]
    added = [each.facts["tags_of_duplicates"] for each in outcomes if "tags_of_duplicates" in each.facts]
    assert sum(each["tags_general"] for each in added) == 2
    assert sum(each["tags_artist"] for each in added) == 1


def test_with_union_every_duplicate_is_found_after_decoding():
    frame = tagged(rows({"md5": "x"}, {"md5": "x"}), tags_general=[["a"], ["b"]])
    assert kept(before(frame, union_tags=True)) == ["a/1", "a/2"]
    assert united(frame, 1)[0]["tags_general"].to_list() == [["a", "b"]]


def test_duplicates_of_what_a_family_is_too_large_for_go_at_once():
    posts = [{"pixel_digest": "x"}, {"pixel_digest": "x"}, {"pixel_digest": "y", "score": 5}]
    frame = tagged(rows(*posts).with_columns(family=pl.lit("f")))
    found, outcomes = united(frame, 1, family_limit=1)
    assert found["key"].to_list() == ["a/3"]
    assert sorted(outcomes[0].dropped.rows()) == [("a/1", "family_limit"), ("a/2", "duplicate")]


POST = st.fixed_dictionaries(
    {
        "pixel_digest": st.sampled_from([None, "w", "x", "y"]),
        "md5": st.sampled_from([None, "m", "n"]),
        "score": st.none() | st.integers(-3, 3),
        "is_included": st.booleans(),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(POST, max_size=9))
def test_one_survivor_for_each_picture(posts: list):
    """By decoded pixels: one of each, picked by hand where any is, and doing it again changes nothing."""
    outcome = after(rows(*posts))
    known = outcome.kept["pixel_digest"].drop_nulls().to_list()
    assert sorted(known) == sorted({post["pixel_digest"] for post in posts} - {None})
    of_rest = outcome.kept.filter(~pl.col("is_included"))["pixel_digest"].drop_nulls()
    assert not set(of_rest) & {post["pixel_digest"] for post in posts if post["is_included"]}
    assert kept(after(outcome.kept)) == kept(outcome)


@settings(max_examples=60, deadline=None)
@given(st.lists(POST, max_size=9))
def test_duplicates_that_stay_for_their_tags_name_the_one_that_is_kept(posts: list):
    """By both columns at once, survivors share neither, and every duplicate points to one of them."""
    outcome = after(rows(*posts), union_tags=True)
    best = outcome.kept.filter(pl.col("twin_of") == pl.col("row"))
    for name in ("md5", "pixel_digest"):
        assert best[name].drop_nulls().is_unique().all()
    assert set(outcome.kept["twin_of"]) == set(best["row"])
    assert outcome.kept.height == len(posts)
