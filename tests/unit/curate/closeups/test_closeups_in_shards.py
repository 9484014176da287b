"""From posts to shards: what is stored of a close-up are the pixels of its picture, and those of its mask."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from animetune import shardset, tables
from animetune.curate.run import run
from animetune.shards import run as shards
from tests.builders import curate_config, danbooru_post, shard_config, stored_samples, write_lines

pytestmark = pytest.mark.xdist_group("streaming")

WIDTH, HEIGHT = 240, 180


def drawn(seed: int) -> np.ndarray:
    """uint8 (h, w, 3): a face-like blob on noise, so that no two places are alike."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    down, across = np.mgrid[:HEIGHT, :WIDTH]
    face = (across - 120) ** 2 + (down - 80) ** 2 < 30**2
    pixels[face] = (250, 220, 200)
    return pixels


def levels(seed: int, scale: float = 1) -> np.ndarray:
    """uint8: a mask of random levels in blocks of 12 pixels of the picture."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (HEIGHT // 12, WIDTH // 12), dtype=np.uint8)
    side = int(12 * scale)
    return blocks.repeat(side, axis=0).repeat(side, axis=1)


def test_pixels_and_masks_of_close_ups_are_those_of_their_pictures(tmp_path):
    folder = tmp_path / "posts"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for post_id in (1, 2, 3, 4):
        Image.fromarray(drawn(post_id)).save(folder / "images" / f"{post_id}.png")
    for post_id, scale in ((1, 1), (2, 2), (3, 0.5)):
        Image.fromarray(levels(post_id, scale)).save(folder / "masks" / f"{post_id}.png")
    posts = [danbooru_post(post_id, image_width=WIDTH, image_height=HEIGHT) for post_id in (1, 2, 3, 4)]
    write_lines(folder / "posts.jsonl", posts)
    boxes = "key,left,top,right,bottom\n" + "".join(f"{post_id},85,47,149,111\n" for post_id in (1, 2, 3, 4))
    (folder / "boxes.csv").write_text(boxes)
    source = {
        "name": "tiny",
        "posts": [str(folder / "posts.jsonl")],
        "images": [{"root": str(folder / "images"), "path": "{id}.png"}],
        "masks": [{"root": str(folder / "masks"), "path": "{id}.png"}],
    }
    cfg = curate_config(
        folder,
        out=tmp_path / "table",
        sources=[source],
        closeups={"boxes": [str(folder / "boxes.csv")], "margin": 0, "min_side": 64},
        split={"val_share": 0},
    )
    assert run(cfg).kept == 8
    table = tables.open_table(cfg.out).scan().collect()
    assert table["mask"].null_count() == 2

    shards.run(shard_config(cfg.out, tmp_path / "shards"))
    samples = {sample["key"]: sample for sample in stored_samples(shardset.open_root(tmp_path / "shards"))}
    assert len(samples) == 8
    for post_id in (1, 2, 3, 4):
        sample = samples[f"tiny/{post_id}#1"]
        stored = np.asarray(Image.open(io.BytesIO(sample["image"])))
        assert np.array_equal(stored, drawn(post_id)[47:111, 85:149])
        assert sample["source"].tolist() == [64, 64]
        if post_id == 4:
            assert sample["mask"] == b""
            continue
        mask = np.asarray(Image.open(io.BytesIO(sample["mask"])))
        expected = levels(post_id)[47:111, 85:149]
        if post_id == 3:  # half as large as the picture: its pixels end between those of the close-up
            assert np.abs(mask.astype(int) - expected).mean() < 8
            assert (mask == expected).mean() > 0.9
        else:
            assert np.array_equal(mask, expected)
