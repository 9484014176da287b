"""Files of posts and captions become one table, whatever the files are cut into."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate import families
from animetune.curate.config.sources import SourceConfig
from animetune.curate.read import chunks, ingest
from animetune.curate.read.formats import readers
from animetune.curate.read.posts import MAX_LINE
from animetune.errors import ChunkError, DataError
from tests.builders import Ingested, danbooru_post, ingested, write_lines


def source(folder: Path, name: str = "site", **fields) -> SourceConfig:
    return SourceConfig.model_validate({"name": name, "posts": [str(folder / "posts.jsonl")], **fields})


def codes(outcome: Ingested) -> list[str]:
    return outcome.quarantined.sort("detail")["code"].to_list()


def test_rows_are_sorted_by_source_and_id(tmp_path: Path):
    for name, ids in (("b", [3, 1]), ("a", [10, 9])):
        (tmp_path / name).mkdir()
        write_lines(tmp_path / name / "posts.jsonl", [danbooru_post(post_id) for post_id in ids])
    outcome = ingested(tmp_path, source(tmp_path / "b", "b"), source(tmp_path / "a", "a"))
    assert outcome.kept["key"].to_list() == ["a/9", "a/10", "b/1", "b/3"]


@pytest.mark.parametrize("size", [50, 10**6])
def test_a_file_can_be_cut_anywhere(tmp_path: Path, monkeypatch, size: int):
    """Every line is read exactly once, however many bytes a chunk has, and the details name its first byte."""
    lines = [json.dumps({"id": n}).encode() for n in range(30)]
    lines[7] = b"\xef\xbb\xbf{broken"
    lines[20] = b""
    write_lines(tmp_path / "posts.jsonl", lines)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", size)
    outcome = ingested(tmp_path, source(tmp_path))
    assert outcome.kept["id"].to_list() == [n for n in range(30) if n not in (7, 20)]
    offset = sum(len(line) + 1 for line in lines[:7])
    (detail,) = outcome.quarantined["detail"].to_list()
    assert detail.startswith(f"site:posts.jsonl, byte {offset}: ")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([b"", b"a", b"bb", b"ccc\r", b" "]), max_size=8).map(b"\n".join),
    st.integers(1, 9),
)
def test_every_line_belongs_to_one_range(data: bytes, size: int):
    whole = list(readers.lines(io.BytesIO(data), 0, None))
    parts = [
        line for start in range(0, len(data), size) for line in readers.lines(io.BytesIO(data), start, start + size)
    ]
    assert parts == whole
    assert [raw.value for raw in whole] == [line.strip() for line in data.split(b"\n") if line.strip()]


LINES = st.one_of(
    st.binary(max_size=30),
    st.integers(-2, 5).map(lambda number: json.dumps({"id": number}).encode()),
    st.dictionaries(st.sampled_from(["id", "score", "tags", "rating"]), st.integers() | st.text(max_size=5)).map(
        lambda record: json.dumps(record).encode()
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(LINES, max_size=8))
def test_any_file_has_one_outcome_for_each_line(tmp_path_factory, lines: list[bytes]):
    folder = tmp_path_factory.mktemp("lines")
    (folder / "posts.jsonl").write_bytes(b"\n".join(lines))
    outcome = ingested(folder, source(folder))  # asserts that every record seen was kept or quarantined
    read = b"\n".join(lines).removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert outcome.seen == len([line for line in read if line.strip()])
    assert outcome.kept["key"].is_unique().all()


def test_workers_change_nothing(tmp_path: Path, monkeypatch):
    write_lines(tmp_path / "posts.jsonl", [danbooru_post(n) for n in range(40)] + [b"{", b"[]"])
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 4000)
    one, two = ingested(tmp_path / "1", source(tmp_path)), ingested(tmp_path / "2", source(tmp_path), workers=2)
    assert one.kept.equals(two.kept)
    assert one.quarantined.equals(two.quarantined)
    assert one.facts == two.facts


def test_bom_crlf_and_blank_lines(tmp_path: Path):
    (tmp_path / "posts.jsonl").write_bytes(b'\xef\xbb\xbf{"id": 1}\r\n\r\n   \n{"id": 2}')
    outcome = ingested(tmp_path, source(tmp_path))
    assert outcome.kept["id"].to_list() == [1, 2]
    assert outcome.seen == 2


def test_every_bad_line_has_one_code_and_its_neighbours_none(tmp_path: Path):
    lines = [
        {"id": 1}, b"{", {"id": 2}, b'{"id": NaN}', {"id": 3}, b'{"id": "\xff"}', {"id": 4}, b'{"id": 5, "id": 5}',
        {"id": 6}, {"id": 2}, {"id": 7}, b"[1, 2]", {"id": 8}, {"id": 9, "score": "x"}, {"id": 10},
    ]  # fmt: skip
    write_lines(tmp_path / "posts.jsonl", lines)
    outcome = ingested(tmp_path, source(tmp_path))
    assert outcome.kept["id"].to_list() == [1, 2, 3, 4, 6, 7, 8, 10]
    assert sorted(codes(outcome)) == sorted(
        ["bad_json", "bad_json", "bad_unicode", "dup_key", "dup_id", "bad_record", "bad_record"]
    )
    keys = dict(outcome.quarantined.select("detail", "key").iter_rows())
    assert sorted(key for key in keys.values() if key) == ["site/2", "site/9"]


def test_a_line_without_end_is_one_refusal_and_no_memory(tmp_path: Path):
    (tmp_path / "posts.jsonl").write_bytes(b'{"id": 1}\n' + b"x" * (2 * MAX_LINE + 7) + b'\n{"id": 2}\n')
    outcome = ingested(tmp_path, source(tmp_path))
    assert outcome.kept["id"].to_list() == [1, 2]
    assert codes(outcome) == ["bad_json"]


def test_gzip_and_json_arrays(tmp_path: Path):
    posts = [danbooru_post(n) for n in range(3)]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"\n".join(json.dumps(post).encode() for post in posts)))
    (tmp_path / "b.json").write_text(json.dumps([danbooru_post(10), 5, danbooru_post(11)]))
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(json.dumps(danbooru_post(20), indent=1).encode()))
    (tmp_path / "d.json").write_text('{"id": 30}\n{"id": 31}\n')  # JSON lines under the other name
    names = [str(tmp_path / name) for name in ("a.jsonl.gz", "b.json", "c.json.gz", "d.json")]
    outcome = ingested(tmp_path, SourceConfig(name="site", posts=tuple(names)))
    assert outcome.kept["id"].to_list() == [0, 1, 2, 10, 11, 20, 30, 31]
    assert outcome.quarantined.rows() == [(None, "bad_record", "site:b.json, item 1: is a number, not an object")]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("posts.jsonl.gz", gzip.compress(b'{"id": 1}\n' * 999, mtime=0)[:-20]),
        ("posts.jsonl.gz", b'{"id": 1}\n'),
        ("posts.json", b'[{"id": 1}, {"id"'),
    ],
)
def test_a_damaged_file_stops_the_stage(tmp_path: Path, name: str, data: bytes):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ChunkError, match=name):
        ingested(tmp_path, SourceConfig(name="site", posts=(str(tmp_path / name),)))


def test_file_patterns_are_sorted_and_a_missing_file_is_named(tmp_path: Path):
    for name in ("posts-2.jsonl", "posts-1.jsonl"):
        write_lines(tmp_path / name, [{"id": 1, "score": int(name[6])}])
    outcome = ingested(tmp_path, SourceConfig(name="site", posts=(str(tmp_path / "posts-*.jsonl"),)))
    assert outcome.kept["score"].to_list() == [1]
    assert outcome.quarantined.row(0) == ("site/1", "dup_id", "site:posts-2.jsonl, 0: an earlier post has this id")
    with pytest.raises(DataError, match=r"sources: site: captions: .*absent\.jsonl"):
        ingest.find_files([source(tmp_path, posts=[str(tmp_path / "posts-1.jsonl")], captions=["absent.jsonl"])])


@pytest.mark.parametrize(
    ("ratings", "scheme", "expected", "found"),
    [
        (["s", "q", "e"], "auto", ["g", "q", "e"], "legacy"),
        (["g", "s", "e"], "auto", ["g", "s", "e"], "current"),
        (["s", "q"], "current", ["s", "q"], "current"),
        (["g", "s"], "legacy", ["g", "g"], "legacy"),
        (["sensitive", "q"], "auto", ["s", "q"], "legacy"),
    ],
)
def test_what_the_rating_s_means(tmp_path: Path, ratings, scheme, expected, found):
    write_lines(tmp_path / "posts.jsonl", [{"id": n, "rating": rating} for n, rating in enumerate(ratings)])
    outcome = ingested(tmp_path, source(tmp_path, rating_scheme=scheme))
    assert outcome.kept["rating"].to_list() == expected
    assert outcome.facts["rating_scheme"] == {"site": found}


def test_captions_join_by_id_or_key_and_bad_ones_are_counted(tmp_path: Path):
    write_lines(tmp_path / "posts.jsonl", [{"id": n} for n in range(3)])
    write_lines(
        tmp_path / "captions.jsonl",
        [
            {"id": 1, "long": ["first"]},
            {"key": "site/1", "long": ["second", "first"], "short": ["s"]},
            {"id": 99, "long": ["nobody's"]},
            b"{",
            {"long": ["of none"]},
        ],
    )
    outcome = ingested(tmp_path, source(tmp_path, captions=[str(tmp_path / "captions.jsonl")]))
    assert outcome.kept["captions_long"].to_list() == [[], ["first", "second"], []]
    assert outcome.kept["captions_short"].to_list() == [[], ["s"], []]
    assert codes(outcome) == ["bad_caption", "bad_caption"]
    assert outcome.seen == 3 + 2
    assert outcome.facts["captions"] == {"lines": 3, "rows": 1}


def test_no_posts_at_all(tmp_path: Path):
    (tmp_path / "posts.jsonl").write_bytes(b"")
    outcome = ingested(tmp_path, source(tmp_path))
    assert (outcome.seen, outcome.kept.height) == (0, 0)
    assert "family" in outcome.kept.columns


def test_a_time_that_cannot_be_read_is_counted(tmp_path: Path):
    write_lines(tmp_path / "posts.jsonl", [{"id": 1, "created_at": "once"}, {"id": 2, "created_at": None}, {"id": 3}])
    assert ingested(tmp_path, source(tmp_path)).facts["times_not_read"] == 1


def test_families_link_over_any_number_of_steps_and_absent_parents():
    rows = pl.DataFrame(
        {
            "key": ["a/1", "a/2", "a/3", "a/4", "a/5", "a/6"],
            "parent": [None, "a/1", "a/2", "a/99", "a/99", None],
        }
    )
    family = dict(families.with_family(rows).select("key", "family").iter_rows())
    assert family["a/1"] == family["a/2"] == family["a/3"] == "a/1"
    assert family["a/4"] == family["a/5"] == "a/4"
    assert family["a/6"] == "a/6"


def test_family_roots_do_not_depend_on_the_order_of_links():
    links = [("d", "c"), ("c", "b"), ("x", "y"), ("b", "a"), ("e", "d"), ("a", "e")]
    expected = dict.fromkeys("abcde", "a") | {"x": "x", "y": "x"}
    assert families.roots(links) == families.roots(reversed(links)) == expected
    assert families.roots([]) == {}
