"""Whether the steps of a recipe fit together: what one reads, an earlier one makes, or it is there already."""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from animetune import remote
from animetune.config import shipped_configs
from animetune.errors import AnimetuneError, ConfigError
from animetune.manifest import has_manifest
from animetune.recipe.config import Recipe, Step
from animetune.recipe.digests import MADE, may_be_on_hub
from animetune.recipe.stages import MAKERS, Read


def maker_of(place: str, steps: Sequence[Step]) -> Step | None:
    """The step that publishes a place, or the folder that it lies in."""
    target = _normal(place)
    makers = [step for step in steps if f"{target}/".startswith(f"{_normal(step.writes)}/")]
    return max(makers, key=lambda step: len(_normal(step.writes)), default=None)


def span(recipe: Recipe, first: str | None, last: str | None) -> range:
    """Numbers of the steps from `first` to `last`. Raises ConfigError for names that no step has."""
    names = [step.name for step in recipe.steps]
    found = []
    for option, name in (("--from", first), ("--until", last)):
        if name is not None and name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            guess = f", did you mean '{close[0]}'?" if close else f"; there are {', '.join(names)}"
            found.append(f"{option} {name}: no step of this recipe is named so{guess}")
    if found:
        raise ConfigError(found)
    start = names.index(first) if first else 0
    stop = names.index(last) if last else len(names) - 1
    if start > stop:
        raise ConfigError(f"--from {first} --until {last}: '{last}' comes before '{first}'; there is nothing between")
    return range(start, stop + 1)


def chain_problems(recipe: Recipe, chosen: range) -> list[str]:
    """Everything that keeps the chosen steps from being run one after another, each with its place."""
    found = [*_places_twice(recipe)]
    for number, step in enumerate(recipe.steps):
        misfits = ((read, _misfit(recipe, number, read, chosen)) for read in step.inputs)
        found += [f"{step.shown_at(*read.keys)}: {read.key}: {what}" for read, what in misfits if what]
        if step.stage == "curate":
            found += [f"{step.path}: {problem}" for problem in _without_data(step.cfg)]
    return list(dict.fromkeys(found))


def missing_here(recipe: Recipe, chosen: range) -> list[str]:
    """What this machine lacks for the chosen steps, and that a recipe may well be checked without: the posts that it
    begins with, models, lists and other files from outside, and the command that launches training."""
    steps = [recipe.steps[number] for number in chosen]
    found = [
        f"{step.shown_at(*read.keys)}: {read.key}: {read.place}: there is no such file; {_remedy(read)}"
        for step in steps
        for read in step.inputs
        if _is_outside(read, recipe.steps) and not _is_here(read, recipe.steps)
    ]
    launch = recipe.cfg.launch
    if launch and any(step.stage == "train" for step in steps) and shutil.which(launch[0]) is None:
        found.append(f"{recipe.shown_at('launch')}: launch: {launch[0]}: there is no such command on this machine")
    return list(dict.fromkeys(found))


def _places_twice(recipe: Recipe) -> Iterator[str]:
    """Steps that publish in one place."""
    makers = {_normal(str(recipe.cfg.out)): f"the recipe itself ({recipe.shown_at('out')})"}
    for step in recipe.steps:
        key = _writes_key(step)
        other = makers.setdefault(_normal(step.writes), f"the step '{step.name}' ({step.shown_at(key)})")
        if not other.startswith(f"the step '{step.name}' "):
            yield f"{step.shown_at(key)}: {key}: {step.writes} is where {other} writes, too; choose another place"


def _misfit(recipe: Recipe, number: int, read: Read, chosen: range) -> str | None:
    """What is wrong with something that a step reads; None if it will be there when the step runs."""
    steps = recipe.steps
    step, maker = steps[number], maker_of(read.place, steps)
    if maker is None:
        return None if _is_outside(read, steps) or _is_here(read, steps) else _absent(read, steps)
    place = steps.index(maker)
    if maker is step:
        return f"{read.place} is what this step itself makes; name another place"
    if place > number:
        return f"{read.place} is made by the later step '{maker.name}'; put that one before '{step.name}'"
    if _normal(read.place) == _normal(maker.writes) and maker.stage not in MAKERS.get(read.kind, (maker.stage,)):
        what = " or ".join(MAKERS[read.kind])
        return f"{read.place} is made by '{maker.name}', a step of {maker.stage}; one of {what} is needed here"
    if number in chosen and place not in chosen and not _was_made(maker, read):
        return (
            f"{read.place} is not there yet, and the step that makes it, '{maker.name}', is outside of --from and "
            "--until; begin with it"
        )
    return None


def _was_made(maker: Step, read: Read) -> bool:
    if _normal(read.place) == _normal(maker.writes):
        return has_manifest(maker.folder)
    return Path(read.place).exists()


def _is_outside(read: Read, steps: Sequence[Step]) -> bool:
    """Whether this is no stage's to make, so that its absence is the machine's lack and no mistake of the recipe.

    Weights and pictures among what the steps publish are taken for those of a step that is missing.
    """
    if maker_of(read.place, steps) is not None:
        return False
    if read.kind in ("weights", "pictures"):
        return not _is_among(read.place, steps)
    return read.kind in ("source", "file")


def _is_among(place: str, steps: Sequence[Step]) -> bool:
    """Whether a place lies beside one that a step publishes at; `runs/x` beside `runs/a/b`, too, which is no hub id."""
    plain, published = _normal(place), [_normal(step.writes) for step in steps]
    beside = os.path.dirname(plain) in map(os.path.dirname, published)
    return beside or (may_be_on_hub(plain) and any(plain.split("/")[0] == each.split("/")[0] for each in published))


def _is_here(read: Read, steps: Sequence[Step]) -> bool:
    if read.kind == "source":
        return _source_is_here(read.place)
    if remote.is_remote(read.place):
        return True
    path = Path(remote.without_file_scheme(read.place))
    if read.kind == "weights":
        is_elsewhere = may_be_on_hub(read.place) and not _is_among(read.place, steps)
        return path.exists() or read.place.startswith(MADE) or is_elsewhere
    if read.kind == "pictures":
        return path.is_dir()
    if read.kind == "file":
        return path.exists() or (shipped_configs() / path).exists()
    return has_manifest(path)


def _remedy(read: Read) -> str:
    return "point it at your data" if read.kind == "source" else "put it there, or name another"


def _absent(read: Read, steps: Sequence[Step]) -> str:
    """That something is not there, and which place of a step may have been meant."""
    made = [step.writes for step in steps if step.stage in MAKERS.get(read.kind, (step.stage,))]
    close = difflib.get_close_matches(read.place, made, n=1, cutoff=0.8)
    guess = f", did you mean '{close[0]}'?" if close else ""
    return f"{read.place} is not there, and no step of this recipe makes it{guess}"


def _source_is_here(pattern: str) -> bool:
    return os.path.exists(pattern) or bool(remote.find_files(pattern))


def _writes_key(step: Step) -> str:
    return "run" if step.stage == "train" else "out"


def _without_data(cfg: Any) -> list[str]:
    """What is wrong with the settings of a curation that only its steps know."""
    from animetune.curate.chain import check_settings

    check: Callable[[Any], object] = check_settings
    try:
        check(cfg)
    except AnimetuneError as error:
        return [str(error)]
    return []


def _normal(place: str) -> str:
    plain = remote.without_file_scheme(place)
    return plain.rstrip("/") if remote.is_remote(plain) else os.path.normpath(plain)
