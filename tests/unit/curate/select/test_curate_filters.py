"""Every filter against rows worked out by hand, unknown values included."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import get_args

import polars as pl
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.config.filter_model import Phase
from animetune.curate.config.filters import Filter
from animetune.curate.select import filters
from animetune.curate.select.lists import PostList
from animetune.errors import DataError
from animetune.records import TABLE_COLUMNS
from animetune.tables import schema

FILTER = pydantic.TypeAdapter(Filter)
PHASES = get_args(Phase)
COLUMNS = {
    **schema(),
    "n_people": pl.Int32,
    "tags_implied": pl.List(pl.String),
    "is_included": pl.Boolean,
    "is_taken_down": pl.Boolean,
}


def rows(**columns: list) -> pl.DataFrame:
    """Rows named a, b, c ...; columns that are not given are null, lists empty, and nothing is on a list."""
    count = len(next(iter(columns.values())))
    filled = {"key": [chr(ord("a") + n) for n in range(count)], **columns}
    lists = {column.name: [] for column in TABLE_COLUMNS if column.dtype == "list[str]"}
    default = {**dict.fromkeys(COLUMNS), **lists, "is_included": False, "is_taken_down": False}
    return pl.DataFrame({**{name: [value] * count for name, value in default.items()}, **filled}, schema=COLUMNS)


def models(*settings: dict) -> list[Filter]:
    return [FILTER.validate_python(item) for item in settings]


def dropped(frame: pl.DataFrame, *settings: dict, phase: str = "post") -> dict[str, str]:
    outcome = filters.apply(frame, models(*settings), phase)
    assert outcome.kept.height + outcome.dropped.height == frame.height
    assert outcome.kept.columns == frame.columns
    return dict(outcome.dropped.iter_rows())


@pytest.mark.parametrize(
    ("setting", "columns", "expected"),
    [
        ({"name": "rating", "keep": ["g", "s"]}, {"rating": ["g", "s", "q", "e", None]}, "cde"),
        ({"name": "rating", "keep": ["e", None]}, {"rating": ["g", "e", None]}, "a"),
        ({"name": "source", "keep": ["x"]}, {"source": ["x", "y"]}, "b"),
        ({"name": "score", "min": 5}, {"score": [4, 5, 6, -1, None]}, "ad"),
        ({"name": "score", "max": 5}, {"score": [4, 5, 6, -1, None]}, "c"),
        ({"name": "score", "min": 5, "max": 5}, {"score": [4, 5, 6, None]}, "ac"),
        ({"name": "score", "min": 5, "unknown": "drop"}, {"score": [4, 5, None]}, "ac"),
        ({"name": "favourites", "min": 2}, {"fav_count": [1, 2, None]}, "a"),
        ({"name": "aesthetic_score", "min": 0.45}, {"aesthetic_score": [0.45, 0.4499, None, float("nan")]}, "b"),
        (
            {"name": "aesthetic_score", "max": 0.45, "unknown": "drop"},
            {"aesthetic_score": [0.45, 0.4501, None, float("nan")]},
            "bcd",
        ),
        ({"name": "extension", "keep": ["png", "jpg"]}, {"file_ext": ["png", "mp4", None]}, "b"),
        ({"name": "deleted"}, {"is_deleted": [True, False]}, "a"),
        (
            {"name": "min_side", "pixels": 100, "unknown": "drop"},  # unknown until the picture is opened
            {"post_width": [100, 500, None, 99], "post_height": [100, None, 500, None]},
            "d",
        ),
        (
            {"name": "max_side", "pixels": 100},
            {"post_width": [100, 101, 5, None, None], "post_height": [100, 5, 101, 5, 101]},
            "bce",
        ),
        (
            {"name": "bytes_per_pixel", "min": 0.1, "max": 4},
            {"post_width": [10] * 5, "post_height": [10] * 5, "post_bytes": [9, 10, 400, 401, None]},
            "ad",
        ),
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
        (
            {"name": "exclude_tags", "tags": ["x", "y"], "match": "all"},
            {"tags_meta": [["x"], ["y", "x"], []], "tags_general": [["y"], [], ["y"]]},
            "ab",
        ),
        (
            {"name": "require_tags", "tags": ["x", "y"], "match": "all"},
            {"tags_meta": [["x"], ["y", "x"], []], "tags_general": [["y"], [], ["y"]]},
            "c",
        ),
        (
            {"name": "exclude_tags", "tags": ["Long Hair"]},
            {"tags_general": [["long_hair"], ["Long_Hair"], ["long"]]},
            "ab",
        ),
        (
            {"name": "exclude_tags", "tags": ["*_(cosplay)", "ai-*"]},
            {"tags_character": [["miku_(cosplay)"], ["miku_(cosplay)_2"], ["ai-made"], ["x_ai-"]]},
            "ac",
        ),
        ({"name": "exclude_tags", "tags": ["a.c*"]}, {"tags_general": [["abc"], ["a.c"], ["a.cd"]]}, "bc"),
        ({"name": "exclude_tags", "tags": ["x"]}, {"tags_general": [None, ["x"]]}, "b"),
        (
            {"name": "banned_artists", "artists": ["y"]},
            {"tags_artist": [["banned_artist"], ["y"], ["yy"], []], "tags_general": [[], [], [], ["y"]]},
            "abd",
        ),
        ({"name": "banned_artists"}, {"tags_artist": [["banned_artist_(x)"], ["y"], []]}, "a"),
        ({"name": "rule", "column": "score", "min": 2, "max": 3}, {"score": [1, 2, 3, 4, None]}, "ad"),
        ({"name": "rule", "column": "score", "any_of": [1, None]}, {"score": [1, 2, None]}, "b"),
        ({"name": "rule", "column": "score", "any_of": [1]}, {"score": [1, 2, None]}, "b"),
        ({"name": "rule", "column": "score", "any_of": [1], "unknown": "drop"}, {"score": [1, 2, None]}, "bc"),
        ({"name": "rule", "column": "score", "none_of": [1, None]}, {"score": [1, 2, None]}, "ac"),
        ({"name": "rule", "column": "md5", "none_of": [None]}, {"md5": ["x", None]}, "b"),
        ({"name": "rule", "column": "md5", "any_of": [None]}, {"md5": ["x", None]}, "a"),
        ({"name": "rule", "column": "is_synthetic", "none_of": [True]}, {"is_synthetic": [True, False, None]}, "a"),
        ({"name": "rule", "column": "captions_long", "min": 1}, {"captions_long": [[], ["x"], ["x", "y"]]}, "a"),
        ({"name": "rule", "column": "captions_long", "max": 1}, {"captions_long": [[], ["x"], ["x", "y"]]}, "c"),
        (
            {"name": "rule", "column": "captions_long", "any_of": ["x"]},
            {"captions_long": [["x", "y"], ["z"], []]},
            "bc",
        ),
        (
            {"name": "rule", "column": "captions_long", "none_of": ["x"]},
            {"captions_long": [["x", "y"], ["z"], []]},
            "a",
        ),
    ],
)
def test_what_each_filter_drops(setting: dict, columns: dict, expected: str):
    assert dropped(rows(**columns), setting) == dict.fromkeys(expected, setting["name"])


def test_days_are_of_utc_and_both_ends_stay():
    def time(*when: int) -> datetime.datetime:
        return datetime.datetime(*when, tzinfo=datetime.UTC)

    times = [time(2020, 1, 31, 23, 59, 59), time(2020, 2, 1), time(2020, 2, 29, 23, 59), time(2020, 3, 1), None]
    frame = rows(created_at=times)
    dates = {"name": "dates", "first": "2020-02-01", "last": "2020-02-29"}
    assert dropped(frame, dates) == dict.fromkeys("ad", "dates")
    assert dropped(frame, {"name": "dates", "first": "2020-02-01"}) == {"a": "dates"}
    assert dropped(frame, {"name": "dates", "last": "2020-02-29", "unknown": "drop"}) == dict.fromkeys("de", "dates")


def test_the_first_filter_gives_the_reason():
    frame = rows(score=[1, 1, 9], rating=["e", "g", "e"])
    score, rating = {"name": "score", "min": 5}, {"name": "rating", "keep": ["g"]}
    assert dropped(frame, score, rating) == {"a": "score", "b": "score", "c": "rating"}
    assert dropped(frame, rating, score) == {"a": "rating", "b": "score", "c": "rating"}


def test_a_reason_of_ones_own():
    frame = rows(tags_meta=[["comic"], ["video"], ["x"]])
    comics = {"name": "exclude_tags", "tags": ["comic"], "reason": "comics"}
    videos = {"name": "exclude_tags", "tags": ["video"]}
    assert dropped(frame, comics, videos) == {"a": "comics", "b": "exclude_tags"}


def test_sizes_are_looked_at_twice_and_the_true_size_decides():
    frame = rows(post_width=[50, 200], post_height=[50, 200], width=[200, 50], height=[200, 50])
    side = {"name": "min_side", "pixels": 100}
    assert dropped(frame, side) == {"a": "min_side"}
    assert dropped(frame, side, phase="picture") == {"b": "min_side"}


def test_the_bytes_of_the_file_itself_decide_after_decoding():
    frame = rows(post_width=[10], post_height=[10], post_bytes=[1], width=[10], height=[10], image_bytes=[100])
    density = {"name": "bytes_per_pixel", "min": 1}
    assert dropped(frame, density) == {"a": "bytes_per_pixel"}
    assert dropped(frame, density, phase="picture") == {}


@pytest.mark.parametrize("name", ["quality", "aesthetic", "year"])
def test_classes_wait_until_they_are_known(name: str):
    frame = rows(**{name: ["best", "worst", None]})
    keep = {"name": name, "keep": ["best"]}
    assert dropped(frame, keep) == {}
    assert dropped(frame, keep, phase="classes") == {"b": name, "c": name}
    assert dropped(frame, {**keep, "keep": ["best", None]}, phase="classes") == {"b": name}


def test_tags_before_and_after_they_were_sorted():
    frame = rows(tags_general=[["x"], []], tags_special=[[], ["x"]])
    now, later = ({"name": "exclude_tags", "tags": ["x"], "after": after} for after in ("ingest", "tags"))
    assert dropped(frame, now) == {"a": "exclude_tags"}
    assert dropped(frame, now, phase="tags") == {}
    assert dropped(frame, later) == {}
    assert dropped(frame, later, phase="tags") == {"a": "exclude_tags", "b": "exclude_tags"}


def test_too_few_tags_for_the_people_shown():
    tags = [["a"] * 4, ["a"] * 5, ["a"] * 8, ["a"] * 9, ["a"], []]
    frame = rows(tags_general=tags, n_people=[0, 0, 2, 2, None, None])
    few = {"name": "too_few_tags", "min": 5, "per_person": 2}
    assert dropped(frame, few, phase="tags") == dict.fromkeys("acef", "too_few_tags")  # whoever is there: under 5
    assert dropped(frame, few) == {}
    crowd = {"name": "too_few_tags", "per_person": 3}
    assert dropped(frame, crowd, phase="tags") == {}
    assert dropped(rows(tags_general=[["a"] * 5], n_people=[2]), crowd, phase="tags") == {"a": "too_few_tags"}


def test_what_posts_do_not_state_is_unknown_only_when_pictures_were_looked_at():
    sizes = {"width": [200, None], "height": [200, None], "image_bytes": [9, None]}
    of = {f"post_{name.removeprefix('image_')}": [None, None] for name in sizes}
    frame = rows(**sizes, **of)
    for setting in ({"name": "min_side", "pixels": 100}, {"name": "bytes_per_pixel", "max": 4}):
        setting = {**setting, "unknown": "drop"}
        assert dropped(frame, setting, phase="post") == {}
        assert dropped(frame, setting, phase="picture") == {"b": setting["name"]}


def test_extensions_as_people_write_them():
    frame = rows(file_ext=["jpg", "png", "gif"])
    assert dropped(frame, {"name": "extension", "keep": ["JPG", ".png"]}) == {"c": "extension"}
    with pytest.raises(pydantic.ValidationError, match=r"'.' is no extension; write e.g. jpg"):
        models({"name": "extension", "keep": ["."]})


def test_a_rule_runs_when_its_column_is_known():
    of = {"width": "picture", "image_bytes": "picture", "tags_special": "tags", "quality": "classes", "score": "post"}
    of |= {"content_bucket": "content", "mask": "picture", "tags_general": "tags"}
    for column, phase in of.items():
        limits = {"any_of": ["x"]} if column in ("quality", "content_bucket", "mask") else {"min": 1}
        (rule,) = models({"name": "rule", "column": column, **limits})
        assert filters.phases(rule) == (phase,), column
    bucket = {"name": "rule", "column": "content_bucket", "none_of": ["animal"], "reason": "animals"}
    assert dropped(rows(content_bucket=["animal", "object"]), bucket, phase="content") == {"a": "animals"}


def test_what_is_on_a_list_passes_every_filter():
    frame = rows(score=[1, 1, 1, 9], is_included=[True, False, False, False], is_taken_down=[False, True, False, False])
    score = {"name": "score", "min": 5}
    assert dropped(frame, score) == {"c": "score"}
    facts = filters.apply(frame, models(score), "post").facts
    assert facts == {"filters_post": {"score": {"drops": 1, "spared": 1, "unknown": 0}}}


def test_facts_tell_what_each_filter_would_drop_alone():
    frame = rows(score=[1, 1, 9, None], rating=["e", "g", "e", None])
    chosen = models({"name": "score", "min": 5}, {"name": "rating", "keep": ["g", None]})
    assert filters.apply(frame, chosen, "post").facts == {
        "filters_post": {
            "score": {"drops": 2, "spared": 0, "unknown": 1},
            "rating": {"drops": 2, "spared": 0, "unknown": 0},
        }
    }


def test_facts_tell_which_tags_nothing_has():
    frame = rows(tags_meta=[["video"], ["Video"], []], tags_general=[["x"], [], []])
    chosen = models({"name": "exclude_tags", "tags": ["video", "vidoe", "x*"]})
    assert filters.apply(frame, chosen, "post").facts["filter_tags_post"] == {"video": 2, "vidoe": 0}


def test_posts_of_the_lists_are_marked():
    frame = rows(score=[1, 1, 1, 9], md5=["1" * 32, None, "3" * 32, None]).drop("is_included", "is_taken_down")
    takedown, include = PostList(keys=("d",)), PostList(keys=("b", "d"), md5s=("3" * 32,))
    outcome = filters.filter_posts(frame, models({"name": "score", "min": 5}), takedown, include)
    assert outcome.kept.select("key", *filters.WRITES).rows() == [
        ("b", True, False),
        ("c", True, False),
        ("d", False, True),
    ]
    assert outcome.dropped.rows() == [("a", "score")]
    assert outcome.facts["lists"] == {"included": 2, "taken_down": 1}
    assert filters.filter_posts(frame, [], PostList(), PostList()).facts == {"lists": {"included": 0, "taken_down": 0}}


def test_tags_from_a_file(tmp_path: Path):
    path = tmp_path / "tags.txt"
    path.write_bytes("\ufeff# a comment\r\nLong Hair\r\n\r\n#1_fan\r\nx\r\n".encode())
    chosen = models(
        {"name": "exclude_tags", "tags": ["x", "y"], "file": str(path)}, {"name": "banned_artists", "file": str(path)}
    )
    read = filters.with_files(chosen)
    assert read[0].tags == ("x", "y", "long_hair", "#1_fan")
    assert read[1].artists == ("long_hair", "#1_fan", "x")
    assert [item.file for item in read] == [None, None]
    assert filters.with_files(models({"name": "deleted"})) == tuple(models({"name": "deleted"}))
    path.write_text("# nothing\n")
    with pytest.raises(DataError, match=r"filters: exclude_tags: .*tags.txt: names no tag"):
        filters.with_files(chosen)
    path.write_text("x\n**\n")
    with pytest.raises(DataError, match=r"tags.txt, line 2: '\*\*' is not a tag"):
        filters.with_files(chosen)
    path.unlink()
    with pytest.raises(DataError, match="there is no such file"):
        filters.with_files(chosen)


def test_a_picture_too_large_for_32_bits_of_pixels():
    frame = rows(post_width=[60_000], post_height=[60_000])
    assert dropped(frame, {"name": "megapixels", "max": 64}) == {"a": "megapixels"}


def test_without_filters_everything_stays():
    assert dropped(rows(score=[1, None])) == {}


def test_the_columns_that_filters_read():
    chosen = models(
        {"name": "score", "min": 1},
        {"name": "min_side", "pixels": 9},
        {"name": "quality", "keep": ["best"]},
        {"name": "rule", "column": "captions_long", "min": 1},
    )
    assert filters.reads(chosen, "post") == ("captions_long", "post_height", "post_width", "score")
    assert filters.reads(chosen, "picture", made=["width", "height"]) == ("is_included",)
    assert filters.reads(chosen, "classes") == ("is_included", "quality")
    assert filters.reads(chosen, "tags") == ()
    some = filters.reads_of_posts(chosen, PostList(md5s=("x",)), PostList())
    assert some == ("captions_long", "md5", "post_height", "post_width", "score")


SETTINGS = st.sampled_from(
    [
        {"name": "rating", "keep": ["g", None]},
        {"name": "score", "min": 3},
        {"name": "score", "max": 3, "unknown": "drop", "reason": "high"},
        {"name": "min_side", "pixels": 10},
        {"name": "max_side", "pixels": 30, "unknown": "drop"},
        {"name": "megapixels", "min": 0.0001},
        {"name": "aspect_ratio", "max": 3},
        {"name": "bytes_per_pixel", "max": 2},
        {"name": "extension", "keep": ["png"]},
        {"name": "exclude_tags", "tags": ["a"]},
        {"name": "exclude_tags", "tags": ["b*", "c"], "match": "all", "reason": "both"},
        {"name": "require_tags", "tags": ["b", "c"]},
        {"name": "banned_artists", "artists": ["d"]},
        {"name": "rule", "column": "tags_general", "max": 2, "reason": "long"},
        {"name": "rule", "column": "score", "none_of": [None, 1]},
        {"name": "too_few_tags", "per_person": 1},
        {"name": "quality", "keep": ["best", None]},
    ]
)
ROW = {
    "rating": st.sampled_from(["g", "e", None]),
    "score": st.none() | st.integers(-9, 9),
    "post_width": st.none() | st.integers(1, 40),
    "post_height": st.none() | st.integers(1, 40),
    "post_bytes": st.none() | st.integers(0, 4000),
    "file_ext": st.sampled_from(["png", "gif", None]),
    "tags_general": st.none() | st.lists(st.sampled_from("abcd"), max_size=3),
    "n_people": st.none() | st.integers(0, 3),
    "quality": st.sampled_from(["best", "worst", None]),
    "is_included": st.booleans(),
}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.fixed_dictionaries(ROW), max_size=6),
    st.lists(SETTINGS, max_size=4, unique_by=lambda item: item.get("reason", item["name"])),
    st.sampled_from(PHASES),
)
def test_rows_do_not_influence_each_other(values: list[dict], chosen: list[dict], phase: Phase):
    """A row's outcome among others is its outcome alone, and with the columns that filters say they read."""
    frame = rows(**{name: [value[name] for value in values] for name in ROW})
    together = dropped(frame, *chosen, phase=phase)
    needed = filters.reads(models(*chosen), phase)
    narrow = frame.select("key", "is_included", *(name for name in needed if name != "is_included"))
    assert dropped(narrow, *chosen, phase=phase) == together
    alone = {}
    for index in range(frame.height):
        alone |= dropped(frame.slice(index, 1), *chosen, phase=phase)
    assert together == alone
    assert not set(frame.filter("is_included")["key"]) & set(together)
