"""The stage `curate`: posts and pictures -> a curated table.

    animetune curate configs/curate.yaml

Every step is found or done in turn (`steps`), and the table's manifest is written last, in one atomic write: it names
the parts of the last step. Run again, it continues or does nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from animetune import config, fsio, tables
from animetune.curate import pictures
from animetune.curate.caption.costs import costs
from animetune.curate.chain import chain
from animetune.curate.classify.content import UNASSIGNED
from animetune.curate.config import CurateConfig
from animetune.curate.config.sources import PATH_FIELDS, TarsConfig, keys_of_posts
from animetune.curate.steps import Published, Rows, rows_seen, run_step, sorted_drops, sorted_quarantine
from animetune.curate.tag import homonyms
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
                done.append(run_step(step, cfg.out, done, executor, progress.reach, cfg.answers))
                if progress.total is None:  # steps that do not work in chunks
                    progress.reach(done[-1].manifest.seen, done[-1].manifest.seen)
            check_quarantine(done, cfg)
            check_some_left(done, cfg)
        manifest = publish(done, cfg)
        if cfg.prune:
            prune(cfg.out, [step.folder.name for step in done])
    return manifest


def check_quarantine(done: Sequence[Published], cfg: CurateConfig) -> None:
    """Raise QuarantineLimitError when the steps so far could not use a larger share of the posts than allowed."""
    seen = rows_seen(done)
    codes = _added(step.manifest.quarantined for step in done)
    unusable = sum(codes.values())
    if unusable <= cfg.quarantine_limit * seen:
        return
    _refuse(done, cfg.out)
    by_count = _by_count(codes)
    common = ", ".join(f"{code} {count}" for code, count in by_count)
    key, _, detail = pl.read_parquet(cfg.out / "quarantined.parquet").filter(pl.col("code") == by_count[0][0]).row(0)
    if by_count[0][0] == pictures.MISSING:
        detail = f"{detail}; {_where_pictures_are(key, detail, cfg)}"
    raise QuarantineLimitError(
        f"{cfg.out}: {unusable} of {seen} posts cannot be used ({unusable / seen:.1%}; quarantine_limit is "
        f"{cfg.quarantine_limit:.1%}): {common}. For example {key or 'a record'}: {detail}. All are listed in "
        f"{cfg.out / 'quarantined.parquet'}; correct the data, or raise quarantine_limit"
    )


def check_some_left(done: Sequence[Published], cfg: CurateConfig) -> None:
    """Raise DataError when nothing was read, or the last step dropped all that was left, with the reasons of all."""
    last = done[-1].manifest
    if last.kept:
        return
    _refuse(done, cfg.out)
    seen = done[0].manifest.seen
    if not seen:
        asked = "; ".join(f"{source.name}: {', '.join(source.posts)}" for source in cfg.sources)
        raise DataError(f"sources: no post was read ({asked}): the files and folders of `posts` are empty; name others")
    codes = _by_count(_added(step.manifest.quarantined for step in done))
    unusable = ", ".join(f"{code} {count}" for code, count in codes)
    if not last.dropped:
        raise DataError(
            f"{cfg.out}: nothing is left of {seen} posts; not usable: {unusable}. All are listed in "
            f"{cfg.out / 'quarantined.parquet'}; correct the data"
        )
    reasons = _by_count(_added(step.manifest.dropped for step in done))
    common = ", ".join(f"{reason} {count}" for reason, count in reasons)
    common += f"; not usable: {unusable}" if unusable else ""
    worst = max(last.dropped, key=lambda reason: last.dropped[reason])
    remedy = "loosen that in the configuration" if worst != UNASSIGNED else "name a bucket for them in content.fallback"
    raise DataError(
        f"{cfg.out}: nothing is left of {seen} posts; dropped: {common}. The last of them were "
        f"dropped as {worst}: {remedy}, or see whether these are the data that it is meant for. "
        f"All are listed in {cfg.out / 'dropped.parquet'}"
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


def _where_pictures_are(key: str, detail: str, cfg: CurateConfig) -> str:
    """What the source of a post says of its pictures, and what is wrong with it where that can be told."""
    source = next(source for source in cfg.sources if key.startswith(f"{source.name}/"))
    if detail != pictures.NO_CANDIDATE:
        places = " or ".join(images.shown for images in source.images)
        given = f"`images` of source {source.name} is {places}" if places else f"source {source.name} names no `images`"
        return f"there is no such file; {given}"
    if not source.images:
        return f"the source {source.name} names no `images`: give their root and path"
    tars = [images.shown for images in source.images if isinstance(images, TarsConfig)]
    if tars:
        return f"the source {source.name} has no member {' or '.join(tars)}, or several that may be meant"
    asked = " or ".join(images.path for images in source.images)
    keys = dict.fromkeys(f"{{{name}}}" for images in source.images for name in keys_of_posts(images))
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
    decided = cfg.model_copy(
        update={
            "out": Path(),
            "answers": None,
            "executor": ExecutorConfig(),
            "prune": False,
            "captions": cfg.captions and cfg.captions.without_handling(),
        }
    )
    manifest = Manifest(
        kind=tables.TABLE_KIND,
        format_version=tables.TABLE_FORMAT,
        config_digest=config.digest(decided),
        inputs=done[0].manifest.inputs,
        seen=rows_seen(done),
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
    fsio.atomic_write(cfg.out / config.RESOLVED_NAME, config.to_yaml(decided))
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
        "animated": cfg.pictures.animated,
        "decoded": cfg.pictures.decode,
    }
    if cfg.captions is not None:
        noted["captions"] = noted["captions"] | costs(cfg.captions, noted["captions"])
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
