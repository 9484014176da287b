"""What the benchmarks share: contenders in fresh processes, in alternating rounds, and one dated table of ratios.

    CONTENDERS = {"ours": ours, "stock": stock}         each: (**settings) -> {"seconds": ..., ...}, JSON values

    if __name__ == "__main__":
        child(CONTENDERS)                               runs one of them and exits, where `fresh` started this file
        found = alternate(CONTENDERS, rounds=3, samples=1000)
        report("loader", "...", rows)

A fresh process for each measurement, so that no contender inherits caches, allocators or imports of another; rounds
that alternate, so that a machine that grows slower is as slow for all. A figure of one run means nothing by itself on
another machine: compare the ratios.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

QUICK = os.environ.get("QUICK") == "1"
"""Small sizes, one round, no result file: shows that the benchmarks run, not how fast anything is."""
RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("mosaicml-streaming", "numpy", "pillow", "polars", "pyarrow", "torch", "webdataset")

Contender = Callable[..., Mapping[str, Any]]
Rounds = dict[str, list[dict[str, Any]]]
"""What each contender returned, round by round."""


def child(contenders: Mapping[str, Contender]) -> None:
    """Run the contender that the command line names and exit; do nothing in a process that was started by hand."""
    if len(sys.argv) == 4 and sys.argv[1] == "--contender":
        found = contenders[sys.argv[2]](**json.loads(sys.argv[3]))
        print(f"\n{json.dumps(dict(found))}")
        sys.exit(0)


def alternate(contenders: Mapping[str, Contender], *, rounds: int, **settings: Any) -> Rounds:
    """Each contender once a round, each time in a fresh process on one thread; `settings` are its arguments."""
    found: Rounds = {name: [] for name in contenders}
    for _ in range(1 if QUICK else rounds):
        for name in found:
            found[name].append(fresh(contenders, name, **settings))
    return found


def fresh(contenders: Mapping[str, Contender], name: str, *, threads: int = 1, **settings: Any) -> dict[str, Any]:
    """What one contender returns in a process of its own. `threads` limits OpenMP, and Polars as well."""
    if QUICK:  # imports alone would take most of the time
        return dict(contenders[name](**settings))
    script = sys.modules[contenders[name].__module__].__file__
    assert script is not None
    limits = {"OMP_NUM_THREADS": str(threads), "POLARS_MAX_THREADS": str(threads), "ANIMETUNE_PROGRESS": "0"}
    done = subprocess.run(
        [sys.executable, script, "--contender", name, json.dumps(settings)],
        env=os.environ | limits,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{Path(script).name}: the contender {name} failed with exit status {done.returncode}")
    return json.loads(done.stdout.strip().rpartition("\n")[2])


def middle(rounds: Sequence[Mapping[str, Any]], name: str) -> float:
    """The median of a number over the rounds."""
    return statistics.median(each[name] for each in rounds)


def paired(found: Rounds, name: str, *, of: str, to: str) -> list[float]:
    """`of` / `to` of a number, round by round: neighbours in time, so that both had the same machine."""
    return [ours[name] / theirs[name] for ours, theirs in zip(found[of], found[to], strict=True)]


def ratio_text(ratios: Sequence[float]) -> str:
    """`0.97 (0.94 to 0.99)`: median, least and greatest of the rounds."""
    if len(ratios) == 1:
        return f"{ratios[0]:.2f}"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def report(name: str, title: str, rows: Sequence[Mapping[str, str]], *, notes: Sequence[str] = ()) -> None:
    """Print a table, one row each mapping; unless QUICK, also add it to `results/<date>-<name>.md` of this run."""
    columns = list(rows[0])
    table = [columns, ["---"] * len(columns), *([row[column] for column in columns] for row in rows)]
    lines = [f"# {title}", "", *(f"| {' | '.join(cells)} |" for cells in table), ""]
    lines += [f"- {line}" for line in (*notes, machine())]
    text = "\n".join(lines) + "\n"
    print(text)
    if not QUICK:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{datetime.date.today().isoformat()}-{name}.md").write_text(text, encoding="utf-8")


def machine() -> str:
    """The processor, cores, memory and versions; nothing that tells whose machine it is."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    versions = []
    for library in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{library} {importlib.metadata.version(library)}")
    return (
        f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {platform.system()}; "
        f"Python {platform.python_version()}, {', '.join(versions)}"
    )


def memory_of_tree() -> int:
    """Bytes of this process and its children, shared pages counted once (proportional set size)."""
    own = os.getpid()
    with open(f"/proc/{own}/task/{own}/children") as stream:
        children = stream.read().split()
    total = 0
    for process in (str(own), *children):
        with open(f"/proc/{process}/smaps_rollup") as stream:
            total += next(int(line.split()[1]) for line in stream if line.startswith("Pss:"))
    return 1024 * total


@contextlib.contextmanager
def peak_memory(every: float = 0.02) -> Iterator[dict[str, int]]:
    """Peaks of this process, in bytes, once the block has ended: `private`, and `resident` with mapped files.

    Pages of mapped files count as resident, but the system takes them back as it needs them.
    """
    peaks = {"private": 0, "resident": 0}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(every):
            with open("/proc/self/status") as stream:
                fields = dict(line.split(":", 1) for line in stream)
            for name, field in (("private", "RssAnon"), ("resident", "VmRSS")):
                peaks[name] = max(peaks[name], 1024 * int(fields[field].split()[0]))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as stream:
        for line in stream:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
