"""What taggers see in close-ups: each is looked at as a picture of its own, once for good.

Answers lie with those about whole pictures (`recognize.models`), and are read in the same way: another threshold asks
nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from animetune.curate.config.models import ModelsConfig, TagSourcesConfig
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.detections import questions_of
from animetune.curate.parts import Part
from animetune.curate.read.posts import TAG_CLASSES
from animetune.curate.recognize import models, tag_sources
from animetune.curate.recognize.likely_tags import KnownTags, LikelyTags
from animetune.curate.steps import Workplace
from animetune.vision.taggers import TagList

_ASKED: dict[str, pl.DataType] = {"key": pl.String(), "image": pl.String(), "pixel_digest": pl.String()}


@dataclass(frozen=True)
class CropTaggers:
    """Which taggers look at close-ups, and what is taken of their answers."""

    models: ModelsConfig
    """Taggers only."""
    sources: TagSourcesConfig
    decoding: PicturesConfig
    lists: Mapping[str, TagList]
    """Tagger -> what its answers mean."""

    @classmethod
    def of(cls, cfg: ModelsConfig, sources: TagSourcesConfig, decoding: PicturesConfig) -> CropTaggers:
        """The taggers among the models. Raises as `tag_sources.tag_lists` does."""
        return cls(cfg.model_copy(update={"scorers": ()}), sources, decoding, tag_sources.tag_lists(cfg.taggers))

    @property
    def settings(self) -> list[Any]:
        """JSON value: all that the tags depend on, beside the close-up."""
        rules = self.sources.model_dump(mode="json", exclude={"scorer"})
        return [models.settings(self.models), rules]


class CropTags:
    """The tags of the close-ups of one part of the rows after the other, all of them in turn."""

    def __init__(self, taggers: CropTaggers, at: Workplace):
        self._taggers = taggers
        self._asked = pl.DataFrame(schema=_ASKED)
        self._answers = models.ask_models(taggers.models, taggers.decoding, self._questions, at)

    def __enter__(self) -> CropTags:
        return self

    def __exit__(self, *error: object) -> None:
        if isinstance(self._answers, Generator):
            self._answers.close()

    def of_next(self, rows: pl.DataFrame | None) -> pl.DataFrame:
        """Lists of tags of each kind (tags_general ...), the likeliest first, for the close-ups of the next part.

        `rows` have key, source, image and pixel_digest; None for a part without close-ups.
        """
        self._asked = pl.DataFrame(schema=_ASKED) if rows is None else rows.select(*_ASKED)
        _, answers = next(self._answers)
        if rows is None:
            return pl.DataFrame(schema={f"tags_{kind}": pl.List(pl.String()) for kind in TAG_CLASSES})
        seen = rows.select("key", "source")
        for found in answers:
            seen = seen.join(found, on="key", how="left", maintain_order="left")
        return likely_lists(seen, self._taggers)

    def _questions(self, part: Part) -> pl.DataFrame:
        return questions_of(self._asked)


def likely_lists(seen: pl.DataFrame, taggers: CropTaggers) -> pl.DataFrame:
    """Lists of each kind of the tags that are likely enough; `seen` has `source` and the columns of the taggers."""
    known = KnownTags.of(taggers.lists)
    place = "_place"
    seen = seen.with_row_index(place)
    pieces = []
    for source in seen["source"].unique(maintain_order=True):
        own = seen.filter(pl.col("source") == source)
        found = LikelyTags.of(own, known, taggers.sources.of_source(source), taggers.sources.combine)
        lists = {
            f"tags_{kind}": _lists(found.keep((known.kinds == kind)[found.tags]), known.names, own.height)
            for kind in TAG_CLASSES
        }
        pieces.append(own.select(place).with_columns(**lists))
    return pl.concat(pieces).sort(place).drop(place)


def _lists(found: LikelyTags, names: np.ndarray, rows: int) -> pl.Series:
    ends = np.bincount(found.rows, minlength=rows).cumsum()
    tags = names[found.tags].tolist()
    starts = [0, *ends[:-1].tolist()]
    return pl.Series(
        [tags[start:end] for start, end in zip(starts, ends.tolist(), strict=True)], dtype=pl.List(pl.String())
    )
