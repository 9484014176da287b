"""Posts that appear later: classes are computed anew for all, old shards stay as they are, new pictures get a root."""

from __future__ import annotations

from pathlib import Path

import pytest

from animetune import tables
from animetune.curate.config import CurateConfig
from animetune.curate.run import run as curate
from animetune.data.config import DataConfig
from animetune.data.source import open_data
from animetune.errors import DataError
from animetune.shards.config import LabelsConfig
from animetune.shards.labels import run as labels
from animetune.shards.run import run as shard
from animetune.shardset import open_labels, open_root
from tests.builders import curate_config, danbooru_post, picture, shard_config, write_lines

OLD, NEW = range(1, 13), range(13, 19)
CLASSES = {"quality": {"levels": [{"name": "best", "above": 50}, {"name": "worst"}]}}


def write(folder: Path, name: str, ids: range) -> None:
    """Posts of 2023, or of 2025 with twice the votes, one a day; the names of files sort as they came."""
    is_new = ids == NEW
    posts = [
        danbooru_post(
            number,
            created_at=f"{2025 if is_new else 2023}-01-{number:02}T12:00:00.000Z",
            score=number * (2 if is_new else 1),
            image_width=64,
            image_height=64,
        )
        for number in ids
    ]
    write_lines(folder / name, posts)
    for number in ids:
        picture(number, 64, 64).save(folder / "images" / f"{number}.png")


def config(folder: Path, out: str, **settings) -> CurateConfig:
    cfg = curate_config(folder, out=folder / out, classes=CLASSES, split={"val_share": 0}, **settings)
    source = cfg.sources[0].model_copy(update={"posts": (str(folder / "posts-*.jsonl"),), "captions": ()})
    return cfg.model_copy(update={"sources": (source,)})


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def quality(folder: Path) -> dict[str, str | None]:
    return dict(tables.open_table(folder).scan().select("key", "quality").collect().iter_rows())


def test_new_posts_change_labels_and_no_old_shard(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    write(tmp_path, "posts-1.jsonl", OLD)
    first = curate(config(tmp_path, "table"))
    shard(shard_config(tmp_path / "table", tmp_path / "shards"))
    settings = {
        "stage": "labels",
        "table": tmp_path / "table",
        "shards": tmp_path / "shards",
        "out": tmp_path / "labels",
    }
    labels(LabelsConfig.model_validate(settings))
    before, best_before = files(tmp_path / "shards"), quality(tmp_path / "table")
    assert first.facts["knowledge_cutoff"].startswith("2023-01-12")
    assert best_before["tiny/12"] == "best"
    assert best_before["tiny/6"] == "worst"

    write(tmp_path, "posts-2.jsonl", NEW)
    second = curate(config(tmp_path, "table"))
    assert second.facts["knowledge_cutoff"].startswith("2025-01-18")
    best_after = quality(tmp_path / "table")
    assert len(best_after) == 18
    assert best_after["tiny/9"] == "worst" != best_before["tiny/9"]  # percentiles are of all posts

    with pytest.raises(DataError, match="6 of 18 rows have no sample"):
        labels(LabelsConfig.model_validate(settings))
    made = labels(LabelsConfig.model_validate({**settings, "missing_limit": 1}))
    assert (made.seen, made.facts["missing"]) == (12, 6)
    assert files(tmp_path / "shards") == before

    only_new = {"name": "dates", "first": "2025-01-01"}
    curate(config(tmp_path, "table-2025", filters=[only_new]))
    shard(shard_config(tmp_path / "table-2025", tmp_path / "shards-2025"))
    of_new = {"shards": tmp_path / "shards-2025", "out": tmp_path / "labels-2025", "missing_limit": 1}
    labels(LabelsConfig.model_validate({**settings, **of_new}))
    for name, count in (("", 12), ("-2025", 6)):
        root = open_root(tmp_path / f"shards{name}")
        found = open_labels(tmp_path / f"labels{name}", root)
        assert {found.label(row).key: found.label(row).quality for row in range(count)}.items() <= best_after.items()
    sources = [
        {"shards": str(tmp_path / f"shards{name}"), "labels": str(tmp_path / f"labels{name}")} for name in ("", "-2025")
    ]
    data = open_data(DataConfig(sources=sources, global_batch=1, micro_batch=1))
    assert [len(source.rows) for source in data] == [12, 6]
