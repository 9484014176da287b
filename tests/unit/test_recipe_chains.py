"""The files of a recipe fit together: what one stage reads, another file of the same recipe makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from animetune.config import load_config, shipped_configs, stage_of
from animetune.curate.config import CurateConfig
from animetune.recipe.chain import chain_problems
from animetune.recipe.config import load_recipe
from animetune.shards.config import LabelsConfig, ShardConfig
from animetune.train.config import TrainConfig

MODELS = {"curate": CurateConfig, "shard": ShardConfig, "labels": LabelsConfig, "train": TrainConfig}
ROOT = shipped_configs()
RECIPES = [ROOT, ROOT / "demo", *sorted(path for path in (ROOT / "recipes").iterdir() if path.is_dir())]


def configs(recipe: Path) -> dict[str, dict[str, Any]]:
    """Stage -> file -> its configuration."""
    found: dict[str, dict[str, Any]] = {stage: {} for stage in MODELS}
    for path in sorted(recipe.glob("*.yaml")):
        if path.name != "recipe.yaml" and (stage := stage_of(path)) in MODELS:
            found[stage][path.name] = load_config(path, MODELS[stage])
    return found


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_what_a_stage_reads_another_makes(recipe: Path) -> None:
    found = configs(recipe)
    assert all(found.values())
    tables = [str(cfg.out) for cfg in found["curate"].values()]
    roots = {str(cfg.out): str(cfg.table) for cfg in found["shard"].values()}
    labels = {str(cfg.out): str(cfg.shards) for cfg in found["labels"].values()}
    for made, files in ((tables, "curate"), (roots, "shard"), (labels, "labels")):
        assert len(set(made)) == len(found[files]), f"two files of {files} have one out"
    assert {*roots.values()} <= {*tables}
    assert {str(cfg.table) for cfg in found["labels"].values()} <= {*tables}
    assert {*labels.values()} <= roots.keys()
    trained = set()
    for name, cfg in found["train"].items():
        for source in cfg.data.all_sources:
            assert labels[source.labels] == source.shards, name
            trained.add(source.labels)
    assert trained == labels.keys(), "labels that nothing trains on"
    used = {*roots.values(), *(str(cfg.table) for cfg in found["labels"].values())}
    assert used == {*tables}, "tables that nothing reads"


@pytest.mark.parametrize(
    "path", [path for folder in RECIPES for path in folder.glob("recipe.yaml")], ids=lambda path: path.parent.name
)
def test_a_whole_recipe_fits_together_and_leaves_no_file_out(path: Path) -> None:
    """Each step reads what an earlier one makes; files that are no step of it are said to be variants in its header."""
    recipe = load_recipe(path)
    assert chain_problems(recipe, range(len(recipe.steps))) == []
    assert recipe.cfg.name == path.parent.name
    files = {each.stem for each in path.parent.glob("*.yaml")} - {"recipe"}
    left_out = files - {step.name for step in recipe.steps}
    text = path.read_text(encoding="utf-8")
    assert not [name for name in left_out if f"{name}.yaml" not in text]


@pytest.mark.parametrize("recipe", RECIPES[2:], ids=lambda path: path.name)
def test_a_header_says_what_is_stated_and_what_is_ours(recipe: Path) -> None:
    """In the file, or in one that it includes."""
    for path in sorted(recipe.glob("curate*.yaml")):
        header = ""
        while path is not None:
            text = path.read_text(encoding="utf-8")
            header += text[: text.index("\nout:")]
            include = [line.partition(": ")[2] for line in text.splitlines() if line.startswith("include: ")]
            path = path.parent / include[0] if include else None
        assert "tated" in header, recipe
        assert "Left open" in header, recipe
