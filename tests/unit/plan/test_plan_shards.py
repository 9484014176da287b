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


SIZES = {"area": 64 * 64, "step": 8, "min_side": 48, "max_side": 96, "max_ratio": 2.0}


def test_small_sizes_are_named_with_what_merging_would_do(table: Path, tmp_path: Path) -> None:
    small, reason, advice = sections(describe(shard_config(table, tmp_path)))["warnings"]
    assert small == "fewer than 64 training pictures: 64/72x56 (4)"  # 80x48 has none, and so cannot repeat any
    assert "micro-batch" in reason
    # 90x60 would be enlarged to 96x64, by less than max_upscale; so would be 72x56.
    assert advice == "`sizes.min_pictures: 64` would give up 2 sizes: 6 pictures to the next nearest"


def test_merging_is_not_advised_where_it_would_give_up_nothing(tmp_path: Path) -> None:
    """72x56 fills no other size, and 64x64 is too few by itself."""
    table = tiny_table(tmp_path / "table", [(64, 64)] * 60 + [(72, 56)])
    small, reason = sections(describe(shard_config(table, tmp_path, max_upscale=1.0)))["warnings"]
    assert small == "fewer than 64 training pictures: 64/64x64 (60), 64/72x56 (1)"
    assert "micro-batch" in reason


def test_what_merging_did_and_what_it_had_to_leave(table: Path, tmp_path: Path) -> None:
    sizes = SIZES | {"min_pictures": 64}
    assert sections(describe(shard_config(table, tmp_path, sizes=sizes)))["warnings"] == [
        "`sizes.min_pictures: 64` gave up 2 sizes: 6 pictures to the next nearest"
    ]
    # 72x56 to 64x64 is 1.14. With it stays its size, to which 90x60 is then nearer than to 64x64.
    done, stay, reason, small, _ = sections(describe(shard_config(table, tmp_path, sizes=sizes, max_upscale=1.1)))[
        "warnings"
    ]
    assert done == "`sizes.min_pictures: 64` gave up 1 size: 1 picture to the next nearest"
    assert stay == "fewer than `sizes.min_pictures: 64`: 64/72x56 (4)"
    assert reason == "a size stays where one of its pictures has no other, and so that every tier has one"
    assert small == "fewer than 64 training pictures: 64/72x56 (4)"


def test_several_tiers(table: Path, tmp_path: Path) -> None:
    sizes = {"tiers": [{"area": 64 * 64, "step": 16}, {"area": 112 * 112, "step": 16}]}
    plan = sections(describe(shard_config(table, tmp_path, sizes=sizes)))
    lines = [line.split()[:4] for line in plan["sizes"][1:]]
    assert lines == [["64", "64x64", "73", "0"], ["64", "80x48", "0", "1"], ["112", "128x96", "1", "1"]]
    assert [line.split(",")[0] for line in plan["shards"]] == [
        "tier 64: 74 samples of 2 sizes",
        "tier 112: 2 samples of 1 size",
    ]


def test_pictures_that_merging_puts_in_a_lower_tier_are_told(tmp_path: Path) -> None:
    """Of the upper tier 144x96 and 112x112: 150x100 does not fill the latter."""
    table = tiny_table(tmp_path / "table", [(112, 112)] * 70 + [(150, 100)] * 3 + [(64, 64)] * 70)
    sizes = {"tiers": [{"area": 64 * 64, "step": 16}, {"area": 112 * 112, "step": 16}], "min_pictures": 64}
    done, *_ = sections(describe(shard_config(table, tmp_path, sizes=sizes)))["warnings"]
    assert done == "`sizes.min_pictures: 64` gave up 1 size: 3 pictures to the next nearest, 3 of them in a lower tier"


def test_nothing_to_train_on_is_warned_of(tmp_path: Path) -> None:
    for sources, split, warning in (
        ([(20, 20)], "train", "no picture gets a size, so that nothing can be trained"),
        ([(64, 64)], "val", "none of the samples is for training"),
    ):
        table = tiny_table(tmp_path / split, sources, split=[split])
        plan = sections(describe(shard_config(table, tmp_path)))
        (line,) = plan["warnings"]
        assert line.startswith(warning)
    assert plan["pictures"][1] == "1 sample: 0 train, 1 val"


def test_an_absent_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        describe(shard_config(tmp_path / "none", tmp_path))


def test_the_command_knows_what_can_be_planned(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "shard.yaml"
    file.write_text(f"stage: shard\ntable: {table}\nout: x\nstore: {{name: pixels}}\nsizes: {{area: 4096, step: 8}}\n")
    cli.plan(file, [], None)
    assert "80 in" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--assume-images is for training"):
        cli.plan(file, [], 5)
    file.write_text("stage: labels\n")
    with pytest.raises(ConfigError, match="plan takes a configuration of shard or train or recipe, not of labels"):
        cli.plan(file, [], None)
