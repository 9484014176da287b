"""Check a shard root against its manifests: every byte, every index, every key."""

from __future__ import annotations

import json
import os
from pathlib import Path

from animetune.errors import DataError
from animetune.manifest import MANIFEST_NAME, Manifest, read_manifest, verify_files
from animetune.progress import track
from animetune.shards.mds import SHARD_NAME
from animetune.shardset import INDEX_NAME, open_root


def verify(root: str | os.PathLike[str]) -> list[str]:
    """One line for every problem of the shard root, naming the file; empty when every byte is as it was written.

    Reads everything once. SHA-256 finds any changed byte, also those that the hashes of streaming do not cover: it
    checks them only after a download.
    """
    try:
        shard_root = open_root(root)
    except DataError as error:
        return [str(error)]
    folder = shard_root.folder
    problems = verify_files(folder, shard_root.manifest)
    keys: list[str] = []
    parts = [Path(name).parent for name in shard_root.manifest.files if name.endswith(f"/{MANIFEST_NAME}")]
    held: dict[Path, Manifest] = {}
    with track("verify", total=len(parts)) as progress:
        for part in parts:
            try:
                held[part] = read_manifest(folder / part, kind="chunk")
            except DataError as error:
                problems.append(str(error))
            else:
                problems += verify_files(folder / part, held[part])
            progress.advance()
    if problems:
        return problems
    # All files are as written; what is left is whether they were written to agree with each other.
    for group in shard_root.groups:
        mine = [part for part in sorted(held) if part.parent == Path(group.folder)]
        keys += [key for part in mine for key in held[part].facts["keys"]]
        index = json.loads((folder / group.folder / INDEX_NAME).read_text(encoding="utf-8"))
        indexed = [(Path(shard["raw_data"]["basename"]), shard["samples"]) for shard in index["shards"]]
        expected = [(Path(part.name, SHARD_NAME), held[part].kept) for part in mine if held[part].kept]
        if indexed != expected:
            problems.append(f"{folder / group.folder / INDEX_NAME}: does not list the shards of its parts")
    if shard_root.samples("key")["key"].to_pylist() != keys:
        problems.append(f"{folder / 'samples.parquet'}: its keys are not those of the parts, in their order")
    return problems
