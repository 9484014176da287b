"""Letterboxes and marks in the whole stage: what is cropped, tagged, masked, dropped, and what is stored of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from animetune import shardset, tables
from animetune.curate.config.marks import MarkConfig
from animetune.curate.marks.masks import around, draw
from animetune.curate.marks.step import covered, region_of, verdict
from animetune.curate.run import run
from animetune.errors import PictureError
from animetune.manifest import verify_files
from animetune.picture_urls import Region
from animetune.pictures import open_picture
from animetune.shards import run as shards
from animetune.vision.detectors import Box
from tests.builders import curate_config, danbooru_post, shard_config, stored_samples, write_lines
from tests.detector_models import save_detector

WIDTH, HEIGHT = 160, 128


def coloured(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """uint8 (h, w, 3): blocks of colours that are neither black nor white."""
    blocks = np.random.default_rng(seed).integers(60, 196, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    return blocks.repeat(16, 0).repeat(16, 1)[:height, :width]


@pytest.fixture(scope="module")
def posts(tmp_path_factory) -> Path:
    """1: black bars of 32 above and below, as JPEG with its noise; 2: white bars of 24 at the left and 40 at the right;
    3: no bars; 4: a red picture, which the detector takes for marks."""
    folder = tmp_path_factory.mktemp("marks")
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    first, second, third = (coloured(seed) for seed in (1, 2, 3))
    first[:32] = first[96:] = 0
    second[:, :24] = second[:, 120:] = 255
    Image.fromarray(first).save(folder / "images" / "1.jpg", quality=85, subsampling=0)
    for post_id, pixels in ((2, second), (3, third), (4, np.full((HEIGHT, WIDTH, 3), (255, 0, 0), np.uint8))):
        Image.fromarray(pixels).save(folder / "images" / f"{post_id}.png")
    levels = np.full((HEIGHT // 2, WIDTH // 2), 200, np.uint8)  # of half the scale
    levels[:, :20] = 100
    Image.fromarray(levels).save(folder / "masks" / "2.png")
    posts = [
        danbooru_post(number, image_width=WIDTH, image_height=HEIGHT, file_ext="jpg" if number == 1 else "png")
        for number in (1, 2, 3, 4)
    ]
    write_lines(folder / "posts.jsonl", posts)
    return folder


def config(posts: Path, out: Path, *, masks: bool = False, **settings):
    source = {
        "name": "tiny",
        "posts": [str(posts / "posts.jsonl")],
        "images": [{"root": str(posts / "images"), "path": "{id}.{ext}"}],
        "masks": [{"root": str(posts / "masks"), "path": "{id}.png"}] if masks else [],
    }
    return curate_config(posts, **{"out": out, "sources": [source], "split": {"val_share": 0}, **settings})


def table(cfg) -> dict[str, dict]:
    assert verify_files(cfg.out, tables.open_table(cfg.out).manifest) == []
    return {row["key"]: row for row in tables.open_table(cfg.out).scan().collect().iter_rows(named=True)}


def test_cropped_letterboxes_are_regions_of_their_size(posts, tmp_path):
    cfg = config(posts, tmp_path / "table", marks={"letterbox": ["crop"]})
    manifest = run(cfg)
    rows = table(cfg)
    assert rows["tiny/1"]["image"].endswith("1.jpg#xywh=0,32,160,64")
    assert rows["tiny/2"]["image"].endswith("2.png#xywh=24,0,96,128")
    assert [(rows[f"tiny/{n}"]["width"], rows[f"tiny/{n}"]["height"]) for n in (1, 2, 3)] == [
        (160, 64),
        (96, 128),
        (160, 128),
    ]
    assert "#" not in rows["tiny/3"]["image"]
    assert manifest.facts["letterboxes"] == {"letterboxed": 1, "pillarboxed": 1}
    assert np.array_equal(np.asarray(open_picture(rows["tiny/2"]["image"]).image), coloured(2)[:, 24:120])


@pytest.fixture(scope="module")
def boxed(tmp_path_factory) -> Path:
    """1: a picture; 2: the same between black bars; 3: another between such bars."""
    folder = tmp_path_factory.mktemp("boxed")
    (folder / "images").mkdir()
    scene, other = coloured(7, height=64), coloured(8, height=64)
    bar = np.zeros((32, WIDTH, 3), np.uint8)
    for post_id, rows in ((1, [scene]), (2, [bar, scene, bar]), (3, [bar, other, bar])):
        Image.fromarray(np.concatenate(rows)).save(folder / "images" / f"{post_id}.png")
    posts = [danbooru_post(n, image_width=WIDTH, image_height=64 if n == 1 else HEIGHT) for n in (1, 2, 3)]
    write_lines(folder / "posts.jsonl", posts)
    return folder


def test_what_is_equal_without_its_borders_is_a_duplicate(boxed, tmp_path):
    assert run(config(boxed, tmp_path / "whole", marks={"letterbox": ["tag"]})).kept == 3
    manifest = run(config(boxed, tmp_path / "cropped", marks={"letterbox": ["crop"]}))
    assert manifest.dropped == {"duplicate": 1}


def test_lookalikes_are_compared_without_the_borders_that_were_cut_off(boxed, tmp_path):
    """Two tables share their answers: what was found of whole pictures is not taken for what is left of them."""
    asked = {}
    for name, actions in (("whole", ["tag"]), ("cropped", ["crop"]), ("whole again", ["tag"])):
        dedup = {"by": [], "lookalikes": {"distance": 15}}
        cfg = config(boxed, tmp_path / name, answers=tmp_path / "answers", marks={"letterbox": actions}, dedup=dedup)
        manifest = run(cfg)
        asked[name] = (manifest.kept, manifest.facts["lookalikes"]["confirmed"])
    assert asked == {"whole": (3, 0), "cropped": (2, 1), "whole again": (3, 0)}


def test_close_ups_of_cropped_pictures(boxed, tmp_path):
    marks = {"letterbox": ["crop"]}
    closeups = {"saliency": True, "min_saliency": 0, "min_side": 16, "max_share": 1, "several_people": "count"}
    cfg = config(boxed, tmp_path / "table", marks=marks, closeups=closeups, dedup={"by": []})
    run(cfg)
    regions = {key: row for key, row in table(cfg).items() if "#" in key}
    assert any(key.startswith("tiny/2#") for key in regions)
    for key, row in regions.items():
        region = open_picture(row["image"]).region
        assert region is not None
        assert region.within(WIDTH, HEIGHT)
        assert key.startswith("tiny/1#") or 32 <= region.top < region.top + region.height <= 96


def test_filters_on_sizes_see_what_is_left(posts, tmp_path):
    sides = [{"name": "min_side", "pixels": 100}]
    cfg = config(posts, tmp_path / "table", marks={"letterbox": ["crop"]}, filters=sides)
    assert run(cfg).dropped == {"min_side": 2}
    cfg = config(posts, tmp_path / "kept", marks={"letterbox": ["tag"]}, filters=sides)
    assert run(cfg).dropped == {}


def test_tagged_letterboxes(posts, tmp_path):
    cfg = config(posts, tmp_path / "table", marks={"letterbox": ["tag"]})
    run(cfg)
    rows = table(cfg)
    added = {key: {"letterboxed", "pillarboxed"} & set(row["tags_general"]) for key, row in rows.items()}
    assert added == {"tiny/1": {"letterboxed"}, "tiny/2": {"pillarboxed"}, "tiny/3": set(), "tiny/4": set()}


def test_dropped_letterboxes(posts, tmp_path):
    cfg = config(posts, tmp_path / "table", marks={"letterbox": ["drop"]})
    manifest = run(cfg)
    assert manifest.dropped == {"letterbox": 2}
    assert sorted(table(cfg)) == ["tiny/3", "tiny/4"]


def test_masked_letterboxes_and_the_mask_of_a_source(posts, tmp_path):
    cfg = config(posts, tmp_path / "table", masks=True, marks={"letterbox": ["mask"]})
    assert run(cfg).facts["marks"] == {"masks": 2}
    rows = table(cfg)
    assert [rows[f"tiny/{n}"]["mask"] is None for n in (1, 2, 3, 4)] == [False, False, True, True]
    first, second = (np.asarray(Image.open(rows[f"tiny/{n}"]["mask"])) for n in (1, 2))
    assert first.shape == second.shape == (HEIGHT, WIDTH)
    assert (first[32:96] == 255).all()
    assert not first[:32].any()
    assert not first[96:].any()
    assert not second[:, :24].any()
    assert not second[:, 120:].any()
    assert (second[:, 24:36] == 100).all()
    assert (second[:, 44:120] == 200).all()


def marks_config(tmp_path: Path, **label):
    """The detector finds a text at (8, 12, 40, 20) and a logo at (0, 0, 8, 8) of its square of 64 in red pictures."""
    detector = save_detector(
        tmp_path / "marks.onnx", [(8, 12.8, 40, 20.8, 0), (0, 6.4, 8, 14.4, 1)], ["text", "logo"], threshold=0.75
    )
    return {"detectors": [{"detector": detector, "labels": {"text": label}}]}


def test_marks_become_tags_and_masks(posts, tmp_path):
    pytest.importorskip("onnxruntime")
    marks = marks_config(tmp_path, tag="english text", mask=True, grow=0)
    cfg = config(posts, tmp_path / "table", marks=marks)
    manifest = run(cfg)
    rows = table(cfg)
    assert manifest.facts["marks"] == {"masks": 1, "with_text": 1}
    assert "english_text" in rows["tiny/4"]["tags_general"]
    assert not any("english_text" in rows[f"tiny/{n}"]["tags_general"] for n in (1, 2, 3))
    mask = np.asarray(Image.open(rows["tiny/4"]["mask"]))
    # 160x128 pixels are 64x51 of the square, above which are 6 lines of grey: 12.8 is (12.8 - 6) / 51 * 128 = 17.07.
    black = np.argwhere(mask == 0)
    assert (black.min(axis=0) - [17, 20]).tolist() == [0, 0]
    assert (black.max(axis=0) + 1 - [38, 100]).tolist() == [0, 0]
    assert (mask == 0).sum() == 21 * 80


def test_pictures_that_are_mostly_marks_are_dropped(posts, tmp_path):
    pytest.importorskip("onnxruntime")
    share = 20 * 80 / (WIDTH * HEIGHT)
    for above, dropped in ((share * 1.05, {}), (share * 0.95, {"mark_text": 1})):
        cfg = config(posts, tmp_path / f"{above}", marks=marks_config(tmp_path, drop_above=above))
        assert run(cfg).dropped == dropped


def test_a_second_run_asks_nothing_and_workers_change_no_byte(posts, tmp_path):
    pytest.importorskip("onnxruntime")
    marks = {**marks_config(tmp_path, tag="watermark", mask=True), "letterbox": ["mask"]}
    made = []
    for workers in (0, 2):
        answers = tmp_path / f"answers-{workers}"
        cfg = config(posts, tmp_path / f"table-{workers}", answers=answers, marks=marks, executor={"workers": workers})
        digest = run(cfg).digest
        assert run(cfg).digest == digest
        rows = tables.open_table(cfg.out).scan().collect()
        relative = rows.with_columns(pl.col("mask").str.strip_prefix(f"{answers}/"))
        masks = {path.name: path.read_bytes() for path in answers.glob("mark-masks-*-files/*.png")}
        made.append((relative, masks))
    assert made[0][0].equals(made[1][0])
    assert made[0][1] == made[1][1]
    assert len(made[0][1]) == 3


@pytest.mark.xdist_group("streaming")
def test_a_close_up_of_a_letterboxed_picture_with_a_mask_as_it_is_stored(posts, tmp_path):
    """Everything at once: the region of a region, the mask of the source, the mask of a mark."""
    pytest.importorskip("onnxruntime")
    (tmp_path / "boxes.csv").write_text("key,left,top,right,bottom\n2,30,40,94,104\n")
    marks = {**marks_config(tmp_path, mask=True, grow=0), "letterbox": ["crop"]}
    marks["detectors"][0]["detector"]["threshold"] = 0.0  # the marks are everywhere
    closeups = {"boxes": [str(tmp_path / "boxes.csv")], "margin": 0, "min_side": 64}
    cfg = config(posts, tmp_path / "table", masks=True, marks=marks, closeups=closeups)
    run(cfg)
    row = table(cfg)["tiny/2#1"]
    assert row["image"].endswith("2.png#xywh=30,40,64,64")
    shards.run(shard_config(cfg.out, tmp_path / "shards"))
    samples = {sample["key"]: sample for sample in stored_samples(shardset.open_root(tmp_path / "shards"))}
    stored = np.asarray(Image.open(io.BytesIO(samples["tiny/2#1"]["image"])))
    assert np.array_equal(stored, coloured(2)[40:104, 30:94])
    mask = np.asarray(Image.open(io.BytesIO(samples["tiny/2#1"]["mask"])))
    whole = np.asarray(Image.open(row["mask"]))
    assert whole.shape == (HEIGHT, WIDTH)  # of the file, though the row is a region of it
    assert np.array_equal(mask, whole[40:104, 30:94])
    # The detector saw 96x128 pixels from x = 24 on: twice its square, less 8 grey columns each side.
    assert not whole[26:41, 25:88].any()
    assert whole[60:, 60:].all()


def test_an_unusable_mask_of_a_source_stays_for_shard_to_refuse(tmp_path):
    (tmp_path / "mask.png").write_bytes(b"nothing")
    with pytest.raises(PictureError):
        draw((10, 10), [], str(tmp_path / "mask.png"), 1000)
    Image.new("L", (10, 20)).save(tmp_path / "tall.png")
    with pytest.raises(PictureError):
        draw((10, 10), [], str(tmp_path / "tall.png"), 1000)


def test_one_detector_with_a_threshold_for_each_label(posts, tmp_path):
    """Two entries of one network: asked once, and each label by its own threshold."""
    network = save_detector(tmp_path / "d.onnx", [(8, 8, 24, 24, 0), (30, 30, 50, 50, 1)], ["text", "watermark"])
    red = sum(pixel for pixel in (255 * 51, 114 * 13)) / 64 / 255  # mean of a letterboxed red picture of 5 to 4
    marks = {
        "detectors": [
            {"detector": {**network, "threshold": red - 0.05}, "labels": {"text": {"tag": "english_text"}}},
            {"detector": {**network, "threshold": red + 0.05}, "labels": {"watermark": {"tag": "watermark"}}},
        ]
    }
    cfg = config(posts, tmp_path / "table", marks=marks)
    run(cfg)
    tags = set(table(cfg)["tiny/4"]["tags_general"])
    assert ("english_text" in tags, "watermark" in tags) == (True, False)
    assert len(list((cfg.out / "answers").glob("detections-*"))) == 1


def test_settings_that_do_not_fit(posts, tmp_path):
    for marks, message in (
        ({}, "does nothing"),
        ({"letterbox": ["crop", "mask"]}, "leaves no border"),
        ({"letterbox": ["drop", "tag"]}, "leaves nothing"),
        ({"letterbox": ["tag", "tag"]}, "twice"),
        (
            {"detectors": [{"detector": {"asset": {"path": "x"}, "labels": ["a"]}, "labels": {"b": {"tag": "t"}}}]},
            "does not find 'b', but a",
        ),
        (
            {"detectors": [{"detector": {"asset": {"path": "x"}, "labels": ["a"]}, "labels": {"a": {}}}]},
            "does nothing",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            config(posts, tmp_path, marks=marks)
    with pytest.raises(ValueError, match=r"marks: .*pictures.decode: false"):
        config(posts, tmp_path, marks={"letterbox": ["tag"]}, pictures={"decode": False})


# By hand.


def box(left, top, right, bottom, label="text"):
    return Box(left, top, right, bottom, 0.9, label)


def test_what_lies_under_two_boxes_counts_once():
    assert covered([box(0, 0, 5, 10), box(2.5, 0, 7.5, 10), box(9, 9, 10, 10)], (10, 10)) == pytest.approx(0.76)


def test_regions_under_boxes():
    assert region_of(box(2.5, 2.5, 4.5, 6.5), 0, (10, 10), (0, 0)) == Region(2, 2, 3, 5)
    assert region_of(box(2, 2, 4, 6), 0.5, (10, 7), (100, 200)) == Region(101, 200, 4, 7)


def test_a_verdict():
    labels = {"text": MarkConfig(tag="text", mask=True, grow=0), "logo": MarkConfig(drop_above=0.5)}
    found = verdict({"text": [box(0, 0, 2, 2)], "other": [box(0, 0, 10, 10)]}, labels, (10, 10), (5, 0))
    assert (found.tags, found.blank, found.reason) == (["text"], [Region(5, 0, 2, 2)], None)
    assert verdict({"logo": [box(0, 0, 10, 6)]}, labels, (10, 10), (0, 0)).reason == "mark_logo"
    assert verdict({"logo": [box(0, 0, 10, 5)]}, labels, (10, 10), (0, 0)).reason is None


def test_borders_around_content():
    assert around(Region(0, 2, 10, 6), (10, 10)) == [Region(0, 0, 10, 2), Region(0, 8, 10, 2)]
    regions = around(Region(1, 2, 7, 6), (10, 10))
    assert sum(region.width * region.height for region in regions) == 100 - 42
