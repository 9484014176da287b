"""The step `ingest`: files of posts and captions -> parts of a table, sorted by source and id.

Two rounds of worker processes. The first parses pieces of files into runs (`chunks`): a range of bytes of one file (a
whole file where it is compressed or a JSON array), some rows of a parquet file, some pictures of a folder. The second
puts the rows of the runs into their order, part by part (`merge`). Between them comes what needs all posts at once, of
their ids alone: which of two posts with one id is taken, what the rating `s` means at a source, which posts are a
family, whose captions are whose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from animetune import fsio, tables
from animetune.curate.parts import part_name
from animetune.curate.read import merge
from animetune.curate.read.chunks import Piece, parse_chunk, split
from animetune.curate.read.formats import FORMATS
from animetune.curate.read.inputs import InputFile, find_files
from animetune.curate.read.tars.listing import Tars, find_tars
from animetune.curate.read.tars.lookup import index_tars
from animetune.curate.steps import Workplace, Written
from animetune.errors import DataError
from animetune.executor import Chunk
from animetune.manifest import Manifest

__all__ = ["find_files", "find_tars", "ingest"]


def ingest(files: Sequence[InputFile], at: Workplace, folder: Path, tars: Sequence[Tars] = ()) -> Written:
    """Parse all files and write their records into `folder`, as parts with the columns of `merge.COLUMNS`.

    Raises DataError for `columns` that no record of a source has, ChunkError for a damaged file.
    """
    pieces = [piece for file in files for piece in split(file)]
    chunks = [Chunk(f"{index:05d}", piece) for index, piece in enumerate(pieces)]
    parsed = at.chunks / "parsed"
    manifests = at.executor.run(parse_chunk, chunks, parsed, progress=at.progress)
    _check_columns(files, pieces, manifests)
    lookups, members = index_tars(tars, at)
    schemes = merge.schemes_of(
        _ratings(pieces, manifests), {file.source.name: file.source.rating_scheme for file in files}
    )

    runs = merge.Runs(*(_runs(kind, chunks, manifests, parsed) for kind in ("posts", "captions")))
    order, duplicates = merge.order_of(runs.rows, [file.source.name for file in files])
    captions = merge.captions_of(order, runs.captions)
    legacy = [name for name, scheme in schemes.items() if scheme == "legacy"]
    work = merge.cut(order, merge.families_of(order), captions, runs, legacy, lookups)
    kept, lines = len(order), captions.lines
    del order, captions
    parts = [Chunk(f"{index:05d}", each) for index, each in enumerate(work)]
    merged = at.executor.run(merge.merge_part, parts, at.chunks / "merged", progress=at.progress)
    hashed = {}
    for index, (part, manifest) in enumerate(zip(parts, merged, strict=True)):
        fsio.link(at.chunks / "merged" / part.name / "rows.parquet", folder / part_name(index))
        hashed[part_name(index)] = manifest.files["rows.parquet"]

    refused = [parsed / chunk.name / "quarantined.parquet" for chunk in chunks]
    return Written(
        kept=kept,
        dropped=pl.DataFrame(schema=tables.DROPPED_SCHEMA),
        quarantined=pl.concat([tables.scan_parts(refused, tables.QUARANTINED_SCHEMA).collect(), duplicates]),
        facts=_facts(files, pieces, manifests)
        | {
            "rating_scheme": schemes,
            "captions": {"lines": lines, "rows": sum(manifest.facts["captioned"] for manifest in merged)},
        }
        | ({"tars": members | {"ambiguous": sum(manifest.facts["ambiguous"] for manifest in merged)}} if tars else {}),
        seen=sum(
            manifest.seen if piece.file.kind == "posts" else sum(manifest.quarantined.values())
            for piece, manifest in zip(pieces, manifests, strict=True)
        ),
        hashed=hashed,
    )


def _facts(files: Sequence[InputFile], pieces: Sequence[Piece], manifests: Sequence[Manifest]) -> dict[str, Any]:
    """What was read, by file."""
    records = {file.label: 0 for file in files}
    for piece, manifest in zip(pieces, manifests, strict=True):
        records[piece.file.label] += manifest.seen
    posts = [file for file in files if file.kind == "posts"]
    return {
        "records": records,
        "formats": {file.label: file.format for file in posts},
        "ids": {file.label: "own, or the hash of a path" if _is_of_files(file) else "own" for file in posts},
        "times_not_read": sum(manifest.facts["times_not_read"] for manifest in manifests),
    }


def _is_of_files(file: InputFile) -> bool:
    return FORMATS[file.format].of_files or file.format == "webdataset"


def _runs(kind: str, chunks: Sequence[Chunk], manifests: Sequence[Manifest], folder: Path) -> list[merge.Run]:
    """The runs of all chunks of a kind, in order."""
    return [
        merge.Run(folder / chunk.name / name, chunk.payload.file.source.name, chunk.payload.file.label)
        for chunk, manifest in zip(chunks, manifests, strict=True)
        if chunk.payload.file.kind == kind
        for name in sorted(manifest.files)
        if name != "quarantined.parquet"
    ]


def _ratings(pieces: Sequence[Piece], manifests: Sequence[Manifest]) -> Mapping[str, Mapping[str, int]]:
    """Source -> rating -> rows."""
    counts: dict[str, Counter[str]] = {}
    for piece, manifest in zip(pieces, manifests, strict=True):
        counts.setdefault(piece.file.source.name, Counter()).update(manifest.facts["ratings"])
    return counts


def _check_columns(files: Sequence[InputFile], pieces: Sequence[Piece], manifests: Sequence[Manifest]) -> None:
    """A name in `columns` that no record has is a mistake."""
    for source in {file.source.name: file.source for file in files}.values():
        of_source = [
            manifest
            for piece, manifest in zip(pieces, manifests, strict=True)
            if piece.file.source.name == source.name and piece.file.kind == "posts"
        ]
        if not any(manifest.kept for manifest in of_source):
            continue
        for ours, theirs in source.columns.items():
            if not any(manifest.facts["columns"].get(theirs) for manifest in of_source):
                raise DataError(
                    f"sources: {source.name}: columns: {ours}: no record has {theirs!r}; correct it, or leave it out"
                )
