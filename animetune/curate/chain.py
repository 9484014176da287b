"""The chain of curation: every step in order, with the settings and the files that its outcome depends on."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, get_args

import pydantic

from animetune.curate import pictures, split, table
from animetune.curate.caption.step import captions_steps
from animetune.curate.caption.write import load_templates
from animetune.curate.classify import classes, content
from animetune.curate.closeups import tagging
from animetune.curate.closeups.chaining import closeups_step
from animetune.curate.closeups.crop_tags import CropTaggers
from animetune.curate.closeups.tagging import TagRules
from animetune.curate.config import CurateConfig
from animetune.curate.config.dedup import DedupConfig
from animetune.curate.config.filter_model import Phase
from animetune.curate.config.filters import Filter
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.config.tags import TABLE_FILES
from animetune.curate.marks.chaining import filters_sizes, letterboxes_steps, marked_tags_steps, marks_steps
from animetune.curate.read import ingest
from animetune.curate.recognize import tag_sources
from animetune.curate.recognize.recognition_steps import models_steps, tag_sources_steps
from animetune.curate.select import dedup, filters, lookalikes
from animetune.curate.select.lists import PostList
from animetune.curate.step_kinds import at_once, by_part
from animetune.curate.steps import Step
from animetune.curate.tag import tags
from animetune.curate.tag.tag_lists import Vocabulary
from animetune.curate.tag.tag_tables import TagTables
from animetune.curate.weigh.balancing import balance_steps


def chain(cfg: CurateConfig) -> list[Step]:
    """The steps in order, each with the settings that its outcome depends on."""
    files = ingest.find_files(cfg.sources)
    tars = ingest.find_tars(cfg.sources)
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
            functools.partial(ingest.ingest, files, tars=tars),
            settings=_plain(cfg.sources),
            inputs={f"{file.number:05d} {file.label}": file.digest for file in files}
            | {f"{number:05d} {place.label}": place.digest for number, place in enumerate(tars)},
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
        pictures_step(cfg.pictures, [] if filters_sizes(cfg.marks) else by_phase["picture"]),
        *letterboxes_steps(cfg.marks, by_phase["picture"]),
        *models_steps(cfg),
        *marks_steps(cfg.marks, cfg.pictures),
        *tag_sources_steps(cfg),
        *marked_tags_steps(cfg.marks),
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
        *lookalikes_steps(cfg, vocabulary),
        *closeups_steps(cfg, TagRules(cfg.tags, vocabulary, tag_tables), (takedown, include)),
        at_once(
            "classes",
            functools.partial(
                classes.classify,
                cfg=cfg.classes,
                class_filters=by_phase["classes"],
                closeups=cfg.closeups is not None,
            ),
            reads={
                *(classes.READS_WITH_CLOSEUPS if cfg.closeups else classes.READS),
                *filters.reads(by_phase["classes"], "classes", made=classes.WRITES),
            },
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
        *captions_steps(cfg),
        *(balance_steps(cfg, vocabulary) if cfg.captions is not None and cfg.captions.on_refused == "drop" else ()),
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


def check_settings(cfg: CurateConfig) -> None:
    """Raise ConfigError for mistakes that are told without posts, pictures and models: names and templates.

    DataError for a file of the vocabulary that is wrong.
    """
    vocabulary = Vocabulary.load(cfg.tags.vocabulary)
    tags.check(cfg.tags, vocabulary)
    if cfg.closeups is not None:
        tagging.check(cfg.closeups, vocabulary)
    tag_sources.check(cfg.models, cfg.tag_sources, [source.name for source in cfg.sources])
    if cfg.captions is not None:
        load_templates(cfg.captions)


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
        is_stale=pictures.found_since,
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
    settings = cfg.dedup.model_dump(mode="json", exclude={"family_limit", "lookalikes"})
    return [at_once("stated", work, reads=dedup.READS_BEFORE, writes=dedup.WRITES, settings=settings)]


def dedup_steps(cfg: DedupConfig) -> list[Step]:
    """The steps that drop duplicates and the surplus of families, with their tags put together if wished."""
    work = functools.partial(dedup.after_decoding, cfg=cfg)
    settings = [cfg.model_dump(mode="json", exclude={"lookalikes"})]
    if not cfg.union_tags:
        return [at_once("dedup", work, reads=dedup.READS_AFTER, writes=dedup.WRITES, settings=settings)]
    return [
        at_once("dedup", work, reads=dedup.READS_AFTER, writes=dedup.WRITES_WITH_UNION, settings=settings),
        by_part("twin_tags", dedup.collect_tags, reads=dedup.READS_TAGS, writes=()),
        by_part("unite_tags", dedup.unite_tags, reads=dedup.TAGS, writes=dedup.WRITES_TAGS, needs=[dedup.TWIN_TAGS]),
    ]


def closeups_steps(cfg: CurateConfig, rules: TagRules, lists: tuple[PostList, PostList]) -> list[Step]:
    """The step that adds close-ups, where some are asked for."""
    if cfg.closeups is None:
        return []
    sources = [source.name for source in cfg.sources]
    asks = cfg.closeups.tags == "tagger"
    taggers = CropTaggers.of(cfg.models, cfg.tag_sources, cfg.pictures) if asks else None
    return [closeups_step(cfg.closeups, cfg.pictures, sources, rules, lists, taggers)]


def lookalikes_steps(cfg: CurateConfig, vocabulary: Vocabulary) -> list[Step]:
    """The step that finds pictures that look alike, where it is asked for."""
    if cfg.dedup.lookalikes is None:
        return []
    work = functools.partial(lookalikes.find_lookalikes, cfg.dedup, cfg.pictures, vocabulary)
    settings = [cfg.dedup.model_dump(mode="json", include={"lookalikes", "best"}), lookalikes.LIKENESS_FORMAT]
    inputs = {"vocabulary": vocabulary.digest}
    return [Step("lookalikes", work, settings=[*settings, list(cfg.pictures.background)], inputs=inputs)]


def post_lists(cfg: CurateConfig) -> tuple[PostList, PostList]:
    """What the takedown lists and the include lists name. Raises DataError for a file that is wrong."""
    sources = [source.name for source in cfg.sources]
    return (
        PostList.read(cfg.lists.takedown, "lists: takedown", sources, artists=True),
        PostList.read(cfg.lists.include, "lists: include", sources, artists=False),
    )


def _plain(models: Sequence[pydantic.BaseModel]) -> list[Any]:
    """JSON values of models, for a digest."""
    return [model.model_dump(mode="json") for model in models]
