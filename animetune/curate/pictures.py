"""The step `pictures`: every picture is read and decoded once, completely, in worker processes.

Adds the true size and format (`records.PICTURE_COLUMNS`), `image` and `mask` (the first of the candidates that is
there) and `pixel_md5`, by which `dedup` knows equal pictures. A picture that cannot be used is quarantined under its
code of `pictures.PICTURE_CODES`, or under `md5_mismatch`. A mask may be missing; whether it can be used is seen when it
is cut with its picture, by `shard`.

With `decode: false` none of this happens: what posts state is taken (`as_stated`).

Pictures are taken not to change: what was found in one is kept (`answers`). Those that were missing are looked for
again each time, and so are masks (`found_since`).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from animetune import tables
from animetune.curate.answers import QUESTION, Inquiry, ask, question_of
from animetune.curate.config.filters import Filter
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.parts import ROW, Part, part_name, write_part
from animetune.curate.select import filters
from animetune.curate.steps import Outcome, Workplace, Written, added
from animetune.errors import DataError, PictureError
from animetune.pictures import Picture, decode, read_image
from animetune.records import PICTURE_COLUMNS

PICTURES_FORMAT = 1
"""Of the answers; another one has every picture decoded again."""
CHUNK_ROWS = 256
MISSING = "image_missing"
NO_SIZE = "no_size"
NO_CANDIDATE = "the post lacks what the path of `images` needs"
"""Detail of a picture that is missing because nothing says where it would be."""

_FOUND: dict[str, pl.DataType] = {
    "image": pl.String(),
    **tables.schema(PICTURE_COLUMNS),
    "pixel_md5": pl.String(),
    "is_original": pl.Boolean(),
}
"""What is found in a picture."""
_REFUSED: dict[str, pl.DataType] = {"code": pl.String(), "detail": pl.String()}

READS = ("source", "md5", "post_width", "post_height", "post_bytes", "image_candidates", "mask_candidates")
WRITES = ("image", "mask", *(column.name for column in PICTURE_COLUMNS), "pixel_md5")


def look_at_pictures(
    cfg: PicturesConfig, size_filters: Sequence[Filter], reads: Sequence[str], at: Workplace, folder: Path
) -> Written:
    """Decode the pictures of all rows, and drop those whose true size a filter drops; `reads` is what filters look at.

    Raises DataError when a source says where masks are, and none is there.
    """
    settings = {**cfg.model_dump(mode="json", exclude={"decode"}), "format": PICTURES_FORMAT}
    pictures = Inquiry(
        "pictures",
        settings,
        functools.partial(look_at_all, cfg=cfg),
        {**_FOUND, **_REFUSED},
        at_a_time=CHUNK_ROWS,
    )
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


def questions_of_pictures(part: Part) -> pl.DataFrame:
    """key, question, md5, image_candidates of all rows of a part."""
    rows = part.read(("key", "md5", "image_candidates"))
    numbers = [question_of(candidates, md5) for _, _, md5, candidates in rows.iter_rows()]
    return rows.select("key", pl.Series(QUESTION, numbers, pl.UInt64()), "md5", "image_candidates")


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


def _facts(rows: pl.DataFrame) -> dict[str, int]:
    of_other_size = (pl.col("width") != pl.col("post_width")) | (pl.col("height") != pl.col("post_height"))
    return {
        "size_mismatches": int(rows.select(of_other_size.sum()).item()),
        "md5_mismatches": int((~rows["is_original"]).sum()),
        "masks": rows["mask"].count(),
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


def look_at_all(questions: pl.DataFrame, cfg: PicturesConfig) -> pl.DataFrame:
    """In a worker process: what is found in pictures, or why they are refused; those that are missing are left out."""
    answers: list[dict[str, Any]] = []
    for number, md5, candidates in questions.select(QUESTION, "md5", "image_candidates").iter_rows():
        try:
            answers.append({QUESTION: number, **look_at(candidates, md5, cfg)})
        except PictureError as error:
            if error.code != MISSING:
                answers.append({QUESTION: number, "code": error.code, "detail": error.detail})
    return tables.frame(answers, {QUESTION: pl.UInt64(), **_FOUND, **_REFUSED})


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


def look_at(candidates: Sequence[str], md5: str | None, cfg: PicturesConfig) -> dict[str, Any]:
    """The columns of one picture, from the first of the candidates that is there. Raises PictureError."""
    url, data = read_first(candidates)
    is_original = md5 is None or hashlib.md5(data, usedforsecurity=False).hexdigest() == md5
    if cfg.check_md5 and not is_original:
        raise PictureError("md5_mismatch", f"{url}: the post states {md5}")
    try:
        picture = decode(data, background=cfg.background, max_pixels=cfg.max_pixels)
    except PictureError as error:
        raise PictureError(error.code, f"{url}: {error.detail}".removesuffix(": ")) from error
    return {
        "image": url,
        "width": picture.image.width,
        "height": picture.image.height,
        "image_format": picture.format,
        "image_bytes": len(data),
        "had_alpha": picture.had_alpha,
        "focus_x": None,  # nothing looks for one yet
        "focus_y": None,
        "pixel_md5": pixel_md5(picture),
        "is_original": is_original,
    }


def read_first(candidates: Sequence[str]) -> tuple[str, bytes]:
    """(url, bytes) of the first candidate that is there. Raises PictureError."""
    for url in candidates:
        try:
            return url, read_image(url)
        except PictureError as error:
            if error.code != MISSING:
                raise
    raise PictureError(MISSING, ", ".join(candidates) or NO_CANDIDATE)


def pixel_md5(picture: Picture) -> str:
    """MD5 of size and RGB bytes: equal for equal pictures, however they are encoded."""
    digest = hashlib.md5(f"{picture.image.width}x{picture.image.height}".encode(), usedforsecurity=False)
    digest.update(picture.image.tobytes())
    return digest.hexdigest()


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
