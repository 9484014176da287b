"""Several tiers in one root, sizes that are merged, and what the stage shows while it works and when it is done."""

from __future__ import annotations

import numpy as np
import pytest

from animetune import shardset
from animetune.errors import ChunkError
from animetune.progress import bytes_text
from animetune.shards import run
from animetune.shards.statistics import channel_statistics, statistics_lines
from animetune.shards.verify import verify
from tests.builders import TINY_SIZES, shard_config, stored_samples, tiny_table

pytestmark = pytest.mark.xdist_group("streaming")

TIERS = [{"area": 128**2, "step": 32}, {"area": 64**2, "step": 16}]
SOURCES = [(64, 64), (130, 130), (128, 64), (300, 200), (60, 56), (20, 20)]


def rows_of(tmp_path, **sizes):
    table = tiny_table(tmp_path / "table", SOURCES)
    manifest = run.run(shard_config(table, tmp_path / "shards", sizes={"tiers": TIERS, **sizes}, shard_bytes=10_000))
    root = shardset.open_root(tmp_path / "shards")
    assert verify(root.folder) == []
    return manifest, root


def test_each_picture_is_in_the_highest_tier_that_it_fills(tmp_path):
    manifest, root = rows_of(tmp_path)
    rows = {row["key"]: (row["tier"], row["width"], row["height"]) for row in root.samples().to_pylist()}
    assert rows == {
        "tiny/0": ("64", 64, 64),
        "tiny/1": ("128", 128, 128),
        "tiny/2": ("64", 80, 48),
        "tiny/3": ("128", 160, 96),
        "tiny/4": ("64", 64, 64),
    }
    assert (manifest.seen, manifest.kept, manifest.dropped) == (6, 5, {"too_small": 1})


def test_or_in_every_tier_that_it_fills(tmp_path):
    manifest, root = rows_of(tmp_path, assign="every")
    rows = root.samples().to_pylist()
    tiers = {key: [row["tier"] for row in rows if row["key"] == key] for key in {row["key"] for row in rows}}
    assert tiers == {
        "tiny/0": ["64"], "tiny/1": ["64", "128"], "tiny/2": ["64"], "tiny/3": ["64", "128"], "tiny/4": ["64"],
    }  # fmt: skip
    assert [row["key"] for row in rows] == [sample["key"] for sample in stored_samples(root)]
    # Tiers and sizes are ordered as numbers: 64 before 128.
    groups = [(int(group.tier), group.size) for group in root.groups]
    assert groups == sorted(groups)
    assert (manifest.seen, manifest.kept, manifest.dropped) == (8, 7, {"too_small": 1})


def test_small_sizes_are_merged_on_request(tmp_path):
    table = tiny_table(tmp_path / "table", [(64, 64)] * 5 + [(72, 58)] * 2 + [(90, 60)], split=["train"] * 7 + ["val"])
    free = run.run(shard_config(table, tmp_path / "free"))
    merged = run.run(shard_config(table, tmp_path / "merged", sizes={**TINY_SIZES, "min_pictures": 3}))
    groups = [
        [(group["split"], group["size"], group["samples"]) for group in each.facts["groups"]] for each in (free, merged)
    ]
    assert groups[0] == [("train", "64x64", 5), ("train", "72x56", 2), ("val", "80x48", 1)]
    # Only training pictures count: validation follows into the sizes that are left.
    assert groups[1] == [("train", "64x64", 7), ("val", "64x64", 1)]


def test_progress_counts_pictures_and_bytes_of_this_run(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("ANIMETUNE_PROGRESS")
    table = tiny_table(tmp_path / "table", [(64, 64)] * 30)
    cfg = shard_config(table, tmp_path / "shards")
    real, calls = run.write_part, []

    def fails_at_second(part, folder, **settings):
        calls.append(part)
        if len(calls) == 2:
            raise OSError("the disk went away")
        return real(part, folder, **settings)

    with monkeypatch.context() as patched:
        patched.setattr(run, "write_part", fails_at_second)
        with pytest.raises(ChunkError):
            run.run(cfg)
    first = capsys.readouterr().err
    assert first.startswith("shard: 6/30 (20 %), ")
    run.run(cfg)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("shard: 30/30 (100 %), ")
    # A pace and bytes of what this run did: parts 2 to 5, not the first.
    parts = sorted((tmp_path / "shards/train/64/64x64").glob("part-*"))
    assert len(parts) == 5
    written = sum(path.stat().st_size for part in parts[1:] for path in part.iterdir() if path.name != "manifest.json")
    assert f"written {bytes_text(written)}" in last
    assert "/s, took" in last


def test_statistics_of_all_parts_are_those_of_all_numbers():
    rng = np.random.Generator(np.random.Philox(key=1))
    parts = [rng.standard_normal((4, count)) * [[1], [2], [3], [4]] + [[0], [1], [-2], [5]] for count in (7, 1, 30)]
    facts = [
        {
            "values_per_channel": part.shape[1],
            "sums": part.sum(axis=1).tolist(),
            "sums_of_squares": np.square(part).sum(axis=1).tolist(),
        }
        for part in parts
    ]
    whole = np.concatenate(parts, axis=1)
    found = channel_statistics(facts)
    assert found["channel_mean"] == pytest.approx(whole.mean(axis=1).tolist())
    assert found["channel_std"] == pytest.approx(whole.std(axis=1).tolist())
    assert channel_statistics([]) == {"channel_mean": [0.0] * 4, "channel_std": [0.0] * 4}


def test_statistics_are_shown_as_stored_and_as_the_unet_takes_them():
    latents = {
        "vae": "0123456789abcdef",
        "scaling_factor": 0.125,
        "channel_mean": [-2.0, 0.0, 1.0, 8.0],
        "channel_std": [8.0, 4.0, 16.0, 0.0],
    }
    title, mean, std, note = statistics_lines(latents)
    assert "0123456789ab" in title
    assert [float(word) for word in mean.split() if word[-1].isdigit()] == [-2, 0, 1, 8, -0.25, 0, 0.125, 1]
    assert [float(word) for word in std.split() if word[-1].isdigit()] == [8, 4, 16, 0, 1, 0.5, 2, 0]
    assert "near 1" in note
