"""The `labels` stage: a curated table projected onto a shard root, one row per sample, in the root's order.

A label set costs minutes where shards cost days, so everything that people change lives here: captions, tags, classes,
repeats. A second training stage over the same shards is a second label set, with `keep` or from another table.

    table --keys, numbers--> the place of every sample
          --texts, part by part--> blocks of neighbouring samples --> a file for every buffer --> labels.arrow

A sample's place in the table is as good as random, and texts are larger than all else together. They are therefore
sorted on disk: each part of the table is spread over the blocks, then each block is put in order in memory. That takes
the memory of a part and a block, beside some 200 bytes a row for keys; for a while, the disk holds the texts twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from animetune import fsio, tables
from animetune.errors import DataError
from animetune.manifest import Manifest, check_place, has_manifest, read_manifest, record_files, write_manifest
from animetune.progress import Progress, track
from animetune.records import LABEL_COLUMNS
from animetune.shards.config import LabelFilter, LabelsConfig
from animetune.shardset import LABELS_FORMAT, LABELS_KIND, LABELS_NAME, SAMPLES_NAME, ShardRoot, copies_in, open_root

MISSING_NAME = "missing.txt"
"""Keys of the table that have no sample, and that the shard stage did not refuse; one a line."""
BLOCK_ROWS = 1 << 17
"""Samples that are put in order at once; a multiple of 8, since Arrow has one bit a row for nulls."""
NOT_IN_TABLE = -1
"""Place of a sample whose key the table does not have."""

_STRING = pa.large_string()  # offsets of 64 bits: captions of five million rows exceed the 2 GiB that 32 bits reach
_TEXTS = {
    column.name: pa.large_list(pa.field("item", _STRING)) if column.dtype == "list[str]" else _STRING
    for column in LABEL_COLUMNS
    if column.dtype in ("str", "list[str]") and column.name != "key"
}
"""Columns that are sorted on disk, and their types."""


def run(cfg: LabelsConfig) -> Manifest:
    """Write the label set, or find it; the set in `out` is replaced at once when table, root or settings changed.

    The one before stays in `out/steps`: a training that reads it goes on, and to go back to it costs nothing.

    Raises ConfigError when `out` holds the output of another stage, DataError when more than `missing_limit` of the
    table's rows have no sample, or its repeats are no counts.
    """
    check_place(cfg.out, LABELS_KIND)
    table = tables.open_table(cfg.table)
    copies = None if cfg.cache is None else copies_in(cfg.cache, "shards", cfg.shards)
    root = open_root(cfg.shards, cache=copies)
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
    samples = pl.read_parquet(root.checked_file(SAMPLES_NAME), columns=["key", "split"])
    joined = _join(table, samples, root, cfg)
    with tempfile.TemporaryDirectory(dir=folder, prefix=fsio.TEMP_PREFIX) as scratch:
        columns = _sort_texts(table, joined.places, Path(scratch))
        columns["key"] = samples["key"].to_arrow(compat_level=pl.CompatLevel.oldest())
        columns["repeats"] = pa.array(joined.repeats)
        columns["loss_weight"] = pa.array(joined.loss_weights)
        batch = pa.record_batch({column.name: columns[column.name] for column in LABEL_COLUMNS})
        # One uncompressed record batch: a row is found by its number in a memory map.
        many_tags = pa.ipc.IpcWriteOptions(allow_64bit=True)
        with pa.ipc.new_file(folder / LABELS_NAME, batch.schema, options=many_tags) as file:
            file.write_batch(batch)
    (folder / MISSING_NAME).write_text("".join(f"{key}\n" for key in joined.missing), encoding="utf-8")

    absent = joined.places == NOT_IN_TABLE
    train = (samples["split"] == "train").to_numpy()
    manifest = Manifest(
        kind=LABELS_KIND,
        format_version=LABELS_FORMAT,
        seen=samples.height,
        kept=int((joined.repeats > 0).sum()),
        dropped={"not_in_table": int(absent.sum()), "repeats_0": int((~absent & (joined.repeats == 0)).sum())},
        facts={
            "expected_samples_per_epoch": float(joined.repeats[train].sum(dtype=np.float64)),
            "missing": len(joined.missing),
        },
        files=record_files(folder),
    )
    manifest.check_outcomes()
    return manifest


@dataclass(frozen=True, slots=True)
class _Joined:
    """What a label set says of every sample, but its texts."""

    places: np.ndarray
    """int64 (samples,): row in the table, or NOT_IN_TABLE."""
    repeats: np.ndarray
    """float32 (samples,)"""
    loss_weights: np.ndarray
    """float32 (samples,)"""
    missing: list[str]
    """Keys of the table that have no sample, in order."""


def _join(table: tables.Table, samples: pl.DataFrame, root: ShardRoot, cfg: LabelsConfig) -> _Joined:
    rows = table.scan().select("key", "repeats", "loss_weight", kept=_keeps(cfg.keep)).collect()
    _check_rows(rows, table)
    missing = _check_missing(rows, samples, root, cfg)
    found = samples.join(rows.select("key").with_row_index("place"), on="key", how="left", maintain_order="left")
    places = found["place"].cast(pl.Int64).fill_null(NOT_IN_TABLE).to_numpy()
    repeats = np.where(rows["kept"], rows["repeats"], 0.0)
    if cfg.tiers == "divide":
        repeats /= np.maximum(1, np.bincount(places[places != NOT_IN_TABLE], minlength=rows.height))

    def by_sample(values: np.ndarray) -> np.ndarray:
        return np.append(values, 0.0).astype(np.float32)[places]  # NOT_IN_TABLE is the number of the last, a zero

    return _Joined(places, by_sample(repeats), by_sample(rows["loss_weight"].to_numpy()), missing)


def _sort_texts(table: tables.Table, places: np.ndarray, scratch: Path) -> dict[str, pa.Array]:
    """The text columns in the order of the samples, mapped from files in `scratch`."""
    columns = {name: _Column(scratch / name, dtype) for name, dtype in _TEXTS.items()}
    edges = np.append(np.arange(0, len(places), BLOCK_ROWS), len(places))
    blocks = [scratch / f"{first}.arrows" for first in edges[:-1]]
    with track("labels", total=2 * len(places)) as progress:
        _spread(table, places, edges, blocks, progress)
        for path, (first, stop) in zip(blocks, itertools.pairwise(edges), strict=True):
            block = _in_order(path, int(first), int(stop))
            path.unlink()
            for name, column in columns.items():
                column.append(block[name].combine_chunks())
            progress.advance(len(block))
    return {name: column.mapped() for name, column in columns.items()}


def _spread(table: tables.Table, places: np.ndarray, edges: np.ndarray, blocks: list[Path], progress: Progress) -> None:
    """Write the texts of the samples `edges[i]` to `edges[i + 1]` to `blocks[i]`, in the order of the table's parts."""
    lists = [name for name, dtype in _TEXTS.items() if pa.types.is_large_list(dtype)]
    schema = pa.schema([("sample", pa.int64()), *_TEXTS.items()])
    options = pa.ipc.IpcWriteOptions(compression="lz4")  # costs less than writing the rest
    by_place = np.argsort(places, kind="stable")
    sorted_places = places[by_place]
    first = 0
    with contextlib.ExitStack() as opened:
        files = [opened.enter_context(pa.ipc.new_stream(path, schema, options=options)) for path in blocks]
        for part in table.parts:
            rows = pl.read_parquet(part, columns=list(_TEXTS))
            cut = np.searchsorted(sorted_places, (first, first + rows.height))
            samples = np.sort(by_place[slice(*cut)])
            texts = rows[places[samples] - first].with_columns(sample=pl.Series(samples)).select(schema.names)
            spread = texts.to_arrow(compat_level=pl.CompatLevel.oldest())
            for name in lists:
                if any(chunk.values.null_count for chunk in spread[name].chunks):
                    raise DataError(f"{part}: a list of {name} holds a null; run curate again")
            for file, (start, stop) in zip(files, itertools.pairwise(np.searchsorted(samples, edges)), strict=True):
                file.write_table(spread.slice(start, stop - start))
            first += rows.height
            progress.advance(len(samples))


def _in_order(path: Path, first: int, stop: int) -> pa.Table:
    """The block of the samples `first` to `stop`; those that it does not hold are null."""
    with pa.memory_map(str(path)) as file:
        block = pa.ipc.open_stream(file).read_all().combine_chunks()
    at = np.full(stop - first, NOT_IN_TABLE)
    at[block["sample"].to_numpy() - first] = np.arange(len(block))
    return block.take(pa.array(at, mask=at == NOT_IN_TABLE))


class _Column:
    """A text column that grows on disk, in a file for each of its Arrow buffers."""

    def __init__(self, stem: Path, dtype: pa.DataType):
        self._stem = stem
        self._dtype = dtype
        self._is_list = pa.types.is_large_list(dtype)
        self._valid: list[pa.Array] = []
        self._ends = {"lists": 0, "strings": 0}
        for name in self._ends:
            self._append(name, pa.py_buffer(np.zeros(1, np.int64)))
        self._append("text", pa.py_buffer(b""))

    def append(self, values: pa.Array) -> None:
        """Add values; a null list becomes an empty one. Lists must hold no nulls."""
        self._valid.append(values.is_valid())
        if self._is_list:
            values = values.values[self._append_ends("lists", values)]
        self._append("text", values.buffers()[2][self._append_ends("strings", values)])

    def mapped(self) -> pa.Array:
        """The whole column."""
        if not self._valid:
            return pa.array([], self._dtype)
        valid = pa.concat_arrays(self._valid)
        strings, text = self._map("strings"), self._map("text")
        if self._is_list:
            items = pa.Array.from_buffers(_STRING, strings.size // 8 - 1, [None, strings, text])
            return pa.Array.from_buffers(self._dtype, len(valid), [None, self._map("lists")], children=[items])
        validity = valid.buffers()[1] if valid.false_count else None
        return pa.Array.from_buffers(_STRING, len(valid), [validity, strings, text])

    def _append_ends(self, name: str, values: pa.Array) -> slice:
        """Add where each value ends in what they consist of; returns where that is in `values`."""
        offsets = np.frombuffer(values.buffers()[1], np.int64)[values.offset : values.offset + len(values) + 1]
        self._append(name, pa.py_buffer(self._ends[name] + offsets[1:] - offsets[0]))
        self._ends[name] += int(offsets[-1] - offsets[0])
        return slice(int(offsets[0]), int(offsets[-1]))

    def _append(self, name: str, data: pa.Buffer) -> None:
        temporary = f"{self._stem}.{name}"
        with open(temporary, "ab") as file:
            file.write(data)

    def _map(self, name: str) -> pa.Buffer:
        with pa.memory_map(f"{self._stem}.{name}") as file:
            return file.read_buffer() if file.size() else pa.py_buffer(b"")  # none would be no buffer at all


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
            first = wrong.row(0, named=True)
            raise DataError(
                f"{table.folder}: {name} of {first['key']} is {first[name]} ({wrong.height} such rows); it must be a "
                "finite number that is not negative; run curate again"
            )
    doubled = rows.filter(pl.col("key").is_duplicated())
    if doubled.height:
        raise DataError(
            f"{table.folder}: the key {doubled['key'][0]} occurs more than once; keys are unique in a table"
        )


def _check_missing(rows: pl.DataFrame, samples: pl.DataFrame, root: ShardRoot, cfg: LabelsConfig) -> list[str]:
    """Keys of the table without a sample, in order; DataError when they are too many."""
    refused = pl.concat(
        [
            pl.read_parquet(root.checked_file(name), columns=["key"])
            for name in ("dropped.parquet", "quarantined.parquet")
        ]
    )
    missing = rows.select("key").join(samples, on="key", how="anti").join(refused, on="key", how="anti")["key"].sort()
    if len(missing) > cfg.missing_limit * rows.height:
        raise DataError(
            f"{cfg.table}: {len(missing)} of {rows.height} rows have no sample in {cfg.shards}, the first is "
            f"{missing[0]}; missing_limit allows {cfg.missing_limit:.1%}. Make a new root of this table, or raise the "
            "limit to train without them"
        )
    return missing.to_list()
