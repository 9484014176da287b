"""The step `closeups` as a link of the chain, with what its outcome depends on."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from animetune import fsio
from animetune.curate.closeups import tagging
from animetune.curate.closeups.boxes import BoxFiles
from animetune.curate.closeups.crop_tags import CropTaggers
from animetune.curate.closeups.finding import Finder
from animetune.curate.closeups.step import Plan, add_closeups
from animetune.curate.config.closeups import LABELS, CloseupsConfig
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.detections import digest
from animetune.curate.select.lists import PostList
from animetune.curate.steps import Step


def closeups_step(
    cfg: CloseupsConfig,
    decoding: PicturesConfig,
    sources: Sequence[str],
    rules: tagging.TagRules,
    lists: tuple[PostList, PostList],
    taggers: CropTaggers | None,
) -> Step:
    """The step; `lists` are what is taken down and what is included, `taggers` look at close-ups where asked.

    Raises ConfigError for classes that there are not, DataError for a file of boxes that is wrong, SetupError for a
    model that is not there.
    """
    tagging.check(cfg, rules.vocabulary)
    for detector in cfg.detectors:
        detector.asset.locate()
    files = BoxFiles.read(cfg.boxes, sources)
    takedown, include = lists
    labels = {label: cfg.of_label(label).model_dump(mode="json") for label in sorted({*LABELS, *cfg.labels})}
    return Step(
        "closeups",
        functools.partial(add_closeups, Plan(Finder(cfg, files, decoding), rules, takedown, include, taggers)),
        settings=[
            cfg.model_dump(mode="json", exclude={"boxes", "detectors", "labels"}),
            labels,
            rules.cfg.model_dump(mode="json", exclude={"vocabulary"}),
            [list(decoding.background), decoding.max_pixels],
            None if taggers is None else taggers.settings,
        ],
        inputs={
            "boxes": files.digest,
            "detectors": fsio.canonical_json([digest(detector) for detector in cfg.detectors]),
            "vocabulary": rules.vocabulary.digest,
            "tables": rules.tables.digest,
            "takedown": takedown.digest,
            "include": include.digest,
        },
    )
