"""Lists of text as numbers, so that what a tag means is decided once for each distinct tag, not for each of its uses.

Seven million posts have two hundred million tags, but a hundred thousand distinct ones. A property of tags is an array
over `names`; `coded.codes` carries it to every use, and `offsets` back to rows:

    coded = CodedLists.of(rows["tags_general"])
    is_animal = np.isin(coded.names, vocabulary.tags("animal"))
    shows_animal = coded.any(is_animal[coded.codes])                 # bool (rows,)
    without = coded.keep(~is_animal[coded.codes]).to_series()        # list[str]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

PIECE_ROWS = 1 << 14
"""Rows of `CodedLists.pieces`."""


@dataclass(frozen=True, slots=True)
class CodedLists:
    """Row i holds `names[codes[offsets[i]:offsets[i + 1]]]`."""

    offsets: np.ndarray
    """int64 (rows + 1,), from 0, never falling."""
    codes: np.ndarray
    """int32 (uses,), places in `names`."""
    names: np.ndarray
    """object (distinct,), str: in the order of their first use."""

    @classmethod
    def of(cls, lists: pl.Series) -> CodedLists:
        """Code a column of `list[str]`; null stands for an empty list, and null in a list is left out.

        A column of lists of categories gives the same, ten times as fast (`parts.Part.read` with `coded`).
        """
        filled = lists.fill_null([])
        uses = filled.explode(empty_as_null=False)
        if uses.null_count():
            filled = filled.list.drop_nulls()
            uses = filled.explode(empty_as_null=False)
        numbers, names = _codes_of_categories(uses) if isinstance(uses.dtype, pl.Categorical) else codes(uses)
        return cls(
            offsets=np.concatenate([[0], filled.list.len().to_numpy().astype(np.int64).cumsum()]),
            codes=numbers,
            names=names,
        )

    def to_series(self, name: str = "") -> pl.Series:
        """The lists as `list[str]`."""
        words = pa.array(self.names.tolist(), pa.large_string())
        uses = words.take(pa.array(self.codes, pa.int32()))
        lists = pa.LargeListArray.from_arrays(pa.array(self.offsets, pa.int64()), uses)
        return pl.Series(name, pl.from_arrow(lists), dtype=pl.List(pl.String))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def rows(self) -> np.ndarray:
        """int64 (uses,): the row of each use."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def property(self, decide: Callable[[str], Any], dtype: Any = bool) -> np.ndarray:
        """dtype (distinct,): what `decide` says of each name."""
        return np.array([decide(name) for name in self.names], dtype=dtype)

    def any(self, held: np.ndarray) -> np.ndarray:
        """bool (rows,): whether `held`, bool (uses,), is true for any use of the row."""
        return self.count(held) > 0

    def count(self, held: np.ndarray) -> np.ndarray:
        """int64 (rows,): for how many uses of the row `held` is true."""
        total = np.concatenate([[0], np.cumsum(held, dtype=np.int64)])
        return total[self.offsets[1:]] - total[self.offsets[:-1]]

    def pieces(self) -> Iterator[tuple[slice, CodedLists]]:
        """Some rows at a time, and their places: tables of them stay in the processor's cache, twice as fast."""
        for first in range(0, len(self), PIECE_ROWS):
            offsets = self.offsets[first : first + PIECE_ROWS + 1]
            piece = CodedLists(offsets - offsets[0], self.codes[offsets[0] : offsets[-1]], self.names)
            yield slice(first, first + len(piece)), piece

    def keep(self, held: np.ndarray) -> CodedLists:
        """The lists with only those uses for which `held`, bool (uses,), is true; order stays."""
        offsets = np.concatenate([[0], self.count(held).cumsum()])
        return CodedLists(offsets, self.codes[held], self.names)


def codes(column: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """A column of text as numbers: int32 (rows,), -1 for null, and object (distinct,), in the order of first use."""
    coded = column.cast(pl.String).rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode()
    numbers = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return numbers, np.array(coded.dictionary.to_pylist(), dtype=object)


def _codes_of_categories(uses: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """As `codes`, without null: their own numbers are those of all categories that this process ever met."""
    physical = uses.to_physical()
    first_uses = physical.arg_unique().sort()
    own = physical.to_numpy()
    number = np.zeros(int(own.max(initial=0)) + 1, dtype=np.int32)
    number[own[first_uses]] = np.arange(len(first_uses), dtype=np.int32)
    return number.take(own), np.array(uses.gather(first_uses).cast(pl.String).to_list(), dtype=object)
