"""Thumbnails of many pictures as `data:` URIs, made in worker processes and within a limit of bytes.

Pictures that a filter dropped were never decoded before: whatever they do to a decoder, the report is written.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from animetune import figures
from animetune.pictures import MAX_PIXELS, open_picture

QUALITY = 62
"""Of WebP: about ten kilobytes for 256 pixels."""
BYTES = 5_000_000
"""All thumbnails of a page together; those beyond are left out."""
DEATHS = 8
"""Worker processes that may die before no more pictures are tried."""


@dataclass(frozen=True)
class Wanted:
    """A picture to show."""

    places: tuple[str, ...]
    """Where it may be, first to last."""
    side: int
    """Pixels of the thumbnail's longer side at most."""


def make_thumbnails(wanted: Sequence[Wanted], *, workers: int = 2, limit: int = BYTES) -> list[str]:
    """A URI for each, empty for those that are missing, cannot be decoded, or do not fit into the limit.

    With 0 workers all is done in this process.
    """
    made = [thumbnail_of(each) for each in wanted] if workers == 0 else _in_workers(wanted, workers)
    used = 0
    kept = []
    for uri in made:
        fits = used + len(uri) <= limit
        used += len(uri) if fits else 0
        kept.append(uri if fits else "")
    return kept


def thumbnail_of(wanted: Wanted) -> str:
    """The URI of one picture; empty when there is none to show."""
    for place in wanted.places:
        # A page without one picture is worth more than no page, and stores raise errors of their own when out of reach.
        with contextlib.suppress(Exception):
            image = open_picture(place, max_pixels=MAX_PIXELS).image
            return figures.thumbnail(image, side=wanted.side, quality=QUALITY)
    return ""


def _in_workers(wanted: Sequence[Wanted], workers: int) -> list[str]:
    made: list[str] = []
    deaths = 0
    while len(made) < len(wanted) and deaths < DEATHS:
        # After a death one at a time, so that the picture that kills its process is known and left out.
        with ProcessPoolExecutor(1 if deaths else workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            try:
                made.extend(pool.map(thumbnail_of, wanted[len(made) :]))
            except BrokenProcessPool:
                deaths += 1
                if deaths > 1:
                    made.append("")
    return made + [""] * (len(wanted) - len(made))
