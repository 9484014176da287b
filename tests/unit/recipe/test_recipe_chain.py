"""What a step reads is made by an earlier one, or is there; everything else is named before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from animetune.errors import ConfigError
from animetune.recipe.chain import chain_problems, maker_of, missing_here, span
from animetune.recipe.config import Recipe, load_recipe
from tests.builders import tiny_table
from tests.tiny_recipe import STEPS, write_recipe


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_recipe(Path(), data=False)


def problems(recipe: Recipe) -> list[str]:
    return chain_problems(recipe, range(len(recipe.steps)))


def test_the_tiny_recipe_fits_together(path: Path) -> None:
    recipe = load_recipe(path)
    assert problems(recipe) == []
    makers = [maker_of(read, recipe.steps) for read in recipe.steps[4].reads]
    assert [maker.name for maker in makers if maker] == ["train.1", "shard", "labels"]
    deeper = maker_of("made/train.1/checkpoints/step-00000002", recipe.steps)
    assert deeper is not None
    assert deeper.name == "train.1"
    assert maker_of("made/train.10", recipe.steps) is None


ABSENT = "is not there, and no step of this recipe makes it"
MISFITS = {
    "labels.table=made/tabel": ("table", f"made/tabel {ABSENT}, did you mean 'made/table'?"),
    "labels.table=made/shards": ("table", "made/shards is made by 'shard', a step of shard; one of curate is needed"),
    "train.1.model.base=made/train.2": (
        "model.base",
        "made/train.2 is made by the later step 'train.2'; put that one before 'train.1'",
    ),
    "train.1.model.base=made/train.1": (
        "model.base",
        "made/train.1 is what this step itself makes; name another place",
    ),
    "sample.model.base=made/labels": (
        "model.base",
        "made/labels is made by 'labels', a step of labels; one of train or export or merge is needed here",
    ),
    "sample.model.base=made/train.3": ("model.base", f"made/train.3 {ABSENT}"),
    "export.out=made/samples": (
        "out",
        "made/samples is where the step 'sample' (configs/sample.yaml:3:6) writes, too",
    ),
    "out=made/table": ("out", "made/table is where the recipe itself (--set out=made/table) writes, too"),
}
"""Override -> the setting that is wrong then, and what is said."""


@pytest.mark.parametrize("override", MISFITS)
def test_what_does_not_fit_is_named_with_its_place(path: Path, override: str) -> None:
    key, said = MISFITS[override]
    recipe = load_recipe(path, [override])
    (found,) = problems(recipe)
    place = "configs/curate.yaml:2:6" if override.startswith("out=") else f"--set {override}"
    assert found.removeprefix(f"{place}: {key}: ").removeprefix("./").startswith(said)


@pytest.mark.parametrize("base", ["stabilityai/stable-diffusion-xl-base-1.0", "builtin:tiny", "random:sdxl", "configs"])
def test_hub_ids_what_comes_with_animetune_and_what_is_there_are_fine(path: Path, base: str) -> None:
    assert problems(load_recipe(path, [f"train.1.model.base={base}"])) == []


def test_mistakes_of_the_curation_itself(path: Path) -> None:
    (found,) = problems(load_recipe(path, ["curate.tag_sources.scorer=nobody"]))
    assert found.startswith("configs/curate.yaml: ")
    assert "nobody" in found


def test_several_problems_at_once(path: Path) -> None:
    recipe = load_recipe(path, ["labels.table=a", "export.base=b/c/d", "sample.out=made/labels"])
    assert len(problems(recipe)) == 2
    recipe = load_recipe(path, ["labels.table=a", "export.base=made/c", "sample.out=made/labels"])
    assert len(problems(recipe)) == 3


def test_steps_are_chosen_by_name(path: Path) -> None:
    recipe = load_recipe(path)
    assert span(recipe, None, None) == range(7)
    assert span(recipe, "labels", "train.2") == range(2, 5)
    with pytest.raises(ConfigError, match=r"--from lables: .* did you mean 'labels'"):
        span(recipe, "lables", None)
    with pytest.raises(ConfigError) as caught:
        span(recipe, "x", "y")
    assert len(caught.value.problems) == 2
    assert ", ".join(STEPS) in str(caught.value)
    with pytest.raises(ConfigError, match="'curate' comes before 'labels'"):
        span(recipe, "labels", "curate")


def test_what_steps_before_from_have_not_made(path: Path) -> None:
    recipe = load_recipe(path)
    found = chain_problems(recipe, range(1, 3))
    assert [each.rpartition(": ")[0].rpartition(": ")[2] for each in found] == ["table", "table"]
    assert all("its" not in each and "'curate', is outside of --from" in each for each in found)
    tiny_table(Path("made/table"), [(64, 64)])
    assert chain_problems(recipe, range(1, 3)) == []
    assert chain_problems(recipe, range(3)) == []


def test_what_this_machine_lacks(path: Path) -> None:
    recipe = load_recipe(path, ["launch=[no-such-launcher, -m, animetune]"])
    lacks = missing_here(recipe, range(7))
    assert [line.split(": ")[1] for line in lacks] == ["sources.0.posts.0", "sources.0.captions.0", "launch"]
    assert missing_here(recipe, range(1, 3)) == []
    Path("posts").mkdir()
    for name in ("posts", "captions"):
        Path(f"posts/{name}.jsonl").write_text("")
    assert len(missing_here(recipe, range(7))) == 1


OUTSIDE = {
    "sample.model.base=weights/none.safetensors": "model.base",
    "sample.model.base=../elsewhere/run": "model.base",
    "sample.prompts_file=none.txt": "prompts_file",
    "curate.lists.include=[picked.txt]": "lists.include.0",
}
"""Override -> the setting that names something from outside of the recipe."""


@pytest.mark.parametrize("override", OUTSIDE)
def test_what_comes_from_outside_is_the_machines_to_have(path: Path, override: str) -> None:
    """A recipe is checked where neither data nor models are."""
    recipe = load_recipe(path, [override])
    assert problems(recipe) == []
    lacks = missing_here(recipe, range(7))
    (found,) = [line for line in lacks if line.startswith(f"--set {override}: {OUTSIDE[override]}: ")]
    assert found.endswith(": there is no such file; put it there, or name another")
    place = Path(found.split(": ")[2])
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("")
    assert found not in missing_here(recipe, range(7))


def test_pictures_of_an_evaluation_may_be_anybodys(path: Path) -> None:
    Path("configs/evaluate.yaml").write_text(
        "stage: evaluate\nout: made/evaluation\nprobes: [{name: black_white}]\n"
        "models: {others: {pictures: by-others}}\n"
    )
    path.write_text(path.read_text().replace("sample.yaml", "evaluate.yaml, sample.yaml"))
    recipe = load_recipe(path)
    every = range(len(recipe.steps))
    assert problems(recipe) == []
    assert any("by-others: there is no such file" in text for text in missing_here(recipe, every))
    Path("by-others").mkdir()
    assert not any("by-others" in text for text in missing_here(recipe, every))
    (text,) = problems(load_recipe(path, ["evaluate.models.others.pictures=made/sampels"]))
    assert f"made/sampels {ABSENT}, did you mean './made/samples'?" in text
    (text,) = problems(load_recipe(path, ["evaluate.models.others.pictures=made/samples"]))
    assert "made/samples is made by the later step 'sample'" in text
