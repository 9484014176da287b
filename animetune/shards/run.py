"""The `shard` stage: a curated table -> a shard root.

    table --choose sizes--> groups (split, tier, size) --cut by bytes--> parts --executor--> on disk --index--> root

Parts are published one by one and found again, so a stopped run continues. The root's own files come last, from what
the parts say they hold: index.json of each group, samples.parquet, manifest.json. The order of samples is by size and
a hash of the key, so that neighbours in a shard have nothing in common, and nothing depends on the number of workers.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import xxhash

from animetune import fsio, tables
from animetune.buckets import assign, cover_scale, enumerate_sizes, tier_name
from animetune.errors import ConfigError, DataError, QuarantineLimitError
from animetune.executor import Chunk, build_executor
from animetune.manifest import MANIFEST_NAME, Manifest, has_manifest, record_files, write_manifest
from animetune.progress import track
from animetune.records import Size
from animetune.shards.config import ShardConfig
from animetune.shards.write import Part, PartRow, bytes_per_sample, write_part
from animetune.shardset import INDEX_NAME, ROOT_FORMAT, ROOT_KIND, SAMPLES_NAME, SPLITS, Group, open_root

SETTINGS_NAME = "settings.json"
"""What a root was begun with, so that another configuration is not mixed into it."""


def run(cfg: ShardConfig) -> Manifest:
    """Write the shard root of a table, or what of it is missing; a finished root is left as it is.

    Raises ConfigError when `out` was begun with other settings or another table, QuarantineLimitError when too many
    pictures are unusable, ChunkError when a part failed (run again: finished parts are kept).
    """
    table = tables.open_table(cfg.table)
    with fsio.lock(cfg.out):
        fsio.sweep(cfg.out)
        settings = _bind(cfg, table)
        if has_manifest(cfg.out):
            return open_root(cfg.out).manifest
        rows = table.scan().select("key", "image", "width", "height", "split").collect()
        sized = choose_sizes(rows, cfg)
        groups = cut(sized.filter(pl.col("target_width").is_not_null()), cfg)
        chunks = [
            Chunk(f"{group.folder}/part-{number:05d}", part)
            for group, parts in groups
            for number, part in enumerate(parts)
        ]
        work = functools.partial(write_part, store=cfg.store, **_decoding(table))
        with track("shard", total=len(chunks)) as progress:
            done = build_executor(cfg.executor).run(work, chunks, cfg.out, progress=progress.reach)
        outcome = _Outcome(
            groups=[group for group, _ in groups],
            parts=dict(zip((chunk.name for chunk in chunks), done, strict=True)),
            dropped=sized.filter(pl.col("target_width").is_null())["key"].sort().to_list(),
        )
        _check_quarantine(cfg, outcome)
        return _publish(cfg, outcome, inputs={"table": table.digest}, settings=settings)


def choose_sizes(rows: pl.DataFrame, cfg: ShardConfig) -> pl.DataFrame:
    """Add `target_width` and `target_height`; null where the picture would be enlarged too much."""
    sizes = enumerate_sizes(cfg.sizes)
    chosen = []
    for width, height in rows.select("width", "height").unique(maintain_order=True).iter_rows():
        target = assign(Size(width, height), sizes)
        fits = cover_scale(Size(width, height), target) <= cfg.max_upscale
        chosen.append((width, height, *(target if fits else (None, None))))
    sides = dict.fromkeys(("width", "height", "target_width", "target_height"), pl.Int32)
    return rows.join(pl.DataFrame(chosen, schema=sides, orient="row"), on=["width", "height"], how="left")


def cut(sized: pl.DataFrame, cfg: ShardConfig) -> list[tuple[Group, list[Part]]]:
    """The groups in row order, each cut into parts of about `shard_bytes`."""
    hashes = [xxhash.xxh64_intdigest(key) for key in sized["key"]]
    ordered = sized.with_columns(
        pl.Series("hash", hashes, dtype=pl.UInt64),
        pl.col("split").replace_strict({split: place for place, split in enumerate(SPLITS)}).alias("place"),
    ).sort("place", "target_width", "target_height", "hash", "key")
    groups = []
    for (split, width, height), frame in ordered.group_by(
        "split", "target_width", "target_height", maintain_order=True
    ):
        size = Size(width, height)
        rows = [
            PartRow(key, image, Size(*source))
            for key, image, *source in frame.select("key", "image", "width", "height").iter_rows()
        ]
        per_part = max(1, cfg.shard_bytes // bytes_per_sample(size, cfg.store))
        # Equal parts: a last part of three pictures would be a file, a download and an open for three pictures.
        count = math.ceil(len(rows) / per_part)
        edges = [len(rows) * i // count for i in range(count + 1)]
        parts = [Part(size, tuple(rows[edges[i] : edges[i + 1]])) for i in range(count)]
        groups.append((Group(split, tier_name(cfg.sizes), size, len(rows), count), parts))
    return groups


@dataclass(frozen=True, slots=True)
class _Outcome:
    groups: list[Group]
    parts: dict[str, Manifest]
    """Path of each part in the root -> its manifest, in row order."""
    dropped: list[str]
    """Keys that are too small."""

    def parts_of(self, group: Group) -> dict[str, Manifest]:
        return {name: part for name, part in self.parts.items() if name.startswith(f"{group.folder}/")}

    @property
    def quarantined(self) -> list[tuple[str, str, str]]:
        return sorted(tuple(each) for part in self.parts.values() for each in part.facts["quarantined"])


def _bind(cfg: ShardConfig, table: tables.Table) -> dict[str, Any]:
    """Write down what the root is made of, or refuse if it was begun with something else."""
    settings = {
        "format": ROOT_FORMAT,
        "table": table.digest,
        **cfg.model_dump(mode="json", include={"store", "sizes", "max_upscale", "shard_bytes"}),
    }
    path = cfg.out / SETTINGS_NAME
    if not path.is_file():
        if has_manifest(cfg.out):
            raise ConfigError(f"out: {cfg.out} is not a shard root of this version; choose another folder")
        fsio.write_json(path, settings)
        return settings
    begun = json.loads(path.read_text(encoding="utf-8"))
    changed = [key for key in sorted(settings.keys() | begun.keys()) if settings.get(key) != begun.get(key)]
    if changed:
        lines = [f"  {key}: {begun.get(key)} in the folder, {settings.get(key)} now" for key in changed]
        raise ConfigError(
            f"out: {cfg.out} was begun with other settings, and the shards of a root must agree:\n"
            + "\n".join(lines)
            + "\nset them back, choose another folder, or remove this one"
        )
    return settings


def _decoding(table: tables.Table) -> dict[str, Any]:
    """How curation decoded the pictures; shards decode them in the same way."""
    pictures = table.manifest.facts["pictures"]
    return {"background": tuple(pictures["background"]), "max_pixels": pictures["max_pixels"]}


def _check_quarantine(cfg: ShardConfig, outcome: _Outcome) -> None:
    seen = sum(part.seen for part in outcome.parts.values())
    refused = outcome.quarantined
    if len(refused) > cfg.quarantine_limit * seen:
        counts = ", ".join(f"{code} {count}" for code, count in sorted(Counter(each[1] for each in refused).items()))
        key, code, detail = refused[0]
        raise QuarantineLimitError(
            f"{cfg.out}: {len(refused)} of {seen} pictures cannot be used ({counts}), more than quarantine_limit "
            f"{cfg.quarantine_limit:.0%} allows; the first is {key}: {code} {detail}. Raise the limit to go on without "
            "them; if they were only out of reach, remove the folder and run again"
        )


def _publish(cfg: ShardConfig, outcome: _Outcome, *, inputs: dict[str, str], settings: dict[str, Any]) -> Manifest:
    """Write the root's own files, the manifest last."""
    root = cfg.out
    groups = []
    for group in outcome.groups:
        parts = outcome.parts_of(group)
        samples = sum(part.kept for part in parts.values())
        if samples:
            fsio.write_json(root / group.folder / INDEX_NAME, _merged_index(root, list(parts)))
            groups.append(group._replace(samples=samples))
    _write_frame(root / SAMPLES_NAME, _samples(outcome))
    too_small = {"key": outcome.dropped, "reason": ["too_small"] * len(outcome.dropped)}
    _write_frame(root / "dropped.parquet", pl.DataFrame(too_small, schema=tables.DROPPED_SCHEMA))
    refused = pl.DataFrame(outcome.quarantined, schema=tables.QUARANTINED_SCHEMA, orient="row")
    _write_frame(root / "quarantined.parquet", refused)

    own = [SAMPLES_NAME, "dropped.parquet", "quarantined.parquet"]
    indexes = [f"{group.folder}/{INDEX_NAME}" for group in groups]
    part_manifests = [f"{name}/{MANIFEST_NAME}" for name in outcome.parts]
    facts = {
        "store": settings["store"],
        "sizes": settings["sizes"],
        "groups": [group._asdict() | {"size": group.size.name} for group in groups],
    }
    if cfg.store.name == "latents":
        facts["latents"] = {"dtype": cfg.store.dtype, "flip": cfg.store.flip, **_latent_facts(root, outcome)}
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
    return write_manifest(root, manifest)


def _merged_index(root: Path, parts: list[str]) -> dict[str, Any]:
    """The shards of all parts in one streaming index, each by its path from the group's folder."""
    shards = []
    for part in parts:
        for shard in json.loads((root / part / INDEX_NAME).read_text(encoding="utf-8"))["shards"]:
            raw = shard["raw_data"] | {"basename": f"{Path(part).name}/{shard['raw_data']['basename']}"}
            shards.append(shard | {"raw_data": raw})
    return {"version": 2, "shards": shards}


def _samples(outcome: _Outcome) -> pl.DataFrame:
    columns: dict[str, list[Any]] = {name: [] for name in ("key", "split", "tier", "width", "height", "part")}
    for group in outcome.groups:
        for name, part in outcome.parts_of(group).items():
            fixed = {"split": group.split, "tier": group.tier, "part": name} | group.size._asdict()
            columns["key"] += part.facts["keys"]
            for column, value in fixed.items():
                columns[column] += [value] * part.kept
    schema = {"key": pl.String, "split": pl.String, "tier": pl.String, "width": pl.Int32, "height": pl.Int32}
    return pl.DataFrame(columns, schema={**schema, "part": pl.String}).with_row_index("row").cast({"row": pl.Int64})


def _latent_facts(root: Path, outcome: _Outcome) -> dict[str, Any]:
    """The VAE, and mean and standard deviation of the stored numbers by channel."""
    facts = [part.facts["latents"] for part in outcome.parts.values()]
    vaes = {fact["vae"] for fact in facts}
    if len(vaes) > 1:
        raise DataError(f"{root}: its parts were encoded by {len(vaes)} different VAEs; remove the folder, run again")
    count = max(1, sum(fact["values_per_channel"] for fact in facts))
    means = [math.fsum(fact["sums"][channel] for fact in facts) / count for channel in range(4)]
    squares = [math.fsum(fact["sums_of_squares"][channel] for fact in facts) / count for channel in range(4)]
    return {
        "vae": facts[0]["vae"],
        "scaling_factor": facts[0]["scaling_factor"],
        "mean": means,
        "std": [math.sqrt(max(0.0, square - mean**2)) for mean, square in zip(means, squares, strict=True)],
    }


def _write_frame(path: Path, frame: pl.DataFrame) -> None:
    with fsio.atomic_file(path) as temporary:
        tables.write_parquet(frame, temporary)
