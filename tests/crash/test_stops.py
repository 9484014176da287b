"""Ctrl-C and a full disk, at any moment: a clear message, and the same command again gives what it would have."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from animetune.seeding import Purpose, rng_for
from tests.builders import write_posts
from tests.crash.test_sigkill import tree

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
    assert tree(tmp_path / "again") == tree(tmp_path / "whole")


def test_full_disk(tmp_path: Path) -> None:
    """On a file system of a few hundred kilobytes, which then grows, as when somebody makes room."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    try:
        posts = write_posts(tmp_path / "posts", 300)
        table = tmp_path / "table"
        assert run(command("curate", tmp_path / "c.yaml", CURATE.format(out=table, posts=posts))).returncode == 0
        whole = command("shard", tmp_path / "whole.yaml", SHARD.format(table=table, out=tmp_path / "whole"))
        assert run(whole).returncode == 0

        shard = command("shard", tmp_path / "small.yaml", SHARD.format(table=table, out=small / "shards"))
        full = run(shard)
        assert full.returncode == 3, full.stderr
        assert "the disk is full" in full.stderr
        assert "run the same command again" in full.stderr
        assert "Traceback" not in full.stderr
        assert not (small / "shards" / "manifest.json").exists()

        subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
        result = run(shard)
        assert result.returncode == 0, result.stderr
        assert tree(small / "shards") == tree(tmp_path / "whole")
    finally:
        subprocess.run(["umount", str(small)], check=True)
