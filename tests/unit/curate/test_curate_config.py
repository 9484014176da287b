"""Mistakes in the configuration are named."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from animetune.cli import config_check, curate
from animetune.curate.config import CurateConfig
from animetune.errors import ConfigError
from animetune.fsio import canonical_json

SOURCE = {"name": "site", "posts": ["posts.jsonl"]}


def config(**settings) -> CurateConfig:
    return CurateConfig.model_validate({"stage": "curate", "out": "table", "sources": [SOURCE], **settings})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"stage": "shard"}, "curate"),
        ({"sources": []}, "at least 1 item"),
        ({"sources": [SOURCE, SOURCE]}, "same name: site, site"),
        ({"sources": [{**SOURCE, "name": "a/b"}]}, "pattern"),
        ({"sources": [{**SOURCE, "name": ".."}]}, "pattern"),
        ({"sources": [{**SOURCE, "images": [{"root": "x", "path": "picture.png"}]}]}, "names no field"),
        ({"sources": [{**SOURCE, "images": [{"root": "x", "path": "{id.__class__}"}]}]}, "is not a field"),
        ({"sources": [{**SOURCE, "images": [{"root": "x", "path": "{id!r}"}]}]}, "is not a field"),
        (
            {"sources": [{**SOURCE, "images": [{"root": "x", "path": "{0:04}/{id}"}]}]},
            r"\{0:04\} is not a field; there are id, id_mod_<n>, md5, md5_ab, md5_cd, ext, key, source, basename, and",
        ),
        ({"sources": [{**SOURCE, "images": [{"root": "x", "path": "{id"}]}]}, "is not a pattern"),
        ({"filters": [{"name": "scores"}]}, "favourites"),
        ({"filters": [{"name": "score"}]}, "give min, max or both"),
        ({"filters": [{"name": "min_side", "pixels": 0}]}, "greater than 0"),
        ({"filters": [{"name": "megapixels", "min": 5, "max": 1}]}, "nothing would stay"),
        ({"filters": [{"name": "rating", "keep": ["x"]}]}, "'g', 's', 'q' or 'e'"),
        ({"filters": [{"name": "exclude_tags", "tags": []}]}, "give tags or a file"),
        ({"pictures": {"max_pixels": 10**9}}, "less than or equal"),
        ({"balance": [{"name": "median"}]}, "content_buckets"),
        ({"split": {"val_share": 1.5}}, "less than or equal to 1"),
        ({"quarantine_limit": -1}, "greater than or equal to 0"),
        ({"filtres": []}, "Extra inputs"),
    ],
)
def test_mistakes(settings: dict, words: str):
    with pytest.raises(pydantic.ValidationError, match=words):
        config(**settings)


def test_defaults():
    cfg = config()
    assert cfg.out == Path("table")
    assert cfg.quarantine_limit == 0.05
    assert next(level.name for level in cfg.classes.quality.levels) == "masterpiece"


def test_captions_and_lookalikes_need_pictures():
    undecoded = {"pictures": {"decode": False}}
    with pytest.raises(pydantic.ValidationError, match=r"dedup\.lookalikes: compares pictures.*decode: false"):
        config(dedup={"lookalikes": {}}, **undecoded)
    with pytest.raises(pydantic.ValidationError, match=r"captions: are written by models.*decode: false"):
        config(captions={"long": {"base_url": "http://a/v1", "model": "eyes"}}, **undecoded)


MODEL = {"kind": "onnx", "name": "fine", "model": {"path": "fine.onnx"}, "labels": ["a", "b"]}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"closeups": {"saliency": True, "labels": {"face": {"shows": ["hairs"]}}}}, "hairs is no semantic class"),
        (
            {"models": {"scorers": [MODEL]}, "tag_sources": {"scorer": "shadow"}},
            "no scorer of this name; there are fine",
        ),
        ({"models": {"scorers": [MODEL]}, "tag_sources": {"sources": {"sit": {}}}}, "no source is called that.*site"),
        ({"captions": {"long": {"model": "m", "base_url": "http://x", "templates": ["lang"]}}}, "lang: the template"),
    ],
)
def test_config_check_knows_what_only_the_steps_know(tmp_path: Path, capsys, settings, words):
    for name, changes in (("good", {}), ("bad", settings)):
        written = {"stage": "curate", "out": "table", "sources": [SOURCE], **changes}
        (tmp_path / f"{name}.yaml").write_text(canonical_json(written))
    config_check([tmp_path / "good.yaml"])
    with pytest.raises(ConfigError, match=words) as caught:
        config_check([tmp_path / "good.yaml", tmp_path / "bad.yaml"])
    assert str(tmp_path / "bad.yaml") in str(caught.value)


def test_a_limit_of_requests_needs_captions(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(canonical_json({"stage": "curate", "out": "table", "sources": [SOURCE]}))
    with pytest.raises(ConfigError, match=r"--max-requests: .*a\.yaml asks no model for captions"):
        curate(tmp_path / "a.yaml", max_requests=5)


def test_policies_that_want_a_tagger_need_one():
    with pytest.raises(ValueError, match="tag_sources: general: union, and `models` has no taggers"):
        config(tag_sources={"general": "union"})
    with pytest.raises(ValueError, match="tag_sources: artist: tagger"):
        config(tag_sources={"sources": {"site": {"artist": "tagger"}}}, models={"scorers": [MODEL]})
    assert config(tag_sources={"aesthetic_score": "never"}).tag_sources.asks_taggers is None
