"""Steps: what a stage is a chain of, and how each is published once and found again.

    <out>/steps/<nn-name>-<digest>/    part-*.parquet, dropped.parquet, quarantined.parquet, counts-*.parquet,
                                       manifest.json
    <out>/chunks/<nn-name>-<digest>/   what its worker processes have finished, until the step is published
    <out>/answers/                     what was found out about single pictures, for good (`answers`)

A step publishes only what it changes (`parts`). The digest in its name is of all that its rows depend on: its settings,
what it reads, the digest of the step before, and its format. So an equal step is found and not run again, and a changed
setting re-runs its step, and those behind it unless the rows of that step come out as they were.

Most steps are a function from frame to Outcome (`step_kinds`): called for every part of the rows in worker processes,
where it decides row by row and what it counts is added up, or once, with some narrow columns of all rows.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from animetune import fsio, tables
from animetune.curate.parts import Part, newest_parts
from animetune.executor import Executor
from animetune.manifest import FileRecord, Manifest, has_manifest, read_manifest, record_files, write_manifest

STEP_FORMAT = 6
STEP_KIND = "step"
ANSWERS = "answers"
"""Folder of `answers` in that of a table, unless the configuration names another."""
COUNT = "count"
"""The column of `Outcome.tables` that is added up."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the rows that a step saw."""

    kept: pl.DataFrame
    """With `row`, and the columns that the step writes; others are ignored."""
    dropped: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=tables.DROPPED_SCHEMA))
    """key, reason"""
    quarantined: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=tables.QUARANTINED_SCHEMA))
    """key (null where a record had none), code, detail"""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values for the manifest; of a step by part only integers and mappings of such, which are added up."""
    seen: int | None = None
    """Records read; None stands for the rows of the step before."""
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    """Name -> counts, too many for `facts`: `count`, added up over parts for equal values of the other columns."""


@dataclass(frozen=True, slots=True)
class Published:
    """A step that is on disk."""

    folder: Path
    manifest: Manifest

    @property
    def parts(self) -> list[Path]:
        """The files of the rows kept, in order."""
        return [self.folder / name for name in self.manifest.files if name.startswith("part-")]

    @property
    def tables(self) -> dict[str, Path]:
        """Name -> file of counts."""
        names = [name for name in self.manifest.files if name.startswith("counts-")]
        return {name.removeprefix("counts-").removesuffix(".parquet"): self.folder / name for name in names}

    def dropped(self) -> pl.DataFrame:
        """key, reason"""
        return pl.read_parquet(self.folder / "dropped.parquet", glob=False)

    def quarantined(self) -> pl.DataFrame:
        """key, code, detail"""
        return pl.read_parquet(self.folder / "quarantined.parquet", glob=False)


@dataclass(frozen=True, slots=True)
class Rows:
    """What the steps before left."""

    parts: Sequence[Part]
    kept: int
    """Rows in all parts."""
    tables: Mapping[str, Path]
    """Name -> file of counts."""

    @classmethod
    def after(cls, done: Sequence[Published]) -> Rows:
        """After at least one step."""
        found = {name: path for step in done for name, path in step.tables.items()}
        return cls(newest_parts([step.parts for step in done]), done[-1].manifest.kept, found)

    def table(self, name: str) -> pl.DataFrame:
        """Counts of a step before: its columns and `count`."""
        return pl.read_parquet(self.tables[name], glob=False)


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a step is given to work with."""

    before: Rows | None
    """What the steps before left; None for the first."""
    chunks: Path
    """Folder for the executor to publish chunks in."""
    executor: Executor
    progress: Callable[..., None]
    """Told (done, total), and by name what is to be shown beside them."""
    answers: Path
    """Folder of `answers`, which tables may share."""

    @property
    def rows(self) -> Rows:
        """What the steps before left."""
        assert self.before is not None
        return self.before


@dataclass(frozen=True, slots=True)
class Written:
    """What a step wrote into its folder as `part-*.parquet`, and what became of the other rows."""

    kept: int
    dropped: pl.DataFrame
    quarantined: pl.DataFrame
    facts: Mapping[str, Any]
    seen: int
    """The rows of the step before, and those that this one added."""
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    hashed: Mapping[str, FileRecord] = field(default_factory=dict)
    """Of those files whose hashes are known, so that they are not read again."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the chain; `settings` and `inputs` are JSON values. Made by `step_kinds`, mostly."""

    name: str
    work: Callable[[Workplace, Path], Written]
    """Writes the parts into a folder."""
    settings: Any = None
    """The part of the configuration that its outcome depends on."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Name -> digest of what it reads beside the rows of the step before."""
    is_stale: Callable[[Workplace, Path], bool] = lambda at, folder: False
    """Whether what the step published in a folder has to be done again although its name still fits."""

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
    done: Sequence[Published],
    executor: Executor,
    progress: Callable[..., None],
    answers: Path | None = None,
) -> Published:
    """Find the step that follows `done` under `out`, or do it and publish it; `answers` are in `out` unless given."""
    before = done[-1] if done else None
    name = step.folder_name(len(done), before)
    folder, chunks = out / "steps" / name, out / "chunks" / name
    workplace = Workplace(Rows.after(done) if done else None, chunks, executor, progress, answers or out / ANSWERS)
    if has_manifest(folder) and step.is_stale(workplace, folder):
        fsio.remove(folder)
    if not has_manifest(folder):
        with fsio.publish_dir(folder) as temporary:
            written = step.work(workplace, temporary)
            _finish(temporary, written, step._inputs(before))
    if chunks.is_dir():
        fsio.remove(chunks)
    return Published(folder, read_manifest(folder, kind=STEP_KIND, format_version=STEP_FORMAT))


def rows_seen(done: Sequence[Published]) -> int:
    """What the first of the steps read, and what the others added to it: every one of them has one outcome."""
    more = (step.manifest.seen - before.manifest.kept for before, step in itertools.pairwise(done))
    return done[0].manifest.seen + sum(more)


def added(facts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Mappings of integers, or of such mappings, added up by key. TypeError for anything else."""
    so_far: dict[str, Any] = {}
    for each in facts:
        for key, value in each.items():
            if isinstance(value, Mapping):
                so_far[key] = added([so_far.get(key, {}), value])
            elif isinstance(value, int):
                so_far[key] = so_far.get(key, 0) + value
            else:
                raise TypeError(f"facts of a part: {key}: only integers can be added up, not {value!r}")
    return so_far


def total(counts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Tables of counts as one: `count` added up for equal values of the other columns, the largest first."""
    rows = pl.concat(counts)
    keys = [name for name in rows.columns if name != COUNT]
    summed = rows.group_by(keys).agg(pl.col(COUNT).cast(pl.Int64).sum())
    return summed.sort(COUNT, *keys, descending=[True, *(False for _ in keys)])


def sorted_drops(dropped: pl.DataFrame) -> pl.DataFrame:
    """In the order of the files that people look at: by reason, then key."""
    return dropped.select(list(tables.DROPPED_SCHEMA)).sort("reason", "key")


def sorted_quarantine(quarantined: pl.DataFrame) -> pl.DataFrame:
    """By code, then key, then detail."""
    return quarantined.select(list(tables.QUARANTINED_SCHEMA)).sort("code", "key", "detail", nulls_last=True)


def counted(column: pl.Series) -> dict[str, int]:
    """Value -> how often it occurs, sorted by value; null counts as `none`."""
    counts = column.fill_null("none").value_counts(name="count")
    return dict(sorted(counts.iter_rows()))


def _finish(folder: Path, written: Written, inputs: dict[str, str]) -> None:
    """Write what stands beside the parts, and the manifest."""
    tables.write_parquet(sorted_drops(written.dropped), folder / "dropped.parquet")
    tables.write_parquet(sorted_quarantine(written.quarantined), folder / "quarantined.parquet")
    for name, table in written.tables.items():
        tables.write_parquet(table, folder / f"counts-{name}.parquet")
    others = [path.name for path in folder.iterdir() if path.name not in written.hashed]
    manifest = Manifest(
        kind=STEP_KIND,
        format_version=STEP_FORMAT,
        inputs=inputs,
        seen=written.seen,
        kept=written.kept,
        dropped=counted(written.dropped["reason"]),
        quarantined=counted(written.quarantined["code"]),
        facts=dict(written.facts),
        files=dict(sorted({**written.hashed, **record_files(folder, others)}.items())),
    )
    manifest.check_outcomes()
    write_manifest(folder, manifest)
