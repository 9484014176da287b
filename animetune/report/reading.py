"""From what a run left on disk to the plain data of its page."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from animetune import fsio, samples
from animetune.buckets import fit
from animetune.config import load_config
from animetune.data.source import Source, open_data, source_of
from animetune.errors import PictureError
from animetune.pictures import open_picture
from animetune.prompts import compose
from animetune.records import Size
from animetune.report.run_page import Command, ContentCount, Picture, ProgressRow, PromptDraws, RunPage
from animetune.seeding import Purpose, rng_for
from animetune.shards.write import resize_and_crop
from animetune.tables import Table, open_table
from animetune.train.config import TrainConfig

SHEET_PICTURES = 24
PROMPT_SAMPLES = 6
DRAWS = 2
"""Epochs whose prompts are shown."""


def read_run(run: Path, *, table: Path | None = None, final: Path | None = None) -> RunPage:
    """The page of a training run.

    Args:
        run: the run directory; its config.yaml says where shards and labels are.
        table: the curated table of the run's labels, for its counts and its pictures.
        final: a folder of the `sample` stage; without it, the last pictures drawn in training take its place.

    Raises:
        ConfigError, DataError: something that the run names is missing or does not belong to it.
    """
    cfg = load_config(run / "config.yaml", TrainConfig)
    sources = open_data(cfg.data)
    curated = open_table(table) if table else None
    chosen = choose_rows(sources, count=SHEET_PICTURES, seed=cfg.seed)
    prompts = [
        PromptDraws(
            key=label.key,
            content_bucket=label.content_bucket or "",
            draws=[
                compose(label, cfg.prompts, rng_for(cfg.seed, Purpose.CAPTION, epoch, row, 0)) for epoch in range(DRAWS)
            ],
        )
        for row in chosen
        for label in [source_of(sources, row).label(row)]
    ]
    progress = [
        ProgressRow(step=int(folder.name.removeprefix("step-")), pictures=_drawn(folder))
        for folder in sorted((run / "samples").glob("step-*"))
    ]
    return RunPage(
        title=run.name,
        table=curated.manifest if curated else None,
        shards=[source.root.manifest for source in sources],
        content=count_content(sources),
        sizes=_count_sizes(sources),
        repeats=[repeats for source in sources for repeats in source.repeats.tolist()],
        pictures=_training_pictures(curated, sources, chosen, prompts) if curated else [],
        prompts=_spread(prompts, PROMPT_SAMPLES),
        metrics=latest_metrics(run),
        validation=latest_validation(run),
        progress=progress,
        final=_drawn(final) if final else (progress[-1].pictures if progress else []),
        commands=[
            Command("Train on, to twice the length", f"animetune train {run}/config.yaml --set {_twice_as_long(cfg)}"),
            Command("See more prompts as they are trained", f"animetune preview {run}/config.yaml"),
            Command("Watch all curves", f"tensorboard --logdir {run}/tb"),
        ],
    )


def choose_rows(sources: Sequence[Source], *, count: int, seed: int) -> list[int]:
    """Up to `count` rows that are trained on, in row order; at random by `seed`, in turns from every content bucket."""
    trained = np.concatenate([source.rows.start + np.flatnonzero(source.repeats > 0) for source in sources])
    shuffled = rng_for(seed, Purpose.CONTACT_SHEET).permutation(trained).tolist()
    content = [bucket for source in sources for bucket in _content_buckets(source)]
    by_content: dict[str, list[int]] = {}
    for row in shuffled:
        by_content.setdefault(content[row] or "", []).append(row)
    turns = itertools.zip_longest(*(by_content[name] for name in sorted(by_content)))
    in_turns = [row for turn in turns for row in turn if row is not None]
    return sorted(in_turns[:count])


def count_content(sources: Sequence[Source]) -> list[ContentCount]:
    """Rows and repeats of every content bucket, most rows first."""
    counts: dict[str, list[float]] = {}
    for source in sources:
        for content, repeats in zip(_content_buckets(source), source.repeats.tolist(), strict=True):
            count = counts.setdefault(content or "none", [0, 0.0])
            count[0] += 1
            count[1] += repeats
    ordered = sorted(counts.items(), key=lambda item: (-item[1][0], item[0]))
    return [ContentCount(name, int(count), repeats) for name, (count, repeats) in ordered]


def latest_metrics(run: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl by step; of a step done twice, because training was resumed before it, the last."""
    by_step = {line["step"]: line for line in fsio.read_lines(run / "metrics.jsonl")}
    return [by_step[step] for step in sorted(by_step)]


def latest_validation(run: Path) -> list[dict[str, Any]]:
    """The lines of validation.jsonl by step; of a step done twice, the last."""
    found = {(line["step"], line["weights"]): line for line in fsio.read_lines(run / "validation.jsonl")}
    return [found[key] for key in sorted(found, key=lambda key: key[0])]


def _training_pictures(
    table: Table, sources: Sequence[Source], rows: Sequence[int], prompts: Sequence[PromptDraws]
) -> list[Picture]:
    import polars as pl

    indexes = {source.rows: source.root.samples("width", "height") for source in sources}
    keys = [prompt.key for prompt in prompts]
    found = table.scan().filter(pl.col("key").is_in(keys)).select("key", "image").collect()
    urls = dict(found.iter_rows())
    pictures = []
    for row, prompt in zip(rows, prompts, strict=True):
        own = source_of(sources, row).rows
        index, place = indexes[own], row - own.start
        target = Size(index["width"][place].as_py(), index["height"][place].as_py())
        # The table may have come from another machine, where its pictures stayed: its labels are shown all the same.
        with contextlib.suppress(PictureError):
            image = open_picture(urls[prompt.key]).image
            cropped = resize_and_crop(image, fit(Size(*image.size), target))
            pictures.append(Picture(cropped, prompt.draws[0], prompt.content_bucket))
    return pictures


def _drawn(folder: Path) -> list[Picture]:
    return [Picture(drawn.file, drawn.request.prompt) for drawn in samples.read(folder)]


def _content_buckets(source: Source) -> list[str | None]:
    return source.labels.column("content_bucket").slice(0, len(source.rows)).to_pylist()


def _count_sizes(sources: Sequence[Source]) -> list[tuple[Size, int]]:
    counts: dict[Size, int] = {}
    for group in (group for source in sources for group in source.root.groups_of("train")):
        counts[group.size] = counts.get(group.size, 0) + group.samples
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _spread(items: Sequence[PromptDraws], count: int) -> list[PromptDraws]:
    """`count` of the items, evenly spaced."""
    return list(items[:: max(1, len(items) // count)])[:count]


def _twice_as_long(cfg: TrainConfig) -> str:
    loop = cfg.loop
    return f"loop.steps={2 * loop.steps}" if loop.steps else f"loop.epochs={2 * (loop.epochs or 0):g}"
