"""The step `letterboxes`: pictures with borders of one colour, as `pictures` found them, are cropped or dropped.

No picture is opened. Right behind `pictures`, so that all that looks at pictures later sees them without borders; with
`crop`, filters on sizes run here and not there, since the content's size is what counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from animetune.curate.config.filters import Filter
from animetune.curate.config.marks import BorderAction
from animetune.curate.select import filters
from animetune.curate.steps import Outcome
from animetune.picture_urls import Region, with_region

REASON = "letterbox"
LETTERBOXED, PILLARBOXED = "letterboxed", "pillarboxed"
TAGS = "tags_marks"
"""Column: tags that are added once it is decided whose tags a post has (`marked_tags`)."""
WHOLE = ("whole_width", "whole_height")
"""Columns: size of the decoded picture, of which a mask is."""
CONTENT = tuple(f"content_{name}" for name in Region._fields)
PIXELS = ("pixel_digest", "dhash", "content_digest", "content_dhash")
READS = ("image", "width", "height", *CONTENT, *PIXELS)
WRITES = (*READS, *WHOLE, TAGS)


def treat_borders(rows: pl.DataFrame, actions: Sequence[BorderAction], size_filters: Sequence[Filter]) -> Outcome:
    """Add WHOLE and TAGS; crop or drop what has borders, and with `crop` also what the filters of sizes drop.

    Facts: how many pictures have borders above or below, and at the sides.
    """
    bordered = pl.col("content_width").is_not_null()
    above = (bordered & (pl.col("content_height") < pl.col("height"))).fill_null(value=False)
    beside = (bordered & (pl.col("content_width") < pl.col("width"))).fill_null(value=False)
    facts = rows.select(above.sum().alias(LETTERBOXED), beside.sum().alias(PILLARBOXED)).row(0, named=True)
    tags = pl.concat_list(
        pl.when(has & ("tag" in actions)).then(pl.lit(tag))
        for tag, has in ((LETTERBOXED, above), (PILLARBOXED, beside))
    )
    rows = rows.with_columns(
        tags.list.drop_nulls().alias(TAGS), *(pl.col(name.removeprefix("whole_")).alias(name) for name in WHOLE)
    )
    if "drop" in actions:
        dropped = rows.filter(bordered).select("key", reason=pl.lit(REASON))
        return Outcome(rows.filter(~bordered), dropped, facts={"letterboxes": facts})
    if "crop" not in actions:
        return Outcome(rows, facts={"letterboxes": facts})
    outcome = filters.apply(cropped(rows), size_filters, "picture")
    return Outcome(outcome.kept, outcome.dropped, facts={**outcome.facts, "letterboxes": facts})


def cropped(rows: pl.DataFrame) -> pl.DataFrame:
    """Of pictures with borders the region within, with its size, digest and hash; nothing is a border any more.

    So what is equal or alike without its borders is found, and no answer about the whole is taken for one about this.
    """
    images = [
        url if content[2] is None else with_region(url, Region(*content))
        for url, *content in rows.select("image", *CONTENT).iter_rows()
    ]
    return rows.with_columns(
        pl.Series("image", images, dtype=pl.String()),
        width=pl.coalesce("content_width", "width"),
        height=pl.coalesce("content_height", "height"),
        pixel_digest=pl.coalesce("content_digest", "pixel_digest"),
        dhash=pl.coalesce("content_dhash", "dhash"),
    ).with_columns(pl.lit(None, dtype=rows.schema[name]).alias(name) for name in (*CONTENT, *PIXELS[2:]))


def add_tags(rows: pl.DataFrame) -> Outcome:
    """The step `marked_tags`: what marks say of a picture becomes general tags of it."""
    both = pl.concat_list(pl.col("tags_general").fill_null([]), TAGS)
    return Outcome(rows.with_columns(tags_general=both.list.unique(maintain_order=True)))
