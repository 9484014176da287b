"""From a curated table on disk to the plain data of its report.

One pass counts every row; captions, prompts and the contact sheet are of a sample, which is the same at every run.
"""

from __future__ import annotations

import itertools
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from animetune import __version__
from animetune.buckets import SizesConfig, fit, place
from animetune.figures import has_hidden
from animetune.prompts import compose
from animetune.records import Label, Size
from animetune.report.image_facts import pictures_in, with_images
from animetune.report.image_reading import read_images
from animetune.report.prompt_marks import dropped_tags, split_at_limit
from animetune.report.table_counts import count_table
from animetune.report.table_facts import (
    Crop,
    Draw,
    LossExample,
    PhraseCount,
    SheetPicture,
    ShownLoss,
    TableFacts,
    TagCounts,
    Texts,
    Training,
)
from animetune.report.table_labels import label_of
from animetune.report.table_noted import posts_read
from animetune.report.table_sizes import measure
from animetune.report.table_steps import Loss, read_losses, read_steps, tags_read
from animetune.report.table_texts import openings, repeated_runs, repeated_texts, style_phrases, with_any
from animetune.report.thumbnails import Wanted, make_thumbnails
from animetune.seeding import Purpose, rng_for
from animetune.tables import open_table
from animetune.tokens import CHUNK_BODY, count_fitting, count_tokens

SAMPLE = 20_000
"""Pictures whose captions and prompts are read."""
SHEET = 36
"""Pictures of the contact sheet."""
DRAWS = 2
"""Prompts of each."""
EXAMPLES = 6
"""Posts shown of every reason for which some were refused."""
REASONS = 24
"""Reasons that are shown with examples."""
SHEET_SIDE, EXAMPLE_SIDE = 320, 160
"""Pixels of thumbnails."""
DECODED = ("md5_mismatch", "animated")
"""Codes of pictures that cannot be used though their decoding harms nobody."""
SAFE_RATINGS = ("g", "s")
"""Pictures of other ratings, or without one, are blurred."""

DEFAULT_SIZES = SizesConfig(preset="sdxl")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Asked:
    """What a report is asked for beside the table itself."""

    training: Training = field(default_factory=Training)
    sizes: SizesConfig | None = None
    """Those of shard.yaml; None for SDXL's 40."""
    max_upscale: float = 1.25
    """As in shard.yaml: pictures that would be enlarged by more are dropped there."""
    thumbnails: bool = True
    workers: int = 2
    """Processes that decode pictures; 0 decodes in this one."""
    commands: Sequence[tuple[str, str]] = ()
    """Purpose and command line, for the section that tells how to go on."""


def read_table(
    folder: Path, asked: Asked | None = None, *, progress: Progress = lambda done, total: None
) -> TableFacts:
    """Everything that the report of a table shows.

    Raises DataError when `folder` holds no finished table, FormatVersionError for one of another version.
    """
    asked = asked or Asked()
    sizes = asked.sizes or DEFAULT_SIZES
    table = open_table(folder)
    training = asked.training
    counts = count_table(table, sample=SAMPLE, seed=training.seed, progress=progress)
    steps = read_steps(table)
    losses = read_losses(table, steps, examples=EXAMPLES, seed=training.seed)
    rows = _trained(counts.sample)
    chosen = choose_sheet(rows, count=SHEET, seed=training.seed)
    shown = losses[:REASONS] if asked.thumbnails else []
    worked = read_images(table, steps, seed=training.seed)
    own = [each.wanted for each in pictures_in(worked)]
    wanted = [*_wanted(chosen, shown), *own] if asked.thumbnails else []
    images = make_thumbnails(wanted, workers=asked.workers)
    sheet_images = images[: chosen.height] or [""] * chosen.height
    loss_images = iter(images[chosen.height : len(images) - len(own)])
    taken_out = tags_read(chosen["key"].to_list(), steps)
    tags = {name: TagCounts(tally.most_first()) for name, tally in counts.tags.items()}
    return TableFacts(
        title="/".join(folder.resolve().parts[-2:]),
        manifest=table.manifest,
        posts=posts_read(table.manifest, steps),
        pictures=counts.pictures,
        held_out=counts.held_out,
        classes={name: tally.most_first() for name, tally in counts.classes.items() if tally.most_first()},
        years=counts.years.most_first(),
        people=counts.people.most_first(),
        captions=counts.captions.most_first(),
        tags=tags,
        hidden_tags=[tag for each in tags.values() for tag in each.tags if has_hidden(tag)],
        repeats=counts.repeats,
        views=counts.views,
        loss_weights=counts.loss_weights,
        untagged=counts.untagged,
        bare=counts.bare,
        sizes=measure(counts.sizes.most_first(), sizes, max_upscale=asked.max_upscale),
        sizes_are_given=asked.sizes is not None,
        max_upscale=asked.max_upscale,
        texts=read_texts(counts.sample, rows, training),
        training=training,
        images=with_images(worked, dict(zip(own, images[len(images) - len(own) :], strict=True)) if images else {}),
        steps=steps,
        losses=[_shown(loss, loss_images if loss in shown else iter(())) for loss in losses],
        sheet=[
            _sheet_picture(row, image, asked, taken_out.get(row["key"]))
            for row, image in zip(chosen.iter_rows(named=True), sheet_images, strict=True)
        ],
        has_thumbnails=asked.thumbnails,
        commands=asked.commands,
        versions=_versions(),
    )


def choose_sheet(rows: pl.DataFrame, *, count: int, seed: int) -> pl.DataFrame:
    """Up to `count` rows, in turns from every content bucket, at random but always the same; by bucket, then row."""
    if not rows.height:
        return rows
    order = rng_for(seed, Purpose.CONTACT_SHEET, 1).permutation(rows.height).tolist()
    buckets = rows["content_bucket"].fill_null("").to_list()
    queues: dict[str, list[int]] = {}
    for place_ in order:
        queues.setdefault(buckets[place_], []).append(place_)
    turns = itertools.zip_longest(*(queues[name] for name in sorted(queues)))
    chosen = [place_ for turn in turns for place_ in turn if place_ is not None][:count]
    return rows[sorted(chosen, key=lambda place_: (buckets[place_], place_))]


def read_texts(sample: pl.DataFrame, trained: pl.DataFrame, training: Training) -> Texts:
    """What captions and prompts say: captions of all sampled rows, one prompt of each of the `trained` ones."""
    if not sample.height:
        return Texts()
    long = [text for texts in sample["captions_long"].to_list() for text in texts or ()]
    short = [text for texts in sample["captions_short"].to_list() for text in texts or ()]
    captions = [*long, *short]
    prompts = [prompt_of(row, training, draw=0) for row in trained.iter_rows(named=True)]
    tokens = _lengths(prompts)
    in_captions, in_prompts = style_phrases(captions), {each.text: each.times for each in style_phrases(prompts)}
    listed = [each.text for each in in_captions]
    return Texts(
        pictures=sample.height,
        captions=len(captions),
        long_tokens=_lengths(long),
        short_tokens=_lengths(short),
        prompt_tokens=tokens,
        prompts_cut=sum(
            int(count) > count_fitting(prompt, chunks=training.chunks, split=training.split)
            for prompt, count in zip(prompts, tokens, strict=True)
            if count > CHUNK_BODY
        ),
        prompts_empty=sum(not prompt for prompt in prompts),
        openings=[each for each in openings(captions, most=12) if each.times > 1],
        phrases=[PhraseCount(each.text, each.times, in_prompts.get(each.text, 0)) for each in in_captions],
        captions_with_style=with_any(captions, listed),
        prompts_with_style=with_any(prompts, listed),
        runs=repeated_runs(captions, most=10, at_least=max(3, len(captions) // 100)),
        repeated=repeated_texts(captions, most=6),
        hidden=sum(map(has_hidden, captions)),
    )


def prompt_of(row: Mapping[str, Any], training: Training, *, draw: int) -> str:
    """A prompt of a row of the table, as `animetune preview --table` draws it for the epoch `draw`."""
    rng = rng_for(training.seed, Purpose.CAPTION, draw, row["row"], 0)
    return compose(label_of(row), training.prompts, rng)


def _lengths(texts: Sequence[str]) -> np.ndarray:
    return np.array([count_tokens(text) for text in texts], dtype=np.int64)


def _trained(sample: pl.DataFrame) -> pl.DataFrame:
    """The rows of the sample that training would show; all of them where it would show none."""
    if not sample.height:
        return sample
    trained = sample.filter((pl.col("split") == "train") & (pl.col("repeats") > 0))
    return trained if trained.height else sample


def _wanted(chosen: pl.DataFrame, losses: Sequence[Loss]) -> list[Wanted]:
    """The pictures of the sheet, then those of the refused posts that may be decoded."""
    sheet = [Wanted((url,) if url else (), SHEET_SIDE) for url in chosen["image"].to_list()]
    return sheet + [
        Wanted(post.images, EXAMPLE_SIDE) for loss in losses if _may_be_shown(loss) for post in loss.examples
    ]


def _may_be_shown(loss: Loss) -> bool:
    """Whether the pictures may be opened: not those that were refused before all of them was decoded."""
    return not loss.is_quarantined or loss.reason in DECODED


def _shown(loss: Loss, images: Any) -> ShownLoss:
    examples = [
        LossExample(
            key=post.key,
            image=next(images, "") if _may_be_shown(loss) else "",
            is_veiled=post.rating not in SAFE_RATINGS,
            detail=post.detail,
        )
        for post in loss.examples
    ]
    return ShownLoss(loss, examples)


def _sheet_picture(row: Mapping[str, Any], image: str, asked: Asked, tags_before: Sequence[str] | None) -> SheetPicture:
    label = label_of(row)
    prompts = dict.fromkeys(prompt_of(row, asked.training, draw=draw) for draw in range(DRAWS))
    classes = (row["content_bucket"], row["quality"], row["aesthetic"], row["rating"], row["year"])
    return SheetPicture(
        key=row["key"],
        image=image,
        is_veiled=row["rating"] not in SAFE_RATINGS,
        notes=[*(name for name in classes if name), f"{row['repeats'] or 0:.3g}× per epoch"],
        crop=crop_of(row, asked.sizes or DEFAULT_SIZES, asked.max_upscale),
        draws=[_draw(label, prompt, asked.training) for prompt in prompts],
        taken_out=[] if tags_before is None else _taken_out(tags_before, row),
    )


def _draw(label: Label, prompt: str, training: Training) -> Draw:
    kept = count_fitting(prompt, chunks=training.chunks, split=training.split)
    trained, cut = split_at_limit(prompt, kept)
    return Draw(trained, cut, dropped_tags(label, prompt, training.prompts), count_tokens(prompt))


def _taken_out(before: Sequence[str], row: Mapping[str, Any]) -> list[str]:
    left = {tag for name, tags in row.items() if name.startswith("tags_") for tag in tags or ()}
    return [tag for tag in dict.fromkeys(tag.lower() for tag in before) if tag not in left]


def crop_of(row: Mapping[str, Any], sizes: SizesConfig, max_upscale: float) -> Crop | None:
    """Where the picture is cut for the largest size that it gets; None when it gets none."""
    if not row["width"] or not row["height"]:
        return None
    source = Size(row["width"], row["height"])
    one = sizes.model_copy(update={"min_pictures": 0})  # that rule is of all pictures together
    placed = place(np.array([source]), np.ones(1, np.int64), one, max_upscale=max_upscale)
    targets = [Size(*each.targets[0].tolist()) for each in placed if len(each.which)]
    if not targets:
        return None
    geometry = fit(source, targets[-1], focus=(row.get("focus_x"), row.get("focus_y")))
    across, down = 100 / geometry.resized.width, 100 / geometry.resized.height
    return Crop(
        geometry.left * across, geometry.top * down,
        geometry.target.width * across, geometry.target.height * down, targets[-1].name,
    )  # fmt: skip


def _versions() -> list[tuple[str, str]]:
    packages = ("polars", "numpy", "pillow", "tokenizers", "jinja2")
    return [
        ("animetune", __version__),
        ("Python", platform.python_version()),
        *((name, metadata.version(name)) for name in packages),
    ]
