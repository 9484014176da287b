"""One pass over a curated table, part by part: what is counted of every row, and the rows that are looked at closely.

    parts of the table --count_table--> TableCounts (numbers)  +  its `sample` (some whole rows)

Seven million rows with their tags do not fit into memory; one part of them does. Floats are added up in the order of
the rows, so that two runs give equal pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from animetune.curate.coded import CodedLists
from animetune.seeding import Purpose, rng_for
from animetune.tables import Table, schema

CLASS_COLUMNS = (
    "content_bucket", "quality", "aesthetic", "rating", "year", "source", "style_class", "split", "image_format",
    "is_synthetic",
)  # fmt: skip
"""Columns with a value a row that are counted."""
TAG_CATEGORIES = ("count", "character", "copyright", "artist", "general", "special", "meta")
"""Lists of tags that are counted; the column is `tags_<name>`."""
NO_CLASS = "(none)"


class Count(NamedTuple):
    """How often something occurs."""

    pictures: int
    """Training pictures: what an epoch would show without balancing."""
    seen: float
    """Sum of their views, repeats times loss weight: how often an epoch shows one of them, as far as it counts."""


class Tally:
    """Name -> Count, added up part by part."""

    def __init__(self) -> None:
        self._pictures: dict[Any, int] = {}
        self._seen: dict[Any, float] = {}

    def add(self, names: Sequence[Any], pictures: np.ndarray, seen: np.ndarray) -> None:
        """Add the counts of one part."""
        for name, number, views in zip(names, pictures.tolist(), seen.tolist(), strict=True):
            if number:
                self._pictures[name] = self._pictures.get(name, 0) + int(number)
                self._seen[name] = self._seen.get(name, 0.0) + views

    def most_first(self) -> dict[Any, Count]:
        """Most pictures first, of equals the lowest name."""
        order = sorted(self._pictures, key=lambda name: (-self._pictures[name], name))
        return {name: Count(self._pictures[name], self._seen[name]) for name in order}


@dataclass
class TableCounts:
    """What a pass over a table counts. All but `rows` is of training pictures, or of all where none is for training."""

    rows: int = 0
    """Pictures of the table."""
    pictures: int = 0
    """Pictures that are counted."""
    held_out: int = 0
    """Pictures for validation."""
    classes: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in CLASS_COLUMNS})
    tags: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in TAG_CATEGORIES})
    years: Tally = field(default_factory=Tally)
    """By calendar year of upload."""
    people: Tally = field(default_factory=Tally)
    """By who is in the picture: girls only, boys only, both, neither."""
    captions: Tally = field(default_factory=Tally)
    """By the captions there are: long, short, both, none."""
    sizes: Tally = field(default_factory=Tally)
    """By width << 32 | height of the decoded picture."""
    bare: int = 0
    """Pictures without a tag and without a caption: their prompts have nothing but classes."""
    untagged: int = 0
    """Pictures without a general tag."""
    repeats: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """float32 (pictures,)"""
    views: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """float32 (pictures,): repeats times loss weight."""
    loss_weights: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """float32 (pictures,)"""
    sample: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Some of the rows, with their number in the table as `row`: all columns that the table has."""


def count_table(
    table: Table, *, sample: int, seed: int, progress: Callable[[int, int], None] = lambda done, total: None
) -> TableCounts:
    """Count a table, and take `sample` of its rows, at random by `seed`."""
    counts = TableCounts()
    lengths = [pq.read_metadata(part).num_rows for part in table.parts]
    total = sum(lengths)
    picked = np.sort(rng_for(seed, Purpose.CONTACT_SHEET).permutation(total)[:sample])
    only_train = _has_training(table)
    numbers: list[np.ndarray] = [np.zeros((2, 0), np.float32)]
    samples: list[pl.DataFrame] = [pl.DataFrame(schema={**schema(), "row": pl.Int64()})]
    first = 0
    progress(0, total)
    for part, length in zip(table.parts, lengths, strict=True):
        rows = pl.read_parquet(part, columns=list(schema()), glob=False)
        here = picked[(picked >= first) & (picked < first + length)]
        samples.append(rows[here - first].with_columns(row=pl.Series(here, dtype=pl.Int64)))
        counts.rows += length
        if only_train:
            rows = rows.filter(pl.col("split") == "train")
        weights = rows.select(pl.col("repeats", "loss_weight").fill_null(0.0)).to_numpy().T.astype(np.float32)
        _count_part(counts, rows, weights.prod(axis=0, dtype=np.float64))
        numbers.append(weights)
        first += length
        progress(first, total)
    counts.repeats, counts.loss_weights = np.concatenate(numbers, axis=1)
    counts.views = counts.repeats * counts.loss_weights
    counts.pictures = len(counts.repeats)
    counts.held_out = counts.rows - counts.pictures
    counts.sample = pl.concat(samples)
    return counts


def _has_training(table: Table) -> bool:
    splits = table.scan().select((pl.col("split") == "train").any())
    return bool(splits.collect().item())


def _count_part(counts: TableCounts, rows: pl.DataFrame, views: np.ndarray) -> None:
    """Add the rows of a part; `views`: float64 (rows,)."""
    for name, tally in counts.classes.items():
        _add_values(tally, _as_text(rows[name]), views)
    _add_values(counts.years, _as_text(rows["created_at"].dt.year()), views)
    sizes = rows["width"].cast(pl.Int64).fill_null(0).to_numpy() << 32 | rows["height"].fill_null(0).to_numpy()
    _add_numbers(counts.sizes, sizes, views)
    tagged = np.zeros(rows.height, bool)
    for name, tally in counts.tags.items():
        coded = CodedLists.of(rows[f"tags_{name}"])
        uses = np.bincount(coded.codes, minlength=len(coded.names))
        seen = np.bincount(coded.codes, weights=views[coded.rows], minlength=len(coded.names))
        tally.add(coded.names.tolist(), uses, seen)
        tagged |= np.diff(coded.offsets) > 0
        if name == "count":
            _add_people(counts.people, coded, views)
        elif name == "general":
            counts.untagged += int((np.diff(coded.offsets) == 0).sum())
    has_long, has_short = (
        (rows[f"captions_{kind}"].list.len().fill_null(0) > 0).to_numpy() for kind in ("long", "short")
    )
    kinds = np.array(["none", "short only", "long only", "long and short"])[2 * has_long + 1 * has_short]
    _add_values(counts.captions, pl.Series(kinds), views)
    counts.bare += int((~tagged & ~has_long & ~has_short).sum())


def _as_text(values: pl.Series) -> pl.Series:
    if values.dtype == pl.Boolean:
        values = values.replace_strict({True: "yes", False: "no"}, default=None, return_dtype=pl.String)
    return values.cast(pl.String).fill_null(NO_CLASS)


def _add_values(tally: Tally, values: pl.Series, views: np.ndarray) -> None:
    """Count the distinct values of a column of text."""
    coded = values.to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode()
    names = coded.dictionary.to_pylist()
    codes = coded.indices.to_numpy(zero_copy_only=False)
    tally.add(
        names,
        np.bincount(codes, minlength=len(names)),
        np.bincount(codes, weights=views, minlength=len(names)),
    )


def _add_numbers(tally: Tally, values: np.ndarray, views: np.ndarray) -> None:
    distinct, index = np.unique(values, return_inverse=True)
    tally.add(distinct.tolist(), np.bincount(index), np.bincount(index, weights=views))


def _add_people(tally: Tally, coded: CodedLists, views: np.ndarray) -> None:
    girls, boys = (coded.any(coded.property(_names(kind))[coded.codes]) for kind in ("girl", "boy"))
    groups = np.array(["neither", "boys only", "girls only", "girls and boys"])[2 * girls + 1 * boys]
    _add_values(tally, pl.Series(groups), views)


def _names(kind: str) -> Callable[[str], bool]:
    return lambda tag: kind in tag


def column_of(counts: Iterable[Count], name: str) -> np.ndarray:
    """float64 (n,): `pictures` or `seen` of each count."""
    return np.array([getattr(count, name) for count in counts], dtype=np.float64)


def top_share(sizes: np.ndarray, part: float) -> float:
    """Share of the total that the largest `part` of the sizes hold (at least one of them); 0 without any."""
    total = float(sizes.sum(dtype=np.float64))
    if total <= 0:
        return 0.0
    largest = np.sort(sizes)[::-1][: max(1, round(part * len(sizes)))]
    return float(largest.sum(dtype=np.float64)) / total
