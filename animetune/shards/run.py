"""The `shard` stage: a curated table -> a shard root.

    table --choose sizes--> groups (split, tier, size) --cut by bytes--> parts --executor--> on disk --index--> root

Parts are published one by one and found again, so a stopped run continues; those of a remote root are uploaded by the
worker that made them (`upload`). The root's own files come last, from what the parts say they hold: index.json of each
group, samples.parquet, manifest.json. So a damaged root is repaired by removing the folders of its damaged parts and
its manifest: run again, it has the bytes that it had. The order of samples is by size and a hash of the key, so that
neighbours in a shard have nothing in common, and nothing depends on the number of workers.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import xxhash

from animetune import fsio, remote, resizing, tables
from animetune.buckets import place
from animetune.errors import ConfigError, DataError, QuarantineLimitError
from animetune.executor import Chunk, build_executor
from animetune.manifest import MANIFEST_NAME, Manifest, check_place, has_manifest, record_files, write_manifest
from animetune.progress import Progress, bytes_text, track
from animetune.records import Size
from animetune.shards import upload
from animetune.shards.config import LatentStore, ShardConfig
from animetune.shards.statistics import channel_statistics
from animetune.shards.write import PART_COLUMNS, Part, bytes_per_sample, device_of, write_part
from animetune.shardset import INDEX_NAME, ROOT_FORMAT, ROOT_KIND, SAMPLES_NAME, SPLITS, Group, open_root

SETTINGS_NAME = "settings.json"
"""What a root was begun with, so that another configuration is not mixed into it."""
BEFORE_CHOICE = {"resize": {"by": "pillow", "large": "lanczos"}}
"""What was so in every root that was begun before it could be chosen."""
SHOWN = 8
"""Parts that an error names."""


def run(cfg: ShardConfig) -> Manifest:
    """Write the shard root of a table, or what of it is missing; a finished root is left as it is.

    Raises ConfigError when `out` was begun with other settings or another table or is no shard root, SetupError when
    there is no such device, QuarantineLimitError when too many pictures are unusable, ChunkError when a part failed
    (run again: finished parts are kept).
    """
    check_place(cfg.folder, ROOT_KIND, setting="out" if cfg.work is None else "work")
    table = tables.open_table(cfg.table)
    with fsio.lock(cfg.folder):
        fsio.sweep(cfg.folder)
        settings = _bind(cfg, table)
        finished = _finished(cfg)
        if finished is not None:
            return finished
        if isinstance(cfg.store, LatentStore) and cfg.executor.kind == "local":
            device_of(cfg.store)  # once here, not in every worker; those of a cluster may have what this machine lacks
        rows = read_rows(table)
        masks = rows["mask"].count() > 0
        samples = choose_sizes(rows, cfg)
        dropped = rows["key"].gather(samples.filter(pl.col("tier").is_null())["row"]).sort()
        groups = cut(rows, samples, cfg)
        del rows, samples  # 100 bytes a row, of millions; the groups hold what is needed
        chunks = [
            Chunk(f"{group.folder}/part-{number:05d}", part)
            for group, parts in groups
            for number, part in enumerate(parts)
        ]
        resize = functools.partial(resizing.resize, **settings["resize"])
        work = functools.partial(
            write_part, store=cfg.store, crop=cfg.crop, resize=resize, masks=masks, **_decoding(table)
        )
        deliver = None
        if cfg.url is not None:
            upload.agree(cfg.folder, cfg.url, [chunk.name for chunk in chunks])
            deliver = functools.partial(upload.upload_part, url=cfg.url)
        found = sum(chunk.payload.rows.height for chunk in chunks if has_manifest(cfg.folder / chunk.name))
        with track("shard", total=sum(group.samples for group, _ in groups), done=found) as progress:
            done = build_executor(cfg.executor).run(
                work, chunks, cfg.folder, deliver=deliver, published=_Meter(progress).add
            )
        outcome = _Outcome(
            groups=[group for group, _ in groups],
            parts=dict(zip((chunk.name for chunk in chunks), done, strict=True)),
            dropped=dropped,
            masks=masks,
        )
        del groups, chunks  # so are these: only names and keys are needed from here
        _check_quarantine(cfg, outcome)
        return _publish(cfg, outcome, inputs={"table": table.digest}, settings=settings)


def read_rows(table: tables.Table) -> pl.DataFrame:
    """What is needed to place and cut the pictures of a table: PART_COLUMNS and `split`.

    Raises DataError when a focus point lies outside its picture.
    """
    split = pl.col("split").cast(pl.Enum(SPLITS))
    rows = table.scan().select(*PART_COLUMNS, split).collect()
    for name in ("focus_x", "focus_y"):
        outside = rows.filter(~pl.col(name).is_between(0, 1))
        if outside.height:
            raise DataError(
                f"{table.folder}: {name} of {outside['key'][0]} is {outside[name][0]} ({outside.height} such rows); it "
                "is a share of the picture's side, from 0 to 1; run curate again"
            )
    return rows


def choose_sizes(rows: pl.DataFrame, cfg: ShardConfig) -> pl.DataFrame:
    """The samples, one for each tier of each row: `row`, its `split`, `width` and `height`, then `tier`,
    `target_width`, `target_height`. A picture that is too small for every tier is there once, with nulls.
    """
    train = (pl.col("split") == "train").sum().alias("train")
    sources = rows.group_by("width", "height").agg(train).sort("width", "height")
    sides = sources.select("width", "height").to_numpy().astype(np.int64)
    chosen = [
        sources[each.which].select(
            "width",
            "height",
            pl.lit(int(each.tier.name), pl.Int32).alias("tier"),
            pl.Series("target_width", each.targets[:, 0], pl.Int32),
            pl.Series("target_height", each.targets[:, 1], pl.Int32),
        )
        for each in place(sides, sources["train"].to_numpy(), cfg.sizes, max_upscale=cfg.max_upscale)
    ]
    narrow = rows.select("split", "width", "height").with_row_index("row")
    return narrow.join(pl.concat(chosen), on=["width", "height"], how="left")


def cut(rows: pl.DataFrame, samples: pl.DataFrame, cfg: ShardConfig) -> list[tuple[Group, list[Part]]]:
    """The groups of the samples that have a size, in row order, each cut into parts of about `shard_bytes`."""
    group = ["split", "tier", "target_width", "target_height"]
    hashes = pl.Series("hash", np.fromiter(map(xxhash.xxh64_intdigest, rows["key"]), np.uint64, rows.height))
    placed = samples.filter(pl.col("tier").is_not_null()).select(*group, "row")
    placed = placed.with_columns(hash=hashes.gather(placed["row"])).sort(*group, "hash", "row")
    ordered = rows.select(PART_COLUMNS)[placed["row"]]
    groups = []
    start = 0
    for split, tier, width, height, count in placed.group_by(group, maintain_order=True).len().iter_rows():
        size = Size(width, height)
        parts = part_count(size, count, cfg)
        edges = [start + count * i // parts for i in range(parts + 1)]
        slices = [Part(size, ordered[edges[i] : edges[i + 1]]) for i in range(parts)]
        groups.append((Group(split, str(tier), size, count, parts), slices))
        start += count
    return groups


def part_count(size: Size, samples: int, cfg: ShardConfig) -> int:
    """Into how many parts the samples of a size are cut, so that each has about `shard_bytes`.

    The parts are equal: a last one of three pictures would be a file, a download and an open for three pictures.
    """
    per_part = max(1, cfg.shard_bytes // bytes_per_sample(size, cfg.store, margin=cfg.crop.margin))
    return math.ceil(samples / per_part)


@dataclass(slots=True)
class _Meter:
    """Shows how many pictures and bytes this run has written."""

    progress: Progress
    written: int = 0

    def add(self, part: Manifest) -> None:
        """Count a part that was published."""
        self.written += sum(file.bytes for file in part.files.values())
        self.progress.advance(part.seen, written=bytes_text(self.written))


@dataclass(frozen=True, slots=True)
class _Outcome:
    groups: list[Group]
    parts: dict[str, Manifest]
    """Path of each part in the root -> its manifest, in row order."""
    dropped: pl.Series
    """Keys that are too small, in order."""
    masks: bool
    """Whether any row of the table has one."""

    def parts_of(self, group: Group) -> dict[str, Manifest]:
        return {name: part for name, part in self.parts.items() if name.startswith(f"{group.folder}/")}

    @property
    def quarantined(self) -> list[tuple[str, str, str]]:
        return sorted(tuple(each) for part in self.parts.values() for each in part.facts["quarantined"])


def _bind(cfg: ShardConfig, table: tables.Table) -> dict[str, Any]:
    """Write down what the root is made of, or refuse if it was begun with something else.

    Not on which device: that is where a part is made, as is the executor; `auto` would not tell it either.
    """
    made_of = {"store", "sizes", "crop", "max_upscale", "shard_bytes"}
    settings = {
        "format": ROOT_FORMAT,
        "table": table.digest,
        **cfg.model_dump(mode="json", include=made_of, exclude={"store": {"device"}}),
        "resize": _resize(cfg, pictures=table.manifest.kept),
    }
    path = cfg.folder / SETTINGS_NAME
    if path.is_file():
        _check_begun(cfg.folder, path.read_bytes(), settings)
    elif has_manifest(cfg.folder):
        raise ConfigError(f"out: {cfg.folder} is not a shard root of this version; choose another folder")
    else:
        fsio.write_json(path, settings)
    if cfg.url is not None:
        url = f"{cfg.url}/{SETTINGS_NAME}"
        if remote.exists(url):
            _check_begun(cfg.url, remote.read(url), settings)
        elif remote.exists(f"{cfg.url}/{MANIFEST_NAME}"):
            raise ConfigError(f"out: {cfg.url} holds something else than shards; choose another place")
        else:
            remote.put(path, url)
    return settings


def _resize(cfg: ShardConfig, *, pictures: int) -> dict[str, str]:
    """The arguments of `resizing.resize`, with `auto` decided: never by what this machine has or how it is used."""
    pays = isinstance(cfg.store, LatentStore) or pictures >= resizing.TORCH_PAYS
    auto: resizing.By = "torch" if pays else "pillow"
    return {"by": auto if cfg.resize.by == "auto" else cfg.resize.by, "large": cfg.resize.large}


def _check_begun(where: Path | str, data: bytes, settings: dict[str, Any]) -> None:
    try:
        begun = dict(_leaves(BEFORE_CHOICE | json.loads(data)))
    except ValueError as error:
        raise DataError(
            f"{where}/{SETTINGS_NAME}: is damaged ({error}); restore it, or remove it and run again with the settings "
            "that the root was begun with"
        ) from error
    now = dict(_leaves(settings))
    keys = [key for key in sorted(now.keys() | begun.keys()) if key not in now or now[key] != begun.get(key, ...)]
    if keys:
        lines = [f"  {key}: {begun.get(key, 'not set')} there, {now.get(key, 'not set')} now" for key in keys]
        raise ConfigError(
            f"out: {where} was begun with other settings, and the shards of a root must agree:\n"
            + "\n".join(lines)
            + "\nset them back, choose another place, or remove this one"
        )


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of all that is in nested maps and lists."""
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _finished(cfg: ShardConfig) -> Manifest | None:
    """The manifest of the root, if a run before finished it."""
    if cfg.url is not None:
        return upload.finished(cfg.url)
    return open_root(cfg.folder).manifest if has_manifest(cfg.folder) else None


def _decoding(table: tables.Table) -> dict[str, Any]:
    """How curation decoded the pictures; shards decode them in the same way."""
    pictures = table.manifest.facts["pictures"]
    return {
        "background": tuple(pictures["background"]),
        "max_pixels": pictures["max_pixels"],
        "first_frame": pictures.get("animated") == "first_frame",
    }


def _check_quarantine(cfg: ShardConfig, outcome: _Outcome) -> None:
    seen = sum(part.seen for part in outcome.parts.values())
    refused = outcome.quarantined
    if len(refused) > cfg.quarantine_limit * seen:
        counts = ", ".join(f"{code} {count}" for code, count in sorted(Counter(each[1] for each in refused).items()))
        key, code, detail = refused[0]
        parts = [name for name, part in outcome.parts.items() if part.quarantined]
        named = ", ".join(parts[:SHOWN]) + (f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else "")
        raise QuarantineLimitError(
            f"{cfg.url or cfg.folder}: {len(refused)} of {seen} pictures cannot be used ({counts}), more than "
            f"quarantine_limit {cfg.quarantine_limit:.0%} allows; the first is {key}: {code} {detail}. Raise the limit "
            f"to go on without them; if they were only out of reach, remove their parts and run again: {named}"
        )


def _publish(cfg: ShardConfig, outcome: _Outcome, *, inputs: dict[str, str], settings: dict[str, Any]) -> Manifest:
    """Write the root's own files, the manifest last, and upload those of a remote root."""
    root = cfg.folder
    groups = []
    for group in outcome.groups:
        parts = outcome.parts_of(group)
        samples = sum(part.kept for part in parts.values())
        if samples:
            fsio.write_json(root / group.folder / INDEX_NAME, _merged_index(root, list(parts)))
            groups.append(group._replace(samples=samples))
    _write_frame(root / SAMPLES_NAME, _samples(outcome))
    too_small = pl.DataFrame({"key": outcome.dropped}).with_columns(reason=pl.lit("too_small"))
    _write_frame(root / "dropped.parquet", too_small)
    refused = pl.DataFrame(outcome.quarantined, schema=tables.QUARANTINED_SCHEMA, orient="row")
    _write_frame(root / "quarantined.parquet", refused)

    own = [SETTINGS_NAME, SAMPLES_NAME, "dropped.parquet", "quarantined.parquet"]
    indexes = [f"{group.folder}/{INDEX_NAME}" for group in groups]
    part_manifests = [f"{name}/{MANIFEST_NAME}" for name in outcome.parts]
    facts = {
        "store": settings["store"],
        "sizes": settings["sizes"],
        "crop": settings["crop"],
        "resize": settings["resize"],
        "groups": [group._asdict() | {"size": group.size.name} for group in groups],
    }
    if outcome.masks:
        facts["masks"] = True
    if cfg.store.name == "latents":
        facts["latents"] = {
            **cfg.store.model_dump(include={"dtype", "compute", "std", "flip"}),
            **_latent_facts(root, outcome),
        }
    manifest = Manifest(
        kind=ROOT_KIND,
        format_version=ROOT_FORMAT,
        config_digest=hashlib.sha256(fsio.canonical_json(settings).encode()).hexdigest(),
        inputs=inputs,
        seen=sum(part.seen for part in outcome.parts.values()) + len(outcome.dropped),
        kept=sum(group.samples for group in groups),
        dropped={"too_small": len(outcome.dropped)},
        quarantined=dict(sorted(Counter(code for _, code, _ in outcome.quarantined).items())),
        facts=facts,
        files=record_files(root, own + indexes + part_manifests),
    )
    manifest.check_outcomes()
    write_manifest(root, manifest)
    if cfg.url is not None:
        upload.upload_root(root, cfg.url, own + indexes)
    return manifest


def _merged_index(root: Path, parts: list[str]) -> dict[str, Any]:
    """The shards of all parts in one streaming index, each by its path from the group's folder."""
    shards = []
    for part in parts:
        for shard in json.loads((root / part / INDEX_NAME).read_text(encoding="utf-8"))["shards"]:
            raw = shard["raw_data"] | {"basename": f"{Path(part).name}/{shard['raw_data']['basename']}"}
            shards.append(shard | {"raw_data": raw})
    return {"version": 2, "shards": shards}


def _samples(outcome: _Outcome) -> pl.DataFrame:
    """samples.parquet: what each part has kept, in row order."""
    frames = []
    for group in outcome.groups:
        for name, part in outcome.parts_of(group).items():
            fixed = {"split": group.split, "tier": group.tier, **group.size._asdict(), "part": name}
            keys = pl.DataFrame({"key": part.facts["keys"]}, schema={"key": pl.String})
            frames.append(keys.with_columns(pl.lit(value).alias(column) for column, value in fixed.items()))
    schema = {"key": pl.String, "split": pl.String, "tier": pl.String, "width": pl.Int32, "height": pl.Int32}
    empty = pl.DataFrame(schema={**schema, "part": pl.String})
    return pl.concat([empty, *frames]).with_row_index("row").cast({"row": pl.Int64})


def _latent_facts(root: Path, outcome: _Outcome) -> dict[str, Any]:
    """The VAE, and mean and standard deviation of the stored numbers by channel."""
    facts = [part.facts["latents"] for part in outcome.parts.values()]
    vaes = {fact["vae"] for fact in facts}
    if len(vaes) > 1:
        raise DataError(f"{root}: its parts were encoded by {len(vaes)} different VAEs; remove the folder, run again")
    return {"vae": facts[0]["vae"], "scaling_factor": facts[0]["scaling_factor"], **channel_statistics(facts)}


def _write_frame(path: Path, frame: pl.DataFrame) -> None:
    with fsio.atomic_file(path) as temporary:
        tables.write_parquet(frame, temporary)
