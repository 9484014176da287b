"""docs/models.md: its configuration loads, and its tables say what the code does."""

from __future__ import annotations

from pathlib import Path

import pydantic
import yaml

from animetune.curate.config.models import ModelsConfig, Policy, TagSourcesConfig

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "models.md").read_text()


def test_the_configuration_loads():
    given = yaml.safe_load(TEXT.partition("```yaml\n")[2].partition("```")[0])
    models = pydantic.TypeAdapter(ModelsConfig).validate_python(given["models"])
    rules = TagSourcesConfig.model_validate(given["tag_sources"])
    assert [model.name for model in models.all] == ["swinv2", "dbaesthetic", "shadow"]
    assert rules.of_source("handmade").general == "original"
    assert rules.of_source("handmade").tags == {"blush": 0.6}
    assert rules.of_source("other").general == "union"


def test_every_policy_is_told():
    for policy in Policy.__args__:
        assert f"| `{policy}`" in TEXT
    for value in (TagSourcesConfig().thresholds.general, TagSourcesConfig().thresholds.character):
        assert str(value) in TEXT
