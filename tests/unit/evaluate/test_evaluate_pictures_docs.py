"""docs/evaluate-pictures.md: its settings load, and its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from animetune.evaluate.characters.numbers import sayings
from animetune.evaluate.config import EvaluateConfig
from animetune.evaluate.distribution.distances import DISTANCES

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "evaluate-pictures.md").read_text()


def test_settings_load() -> None:
    rest = {"stage": "evaluate", "models": {"a": {"base": "builtin:tiny"}}, "out": "out"}
    found = [EvaluateConfig.model_validate({**rest, **yaml.safe_load(block)}) for block in _blocks()]
    assert [cfg.probes[0].name for cfg in found] == ["characters", "distribution"]
    assert found[0].ccip.name == "ccip-caformer-24-randaug-pruned"
    assert found[1].features.kind == "clip"


def test_all_measures_are_told() -> None:
    for name in [each.name for each in (*sayings(0.1), *DISTANCES)]:
        assert f"\n| `{name}` |" in TEXT
    for kind in ("onnx", "clip", "inception"):
        assert f"\n| `{kind}` |" in TEXT


def _blocks() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
