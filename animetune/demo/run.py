"""The demo: draw a data set, run the recipe `configs/demo/` over it, and look whether the model has learnt.

Only the drawing and the looking are the demo's own. Between them is a recipe as a user runs it, with configurations
that work just as well one by one on the command line: `animetune train configs/demo/train.yaml`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pydantic
from PIL import Image

from animetune import config, samples
from animetune.demo.colours import Colours, measure
from animetune.demo.dataset import FORMAT, write_dataset
from animetune.errors import SetupError
from animetune.manifest import read_manifest
from animetune.recipe.config import Recipe, load_recipe
from animetune.recipe.run import Chosen, checked, run_loaded
from animetune.report.reading import read_run
from animetune.report.run_page import Command, Picture, Score, write

ModelT = TypeVar("ModelT", bound=pydantic.BaseModel)

PICTURES = 600
HOME = "runs/demo"
"""What the paths in `configs/demo/` begin with."""


@dataclass(frozen=True)
class Look:
    """A drawn picture, the colours that its prompt names and those that it has."""

    file: Path
    prompt: str
    asked: Colours
    found: Colours


def run(out: Path, *, seed: int = 0, say: Callable[[str], None] = lambda line: None) -> dict[str, float]:
    """Run the whole demo into the folder `out`; a second run finds it done, a killed one continues.

    Returns the share of the final pictures whose hair and background have the colours that their prompts name
    (`hair_colour`, `background_colour`), the number of these pictures (`pictures`), and the `seconds` of it all.
    `say` is told of every stage and of the result, and `out/index.html` shows what was made.

    Raises:
        SetupError: `out` holds a data set of another seed.
        AnimetuneError: what the stages raise.
    """
    started = time.monotonic()

    def announce(text: str) -> None:
        say(f"[{time.monotonic() - started:4.0f} s] {text}")

    announce(f"draw: {PICTURES} pictures with posts and captions, as in a Danbooru dump")
    draw_data(out / "data", seed=seed)
    recipe = moved_recipe(out, seed=seed)
    run_loaded(recipe, checked(recipe, Chosen()), announce=announce)

    looks = look(out / "samples")
    scores = score(looks)
    write_page(out, looks, scores)
    for each in scores:
        announce(f"{each.name} as the prompt says: {each.percent} ({each.correct} of {each.total} pictures)")
    announce(f"see {out / 'index.html'}")
    shares = {each.name.replace(" ", "_"): each.correct / each.total for each in scores}
    return {**shares, "pictures": len(looks), "seconds": time.monotonic() - started}


def moved_recipe(out: Path, *, seed: int) -> Recipe:
    """The chain of `configs/demo/recipe.yaml`, in the folder `out` and with another seed."""
    path = config.shipped_configs() / "demo" / "recipe.yaml"
    seeds = [f"{step.name}.seed={seed}" for step in load_recipe(path).steps if "seed" in type(step.cfg).model_fields]
    recipe = load_recipe(path, seeds)
    steps = tuple(replace(step, cfg=relocate(step.cfg, out)) for step in recipe.steps)
    return replace(recipe, cfg=relocate(recipe.cfg, out), steps=steps)


def draw_data(folder: Path, *, seed: int) -> None:
    """Draw the data set into `folder`, unless it is there. Raises SetupError when that is another one."""
    if not folder.exists():
        write_dataset(folder, count=PICTURES, seed=seed)
    facts = read_manifest(folder, kind="drawings", format_version=FORMAT).facts
    if facts != {"count": PICTURES, "seed": seed}:
        raise SetupError(f"{folder}: was drawn with {facts}, not with seed {seed}; choose another folder for the demo")


def relocate(cfg: ModelT, out: Path) -> ModelT:
    """The configuration with `out` in place of `runs/demo` in all its paths."""

    def moved(value: Any) -> Any:
        if isinstance(value, str) and (value == HOME or value.startswith(HOME + "/")):
            return str(out) + value.removeprefix(HOME)
        if isinstance(value, dict):
            return {key: moved(each) for key, each in value.items()}
        return [moved(each) for each in value] if isinstance(value, list) else value

    return type(cfg).model_validate_json(json.dumps(moved(cfg.model_dump(mode="json"))))


def look(folder: Path) -> list[Look]:
    """Measure every picture of a sample folder."""
    looks = []
    for drawn in samples.read(folder):
        prompt = drawn.request.prompt
        with Image.open(drawn.file) as picture:
            looks.append(Look(drawn.file, prompt, colours_asked(prompt), measure(picture)))
    return looks


def colours_asked(prompt: str) -> Colours:
    """The colour words of a prompt: `..., a girl with red hair and a smile, grey background. ...`."""
    words = [re.search(rf"(\w+) {thing}\b", prompt) for thing in ("hair", "background")]
    hair, background = (match.group(1) if match else "" for match in words)
    return Colours(hair, background)


def score(looks: Sequence[Look]) -> list[Score]:
    """How many pictures have the colours that were asked for."""
    hair = sum(each.found.hair == each.asked.hair for each in looks)
    background = sum(each.found.background == each.asked.background for each in looks)
    return [Score("hair colour", hair, len(looks)), Score("background colour", background, len(looks))]


def write_page(out: Path, looks: Sequence[Look], scores: Sequence[Score]) -> Path:
    """The report's page of the run, with the scores, and a note under every picture that misses its prompt."""
    page = read_run(out / "train", table=out / "table", final=out / "samples")
    return write(
        replace(
            page,
            title="animetune demo",
            final=[Picture(each.file, each.prompt, _note(each)) for each in looks],
            scores=scores,
            commands=[
                *page.commands,
                Command(
                    "Look at the data closely",
                    "animetune report runs/demo/table --prompts configs/demo/train.yaml",
                ),
                Command("Draw something else", "animetune sample configs/demo/sample.yaml --set out=runs/demo/more"),
                Command("Curate, shard and train on your own pictures", "animetune curate configs/curate.yaml"),
            ],
        ),
        out / "index.html",
    )


def _note(each: Look) -> str:
    missed = [
        f"{found} {thing}"
        for thing, asked, found in zip(Colours._fields, each.asked, each.found, strict=True)
        if asked != found
    ]
    return f"shows {' and '.join(missed)}" if missed else ""
