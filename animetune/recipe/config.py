"""`RecipeConfig`, the YAML of a whole recipe, and `load_recipe`, which reads it together with all of its steps.

A step is an ordinary file of a stage beside `recipe.yaml`; its name is the file's stem. What a step reads and what it
writes follows from its configuration (`stages`), so a recipe says no more than the order.
"""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune import problems
from animetune.config import StrictModel, load_config, place_of, stage_of
from animetune.errors import ConfigError
from animetune.plan.stated import StatedConfig
from animetune.recipe import stages
from animetune.recipe.overrides import Given, Sorted, sort_overrides
from animetune.recipe.stages import Read
from animetune.remote import ON_THIS_MACHINE

FILE_NAME = "recipe.yaml"

Text = Annotated[str, pydantic.Field(min_length=1)]
Name = Annotated[str, pydantic.Field(pattern=r"^[\w][\w.-]*$")]


class RecipeConfig(StrictModel):
    """`animetune run RECIPE.yaml`."""

    stage: Literal["recipe"]
    name: Name
    """Short name, as in `animetune init dashanime`."""
    title: Text
    """Full name."""
    about: Text
    """One sentence: what is made, and how."""
    source: Text
    """Where the recipe was published, and by whom."""
    hardware: Text
    """What its source says that it ran on."""
    stated: StatedConfig = StatedConfig()
    """The figures of its source, which `animetune plan` compares with its own."""
    out: Annotated[Path, ON_THIS_MACHINE]
    """Folder of the ledger, the log and the page of the run. What the steps make is where each of them says."""
    steps: Annotated[tuple[Text, ...], pydantic.Field(min_length=1)]
    """Files of stages beside this one, in the order in which they run. The stem of a file is the name of the step."""
    launch: Annotated[tuple[Text, ...], pydantic.Field(min_length=1)] | None = None
    """The command that starts animetune for `train` steps, as `[torchrun, --nproc-per-node, "8", -m, animetune]`; its
    arguments, `train FILE`, are put behind it. Null trains in this process."""

    @pydantic.field_validator("steps")
    @classmethod
    def _each_has_a_name(cls, steps: tuple[str, ...]) -> tuple[str, ...]:
        seen: dict[str, str] = {}
        for file in steps:
            name = Path(file).stem
            if name in seen:
                raise ValueError(f"{seen[name]} and {file} would both be the step '{name}'; rename one of the files")
            if name in cls.model_fields:
                raise ValueError(f"{file}: a step cannot be named like a setting of the recipe; rename the file")
            seen[name] = file
        return steps


@dataclass(frozen=True)
class Step:
    """A stage of a recipe, with its configuration."""

    name: str
    stage: str
    path: Path
    """Its YAML."""
    cfg: StrictModel
    """Overrides put in."""
    given: tuple[Given, ...] = ()
    """The overrides of this step."""

    @functools.cached_property
    def inputs(self) -> tuple[Read, ...]:
        """What it reads, and which setting says so."""
        return stages.read_by(self.cfg, self.stage)

    @property
    def reads(self) -> tuple[str, ...]:
        """What it reads: folders, files, patterns, URLs, hub ids."""
        return tuple(dict.fromkeys(read.place for read in self.inputs))

    @property
    def writes(self) -> str:
        """What it publishes: a folder, or a URL."""
        return stages.written_by(self.cfg, self.stage)

    @property
    def folder(self) -> Path:
        """Where the manifest of what it publishes is on this machine."""
        return stages.folder_of(self.cfg, self.stage)

    def shown_at(self, *keys: str) -> str:
        """`file:line:column` of a setting, or the `--set` that gave it."""
        place = place_of(self.path, keys, [each.setting for each in self.given])
        return next((each.typed_place for each in self.given if each.place == place), place)


@dataclass(frozen=True)
class Recipe:
    """A recipe and its steps, in order."""

    path: Path
    cfg: RecipeConfig
    steps: tuple[Step, ...]
    overrides: tuple[str, ...] = ()
    """Those of the recipe's own settings."""

    def shown_at(self, *keys: str) -> str:
        """`file:line:column` of a setting of the recipe itself."""
        return place_of(self.path, keys, self.overrides)


def load_recipe(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and the files of all its steps.

    `overrides` are `STEP.key=value`, `STAGE:key=value` (for all steps of a stage) or `key=value` of the recipe itself.
    Raises ConfigError with every problem of every file.
    """
    file = Path(path)
    own = [each for each in overrides if _is_own(each)]
    cfg = load_config(file, RecipeConfig, own)
    found: list[str] = []
    named: dict[str, tuple[str, Path]] = {}
    for number, each in enumerate(cfg.steps):
        target = Path(os.path.normpath(file.parent / each))
        if not target.is_file():
            at = place_of(file, ("steps", str(number)), own)
            found.append(f"{at}: steps.{number}: {target}: there is no such file{problems.similar_file(target)}")
            continue
        try:
            stage = stage_of(target)
            if stage not in stages.STAGES:
                raise ConfigError(_no_stage(target, stage))
            named[target.stem] = (stage, target)
        except ConfigError as error:
            found += error.problems
    known = {Path(each).stem: named.get(Path(each).stem, ("", Path()))[0] for each in cfg.steps}
    routed = sort_overrides([each for each in overrides if each not in own], known, tuple(RecipeConfig.model_fields))
    found += routed.problems
    steps, wrong = _load_steps(named, routed)
    if found or wrong:
        raise ConfigError([*dict.fromkeys([*found, *wrong])])
    return Recipe(file, cfg, tuple(steps), tuple(own))


def _load_steps(named: dict[str, tuple[str, Path]], routed: Sorted) -> tuple[list[Step], list[str]]:
    steps: list[Step] = []
    found: dict[str, list[str]] = {}
    for name, (stage, path) in named.items():
        given = routed.of_step(name)
        try:
            cfg = load_config(path, stages.model_of(stage), [each.setting for each in given])
            steps.append(Step(name, stage, path, cfg, tuple(given)))
        except ConfigError as error:
            for problem in error.problems:
                found.setdefault(routed.as_typed(problem, name), []).append(name)
    return steps, [routed.with_steps(problem, names) for problem, names in found.items()]


def _is_own(override: str) -> bool:
    """Whether this is of the recipe itself: no step has the name of one of its settings."""
    key = override.partition("=")[0].partition(".")[0].strip()
    return key in RecipeConfig.model_fields and ":" not in override.partition("=")[0]


def _no_stage(path: Path, stage: str) -> str:
    close = difflib.get_close_matches(stage, stages.STAGES, n=1)
    guess = f", did you mean '{close[0]}'?" if close else f"; there are {', '.join(stages.STAGES)}"
    at = place_of(path, ["stage"])
    return f"{at}: stage: a step of a recipe cannot be '{stage}'{guess}"
