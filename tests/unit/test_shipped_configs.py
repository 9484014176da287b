"""Every configuration that animetune ships loads, says what it is, and survives being written out."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from animetune import problems
from animetune.cli import CONFIGS
from animetune.config import digest, json_schema, load_config, shipped_configs, stage_of, to_yaml

FILES = sorted(path for path in shipped_configs().rglob("*.yaml") if path.name != "recipe.yaml")
"""Of stages; what holds for a whole recipe is in test_recipe_chains.py."""
WHOLE = sorted(shipped_configs().rglob("recipe.yaml"))


def model_of(stage: str) -> Any:
    module, _, name = CONFIGS[stage].partition(":")
    return getattr(importlib.import_module(module), name)


def test_every_stage_has_a_configuration() -> None:
    assert {stage_of(path) for path in FILES if path.parent == shipped_configs()} == {*CONFIGS} - {"recipe"}


@pytest.mark.parametrize("path", [*FILES, *WHOLE], ids=lambda path: path.relative_to(shipped_configs()).as_posix())
def test_a_shipped_configuration(path: Path, tmp_path: Path) -> None:
    stage = stage_of(path)
    assert path.read_text(encoding="utf-8").splitlines()[0] == f"stage: {stage}"
    cfg = load_config(path, model_of(stage))
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(to_yaml(cfg), encoding="utf-8")
    again = load_config(resolved, model_of(stage))
    assert again == cfg
    assert digest(again) == digest(cfg)


@pytest.mark.parametrize("stage", [*CONFIGS])
def test_settings_are_documented_and_not_deep(stage: str) -> None:
    """`section.group.field` at most; every setting has a description, which is its help."""
    model = model_of(stage)
    deep = [".".join(path) for path, _ in problems._fields(model) if len(path) > 3]
    assert deep == []
    silent = {
        f"{owner.__name__}.{path[-1]}"
        for path, owner in problems._fields(model)
        if not owner.model_fields[path[-1]].description and path[-1] not in ("stage", "name")
    }
    assert silent == set()
    assert json_schema(model)["properties"]["stage"]["const"] == stage
