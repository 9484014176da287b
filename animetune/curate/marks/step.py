"""The step `marks`: what detectors find on pictures becomes tags, masks, or a reason to drop them.

Also the mask of borders, where these are not cut off. Behind `models`, whose answers it does not need.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from animetune import picture_urls, tables
from animetune.curate.config.marks import MarkConfig, MarksConfig
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.detections import asking, asking_detectors, likely, questions_of
from animetune.curate.marks.letterboxes import CONTENT, TAGS, WHOLE
from animetune.curate.marks.masks import ASKED, around, files_of, masks_of_marks, question
from animetune.curate.parts import ROW, Part, part_name, write_part
from animetune.curate.steps import Workplace, Written
from animetune.picture_urls import Region
from animetune.vision.detectors import Box

READS = (ROW, "key", "image", "pixel_digest", "mask", *WHOLE, *CONTENT, "width", "height", TAGS)
WRITES = ("mask", TAGS)


@dataclass
class Verdict:
    """What is done about the marks of one picture."""

    tags: list[str] = field(default_factory=list)
    blank: list[Region] = field(default_factory=list)
    """In pixels of the whole picture."""
    reason: str | None = None
    """Why it is dropped."""


def treat_marks(cfg: MarksConfig, decoding: PicturesConfig, at: Workplace, folder: Path) -> Written:
    """Add tags of marks, write masks, drop what has too much. Raises DataError for a picture that is gone."""
    judging = _Judging(cfg, {})
    masks = masks_of_marks(at.answers, decoding.max_pixels)
    dropped = [pl.DataFrame(schema=tables.DROPPED_SCHEMA)]
    counts: Counter[str] = Counter()
    with contextlib.ExitStack() as asked:
        detectors = [each.detector for each in cfg.detectors]
        found = asked.enter_context(asking_detectors(detectors, decoding, questions_of_rows, at))
        drawn = asked.enter_context(asking(masks, judging.questions, at))
        for index, part in enumerate(at.rows.parts):
            judging.begin(part, next(found))
            places = next(drawn)[1].drop_nulls("file").select("key", drawn=f"{files_of(at.answers)}/" + pl.col("file"))
            kept, refused = judging.rows(places)
            write_part(kept, WRITES, folder / part_name(index))
            dropped.append(refused)
            counts.update(judging.counts)
            counts["masks"] += places.height
    gone = pl.concat(dropped)
    return Written(
        kept=at.rows.kept - gone.height,
        dropped=gone,
        quarantined=pl.DataFrame(schema=tables.QUARANTINED_SCHEMA),
        facts={"marks": dict(sorted(counts.items()))},
        seen=at.rows.kept,
    )


def questions_of_rows(part: Part) -> pl.DataFrame:
    """key, question, image of all rows of a part."""
    return questions_of(part.read(("key", "image", "pixel_digest")))


def verdict(
    boxes: Mapping[str, Sequence[Box]], labels: Mapping[str, MarkConfig], size: tuple[int, int], offset: tuple[int, int]
) -> Verdict:
    """What is done about boxes (label -> those of a picture of this size, which begins at `offset` in the whole)."""
    found = Verdict()
    for label, rules in labels.items():
        here = boxes.get(label, ())
        if not here:
            continue
        if rules.drop_above is not None and covered(here, size) > rules.drop_above:
            found.reason = found.reason or f"mark_{label}"
        if rules.tag is not None:
            found.tags.append(rules.tag)
        if rules.mask:
            found.blank += [region_of(box, rules.grow, size, offset) for box in here]
    return found


def covered(boxes: Sequence[Box], size: tuple[int, int]) -> float:
    """The share of a picture that lies under at least one of the boxes."""
    across = np.unique([side for box in boxes for side in (box.left, box.right)])
    down = np.unique([side for box in boxes for side in (box.top, box.bottom)])
    area = np.diff(down)[:, None] * np.diff(across)[None, :]
    under = np.zeros(area.shape, dtype=bool)
    for box in boxes:
        rows, columns = (
            (down[:-1] >= box.top) & (down[1:] <= box.bottom),
            (across[:-1] >= box.left) & (across[1:] <= box.right),
        )
        under |= rows[:, None] & columns[None, :]
    return float((area * under).sum() / (size[0] * size[1]))


def region_of(box: Box, grow: float, size: tuple[int, int], offset: tuple[int, int]) -> Region:
    """The whole pixels under a box and around it, within the picture; in pixels of the whole picture."""
    across, down = grow * (box.right - box.left), grow * (box.bottom - box.top)
    left, top = max(0, math.floor(box.left - across)), max(0, math.floor(box.top - down))
    right, bottom = min(size[0], math.ceil(box.right + across)), min(size[1], math.ceil(box.bottom + down))
    return Region(offset[0] + left, offset[1] + top, max(0, right - left), max(0, bottom - top))


class _Judging:
    """One part after the other."""

    def __init__(self, cfg: MarksConfig, verdicts: dict[str, Verdict]):
        self._cfg = cfg
        self._verdicts = verdicts
        self._pictures = pl.DataFrame()
        self.counts: Counter[str] = Counter()

    def begin(self, part: Part, answers: Sequence[pl.DataFrame]) -> None:
        self._pictures = part.read(READS)
        self.counts = Counter()
        boxes = [
            {key: likely(found, each.detector.threshold) for key, found in frame.select("key", "boxes").iter_rows()}
            for each, frame in zip(self._cfg.detectors, answers, strict=True)
        ]
        self._verdicts = {
            row["key"]: self._judge(row, [found.get(row["key"], []) for found in boxes])
            for row in self._pictures.iter_rows(named=True)
        }

    def questions(self, part: Part) -> pl.DataFrame:
        """Of the pictures that need a mask."""
        columns = ("key", *WHOLE, "mask")
        rows = []
        for key, width, height, mask in self._pictures.select(columns).iter_rows():
            found = self._verdicts[key]
            if found.blank and found.reason is None:
                number = question((width, height), found.blank, mask)
                rows.append((key, number, width, height, [list(region) for region in found.blank], mask))
        return pl.DataFrame(rows, schema=ASKED, orient="row")

    def rows(self, places: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """(the rows that stay, key and reason of the others), with the masks that were drawn."""
        verdicts = [self._verdicts[key] for key in self._pictures["key"]]
        rows = self._pictures.join(places, on="key", how="left", maintain_order="left")
        more = pl.Series([found.tags for found in verdicts], dtype=pl.List(pl.String()))
        rows = rows.with_columns(
            mask=pl.coalesce("drawn", "mask"),
            reason=pl.Series([found.reason for found in verdicts], dtype=pl.String()),
            more=more,
        ).with_columns(pl.concat_list(TAGS, "more").list.unique(maintain_order=True).alias(TAGS))
        stays = pl.col("reason").is_null()
        return rows.filter(stays), rows.filter(~stays).select("key", "reason")

    def _judge(self, row: Mapping[str, Any], found: Sequence[Sequence[Box]]) -> Verdict:
        region = picture_urls.parse(row["image"]).region
        offset = (region.left, region.top) if region else (0, 0)
        size = (row["width"], row["height"])
        whole = Verdict()
        for each, boxes in zip(self._cfg.detectors, found, strict=True):
            by_label: dict[str, list[Box]] = {}
            for box in boxes:
                by_label.setdefault(box.label, []).append(box)
            self.counts.update(f"with_{label}" for label in by_label if label in each.labels)
            one = verdict(by_label, each.labels, size, offset)
            whole.tags += one.tags
            whole.blank += one.blank
            whole.reason = whole.reason or one.reason
        if "mask" in self._cfg.letterbox and row["content_width"] is not None:
            content = Region(*(row[name] for name in CONTENT))
            whole.blank += around(content, (row["whole_width"], row["whole_height"]))
        return whole
