"""A whole recipe, from posts to an export: what is skipped, what training refuses, and training by a launcher."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from animetune import fsio
from animetune.errors import ConfigError, SetupError
from animetune.manifest import read_manifest
from animetune.recipe.run import Chosen, run_recipe
from tests.tiny_recipe import STEPS, write_recipe
from tests.unit.recipe.test_recipe_run import new_captions, ran, states

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

LAUNCH = f'launch=["{sys.executable}", -m, animetune]'


def run(path: Path, *overrides: str, first: str | None = None, dry: bool = False) -> list[str]:
    said: list[str] = []
    run_recipe(path, Chosen(overrides, first=first, dry_run=dry), say=said.append)
    return said


def test_from_posts_to_an_export(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    made = tmp_path / "made"
    assert tuple(ran(run(recipe))) == STEPS
    assert ran(run(recipe)) == []
    checkpoint = made / "train.2" / "checkpoints" / "step-00000002"
    in_process = read_manifest(checkpoint).digest

    # Samples by other settings: refused, and taken once the old ones are away.
    with pytest.raises(SetupError) as caught:
        run(recipe, "sample.sampler.steps=3")
    assert "because: sampler.steps was 2, is 3" in str(caught.value)
    assert f"move or remove {made}/samples" in str(caught.value)
    (made / "samples").rename(made / "before")
    assert ran(run(recipe, "sample.sampler.steps=3")) == ["sample"]

    # The same training by a launcher has the same bytes, so that what reads it is done.
    fsio.remove(made / "train.2")
    assert ran(run(recipe, LAUNCH, "sample.sampler.steps=3")) == ["train.2"]
    assert read_manifest(checkpoint).digest == in_process

    # Other captions, the shards may stay: a run that has ended would not look at them.
    new_captions(recipe, "Another caption.")
    with pytest.raises(ConfigError, match="--from labels goes on with them"):
        run(recipe)
    with pytest.raises(SetupError) as caught:
        run(recipe, first="labels")
    said = str(caught.value)
    assert said.startswith(f"train.1: run: {made}/train.1: was trained to its end, on something else")
    assert f"because: {made}/labels is another one, since 'labels' made it anew" in said
    assert states(run(recipe, dry=True))["train.2"].startswith("done once: again if ")
    for name in ("train.1", "train.2", "samples", "export"):
        fsio.remove(made / name)
    assert ran(run(recipe, first="labels")) == ["train.1", "train.2", "sample", "export"]
