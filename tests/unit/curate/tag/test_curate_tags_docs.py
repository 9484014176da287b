"""docs/tags.md: its settings are valid, and it names every list and order that is built in."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from animetune.curate.config.tags import ORDER_NAMES, TagsConfig
from animetune.curate.tag import orders
from animetune.curate.tag.tag_lists import NAMES, OVERLAP, Vocabulary

TEXT = (Path(__file__).parents[4] / "docs" / "tags.md").read_text(encoding="utf-8")


def test_its_settings_are_valid():
    blocks = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        cfg = TagsConfig.model_validate(yaml.safe_load(block)["tags"])
        assert orders.ranks(cfg.order, Vocabulary.load().classes)


def test_it_names_every_setting_list_and_order():
    for name in (*NAMES, OVERLAP, *ORDER_NAMES, *TagsConfig.model_fields):
        assert f"`{name}`" in TEXT or f"\n  {name}:" in TEXT or f"**{name}**" in TEXT or f"`{name}:" in TEXT, name
    assert f"The {len(Vocabulary.load().classes)} built-in classes" in TEXT
