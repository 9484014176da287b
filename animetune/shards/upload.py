"""A shard root on an object store: shards go there as they are made, and never pile up on this machine.

    worker    part --put--> shard, index, then its manifest      the folder `work` keeps the manifest and the index
    main      root --put--> settings first; indexes and tables when all parts are there; manifest.json last

A part is there when its manifest is, and all that this names. The store is the truth: `work` is brought to agree with
it before anything is made, so a run goes on from either alone, on this machine or another. What is uploaded twice has
the same bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from animetune import fsio, remote
from animetune.errors import DataError
from animetune.manifest import MANIFEST_NAME, Manifest, has_manifest, parse_manifest, read_manifest
from animetune.mds import INDEX_NAME, SHARD_NAME
from animetune.shardset import ROOT_FORMAT, ROOT_KIND

PART_FILES = (SHARD_NAME, INDEX_NAME, MANIFEST_NAME)
"""In the order of upload."""
KEPT_FILES = (INDEX_NAME, MANIFEST_NAME)
"""What is kept here of a part: what the root's own files are put together from."""


def upload_part(name: str, folder: Path, *, url: str) -> None:
    """Upload the finished part in `folder` to `url/name`, and keep only KEPT_FILES of it (an `executor.Deliver`)."""
    for file in PART_FILES:
        if (folder / file).is_file():  # a part without samples has no shard
            remote.put(folder / file, f"{url}/{name}/{file}")
    (folder / SHARD_NAME).unlink(missing_ok=True)


def agree(work: Path, url: str, parts: Iterable[str]) -> None:
    """Let `work` hold KEPT_FILES of the parts that are whole in the store, and of no others."""
    stored = remote.list_files(url)
    for _ in remote.in_threads(functools.partial(_agree, work, url, stored), parts):
        pass


def upload_root(work: Path, url: str, names: Iterable[str]) -> None:
    """Upload the root's own files, `names`, and then its manifest."""
    for _ in remote.in_threads(lambda name: remote.put(work / name, f"{url}/{name}"), names):
        pass
    remote.put(work / MANIFEST_NAME, f"{url}/{MANIFEST_NAME}")


def finished(url: str) -> Manifest | None:
    """The manifest of the root, if it was finished."""
    name = f"{url}/{MANIFEST_NAME}"
    if not remote.exists(name):
        return None
    return parse_manifest(remote.read(name), url, kind=ROOT_KIND, format_version=ROOT_FORMAT)


def _agree(work: Path, url: str, stored: dict[str, int], part: str) -> None:
    ledger = work / part
    if not has_manifest(ledger) and all(f"{part}/{file}" in stored for file in KEPT_FILES):
        with fsio.publish_dir(ledger) as folder:
            for file in KEPT_FILES:
                remote.fetch(f"{url}/{part}/{file}", folder / file)
    if has_manifest(ledger) and not _is_whole(ledger, stored, part):
        fsio.remove(ledger)  # its part is made again


def _is_whole(ledger: Path, stored: dict[str, int], part: str) -> bool:
    """Whether the store has every file of a part, going by their sizes, and what is kept here is as it was written."""
    try:
        manifest = read_manifest(ledger, kind="chunk")
    except DataError:
        return False
    index, record = ledger / INDEX_NAME, manifest.files[INDEX_NAME]
    if not index.is_file() or remote.damage_of(index, sha256=record.sha256) is not None:
        return False
    sizes = {name: record.bytes for name, record in manifest.files.items()}
    sizes[MANIFEST_NAME] = (ledger / MANIFEST_NAME).stat().st_size
    return all(stored.get(f"{part}/{name}") == size for name, size in sizes.items())
