"""Records of untrusted bytes: each gives one row or one named refusal."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from animetune.curate.config.sources import SourceConfig
from animetune.curate.read.posts import (
    AMBIGUOUS_S,
    RECORD_CODES,
    RecordError,
    clean,
    parse_captions,
    parse_json,
    parse_post,
)
from tests.builders import danbooru_post

SOURCE = SourceConfig(name="site", posts=("posts.jsonl",), images=({"root": "pictures", "path": "{id}.{ext}"},))


def source(*paths: str) -> SourceConfig:
    images = [{"root": "pictures/", "path": path} for path in paths]
    return SourceConfig.model_validate({"name": "site", "posts": ["posts.jsonl"], "images": images})


def refusal(record, where: SourceConfig = SOURCE) -> RecordError:
    with pytest.raises(RecordError) as caught:
        parse_post(record, where)
    assert caught.value.code in RECORD_CODES
    return caught.value


def test_a_danbooru_post():
    row = parse_post(
        danbooru_post(
            12,
            general="1girl smile",
            character="hatsune_miku",
            copyright="vocaloid",
            artist="",
            meta="highres absurdres",
            parent_id=7,
            score=-3,
            file_ext="JPG",
            file_size=12_345,
            media_asset={"id": 1, "pixel_hash": "0badcafe"},
            created_at="2016-11-25T21:40:42.851-05:00",
        ),
        SOURCE,
    )
    assert row == {
        "key": "site/12",
        "source": "site",
        "id": 12,
        "md5": f"{12:032x}",
        "post_width": 64,
        "post_height": 48,
        "post_bytes": 12_345,
        "pixel_hash": "0badcafe",
        "file_ext": "jpg",
        "created_at": datetime.datetime(2016, 11, 26, 2, 40, 42, 851000, tzinfo=datetime.UTC),
        "rating": "g",
        "score": -3,
        "fav_count": 12,
        "aesthetic_score": None,
        "is_deleted": False,
        "is_synthetic": False,
        "parent": "site/7",
        "parent_id": 7,
        "captions_long": [],
        "captions_short": [],
        "tags_general": ["1girl", "smile"],
        "tags_character": ["hatsune_miku"],
        "tags_copyright": ["vocaloid"],
        "tags_artist": [],
        "tags_meta": ["highres", "absurdres"],
        "image_candidates": ["pictures/12.jpg"],
        "mask_candidates": [],
    }


def test_a_post_with_nothing_but_its_id():
    row = parse_post({"id": 5}, SOURCE)
    unknown = ("md5", "post_width", "file_ext", "created_at", "rating", "score", "fav_count", "parent", "pixel_hash")
    assert [row[name] for name in unknown] == [None] * len(unknown)
    assert row["tags_general"] == []
    assert row["is_deleted"] is False
    assert row["image_candidates"] == []  # the pattern needs {ext}


def test_the_posts_that_public_projects_quote(shared_data):
    """Real posts: today's schema, that of 2018, one with fields missing, one of Gelbooru's engine."""
    folder = shared_data / "posts"
    lines = (folder / "danbooru_posts_current_schema_g.jsonl").read_bytes().splitlines()
    lines += (folder / "danbooru_posts_legacy_and_partial_s.jsonl").read_bytes().splitlines()
    rows = [parse_post(parse_json(line), SOURCE) for line in lines if line.strip()]
    assert {row["rating"] for row in rows} == {"g", AMBIGUOUS_S}
    assert all(row["tags_general"] for row in rows)
    partial = next(row for row in rows if row["id"] == 294929)
    assert partial["score"] is None
    assert partial["fav_count"] is None

    (gelbooru,) = json.loads((folder / "safebooru_gelbooru_style.json").read_text())
    row = parse_post(gelbooru, source("{directory}/{image}"))
    assert (row["rating"], row["parent"], row["score"], row["post_width"]) == ("g", None, None, 2160)
    assert row["image_candidates"] == ["pictures/539/6fef5929e6e09703b1493c6e5802fa5e4f189639.jpg"]
    assert "multiple_girls" in row["tags_general"]


@pytest.mark.parametrize(
    ("stated", "utc"),
    [
        ("2020-12-31T23:30:00.000-05:00", (2021, 1, 1, 4, 30)),  # another year in UTC
        ("2020-07-01T00:00:00.000-04:00", (2020, 7, 1, 4, 0)),
        ("2020-07-01T00:00:00Z", (2020, 7, 1, 0, 0)),
        ("2020-07-01 00:00:00 UTC", (2020, 7, 1, 0, 0)),
        ("2020-07-01T00:00:00", (2020, 7, 1, 0, 0)),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        (1594000000, None),
        (None, None),
    ],
)
def test_times_become_utc(stated, utc):
    expected = datetime.datetime(*utc, tzinfo=datetime.UTC) if utc else None
    assert parse_post({"id": 1, "created_at": stated}, SOURCE)["created_at"] == expected


@pytest.mark.parametrize(
    ("stated", "rating"),
    [
        ("g", "g"), ("s", AMBIGUOUS_S), ("q", "q"), ("e", "e"), ("general", "g"), ("safe", "g"),
        ("sensitive", "s"), ("Questionable", "q"), ("explicit", "e"), ("", None), (None, None),
    ],
)  # fmt: skip
def test_ratings(stated, rating):
    assert parse_post({"id": 1, "rating": stated}, SOURCE)["rating"] == rating


@pytest.mark.parametrize(
    ("flags", "is_deleted"),
    [
        ({}, False),
        ({"is_deleted": True}, True),
        ({"is_banned": "true"}, True),
        ({"is_pending": True}, True),
        ({"is_deleted": "false", "is_banned": None}, False),
        ({"status": "deleted"}, True),
        ({"status": "active"}, False),
    ],
)
def test_deleted_posts(flags, is_deleted):
    assert parse_post({"id": 1, **flags}, SOURCE)["is_deleted"] is is_deleted


def test_tags_of_older_dumps_have_categories():
    tags = [
        {"id": "1", "name": "1girl", "category": "0"},
        {"id": "2", "name": "somebody", "category": 1},
        {"id": "3", "name": "touhou", "category": "3"},
        {"id": "4", "name": "reimu", "category": "4"},
        {"id": "5", "name": "highres", "category": "5"},
    ]
    row = parse_post({"id": "77", "score": "12", "tags": tags}, SOURCE)
    assert (row["id"], row["score"]) == (77, 12)
    names = ("general", "artist", "copyright", "character", "meta")
    assert [row[f"tags_{name}"] for name in names] == [["1girl"], ["somebody"], ["touhou"], ["reimu"], ["highres"]]


@pytest.mark.parametrize(
    ("fields", "general"),
    [
        ({"tags": "1girl  smile 1girl"}, ["1girl", "smile"]),
        ({"tags": ["Long Hair", "smile"]}, ["Long_Hair", "smile"]),
        ({"tag_string": "a b"}, ["a", "b"]),
        ({"tag_string_general": "", "tag_string": "a b"}, []),
        ({"tag_string_general": None, "tag_string_artist": "x", "tag_string": "x"}, []),
        ({"tags": []}, []),
        ({"tags": "a\u200bb ｃ\u202e"}, ["ab", "c"]),
    ],
)
def test_tags_without_classes(fields, general):
    assert parse_post({"id": 1, **fields}, SOURCE)["tags_general"] == general


@pytest.mark.parametrize(
    ("record", "code", "named"),
    [
        ([], "bad_record", "a list"),
        ("text", "bad_record", "text"),
        (None, "bad_record", "null"),
        ({}, "bad_record", "id"),
        ({"id": None}, "bad_record", "id"),
        ({"id": -1}, "bad_record", "id"),
        ({"id": True}, "bad_record", "id"),
        ({"id": 1.5}, "bad_record", "id"),
        ({"id": "12a"}, "bad_record", "id"),
        ({"id": 2**63}, "bad_record", "id"),
        ({"id": [1]}, "bad_record", "id"),
        ({"id": 1, "score": "many"}, "bad_record", "score"),
        ({"id": 1, "score": 1e300}, "bad_record", "score"),
        ({"id": 1, "image_width": -5}, "bad_record", "image_width"),
        ({"id": 1, "height": 2**31}, "bad_record", "height"),
        ({"id": 1, "md5": "xyz"}, "bad_record", "md5"),
        ({"id": 1, "md5": 5}, "bad_record", "md5"),
        ({"id": 1, "rating": "x"}, "bad_record", "rating"),
        ({"id": 1, "rating": 3}, "bad_record", "rating"),
        ({"id": 1, "is_deleted": "maybe"}, "bad_record", "is_deleted"),
        ({"id": 1, "file_ext": "../x"}, "bad_record", "file_ext"),
        ({"id": 1, "tags": 5}, "bad_record", "tags"),
        ({"id": 1, "tags": [5]}, "bad_record", "tags"),
        ({"id": 1, "tags": [{"name": "x", "category": 9}]}, "bad_record", "tags"),
        ({"id": 1, "tag_string_general": 5}, "bad_record", "tag_string_general"),
        ({"id": 1, "tag_string_artist": ["x", 5]}, "bad_record", "tag_string_artist"),
        ({"id": 1, "score": "1.5"}, "bad_record", "score"),
        ({"id": 1, "is_deleted": 0.5}, "bad_record", "is_deleted"),
        ({"id": 1, "tags": "x" * 300}, "bad_record", "tags"),
        ({"id": 1, "tags": [str(n) for n in range(2001)]}, "bad_record", "tags: 2001"),
    ],
)
def test_a_wrong_value_is_refused_and_its_field_named(record, code, named):
    error = refusal(record)
    assert error.code == code
    assert named in error.detail
    assert len(error.detail) <= 300


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", "bad_json"),
        (b'{"id": 1} {"id": 2}', "bad_json"),
        (b"nonsense", "bad_json"),
        (b'{"id": NaN}', "bad_json"),
        (b'{"id": -Infinity}', "bad_json"),
        (b'{"score": 1e999}', "bad_json"),
        (b'{"id": ' + b"9" * 5000 + b"}", "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b'{"id": 1, "id": 2}', "dup_key"),
        (b'{"a": {"b": 1, "b": 2}}', "dup_key"),
        (b'{"id": "\xff"}', "bad_unicode"),
        (b'{"id": "\\ud800"}', "bad_unicode"),
        (b'{"\\uDC00": 1}', "bad_unicode"),
    ],
)
def test_lines_that_are_not_strict_json(line: bytes, code: str):
    with pytest.raises(RecordError) as caught:
        parse_json(line)
    assert caught.value.code == code


def test_a_whole_surrogate_pair_is_text():
    assert parse_json(b'"\\ud83d\\ude00"') == "😀"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("{id}.{ext}", "pictures/1234567.png"),
        ("{id_mod_1000:04}/{id}.{ext}", "pictures/0567/1234567.png"),
        ("{md5_ab}/{md5_cd}/{md5}.{ext}", f"pictures/00/00/{1234567:032x}.png"),
        ("{key}.webp", "pictures/site/1234567.webp"),
        ("{source}/{file_name}", "pictures/site/sub/a b.png"),
    ],
)
def test_where_a_picture_is(path: str, expected: str):
    row = parse_post(danbooru_post(1234567, file_name="sub/a b.png"), source(path))
    assert row["image_candidates"] == [expected]


def test_several_places_are_candidates_in_order_and_those_that_need_more_are_left_out():
    post = danbooru_post(3, md5=..., file_name="x.png")
    row = parse_post(post, source("{md5}.png", "{file_name}", "{id}.png"))
    assert row["image_candidates"] == ["pictures/x.png", "pictures/3.png"]


def test_where_a_mask_is():
    masks = [{"root": "masks", "path": "{id}-mask.png"}, {"root": "more", "path": "{mask}"}]
    two = SourceConfig.model_validate({"name": "site", "posts": ["posts.jsonl"], "masks": masks})
    assert parse_post(danbooru_post(3), two)["mask_candidates"] == ["masks/3-mask.png"]
    assert parse_post(danbooru_post(3, mask="m.png"), two)["mask_candidates"] == ["masks/3-mask.png", "more/m.png"]
    with pytest.raises(RecordError, match="bad_path"):
        parse_post(danbooru_post(3, mask="../m.png"), two)


@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "/etc/passwd", "..\\x.png", "\\x", "http://host/x.png", "x\0.png", ".."]
)
def test_a_path_that_would_leave_the_root_is_refused(name: str):
    assert refusal({"id": 1, "file_name": name}, source("{file_name}")).code == "bad_path"


@pytest.mark.parametrize(
    ("record", "row"),
    [
        ({"id": 3, "long": "One.", "short": ["a", "b", "a"]}, ("site/3", ["One."], ["a", "b"])),
        ({"key": "other/1", "long": ["  a\n b "]}, ("other/1", ["a b"], [])),
        ({"id": 4, "long": None, "short": [""]}, ("site/4", [], [])),
    ],
)
def test_captions(record, row):
    parsed = parse_captions(record, "site")
    assert (parsed["key"], parsed["captions_long"], parsed["captions_short"]) == row


@pytest.mark.parametrize(
    "record", [[], {}, {"long": "x"}, {"id": "x"}, {"id": 1, "long": 5}, {"id": 1, "short": [1]}, {"key": 5}]
)
def test_captions_that_cannot_be_used(record):
    with pytest.raises(RecordError) as caught:
        parse_captions(record, "site")
    assert caught.value.code == "bad_caption"


def test_clean_keeps_what_is_seen():
    assert clean("plain_tag") == "plain_tag"
    assert clean("日本 語") == "日本 語"
    assert clean("a\x00b\u200e\ufeffc") == "abc"
    assert clean("Ａ\tb") == "A b"


def outcome_of(parse: Callable[[], Any]) -> Any:
    """What `parse` returns, or the code of its refusal; any other exception fails the test."""
    try:
        return parse()
    except RecordError as error:
        return error.code


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "id", "created_at", "rating", "score", "fav_count", "image_width", "width", "md5", "file_ext", "parent_id",
        "is_deleted", "status", "tags", "tag_string", "tag_string_general", "file_name", "image",
    ]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(FIELDS, JSON_VALUES, max_size=6), st.booleans())
@example({"id": 1, "tags": {"general": "x"}}, True)
def test_any_record_gives_a_row_or_a_named_refusal(fields: dict, based_on_a_post: bool):
    record = {**(danbooru_post(1) if based_on_a_post else {}), **fields}
    line = json.dumps(record, default=str).encode(errors="surrogatepass")
    outcome = outcome_of(lambda: parse_post(parse_json(line), source("{file_name}", "{id}.{ext}"))["key"])
    assert outcome in RECORD_CODES or outcome.startswith("site/")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_give_a_value_or_a_named_refusal(line: bytes):
    assert outcome_of(lambda: ("value", parse_json(line))[0]) in {*RECORD_CODES, "value"}


def test_numbers_and_truth_values_as_pandas_writes_columns_with_gaps():
    post = parse_post(
        {"id": "7.0", "score": "-3.0", "parent_id": 5.0, "is_deleted": 1.0, "is_synthetic": "0.0"}, SOURCE
    )
    assert (post["id"], post["score"], post["parent"]) == (7, -3, "site/5")
    assert (post["is_deleted"], post["is_synthetic"]) == (True, False)


def test_classes_without_general_tags_take_these_from_the_others():
    post = {"id": 1, "tag_string": "a b miku", "tag_string_character": "miku", "tag_string_artist": ["some one"]}
    found = parse_post(post, SOURCE)
    assert (found["tags_general"], found["tags_character"]) == (["a", "b"], ["miku"])
    assert found["tags_artist"] == ["some_one"]
    assert parse_post({**post, "tag_string_general": ""}, SOURCE)["tags_general"] == []
    listed = [{"name": "c", "category": "character"}, {"name": "a", "category": "0"}]
    found = parse_post({"id": 1, "tags": listed, "tag_string_character": "miku"}, SOURCE)
    assert (found["tags_general"], found["tags_character"]) == (["a"], ["miku", "c"])


def test_directors_and_franchises_of_e6ai():
    found = parse_post({"id": 1, "tags": {"director": ["x"], "franchise": ["y"], "species": ["wolf"]}}, SOURCE)
    assert (found["tags_artist"], found["tags_copyright"], found["tags_general"]) == (["x"], ["y"], ["wolf"])
