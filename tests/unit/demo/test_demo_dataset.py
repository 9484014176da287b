"""The demo's data set: what curation makes of it, byte-equal when drawn again."""

from __future__ import annotations

import collections
import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from animetune.curate.config import CurateConfig
from animetune.curate.run import run as curate
from animetune.demo.dataset import FIRST_ID, captions_of, draw_picture, kind_of, tags_of, write_dataset
from animetune.demo.drawing import KINDS, Person, Scene
from animetune.manifest import Manifest, verify_files
from animetune.tables import open_table

COUNT = 90


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "data"
    write_dataset(folder, count=COUNT, seed=0)
    return folder


def posts_of(folder: Path) -> list[dict]:
    lines = (folder / "posts.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def curated(data: Path, out: Path) -> Manifest:
    source = {
        "name": "demo",
        "posts": [str(data / "posts.jsonl")],
        "images": [{"root": str(data / "images")}],
        "captions": [str(data / "captions.jsonl")],
    }
    filters = [{"name": "deleted"}, {"name": "min_side", "pixels": 100}]
    settings = {"stage": "curate", "out": out, "sources": [source], "filters": filters, "executor": {"workers": 0}}
    return curate(CurateConfig.model_validate({**settings, "quarantine_limit": 0.1}))


def test_curation_finds_every_flaw_and_every_content_bucket(drawn: Path, tmp_path: Path) -> None:
    manifest = curated(drawn, tmp_path / "table")
    assert manifest.seen == COUNT + 7
    assert {name: count for name, count in manifest.dropped.items() if count} == {
        "deleted": 1,
        "duplicate": 1,
        "min_side": 1,
    }
    assert {name: count for name, count in manifest.quarantined.items() if count} == {"bad_json": 1, "truncated": 1}
    rows = open_table(tmp_path / "table").scan().sort("id").collect().to_dicts()
    assert len(rows) == COUNT + 2
    found = [row["content_bucket"] for row in rows]
    assert found == [kind_of(row["id"] - FIRST_ID) for row in rows]
    assert set(found) == set(KINDS)
    assert all(row["captions_long"] and row["captions_short"] for row in rows[:COUNT])
    rotated, clear = rows[COUNT:]
    assert (rotated["width"], rotated["height"]) == (rotated["post_width"], rotated["post_height"]), "turned upright"
    assert [row["had_alpha"] for row in rows] == [False] * (COUNT + 1) + [True]
    assert clear["id"] == FIRST_ID + COUNT + 2


def test_posts_tell_the_truth_about_their_files(drawn: Path) -> None:
    posts = posts_of(drawn)
    assert [post["id"] for post in posts] == list(range(FIRST_ID, FIRST_ID + COUNT + 6))
    sizes = collections.Counter()
    for post in posts[:COUNT]:
        path = drawn / "images" / f"{post['id']}.{post['file_ext']}"
        assert hashlib.md5(path.read_bytes()).hexdigest() == post["md5"]
        with Image.open(path) as image:
            assert image.size == (post["image_width"], post["image_height"])
            assert image.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[post["file_ext"]]
            sizes[image.size] += 1
        assert post["tag_string_general"].split() == sorted(set(post["tag_string_general"].split()))
    assert all(128 <= side <= 256 for size in sizes for side in size)
    assert {(w > h) - (w < h) for w, h in sizes} == {-1, 0, 1}, "landscape, square and portrait"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(drawn: Path, tmp_path: Path) -> None:
    again = write_dataset(tmp_path / "again", count=COUNT, seed=0)
    assert verify_files(drawn, again) == []
    other = write_dataset(tmp_path / "other", count=3, seed=1)
    assert other.files["images/1000.png"] != again.files["images/1000.png"]


def test_shares_of_the_content_buckets() -> None:
    counts = collections.Counter(kind_of(index) for index in range(600))
    assert all(abs(counts[kind] / 600 - share) < 0.01 for kind, share in KINDS.items())


def test_tags_and_captions_name_what_is_drawn() -> None:
    girl = Person(True, hair="red", eyes="green", clothes="blue", expression="closed_eyes", accessory="hair_bow")
    scene = Scene(people=(girl,), background="aqua")
    assert tags_of(scene) == [
        "1girl", "aqua_background", "blue_shirt", "closed_eyes", "hair_bow", "long_hair", "looking_at_viewer",
        "red_hair", "sailor_collar", "simple_background", "smile", "solo", "upper_body",
    ]  # fmt: skip
    long, short = captions_of(scene)
    assert short == "a girl with red hair and closed eyes and a smile, aqua background"
    assert long == (
        "A girl with long red hair, aqua background. "
        "She wears a blue shirt and a hair bow, looks at the viewer and has closed eyes and a smile."
    )


@pytest.mark.parametrize("index", range(60))
def test_both_captions_name_every_hair_colour_and_the_background(index: int) -> None:
    scene = draw_picture(index, seed=0).scene
    for caption in captions_of(scene):
        assert all(f"{person.hair} hair" in caption for person in scene.people)
        assert scene.background is None or f"{scene.background} background" in caption
