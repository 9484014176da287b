"""Steps by part and at once: what is published, what comes back, and that workers and parts change nothing."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import polars as pl
import pytest

from animetune import fsio
from animetune.curate.parts import part_name, write_parts
from animetune.curate.step_kinds import at_once, by_part
from animetune.curate.steps import Outcome, Published, Rows, Step, Written, added, run_step, total
from animetune.errors import ChunkError, DataError
from animetune.executor import LocalExecutor


def source(rows: int, part_rows: int) -> Step:
    """Rows with a key, a number and some tags."""

    def work(at, folder: Path) -> Written:
        frame = pl.DataFrame(
            {
                "row": pl.Series(range(rows), dtype=pl.UInt32),
                "key": [f"s/{n}" for n in range(rows)],
                "n": pl.Series(range(rows), dtype=pl.Int64),
                "tags": pl.Series([["x"] * (n % 3) + ["y"] for n in range(rows)], dtype=pl.List(pl.String)),
            }
        )
        pieces = [frame.slice(start, part_rows) for start in range(0, max(rows, 1), part_rows)]
        empty = Outcome(frame)
        kept = write_parts(pieces, frame.columns, folder)
        return Written(kept, empty.dropped, empty.quarantined, {"source": "made"}, seen=rows)

    return Step("source", work, settings=[rows, part_rows])


def drop_and_count(rows: pl.DataFrame, every: int) -> Outcome:
    """Drop every so many, quarantine the next, count the tags of the rest."""
    is_dropped, is_refused = pl.col("n") % every == 0, pl.col("n") % every == 1
    kept = rows.filter(~is_dropped & ~is_refused).with_columns(length=pl.col("tags").list.len())
    return Outcome(
        kept=kept.with_columns(ignored=pl.lit("no column of the step")),
        dropped=rows.filter(is_dropped).select("key", reason=pl.lit("every")),
        quarantined=rows.filter(is_refused).select("key", code=pl.lit("next"), detail=pl.lit("why")),
        facts={"rows": rows.height, "of": {"tags": {"uses": int(kept["length"].sum())}}},
        tables={"tag_counts": kept.select(name="tags").explode("name").group_by("name").len(name="count")},
    )


def share(rows: pl.DataFrame, tag_counts: pl.DataFrame) -> Outcome:
    """Needs counts of all parts."""
    uses = dict(tag_counts.iter_rows())
    return Outcome(rows.with_columns(y=pl.lit(uses["y"]), x=pl.lit(uses["x"])))


def rank(rows: pl.DataFrame) -> Outcome:
    """Needs all rows; gives them back in another order, one less."""
    ranked = rows.with_columns(rank=pl.col("n").rank("ordinal", descending=True)).sort("rank")
    return Outcome(ranked[1:], dropped=ranked[:1].select("key", reason=pl.lit("first")), facts={"named": ["any", 0.5]})


def fail(rows: pl.DataFrame) -> Outcome:
    raise DataError("no such thing; name another")


COUNTING = by_part(
    "counting",
    functools.partial(drop_and_count, every=4),
    reads=("n", "tags"),
    writes=("length",),
    settings=4,
)
CHAIN = [
    COUNTING,
    by_part("share", share, reads=(), writes=("x", "y"), needs=("tag_counts",)),
    at_once("rank", rank, reads=("n",), writes=("rank",)),
    by_part("end", Outcome, reads=("rank", "tags", "y"), writes=("rank", "tags", "key"), numbered=False),
]


def run(steps: list[Step], out: Path, workers: int = 0) -> list[Published]:
    done: list[Published] = []
    for step in steps:
        done.append(run_step(step, out, done, LocalExecutor(workers), lambda done, total: None))
    return done


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_chain(tmp_path: Path):
    done = run([source(10, 4), *CHAIN], tmp_path)
    _, counting, shared, ranked, end = done
    assert (counting.manifest.seen, counting.manifest.kept) == (10, 4)
    assert counting.manifest.dropped == {"every": 3}
    assert counting.manifest.quarantined == {"next": 3}
    assert counting.manifest.facts == {"rows": 10, "of": {"tags": {"uses": 7}}}
    assert counting.dropped().rows() == [("s/0", "every"), ("s/4", "every"), ("s/8", "every")]
    assert [pl.read_parquet(part).rows() for part in counting.parts] == [[(2, 3), (3, 1)], [(6, 1), (7, 2)], []]
    assert [pl.read_parquet(part).columns for part in counting.parts] == [["row", "length"]] * 3
    assert Rows.after(done).table("tag_counts").rows() == [("y", 4), ("x", 3)]
    assert pl.read_parquet(shared.parts[0]).rows() == [(2, 3, 4), (3, 3, 4)]
    assert ranked.manifest.facts == {"named": ["any", 0.5]}
    assert [pl.read_parquet(part).rows() for part in ranked.parts] == [[(2, 4), (3, 3)], [(6, 2)], []]
    assert pl.read_parquet(end.parts[0]).rows() == [(4, ["x", "x", "y"], "s/2"), (3, ["y"], "s/3")]
    assert pl.read_parquet(end.parts[2]).columns == ["rank", "tags", "key"]


def test_workers_change_no_byte(tmp_path: Path):
    run([source(10, 4), *CHAIN], tmp_path / "0")
    run([source(10, 4), *CHAIN], tmp_path / "3", workers=3)
    assert tree(tmp_path / "0") == tree(tmp_path / "3")


def test_chunks_are_used_again_and_go_when_the_step_is_there(tmp_path: Path):
    whole = tmp_path / "whole"
    run([source(10, 4), COUNTING], whole)
    assert list((whole / "chunks").iterdir()) == []
    calls = []

    def counted(rows: pl.DataFrame) -> Outcome:
        calls.append(rows.height)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return drop_and_count(rows, every=4)

    interrupted = by_part("counting", counted, reads=("n", "tags"), writes=("length",), settings=4)
    broken = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        run([source(10, 4), interrupted], broken)
    assert len(list((broken / "chunks").rglob("rows.parquet"))) == 2
    run([source(10, 4), interrupted], broken)
    assert calls == [4, 4, 2, 2]
    assert tree(broken) == tree(whole)

    leftover = broken / "chunks" / next((broken / "steps").glob("01-*")).name  # killed before they were removed
    leftover.mkdir()
    run([source(10, 4), COUNTING], broken)
    assert not leftover.exists()


def test_what_a_function_raises_names_the_step_and_keeps_its_remedy(tmp_path: Path):
    step = by_part("failing", fail, reads=("n",), writes=())
    with pytest.raises(
        ChunkError, match=r"01-failing-[0-9a-f]{16}: chunk 00000: no such thing; name another"
    ) as caught:
        run([source(6, 4), step], tmp_path / "parts")
    assert caught.value.exit_code == DataError.exit_code
    with pytest.raises(DataError, match="no such thing; name another"):
        run([source(3, 4), step], tmp_path / "part")


def test_facts_of_a_part_can_be_added_up_however_many_parts_there_are(tmp_path: Path):
    step = by_part("sharing", lambda rows: Outcome(rows, facts={"share": 0.5}), reads=(), writes=())
    with pytest.raises(TypeError, match="share: only integers"):
        run([source(3, 4), step], tmp_path)


def test_a_row_without_outcome_is_found(tmp_path: Path):
    losing = by_part("losing", lambda rows: Outcome(rows.head(1)), reads=(), writes=())
    with pytest.raises(DataError, match="3 rows were seen but 1 have an outcome"):
        run([source(3, 4), losing], tmp_path)


def test_no_rows_at_all(tmp_path: Path):
    done = run(
        [source(0, 4), COUNTING, at_once("rank", lambda rows: Outcome(rows), reads=("n",), writes=("n",))], tmp_path
    )
    assert [step.manifest.kept for step in done] == [0, 0, 0]
    assert pl.read_parquet(done[-1].parts[0]).columns == ["row", "n"]


def test_without_hard_links_files_are_copied(tmp_path: Path, monkeypatch):
    run([source(10, 4), *CHAIN], tmp_path / "linked")

    def refuse(*names):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    run([source(10, 4), *CHAIN], tmp_path / "copied")
    assert tree(tmp_path / "linked") == tree(tmp_path / "copied")


def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch):
    def refuse(*names):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(fsio.SetupError, match="the disk is full"):
        run([source(10, 4), COUNTING], tmp_path)


def test_facts_are_added_up():
    assert added([{"a": 1, "b": {"c": 2}}, {}, {"b": {"c": 3, "d": 4}}]) == {"a": 1, "b": {"c": 5, "d": 4}}
    with pytest.raises(TypeError, match=r"share: only integers can be added up, not 0\.5"):
        added([{"share": 0.5}])


def test_counts_are_added_up_the_largest_first():
    one = pl.DataFrame({"name": ["b", "a", None], "kind": ["x", "x", "y"], "count": [1, 2, 1]})
    two = pl.DataFrame({"name": ["a", "b"], "kind": ["y", "x"], "count": [1, 3]})
    assert total([one, two]).rows() == [("b", "x", 4), ("a", "x", 2), (None, "y", 1), ("a", "y", 1)]


def test_parts_are_named_by_number():
    assert part_name(12) == "part-00012.parquet"
