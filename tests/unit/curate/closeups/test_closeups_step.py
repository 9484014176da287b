"""The step `closeups` in the whole stage: what rows come out, what they cost others, and that nothing moves them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from animetune import tables
from animetune.curate.run import run
from animetune.errors import DataError
from animetune.pictures import open_picture
from tests.builders import curate_config, picture, write_posts

SIDE = 24
"""Least side of a close-up here: the pictures are tiny."""


def write_boxes(path: Path, *boxes: tuple) -> Path:
    lines = ["key,left,top,right,bottom,label,score", *(",".join(map(str, box)) for box in boxes)]
    path.write_text("\n".join(lines) + "\n")
    return path


def closeups(**settings):
    return {"margin": 0, "min_side": SIDE, "max_share": 1, "several_people": "count", **settings}


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def table(cfg) -> pl.DataFrame:
    return tables.open_table(cfg.out).scan().collect()


@pytest.fixture(scope="module")
def posts(tmp_path_factory) -> Path:
    """20 posts; the pictures are 64x48, 48x64 or 56x56."""
    return write_posts(tmp_path_factory.mktemp("posts"), 20)


@pytest.fixture(scope="module")
def boxes(posts: Path) -> Path:
    """Two boxes in 3, one in 4, one in 7 that is too small."""
    return write_boxes(
        posts / "boxes.csv",
        ("tiny/3", 0, 0, 26, 28, "face", 0.5),
        ("tiny/3", 30.5, 10, 60.2, 40, "face", 0.9),
        ("4", 2, 3, 40, 40, "head", ""),
        ("tiny/7", 5, 5, 15, 15, "face", 1),
    )


def test_close_ups_are_rows_behind_all_others(posts, boxes, tmp_path):
    cfg = curate_config(posts, out=tmp_path / "table", closeups=closeups(boxes=[str(boxes)]))
    manifest = run(cfg)
    rows = table(cfg)
    assert rows["key"].to_list() == [f"tiny/{n}" for n in range(1, 21)] + ["tiny/3#1", "tiny/3#2", "tiny/4#1"]
    assert (manifest.seen, manifest.kept, manifest.dropped) == (23, 23, {})
    facts = manifest.facts["closeups"]
    assert (facts["added"], facts["labels"], facts["refused"]["too_small"]) == (3, {"face": 2, "head": 1}, 1)
    plain = curate_config(posts, out=tmp_path / "plain")
    run(plain)
    others = table(plain)
    assert rows.head(20).drop("split").equals(others.drop("split"))

    of = {row["key"]: row for row in rows.iter_rows(named=True)}
    first, parent = of["tiny/3#1"], of["tiny/3"]
    assert first["image"] == f"{parent['image']}#xywh=30,10,31,30"
    assert (first["width"], first["height"], first["parent"]) == (31, 30, "tiny/3")
    assert (first["focus_x"], first["focus_y"]) == pytest.approx(((45.35 - 30) / 31, 0.5))
    same = ("source", "id", "score", "fav_count", "created_at", "rating", "tags_artist", "quality", "year", "split")
    assert {name: first[name] for name in same} == {name: parent[name] for name in same}
    assert first["captions_long"] == []
    assert parent["captions_long"] != []
    image = np.asarray(open_picture(first["image"]).image)
    assert np.array_equal(image, np.asarray(picture(3, 64, 48))[10:40, 30:61])


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_no_byte(posts, boxes, tmp_path, workers):
    answers = tmp_path / "answers"
    made = []
    for number in (0, workers):
        settings = closeups(boxes=[str(boxes)], saliency=True, min_saliency=0.0, focus="saliency")
        cfg = curate_config(
            posts, out=tmp_path / str(number), answers=answers, closeups=settings, executor={"workers": number}
        )
        run(cfg)
        made.append(files(cfg.out))
        for folder in answers.glob("saliency-*"):
            made[-1] |= {f"saliency/{name}": data for name, data in files(folder).items()}
            for path in sorted(folder.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
    assert made[0] == made[1]
    assert table(cfg).height > 23


def test_the_same_command_again_changes_nothing_and_asks_nothing(posts, boxes, tmp_path, monkeypatch):
    cfg = curate_config(posts, out=tmp_path / "table", closeups=closeups(boxes=[str(boxes)], saliency=True))
    digest = run(cfg).digest
    monkeypatch.setattr("animetune.curate.closeups.finding.salient_boxes", None)
    assert run(cfg).digest == digest
    changed = cfg.model_copy(update={"closeups": cfg.closeups.model_copy(update={"min_saliency": 0.1})})
    run(changed.model_copy(update={"prune": True}))  # another threshold asks nothing, either
    assert len(list((cfg.out / "steps").glob("*-closeups-*"))) == 1


def test_appended_posts_leave_the_close_ups_of_others_as_they_are(tmp_path):
    folder = write_posts(tmp_path / "few", 6)
    boxes = write_boxes(tmp_path / "boxes.csv", ("tiny/3", 30, 10, 60, 40, "face", 1), ("tiny/9", 0, 0, 40, 40, "", ""))
    cfg = curate_config(folder, out=tmp_path / "table", closeups=closeups(boxes=[str(boxes)]))
    before = run(cfg)
    assert before.facts["closeups"]["boxes_of_no_row"] == 1
    few = table(cfg)
    more = write_posts(tmp_path / "more", 12)
    for name in ("posts.jsonl", "captions.jsonl"):
        (folder / name).write_bytes((more / name).read_bytes())
    for path in (more / "images").iterdir():
        path.rename(folder / "images" / path.name)
    manifest = run(cfg)
    many = table(cfg)
    assert (manifest.seen, manifest.kept) == (14, 14)
    assert many["key"].to_list()[12:] == ["tiny/3#1", "tiny/9#1"]
    columns = ["key", "image", "width", "height", "tags_general", "tags_count", "parent"]
    assert many.filter(pl.col("key") == "tiny/3#1").select(columns).equals(few.tail(1).select(columns))


def test_a_takedown_reaches_the_close_ups_and_may_name_one(posts, boxes, tmp_path):
    (tmp_path / "takedown.txt").write_text("tiny/4\ntiny/3#1\n")
    settings = {"lists": {"takedown": [str(tmp_path / "takedown.txt")]}, "closeups": closeups(boxes=[str(boxes)])}
    cfg = curate_config(posts, out=tmp_path / "table", **settings)
    manifest = run(cfg)
    keys = table(cfg)["key"].to_list()
    assert [key for key in keys if "#" in key] == ["tiny/3#2"]  # the number of one does not depend on the others
    assert "tiny/4" not in keys
    assert manifest.dropped == {"takedown": 2}
    assert (manifest.seen, manifest.kept) == (22, 20)
    dropped = pl.read_parquet(cfg.out / "dropped.parquet")
    assert dropped["key"].to_list() == ["tiny/3#1", "tiny/4"]


def test_many_parts_and_many_added_parts(posts, boxes, tmp_path, monkeypatch):
    """Parts of five rows, close-ups in parts of two: the table is that of one part."""
    settings = {"closeups": closeups(boxes=[str(boxes)], saliency=True, min_saliency=0)}
    whole = curate_config(posts, out=tmp_path / "whole", **settings)
    run(whole)
    monkeypatch.setattr(tables, "PART_ROWS", 5)
    monkeypatch.setattr("animetune.curate.read.merge.PART_ROWS", 5, raising=False)
    cut = curate_config(posts, out=tmp_path / "cut", **settings)
    run(cut)
    assert len(tables.open_table(cut.out).parts) > len(tables.open_table(whole.out).parts) + 1
    assert table(cut).equals(table(whole))


def test_pictures_without_a_focus_get_one_where_something_stands_out(tmp_path):
    folder = write_posts(tmp_path, 2)
    image = Image.new("RGB", (64, 48), (90, 90, 90))
    image.paste((250, 30, 30), (44, 6, 54, 16))
    image.save(folder / "images" / "1.png")
    Image.new("RGB", (56, 56), (9, 9, 9)).save(folder / "images" / "2.png")
    cfg = curate_config(folder, out=tmp_path / "table", closeups=closeups(focus="saliency"))
    manifest = run(cfg)
    first, second = table(cfg).select("focus_x", "focus_y").rows()
    assert first == pytest.approx((49 / 64, 11 / 48), abs=0.08)
    assert second == (None, None)
    assert manifest.facts["closeups"]["with_focus"] == 1


def test_only_large_or_rare_pictures(posts, tmp_path):
    """Six of the nine kinds of posts have a general tag that only their two posts have."""
    made = {}
    for name, settings in {
        "large": {"min_megapixels": 56 * 56 / 1e6},
        "side": {"min_picture_side": 56},
        "rare": {"rare": {"general": 3}},
        "rare or large": {"rare": {"copyright": 2}, "min_megapixels": 56 * 56 / 1e6},
    }.items():
        cfg = curate_config(
            posts, out=tmp_path / name, closeups=closeups(saliency=True, min_saliency=0, per_picture=1, **settings)
        )
        made[name] = run(cfg).facts["closeups"]["pictures"]
    assert made == {"large": 7, "side": 7, "rare": 12, "rare or large": 7}


def test_boxes_of_nothing_in_the_table_are_a_mistake(posts, tmp_path):
    boxes = write_boxes(tmp_path / "boxes.csv", ("tiny/99", 0, 0, 30, 30, "face", 1))
    with pytest.raises(DataError, match=r"none of the 1 pictures that they are of is in the table, as tiny/99"):
        run(curate_config(posts, out=tmp_path / "table", closeups=closeups(boxes=[str(boxes)])))


def test_nothing_is_looked_at_without_decoding(posts, boxes, tmp_path):
    with pytest.raises(ValueError, match=r"closeups: .*pictures.decode: false"):
        curate_config(posts, out=tmp_path / "a", pictures={"decode": False}, closeups=closeups(saliency=True))
    cfg = curate_config(posts, out=tmp_path / "b", pictures={"decode": False}, closeups=closeups(boxes=[str(boxes)]))
    assert run(cfg).kept == 23


def test_settings_without_a_place_to_cut(posts, tmp_path):
    with pytest.raises(ValueError, match="say where close-ups are"):
        curate_config(posts, closeups={"min_megapixels": 4})


def test_percentiles_do_not_count_close_ups(posts, tmp_path):
    """Two close-ups of each of the best posts would push all others down."""
    cfg = curate_config(posts, out=tmp_path / "plain")
    run(cfg)
    plain = dict(table(cfg).select("key", "quality").iter_rows())
    best = table(cfg).sort("score", descending=True)["key"].to_list()[:5]
    boxes = write_boxes(
        tmp_path / "boxes.csv", *((key, *at, "face", 1) for key in best for at in [(0, 0, 24, 24), (24, 24, 48, 48)])
    )
    cfg = curate_config(posts, out=tmp_path / "cut", closeups=closeups(boxes=[str(boxes)]))
    run(cfg)
    rows = table(cfg)
    assert rows.height == 30
    assert {key: quality for key, quality in rows.select("key", "quality").iter_rows() if "#" not in key} == plain
    assert all(plain[key.split("#")[0]] == quality for key, quality in rows.select("key", "quality").iter_rows())


def test_json_lines_of_boxes(posts, tmp_path):
    path = tmp_path / "boxes.jsonl"
    path.write_text(json.dumps({"key": "tiny/3", "left": 0, "top": 0, "right": 30, "bottom": 30}) + "\n")
    cfg = curate_config(posts, out=tmp_path / "table", closeups=closeups(boxes=[str(path)]))
    run(cfg)
    assert table(cfg)["key"].to_list()[-1] == "tiny/3#1"
