"""The checkpoints of a run as models of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from animetune import checkpoint
from animetune.errors import ConfigError, SetupError
from animetune.evaluate.config import CheckpointsConfig, EvaluateConfig, EvaluatedModel

FOLDER = "checkpoints"
"""Of a run directory."""
PREFIX = "step-"
NAMED = 12
"""Steps that a message names."""


def with_checkpoints(cfg: EvaluateConfig, drawn: Mapping[str, Path], drawn_of: str | None = None) -> EvaluateConfig:
    """The configuration with the checkpoints that it asks for among its models, oldest first.

    `drawn`: models whose pictures `out` has already, and their folders. A checkpoint among them that the run no longer
    keeps is evaluated by these where `steps` is `all`; `drawn_of` is the run (`run_name`) whose they are, where that is
    known. Raises SetupError for a run without checkpoints, for steps that it has not kept, and for pictures of another
    run; ConfigError where a name is taken twice, and for a baseline that there is not.
    """
    asked = cfg.checkpoints
    if asked is None:
        return cfg
    kept = {step_of(path): path for path in checkpoint.steps(asked.run / FOLDER)}
    if not kept:
        raise SetupError(
            f"checkpoints.run: {asked.run}: has no checkpoint; name the directory of a run, as its `out` did, and "
            "train it first"
        )
    models: dict[int, EvaluatedModel] = {
        step: EvaluatedModel(
            base=str(kept[step]),
            weights=asked.weights,
            vae=asked.vae,
            dtype=asked.dtype,
            mask_padding=asked.mask_padding,
            step=step,
        )
        for step in chosen(asked, kept)
    }
    if asked.steps == "all":
        for name, folder in drawn.items():
            number = name.removeprefix(PREFIX)
            if name.startswith(PREFIX) and number.isdecimal() and name not in cfg.models and int(number) not in kept:
                if drawn_of not in (None, run_name(asked)):
                    raise SetupError(
                        f"checkpoints.run: {asked.run}: does not keep step {number}, and {folder} was drawn from a run "
                        f"called {drawn_of}; choose another `out` for another run. A run that was renamed is evaluated "
                        "under its old name, or with `steps` in a list"
                    )
                models[int(number)] = EvaluatedModel(pictures=folder, step=int(number))
    named = {f"{PREFIX}{step}": models[step] for step in sorted(models)}
    if twice := sorted(set(named) & set(cfg.models)):
        raise ConfigError(f"models.{twice[0]}: a checkpoint of {asked.run} has this name, too; choose another")
    every = {**cfg.models, **named}
    if cfg.baseline is not None and cfg.baseline not in every:
        raise ConfigError(f"baseline: {cfg.baseline!r} is none of the models: {', '.join(every)}")
    return cfg.model_copy(update={"models": every})


def run_name(asked: CheckpointsConfig) -> str:
    """The last part of the run's path: what tells pictures of checkpoints that are gone from those of another run."""
    return asked.run.absolute().name


def chosen(asked: CheckpointsConfig, kept: Mapping[int, Path]) -> list[int]:
    """The steps asked for of those that are kept, ascending. Raises SetupError for one that is not."""
    newest = max(kept)
    if asked.steps == "newest":
        return [newest]
    if asked.steps == "all":
        return sorted(step for step in kept if asked.every is None or step % asked.every == 0 or step == newest)
    absent = [step for step in asked.steps if step not in kept]
    if absent:
        shown = ", ".join(map(str, sorted(kept)[-NAMED:]))
        raise SetupError(
            f"checkpoints.steps: {asked.run}: has no checkpoint of step {absent[0]}; it has {shown}"
            + (f" and {len(kept) - NAMED} older ones" if len(kept) > NAMED else "")
        )
    return sorted(set(asked.steps))


def step_of(folder: Path) -> int:
    """Of the folder of a checkpoint."""
    return int(folder.name.removeprefix(PREFIX))
