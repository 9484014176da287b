"""The step `closeups`: close-ups cut from pictures of the table, each a row of its own behind all others.

    key       <key of its picture>#<n>, n from 1 in the order of `crops.cut`; so of equal settings always the same
    parent    key of its picture; family and split are its picture's
    image     its picture's, with the region; the mask is its picture's, of which the same region counts
    tags      `tagging`
    captions  none: its picture's speak of all that is in that
    others    its picture's: scores, dates and ratings are of the post

What was taken down is not in the table any more, and so has no close-ups; a takedown list may also name a single one.
Cut after duplicates were dropped: neither `dedup` nor `family_limit` sees them.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from animetune import picture_urls, tables
from animetune.curate.closeups import tagging
from animetune.curate.closeups.crop_tags import CropTaggers, CropTags
from animetune.curate.closeups.crops import Closeup, cut
from animetune.curate.closeups.finding import Finder, Found, content_of, find
from animetune.curate.closeups.selection import Selection
from animetune.curate.parts import ROW, ROW_DTYPE, next_number, part_name, write_part
from animetune.curate.select.dedup import TAKEDOWN_REASON
from animetune.curate.select.lists import INCLUDED, PostList
from animetune.curate.steps import Workplace, Written
from animetune.errors import DataError

FOCUS = ("focus_x", "focus_y")
CAPTIONS = ("captions_long", "captions_short")
LABEL = "label"
_CUT = {
    "picture": ROW_DTYPE,
    "key": pl.String(),
    "number": pl.Int32(),
    "region": pl.List(pl.Int64()),
    "focus_x": pl.Float32(),
    "focus_y": pl.Float32(),
    LABEL: pl.String(),
}


@dataclass(frozen=True)
class Plan:
    """All that close-ups depend on, beside the rows."""

    finder: Finder
    rules: tagging.TagRules
    takedown: PostList
    include: PostList
    taggers: CropTaggers | None = None
    """Those that say what close-ups are tagged with, where they do."""


def add_closeups(plan: Plan, at: Workplace, folder: Path) -> Written:
    """Write the rows as they are, but for their focus where that is asked, and the close-ups as further parts.

    Raises DataError for a picture that cannot be decoded any more, or boxes of files that are all of no row.
    """
    cfg = plan.finder.cfg
    selection = Selection.of(cfg, at.rows.parts)
    added = _Added(at, folder)
    counts: Counter[str] = Counter(pictures=0, with_boxes=0, with_focus=0)
    refused: Counter[str] = Counter()
    listed = set(plan.finder.files.boxes)
    unused = set(listed)
    columns: tuple[str, ...] = FOCUS if cfg.focus == "saliency" else ()
    with contextlib.ExitStack() as stack:
        crop_tags = None if plan.taggers is None else stack.enter_context(CropTags(plan.taggers, at))
        for index, found in enumerate(find(plan.finder, selection, at)):
            rows = _with_focus(found) if columns else found.pictures
            write_part(rows, columns, folder / part_name(index))
            unused -= set(found.pictures["key"].to_list()) if listed else set()
            counts["pictures"] += int(found.pictures["chosen"].sum())
            counts["with_boxes"] += len(found.boxes)
            counts["with_focus"] += len(found.focus)
            cuts = _cut_all(found, plan, refused)
            crops = closeup_rows(cuts, found, plan) if cuts.height else None
            seen = None if crop_tags is None else crop_tags.of_next(crops)
            if crops is not None:
                tagged = tagging.tag(crops, cfg, plan.rules, seen)
                added.take(tagged.select(*sorted(found.part.columns), LABEL), plan.takedown)
    added.flush()
    if listed and unused == listed:
        raise DataError(
            f"closeups: boxes: none of the {len(listed)} pictures that they are of is in the table, as {min(listed)}; "
            "correct the keys, or leave the files out"
        )
    facts = {**counts, "boxes_of_no_row": len(unused), "refused": dict(sorted(refused.items())), **added.facts()}
    return Written(
        kept=at.rows.kept + added.kept,
        dropped=pl.concat([pl.DataFrame(schema=tables.DROPPED_SCHEMA), *added.dropped]),
        quarantined=pl.DataFrame(schema=tables.QUARANTINED_SCHEMA),
        facts={"closeups": facts},
        seen=at.rows.kept + added.kept + sum(rows.height for rows in added.dropped),
    )


def closeup_rows(cuts: pl.DataFrame, found: Found, plan: Plan) -> pl.DataFrame:
    """The rows of close-ups, with the tags of their pictures: all columns that these have, and `label`."""
    first, last = int(cuts["picture"].min()), int(cuts["picture"].max())  # type: ignore[arg-type]
    pictures = found.part.read(sorted(found.part.columns), between=(first, last))
    rows = cuts.rename({"key": "own_key", "focus_x": "own_x", "focus_y": "own_y"}).join(
        pictures, left_on="picture", right_on=ROW, how="left", maintain_order="left"
    )
    regions = [picture_urls.Region(*region) for region in cuts["region"]]
    images = [picture_urls.with_region(url, region) for url, region in zip(rows["image"], regions, strict=True)]
    own: dict[str, pl.Expr | pl.Series] = {
        "key": pl.col("own_key"),
        "parent": pl.col("key"),
        "image": pl.Series(images, dtype=pl.String()),
        "width": pl.Series([region.width for region in regions], dtype=pl.Int32()),
        "height": pl.Series([region.height for region in regions], dtype=pl.Int32()),
        "focus_x": pl.col("own_x"),
        "focus_y": pl.col("own_y"),
        "pixel_digest": pl.Series(list(_identities(rows["pixel_digest"], regions)), dtype=pl.String()),
        **{name: pl.lit(None, dtype) for name, dtype in rows.schema.items() if name.startswith("content_")},
        **{name: pl.Series([[]] * rows.height, dtype=pl.List(pl.String())) for name in CAPTIONS},
    }
    rows = rows.with_columns(**own)
    included = plan.include.names(rows)
    return rows.with_columns((pl.col(INCLUDED) | included).alias(INCLUDED))


class _Added:
    """Writes close-ups as parts of a bounded number of rows."""

    def __init__(self, at: Workplace, folder: Path):
        self._folder = folder
        self._parts = len(at.rows.parts)
        self._number = next_number(at.rows.parts)
        self._waiting: list[pl.DataFrame] = []
        self._labels: Counter[str] = Counter()
        self.kept = 0
        self.dropped: list[pl.DataFrame] = []

    def take(self, rows: pl.DataFrame, takedown: PostList) -> None:
        """Keep the rows that no takedown list names."""
        named = takedown.names(rows)
        if named.any():
            self.dropped.append(rows.filter(named).select("key", reason=pl.lit(TAKEDOWN_REASON)))
            rows = rows.filter(~named)
        self._labels.update(rows[LABEL].to_list())
        self.kept += rows.height
        self._waiting.append(rows.drop(LABEL))
        while sum(each.height for each in self._waiting) >= tables.PART_ROWS:
            held = pl.concat(self._waiting)
            self._write(held.head(tables.PART_ROWS))
            self._waiting = [held.slice(tables.PART_ROWS)]

    def flush(self) -> None:
        """Write what is left."""
        if held := [rows for rows in self._waiting if rows.height]:
            self._write(pl.concat(held))
        self._waiting = []

    def facts(self) -> dict[str, Any]:
        return {"added": self.kept, "labels": dict(sorted(self._labels.items()))}

    def _write(self, rows: pl.DataFrame) -> None:
        numbers = pl.int_range(self._number, self._number + rows.height, dtype=pl.Int64, eager=True)
        numbered = rows.with_columns(numbers.cast(ROW_DTYPE).alias(ROW))
        write_part(numbered, [name for name in rows.columns if name != ROW], self._folder / part_name(self._parts))
        self._number += rows.height
        self._parts += 1


def _cut_all(found: Found, plan: Plan, refused: Counter[str]) -> pl.DataFrame:
    """The close-ups of a part, in the order of its pictures; counts the other boxes by reason."""
    cfg = plan.finder.cfg
    cuts: list[tuple[Any, ...]] = []
    people: dict[str, int] = {}
    if found.boxes:
        pictures = found.part.read(["key", "n_people", "tags_character"])
        people = dict(pictures.select("key", tagging.people()).iter_rows())
    rows = found.pictures.filter(pl.col("key").is_in(list(found.boxes)))
    for row in rows.iter_rows(named=True):
        boxes = found.boxes[row["key"]]
        fit = [box for box in boxes if tagging.may_be_cut(box.label, people[row["key"]], cfg)]
        refused["several_people"] += len(boxes) - len(fit)
        kept, others = cut(fit, content_of(row), cfg)
        refused.update(others)
        cuts += [_numbered(row, number, each) for number, each in enumerate(kept, start=1)]
    return pl.DataFrame(cuts, schema=_CUT, orient="row")


def _numbered(row: dict[str, Any], number: int, closeup: Closeup) -> tuple[Any, ...]:
    return row[ROW], f"{row['key']}#{number}", number, list(closeup.region), *closeup.focus, closeup.label


def _with_focus(found: Found) -> pl.DataFrame:
    keys = list(found.focus)
    schema = {"key": pl.String(), "x": pl.Float32(), "y": pl.Float32()}
    places = pl.DataFrame([(key, *found.focus[key]) for key in keys], schema=schema, orient="row")
    rows = found.pictures.join(places, on="key", how="left", maintain_order="left")
    return rows.with_columns(focus_x=pl.coalesce("focus_x", "x"), focus_y=pl.coalesce("focus_y", "y"))


def _identities(pixels: pl.Series, regions: Sequence[picture_urls.Region]) -> Iterator[str | None]:
    """What tells the pixels of a close-up from others: of those of its picture, and the region."""
    for md5, region in zip(pixels, regions, strict=True):
        text = f"{md5}#xywh={','.join(map(str, region))}"
        yield None if md5 is None else hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
