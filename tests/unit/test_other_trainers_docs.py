"""docs/from-other-trainers.md: every key of ours in it exists, and it agrees with the hints of error messages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from animetune import problems
from animetune.curate.config import CurateConfig
from animetune.export.config import ExportConfig
from animetune.sample.config import SampleConfig
from animetune.shards.config import ShardConfig
from animetune.train.config import TrainConfig

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "from-other-trainers.md").read_text(encoding="utf-8")
ROWS = [tuple(line.strip("| ").split(" | ", 1)) for line in TEXT.splitlines() if re.match(r"\| .* \| .* \|$", line)]
MODELS = {
    "shard": ShardConfig, "curate": CurateConfig, "sample": SampleConfig, "export": ExportConfig, "train": TrainConfig,
}  # fmt: skip


def keys_of(model: Any) -> set[str]:
    return {".".join(path) for path, _ in problems._fields(model)}


def test_there_are_rows() -> None:
    assert len(ROWS) > 80


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_our_keys_exist(row: tuple[str, str]) -> None:
    stage, _, _ = row[1].partition(":")
    known = set().union(*(keys_of(model) for model in MODELS.values()))
    wanted = keys_of(MODELS[stage]) | keys_of(TrainConfig) if stage in MODELS else known
    named = [code.partition(":")[0] for code in re.findall(r"`([^`]+)`", row[1])]
    keys = [name for name in named if re.fullmatch(r"[a-z_0-9]+(\.[a-z_0-9]+)+", name)]
    assert [key for key in keys if key not in wanted] == []


def test_hints_of_error_messages_agree_with_the_tables() -> None:
    """Where an error names a key for another trainer's name, the table names the same."""
    by_theirs = {theirs: ours for row in ROWS for theirs in re.findall(r"`([^`]+)`", row[0]) for ours in [row[1]]}
    compared = 0
    for name, hint in problems.FOREIGN_NAMES.items():
        if " " not in hint and name in by_theirs and name not in ("batch_size", "resolution"):
            assert hint in by_theirs[name], name
            compared += 1
    assert compared > 20
