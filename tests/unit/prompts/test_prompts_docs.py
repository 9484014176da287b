"""docs/prompts.md: its settings are valid, and its prompts are what they give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from animetune.prompts import PromptConfig
from animetune.records import Label
from tests.unit.prompts.draws import count_prompts

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "prompts.md").read_text(encoding="utf-8")
LABEL, ORDER, *RULES = re.findall(r"```yaml\n(.*?)```(?:\n\n    (.*?)\n(?:    -> (.*?)\n)?\n)?", TEXT, re.DOTALL)
"""Settings, the prompt without them, and one with them."""


def label() -> Label:
    fields = yaml.safe_load(LABEL[0])
    return Label(key="docs", **{name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()})


def test_the_page_has_an_example_for_every_rule() -> None:
    shown = {name for settings, *_ in (ORDER, *RULES) for name in yaml.safe_load(settings)}
    described = {"separator", "caption_end"}  # constants, told in a sentence
    assert shown | described == PromptConfig.model_fields.keys()
    assert all(name in TEXT for name in described)


@pytest.mark.parametrize(("settings", "before", "after"), RULES, ids=[rule[0].partition("\n")[0] for rule in RULES])
def test_examples_are_true(settings: str, before: str, after: str) -> None:
    values = {**yaml.safe_load(ORDER[0]), **yaml.safe_load(settings)}
    assert before in count_prompts(label(), PromptConfig(order=values["order"]), 20)
    prompts = count_prompts(label(), PromptConfig.model_validate(values), 5_000)
    assert after != before
    assert after in prompts, max(prompts, key=prompts.get)
    assert count_prompts(label(), PromptConfig.model_validate(yaml.safe_load(ORDER[0])), 5).keys() == {ORDER[1]}
