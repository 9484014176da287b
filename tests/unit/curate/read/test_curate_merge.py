"""Runs become parts in one order, whatever they were cut into; only numbers are held in between."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from animetune import tables
from animetune.curate.config.sources import SourceConfig
from animetune.curate.read import chunks, merge, runs
from animetune.curate.read.ingest import ingest
from animetune.curate.read.inputs import find_files
from animetune.curate.steps import Workplace
from animetune.executor import LocalExecutor
from tests.builders import danbooru_post, ingested, write_lines


def sources(folder: Path) -> list[SourceConfig]:
    return [
        SourceConfig.model_validate(
            {
                "name": name,
                "posts": [str(folder / f"{name}-*.jsonl")],
                "captions": [str(folder / f"{name}.captions")],
            }
        )
        for name in ("b", "a")
    ]


@pytest.fixture(scope="module")
def posts(tmp_path_factory) -> Path:
    """Two sources of two files in no order, with posts twice, chains of parents and captions."""
    folder = tmp_path_factory.mktemp("posts")
    order = random.Random(5)
    for name in ("a", "b"):
        ids = [*range(1, 90), *range(40, 50)]
        order.shuffle(ids)
        made = [
            danbooru_post(post_id, score=place, parent_id=post_id - 1 if post_id % 3 else None,
                          rating="sqe"[post_id % 3], captions_long=["own"] if post_id % 5 == 0 else [])
            for place, post_id in enumerate(ids)
        ]  # fmt: skip
        write_lines(folder / f"{name}-0.jsonl", made[:50])
        write_lines(folder / f"{name}-1.jsonl", made[50:])
        order.shuffle(ids)
        lines = [{"id": post_id, "long": [f"{name} {post_id}", "own"], "short": []} for post_id in ids[:30]]
        lines += [{"key": "a/1", "short": [f"of {name}"]}, {"key": "a/01"}, {"key": "c/1"}, {"key": "nothing"}]
        write_lines(folder / f"{name}.captions", lines)
    return folder


def test_cuts_change_nothing(posts: Path, tmp_path: Path, monkeypatch):
    whole = ingested(tmp_path / "whole", *sources(posts))
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 900)
    monkeypatch.setattr(runs, "RUN_ROWS", 2)
    monkeypatch.setattr(runs, "GROUP_ROWS", 2)
    monkeypatch.setattr(tables, "PART_ROWS", 7)
    cut = ingested(tmp_path / "cut", *sources(posts))
    assert len(list((tmp_path / "cut" / "ingested").iterdir())) == -(-whole.kept.height // 7)
    assert whole.kept.equals(cut.kept)
    assert sorted(whole.quarantined["key"]) == sorted(cut.quarantined["key"])
    assert whole.facts == cut.facts


def test_what_is_in_the_parts(posts: Path, tmp_path: Path):
    outcome = ingested(tmp_path, *sources(posts))
    rows = outcome.kept
    assert tuple(rows.columns) == merge.COLUMNS
    schema = tables.schema()
    assert {name: rows.schema[name] for name in rows.columns if name in schema} == {
        name: schema[name] for name in rows.columns if name in schema
    }
    assert rows["key"].to_list() == [f"{name}/{post_id}" for name in "ab" for post_id in range(1, 90)]
    assert outcome.quarantined["code"].to_list() == ["dup_id"] * 20
    lines = [json.loads(line) for line in (posts / "a-0.jsonl").read_text().splitlines()]
    lines += [json.loads(line) for line in (posts / "a-1.jsonl").read_text().splitlines()]
    first = {}
    for line in lines:
        first.setdefault(f"a/{line['id']}", line["score"])
    assert dict(rows.filter(source="a").select("key", "score").iter_rows()) == first
    family = dict(rows.select("key", "family").iter_rows())
    assert (family["a/1"], family["a/2"], family["a/3"]) == ("a/1", "a/1", "a/3")
    assert (family["a/4"], family["a/5"]) == ("a/3", "a/3")
    assert rows.filter(key="a/10")["captions_long"].to_list()[0][:1] == ["own"]
    assert rows.filter(key="a/1")["captions_short"].to_list() == [["of b", "of a"]]
    assert set(rows["rating"]) == {"g", "q", "e"}
    assert outcome.facts["captions"]["lines"] == 68
    said = rows.filter(pl.col("captions_long").list.len() > 0)
    assert said["captions_long"].list.unique().list.len().equals(said["captions_long"].list.len())


def test_equal_bytes_for_any_number_of_workers_and_after_a_kill(posts: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tables, "PART_ROWS", 50)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 5000)
    made = []
    for workers in (0, 2):
        out = tmp_path / f"{workers}"
        out.mkdir()
        at = Workplace(None, out / "chunks", LocalExecutor(workers), lambda done, total: None, out / "answers")
        (out / "parts").mkdir()
        written = ingest(find_files(sources(posts)), at, out / "parts")
        made.append({path.name: path.read_bytes() for path in sorted((out / "parts").iterdir())})
        assert {name: record.bytes for name, record in written.hashed.items()} == {
            name: len(data) for name, data in made[-1].items()
        }
    assert set(made[0]) == {f"part-{number:05d}.parquet" for number in range(4)}
    assert made[0] == made[1]
    out = tmp_path / "0"  # killed: some chunks published, others not
    for name in ("parsed/00001", "merged/00002", "merged/00000"):
        for file in (out / "chunks" / name).iterdir():
            file.unlink()
        (out / "chunks" / name).rmdir()
    (out / "again").mkdir()
    ingest(
        find_files(sources(posts)),
        Workplace(None, out / "chunks", LocalExecutor(0), lambda *_: None, out / "answers"),
        out / "again",
    )
    assert {path.name: path.read_bytes() for path in sorted((out / "again").iterdir())} == made[0]


def test_no_row_at_all(tmp_path: Path):
    write_lines(tmp_path / "a-0.jsonl", [])
    write_lines(tmp_path / "a.captions", [{"id": 1, "long": ["x"]}])
    outcome = ingested(tmp_path, sources(tmp_path)[1])
    assert (outcome.kept.height, outcome.seen, tuple(outcome.kept.columns)) == (0, 0, merge.COLUMNS)


def test_only_the_row_groups_that_are_needed_are_read(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(runs, "GROUP_ROWS", 4)
    rows = pl.DataFrame({"offset": range(30), "id": range(30)}, schema={"offset": pl.Int64, "id": pl.Int64})
    runs.write_run(rows, tmp_path / "a.parquet")
    asked: list[list[int]] = []
    read = runs.pq.ParquetFile.read_row_groups

    def noted(self, groups, *rest, **more):
        asked.append(groups)
        return read(self, groups, *rest, **more)

    monkeypatch.setattr(runs.pq.ParquetFile, "read_row_groups", noted)
    places = np.array([2, 17, 18, 29])
    found = runs.read_rows(tmp_path / "a.parquet", places, {"id": pl.Int64()})
    assert found["id"].to_list() == places.tolist()
    assert asked == [[0, 4, 7]]


def test_gathering_keeps_the_order_that_is_asked_for(tmp_path: Path):
    for number in range(3):
        rows = pl.DataFrame({"offset": range(9), "id": range(number * 10, number * 10 + 9)})
        runs.write_run(rows.cast(pl.Int64), tmp_path / f"{number}.parquet")
    paths = [tmp_path / f"{number}.parquet" for number in range(3)]
    run_of, place_of = np.array([2, 0, 1, 0, 2]), np.array([8, 3, 0, 1, 0])
    found = runs.gather(paths, run_of, place_of, {"id": pl.Int64()})
    assert found["id"].to_list() == [28, 3, 10, 1, 20]
    assert runs.gather(paths, run_of[:0], place_of[:0], {"id": pl.Int64()}).height == 0


@pytest.mark.parametrize(
    ("ratings", "asked", "scheme"),
    [
        ({"s?": 3}, "auto", "legacy"), ({"g": 1, "s?": 3}, "auto", "current"), ({"g": 1}, "legacy", "legacy"),
        ({}, "auto", "legacy"),
    ],
)  # fmt: skip
def test_schemes(ratings, asked, scheme):
    assert merge.schemes_of({"x": ratings}, {"x": asked}) == {"x": scheme}
