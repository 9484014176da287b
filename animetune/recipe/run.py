"""Runs a recipe: its steps one after another, each skipped while nothing that it depends on has changed.

A step is known by its settings and by what is in all the places that it reads; the ledger says under which such key it
has made what is there now. Stages go on where they stopped, so a recipe that was killed goes on, too.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from animetune import fsio
from animetune.config import to_yaml
from animetune.errors import AnimetuneError, ConfigError, Preempted, ResumeError, SetupError
from animetune.manifest import Manifest, read_manifest
from animetune.progress import duration_text
from animetune.recipe import launch, page
from animetune.recipe.chain import chain_problems, missing_here, span
from animetune.recipe.config import Recipe, Step, load_recipe
from animetune.recipe.digests import Digests, made_digest
from animetune.recipe.journal import Journal
from animetune.recipe.ledger import Done, Ledger
from animetune.recipe.stages import run_stage
from animetune.recipe.state import State, state_of, states
from animetune.recipe.text import counts_of, counts_text, table_lines

HOLDER_NAME = "running.json"
CONFIGS = "configs"
"""Folder of the configurations that steps ran by, with all that was put in, inside the recipe's folder."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Chosen:
    """What of a recipe is run."""

    overrides: tuple[str, ...] = ()
    """`STEP.key=value`, `STAGE:key=value`, or `key=value` of the recipe itself."""
    first: str | None = None
    """The step to begin at; None is the first."""
    last: str | None = None
    """The step to end after; None is the last."""
    dry_run: bool = False
    """Check everything and say what would run."""


@dataclass
class Runner:
    """A recipe that is being run."""

    recipe: Recipe
    ledger: Ledger
    digests: Digests
    journal: Journal
    announce: Say
    stops: launch.Stops
    ran: list[str] = field(default_factory=list)
    """Steps that were run, not skipped."""

    def run(self, chosen: range) -> None:
        """Run the chosen steps."""
        for number in chosen:
            self._step(number)
        page.write(self.recipe, self.ledger)

    def _step(self, number: int) -> None:
        step, place = self.recipe.steps[number], f"{number + 1}/{len(self.recipe.steps)}"
        state = state_of(self.recipe, step, self.ledger, self.digests)
        if state.kind == "done":
            self.announce(f"{place} {step.name}: unchanged")
            self.journal.write("skip", step.name)
            return
        why = f" ({state.text})" if state.kind == "changed" else ""
        began = time.monotonic()
        try:
            self.journal.write("begin", step.name, why=state.text, key=state.key)
            page.write(self.recipe, self.ledger, now=step.name)
            self.announce(f"{place} {step.name}: animetune {step.stage} {_shown(step.path)}{why}")
            self._refuse_other_data(step, state)
            manifest = self._run_stage(step)
        except BaseException as error:
            how = "stopped" if isinstance(error, Preempted | KeyboardInterrupt) else "failed"
            self.journal.write(how, step.name, seconds=_rounded(began), error=str(error))
            page.write(self.recipe, self.ledger, stopped=page.Stopped(step.name, how, str(error)))
            if isinstance(error, AnimetuneError):
                raise explained(error, step, state, behind=self.recipe.steps[number + 1 :]) from error
            raise
        done = self._done(step, state, manifest, began)
        self.ledger.add(done)
        self.journal.write("done", step.name, seconds=_rounded(began), made=done.made)
        self.ran.append(step.name)
        self.announce(f"{place} {step.name}: done in {duration_text(time.monotonic() - began)}{counts_text(done)}")

    def _run_stage(self, step: Step) -> Manifest:
        file = Path(self.recipe.cfg.out) / CONFIGS / f"{step.name}.yaml"
        fsio.atomic_write(file, to_yaml(step.cfg))
        command = None
        if step.stage == "train":
            command = self.recipe.cfg.launch or launch.own_command(step.cfg)
        if command is None:
            manifest: Manifest = run_stage(step.stage, step.cfg)
            return manifest
        launch.train(command, file, self.stops)
        return read_manifest(step.folder, kind="run")

    def _refuse_other_data(self, step: Step, state: State) -> None:
        """A run that has ended would say that it is done whatever its data are by now."""
        last = self.ledger.last(step.name)
        if step.stage == "train" and last and state.changed and made_digest(step.folder, "train") == last.made:
            raise SetupError(f"run: {step.folder}: was trained to its end, on something else than there is now")

    def _done(self, step: Step, state: State, manifest: Manifest, began: float) -> Done:
        made = made_digest(step.folder, step.stage)
        if made is None:
            raise AnimetuneError(f"{step.folder}: is not finished, though its stage ended well; run the command again")
        assert state.settings is not None
        assert state.reads is not None
        return Done(
            step=step.name,
            stage=step.stage,
            key=state.key,
            made=made,
            settings=state.settings,
            reads=state.reads,
            seconds=_rounded(began) + self.journal.seconds_before(step.name),
            counts=counts_of(manifest),
            finished=_now(),
        )


def run_recipe(path: str | os.PathLike[str], chosen: Chosen = Chosen(), say: Say = lambda line: None) -> None:
    """Check a whole recipe, say where its steps stand, and run those that have to be.

    Raises ConfigError with all mistakes of all its files before anything runs, SetupError when this machine lacks
    something (a dry run says what, first) or another process runs this recipe, Preempted when a scheduler's signal
    came, KeyboardInterrupt on Ctrl-C, and what the stages raise; the same command goes on.
    """
    started = time.monotonic()
    recipe = load_recipe(path, chosen.overrides)
    which = checked(recipe, chosen)
    lacks = missing_here(recipe, which)
    if chosen.dry_run:
        for line in overview(recipe, which):
            say(line)
        for line in lacks:
            say(f"not here yet: {line}")
        say("nothing was run: --dry-run")
        if lacks:
            raise SetupError(
                "a run would stop before its first step, since this machine lacks what was listed as not here yet "
                f"({len(lacks)} setting{'s' if len(lacks) > 1 else ''})"
            )
        return
    if lacks:
        raise SetupError("\n".join(lacks))
    done = run_loaded(
        recipe, which, announce=lambda text: say(f"[{time.monotonic() - started:5.0f} s] {text}"), say=say
    )
    say(
        f"{recipe.cfg.title}: {len(which)} steps, {len(done)} run, {len(which) - len(done)} unchanged, "
        f"{duration_text(time.monotonic() - started)}; see {recipe.cfg.out / page.PAGE_NAME}"
    )


def run_loaded(recipe: Recipe, chosen: range, *, announce: Say, say: Say | None = None) -> list[str]:
    """Run the chosen steps of a recipe that was read and checked; returns the names of those that were not skipped.

    `announce` is told of every step as it begins and ends; `say`, if given, of all of them beforehand.
    """
    _check_process()
    with held(recipe.cfg.out), launch.Stops() as stops:
        ledger, journal = Ledger(recipe.cfg.out), Journal(recipe.cfg.out)
        digests = Digests(recipe.cfg.out, copies=copies_of(recipe))
        if say is not None:
            for line in table_lines(recipe, states(recipe, ledger, digests, chosen)):
                say(line)
        runner = Runner(recipe, ledger, digests, journal, announce, stops)
        journal.write("start", steps=[recipe.steps[number].name for number in chosen])
        runner.run(chosen)
        journal.write("end", ran=runner.ran)
        return runner.ran


def checked(recipe: Recipe, chosen: Chosen) -> range:
    """The numbers of the chosen steps. Raises ConfigError with everything that keeps them from being run."""
    which = span(recipe, chosen.first, chosen.last)
    if found := chain_problems(recipe, which):
        raise ConfigError(found)
    return which


def overview(recipe: Recipe, chosen: range) -> list[str]:
    """The table of all steps and where they stand; nothing is written."""
    digests = Digests(recipe.cfg.out, writes=False, copies=copies_of(recipe))
    return table_lines(recipe, states(recipe, Ledger(recipe.cfg.out), digests, chosen))


def copies_of(recipe: Recipe) -> dict[str, Path]:
    """URL that a step publishes at -> the folder of this machine with its manifest."""
    return {step.writes: step.folder for step in recipe.steps if step.writes != str(step.folder)}


def explained(error: AnimetuneError, step: Step, state: State, *, behind: Sequence[Step] = ()) -> AnimetuneError:
    """The error of a step, with its name, and what to do where the stage refuses its own earlier output.

    `behind` are the steps that follow.
    """
    text = f"{step.name}: {error}"
    refuses = isinstance(error, SetupError | ConfigError | ResumeError) and str(step.folder) in str(error)
    if refuses and state.kind == "changed":
        text += (
            f"\n{step.name} has to be made anew, because: {state.reason}. What is there is not touched: move or remove "
            f"{step.folder}, or choose another place for it with --set, and run the same command again"
        )
        if step.stage == "shard" and behind:
            text += (
                f". Shards hold pictures alone: where no others were added, they may stay, and --from {behind[0].name} "
                "goes on with them"
            )
    try:
        return type(error)(text)
    except TypeError:  # an error with more to it than its text
        return error


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a recipe's folder for this process. Raises SetupError, naming who has it, when another one does."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(fsio.lock(folder))
        except SetupError as error:
            raise SetupError(f"{error}{_holder(folder)}") from error
        # Not `sweep`: what the stages publish may lie below, and be written by others now.
        for name in (HOLDER_NAME, page.PAGE_NAME):
            fsio.discard_unfinished(folder / name)
        fsio.write_json(folder / HOLDER_NAME, {"pid": os.getpid(), "host": platform.node(), "since": _now()})
        yield


def _holder(folder: Path) -> str:
    try:
        found = json.loads((folder / HOLDER_NAME).read_bytes())
        return f" (process {found['pid']} on {found['host']} runs this recipe since {found['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _check_process() -> None:
    """Refuse to be one of many: a launcher starts training alone, not the recipe."""
    others = [name for name in ("RANK", "LOCAL_RANK") if os.environ.get(name, "0") != "0"]
    if others or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SetupError(
            "a recipe is run by one process, and this is one of several; start `animetune run` by itself, and name the "
            'command that launches its training in `launch:`, as [torchrun, --nproc-per-node, "8", -m, animetune]'
        )


def _shown(path: Path) -> str:
    """A path as one would type it here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _rounded(began: float) -> float:
    return round(time.monotonic() - began, 3)
