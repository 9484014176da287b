"""Recipes that come with animetune are listed, and a copy of one works in its new place."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from animetune.config import load_config, shipped_configs
from animetune.errors import ConfigError, SetupError
from animetune.recipe import check
from animetune.recipe.config import load_recipe
from animetune.recipe.run import Chosen, run_recipe
from animetune.recipe.shipped import copy_recipe, list_recipes, shipped


def animetune(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "animetune", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


def test_every_recipe_is_listed_with_all_that_it_says() -> None:
    text = list_recipes()
    flat = " ".join(text.split())
    assert {"dashanime", "demo"} <= shipped().keys()
    for name, folder in shipped().items():
        cfg = load_recipe(folder / "recipe.yaml").cfg
        assert f"{name}: {cfg.title}" in text
        for each in (cfg.about, cfg.source, cfg.hardware, *(Path(step).stem for step in cfg.steps)):
            assert " ".join(each.split()) in flat
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_copy_is_the_same_recipe(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is nothing else: its data and models are listed, and are no mistakes of it."""
    monkeypatch.chdir(tmp_path)
    files = copy_recipe(name, tmp_path / "my")
    assert all(file.is_file() for file in files)
    assert not list(tmp_path.rglob(".tmp-*"))
    original = load_recipe(shipped()[name] / "recipe.yaml")
    copied = load_recipe(tmp_path / "my" / "recipe.yaml")
    assert [(step.name, step.cfg) for step in copied.steps] == [(step.name, step.cfg) for step in original.steps]
    assert copied.cfg == original.cfg
    said: list[str] = []
    with pytest.raises(SetupError, match="a run would stop before its first step"):
        run_recipe(tmp_path / "my" / "recipe.yaml", Chosen(dry_run=True), say=said.append)
    assert any(line.startswith("not here yet: ") and "posts.0: " in line for line in said)
    assert said[-1].startswith("nothing was run")
    assert check.problems_of(tmp_path / "my" / "recipe.yaml") == []


def test_a_copy_stands_on_its_own_and_keeps_its_comments(tmp_path: Path) -> None:
    out = tmp_path / "my"
    copy_recipe("dashanime", out)
    original = (shipped_configs() / "recipes" / "dashanime" / "curate.yaml").read_text()
    copied = (out / "curate.yaml").read_text()
    assert copied == original.replace("include: ../../curate.yaml", "include: included/curate.yaml")
    assert (out / "included" / "curate.yaml").read_bytes() == (shipped_configs() / "curate.yaml").read_bytes()
    assert "include: curate.yaml" in (out / "included" / "curate-stage2.yaml").read_text()
    shutil.copytree(out, tmp_path / "elsewhere" / "deep")
    shutil.rmtree(out)
    moved = load_recipe(tmp_path / "elsewhere" / "deep" / "recipe.yaml", ["train:loop.epochs=1"])
    assert {step.cfg.loop.epochs for step in moved.steps if step.stage == "train"} == {1}  # type: ignore[attr-defined]


def test_what_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "my").mkdir()
    copy_recipe("demo", tmp_path / "my")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.yaml")}
    with pytest.raises(SetupError, match="is not empty; nothing was copied"):
        copy_recipe("dashanime", tmp_path / "my")
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="is not empty"):
        copy_recipe("dashanime", tmp_path / "file")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.yaml")} == before


@pytest.mark.parametrize(("name", "said"), [("dashanimi", "did you mean 'dashanime'?"), ("xyz", "there are ")])
def test_names_that_no_recipe_has(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        copy_recipe(name, tmp_path / "my")
    assert said in str(caught.value)
    assert not (tmp_path / "my").exists()


@pytest.mark.slow
def test_on_the_command_line(tmp_path: Path) -> None:
    done = animetune("init", "demo", "--out", "configs/my", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "configs/my/recipe.yaml" in done.stdout
    recipe = tmp_path / "configs" / "my" / "recipe.yaml"
    done = animetune("config", "check", *map(str, sorted(recipe.parent.glob("*.yaml"))), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "9 files: no mistakes\n")
    done = animetune("run", str(recipe), "--dry-run", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stdout.count("not here yet: ") == 2
    assert "a run would stop before its first step" in done.stderr
    recipe.write_text(recipe.read_text().replace("  - shard.yaml\n", ""))
    done = animetune("config", "check", str(recipe), cwd=tmp_path)
    assert done.returncode == 2
    assert "labels.yaml:3:9: shards: runs/demo/shards is not there, and no step of this recipe makes it" in done.stderr
    done = animetune("run", str(recipe), "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert "train.yaml:10:11: data.shards: runs/demo/shards is not there" in done.stderr


def test_show(tmp_path: Path) -> None:
    copy_recipe("demo", tmp_path / "my")
    parts = check.shown(tmp_path / "my" / "recipe.yaml", ["train:loop.steps=7"]).split("---\n")
    recipe = load_recipe(tmp_path / "my" / "recipe.yaml", ["train:loop.steps=7"])
    assert len(parts) == 7
    for part, step in zip(parts[1:], recipe.steps, strict=True):
        (tmp_path / "one.yaml").write_text(part)
        assert load_config(tmp_path / "one.yaml", type(step.cfg)) == step.cfg
