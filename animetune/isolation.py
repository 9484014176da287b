"""Untrusted files are looked at in a child process, so that a decoder that crashes or hangs costs one picture.

    isolated = Isolated(function, seconds=60, memory_bytes=2 << 30)
    isolated(*arguments)        what `function` returns there, or raises

The child is started at the first call, imports the module of `function` and nothing else, and stays for further calls.
It is lent a limited amount of memory, ignores Ctrl-C, which is its parent's to handle, and ends with its parent. When
it dies or takes too long, another one takes its place, and the call is made once more: only what happens twice, the
second time in a process that has seen nothing else, is believed of a picture and not of the machine.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import traceback
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, ParamSpec, TypeVar

from animetune.errors import AnimetuneError, PictureError, SetupError
from animetune.lifeline import die_with, sigint_blocked

_P = ParamSpec("_P")
_R = TypeVar("_R")

_DOUBTFUL = ("decoder_crash", "timeout", "out_of_memory")
"""Codes that say as much about the process as about the picture."""
_START_SECONDS = 120.0
_ONE_THREAD = {
    # Threads of BLAS and malloc's arenas for them claim address space, which is what is limited.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
}
_START = "import sys; sys.path[:] = {path!r}; from animetune.isolation import _serve; _serve({pipe}, {parent})"


class Isolated(Generic[_P, _R]):
    """`function` in a child process; call it as you would call that.

    The function is at the top of a module that can be imported, or a functools.partial of one; its arguments and
    results are pickled. `seconds` is the time that a call may take; `memory_bytes` the address space that the child may
    take beyond what it has when it is ready (not limited where there is no /proc).

    Raises PictureError: `decoder_crash` when the child died, `timeout`, `out_of_memory` (also where it was killed by
    SIGKILL, mostly by the kernel for want of memory). Errors of ours come as they are, and so do those of Python and
    other packages where they can be pickled; otherwise as RuntimeError, with their text.

    To be used from one thread, which stays: the child ends with the thread that first called.
    """

    def __init__(self, function: Callable[_P, _R], *, seconds: float, memory_bytes: int):
        self._function = function
        self._seconds = seconds
        self._memory = memory_bytes
        self._child: _Child | None = None

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call the function, again in a new child if the first attempt says nothing certain."""
        try:
            return self._attempt(args, kwargs)
        except PictureError as error:
            if error.code not in _DOUBTFUL:
                raise
        self.close()
        try:
            return self._attempt(args, kwargs)
        except PictureError as error:
            if error.code in _DOUBTFUL:
                self.close()
            raise

    def close(self) -> None:
        """End the child; the next call starts another one."""
        if self._child is not None:
            self._child.end()
            self._child = None

    @property
    def pid(self) -> int | None:
        """Of the child, if there is one."""
        return None if self._child is None else self._child.process.pid

    def _attempt(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _R:
        if self._child is None or self._child.parent != os.getpid():  # a fork of ours has no child
            self._child = _Child(self._function, self._memory)
        returned, value = self._child.call((os.getcwd(), args, kwargs), self._seconds)
        if returned:
            return value
        if isinstance(value, MemoryError):
            raise PictureError("out_of_memory", f"with {self._memory >> 20} MiB")
        raise value


class _Child:
    """The process and our end of its pipe."""

    def __init__(self, function: Callable[..., Any], memory_bytes: int):
        self.parent = os.getpid()
        self.pipe, far_end = multiprocessing.Pipe()
        path = [os.path.abspath(entry) for entry in sys.path]
        start = _START.format(path=path, pipe=far_end.fileno(), parent=self.parent)
        with sigint_blocked():
            self.process = subprocess.Popen(  # noqa: S603 (our own interpreter and text)
                [sys.executable, "-c", start],
                pass_fds=[far_end.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **_ONE_THREAD},
            )
        far_end.close()  # so that the death of the process ends the pipe
        # Also at the end of the interpreter, and when nobody holds it any more.
        self.end = weakref.finalize(self, _end, self.process, self.pipe, self.parent)
        try:
            ready, error = self.call((function, memory_bytes), _START_SECONDS)
        except PictureError as died:
            raise SetupError(f"a process to decode pictures in could not be started: {died.detail}") from died
        if not ready:
            raise error

    def call(self, what: Any, seconds: float) -> tuple[bool, Any]:
        """(True, what was returned) or (False, what was raised); PictureError when there is no answer."""
        try:
            self.pipe.send(what)
            if not self.pipe.poll(seconds):
                raise PictureError("timeout", f"more than {seconds:g} s")
            return self.pipe.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error

    def _died(self) -> PictureError:
        code = self.process.wait()
        if code == -signal.SIGKILL:
            return PictureError("out_of_memory", "the process was killed, which the kernel does for want of memory")
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return PictureError("decoder_crash", f"the process {how}")


def _end(process: subprocess.Popen[bytes], pipe: Connection, parent: int) -> None:
    pipe.close()
    if os.getpid() == parent:
        process.kill()
        process.wait()


def _serve(pipe_number: int, parent: int) -> None:
    """The life of the child: the function and its memory, then arguments in and results out, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    die_with(parent)
    pipe = Connection(pipe_number)
    function: Callable[..., Any] | None = None
    while True:
        try:
            asked = pipe.recv()
        except EOFError:
            return
        except Exception as error:  # what was sent cannot be unpickled, such as a function of a module not found here
            pipe.send((False, _portable(error)))
            continue
        try:
            if function is None:
                function, memory_bytes = asked
                _limit(memory_bytes)
                answer: tuple[bool, Any] = (True, None)
            else:
                folder, args, kwargs = asked
                del asked
                if folder != os.getcwd():  # paths are relative to where the caller is now
                    os.chdir(folder)
                answer = (True, function(*args, **kwargs))
        except Exception as error:
            answer = (False, _portable(error))
        pipe.send(answer)
        del answer


def _limit(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no file behind
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            pages = int(stream.read().split()[0])
    except OSError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + memory_bytes
    limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))


def _portable(error: Exception) -> Exception:
    """The error, if it survives pickling, else its text. Where it was raised stays in the child, but for a note."""
    if isinstance(error, AnimetuneError | MemoryError):
        return error
    error.add_note("in a child process:\n" + "".join(traceback.format_exception(error)))
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
