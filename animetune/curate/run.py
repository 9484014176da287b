"""The stage `curate`: posts and pictures -> a curated table.

    animetune curate configs/curate.yaml

Every step is found or done in turn (`steps`), and the table's manifest is written last, in one atomic write: it names
the parts of the last step. Run again, it continues or does nothing.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pydantic

from animetune import config, fsio, tables
from animetune.curate import (
    classes,
    content,
    dedup,
    filters,
    homonyms,
    ingest,
    pictures,
    split,
    table,
    tags,
)
from animetune.curate.balancing import balance_steps
from animetune.curate.config import CurateConfig
from animetune.curate.config.dedup import DedupConfig
from animetune.curate.config.filter_model import Phase
from animetune.curate.config.filters import Filter
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.config.sources import PATH_FIELDS
from animetune.curate.config.tags import TABLE_FILES
from animetune.curate.lists import PostList
from animetune.curate.steps import (
    Published,
    Rows,
    Step,
    at_once,
    by_part,
    run_step,
    sorted_drops,
    sorted_quarantine,
)
from animetune.curate.tag_lists import Vocabulary
from animetune.curate.tag_tables import TagTables
from animetune.errors import DataError, QuarantineLimitError
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
    with fsio.lock(cfg.out), build_executor(cfg.executor) as executor:
        fsio.sweep(cfg.out)
        done: list[Published] = []
        for step in chain(cfg):
            with track(f"curate: {step.name}") as progress:
                done.append(run_step(step, cfg.out, done, executor, progress.reach))
                if progress.total is None:  # steps that do not work in chunks
                    progress.reach(done[-1].manifest.seen, done[-1].manifest.seen)
            check_quarantine(done, cfg)
            check_some_left(done, cfg)
        manifest = publish(done, cfg)
        if cfg.prune:
            prune(cfg.out, [step.folder.name for step in done])
    return manifest


def chain(cfg: CurateConfig) -> list[Step]:
    """The steps in order, each with the settings that its outcome depends on."""
    files = ingest.find_files(cfg.sources)
    vocabulary = Vocabulary.load(cfg.tags.vocabulary)
    lists = {"vocabulary": vocabulary.digest}
    tags.check(cfg.tags, vocabulary)
    tag_tables = TagTables.load(cfg.tags)
    takedown, include = post_lists(cfg)
    named = filters.with_files(cfg.filters)
    by_phase = {phase: [item for item in named if phase in filters.phases(item)] for phase in get_args(Phase)}
    return [
        Step(
            "ingest",
            functools.partial(ingest.ingest, files),
            settings=_plain(cfg.sources),
            inputs={f"{file.number:05d} {file.label}": file.digest for file in files},
        ),
        by_part(
            "filters",
            functools.partial(filters.filter_posts, filters=by_phase["post"], takedown=takedown, include=include),
            reads=filters.reads_of_posts(by_phase["post"], takedown, include),
            writes=filters.WRITES,
            settings=_plain(by_phase["post"]),
            inputs={"takedown": takedown.digest, "include": include.digest},
        ),
        *stated_duplicates_step(cfg),
        pictures_step(cfg.pictures, by_phase["picture"]),
        by_part(
            "tags",
            functools.partial(tags.sort_tags, cfg=cfg.tags, vocabulary=vocabulary, tables=tag_tables),
            reads=tags.READS,
            writes=tags.WRITES,
            coded=True,
            settings=cfg.tags.model_dump(mode="json", exclude={"vocabulary", *TABLE_FILES}),
            inputs={**lists, "tables": tag_tables.digest},
        ),
        *filters_step("tag_filters", by_phase["tags"], "tags"),
        *dedup_steps(cfg.dedup),
        at_once(
            "classes",
            functools.partial(classes.classify, cfg=cfg.classes, class_filters=by_phase["classes"]),
            reads={*classes.READS, *filters.reads(by_phase["classes"], "classes", made=classes.WRITES)},
            writes=classes.WRITES,
            settings=_plain([cfg.classes, *by_phase["classes"]]),
        ),
        by_part(
            "content",
            functools.partial(content.assign, cfg=cfg.content, vocabulary=vocabulary),
            reads=content.READS,
            writes=content.WRITES,
            coded=True,
            settings=_plain([cfg.content]),
            inputs=lists,
        ),
        *filters_step("content_filters", by_phase["content"], "content"),
        *balance_steps(cfg, vocabulary),
        by_part(
            "places",
            functools.partial(split.add_places, seed=cfg.seed),
            reads=split.READS_OF_PLACES,
            writes=split.WRITES_OF_PLACES,
            settings=cfg.seed,
        ),
        at_once(
            "split",
            functools.partial(split.hold_out, cfg=cfg.split),
            reads=split.READS,
            writes=split.WRITES,
            settings=_plain([cfg.split]),
        ),
        by_part("table", table.whole_rows, reads=table.READS, writes=table.WRITES, numbered=False),
    ]


def pictures_step(cfg: PicturesConfig, size_filters: Sequence[Filter]) -> Step:
    """The step that looks at every picture, or takes what posts state."""
    settings = _plain([cfg, *size_filters])
    reads = filters.reads(size_filters, "picture", made=pictures.WRITES)
    if not cfg.decode:
        return by_part(
            "pictures",
            functools.partial(pictures.as_stated, size_filters=size_filters),
            reads={*pictures.READS, *reads},
            writes=pictures.WRITES,
            settings=settings,
        )
    return Step(
        "pictures",
        functools.partial(pictures.look_at_pictures, cfg, size_filters, reads),
        settings=settings,
        is_stale=functools.partial(pictures.found_since, cfg),
        keeps_chunks=True,
    )


def filters_step(name: str, chosen: Sequence[Filter], phase: Phase) -> list[Step]:
    """A step of filters, where there are any."""
    work = functools.partial(filters.apply, filters=chosen, phase=phase)
    return [by_part(name, work, reads=filters.reads(chosen, phase), writes=(), settings=_plain(chosen))] * bool(chosen)


def stated_duplicates_step(cfg: CurateConfig) -> list[Step]:
    """The step that drops, by what posts state, what was taken down and what is there twice; where it has work."""
    stated = not cfg.dedup.union_tags and set(cfg.dedup.by) & set(dedup.STATED)
    if not stated and not cfg.lists.takedown:
        return []
    work = functools.partial(dedup.before_decoding, cfg=cfg.dedup)
    settings = cfg.dedup.model_dump(mode="json", exclude={"family_limit"})
    return [at_once("stated", work, reads=dedup.READS_BEFORE, writes=dedup.WRITES, settings=settings)]


def dedup_steps(cfg: DedupConfig) -> list[Step]:
    """The steps that drop duplicates and the surplus of families, with their tags put together if wished."""
    work = functools.partial(dedup.after_decoding, cfg=cfg)
    if not cfg.union_tags:
        return [at_once("dedup", work, reads=dedup.READS_AFTER, writes=dedup.WRITES, settings=_plain([cfg]))]
    return [
        at_once("dedup", work, reads=dedup.READS_AFTER, writes=dedup.WRITES_WITH_UNION, settings=_plain([cfg])),
        by_part("twin_tags", dedup.collect_tags, reads=dedup.READS_TAGS, writes=()),
        by_part("unite_tags", dedup.unite_tags, reads=dedup.TAGS, writes=dedup.WRITES_TAGS, needs=[dedup.TWIN_TAGS]),
    ]


def post_lists(cfg: CurateConfig) -> tuple[PostList, PostList]:
    """What the takedown lists and the include lists name. Raises DataError for a file that is wrong."""
    sources = [source.name for source in cfg.sources]
    return (
        PostList.read(cfg.lists.takedown, "lists: takedown", sources, artists=True),
        PostList.read(cfg.lists.include, "lists: include", sources, artists=False),
    )


def check_quarantine(done: Sequence[Published], cfg: CurateConfig) -> None:
    """Raise QuarantineLimitError when the steps so far could not use a larger share of the posts than allowed."""
    seen = done[0].manifest.seen
    codes = _added(step.manifest.quarantined for step in done)
    unusable = sum(codes.values())
    if unusable <= cfg.quarantine_limit * seen:
        return
    _refuse(done, cfg.out)
    by_count = _by_count(codes)
    common = ", ".join(f"{code} {count}" for code, count in by_count)
    key, _, detail = pl.read_parquet(cfg.out / "quarantined.parquet").filter(pl.col("code") == by_count[0][0]).row(0)
    if detail == pictures.NO_CANDIDATE:
        detail = f"{detail}; {_where_pictures_are(key, cfg)}"
    raise QuarantineLimitError(
        f"{cfg.out}: {unusable} of {seen} posts cannot be used ({unusable / seen:.1%}; quarantine_limit is "
        f"{cfg.quarantine_limit:.1%}): {common}. For example {key or 'a record'}: {detail}. All are listed in "
        f"{cfg.out / 'quarantined.parquet'}; correct the data, or raise quarantine_limit"
    )


def check_some_left(done: Sequence[Published], cfg: CurateConfig) -> None:
    """Raise DataError when the last step dropped all rows that were left, with the reasons of all steps."""
    last = done[-1].manifest
    if last.kept or not last.dropped:
        return
    _refuse(done, cfg.out)
    reasons = _by_count(_added(step.manifest.dropped for step in done))
    common = ", ".join(f"{reason} {count}" for reason, count in reasons)
    worst = max(last.dropped, key=lambda reason: last.dropped[reason])
    raise DataError(
        f"{cfg.out}: nothing is left of {done[0].manifest.seen} posts; dropped: {common}. The last of them were "
        f"dropped as {worst}: loosen that in the configuration, or see whether these are the data that it is meant "
        f"for. All are listed in {cfg.out / 'dropped.parquet'}"
    )


def _refuse(done: Sequence[Published], out: Path) -> None:
    """Write what was refused so far, and withdraw the table."""
    manifest = out / MANIFEST_NAME
    if manifest.exists():  # of earlier settings: it would vouch for other files than those beside it
        fsio.remove(manifest)
    write_refusals(done, out)


def _by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The largest first, then by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


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
    alike = homonyms.homonyms(Rows.after(done).table("tag_uses"))
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
        facts=table_facts(done, cfg) | {"homonyms": homonyms.texts(alike)},
    )
    manifest.check_outcomes()
    with fsio.atomic_file(cfg.out / homonyms.FILE) as temporary:
        alike.write_csv(temporary)
    names = [*write_refusals(done, cfg.out), homonyms.FILE]
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
