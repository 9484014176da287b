"""The README's training loop, run as written, on a smaller drawing of the demo's data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from animetune.config import load_config, shipped_configs
from animetune.curate.config import CurateConfig
from animetune.curate.run import run as curate
from animetune.demo.dataset import write_dataset
from animetune.shards.config import LabelsConfig, ShardConfig
from animetune.shards.labels import run as labels
from animetune.shards.run import run as shard

ROOT = Path(__file__).resolve().parents[2]


def test_loop_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (loop,) = re.findall(r"<!-- loop -->\n```python\n(.*?)```", readme, flags=re.DOTALL)
    assert len([line for line in loop.splitlines() if line.strip()]) <= 16

    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(shipped_configs(), target_is_directory=True)
    write_dataset(Path("runs/demo/data"), count=160, seed=0)
    curate(load_config("configs/demo/curate.yaml", CurateConfig))
    shard(load_config("configs/demo/shard.yaml", ShardConfig))
    labels(load_config("configs/demo/labels.yaml", LabelsConfig))

    exec(compile(loop, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert re.search(r"step 0: \d+x\d+, loss \d+\.\d{4}, '", printed)
