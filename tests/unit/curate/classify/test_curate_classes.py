"""Quality, aesthetic, year and rating classes: hand numbers, ties, corners of the intervals."""

from __future__ import annotations

import datetime

import polars as pl
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune import tables
from animetune.curate.classify import classes
from animetune.curate.classify.presets import PRESETS
from animetune.curate.config.classes import ClassesConfig, Level, QualityConfig, YearClass
from animetune.curate.config.filters import QualityFilter

EPOCH = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
SCHEMA = {name: tables.schema()[name] for name in ("key", *classes.READS)}


def day(number: float) -> datetime.datetime:
    return EPOCH + datetime.timedelta(days=number)


def posts(rows: list[dict]) -> pl.DataFrame:
    """Posts of the source `a`, rated g, with what is given for each."""
    columns = dict.fromkeys(SCHEMA)
    default = [{**columns, "key": f"{n:03d}", "source": "a", "id": n, "rating": "g"} for n in range(len(rows))]
    return pl.DataFrame([{**base, **row} for base, row in zip(default, rows, strict=True)], schema=SCHEMA)


def outcome(rows: list[dict], **cfg):
    return classes.classify(posts(rows), ClassesConfig.model_validate(cfg), [])


def classified(rows: list[dict], **cfg) -> pl.DataFrame:
    return outcome(rows, **cfg).kept


def qualities(rows: list[dict], **quality) -> list[str | None]:
    return classified(rows, quality=quality)["quality"].to_list()


HALVES = [{"name": "top", "above": 50}, {"name": "rest"}]


def percentiles(scores: list, ratings: list | None = None) -> list:
    frame = pl.DataFrame(
        {"score": scores, "rating": ratings or ["g"] * len(scores)}, schema={"score": pl.Int64, "rating": pl.String}
    )
    return frame.select(classes.percentile("score", within=["rating"])).to_series().to_list()


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
    measure = classes.percentile("score", within=["rating"])
    counts = frame.select(q=classes.level(measure, QualityConfig().levels))["q"].value_counts()
    assert dict(counts.iter_rows()) == {
        "masterpiece": 5, "best": 10, "high": 10, "medium": 25, "normal": 25, "low": 15, "worst": 10,
    }  # fmt: skip


def test_intervals_are_half_open():
    levels = [Level(name="top", above=95), Level(name="middle", above=50), Level(name="rest")]
    frame = pl.DataFrame({"p": [95.0001, 95.0, 50.0001, 50.0, 0.0, None]}, schema={"p": pl.Float64})
    found = frame.select(classes.level(pl.col("p"), levels)).to_series().to_list()
    assert found == ["top", "middle", "middle", "rest", "rest", None]


def test_raw_scores_as_in_animagine_2():
    levels = tuple(
        Level(name=name, above=above)
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
    cfg = {"quality": {"levels": []}, "aesthetic": {"levels": []}, "years": []}
    kept = classified([{"score": 5, "aesthetic_score": 0.9, "created_at": day(0)}], **cfg)
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
        QualityConfig(levels=tuple(Level(name=name, above=above) for name, above in levels))


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


def test_columns_are_those_that_are_promised():
    found = outcome([{"score": 1}, {"score": 2}])
    assert set(found.kept.columns) == {*SCHEMA, *classes.WRITES}
    assert found.kept["key"].to_list() == ["000", "001"]
    assert found.dropped.height == 0


def test_without_rows():
    found = outcome([], preset="illustrious", sources={"b": {"preset": "noobai"}})
    assert found.kept.height == 0
    assert found.kept.schema["quality"] == pl.String
    assert found.facts == {"classes": {}, "knowledge_cutoff": None}


def test_filters_on_classes_drop_under_their_name():
    rows = [{"score": score} for score in (1, 2)]
    keep = QualityFilter(name="quality", keep=("top",))
    cfg = ClassesConfig.model_validate({"quality": {"levels": HALVES}})
    found = classes.classify(posts(rows), cfg, [keep])
    assert found.kept["key"].to_list() == ["001"]
    assert found.dropped.rows() == [("000", "quality")]
    assert found.facts["classes"]["a"]["quality"] == {"rest": 1, "top": 1}  # of all that were classified


def test_favourites_and_models_can_be_the_score():
    rows = [{"score": 9, "fav_count": 1, "aesthetic_score": 0.2}, {"score": 1, "fav_count": 2, "aesthetic_score": 0.7}]
    assert qualities(rows, levels=HALVES) == ["top", "rest"]
    assert qualities(rows, levels=HALVES, column="fav_count") == ["rest", "top"]
    by_value = [{"name": "top", "above": 0.5}, {"name": "rest"}]
    assert qualities(rows, levels=by_value, column="aesthetic_score", measure="value") == ["rest", "top"]


def test_percentiles_are_within_a_source_and_a_rating():
    rows = [{"score": score, "source": source} for score, source in [(1, "a"), (100, "b"), (3, "a"), (300, "b")]]
    assert qualities(rows, levels=HALVES) == ["rest", "rest", "top", "top"]
    assert qualities(rows, levels=HALVES, within=["rating"]) == ["rest", "top", "rest", "top"]
    rated = [{"score": score, "rating": rating} for score, rating in [(1, "g"), (100, "e"), (3, "g"), (300, "e")]]
    assert qualities(rated, levels=HALVES) == ["rest", "rest", "top", "top"]
    assert qualities(rated, levels=HALVES, within=[]) == ["rest", "top", "rest", "top"]


def test_what_was_much_in_its_time_is_best():
    """Two years a decade apart; votes grew tenfold."""
    rows = [
        {"score": score, "created_at": day(offset + place)}
        for offset, scores in [(0, (1, 2, 3, 4)), (3650, (10, 20, 30, 40))]
        for place, score in enumerate(scores)
    ]
    assert qualities(rows, levels=HALVES) == ["rest"] * 4 + ["top"] * 4
    moving = {"measure": "window", "window": "12 months", "min_population": 1}
    assert qualities(rows, levels=HALVES, **moving) == ["rest", "rest", "top", "top"] * 2
    assert qualities(rows[::-1], levels=HALVES, **moving) == ["top", "top", "rest", "rest"] * 2
    assert qualities(rows, levels=HALVES, **{**moving, "min_population": 8}) == ["rest"] * 4 + ["top"] * 4


def test_a_window_of_posts_goes_by_their_ids():
    rows = [{"score": score, "id": post} for score, post in [(40, 70), (1, 1), (30, 60), (2, 2)]]
    moving = {"measure": "window", "window": "2 posts", "min_population": 1}
    assert qualities(rows, levels=HALVES) == ["top", "rest", "top", "rest"]
    assert qualities(rows, levels=HALVES, **moving) == ["top", "rest", "top", "top"]


def test_windows_are_within_a_rating():
    rows = [
        {"score": score, "rating": rating, "created_at": day(number)}
        for number, (score, rating) in enumerate([(1, "g"), (100, "e"), (3, "g"), (300, "e"), (5, None)])
    ]
    moving = {"measure": "window", "min_population": 1}
    assert qualities(rows, levels=HALVES, **moving) == ["rest", "rest", "top", "top", "rest"]
    assert qualities(rows, levels=HALVES, within=[], **moving) == ["rest", "top", "rest", "top", "rest"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.none() | st.integers(-5, 5), st.sampled_from(["g", "e", None])), min_size=1, max_size=30))
def test_a_window_of_everything_is_the_percentile(found: list):
    rows = [{"score": score, "rating": rating, "created_at": day(0)} for score, rating in found]
    levels = [{"name": str(bound), "above": bound} for bound in range(99, -1, -1)] + [{"name": "rest"}]
    for window in ("1 day", "1000 posts"):
        moving = {"measure": "window", "window": window, "min_population": 1}
        assert qualities(rows, levels=levels, **moving) == qualities(rows, levels=levels)


def test_posts_without_time_have_no_place_in_a_window_of_time():
    rows = [{"score": 9}, {"score": 1, "created_at": day(0)}, {"score": 2, "created_at": day(1)}]
    moving = {"measure": "window", "levels": HALVES}
    found = outcome(rows, quality=moving)
    assert found.kept["quality"].to_list() == [None, "rest", "top"]
    assert found.facts["classes"]["a"]["without_quality"] == {"undated": 1}
    assert qualities(rows, **moving, window="10 posts") == ["top", "rest", "rest"]


def test_votes_on_young_posts_are_still_coming():
    """The newest post is of day 100: those of day 70 are exactly 30 days old, which is enough."""
    rows = [{"score": score, "created_at": time} for score, time in [
        (1, day(0)), (5, day(70)), (0, day(70.01)), (0, day(100)), (3, None),
    ]]  # fmt: skip
    found = outcome(rows, quality={"levels": HALVES, "mature_days": 30})
    assert found.kept["quality"].to_list() == ["rest", "top", None, None, "rest"]
    noted = found.facts["classes"]["a"]
    assert noted["without_quality"] == {"immature": 2}
    assert noted["newest"] == "2020-04-10T00:00:00+00:00"
    assert noted["mature_until"] == "2020-03-11T00:00:00+00:00"
    assert found.facts["knowledge_cutoff"] == "2020-04-10T00:00:00+00:00"


def test_the_first_day_of_all():
    first = datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)
    noted = outcome([{"created_at": first}], quality={"mature_days": 9}).facts["classes"]["a"]
    assert noted["mature_until"] == noted["newest"] == "0001-01-01T00:00:00+00:00"


def test_maturity_is_of_each_source():
    rows = [
        {"score": 1, "created_at": day(0), "source": "a"},
        {"score": 2, "created_at": day(1), "source": "a"},
        {"score": 1, "created_at": day(500), "source": "b"},
        {"score": 2, "created_at": day(900), "source": "b"},
    ]
    assert qualities(rows, levels=HALVES, mature_days=100) == [None, None, "rest", None]


def test_posts_above_an_id_are_immature():
    rows = [{"score": score, "id": post} for score, post in [(1, 10), (2, 11), (0, 12)]]
    assert qualities(rows, levels=HALVES, mature_id=11) == ["rest", "top", None]


def test_the_score_of_a_model_needs_no_time():
    rows = [{"aesthetic_score": 0.4, "created_at": day(0)}, {"aesthetic_score": 0.6, "created_at": day(1)}]
    assert qualities(rows, levels=HALVES, column="aesthetic_score", mature_days=30) == ["rest", "top"]


def test_pictures_by_a_model_are_in_no_percentile():
    drawn = {"score": 1000, "is_synthetic": True, "aesthetic_score": 0.9, "created_at": day(5)}
    rows = [{"score": 1, "created_at": day(0)}, {"score": 2, "created_at": day(1)}, drawn]
    found = outcome(rows, quality={"levels": HALVES})
    assert found.kept["quality"].to_list() == ["rest", "top", None]
    assert found.facts["classes"]["a"]["without_quality"] == {"synthetic": 1}
    assert qualities(rows, levels=HALVES, measure="window")[2] is None
    assert qualities(rows, levels=HALVES, measure="value")[2] is None  # votes are of no use either
    assert found.kept["aesthetic"].to_list() == [None, None, "very aesthetic"]
    assert classified(rows, aesthetic={"measure": "percentile"})["aesthetic"][2] is None


def test_a_source_of_pictures_by_a_model_can_go_by_their_own_scores():
    rows = [
        {"score": 1, "source": "site"},
        {"score": 2, "source": "site"},
        {"source": "samples", "is_synthetic": True, "aesthetic_score": 0.9},
        {"source": "samples", "is_synthetic": True, "aesthetic_score": None},
    ]
    own = {"column": "aesthetic_score", "measure": "value", "levels": [{"name": "best", "above": 0.5}, {"name": "low"}]}
    kept = classified(rows, quality={"levels": HALVES}, sources={"samples": {"quality": own}})
    assert kept["quality"].to_list() == ["rest", "top", "best", None]
    assert kept["key"].to_list() == ["000", "001", "002", "003"]


def test_sources_with_their_own_settings_keep_their_places():
    rows = [{"score": place, "source": source} for place, source in enumerate("abcabcabc")]
    kept = classified(
        rows,
        quality={"levels": HALVES},
        sources={"b": {"quality": {"levels": []}}, "c": {"rating": {"g": "s"}}},
    )
    assert kept["source"].to_list() == list("abcabcabc")
    assert kept["quality"].to_list() == ["rest", None, "rest", "rest", None, "rest", "top", None, "top"]
    assert kept["rating"].to_list() == ["g", "g", "s"] * 3


def test_aesthetic_intervals_are_half_open():
    """0.71 and 0.45, which Animagine's card gives to no class, are in the lower one. NaN is no score."""
    scores = [0.72, 0.71, 0.4501, 0.45, 0.271, 0.27, -1.0, float("nan"), None]
    found = classified([{"aesthetic_score": score} for score in scores])["aesthetic"].to_list()
    assert found == [
        "very aesthetic", "aesthetic", "aesthetic", "displeasing", "displeasing", "very displeasing",
        "very displeasing", None, None,
    ]  # fmt: skip


def test_a_level_without_a_name_is_no_class():
    levels = [{"name": "very awa", "above": 75}, {"name": None, "above": 25}, {"name": "worst aesthetic"}]
    rows = [{"aesthetic_score": score / 10} for score in range(1, 5)]
    found = classified(rows, aesthetic={"measure": "percentile", "levels": levels})["aesthetic"].to_list()
    assert found == ["worst aesthetic", None, None, "very awa"]


def test_a_year_can_be_a_class():
    rows = [{"created_at": time} for time in (day(0), day(-3650), day(-10000), None)]
    years = [{"name": "year {year}", "first": 2005}, {"name": "{year}", "last": 1995}]
    assert classified(rows, years=years)["year"].to_list() == ["year 2020", "year 2010", "1992", None]


def test_ratings_are_mapped_behind_the_percentile():
    rows = [{"score": score, "rating": rating} for score, rating in [(1, "q"), (100, "e"), (3, "q"), (300, None)]]
    kept = classified(rows, quality={"levels": HALVES}, rating={"q": "e", "none": "s", "e": None})
    assert kept["rating"].to_list() == ["e", None, "e", "s"]
    assert kept["quality"].to_list() == ["rest", "rest", "top", "rest"]  # among those rated q
    assert classified(rows)["rating"].to_list() == ["q", "e", "q", None]


def test_facts_count_every_class_of_every_source():
    rows = [{"score": 1, "source": "b"}, {"score": 2, "source": "b"}, {"source": "a", "created_at": day(3)}]
    facts = outcome(rows, quality={"levels": HALVES}).facts
    assert facts["classes"]["b"]["quality"] == {"rest": 1, "top": 1}
    assert facts["classes"]["a"] == {
        "newest": "2020-01-04T00:00:00+00:00",
        "mature_until": None,
        "quality": {"none": 1},
        "aesthetic": {"none": 1},
        "year": {"recent": 1},
        "rating": {"g": 1},
        "without_quality": {"unscored": 1},
    }


STRANGE = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["a", "b"]),
        "id": st.integers(-(2**62), 2**62),
        "score": st.none() | st.integers(-(2**60), 2**60),
        "fav_count": st.none() | st.integers(-3, 3),
        "rating": st.sampled_from(["g", "s", "q", "e", None]),
        "created_at": st.none() | st.datetimes(timezones=st.just(datetime.UTC)),
        "aesthetic_score": st.none() | st.floats(width=32),
        "is_synthetic": st.none() | st.booleans(),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STRANGE, max_size=12), st.sampled_from(sorted(PRESETS)), st.booleans())
def test_no_post_is_lost_or_raises(rows: list[dict], preset: str, moving: bool):
    quality = {"mature_days": 10, "mature_id": 5, **({"measure": "window"} if moving else {})}
    cfg = {"preset": preset, "quality": quality, "sources": {"b": {"preset": "noobai"}}}
    if moving and preset == "animagine-2.0":
        quality["levels"] = HALVES
    found = outcome(rows, **cfg)
    assert found.kept["key"].to_list() == [f"{n:03d}" for n in range(len(rows))]
    known = ClassesConfig.model_validate(cfg)
    for column in ("quality", "aesthetic"):
        assert set(found.kept[column].drop_nulls()) <= set(known.names(column))
    for row, quality_class in zip(rows, found.kept["quality"], strict=True):
        if row["is_synthetic"]:
            assert quality_class is None
