"""From the steps of the image side to `image_facts`: what they noted, and some of their pictures.

Steps are found by name. What they note is read for what is known of it: a step of another version, or none, makes its
part of the page shorter, and nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from animetune.curate.parts import Part, newest_parts
from animetune.curate.select.lookalikes import TWINS_FILE
from animetune.picture_urls import split_region
from animetune.report.image_facts import (
    Box,
    Captioned,
    CaptionWork,
    CloseUps,
    ImageFacts,
    Lookalikes,
    Models,
    Pair,
    Parent,
    Probe,
    Shown,
)
from animetune.report.table_steps import StepCount
from animetune.report.thumbnails import Wanted
from animetune.seeding import Purpose, rng_for, text_counter
from animetune.tables import Table

PAIRS, PARENTS, CLOSEUPS = 6, 6, 4
"""Pairs of look-alikes, pictures with close-ups, close-ups of each."""
CAPTIONED, FAULTY = 12, 9
"""Pictures of the gallery with captions as asked for, and with a reason why not."""
SIDE, SMALL_SIDE = 320, 200
"""Pixels of thumbnails."""
SAFE_RATINGS = ("g", "s")

_PROBED = {
    "with_alpha": "with transparency, put on the background",
    "rotated": "turned upright, as their EXIF says",
    "with_borders": "with uniform borders",
    "size_mismatches": "of another size than their post states",
    "md5_mismatches": "another file than their post states",
    "masks": "with a mask",
}
_BORDERS = {
    "letterboxed": "bars above or below",
    "pillarboxed": "bars at the sides",
}
_LOOKALIKES = {
    "candidates": "pairs with near hashes, compared at full size",
    "blocked_by_tags": "pairs kept apart by their tags",
    "other_shape": "pairs of another shape",
    "confirmed": "pairs that look alike",
    "sets": "sets of pictures that look alike",
    "unanswered": "pairs that could not be opened any more",
}
_CLOSEUPS = {
    "pictures": "pictures looked at",
    "with_boxes": "pictures with boxes",
    "added": "close-ups added",
    "with_focus": "pictures with a focus found",
    "boxes_of_no_row": "pictures of boxes that are not in the table",
}
_TAGS = ("tags_count", "tags_character", "tags_copyright", "tags_artist", "tags_general", "tags_special")


def read_images(table: Table, steps: Sequence[StepCount], *, seed: int) -> ImageFacts:
    """What the steps did with pictures; the images of what is shown are not made yet."""
    noted = {step.name: step.facts for step in steps}
    return ImageFacts(
        probe=_probe(noted.get("pictures", {})),
        marks=_marks(noted),
        lookalikes=_lookalikes(noted, steps, seed),
        closeups=_closeups(_mapping(noted.get("closeups", {}).get("closeups")), table, seed),
        models=_models(noted),
        captions=_captions(noted.get("captions", {}), table, steps, seed),
        scores=table.scan().select(pl.col("aesthetic_score").drop_nulls()).collect().to_series().to_numpy(),
    )


def _probe(facts: Mapping[str, Any]) -> Probe | None:
    if "picture_formats" not in facts:
        return None
    formats, modes, profiles = (
        _counts(facts.get(name)) for name in ("picture_formats", "pixel_modes", "colour_profiles")
    )
    return Probe(formats, modes, profiles, _notes(facts, _PROBED))


def _marks(noted: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, int]]:
    found = _counts(noted.get("marks", {}).get("marks"))
    others = [(name.removeprefix("with_"), count) for name, count in found.items() if name != "masks"]
    drawn = [("masks drawn", found["masks"])] if "masks" in found else []
    return [*_notes(_mapping(noted.get("letterboxes", {}).get("letterboxes")), _BORDERS), *others, *drawn]


def _lookalikes(noted: Mapping[str, Any], steps: Sequence[StepCount], seed: int) -> Lookalikes | None:
    facts = _mapping(noted.get("lookalikes", {}).get("lookalikes"))
    if not facts:
        return None
    return Lookalikes(_notes(facts, _LOOKALIKES), _pairs(steps, seed))


def _pairs(steps: Sequence[StepCount], seed: int) -> list[Pair]:
    """Some of the pictures that were found to be copies, each with the best of its set."""
    at = next((number for number, step in enumerate(steps) if step.name == "lookalikes"), None)
    folder = None if at is None else steps[at].folder
    if at is None or folder is None or not (folder / TWINS_FILE).is_file():
        return []
    twins = pl.read_parquet(folder / TWINS_FILE, glob=False)
    chosen = twins.filter(pl.col("key").is_in(_some(twins["key"].to_list(), PAIRS, seed, "pairs")))
    wanted = pl.concat([chosen["key"], chosen["twin_of"]])
    is_wanted = pl.col("key").is_in(wanted.implode())
    before = [part.read(("key", "image", "rating")).filter(is_wanted) for part in _parts(steps[:at])]
    rows = {row["key"]: row for part in before for row in part.iter_rows(named=True)}
    dropped = set(pl.read_parquet(folder / "dropped.parquet", glob=False)["key"])
    return [
        Pair(
            _shown(rows[twin], SMALL_SIDE),
            _shown(rows[best], SMALL_SIDE),
            twin in dropped,
            None if structure is None else (structure, luma, chroma),
        )
        for twin, best, structure, luma, chroma in chosen.select(
            "key", "twin_of", "structure", "luma", "chroma"
        ).iter_rows()
        if twin in rows and best in rows
    ]


def _closeups(facts: Mapping[str, Any], table: Table, seed: int) -> CloseUps | None:
    if not facts:
        return None
    return CloseUps(
        _notes(facts, _CLOSEUPS), _counts(facts.get("labels")), _counts(facts.get("refused")), _parents(table, seed)
    )


def _parents(table: Table, seed: int) -> list[Parent]:
    """Some of the pictures that have close-ups in the table, with these."""
    is_cut = pl.col("parent").is_not_null() & pl.col("key").str.starts_with(pl.col("parent") + "#")
    cut = table.scan().filter(is_cut).select("key", "parent").collect()
    chosen = _some(cut["parent"].unique().sort().to_list(), PARENTS, seed, "parents")
    wanted = [*chosen, *cut.filter(pl.col("parent").is_in(chosen))["key"]]
    columns = ("key", "parent", "image", "rating", "width", "height")
    rows = table.scan().filter(pl.col("key").is_in(wanted)).select(columns).collect()
    by_key = {row["key"]: row for row in rows.iter_rows(named=True)}
    parents = []
    for key in chosen:
        if key in by_key:
            closeups = [row for row in by_key.values() if row["parent"] == key and row["key"] != key][:CLOSEUPS]
            boxes = [box for row in closeups if (box := _box(row, by_key[key])) is not None]
            shown = [_shown(row, SMALL_SIDE) for row in closeups]
            parents.append(Parent(_shown(by_key[key], SIDE), boxes, shown))
    return parents


def _box(closeup: Mapping[str, Any], parent: Mapping[str, Any]) -> Box | None:
    """Where a close-up lies in its picture."""
    region, outer = split_region(closeup["image"])[1], split_region(parent["image"])[1]
    if region is None or not parent["width"] or not parent["height"]:
        return None
    left, top = (outer.left, outer.top) if outer else (0, 0)
    across, down = 100 / parent["width"], 100 / parent["height"]
    return Box((region.left - left) * across, (region.top - top) * down, region.width * across, region.height * down)


def _models(noted: Mapping[str, Mapping[str, Any]]) -> Models | None:
    models = [
        (str(name), str(said.get("sha256") or ""), str(said.get("licence") or ""))
        for name, said in _mapping(noted.get("models", {}).get("models")).items()
        if isinstance(said, Mapping)
    ]
    chosen = _mapping(noted.get("tag_sources", {}).get("tag_sources"))
    added, removed = (_counts(chosen.get(name)) for name in ("tags_added", "tags_removed"))
    tags = [(kind, added.get(kind, 0), removed.get(kind, 0)) for kind in {**added, **removed}]
    return Models(models, [row for row in tags if row[1] or row[2]]) if models else None


def _captions(facts: Mapping[str, Any], table: Table, steps: Sequence[StepCount], seed: int) -> CaptionWork | None:
    work = _mapping(facts.get("captions"))
    if not work:
        return None
    noted = _mapping(table.manifest.facts.get("captions"))
    requests = [
        (kind, *(int(said.get(name, 0)) for name in ("answers", "prompt_tokens", "completion_tokens")))
        for kind in ("long", "short")
        if (said := _mapping(work.get(kind)))
    ]
    cost = {name: value for name, value in _mapping(noted.get("cost")).items() if isinstance(value, int | float)}
    return CaptionWork(
        by=_counts(work.get("by")),
        reasons=_counts(work.get("reasons")),
        rejected=_counts(work.get("rejected")),
        requests=requests,  # type: ignore[arg-type]
        cost=cost,
        short_by_rules=_count(_mapping(work.get("short")).get("by_rules")),
        gallery=_gallery(table, steps, seed),
    )


def _gallery(table: Table, steps: Sequence[StepCount], seed: int) -> list[Captioned]:
    """Some pictures as their captions were asked for, then some of each reason why not."""
    at = next((number for number, step in enumerate(steps) if step.name == "captions"), None)
    if at is None or any(step.folder is None for step in steps[: at + 1]):
        return []
    said = pl.concat([part.read(("key", "caption_by", "caption_reason")) for part in _parts(steps[: at + 1])])
    good = said.filter((pl.col("caption_by") == "model") & pl.col("caption_reason").is_null())
    bad = said.filter(pl.col("caption_reason").is_not_null())
    keys = _some(good["key"].to_list(), CAPTIONED, seed, "captioned")
    by_reason = [
        _some(rows["key"].to_list(), FAULTY, seed, str(reason))
        for (reason,), rows in sorted(bad.partition_by("caption_reason", as_dict=True).items())
    ]
    turns = (key for turn in itertools.zip_longest(*by_reason) for key in turn if key is not None)
    keys += list(itertools.islice(turns, FAULTY))
    texts = ("captions_long", "captions_short", *_TAGS)
    rows = table.scan().filter(pl.col("key").is_in(keys)).select("key", "image", "rating", *texts).collect()
    by_key = {row["key"]: row for row in rows.iter_rows(named=True)}
    why = {key: (by, reason) for _, key, by, reason in said.filter(pl.col("key").is_in(keys)).iter_rows()}
    return [
        Captioned(
            _shown(by_key[key], SIDE),
            why[key][0] or "",
            why[key][1] or "",
            by_key[key]["captions_long"] or (),
            by_key[key]["captions_short"] or (),
            [tag for name in _TAGS for tag in by_key[key][name] or ()],
        )
        for key in keys
        if key in by_key
    ]


def _parts(steps: Sequence[StepCount]) -> list[Part]:
    """The rows after these steps, or none where any is gone."""
    folders = [step.folder for step in steps]
    if not folders or None in folders:
        return []
    return newest_parts([sorted(folder.glob("part-*.parquet")) for folder in folders if folder is not None])


def _shown(row: Mapping[str, Any], side: int) -> Shown:
    places = (row["image"],) if row["image"] else ()
    return Shown(row["key"], Wanted(places, side), row["rating"] not in SAFE_RATINGS)


def _some(keys: Sequence[str], most: int, seed: int, what: str) -> list[str]:
    """Some of the keys, at random but always the same, in their order."""
    places = rng_for(seed, Purpose.CONTACT_SHEET, text_counter(what)).permutation(len(keys))[:most]
    return [keys[place] for place in sorted(places.tolist())]


def _notes(facts: Mapping[str, Any], known: Mapping[str, str]) -> list[tuple[str, int]]:
    return [(text, count) for name, text in known.items() if (count := _count(facts.get(name)))]


def _counts(value: Any) -> dict[str, int]:
    """Numbers by name, the largest first; nested names are joined."""
    found: dict[str, int] = {}
    for name, inner in _mapping(value).items():
        if isinstance(inner, Mapping):
            found |= {f"{name}: {deeper}": count for deeper, count in _counts(inner).items()}
        elif count := _count(inner):
            found[str(name)] = count
    return dict(_by_count(found.items()))


def _by_count(items: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(items, key=lambda item: (-item[1], item[0]))


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
