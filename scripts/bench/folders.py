"""A folder of pictures with captions beside them: ingested by the format `folder`, and read as training scripts do.

Pictures are not opened by any, so they are a few bytes long. What only ingest does: it hashes names and captions, so
that a second run knows whether anything changed; takes captions apart into tags and sentences; checks every text for
what is not UTF-8; gives each picture an id that no other run gives another one; and writes sorted rows.
"""

from __future__ import annotations

import glob
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import side_by_side as bench

PICTURES = 2_000 if bench.QUICK else 200_000
IN_A_FOLDER = 1_000
ROUNDS = 3
TAGS = "1girl, long hair, looking at viewer, smile, blue eyes, school uniform, outdoors, cherry blossoms, {}"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def build(*, folder: str) -> dict[str, Any]:
    """Pictures that are none, each with a file of tags."""
    for number in range(PICTURES):
        if number % IN_A_FOLDER == 0:
            below = Path(folder, "pictures", f"{number // IN_A_FOLDER:04d}")
            below.mkdir(parents=True)
        (below / f"{number}.jpg").write_bytes(b"\xff\xd8\xff")
        (below / f"{number}.txt").write_text(TAGS.format(number))
    return {}


def ingest(*, folder: str) -> dict[str, float]:
    """The step of curation, in this process: from nothing to rows on disk."""
    from animetune.curate.config.sources import SourceConfig
    from animetune.curate.read import ingest
    from animetune.curate.steps import Workplace
    from animetune.executor import LocalExecutor

    source = SourceConfig.model_validate({"name": "ours", "posts": [f"{folder}/pictures"]})
    with tempfile.TemporaryDirectory(dir=folder) as work, _Timed() as timed:
        out = Path(work, "out")
        out.mkdir()
        at = Workplace(None, Path(work, "chunks"), LocalExecutor(0), lambda *_: None, Path(work, "answers"))
        written = ingest.ingest(ingest.find_files([source]), at, out)
    assert written.kept == PICTURES
    return timed.found


def unchanged(*, folder: str) -> dict[str, float]:
    """Whether anything changed, by which a second run knows that it has nothing to do."""
    from animetune.curate.read.formats import beside

    with _Timed() as timed:
        beside.folder_digest(Path(folder, "pictures"))
    return timed.found


def glob_and_read(*, folder: str) -> dict[str, float]:
    """A glob for each kind of picture and the captions beside them, as kohya's scripts read a folder."""
    with _Timed() as timed:
        names: list[str] = []
        for below in sorted(os.listdir(f"{folder}/pictures")):
            for suffix in SUFFIXES:
                names += glob.glob(os.path.join(folder, "pictures", glob.escape(below), f"*{suffix}"))
        captions = {}
        for name in sorted(set(names)):
            beside = os.path.splitext(name)[0] + ".txt"
            if os.path.isfile(beside):
                with open(beside, encoding="utf-8") as stream:
                    captions[name] = [tag.strip() for tag in stream.readlines()[0].split(",")]
    assert len(captions) == PICTURES
    return timed.found


def walk_and_read(*, folder: str) -> dict[str, float]:
    """pathlib over everything, a caption beside each picture, as waifuc's sources and most scripts of one's own do."""
    with _Timed() as timed:
        captions = {}
        for path in sorted(Path(folder, "pictures").rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                beside = path.with_suffix(".txt")
                if beside.exists():
                    captions[path] = [tag.strip() for tag in beside.read_text(encoding="utf-8").split(",")]
    assert len(captions) == PICTURES
    return timed.found


class _Timed:
    """Seconds of the block, and the memory that it took beyond what was there."""

    def __enter__(self) -> _Timed:
        self.memory = bench.peak_memory()
        self.peaks = self.memory.__enter__()
        with open("/proc/self/status") as stream:
            fields = dict(line.split(":", 1) for line in stream)
        self.before = 1024 * int(fields["RssAnon"].split()[0])
        self.began = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        seconds = time.perf_counter() - self.began
        self.memory.__exit__(None, None, None)
        self.found = {"seconds": seconds, "megabytes": max(0, self.peaks["private"] - self.before) / 1e6}


CONTENDERS = {
    "ingest": ingest,
    "is it unchanged": unchanged,
    "glob and read": glob_and_read,
    "walk and read": walk_and_read,
}


def main() -> None:
    """Every contender on the same folder, which the page cache holds."""
    with tempfile.TemporaryDirectory() as folder:
        build(folder=folder)
        found = bench.alternate(CONTENDERS, rounds=ROUNDS, folder=folder)
    rows = []
    for name, rounds in found.items():
        rows.append(
            {
                "": name,
                "seconds": f"{bench.middle(rounds, 'seconds'):.2f}",
                "pictures/s": f"{PICTURES / bench.middle(rounds, 'seconds'):,.0f}",
                "memory (MB)": f"{bench.middle(rounds, 'megabytes'):.0f}",
                "ingest takes": bench.ratio_text(bench.paired(found, "seconds", of="ingest", to=name)),
            }
        )
    title = f"A folder of {PICTURES:,} pictures and as many captions, {IN_A_FOLDER:,} pictures in a folder"
    notes = (
        "on one core, everything in the page cache; `ingest takes` is its time divided by that of the row",
        "memory: at the peak, beyond what the process had with its imports",
    )
    bench.report("folders", title, rows, notes=notes)


if __name__ == "__main__":
    bench.child(CONTENDERS)
    main()
