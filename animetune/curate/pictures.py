"""The step `pictures`: every picture is read and decoded once, completely, in worker processes.

Adds the true size and format (`records.PICTURE_COLUMNS`), `image` and `mask` (the first of the candidates that is
there) and `pixel_md5`, by which `dedup` knows equal pictures. A picture that cannot be used is quarantined under its
code of `pictures.PICTURE_CODES`, or under `md5_mismatch`. A mask may be missing; whether it can be used is seen when it
is cut with its picture, by `shard`.

With `decode: false` none of this happens: what posts state is taken (`as_stated`).

Pictures are taken not to change: the step is not run again when one does. Those that were missing are looked for again
each time, and so are masks (`found_since`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from animetune import fsio, tables
from animetune.curate.config.filters import Filter
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.parts import Part, part_name, write_part
from animetune.curate.select import filters
from animetune.curate.steps import Outcome, Workplace, Written, added
from animetune.errors import DataError, PictureError
from animetune.executor import Chunk
from animetune.manifest import Manifest, has_manifest, read_manifest
from animetune.pictures import Picture, decode, read_image
from animetune.records import PICTURE_COLUMNS

CHUNK_ROWS = 256
MISSING = "image_missing"
NO_SIZE = "no_size"
NO_CANDIDATE = "the post lacks what the path of `images` needs"
"""Detail of a picture that is missing because nothing says where it would be."""

_SCHEMA: dict[str, pl.DataType] = {
    "key": pl.String(),
    "image": pl.String(),
    "mask": pl.String(),
    **tables.schema(PICTURE_COLUMNS),
    "pixel_md5": pl.String(),
    "is_original": pl.Boolean(),
}


READS = ("source", "md5", "post_width", "post_height", "post_bytes", "image_candidates", "mask_candidates")
WRITES = ("image", "mask", *(column.name for column in PICTURE_COLUMNS), "pixel_md5")

_LOOKED_AT = ("key", "md5", "image_candidates", "mask_candidates")


@dataclass(frozen=True, slots=True)
class Slice:
    """A chunk: the rows of a part that are numbered `first` to `last`, both included."""

    part: Part
    first: int
    last: int
    cfg: PicturesConfig

    def rows(self) -> pl.DataFrame:
        """key, md5, image_candidates, mask_candidates"""
        return self.part.read(_LOOKED_AT, between=(self.first, self.last)).select(_LOOKED_AT)


def look_at_pictures(
    cfg: PicturesConfig, size_filters: Sequence[Filter], reads: Sequence[str], at: Workplace, folder: Path
) -> Written:
    """Decode the pictures of all rows, and drop those whose true size a filter drops; `reads` is what filters look at.

    Raises DataError when a source says where masks are, and none is there.
    """
    found_since(cfg, at)
    chunks = chunks_of(cfg, at)
    at.executor.run(decode_chunk, chunks, at.chunks, progress=at.progress)
    by_part: dict[Part, list[Path]] = {part: [] for part in at.rows.parts}
    for chunk in chunks:
        by_part[chunk.payload.part].append(at.chunks / chunk.name)

    outcomes, masks = [], []
    for index, (part, folders) in enumerate(by_part.items()):
        pictures = tables.scan_parts([each / "rows.parquet" for each in folders], _SCHEMA).collect()
        refused = tables.scan_parts([each / "quarantined.parquet" for each in folders], tables.QUARANTINED_SCHEMA)
        rows = part.read(("key", *READS, *reads)).join(pictures, on="key", how="inner", maintain_order="left")
        masks.append(rows.select("source", "mask", "mask_candidates").filter(pl.col("mask_candidates").list.len() > 0))
        outcome = filters.apply(rows, size_filters, "picture")
        write_part(outcome.kept, WRITES, folder / part_name(index))
        outcomes.append((outcome.kept.height, outcome.dropped, refused.collect(), _facts(rows)))
    _check_masks(pl.concat(masks))
    kept, dropped, quarantined, facts = zip(*outcomes, strict=True)
    return Written(sum(kept), pl.concat(dropped), pl.concat(quarantined), added(facts), at.rows.kept)


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
    unknown = {name: pl.lit(None, dtype=dtype) for name, dtype in _SCHEMA.items() if name not in ("key", *stated)}
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


def found_since(cfg: PicturesConfig, at: Workplace) -> bool:
    """Whether a picture or mask that was missing is there now; chunks of such are removed, to be done again."""
    found = False
    for chunk in chunks_of(cfg, at):
        folder = at.chunks / chunk.name
        if has_manifest(folder) and any(map(_is_there, _not_found(chunk.payload, folder))):
            fsio.remove(folder)
            found = True
    return found


def _not_found(part: Slice, folder: Path) -> Iterator[str]:
    """Where a chunk that was done has looked for pictures and masks in vain."""
    manifest = read_manifest(folder)
    if MISSING in manifest.quarantined:
        refused = pl.read_parquet(folder / "quarantined.parquet").filter(pl.col("code") == MISSING)
        yield from part.rows().join(refused, on="key", how="semi")["image_candidates"].explode().drop_nulls()
    if manifest.facts["missing_masks"]:
        without = pl.read_parquet(folder / "rows.parquet").filter(pl.col("mask").is_null())
        yield from part.rows().join(without, on="key", how="semi")["mask_candidates"].explode().drop_nulls()


def chunks_of(cfg: PicturesConfig, at: Workplace) -> list[Chunk]:
    """The rows of the step before, cut by number."""
    slices = []
    for part in at.rows.parts:
        numbers = part.numbers()
        for start in range(0, len(numbers), CHUNK_ROWS):
            piece = numbers[start : start + CHUNK_ROWS]
            slices.append(Slice(part, int(piece[0]), int(piece[-1]), cfg))
    return [Chunk(f"{index:06d}", each) for index, each in enumerate(slices)]


def decode_chunk(part: Slice, folder: Path) -> Manifest:
    """Decode the pictures of a slice into `rows.parquet` and `quarantined.parquet`."""
    rows: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    missing_masks = 0
    for key, md5, candidates, masks in part.rows().iter_rows():
        try:
            row = {"key": key, **look_at(candidates, md5, part.cfg)}
        except PictureError as error:
            refused.append({"key": key, "code": error.code, "detail": error.detail})
        else:
            rows.append({**row, "mask": next(filter(_is_there, masks), None)})
            missing_masks += bool(masks) and rows[-1]["mask"] is None
    tables.write_parquet(tables.frame(rows, _SCHEMA), folder / "rows.parquet")
    tables.write_parquet(tables.frame(refused, tables.QUARANTINED_SCHEMA), folder / "quarantined.parquet")
    return Manifest(
        kind="chunk",
        format_version=1,
        seen=len(rows) + len(refused),
        kept=len(rows),
        quarantined=dict(Counter(item["code"] for item in refused)),
        facts={"missing_masks": missing_masks},
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
