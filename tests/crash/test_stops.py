"""Ctrl-C and a full disk, at any moment: a clear message, and the same command again gives what it would have."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animetune import remote
from animetune.seeding import Purpose, rng_for
from tests.builders import tiny_shards, tiny_table, write_posts
from tests.crash.test_sigkill import tree
from tests.s3_server import s3_server

pytestmark = pytest.mark.crash

ROOT = Path(__file__).resolve().parents[2]
CURATE = """
stage: curate
out: {out}
sources:
  - name: made
    posts: [{posts}/posts.jsonl]
    images: [{{root: {posts}/images}}]
    captions: [{posts}/captions.jsonl]
balance: [{{name: content_buckets}}]
executor: {{workers: 2}}
"""
SHARD = """
stage: shard
table: {table}
out: {out}
store: {{name: pixels, format: png}}
sizes: {{area: 4096, step: 8, min_side: 48, max_side: 96, max_ratio: 2.0}}
shard_bytes: 60000
executor: {{workers: 2}}
"""


def command(stage: str, config: Path, text: str) -> list[str]:
    config.write_text(text)
    return [sys.executable, "-m", "animetune", stage, str(config)]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def interrupted(arguments: list[str], after: float) -> tuple[int, str]:
    """Send what a terminal sends on Ctrl-C, SIGINT to the whole group; returns the exit code and stderr."""
    process = subprocess.Popen(
        arguments, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    time.sleep(after)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def made_of(table: Path) -> dict[str, str]:
    """All files of a table but the answers: into how many files these are cut depends on where runs were stopped."""
    return {name: digest for name, digest in tree(table).items() if not name.startswith("answers/")}


def test_ctrl_c_at_any_moment(tmp_path: Path) -> None:
    posts = write_posts(tmp_path / "posts", 300)
    whole = command("curate", tmp_path / "whole.yaml", CURATE.format(out=tmp_path / "whole", posts=posts))
    began = time.monotonic()
    assert run(whole).returncode == 0
    seconds = time.monotonic() - began

    again = command("curate", tmp_path / "again.yaml", CURATE.format(out=tmp_path / "again", posts=posts))
    rng = rng_for(3, Purpose.DRAW)
    codes = []
    for _ in range(5):
        code, errors = interrupted(again, seconds * rng.uniform(0.3, 0.9))
        codes.append(code)
        assert code in (0, 130), errors
        if code == 130:
            assert "the same command continues" in errors
            assert "Traceback" not in errors
    assert 130 in codes
    result = run(again)
    assert result.returncode == 0, result.stderr
    assert made_of(tmp_path / "again") == made_of(tmp_path / "whole")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few hundred kilobytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def resize(small: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(small)], check=True)


def is_said_to_be_full(stopped: subprocess.CompletedProcess[str], folder: Path) -> bool:
    """Whether a command named a file in `folder`, and what to do, and nothing else."""
    said = re.search(rf"{folder}/\S+: the disk is full .* run the same command again", stopped.stderr)
    return stopped.returncode == 3 and said is not None and "Traceback" not in stopped.stderr


def test_full_disk(small: Path, tmp_path: Path) -> None:
    posts = write_posts(tmp_path / "posts", 300)
    table = tmp_path / "table"
    assert run(command("curate", tmp_path / "c.yaml", CURATE.format(out=table, posts=posts))).returncode == 0
    whole = command("shard", tmp_path / "whole.yaml", SHARD.format(table=table, out=tmp_path / "whole"))
    assert run(whole).returncode == 0

    shard = command("shard", tmp_path / "small.yaml", SHARD.format(table=table, out=small / "shards"))
    full = run(shard)
    assert is_said_to_be_full(full, small / "shards"), full.stderr
    assert not (small / "shards" / "manifest.json").exists()

    resize(small, "50m")
    result = run(shard)
    assert result.returncode == 0, result.stderr
    assert tree(small / "shards") == tree(tmp_path / "whole")


def test_remote_shards_pass_through_a_disk_that_does_not_hold_them(small: Path, tmp_path: Path) -> None:
    """80 pictures of noise, a megabyte in all, through 400 KB; a shard of twice that is an error, and no hang."""
    table = tiny_table(tmp_path / "table", [(64, 64)] * 80)
    for path in (tmp_path / "table-images").iterdir():
        noise = rng_for(1, Purpose.DRAW, int(path.stem)).integers(256, size=(64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    with s3_server() as bucket:
        text = SHARD.format(table=table, out=f"{bucket}/root") + f"work: {small / 'work'}\n"
        result = run(command("shard", tmp_path / "s3.yaml", text.replace("workers: 2", "workers: 0")))
        assert result.returncode == 0, result.stderr
        stored = remote.list_files(f"{bucket}/root")
        assert sum(size for name, size in stored.items() if name.endswith(".mds")) > 900_000
        text = text.replace("/root", "/other").replace("/work", "/other").replace("60000", "800000")
        full = run(command("shard", tmp_path / "large.yaml", text))
        assert is_said_to_be_full(full, small / "other"), full.stderr


def test_a_store_that_vanishes(tmp_path: Path) -> None:
    """The server ends in the middle of a run: an error that names a file, within the patience there is."""
    table = tiny_table(tmp_path / "table", [(64, 64)] * 80)
    with s3_server() as bucket:
        text = SHARD.format(table=table, out=f"{bucket}/root") + f"work: {tmp_path / 'work'}\n"
        impatient = "import sys; from animetune import cli, remote; remote.PATIENCE = 1.0; cli.main()"
        shard = command(
            "shard", tmp_path / "s3.yaml", text.replace("60000", "8000").replace("workers: 2", "workers: 0")
        )
        process = subprocess.Popen(
            [sys.executable, "-c", impatient, *shard[3:]], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        while sum(name.endswith(".mds") for name in remote.list_files(f"{bucket}/root")) < 3:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1, errors
    assert re.search(r"s3://bucket/root/\S+: is out of reach, after \d+ attempts .* the same command continues", errors)
    assert "Traceback" not in errors


@pytest.mark.parametrize("workers", [0, 2])
def test_full_disk_under_the_cache(small: Path, tmp_path: Path, workers: int) -> None:
    """Copies of shards that find no room end the epoch with what to do, and do not hang other workers."""
    from animetune.data.config import DataConfig
    from animetune.data.loader import build_loader
    from animetune.errors import SetupError
    from animetune.prompts import PromptConfig

    shards, labels = tiny_shards(tmp_path / "data")
    held = [*(shards / "train").glob("*/*/index.json"), shards / "samples.parquet", shards / "manifest.json"]
    held += sorted((shards / "train").rglob("*.mds"))[::2]
    room = 4 * sum(-(-path.stat().st_size // 4096) for path in held)  # kilobytes: for about half of the shards
    resize(small, f"{room}k")
    data = {"shards": f"file://{shards}", "labels": str(labels), "cache": str(small), "workers": workers}
    cfg = DataConfig.model_validate(data | {"global_batch": 4, "micro_batch": 2})
    loader = build_loader(cfg, PromptConfig(), seed=0)
    try:
        with pytest.raises(SetupError, match=f"{small}/.*: the disk is full"):
            list(loader)
    finally:
        loader.close()
    assert list(small.rglob("*.mds"))
    assert not list(small.rglob(".tmp-*"))
