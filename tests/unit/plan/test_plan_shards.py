"""The plan of a shard configuration, against counts made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from animetune import cli
from animetune.errors import ConfigError, DataError
from animetune.plan.shards import describe
from animetune.shards import run
from tests.builders import shard_config, tiny_table

SOURCES = [(64, 64)] * 70 + [(72, 56)] * 3 + [(144, 112)] * 2 + [(90, 60)] + [(20, 20)] * 4


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    split = ["train"] * 74 + ["val"] * 6  # the last of 144x112, the only 90x60 and the four small ones
    return tiny_table(tmp_path_factory.mktemp("plan") / "table", SOURCES, split=split)


def sections(text: str) -> dict[str, list[str]]:
    blocks = [block.splitlines() for block in text.split("\n\n")]
    return {title.removesuffix(":"): [line.strip() for line in lines] for title, *lines in blocks}


def test_pictures_sizes_and_shards(table: Path, tmp_path: Path) -> None:
    cfg = shard_config(table, tmp_path / "shards")
    plan = sections(describe(cfg))
    assert plan["pictures"] == [
        f"80 in {table}",
        "76 samples: 74 train, 2 val",
        "4 too small: they would be enlarged by more than 1.25 (`max_upscale`)",
        "0 of the samples are enlarged",
        "0.1% of a picture is cropped away on average",  # 90x60 loses a tenth, to 80x48
    ]
    header, *lines = [line.split() for line in plan["sizes"]]
    assert header == ["tier", "size", "train", "val", "share", "cropped"]
    assert [line[:6] for line in lines] == [
        ["64", "64x64", "70", "0", "94.6%", "0.0%"],
        ["64", "72x56", "4", "1", "5.4%", "0.0%"],
        ["64", "80x48", "0", "1", "0.0%", "10.0%"],
    ]
    assert [len(line[6]) if len(line) > 6 else 0 for line in lines] == [40, 2, 0]
    # What the stage then does.
    manifest = run.run(cfg)
    groups = manifest.facts["groups"]
    parts = sum(group["parts"] for group in groups)
    bytes_ = sum(int(1.5 * w * h) * n for w, h, n in ((64, 64, 70), (72, 56, 5), (80, 48, 1)))
    assert plan["shards"] == [f"tier 64: 76 samples of 3 sizes, about {bytes_ / 1000:.3g} KB in {parts} parts"]
    assert manifest.kept == 76


def test_small_sizes_are_named_with_what_merging_would_do(table: Path, tmp_path: Path) -> None:
    small, reason, advice = sections(describe(shard_config(table, tmp_path)))["warnings"]
    assert small == "fewer than 64 training pictures: 64/72x56 (4), 64/80x48 (0)"
    assert "micro-batch" in reason
    # 90x60 would be enlarged to 96x64, by less than max_upscale; so would be 72x56.
    assert advice == "`sizes.min_pictures: 64` would give up 2 sizes: 6 pictures go to the next nearest"


def test_what_merging_did_and_whom_it_leaves_out(table: Path, tmp_path: Path) -> None:
    sizes = {"area": 64 * 64, "step": 8, "min_side": 48, "max_side": 96, "max_ratio": 2.0, "min_pictures": 64}
    (line,) = sections(describe(shard_config(table, tmp_path, sizes=sizes, max_upscale=1.1)))["warnings"]
    assert line == (
        "sizes.min_pictures 64 gave up 2 sizes: 6 pictures go to the next nearest; "
        "3 of them would be enlarged too much and are left out"
    )


def test_several_tiers(table: Path, tmp_path: Path) -> None:
    sizes = {"tiers": [{"area": 64 * 64, "step": 16}, {"area": 112 * 112, "step": 16}]}
    plan = sections(describe(shard_config(table, tmp_path, sizes=sizes)))
    lines = [line.split()[:4] for line in plan["sizes"][1:]]
    assert lines == [["64", "64x64", "73", "0"], ["64", "80x48", "0", "1"], ["112", "128x96", "1", "1"]]
    assert [line.split(" sizes")[0] for line in plan["shards"]] == [
        "tier 64: 74 samples of 2",
        "tier 112: 2 samples of 1",
    ]


def test_an_absent_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        describe(shard_config(tmp_path / "none", tmp_path))


def test_the_command_knows_two_stages(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "shard.yaml"
    file.write_text(f"stage: shard\ntable: {table}\nout: x\nstore: {{name: pixels}}\nsizes: {{area: 4096, step: 8}}\n")
    cli.plan(file, [], None)
    assert "80 in" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--assume-images is for training"):
        cli.plan(file, [], 5)
    file.write_text("stage: labels\n")
    with pytest.raises(ConfigError, match="plan takes a configuration of shard or train, not of labels"):
        cli.plan(file, [], None)
