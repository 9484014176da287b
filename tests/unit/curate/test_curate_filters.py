"""Every filter against rows worked out by hand, unknown values included."""

from __future__ import annotations

import polars as pl
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate import filters
from animetune.curate.config.filters import Filter

FILTER = pydantic.TypeAdapter(Filter)

COLUMNS = {
    "key": pl.String, "rating": pl.String, "score": pl.Int64, "post_width": pl.Int32, "post_height": pl.Int32,
    "width": pl.Int32, "height": pl.Int32, "file_ext": pl.String, "is_deleted": pl.Boolean, "quality": pl.String,
    "tags_general": pl.List(pl.String), "tags_character": pl.List(pl.String), "tags_copyright": pl.List(pl.String),
    "tags_artist": pl.List(pl.String), "tags_meta": pl.List(pl.String),
}  # fmt: skip


def rows(**columns: list) -> pl.DataFrame:
    """Rows named a, b, c ...; columns that are not given are null, lists of tags empty."""
    count = len(next(iter(columns.values())))
    filled = {"key": [chr(ord("a") + n) for n in range(count)], **columns}
    empty = {name: [[] if name.startswith("tags_") else None] * count for name in COLUMNS}
    return pl.DataFrame({**empty, **filled}, schema=COLUMNS)


def dropped(frame: pl.DataFrame, *settings: dict, phase: str = "post") -> dict[str, str]:
    outcome = filters.apply(frame, [FILTER.validate_python(item) for item in settings], phase)
    assert outcome.kept.height + outcome.dropped.height == frame.height
    assert outcome.kept.columns == frame.columns
    return dict(outcome.dropped.iter_rows())


@pytest.mark.parametrize(
    ("setting", "columns", "expected"),
    [
        ({"name": "rating", "keep": ["g", "s"]}, {"rating": ["g", "s", "q", "e", None]}, "cde"),
        ({"name": "rating", "keep": ["e", None]}, {"rating": ["g", "e", None]}, "a"),
        ({"name": "score_min", "score": 5}, {"score": [4, 5, 6, -1, None]}, "ad"),
        ({"name": "extension", "keep": ["png", "jpg"]}, {"file_ext": ["png", "mp4", None]}, "b"),
        ({"name": "deleted"}, {"is_deleted": [True, False]}, "a"),
        (
            {"name": "min_side", "pixels": 100},
            {"post_width": [99, 100, 500, None], "post_height": [500, 100, 99, 5]},
            "acd",
        ),
        (
            {"name": "megapixels", "min": 0.01, "max": 0.04},
            {"post_width": [99, 100, 200, 201, None], "post_height": [100, 100, 200, 200, 5]},
            "ad",
        ),
        (
            {"name": "aspect_ratio", "max": 2.0},
            {"post_width": [200, 201, 100, 100, None], "post_height": [100, 100, 200, 201, 5]},
            "bd",
        ),
        ({"name": "exclude_tags", "tags": ["x", "y"]}, {"tags_meta": [["x"], ["z"], [], ["z", "y"]]}, "ad"),
        ({"name": "exclude_tags", "tags": ["x"]}, {"tags_artist": [["x"], ["xx"]]}, "a"),
        ({"name": "require_tags", "tags": ["x", "y"]}, {"tags_general": [["x"], ["z"], [], ["z", "y"]]}, "bc"),
    ],
)
def test_what_each_filter_drops(setting: dict, columns: dict, expected: str):
    assert dropped(rows(**columns), setting) == dict.fromkeys(expected, setting["name"])


def test_the_first_filter_gives_the_reason():
    frame = rows(score=[1, 1, 9], rating=["e", "g", "e"])
    score, rating = {"name": "score_min", "score": 5}, {"name": "rating", "keep": ["g"]}
    assert dropped(frame, score, rating) == {"a": "score_min", "b": "score_min", "c": "rating"}
    assert dropped(frame, rating, score) == {"a": "rating", "b": "score_min", "c": "rating"}


def test_sizes_are_looked_at_twice_and_the_true_size_decides():
    frame = rows(post_width=[50, 200], post_height=[50, 200], width=[200, 50], height=[200, 50])
    side = {"name": "min_side", "pixels": 100}
    assert dropped(frame, side) == {"a": "min_side"}
    assert dropped(frame, side, phase="picture") == {"b": "min_side"}


def test_quality_waits_for_the_classes():
    frame = rows(quality=["best", "worst", None])
    quality = {"name": "quality", "keep": ["best"]}
    assert dropped(frame, quality) == {}
    assert dropped(frame, quality, phase="classes") == {"b": "quality", "c": "quality"}
    assert dropped(frame, {**quality, "keep": ["best", None]}, phase="classes") == {"b": "quality"}


def test_a_picture_too_large_for_32_bits_of_pixels():
    frame = rows(post_width=[60_000], post_height=[60_000])
    assert dropped(frame, {"name": "megapixels", "max": 64}) == {"a": "megapixels"}


def test_without_filters_everything_stays():
    assert dropped(rows(score=[1, None])) == {}


SETTINGS = st.sampled_from(
    [
        {"name": "rating", "keep": ["g", None]},
        {"name": "score_min", "score": 3},
        {"name": "min_side", "pixels": 10},
        {"name": "megapixels", "min": 0.0001},
        {"name": "aspect_ratio", "max": 3},
        {"name": "extension", "keep": ["png"]},
        {"name": "exclude_tags", "tags": ["a"]},
        {"name": "require_tags", "tags": ["b", "c"]},
    ]
)
ROW = {
    "rating": st.sampled_from(["g", "e", None]),
    "score": st.none() | st.integers(-9, 9),
    "post_width": st.none() | st.integers(1, 40),
    "post_height": st.none() | st.integers(1, 40),
    "file_ext": st.sampled_from(["png", "gif", None]),
    "tags_general": st.lists(st.sampled_from("abcd"), max_size=3),
}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.fixed_dictionaries(ROW), max_size=6), st.lists(SETTINGS, max_size=4))
def test_rows_do_not_influence_each_other(values: list[dict], chosen: list[dict]):
    """A row's outcome among others is its outcome alone."""
    frame = rows(**{name: [value[name] for value in values] for name in ROW})
    together = dropped(frame, *chosen)
    alone = {}
    for index in range(frame.height):
        alone |= dropped(frame.slice(index, 1), *chosen)
    assert together == alone
