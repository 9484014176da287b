"""Filters, lists and duplicates through the whole chain: in their order, each with its reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from animetune import tables
from animetune.curate.config import CurateConfig
from animetune.curate.run import run
from animetune.errors import DataError
from animetune.manifest import has_manifest
from tests.builders import curate_config, write_lines, write_posts


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 posts; 3 has the pixels of 12 under another encoding, 5 states the file of 14, 6 is a child of 7, 7 of 8."""
    folder = write_posts(tmp_path_factory.mktemp("posts"), 18)
    images = folder / "images"
    lines = [json.loads(line) for line in (folder / "posts.jsonl").read_text().splitlines()]
    shutil.copyfile(images / "12.png", images / "3.png")
    lines[4]["md5"] = lines[13]["md5"]
    lines[5]["parent_id"], lines[6]["parent_id"] = 7, 8
    lines[2]["tag_string_general"] += " seen_in_3"
    lines[9]["tag_string_artist"] = "Someone"
    write_lines(folder / "posts.jsonl", lines)
    return folder


def fresh(posts: Path, tmp_path: Path, **settings: Any) -> CurateConfig:
    return curate_config(posts, **{"out": tmp_path / "table", **settings})


def dropped(cfg: CurateConfig) -> dict[int, str]:
    """Id -> reason."""
    rows = pl.read_parquet(cfg.out / "dropped.parquet").rows()
    return {int(key.rpartition("/")[2]): reason for key, reason in sorted(rows)}


def test_duplicates_before_and_after_decoding(posts: Path, tmp_path: Path):
    cfg = fresh(posts, tmp_path)
    manifest = run(cfg)
    assert dropped(cfg) == {3: "duplicate", 5: "duplicate"}  # 12 and 14 have the higher scores
    assert manifest.facts["duplicates_stated"] == {"sets": 1, "md5": 2, "pixel_hash": 0}
    assert manifest.facts["duplicates_decoded"] == {"sets": 1, "pixel_digest": 2}


def test_lists_of_posts(posts: Path, tmp_path: Path):
    (tmp_path / "down.txt").write_text("# asked for\n14\nartist:someone\n")
    (tmp_path / "in.txt").write_text("tiny/3\ntiny/2\ntiny/14\n")
    lists = {"takedown": [tmp_path / "down.txt"], "include": [tmp_path / "in.txt"]}
    cfg = fresh(posts, tmp_path, lists=lists, filters=[{"name": "rating", "keep": ["g", "s", "e"]}])
    manifest = run(cfg)
    # 2, 6, 10, 14 and 18 are questionable
    reasons = {5: "takedown", 6: "rating", 10: "takedown", 12: "duplicate", 14: "takedown", 18: "rating"}
    assert dropped(cfg) == reasons
    assert manifest.facts["lists"] == {"included": 2, "taken_down": 2}
    assert manifest.facts["filters_post"] == {"rating": {"drops": 2, "spared": 1, "unknown": 0}}
    assert set(tables.open_table(cfg.out).scan().collect_schema()) == set(tables.schema())


def test_a_changed_list_is_read_again(posts: Path, tmp_path: Path):
    (tmp_path / "down.txt").write_text("14\n")
    cfg = fresh(posts, tmp_path, lists={"takedown": [tmp_path / "down.txt"]})
    assert run(cfg).dropped["takedown"] == 2
    (tmp_path / "down.txt").write_text("13\n")
    assert run(cfg).dropped["takedown"] == 1


def test_filters_of_every_phase(posts: Path, tmp_path: Path):
    cfg = fresh(
        posts,
        tmp_path,
        dedup={"by": [], "family_limit": 2},
        filters=[
            {
                "name": "rule",
                "reason": "captions",
                "column": "captions_long",
                "none_of": ["A picture with the number 1."],
            },
            {"name": "rule", "reason": "portrait", "column": "height", "max": 60},
            {"name": "exclude_tags", "tags": ["cat"], "after": "tags"},
            {"name": "rule", "reason": "solo", "column": "tags_count", "any_of": ["solo", "2boys"], "unknown": "drop"},
            {"name": "year", "keep": ["newest", "recent"]},
            {"name": "rule", "reason": "content", "column": "content_bucket", "none_of": ["multiple_boys"]},
        ],
    )
    run(cfg)
    found = dropped(cfg)
    # the posts of each content bucket: n % 9 is 1 1girl_only, 2 and 3 a boy, 4 girls, 5 boys, 6 animal, 7 object ...
    assert {number: reason for number, reason in found.items() if reason == "captions"} == {1: "captions"}
    portraits = {number for number in range(2, 19) if number % 3 == 1}
    assert {number for number, reason in found.items() if reason == "portrait"} == portraits
    assert {number for number, reason in found.items() if reason == "exclude_tags"} == {6, 15}
    assert {number for number, reason in found.items() if reason == "solo"} == {8, 17}
    assert {number for number, reason in found.items() if reason == "content"} == {5, 14}
    assert "family_limit" not in found.values()  # 6 and 7 are gone already


def test_what_is_dropped_after_the_classes_counts_in_percentiles(posts: Path, tmp_path: Path):
    def classes(**settings: Any) -> dict[str, str]:
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        cfg = curate_config(posts, out=out, **settings)
        run(cfg)
        rows = tables.open_table(cfg.out).scan().select("key", "quality", "width").collect()
        return {key: quality for key, quality, width in rows.iter_rows() if width < 64}

    everything = classes()
    small = {"name": "min_side", "reason": "small", "pixels": 48, "after": "classes"}
    tagged = {"name": "exclude_tags", "tags": ["seen_in_3", "smile"], "after": "classes"}
    late = classes(filters=[small, tagged])
    assert 0 < len(late) < len(everything)
    assert late == {key: everything[key] for key in late}
    early = classes(filters=[{**tagged, "after": "ingest"}])
    assert early != {key: everything[key] for key in early}  # what this test would not tell apart otherwise


def test_the_tags_of_duplicates_are_put_together(posts: Path, tmp_path: Path):
    cfg = fresh(posts, tmp_path, dedup={"union_tags": True})
    run(cfg)
    assert dropped(cfg) == {3: "duplicate", 5: "duplicate"}
    rows = tables.open_table(cfg.out).scan().collect()
    assert [number for number, tags in rows.select("id", "tags_general").rows() if "seen_in_3" in tags] == [12]


def test_a_filter_that_drops_everything_is_named(posts: Path, tmp_path: Path):
    good = fresh(posts, tmp_path)
    run(good)
    everything = [{"name": "deleted"}, {"name": "score", "min": 40, "reason": "low"}, {"name": "score", "max": 30}]
    with pytest.raises(
        DataError, match=r"nothing is left of 18 posts; dropped: low \d+, score \d+\. .* as low: loosen"
    ):
        run(fresh(posts, tmp_path, filters=everything))
    assert len(dropped(good)) == 18
    assert not has_manifest(good.out)  # the table of other settings does not stay as if it were this one's


def test_a_class_that_does_not_exist(posts: Path, tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"filters.0: quality: keep: there is no 'bst'; there are .* did you mean 'best'"
    ):
        fresh(posts, tmp_path, filters=[{"name": "quality", "keep": ["bst"]}])
