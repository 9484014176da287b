"""The files of a recipe fit together: what one stage reads, another file of the same recipe makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from animetune.config import load_config, shipped_configs, stage_of
from animetune.curate.config import CurateConfig
from animetune.licences import KNOWN_BASES, licence_problems
from animetune.recipe.chain import chain_problems, maker_of
from animetune.recipe.check import problems_of
from animetune.recipe.config import load_recipe
from animetune.shards.config import LabelsConfig, ShardConfig
from animetune.train.config import TrainConfig

MODELS = {"curate": CurateConfig, "shard": ShardConfig, "labels": LabelsConfig, "train": TrainConfig}
ROOT = shipped_configs()
RECIPES = [ROOT, ROOT / "demo", *sorted(path for path in (ROOT / "recipes").iterdir() if path.is_dir())]
WHOLE = [path for folder in RECIPES for path in sorted(folder.glob("recipe*.yaml"))]


def configs(recipe: Path) -> dict[str, dict[str, Any]]:
    """Stage -> file -> its configuration."""
    found: dict[str, dict[str, Any]] = {stage: {} for stage in MODELS}
    for path in sorted(recipe.glob("*.yaml")):
        if path not in WHOLE and (stage := stage_of(path)) in MODELS:
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


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_whole_recipe_fits_together(path: Path) -> None:
    """Each step reads what an earlier one makes, and something reads it, or it is for people."""
    recipe = load_recipe(path)
    assert chain_problems(recipe, range(len(recipe.steps))) == []
    version = path.stem.removeprefix("recipe").strip("-")
    assert recipe.cfg.name == (f"{path.parent.name.partition('-')[0]}-{version}" if version else path.parent.name)
    made_for = {maker.name for step in recipe.steps for read in step.reads if (maker := maker_of(read, recipe.steps))}
    idle = [step for step in recipe.steps if step.name not in made_for]
    assert {step.stage for step in idle} <= {"sample", "lora", "card", "export", "train"}
    assert [step.name for step in idle if step.stage == "train"] in ([], [recipe.steps[-1].name])


@pytest.mark.parametrize("folder", RECIPES[1:], ids=lambda path: path.name)
def test_no_file_is_left_out(folder: Path) -> None:
    """Every file in a folder is a step of one of its recipes, or the header of the recipe says what it is for."""
    files = {path.name for path in folder.glob("*.yaml")}
    recipes = {path for path in WHOLE if path.parent == folder}
    steps = {step.path.name for path in recipes for step in load_recipe(path).steps}
    header = (folder / "recipe.yaml").read_text(encoding="utf-8").partition("\nname:")[0]
    assert sorted(name for name in files - steps - {"recipe.yaml"} if name not in header) == []
    assert steps <= files


def test_configurations_are_checked_where_there_is_neither_data_nor_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make check` on a fresh clone."""
    monkeypatch.chdir(tmp_path)
    for path in WHOLE:
        assert problems_of(path) == []


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_licences_are_those_that_the_base_allows(path: Path) -> None:
    """Of exports, adapters and cards: as long as nobody trains from another base."""
    steps: Any = load_recipe(path).steps
    bases = [step.cfg.model.base for step in steps if step.stage == "train"]
    known = {base: KNOWN_BASES[base] for base in bases if base in KNOWN_BASES}
    assert known or path.parent.name == "demo"
    named = [step.cfg.about.license for step in steps if step.stage in ("merge", "export", "lora", "card")]
    assert [licence_problems(licence, known) for licence in named] == [[]] * len(named)


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
