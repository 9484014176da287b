"""The YAML of `shard`: one tier is one line, several read naturally, and what makes no sense is refused."""

from __future__ import annotations

import pytest

from animetune.config import load_config, to_yaml
from animetune.errors import ConfigError
from animetune.shards.config import ShardConfig

BASE = """\
stage: shard
table: runs/table
out: runs/shards
store: {name: pixels}
"""


def load(tmp_path, text):
    file = tmp_path / "shard.yaml"
    file.write_text(BASE + text)
    return load_config(file, ShardConfig)


@pytest.mark.parametrize(
    ("text", "tiers"),
    [
        ("sizes: {preset: animagine}", [("1024", 9)]),
        ("sizes: {preset: sdxl, min_pictures: 64}", [("1024", 40)]),
        ("sizes: {area: 2_359_296, step: 32, max_ratio: 3}", [("1536", None)]),
        ("sizes: {open: true, step: 32, min_side: 256, max_side: 4096, max_ratio: 16}", [("1024", 0)]),
        (
            "sizes:\n  tiers:\n    - {area: 2_359_296}\n    - {preset: sdxl}\n    - {area: 147_456}\n  assign: every\n",
            [("384", None), ("1024", 40), ("1536", None)],
        ),
    ],
)
def test_sizes_as_people_write_them(tmp_path, text, tiers):
    from animetune.buckets import enumerate_sizes

    cfg = load(tmp_path, text)
    found = [(tier.name, len(enumerate_sizes(tier))) for tier in cfg.sizes.all_tiers]
    assert [name for name, _ in found] == [name for name, _ in tiers]
    assert all(
        count == expected for (_, count), (_, expected) in zip(found, tiers, strict=True) if expected is not None
    )
    written = tmp_path / "resolved.yaml"
    written.write_text(to_yaml(cfg))
    assert load_config(written, ShardConfig) == cfg


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sizes: {preset: sdxl, step: 32}", "leave out preset or step"),
        ("sizes: {area: 65536, tiers: [{preset: sdxl}]}", "area: describes one tier, but there are `tiers`"),
        ("sizes: {tiers: [{preset: sdxl}, {preset: animagine}]}", "two tiers have the area of a square of side 1024"),
        ("sizes: {tiers: [{preset: sdxl, min_side: 256}]}", r"sizes\.tiers\.0: .*leave out preset or min_side"),
        ("sizes: {preset: sdxl}\ncrop: {at: center}", "centre"),
        ("sizes: {preset: sdxl}\nstore: {name: pixels, format: jpeg, lossless: true}", "jpeg cannot be lossless"),
        (
            "sizes: {preset: sdxl}\ncrop: {margin: 0.1}\nstore: {name: latents, vae: x}",
            r"crop\.margin: a part of a latent is not the latent of that part",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, text, problem):
    base = "\n".join(line for line in BASE.splitlines() if line.split(":")[0] not in text) + "\n"
    file = tmp_path / "shard.yaml"
    file.write_text(base + text)
    with pytest.raises(ConfigError, match=problem):
        load_config(file, ShardConfig)
