"""Stand-ins for `probe.look_at` that fail as decoders do; at the top of a module, since a child process imports them.

What a file is called says how it is looked at: `crash-*`, `abort-*`, `hang-*`, `hog-*`, `killed-*`, all others well.
`once-*` crashes the first time only, and leaves a file `<name>.seen` beside it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from animetune.curate.probe import Question, look_at


def misbehave(question: Question, read: tuple[str, bytes] | None = None) -> Mapping[str, Any]:
    path = Path(question.candidates[0])
    match path.name.partition("-")[0]:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "abort":
            os.abort()
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(60)
        case "hog":
            bytearray(1 << 40)
        case "once":
            seen = path.with_suffix(".seen")
            if not seen.exists():
                seen.touch()
                os.kill(os.getpid(), signal.SIGSEGV)
    return look_at(question, read)


def divide_by_zero(question: Question, read: tuple[str, bytes] | None = None) -> Mapping[str, Any]:
    """An error of the code, which is no verdict on a picture."""
    found = look_at(question, read)
    if (found["width"], found["height"]) == (56, 56):
        return {"width": 1 / 0}
    return found
