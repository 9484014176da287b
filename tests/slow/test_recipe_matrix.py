"""Every step of every shipped recipe, from posts to a card, by its own files with `--set` alone: tiny networks, small
pictures, two steps of training.

How long each step took is in the report of the test (`pytest -rP`). What pictures said (hashes, sizes, what is black)
is kept in one place for all curations, so that each picture is looked at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from animetune import fsio
from animetune.card.config import CardConfig
from animetune.card.run import run as card
from animetune.config import load_config, shipped_configs
from animetune.errors import AnimetuneError
from animetune.manifest import read_manifest, verify_files
from animetune.recipe.chain import maker_of
from animetune.recipe.config import Recipe, Step, load_recipe
from animetune.recipe.ledger import Ledger
from animetune.recipe.run import Chosen, run_recipe
from tests.recipe_posts import at_posts, write_recipe_posts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RECIPES = sorted((shipped_configs() / "recipes").rglob("recipe*.yaml"))
FACTS = Path(__file__).resolve().parents[1] / "golden" / "cards"
STEPS = 2
OTHER = "optimizer.unet_lr=3.21e-6"

SMALL = {
    "shard": [
        "store.vae=builtin:tiny",
        "sizes={area: 4096, step: 32, min_side: 32, max_side: 128}",
        "executor.workers=0",
        "quarantine_limit=1",
    ],
    "labels": ["missing_limit=1"],
    "train": [
        "model.dtype=float32",
        "model.activation_checkpointing=none",
        "data.global_batch=2",
        "data.micro_batch=1",
        "data.workers=0",
        f"loop={{steps: {STEPS}, accelerator: cpu, devices: 1, log_every: 1}}",
        f"preview.every={STEPS}",
        "preview.width=64",
        "preview.height=64",
        "preview.sampler.steps=2",
        "watch.tensorboard=false",
    ],
    "sample": ["model.dtype=float32", "seeds=[0]", "width=64", "height=64", "sampler.steps=2", "device=cpu"],
    "evaluate": ["seeds=[0]", "sizes=[64x64]", "sampler.steps=2", "device=cpu"],
}
"""Stage -> settings that make it small."""


def small(step: Step, recipe: Recipe, files: Path, answers: Path) -> Iterator[str]:
    """What is put in for a step: its data, the tiny networks, small sizes."""
    cfg: Any = step.cfg
    yield from SMALL.get(step.stage, ())
    if step.stage == "curate":
        yield from (each for each in at_posts(files, cfg) if not each.startswith("answers="))
        yield from (f"answers={answers}", "executor.workers=0", "quarantine_limit=1")
        held_out = any(getattr(other.cfg, "validation", None) for other in recipe.steps)
        yield f"split.val_share={0.2 if held_out else 0}"
    elif step.stage == "train":
        yield from ("optimizer.name=adamw",) if cfg.optimizer.name == "adamw8bit" else ()
        yield from ("validation={every: 1, pictures: 2, timesteps: 2}",) if cfg.validation else ()
    elif step.stage == "sample":
        sized = (place for place, prompt in enumerate(cfg.prompts) if getattr(prompt, "width", None))
        for place in sized:
            yield from (f"prompts.{place}.width=96", f"prompts.{place}.height=64")
    elif step.stage == "evaluate":
        yield from (f"models.{name}.dtype=float32" for name in cfg.models)
        for place, probe in enumerate(cfg.probes):
            yield from (f"probes.{place}.limit=2", *([f"probes.{place}.sizes=[64x64]"] if probe.sizes else []))
    for read in step.inputs:
        if read.kind == "weights" and read.key != "store.vae" and maker_of(read.place, recipe.steps) is None:
            yield f"{read.key}=builtin:tiny"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the posts, and of what was found in their pictures."""
    folder = tmp_path_factory.mktemp("shared")
    write_recipe_posts(folder / "posts")
    return folder


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recipe_runs_from_posts_to_a_card(path: Path, shared: Path) -> None:
    shipped = load_recipe(path)
    overrides = tuple(
        f"{step.name}.{each}"
        for step in shipped.steps
        for each in small(step, shipped, shared / "posts", shared / "answers")
    )
    recipe = load_recipe(path, overrides)
    names = [step.name for step in recipe.steps]

    assert ran(run(path, overrides)) == names
    print(durations(recipe))
    for step in recipe.steps:
        manifest = read_manifest(step.folder)
        assert verify_files(step.folder, manifest) == [], step.name
    for step in recipe.steps:
        CHECKS.get(step.stage, lambda step, recipe: None)(step, recipe)
    check_page(recipe)

    assert ran(run(path, overrides)) == []
    check_another_setting(path, overrides, recipe)


def run(path: Path, overrides: tuple[str, ...], *, dry: bool = False) -> list[str]:
    said: list[str] = []
    run_recipe(path, Chosen(overrides, dry_run=dry), say=said.append)
    return said


def ran(said: list[str]) -> list[str]:
    """The steps that were run, not skipped, in order."""
    return [found[1] for line in said if (found := re.match(r"\[.*?\] \d+/\d+ ([^:]+): animetune ", line))]


def durations(recipe: Recipe) -> str:
    done = {each.step: each.seconds for each in Ledger(recipe.cfg.out).lines}
    steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in done.items())
    return f"{recipe.cfg.name}: {sum(done.values()):.0f} s ({steps})"


# ---- what the steps leave


def check_training(step: Step, recipe: Recipe) -> None:
    folder = step.folder
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if "loss" in line]
    assert [line["step"] for line in trained] == [*range(1, STEPS + 1)]
    assert all(0 < line["loss"] < 10 for line in trained)
    assert read_manifest(folder).facts["step"] == STEPS
    assert (folder / "samples" / f"step-{STEPS:08}" / "grid.png").is_file()


def check_export(step: Step, recipe: Recipe) -> None:
    """diffusers loads the folder, and the single file says what it is."""
    from diffusers import StableDiffusionXLPipeline
    from diffusers.utils import logging
    from safetensors import safe_open

    logging.disable_progress_bar()
    folder = step.folder / "diffusers"
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, variant="fp16", use_safetensors=True)
    is_v = recipe.cfg.name == "eps-to-vpred"
    assert pipeline.scheduler.config.prediction_type == ("v_prediction" if is_v else "epsilon")
    assert bool(pipeline.scheduler.config.get("rescale_betas_zero_snr")) == is_v
    assert pipeline.scheduler.config.timestep_spacing == ("trailing" if is_v else "leading")
    (file,) = step.folder.glob("*.safetensors")
    with safe_open(file, "pt") as opened:
        keys, metadata = {*opened.keys()}, opened.metadata()
    assert keys & {"v_pred", "ztsnr"} == ({"v_pred", "ztsnr"} if is_v else set())
    assert metadata["modelspec.prediction_type"] == ("v" if is_v else "epsilon")


def check_evaluation(step: Step, recipe: Recipe) -> None:
    cfg: Any = step.cfg
    results = json.loads((step.folder / "results.json").read_text())
    assert len(results["probes"]) == len(cfg.probes)
    assert (step.folder / "report.html").stat().st_size > 10_000
    if recipe.cfg.name == "eps-to-vpred":
        models = results["probes"]["black_white"]["measures"]["luminance"]["groups"]["asked dark"]["models"]
        assert {*models} == {"base", "tuned"}


def check_card(step: Step, recipe: Recipe) -> None:
    """All training stages in one table, what the original states, and what configurations and manifests know."""
    text = (step.folder / "README.md").read_text(encoding="utf-8")
    stages = {Path(other.writes).name for other in recipe.steps if other.stage == "train"}
    heads = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|  |")]
    assert {Path(cell.strip()).name for cell in heads[-1] if cell.strip()} == stages
    assert f"length {STEPS} steps instead of" in re.sub(r", stopped below a rate of 5e-7", "", text)
    assert f"| Done | {STEPS} steps, {2 * STEPS} images" in text
    facts = yaml.safe_load((FACTS / f"{recipe.cfg.name}.yaml").read_text(encoding="utf-8"))
    assert [fact for fact in facts["stated"] if flowing(fact) not in flowing(text)] == []
    card(load_config(step.path, CardConfig, BARE))
    bare = flowing(Path("bare/README.md").read_text(encoding="utf-8"))
    assert [fact for fact in facts["generated"] if flowing(fact) not in bare] == []
    assert "Nothing was measured for this card." in bare


BARE = [
    *("out=bare", "samples=null", "evaluation=null", "inference={}"),
    *("about.original=''", "about.limitations=[]", "about.thanks=[]", "about.description=none"),
]
"""Overrides that leave nothing in a card that people wrote."""

CHECKS = {"train": check_training, "export": check_export, "evaluate": check_evaluation, "card": check_card}


def flowing(text: str) -> str:
    """The text with line ends and runs of spaces as one space."""
    return re.sub(r"\s+", " ", text)


def check_page(recipe: Recipe) -> None:
    text = (recipe.cfg.out / "index.html").read_text(encoding="utf-8")
    assert text.count(">done<") == len(recipe.steps)
    links = re.findall(r'href="([^"#]+)"', text)
    assert links
    assert [link for link in links if not (recipe.cfg.out / link).exists()] == []


# ---- a setting of the last training is changed


def check_another_setting(path: Path, overrides: tuple[str, ...], recipe: Recipe) -> None:
    """It is refused with what to move, and then only that step runs, and what depends on it."""
    last = [step for step in recipe.steps if step.stage == "train"][-1]
    changed = (*overrides, f"{last.name}.{OTHER}")
    behind = depending_on(last, recipe)
    names = "|".join(re.escape(step.name) for step in recipe.steps)
    states = dict(re.findall(rf"^ *\d+  ({names}) +\w+ +(.*)$", "\n".join(run(path, changed, dry=True)), re.MULTILINE))
    assert states.pop(last.name).startswith("changed: optimizer.unet_lr was ")
    assert {name for name, state in states.items() if state != "done"} == behind
    assert all(states[name].startswith("done once: again if ") for name in behind)
    with pytest.raises(AnimetuneError) as caught:
        run(path, changed)
    assert f"move or remove {last.folder}" in str(caught.value)
    if recipe.cfg.name == "eps-to-vpred":
        for step in recipe.steps:
            if step.name in behind | {last.name}:
                fsio.remove(step.folder)
        assert {*ran(run(path, changed))} == behind | {last.name}


def depending_on(step: Step, recipe: Recipe) -> set[str]:
    """The names of the steps that read what it makes, or what one of those makes."""
    found = {step.name}
    for other in recipe.steps:
        makers = {maker.name for read in other.reads if (maker := maker_of(read, recipe.steps))}
        found |= {other.name} if makers & found else set()
    return found - {step.name}
