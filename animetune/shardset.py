"""What a shard root and a label set look like on disk. Written by `shards`, read by `data`, `plan` and `report`.

    <root>/manifest.json                              kind `shard-root`, written last; its facts hold the groups
           samples.parquet                            row, key, split, tier, width, height, part
           dropped.parquet, quarantined.parquet       key, reason; key, code, detail
           train/1024/1216x832/index.json             the shards of all its parts, as streaming reads them
           train/1024/1216x832/part-00000/            shard.00000.mds, index.json, manifest.json (kind `chunk`)
           val/...

    <labels>/manifest.json                            kind `label-set`, bound to its root by digest
             steps/01-project-<digest>/labels.arrow   one row per row of samples.parquet (records.LABEL_COLUMNS)

Rows are numbered through the root: split by split, tiers and sizes in numeric order, parts in order. Row i of the
label set labels row i of the root; that is all that ties them, so labels are remade without touching a pixel.

A root may be remote. Its small files are then kept in a local folder, and shards are downloaded as they are needed.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from animetune import fsio
from animetune.errors import DataError, SetupError
from animetune.manifest import MANIFEST_NAME, Manifest, read_manifest
from animetune.records import Label, Size

if TYPE_CHECKING:
    import pyarrow as pa

ROOT_KIND = "shard-root"
ROOT_FORMAT = 2
LABELS_KIND = "label-set"
LABELS_FORMAT = 1

SPLITS = ("train", "val")
SAMPLES_NAME = "samples.parquet"
INDEX_NAME = "index.json"
LABELS_NAME = "labels.arrow"

GEOMETRY_COLUMNS = ("source", "resized", "crop", "origin", "target")
"""Columns of a shard that hold a geometry, int32, in pixels.

`source`, `resized` and `target` are (height, width). `crop` and `origin` are (top, left) in the resized picture: where
the target lies by the rule of the shards, and where that begins which is stored; they are equal without a margin.
"""


class Group(NamedTuple):
    """The samples of one size in one split: a folder of the root, and one stream of the loader."""

    split: str
    tier: str
    size: Size
    samples: int
    parts: int

    @property
    def folder(self) -> str:
        """Path of the group in the root."""
        return f"{self.split}/{self.tier}/{self.size.name}"


@dataclass(frozen=True)
class ShardRoot:
    """A published shard root."""

    folder: Path
    """Where its small files are, and where its shards are or will be downloaded to."""
    remote: str | None
    """Where shards are downloaded from; None for a root that is used in place."""
    manifest: Manifest

    @property
    def digest(self) -> str:
        """Identity of every sample in the root."""
        return self.manifest.digest

    @property
    def store(self) -> str:
        """`pixels` or `latents`."""
        return self.manifest.facts["store"]["name"]

    @property
    def latents(self) -> dict[str, Any] | None:
        """`dtype`, `flip`, `vae` (digest), `scaling_factor`, `mean` and `std` by channel; None for pixels."""
        return self.manifest.facts.get("latents")

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """All groups that have samples, in row order."""
        return tuple(
            Group(each["split"], each["tier"], Size.parse(each["size"]), each["samples"], each["parts"])
            for each in self.manifest.facts["groups"]
        )

    def groups_of(self, split: str) -> tuple[Group, ...]:
        """The groups of one split."""
        return tuple(group for group in self.groups if group.split == split)

    def rows_of(self, split: str) -> range:
        """The rows of one split."""
        start = 0
        for each in SPLITS:
            stop = start + sum(group.samples for group in self.groups_of(each))
            if each == split:
                return range(start, stop)
            start = stop
        raise ValueError(f"{split!r} is no split; there are {', '.join(SPLITS)}")

    def index(self, group: Group) -> list[dict[str, Any]]:
        """The shards of a group as its index lists them: `samples`, `raw_data.basename`, hashes ..."""
        path = self.folder / group.folder / INDEX_NAME
        try:
            return json.loads(path.read_text(encoding="utf-8"))["shards"]
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path}: is missing or damaged ({error}); `animetune verify` says what else is") from error

    def fetch_shards(self, split: str) -> None:
        """Download every shard of a split that is not here yet; nothing to do for a root that is used in place."""
        if self.remote is not None:
            for group in self.groups_of(split):
                for shard in self.index(group):
                    _fetch(self.remote, f"{group.folder}/{shard['raw_data']['basename']}", self.folder)

    def samples(self, *columns: str) -> pa.Table:
        """`samples.parquet`, or some columns of it."""
        import pyarrow.parquet

        return pyarrow.parquet.read_table(self.folder / SAMPLES_NAME, columns=list(columns) or None)


def open_root(location: str | os.PathLike[str], *, cache: str | os.PathLike[str] | None = None) -> ShardRoot:
    """Open a shard root at a path or an fsspec URL.

    With `cache`, a local folder, the root's small files are copied there now and its shards when they are used; a
    remote root needs one. Raises DataError when the root is absent, unfinished, no shard root, or not the one that
    `cache` holds copies of; FormatVersionError for another version; SetupError when `cache` is missing.
    """
    remote = _without_file_scheme(os.fspath(location))
    if cache is None:
        if "://" in remote:
            raise SetupError(f"{remote}: the shards of a remote root need a folder on this machine: set `cache`")
        return ShardRoot(Path(remote), None, read_manifest(remote, kind=ROOT_KIND, format_version=ROOT_FORMAT))
    folder = Path(cache)
    manifest = _fetch_manifest(remote, folder, kind=ROOT_KIND, format_version=ROOT_FORMAT)
    for name in manifest.files:
        if name == SAMPLES_NAME or (name.endswith(f"/{INDEX_NAME}") and "/part-" not in name):
            _fetch(remote, name, folder)
    return ShardRoot(folder, remote, manifest)


@dataclass(frozen=True)
class LabelSet:
    """A published label set; rows are read from a memory map, so that all workers share its pages."""

    folder: Path
    manifest: Manifest

    @property
    def digest(self) -> str:
        """Identity of every label."""
        return self.manifest.digest

    @property
    def content(self) -> str:
        """Hex SHA-256 of the Arrow file: equal for equal labels, however they were made."""
        return self.manifest.files[_labels_name(self.manifest)].sha256

    @property
    def file(self) -> Path:
        """The Arrow file."""
        return self.folder / _labels_name(self.manifest)

    def __len__(self) -> int:
        return self._batch.num_rows

    @cached_property
    def repeats(self) -> np.ndarray:
        """float32 (rows,): expected count of each row in an epoch."""
        return self._batch.column("repeats").to_numpy()

    @cached_property
    def loss_weights(self) -> np.ndarray:
        """float32 (rows,): factor on each row's loss."""
        return self._batch.column("loss_weight").to_numpy()

    def label(self, row: int) -> Label:
        """All that a prompt is composed from."""
        fields: dict[str, Any] = {}
        for name in _LABEL_FIELDS:
            value = self._columns[name][row].as_py()
            fields[name] = tuple(value) if isinstance(value, list) else value
        return Label(**fields)

    def column(self, name: str) -> pa.Array:
        """A whole column of `records.LABEL_COLUMNS`."""
        return self._columns[name]

    @cached_property
    def _columns(self) -> dict[str, pa.Array]:
        return dict(zip(self._batch.schema.names, self._batch.columns, strict=True))

    @cached_property
    def _batch(self) -> pa.RecordBatch:
        import pyarrow as pa

        try:
            with pa.ipc.open_file(pa.memory_map(str(self.file))) as reader:
                batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{self.file}: cannot be read: {error}; run the labels stage again") from error
        if len(batches) != 1:  # `labels` writes one, so that a row is found without a search
            raise DataError(f"{self.file}: has {len(batches)} record batches, not 1; run the labels stage again")
        return batches[0]


def open_labels(
    location: str | os.PathLike[str], root: ShardRoot | None = None, *, cache: str | os.PathLike[str] | None = None
) -> LabelSet:
    """Open a label set at a path or an fsspec URL (then `cache` is the local folder for its copy).

    Raises DataError when it is absent, unfinished, no label set, or made for another root than `root`.
    """
    remote = _without_file_scheme(os.fspath(location))
    if cache is not None and "://" in remote:
        folder = Path(cache)
        manifest = _fetch_manifest(remote, folder, kind=LABELS_KIND, format_version=LABELS_FORMAT)
        _fetch(remote, _labels_name(manifest), folder)
    elif "://" in remote:
        raise SetupError(f"{remote}: remote labels need a folder on this machine: set `cache`")
    else:
        folder = Path(remote)
        manifest = read_manifest(folder, kind=LABELS_KIND, format_version=LABELS_FORMAT)
    if root is not None and manifest.inputs["shards"] != root.digest:
        raise DataError(
            f"{remote}: these labels were made for another shard root (digest {manifest.inputs['shards'][:12]}) than "
            f"{root.remote or root.folder} ({root.digest[:12]}); run the labels stage on this root"
        )
    return LabelSet(folder, manifest)


_LABEL_FIELDS = tuple(field.name for field in dataclasses.fields(Label))


def _labels_name(manifest: Manifest) -> str:
    return next(name for name in manifest.files if name.endswith(f"/{LABELS_NAME}"))


def _without_file_scheme(location: str) -> str:
    return location.removeprefix("file://").rstrip("/")


def _fetch_manifest(remote: str, folder: Path, *, kind: str, format_version: int) -> Manifest:
    """The remote manifest, copied into `folder`, which may hold copies of nothing else."""
    held = folder / MANIFEST_NAME
    data = _read(f"{remote}/{MANIFEST_NAME}")
    if held.is_file() and held.read_bytes() != data:
        raise DataError(
            f"{folder}: holds copies of another {kind} than {remote}; remove the folder or choose another cache"
        )
    if not held.is_file():
        fsio.atomic_write(held, data)
    return read_manifest(folder, kind=kind, format_version=format_version)


def _fetch(remote: str, name: str, folder: Path) -> None:
    # Every rank of a node may do this at once: files appear whole, and all copies are equal.
    if not (folder / name).is_file():
        fsio.atomic_write(folder / name, _read(f"{remote}/{name}"))


def _read(url: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(url, "rb") as stream:
            return stream.read()
    except FileNotFoundError as error:
        raise DataError(f"{url}: does not exist; is this where the stage wrote to, and did it finish?") from error
    except ImportError as error:
        raise SetupError(f"{url}: {error}; install animetune with the extra of this protocol, e.g. [s3]") from error
