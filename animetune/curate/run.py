"""The stage `curate`: posts and pictures -> a curated table.

    animetune curate configs/curate.yaml

Every step is found or done in turn (`steps`), and the table's manifest is written last, in one atomic write: it names
the parts of the last step. Run again, it continues or does nothing.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pydantic

from animetune import config, fsio, tables
from animetune.curate import balance, classes, content, dedup, filters, ingest, pictures, split, table, tags
from animetune.curate.config import CurateConfig
from animetune.curate.config.filters import Filter
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.config.sources import PATH_FIELDS
from animetune.curate.posts import TAG_CLASSES
from animetune.curate.steps import (
    Published,
    Step,
    at_once,
    by_part,
    run_step,
    sorted_drops,
    sorted_quarantine,
)
from animetune.curate.tag_lists import Vocabulary
from animetune.errors import QuarantineLimitError
from animetune.executor import ExecutorConfig, build_executor
from animetune.manifest import MANIFEST_NAME, FileRecord, Manifest, check_place, record_files, write_manifest
from animetune.progress import track


def run(cfg: CurateConfig) -> Manifest:
    """Make the table that the configuration describes, or go on with it.

    Raises DataError for missing files, QuarantineLimitError when too much of the data cannot be used (after writing
    `dropped.parquet` and `quarantined.parquet`, so that it can be seen what), SetupError when another process works in
    the same folder or the disk is full, ConfigError when `out` holds the output of another stage.
    """
    check_place(cfg.out, tables.TABLE_KIND)
    with fsio.lock(cfg.out):
        fsio.sweep(cfg.out)
        executor = build_executor(cfg.executor)
        done: list[Published] = []
        for step in chain(cfg):
            with track(f"curate: {step.name}") as progress:
                done.append(run_step(step, cfg.out, done, executor, progress.reach))
                if progress.total is None:  # steps that do not work in chunks
                    progress.reach(done[-1].manifest.seen, done[-1].manifest.seen)
            check_quarantine(done, cfg)
        manifest = publish(done, cfg)
        if cfg.prune:
            prune(cfg.out, [step.folder.name for step in done])
    return manifest


def chain(cfg: CurateConfig) -> list[Step]:
    """The steps in order, each with the settings that its outcome depends on."""
    files = ingest.find_files(cfg.sources)
    vocabulary = Vocabulary.load(cfg.tags.vocabulary)
    lists = {"vocabulary": vocabulary.digest}
    by_phase = {
        phase: [item for item in cfg.filters if phase in filters.phases(item)]
        for phase in ("post", "picture", "classes")
    }
    return [
        Step(
            "ingest",
            functools.partial(ingest.ingest, files),
            settings=_plain(cfg.sources),
            inputs={f"{file.number:05d} {file.label}": file.digest for file in files},
        ),
        by_part(
            "filters",
            functools.partial(filters.apply, filters=by_phase["post"], phase="post"),
            reads=FILTER_READS,
            writes=(),
            settings=_plain(by_phase["post"]),
        ),
        pictures_step(cfg.pictures, by_phase["picture"]),
        by_part(
            "tags",
            functools.partial(tags.sort_tags, cfg=cfg.tags, vocabulary=vocabulary),
            reads=TAGS_READS,
            writes=TAGS_WRITES,
            settings=cfg.tags.size_tags,
            inputs=lists,
        ),
        at_once("dedup", dedup.keep_best, reads=DEDUP_READS, writes=("family",)),
        at_once(
            "classes",
            functools.partial(classes.classify, cfg=cfg.classes, class_filters=by_phase["classes"]),
            reads=classes.READS,
            writes=(*classes.WRITES, "style_class"),
            settings=_plain([cfg.classes, *by_phase["classes"]]),
        ),
        by_part(
            "content",
            functools.partial(content.assign, cfg=cfg.content, vocabulary=vocabulary),
            reads=content.READS,
            writes=content.WRITES,
            settings=_plain([cfg.content]),
            inputs=lists,
        ),
        at_once(
            "balance",
            functools.partial(balance.weigh, factors=cfg.balance, vocabulary=vocabulary),
            reads=("tags_general", "content_bucket"),
            writes=("repeats", "loss_weight"),
            settings=_plain(cfg.balance),
            inputs=lists,
        ),
        at_once(
            "split",
            functools.partial(split.hold_out, cfg=cfg.split, seed=cfg.seed),
            reads=split.READS,
            writes=split.WRITES,
            settings=[cfg.seed, *_plain([cfg.split])],
        ),
        by_part("table", table.whole_rows, reads=table.READS, writes=table.WRITES, numbered=False),
    ]


def pictures_step(cfg: PicturesConfig, size_filters: Sequence[Filter]) -> Step:
    """The step that looks at every picture, or takes what posts state."""
    settings = _plain([cfg, *size_filters])
    if not cfg.decode:
        return by_part(
            "pictures",
            functools.partial(pictures.as_stated, size_filters=size_filters),
            reads=pictures.READS,
            writes=pictures.WRITES,
            settings=settings,
        )
    return Step(
        "pictures",
        functools.partial(pictures.look_at_pictures, cfg, size_filters, ()),
        settings=settings,
        is_stale=functools.partial(pictures.found_since, cfg),
        keeps_chunks=True,
    )


_POST_TAGS = tuple(f"tags_{name}" for name in TAG_CLASSES)
FILTER_READS = ("rating", "score", "post_width", "post_height", "file_ext", "is_deleted", *_POST_TAGS)
TAGS_READS = ("width", "height", *_POST_TAGS)
TAGS_WRITES = ("tags_count", "tags_special", *_POST_TAGS)
DEDUP_READS = ("source", "id", "score", "pixel_md5", "family")


def check_quarantine(done: Sequence[Published], cfg: CurateConfig) -> None:
    """Raise QuarantineLimitError when the steps so far could not use a larger share of the posts than allowed."""
    seen = done[0].manifest.seen
    codes = _added(step.manifest.quarantined for step in done)
    unusable = sum(codes.values())
    if unusable <= cfg.quarantine_limit * seen:
        return
    manifest = cfg.out / MANIFEST_NAME
    if manifest.exists():  # of earlier settings: it would vouch for other files than those beside it
        fsio.remove(manifest)
    write_refusals(done, cfg.out)
    by_count = sorted(codes.items(), key=lambda item: (-item[1], item[0]))
    common = ", ".join(f"{code} {count}" for code, count in by_count)
    key, _, detail = pl.read_parquet(cfg.out / "quarantined.parquet").filter(pl.col("code") == by_count[0][0]).row(0)
    if detail == pictures.NO_CANDIDATE:
        detail = f"{detail}; {_where_pictures_are(key, cfg)}"
    raise QuarantineLimitError(
        f"{cfg.out}: {unusable} of {seen} posts cannot be used ({unusable / seen:.1%}; quarantine_limit is "
        f"{cfg.quarantine_limit:.1%}): {common}. For example {key or 'a record'}: {detail}. All are listed in "
        f"{cfg.out / 'quarantined.parquet'}; correct the data, or raise quarantine_limit"
    )


def _where_pictures_are(key: str, cfg: CurateConfig) -> str:
    """What the source of a post says of its pictures, and what is wrong with the placeholders."""
    source = next(source for source in cfg.sources if key.startswith(f"{source.name}/"))
    if not source.images:
        return f"the source {source.name} names no `images`: give their root and path"
    asked = " or ".join(images.path for images in source.images)
    keys = dict.fromkeys(f"{{{name}}}" for images in source.images for name in images.keys_of_posts)
    needed = f", and {', '.join(keys)} would have to be a key of the post: no other names than {PATH_FIELDS} are known"
    return f"the path of source {source.name} is {asked}{needed if keys else ''}"


def publish(done: Sequence[Published], cfg: CurateConfig) -> Manifest:
    """Write the refusals of all steps beside the table, and its manifest last."""
    last = done[-1]
    parts: dict[str, FileRecord] = {
        f"steps/{last.folder.name}/{name}": record
        for name, record in last.manifest.files.items()
        if name.startswith("part-")
    }
    manifest = Manifest(
        kind=tables.TABLE_KIND,
        format_version=tables.TABLE_FORMAT,
        config_digest=config.digest(
            cfg.model_copy(update={"out": Path(), "executor": ExecutorConfig(), "prune": False})
        ),
        inputs=done[0].manifest.inputs,
        seen=done[0].manifest.seen,
        kept=last.manifest.kept,
        dropped=_added(step.manifest.dropped for step in done),
        quarantined=_added(step.manifest.quarantined for step in done),
        facts=table_facts(done, cfg),
    )
    manifest.check_outcomes()
    names = write_refusals(done, cfg.out)
    files = dict(sorted((parts | record_files(cfg.out, names)).items()))
    return write_manifest(cfg.out, manifest.model_copy(update={"files": files}))


def write_refusals(done: Sequence[Published], out: Path) -> list[str]:
    """Write `dropped.parquet` and `quarantined.parquet` of all steps; returns their names."""
    refusals = {
        "dropped.parquet": sorted_drops(pl.concat([step.dropped() for step in done])),
        "quarantined.parquet": sorted_quarantine(pl.concat([step.quarantined() for step in done])),
    }
    for name, frame in refusals.items():
        with fsio.atomic_file(out / name) as temporary:
            tables.write_parquet(frame, temporary)
    return sorted(refusals)


def table_facts(done: Sequence[Published], cfg: CurateConfig) -> dict[str, Any]:
    """What the steps noted, and how pictures were decoded, for who decodes them again."""
    noted = {key: value for step in done for key, value in step.manifest.facts.items()}
    decoding = {
        "background": list(cfg.pictures.background),
        "max_pixels": cfg.pictures.max_pixels,
        "decoded": cfg.pictures.decode,
    }
    return noted | {"pictures": decoding}


def prune(out: Path, used: Sequence[str]) -> None:
    """Remove the steps and chunks that the table does not use."""
    for folder in sorted([*(out / "steps").glob("*"), *(out / "chunks").glob("*")]):
        if folder.name not in used:
            fsio.remove(folder)


def _added(counts: Any) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(sorted(total.items()))


def _plain(models: Sequence[pydantic.BaseModel]) -> list[Any]:
    """JSON values of models, for a digest."""
    return [model.model_dump(mode="json") for model in models]
