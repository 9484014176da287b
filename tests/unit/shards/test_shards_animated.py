"""Animations: what curation admitted by its first frame is stored by its first frame, and by nothing else."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from animetune import shardset
from animetune.curate.run import run as curate
from animetune.errors import QuarantineLimitError
from animetune.shards import run
from tests.builders import curate_config, shard_config, stored_samples, write_posts

pytestmark = pytest.mark.xdist_group("streaming")

RED, BLUE = (200, 10, 10), (10, 10, 200)


def curated(tmp_path, **pictures):
    """A table of four pictures, the second of them an animation: red, then blue."""
    folder = write_posts(tmp_path / "posts", 4)
    frames = [Image.new("RGB", (56, 56), colour) for colour in (RED, BLUE)]
    frames[0].save(folder / "images" / "2.png", "GIF", save_all=True, append_images=frames[1:])
    cfg = curate_config(folder, quarantine_limit=1, pictures=pictures, split={"val_share": 0.0})
    return cfg.out, curate(cfg)


def test_the_first_frame_reaches_the_shards(tmp_path):
    table, manifest = curated(tmp_path, animated="first_frame")
    assert manifest.kept == 4
    run.run(shard_config(table, tmp_path / "shards", max_upscale=2.0))
    samples = {sample["key"]: sample for sample in stored_samples(shardset.open_root(tmp_path / "shards"))}
    stored = np.asarray(Image.open(io.BytesIO(samples["tiny/2"]["image"])).convert("RGB")).astype(int)
    assert np.abs(stored - RED).max() <= 2


def test_animations_that_nobody_looked_at_are_refused_by_the_shards_too(tmp_path):
    table, manifest = curated(tmp_path, decode=False)
    assert manifest.kept == 4
    with pytest.raises(QuarantineLimitError, match="animated 1"):
        run.run(shard_config(table, tmp_path / "shards", max_upscale=2.0, quarantine_limit=0.0))
