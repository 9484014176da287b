"""Posts read by column come out as those read one by one."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from animetune.curate.config.sources import SourceConfig
from animetune.curate.read.fields import RecordError
from animetune.curate.read.formats import FORMATS, Context, columns
from animetune.curate.read.formats.column_values import OFFSET, frame_of
from animetune.curate.read.posts import parse_post
from animetune.curate.read.runs import ROW_SCHEMA, row_frame
from tests.builders import danbooru_post, ingested, write_lines

IMAGES = [
    {"root": "pictures/", "path": "{id_mod_1000:04}/{id}.{ext}"},
    {"root": "s3://b", "path": "{file_name}"},
    {"root": "m", "path": "{md5_ab}/{md5_cd}/{md5:>40}-{pixiv_id:06d}-{basename}"},
]


def source(**fields: Any) -> SourceConfig:
    return SourceConfig.model_validate({"name": "site", "posts": ["posts.parquet"], "images": IMAGES, **fields})


def one_by_one(posts: pl.DataFrame, where: SourceConfig, format_name: str) -> tuple[pl.DataFrame, list[bool]]:
    """Rows of `parse_post`, and which posts are rows."""
    rows, accepted = [], []
    floats = [name for name, dtype in posts.schema.items() if dtype.is_float()]
    for index, post in enumerate(posts.with_columns(pl.col(floats).fill_nan(None)).to_dicts()):
        try:
            row = parse_post(FORMATS[format_name].adapt(post, Context()), where)
        except RecordError:
            accepted.append(False)
        else:
            accepted.append(True)
            rows.append({**row, "offset": index})
    return row_frame(rows), accepted


def check(posts: pl.DataFrame, format_name: str = "danbooru", where: SourceConfig | None = None) -> pl.Series:
    """Plain rows are as one by one, and none of them would be refused; returns which are plain."""
    where = where or source()
    numbered = posts.with_columns(pl.arange(posts.height).alias(OFFSET))
    floats = [name for name, dtype in posts.schema.items() if dtype.is_float()]
    plain, is_plain = columns.plain_rows(numbered.with_columns(pl.col(floats).fill_nan(None)), where, format_name)
    rows, accepted = one_by_one(posts, where, format_name)
    assert dict(plain.schema) == ROW_SCHEMA
    assert not (is_plain & ~pl.Series(accepted, dtype=pl.Boolean)).any()
    expected = rows.join(plain.select("offset"), on="offset", how="semi")
    assert expected.to_dicts() == plain.to_dicts()
    return is_plain


def test_ordinary_posts_are_plain():
    posts = [danbooru_post(number, parent_id=number - 1, file_name=f"a/{number}.PNG") for number in range(1, 20)]
    posts[3] |= {"rating": None, "md5": None, "tag_string_general": "", "parent_id": None, "image_width": 0}
    posts[4] |= {"created_at": "2020-12-31T23:30:00.000-05:00", "is_banned": True, "score": -7, "parent_id": 5}
    assert check(pl.DataFrame(posts)).all()


@pytest.mark.parametrize(
    ("fields", "is_plain"),
    [
        ({"id": -1}, False),
        ({"id": None}, False),
        ({"score": "12"}, True),
        ({"score": "many"}, False),
        ({"score": 12.0}, True),
        ({"score": 12.5}, False),
        ({"score": float("nan")}, True),
        ({"score": float("inf")}, False),
        ({"aesthetic_score": 5.25}, True),
        ({"aesthetic_score": 1e39}, False),
        ({"aesthetic_score": float("nan")}, True),
        ({"image_width": -1}, False),
        ({"image_width": 2**31}, False),
        ({"file_size": 2**62}, True),
        ({"md5": "ABCDEF" + "0" * 26}, True),
        ({"md5": "xyz"}, False),
        ({"rating": "Questionable"}, True),
        ({"rating": "x"}, False),
        ({"rating": 2}, False),
        ({"created_at": "2020-07-01T00:00:00Z"}, False),
        ({"created_at": "2020-13-01T00:00:00.000-04:00"}, False),
        ({"created_at": "0001-01-01T00:00:00.000+10:00"}, False),
        ({"created_at": datetime.datetime(2020, 1, 1)}, True),
        ({"is_deleted": "true"}, True),
        ({"is_deleted": 1}, True),
        ({"is_deleted": 2}, False),
        ({"is_deleted": "maybe"}, False),
        ({"status": "deleted"}, True),
        ({"file_ext": ".JPG"}, True),
        ({"file_ext": "../x"}, False),
        ({"file_ext": None, "file_url": "https://x/y.z/a.WebP"}, True),
        ({"file_ext": None, "file_url": "https://x/y.z/a"}, True),
        ({"file_ext": None, "file_name": "", "file_url": "a.png"}, True),
        ({"file_name": "../x.png"}, False),
        ({"file_name": "a/..b/x.png"}, True),
        ({"file_name": "http://x.png"}, False),
        ({"pixiv_id": 12}, True),
        ({"pixiv_id": "text"}, False),
        ({"tag_string_general": " a  b "}, True),
        ({"tag_string_general": "a b a"}, False),
        ({"tag_string_general": "a\tb"}, False),
        ({"tag_string_general": "日本"}, False),
        ({"tag_string_general": "x" * 257}, False),
        ({"tag_string_general": "x" * 256 + " y"}, True),
        ({"tag_string_general": " ".join(map(str, range(2001)))}, False),
        ({"tag_string_general": ["a"]}, False),
        ({"tag_string_general": None, "tag_string_artist": None, "tag_string": "a b"}, False),
        ({"captions_long": ["text"]}, False),
        ({"media_asset": {"pixel_hash": "0badcafe"}}, True),
        ({"media_asset": {"pixel_hash": 5}}, False),
        ({"media_asset": "text"}, False),
        ({"is_synthetic": True}, True),
    ],
)
def test_what_is_plain(fields: dict, is_plain: bool):
    post = danbooru_post(7, **{"file_name": "x.png", **fields})
    if fields.get("id", 7) is None or "id" in fields:
        post["id"] = fields["id"]
    assert check(pl.DataFrame([post], strict=False)).to_list() == [is_plain]


@pytest.mark.parametrize(
    ("fields", "is_plain"),
    [
        ({"tags": "1girl :d long_hair"}, True),
        ({"tags": "&gt;:) a"}, False),
        ({"tags": ["a", "b"]}, True),
        ({"tags": ["a b", "c"]}, False),
        ({"tags": []}, False),  # a list of nothing known
        ({"tags": "a", "tags_artist": "b"}, False),
        ({"created_at": 1_594_000_000}, True),
        ({"created_at": -1}, False),
        ({"created_at": "Sat Sep 13 06:00:00 -0500 2025"}, False),
        ({"rating": "safe"}, True),
    ],
)
def test_flat_tags(fields: dict, is_plain: bool):
    post = {"id": 1, "directory": 5, "hash": "0" * 32, **fields}
    assert check(pl.DataFrame([post]), "gelbooru").to_list() == [is_plain]


def test_lists_of_tags():
    posts = pl.DataFrame({"id": [1, 2, 3, 4], "tags": [[], ["a", "b"], [" a "], ["a", "a"]]})
    assert check(posts, "gelbooru").to_list() == [True, True, False, False]


@pytest.mark.parametrize("rating", [0, 1, 2, 3, None])
def test_ratings_as_numbers(rating):
    assert check(
        pl.DataFrame({"id": [1], "rating": [rating]}, schema_overrides={"rating": pl.Int64}), "hakubooru"
    ).all()


VALUES = {
    "id": st.integers(-1, 2**40) | st.none(),
    "score": st.integers(-(2**63), 2**63 - 1) | st.none(),
    "parent_id": st.integers(-2, 3) | st.none() | st.just(float("nan")),
    "image_width": st.integers(-1, 2**32) | st.none(),
    "md5": st.text("0123456789abcdefABg", max_size=33) | st.just("a" * 32) | st.none(),
    "rating": st.sampled_from(["g", "s", "Q", "explicit", "x", "", None]),
    "file_ext": st.sampled_from(["png", ".JPG", "a/b", "", None]),
    "file_name": st.text("ab./\\\0\n:", max_size=8) | st.none(),
    "created_at": st.sampled_from(["2020-02-30T00:00:00.000-04:00", "2020-02-29T24:00:00.000-04:00", "", None])
    | st.datetimes(datetime.datetime(1000, 1, 2)).map(lambda time: f"{time.isoformat(timespec='milliseconds')}-05:00"),
    "is_deleted": st.booleans() | st.none(),
    "aesthetic_score": st.floats() | st.none(),
    "tag_string_general": st.text("ab \t\x7fé\u200b", max_size=12) | st.none(),
    "tag_string_artist": st.text("ab _", max_size=6) | st.none(),
    "tags": st.text("ab &;\u3000", max_size=6) | st.none(),
}  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(st.data(), st.sampled_from(columns.FORMATS))
def test_any_columns_give_the_rows_that_records_give(data: st.DataObject, format_name: str):
    names = data.draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, min_size=1))
    size = data.draw(st.integers(1, 4))
    posts = {name: data.draw(st.lists(VALUES[name], min_size=size, max_size=size)) for name in {"id", *names}}
    check(pl.DataFrame(posts, strict=False), format_name)


CELLS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=6)


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*VALUES, "offset", "media_asset", "captions_long", "category"]), CELLS, max_size=6
    ),
    st.sampled_from(["auto", *columns.FORMATS]),
)
@example({"id": "7", "offset": 3}, "danbooru")
def test_any_parquet_file_has_one_outcome_for_each_row(tmp_path_factory, record: dict, format_name: str):
    folder = tmp_path_factory.mktemp("parquet")
    record = {"tags": None, **record}  # without any, hakubooru asks for its other tables
    pq.write_table(pa.Table.from_pylist([record, dict.fromkeys(record), record]), folder / "posts.parquet")
    outcome = ingested(folder, source(posts=[str(folder / "posts.parquet")], format=format_name))
    assert outcome.seen == 3


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["pixel_hash", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)
KEYS = st.sampled_from(sorted(columns.keys_read(source()) | {"unread"}))


@settings(max_examples=250, deadline=None)
@given(
    st.lists(st.dictionaries(KEYS, JSON_VALUES, max_size=5), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from(columns.FORMATS),
)
@example([{"id": 1, "tags": ["a", 1]}, {"id": 2, "tags": ["a"]}, {"id": 2**63}, {"id": True}], False, "gelbooru")
def test_any_json_records_give_the_rows_that_they_give_one_by_one(changes: list[dict], whole: bool, format_name: str):
    records = [{**(danbooru_post(7) if whole else {"id": 7}), **each} for each in changes]
    frame, held = frame_of(records, range(len(records)), columns.keys_read(source()))
    plain, is_plain = columns.plain_rows(frame, source(), format_name, held)
    rows, accepted = [], []
    for index, record in enumerate(records):
        try:
            row = parse_post(FORMATS[format_name].adapt(record, Context()), source())
        except RecordError:
            accepted.append(False)
        else:
            accepted.append(True)
            rows.append({**row, "offset": index})
    assert not (is_plain & ~pl.Series(accepted, dtype=pl.Boolean)).any()
    expected = row_frame(rows).join(plain.select("offset"), on="offset", how="semi")
    assert expected.to_dicts() == plain.to_dicts()


def test_records_of_the_commonest_types_are_held():
    records = [{"score": 1, "media_asset": {"pixel_hash": "a"}}, {"score": "2"}, {"score": 3, "pixel_hash": "b"}, {}]
    frame, held = frame_of(records, [5, 6, 7, 8], ["score", "media_asset", "pixel_hash", "absent"])
    assert held.to_list() == [True, False, True, True]
    assert frame.to_dict(as_series=False) == {
        OFFSET: [5, 6, 7, 8], "pixel_hash": ["a", None, "b", None], "score": [1, None, 3, None],
    }  # fmt: skip


def test_text_that_is_not_utf8_costs_its_row(tmp_path: Path):
    tags = pa.array([b"a", b"\xff", b"c"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"id": [1, 2, 3], "tag_string_general": tags}), tmp_path / "posts.parquet")
    outcome = ingested(tmp_path, source(posts=[str(tmp_path / "posts.parquet")]))
    assert outcome.kept["id"].to_list() == [1, 3]
    (refused,) = outcome.quarantined.rows()
    assert refused[1:] == ("bad_unicode", "site:posts.parquet, row 1: tag_string_general: is not UTF-8")


def test_only_the_rows_that_are_not_plain_are_parsed_one_by_one(tmp_path: Path, monkeypatch):
    posts = [danbooru_post(number) for number in range(50)]
    posts[20]["tag_string_general"] = "a a"
    pl.DataFrame(posts).write_parquet(tmp_path / "posts.parquet")
    from animetune.curate.read import chunks

    seen = []
    monkeypatch.setattr(
        chunks, "parse_post", lambda record, *rest: (seen.append(record["id"]), parse_post(record, *rest))[1]
    )
    outcome = ingested(tmp_path, source(posts=[str(tmp_path / "posts.parquet")]))
    assert seen == [20]
    assert outcome.kept["tags_general"].to_list()[20] == ["a"]
    assert outcome.seen == 50


@pytest.mark.parametrize("name", ["p.parquet", "p.jsonl"])
def test_a_key_of_theirs_named_as_ours(tmp_path: Path, name: str):
    posts = [{"id": 1, "tags": "a", "offset": 99}]
    if name == "p.parquet":
        pl.DataFrame(posts).write_parquet(tmp_path / name)
    else:
        write_lines(tmp_path / name, posts)
    images = [{"root": "r", "path": "{offset}.png"}]
    outcome = ingested(tmp_path, source(posts=[str(tmp_path / name)], images=images))
    assert outcome.kept["image_candidates"].to_list() == [["r/99.png"]]


def test_parquet_gives_the_table_that_lines_give(tmp_path: Path, monkeypatch):
    from animetune.curate.read import chunks

    posts = [danbooru_post((number * 7) % 60, score=number, parent_id=number - 1) for number in range(80)]
    write_lines(tmp_path / "posts.jsonl", posts)
    pl.DataFrame(posts).write_parquet(tmp_path / "posts.parquet", row_group_size=9)
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 20)
    by_line, by_column = (
        ingested(tmp_path / kind, source(posts=[str(tmp_path / f"posts.{kind}")])) for kind in ("jsonl", "parquet")
    )
    assert by_line.kept.equals(by_column.kept)
    assert by_column.quarantined.height == 20
    assert set(by_column.quarantined["code"]) == {"dup_id"}
