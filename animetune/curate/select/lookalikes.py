"""The step `lookalikes`: pictures that look alike are one set, though no pixel is equal: re-encoded or resized copies.

    difference hashes --near_pairs--> candidates --tags, shape--> asked --likeness at full size--> alike --> sets

A hash alone deletes nothing: it cannot tell two faces of one sprite apart. Candidates whose emotion or people-count
tags differ are never compared, and those that are compared must agree in every window of their pixels (`likeness`).
A set is kept to its best picture, or only joined to one family, so that training and validation never share one.
`twins.parquet` beside the step's rows says which picture was found to be like which.

Answers about pairs are kept as those about pictures are (`answers`), as measures: another limit asks nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import xxhash

from animetune import tables
from animetune.curate import families
from animetune.curate.answers import QUESTION, Inquiry, ask_all, question_of
from animetune.curate.coded import CodedLists
from animetune.curate.config.dedup import DedupConfig, LookalikesConfig
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.parts import ROW, Part, part_name, write_part
from animetune.curate.select import dedup
from animetune.curate.select.hashing import near_pairs
from animetune.curate.select.likeness import likeness, same_shape
from animetune.curate.steps import Workplace, Written
from animetune.curate.tag.tag_lists import Vocabulary
from animetune.errors import PictureError
from animetune.pictures import open_picture

REASON = "lookalike"
LIKENESS_FORMAT = 1
"""Of the answers; another one has every pair compared again."""
HASH = "dhash"
WRITES = ("family",)
SET = "lookalike"
"""Column: the name of the set that a row is in."""

TWINS_FILE = "twins.parquet"
"""In the step's folder: of every picture in a set but the best, its key, that of the best (`twin_of`), and the measures
of the two; null where they are alike only by way of others."""

_MEASURES: dict[str, pl.DataType] = {"structure": pl.Float64(), "luma": pl.Float64(), "chroma": pl.Float64()}
_LOOKED_AT = ("image", "pixel_digest")


def find_lookalikes(
    cfg: DedupConfig, pictures: PicturesConfig, vocabulary: Vocabulary, at: Workplace, folder: Path
) -> Written:
    """Join the families of pictures that look alike, and with `then: drop` keep the best of each set.

    Raises what reading pictures raises, but for PictureError: a pair that cannot be opened any more counts as
    `unanswered` and is left as it is.
    """
    assert cfg.lookalikes is not None
    pairs, facts = candidates(at.rows.parts, cfg.lookalikes, vocabulary.tags("emotion-strong", "emotion-weak"))
    measured = compare(pairs, pictures, at)
    alike = measured.filter(is_alike(cfg.lookalikes))
    facts |= {"unanswered": pairs.height - measured.height, "confirmed": alike.height}
    rows = pl.concat([part.read(("key", "family")) for part in at.rows.parts])
    rows = joined(rows, alike)
    sets = sets_of(alike)
    facts["sets"] = sets[SET].n_unique()
    members = pl.concat([_members(part, sets) for part in at.rows.parts])
    best, others, _ = dedup.keep_best(members, [SET], dedup.ranking(cfg.best, "width", "height", "image_bytes"))
    tables.write_parquet(twins_of(best, others, alike), folder / TWINS_FILE)
    is_dropped = pl.col(ROW).is_in(others[ROW].implode()) & (cfg.lookalikes.then == "drop")
    rows, dropped = rows.filter(~is_dropped), rows.filter(is_dropped)
    _write(rows, at.rows.parts, folder)
    refused = pl.DataFrame(schema=tables.QUARANTINED_SCHEMA)
    reasons = dropped.select("key", reason=pl.lit(REASON))
    return Written(rows.height, reasons, refused, {"lookalikes": facts}, at.rows.kept)


def candidates(
    parts: Sequence[Part], cfg: LookalikesConfig, emotions: Sequence[str]
) -> tuple[pl.DataFrame, dict[str, int]]:
    """`left` and `right`, numbers of rows whose hashes are near, of one kind and one shape; and how many were not.

    Rows without a hash, of pictures that nobody decoded, have no candidates.
    """
    found = [_hashed(part, cfg, emotions) for part in parts]
    numbers, hashes, kinds, sizes = (np.concatenate(each) for each in zip(*found, strict=True))
    pairs = near_pairs(hashes, cfg.distance, kinds)
    of_one_kind = kinds[pairs.left] == kinds[pairs.right]
    left, right = pairs.left[of_one_kind], pairs.right[of_one_kind]
    shapes = zip(sizes[left].tolist(), sizes[right].tolist(), strict=True)
    of_one_shape = np.fromiter((same_shape(one, other) for one, other in shapes), bool, len(left))
    facts = {
        "candidates": int(of_one_shape.sum()),
        "blocked_by_tags": int((~of_one_kind).sum()),
        "other_shape": int((~of_one_shape).sum()),
    }
    return pl.DataFrame({"left": numbers[left[of_one_shape]], "right": numbers[right[of_one_shape]]}), facts


def kinds_of(rows: pl.DataFrame, cfg: LookalikesConfig, emotions: Sequence[str]) -> np.ndarray:
    """uint64 (rows,): equal for rows with the same emotion and people-count tags, and whatever `cfg.apart` names.

    Sums of hashes: the order of tags does not matter, and two kinds are one with a chance of 2^-64.
    """
    told: dict[str, set[str] | None] = {"tags_general": set(emotions), "tags_count": None}
    if "content" in cfg.apart:
        told["tags_general"] = None
    if "characters" in cfg.apart:
        told["tags_character"] = None
    kinds = np.zeros(rows.height, np.uint64)
    for column, tags in told.items():
        coded = CodedLists.of(rows[column])
        of_tag = np.array([_number(column, tag, tags) for tag in coded.names], np.uint64)
        total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(of_tag.take(coded.codes), dtype=np.uint64)])
        kinds += total[coded.offsets[1:]] - total[coded.offsets[:-1]]
    return kinds


def compare(pairs: pl.DataFrame, pictures: PicturesConfig, at: Workplace) -> pl.DataFrame:
    """The pairs that could be looked at, with the measures of `likeness`."""
    wanted = np.union1d(pairs["left"].to_numpy(), pairs["right"].to_numpy())
    places = pl.concat([part.read(_LOOKED_AT).filter(np.isin(part.numbers(), wanted)) for part in at.rows.parts])
    asked = pairs
    for side in ("left", "right"):
        named = places.rename({ROW: side, **{name: f"{name}_{side}" for name in _LOOKED_AT}})
        asked = asked.join(named, on=side, how="left", maintain_order="left")
    hashes = zip(asked["pixel_digest_left"].to_list(), asked["pixel_digest_right"].to_list(), strict=True)
    numbers = pl.Series(QUESTION, [question_of(*sorted(both)) for both in hashes], pl.UInt64())
    asked = asked.with_columns(numbers)
    inquiry = Inquiry(
        "lookalikes",
        {"format": LIKENESS_FORMAT, "background": list(pictures.background)},
        functools.partial(compare_all, background=pictures.background, max_pixels=pictures.max_pixels),
        _MEASURES,
        at_a_time=64,
    )
    distinct = asked.unique(QUESTION, keep="first", maintain_order=True)
    found = ask_all(inquiry, distinct.select(QUESTION, "image_left", "image_right"), at)
    return asked.select("left", "right", QUESTION).join(found, on=QUESTION, how="inner", maintain_order="left")


def compare_all(questions: pl.DataFrame, background: tuple[int, int, int], max_pixels: int) -> pl.DataFrame:
    """In a worker process: the likeness of pairs; those that cannot be opened are left out."""

    @functools.lru_cache(maxsize=2)  # neighbours among the questions share their left picture
    def opened(url: str) -> Any:
        return open_picture(url, background=background, max_pixels=max_pixels).image

    answers: list[dict[str, Any]] = []
    for number, left, right in questions.select(QUESTION, "image_left", "image_right").iter_rows():
        try:
            answers.append({QUESTION: number, **likeness(opened(left), opened(right))._asdict()})
        except PictureError:
            continue
    return tables.frame(answers, {QUESTION: pl.UInt64(), **_MEASURES})


def is_alike(cfg: LookalikesConfig) -> pl.Expr:
    """Whether the measures of a pair are within the limits."""
    return (pl.col("structure") >= cfg.structure) & (pl.col("luma") <= cfg.luma) & (pl.col("chroma") <= cfg.chroma)


def sets_of(alike: pl.DataFrame) -> pl.DataFrame:
    """`row` and its set, for every row that is in a pair: what is alike over any number of pairs is one set."""
    names = families.roots(
        (f"{left:010d}", f"{right:010d}") for left, right in alike.select("left", "right").iter_rows()
    )
    rows = pl.Series(ROW, [int(name) for name in names], alike["left"].dtype)
    return pl.DataFrame([rows, pl.Series(SET, list(names.values()), pl.String)])


def joined(rows: pl.DataFrame, alike: pl.DataFrame) -> pl.DataFrame:
    """The rows with one family for both of every pair."""
    family = rows.select(ROW, "family")
    pairs = alike.select("left", "right")
    for side in ("left", "right"):
        pairs = pairs.join(family.rename({ROW: side, "family": f"family_{side}"}), on=side, how="left")
    return families.join_families(rows, pairs.select("family_left", "family_right").iter_rows())


def twins_of(best: pl.DataFrame, others: pl.DataFrame, alike: pl.DataFrame) -> pl.DataFrame:
    """`key`, `twin_of` and the measures of every row of `others`, of which `twin_of` is the number of the best."""
    named = others.select(ROW, "key", dedup.TWIN_OF).join(
        best.select(pl.col(ROW).alias(dedup.TWIN_OF), pl.col("key").alias("best")), on=dedup.TWIN_OF, how="left"
    )
    low, high = pl.min_horizontal(ROW, dedup.TWIN_OF), pl.max_horizontal(ROW, dedup.TWIN_OF)
    measured = named.with_columns(left=low, right=high).join(alike, on=["left", "right"], how="left")
    return measured.select("key", pl.col("best").alias(dedup.TWIN_OF), *_MEASURES).sort("key")


def _hashed(
    part: Part, cfg: LookalikesConfig, emotions: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of the rows with a hash: numbers, hashes uint8 (rows, 32), kinds, sizes int32 (rows, 2)."""
    rows = part.read((HASH, "width", "height", "tags_general", "tags_count", "tags_character"), coded=True)
    rows = rows.filter(pl.col(HASH).is_not_null())
    hashes = np.frombuffer(b"".join(rows[HASH].to_list()), np.uint8).reshape(rows.height, -1 if rows.height else 32)
    sizes = rows.select("width", "height").to_numpy().astype(np.int32)
    return rows[ROW].to_numpy(), hashes, kinds_of(rows, cfg, emotions), sizes


def _number(column: str, tag: str, tags: set[str] | None) -> int:
    return xxhash.xxh64_intdigest(f"{column} {tag}") if tags is None or tag in tags else 0


def _members(part: Part, sets: pl.DataFrame) -> pl.DataFrame:
    rows = part.read(("key", *dedup.READS_OF_RANKING, "width", "height", "image_bytes"))
    return rows.join(sets, on=ROW, how="inner", maintain_order="left")


def _write(rows: pl.DataFrame, parts: Sequence[Part], folder: Path) -> None:
    for index, part in enumerate(parts):
        of_part = rows.filter(np.isin(rows[ROW].to_numpy(), part.numbers()))
        write_part(of_part, WRITES, folder / part_name(index))
