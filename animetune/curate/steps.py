"""Steps: what a stage is a chain of, and how each is published once and found again.

    <out>/steps/<nn-name>-<digest>/    kept-*.parquet, dropped.parquet, quarantined.parquet, manifest.json
    <out>/chunks/<nn-name>-<digest>/   the chunks of a record step (ingest, pictures), published one by one

The digest is of all that a step's rows depend on: its settings, what it reads, the digest of the step before, and its
format. So an equal step is found and not run again, and a change re-runs a step and those behind it, up to the first
whose rows come out as they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from animetune import fsio, tables
from animetune.executor import LocalExecutor
from animetune.manifest import Manifest, has_manifest, read_manifest, record_files, write_manifest

STEP_FORMAT = 4
STEP_KIND = "step"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the rows that a step saw."""

    kept: pl.DataFrame
    dropped: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=tables.DROPPED_SCHEMA))
    """key, reason"""
    quarantined: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=tables.QUARANTINED_SCHEMA))
    """key (null where a record had none), code, detail"""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values for the manifest."""
    seen: int | None = None
    """Records read; None stands for the rows of the step before."""


@dataclass(frozen=True, slots=True)
class Published:
    """A step that is on disk."""

    folder: Path
    manifest: Manifest

    @property
    def parts(self) -> list[Path]:
        """The files of the rows kept, in order."""
        return [self.folder / name for name in self.manifest.files if name.startswith("kept-")]

    def rows(self) -> pl.LazyFrame:
        """The rows kept, in order."""
        return pl.scan_parquet(self.parts, glob=False)

    def dropped(self) -> pl.DataFrame:
        """key, reason"""
        return pl.read_parquet(self.folder / "dropped.parquet")

    def quarantined(self) -> pl.DataFrame:
        """key, code, detail"""
        return pl.read_parquet(self.folder / "quarantined.parquet")


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a step is given to work with."""

    before: Published | None
    """The step before; None for the first."""
    chunks: Path
    """Folder for the executor to publish chunks in."""
    executor: LocalExecutor
    progress: Callable[[int, int], None]
    """Told (done, total)."""

    def rows(self) -> pl.DataFrame:
        """The rows that the step before kept."""
        assert self.before is not None
        return self.before.rows().collect()


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the chain; `settings` and `inputs` are JSON values."""

    name: str
    work: Callable[[Workplace], Outcome]
    settings: Any = None
    """The part of the configuration that its outcome depends on."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Name -> digest of what it reads beside the rows of the step before."""
    is_stale: Callable[[Workplace], bool] = lambda at: False
    """Whether a published step has to be done again although its name still fits."""

    def folder_name(self, number: int, before: Published | None) -> str:
        """`<nn-name>-<digest>`; equal names mean equal rows."""
        depends_on = {
            "format": STEP_FORMAT,
            "settings": self.settings,
            "inputs": self._inputs(before),
        }
        digest = hashlib.sha256(fsio.canonical_json(depends_on).encode()).hexdigest()
        return f"{number:02d}-{self.name}-{digest[:16]}"

    def _inputs(self, before: Published | None) -> dict[str, str]:
        return {**self.inputs, **({} if before is None else {"rows": before.manifest.digest})}


def run_step(
    step: Step,
    out: Path,
    number: int,
    before: Published | None,
    executor: LocalExecutor,
    progress: Callable[[int, int], None],
) -> Published:
    """Find the step under `out`, or do it and publish it."""
    name = step.folder_name(number, before)
    folder = out / "steps" / name
    workplace = Workplace(before, out / "chunks" / name, executor, progress)
    if has_manifest(folder) and step.is_stale(workplace):
        fsio.remove(folder)
    if not has_manifest(folder):
        outcome = step.work(workplace)
        with fsio.publish_dir(folder) as temporary:
            seen = before.manifest.kept if outcome.seen is None and before is not None else outcome.seen or 0
            _write(temporary, outcome, seen=seen, inputs=step._inputs(before))
    return Published(folder, read_manifest(folder, kind=STEP_KIND, format_version=STEP_FORMAT))


def sorted_drops(dropped: pl.DataFrame) -> pl.DataFrame:
    """In the order of the files that people look at: by reason, then key."""
    return dropped.select(list(tables.DROPPED_SCHEMA)).sort("reason", "key")


def sorted_quarantine(quarantined: pl.DataFrame) -> pl.DataFrame:
    """By code, then key, then detail."""
    return quarantined.select(list(tables.QUARANTINED_SCHEMA)).sort("code", "key", "detail", nulls_last=True)


def counted(column: pl.Series) -> dict[str, int]:
    """Value -> how often it occurs, sorted by value; null counts as `none`."""
    values = column.fill_null("none").value_counts().sort(column.name)
    return dict(zip(values[column.name].to_list(), values["count"].to_list(), strict=True))


def _write(folder: Path, outcome: Outcome, *, seen: int, inputs: dict[str, str]) -> None:
    tables.write_parts(outcome.kept, folder, "kept")
    tables.write_parquet(sorted_drops(outcome.dropped), folder / "dropped.parquet")
    tables.write_parquet(sorted_quarantine(outcome.quarantined), folder / "quarantined.parquet")
    manifest = Manifest(
        kind=STEP_KIND,
        format_version=STEP_FORMAT,
        inputs=inputs,
        seen=seen,
        kept=outcome.kept.height,
        dropped=counted(outcome.dropped["reason"]),
        quarantined=counted(outcome.quarantined["code"]),
        facts=dict(outcome.facts),
        files=record_files(folder),
    )
    manifest.check_outcomes()
    write_manifest(folder, manifest)
