"""How answers of models are kept: whole ten-thousandths, in columns named for the model.

In the digits below, GPUs and CPUs, or batches of other sizes, differ.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from animetune.vision.taggers import RATING, TagList

WHOLE = 10_000
TAGS: dict[str, pl.DataType] = {"tags": pl.List(pl.UInt32()), "likely": pl.List(pl.UInt16())}
"""Of a tagger: the numbers of tags in its list, rising, and how likely they are in ten-thousandths."""
GRADES: dict[str, pl.DataType] = {"labels": pl.List(pl.String()), "likely": pl.List(pl.UInt16())}
"""Of a scorer: its labels, and how likely they are."""


def column(model: str, what: str) -> str:
    """The column of the rows that holds `tags` or `likely` of a tagger, or the `score` of a scorer."""
    return f"{model}:{what}"


def raw_tags(probabilities: np.ndarray, tags: TagList, floor: float) -> pl.DataFrame:
    """TAGS of float (pictures, tags): those from the floor up, and all ratings."""
    likely = ten_thousandths(probabilities)
    kept = (likely >= ten_thousandths(np.array(floor))) | (np.array(tags.kinds) == RATING)
    numbers = [np.flatnonzero(row) for row in kept]
    values = [row[chosen] for row, chosen in zip(likely, numbers, strict=True)]
    return pl.DataFrame({"tags": numbers, "likely": values}, schema=TAGS)


def raw_grades(probabilities: np.ndarray, labels: tuple[str, ...]) -> pl.DataFrame:
    """GRADES of float (pictures, labels)."""
    names = [list(labels)] * len(probabilities)
    return pl.DataFrame({"labels": names, "likely": list(ten_thousandths(probabilities))}, schema=GRADES)


def ten_thousandths(probabilities: np.ndarray) -> np.ndarray:
    """uint16: rounded, halves up."""
    return np.floor(probabilities.astype(np.float64) * WHOLE + 0.5).astype(np.uint16)
