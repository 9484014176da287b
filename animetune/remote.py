"""Files behind a URL: any protocol of fsspec (s3, gs, az, http, memory ...), with one way to fail.

    read, read_by, fetch, hash_file, exists, state, list_files, find_files    from anywhere
    put                                           to an object store, where a file appears whole or not at all

What may pass (a timeout, a reset connection, a 5xx) is tried again for `PATIENCE` seconds, with growing waits; what
will not pass (an absent file, refused credentials) is raised at once. Every error names the URL. Endpoint and
credentials come from where the protocol's library looks for them: for S3, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY and ~/.aws.

Nothing is kept between two calls, neither connections nor listings, so they may be made from forked data workers.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pydantic

from animetune import fsio
from animetune.errors import DataError, SetupError

PATIENCE = 120.0
"""Seconds after which a failure that may pass is final."""
LONGEST_WAIT = 10.0
"""Seconds between two attempts, at most."""
LONGEST_SILENCE = 30.0
"""Seconds that an upload may take beside those of its bytes."""
SLOWEST = 250_000.0
"""Bytes a second below which an upload counts as stuck."""
CONNECTIONS = 16
"""Files on their way at once; small ones cost a round trip each and no bandwidth."""

_T = TypeVar("_T")
_S = TypeVar("_S")

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_FINAL = {errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.EROFS} | {
    getattr(errno, name, errno.EINVAL) for name in ("ENAMETOOLONG", "EMSGSIZE", "EREMCHG")
}
"""What s3fs turns bad requests into, and what a file system says about names; trying again changes nothing."""
_OPTIONS = {"s3": {"config_kwargs": {"retries": {"total_max_attempts": 1}}}}
"""s3fs tries 5 times in all that it does, and botocore 5 times in each of them: before a server that accepts and never
answers, 25 times 15 seconds pass, and then our patience begins."""
_FINAL_NAMES = ("Validation", "Invalid", "Unsupported")
"""In the names of errors by which botocore, aiohttp and others refuse a call before anything is sent."""
_STATUS_TO_TRY_AGAIN = (408, 425, 429)

_ABSENT = "does not exist; is this where the stage wrote to, and did it finish?"
_NO_BUCKET = "its bucket does not exist; create it, or correct the URL"


def is_remote(location: str) -> bool:
    """Whether this is a URL of something that is not a path on this machine."""
    return "://" in without_file_scheme(location)


def without_file_scheme(location: str | os.PathLike[str]) -> str:
    """A path or URL as text; the URL of a path on this machine becomes that path."""
    return os.fspath(location).removeprefix("file://")


def _on_this_machine(location: Any) -> Any:
    """Refuse a URL: as a path it would be a folder named `s3:`. What is no text at all is for the type to refuse."""
    if not isinstance(location, str):
        return location
    if is_remote(location):
        raise ValueError(f"{location} is a URL; name a folder on this machine")
    return without_file_scheme(location)


ON_THIS_MACHINE = pydantic.BeforeValidator(_on_this_machine)
"""`out: Annotated[Path, ON_THIS_MACHINE]` is a setting that takes a path or a `file://` URL, and no other URL."""


def read(url: str) -> bytes:
    """The bytes of a small file; the URL may be a path.

    Raises DataError when it is absent or stays out of reach, SetupError for missing libraries or credentials; so do
    all functions of this module.
    """
    return _patiently(url, lambda filesystem, name: filesystem.cat_file(name))


def exists(url: str) -> bool:
    """Whether there is a file."""

    def ask(filesystem: Any, name: str) -> bool:
        try:
            filesystem.info(name)  # `exists` of fsspec says no to every failure
        except FileNotFoundError:
            return False
        return True

    return _patiently(url, ask)


def list_files(url: str) -> dict[str, int]:
    """Path below `url` -> bytes, of all files at any depth, sorted; {} when there are none."""

    def ask(filesystem: Any, name: str) -> dict[str, int]:
        found = filesystem.find(name, detail=True)
        prefix = len(name.rstrip("/")) + 1
        return {path[prefix:]: info["size"] for path, info in sorted(found.items())}

    return _patiently(url, ask, absent=_NO_BUCKET)


class FileState(NamedTuple):
    """What tells whether a file is the one that it was, without reading it."""

    size: int
    """Bytes."""
    version: str
    """ETag or time of the last change, whatever its store tells; empty where it tells nothing."""


def find_files(pattern: str) -> dict[str, FileState]:
    """URL or path -> state, of all files that a pattern with `*` and `**` names, sorted; {} when there are none."""
    if not is_remote(pattern):  # fsspec would make the paths absolute
        paths = sorted(glob.glob(without_file_scheme(pattern), recursive=True))
        return {path: _local_state(path) for path in paths if os.path.isfile(path)}

    def ask(filesystem: Any, name: str) -> dict[str, FileState]:
        found = filesystem.glob(name, detail=True)
        return {
            filesystem.unstrip_protocol(path): _state(info)
            for path, info in sorted(found.items())
            if info["type"] == "file"
        }

    return _patiently(pattern, ask, absent=_NO_BUCKET)


def state(url: str) -> FileState:
    """What its store says of a file. Raises DataError when it is absent."""
    if not is_remote(url):
        return _patiently(url, lambda filesystem, name: _local_state(name))
    return _patiently(url, lambda filesystem, name: _state(filesystem.info(name)))


def _local_state(path: str) -> FileState:
    found = os.stat(path)
    return FileState(found.st_size, str(found.st_mtime_ns))


def _state(info: dict[str, Any]) -> FileState:
    known = (info.get(name) for name in ("ETag", "etag", "md5", "generation", "mtime", "LastModified", "last_modified"))
    return FileState(int(info["size"]), str(next((value for value in known if value is not None), "")).strip('"'))


def read_by(url: str, function: Callable[[Any], _T]) -> _T:
    """What `function` makes of the file as a stream that can seek; called again as a whole after a failure that may
    pass, so it has no effects, and tells what is wrong with the file by what it returns.

    Reads 4 MB at a time: many short reads on the way through cost no request each, and a jump over more reads nothing.
    """

    def ask(filesystem: Any, name: str) -> _T:
        options = {"block_size": 1 << 22, "cache_type": "readahead"} if is_remote(url) else {}
        with filesystem.open(name, mode="rb", **options) as stream:
            return function(stream)

    return _patiently(url, ask)


def fetch(
    url: str,
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    sha256: str | None = None,
    xxh64: str | None = None,
) -> None:
    """Download to `path`, which appears whole and only if size and hashes (hex) are those given.

    Several processes may fetch one file to one path at once. Raises DataError also when the file is damaged, which is
    certain after two downloads.
    """
    with fsio.atomic_file(path) as temporary:
        temporary.touch()  # a folder that cannot be written to is no fault of the network
        for _ in range(2):
            _patiently(url, lambda filesystem, name: filesystem.get_file(name, str(temporary)))
            damage = damage_of(temporary, size=size, sha256=sha256, xxh64=xxh64)
            if damage is None:
                return
        raise DataError(f"{url}: is damaged: {damage}; restore it, or run the stage that makes it again elsewhere")


def put(path: str | os.PathLike[str], url: str) -> None:
    """Upload a file, replacing what was there."""
    from fsspec.asyn import sync

    size = Path(path).stat().st_size

    def upload(filesystem: Any, name: str) -> None:
        if filesystem.async_impl:
            # With a limit of its own: aiohttp waits without one for a server to say that it may send the body.
            limit = LONGEST_SILENCE + size / SLOWEST
            sync(filesystem.loop, filesystem._put_file, str(path), name, timeout=limit)
        else:
            filesystem.put_file(str(path), name)
        arrived = filesystem.size(name)
        if arrived != size:
            raise OSError(errno.EIO, f"{arrived} of {size} bytes arrived")

    _patiently(url, upload, absent=_NO_BUCKET)


def hash_file(url: str) -> tuple[int, str]:
    """Bytes and hex SHA-256 of a file of any size, which is not kept; the URL may be a path."""

    def stream(filesystem: Any, name: str) -> tuple[int, str]:
        digest, size = hashlib.sha256(), 0
        with filesystem.open(name, mode="rb") as source:
            while block := source.read(1 << 22):
                digest.update(block)
                size += len(block)
        return size, digest.hexdigest()

    return _patiently(url, stream, absent="is missing")


def in_threads(function: Callable[[_S], _T], items: Iterable[_S]) -> Iterator[_T]:
    """`function` of each item, in their order, CONNECTIONS at a time; the first failure is raised."""
    waiting: deque[Future[_T]] = deque()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * CONNECTIONS:  # a root has more files than there should be futures
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def damage_of(
    path: Path, *, size: int | None = None, sha256: str | None = None, xxh64: str | None = None
) -> str | None:
    """In what way a local file is not what was expected, or None; reads it whole only for a hash."""
    if size is not None and path.stat().st_size != size:
        return f"it has {path.stat().st_size} bytes, {size} were written"
    if sha256 is not None and fsio.sha256_file(path) != sha256:
        return "its bytes have changed (SHA-256 differs)"
    if xxh64 is not None and fsio.xxh64_file(path) != xxh64:
        return "its bytes have changed (xxh64 differs)"
    return None


def _patiently(url: str, attempt: Callable[[Any, str], _T], *, absent: str = _ABSENT) -> _T:
    """What `attempt(filesystem, name)` returns, tried again while its failures may pass and PATIENCE lasts."""
    filesystem, name = _resolve(url)
    began = time.monotonic()
    attempts = 0
    while True:
        attempts += 1
        try:
            return attempt(filesystem, name)
        except FileNotFoundError as error:
            raise DataError(f"{url}: {absent}") from error
        except Exception as error:
            if _is_ours(error):
                raise
            if not is_remote(url):
                raise DataError(f"{url}: cannot be read: {error}") from error
            if isinstance(error, PermissionError) or "Credential" in type(error).__name__:
                raise SetupError(
                    f"{url}: access was refused ({error}); set the credentials of this protocol, for S3 "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
                ) from error
            if not _may_pass(error):
                raise DataError(f"{url}: cannot be used: {error}; correct the URL") from error
            elapsed = time.monotonic() - began
            if elapsed >= PATIENCE and attempts > 1:  # even if the first took all the time there was
                raise DataError(
                    f"{url}: is out of reach, after {attempts} attempts in {elapsed:.0f} s ({type(error).__name__}: "
                    f"{error}); when the network and the server are back, the same command continues"
                ) from error
            time.sleep(min(max(PATIENCE - elapsed, 0.0), LONGEST_WAIT, 2.0 ** (attempts - 2)))


def _resolve(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        # Without its memory of listings: what other processes write would not be seen.
        options = _OPTIONS.get(url.partition("://")[0], {})
        return fsspec.core.url_to_fs(url, use_listings_cache=False, **options)
    except ImportError as error:
        raise SetupError(f"{url}: {error}; install animetune with the extra of this protocol, e.g. [s3]") from error
    except ValueError as error:
        raise SetupError(f"{url}: {error}") from error


def _is_ours(error: Exception) -> bool:
    """A full disk on this machine, or a bug."""
    if isinstance(error, OSError):
        return error.errno in _DISK_FULL
    return type(error).__module__ == "builtins"


def _may_pass(error: Exception) -> bool:
    """Whether the same call may work later."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno not in _FINAL
    if any(word in type(error).__name__ for word in _FINAL_NAMES):
        return False
    status = getattr(error, "status", None)  # of HTTP, where a protocol's library tells it
    return not isinstance(status, int) or status >= 500 or status in _STATUS_TO_TRY_AGAIN
