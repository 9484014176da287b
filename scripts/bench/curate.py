"""Curation of made-up posts by the shipped recipe (configs/curate.yaml): seconds a step, wall time, peak memory.

python scripts/bench/curate.py [posts ...] [--tags danbooru.csv] [--format parquet]

100,000, 1,000,000 and 7,000,000 posts if not given. No picture is opened (`pictures.decode: false`); the posts are made
before the clock runs (`posts.py`), by Zipf's law unless a tag list is given. Memory is that of all processes together,
each shared page once, with the pages of mapped files. Another table, `curate_peers.py`, sets the work of the steps
beside plain dictionaries and pandas.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import posts as made_up
import side_by_side as bench

POSTS = (3_000,) if bench.QUICK else (100_000, 1_000_000, 7_000_000)
CONFIG = Path(__file__).parents[2] / "configs" / "curate.yaml"
WORKERS = 2
LONG = 20.0
"""Seconds from which a step's time is explained."""
WHY = {
    "find_files": "SHA-256 of every input file, which decides whether the step ingest is done again",
    "ingest": "every value of every post is read, checked and written once more, tags included",
    "tags": "every tag list is read, rewritten and compressed: the largest columns of the table",
    "table": "the largest columns are read and compressed once more, to stand in one file with all others",
}
"""Step -> why it takes long, where it does."""


def curate(*, folder: str, out: str, kind: str) -> dict[str, Any]:
    """Run the whole stage; seconds in all and of each step, the peak of memory, and how many rows were kept."""
    from animetune.config import load_config
    from animetune.curate import run
    from animetune.curate.config import CurateConfig
    from animetune.curate.read import ingest

    overrides = [
        f"out={out}",
        f"sources.0.posts=[{folder}/*.{kind}]",
        "pictures.decode=false",
        "captions=null",
        f"executor.workers={WORKERS}",
    ]
    cfg = load_config(CONFIG, CurateConfig, overrides)
    seconds: dict[str, float] = {}
    run_step, find_files = run.run_step, ingest.find_files

    @contextlib.contextmanager
    def clock(name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - begun

    def timed_step(step: Any, *arguments: Any) -> Any:
        with clock(step.name):
            return run_step(step, *arguments)

    def timed_files(*arguments: Any) -> Any:
        with clock("find_files"):
            return find_files(*arguments)

    run.run_step, ingest.find_files = timed_step, timed_files
    begun = time.perf_counter()
    with memory_of_all() as peak:
        manifest = run.run(cfg)
    wall = time.perf_counter() - begun
    seconds["publish"] = wall - sum(seconds.values())
    return {"seconds": wall, "steps": seconds, "peak": peak["bytes"], "kept": manifest.kept, "seen": manifest.seen}


@contextlib.contextmanager
def memory_of_all(every: float = 0.2) -> Iterator[dict[str, int]]:
    """The peak of this process and its children together, in bytes, once the block has ended."""
    peak = {"bytes": 0}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(every):
            with contextlib.suppress(OSError):  # a child that has just ended
                peak["bytes"] = max(peak["bytes"], bench.memory_of_tree())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


CONTENDERS = {"curate": curate}


def main(asked: argparse.Namespace) -> None:
    """One column for each number of posts, one row for each step."""
    tags = made_up.TagList.read(asked.tags) if asked.tags else made_up.TagList.zipf()
    found = {}
    for count in asked.posts or POSTS:
        with tempfile.TemporaryDirectory(prefix="bench-curate-") as folder:
            made_up.write_posts(Path(folder, "posts"), count, tags, kind=asked.format)
            settings = {"folder": f"{folder}/posts", "out": f"{folder}/table", "kind": asked.format}
            found[count] = bench.fresh(CONTENDERS, "curate", threads=WORKERS, **settings)
    table = [
        {"step": name, **{f"{count:,} posts": f"{each['steps'][name]:.1f} s" for count, each in found.items()}}
        for name in next(iter(found.values()))["steps"]
    ]
    sums = {
        "**wall**": lambda count, each: f"**{each['seconds']:.1f} s**",
        "s per million posts": lambda count, each: f"{each['seconds'] / count * 1e6:.1f}",
        "peak of memory": lambda count, each: f"{each['peak'] / 1e9:.2f} GB",
        "kept": lambda count, each: f"{each['kept']:,}",
    }
    table += [
        {"step": name, **{f"{count:,} posts": text(count, each) for count, each in found.items()}}
        for name, text in sums.items()
    ]
    largest = found[max(found)]
    notes = [
        f"configs/curate.yaml without opening pictures; posts as {asked.format}, tags "
        + (f"drawn by the counts of {asked.tags.name}" if asked.tags else "by Zipf's law")
        + f"; {WORKERS} workers, Polars on {WORKERS} threads each; each column one fresh process",
        *(f"{name}: {WHY.get(name, 'not explained')}" for name, took in largest["steps"].items() if took > LONG),
    ]
    bench.report("curate", "Curation by the DashAnime recipe", table, notes=notes)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("posts", type=int, nargs="*")
    parser.add_argument("--tags", type=Path, help="CSV of name,category,count; without one, by Zipf's law")
    parser.add_argument("--format", choices=("parquet", "jsonl"), default="parquet")
    return parser.parse_args()


if __name__ == "__main__":
    bench.child(CONTENDERS)
    main(arguments())
