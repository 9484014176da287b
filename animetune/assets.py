"""Assets: files that animetune works with and does not ship, such as the weights of a tagger.

Each is named by its path, or by the hub's repository that has it, and known by its SHA-256: what a model answered is
worth nothing without knowing which model it was. Nothing is downloaded unless the configuration says so.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Annotated

import pydantic

from animetune import fsio
from animetune.config import StrictModel
from animetune.errors import SetupError
from animetune.remote import ON_THIS_MACHINE

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def _is_sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise ValueError(
            "should be 64 hexadecimal digits, as `sha256sum FILE` prints them and the hub shows them on the file's page"
        )
    return text.lower()


class Asset(StrictModel):
    """A file: `path`, or `file` of the repository `hub`."""

    path: Annotated[Path, ON_THIS_MACHINE] | None = None
    """Where it lies on this machine."""
    hub: str | None = None
    """Repository of the Hugging Face hub, as `SmilingWolf/wd-swinv2-tagger-v3`; needs `file` and `sha256`."""
    file: str | None = None
    """Name of the file in the repository."""
    revision: str = "main"
    """Commit, tag or branch of the repository."""
    sha256: Annotated[str, pydantic.AfterValidator(_is_sha256)] | None = None
    """Of the file; another one is refused."""
    licence: str | None = None
    """What its author allows, for the record."""
    allow_download: bool = False
    """Ask the hub where the file is not in its cache on this machine."""

    @pydantic.model_validator(mode="after")
    def _has_a_place(self) -> Asset:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give `path`, or `hub` with `file` and `sha256`")
        if self.hub is not None and not _REPOSITORY.fullmatch(self.hub):
            raise ValueError(f"hub: {self.hub!r} is not owner/name")
        if self.hub is not None and (self.file is None or self.sha256 is None):
            raise ValueError(f"hub: {self.hub} needs `file` and `sha256`: what a repository holds may change")
        if self.hub is None and (self.file is not None or self.allow_download):
            raise ValueError("`file` and `allow_download` go with `hub`")
        return self

    @property
    def name(self) -> str:
        """For messages: the path, or `hub/file`."""
        return str(self.path) if self.path is not None else f"{self.hub}/{self.file}"

    def locate(self) -> Path:
        """Where the file lies, with its SHA-256 checked; it is read for that once a process.

        Raises SetupError when it is not there, may not be downloaded, or is another file.
        """
        path = self._find()
        if self.sha256 is not None and (found := sha256_of(path)) != self.sha256:
            raise SetupError(
                f"{self.name}: is another file than the configuration asks for: its sha256 is {found}, not "
                f"{self.sha256}; get the right one, or correct sha256"
            )
        return path

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the file: as stated, so that what it answered can be read where it is not, or computed."""
        return self.sha256 or sha256_of(self._find())

    def beside(self, file: str) -> Asset:
        """A file of the same folder; its SHA-256 is what the file has."""
        if self.path is not None:
            return Asset(path=self.path.parent / file, licence=self.licence)
        return Asset(path=self.locate().parent / file, licence=self.licence)

    def _find(self) -> Path:
        if self.path is not None:
            if self.path.is_dir():
                raise SetupError(f"{self.path}: is a folder; name the file in it")
            if not self.path.is_file():
                raise SetupError(f"{self.path}: there is no such file; get it, or correct the path")
            return self.path
        return _of_hub(self)


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file, computed once a process unless the file changes; about a second for a gigabyte."""
    state = path.stat()
    return _sha256_of(path, state.st_size, state.st_mtime_ns)


@functools.cache
def _sha256_of(path: Path, size: int, changed: int) -> str:
    return fsio.sha256_file(path)


def _of_hub(asset: Asset) -> Path:
    """The file in the hub's cache, downloaded if that is allowed."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    assert asset.hub is not None
    assert asset.file is not None
    try:
        found = huggingface_hub.hf_hub_download(
            asset.hub, asset.file, revision=asset.revision, local_files_only=not asset.allow_download
        )
    except LocalEntryNotFoundError as error:
        if asset.allow_download:
            raise SetupError(f"{asset.name}: cannot be downloaded: {_first_line(error)}") from error
        raise SetupError(
            f"{asset.name}: is not in the hub's cache on this machine; set allow_download: true, or run "
            f"`hf download {asset.hub} {asset.file} --revision {asset.revision}`, or give its path"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise SetupError(f"{asset.name}: cannot be downloaded: {_first_line(error)}") from error
    return Path(found)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
