"""The steps about marks as links of the chain, with what their outcome depends on."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from animetune import fsio
from animetune.curate.config.filters import Filter
from animetune.curate.config.marks import MarksConfig
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.detections import digest
from animetune.curate.marks import letterboxes
from animetune.curate.marks.step import treat_marks
from animetune.curate.select import filters
from animetune.curate.step_kinds import by_part
from animetune.curate.steps import Step


def filters_sizes(cfg: MarksConfig | None) -> bool:
    """Whether filters on sizes run behind the borders, and not in the step `pictures`."""
    return cfg is not None and "crop" in cfg.letterbox


def letterboxes_steps(cfg: MarksConfig | None, size_filters: Sequence[Filter]) -> list[Step]:
    """The step behind `pictures`, where there is something to do."""
    if cfg is None:
        return []
    chosen = size_filters if filters_sizes(cfg) else ()
    return [
        by_part(
            "letterboxes",
            functools.partial(letterboxes.treat_borders, actions=cfg.letterbox, size_filters=chosen),
            reads={*letterboxes.READS, *filters.reads(chosen, "picture", made=letterboxes.WRITES)},
            writes=letterboxes.WRITES,
            settings=[list(cfg.letterbox), [item.model_dump(mode="json") for item in chosen]],
        )
    ]


def marks_steps(cfg: MarksConfig | None, decoding: PicturesConfig) -> list[Step]:
    """The step behind `models`, where a detector or a mask is asked for. Raises SetupError for a missing model."""
    if cfg is None or not (cfg.detectors or "mask" in cfg.letterbox):
        return []
    for each in cfg.detectors:
        each.detector.asset.locate()
    rules = [{label: mark.model_dump(mode="json") for label, mark in each.labels.items()} for each in cfg.detectors]
    return [
        Step(
            "marks",
            functools.partial(treat_marks, cfg, decoding),
            settings=[list(cfg.letterbox), rules, [list(decoding.background), decoding.max_pixels]],
            inputs={
                f"detector {number}": fsio.canonical_json(digest(each.detector))
                for number, each in enumerate(cfg.detectors)
            },
        )
    ]


def marked_tags_steps(cfg: MarksConfig | None) -> list[Step]:
    """The step behind `tag_sources`, where marks become tags."""
    tags = cfg is not None and (
        "tag" in cfg.letterbox or any(mark.tag for each in cfg.detectors for mark in each.labels.values())
    )
    reads = ("tags_general", letterboxes.TAGS)
    return [by_part("marked_tags", letterboxes.add_tags, reads=reads, writes=("tags_general",))] * bool(tags)
