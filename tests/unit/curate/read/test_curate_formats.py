"""Records of every format come out as rows; which format it is, is told by their looks."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from animetune import samples
from animetune.curate.config.sources import COLUMNS, FormatName, SourceConfig
from animetune.curate.read.fields import RecordError
from animetune.curate.read.formats import FORMATS, Context, format_of_object, format_of_record
from animetune.curate.read.formats.names import hash_id, places, plain_name
from animetune.curate.read.inputs import find_files
from animetune.curate.read.posts import TAG_CLASSES, parse_post
from animetune.errors import ChunkError, DataError
from animetune.records import Request, Size
from tests.builders import danbooru_post, ingested, write_lines

E621 = {
    "id": 12,
    "created_at": "2020-05-01T12:00:00.000-04:00",
    "file": {"width": 640, "height": 480, "ext": "png", "size": 1234, "md5": "ab" * 16, "url": "https://x/y.png"},
    "score": {"up": 12, "down": -2, "total": 10},
    "tags": {
        "general": ["solo"], "species": ["wolf"], "character": ["somebody"], "copyright": ["a_series"],
        "artist": ["an_artist"], "invalid": [], "lore": ["male_(lore)"], "meta": ["hi_res"], "contributor": [],
    },
    "rating": "s",
    "fav_count": 5,
    "flags": {"pending": False, "deleted": True},
    "relationships": {"parent_id": 11, "has_children": False, "children": []},
}  # fmt: skip
E621_EXPORT = {
    "id": "12", "uploader_id": "1", "created_at": "2007-02-10 05:30:00.123", "md5": "ab" * 16, "rating": "s",
    "image_width": "640", "image_height": "480", "tag_string": "solo wolf", "locked_tags": "", "fav_count": "5",
    "file_ext": "png", "parent_id": "", "file_size": "99", "is_deleted": "t", "is_pending": "f", "score": "-3",
}  # fmt: skip
MOEBOORU = {
    "id": 7, "tags": "long_hair smile", "created_at": 1_594_000_000, "author": "x", "rating": "s", "score": 3,
    "md5": "cd" * 16, "file_size": 10, "file_url": "https://files/x.JPG", "width": 100, "height": 90,
}  # fmt: skip
GALLERY_DL = {
    "category": "gelbooru", "id": 5, "extension": "jpg", "filename": "a", "rating": "explicit", "score": 2,
    "tags": "1girl miku", "tags_general": "1girl", "tags_character": "miku", "tags_metadata": "highres",
    "created_at": "Sat Sep 13 06:00:00 -0500 2025",
}  # fmt: skip
WAIFUC = {"danbooru": danbooru_post(9), "tags": {"1girl": 0.99, "smile": 0.5}, "group_id": 1, "filename": "x.png"}
KOHYA = {"100/a": {"tags": "1girl, long hair", "caption": "A girl stands in the rain.", "train_resolution": [64, 32]}}
WAIFUSET = {
    "image_path": "sub/a.png", "caption": "1girl, long hair, artist:some one, character:miku, style:flat color",
    "description": "A girl stands in the rain.", "original_size": "640x480", "aesthetic_score": 5.5,
    "safe_rating": "general", "safe_level": 0, "perceptual_hash": "00ff",
}  # fmt: skip
SAMPLE = {"file": "00001.png", "prompt": "1girl, smile", "negative": "", "seed": 1, "width": 64, "height": 64,
          "request": "abc", "sampler": "euler", "steps": 2}  # fmt: skip
HF = {"file_name": "train/1.png", "text": "1girl, long hair"}
ZEROCHAN = {"id": 3, "primary": "Some Series", "tags": ["Long Hair", "Mangaka:Some One"], "full": "https://x/a.b.jpg",
            "width": 10, "height": 20, "size": 99, "hash": "ef" * 16}  # fmt: skip


def source(*posts: Path | str, **fields: Any) -> SourceConfig:
    return SourceConfig.model_validate({"name": "site", "posts": [str(path) for path in posts] or ["x"], **fields})


def row(record: Any, format_name: str, **context: Any) -> dict[str, Any]:
    return parse_post(FORMATS[format_name].adapt(record, Context(**context)), source())


def tags(found: dict[str, Any]) -> dict[str, list[str]]:
    return {name: found[f"tags_{name}"] for name in TAG_CLASSES if found[f"tags_{name}"]}


def test_the_settings_name_all_formats():
    assert set(get_args(FormatName)) == set(FORMATS)


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (danbooru_post(1), "danbooru"), ({"id": 1}, "danbooru"), ({"id": 1, "tags": "a b"}, "danbooru"),
        ({"id": 1, "file_name": "a.png", "tags": "a b"}, "metadata"),
        ({"id": 1, "file_name": "a.png", "tags": "a b", "md5": "0"}, "danbooru"),
        ({"id": 1, "tags": [{"name": "a", "category": "0"}]}, "danbooru"), ([], "danbooru"), (None, "danbooru"),
        (danbooru_post(1, file_name="x.png", caption="y"), "danbooru"), (danbooru_post(1, rating=2), "hakubooru"),
        (E621, "e621"), (E621_EXPORT, "e621"), (MOEBOORU, "gelbooru"), (GALLERY_DL, "gallery-dl"), (HF, "metadata"),
        ({"file_name": "a.png", "text": "b", "rating": 5}, "metadata"),
        ({"id": 1, "file_name": "a.png", "text": "b", "rating": 5}, "metadata"),
        ({"id": 1, "file_name": "a.png", "text": "b", "score": 5}, "metadata"),
        (WAIFUSET, "waifuset"), (SAMPLE, "samples"), (ZEROCHAN, "zerochan"), ({"path": "x"}, "metadata"),
    ],
)  # fmt: skip
def test_formats_are_told_apart(record, name):
    assert format_of_record(record) == name


def test_objects_of_names_are_told_apart():
    assert format_of_object(KOHYA) == "kohya"
    assert format_of_object({"1": WAIFUSET}) == "waifuset"
    assert format_of_object({"1": {}, "2": {"image_path": "x"}}) == "waifuset"
    assert format_of_object({**KOHYA, "x": KOHYA["100/a"], "y": RecordError("bad_json", "NaN")}) == "kohya"
    assert format_of_object({**KOHYA, "y": 5}) is None
    for other in (
        [],
        {},
        {"a": 1},
        E621,
        {"posts": [danbooru_post(1)]},
        danbooru_post(1),
        {"media_asset": {"id": 1}},
        None,
    ):
        assert format_of_object(other) is None


def test_real_posts_are_told_apart(shared_data):
    folder = shared_data / "posts"
    found = {file.path.name: file.format for file in find_files([source(folder / "*.json*")])}
    assert found == {
        "danbooru_posts_current_schema_g.jsonl": "danbooru",
        "danbooru_posts_legacy_and_partial_s.jsonl": "danbooru",
        "safebooru_gelbooru_style.json": "gelbooru",
        "zerochan_entry.json": "zerochan",
    }


def test_a_real_zerochan_entry(shared_data, tmp_path: Path):
    outcome = ingested(tmp_path, source(shared_data / "posts" / "zerochan_entry.json"))
    (found,) = outcome.kept.to_dicts()
    assert (found["id"], found["rating"], found["score"], found["file_ext"]) == (4585899, None, None, "jpg")
    assert (found["post_width"], found["post_height"], found["post_bytes"]) == (1092, 1336, 986112)
    assert {"long_hair", "looking_at_another", "march_7th", "oiro_ik", "honkai_star_rail"} <= set(found["tags_general"])
    assert len(found["tags_general"]) == 25
    assert outcome.facts["formats"] == {"site:zerochan_entry.json": "zerochan"}


def test_e621():
    found = row(E621, "e621")
    assert tags(found) == {
        "general": ["solo", "wolf"], "character": ["somebody"], "copyright": ["a_series"], "artist": ["an_artist"],
        "meta": ["male_(lore)", "hi_res"],
    }  # fmt: skip
    assert (found["rating"], found["score"], found["fav_count"], found["parent"]) == ("g", 10, 5, "site/11")
    assert (found["post_width"], found["post_height"], found["post_bytes"]) == (640, 480, 1234)
    assert (found["md5"], found["file_ext"], found["is_deleted"]) == ("ab" * 16, "png", True)


def test_the_database_export_of_e621(tmp_path: Path):
    text = io.StringIO()
    rows = csv.DictWriter(text, list(E621_EXPORT))
    rows.writeheader()
    rows.writerow(E621_EXPORT)
    (tmp_path / "posts.csv.gz").write_bytes(gzip.compress(text.getvalue().encode()))
    outcome = ingested(tmp_path, source(tmp_path / "posts.csv.gz"))
    (found,) = outcome.kept.to_dicts()
    assert outcome.facts["formats"] == {"site:posts.csv.gz": "e621"}
    assert tags(found) == {"general": ["solo", "wolf"]}
    assert (found["rating"], found["score"], found["parent"], found["is_deleted"]) == ("g", -3, None, True)
    assert found["created_at"] == datetime.datetime(2007, 2, 10, 5, 30, 0, 123000, tzinfo=datetime.UTC)


def test_moebooru_and_gelbooru():
    found = row(MOEBOORU, "gelbooru")
    assert found["created_at"] == datetime.datetime.fromtimestamp(1_594_000_000, datetime.UTC)
    assert (found["file_ext"], found["rating"], tags(found)) == ("jpg", "s?", {"general": ["long_hair", "smile"]})
    escaped = row({"id": 1, "tags": "&gt;:) jojo&#039;s", "created_at": 10**30}, "gelbooru")
    assert (tags(escaped), escaped["created_at"]) == ({"general": [">:)", "jojo's"]}, None)


@pytest.mark.parametrize("written", [1_594_000_000, 1_594_000_000.0, "1594000000", "1594000000.0"])
def test_unix_times_of_any_type(written):
    assert row({"id": 1, "created_at": written}, "gelbooru")["created_at"].timestamp() == 1_594_000_000


def test_no_tag_of_a_site_with_classes_of_its_own_is_lost():
    post = {"id": 1, "tags": "smile some_one club scan_artifacts new", "tags_general": "smile",
            "tags_artist": "some_one", "tags_circle": "club", "tags_faults": ["scan_artifacts"]}  # fmt: skip
    expected = {"general": ["smile", "new"], "artist": ["some_one", "club"], "meta": ["scan_artifacts"]}
    assert tags(row(post, "gelbooru")) == expected


def test_zerochan_classes():
    assert tags(row(ZEROCHAN, "zerochan")) == {"general": ["long_hair", "some_series"], "artist": ["some_one"]}
    assert tags(row({"id": 1, "tags": "Long Hair, Re:Zero"}, "zerochan")) == {"general": ["long_hair", "re:zero"]}


@pytest.mark.parametrize(
    ("number", "letter"), [(0, "g"), (1, "s"), (2, "q"), (3, "e"), ("sensitive", "s"), (None, None)]
)
def test_hakubooru_ratings(number, letter):
    assert row({"id": 1, "rating": number, "is_deleted": 1}, "hakubooru")["rating"] == letter


def test_a_hakubooru_number_that_is_no_rating():
    with pytest.raises(RecordError, match="rating"):
        row({"id": 1, "rating": 4}, "hakubooru")


def hakubooru_tables(folder: Path, **changes: pl.DataFrame) -> Path:
    """As `DataFrame.to_parquet` writes the tables of SQLite: truth values are numbers, absent integers NaN."""
    frames = {
        "post": pl.DataFrame({"id": [5, 3, 9], "rating": [0, 1, 3], "is_deleted": [0, 1, 0], "score": [1, 2, 3],
                              "parent_id": [3.0, float("nan"), float("nan")]}),
        "tag": pl.DataFrame({"id": [1, 2, 3, 4, 5, 6],
                             "name": ["1girl", "an_artist", "miku", "vocaloid", "highres", "?"],
                             "type": [0, 1, 2, 3, 4, 9]}),
        "posttagrelation": pl.DataFrame({"id": range(9), "post_id": [3, 3, 3, 3, 3, 3, 5, 77, 3],
                                         "tag_id": [6, 5, 4, 3, 2, 1, 1, 1, 404]}),
    } | changes  # fmt: skip
    for name, frame in frames.items():
        frame.write_parquet(folder / f"{name}.parquet")
    return folder / "post.parquet"


def test_hakubooru_tables(tmp_path: Path):
    outcome = ingested(tmp_path, source(hakubooru_tables(tmp_path)))
    rows = outcome.kept.to_dicts()
    assert outcome.facts["formats"] == {"site:post.parquet": "hakubooru"}
    assert outcome.facts["rating_scheme"] == {"site": "current"}
    assert [found["key"] for found in rows] == ["site/3", "site/5", "site/9"]
    assert tags(rows[0]) == {
        "general": ["1girl", "?"], "artist": ["an_artist"], "character": ["miku"], "copyright": ["vocaloid"],
        "meta": ["highres"],
    }  # fmt: skip
    assert (tags(rows[1]), tags(rows[2])) == ({"general": ["1girl"]}, {})
    assert [found["rating"] for found in rows] == ["s", "g", "e"]
    assert [found["is_deleted"] for found in rows] == [True, False, False]
    assert [found["parent"] for found in rows] == [None, "site/3", None]


@pytest.mark.parametrize("dtype", [pl.UInt32, pl.Float64, pl.String])
def test_ids_of_hakubooru_of_any_type(tmp_path: Path, dtype: Any):
    posts = pl.DataFrame({"post": [5, 3, 9], "rating": [0, 1, 3]}).with_columns(pl.col("post").cast(dtype))
    table = hakubooru_tables(tmp_path, post=posts)
    columns = {"id": "post"}
    rows = ingested(tmp_path / "out", source(table, format="hakubooru", columns=columns)).kept.to_dicts()
    assert [(found["id"], tags(found).get("character")) for found in rows] == [(3, ["miku"]), (5, None), (9, None)]
    assert tags(rows[1]) == {"general": ["1girl"]}


def test_tags_of_hakubooru_are_part_of_what_the_step_depends_on(tmp_path: Path):
    path = hakubooru_tables(tmp_path)
    (before,) = find_files([source(path)])
    hakubooru_tables(tmp_path, tag=pl.DataFrame({"id": [1], "name": ["2girls"], "type": [0]}))
    (after,) = find_files([source(path)])
    assert before.digest != after.digest
    (tmp_path / "tag.parquet").unlink()
    with pytest.raises(DataError, match=r"post\.parquet: has no tags; export tag\.parquet"):
        find_files([source(path)])


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_metadata_of_image_folders(tmp_path: Path, suffix: str):
    rows = [
        {"file_name": "a/1.png", "text": "1girl, long hair", "score": 3},
        {"file_name": "a/2.JPG", "text": "A girl stands in the rain.", "score": 4},
        {"file_name": "../3.png", "text": "x", "score": 5},
        {"file_name": None, "text": "x", "score": 6},
    ]
    if suffix == "jsonl":
        write_lines(tmp_path / "metadata.jsonl", rows)
    elif suffix == "csv":
        pl.DataFrame(rows).write_csv(tmp_path / "metadata.csv")
    else:
        pl.DataFrame(rows).write_parquet(tmp_path / "metadata.parquet")
    outcome = ingested(tmp_path / "out", source(tmp_path))
    assert outcome.facts["formats"] == {f"site:metadata.{suffix}": "metadata"}
    found = {each["file_ext"]: each for each in outcome.kept.to_dicts()}
    assert tags(found["png"]) == {"general": ["1girl", "long_hair"]}
    assert found["jpg"]["captions_long"] == ["A girl stands in the rain."]
    assert found["png"]["id"] == hash_id("a/1.png")
    assert found["png"]["image_candidates"] == [f"{tmp_path}/a/1.png"]
    assert found["jpg"]["score"] == 4
    assert sorted(outcome.quarantined["code"]) == ["bad_path", "bad_record"]


def test_columns_with_other_names(tmp_path: Path):
    write_lines(tmp_path / "posts.jsonl", [
        {"img": "1.png", "info": {"taste": 5.5}, "words": "1girl, smile", "made": 1},
        {"img": "2.png", "info": None},
    ])  # fmt: skip
    columns = {"file_name": "img", "aesthetic_score": "info.taste", "tags": "words", "is_synthetic": "made"}
    outcome = ingested(tmp_path, source(tmp_path / "posts.jsonl", format="metadata", columns=columns))
    rows = outcome.kept.sort("file_ext", "is_synthetic", descending=True).to_dicts()
    assert [found["aesthetic_score"] for found in rows] == [5.5, None]
    assert [found["is_synthetic"] for found in rows] == [True, False]
    assert tags(rows[0]) == {"general": ["1girl", "smile"]}


def test_columns_of_tags_between_commas_are_added_to_free_text(tmp_path: Path):
    records = [
        {"file_name": "1.png", "text": "1girl, long hair", "tags": "smile, sky", "who": "hatsune miku, kagamine rin"},
        {"file_name": "2.png", "text": "1boy, solo", "who": ["a b", "c"]},
        {"file_name": "3.png", "text": "1boy, solo", "who": None},
    ]  # fmt: skip
    path = write_lines(tmp_path / "metadata.jsonl", records)
    found = ingested(tmp_path / "out", source(path, columns={"tags_character": "who"})).kept.to_dicts()
    by_name = {Path(each["image_candidates"][0]).name: tags(each) for each in found}
    assert by_name == {
        "1.png": {
            "general": ["smile", "sky", "1girl", "long_hair"],
            "character": ["hatsune_miku", "kagamine_rin"],
        },
        "2.png": {"general": ["1boy", "solo"], "character": ["a_b", "c"]},
        "3.png": {"general": ["1boy", "solo"]},
    }


def test_a_column_of_parquet_with_a_dot_in_its_name(tmp_path: Path):
    pl.DataFrame({"id": [1, 2], "md5": [None, None], "info.rating": ["q", "e"]}).write_parquet(tmp_path / "p.parquet")
    rows = ingested(tmp_path / "out", source(tmp_path / "p.parquet", columns={"rating": "info.rating"})).kept
    assert rows["rating"].to_list() == ["q", "e"]


def test_columns_of_parquet_with_other_names(tmp_path: Path):
    pl.DataFrame({"id": [1, 2], "taste": [{"v": 5.5}, None], "rank": [7, 8]}).write_parquet(tmp_path / "p.parquet")
    columns = {"aesthetic_score": "taste.v", "score": "rank"}
    outcome = ingested(tmp_path, source(tmp_path / "p.parquet", columns=columns))
    assert outcome.kept.select("aesthetic_score", "score").rows() == [(5.5, 7), (None, 8)]


@pytest.mark.parametrize("name", ["p.jsonl", "p.parquet"])
def test_a_column_that_nobody_has(tmp_path: Path, name: str):
    posts = [{"id": 1, "rank": 5}]
    if name == "p.jsonl":
        write_lines(tmp_path / name, posts)
    else:
        pl.DataFrame(posts).write_parquet(tmp_path / name)
    with pytest.raises(DataError, match=r"sources: site: columns: score: no record has 'my_rank'"):
        ingested(tmp_path, source(tmp_path / name, columns={"score": "my_rank"}))


def test_a_column_that_is_not_ours():
    with pytest.raises(ValueError, match="favourites is no column that can be filled; there are id, file_name"):
        source(columns={"favourites": "x"})


def test_all_columns_can_be_filled(tmp_path: Path):
    mapping = {ours: f"their_{ours}" for ours in COLUMNS}
    post = danbooru_post(
        3, parent_id=2, pixel_hash="aa", aesthetic_score=1.5, is_synthetic=True, captions_long="A girl."
    )
    post["file_size"] = 99
    record = {f"their_{ours}": post.get(key) for ours, key in COLUMNS.items()}
    record |= {"their_captions_short": "Short.", "their_tags": "x", "their_file_name": "y.png", "id": "ours"}
    write_lines(tmp_path / "posts.jsonl", [record])
    outcome = ingested(tmp_path, source(tmp_path / "posts.jsonl", format="danbooru", columns=mapping))
    expected = parse_post(post, source())
    (found,) = outcome.kept.to_dicts()
    for name in ("key", "md5", "post_width", "pixel_hash", "created_at", "score", "aesthetic_score", "is_synthetic",
                 "parent", "tags_general", "tags_artist", "captions_long"):  # fmt: skip
        assert found[name] == expected[name], name
    assert found["captions_short"] == ["Short."]


def test_kohya_meta(tmp_path: Path):
    (tmp_path / "meta.json").write_text(json.dumps(KOHYA | {"100/b.webp": {"tags": "2girls"}, "bad": 5, "/abs/c": {}}))
    outcome = ingested(tmp_path, source(tmp_path / "meta.json", format="kohya"))
    by_id = {found["id"]: found for found in outcome.kept.to_dicts()}
    first, second = by_id[hash_id("100/a")], by_id[hash_id("100/b.webp")]
    assert tags(first) == {"general": ["1girl", "long_hair"]}
    assert first["captions_long"] == ["A girl stands in the rain."]
    assert (first["post_width"], first["post_height"]) == (None, None)
    assert first["image_candidates"][:2] == [f"{tmp_path}/100/a.png", f"{tmp_path}/100/a.jpg"]
    assert second["image_candidates"] == [f"{tmp_path}/100/b.webp"]
    assert dict(outcome.quarantined.select("code", "detail").iter_rows()) == {
        "bad_record": "site:meta.json, item 2: is a number, not an object",
        "bad_path": f"site:meta.json, item 3: '/abs/c' is not below {tmp_path}; say where pictures are, as in images: "
        "path: '{basename}'",
    }


def test_pictures_of_full_paths_are_found_by_their_last_part(tmp_path: Path):
    (tmp_path / "meta.json").write_text(json.dumps({"C:\\x\\a.png": {"tags": "1girl"}, "/y/b.png": {"tags": "sky"}}))
    images = [{"root": "pictures", "path": "{basename}"}]
    outcome = ingested(tmp_path, source(tmp_path / "meta.json", images=images))
    assert sorted(outcome.kept["image_candidates"].to_list()) == [["pictures/a.png"], ["pictures/b.png"]]


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_waifuset(tmp_path: Path, suffix: str):
    path = tmp_path / f"w.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps({"a": WAIFUSET}))
    else:
        pl.DataFrame([WAIFUSET]).write_csv(path)
    outcome = ingested(tmp_path, source(path))
    (found,) = outcome.kept.to_dicts()
    assert outcome.facts["formats"] == {f"site:w.{suffix}": "waifuset"}
    assert tags(found) == {
        "general": ["1girl", "long_hair", "flat_color"],
        "artist": ["some_one"],
        "character": ["miku"],
    }
    assert (found["post_width"], found["post_height"], found["aesthetic_score"]) == (640, 480, 5.5)
    assert (found["rating"], found["pixel_hash"]) == ("g", None)
    assert found["captions_long"] == ["A girl stands in the rain."]
    assert found["image_candidates"] == [f"{tmp_path}/sub/a.png"]


def test_pictures_that_we_drew(tmp_path: Path):
    import numpy as np

    for name, seed in (("one", 1), ("two", 2)):
        requests = [
            Request("1girl, smile", seed, Size(64, 32)),
            Request("A girl reads a book at the sea.", seed, Size(64, 32)),
        ]
        pictures = [(0, np.zeros((32, 64, 3), np.uint8)), (1, np.zeros((32, 64, 3), np.uint8))]
        settings_ = {"sampler": "euler", "request": f"request-{seed}"}
        samples.publish(tmp_path / name, requests, pictures, settings=settings_, columns=1)
    outcome = ingested(tmp_path / "out", source(tmp_path / "one", tmp_path / "two"))
    rows = outcome.kept.to_dicts()
    assert len(rows) == 4
    assert all(found["is_synthetic"] and Path(found["image_candidates"][0]).is_file() for found in rows)
    assert {found["post_width"] for found in rows} == {64}
    assert sorted(map(str, map(tags, rows))) == sorted(["{'general': ['1girl', 'smile']}", "{}"] * 2)
    assert set(outcome.facts["formats"].values()) == {"samples"}


def test_whether_a_model_drew_pictures_is_the_sources_to_say(tmp_path: Path):
    write_lines(tmp_path / "p.jsonl", [danbooru_post(1), danbooru_post(2, is_synthetic=True)])
    for said, expected in ((None, [False, True]), (True, [True, True]), (False, [False, False])):
        outcome = ingested(tmp_path / str(said), source(tmp_path / "p.jsonl", is_synthetic=said))
        assert outcome.kept["is_synthetic"].to_list() == expected


def test_gallery_dl_and_waifuc():
    found = row(GALLERY_DL, "gallery-dl", name="gelbooru/a.jpg")
    assert tags(found) == {"general": ["1girl"], "character": ["miku"], "meta": ["highres"]}
    assert (found["id"], found["rating"], found["file_ext"]) == (5, "e", "jpg")
    assert found["created_at"] == datetime.datetime(2025, 9, 13, 11, 0, tzinfo=datetime.UTC)
    assert row({**E621, "category": "e621", "extension": "png"}, "gallery-dl")["post_width"] == 640
    waifuc = row(WAIFUC, "gallery-dl", name="x.png")
    assert (waifuc["id"], tags(waifuc)["general"]) == (9, danbooru_post(9)["tag_string_general"].split())
    tagger = row({"tags": {"1girl": 0.9}}, "gallery-dl", name="x.png")
    assert (tagger["id"], tags(tagger)) == (hash_id("x.png"), {"general": ["1girl"]})


def test_a_picture_is_where_it_lies_not_where_its_json_says(tmp_path: Path):
    (folder := tmp_path / "got").mkdir()
    (folder / "1.png").write_bytes(b"")
    (folder / "1.json").write_text(json.dumps({"id": 4, "file_name": "/home/someone/x.png", "tags": "a"}))
    for format_name in ("auto", "gallery-dl"):
        outcome = ingested(tmp_path / format_name, source(folder, format=format_name))
        assert outcome.kept["image_candidates"].to_list() == [[f"{folder}/1.png"]]
        assert outcome.facts["formats"] == {"site:got": "folder"}


def test_json_files_of_gallery_dl_without_their_folder(tmp_path: Path):
    for number, folder in enumerate(("a", "b")):
        (tmp_path / folder / "c").mkdir(parents=True)
        post = {**GALLERY_DL, "id": None if number else 5}
        (tmp_path / folder / "c" / "1.jpg.json").write_text(json.dumps(post))
    outcome = ingested(tmp_path / "out", source(tmp_path / "**" / "*.json"))
    rows = {found["id"]: found for found in outcome.kept.to_dicts()}
    assert set(rows) == {5, hash_id("b/c/1.jpg")}
    assert rows[5]["image_candidates"] == [f"{tmp_path}/a/c/1.jpg"]
    assert outcome.facts["formats"] == dict.fromkeys(["site:a/c/1.jpg.json", "site:b/c/1.jpg.json"], "gallery-dl")


def test_answers_of_an_api_are_unwrapped(tmp_path: Path):
    for name, key in (("a", "posts"), ("b", "post"), ("c", "items")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"@attributes": {"count": 1}, key: [{"id": ord(name)}, 5]}))
    outcome = ingested(tmp_path, source(tmp_path / "*.json"))
    assert outcome.kept["id"].to_list() == [97, 98, 99]
    assert set(outcome.quarantined["code"]) == {"bad_record"}


def test_several_sources_of_several_formats_are_one_table(tmp_path: Path):
    write_lines(tmp_path / "d.jsonl", [danbooru_post(1)])
    write_lines(tmp_path / "e.jsonl", [E621])
    write_lines(tmp_path / "h.jsonl", [HF])
    names = ("danbooru", "e621", "hf")
    outcome = ingested(tmp_path, *(source(tmp_path / f"{name[0]}.jsonl", name=name) for name in names))
    assert outcome.kept["source"].to_list() == list(names)
    assert list(outcome.facts["formats"].values()) == ["danbooru", "e621", "metadata"]
    assert outcome.facts["ids"]["hf:h.jsonl"] == "own, or the hash of a path"
    assert outcome.facts["ids"]["e621:e.jsonl"] == "own"


def test_ids_from_names():
    assert hash_id("a/b.png") == hash_id("./a/b.png") == hash_id("a\\b.png")
    assert 0 <= hash_id("") < 2**63
    assert hash_id("a/b.png") == 7435504521958766345  # keys of tables that are in use
    assert plain_name("././x") == "x"


def test_files_of_one_name_in_several_folders_are_told_apart(tmp_path: Path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_lines(tmp_path / folder / "metadata.jsonl", [{"file_name": "1.png"}])
    by_pattern = ingested(tmp_path / "1", source(tmp_path / "*" / "metadata.jsonl"))
    assert by_pattern.kept["id"].to_list() == sorted([hash_id("x/1.png"), hash_id("y/1.png")])
    by_name = ingested(tmp_path / "2", source(tmp_path / "x" / "metadata.jsonl", tmp_path / "y" / "metadata.jsonl"))
    assert by_name.quarantined["code"].to_list() == ["dup_id"]


@pytest.mark.parametrize(
    ("folder", "name", "expected"),
    [
        ("data", "a.png", ["data/a.png"]),
        ("data", "data/a.png", ["data/a.png"]),
        ("s3://b/x", "a.JPEG", ["s3://b/x/a.JPEG"]),
        ("/d", "/d/e/a.png", ["/d/e/a.png"]),
    ],
)
def test_where_pictures_are(folder: str, name: str, expected: list[str]):
    assert places(folder, name) == expected


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "C:\\a.png", "http://x/a.png", "a/../../b.png", "a\0.png"])
def test_pictures_elsewhere(name: str):
    with pytest.raises(RecordError) as caught:
        places("data", name)
    assert caught.value.code == "bad_path"


def test_formats_that_do_not_fit_their_files(tmp_path: Path):
    write_lines(tmp_path / "posts.jsonl", [danbooru_post(1)])
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "pictures" / "1.png")
    for name, path, message in (
        ("folder", tmp_path / "posts.jsonl", "format folder is of folders"),
        ("danbooru", tmp_path / "pictures", "is a folder; name the files of posts in it"),
        ("webdataset", tmp_path / "posts.jsonl", r"format webdataset is of \.tar files"),
    ):
        with pytest.raises(DataError, match=f"sources: site: posts: .*{message}"):
            find_files([source(path, format=name)])


def test_a_json_file_of_names_that_repeats_one(tmp_path: Path):
    (tmp_path / "meta.json").write_text('{"a": {"tags": "x"}, "a": {"tags": "y"}}')
    with pytest.raises(ChunkError, match=r"meta\.json: 'a': two records have one name"):
        ingested(tmp_path, source(tmp_path / "meta.json", format="kohya"))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(
    sorted({
        key
        for record in (E621, E621_EXPORT, MOEBOORU, GALLERY_DL, WAIFUC, KOHYA["100/a"], WAIFUSET, SAMPLE, HF, ZEROCHAN,
                       danbooru_post(1), {"filename": 1, "path": 1, "image": 1, "description": 1, "artist": 1,
                                          "characters": 1, "tag": 1, "request": 1, "aesthetic_score": 1})
        for key in record
    })
)  # fmt: skip
BASES: list[dict] = [{}, E621, MOEBOORU, GALLERY_DL, WAIFUC, KOHYA["100/a"], WAIFUSET, SAMPLE, HF, ZEROCHAN]


CHANGES = st.dictionaries(KEYS, JSON_VALUES, max_size=4)
RECORDS = st.tuples(st.sampled_from(BASES), CHANGES).map(lambda both: {**both[0], **both[1]})


def outcome_of(parse: Callable[[], dict]) -> str:
    try:
        found = parse()
    except RecordError as error:
        return error.code
    json.dumps([found[f"tags_{name}"] for name in TAG_CLASSES], ensure_ascii=False).encode(errors="surrogatepass")
    return "row"


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(sorted(FORMATS)), RECORDS,
    st.none() | st.text(max_size=8), st.lists(st.text(max_size=9), max_size=2),
)  # fmt: skip
def test_any_record_of_any_format_gives_a_row_or_a_named_refusal(name, record, filed_under, texts):
    assert outcome_of(lambda: row(record, name, name=filed_under, texts=tuple(texts))) in {
        "row", "bad_record", "bad_path", "bad_caption",
    }  # fmt: skip
    assert format_of_record(record) in FORMATS


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["auto", *sorted(set(FORMATS) - {"folder", "webdataset"})]),
    st.lists(RECORDS, max_size=5),
    st.sampled_from(["jsonl", "json", "keyed"]),
)  # fmt: skip
def test_any_file_of_any_format_has_one_outcome_for_each_record(tmp_path_factory, name, records, shape):
    folder = tmp_path_factory.mktemp("any")
    path = folder / ("posts.jsonl" if shape == "jsonl" else "posts.json")
    if shape == "keyed":
        path.write_text(json.dumps({f"{index}\n": record for index, record in enumerate(records)}))
    elif shape == "json":
        path.write_text(json.dumps(records))
    else:
        write_lines(path, records)
    outcome = ingested(folder, source(path, format=name))  # asserts that all that was seen has an outcome
    is_one_object = shape == "keyed" and outcome.facts["formats"]["site:posts.json"] not in ("kohya", "waifuset")
    assert outcome.seen == (1 if is_one_object else len(records))
