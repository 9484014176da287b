"""Rows on disk, in parts, as a chain of steps left them: every step wrote only what it changed.

A row has a number for life, its place in the table of the first step; a part holds the same range of numbers at every
step. A step's file of a part has the column `row`, the numbers of the rows that the step kept, and the columns that it
wrote. So a column after some step is read from the newest file that has it, at the numbers of the newest file of all,
and nobody ever holds the tags of all posts.

A step may add rows (`closeups`): in further parts behind the others, with numbers above all others, and with all the
columns that there are, since no step before wrote any of them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from animetune import tables

ROW = "row"
"""The column of the rows' numbers: from 0, rising within a file and from part to part."""
ROW_DTYPE = pl.UInt32()


@dataclass(frozen=True, slots=True)
class PartFile:
    """What a step wrote of a part."""

    path: Path
    columns: tuple[str, ...]
    """Those for which no later step wrote another file."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the rows as of some step; small, so that worker processes are given it."""

    files: tuple[PartFile, ...]
    """The newest first."""

    @property
    def columns(self) -> set[str]:
        """The columns that can be read."""
        return {name for file in self.files for name in file.columns}

    def numbers(self) -> np.ndarray:
        """uint32 (rows,): the numbers of the rows that are left, rising."""
        return _read(self.files[0].path, [])[ROW].to_numpy()

    def read(
        self, columns: Iterable[str], *, between: tuple[int, int] | None = None, coded: bool = False
    ) -> pl.DataFrame:
        """`row` and the columns, of the rows that are left, or of those numbered first to last, both included.

        `coded`: lists of text come as lists of categories, as the file has them, which takes a quarter of the memory
        and spares `CodedLists.of` most of its work. Raises KeyError for a column that no step wrote.
        """
        asked = list(dict.fromkeys(name for name in columns if name != ROW))
        if missing := [name for name in asked if name not in self.columns]:
            raise KeyError(f"{', '.join(missing)}: no step before this one writes that; there are {self.columns}")
        newest, *older = self.files
        read = _read_coded if coded and between is None else functools.partial(_read, between=between)
        rows = read(newest.path, [name for name in newest.columns if name in asked])
        pieces = [rows]
        for file in older:
            if wanted := [name for name in file.columns if name in asked]:
                found = read(file.path, wanted)
                if found.height > rows.height:
                    found = found.filter(np.isin(found[ROW].to_numpy(), rows[ROW].to_numpy(), assume_unique=True))
                pieces.append(found.drop(ROW))
        return pl.concat(pieces, how="horizontal").select(ROW, *asked)


def newest_parts(steps: Sequence[Sequence[Path]]) -> list[Part]:
    """The parts after a chain of steps, each given as its files, a file a part; the first step comes first.

    A step may have more files than the one before: these parts begin there. ValueError for one with fewer.
    """
    counts = [len(files) for files in steps]
    if counts != sorted(counts):
        raise ValueError(f"a step has fewer parts than the one before it: {counts}")
    parts: list[Part] = []
    for count in sorted(set(counts)):  # the parts that begin with one step have the same columns
        since = [files[len(parts) : count] for files in steps if len(files) >= count]
        columns = _newest_columns([files[0] for files in since])
        parts += [
            Part(tuple(PartFile(path, names) for path, names in zip(reversed(paths), columns, strict=True)))
            for paths in zip(*since, strict=True)
        ]
    return parts


def next_number(parts: Sequence[Part]) -> int:
    """The first number that no row has, nor had before it was dropped."""
    numbers = (_read(part.files[-1].path, [])[ROW].max() for part in reversed(parts))
    return next((int(number) + 1 for number in numbers if isinstance(number, int)), 0)


def _newest_columns(files: Sequence[Path]) -> list[tuple[str, ...]]:
    """Of the files of one part, the first step's first: the columns that no later one has; the newest comes first."""
    columns: list[tuple[str, ...]] = []
    seen = {ROW}
    for file in reversed(files):
        names = pq.read_schema(file).names
        columns.append(tuple(name for name in names if name not in seen))
        seen.update(names)
    return columns


def write_part(rows: pl.DataFrame, columns: Sequence[str], path: Path, *, numbered: bool = True) -> None:
    """Write the columns, and `row` unless not `numbered`, in order of the numbers.

    `path` lies in a folder that `fsio` handed out.
    """
    numbers = rows[ROW].to_numpy()
    if (numbers[1:] <= numbers[:-1]).any():
        rows = rows.sort(ROW)
    first = [pl.col(ROW).cast(ROW_DTYPE)] if numbered else []
    tables.write_parquet(rows.select(*first, *(name for name in columns if name != ROW)), path)


def write_parts(pieces: Iterable[pl.DataFrame], columns: Sequence[str], folder: Path, *, numbered: bool = True) -> int:
    """Write each frame as a part, as `write_part` does it; returns how many rows there are in all."""
    rows = 0
    for index, piece in enumerate(pieces):
        write_part(piece, columns, folder / part_name(index), numbered=numbered)
        rows += piece.height
    return rows


def part_name(index: int) -> str:
    """File name of a part."""
    return f"part-{index:05d}.parquet"


def split_by_part(rows: pl.DataFrame, numbers: Sequence[np.ndarray]) -> list[pl.DataFrame]:
    """Cut rows of all parts, in any order, into parts that had these numbers before."""
    rows = rows if rows[ROW].is_sorted() else rows.sort(ROW)
    places = rows[ROW].to_numpy()
    pieces = []
    for each in numbers:
        first, last = (int(each[0]), int(each[-1])) if len(each) else (0, -1)
        start, stop = np.searchsorted(places, first), np.searchsorted(places, last + 1)
        pieces.append(rows.slice(int(start), int(stop - start) if len(each) else 0))
    return pieces


def _read_coded(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """Lists of text as the dictionaries and numbers that the file has; Polars would make text of them."""
    is_text = {field.name: _is_list_of_text(field.type) for field in pq.read_schema(path)}
    lists = [name for name in columns if is_text[name]]
    rows = _read(path, [name for name in columns if not is_text[name]])
    if lists:
        dictionaries = [f"{name}.list.element" for name in lists]
        found = pl.from_arrow(pq.read_table(path, columns=lists, read_dictionary=dictionaries))
        assert isinstance(found, pl.DataFrame)
        rows = rows.hstack(found.rechunk())
    return rows


def _is_list_of_text(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) and pa.types.is_string(kind.value_type)


def _read(path: Path, columns: Sequence[str], between: tuple[int, int] | None = None) -> pl.DataFrame:
    scan = pl.scan_parquet(path, glob=False).select(ROW, *columns)
    if between is not None:  # statistics of the file's row groups spare reading the others
        scan = scan.filter(pl.col(ROW).is_between(*between))
    return scan.collect()
