"""The step `pictures`: every picture is read and decoded once, completely, in worker processes.

Adds the true size and format (`records.PICTURE_COLUMNS`), `image` and `mask` (the first of the candidates that is
there), `pixel_digest`, by which `dedup` knows equal pictures, `dhash`, by which similar ones are looked for
(`probe.difference_hash`), and `content_left`, `content_top`, `content_width`, `content_height`: the picture without its
uniform borders (`borders.content_box`), with a `content_digest` and `content_dhash` of its own; null where it has none.
Files are not trusted: a child of the worker reads and decodes them (`looking`). A picture that cannot be used is
quarantined under its code of `pictures.PICTURE_CODES`, or under `md5_mismatch`. A mask may be missing; whether it can
be used is seen when it is cut with its picture, by `shard`.

With `decode: false` none of this happens: what posts state is taken (`as_stated`).

Pictures are taken not to change: what was found in one is kept (`answers`). Those that were missing are looked for
again each time, and so are masks (`found_since`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from animetune import fsio, tables
from animetune.borders import ContentBox
from animetune.curate.answers import QUESTION, Inquiry, ask, known_answers, question_of
from animetune.curate.config.filters import Filter
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.looking import Found, Probe, look_at_each
from animetune.curate.parts import ROW, Part, part_name, write_part
from animetune.curate.probe import MISSING as MISSING
from animetune.curate.probe import NO_CANDIDATE as NO_CANDIDATE
from animetune.curate.probe import OF_CONTENT, Question, look_at
from animetune.curate.select import filters
from animetune.curate.steps import Outcome, Workplace, Written, added, counted
from animetune.errors import DataError, PictureError
from animetune.records import PICTURE_COLUMNS

PICTURES_FORMAT = 3
"""Of the answers; another one has every picture decoded again."""
CHUNK_ROWS = 256
NO_SIZE = "no_size"
PROBE = look_at
"""What the child of a worker does with each picture; tests put worse in its place."""
LIMITS = ("seconds", "memory")
LIMITED = ("timeout", "out_of_memory", "decoder_crash")
"""Codes that other limits may change: with others, these pictures are looked at again, and no others."""

_FOUND: dict[str, pl.DataType] = {
    "image": pl.String(),
    **tables.schema(PICTURE_COLUMNS),
    "pixel_digest": pl.String(),
    "dhash": pl.Binary(),
    "content_digest": pl.String(),
    "content_dhash": pl.Binary(),
    **{f"content_{name}": pl.Int32() for name in ContentBox._fields},
    "pixel_mode": pl.String(),
    "colour_profile": pl.String(),
    "rotated": pl.Boolean(),
    "is_original": pl.Boolean(),
}
"""What is found in a picture."""
# `limits` are those that a picture did not keep to; null for others.
_REFUSED: dict[str, pl.DataType] = {"code": pl.String(), "detail": pl.String(), "limits": pl.String()}

READS = ("source", "md5", "post_width", "post_height", "post_bytes", "image_candidates", "mask_candidates")
FOUND_BY_STEPS = ("pixel_digest", "dhash", *OF_CONTENT, *(f"content_{name}" for name in ContentBox._fields))
WRITES = ("image", "mask", *(column.name for column in PICTURE_COLUMNS), *FOUND_BY_STEPS)


def look_at_pictures(
    cfg: PicturesConfig, size_filters: Sequence[Filter], reads: Sequence[str], at: Workplace, folder: Path
) -> Written:
    """Decode the pictures of all rows, and drop those whose true size a filter drops; `reads` is what filters look at.

    Raises DataError when a source says where masks are, and none is there.
    """
    settings = {**cfg.model_dump(mode="json", exclude={"decode", *LIMITS}), "format": PICTURES_FORMAT}
    pictures = Inquiry(
        "pictures",
        settings,
        functools.partial(look_at_all, cfg=cfg, probe=PROBE),
        {**_FOUND, **_REFUSED},
        at_a_time=CHUNK_ROWS,
    )
    questions_of_pictures = functools.partial(_questions_of_pictures, inquiry=pictures, limits=_limits(cfg), at=at)
    masks = Inquiry("masks", {"format": PICTURES_FORMAT}, find_masks, {"mask": pl.String()}, at_a_time=4096)
    outcomes, with_masks = [], []
    found = zip(ask(pictures, questions_of_pictures, at), ask(masks, questions_of_masks, at), strict=True)
    for index, ((part, looked), (_, places)) in enumerate(found):
        rows = part.read(("key", *READS, *reads))
        for answers in (looked, places):
            rows = rows.join(answers, on="key", how="left", maintain_order="left")
        used, refused = rows.filter(pl.col("width").is_not_null()), rows.filter(pl.col("width").is_null())
        with_masks.append(
            used.select("source", "mask", "mask_candidates").filter(pl.col("mask_candidates").list.len() > 0)
        )
        outcome = filters.apply(used, size_filters, "picture")
        write_part(outcome.kept, WRITES, folder / part_name(index))
        outcomes.append((outcome.kept.height, outcome.dropped, _quarantined(refused), _facts(used)))
    _check_masks(pl.concat(with_masks))
    kept, dropped, quarantined, facts = zip(*outcomes, strict=True)
    return Written(sum(kept), pl.concat(dropped), pl.concat(quarantined), added(facts), at.rows.kept)


def _questions_of_pictures(part: Part, inquiry: Inquiry, limits: str, at: Workplace) -> pl.DataFrame:
    """key, question, md5, image_candidates of all rows of a part.

    A picture that other limits refused is another question with these.
    """
    rows = part.read(("key", "md5", "image_candidates"))
    numbers = [question_of(candidates, md5) for _, _, md5, candidates in rows.iter_rows()]
    rows = rows.select("key", pl.Series(QUESTION, numbers, pl.UInt64()), "md5", "image_candidates")
    known = known_answers(inquiry, inquiry.folder(at.answers), rows[QUESTION])
    refused = set(known.filter(pl.col("limits") != limits)[QUESTION])
    if not refused:
        return rows
    again = [question_of(number, limits) if number in refused else number for number in numbers]
    return rows.with_columns(pl.Series(QUESTION, again, pl.UInt64()))


def _limits(cfg: PicturesConfig) -> str:
    return fsio.canonical_json(cfg.model_dump(mode="json", include=set(LIMITS)))


def questions_of_masks(part: Part) -> pl.DataFrame:
    """key, question, mask_candidates of the rows of a part that have any."""
    rows = part.read(("key", "mask_candidates")).filter(pl.col("mask_candidates").list.len() > 0)
    numbers = [question_of(candidates) for candidates in rows["mask_candidates"].to_list()]
    return rows.select("key", pl.Series(QUESTION, numbers, pl.UInt64()), "mask_candidates")


def as_stated(rows: pl.DataFrame, size_filters: Sequence[Filter]) -> Outcome:
    """What posts state of their pictures, without looking at any: the first candidates, and the stated sizes.

    Rows whose post states no size are quarantined. What only the file or its pixels would tell is null, and so is the
    mask, which may not be there.
    """
    stated = {
        "image": pl.col("image_candidates").list.first(),
        "width": pl.col("post_width"),
        "height": pl.col("post_height"),
        "image_bytes": pl.col("post_bytes"),
    }
    unknown = {
        name: pl.lit(None, dtype=dtype) for name, dtype in {**_FOUND, "mask": pl.String()}.items() if name not in stated
    }
    rows = rows.with_columns(**stated, **unknown)
    has_size = pl.col("width").is_not_null() & pl.col("height").is_not_null()
    outcome = filters.apply(rows.filter(has_size), size_filters, "picture")
    detail = "the post states no width and height; with `pictures.decode: true` the picture would tell"
    refused = rows.filter(~has_size).select("key", code=pl.lit(NO_SIZE), detail=pl.lit(detail))
    return Outcome(outcome.kept, outcome.dropped, refused)


def _facts(rows: pl.DataFrame) -> dict[str, Any]:
    of_other_size = (pl.col("width") != pl.col("post_width")) | (pl.col("height") != pl.col("post_height"))
    return {
        "size_mismatches": int(rows.select(of_other_size.sum()).item()),
        "md5_mismatches": int((~rows["is_original"]).sum()),
        "masks": rows["mask"].count(),
        "picture_formats": counted(rows["image_format"]),
        "pixel_modes": counted(rows["pixel_mode"]),
        "colour_profiles": counted(rows["colour_profile"]),
        "rotated": int(rows["rotated"].sum()),
        "with_alpha": int(rows["had_alpha"].sum()),
        "with_borders": rows["content_width"].count(),
    }


def found_since(at: Workplace, folder: Path) -> bool:
    """Whether a picture or mask that was missing when the step was published in `folder` is there now."""
    refused = pl.read_parquet(folder / "quarantined.parquet", glob=False).filter(pl.col("code") == MISSING)
    missing = refused.select("key")
    for index, part in enumerate(at.rows.parts):
        rows = part.read(("key", "image_candidates", "mask_candidates"))
        if any(map(_is_there, rows.join(missing, on="key", how="semi")["image_candidates"].explode().drop_nulls())):
            return True
        without = pl.scan_parquet(folder / part_name(index), glob=False).filter(pl.col("mask").is_null())
        rows = rows.join(without.select(ROW).collect(), on=ROW, how="semi")
        if any(map(_is_there, rows["mask_candidates"].explode().drop_nulls())):
            return True
    return False


def look_at_all(questions: pl.DataFrame, cfg: PicturesConfig, probe: Probe) -> pl.DataFrame:
    """In a worker process: what is found in pictures, or why they are refused; those that are missing are left out."""
    numbers = questions[QUESTION].to_list()
    asked = questions.select("md5", "image_candidates").iter_rows()
    pictures = [
        Question(candidates, md5, cfg.background, cfg.max_pixels, cfg.animated == "first_frame", cfg.check_md5)
        for md5, candidates in asked
    ]
    found = look_at_each(pictures, probe, seconds=cfg.seconds, memory_bytes=cfg.memory)
    answers = [{QUESTION: number, **_answer(each, cfg)} for number, each in zip(numbers, found, strict=True)]
    kept = [answer for answer in answers if answer.get("code") != MISSING]
    return tables.frame(kept, {QUESTION: pl.UInt64(), **_FOUND, **_REFUSED})


def _answer(found: Found, cfg: PicturesConfig) -> Mapping[str, Any]:
    if not isinstance(found, PictureError):
        return found
    limits = _limits(cfg) if found.code in LIMITED else None
    return {"code": found.code, "detail": found.detail, "limits": limits}


def find_masks(questions: pl.DataFrame) -> pl.DataFrame:
    """In a worker process: the first of the candidates that is there; those of which none is are left out."""
    rows = questions.select(QUESTION, "mask_candidates").iter_rows()
    found = [{QUESTION: number, "mask": next(filter(_is_there, candidates), None)} for number, candidates in rows]
    answers = [answer for answer in found if answer["mask"] is not None]
    return tables.frame(answers, {QUESTION: pl.UInt64(), "mask": pl.String()})


def _quarantined(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of pictures that cannot be used, by their code; those without an answer are missing."""
    looked_for = pl.when(pl.col("image_candidates").list.len() > 0).then(pl.col("image_candidates").list.join(", "))
    return rows.select(
        "key",
        code=pl.col("code").fill_null(MISSING),
        detail=pl.when(pl.col("code").is_null()).then(looked_for.otherwise(pl.lit(NO_CANDIDATE))).otherwise("detail"),
    )


def _check_masks(rows: pl.DataFrame) -> None:
    """Of rows with candidates: a mask may be missing, but a place where no picture of a source has one is wrong."""
    found = (
        rows.group_by("source", maintain_order=True)
        .agg(pl.col("mask").count(), pl.col("mask_candidates").first())
        .sort("source")
    )
    for source, masks, candidates in found.iter_rows():
        if not masks:
            raise DataError(
                f"sources: {source}: masks: no picture has one; looked for {', '.join(candidates)} and the like; "
                "correct the root and path, or leave masks out"
            )


def _is_there(url: str) -> bool:
    if "://" not in url:
        return Path(url).is_file()
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(url)
    return bool(filesystem.isfile(path))
