"""A Ray to work on: one of our own on this machine, which ends with us, or a cluster that is joined.

A Ray of our own obeys nobody without its token, has no dashboard, sends no usage statistics, prints nothing, and keeps
its sockets and logs in a folder that is removed with it. Its processes end with ours, even by SIGKILL; the folder that
such an end leaves is removed by the next one.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import math
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animetune import fsio
from animetune.errors import SetupError

INSTALL = "executor.kind: ray needs the package ray, which is not installed; pip install 'animetune[ray]'"
ANSWER_SECONDS = 5.0
"""How long an address may take to answer."""
OBJECT_STORE = 80 << 20
"""Bytes of shared memory for Ray's objects, about the least that it takes: pictures never pass through it."""
FOLDER = "animetune-ray-"
LONGEST = 107 - len("/session_2026-11-21_13-51-42_369440_4194304/sockets/plasma_store")
"""Characters of the folder's path: Ray opens sockets in it, whose names have at most 107."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many workers there should be, and what each of them takes."""

    workers: int | None = None
    """None: as many as there is room for."""
    cpus: float = 1.0
    gpus: float = 0.0

    @property
    def text(self) -> str:
        """For messages: `1 CPU and 0.5 GPUs`."""
        parts = [f"{self.cpus:g} CPU{'s' * (self.cpus != 1)}"]
        if self.gpus:
            parts.append(f"{self.gpus:g} GPU{'s' * (self.gpus != 1)}")
        return " and ".join(parts)

    def room(self, nodes: list[Mapping[str, float]]) -> int:
        """How many workers fit on nodes with these resources (`CPU`, `GPU`), all of them free."""
        total = 0
        for node in nodes:
            fits = [node.get("CPU", 0.0) / self.cpus]
            if self.gpus:
                fits.append(node.get("GPU", 0.0) / self.gpus)
            total += math.floor(min(fits) + 1e-9)
        return total


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray that this process has joined."""

    workers: int
    is_ours: bool
    """It ends with us, and all its processes are on this machine."""


def check_installed() -> None:
    """SetupError when there is no Ray to import."""
    if importlib.util.find_spec("ray") is None:
        raise SetupError(INSTALL)


@contextlib.contextmanager
def joined(address: str | None, share: Share) -> Iterator[Cluster]:
    """Join the cluster at an address (`ray://host:port`, `host:port`, `auto`), or start one here (None), and leave it.

    A Ray that this program has joined by itself is used as it is. Raises SetupError when nothing answers, or when a
    worker fits on no node.
    """
    check_installed()
    if address is not None:
        _check_answers(address)
    import ray

    if ray.is_initialized():
        yield Cluster(_workers(ray, share, "the Ray that this program has joined"), is_ours=False)
    elif address is None:
        with _started(ray, share):
            yield Cluster(_workers(ray, share, "this machine"), is_ours=True)
    else:
        with _initialized(ray, f"executor.address: {address}", address=address):
            yield Cluster(_workers(ray, share, address), is_ours=False)


@contextlib.contextmanager
def _started(ray: Any, share: Share) -> Iterator[None]:
    cpus = os.cpu_count() or 1
    if share.workers is not None:  # Ray counts CPUs and starts no more workers than fit; ours may be more, as elsewhere
        cpus = max(cpus, math.ceil(share.workers * share.cpus))
    settings = {
        "address": "local",
        "num_cpus": cpus,
        "num_gpus": None if share.gpus else 0,  # None counts them
        "object_store_memory": OBJECT_STORE,
        "include_dashboard": False,
    }
    environment = {"RAY_USAGE_STATS_ENABLED": "0"}
    if "RAY_AUTH_MODE" not in os.environ:  # Ray sets it, and leaves a token in the user's home unless it has one
        environment["RAY_AUTH_TOKEN"] = _token()
    what = "executor: Ray cannot be started on this machine"
    with (
        _folder() as folder,
        _environment(environment),
        _initialized(ray, what, **settings, _temp_dir=str(folder)),
    ):
        yield


@contextlib.contextmanager
def _initialized(ray: Any, what: str, **settings: Any) -> Iterator[None]:
    """Between `ray.init` and `ray.shutdown`, with the handler of SIGTERM as it was, or one that lets us clean up."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    with _silent(ray._private.worker):
        try:
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **settings)
            except Exception as error:  # of many kinds
                raise SetupError(f"{what}: {first_line(error)}") from error
            finally:
                if is_main:  # Ray's own handler ends the process with code 15
                    signal.signal(signal.SIGTERM, _end if before == signal.SIG_DFL else before)
            yield
        finally:
            ray.shutdown()
            if is_main:
                signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _silent(worker: Any) -> Iterator[None]:
    """Without what Ray prints of each worker that dies; errors of ours tell it. Ray has no setting for that, only this
    switch for its debugger."""
    worker._worker_logs_enabled = False
    try:
        yield
    finally:
        worker._worker_logs_enabled = True


def _end(number: int, frame: object) -> None:
    """As an exception, so that what was started is ended on the way out."""
    sys.exit(128 + number)


def first_line(error: BaseException) -> str:
    """Of an error of Ray's, which have many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _check_answers(address: str) -> None:
    """Ray itself takes half a minute to find out that nobody is there."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except OSError as error:
        start = "`ray start --head --ray-client-server-port=10001`" if "://" in address else "`ray start --head`"
        raise SetupError(
            f"executor.address: {address} does not answer ({error.strerror or error}); start a cluster there with "
            f"{start}, correct the address, or leave it out for a Ray on this machine"
        ) from error


def _workers(ray: Any, share: Share, where: str) -> int:
    nodes = [node for node in ray.nodes() if node["Alive"]]
    room = share.room([node["Resources"] for node in nodes])
    if not room:
        have = "; ".join(
            f"{node['NodeManagerHostname']}: {node['Resources'].get('CPU', 0):g} CPUs, "
            f"{node['Resources'].get('GPU', 0):g} GPUs"
            for node in nodes
        )
        raise SetupError(
            f"executor: a worker takes {share.text}, which no node of {where} has ({have}); set fewer `cpus` or `gpus` "
            "or add nodes"
        )
    return share.workers or room


@functools.cache
def _token() -> str:
    """What the processes of our own Rays tell each other; the same for all of one process, since Ray remembers it."""
    return os.urandom(32).hex()


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in (*values, "RAY_AUTH_MODE")}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder on this machine for Ray's sockets and logs; `ANIMETUNE_TMPDIR` chooses the disk."""
    roots = [os.environ.get("ANIMETUNE_TMPDIR") or tempfile.gettempdir(), "/tmp"]  # noqa: S108
    root = next((root for root in roots if len(root) + 1 + len(FOLDER) + 8 <= LONGEST and os.path.isdir(root)), None)
    if root is None:
        raise SetupError(
            f"{roots[0]}: is no folder, or its name is too long for Ray's sockets; set ANIMETUNE_TMPDIR to one with at "
            f"most {LONGEST - len(FOLDER) - 9} characters"
        )
    for left in Path(root).glob(f"{FOLDER}*"):
        with contextlib.suppress(SetupError), fsio.lock(left):  # it is held as long as its process lives
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=FOLDER, dir=root))
    try:
        with fsio.lock(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
