"""Quality and year classes: hand numbers, ties, corners of the intervals."""

from __future__ import annotations

import datetime

import polars as pl
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate import classes
from animetune.curate.config.classes import ClassesConfig, QualityConfig, QualityLevel, YearClass


def percentiles(scores: list, ratings: list | None = None) -> list:
    frame = pl.DataFrame(
        {"score": scores, "rating": ratings or ["g"] * len(scores)}, schema={"score": pl.Int64, "rating": pl.String}
    )
    return frame.select(classes.percentile("score", within="rating")).to_series().to_list()


def test_percentiles_by_hand():
    assert percentiles([10, 20, 30, 40]) == [12.5, 37.5, 62.5, 87.5]
    assert percentiles([5]) == [50.0]
    assert percentiles([7, 7, 7]) == [50.0, 50.0, 50.0]
    assert percentiles([1, 2, 2, 3]) == [12.5, 50.0, 50.0, 87.5]
    assert percentiles([1, None, 3]) == [25.0, None, 75.0]
    assert percentiles([None, None]) == [None, None]


def test_percentiles_are_within_a_rating():
    """Explicit posts score higher on every site; each rating has its own best."""
    assert percentiles([1, 100, 3, 300], ["g", "e", "g", "e"]) == [25.0, 25.0, 75.0, 75.0]
    assert percentiles([1, 2, 3], ["g", None, None]) == [50.0, 25.0, 75.0]


def test_the_default_classes_of_a_hundred_posts():
    """Percentiles 0.5 to 99.5: 5 % above 95, 10 % to 85, 10 % to 75, 25 % to 50, 25 % to 25, 15 % to 10, 10 % rest."""
    frame = pl.DataFrame({"score": range(100), "rating": "g"})
    measure = classes.percentile("score", within="rating")
    counts = frame.select(q=classes.level(measure, QualityConfig().levels))["q"].value_counts()
    assert dict(counts.iter_rows()) == {
        "masterpiece": 5, "best": 10, "high": 10, "medium": 25, "normal": 25, "low": 15, "worst": 10,
    }  # fmt: skip


def test_intervals_are_half_open():
    levels = [QualityLevel(name="top", above=95), QualityLevel(name="middle", above=50), QualityLevel(name="rest")]
    frame = pl.DataFrame({"p": [95.0001, 95.0, 50.0001, 50.0, 0.0, None]}, schema={"p": pl.Float64})
    found = frame.select(classes.level(pl.col("p"), levels)).to_series().to_list()
    assert found == ["top", "middle", "middle", "rest", "rest", None]


def test_raw_scores_as_in_animagine_2():
    levels = tuple(
        QualityLevel(name=name, above=above)
        for name, above in [
            ("masterpiece", 150), ("best", 100), ("high", 75), ("medium", 25), ("normal", -1), ("low", -6),
            ("worst", None),
        ]
    )  # fmt: skip
    frame = pl.DataFrame({"score": [151, 150, 76, 75, 26, 25, 0, -1, -5, -6, None]})
    found = frame.select(classes.level(pl.col("score"), levels)).to_series().to_list()
    assert found == [
        "masterpiece", "best", "high", "medium", "medium", "normal", "normal", "low", "low", "worst", None,
    ]  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.lists(st.none() | st.integers(-5, 5), max_size=30))
def test_percentiles_keep_the_order_of_scores(scores: list):
    found = percentiles(scores)
    known = [(score, p) for score, p in zip(scores, found, strict=True) if score is not None]
    assert all(0 < p < 100 for _, p in known)
    assert all((a < b) == (p < q) for a, p in known for b, q in known)
    assert [p is None for p in found] == [score is None for score in scores]
    if known:
        assert sum(p for _, p in known) / len(known) == pytest.approx(50)


def test_year_classes():
    times = [
        datetime.datetime(2004, 12, 31, 23, tzinfo=datetime.UTC),
        datetime.datetime(2005, 1, 1, tzinfo=datetime.UTC),
        datetime.datetime(2010, 12, 31, 23, 59, 59, tzinfo=datetime.UTC),
        datetime.datetime(2011, 1, 1, tzinfo=datetime.UTC),
        datetime.datetime(2017, 6, 1, tzinfo=datetime.UTC),
        datetime.datetime(2020, 6, 1, tzinfo=datetime.UTC),
        datetime.datetime(2031, 6, 1, tzinfo=datetime.UTC),
        None,
    ]
    frame = pl.DataFrame({"created_at": times}, schema={"created_at": pl.Datetime("us", "UTC")})
    found = frame.select(classes.year_class(ClassesConfig().years)).to_series().to_list()
    assert found == [None, "oldest", "oldest", "early", "mid", "recent", "newest", None]


def test_no_classes_are_all_null():
    frame = pl.DataFrame(
        {"key": ["a"], "score": [5], "rating": ["g"], "created_at": [None]},
        schema_overrides={"created_at": pl.Datetime("us", "UTC")},
    )
    cfg = ClassesConfig(quality=QualityConfig(levels=()), years=())
    kept = classes.classify(frame, cfg, []).kept
    assert kept.select("quality", "year", "aesthetic").row(0) == (None, None, None)


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ([("a", 50), ("b", 60), ("c", None)], "must fall"),
        ([("a", 50), ("b", 50), ("c", None)], "must fall"),
        ([("a", 50), ("b", 10)], "takes the rest"),
        ([("a", None), ("b", None)], "takes the rest"),
        ([("a", 50), ("a", None)], "same name"),
    ],
)
def test_levels_that_make_no_sense(levels, words):
    with pytest.raises(pydantic.ValidationError, match=words):
        QualityConfig(levels=tuple(QualityLevel(name=name, above=above) for name, above in levels))


@pytest.mark.parametrize(
    ("years", "words"),
    [
        ([("a", 2000, 2005), ("b", 2005, 2010)], "both hold 2005"),
        ([("a", 2000, None), ("b", 2005, 2010)], "both hold 2005"),
        ([("a", 2010, 2005)], "before it begins"),
    ],
)
def test_years_that_make_no_sense(years, words):
    with pytest.raises(pydantic.ValidationError, match=words):
        ClassesConfig(years=tuple(YearClass(name=name, first=first, last=last) for name, first, last in years))
