"""The exceptions that animetune raises, and the exit code that each gives the command line.

    AnimetuneError              exit 1    base: catch this to catch everything that is ours
    ├── ConfigError             exit 2    a YAML file, a --set or an include is wrong; holds every problem found
    ├── SetupError              exit 3    the machine lacks something: disk space, weights, an extra, a free folder
    ├── DataError               exit 1    what is on disk is not what was expected
    │   ├── FormatVersionError            written by another format version of animetune
    │   ├── PictureError                  a picture cannot be used; `code` says why (`pictures.PICTURE_CODES`)
    │   ├── QuarantineLimitError          more inputs were refused than `quarantine_limit` allows
    │   └── ShortEpochError               the data ended before the epoch plan did
    ├── ChunkError              exit 1    a worker failed or died on a chunk; the same command continues from there
    ├── ResumeError             exit 1    a checkpoint does not belong to this run, or none verifies
    ├── NonFiniteError          exit 1    loss or gradients stayed NaN or infinite
    ├── Preempted               exit 75   a signal asked us to stop; a checkpoint was saved; run the command again
    └── RequestLimitError       exit 75   as many requests were sent as allowed; run the command again to go on

A message names what is wrong, where, the offending value, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence


class AnimetuneError(Exception):
    """Base of every error that animetune raises on purpose."""

    exit_code = 1


class ConfigError(AnimetuneError):
    """One or more problems in a configuration; `problems` holds each as `file:line:col: key: what`."""

    exit_code = 2

    def __init__(self, problems: Sequence[str] | str):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class SetupError(AnimetuneError):
    """The environment cannot run this: disk, memory, missing weights, missing optional package, locked folder."""

    exit_code = 3


class DataError(AnimetuneError):
    """Data on disk is missing, malformed or does not belong together."""


class FormatVersionError(DataError):
    """An output was written by a version of animetune whose format this one does not read."""


class PictureError(DataError):
    """A picture cannot be used; `code` is a key of `animetune.pictures.PICTURE_CODES`, `detail` may add to it."""

    def __init__(self, code: str, detail: str = ""):
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}" if detail else code)

    def __reduce__(self) -> tuple[type[PictureError], tuple[str, str]]:
        return type(self), (self.code, self.detail)


class QuarantineLimitError(DataError):
    """A stage refused a larger share of its inputs than its `quarantine_limit`."""


class ShortEpochError(DataError):
    """The loader ran out of data before the epoch plan was finished."""


class ChunkError(AnimetuneError):
    """A chunk of work failed; published chunks stay, and the same command continues from there."""


class ResumeError(AnimetuneError):
    """A checkpoint cannot be resumed from."""


class NonFiniteError(AnimetuneError):
    """Training produced NaN or infinity too often to go on."""


class Preempted(AnimetuneError):
    """Training was asked to stop by a signal and saved a checkpoint first."""

    exit_code = 75


class RequestLimitError(AnimetuneError):
    """As many requests were sent as one run may send; their answers are kept, and the same command goes on."""

    exit_code = 75
