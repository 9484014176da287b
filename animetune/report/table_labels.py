"""The rows of a curated table as the labels that they will be, before shards and label sets exist."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from animetune.records import LABEL_COLUMNS, Label
from animetune.tables import open_table

_FIELDS = [field.name for field in dataclasses.fields(Label)]
_LISTS = {column.name for column in LABEL_COLUMNS if column.dtype == "list[str]"}


class TableLabels:
    """The rows of a table, numbered as they lie in it; `preview_prompts` composes prompts from them.

    Shards number their samples otherwise, so what is drawn at random for a row is not what training will draw for its
    picture; the rules and words are the same. Raises what `open_table` raises.
    """

    def __init__(self, folder: Path):
        table = open_table(folder)
        self._scan = table.scan()
        files = [pq.ParquetFile(part) for part in table.parts]
        self._groups = [(file, group) for file in files for group in range(file.num_row_groups)]
        rows = (file.metadata.row_group(group).num_rows for file, group in self._groups)
        self._starts = [0, *itertools.accumulate(rows)]

    def trained(self) -> np.ndarray:
        """int64: the rows of the split train whose repeats are above 0."""
        rows = self._scan.select(trained=(pl.col("split") == "train") & (pl.col("repeats") > 0)).collect()
        return np.flatnonzero(rows["trained"].fill_null(value=False).to_numpy())

    def labels(self, rows: Sequence[int]) -> list[Label]:
        """The labels of some rows, which ascend; of the row groups that hold any, one is in memory at a time."""
        found: list[Label] = []
        for place, members in itertools.groupby(rows, key=lambda row: bisect.bisect_right(self._starts, row) - 1):
            file, group = self._groups[place]
            inside = [row - self._starts[place] for row in members]
            found += map(label_of, file.read_row_group(group, columns=_FIELDS).take(inside).to_pylist())
        return found

    def sources(self) -> set[str]:
        """The values of the column `source`."""
        return set(self._scan.select(pl.col("source").unique()).collect()["source"].to_list())


def label_of(row: Mapping[str, Any]) -> Label:
    """The label of a row of a table, given by its columns; a null list is an empty one."""
    fields: dict[str, Any] = {name: tuple(row[name] or ()) if name in _LISTS else row[name] for name in _FIELDS}
    return Label(**fields)
