"""Mistakes in filters are named, with what to write instead."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from animetune.config import load_config, to_yaml
from animetune.curate.config import CurateConfig
from animetune.curate.config.filters import Filters, check_names
from animetune.curate.config.rule_filter import COLUMN_PHASE, DECIDED_LATER
from animetune.errors import ConfigError
from animetune.records import TABLE_COLUMNS

FILTERS = pydantic.TypeAdapter(Filters)
SOURCE = {"name": "site", "posts": ["posts.jsonl"]}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"name": "score"}, "give min, max or both"),
        ({"name": "score", "min": 3, "max": 2}, "min 3 is above max 2: nothing would stay"),
        ({"name": "score", "min": float("nan")}, "finite"),
        ({"name": "dates"}, "give first, last or both"),
        ({"name": "dates", "first": 2021}, "should be a day, as 2021-01-31, not 2021"),
        ({"name": "dates", "first": "2021-13-01"}, "month"),
        ({"name": "dates", "first": "2021-02-01", "last": "2021-01-31"}, "first 2021-02-01 is after last 2021-01-31"),
        ({"name": "exclude_tags"}, "give tags or a file"),
        ({"name": "exclude_tags", "tags": ["x", " "]}, "' ' is not a tag"),
        ({"name": "exclude_tags", "tags": ["*"]}, r"'\*' is not a tag"),
        ({"name": "exclude_tags", "tags": ["x"], "match": "most"}, "'any' or 'all'"),
        ({"name": "too_few_tags"}, "give min, per_person or both"),
        ({"name": "megapixels", "min": 5, "max": 1}, "nothing would stay"),
        ({"name": "deleted", "reason": "a b"}, "pattern"),
        ({"name": "deleted", "unknown": "drop"}, "Extra inputs"),
        ({"name": "deleted", "reason": "takedown"}, "filter 0: the reason 'takedown' is that of another step"),
        ({"name": "rule", "column": "score"}, "give min, max, any_of or none_of"),
        (
            {"name": "rule", "column": "scores", "min": 1},
            "no column of the table, which has key, .*did you mean 'score'",
        ),
        ({"name": "rule", "column": "repeats", "min": 1}, "decided after the last filter; a rule may name key, source"),
        ({"name": "rule", "column": "created_at", "min": 1}, "use the filter `dates`"),
        ({"name": "rule", "column": "rating", "min": 1}, "rating is text, without min and max: give any_of or none_of"),
        ({"name": "rule", "column": "is_deleted", "max": 1}, "is_deleted is true or false, without min and max"),
        ({"name": "rule", "column": "score", "any_of": ["1"]}, "any_of of score: '1' should be a whole number"),
        ({"name": "rule", "column": "score", "any_of": [True]}, "True should be a whole number"),
        ({"name": "rule", "column": "score", "any_of": []}, "at least 1 item"),
        ({"name": "rule", "column": "is_synthetic", "none_of": [1]}, "1 should be true or false"),
        ({"name": "rule", "column": "aesthetic_score", "none_of": [0.5]}, "give min and max"),
        ({"name": "rule", "column": "captions_long", "none_of": [None]}, "None should be text"),
        ({"name": "rule", "column": "captions_long", "min": 3, "max": 1}, "nothing would stay"),
        ({"name": "scores", "min": 1}, "'favourites'"),
    ],
)
def test_mistakes(setting: dict, words: str):
    with pytest.raises(pydantic.ValidationError, match=words):
        FILTERS.validate_python([setting])


def test_two_filters_with_one_reason():
    tags = {"name": "exclude_tags", "tags": ["x"]}
    with pytest.raises(pydantic.ValidationError, match="filters 0 and 2 both drop as 'exclude_tags'"):
        FILTERS.validate_python([tags, {"name": "deleted"}, tags])
    with pytest.raises(pydantic.ValidationError, match="filters 0 and 1 both drop as 'deleted'"):
        FILTERS.validate_python([{"name": "deleted"}, {**tags, "reason": "deleted"}])
    both = FILTERS.validate_python([tags, {**tags, "reason": "pages"}])
    assert [item.drop_reason for item in both] == ["exclude_tags", "pages"]


def test_every_column_of_the_table_can_be_filtered_or_is_decided_later():
    assert {*COLUMN_PHASE, *DECIDED_LATER} == {column.name for column in TABLE_COLUMNS}
    assert not set(COLUMN_PHASE) & set(DECIDED_LATER)


def test_names_that_do_not_exist():
    known = {"quality": ["best", "great", "worst"], "source": ["site"], "year": []}
    good = [{"name": "quality", "keep": ["best", None]}, {"name": "source", "keep": ["site"]}]
    check_names(FILTERS.validate_python([*good, {"name": "aesthetic", "keep": ["unchecked"]}]), known)
    for setting, words in [
        ({"name": "quality", "keep": ["best", "grat"]}, "filters.1: quality: keep: there is no 'grat'; there are best, "
         "great, worst, did you mean 'great'"),
        ({"name": "source", "keep": ["danbooru"]}, "there is no 'danbooru'; there are site$"),
        ({"name": "year", "keep": ["old"]}, "there is no 'old'; there are none: set classes.year$"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=words):
            check_names(FILTERS.validate_python([{"name": "deleted"}, setting]), known)


def test_a_file_with_mistakes_and_one_without(tmp_path: Path):
    text = "stage: curate\nout: table\nsources:\n  - name: site\n    posts: [posts.jsonl]\nfilters:\n"
    path = tmp_path / "curate.yaml"
    path.write_text(text + "  - name: rule\n    column: scores\n    min: 1\n")
    with pytest.raises(ConfigError, match=r"curate.yaml:8:\d+: filters.0.column: .*did you mean 'score'"):
        load_config(path, CurateConfig)
    path.write_text(text + "  - name: source\n    keep: [sitte]\n")
    with pytest.raises(ConfigError, match="there is no 'sitte'; there are site, did you mean 'site'"):
        load_config(path, CurateConfig)
    path.write_text(
        text + "  - {name: dates, first: 2021-01-31}\n  - {name: rule, column: is_synthetic, none_of: [true, null]}\n"
        "  - {name: rule, reason: tall, column: height, max: 9}\n"
    )
    cfg = load_config(path, CurateConfig)
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(cfg))
    assert load_config(again, CurateConfig) == cfg
    assert cfg.filters[1].none_of == (True, None)


def test_dedup_names_a_thing_once():
    with pytest.raises(pydantic.ValidationError, match="names one thing twice: area, area"):
        CurateConfig.model_validate(
            {"stage": "curate", "out": "x", "sources": [SOURCE], "dedup": {"best": ["area", "area"]}}
        )
