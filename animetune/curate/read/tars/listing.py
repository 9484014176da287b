"""The tars that a configuration names, and what tells whether one is still what it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from animetune import fsio, remote
from animetune.curate.config.sources import SourceConfig, TarsConfig
from animetune.errors import DataError
from animetune.remote import FileState

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst")


@dataclass(frozen=True, slots=True)
class TarFile:
    """A tar, by what its store says of it."""

    url: str
    """Or path."""
    state: FileState
    index: str | None = None
    """URL or path of the file that says what is in it."""
    index_state: FileState | None = None

    @property
    def digest(self) -> str:
        """Hex digits that change when the tar, or its index, does: by names, sizes and versions, not by bytes."""
        said = fsio.canonical_json([self.url, self.state, self.index, self.index_state])
        return hashlib.sha256(said.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Tars:
    """The tars of one place in `images` or `masks`."""

    source: str
    kind: str
    """images or masks"""
    config: TarsConfig
    files: tuple[TarFile, ...]
    """Sorted by URL."""

    @property
    def label(self) -> str:
        """Its name in manifests: no folder, for others may differ between machines."""
        return f"{self.source}:{self.kind}:{self.config.tars.rpartition('/')[2]}"

    @property
    def digest(self) -> str:
        """Of all of them."""
        return hashlib.sha256("\0".join(file.digest for file in self.files).encode()).hexdigest()


def find_tars(sources: Sequence[SourceConfig]) -> list[Tars]:
    """The tars of all sources, each place once. Raises DataError, naming the setting, for a pattern without any, for
    compressed ones, and for an index that is absent."""
    found: dict[str, Tars] = {}
    for source in sources:
        for kind, places in (("images", source.images), ("masks", source.masks)):
            for place in places:
                if isinstance(place, TarsConfig) and place.root not in found:
                    where = f"sources: {source.name}: {kind}: "
                    found[place.root] = Tars(source.name, kind, place, tuple(_files(place, where)))
    return list(found.values())


def _files(place: TarsConfig, where: str) -> Iterator[TarFile]:
    tars = remote.find_files(place.tars)
    if not tars:
        raise DataError(f"{where}tars: {place.tars}: there is no such file")
    if compressed := next((url for url in tars if url.lower().endswith(_COMPRESSED)), None):
        raise DataError(
            f"{where}tars: {compressed}: is compressed, so that its pictures cannot be read in place; decompress it"
        )
    if place.index is None:
        yield from (TarFile(url, state) for url, state in tars.items())
        return
    indices = [_index_of(url, place.index) for url in tars]
    try:
        states = list(remote.in_threads(remote.state, indices))
    except DataError as error:
        raise DataError(f"{where}index: {error}; leave `index` out to have the tars' headers read") from error
    for (url, state), index, index_state in zip(tars.items(), indices, states, strict=True):
        yield TarFile(url, state, index, index_state)


def _index_of(tar: str, pattern: str) -> str:
    stem = tar[: -len(".tar")] if tar.lower().endswith(".tar") else tar
    return pattern.format(stem=stem, name=stem.rpartition("/")[2])
