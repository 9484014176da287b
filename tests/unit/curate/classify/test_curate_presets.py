"""Presets of classes: the published bounds, and settings on top of them."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pydantic
import pytest
import yaml

from animetune.config import load_config, to_yaml
from animetune.curate.classify.presets import PRESETS, PresetName, merged
from animetune.curate.config import CurateConfig
from animetune.curate.config.classes import ClassesConfig, ClassRules, ScaleConfig
from animetune.prompts.config import PromptConfig

SOURCE = {"name": "site", "posts": ["posts.jsonl"]}


def rules(name: str) -> ClassesConfig:
    return ClassesConfig.model_validate({"preset": name})


def bounds(scale: ScaleConfig) -> dict[str | None, float | None]:
    return {level.name: level.above for level in scale.levels}


def spans(cfg: ClassRules) -> dict[str, tuple[int | None, int | None]]:
    return {year.name: (year.first, year.last) for year in cfg.years}


def test_every_name_is_a_preset():
    assert set(get_args(PresetName)) == set(PRESETS)
    for name in PRESETS:
        assert rules(name).preset is None


def test_the_defaults_are_dashanime():
    assert rules("dashanime") == ClassesConfig()
    assert bounds(ClassesConfig().quality) == {
        "masterpiece": 95, "best": 85, "high": 75, "medium": 50, "normal": 25, "low": 10, "worst": None,
    }  # fmt: skip


def test_animagine():
    first, second = rules("animagine-2.0"), rules("animagine-3.1")
    assert first.quality.measure == "value"
    assert bounds(first.quality) == {
        "masterpiece": 150, "best": 100, "high": 75, "medium": 25, "normal": -1, "low": -6, "worst": None,
    }  # fmt: skip
    assert first.years == ()
    assert first.aesthetic.levels == ()
    assert second.quality.measure == "percentile"
    assert "rating" in second.quality.within
    assert bounds(second.quality) == {
        "masterpiece": 95, "best": 85, "great": 75, "good": 50, "normal": 25, "low": 10, "worst": None,
    }  # fmt: skip
    assert bounds(second.aesthetic) == {
        "very aesthetic": 0.71, "aesthetic": 0.45, "displeasing": 0.27, "very displeasing": None,
    }  # fmt: skip
    assert spans(second) == {
        "oldest": (2005, 2010), "early": (2011, 2014), "mid": (2015, 2017), "recent": (2018, 2020),
        "newest": (2021, None),
    }  # fmt: skip


def test_illustrious():
    cfg = rules("illustrious")
    assert cfg.quality.measure == "window"
    assert bounds(cfg.quality) == {"masterpiece": 92, "best": 82, "good": 60, "average": 20, "bad": 8, "worst": None}
    assert spans(cfg) == {
        "oldest": (None, 2017), "old": (2018, 2019), "modern": (2020, 2020), "recent": (2021, 2022),
        "newest": (2023, None),
    }  # fmt: skip


def test_hakubooru_goes_by_favourites():
    cfg = rules("hakubooru")
    assert cfg.quality.column == "fav_count"
    assert bounds(cfg.quality) == {
        "masterpiece": 90, "best": 75, "great": 60, "good": 45, "normal": 30, "low": 10, "worst": None,
    }  # fmt: skip
    assert spans(cfg)["old"] == (2005, 2010)


def test_noobai_has_an_upper_and_a_lower_aesthetic_class():
    cfg = rules("noobai")
    assert bounds(cfg.quality) == {"masterpiece": 95, "best": 85, "good": 60, "normal": 30, "worst": None}
    assert bounds(cfg.aesthetic) == {"very awa": 95, None: 5, "worst aesthetic": None}
    assert cfg.aesthetic.within == ()
    assert cfg.names("aesthetic") == ["very awa", "worst aesthetic"]


def test_animagine_4_has_every_year():
    cfg = rules("animagine-4.0")
    assert cfg.names("year")[:2] == ["year 2005", "year 2006"]
    assert cfg.names("quality") == ["high", "great", "good", "average", "bad", "low"]


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"dashanime"}))
def test_prompts_have_words_for_the_classes_of_the_same_preset(name: str):
    words = PromptConfig.model_validate({"preset": name}).words
    assert set(rules(name).names("quality")) <= set(words["quality"])


def test_what_is_given_goes_on_top():
    cfg = ClassesConfig.model_validate({"preset": "illustrious", "quality": {"window": "5000 posts"}, "years": []})
    assert cfg.quality.window == "5000 posts"
    assert cfg.quality.measure == "window"
    assert bounds(cfg.quality) == bounds(rules("illustrious").quality)
    assert cfg.years == ()


def test_sources_have_the_general_settings_or_a_preset_of_their_own():
    cfg = ClassesConfig.model_validate(
        {
            "preset": "illustrious",
            "quality": {"mature_days": 30},
            "sources": {"a": {"quality": {"measure": "percentile"}}, "b": {"preset": "noobai"}, "c": {}},
        }
    )
    assert cfg.of_source("a").quality == cfg.quality.model_copy(update={"measure": "percentile"})
    assert cfg.of_source("a").years == cfg.years
    assert cfg.of_source("b").quality == rules("noobai").quality
    assert cfg.of_source("c").quality == cfg.of_source("anything else").quality == cfg.quality
    assert {"masterpiece", "average", "normal"} <= set(cfg.names("quality"))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_resolved_configuration_reads_back(name: str, tmp_path: Path):
    general = {"preset": name, "rating": {"none": "g"}, "sources": {"site": {"preset": "noobai", "years": []}}}
    cfg = CurateConfig.model_validate({"stage": "curate", "out": "t", "sources": [SOURCE], "classes": general})
    file = tmp_path / "resolved.yaml"
    file.write_text(to_yaml(cfg))
    assert load_config(file, CurateConfig) == cfg


def test_the_settings_of_a_scale_merge_and_all_else_replaces():
    base = {"quality": {"measure": "value", "levels": [1, 2]}, "rating": {"q": "e"}, "years": [4]}
    assert merged(base, {"quality": {"levels": [3]}, "rating": {"e": "q"}, "aesthetic": {}}) == {
        "quality": {"measure": "value", "levels": [3]},
        "rating": {"e": "q"},
        "years": [4],
        "aesthetic": {},
    }
    assert merged(base, {"quality": None, "years": []}) == {"quality": None, "rating": {"q": "e"}, "years": []}
    assert base["quality"] == {"measure": "value", "levels": [1, 2]}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"preset": "pony"}, "animagine-3.1"),
        ({"preset": ["noobai"]}, "animagine-3.1"),
        ({"quality": {"measure": "votes"}}, "'percentile', 'window' or 'value'"),
        ({"quality": {"column": "views"}}, "'fav_count'"),
        ({"quality": {"window": "12 weeks"}}, "as in '12 months'"),
        ({"quality": {"min_population": 0}}, "greater than 0"),
        ({"quality": {"mature_days": 0}}, "greater than 0"),
        ({"quality": {"within": ["artist"]}}, "'source' or 'rating'"),
        ({"quality": {"levels": [{"name": "a", "above": float("inf")}, {"name": "b"}]}}, "finite number"),
        ({"quality": {"levels": [{"name": "a", "above": 150}, {"name": "b"}]}}, "150 is no percentile"),
        ({"preset": "animagine-2.0", "quality": {"measure": "percentile"}}, "150 is no percentile"),
        ({"quality": {"measure": "window", "window": "9 posts", "within": ["rating"]}}, "9 posts goes by the ids"),
        ({"rating": {"x": "g"}}, "'g', 's', 'q', 'e' or 'none'"),
        ({"rating": {"q": "none"}}, "'g', 's', 'q' or 'e'"),
        ({"sources": {"site": {"quality": {"levels": [{"name": "a", "above": 1}]}}}}, "takes the rest"),
        ({"sources": {"site": None}}, "ClassRules"),
        ({"sources": []}, "valid dictionary"),
        ({"sources": {"other": {}}}, "classes.sources: other is no source; there are site"),
        ([], "ClassesConfig"),
        ({"years": [{"name": "a", "last": 2000}, {"name": "b", "last": 1990}]}, "both hold 0"),
        ({"years": [{"name": "a", "last": 2000}, {"name": "a", "first": 2001}]}, "same name"),
    ],
)
def test_mistakes(given: object, words: str):
    with pytest.raises(pydantic.ValidationError, match=words):
        CurateConfig.model_validate({"stage": "curate", "out": "t", "sources": [SOURCE], "classes": given})


def test_the_examples_of_the_docs_are_configurations():
    text = (Path(__file__).resolve().parents[4] / "docs" / "classes.md").read_text(encoding="utf-8")
    blocks = [block.partition("```")[0] for block in text.split("```yaml\n")[1:]]
    sources = [SOURCE, {**SOURCE, "name": "samples"}]
    for block in blocks:
        CurateConfig.model_validate({"stage": "curate", "out": "t", "sources": sources, **yaml.safe_load(block)})
    assert len(blocks) == 2
    assert all(f"| `{name}`" in text for name in PRESETS)


def test_a_filter_by_a_class_that_there_is_not():
    config = {"stage": "curate", "out": "t", "sources": [SOURCE], "classes": {"preset": "illustrious"}}
    CurateConfig.model_validate({**config, "filters": [{"name": "quality", "keep": ["good", None]}]})
    with pytest.raises(pydantic.ValidationError, match=r"no 'great'; there are masterpiece, best, good"):
        CurateConfig.model_validate({**config, "filters": [{"name": "quality", "keep": ["great"]}]})
