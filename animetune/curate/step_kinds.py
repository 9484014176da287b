"""The two kinds of steps: functions from frame to Outcome, of each part of the rows, or of some columns of all rows."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from animetune import fsio, tables
from animetune.curate.parts import ROW, Part, part_name, split_by_part, write_part, write_parts
from animetune.curate.steps import Outcome, Step, Workplace, Written, added, total
from animetune.executor import Chunk
from animetune.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Form:
    """Which columns a step's function is given and which are written, and in what form (`by_part`)."""

    reads: Sequence[str]
    writes: Sequence[str]
    coded: bool = False
    numbered: bool = True

    def read(self, part: Part) -> pl.DataFrame:
        """What the function is given of a part."""
        return part.read(self.reads, coded=self.coded)


Function = Callable[..., Outcome]
"""Of a frame with `row`, `key` and the columns that it reads, and of the tables of counts that it needs, by name."""


def by_part(
    name: str,
    function: Function,
    *,
    reads: Iterable[str],
    writes: Sequence[str],
    needs: Sequence[str] = (),
    coded: bool = False,
    numbered: bool = True,
    settings: Any = None,
    inputs: Mapping[str, str] | None = None,
) -> Step:
    """A step whose function is called for every part of the rows, in worker processes, and decides row by row.

    `function` is at the top of a module, or a functools.partial of such: it is pickled. `needs` names tables of counts
    that steps before wrote; it is given them as arguments of these names. `coded`: lists of tags come as lists of
    categories, for functions that look at them by way of `CodedLists` alone. Not `numbered`, the files lack `row`: they
    are for others to read, and no step can follow.
    """
    form = Form(("key", *reads), writes, coded, numbered)
    work = functools.partial(_work_by_part, function, form, needs)
    return Step(name, work, settings=settings, inputs=inputs or {})


def at_once(
    name: str,
    function: Function,
    *,
    reads: Iterable[str],
    writes: Sequence[str],
    needs: Sequence[str] = (),
    settings: Any = None,
    inputs: Mapping[str, str] | None = None,
) -> Step:
    """A step whose function is called once, with the columns of all rows: numbers and short text, never lists of tags.

    Arguments as of `by_part`.
    """
    work = functools.partial(_work_at_once, function, Form(("key", *reads), writes), needs)
    return Step(name, work, settings=settings, inputs=inputs or {})


def _work_by_part(function: Function, form: Form, needs: Sequence[str], at: Workplace, folder: Path) -> Written:
    if len(at.rows.parts) == 1:  # nothing to share out, and half as many files to wait for
        written = _work_at_once(function, form, needs, at, folder)
        return dataclasses.replace(written, facts=added([written.facts]))
    work_on_part = functools.partial(_work_on_part, function, form)
    counts = {name: at.rows.tables[name] for name in needs}
    chunks = [Chunk(f"{index:05d}", (part, counts)) for index, part in enumerate(at.rows.parts)]
    manifests = at.executor.run(work_on_part, chunks, at.chunks, progress=at.progress)
    folders = [at.chunks / chunk.name for chunk in chunks]
    hashed = {}
    for index, (each, manifest) in enumerate(zip(folders, manifests, strict=True)):
        fsio.link(each / "rows.parquet", folder / part_name(index))
        hashed[part_name(index)] = manifest.files["rows.parquet"]
    names = {name.removesuffix(".parquet") for manifest in manifests for name in manifest.files if "counts-" in name}
    return Written(
        kept=sum(manifest.kept for manifest in manifests),
        dropped=_gather([each / "dropped.parquet" for each in folders]),
        quarantined=_gather([each / "quarantined.parquet" for each in folders]),
        facts=added(manifest.facts for manifest in manifests),
        seen=at.rows.kept,
        tables={
            name.removeprefix("counts-"): total([_gather([each / f"{name}.parquet" for each in folders])])
            for name in sorted(names)
        },
        hashed=hashed,
    )


def _work_on_part(function: Function, form: Form, payload: tuple[Part, Mapping[str, Path]], folder: Path) -> Manifest:
    """In a worker process: one part, as a chunk."""
    part, counts = payload
    rows = form.read(part)
    outcome = function(rows, **{name: pl.read_parquet(path, glob=False) for name, path in counts.items()})
    write_part(outcome.kept, form.writes, folder / "rows.parquet", numbered=form.numbered)
    tables.write_parquet(outcome.dropped, folder / "dropped.parquet")
    tables.write_parquet(outcome.quarantined, folder / "quarantined.parquet")
    for name, table in outcome.tables.items():
        tables.write_parquet(table, folder / f"counts-{name}.parquet")
    return Manifest(
        kind="chunk",
        format_version=1,
        seen=rows.height,
        kept=outcome.kept.height,
        facts=dict(outcome.facts),
    )


def _work_at_once(function: Function, form: Form, needs: Sequence[str], at: Workplace, folder: Path) -> Written:
    pieces = [form.read(part) for part in at.rows.parts]
    numbers = [piece[ROW].to_numpy() for piece in pieces]
    rows = pl.concat(pieces)
    del pieces
    outcome = function(rows, **{name: at.rows.table(name) for name in needs})
    del rows
    kept = outcome.kept.select(ROW, *(name for name in form.writes if name != ROW))
    return Written(
        kept=write_parts(split_by_part(kept, numbers), form.writes, folder, numbered=form.numbered),
        dropped=outcome.dropped,
        quarantined=outcome.quarantined,
        facts=outcome.facts,
        seen=at.rows.kept,
        tables={name: total([table]) for name, table in outcome.tables.items()},
    )


def _gather(files: Sequence[Path]) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(file, glob=False) for file in files if file.exists()])
