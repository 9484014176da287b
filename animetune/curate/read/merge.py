"""Runs of all chunks -> the parts of ingest's table, sorted by source and id, while no tags but a part's are in memory.

`Order` is made of numbers alone: it says which row of which run stands where. A worker then gathers a part's rows from
the runs (`merge_part`); where files are sorted by id, as dumps are, it reads each row group once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from animetune import tables
from animetune.curate import families
from animetune.curate.parts import ROW, ROW_DTYPE
from animetune.curate.read import runs
from animetune.curate.read.fields import AMBIGUOUS_S
from animetune.curate.read.tars.lookup import Lookup, resolve
from animetune.manifest import Manifest
from animetune.records import POST_COLUMNS

COLUMNS = (
    ROW,
    *(column.name for column in POST_COLUMNS if column.name not in ("image", "mask")),
    *runs.CANDIDATES,
    "family",
)
"""Of a part."""


@dataclass(frozen=True, slots=True)
class Run:
    """A file of rows or captions; those of rows are all of one source."""

    path: Path
    source: str
    label: str
    """Name of the file that it was read from."""


@dataclass(frozen=True, slots=True)
class Runs:
    """All runs, in the order of the configuration."""

    rows: Sequence[Run]
    captions: Sequence[Run]


@dataclass(frozen=True, slots=True)
class Order:
    """Where rows stand, by number: row i is the one at `place[i]` of run `run[i]`."""

    sources: tuple[str, ...]
    """Sorted; the numbers in `source` are places in it."""
    source: np.ndarray
    """uint16 (rows,), never falling."""
    id: np.ndarray
    """int64 (rows,), rising within a source."""
    run: np.ndarray
    """uint32 (rows,)"""
    place: np.ndarray
    """int64 (rows,)"""
    parent_id: np.ndarray
    """int64 (rows,); NO_PARENT for none."""

    def __len__(self) -> int:
        return len(self.id)

    def keys(self, rows: np.ndarray) -> list[str]:
        """`<source>/<id>` of some rows."""
        return _keys(self.sources, self.source[rows], self.id[rows])

    def rows_of(self, sources: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """int64: number of the row with each source and id; -1 where there is none."""
        found = np.full(len(ids), -1, dtype=np.int64)
        for number in range(len(self.sources)):
            first, last = np.searchsorted(self.source, [number, number + 1])
            asked = np.flatnonzero(sources == number)
            at = first + np.searchsorted(self.id[first:last], ids[asked])
            there = at < last
            there[there] = self.id[at[there]] == ids[asked[there]]
            found[asked[there]] = at[there]
        return found


NO_PARENT = -1


def order_of(all_runs: Sequence[Run], sources: Sequence[str]) -> tuple[Order, pl.DataFrame]:
    """The order of the rows of all runs, which come in the order of the configuration, and the later ones of a key.

    These are `tables.QUARANTINED_SCHEMA`.
    """
    names = tuple(sorted(set(sources)))
    columns = [runs.read_columns(run.path, ["id", "parent_id"]) for run in all_runs]
    sizes = np.array([each.height for each in columns], dtype=np.int64)
    ids = _concatenated([each["id"].to_numpy() for each in columns], np.int64)
    parents = _concatenated([each["parent_id"].fill_null(NO_PARENT).to_numpy() for each in columns], np.int64)
    of_run = [names.index(run.source) for run in all_runs]
    source = np.repeat(np.array(of_run, dtype=np.uint16), sizes)
    run = np.repeat(np.arange(len(all_runs), dtype=np.uint32), sizes)
    place = np.arange(len(ids)) - np.repeat(sizes.cumsum() - sizes, sizes)
    del columns
    order = Order(names, source, ids, run, place, parents)
    sorted_ = _sorted(order)
    again = np.zeros(len(order), dtype=bool)
    again[1:] = (sorted_.id[1:] == sorted_.id[:-1]) & (sorted_.source[1:] == sorted_.source[:-1])
    return (_taken(sorted_, ~again), _duplicates(_taken(sorted_, again), all_runs)) if again.any() else (
        sorted_, pl.DataFrame(schema=tables.QUARANTINED_SCHEMA)
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Families:
    """Rows whose family is named otherwise than they are."""

    row: np.ndarray
    """int64, rising"""
    family: np.ndarray
    """object, str"""


def families_of(order: Order) -> Families:
    """Families by parent, over any number of steps."""
    children = np.flatnonzero(order.parent_id != NO_PARENT)
    parents = _keys(order.sources, order.source[children], order.parent_id[children])
    names = families.roots(zip(order.keys(children), parents, strict=True))
    linked = np.unique(np.concatenate([children, order.rows_of(order.source[children], order.parent_id[children])]))
    linked = linked[linked >= 0]
    return Families(linked, np.array([names[key] for key in order.keys(linked)], dtype=object))


@dataclass(frozen=True, slots=True)
class Captions:
    """Captions that belong to a row, in the order of rows, then of the configuration."""

    row: np.ndarray
    """int64, never falling"""
    run: np.ndarray
    place: np.ndarray
    lines: int
    """Of captions in all, also those of no row."""


def captions_of(order: Order, caption_runs: Sequence[Run]) -> Captions:
    """Whose captions are whose."""
    columns = [runs.read_columns(run.path, ["source", "id"]) for run in caption_runs]
    sizes = np.array([each.height for each in columns], dtype=np.int64)
    known = dict(zip(order.sources, range(len(order.sources)), strict=True))
    source = _concatenated(
        [each["source"].replace_strict(known, default=-1, return_dtype=pl.Int64).to_numpy() for each in columns],
        np.int64,
    )
    ids = _concatenated([each["id"].fill_null(-1).to_numpy() for each in columns], np.int64)
    row = order.rows_of(source, ids)
    run = np.repeat(np.arange(len(caption_runs), dtype=np.uint32), sizes)
    place = np.arange(len(ids)) - np.repeat(sizes.cumsum() - sizes, sizes)
    by_row = np.argsort(row, kind="stable")
    by_row = by_row[np.searchsorted(row[by_row], 0) :]
    return Captions(row[by_row], run[by_row], place[by_row], lines=len(ids))


@dataclass(frozen=True, slots=True)
class PartWork:
    """What a worker needs to write a part."""

    first: int
    """Number of its first row."""
    order: Order
    """Of its rows."""
    families: Families
    captions: Captions
    row_runs: Sequence[Path]
    caption_runs: Sequence[Path]
    legacy: tuple[str, ...]
    """Sources at which the rating `s` means safe."""
    lookups: tuple[Lookup, ...] = ()
    """Of pictures in tars."""


def cut(
    order: Order,
    family: Families,
    captions: Captions,
    of: Runs,
    legacy: Sequence[str],
    lookups: Sequence[Lookup] = (),
) -> list[PartWork]:
    """The work of each part."""
    work = []
    for start in range(0, max(1, len(order)), tables.PART_ROWS):
        of_family, of_captions = _within(family.row, start), _within(captions.row, start)
        row, run, place = (each[of_captions] for each in (captions.row, captions.run, captions.place))
        work.append(
            PartWork(
                first=start,
                order=_taken(order, slice(start, start + tables.PART_ROWS)),
                families=Families(family.row[of_family], family.family[of_family]),
                captions=Captions(row, run, place, lines=0),
                row_runs=[run.path for run in of.rows],
                caption_runs=[run.path for run in of.captions],
                legacy=tuple(legacy),
                lookups=tuple(lookups),
            )
        )
    return work


def merge_part(work: PartWork, folder: Path) -> Manifest:
    """Write a part as `rows.parquet`."""
    order = work.order
    rows = runs.gather(work.row_runs, order.run, order.place, runs.ROW_SCHEMA)
    names = pl.Series(list(order.sources), dtype=pl.String)
    rows = rows.with_columns(
        pl.Series(ROW, np.arange(work.first, work.first + len(order)), dtype=ROW_DTYPE),
        names.gather(order.source).alias("source"),
    )
    key = pl.concat_str(["source", pl.lit("/"), "id"])
    parent = pl.when(pl.col("parent_id").is_not_null()).then(pl.concat_str(["source", pl.lit("/"), "parent_id"]))
    meaning = pl.when(pl.col("source").is_in(list(work.legacy))).then(pl.lit("g")).otherwise(pl.lit("s"))
    rating = pl.when(pl.col("rating") == AMBIGUOUS_S).then(meaning).otherwise(pl.col("rating"))
    nothing = pl.lit([], dtype=pl.List(pl.String))
    rows = rows.with_columns(
        key.alias("key"),
        parent.alias("parent"),
        rating.alias("rating"),
        *(
            pl.when(pl.col(name) == "").then(nothing).otherwise(pl.col(name).str.split(" ")).alias(name)
            for name in runs.TAG_COLUMNS
        ),
    )
    named = pl.DataFrame({ROW: work.families.row, "family": work.families.family.tolist()}).cast(
        {ROW: ROW_DTYPE, "family": pl.String}
    )
    rows = rows.join(named, on=ROW, how="left", maintain_order="left")
    rows = rows.with_columns(family=pl.coalesce("family", "key"))
    rows, captioned = _with_captions(rows, work)
    rows, ambiguous = resolve(rows, runs.CANDIDATES, work.lookups)
    tables.write_parquet(rows.select(COLUMNS), folder / "rows.parquet")
    return Manifest(
        kind="chunk",
        format_version=1,
        seen=rows.height,
        kept=rows.height,
        facts={"captioned": captioned, "ambiguous": ambiguous},
    )


def _with_captions(rows: pl.DataFrame, work: PartWork) -> tuple[pl.DataFrame, int]:
    """Rows with what files of captions say after what their posts do, each text once; and how many rows have any."""
    if not len(work.captions.row):
        return rows, 0
    found = runs.gather(work.caption_runs, work.captions.run, work.captions.place, runs.CAPTION_SCHEMA)
    found = found.select(pl.Series(ROW, work.captions.row, dtype=ROW_DTYPE), *runs.CAPTION_COLUMNS)
    own = rows.select(ROW, *runs.CAPTION_COLUMNS).join(found, on=ROW, how="semi")
    both = (
        pl.concat([own, found])
        .group_by(ROW, maintain_order=True)
        .agg(pl.col(name).explode().drop_nulls().unique(maintain_order=True) for name in runs.CAPTION_COLUMNS)
    )
    rows = rows.join(both, on=ROW, how="left", maintain_order="left", suffix="_all")
    rows = rows.with_columns(pl.coalesce(f"{name}_all", name).alias(name) for name in runs.CAPTION_COLUMNS)
    return rows, both.height


def _sorted(order: Order) -> Order:
    """By source and id; equal ones stay in the order of the configuration."""
    later = order.source[1:] > order.source[:-1]
    if (later | ((order.source[1:] == order.source[:-1]) & (order.id[1:] >= order.id[:-1]))).all():
        return order
    return _taken(order, np.lexsort((order.id, order.source)))


def _taken(order: Order, rows: np.ndarray | slice) -> Order:
    taken = (each[rows] for each in (order.source, order.id, order.run, order.place, order.parent_id))
    return Order(order.sources, *taken)


def _duplicates(order: Order, all_runs: Sequence[Run]) -> pl.DataFrame:
    """Why the rows of an order are not used."""
    offsets = runs.gather([run.path for run in all_runs], order.run, order.place, {"offset": pl.Int64()})["offset"]
    labels = [all_runs[number].label for number in order.run.tolist()]
    return pl.DataFrame(
        {
            "key": order.keys(np.arange(len(order))),
            "code": "dup_id",
            "detail": [
                f"{label}, {offset}: an earlier post has this id" for label, offset in zip(labels, offsets, strict=True)
            ],
        },
        schema=tables.QUARANTINED_SCHEMA,
    )


def _keys(sources: Sequence[str], source: np.ndarray, ids: np.ndarray) -> list[str]:
    return [f"{sources[number]}/{each}" for number, each in zip(source.tolist(), ids.tolist(), strict=True)]


def _within(rows: np.ndarray, start: int) -> slice:
    """Where the numbers of a part stand in numbers that never fall."""
    first, last = np.searchsorted(rows, [start, start + tables.PART_ROWS])
    return slice(int(first), int(last))


def _concatenated(pieces: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *pieces]).astype(dtype, copy=False)


def schemes_of(ratings: Mapping[str, Mapping[str, int]], asked: Mapping[str, str]) -> dict[str, str]:
    """Source -> what its rating `s` means: as asked, or `current` where any post is rated `g`."""
    return {
        source: scheme if scheme != "auto" else "current" if ratings.get(source, {}).get("g") else "legacy"
        for source, scheme in sorted(asked.items())
    }
