"""The `labels` stage: a curated table projected onto a shard root, one row per sample, in the root's order.

A label set costs minutes where shards cost days, so everything that people change lives here: captions, tags, classes,
repeats. A second training stage over the same shards is a second label set, with `keep` or from another table.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl

from animetune import fsio, tables
from animetune.errors import DataError
from animetune.manifest import Manifest, has_manifest, read_manifest, record_files, write_manifest
from animetune.records import LABEL_COLUMNS
from animetune.shards.config import LabelFilter, LabelsConfig
from animetune.shardset import LABELS_FORMAT, LABELS_KIND, LABELS_NAME, SAMPLES_NAME, ShardRoot, open_root

MISSING_NAME = "missing.txt"
"""Keys of the table that have no sample, and that the shard stage did not refuse; one a line."""


def run(cfg: LabelsConfig) -> Manifest:
    """Write the label set, or find it; the set in `out` is replaced at once when table, root or settings changed.

    Raises DataError when more than `missing_limit` of the table's rows have no sample, or its repeats are no counts.
    """
    table = tables.open_table(cfg.table)
    root = open_root(cfg.shards)
    settings = cfg.model_dump(mode="json", include={"keep", "tiers"})
    inputs = {"shards": root.digest, "table": table.digest}
    depends_on = {"format": LABELS_FORMAT, "settings": settings, "inputs": inputs}
    digest = hashlib.sha256(fsio.canonical_json(depends_on).encode()).hexdigest()
    step = f"steps/01-project-{digest[:16]}"
    with fsio.lock(cfg.out):
        fsio.sweep(cfg.out)
        if not has_manifest(cfg.out / step):
            with fsio.publish_dir(cfg.out / step) as folder:
                manifest = _project(table, root, cfg, folder)
                write_manifest(folder, manifest.model_copy(update={"config_digest": digest, "inputs": inputs}))
        manifest = read_manifest(cfg.out / step, kind=LABELS_KIND, format_version=LABELS_FORMAT)
        files = {f"{step}/{name}": record for name, record in manifest.files.items()}
        return write_manifest(cfg.out, manifest.model_copy(update={"files": files}))


def _project(table: tables.Table, root: ShardRoot, cfg: LabelsConfig, folder: Path) -> Manifest:
    """Write labels.arrow and missing.txt. Its manifest counts samples; `dropped` are those that are never drawn."""
    names = [column.name for column in LABEL_COLUMNS]
    samples = pl.read_parquet(root.folder / SAMPLES_NAME, columns=["row", "key", "split"])
    rows = table.scan().select(names).collect()
    _check_rows(rows, table)
    missing = _check_missing(rows, samples, root, cfg)

    kept = rows.with_columns(pl.when(_keeps(cfg.keep)).then("repeats").otherwise(0.0).alias("repeats"))
    labelled = samples.join(kept.with_columns(in_table=True), on="key", how="left", maintain_order="left").sort("row")
    if cfg.tiers == "divide":
        labelled = labelled.with_columns(pl.col("repeats") / pl.len().over("key"))
    absent = pl.col("in_table").is_null()
    counts = labelled.select(
        not_in_table=absent.sum(),
        filtered=(~absent & (pl.col("repeats") == 0)).sum(),
        drawn=(pl.col("repeats") > 0).sum(),
        per_epoch=pl.col("repeats").filter(pl.col("split") == "train").cast(pl.Float64).sum(),
    ).row(0, named=True)

    lists = [column.name for column in LABEL_COLUMNS if column.dtype == "list[str]"]
    labels = labelled.select(
        pl.col("repeats", "loss_weight").cast(pl.Float32).fill_null(0.0),
        pl.col(lists).fill_null([]),
        pl.exclude("repeats", "loss_weight", *lists),
    ).select(names)
    # One uncompressed record batch: a row is found by its number in a memory map.
    labels.rechunk().write_ipc(
        folder / LABELS_NAME,
        compression="uncompressed",
        record_batch_size=max(1, labels.height),
        compat_level=pl.CompatLevel.oldest(),
    )
    (folder / MISSING_NAME).write_text("".join(f"{key}\n" for key in missing), encoding="utf-8")
    manifest = Manifest(
        kind=LABELS_KIND,
        format_version=LABELS_FORMAT,
        seen=labelled.height,
        kept=counts["drawn"],
        dropped={"not_in_table": counts["not_in_table"], "repeats_0": counts["filtered"]},
        facts={"expected_samples_per_epoch": counts["per_epoch"], "missing": len(missing)},
        files=record_files(folder),
    )
    manifest.check_outcomes()
    return manifest


def _keeps(keep: LabelFilter) -> pl.Expr:
    """Whether a row passes every list of the filter."""
    passes = pl.lit(True)
    for name, values in keep.model_dump(exclude_none=True).items():
        passes &= pl.col(name).is_in(list(values), nulls_equal=True)
    return passes


def _check_rows(rows: pl.DataFrame, table: tables.Table) -> None:
    for name in ("repeats", "loss_weight"):
        wrong = rows.filter(pl.col(name).is_null() | ~pl.col(name).is_finite() | (pl.col(name) < 0))
        if wrong.height:
            key, value = wrong.row(0, named=True)["key"], wrong.row(0, named=True)[name]
            raise DataError(
                f"{table.folder}: {name} of {key} is {value} ({wrong.height} such rows); it must be a finite number "
                "that is not negative; run curate again"
            )
    doubled = rows.filter(pl.col("key").is_duplicated())
    if doubled.height:
        raise DataError(
            f"{table.folder}: the key {doubled['key'][0]} occurs more than once; keys are unique in a table"
        )


def _check_missing(rows: pl.DataFrame, samples: pl.DataFrame, root: ShardRoot, cfg: LabelsConfig) -> list[str]:
    """Keys of the table without a sample, in order; DataError when they are too many."""
    refused = pl.concat(
        [pl.read_parquet(root.folder / name, columns=["key"]) for name in ("dropped.parquet", "quarantined.parquet")]
    )
    missing = rows.select("key").join(samples, on="key", how="anti").join(refused, on="key", how="anti")["key"].sort()
    if len(missing) > cfg.missing_limit * rows.height:
        raise DataError(
            f"{cfg.table}: {len(missing)} of {rows.height} rows have no sample in {cfg.shards}, the first is "
            f"{missing[0]}; missing_limit allows {cfg.missing_limit:.1%}. Make a new root of this table, or raise the "
            "limit to train without them"
        )
    return missing.to_list()
