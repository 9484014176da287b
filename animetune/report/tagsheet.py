"""`animetune tagsheet PLACE`: the words that a model knows, with how often it saw them, as one page to copy from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from animetune import checkpoint, config, shardset, tables
from animetune.data.source import Source, open_data
from animetune.errors import DataError
from animetune.manifest import Manifest, has_manifest, read_manifest
from animetune.progress import track
from animetune.prompts import PromptConfig
from animetune.report.exposure import read_exposure
from animetune.report.tagsheet_counts import BLOCK, COLUMNS, Counts, count, left_out, words
from animetune.report.tagsheet_page import TITLES, Sheet, write
from animetune.shardset import LabelSet
from animetune.train.config import TrainConfig

PAGE = "tagsheet.html"

ALL_PARTS = PromptConfig(
    order=(
        "count", "character", "series", "artist", "general", "special", "rating", "quality", "aesthetic", "year",
    )
)  # fmt: skip
"""How words are written where no run says it: every kind, without prefixes, classes by the words of DashAnime XL."""


def make_tagsheet(place: Path, out: Path | None, *, at_least: int) -> Path:
    """Write the page to `out` (by default `tagsheet.html` in `place`), and a list for autocomplete beside it as CSV.

    `place` is a run directory (its words are written as its prompts have them, with how often it was shown each), a
    label set or a curated table. Words of fewer than `at_least` pictures are left out.

    Raises DataError when it is none of these, or what a run names is not there.
    """
    path = place / PAGE if out is None else out / PAGE if out.is_dir() else out
    with track("tagsheet") as progress:
        sheet = read_sheet(place, at_least=at_least)
        progress.reach(1, 1)
    return write(sheet, path)


def read_sheet(place: Path, *, at_least: int) -> Sheet:
    """The vocabulary of a place; DataError as of `make_tagsheet`."""
    if (place / "config.yaml").is_file() and config.stage_of(place / "config.yaml") == "train":
        return _of_run(place, at_least)
    if not has_manifest(place):
        raise DataError(
            f"{place}: is neither a run, a label set nor a curated table; name the folder that `run:` of a training "
            "or `out:` of labels or curate names"
        )
    manifest = read_manifest(place)
    if manifest.kind == shardset.LABELS_KIND:
        labels = shardset.open_labels(place)
        return _sheet(place, count(_blocks(labels, len(labels))), at_least, what="of a label set")
    if manifest.kind == tables.TABLE_KIND:
        return _sheet(place, count(_parts(place)), at_least, what="of a curated table")
    raise DataError(f"{place}: is a {manifest.kind}; name a run, a label set or a curated table")


def _of_run(run: Path, at_least: int) -> Sheet:
    cfg = config.load_config(run / "config.yaml", TrainConfig)
    sources = open_data(cfg.data)
    counts = count(block for source in sources for block in _blocks(source.labels, len(source.rows)))
    steps = _steps_done(run)
    exposure = read_exposure(cfg, steps=steps)
    seen = {(kind, tag): shown for kind, tag, _, shown in exposure.tags.iter_rows()}
    seen |= {(kind, name): shown for kind, name, _, shown in exposure.classes.iter_rows() if name is not None}
    found = words(counts, cfg.prompts, at_least=at_least, seen=seen)
    span = f"{exposure.steps:,} steps ({exposure.epochs:.2f} epochs)"
    done = f"after {span}" if steps is not None else f"planned for {span}"
    notes = _notes(counts, cfg.prompts, at_least)
    return Sheet(f"Words of {run.name}", f"{_lead(sources)}; how often each was shown is {done}.", found, notes)


def _sheet(place: Path, counts: Counts, at_least: int, *, what: str) -> Sheet:
    found = words(counts, ALL_PARTS, at_least=at_least)
    lead = f"The vocabulary {what}: {counts.rows:,} pictures. Words are written without the prefixes of a training."
    return Sheet(f"Words of {place.name}", lead, found, _notes(counts, ALL_PARTS, at_least))


def _lead(sources: tuple[Source, ...]) -> str:
    pictures = sum(int((source.repeats > 0).sum()) for source in sources)
    return f"Written as its prompts have them, of {pictures:,} pictures that it was trained on"


def _notes(counts: Counts, cfg: PromptConfig, at_least: int) -> list[str]:
    notes = [f"Words of fewer than {at_least:,} pictures are left out."] if at_least > 1 else []
    hidden = [TITLES[kind].lower() for kind in left_out(counts, cfg)]
    if hidden:
        notes.append(f"Not in its prompts, and so not here: {', '.join(hidden)}.")
    return notes


def _steps_done(run: Path) -> int | None:
    """Optimizer steps of a finished run, or of the newest checkpoint; None before there is one."""
    if has_manifest(run):
        return int(read_manifest(run, kind="run").facts["step"])
    found = checkpoint.steps(run / "checkpoints")
    if not found:
        return None
    newest: Manifest = read_manifest(found[-1], kind="checkpoint")
    return int(newest.facts["step"])


def _blocks(labels: LabelSet, rows: int) -> Iterator[pl.DataFrame]:
    """The first `rows` rows of a label set that are drawn at all, in blocks."""
    for first in range(0, rows, BLOCK):
        length = min(BLOCK, rows - first)
        block = pl.DataFrame({name: pl.Series(labels.column(name).slice(first, length)) for name in COLUMNS})
        yield block.filter(pl.Series(labels.repeats[first : first + length] > 0))


def _parts(folder: Path) -> Iterator[pl.DataFrame]:
    """The training pictures of a table that are drawn at all, part by part."""
    table = tables.open_table(folder)
    for part in table.parts:
        rows = pl.read_parquet(part, columns=[*COLUMNS, "repeats", "split"], glob=False)
        yield rows.filter((pl.col("repeats") > 0) & (pl.col("split") == "train")).select(COLUMNS)
