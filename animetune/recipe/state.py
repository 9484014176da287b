"""Where each step of a recipe stands: done, changed and why, not yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from animetune.progress import first_of
from animetune.recipe.chain import maker_of
from animetune.recipe.config import Recipe, Step
from animetune.recipe.digests import Digests, made_digest
from animetune.recipe.ledger import Ledger, Settings, changed_settings, key_of, settings_that_matter

Kind = Literal["done", "changed", "waits", "new", "outside"]
SHOWN = 3
"""Changed settings that are named."""


@dataclass(frozen=True)
class State:
    """Of one step."""

    kind: Kind
    """`done`: skipped. `changed`, `new`: runs. `waits`: done once; whether it runs again depends on what steps before
    it make. `outside`: of --from and --until."""
    reason: str = ""
    """Why."""
    changed: tuple[str, ...] = ()
    """Places that it reads and that hold something else than when it was done."""
    key: str = ""
    settings: Settings | None = None
    reads: Mapping[str, str | None] | None = None

    @property
    def text(self) -> str:
        """In words."""
        words = {"new": "not yet", "waits": "done once", "changed": "changed", "done": "done", "outside": "outside"}
        return f"{words[self.kind]}: {self.reason}" if self.reason else words[self.kind]


def states(recipe: Recipe, ledger: Ledger, digests: Digests, chosen: range) -> list[State]:
    """Of all steps, as they are before anything runs."""
    found: list[State] = []
    will_run: list[Step] = []
    for number, step in enumerate(recipe.steps):
        waits_for = [maker.name for maker in makers_of(step, recipe) if maker in will_run]
        if number not in chosen:
            now = state_of(recipe, step, ledger, digests)
            found.append(State("outside", now.text))
            continue
        state = _waiting(step, waits_for, ledger) if waits_for else state_of(recipe, step, ledger, digests)
        if state.kind != "done":
            will_run.append(step)
        found.append(state)
    return found


def state_of(recipe: Recipe, step: Step, ledger: Ledger, digests: Digests) -> State:
    """Of one step, by what is on the disk now."""
    settings = settings_that_matter(step.cfg, step.stage)
    reads = {read.place: digests.of(read) for read in step.inputs}
    key = key_of(step.stage, settings, reads)
    made = made_digest(step.folder, step.stage)
    last = ledger.last(step.name)
    if made is not None and ledger.has(key, made):
        return State("done", key=key, settings=settings, reads=reads)
    if last is None:
        reason = f"{step.writes} is there, made outside of this recipe" if made is not None else ""
        return State("new", reason, key=key, settings=settings, reads=reads)
    changed = tuple(place for place in reads if reads[place] != last.reads.get(place) and place in last.reads)
    reasons = [_said(place, recipe, step) for place in changed]
    reasons += _short(changed_settings(last.settings, settings))
    if not reasons:
        reasons = [
            f"{step.writes} is gone, or not finished" if made is None else f"{step.writes} holds something else by now"
        ]
    return State("changed", "; ".join(reasons), changed, key=key, settings=settings, reads=reads)


def _waiting(step: Step, waits_for: Sequence[str], ledger: Ledger) -> State:
    """Of a step that reads what other steps will have made anew by then."""
    last = ledger.last(step.name)
    if last is None:
        return State("new", f"after {first_of(waits_for)}")
    if changed := changed_settings(last.settings, settings_that_matter(step.cfg, step.stage)):
        return State("changed", "; ".join(_short(changed)))
    return State("waits", f"again if {first_of(waits_for)} makes something else")


def makers_of(step: Step, recipe: Recipe) -> list[Step]:
    """The steps that make what a step reads, in order."""
    found = {maker.name for read in step.inputs if (maker := maker_of(read.place, recipe.steps))}
    return [each for each in recipe.steps if each.name in found]


def _said(place: str, recipe: Recipe, step: Step) -> str:
    maker = maker_of(place, recipe.steps)
    by = f", since '{maker.name}' made it anew" if maker and maker is not step else ""
    return f"{place} is another one{by}"


def _short(phrases: Sequence[str]) -> list[str]:
    more = len(phrases) - SHOWN
    return [*phrases[:SHOWN], *([f"{more} more settings"] if more > 0 else [])]
