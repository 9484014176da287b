"""`animetune doctor [CONFIG]`: what this machine has and lacks, and what a stage or a recipe needs of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from animetune.config import load_config, stage_of
from animetune.doctor import disks, gpus, limits, packages
from animetune.doctor.findings import Finding, Group, is_well, look, note, ok, problem, rendered
from animetune.errors import AnimetuneError, ConfigError

if TYPE_CHECKING:
    from animetune.recipe.config import Recipe

RUNS = Path("runs")
"""Where configurations put what they make, mostly."""


def examine(config: Path | None, overrides: Sequence[str] = ()) -> tuple[list[str], bool]:
    """The findings as lines, and whether none is a problem.

    `config`: a stage or a recipe that is to run here; null looks at the machine alone. What a probe cannot see, or
    fails at, is a finding as well. Raises ConfigError for `overrides` without a configuration.
    """
    if config is None and overrides:
        raise ConfigError("doctor: --set overrides settings of a configuration, and none is named")
    groups = machine_groups()
    if config is not None:
        groups += config_groups(config, overrides)
    return rendered(groups), is_well(groups)


def machine_groups() -> list[Group]:
    """What does not depend on a configuration."""
    from animetune.doctor.leftovers import leftover_findings, living_runs
    from animetune.doctor.room import SHARED_MEMORY

    temporary = Path(os.environ.get("ANIMETUNE_TMPDIR") or tempfile.gettempdir())
    return [
        look("Python", {"python": packages.look_at_python, "packages": packages.look_at_packages}),
        look("GPUs", {"GPUs": gpus.look_at_gpus, "bitsandbytes": gpus.look_at_bitsandbytes}),
        look(
            "machine",
            {
                "processors": limits.look_at_processors,
                "memory": limits.look_at_memory,
                "open files": limits.look_at_files,
                "shared memory": lambda: _shared_memory(SHARED_MEMORY),
                "text": limits.look_at_text,
                "clock": limits.look_at_clock,
            },
        ),
        look(
            "disks",
            {
                "TMPDIR": disks.look_at_tmpdir,
                "runs": lambda: disks.look_at_place("runs", RUNS.absolute()),
                "hub's cache": _hub_cache,
                "model hub": lambda: packages.offline_findings(os.environ),
                "leftovers": lambda: leftover_findings(SHARED_MEMORY, temporary, living=living_runs()),
            },
        ),
    ]


def config_groups(config: Path, overrides: Sequence[str]) -> list[Group]:
    """What a stage, a recipe or an arena needs."""
    if _names_an_arena(config):
        from animetune.doctor.arena import arena_groups

        return arena_groups(config, overrides)
    from animetune.doctor import inputs, needs
    from animetune.doctor.room import room_findings

    title = str(config)
    try:
        recipe = _as_recipe(config, overrides)
    except AnimetuneError as error:
        mistakes = error.problems if isinstance(error, ConfigError) else [str(error)]
        return [Group(title, tuple(problem("configuration", each, "correct it") for each in mistakes))]
    devices, _ = gpus.torch_devices()
    count = f"{len(recipe.steps)} step{'s' * (len(recipe.steps) != 1)}, no mistakes"
    return [
        look(
            title,
            {
                "configuration": lambda: [ok("configuration", count)],
                "inputs": lambda: inputs.input_findings(recipe),
                "models": lambda: inputs.asset_findings(recipe),
            },
        ),
        look(
            f"{title}: servers, packages and devices",
            {
                "servers": lambda: needs.server_findings(recipe, os.environ),
                "packages": lambda: needs.package_findings(recipe),
                "S3": lambda: needs.credentials_note(recipe, os.environ),
                "devices": lambda: needs.device_findings(recipe, len(devices)),
            },
        ),
        look(f"{title}: disk and memory", {"room": lambda: room_findings(recipe, devices)}),
    ]


def _names_an_arena(config: Path) -> bool:
    try:
        return stage_of(config) == "arena"
    except ConfigError:
        return False  # which is said where the file is read


def _as_recipe(config: Path, overrides: Sequence[str]) -> Recipe:
    """The recipe, or one with the stage as its only step."""
    from animetune.recipe import stages
    from animetune.recipe.config import Recipe, RecipeConfig, Step, load_recipe

    stage = stage_of(config)
    if stage == "recipe":
        return load_recipe(config, overrides)
    if stage not in stages.STAGES:
        raise ConfigError(f"{config}: stage: '{stage}' is none of recipe, {', '.join(stages.STAGES)}")
    cfg = load_config(config, stages.model_of(stage), overrides)
    alone = RecipeConfig(
        stage="recipe",
        name="alone",
        title=config.name,
        about=stage,
        source=str(config),
        hardware="this machine",
        out=RUNS,
        steps=(config.name,),
    )
    return Recipe(config, alone, (Step(stage, stage, config, cfg),))


def _shared_memory(folder: Path) -> Iterator[Finding]:
    if folder.is_dir():
        usage = shutil.disk_usage(folder)
        yield limits.shared_memory_finding(usage.free, usage.total)
    else:
        yield note("shared memory", f"{folder} is not there: data workers hand over batches by files")


def _hub_cache() -> Iterator[Finding]:
    from huggingface_hub import constants

    yield from disks.look_at_place("hub's cache", Path(constants.HF_HUB_CACHE), least=10e9)
