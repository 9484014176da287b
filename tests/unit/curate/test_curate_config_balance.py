"""Mistakes in the factors of the balance are named."""

from __future__ import annotations

import re
from pathlib import Path

import pydantic
import pytest

from animetune import config, yamltree
from animetune.curate.config import CurateConfig
from animetune.errors import ConfigError

DOCS = Path(__file__).parents[3] / "docs" / "balance.md"
SOURCE = {"name": "site", "posts": ["posts.jsonl"]}


def balanced(*factors: dict, **settings) -> CurateConfig:
    given = {"stage": "curate", "out": "table", "sources": [SOURCE], "balance": list(factors), **settings}
    return CurateConfig.model_validate(given)


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ([{"name": "median"}], "content_buckets"),
        ([{"name": "tags"}, {"name": "tags"}], "holds `tags` twice; it is measured once"),
        ([{"name": "tag_groups", "min": 3}], r"min 3.0 is above max 2.0"),
        ([{"name": "tags", "kinds": ["meta"]}], "'general', 'character', 'copyright' or 'artist'"),
        ([{"name": "tags", "kinds": []}], "at least 1 item"),
        ([{"name": "tags", "strength": 1.5}], "less than or equal to 1"),
        ([{"name": "tags", "result": "loss"}], "'repeats' or 'loss_weight'"),
        ([{"name": "content_buckets", "min": 0}], "greater than 0"),
        ([{"name": "synthetic"}], "Field required"),
        ([{"name": "synthetic", "max_share": 1}], "less than 1"),
        ([{"name": "adaptive", "quality": {"best": 0}}], "greater than 0"),
        ([{"name": "adaptive", "fitted": ["ann"], "repeats": {"ann": 2}}], "ann is fitted, so it cannot"),
        ([{"name": "adaptive", "fitted": ["ann"], "underfitted": ["ann"]}], "ann is fitted, so it cannot"),
        ([{"name": "adaptive", "fitted_max": 20}], "fitted_max 20.0 is above max 10.0"),
        ([{"name": "adaptive", "otherwise": "unknown"}], "'underfitted' or 'fitted'"),
    ],
)
def test_mistakes(factors: list[dict], words: str):
    with pytest.raises(pydantic.ValidationError, match=words):
        balanced(*factors)


def test_a_mistake_in_a_file_has_its_place(tmp_path: Path):
    path = tmp_path / "curate.yaml"
    path.write_text(
        "stage: curate\nout: t\nsources: [{name: a, posts: [x]}]\nbalance:\n  - name: adaptive\n    class_totl: 100\n"
    )
    with pytest.raises(
        ConfigError, match=r"curate.yaml:6:5: balance.0.class_totl: .*did you mean 'balance.0.class_total'"
    ):
        config.load_config(path, CurateConfig)


def test_a_configuration_reads_itself_back(tmp_path: Path):
    cfg = balanced(
        {"name": "tags", "result": "loss_weight"},
        {"name": "adaptive", "quality": {"best": 2}, "repeats": {"ann": 3}, "states": "states.csv"},
        {"name": "synthetic", "max_share": 0.2},
        styles={"tags": ["flat_color"], "artist": "only"},
    )
    path = tmp_path / "curate.yaml"
    path.write_text(config.to_yaml(cfg))
    assert config.load_config(path, CurateConfig) == cfg


def test_the_published_numbers_are_the_defaults():
    (adaptive,) = balanced({"name": "adaptive"}).balance
    assert (adaptive.class_total, adaptive.max, adaptive.fitted_max) == (100, 10, 1)  # type: ignore[union-attr]


def test_the_examples_of_the_docs_are_configurations():
    examples = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(examples) == 2
    names = set()
    for text in examples:
        tree, found = yamltree.parse(text, "docs/balance.md")
        assert tree is not None
        assert not found
        names |= {factor.name for factor in balanced(**tree.plain()).balance}
    assert names == {"tag_groups", "tags", "content_buckets", "synthetic", "adaptive"}
