"""How a curated table came about: the steps that made it, and examples of the pictures that they dropped.

The steps stay beside a table, under `steps/`, each with a manifest that names the digest of the one before. A table
that was copied without them still has its counts and the lists of what was refused; pictures of refused posts are then
not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from animetune.errors import AnimetuneError
from animetune.manifest import Manifest, read_manifest
from animetune.seeding import Purpose, rng_for, text_counter
from animetune.tables import Table


@dataclass(frozen=True)
class StepCount:
    """What one step saw, kept and refused."""

    name: str
    folder: Path | None
    seen: int
    kept: int
    dropped: Mapping[str, int]
    """Reason -> rows."""
    quarantined: Mapping[str, int]
    """Code -> rows."""
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Refused:
    """A post that is not in the table."""

    key: str
    detail: str
    """What was wrong with it; empty for one that a filter dropped."""
    images: tuple[str, ...] = ()
    """Where its picture may be, first to last."""
    rating: str | None = None


@dataclass(frozen=True)
class Loss:
    """All posts that were refused for one reason."""

    reason: str
    count: int
    is_quarantined: bool
    """They could not be used; otherwise a filter dropped them."""
    step: str
    """The step that refused them; empty when the steps are gone."""
    examples: Sequence[Refused] = ()


def read_steps(table: Table) -> list[StepCount]:
    """The steps that made the table, first to last; empty when they are gone."""
    found: dict[str, tuple[Path, Manifest]] = {}
    for path in sorted((table.folder / "steps").glob("*/manifest.json")):
        try:
            manifest = read_manifest(path.parent, kind="step")
        except AnimetuneError:  # of another version: it is not the table's
            continue
        found[manifest.digest] = (path.parent, manifest)
    last = {part.parent for part in table.parts}
    current = next((digest for digest, (folder, _) in found.items() if folder in last), None)
    chain: list[StepCount] = []
    while current is not None:
        folder, manifest = found.pop(current)
        chain.append(_step_count(folder, manifest))
        current = next((digest for digest in manifest.inputs.values() if digest in found), None)
    return chain[::-1]


def read_losses(table: Table, steps: Sequence[StepCount], *, examples: int, seed: int) -> list[Loss]:
    """Every reason for which posts are not in the table, most posts first, each with some of its posts."""
    kinds = (
        ("dropped.parquet", "reason", table.manifest.dropped, False),
        ("quarantined.parquet", "code", table.manifest.quarantined, True),
    )
    losses = []
    for name, column, counts, is_quarantined in kinds:
        chosen = _choose(table.folder / name, column, counts, examples=examples, seed=seed)
        for reason, count in counts.items():
            if count:
                step = _step_of(reason, steps, is_quarantined=is_quarantined)
                losses.append(Loss(reason, count, is_quarantined, step, chosen.get(reason, ())))
    located = locate([post.key for loss in losses for post in loss.examples], steps)
    losses = [_with_places(loss, located) for loss in losses]
    return sorted(losses, key=lambda loss: (-loss.count, loss.reason))


def locate(keys: Iterable[str], steps: Sequence[StepCount]) -> dict[str, tuple[tuple[str, ...], str | None]]:
    """Key -> where its picture may be and its rating, as the first step read them; without steps nothing is known."""
    wanted = sorted({key for key in keys if key})
    found: dict[str, tuple[tuple[str, ...], str | None]] = {}
    for part in _first_parts(steps, {"key", "image_candidates"}) if wanted else []:
        columns = [name for name in ("key", "image_candidates", "rating") if name in pq.read_schema(part).names]
        rows = pl.scan_parquet(part, glob=False).filter(pl.col("key").is_in(wanted)).select(columns).collect()
        for row in rows.iter_rows(named=True):
            found[row["key"]] = (tuple(row["image_candidates"] or ()), row.get("rating"))
    return found


def tags_read(keys: Iterable[str], steps: Sequence[StepCount]) -> dict[str, list[str]]:
    """Key -> all tags that the post came with, before any was rewritten or taken out; empty without steps."""
    wanted = sorted(set(keys))
    found: dict[str, list[str]] = {}
    for part in _first_parts(steps, {"key", "tags_general"}) if wanted else []:
        lists = [name for name in pq.read_schema(part).names if name.startswith("tags_")]
        rows = pl.scan_parquet(part, glob=False).filter(pl.col("key").is_in(wanted)).select("key", *lists).collect()
        for key, *tags in rows.iter_rows():
            found[key] = [tag for each in tags for tag in each or ()]
    return found


def _first_parts(steps: Sequence[StepCount], columns: set[str]) -> list[Path]:
    """The files of whole rows of the first step that have these columns."""
    if not steps or steps[0].folder is None:
        return []
    files = sorted(steps[0].folder.glob("*.parquet"))
    return [file for file in files if columns <= set(pq.read_schema(file).names)]


def _step_count(folder: Path, manifest: Manifest) -> StepCount:
    _, _, rest = folder.name.partition("-")
    name, _, _ = rest.rpartition("-")
    return StepCount(
        name or folder.name,
        folder,
        manifest.seen,
        manifest.kept,
        manifest.dropped,
        manifest.quarantined,
        manifest.facts,
    )


def _step_of(reason: str, steps: Sequence[StepCount], *, is_quarantined: bool) -> str:
    held = (step.name for step in steps if reason in (step.quarantined if is_quarantined else step.dropped))
    return next(held, "")


def _choose(
    path: Path, column: str, counts: Mapping[str, int], *, examples: int, seed: int
) -> dict[str, tuple[Refused, ...]]:
    """Some posts for every reason, at random but always the same."""
    if not path.is_file() or not any(counts.values()):
        return {}
    refused = pl.read_parquet(path, glob=False)
    rows = refused.with_row_index("row").group_by(column, maintain_order=True).agg("row")
    chosen = {}
    for reason, places in rows.iter_rows():
        shuffled = rng_for(seed, Purpose.CONTACT_SHEET, text_counter(reason or "")).permutation(len(places))
        picked = refused[np.sort(np.array(places, np.int64)[shuffled[:examples]])]
        details = picked["detail"] if "detail" in picked.columns else [""] * picked.height
        chosen[reason] = tuple(
            Refused(key or "", detail or "") for key, detail in zip(picked["key"], details, strict=True)
        )
    return chosen


def _with_places(loss: Loss, located: Mapping[str, tuple[tuple[str, ...], str | None]]) -> Loss:
    examples = tuple(Refused(post.key, post.detail, *located.get(post.key, ((), None))) for post in loss.examples)
    return Loss(loss.reason, loss.count, loss.is_quarantined, loss.step, examples)
