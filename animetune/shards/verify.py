"""Check what a stage published, every byte of it: shard roots and label sets, in a folder or behind a URL.

SHA-256 finds any changed byte. For a shard root it is also checked that its files agree with each other: those that
streaming reads (the index of each group) with those that were written with the shards (the manifest of each part).
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections import defaultdict
from collections.abc import Collection

from animetune import remote
from animetune.errors import DataError
from animetune.manifest import MANIFEST_NAME, FileRecord, Manifest, parse_manifest
from animetune.mds import SHARD_NAME
from animetune.progress import track
from animetune.shardset import INDEX_NAME, LABELS_FORMAT, LABELS_KIND, ROOT_FORMAT, ROOT_KIND, SAMPLES_NAME, open_root

FORMATS = {ROOT_KIND: ROOT_FORMAT, LABELS_KIND: LABELS_FORMAT}
"""Kind -> the version that is known here; another kind is whatever its manifest says."""

REPAIRS = {
    ROOT_KIND: (
        "remove the folder of every part that is named, any other file that is named, and manifest.json; "
        "`animetune shard` with the same settings then makes just these again, and labels still fit"
    )
}
"""Kind -> how to repair it; another kind is made again as a whole."""


def verify(location: str | os.PathLike[str]) -> list[str]:
    """One line for every problem of a published folder or URL, naming the file; empty when all is as it was written.

    Where files are damaged, a last line says how to repair them. Reads everything once, several files at a time;
    nothing of what is remote is kept.
    """
    where = remote.without_file_scheme(location).rstrip("/")
    try:
        manifest = _manifest(where)
    except DataError as error:
        return [str(error)]
    known = FORMATS.get(manifest.kind, manifest.format_version)
    if manifest.format_version != known:
        return [f"{where}: this {manifest.kind} has format version {manifest.format_version}; version {known} is known"]
    folders = _folders_with_manifests(manifest)
    with track(f"verify {where}", total=len(manifest.files) + len(folders)) as progress:
        damaged: dict[str, str] = {}
        check_file = functools.partial(_damage, where)
        for name, line in zip(manifest.files, remote.in_threads(check_file, manifest.files.items()), strict=True):
            damaged |= {name: line} if line else {}
            progress.advance()
        problems = list(damaged.values())
        parts: dict[str, Manifest] = {}
        sound = [folder for folder in folders if f"{folder}/{MANIFEST_NAME}" not in damaged]
        check_folder = functools.partial(_check_folder, where, manifest.files.keys())
        for folder, (part, lines) in zip(sound, remote.in_threads(check_folder, sound), strict=True):
            parts |= {folder: part} if part else {}
            problems += lines
            progress.advance()
    if not problems and manifest.kind == ROOT_KIND:
        problems = _disagreements(where, parts)
    remedy = REPAIRS.get(manifest.kind, f"remove it, and run the stage that makes this {manifest.kind} again")
    return [*problems, f"{where}: to repair it, {remedy}"] if problems else []


def _manifest(where: str) -> Manifest:
    return parse_manifest(remote.read(f"{where}/{MANIFEST_NAME}"), where)


def _folders_with_manifests(manifest: Manifest) -> list[str]:
    """The folders inside, in order, that have manifests of their own: parts of a root, steps of anything else."""
    if manifest.kind == ROOT_KIND:
        return [_parent(name) for name in manifest.files if name.endswith(f"/{MANIFEST_NAME}")]
    return sorted({_parent(name) for name in manifest.files if name.startswith("steps/")})


def _damage(where: str, file: tuple[str, FileRecord]) -> str | None:
    """What is wrong with a file, given by its name and what its manifest says of it."""
    name, record = file
    url = f"{where}/{name}"
    try:
        size, sha256 = remote.hash_file(url)
    except DataError as error:
        return str(error)
    if size != record.bytes:
        return f"{url}: has {size} bytes, {record.bytes} were written"
    return None if sha256 == record.sha256 else f"{url}: its bytes have changed (SHA-256 differs)"


def _check_folder(where: str, known: Collection[str], folder: str) -> tuple[Manifest | None, list[str]]:
    """The manifest of a folder inside, and the problems of its files but for those that are `known`."""
    try:
        manifest = _manifest(f"{where}/{folder}")
    except DataError as error:
        return None, [str(error)]
    files = [(f"{folder}/{name}", record) for name, record in manifest.files.items()]
    lines = [_damage(where, file) for file in files if file[0] not in known]
    return manifest, [line for line in lines if line]


def _disagreements(where: str, parts: dict[str, Manifest]) -> list[str]:
    """All files of the root are as they were written; whether they were written to agree with each other."""
    problems = []
    keys: list[str] = []
    parts_of = defaultdict(list)
    for name in sorted(parts, key=lambda name: (len(name), name)):
        parts_of[_parent(name)].append(name)
    with tempfile.TemporaryDirectory() as scratch:
        root = open_root(where, cache=scratch if remote.is_remote(where) else None)
        for group in root.groups:
            names = [name for name in parts_of[group.folder] if parts[name].kept]
            keys += [key for name in names for key in parts[name].facts["keys"]]
            written = [(f"{name.rpartition('/')[2]}/{SHARD_NAME}", parts[name].kept) for name in names]
            try:
                listed = [(shard["raw_data"]["basename"], shard["samples"]) for shard in root.index(group)]
            except DataError as error:
                problems.append(str(error))
            else:
                if listed != written:
                    problems.append(f"{where}/{group.folder}/{INDEX_NAME}: does not list the shards of its parts")
        if root.samples("key")["key"].to_pylist() != keys:
            problems.append(f"{where}/{SAMPLES_NAME}: its keys are not those of the parts, in their order")
    return problems


def _parent(name: str) -> str:
    return name.rpartition("/")[0]
