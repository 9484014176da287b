"""From names of members to the URLs of pictures: the tars' members, kept for good, and joined to the rows by part.

    <answers>/tar-members-<format>/<digest of url, size, version>/members.parquet

A tar is scanned once, by one worker, and again only when its size or version changes. Rows are looked up a part at a
time by a join that streams over the members, so neither those nor the rows are ever held as Python objects.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from animetune import fsio, remote, tables
from animetune.curate.config.sources import UNRESOLVED
from animetune.curate.read.tars.index_files import read_index
from animetune.curate.read.tars.listing import TarFile, Tars
from animetune.curate.read.tars.members import Members, read_members
from animetune.curate.steps import Workplace
from animetune.errors import DataError
from animetune.executor import Chunk
from animetune.manifest import Manifest

FORMAT = 1
FILE = "members.parquet"
_SHOWN_CUT = 10
_NOT_IN_URLS = r"[!#\x00-\x1f\x7f\u2028\u2029\x85]"
"""Of names of members: they only tell a reader which one it is, and must not be taken for parts of the URL."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """One place of tars, ready to be asked by worker processes."""

    root: str
    """What unresolved places begin with."""
    whole_names: bool
    """The pattern names folders in the tar."""
    tars: tuple[str, ...]
    """URLs, in their order."""
    files: tuple[Path, ...]
    """The members of each."""

    def find(self, names: pl.Series) -> pl.DataFrame:
        """`name` and `url` of those of the names that a tar has; a url is null where several members may be meant."""
        by_name = pl.col("member") if self.whole_names else pl.col("member").str.extract(r"([^/]*)$", 1)
        number = {str(file): place for place, file in enumerate(self.files)}
        wanted = pl.LazyFrame({"name": names.unique()})
        found = (
            pl.scan_parquet(list(self.files), glob=False, include_file_paths="file")
            .with_columns(name=by_name)
            .join(wanted, on="name", how="semi")
            .collect(engine="streaming")
        )
        found = found.with_columns(
            tar=pl.col("file").replace_strict(number, return_dtype=pl.UInt32),
            depth=pl.col("member").str.count_matches("/", literal=True),
        )
        # One without a folder is what the name says; of others there must be only one to mean.
        at_root = (pl.col("depth") == 0).any().over("name")
        found = found.filter(~at_root | (pl.col("depth") == 0)) if not self.whole_names else found
        first = found.sort("name", "tar").group_by("name", maintain_order=True)
        chosen = first.agg(pl.all().first(), members=pl.col("member").n_unique())
        archive = pl.Series(self.tars, dtype=pl.String).gather(chosen["tar"])
        url = pl.format("{}!{}@{}+{}", archive, pl.col("member").str.replace_all(_NOT_IN_URLS, "_"), "offset", "length")
        return chosen.select("name", pl.when(pl.col("members") == 1).then(url).alias("url"))


def index_tars(tars: Sequence[Tars], at: Workplace) -> tuple[list[Lookup], dict[str, Any]]:
    """Scan the tars that never were, and return where all members are, and facts for the manifest.

    Raises DataError, naming the tar, for one that is none or is compressed, and for an index that cannot be used.
    """
    if not tars:
        return [], {}
    folder = at.answers / f"tar-members-{FORMAT}"
    files = {file.digest: file for place in tars for file in place.files}
    chunks = [Chunk(digest, file) for digest, file in files.items()]
    with fsio.lock(folder):
        fsio.sweep(folder)
        manifests = dict(zip(files, at.executor.run(_index_tar, chunks, folder, progress=at.progress), strict=True))
    lookups, facts = [], {}
    for place in tars:
        digests = [file.digest for file in place.files]
        lookups.append(
            Lookup(
                place.config.root,
                "/" in place.config.member,
                tuple(file.url for file in place.files),
                tuple(folder / digest / FILE for digest in digests),
            )
        )
        of_place = [manifests[digest].facts for digest in digests]
        facts[place.label] = {
            "tars": len(digests),
            **{name: sum(each[name] for each in of_place) for name in ("members", "repeated", "unusable")},
            "cut": [
                file.url.rpartition("/")[2] for file, each in zip(place.files, of_place, strict=True) if each["is_cut"]
            ][:_SHOWN_CUT],
        }
    return lookups, facts


def resolve(rows: pl.DataFrame, columns: Sequence[str], lookups: Sequence[Lookup]) -> tuple[pl.DataFrame, int]:
    """The rows with the URLs of members in place of unresolved ones, without those that no tar has; and how many were
    left out because several members may be meant. `columns` are lists of text."""
    ambiguous = 0
    for column in columns if lookups else ():
        places = rows.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("at"), pl.col(column).alias("place"))
        places = places.explode("place").drop_nulls()
        is_open = pl.col("place").str.starts_with(UNRESOLVED)
        asked = places.filter(is_open).select(pl.col("place").unique(maintain_order=True))
        if not asked.height:
            continue
        found = pl.concat([_urls(asked, lookup) for lookup in lookups])
        ambiguous += found["url"].null_count()
        closed = (
            places.join(found, on="place", how="left", maintain_order="left")
            .with_columns(place=pl.when(is_open).then("url").otherwise("place"))
            .drop_nulls("place")
            .group_by("at", maintain_order=True)
            .agg("place")
        )
        every = pl.DataFrame({"at": pl.int_range(rows.height, dtype=pl.UInt32, eager=True)})
        lists = every.join(closed, on="at", how="left", maintain_order="left")["place"]
        rows = rows.with_columns(lists.fill_null([]).alias(column))
    return rows, ambiguous


def _urls(asked: pl.DataFrame, lookup: Lookup) -> pl.DataFrame:
    """`place` and `url` of the unresolved places of one lookup that its tars have."""
    prefix = f"{lookup.root}/"
    mine = asked.filter(pl.col("place").str.starts_with(prefix))
    mine = mine.with_columns(name=pl.col("place").str.slice(len(prefix)))
    return mine.join(lookup.find(mine["name"]), on="name", how="inner").select("place", "url")


def _index_tar(file: TarFile, folder: Path) -> Manifest:
    """In a worker process: the members of a tar."""
    if file.index is None:
        members = remote.read_by(file.url, functools.partial(read_members, size=file.state.size))
    else:
        members = remote.read_by(file.index, functools.partial(read_index, name=file.index, size=file.state.size))
    if members.problem:
        raise DataError(f"{file.index or file.url}: {members.problem}; {_remedy(file, members)}")
    tables.write_parquet(members.rows, folder / FILE)
    facts = {
        "members": members.rows.height,
        "repeated": members.repeated,
        "unusable": members.unusable,
        "is_cut": members.is_cut,
    }
    return Manifest(kind="chunk", format_version=1, seen=members.rows.height, kept=members.rows.height, facts=facts)


def _remedy(file: TarFile, members: Members) -> str:
    if file.index is not None:
        return "make it anew, or leave `index` out to have the tar's headers read"
    return "decompress it" if "compressed" in members.problem else "copy it again, or leave it out of `tars`"
