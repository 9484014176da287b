"""The page of a recipe, `index.html` in its folder: its steps, how long they took, what came out, what to look at."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from animetune import figures
from animetune.progress import duration_text
from animetune.recipe.config import Recipe, Step
from animetune.recipe.digests import made_digest
from animetune.recipe.ledger import Done, Ledger
from animetune.recipe.text import said_counts

TEMPLATES = Path(__file__).parent / "templates"
PAGE_NAME = "index.html"
SECTIONS = (("steps", "Steps"), ("places", "Places"), ("recipe", "The recipe"))
LOOKS = ("index.html", "report.html", "tagsheet.html", "*.html", "README.md", "grid*.png", "results.json")
"""Files of an output that a person looks at, by name, the first ones first."""
MOST_LINKS = 6
DIGITS = 8


@dataclass(frozen=True)
class Row:
    """A step on the page."""

    step: Step
    state: str
    is_bad: bool
    took: str
    share: float
    """Of the time of all steps."""
    counts: str
    links: Sequence[tuple[str, str]]
    """Name and relative URL of what there is to look at."""
    reads: Sequence[tuple[str, str]]
    """Place and the first digits of its digest."""
    made: str
    config: str | None
    """Relative URL of the configuration that it ran by."""


@dataclass(frozen=True)
class Stopped:
    """The step that did not end."""

    step: str
    how: str
    """`stopped` or `failed`."""
    error: str
    """What it said."""


def write(recipe: Recipe, ledger: Ledger, *, now: str | None = None, stopped: Stopped | None = None) -> Path:
    """Write the page; `now` names the step that runs, `stopped` one that did not end.

    Links are relative, and only to what is there.
    """
    out = recipe.cfg.out
    total = sum(done.seconds for step in recipe.steps if (done := ledger.last(step.name)))
    rows = [_row(recipe, step, ledger.last(step.name), total, now=now, stopped=stopped) for step in recipe.steps]
    finished = sum(row.state == "done" for row in rows)
    latest = max((done.finished for step in recipe.steps if (done := ledger.last(step.name))), default="")
    facts = [("steps done", f"{finished} of {len(rows)}"), ("time of all steps", duration_text(total))]
    facts += [("last step ended", latest[:16].replace("T", " ") + " UTC")] if latest else []
    html = figures.page_environment(TEMPLATES).get_template("recipe.html.j2")
    text = html.render(
        title=recipe.cfg.title,
        sections=SECTIONS,
        recipe=recipe.cfg,
        facts=facts,
        rows=rows,
        stopped=stopped,
        file=shlex.quote(str(recipe.path)),
    )
    figures.write_page(out / PAGE_NAME, text)
    return out / PAGE_NAME


def looks(folder: Path) -> list[Path]:
    """The files of an output that a person looks at: pages, cards, grids; of a run its newest preview, too."""
    found = [path for pattern in LOOKS for path in sorted(folder.glob(pattern)) if path.is_file()]
    found += sorted(folder.glob("samples/step-*/grid.png"))[-1:]
    return list(dict.fromkeys(found))[:MOST_LINKS]


def _row(
    recipe: Recipe, step: Step, done: Done | None, total: float, *, now: str | None, stopped: Stopped | None
) -> Row:
    state = "not yet"
    is_bad = False
    if step.name == now:
        state = "runs"
    elif stopped and step.name == stopped.step:
        state, is_bad = stopped.how, True
    elif done:
        is_bad = made_digest(step.folder, step.stage) != done.made
        state = "done" if not is_bad else "changed since"
    config = recipe.cfg.out / "configs" / f"{step.name}.yaml"
    return Row(
        step=step,
        state=state,
        is_bad=is_bad,
        took=duration_text(done.seconds) if done else "",
        share=done.seconds / total if done and total else 0.0,
        counts=said_counts(done.counts) if done else "",
        links=[(path.name, _link(path, recipe.cfg.out)) for path in looks(step.folder)],
        reads=list(_reads(step, done)),
        made=done.made[:DIGITS] if done else "",
        config=_link(config, recipe.cfg.out) if config.is_file() else None,
    )


def _reads(step: Step, done: Done | None) -> Iterator[tuple[str, str]]:
    for place in step.reads:
        digest = done.reads.get(place) if done else None
        yield place, digest[:DIGITS] if digest and digest != place else ""


def _link(path: Path, folder: Path) -> str:
    return quote(os.path.relpath(path, folder).replace(os.sep, "/"))
