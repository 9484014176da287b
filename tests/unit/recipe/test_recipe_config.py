"""Recipes are read with all of their steps; every mistake has the file and line, or the --set, that it is in."""

from __future__ import annotations

from pathlib import Path

import pytest

from animetune.errors import ConfigError
from animetune.recipe.config import RecipeConfig, load_recipe
from animetune.recipe.overrides import sort_overrides
from tests.tiny_recipe import STEPS, write_recipe

NAMES = {"curate": "curate", "v0.5": "train", "v0.51-long": "train", "export": "export"}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, data=False)


def mistakes(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, overrides)
    return caught.value.problems


def test_steps_are_files_beside_it_and_know_what_they_read_and_write(recipe: Path) -> None:
    found = load_recipe(recipe)
    assert tuple(step.name for step in found.steps) == STEPS
    made = recipe.parent.parent / "made"
    by_name = {step.name: step for step in found.steps}
    assert by_name["train.2"].reads == (f"{made}/train.1", f"{made}/shards", f"{made}/labels")
    assert by_name["train.2"].writes == f"{made}/train.2"
    assert by_name["train.1"].reads == ("random:tiny", f"{made}/shards", f"{made}/labels")
    assert by_name["sample"].reads == (f"{made}/train.2",)
    assert [read.key for read in by_name["curate"].inputs] == ["sources.0.posts.0", "sources.0.captions.0"]


def test_overrides_reach_a_step_all_of_a_stage_or_the_recipe(recipe: Path) -> None:
    found = load_recipe(
        recipe,
        ["train:loop.steps=7", "train.2.loop.steps=9", "sample.sampler.steps=3", "launch=[a, b]", "out=runs/other"],
    )
    steps = {step.name: step.cfg for step in found.steps}
    assert (steps["train.1"].loop.steps, steps["train.2"].loop.steps) == (7, 9)  # type: ignore[attr-defined]
    assert steps["sample"].sampler.steps == 3  # type: ignore[attr-defined]
    assert found.cfg.launch == ("a", "b")
    assert found.cfg.out == Path("runs/other")
    again = load_recipe(recipe, ["train.2.loop.steps=9", "train:loop.steps=7"])
    assert {step.cfg.loop.steps for step in again.steps if step.stage == "train"} == {7}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("override", "step", "setting"),
    [
        ("v0.5.loop.steps=1", "v0.5", "loop.steps=1"),
        ("v0.51-long.model.base=a=b", "v0.51-long", "model.base=a=b"),
        ("export.about.title=v0.5.x", "export", "about.title=v0.5.x"),
    ],
)
def test_of_steps_with_dots_the_longest_is_meant(override: str, step: str, setting: str) -> None:
    routed = sort_overrides([override], NAMES, ())
    assert not routed.problems
    assert {name: [given.setting for given in each] for name, each in routed.by_step.items()} == {step: [setting]}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("exprot.name=x", "did you mean 'export.name'?"),
        ("v0.51-lnog.loop.steps=3", "did you mean 'v0.51-long.loop.steps'?"),
        ("trian:loop.steps=3", "did you mean 'train:'?"),
        ("card:title=x", "no step of this recipe is of the stage 'card'; there are curate, export, train"),
        ("lunch=null", "did you mean 'launch'?"),
        ("zzzzz.a=1", "'zzzzz' is no step of this recipe; there are curate, v0.5, v0.51-long, export"),
        ("export", "should be STEP.key=value"),
        ("export=3", "should be STEP.key=value"),
    ],
)
def test_what_no_step_has_is_refused_with_a_suggestion(override: str, said: str) -> None:
    routed = sort_overrides([override], NAMES, tuple(RecipeConfig.model_fields))
    assert not routed.by_step
    assert len(routed.problems) == 1
    assert routed.problems[0].startswith(f"--set {override}: ")
    assert said in routed.problems[0]


def test_all_mistakes_of_all_files_at_once(recipe: Path) -> None:
    folder = recipe.parent
    shard, sample = folder / "shard.yaml", folder / "sample.yaml"
    shard.write_text(shard.read_text().replace("max_upscale: 2", "max_upscael: 2"))
    sample.write_text(sample.read_text().replace("width: 64", "width: wide"))
    recipe.write_text(recipe.read_text().replace("export.yaml", "exprot.yaml"))
    found = mistakes(recipe, "train:loop.stpes=2", "train.1.optimizer.unet_lr=fast")
    assert len(found) == 5
    assert any(each.startswith(f"{recipe}:8:") and "did you mean" in each and "export.yaml" in each for each in found)
    assert any(each.startswith(f"{shard}:6:1: max_upscael: ") and "'max_upscale'" in each for each in found)
    assert any(each.startswith(f"{sample}:5:8: width: ") for each in found)
    assert "--set train:loop.stpes=2: loop.stpes: is not a setting here, did you mean 'loop.steps'?" in found
    assert any(each.startswith("--set train.1.optimizer.unet_lr=fast: optimizer.unet_lr: ") for each in found)


def test_a_mistake_of_a_stage_in_some_of_its_steps_names_them(recipe: Path) -> None:
    second = recipe.parent / "train.2.yaml"
    second.write_text(second.read_text() + "preview: {every: 2, prompts: [a]}\n")
    found = mistakes(recipe, "train:preview.prompts=[]")
    assert [each for each in found if "train.2" in each] == found


def test_two_steps_of_one_name_and_a_stage_that_there_is_not(recipe: Path, tmp_path: Path) -> None:
    (found,) = mistakes(recipe, "steps=[curate.yaml, sub/curate.yaml]")
    assert "sub/curate.yaml would both be the step 'curate'" in found
    (found,) = mistakes(recipe, "steps=[launch.yaml]")
    assert "named like a setting" in found
    (recipe.parent / "odd.yaml").write_text("stage: exprot\n")
    (found,) = mistakes(recipe, "steps=[odd.yaml]")
    assert (
        found == f"{recipe.parent}/odd.yaml:1:8: stage: a step of a recipe cannot be 'exprot', did you mean 'export'?"
    )


def test_a_stage_is_no_recipe(recipe: Path) -> None:
    (found,) = mistakes(recipe.parent / "export.yaml")
    assert "this file is for `animetune export`, but `stage: recipe` is needed here" in found
