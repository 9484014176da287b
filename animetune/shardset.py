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

Nothing here is trusted because it is there: manifests hold their own digest, small files are read only if they have the
hash that the manifest says, and an index may name nothing but the shards of its own folder.
"""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import pydantic

from animetune import fsio, remote
from animetune.errors import DataError, SetupError
from animetune.manifest import MANIFEST_NAME, Manifest, parse_manifest, read_manifest
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

REPAIR = (
    "restore it from a copy, or remove the folder of its part and the root's manifest.json and run `animetune shard` "
    "again; `animetune verify` names all that is damaged"
)
"""What to do about a damaged file of a root that is used in place. The rest of the root stays, and so do its labels."""

GEOMETRY_COLUMNS = ("source", "resized", "crop", "origin", "target")
"""Columns of a shard that hold a geometry, int32, in pixels.

`source`, `resized` and `target` are (height, width). `crop` and `origin` are (top, left) in the resized picture: where
the target lies by the rule of the shards, and where that begins which is stored; they are equal without a margin.
"""

MASK_COLUMN = "mask"
"""Column of bytes in the shards of a root in which any picture has a mask; empty for a picture without one.

With pixels a grey PNG of the size of the stored picture, with latents uint8 (h / 8, w / 8), each the mean of its 64
pixels; 255 counts fully in the loss, 0 not at all.
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
    _indexes: dict[Group, list[dict[str, Any]]] = field(default_factory=dict, init=False, repr=False, compare=False)

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
        """`dtype`, `flip`, `std` and `compute` as configured, `vae` (digest), `scaling_factor`, and `channel_mean` and
        `channel_std` of the stored means; None for pixels."""
        return self.manifest.facts.get("latents")

    @property
    def has_masks(self) -> bool:
        """Whether its shards have a column of masks."""
        return self.manifest.facts.get("masks", False)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """All groups that have samples, in row order."""
        groups = []
        for each in self.manifest.facts["groups"]:
            if each["split"] not in SPLITS or not each["tier"].isdecimal():
                raise DataError(f"{self.folder}: has a group that cannot be: {each}; make the shards again")
            groups.append(Group(each["split"], each["tier"], Size.parse(each["size"]), each["samples"], each["parts"]))
        return tuple(groups)

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
        """The shards of a group as its index lists them: `samples`, `raw_data.basename`, hashes ... Read once.

        Raises DataError when the index is missing, is not as it was written, is of another format, or names anything
        but shards inside the folder of its group.
        """
        if group in self._indexes:
            return self._indexes[group]
        path = self.checked_file(f"{group.folder}/{INDEX_NAME}")
        try:
            index = json.loads(path.read_bytes())
            _Index.model_validate(index)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise DataError(
                f"{path}: is no index of this version: {place} is {first['input']!r} ({first['msg']}); make the shards "
                "again"
            ) from error
        except ValueError as error:
            raise DataError(f"{path}: is no index: {error}; make the shards again") from error
        listed = sum(shard["samples"] for shard in index["shards"])
        if listed != group.samples:
            raise DataError(f"{path}: lists {listed} samples, its root has {group.samples}; make the shards again")
        shards = self._indexes[group] = index["shards"]
        return shards

    def check(self, split: str) -> None:
        """Raise DataError unless every index of a split is sound and no shard of a root in place is missing or cut.

        One look at each shard's entry in its folder; that its bytes are those written is for whoever reads them.
        """
        for group in self.groups_of(split):
            shards = self.index(group)
            if self.remote is None:
                folder = self.folder / group.folder
                for shard in shards:
                    _check_entry(folder / shard["raw_data"]["basename"], shard["raw_data"]["bytes"])

    def fetch_shards(self, split: str) -> None:
        """Download every shard of a split that is not here yet; nothing to do for a root that is used in place."""
        if self.remote is None:
            return

        def fetch(shard: tuple[str, dict[str, Any]]) -> None:
            folder, raw = shard
            name = f"{folder}/{raw['basename']}"
            if not _is_held(self.folder / name, raw["bytes"]):
                hashes = {"xxh64": raw["hashes"]["xxh64"]}
                remote.fetch(f"{self.remote}/{name}", self.folder / name, size=raw["bytes"], **hashes)

        groups = self.groups_of(split)
        for _ in remote.in_threads(
            fetch, [(group.folder, shard["raw_data"]) for group in groups for shard in self.index(group)]
        ):
            pass

    def samples(self, *columns: str) -> pa.Table:
        """`samples.parquet`, or some columns of it. Raises DataError when it is missing or changed."""
        import pyarrow.parquet

        return pyarrow.parquet.read_table(self.checked_file(SAMPLES_NAME), columns=list(columns) or None)

    def checked_file(self, name: str) -> Path:
        """The path of one of the root's small files; DataError unless its bytes are those that the manifest says."""
        path = self.folder / name
        record = self.manifest.files.get(name)
        if record is not None and self.remote is not None:
            _fetch_recorded(self.remote, name, self.folder, self.manifest)
        if record is None or not path.is_file():
            raise DataError(f"{path}: is missing; {self.remedy}")
        damage = remote.damage_of(path, size=record.bytes, sha256=record.sha256)
        if damage is not None:
            raise DataError(f"{path}: is damaged: {damage}; {self.remedy}")
        return path

    @property
    def remedy(self) -> str:
        """What to do about a damaged file: of the root itself, or of a copy."""
        return REPAIR if self.remote is None else "remove this copy and run again"


class _Hashes(pydantic.BaseModel):
    xxh64: Annotated[str, pydantic.Field(pattern="^[0-9a-f]{16}$")]


class _ShardFile(pydantic.BaseModel):
    basename: Annotated[str, pydantic.Field(pattern=r"^part-\d{5,}/shard\.\d{5}\.mds$")]
    """From the folder of the group; streaming would follow any path."""
    bytes: pydantic.PositiveInt
    hashes: _Hashes


class _Shard(pydantic.BaseModel):
    """What the loader relies on, and what it must never be given: pickles, or a format that is read otherwise."""

    version: Literal[2]
    format: Literal["mds"]
    compression: None
    zip_data: None
    column_encodings: list[Literal["str", "bytes", "ndarray:int32:2"]]
    samples: pydantic.PositiveInt
    raw_data: _ShardFile


class _Index(pydantic.BaseModel):
    version: Literal[2]
    shards: list[_Shard]


def open_root(location: str | os.PathLike[str], *, cache: str | os.PathLike[str] | None = None) -> ShardRoot:
    """Open a shard root at a path or an fsspec URL.

    With `cache`, a local folder, the root's small files are copied there now and its shards when they are used; a
    remote root needs one. Raises DataError when the root is absent, unfinished, no shard root, or not the one that
    `cache` holds copies of; FormatVersionError for another version; SetupError when `cache` is missing.
    """
    remote_root = _named(location)
    if cache is None:
        if remote.is_remote(remote_root):
            raise SetupError(f"{remote_root}: the shards of a remote root need a folder on this machine: set `cache`")
        manifest = read_manifest(remote_root, kind=ROOT_KIND, format_version=ROOT_FORMAT)
        return ShardRoot(Path(remote_root), None, manifest)
    folder = Path(cache)
    manifest = _fetch_manifest(remote_root, folder, kind=ROOT_KIND, format_version=ROOT_FORMAT)
    root = ShardRoot(folder, remote_root, manifest)
    names = [f"{group.folder}/{INDEX_NAME}" for group in root.groups]
    for _ in remote.in_threads(lambda name: _fetch_recorded(remote_root, name, folder, manifest), names):
        pass
    return root


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

        expected = self.manifest.files[_labels_name(self.manifest)].bytes
        if not _is_held(self.file, expected):
            raise DataError(
                f"{self.file}: is missing or has not the {expected} bytes written; run the labels stage again"
            )
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
    where = _named(location)
    if not remote.is_remote(where):
        folder = Path(where)
        manifest = read_manifest(folder, kind=LABELS_KIND, format_version=LABELS_FORMAT)
    elif cache is None:
        raise SetupError(f"{where}: remote labels need a folder on this machine: set `cache`")
    else:
        folder = Path(cache)
        manifest = _fetch_manifest(where, folder, kind=LABELS_KIND, format_version=LABELS_FORMAT)
        _fetch_recorded(where, _labels_name(manifest), folder, manifest)
    if root is not None and manifest.inputs["shards"] != root.digest:
        raise DataError(
            f"{where}: these labels were made for another shard root (digest {manifest.inputs['shards'][:12]}) than "
            f"{root.remote or root.folder} ({root.digest[:12]}); run the labels stage on this root"
        )
    return LabelSet(folder, manifest)


def copies_in(cache: str | os.PathLike[str], kind: str, location: str | os.PathLike[str]) -> Path:
    """The folder of a cache for the copies of a location; `kind` is for those who look."""
    return Path(cache, f"{kind}-{fsio.short_digest(os.fspath(location).rstrip('/'))}")


_LABEL_FIELDS = tuple(field.name for field in dataclasses.fields(Label))


def _labels_name(manifest: Manifest) -> str:
    return next(name for name in manifest.files if name.endswith(f"/{LABELS_NAME}"))


def _named(location: str | os.PathLike[str]) -> str:
    return remote.without_file_scheme(location).rstrip("/")


def _fetch_manifest(url: str, folder: Path, *, kind: str, format_version: int) -> Manifest:
    """The remote manifest, copied into `folder`, which may hold copies of nothing else."""
    held = folder / MANIFEST_NAME
    data = remote.read(f"{url}/{MANIFEST_NAME}")
    manifest = parse_manifest(data, url, kind=kind, format_version=format_version)
    if not held.is_file():
        fsio.atomic_write(held, data)
    elif held.read_bytes() != data:
        if kind == ROOT_KIND:
            raise DataError(
                f"{folder}: holds copies of another shard root than {url} is now; remove the folder or choose another "
                "cache"
            )
        _drop_copies(folder)  # labels are remade at will
        fsio.atomic_write(held, data)
    return manifest


def _drop_copies(folder: Path) -> None:
    """Remove the copies that the manifest of a cache names; the manifest last."""
    held = folder / MANIFEST_NAME
    for name in parse_manifest(held.read_bytes(), held).files:
        if (folder / name).is_file():
            fsio.remove(folder / name)
    fsio.remove(held)


def _fetch_recorded(url: str, name: str, folder: Path, manifest: Manifest) -> None:
    """Copy a file of a manifest, unless it is here. All ranks of a node may do so at once."""
    record = manifest.files[name]
    if not _is_held(folder / name, record.bytes):
        remote.fetch(f"{url}/{name}", folder / name, size=record.bytes, sha256=record.sha256)


def _is_held(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _check_entry(path: Path, size: int) -> None:
    """Raise DataError unless there is a file of this size, and not one elsewhere that a link leads to."""
    try:
        entry = os.lstat(path)
        is_link = stat.S_ISLNK(entry.st_mode) or path.parent.is_symlink()
    except OSError as error:
        raise DataError(f"{path}: is missing ({error.strerror}); {REPAIR}") from error
    if is_link:
        raise DataError(f"{path}: is a link to a file elsewhere; put the shard itself there")
    if entry.st_size != size:
        raise DataError(f"{path}: has {entry.st_size} bytes, {size} were written; {REPAIR}")
