"""The only module that writes files: everything it publishes is there whole or not at all.

A file or folder is written under a temporary name *in the same folder*, flushed and fsynced, then renamed, then the
folder is fsynced. `rename` is atomic on one filesystem, so a SIGKILL, a full disk or a power cut leaves either the old
state or the new one. Writers that need a path of their own (MDSWriter, safetensors, Polars, Pillow) get one from
`atomic_file` or `publish_dir` and write nowhere else.

Temporary names begin with `TEMP_PREFIX`; `sweep` removes those that a killed process left. A full disk is reported as
`SetupError`, with the bytes that are free; so is a folder that cannot be made or written to.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import xxhash

from animetune.errors import DataError, SetupError

TEMP_PREFIX = ".tmp-"

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on any exception it is removed."""
    final = Path(path)
    _make_folder(final.parent)
    temporary = final.with_name(f"{TEMP_PREFIX}{uuid.uuid4().hex}-{final.name}")
    with _disk_full_named(final):
        try:
            yield temporary
            _fsync(temporary)
            os.replace(temporary, final)
            _fsync(final.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write `data` (text as UTF-8) to `path`, replacing what was there, or leave `path` as it was."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write JSON with sorted keys and no NaN, so that equal values give equal bytes."""
    atomic_write(path, canonical_json(value, indent=2) + "\n")


def canonical_json(value: Any, indent: int | None = None) -> str:
    """JSON text with sorted keys, unescaped Unicode and no NaN or infinity (ValueError)."""
    separators = (",", ": ") if indent else (",", ":")
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)


@contextlib.contextmanager
def publish_dir(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; on success it becomes `path`, on any exception it is removed.

    `path` must not exist: a published folder is never changed. If another process published it meanwhile, ours is
    dropped, since equal inputs give equal bytes.
    """
    final = Path(path)
    _make_folder(final.parent)
    temporary = final.with_name(f"{TEMP_PREFIX}{uuid.uuid4().hex}-{final.name}")
    with _disk_full_named(final):
        try:
            temporary.mkdir()
            yield temporary
            for folder, _, names in os.walk(temporary):
                for name in names:
                    _fsync(Path(folder, name))
                _fsync(Path(folder))
            os.rename(temporary, final)
            _fsync(final.parent)
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            lost_race = isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST)
            if not (lost_race and final.is_dir()):
                raise


def link(file: str | os.PathLike[str], name: str | os.PathLike[str]) -> None:
    """Give a published file a second name, inside a folder that `publish_dir` handed out; costs no room.

    Where the file system has no hard links, or the name lies on another, the file is copied.
    """
    try:
        os.link(file, name)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
            raise
        shutil.copyfile(file, name)


def append_line(path: str | os.PathLike[str], record: dict[str, Any]) -> None:
    """Append one JSON line; a line counts once its newline is there, and concurrent writers take turns.

    What a killed writer left of an unfinished line is removed first, so that it does not swallow this one.
    """
    append_lines(path, [record])


def append_lines(path: str | os.PathLike[str], records: Sequence[dict[str, Any]], *, durable: bool = False) -> int:
    """Append JSON lines as `append_line` does it, all or none; returns the byte at which the first of them begins.

    `durable`: they are on the disk when this returns, which costs a flush, however many they are.
    """
    lines = "".join(f"{canonical_json(record)}\n" for record in records).encode()
    file = Path(path)
    _make_folder(file.parent)
    with _disk_full_named(file), open(file, "a+b", buffering=0) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        end = _end_of_lines(stream)
        stream.truncate(end)
        if stream.write(lines) < len(lines):
            stream.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if durable:
            os.fsync(stream.fileno())
            if end == 0:
                _fsync(file.parent)
    return end


def read_lines(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of a file written by `append_line`, without an unfinished last line; [] if there is no file.

    Raises DataError, naming the line, if any other line is damaged.
    """
    file = Path(path)
    if not file.exists():
        return []
    *lines, _unfinished = file.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"{file}:{number}: is not JSON ({error}); restore or remove that line") from error
    return records


@contextlib.contextmanager
def lock(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold `folder` for this process (flock on `folder/.lock`).

    SetupError if another process holds it, or if it cannot be made or written to.
    """
    root = Path(folder)
    with _flock(root, ".lock", root):
        yield


@contextlib.contextmanager
def turn(
    folder: str | os.PathLike[str], waiting: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext
) -> Iterator[None]:
    """Wait until no other process is inside the same `turn`, however many ask at once; meanwhile in `waiting()`."""
    with _open_in(Path(folder), ".turn") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with waiting():
                fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def turn_if_free(folder: str | os.PathLike[str]) -> Iterator[bool]:
    """As `turn`, without waiting: yields whether no other process was inside."""
    with _open_in(Path(folder), ".turn") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextlib.contextmanager
def claim(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the right to publish `path` (a file or folder that may not exist yet) and sweep what a killed process left.

    SetupError as of `lock`. The lock file `.<name>.lock` stays beside `path`.
    """
    final = Path(path)
    with _flock(final.parent, f".{final.name}.lock", final):
        discard_unfinished(final)
        yield


def discard_unfinished(path: str | os.PathLike[str]) -> None:
    """Remove what a writer of `path` (a file or folder) left that was killed; call it when no other is at it."""
    final = Path(path)
    for leftover in final.parent.glob(f"{TEMP_PREFIX}{'?' * 32}-{glob.escape(final.name)}"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def sweep(folder: str | os.PathLike[str]) -> int:
    """Remove what killed processes left anywhere below `folder`; call it while holding `lock`. Returns how many."""
    leftovers = sorted(Path(folder).rglob(f"{TEMP_PREFIX}*"), key=lambda path: len(path.parts))
    removed = 0
    for path in leftovers:
        if path.is_dir():
            shutil.rmtree(path)
            removed += 1
        elif path.exists():
            path.unlink()
            removed += 1
    return removed


def remove(path: str | os.PathLike[str]) -> None:
    """Remove a file or folder of our own making: renamed to a temporary name first, so that no half of it is left."""
    victim = Path(path)
    temporary = victim.with_name(f"{TEMP_PREFIX}{uuid.uuid4().hex}-{victim.name}")
    os.rename(victim, temporary)
    _fsync(victim.parent)
    if temporary.is_dir():
        shutil.rmtree(temporary)
    else:
        temporary.unlink()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def xxh64_file(path: str | os.PathLike[str]) -> str:
    """Hex xxh64 of a file's bytes: several times as fast as SHA-256, and what the indexes of shards hold."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, xxhash.xxh64).hexdigest()  # type: ignore[arg-type]


@contextlib.contextmanager
def _flock(folder: Path, name: str, what: Path) -> Iterator[None]:
    with _open_in(folder, name) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise SetupError(
                    f"{what}: this file system has no locks ({error.strerror}); mount it with -o flock"
                ) from error
            raise SetupError(
                f"{what}: another animetune process is writing here; wait for it or choose another folder"
            ) from error
        yield


def _open_in(folder: Path, name: str) -> IO[str]:
    """A lock file of a folder, which is made if need be; SetupError where that cannot be."""
    _make_folder(folder)
    try:
        return open(folder / name, "w")
    except OSError as error:
        raise _unusable(folder, error) from error


def _make_folder(folder: Path) -> None:
    """SetupError if the folder is not there and cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: OSError) -> SetupError:
    if error.errno in _FULL:
        return SetupError(f"{folder}: cannot be made: the disk is full; free some space and run the same command again")
    file = next((path for path in (folder, *folder.parents) if os.path.isfile(path)), None)
    if file is not None:
        return SetupError(f"{file}: is a file, where a folder is needed; choose another folder, or move the file away")
    return SetupError(f"{folder}: cannot be written to ({error.strerror}); choose another folder, or change its rights")


def _end_of_lines(stream: io.FileIO) -> int:
    """Offset behind the last newline, sought from the end."""
    end = stream.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        stream.seek(start)
        newline = stream.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _disk_full_named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        free = shutil.disk_usage(path.parent).free
        raise SetupError(
            f"{path}: the disk is full ({free / 1e6:.1f} MB free); free some space and run the same command again: "
            "what was finished is kept"
        ) from error


def short_digest(text: str) -> str:
    """Twelve hex digits of a text's SHA-256, for file names."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
